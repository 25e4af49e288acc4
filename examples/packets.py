# SPDX-License-Identifier: MIT OR Apache-2.0
"""Builds packets for examples/make-cases.

Checksums are computed over the whole header or segment, never adjusted, so
that they are a model independent of programs that adjust them.
"""

import struct
from ipaddress import ip_address

IPV4, ARP, VLAN, QINQ, IPV6 = 0x0800, 0x0806, 0x8100, 0x88A8, 0x86DD
HOPOPTS, ICMP, TCP, UDP, GRE, ICMPV6 = 0, 1, 6, 17, 47, 58
FIN, SYN, RST, ACK = 1, 2, 4, 16

CLIENT_MAC, SERVER_MAC = "020000000001", "020000000002"


def address(text):
    return ip_address(text).packed


def checksum(data):
    """The Internet checksum, as a number."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ether(ethertype, payload=b"", destination=SERVER_MAC, source=CLIENT_MAC):
    return bytes.fromhex(destination + source) + struct.pack(">H", ethertype) + payload


def vlan(tag, ethertype, payload):
    """What follows an Ethernet type of VLAN or QINQ."""
    return struct.pack(">HH", tag, ethertype) + payload


def ipv4(source, destination, protocol, payload=b"", ttl=64, tos=0, ident=1, fragment=0, options=b"", ihl=None):
    """`payload` is bytes, or a function from the pseudo header to bytes."""
    source, destination = address(source), address(destination)
    if callable(payload):
        payload = payload(source + destination, protocol)
    ihl = 5 + len(options) // 4 if ihl is None else ihl

    def header(check):
        return struct.pack(
            ">BBHHHBBH", 0x40 | ihl, tos, 20 + len(options) + len(payload), ident, fragment, ttl, protocol, check
        ) + source + destination + options

    return header(checksum(header(0))) + payload


def ipv6(source, destination, next_header, payload=b"", extensions=0):
    """`extensions` hop-by-hop headers of 8 bytes stand before the payload."""
    source, destination = address(source), address(destination)
    if callable(payload):
        payload = payload(source + destination, next_header)
    for _ in range(extensions):
        payload = bytes([next_header, 0, 1, 4, 0, 0, 0, 0]) + payload
        next_header = HOPOPTS
    return struct.pack(">IHBB", 0x60000000, len(payload), next_header, 64) + source + destination + payload


def segment(at, header, data):
    """A TCP, UDP or ICMPv6 segment whose checksum, at offset `at`, covers the pseudo header."""

    def finish(addresses, protocol):
        pseudo = addresses + struct.pack(">II", len(header) + len(data), protocol)
        check = checksum(pseudo + header + data)
        if protocol == UDP and check == 0:
            check = 0xFFFF
        return header[:at] + struct.pack(">H", check) + header[at + 2 :] + data

    return finish


def tcp(source, destination, flags=ACK, data=b"", window=8192, sequence=1, acknowledgement=0, options=b""):
    header = struct.pack(
        ">HHIIBBHHH", source, destination, sequence, acknowledgement, 5 + len(options) // 4 << 4, flags, window, 0, 0
    )
    return segment(16, header + options, data)


def udp(source, destination, data=b""):
    return segment(6, struct.pack(">HHHH", source, destination, 8 + len(data), 0), data)


def udp_unchecked(source, destination, data=b""):
    """UDP whose checksum is 0: not used."""
    return struct.pack(">HHHH", source, destination, 8 + len(data), 0) + data


def icmp(kind, code=0, data=b""):
    header = struct.pack(">BBHHH", kind, code, 0, 7, 1)
    return header[:2] + struct.pack(">H", checksum(header + data)) + header[4:] + data


def icmpv6(kind, code=0, data=b""):
    return segment(2, struct.pack(">BBHHH", kind, code, 0, 7, 1), data)
