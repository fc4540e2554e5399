/* SPDX-License-Identifier: MIT */
/*
 * e2fsck(8) on BF_DATA: the verified root's own, run inside that root, so that what reads a
 * damaged disk is as well signed as the rest, and nothing of it is packed.
 *
 * A check can take longer than anybody lets it, and what cuts it off, cuts it off in the next
 * boot, too. So a check that was begun and did not put things in order is remembered, where that
 * is possible whatever the file system looks like: in the first 512 bytes of the partition, which
 * ext4 leaves alone. After the second one in a row the boots go on without it, 4 of them, then
 * 8, 16 … until the next try.
 */
#pragma once

#include "boot/base.h"

/* The note in the first 512 bytes. Text: "BF-CHECK begun=N skipped=N\n", then zeroes. */
#define CHECK_NOTE_SIZE 512
#define CHECK_NOTE_MAX	1000 /* of each number */

struct check_note {
	uint32_t begun;	  /* in a row, without putting BF_DATA in order */
	uint32_t skipped; /* boots since the last of them that wanted a check and went on without */
};

/* Whatever is no note of ours is none: {0}. Untrusted. */
void check_note_parse(const char text[static CHECK_NOTE_SIZE], struct check_note *ret);
void check_note_format(const struct check_note *note, char ret[static CHECK_NOTE_SIZE]);
bool check_is_due(const struct check_note *note);

/* Two minutes and a second for each GiB, or @asked_sec if that is not 0. */
uint32_t check_limit_sec(uint64_t device_bytes, uint32_t asked_sec);

enum check_result {
	CHECK_GOOD,	  /* no errors found */
	CHECK_REPAIRED,	  /* errors found, all repaired */
	CHECK_LEFT,	  /* errors are left */
	CHECK_NOTHING,	  /* e2fsck finds no file system there, or cannot do its work */
	CHECK_TIMEOUT,	  /* ended by us */
	CHECK_IMPOSSIBLE, /* the root has no e2fsck, or it cannot be run there */
	CHECK_SKIPPED,	  /* not due, see above */
};

struct check_report {
	enum check_result result;
	char text[120]; /* for a person: "e2fsck repaired errors" */
};

/*
 * Checks @device, which is not mounted, by the e2fsck of the root that is mounted on @sysroot and
 * has nothing mounted below. Says on the console that it takes time. @asked_sec: see
 * check_limit_sec(). Whatever fails is a result.
 */
void check_run(const char *device, const char *sysroot, uint32_t asked_sec,
	       struct check_report *ret);

/* The check put things in order, and the kernel thinks so, too: what is remembered of it goes. */
void check_helped(const char *device);
