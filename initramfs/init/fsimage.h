/* SPDX-License-Identifier: MIT */
/*
 * How long a filesystem image is, from its own first bytes: the hash tree of a
 * slot image follows right behind it. Pure.
 *
 * Formats: Linux Documentation/filesystems/ext4/super.rst, fs/erofs/erofs_fs.h
 * (without the 48-bit layout), Documentation/filesystems/squashfs.rst. libblkid
 * tells what it is but, up to 2.38, not its length. Nothing has verified these
 * bytes yet: what comes out is a place to look at, not more.
 */
#pragma once

#include "boot/base.h"

#define FSIMAGE_HEAD_BYTES 4096

struct fsimage {
	const char *type; /* "ext4" (also for ext2 and ext3), "erofs", "squashfs" */
	uint64_t bytes;	  /* not 0, fits in 63 bits */
};

/* -ENODATA: no filesystem of this table; -EUCLEAN: one whose size is impossible. */
_must_check_ int fsimage_parse(const uint8_t head[static FSIMAGE_HEAD_BYTES], struct fsimage *ret);
