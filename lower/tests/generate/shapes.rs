//! Control flow that structured programs do not have.

use super::*;

impl Generator<'_> {
    /// Branches on a value or one of its halves, or what it extends to.
    pub(super) fn branch_on_zero(&mut self, value: Value, then: BlockCall, other: BlockCall) {
        let lhs = match (self.f.ty(value), self.random.below(3)) {
            (Type::I64, 0) => self.op(Opcode::Trunc, Type::I32, &[value]),
            (Type::I32, 0) => self.op(Opcode::Uext32, Type::I64, &[value]),
            (Type::I32, 1) => self.op(Opcode::Sext32, Type::I64, &[value]),
            _ => value,
        };
        let ty = self.f.ty(lhs);
        let cond = self.random.pick(&[Cond::Eq, Cond::Ne, Cond::Slt, Cond::Sge, Cond::Ugt]);
        let rhs = self.constant(ty, 0);
        self.end(Terminator::Branch { cond, ty, lhs, rhs, then, other });
    }

    /// Two blocks that are entered both from outside and from each other, so that
    /// neither is a loop's header, for a few rounds.
    pub(super) fn tangle(&mut self, depth: usize) {
        let blocks = [self.f.add_block(), self.f.add_block()];
        let after = self.f.add_block();
        let ty = self.ty();
        let counters = blocks.map(|block| self.f.add_param(block, ty));
        let rounds = self.random.below(6) as u64;
        let rounds = self.constant(ty, rounds);
        let enter = blocks.map(|block| {
            let mut args: SmallVec<[Value; 4]> = SmallVec::from_slice(&[rounds]);
            args.extend(self.args(block));
            BlockCall { block, args }
        });
        let _ = self.args(after);
        let [first, second] = enter;
        self.branch(first, second);
        let scope = self.scope.len();
        self.loops += 1;
        for (at, block) in blocks.into_iter().enumerate() {
            self.enter(block);
            self.sequence(depth.min(1));
            let one = self.constant(ty, 1);
            let left = self.op(Opcode::Isub, ty, &[counters[at], one]);
            let mut again = self.more_args(blocks[1 - at]);
            again[0] = left;
            let again = BlockCall { block: blocks[1 - at], args: again };
            let out = BlockCall { block: after, args: self.more_args(after) };
            let zero = self.constant(ty, 0);
            let (cond, then, other) = match self.random.chance(50) {
                true => (Cond::Slt, out, again),
                false => (Cond::Sge, again, out),
            };
            self.end(Terminator::Branch { cond, ty, lhs: left, rhs: zero, then, other });
            self.scope.truncate(scope);
        }
        self.loops -= 1;
        self.enter(after);
    }

    /// A way that never comes back: a loop that is left by returning, or one that
    /// nothing leaves, or a trap, neither of which is entered.
    pub(super) fn dead_end(&mut self, depth: usize) {
        let (start, on) = (self.f.add_block(), self.f.add_block());
        let args = self.args(start);
        let start_call = BlockCall { block: start, args };
        if self.random.chance(40) {
            let value = self.wide();
            let one = self.constant(Type::I64, 1);
            let odd = self.op(Opcode::Or, Type::I64, &[value, one]);
            let zero = self.constant(Type::I64, 0);
            self.end(Terminator::Branch {
                cond: Cond::Eq,
                ty: Type::I64,
                lhs: odd,
                rhs: zero,
                then: start_call,
                other: BlockCall::to(on),
            });
        } else {
            self.branch(start_call, BlockCall::to(on));
            let scope = self.scope.len();
            self.enter(start);
            self.counted_loop(depth.min(1));
            self.leave();
            self.scope.truncate(scope);
            return self.enter(on);
        }
        let scope = self.scope.len();
        self.enter(start);
        self.sequence(depth.min(1));
        if self.random.chance(50) {
            self.end(Terminator::Trap);
        } else {
            let args = self.more_args(start);
            self.end(Terminator::Jump(BlockCall { block: start, args }));
        }
        self.scope.truncate(scope);
        self.enter(on);
    }

    /// A branch with one and the same target, to which it passes different values.
    pub(super) fn meeting(&mut self) {
        let join = self.f.add_block();
        let args = self.args(join);
        let others = self.more_args(join);
        self.branch(BlockCall { block: join, args }, BlockCall { block: join, args: others });
        self.enter(join);
    }
}
