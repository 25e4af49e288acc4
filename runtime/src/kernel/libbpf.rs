//! Objects into the running kernel, through libbpf.
//!
//! Linking an object the way loaders do (types of the running kernel, externs,
//! maps) is libbpf's work. It is found at run time, so that building needs
//! nothing of it.
//!
//! An object whose programs do not all load is loaded program by program. The
//! verifier is asked for its statistics: the stack depth of each function is,
//! like the instructions, what the verifier hands to the JIT, and is in no
//! instruction.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::Path;
use std::sync::Mutex;

use super::{KernelProgram, get_u32, map_figures};

/// BPF_LOG_STATS
const STATISTICS: u32 = 4;
/// Entries of maps whose size is left to who loads them.
const PAGE: u32 = 4096;
/// Kinds of maps that have no size (storage of cgroups, sockets, inodes, tasks,
/// structures of callbacks), or one that libbpf finds out (perf_event_array).
const UNCOUNTED: [u32; 9] = [4, 19, 21, 24, 26, 28, 29, 32, 33];
const LOG_BYTES: usize = 1 << 20;

/// A program of an object, in the kernel.
pub struct Loaded {
    /// Name of its entry function.
    pub name: String,
    /// Keeps its maps alive.
    pub program: KernelProgram,
    /// Stack bytes of each function, in the kernel's order, as the verifier
    /// counted them for the JIT.
    pub stack_depths: Vec<u32>,
    /// The instructions that libbpf handed to the kernel, subprograms behind;
    /// maps by their ids.
    pub linked: Vec<u8>,
}

/// Each program of an object by name: loaded, or why not.
pub type Programs = Vec<(String, Result<Loaded, String>)>;

type Print = extern "C" fn(c_int, *const c_char, *mut c_void) -> c_int;

unsafe extern "C" {
    /// The C library's; on x86-64 a `va_list` is passed as a pointer.
    fn vsnprintf(into: *mut c_char, size: usize, format: *const c_char, list: *mut c_void)
    -> c_int;
}

/// Declares the functions that are looked up by name.
macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// libbpf's functions that are used here.
        #[allow(missing_docs, non_snake_case)]
        struct Functions { $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)* }

        impl Functions {
            fn find(library: *mut c_void) -> io::Result<Functions> {
                Ok(Functions { $($name: {
                    let name = concat!(stringify!($name), "\0");
                    // SAFETY: the library is open and the name ends with a zero.
                    let address = unsafe { libc::dlsym(library, name.as_ptr().cast()) };
                    if address.is_null() {
                        return Err(io::Error::other(concat!("libbpf has no ", stringify!($name))));
                    }
                    // SAFETY: libbpf 1 declares the function so.
                    unsafe { std::mem::transmute::<
                        *mut c_void,
                        unsafe extern "C" fn($($argument),*) $(-> $result)?,
                    >(address) }
                },)* })
            }
        }
    };
}

functions! {
    libbpf_set_print: fn(Print) -> *mut c_void;
    bpf_object__open_file: fn(*const c_char, *const c_void) -> *mut c_void;
    bpf_object__load: fn(*mut c_void) -> c_int;
    bpf_object__close: fn(*mut c_void);
    bpf_object__next_program: fn(*mut c_void, *mut c_void) -> *mut c_void;
    bpf_object__next_map: fn(*mut c_void, *mut c_void) -> *mut c_void;
    bpf_map__max_entries: fn(*mut c_void) -> u32;
    bpf_map__type: fn(*mut c_void) -> u32;
    bpf_map__set_max_entries: fn(*mut c_void, u32) -> c_int;
    bpf_map__set_pin_path: fn(*mut c_void, *const c_char) -> c_int;
    bpf_program__name: fn(*mut c_void) -> *const c_char;
    bpf_program__autoload: fn(*mut c_void) -> bool;
    bpf_program__set_autoload: fn(*mut c_void, bool) -> c_int;
    bpf_program__set_log_level: fn(*mut c_void, u32) -> c_int;
    bpf_program__set_log_buf: fn(*mut c_void, *mut c_char, usize) -> c_int;
    bpf_program__fd: fn(*mut c_void) -> RawFd;
    bpf_program__insns: fn(*mut c_void) -> *const c_void;
    bpf_program__insn_cnt: fn(*mut c_void) -> usize;
}

/// What libbpf warned of since the last [`take_warnings`].
static WARNINGS: Mutex<String> = Mutex::new(String::new());

fn take_warnings() -> String {
    std::mem::take(&mut WARNINGS.lock().expect("no writer panics"))
}

/// Keeps what libbpf prints at its level of warnings.
extern "C" fn keep_warning(level: c_int, format: *const c_char, list: *mut c_void) -> c_int {
    if level == 0 {
        let mut text = [0u8; 512];
        // SAFETY: libbpf's own format and arguments; the buffer is as long as said.
        unsafe { vsnprintf(text.as_mut_ptr().cast(), text.len(), format, list) };
        if let (Ok(text), Ok(mut kept)) = (CStr::from_bytes_until_nul(&text), WARNINGS.lock()) {
            kept.push_str(&text.to_string_lossy());
        }
    }
    0
}

/// The library.
pub struct Libbpf(Functions);

/// An open object; closed when dropped.
struct Open<'a> {
    library: &'a Functions,
    object: *mut c_void,
    /// Each program with the buffer of its log, which libbpf writes to.
    programs: Vec<(*mut c_void, Vec<u8>)>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // SAFETY: it is open and ours.
        unsafe { (self.library.bpf_object__close)(self.object) };
    }
}

impl Libbpf {
    /// Finds libbpf 1; an error says that it is not there.
    pub fn find() -> io::Result<Libbpf> {
        // SAFETY: loading libbpf runs no code that assumes anything of us.
        let library = unsafe { libc::dlopen(c"libbpf.so.1".as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return Err(io::Error::other("there is no libbpf.so.1 (Debian: libbpf1)"));
        }
        let functions = Functions::find(library)?;
        // SAFETY: the function lives for ever.
        unsafe { (functions.libbpf_set_print)(keep_warning) };
        Ok(Libbpf(functions))
    }

    /// Loads what the kernel takes of an object's programs, those included that
    /// the object marks as not to be loaded with the others; an error says why
    /// the object is not read. Maps are not pinned, and those without a size
    /// have one.
    pub fn load(&self, path: &Path) -> Result<Programs, String> {
        let whole = self.open(path)?;
        let together = whole.load().is_ok();
        let mut programs = Vec::new();
        for (program, log) in &whole.programs {
            let name = whole.name(*program);
            let one = match together && whole.wants(*program) {
                true => whole.loaded(*program, log).map_err(|error| error.to_string()),
                false => self.one(path, &name)?,
            };
            programs.push((name, one));
        }
        Ok(programs)
    }

    /// Loads one program of an object.
    fn one(&self, path: &Path, name: &str) -> Result<Result<Loaded, String>, String> {
        let object = self.open(path)?;
        for (program, _) in &object.programs {
            // SAFETY: a program of the open object.
            unsafe { (self.0.bpf_program__set_autoload)(*program, object.name(*program) == name) };
        }
        let loaded = object.load();
        let wanted = object.programs.iter().find(|(program, _)| object.wants(*program));
        let (program, log) = wanted.ok_or("the program is not there again")?;
        Ok(match loaded {
            Ok(()) => object.loaded(*program, log).map_err(|error| error.to_string()),
            Err(warnings) => Err(reason(&text(log), &warnings)),
        })
    }

    fn open(&self, path: &Path) -> Result<Open<'_>, String> {
        let name = CString::new(path.as_os_str().as_encoded_bytes())
            .map_err(|_| "a zero in the name of the file")?;
        take_warnings();
        // SAFETY: the path outlives the call, and there are no options.
        let object = unsafe { (self.0.bpf_object__open_file)(name.as_ptr(), std::ptr::null()) };
        if object.is_null() {
            return Err(reason("", &take_warnings()));
        }
        let mut open = Open { library: &self.0, object, programs: Vec::new() };
        let (mut program, mut map) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: maps and programs of the open object; a log's buffer lives in
        // `open` and is not moved by what moves its vector.
        unsafe {
            loop {
                map = (self.0.bpf_object__next_map)(object, map);
                if map.is_null() {
                    break;
                }
                (self.0.bpf_map__set_pin_path)(map, std::ptr::null());
                let counted = !UNCOUNTED.contains(&(self.0.bpf_map__type)(map));
                if counted && (self.0.bpf_map__max_entries)(map) == 0 {
                    (self.0.bpf_map__set_max_entries)(map, PAGE);
                }
            }
            loop {
                program = (self.0.bpf_object__next_program)(object, program);
                if program.is_null() {
                    break;
                }
                let mut log = vec![0; LOG_BYTES];
                (self.0.bpf_program__set_log_level)(program, STATISTICS);
                (self.0.bpf_program__set_log_buf)(program, log.as_mut_ptr().cast(), log.len());
                open.programs.push((program, log));
            }
        }
        Ok(open)
    }
}

impl Open<'_> {
    /// Loads what is wanted; an error holds libbpf's warnings.
    fn load(&self) -> Result<(), String> {
        take_warnings();
        // SAFETY: the object is open.
        match unsafe { (self.library.bpf_object__load)(self.object) } {
            0 => Ok(()),
            _ => Err(take_warnings()),
        }
    }

    fn wants(&self, program: *mut c_void) -> bool {
        // SAFETY: a program of the open object.
        unsafe { (self.library.bpf_program__autoload)(program) }
    }

    fn name(&self, program: *mut c_void) -> String {
        // SAFETY: a program of the open object, whose name ends with a zero.
        let name = unsafe { CStr::from_ptr((self.library.bpf_program__name)(program)) };
        name.to_string_lossy().into_owned()
    }

    /// A program that is loaded, and what the verifier and libbpf said of it.
    fn loaded(&self, program: *mut c_void, log: &[u8]) -> io::Result<Loaded> {
        let library = self.library;
        // SAFETY: the object is loaded, so the program's descriptor is open and
        // there are as many instructions of eight bytes as it says.
        let (fd, linked) = unsafe {
            let slots = (library.bpf_program__insn_cnt)(program);
            let linked = (library.bpf_program__insns)(program).cast::<u8>();
            let mut linked = std::slice::from_raw_parts(linked, 8 * slots).to_vec();
            number_maps(&mut linked)?;
            (BorrowedFd::borrow_raw((library.bpf_program__fd)(program)), linked)
        };
        Ok(Loaded {
            name: self.name(program),
            program: KernelProgram(fd.try_clone_to_owned()?),
            stack_depths: stack_depths(&text(log)),
            linked,
        })
    }
}

/// Puts ids where the instructions name maps by descriptors.
///
/// # Safety
/// The descriptors are open.
unsafe fn number_maps(instructions: &mut [u8]) -> io::Result<()> {
    const LOAD_IMM: u8 = 0x18;
    let mut second = false;
    for slot in instructions.chunks_exact_mut(8) {
        let first = !std::mem::take(&mut second) && slot[0] == LOAD_IMM;
        second = first;
        if first && matches!(slot[1] >> 4, 1 | 2) {
            // SAFETY: the caller vouches for it.
            let map = unsafe { BorrowedFd::borrow_raw(get_u32(slot, 4) as RawFd) };
            let id = map_figures(map)?.id;
            slot[4..8].copy_from_slice(&id.to_le_bytes());
        }
    }
    Ok(())
}

/// What is written in a buffer.
fn text(log: &[u8]) -> String {
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    String::from_utf8_lossy(&log[..end]).into_owned()
}

/// The verifier prints `stack depth 48+0+16`.
fn stack_depths(log: &str) -> Vec<u32> {
    let line = log.lines().rev().find_map(|line| line.strip_prefix("stack depth "));
    let depths = line.unwrap_or("").split('+').map(|depth| depth.trim().parse());
    depths.collect::<Result<_, _>>().unwrap_or_default()
}

/// The line that says most: the verifier's last word, or libbpf's first.
fn reason(log: &str, warnings: &str) -> String {
    let statistics = ["verification time", "stack depth", "processed ", "insns processed"];
    let own =
        log.lines().rev().map(str::trim).find(|line| {
            !line.is_empty() && !statistics.iter().any(|start| line.starts_with(start))
        });
    let line = own.or_else(|| warnings.lines().find(|line| !line.trim().is_empty()));
    line.unwrap_or("libbpf does not say why").trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::{reason, stack_depths};

    const LOG: &str = "R1 type=ctx expected=fp\n\
                       verification time 26 usec\nstack depth 48+0+16\n\
                       processed 12 insns (limit 1000000) max_states_per_insn 0\n";

    #[test]
    fn a_log_holds_the_depth_of_each_function() {
        assert_eq!(stack_depths(LOG), [48, 0, 16]);
        assert_eq!(stack_depths("processed 12 insns\n"), []);
    }

    #[test]
    fn the_verifiers_last_word_comes_before_libbpfs() {
        assert_eq!(reason(LOG, "libbpf: failed\n"), "R1 type=ctx expected=fp");
        assert_eq!(reason("", "\nlibbpf: map 'a': failed\n"), "libbpf: map 'a': failed");
    }
}
