//! Contexts as compiled code sees them. The layouts are those of
//! `tailor_bpf::ctx`; a test compares the two.
//!
//! A context's native structure starts with the fields that programs see.
//! Behind them lies what helpers need besides: the bounds within which a packet
//! can grow, where its headers are. Programs and helpers change all this
//! through the address that the program was given, so the structures live in
//! cells, and the host looks at them through addresses too.

mod buffer;
mod skb;
mod xdp;

pub use skb::Skb;
pub(crate) use skb::{Hash, SkBuff, TunnelKey};
use tailor_bpf::ProgramKind;
use tailor_bpf::ctx::KINDS;
pub use xdp::Xdp;
pub(crate) use xdp::XdpBuff;

use crate::Error;

/// What a program can be run on.
pub trait Context {
    /// R1 and R2 at entry.
    fn args(&mut self) -> [u64; 2];
    /// Address and length of all memory that the program may touch through
    /// them, a declared context's own fields aside. Helpers that move the packet
    /// change it.
    fn regions(&self) -> Vec<(u64, usize)>;
    /// Its kind, an index into `tailor_bpf::ctx::KINDS`; none for plain memory.
    fn kind(&self) -> Option<u8>;
    /// The packet as it is now, metadata first if there is any; or the memory.
    fn data(&self) -> Vec<u8>;
}

/// The context that programs of a kind run on, for a packet (or other memory)
/// that starts with its Ethernet header. The packet has room to grow, and
/// changes of it show in [`Context::data`] only, unless it is plain memory.
pub fn for_program(kind: ProgramKind, data: &mut [u8]) -> Box<dyn Context + '_> {
    match kind {
        ProgramKind::Xdp => Box::new(Xdp::with_room(data)),
        _ if kind.context().is_some() => Box::new(Skb::new(kind, data)),
        _ => Box::new(data),
    }
}

/// Whether programs of a kind run on a context. Those whose context is not
/// declared run on any.
pub(crate) fn check(kind: ProgramKind, context: &dyn Context) -> Result<(), Error> {
    match kind.context() {
        Some(wanted) if context.kind() != Some(wanted) => {
            Err(Error::Context(KINDS[wanted as usize].name))
        }
        _ => Ok(()),
    }
}

/// Plain memory: R1 = its address, R2 = its length. Also an opaque context.
impl Context for &mut [u8] {
    fn args(&mut self) -> [u64; 2] {
        // An empty slice has a dangling address; a program gets 0.
        let address = if self.is_empty() { 0 } else { self.as_mut_ptr() as u64 };
        [address, self.len() as u64]
    }

    fn regions(&self) -> Vec<(u64, usize)> {
        vec![(self.as_ptr() as u64, self.len())]
    }

    fn kind(&self) -> Option<u8> {
        None
    }

    fn data(&self) -> Vec<u8> {
        self.to_vec()
    }
}

#[cfg(test)]
mod tests;
