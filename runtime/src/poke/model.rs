//! The protocol, with every interleaving tried.
//!
//! A world has one slot, two direct sites and an indirect one that lead through
//! it (the second direct one is made known on the way), two programs, readers,
//! and a writer, who stands for any number of them since they hold the array's
//! lock. The writer takes its steps from [`Update`] itself. A reader goes
//! through the sites one after the other, or around one; the program that it
//! gets to does the same once more, or leaves.
//!
//! What makes it harder than a sequence of steps: until cores are synchronised
//! a reader may execute any version of an instruction since the last time,
//! again and again in any order; the slot and a reader's mark are seen late,
//! until a barrier; a replaced program's memory is free at once, and loaded
//! again.
//!
//! From the empty world all reachable states are visited. Wrong are: a reader
//! behind a bypass finds a nop (an unwound frame falls through); a reader is in
//! a program that is gone, or about to jump there. That the search would find
//! such a state is tried with orders that are wrong.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::protocol::*;

/// A program, by number.
type Program = u8;

/// What others see of something that changes: what it is, or what it was.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct View<T> {
    now: T,
    /// No two alike, and none like now.
    before: Vec<T>,
}

impl<T: Copy + Eq + Ord> View<T> {
    fn new(now: T) -> View<T> {
        View { now, before: Vec::new() }
    }

    fn change(&mut self, new: T) {
        self.before.push(self.now);
        self.before.retain(|&old| old != new);
        self.before.sort_unstable();
        self.before.dedup();
        self.now = new;
    }

    fn settle(&mut self) {
        self.before.clear();
    }

    fn seen(&self) -> impl Iterator<Item = T> {
        std::iter::once(self.now).chain(self.before.iter().copied())
    }
}

/// Where a reader is. The last number counts programs entered by tail calls.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum At {
    Outside,
    /// Before the bypass of a direct site, or at the indirect one behind them.
    Site(usize, u8),
    /// Between the two instructions of a direct site.
    Behind(usize, u8),
    /// At the indirect site, with what it read.
    Loaded(Program, u8),
    Running(Program, u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Reader {
    at: At,
    /// Others see that it reads.
    marked: bool,
}

/// An update under way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Writer {
    update: Update<Program>,
    old: Option<Program>,
    /// Readers to wait for, as bits.
    waiting: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    slot: View<Option<Program>>,
    /// Bypass and target.
    sites: [[View<Insn<Program>>; 2]; 2],
    /// So many are known.
    known: usize,
    /// Of the second site: what the slot was found to be, before it is known.
    looked: Option<Option<Program>>,
    /// The memory of a program is free.
    gone: [bool; 2],
    writer: Option<Writer>,
    readers: Vec<Reader>,
}

/// What is tried: the protocol, or something that it must not be.
#[derive(Clone, Copy)]
struct Rules {
    fill: &'static [Phase],
    replace: &'static [Phase],
    clear: &'static [Phase],
    /// A grace period starts with a barrier.
    barrier: bool,
    /// Sites are made known under the array's lock.
    locked: bool,
    readers: usize,
}

const RULES: Rules =
    Rules { fill: FILL, replace: REPLACE, clear: CLEAR, barrier: true, locked: true, readers: 2 };

type Next = (String, World);

impl World {
    fn new(readers: usize, known: usize) -> World {
        let site = || [Role::Bypass, Role::Target].map(|role| View::new(insn(role, None)));
        World {
            slot: View::new(None),
            sites: [site(), site()],
            known,
            looked: None,
            gone: [true; 2],
            writer: None,
            readers: vec![Reader { at: At::Outside, marked: false }; readers],
        }
    }

    /// What is wrong, if anything is.
    fn wrong(&self) -> Option<String> {
        for (number, reader) in self.readers.iter().enumerate() {
            if let At::Loaded(program, _) | At::Running(program, _) = reader.at
                && self.gone[program as usize]
            {
                return Some(format!("reader {number} is in program {program}, which is gone"));
            }
        }
        None
    }

    /// All states that may follow.
    fn next(&self, rules: &Rules) -> Result<Vec<Next>, String> {
        let mut next = Vec::new();
        for number in 0..self.readers.len() {
            self.reader(number, &mut next)?;
        }
        match &self.writer {
            Some(writer) => self.step(writer, rules, &mut next)?,
            None => self.begin(rules, &mut next),
        }
        self.publication(rules, &mut next);
        Ok(next)
    }

    /// The steps of a reader.
    fn reader(&self, number: usize, next: &mut Vec<Next>) -> Result<(), String> {
        let Reader { at, marked } = self.readers[number];
        let mut to = |what: &str, at: At| {
            let mut world = self.clone();
            world.readers[number].at = at;
            if at == At::Outside {
                world.readers[number].marked = false;
                if let Some(writer) = &mut world.writer {
                    writer.waiting &= !(1 << number);
                }
            }
            next.push((format!("reader {number} {what}"), world));
        };
        match at {
            At::Outside => to("enters", At::Site(0, 0)),
            At::Site(site, hops) if site < self.known => {
                to("goes around a site", At::Site(site + 1, hops));
                for seen in self.sites[site][0].seen() {
                    match seen {
                        Insn::Nop => to("passes a bypass", At::Behind(site, hops)),
                        _ => to("falls through", At::Site(site + 1, hops)),
                    }
                }
            }
            At::Site(_, hops) => {
                for seen in self.slot.seen() {
                    match seen {
                        Some(program) => to("reads the slot", At::Loaded(program, hops)),
                        None => to("finds the slot empty and leaves", At::Outside),
                    }
                }
            }
            At::Behind(site, hops) => {
                for seen in self.sites[site][1].seen() {
                    match seen {
                        Insn::To(program) => to("jumps", At::Running(program, hops + 1)),
                        _ => return Err(format!("reader {number} falls through unwound")),
                    }
                }
            }
            At::Loaded(program, hops) => to("jumps", At::Running(program, hops + 1)),
            At::Running(_, hops) => {
                if hops < 2 {
                    to("gets to a tail call", At::Site(0, hops));
                }
                to("leaves", At::Outside);
            }
        }
        if at != At::Outside && !marked {
            let mut world = self.clone();
            world.readers[number].marked = true;
            next.push((format!("the mark of reader {number} is seen"), world));
        }
        Ok(())
    }

    /// The writer's next step.
    fn step(&self, writer: &Writer, rules: &Rules, next: &mut Vec<Next>) -> Result<(), String> {
        if writer.waiting != 0 {
            return Ok(());
        }
        let mut world = self.clone();
        let own = world.writer.as_mut().expect("there is a writer");
        let step = own.update.next();
        match step {
            Some(Step::Exchange(new)) => world.slot.change(new),
            Some(Step::Poke(site, role, old, new)) => {
                let view = &mut world.sites[site][role as usize];
                if view.now != old {
                    return Err(format!("{role:?} of site {site} is not {old:?}"));
                }
                view.change(new);
            }
            Some(Step::Synchronize) => {
                world.slot.settle();
                world.sites.iter_mut().flatten().for_each(View::settle);
                world.readers.iter_mut().for_each(|r| r.marked = r.at != At::Outside);
            }
            Some(Step::Grace) => {
                if rules.barrier {
                    world.slot.settle();
                    world.readers.iter_mut().for_each(|r| r.marked = r.at != At::Outside);
                }
                let marked = world.readers.iter().enumerate().filter(|(_, r)| r.marked);
                own.waiting = marked.map(|(number, _)| 1 << number).sum();
            }
            Some(Step::Release) => {
                if let Some(old) = own.old {
                    world.gone[old as usize] = true;
                }
            }
            // To unlock is a barrier for the writer's own stores.
            None => {
                world.slot.settle();
                world.writer = None;
            }
        }
        let what = step.map_or("is done".to_string(), |step| format!("{step:?}"));
        next.push((format!("writer: {what}"), world));
        Ok(())
    }

    /// The writer begins to set, replace or clear.
    fn begin(&self, rules: &Rules, next: &mut Vec<Next>) {
        let old = self.slot.now;
        for new in [None, Some(0), Some(1)] {
            let phases = match (old, new) {
                _ if old == new => continue,
                (None, _) => rules.fill,
                (Some(_), Some(_)) => rules.replace,
                (Some(_), None) => rules.clear,
            };
            let mut world = self.clone();
            if let Some(new) = new {
                if !self.gone[new as usize] {
                    continue; // a wrong order without release: nothing to load
                }
                world.gone[new as usize] = false;
            }
            let update = Update::with_phases(old, new, self.known, phases);
            world.writer = Some(Writer { update, old, waiting: 0 });
            next.push((format!("writer: from {old:?} to {new:?}"), world));
        }
    }

    /// A module with the second site is loaded.
    fn publication(&self, rules: &Rules, next: &mut Vec<Next>) {
        if self.known != 1 || (rules.locked && self.writer.is_some()) {
            return;
        }
        let mut world = self.clone();
        match self.looked {
            // Under the lock nothing can come between.
            None if rules.locked => world.know(self.slot.now),
            None => world.looked = Some(self.slot.now),
            Some(content) => world.know(content),
        }
        next.push(("a site is made known".into(), world));
    }

    fn know(&mut self, content: Option<Program>) {
        self.sites[1] = [Role::Bypass, Role::Target].map(|role| View::new(insn(role, content)));
        self.known = 2;
        self.looked = None;
    }
}

/// The steps to a state, and what comes then.
fn way(states: &[(World, usize, String)], what: String, mut at: usize) -> String {
    let mut lines = vec![what];
    while at != 0 {
        lines.push(states[at].2.clone());
        at = states[at].1;
    }
    lines.reverse();
    lines.join("\n")
}

/// Visits all states: how many there are, or the shortest way to a wrong one.
fn explore(rules: &Rules) -> Result<usize, String> {
    explore_from(World::new(rules.readers, 1), rules)
}

fn explore_from(first: World, rules: &Rules) -> Result<usize, String> {
    let mut seen = HashMap::from([(first.clone(), 0)]);
    // Each with the one that it was first reached from, and how.
    let mut states = vec![(first, 0, String::new())];
    let mut at = 0;
    while at < states.len() {
        let world = states[at].0.clone();
        let next = world.next(rules).map_err(|what| way(&states, what, at))?;
        for (how, world) in next {
            if let Some(what) = world.wrong() {
                return Err(way(&states, format!("{how}\n{what}"), at));
            }
            let number = states.len();
            if let Entry::Vacant(entry) = seen.entry(world) {
                states.push((entry.key().clone(), at, how));
                entry.insert(number);
            }
        }
        at += 1;
    }
    Ok(states.len())
}

#[test]
fn no_state_is_wrong() {
    for readers in [1, 2] {
        let states = explore(&Rules { readers, ..RULES }).unwrap_or_else(|way| panic!("{way}"));
        println!("{readers} readers: {states} states, none wrong");
        assert!(states > 1000, "{states}");
    }
}

/// What a wrong order leads to.
fn fault(rules: Rules) -> String {
    match explore(&rules) {
        Err(way) => {
            println!("{way}\n");
            way.lines().last().unwrap_or_default().into()
        }
        Ok(states) => panic!("none of {states} states is wrong"),
    }
}

const TARGETS: Phase = Phase::Poke(Role::Target);
const BYPASSES: Phase = Phase::Poke(Role::Bypass);
use Phase::{Exchange, Grace, Release, Synchronize};

/// Rules with one reader, which is enough for every fault.
const ONE: Rules = Rules { readers: 1, ..RULES };

#[test]
fn bypass_first_when_set_is_found() {
    let fill = &[Exchange, BYPASSES, Synchronize, TARGETS, Synchronize];
    assert_eq!(fault(Rules { fill, ..ONE }), "reader 0 falls through unwound");
}

#[test]
fn no_synchronisation_between_is_found() {
    let fill = &[Exchange, TARGETS, BYPASSES, Synchronize];
    assert_eq!(fault(Rules { fill, ..ONE }), "reader 0 falls through unwound");
}

#[test]
fn target_first_when_cleared_is_found() {
    let clear = &[Exchange, TARGETS, Synchronize, Grace, BYPASSES, Synchronize, Release];
    assert_eq!(fault(Rules { clear, ..ONE }), "reader 0 falls through unwound");
}

#[test]
fn no_grace_period_when_cleared_is_found() {
    let clear = &[Exchange, BYPASSES, Synchronize, TARGETS, Synchronize, Release];
    assert!(fault(Rules { clear, ..ONE }).starts_with("reader 0 "));
}

#[test]
fn no_synchronisation_before_the_grace_period_is_found() {
    let clear = &[Exchange, BYPASSES, Grace, TARGETS, Synchronize, Release];
    assert!(fault(Rules { clear, ..ONE }).starts_with("reader 0 "));
}

#[test]
fn no_grace_period_when_replaced_is_found() {
    let replace = &[Exchange, TARGETS, Synchronize, Release];
    assert!(fault(Rules { replace, ..ONE }).ends_with("which is gone"));
}

#[test]
fn a_grace_period_before_the_sites_is_found() {
    let replace = &[Exchange, Grace, TARGETS, Synchronize, Release];
    assert!(fault(Rules { replace, ..ONE }).ends_with("which is gone"));
}

#[test]
fn a_slot_exchanged_last_is_found() {
    let replace = &[TARGETS, Synchronize, Grace, Exchange, Release];
    assert!(fault(Rules { replace, ..ONE }).ends_with("which is gone"));
}

#[test]
fn a_grace_period_without_barrier_is_found() {
    // The order without sites, where no synchronisation serves as one.
    let clear = &[Exchange, Grace, Release];
    let (fill, replace) = (&[Exchange], &[Exchange, Grace, Release]);
    let data = Rules { fill, replace, clear, ..ONE };
    assert!(explore_data(&data).is_ok());
    assert!(explore_data(&Rules { barrier: false, ..data }).is_err());
}

/// The search without direct sites.
fn explore_data(rules: &Rules) -> Result<usize, String> {
    explore_from(World::new(rules.readers, 0), rules)
}

#[test]
fn a_site_made_known_without_the_lock_is_found() {
    fault(Rules { locked: false, ..ONE });
}
