/* SPDX-License-Identifier: MIT */
/*
 * Check scripts: DIRECTORY/required/ and DIRECTORY/wanted/, as greenboot has
 * them. Every executable regular file in there is run, all at once, each with
 * its own timeout. What does not pass is run again after the interval, and in a
 * trial what passes, too. Exit status 0 passes; 75 (EX_TEMPFAIL) and 77 (skipped) say nothing; all
 * else fails. Where systemd started the guard, each runs as a unit of its own, which takes D-Bus.
 * Wanted checks are reported, and decide nothing.
 */
#pragma once

#include "guard/config.h"
#include "guard/job.h"

#define CHECKS_MAX	  32
#define CHECK_OUTPUT_KEPT 1024 /* bytes of the output of each */

struct checks;

struct check_script {
	struct checks *all;
	char *path;
	const char *name; /* in .path */
	bool required;
	struct job *job; /* it runs */
	bool in_doubt;	 /* the bus went away meanwhile: a failure says nothing */
	enum verdict verdict;
	char *output; /* of the last run; NULL: none */
};

struct checks {
	sd_event *event;
	const struct config *config;
	void (*changed)(void *userdata);
	void *userdata;
	struct check_script list[CHECKS_MAX];
	size_t count;
	bool in_units;
	bool bus_up;
	bool unlisted;	/* until the bus is there, and with it the system's mounts; or no room */
	int list_error; /* -errno of the required ones: fails; -E2BIG: more than CHECKS_MAX */
	bool repeat;	/* also those that pass */
	uint64_t again; /* when they are run again; POLICY_NEVER */
};

/* Lists the scripts and starts them, those in units with the bus. @changed is called when a
 * verdict changes. */
void checks_start(struct checks *c, sd_event *event, const struct config *config,
		  void (*changed)(void *userdata), void *userdata);
/* D-Bus has come, or gone. */
void checks_bus(struct checks *c, bool up);
/* Runs again what is due; @repeat: also what passes. */
void checks_tick(struct checks *c, uint64_t now, bool repeat);
void checks_stop(struct checks *c);

/* All required ones together; *ret_name: the first that does not pass, or NULL. */
enum verdict checks_judge(const struct checks *c, const char **ret_name);

/* Pure. */
enum verdict check_verdict(const struct job_result *result);
