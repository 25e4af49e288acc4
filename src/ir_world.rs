//! The world of a running program as the IR's interpreter wants to see it: that
//! of the bytecode interpreter, with context fields found as for the target.

use tailor_bpf::helpers::{Arg, NO_HELPER, by_number, helper};
use tailor_bpf::host::Host;
use tailor_bpf::{Error, FuncRef, MapRef, Size};
use tailor_ir::{Module, interp};

use crate::engine::ctx_field;

/// Addresses of functions that helpers call back: nowhere that an access could go.
const FUNCTIONS: u64 = 0xffff_9000_0000_0000;

/// Runs a function of a module in at most so many steps.
pub(crate) fn run(
    module: &Module,
    func: FuncRef,
    args: &[u64],
    host: &mut dyn Host,
    limit: u64,
) -> Result<u64, Error> {
    let mut world = World { module, host, limit };
    interp::run(module, func, args, &mut world, limit)
        .map_err(|error| Error::at(&error.name, error.origin as usize, error.cause.to_string()))
}

struct World<'a> {
    module: &'a Module,
    host: &'a mut dyn Host,
    limit: u64,
}

impl World<'_> {
    /// The function that an address made by `func_address` stands for.
    fn function_at(&self, address: u64) -> Result<FuncRef, String> {
        let index = address.checked_sub(FUNCTIONS).and_then(|index| u32::try_from(index).ok());
        let func = index.filter(|&index| index != u32::MAX).map(FuncRef::from_u32);
        let func = func.filter(|&func| self.module.functions.is_valid(func));
        func.ok_or_else(|| format!("{address:#x} is no function"))
    }
}

impl interp::Host for World<'_> {
    fn push_frame(&mut self, bytes: u32) -> Result<u64, String> {
        self.host.push_frame(bytes)
    }

    fn pop_frame(&mut self) {
        self.host.pop_frame();
    }

    fn load(&mut self, address: u64, size: Size) -> Result<u64, String> {
        self.host.load(address, size)
    }

    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), String> {
        self.host.store(address, size, value)
    }

    fn map_address(&mut self, map: MapRef) -> Result<u64, String> {
        self.host.map_address(map)
    }

    fn map_value_address(&mut self, map: MapRef) -> Result<u64, String> {
        self.host.map_value_address(map)
    }

    fn func_address(&mut self, func: FuncRef) -> Result<u64, String> {
        Ok(FUNCTIONS + u64::from(func.as_u32()))
    }

    fn call_helper(&mut self, number: u32, args: [u64; 5]) -> Result<u64, String> {
        let mut kinds = helper(number).args.iter();
        let Some(position) = kinds.position(|kind| matches!(kind, Arg::Callback { .. })) else {
            return self.host.call_helper(number, args);
        };
        let func = self.function_at(args[position])?;
        let (module, limit) = (self.module, self.limit);
        let mut call = |host: &mut dyn Host, args: [u64; 5]| {
            run(module, func, &args, host, limit).map_err(|error| error.to_string())
        };
        self.host.call_back(number, args, &mut call)
    }

    fn call_number(&mut self, number: u64, args: [u64; 5]) -> Result<u64, String> {
        match by_number(number).filter(|&helper| self.host.has_helper(helper)) {
            Some(helper) => self.call_helper(helper, args),
            None => Ok(NO_HELPER),
        }
    }

    fn tail_call_target(&mut self, array: u64, index: u32) -> Result<Option<FuncRef>, String> {
        self.host.tail_call_target(array, index)
    }

    fn ctx_load(&mut self, kind: u8, field: u8, ctx: u64) -> Result<u64, String> {
        let field = ctx_field(kind, field);
        self.host.load(ctx.wrapping_add_signed(field.offset.into()), field.size)
    }

    fn ctx_store(&mut self, kind: u8, field: u8, ctx: u64, value: u64) -> Result<(), String> {
        let field = ctx_field(kind, field);
        self.host.store(ctx.wrapping_add_signed(field.offset.into()), field.size, value)
    }
}
