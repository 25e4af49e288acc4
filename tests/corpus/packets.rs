//! The five fixed packets.

/// Names and bytes of the packets that every program is run on.
pub fn packets() -> [(&'static str, Vec<u8>); 5] {
    let tcp = [
        0x30, 0x39, 0x00, 0x50, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0x20, 0, 0, 0, 0, 0, b'G',
        b'E', b'T', b' ', b'/', b' ', b'H', b'T', b'T', b'P',
    ];
    let udp = [
        0x30, 0x39, 0x00, 0x35, 0, 26, 0, 0, 0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0,
        0, 1, 0,
    ];
    [
        ("zeros", vec![0; 128]),
        ("TCP", ethernet(0x0800, ipv4(6, &tcp))),
        ("UDP", ethernet(0x0800, ipv4(17, &udp))),
        ("IPv6", ethernet(0x86dd, ipv6(6, &tcp))),
        ("random", random(256)),
    ]
}

fn ethernet(kind: u16, payload: Vec<u8>) -> Vec<u8> {
    let mut packet = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];
    packet.extend(kind.to_be_bytes());
    packet.extend(payload);
    packet.resize(packet.len().max(128), 0);
    packet
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len() as u16).to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0, 1, 0x40, 0, 64, protocol, 0, 0];
    packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    let sum: u32 =
        packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

fn ipv6(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], protocol, 64];
    for host in [1, 2] {
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    }
    packet.extend(payload);
    packet
}

/// Bytes of a linear congruential generator.
fn random(count: usize) -> Vec<u8> {
    let mut state = 0x7a11_0000_u64;
    let mut byte = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..count).map(|_| byte()).collect()
}
