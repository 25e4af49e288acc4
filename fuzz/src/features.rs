//! What a case exercises, by name: counted, so that a reader sees what a
//! million programs were about.

use std::collections::BTreeSet;

use tailor_bpf::{AluOp, Op, ProgramKind};

use crate::operations::{base, writes_memory};
use crate::program::*;

/// The features of a case.
pub fn features(case: &Case) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    found.insert(match case.kind {
        ProgramKind::Xdp => "kind: xdp",
        ProgramKind::SchedCls => "kind: sched_cls",
        _ => "kind: plain bytecode",
    });
    if !case.off.is_empty() {
        found.insert("levers off");
    }
    for function in &case.functions {
        for stmt in function.statements() {
            of_statement(case, function.role, stmt, &mut found);
        }
    }
    let tail = found.contains("tail calls");
    if tail && case.slots.iter().any(Option::is_none) {
        found.insert("tail calls: empty slots");
    }
    if tail && case.slots.iter().all(Option::is_some) {
        found.insert("tail calls: all slots full");
    }
    found
}

fn of_statement(case: &Case, role: Role, stmt: &Stmt, found: &mut BTreeSet<&'static str>) {
    match stmt {
        Stmt::Op(op) => of_operation(case, op, found),
        Stmt::If(_, then, other) => {
            found.insert("branches");
            if then.iter().chain(other).any(|stmt| matches!(stmt, Stmt::Return(_))) {
                found.insert("early exits");
            }
        }
        Stmt::Loop(_, _, body) => {
            found.insert("loops");
            if body.iter().any(|stmt| matches!(stmt, Stmt::Loop(..))) {
                found.insert("nested loops");
            }
            if body.iter().any(|stmt| matches!(stmt, Stmt::Call(..))) {
                found.insert("calls in loops");
            }
        }
        Stmt::MayGoto(leaves, _) => {
            found.insert(match leaves {
                true => "may_goto out of loops",
                false => "may_goto",
            });
        }
        Stmt::Switch { arms, .. } => {
            found.insert("jump tables");
            // Their number is a power of two.
            if !arms.len().is_power_of_two() {
                found.insert("jump tables: repeated entries");
            }
        }
        Stmt::Access { place, index, op, .. } => {
            if index.is_some() {
                found.insert("variable indices");
            }
            found.insert(match place {
                Place::Window => "stack through a pointer",
                Place::Memory => "memory through a pointer",
                Place::Packet { .. } if writes_memory(op) => "packet writes",
                Place::Packet { .. } => "packet reads",
                Place::Input => "values of arrays by address",
                Place::Element(..) => "map lookups",
                Place::Caller => "the caller's stack",
            });
            of_operation(case, op, found);
        }
        Stmt::Call(..) => {
            found.insert("subprograms");
        }
        Stmt::Repeat { .. } => {
            found.insert("callbacks");
        }
        Stmt::Helper(helper, by, _) => {
            if by.is_some() {
                found.insert("callx");
            }
            found.insert(match helper {
                Helper::Update { .. } => "map updates",
                Helper::Delete { .. } => "map deletions",
                Helper::Time | Helper::Random | Helper::Processor => "environment",
                Helper::ChecksumDifference { .. } => "checksums",
                Helper::LoadBytes { .. } | Helper::StoreBytes { .. } => "packet bytes by helper",
                Helper::RandomOrProcessor(_) => "callx: one of two helpers",
                Helper::NoHelper(_) => "callx: no helper's number",
            });
        }
        Stmt::TailCall(index, _) => {
            found.insert("tail calls");
            found.insert(match index {
                Index::Constant(_) => "tail calls: constant index",
                Index::Register(..) => "tail calls: variable index",
            });
            if role == Role::Subprogram {
                found.insert("tail calls: in subprograms");
            }
        }
        Stmt::Length(..) => {
            found.insert("context fields");
        }
        Stmt::LoadPacket(..) => {
            found.insert("LD_ABS, LD_IND");
        }
        Stmt::Return(_) => {}
    }
}

fn of_operation(case: &Case, op: &Op, found: &mut BTreeSet<&'static str>) {
    use AluOp::*;
    let is_context = base(op) == Some(tailor_bpf::Reg::R9) && case.kind != ProgramKind::Raw;
    found.insert(match op {
        _ if is_context => "context fields",
        Op::Alu { op: Div | Sdiv | Mod | Smod, .. } => "divisions",
        Op::Alu { op: Lsh | Rsh | Arsh, .. } => "shifts",
        Op::Alu { .. } => "arithmetic",
        Op::MovSx { .. } => "sign-extending moves",
        Op::End { .. } => "byte order",
        Op::Load { signed: true, .. } => "sign-extending loads",
        Op::Load { .. } => "loads",
        Op::Store { .. } => "stores",
        Op::LoadAcquire { .. } => "load-acquire",
        Op::StoreRelease { .. } => "store-release",
        Op::Atomic { .. } | Op::CmpXchg { .. } => "atomics",
        _ => "moves",
    });
}
