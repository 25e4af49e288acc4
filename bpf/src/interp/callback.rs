//! Calls of helpers, and of functions by helpers.
//!
//! A function that a helper calls back runs in a machine of its own: it is an
//! outermost entry, with its own count of tail calls. Frames and instructions
//! count together with those of the caller.

use std::collections::HashMap;

use super::{MAX_FRAMES, Machine};
use crate::helpers::Arg;
use crate::host::Host;
use crate::insn::MAY_GOTO_BUDGET;
use crate::{Error, FuncRef};

/// Where functions are for programs that take their addresses: nowhere that an
/// access could go.
const FUNCTIONS: u64 = 0xffff_8000_0000_0000;

/// The address of a function.
pub(super) fn address(function: FuncRef) -> u64 {
    FUNCTIONS + u64::from(function.as_u32())
}

impl Machine<'_> {
    /// Calls a helper that is not the tail call.
    pub(super) fn call_helper(&mut self, helper: u32, args: [u64; 5]) -> Result<u64, Error> {
        let row = self.object.helper(helper);
        let is_callback = |arg: &Arg| matches!(arg, Arg::Callback { .. });
        match row.args.iter().position(is_callback) {
            None => self.host.call_helper(helper, args).map_err(|what| self.error(what)),
            Some(position) => {
                let function = self.function_at(args[position])?;
                self.call_back(helper, args, function)
            }
        }
    }

    fn function_at(&self, address: u64) -> Result<FuncRef, Error> {
        let index = address.checked_sub(FUNCTIONS).and_then(|index| u32::try_from(index).ok());
        let function = index.filter(|index| *index != u32::MAX).map(FuncRef::from_u32);
        let function = function.filter(|function| self.object.functions.is_valid(*function));
        function.ok_or_else(|| self.error(format!("{address:#x} is no function")))
    }

    fn call_back(&mut self, helper: u32, args: [u64; 5], function: FuncRef) -> Result<u64, Error> {
        let frames_around = self.frames_around + self.frames;
        if frames_around >= MAX_FRAMES {
            return Err(self.error(format!("calls nested deeper than {MAX_FRAMES} frames")));
        }
        let (object, facts, limit) = (self.object, self.facts, self.limit);
        let (profile, left) = (&mut self.profile, &mut self.left);
        let mut failed = None;
        let mut call = |host: &mut dyn Host, args: [u64; 5]| {
            let mut machine = Machine {
                object,
                facts,
                host,
                profile: profile.as_deref_mut(),
                regs: [0; 11],
                function,
                pc: 0,
                callers: Vec::new(),
                may_goto: MAY_GOTO_BUDGET,
                tables: HashMap::new(),
                frames: 0,
                frames_around,
                tail_calls: 0,
                limit,
                left: *left,
            };
            machine.regs[1..6].copy_from_slice(&args);
            let result = machine.run();
            *left = machine.left;
            result.map_err(|error| failed.insert(error).what.clone())
        };
        let result = self.host.call_back(helper, args, &mut call);
        match failed {
            Some(error) => Err(error),
            None => result.map_err(|what| self.error(what)),
        }
    }
}
