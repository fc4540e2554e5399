/* SPDX-License-Identifier: MIT */
/*
 * The few device-mapper commands bf-init needs, by ioctl, without libdevmapper
 * and its udev cookies: nobody else uses the device yet.
 *
 * Format: linux/dm-ioctl.h. Functions return 0 or -errno; @control is what
 * dm_open() gave, @name a mapped device's name.
 */
#pragma once

#include "boot/base.h"

#define DM_STATUS_MAX 64 /* bytes with NUL: what is longer is cut off */

/* The control device, an fd to be closed by the caller. -ENOENT: no device-mapper. */
_must_check_ int dm_open(void);

/* -ENOENT: the kernel has no such target. */
_must_check_ int dm_target_version(int control, const char *target, uint32_t ret[static 3]);

/* An empty device /dev/dm-<minor>. -EBUSY: the name is taken. */
_must_check_ int dm_create(int control, const char *name, const char *uuid, uint32_t *ret_major,
			   uint32_t *ret_minor);

/* Loads a read-only table of one @target as the inactive one; dm_resume() makes it the live one. */
_must_check_ int dm_load(int control, const char *name, const char *target, uint64_t sectors,
			 const char *params);
_must_check_ int dm_resume(int control, const char *name);

/*
 * The status text of the live table's first target. A later kernel may add words to it: only
 * those that are defined today may be looked at.
 */
_must_check_ int dm_status(int control, const char *name, char ret[static DM_STATUS_MAX]);

/* For a way back: who calls it has something worse to report than that it failed. */
int dm_remove(int control, const char *name);
