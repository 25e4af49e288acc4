//! Barriers that the rare side pays for: whoever changes code or waits for
//! readers interrupts all processors that run this process, so that readers
//! need no barrier of their own (membarrier(2)).
//!
//! What the system offers is asked once, before anything is marked or patched:
//!
//! | membarrier has | readers | code |
//! | --- | --- | --- |
//! | `PRIVATE_EXPEDITED` and `SYNC_CORE` | a plain store | is patched; its memory is used again |
//! | only the first | a plain store | neither |
//! | neither | a store and a fence | neither |
//!
//! `TAILOR_MEMBARRIER=off` in the environment makes it the last row, and
//! `=no-sync-core` the second, for tests and for sandboxes that kill for it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, compiler_fence, fence};

/// What membarrier(2) can do here.
struct Abilities {
    orders: bool,
    synchronizes: bool,
}

/// Readers fence themselves. Set before the first reader is registered.
static READERS_FENCE: AtomicBool = AtomicBool::new(false);

fn membarrier(command: i32) -> bool {
    // SAFETY: the call touches no memory of ours; unknown commands are refused.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

fn abilities() -> &'static Abilities {
    static FOUND: OnceLock<Abilities> = OnceLock::new();
    FOUND.get_or_init(|| {
        let wanted = std::env::var("TAILOR_MEMBARRIER").unwrap_or_default();
        let orders = wanted != "off" && membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
        let synchronizes = orders
            && wanted != "no-sync-core"
            && membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE);
        READERS_FENCE.store(!orders, Ordering::Relaxed);
        Abilities { orders, synchronizes }
    })
}

/// Asks the system, so that [`light`] knows what to do.
pub(crate) fn prepare() {
    abilities();
}

/// Whether [`synchronize_cores`] does: without it no code is patched, and no
/// code memory used again.
pub(crate) fn can_synchronize_cores() -> bool {
    abilities().synchronizes
}

/// The reader's side: what was stored before it is seen by whoever calls
/// [`heavy`] later, and what `heavy` had ordered before is seen after it.
#[inline]
pub(crate) fn light() {
    if READERS_FENCE.load(Ordering::Relaxed) {
        fence(Ordering::SeqCst);
    } else {
        compiler_fence(Ordering::SeqCst);
    }
}

/// The writer's side: a full barrier here and on every processor that runs a
/// thread of this process.
pub(crate) fn heavy() {
    fence(Ordering::SeqCst);
    if abilities().orders {
        let done = membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
        assert!(done, "membarrier was registered");
    }
}

/// No processor executes bytes of code that it fetched before: all execute a
/// serialising instruction before they go on. Orders memory as [`heavy`] does.
pub(crate) fn synchronize_cores() {
    fence(Ordering::SeqCst);
    if abilities().synchronizes {
        let done = membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE);
        assert!(done, "membarrier was registered");
    }
}
