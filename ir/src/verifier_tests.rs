//! Every rule of the verifier has a function that breaks it and nothing else.

use crate::Terminator;
use crate::text::{parse_function, parse_module};
use crate::verifier::{verify_function, verify_module};
use crate::{Block, FuncRef, Function, Inst, InstData, Opcode, Payload, Type, Value, ValueDef};

const GOOD: &str = r#"function f0 "good" reaches_tail_call {
    ss0 = slot 16 align 8
    fn0 = helper 1 "map_lookup_elem" arity 2 reads
block0(v0: i64, v1: i64):
    v2 = iconst.i64 42
    v3 = load.i32 u8 v0+4 packet
    v4 = stack_addr ss0+8
    v5 = call_ext fn0(v0, v4)
    branch eq.i32 v3, v3, block1(v2, v3), block2
block1(v6: i64, v7: i32) freq 0.5:
    tail_call v0, v5, v6, block2
block2:
    return v2
block3:
    v9 = iadd.i64 v8, v8
    v8 = iadd.i64 v9, v6
    jump block2
}
"#;

fn good() -> Function {
    parse_function(GOOD).unwrap()
}

fn errors(function: &Function) -> String {
    match verify_function(function) {
        Ok(()) => String::new(),
        Err(errors) => errors.to_string(),
    }
}

/// The errors of a function with these lines in place of one of [`GOOD`]'s.
fn with_line(line: usize, text: &str) -> String {
    let mut lines: Vec<&str> = GOOD.lines().collect();
    lines[line - 1] = text;
    errors(&parse_function(&lines.join("\n")).unwrap())
}

fn line_of(line: usize, message: &str) -> String {
    format!("f0, line {line}: {message}")
}

#[test]
fn a_good_function_has_no_errors() {
    // Order means nothing in block3, which cannot be reached.
    assert_eq!(errors(&good()), "");
}

/// Line of [`GOOD`], what it becomes, what is wrong with it then.
const BROKEN_LINES: &str = r#"
2  | ss0 = slot 16 align 3 | the alignment is no power of two, or above 16
2  | ss0 = slot 16 align 0 | the alignment is no power of two, or above 16
2  | ss0 = slot 16 align 32 | the alignment is no power of two, or above 16
5  | v2 = iadd.i64 v0, v99 | v99 is not defined in any block
5  | v2 = iadd.i64 v0, v5 | v5 is defined in block0, not always before here
5  | v2 = iadd.i64 v0, v6 | v6 is defined in block1, not always before here
5  | v2 = iadd.i64 v0, v2 | v2 is defined in block0, not always before here
6  | v3 = load.i32 u64 v0 packet | an access of u64 as i32
6  | v3 = load.i32 u8 v0 ss1 | ss1 is not declared
7  | v4 = atomic_cas.i64 u8 v0, v2, v2 any | an access of u8 as i64
7  | v4 = atomic_fetch.i64 or v0, v2 ss1 | ss1 is not declared
7  | v4 = stack_addr ss1 | ss1 is not declared
7  | v4 = iadd.i64 v0, v3 | operand v3 is i32, not i64
8  | v5 = call_ext fn1() | fn1 is not declared
8  | v5 = call_ext fn0(v0) | "map_lookup_elem" takes 2 arguments
8  | v5 = call_ext fn0(v0, v3) | operand v3 is i32, not i64
8  | v5 = call f1(v0, v0, v0, v0, v0, v0) | a call has at most 5 operands
9  | branch eq.i64 v3, v2, block1(v2, v3), block2 | left side v3 is i32, not i64
9  | branch eq.i64 v2, v3, block1(v2, v3), block2 | right side v3 is i32, not i64
9  | branch eq.i32 v3, v3, block1(v2, v2), block2 | argument of block1 v2 is i64, not i32
9  | branch eq.i32 v3, v3, block1(v2), block2 | block1 takes 2 arguments, not 1
9  | branch eq.i32 v3, v3, block1(v2, v3), block2(v2) | block2 takes 0 arguments, not 1
9  | branch eq.i32 v3, v3, block0(v2, v2), block1(v2, v3) | a jump to the entry
9  | branch eq.i32 v3, v3, block1(v6, v3), block2 | v6 is defined in block1, not always before here
9  | unterminated | the block has no terminator
9  | jump block9 | block9 is not in the layout
11 | tail_call v7, v5, v6, block2 | context v7 is i32, not i64
11 | tail_call v0, v7, v6, block2 | array v7 is i32, not i64
11 | tail_call v0, v5, v7, block2 | index v7 is i32, not i64
13 | return v3 | return value v3 is i32, not i64
13 | return v6 | v6 is defined in block1, not always before here
15 | v9 = iadd.i64 v10, v8 | v10 is not defined in any block
"#;

#[test]
fn broken_lines_are_found() {
    for row in BROKEN_LINES.trim().lines() {
        let mut cells = row.split('|').map(str::trim);
        let mut cell = || cells.next().unwrap();
        let line = cell().parse().unwrap();
        assert_eq!(with_line(line, cell()), line_of(line, cell()), "{row}");
    }
}

#[test]
fn headers_are_checked() {
    let tail_call = "a tail call in a function that says it reaches none";
    assert_eq!(with_line(1, "function f0 \"good\" {"), line_of(11, tail_call));
    assert_eq!(
        with_line(4, "block0(v0: i64, v1: i32):"),
        line_of(4, "parameter v1 is i32, not i64")
    );
    let six = "block0(v0: i64, v1: i64, v10: i64, v11: i64, v12: i64, v13: i64):";
    assert_eq!(with_line(4, six), line_of(4, "a function has at most 5 parameters"));
    assert!(
        with_line(3, "fn0 = helper 1 \"map_lookup_elem\" arity 6")
            .contains(&line_of(3, "a helper takes at most 5 arguments"))
    );
}

/// A change that no text can make, where the errors are, and what they say.
fn after(change: impl FnOnce(&mut Function)) -> String {
    let mut function = good();
    change(&mut function);
    // Listings are made of broken functions too.
    let lines = function.to_string().lines().count();
    let result = verify_function(&function).unwrap_err();
    assert!(result.0.iter().all(|error| error.line <= lines));
    result.to_string()
}

fn inst(number: u32) -> Inst {
    Inst::from_u32(number)
}

#[test]
fn the_layout_is_checked() {
    let b = Block::from_u32;
    assert_eq!(after(|f| f.layout.swap(0, 2)), line_of(1, "the entry block0 is not first"));
    assert_eq!(after(|f| f.layout.clear()), line_of(1, "the entry block0 is not first"));
    assert_eq!(after(|f| f.layout.push(b(1))), line_of(18, "block1 stands in the layout twice"));
    assert_eq!(after(|f| f.layout.push(b(44))), line_of(18, "block44 does not exist"));
    assert_eq!(
        after(|f| {
            f.entry = b(44);
            f.layout[0] = b(44);
        }),
        "f0, line 1: the entry does not exist\nf0, line 4: block44 does not exist"
    );
    assert_eq!(
        after(|f| f.blocks[b(2)].insts.push(inst(77))),
        line_of(13, "inst77 does not exist")
    );
    assert_eq!(
        after(|f| f.blocks[b(2)].insts.push(inst(0))),
        line_of(13, "inst0 stands in block0 already")
    );
    let negative = "the frequency is negative or not finite";
    for frequency in [-1.0, -0.0, f64::NAN, f64::INFINITY] {
        let found = after(|f| f.blocks[f.entry].frequency = frequency);
        assert_eq!(found, line_of(4, negative));
    }
    // The text form has no negative zero.
    for chance in [-0.5, -0.0, 1.5, f64::NAN] {
        let found = after(|f| match &mut f.blocks[b(1)].term {
            Terminator::TailCall { succeeds, .. } => *succeeds = chance,
            _ => unreachable!(),
        });
        assert_eq!(found, line_of(11, "the chance of a tail call is not from 0 to 1"));
    }
    let target = after(|f| f.blocks[b(3)].term.targets_mut()[0].block = b(50));
    assert_eq!(target, line_of(17, "block50 does not exist"));
}

#[test]
fn definitions_are_checked() {
    let v = Value::from_u32;
    assert!(
        after(|f| f.values[v(2)].def = ValueDef::Param(f.entry, 0))
            .contains(&line_of(5, "v2 is defined elsewhere (Param(block0, 0))"))
    );
    assert!(
        after(|f| f.values[v(7)].def = ValueDef::Param(Block::from_u32(1), 0))
            .contains("line 10: v7 is defined elsewhere (Param(block1, 0))")
    );
    assert!(after(|f| f.results[inst(0)] = v(3).into()).contains("v3 is defined elsewhere"));
    assert!(after(|f| f.results[inst(0)] = v(300).into()).contains("line 5: v300 does not exist"));
    assert!(after(|f| f.results[inst(0)] = None.into()).contains("this operation has a result"));
    assert!(after(|f| f.values[v(4)].ty = Type::I32).contains("line 7: result v4 is i32, not i64"));
    let block1 = Block::from_u32(1);
    assert_eq!(after(|f| f.blocks[block1].params[1] = v(300)), line_of(10, "v300 does not exist"));
    // An instruction that was taken out of its block, or a parameter.
    assert_eq!(
        after(|f| {
            f.blocks[f.entry].insts.remove(3);
        }),
        line_of(10, "v5 is not defined in any block")
    );
    let operand = after(|f| f.insts[inst(4)].args[0] = v(300));
    assert!(operand.contains("v300 does not exist"));
    assert_eq!(
        after(|f| {
            let (op, ty, args) = (Opcode::Store, Type::I32, [v(0), v(3)]);
            let payload = f.insts[inst(1)].payload;
            let store = f.insts.push(InstData {
                op,
                ty,
                args: args.into_iter().collect(),
                payload,
                origin: 0,
            });
            f.blocks[f.entry].insts.push(store);
            f.results[store] = f.values.push(f.values[v(2)]).into();
        }),
        line_of(9, "this operation has no result")
    );
}

#[test]
fn instructions_are_checked_against_the_table() {
    assert_eq!(
        after(|f| f.insts[inst(0)].payload = Payload::None),
        line_of(5, "None where Imm belongs")
    );
    assert_eq!(
        after(|f| f.insts[inst(2)].ty = Type::I32),
        line_of(7, "i32 where the type has no role")
    );
    assert_eq!(
        after(|f| f.insts[inst(0)].args.push(Value::from_u32(0))),
        line_of(5, "1 operands, not 0")
    );
    let wide = after(|f| {
        let value = f.result(inst(0)).unwrap();
        f.values[value].ty = Type::I32;
        f.insts[inst(0)].ty = Type::I32;
        f.insts[inst(0)].payload = Payload::Imm(1 << 32);
    });
    assert!(wide.starts_with(&line_of(5, "a constant of more than 32 bits")));
}

#[test]
fn all_errors_are_collected() {
    let found = after(|f| {
        f.blocks[f.entry].frequency = -1.0;
        f.insts[inst(0)].payload = Payload::None;
        f.reaches_tail_call = false;
    });
    assert_eq!(found.lines().count(), 3);
}

const MODULE: &str = r#"function f0 "main" reaches_tail_call {
block0(v0: i64):
    v1 = func_addr f1
    v2 = call f1(v0, v1)
    return v2
}

function f1 "sub" reaches_tail_call {
block0(v0: i64, v1: i64):
    return v0
}
"#;

#[test]
fn functions_of_a_module_agree() {
    let errors = |old: &str, new: &str| {
        let module = parse_module(&MODULE.replacen(old, new, 1)).unwrap();
        verify_module(&module).map_or_else(|errors| errors.to_string(), |()| String::new())
    };
    assert_eq!(errors("", ""), "");
    assert_eq!(errors("f1(v0, v1)", "f1(v0)"), "f0, line 4: f1 takes 2 arguments");
    assert_eq!(errors("addr f1", "addr f2"), "f0, line 3: f2 does not exist");
    assert_eq!(
        errors(" reaches_tail_call", ""),
        "f0, line 4: f1 may reach a tail call; so does this function"
    );
    let mut module = parse_module(MODULE).unwrap();
    module.functions[FuncRef::from_u32(1)].id = FuncRef::from_u32(0);
    assert_eq!(
        verify_module(&module).unwrap_err().to_string(),
        "f1, line 1: the module's f1 says that it is f0"
    );
}
