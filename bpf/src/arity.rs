//! How many arguments each function takes.
//!
//! Bytecode does not say it. A function takes R1 to Rn where n is the highest
//! argument register that is live at its entry: read before it is written on
//! some path. A call reads what the callee takes, a helper what its row says, a
//! tail call R1 to R3. Liveness is a backward flow over blocks; between
//! functions it is a least fixpoint from 0, callees first, so that only
//! recursion makes a function be looked at again.

use std::collections::VecDeque;

use cranelift_entity::SecondaryMap;

use crate::callgraph::CallGraph;
use crate::cfg::Cfg;
use crate::insn::{Callee, Op, Reg, Src};
use crate::{FuncRef, Object};

/// A set of registers, one bit each.
type Regs = u16;

const ARGS: Regs = 0b11_1110;
const CLOBBERED: Regs = 0b11_1111;

fn one(reg: Reg) -> Regs {
    1 << reg.index()
}

fn of(src: Src) -> Regs {
    match src {
        Src::Reg(reg) => one(reg),
        Src::Imm(_) => 0,
    }
}

/// R1 to Rn.
fn first(count: u8) -> Regs {
    ((2 << count.min(5)) - 1) & ARGS
}

type Arities = SecondaryMap<FuncRef, u8>;

/// The registers that an instruction reads.
fn reads(object: &Object, op: &Op, arities: &Arities) -> Regs {
    match *op {
        Op::Alu { dst, src, .. } => one(dst) | of(src),
        Op::Mov { src, .. } => of(src),
        Op::MovSx { src, .. } => one(src),
        Op::Neg { dst, .. } | Op::End { dst, .. } => one(dst),
        Op::Load { base, .. } | Op::LoadAcquire { base, .. } => one(base),
        Op::Store { base, src, .. } => one(base) | of(src),
        Op::Atomic { base, src, .. } | Op::StoreRelease { base, src, .. } => one(base) | one(src),
        Op::CmpXchg { base, src, .. } => one(base) | one(src) | one(Reg::R0),
        // The packet is found through the context in R6.
        Op::LoadPacket { index, .. } => one(Reg::R6) | index.map_or(0, one),
        Op::Branch { dst, src, .. } => one(dst) | of(src),
        Op::Call(callee) => match callee {
            Callee::Helper(id) => first(object.helper(id).arity()),
            Callee::Function(function) => first(arities[function]),
            Callee::Register(reg) => ARGS | one(reg),
            Callee::Relative(_) | Callee::Kfunc(_) => ARGS,
        },
        Op::Exit => one(Reg::R0),
        Op::IndirectJump { target } => one(target),
        Op::LoadImm { .. } | Op::LoadImmHi | Op::Jump { .. } | Op::MayGoto { .. } => 0,
    }
}

/// The registers that an instruction writes.
fn writes(op: &Op) -> Regs {
    match op {
        Op::Call(_) | Op::LoadPacket { .. } => CLOBBERED,
        op => op.def().map_or(0, one),
    }
}

/// The registers that are live at the entry.
fn live_in(object: &Object, ops: &[Op], cfg: &Cfg, arities: &Arities) -> Regs {
    // Of each block: read before written, and written.
    let effect = |block: &crate::cfg::CfgBlock| {
        block.slots().rev().fold((0, 0), |(live, written), slot| {
            let kills = writes(&ops[slot]);
            (live & !kills | reads(object, &ops[slot], arities), written | kills)
        })
    };
    let effects: Vec<(Regs, Regs)> = cfg.blocks.iter().map(effect).collect();
    let predecessors = cfg.predecessors();
    let mut live: Vec<Regs> = vec![0; cfg.blocks.len()];
    // Last blocks first, which for most code is one visit each.
    let mut order = cfg.reverse_post_order();
    let mut queued = vec![true; cfg.blocks.len()];
    while let Some(block) = order.pop() {
        let index = block as usize;
        queued[index] = false;
        let out = cfg.blocks[index].succs.iter().map(|&s| live[s as usize]);
        let out = out.fold(0, |all, live| all | live);
        let (read, written) = effects[index];
        let new = out & !written | read;
        if new != live[index] {
            live[index] = new;
            for &pred in predecessors.of(block) {
                if !std::mem::replace(&mut queued[pred as usize], true) {
                    order.push(pred);
                }
            }
        }
    }
    live.first().copied().unwrap_or(0)
}

/// The number of parameters of each function; 5 for those that were refused.
pub(crate) fn arities<'a>(
    object: &Object,
    graph: &CallGraph,
    cfg: impl Fn(FuncRef) -> &'a Cfg,
) -> Arities {
    let mut arities = Arities::new();
    let callers = graph.callers(object);
    let mut done = SecondaryMap::<FuncRef, bool>::new();
    let mut work: VecDeque<FuncRef> = graph.callees_first(object.functions.keys()).into();
    while let Some(function) = work.pop_front() {
        let code = &object.functions[function];
        let live = match code.refused {
            Some(_) => ARGS,
            None => live_in(object, &code.ops, cfg(function), &arities) & ARGS,
        };
        let arity = (Regs::BITS - 1).saturating_sub(live.leading_zeros()) as u8;
        done[function] = true;
        if arity > arities[function] {
            arities[function] = arity;
            // Callers that were looked at before: recursion.
            work.extend(callers[function].iter().filter(|&&caller| done[caller]));
        }
    }
    arities
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse_object;

    fn of_object(text: &str) -> Vec<u8> {
        let object = parse_object(text).expect("the test's object parses");
        let build = |f: &crate::Function| Cfg::build(&f.ops);
        let cfgs: Vec<Cfg> = object.functions.values().map(build).collect();
        let cfg = |function: FuncRef| &cfgs[function.as_u32() as usize];
        let graph = CallGraph::new(&object, cfg);
        let arities = arities(&object, &graph, cfg);
        object.functions.keys().map(|f| arities[f]).collect()
    }

    fn of_code(code: &str) -> u8 {
        of_object(&format!("program f0 \"main\" raw\n{code}"))[0]
    }

    #[test]
    fn what_is_read_before_it_is_written() {
        let cases = [
            ("r0 = 1\n exit", 0),
            ("r0 = r1\n exit", 1),
            ("r1 = 5\n r0 = r1\n exit", 0),
            ("r0 = 0\n if r3 == 0 goto +0\n exit", 3),
            ("if r1 == 0 goto +1\n r2 = 1\n r0 = r2\n exit", 2),
            ("*(u64 *)(r10 - 8) = r4\n r0 = 0\n exit", 4),
            ("r0 = r6\n exit", 0),
            ("call 5\n exit", 0),
            ("call 5\n r0 = r1\n exit", 0),
            ("r2 = 0\n r3 = 0\n call 12\n r0 = 0\n exit", 1),
            ("call 12\n r0 = 0\n exit", 3),
            ("call 5000\n exit", 5),
            ("r0 = cmpxchg_64(r2 + 0, r0, r1)\n exit", 2),
            ("r0 = 0\n goto in\n back: r0 += r2\n in: if r1 != 0 goto back\n exit", 2),
            // A branch that is never reached reads nothing.
            ("r0 = 0\n exit\n r0 = r5\n exit", 0),
            ("goto -1", 0),
            ("callx r3\n exit", 5),
        ];
        for (code, arity) in cases {
            assert_eq!(of_code(code), arity, "{code}");
        }
    }

    #[test]
    fn calls_read_what_callees_take() {
        let text = "
program f0 \"main\" raw
  r2 = 1
  call f1
  exit
function f1 \"middle\"
  r1 = 0
  call f2
  exit
function f2 \"leaf\"
  r0 = r3
  exit";
        assert_eq!(of_object(text), [3, 3, 3]);
    }

    #[test]
    fn recursion_is_a_least_fixpoint() {
        let text = "
program f0 \"main\" raw
  r1 = 0
  r3 = 0
  call f1
  exit
function f1 \"even\"
  if r1 == 0 goto +1
  call f2
  exit
function f2 \"odd\"
  r0 = r4
  call f1
  exit";
        assert_eq!(of_object(text), [4, 4, 4]);
        let forever = "program f0 \"main\" raw\n call f0\n exit";
        assert_eq!(of_object(forever), [0]);
    }
}
