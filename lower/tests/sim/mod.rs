//! Runs machine functions over virtual registers.
//!
//! Instructions do what the processor does, upper halves included. Where the
//! function says that only the low half of a register is meaningful, the upper
//! half is scrambled at every definition, so that a use of it shows.

use tailor_ir::Size;
use tailor_ir::interp::{Host, MAX_TAIL_CALLS};
use tailor_lower::x64::inst::{Base, Cc, Extend, MInst, Mem, Rhs, Site, Symbol, Width};
use tailor_lower::{Convention, FuncRef, MachFunction};

use crate::world::World;

mod compute;

/// What travels in the record's register.
pub const RECORD: u64 = 0x7d00_dead_0000;

pub struct Sim<'a> {
    pub functions: &'a [MachFunction],
    pub world: &'a mut World,
    pub steps: u64,
    pub tail_calls: u32,
}

/// How a function ended.
enum End {
    Return(u64),
    TailCall(FuncRef, u64),
}

/// The last instruction that set flags.
#[derive(Clone, Copy)]
enum Flags {
    None,
    Cmp(Width, u64, u64),
    Test(Width, u64),
}

/// A running function.
struct Frame<'a> {
    f: &'a MachFunction,
    regs: Vec<Option<u64>>,
    slots: Vec<u64>,
    flags: Flags,
    /// The instruction that is being executed.
    inst: usize,
}

impl<'a> Sim<'a> {
    /// Runs a function, and the programs that it is replaced by.
    pub fn run(&mut self, mut func: FuncRef, args: &[u64]) -> Result<u64, String> {
        let mut args = args.to_vec();
        loop {
            match self.run_one(func, &args)? {
                End::Return(value) => return Ok(value),
                End::TailCall(target, ctx) => (func, args) = (target, vec![ctx]),
            }
        }
    }

    fn run_one(&mut self, func: FuncRef, args: &[u64]) -> Result<End, String> {
        let functions = self.functions;
        let f = &functions[func.as_u32() as usize];
        let (mut end, mut offsets) = (0u32, Vec::new());
        for slot in f.stack_slots.values() {
            offsets.push(u64::from(end.next_multiple_of(slot.align)));
            end = end.next_multiple_of(slot.align) + slot.size;
        }
        let base = self.world.push_frame(end)?;
        let mut frame = Frame {
            f,
            regs: vec![None; f.vreg_bytes.len()],
            slots: offsets.into_iter().map(|offset| base + offset).collect(),
            flags: Flags::None,
            inst: 0,
        };
        let result = self.blocks(&mut frame, args);
        self.world.pop_frame();
        result.map_err(|error| format!("{error}, at instruction {} of\n{f}", frame.inst))
    }

    fn blocks(&mut self, frame: &mut Frame<'a>, args: &[u64]) -> Result<End, String> {
        let f = frame.f;
        let mut at = 0;
        loop {
            let block = &f.blocks[at];
            for inst in block.start as usize..block.end as usize - 1 {
                frame.inst = inst;
                self.steps = self.steps.checked_sub(1).ok_or("too many steps")?;
                match f.insts[inst] {
                    MInst::Args => frame.take_args(args),
                    // As if it were the record.
                    MInst::Counter => frame.define(0, RECORD),
                    MInst::TailCall(site) => {
                        if let Some(end) = self.tail_call(frame, site)? {
                            return Ok(end);
                        }
                    }
                    MInst::CallHelper(_) | MInst::CallLocal(_) => self.call(frame)?,
                    _ => frame.execute(self.world)?,
                }
            }
            frame.inst = block.end as usize - 1;
            let next = match f.insts[frame.inst] {
                MInst::Ret => return Ok(End::Return(frame.uses()?[0])),
                MInst::Jmp => 0,
                MInst::Jcc(cc) => usize::from(!frame.holds(cc)?),
                _ => return Err("trap".into()),
            };
            at = block.succs[next].index();
            let args: Result<Vec<u64>, String> =
                block.args.iter().map(|arg| frame.read(arg.vreg())).collect();
            for (param, arg) in f.blocks[at].params.iter().zip(args?) {
                frame.write(param.vreg(), arg);
            }
        }
    }

    fn tail_call(&mut self, frame: &mut Frame<'a>, site: Site) -> Result<Option<End>, String> {
        let uses = frame.uses()?;
        let rest = match frame.f.convention {
            Convention::Saving if uses[1] != RECORD => {
                return Err("the record is not in r9".into());
            }
            Convention::Saving => &uses[2..],
            Convention::Kernel { .. } => &uses[1..],
        };
        let (array, index) = match site.slot() {
            Some((map, key)) => (self.world.map_address(map)?, key),
            None => (rest[0], rest[1] as u32),
        };
        let target = self.world.tail_call_target(array, index)?;
        Ok(match target {
            Some(target) if self.tail_calls < MAX_TAIL_CALLS => {
                self.tail_calls += 1;
                Some(End::TailCall(target, uses[0]))
            }
            _ => None,
        })
    }

    fn call(&mut self, frame: &mut Frame<'a>) -> Result<(), String> {
        let uses = frame.uses()?;
        let result = match frame.f.insts[frame.inst] {
            MInst::CallLocal(callee) => {
                let wants_record = self.functions[callee.as_u32() as usize].reaches_tail_call;
                let (args, record) = uses.split_at(uses.len() - usize::from(wants_record));
                if wants_record && record != [RECORD] {
                    return Err("the record is not passed".into());
                }
                self.run(callee, args)?
            }
            MInst::CallHelper(helper) => {
                let mut args = [0; 5];
                args[..uses.len()].copy_from_slice(&uses);
                self.world.call_helper(helper, args)?
            }
            _ => return Err("not a call".into()),
        };
        frame.define(0, result);
        Ok(())
    }
}

impl Frame<'_> {
    fn read(&self, vreg: usize) -> Result<u64, String> {
        self.regs[vreg].ok_or(format!("%{vreg} is not defined"))
    }

    fn write(&mut self, vreg: usize, value: u64) {
        let scramble = if self.f.vreg_bytes[vreg] == 8 { 0 } else { 0x5a96_33c1 << 32 };
        self.regs[vreg] = Some(value ^ scramble);
    }

    /// The values of the instruction's uses.
    fn uses(&self) -> Result<Vec<u64>, String> {
        let operands = self.f.inst_operands(self.inst).iter();
        let uses = operands.filter(|op| op.kind() == regalloc2::OperandKind::Use);
        uses.map(|op| self.read(op.vreg().vreg())).collect()
    }

    /// Sets the instruction's definition `index`.
    fn define(&mut self, index: usize, value: u64) {
        let vreg = self.f.inst_operands(self.inst)[index].vreg().vreg();
        self.write(vreg, value);
    }

    fn take_args(&mut self, args: &[u64]) {
        let order = tailor_lower::Gpr::ARGS;
        for (index, op) in self.f.inst_operands(self.inst).iter().enumerate() {
            let regalloc2::OperandConstraint::FixedReg(preg) = op.constraint() else {
                panic!("an argument without its register");
            };
            let position = order.iter().position(|reg| reg.preg() == preg);
            let value = position.map_or(RECORD, |p| args.get(p).copied().unwrap_or(0));
            self.define(index, value);
        }
    }

    /// The address of a memory operand, whose registers are the last of `uses`.
    fn address(&self, mem: Mem, uses: &[u64]) -> u64 {
        let count = usize::from(mem.base == Base::Reg) + usize::from(mem.index.is_some());
        let mut regs = uses[uses.len() - count..].iter();
        let base = match mem.base {
            Base::Reg => *regs.next().expect("a base"),
            Base::Slot(slot) => self.slots[slot.as_u32() as usize],
        };
        let index = mem.index.map_or(0, |shift| regs.next().expect("an index") << shift);
        base.wrapping_add(index).wrapping_add_signed(mem.disp.into())
    }

    fn right(&self, world: &mut World, rhs: Rhs, w: Width, uses: &[u64]) -> Result<u64, String> {
        Ok(match rhs {
            Rhs::Reg => uses[1],
            Rhs::Imm(imm) => imm as i64 as u64,
            Rhs::Mem(mem) => world.load(self.address(mem, uses), size_of(w))?,
        })
    }

    fn holds(&self, cc: Cc) -> Result<bool, String> {
        let (w, a, b) = match self.flags {
            Flags::None => return Err("no flags".into()),
            Flags::Cmp(w, a, b) => (w, a, b),
            Flags::Test(w, a) => (w, a, 0),
        };
        let (a, b) = (cut(w, a), cut(w, b));
        let (sa, sb) = (signed(w, a), signed(w, b));
        Ok(match cc {
            Cc::B => a < b,
            Cc::Ae => a >= b,
            Cc::E => a == b,
            Cc::Ne => a != b,
            Cc::Be => a <= b,
            Cc::A => a > b,
            Cc::L => sa < sb,
            Cc::Ge => sa >= sb,
            Cc::Le => sa <= sb,
            Cc::G => sa > sb,
        })
    }
}

fn size_of(w: Width) -> Size {
    match w {
        Width::W32 => Size::W,
        Width::W64 => Size::D,
    }
}

fn cut(w: Width, value: u64) -> u64 {
    match w {
        Width::W32 => value & 0xffff_ffff,
        Width::W64 => value,
    }
}

fn signed(w: Width, value: u64) -> i64 {
    match w {
        Width::W32 => i64::from(value as i32),
        Width::W64 => value as i64,
    }
}
