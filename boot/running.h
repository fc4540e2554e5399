/* SPDX-License-Identifier: MIT */
/*
 * The running device: finds out what requests.h decides by, and carries out
 * what it decided. Stands on what bf-init left in /run/bf/boot.
 *
 * Files:
 *   /run/bf/boot                what bf-init said of this boot: bootfile.h
 *   /run/bf/lock                flock(2): one at a time changes anything
 *   /run/bf/staying             exists: the guard does not switch slots in this boot
 *   /run/bf/spare-*             what becomes of the next two when /run is full: a kiosk that
 *                               fills it must not keep its slot from being left
 *   /run/bf/armed               "armed\n" or "counted\n": the next reboot is to be the
 *                               trial; counted: that attempt stands in the record
 *   /run/systemd/reboot-param   systemd's reboot argument: FIRMWARE_REBOOT_TRIAL and a newline;
 *                               only beside "counted\n"
 */
#pragma once

#include "boot/bootfile.h"
#include "boot/requests.h"

#define RUNNING_DIR	     BOOT_FILE_DIR
#define RUNNING_LOCK	     RUNNING_DIR "/lock"
#define RUNNING_ARMED	     RUNNING_DIR "/armed"
#define RUNNING_STAYING	     RUNNING_DIR "/staying"
#define RUNNING_REBOOT_PARAM "/run/systemd/reboot-param"
#define RUNNING_SPARE_ARMED  RUNNING_DIR "/spare-armed"
#define RUNNING_SPARE_PARAM  RUNNING_DIR "/spare-reboot-param"
#define RUNNING_LOCK_SEC     10

struct running {
	int lock_fd;
	int data_fd; /* root directory of BF_DATA, -1: not there */
	enum record_status record_status;
	struct boot_file boot;
	struct selector selector;
	struct run_facts facts;
	char why[256];	/* after an error: the object and the path; one line */
	int file_error; /* of a STEP_FILE that did not end the steps; .why says it. Else 0 */
};

enum running_mode {
	RUNNING_READ,	/* shared lock; nothing will be changed */
	RUNNING_CHANGE, /* exclusive lock, kept until running_close() */
};

/*
 * Takes the lock (waiting at most RUNNING_LOCK_SEC: -ETIMEDOUT) and reads
 * everything. A BF_DATA or selector that cannot be read is not an error: it
 * stands in the facts, and in .why. -ENOENT: bf-init did not start this system.
 * -EPERM: not root. running_close() in any case.
 */
_must_check_ int running_open(enum running_mode mode, struct running *ret);
void running_close(struct running *r);

/*
 * Carries out the steps of @plan, which was made from r->facts. Each is durable
 * before the next. On success r->facts is what holds now, so that the next plan can be made.
 *
 * STEP_FILE, and STEP_SECTOR where autoboot.txt is not in place, make the file anew through a
 * mount. FAT has no transaction, and its rename leaves two entries on one chain for a
 * moment, which the next removal turns into damage. So the old file is removed, and the
 * new one made with every write on the disk before the next, its space before its entry. A
 * power cut in between leaves the old file, none, an empty one or the new one; never half of
 * a text, and never a damaged filesystem (at worst some clusters that belong to nobody, and the
 * mark "not unmounted"). Without a selection the firmware starts A: bf-init, or the
 * next reconcile, goes on from there.
 */
_must_check_ int running_carry_out(struct running *r, const struct request_plan *plan);

/* requests_plan() and running_carry_out() in one. A refusal is no error: see *ret. */
_must_check_ int running_request(struct running *r, enum request request,
				 const struct request_args *args, struct request_plan *ret);

/*
 * bf-init writes every boot down, and reads it back from the disk. It is not there, although
 * BF_DATA takes writes: a disk at the end of its life that has become read-only in silence.
 */
bool running_disk_forgets(const struct running *r);

/* Makes the spare files, while there is room for them. */
_must_check_ int running_make_spares(void);

/*
 * The last word before the reboot, when BF_DATA is already unmounted: plain
 * `reboot` has deleted the reboot argument; it is written again if and only if
 * the attempt was counted. Returns 1 when the next boot is the trial, 0 when not.
 */
_must_check_ int running_arm_again(void);

/* The reboot itself, at once, with the argument that stands in its file; comes back only with an
 * error. */
_must_check_ int running_reboot(void);

/*
 * roothash= of the image in the boot partition of @slot, read through a
 * read-only mount. -ENOENT: there is none. *ret is lower case.
 */
_must_check_ int running_image_hash(struct running *r, enum slot slot,
				    char ret[static RECORD_HASH_MAX + 1]);
