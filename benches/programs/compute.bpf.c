/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Twenty XDP programs that call no helper, and an empty one: what they take is
 * the code that an engine makes, and nothing else. Each computes something of
 * the first 256 bytes of the packet and returns it. Loops choose with masks
 * where a branch on data would give the kernel's verifier more paths than it
 * walks.
 */
#include "../../examples/tailor_bpf.h"

#define BYTES 256
#define ROTATE(x, by) ((x) << (by) | (x) >> (8 * sizeof(x) - (by)))

/* A program of the packet's bytes `d`. */
#define PROGRAM(name)                                                          \
	static __always_inline __u32 name##_of(const __u8 *d);                 \
	SEC("xdp") int name(struct xdp_md *ctx)                                \
	{                                                                      \
		const __u8 *d = (void *)(long)ctx->data;                       \
		if (d + BYTES > (const __u8 *)(long)ctx->data_end)             \
			return 0;                                              \
		return name##_of(d);                                           \
	}                                                                      \
	static __always_inline __u32 name##_of(const __u8 *d)

#define LOOP(i, n) _Pragma("clang loop unroll(disable)") for (__u32 i = 0; i < (n); i++)

static __always_inline __u32 word(const __u8 *d, __u32 i)
{
	return *(const __u32 *)(d + 4 * i);
}

static __always_inline __u64 quad(const __u8 *d, __u32 i)
{
	return *(const __u64 *)(d + 8 * i);
}

/* The reflected CRC-32 of zlib, bit by bit, of 64 bytes. */
PROGRAM(crc32)
{
	__u32 crc = ~0u;

	LOOP(i, 64) {
		crc ^= d[i];
#pragma unroll
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
	}
	return ~crc;
}

PROGRAM(adler32)
{
	__u32 a = 1, b = 0;

	LOOP(i, BYTES) {
		a = (a + d[i]) % 65521;
		b = (b + a) % 65521;
	}
	return b << 16 | a;
}

/* The checksum of IP, of little-endian halves. */
PROGRAM(checksum)
{
	__u64 sum = 0;

	LOOP(i, BYTES / 4)
		sum += word(d, i);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

PROGRAM(fnv1a)
{
	__u64 hash = 0xcbf29ce484222325ull;

	LOOP(i, BYTES)
		hash = (hash ^ d[i]) * 0x100000001b3ull;
	return hash ^ hash >> 32;
}

PROGRAM(murmur3)
{
	__u32 hash = 0;

	LOOP(i, BYTES / 4) {
		__u32 k = word(d, i) * 0xcc9e2d51;

		hash ^= ROTATE(k, 15) * 0x1b873593;
		hash = ROTATE(hash, 13) * 5 + 0xe6546b64;
	}
	hash ^= BYTES;
	hash = (hash ^ hash >> 16) * 0x85ebca6b;
	hash = (hash ^ hash >> 13) * 0xc2b2ae35;
	return hash ^ hash >> 16;
}

static __always_inline void sip_round(__u64 *v)
{
	v[0] += v[1]; v[1] = ROTATE(v[1], 13) ^ v[0]; v[0] = ROTATE(v[0], 32);
	v[2] += v[3]; v[3] = ROTATE(v[3], 16) ^ v[2];
	v[0] += v[3]; v[3] = ROTATE(v[3], 21) ^ v[0];
	v[2] += v[1]; v[1] = ROTATE(v[1], 17) ^ v[2]; v[2] = ROTATE(v[2], 32);
}

/* SipHash-1-3 with key 0, folded. */
PROGRAM(siphash)
{
	__u64 v[4] = { 0x736f6d6570736575ull, 0x646f72616e646f6dull,
		       0x6c7967656e657261ull, 0x7465646279746573ull };

	LOOP(i, BYTES / 8) {
		v[3] ^= quad(d, i);
		sip_round(v);
		v[0] ^= quad(d, i);
	}
	v[3] ^= (__u64)BYTES << 56;
	sip_round(v);
	v[0] ^= (__u64)BYTES << 56;
	v[2] ^= 0xff;
	sip_round(v);
	sip_round(v);
	sip_round(v);
	v[0] ^= v[1] ^ v[2] ^ v[3];
	return v[0] ^ v[0] >> 32;
}

/* Bits that are set. */
PROGRAM(popcount)
{
	__u32 bits = 0;

	LOOP(i, BYTES / 8) {
		__u64 x = quad(d, i);

		x -= x >> 1 & 0x5555555555555555ull;
		x = (x & 0x3333333333333333ull) + (x >> 2 & 0x3333333333333333ull);
		x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0full;
		bits += x * 0x0101010101010101ull >> 56;
	}
	return bits;
}

/* Primes up to 128 plus the low bits of the first byte. */
PROGRAM(sieve)
{
	__u8 composite[192] = {};
	__u32 limit = 128 + (d[0] & 63), primes = 0;

	LOOP(i, 12) {
		__u32 p = i + 2;

		if (composite[p])
			continue;
		for (__u32 at = p * p; at < 192; at += p)
			composite[at] = 1;
	}
	LOOP(i, 192)
		if (i >= 2 && i <= limit && !composite[i])
			primes++;
	return primes;
}

/* A Fibonacci number from two of the packet's as seeds, modulo 2^32. */
PROGRAM(fibonacci)
{
	__u32 a = d[0], b = d[1];

	LOOP(i, 200) {
		__u32 next = a + b;

		a = b;
		b = next;
	}
	return a;
}

/* Sorts 16 bytes by odd-even transposition; the hash says in which order. */
PROGRAM(sort)
{
	__u8 v[16];
	__u32 hash = 0;

	LOOP(i, 16)
		v[i] = d[i];
	LOOP(round, 16) {
#pragma unroll
		for (__u32 i = 0; i < 15; i++) {
			__u32 x = v[i], y = v[i + 1], bigger = -(x > y);
			__u32 swap = (x ^ y) & bigger;

			v[i] = x ^ swap;
			v[i + 1] = y ^ swap;
		}
	}
	LOOP(i, 16)
		hash = hash * 31 + v[i];
	return hash;
}

/* The sum of the entries, each times its place, of a product of 4x4 matrices. */
PROGRAM(matrix)
{
	__u32 sum = 0, place = 1;

	LOOP(row, 4) {
		LOOP(column, 4) {
			__u32 entry = 0;

			LOOP(i, 4)
				entry += d[4 * row + i] * d[16 + 4 * i + column];
			sum += entry * place++;
		}
	}
	return sum;
}

/* Where the packet's first four bytes come again, or 0. */
PROGRAM(search)
{
	__u32 pattern = word(d, 0), found = 0;

	LOOP(i, BYTES - 4) {
		const __u8 *at = d + i + 1;
		__u32 here = at[0] | at[1] << 8 | at[2] << 16 | (__u32)at[3] << 24;

		if (here == pattern) {
			found = i + 1;
			break;
		}
	}
	return found;
}

/* The sum of the bytes that 64 hexadecimal digits stand for; others count as 0. */
PROGRAM(hex)
{
	__u32 sum = 0, high = 0;

	LOOP(i, 64) {
		__u32 c = d[i], digit = 0;

		if (c - '0' < 10)
			digit = c - '0';
		else if ((c | 32) - 'a' < 6)
			digit = (c | 32) - 'a' + 10;
		if (i & 1)
			sum += high << 4 | digit;
		else
			high = digit;
	}
	return sum;
}

PROGRAM(gcd)
{
	__u64 a = word(d, 0), b = word(d, 1);

	LOOP(i, 48) {
		__u64 rest;

		if (!b)
			break;
		rest = a % b;
		a = b;
		b = rest;
	}
	return a;
}

/* A power modulo 4294967291, the largest prime of 32 bits. */
PROGRAM(power)
{
	__u64 base = word(d, 0), result = 1;
	__u32 exponent = word(d, 1);

	LOOP(i, 32) {
		if (exponent & 1)
			result = result * base % 4294967291u;
		base = base * base % 4294967291u;
		exponent >>= 1;
	}
	return result;
}

/* The integer square root of the upper 62 bits of eight bytes, bit by bit. */
PROGRAM(root)
{
	__u64 rest = quad(d, 0) >> 2, root = 0;

	LOOP(i, 31) {
		__u64 bit = 1ull << (60 - 2 * i), tried = root + bit;
		__u64 fits = ~((__s64)(rest - tried) >> 63);

		hide(fits);
		rest -= tried & fits;
		root = (root >> 1) + (bit & fits);
	}
	return root;
}

/* Steps of Collatz's sequence from two bytes to 1, at most 200. */
PROGRAM(collatz)
{
	__u64 n = 1 + (d[0] | d[1] << 8);
	__u32 steps = 0;

	LOOP(i, 200) {
		__u64 odd = -(n & 1);

		if (n == 1)
			break;
		hide(odd);
		n = ((3 * n + 1) & odd) | (n >> 1 & ~odd);
		steps++;
	}
	return steps;
}

/* Runs of equal bytes, and the longest. */
PROGRAM(runs)
{
	__u32 runs = 1, length = 1, longest = 1;

	LOOP(i, BYTES - 1) {
		__u32 equal = ((d[i] ^ d[i + 1]) - 1u) >> 31, over;

		hide(equal);
		length = length * equal + 1;
		runs += 1 - equal;
		over = longest - length;
		longest -= over & -(over >> 31);
	}
	return runs << 16 | longest;
}

/* Whether the bytes are UTF-8 by their lengths alone, and how many characters. */
PROGRAM(utf8)
{
	__u32 wanted = 0, characters = 0, wrong = 0;

	LOOP(i, BYTES) {
		__u32 c = d[i], none = (wanted - 1) >> 31;
		__u32 follows = c >> 7 & ~(c >> 6) & 1;
		__u32 leads = ((c + 0x40) >> 8) + ((c + 0x20) >> 8) + ((c + 0x10) >> 8);

		hide(follows);
		wrong |= follows ^ none ^ 1;
		characters += 1 - follows;
		wanted = follows * (wanted - 1 + none) + leads;
	}
	return wrong << 31 | characters;
}

/* Eight rounds of Speck64/128-like mixing in a subprogram, block by block. */
static __noinline __u64 mix(__u64 block, __u64 key)
{
	__u32 x = block, y = block >> 32, k = key, l = key >> 32;

#pragma unroll
	for (__u32 i = 0; i < 8; i++) {
		x = (ROTATE(x, 24) + y) ^ k;
		y = ROTATE(y, 3) ^ x;
		l = (ROTATE(l, 24) + k) ^ i;
		k = ROTATE(k, 3) ^ l;
	}
	return (__u64)y << 32 | x;
}

PROGRAM(cipher)
{
	__u64 sum = 0, key = quad(d, 0);

	LOOP(i, 16)
		sum = mix(sum ^ quad(d, i + 1), key);
	return sum ^ sum >> 32;
}

/* What is subtracted from the others' times: entry and exit. */
SEC("xdp") int empty(struct xdp_md *ctx)
{
	(void)ctx;
	return 2;
}
