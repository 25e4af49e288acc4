//! Running programs: executable memory, maps, helpers, contexts.
//!
//! A [`Runtime`] owns one range of code memory. [`Runtime::load`] puts the
//! code of an object there and returns a [`Module`]; [`Interpreted`] offers
//! the same for the bytecode interpreter, with every access checked. Program
//! arrays can change while programs run ([`poke`]).

mod barrier;
mod code;
pub mod ctx;
pub mod env;
pub mod errno;
mod error;
mod format;
pub mod helpers;
mod interpreted;
#[cfg(feature = "kernel")]
pub mod kernel;
pub mod map;
mod memory;
pub mod module;
mod nofault;
pub mod poke;
pub mod readers;

pub use ctx::{Context, Skb, Xdp};
pub use env::{Clock, Environment};
pub use error::Error;
pub use interpreted::Interpreted;
pub use map::Map;
pub use module::{Module, Runtime};
pub use poke::ProgArray;
