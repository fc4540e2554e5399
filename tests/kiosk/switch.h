/* SPDX-License-Identifier: MIT */
/* The ways in which the stand-in kiosk fails when it is asked to. */
#pragma once

#include "boot/base.h"

enum kiosk_switch {
	SWITCH_NONE,
	SWITCH_NEVER_STARTS, /* ends before it is ready, and stays ended */
	SWITCH_DIES,	     /* lives, then ends for good after the given seconds */
	SWITCH_LOOP,	     /* ends after the given seconds, each time it is started again */
	SWITCH_SILENT,	     /* runs, never beats */
	SWITCH_REFUSED,	     /* beats; the server refuses it */
	SWITCH_MEMORY,	     /* takes that many MiB a second, until something ends it */
	SWITCH_HANGS,	     /* stops (SIGSTOP) after the given seconds */
	SWITCH_OTHER_USER,   /* silent itself; another account beats for it */
	SWITCH_OTHER_UNIT,   /* silent itself; its own account beats from another unit */
	SWITCH_LATE,	     /* beats only after the given seconds: slow, but good */
	SWITCH_FLOOD,	     /* that many datagrams a second to the guard */
	SWITCHES,
};

struct switch_setting {
	enum kiosk_switch what;
	uint32_t number; /* the one behind ":", or the switch's own default */
};

const char *switch_name(enum kiosk_switch what);
const char *switch_help(enum kiosk_switch what);

/* "NAME" or "NAME:NUMBER"; a newline at the end is allowed. -EINVAL; *ret only on success. */
_must_check_ int switch_parse(const char *text, struct switch_setting *ret);

/* The last bf.kiosk= of a kernel command line; no such word: *ret stays. -EINVAL. */
_must_check_ int switch_from_cmdline(const char *cmdline, struct switch_setting *ret);
