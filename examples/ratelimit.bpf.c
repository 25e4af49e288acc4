// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A rate limiter: token buckets at three levels, for IPv4.
 *
 * A packet needs tokens for its bytes from the bucket of its source, from that
 * of the source's network, and from the link's. It takes them from all three or
 * from none, in which case it is dropped. What the buckets of a network get is
 * said by its class. Control traffic may take the link's bucket into debt. Where
 * the link's bucket runs low, packets whose sender listens are marked (ECN).
 *
 * Buckets are changed without a lock: processors that race may let a packet too
 * many through.
 */
#include "tailor_bpf.h"

struct limit {
	__u64 rate; /* bytes a second; 0: a quota, which is not refilled */
	__u64 burst; /* bytes that a bucket holds, at most 2^30 */
};

/* What a packet costs beyond its bytes: preamble, checksum and gap. */
const volatile __u32 overhead = 24;
const volatile __u32 reserve = 3000; /* bytes of the link's debt at most */
const volatile __u32 mark_shift = 2; /* below this power of 1/2 of the burst: mark */

/* May be changed while the program runs. */
struct limit link = { .rate = 125000000, .burst = 1 << 20 };

struct class {
	struct limit host;
	struct limit network;
};

#define CLASSES 16

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CLASSES);
	__type(key, __u32);
	__type(value, struct class);
} classes SEC(".maps");

/* Classes of networks; who is not a member has class 0. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __be32); /* network, 24 bits */
	__type(value, __u32);
} members SEC(".maps");

/* Levels count billionths of a byte, so that no time is lost to rounding. */
#define BYTE 1000000000ULL

struct bucket {
	__s64 level; /* at the time `last` */
	__u64 last; /* in ns; 0 in a quota */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __be32);
	__type(value, struct bucket);
} hosts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __be32);
	__type(value, struct bucket);
} networks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bucket);
} links SEC(".maps");

/* What became of a packet: index of its counter. */
enum outcome {
	OTHER, /* not IPv4, so not limited */
	ADMITTED,
	MARKED, /* admitted and marked */
	HOST, /* refused by this bucket */
	NETWORK,
	LINK,
	OUTCOMES,
};

struct traffic {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, struct traffic);
} outcomes SEC(".maps");

static __always_inline int count(__u32 outcome, __u64 bytes)
{
	struct traffic *traffic = bpf_map_lookup_elem(&outcomes, &outcome);

	if (traffic) {
		add(&traffic->packets, 1);
		add(&traffic->bytes, bytes);
	}
	return outcome >= HOST ? XDP_DROP : XDP_PASS;
}

/* The level that a bucket has now. One that does not exist yet is full. */
static __always_inline __s64 refilled(const struct bucket *bucket, const struct limit *limit,
				      __u64 now)
{
	__s64 full = limit->burst * BYTE;
	__u64 elapsed = 0, missing;

	if (!bucket || bucket->level >= full)
		return full;
	if (!limit->rate)
		return bucket->level;
	/* Another processor's clock may have been ahead. */
	if (now > bucket->last)
		elapsed = now - bucket->last;
	missing = full - bucket->level;
	if (elapsed > missing / limit->rate)
		return full;
	return bucket->level + elapsed * limit->rate;
}

static __always_inline void store(void *map, const __be32 *key, struct bucket *bucket,
				  const struct limit *limit, __s64 level, __u64 now)
{
	struct bucket fresh = { .level = level, .last = limit->rate ? now : 0 };

	if (bucket)
		*bucket = fresh;
	else
		bpf_map_update_elem(map, key, &fresh, BPF_ANY);
}

/* Sets "congestion experienced" where it may be set; whether it did. */
static __always_inline int mark(struct ipv4_header *ip)
{
	__u32 ecn = ip->tos & 3, sum;

	if (ecn == 0 || ecn == 3)
		return 0;
	ip->tos |= 3;
	sum = (__u16)~ip->checksum + ((3 - ecn) << 8);
	ip->checksum = ~((sum & 0xffff) + (sum >> 16));
	return 1;
}

SEC("xdp")
int xdp_ratelimit(struct xdp_md *ctx)
{
	void *end = packet_end(ctx);
	struct eth_header *eth = packet(ctx);
	struct ipv4_header *ip = (void *)(eth + 1);
	__u64 bytes = end - packet(ctx), now = bpf_ktime_get_ns();
	__s64 cost = (bytes + overhead) * BYTE, in_host, in_network, in_link, debt = 0;
	struct bucket *host, *network, *all;
	__u32 *member, which = 0, zero = 0, outcome = ADMITTED;
	struct limit whole = link;
	__be32 source, net;
	struct class *class;

	if ((void *)(ip + 1) > end || eth->type != htons(ETHERTYPE_IPV4))
		return count(OTHER, bytes);
	source = ip->source;
	net = source & htonl(0xffffff00);
	member = bpf_map_lookup_elem(&members, &net);
	if (member)
		which = *member;
	class = bpf_map_lookup_elem(&classes, &which);
	all = bpf_map_lookup_elem(&links, &zero);
	if (!class || !all)
		return XDP_ABORTED;

	host = bpf_map_lookup_elem(&hosts, &source);
	network = bpf_map_lookup_elem(&networks, &net);
	in_host = refilled(host, &class->host, now);
	in_network = refilled(network, &class->network, now);
	in_link = refilled(all, &whole, now);
	if (ip->tos >> 5 >= 6) /* network and internetwork control */
		debt = reserve * BYTE;

	if (in_host < cost) {
		outcome = HOST;
	} else if (in_network < cost) {
		outcome = NETWORK;
	} else if (in_link + debt < cost) {
		outcome = LINK;
	} else {
		in_host -= cost;
		in_network -= cost;
		in_link -= cost;
		if (in_link < (__s64)(whole.burst * BYTE >> mark_shift) && mark(ip))
			outcome = MARKED;
	}
	store(&hosts, &source, host, &class->host, in_host, now);
	store(&networks, &net, network, &class->network, in_network, now);
	store(&links, &zero, all, &whole, in_link, now);
	return count(outcome, bytes);
}

char _license[] SEC("license") = "MIT OR Apache-2.0";
