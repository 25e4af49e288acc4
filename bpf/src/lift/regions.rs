//! What accesses may touch, read off the values that they go through.
//!
//! Problem: the facts follow pointers to the frame and to contexts; of pointers
//! into packets and maps they say nothing. Yet a store to a map's value leaves
//! the packet alone, which lets passes keep what they have loaded.
//!
//! Idea: a pointer's origin shows in SSA form: a slot's address, a context field
//! that holds a packet pointer, an address in a map's value, a lookup in a
//! known map. Adding anything keeps it, as nobody adds two pointers; what is
//! subtracted must be a number for sure, as the distance of two pointers points
//! nowhere. Different pointers that meet are nothing known. An optimistic fixpoint
//! takes it around loops.
//!
//! Invariants: a value only moves from not yet seen to one region, or to a number,
//! to not known, so each of its uses is looked at twice at most. Sound as far as
//! arithmetic on a pointer stays in what it points to, which a verifier sees to
//! (and for the frame's objects the facts).

use cranelift_entity::SecondaryMap;
use smallvec::SmallVec;
use tailor_ir::opcode::Effect;
use tailor_ir::{Block, Function, InstData, Opcode, Payload, Region, Size, Value, ValueDef};

use crate::Object;
use crate::ctx::{FieldValue, KINDS};
use crate::helpers::Returns;

/// What is known of a value.
#[derive(Clone, Copy, PartialEq, Default)]
enum Origin {
    /// Not seen yet.
    #[default]
    Open,
    /// A pointer into this region.
    In(Region),
    /// No pointer.
    Number,
    /// A number, or a pointer to something else.
    Other,
}

impl Origin {
    fn meet(self, other: Origin) -> Origin {
        match (self, other) {
            (Origin::Open, known) | (known, Origin::Open) => known,
            (a, b) if a == b => a,
            _ => Origin::Other,
        }
    }
}

/// Marks the accesses of a function with the regions that they stay in.
pub(super) fn infer(object: &Object, function: &mut Function) {
    let origins = Propagation::new(object, function).run();
    for data in function.insts.values_mut() {
        let (Payload::Mem { region, .. } | Payload::Atomic { region, .. }) = &mut data.payload
        else {
            continue;
        };
        if let (Region::Any, Origin::In(known)) = (*region, origins[data.args[0]]) {
            *region = known;
        }
    }
}

struct Propagation<'a> {
    function: &'a Function,
    origins: SecondaryMap<Value, Origin>,
    /// Values that are computed from a value: sums, and parameters it is passed to.
    users: SecondaryMap<Value, SmallVec<[Value; 2]>>,
    work: Vec<Value>,
}

impl<'a> Propagation<'a> {
    fn new(object: &Object, function: &'a Function) -> Propagation<'a> {
        let mut this = Propagation {
            function,
            origins: SecondaryMap::new(),
            users: SecondaryMap::new(),
            work: Vec::new(),
        };
        for &param in &function.blocks[function.entry].params {
            this.lower(param, Origin::Other);
        }
        for &block in &function.layout {
            this.collect_arguments(block);
            for &inst in &function.blocks[block].insts {
                let Some(result) = function.result(inst) else { continue };
                let data = &function.insts[inst];
                if matches!(data.op, Opcode::Iadd | Opcode::Isub) {
                    data.args.iter().for_each(|&arg| this.users[arg].push(result));
                } else {
                    this.lower(result, source(object, function, data));
                }
            }
        }
        this
    }

    fn collect_arguments(&mut self, block: Block) {
        let function = self.function;
        for target in function.blocks[block].term.targets() {
            let params = &function.blocks[target.block].params;
            for (&arg, &param) in std::iter::zip(&target.args, params) {
                self.users[arg].push(param);
            }
        }
    }

    fn run(mut self) -> SecondaryMap<Value, Origin> {
        while let Some(value) = self.work.pop() {
            for user in self.users[value].clone() {
                let origin = match self.function.values[user].def {
                    ValueDef::Param(..) => self.origins[value],
                    ValueDef::Result(inst) => self.sum(&self.function.insts[inst]),
                };
                self.lower(user, origin);
            }
        }
        self.origins
    }

    fn lower(&mut self, value: Value, origin: Origin) {
        let lowered = self.origins[value].meet(origin);
        if lowered != self.origins[value] {
            self.origins[value] = lowered;
            self.work.push(value);
        }
    }

    /// What a sum or a difference points to.
    fn sum(&self, data: &InstData) -> Origin {
        use Origin::*;
        let adds = data.op == Opcode::Iadd;
        match (self.origins[data.args[0]], self.origins[data.args[1]]) {
            (Open, _) | (_, Open) => Open,
            (Number, Number) => Number,
            (In(region), Number) => In(region),
            (In(region), Other) | (Number | Other, In(region)) if adds => In(region),
            _ => Other,
        }
    }
}

/// What a value is that is neither a sum nor a parameter.
fn source(object: &Object, function: &Function, data: &InstData) -> Origin {
    match data.payload {
        Payload::Imm(_) => Origin::Number,
        Payload::None if data.op.info().effect == Effect::Pure => Origin::Number,
        Payload::Mem { size, .. } if size != Size::D => Origin::Number,
        Payload::Slot { slot, .. } => Origin::In(Region::Stack(slot)),
        Payload::MapValue { map, .. } => Origin::In(Region::Map(map)),
        Payload::Ctx { kind, field } if data.op == Opcode::CtxLoad => {
            let field = &KINDS[usize::from(kind)].fields[usize::from(field)];
            match field.value {
                FieldValue::Packet => Origin::In(Region::Packet),
                FieldValue::Scalar => Origin::Other,
            }
        }
        Payload::Ext(callee) => {
            let row = object.helper(function.externs[callee].helper);
            let map = row.map_arg().filter(|_| row.returns == Returns::Value);
            match map.and_then(|index| function.def(*data.args.get(index)?)) {
                Some(&InstData { payload: Payload::Map(map), .. }) => Origin::In(Region::Map(map)),
                _ => Origin::Other,
            }
        }
        _ => Origin::Other,
    }
}
