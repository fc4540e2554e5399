/* SPDX-License-Identifier: MIT */
/* A good verity superblock to start from: 8 blocks of 4096, sha256, salt aabb. */
#pragma once

#include "initramfs/init/verity.h"

#define SAMPLE_UUID "00112233-4455-6677-8899-aabbccddeeff"
#define HASH64	    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* @value as @bytes bytes, the least significant first. */
void put_le(uint8_t *p, uint64_t value, unsigned bytes);

void sample_super(uint8_t sb[static VERITY_SUPER_SIZE]);
