//! The running kernel as an engine.

use std::collections::BTreeMap;

use tailor::Unit;
use tailor::runtime::kernel::run::{Loaded, Refusal};
use tailor_bpf::{MapKind, Op, ProgramKind, Reg, Src, Width, ctx};

use crate::compare::{Outcome, SKB_FIELDS, Subject};
use crate::program::{Case, Stmt};

/// The kernel, through bpf(2).
pub struct Kernel;

/// What a program came to that the kernel was given.
pub enum Ran {
    /// It ran.
    To(Outcome),
    /// The verifier does not take it: why.
    Refused(String),
}

impl Subject for Kernel {
    fn name(&self) -> String {
        "kernel".into()
    }

    fn run(&self, case: &Case, unit: &Unit) -> Result<Outcome, String> {
        match run(case, unit)? {
            Ran::To(outcome) => Ok(outcome),
            Ran::Refused(why) => Err(format!("refused: {why}")),
        }
    }
}

/// Loads and runs a case.
pub fn run(case: &Case, unit: &Unit) -> Result<Ran, String> {
    let loaded = match Loaded::new(&unit.object) {
        Ok(loaded) => loaded,
        Err(Refusal::Verifier(why)) => return Ok(Ran::Refused(why)),
        Err(Refusal::Other(what)) => return Err(what),
    };
    let text = |error: std::io::Error| error.to_string();
    let main = unit.object.programs.keys().next().ok_or("no program")?;
    let left = loaded.run(main, &case.data).map_err(text)?;
    let mut fields = Vec::new();
    if case.kind == ProgramKind::SchedCls {
        for name in SKB_FIELDS {
            let mut all = ctx::KINDS[ctx::SKB as usize].fields.iter();
            let field = all.find(|field| field.name == name).ok_or("no such field")?;
            let at = usize::from(field.offset);
            let bytes = left.context.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            fields.push(u32::from_le_bytes(bytes.ok_or("no context came back")?).into());
        }
    }
    let mut maps = Vec::new();
    for (id, map) in &unit.object.maps {
        let entries = match map.kind {
            MapKind::ProgArray => Vec::new(),
            _ => loaded.entries(id).map_err(text)?,
        };
        maps.push((map.name.clone(), entries));
    }
    Ok(Ran::To(Outcome { retval: left.retval.into(), data: left.data, maps, fields }))
}

/// The case with `w0 = w0` behind every 32-bit compare-and-exchange.
///
/// R0 is zero-extended there, says RFC 9669. The kernel's verifier adds that as
/// an instruction where it has seen R0's upper half being read. 6.18 misses it
/// where the reading instruction was reached with an equal state before and is
/// not looked at again. A difference that goes away like this is of that kind.
pub fn extended(case: &Case) -> Case {
    fn extend(body: &mut Vec<Stmt>) {
        let (w, dst, src) = (Width::W32, Reg::R0, Src::Reg(Reg::R0));
        let mut at = 0;
        while at < body.len() {
            body[at].bodies_mut().into_iter().for_each(extend);
            if let Stmt::Op(op) | Stmt::Access { op, .. } = &body[at]
                && matches!(op, Op::CmpXchg { w: Width::W32, .. })
            {
                at += 1;
                body.insert(at, Stmt::Op(Op::Mov { w, dst, src }));
            }
            at += 1;
        }
    }
    let mut case = case.clone();
    case.functions.iter_mut().for_each(|function| extend(&mut function.body));
    case
}

/// The verifier's message without registers, numbers and what it is about.
pub fn reason(why: &str) -> String {
    let line = why.lines().next_back().unwrap_or("");
    let words = line.split_whitespace().map(|word| {
        let number = word.chars().any(|c| c.is_ascii_digit());
        if number { "_" } else { word }
    });
    words.take(10).collect::<Vec<_>>().join(" ")
}

/// Reasons with how often they came.
pub type Reasons = BTreeMap<String, u64>;
