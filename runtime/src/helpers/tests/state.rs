//! Helpers on maps, output, objects and the surroundings; and what the
//! interpreter refuses to let them touch.

use super::*;
use crate::env::Task;
use crate::map::Sample;

/// The address of a key or value on the stack in a register.
const KEY: &str = "r2 = r10\nr2 += -8";
const VALUE: &str = "r3 = r10\nr3 += -16";

#[test]
fn maps_from_programs() {
    let body = format!(
        "*(u64 *)(r10 - 8) = 5\n*(u64 *)(r10 - 16) = 77
        r1 = map1 ll\n{KEY}\n{VALUE}\nr4 = 1\ncall 2\n*(u64 *)(r9 + 0) = r0
        r1 = map1 ll\n{KEY}\ncall 1\nr7 = r0\nr1 = *(u64 *)(r7 + 0)\n*(u64 *)(r9 + 8) = r1
        *(u64 *)(r10 - 16) = 78
        r1 = map1 ll\n{KEY}\n{VALUE}\nr4 = 2\ncall 2
        r1 = *(u64 *)(r7 + 0)\n*(u64 *)(r9 + 16) = r1
        r1 = map1 ll\n{KEY}\nr3 = r7\nr4 = 0\ncall 2
        r1 = map1 ll\n{KEY}\ncall 3\n*(u64 *)(r9 + 24) = r0
        r1 = map1 ll\n{KEY}\ncall 3\n*(u64 *)(r9 + 32) = r0"
    );
    let outcome = ran_with("xdp", "map map1 \"m\" hash key 4 value 8 entries 2", &body);
    // The old value can still be read after an update of a hash.
    assert_eq!([0, 8, 16, 24, 32].map(|at| outcome.at(at)), [0, 77, 77, 0, -2]);
    assert_eq!(outcome.maps[1].entries(), []);
}

#[test]
fn inner_maps_from_programs() {
    let maps = "map map1 \"outer\" array_of_maps key 4 value 4 entries 2 { 1 = map2 }
        map map2 \"inner\" array key 4 value 8 entries 1";
    let body = format!(
        "*(u32 *)(r10 - 8) = 1\nr1 = map1 ll\n{KEY}\ncall 1\nr1 = r0
        *(u32 *)(r10 - 8) = 0\n{KEY}\ncall 1\n*(u64 *)(r0 + 0) = 99
        *(u32 *)(r10 - 8) = 0\nr1 = map1 ll\n{KEY}\ncall 1\n*(u64 *)(r9 + 0) = r0"
    );
    let outcome = ran_with("xdp", maps, &body);
    assert_eq!(outcome.at(0), 0);
    assert_eq!(outcome.maps[2].get(&[0; 4]), Some(99u64.to_le_bytes().to_vec()));
    assert_eq!(outcome.maps[1].inner_maps().len(), 1);
}

/// What may be written is said by the map that the value is of, not by the outer one.
#[test]
fn read_only_inner_maps() {
    let maps = |outer: &str, inner: &str| {
        format!(
            "map map1 \"outer\" array_of_maps key 4 value 4 entries 1 {outer} {{ 0 = map2 }}
            map map2 \"inner\" array key 4 value 8 entries 1 {inner}"
        )
    };
    let lookup = format!(
        "*(u64 *)(r10 - 8) = 0\n*(u64 *)(r10 - 16) = 7\nr1 = map1 ll\n{KEY}\ncall 1\nr7 = r0
        r1 = r7\n{KEY}\ncall 1"
    );
    let store = format!("{lookup}\n*(u64 *)(r0 + 0) = 99");
    let helper = format!("{lookup}\nr1 = r6\nr2 = 0\nr3 = r0\nr4 = 8\ncall 189");
    let update = format!("{lookup}\nr1 = r7\n{KEY}\n{VALUE}\nr4 = 0\ncall 2");
    for (body, why) in [
        (&store, "no memory of the program"),
        (&helper, "no memory of the program"),
        (&update, "programs cannot write"),
    ] {
        assert!(stopped("xdp", &maps("", "flags 0x80"), body).contains(why), "{body}");
        ran_with("xdp", &maps("flags 0x80", ""), body);
    }
}

#[test]
fn queues_from_programs() {
    let body = format!(
        "*(u64 *)(r10 - 8) = 5\nr1 = map1 ll\n{KEY}\nr3 = 0\ncall 87
        *(u64 *)(r10 - 8) = 0\nr1 = map1 ll\n{KEY}\ncall 89\nr1 = *(u64 *)(r10 - 8)
        *(u64 *)(r9 + 0) = r1\nr1 = map1 ll\n{KEY}\ncall 88
        *(u64 *)(r10 - 8) = 6\nr1 = map1 ll\n{KEY}\ncall 88\n*(u64 *)(r9 + 8) = r0
        r1 = *(u64 *)(r10 - 8)\n*(u64 *)(r9 + 16) = r1"
    );
    let outcome = ran_with("xdp", "map map1 \"q\" queue key 0 value 8 entries 2", &body);
    assert_eq!([0, 8, 16].map(|at| outcome.at(at)), [5, -2, 0]);
}

#[test]
fn ring_buffers() {
    let maps = "map map1 \"r\" ringbuf key 0 value 0 entries 4096";
    let body = "r1 = map1 ll\nr2 = 16\nr3 = 0\ncall 131\nr7 = r0
        *(u64 *)(r7 + 0) = 1\n*(u64 *)(r7 + 8) = 2\nr1 = r7\nr2 = 0\ncall 132
        r1 = map1 ll\nr2 = 8\nr3 = 0\ncall 131\nr1 = r0\nr2 = 0\ncall 133
        *(u64 *)(r9 + 0) = 3\nr1 = map1 ll\nr2 = r9\nr3 = 3\nr4 = 0\ncall 130
        r1 = map1 ll\nr2 = 0\ncall 134\n*(u64 *)(r9 + 8) = r0";
    let outcome = ran_with("xdp", maps, body);
    assert_eq!(outcome.at(8), 24 + 16 + 16);
    let data: Vec<_> = outcome.maps[1].drain().into_iter().map(|sample| sample.data).collect();
    assert_eq!(data, [[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0].to_vec(), vec![3, 0, 0]]);

    let twice = "r1 = map1 ll\nr2 = 16\nr3 = 0\ncall 131\nr7 = r0\nr1 = r7\nr2 = 0\ncall 132";
    let again = stopped("xdp", maps, &format!("{twice}\nr1 = r7\nr2 = 0\ncall 132"));
    assert!(again.contains("is no record that was reserved"), "{again}");
    let after = stopped("xdp", maps, &format!("{twice}\n*(u64 *)(r7 + 0) = 1"));
    assert!(after.contains("no memory of the program"), "{after}");
    let header = "r1 = map1 ll\nr2 = 16\nr3 = 0\ncall 131\n*(u32 *)(r0 - 8) = 1";
    assert!(stopped("xdp", maps, header).contains("no memory of the program"));
}

#[test]
fn perf_events() {
    let maps = "map map1 \"e\" perf_event_array key 4 value 4 entries 0";
    let output = |flags: u64| {
        let body = format!(
            "*(u64 *)(r9 + 8) = 0x0102\nr1 = r6\nr2 = map1 ll\nr3 = {flags} ll\nr4 = r9\nr4 += 8
            r5 = 2\ncall 25\n*(u64 *)(r9 + 0) = r0"
        );
        let case = Case { kind: "xdp", maps, body: &body, packet: &[7; 20], ..Case::default() };
        let outcome = run(case);
        (outcome.at(0), outcome.maps[1].drain())
    };
    let sample = |data: &[u8]| vec![Sample { cpu: 0, data: data.to_vec() }];
    assert_eq!(output(0xffff_ffff), (0, sample(&[2, 1])));
    assert_eq!(output(2 << 32), (0, sample(&[2, 1, 7, 7])));
    assert_eq!(output(21 << 32), (-14, vec![]));
    assert_eq!(output(1), (-7, vec![]));
    assert_eq!(output(1 << 52), (-22, vec![]));
}

#[test]
fn surroundings() {
    let task = Task { tgid: 3, pid: 4, uid: 5, gid: 6, comm: "a long name of a task".into() };
    let environment = Environment::default()
        .with_clock(Clock::Fixed(12_000_000))
        .with_cpu(2)
        .with_task(task)
        .with_cookie(9)
        .with_random(8);
    let numbers = [5, 7, 8, 14, 15, 35, 46, 118, 125, 160];
    let calls = numbers.iter().enumerate().map(|(index, helper)| {
        format!("r1 = r6\ncall {helper}\n*(u64 *)(r9 + {}) = r0\n", 8 * index)
    });
    let body = calls.collect::<String>() + "r1 = r9\nr1 += 128\nr2 = 16\ncall 16";
    let case =
        Case { kind: "sched_cls", body: &body, packet: &[0; 20], environment, ..Case::default() };
    let outcome = run(case);
    let results: Vec<i64> = (0..numbers.len()).map(|index| outcome.at(8 * index)).collect();
    let [pids, users] = [3 << 32 | 4, 6 << 32 | 5];
    let clock = 12_000_000;
    assert_eq!(results, [clock, 8, 2, pids, users, 0, 9, 3, clock, clock]);
    assert_eq!(&outcome.out[128..144], b"a long name of \0");
}

/// What the kernel's verdict function sees is not of this world.
#[test]
fn return_values() {
    let body =
        "call 186\n*(u64 *)(r9 + 0) = r0\nr1 = -5\ncall 187\ncall 186\n*(u64 *)(r9 + 8) = r0";
    let outcome = ran("cgroup_skb", &[0; 20], body);
    assert_eq!((outcome.at(0), outcome.at(8)), (0, -5));
}

#[test]
fn locks_and_pointers() {
    let body = "r1 = r9\nr1 += 64\ncall 93\nr1 = *(u32 *)(r9 + 64)\n*(u64 *)(r9 + 0) = r1
        r1 = r9\nr1 += 64\ncall 94\nr1 = r9\nr1 += 128\nr2 = 5\ncall 194
        r1 = r9\nr1 += 128\nr2 = 0\ncall 194\n*(u64 *)(r9 + 8) = r0";
    let outcome = ran("xdp", &[], body);
    assert_eq!([0, 8, 64, 128].map(|at| outcome.at(at)), [1, 5, 0, 0]);
    assert!(stopped("xdp", "", "r1 = r9\nr1 += 2\ncall 94").contains("not aligned"));
    // The kernel's verifier takes no program that waits for itself.
    let twice = stopped("xdp", "", "r1 = r9\ncall 93\nr1 = r9\ncall 93");
    assert!(twice.contains("is not given back"), "{twice}");
}

#[test]
fn hashes_of_flows() {
    let hash = |packet: &[u8], before: &str| {
        let body = format!("{before}\nr1 = r6\ncall 34\n*(u64 *)(r9 + 0) = r0");
        ran("sched_cls", packet, &body).at(0)
    };
    let mut packet = vec![0; 60];
    packet[12..15].copy_from_slice(&[8, 0, 0x45]);
    packet[23] = 17;
    let first = hash(&packet, "");
    packet[58] = 1; // Payload.
    assert_eq!(hash(&packet, ""), first);
    packet[34] = 1; // A port.
    assert_ne!(hash(&packet, ""), first);
    assert_ne!(first, 0);
    assert_eq!(hash(&packet, "r1 = r6\nr2 = 77\ncall 48"), 77);
}

#[test]
fn tunnels() {
    let set = "r7 = 0x0102030400000005 ll\n*(u64 *)(r9 + 64) = r7
        r1 = r6\nr2 = r9\nr2 += 64\nr3 = 8\nr4 = 0\ncall 21\n*(u64 *)(r9 + 0) = r0";
    let get = |flags: u32| {
        let get = format!("r1 = r6\nr2 = r9\nr2 += 128\nr3 = 44\nr4 = {flags}\ncall 20");
        let body = format!("{set}\n*(u64 *)(r9 + 128) = -1\n{get}\n*(u64 *)(r9 + 8) = r0");
        let outcome = ran("sched_cls", &[0; 64], &body);
        (outcome.at(0), outcome.at(8), outcome.out[128..172].to_vec())
    };
    let mut key = vec![0; 44];
    key[0] = 5;
    key[28..32].copy_from_slice(&[4, 3, 2, 1]); // Sent by whom it was sent to.
    assert_eq!(get(0), (0, 0, key));
    assert_eq!(get(1), (0, -71, vec![0; 44]));
    assert_eq!(get(2), (0, -22, vec![0; 44]));
}

#[test]
fn no_packet_came_through_ipsec() {
    let body = "*(u64 *)(r9 + 64) = -1\n*(u64 *)(r9 + 72) = -1
        r1 = r6\nr2 = 0\nr3 = r9\nr3 += 64\nr4 = 12\nr5 = 0\ncall 66\n*(u64 *)(r9 + 0) = r0";
    let outcome = ran("sched_cls", &[0; 64], body);
    let expected = [[0; 8], [0, 0, 0, 0, 255, 255, 255, 255]].concat();
    assert_eq!((outcome.at(0), &outcome.out[64..80]), (-22, &expected[..]));
}

#[test]
fn what_helpers_may_not_touch() {
    let body = "r1 = r9\nr1 += 250\nr2 = 8\nr3 = 0\ncall 113";
    assert!(stopped("xdp", "", body).contains("access of 8 bytes"), "behind a value");
    let own = "r1 = r6\nr2 = 0\nr3 = r6\nr4 = 4\ncall 189";
    assert!(stopped("xdp", "", own).contains("no memory of the program"), "the context");
    let other = "r1 = r9\nr2 = 0\ncall 44";
    assert!(stopped("xdp", "", other).contains("is not the context"));
    let read_only = "map map1 \".rodata\" array key 4 value 8 entries 1 flags 0x80 { 41 }";
    let body = "r1 = r6\nr2 = 0\nr3 = map1[0] ll\nr4 = 8\ncall 189";
    assert!(stopped("xdp", read_only, body).contains("no memory of the program"));
    assert!(stopped("xdp", read_only, "r1 = map1[0] ll\n*(u8 *)(r1 + 0) = 1").contains("access"));
    for helper in [2, 3] {
        let body = format!("r1 = map1 ll\n{KEY}\nr3 = r10\nr3 += -8\nr4 = 0\ncall {helper}");
        assert!(stopped("xdp", read_only, &body).contains("programs cannot write"), "{helper}");
    }
    assert!(stopped("xdp", "", "r1 = 0\ncall 1").contains("is no map"));
    let after = "r7 = *(u32 *)(r6 + 0)\nr1 = r6\nr2 = 32\ncall 44\nr1 = *(u8 *)(r7 + 0)";
    assert!(stopped("xdp", "", after).contains("access"), "the packet moved on");
}
