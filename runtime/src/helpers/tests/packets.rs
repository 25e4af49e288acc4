//! Helpers that move or change the packet.

use super::*;
use crate::env::Redirect;

/// An IPv4 packet of 74 bytes with TCP.
fn tcp() -> Vec<u8> {
    let mut packet: Vec<u8> = (0..74).collect();
    packet[..14].copy_from_slice(&[2, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 8, 0]);
    packet[14..18].copy_from_slice(&[0x45, 1, 0, 60]);
    packet[23] = 6;
    packet
}

const LEN: &str = "r1 = *(u32 *)(r6 + 0)
    r2 = *(u32 *)(r6 + 4)
    r2 -= r1
    *(u64 *)(r9 + 8) = r2";

#[test]
fn xdp_adjusts() {
    let adjusted = |helper: u32, by: i32| {
        let body = format!("r1 = r6\nr2 = {by}\ncall {helper}\n*(u64 *)(r9 + 0) = r0\n{LEN}");
        let outcome = ran("xdp", &[7; 64], &body);
        (outcome.at(0), outcome.at(8), outcome.data)
    };
    assert_eq!(adjusted(44, 14), (0, 50, vec![7; 50]));
    assert_eq!(adjusted(44, -4), (0, 68, [vec![0; 4], vec![7; 64]].concat()));
    for (by, result) in [(-216, 0), (-217, -22), (50, 0), (51, -22)] {
        assert_eq!(adjusted(44, by).0, result, "head by {by}");
    }
    assert_eq!(adjusted(65, -4), (0, 60, vec![7; 60]));
    assert_eq!(adjusted(65, 4), (0, 68, [vec![7; 64], vec![0; 4]].concat()));
    for (by, result) in [(-50, 0), (-51, -22), (3456, 0), (3457, -22)] {
        assert_eq!(adjusted(65, by).0, result, "tail by {by}");
    }
    assert_eq!(adjusted(54, -8), (0, 64, [vec![0; 8], vec![7; 64]].concat()));
    for (by, result) in [(-3, -13), (-216, 0), (-220, -22), (4, -22)] {
        assert_eq!(adjusted(54, by).0, result, "metadata by {by}");
    }
}

#[test]
fn metadata_moves_with_the_packet() {
    let body = "r1 = r6\nr2 = -4\ncall 54
        r1 = *(u32 *)(r6 + 8)\n*(u32 *)(r1 + 0) = 0x01020304
        r1 = r6\nr2 = -2\ncall 44";
    let outcome = ran("xdp", &[7; 20], body);
    assert_eq!(outcome.data[..8], [4, 3, 2, 1, 2, 1, 7, 7]);
    assert_eq!(outcome.data.len(), 4 + 22);
}

#[test]
fn a_borrowed_packet_cannot_grow() {
    let object = object(&Case {
        kind: "xdp",
        body: "r1 = r6\nr2 = -4\ncall 44\nr7 = r0\nr1 = r6\nr2 = 4\ncall 65
            *(u64 *)(r9 + 0) = r0\n*(u64 *)(r9 + 8) = r7\nr1 = r6\nr2 = 2\ncall 44",
        ..Case::default()
    });
    let (facts, _) = tailor_bpf::analyze(&object);
    let maps = make_maps(&object, SlotLayout { max_entries: 0, slots: 16 });
    let function = object.programs.values().next().unwrap().function;
    let run = Interpreted::new(Arc::new(object), Arc::new(facts), maps, Default::default());
    let mut bytes: Vec<u8> = (0..20).collect();
    let mut xdp = crate::Xdp::new(&mut bytes);
    run.run(function, &mut xdp).unwrap();
    assert_eq!(xdp.packet(), (2..20).collect::<Vec<u8>>());
    let out = run.maps()[0].clone().unwrap().get(&[0; 4]).unwrap();
    assert_eq!(out[..16], [(-22i64).to_le_bytes(), (-22i64).to_le_bytes()].concat());
}

#[test]
fn bytes_of_a_packet() {
    let call = |kind: &str, helper: u32, at: i32, len: u32, last: u32| {
        let body = format!(
            "*(u64 *)(r9 + 8) = -1\nr1 = r6\nr2 = {at}\nr3 = r9\nr3 += 8\nr4 = {len}\nr5 = {last}
            call {helper}\n*(u64 *)(r9 + 0) = r0"
        );
        let outcome = ran(kind, &tcp(), &body);
        (outcome.at(0), outcome.out[8..12].to_vec(), outcome.data)
    };
    let read = |kind, helper, at, len| {
        let (result, bytes, _) = call(kind, helper, at, len, 0);
        (result, bytes)
    };
    assert_eq!(read("xdp", 189, 72, 2), (0, vec![72, 73, 255, 255]));
    assert_eq!(read("xdp", 189, 73, 2), (-22, vec![255; 4]));
    assert_eq!(read("xdp", 189, 0x10000, 2), (-14, vec![255; 4]));
    assert_eq!(read("sched_cls", 26, 12, 4), (0, vec![8, 0, 0x45, 1]));
    assert_eq!(read("sched_cls", 26, 73, 2), (-14, vec![0, 0, 255, 255]), "zeroed");
    assert_eq!(read("cgroup_skb", 26, 0, 4), (0, vec![0x45, 1, 0, 60]));
    assert_eq!(read("flow_dissector", 26, 12, 2), (0, vec![8, 0, 255, 255]));
    let relative = |start| call("cgroup_skb", 68, 12, 2, start);
    assert_eq!(relative(0).1[..2], [8, 0]);
    assert_eq!(relative(1).1[..2], [26, 27]);
    assert_eq!((relative(2).0, relative(2).1), (-14, vec![0, 0, 255, 255]));

    let (result, _, data) = call("xdp", 190, 0, 2, 0);
    assert_eq!((result, &data[..3]), (0, &[255, 255, 0][..]));
    let (result, _, data) = call("sched_cls", 9, 72, 2, 3);
    assert_eq!((result, &data[70..]), (0, &[70, 71, 255, 255][..]));
    assert_eq!(call("sched_cls", 9, 73, 2, 0).0, -14);
    assert_eq!(call("sched_cls", 9, 0, 2, 4).0, -22);
}

#[test]
fn classic_loads() {
    let load = |kind: &str, load: &str| {
        let body =
            format!("r0 = -1\nr1 = 10\n*(u64 *)(r9 + 0) = r0\nr0 = {load}\n*(u64 *)(r9 + 0) = r0");
        ran(kind, &tcp(), &body).at(0)
    };
    assert_eq!(load("sched_cls", "*(u16 *)skb[12]"), 0x0800);
    assert_eq!(load("socket_filter", "*(u32 *)skb[0]"), 0x4501_003c);
    assert_eq!(load("sched_cls", "*(u8 *)skb[r1 + 4]"), 0x45);
    assert_eq!(load("cgroup_skb", "*(u8 *)skb[r1 - 1048577]"), 6, "the network header's");
    assert_eq!(load("cgroup_skb", "*(u16 *)skb[-2097140]"), 0x0800, "the Ethernet header's");
    // Outside the packet the program is over.
    for outside in ["*(u16 *)skb[73]", "*(u8 *)skb[-1048500]", "*(u8 *)skb[-2097153]"] {
        assert_eq!(load("sched_cls", outside), -1, "{outside}");
    }
}

#[test]
fn length_of_a_buffer() {
    let call = |helper: u32, by: i64, last: u32| {
        let body = format!(
            "r1 = r6\nr2 = {by}\nr3 = {last}\ncall {helper}\n*(u64 *)(r9 + 0) = r0
            r1 = *(u32 *)(r6 + 0)\n*(u64 *)(r9 + 8) = r1"
        );
        let outcome = ran("sched_cls", &tcp(), &body);
        assert_eq!(outcome.at(8), outcome.data.len() as i64);
        (outcome.at(0), outcome.at(8))
    };
    for (len, result) in [(74, 0), (75, -12), (0, 0)] {
        assert_eq!(call(39, len, 0), (result, 74));
    }
    assert_eq!(call(38, 100, 0), (0, 100));
    assert_eq!(call(38, 14, 0), (0, 14));
    for (len, flags) in [(13, 0), (16065, 0), (60, 1)] {
        assert_eq!(call(38, len, flags), (-22, 74));
    }
    assert_eq!(call(43, 4, 0), (0, 78));
    assert_eq!(call(43, -1, 0), (-22, 74));
}

#[test]
fn room_for_headers() {
    let call = |by: i32, mode: u32, flags: u64| {
        let body = format!(
            "r1 = r6\nr2 = {by}\nr3 = {mode}\nr4 = {flags} ll\ncall 50\n*(u64 *)(r9 + 0) = r0
            r1 = *(u32 *)(r6 + 16)\n*(u64 *)(r9 + 8) = r1"
        );
        let outcome = ran("sched_cls", &tcp(), &body);
        (outcome.at(0), outcome.at(8), outcome.data)
    };
    let (result, protocol, data) = call(8, 0, 0);
    assert_eq!((result, protocol, data.len()), (0, 8, 82));
    assert_eq!(data[30..44], [30, 31, 32, 33, 0, 0, 0, 0, 0, 0, 0, 0, 34, 35]);
    let (result, protocol, data) = call(40, 1, 1 << 2);
    assert_eq!((result, protocol, &data[52..56]), (0, 0xdd86, &[0, 0, 0x45, 1][..]));
    let (result, _, data) = call(-20, 1, 0);
    assert_eq!((result, &data[12..16]), (0, &[8, 0, 34, 35][..]));
    assert_eq!(call(-20, 1, 1 << 8).0, 0);
    let refused = [
        (8, 2, 0, -524),
        (0x1000, 0, 0, -14),
        (8, 0, 1 << 9, -22),
        (8, 0, 1 << 7, -22),
        (-41, 0, 0, -524),
        (-8, 0, 2, -22),
        (20, 1, 6, -22),
    ];
    for (by, mode, flags, error) in refused {
        assert_eq!(call(by, mode, flags).0, error, "{by} {mode} {flags:#x}");
    }
}

#[test]
fn tags() {
    let fields = "r1 = *(u32 *)(r6 + 20)\n*(u64 *)(r9 + 0) = r1
        r1 = *(u32 *)(r6 + 24)\n*(u64 *)(r9 + 8) = r1
        r1 = *(u32 *)(r6 + 16)\n*(u64 *)(r9 + 16) = r1";
    let push = "r1 = r6\nr2 = 0x81\nr3 = 5\ncall 18";
    let pop = "r1 = r6\ncall 19";
    let call = |body: &[&str]| {
        let outcome = ran("sched_cls", &tcp(), &[body, &[fields]].concat().join("\n"));
        ([0, 8, 16].map(|at| outcome.at(at)), outcome.data)
    };
    assert_eq!(call(&[push]), ([1, 5, 8], tcp()));
    let (seen, data) = call(&[push, push]);
    assert_eq!((seen, &data[12..18]), ([1, 5, 0x81], &[0x81, 0, 0, 5, 8, 0][..]));
    assert_eq!(call(&[push, push, pop]), ([1, 5, 8], tcp()));
    assert_eq!(call(&[push, pop, pop]), ([0, 0, 8], tcp()));
}

#[test]
fn checksums() {
    let diff = |from: u32, to: u32| {
        let body = format!(
            "*(u64 *)(r9 + 16) = 0x01020304\n*(u64 *)(r9 + 24) = 0x7fffffff
            r1 = r9\nr1 += 16\nr2 = {from}\nr3 = r9\nr3 += 24\nr4 = {to}\nr5 = 1\ncall 28
            *(u64 *)(r9 + 0) = r0"
        );
        ran("xdp", &[], &body).at(0)
    };
    assert_eq!((diff(0, 0), diff(0, 4), diff(4, 4)), (1, 0x8000, 0x7bfa));
    assert_eq!((diff(4, 0), diff(0, 3)), (0xfbfa, 0x100));

    let replaced = |helper: u32, at: u32, from: u32, to: u32, flags: u32| {
        let body = format!(
            "r1 = r6\nr2 = {at}\nr3 = {from}\nr4 = {to}\nr5 = {flags}\ncall {helper}
            *(u64 *)(r9 + 0) = r0"
        );
        let outcome = ran("sched_cls", &tcp(), &body);
        (outcome.at(0), u16::from_le_bytes([outcome.data[24], outcome.data[25]]))
    };
    let before = u16::from_le_bytes([24, 25]);
    assert_eq!(replaced(10, 24, 0x0100, 0x0300, 2), (0, before - 0x200));
    assert_eq!(replaced(10, 24, 0, 0x200, 0), (0, before - 0x200));
    assert_eq!(replaced(11, 24, 0x0001_0000, 0x0003_0000, 4 | 0x10), (0, before - 2));
    for (helper, at, from, flags, error) in [
        (10, 24, 1, 0, -22),
        (10, 25, 0, 0, -14),
        (10, 74, 0, 0, -14),
        (10, 24, 0, 0x10, -22),
        (11, 24, 0, 0x100, -22),
        (11, 24, 0, 3, -22),
    ] {
        assert_eq!(replaced(helper, at, from, 0, flags), (error, before));
    }
    let sums = ran("sched_cls", &tcp(), "r1 = r6\nr2 = 0\ncall 40\n*(u64 *)(r9 + 0) = r0");
    assert_eq!(sums.at(0), -524);
}

#[test]
fn redirects() {
    let outcome = |kind: &str, body: &str| ran(kind, &[0; 64], body);
    let to = |kind: &str, flags: u32| {
        let result =
            outcome(kind, &format!("r1 = 7\nr2 = {flags}\ncall 23\n*(u64 *)(r9 + 0) = r0"));
        (result.at(0), result.environment.redirect())
    };
    let interface = |flags| Some(Redirect::Interface { index: 7, flags });
    assert_eq!(to("xdp", 0), (4, interface(0)));
    assert_eq!(to("xdp", 1), (0, None));
    assert_eq!(to("sched_cls", 1), (7, interface(1)));
    assert_eq!(to("sched_cls", 2), (2, None));

    let through = |key: u32, flags: u32| {
        let case = Case {
            kind: "xdp",
            maps: "map map1 \"ports\" devmap key 4 value 4 entries 4",
            body: &format!(
                "r1 = map1 ll\nr2 = {key}\nr3 = {flags}\ncall 51\n*(u64 *)(r9 + 0) = r0"
            ),
            ..Case::default()
        };
        let result = run(case);
        (result.at(0), result.environment.redirect().is_some())
    };
    assert_eq!(through(1, 0), (0, false));
    assert_eq!(through(1, 2), (2, false));
    assert_eq!(through(1, 4), (0, false));
    assert_eq!(through(1, 8), (4, true), "to all");
}

#[test]
fn largest_packets() {
    let check = |given: u32, by: i32, flags: u32| {
        let body = format!(
            "*(u32 *)(r9 + 8) = {given}\nr1 = r6\nr2 = 1\nr3 = r9\nr3 += 8\nr4 = {by}
            r5 = {flags}\ncall 163\n*(u64 *)(r9 + 0) = r0"
        );
        let outcome = ran("sched_cls", &tcp(), &body);
        (outcome.at(0), outcome.at(8))
    };
    assert_eq!(check(0, 1440, 0), (0, 1500));
    assert_eq!(check(0, 1441, 0), (1, 1500));
    assert_eq!(check(1501, 0, 0), (1, 1500));
    assert_eq!(check(5, 0, 1), (-22, 5));
    assert_eq!(check(5, 0, 2), (-22, 5));
}
