//! A lock that everybody gets in the end. A [`Mutex`] goes to whoever comes
//! first when it is free, which is mostly the one who had it: who updates an
//! array without pause would keep out all others. Here whoever has waited for
//! half a millisecond comes before those who have not. (Turns in the order of
//! asking would cost a switch of threads for every one.)

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use crate::readers::Patience;

/// Who has waited this long comes first.
const LONG: Duration = Duration::from_micros(500);

/// A value under such a lock.
#[derive(Default)]
pub(crate) struct Turns<T> {
    /// How many have waited long.
    first: AtomicUsize,
    value: Mutex<T>,
}

/// The value while it is this thread's turn.
pub(crate) struct Turn<'a, T>(MutexGuard<'a, T>);

impl<T> Turns<T> {
    pub(crate) fn lock(&self) -> Turn<'_, T> {
        if self.first.load(Ordering::Relaxed) == 0
            && let Some(turn) = self.try_lock()
        {
            return turn;
        }
        let start = Instant::now();
        let mut patience = Patience::default();
        let mut is_first = false;
        loop {
            if (is_first || self.first.load(Ordering::Relaxed) == 0)
                && let Some(turn) = self.try_lock()
            {
                self.first.fetch_sub(usize::from(is_first), Ordering::Relaxed);
                return turn;
            }
            patience.wait();
            if !is_first && start.elapsed() > LONG {
                self.first.fetch_add(1, Ordering::Relaxed);
                is_first = true;
            }
        }
    }

    fn try_lock(&self) -> Option<Turn<'_, T>> {
        match self.value.try_lock() {
            Ok(value) => Some(Turn(value)),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => panic!("somebody panicked while it was locked"),
        }
    }
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
