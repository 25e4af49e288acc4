//! Where values lie: memory whose addresses stay valid as long as the map.
//!
//! A pool holds `count` values; in per-CPU maps each of them once for every
//! processor, one after the other. Memory that was never written costs nothing.

use std::cell::UnsafeCell;

/// The values of a map, each aligned to 8 bytes.
pub(super) struct Pool {
    words: Box<[UnsafeCell<u64>]>,
    /// Words of a value.
    stride: usize,
    value_size: usize,
    cpus: usize,
}

// SAFETY: programs share values without synchronisation by design (as in the
// kernel); the runtime itself only copies whole values in and out.
unsafe impl Sync for Pool {}
// SAFETY: plain memory.
unsafe impl Send for Pool {}

impl Pool {
    /// Room for `count` values for each of `cpus` processors, all zeros.
    pub fn new(value_size: usize, count: usize, cpus: u32) -> Pool {
        let cpus = cpus as usize;
        let stride = value_size.div_ceil(8).max(1);
        let words = vec![0u64; stride * count * cpus].into_boxed_slice();
        // SAFETY: UnsafeCell<u64> has the layout of u64.
        let words = unsafe { Box::from_raw(Box::into_raw(words) as *mut [UnsafeCell<u64>]) };
        Pool { words, stride, value_size, cpus }
    }

    /// Processors that have a value of their own.
    pub fn cpus(&self) -> u32 {
        self.cpus as u32
    }

    /// Address of value `index` for a processor; both must be in range.
    pub fn address(&self, index: usize, cpu: u32) -> u64 {
        self.words[(index * self.cpus + cpu as usize) * self.stride].get() as u64
    }

    /// Overwrites a value with `value`, cut where it is longer, and zeroes the rest.
    pub fn set(&self, index: usize, cpu: u32, value: &[u8]) {
        let len = value.len().min(self.value_size);
        let to = self.address(index, cpu) as *mut u8;
        // SAFETY: the value has stride words, at least value_size >= len bytes, at
        // this address, inside cells that may be written through. `value` may be
        // another value of the map (a program passes its address), or this one.
        unsafe {
            std::ptr::copy(value.as_ptr(), to, len);
            std::ptr::write_bytes(to.add(len), 0, self.value_size - len);
        }
    }

    /// The same for all processors: `value` is one value for each of them, or
    /// one for all.
    pub fn set_all(&self, index: usize, value: &[u8]) {
        for cpu in 0..self.cpus as u32 {
            let own = value.len() == self.value_size * self.cpus;
            let start = if own { cpu as usize * self.value_size } else { 0 };
            self.set(index, cpu, &value[start..]);
        }
    }

    /// A copy of a value: those of all processors, one after the other.
    pub fn get(&self, index: usize) -> Vec<u8> {
        let mut copy: Vec<u8> = Vec::with_capacity(self.value_size * self.cpus);
        for cpu in 0..self.cpus as u32 {
            let from = self.address(index, cpu) as *const u8;
            let len = copy.len();
            // SAFETY: value_size bytes of the pool lie at this address, and as many
            // were reserved behind the copy. No reference to the value is made:
            // programs may write it meanwhile.
            unsafe {
                std::ptr::copy_nonoverlapping(from, copy.as_mut_ptr().add(len), self.value_size);
                copy.set_len(len + self.value_size);
            }
        }
        copy
    }

    /// Start and length of the value that an address lies in.
    pub fn region(&self, address: u64) -> Option<(u64, usize)> {
        let start = self.words.as_ptr() as u64;
        let offset = address.checked_sub(start)?;
        let stride = 8 * self.stride as u64;
        let value = offset / stride * stride;
        (value < 8 * self.words.len() as u64).then_some((start + value, self.value_size))
    }
}

/// Which values of a pool are in use.
pub(super) struct Slots {
    /// Values never used start here.
    fresh: usize,
    count: usize,
    free: Vec<usize>,
}

impl Slots {
    /// Of `count` values, none in use.
    pub fn new(count: usize) -> Slots {
        Slots { fresh: 0, count, free: Vec::new() }
    }

    /// A value that is not in use: the one given back last, or a new one.
    pub fn take(&mut self) -> Option<usize> {
        if let Some(index) = self.free.pop() {
            return Some(index);
        }
        (self.fresh < self.count).then(|| {
            self.fresh += 1;
            self.fresh - 1
        })
    }

    /// Gives a value back.
    pub fn give(&mut self, index: usize) {
        self.free.push(index);
    }
}
