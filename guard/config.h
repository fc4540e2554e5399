/* SPDX-License-Identifier: MIT */
/*
 * The guard's configuration: INI as systemd has it (bf-guard.conf(5) holds every
 * key). The first of /etc/bf-guard.conf and /usr/lib/bf-guard.conf, then the
 * drop-ins /usr/lib/bf-guard.conf.d and /etc/bf-guard.conf.d, all *.conf, sorted by name
 * together; one of /etc hides one of /usr/lib with the same name.
 *
 * Nothing in here can keep the guard from working: what cannot be read or
 * understood is warned about, with file and line, and the default stays.
 */
#pragma once

#include "guard/policy.h"

#define CONFIG_NAME_MAX 255
#define CONFIG_FILE_MAX 65536 /* bytes; a longer file is not read */
#define CONFIG_WHAT_MAX 256

/* Who has heard the heartbeat that the marker file stands for. */
enum marker_proves { MARKER_PROVES_SERVER, MARKER_PROVES_LOCAL };

/* Where a value was given last; .file "": nowhere, it is the default. */
struct config_place {
	char file[CONFIG_NAME_MAX + 32];
	unsigned line;
};

struct config {
	unsigned mistakes;	     /* what was warned of */
	struct policy_config policy; /* microseconds */
	char unit[CONFIG_NAME_MAX + 1];
	char user[CONFIG_NAME_MAX + 1]; /* "": the unit's own */
	uint32_t crashes;		/* restarts of the unit within crash_window: hopeless */
	uint64_t crash_window;
	uint64_t failed_grace; /* "failed" may pass by between two restarts for so long */
	bool heartbeat_required;
	bool heartbeat_once;	    /* a sign given once is enough: the kiosk gives no other */
	uint64_t heartbeat_max_age; /* so long a datagram is a sign of life */
	char marker[CONFIG_NAME_MAX + 1]; /* "": none */
	enum marker_proves marker_proves;
	uint64_t marker_max_age; /* … and a change of the marker */
	bool server_required;
	char check_dir[CONFIG_NAME_MAX + 1];
	uint64_t check_timeout, check_interval;
	uint32_t try_from_min, try_to_min; /* TRY_IN_WINDOW: minutes of the local day */
	struct config_place unit_at, user_at, marker_at;
};

void config_init(struct config *ret);

/* @line 0: the whole file. @what and @cure (what to do about it) have no line breaks. */
typedef void (*config_warn_fn)(void *userdata, const char *file, unsigned line, const char *what,
			       const char *cure);

/* Applies one file's text, which is changed; text[len] is NUL. Pure. */
void config_parse(struct config *c, char *text, size_t len, const char *file, config_warn_fn warn,
		  void *userdata);

/* A file of the tree @root_fd, its links followed as in that tree; at most @max bytes: -EFBIG. The
 * caller frees *ret, which ends with a NUL. */
_must_check_ int config_read(int root_fd, const char *path, size_t max, char **ret,
			     size_t *ret_len);

/* Reads the files below @root_fd ("/"). Never fails. */
void config_load(struct config *c, int root_fd, config_warn_fn warn, void *userdata);

/*
 * A sign of life that counts for as long as the window is no proof that the kiosk lived through it:
 * one that hangs right after it would be committed. Returns true when a key of [heartbeat] allows
 * that, with what is wrong in @what and what to do in *ret_cure, and takes a safe value: a longer
 * window, which only means to wait, or the default age of a marker. Until it returns false. Pure.
 */
bool config_check_ages(struct config *c, char what[static CONFIG_WHAT_MAX], const char **ret_cure);

/* "90", "1h 30min", "500ms": microseconds; a bare number is seconds. -EINVAL, -ERANGE. */
_must_check_ int span_parse(const char *s, uint64_t *ret_usec);
/* For people: "1 h 30 min", "12 s". */
void span_format(uint64_t usec, char buf[static 32]);

/* Is the minute @now of the day within the hours? Over midnight when to < from. */
bool config_in_hours(const struct config *c, uint32_t now_min);
