/* SPDX-License-Identifier: MIT */
/* How the guard explains itself: journal entries with message ids (hooks/systemd/bf-guard.catalog
 * says what to do about each), STATUS= for systemctl, status for people and programs. */
#pragma once

#include "guard/device.h"
#include "guard/senses.h"

/* Whose answer the last reason was, as it was when that was decided: it may have changed since. */
struct report_blame {
	enum reason reason; /* that this is of */
	const char *who;    /* a check, or what the commit waits for; NULL: nobody's answer */
	uint64_t since;	    /* the answer has been a failure */
	char answer[JUDGEMENT_WHY_MAX];
};

/* Everything that is told, as it is at .now. Nothing of it is owned. */
struct report_view {
	uint64_t now;
	const struct config *config;
	const struct policy *policy;
	const struct senses *senses;
	const struct device_answer *device;
	const struct report_blame *blame;
	const char *kiosk_status, *rauc_said; /* "": none */
	bool server_expected;
	uint64_t beats, refused; /* heartbeats */
	unsigned warnings;	 /* of the configuration */
};

/* The phase changed: journal and STATUS=. */
void report_phase(const struct report_view *v);
/* Notes who is blamed by @action, if it is one that blames; before it is carried out. */
void report_note_blame(const struct report_view *v, const struct policy_action *action,
		       struct report_blame *blame);
void report_action(const struct report_view *v, const struct policy_action *action);
/* Nobody can be judged, and @why. */
void report_no_kiosk(const char *why, enum slot running);
/* What publish.h publishes: allocated, NULL without memory. */
char *report_status(const struct report_view *v, bool json);
/* The status for people, as it is @now. */
void report_print(FILE *out, const char *text, uint64_t now);
/* What a person needs to see why a trial was rejected. */
void report_diagnostics(const struct report_view *v, char *buf, size_t size);
