//! `tailor check`: all that is wrong with an object, a line each.

use std::path::{Path, PathBuf};
use std::process::Command;

fn check(path: &Path) -> (Option<i32>, Vec<String>) {
    let output = Command::new(env!("CARGO_BIN_EXE_tailor")).arg("check").arg(path).output();
    let output = output.expect("the command starts");
    let errors = String::from_utf8(output.stderr).expect("text");
    (output.status.code(), errors.lines().map(String::from).collect())
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/objects/subparser.o")
}

#[test]
fn nothing_is_wrong_with_an_example() {
    assert_eq!(check(&example()), (Some(0), Vec::new()));
}

/// Puts an instruction in place of every exit of the example.
fn every_exit_replaced(by: [u8; 8]) {
    let exit = [0x95, 0, 0, 0, 0, 0, 0, 0];
    let mut bytes = std::fs::read(example()).expect("the example");
    let mut broken = 0;
    for slot in bytes.as_chunks_mut::<8>().0.iter_mut().filter(|slot| **slot == exit) {
        *slot = by;
        broken += 1;
    }
    assert!(broken > 1, "{broken} exits");
    let name = format!("tailor-check-{}-{:02x}.o", std::process::id(), by[0]);
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).expect("room for a file");
    let (status, errors) = check(&path);
    let _ = std::fs::remove_file(&path);
    assert_eq!((status, errors.len()), (Some(1), broken), "{errors:#?}");
    for error in errors {
        let words: Vec<&str> = error
            .strip_prefix(&*path.to_string_lossy())
            .map_or(vec![], |rest| rest.split(": ").collect());
        // OBJ: PROGRAM: FUNCTION+INSN: what and why
        assert_eq!(words.len(), 4, "{error}");
        assert!(words[2].contains('+'), "{error}");
        let expected = match by[0] {
            0xff => "unknown opcode 0xff",
            _ => "a cast between address spaces is not supported",
        };
        assert_eq!(words[3], expected);
    }
}

#[test]
fn every_bad_instruction_is_named() {
    every_exit_replaced([0xff, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn casts_between_address_spaces_are_named() {
    // r2 = addr_space_cast(r1, 0, 1)
    every_exit_replaced([0xbf, 0x12, 1, 0, 1, 0, 0, 0]);
}

#[test]
fn a_file_that_is_no_object_is_named() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let (status, errors) = check(&path);
    assert_eq!((status, errors.len()), (Some(1), 1), "{errors:#?}");
    assert!(errors[0].contains("Cargo.toml: ELF header: not a readable ELF object"), "{errors:#?}");
}
