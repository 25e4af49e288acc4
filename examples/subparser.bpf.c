// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A parser whose subprograms tail-call.
 *
 * Messages arrive by UDP and consist of records (type, length, data). For each
 * record the main program calls the subprogram parse_record, which tail-calls
 * the parser of that type. The parser's result returns to the main program, in
 * the subprogram's place, and the main program goes on with all that it has
 * gathered so far. A record of type NEST holds records of its own: its parser
 * calls parse_record in turn, so frames of programs pile up.
 *
 * A message whose score exceeds `limit` is dropped.
 */
#include "tailor_bpf.h"

#define PORT 7777
#define MAGIC 0x544c
#define MAX_RECORDS 8

const volatile __u32 limit = 1000;

struct message {
	__be16 magic;
	__u8 records;
	__u8 seed; /* of the digest */
};

struct record {
	__u8 type;
	__u8 length; /* of the data that follows */
};

enum type {
	NUMBER, /* scores its value, 4 bytes in network byte order */
	TEXT, /* scores its letters */
	OPTION, /* scores what the map `weights` says for its first byte */
	NEST, /* scores the sum of what is in it, and one */
	RESERVED, /* empty slot */
	TYPES,
};

int xdp_parse_number(struct xdp_md *ctx);
int xdp_parse_text(struct xdp_md *ctx);
int xdp_parse_option(struct xdp_md *ctx);
int xdp_parse_nest(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, TYPES);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} parsers SEC(".maps") = {
	.values = {
		[NUMBER] = xdp_parse_number,
		[TEXT] = xdp_parse_text,
		[OPTION] = xdp_parse_option,
		[NEST] = xdp_parse_nest,
	},
};

/* Where the data of the record to parse is; by processor. */
struct cursor {
	__u32 offset;
	__u32 length;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct cursor);
} cursors SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u8);
	__type(value, __u32);
} weights SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32); /* type without a parser */
	__type(value, __u64);
} unknown SEC(".maps");

/* What the last message came to. */
struct summary {
	__u32 records;
	__u32 score;
	__u32 highest; /* of the records' scores */
	__u32 types; /* bit by type */
	__u32 bytes; /* of data in records */
	__u32 digest; /* of types and scores, in order */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct summary);
} summaries SEC(".maps");

static __always_inline struct cursor *current_cursor(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&cursors, &cpu);
}

/* `size` bytes of the packet at `offset` if they are there, else NULL. */
static __always_inline void *bytes_at(struct xdp_md *ctx, __u32 offset, __u32 size)
{
	void *start = packet(ctx);

	if (offset > 1500)
		return NULL;
	start += offset;
	return start + size <= packet_end(ctx) ? start : NULL;
}

/*
 * Hands a record to the parser of its type and returns the score: what the
 * parser returns, or 0 where there is no parser. Packet pointers of the caller
 * are void afterwards, since a parser might move the packet.
 */
static __noinline int parse_record(struct xdp_md *ctx, __u32 offset, __u32 length, __u32 type)
{
	struct cursor *cursor = current_cursor();
	__u64 *count, first = 1;
	int score = 0;

	if (cursor) {
		cursor->offset = offset;
		cursor->length = length;
		bpf_tail_call(ctx, &parsers, type);
		count = bpf_map_lookup_elem(&unknown, &type);
		if (count)
			add(count, 1);
		else
			bpf_map_update_elem(&unknown, &type, &first, BPF_ANY);
	}
	/* Were it to see that only 0 is returned here, clang would not look at
	 * the result of a call any more; but a tail call returns something else. */
	hide(score);
	return score;
}

/* Folds a record into a digest. A subprogram out of reach of tail calls. */
static __noinline __u32 fold(__u32 digest, __u32 type, __u32 score)
{
	digest = (digest << 5 | digest >> 27) ^ type;
	return digest * 0x9e3779b1 + score;
}

SEC("xdp")
int xdp_parse_number(struct xdp_md *ctx)
{
	struct cursor *cursor = current_cursor();
	__be32 *number;

	if (!cursor || cursor->length != sizeof(*number))
		return 0;
	number = bytes_at(ctx, cursor->offset, sizeof(*number));
	return number ? ntohl(*number) : 0;
}

SEC("xdp")
int xdp_parse_text(struct xdp_md *ctx)
{
	struct cursor *cursor = current_cursor();
	__u32 letters = 0, offset, length, i;

	if (!cursor)
		return 0;
	offset = cursor->offset;
	length = cursor->length;
	for (i = 0; i < 32 && i < length; i++) {
		__u8 *letter = bytes_at(ctx, offset + i, 1);

		if (!letter)
			break;
		if ((*letter | 0x20) >= 'a' && (*letter | 0x20) <= 'z')
			letters++;
	}
	return letters;
}

SEC("xdp")
int xdp_parse_option(struct xdp_md *ctx)
{
	struct cursor *cursor = current_cursor();
	__u32 *weight;
	__u8 *option, key;

	if (!cursor || !cursor->length)
		return 0;
	option = bytes_at(ctx, cursor->offset, 1);
	if (!option)
		return 0;
	key = *option;
	weight = bpf_map_lookup_elem(&weights, &key);
	return weight ? *weight : 1;
}

SEC("xdp")
int xdp_parse_nest(struct xdp_md *ctx)
{
	struct cursor *cursor = current_cursor();
	__u32 offset, end, i;
	int score = 1;

	if (!cursor)
		return 0;
	/* Parsers of what is inside change the cursor: copy it. */
	offset = cursor->offset;
	end = offset + cursor->length;
	for (i = 0; i < 2 && offset < end; i++) {
		struct record *record = bytes_at(ctx, offset, sizeof(*record));
		__u32 length;

		if (!record)
			break;
		length = record->length;
		offset += sizeof(*record);
		score += parse_record(ctx, offset, length, record->type);
		offset += length;
	}
	return score;
}

SEC("xdp")
int xdp_subparser(struct xdp_md *ctx)
{
	struct eth_header *eth = packet(ctx);
	struct ipv4_header *ip = (void *)(eth + 1);
	struct udp_header *udp = (void *)(ip + 1);
	struct message *message = (void *)(udp + 1);
	__u32 i, records, offset, key = 0;
	struct summary sum = {}, *summary;

	if ((void *)(message + 1) > packet_end(ctx))
		return XDP_PASS;
	if (eth->type != htons(ETHERTYPE_IPV4) || ip->version_ihl != 0x45 ||
	    ip->protocol != PROTO_UDP || udp->destination != htons(PORT))
		return XDP_PASS;
	if (message->magic != htons(MAGIC) || message->records > MAX_RECORDS)
		return XDP_DROP;

	records = message->records;
	sum.digest = message->seed;
	offset = sizeof(*eth) + sizeof(*ip) + sizeof(*udp) + sizeof(*message);
	for (i = 0; i < MAX_RECORDS && i < records; i++) {
		struct record *record = bytes_at(ctx, offset, sizeof(*record));
		__u32 type, length, score;

		if (!record)
			return XDP_DROP;
		type = record->type;
		length = record->length;
		offset += sizeof(*record);
		if (offset + length > packet_end(ctx) - packet(ctx))
			return XDP_DROP;

		score = parse_record(ctx, offset, length, type);

		sum.records++;
		sum.score += score;
		if (score > sum.highest)
			sum.highest = score;
		sum.types |= 1 << (type & 31);
		sum.bytes += length;
		sum.digest = fold(sum.digest, type, score);
		offset += length;
	}

	summary = bpf_map_lookup_elem(&summaries, &key);
	if (summary)
		*summary = sum;
	return sum.score > limit ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "MIT OR Apache-2.0";
