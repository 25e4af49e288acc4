//! Generated input: any function survives its text form, and no text makes the
//! parser, the verifier, the graphs or the interpreter panic.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::interp::run;
use crate::interp_tests::World;
use crate::opcode::PayloadKind;
use crate::text::{parse_function, parse_module};
use crate::verifier::verify_module;
use crate::*;

/// What an instruction is made of; its opcode says what is used.
type Seed = (Opcode, bool, [u32; 6], u64, u32);

fn seeds() -> impl Strategy<Value = Vec<Seed>> {
    let imm = prop_oneof![any::<u64>(), 0..9u64, any::<i16>().prop_map(|n| n as u64)];
    let origin = prop_oneof![Just(0), any::<u32>()];
    let inst = (select(Opcode::ALL), any::<bool>(), any::<[u32; 6]>(), imm, origin);
    vec(inst, 0..12)
}

fn ty(narrow: bool) -> Type {
    if narrow { Type::I32 } else { Type::I64 }
}

fn region(bits: u64) -> Region {
    match bits % 5 {
        0 => Region::Any,
        1 => Region::Ctx,
        2 => Region::Packet,
        3 => Region::Stack(StackSlot::from_u32(bits as u32 % 9)),
        _ => Region::Map(MapRef::from_u32(bits as u32 >> 1)),
    }
}

fn payload(kind: PayloadKind, ty: Type, bits: u64) -> Payload {
    let (low, offset) = (bits as u32, (bits >> 16) as i32);
    let region = region(bits >> 5);
    match kind {
        PayloadKind::None => Payload::None,
        PayloadKind::Imm => Payload::Imm(bits & ty.mask()),
        PayloadKind::Mem => Payload::Mem { offset, size: Size::ALL[bits as usize % 4], region },
        PayloadKind::Atomic => {
            Payload::Atomic { op: AtomicOp::ALL[bits as usize % 5], offset, region }
        }
        PayloadKind::Slot => Payload::Slot { slot: StackSlot::from_u32(low % 9), offset },
        PayloadKind::Map => Payload::Map(MapRef::from_u32(low >> 1)),
        PayloadKind::MapValue => {
            Payload::MapValue { map: MapRef::from_u32(low >> 1), offset: (bits >> 32) as u32 }
        }
        PayloadKind::Func => Payload::Func(FuncRef::from_u32(low >> 1)),
        PayloadKind::Ext => Payload::Ext(ExtFunc::from_u32(low % 9)),
        PayloadKind::Ctx => Payload::Ctx { kind: bits as u8, field: (bits >> 8) as u8 },
    }
}

/// Fills the functions, whose blocks and parameters exist, with the seeds.
fn fill(function: &mut Function, blocks: &[(Vec<bool>, Vec<Seed>, f64)]) {
    for (index, (_, seeds, frequency)) in blocks.iter().enumerate() {
        let block = Block::from_u32(index as u32);
        function.blocks[block].frequency = *frequency;
        for &(op, narrow, args, bits, origin) in seeds {
            let count = function.values.len() as u32;
            let arity = op.info().args.map_or(args[0] as usize % 6, <[_]>::len);
            let args = args[..arity].iter().map(|arg| Value::from_u32(arg % count));
            let inst = function.make_inst(InstData {
                op,
                ty: ty(narrow),
                args: args.collect(),
                payload: payload(op.info().payload, ty(narrow), bits),
                origin,
            });
            function.blocks[block].insts.push(inst);
        }
        let any = |bits: u64| Value::from_u32(bits as u32 % function.values.len() as u32);
        let call = |bits: u64| BlockCall {
            block: Block::from_u32(bits as u32 % blocks.len() as u32),
            args: (0..bits % 3).map(|i| any(bits >> i)).collect(),
        };
        let bits = seeds.last().map_or(0, |seed| seed.3.rotate_left(7));
        function.blocks[block].term = match bits % 7 {
            0 => Terminator::None,
            1 => Terminator::Jump(call(bits >> 3)),
            2 | 3 => Terminator::Branch {
                cond: Cond::ALL[bits as usize % 12],
                ty: ty(bits & 1 == 0),
                lhs: any(bits >> 7),
                rhs: any(bits >> 9),
                then: call(bits >> 11),
                other: call(bits >> 13),
            },
            4 => Terminator::Return(any(bits >> 3)),
            5 => Terminator::TailCall {
                ctx: any(bits >> 4),
                array: any(bits >> 5),
                index: any(bits >> 6),
                direct: (bits & 8 == 0).then(|| (MapRef::from_u32(3), (bits >> 20) as u32)),
                fail: call(bits >> 8),
                succeeds: [TAIL_CALL_SUCCEEDS, 0.0, 1.0, 0.1][bits as usize % 4],
            },
            _ => Terminator::Trap,
        };
    }
}

/// Functions of the right form and of no sense.
fn functions() -> impl Strategy<Value = Function> {
    let frequency = prop_oneof![Just(1.0), Just(0.5), 0.0..4096.0, Just(1e-30)];
    let block = (vec(any::<bool>(), 0..4), seeds(), frequency);
    let slots = vec((any::<u32>(), any::<u32>()), 0..3);
    let externs = vec((any::<u32>(), "(?s).*", any::<u8>(), any::<[bool; 2]>()), 0..3);
    let head = ("(?s).*", any::<bool>(), slots, externs);
    let order = any::<prop::sample::Index>();
    (head, vec(block, 1..5), order).prop_map(|((name, flag, slots, externs), blocks, order)| {
        let mut function = Function::new(FuncRef::from_u32(0), name);
        function.reaches_tail_call = flag;
        for (size, align) in slots {
            function.stack_slots.push(StackSlotData { size, align, escapes: true });
        }
        for (helper, name, arity, [reads, writes]) in externs {
            function.externs.push(ExternData { helper, name, arity, reads, writes });
        }
        for (index, (params, _, _)) in blocks.iter().enumerate() {
            let block = match index {
                0 => function.entry,
                _ => function.add_block(),
            };
            for &narrow in params {
                function.add_param(block, ty(narrow));
            }
        }
        function.add_param(function.entry, Type::I64);
        fill(&mut function, &blocks);
        // Any order, and some number that the text does not show.
        let start = order.index(function.layout.len());
        function.layout.rotate_left(start);
        function.entry = function.layout[0];
        function
    })
}

/// Whether two functions are the same but for what stands in no block and the
/// numbers of instructions.
fn same(a: &Function, b: &Function) -> bool {
    let block = |&block: &Block| {
        let (a_data, b_data) = (&a.blocks[block], &b.blocks[block]);
        let insts = a_data.insts.iter().zip(&b_data.insts).all(|(&x, &y)| {
            a.insts[x] == b.insts[y]
                && a.result(x) == b.result(y)
                && a.result(x).map(|v| a.ty(v)) == b.result(y).map(|v| b.ty(v))
        });
        let types = |f: &Function, values: &[Value]| -> Vec<Type> {
            values.iter().map(|&value| f.ty(value)).collect()
        };
        insts
            && a_data.insts.len() == b_data.insts.len()
            && a_data.params == b_data.params
            && types(a, &a_data.params) == types(b, &b_data.params)
            && a_data.term == b_data.term
            && a_data.frequency == b_data.frequency
    };
    (a.id, &a.name, a.entry, &a.layout) == (b.id, &b.name, b.entry, &b.layout)
        && a.stack_slots.values().eq(b.stack_slots.values())
        && a.externs.values().eq(b.externs.values())
        && a.reaches_tail_call == b.reaches_tail_call
        && a.layout.iter().all(block)
}

/// Everything that takes functions as they come.
fn exercise(module: &Module) {
    let valid = verify_module(module);
    let errors = valid.as_ref().err().map_or(&[][..], |errors| &errors.0);
    for error in errors {
        let listing = module.functions[error.function].to_string();
        assert!(error.line <= listing.lines().count());
    }
    let mut world = World::default();
    let _ = run(module, FuncRef::from_u32(0), &[0x1000, 1], &mut world, 1000);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn functions_survive_their_text(function in functions()) {
        let text = function.to_string();
        let again = parse_function(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        prop_assert!(same(&function, &again), "{}", text);
        prop_assert_eq!(again.to_string(), text);
        let mut module = Module::new();
        module.functions.push(again);
        exercise(&module);
    }

    #[test]
    fn any_text_is_an_error_or_a_module(text in "(?s).*", words in words()) {
        for text in [text, words] {
            if let Ok(module) = parse_module(&text) {
                let printed = module.to_string();
                let again = parse_module(&printed).unwrap();
                prop_assert_eq!(again.to_string(), printed);
                exercise(&module);
            }
        }
    }
}

/// Texts of the words that the form has.
fn words() -> impl Strategy<Value = String> {
    const WORDS: &str = "function f0 \"x\" { } block0 block1 : ( ) , = v0 v1 v2 iconst.i64 \
        load.i32 u32 call_ext fn0 jump branch eq.i64 return trap any ss0 slot align helper 0 1 \
        0x 1e 1e- - + @ . ; freq i64 [ ] direct tail_call v4294967295 block4294967295";
    let words: Vec<&str> = WORDS.split(' ').collect();
    vec(select(words), 0..40).prop_map(|words| {
        let body = words.join(" ");
        format!("function f0 \"x\" {{ block0(v0: i64): {body} }}")
    })
}
