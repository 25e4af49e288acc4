//! Objects made by hand, well-formed and damaged, and what reading them gives.

mod facts;
mod lines;
mod scale;
mod write;

use proptest::prelude::*;

use self::write::{BtfWriter, Elf, NOTYPE, OBJECT, code, header};
use crate::object::{MapKind, Object, ProgramKind};
use crate::text::print_object;

fn parse(elf: &Elf) -> Object {
    Object::parse("", &elf.bytes()).unwrap()
}

fn error(elf: &Elf) -> String {
    Object::parse("", &elf.bytes()).unwrap_err().to_string()
}

/// The functions in text form, without indentation and empty lines.
fn functions(object: &Object) -> Vec<String> {
    let text = print_object(object);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.skip_while(|line| line.starts_with("map"));
    lines.map(String::from).collect()
}

#[test]
fn calls_in_all_forms() {
    let mut elf = Elf::new();
    let text = elf.code(".text", "r0 = 1\nexit\nr0 = 2\nexit\ncall -1\nexit");
    let xdp = elf.code("xdp", "call +1\ncall +2\ncall -1\nexit\nr0 = 3\nexit");
    elf.global("first", text, 0);
    elf.local("second", text, 2);
    let third = elf.global("third", text, 4);
    elf.global("main", xdp, 0);
    elf.local("near", xdp, 4);
    elf.relocate(xdp, 0, Elf::section_symbol(text)); // + 1: the second
    elf.relocate(xdp, 16, third);
    elf.relocate(text, 32, third);
    let expected = [
        "function f0 \"first\"",
        "r0 = 1",
        "exit",
        "function f1 \"second\"",
        "r0 = 2",
        "exit",
        "function f2 \"third\"",
        "call f2",
        "exit",
        "program f3 \"main\" xdp",
        "call f1",
        "call f4",
        "call f2",
        "exit",
        "function f4 \"near\" section \"xdp\"",
        "r0 = 3",
        "exit",
    ];
    assert_eq!(functions(&parse(&elf)), expected);
}

/// As clang writes them since 22: a section of 8-byte offsets into the section of
/// the code, and a symbol with a size for each table.
#[test]
fn jump_tables() {
    let switch = "r0 = 0
        r1 = 0 ll
        r1 = *(u64 *)(r1 + 0)
        gotox r1
        r0 = 1
        exit
        r0 = 2
        exit";
    let mut elf = Elf::new();
    // The second function starts at slot 9.
    let xdp = elf.code("xdp", &format!("{switch}\n{switch}"));
    let offsets = |slots: &[u64]| slots.iter().flat_map(|s| (8 * s).to_le_bytes()).collect();
    let bytes: Vec<u8> = offsets(&[5, 7, 5, 16, 14]);
    let tables = elf.data(".jumptables", &bytes);
    elf.global("first", xdp, 0);
    elf.global("second", xdp, 9);
    let first = elf.variable("BPF.JT.0.0", tables, 0, 24);
    let second = elf.variable("BPF.JT.1.0", tables, 24, 16);
    elf.relocate(xdp, 8, first);
    elf.relocate(xdp, 8 * 10, second);
    let object = parse(&elf);
    let shape = "insn_array key 4 value 8";
    let expected = [
        &format!("map map0 \"BPF.JT.0.0\" {shape} entries 3 flags 0x80 {{ 5, 7, 5 }}"),
        &format!("map map1 \"BPF.JT.1.0\" {shape} entries 2 flags 0x80 {{ 7, 5 }}"),
        "program f0 \"first\" xdp",
        "r0 = 0",
        "r1 = map0[0] ll",
        "r1 = *(u64 *)(r1 + 0)",
        "gotox r1",
    ];
    let text = print_object(&object);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    assert_eq!(lines.take(7).collect::<Vec<_>>(), expected);
    let targets: Vec<_> = object.functions.values().map(|f| object.jump_targets(f)).collect();
    assert_eq!(targets, [[5, 7], [5, 7]]);
    assert_eq!(crate::validate::validate(&object), []);
}

#[test]
fn jump_tables_that_lead_elsewhere() {
    let switch = "r1 = 0 ll\nr1 = *(u64 *)(r1 + 0)\ngotox r1\nr0 = 0\nexit";
    let found = |offset: u64| {
        let mut elf = Elf::new();
        let xdp = elf.code("xdp", &format!("{switch}\n{switch}"));
        let tables = elf.data(".jumptables", &offset.to_le_bytes());
        elf.global("first", xdp, 0);
        elf.global("second", xdp, 6);
        let table = elf.variable("table", tables, 0, 8);
        elf.relocate(xdp, 0, table);
        elf.relocate(xdp, 8 * 6, table);
        let errors = crate::validate::validate(&parse(&elf));
        errors.iter().map(|error| error.to_string()).collect::<Vec<_>>()
    };
    let shared = "second: second+0: names table, another function's jump table";
    assert_eq!(found(32), [shared]);
    assert_eq!(found(8)[0], "first: first+3: jumps into the 64-bit immediate before 1");
    // Within an instruction; another function's code.
    assert_eq!(found(12)[0], "first: first+3: jumps to 4294967295, outside the function");
    assert_eq!(found(48)[0], "first: first+3: jumps to 6, outside the function");
}

#[test]
fn functions_without_type_or_symbol() {
    let mut elf = Elf::new();
    let text = elf.code(
        ".text",
        "r0 = 0
        if r0 == 0 goto +1
        r0 = 1
        exit
        r0 = 2
        exit
        r0 = 3
        exit",
    );
    let tc = elf.code("tc", "call +3\ncall +4\nexit");
    elf.symbol("LBB0_2", NOTYPE, true, text, 24);
    elf.symbol("typeless", NOTYPE, true, text, 32);
    elf.symbol("main", NOTYPE, false, tc, 0);
    elf.relocate(tc, 0, Elf::section_symbol(text)); // Slot 4.
    elf.relocate(tc, 8, Elf::section_symbol(text)); // Slot 5, the last exit of `typeless`.
    let object = parse(&elf);
    let names: Vec<&str> = object.functions.values().map(|f| &*f.name).collect();
    assert_eq!(names, [".text@0", "typeless", ".text@5", "main"]);
    assert_eq!(object.programs.len(), 1);
}

#[test]
fn labels_of_hand_written_code_are_no_functions() {
    let mut elf = Elf::new();
    let text = "if r1 == 0 goto +2\nr0 = 1\nexit\nr0 = 2\nexit\nr0 = 3\nexit";
    let xdp = elf.code("xdp", text);
    elf.global("main", xdp, 0);
    elf.symbol("out", NOTYPE, true, xdp, 24);
    elf.symbol("loose", NOTYPE, true, xdp, 32);
    elf.symbol("other", NOTYPE, true, xdp, 40);
    let object = parse(&elf);
    let names: Vec<&str> = object.programs.values().map(|p| &*p.name).collect();
    assert_eq!(names, ["main", "other"]);
}

#[test]
fn data_sections() {
    let mut elf = Elf::new();
    let rodata = elf.data(".rodata.str1.1", b"hello\0");
    let bss = elf.zeros(".bss", 16);
    let other = elf.data(".data.x", &[1, 2]);
    elf.data("license", b"GPL\0");
    let xdp = elf.code("xdp", "r1 = 2 ll\nr2 = 0 ll\nr3 = 1 ll\nexit");
    let bad = elf.code("tc", "r1 = 16 ll\nexit");
    elf.global("main", xdp, 0);
    elf.global("bad", bad, 0);
    let variable = elf.symbol("x", OBJECT, false, bss, 8);
    elf.relocate(xdp, 0, Elf::section_symbol(rodata));
    elf.relocate(xdp, 16, variable);
    elf.relocate(xdp, 32, Elf::section_symbol(other));
    elf.relocate(bad, 0, variable);
    let text =
        "map map0 \".rodata.str1.1\" array key 4 value 6 entries 1 flags 0x80 { 68 65 6c 6c 6f }
map map1 \".bss\" array key 4 value 16 entries 1 { }
map map2 \".data.x\" array key 4 value 2 entries 1 { 01 02 }

program f0 \"main\" xdp
  r1 = map0[2] ll
  r2 = map1[8] ll
  r3 = map2[1] ll
  exit

program f1 \"bad\" sched_cls refused 0 \"refers to x in .bss, which is in no map\"
  r1 = 0x10 ll
  exit
";
    assert_eq!(print_object(&parse(&elf)), text);
}

#[test]
fn sections_say_what_programs_are() {
    let kinds = [
        ("xdp.frags/x", ProgramKind::Xdp),
        ("?tc/ingress", ProgramKind::SchedCls),
        ("tcx/egress", ProgramKind::SchedCls),
        ("tcp_x", ProgramKind::Opaque),
        ("classifier_a", ProgramKind::SchedCls),
        ("socket1", ProgramKind::SocketFilter),
        ("sockops", ProgramKind::Opaque),
        ("cgroup_skb/egress", ProgramKind::CgroupSkb),
        ("cgroup/skb", ProgramKind::CgroupSkb),
        ("cgroup/sock", ProgramKind::Opaque),
        ("flow_dissector", ProgramKind::FlowDissector),
        ("sk_skb/stream_parser", ProgramKind::SkSkb),
        ("lwt_in", ProgramKind::Lwt),
    ];
    for (section, kind) in kinds {
        assert_eq!(super::kind(section), kind, "{section}");
    }
}

#[test]
fn maps_of_maps() {
    let mut btf = BtfWriter::default();
    let [one, twelve, four] = [1, 12, 4].map(|number| btf.number(number));
    let inner = btf.structure(&[
        ("type", one, 0),
        ("key_size", four, 8),
        ("value_size", twelve, 16),
        ("max_entries", four, 24),
    ]);
    let pointer = btf.add("", 2, 0, inner, &[]);
    let values = btf.add("", 3, 0, 0, &[pointer, 0, 0]);
    let outer = btf.structure(&[
        ("type", twelve, 0),
        ("key_size", four, 8),
        ("max_entries", four, 16),
        ("values", values, 24),
    ]);
    btf.section(".maps", &[("outer", outer), ("inner", inner)]);

    let mut elf = Elf::new();
    elf.data(".BTF", &btf.bytes());
    let maps = elf.data(".maps", &[0; 24 + 24 + 32]);
    elf.symbol("outer", OBJECT, false, maps, 0);
    let inner = elf.symbol("inner", OBJECT, false, maps, 48);
    elf.relocate(maps, 24 + 16, inner);
    let text = "map map0 \"outer\" array_of_maps key 4 value 4 entries 4 \
                inner hash key 4 value 12 entries 4 { 2 = map1 }
map map1 \"inner\" hash key 4 value 12 entries 4
";
    assert_eq!(print_object(&parse(&elf)), text);
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The map in a function that names it is refused then.
#[test]
fn slots_that_hold_no_program() {
    let refused = |kind: u32, target: &str| {
        let mut btf = BtfWriter::default();
        let [kind, four] = [kind, 4].map(|number| btf.number(number));
        let pointer = btf.add("", 2, 0, 0, &[]);
        let values = btf.add("", 3, 0, 0, &[pointer, 0, 0]);
        let jmp = btf.structure(&[
            ("type", kind, 0),
            ("key_size", four, 8),
            ("max_entries", four, 16),
            ("values", values, 24),
        ]);
        btf.section(".maps", &[("jmp", jmp)]);
        let mut elf = Elf::new();
        elf.data(".BTF", &btf.bytes());
        let maps = elf.data(".maps", &[0; 24 + 32]);
        let xdp = elf.code("xdp", "r1 = 0 ll\nexit");
        elf.variable("jmp", maps, 0, 24 + 32);
        let map = elf.global("main", xdp, 0) - 1;
        let symbol = match target {
            "main" => map + 1,
            "elsewhere" => elf.symbol(target, NOTYPE, false, 0, 0),
            _ => elf.symbol(target, NOTYPE, true, xdp, 16),
        };
        elf.relocate(maps, 24 + 16, symbol);
        elf.relocate(xdp, 0, map);
        let object = parse(&elf);
        let errors = crate::validate::validate(&object);
        let errors: Vec<String> = errors.iter().map(|error| error.to_string()).collect();
        (object.maps.values().next().unwrap().slots.len(), errors)
    };
    let because = |why: &str| {
        let map = format!("map jmp: {why}");
        (0, vec![map.clone(), format!("main: main+0: needs {map}")])
    };
    assert_eq!(refused(3, "main"), (1, vec![]));
    assert_eq!(refused(3, "elsewhere"), because("slot 2 is to hold elsewhere, no program"));
    assert_eq!(refused(3, "label"), because("slot 2 is to hold label, no program"));
    let neither = because("has initial values, but holds neither programs nor maps");
    assert_eq!(refused(1, "main"), neither);
}

/// One far outside must not count as one of the first instructions.
#[test]
fn relocations_outside_the_code() {
    let mut elf = Elf::new();
    let xdp = elf.code("xdp", "r1 = 7 ll\nexit");
    let main = elf.global("main", xdp, 0);
    elf.relocate(xdp, 8 << 32, main);
    elf.relocate(xdp, 24, main);
    assert_eq!(functions(&parse(&elf)), ["program f0 \"main\" xdp", "r1 = 0x7 ll", "exit"]);
}

#[test]
fn legacy_maps() {
    let mut elf = Elf::new();
    // 20 bytes, then 36.
    let definitions = words(&[1, 4, 8, 16, 1, 3, 4, 4, 2, 0, 9, 9, 9, 9]);
    let maps = elf.data("maps", &definitions);
    let xdp = elf.code("xdp", "r1 = 0 ll\nr2 = 0 ll\nexit");
    elf.global("main", xdp, 0);
    elf.symbol("h", OBJECT, false, maps, 0);
    let jmp = elf.symbol("jmp", NOTYPE, false, maps, 20);
    elf.relocate(xdp, 0, Elf::section_symbol(maps));
    elf.relocate(xdp, 16, jmp);
    let text = "map map0 \"h\" hash key 4 value 8 entries 16 flags 0x1
map map1 \"jmp\" prog_array key 4 value 4 entries 2

program f0 \"main\" xdp
  r1 = map0 ll
  r2 = map1 ll
  exit
";
    assert_eq!(print_object(&parse(&elf)), text);
}

/// An object with maps in BTF, one of them filled, and a CO-RE relocation.
fn with_btf() -> Elf {
    let mut btf = BtfWriter::default();
    let int = btf.add("int", 1, 0, 4, &[0]);
    let named = btf.add("key_t", 8, 0, int, &[]);
    let key = btf.add("", 2, 0, named, &[]);
    let value = btf.add("", 3, 0, 0, &[int, int, 3]);
    let value = btf.add("", 2, 0, value, &[]);
    let [two, three, seven, four] = [2, 3, 7, 4].map(|number| btf.number(number));
    let array = btf.structure(&[
        ("type", two, 0),
        ("key", key, 8),
        ("value", value, 16),
        ("max_entries", seven, 24),
        ("pinning", four, 32),
    ]);
    let jmp = btf.structure(&[
        ("type", three, 0),
        ("key_size", four, 8),
        ("max_entries", four, 16),
        ("values", value, 24),
    ]);
    btf.section(".maps", &[("jmp", jmp), ("a", array)]);
    let mut ext = header(&[0, 0, 0, 0, 0, 44]);
    let kernel = btf.add("task_struct", 4, 0, 0, &[]);
    let section = btf.string("tc");
    let access = btf.string("0:1");
    ext.extend(words(&[16, section, 2, 0, 1, access, 6, 8, kernel, access, 0]));

    let mut elf = Elf::new();
    elf.data(".BTF", &btf.bytes());
    elf.data(".BTF.ext", &ext);
    let mut values = vec![0; 40 + 24 + 24];
    values[40 + 24 + 16] = 16;
    let maps = elf.data(".maps", &values);
    let xdp = elf.code("xdp", "r1 = 0 ll\nexit");
    let tc = elf.code("tc", "r1 = 5\nr1 = 7\ncall -1\nexit");
    elf.global("main", xdp, 0);
    elf.global("core", tc, 0);
    let a = elf.symbol("a", OBJECT, false, maps, 0);
    elf.symbol("jmp", OBJECT, false, maps, 40);
    let kfunc = elf.symbol("kfunc", NOTYPE, false, 0, 0);
    elf.relocate(xdp, 0, a);
    elf.relocate(tc, 16, kfunc);
    elf.relocate(maps, 40 + 24 + 8, Elf::section_symbol(xdp));
    elf.relocate(maps, 40 + 24 + 16, Elf::section_symbol(tc)); // Slot 2: nowhere.
    elf
}

#[test]
fn maps_in_btf() {
    let object = parse(&with_btf());
    let text = "map map0 \"a\" array key 4 value 12 entries 7
map map1 \"jmp\" prog_array key 4 value 4 entries 4 { 1 = \"main\" } \
                refused \"slot 2 is to hold a place without name, no program\"

program f0 \"main\" xdp
  r1 = map0 ll
  exit

program f1 \"core\" sched_cls refused 1 \"needs the offset of task_struct 0:1 in a kernel (CO-RE)\"
  r1 = 5
  r1 = 7
  call -1
  exit
";
    assert_eq!(print_object(&object), text);
}

#[test]
fn maps_without_btf_are_still_maps() {
    let mut elf = Elf::new();
    let maps = elf.data(".maps", &[0; 16]);
    let xdp = elf.code("xdp", "r1 = 0 ll\nexit");
    elf.global("main", xdp, 0);
    let map = elf.symbol("m", OBJECT, false, maps, 0);
    elf.relocate(xdp, 0, map);
    let object = parse(&elf);
    assert_eq!(object.maps.values().next().unwrap().kind, MapKind::Other(0));
    assert_eq!(functions(&object)[1], "r1 = map0 ll");
}

#[test]
fn externs_refuse_their_function_alone() {
    let mut elf = Elf::new();
    let text = elf.code(".text", "call -1\nexit");
    let xdp = elf.code("xdp", "call -1\nexit");
    let tc = elf.code("tc", "r1 = 0 ll\nr0 = 0\nexit");
    let unknown = elf.code("?tc", "r1 = 0\nexit");
    let sub = elf.global("sub", text, 0);
    elf.global("main", xdp, 0);
    elf.global("config", tc, 0);
    elf.global("odd", unknown, 0);
    let kfunc = elf.symbol("kfunc", NOTYPE, false, 0, 0);
    elf.relocate(text, 0, kfunc);
    elf.relocate(xdp, 0, sub);
    elf.relocate(tc, 0, kfunc);
    elf.relocate(unknown, 0, sub);
    let object = parse(&elf);
    let refused = object.functions.values().map(|f| f.refused.as_ref());
    let refused: Vec<String> =
        refused.map(|error| error.map(|e| e.to_string()).unwrap_or_default()).collect();
    let expected = [
        "sub+0: calls kfunc, which the object does not define (a kernel function)",
        "",
        "config+0: refers to kfunc, which the object does not define (an extern)",
        "odd+0: has a relocation that is none of code",
    ];
    assert_eq!(refused, expected);
}

#[test]
fn bad_code_refuses_its_function_alone() {
    let mut elf = Elf::new();
    let mut bytes = code("r0 = 0\nexit\nr0 = 1\nexit");
    bytes[16] = 0xff;
    let data = elf.data("unused", &bytes);
    let xdp = elf.code("xdp", "r0 = 0\nexit");
    let tc = elf.code("tc", "call +100\nexit");
    elf.global("main", xdp, 0);
    elf.global("far", tc, 0);
    elf.global("no_code", data, 0);
    let object = parse(&elf);
    let errors = crate::validate::validate(&object);
    let expected = "far: far+0: leads to slot 101, where there is no code";
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].to_string(), expected);
}

#[test]
fn which_functions_are_programs() {
    // A static function outside .text is one unless something refers to it.
    let mut elf = Elf::new();
    let tc = elf.code("tc", "r0 = 1\nexit\nr2 = 16 ll\nexit\nr0 = 2\nexit");
    let maps = elf.data("maps", &words(&[3, 4, 4, 1, 0]));
    elf.local("first", tc, 0);
    elf.local("referred", tc, 2);
    elf.local("last", tc, 5);
    elf.symbol("m", OBJECT, false, maps, 0);
    elf.relocate(tc, 16, Elf::section_symbol(tc)); // Byte 16: itself.
    let object = parse(&elf);
    let names: Vec<&str> = object.programs.values().map(|p| &*p.name).collect();
    assert_eq!(names, ["first", "last"]);

    // Without any other the functions of .text are.
    let mut elf = Elf::new();
    let text = elf.code(".text", "call +1\nexit\nr0 = 2\nexit");
    elf.global("entry", text, 0);
    elf.global("sub", text, 2);
    let object = parse(&elf);
    let program = object.programs.values().next().unwrap();
    assert_eq!((&*program.name, object.programs.len()), ("entry", 1));
    assert_eq!(program.kind, ProgramKind::Opaque);
}

#[test]
fn kinds_of_programs() {
    let is_xdp = |section| super::kind(section) == ProgramKind::Xdp;
    for section in ["xdp", "xdp/x", "xdp.frags", "?xdp", "xdp_devmap/x"] {
        assert!(is_xdp(section), "{section}");
    }
    assert!(!is_xdp("tc") && !is_xdp("freplace/xdp") && !is_xdp(".text"));
}

#[test]
fn files_that_are_none() {
    let mut elf = Elf::new();
    elf.machine = 0;
    assert_eq!(parse(&elf).functions.len(), 0);
    elf.machine = 62;
    assert_eq!(error(&elf), "ELF header: an object for machine 62, not for eBPF (247)");
    let mut bytes = elf.bytes();
    bytes[5] = 2;
    let error = Object::parse("", &bytes).unwrap_err().to_string();
    assert_eq!(error, "ELF header: a big-endian object");
    let error = Object::parse("", b"hello").unwrap_err().to_string();
    assert!(error.starts_with("ELF header: not a readable ELF object: "), "{error}");
    let mut btf = BtfWriter::default();
    btf.number(1);
    let mut elf = Elf::new();
    elf.data(".BTF", &btf.bytes());
    elf.data(".BTF.ext", &header(&[0, 0, 0, 0, 0, 400]));
    let expected = ".BTF.ext: malformed type information: a part outside the section";
    assert_eq!(self::error(&elf), expected);
}

/// What is wrong, as `check` says it.
fn wrong(elf: &Elf) -> Vec<String> {
    crate::validate::validate(&parse(elf)).iter().map(|error| error.to_string()).collect()
}

#[test]
fn bad_maps_concern_their_users_alone() {
    // A definition that is cut off, and a section as large as a disk.
    let mut elf = Elf::new();
    let maps = elf.data("maps", &words(&[1, 4, 8, 16, 0, 1, 4]));
    let zeros = elf.zeros(".bss", 1 << 40);
    let xdp = elf.code("xdp", "r1 = 0 ll\nexit");
    let tc = elf.code("tc", "r1 = 0 ll\nr1 = 0 ll\nexit");
    elf.global("good", xdp, 0);
    elf.global("bad", tc, 0);
    elf.symbol("whole", OBJECT, false, maps, 0);
    let cut = elf.symbol("cut", OBJECT, false, maps, 20);
    elf.relocate(xdp, 0, Elf::section_symbol(maps));
    elf.relocate(tc, 0, cut);
    elf.relocate(tc, 16, Elf::section_symbol(zeros));
    let expected = [
        "map cut: the definition is cut off",
        "map .bss: the section is too large for a map",
        "bad: bad+0: needs map cut: the definition is cut off",
        "bad: bad+2: needs map .bss: the section is too large for a map",
    ];
    assert_eq!(wrong(&elf), expected);
    let text = print_object(&parse(&elf));
    assert_eq!(print_object(&crate::text::parse_object(&text).unwrap()), text);
}

#[test]
fn bad_type_information_concerns_maps_alone() {
    let mut btf = BtfWriter::default();
    btf.number(1);
    btf.add("", 31, 0, 0, &[]);
    let mut elf = Elf::new();
    elf.data(".BTF", &btf.bytes());
    elf.data(".BTF.ext", &header(&[0, 0, 0, 0, 0, 0]));
    let maps = elf.data(".maps", &[0; 16]);
    let xdp = elf.code("xdp", "r0 = 0\nexit");
    let tc = elf.code("tc", "r1 = 0 ll\nexit");
    elf.global("good", xdp, 0);
    elf.global("bad", tc, 0);
    let map = elf.symbol("m", OBJECT, false, maps, 0);
    elf.relocate(tc, 0, map);
    let why = ".BTF: malformed type information: type 3 has the unknown kind 31";
    let expected = [format!("map m: {why}"), format!("bad: bad+0: needs map m: {why}")];
    assert_eq!(wrong(&elf), expected);
}

#[test]
fn relocations_without_types_concern_all() {
    let mut elf = Elf::new();
    let mut ext = header(&[0, 0, 0, 0, 0, 4]);
    ext.extend(words(&[16]));
    elf.data(".BTF.ext", &ext);
    assert!(error(&elf).starts_with(".BTF.ext: CO-RE relocations, but no .BTF"));
}

#[test]
fn bytecode_is_split_at_calls() {
    let object = Object::raw("main", &code("call +1\nexit\nr0 = 1\nexit")).unwrap();
    let expected =
        ["program f0 \"main\" raw", "call f1", "exit", "function f1 \"main@2\"", "r0 = 1", "exit"];
    assert_eq!(functions(&object)[1..], expected);
    let (ops, starts) = object.flatten(object.programs.values().next().unwrap().function);
    let again = crate::encode::encode("main", &ops).unwrap();
    assert_eq!(again, code("call +1\nexit\nr0 = 1\nexit"));
    assert_eq!(starts.len(), 2);
    let error = Object::raw("main", &[0xff; 8]).unwrap_err().to_string();
    assert!(error.starts_with("main+0: "), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn no_bytes_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let mut bytes = with_btf().bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(object) = Object::parse("", &bytes) {
            crate::validate::validate(&object);
        }
    }
}
