/* SPDX-License-Identifier: MIT */
/*
 * The verified root: what is on the partition (libblkid), the verity device
 * over it (device-mapper ioctls), mounted read-only. Nothing is mounted that
 * the kernel has not verified with the root hash.
 */
#pragma once

#include "boot/cmdline.h"
#include "initramfs/disk.h"
#include "initramfs/verity.h"

#define ROOT_DM_NAME "root"

struct root {
	char fstype[32]; /* as the kernel calls it */
	char dm_name[8]; /* "dm-0" */
	uint32_t dm_major, dm_minor;
	bool fec;
	bool signature;
	char status;     /* 'V' */
	char uuid[37];   /* of the verity superblock */
};

/*
 * Opens slot's root partition @p (hash device: the same, or cmdline's
 * systemd.verity_root_hash=), makes /dev/mapper/root, reads the first and the
 * last block through it, requires status V, sets the partition(s) read-only,
 * and mounts on @target. Takes everything down again when it fails.
 */
_must_check_ int root_mount(const struct partition *p, const struct disk *disk,
			    const struct cmdline *c, const char *target, struct root *ret,
			    struct failure *f);
