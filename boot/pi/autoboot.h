/* SPDX-License-Identifier: MIT */
/*
 * The text of autoboot.txt, what the firmware obeys.
 *
 * Source: Raspberry Pi documentation, config_txt/autoboot.adoc: at most 512
 * bytes; only the filters [all], [none] and [tryboot]; only boot_partition and
 * tryboot_a_b. Ours has a constant length, one 512-byte sector, so that it can
 * be changed by a single write.
 */
#pragma once

#include "boot/base.h"

#define AUTOBOOT_SIZE 512 /* bytes */

struct autoboot {
	bool tryboot_a_b;	    /* as a trial boot reads it */
	uint32_t all_partition;	    /* under [all], 0 = not given, or not a number */
	uint32_t tryboot_partition; /* what a trial boot takes when [tryboot] names one, else 0 */
};

/*
 * How the firmware reads @len bytes of @text: lines it does not know are
 * ignored, CRLF is a line end, later lines win (one below [all] also counts in a
 * trial, so it wins over an earlier one below [tryboot]); nothing counts below
 * [none] or an unknown filter until the next [all]. -E2BIG above 512 bytes (the
 * firmware would cut it, and we trust no half), -EINVAL with a NUL or another
 * control byte in it.
 */
_must_check_ int autoboot_parse(const char *text, size_t len, struct autoboot *ret);

/*
 * The slot that @a boots by default, if @a is a complete A/B selection:
 * tryboot_a_b set, both partitions ours, and different. Else SLOT_NONE.
 */
enum slot autoboot_committed(const struct autoboot *a);

/* Our canonical text for @committed (A or B), padded with newlines to AUTOBOOT_SIZE; no NUL. */
void autoboot_format(enum slot committed, char buf[static AUTOBOOT_SIZE]);
