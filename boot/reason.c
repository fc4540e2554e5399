// SPDX-License-Identifier: MIT
#include "boot/reason.h"

static const struct reason_text reasons[REASON_END] = {
	[REASON_NONE] = { "-", "Nothing failed.", "Nothing." },
#define X(id, code, what, todo) [REASON_##id] = { code, what, todo },
	REASONS(X) PAST_REASONS(X)
#undef X
};

const struct reason_text *reason_text(enum reason reason)
{
	return &reasons[(unsigned)reason < REASON_END ? reason : REASON_NONE];
}

enum reason reason_parse(const char *code)
{
	for (unsigned i = REASON_NONE + 1; i < REASON_END; i++)
		if (streq(code, reasons[i].code))
			return (enum reason)i;
	return REASON_NONE;
}

int failure_set(struct failure *f, enum reason reason, int error, const char *fmt, ...)
{
	va_list ap;

	f->reason = error == ENOMEM ? REASON_OUT_OF_MEMORY : reason;
	f->error = error;
	va_start(ap, fmt);
	(void)vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	return error ? -error : -EPROTO;
}
