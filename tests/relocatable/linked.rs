//! A C program with helpers and maps, linked against a compiled object: run, and
//! under gdb. Skipped without a C compiler, or without gdb.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tailor::bpf::text::parse_object;
use tailor::emit::Poking;
use tailor::emit::elf::read_pokes;
use tailor::{Engine, Trace, Unit};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/relocatable");

const ENGINES: [(Engine, Poking); 5] = [
    (Engine::Tailor, Poking::Patch),
    (Engine::Tailor, Poking::Data),
    (Engine::TailorKernel, Poking::Patch),
    (Engine::TailorKernel, Poking::Data),
    (Engine::Naive612, Poking::Patch),
];

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Whether there is such a program; says so if not.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("SKIPPED: there is no {program}");
    }
    found
}

/// The compiled program as a file.
fn relocatable(engine: Engine, poking: Poking) -> Vec<u8> {
    let text = include_str!("program.bpf");
    let unit = Unit::new(parse_object(text).expect("it parses"));
    let mut trace = Trace::checked();
    trace.poking = Some(poking);
    let compiled = tailor::compile(&unit, engine, None, &mut trace);
    assert!(compiled.errors.is_empty(), "{engine}: {:?}", compiled.errors);
    // The poke section can be read back, and says what the compiler says.
    let file = tailor::relocatable(&unit, &compiled).expect("it can be written");
    let read = read_pokes(&file).expect("its pokes can be read");
    assert_eq!(read.len(), compiled.code.pokes().count());
    assert_eq!(read.len(), usize::from(poking == Poking::Patch), "{engine}");
    for (read, poke) in read.iter().zip(compiled.code.pokes()) {
        assert_eq!(read.owner, unit.object.functions[poke.owner].name);
        assert_eq!(read.map, unit.object.maps[poke.map].name);
        assert_eq!((read.key, read.poke, &read.unwinds), (poke.key, poke.poke, poke.unwinds));
    }
    file
}

/// Links a file with the C program.
fn link(folder: &Path, engine: Engine, poking: Poking) -> PathBuf {
    let object = folder.join(format!("{engine}-{poking:?}.o"));
    let program = object.with_extension("");
    std::fs::write(&object, relocatable(engine, poking)).expect("writable");
    let mut cc = Command::new("cc");
    cc.args(["-no-pie", "-O1", "-g", "-Wall", "-Werror", "-Wl,--fatal-warnings", "-o"]);
    cc.arg(&program);
    if engine != Engine::Tailor {
        cc.arg("-DKERNEL");
    }
    cc.arg(format!("{FOLDER}/host.c")).arg(&object).arg(format!("{FOLDER}/end.c"));
    let output = run(&mut cc);
    assert!(output.status.success(), "{engine}: {}", String::from_utf8_lossy(&output.stderr));
    program
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

#[test]
fn the_poke_section_can_be_read_back() {
    for (engine, poking) in ENGINES {
        relocatable(engine, poking);
    }
}

#[test]
fn reading_damaged_files_does_not_panic() {
    let file = relocatable(Engine::Tailor, Poking::Patch);
    for len in 0..file.len() {
        let _ = read_pokes(&file[..len]);
    }
    let mut file = file;
    for at in 0..file.len() {
        file[at] ^= 0xff;
        let _ = read_pokes(&file);
        file[at] ^= 0xff;
    }
    assert_eq!(read_pokes(&file).expect("it is whole again").len(), 1);
}

/// Maps are known by their names, so two of one name cannot be told apart.
#[test]
fn two_maps_of_one_name_are_an_error() {
    let text = "map map0 \"m\" array key 4 value 8 entries 1 { }\n\
                map map1 \"m\" array key 4 value 8 entries 1 { }\n\
                program f0 \"p\" raw\n r1 = map0 ll\n r0 = map1 ll\n r0 -= r1\n exit";
    let unit = Unit::new(parse_object(text).expect("it parses"));
    let compiled = tailor::compile(&unit, Engine::Tailor, None, &mut Trace::checked());
    assert!(compiled.errors.is_empty(), "{:?}", compiled.errors);
    let error = tailor::relocatable(&unit, &compiled).expect_err("they clash");
    assert_eq!(error.to_string(), "two symbols \"tailor_map_m\"");
}

#[test]
fn the_command_line_writes_it() {
    let object = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/objects/chain.o");
    let file = folder("command").join("chain.o");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tailor"));
    let status = run(command.args(["compile", object, "--emit", "obj"])).status;
    assert_eq!(status.code(), Some(2), "it has no file to write");
    assert!(run(command.arg("-o").arg(&file)).status.success());
    let unit = Unit::new(tailor::Object::open(object).expect("an object"));
    let compiled = tailor::compile(&unit, Engine::Tailor, None, &mut Trace::default());
    let expected = tailor::relocatable(&unit, &compiled).expect("it can be written");
    assert_eq!(std::fs::read(file).expect("it was written"), expected);
}

#[test]
fn a_c_program_links_and_runs_it() {
    if !has("cc") {
        return;
    }
    for (engine, poking) in ENGINES {
        let program = link(&folder("linked"), engine, poking);
        let output = run(&mut Command::new(program));
        // The exit status says which check of host.c failed.
        assert_eq!(output.status.code(), Some(0), "{engine}, {poking:?}: {}", output.status);
    }
}

/// In a helper that is called by the subprogram of a program that was tail-called.
#[test]
fn gdb_shows_the_callers() {
    if !has("cc") || !has("gdb") {
        return;
    }
    for (engine, poking) in ENGINES {
        let program = link(&folder("gdb"), engine, poking);
        let mut gdb = Command::new("gdb");
        gdb.args(["-nx", "-batch", "-ex", "set debuginfod enabled off"]);
        gdb.args(["-ex", "set startup-with-shell off"]);
        gdb.args(["-ex", "break tailor_helper_get_prandom_u32", "-ex", "run", "-ex", "backtrace"]);
        let output = run(gdb.arg(program));
        let text = String::from_utf8_lossy(&output.stdout);
        // "#1  0x0000000000401234 in sub ()": the name is before the parenthesis.
        let frames = text.lines().filter(|line| line.starts_with('#'));
        let names = frames.filter_map(|line| line.split(" (").next()?.split(' ').next_back());
        let names: Vec<&str> = names.collect();
        let helper = "tailor_helper_get_prandom_u32";
        let expected = match engine {
            Engine::Tailor => [helper, "sub", "target", "tailor_enter_main", "main"],
            // There is a thunk below, and no stub above.
            _ => [helper, "tailor_thunk_get_prandom_u32", "sub", "target", "main"],
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(names, expected, "{engine}, {poking:?}:\n{text}{errors}");
        println!("{engine}, {poking:?}: {}", names.join(" < "));
    }
}
