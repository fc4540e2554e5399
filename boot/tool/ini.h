/* SPDX-License-Identifier: MIT */
/*
 * Reads "[section]" and "key=value" lines, as GLib key files (RAUC) and
 * systemd's configuration have them: # and ; start a comment line, spaces around
 * names and values do not count. Anything else is passed over: what it means is
 * for the programs that own the files.
 */
#pragma once

#include "boot/base.h"

struct ini {
	char *rest;
	const char *section; /* "" before the first */
	const char *key, *value;
};

/* @text is changed, and must stay as long as *ret is used. */
void ini_start(struct ini *ret, char *text);
/* The next key; false at the end. */
bool ini_next(struct ini *ini);
