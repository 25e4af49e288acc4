//! scratch
fn main() {
    let args: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let start = std::time::Instant::now();
    let mut insns = 0;
    let mut failed = 0;
    for seed in args[0]..args[1] {
        let case = tailor_fuzz::seeded(seed, Default::default());
        let object = tailor_fuzz::assemble::object(&case);
        insns += object.functions.values().map(|f| f.ops.len()).sum::<usize>();
        if args.len() > 2 {
            println!("{}", tailor_bpf::text::print_object(&object));
        }
        match tailor_fuzz::compare::compare(&case, &tailor_fuzz::compare::compilers()) {
            Ok(_) => {}
            Err(d) => {
                failed += 1;
                println!("seed {seed}: {d}");
                let subjects = tailor_fuzz::compare::compilers();
                let (small, trail) = tailor_fuzz::shrink::shrink(&case, 20000, &mut |c, _| {
                    tailor_fuzz::compare::compare(c, &subjects).is_err_and(|x| x.engine == d.engine)
                });
                let d = tailor_fuzz::compare::compare(&small, &subjects).unwrap_err();
                println!("{} edits\n{}", trail.len(), tailor_fuzz::report::report(&small, &d));
            }
        }
    }
    println!("{} programs, {insns} insns, {failed} failed, {:?}", args[1] - args[0], start.elapsed());
}
