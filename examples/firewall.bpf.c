// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A stateless firewall with a memory for repeat offenders.
 *
 * Rules are in the hash map `acl`, keyed by source address, protocol and
 * destination port. The most specific rule wins: exact, then any port, then
 * any protocol. A source whose packets were dropped by rules `max_strikes`
 * times is banned whatever it sends; a packet that a rule lets pass clears its
 * strikes as long as it is not banned. What no rule names gets the default
 * verdict.
 */
#include "tailor_bpf.h"

/* Settings that a loader may change before it loads the program. */
const volatile __u32 default_verdict = XDP_PASS;
const volatile __u32 max_strikes = 3;

struct acl_key {
	__be32 source;
	__u8 protocol; /* 0: any */
	__u8 pad;
	__be16 port; /* 0: any, or a packet without ports */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct acl_key);
	__type(value, __u32); /* verdict: XDP_DROP or XDP_PASS */
} acl SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __be32); /* source address */
	__type(value, __u32); /* packets dropped by rules */
} strikes SEC(".maps");

/* What became of a packet: index of its counter. */
enum reason {
	RULE_PASS,
	RULE_DROP,
	DEFAULT,
	BANNED,
	NOT_IPV4,
	MALFORMED,
	REASONS,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline int verdict(int verdict, __u32 reason)
{
	__u64 *count = bpf_map_lookup_elem(&counters, &reason);

	if (count)
		add(count, 1);
	return verdict;
}

static __always_inline void strike(__be32 source)
{
	__u32 *count = bpf_map_lookup_elem(&strikes, &source);
	__u32 first = 1;

	if (count)
		add(count, 1);
	else
		bpf_map_update_elem(&strikes, &source, &first, BPF_ANY);
}

SEC("xdp")
int xdp_firewall(struct xdp_md *ctx)
{
	void *end = packet_end(ctx);
	struct eth_header *eth = packet(ctx);
	struct ipv4_header *ip = (void *)(eth + 1);
	struct acl_key key = {};
	__u32 *rule, *count, header_length;

	if ((void *)(eth + 1) > end)
		return verdict(XDP_DROP, MALFORMED);
	if (eth->type != htons(ETHERTYPE_IPV4))
		return verdict(XDP_PASS, NOT_IPV4);
	if ((void *)(ip + 1) > end || ip->version_ihl >> 4 != 4)
		return verdict(XDP_DROP, MALFORMED);
	header_length = (ip->version_ihl & 15) * 4;
	if (header_length < sizeof(*ip))
		return verdict(XDP_DROP, MALFORMED);

	key.source = ip->source;
	key.protocol = ip->protocol;

	/* Only the first fragment has ports; TCP and UDP begin with them alike. */
	if (!(ip->fragment & FRAGMENT_OFFSET) &&
	    (ip->protocol == PROTO_TCP || ip->protocol == PROTO_UDP)) {
		struct udp_header *ports = (void *)ip + header_length;

		if ((void *)(ports + 1) > end)
			return verdict(XDP_DROP, MALFORMED);
		key.port = ports->destination;
	}

	count = bpf_map_lookup_elem(&strikes, &key.source);
	if (count && *count >= max_strikes)
		return verdict(XDP_DROP, BANNED);

	rule = bpf_map_lookup_elem(&acl, &key);
	if (!rule) {
		key.port = 0;
		rule = bpf_map_lookup_elem(&acl, &key);
	}
	if (!rule) {
		key.protocol = 0;
		rule = bpf_map_lookup_elem(&acl, &key);
	}
	if (!rule)
		return verdict(default_verdict, DEFAULT);

	if (*rule == XDP_PASS) {
		if (count)
			bpf_map_delete_elem(&strikes, &key.source);
		return verdict(XDP_PASS, RULE_PASS);
	}
	strike(key.source);
	return verdict(XDP_DROP, RULE_DROP);
}

char _license[] SEC("license") = "MIT OR Apache-2.0";
