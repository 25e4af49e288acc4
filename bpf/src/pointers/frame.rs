//! Cutting a frame into objects.
//!
//! Problem: bytecode has no object boundaries on the stack, but what an access
//! may touch together must stay together, and what nothing touches need not
//! exist.
//!
//! Idea: collect ranges of bytes, each of which must lie in one object: every
//! access, every range that a callee may access, and for a pointer whose offset
//! varies everything between the places where it may point. Ranges that overlap
//! are merged; those that only touch are not. A pointer that goes where it
//! cannot be followed freezes the frame from the lowest address that was ever
//! made up to R10.
//!
//! Invariant: wherever an address of the frame is followed, compared, passed or
//! stored, all that it may be lies in one object (R10 itself counts to the
//! object that ends there).

use super::range::Range;
use super::state::clip;
use crate::facts::StackObject;
use crate::interp::FRAME_BYTES;

/// The ranges of one function's frame.
#[derive(Default)]
pub(super) struct Frame {
    ranges: Vec<StackObject>,
    /// The lowest offset of all pointers made.
    lowest_made: i64,
    lowest_touched: i64,
    /// How far below such a pointer it may be followed, at most 0.
    lowest_distance: i64,
    frozen: bool,
}

impl Frame {
    /// A load or store at a constant offset.
    pub fn access(&mut self, bytes: Range) {
        self.touch(bytes, false);
    }

    /// Accesses by a callee that gets a pointer. As for the kernel, what lies
    /// between the pointer and the accesses counts as touched.
    pub fn pass(&mut self, at: Range, bytes: Range) {
        let start = at.lo.min(bytes.lo);
        self.access_through(at, Range::new(start, bytes.hi));
    }

    /// An access through a pointer that may be anywhere in `at`.
    pub fn access_through(&mut self, at: Range, bytes: Range) {
        self.link(at);
        let last = bytes.hi.saturating_sub(1);
        self.link(Range::new(at.lo.min(bytes.lo), at.lo.max(last)));
        self.touch(bytes, true);
    }

    fn touch(&mut self, bytes: Range, escapes: bool) {
        let (lo, hi) = clip(bytes);
        if lo < hi {
            self.lowest_touched = self.lowest_touched.min(lo);
            self.push(lo, hi, escapes, true);
        }
    }

    fn push(&mut self, lo: i64, hi: i64, escapes: bool, touched: bool) {
        let (lo, hi) = (lo as i32, hi as i32);
        let object = StackObject { lo, hi, escapes, touched };
        if self.ranges.last() != Some(&object) {
            self.ranges.push(object);
        }
    }

    /// The address is used, and all bytes that it may point to belong together.
    pub fn link(&mut self, at: Range) {
        let lo = at.lo.clamp(-i64::from(FRAME_BYTES), -1);
        let hi = at.hi.clamp(lo, -1) + 1;
        self.push(lo, hi, true, false);
    }

    /// A pointer was computed.
    pub fn made(&mut self, at: Range) {
        let (lo, _) = clip(at);
        self.lowest_made = self.lowest_made.min(lo);
    }

    /// A pointer to somewhere in the frame goes where it cannot be followed, and
    /// may be followed there from this distance on upwards.
    pub fn freeze(&mut self, from: i64) {
        self.frozen = true;
        self.lowest_distance = self.lowest_distance.min(from);
    }

    /// Bytes below R10 that may be touched, and the objects.
    pub fn finish(mut self) -> (u32, Vec<StackObject>) {
        let mut lowest = self.lowest_touched;
        if self.frozen {
            let followed = self.lowest_made.saturating_add(self.lowest_distance);
            lowest = lowest.min(followed.max(-i64::from(FRAME_BYTES)));
            if lowest < 0 {
                self.push(lowest, 0, true, true);
            }
        }
        self.ranges.sort_unstable_by_key(|range| range.lo);
        let mut objects: Vec<StackObject> = Vec::new();
        for range in self.ranges {
            match objects.last_mut() {
                Some(last) if range.lo < last.hi => {
                    last.hi = last.hi.max(range.hi);
                    last.escapes |= range.escapes;
                    last.touched |= range.touched;
                }
                _ => objects.push(range),
            }
        }
        (-lowest as u32, objects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(fill: impl FnOnce(&mut Frame)) -> (u32, Vec<(i32, i32, bool)>) {
        let mut frame = Frame::default();
        fill(&mut frame);
        let (depth, objects) = frame.finish();
        let objects = objects.iter().map(|o| (o.lo, o.hi, o.escapes)).collect();
        (depth, objects)
    }

    fn bytes(lo: i64, hi: i64) -> Range {
        Range::new(lo, hi)
    }

    #[test]
    fn overlapping_accesses_are_one_object() {
        let (depth, objects) = cut(|f| {
            f.access(bytes(-8, 0));
            f.access(bytes(-16, -8));
            f.access(bytes(-12, -8));
            f.access(bytes(-24, -20));
        });
        assert_eq!(depth, 24);
        let expected = [(-24, -20, false), (-16, -8, false), (-8, 0, false)];
        assert_eq!(objects, expected);
    }

    #[test]
    fn a_varying_pointer_joins_what_it_may_point_to() {
        let (depth, objects) = cut(|f| {
            f.access(bytes(-32, -24));
            f.access(bytes(-8, 0));
            f.access_through(bytes(-32, -17), bytes(-32, -16));
        });
        assert_eq!((depth, objects), (32, vec![(-32, -16, true), (-8, 0, false)]));
        // The offset is only bounded below: everything above may be meant.
        let (depth, objects) = cut(|f| {
            f.access(bytes(-40, -32));
            f.access_through(bytes(-32, i64::MAX), bytes(-32, i64::MAX));
        });
        assert_eq!((depth, objects), (40, vec![(-40, -32, false), (-32, 0, true)]));
        let (depth, objects) = cut(|f| f.access_through(Range::ALL, Range::ALL));
        assert_eq!((depth, objects), (512, vec![(-512, 0, true)]));
    }

    #[test]
    fn an_address_that_is_only_used_is_an_object_but_no_depth() {
        let (depth, objects) = cut(|f| f.link(bytes(-16, -16)));
        assert_eq!((depth, objects), (0, vec![(-16, -15, true)]));
        let (_, objects) = cut(|f| f.link(bytes(0, 0)));
        assert_eq!(objects, [(-1, 0, true)]);
    }

    #[test]
    fn freezing_reaches_down_to_the_lowest_address_made() {
        let (depth, objects) = cut(|f| {
            f.access(bytes(-8, 0));
            f.made(bytes(-48, -48));
            f.freeze(0);
        });
        assert_eq!((depth, objects), (48, vec![(-48, 0, true)]));
        let (depth, _) = cut(|f| {
            f.made(bytes(-48, -48));
            f.freeze(-8);
        });
        assert_eq!(depth, 56);
    }
}
