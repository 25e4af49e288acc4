//! Sizes of jumps, as the kernel has been seen to choose them.

use super::body;

/// So many bytes of code, a multiple of 4, or one that leaves 3.
fn filler(bytes: usize) -> String {
    "w1 += 1\n".repeat(usize::from(bytes % 4 == 3)) + &"r1 += 1\n".repeat(bytes / 4)
}

#[test]
fn forward_jumps_are_short_up_to_123_bytes() {
    let jump = |bytes| body(&format!("if r2 == 0 goto out\n{}out: r0 = 0", filler(bytes)));
    assert_eq!(jump(123)[..10], *"4885f6747b");
    assert_eq!(jump(124)[..18], *"4885f60f847c000000");
    let skip = |bytes| {
        let text = "if r2 == 0 goto a\ngoto out\na:";
        body(&format!("{text}{}out: r0 = 0", filler(bytes)))
    };
    assert_eq!(skip(123)[6..14], *"7402eb7b");
    assert_eq!(skip(124)[6..20], *"7405e97c000000");
}

#[test]
fn backward_jumps_are_short_if_the_long_form_reaches() {
    let count = |bytes| {
        let code = body(&format!("r2 = 9\nback:\n{}if r2 != 0 goto back\nr0 = 0", filler(bytes)));
        code[2 * (5 + bytes + 3)..].to_string()
    };
    // 119 + 3 + 6 bytes reach, 120 + 3 + 6 do not, though 120 + 3 + 2 would.
    assert_eq!(count(119), "758431c0");
    assert_eq!(count(120), "0f857fffffff31c0");
}

#[test]
fn jumps_over_nothing_vanish() {
    assert_eq!(body("goto +0\nr0 = 0"), "31c0");
    assert_eq!(body("goto +1\nr0 = 5\nr0 = 0"), "31c0");
    assert_eq!(body("gotol +1\nr0 = 5\nr0 = 0"), "31c0");
    // Nor do moves to themselves leave anything, so one jump takes another along.
    let text = "if r1 == 0 goto a\ngoto b\na: r2 = r2\ngoto b\nb: r0 = 0";
    assert_eq!(body(text), "4885ff740031c0");
    let text = "if r1 == 0 goto a\ngoto b\na: w2 = w2\nb: r0 = 0";
    assert_eq!(body(text), "4885ff7402eb0289f631c0");
}

#[test]
fn conditional_jumps_stay() {
    assert_eq!(body("if r1 > r2 goto +0\nr0 = 0"), "4839f7770031c0");
}

#[test]
fn loops() {
    assert_eq!(body("r1 = 5\nr1 += -1\nif r1 != 0 goto -2"), "bf050000004883c7ff4885ff75f7");
    assert_eq!(body("if r1 == 0 goto +1\ngoto -1"), "4885ff7402ebfe");
}

#[test]
fn nested_borderline_jumps_settle() {
    // Long outer jumps keep inner ones long only if these do not reach.
    let nested = "if r2 == 0 goto out\n".repeat(30);
    let code = body(&format!("{nested}{}out: r0 = 0", filler(40)));
    assert_eq!(code.matches("4885f674").count() + code.matches("4885f60f84").count(), 30);
    assert!(code.contains("4885f67428"));
    // A program of many jumps takes no longer than its size.
    let many = "if r2 == 0 goto +1\nr1 += 1\n".repeat(200_000);
    assert_eq!(body(&format!("{many}r0 = 0")).len(), 2 * (200_000 * 9 + 2));
}
