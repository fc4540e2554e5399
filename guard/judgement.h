/* SPDX-License-Identifier: MIT */
/* What every check answers with. */
#pragma once

#include "guard/policy.h"

#define JUDGEMENT_WHY_MAX                                                                          \
	384 /* bytes, with the NUL: a script's name, last answer and since when                    \
	     */

struct judgement {
	enum verdict verdict;
	enum reason reason;	     /* of a failure */
	uint64_t again;		     /* when to judge again without news; POLICY_NEVER */
	char why[JUDGEMENT_WHY_MAX]; /* a few words, for a person */
};

/* Leaves .again. */
void judge(struct judgement *j, enum verdict verdict, enum reason reason, const char *fmt, ...)
	_printf_(4, 5);
