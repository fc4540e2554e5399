/* SPDX-License-Identifier: MIT */
/*
 * What bf-init reads from the kernel command line.
 *
 * Quoting is the kernel's (lib/cmdline.c next_arg: double quotes protect
 * spaces, there are no escapes). Names are systemd's where systemd has one
 * (kernel-command-line(7), systemd-veritysetup-generator(8), veritytab(5)),
 * so that an image stays bootable by both; '-' and '_' are the same in names.
 * Words after "--" belong to init. The last one of several equal words wins, as
 * in the kernel, also over a malformed one; unknown words are ignored. An empty
 * systemd.verity_… is absent, as in systemd.
 */
#pragma once

#include "boot/reason.h"

/* Defaults, and what bf.NAME= may ask for instead */
#define CMDLINE_DEVICE_WAIT_SEC	 30  /* bf.wait=: for the disk, 1..600 */
#define CMDLINE_FAILURE_SHOW_SEC 10  /* bf.show=: the reason on the consoles, 0..600 */
#define CMDLINE_DEADLINE_SEC	 120 /* bf.deadline=: all of bf-init, 10..3600 */
#define CMDLINE_CHECK_SEC	 0   /* bf.check=: e2fsck on BF_DATA, 0 = by its size, ..86400 */
#define CMDLINE_WATCHDOG_SEC	 15  /* bf.watchdog=: 0 = leave it alone, ..600; a Pi takes 15 */

struct cmdline {
	enum slot slot;	      /* rauc.slot=A|B, else SLOT_NONE */
	char *roothash;	      /* roothash=HEX, 32..128 digits, even, lower case; NULL if absent */
	char *verity_options; /* systemd.verity_root_options=, unparsed; NULL if absent */
	char *verity_hash;    /* systemd.verity_root_hash=DEVICE, NULL: in the root partition */
	char *init;	      /* init=PATH, absolute, NULL if absent */
	uint32_t device_wait_sec;
	uint32_t failure_show_sec;
	uint32_t deadline_sec;
	uint32_t check_sec;
	uint32_t watchdog_sec;
};

/*
 * Parses @text (NUL-terminated, one trailing newline allowed). Malformed
 * roothash=: fills @f with REASON_VERITY_ROOTHASH; a number out of range, an
 * init= that is not absolute, a word without its value: with REASON_CMDLINE.
 * The first of several is reported. Returns -EINVAL; *ret then still holds
 * every word that was good and defaults elsewhere, so that the failure can be
 * shown as asked. Free with cmdline_done() in either case.
 */
_must_check_ int cmdline_parse(const char *text, struct cmdline *ret, struct failure *f);
void cmdline_done(struct cmdline *c);
