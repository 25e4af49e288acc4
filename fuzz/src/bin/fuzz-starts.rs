//! Writes what a fuzz target starts from into a folder: `fuzz-starts TARGET FOLDER`.

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(target), Some(folder)) = (args.next(), args.next()) else {
        eprintln!("usage: fuzz-starts TARGET FOLDER");
        std::process::exit(2);
    };
    for seed in 0..300 {
        if let Some(start) = tailor_fuzz::targets::starts(&target, seed) {
            std::fs::write(format!("{folder}/seed-{seed}"), start)?;
        }
    }
    Ok(())
}
