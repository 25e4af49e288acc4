//! Reading instructions and terminators. The opcode table says what follows an
//! opcode's name.

use smallvec::SmallVec;

use super::lexer::Token;
use super::parse::{Draft, ParseError, Parser, entity};
use crate::function::ValueData;
use crate::opcode::PayloadKind;
use crate::{
    AtomicOp, Block, BlockCall, Cond, Inst, InstData, Opcode, Payload, Region, Size,
    TAIL_CALL_SUCCEEDS, Terminator, Type, Value, ValueDef,
};

const TERMINATORS: [&str; 6] = ["jump", "branch", "return", "tail_call", "trap", "unterminated"];

/// A name with a type behind it, such as `iadd.i64`.
fn typed(word: &str) -> Option<(&str, Type)> {
    let (name, ty) = word.split_once('.')?;
    Some((name, Type::from_name(ty)?))
}

/// An opcode, with its type exactly where the table gives the type a role.
fn opcode(word: &str) -> Option<(Opcode, Type)> {
    match Opcode::from_name(word) {
        Some(op) => Some((op, op.info().fixed_type()?)),
        None => {
            let (name, ty) = typed(word)?;
            let op = Opcode::from_name(name)?;
            op.info().typed().then_some((op, ty))
        }
    }
}

fn region(word: &str) -> Option<Region> {
    match word {
        "any" => Some(Region::Any),
        "ctx" => Some(Region::Ctx),
        "packet" => Some(Region::Packet),
        _ => entity(word, "ss").map(Region::Stack).or_else(|| entity(word, "map").map(Region::Map)),
    }
}

/// The bits of a constant of that type.
fn constant(ty: Type, negative: bool, text: &str) -> Option<u64> {
    let magnitude = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok()?,
        None => text.parse().ok()?,
    };
    let smallest = 1 << (ty.bits() - 1);
    match negative {
        false => Some(magnitude).filter(|&bits| bits <= ty.mask()),
        true => (magnitude <= smallest).then_some(magnitude.wrapping_neg() & ty.mask()),
    }
}

impl Parser<'_> {
    /// An instruction up to the end of its line.
    pub fn instruction(&mut self, draft: &mut Draft) -> Result<Inst, ParseError> {
        let at = self.at;
        let is_value = self.word().and_then(|word| entity::<Value>(word, "v")).is_some();
        let result = match is_value {
            true => {
                let value = self.value(draft)?;
                self.punct('=')?;
                Some(value)
            }
            false => None,
        };
        let op_at = self.at;
        let (op, ty) = self.named("an instruction or a terminator", opcode)?;
        let data = self.operands(draft, op, ty)?;
        let result_type = op.info().result.map(|ty| data.resolve(ty));
        let inst = draft.insts.push(data);
        match (result, result_type) {
            (Some(value), Some(ty)) => {
                let def = ValueDef::Result(inst);
                draft.define(value, ValueData { ty, def }, at)?;
            }
            (None, None) => {}
            (Some(_), None) => {
                let message = format!("{} has no result", op.info().name);
                return Err(ParseError::new(op_at, message));
            }
            (None, Some(_)) => {
                let message = format!("expected `vN =`: {} has a result", op.info().name);
                return Err(ParseError::new(op_at, message));
            }
        }
        Ok(inst)
    }

    /// What follows the opcode: payload, operands, the rest of the payload.
    fn operands(
        &mut self,
        draft: &mut Draft,
        op: Opcode,
        ty: Type,
    ) -> Result<InstData, ParseError> {
        let info = op.info();
        let mut payload = self.payload(info.payload, ty)?;
        let mut args = SmallVec::new();
        match info.args {
            None => {
                self.punct('(')?;
                self.list(|p| p.value(draft), |value| args.push(value))?;
            }
            Some(types) => {
                for index in 0..types.len() {
                    if index > 0 {
                        self.punct(',')?;
                    }
                    args.push(self.value(draft)?);
                    if let (0, Payload::Mem { offset, .. } | Payload::Atomic { offset, .. }) =
                        (index, &mut payload)
                    {
                        *offset = self.offset()?;
                    }
                }
            }
        }
        if let Payload::Mem { region: r, .. } | Payload::Atomic { region: r, .. } = &mut payload {
            *r = self.named("a region (any, ctx, packet, ssN or mapN)", region)?;
        }
        let origin = match self.eat('@')? {
            true => self.unsigned("the number of a bytecode instruction")?,
            false => 0,
        };
        Ok(InstData { op, ty, args, payload, origin })
    }

    /// The payload's part before the operands; addresses are completed by them.
    fn payload(&mut self, kind: PayloadKind, ty: Type) -> Result<Payload, ParseError> {
        Ok(match kind {
            PayloadKind::None => Payload::None,
            PayloadKind::Imm => {
                let negative = self.eat('-')?;
                let what = format!("a constant of type {ty}");
                Payload::Imm(self.number(&what, |text| constant(ty, negative, text))?)
            }
            PayloadKind::Mem => Payload::Mem {
                offset: 0,
                size: self.named("a size (u8, u16, u32 or u64)", Size::from_name)?,
                region: Region::Any,
            },
            PayloadKind::Atomic => Payload::Atomic {
                op: self.named("an atomic operation", AtomicOp::from_name)?,
                offset: 0,
                region: Region::Any,
            },
            PayloadKind::Slot => {
                Payload::Slot { slot: self.entity("a stack slot", "ss")?, offset: self.offset()? }
            }
            PayloadKind::Map => Payload::Map(self.entity("a map", "map")?),
            PayloadKind::MapValue => Payload::MapValue {
                map: self.entity("a map", "map")?,
                offset: match self.eat('+')? {
                    true => self.unsigned("an offset")?,
                    false => 0,
                },
            },
            PayloadKind::Func => Payload::Func(self.entity("a function", "f")?),
            PayloadKind::Ext => Payload::Ext(self.entity("a declared helper", "fn")?),
            PayloadKind::Ctx => {
                let (kind, field) = self.number("`KIND.FIELD` of a context", |text| {
                    let (kind, field) = text.split_once('.')?;
                    Some((kind.parse().ok()?, field.parse().ok()?))
                })?;
                Payload::Ctx { kind, field }
            }
        })
    }

    /// `+n`, `-n` or nothing.
    fn offset(&mut self) -> Result<i32, ParseError> {
        let sign = match self.token {
            Token::Punct('+') => 1,
            Token::Punct('-') => -1,
            _ => return Ok(0),
        };
        self.advance()?;
        self.number("an offset of 32 bits", |text| {
            let magnitude: u32 = text.parse().ok()?;
            i32::try_from(sign * i64::from(magnitude)).ok()
        })
    }

    /// Whether the next line is a terminator's.
    pub fn at_terminator(&self) -> bool {
        let name = |word: &str| TERMINATORS.contains(&word);
        self.word().is_some_and(name)
    }

    /// A terminator.
    pub fn terminator(&mut self, draft: &mut Draft) -> Result<Terminator, ParseError> {
        let name = self.named("a terminator", Some)?;
        Ok(match name {
            "jump" => Terminator::Jump(self.target(draft)?),
            "branch" => self.branch(draft)?,
            "return" => Terminator::Return(self.value(draft)?),
            "tail_call" => self.tail_call(draft)?,
            "trap" => Terminator::Trap,
            _ => Terminator::None,
        })
    }

    fn branch(&mut self, draft: &mut Draft) -> Result<Terminator, ParseError> {
        let (cond, ty) = self.named("a condition with a type", |word| {
            let (name, ty) = typed(word)?;
            Some((Cond::from_name(name)?, ty))
        })?;
        let lhs = self.value(draft)?;
        self.punct(',')?;
        let rhs = self.value(draft)?;
        self.punct(',')?;
        let then = self.target(draft)?;
        self.punct(',')?;
        let other = self.target(draft)?;
        Ok(Terminator::Branch { cond, ty, lhs, rhs, then, other })
    }

    fn tail_call(&mut self, draft: &mut Draft) -> Result<Terminator, ParseError> {
        let mut operand = |parser: &mut Self| {
            let value = parser.value(draft)?;
            parser.punct(',')?;
            Ok(value)
        };
        let ctx = operand(self)?;
        let array = operand(self)?;
        let index = operand(self)?;
        let mut direct = None;
        if self.eat_word("direct")? {
            let map = self.entity("a map", "map")?;
            self.punct('[')?;
            direct = Some((map, self.unsigned("a key")?));
            self.punct(']')?;
            self.punct(',')?;
        }
        let fail = self.target(draft)?;
        let succeeds = match self.eat_word("succeeds")? {
            true => self.float("a chance")?,
            false => TAIL_CALL_SUCCEEDS,
        };
        Ok(Terminator::TailCall { ctx, array, index, direct, fail, succeeds })
    }

    /// A block with the arguments for its parameters.
    fn target(&mut self, draft: &mut Draft) -> Result<BlockCall, ParseError> {
        let block: Block = self.entity("a block", "block")?;
        self.mention_block(draft, block)?;
        let mut target = BlockCall::to(block);
        if self.eat('(')? {
            self.list(|p| p.value(draft), |value| target.args.push(value))?;
        }
        Ok(target)
    }
}
