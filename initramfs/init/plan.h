/* SPDX-License-Identifier: MIT */
/*
 * From the verified root's /etc/fstab to the list of mounts bf-init makes: pure.
 *
 * Format: fstab(5), parsed by libmount. Lines with x-initrd.mount are ours.
 * x-bf.* say what fstab cannot (bf-fstab(5)):
 *   x-bf.upper=volatile|persistent|slot  where an overlay's upper lies: on a
 *       tmpfs, on BF_DATA shared by both slots (overlay/<name>), or on BF_DATA
 *       per slot (slots/<A|B>/<name>); <name> is the target with '-' for '/'.
 *   x-bf.degraded=volatile|skip          without BF_DATA: on a tmpfs (default), or not
 *       at all (then the line needs noauto: systemd would mount it).
 *   x-bf.seed                            a bind whose source on BF_DATA does not exist
 *       yet gets a copy of the image's directory (owner, mode, and content).
 *   x-bf.mode=0755 x-bf.uid= x-bf.gid=   of a bind's source, in every boot.
 *   x-bf.if-exists[=PATH]                only in an image that has PATH (default: the mount
 *       point); there a mount point below an overlay is made when it is missing. Needs noauto.
 *   x-bf.size=64M                        of a volatile upper: a tmpfs of its own, so large.
 *   x-bf.trust                           BF_DATA at or above a path whose content root runs:
 *       refused without it. The table is in plan.c and in bf-fstab(5).
 */
#pragma once

#include "boot/reason.h"

enum mount_kind { MOUNT_DATA, MOUNT_OVERLAY, MOUNT_BIND, MOUNT_TMPFS };
enum upper_kind { UPPER_VOLATILE, UPPER_PERSISTENT, UPPER_SLOT };
enum degraded_kind { DEGRADED_VOLATILE, DEGRADED_SKIP };

#define PLAN_FROM_IMAGE UINT32_MAX

/* Flags of a filesystem, not of one mount of it: a bind cannot have its own. */
#define PLAN_SUPER_FLAGS (MS_SYNCHRONOUS | MS_DIRSYNC | MS_LAZYTIME)

struct mount_line {
	unsigned line; /* of fstab, for messages */
	enum mount_kind kind;
	char *target;	     /* absolute, normal form: only [A-Za-z0-9@_+.-] and '/', no ".." */
	char *source;	     /* MOUNT_BIND: path relative to BF_DATA's root; else NULL */
	unsigned long flags; /* MS_* */
	char *options;	     /* for the filesystem itself, "" none */
	enum upper_kind upper;
	char *upper_name; /* MOUNT_OVERLAY: directory name for its upper, "var", "etc" */
	enum degraded_kind degraded;
	bool seed, trust;
	char *needs;		 /* absolute path: no line for an image without it; NULL none */
	char *size;		 /* UPPER_VOLATILE: tmpfs's size= of its own; NULL: it shares one */
	uint32_t mode, uid, gid; /* of a bind's source; PLAN_FROM_IMAGE: as the image's when made */
};

struct mount_plan {
	struct mount_line *lines; /* in the order of fstab, parents before children checked */
	size_t count;
	const char *data_target; /* where the plan puts BF_DATA, one of .lines; NULL if none does */
};

/*
 * REASON_FSTAB with line number for: a line libmount cannot read (also one that is not
 * ours: the image was verified, so it is a mistake of its builder), no line for us at all,
 * a filesystem, option or path that cannot be served, nosuid/nodev missing, fsck pass not 0,
 * a child before its parent, two lines for one target, a bind whose source does not lie on
 * BF_DATA, and whatever would have root run what lies on BF_DATA.
 */
_must_check_ int plan_make(const char *fstab, struct mount_plan *ret, struct failure *f);
void plan_done(struct mount_plan *p);
