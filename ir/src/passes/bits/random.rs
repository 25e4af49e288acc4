//! Random numbers for tests, the same on every machine.

use super::low_ones;

/// Random numbers (splitmix64).
pub(super) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    /// A number; many have long runs of equal bits.
    pub fn number(&mut self) -> u64 {
        let (bits, by) = (self.next(), self.next());
        let (run, at) = (by % 65, by >> 8 & 63);
        match by >> 16 & 7 {
            0 => bits,
            1 => low_ones(run as u32).rotate_left(at as u32),
            2 => !low_ones(run as u32) | bits & low_ones(at as u32),
            3 => low_ones(run as u32) & bits,
            4 => (bits as i64 >> at) as u64,
            5 => 1 << at,
            6 => bits & self.next() & self.next(),
            _ => bits | self.next() | self.next(),
        }
    }
}
