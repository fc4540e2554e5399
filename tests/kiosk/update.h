/* SPDX-License-Identifier: MIT */
/* From the server's offer to the wish for a trial boot. */
#pragma once

#include "boot/base.h"

#define UPDATE_INSTALLS_MAX 3 /* of the same bundle, over all boots */

struct config {
	const char *server; /* http://HOST[:PORT] */
	const char *channel;
	const char *group;
	const char *compatible;
	const char *arch;
	const char *device_id; /* NULL: what is in /etc/machine-id */
	const char *guard;     /* program: "GUARD try" asks for the trial boot */
	const char *runtime;   /* directory: marker, switch */
	const char *state;     /* directory, kept: what was tried, switch */
	const char *cache;     /* directory, kept: downloads */
	const char *notify;    /* the guard's datagram socket */
	const char *boot_file; /* bf-init's report */
	const char *refusal;   /* the pre-install handler's reason */
	const char *os_release;
	const char *cmdline; /* of the kernel */
	const char *boot_id; /* file */
	const char *switch_text;
	const char *marker; /* "each" or "once" */
	uint32_t beat_msec, first_check_msec, check_msec;
	uint32_t quiet_sec;    /* longest silence of the server */
	uint32_t transfer_sec; /* longest connection of a download */
	uint32_t pause_msec;   /* between two attempts of a download */
	uint32_t install_sec;  /* longest installation */
	uint32_t busy_sec;     /* longest wait for what RAUC is doing already */
};

/* The value of KEY=VALUE or KEY="VALUE" in a file of such lines; NULL: none. Allocated. */
_must_check_ char *env_value(const char *path, const char *key);
/* The first line of a small file, without its newline; NULL: none. Allocated. */
_must_check_ char *first_line(const char *path);

enum update_answer {
	UPDATE_NOTHING, /* nothing to do */
	UPDATE_REFUSED, /* this very bundle was refused before, or came too often */
	UPDATE_ASKED,	/* installed, and the guard knows that the kiosk is ready for the trial */
	UPDATE_WAITING, /* installed; the guard could not be told */
};

/* One look at the server, and all that follows. Logs. < 0: failed, to be tried again. */
_must_check_ int update_once(const struct config *c);
