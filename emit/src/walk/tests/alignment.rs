//! Alignment of the stack, in a function and through calls.

use super::*;

#[test]
fn alignment_is_reported() {
    let one = FuncRef::new(1);
    let call = |asm: &mut Assembler| asm.call_symbol(Symbol::Function(one));
    let walked = sound(|asm, _| {
        call(asm);
        room(asm, AluOp::Sub, 8);
        call(asm);
        room(asm, AluOp::Add, 8);
        asm.ret();
    });
    assert_eq!(walked.calls, [(0, one, false), (9, one, true)]);
    assert!(!walked.wants_alignment);
}

/// A caller that does not align the stack for one that needs it, through a
/// function that does not care.
#[test]
fn alignment_goes_through_calls() {
    let function = |callee: Option<usize>, bytes: i32| {
        sample(|asm, _| {
            room(asm, AluOp::Sub, bytes);
            match callee {
                Some(callee) => asm.call_symbol(Symbol::Function(FuncRef::new(callee))),
                None => asm.call_cell(Symbol::HelperCell(1)),
            }
            room(asm, AluOp::Add, bytes);
            asm.ret();
        })
    };
    let module = |bodies: [CompiledFunction; 3]| crate::CompiledCode {
        architecture: crate::ARCHITECTURE,
        convention: crate::Convention::Saving,
        poking: crate::Poking::Data,
        functions: bodies.into_iter().map(Some).collect(),
        stubs: Default::default(),
    };
    let aligned = module([function(Some(1), 8), function(Some(2), 8), function(None, 8)]);
    assert_eq!(check_module(&aligned), Ok(()));
    let wrong = module([function(Some(1), 16), function(Some(2), 8), function(None, 8)]);
    let callee = FuncRef::new(1);
    let error = WrongCall::Misaligned { function: "sample".into(), at: 4, callee };
    assert_eq!(check_module(&wrong), Err(error));
}
