/* SPDX-License-Identifier: MIT */
/*
 * What the guard asks of the device: everything that touches disks, the boot
 * library and the kernel. It may block for as long as a dying disk takes, so it
 * is only ever called in a child process (job.h): one question, one answer, both
 * plain values. Contract tests link another device_ask().
 */
#pragma once

#include "boot/running.h"
#include "guard/policy.h"

#define DEVICE_TEXT_MAX	       4095
#define DEVICE_CONFIRMED_DIR   "run/betterframe"
#define DEVICE_CONFIRMED_NAME  "rauc-confirmed"
#define DEVICE_SAVED_MAX_BYTES (1024 * 1024) /* of one file of diagnostics */
#define DEVICE_SAVED_KEPT      4	     /* files */

enum device_question_type {
	DEVICE_FACTS,
	DEVICE_REQUEST,	  /* .request, .reason */
	DEVICE_STAY,	  /* makes /run/bf/staying */
	DEVICE_CONFIRMED, /* makes /run/betterframe/rauc-confirmed */
	DEVICE_BASELINE,  /* remembers .flag: the server answers */
	DEVICE_SAVE,	  /* .text, the journal and the failed units, on BF_DATA */
	DEVICE_READ_ROOT, /* all of the verity device */
	DEVICE_PREPARE,	  /* takes the reboot argument back, unless .flag */
	DEVICE_SYNC,
	DEVICE_REBOOT, /* reboot(2), with the trial's argument if .flag */
};

struct device_question {
	enum device_question_type type;
	enum request request;
	enum reason reason;
	uint32_t seconds; /* of REQUEST_HEALTHY */
	bool flag;
	char text[DEVICE_TEXT_MAX + 1];
};

enum device_baseline { BASELINE_UNKNOWN, BASELINE_SILENT, BASELINE_REACHED };

struct device_answer {
	int error; /* 0 or -errno */
	enum refusal refusal;
	enum boot_next next; /* what the plan wants, if it may be done */
	bool corrupt;	     /* READ_ROOT */
	struct policy_facts facts;
	enum slot running, committed, staged;
	enum device_baseline baseline;
	bool fallback; /* a trial of what ran before: the baseline is not of an update's eve */
	char why[256]; /* one line, for a person */
};

/* CLOCK_BOOTTIME, microseconds: the only clock the guard goes by. */
uint64_t device_now(void);
/* Is there a default route? Does not block. */
bool device_has_network(void);

void device_ask(const struct device_question *question, struct device_answer *ret);

/* What facts of the running system make of this boot; pure. */
void device_judge(const struct run_facts *facts, struct device_answer *ret);
