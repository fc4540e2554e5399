/* SPDX-License-Identifier: MIT */
/*
 * One event about a block device, in the two shapes the kernel gives it: pure.
 *
 * Formats: the netlink message is "ACTION@DEVPATH" and then "KEY=value" strings,
 * each ended by a NUL (Linux lib/kobject_uevent.c); the file `uevent` in sysfs
 * has the same KEY=value lines, ended by newlines, without ACTION, DEVPATH and
 * SUBSYSTEM. Keys of partitions: Linux block/partitions/core.c, part_uevent().
 * PARTNAME is what somebody wrote into a GPT: the kernel made it one line, but
 * its text is anybody's.
 */
#pragma once

#include "boot/base.h"

#define UEVENT_MAX                                                                                 \
	8192 /* bytes; the kernel's own buffers are 2048 for the keys and a path in front */

struct uevent {
	/* Point into the parsed buffer; NULL = not given. */
	const char *action;  /* "add", "remove", "change", … */
	const char *devpath; /* below /sys, "/devices/…" */
	const char *subsystem;
	const char *devtype; /* "disk", "partition" */
	const char *devname; /* below /dev */
	const char *partname;
	bool has_number;
	uint32_t major, minor;
};

/*
 * Both cut @buf into strings, in place. A key given twice, a message that does not end
 * with a NUL, and numbers that are none are -EBADMSG; keys that are not ours are passed over.
 */
_must_check_ int uevent_parse_message(char *buf, size_t len, struct uevent *ret);
_must_check_ int uevent_parse_file(char *text, struct uevent *ret);
