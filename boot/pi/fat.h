/* SPDX-License-Identifier: MIT */
/*
 * Finds one file in the root directory of a FAT filesystem, read-only, without
 * the kernel's vfat: bf-init needs one sector of one file.
 *
 * Format: Microsoft "FAT: General Overview of On-Disk Format", 1.03 (2000-12-06).
 * FAT12, FAT16 and FAT32; logical sectors of 512 to 4096 bytes. All of it is
 * untrusted input.
 */
#pragma once

#include "boot/base.h"

/*
 * Reads exactly @len bytes at byte @offset of the filesystem into @buf, at most
 * 512 at a time, at any offset. 0 or -errno, also behind the end: a damaged
 * volume can claim any size.
 */
typedef int (*fat_read_fn)(void *ctx, uint64_t offset_bytes, void *buf, size_t len);

struct fat_file {
	uint64_t offset_bytes; /* of the first data byte, from the start of the filesystem */
	uint32_t size_bytes;
	/*
	 * From offset_bytes on, so many bytes belong to the file without a gap:
	 * whole clusters, so perhaps more than size_bytes. Looked at up to 1 MiB only.
	 */
	uint32_t contiguous_bytes;
	uint32_t sector_bytes; /* the filesystem's logical sector */
};

/*
 * Finds the 8.3 file @name, written "AUTOBOOTTXT" (11 bytes, upper case,
 * padded with spaces). Long-name entries, deleted entries, directories and the
 * volume label never match. Short names are stored in upper case, whatever case
 * they were given in. Only as much as that needs is read: the chains of the
 * root directory and of the file, both bounded.
 *
 * 0; -ENOENT no such file or an empty one (no cluster); -EINVAL not FAT;
 * -EUCLEAN FAT but damaged (a chain that leaves the volume, loops, or is not as
 * long as the file's size; fields that contradict each other, such as those of
 * a "FAT32" with too few clusters to be one); else what @read returned.
 */
_must_check_ int fat_find(fat_read_fn read, void *ctx, const char name[static 11],
			  struct fat_file *ret);
