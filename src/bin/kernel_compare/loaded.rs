//! An object in the running kernel, read back.

use std::collections::HashMap;
use std::path::Path;

use tailor::runtime::kernel::{self, Image, Libbpf};

/// A loaded program.
pub struct Loaded {
    /// What libbpf and the verifier said of it; keeps its maps alive.
    pub program: kernel::Loaded,
    /// What the kernel made of it.
    pub image: Image,
    /// The kernel's names of its functions.
    pub functions: Vec<String>,
}

/// A program's name, and why it is not loaded.
type Refused = (String, String);

/// The programs of an object that the kernel takes, and the names of the
/// others with the reasons; an error says why the object is not read.
pub fn load(libbpf: &Libbpf, path: &Path) -> Result<(Vec<Loaded>, Vec<Refused>), String> {
    let (mut loaded, mut refused) = (Vec::new(), Vec::new());
    for (name, program) in libbpf.load(path)? {
        match program {
            Ok(program) => {
                let image = program.program.image().map_err(|error| error.to_string())?;
                loaded.push(Loaded { program, image, functions: Vec::new() });
            }
            Err(why) => refused.push((name, why)),
        }
    }
    name_functions(&mut loaded).map_err(|error| error.to_string())?;
    Ok((loaded, refused))
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
