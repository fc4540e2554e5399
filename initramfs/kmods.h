/* SPDX-License-Identifier: MIT */
/*
 * The kernel modules of the image: which, what they need, in which order.
 *
 * libkmod reads the indexes depmod(8) made in the root (names, aliases,
 * dependencies); the modules themselves are read, unpacked and asked for their
 * soft dependencies here. The root's modprobe.d is not read: what is packed is
 * decided by this table and by options, not by what a package left there.
 *
 * The list written for bf-init, /lib/modules/bf-modules, is described in
 * modules.h.
 */
#pragma once

#include "initramfs/cpio.h"
#include "initramfs/problem.h"

#define KMODS_LIST "/lib/modules/bf-modules"

/* Sets of modules that are packed only when asked for: they cost bytes in every boot. */
enum kmod_group { KMOD_BASE = 0, KMOD_EROFS = 1, KMOD_SQUASHFS = 2, KMOD_USB = 4 };

/* "usb,erofs" as a set of bits, added to *ret. -EINVAL: no such group. */
_must_check_ int kmod_groups_parse(const char *list, unsigned *ret);

/* One wish. All strings owned. */
struct kmod_want {
	char *name;   /* a module or an alias */
	char *params; /* "a=1 b=2"; NULL: none */
	char *why;    /* for people */
	bool optional;
	bool watchdog; /* as early as can be */
};

struct kmod_wants {
	struct kmod_want *list;
	size_t count;
};

#define _cleanup_wants_ _cleanup_(kmod_wants_free)

void kmod_wants_free(struct kmod_wants *w);

/* What every image needs, and the groups of the set @groups. */
_must_check_ int kmod_wants_defaults(struct kmod_wants *w, unsigned groups);

/*
 * "NAME[ PARAMETERS]"; with @dash, "-NAME[ PARAMETERS]" means optional. -EINVAL:
 * not that. Wanted twice: required wins, the last parameters count.
 */
_must_check_ int kmod_wants_add(struct kmod_wants *w, const char *text, bool optional, bool dash,
				const char *why);

/* Adds a copy of @want; twice as above. */
_must_check_ int kmod_wants_merge(struct kmod_wants *w, const struct kmod_want *want);

struct kmod_report {
	size_t count;  /* modules packed */
	char *skipped; /* a line for each wish that needed nothing, and why; owned */
};

/* Adds the modules for @wants and the list to the image. */
_must_check_ int kmods_pack(const struct tree *tree, const char *release,
			    const struct kmod_wants *wants, struct image *img,
			    struct kmod_report *ret, struct problem *p);

/*
 * The load order; pure. Module @i must come after edges[...].to for each edge
 * from @i. A soft edge that would close a circle is dropped; a circle of hard
 * ones is -ELOOP. levels[i]: 0 for what needs nothing, else one more than the
 * highest it needs.
 */
struct kmod_edge {
	size_t from, to;
	bool hard;
};

_must_check_ int kmod_levels(size_t count, const struct kmod_edge *edges, size_t edge_count,
			     unsigned *levels);
