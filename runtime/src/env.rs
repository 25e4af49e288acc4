//! The environment of a run: everything a helper can see that is neither
//! argument nor map, so that a run can be repeated exactly.

use std::cell::Cell;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Instant;

use tailor_bpf::ProgramKind;

/// Where the helpers for times take them from.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// Nanoseconds since the environment was made.
    System,
    /// Always the same.
    Fixed(u64),
}

/// The task that programs find themselves in.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its process.
    pub tgid: u32,
    /// Itself.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its name, of which 15 bytes count.
    pub comm: String,
}

impl Default for Task {
    fn default() -> Task {
        Task { tgid: 1, pid: 1, uid: 0, gid: 0, comm: "tailor".into() }
    }
}

/// Where a program sent a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Redirect {
    /// To an interface.
    Interface {
        /// Its index.
        index: u32,
        /// What the program said besides.
        flags: u64,
    },
    /// To an entry of a map.
    Map {
        /// The map's name.
        map: Arc<str>,
        /// The key.
        key: u64,
        /// What the program said besides.
        flags: u64,
    },
}

/// What helpers see and leave behind.
#[derive(Debug)]
pub struct Environment {
    clock: Clock,
    start: Instant,
    random: AtomicU64,
    fixed_random: Option<u32>,
    cpu: u32,
    task: Task,
    cookie: u64,
    mtu: u32,
    retval: AtomicI32,
    left: Mutex<Left>,
}

/// What programs leave behind.
#[derive(Debug, Default)]
struct Left {
    redirect: Option<Redirect>,
    trace: String,
}

/// Bytes of [`Environment::trace`] after which nothing more is kept.
const MAX_TRACE: usize = 1 << 24;

impl Default for Environment {
    fn default() -> Environment {
        Environment {
            clock: Clock::System,
            start: Instant::now(),
            random: AtomicU64::new(0x9e37_79b9_7f4a_7c15),
            fixed_random: None,
            cpu: 0,
            task: Task::default(),
            cookie: 0,
            mtu: 1500,
            retval: AtomicI32::new(0),
            left: Mutex::default(),
        }
    }
}

/// What is set before a run.
impl Environment {
    /// Takes the time from `clock`.
    pub fn with_clock(mut self, clock: Clock) -> Environment {
        self.clock = clock;
        self
    }

    /// Makes every random number `value`.
    pub fn with_random(mut self, value: u32) -> Environment {
        self.fixed_random = Some(value);
        self
    }

    /// Sets the processor number (0 if it is not set). How many processors
    /// there can be is said when maps are made ([`crate::map::Options`]).
    pub fn with_cpu(mut self, cpu: u32) -> Environment {
        self.cpu = cpu;
        self
    }

    /// Sets the task (process and thread 1 of root, named tailor, if it is not set).
    pub fn with_task(mut self, task: Task) -> Environment {
        self.task = task;
        self
    }

    /// Sets the cookie of sockets (0, which stands for no socket, if it is not set).
    pub fn with_cookie(mut self, cookie: u64) -> Environment {
        self.cookie = cookie;
        self
    }

    /// Sets the largest packet of every interface, without its Ethernet header
    /// (1500 if it is not set).
    pub fn with_mtu(mut self, mtu: u32) -> Environment {
        self.mtu = mtu;
        self
    }
}

/// What is read after a run.
impl Environment {
    /// What programs printed, up to 16 MiB.
    pub fn trace(&self) -> String {
        self.left().trace.clone()
    }

    /// Where the last packet was sent that a program redirected; what came of it
    /// is for the program's verdict to say.
    pub fn redirect(&self) -> Option<Redirect> {
        self.left().redirect.clone()
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().expect("no panic while locked")
    }
}

/// What helpers do.
impl Environment {
    pub(crate) fn now(&self) -> u64 {
        match self.clock {
            Clock::System => self.start.elapsed().as_nanos() as u64,
            Clock::Fixed(ns) => ns,
        }
    }

    /// A weyl sequence, mixed: repeatable, and good enough for sampling.
    pub(crate) fn random(&self) -> u32 {
        if let Some(value) = self.fixed_random {
            return value;
        }
        let x = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (x ^ (x >> 32)) as u32
    }

    pub(crate) fn cpu(&self) -> u32 {
        self.cpu
    }

    pub(crate) fn task(&self) -> &Task {
        &self.task
    }

    pub(crate) fn cookie(&self) -> u64 {
        self.cookie
    }

    pub(crate) fn mtu(&self) -> u32 {
        self.mtu
    }

    pub(crate) fn set_redirect(&self, redirect: Redirect) {
        self.left().redirect = Some(redirect);
    }

    pub(crate) fn retval(&self) -> i32 {
        self.retval.load(Ordering::Relaxed)
    }

    pub(crate) fn set_retval(&self, retval: i32) {
        self.retval.store(retval, Ordering::Relaxed);
    }

    pub(crate) fn print(&self, text: &str) {
        let trace = &mut self.left().trace;
        if trace.len() + text.len() <= MAX_TRACE {
            trace.push_str(text);
        }
    }
}

/// What runs on a thread.
struct Run {
    environment: *const Environment,
    kind: ProgramKind,
}

thread_local! {
    static CURRENT: Cell<*const Run> = const { Cell::new(std::ptr::null()) };
}

/// Makes `environment` the one that helpers see on this thread while `body`
/// runs, which is a program of this kind.
pub fn enter<R>(environment: &Environment, kind: ProgramKind, body: impl FnOnce() -> R) -> R {
    struct Restore(*const Run);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let run = Run { environment, kind };
    let _restore = Restore(CURRENT.replace(&run));
    environment.set_retval(0);
    body()
}

/// The environment of the run on this thread; a default one for code that was
/// called as a plain function.
pub(crate) fn current<R>(body: impl FnOnce(&Environment) -> R) -> R {
    static DEFAULT: LazyLock<Environment> = LazyLock::new(Environment::default);
    let current = CURRENT.get();
    // SAFETY: enter keeps run and environment borrowed until it resets the pointer.
    match unsafe { current.as_ref().and_then(|run| run.environment.as_ref()) } {
        Some(environment) => body(environment),
        None => body(&DEFAULT),
    }
}

/// The kind of the program that runs on this thread; plain bytecode's for code
/// that was called as a plain function.
pub(crate) fn kind() -> ProgramKind {
    // SAFETY: as above.
    unsafe { CURRENT.get().as_ref() }.map_or(ProgramKind::Raw, |run| run.kind)
}
