//! An object in the running kernel: loaded by bpftool, read back, unpinned.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use tailor::runtime::kernel::{Image, KernelProgram};

/// A loaded program.
pub struct Loaded {
    /// Name of its entry function.
    pub name: String,
    /// What the kernel made of it.
    pub image: Image,
    /// The kernel's names of its functions.
    pub functions: Vec<String>,
    /// Keeps its maps alive.
    _program: KernelProgram,
}

/// Removes the pins when the object is done.
struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Loads all programs of an object; why the kernel or its loader refuses.
pub fn load(path: &Path) -> Result<Vec<Loaded>, String> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().replace('.', "_");
    let pins = Pins(format!("/sys/fs/bpf/compare_{}_{stem}", std::process::id()).into());
    let done = Command::new("bpftool")
        .args(["prog", "loadall"])
        .args([path, &pins.0])
        .output()
        .map_err(|error| format!("bpftool: {error}"))?;
    if !done.status.success() {
        let log = String::from_utf8_lossy(&done.stderr);
        let line = log.lines().rev().find(|line| !line.trim().is_empty());
        return Err(line.unwrap_or("bpftool failed").trim().to_string());
    }
    let text = |error: std::io::Error| error.to_string();
    let mut loaded = Vec::new();
    // An object without programs leaves no folder.
    for entry in std::fs::read_dir(&pins.0).into_iter().flatten() {
        let entry = entry.map_err(text)?;
        let program = KernelProgram::pinned(&entry.path()).map_err(text)?;
        let image = program.image().map_err(text)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        loaded.push(Loaded { name, image, functions: Vec::new(), _program: program });
    }
    loaded.sort_by(|a, b| a.name.cmp(&b.name));
    name_functions(&mut loaded).map_err(text)?;
    Ok(loaded)
}

/// The kernel's symbols are `bpf_prog_TAG_NAME`.
fn name_functions(loaded: &mut [Loaded]) -> std::io::Result<()> {
    let symbols = std::fs::read_to_string("/proc/kallsyms")?;
    let mut names = HashMap::new();
    for line in symbols.lines().filter(|line| line.contains(" bpf_prog_")) {
        let mut fields = line.split_whitespace();
        let (address, name) = (fields.next().unwrap_or(""), fields.nth(1).unwrap_or(""));
        let name = name.strip_prefix("bpf_prog_").and_then(|name| name.split_once('_'));
        if let (Ok(address), Some((_, name))) = (u64::from_str_radix(address, 16), name) {
            names.insert(address, name.to_string());
        }
    }
    for program in loaded {
        let of = |address: &u64| names.get(address).cloned().unwrap_or_default();
        program.functions = program.image.addresses.iter().map(of).collect();
    }
    Ok(())
}
