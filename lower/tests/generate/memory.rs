//! Accesses to memory, all of them inside.

use super::*;

/// Distances around what fits into a displacement, or into one within a frame.
const FAR: [u64; 10] = [
    0x7fff_ff00,
    0x7fff_ffff,
    0x8000_0000,
    0x4000_0000,
    0x3fff_ff00,
    0xffff_ffff,
    1 << 63,
    1 << 40,
    0xffff_ffff_8000_0000,
    0xffff_ffff_7fff_ffff,
];

/// Small frame objects beside the two large ones.
pub(super) const CELLS: usize = 5;

impl Generator<'_> {
    /// Gives all cells something to hold.
    pub(super) fn fill_cells(&mut self) {
        for cell in 0..CELLS {
            let value = self.wide();
            self.access_cell(cell, Opcode::Store, Size::D, 0, Some(value));
        }
    }

    /// The large ones come first.
    fn cell_slot(&self, cell: usize) -> StackSlot {
        StackSlot::from_u32((cell + if self.leaf { 0 } else { 2 }) as u32)
    }

    fn access_cell(
        &mut self,
        cell: usize,
        op: Opcode,
        size: Size,
        offset: i32,
        value: Option<Value>,
    ) -> Option<Value> {
        let payload = Payload::Slot { slot: self.cell_slot(cell), offset: 0 };
        let address = self.inst(Opcode::StackAddr, Type::I64, &[], payload).expect("an address");
        let args: Vec<Value> = [address].into_iter().chain(value).collect();
        self.inst(op, Type::I64, &args, Payload::Mem { offset, size, region: Region::Any })
    }

    /// Writes all or a part of a cell, reads one, or changes a half at an address that
    /// is not known: their lives are short, so they may share memory.
    pub(super) fn cell(&mut self) {
        let cell = self.random.below(CELLS);
        let size = Size::ALL[self.random.below(4)];
        let offset = self.random.below(9 - size.bytes() as usize) as i32;
        match self.random.below(8) {
            0..3 => {
                let value = self.wide();
                self.access_cell(cell, Opcode::Store, Size::D, 0, Some(value));
            }
            3 => {
                let value = self.wide();
                self.access_cell(cell, Opcode::Store, size, offset, Some(value));
            }
            4 => {
                let payload = Payload::Slot { slot: self.cell_slot(cell), offset: 0 };
                let start = self.inst(Opcode::StackAddr, Type::I64, &[], payload);
                let (number, four) = (self.wide(), self.constant(Type::I64, 4));
                let half = self.op(Opcode::And, Type::I64, &[number, four]);
                let address = self.op(Opcode::Iadd, Type::I64, &[start.expect("one"), half]);
                let value = self.value(Type::I32);
                let op = self.random.pick(&AtomicOp::ALL);
                let payload = Payload::Atomic { op, offset: 0, region: Region::Any };
                let old = self.inst(Opcode::AtomicFetch, Type::I32, &[address, value], payload);
                self.scope.extend(old);
            }
            _ => {
                let value = self.access_cell(cell, Opcode::Load, size, offset, None);
                self.scope.extend(value);
            }
        }
    }

    /// An address with at least 256 bytes before it and more behind it.
    fn address(&mut self) -> Value {
        let base = self.random.below(4);
        let shows = base != 1 || self.frames_show;
        let base = match base {
            0 => {
                let payload = Payload::MapValue { map: MapRef::from_u32(1), offset: 256 };
                self.inst(Opcode::MapValue, Type::I64, &[], payload).expect("an address")
            }
            1 if !self.leaf => {
                let slot = StackSlot::from_u32(self.random.below(2) as u32);
                let payload = Payload::Slot { slot, offset: 256 };
                self.inst(Opcode::StackAddr, Type::I64, &[], payload).expect("an address")
            }
            _ => {
                let number = self.constant(Type::I64, 256);
                self.op(Opcode::Iadd, Type::I64, &[self.scope[0], number])
            }
        };
        let index = self.wide();
        let mask = self.constant(Type::I64, 15);
        let mut index = self.op(Opcode::And, Type::I64, &[index, mask]);
        if self.random.chance(60) {
            let shift = self.random.below(5) as u64;
            let shift = self.constant(Type::I64, shift);
            index = self.op(Opcode::Shl, Type::I64, &[index, shift]);
        }
        let number = self.random.below(128) as u64;
        let number = self.constant(Type::I64, number);
        let address = match self.random.below(5) {
            0 => base,
            1 => self.op(Opcode::Iadd, Type::I64, &[base, index]),
            2 => {
                let base = self.op(Opcode::Iadd, Type::I64, &[number, base]);
                self.op(Opcode::Iadd, Type::I64, &[index, base])
            }
            3 => {
                let index = self.op(Opcode::Isub, Type::I64, &[index, number]);
                self.op(Opcode::Iadd, Type::I64, &[base, index])
            }
            _ => self.op(Opcode::Iadd, Type::I64, &[base, number]),
        };
        let address = if self.random.chance(15) { self.far_and_back(address) } else { address };
        // Other instructions may use the address, or what it is made of.
        if shows && self.random.chance(40) {
            self.scope.push(address);
        }
        address
    }

    /// The same address by way of one that displacements do not reach, or just.
    fn far_and_back(&mut self, address: Value) -> Value {
        let far = self.random.pick(&FAR);
        let [there, back] = [far, far.wrapping_neg()].map(|n| self.constant(Type::I64, n));
        let there = self.op(Opcode::Iadd, Type::I64, &[address, there]);
        match self.random.chance(50) {
            true => self.op(Opcode::Iadd, Type::I64, &[back, there]),
            false => {
                let far = self.constant(Type::I64, far);
                self.op(Opcode::Isub, Type::I64, &[there, far])
            }
        }
    }

    fn place(&mut self, size: Size) -> Payload {
        let offset = self.random.below(200) as i32 - 100;
        Payload::Mem { offset, size, region: Region::Any }
    }

    /// A load of any size, at times with an extension behind it.
    pub(super) fn load(&mut self, ty: Type) -> Value {
        let narrow = self.random.chance(20) && ty == Type::I64;
        let loaded = if narrow { Type::I32 } else { ty };
        let op = self.random.pick(&[Opcode::Load, Opcode::Load, Opcode::Sload]);
        let sizes = if loaded == Type::I64 { 4 } else { 3 };
        let size = Size::ALL[self.random.below(sizes)];
        let address = self.address();
        let payload = self.place(size);
        let value = self.inst(op, loaded, &[address], payload).expect("a result");
        if narrow {
            let op = self.random.pick(&[Opcode::Uext32, Opcode::Sext32]);
            return self.op(op, Type::I64, &[value]);
        }
        value
    }

    fn store(&mut self) {
        let ty = self.ty();
        let sizes = if ty == Type::I64 { 4 } else { 3 };
        let size = Size::ALL[self.random.below(sizes)];
        let mut value = self.value(ty);
        if self.random.chance(30) {
            let op = self.random.pick(&[Opcode::Sext8, Opcode::Sext16]);
            value = self.op(op, ty, &[value]);
        } else if self.random.chance(20) {
            let mask = self.random.pick(&[0xff, 0xffff, 0xffff_ffff]);
            let mask = self.constant(ty, mask);
            value = self.op(Opcode::And, ty, &[value, mask]);
        }
        let address = self.address();
        let payload = self.place(size);
        self.inst(Opcode::Store, ty, &[address, value], payload);
    }

    /// Reads, computes, and writes back to the same place.
    fn update(&mut self) {
        let ty = self.ty();
        let size = Size::ALL[self.random.below(if ty == Type::I64 { 4 } else { 3 })];
        let address = self.address();
        let payload = self.place(size);
        let old = self.inst(Opcode::Load, ty, &[address], payload).expect("a result");
        let other = self.value(ty);
        use Opcode::*;
        let op = self.random.pick(&[Iadd, Isub, And, Or, Xor]);
        let args = if self.random.chance(70) { [old, other] } else { [other, old] };
        let new = self.op(op, ty, &args);
        if self.random.chance(20) {
            self.inst(Opcode::Store, ty, &[address, other], payload);
        }
        let stored = if self.random.chance(30) { self.wrapped(new, size) } else { new };
        self.inst(Opcode::Store, ty, &[address, stored], payload);
        if self.random.chance(20) {
            let used = self.random.pick(&[old, new]);
            self.scope.push(used);
        }
    }

    /// The same low bytes, by an operation whose result something else uses too.
    fn wrapped(&mut self, value: Value, size: Size) -> Value {
        let ty = self.f.ty(value);
        let mask = self.constant(ty, u64::MAX >> (64 - 8 * size.bytes()));
        let wrapped = match (ty, size) {
            (_, Size::B) => self.op(Opcode::Sext8, ty, &[value]),
            (_, Size::H) => self.op(Opcode::Sext16, ty, &[value]),
            (Type::I64, Size::W) => {
                let low = self.op(Opcode::Trunc, Type::I32, &[value]);
                self.op(Opcode::Sext32, ty, &[low])
            }
            _ => self.op(Opcode::And, ty, &[value, mask]),
        };
        let other = self.value(ty);
        let used = self.op(Opcode::Imul, ty, &[wrapped, other]);
        self.scope.push(used);
        wrapped
    }

    fn atomic(&mut self) {
        let ty = self.ty();
        let (address, value) = (self.address(), self.value(ty));
        let offset = self.random.below(100) as i32;
        let op = self.random.pick(&AtomicOp::ALL);
        let region = Region::Any;
        let payload = Payload::Atomic { op, offset, region };
        // Ordered accesses come in all sizes that the value has.
        let part = Size::ALL[self.random.below(Size::of(ty) as usize + 1)];
        let ordered = Payload::Mem { offset, size: part, region };
        let result = match self.random.below(5) {
            0 => self.inst(Opcode::Atomic, ty, &[address, value], payload),
            1 => self.inst(Opcode::AtomicFetch, ty, &[address, value], payload),
            2 => self.inst(Opcode::LoadAcquire, ty, &[address], ordered),
            3 => self.inst(Opcode::StoreRelease, ty, &[address, value], ordered),
            _ => {
                let payload = Payload::Mem { offset, size: Size::of(ty), region };
                let expected = if self.random.chance(60) {
                    self.inst(Opcode::Load, ty, &[address], payload).expect("a result")
                } else {
                    self.value(ty)
                };
                self.inst(Opcode::AtomicCas, ty, &[address, expected, value], payload)
            }
        };
        self.scope.extend(result.filter(|_| self.random.chance(70)));
    }

    fn context(&mut self) {
        let ty = self.ty();
        let field = self.random.below(8) as u8;
        let field = if ty == Type::I32 { field | 1 } else { field };
        let payload = Payload::Ctx { kind: 0, field };
        let ctx = self.scope[0];
        if self.random.chance(70) {
            let value = self.inst(Opcode::CtxLoad, ty, &[ctx], payload);
            self.scope.extend(value);
        } else {
            let value = self.value(ty);
            self.inst(Opcode::CtxStore, ty, &[ctx, value], payload);
        }
    }

    pub(super) fn memory_access(&mut self) {
        match self.random.below(12) {
            0..5 => {
                let ty = self.ty();
                let value = self.load(ty);
                self.scope.push(value);
            }
            5..8 => self.store(),
            8 => self.update(),
            9 => self.context(),
            _ => self.atomic(),
        }
    }
}
