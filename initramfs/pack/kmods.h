/* SPDX-License-Identifier: MIT */
/*
 * The kernel modules of the image: which, what they need, in which order.
 *
 * libkmod finds names and aliases in the indexes depmod(8) made in the root;
 * modules.dep says what needs what; the modules themselves are read, unpacked and
 * asked for their soft dependencies here, and whether modules.dep has all of the others. The root's
 * modprobe.d is not read: what is packed is decided by this table and by options, not by what a
 * package left there.
 *
 * The list written for bf-init: modlist.h.
 */
#pragma once

#include "initramfs/pack/cpio.h"
#include "initramfs/pack/problem.h"
#include "initramfs/pack/wants.h"

struct kmod_report {
	size_t count;	     /* modules packed */
	size_t signed_count; /* of these, how many had a signature */
	char *skipped;	     /* a line for each wish that needed nothing, and why; owned */
};

/* A device tree of the target. */
struct kmod_dtb {
	char *path;	  /* for messages; owned */
	struct blob blob; /* owned */
};

struct kmod_dtbs {
	struct kmod_dtb *list;
	size_t count;
};

void kmod_dtbs_free(struct kmod_dtbs *d);
/* Takes *blob over, whatever comes of it. */
_must_check_ int kmod_dtbs_add(struct kmod_dtbs *d, const char *path, struct blob *blob);

/*
 * Adds the modules for @wants and the list to the image, and what drives the devices that theirs
 * wait for in @dtbs. @strip: without their signatures.
 */
_must_check_ int kmods_pack(const struct tree *tree, const char *release,
			    const struct kmod_wants *wants, const struct kmod_dtbs *dtbs,
			    bool strip, struct image *img, struct kmod_report *ret,
			    struct problem *p);

/*
 * The size of the module without the signature behind it; @size when it has
 * none. -EBADMSG: a damaged one. Pure. Format: the PKCS #7 message, struct module_signature,
 * the marker (Linux include/linux/module_signature.h, kernel/module_signature.c).
 */
_must_check_ int kmod_unsigned_size(const void *data, size_t size, size_t *ret);

/*
 * An alias of a module as a pattern for the modalias of a device, with "_" for each
 * "-" outside of brackets, as libkmod compares them. NULL in *ret: it is none (a file
 * system, a cipher, a device that sysfs does not list by bus).
 */
_must_check_ int kmod_device_pattern(const char *alias, char **ret);

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
