// SPDX-License-Identifier: MIT
#include "guard/judgement.h"

void judge(struct judgement *j, enum verdict verdict, enum reason reason, const char *fmt, ...)
{
	va_list ap;

	j->verdict = verdict;
	j->reason = reason;
	va_start(ap, fmt);
	(void)vsnprintf(j->why, sizeof(j->why), fmt, ap);
	va_end(ap);
}
