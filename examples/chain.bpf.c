// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Packets spread over nodes by rendezvous hashing, in a chain of subprograms.
 *
 * Every node gets a score from the flow and its own identity, and the flow goes
 * to the node with the highest, or to the second where that one is full. So a
 * node that comes or goes moves no flows but its own and those it takes over.
 *
 * Nothing is inlined: from xdp_chain down to rotate there are seven frames.
 * Arguments are scalars and pointers to what callers have on their stacks, most
 * functions are called from several places, and callers have much to keep.
 */
#include "tailor_bpf.h"

const volatile __u32 seed = 0x7a11;

struct flow {
	__be32 addresses[8]; /* source, destination; of IPv4 the first of each four */
	__be32 ports; /* 0 where there are none */
	__u32 protocol;
};

struct node {
	__u32 identity;
	__u32 weight; /* 0: there is no node */
	__s32 room; /* packets that it still takes */
	__u32 interface; /* 0: the one that the packet came from */
};

#define NODES 8

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NODES);
	__type(key, __u32);
	__type(value, struct node);
} nodes SEC(".maps");

struct account {
	__u64 packets;
	__u64 bytes;
	__u64 digest; /* of the flows of its packets, in order */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32); /* the node's identity */
	__type(value, struct account);
} accounts SEC(".maps");

/* Packets by a hash of their source, to see how even sources are. */
#define SHARDS 16

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SHARDS);
	__type(key, __u32);
	__type(value, __u64);
} shards SEC(".maps");

struct ranking {
	__u64 best;
	__u64 second;
	__u32 best_node; /* NODES: none */
	__u32 second_node;
};

static __noinline __u32 rotate(__u32 value, __u32 count)
{
	return value << (count & 31) | value >> (-count & 31);
}

static __noinline __u32 mix(__u32 hash, __u32 value)
{
	hash = rotate(hash ^ value * 0x9e3779b1, 13);
	return rotate(hash * 0x85ebca6b, value) ^ hash;
}

/* The hash of `count` words, at most 8, that begins with `hash`. */
static __noinline __u32 mix_words(const __be32 *words, __u32 count, __u32 hash)
{
	__u32 i;

	for (i = 0; i < 8 && i < count; i++)
		hash = mix(hash, words[i]);
	return mix(hash, count);
}

static __noinline __u32 hash_flow(const struct flow *flow, __u32 start)
{
	__u32 hash = mix_words(flow->addresses, 8, start);

	return mix_words(&flow->ports, 2, hash);
}

static __noinline __u64 score(const struct flow *flow, __u32 identity, __u32 weight, __u32 start)
{
	__u32 hash = hash_flow(flow, mix(start, identity));

	return ((__u64)hash + 1) * weight;
}

/* Finds the two nodes with the highest scores; how many nodes there are. */
static __noinline __u32 choose(const struct flow *flow, struct ranking *ranking, __u32 start)
{
	__u32 best_node = NODES, second_node = NODES, found = 0, i;
	__u64 best = 0, second = 0;

	for (i = 0; i < NODES; i++) {
		__u32 key = i;
		struct node *node = bpf_map_lookup_elem(&nodes, &key);
		__u64 points;

		if (!node || !node->weight)
			continue;
		found++;
		points = score(flow, node->identity, node->weight, start);
		if (points > best) {
			second = best;
			second_node = best_node;
			best = points;
			best_node = i;
		} else if (points > second) {
			second = points;
			second_node = i;
		}
	}
	ranking->best = best;
	ranking->second = second;
	ranking->best_node = best_node;
	ranking->second_node = second_node;
	return found;
}

/* Takes a place at a node and says which node it is; 0 if it has none. */
static __noinline int take(__u32 index, struct node *taken)
{
	struct node *node = bpf_map_lookup_elem(&nodes, &index);

	if (!node || node->room <= 0)
		return 0;
	add(&node->room, -1);
	*taken = *node;
	return 1;
}

static __noinline void account(__u32 identity, __u64 bytes, const struct flow *flow)
{
	struct account *account = bpf_map_lookup_elem(&accounts, &identity);
	struct account fresh = { .packets = 1, .bytes = bytes };

	if (account) {
		account->packets++;
		account->bytes += bytes;
		account->digest = account->digest * 31 + hash_flow(flow, identity);
	} else {
		fresh.digest = hash_flow(flow, identity);
		bpf_map_update_elem(&accounts, &identity, &fresh, BPF_ANY);
	}
}

static __noinline void count_source(const struct flow *flow, __u32 start)
{
	__u32 shard = mix_words(flow->addresses, 4, start) % SHARDS;
	__u64 *count = bpf_map_lookup_elem(&shards, &shard);

	if (count)
		add(count, 1);
}

/* Reads the ports that are `offset` bytes into the packet, if it has any. */
static __noinline int parse_ports(struct xdp_md *ctx, __u32 offset, __u32 protocol, struct flow *flow)
{
	__be32 *ports = packet(ctx) + (offset & 127);

	flow->protocol = protocol;
	if (protocol != PROTO_TCP && protocol != PROTO_UDP)
		return 1;
	if ((void *)(ports + 1) > packet_end(ctx))
		return 0;
	flow->ports = *ports;
	return 1;
}

/* Reads the flow; 0 if there is none. `flow` is zero before. */
static __noinline int parse(struct xdp_md *ctx, struct flow *flow)
{
	struct eth_header *eth = packet(ctx);
	struct ipv4_header *ip = (void *)(eth + 1);
	struct ipv6_header *ip6 = (void *)(eth + 1);
	__u32 i;

	if ((void *)(ip + 1) > packet_end(ctx))
		return 0;
	if (eth->type == htons(ETHERTYPE_IPV4)) {
		flow->addresses[0] = ip->source;
		flow->addresses[4] = ip->destination;
		if (ip->fragment & FRAGMENT_OFFSET || (ip->version_ihl & 15) < 5)
			return 0;
		return parse_ports(ctx, sizeof(*eth) + (ip->version_ihl & 15) * 4, ip->protocol, flow);
	}
	if (eth->type != htons(ETHERTYPE_IPV6) || (void *)(ip6 + 1) > packet_end(ctx))
		return 0;
	for (i = 0; i < 4; i++) {
		flow->addresses[i] = ip6->source[i];
		flow->addresses[4 + i] = ip6->destination[i];
	}
	return parse_ports(ctx, sizeof(*eth) + sizeof(*ip6), ip6->next_header, flow);
}

/* Addresses the packet to a node: its MAC address is made of these numbers. */
static __noinline void address(struct xdp_md *ctx, __u32 identity, __u32 interface)
{
	struct eth_header *eth = packet(ctx);

	if ((void *)(eth + 1) > packet_end(ctx))
		return;
	__builtin_memcpy(eth->source, eth->destination, 6);
	eth->destination[0] = 2;
	eth->destination[1] = interface;
	eth->destination[2] = identity >> 24;
	eth->destination[3] = identity >> 16;
	eth->destination[4] = identity >> 8;
	eth->destination[5] = identity;
}

SEC("xdp")
int xdp_chain(struct xdp_md *ctx)
{
	__u64 bytes = packet_end(ctx) - packet(ctx);
	struct ranking ranking = {};
	struct flow flow = {};
	struct node node = {};

	if (!parse(ctx, &flow))
		return XDP_PASS;
	count_source(&flow, seed);
	if (!choose(&flow, &ranking, seed))
		return XDP_PASS;
	if (!take(ranking.best_node, &node) && !take(ranking.second_node, &node))
		return XDP_DROP;
	account(node.identity, bytes, &flow);
	address(ctx, node.identity, node.interface);
	return node.interface ? bpf_redirect(node.interface, 0) : XDP_TX;
}

char _license[] SEC("license") = "MIT OR Apache-2.0";
