//! Values put together from adjacent loads.
//!
//! Idea: the walk knows of each value of the block whether it is some bytes of
//! memory in order, moved up by a number of bits. The sum (`or`, `xor` and
//! `iadd` are the same where no bits overlap) of two values that continue each
//! other is such a value again, and once it is as long as an access can be, it
//! becomes one load.
//!
//! Invariants: nothing is written between the loads and the place of the new
//! load, and all of them are in one block. Nothing else uses the pieces, so
//! that they are dead afterwards. Fields of the context are left alone, since
//! some of them are not memory.

use cranelift_entity::SecondaryMap;

use super::super::Context;
use super::super::edit::{Editor, Rewrite, Rules, walk};
use crate::opcode::Effect;
use crate::{Function, InstData, Opcode, Payload, Region, Size, Terminator, Type, Value};

/// Replaces such values by loads.
pub(super) fn run(function: &mut Function, context: &mut Context) {
    let mut uses = SecondaryMap::<Value, u32>::new();
    for &block in &function.layout {
        let data = &function.blocks[block];
        for &inst in &data.insts {
            function.insts[inst].args.iter().for_each(|&arg| uses[arg] += 1);
        }
        data.term.for_each_use(|value| uses[value] += 1);
    }
    let mut rules = Combine { uses, pieces: SecondaryMap::new(), epoch: 0 };
    walk(function, context, &mut rules);
}

/// Bytes of memory, in order, moved up by a number of bits.
#[derive(Clone, Copy, PartialEq)]
struct Piece {
    base: Value,
    /// Of the first byte.
    offset: i64,
    bytes: u32,
    /// Bits below the first byte, a whole number of bytes.
    shift: u32,
    region: Region,
    /// Changes where memory may have changed, and from block to block.
    epoch: u32,
}

struct Combine {
    uses: SecondaryMap<Value, u32>,
    pieces: SecondaryMap<Value, Option<Piece>>,
    epoch: u32,
}

impl Rules for Combine {
    fn inst(&mut self, editor: &mut Editor, data: &InstData, result: Option<Value>) -> Rewrite {
        let info = data.op.info();
        if matches!(info.effect, Effect::Store | Effect::Call) {
            self.epoch += 1;
        }
        let (Some(result), Some(piece)) = (result, self.piece(editor, data)) else {
            return Rewrite::Keep;
        };
        self.pieces[result] = Some(piece);
        match (data.op, piece.size(), i32::try_from(piece.offset)) {
            (Opcode::Or | Opcode::Xor | Opcode::Iadd, Some(size), Ok(offset)) => {
                let payload = Payload::Mem { offset, size, region: piece.region };
                let load = InstData::new(Opcode::Load, data.ty, &[piece.base], payload);
                self.shifted(editor, load, piece)
            }
            _ => Rewrite::Keep,
        }
    }

    fn terminator(&mut self, _: &mut Editor, _: &Terminator) -> Option<Terminator> {
        self.epoch += 1;
        None
    }
}

impl Combine {
    /// What an instruction puts together.
    fn piece(&self, editor: &Editor, data: &InstData) -> Option<Piece> {
        match (data.op, data.payload, &data.args[..]) {
            (Opcode::Load, Payload::Mem { offset, size, region }, &[base])
                if region != Region::Ctx =>
            {
                let (offset, bytes, epoch) = (offset.into(), size.bytes(), self.epoch);
                Some(Piece { base, offset, bytes, shift: 0, region, epoch })
            }
            (Opcode::Uext32 | Opcode::Trunc, _, &[x]) => {
                self.part(x).filter(|part| part.end() <= Type::I32.bits())
            }
            (Opcode::Shl, _, &[x, y]) => {
                let part = self.part(x)?;
                let count = editor.constant(y).filter(|count| count % 8 == 0)?;
                let shift = part.shift + u32::try_from(count).ok().filter(|&count| count < 64)?;
                Some(Piece { shift, ..part }).filter(|piece| piece.end() <= data.ty.bits())
            }
            (Opcode::Or | Opcode::Xor | Opcode::Iadd, _, &[x, y]) => {
                let (x, y) = (self.part(x)?, self.part(y)?);
                x.followed_by(y).or_else(|| y.followed_by(x))
            }
            _ => None,
        }
    }

    /// An operand that is used nowhere else, of memory as it still is.
    fn part(&self, value: Value) -> Option<Piece> {
        self.pieces[value].filter(|part| self.uses[value] == 1 && part.epoch == self.epoch)
    }

    /// The load, moved up as the piece is.
    fn shifted(&mut self, editor: &mut Editor, load: InstData, piece: Piece) -> Rewrite {
        if piece.shift == 0 {
            return Rewrite::Inst(load);
        }
        let ty = load.ty;
        let low = editor.insert(load);
        self.uses[low] = 1;
        self.pieces[low] = Some(Piece { shift: 0, ..piece });
        let count = editor.iconst(ty, piece.shift.into());
        Rewrite::op(Opcode::Shl, ty, &[low, count])
    }
}

impl Piece {
    /// One past the highest bit.
    fn end(&self) -> u32 {
        self.shift + 8 * self.bytes
    }

    /// The size of an access to all of it, if there is one.
    fn size(&self) -> Option<Size> {
        Size::ALL.into_iter().find(|size| size.bytes() == self.bytes)
    }

    /// This piece and one that continues it.
    fn followed_by(self, next: Piece) -> Option<Piece> {
        let bytes = self.bytes + next.bytes;
        let expected = Piece {
            offset: self.offset + i64::from(self.bytes),
            shift: self.end(),
            bytes: next.bytes,
            ..self
        };
        (expected == next).then_some(Piece { bytes, ..self })
    }
}
