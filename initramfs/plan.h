/* SPDX-License-Identifier: MIT */
/*
 * From the verified root's /etc/fstab to the list of mounts bf-init makes: pure.
 *
 * Format: fstab(5), parsed by libmount. Lines with x-initrd.mount are ours.
 * x-bf.* say what fstab cannot:
 *   x-bf.upper=volatile|persistent|slot  where an overlay's upper lies: on a
 *       tmpfs, on BF_DATA shared by both slots (overlay/<path>), or on BF_DATA
 *       per slot (slots/<A|B>/<path>); '/' in the path becomes '-'.
 *   x-bf.degraded=volatile|skip|fail     without BF_DATA: on a tmpfs (default), not
 *       at all, or the boot fails.
 *   x-bf.seed                            a bind whose source on BF_DATA does not exist
 *       yet gets a copy of the image's directory (owner, mode, and content).
 *   x-bf.mode=0755 x-bf.uid= x-bf.gid=   of a directory on BF_DATA that is made.
 */
#pragma once

#include "boot/reason.h"

enum mount_kind { MOUNT_DATA, MOUNT_OVERLAY, MOUNT_BIND, MOUNT_TMPFS };
enum upper_kind { UPPER_VOLATILE, UPPER_PERSISTENT, UPPER_SLOT };
enum degraded_kind { DEGRADED_VOLATILE, DEGRADED_SKIP, DEGRADED_FAIL };

struct mount_line {
	unsigned line; /* of fstab, for messages */
	enum mount_kind kind;
	char *target;  /* absolute, normal form, no ".." */
	char *source;  /* MOUNT_BIND: path relative to BF_DATA's root; else NULL */
	unsigned long flags; /* MS_* */
	char *options; /* for the filesystem itself, "" none */
	enum upper_kind upper;
	char *upper_name; /* MOUNT_OVERLAY: directory name for its upper, "var", "etc" */
	enum degraded_kind degraded;
	bool seed;
	uint32_t mode, uid, gid; /* of a directory that is made; mode 0 = take it from the image's directory */
};

struct mount_plan {
	struct mount_line *lines; /* in the order of fstab, parents before children checked */
	size_t count;
	char *data_target; /* where the plan puts BF_DATA, NULL if it has no line for it */
};

/*
 * REASON_FSTAB with line number for: no line for us at all, a filesystem, option or path
 * that cannot be served, nosuid/nodev missing, fsck pass not 0, a child before its parent,
 * two lines for one target, a bind whose source does not lie on BF_DATA.
 */
_must_check_ int plan_make(const char *fstab, struct mount_plan *ret, struct failure *f);
void plan_done(struct mount_plan *p);
