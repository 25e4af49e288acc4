//! Program arrays that change while programs run.
//!
//! | file | what |
//! | --- | --- |
//! | `protocol.rs` | the order in which a slot and its sites change |
//! | `site.rs` | sites in code memory, and how they change |
//! | `owner.rs` | which programs an array takes |
//! | `../readers.rs` | who runs, and waiting until they have left |
//!
//! An array knows every site of every module that leads through one of its
//! slots, and holds on to the code in its slots. One lock per array covers the
//! slots, the sites and the owner, from the exchange of a slot to the end of
//! the grace period, and also the publication of a module's sites; so a site
//! is always what its slot says or being changed to it. No reader takes it.
//!
//! Code in a slot stays as long as it is there, also when its module is
//! unloaded: it goes when the slot is replaced or cleared, after the grace
//! period. An array's *users* are the modules loaded with it and the
//! [`ProgArray`]s: with the last of them its slots are cleared, as the kernel
//! does (a program in a slot of an array that it uses itself would never go).

#[cfg(test)]
mod model;
mod owner;
pub(crate) mod protocol;
mod site;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tailor_bpf::FuncRef;

use crate::memory::CodeSpace;
use crate::module::{Code, Program, Runtime};
use crate::readers::{self, Outside};
use crate::{Error, Map, barrier};
pub(crate) use owner::{Linkage, Owner};
use protocol::{Insn, Role, Target, Update, insn, perform};
pub(crate) use site::{CELL_BYTES, Room, Site, VENEER_BYTES, veneers};
pub(crate) use turns::{Turn, Turns};

/// What the host knows of a program array.
#[derive(Default)]
pub(crate) struct Slots {
    owner: Option<Owner>,
    users: usize,
    filled: BTreeMap<u32, Entry>,
    /// By slot: sites and the module that they are of.
    sites: BTreeMap<u32, Vec<(u64, Site)>>,
}

/// A program in a slot.
#[derive(Clone)]
pub(crate) struct Entry {
    /// The code that must stay: held, not looked at.
    pub(crate) _code: Arc<Code>,
    pub(crate) func: FuncRef,
    /// Offset where tail calls enter.
    pub(crate) landing: usize,
    /// What the slot holds for code that reads it.
    pub(crate) value: u64,
}

impl Slots {
    /// Checks that programs of this owner are taken; an array that belongs to
    /// nobody is theirs from then on, if it was made for their code.
    pub(crate) fn claim(&mut self, map: &Map, owner: &Owner) -> Result<(), Error> {
        let Some(own) = &self.owner else {
            if !owner.linkage().reads(map.slot_layout()) {
                let what = "its slots do not lie where code of this engine reads them".into();
                return Err(Error::Map { map: map.name().to_string(), what });
            }
            self.owner = Some(owner.clone());
            return Ok(());
        };
        match own.differences(owner) {
            None => Ok(()),
            Some(what) => Err(Error::Incompatible { map: map.name().to_string(), what }),
        }
    }

    fn runtime(&self) -> Option<Arc<Runtime>> {
        match self.owner.as_ref()?.linkage() {
            Linkage::Native(_, runtime) => Some(runtime.clone()),
            Linkage::Interpreted(_) => None,
        }
    }
}

/// Makes a module's sites known, as their slots say. Nobody executes them yet.
pub(crate) fn publish(array: &Map, index: u32, module: u64, code: &CodeSpace, sites: &[Site]) {
    let Some(mut slots) = array.slots() else { return };
    let content = slots.filled.get(&index).map(|entry| entry.landing);
    let known = slots.sites.entry(index).or_default();
    for &site in sites {
        for role in [Role::Bypass, Role::Target] {
            site.put(code, role, insn(role, content));
        }
        known.push((module, site));
    }
}

/// Forgets a module's sites. Nobody executes them any more.
pub(crate) fn withdraw(array: &Map, module: u64) {
    let Some(mut slots) = array.slots() else { return };
    slots.sites.retain(|_, sites| {
        sites.retain(|(of, _)| *of != module);
        !sites.is_empty()
    });
}

/// Whether a module's sites may lead through this array's slots.
pub(crate) fn reaches(array: &Map, linkage: &Linkage) -> bool {
    let slots = array.slots();
    slots.is_some_and(|slots| slots.owner.as_ref().is_some_and(|own| own.linkage() == linkage))
}

/// The steps of an update, done.
struct Change<'a> {
    map: &'a Map,
    index: u32,
    slots: &'a mut Slots,
    runtime: Arc<Runtime>,
    new: Option<Entry>,
    /// What was in the slot.
    old: Option<Entry>,
    /// Cores were synchronised, and nothing was changed since.
    is_synchronized: bool,
    /// What is to be dropped when the array is not locked any more: it may
    /// have sites in this very array.
    released: Option<Entry>,
}

impl Target<usize> for Change<'_> {
    fn exchange(&mut self, _: Option<usize>) {
        self.is_synchronized = false;
        let new = self.new.take();
        let value = new.as_ref().map_or(0, |entry| entry.value);
        if let Ok(slot) = self.map.slot(self.index) {
            slot.store(value, Ordering::Release);
        }
        self.old = match new {
            Some(entry) => self.slots.filled.insert(self.index, entry),
            None => self.slots.filled.remove(&self.index),
        };
    }

    fn poke(&mut self, site: usize, role: Role, old: Insn<usize>, new: Insn<usize>) {
        self.is_synchronized = false;
        let site = &self.slots.sites[&self.index][site].1;
        site.poke(self.runtime.space(), role, old, new);
    }

    fn synchronize(&mut self) {
        // Stores to cells are seen in their order.
        let sites = &self.slots.sites[&self.index];
        let roles = [Role::Bypass, Role::Target];
        if sites.iter().any(|(_, site)| roles.iter().any(|&role| site.is_code(role))) {
            barrier::synchronize_cores();
            self.is_synchronized = barrier::can_synchronize_cores();
        }
    }

    fn grace_period(&mut self) {
        match self.is_synchronized {
            true => readers::wait_for_readers(),
            false => readers::grace_period(),
        }
    }

    fn release(&mut self) {
        self.released = self.old.take();
    }
}

/// Fills or clears a slot; whether that changed it. An error changes nothing.
pub(crate) fn update(
    map: &Map,
    index: u32,
    program: Option<(Entry, &Owner)>,
) -> Result<bool, Error> {
    outside_runs()?;
    map.slot(index)?;
    let Some(mut slots) = map.slots() else { return Ok(false) };
    if let Some((_, owner)) = &program {
        slots.claim(map, owner)?;
    }
    let (changed, released) = change(map, index, &mut slots, program.map(|(entry, _)| entry));
    drop(slots);
    drop(released);
    Ok(changed)
}

/// The same with the array locked: whether the slot changed, and what to drop
/// when it is not locked any more.
fn change(map: &Map, index: u32, slots: &mut Slots, new: Option<Entry>) -> (bool, Option<Entry>) {
    let Some(runtime) = slots.runtime() else {
        return (false, None); // nobody has ever put anything in
    };
    let from = slots.filled.get(&index).map(|entry| entry.landing);
    let to = new.as_ref().map(|entry| entry.landing);
    let sites = slots.sites.get(&index).map_or(0, Vec::len);
    let mut change = Change {
        map,
        index,
        slots,
        runtime,
        new,
        old: None,
        is_synchronized: false,
        released: None,
    };
    perform(Update::new(from, to, sites), &mut change);
    (from != to, change.released)
}

/// An error on a thread that runs a program: it would wait for itself.
pub(crate) fn outside_runs() -> Result<(), Error> {
    if readers::is_reading() {
        return Err(Error::InRun);
    }
    readers::drop_what_was_left();
    Ok(())
}

/// Somebody by whom an array keeps its slots.
pub(crate) struct User(Arc<Map>);

impl User {
    /// None if the map is no program array.
    pub(crate) fn new(map: &Arc<Map>) -> Option<User> {
        map.slots()?.users += 1;
        Some(User(map.clone()))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let map = &self.0;
        let Some(mut slots) = map.slots() else { return };
        slots.users -= 1;
        let mut released = Vec::new();
        if slots.users == 0 {
            let filled: Vec<u32> = slots.filled.keys().copied().collect();
            released.extend(filled.iter().map(|&index| change(map, index, &mut slots, None)));
        }
        drop(slots);
        drop(released);
    }
}

/// A program array of a module, to be changed from any thread at any time.
#[derive(Clone)]
pub struct ProgArray(Arc<Outside<User>>);

impl ProgArray {
    pub(crate) fn new(map: &Arc<Map>) -> Result<ProgArray, Error> {
        outside_runs()?;
        let user = User::new(map).ok_or_else(|| Error::Map {
            map: map.name().to_string(),
            what: "not a program array".into(),
        })?;
        Ok(ProgArray(Arc::new(Outside::new(user))))
    }

    /// The map.
    pub fn map(&self) -> &Arc<Map> {
        &self.0.0
    }

    /// Puts a program, which may be another module's, into a slot; returns
    /// whether it was not there before. From then on every tail call that
    /// begins goes there; when this returns, none goes to what was there before.
    ///
    /// The index must be in range, the program like the others in the array
    /// (`poke/owner.rs`) and able to run, and this thread must not be running
    /// one. Else nothing changes.
    pub fn set(&self, index: u32, program: &Program<'_>) -> Result<bool, Error> {
        let (entry, owner) = program.entry_in_array()?;
        update(self.map(), index, Some((entry, owner)))
    }

    /// Empties a slot; returns whether it was not. When this returns, no tail
    /// call goes to what was there.
    pub fn clear(&self, index: u32) -> Result<bool, Error> {
        update(self.map(), index, None)
    }

    /// The slots that are filled, ascending, and the function of its object
    /// that each leads to.
    pub fn filled(&self) -> Result<Vec<(u32, FuncRef)>, Error> {
        outside_runs()?;
        let slots = self.map().slots();
        let filled = slots.iter().flat_map(|slots| &slots.filled);
        Ok(filled.map(|(&index, entry)| (index, entry.func)).collect())
    }
}
