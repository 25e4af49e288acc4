//! The formatting of `trace_printk`: a small subset of C's printf.

/// Formats up to three arguments. Understands `%d %i %u %x %X %c %p %%` with
/// `l` and `ll`; anything else is copied as it stands.
pub(crate) fn format(format: &[u8], args: [u64; 3]) -> String {
    let end = format.iter().position(|&byte| byte == 0).unwrap_or(format.len());
    let text = String::from_utf8_lossy(&format[..end]);
    let mut out = String::new();
    let mut args = args.into_iter();
    let mut rest = text.as_ref();
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let spec = &rest[at + 1..];
        let longs = spec.bytes().take_while(|&byte| byte == b'l').count();
        let Some(kind) = spec[longs..].chars().next() else {
            rest = &rest[at..];
            break;
        };
        match conversion(kind, longs > 0, &mut args) {
            Some(converted) => out.push_str(&converted),
            None => out.push_str(&rest[at..at + 1 + longs + kind.len_utf8()]),
        }
        rest = &spec[longs + kind.len_utf8()..];
    }
    out + rest
}

fn conversion(kind: char, long: bool, args: &mut impl Iterator<Item = u64>) -> Option<String> {
    if kind == '%' {
        return Some("%".into());
    }
    if !"diuxXcp".contains(kind) {
        return None;
    }
    let arg = args.next().unwrap_or(0);
    let unsigned = if long { arg } else { u64::from(arg as u32) };
    Some(match kind {
        'd' | 'i' if long => (arg as i64).to_string(),
        'd' | 'i' => (arg as i32).to_string(),
        'u' => unsigned.to_string(),
        'x' => format!("{unsigned:x}"),
        'X' => format!("{unsigned:X}"),
        'c' => char::from(arg as u8).to_string(),
        _ => format!("{arg:016x}"),
    })
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn conversions() {
        assert_eq!(format(b"a=%d b=%x\n\0junk", [u64::MAX, 255, 0]), "a=-1 b=ff\n");
        assert_eq!(format(b"%llu %lx%%", [u64::MAX, 16, 0]), format!("{} 10%", u64::MAX));
        assert_eq!(format(b"%s %", [1, 2, 3]), "%s %");
        assert_eq!(format(b"%u", [1 << 32 | 7, 0, 0]), "7");
    }
}
