/* SPDX-License-Identifier: MIT */
/*
 * The verified root: what is on the partition, the verity device over it
 * (device-mapper ioctls), mounted read-only. Nothing is mounted that the kernel
 * has not verified with the root hash.
 *
 * The hash tree lies behind the filesystem on the same partition, at the
 * filesystem's own size rounded up to the block (fsimage.h; hash-offset= for
 * other filesystems), or on a device of its own. Devices on the command line
 * (systemd.verity_root_hash=, fec-device=) are /dev/NAME, PARTLABEL=NAME,
 * PARTUUID=UUID or /dev/disk/by-part{label,uuid}/…, always a partition of the
 * disk the root is on. FEC data on the partition of the hash tree needs only
 * fec-offset=; on a device of its own its codes cover the hash device to its end,
 * so that the hash partition must be as long as the image they were made from.
 *
 * Two tables: while bf-init reads the root itself a bad block is an I/O error,
 * so that it can say why the boot failed. root_seal() then loads the table with
 * which a bad block restarts the machine.
 */
#pragma once

#include "boot/cmdline.h"
#include "initramfs/init/disk.h"
#include "initramfs/init/verity.h"

#define ROOT_DM_NAME	   "root"
#define ROOT_SIGNATURE_MAX 65536 /* bytes */

struct root {
	char fstype[32];  /* as the kernel calls it */
	char dm_name[16]; /* "dm-0"; "" = there is no device */
	uint32_t dm_major, dm_minor;
	bool fec;
	bool signature;
	bool sealed;
	char status;			 /* 'V' */
	char uuid[37];			 /* of the verity superblock */
	char algorithm[33];		 /* of the hash, "sha256", */
	char driver[VERITY_DRIVER_SIZE]; /* and the kernel's driver for it; "" unknown */
	uint32_t block_bytes;		 /* a data block */
	struct verity_table table;	 /* what root_seal() loads */
};

/*
 * Opens slot's root partition @p (hash device: the same, or cmdline's
 * systemd.verity_root_hash=), makes the mapped device "root", reads the first and the
 * last block through it, requires a status that begins with V, sets the partition(s) read-only,
 * and mounts on @target. Takes everything down again when it fails (but the
 * partitions stay read-only). Free with root_done().
 */
_must_check_ int root_mount(const struct partition *p, const struct disk *disk,
			    const struct cmdline *c, const char *target, struct root *ret,
			    struct failure *f);

/*
 * From here on a bad block restarts the machine (or panics, when asked for): to be called last,
 * just before the new init. REASON_VERITY_CORRUPT when a bad block was met since root_mount();
 * for what fails otherwise, root_blame() is asked.
 */
_must_check_ int root_seal(struct root *root, struct failure *f);

/*
 * After a failure that came from reading the root (@f says which): when verity met a bad
 * block, that is the reason: @f becomes REASON_VERITY_CORRUPT, its text is kept and the status
 * that proves it is added. Without that proof @f stays as it is.
 */
void root_blame(const struct root *root, struct failure *f);

/* Frees; leaves mount and device alone. */
void root_done(struct root *root);
