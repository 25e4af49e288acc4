//! Tokens of the text form.

use std::fmt;

use super::ParseError;

/// A token, borrowed from the text where it can be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// A name: letters, digits, `_` and `.`, no digit first.
    Word(&'a str),
    /// Starts with a digit; what follows is checked where the kind is known.
    Number(&'a str),
    /// A quoted string, escapes resolved.
    Str(String),
    /// Any other character.
    Punct(char),
    /// The end of the text.
    End,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(text) | Token::Number(text) => write!(f, "`{text}`"),
            Token::Str(text) => write!(f, "{text:?}"),
            Token::Punct(c) => write!(f, "`{}`", c.escape_debug()),
            Token::End => f.write_str("the end of the text"),
        }
    }
}

/// A place in the text, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Position {
    pub line: usize,
    pub column: usize,
}

/// Splits a text into tokens.
pub(super) struct Lexer<'a> {
    rest: &'a str,
    at: Position,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Lexer<'a> {
        let at = Position { line: 1, column: 1 };
        Lexer { rest: text, at }
    }

    /// The next token and where it starts.
    pub fn next(&mut self) -> Result<(Token<'a>, Position), ParseError> {
        self.skip_blanks();
        let start = self.at;
        let Some(first) = self.rest.chars().next() else {
            return Ok((Token::End, start));
        };
        let token = match first {
            '"' => self.string(start)?,
            '0'..='9' => self.number(),
            c if is_word(c) => Token::Word(self.take_while(is_word)),
            c => {
                self.bump();
                Token::Punct(c)
            }
        };
        Ok((token, start))
    }

    fn skip_blanks(&mut self) {
        while let Some(c) = self.rest.chars().next() {
            if c == ';' {
                self.take_while(|c| c != '\n');
            } else if c.is_whitespace() {
                self.bump();
            } else {
                return;
            }
        }
    }

    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        if c == '\n' {
            self.at.line += 1;
            self.at.column = 1;
        } else {
            self.at.column += 1;
        }
        Some(c)
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let text = self.rest;
        while self.rest.chars().next().is_some_and(&accept) {
            self.bump();
        }
        &text[..text.len() - self.rest.len()]
    }

    /// Integers, and fractions with an exponent that may have a sign.
    fn number(&mut self) -> Token<'a> {
        let text = self.rest;
        let body = self.take_while(is_word);
        let exponent = !body.starts_with("0x") && body.ends_with(['e', 'E']);
        if exponent && self.rest.starts_with(['+', '-']) {
            self.bump();
            self.take_while(|c| c.is_ascii_digit());
        }
        Token::Number(&text[..text.len() - self.rest.len()])
    }

    fn string(&mut self, start: Position) -> Result<Token<'a>, ParseError> {
        self.bump();
        let mut text = String::new();
        loop {
            let at = self.at;
            match self.bump() {
                Some('"') => return Ok(Token::Str(text)),
                Some('\\') => match self.escape() {
                    Some(c) => text.push(c),
                    None => return Err(ParseError::new(at, "expected an escape sequence")),
                },
                Some(c) if c != '\n' => text.push(c),
                _ => return Err(ParseError::new(start, "this string has no end")),
            }
        }
    }

    /// What follows a backslash, as Rust's `Debug` writes it.
    fn escape(&mut self) -> Option<char> {
        Some(match self.bump()? {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '0' => '\0',
            'u' => {
                self.bump().filter(|&c| c == '{')?;
                let digits = self.take_while(|c| c.is_ascii_hexdigit());
                self.bump().filter(|&c| c == '}')?;
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
            }
            c @ ('"' | '\'' | '\\') => c,
            _ => return None,
        })
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}
