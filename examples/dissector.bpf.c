// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A flow dissector whose parsers are programs of their own.
 *
 * xdp_dissect looks at the Ethernet header and tail-calls the parser of what
 * follows; each parser notes what it found in `states` and tail-calls the next
 * one: through `stages` at a constant index, or through `transports` at the
 * protocol number of the packet. A tail call that fails (an empty slot, or 33
 * of them made) falls through, and the fall-through says how far dissection
 * got. A stage of one's own can be put into the slot STAGE_PROBE, which
 * xdp_dissect tries before anything else; it sees every packet first.
 *
 * Results: a counter per outcome, and packets and bytes per flow.
 */
#include "tailor_bpf.h"

struct flow_key { /* addresses of IPv4 take up the first word */
	__be32 source[4];
	__be32 destination[4];
	__be16 source_port; /* or ICMP's type */
	__be16 destination_port; /* or ICMP's code */
	__u16 vlan[2]; /* outermost first */
	__u8 version; /* of IP */
	__u8 protocol;
	__u16 pad;
};

struct traffic {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow_key);
	__type(value, struct traffic);
} flows SEC(".maps");

/* What a parser hands over to the next. */
struct state {
	__u32 offset; /* of the header to parse next */
	__u32 tags; /* VLAN tags seen */
	struct flow_key flow;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256); /* by processor */
	__type(key, __u32);
	__type(value, struct state);
} states SEC(".maps");

enum outcome {
	DISSECTED,
	MALFORMED,
	FRAGMENT, /* not the first: no ports */
	UNKNOWN_NETWORK, /* no stage for the Ethernet type */
	UNKNOWN_TRANSPORT, /* no program for the protocol */
	TOO_DEEP, /* more nested headers than tail calls */
	OUTCOMES,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, __u64);
} outcomes SEC(".maps");

int xdp_parse_vlan(struct xdp_md *ctx);
int xdp_parse_ipv4(struct xdp_md *ctx);
int xdp_parse_ipv6(struct xdp_md *ctx);
int xdp_parse_ipv6_extension(struct xdp_md *ctx);
int xdp_parse_tcp(struct xdp_md *ctx);
int xdp_parse_udp(struct xdp_md *ctx);
int xdp_parse_icmp(struct xdp_md *ctx);

enum stage {
	STAGE_PROBE, /* empty unless somebody fills it */
	STAGE_VLAN,
	STAGE_IPV4,
	STAGE_IPV6,
	STAGE_IPV6_EXTENSION,
	STAGES,
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, STAGES);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} stages SEC(".maps") = {
	.values = {
		[STAGE_VLAN] = xdp_parse_vlan,
		[STAGE_IPV4] = xdp_parse_ipv4,
		[STAGE_IPV6] = xdp_parse_ipv6,
		[STAGE_IPV6_EXTENSION] = xdp_parse_ipv6_extension,
	},
};

/* By protocol number; a protocol above the last slot falls through, too. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 64);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} transports SEC(".maps") = {
	.values = {
		[PROTO_ICMP] = xdp_parse_icmp,
		[PROTO_TCP] = xdp_parse_tcp,
		[PROTO_UDP] = xdp_parse_udp,
		[PROTO_ICMPV6] = xdp_parse_icmp,
	},
};

static __always_inline struct state *current_state(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&states, &cpu);
}

/* The next `size` bytes of the packet if they are there, else NULL. */
static __always_inline void *header(struct xdp_md *ctx, const struct state *state, __u32 size)
{
	__u32 offset = state->offset;
	void *start = packet(ctx);

	if (offset > 1500)
		return NULL;
	start += offset;
	return start + size <= packet_end(ctx) ? start : NULL;
}

static __always_inline int finish(__u32 outcome)
{
	__u64 *count = bpf_map_lookup_elem(&outcomes, &outcome);

	if (count)
		add(count, 1);
	return outcome == MALFORMED ? XDP_DROP : XDP_PASS;
}

/* Counts a flow; its key is used where it lies, in the state. */
static __always_inline int record(struct xdp_md *ctx, struct state *state)
{
	struct traffic *traffic = bpf_map_lookup_elem(&flows, &state->flow);
	struct traffic first = { .packets = 1, .bytes = packet_end(ctx) - packet(ctx) };

	if (traffic) {
		add(&traffic->packets, 1);
		add(&traffic->bytes, first.bytes);
	} else {
		bpf_map_update_elem(&flows, &state->flow, &first, BPF_ANY);
	}
	return finish(DISSECTED);
}

/* Goes on with what an Ethernet type announces. */
static __always_inline int next_network(struct xdp_md *ctx, __be16 type)
{
	switch (type) {
	case htons(ETHERTYPE_IPV4):
		tail_call_static(ctx, &stages, STAGE_IPV4);
		break;
	case htons(ETHERTYPE_IPV6):
		tail_call_static(ctx, &stages, STAGE_IPV6);
		break;
	case htons(ETHERTYPE_VLAN):
	case htons(ETHERTYPE_QINQ):
		tail_call_static(ctx, &stages, STAGE_VLAN);
		break;
	}
	return finish(UNKNOWN_NETWORK);
}

SEC("xdp")
int xdp_dissect(struct xdp_md *ctx)
{
	struct eth_header *eth;
	struct state *state;

	tail_call_static(ctx, &stages, STAGE_PROBE);

	eth = packet(ctx);
	if ((void *)(eth + 1) > packet_end(ctx))
		return finish(MALFORMED);
	state = current_state();
	if (!state)
		return XDP_ABORTED;
	__builtin_memset(state, 0, sizeof(*state));
	state->offset = sizeof(*eth);
	return next_network(ctx, eth->type);
}

SEC("xdp")
int xdp_parse_vlan(struct xdp_md *ctx)
{
	struct state *state = current_state();
	struct vlan_tag *tag;

	if (!state)
		return XDP_ABORTED;
	tag = header(ctx, state, sizeof(*tag));
	if (!tag)
		return finish(MALFORMED);
	if (state->tags >= 2)
		return finish(TOO_DEEP);
	if (state->tags == 0)
		state->flow.vlan[0] = ntohs(tag->control) & 0xfff;
	else
		state->flow.vlan[1] = ntohs(tag->control) & 0xfff;
	state->tags++;
	state->offset += sizeof(*tag);
	return next_network(ctx, tag->type);
}

SEC("xdp")
int xdp_parse_ipv4(struct xdp_md *ctx)
{
	struct state *state = current_state();
	struct ipv4_header *ip;
	__u32 length, protocol;

	if (!state)
		return XDP_ABORTED;
	ip = header(ctx, state, sizeof(*ip));
	if (!ip || ip->version_ihl >> 4 != 4)
		return finish(MALFORMED);
	length = (ip->version_ihl & 15) * 4;
	if (length < sizeof(*ip))
		return finish(MALFORMED);
	protocol = ip->protocol;
	state->flow.version = 4;
	state->flow.protocol = protocol;
	state->flow.source[0] = ip->source;
	state->flow.destination[0] = ip->destination;
	if (ip->fragment & FRAGMENT_OFFSET)
		return finish(FRAGMENT);
	state->offset += length;
	bpf_tail_call(ctx, &transports, protocol);
	return finish(UNKNOWN_TRANSPORT);
}

/* Goes on after an IPv6 header or extension header. */
static __always_inline int next_ipv6(struct xdp_md *ctx, struct state *state, __u32 next)
{
	if (next == PROTO_HOPOPTS || next == PROTO_ROUTING || next == PROTO_DSTOPTS) {
		state->flow.protocol = next;
		tail_call_static(ctx, &stages, STAGE_IPV6_EXTENSION);
		return finish(TOO_DEEP);
	}
	state->flow.protocol = next;
	bpf_tail_call(ctx, &transports, next);
	return finish(UNKNOWN_TRANSPORT);
}

SEC("xdp")
int xdp_parse_ipv6(struct xdp_md *ctx)
{
	struct state *state = current_state();
	struct ipv6_header *ip;

	if (!state)
		return XDP_ABORTED;
	ip = header(ctx, state, sizeof(*ip));
	if (!ip || (ntohl(ip->version_class_flow) >> 28) != 6)
		return finish(MALFORMED);
	state->flow.version = 6;
	__builtin_memcpy(state->flow.source, ip->source, sizeof(ip->source));
	__builtin_memcpy(state->flow.destination, ip->destination, sizeof(ip->destination));
	state->offset += sizeof(*ip);
	return next_ipv6(ctx, state, ip->next_header);
}

SEC("xdp")
int xdp_parse_ipv6_extension(struct xdp_md *ctx)
{
	struct state *state = current_state();
	struct ipv6_extension *extension;

	if (!state)
		return XDP_ABORTED;
	extension = header(ctx, state, sizeof(*extension));
	if (!extension)
		return finish(MALFORMED);
	state->offset += (extension->length + 1) * 8;
	return next_ipv6(ctx, state, extension->next_header);
}

SEC("xdp")
int xdp_parse_tcp(struct xdp_md *ctx)
{
	struct state *state = current_state();
	struct tcp_header *tcp;

	if (!state)
		return XDP_ABORTED;
	tcp = header(ctx, state, sizeof(*tcp));
	if (!tcp || tcp->data_offset >> 4 < 5)
		return finish(MALFORMED);
	state->flow.source_port = tcp->source;
	state->flow.destination_port = tcp->destination;
	return record(ctx, state);
}

SEC("xdp")
int xdp_parse_udp(struct xdp_md *ctx)
{
	struct state *state = current_state();
	struct udp_header *udp;

	if (!state)
		return XDP_ABORTED;
	udp = header(ctx, state, sizeof(*udp));
	if (!udp || ntohs(udp->length) < sizeof(*udp))
		return finish(MALFORMED);
	state->flow.source_port = udp->source;
	state->flow.destination_port = udp->destination;
	return record(ctx, state);
}

SEC("xdp")
int xdp_parse_icmp(struct xdp_md *ctx)
{
	struct state *state = current_state();
	struct icmp_header *icmp;

	if (!state)
		return XDP_ABORTED;
	icmp = header(ctx, state, sizeof(*icmp));
	if (!icmp)
		return finish(MALFORMED);
	state->flow.source_port = icmp->type;
	state->flow.destination_port = icmp->code;
	return record(ctx, state);
}

char _license[] SEC("license") = "MIT OR Apache-2.0";
