//! Helpers as programs call them: small programs in text form, run in the
//! interpreter. Unless a comment says otherwise, Linux 6.18 gives these results.

mod callbacks;
mod packets;
mod state;
mod text;

use std::sync::Arc;

use tailor_bpf::text::parse_object;
use tailor_bpf::{Object, ProgramKind};

use crate::ctx;
use crate::env::{Clock, Environment};
use crate::map::{Map, SlotLayout};
use crate::module::make_maps;
use crate::{Error, Interpreted};

/// A program's text without what all tests share: R6 = context, R9 = 256 bytes
/// of map 0 (`out`), which `main` fills.
#[derive(Default)]
struct Case<'a> {
    kind: &'a str,
    maps: &'a str,
    body: &'a str,
    packet: &'a [u8],
    environment: Environment,
}

/// What a run left behind.
struct Outcome {
    result: Result<u64, String>,
    out: Vec<u8>,
    /// The packet, with metadata.
    data: Vec<u8>,
    maps: Vec<Arc<Map>>,
    environment: Environment,
}

impl Outcome {
    /// The number in the map at an offset.
    fn at(&self, offset: usize) -> i64 {
        i64::from_le_bytes(self.out[offset..offset + 8].try_into().unwrap())
    }
}

fn object(case: &Case<'_>) -> Object {
    let Case { kind, maps, body, .. } = case;
    let text = format!(
        "map map0 \"out\" array key 4 value 256 entries 1
        {maps}
        program f0 \"main\" {kind}
        r6 = r1
        r9 = map0[0] ll
        {body}
        r0 = 0
        exit"
    );
    parse_object(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn run(case: Case<'_>) -> Outcome {
    let object = object(&case);
    let (facts, errors) = tailor_bpf::analyze(&object);
    assert!(errors.is_empty(), "{errors:?}");
    let maps = make_maps(&object, SlotLayout { max_entries: 0, slots: 16 });
    let program = object.programs.values().next().unwrap();
    let (function, kind) = (program.function, program.kind);
    let mut run =
        Interpreted::new(Arc::new(object), Arc::new(facts), maps, super::Table::default());
    run.environment = case.environment;
    run.step_limit = 10_000;
    let mut packet = case.packet.to_vec();
    let mut context = ctx::for_program(kind, &mut packet);
    let result = run.run(function, &mut *context).map_err(|error| error.to_string());
    let maps: Vec<_> = run.maps().iter().map(|map| map.clone().unwrap()).collect();
    Outcome {
        result,
        out: maps[0].get(&[0; 4]).unwrap(),
        data: context.data(),
        maps,
        environment: run.environment,
    }
}

/// Runs a body that must not fail.
fn ran(kind: &str, packet: &[u8], body: &str) -> Outcome {
    let outcome = run(Case { kind, body, packet, ..Case::default() });
    assert_eq!(outcome.result, Ok(0), "{body}");
    outcome
}

/// The same with more maps.
fn ran_with(kind: &str, maps: &str, body: &str) -> Outcome {
    let outcome = run(Case { kind, maps, body, packet: &[0; 64], ..Case::default() });
    assert_eq!(outcome.result, Ok(0), "{body}");
    outcome
}

/// The error of a run that the interpreter stops.
fn stopped(kind: &str, maps: &str, body: &str) -> String {
    run(Case { kind, maps, body, packet: &[0; 64], ..Case::default() }).result.unwrap_err()
}

#[test]
fn rows_are_the_front_ends() {
    let mut seen = Vec::new();
    for row in super::TABLES.iter().copied().flatten() {
        assert!(tailor_bpf::helpers::find(row.id).is_some(), "{}", row.id);
        assert!(!seen.contains(&row.id), "{} twice", row.id);
        seen.push(row.id);
    }
    assert!(seen.len() > 90, "{}", seen.len());
}

/// A helper that takes the context is for programs whose context it knows.
#[test]
fn contexts_are_known() {
    use tailor_bpf::helpers::Arg;
    // These look at the kind of the program first, or do not look at all.
    const CAREFUL: [u32; 1] = [25];
    for row in super::TABLES.iter().copied().flatten() {
        let takes = tailor_bpf::helpers::helper(row.id).args.contains(&Arg::Context);
        let any = row.kinds.contain(ProgramKind::Opaque) || row.kinds.contain(ProgramKind::Raw);
        assert!(!takes || !any || CAREFUL.contains(&row.id), "{}", row.id);
    }
}

#[test]
fn kinds_that_may_not_call() {
    let error = stopped("sched_cls", "", "r1 = r6\nr2 = 0\ncall 44");
    assert!(error.contains("helper 44 (xdp_adjust_head) is not for programs of this kind"));
    let error = stopped("opaque", "", "r1 = r6\nr2 = 0\ncall 39");
    assert!(error.contains("helper 39 (skb_pull_data) is not for programs of this kind"));
    let error = stopped("xdp", "", "call 200");
    assert!(error.contains("helper 200 (ringbuf_discard_dynptr) is not implemented"));
}

#[test]
fn a_program_runs_on_its_kind_of_context() {
    let object = object(&Case { kind: "xdp", ..Case::default() });
    let (facts, _) = tailor_bpf::analyze(&object);
    let maps = make_maps(&object, SlotLayout { max_entries: 0, slots: 16 });
    let function = object.programs.values().next().unwrap().function;
    let run = Interpreted::new(Arc::new(object), Arc::new(facts), maps, super::Table::default());
    let mut bytes = [0; 64];
    assert_eq!(run.run(function, &mut bytes.as_mut_slice()), Err(Error::Context("xdp_md")));
    assert_eq!(run.run(function, &mut crate::Xdp::new(&mut bytes)), Ok(0));
}
