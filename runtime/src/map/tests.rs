//! Every kind's table of results, and what is special about its values.

use tailor_bpf::ProgramKind;
use tailor_bpf::helpers::Access;

use super::*;
use crate::env::{self, Environment};
use errno::*;

const LAYOUT: SlotLayout = SlotLayout { max_entries: 0, slots: 16 };

fn def(kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
    MapDef { key_size, value_size, max_entries, ..MapDef::new("m", kind) }
}

fn make(kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> Arc<Map> {
    Map::new(&def(kind, key_size, value_size, max_entries), LAYOUT).unwrap()
}

/// For two processors.
fn make_per_cpu(kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> Arc<Map> {
    let options = Options { slots: LAYOUT, cpus: 2 };
    Map::new(&def(kind, key_size, value_size, max_entries), options).unwrap()
}

fn refusal(def: &MapDef) -> String {
    Map::new(def, LAYOUT).map(|_| ()).unwrap_err().to_string()
}

fn key(number: u32) -> [u8; 4] {
    number.to_le_bytes()
}

/// What a program reads at the address of a value.
fn peek<const N: usize>(address: u64) -> [u8; N] {
    // SAFETY: the tests pass addresses of values of N bytes of maps that live.
    unsafe { *(address as *const [u8; N]) }
}

/// Runs `body` as a program on a processor.
fn on<R>(cpu: u32, body: impl FnOnce() -> R) -> R {
    env::enter(&Environment::default().with_cpu(cpu), ProgramKind::Raw, body)
}

#[test]
fn arrays() {
    let map = make(MapKind::Array, 4, 4, 3);
    assert_eq!(map.program_update(&key(1), &[1, 2, 3, 4], 0), 0);
    assert_eq!(map.program_update(&key(1), &[1, 2, 3, 5], EXIST), 0);
    assert_eq!(map.program_update(&key(1), &[0; 4], NOEXIST), -EEXIST);
    assert_eq!(map.program_update(&key(3), &[0; 4], NOEXIST), -E2BIG);
    assert_eq!(map.program_update(&key(3), &[0; 4], 3), -EINVAL);
    assert_eq!(map.delete(&key(1)), -EINVAL);
    assert_eq!(map.lookup(&key(3)), None);
    assert_eq!(peek(map.lookup(&key(1)).unwrap()), [1, 2, 3, 5]);
    let value = map.lookup(&key(2)).unwrap();
    assert_eq!(map.region(value + 3, Access::Read), Some((value, 4)));
    assert_eq!(map.region(map.first_value().unwrap() - 1, Access::Read), None);
    assert_eq!(map.entries().len(), 3);
}

#[test]
fn per_cpu_arrays() {
    let map = make_per_cpu(MapKind::PercpuArray, 4, 2, 2);
    assert_eq!(on(1, || map.program_update(&key(0), &[7, 8], 0)), 0);
    assert_eq!(map.get(&key(0)), Some(vec![0, 0, 7, 8]));
    assert_eq!(map.update(&key(0), &[1, 2], 0), 0);
    assert_eq!(map.update(&key(1), &[1, 2, 3, 4], 0), 0);
    let all = [(key(0).to_vec(), vec![1, 2, 1, 2]), (key(1).to_vec(), vec![1, 2, 3, 4])];
    assert_eq!(map.entries(), all);
    assert_eq!(on(1, || peek(map.lookup(&key(1)).unwrap())), [3, 4]);
    assert_eq!(on(2, || peek(map.lookup(&key(1)).unwrap())), [1, 2]);
    assert_eq!(map.lookup_on(&key(1), 1).map(peek), Some([3, 4]));
    assert_eq!(map.lookup_on(&key(1), 2), None);
    assert_eq!(map.first_value(), None);
}

#[test]
fn hashes() {
    let map = make(MapKind::Hash, 4, 1, 2);
    assert_eq!(map.program_update(&key(1), &[1], EXIST), -ENOENT);
    assert_eq!(map.program_update(&key(1), &[1], NOEXIST), 0);
    assert_eq!(map.program_update(&key(1), &[2], NOEXIST), -EEXIST);
    assert_eq!(map.program_update(&key(2), &[2], 0), 0);
    assert_eq!(map.program_update(&key(3), &[3], 0), -E2BIG);
    assert_eq!(map.program_update(&key(3), &[3], 3), -EINVAL);
    assert_eq!(map.delete(&key(3)), -ENOENT);
    // Full, and an entry changes all the same; the old value can still be read.
    let old = map.lookup(&key(1)).unwrap();
    assert_eq!(map.program_update(&key(1), &[9], EXIST), 0);
    let new = map.lookup(&key(1)).unwrap();
    assert_eq!((peek(old), peek(new)), ([1], [9]));
    assert_eq!(map.delete(&key(1)), 0);
    assert_eq!(map.delete(&key(1)), -ENOENT);
    assert_eq!((map.lookup(&key(1)), peek(new)), (None, [9]));
    assert_eq!(map.program_update(&key(3), &[3], 0), 0);
    assert_eq!(map.entries(), [(key(2).to_vec(), vec![2]), (key(3).to_vec(), vec![3])]);
}

#[test]
fn per_cpu_hashes() {
    let map = make_per_cpu(MapKind::PercpuHash, 4, 1, 1);
    assert_eq!(on(1, || map.program_update(&key(5), &[1], NOEXIST)), 0);
    assert_eq!(map.get(&key(5)), Some(vec![0, 1]));
    let value = on(1, || map.lookup(&key(5)).unwrap());
    assert_eq!(on(1, || map.program_update(&key(5), &[2], 0)), 0);
    assert_eq!(peek(value), [2], "in place");
    assert_eq!(map.update(&key(5), &[3], EXIST), 0);
    assert_eq!(map.get(&key(5)), Some(vec![3, 3]));
    assert_eq!(map.program_update(&key(6), &[3], 0), -E2BIG);
    // What was there before does not show in a new entry.
    assert_eq!((map.delete(&key(5)), map.program_update(&key(6), &[4], 0)), (0, 0));
    assert_eq!(map.get(&key(6)), Some(vec![4, 0]));
}

#[test]
fn least_recently_used_go_first() {
    for kind in [MapKind::LruHash, MapKind::LruPercpuHash] {
        let map = make(kind, 4, 1, 3);
        for number in 0..3 {
            assert_eq!(map.program_update(&key(number), &[0], NOEXIST), 0);
        }
        assert!(map.lookup(&key(0)).is_some()); // Now 1 is the oldest.
        assert_eq!(map.program_update(&key(1), &[1], EXIST), 0); // Now 2.
        assert_eq!(map.get(&key(2)), Some(vec![0])); // The host's reads do not count.
        assert_eq!(map.program_update(&key(3), &[3], EXIST), -ENOENT);
        assert_eq!(map.program_update(&key(3), &[3], 0), 0);
        assert_eq!(map.program_update(&key(4), &[4], 0), 0);
        let keys: Vec<_> = map.entries().into_iter().map(|(key, _)| key[0]).collect();
        assert_eq!(keys, [1, 3, 4]);
        assert_eq!((map.delete(&key(0)), map.delete(&key(1))), (-ENOENT, 0));
    }
}

#[test]
fn longest_prefixes() {
    let map = make(MapKind::LpmTrie, 8, 1, 3);
    let key = |bits: u32, address: [u8; 4]| [key(bits), address].concat();
    assert_eq!(map.program_update(&key(33, [0; 4]), &[1], 0), -EINVAL);
    assert_eq!(map.program_update(&key(8, [10, 9, 9, 9]), &[1], 3), -EINVAL);
    assert_eq!(map.program_update(&key(8, [10, 9, 9, 9]), &[8], EXIST), -ENOENT);
    assert_eq!(map.program_update(&key(8, [10, 9, 9, 9]), &[8], 0), 0);
    assert_eq!(map.program_update(&key(8, [10, 1, 1, 1]), &[8], NOEXIST), -EEXIST);
    assert_eq!(map.program_update(&key(20, [10, 1, 0x1f, 0]), &[20], NOEXIST), 0);
    assert_eq!(map.program_update(&key(32, [10, 1, 0x10, 3]), &[32], 0), 0);
    assert_eq!(map.program_update(&key(0, [0; 4]), &[0], 0), -ENOSPC);
    assert_eq!(map.program_update(&key(32, [10, 1, 0x10, 3]), &[33], 0), 0);
    let found = |bits, address| map.lookup(&key(bits, address)).map(peek);
    assert_eq!(found(32, [10, 1, 0x10, 3]), Some([33]));
    assert_eq!(found(31, [10, 1, 0x10, 3]), Some([20]));
    assert_eq!(found(32, [10, 1, 0x20, 3]), Some([8]));
    assert_eq!(found(7, [10, 1, 0x20, 3]), None);
    assert_eq!(found(32, [11, 0, 0, 0]), None);
    assert_eq!(found(33, [10, 0, 0, 0]), None);
    assert_eq!(map.delete(&key(33, [10, 0, 0, 0])), -EINVAL);
    assert_eq!(map.delete(&key(9, [10, 0, 0, 0])), -ENOENT);
    assert_eq!(map.delete(&key(20, [10, 1, 0x10, 0])), 0);
    assert_eq!(found(31, [10, 1, 0x10, 3]), Some([8]));
    let entries = [(key(8, [10, 9, 9, 9]), vec![8]), (key(32, [10, 1, 0x10, 3]), vec![33])];
    assert_eq!(map.entries(), entries);
    for size in [4, 261] {
        let wrong = def(MapKind::LpmTrie, size, 1, 1);
        assert_eq!(refusal(&wrong), "map m: the key size must be 5 to 260");
    }
}

#[test]
fn queues_and_stacks() {
    for (kind, order) in [(MapKind::Queue, [2, 3]), (MapKind::Stack, [3, 2])] {
        let map = make(kind, 0, 1, 2);
        assert_eq!(map.next(false), None);
        assert_eq!((map.push(&[1], 0), map.push(&[2], 0), map.push(&[3], 0)), (0, 0, -E2BIG));
        assert_eq!((map.push(&[3], NOEXIST), map.push(&[3], 3)), (-EINVAL, -EINVAL));
        assert_eq!(map.push(&[3], EXIST), 0, "the oldest goes");
        assert_eq!(map.entries(), order.map(|value| (vec![], vec![value])));
        assert_eq!(map.next(false), Some(vec![order[0]]));
        assert_eq!(
            (map.pop(), map.pop(), map.pop()),
            (Some(vec![order[0]]), Some(vec![order[1]]), None)
        );
        assert_eq!((map.program_update(&[], &[1], 0), map.update(&[], &[1], 0)), (-EINVAL, 0));
        assert_eq!((map.lookup(&[]), map.get(&[])), (None, Some(vec![1])));
        assert_eq!(map.delete(&[]), -EINVAL);
        // The helper that pops has room for a value, not for what the host gave.
        assert_eq!((map.pop(), map.update(&[], &[4, 5], 0)), (Some(vec![1]), 0));
        assert_eq!((map.pop(), map.update(&[], &[], 0)), (Some(vec![4]), 0));
        assert_eq!(map.pop(), Some(vec![0]));
    }
}

/// The processors that there can be are the map's, values of each only a
/// per-CPU map's.
#[test]
fn other_processors_values_are_per_cpu_maps_alone() {
    for (kind, found) in [
        (MapKind::Array, false),
        (MapKind::Hash, false),
        (MapKind::PercpuArray, true),
        (MapKind::PercpuHash, true),
    ] {
        let map = make_per_cpu(kind, 4, 4, 1);
        assert_eq!(map.update(&key(0), &[1; 4], 0), 0);
        assert_eq!(map.lookup_on(&key(0), 1).is_some(), found, "{kind:?}");
    }
}

#[test]
fn maps_of_maps() {
    let inner = def(MapKind::Array, 4, 4, 1);
    let first = Map::new(&inner, LAYOUT).unwrap();
    let second = Map::new(&inner, LAYOUT).unwrap();
    let outer = |kind| MapDef { inner: Some(Box::new(inner.clone())), ..def(kind, 4, 4, 2) };
    let array = Map::new(&outer(MapKind::ArrayOfMaps), LAYOUT).unwrap();
    let hash = Map::new(&outer(MapKind::HashOfMaps), LAYOUT).unwrap();
    for map in [&array, &hash] {
        assert_eq!(map.lookup(&key(1)), None);
        assert_eq!(map.insert_map(&key(1), &first, 0), 0);
        assert_eq!(map.lookup(&key(1)), Some(first.address()));
        assert_eq!(map.insert_map(&key(1), &second, 0), 0);
        assert_eq!(map.lookup(&key(1)), Some(second.address()));
        // The map that was replaced is still there for a program that uses it.
        assert!(map.inner_at(first.address()).is_some());
        let value = first.first_value().unwrap();
        assert_eq!(map.region(value, Access::Read), Some((value, 4)));
        assert_eq!(map.insert_map(&key(0), &make(MapKind::Array, 4, 4, 2), 0), -EINVAL);
        assert_eq!(map.insert_map(&key(0), &make(MapKind::Hash, 4, 4, 1), 0), -EINVAL);
        assert_eq!(map.insert_map(&key(0), &array, 0), -EINVAL);
        assert_eq!((map.delete(&key(1)), map.delete(&key(1))), (0, -ENOENT));
    }
    assert_eq!(array.insert_map(&key(2), &first, 0), -E2BIG);
    assert_eq!(array.insert_map(&key(0), &first, EXIST), -EINVAL);
    assert_eq!(array.delete(&key(2)), -E2BIG);
    assert_eq!(hash.insert_map(&key(7), &first, EXIST), -ENOENT);
    assert_eq!(hash.insert_map(&key(7), &first, NOEXIST), 0);
    assert_eq!(hash.insert_map(&key(7), &first, NOEXIST), -EEXIST);
    assert_eq!(hash.insert_map(&key(8), &first, 0), 0);
    assert_eq!(hash.insert_map(&key(9), &first, 0), -E2BIG);
    assert_eq!(hash.inner_maps().len(), 2);
}

#[test]
fn redirect_targets() {
    let number = |number: u32| number.to_le_bytes();
    let devices = make(MapKind::DevMap, 4, 8, 2);
    assert_eq!(devices.update(&key(2), &[7, 0, 0, 0, 0, 0, 0, 0], 0), -E2BIG);
    assert_eq!(devices.update(&key(1), &[7, 0, 0, 0, 0, 0, 0, 0], NOEXIST), -EEXIST);
    assert_eq!(devices.update(&key(1), &[7, 0, 0, 0, 0, 0, 0, 0], 0), 0);
    assert_eq!(devices.lookup(&key(1)).map(peek), Some([7, 0, 0, 0]));
    assert_eq!(devices.update(&key(1), &[0; 8], 0), 0);
    assert_eq!((devices.lookup(&key(1)), devices.delete(&key(1))), (None, 0));
    assert_eq!(devices.delete(&key(2)), -EINVAL);

    let hashed = make(MapKind::DevMapHash, 4, 4, 1);
    assert_eq!(hashed.update(&key(70), &number(0), 0), -EINVAL);
    assert_eq!(hashed.update(&key(70), &number(1), EXIST), 0);
    assert_eq!(hashed.update(&key(70), &number(2), NOEXIST), -EEXIST);
    assert_eq!(hashed.update(&key(71), &number(1), 0), -E2BIG);
    assert_eq!((hashed.delete(&key(70)), hashed.delete(&key(70))), (0, -ENOENT));

    let cpus = make(MapKind::CpuMap, 4, 4, 2);
    assert_eq!(cpus.update(&key(0), &number(16385), 0), -EOVERFLOW);
    assert_eq!(cpus.update(&key(0), &number(16384), 0), 0);
    assert_eq!(cpus.entries(), [(key(0).to_vec(), number(16384).to_vec())]);

    let sockets = make(MapKind::XskMap, 4, 4, 2);
    assert_eq!(sockets.update(&key(0), &number(0), EXIST), -ENOENT);
    assert_eq!(sockets.update(&key(0), &number(0), NOEXIST), 0);
    assert_eq!(sockets.update(&key(0), &number(0), NOEXIST), -EEXIST);
    assert!(sockets.lookup(&key(0)).is_some());
}

#[test]
fn perf_events() {
    let map = make_per_cpu(MapKind::PerfEventArray, 4, 4, 3);
    let sample = |slot, byte| map.sample(slot, || vec![byte]);
    assert_eq!(on(1, || sample(None, 1)), 0);
    assert_eq!(on(0, || sample(Some(0), 2)), 0);
    assert_eq!(on(0, || sample(Some(1), 3)), -EOPNOTSUPP);
    assert_eq!(on(0, || sample(Some(2), 3)), -ENOENT);
    assert_eq!(on(0, || sample(Some(3), 3)), -E2BIG);
    let expected = [(1, 1), (0, 2)].map(|(cpu, byte)| Sample { cpu, data: vec![byte] });
    assert_eq!(map.drain(), expected);
    assert_eq!(map.drain(), []);
    assert_eq!(map.sample(None, || vec![0; 1 << 20]), -ENOSPC);
    // The number of entries that is to be set by a loader is the processors'.
    let map = make(MapKind::PerfEventArray, 4, 4, 0);
    assert_eq!((map.sample(None, Vec::new), map.sample(Some(1), Vec::new)), (0, -E2BIG));
}

#[test]
fn ring_buffers() {
    let map = make(MapKind::RingBuf, 0, 0, 100);
    assert_eq!([0, 1, 2, 3, 4].map(|what| map.query(what)), [0, 4096, 0, 0, 0]);
    assert_eq!(map.reserve(8, 1), None);
    assert_eq!(map.reserve(4096, 0), None);
    let first = map.reserve(5, 0).unwrap();
    let second = map.reserve(8, 0).unwrap();
    assert!(map.holds_record(first) && map.holds_record(second) && !map.holds_record(first + 8));
    assert_eq!(map.query(0), 32);
    // SAFETY: records that were just reserved, of these sizes, each finished once.
    unsafe {
        *(first as *mut [u8; 5]) = *b"hello";
        ringbuf::finish(second, Fate::Discarded);
        assert_eq!(map.drain(), [], "the first is not submitted yet");
        ringbuf::finish(first, Fate::Submitted);
    }
    assert!(!map.holds_record(first));
    assert_eq!(map.output(b"xy", 4), -EINVAL);
    assert_eq!(map.output(b"xy", 2), 0);
    let sample = |data: &[u8]| Sample { cpu: 0, data: data.to_vec() };
    assert_eq!(map.drain(), [sample(b"hello"), sample(b"xy")]);
    assert_eq!([0, 2, 3].map(|what| map.query(what)), [0, 48, 48]);
}

#[test]
fn ring_buffers_wrap() {
    let map = make(MapKind::RingBuf, 0, 0, 4096);
    let record: Vec<u8> = (0..1500).map(|byte| byte as u8).collect();
    for _ in 0..100 {
        assert_eq!((map.output(&record, 0), map.output(&record, 0)), (0, 0));
        assert_eq!(map.output(&record, 0), -EAGAIN);
        assert!(map.drain().iter().all(|sample| sample.data == record));
    }
    assert_eq!(map.output(&[0; 4081], 0), -EAGAIN);
    assert_eq!(map.output(&[0; 4080], 0), 0);
}

/// Also where they are in others.
#[test]
fn maps_that_programs_cannot_write() {
    let inner = MapDef { flags: 1 << 7, ..def(MapKind::Array, 4, 4, 1) };
    let map = Map::new(&inner, LAYOUT).unwrap();
    let outer = MapDef { inner: Some(Box::new(inner)), ..def(MapKind::ArrayOfMaps, 4, 4, 1) };
    let outer = Map::new(&outer, LAYOUT).unwrap();
    assert_eq!(outer.insert_map(&key(0), &map, 0), 0);
    let value = map.first_value().unwrap();
    for map in [&map, &outer] {
        assert_eq!(map.region(value, Access::Read), Some((value, 4)));
        assert_eq!(map.region(value, Access::Write), None);
        assert_eq!(map.region(value, Access::Update), None);
    }
}

#[test]
fn storage_of_control_groups() {
    let map = make_per_cpu(MapKind::PercpuCgroupStorage, 8, 2, 0);
    assert_eq!(map.update(&[0; 8], &[1, 2, 3, 4], 0), 0);
    assert_eq!(map.update(&[0; 8], &[1, 2], NOEXIST), -EINVAL);
    let own = on(1, || map.local_storage().unwrap());
    assert_eq!((peek(own), map.region(own, Access::Read)), ([3, 4], Some((own, 2))));
    assert_eq!((map.lookup(&[0; 8]), map.delete(&[0; 8])), (None, -EINVAL));
    assert_eq!(map.entries(), [(vec![0; 8], vec![1, 2, 3, 4])]);
}

#[test]
fn what_cannot_be_made() {
    assert_eq!(refusal(&def(MapKind::Other(24), 4, 4, 1)), "map m: map type 24 is not implemented");
    assert_eq!(refusal(&def(MapKind::PercpuArray, 8, 4, 1)), "map m: the key size must be 4");
    let empty = "map m: max_entries is 0; it must be set before the map is made";
    assert_eq!(refusal(&def(MapKind::LruHash, 4, 4, 0)), empty);
    let large = "map m: more than 4294967296 bytes of values";
    assert_eq!(refusal(&def(MapKind::Array, 4, u32::MAX, u32::MAX)), large);
}

/// What an object says of an array's size costs nothing before it is used.
#[test]
#[cfg(target_os = "linux")]
fn large_program_arrays_cost_address_space_alone() {
    let resident = || {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        4096 * pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = resident();
    let map = make(MapKind::ProgArray, 4, 4, 1 << 28);
    assert_eq!(map.slot((1 << 28) - 1).unwrap().load(std::sync::atomic::Ordering::Relaxed), 0);
    // The slots are of 2 GiB.
    assert!(resident() < before + (1 << 30));
}
