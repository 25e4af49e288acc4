//! Helpers on text.

use super::*;

/// A map with these bytes as map 1.
fn rodata(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x} ")).collect();
    let size = bytes.len();
    format!("map map1 \".rodata\" array key 4 value {size} entries 1 flags 0x80 {{ {hex}}}")
}

#[test]
fn numbers_in_text() {
    let parsed = |helper: u32, text: &str, base: u32| {
        let (maps, len) = (rodata(text.as_bytes()), text.len());
        let body = format!(
            "*(u64 *)(r9 + 8) = 77\nr1 = map1[0] ll\nr2 = {len}\nr3 = {base}\nr4 = r9\nr4 += 8
            call {helper}\n*(u64 *)(r9 + 0) = r0"
        );
        let outcome = ran_with("xdp", &maps, &body);
        (outcome.at(0), outcome.at(8))
    };
    let signed = [
        (" -12x", 10, (4, -12)),
        ("0x1F", 0, (4, 31)),
        ("0x1F", 16, (4, 31)),
        ("0x1F", 10, (1, 0)),
        ("077", 0, (3, 63)),
        ("-9223372036854775808", 10, (20, i64::MIN)),
        ("9223372036854775808", 10, (-34, 0)),
        ("0x", 0, (1, 0)),
        ("x", 0, (-22, 0)),
        ("-", 10, (-22, 0)),
        ("5", 7, (-22, 0)),
        ("5", 32, (-22, 0)),
    ];
    for (text, base, expected) in signed {
        assert_eq!(parsed(105, text, base), expected, "{text}");
    }
    assert_eq!(parsed(106, "18446744073709551615", 0), (20, -1));
    assert_eq!(parsed(106, "18446744073709551616", 0), (-34, 0));
    assert_eq!(parsed(106, "-1", 0), (-22, 0));
}

#[test]
fn comparisons() {
    let compared = |len: u32| {
        let body = format!(
            "r1 = 0x646362 ll\n*(u64 *)(r9 + 8) = r1\nr1 = r9\nr1 += 8\nr2 = {len}
            r3 = map1[0] ll\ncall 182\n*(u64 *)(r9 + 0) = r0"
        );
        ran_with("xdp", &rodata(b"bca\0"), &body).at(0)
    };
    assert_eq!((compared(2), compared(3)), (0, 1));
    let body = "r1 = r9\nr2 = 4\nr3 = map1[0] ll\ncall 182";
    let error = stopped("xdp", &rodata(b"no end"), body);
    assert!(error.contains("is no text with an end"), "{error}");
}

#[test]
fn formatted() {
    let formatted = |format: &str, room: u32, arguments: u32| {
        let body = format!(
            "*(u64 *)(r10 - 16) = 42\n*(u64 *)(r10 - 8) = -1\n*(u64 *)(r9 + 8) = -1
            r1 = r9\nr1 += 8\nr2 = {room}\nr3 = map1[0] ll\nr4 = r10\nr4 += -16
            r5 = {arguments}\ncall 165\n*(u64 *)(r9 + 0) = r0"
        );
        let format = format!("{format}\0");
        let outcome = ran_with("xdp", &rodata(format.as_bytes()), &body);
        (outcome.at(0), outcome.out[8..16].to_vec())
    };
    assert_eq!(formatted("%d %d", 8, 16), (6, b"42 -1\0\xff\xff".to_vec()));
    assert_eq!(formatted("%d %d", 4, 16), (6, b"42 \0\xff\xff\xff\xff".to_vec()));
    assert_eq!(formatted("%d %d", 0, 16), (6, vec![255; 8]));
    assert_eq!(formatted("%d %d", 8, 8), (-22, vec![255; 8]));
    assert_eq!(formatted("x", 8, 7), (-22, vec![255; 8]));
}

#[test]
fn printed() {
    let body = "r1 = map1[0] ll\nr2 = 6\nr3 = 5\nr4 = 0\nr5 = 0\ncall 6\n*(u64 *)(r9 + 0) = r0
        r1 = map1[0] ll\nr2 = 6\nr3 = r9\nr4 = 8\nr5 = 0\ncall 177\n*(u64 *)(r9 + 8) = r0
        r1 = map1[0] ll\nr2 = 5\nr3 = 5\ncall 6\n*(u64 *)(r9 + 16) = r0";
    let outcome = ran_with("xdp", &rodata(b"a=%u\n\0"), body);
    assert_eq!([0, 8, 16].map(|at| outcome.at(at)), [4, 4, -22]);
    assert_eq!(outcome.environment.trace(), "a=5\na=4\n");
}

/// There is nothing to read, whatever the address.
#[test]
fn probes() {
    let body = "*(u64 *)(r9 + 8) = -1\nr1 = r9\nr1 += 8\nr2 = 4\nr3 = 0x1000\ncall 113
        *(u64 *)(r9 + 0) = r0";
    let outcome = ran("xdp", &[], body);
    assert_eq!((outcome.at(0), outcome.at(8)), (-14, -1 << 32));
}
