//! The allocator's rules for its input, checked on a machine function, and the
//! allocator itself with its checker.

use std::collections::HashSet;

use regalloc2::{Operand, OperandConstraint, OperandKind, OperandPos, VReg};
use tailor_lower::{MInst, MachFunction, Role};

mod allocate;

/// What is wrong with a function, if anything is.
pub fn check(f: &MachFunction) -> Result<(), String> {
    let fail = |what: String| Err(format!("{what}\n{f}"));
    if f.insts.len() != f.info.len() {
        return fail("instructions and facts differ in number".into());
    }
    let mut next = 0;
    for info in &f.info {
        if info.first != next {
            return fail("operands are not in order".into());
        }
        next += u32::from(info.count);
    }
    if next as usize != f.operands.len() {
        return fail("operands left over".into());
    }
    check_graph(f).or_else(fail)?;
    check_definitions(f).or_else(fail)?;
    for inst in 0..f.insts.len() {
        check_inst(f, inst).or_else(|what| fail(format!("instruction {inst}: {what}")))?;
    }
    allocate::allocate(f).or_else(fail)
}

fn check_graph(f: &MachFunction) -> Result<(), String> {
    if !f.blocks[0].preds.is_empty() || !f.blocks[0].params.is_empty() {
        return Err("the entry has predecessors or parameters".into());
    }
    let mut next = 0;
    for (index, block) in f.blocks.iter().enumerate() {
        let fail = |what: &str| Err(format!("b{index}: {what}"));
        if block.start != next || block.end <= block.start {
            return fail("wrong range of instructions");
        }
        next = block.end;
        for inst in block.start..block.end {
            let ends =
                matches!(f.info[inst as usize].role, Role::Branch | Role::Return | Role::Trap);
            if ends != (inst + 1 == block.end) {
                return fail("ends in the middle or not at all");
            }
        }
        let expected = match f.insts[block.end as usize - 1] {
            MInst::Jcc(_) => 2,
            MInst::Jmp => 1,
            _ => 0,
        };
        if block.succs.len() != expected {
            return fail("wrong number of successors");
        }
        if block.succs.len() != 1 && !block.args.is_empty() {
            return fail("arguments without a single successor");
        }
        for succ in &block.succs {
            let succ = &f.blocks[succ.index()];
            if succ.params.len() != block.args.len() {
                return fail("wrong number of arguments");
            }
            if block.succs.len() > 1 && succ.preds.len() > 1 {
                return fail("critical edge");
            }
            if !succ.preds.iter().any(|pred| pred.index() == index) {
                return fail("not among its successor's predecessors");
            }
        }
    }
    if next as usize != f.insts.len() {
        return Err("instructions left over".into());
    }
    Ok(())
}

/// Every register is defined once, before (in layout order) it is used.
fn check_definitions(f: &MachFunction) -> Result<(), String> {
    let mut defined = HashSet::<VReg>::new();
    let define = |defined: &mut HashSet<VReg>, vreg: VReg| {
        if vreg.vreg() >= f.vreg_bytes.len() || !defined.insert(vreg) {
            return Err(format!("{vreg} defined twice, or has no width"));
        }
        Ok(())
    };
    for (index, block) in f.blocks.iter().enumerate() {
        for &param in &block.params {
            define(&mut defined, param)?;
        }
        for inst in block.start as usize..block.end as usize {
            for op in f.inst_operands(inst) {
                if op.kind() == OperandKind::Use && !defined.contains(&op.vreg()) {
                    return Err(format!("b{index}: {} used before it is defined", op.vreg()));
                }
            }
            for op in f.inst_operands(inst) {
                if op.kind() == OperandKind::Def {
                    define(&mut defined, op.vreg())?;
                }
            }
        }
        for &arg in &block.args {
            if !defined.contains(&arg) {
                return Err(format!("b{index}: {arg} passed before it is defined"));
            }
        }
    }
    Ok(())
}

fn check_inst(f: &MachFunction, inst: usize) -> Result<(), String> {
    let operands = f.inst_operands(inst);
    if f.info[inst].role == Role::Branch && !operands.is_empty() {
        return Err("a branch with operands".into());
    }
    let mut uses_begin = false;
    let (mut early_regs, mut late_regs) = (HashSet::new(), HashSet::new());
    for op in operands {
        let is_use = op.kind() == OperandKind::Use;
        if uses_begin && !is_use {
            return Err("a definition after a use".into());
        }
        uses_begin |= is_use;
        match op.constraint() {
            OperandConstraint::FixedReg(preg) => {
                if !is_use && f.info[inst].clobbers.contains(preg) {
                    return Err("a definition that is a clobber too".into());
                }
                let early = op.pos() == OperandPos::Early;
                if early && !early_regs.insert(preg) || !is_use && !late_regs.insert(preg) {
                    return Err("two values in one register".into());
                }
            }
            OperandConstraint::Reuse(index) => {
                let reused: Option<&Operand> = operands.get(index);
                let right = reused.is_some_and(|op| {
                    op.kind() == OperandKind::Use && op.constraint() == OperandConstraint::Reg
                });
                if !right {
                    return Err("reuses what is not a register use".into());
                }
            }
            _ => {}
        }
    }
    Ok(())
}
