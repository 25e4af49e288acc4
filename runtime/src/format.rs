//! The formatting of `trace_printk`, `snprintf` and their kin: what the kernel
//! lets programs use of its printf.
//!
//! `%[flags][width]` and one of `d i u x X` (with `l` or `ll`), `c`, `s`, `p`,
//! `px`, `pK`, `ps`, `pS`, `pB`, `pks`, `pus`, `pI4`, `pi4`, `pI6`, `pi6`; the
//! flags are `-`, `+`, `0` and blank, of which `ps` and what follows it take no
//! notice, nor of a width. Anything else, more conversions than
//! arguments, and bytes that are neither printable ASCII nor UTF-8 are errors.
//!
//! Strings and addresses of protocols are read where they lie if that memory can
//! be read, and are empty or zeros otherwise: nobody checked these arguments.
//! The kernel hides the value of `%p` and names the symbol of `%ps`; here both
//! are the number.

use crate::errno::EINVAL;
use crate::nofault;

/// Most bytes of a string that are printed.
const MAX_STRING: usize = 512;

/// Formats `arguments` by a format that ends at its first zero.
pub(crate) fn format(format: &[u8], arguments: &[u64]) -> Result<Vec<u8>, i64> {
    let end = format.iter().position(|&byte| byte == 0).ok_or(EINVAL)?;
    let mut rest = &format[..end];
    let mut arguments = arguments.iter().copied();
    let mut out = Vec::new();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, rest.first()) {
            (b'%', Some(b'%')) => {
                out.push(b'%');
                rest = &rest[1..];
            }
            (b'%', _) => {
                let argument = arguments.next().ok_or(EINVAL)?;
                rest = Spec::default().flags(rest).conversion(rest, argument, &mut out)?;
            }
            _ if is_text(byte) => out.push(byte),
            _ => return Err(EINVAL),
        }
    }
    Ok(out)
}

/// Printable, a blank, or part of a longer character.
fn is_text(byte: u8) -> bool {
    byte >= 0x80 || byte.is_ascii_graphic() || is_space(byte)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 9..=13)
}

/// What stands between `%` and the conversion.
#[derive(Default)]
struct Spec {
    left: bool,
    plus: bool,
    blank: bool,
    zero: bool,
    width: usize,
    /// Bytes of all this.
    length: usize,
}

impl Spec {
    fn flags(mut self, text: &[u8]) -> Spec {
        let mut rest = text.iter().copied().peekable();
        while let Some(flag) = rest.next_if(|byte| b"-+ 0".contains(byte)) {
            match flag {
                b'-' => self.left = true,
                b'+' => self.plus = true,
                b' ' => self.blank = true,
                _ => self.zero = true,
            }
            self.length += 1;
        }
        while let Some(digit) = rest.next_if(u8::is_ascii_digit) {
            // The kernel keeps no more than this of a width.
            self.width = (10 * self.width + usize::from(digit - b'0')).min(MAX_STRING);
            self.length += 1;
        }
        self
    }

    /// Formats one argument and returns the text after the conversion.
    fn conversion<'a>(
        &self,
        text: &'a [u8],
        argument: u64,
        out: &mut Vec<u8>,
    ) -> Result<&'a [u8], i64> {
        let text = &text[self.length..];
        if let Some(after) = text.strip_prefix(b"p") {
            return self.pointer(after, argument, out);
        }
        let longs = text.iter().take(2).take_while(|&&byte| byte == b'l').count();
        let after = text.get(longs + 1..).unwrap_or(&[]);
        match (text.get(longs), longs) {
            (Some(b's'), 0) if at_end(after) => self.pad(&string(argument), out),
            (Some(b'c'), 0) => self.pad(&[argument as u8], out),
            (Some(&kind @ (b'd' | b'i' | b'u' | b'x' | b'X')), _) => {
                self.number(kind, longs > 0, argument, out);
            }
            _ => return Err(EINVAL),
        }
        Ok(after)
    }

    fn pointer<'a>(
        &self,
        text: &'a [u8],
        argument: u64,
        out: &mut Vec<u8>,
    ) -> Result<&'a [u8], i64> {
        // All digits, unless a width is given.
        let all = Spec { zero: true, width: 16, ..Spec::default() };
        let wide = if self.width == 0 { &all } else { self };
        match *text {
            [b'x' | b'K', ..] => wide.number(b'x', true, argument, out),
            [b's' | b'S' | b'B', ..] => out.extend(format!("{argument:#x}").bytes()),
            [b'k' | b'u', b's', ref after @ ..] if at_end(after) => out.extend(string(argument)),
            [kind @ (b'i' | b'I'), b'4', ..] => out.extend(ipv4(kind == b'i', argument)),
            [kind @ (b'i' | b'I'), b'6', ..] => out.extend(ipv6(kind == b'i', argument)),
            _ if at_end(text) => {
                wide.number(b'x', true, argument, out);
                return Ok(text);
            }
            _ => return Err(EINVAL),
        }
        let length = if matches!(text[0], b'k' | b'u' | b'i' | b'I') { 2 } else { 1 };
        Ok(&text[length..])
    }

    fn number(&self, kind: u8, long: bool, argument: u64, out: &mut Vec<u8>) {
        let signed = if long { argument as i64 } else { i64::from(argument as i32) };
        let unsigned = if long { argument } else { u64::from(argument as u32) };
        let (sign, digits) = match kind {
            b'x' => ("", format!("{unsigned:x}")),
            b'X' => ("", format!("{unsigned:X}")),
            b'u' => ("", unsigned.to_string()),
            _ if signed < 0 => ("-", signed.unsigned_abs().to_string()),
            _ if self.plus => ("+", signed.to_string()),
            _ if self.blank => (" ", signed.to_string()),
            _ => ("", signed.to_string()),
        };
        let zeros = match self.zero && !self.left {
            true => self.width.saturating_sub(sign.len() + digits.len()),
            false => 0,
        };
        let number = [sign, &"0".repeat(zeros), &digits].concat();
        self.pad(number.as_bytes(), out);
    }

    /// Fills up with blanks to the width.
    fn pad(&self, text: &[u8], out: &mut Vec<u8>) {
        let blanks = vec![b' '; self.width.saturating_sub(text.len())];
        match self.left {
            true => out.extend([text, &blanks].concat()),
            false => out.extend([&blanks, text].concat()),
        }
    }
}

/// Whether a conversion may end here.
fn at_end(text: &[u8]) -> bool {
    text.first().is_none_or(|&byte| is_space(byte) || byte.is_ascii_punctuation())
}

/// A string of the program's, up to its zero.
fn string(address: u64) -> Vec<u8> {
    let mut bytes = [0; MAX_STRING];
    let readable = nofault::read(address, &mut bytes);
    let end = bytes[..readable].iter().position(|&byte| byte == 0);
    // Without a zero it is cut where the kernel's buffer ends, or cannot be read.
    let length = end.unwrap_or(if readable == MAX_STRING { MAX_STRING - 1 } else { 0 });
    bytes[..length].to_vec()
}

/// The bytes at an address, or zeros.
fn bytes_at<const N: usize>(address: u64) -> [u8; N] {
    let mut bytes = [0; N];
    match nofault::read(address, &mut bytes) {
        read if read == N => bytes,
        _ => [0; N],
    }
}

/// An address of IPv4, with leading zeros or without.
fn ipv4(zeros: bool, address: u64) -> Vec<u8> {
    let bytes = bytes_at::<4>(address);
    let parts = bytes.map(|byte| if zeros { format!("{byte:03}") } else { byte.to_string() });
    parts.join(".").into_bytes()
}

/// An address of IPv6 in full, without colons or with.
fn ipv6(plain: bool, address: u64) -> Vec<u8> {
    let bytes = bytes_at::<16>(address);
    let pairs = bytes.chunks_exact(2).map(|pair| format!("{:02x}{:02x}", pair[0], pair[1]));
    let pairs: Vec<String> = pairs.collect();
    pairs.join(if plain { "" } else { ":" }).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(format: &str, arguments: &[u64]) -> String {
        let bytes = super::format(format!("{format}\0junk").as_bytes(), arguments).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn is_refused(format: &str) -> bool {
        super::format(format!("{format}\0").as_bytes(), &[1]) == Err(EINVAL)
    }

    #[test]
    fn numbers() {
        assert_eq!(text("a=%d b=%x\n", &[u64::MAX, 255]), "a=-1 b=ff\n");
        assert_eq!(text("%llu %lX%%", &[u64::MAX, 26]), format!("{} 1A%", u64::MAX));
        assert_eq!(text("%u", &[1 << 32 | 7]), "7");
        assert_eq!(text("[%5d|%-5d|%05d|%+d|% d]", &[42; 5]), "[   42|42   |00042|+42| 42]");
        assert_eq!(text("[%05d|%-05d]", &[-42i64 as u64; 2]), "[-0042|-42  ]");
        assert_eq!(text("[%c|%3c]", &[65, 66]), "[A|  B]");
    }

    #[test]
    fn pointers() {
        assert_eq!(text("%px %p.", &[0xabc; 2]), "0000000000000abc 0000000000000abc.");
        assert_eq!(text("[%5px|%-5px]", &[0xabc; 2]), "[  abc|abc  ]");
        let hello = b"hello\0world";
        let address = hello.as_ptr() as u64;
        assert_eq!(text("[%s|%7s|%-7s|%pks]", &[address; 4]), "[hello|  hello|hello  |hello]");
        assert_eq!(text("<%s>", &[0x10]), "<>");
        let address = [1u8, 20, 0, 255, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let at = address.as_ptr() as u64;
        assert_eq!(text("%pI4 %pi4", &[at; 2]), "1.20.0.255 001.020.000.255");
        assert_eq!(text("%pI6", &[at]), "0114:00ff:fe80:0000:0000:0000:0000:0001");
        assert_eq!(text("%pi6", &[at]), "011400fffe8000000000000000000001");
        assert_eq!(text("%pI4", &[8]), "0.0.0.0");
    }

    #[test]
    fn refused() {
        for format in ["%d %d", "%", "%y", "%lld%", "%lllx", "%sx", "%pz", "%pI5", "\u{1}", "%ls"] {
            assert!(is_refused(format), "{format}");
        }
        assert!(!is_refused("é 100%% %s."));
        assert_eq!(super::format(b"no end", &[]), Err(EINVAL));
    }
}
