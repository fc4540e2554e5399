/* SPDX-License-Identifier: MIT */
/*
 * Signs of life: datagrams in the syntax of sd_notify(3), the marker file, and
 * systemd's own watchdog of the kiosk unit. What they mean is pure; the socket
 * and the inotify watch are listen.c's.
 */
#pragma once

#include "guard/config.h"
#include "guard/judgement.h"
#include "guard/kiosk.h"

#define NOTIFY_MAX	  4096 /* bytes of a datagram; a longer one is dropped whole */
#define NOTIFY_STATUS_MAX 127

/* What the kiosk says about its server, X_BF_SERVER=. */
enum server_word {
	SERVER_UNSAID,
	SERVER_ANSWERED, /* 1 */
	SERVER_SILENT,	 /* 0 */
	SERVER_CLOCK,	 /* clock: the certificate could not be judged, the clock is not set */
};

struct notify {
	bool ready, watchdog; /* READY=1, WATCHDOG=1 */
	bool trigger;	      /* WATCHDOG=trigger: the kiosk knows itself that it is broken */
	enum server_word server;
	bool asks_trial; /* X_BF_TRY=1: nothing else of the datagram counts */
	bool has_status;
	char status[NOTIFY_STATUS_MAX +
		    1]; /* printable UTF-8 or ASCII; cut short, never within a character */
};

/* Lines that are not known are passed over. -EBADMSG: nothing in it is, or it holds a NUL. Pure. */
_must_check_ int notify_parse(const char *data, size_t len, struct notify *ret);

/*
 * What was heard of the invocation of the kiosk's unit that runs. A new one starts with
 * nothing: what the one before it said is no sign that this one lives.
 *
 * Whose a sign is cannot be seen from the sign, and systemd's news of a new invocation come
 * later than its first signs may. So it is decided by when things began:
 *
 *   a datagram is the invocation's in which its sender began: no process of an invocation is
 *   older than its main process (both in the kernel's ticks), and a process that was there when
 *   systemd was asked is not of a later one than the answer names. A sender that is younger is
 *   held until systemd has answered once more: it counts for neither before.
 *
 *   a change of the marker is held in the same way. It counts if it was not there yet at a look
 *   since the invocation began, or if the file's clock says that it was written since.
 *
 * So neither counts for the old one nor is lost for the new one, however the news come.
 *
 * All times are CLOCK_BOOTTIME, 0 = never.
 */
#define HEARTBEAT_HELD_MAX 16

struct held {
	struct notify notify;
	uint64_t started, at; /* the sender's start; its arrival */
};

struct heartbeat {
	/* The invocation, as last told, and whether there is a unit to beat at all. */
	uint8_t invocation[16];
	uint64_t began, told;	/* told: it is the one that runs; asked at that time */
	uint64_t unit_watchdog; /* the unit's WatchdogSec=, microseconds; 0: it has none */
	bool unit_beats;	/* … and has fed it: systemd watches the rest */
	bool unit_known, unit_ended;
	bool in_trial;
	/* Its signs. */
	uint64_t beat_at;   /* the last datagram that is a sign of life */
	bool periodic;	    /* it sends WATCHDOG=1: silence means something */
	uint64_t broken_at; /* WATCHDOG=trigger, until the next beat */
	uint64_t marker_at; /* the marker was written */
	bool renewed;	    /* … and not for the first time */
	enum server_word server;
	uint64_t server_at; /* first word that the server answered */
	char status[NOTIFY_STATUS_MAX + 1];
	/* Of this boot, whichever invocation: */
	uint64_t server_last; /* last word that the server answered */
	bool beat_ever;	      /* it has beaten in another way than through the server */
	/* What is held. */
	struct held held[HEARTBEAT_HELD_MAX];
	size_t held_count;
	uint64_t marker_stamp, marker_looked; /* the file at the last look */
	uint64_t marker_seen; /* held: found changed then; not there before .marker_before, … */
	uint64_t marker_before, marker_changed; /* … and written then, by the file's clock */
	unsigned refused;			/* datagrams of what is no invocation that runs */
};

/* A datagram of the kiosk that arrived at @now from a process that @started. */
void heartbeat_hear(struct heartbeat *h, const struct notify *n, uint64_t started, uint64_t now);
/*
 * The marker as it is @now: a @stamp that differs when it was changed, and when it was, by the
 * clock of the file. @stamp 0: there is none.
 */
void heartbeat_see(struct heartbeat *h, uint64_t stamp, uint64_t changed, uint64_t now);
/* What systemd has said of the unit. Returns true when it has to be asked again, for signs that are
 * held. Any number of times. */
bool heartbeat_follow(struct heartbeat *h, const struct config *c, const struct kiosk *k);
/* The guard restarts the unit: what was said until now does not count any more. */
void heartbeat_forget(struct heartbeat *h);

/* Nothing fresh was heard, and a sign of life is to come from the server alone: its silence may be
 * the server's. Judged there, with the server's patience; only in a trial, as nobody would ask for
 * a way out after it, and not of a kiosk that has shown that it can beat by itself. */
bool heartbeat_through_server(const struct heartbeat *h, const struct config *c, uint64_t now);
void heartbeat_judge(const struct heartbeat *h, const struct config *c, uint64_t now,
		     struct judgement *ret);
/* The server's answer. */
void server_judge(const struct heartbeat *h, const struct config *c, uint64_t now,
		  struct judgement *ret);

/*
 * Is the file at @path, below @root_fd ("/"), the kiosk's marker: a non-empty
 * regular file of @uid (or root), reached without symbolic links, on a tmpfs,
 * so that it is of this boot whatever the clock says? It is not opened.
 * 1 with a stamp (only good to be compared, not 0) and the time of its last change (CLOCK_REALTIME,
 * microseconds, which nobody but the clock can change), 0: no; *ret_why says why not.
 */
int marker_check(int root_fd, const char *path, uid_t uid, uint64_t *ret_stamp,
		 uint64_t *ret_changed, const char **ret_why);

/* Is there a default route? From /proc/net/route and /proc/net/ipv6_route; pure. */
bool route4_has_default(const char *text);
bool route6_has_default(const char *text);
