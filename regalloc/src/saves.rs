//! Which callee-saved registers a function changes.

use regalloc2::{Allocation, Edit, ProgPoint};
use smallvec::SmallVec;
use tailor_lower::Gpr;

/// The callee-saved registers among locations and moves, in the order of
/// preference (`order`, which has all that may be allocated). Moves count on their own: the allocator may park a value in a
/// register that no instruction names.
pub fn callee_saved(
    order: &[Gpr],
    locations: &[Allocation],
    edits: &[(ProgPoint, Edit)],
) -> SmallVec<[Gpr; 6]> {
    let mut used = 0u16;
    let mut note = |location: &Allocation| {
        if let Some(preg) = location.as_reg() {
            used |= 1 << preg.hw_enc();
        }
    };
    locations.iter().for_each(&mut note);
    for (_, Edit::Move { from, to }) in edits {
        note(from);
        note(to);
    }
    order.iter().copied().filter(|reg| used & (1 << reg.enc()) != 0).collect()
}
