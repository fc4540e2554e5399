// SPDX-License-Identifier: MIT
/*
 * Answers questions about what may be asked of the running system: one
 * question a line on standard input, in the words of requests-text.h, one line
 * of answer each.
 */
#include "tests/lib/requests-text.h"

int main(void)
{
	_cleanup_free_ char *line = NULL;
	struct request_plan plan;
	struct text_question q;
	size_t room = 0;

	while (getline(&line, &room, stdin) > 0) {
		text_question_defaults(&q);
		text_set_question(&q, line);
		requests_plan(&q.facts, q.request, &q.args, &plan);
		text_print_plan(stdout, &q.facts, &plan);
		putchar('\n');
	}
	return ferror(stdin) || fflush(stdout) ? 1 : 0;
}
