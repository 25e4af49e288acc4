//! Which accesses read or write a field of the context.
//!
//! Whether a parameter is a context is known from the programs down: the first
//! parameter of a program whose context is declared is one, and so is what a
//! caller passes on, in a register or in a cell. A parameter that is a context in one call and something
//! else in another is neither; it may be passed on, and following it is an error.

use std::collections::VecDeque;

use cranelift_entity::{EntitySet, PrimaryMap, SecondaryMap};

use super::cells::{self, Cells, MAX_CELLS};
use super::record::{AccessKind, Found, ParamAccess};
use super::value::{Base, Bases, Val};
use crate::ctx::{FieldValue, KINDS};
use crate::facts::CtxAccess;
use crate::{Error, FuncRef, Object, Size};

/// What callers pass in a parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Role {
    /// No call is known.
    #[default]
    Unseen,
    /// A context's address plus a constant.
    Context { kind: u8, at: i64 },
    /// No context.
    Other,
    /// Different things in different calls.
    Unclear,
}

/// The roles of what a function is given.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Given {
    params: [Role; 5],
    cells: [Role; MAX_CELLS],
}

type AllGiven = SecondaryMap<FuncRef, Given>;
type AllFound = PrimaryMap<FuncRef, Option<Found>>;

impl Given {
    /// Whether any of these can be a context.
    fn may_be_context(&self, bases: Bases) -> bool {
        bases.params().any(|index| self.params[index].may_be_context())
            || bases.cells().any(|index| self.cells[index].may_be_context())
    }

    /// The role of a value in the function.
    fn role_of(&self, value: Val) -> Role {
        let (role, pointer) = match value {
            Val::Undefined => return Role::Unseen,
            Val::Mixed(bases) if self.may_be_context(bases) => return Role::Unclear,
            Val::Pointer(pointer) => match pointer.base {
                Base::Frame => return Role::Other,
                Base::Param(index) => (self.params[usize::from(index)], pointer),
                Base::Cell(index) => (self.cells[usize::from(index)], pointer),
            },
            _ => return Role::Other,
        };
        match (role, pointer.at.exact()) {
            (Role::Context { kind, at }, Some(by)) if pointer.sure => {
                Role::Context { kind, at: at.saturating_add(by) }
            }
            (role, _) if role.may_be_context() => Role::Unclear,
            (role, _) => role,
        }
    }
}

impl Role {
    fn join(self, other: Role) -> Role {
        match (self, other) {
            (a, b) if a == b => a,
            (Role::Unseen, role) | (role, Role::Unseen) => role,
            _ => Role::Unclear,
        }
    }

    /// Whether it can be a context.
    fn may_be_context(self) -> bool {
        matches!(self, Role::Context { .. } | Role::Unclear)
    }
}

/// Finds the roles of all that functions are given, programs first.
fn roles(object: &Object, found: &AllFound, lost: &EntitySet<FuncRef>) -> AllGiven {
    let mut roles = AllGiven::new();
    let mut seen = SecondaryMap::<FuncRef, bool>::new();
    let mut work = VecDeque::new();
    for program in object.programs.values() {
        let context = program.kind.context();
        let first = context.map_or(Role::Other, |kind| Role::Context { kind, at: 0 });
        let params = &mut roles[program.function].params;
        params[0] = params[0].join(first);
        work.push_back(program.function);
    }
    while let Some(function) = work.pop_front() {
        let own = roles[function];
        seen[function] = true;
        if lost.contains(function) {
            continue;
        }
        for call in found[function].iter().flat_map(|found| &found.calls) {
            let given = &mut roles[call.callee];
            let before = *given;
            for (role, value) in given.params.iter_mut().zip(call.args) {
                *role = role.join(own.role_of(value));
            }
            for (role, &value) in given.cells.iter_mut().zip(&call.cells) {
                *role = role.join(own.role_of(value));
            }
            if *given != before || !seen[call.callee] {
                work.push_back(call.callee);
            }
        }
    }
    roles
}

/// A function's context accesses, in order of their slots, and its errors.
type Resolved = (Vec<(u32, CtxAccess)>, Vec<Error>);

/// Finds the context accesses of every function. Where a context is lost that
/// another cell would keep, the cell is added, if `cells` are given; the result
/// is of no use then, and true is returned with it. What `lost` functions do with
/// contexts does not matter.
pub(super) fn resolve(
    object: &Object,
    found: &AllFound,
    lost: &EntitySet<FuncRef>,
    mut cells: Option<&mut Cells>,
) -> (SecondaryMap<FuncRef, Resolved>, bool) {
    let roles = roles(object, found, lost);
    let mut resolved = SecondaryMap::<FuncRef, Resolved>::new();
    let mut again = false;
    for (function, own) in object.functions.keys().map(|f| (f, &roles[f])) {
        let Some(found) = found[function].as_ref().filter(|_| !lost.contains(function)) else {
            continue;
        };
        let name = &object.functions[function].name;
        let (accesses, errors) = &mut resolved[function];
        for access in &found.accesses {
            match field(access, own) {
                Ok(None) => {}
                Ok(Some(field)) => accesses.push((access.slot, field)),
                Err(what) => errors.push(Error::at(name, access.slot as usize, what)),
            }
        }
        for leak in found.leaks.iter().filter(|leak| own.may_be_context(leak.bases)) {
            let remedied = match (&mut cells, leak.remedy) {
                (Some(cells), Some((callee, cell))) => cells::add(cells, callee, cell),
                _ => false,
            };
            again |= remedied;
            let what = format!("the context pointer is {}", leak.how);
            errors.push(Error::at(name, leak.slot as usize, what));
        }
    }
    (resolved, again)
}

/// The field that is accessed, if it is one.
fn field(access: &ParamAccess, given: &Given) -> Result<Option<CtxAccess>, String> {
    let (kind, at) = match (given.role_of(access.place.base), access.place.base) {
        (Role::Context { kind, at }, _) => (kind, at),
        (Role::Unclear, Val::Pointer(pointer)) if pointer.at.exact().is_none() => {
            return Err("access at a variable offset from the context pointer".into());
        }
        (Role::Unclear, _) => {
            return Err("access through a pointer that may be the context or something else".into());
        }
        _ => return Ok(None),
    };
    let (size, start) = (access.place.size, at + i64::from(access.place.off));
    let context = &KINDS[usize::from(kind)];
    let end = start + i64::from(size.bytes());
    let inside = |offset: u16, width: Size| {
        i64::from(offset) <= start && end <= i64::from(offset) + i64::from(width.bytes())
    };
    let fields = &mut context.fields.iter();
    let Some(index) = fields.position(|field| inside(field.offset, field.size)) else {
        let bytes = size.bytes();
        return Err(format!("{} has no field of {bytes} bytes at offset {start}", context.name));
    };
    let field = &context.fields[index];
    let name = format!("`{}` of {}", field.name, context.name);
    let narrow = size != field.size;
    match access.kind {
        AccessKind::Atomic => return Err(format!("atomic access to field {name}")),
        AccessKind::Store if !field.writable => return Err(format!("field {name} is read-only")),
        AccessKind::Store if narrow => {
            return Err(format!("store to a part of field {name}"));
        }
        AccessKind::Load { signed } if field.value == FieldValue::Packet && (narrow || signed) => {
            return Err(format!("load of a part of field {name}, which is a pointer"));
        }
        _ => {}
    }
    let (field, part) = (index as u8, (start - i64::from(field.offset)) as u8);
    Ok(Some(CtxAccess { kind, field, part }))
}
