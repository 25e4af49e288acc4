//! Names for the values of a machine function, as somebody who reads the
//! program's source would call them.

use std::collections::BTreeSet;

use regalloc2::{OperandConstraint, OperandKind, VReg};
use tailor_bpf::ctx::KINDS;
use tailor_bpf::facts::FunctionFacts;
use tailor_bpf::helpers::helper;
use tailor_bpf::{FuncRef, Function, Op, ProgramKind};
use tailor_emit::Gpr;
use tailor_lower::x64::inst::Base;
use tailor_lower::{CALL_BY_NUMBER, MInst, MachFunction, Symbol};

use crate::compile::Unit;

/// An instruction of the bytecode, and how often it is executed.
#[derive(Clone, Debug, PartialEq)]
pub struct At {
    /// Slot in the function.
    pub insn: u32,
    /// File and number of its source line, where the object says.
    pub line: Option<(String, u32)>,
    /// The line itself; empty where the object does not say.
    pub text: String,
    /// Executions per execution of the function.
    pub frequency: f64,
}

/// What a virtual register holds, and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Its name in listings.
    pub name: String,
    /// Bytes of it that mean something.
    pub bytes: u8,
    /// What it is; several where paths meet.
    pub what: Vec<String>,
    /// Where these are computed; none of what is there at entry.
    pub defined: Vec<Option<At>>,
}

/// Where paths meet, so many of the values that meet are named.
const MOST_SOURCES: usize = 4;

#[derive(Clone, Copy)]
enum Definition {
    Nowhere,
    By(usize),
    /// A block's parameter: its block, and its number there.
    Param(usize, usize),
}

/// The values of a function.
pub(super) struct Values<'a> {
    unit: &'a Unit,
    func: FuncRef,
    mach: &'a MachFunction,
    definitions: Vec<Definition>,
    /// By instruction.
    frequency: Vec<f64>,
}

impl<'a> Values<'a> {
    pub fn new(unit: &'a Unit, func: FuncRef, mach: &'a MachFunction) -> Values<'a> {
        let mut definitions = vec![Definition::Nowhere; mach.vreg_bytes.len()];
        let mut frequency = vec![0.0; mach.insts.len()];
        for (number, block) in mach.blocks.iter().enumerate() {
            for (index, param) in block.params.iter().enumerate() {
                definitions[param.vreg()] = Definition::Param(number, index);
            }
            for (insts, times) in mach.weighed(block) {
                frequency[insts].fill(times);
            }
        }
        for inst in 0..mach.insts.len() {
            for operand in mach.inst_operands(inst) {
                if operand.kind() == OperandKind::Def {
                    definitions[operand.vreg().vreg()] = Definition::By(inst);
                }
            }
        }
        Values { unit, func, mach, definitions, frequency }
    }

    fn source(&self) -> &'a Function {
        &self.unit.object.functions[self.func]
    }

    fn facts(&self) -> &'a FunctionFacts {
        &self.unit.facts.functions[self.func]
    }

    /// Where a machine instruction comes from.
    pub fn at(&self, inst: usize) -> At {
        let insn = self.mach.info[inst].origin;
        let line = self.source().lines.at(insn);
        let text = line.as_ref().map_or(String::new(), |line| line.text.to_string());
        let line = line.map(|line| (line.file.to_string(), line.number));
        At { insn, line, text, frequency: self.frequency[inst] }
    }

    /// The chance that a tail call leaves the function.
    pub fn leaves(&self, tail_call: usize) -> f64 {
        let blocks = &self.mach.blocks;
        blocks[blocks.partition_point(|block| block.end as usize <= tail_call)].leaves
    }

    /// What a call calls; what another instruction is.
    pub fn call(&self, inst: usize) -> String {
        match self.mach.insts[inst] {
            MInst::CallHelper(CALL_BY_NUMBER) => "a helper by number".into(),
            MInst::CallHelper(number) => helper_name(number),
            MInst::CallLocal(callee) => self.unit.object.functions[callee].name.clone(),
            MInst::TailCall(_) => "tail call".into(),
            _ => format!("`{}`", self.code(inst)),
        }
    }

    /// The bytecode instruction that one comes from.
    pub fn code(&self, inst: usize) -> String {
        let insn = self.mach.info[inst].origin as usize;
        self.source().ops.get(insn).map_or(String::new(), Op::to_string)
    }

    /// What a virtual register holds. Copies are what they are copied from, and
    /// where paths meet, what they bring.
    pub fn describe(&self, vreg: VReg) -> Value {
        let mut value = Value {
            name: format!("%{}", vreg.vreg()),
            bytes: self.mach.vreg_bytes[vreg.vreg()],
            what: Vec::new(),
            defined: Vec::new(),
        };
        let mut seen = BTreeSet::from([vreg]);
        let mut left = vec![vreg];
        while let Some(vreg) = left.pop() {
            let mut more = |source: VReg| {
                if seen.insert(source) {
                    left.push(source);
                }
            };
            match self.definitions[vreg.vreg()] {
                Definition::Nowhere => {}
                Definition::Param(block, index) => {
                    let preds = self.mach.blocks[block].preds.iter();
                    let args = preds.map(|pred| &self.mach.blocks[pred.index()].args);
                    args.filter_map(|args| args.get(index)).for_each(|&arg| more(arg));
                }
                Definition::By(inst) => match self.copied(inst) {
                    Some(source) => more(source),
                    None => self.add_source(&mut value, inst, vreg),
                },
            }
        }
        let hidden = value.what.len().saturating_sub(MOST_SOURCES);
        if hidden > 0 {
            value.what.truncate(MOST_SOURCES);
            value.defined.truncate(MOST_SOURCES);
            value.what.push(format!("{hidden} more"));
            value.defined.push(None);
        }
        value
    }

    fn copied(&self, inst: usize) -> Option<VReg> {
        let copies = matches!(self.mach.insts[inst], MInst::Mov(_));
        let mut uses = self.mach.inst_operands(inst).iter();
        let source = uses.find(|operand| operand.kind() == OperandKind::Use)?;
        copies.then_some(source.vreg())
    }

    fn add_source(&self, value: &mut Value, inst: usize, vreg: VReg) {
        let again = if self.mach.info[inst].recomputed { ", computed again" } else { "" };
        let what = self.what(inst, vreg) + again;
        // Constants are made where they are wanted, which may be anywhere.
        let placeless = match self.mach.insts[inst] {
            MInst::Args | MInst::Counter => true,
            MInst::Imm(_) | MInst::Addr(_) => self.mach.info[inst].origin == 0,
            _ => false,
        };
        let at = (!placeless).then(|| self.at(inst));
        // What was computed twice is one value to a reader.
        let place = |at: &Option<At>| at.as_ref().map(|at| at.insn);
        let mut known = value.what.iter().zip(&value.defined);
        if !known.any(|(other, defined)| *other == what && place(defined) == place(&at)) {
            value.what.push(what);
            value.defined.push(at);
        }
    }

    /// What an instruction defines in a register.
    fn what(&self, inst: usize, vreg: VReg) -> String {
        match self.mach.insts[inst] {
            MInst::Args => self.argument(inst, vreg),
            MInst::Counter => "address of the tail-call counter".into(),
            MInst::CallHelper(_) | MInst::CallLocal(_) => {
                format!("result of {}", self.call(inst))
            }
            MInst::Imm(number) => format!("constant {}", number as i64),
            MInst::Addr(symbol) => self.symbol(symbol),
            MInst::Lea(_, mem) => match mem.base {
                Base::Slot(slot) => format!("address in {slot}"),
                Base::Reg => format!("expression `{}`", self.code(inst)),
            },
            MInst::Load(_, mem) => match (self.field(inst), mem.base) {
                (Some(field), _) => field,
                (None, Base::Slot(slot)) => format!("load from {slot}, `{}`", self.code(inst)),
                (None, Base::Reg) => format!("load `{}`", self.code(inst)),
            },
            _ => format!("expression `{}`", self.code(inst)),
        }
    }

    /// The field of the context that an instruction loads.
    fn field(&self, inst: usize) -> Option<String> {
        let access = self.facts().ctx_accesses.get(&self.mach.info[inst].origin)?;
        let kind = KINDS.get(usize::from(access.kind))?;
        Some(format!("{}.{}", kind.name, kind.fields.get(usize::from(access.field))?.name))
    }

    fn argument(&self, inst: usize, vreg: VReg) -> String {
        let operands = self.mach.inst_operands(inst).iter();
        let reg =
            operands.filter(|operand| operand.vreg() == vreg).find_map(|operand| {
                match operand.constraint() {
                    OperandConstraint::FixedReg(preg) => Some(Gpr::from_preg(preg)),
                    _ => None,
                }
            });
        let position = reg.and_then(|reg| Gpr::ARGS.iter().position(|arg| *arg == reg));
        match position {
            None => "the invocation record (tail-call counter)".into(),
            Some(0) => match self.program_kind() {
                Some(kind) if kind != ProgramKind::Raw => "the context (argument 1)".into(),
                _ => "argument 1".into(),
            },
            Some(position) => format!("argument {}", position + 1),
        }
    }

    /// Of a function that is a program.
    pub fn program_kind(&self) -> Option<ProgramKind> {
        let mut programs = self.unit.object.programs.values();
        programs.find(|program| program.function == self.func).map(|program| program.kind)
    }

    fn symbol(&self, symbol: Symbol) -> String {
        let object = &self.unit.object;
        let map = |map| &*object.maps[map].name;
        match symbol {
            Symbol::Map(id) => format!("address of map {}", map(id)),
            Symbol::MapValue(id, offset) => format!("address of {}+{offset}", map(id)),
            Symbol::MapSlot(id, slot) => format!("address of slot {slot} of {}", map(id)),
            Symbol::Function(id) | Symbol::Entry(id) => {
                format!("address of {}", object.functions[id].name)
            }
            Symbol::Helper(number) | Symbol::HelperCell(number) => {
                format!("address of {}", helper_name(number))
            }
        }
    }
}

fn helper_name(number: u32) -> String {
    match helper(number).name {
        "unknown" => format!("helper {number}"),
        name => format!("bpf_{name}"),
    }
}
