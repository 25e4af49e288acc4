/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Everything the examples need from outside: integer types, the context of an
 * XDP program, map definitions, ten helpers, and packet headers. With it they
 * compile with clang alone: no kernel or libbpf headers.
 */
#ifndef TAILOR_BPF_H
#define TAILOR_BPF_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;

/* In network byte order, as found in a packet. */
typedef __u16 __be16;
typedef __u32 __be32;

#define NULL ((void *)0)
#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Hides from the compiler what value `x` has. */
#define hide(x) asm volatile("" : "+r"(x))

/* Adds to a map value that other processors may be changing as well. */
#define add(where, amount) ((void)__sync_fetch_and_add(where, amount))

/* The BPF virtual machine has the byte order of its host: little-endian here. */
#define ntohs(x) __builtin_bswap16(x)
#define htons(x) __builtin_bswap16(x)
#define ntohl(x) __builtin_bswap32(x)
#define htonl(x) __builtin_bswap32(x)

/*
 * Maps. A definition is an anonymous struct in section .maps; the loader reads
 * it from its type information, where numbers are the lengths of arrays.
 */
#define __uint(name, number) int (*name)[number]
#define __type(name, type) typeof(type) *name
#define __array(name, type) typeof(type) *name[]

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
};

enum { /* flags of bpf_map_update_elem */
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_EXIST = 2,
};

/* Verdicts of an XDP program. */
enum {
	XDP_ABORTED = 0,
	XDP_DROP = 1,
	XDP_PASS = 2,
	XDP_TX = 3,
	XDP_REDIRECT = 4,
};

/* Context of an XDP program; data and data_end are pointers in disguise. */
struct xdp_md {
	__u32 data;
	__u32 data_end;
	__u32 data_meta;
	__u32 ingress_ifindex;
	__u32 rx_queue_index;
	__u32 egress_ifindex;
};

static __always_inline void *packet(const struct xdp_md *ctx)
{
	return (void *)(long)ctx->data;
}

static __always_inline void *packet_end(const struct xdp_md *ctx)
{
	return (void *)(long)ctx->data_end;
}

/* Helpers: calls to the fixed numbers of the BPF interface. */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value,
					 __u64 flags) = (void *)2;
static long (*const bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static __u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
static long (*const bpf_trace_printk)(const char *format, __u32 size, ...) = (void *)6;
static __u32 (*const bpf_get_prandom_u32)(void) = (void *)7;
static __u32 (*const bpf_get_smp_processor_id)(void) = (void *)8;
static long (*const bpf_tail_call)(void *ctx, void *prog_array, __u32 index) = (void *)12;
static long (*const bpf_redirect)(__u32 ifindex, __u64 flags) = (void *)23;
static __s64 (*const bpf_csum_diff)(__be32 *from, __u32 from_size, __be32 *to, __u32 to_size,
				    __u32 seed) = (void *)28;

/*
 * A tail call whose index is known at compile time. Written in assembly, since
 * clang would merge calls that differ by their index into one whose index is a
 * variable, which a just-in-time compiler can't turn into a direct jump.
 */
#define tail_call_static(ctx, prog_array, index)                                   \
	asm volatile("r1 = %0\n"                                                   \
		     "r2 = %1 ll\n"                                                \
		     "r3 = %2\n"                                                   \
		     "call 12"                                                     \
		     :                                                             \
		     : "r"(ctx), "i"(prog_array), "i"(index)                       \
		     : "r0", "r1", "r2", "r3", "r4", "r5", "memory")

/* Packet headers. */
enum {
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_ARP = 0x0806,
	ETHERTYPE_VLAN = 0x8100,
	ETHERTYPE_IPV6 = 0x86dd,
	ETHERTYPE_QINQ = 0x88a8,
};

enum {
	PROTO_HOPOPTS = 0,
	PROTO_ICMP = 1,
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	PROTO_ROUTING = 43,
	PROTO_ICMPV6 = 58,
	PROTO_DSTOPTS = 60,
};

struct eth_header {
	__u8 destination[6];
	__u8 source[6];
	__be16 type;
};

struct vlan_tag { /* follows an Ethernet type of ETHERTYPE_VLAN or _QINQ */
	__be16 control;
	__be16 type;
};

struct ipv4_header {
	__u8 version_ihl; /* version in the upper half, length in words in the lower */
	__u8 tos;
	__be16 total_length;
	__be16 id;
	__be16 fragment; /* flags in the upper 3 bits, offset in the lower 13 */
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 destination;
};

#define FRAGMENT_OFFSET htons(0x1fff)

struct ipv6_header {
	__be32 version_class_flow;
	__be16 payload_length;
	__u8 next_header;
	__u8 hop_limit;
	__be32 source[4];
	__be32 destination[4];
};

struct ipv6_extension {
	__u8 next_header;
	__u8 length; /* in units of 8 bytes, not counting the first 8 */
	__u8 data[6];
};

struct tcp_header {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledgement;
	__u8 data_offset; /* length in words in the upper half */
	__u8 flags;
	__be16 window;
	__be16 checksum;
	__be16 urgent;
};

enum { /* flags of a TCP header */
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_ACK = 0x10,
};

struct udp_header {
	__be16 source;
	__be16 destination;
	__be16 length;
	__be16 checksum;
};

struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 id;
	__be16 sequence;
};

#endif
