//! The interpreter's host: knows which memory a program may touch, and keeps it
//! to that.
//!
//! A program may read and write its frames, the packet (or plain memory), values
//! of maps and records of ring buffers that it has not given back; it may read
//! the fields of its context, and write those that are declared writable. Values
//! of read-only maps may not be written. What helpers take is checked by their
//! rows in `tailor_bpf::helpers`, so that an implementation can trust it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tailor_bpf::ctx::{FieldValue, KINDS};
use tailor_bpf::helpers::{Access, Arg, Extent, Helper};
use tailor_bpf::host::{CallBack, Host};
use tailor_bpf::{FuncRef, MapRef, ProgramKind, Size};

use super::Interpreted;
use crate::Error;
use crate::code::first_value;
use crate::ctx::Context;
use crate::helpers::callbacks;
use crate::map::Map;

/// Bytes that no context has more of.
const MAX_CONTEXT: u64 = 256;
/// Helpers on objects in memory, and the bytes of these.
const IN_MEMORY: [(u32, usize); 3] = [(93, 4), (94, 4), (194, 8)];
/// The one of them that waits, and after how many looks, with the processor left
/// to others in between, nothing is waited for any more.
const SPIN_LOCK: u32 = 93;
const LOOKS_AT_LOCK: u32 = 1 << 20;
/// Helpers that try to read what is at any address, and find nothing to read.
const PROBES: [u32; 7] = [4, 45, 112, 113, 114, 115, 148];
/// Helpers that change what is in a map.
const CHANGE_MAPS: [u32; 4] = [2, 3, 87, 88];
/// Helpers that give a ring buffer's record back.
const GIVE_BACK: [u32; 2] = [132, 133];

/// The host of one run.
pub(super) struct Checked<'a> {
    program: &'a Interpreted,
    kind: ProgramKind,
    frames: Vec<Box<[u64]>>,
    context: &'a mut dyn Context,
    /// Address of the context.
    address: u64,
    /// Memory that the context leads to.
    regions: Vec<(u64, usize)>,
    /// Keys that functions called back may read.
    keys: Vec<(u64, usize)>,
}

impl<'a> Checked<'a> {
    pub fn new(
        program: &'a Interpreted,
        kind: ProgramKind,
        address: u64,
        context: &'a mut dyn Context,
    ) -> Checked<'a> {
        let regions = context.regions();
        let (frames, keys) = (Vec::new(), Vec::new());
        Checked { program, kind, frames, context, address, regions, keys }
    }

    fn map(&self, map: MapRef) -> Result<&Arc<Map>, String> {
        self.program.maps[map.as_u32() as usize].as_ref().map_err(Error::to_string)
    }

    fn map_at(&self, address: u64) -> Result<Arc<Map>, String> {
        let mut maps = self.program.maps.iter().flatten();
        let found = maps.find_map(|map| match map.address() == address {
            true => Some(map.clone()),
            false => map.inner_at(address),
        });
        found.ok_or_else(|| format!("{address:#x} is no map"))
    }

    /// Start and length of the memory, not the context's, that an address lies in.
    fn region(&self, address: u64, access: Access) -> Option<(u64, usize)> {
        let holds = |&(start, len): &(u64, usize)| address.wrapping_sub(start) < len as u64;
        let frames = self.frames.iter().rev().map(|frame| (frame.as_ptr() as u64, frame.len() * 8));
        let keys = self.keys.iter().copied().filter(|_| access == Access::Read);
        let own = frames.chain(self.regions.iter().copied()).chain(keys).find(holds);
        own.or_else(|| {
            let mut maps = self.program.maps.iter().flatten();
            maps.find_map(|map| map.region(address, access))
        })
    }

    fn check(&self, address: u64, len: usize, access: Access) -> Result<(), String> {
        let fits = |(start, size): (u64, usize)| len as u64 <= size as u64 - (address - start);
        if self.region(address, access).is_some_and(fits) {
            return Ok(());
        }
        Err(format!("access of {len} bytes at {address:#x}, which is no memory of the program"))
    }

    /// Checks an access by an instruction, which may be to the context.
    fn check_access(&self, address: u64, size: Size, access: Access) -> Result<(), String> {
        let is_field = self.kind.context().is_some_and(|kind| {
            let at = address.wrapping_sub(self.address);
            at < MAX_CONTEXT && is_field(kind, at, size.bytes().into(), access)
        });
        if is_field { Ok(()) } else { self.check(address, size.bytes() as usize, access) }
    }

    /// Checks that a helper gets what its row says it takes.
    fn check_arguments(&self, row: &Helper, args: [u64; 5]) -> Result<(), String> {
        let map = row.map_arg().map(|position| self.map_at(args[position])).transpose()?;
        if let Some(map) = map.as_ref().filter(|map| map.is_read_only())
            && CHANGE_MAPS.contains(&row.id)
        {
            return Err(format!("programs cannot write map {}", map.name()));
        }
        for (position, (kind, &address)) in row.args.iter().zip(&args).enumerate() {
            match *kind {
                Arg::Memory { access: Access::Read, .. } if PROBES.contains(&row.id) => {}
                Arg::Memory { access, extent } => {
                    let len = match extent {
                        Extent::Key => map.as_ref().map_or(0, |map| map.key_size()),
                        Extent::Value => map.as_ref().map_or(0, |map| map.value_size()),
                        Extent::Bytes(bytes) => bytes as usize,
                        // Sizes are 32 bits wide in C.
                        Extent::Argument(position) => args[position as usize - 1] as u32 as usize,
                        Extent::Unknown => continue,
                    };
                    if len > 0 {
                        self.check(address, len, access)?;
                    }
                }
                // Where its fields are not declared helpers do not look into it.
                Arg::Context if self.kind.context().is_some() && address != self.address => {
                    return Err(format!("{address:#x} is not the context"));
                }
                // A second object is stored, not followed.
                Arg::Object if position == 0 => self.check_object(row.id, address)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn check_object(&self, helper: u32, address: u64) -> Result<(), String> {
        if let Some((_, len)) = IN_MEMORY.iter().find(|(id, _)| *id == helper) {
            if !address.is_multiple_of(*len as u64) {
                return Err(format!("{address:#x} is not aligned"));
            }
            self.check(address, *len, Access::Update)?;
            return if helper == SPIN_LOCK { wait_for_lock(address) } else { Ok(()) };
        }
        let mut maps = self.program.maps.iter().flatten();
        if GIVE_BACK.contains(&helper) && !maps.any(|map| map.holds_record(address)) {
            return Err(format!("{address:#x} is no record that was reserved"));
        }
        Ok(())
    }

    /// Checks the text, of unknown length, that some helpers take.
    fn check_text(&self, helper: u32, args: [u64; 5]) -> Result<(), String> {
        const TEXTS: [(u32, usize); 2] = [(165, 2), (182, 2)];
        let Some((_, position)) = TEXTS.iter().find(|(id, _)| *id == helper) else {
            return Ok(());
        };
        let start = args[*position];
        let region = self.region(start, Access::Read);
        let end = region.map_or(start, |(start, len)| start + len as u64);
        // SAFETY: the bytes up to the region's end are memory of the program.
        let has_end = (start..end).any(|address| unsafe { *(address as *const u8) } == 0);
        if has_end { Ok(()) } else { Err(format!("{start:#x} is no text with an end")) }
    }
}

/// Waits for a lock to be free: one that the program holds itself, or did not
/// give back, or wrote over, never is.
fn wait_for_lock(address: u64) -> Result<(), String> {
    // SAFETY: four aligned bytes of the program's memory, as was just checked.
    let lock = unsafe { AtomicU32::from_ptr(address as *mut u32) };
    for _ in 0..LOOKS_AT_LOCK {
        if lock.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        std::thread::yield_now();
    }
    Err(format!("the lock at {address:#x} is not given back"))
}

/// Whether a program may access so many bytes of a context natively.
fn is_field(kind: u8, at: u64, len: u64, access: Access) -> bool {
    KINDS[kind as usize].fields.iter().any(|field| {
        let start = u64::from(field.native_offset);
        let size = u64::from(field.native_size.bytes());
        let inside = (start..start + size).contains(&at) && at + len <= start + size;
        let writable = field.writable && field.value == FieldValue::Scalar;
        inside && (writable || access == Access::Read)
    })
}

impl Host for Checked<'_> {
    fn push_frame(&mut self, bytes: u32) -> Result<u64, String> {
        let mut frame = vec![0u64; (bytes as usize).div_ceil(8)].into_boxed_slice();
        let address = frame.as_mut_ptr() as u64;
        self.frames.push(frame);
        Ok(address)
    }

    fn pop_frame(&mut self) {
        self.frames.pop();
    }

    fn load(&mut self, address: u64, size: Size) -> Result<u64, String> {
        self.check_access(address, size, Access::Read)?;
        let (mut bytes, len) = ([0; 8], size.bytes() as usize);
        // SAFETY: the range was just found inside memory of the program.
        unsafe { std::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), len) };
        Ok(u64::from_le_bytes(bytes))
    }

    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), String> {
        self.check_access(address, size, Access::Write)?;
        let (bytes, len) = (value.to_le_bytes(), size.bytes() as usize);
        // SAFETY: as above; and all of that but what was excluded is writable.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, len) };
        Ok(())
    }

    fn map_address(&mut self, map: MapRef) -> Result<u64, String> {
        Ok(self.map(map)?.address())
    }

    fn map_value_address(&mut self, map: MapRef) -> Result<u64, String> {
        first_value(self.map(map)?).map_err(|error| error.to_string())
    }

    fn has_helper(&mut self, helper: u32) -> bool {
        self.program.helpers.get_for(helper, self.kind).is_ok()
    }

    fn call_helper(&mut self, helper: u32, args: [u64; 5]) -> Result<u64, String> {
        let found = self.program.helpers.get_for(helper, self.kind);
        let function = found.map_err(|error| error.to_string())?;
        let row = self.program.object.helper(helper);
        self.check_arguments(row, args)?;
        self.check_text(helper, args)?;
        let [a, b, c, d, e] = args;
        // SAFETY: the arguments were checked against the helper's table row.
        let result = unsafe { function(a, b, c, d, e) };
        if row.effect.moves_packet {
            self.regions = self.context.regions();
        }
        Ok(result)
    }

    fn call_back(
        &mut self,
        helper: u32,
        args: [u64; 5],
        call: &mut CallBack<'_>,
    ) -> Result<u64, String> {
        let found = self.program.helpers.get_for(helper, self.kind);
        found.map_err(|error| error.to_string())?;
        let function = callbacks::find(helper).ok_or_else(|| Error::Helper(helper).to_string())?;
        let row = self.program.object.helper(helper);
        self.check_arguments(row, args)?;
        let map = row.map_arg().map(|position| self.map_at(args[position])).transpose()?;
        let mut call_checked = |args: [u64; 5]| {
            // The second argument of a function that gets a map is a key.
            self.keys.extend(map.as_ref().map(|map| (args[1], map.key_size())));
            let result = call(self, args);
            if map.is_some() {
                self.keys.pop();
            }
            result
        };
        // SAFETY: the arguments were checked against the helper's table row.
        match unsafe { function(args, &mut call_checked)? } {
            Ok(value) => Ok(value),
            Err(number) => Ok(-number as u64),
        }
    }

    fn tail_call_target(&mut self, array: u64, index: u32) -> Result<Option<FuncRef>, String> {
        self.map_at(array)?;
        Ok(self.program.slot(array, index))
    }
}
