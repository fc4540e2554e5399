/* SPDX-License-Identifier: MIT */
/*
 * What the guard senses of the kiosk, and what each check makes of it. README.md
 * says how to add one.
 */
#pragma once

#include "guard/checks.h"
#include "guard/heartbeat.h"
#include "guard/kiosk.h"

struct senses {
	bool account_missing; /* the one that the configuration names */
	struct kiosk kiosk;
	struct heartbeat heart;
	struct checks checks;
	struct judgement last[CHECK_COUNT]; /* of each, as the reducer knows it */
};

/*
 * Pure. What is required and what is not is in @c. Where there is no kiosk to judge, or it may be
 * judged by a mistake of whoever wrote @c, a failure of the kiosk's is inconclusive, with the
 * reason in .why: no slot is left for that, and no bundle refused.
 */
void senses_judge(const struct senses *s, const struct config *c, uint64_t now, enum check check,
		  struct judgement *ret);
/* Why nobody can be judged; "": he can. */
void senses_no_kiosk(const struct senses *s, const struct config *c,
		     char why[static JUDGEMENT_WHY_MAX]);
/* The kiosk is restarted: what it said, and what was concluded from it, is not said of the next. */
void senses_forget(struct senses *s, uint64_t now);
