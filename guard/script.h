/* SPDX-License-Identifier: MIT */
/*
 * Programs in a folder that are run as checks or hooks, and what each answered. Where systemd
 * started the guard, each runs as a unit of its own, which takes D-Bus: outside the guard's
 * sandbox, and systemd ends all of it.
 *
 * Folders whose names end in ".d" are greenboot's: NAME.sh is started with bash, which needs no
 * x bit, and one program starts after the other. In others everything is executed as it is, all
 * at once. What cannot be run is an answer, too: nothing is passed over but hidden files and
 * READMEs.
 */
#pragma once

#include "guard/job.h"

#define SCRIPTS_MAX	   32
#define SCRIPT_OUTPUT_KEPT 1024 /* bytes, the last ones */
#define SCRIPT_LINE_MAX	   120	/* bytes of its last line, or of what keeps it from running */
#define SCRIPT_SKIPPED	   77	/* exit status of what does not apply, as test drivers have it */
#define SCRIPT_NAME_SHOWN  64	/* bytes */
#define SCRIPT_SAYS_MAX	   256	/* what script_says() takes, with its NUL */

enum script_end {
	SCRIPT_NOT_RUN, /* yet */
	SCRIPT_EXITED,	/* .status: exit status */
	SCRIPT_KILLED,	/* .status: signal; 0: one that has no name here */
	SCRIPT_TIMED_OUT,
	SCRIPT_UNUSABLE, /* .line says what keeps it from running */
	SCRIPT_DISABLED, /* by greenboot.conf */
	SCRIPT_LOST,	 /* nothing is known of it: no memory, no D-Bus, systemd was busy; .line */
};

struct script_answer {
	enum script_end end;
	int status;
	char line[SCRIPT_LINE_MAX + 1]; /* no control characters */
};

struct script;

/* How scripts are run; outlives them. */
struct script_runner {
	sd_event *event;
	bool in_units;
	uint64_t timeout_usec;
	/* It has ended; never called from within script_start(). */
	void (*done)(void *userdata, struct script *s);
	void *userdata;
};

struct script {
	const struct script_runner *runner; /* of the run that goes on, or was */
	char *path;
	const char *name; /* in .path */
	bool required;
	bool in_turn;	 /* one after the other */
	struct job *job; /* it runs */
	uint64_t started, timeout_usec;
	struct script_answer answer; /* of the last run */
	char *output;		     /* of the last run; NULL: none */
};

struct script_list {
	struct script list[SCRIPTS_MAX];
	size_t count;
};

/* Can scripts be run as units? */
bool script_in_units(void);

/*
 * Adds what is in @folder, sorted by name; that there is none is fine. @config: the text of
 * greenboot.conf, or NULL. -E2BIG: more than SCRIPTS_MAX in the list; those that fit are there.
 */
_must_check_ int script_list_add(struct script_list *l, const char *folder, bool required,
				 const char *config);
/* Without callbacks. */
void script_list_clear(struct script_list *l);

/* Starts it (.job), or answers at once. @runner->done tells of the end of what was started. */
void script_start(struct script *s, const struct script_runner *runner);

/* The answer, in words; SCRIPT_SAYS_MAX holds the longest. */
void script_says(const struct script *s, char buf[static SCRIPT_SAYS_MAX]);

/* Pure: what a job's end says. @in_unit: of systemd-run. @overran: it took all the time it had. */
void script_answer_of(const struct job_result *result, bool in_unit, bool overran,
		      struct script_answer *ret);
