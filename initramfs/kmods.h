/* SPDX-License-Identifier: MIT */
/*
 * The kernel modules of the image: which, what they need, in which order.
 *
 * libkmod finds names and aliases in the indexes depmod(8) made in the root;
 * modules.dep says what needs what; the modules themselves are read, unpacked and
 * asked for their soft dependencies here. The root's modprobe.d is not read: what is packed is
 * decided by this table and by options, not by what a package left there.
 *
 * The list written for bf-init, /lib/modules/bf-modules, is described in
 * modules.h.
 */
#pragma once

#include "initramfs/cpio.h"
#include "initramfs/problem.h"
#include "initramfs/wants.h"

#define KMODS_LIST "/lib/modules/bf-modules"

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
