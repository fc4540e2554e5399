/* SPDX-License-Identifier: MIT */
/*
 * Which kernel modules an image shall have: a table, groups, and the builder's
 * own wishes. Pure.
 */
#pragma once

#include "boot/base.h"

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
	bool late;     /* only when the disk is not found without it */
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
