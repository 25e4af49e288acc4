// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * TCP handshakes answered without memory: SYN cookies, for IPv4.
 *
 * A SYN to the protected port is turned into a SYN-ACK whose sequence number is
 * a keyed hash of the connection. Only an ACK that gives it back proves that the
 * sender is where it says, and is remembered; its packets pass from then on.
 *
 * Keys change with `epoch`, which the control plane moves on; cookies of this
 * epoch and of the one before are good. An epoch's keys come from the secret by
 * 8 rounds of ChaCha, the hash is SipHash-2-4. Both are unrolled: 16 words of 32
 * bits are live in the one, and in the check of a cookie two hashes of 64-bit
 * words go side by side in the other.
 */
#include "tailor_bpf.h"

const volatile __u16 protected_port = 443;

/* May be changed while the program runs. */
__u64 epoch;

struct secret {
	__u32 words[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct secret);
} secrets SEC(".maps");

struct connection {
	__be32 source;
	__be32 destination;
	__be16 source_port;
	__be16 destination_port;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct connection);
	__type(value, __u32); /* segment size that the sender takes */
} established SEC(".maps");

/* What became of a packet: index of its counter. */
enum outcome {
	OTHER, /* not ours */
	MALFORMED,
	OFFERED, /* a cookie was sent */
	ACCEPTED, /* and came back */
	FORGED, /* or did not */
	KNOWN,
	CLOSED,
	OUTCOMES,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, __u64);
} outcomes SEC(".maps");

static __always_inline int finish(__u32 outcome, int verdict)
{
	__u64 *count = bpf_map_lookup_elem(&outcomes, &outcome);

	if (count)
		add(count, 1);
	return verdict;
}

/* A cookie: the index of a segment size in the upper 2 bits, then 30 bits of hash. */
#define SIZE_SHIFT 30
#define HASH_BITS ((1u << SIZE_SHIFT) - 1)

/* Of the sizes that cookies can tell apart, the largest that is not above. */
static __always_inline __u32 size_index(__u32 size)
{
	return (size >= 1220) + (size >= 1440) + (size >= 1460);
}

static __always_inline __u32 size_at(__u32 index)
{
	return index == 0 ? 536 : index == 1 ? 1220 : index == 2 ? 1440 : 1460;
}

#define ROTATE32(x, n) ((x) << (n) | (x) >> (32 - (n)))
#define ROTATE64(x, n) ((x) << (n) | (x) >> (64 - (n)))

#define QUARTER(a, b, c, d)                                                        \
	do {                                                                       \
		a += b, d ^= a, d = ROTATE32(d, 16);                               \
		c += d, b ^= c, b = ROTATE32(b, 12);                               \
		a += b, d ^= a, d = ROTATE32(d, 8);                                \
		c += d, b ^= c, b = ROTATE32(b, 7);                                \
	} while (0)

#define DOUBLE_ROUND                                                               \
	do {                                                                       \
		QUARTER(x0, x4, x8, x12);                                          \
		QUARTER(x1, x5, x9, x13);                                          \
		QUARTER(x2, x6, x10, x14);                                         \
		QUARTER(x3, x7, x11, x15);                                         \
		QUARTER(x0, x5, x10, x15);                                         \
		QUARTER(x1, x6, x11, x12);                                         \
		QUARTER(x2, x7, x8, x13);                                          \
		QUARTER(x3, x4, x9, x14);                                          \
	} while (0)

struct key {
	__u64 low;
	__u64 high;
};

/* The first 16 bytes of the block whose counter is the epoch; the nonce is 0. */
static __always_inline struct key derive(const struct secret *secret, __u64 when)
{
	__u32 x0 = 0x61707865, x1 = 0x3320646e, x2 = 0x79622d32, x3 = 0x6b206574;
	__u32 x4 = secret->words[0], x5 = secret->words[1], x6 = secret->words[2];
	__u32 x7 = secret->words[3], x8 = secret->words[4], x9 = secret->words[5];
	__u32 x10 = secret->words[6], x11 = secret->words[7];
	__u32 x12 = when, x13 = when >> 32, x14 = 0, x15 = 0;
	struct key key;

	DOUBLE_ROUND;
	DOUBLE_ROUND;
	DOUBLE_ROUND;
	DOUBLE_ROUND;
	x0 += 0x61707865;
	x1 += 0x3320646e;
	x2 += 0x79622d32;
	x3 += 0x6b206574;
	key.low = (__u64)x1 << 32 | x0;
	key.high = (__u64)x3 << 32 | x2;
	return key;
}

/* The state of a hash, in variables whose names begin with p. */
#define SIP_STATE(p, key)                                                          \
	__u64 p##0 = (key).low ^ 0x736f6d6570736575ULL;                            \
	__u64 p##1 = (key).high ^ 0x646f72616e646f6dULL;                           \
	__u64 p##2 = (key).low ^ 0x6c7967656e657261ULL;                            \
	__u64 p##3 = (key).high ^ 0x7465646279746573ULL

#define SIP_ROUND(p)                                                               \
	do {                                                                       \
		p##0 += p##1, p##1 = ROTATE64(p##1, 13), p##1 ^= p##0;             \
		p##0 = ROTATE64(p##0, 32);                                         \
		p##2 += p##3, p##3 = ROTATE64(p##3, 16), p##3 ^= p##2;             \
		p##0 += p##3, p##3 = ROTATE64(p##3, 21), p##3 ^= p##0;             \
		p##2 += p##1, p##1 = ROTATE64(p##1, 17), p##1 ^= p##2;             \
		p##2 = ROTATE64(p##2, 32);                                         \
	} while (0)

/*
 * What is hashed: 17 bytes. Addresses, ports and the client's sequence number are
 * as in its SYN.
 */
struct message {
	__u64 addresses;
	__u64 rest; /* ports, sequence number */
	__u64 last; /* the index of the segment size, and the length on top */
};

static __always_inline struct message message(const struct connection *connection,
					      __u32 sequence, __u32 size)
{
	struct message m = {
		.addresses = (__u64)connection->destination << 32 | connection->source,
		.rest = (__u64)htonl(sequence) << 32 |
			(__u32)connection->destination_port << 16 | connection->source_port,
		.last = 17ULL << 56 | size,
	};

	return m;
}

/* The hash under one key. */
static __always_inline __u32 hash(struct key key, struct message m)
{
	SIP_STATE(v, key);

	v3 ^= m.addresses;
	SIP_ROUND(v);
	SIP_ROUND(v);
	v0 ^= m.addresses;
	v3 ^= m.rest;
	SIP_ROUND(v);
	SIP_ROUND(v);
	v0 ^= m.rest;
	v3 ^= m.last;
	SIP_ROUND(v);
	SIP_ROUND(v);
	v0 ^= m.last;
	v2 ^= 0xff;
	SIP_ROUND(v);
	SIP_ROUND(v);
	SIP_ROUND(v);
	SIP_ROUND(v);
	return (v0 ^ v1 ^ v2 ^ v3) & HASH_BITS;
}

#define BOTH(step)                                                                 \
	do {                                                                       \
		step(v);                                                           \
		step(w);                                                           \
	} while (0)

/* Whether a hash is the message's under one of two keys, in one go. */
static __always_inline int matches(struct key now, struct key before, struct message m,
				   __u32 claimed)
{
	SIP_STATE(v, now);
	SIP_STATE(w, before);

	v3 ^= m.addresses, w3 ^= m.addresses;
	BOTH(SIP_ROUND);
	BOTH(SIP_ROUND);
	v0 ^= m.addresses, w0 ^= m.addresses;
	v3 ^= m.rest, w3 ^= m.rest;
	BOTH(SIP_ROUND);
	BOTH(SIP_ROUND);
	v0 ^= m.rest, w0 ^= m.rest;
	v3 ^= m.last, w3 ^= m.last;
	BOTH(SIP_ROUND);
	BOTH(SIP_ROUND);
	v0 ^= m.last, w0 ^= m.last;
	v2 ^= 0xff, w2 ^= 0xff;
	BOTH(SIP_ROUND);
	BOTH(SIP_ROUND);
	BOTH(SIP_ROUND);
	BOTH(SIP_ROUND);
	v0 ^= v1 ^ v2 ^ v3;
	w0 ^= w1 ^ w2 ^ w3;
	return ((v0 ^ claimed) & HASH_BITS) == 0 || ((w0 ^ claimed) & HASH_BITS) == 0;
}

/* The sum of 16-bit words, at most 2^16 of them, as the Internet checksum. */
static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

static __always_inline __u32 halves(__u32 word)
{
	return (word & 0xffff) + (word >> 16);
}

#define MSS_OPTION 0x0402 /* kind 2, 4 bytes long, as a little-endian number */
#define NO_OPTIONS 0x01010101 /* four of kind 1 */
#define OUR_SIZE 1460

/* The segment size that a SYN offers. Every stack puts that option first. */
static __always_inline __u32 offered_size(const struct tcp_header *tcp, const void *end)
{
	const __be16 *option = (void *)(tcp + 1);

	if (tcp->data_offset >> 4 < 6 || (void *)(option + 2) > end || option[0] != MSS_OPTION)
		return 536;
	return ntohs(option[1]);
}

/* Turns a SYN into its SYN-ACK. What options it had give way to our own. */
static __always_inline void answer(struct eth_header *eth, struct ipv4_header *ip,
				   struct tcp_header *tcp, const void *end, __u32 cookie)
{
	__u32 words = tcp->data_offset >> 4, sum, i;
	__be32 *option = (void *)(tcp + 1), source = ip->source;
	__be16 port = tcp->source;
	__u8 mac[6];

	__builtin_memcpy(mac, eth->source, 6);
	__builtin_memcpy(eth->source, eth->destination, 6);
	__builtin_memcpy(eth->destination, mac, 6);

	ip->source = ip->destination;
	ip->destination = source;
	ip->tos = 0;
	ip->id = 0;
	ip->fragment = htons(0x4000);
	ip->ttl = 64;
	sum = halves(ip->source) + halves(ip->destination);
	ip->checksum = fold(sum + 0x45 + ip->total_length + ip->fragment + (PROTO_TCP << 8 | 64));

	tcp->source = tcp->destination;
	tcp->destination = port;
	tcp->acknowledgement = htonl(ntohl(tcp->sequence) + 1);
	tcp->sequence = htonl(cookie);
	tcp->data_offset = words << 4;
	tcp->flags = TCP_SYN | TCP_ACK;
	tcp->window = 0xffff;
	tcp->urgent = 0;
	sum += htons(PROTO_TCP) + htons(words * 4) + tcp->source + port + tcp->window;
	sum += halves(tcp->acknowledgement) + halves(tcp->sequence);
	sum += tcp->flags << 8 | tcp->data_offset;
	for (i = 5; i < words; i++) {
		if ((void *)(option + 1) > end)
			break;
		*option = i > 5 ? NO_OPTIONS : (__u32)htons(OUR_SIZE) << 16 | MSS_OPTION;
		sum += halves(*option++);
	}
	tcp->checksum = fold(sum);
}

SEC("xdp")
int xdp_syncookie(struct xdp_md *ctx)
{
	void *end = packet_end(ctx);
	struct eth_header *eth = packet(ctx);
	struct ipv4_header *ip = (void *)(eth + 1);
	struct tcp_header *tcp = (void *)(ip + 1);
	struct connection connection = {};
	__u32 sequence, cookie, size, zero = 0, *known;
	struct secret *secret;
	struct key now;

	if ((void *)(ip + 1) > end || eth->type != htons(ETHERTYPE_IPV4) || ip->protocol != PROTO_TCP)
		return finish(OTHER, XDP_PASS);
	if (ip->version_ihl != 0x45 || ip->fragment & ~htons(0x4000) || (void *)(tcp + 1) > end)
		return finish(MALFORMED, XDP_DROP);
	if (ntohs(tcp->destination) != protected_port)
		return finish(OTHER, XDP_PASS);
	connection.source = ip->source;
	connection.destination = ip->destination;
	connection.source_port = tcp->source;
	connection.destination_port = tcp->destination;
	sequence = ntohl(tcp->sequence);
	secret = bpf_map_lookup_elem(&secrets, &zero);
	if (!secret)
		return XDP_ABORTED;

	if (tcp->flags & TCP_SYN) {
		/* Nothing but a SYN: no other flag, no data, all of the header. */
		if (tcp->flags & (TCP_FIN | TCP_RST | TCP_ACK) || tcp->data_offset < 0x50 ||
		    ntohs(ip->total_length) != sizeof(*ip) + (tcp->data_offset >> 4) * 4 ||
		    (void *)ip + ntohs(ip->total_length) > end)
			return finish(MALFORMED, XDP_DROP);
		size = size_index(offered_size(tcp, end));
		now = derive(secret, epoch);
		cookie = hash(now, message(&connection, sequence, size)) | size << SIZE_SHIFT;
		answer(eth, ip, tcp, end, cookie);
		return finish(OFFERED, XDP_TX);
	}

	known = bpf_map_lookup_elem(&established, &connection);
	if (known) {
		if (!(tcp->flags & (TCP_FIN | TCP_RST)))
			return finish(KNOWN, XDP_PASS);
		bpf_map_delete_elem(&established, &connection);
		return finish(CLOSED, XDP_PASS);
	}
	if (tcp->flags & TCP_RST || !(tcp->flags & TCP_ACK))
		return finish(FORGED, XDP_DROP);
	cookie = ntohl(tcp->acknowledgement) - 1;
	size = cookie >> SIZE_SHIFT;
	now = derive(secret, epoch);
	if (!matches(now, derive(secret, epoch - 1), message(&connection, sequence - 1, size), cookie))
		return finish(FORGED, XDP_DROP);
	size = size_at(size);
	bpf_map_update_elem(&established, &connection, &size, BPF_ANY);
	return finish(ACCEPTED, XDP_PASS);
}

char _license[] SEC("license") = "MIT OR Apache-2.0";
