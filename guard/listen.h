/* SPDX-License-Identifier: MIT */
/*
 * What the guard listens to by itself: datagrams in DIR/notify, and the kiosk's marker file. The
 * socket is the only door of the guard, and belongs to the kiosk's account, mode 0600.
 */
#pragma once

#include "guard/heartbeat.h"
#include "guard/kiosk.h"

#include <systemd/sd-event.h>

struct listen;

/* The words have to outlive it. */
struct listen_spec {
	const char *dir;    /* where the socket is; made when it is not there */
	const char *unit;   /* the kiosk's */
	const char *user;   /* whose heartbeats count; "": those of the unit */
	const char *marker; /* path of the marker file; "": none */
};

struct listen_ops {
	/* Of the kiosk, or root; its sender has run since @started. */
	void (*beat)(void *userdata, const struct notify *n, uint64_t started);
	/* A look at it, see heartbeat_see(). */
	void (*marker)(void *userdata, uint64_t stamp, uint64_t changed);
	void (*heard)(void *userdata); /* after some of these: what do they mean? */
	void (*try)(void *userdata);   /* somebody who may wants the trial */
};

/*
 * Looks for the marker and opens the socket; one that cannot be opened is reported,
 * and tried again by listen_tick(). Of @ops only .marker is called from within. -ENOMEM.
 */
_must_check_ int listen_new(struct listen **ret, sd_event *event, const struct listen_spec *spec,
			    const struct listen_ops *ops, void *userdata);
/* Returns NULL; NULL is fine. */
struct listen *listen_free(struct listen *l);

/* False: the one that the configuration names is not there (yet). */
bool listen_has_account(const struct listen *l);
/* What systemd says of the kiosk's unit: its own name (has to outlive @l), its account (the
 * configured one goes before it) and its main process. Looks for the marker, which has to be of
 * that account; calls ops->marker. */
void listen_set_kiosk(struct listen *l, const char *unit, const struct kiosk_properties *p);
/* Now and then: what was not there before, an account, room for the socket, may be now. */
void listen_tick(struct listen *l);

uint64_t listen_beats(const struct listen *l);	 /* datagrams that counted */
uint64_t listen_refused(const struct listen *l); /* those that did not */
