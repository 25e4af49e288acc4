//! Every object of the corpus: compiled in every engine, and every program that
//! can run here run on five packets, with equal result, packet and maps.
//!
//! Each object is looked at in a process of its own, so that a crash or a hang
//! is a line in the table and not its end. Skips where `corpus/` is not there
//! (`scripts/corpus` makes it); `TAILOR_CORPUS` names another folder. Arguments
//! choose objects whose path contains one of them.

mod corpus {
    pub mod object;
    pub mod packets;
    pub mod table;
}

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corpus::table::Table;
use tailor::{Object, Unit};

/// The argument that makes a process look at one object.
const ONE: &str = "--one-object";

/// After this long an object is given up.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, path] = &arguments[..]
        && first == ONE
    {
        let mut out = std::io::stdout();
        corpus::object::examine(Path::new(path), &mut |line| {
            // Whoever crashes next must have said so.
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        });
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS; // Asked by test runners.
    }
    let folder = std::env::var_os("TAILOR_CORPUS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus"), PathBuf::from);
    let mut objects = Vec::new();
    find(&folder, &mut objects);
    let filters: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    objects.retain(|path| {
        let path = path.to_string_lossy();
        filters.is_empty() || filters.iter().any(|filter| path.contains(*filter))
    });
    if objects.is_empty() {
        println!("corpus: skipped, no object in {} (scripts/corpus makes them)", folder.display());
        return ExitCode::SUCCESS;
    }
    let checking = time_checking(&objects);
    let table = examine_all(&folder, &objects);
    print!("{table}");
    println!("parsing and checking on one core: {:.2} s", checking.as_secs_f64());
    ExitCode::from(u8::from(!table.passed()))
}

/// The objects below a folder, in the order of their paths.
fn find(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        // A link may lead back to where it is.
        if path.is_dir() && !path.is_symlink() && !hidden {
            find(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "o" || extension == "elf") {
            found.push(path);
        }
    }
}

/// How long it takes to parse, validate and analyse them all, files read before.
fn time_checking(objects: &[PathBuf]) -> Duration {
    let mut time = Duration::ZERO;
    for path in objects {
        let Ok(bytes) = std::fs::read(path) else {
            continue;
        };
        let start = Instant::now();
        if let Ok(object) = Object::parse(&path.to_string_lossy(), &bytes) {
            Unit::new(object);
        }
        time += start.elapsed();
    }
    time
}

fn examine_all(folder: &Path, objects: &[PathBuf]) -> Table {
    let next = AtomicUsize::new(0);
    let table = Mutex::new(Table::default());
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(path) = objects.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = path.strip_prefix(folder).unwrap_or(path).display().to_string();
                    let (lines, end) = examine_one(path);
                    let mut table = table.lock().expect("no thread panics here");
                    table.add(&name, &lines, end);
                }
            });
        }
    });
    table.into_inner().expect("no thread panics here")
}

/// What the process for one object printed, and how it ended if not well.
fn examine_one(path: &Path) -> (String, Option<String>) {
    let program = std::env::current_exe().expect("the path of this test");
    let child = Command::new(program)
        .arg(ONE)
        .arg(path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return (String::new(), Some(format!("cannot start a process: {error}"))),
    };
    let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                let _ = pipe.read_to_end(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let out = read(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let errors = read(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let start = Instant::now();
    let end = loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break None,
            Ok(Some(status)) => break Some(status.to_string()),
            Ok(None) if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                break Some(format!("no end after {} s", PATIENCE.as_secs()));
            }
            Err(error) => break Some(error.to_string()),
        }
    };
    let out = out.join().unwrap_or_default();
    let errors = errors.join().unwrap_or_default();
    let why = errors.lines().find(|line| !line.trim().is_empty()).unwrap_or("").to_string();
    (out, end.map(|end| format!("{end} {why}")))
}
