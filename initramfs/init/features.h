/* SPDX-License-Identifier: MIT */
/*
 * Why a good ext4 cannot be mounted here: what its superblock asks for, and this kernel lacks.
 * mount(2) says "No such process" or "Invalid argument" to that.
 *
 * Format: Linux Documentation/filesystems/ext4/super.rst. What mainline takes in every
 * configuration since 5.10 is not looked at; the rest is a matter of age or of the configuration.
 */
#pragma once

#include "boot/base.h"

#define FEATURES_SUPER_SIZE 1024 /* bytes of the superblock, from byte 1024 of the device on */

struct features {
	uint32_t set[2];      /* s_feature_incompat, s_feature_ro_compat */
	uint32_t block_bytes; /* 0: none that ext4 can have */
};

void features_read(const uint8_t super[static FEATURES_SUPER_SIZE], struct features *ret);

/*
 * What is lacking, when that is why mount(2) gave @error: a clause that goes after the name of the
 * file system, such as "has the ext4 feature 'quota', which this kernel lacks". False: the
 * cause is another one. @exists: is there such a file in /proc or /sys? So the kernel says what it
 * has.
 */
_must_check_ bool features_lacking(const struct features *f, int error, uint32_t page_bytes,
				   bool (*exists)(const char *path), char *ret, size_t size);
