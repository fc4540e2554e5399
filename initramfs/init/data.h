/* SPDX-License-Identifier: MIT */
/*
 * BF_DATA: mounted when it can be, checked when it asks for it, never made
 * anew. A device without it boots degraded, on a tmpfs.
 */
#pragma once

#include "initramfs/init/datadir.h"
#include "initramfs/init/disk.h"

struct data {
	int fd;		  /* directory fd of its root, -1 before data_mount */
	bool degraded;	  /* it is a tmpfs */
	bool wants_check; /* e2fsck is to look at it; it is mounted all the same, if it can be */
	bool checked;	  /* e2fsck ran, and all is in order */
	bool readonly;	  /* the real one, but (re)mounted read-only: degraded for writing */
	/* Lines of the mount plan that got a tmpfs although BF_DATA is there. */
	unsigned lost_lines;
	struct findings found; /* what was put aside or put right on it. Never freed */
	char *dir; /* where the running system finds it; NULL: the plan has no place. Never freed */
	char why[256]; /* why it is degraded or was checked; "" otherwise; cut short when longer */
};

#define DATA_MOUNT_FLAGS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/*
 * Mounts @p (name "" = missing) on the directory @target. The kernel replays the journal. When the
 * superblock says errors or is lost, or the mount fails with damage, a check is wanted: see
 * data_check(). Only a failing tmpfs is an error.
 */
_must_check_ int data_mount(const struct partition *p, const char *target, struct data *ret,
			    struct failure *f);

/*
 * Has what data_mount() left in *d checked by the e2fsck of the root on @sysroot, below which
 * nothing is mounted yet, and mounts it again, whatever came of that; *d is new then. @limit_sec:
 * see check_limit_sec(). Only a failing umount or tmpfs is an error.
 */
_must_check_ int data_check(const struct partition *p, const char *target, const char *sysroot,
			    uint32_t limit_sec, struct data *d, struct failure *f);
