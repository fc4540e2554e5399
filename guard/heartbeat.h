/* SPDX-License-Identifier: MIT */
/*
 * Signs of life: datagrams in the syntax of sd_notify(3), the marker file, and
 * systemd's own watchdog of the kiosk unit. What they mean is pure; the socket
 * and the inotify watch are listen.c's.
 */
#pragma once

#include "guard/config.h"
#include "guard/judgement.h"

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
	bool has_status;
	char status[NOTIFY_STATUS_MAX +
		    1]; /* printable UTF-8 or ASCII; cut short, never within a character */
};

/* Lines that are not known are passed over. -EBADMSG: nothing in it is, or it holds a NUL. Pure. */
_must_check_ int notify_parse(const char *data, size_t len, struct notify *ret);

/* All that was heard; times are CLOCK_BOOTTIME, 0 = never. */
struct heartbeat {
	uint64_t beat_at;     /* the last datagram that is a sign of life */
	bool periodic;	      /* the kiosk sends WATCHDOG=1: silence means something */
	bool broken;	      /* WATCHDOG=trigger, until the next beat */
	uint64_t marker_at;   /* the marker was seen, or seen changed */
	bool unit_watchdog;   /* the unit has WatchdogSec= */
	bool unit_beats;      /* … and has fed it: systemd watches the rest */
	uint64_t server_at;   /* first word that the server answered */
	uint64_t server_last; /* last one */
	enum server_word server;
};

void heartbeat_note(struct heartbeat *h, const struct notify *n, uint64_t now);
/* The marker was seen, or seen changed; or it is gone. */
void heartbeat_note_marker(struct heartbeat *h, const struct config *c, bool there, uint64_t now);
/* The unit has a new invocation: what the old one said does not count any more. */
void heartbeat_forget(struct heartbeat *h);

/* Nothing was heard yet, and the only sign of life that is to come is heard from the server: its
 * silence may be the server's. Judged there, with the server's patience. */
bool heartbeat_through_server(const struct heartbeat *h, const struct config *c);
void heartbeat_judge(const struct heartbeat *h, const struct config *c, uint64_t now,
		     struct judgement *ret);
/* The server's answer. */
void server_judge(const struct heartbeat *h, const struct config *c, struct judgement *ret);

/*
 * Is the file at @path, below @root_fd ("/"), the kiosk's marker: a non-empty
 * regular file of @uid (or root), reached without symbolic links, on a tmpfs,
 * so that it is of this boot whatever the clock says? It is not opened.
 * 1 with its change time in *ret_stamp (only good to be compared), 0: no; *ret_why says why not.
 */
int marker_check(int root_fd, const char *path, uid_t uid, uint64_t *ret_stamp,
		 const char **ret_why);

/* Is there a default route? From /proc/net/route and /proc/net/ipv6_route; pure. */
bool route4_has_default(const char *text);
bool route6_has_default(const char *text);
