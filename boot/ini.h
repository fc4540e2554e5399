/* SPDX-License-Identifier: MIT */
/*
 * Reads "[section]" and "key=value" lines, as GLib key files (RAUC) and
 * systemd's configuration have them: # and ; start a comment line, spaces around
 * names and values, carriage returns and a byte order mark do not count. What it
 * means is for the callers, and so is what is neither.
 */
#pragma once

#include "boot/base.h"

enum ini_item { INI_END, INI_KEY, INI_SECTION, INI_ODD };

struct ini {
	char *rest;
	unsigned line;		 /* of the item, from 1 */
	const char *section;	 /* "" before the first; "[" after one without its bracket */
	const char *key, *value; /* "" but for INI_KEY */
};

/* @text is changed, and must stay as long as *ret is used. */
void ini_start(struct ini *ret, char *text);
/* The next item; INI_END, 0, at the end and from then on. INI_ODD: a line that is none. */
enum ini_item ini_next(struct ini *ini);
