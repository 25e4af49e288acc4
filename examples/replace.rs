//! A program that is replaced while another thread runs through it: tail calls
//! follow their slot at once, and nobody stops.
//!
//! `cargo run --release --example replace`

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tailor::bpf::text::parse_object;
use tailor::{Compiler, Xdp};

/// Three programs and an array: the first jumps to whoever is in slot 0, or
/// passes. (Objects usually come from files.)
const PROGRAMS: &str = "
map map0 \"next\" prog_array key 4 value 4 entries 1
program f0 \"start\" xdp
    r2 = map0 ll
    r3 = 0
    call 12
    r0 = 2
    exit
program f1 \"drop\" xdp
    r0 = 1
    exit
program f2 \"reflect\" xdp
    r0 = 3
    exit";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let module = Compiler::new().compile(&parse_object(PROGRAMS)?)?;
    let start = module.program("start")?;
    let done = AtomicBool::new(false);
    let counts = thread::scope(|scope| {
        let runner = scope.spawn(|| {
            let mut counts = [0u64; 4];
            while !done.load(Ordering::Relaxed) {
                // SAFETY: these programs access no memory.
                let verdict = unsafe { start.run(&mut Xdp::new(&mut [0; 64])) };
                counts[verdict.unwrap_or(0) as usize % 4] += 1;
            }
            counts
        });
        let change = || {
            for program in [Some("drop"), Some("reflect"), None] {
                thread::sleep(Duration::from_millis(50));
                module.set_slot("next", 0, program)?;
            }
            thread::sleep(Duration::from_millis(50));
            Ok::<(), tailor::Error>(())
        };
        let changed = change();
        done.store(true, Ordering::Relaxed);
        changed.map(|()| runner.join().expect("it only counts"))
    })?;
    let [aborted, dropped, passed, reflected] = counts;
    println!("passed {passed}, dropped {dropped}, reflected {reflected}, aborted {aborted}");
    Ok(())
}
