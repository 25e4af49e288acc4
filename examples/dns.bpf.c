// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A filter for DNS queries by the name they ask for (UDP over IPv4).
 *
 * The name is read twice: forwards, label by label, to find where it ends; then
 * backwards, byte by byte, so that one running hash is that of every domain the
 * name lies in, from the top-level domain down. The longest domain that is
 * listed decides: the query passes, is dropped, or is answered by the program
 * itself with "refused".
 */
#include "tailor_bpf.h"

#define PORT 53

struct dns_header {
	__be16 id;
	__be16 flags;
	__be16 questions;
	__be16 answers;
	__be16 authorities;
	__be16 additional;
};

enum { /* bits of the flags */
	RESPONSE = 0x8000,
	OPCODE = 0x7800,
	TRUNCATED = 0x0200,
	RECURSION_DESIRED = 0x0100,
	REFUSED = 5,
};

#define MAX_NAME 255 /* bytes, the final 0 included */
#define MAX_LABEL 63 /* bytes, without its length */
#define MAX_LABELS 127

struct name {
	__u32 length; /* in bytes, without the final 0 */
	__u32 labels;
	__u64 starts[4]; /* bit by offset: a label's length byte is there */
};

enum action {
	LET_PASS,
	REFUSE,
	IGNORE,
};

struct rule {
	__u32 action;
	__u32 pad;
	__u64 hits;
};

/*
 * Listed domains. The key is FNV-1a, 64 bits, over the domain's bytes as in a
 * packet (length bytes, lower case, no final 0), the last byte first.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct rule);
} domains SEC(".maps");

#define FNV_OFFSET 0xcbf29ce484222325ULL
#define FNV_PRIME 0x100000001b3ULL

/* Queries by the type they ask for. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u16);
	__type(value, __u64);
} types SEC(".maps");

/* The last query that could be read. */
struct query {
	__u64 hash; /* of the whole name */
	__u64 decided; /* key of the domain that decided; 0: none */
	__u16 type;
	__u16 class;
	__u16 length; /* of the name */
	__u16 labels;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct query);
} last SEC(".maps");

/* What became of a packet: index of its counter. */
enum outcome {
	OTHER, /* not for a DNS server */
	MALFORMED,
	UNLISTED,
	PASSED,
	ANSWERED,
	IGNORED,
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

/* Finds the labels of the name at `bytes`; 0 if it is not well-formed. */
static __always_inline int scan(const __u8 *bytes, const void *end, struct name *name)
{
	__u32 at = 0;

	for (name->labels = 0; name->labels <= MAX_LABELS; name->labels++) {
		const __u8 *byte = bytes + at;

		if (at >= MAX_NAME || (void *)(byte + 1) > end)
			return 0;
		if (!*byte) {
			/* As a difference of pointers, the length is any number to the
			 * verifier, which would else follow the rest for each length. */
			hide(byte);
			name->length = byte - bytes;
			return name->length < MAX_NAME;
		}
		if (*byte > MAX_LABEL) /* or a pointer, which has no place in a question */
			return 0;
		name->starts[at / 64] |= 1ULL << at % 64;
		at += 1 + *byte;
	}
	return 0;
}

/* Without branches, which the verifier would follow for every byte. */
static __always_inline __u8 lower(__u8 letter)
{
	__u32 beyond = (__u8)(letter - 'A');

	return letter | ((beyond - 26) >> 26 & 0x20);
}

/* The rule of the longest listed domain, or NULL. */
static __always_inline struct rule *decide(const __u8 *bytes, const void *end,
					   const struct name *name, struct query *query)
{
	__u64 hash = FNV_OFFSET, longest = 0;
	__u32 i;

	for (i = 0; i < MAX_NAME && i < name->length; i++) {
		__u32 at = name->length - 1 - i;
		const __u8 *byte = bytes + at;

		if (at >= MAX_NAME || (void *)(byte + 1) > end)
			return NULL;
		hash = (hash ^ lower(*byte)) * FNV_PRIME;
		if (name->starts[at / 64] >> at % 64 & 1 && bpf_map_lookup_elem(&domains, &hash))
			longest = hash;
	}
	query->hash = hash;
	query->decided = longest;
	return bpf_map_lookup_elem(&domains, &longest);
}

static __always_inline void count_type(__u16 type)
{
	__u64 *count = bpf_map_lookup_elem(&types, &type), first = 1;

	if (count)
		add(count, 1);
	else
		bpf_map_update_elem(&types, &type, &first, BPF_NOEXIST);
}

/* The checksum after a change of one 16-bit word that it covers. */
static __always_inline __u16 adjust(__u16 checksum, __u16 from, __u16 to)
{
	__u32 sum = (__u16)~checksum + (__u16)~from + to;

	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

/* Turns the query into its own answer: refused. */
static __always_inline void refuse(struct eth_header *eth, struct ipv4_header *ip,
				   struct udp_header *udp, struct dns_header *dns)
{
	__be16 flags = dns->flags, port = udp->source, *hops = (void *)&ip->ttl, before = *hops;
	__be32 source = ip->source;
	__u8 mac[6];

	__builtin_memcpy(mac, eth->source, 6);
	__builtin_memcpy(eth->source, eth->destination, 6);
	__builtin_memcpy(eth->destination, mac, 6);
	ip->source = ip->destination;
	ip->destination = source;
	ip->ttl = 64;
	ip->checksum = adjust(ip->checksum, before, *hops);
	udp->source = udp->destination;
	udp->destination = port;
	dns->flags = (flags & htons(OPCODE | RECURSION_DESIRED)) | htons(RESPONSE | REFUSED);
	if (udp->checksum) {
		__u16 checksum = adjust(udp->checksum, flags, dns->flags);

		udp->checksum = checksum ? checksum : 0xffff;
	}
}

SEC("xdp")
int xdp_dns(struct xdp_md *ctx)
{
	void *end = packet_end(ctx);
	struct eth_header *eth = packet(ctx);
	struct ipv4_header *ip = (void *)(eth + 1);
	struct udp_header *udp = (void *)(ip + 1);
	struct dns_header *dns = (void *)(udp + 1);
	__u8 *bytes = (void *)(dns + 1);
	struct name name = {};
	struct query query = {}, *kept;
	struct rule *rule;
	__be16 *asked;
	__u32 zero = 0;

	if ((void *)(udp + 1) > end)
		return finish(OTHER, XDP_PASS);
	if (eth->type != htons(ETHERTYPE_IPV4) || ip->version_ihl != 0x45 ||
	    ip->protocol != PROTO_UDP || ip->fragment & ~htons(0x4000) ||
	    udp->destination != htons(PORT))
		return finish(OTHER, XDP_PASS);

	if ((void *)(dns + 1) > end || dns->flags & htons(RESPONSE | OPCODE | TRUNCATED) ||
	    dns->questions != htons(1) || !scan(bytes, end, &name))
		return finish(MALFORMED, XDP_DROP);
	asked = (void *)(bytes + name.length + 1);
	if ((void *)(asked + 2) > end)
		return finish(MALFORMED, XDP_DROP);
	query.type = ntohs(asked[0]);
	query.class = ntohs(asked[1]);
	query.length = name.length;
	query.labels = name.labels;

	rule = decide(bytes, end, &name, &query);
	count_type(query.type);
	kept = bpf_map_lookup_elem(&last, &zero);
	if (kept)
		*kept = query;
	if (!rule)
		return finish(UNLISTED, XDP_PASS);
	add(&rule->hits, 1);
	if (rule->action == LET_PASS)
		return finish(PASSED, XDP_PASS);
	if (rule->action != REFUSE)
		return finish(IGNORED, XDP_DROP);
	refuse(eth, ip, udp, dns);
	return finish(ANSWERED, XDP_TX);
}

char _license[] SEC("license") = "MIT OR Apache-2.0";
