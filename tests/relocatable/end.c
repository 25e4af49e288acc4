/* Ends the table that host.c begins. */
__asm__(".pushsection .tailor.poke, \"aw\"\n.globl pokes_end\npokes_end:\n.popsection");
