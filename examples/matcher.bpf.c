// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A filter for what UDP packets say: strings searched for in their data.
 *
 * Up to four patterns are searched for in the first 256 bytes of the data,
 * whatever the case of letters, by Horspool's method: where the text differs
 * from the pattern, the text's byte under the pattern's end tells how far the
 * pattern can move. Text, pattern and the table of moves lie on the stack: 416
 * bytes, indexed by what the packet says. A packet with a forbidden string is
 * dropped.
 */
#include "tailor_bpf.h"

#define PATTERNS 4
#define TEXT 256 /* bytes of data that are searched */
#define PATTERN 32 /* bytes in a pattern at most */
#define CLASSES 128 /* bytes that are equal modulo 128 move the pattern alike */
#define PLACES 64 /* of the text at which a pattern is tried at most */

struct pattern {
	__u16 length; /* 0: there is none */
	__u16 forbidden;
	__u32 pad;
	__u8 bytes[PATTERN]; /* none of them 0, then only 0 */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PATTERNS);
	__type(key, __u32);
	__type(value, struct pattern);
} patterns SEC(".maps");

/* What became of the searches for a pattern. */
struct finding {
	__u64 found;
	__u64 absent;
	__u64 abandoned; /* after PLACES */
	__u32 offset; /* where it was found last */
	__u32 places; /* how many were tried in the last search */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PATTERNS);
	__type(key, __u32);
	__type(value, struct finding);
} findings SEC(".maps");

/* Without branches, which the verifier would follow for every byte. */
static __always_inline __u8 lower(__u8 letter)
{
	__u32 beyond = (__u8)(letter - 'A');

	return letter | ((beyond - 26) >> 26 & 0x20);
}

/* What is on the stack, beside a few words. */
struct search {
	__u8 text[TEXT];
	__u8 pattern[PATTERN];
	__u8 moves[CLASSES];
} __attribute__((aligned(8)));

/* The data, on the stack; how many bytes. */
static __always_inline __u32 copy_text(__u8 *text, const __u8 *data, const void *end)
{
	__u32 i;

	for (i = 0; i < TEXT; i++) {
		if ((void *)(data + i + 1) > end)
			break;
		text[i] = lower(data[i]);
	}
	/* Not `i`: the verifier would follow the rest for each of its values. */
	return end - (void *)data < TEXT ? end - (void *)data : TEXT;
}

/* The pattern's length, 0 if it is none; read anew, as it may have changed. */
static __always_inline __u32 length_of(const struct pattern *pattern)
{
	__u32 length = *(const volatile __u16 *)&pattern->length;

	return length <= PATTERN ? length : 0;
}

static __always_inline void prepare(struct search *search, const struct pattern *pattern)
{
	__u32 length = length_of(pattern), i;

	for (i = 0; i < PATTERN; i++)
		search->pattern[i] = lower(pattern->bytes[i]);
	__builtin_memset(search->moves, length, CLASSES);
	for (i = 0; i < PATTERN - 1 && i + 1 < length; i++)
		search->moves[search->pattern[i] % CLASSES] = length - 1 - i;
}

/*
 * Whether the pattern is at this place of the text. Its end is where its bytes
 * are 0, since the verifier would learn something about a length for each byte
 * that it was compared for, and follow the rest as often.
 */
static __always_inline int is_at(const struct search *search, __u32 at)
{
	__u32 i;

	for (i = 0; i < PATTERN && search->pattern[i]; i++)
		if (search->text[(at + i) % TEXT] != search->pattern[i])
			return 0;
	return 1;
}

/* Searches for one pattern; whether it is there. */
static __always_inline int find(const struct search *search, __u32 text, __u32 length,
				struct finding *finding)
{
	__u32 at = 0, places;

	finding->places = 0;
	for (places = 1; places <= PLACES; places++) {
		if (at + length > text) {
			finding->absent++;
			return 0;
		}
		finding->places = places;
		if (is_at(search, at)) {
			finding->found++;
			finding->offset = at;
			return 1;
		}
		at += search->moves[search->text[(at + length - 1) % TEXT] % CLASSES];
	}
	finding->abandoned++;
	return 0;
}

SEC("xdp")
int xdp_matcher(struct xdp_md *ctx)
{
	void *end = packet_end(ctx);
	struct eth_header *eth = packet(ctx);
	struct ipv4_header *ip = (void *)(eth + 1);
	struct udp_header *udp = (void *)(ip + 1);
	struct search search = {};
	int verdict = XDP_PASS;
	__u32 text, i;

	if ((void *)(udp + 1) > end || eth->type != htons(ETHERTYPE_IPV4) ||
	    ip->version_ihl != 0x45 || ip->protocol != PROTO_UDP || ip->fragment & FRAGMENT_OFFSET)
		return XDP_PASS;
	text = copy_text(search.text, (void *)(udp + 1), end);
	for (i = 0; i < PATTERNS; i++) {
		__u32 key = i, length;
		struct pattern *pattern = bpf_map_lookup_elem(&patterns, &key);
		struct finding *finding = bpf_map_lookup_elem(&findings, &key);

		if (!pattern || !finding || !length_of(pattern))
			continue;
		prepare(&search, pattern);
		length = length_of(pattern);
		if (length && find(&search, text, length, finding) && pattern->forbidden)
			verdict = XDP_DROP;
	}
	return verdict;
}

char _license[] SEC("license") = "MIT OR Apache-2.0";
