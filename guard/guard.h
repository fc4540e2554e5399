/* SPDX-License-Identifier: MIT */
/*
 * The daemon's own state, and what its parts offer each other. One event loop,
 * one thread. guard_event() is the only way into the reducer; it runs the actions
 * that come out, and those answer with further events, never from within.
 *
 *   daemon.c   the loop: events in, actions out, timers, the watchdog
 *   link.c     D-Bus: the kiosk's unit, RAUC, logind, systemd
 *   listen.c   heartbeats, the marker file, the control socket
 *   report.c   journal, STATUS=, status for people and as JSON
 */
#pragma once

#include "guard/checks.h"
#include "guard/config.h"
#include "guard/device.h"
#include "guard/heartbeat.h"
#include "guard/kiosk.h"
#include "guard/log.h"
#include "guard/policy.h"
#include "guard/rauc.h"

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#define GUARD_DIR	    "/run/bf-guard"
#define GUARD_FOLLOWERS_MAX 16
#define GUARD_FOLLOWERS_UID 4 /* of one account, but root */
#define GUARD_QUEUE_MAX	    64

struct follower {
	int fd; /* -1: free */
	uid_t uid;
	sd_event_source *source;
	bool json, follow, wait; /* wait: one answer, when the slot is committed */
	bool asked;
	uint64_t seen; /* changes, by a follower */
};

struct guard {
	sd_event *event;
	struct config config;
	struct policy policy;
	const char *dir; /* GUARD_DIR, or what --runtime-dir says */
	const char *root;

	/* Events that wait, so that policy_step() is never entered twice. */
	struct policy_event queue[GUARD_QUEUE_MAX];
	size_t queued;
	uint64_t steps; /* policy_step() calls: what the watchdog is fed for */
	uint64_t fed_steps;

	sd_event_source *due_timer, *judge_timer, *tick_timer;
	uint64_t tick_usec;
	uint64_t last_tick;

	/* What is known of the world */
	struct device_answer device;
	struct kiosk kiosk;
	struct heartbeat heart;
	struct checks checks;
	uid_t kiosk_uid; /* (uid_t)-1: not known */
	enum device_baseline baseline_written;
	enum verdict told[CHECK_COUNT];
	enum reason told_reason[CHECK_COUNT];
	char why[CHECK_COUNT][JUDGEMENT_WHY_MAX];
	const char *marker_why;
	char kiosk_status[NOTIFY_STATUS_MAX + 1];
	uint64_t datagrams, refused;

	/* D-Bus */
	sd_bus *bus; /* NULL: not connected */
	sd_event_source *bus_retry;
	sd_bus *private_bus; /* straight to PID 1, for the reboot */
	char *unit_path;
	uint32_t mark_id;	   /* a Mark whose outcome is open */
	bool mark_open;		   /* and whose answer will come: from RAUC, or from the bus */
	struct policy_action rung; /* waits for the bus, since .rung_source is armed */
	sd_event_source *rung_source;
	char rauc_said[160];

	/* Sockets */
	int notify_fd, control_fd;
	sd_event_source *notify_source, *control_source, *marker_source, *term_source;
	uint64_t marker_stamp;
	struct follower followers[GUARD_FOLLOWERS_MAX];
	enum phase reported;
	bool stepping; /* policy_step() runs: events wait */
	bool starving; /* the watchdog is not fed any more */
	bool device_known;
	bool has_user; /* the kiosk's, from the configuration */
	bool link_up;  /* there is a network */
	bool expected; /* an answer of the server, as last told */
	bool unheard;  /* the kiosk itself, as last told */
	bool in_hours, installing;
	bool bus_up, reading_unit, read_again;
	bool asking_rauc, ask_again, asking_down, down_again;
	bool going_down;		 /* logind's word */
	bool reading_facts, facts_again; /* for a signal: one at a time */
	uint64_t facts_due;		 /* when the next of those may begin */
	uint64_t baseline_due;		 /* when it may be written again */
	bool warned_of_stranger;
	sd_event_source *facts_timer;
	uint64_t changes;  /* of the phase or a verdict: what followers see */
	unsigned warnings; /* of the configuration */
};

/* daemon.c */
void guard_event(struct guard *g, const struct policy_event *event);
/* Weighs everything that is known again; tells the reducer what changed. */
void guard_evaluate(struct guard *g);
/*
 * The facts of the device may have changed: reads them again. With an @id for the
 * reducer, at once; else in its own time, as whatever asks may be anybody's signal.
 */
void guard_read_facts(struct guard *g, uint32_t id);
/* Another invocation of the kiosk's unit began. */
void guard_tell_kiosk(struct guard *g);
int guard_run(const char *dir, const char *root);

/* link.c */
void link_connect(struct guard *g);
void link_disconnect(struct guard *g);
void link_read_unit(struct guard *g);
void link_restart_unit(struct guard *g);
void link_mark_good(struct guard *g, uint32_t id);
/* Starts one way to reboot; -errno: it cannot even be tried. Its failure comes as an event. */
int link_reboot(struct guard *g, enum rung rung, uint32_t id);

/* listen.c */
int listen_start(struct guard *g);
void listen_stop(struct guard *g);
void listen_check_marker(struct guard *g);
void listen_tell_followers(struct guard *g);

/* report.c */
void report_phase(struct guard *g); /* when the phase changed: journal and STATUS= */
void report_action(struct guard *g, const struct policy_action *action);
/* Allocated; NULL without memory. */
char *report_status(const struct guard *g, bool json);
/* What a person needs to see why a trial was rejected. */
void report_diagnostics(const struct guard *g, char *buf, size_t size);
bool report_is_committed(const struct guard *g);
