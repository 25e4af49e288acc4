//! Bytes as a source of choices.
//!
//! A fuzzer's input, or bytes from a seed. When they run out every choice is
//! the first one, so generators put what ends them there.

use arbitrary::Unstructured;

/// Choices made by bytes.
pub struct Source<'a>(Unstructured<'a>);

impl<'a> Source<'a> {
    /// Takes choices from these bytes.
    pub fn new(bytes: &'a [u8]) -> Source<'a> {
        Source(Unstructured::new(bytes))
    }

    /// Whether the bytes have run out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.int_in_range(0..=bound - 1).unwrap_or(0)
    }

    /// A number of a range.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        self.0.int_in_range(low..=high).unwrap_or(low)
    }

    /// True one time in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of some things.
    pub fn pick<T: Copy>(&mut self, things: &[T]) -> T {
        things[self.below(things.len())]
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.arbitrary().unwrap_or(0)
    }

    /// Any bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        // What is missing stays zero.
        let _ = self.0.fill_buffer(&mut bytes);
        bytes
    }

    /// A value at which operations change what they do, or any.
    pub fn extreme(&mut self) -> u64 {
        const HALVES: [u64; 6] = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];
        match self.below(8) {
            0 => self.pick(&[0, 1, u64::MAX, i64::MIN as u64, i64::MAX as u64]),
            // Halves that differ.
            1..=2 => self.pick(&HALVES) << 32 | self.pick(&HALVES),
            3 => 1 << self.below(64),
            4 => (1u64 << self.below(64)).wrapping_sub(1),
            5 => self.between(-130, 130) as u64,
            6 => self.bits() & 0xffff_ffff,
            _ => self.bits(),
        }
    }

    /// The same for an immediate.
    pub fn immediate(&mut self) -> i32 {
        self.extreme() as i32
    }
}

/// The bytes of a seed: so many that programs of all sizes come of them.
pub fn seed_bytes(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let words = 16 + next() % 112;
    (0..words).flat_map(|_| next().to_le_bytes()).collect()
}
