//! Facts about real objects that break loaders, as far as no other test here is
//! about them.

use super::write::{BtfWriter, Elf, FUNC, NOTYPE, OBJECT};
use super::{functions, header, parse, words};
use crate::object::MapKind;
use crate::validate::validate;

#[test]
fn legacy_definitions_of_every_length() {
    for (section, length) in [("maps", 20), ("maps", 24), ("tc/maps", 28), ("maps/x", 36)] {
        let mut elf = Elf::new();
        let mut definitions = Vec::new();
        for entries in [5, 6] {
            let mut definition = words(&[2, 4, 8, entries, 1]);
            definition.resize(length, 9);
            definitions.extend(definition);
        }
        let maps = elf.data(section, &definitions);
        let xdp = elf.code("xdp", "r1 = 0 ll\nexit");
        elf.global("main", xdp, 0);
        elf.symbol("a", OBJECT, false, maps, 0);
        let second = elf.symbol("b", OBJECT, false, maps, length as u64);
        elf.relocate(xdp, 0, second);
        let object = parse(&elf);
        let found: Vec<(MapKind, u32, u32)> =
            object.maps.values().map(|map| (map.kind, map.max_entries, map.flags)).collect();
        assert_eq!(found, [(MapKind::Array, 5, 1), (MapKind::Array, 6, 1)], "{length}");
        assert_eq!(functions(&object)[1], "r1 = map1 ll");
    }
}

#[test]
fn entries_may_be_the_loaders_and_pinning_private() {
    let mut btf = BtfWriter::default();
    let [array, zero, four, private] = [2, 0, 4, 1234].map(|number| btf.number(number));
    let members = [
        ("type", array, 0),
        ("key_size", four, 8),
        ("value_size", four, 16),
        ("max_entries", zero, 24),
        ("pinning", private, 32),
        ("their_own", private, 40),
    ];
    let map = btf.structure(&members);
    btf.section(".maps", &[("m", map)]);
    let mut elf = Elf::new();
    elf.data(".BTF", &btf.bytes());
    let maps = elf.data(".maps", &[0; 48]);
    let xdp = elf.code("xdp", "r1 = 0 ll\nexit");
    elf.global("main", xdp, 0);
    let map = elf.symbol("m", OBJECT, false, maps, 0);
    elf.relocate(xdp, 0, map);
    let object = parse(&elf);
    let map = object.maps.values().next().unwrap();
    assert_eq!((map.kind, map.max_entries), (MapKind::Array, 0));
    assert_eq!(validate(&object), []);
}

#[test]
fn callbacks_by_address() {
    let mut elf = Elf::new();
    let text = elf.code(".text", "r0 = 0\nexit\nr0 = 1\nexit");
    let xdp = elf.code("xdp", "r2 = 16 ll\nr2 = 0 ll\ncall 181\nexit\nr0 = 2\nexit");
    let own = elf.code("tc", "r2 = pseudo(4, 2, 0) ll\ncall 181\nexit\nr0 = 3\nexit");
    elf.local("first", text, 0);
    elf.local("second", text, 2);
    elf.global("main", xdp, 0);
    let near = elf.symbol("near", FUNC, true, xdp, 48);
    elf.global("direct", own, 0);
    elf.relocate(xdp, 0, Elf::section_symbol(text)); // Byte 16.
    elf.relocate(xdp, 16, near);
    let lines = functions(&parse(&elf));
    let loads: Vec<&str> =
        lines.iter().filter(|line| line.starts_with("r2")).map(String::as_str).collect();
    assert_eq!(loads, ["r2 = f1 ll", "r2 = f3 ll", "r2 = f5 ll"]);
}

#[test]
fn many_static_programs_in_a_section() {
    let mut elf = Elf::new();
    let tc = elf.code("tc", &"r0 = 0\nexit\n".repeat(181));
    for program in 0..181 {
        elf.local(&format!("p{program}"), tc, 2 * program);
    }
    let object = parse(&elf);
    assert_eq!((object.programs.len(), object.functions.len()), (181, 181));
    assert!(object.functions.values().all(|function| function.ops.len() == 2));
}

#[test]
fn static_functions_of_one_name() {
    let mut elf = Elf::new();
    let text = elf.code(".text", "r0 = 1\nexit\nr0 = 2\nexit");
    let xdp = elf.code("xdp", "call -1\ncall +1\nexit");
    elf.local("parse", text, 0);
    elf.local("parse", text, 2);
    elf.global("main", xdp, 0);
    elf.relocate(xdp, 0, Elf::section_symbol(text));
    elf.relocate(xdp, 8, Elf::section_symbol(text));
    let object = parse(&elf);
    let names: Vec<&str> = object.functions.values().map(|f| &*f.name).collect();
    assert_eq!(names, ["parse", "parse.1", "main"]);
}

#[test]
fn what_a_kernel_must_fill_in_is_never_zero() {
    let mut elf = Elf::new();
    let xdp = elf.code("xdp", "r1 = 0 ll\nr0 = *(u32 *)(r1 + 0)\nr1 = 0 ll\nexit");
    let tc = elf.code("tc", "r0 = 0\nexit");
    elf.global("main", xdp, 0);
    elf.global("other", tc, 0);
    let config = elf.symbol("CONFIG_HZ", NOTYPE, false, 0, 0);
    let version = elf.symbol("LINUX_KERNEL_VERSION", NOTYPE, false, 0, 0);
    elf.relocate(xdp, 0, config);
    elf.relocate(xdp, 24, version);
    let object = parse(&elf);
    let errors: Vec<String> = validate(&object).iter().map(|error| error.to_string()).collect();
    let expected = [
        "main: main+0: refers to CONFIG_HZ, which the object does not define (an extern)",
        "main: main+3: refers to LINUX_KERNEL_VERSION, which the object does not define (an extern)",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn relocations_for_a_kernel_of_every_kind() {
    let mut btf = BtfWriter::default();
    let kernel = btf.add("task_struct", 4, 0, 0, &[]);
    let (section, access) = (btf.string("tc"), btf.string("0:1"));
    let mut relocations = vec![16, section, 14];
    for kind in 0..14 {
        relocations.extend([8 * kind, kernel, access, kind]);
    }
    let relocations = words(&relocations);
    let mut ext = header(&[0, 0, 0, 0, 0, relocations.len() as u32]);
    ext.extend(relocations);
    let mut elf = Elf::new();
    elf.data(".BTF", &btf.bytes());
    elf.data(".BTF.ext", &ext);
    let tc = elf.code("tc", &("r0 = 1\n".repeat(14) + "exit"));
    elf.global("core", tc, 0);
    let xdp = elf.code("xdp", "r0 = 1\nexit");
    elf.global("plain", xdp, 0);
    let errors = validate(&parse(&elf));
    assert!(errors.iter().all(|error| error.function.as_deref() == Some("core")));
    assert!(errors.iter().all(|error| error.what.contains("task_struct 0:1 in a kernel (CO-RE)")));
    // Kind 6 is the object's own number of a type, which is there already. A
    // kind of the future is no reason to take the instruction as it is.
    let at: Vec<u32> = errors.iter().filter_map(|error| error.insn).collect();
    assert_eq!(at, [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13]);
}
