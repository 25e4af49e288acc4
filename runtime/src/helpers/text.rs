//! Helpers on text: printing, numbers in text, comparing; and reading memory
//! that nobody checked.

use super::{Args, Outcome, Row, bytes, bytes_mut, rows, size};
use crate::env::current;
use crate::errno::{EFAULT, EINVAL, ERANGE};
use crate::format::format;

/// Bytes of a printed text with its zero; the rest is lost.
const MAX_PRINTED: usize = 1024;
/// Bytes of the arguments that come in memory.
const MAX_ARGUMENTS: usize = 12 * 8;
/// Bytes of a number in text that are looked at.
const MAX_DIGITS: usize = 63;

/// Prints, and returns the text's length before it is cut.
fn print(text: &[u8]) -> u64 {
    let cut = &text[..text.len().min(MAX_PRINTED - 1)];
    current(|env| env.print(&String::from_utf8_lossy(cut)));
    text.len() as u64
}

/// The arguments of a format that lie in memory.
///
/// # Safety
/// `len` bytes must be readable at `data`.
unsafe fn arguments(data: u64, len: u64) -> Result<Vec<u64>, i64> {
    let len = size(len);
    if !len.is_multiple_of(8) || len > MAX_ARGUMENTS || (len > 0 && data == 0) {
        return Err(EINVAL);
    }
    // SAFETY: as above.
    let (words, _) = unsafe { bytes(data, len) }.as_chunks();
    Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

unsafe fn trace_printk([text, len, a, b, c]: Args) -> Outcome {
    // SAFETY: a verified program passes a format of `len` bytes.
    let text = unsafe { bytes(text, size(len)) };
    Ok(print(&format(text, &[a, b, c])?))
}

unsafe fn trace_vprintk([text, len, data, data_len, _]: Args) -> Outcome {
    // SAFETY: a verified program passes a format and arguments of these sizes.
    let (text, data) = unsafe { (bytes(text, size(len)), arguments(data, data_len)?) };
    Ok(print(&format(text, &data)?))
}

/// Returns the size of the whole text with its zero.
unsafe fn snprintf([to, len, text, data, data_len]: Args) -> Outcome {
    // SAFETY: a verified program passes room for `len` bytes, a format that ends
    // with a zero, and arguments of their size.
    unsafe {
        let data = arguments(data, data_len)?;
        let text = std::ffi::CStr::from_ptr(text as *const std::ffi::c_char);
        let text = format(text.to_bytes_with_nul(), &data)?;
        let to = bytes_mut(to, size(len));
        if let Some(room) = to.len().checked_sub(1) {
            let cut = &text[..text.len().min(room)];
            to[..cut.len()].copy_from_slice(cut);
            to[cut.len()] = 0;
        }
        Ok(text.len() as u64 + 1)
    }
}

/// A number in text: whether there is a minus, its magnitude, and the bytes it takes.
fn parse(text: &[u8], flags: u64) -> Result<(bool, u64, u64), i64> {
    let mut base = flags & 0x1f;
    if text.is_empty() || flags != base || !matches!(base, 0 | 8 | 10 | 16) {
        return Err(EINVAL);
    }
    let blanks = text.iter().take_while(|&&byte| matches!(byte, b' ' | 9..=13)).count();
    let negative = text.get(blanks) == Some(&b'-');
    let start = blanks + usize::from(negative);
    let text = &text[start..];
    let text = &text[..text.len().min(MAX_DIGITS)];
    let is_hex = match *text {
        [b'0', b'x' | b'X', digit, ..] => digit.is_ascii_hexdigit(),
        _ => false,
    };
    if base == 0 {
        base = match text.first() {
            _ if is_hex => 16,
            Some(b'0') => 8,
            _ => 10,
        };
    }
    let prefix = match *text {
        [b'0', b'x' | b'X', ..] if base == 16 => 2,
        _ => 0,
    };
    let digits = text[prefix..].iter().map_while(|&byte| char::from(byte).to_digit(base as u32));
    let count = digits.clone().count();
    if count == 0 {
        return Err(EINVAL);
    }
    let add = |sum: u64, digit| sum.checked_mul(base)?.checked_add(u64::from(digit));
    let value = digits.clone().try_fold(0, add).ok_or(ERANGE)?;
    Ok((negative, value, (start + prefix + count) as u64))
}

/// Parses text and writes what `number` makes of it, or 0 after an error. Returns how many bytes it took.
///
/// # Safety
/// `len` bytes must be readable at `text`, and 8 bytes writable at `to`.
unsafe fn parsed(
    [text, len, flags, to, _]: Args,
    number: impl Fn(bool, u64) -> Result<u64, i64>,
) -> Outcome {
    // SAFETY: as above.
    unsafe {
        bytes_mut(to, 8).fill(0);
        let (negative, value, consumed) = parse(bytes(text, size(len)), flags)?;
        let value = number(negative, value)?;
        bytes_mut(to, 8).copy_from_slice(&value.to_le_bytes());
        Ok(consumed)
    }
}

unsafe fn strtol(args: Args) -> Outcome {
    let signed = |negative, value: u64| match negative {
        true if value <= 1 << 63 => Ok(value.wrapping_neg()),
        false if value < 1 << 63 => Ok(value),
        _ => Err(ERANGE),
    };
    // SAFETY: a verified program passes text of its length and room for a number.
    unsafe { parsed(args, signed) }
}

unsafe fn strtoul(args: Args) -> Outcome {
    let unsigned = |negative, value| if negative { Err(EINVAL) } else { Ok(value) };
    // SAFETY: as for strtol.
    unsafe { parsed(args, unsigned) }
}

/// Compares up to `len` bytes, or up to a zero.
unsafe fn strncmp([a, len, b, ..]: Args) -> Outcome {
    for index in 0..u64::from(len as u32) {
        // SAFETY: a verified program passes `len` bytes, and text that ends with
        // a zero, behind which nothing is read.
        let (a, b) = unsafe { (*((a + index) as *const u8), *((b + index) as *const u8)) };
        if a != b {
            return Ok(if a < b { -1i64 as u64 } else { 1 });
        }
        if a == 0 {
            break;
        }
    }
    Ok(0)
}

/// There is no kernel memory to read, and a user's address means nothing here.
unsafe fn probe_read([to, len, ..]: Args) -> Outcome {
    // SAFETY: a verified program passes room for `len` bytes.
    unsafe { bytes_mut(to, size(len)) }.fill(0);
    Err(EFAULT)
}

pub(super) static ROWS: &[Row] = rows! {
    4 ANY probe_read;
    6 ANY trace_printk;
    45 ANY probe_read; // probe_read_str
    105 ANY strtol;
    106 ANY strtoul;
    112 ANY probe_read; // probe_read_user
    113 ANY probe_read; // probe_read_kernel
    114 ANY probe_read; // probe_read_user_str
    115 ANY probe_read; // probe_read_kernel_str
    148 ANY probe_read; // copy_from_user
    165 ANY snprintf;
    177 ANY trace_vprintk;
    182 ANY strncmp;
};
