//! What finds miscompilations finds those that are planted, makes small
//! programs of them, and says where they come from.

use tailor::{Engine, Trace, Unit};
use tailor_bpf::{AluOp, Callee, Object, Op, Reg, Size, Src, Width};
use tailor_fuzz::bisect::{Culprit, bisect};
use tailor_fuzz::compare::{Agreed, Outcome, Subject, compare, compare_object, run};
use tailor_fuzz::generate::Options;
use tailor_fuzz::program::{Case, Function, Role, Stmt};
use tailor_fuzz::shrink::{follow, shrink};
use tailor_fuzz::{assemble, print, report, seeded};

/// An engine that takes some instructions for others.
struct Planted {
    change: fn(&mut [Op]),
    engine: Engine,
}

impl Planted {
    fn changed(&self, unit: &Unit) -> Unit {
        let mut object = Object::clone(&unit.object);
        for function in object.functions.values_mut() {
            (self.change)(&mut function.ops);
        }
        Unit::new(object)
    }
}

impl Subject for Planted {
    fn name(&self) -> String {
        "planted".into()
    }

    fn run(&self, case: &Case, unit: &Unit) -> Result<Outcome, String> {
        run(case, &self.changed(unit), self.engine, Trace::checked())
    }
}

/// What it does wrong, how, and an instruction of which one must be in what it
/// is shrunk to.
type Bug = (&'static str, fn(&mut [Op]), fn(&Op) -> bool);

const BUGS: &[Bug] = &[
    ("32-bit arithmetic right shifts shift zeros in", wrong_shift, is_shift),
    ("unsigned remainders instead of signed ones", wrong_remainder, is_remainder),
    ("fetching additions do not fetch", wrong_fetch, is_fetch),
    ("sign-extending loads extend zeros", wrong_load, is_signed_load),
    ("a tail call goes to the next slot", wrong_slot, is_tail_call),
    ("load-acquires extend the sign", wrong_acquire, is_acquire),
    ("may_goto always jumps", wrong_may_goto, is_may_goto),
    ("jump tables are not looked at", wrong_table, is_table),
    ("no number is that of a helper", wrong_number, is_by_number),
];

fn wrong_shift(ops: &mut [Op]) {
    for op in ops {
        if let Op::Alu { op: op @ AluOp::Arsh, w: Width::W32, .. } = op {
            *op = AluOp::Rsh;
        }
    }
}

fn is_shift(op: &Op) -> bool {
    matches!(op, Op::Alu { op: AluOp::Arsh, w: Width::W32, .. })
}

fn wrong_remainder(ops: &mut [Op]) {
    for op in ops {
        if let Op::Alu { op: op @ AluOp::Smod, w: Width::W64, .. } = op {
            *op = AluOp::Mod;
        }
    }
}

fn is_remainder(op: &Op) -> bool {
    matches!(op, Op::Alu { op: AluOp::Smod, w: Width::W64, .. })
}

fn wrong_fetch(ops: &mut [Op]) {
    for op in ops {
        if let Op::Atomic { op: tailor_ir::AtomicOp::Add, fetch, .. } = op {
            *fetch = false;
        }
    }
}

fn is_fetch(op: &Op) -> bool {
    matches!(op, Op::Atomic { op: tailor_ir::AtomicOp::Add, fetch: true, .. })
}

fn wrong_load(ops: &mut [Op]) {
    for op in ops {
        if let Op::Load { signed, .. } = op {
            *signed = false;
        }
    }
}

fn is_signed_load(op: &Op) -> bool {
    matches!(op, Op::Load { signed: true, .. })
}

/// The constant index of a tail call.
fn wrong_slot(ops: &mut [Op]) {
    for call in (4..ops.len()).filter(|&pc| is_tail_call(&ops[pc])).collect::<Vec<_>>() {
        // The index, the map's address (two slots), the context, the call.
        if let Op::Mov { src: Src::Imm(imm @ 0..=2), .. } = &mut ops[call - 4] {
            *imm += 1;
        }
    }
}

fn is_tail_call(op: &Op) -> bool {
    tailor_bpf::cfg::is_tail_call(op)
}

fn wrong_acquire(ops: &mut [Op]) {
    for op in ops {
        if let Op::LoadAcquire { size, dst, base, off } = *op
            && size != Size::D
        {
            *op = Op::Load { size, signed: true, dst, base, off };
        }
    }
}

fn is_acquire(op: &Op) -> bool {
    matches!(op, Op::LoadAcquire { .. })
}

fn wrong_may_goto(ops: &mut [Op]) {
    for op in ops {
        if let Op::MayGoto { off } = *op {
            *op = Op::Jump { off: off.into(), long: false };
        }
    }
}

fn is_may_goto(op: &Op) -> bool {
    matches!(op, Op::MayGoto { .. })
}

/// The first arm follows the jump.
fn wrong_table(ops: &mut [Op]) {
    for op in ops.iter_mut().filter(|op| is_table(op)) {
        *op = Op::Jump { off: 0, long: false };
    }
}

fn is_table(op: &Op) -> bool {
    matches!(op, Op::IndirectJump { .. })
}

fn wrong_number(ops: &mut [Op]) {
    for op in ops.iter_mut().filter(|op| is_by_number(op)) {
        *op = Op::Mov { w: Width::W64, dst: Reg::R0, src: Src::Imm(-22) };
    }
}

fn is_by_number(op: &Op) -> bool {
    matches!(op, Op::Call(Callee::Register(_)))
}

/// The first case from a seed on that fails, made small, with its trail.
fn smallest(subject: &dyn Subject) -> (Case, Case, Vec<usize>) {
    let fails = |case: &Case| compare(case, &[subject]).is_err();
    let all = (0..5000).map(|seed| seeded(seed, Options::default()));
    let case = { all }.find(fails).expect("one of 5,000 programs shows it");
    let (small, trail) = shrink(&case, 20_000, &mut |case, _| fails(case));
    (case, small, trail)
}

#[test]
fn planted_bugs_are_found_and_shrunk() {
    for (what, change, is_there) in BUGS {
        let subject = Planted { change: *change, engine: Engine::Interp };
        let (case, small, trail) = smallest(&subject);
        let object = assemble::object(&small);
        let ops: Vec<&Op> = object.functions.values().flat_map(|f| &f.ops).collect();
        let text = tailor_bpf::text::print_object(&object);
        assert!(ops.iter().any(|op| is_there(op)), "{what}:\n{text}");
        let statements: usize = small.functions.iter().map(|f| f.statements().len()).sum();
        assert!(statements <= 4, "{what}: {statements} statements\n{text}");
        // A jump table with arms takes a dozen.
        assert!(ops.len() <= 48, "{what}: {} slots\n{text}", ops.len());
        // The trail leads there again.
        let again = follow(&case, &trail).expect("edits that were made");
        assert_eq!(tailor_bpf::text::print_object(&assemble::object(&again)), text);
    }
}

/// The printed file is the program, and says what the engines are to return.
#[test]
fn what_fails_is_printed_as_a_file_test() {
    let subject = Planted { change: wrong_shift, engine: Engine::Interp };
    let (_, small, _) = smallest(&subject);
    let difference = compare(&small, &[&subject]).unwrap_err();
    let text = report::report(&small, &difference);
    let first = text.lines().next().unwrap_or_default();
    assert!(first.starts_with("; planted - "), "{text}");
    for seed in 0..50 {
        let case = seeded(seed, Options::default());
        let object = assemble::object(&case);
        let Ok(Agreed::Same(outcome, _)) = compare_object(&case, object.clone(), &[]) else {
            continue;
        };
        let text = print::file_test(&case, &object, &outcome, "why");
        let retval = format!("; retval: {:#x}\n", outcome.retval);
        assert!(text.contains(&retval), "{text}");
        let parsed = tailor_bpf::text::parse_object(&text).expect("it can be read");
        match compare_object(&case, parsed, &[]) {
            Ok(Agreed::Same(again, _)) => assert_eq!(again, outcome),
            other => panic!("{other:?}\n{text}"),
        }
    }
}

/// Bisection finds the first rewrite that makes a difference, and its pass.
#[test]
fn the_rewrite_is_found() {
    let text = "program f0 \"main\" raw
          r2 = 5
          r3 = r2
          r3 += r2
          r0 = *(u64 *)(r1 + 0)
          r0 += r3
          r0 *= 8
          exit";
    let unit = Unit::new(tailor_bpf::text::parse_object(text).unwrap());
    let listing = |rewrites: u64| {
        let (trace, listings) = Trace::collecting(tailor::trace::Stage::Opt);
        tailor::compile(&unit, Engine::Tailor, None, &mut trace.limited(rewrites));
        listings.take()
    };
    // "Wrong" is code in which the sum of the constants is folded.
    let mut asked = 0;
    let mut wrong = |rewrites| {
        asked += 1;
        listing(rewrites).contains("iconst.i64 10")
    };
    let Culprit::Rewrite { number, pass, function } = bisect(&unit, &mut wrong) else {
        panic!("not found");
    };
    assert!(listing(number).contains("iconst.i64 10"));
    assert!(!listing(number - 1).contains("iconst.i64 10"));
    assert_eq!((pass.as_str(), function.as_str()), ("fold", "main"));
    assert!(asked < 40);
    assert_eq!(bisect(&unit, &mut |_| true), Culprit::NoRewrite);
}

/// A kernel before 6.12, which counts calls through empty slots: it differs only
/// where the limit of 33 tail calls is reached.
struct OldCount;

impl Subject for OldCount {
    fn name(&self) -> String {
        "old count".into()
    }

    fn takes(&self, case: &Case, _unit: &Unit) -> bool {
        // Where subprograms tail-call it may not end.
        let tail_calls =
            |f: &&Function| f.statements().iter().any(|stmt| matches!(stmt, Stmt::TailCall(..)));
        !case.functions.iter().filter(tail_calls).any(|f| f.role == Role::Subprogram)
    }

    fn run(&self, case: &Case, unit: &Unit) -> Result<Outcome, String> {
        run(case, unit, Engine::Naive510, Trace::checked())
    }
}

#[test]
fn chains_reach_the_limit() {
    let cases = (0..2000).map(|seed| seeded(seed, Options::default()));
    let differ = cases.filter(|case| compare(case, &[&OldCount]).is_err()).count();
    assert!(differ >= 3, "only {differ} of 2,000 programs");
}
