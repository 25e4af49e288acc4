//! Running an object in both interpreters.

use tailor_bpf::ctx::{Field, FieldValue, KINDS, XDP};
use tailor_bpf::host::{FlatHost, Host};
use tailor_bpf::{Error, FuncRef, MapRef, Object, Size, helpers, interp, lift, text};
use tailor_ir::verifier::verify_module;
use tailor_ir::{Function, Module, interp as ir_interp};

const LIMIT: u64 = 2_000_000;
/// Bytes added to stack slots.
const GAP: u32 = 64;

/// A host for both interpreters: flat memory, and helpers that mix the
/// arguments which they take into their result.
struct World(FlatHost);

impl World {
    fn field(kind: u8, field: u8) -> &'static Field {
        &KINDS[usize::from(kind)].fields[usize::from(field)]
    }
}

/// Methods that only pass on.
macro_rules! flat {
    ($(fn $name:ident(&mut self $(, $arg:ident: $ty:ty)*) -> $result:ty;)*) => {
        $(fn $name(&mut self $(, $arg: $ty)*) -> $result {
            self.0.$name($($arg),*)
        })*
    };
}

impl Host for World {
    flat! {
        fn push_frame(&mut self, bytes: u32) -> Result<u64, String>;
        fn pop_frame(&mut self) -> ();
        fn load(&mut self, address: u64, size: Size) -> Result<u64, String>;
        fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), String>;
        fn map_address(&mut self, map: MapRef) -> Result<u64, String>;
        fn map_value_address(&mut self, map: MapRef) -> Result<u64, String>;
        fn tail_call_target(&mut self, array: u64, index: u32) -> Result<Option<FuncRef>, String>;
    }

    fn call_helper(&mut self, number: u32, args: [u64; 5]) -> Result<u64, String> {
        let arity = usize::from(helpers::helper(number).arity());
        let mix = |sum: u64, arg: &u64| sum.wrapping_mul(31).wrapping_add(*arg);
        Ok(args[..arity].iter().fold(number.into(), mix))
    }
}

impl ir_interp::Host for World {
    flat! {
        fn push_frame(&mut self, bytes: u32) -> Result<u64, String>;
        fn pop_frame(&mut self) -> ();
        fn load(&mut self, address: u64, size: Size) -> Result<u64, String>;
        fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), String>;
        fn map_address(&mut self, map: MapRef) -> Result<u64, String>;
        fn map_value_address(&mut self, map: MapRef) -> Result<u64, String>;
        fn tail_call_target(&mut self, array: u64, index: u32) -> Result<Option<FuncRef>, String>;
    }

    fn func_address(&mut self, func: FuncRef) -> Result<u64, String> {
        Err(format!("the address of {func} is not asked for in these tests"))
    }

    fn call_helper(&mut self, number: u32, args: [u64; 5]) -> Result<u64, String> {
        Host::call_helper(self, number, args)
    }

    fn ctx_load(&mut self, kind: u8, field: u8, ctx: u64) -> Result<u64, String> {
        let field = Self::field(kind, field);
        self.0.load(ctx + u64::from(field.native_offset), field.native_size)
    }

    fn ctx_store(&mut self, kind: u8, field: u8, ctx: u64, value: u64) -> Result<(), String> {
        let field = Self::field(kind, field);
        self.0.store(ctx + u64::from(field.native_offset), field.native_size, value)
    }
}

fn parse(text: &str) -> Object {
    text::parse_object(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Lifts the first function of an object, valid or not.
pub fn lift_first(text: &str) -> Result<Function, Error> {
    let object = parse(text);
    let (facts, _) = tailor_bpf::analyze(&object);
    lift::lift(&object, &facts, FuncRef::from_u32(0))
}

/// Runs the first function in both interpreters; everything that can be seen
/// afterwards must be the same.
fn agree(text: &str, host: impl Fn(&Object) -> FlatHost) {
    let object = parse(text);
    let errors = tailor_bpf::validate::validate(&object);
    assert!(errors.is_empty(), "{errors:?}\n{text}");
    let (facts, errors) = tailor_bpf::analyze(&object);
    assert!(errors.is_empty(), "{errors:?}\n{text}");
    let mut module = Module::new();
    for id in object.functions.keys() {
        let lifted = lift::lift(&object, &facts, id);
        let mut lifted = lifted.unwrap_or_else(|error| panic!("{error}\n{text}"));
        // Slots need not keep the distances that objects have in the bytecode's
        // frame: between them is space where a stray access finds zeros.
        lifted.stack_slots.values_mut().for_each(|slot| slot.size += GAP);
        module.functions.push(lifted);
    }
    if let Err(errors) = verify_module(&module) {
        panic!("{errors}\n{module}");
    }
    let entry = FuncRef::from_u32(0);
    let (mut original, mut copy) = (World(host(&object)), World(host(&object)));
    let args = original.0.args();
    let expected = interp::run(&object, &facts, entry, args, &mut original, LIMIT);
    let expected = expected.unwrap_or_else(|error| panic!("{error}\n{text}"));
    let parameters = usize::from(facts.functions[entry].parameters);
    let found = ir_interp::run(&module, entry, &args[..parameters.min(2)], &mut copy, LIMIT);
    assert_eq!(found, Ok(expected), "\n{text}\n{module}");
    let (original, copy) = (original.0, copy.0);
    let same = original.memory() == copy.memory()
        && original.packet() == copy.packet()
        && object.maps.keys().all(|map| original.map_value(map) == copy.map_value(map));
    assert!(same, "memory differs\n{text}\n{module}");
}

/// Plain bytecode over these bytes.
pub fn agree_on_memory(text: &str, memory: Vec<u8>) {
    agree(text, |object| FlatHost::new(object, memory.clone()));
}

/// An XDP program that gets these bytes, and numbers in its context whose
/// halves and bytes differ.
pub fn agree_on_packet(text: &str, packet: Vec<u8>) {
    agree(text, |object| {
        let mut host = FlatHost::xdp(object, packet.clone());
        let context = host.args()[0];
        let fields = KINDS[usize::from(XDP)].fields.iter();
        for field in fields.filter(|field| field.value == FieldValue::Scalar) {
            let address = context + u64::from(field.native_offset);
            host.store(address, field.native_size, 0x8182_8384 + address).unwrap();
        }
        host
    });
}
