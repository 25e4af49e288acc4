// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A filter that decides about nearly every packet within a few instructions.
 *
 * Traffic that can't be legitimate is dropped and traffic that needs no
 * protection passes after a few comparisons, without a helper call. Only a SYN
 * to the protected port gets further: its source network takes a token from a
 * bucket that refills with time, and is dropped when there is none.
 */
#include "tailor_bpf.h"

const volatile __u16 protected_port = 443;
const volatile __u64 refill_ns = 1000000; /* time that brings a token */
const volatile __u32 sample_mask = 15; /* every 16th drop is sampled */

/* May be changed while the program runs. */
__u32 burst = 8; /* tokens that a bucket holds */

/* SYNs to the protected port. */
__u64 examined;

struct bucket {
	__u64 last; /* when its tokens were right, in ns */
	__u32 tokens;
	__u32 taken; /* in all */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __be32); /* network, 24 bits */
	__type(value, struct bucket);
} buckets SEC(".maps");

/* Networks without tokens, and how often they were refused. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __be32);
	__type(value, __u64);
} refused SEC(".maps");

struct sample {
	__be32 source;
	__be32 destination;
	__be32 sequence;
	__be16 source_port;
	__be16 window;
	__u32 length; /* of the packet */
	__u32 fingerprint; /* of what a sender's stack chooses */
	__u8 ttl;
	__u8 tos;
	__be16 id;
	__u32 pad;
};

/* The last sampled drop of each processor. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct sample);
} samples SEC(".maps");

/* UDP services that are abused to amplify floods: their answers are dropped. */
static __always_inline int amplifier(__be16 port)
{
	return port == htons(19) || port == htons(123) || port == htons(389) ||
	       port == htons(1900) || port == htons(11211);
}

/* The rare path. What it may need of the packet is read before the helpers. */
static __always_inline int admit(const void *end, const struct eth_header *eth,
				 const struct ipv4_header *ip, const struct tcp_header *tcp)
{
	__be32 source = ip->source, destination = ip->destination, sequence = tcp->sequence;
	__be16 source_port = tcp->source, window = tcp->window, id = ip->id;
	__u32 length = end - (void *)eth;
	__u8 ttl = ip->ttl, tos = ip->tos;
	__be32 network = source & htonl(0xffffff00);
	__u32 options = tcp->data_offset >> 4;
	__u64 now = bpf_ktime_get_ns();
	struct bucket *known = bpf_map_lookup_elem(&buckets, &network);
	struct bucket bucket = { .last = now, .tokens = burst };
	__u64 *times, first = 1;
	struct sample sample = {};
	__u32 cpu;

	add(&examined, 1);
	if (known) {
		__u64 elapsed = now - known->last;
		__u64 tokens = known->tokens + elapsed / refill_ns;

		/* A token's time that has begun is not lost, unless the bucket is full. */
		if (tokens < burst) {
			bucket.tokens = tokens;
			bucket.last = now - elapsed % refill_ns;
		}
		bucket.taken = known->taken;
	}
	if (bucket.tokens) {
		bucket.tokens--;
		bucket.taken++;
		bpf_map_update_elem(&buckets, &network, &bucket, BPF_ANY);
		if (known)
			bpf_map_delete_elem(&refused, &network);
		return XDP_PASS;
	}

	times = bpf_map_lookup_elem(&refused, &network);
	if (times)
		add(times, 1);
	else
		bpf_map_update_elem(&refused, &network, &first, BPF_NOEXIST);
	if (bpf_get_prandom_u32() & sample_mask)
		return XDP_DROP;
	sample.source = source;
	sample.destination = destination;
	sample.sequence = sequence;
	sample.source_port = source_port;
	sample.window = window;
	sample.length = length;
	sample.fingerprint = (ttl * 31 + ntohs(window)) * 31 + options;
	sample.ttl = ttl;
	sample.tos = tos;
	sample.id = id;
	cpu = bpf_get_smp_processor_id();
	bpf_map_update_elem(&samples, &cpu, &sample, BPF_ANY);
	return XDP_DROP;
}

SEC("xdp")
int xdp_earlydrop(struct xdp_md *ctx)
{
	void *end = packet_end(ctx);
	struct eth_header *eth = packet(ctx);
	struct ipv4_header *ip = (void *)(eth + 1);
	struct tcp_header *tcp = (void *)(ip + 1);
	struct udp_header *udp = (void *)(ip + 1);

	if ((void *)(ip + 1) > end)
		return XDP_DROP;
	if (eth->type != htons(ETHERTYPE_IPV4))
		return XDP_PASS;
	if (ip->version_ihl != 0x45) /* options are not worth their risk */
		return XDP_DROP;
	if ((ntohl(ip->source) >> 24) >= 224 || !ip->source) /* nobody's address */
		return XDP_DROP;
	if (ip->fragment & ~htons(0x4000))
		return XDP_DROP;
	if (ip->protocol == PROTO_UDP) {
		if ((void *)(udp + 1) > end)
			return XDP_DROP;
		return amplifier(udp->source) ? XDP_DROP : XDP_PASS;
	}
	if (ip->protocol != PROTO_TCP)
		return XDP_PASS;
	if ((void *)(tcp + 1) > end)
		return XDP_DROP;
	if (!(tcp->flags & TCP_SYN)) /* of a connection that was admitted, or of none */
		return tcp->flags & (TCP_ACK | TCP_RST) ? XDP_PASS : XDP_DROP;
	if (tcp->flags & (TCP_FIN | TCP_RST))
		return XDP_DROP;
	if (ntohs(tcp->destination) != protected_port || tcp->flags & TCP_ACK)
		return XDP_PASS;
	return admit(end, eth, ip, tcp);
}

char _license[] SEC("license") = "MIT OR Apache-2.0";
