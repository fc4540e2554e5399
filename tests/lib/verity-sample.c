// SPDX-License-Identifier: MIT
#include "tests/lib/verity-sample.h"

void put_le(uint8_t *p, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(value >> 8 * i);
}

void sample_super(uint8_t sb[static VERITY_SUPER_SIZE])
{
	memset(sb, 0, VERITY_SUPER_SIZE);
	memcpy(sb, "verity\0", 8);
	put_le(sb + 8, 1, 4);
	put_le(sb + 12, 1, 4);
	for (uint8_t i = 0; i < 16; i++)
		sb[16 + i] = (uint8_t)(i * 0x11);
	strcpy((char *)sb + 32, "sha256");
	put_le(sb + 64, 4096, 4);
	put_le(sb + 68, 4096, 4);
	put_le(sb + 72, 8, 8);
	put_le(sb + 80, 2, 2);
	sb[88] = 0xaa;
	sb[89] = 0xbb;
}
