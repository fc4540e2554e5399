/* SPDX-License-Identifier: MIT */
/* Makes small FAT volumes, of each type and sector size, with files in the root directory. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct fat_make_file {
	const char *name; /* as in the directory: "AUTOBOOTTXT" */
	const char *text;
	size_t size; /* of the file; what @text does not fill are newlines. 0: strlen(text) */
};

/*
 * Writes a volume with @count files into the file @real, sparse. @bits: 12, 16 or 32; @sector:
 * 512 to 4096 bytes, and a cluster is one sector. Ends the test program when it fails.
 */
void fat_make(const char *real, unsigned bits, uint32_t sector, const struct fat_make_file *files,
	      size_t count);
