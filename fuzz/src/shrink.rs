//! Makes a case that fails smaller as long as it fails.
//!
//! An [`Edit`] leaves something out or makes it simpler; the edits of a case
//! are a list, the largest first. Shrinking applies the first that still fails,
//! until none does. An edit leaves a case as valid as it was, since every
//! statement can be removed and no register is without a value where it is
//! named. The numbers of the edits that were taken lead from the original to
//! the result again, so that each trial can be made by another process.

use tailor_bpf::{Imm64, Op, Src};

use crate::generate;
use crate::operations::register;
use crate::program::*;

/// One way to make a case simpler. Lists of statements are numbered in order,
/// outer before inner, across all functions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// Forgets a function that nothing refers to.
    DropFunction(usize),
    /// Runs another program.
    Run(usize),
    /// Runs a subprogram instead of the program.
    Promote(usize),
    /// Empties a slot of the program array.
    EmptySlot(usize),
    /// Removes statements: list, first, count.
    Remove(usize, usize, usize),
    /// Replaces a statement by one of its bodies.
    Unwrap(usize, usize, usize),
    /// Replaces a call by what the function does.
    Inline(usize, usize),
    /// Shows no longer what is observed there.
    Hide(usize, usize),
    /// A loop runs once, or a switch loses its last arm.
    Once(usize, usize),
    /// No index is added, or a helper is called by a constant number.
    Fix(usize, usize),
    /// Sets a register to something simpler at the start.
    Start(usize, usize, Option<Initial>),
    /// Replaces a statement's immediate.
    Immediate(usize, usize, u64),
    /// Clears a word of the input.
    ClearInput(usize),
    /// Clears the packet or memory.
    ClearData,
}

/// The smallest case that still fails, and the edits taken. `fails` is asked at
/// most `trials` times.
pub fn shrink(
    case: &Case,
    mut trials: usize,
    fails: &mut dyn FnMut(&Case, &[usize]) -> bool,
) -> (Case, Vec<usize>) {
    let (mut case, mut trail) = (case.clone(), Vec::new());
    let mut start = 0;
    loop {
        let edits = edits(&case);
        let mut found = None;
        // Where the last one was found the next ones are.
        for step in 0..edits.len() {
            let number = (start + step) % edits.len();
            let Some(smaller) = apply(&case, &edits[number]) else {
                continue;
            };
            if trials == 0 {
                return (case, trail);
            }
            trials -= 1;
            trail.push(number);
            if fails(&smaller, &trail) {
                found = Some((number, smaller));
                break;
            }
            trail.pop();
        }
        let Some((number, smaller)) = found else {
            return (case, trail);
        };
        (start, case) = (number, smaller);
    }
}

/// The case that a list of edits leads to.
pub fn follow(case: &Case, trail: &[usize]) -> Option<Case> {
    let mut case = case.clone();
    for &number in trail {
        case = apply(&case, edits(&case).get(number)?)?;
    }
    Some(case)
}

/// All edits of a case.
pub fn edits(case: &Case) -> Vec<Edit> {
    let mut edits = Vec::new();
    edits.extend((1..case.functions.len()).map(Edit::DropFunction));
    let programs = case.functions.iter().filter(|f| f.role == Role::Program).count();
    edits.extend((1..programs).map(Edit::Run));
    edits.extend((programs..case.functions.len()).map(Edit::Promote));
    let full = (0..case.slots.len()).filter(|&slot| case.slots[slot].is_some());
    edits.extend(full.map(Edit::EmptySlot));
    let lists = lists(case);
    let longest = lists.iter().map(|list| list.len()).max().unwrap_or(0);
    let mut count = longest.next_power_of_two();
    while count > 0 {
        for (list, statements) in lists.iter().enumerate() {
            let starts = (0..statements.len()).step_by(count);
            let fits = |&first: &usize| count == 1 || first + count / 2 < statements.len();
            edits.extend(starts.filter(fits).map(|first| Edit::Remove(list, first, count)));
        }
        count /= 2;
    }
    for (list, statements) in lists.iter().enumerate() {
        for (at, stmt) in statements.iter().enumerate() {
            edits.extend((0..stmt.bodies().len()).map(|body| Edit::Unwrap(list, at, body)));
            if matches!(stmt, Stmt::Call(..)) {
                edits.push(Edit::Inline(list, at));
            }
        }
    }
    for (number, function) in case.functions.iter().enumerate() {
        edits.extend((0..function.observed.len()).map(|at| Edit::Hide(number, at)));
    }
    for (list, statements) in lists.iter().enumerate() {
        for (at, stmt) in statements.iter().enumerate() {
            match stmt {
                Stmt::Loop(2.., ..) => edits.push(Edit::Once(list, at)),
                Stmt::Switch { arms, .. } if arms.len() > 1 => edits.push(Edit::Once(list, at)),
                Stmt::Access { index: Some(_), .. } | Stmt::Helper(_, Some(_), _) => {
                    edits.push(Edit::Fix(list, at));
                }
                _ => {}
            }
            if let Some(value) = immediate(stmt) {
                let smaller = simpler(value).into_iter();
                edits.extend(smaller.map(|value| Edit::Immediate(list, at, value)));
            }
        }
    }
    for (number, function) in case.functions.iter().enumerate() {
        for (at, initial) in function.initial.iter().enumerate() {
            match initial {
                None => {}
                Some(Initial::Constant(value)) => {
                    edits.push(Edit::Start(number, at, None));
                    let smaller = simpler(*value).into_iter().map(|v| Some(Initial::Constant(v)));
                    edits.extend(smaller.map(|initial| Edit::Start(number, at, initial)));
                }
                Some(Initial::Input(word)) => {
                    let constant = Initial::Constant(case.input[*word]);
                    edits.push(Edit::Start(number, at, None));
                    edits.push(Edit::Start(number, at, Some(constant)));
                }
            }
        }
    }
    let words = (0..INPUTS).filter(|&word| case.input[word] != 0);
    edits.extend(words.map(Edit::ClearInput));
    if case.data.iter().any(|byte| *byte != 0) {
        edits.push(Edit::ClearData);
    }
    edits
}

/// The case after an edit, if it is one that can be made.
pub fn apply(case: &Case, edit: &Edit) -> Option<Case> {
    let mut new = case.clone();
    match *edit {
        Edit::DropFunction(number) => drop_function(&mut new, number)?,
        Edit::Run(number) => {
            // It takes the first one's place, which is dropped.
            new.functions.swap(0, number);
            for slot in new.slots.iter_mut().flatten() {
                *slot = if *slot == number { 0 } else { *slot };
            }
            new.functions[number].body.clear();
        }
        Edit::Promote(number) => {
            let mut promoted = new.functions[number].clone();
            let of_caller =
                |stmt: &&Stmt| matches!(stmt, Stmt::Access { place: Place::Caller, .. });
            if promoted.role != Role::Subprogram || promoted.statements().iter().any(of_caller) {
                return None;
            }
            promoted.role = Role::Program;
            // Or it could be done again and again.
            new.functions[number].body.clear();
            new.functions[0] = promoted;
        }
        Edit::EmptySlot(slot) => new.slots[slot] = None,
        Edit::Remove(list, first, count) => {
            let list = list_mut(&mut new, list)?;
            let end = (first + count).min(list.len());
            list.drain(first..end);
        }
        Edit::Unwrap(list, at, body) => {
            let list = list_mut(&mut new, list)?;
            let body = list.get(at)?.bodies()[body].clone();
            if matches!(body.last(), Some(Stmt::Return(_))) {
                return None;
            }
            list.splice(at..=at, body);
        }
        Edit::Inline(list, at) => {
            let list = list_mut(&mut new, list)?;
            let Stmt::Call(callee, ..) = *list.get(at)? else {
                return None;
            };
            let callee = &case.functions[callee];
            // What only means something in a function of its own.
            let own = |stmt: &&Stmt| match stmt {
                Stmt::Return(_) | Stmt::Loop(..) | Stmt::MayGoto(true, _) => true,
                Stmt::Access { place, .. } => *place == Place::Caller,
                _ => false,
            };
            if callee.statements().iter().any(own) {
                return None;
            }
            list.splice(at..=at, callee.body.clone());
        }
        Edit::Hide(function, at) => {
            new.functions[function].observed.remove(at);
        }
        Edit::Once(list, at) => match list_mut(&mut new, list)?.get_mut(at)? {
            Stmt::Loop(count, ..) => *count = 1,
            Stmt::Switch { arms, .. } if arms.len() > 1 => arms.truncate(arms.len() - 1),
            _ => return None,
        },
        Edit::Fix(list, at) => match list_mut(&mut new, list)?.get_mut(at)? {
            Stmt::Access { index, .. } => *index = None,
            Stmt::Helper(_, by, _) => *by = None,
            _ => return None,
        },
        Edit::Start(function, at, initial) => {
            let function = &mut new.functions[function];
            if initial.is_none() && reads(function, at) {
                return None;
            }
            function.initial[at] = initial;
        }
        Edit::Immediate(list, at, value) => {
            set_immediate(list_mut(&mut new, list)?.get_mut(at)?, value)?;
        }
        Edit::ClearInput(word) => new.input[word] = 0,
        Edit::ClearData => new.data.fill(0),
    }
    Some(new)
}

/// Whether a register may be read in a function before it is written.
fn reads(function: &Function, number: usize) -> bool {
    let reg = register(number);
    let observed = function.observed.contains(&Observed::Register(reg));
    observed || function.body.iter().any(|stmt| generate::reads(stmt, reg))
}

/// Removes a function that nothing refers to; those behind it move up.
fn drop_function(case: &mut Case, number: usize) -> Option<()> {
    let calls = |stmt: &&Stmt| match stmt {
        Stmt::Call(callee, ..) | Stmt::Repeat { callee, .. } => *callee == number,
        _ => false,
    };
    let called = case.functions.iter().any(|f| f.statements().iter().any(calls));
    if called || case.slots.contains(&Some(number)) {
        return None;
    }
    case.functions.remove(number);
    let renumber = |callee: &mut usize| {
        if *callee > number {
            *callee -= 1;
        }
    };
    case.slots.iter_mut().flatten().for_each(renumber);
    for function in &mut case.functions {
        each(&mut function.body, &mut |stmt| match stmt {
            Stmt::Call(callee, ..) | Stmt::Repeat { callee, .. } => renumber(callee),
            _ => {}
        });
    }
    Some(())
}

fn each(body: &mut [Stmt], change: &mut dyn FnMut(&mut Stmt)) {
    for stmt in body {
        change(stmt);
        for inner in stmt.bodies_mut() {
            each(inner, change);
        }
    }
}

fn lists(case: &Case) -> Vec<&Vec<Stmt>> {
    fn collect<'a>(list: &'a Vec<Stmt>, all: &mut Vec<&'a Vec<Stmt>>) {
        all.push(list);
        for stmt in list {
            for inner in stmt.bodies() {
                collect(inner, all);
            }
        }
    }
    let mut all = Vec::new();
    for function in &case.functions {
        collect(&function.body, &mut all);
    }
    all
}

fn list_mut(case: &mut Case, number: usize) -> Option<&mut Vec<Stmt>> {
    fn find<'a>(list: &'a mut Vec<Stmt>, left: &mut usize) -> Option<&'a mut Vec<Stmt>> {
        if *left == 0 {
            return Some(list);
        }
        *left -= 1;
        list.iter_mut().flat_map(Stmt::bodies_mut).find_map(|inner| find(inner, left))
    }
    let mut left = number;
    case.functions.iter_mut().find_map(|function| find(&mut function.body, &mut left))
}

/// Values to try instead of one, the simplest first.
fn simpler(value: u64) -> Vec<u64> {
    let mut values = vec![0, 1, value & 0xff, value & 0xffff_ffff, value & 0xffff_ffff_0000_0000];
    values.retain(|other| *other < value);
    values.dedup();
    values
}

/// The immediate that decides what a statement does, with what is set again
/// behind calls.
fn immediate(stmt: &Stmt) -> Option<u64> {
    match stmt {
        Stmt::Op(op) | Stmt::If(op, ..) => match op {
            Op::Alu { src: Src::Imm(imm), .. }
            | Op::Mov { src: Src::Imm(imm), .. }
            | Op::Store { src: Src::Imm(imm), .. }
            | Op::Branch { src: Src::Imm(imm), .. } => Some(u64::from(*imm as u32)),
            Op::LoadImm { value: Imm64::Const(value), .. } => Some(*value),
            _ => None,
        },
        Stmt::Call(_, _, refill)
        | Stmt::Helper(_, _, refill)
        | Stmt::Switch { refill, .. }
        | Stmt::TailCall(_, refill)
        | Stmt::Access { refill, .. }
        | Stmt::LoadPacket(_, refill)
        | Stmt::Repeat { refill, .. } => Some(u64::from(*refill as u32)),
        _ => None,
    }
}

fn set_immediate(stmt: &mut Stmt, value: u64) -> Option<()> {
    match stmt {
        Stmt::Op(op) | Stmt::If(op, ..) => match op {
            // The kernel refuses a division by a constant zero.
            Op::Alu { op, src: Src::Imm(_), .. } if value == 0 && is_division(*op) => return None,
            Op::Alu { src: Src::Imm(imm), .. }
            | Op::Mov { src: Src::Imm(imm), .. }
            | Op::Store { src: Src::Imm(imm), .. }
            | Op::Branch { src: Src::Imm(imm), .. } => *imm = value as i32,
            Op::LoadImm { value: old, .. } => *old = Imm64::Const(value),
            _ => return None,
        },
        Stmt::Call(_, _, refill)
        | Stmt::Helper(_, _, refill)
        | Stmt::Switch { refill, .. }
        | Stmt::TailCall(_, refill)
        | Stmt::Access { refill, .. }
        | Stmt::LoadPacket(_, refill)
        | Stmt::Repeat { refill, .. } => *refill = value as i32,
        _ => return None,
    }
    Some(())
}

fn is_division(op: tailor_bpf::AluOp) -> bool {
    use tailor_bpf::AluOp::*;
    matches!(op, Div | Sdiv | Mod | Smod)
}
