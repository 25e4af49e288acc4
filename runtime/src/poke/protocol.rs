//! The order in which a slot and the sites that it leads through are changed.
//!
//! A direct tail-call site consists of two instructions, either of them always
//! a nop or a jump: the *bypass* before the frame is unwound and the *target*
//! after it. Any number of threads runs through them meanwhile.
//!
//! | bypass | target | the site |
//! | --- | --- | --- |
//! | jumps out | nop | is empty: falls through |
//! | nop | jumps to a program | tail-calls |
//! | jumps out | jumps to a program | falls through: on the way from one to the other |
//! | nop | nop | must never be: a frame that is gone would fall through |
//!
//! What a site holds becomes visible to other processors at any time up to the
//! next [`Step::Synchronize`], and not in the order of the pokes. So targets are
//! set and synchronised before the first bypass opens; and after the last
//! bypass has closed, a grace period passes before a target becomes a nop, since
//! a thread may stand behind the bypass. What was in the slot is released after
//! that same grace period. The slot comes first, for those who read it.
//!
//! This module knows no architecture: [`Update`] says the steps and a
//! [`Target`] does them. `poke/model.rs` tries all interleavings of the steps
//! with readers, and finds the fault when one is left out or moved.

/// What an instruction of a site does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Insn<P> {
    /// Goes on behind it.
    Nop,
    /// Jumps to where the site falls through.
    Out,
    /// Jumps to a program.
    To(P),
}

/// An instruction of a site.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Role {
    /// Before the unwinding.
    Bypass,
    /// After it.
    Target,
}

/// Part of an update.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Phase {
    /// The slot gets its new value.
    Exchange,
    /// All instructions of this role, one by one.
    Poke(Role),
    /// Everybody sees what was poked.
    Synchronize,
    /// Everybody who was running has left.
    Grace,
    /// The program that was in the slot is let go.
    Release,
}

/// An empty slot gets a program.
pub(crate) const FILL: &[Phase] = &[
    Phase::Exchange,
    Phase::Poke(Role::Target),
    Phase::Synchronize,
    Phase::Poke(Role::Bypass),
    Phase::Synchronize,
];

/// A slot gets another program: bypasses stay open.
pub(crate) const REPLACE: &[Phase] =
    &[Phase::Exchange, Phase::Poke(Role::Target), Phase::Synchronize, Phase::Grace, Phase::Release];

/// A slot is emptied. Whether the last pokes are seen makes no difference:
/// nobody gets there before a bypass opens, and they are synchronised before.
pub(crate) const CLEAR: &[Phase] = &[
    Phase::Exchange,
    Phase::Poke(Role::Bypass),
    Phase::Synchronize,
    Phase::Grace,
    Phase::Poke(Role::Target),
    Phase::Release,
];

/// One thing to be done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Step<P> {
    /// Give the slot this program.
    Exchange(Option<P>),
    /// Change an instruction of a site.
    Poke(usize, Role, Insn<P>, Insn<P>),
    /// As [`Phase::Synchronize`].
    Synchronize,
    /// As [`Phase::Grace`].
    Grace,
    /// As [`Phase::Release`].
    Release,
}

/// An update of a slot with so many sites, as the steps that are left.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Update<P> {
    old: Option<P>,
    new: Option<P>,
    sites: usize,
    /// The phases that are left, and sites done of the first.
    phases: &'static [Phase],
    done: usize,
}

impl<P: Copy + Eq> Update<P> {
    /// From one content to another; nothing to do if they are the same.
    pub(crate) fn new(old: Option<P>, new: Option<P>, sites: usize) -> Update<P> {
        let phases = match (old, new) {
            _ if old == new => &[],
            (None, _) => FILL,
            (Some(_), Some(_)) => REPLACE,
            (Some(_), None) => CLEAR,
        };
        Update::with_phases(old, new, sites, phases)
    }

    /// The same in another order.
    pub(crate) fn with_phases(
        old: Option<P>,
        new: Option<P>,
        sites: usize,
        phases: &'static [Phase],
    ) -> Update<P> {
        Update { old, new, sites, phases, done: 0 }
    }
}

/// What an instruction of a site is while the slot has this content.
pub(crate) fn insn<P>(role: Role, content: Option<P>) -> Insn<P> {
    match (role, content) {
        (Role::Bypass, None) => Insn::Out,
        (Role::Bypass, Some(_)) | (Role::Target, None) => Insn::Nop,
        (Role::Target, Some(program)) => Insn::To(program),
    }
}

impl<P: Copy + Eq> Iterator for Update<P> {
    type Item = Step<P>;

    fn next(&mut self) -> Option<Step<P>> {
        loop {
            let (&phase, rest) = self.phases.split_first()?;
            let step = match phase {
                Phase::Poke(role) if self.done < self.sites => {
                    let site = self.done;
                    self.done += 1;
                    return Some(Step::Poke(
                        site,
                        role,
                        insn(role, self.old),
                        insn(role, self.new),
                    ));
                }
                // Without sites there is nothing that others might see late.
                Phase::Poke(_) => None,
                Phase::Synchronize if self.sites == 0 => None,
                Phase::Exchange => Some(Step::Exchange(self.new)),
                Phase::Synchronize => Some(Step::Synchronize),
                Phase::Grace => Some(Step::Grace),
                Phase::Release => Some(Step::Release),
            };
            self.phases = rest;
            self.done = 0;
            if step.is_some() {
                return step;
            }
        }
    }
}

/// What does the steps.
pub(crate) trait Target<P> {
    /// Gives the slot its new content.
    fn exchange(&mut self, new: Option<P>);
    /// Changes an instruction of a site.
    fn poke(&mut self, site: usize, role: Role, old: Insn<P>, new: Insn<P>);
    /// Returns once everybody sees what was poked.
    fn synchronize(&mut self);
    /// Returns once everybody who was running has left.
    fn grace_period(&mut self);
    /// Lets go of what was in the slot.
    fn release(&mut self);
}

/// Does the whole update.
pub(crate) fn perform<P: Copy + Eq>(update: Update<P>, target: &mut impl Target<P>) {
    for step in update {
        match step {
            Step::Exchange(new) => target.exchange(new),
            Step::Poke(site, role, old, new) => target.poke(site, role, old, new),
            Step::Synchronize => target.synchronize(),
            Step::Grace => target.grace_period(),
            Step::Release => target.release(),
        }
    }
}
