// SPDX-License-Identifier: MIT
/*
 * Answers questions about the boot rules: facts on standard input, one
 * "key=value" a line, an empty line ends a case (keys: rules-text.h); one line
 * of answer a case. "call=" says what is asked:
 *   init       rules_bf_init()
 *   failed     rules_bf_init_failed() without a decision
 *   after      rules_bf_init(), its writes carried out, then rules_bf_init_failed()
 *   unwritten  the same, but the record could not be written
 */
#include "tests/lib/rules-text.h"

static void carry_out(struct boot_facts *facts, struct boot_decision *d, bool write_fails)
{
	bool writes_record = d->writes[0] == WRITE_RECORD || d->writes[1] == WRITE_RECORD;

	if (writes_record && write_fails) {
		d->next = d->next_if_unwritten;
		d->committable = false;
		facts->writable = false;
	}
}

static void answer(struct boot_facts *facts, const char *call)
{
	struct boot_decision d, *carried_out = NULL;
	uint32_t delay_sec = 0;

	if (streq(call, "init")) {
		rules_bf_init(facts, &d);
	} else {
		if (!streq(call, "failed")) {
			rules_bf_init(facts, &d);
			carry_out(facts, &d, streq(call, "unwritten"));
			carried_out = &d;
		}
		rules_bf_init_failed(facts, carried_out, REASON_VERITY_CORRUPT, &d, &delay_sec);
	}
	text_print(stdout, &d, delay_sec);
	putchar('\n');
}

int main(void)
{
	_cleanup_free_ char *line = NULL;
	char call[16] = "init";
	struct boot_facts facts;
	size_t room = 0;
	ssize_t n;

	text_defaults(&facts);
	while ((n = getline(&line, &room, stdin)) > 0) {
		if (line[n - 1] == '\n')
			line[n - 1] = '\0';
		if (!*line) {
			answer(&facts, call);
			text_defaults(&facts);
			strcpy(call, "init");
		} else if (startswith(line, "call=")) {
			text_copy(call, sizeof(call), startswith(line, "call="));
		} else {
			text_set(&facts, line);
		}
	}
	return ferror(stdin) || fflush(stdout) ? 1 : 0;
}
