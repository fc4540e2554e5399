/* SPDX-License-Identifier: MIT */
/*
 * Why bf-mkinitramfs cannot go on, in words a person can act on.
 *
 * The leaf that finds a problem fills it exactly once and returns the negative
 * errno; everybody above forwards the number; main() prints the text.
 */
#pragma once

#include "boot/base.h"

struct problem {
	char *text; /* owned; NULL: nothing was said, or no memory to say it */
};

#define _cleanup_problem_ _cleanup_(problem_free)

void problem_free(struct problem *p);

/* Say it and append ": <strerror(-r)>". Returns @r, which is negative. */
int problem_errno(struct problem *p, int r, const char *fmt, ...) _printf_(3, 4);

/* Say it. Returns -EBADMSG. */
int problem_say(struct problem *p, const char *fmt, ...) _printf_(2, 3);
