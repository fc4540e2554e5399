/* SPDX-License-Identifier: MIT */
/*
 * Check scripts: what is in required.d, required, wanted.d and wanted of the configured folder, and
 * in required.d and wanted.d of greenboot's. What does not pass is run again after the interval,
 * and in a trial what passes, too. Exit status 0 passes, and 77 (it does not apply); 75
 * (EX_TEMPFAIL) says nothing; all else fails. Wanted checks are reported, and decide nothing.
 *
 * Those of required.d run one after the other, as greenboot's do, and none before the ones in front
 * of it have passed: a check may rely on what an earlier one has found or made.
 */
#pragma once

#include "guard/config.h"
#include "guard/judgement.h"
#include "guard/script.h"

/* What was last told of a script. */
struct check_script {
	enum verdict verdict;
	uint64_t since; /* so is the verdict */
	enum script_end end;
	int status;
	bool outdated; /* it runs, and began before the kiosk that runs now */
};

struct checks {
	const struct config *config;
	const char *root;
	void (*changed)(void *userdata);
	void *userdata;
	struct script_runner runner;
	struct script_list scripts;
	struct check_script of[SCRIPTS_MAX]; /* each of .scripts */
	bool bus_up;
	bool unlisted;	   /* until the bus is there, and with it the system's mounts; or no room */
	int list_error;	   /* -errno of the required ones: fails; -E2BIG: more than SCRIPTS_MAX */
	char *list_folder; /* which one that is of; NULL without memory */
	bool repeat;	   /* also those that pass */
	uint64_t again;	   /* when they are run again; POLICY_NEVER */
};

/* Lists the scripts and starts them, those in units with the bus. @root: below which greenboot's
 * folders are ("": the system's); outlives them. @changed is called when a script has ended. */
void checks_start(struct checks *c, sd_event *event, const struct config *config, const char *root,
		  void (*changed)(void *userdata), void *userdata);
/* D-Bus has come, or gone. */
void checks_bus(struct checks *c, bool up);
/* Runs again what is due; @repeat: also what passes. */
void checks_tick(struct checks *c, uint64_t now, bool repeat);
/* The kiosk is another one: what passed before it began says nothing of it, and is run again. */
void checks_forget(struct checks *c);
void checks_stop(struct checks *c);

/* All required ones together; the reason names the first that does not pass. */
void checks_judge(const struct checks *c, struct judgement *ret);

/* Pure. */
enum verdict check_verdict(const struct script_answer *answer);
