//! Statements that reach out of registers: accesses to memory, helpers, tail
//! calls. Each makes the pointers that it needs and leaves numbers in their
//! places.

use super::*;

impl Assembler<'_> {
    /// Offsets of `data` and `data_end` in the context.
    pub(super) fn packet_fields(&self) -> (i16, i16) {
        if self.case.kind == ProgramKind::Xdp { (0, 4) } else { (76, 80) }
    }

    pub(super) fn access(
        &mut self,
        place: Place,
        index: Option<(Reg, i32)>,
        op: Op,
        base: Reg,
        refill: i32,
    ) {
        let mut offset = 0;
        let mut absent = None;
        match place {
            Place::Window => {
                self.mov(base, Src::Reg(Reg::FP));
                offset = -WINDOW;
            }
            Place::Memory => self.mov(base, Src::Reg(CONTEXT)),
            Place::Input => {
                let map = self.maps.get(self.case, TestMap::Input);
                self.immediate(base, Imm64::MapValue(map, 0));
            }
            Place::Caller => self.load(Size::D, base, Reg::FP, CALLER),
            Place::Packet { end, .. } => {
                let (first, last) = self.packet_fields();
                self.load(Size::W, base, CONTEXT, first);
                self.load(Size::W, end, CONTEXT, last);
            }
            Place::Element(map, key) => {
                self.key_and_map(map, key);
                self.call(1);
                self.refill(refill);
                absent = Some(self.skip(Cond::Eq, Reg::R0, Src::Imm(0)));
                self.mov(base, Src::Reg(Reg::R0));
                self.mov(Reg::R0, Src::Imm(refill));
            }
        }
        if let Some((index, mask)) = index {
            self.alu(AluOp::And, index, Src::Imm(mask));
            self.alu(AluOp::Add, base, Src::Reg(index));
        }
        if let Place::Packet { length, end } = place {
            self.alu(AluOp::Add, base, Src::Imm(length.into()));
            absent = Some(self.skip(Cond::Ugt, base, Src::Reg(end)));
            offset = -length;
        }
        self.ops.push(at(op, base, offset));
        if let Some(absent) = absent {
            self.land(absent);
        }
        self.mov(base, Src::Imm(refill));
        if let Place::Packet { end, .. } = place {
            self.mov(end, Src::Imm(!refill));
        }
    }

    /// R1 and R2 for a helper on a map.
    fn key_and_map(&mut self, map: TestMap, key: Key) {
        let src = match key {
            Key::Constant(key) => Src::Imm(key),
            Key::Register(reg) => {
                self.alu(AluOp::And, reg, Src::Imm(KEY_MASK));
                Src::Reg(reg)
            }
        };
        self.store(Size::W, Reg::FP, KEY, src);
        let map = self.maps.get(self.case, map);
        self.immediate(Reg::R1, Imm64::Map(map));
        self.frame_pointer(Reg::R2, KEY);
    }

    /// The call of a helper whose arguments are set.
    pub(super) fn call_helper(&mut self, helper: Helper, number: u32, by: Option<Reg>) {
        let by = match (helper, by) {
            (Helper::RandomOrProcessor(_) | Helper::NoHelper(_), by) => by.unwrap_or(Reg::R0),
            (_, Some(by)) => by,
            (_, None) => return self.call(number),
        };
        match helper {
            Helper::RandomOrProcessor(reg) => {
                self.mov(by, Src::Reg(reg));
                self.alu(AluOp::And, by, Src::Imm(1));
                self.alu(AluOp::Add, by, Src::Imm(number as i32));
            }
            Helper::NoHelper(src) => {
                self.mov(by, src);
                if let Src::Reg(_) = src {
                    self.alu(AluOp::Or, by, Src::Imm(NO_HELPER));
                }
            }
            _ => self.mov(by, Src::Imm(number as i32)),
        }
        self.ops.push(Op::Call(Callee::Register(by)));
    }

    /// Sets a helper's arguments; its number.
    pub(super) fn arguments(&mut self, helper: Helper) -> u32 {
        let packet = self.case.kind == ProgramKind::Xdp;
        match helper {
            Helper::Update { map, key, value, flags } => {
                self.key_and_map(map, key);
                self.frame_pointer(Reg::R3, value - WINDOW);
                self.mov(Reg::R4, Src::Imm(flags));
                2
            }
            Helper::Delete { map, key } => {
                self.key_and_map(map, key);
                3
            }
            Helper::Time => 5,
            // 8 is the processor.
            Helper::Random | Helper::RandomOrProcessor(_) => 7,
            Helper::Processor => 8,
            // None.
            Helper::NoHelper(_) => 0,
            Helper::ChecksumDifference { from, from_size, to, to_size, seed } => {
                self.mov(Reg::R5, seed);
                for (pointer, size, at, bytes) in
                    [(Reg::R1, 2, from, from_size), (register(3), 4, to, to_size)]
                {
                    match bytes {
                        0 => self.mov(pointer, Src::Imm(0)),
                        _ => self.frame_pointer(pointer, at - WINDOW),
                    }
                    self.mov(register(size), Src::Imm(bytes));
                }
                28
            }
            Helper::LoadBytes { at, to, size } => {
                self.packet_bytes(at, to, size);
                if packet { 189 } else { 26 }
            }
            Helper::StoreBytes { at, from, size } => {
                self.packet_bytes(at, from, size);
                if !packet {
                    self.mov(Reg::R5, Src::Imm(0));
                }
                if packet { 190 } else { 9 }
            }
        }
    }

    /// R1 to R4: context, offset in the packet, place in the window, size.
    fn packet_bytes(&mut self, at: Key, place: i16, size: i32) {
        match at {
            Key::Constant(at) => self.mov(Reg::R2, Src::Imm(at)),
            Key::Register(reg) => {
                self.mov(Reg::R2, Src::Reg(reg));
                self.alu(AluOp::And, Reg::R2, Src::Imm(0x3f));
            }
        }
        self.mov(Reg::R1, Src::Reg(CONTEXT));
        self.frame_pointer(register(3), place - WINDOW);
        self.mov(register(4), Src::Imm(size));
    }

    /// Behind a tail call that failed R0 to R5 are undefined.
    pub(super) fn tail_call(&mut self, index: Index, refill: i32) {
        match index {
            Index::Constant(index) => self.mov(register(3), Src::Imm(index)),
            Index::Register(reg, mask) => {
                self.mov(register(3), Src::Reg(reg));
                if mask != -1 {
                    self.alu(AluOp::And, register(3), Src::Imm(mask));
                }
            }
        }
        let map = self.maps.get(self.case, TestMap::Programs);
        self.immediate(Reg::R2, Imm64::Map(map));
        self.mov(Reg::R1, Src::Reg(CONTEXT));
        self.call(tailor_bpf::cfg::TAIL_CALL);
        self.mov(Reg::R0, Src::Imm(refill));
        self.refill(refill);
    }
}
