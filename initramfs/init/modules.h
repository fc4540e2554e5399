/* SPDX-License-Identifier: MIT */
/*
 * Kernel modules, in the order bf-mkinitramfs found at pack time: no search,
 * no modules.dep at boot. The kernel checks the signature of each module it
 * loads, tens of milliseconds a piece: only what this machine needs is loaded.
 * The list and its format: modlist.h.
 */
#pragma once

#include "boot/reason.h"

enum module_kind { MODULE_REQUIRED, MODULE_OPTIONAL, MODULE_ON_DEMAND };

struct module_line {
	uint32_t level;
	enum module_kind kind;
	const char *path;   /* absolute; points into the parsed text */
	const char *params; /* never NULL */
};

struct module_alias {
	size_t module; /* index into lines */
	const char *pattern;
};

struct module_need {
	size_t module, needed; /* indexes into lines; needed < module */
};

struct module_list {
	char *text; /* owns what the lines point to */
	const char *release;
	struct module_line *lines;
	size_t count;
	struct module_alias *aliases; /* in the order of the modules */
	size_t alias_count;
	struct module_need *needs; /* in the order of the modules */
	size_t need_count;
};

/* Parses a copy of @text. REASON_MODULE_LIST in @f when damaged. */
_must_check_ int modules_parse(const char *text, struct module_list *ret, struct failure *f);
void modules_done(struct module_list *l);

/* The modules of this boot. {0} is empty; module_set_done() may be called on it at any time. */
struct module_set {
	struct module_list list;
	struct module_state *states; /* one for each line */
	void (*after_level)(void);
	size_t loaded;	      /* so far, less those that were there already */
	uint64_t looked_usec; /* CLOCK_MONOTONIC: when devices were last looked for */
	uint64_t rest_usec;   /* when all the rest is due */
};

void module_set_done(struct module_set *s);

/*
 * Reads @list_path and loads what is required, what may fail, and what the
 * devices that are there want; @after_level is called (in the calling thread) after each
 * level, so that bf-init can open a watchdog whose driver has just come. A
 * module that is already there is fine. @release: uname -r; a list for another
 * kernel is REASON_MODULE_KERNEL; it and one that cannot be read leave @ret as it was.
 * A required module that fails ends nothing: the others are loaded, @ret is set, and the first
 * of these failures is returned.
 */
_must_check_ int modules_load(const char *list_path, const char *release, void (*after_level)(void),
			      struct module_set *ret, struct failure *f);

/*
 * To be called again and again while the disk is awaited, the oftener the sooner: loads what
 * serves a device that has come since, and half a second after modules_load() all
 * that is left, in case a device does not say what it is. Cheap when there is
 * nothing to do. Returns how many were loaded.
 */
size_t modules_load_more(struct module_set *s);
