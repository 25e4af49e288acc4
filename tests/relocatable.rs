//! Relocatable files: their unwind table, their poke section, and C programs
//! linked against them.

#[path = "relocatable/linked.rs"]
mod linked;
mod units;
#[path = "relocatable/unwind.rs"]
mod unwind;

use units::examples;
