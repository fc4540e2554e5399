/* SPDX-License-Identifier: MIT */
/*
 * What the guard does, and when: a pure reducer. policy_step() takes what has
 * happened and the time, changes the state and says what is to be done. It reads
 * no clock, no bus and no file; the same calls in the same order give the same
 * answers. Everything around it only carries events in and actions out.
 *
 * Times are CLOCK_BOOTTIME in microseconds, passed in; they never go backwards.
 * policy_due() is when policy_step() wants to be called again at the latest, and at least
 * every POLICY_WATCHED: a longer time counts as one in which nobody looked.
 *
 * The order of writes behind an action is the boot library's (boot/requests.c).
 */
#pragma once

#include "boot/reason.h"

#define POLICY_NEVER   UINT64_MAX
#define POLICY_WATCHED UINT64_C(30000000)

/* X(identifier, name, does it decide about this device alone?); senses.c has the rest of each. */
#define CHECKS(X)                                                                                  \
	X(UNIT, unit, true)                                                                        \
	X(HEARTBEAT, heartbeat, true)                                                              \
	X(SCRIPTS, scripts, true)                                                                  \
	X(SERVER, server, false)

enum check {
#define X(id, name, is_local) CHECK_##id,
	CHECKS(X)
#undef X
		CHECK_COUNT
};

enum verdict {
	VERDICT_INCONCLUSIVE, /* no answer, or one that says nothing; also: not yet */
	VERDICT_PASS,
	VERDICT_FAIL,	 /* may heal by itself */
	VERDICT_HOPELESS /* will not heal by itself: no use in waiting for the deadline */
};

/* May a trial be committed although the server was not reached? After a time only where it was
 * not reached before the update either, and never without the kiosk's own sign of life where a
 * heartbeat is required. */
enum offline { OFFLINE_NO, OFFLINE_YES, OFFLINE_AFTER };

/* When a staged update is tried. */
enum try_when { TRY_NOW, TRY_ON_REQUEST, TRY_IN_WINDOW };

/* All in microseconds. The deadlines of a trial count from the start of the kernel. */
struct policy_config {
	uint64_t window;	  /* all checks pass for so long, without a break */
	uint64_t deadline;	  /* of a trial; that long again for each trial before it */
	uint64_t server_deadline; /* the server's own */
	uint64_t network_grace;	  /* for the server, after the network came (back) */
	enum offline offline;
	uint64_t offline_after; /* for OFFLINE_AFTER */
	bool read_root;		/* read the whole root before the commit */
	uint64_t read_root_timeout;
	uint64_t commit_timeout; /* from the first Mark to the commit read back */
	uint64_t mark_patience;	 /* an unanswered Mark: look for its effect after that */
	uint64_t probation;	 /* after a commit */
	uint64_t settle;	 /* a committed slot is healthy for so long: settled */
	uint64_t patience;	 /* a committed slot's kiosk may be ill for so long */
	uint64_t start_deadline; /* a committed slot's kiosk lives that long after the boot */
	bool committed_act;	 /* scripts judge a committed slot, too, as they judge a trial */
	uint32_t restarts;	 /* restarts of the unit before a reboot is asked for */
	uint64_t recovery;	 /* for each of them */
	uint64_t stay;		 /* first interval of staying up; doubles, up to 16 times */
	enum try_when try_when;
	uint64_t try_wait_max; /* on request, in a window: tried after that in any case */
	uint64_t retry_pause;  /* what was tried before: tried after that without the server */
	uint64_t try_again;    /* after a try that could not be made */
};

void policy_config_init(struct policy_config *ret);

/* What this boot is. */
enum role {
	ROLE_UNKNOWN,	/* what it goes by cannot be read now */
	ROLE_TRIAL,	/* validated by bf-init, not decided yet */
	ROLE_COMMITTED, /* the committed slot, and sure of it */
	ROLE_LIMBO,	/* neither, or degraded: watched, never committed, never left */
};

struct policy_facts {
	enum role role;
	bool committable;    /* of a trial: its stamp is durable */
	bool rejected;	     /* of a trial: rejected before, but it still runs */
	bool reached_before; /* the server answered before the update */
	bool probation;	     /* of the committed slot */
	bool unsettled;	     /* … or anything else that settling it would forget */
	uint64_t healthy;    /* … for so long it was well since its last failure, by the record */
	uint32_t trials;     /* this one included */
	bool staged;	     /* an update may be tried */
	bool tried;	     /* .staged: it was tried before, and nothing was decided */
	uint64_t waited;     /* .staged: so long already, as far as that is known */
	bool installing;     /* RAUC is at work */
	bool staying;	     /* /run/bf/staying: a guard before this one gave up */
};

enum policy_event_type {
	EVENT_TIME,	   /* only time passed */
	EVENT_FACTS,	   /* .facts; answers ACTION_READ_FACTS, or comes by itself */
	EVENT_CHECK,	   /* .check, .verdict; .reason when it failed, or NONE for its usual one */
	EVENT_SERVER,	   /* .yes: an answer of the server is to be expected (link, baseline) */
	EVENT_UNHEARD,	   /* .yes: the heartbeat passes only because the server may be silent */
	EVENT_ROOT,	   /* .verdict: PASS, FAIL (corrupt), INCONCLUSIVE */
	EVENT_MARKED,	   /* .mark */
	EVENT_READ_BACK,   /* .yes: the running slot is the committed one */
	EVENT_DONE,	   /* .yes: the boot library did what was asked; .next */
	EVENT_SAVED,	   /* diagnostics are saved, or not */
	EVENT_TRY_ASKED,   /* somebody wants the trial now */
	EVENT_TRY_WINDOW,  /* .yes: the hours of the policy are now */
	EVENT_GOING_DOWN,  /* .yes: somebody else shuts the system down; no: took it back */
	EVENT_RUNG_FAILED, /* this way to reboot did not work */
	EVENT_COUNT
};

enum mark_outcome {
	MARK_DONE,    /* RAUC said so; not believed yet */
	MARK_FAILED,  /* RAUC said no, or is gone: nothing is pending */
	MARK_UNKNOWN, /* no answer: it may still happen */
	MARK_BUSY,    /* not now: nothing is pending, and nothing is wrong */
};

enum policy_next { POLICY_GO_ON, POLICY_REBOOT, POLICY_REBOOT_TRIAL };

struct policy_event {
	enum policy_event_type type;
	uint32_t id; /* of the action this answers; others are ignored */
	enum check check;
	enum verdict verdict;
	enum reason reason;
	enum mark_outcome mark;
	enum policy_next next;
	bool yes;
	struct policy_facts facts;
};

/* Ways to reboot, in the order in which they are tried, again and again. */
enum rung { RUNG_LOGIND, RUNG_JOB, RUNG_MANAGER, RUNG_KERNEL, RUNG_COUNT };

enum policy_action_type {
	ACTION_NONE,
	ACTION_READ_FACTS,
	ACTION_READ_ROOT,
	ACTION_MARK_GOOD,    /* RAUC's Mark("good", "booted") */
	ACTION_RESTART_RAUC, /* it is held up; no answer */
	ACTION_READ_BACK,    /* is the running slot the committed one now? */
	ACTION_COMMITTED,    /* tell everybody who waits for it; no answer */
	ACTION_CONFIRM,	     /* SET_GOOD of the committed slot */
	ACTION_HEALTHY,	     /* HEALTHY, with .seconds; no answer: it is written again later */
	ACTION_SETTLE,	     /* SETTLE */
	ACTION_SAVE,	     /* keep what a person needs to see why; .reason */
	ACTION_REJECT,	     /* REJECT; .reason */
	ACTION_ABORT,	     /* SHUTDOWN_REBOOT: this trial ends undecided */
	ACTION_KIOSK_FAILS,  /* KIOSK_FAILS; .reason */
	ACTION_RETRY_OTHER,  /* RETRY_OTHER; .reason */
	ACTION_STAY,	     /* remember that slots are not switched any more; no answer */
	ACTION_TRY,	     /* TRY */
	ACTION_RESTART_UNIT, /* the kiosk's; no answer, its checks tell */
	ACTION_REBOOT,	     /* .rung, .trial */
	ACTION_COUNT
};

struct policy_action {
	enum policy_action_type type;
	uint32_t id; /* to be given back in the answer */
	enum reason reason;
	enum check blamed; /* whose answer .reason is; CHECK_COUNT: none's */
	uint64_t since;	   /* … and has been so; 0: none's */
	uint32_t seconds;  /* of health, in all boots since the last failure */
	enum rung rung;
	bool trial; /* the reboot is into the staged slot */
};

/* A step ends in one chain of transitions; the tests prove that none asks for more. */
#define POLICY_ACTIONS_MAX 4
struct policy_actions {
	size_t count;
	struct policy_action list[POLICY_ACTIONS_MAX + 1]; /* the last is never counted */
};

/* X(identifier, "name", "what it waits for") */
#define PHASES(X)                                                                                  \
	X(STARTING, "starting", "the facts of this boot")                                          \
	X(COLLECTING, "collecting", "the checks to pass")                                          \
	X(WINDOW, "window", "the stability window to end")                                         \
	X(WAITING, "waiting", "the server to answer")                                              \
	X(VERIFYING, "verifying", "the root image to be read in full")                             \
	X(COMMITTING, "committing", "RAUC to mark the slot good")                                  \
	X(READING_BACK, "reading-back", "the commit to be read back")                              \
	X(SAVING, "saving", "the diagnostics to be saved")                                         \
	X(REJECTING, "rejecting", "the rejection to be written")                                   \
	X(ABORTING, "aborting", "the end of the trial to be written")                              \
	X(CONFIRMING, "confirming", "the confirmation to be written")                              \
	X(PROBATION, "probation", "the probation to end")                                          \
	X(COMMITTED, "committed", "nothing")                                                       \
	X(RECOVERING, "recovering", "the restarted kiosk to live")                                 \
	X(ESCALATING, "escalating", "the failure to be written")                                   \
	X(STAYING, "staying", "the kiosk to live, or the next try of the other slot")              \
	X(TRYING, "trying", "the trial to be written")                                             \
	X(LIMBO, "limbo", "a person")                                                              \
	X(REBOOTING, "rebooting", "the reboot")                                                    \
	X(GOING_DOWN, "going-down", "the shutdown that somebody else asked for")

enum phase {
#define X(id, name, waits) GUARD_##id,
	PHASES(X)
#undef X
		GUARD_PHASE_COUNT
};

const char *policy_phase_name(enum phase phase);
const char *policy_phase_waits(enum phase phase);
const char *check_name(enum check check);
bool check_is_local(enum check check);
const char *verdict_name(enum verdict verdict);
bool verdict_failed(enum verdict verdict); /* for now, or for good */
const char *rung_name(enum rung rung);

struct policy_check {
	uint64_t since; /* of .verdict */
	enum verdict verdict;
	enum reason reason; /* of the last failure; REASON_NONE: it never failed */
};

/* Plain values: may be copied and compared. Read it freely; only policy_step() writes. */
struct policy {
	struct policy_config config;
	struct policy_facts facts;
	enum phase phase;
	uint64_t since;	    /* of .phase */
	uint64_t due;	    /* of .phase: POLICY_NEVER when only an event ends it */
	uint32_t last_id;   /* of actions */
	uint32_t awaited;   /* whose answer ends .phase; 0: none */
	enum reason reason; /* why this slot is being left or the guard stays */
	enum check blamed;  /* whose answer that is; CHECK_COUNT: none's */
	uint32_t tries;	    /* of .phase: reading facts */
	struct policy_check checks[CHECK_COUNT];
	uint64_t facts_due; /* of GUARD_LIMBO: when they are read again */
	uint64_t last_step;
	uint64_t back_at;     /* NEVER, or when the last time ended in which nobody looked */
	uint64_t local_since; /* all local checks pass without a break since; NEVER: they do not */
	uint64_t ill_since;   /* committed: NEVER, or since when they do not */
	uint64_t expected_since; /* NEVER: no answer of the server is to be expected */
	bool unheard;		 /* as the event says */
	bool root_done;		 /* the full read is done, or was given up */
	bool root_corrupt;
	uint32_t root_id;	/* a read that is running; 0: none */
	bool mark_pending;	/* a Mark without an answer: it may still happen */
	bool mark_busy;		/* RAUC had no time for the last one */
	bool rauc_restarted;	/* for this commit */
	uint32_t mark_id;	/* of that Mark */
	uint64_t commit_due;	/* NEVER: no Mark was sent in this trial */
	bool proven;		/* a whole window has passed in this trial */
	bool confirmed;		/* a committed slot: written down in this boot */
	bool was_patient;	/* with a broken window, since the last restart or whole window */
	uint64_t confirm_due;	/* NEVER: written down, or not confirmed */
	uint64_t settle_due;	/* NEVER: settled, or not confirmed */
	uint64_t healthy_due;	/* of an unsettled slot: when its health is written down next */
	uint32_t settle_id;	/* a SETTLE without an answer */
	uint32_t restarts_used; /* of the unit, since it was last healthy for long */
	uint64_t collect_due;	/* the kiosk has to be healthy by then */
	uint64_t stay_interval;
	uint64_t stay_due;
	bool try_asked, try_window;
	uint64_t try_at; /* nobody is waited for any more; NEVER: nothing staged */
	uint64_t try_not_before;
	enum rung rung;
	bool reboot_trial;
};

void policy_init(struct policy *ret, const struct policy_config *config, uint64_t now,
		 struct policy_actions *actions);
void policy_step(struct policy *p, const struct policy_event *event, uint64_t now,
		 struct policy_actions *ret);
uint64_t policy_due(const struct policy *p);
