//! What the analysis says, held against what random programs do.
//!
//! Programs of two functions compute with pointers to their frames, or with
//! the context, and run in the interpreter one instruction further each time,
//! which tells which instruction makes which access.

use crate::ctx::KINDS;
use crate::facts::Facts;
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

/// A host that notes the accesses of a run.
#[derive(Default)]
struct Watching {
    inner: FlatHost,
    /// Bases of all frames ever made.
    frames: Vec<u64>,
    /// Of each live one, the frames of the inner host that it takes.
    live: Vec<usize>,
    accesses: Vec<(u64, Size)>,
}

impl Host for Watching {
    /// No address is used twice, so that what is left of a pointer to the frame
    /// of a function that has ended does not point into another's.
    fn push_frame(&mut self, bytes: u32) -> Result<u64, String> {
        for _ in 0..self.frames.len() {
            self.inner.push_frame(0)?;
        }
        let base = self.inner.push_frame(bytes)?;
        self.live.push(self.frames.len() + 1);
        self.frames.push(base);
        Ok(base)
    }

    fn pop_frame(&mut self) {
        for _ in 0..self.live.pop().unwrap_or(0) {
            self.inner.pop_frame();
        }
    }

    fn load(&mut self, address: u64, size: Size) -> Result<u64, String> {
        let value = self.inner.load(address, size)?;
        self.accesses.push((address, size));
        Ok(value)
    }

    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), String> {
        self.inner.store(address, size, value)?;
        self.accesses.push((address, size));
        Ok(())
    }

    fn map_address(&mut self, map: MapRef) -> Result<u64, String> {
        self.inner.map_address(map)
    }

    fn map_value_address(&mut self, map: MapRef) -> Result<u64, String> {
        self.inner.map_value_address(map)
    }

    fn call_helper(&mut self, helper: u32, _: [u64; 5]) -> Result<u64, String> {
        Ok(helper.into())
    }

    fn tail_call_target(&mut self, _: u64, _: u32) -> Result<Option<FuncRef>, String> {
        Ok(None)
    }
}

/// A function of random instructions. R1 is a pointer, R2 a number below 64.
fn random_function(random: &mut Random, calls: bool) -> String {
    let registers = ["r1", "r2", "r3", "r6", "r7", "r8"];
    let sizes = ["u8", "u16", "u32", "u64", "u64"];
    let mut code = String::from("  r6 = r10\n  r6 += -40\n  r7 = 24\n  r8 = r2\n  r3 = 0\n");
    let count = 4 + random.below(24);
    for index in 0..count {
        let (a, b) = (random.pick(&registers), random.pick(&registers));
        let size = random.pick(&sizes);
        let off = random.below(10) as i64 * 8 - 80 + random.below(4) as i64 / 3 * 4;
        let small = random.below(9) as i64 * 4 - 16;
        let target = random.below(count - index) + index + 1;
        code += &match random.below(20) {
            0 => format!("  {a} = r10\n  {a} += {off}\n"),
            1 => format!("  {a} = {b}\n"),
            2 => format!("  {a} += {small}\n"),
            3 => format!("  {a} += {b}\n"),
            4 => format!("  {a} &= {}\n", [7, 15, 24][random.below(3) as usize]),
            5 => format!("  {a} = {small}\n"),
            6 => format!("  {a} -= {b}\n"),
            7 | 8 => format!("  *({size} *)(r10 {:+}) = {a}\n", off.min(-8)),
            9 => format!("  {a} = *({size} *)(r10 {:+})\n", off.min(-8)),
            10 | 11 => format!("  *({size} *)({a} {small:+}) = {b}\n"),
            12 | 13 => format!("  {a} = *({size} *)({b} {small:+})\n"),
            14 => format!("  if {a} > {} goto l{target}\n", random.below(40)),
            15 => format!("  if {a} s< {b} goto l{target}\n"),
            16 => format!("  r7 += -1\n  if r7 s> 0 goto l{}\n", random.below(index + 1)),
            17 => format!("  lock *(u64 *)({a} {small:+}) += {b}\n"),
            18 if calls => {
                format!(
                    "  r1 = {a}\n  r2 = {b}\n  r2 &= 63\n  call f1\n  r1 = r0\n  r2 = 0\n  r3 = 0\n"
                )
            }
            _ => format!("  {a} = xchg_64(r10 {:+}, {a})\n", off.min(-8)),
        };
        code += &format!("l{}:\n", index + 1);
    }
    let result = random.pick(&registers);
    // The first label stands before the first instruction.
    format!("l0:\n{code}  r0 = {result}\n  exit\n")
}

fn narrow_stores(text: &str) -> String {
    // Stores of less than 8 bytes and 32-bit atomics name the low half.
    let fix = |line: &str| {
        let narrow = ["*(u8 *)", "*(u16 *)", "*(u32 *)"];
        let is_store = narrow.iter().any(|n| line.trim_start().starts_with(n));
        match line.rsplit_once("= r") {
            Some((left, register)) if is_store => format!("{left}= w{register}"),
            _ => line.to_string(),
        }
    };
    text.lines().map(fix).collect::<Vec<_>>().join("\n")
}

/// A function that moves, spills and reads through a context (R1) and numbers.
fn random_context_function(random: &mut Random, calls: bool) -> String {
    let registers = ["r1", "r2", "r6", "r7"];
    let slots = ["(r10 - 8)", "(r10 - 16)", "(r10 - 24)"];
    let mut code = String::from("  r2 = r1\n  r6 = r1\n  r7 = 3\n");
    for slot in slots {
        code += &format!("  *(u64 *){slot} = {}\n", random.pick(&["r1", "r7"]));
    }
    let count = 4 + random.below(16);
    for index in 0..count {
        let (a, b) = (random.pick(&registers), random.pick(&registers));
        let slot = random.pick(&slots);
        let field = random.below(6) * 4;
        let target = random.below(count - index) + index + 1;
        code += &match random.below(12) {
            0 | 1 => format!("  {a} = {b}\n"),
            2 => format!("  {a} += {}\n", random.pick(&["4", "-4", "8"])),
            3 => format!("  *(u64 *){slot} = {a}\n"),
            4 | 5 => format!("  {a} = *(u64 *){slot}\n"),
            6..=8 => format!("  r0 = *(u32 *)({a} + {field})\n"),
            9 => format!("  if r0 > {} goto l{target}\n", random.below(30)),
            10 if calls => format!("  r1 = {a}\n  call f1\n  r1 = {b}\n  r2 = {b}\n"),
            _ => format!("  r7 += -1\n  if r7 s> 0 goto l{target}\n"),
        };
        code += &format!("l{}:\n", index + 1);
    }
    // A bounded loop around it all, and a result that is a number.
    format!(
        "  r8 = 3\n  r9 = r1\nl0:\n  r1 = r9\n{code}  r8 += -1\n  if r8 != 0 goto l0\n  r0 = 0\n  exit\n"
    )
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
            let function = u32::from(at.function.as_deref() == Some("sub"));
            for &(address, size) in &host.accesses[seen..] {
                let slot = at.insn.unwrap_or(0);
                self.access(function, slot, address, size, &host.frames);
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
    fn access(&mut self, function: u32, slot: u32, address: u64, size: Size, frames: &[u64]) {
        let inside = |&base: &&u64| (*base..base + u64::from(FRAME_BYTES)).contains(&address);
        let Some(frame) = frames.iter().position(|base| inside(&base)) else {
            return;
        };
        // The entry's frame is the first; any other is that of the callee.
        let owner = u32::from(frame > 0);
        let lo = (address - frames[frame]) as i32 - FRAME_BYTES as i32;
        let hi = lo + size.bytes() as i32;
        let facts = &self.facts.functions[FuncRef::from_u32(owner)];
        let place = || {
            let text = print_object(&self.object);
            format!("f{function}+{slot}: {lo}..{hi} of f{owner}'s frame\n{text}\n{:?}", facts)
        };
        let index = facts.stack_object_at(lo).unwrap_or_else(|| panic!("{}", place()));
        let object = facts.stack_objects[index];
        assert!(hi <= object.hi, "{}", place());
        assert!(-lo <= facts.stack_depth as i32, "{}", place());
        match facts.frame_accesses.get(&slot).filter(|_| function == owner) {
            Some(&at) => assert_eq!(at, lo, "{}", place()),
            None => assert!(object.escapes, "{}", place()),
        }
        self.checked += 1;
    }
}

#[test]
fn random_programs_stay_in_their_objects() {
    let (mut checked, mut precise) = (0, 0);
    for seed in 0..4000 {
        let mut random = Random(seed);
        let main = random_function(&mut random, true);
        let sub = random_function(&mut random, false);
        let text = format!("program f0 \"main\" raw\n{main}function f1 \"sub\"\n{sub}");
        let object = parse_object(&narrow_stores(&text)).unwrap_or_else(|e| panic!("{e}\n{text}"));
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
    let (mut checked, mut accepted) = (0, 0);
    for seed in 0..20_000 {
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
        let host = FlatHost::xdp(&object, vec![0; 16]);
        let mut checker = Checker { object, facts, host, checked: 0 };
        checker.check();
        checked += checker.checked;
    }
    assert!(checked > 10_000 && accepted > 400, "{checked} {accepted}");
}
