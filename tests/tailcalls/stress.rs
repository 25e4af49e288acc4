//! Updates at full speed while other threads run chains.
//!
//! Two threads run programs through direct and variable sites, in the entry and
//! in a subprogram; one sets, replaces and clears (a third of the time each) the
//! slots that they go through; one loads a module that shares the array, puts
//! its program into a slot, and unloads it before or after the slot changes
//! again. Every result must be one that some content of the slots gives, with
//! registers and stack of the callers intact; every reader must get on; and a
//! change holds from the moment that it is made, which the writer checks.
//!
//! `TAILOR_STRESS_SECONDS` is the time for each engine and back end.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tailor::runtime::Runtime;
use tailor::runtime::module::{make_maps, slot_layout};
use tailor::{Engine, Instance, Poking, Trace, compile};

use crate::*;

const HOST: &str = "map map0 \"jmp\" prog_array key 4 value 4 entries 3
    program f0 \"main\" xdp
      r6 = 6
      r7 = 7
      r8 = 8
      r9 = r1
      *(u64 *)(r10 - 8) = 12345
      call f1
      if r6 != 6 goto bad
      if r7 != 7 goto bad
      if r8 != 8 goto bad
      r2 = *(u64 *)(r10 - 8)
      if r2 != 12345 goto bad
      if r0 != 100 goto done
      r1 = r9
      r2 = map0 ll
      r3 = 2
      call 12
      if r8 != 8 goto bad
      r0 = 100
    done:
      exit
    bad:
      r0 = 666
      exit
    function f1 \"sub\"
      r6 = 60
      r7 = r1
      *(u64 *)(r10 - 16) = 61
      r2 = map0 ll
      r3 = 0
      call 12
      if r6 != 60 goto bad
      r1 = r7
      r2 = map0 ll
      r3 = 1
      call 12
      r2 = *(u64 *)(r10 - 16)
      if r2 != 61 goto bad
      r0 = 100
      exit
    bad:
      r0 = 667
      exit
    program f2 \"leaf\" xdp
      r6 = 1
      r7 = 1
      r8 = 1
      r9 = 1
      *(u64 *)(r10 - 8) = 1
      r0 = 1
      exit
    program f3 \"hop\" xdp
      r8 = 3
      r2 = map0 ll
      r3 = 1
      call 12
      r0 = 2
      if r8 == 3 goto done
      r0 = 668
    done:
      exit
    program f4 \"variable\" xdp
      r9 = r1
      r2 = *(u32 *)(r1 + 0)
      r3 = *(u32 *)(r1 + 4)
      r0 = 4
      r4 = r2
      r4 += 1
      if r4 > r3 goto out
      r3 = *(u8 *)(r2 + 0)
      r2 = map0 ll
      call 12
      r0 = 4
    out:
      exit";

const GUEST: &str = "map map0 \"jmp\" prog_array key 4 value 4 entries 3
    program f0 \"guest\" xdp
      r6 = r1
      call f1
      r0 += 0
      exit
    function f1 \"below\"
      r7 = 9
      r2 = map0 ll
      r3 = 1
      call 12
      r0 = 5
      exit";

/// What the programs return; all else is an error.
const LEGAL: [u64; 5] = [1, 2, 4, 5, 100];

/// Time for each engine and back end.
fn seconds() -> f64 {
    let long = std::env::var("TAILOR_STRESS_SECONDS").ok();
    long.and_then(|seconds| seconds.parse().ok()).unwrap_or(0.5)
}

#[derive(Default)]
struct Counts {
    runs: [AtomicU64; 2],
    /// Updates that changed a slot, and those of them that cleared it.
    updates: AtomicU64,
    clears: AtomicU64,
    loads: AtomicU64,
    over: AtomicBool,
}

impl Counts {
    fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// The packet's first byte is the index of the variable site.
fn legal(host: &Instance) -> u64 {
    let mut packet = [0; 64];
    packet[0] = 1;
    let result = run_on(host, "main", &mut packet);
    assert!(LEGAL.contains(&result), "the programs returned {result}");
    result
}

fn read(host: &Instance, counts: &Counts, number: usize) {
    while !counts.over() {
        legal(host);
        counts.runs[number].fetch_add(1, Ordering::Relaxed);
    }
}

/// Sets, replaces and clears; slots 0 and 1 are nobody else's.
fn write(host: &Instance, counts: &Counts) {
    let rounds = [
        (0, [Some("leaf"), Some("hop"), None]),
        (1, [Some("leaf"), Some("hop"), None]),
        (0, [Some("variable"), Some("leaf"), None]),
    ];
    let mut round = 0;
    while !counts.over() {
        let (index, programs) = rounds[round % rounds.len()];
        for program in programs {
            assert!(host.set_slot("jmp", index, program).unwrap());
            counts.updates.fetch_add(1, Ordering::Relaxed);
            counts.clears.fetch_add(u64::from(program.is_none()), Ordering::Relaxed);
            if round % 64 == 0 {
                // Of slots 0 and 1 the other one is empty; slot 2 is the guest's.
                let expected: &[u64] = match program {
                    Some("leaf") => &[1],
                    Some("hop") => &[2],
                    Some(_) => &[4],
                    None => &[100, 5],
                };
                let result = legal(host);
                assert!(expected.contains(&result), "{result} after {index} = {program:?}");
            }
        }
        round += 1;
    }
}

/// Loads and unloads; slot 2 is nobody else's.
fn come_and_go(host: &Instance, counts: &Counts, engine: Engine, poking: Poking) {
    let runtime = host.module().unwrap().runtime().clone();
    let guest = unit(GUEST);
    let mut trace = Trace::checked();
    trace.poking = Some(poking);
    let compiled = compile(&guest, engine, None, &mut trace).code;
    let jmp = guest.object.map("jmp").unwrap();
    let function = guest.object.programs.values().next().unwrap().function;
    let array = host.module().unwrap().prog_array(jmp).unwrap();
    while !counts.over() {
        let mut maps = make_maps(&guest.object, slot_layout(compiled.convention));
        maps[jmp.as_u32() as usize] = Ok(host.map("jmp").unwrap());
        let module = runtime.load(&guest.object, &compiled, maps, poking).unwrap();
        let mut updates = u64::from(array.set(2, &module.program(function).unwrap()).unwrap());
        let loads = counts.loads.fetch_add(1, Ordering::Relaxed);
        if loads.is_multiple_of(3) {
            drop(module);
            legal(host);
        }
        if loads.is_multiple_of(2) {
            updates += u64::from(array.clear(2).unwrap());
            counts.clears.fetch_add(1, Ordering::Relaxed);
        }
        counts.updates.fetch_add(updates, Ordering::Relaxed);
    }
}

/// Updates that tell something.
const ENOUGH: u64 = 100;

/// A thread that stands for so long stands for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// Lets them run so long, until readers and writers have done something to look
/// at, and sees that every reader gets on again and again.
fn watch(counts: &Counts, time: Duration) {
    let windows = (2.0 * time.as_secs_f64()).floor().max(1.0) as u32;
    let mut before = [0; 2];
    for _ in 0..windows {
        thread::sleep(time / windows);
        let now = || [0, 1].map(|reader| counts.runs[reader].load(Ordering::Relaxed));
        wait("a reader stands", || now()[0] > before[0] && now()[1] > before[1]);
        before = now();
    }
    wait("the writers stand", || counts.updates.load(Ordering::Relaxed) > ENOUGH);
    counts.over.store(true, Ordering::Relaxed);
}

/// On a busy machine it may take long.
fn wait(what: &str, until: impl Fn() -> bool) {
    let start = Instant::now();
    while !until() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn stress(engine: Engine, poking: Poking) {
    // One at a time: grace periods are the process's.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let runtime = Runtime::new().unwrap();
    let host = load_beside(HOST, engine, poking, &runtime, None);
    let counts = Counts::default();
    let time = Duration::from_secs_f64(seconds());
    thread::scope(|scope| {
        let workers = [
            scope.spawn(|| read(&host, &counts, 0)),
            scope.spawn(|| read(&host, &counts, 1)),
            scope.spawn(|| write(&host, &counts)),
            scope.spawn(|| come_and_go(&host, &counts, engine, poking)),
        ];
        // If one of them fails, the others must stop.
        let watched = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            watch(&counts, time);
        }));
        counts.over.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        watched.unwrap();
    });
    let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (updates, clears) = (get(&counts.updates), get(&counts.clears));
    println!(
        "{engine}, {poking:?}, {} of its sites' instructions in veneers: {updates} updates in \
         {time:?}, {clears} of them clears; {} loads; {} and {} runs",
        host.module().unwrap().veneers(),
        get(&counts.loads),
        get(&counts.runs[0]),
        get(&counts.runs[1]),
    );
    // A third; the last rounds may not have got to theirs.
    assert!(updates > ENOUGH && 3 * clears + 6 > updates, "{updates} updates, {clears} clears");
    if seconds() >= 60.0 {
        assert!(updates >= 500_000, "{updates} updates");
    }
    drop(host);
    // Of three modules at most, none is left.
    assert!(runtime.code_bytes() < 8192, "{}", runtime.code_bytes());
}

/// The same where the system cannot help: readers fence themselves, and no code
/// is patched. What the system offers is asked once, so in another process.
#[test]
fn without_membarrier() {
    for setting in ["off", "no-sync-core"] {
        let tests = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["tailcalls::stress::stress", "tailcalls::updates", "tailcalls::bugs"])
            .env("TAILOR_MEMBARRIER", setting)
            .env("TAILOR_STRESS_SECONDS", "0.1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&tests.stdout);
        assert!(tests.status.success(), "{setting}:\n{text}");
    }
}

#[test]
fn stress_naive_patch() {
    stress(Engine::Naive612, Poking::Patch);
}

#[test]
fn stress_naive_data() {
    stress(Engine::Naive612, Poking::Data);
}

#[test]
fn stress_tailor_kernel_patch() {
    stress(Engine::TailorKernel, Poking::Patch);
}

#[test]
fn stress_tailor_patch() {
    stress(Engine::Tailor, Poking::Patch);
}

#[test]
fn stress_tailor_data() {
    stress(Engine::Tailor, Poking::Data);
}
