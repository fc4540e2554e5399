/* SPDX-License-Identifier: MIT */
/*
 * The disks that are there, and which of them is ours: pure. Fed with uevents in
 * any order; the choice depends on what is there and on the time, never on what came first.
 */
#pragma once

#include "initramfs/init/disk.h"
#include "initramfs/init/uevent.h"

/*
 * How long no disk or labelled partition must have come or gone before a choice
 * that could still become better (or wrong) is made.
 */
#define DISK_QUIET_SEC 5

enum disk_kind { DISK_OTHER, DISK_NVME, DISK_MMC, DISK_USB };

struct labelled { /* a partition with one of our labels */
	char *devpath;
	enum part part;
	struct partition partition;
};

struct inventory_disk {
	char *devpath;
	char name[PART_NAME_SIZE];
	enum disk_kind kind;
	struct labelled *parts;
	size_t part_count;
};

struct inventory {
	struct inventory_disk *disks;
	size_t disk_count;
	uint64_t changed_usec; /* when a disk or a labelled partition last came, went or changed */
};

void inventory_clear(struct inventory *inv); /* also frees; keeps changed_usec */

/*
 * Takes in one event (sysfs: as "add"). What is not a disk or a partition of a disk, and what
 * makes no sense, is passed over. Only -ENOMEM is an error.
 */
_must_check_ int inventory_apply(struct inventory *inv, const struct uevent *e, uint64_t now_usec);

enum choice_kind { CHOICE_WAIT, CHOICE_TAKE, CHOICE_FAIL };

struct choice {
	enum choice_kind kind;
	struct disk disk;    /* CHOICE_TAKE */
	enum reason reason;  /* CHOICE_FAIL: REASON_DISK_MISSING, REASON_DISK_AMBIGUOUS */
	uint64_t until_usec; /* CHOICE_WAIT: choose again then, if no event comes before */
};

void inventory_choose(const struct inventory *inv, enum boot_mode mode, enum slot slot,
		      uint64_t now_usec, uint64_t deadline_usec, struct choice *ret);

/* Why there is no disk, for a person: every disk and what it lacks, the likeliest first. */
void inventory_explain(const struct inventory *inv, enum boot_mode mode, enum slot slot,
		       enum reason reason, char *buf, size_t size);
