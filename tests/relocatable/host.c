/* What a C program supplies to program.bpf, and how it calls it. Linked before
 * the file under test, with end.c behind it. With -DKERNEL for code of the
 * kernel's convention. Exits with the number of the first check that fails. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unwind.h>

/* An array of programs, as "Tail calls" in docs/abi.md has it. */
#ifdef KERNEL
enum { MAX_ENTRIES = 0x24, SLOTS = 0x110 };
#else
enum { MAX_ENTRIES = 0, SLOTS = 16 };
#endif
_Alignas(8) unsigned char tailor_map_jmp[SLOTS + 2 * 8];

unsigned char tailor_map_counts[1];
uint64_t tailor_values_counts[1];

uint64_t tailor_enter_main(void *context, uint64_t length);
uint64_t tailor_enter_target(void *context, uint64_t length);
extern unsigned char tailor_slot_target[];

/* A record of .tailor.poke. Linkers put sections of one name one behind the other. */
struct poke {
	unsigned char *owner, *array;
	uint32_t key, bypass, target, out, bytes;
	uint8_t version, registers, numbers[6];
	uint32_t landing;
};
__asm__(".pushsection .tailor.poke, \"aw\"\n.balign 8\npokes:\n.popsection");
extern struct poke pokes[], pokes_end[];

static int frames, reaches_main;
int main(void);

static _Unwind_Reason_Code frame(struct _Unwind_Context *context, void *unused)
{
	(void)unused;
	frames += !reaches_main;
	if (_Unwind_FindEnclosingFunction((void *)(_Unwind_GetIP(context) - 1)) == (void *)main)
		reaches_main = 1;
	return _URC_NO_REASON;
}

__attribute__((noinline)) uint64_t tailor_helper_get_prandom_u32(void)
{
	frames = reaches_main = 0;
	_Unwind_Backtrace(frame, NULL);
	return (uintptr_t)__builtin_frame_address(0) % 16 ? 0 : 40;
}

void *tailor_helper_map_lookup_elem(void *map, const uint32_t *key)
{
	return map == tailor_map_counts && *key == 0 ? tailor_values_counts : NULL;
}

/* Puts "target" into a slot, while nobody runs: the slot, then its sites. */
static int set(uint32_t key)
{
	static const unsigned char nop[5] = { 0x0f, 0x1f, 0x44, 0, 0 };
	unsigned char *landing = tailor_slot_target;

	memcpy(tailor_map_jmp + SLOTS + 8 * key, &landing, 8);
#ifdef KERNEL
	memcpy(&landing, tailor_slot_target + 0x30, 8);
#endif
	for (struct poke *poke = pokes; poke < pokes_end; poke++) {
		unsigned char *at = poke->owner + poke->target;
		uintptr_t page = (uintptr_t)poke->owner & -4096;
		int32_t distance = landing + poke->landing - (at + 5);

		if (poke->array != tailor_map_jmp || poke->key != key || poke->version != 1)
			continue;
		if (mprotect((void *)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC))
			return 0;
		*at = 0xe9;
		memcpy(at + 1, &distance, 4);
		memcpy(poke->owner + poke->bypass, nop, 5);
	}
	return 1;
}

int main(void)
{
	uint32_t entries = 2;

	memcpy(tailor_map_jmp + MAX_ENTRIES, &entries, 4);
	/* The slot is empty. */
	if (tailor_enter_main(NULL, 0) != 1 || tailor_values_counts[0] != 1)
		return 1;
	if (!set(0))
		return 2;
	/* 1000 of target, 200 and the count of its subprogram, 40 of the helper. */
	if (tailor_enter_main(NULL, 0) != 1242 || tailor_values_counts[0] != 2)
		return 3;
	/* The helper, the subprogram, the target, this; and a thunk or a stub. */
	if (!reaches_main || frames != 5)
		return 4;
	if (tailor_enter_target(NULL, 0) != 1242)
		return 5;
	return 0;
}
