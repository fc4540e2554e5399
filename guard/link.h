/* SPDX-License-Identifier: MIT */
/*
 * D-Bus: the kiosk's unit, RAUC, logind, systemd. Every call is asynchronous, every
 * failure only means that something is not known now: the guard lives without a bus,
 * and comes back to one.
 */
#pragma once

#include "guard/kiosk.h"
#include "guard/policy.h"
#include "guard/rauc.h"

#include <systemd/sd-event.h>

struct link;

struct link_spec {
	const char *unit;      /* the kiosk's; has to outlive the link */
	uint64_t call_timeout; /* of a Mark, and of questions; microseconds */
};

/* What happened; from the loop, and of what could not even be sent from within the call. */
struct link_ops {
	void (*bus)(void *userdata, bool up); /* it has come, or gone */
	/* All of the unit's properties; NULL: they cannot be read now. */
	void (*unit)(void *userdata, const struct kiosk_properties *p);
	void (*rauc)(void *userdata); /* it did something, came or went */
	void (*going_down)(void *userdata, bool down);
	void (*marked)(void *userdata, uint32_t id, enum mark_outcome outcome);
	void (*rung_failed)(void *userdata, uint32_t id);
};

/* Connects, and does so again whenever it has to. @ops and @spec->unit are not copied. -ENOMEM. */
_must_check_ int link_new(struct link **ret, sd_event *event, const struct link_spec *spec,
			  const struct link_ops *ops, void *userdata);
/* Returns NULL; NULL is fine. */
struct link *link_free(struct link *l);

/* Asks again; answered by ops->unit, where there is a bus. */
void link_read_unit(struct link *l);
void link_restart_unit(struct link *l);
/* Marks the running slot good; answered by ops->marked, at least once. */
void link_mark_good(struct link *l, uint32_t id);
/* Ends whatever holds it up; what it was asked is answered by the bus then. */
void link_restart_rauc(struct link *l);
/* Starts one way to reboot, once more where the bus was not there; only its failure is told. */
void link_reboot(struct link *l, enum rung rung, uint32_t id);

bool link_is_installing(const struct link *l); /* RAUC, as last heard */
bool link_is_going_down(const struct link *l); /* the system: logind's word */
/* Why the last Mark did not work, in words; "": none failed. */
const char *link_rauc_said(const struct link *l);

/* What a Mark that RAUC answers so has come to. Pure. */
enum mark_outcome link_mark_outcome(enum rauc_error error);
