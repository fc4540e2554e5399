/* SPDX-License-Identifier: MIT */
/* SHA-256 (FIPS 180-4), for the rollout and for downloads. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SHA256_SIZE 32 /* bytes of a digest */
#define SHA256_HEX  64

struct sha256 {
	uint32_t state[8];
	uint64_t bytes; /* hashed so far */
	uint8_t block[64];
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t len);
void sha256_end(struct sha256 *s, uint8_t ret_digest[static SHA256_SIZE]);

void sha256_hex(const uint8_t digest[static SHA256_SIZE], char ret_hex[static SHA256_HEX + 1]);
