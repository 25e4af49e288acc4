//! How much stack chains of tail calls can pile up.
//!
//! A tail call in a subprogram drops that subprogram's frame only: those of its
//! callers stay, below them the target starts over, and 33 tail calls may
//! succeed. So what lies above a tail call is limited, twice:
//!
//! - in eBPF stack, for all engines alike, to less than 256 bytes: the kernel's
//!   rule (`check_max_stack_depth`), each frame rounded up to 16 bytes and at
//!   least that, as the kernel counts with a JIT;
//! - in native frames, saved registers, spill slots and return addresses
//!   included, to less than 2 KiB for each engine, so that whatever the compiler
//!   makes of it a chain never piles up more than 33 x 2 KiB.

use std::collections::BTreeMap;

use cranelift_entity::EntitySet;

use crate::facts::Facts;
use crate::insn::{Callee, Op};
use crate::{Error, FuncRef, Object, ProgId};

/// Bytes of eBPF stack that callers' frames must stay below.
const EBPF_LIMIT: u32 = 256;
/// Frames of eBPF stack are multiples of this.
const ROUNDED: u32 = 16;
/// Bytes of native stack that callers' frames must stay below.
const NATIVE_LIMIT: u32 = 2048;

/// What is wrong with a program's chains in eBPF stack, if anything is; the
/// error names the calls. Facts must be those of the object.
pub fn check(object: &Object, facts: &Facts, program: ProgId) -> Option<Error> {
    let depth = |func| facts.functions[func].stack_depth.max(1).next_multiple_of(ROUNDED);
    Search { object, facts, frame: &depth }.check(program, EBPF_LIMIT, "stack")
}

/// The same in native stack: `frame` gives the bytes of a function's frame and
/// its return address.
pub fn check_native(
    object: &Object,
    facts: &Facts,
    program: ProgId,
    frame: &dyn Fn(FuncRef) -> u32,
) -> Option<Error> {
    Search { object, facts, frame }.check(program, NATIVE_LIMIT, "native stack")
}

/// The worst way to each function that a program calls: bytes of its callers' frames,
/// and the last of them.
type Ways = BTreeMap<FuncRef, (u32, Option<FuncRef>)>;

struct Search<'a> {
    object: &'a Object,
    facts: &'a Facts,
    frame: &'a dyn Fn(FuncRef) -> u32,
}

impl Search<'_> {
    fn check(&self, program: ProgId, limit: u32, of: &str) -> Option<Error> {
        let Search { object, facts, .. } = *self;
        let program = &object.programs[program];
        if !facts.functions[program.function].reaches_tail_call {
            return None;
        }
        let ways = self.ways(program.function);
        let found = ways.keys().find_map(|&func| {
            let pc = *facts.functions[func].tail_calls.keys().next()?;
            let (above, caller) = ways[&func];
            (caller.is_some() && above >= limit).then_some((func, pc, above))
        });
        let (func, pc, above) = found?;
        let what = format!(
            "a tail call in {}: the callers' frames take {above} bytes of {of}, which up to 33 \
             tail calls pile up; less than {limit} are allowed",
            self.chain(&ways, func)
        );
        Some(Error::at(&object.functions[func].name, pc as usize, what).in_program(&program.name))
    }

    fn ways(&self, entry: FuncRef) -> Ways {
        let Search { object, facts, frame } = *self;
        let mut ways = Ways::from([(entry, (0, None))]);
        // Callers first. A recursive call, which no verifier accepts, is passed over.
        let mut done = EntitySet::new();
        for func in facts.calls.callees_first([entry]).into_iter().rev() {
            done.insert(func);
            let Some(&(above, _)) = ways.get(&func) else { continue };
            let above = above.saturating_add(frame(func));
            for op in &object.functions[func].ops {
                if let Op::Call(Callee::Function(callee)) = *op
                    && object.functions.is_valid(callee)
                    && !done.contains(callee)
                    && ways.get(&callee).is_none_or(|&(known, _)| known < above)
                {
                    ways.insert(callee, (above, Some(func)));
                }
            }
        }
        ways
    }

    /// The calls on the worst way to a function.
    fn chain(&self, ways: &Ways, mut func: FuncRef) -> String {
        let mut names = vec![self.object.functions[func].name.as_str()];
        while let Some(&(_, Some(caller))) = ways.get(&func) {
            names.push(&self.object.functions[caller].name);
            func = caller;
        }
        names.reverse();
        names.join(" -> ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse_object;

    /// A program whose frame, and whose callee's, are so large, above a tail call.
    fn checked(main: u32, middle: u32) -> Option<String> {
        let text = format!(
            "map map0 \"jmp\" prog_array key 4 value 4 entries 1
            program f0 \"main\" xdp
              *(u8 *)(r10 - {main}) = 1
              call f1
              exit
            function f1 \"f\"
              *(u8 *)(r10 - {middle}) = 1
              call f2
              exit
            function f2 \"g\"
              *(u64 *)(r10 - 512) = 1
              r2 = map0 ll
              r3 = 0
              call 12
              r0 = 0
              exit
            program f3 \"direct\" xdp
              call f2
              exit"
        );
        let object = parse_object(&text).unwrap();
        let (facts, errors) = crate::analyze(&object);
        assert!(errors.is_empty(), "{errors:?}");
        let mut programs = object.programs.keys();
        let [main, direct] = [programs.next(), programs.next()].map(Option::unwrap);
        assert_eq!(check(&object, &facts, direct), None);
        check(&object, &facts, main).map(|error| error.to_string())
    }

    /// The rounded frames of the callers count, not that of the function itself.
    #[test]
    fn callers_frames_are_limited() {
        assert_eq!(checked(120, 112), None, "128 + 112");
        assert_eq!(checked(16, 224), None, "16 + 224");
        let what = "main: g+4: a tail call in main -> f -> g: the callers' frames take 256 bytes \
                    of stack, which up to 33 tail calls pile up; less than 256 are allowed";
        assert_eq!(checked(120, 113).as_deref(), Some(what), "128 + 128");
        assert!(checked(1, 240).unwrap().contains("256 bytes"), "16 + 240");
    }

    /// Native frames are those of the code, whatever the eBPF stack.
    #[test]
    fn native_frames_are_limited() {
        let text = "map map0 \"jmp\" prog_array key 4 value 4 entries 1
            program f0 \"main\" xdp
              call f1
              exit
            function f1 \"g\"
              r2 = map0 ll
              r3 = 0
              call 12
              r0 = 0
              exit";
        let object = parse_object(text).unwrap();
        let (facts, _) = crate::analyze(&object);
        let main = object.programs.keys().next().unwrap();
        assert_eq!(check_native(&object, &facts, main, &|_| 2047), None);
        let found = check_native(&object, &facts, main, &|_| 2048).unwrap().to_string();
        assert!(found.starts_with("main: g+3: a tail call in main -> g: "), "{found}");
        assert!(found.contains("2048 bytes of native stack"), "{found}");
    }
}
