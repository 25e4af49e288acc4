// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A layer-4 load balancer for TCP and UDP over IPv4.
 *
 * A packet to a service (virtual address, port, protocol) goes to one of the
 * service's backends: the one that the flow had before, else one chosen by a
 * hash of the flow. Destination address and both MAC addresses are rewritten,
 * the TTL falls by one, and checksums are adjusted by what changed. A TCP flow
 * is forgotten when it ends. Anything else is left to the network stack.
 */
#include "tailor_bpf.h"

/* Balancers that share a seed send a flow to the same backend. */
const volatile __u32 hash_seed = 0x7a11;

/* Packets forwarded by all services. */
__u64 forwarded;

struct service_key {
	__be32 address;
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

struct service { /* owns backends first .. first + count - 1 */
	__u32 first;
	__u32 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct service_key);
	__type(value, struct service);
} services SEC(".maps");

struct backend {
	__be32 address; /* 0: none */
	__u32 interface; /* 0: the one that the packet came from */
	__u8 mac[6];
	__u16 pad;
};

#define BACKENDS 64

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BACKENDS);
	__type(key, __u32);
	__type(value, struct backend);
} backends SEC(".maps");

struct flow_key {
	__be32 source;
	__be32 destination;
	__be16 source_port;
	__be16 destination_port;
	__u32 protocol;
};

struct flow {
	__u32 backend;
	__u32 pad;
	__u64 last_seen; /* in ns */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

struct traffic {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BACKENDS);
	__type(key, __u32);
	__type(value, struct traffic);
} stats SEC(".maps");

static __always_inline __u32 mix(__u32 hash, __u32 value)
{
	hash = (hash ^ value) * 0x9e3779b1;
	return hash ^ hash >> 15;
}

static __always_inline __u32 flow_hash(const struct flow_key *key)
{
	__u32 hash = mix(hash_seed, key->source);

	hash = mix(hash, key->destination);
	hash = mix(hash, (__u32)key->source_port << 16 | key->destination_port);
	return mix(hash, key->protocol);
}

/* The checksum after a change from `from` to `to` in what it covers. */
static __always_inline __u16 adjust(__u16 checksum, __be32 *from, __be32 *to, __u32 size)
{
	__u64 sum = (__u32)bpf_csum_diff(from, size, to, size, (__u16)~checksum);

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Looks up or chooses the flow's backend; BACKENDS if there is none. */
static __always_inline __u32 select_backend(const struct service *service,
					    const struct flow_key *key, int ends)
{
	__u64 now = bpf_ktime_get_ns();
	struct flow *known = bpf_map_lookup_elem(&flows, key);
	struct flow fresh = { .last_seen = now };

	if (known) {
		__u32 backend = known->backend;

		if (ends)
			bpf_map_delete_elem(&flows, key);
		else
			known->last_seen = now;
		return backend;
	}
	if (!service->count)
		return BACKENDS;
	fresh.backend = service->first + flow_hash(key) % service->count;
	if (!ends)
		bpf_map_update_elem(&flows, key, &fresh, BPF_ANY);
	return fresh.backend;
}

SEC("xdp")
int xdp_lb(struct xdp_md *ctx)
{
	void *end = packet_end(ctx);
	struct eth_header *eth = packet(ctx);
	struct ipv4_header *ip = (void *)(eth + 1);
	struct tcp_header *tcp = (void *)(ip + 1);
	struct udp_header *udp = (void *)(ip + 1);
	struct service_key wanted = {};
	struct flow_key key = {};
	struct service *service;
	struct backend *backend;
	struct traffic *traffic;
	__be32 from[2], to[2];
	int ends = 0;
	__u32 chosen;

	if ((void *)(udp + 1) > end)
		return XDP_PASS;
	if (eth->type != htons(ETHERTYPE_IPV4) || ip->version_ihl != 0x45)
		return XDP_PASS;
	if (ip->fragment & ~htons(0x4000)) /* anything but "don't fragment" */
		return XDP_PASS;
	if (ip->ttl <= 1) /* the stack tells the sender */
		return XDP_PASS;
	if (ip->protocol == PROTO_TCP) {
		if ((void *)(tcp + 1) > end)
			return XDP_PASS;
		ends = tcp->flags & (TCP_FIN | TCP_RST);
	} else if (ip->protocol != PROTO_UDP) {
		return XDP_PASS;
	}

	wanted.address = ip->destination;
	wanted.port = udp->destination;
	wanted.protocol = ip->protocol;
	service = bpf_map_lookup_elem(&services, &wanted);
	if (!service)
		return XDP_PASS;

	key.source = ip->source;
	key.destination = ip->destination;
	key.source_port = udp->source;
	key.destination_port = udp->destination;
	key.protocol = ip->protocol;
	chosen = select_backend(service, &key, ends);
	backend = bpf_map_lookup_elem(&backends, &chosen);
	if (!backend || !backend->address)
		return XDP_DROP;

	from[0] = ip->ttl;
	from[1] = ip->destination;
	ip->ttl--;
	ip->destination = backend->address;
	to[0] = ip->ttl;
	to[1] = ip->destination;
	ip->checksum = adjust(ip->checksum, from, to, sizeof(from));

	if (ip->protocol == PROTO_UDP) {
		if (udp->checksum) { /* 0 says that there is none, so 0 is sent as ~0 */
			__u16 checksum = adjust(udp->checksum, &from[1], &to[1], 4);

			udp->checksum = checksum ? checksum : 0xffff;
		}
	} else if ((void *)(tcp + 1) <= end) {
		tcp->checksum = adjust(tcp->checksum, &from[1], &to[1], 4);
	}

	__builtin_memcpy(eth->source, eth->destination, 6);
	__builtin_memcpy(eth->destination, backend->mac, 6);

	traffic = bpf_map_lookup_elem(&stats, &chosen);
	if (traffic) {
		add(&traffic->packets, 1);
		add(&traffic->bytes, end - packet(ctx));
	}
	add(&forwarded, 1);
	return backend->interface ? bpf_redirect(backend->interface, 0) : XDP_TX;
}

char _license[] SEC("license") = "MIT OR Apache-2.0";
