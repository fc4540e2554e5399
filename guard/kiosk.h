/* SPDX-License-Identifier: MIT */
/*
 * The kiosk's unit: what its properties say, and what that means. Pure, but for
 * kiosk_read(), which takes the properties out of a D-Bus message.
 *
 * systemd's own counts are not enough (org.freedesktop.systemd1(5), measured on
 * 252): NRestarts goes back to 0 by a restart by hand, "failed" shows up for a
 * moment between two automatic restarts, and the start limit never trips with a
 * RestartSec= that is long enough. So restarts are counted here, by invocation.
 */
#pragma once

#include "guard/config.h"
#include "guard/judgement.h"

#include <systemd/sd-bus.h>

#define KIOSK_WORD_MAX	   31
#define KIOSK_RESTARTS_MAX 64

struct kiosk_properties {
	char id[CONFIG_NAME_MAX + 1]; /* the unit's name; the configured one may be an alias */
	char load[KIOSK_WORD_MAX + 1], active[KIOSK_WORD_MAX + 1], sub[KIOSK_WORD_MAX + 1];
	char result[KIOSK_WORD_MAX + 1];
	uint8_t invocation[16]; /* all zero: none */
	uint64_t watchdog_usec; /* WatchdogSec=, 0 or "infinity": none */
	uint64_t watchdog_at;	/* CLOCK_MONOTONIC; also set when the unit starts */
	uint64_t active_at;
	uint64_t inactive_at;	       /* ended last; 0: never in this boot */
	uint64_t condition_at;	       /* its conditions were last looked at; 0: never */
	uint32_t condition;	       /* … and held */
	char user[KIOSK_WORD_MAX + 1]; /* User=, a name or a number; "": none */
	uint32_t uid;		       /* UINT32_MAX: not known; it is while the unit runs */
	uint32_t main_pid;
	uint32_t auto_restarts; /* in a row, by systemd itself; a start by anybody else sets it to 0
				 */
	/* Not systemd's; CLOCK_BOOTTIME: */
	uint64_t asked;	       /* all this is so after that time */
	uint64_t main_started; /* the main process; 0: there is none, or not known */
};

/* Properties of both interfaces come in two messages: fills in what @m has. -errno. */
_must_check_ int kiosk_read(sd_bus_message *m, struct kiosk_properties *p);

struct kiosk {
	struct kiosk_properties now;
	bool known;		/* .now is of now: the bus is there */
	uint64_t unknown_since; /* while it is not */
	bool ever_active;	/* in this boot */
	bool broke;		/* the last kiosk_note() was of a restart */
	bool over;		/* this invocation: the next one is no restart */
	uint64_t began;		/* .now.invocation: no process of it is older; CLOCK_BOOTTIME */
	bool main_seen;		/* … and that is its main process's start */
	uint64_t restarts[KIOSK_RESTARTS_MAX]; /* newest first; CLOCK_BOOTTIME */
	size_t restart_count;
	uint64_t failed_since; /* 0: it is not */
};

/* Returns true when another invocation began since the last time. */
bool kiosk_note(struct kiosk *k, const struct kiosk_properties *p, uint64_t now);
/* The bus is gone, or not there yet. */
void kiosk_lost(struct kiosk *k, uint64_t now);
/* The guard restarts the unit itself: what was counted does not count for what follows. */
void kiosk_forget(struct kiosk *k, uint64_t now);

void kiosk_judge(const struct kiosk *k, const struct config *c, uint64_t now,
		 struct judgement *ret);
/* There is no unit that could run: what does not beat then is no kiosk. */
bool kiosk_is_missing(const struct kiosk *k);
/*
 * Does it stay down as it was meant to? Its process ended with success (SuccessExitStatus=), all of
 * a Type=oneshot is done, or its conditions do not hold: what it was started for, a panel for
 * example, is not there. That blames nobody, and no restart would help.
 */
bool kiosk_has_ended(const struct kiosk *k);
/* Restarts within the window. */
unsigned kiosk_restarts(const struct kiosk *k, const struct config *c, uint64_t now);
/*
 * Is a process of the system's unit @unit? @text is its /proc/PID/cgroup (cgroups(7)).
 * In the tree that systemd keeps (its CGROUP_DELEGATION document) the first name that
 * is not a slice is the unit; what is below is the unit's own, or another manager's.
 */
bool kiosk_owns(const char *unit, const char *text);
/* The unit's own name: @configured, or what systemd says that it is an alias of. */
const char *kiosk_name(const struct kiosk *k, const char *configured);
/* Are both in the same control group, which is not the root of all? */
bool kiosk_shares_group(const char *text, const char *other);
/* It feeds its unit's watchdog: since it is active, it has done so at least once. */
bool kiosk_beats(const struct kiosk *k);
