//! Terminators and calls.

use regalloc2::{Operand, PRegSet, VReg};
use smallvec::SmallVec;
use tailor_ir::{BlockCall, CALL_BY_NUMBER, InstData, MapRef, Payload, Terminator, Value};

use super::Selector;
use crate::mach::Role;
use crate::options::{Convention, Error, Poking};
use crate::x64::inst::{MInst, Site, Width};
use crate::x64::regs::Gpr;

/// What a call passes beside R1 to R5.
enum Last {
    /// A sixth argument of the C convention.
    Sixth(Value),
    /// The invocation record, or the kernel's counter.
    Record,
}

impl Selector<'_> {
    /// The end of a block. What it passes to its successor, if anything.
    pub(super) fn select_terminator(&mut self, term: &Terminator) -> Vec<VReg> {
        match term {
            Terminator::Jump(target) => self.jump(target),
            Terminator::Branch { cond, ty, lhs, rhs, .. } => {
                let cc = self.compare(*cond, *ty, *lhs, *rhs);
                self.out.push_special(MInst::Jcc(cc), &[], Role::Branch, PRegSet::empty());
                Vec::new()
            }
            Terminator::Return(value) => {
                let value = self.own_reg(*value, Width::W64);
                let result = [Operand::reg_fixed_use(value, Gpr::RESULT.preg())];
                self.out.push_special(MInst::Ret, &result, Role::Return, PRegSet::empty());
                Vec::new()
            }
            Terminator::TailCall { ctx, array, index, direct, fail, .. } => {
                self.tail_call(*ctx, *array, *index, *direct);
                self.jump(fail)
            }
            Terminator::Trap | Terminator::None => {
                self.out.push_special(MInst::Trap, &[], Role::Trap, PRegSet::empty());
                Vec::new()
            }
        }
    }

    /// Goes to a block; the arguments for those of its parameters that have registers.
    pub(super) fn jump(&mut self, target: &BlockCall) -> Vec<VReg> {
        let function = self.function;
        let params = &function.blocks[target.block].params;
        let mut args = Vec::new();
        for (&param, &arg) in params.iter().zip(&target.args) {
            if self.has_register(param) {
                let vreg = self.own_reg(arg, Width::W32);
                self.passed.push((param, vreg));
                args.push(vreg);
            }
        }
        self.push_jmp();
        args
    }

    /// The instruction that goes to the only successor.
    pub(super) fn push_jmp(&mut self) {
        self.out.push_special(MInst::Jmp, &[], Role::Branch, PRegSet::empty());
    }

    /// Whether a block's parameter is passed in a register of its own.
    pub(super) fn has_register(&self, param: Value) -> bool {
        self.values.root(param) == param && self.values.uses(param) > 0
    }

    /// The uses are early and the registers are not destroyed: all of them keep
    /// their values if the tail call does not happen.
    fn tail_call(&mut self, ctx: Value, array: Value, index: Value, direct: Option<(MapRef, u32)>) {
        let site = match (direct, self.options.poking) {
            (None, _) => Site::Array,
            (Some((map, key)), Poking::Data) => Site::Slot(map, key),
            (Some((map, key)), Poking::Patch) => Site::Patched(map, key),
        };
        let mut uses: SmallVec<[(VReg, Gpr); 4]> = SmallVec::new();
        uses.push((self.own_reg(ctx, Width::W64), Gpr::RDI));
        if self.options.convention == Convention::Saving {
            uses.push((self.record(), Gpr::RECORD));
        }
        if site == Site::Array {
            uses.push((self.own_reg(array, Width::W64), Gpr::RSI));
            uses.push((self.own_reg(index, Width::W32), Gpr::RDX));
        }
        let mut operands: SmallVec<[Operand; 8]> = SmallVec::new();
        // For the counter's address or the target's.
        if self.options.convention != Convention::Saving || !matches!(site, Site::Patched(..)) {
            let scratch = self.out.new_vreg();
            operands.push(Operand::reg_fixed_def_at_start(scratch, Gpr::RAX.preg()));
        }
        for (vreg, reg) in uses {
            operands.push(Operand::reg_fixed_use(vreg, reg.preg()));
        }
        self.out.push_special(MInst::TailCall(site), &operands, Role::TailCall, PRegSet::empty());
    }

    /// A call of a helper.
    pub(super) fn select_call_helper(&mut self, data: &InstData, dst: VReg) {
        if let Payload::Ext(ext) = data.payload {
            let helper = self.function.externs[ext].helper;
            self.call(MInst::CallHelper(helper), Role::CallC, &data.args, dst, None);
        }
    }

    /// A call of a helper by its number, the sixth argument of the function
    /// that finds it.
    pub(super) fn select_call_number(&mut self, data: &InstData, dst: VReg) {
        if let Some((&number, args)) = data.args.split_first() {
            let inst = MInst::CallHelper(CALL_BY_NUMBER);
            self.call(inst, Role::CallC, args, dst, Some(Last::Sixth(number)));
        }
    }

    /// A call of a function of the module.
    pub(super) fn select_call_local(&mut self, data: &InstData, dst: VReg) -> Result<(), Error> {
        let Payload::Func(callee) = data.payload else {
            return Ok(());
        };
        let record = (self.options.wants_record)(callee);
        if record && !self.function.reaches_tail_call {
            return Err(Error::NoRecord { callee });
        }
        let record = record.then_some(Last::Record);
        self.call(MInst::CallLocal(callee), Role::CallLocal(callee), &data.args, dst, record);
        Ok(())
    }

    fn call(&mut self, inst: MInst, role: Role, args: &[Value], dst: VReg, last: Option<Last>) {
        let mut operands: SmallVec<[Operand; 8]> = SmallVec::new();
        operands.push(Operand::reg_fixed_def(dst, Gpr::RESULT.preg()));
        for (&arg, reg) in args.iter().zip(Gpr::ARGS) {
            let arg = self.own_reg(arg, Width::W64);
            operands.push(Operand::reg_fixed_use(arg, reg.preg()));
        }
        if let Some(last) = last {
            let (vreg, reg) = match (last, self.options.convention) {
                (Last::Sixth(arg), _) => (self.own_reg(arg, Width::W64), Gpr::SIXTH_ARG),
                (Last::Record, Convention::Saving) => (self.record(), Gpr::RECORD),
                (Last::Record, Convention::Kernel { .. }) => (self.counter(), Gpr::COUNTER),
            };
            operands.push(Operand::reg_fixed_use(vreg, reg.preg()));
        }
        // A definition must not be a clobber too.
        let mut clobbers = Gpr::call_clobbers();
        clobbers.remove(Gpr::RESULT.preg());
        self.out.push_special(inst, &operands, role, clobbers);
        self.after_call = true;
    }

    /// The register with the address of the invocation record.
    fn record(&mut self) -> VReg {
        match self.record {
            Some(vreg) => vreg,
            None => {
                let vreg = self.out.new_vreg();
                self.out.widen(vreg);
                self.record = Some(vreg);
                vreg
            }
        }
    }

    /// The address of the counter, loaded anew for each call, as in the kernel.
    fn counter(&mut self) -> VReg {
        let vreg = self.out.new_vreg();
        self.out.widen(vreg);
        self.out.push(MInst::Counter, &[Operand::reg_def(vreg)]);
        vreg
    }

    /// Defines the function's parameters and the record, as far as they are used.
    pub(super) fn define_args(&mut self, params: &[(usize, VReg)]) {
        let mut operands: SmallVec<[Operand; 8]> = SmallVec::new();
        for &(position, vreg) in params {
            if let Some(reg) = Gpr::ARGS.get(position) {
                operands.push(Operand::reg_fixed_def(vreg, reg.preg()));
            }
        }
        if let Some(record) = self.record {
            operands.push(Operand::reg_fixed_def(record, Gpr::RECORD.preg()));
        }
        if !operands.is_empty() {
            self.out.push(MInst::Args, &operands);
        }
    }
}
