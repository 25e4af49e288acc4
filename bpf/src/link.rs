//! Linking: stretches of code become functions that name each other.
//!
//! A function starts where a symbol says so, at the start of a section, and
//! wherever a call or a function's address leads: symbols can be missing, and
//! plain bytecode has none. It ends where the next one starts. What an
//! instruction refers to comes from its relocation, or else from its immediate,
//! which counts slots from the next instruction.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use cranelift_entity::{EntitySet, PrimaryMap};

use crate::decode::{decode, decode_all};
use crate::encode::Slot;
use crate::insn::{Callee, Imm64, Op};
use crate::lines::Lines;
use crate::object::{Function, Object, Program, ProgramKind};
use crate::table::{class, code, mode, pseudo};
use crate::{Error, FuncRef};

/// A stretch of code before linking: a section, or plain bytecode.
#[derive(Default)]
pub(crate) struct Unit<'a> {
    /// Name of the section.
    pub section: String,
    /// The code.
    pub bytes: &'a [u8],
    /// Functions that are known to start at a slot.
    pub starts: BTreeMap<u32, String>,
    /// Names for functions that turn out to start at a slot.
    pub hints: BTreeMap<u32, String>,
    /// What relocated instructions refer to.
    pub targets: BTreeMap<u32, Target>,
    /// Instructions that cannot be supported, and why.
    pub refusals: BTreeMap<u32, String>,
}

/// A slot of a unit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Place {
    /// Index of the unit.
    pub unit: usize,
    /// Slot in it, which may lie outside.
    pub slot: i64,
}

/// What a relocation refers to, the instruction's immediate included.
pub(crate) enum Target {
    /// Code.
    Code(Place),
    /// A map or a place in one.
    Value(Imm64),
    /// Something that cannot be supported.
    Refused(String),
}

/// Functions, and where they start.
pub(crate) struct Linked {
    pub functions: PrimaryMap<FuncRef, Function>,
    pub starts: HashMap<Place, FuncRef>,
}

impl Unit<'_> {
    fn slots(&self) -> &[[u8; 8]] {
        self.bytes.as_chunks().0
    }

    /// Instructions with their slot, second slots left out.
    pub fn instructions(&self) -> impl Iterator<Item = (u32, Slot)> {
        let mut skip = false;
        let slots = self.slots().iter().map(Slot::read).enumerate();
        slots.filter_map(move |(pc, slot)| {
            let second = std::mem::take(&mut skip);
            skip = !second && slot.opcode == mode::IMM | 0x18 | class::LD;
            (!second).then_some((pc as u32, slot))
        })
    }

    /// The slot that an unrelocated call or address of a function refers to.
    fn relative(pc: u32, slot: Slot) -> Option<i64> {
        let found = match slot.opcode {
            CALL => slot.src == pseudo::RELATIVE,
            LOAD_IMM => slot.src == pseudo::FUNCTION,
            _ => false,
        };
        found.then_some(i64::from(pc) + 1 + i64::from(slot.imm))
    }
}

const CALL: u8 = code::CALL | class::JMP;
const LOAD_IMM: u8 = mode::IMM | 0x18 | class::LD;

/// Cuts units into functions and links them. Functions are in the order of
/// units and slots. What is wrong with a function is noted in it.
pub(crate) fn link(units: &[Unit<'_>]) -> Linked {
    let starts = find_starts(units);
    let order = starts.iter().enumerate();
    let numbers = order.map(|(index, place)| (*place, FuncRef::from_u32(index as u32)));
    let mut linked =
        Linked { functions: PrimaryMap::with_capacity(starts.len()), starts: numbers.collect() };
    let mut places = starts.iter().peekable();
    let mut names = Names::default();
    while let Some(place) = places.next() {
        let unit = &units[place.unit];
        let end = match places.peek() {
            Some(next) if next.unit == place.unit => 8 * next.slot as usize,
            _ => unit.bytes.len(),
        };
        let function = link_function(units, *place, end, &linked.starts, &mut names);
        linked.functions.push(function);
    }
    linked
}

fn find_starts(units: &[Unit<'_>]) -> BTreeSet<Place> {
    let mut starts = BTreeSet::new();
    for (index, unit) in units.iter().enumerate() {
        let here = |slot| Place { unit: index, slot };
        starts.insert(here(0));
        starts.extend(unit.starts.keys().map(|slot| here(i64::from(*slot))));
        let relocated = unit.targets.values().filter_map(|target| match target {
            Target::Code(place) => Some(*place),
            _ => None,
        });
        starts.extend(relocated);
        let unrelocated = unit.instructions().filter(|(pc, _)| !unit.targets.contains_key(pc));
        starts.extend(unrelocated.filter_map(|(pc, slot)| Unit::relative(pc, slot).map(here)));
    }
    starts.retain(|place| {
        let slots = units.get(place.unit).map_or(0, |unit| unit.slots().len());
        (0..slots as i64).contains(&place.slot)
    });
    starts
}

fn link_function(
    units: &[Unit<'_>],
    place: Place,
    end: usize,
    starts: &HashMap<Place, FuncRef>,
    names: &mut Names,
) -> Function {
    let unit = &units[place.unit];
    let start = place.slot as u32;
    let name = unit.starts.get(&start).or_else(|| unit.hints.get(&start));
    let name = name.map_or_else(|| format!("{}@{start}", unit.section), String::clone);
    let name = names.unique(name);
    let bytes = &unit.bytes[8 * start as usize..end];
    let (mut ops, mut errors) = decode_all(&name, bytes);
    let undecoded: HashSet<Option<u32>> = errors.iter().map(|error| error.insn).collect();
    for (index, op) in ops.iter_mut().enumerate() {
        if undecoded.contains(&Some(index as u32)) {
            continue;
        }
        let slot = start + index as u32;
        let linked = match unit.refusals.get(&slot) {
            Some(why) => Err(why.clone()),
            None => link_op(unit, place.unit, slot, *op, starts),
        };
        match linked {
            Ok(linked) => *op = linked,
            Err(why) => errors.push(Error::at(&name, index, why)),
        }
    }
    let mut errors = errors.into_iter();
    let (refused, further) = (errors.next(), errors.collect());
    let section = unit.section.clone();
    Function { name, section, ops, refused, further, lines: Lines::default() }
}

/// The names of functions so far, and the last number that was tried behind each.
#[derive(Default)]
struct Names(HashMap<String, u32>);

impl Names {
    /// The name, or one like it if another function has it: static functions of
    /// different files may share one.
    fn unique(&mut self, name: String) -> String {
        let Some(&tried) = self.0.get(&name) else {
            self.0.insert(name.clone(), 0);
            return name;
        };
        let mut number = tried + 1;
        while self.0.contains_key(&format!("{name}.{number}")) {
            number += 1;
        }
        let numbered = format!("{name}.{number}");
        self.0.insert(name, number);
        self.0.insert(numbered.clone(), 0);
        numbered
    }
}

/// The linked form of an operation, or why it has none.
fn link_op(
    unit: &Unit<'_>,
    index: usize,
    slot: u32,
    op: Op,
    starts: &HashMap<Place, FuncRef>,
) -> Result<Op, String> {
    let target = unit.targets.get(&slot);
    if let Some(Target::Refused(why)) = target {
        return Err(why.clone());
    }
    let function = |place: Place| {
        let found = starts.get(&place).copied();
        found.ok_or_else(|| format!("leads to slot {}, where there is no code", place.slot))
    };
    let relative = |off: i32| Place { unit: index, slot: i64::from(slot) + 1 + i64::from(off) };
    let load = |dst, value| Ok(Op::LoadImm { dst, value });
    match (op, target) {
        (Op::Call(Callee::Register(_)), None) => Ok(op),
        (Op::Call(_), Some(Target::Code(place))) => {
            Ok(Op::Call(Callee::Function(function(*place)?)))
        }
        (Op::Call(Callee::Relative(off)), None) => {
            Ok(Op::Call(Callee::Function(function(relative(off))?)))
        }
        (Op::Call(Callee::Kfunc(id)), None) => Err(format!("calls the kernel's function {id}")),
        (Op::LoadImm { dst, .. }, Some(Target::Code(place))) => {
            load(dst, Imm64::Function(function(*place)?))
        }
        (Op::LoadImm { dst, .. }, Some(Target::Value(value))) => load(dst, *value),
        (Op::LoadImm { dst, value }, None) => match value {
            Imm64::Pseudo(pseudo::FUNCTION, off, _) => {
                load(dst, Imm64::Function(function(relative(off))?))
            }
            Imm64::Pseudo(kind, lo, _) => Err(format!(
                "loads an address of kind {kind}, number {lo}, that only a loader knows"
            )),
            _ => Ok(op),
        },
        (_, Some(_)) => Err("has a relocation that is none of code".into()),
        (_, None) => Ok(op),
    }
}

impl Object {
    /// Plain bytecode: R1 = memory, R2 = its length. Local calls split it into
    /// functions; the first is the program, called `name`.
    pub fn raw(name: &str, bytecode: &[u8]) -> Result<Object, Error> {
        if bytecode.is_empty() {
            return Err(Error::new("there is no code"));
        }
        decode(name, bytecode)?;
        let unit = Unit {
            section: name.into(),
            bytes: bytecode,
            starts: BTreeMap::from([(0, name.into())]),
            ..Unit::default()
        };
        let mut object =
            Object { name: name.into(), functions: link(&[unit]).functions, ..Object::default() };
        let program = FuncRef::from_u32(0);
        for (id, function) in &mut object.functions {
            let section = if id == program { "" } else { ".text" };
            function.section = section.into();
        }
        object.programs.push(Program {
            name: name.into(),
            function: program,
            section: String::new(),
            kind: ProgramKind::Raw,
        });
        Ok(object)
    }

    /// A function and all that it reaches by calls and addresses, in the order
    /// of their first mention.
    pub fn reachable(&self, entry: FuncRef) -> Vec<FuncRef> {
        let mut seen = EntitySet::new();
        let mut order = Vec::new();
        let mut reach = |id: FuncRef, order: &mut Vec<FuncRef>| {
            if self.functions.is_valid(id) && seen.insert(id) {
                order.push(id);
            }
        };
        reach(entry, &mut order);
        let mut next = 0;
        while let Some(id) = order.get(next) {
            for callee in self.functions[*id].callees() {
                reach(callee, &mut order);
            }
            next += 1;
        }
        order
    }

    /// A function and all that it reaches as one list of operations, in the
    /// order of their first mention, and where each function starts in it.
    /// Calls and addresses of functions become relative, as loaders take them.
    pub fn flatten(&self, entry: FuncRef) -> (Vec<Op>, Vec<(FuncRef, u32)>) {
        let order = self.reachable(entry);
        let mut starts = HashMap::new();
        let mut ops: Vec<Op> = Vec::new();
        for id in &order {
            starts.insert(*id, ops.len());
            ops.extend_from_slice(&self.functions[*id].ops);
        }
        let distance = |to, pc| starts.get(&to).map_or(-1, |to| *to as i32 - pc as i32 - 1);
        for (pc, op) in ops.iter_mut().enumerate() {
            match op {
                Op::Call(Callee::Function(to)) => {
                    *op = Op::Call(Callee::Relative(distance(*to, pc)));
                }
                Op::LoadImm { value, .. } => {
                    if let Imm64::Function(to) = value {
                        *value = Imm64::Pseudo(pseudo::FUNCTION, distance(*to, pc), 0);
                    }
                }
                _ => {}
            }
        }
        let order = order.into_iter();
        (ops, order.map(|id| (id, starts[&id] as u32)).collect())
    }
}

impl Function {
    /// Functions that are called here or whose address is taken, in the order
    /// of the instructions, with repetitions.
    pub fn callees(&self) -> impl Iterator<Item = FuncRef> {
        self.ops.iter().filter_map(|op| match *op {
            Op::Call(Callee::Function(function)) => Some(function),
            Op::LoadImm { value: Imm64::Function(function), .. } => Some(function),
            _ => None,
        })
    }

    /// Functions whose address is taken here, likewise: callbacks.
    pub fn callbacks(&self) -> impl Iterator<Item = FuncRef> {
        self.ops.iter().filter_map(|op| match *op {
            Op::LoadImm { value: Imm64::Function(function), .. } => Some(function),
            _ => None,
        })
    }
}
