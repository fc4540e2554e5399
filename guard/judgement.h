/* SPDX-License-Identifier: MIT */
/* What every check answers with. */
#pragma once

#include "guard/policy.h"

struct judgement {
	enum verdict verdict;
	enum reason reason; /* of a failure */
	uint64_t again;	    /* when to judge again without news; POLICY_NEVER */
	char why[96];	    /* a few words, for a person */
};

/* Leaves .again. */
void judge(struct judgement *j, enum verdict verdict, enum reason reason, const char *fmt, ...)
	_printf_(4, 5);
