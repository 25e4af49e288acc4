//! Random functions of all shapes, run before and after everything that is done to
//! them: what stands in registers and in the frame's bytes is what the function
//! computed.
//!
//! regalloc2's checker knows regalloc2's answer. What comes after it (slots taken
//! apart, registers saved on some paths, halves, memory shared) is run here, byte by
//! byte, with everything destroyed that may be.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use cranelift_entity::EntityRef;
use regalloc2::{Allocation, OperandKind, VReg};
use tailor_lower::x64::inst::{Base, Extend};
use tailor_lower::{Gpr, MInst, MachFunction, Role};

use crate::bound::lower_bound;
use crate::holdings::holdings;
use crate::levers::{Lever, Levers};
use crate::random::{Random, wild};
use crate::steps::{Located, Step};
use crate::{Allocated, Options, prepare};

/// What stands for the address of an object.
const ADDRESS: u64 = 0xadd0_0000_0000_0000;

/// Blocks that a run goes through at most.
const MOST_BLOCKS: usize = 60;

fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn low(value: u64, bytes: u8) -> u64 {
    if bytes == 4 { value & 0xffff_ffff } else { value }
}

/// The bytes that an instruction reads of a value.
fn counting(function: &MachFunction, inst: usize, vreg: VReg) -> u8 {
    function.vreg_bytes[vreg.vreg()].min(function.slot_bytes(inst) as u8)
}

/// What a run shows: what is done with effects, and what these read, each with the
/// bytes that count.
#[derive(Default)]
struct Run {
    seen: Vec<(&'static str, Vec<(u64, u8)>)>,
    ended: bool,
    branches: u64,
}

impl Run {
    /// Which way a branch or a tail call goes.
    fn turn(&mut self, seed: u64) -> bool {
        self.branches += 1;
        hash((seed, self.branches)).is_multiple_of(3)
    }
}

/// Where values are: virtual registers, or registers and bytes of a frame.
trait Places {
    fn uses(&mut self, function: &MachFunction, inst: usize) -> Vec<(u64, u8)>;
    fn define(&mut self, function: &MachFunction, inst: usize, values: &[u64]);
    fn object(&mut self, slot: usize) -> &mut [u8];
    /// The function is left.
    fn leave(&mut self, _inst: usize) {}
}

/// Executes an instruction.
fn execute(
    function: &MachFunction,
    inst: usize,
    seed: u64,
    places: &mut impl Places,
    run: &mut Run,
) {
    let code = &function.insts[inst];
    let uses = places.uses(function, inst);
    let inputs: Vec<u64> = uses.iter().map(|&(value, bytes)| low(value, bytes)).collect();
    let mut results = Vec::new();
    let role = function.info[inst].role;
    match code {
        MInst::Args => results.extend((0..6).map(|number| hash((seed, "argument", number)))),
        MInst::Mov(_) | MInst::Ext(Extend::None64) => results.push(inputs[0]),
        MInst::Ext(Extend::Zero32) => results.push(inputs[0] & 0xffff_ffff),
        MInst::Lea(_, mem) => match mem.base {
            Base::Slot(slot) => results.push(ADDRESS + slot.index() as u64),
            Base::Reg => results.push(hash((format!("{code:?}"), &inputs))),
        },
        MInst::Load(_, mem) => {
            let Base::Slot(slot) = mem.base else { unreachable!() };
            let bytes = &places.object(slot.index())[mem.disp as usize..][..8];
            results.push(u64::from_le_bytes(bytes.try_into().unwrap()));
        }
        MInst::Store(_, mem) => {
            let Base::Slot(slot) = mem.base else { unreachable!() };
            let bytes = &mut places.object(slot.index())[mem.disp as usize..][..8];
            bytes.copy_from_slice(&inputs[0].to_le_bytes());
        }
        MInst::CallHelper(_) | MInst::CallLocal(_) => {
            let seen = called(function, uses, places);
            results.push(hash(("helper", run.seen.len(), seed)));
            run.seen.push(("call", seen));
        }
        MInst::TailCall(_) => {
            run.seen.push(("tail call", uses));
            if run.turn(seed) {
                run.ended = true;
                places.leave(inst);
                return;
            }
            results.push(0);
        }
        MInst::Cmp(..) => run.seen.push(("comparison", uses)),
        MInst::Ret => {
            run.seen.push(("return", uses));
            places.leave(inst);
            run.ended = true;
        }
        MInst::Trap => run.ended = true,
        MInst::Jmp | MInst::Jcc(_) => {}
        _ => {
            assert!(role == Role::Plain && code.is_pure(), "{code:?}");
            results.push(hash((format!("{code:?}"), &inputs)));
        }
    }
    places.define(function, inst, &results);
}

/// What a call is given. It changes the objects that it gets addresses of; seen of
/// these is what was in them.
fn called(
    function: &MachFunction,
    mut given: Vec<(u64, u8)>,
    places: &mut impl Places,
) -> Vec<(u64, u8)> {
    let objects = 0..function.stack_slots.len() as u64;
    for (value, _) in given.iter_mut().filter(|(_, bytes)| *bytes == 8) {
        let object = value.wrapping_sub(ADDRESS);
        if objects.contains(&object) {
            let bytes = places.object(object as usize);
            *value = hash(&*bytes);
            bytes.fill(hash((*value, "written")) as u8);
        }
    }
    given
}

/// The values of virtual registers.
struct Virtual {
    values: Vec<u64>,
    objects: Vec<Vec<u8>>,
}

impl Places for Virtual {
    fn uses(&mut self, function: &MachFunction, inst: usize) -> Vec<(u64, u8)> {
        let operands = function.inst_operands(inst).iter();
        let uses = operands.filter(|operand| operand.kind() == OperandKind::Use);
        let value = |vreg: VReg| (self.values[vreg.vreg()], counting(function, inst, vreg));
        uses.map(|operand| value(operand.vreg())).collect()
    }

    fn define(&mut self, function: &MachFunction, inst: usize, values: &[u64]) {
        let operands = function.inst_operands(inst).iter();
        let defs = operands.filter(|operand| operand.kind() == OperandKind::Def);
        defs.zip(values).for_each(|(operand, &value)| self.values[operand.vreg().vreg()] = value);
    }

    fn object(&mut self, slot: usize) -> &mut [u8] {
        &mut self.objects[slot]
    }
}

/// A run before allocation.
fn run(function: &MachFunction, seed: u64) -> Run {
    let mut run = Run::default();
    let mut places = Virtual {
        values: vec![0; function.vreg_bytes.len()],
        objects: function.stack_slots.values().map(|slot| vec![0; slot.size as usize]).collect(),
    };
    let mut at = 0;
    for _ in 0..MOST_BLOCKS {
        let block = &function.blocks[at];
        for inst in block.start as usize..block.end as usize {
            execute(function, inst, seed, &mut places, &mut run);
            if run.ended {
                return run;
            }
        }
        at = next(function, at, seed, &mut run);
        let passed: Vec<u64> = block.args.iter().map(|arg| places.values[arg.vreg()]).collect();
        for (param, value) in function.blocks[at].params.iter().zip(passed) {
            places.values[param.vreg()] = value;
        }
    }
    run
}

fn next(function: &MachFunction, at: usize, seed: u64, run: &mut Run) -> usize {
    let succs = &function.blocks[at].succs;
    let way = if succs.len() == 1 { 0 } else { usize::from(run.turn(seed)) };
    succs[way].index()
}

/// Registers and a frame.
struct Real<'a> {
    located: &'a Located<'a>,
    allocated: &'a Allocated,
    registers: [u64; 16],
    at_entry: [u64; 16],
    /// From the lowest byte that the frame has on, below what is pushed.
    frame: Vec<u8>,
    noise: u64,
}

impl Real<'_> {
    fn noise(&mut self) -> u64 {
        self.noise = hash(self.noise);
        self.noise
    }

    /// The place in the frame of an offset.
    fn place(&self, offset: i32) -> usize {
        let layout = &self.allocated.frame;
        let lowest = if layout.frame_pointer { layout.adjust } else { layout.red_zone };
        usize::try_from(offset + lowest as i32).expect("it is in the frame")
    }

    fn slot(&mut self, location: Allocation, bytes: usize) -> &mut [u8] {
        let slot = location.as_stack().unwrap().index();
        let layout = &self.allocated.frame;
        assert!(bytes <= usize::from(layout.spill_bytes[slot]), "{bytes} bytes of slot {slot}");
        let start = self.place(layout.spills[slot]);
        &mut self.frame[start..start + bytes]
    }

    fn read(&mut self, location: Allocation, bytes: usize) -> u64 {
        if let Some(preg) = location.as_reg() {
            return self.registers[preg.hw_enc()];
        }
        let mut value = self.noise().to_le_bytes();
        value[..bytes].copy_from_slice(self.slot(location, bytes));
        u64::from_le_bytes(value)
    }

    /// The bytes above are destroyed.
    fn write(&mut self, location: Allocation, value: u64, bytes: usize) {
        let noise = self.noise();
        match location.as_reg() {
            Some(preg) if bytes == 4 => {
                self.registers[preg.hw_enc()] = low(value, 4) | noise << 32;
            }
            Some(preg) => self.registers[preg.hw_enc()] = value,
            None => self.slot(location, bytes).copy_from_slice(&value.to_le_bytes()[..bytes]),
        }
    }
}

impl Places for Real<'_> {
    fn uses(&mut self, function: &MachFunction, inst: usize) -> Vec<(u64, u8)> {
        let located = self.located;
        let uses = located.uses(inst).map(|(vreg, location)| {
            let value = self.read(location, function.slot_bytes(inst).min(8) as usize);
            (value, counting(function, inst, vreg))
        });
        uses.collect()
    }

    fn define(&mut self, function: &MachFunction, inst: usize, values: &[u64]) {
        for preg in function.info[inst].clobbers {
            self.registers[preg.hw_enc()] = self.noise();
        }
        self.registers[usize::from(Gpr::SCRATCH.enc())] = self.noise();
        if function.info[inst].role.is_call() {
            let below = self.allocated.frame.red_zone as usize;
            self.frame[..below].fill(0xcc);
        }
        let located = self.located;
        for ((vreg, location), &value) in located.defs(inst).zip(values) {
            let counts = function.vreg_bytes[vreg.vreg()];
            let bytes = match location.is_stack() {
                true => function.slot_bytes(inst) as usize,
                false => usize::from(counts),
            };
            self.write(location, value, bytes);
        }
    }

    fn object(&mut self, slot: usize) -> &mut [u8] {
        let function = self.located.function;
        let slot = function.stack_slots.keys().nth(slot).unwrap();
        let start = self.place(self.allocated.frame.slots[slot]);
        &mut self.frame[start..start + function.stack_slots[slot].size as usize]
    }

    fn leave(&mut self, inst: usize) {
        let allocated = self.allocated;
        if self.located.function.info[inst].role == Role::TailCall {
            for placed in allocated.restored_at(inst) {
                let value = self.read(placed.slot, 8);
                self.write(Allocation::reg(placed.reg.preg()), value, 8);
            }
        }
        for reg in Gpr::CALLEE_SAVED {
            let number = usize::from(reg.enc());
            let pushed = allocated.frame.saved.contains(&reg)
                || allocated.frame.frame_pointer && reg == Gpr::RBP;
            assert!(
                pushed || self.registers[number] == self.at_entry[number],
                "{reg} is lost at {inst}"
            );
        }
    }
}

/// A run of what was allocated.
fn run_allocated(function: &MachFunction, allocated: &Allocated, seed: u64) -> Run {
    let located = allocated.located(function);
    let mut run = Run::default();
    let registers = std::array::from_fn(|number| hash((seed, number)));
    let layout = &allocated.frame;
    let mut places = Real {
        located: &located,
        allocated,
        registers,
        at_entry: registers,
        frame: vec![0xee; (layout.adjust + layout.red_zone) as usize],
        noise: seed,
    };
    let mut at = 0;
    for _ in 0..MOST_BLOCKS {
        for step in located.steps(at) {
            match step {
                Step::Move { edit, from, to } => {
                    assert!(!(from.is_stack() && to.is_stack()), "from memory to memory");
                    let bytes = allocated.move_bytes(edit) as usize;
                    let value = places.read(from, bytes);
                    places.write(to, value, bytes);
                }
                Step::Inst(inst) => execute(function, inst, seed, &mut places, &mut run),
            }
            if run.ended {
                return run;
            }
        }
        at = next(function, at, seed, &mut run);
    }
    run
}

/// Compares what both show; where one was cut off, up to there.
fn compare(before: &Run, after: &Run) -> Result<(), String> {
    if before.ended && after.ended && before.seen.len() != after.seen.len() {
        return Err(format!("{} and {} are seen", before.seen.len(), after.seen.len()));
    }
    for (at, (a, b)) in before.seen.iter().zip(&after.seen).enumerate() {
        let alike = |((a, bytes), (b, others)): (&(u64, u8), &(u64, u8))| {
            let bytes = *bytes.min(others);
            low(*a, bytes) == low(*b, bytes)
        };
        if a.0 != b.0 || a.1.len() != b.1.len() || !a.1.iter().zip(&b.1).all(alike) {
            return Err(format!("number {at}: {a:x?} became {b:x?}"));
        }
    }
    Ok(())
}

/// Whether a parameter may always be what another value is. The passes take that out;
/// where it is left in, one place can do for both, and bounds are too high.
fn has_equal_params(function: &MachFunction) -> bool {
    function.blocks.iter().any(|block| {
        let (preds, params) = (&block.preds, &block.params);
        let passed = |pred: &regalloc2::Block| &function.blocks[pred.index()].args;
        let twice = |args: &Vec<VReg>| (1..args.len()).any(|at| args[..at].contains(&args[at]));
        let others = |at: usize| {
            let args = preds.iter().map(move |pred| passed(pred)[at]);
            args.filter(|arg| *arg != params[at]).collect::<HashSet<VReg>>()
        };
        !params.is_empty() && preds.iter().any(|pred| twice(passed(pred)))
            || (0..params.len()).any(|at| others(at).len() == 1)
    })
}

fn check(seed: u64, function: &MachFunction, options: &Options, levers: &str) {
    let bound = lower_bound(function, options.keeps_addresses).unwrap();
    let prepared = prepare(function.clone(), options);
    let (split, allocated) = prepared.allocate(options).unwrap();
    let after = split.as_ref().unwrap_or(&prepared.function);
    let listing = || {
        format!("seed {seed}, {levers}\n{function}\n{}", crate::text::listing(after, &allocated))
    };
    let least = allocated.frame.frame_bytes() - allocated.frame.padding;
    assert!(
        least >= bound || has_equal_params(function),
        "{least} < {bound}, {:?}: {}",
        crate::bound::tightest(function, options.keeps_addresses),
        listing()
    );
    holdings(after, &allocated);
    for way in 0..6 {
        let way = hash((seed, way));
        let found = std::panic::catch_unwind(|| {
            compare(&run(function, way), &run_allocated(after, &allocated, way))
        });
        assert!(matches!(found, Ok(Ok(()))), "{found:?}\n{}", listing());
    }
}

#[test]
fn what_is_computed_stays() {
    let number = |name, or| std::env::var(name).map_or(or, |text| text.parse().unwrap());
    let first: u64 = number("TAILOR_SEED", 1);
    for seed in first..first + number("TAILOR_SEEDS", 1_000) {
        let random = &mut Random(hash(seed) | 1);
        let function = wild::function(random);
        let single = Lever::ALL.iter().map(std::slice::from_ref);
        for off in single.chain([&[][..], &Lever::ALL]) {
            let relies = random.chance(50);
            let mut levers = Levers::without(off);
            if random.chance(20) {
                levers = levers.excluding(random.one_of(&Gpr::CALLEE_SAVED));
            }
            let options = Options {
                check: true,
                ion_limit: if random.chance(15) { 0 } else { 10_000 },
                relies_on_alignment: &|_| relies,
                keeps_addresses: &|helper| helper == 2,
                levers,
            };
            check(seed, &function, &options, &format!("{off:?}"));
        }
    }
}
