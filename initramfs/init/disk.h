/* SPDX-License-Identifier: MIT */
/*
 * Finds the one disk that carries our partitions, by uevents: the netlink
 * socket is opened before /sys/class/block is read, so that nothing is missed
 * and nothing is polled. Labels are the kernel's PARTNAME (GPT).
 */
#pragma once

#include "boot/parts.h"
#include "boot/pi/firmware.h"
#include "boot/reason.h"

struct partition {
	char name[PART_NAME_SIZE]; /* kernel name; "" = not there */
	uint32_t major, minor;
};

struct disk {
	char name[PART_NAME_SIZE];
	struct partition part[PART_COUNT];
};

/*
 * Waits until a disk with all six labels is there, at most @wait_sec. When the
 * firmware told the kind of disk it booted from (@mode), only that kind counts.
 * Otherwise one label on a disk that is not USB rules out those that are: a stick
 * with the same labels never wins. At the end of the wait, or after
 * DISK_QUIET_SEC (inventory.h) without a change, a disk with BF_BOOTSEL and the
 * root of @slot is taken although others of its labels are missing (a damaged
 * BF_DATA must not cost the boot); the missing have an empty name. A disk on USB is
 * never taken before that. All rules, and why: inventory_choose().
 * REASON_DISK_MISSING names the disks, if any, and the labels that they lack;
 * REASON_DISK_AMBIGUOUS when two equally good disks remain.
 * @tick is called at least ten times a second (for the watchdog, and drivers to load).
 */
_must_check_ int disk_find(enum boot_mode mode, enum slot slot, uint32_t wait_sec,
			   void (*tick)(void), struct disk *ret, struct failure *f);
