/* SPDX-License-Identifier: MIT */
/*
 * What may be asked of the boot selection while the system runs: by RAUC, by the
 * guard, by a person, by a shutdown. Pure functions over (record, autoboot.txt,
 * what bf-init said of this boot), as rules.h is for bf-init. The table that they
 * implement stands at the top of requests.c.
 */
#pragma once

#include "boot/rules.h"

#define REQUEST_LADDER_MAX 2 /* reboots the guard tries before it leaves the slot */

enum request {
	REQUEST_SET_BAD,	 /* .slot; RAUC: before it writes the slot, and mark-bad */
	REQUEST_SET_GOOD,	 /* .slot; commits a trial, confirms the committed slot */
	REQUEST_SET_PRIMARY,	 /* .slot; RAUC: after it has written the slot */
	REQUEST_CANCEL,		 /* takes back what is staged */
	REQUEST_TRY,		 /* reboot into the staged slot now */
	REQUEST_RECONCILE,	 /* after a boot: the volatile part, made anew */
	REQUEST_SHUTDOWN_REBOOT, /* the system goes down to reboot, whoever asked */
	REQUEST_SHUTDOWN_HALT,	 /* it goes down and stays down, or does not pass the firmware */
	REQUEST_REJECT,		 /* .reason; gives the running trial up */
	REQUEST_HEALTHY,	 /* .seconds; the committed slot was healthy for so long, in all */
	REQUEST_SETTLE,		 /* … and that is long enough */
	REQUEST_KIOSK_FAILS,	 /* .reason; the committed slot's kiosk does not live */
	REQUEST_RETRY_OTHER,	 /* .reason; the guard stayed up, its growing interval is over */
};

/* What a request comes with. */
struct request_args {
	enum slot slot;
	enum reason reason; /* why; REASON_NONE: what fits best is put in */
	bool force;	    /* a person insists */
	uint32_t seconds;   /* HEALTHY */
	/* SET_PRIMARY: root hash of the new image, "" if it could not be read. */
	char hash[RECORD_HASH_MAX + 1];
};

struct run_facts {
	enum slot running; /* SLOT_NONE: nothing says which */
	bool mismatch;	   /* device tree, rauc.slot= and the verity device do not agree */
	bool limbo;	   /* bf-init: not sure which slot is committed; no install, no commit */
	bool validated;	   /* bf-init: a trial boot of the staged slot */
	bool committable;  /* … and its stamp is durable */
	bool staying;	   /* the guard has given up to switch slots in this boot */
	bool armed;	   /* the next reboot is to be the trial */
	enum selector_state selector;
	enum slot selector_committed; /* SLOT_NONE unless VALID */
	bool selector_in_place;	      /* one write can change it, no mount */
	bool record_readable;	      /* .record is set */
	bool record_future;	      /* written by a newer version: never overwritten */
	bool writable;		      /* BF_DATA is the real one, mounted rw */
	struct record record;
	bool has_count;
	uint32_t count;
	uint64_t now_sec;
	char boot_id[33];
};

/* X(identifier, "what is the matter", "what to do") */
#define REFUSALS(X)                                                                                \
	X(SLOT, "There is no such slot.", "The slots are A and B.")                                \
	X(UNKNOWN_SLOT, "Nothing says which slot this system runs from.",                          \
	  "Boot through bf-init, with rauc.slot=A or rauc.slot=B on the command line.")            \
	X(MISMATCH, "Firmware, command line and root device name different slots.",                \
	  "Check rauc.slot= in cmdline-a.txt and cmdline-b.txt, and config.txt.")                  \
	X(FUTURE, "The boot record was written by a newer version.",                               \
	  "Update this system, or go back to the newer one.")                                      \
	X(DEGRADED,                                                                                \
	  "The boot record cannot be written: BF_DATA is missing, full of errors or "              \
	  "read-only.",                                                                            \
	  "See BF_DATA_WHY in /run/bf/boot and the kernel log; repair or replace the disk.")       \
	X(LIMBO, "Nothing says for sure which slot is the committed one.",                         \
	  "See 'bf-boot status' for what is missing.")                                             \
	X(TRIAL_RUNS,                                                                              \
	  "A trial boot is running; the other slot is what the firmware falls back "               \
	  "to.",                                                                                   \
	  "Wait until the trial is committed or rejected.")                                        \
	X(NOT_COMMITTED, "The running slot is neither the committed one nor on trial.",            \
	  "See 'bf-boot status' for the way to the committed slot.")                               \
	X(NOT_COMMITTABLE, "This trial boot was not written down, so it cannot be committed.",     \
	  "Repair BF_DATA, then let the trial run again.")                                         \
	X(PROBATION, "The committed slot is in probation and the other one is its only fallback.", \
	  "Wait until the probation is over, or use --force.")                                     \
	X(NOT_RUNNING, "Only the running slot can be marked good.",                                \
	  "Reboot into the other slot first: 'bf-boot try'.")                                      \
	X(COMMITTED, "The running slot is the committed one.",                                     \
	  "To leave it on purpose, use 'bf-boot reject --force'.")                                 \
	X(NOTHING_STAGED, "No slot is staged.", "Install an update first.")                        \
	X(ATTEMPTS, "The staged slot was tried as often as it may be.",                            \
	  "Install it again, or another version.")                                                 \
	X(NO_OTHER, "The other slot is known not to work.", "Install a good version there.")

enum refusal {
	REFUSAL_NONE,
#define X(id, what, todo) REFUSAL_##id,
	REFUSALS(X)
#undef X
		REFUSAL_COUNT
};

struct refusal_text {
	const char *what, *todo; /* one sentence each */
};

const struct refusal_text *refusal_text(enum refusal refusal); /* never NULL */

enum request_step {
	STEP_END,
	STEP_SECTOR,  /* autoboot.txt names .sector from now on, read back */
	STEP_FILE,    /* the same, the file made anew through a mount in any case; that it cannot be
		       * does not keep a STEP_RECORD from being done that comes next */
	STEP_RECORD,  /* .record is stored, durable and read back */
	STEP_ARM,     /* a reboot that counts the attempt is to be the trial; a mark only */
	STEP_COUNTED, /* the attempt is in the record: the reboot argument is written */
	STEP_DISARM,  /* the next reboot is a plain one */
};
#define REQUEST_STEPS_MAX 4

/*
 * The steps, in this order; the first that fails ends them, and then .next is
 * not to be done, unless .always. No steps: there is nothing to change.
 */
struct request_plan {
	enum refusal refusal; /* not NONE: no steps */
	enum request_step steps[REQUEST_STEPS_MAX + 1];
	enum slot sector;     /* for STEP_SECTOR and STEP_FILE */
	struct record record; /* for STEP_RECORD */
	enum boot_next next;  /* NEXT_BOOT: go on running; NEXT_REBOOT, NEXT_REBOOT_TRIAL */
	bool always;	      /* .next also when a step failed, or the request was refused */
};

void requests_plan(const struct run_facts *facts, enum request request,
		   const struct request_args *args, struct request_plan *ret);

/* ---- what the running system is told ------------------------------------ */

/* The record to go by: the one that was read, or what is guessed without one. */
void requests_record(const struct run_facts *facts, struct record *ret);

/* bf-init validated the trial, and nobody has decided on it yet. */
bool requests_is_trial(const struct run_facts *facts);
/*
 * Neither the committed slot nor a trial, by a record that can be read: the firmware started
 * what it should not have. A trial that was rejected since is none.
 */
bool requests_is_wrong_slot(const struct run_facts *facts);
/* The staged slot, if its trial may still be asked for; else SLOT_NONE. */
enum slot requests_armed_slot(const struct run_facts *facts);
/* RAUC's get-primary: what is started next, as far as it goes by plan. */
enum slot requests_primary(const struct run_facts *facts);
/*
 * RAUC's get-state. It knows good and bad only, and means bootable: good, the
 * staged slot while it may be tried, what was left as "unknown" but proven once, and
 * the committed slot of a device just flashed, which runs.
 */
bool requests_is_good(const struct run_facts *facts, enum slot slot);
