//! Helpers on maps.

use smallvec::SmallVec;

use super::{Args, Outcome, Row, bytes, bytes_mut, rows};
use crate::errno::ENOENT;
use crate::map::Map;

/// A copy of a key or value: the original may lie in the very map that changes.
pub(super) type Copy = SmallVec<[u8; 128]>;

/// # Safety
/// `address` must be a map's, and `len` bytes readable at `from`.
pub(super) unsafe fn copy(from: u64, len: usize) -> Copy {
    // SAFETY: as above; nothing is written before the copy is made.
    Copy::from_slice(unsafe { bytes(from, len) })
}

/// What an operation of a map returned.
fn outcome(result: i64) -> Outcome {
    Ok(result as u64)
}

// SAFETY of what follows: a verified program passes a map, and keys and values
// of its sizes.

unsafe fn map_lookup_elem([map, key, ..]: Args) -> Outcome {
    // SAFETY: a map and a key of its size.
    unsafe {
        let map = Map::from_address(map);
        Ok(map.lookup(bytes(key, map.key_size())).unwrap_or(0))
    }
}

unsafe fn map_lookup_percpu_elem([map, key, cpu, ..]: Args) -> Outcome {
    // SAFETY: a map and a key of its size.
    unsafe {
        let map = Map::from_address(map);
        Ok(map.lookup_on(bytes(key, map.key_size()), cpu as u32).unwrap_or(0))
    }
}

unsafe fn map_update_elem([map, key, value, flags, _]: Args) -> Outcome {
    // SAFETY: a map, a key and a value of its sizes.
    unsafe {
        let map = Map::from_address(map);
        let (key, value) = (copy(key, map.key_size()), copy(value, map.value_size()));
        outcome(map.program_update(&key, &value, flags))
    }
}

unsafe fn map_delete_elem([map, key, ..]: Args) -> Outcome {
    // SAFETY: a map and a key of its size.
    unsafe {
        let map = Map::from_address(map);
        outcome(map.delete(&copy(key, map.key_size())))
    }
}

unsafe fn get_local_storage([map, ..]: Args) -> Outcome {
    // SAFETY: a map.
    Ok(unsafe { Map::from_address(map) }.local_storage().unwrap_or(0))
}

unsafe fn map_push_elem([map, value, flags, ..]: Args) -> Outcome {
    // SAFETY: a map and a value of its size.
    unsafe {
        let map = Map::from_address(map);
        outcome(map.push(bytes(value, map.value_size()), flags))
    }
}

unsafe fn map_pop_elem([map, value, ..]: Args) -> Outcome {
    // SAFETY: a map and room for a value of its size.
    unsafe { next(map, value, true) }
}

unsafe fn map_peek_elem([map, value, ..]: Args) -> Outcome {
    // SAFETY: a map and room for a value of its size.
    unsafe { next(map, value, false) }
}

/// # Safety
/// A map and room for a value of its size.
unsafe fn next(map: u64, to: u64, take: bool) -> Outcome {
    // SAFETY: as above.
    let (map, to) = unsafe {
        let map = Map::from_address(map);
        (map, bytes_mut(to, map.value_size()))
    };
    match map.next(take) {
        Some(value) => {
            to.copy_from_slice(&value);
            Ok(0)
        }
        None => {
            to.fill(0);
            Err(ENOENT)
        }
    }
}

pub(super) static ROWS: &[Row] = rows! {
    1 ANY map_lookup_elem;
    2 ANY map_update_elem;
    3 ANY map_delete_elem;
    81 ANY get_local_storage;
    87 ANY map_push_elem;
    88 ANY map_pop_elem;
    89 ANY map_peek_elem;
    195 ANY map_lookup_percpu_elem;
};
