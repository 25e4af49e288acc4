//! Disassembly of a compiled function, for people and golden tests.
//!
//! Jump targets become labels, relocated fields the names of what they will
//! hold, so that a listing does not depend on where code is loaded. The text
//! comes from a decoder that knows nothing of the encoder.

use std::collections::BTreeMap;
use std::fmt::Write;

use iced_x86::{
    Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter, OpKind, SymbolResolver,
    SymbolResult,
};

use crate::{CALL_BY_NUMBER, CompiledFunction, FunctionKind, Reloc, Symbol};

/// A header line, then a line an instruction: offset and text.
pub fn listing(function: &CompiledFunction) -> String {
    let mut out = header(function);
    let instructions = decode(&function.code);
    let labels = labels(&instructions, function);
    let mut formatter =
        formatter(Names { relocs: function.relocs.clone(), labels: labels.clone() });
    let mut text = String::new();
    for instruction in &instructions {
        if let Some(label) = labels.get(&instruction.ip()) {
            let _ = writeln!(out, "L{label}:");
        }
        if let Some(note) = note(function, instruction.ip() as u32) {
            let _ = writeln!(out, "; {note}");
        }
        text.clear();
        formatter.format(instruction, &mut text);
        let _ = writeln!(out, "{:6x}  {text}", instruction.ip());
    }
    out
}

fn header(function: &CompiledFunction) -> String {
    let kind = match function.kind {
        FunctionKind::Program => "program",
        FunctionKind::Subprogram => "subprogram",
        FunctionKind::Stub => "stub",
    };
    let frame = &function.frame;
    let saved: Vec<&str> = frame.saved.iter().map(|reg| reg.name()).collect();
    format!(
        "{kind} {}: {} bytes, frame {} (padding {}), saved [{}]\n",
        function.name,
        function.code.len(),
        frame.frame_bytes,
        frame.padding_bytes,
        saved.join(", "),
    )
}

/// What the compiler recorded of this offset.
fn note(function: &CompiledFunction, offset: u32) -> Option<String> {
    if function.landing != 0 && function.landing == offset {
        return Some("landing".to_string());
    }
    function.tail_sites.iter().enumerate().find_map(|(number, site)| {
        let first = site.offset == offset;
        let poked = match site.poke {
            Some(poke) if poke.bypass == offset => ": bypass",
            Some(poke) if poke.target == offset => ": target",
            _ if first => "",
            _ => return None,
        };
        let slot = match site.direct {
            Some((map, key)) if first => format!(", {map}[{key}]"),
            _ => String::new(),
        };
        Some(format!("tail call {number}{slot}{poked}"))
    })
}

fn decode(code: &[u8]) -> Vec<Instruction> {
    Decoder::new(64, code, DecoderOptions::NONE).into_iter().collect()
}

/// The targets of branches within the code, numbered in order.
fn labels(instructions: &[Instruction], function: &CompiledFunction) -> BTreeMap<u64, usize> {
    let end = function.code.len() as u64;
    let is_local = |i: &&Instruction| is_jump(i) && reloc_in(&function.relocs, i).is_none();
    let mut labels: BTreeMap<u64, usize> = instructions
        .iter()
        .filter(is_local)
        .map(|i| i.near_branch_target())
        .filter(|target| *target <= end)
        .map(|target| (target, 0))
        .collect();
    for (number, label) in labels.values_mut().enumerate() {
        *label = number;
    }
    labels
}

fn is_jump(instruction: &Instruction) -> bool {
    instruction.op0_kind() == OpKind::NearBranch64
        && (instruction.is_jmp_short_or_near() || instruction.is_jcc_short_or_near())
}

/// The relocated field of an instruction, which has one at most.
fn reloc_in<'a>(relocs: &'a [Reloc], instruction: &Instruction) -> Option<&'a Reloc> {
    let first = relocs.partition_point(|reloc| u64::from(reloc.offset) < instruction.ip());
    let reloc = relocs.get(first)?;
    (u64::from(reloc.offset) < instruction.next_ip()).then_some(reloc)
}

fn formatter(names: Names) -> IntelFormatter {
    let mut formatter = IntelFormatter::with_options(Some(Box::new(names)), None);
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_space_after_operand_separator(true);
    options.set_signed_immediate_operands(true);
    options.set_show_branch_size(false);
    formatter
}

/// Names for the values in an instruction.
struct Names {
    relocs: Vec<Reloc>,
    labels: BTreeMap<u64, usize>,
}

impl SymbolResolver for Names {
    fn symbol(
        &mut self,
        instruction: &Instruction,
        _operand: u32,
        _instruction_operand: Option<u32>,
        address: u64,
        _address_size: u32,
    ) -> Option<SymbolResult<'_>> {
        let name = match reloc_in(&self.relocs, instruction) {
            Some(reloc) => name(reloc.target),
            None if is_jump(instruction) => format!("L{}", self.labels.get(&address)?),
            None => return None,
        };
        Some(SymbolResult::with_string(address, name))
    }
}

fn name(symbol: Symbol) -> String {
    match symbol {
        Symbol::Map(map) => map.to_string(),
        Symbol::MapValue(map, offset) => format!("{map}.value+{offset}"),
        Symbol::MapSlot(map, key) => format!("{map}.slot[{key}]"),
        Symbol::Function(function) => function.to_string(),
        Symbol::Entry(function) => format!("{function}.entry"),
        Symbol::Helper(CALL_BY_NUMBER) => "helper_by_number".into(),
        Symbol::HelperCell(CALL_BY_NUMBER) => "helper_by_number.cell".into(),
        Symbol::Helper(helper) => format!("helper{helper}"),
        Symbol::HelperCell(helper) => format!("helper{helper}.cell"),
    }
}

#[cfg(test)]
mod tests {
    use cranelift_entity::EntityRef;

    use super::*;
    use crate::{Convention, FuncRef};

    /// The second is that of kernels since 6.12, the third of those before.
    #[test]
    fn entry_stubs() {
        let conventions = [
            (Convention::Saving, ["15", "     0  push 0x21\n     2  mov r9, rsp", "5", "a", "e"]),
            (
                Convention::Kernel { landing: 12 },
                ["15", "     0  push 0\n     2  mov rax, rsp", "5", "a", "e"],
            ),
            (
                Convention::Kernel { landing: 11 },
                ["14", "     0  push 0\n     2  xor eax, eax", "4", "9", "d"],
            ),
        ];
        for (convention, [bytes, start, call, add, ret]) in conventions {
            let stub = crate::entry_stub(convention, FuncRef::new(3), "enter").unwrap();
            let expected = format!(
                "stub enter: {bytes} bytes, frame 8 (padding 0), saved []\n{start}\n     {call}  call f3\n     {add}  add rsp, 8\n     {ret}  ret\n"
            );
            assert_eq!(listing(&stub), expected);
        }
    }
}
