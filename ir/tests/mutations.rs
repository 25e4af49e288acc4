//! The verifier against damage: random changes of generated modules. What it
//! accepts, the interpreter runs without meeting anything invalid, the text
//! form keeps, and the passes turn into what it accepts again. Most of the
//! damage it refuses. `TAILOR_SEEDS=from..to` chooses others than the usual ones.

mod pass_differential {
    pub mod generate;
    pub mod host;
    pub mod random;
}
use pass_differential::generate;
use pass_differential::host::{BUFFER, World};
use pass_differential::random::Random;

use tailor_ir::interp::{Cause, run};
use tailor_ir::passes::{self, Context};
use tailor_ir::text::parse_module;
use tailor_ir::verifier::verify_module;
use tailor_ir::{
    Block, FuncRef, Function, Inst, Module, Opcode, Payload, Size, StackSlot, Terminator, Type,
    Value, ValueData, ValueDef,
};

fn some_value(function: &Function, random: &mut Random) -> Value {
    Value::from_u32(random.below(function.values.len()) as u32)
}

fn some_block(function: &Function, random: &mut Random) -> Block {
    Block::from_u32(random.below(function.blocks.len()) as u32)
}

/// An instruction of the layout, if that block has any.
fn some_inst(function: &Function, random: &mut Random) -> Option<(Block, usize, Inst)> {
    let block = some_block(function, random);
    let insts = &function.blocks[block].insts;
    let at = random.below(insts.len());
    insts.get(at).map(|&inst| (block, at, inst))
}

/// Changes one thing.
fn damage(function: &mut Function, random: &mut Random) -> Option<()> {
    let value = some_value(function, random);
    let block = some_block(function, random);
    match random.below(16) {
        0..3 => {
            let (_, _, inst) = some_inst(function, random)?;
            let args = &mut function.insts[inst].args;
            let at = random.below(args.len());
            *args.get_mut(at)? = value;
        }
        3 => {
            let (_, _, inst) = some_inst(function, random)?;
            function.insts[inst].op = random.pick(Opcode::ALL);
        }
        4 => {
            let (_, _, inst) = some_inst(function, random)?;
            let ty = &mut function.insts[inst].ty;
            *ty = if *ty == Type::I32 { Type::I64 } else { Type::I32 };
        }
        5 => {
            let (from, at, inst) = some_inst(function, random)?;
            function.blocks[from].insts.remove(at);
            let to = random.below(function.blocks[block].insts.len() + 1);
            function.blocks[block].insts.insert(to, inst);
        }
        6 => {
            let (_, _, inst) = some_inst(function, random)?;
            function.blocks[block].insts.push(inst);
        }
        7 => {
            let mut targets = function.blocks[block].term.targets_mut();
            let which = random.below(targets.len());
            let args = &mut targets.get_mut(which)?.args;
            let at = random.below(args.len());
            *args.get_mut(at)? = value;
        }
        8 => {
            let mut targets = function.blocks[block].term.targets_mut();
            let which = random.below(targets.len());
            targets.get_mut(which)?.args.pop()?;
        }
        9 => {
            let to = some_block(function, random);
            let mut targets = function.blocks[block].term.targets_mut();
            let which = random.below(targets.len());
            targets.get_mut(which)?.block = to;
        }
        10 => {
            let other = some_block(function, random);
            let term = function.blocks[other].term.clone();
            function.blocks[block].term = term;
        }
        11 => function.blocks[block].term = Terminator::Return(value),
        12 => {
            let (_, _, inst) = some_inst(function, random)?;
            match &mut function.insts[inst].payload {
                Payload::Imm(bits) => *bits = random.next(),
                Payload::Mem { size, .. } => *size = random.pick(&Size::ALL),
                Payload::Slot { slot, .. } => *slot = StackSlot::from_u32(3),
                Payload::Func(func) => *func = FuncRef::from_u32(random.below(4) as u32),
                other => *other = Payload::None,
            }
        }
        13 if !function.layout.is_empty() => {
            let at = random.below(function.layout.len());
            function.layout.remove(at);
        }
        14 => {
            let ty = random.pick(&[Type::I32, Type::I64]);
            function.values[value] = ValueData { ty, ..function.values[value] };
        }
        _ => {
            let params = function.blocks[block].params.len() as u32;
            let def = ValueDef::Param(block, random.below(params as usize + 1) as u32);
            function.values[value].def = def;
        }
    }
    Some(())
}

/// Checks one damaged module; tells whether the verifier accepted it.
fn check(seed: u64) -> bool {
    let mut module: Module = generate::module(seed);
    let mut random = Random(!seed);
    for _ in 0..1 + random.below(2) {
        let number = FuncRef::from_u32(random.below(3) as u32);
        damage(&mut module.functions[number], &mut random);
    }
    if verify_module(&module).is_err() {
        return false;
    }
    let text = module.to_string();
    let again = parse_module(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
    assert_eq!(again.to_string(), text, "seed {seed}");
    let mut world = World::new();
    let result = run(&module, FuncRef::from_u32(0), &[4, 7, BUFFER], &mut world, 100_000);
    if let Err(error) = result {
        assert!(!matches!(error.cause, Cause::Invalid(_)), "seed {seed}: {error}\n{text}");
    }
    for function in module.functions.values_mut() {
        let mut context = Context { verify: true, ..Context::default() };
        if let Err(broken) = passes::run(function, &mut context) {
            panic!("seed {seed}: {broken}\n{text}\nbecame\n{}", broken.listing);
        }
    }
    true
}

#[test]
fn what_is_accepted_is_sound() {
    let text = std::env::var("TAILOR_SEEDS").unwrap_or("0..4000".into());
    let (from, to) = text.split_once("..").expect("TAILOR_SEEDS is from..to");
    let seeds = from.parse().unwrap()..to.parse::<u64>().unwrap();
    let total = seeds.end - seeds.start;
    let accepted = seeds.filter(|&seed| check(seed)).count() as u64;
    println!("{accepted} of {total}");
    assert!(accepted * 20 > total && accepted * 4 < total * 3, "{accepted} of {total} accepted");
}
