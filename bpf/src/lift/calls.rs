//! Lifting calls of helpers and functions, and tail calls.

use tailor_ir::{
    Block, BlockCall, Cond, ExtFunc, ExternData, Opcode, Size, Terminator, Type, Value,
};

use super::Lifter;
use crate::helpers::packet_load;
use crate::insn::Callee;
use crate::{Error, Reg};

impl Lifter<'_> {
    pub(super) fn call(&mut self, callee: Callee) -> Result<(), Error> {
        let result = match callee {
            Callee::Helper(number) => {
                let callee = self.helper(number);
                let arity = self.b.func().externs[callee].arity;
                let args = self.arguments(arity.into());
                self.b.call_ext(callee, &args)
            }
            Callee::Function(func) => {
                let args = self.arguments(self.facts.functions[func].parameters.into());
                self.b.call(func, &args)
            }
            Callee::Register(reg) => {
                let number = self.read(reg);
                let args = [1, 2, 3, 4, 5].map(|i| self.b.use_var(self.registers[i]));
                self.b.call_number(number, args)
            }
            Callee::Kfunc(id) => {
                return Err(
                    self.error(format!("call of kernel function {id}: kfuncs are not supported"))
                );
            }
            Callee::Relative(off) => {
                return Err(self.error(format!("unlinked call to {off:+}")));
            }
        };
        self.forget_arguments();
        self.write(Reg::R0, result);
        Ok(())
    }

    /// `LD_ABS` and `LD_IND`: a call with the context in R6; a negative result
    /// says that the packet has no such bytes, and the function returns 0.
    pub(super) fn load_packet(&mut self, size: Size, index: Option<Reg>, off: i32) {
        let callee = self.helper(packet_load(size));
        let ctx = self.read(Reg::R6);
        let mut offset = self.b.iconst(Type::I64, i64::from(off));
        if let Some(index) = index {
            let index = self.read(index);
            offset = self.b.binary(Opcode::Iadd, index, offset);
        }
        let value = self.b.call_ext(callee, &[ctx, offset]);
        self.forget_arguments();
        self.write(Reg::R0, value);

        let zero = self.b.iconst(Type::I64, 0);
        let (outside, inside) = (self.b.add_block(), self.b.add_block());
        let frequency = self.b.func().blocks[self.b.current()].frequency;
        self.b.branch(Cond::Slt, value, zero, outside, inside);
        self.b.seal_block(outside);
        self.b.seal_block(inside);
        // The bytecode's graph, which frequencies are of, has no such exit.
        self.b.set_frequency(outside, 0.0);
        self.b.switch_to(outside);
        self.b.ret(zero);
        self.b.set_frequency(inside, frequency);
        self.b.switch_to(inside);
    }

    fn arguments(&mut self, count: usize) -> Vec<Value> {
        Reg::args().take(count).map(|reg| self.read(reg)).collect()
    }

    /// R1 to R5 are dead after any call.
    fn forget_arguments(&mut self) {
        for reg in Reg::args() {
            self.b.undef_var(self.registers[reg.index()]);
        }
    }

    /// The helper as this function declares it.
    fn helper(&mut self, number: u32) -> ExtFunc {
        if let Some(&declared) = self.externs.get(&number) {
            return declared;
        }
        let row = self.object.helper(number);
        let declared = self.b.add_extern(ExternData {
            helper: number,
            name: row.name.into(),
            arity: row.arity(),
            reads: row.effect.reads,
            writes: row.effect.writes,
        });
        self.externs.insert(number, declared);
        declared
    }

    /// Ends the block with a tail call that goes on at `fail` if it does not happen.
    pub(super) fn tail_call(&mut self, fail: Block) {
        let [ctx, array, index] = [1, 2, 3].map(|i| self.b.use_var(self.registers[i]));
        let site = self.own.tail_calls.get(&(self.pc as u32));
        let site = site.copied().unwrap_or_default();
        self.forget_arguments();
        self.b.undef_var(self.registers[0]);
        self.b.terminate(Terminator::TailCall {
            ctx,
            array,
            index,
            direct: site.direct(),
            fail: BlockCall::to(fail),
            succeeds: site.succeeds,
        });
    }
}
