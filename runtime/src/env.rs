//! The environment of a run: everything a helper can see that is neither
//! argument nor map, so that a run can be repeated exactly.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Instant;

/// Where `ktime_get_ns` takes the time from.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// Nanoseconds since the environment was made.
    System,
    /// Always the same.
    Fixed(u64),
}

/// What helpers see and leave behind.
#[derive(Debug)]
pub struct Environment {
    clock: Clock,
    start: Instant,
    random: AtomicU64,
    fixed_random: Option<u32>,
    cpu: u32,
    redirect: AtomicU32,
    trace: Mutex<String>,
}

impl Default for Environment {
    fn default() -> Environment {
        Environment {
            clock: Clock::System,
            start: Instant::now(),
            random: AtomicU64::new(0x9e37_79b9_7f4a_7c15),
            fixed_random: None,
            cpu: 0,
            redirect: AtomicU32::new(0),
            trace: Mutex::new(String::new()),
        }
    }
}

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

    /// Sets the processor number.
    pub fn with_cpu(mut self, cpu: u32) -> Environment {
        self.cpu = cpu;
        self
    }

    /// What programs printed.
    pub fn trace(&self) -> String {
        self.trace.lock().expect("no panic while locked").clone()
    }

    /// The interface index of the last redirect.
    pub fn redirect(&self) -> u32 {
        self.redirect.load(Ordering::Relaxed)
    }

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

    pub(crate) fn set_redirect(&self, ifindex: u32) {
        self.redirect.store(ifindex, Ordering::Relaxed);
    }

    pub(crate) fn print(&self, text: &str) {
        self.trace.lock().expect("no panic while locked").push_str(text);
    }
}

thread_local! {
    static CURRENT: Cell<*const Environment> = const { Cell::new(std::ptr::null()) };
}

/// Makes `environment` the one that helpers see on this thread while `body` runs.
pub fn enter<R>(environment: &Environment, body: impl FnOnce() -> R) -> R {
    struct Restore(*const Environment);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(environment));
    body()
}

/// The environment of the run on this thread; a default one for code that was
/// called as a plain function.
pub(crate) fn current<R>(body: impl FnOnce(&Environment) -> R) -> R {
    static DEFAULT: LazyLock<Environment> = LazyLock::new(Environment::default);
    let current = CURRENT.get();
    // SAFETY: enter keeps the environment borrowed until it resets the pointer.
    match unsafe { current.as_ref() } {
        Some(environment) => body(environment),
        None => body(&DEFAULT),
    }
}
