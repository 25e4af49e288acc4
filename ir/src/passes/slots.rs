//! How stack slots are used.
//!
//! An address in a slot is `stack_addr` or such an address plus a constant.
//! A slot escapes if an address in it is used in any way other than to derive
//! another such address, or to load or store at it inside the slot: passed to
//! a call or another block, stored, compared, an operand of an atomic access.
//! Nothing but the loads and stores found here can touch a slot that does not
//! escape: calls and tail calls do not observe it.

use cranelift_entity::SecondaryMap;

use crate::{Function, Inst, Opcode, Payload, Size, StackSlot, Value};

/// The use of all slots of a function.
pub(super) struct SlotUses {
    addresses: SecondaryMap<Value, Option<Address>>,
    escapes: SecondaryMap<StackSlot, bool>,
}

/// A place in the frame.
#[derive(Clone, Copy)]
struct Address {
    slot: StackSlot,
    offset: i64,
}

/// A load or store of a whole number of bytes inside a slot that does not escape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub slot: StackSlot,
    /// First byte.
    pub lo: u32,
    pub size: Size,
}

impl Access {
    /// One past the last byte.
    pub fn hi(self) -> u32 {
        self.lo + self.size.bytes()
    }
}

impl SlotUses {
    /// Looks at all instructions; definitions must come before uses.
    pub fn new(function: &Function) -> SlotUses {
        let mut uses = SlotUses { addresses: SecondaryMap::new(), escapes: SecondaryMap::new() };
        if function.stack_slots.is_empty() {
            return uses;
        }
        for &block in &function.layout {
            let data = &function.blocks[block];
            for &inst in &data.insts {
                uses.visit(function, inst);
            }
            data.term.for_each_use(|value| uses.escape(value));
        }
        uses
    }

    /// What an instruction reads or writes of a slot that does not escape.
    pub fn access(&self, function: &Function, inst: Inst) -> Option<Access> {
        let access = self.candidate(function, inst)?;
        (!self.escapes[access.slot]).then_some(access)
    }

    fn escape(&mut self, value: Value) {
        if let Some(address) = self.addresses[value] {
            self.escapes[address.slot] = true;
        }
    }

    fn visit(&mut self, function: &Function, inst: Inst) {
        if let (Some(result), Some(address)) = (function.result(inst), self.derive(function, inst))
        {
            self.addresses[result] = Some(address);
            return;
        }
        let args = &function.insts[inst].args[..];
        // The address operand of a load or store is no escape; what is stored is.
        let skipped = usize::from(self.candidate(function, inst).is_some());
        args.iter().skip(skipped).for_each(|&arg| self.escape(arg));
    }

    /// The address that an instruction computes.
    fn derive(&self, function: &Function, inst: Inst) -> Option<Address> {
        let data = &function.insts[inst];
        if let Payload::Slot { slot, offset } = data.payload {
            let offset = offset.into();
            return Some(Address { slot, offset });
        }
        let plus = |value: Value, constant: Value, sign: i64| {
            let base = self.addresses[value]?;
            let constant = function.constant(constant)? as i64;
            let offset = base.offset.wrapping_add(constant.wrapping_mul(sign));
            Some(Address { offset, ..base })
        };
        match (data.op, &data.args[..]) {
            (Opcode::Iadd, &[x, y]) => plus(x, y, 1).or_else(|| plus(y, x, 1)),
            (Opcode::Isub, &[x, y]) => plus(x, y, -1),
            _ => None,
        }
    }

    fn candidate(&self, function: &Function, inst: Inst) -> Option<Access> {
        let data = &function.insts[inst];
        let (Opcode::Load | Opcode::Sload | Opcode::Store, Payload::Mem { offset, size, .. }) =
            (data.op, data.payload)
        else {
            return None;
        };
        let address = self.addresses[data.args[0]]?;
        let lo = address.offset.checked_add(offset.into())?;
        let limit = i64::from(function.stack_slots[address.slot].size);
        let inside = lo >= 0 && lo <= limit - i64::from(size.bytes());
        inside.then_some(Access { slot: address.slot, lo: lo as u32, size })
    }
}
