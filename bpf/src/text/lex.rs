//! Tokens of the text form, and the cursor that parsers read them from.

use crate::Error;

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A name or number.
    Word(&'a str),
    /// A quoted string, unescaped.
    Str(String),
    /// An operator or bracket.
    Sym(&'static str),
    /// The end of a line.
    Newline,
    /// The end of the text.
    End,
}

/// Longest first, so that the first match is the right one.
static SYMBOLS: &[&str] = &[
    "s>>=", "s>=", "s<=", "s/=", "s%=", "<<=", ">>=", "s>", "s<", "==", "!=", "<=", ">=", "+=",
    "-=", "*=", "/=", "%=", "|=", "&=", "^=", "=", "<", ">", "&", "+", "-", "*", "(", ")", "[",
    "]", "{", "}", ":", ",",
];

/// Tokens with a position, and the place in the code that errors name.
pub(super) struct Cursor<'a> {
    tokens: Vec<(Token<'a>, usize)>,
    next: usize,
    /// The function being parsed.
    pub function: Option<String>,
    /// The slot being parsed.
    pub slot: usize,
}

pub(super) type Result<T> = std::result::Result<T, Error>;

impl<'a> Cursor<'a> {
    /// Reads the tokens of a text.
    pub fn new(text: &'a str) -> Result<Cursor<'a>> {
        let mut cursor = Cursor { tokens: Vec::new(), next: 0, function: None, slot: 0 };
        let mut lines = 0;
        for (index, line) in text.lines().enumerate() {
            lines = index + 1;
            let mut rest = line.trim_start();
            while !rest.is_empty() && !rest.starts_with([';', '#']) {
                let (token, after) =
                    token(rest).map_err(|what| cursor.error_at(lines, what.as_str()))?;
                cursor.tokens.push((token, lines));
                rest = after.trim_start();
            }
            cursor.tokens.push((Token::Newline, lines));
        }
        cursor.tokens.push((Token::End, lines));
        Ok(cursor)
    }

    fn error_at(&self, line: usize, what: &str) -> Error {
        Error {
            function: self.function.clone(),
            insn: self.function.as_ref().map(|_| self.slot as u32),
            ..Error::new(format!("line {line}: {what}"))
        }
    }

    /// An error at the next token.
    pub fn error(&self, what: impl AsRef<str>) -> Error {
        self.error_at(self.line(), what.as_ref())
    }

    /// An error that the next token is not what it should be.
    pub fn expected<T>(&self, what: &str) -> Result<T> {
        let found = match self.peek() {
            Token::Word(word) => format!("`{word}`"),
            Token::Str(text) => format!("{text:?}"),
            Token::Sym(sym) => format!("`{sym}`"),
            Token::Newline => "the end of the line".into(),
            Token::End => "the end of the text".into(),
        };
        Err(self.error(format!("expected {what}, found {found}")))
    }

    /// Number of the next token's line.
    pub fn line(&self) -> usize {
        self.tokens[self.next].1
    }

    /// The next token.
    pub fn peek(&self) -> &Token<'a> {
        &self.tokens[self.next].0
    }

    /// The token after the next.
    pub fn peek_second(&self) -> &Token<'a> {
        let last = self.tokens.len() - 1;
        &self.tokens[(self.next + 1).min(last)].0
    }

    /// Steps over the next token; the end of the text stays.
    pub fn advance(&mut self) {
        if *self.peek() != Token::End {
            self.next += 1;
        }
    }

    /// Steps over line ends.
    pub fn skip_newlines(&mut self) {
        while *self.peek() == Token::Newline {
            self.advance();
        }
    }

    /// The next token, if it is a word.
    pub fn word(&self) -> Option<&'a str> {
        match self.peek() {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    /// Steps over a symbol if it is next.
    pub fn eat(&mut self, sym: &str) -> bool {
        let found = matches!(self.peek(), Token::Sym(s) if *s == sym);
        if found {
            self.advance();
        }
        found
    }

    /// Steps over a word if it is next.
    pub fn eat_word(&mut self, word: &str) -> bool {
        let found = self.word() == Some(word);
        if found {
            self.advance();
        }
        found
    }

    /// Steps over a symbol that has to be next.
    pub fn expect(&mut self, sym: &str) -> Result<()> {
        if self.eat(sym) {
            return Ok(());
        }
        self.expected(&format!("`{sym}`"))
    }

    /// Steps over a word that has to be next.
    pub fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.eat_word(word) {
            return Ok(());
        }
        self.expected(&format!("`{word}`"))
    }

    /// Steps over a quoted string.
    pub fn string(&mut self) -> Result<String> {
        let Token::Str(text) = self.peek() else {
            return self.expected("a string");
        };
        let text = text.clone();
        self.advance();
        Ok(text)
    }

    /// Steps over a number without sign, decimal or after `0x`.
    pub fn number(&mut self) -> Result<u64> {
        let number = self.word().and_then(parse_number);
        let Some(number) = number else {
            return self.expected("a number");
        };
        self.advance();
        Ok(number)
    }

    /// Steps over a number with or without sign, within bounds.
    pub fn signed(&mut self, min: i64, max: i64) -> Result<i64> {
        let start = self.next;
        let negative = self.eat("-");
        if !negative {
            self.eat("+");
        }
        let magnitude = i128::from(self.number()?);
        let value = if negative { -magnitude } else { magnitude };
        match i64::try_from(value) {
            Ok(value) if (min..=max).contains(&value) => Ok(value),
            _ => {
                self.next = start;
                Err(self.error(format!("the number is not within {min} and {max}")))
            }
        }
    }

    /// Steps over an unsigned 32-bit number.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(self.signed(0, u32::MAX.into())? as u32)
    }

    /// Steps over the number of an entity, as in `map7`.
    pub fn entity(&mut self, prefix: &str) -> Result<u32> {
        match self.word().and_then(|word| entity(word, prefix)) {
            Some(index) => {
                self.advance();
                Ok(index)
            }
            None => self.expected(&format!("`{prefix}N`")),
        }
    }

    /// Steps over the end of a line or text.
    pub fn end_of_line(&mut self) -> Result<()> {
        match self.peek() {
            Token::Newline | Token::End => {
                self.advance();
                Ok(())
            }
            _ => self.expected("the end of the line"),
        }
    }
}

/// The number of an entity whose name starts so.
pub(super) fn entity(word: &str, prefix: &str) -> Option<u32> {
    let digits = word.strip_prefix(prefix)?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    // The largest number is the entities' own "none".
    let index: u32 = digits.parse().ok().filter(|_| plain)?;
    (index != u32::MAX).then_some(index)
}

fn parse_number(word: &str) -> Option<u64> {
    match word.strip_prefix("0x").or(word.strip_prefix("0X")) {
        Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16).ok(),
        Some(_) => None,
        None => word.parse().ok(),
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$' | '@')
}

/// The first token of a text that is not empty, and the text after it.
fn token(text: &str) -> std::result::Result<(Token<'_>, &str), String> {
    if let Some(sym) = SYMBOLS.iter().find(|sym| text.starts_with(**sym)) {
        return Ok((Token::Sym(sym), &text[sym.len()..]));
    }
    if let Some(quoted) = text.strip_prefix('"') {
        return string(quoted);
    }
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    if end == 0 {
        let c = text.chars().next().unwrap_or_default();
        return Err(format!("unexpected {c:?}"));
    }
    Ok((Token::Word(&text[..end]), &text[end..]))
}

/// A string after its opening quote, with the escapes of Rust's `escape_default`.
fn string(text: &str) -> std::result::Result<(Token<'_>, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Str(value), &text[index + 1..])),
            '\\' => value.push(escape(&mut chars).ok_or("an unknown escape in a string")?),
            c => value.push(c),
        }
    }
    Err("a string without end".into())
}

fn escape(chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    Some(match chars.next()?.1 {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'u' => {
            chars.next().filter(|(_, c)| *c == '{')?;
            let digits: String = chars.map(|(_, c)| c).take_while(|c| *c != '}').collect();
            char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
        }
        c @ ('"' | '\\' | '\'') => c,
        _ => return None,
    })
}
