/* SPDX-License-Identifier: MIT */
/*
 * What boot/requests.h asks and answers as words "key=value"; the record's
 * words are those of rules-text.h.
 *
 * Question: request=WORD running=A|B|- mismatch limbo validated committable staying armed writable
 *           selector=A|B|A-file|B-file|invalid|gone record=ok|lost|future count=-|N now=N
 * boot_id=TEXT arg.slot=A|B|- arg.reason=CODE arg.force=0|1 arg.hash=TEXT, and the record Answer:
 * refusal=WORD steps=[SFW+C-]…|none sector next always trial armed primary good.A good.B, and the
 * record Steps:    S sector, F file made anew, W record, + armed, C counted, - disarmed
 */
#pragma once

#include "boot/requests.h"
#include "tests/lib/rules-text.h"

/* The words of enum request; NULL ends them. */
extern const char *const text_requests[];

/* The words of enum refusal. */
extern const char *const text_refusals[REFUSAL_COUNT];

/* One question to requests.h. */
struct text_question {
	struct run_facts facts;
	enum request request;
	struct request_args args;
};

/* The committed slot A runs, everything is in order, nothing is asked for. */
void text_question_defaults(struct text_question *q);

/* Sets what @words say; @words is taken apart. */
void text_set_question(struct text_question *q, char *words);

/* What text_set_question() reads. */
void text_print_question(FILE *out, const struct text_question *q);

/* The answer to a question with the facts @f. */
void text_print_plan(FILE *out, const struct run_facts *f, const struct request_plan *p);
