/* SPDX-License-Identifier: MIT */
/*
 * A device to try the boot rules on: firmware, sector, record, two slots that
 * work or fail in a known way, and a guard that does what the boot rules say of
 * it, in its simplest form. Every durable write can be the last one before a
 * power cut, or be torn by it. What must never happen is noted in .violation.
 */
#pragma once

#include "boot/rules.h"

enum content {
	CONTENT_GOOD,
	CONTENT_PRE,   /* the kernel dies before bf-init */
	CONTENT_INIT,  /* bf-init fails */
	CONTENT_DARK,  /* dies in user space, without a word */
	CONTENT_KIOSK, /* comes up, but the kiosk does not */
	CONTENT_EMPTY, /* no boot filesystem: the firmware goes on to the other one */
};

struct device {
	enum slot all;	/* under [all] in autoboot.txt; SLOT_NONE: lost */
	bool gone;	/* autoboot.txt cannot even be found */
	bool flag;	/* the next boot is a trial */
	bool by_number; /* the next boot is of .number, past autoboot.txt */
	enum slot number;
	bool deaf; /* a firmware that takes no partition number */
	bool has_count;
	uint32_t count;
	bool read_only; /* BF_DATA */
	bool no_data;
	bool lost;	  /* the record */
	bool write_fails; /* though BF_DATA looks right */
	struct record record;
	enum content content[SLOT_COUNT];
	bool proven[SLOT_COUNT]; /* was confirmed once: what this device knows better than its
				    record */

	unsigned cut_at; /* the power is cut after so many writes more, 0: is not */
	bool torn;	 /* a sector write is cut inside */
	bool off;	 /* the power was cut just now */

	enum slot running; /* SLOT_NONE: not up */
	bool tryboot;
	bool trial_ran; /* since it was staged */
	struct boot_decision decision;
	uint32_t delay_sec;
	unsigned boots, writes, record_writes, sector_writes;
	const char *violation;
};

/* Slot @committed runs well and has settled; the other one was good as well. It is not up. */
struct device new_device(enum slot committed);

/* ---- firmware and bf-init ----------------------------------------------- */

/* One boot, or what becomes of one. */
void boot_once(struct device *d);

/* Boots until something runs; false: nothing does within @max boots. */
bool boot_up(struct device *d, unsigned max);

void power_off(struct device *d);

/* ---- a system that is up ------------------------------------------------- */

bool in_trial(const struct device *d);

/* One thing that the guard does, whether it is due or not. */
void guard_commit(struct device *d);
void guard_confirm(struct device *d);
void guard_settle(struct device *d);
void guard_try(struct device *d);

/* What the guard does by itself. False: it stays as it is. */
bool guard_step(struct device *d);

/* Somebody reboots; false when nothing was up. */
bool clean_end(struct device *d);

/* Dies without a word: the watchdog resets. */
void dark_end(struct device *d);

/* Writes @content into the slot that does not run, as RAUC does, and stages it. False: refused. */
bool install(struct device *d, enum content content, const char *hash);

/* Goes on without faults until nothing more happens. False: it does not end within @max boots. */
bool run_on(struct device *d, unsigned max);
