//! Readers and grace periods.
//!
//! A thread that runs a program is a *reader* from its outermost entry to its
//! exit. Whoever replaced or cleared a slot waits for a *grace period*: until
//! every reader that was there when it began has left. Then nobody executes
//! what the slot used to lead to, nor stands between the two sites of a tail
//! call with what it saw before.
//!
//! Each thread has a record with a count of entries and exits: odd while it
//! reads. Entering and leaving is one plain store each; a nested run (a helper
//! that runs a program) sees that the count is odd and does nothing. A grace
//! period puts a barrier on all processors (`barrier.rs`), notes the
//! records with odd counts and waits until each of these has changed. So an
//! idle thread holds nobody up, and a busy one only until it leaves once: what
//! it enters afterwards sees the change, since the barrier came between. This
//! is quiescent-state reclamation (Hart et al., "Performance of memory
//! reclamation for lockless synchronization", 2007) with the asymmetric barrier
//! of userspace RCU (Desnoyers et al., 2012).
//!
//! Readers are the process's, not a runtime's: a program that never ends holds
//! up updates everywhere. A thread that reads cannot wait for itself: an update
//! there is an error, and what it drops is kept until somebody else comes by.

use std::any::Any;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::barrier;

/// A thread's count, on a cache line of its own.
#[repr(align(64))]
struct Record {
    marks: AtomicU64,
}

/// Every record that there is: records are never freed, so that no reader can
/// outlive its own.
struct Registry {
    all: Vec<&'static Record>,
    /// Those of threads that ended.
    unused: Vec<&'static Record>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { all: Vec::new(), unused: Vec::new() });

thread_local! {
    static MINE: Cell<Option<&'static Record>> = const { Cell::new(None) };
    /// Gives the record back when the thread ends.
    static LEASE: Lease = const { Lease };
}

struct Lease;

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(record) = MINE.take() {
            REGISTRY.lock().expect("no panic while locked").unused.push(record);
        }
    }
}

#[cold]
fn register() -> &'static Record {
    barrier::prepare();
    let mut registry = REGISTRY.lock().expect("no panic while locked");
    let record = registry.unused.pop().unwrap_or_else(|| {
        let record: &'static Record = Box::leak(Box::new(Record { marks: AtomicU64::new(0) }));
        registry.all.push(record);
        record
    });
    MINE.set(Some(record));
    // A thread that is past its destructors keeps the record for ever.
    let _ = LEASE.try_with(|_| ());
    record
}

/// This thread reads as long as it has one of these.
#[derive(Debug)]
pub struct Reading {
    /// Where to leave, at the outermost entry.
    record: Option<&'static Record>,
    /// The mark is this thread's.
    _not_send: std::marker::PhantomData<*const ()>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.marks.fmt(f)
    }
}

/// Marks this thread as one that runs programs, until the result is dropped.
/// [`crate::module::Program::run`] does so itself; it is for those who call a
/// program as a C function while others change program arrays.
#[inline]
pub fn enter() -> Reading {
    let record = MINE.get().unwrap_or_else(register);
    let marks = record.marks.load(Ordering::Relaxed);
    let outermost = marks.is_multiple_of(2);
    if outermost {
        record.marks.store(marks + 1, Ordering::Relaxed);
        barrier::light();
    }
    Reading { record: outermost.then_some(record), _not_send: std::marker::PhantomData }
}

impl Drop for Reading {
    #[inline]
    fn drop(&mut self) {
        if let Some(record) = self.record {
            // Only this thread writes it. What was read comes before.
            let marks = record.marks.load(Ordering::Relaxed);
            record.marks.store(marks + 1, Ordering::Release);
        }
    }
}

/// Whether this thread runs a program.
pub(crate) fn is_reading() -> bool {
    MINE.get().is_some_and(|record| !record.marks.load(Ordering::Relaxed).is_multiple_of(2))
}

/// Waits until every thread that runs a program now has left it once. The
/// caller must not be one of them.
pub(crate) fn grace_period() {
    barrier::heavy();
    wait_for_readers();
}

/// The same for a caller who has just put a barrier on all processors.
pub(crate) fn wait_for_readers() {
    assert!(!is_reading(), "a reader cannot wait for itself");
    let mut waiting: Vec<(&Record, u64)> = {
        let registry = REGISTRY.lock().expect("no panic while locked");
        let marks = registry.all.iter().map(|r| (*r, r.marks.load(Ordering::Acquire)));
        marks.filter(|(_, marks)| !marks.is_multiple_of(2)).collect()
    };
    let mut patience = Patience::default();
    loop {
        waiting.retain(|(record, seen)| record.marks.load(Ordering::Acquire) == *seen);
        if waiting.is_empty() {
            return;
        }
        patience.wait();
    }
}

/// How often somebody has waited: the longer, the less often to look again.
#[derive(Default)]
pub(crate) struct Patience(u32);

impl Patience {
    pub(crate) fn wait(&mut self) {
        match self.0 {
            0..64 => std::hint::spin_loop(),
            64..1024 => std::thread::yield_now(),
            _ => return std::thread::sleep(Duration::from_micros(50)),
        }
        self.0 += 1;
    }
}

/// What must not be dropped by a thread that reads, since that may wait for
/// readers or for a lock under which somebody waits for them.
#[derive(Debug)]
pub(crate) struct Outside<T: Send + 'static>(Option<T>);

static LEFT: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());

impl<T: Send> Outside<T> {
    pub(crate) fn new(value: T) -> Outside<T> {
        Outside(Some(value))
    }
}

impl<T: Send> Deref for Outside<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_ref().expect("taken only when dropped")
    }
}

impl<T: Send> DerefMut for Outside<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("taken only when dropped")
    }
}

impl<T: Send> Drop for Outside<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        if is_reading() {
            LEFT.lock().expect("no panic while locked").push(Box::new(value));
        } else {
            drop(value);
            drop_what_was_left();
        }
    }
}

/// Drops what readers left behind. Not to be called by one.
pub(crate) fn drop_what_was_left() {
    let left = std::mem::take(&mut *LEFT.lock().expect("no panic while locked"));
    drop(left);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn a_grace_period_waits_for_readers_and_for_nobody_else() {
        let (inside, is_inside) = channel();
        let (leave, may_leave) = channel::<()>();
        let over = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn(move || {
            let _outer = enter();
            drop(enter());
            inside.send(()).unwrap();
            may_leave.recv().unwrap();
        });
        is_inside.recv().unwrap();
        let waiter = {
            let over = over.clone();
            thread::spawn(move || {
                grace_period();
                over.store(true, Ordering::SeqCst);
            })
        };
        // The nested entry and exit has not ended the outermost one.
        thread::sleep(Duration::from_millis(20));
        assert!(!over.load(Ordering::SeqCst));
        leave.send(()).unwrap();
        reader.join().unwrap();
        waiter.join().unwrap();
        assert!(over.load(Ordering::SeqCst));
    }

    #[test]
    fn records_of_ended_threads_are_used_again() {
        for _ in 0..100 {
            thread::spawn(|| drop(enter())).join().unwrap();
        }
        let registry = REGISTRY.lock().unwrap();
        assert!(registry.all.len() < 60, "{}", registry.all.len());
    }

    #[test]
    fn what_a_reader_drops_is_dropped_later() {
        struct Flag(Arc<AtomicBool>);
        impl Drop for Flag {
            fn drop(&mut self) {
                assert!(!is_reading());
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let dropped = Arc::new(AtomicBool::new(false));
        let reading = enter();
        drop(Outside::new(Flag(dropped.clone())));
        assert!(is_reading());
        drop(reading);
        drop_what_was_left();
        // Another test's thread may have taken it and be about to drop it.
        while !dropped.load(Ordering::SeqCst) {
            thread::yield_now();
        }
    }
}
