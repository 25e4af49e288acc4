//! The unwind table of every example, at every instruction: what gimli reads in
//! it against a run of the code's effect on the stack.
//!
//! The run has numbers for all that the table speaks of: rsp, the callee-saved
//! registers, the stack's words. It goes along every branch once, from the
//! entry, and knows nothing of frames: what an unwinder then computes by the
//! table's rules must be what the registers were at the entry.

use std::collections::{BTreeSet, HashMap};

use gimli::{
    BaseAddresses, CfaRule, EhFrame, LittleEndian, RegisterRule, UnwindContext, UnwindSection,
    UnwindTableRow,
};
use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register,
};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind};
use tailor::emit::Poking;
use tailor::emit::elf::PokeRecord;
use tailor::{Engine, Trace, Unit};

use crate::examples;

/// Where the run's stack begins, the return address on it.
const ENTRY_RSP: i64 = 0x7000_0000 + 8;
/// Where the table is taken to lie, the code lying at 0.
const TABLE: u64 = 0x4000_0000;
const CALLEE_SAVED: [Register; 6] =
    [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];

/// Registers and stack, as far as they are numbers.
#[derive(Clone)]
struct Machine {
    regs: HashMap<Register, i64>,
    stack: HashMap<i64, i64>,
}

/// What is on the stack, or in a register, at the entry.
fn at_entry(register: Register) -> i64 {
    0x5a5a_0000 + register.number() as i64
}

impl Machine {
    fn new() -> Machine {
        let mut regs: HashMap<_, _> = CALLEE_SAVED.map(|reg| (reg, at_entry(reg))).into();
        regs.insert(Register::RSP, ENTRY_RSP);
        Machine { regs, stack: HashMap::from([(ENTRY_RSP, at_entry(Register::RIP))]) }
    }

    fn rsp(&self) -> i64 {
        self.regs[&Register::RSP]
    }

    fn address(&self, instruction: &Instruction) -> Option<i64> {
        let base = self.regs.get(&instruction.memory_base())?;
        let plain = instruction.memory_index() == Register::None;
        plain.then(|| base + instruction.memory_displacement64() as i64)
    }

    fn operand(&self, instruction: &Instruction, number: u32) -> Option<i64> {
        match instruction.op_kind(number) {
            OpKind::Register => self.regs.get(&instruction.op_register(number)).copied(),
            OpKind::Memory => self.stack.get(&self.address(instruction)?).copied(),
            _ => instruction.try_immediate(number).ok().map(|value| value as i64),
        }
    }

    fn set(&mut self, register: Register, value: Option<i64>) {
        match value {
            Some(value) => self.regs.insert(register, value),
            None => self.regs.remove(&register),
        };
    }

    fn push(&mut self, value: Option<i64>) {
        let rsp = self.rsp() - 8;
        self.regs.insert(Register::RSP, rsp);
        self.store(rsp, 8, value);
    }

    fn pop(&mut self) -> Option<i64> {
        let value = self.stack.get(&self.rsp()).copied();
        self.regs.insert(Register::RSP, self.rsp() + 8);
        value
    }

    fn store(&mut self, at: i64, bytes: i64, value: Option<i64>) {
        self.stack.retain(|&word, _| word + 8 <= at || at + bytes <= word);
        if let Some(value) = value
            && bytes == 8
        {
            self.stack.insert(at, value);
        }
    }

    fn execute(&mut self, instruction: &Instruction, info: &mut InstructionInfoFactory) {
        let arithmetic = |f: fn(i64, i64) -> i64| {
            Some(f(self.operand(instruction, 0)?, self.operand(instruction, 1)?))
        };
        let into_register = instruction.op0_kind() == OpKind::Register;
        let result = match instruction.code() {
            Code::Push_r64 => return self.push(self.operand(instruction, 0)),
            Code::Pop_r64 => {
                let value = self.pop();
                return self.set(instruction.op0_register(), value);
            }
            Code::Leaveq => {
                self.set(Register::RSP, self.regs.get(&Register::RBP).copied());
                let value = self.pop();
                return self.set(Register::RBP, value);
            }
            Code::Mov_r64_rm64 | Code::Mov_rm64_r64 => self.operand(instruction, 1),
            Code::Lea_r64_m => self.address(instruction),
            Code::Add_rm64_imm8 | Code::Add_rm64_imm32 => arithmetic(i64::wrapping_add),
            Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32 => arithmetic(i64::wrapping_sub),
            Code::And_rm64_imm8 => arithmetic(|a, b| a & b),
            _ => None,
        };
        let used = info.info(instruction);
        let writes = |access| {
            !matches!(
                access,
                OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
            )
        };
        let rsp = self.rsp() + i64::from(instruction.stack_pointer_increment());
        if !into_register
            && let Some(at) = self.address(instruction)
            && used.used_memory().iter().any(|memory| writes(memory.access()))
        {
            self.store(at, instruction.memory_size().size() as i64, result);
        }
        for register in used.used_registers().iter().filter(|used| writes(used.access())) {
            self.regs.remove(&register.register().full_register());
        }
        if into_register && result.is_some() {
            self.set(instruction.op0_register(), result);
        }
        if instruction.stack_pointer_increment() != 0 {
            self.regs.insert(Register::RSP, rsp);
        }
        if matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
            // The callee has returned; what it may change is gone, with what was below rsp.
            let rsp = rsp + 8;
            self.regs.retain(|register, _| CALLEE_SAVED.contains(register));
            self.regs.insert(Register::RSP, rsp);
            self.stack.retain(|&word, _| word >= rsp);
        }
    }
}

/// A relocatable file as the test reads it.
struct File {
    text: Vec<u8>,
    table: Vec<u8>,
    /// Name, start and length.
    functions: Vec<(String, u64, u64)>,
    /// Offsets in the code that relocations fill in.
    filled: BTreeSet<u64>,
    /// Jumps that are nops while a slot is set.
    bypasses: BTreeSet<u64>,
    /// Nops that are jumps to another program while it is.
    targets: BTreeSet<u64>,
}

impl File {
    fn read(bytes: &[u8]) -> File {
        let file = object::File::parse(bytes).expect("an ELF file");
        let text = file.section_by_name(".text").expect("code");
        let section = file.section_by_name(".eh_frame").expect("a table");
        let mut table = section.data().expect("its bytes").to_vec();
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(symbol) = relocation.target() else { panic!("a symbol") };
            let symbol = file.symbol_by_index(symbol).expect("a symbol");
            let value = symbol.address() as i64 + relocation.addend() - (TABLE + offset) as i64;
            let field = offset as usize..offset as usize + 4;
            table[field].copy_from_slice(&(value as i32).to_le_bytes());
        }
        let functions = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
        let functions = functions
            .map(|symbol| (symbol.name().expect("a name").into(), symbol.address(), symbol.size()));
        let functions: Vec<(String, u64, u64)> = functions.collect();
        let pokes = tailor::emit::elf::read_pokes(bytes).expect("its pokes");
        let starts: HashMap<_, _> = functions.iter().map(|f| (f.0.clone(), f.1)).collect();
        let place = |poke: &PokeRecord, offset: u32| starts[&poke.owner] + u64::from(offset);
        File {
            bypasses: pokes.iter().map(|poke| place(poke, poke.poke.bypass)).collect(),
            targets: pokes.iter().map(|poke| place(poke, poke.poke.target)).collect(),
            functions,
            text: text.data().expect("its bytes").to_vec(),
            table,
            filled: text.relocations().map(|(offset, _)| offset).collect(),
        }
    }
}

/// Runs a function and compares at each instruction; returns their number.
fn check(file: &File, name: &str, start: u64, len: u64) -> usize {
    let table = EhFrame::new(&file.table, LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(TABLE).set_text(0);
    let mut context = UnwindContext::new();
    let mut info = InstructionInfoFactory::new();
    let mut decoder = Decoder::with_ip(64, &file.text, 0, DecoderOptions::NONE);
    let mut seen = BTreeSet::new();
    let mut pending = vec![(start, Machine::new())];
    while let Some((at, mut machine)) = pending.pop() {
        if !seen.insert(at) {
            continue;
        }
        let place = format!("{name} at {:#x}", at - start);
        assert!(at >= start && at < start + len, "{place}: outside");
        let row = table
            .unwind_info_for_address(&bases, &mut context, at, EhFrame::cie_from_offset)
            .unwrap_or_else(|error| panic!("{place}: {error}"));
        compare(row, &machine, &place);
        decoder.set_position(at as usize).expect("in the code");
        decoder.set_ip(at);
        let instruction = decoder.decode();
        assert!(!instruction.is_invalid(), "{place}: no instruction");
        let next = instruction.next_ip();
        let leaves = file.filled.range(at..next).next().is_some();
        machine.execute(&instruction, &mut info);
        let flow = instruction.flow_control();
        let branches =
            matches!(flow, FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch);
        if branches && !leaves {
            pending.push((instruction.near_branch_target(), machine.clone()));
        }
        let stops = matches!(
            flow,
            FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch
                | FlowControl::Return
                | FlowControl::Exception
        );
        let goes_on = file.bypasses.contains(&at) || !stops && !file.targets.contains(&at);
        if goes_on {
            pending.push((next, machine));
        }
    }
    // The run went everywhere: what it left out is padding.
    let mut at = start;
    while at < start + len {
        decoder.set_position(at as usize).expect("in the code");
        decoder.set_ip(at);
        let instruction = decoder.decode();
        let padding = matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3);
        assert!(padding || seen.contains(&at), "{name} at {:#x}: never reached", at - start);
        at = instruction.next_ip();
    }
    seen.len()
}

/// What the row says against what is.
fn compare(row: &UnwindTableRow<usize>, machine: &Machine, place: &str) {
    let CfaRule::RegisterAndOffset { register, offset } = *row.cfa() else {
        panic!("{place}: {:?}", row.cfa());
    };
    let held = |register| machine.regs.get(&from_dwarf(register)).copied();
    let cfa = held(register).unwrap_or_else(|| panic!("{place}: no {register:?}")) + offset;
    assert_eq!(cfa, ENTRY_RSP + 8, "{place}: frame");
    let wanted = CALLEE_SAVED.into_iter().chain([Register::RIP]);
    for wanted in wanted {
        let number = gimli::Register(to_dwarf(wanted));
        let found = match row.register(number) {
            Some(RegisterRule::Offset(offset)) => machine.stack.get(&(cfa + offset)).copied(),
            Some(RegisterRule::Register(other)) => held(other),
            None | Some(RegisterRule::SameValue) => held(number),
            rule => panic!("{place}: {rule:?}"),
        };
        assert_eq!(found, Some(at_entry(wanted)), "{place}: {wanted:?}");
    }
}

/// DWARF's numbers, in the psABI's order.
const DWARF: [Register; 17] = [
    Register::RAX,
    Register::RDX,
    Register::RCX,
    Register::RBX,
    Register::RSI,
    Register::RDI,
    Register::RBP,
    Register::RSP,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
    Register::RIP,
];

fn from_dwarf(register: gimli::Register) -> Register {
    DWARF[usize::from(register.0)]
}

fn to_dwarf(register: Register) -> u16 {
    DWARF.iter().position(|&other| other == register).expect("it has one") as u16
}

fn check_unit(unit: &Unit, engine: Engine, poking: Poking) -> [usize; 2] {
    let mut trace = Trace::checked();
    trace.poking = Some(poking);
    let compiled = tailor::compile(unit, engine, None, &mut trace);
    assert!(compiled.errors.is_empty(), "{engine}: {:?}", compiled.errors);
    let file = tailor::relocatable(unit, &compiled).expect("it can be written");
    let file = File::read(&file);
    let checked = file.functions.iter().map(|(name, start, len)| check(&file, name, *start, *len));
    [file.functions.len(), checked.sum()]
}

#[test]
fn the_unwind_table_is_right_at_every_instruction() {
    let engines = [
        (Engine::Tailor, Poking::Patch),
        (Engine::Tailor, Poking::Data),
        (Engine::TailorKernel, Poking::Patch),
        (Engine::TailorKernel, Poking::Data),
        (Engine::Naive612, Poking::Patch),
    ];
    let examples = examples();
    for (engine, poking) in engines {
        let [mut functions, mut instructions] = [0; 2];
        for unit in &examples {
            let [some, more] = check_unit(unit, engine, poking);
            functions += some;
            instructions += more;
        }
        assert!(functions > examples.len(), "{engine}: {functions} functions");
        println!("{engine}, {poking:?}: {instructions} instructions of {functions} functions");
    }
}
