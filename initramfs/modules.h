/* SPDX-License-Identifier: MIT */
/*
 * Kernel modules, in the order bf-mkinitramfs found at pack time: no search,
 * no modules.dep at boot.
 *
 * Format of the list: first line "# bf-modules 1 RELEASE"; then one
 * "LEVEL [-]PATH[ PARAMETERS]" a line, LEVEL a decimal that never decreases.
 * Modules of one level depend only on lower levels and are loaded in parallel.
 * "-" marks hardware that may be absent: its error is not a failure.
 */
#pragma once

#include "boot/reason.h"

struct module_line {
	uint32_t level;
	bool optional;
	const char *path;   /* absolute; points into the parsed text */
	const char *params; /* never NULL */
};

struct module_list {
	char *text; /* owns what the lines point to */
	const char *release;
	struct module_line *lines;
	size_t count;
};

/* Parses a copy of @text. REASON_MODULE_LIST in @f when damaged. */
_must_check_ int modules_parse(const char *text, struct module_list *ret, struct failure *f);
void modules_done(struct module_list *l);

/*
 * Reads @list_path and loads all of it; @after_level is called (in the calling
 * thread) after each level, so that bf-init can open a watchdog whose driver has
 * just come. A module that is already there is fine. @release: uname -r; a list
 * for another kernel is REASON_MODULE_KERNEL.
 * ret_loaded: how many were loaded.
 */
_must_check_ int modules_load(const char *list_path, const char *release, void (*after_level)(void),
			      size_t *ret_loaded, struct failure *f);
