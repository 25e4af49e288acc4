//! What the analysis says, held against what random programs do.
//!
//! Programs of a few functions compute with pointers to their frames, or with
//! the context, and run in the interpreter one instruction further each time,
//! which tells which instruction makes which access.

use crate::ctx::KINDS;
use crate::facts::{Facts, StackObject};
use crate::host::{FlatHost, Host};
use crate::interp::{FRAME_BYTES, run};
use crate::text::{parse_object, print_object};
use crate::{Error, FuncRef, MapRef, Object, ProgramKind, Size, analyze};

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

/// A host that notes the accesses of a run. Frames lie far from each other at
/// addresses that are used only once, so that no number and nothing that is left
/// of a pointer leads into one by chance.
#[derive(Default)]
struct Watching {
    inner: FlatHost,
    /// All frames ever made, by their lowest address.
    frames: Vec<(u64, Vec<u8>)>,
    /// How many frames were live when each was made, which tells whose it is.
    depths: Vec<u32>,
    live: Vec<usize>,
    accesses: Vec<(u64, Size)>,
}

impl Watching {
    /// The frame that an address lies in, and the place in it.
    fn in_frame(&self, address: u64) -> Option<(usize, usize)> {
        let inside = |(base, bytes): &(u64, Vec<u8>)| {
            let offset = address.checked_sub(*base)?;
            (offset < bytes.len() as u64).then_some(offset as usize)
        };
        let mut frames = self.frames.iter().enumerate();
        frames.find_map(|(index, frame)| Some((index, inside(frame)?)))
    }

    /// The bytes of an access to a live frame.
    fn frame_bytes(&mut self, address: u64, size: Size) -> Result<Option<&mut [u8]>, String> {
        let Some((index, offset)) = self.in_frame(address) else {
            return Ok(None);
        };
        let live = self.live.contains(&index);
        let bytes = self.frames[index].1.get_mut(offset..offset + size.bytes() as usize);
        bytes.filter(|_| live).map(Some).ok_or_else(|| "beyond a frame".into())
    }
}

impl Host for Watching {
    fn push_frame(&mut self, bytes: u32) -> Result<u64, String> {
        let mut hash = Random(self.frames.len() as u64);
        let base = (hash.below(1 << 30) << 32 | hash.below(1 << 15) << 16) + 0x4000;
        self.depths.push(self.live.len() as u32);
        self.live.push(self.frames.len());
        self.frames.push((base, vec![0; bytes as usize]));
        Ok(base)
    }

    fn pop_frame(&mut self) {
        self.live.pop();
    }

    fn load(&mut self, address: u64, size: Size) -> Result<u64, String> {
        let mut value = [0; 8];
        let value = match self.frame_bytes(address, size)? {
            Some(bytes) => {
                value[..bytes.len()].copy_from_slice(bytes);
                u64::from_le_bytes(value)
            }
            None => self.inner.load(address, size)?,
        };
        self.accesses.push((address, size));
        Ok(value)
    }

    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), String> {
        match self.frame_bytes(address, size)? {
            Some(bytes) => bytes.copy_from_slice(&value.to_le_bytes()[..bytes.len()]),
            None => self.inner.store(address, size, value)?,
        }
        self.accesses.push((address, size));
        Ok(())
    }

    fn map_address(&mut self, map: MapRef) -> Result<u64, String> {
        self.inner.map_address(map)
    }

    fn map_value_address(&mut self, map: MapRef) -> Result<u64, String> {
        self.inner.map_value_address(map)
    }

    /// Helper 113 writes small numbers.
    fn call_helper(&mut self, _: u32, args: [u64; 5]) -> Result<u64, String> {
        for address in args[0]..args[0].saturating_add(args[1]) {
            let value = if address % 8 == 0 { 40 } else { 0 };
            self.store(address, Size::B, value)?;
        }
        Ok(0)
    }

    fn tail_call_target(&mut self, _: u64, _: u32) -> Result<Option<FuncRef>, String> {
        Ok(None)
    }
}

/// The names of functions, each of which calls the next.
const NAMES: [&str; 3] = ["main", "sub", "leaf"];

/// The function of this place in [`NAMES`], of random instructions. R6 and R7 hold
/// pointers to frames most of the time, R8 and R9 numbers; three slots hold spilled
/// pointers. R1 is a pointer and R2 a number, if it is a callee. No spilled pointer is
/// overwritten in part with what makes another valid one, which no verifier accepts.
fn random_frame_function(random: &mut Random, level: usize) -> String {
    let start = if level == 0 { "r10\n  r6 += -40\n  r2 = 8" } else { "r1" };
    let mut code = format!("  r6 = {start}\n  r7 = r10\n  r7 += -64\n  r8 = r2\n  r9 = 4\n");
    code += "  *(u64 *)(r10 - 32) = r9\n";
    for slot in SPILLS {
        code += &format!("  *(u64 *){slot} = {}\n", random.pick(&["r6", "r7"]));
    }
    code += "l0:\n";
    let count = 4 + random.below(24);
    for index in 0..count {
        let forward = random.below(count - index) + index + 1;
        let back = random.below(index + 1);
        code += &random_frame_instruction(random, level, forward, back);
        code += &format!("l{}:\n", index + 1);
    }
    code +=
        random.pick(&["  r0 = r6\n", "  r0 = r7\n", "  r0 = r8\n", "  w0 = w8\n", "  r0 = 0\n"]);
    code + "  exit\n"
}

const SPILLS: [&str; 3] = ["(r10 - 8)", "(r10 - 16)", "(r10 - 24)"];

fn random_frame_instruction(random: &mut Random, level: usize, forward: u64, back: u64) -> String {
    let (main, callee) = (level == 0, level + 1);
    let (p, q) = (random.pick(&["r6", "r7"]), random.pick(&["r6", "r7"]));
    let (n, m) = (random.pick(&["8", "9"]), random.pick(&["8", "9"]));
    let size = random.pick(&["u16", "u32", "u64"]);
    let value = if size == "u64" { format!("r{n}") } else { "-1".into() };
    let spill = random.pick(&SPILLS);
    let near = random.below(5) * 4;
    let far = 32 + random.below(13) * 4;
    let mask = random.pick(&["4", "12", "24", "28"]);
    match random.below(30) {
        0 => format!("  {p} = r10\n  {p} += -{far}\n"),
        1 => format!("  {p} = {q}\n"),
        2 => format!("  {p} += {}\n", random.pick(&["4", "8", "-4", "-8"])),
        3 => format!("  r{n} &= {mask}\n  {p} += r{n}\n"),
        4 => format!("  r{n} &= {mask}\n  {p} -= r{n}\n"),
        5 => format!("  *(u64 *){spill} = {p}\n"),
        6 | 7 => format!("  {p} = *(u64 *){spill}\n"),
        8 | 9 => format!("  *({size} *)({p} + {near}) = {value}\n"),
        10 => format!("  r{n} = *({size} *)({p} - {near})\n"),
        11 => format!("  *(u64 *)({p} + {near}) = {q}\n"),
        12 => format!("  {p} = *(u64 *)({p} + {near})\n"),
        13 => format!("  r{n} &= {mask}\n  *(u64 *)(r10 - 32) = r{n}\n"),
        14 => format!("  *({size} *)(r10 - {far}) = {value}\n"),
        15 => {
            format!("  r1 = {p}\n  r2 = {}\n  r3 = 0\n  call 113\n", random.pick(&["0", "8", "16"]))
        }
        16 => format!("  r2 = r{n}\n  r2 &= 24\n  r1 = {p}\n  r3 = 0\n  call 113\n"),
        17 | 18 if main => format!("  r1 = {p}\n  r2 = r{n}\n  call f1\n"),
        28 | 29 if callee < NAMES.len() => {
            let size = random.pick(&["r2 = r8", "w2 = w8", "r2 = 4", "r2 = 24"]);
            let sized = format!("  r1 = {q}\n  r2 = r0\n  r3 = 0\n  call 113\n");
            let result = random.pick(&["", "  r8 = r0\n", "  w8 = w0\n", &sized]);
            format!("  r1 = {p}\n  {size}\n  call f{callee}\n{result}")
        }
        17 if !main => format!("  *(u64 *)({p} + 0) = {q}\n"),
        18 => format!("  if r{n} > {} goto l{forward}\n", random.below(40)),
        19 => format!("  if r{n} s< r{m} goto l{forward}\n"),
        20 => format!("  r{n} += -4\n  if r{n} s> 0 goto l{back}\n"),
        21 => format!("  {p} = xchg_64{}, {p})\n", spill.trim_end_matches(')')),
        22 => format!("  if {p} > {q} goto l{forward}\n"),
        23 => format!("  r{n} = *(u64 *)(r10 - 32)\n  {p} += r{n}\n"),
        25 => {
            let (bound, cond) = (random.below(40), random.pick(&[">", "s>", ">=", "=="]));
            let left = format!("{}{n}", random.pick(&["r", "w"]));
            format!("  if {left} {cond} {bound} goto l{forward}\n  {p} += r{n}\n")
        }
        24 => format!("  *(u32 *)(r10 - 28) = 0\n  *(u16 *)(r10 - {far}) = -1\n"),
        _ if main => format!("  r1 = {p}\n  r2 = {mask}\n  call f1\n  {p} = r0\n"),
        26 => {
            // Often as many bytes as the caller said.
            let size = random.pick(&["r2 = r8", "w2 = w8"]);
            format!("  r1 = {p}\n  {size}\n  r3 = 0\n  call 113\n")
        }
        _ => format!("  r{n} = {p}\n  r{n} -= {q}\n"),
    }
}

/// A function that moves, spills and reads through a context (R1) and numbers.
/// R9 is the context again, or in a callee a pointer to the caller's spills.
fn random_context_function(random: &mut Random, main: bool) -> String {
    let registers = ["r1", "r2", "r6", "r7"];
    let mut code = String::from("  r2 = r1\n  r6 = r1\n  r7 = 3\n");
    for slot in SPILLS {
        code += &format!("  *(u64 *){slot} = {}\n", random.pick(&["r1", "r7"]));
    }
    let count = 4 + random.below(16);
    for index in 0..count {
        let (a, b) = (random.pick(&registers), random.pick(&registers));
        let slot = random.pick(&SPILLS);
        let (field, place) = (random.below(6) * 4, random.below(3) * 8);
        let target = random.below(count - index) + index + 1;
        code += &match random.below(14) {
            0 | 1 => format!("  {a} = {b}\n"),
            2 => format!("  {a} += {}\n", random.pick(&["4", "-4", "8"])),
            3 => format!("  *(u64 *){slot} = {a}\n"),
            4 | 5 => format!("  {a} = *(u64 *){slot}\n"),
            6..=8 => format!("  r0 = *(u32 *)({a} + {field})\n"),
            9 => format!("  if r0 > {} goto l{target}\n", random.below(30)),
            10 | 11 if main => {
                format!("  r1 = {a}\n  r2 = r10\n  r2 += -24\n  call f1\n  r1 = {b}\n  r2 = {b}\n")
            }
            10 | 11 => format!("  {a} = *(u64 *)(r9 + {place})\n"),
            12 if !main => format!("  *(u64 *)(r9 + {place}) = r7\n"),
            _ => format!("  r7 += -1\n  if r7 s> 0 goto l{target}\n"),
        };
        code += &format!("l{}:\n", index + 1);
    }
    // A bounded loop around it all, and a result that is a number.
    let (saved, again) = if main { ("r1", "  r1 = r9\n") } else { ("r2", "") };
    let end = "  r8 += -1\n  if r8 != 0 goto l0\n  r0 = 0\n  exit\n";
    format!("  r8 = 3\n  r9 = {saved}\nl0:\n{again}{code}{end}")
}

struct Checker {
    object: Object,
    facts: Facts,
    host: FlatHost,
    checked: u64,
}

impl Checker {
    fn run(&self, limit: u64) -> (Result<u64, Error>, Watching) {
        let inner = self.host.clone();
        let args = [inner.args()[0], 5];
        let mut host = Watching { inner, ..Watching::default() };
        let entry = FuncRef::from_u32(0);
        let result = run(&self.object, &self.facts, entry, args, &mut host, limit);
        (result, host)
    }

    /// Runs step by step and checks each access.
    fn check(&mut self) {
        let mut seen = 0;
        let program = self.object.programs.values().next();
        let has_context = program.is_some_and(|p| p.kind == ProgramKind::Xdp);
        for limit in 0..400 {
            let (Err(at), _) = self.run(limit) else {
                return;
            };
            let (result, host) = self.run(limit + 1);
            let function = at.function.as_deref();
            let place = NAMES.iter().position(|&name| function == Some(name));
            let function = place.unwrap_or(0) as u32;
            for &(address, size) in &host.accesses[seen..] {
                let slot = at.insn.unwrap_or(0);
                self.access(function, slot, address, size, &host);
                if has_context {
                    self.context_access(function, slot, address);
                }
            }
            seen = host.accesses.len();
            let going_on = result.is_err_and(|e| e.what.starts_with("still running"));
            if !going_on {
                return;
            }
        }
    }

    /// Checks an access to the context.
    fn context_access(&mut self, function: u32, slot: u32, address: u64) {
        let offset = address.wrapping_sub(self.host.args()[0]);
        if offset >= self.host.memory().len() as u64 {
            return;
        }
        let facts = &self.facts.functions[FuncRef::from_u32(function)];
        let place = || format!("f{function}+{slot}\n{}", print_object(&self.object));
        let access = facts.ctx_accesses.get(&slot).unwrap_or_else(|| panic!("{}", place()));
        let field = &KINDS[usize::from(access.kind)].fields[usize::from(access.field)];
        assert_eq!(u64::from(field.native_offset), offset, "{}", place());
        self.checked += 1;
    }

    /// Checks an access to a frame.
    fn access(&mut self, function: u32, slot: u32, address: u64, size: Size, host: &Watching) {
        let Some((frame, offset)) = host.in_frame(address) else {
            return;
        };
        let owner = host.depths[frame];
        let lo = offset as i32 - FRAME_BYTES as i32;
        let hi = lo + size.bytes() as i32;
        let facts = &self.facts.functions[FuncRef::from_u32(owner)];
        let place = || {
            let text = print_object(&self.object);
            format!("f{function}+{slot}: {lo}..{hi} of f{owner}'s frame\n{text}\n{:?}", facts)
        };
        // A pointer that could not be followed is assumed to be followed upwards
        // from the lowest address that was made.
        let frozen = |o: &StackObject| o.escapes && o.hi == 0 && lo < o.lo;
        if facts.stack_objects.first().is_some_and(frozen) {
            return;
        }
        let index = facts.stack_object_at(lo).unwrap_or_else(|| panic!("{}", place()));
        let object = facts.stack_objects[index];
        assert!(hi <= object.hi && object.touched, "{}", place());
        assert!(-lo <= facts.stack_depth as i32, "{}", place());
        match facts.frame_accesses.get(&slot).filter(|_| function == owner) {
            Some(&at) => assert_eq!(at, lo, "{}", place()),
            None => assert!(object.escapes, "{}", place()),
        }
        self.checked += 1;
    }
}

/// The seeds to try: so many, or those that `TAILOR_SEEDS=FROM..TO` says.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let Ok(seeds) = std::env::var("TAILOR_SEEDS") else { return 0..usual };
    let (from, to) = seeds.split_once("..").expect("FROM..TO");
    let number = |text: &str| text.parse().expect("a number");
    number(from)..number(to)
}

#[test]
fn random_programs_stay_in_their_objects() {
    let (mut checked, mut precise) = (0, 0);
    for seed in seeds(4000) {
        let mut random = Random(seed);
        let [main, sub, leaf] = [0, 1, 2].map(|level| random_frame_function(&mut random, level));
        let text = format!(
            "program f0 \"main\" raw\n{main}function f1 \"sub\"\n{sub}function f2 \"leaf\"\n{leaf}"
        );
        let object = parse_object(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let (facts, _) = analyze(&object);
        let own = &facts.functions[FuncRef::from_u32(0)];
        precise += usize::from(own.stack_objects.len() > 1);
        let host = FlatHost::new(&object, vec![0; 64]);
        let mut checker = Checker { object, facts, host, checked: 0 };
        checker.check();
        checked += checker.checked;
    }
    assert!(checked > 10_000 && precise > 400, "{checked} {precise}");
}

#[test]
fn random_programs_read_the_fields_that_were_found() {
    let (mut checked, mut accepted, mut in_memory) = (0, 0, 0);
    for seed in seeds(20_000) {
        let mut random = Random(seed);
        let main = random_context_function(&mut random, true);
        let sub = random_context_function(&mut random, false);
        let text = format!("program f0 \"main\" xdp\n{main}function f1 \"sub\"\n{sub}");
        let object = parse_object(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let (facts, errors) = analyze(&object);
        if !errors.is_empty() {
            continue;
        }
        accepted += 1;
        // A field that the callee reads through what it has loaded.
        let sub_reads = &facts.functions[FuncRef::from_u32(1)].ctx_accesses;
        in_memory += usize::from(text.contains("*(u64 *)(r9") && !sub_reads.is_empty());
        let host = FlatHost::xdp(&object, vec![0; 16]);
        let mut checker = Checker { object, facts, host, checked: 0 };
        checker.check();
        checked += checker.checked;
    }
    assert!(
        checked > 10_000 && accepted > 400 && in_memory > 40,
        "{checked} {accepted} {in_memory}"
    );
}
