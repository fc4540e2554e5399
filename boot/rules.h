/* SPDX-License-Identifier: MIT */
/*
 * The boot decision: pure functions over (device tree, autoboot.txt, record,
 * now). No I/O, no clock. The table these functions implement, and the reasons
 * for each row, stand at the top of rules.c.
 */
#pragma once

#include "boot/pi/firmware.h"
#include "boot/pi/selector.h"
#include "boot/record.h"

#define RULES_TRIALS_MAX   3
#define RULES_ATTEMPTS_MAX 6
#define RULES_HARD_MAX	   5
#define RULES_SOFT_MAX	   15
/*
 * record.repairs counts the reboots out of a slot that the firmware should not have
 * started, and after those the trials that such a slot stages of itself. The last of the
 * reboots is for bf-boot, which can make autoboot.txt anew.
 */
#define RULES_REPAIRS_INIT_MAX	 2
#define RULES_REPAIRS_REBOOT_MAX 3
#define RULES_REPAIRS_MAX	 6
/* Retry of an other slot that is only proven: these, doubled record.doublings times. */
#define RULES_RETRY_HARD_BASE 10
#define RULES_RETRY_SOFT_BASE 30
#define RULES_DOUBLINGS_MAX   10 /* the intervals stop growing here */
#define RULES_DELAY_STEP_SEC  60 /* a failure over the limit */
#define RULES_DELAY_MAX_SEC   3600
/* The same where no record counts, see rules_uncounted_delay_sec(): a warm reset over the limit */
#define RULES_UNCOUNTED_STEP_SEC 10
#define RULES_UNCOUNTED_MAX_SEC	 300

struct boot_facts {
	enum slot running; /* from identify_running(); never SLOT_NONE here */
	bool mismatch;	   /* device tree and command line disagree */
	bool tryboot;	   /* the device tree says so */
	bool has_count;
	uint32_t count;
	enum selector_state selector;
	enum slot selector_committed; /* SLOT_NONE unless the selector is valid */
	bool selector_in_place;	      /* WRITE_SECTOR can change it */
	bool record_readable;	      /* OK or BACKUP: .record is set */
	bool record_lost;	      /* no generation left: to be rebuilt, if writable */
	bool writable;		      /* BF_DATA is the real one, mounted rw, record not FUTURE */
	struct record record;
	uint64_t now_sec;
	char boot_id[33];
	char roothash[RECORD_HASH_MAX + 1]; /* of the running slot */
};

/*
 * Which slot runs: device tree partition × rauc.slot=. The device tree wins
 * over nothing: when both speak and disagree, *ret_mismatch is set and the
 * device tree's answer is returned (it says what the firmware really loaded).
 * SLOT_NONE when neither speaks.
 */
enum slot identify_running(const struct firmware *fw, enum slot cmdline_slot, bool *ret_mismatch);

enum boot_next {
	NEXT_BOOT,	   /* go on: the committed slot (or, with .limbo, what runs) */
	NEXT_BOOT_TRIAL,   /* go on as a valid trial boot */
	NEXT_REBOOT,	   /* plain reboot */
	NEXT_REBOOT_TRIAL, /* with FIRMWARE_REBOOT_TRIAL */
	NEXT_REBOOT_OTHER, /* into the other slot, the committed one, with firmware_reboot_into() */
};

static inline bool next_is_reboot(enum boot_next next)
{
	return next == NEXT_REBOOT || next == NEXT_REBOOT_TRIAL || next == NEXT_REBOOT_OTHER;
}

enum boot_write { WRITE_NOTHING, WRITE_RECORD, WRITE_SECTOR };

/*
 * What to write, in this order, and what then. A record write that fails ends
 * the list: .next_if_unwritten is what to do then, and .committable is false
 * then. A sector write that fails does not end it; it is reported.
 */
struct boot_decision {
	enum boot_write writes[2]; /* WRITE_NOTHING ends */
	struct record record;	   /* what WRITE_RECORD stores; else as it stands, or a guess */
	enum slot sector;	   /* what WRITE_SECTOR makes the committed slot, else SLOT_NONE */
	enum boot_next next;
	enum boot_next next_if_unwritten;
	bool committable;   /* a trial whose stamp is durable may be committed later */
	bool limbo;	    /* not the committed slot, or not sure which: no install, no commit */
	enum reason reason; /* why a reboot, or why limbo; REASON_NONE for an ordinary boot */
};

void rules_bf_init(const struct boot_facts *facts, struct boot_decision *ret);

/*
 * bf-init itself has failed with @reason (not NONE), after rules_bf_init() decided to
 * boot. @decision is what was carried out, with the .next that was really
 * taken; when its record could not be written, facts->writable is false by now.
 * NULL: there was no decision yet; it is made here, with the failure in its
 * record. The facts must be filled in either case; what could not be read is
 * SELECTOR_GONE, no record, not writable.
 *
 * Writes at most one record; .next says how to reboot (it always is one).
 * *ret_delay_sec: how long to wait before it. For a committed slot it grows
 * with the failures over the limit, this one included; 0 in a trial that is resolved next.
 * @ret may be @decision.
 */
void rules_bf_init_failed(const struct boot_facts *facts, const struct boot_decision *decision,
			  enum reason reason, struct boot_decision *ret, uint32_t *ret_delay_sec);

/*
 * How long to wait before a plain reboot that nothing bounds, because no record was
 * written: the disk may be missing. The firmware's count of warm resets alone
 * tells a loop from a first failure; it counts good boots too, so a device that was
 * up for long waits the longest for its first. Hence minutes, not an hour. 0 without
 * a count.
 */
uint32_t rules_uncounted_delay_sec(bool has_count, uint32_t count);

/*
 * What became of the staged slot, as far as @rec tells: rejects it, gives it up
 * or leaves it staged. For a boot of the committed slot, and for a trial that ends with a
 * .trial_reason.
 */
void rules_resolve(struct record *rec, uint64_t now_sec);

/* Steps on a record that requests.c shares. */
void rules_mark_bad(struct record *rec, enum slot slot); /* never leaves both bad */
void rules_unstage(struct record *rec);
void rules_stage_fallback(struct record *rec); /* the first attempt is counted */
