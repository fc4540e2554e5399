/* SPDX-License-Identifier: MIT */
/*
 * Compression: kernel modules are unpacked, the finished image is packed.
 * Pure functions from bytes to bytes; the input is untrusted.
 *
 * Formats: gzip RFC 1952, zstd RFC 8878, xz "The .xz File Format" 1.2.0.
 */
#pragma once

#include "initramfs/pack/tree.h"

enum codec { CODEC_NONE, CODEC_GZIP, CODEC_ZSTD, CODEC_XZ };

/* "gzip", "zstd", "none": what codec_compress() can make; -EINVAL otherwise. */
_must_check_ int codec_parse(const char *name, enum codec *ret);
const char *codec_name(enum codec c);

/* By the first bytes. CODEC_NONE: none of the three. */
enum codec codec_detect(const uint8_t *data, size_t size);

/*
 * The same input gives the same output, on every machine with the same version
 * of the library: no time, no name, no thread. CODEC_XZ: -EINVAL (the kernel
 * takes only a special form of it, and slowly).
 */
_must_check_ int codec_compress(enum codec c, const struct blob *in, struct blob *ret);

/*
 * -EBADMSG: corrupt, cut short, or followed by something else; -EFBIG: @max
 * bytes or more come out.
 */
_must_check_ int codec_decompress(enum codec c, const struct blob *in, size_t max,
				  struct blob *ret);
