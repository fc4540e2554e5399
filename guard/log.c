// SPDX-License-Identifier: MIT
#include "guard/log.h"

#include "boot/io.h"

static bool has_journal;

void guard_log_open(const char *root)
{
	has_journal = journal_open(root);
}

/* As the kernel has them. */
static const char *priority(enum log_level level)
{
	static const char digits[][2] = { "0", "1", "2", "3", "4", "5", "6", "7" };

	return digits[(unsigned)level < ARRAY_SIZE(digits) ? level : LOG_LEVEL_INFO];
}

void guard_log_fields(enum log_level level, const char *text, const struct journal_field fields[],
		      size_t count)
{
	struct journal_field all[2 + GUARD_LOG_FIELDS_MAX] = { { "PRIORITY", priority(level) },
							       { "MESSAGE", text } };

	if (!has_journal) {
		log_line(level, "%s", text);
		return;
	}
	if (count > GUARD_LOG_FIELDS_MAX)
		count = GUARD_LOG_FIELDS_MAX;
	for (size_t i = 0; i < count; i++)
		all[2 + i] = fields[i];
	journal_send(all, 2 + count);
}

void guard_log(enum log_level level, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_clean(text, ' ');
	guard_log_fields(level, text, NULL, 0);
}
