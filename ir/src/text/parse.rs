//! Reading functions and modules: headers, declarations and blocks. What
//! stands on the lines of a block is read by `parse_inst`.
//!
//! Values and blocks keep the numbers that the text gives them. Numbers that it
//! leaves out become what a pass leaves behind: values of instructions in no
//! block, blocks outside the layout. How many may be left out is limited by the
//! length of the text, so that a short text cannot ask for much memory.

use cranelift_entity::packed_option::PackedOption;
use cranelift_entity::{EntityRef, PrimaryMap, SecondaryMap};
use smallvec::SmallVec;

use super::lexer::{Lexer, Position, Token};
use crate::function::ValueData;
use crate::{
    Block, BlockData, ExternData, FuncRef, Function, Inst, InstData, Module, Opcode, Payload,
    StackSlot, StackSlotData, Type, Value, ValueDef,
};

/// What is wrong with a text, and where (counted from 1).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct ParseError {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
    /// What was expected, and what is there.
    pub message: String,
}

impl ParseError {
    pub(super) fn new(at: Position, message: impl Into<String>) -> ParseError {
        ParseError { line: at.line, column: at.column, message: message.into() }
    }
}

/// Reads one function, and nothing after it.
pub fn parse_function(text: &str) -> Result<Function, ParseError> {
    let mut parser = Parser::new(text)?;
    let function = parser.function()?;
    match parser.token {
        Token::End => Ok(function),
        _ => Err(parser.expected("the end of the text")),
    }
}

/// Reads a module: functions in the order of their numbers, from 0.
pub fn parse_module(text: &str) -> Result<Module, ParseError> {
    let mut parser = Parser::new(text)?;
    let mut module = Module::new();
    while parser.token != Token::End {
        let at = parser.at;
        let function = parser.function()?;
        let id = module.functions.next_key();
        if function.id != id {
            return Err(ParseError::new(at, format!("expected function {id}")));
        }
        module.functions.push(function);
    }
    Ok(module)
}

/// Numbers that any text may leave out, and how many more for each byte of it.
const SPARE_NUMBERS: usize = 1 << 20;
const SPARE_NUMBERS_PER_BYTE: usize = 16;

pub(super) struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The next token and its place.
    pub token: Token<'a>,
    pub at: Position,
    /// Entities that numbers may still bring into being.
    budget: usize,
}

/// Tokens.
impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Parser<'a>, ParseError> {
        let mut lexer = Lexer::new(text);
        let (token, at) = lexer.next()?;
        let budget =
            SPARE_NUMBERS.saturating_add(text.len().saturating_mul(SPARE_NUMBERS_PER_BYTE));
        Ok(Parser { lexer, token, at, budget })
    }

    /// The error that something else should stand here.
    pub fn expected(&self, what: &str) -> ParseError {
        ParseError::new(self.at, format!("expected {what}, found {}", self.token))
    }

    pub fn advance(&mut self) -> Result<Token<'a>, ParseError> {
        let (token, at) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    pub fn eat(&mut self, c: char) -> Result<bool, ParseError> {
        let found = self.token == Token::Punct(c);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    pub fn punct(&mut self, c: char) -> Result<(), ParseError> {
        match self.eat(c)? {
            true => Ok(()),
            false => Err(self.expected(&format!("`{c}`"))),
        }
    }

    pub fn word(&self) -> Option<&'a str> {
        match self.token {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    pub fn eat_word(&mut self, wanted: &str) -> Result<bool, ParseError> {
        let found = self.word() == Some(wanted);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    pub fn keyword(&mut self, wanted: &str) -> Result<(), ParseError> {
        match self.eat_word(wanted)? {
            true => Ok(()),
            false => Err(self.expected(&format!("`{wanted}`"))),
        }
    }

    /// A word that `read` understands.
    pub fn named<T>(
        &mut self,
        what: &str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, ParseError> {
        match self.word().and_then(read) {
            Some(value) => {
                self.advance()?;
                Ok(value)
            }
            None => Err(self.expected(what)),
        }
    }

    /// A number that `read` understands.
    pub fn number<T>(
        &mut self,
        what: &str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, ParseError> {
        match self.token {
            Token::Number(text) => match read(text) {
                Some(value) => {
                    self.advance()?;
                    Ok(value)
                }
                None => Err(self.expected(what)),
            },
            _ => Err(self.expected(what)),
        }
    }

    pub fn float(&mut self, what: &str) -> Result<f64, ParseError> {
        self.number(what, |text| text.parse().ok().filter(|number: &f64| number.is_finite()))
    }

    pub fn unsigned(&mut self, what: &str) -> Result<u32, ParseError> {
        self.number(what, |text| text.parse().ok())
    }

    pub fn entity<E: EntityRef>(&mut self, what: &str, prefix: &str) -> Result<E, ParseError> {
        self.named(what, |word| entity(word, prefix))
    }

    fn string(&mut self) -> Result<String, ParseError> {
        let Token::Str(text) = &mut self.token else {
            return Err(self.expected("a quoted name"));
        };
        let text = std::mem::take(text);
        self.advance()?;
        Ok(text)
    }

    /// `item` separated by commas, up to a closing parenthesis.
    pub fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, ParseError>,
        mut each: impl FnMut(T),
    ) -> Result<(), ParseError> {
        if self.eat(')')? {
            return Ok(());
        }
        loop {
            each(item(self)?);
            if self.eat(')')? {
                return Ok(());
            }
            if !self.eat(',')? {
                return Err(self.expected("`,` or `)`"));
            }
        }
    }
}

/// The entity that a word such as `v12` names.
pub(super) fn entity<E: EntityRef>(word: &str, prefix: &str) -> Option<E> {
    let digits = word.strip_prefix(prefix)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u32 = digits.parse().ok()?;
    // The last number stands for "none" in entity maps.
    (number != u32::MAX).then(|| E::new(number as usize))
}

/// A function that is being read.
#[derive(Default)]
pub(super) struct Draft {
    values: Vec<Option<ValueData>>,
    blocks: Vec<Option<BlockData>>,
    layout: Vec<Block>,
    pub insts: PrimaryMap<Inst, InstData>,
    results: SecondaryMap<Inst, PackedOption<Value>>,
}

/// Functions.
impl Parser<'_> {
    fn function(&mut self) -> Result<Function, ParseError> {
        self.keyword("function")?;
        let id: FuncRef = self.entity("a function number", "f")?;
        let name = self.string()?;
        let reaches_tail_call = self.eat_word("reaches_tail_call")?;
        self.punct('{')?;
        let stack_slots = self.stack_slots()?;
        let externs = self.externs()?;
        let mut draft = Draft::default();
        while !self.eat('}')? {
            self.block(&mut draft)?;
        }
        let Some(&entry) = draft.layout.first() else {
            return Err(self.expected("a block before the end of the function"));
        };
        let (values, blocks) = draft.fill();
        Ok(Function {
            id,
            name,
            entry,
            layout: draft.layout,
            blocks,
            insts: draft.insts,
            values,
            results: draft.results,
            stack_slots,
            externs,
            reaches_tail_call,
        })
    }

    /// Whether the next line declares the entity of that number.
    fn declares<E: EntityRef>(&mut self, prefix: &str, next: E) -> Result<bool, ParseError> {
        let Some(declared) = self.word().and_then(|word| entity::<E>(word, prefix)) else {
            return Ok(false);
        };
        if declared != next {
            return Err(self.expected(&format!("`{prefix}{}`", next.index())));
        }
        self.advance()?;
        self.punct('=')?;
        Ok(true)
    }

    fn stack_slots(&mut self) -> Result<PrimaryMap<StackSlot, StackSlotData>, ParseError> {
        let mut slots = PrimaryMap::new();
        while self.declares("ss", slots.next_key())? {
            self.keyword("slot")?;
            let size = self.unsigned("a size")?;
            self.keyword("align")?;
            let align = self.unsigned("an alignment")?;
            let escapes = self.eat_word("escapes")?;
            slots.push(StackSlotData { size, align, escapes });
        }
        Ok(slots)
    }

    fn externs(&mut self) -> Result<PrimaryMap<crate::ExtFunc, ExternData>, ParseError> {
        let mut externs = PrimaryMap::new();
        while self.declares("fn", externs.next_key())? {
            self.keyword("helper")?;
            let helper = self.unsigned("a helper's number")?;
            let name = self.string()?;
            self.keyword("arity")?;
            let arity = self.number("a number of arguments", |text| text.parse().ok())?;
            let reads = self.eat_word("reads")?;
            let writes = self.eat_word("writes")?;
            externs.push(ExternData { helper, name, arity, reads, writes });
        }
        Ok(externs)
    }

    fn block(&mut self, draft: &mut Draft) -> Result<(), ParseError> {
        let at = self.at;
        let block: Block = self.entity("a block or `}`", "block")?;
        self.mention_block(draft, block)?;
        let mut data = BlockData::new();
        if self.eat('(')? {
            let mut position = 0;
            self.list(
                |p| {
                    let def = ValueDef::Param(block, position);
                    position += 1;
                    p.param(draft, def)
                },
                |value| data.params.push(value),
            )?;
        }
        if self.eat_word("freq")? {
            data.frequency = self.float("a frequency")?;
        }
        self.punct(':')?;
        while !self.at_terminator() {
            let inst = self.instruction(draft)?;
            data.insts.push(inst);
        }
        data.term = self.terminator(draft)?;
        if draft.blocks[block.index()].replace(data).is_some() {
            return Err(ParseError::new(at, format!("{block} stands here twice")));
        }
        draft.layout.push(block);
        Ok(())
    }

    fn param(&mut self, draft: &mut Draft, def: ValueDef) -> Result<Value, ParseError> {
        let at = self.at;
        let value = self.value(draft)?;
        self.punct(':')?;
        let ty = self.named("a type", Type::from_name)?;
        draft.define(value, ValueData { ty, def }, at)?;
        Ok(value)
    }

    /// A value, which may be defined later.
    pub fn value(&mut self, draft: &mut Draft) -> Result<Value, ParseError> {
        let at = self.at;
        let value: Value = self.entity("a value", "v")?;
        self.grow(&mut draft.values, value.index(), at)?;
        Ok(value)
    }

    /// Makes room for a block that is named somewhere.
    pub fn mention_block(&mut self, draft: &mut Draft, block: Block) -> Result<(), ParseError> {
        let at = self.at;
        self.grow(&mut draft.blocks, block.index(), at)
    }

    fn grow<T>(
        &mut self,
        list: &mut Vec<Option<T>>,
        index: usize,
        at: Position,
    ) -> Result<(), ParseError> {
        let missing = (index + 1).saturating_sub(list.len());
        match self.budget.checked_sub(missing) {
            Some(left) => self.budget = left,
            None => {
                return Err(ParseError::new(at, "this number leaves too many others out"));
            }
        }
        if missing > 0 {
            list.resize_with(index + 1, || None);
        }
        Ok(())
    }
}

impl Draft {
    /// Notes where a value, which has been named already, is defined.
    pub fn define(
        &mut self,
        value: Value,
        data: ValueData,
        at: Position,
    ) -> Result<(), ParseError> {
        if let ValueDef::Result(inst) = data.def {
            self.results[inst] = value.into();
        }
        match self.values[value.index()].replace(data) {
            Some(_) => Err(ParseError::new(at, format!("{value} is defined twice"))),
            None => Ok(()),
        }
    }

    /// Gives the numbers that the text left out something to stand for.
    fn fill(&mut self) -> (PrimaryMap<Value, ValueData>, PrimaryMap<Block, BlockData>) {
        let mut values = PrimaryMap::with_capacity(self.values.len());
        for data in std::mem::take(&mut self.values) {
            let next = values.next_key();
            values.push(data.unwrap_or_else(|| self.dead_value(next)));
        }
        let blocks = std::mem::take(&mut self.blocks).into_iter();
        let blocks = blocks.map(|data| data.unwrap_or_else(BlockData::new)).collect();
        (values, blocks)
    }

    fn dead_value(&mut self, value: Value) -> ValueData {
        let ty = Type::I64;
        let inst = self.insts.push(InstData {
            op: Opcode::Iconst,
            ty,
            args: SmallVec::new(),
            payload: Payload::Imm(0),
            origin: 0,
        });
        self.results[inst] = value.into();
        ValueData { ty, def: ValueDef::Result(inst) }
    }
}
