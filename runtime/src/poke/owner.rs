//! Who may be in a program array.
//!
//! A tail call enters whatever lies in the slot, with the caller's context and
//! nothing checked. So an array belongs to the first program that uses it or is
//! put into it, and takes only what is like that one: the kernel's rule
//! (`bpf_prog_map_compatible`). What counts here:
//!
//! - the type of program, and what its section says besides that the kernel
//!   compares (the attach type; `.s`, sleepable; `.frags`, fragments);
//! - how it is run: the convention of its code, or the interpreter;
//! - the runtime: code reaches only what lies in the same range.
//!
//! Nothing is said about which back end changes its sites: they mix.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tailor_bpf::{Program, ProgramKind};
use tailor_emit::Convention;

use crate::map::SlotLayout;
use crate::module::{Runtime, slot_layout};

/// How programs are entered by tail calls.
#[derive(Clone)]
pub(crate) enum Linkage {
    /// As code of a runtime.
    Native(Convention, Arc<Runtime>),
    /// By the interpreter, which finds only what is in the same object: a number
    /// that no other object has.
    Interpreted(u64),
}

impl PartialEq for Linkage {
    fn eq(&self, other: &Linkage) -> bool {
        match (self, other) {
            (Linkage::Native(a, a_runtime), Linkage::Native(b, b_runtime)) => {
                a == b && Arc::ptr_eq(a_runtime, b_runtime)
            }
            (Linkage::Interpreted(a), Linkage::Interpreted(b)) => a == b,
            _ => false,
        }
    }
}

impl Linkage {
    /// Whether it finds the slots of an array of this layout. The interpreter
    /// looks them up elsewhere.
    pub(crate) fn reads(&self, layout: Option<SlotLayout>) -> bool {
        match self {
            Linkage::Native(convention, _) => layout == Some(slot_layout(*convention)),
            Linkage::Interpreted(_) => true,
        }
    }

    /// Of another interpreted object.
    pub(crate) fn interpreted() -> Linkage {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Linkage::Interpreted(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What a program array takes.
#[derive(Clone)]
pub(crate) struct Owner {
    kind: ProgramKind,
    attach: String,
    sleepable: bool,
    fragments: bool,
    linkage: Linkage,
}

impl Owner {
    /// Programs like this one.
    pub(crate) fn new(program: &Program, linkage: Linkage) -> Owner {
        let section = program.section.trim_start_matches('?');
        let (base, rest) = section.split_once('/').unwrap_or((section, ""));
        let (base, suffix) = base.split_once('.').unwrap_or((base, ""));
        Owner {
            kind: program.kind,
            attach: attach(program.kind, base, rest),
            sleepable: suffix == "s",
            fragments: suffix == "frags",
            linkage,
        }
    }

    pub(crate) fn linkage(&self) -> &Linkage {
        &self.linkage
    }

    /// In what a program differs from those that are taken; none if in nothing.
    pub(crate) fn differences(&self, program: &Owner) -> Option<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, own: String, other: String| {
            if own != other {
                found.push(format!("its {what} is {other}, the array's is {own}"));
            }
        };
        compare("program type", format!("{:?}", self.kind), format!("{:?}", program.kind));
        let attach = |owner: &Owner| format!("{:?}", owner.attach);
        compare("attach type", attach(self), attach(program));
        let yes_no = |flag: bool| if flag { "yes" } else { "no" }.to_string();
        compare("being sleepable", yes_no(self.sleepable), yes_no(program.sleepable));
        compare("taking fragments", yes_no(self.fragments), yes_no(program.fragments));
        compare("convention", self.linkage.to_string(), program.linkage.to_string());
        match (&self.linkage, &program.linkage) {
            (Linkage::Native(_, a), Linkage::Native(_, b)) if !Arc::ptr_eq(a, b) => {
                found.push("it is code of another runtime".into());
            }
            (Linkage::Interpreted(a), Linkage::Interpreted(b)) if a != b => {
                found.push("it is interpreted with another object".into());
            }
            _ => {}
        }
        (!found.is_empty()).then(|| found.join("; "))
    }
}

impl fmt::Display for Linkage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Linkage::Native(Convention::Saving, _) => f.write_str("tailor's"),
            Linkage::Native(Convention::Kernel { landing }, _) => {
                write!(f, "a kernel's that lands {landing} bytes behind the entry")
            }
            Linkage::Interpreted(_) => f.write_str("the interpreter's"),
        }
    }
}

/// The part of a section's name by which the kernel tells programs of one kind
/// apart: program types that are one kind here, and attach types.
fn attach(kind: ProgramKind, base: &str, rest: &str) -> String {
    let known = |names: [&'static str; 2]| names.into_iter().find(|name| *name == rest);
    match kind {
        ProgramKind::Xdp => known(["devmap", "cpumap"]).unwrap_or("").into(),
        ProgramKind::CgroupSkb => known(["ingress", "egress"]).unwrap_or("").into(),
        ProgramKind::SkSkb => known(["stream_parser", "stream_verdict"]).unwrap_or("").into(),
        ProgramKind::SchedCls => match base {
            "action" => "action".into(),
            "tcx" | "netkit" => format!("{base}/{rest}"),
            _ => String::new(),
        },
        ProgramKind::Lwt => base.into(),
        ProgramKind::Opaque => probe(base).into(),
        ProgramKind::SocketFilter | ProgramKind::FlowDissector | ProgramKind::Raw => String::new(),
    }
}

/// The kind of a program whose context is not declared, by its section.
fn probe(base: &str) -> &str {
    match base {
        // Of one type in the kernel.
        "kprobe" | "kretprobe" | "ksyscall" | "kretsyscall" | "uprobe" | "uretprobe" | "usdt" => {
            "kprobe"
        }
        "tp" | "tracepoint" => "tracepoint",
        "raw_tp" | "raw_tracepoint" => "raw_tracepoint",
        _ => base,
    }
}

#[cfg(test)]
mod tests {
    use tailor_bpf::FuncRef;

    use super::*;

    fn owner(kind: ProgramKind, section: &str) -> Owner {
        let function = FuncRef::from_u32(0);
        let program = Program { name: "p".into(), function, section: section.into(), kind };
        Owner::new(&program, Linkage::Interpreted(0))
    }

    fn differ(kind: ProgramKind, a: &str, b: &str) -> Option<String> {
        owner(kind, a).differences(&owner(kind, b))
    }

    #[test]
    fn sections_of_a_kind() {
        use ProgramKind::*;
        assert_eq!(differ(Xdp, "xdp", "xdp/again"), None);
        assert_eq!(differ(Opaque, "kprobe/a", "kretprobe/b"), None);
        assert_eq!(differ(SchedCls, "tc", "classifier/x"), None);
        let found = differ(Xdp, "xdp", "xdp.frags/devmap").unwrap();
        assert!(found.contains("its attach type is \"devmap\", the array's is \"\""), "{found}");
        assert!(found.contains("its taking fragments is yes, the array's is no"), "{found}");
        for (kind, a, b) in [
            (SchedCls, "tc", "action"),
            (SchedCls, "tcx/ingress", "tcx/egress"),
            (CgroupSkb, "cgroup_skb/ingress", "cgroup_skb/egress"),
            (SkSkb, "sk_skb/stream_parser", "sk_skb/stream_verdict"),
            (Lwt, "lwt_in", "lwt_out"),
            (Opaque, "kprobe/a", "tp/a"),
            (Opaque, "uprobe", "uprobe.s"),
        ] {
            assert!(differ(kind, a, b).is_some(), "{a} and {b}");
        }
        let other = owner(SocketFilter, "xdp");
        let found = owner(Xdp, "xdp").differences(&other).unwrap();
        assert_eq!(found, "its program type is SocketFilter, the array's is Xdp");
    }
}
