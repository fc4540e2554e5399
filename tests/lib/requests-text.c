// SPDX-License-Identifier: MIT
#include "tests/lib/requests-text.h"

const char *const text_requests[] = {
	[REQUEST_SET_BAD] = "set-bad",
	[REQUEST_SET_GOOD] = "set-good",
	[REQUEST_SET_PRIMARY] = "set-primary",
	[REQUEST_CANCEL] = "cancel",
	[REQUEST_TRY] = "try",
	[REQUEST_RECONCILE] = "reconcile",
	[REQUEST_SHUTDOWN_REBOOT] = "reboots",
	[REQUEST_SHUTDOWN_HALT] = "halts",
	[REQUEST_REJECT] = "reject",
	[REQUEST_HEALTHY] = "healthy",
	[REQUEST_SETTLE] = "settle",
	[REQUEST_KIOSK_FAILS] = "kiosk-fails",
	[REQUEST_RETRY_OTHER] = "retry-other",
	NULL,
};

const char *const text_refusals[] = { [REFUSAL_NONE] = "none",
#define X(id, what, todo) [REFUSAL_##id] = #id,
				      REFUSALS(X)
#undef X
};

void text_question_defaults(struct text_question *q)
{
	*q = (struct text_question) {
		.facts = { .running = SLOT_A,
			   .selector = SELECTOR_VALID,
			   .selector_committed = SLOT_A,
			   .selector_in_place = true,
			   .record_readable = true,
			   .writable = true },
		.args.slot = SLOT_NONE,
	};
	record_init(&q->facts.record, SLOT_A);
	q->facts.record.late_read = UINT32_MAX; /* the keys that may be missing are there */
}

static bool text_set_arg(struct request_args *args, const char *key, const char *value)
{
	if (streq(key, "slot"))
		args->slot = (enum slot)text_name(value, text_slots);
	else if (streq(key, "reason"))
		args->reason = reason_parse(value);
	else if (streq(key, "force"))
		args->force = text_number(value) != 0;
	else if (streq(key, "seconds"))
		args->seconds = text_number(value);
	else if (streq(key, "hash"))
		text_copy(args->hash, sizeof(args->hash), value);
	else
		return false;
	return true;
}

static bool text_set_flag(struct run_facts *f, const char *key, const char *value)
{
	const struct {
		const char *key;
		bool *flag;
	} flags[] = {
		{ "mismatch", &f->mismatch },	{ "limbo", &f->limbo },
		{ "validated", &f->validated }, { "committable", &f->committable },
		{ "staying", &f->staying },	{ "armed", &f->armed },
		{ "writable", &f->writable },
	};

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (streq(key, flags[i].key)) {
			*flags[i].flag = text_number(value) != 0;
			return true;
		}
	return false;
}

static void text_set_question_word(struct text_question *q, const char *key, char *value)
{
	const char *arg = startswith(key, "arg.");
	struct run_facts *f = &q->facts;

	if (streq(key, "request")) {
		q->request = (enum request)text_name(value, text_requests);
	} else if (arg ? text_set_arg(&q->args, arg, value) : text_set_flag(f, key, value)) {
		return;
	} else if (streq(key, "running")) {
		f->running = (enum slot)text_name(value, text_slots);
	} else if (streq(key, "selector")) {
		text_set_selector(value, &f->selector, &f->selector_committed,
				  &f->selector_in_place);
	} else if (streq(key, "record")) {
		f->record_readable = streq(value, "ok");
		f->record_future = streq(value, "future");
		if (!f->record_readable && !f->record_future && !streq(value, "lost"))
			text_die("not a record: %s", value);
	} else if (streq(key, "count")) {
		f->has_count = !streq(value, "-");
		f->count = f->has_count ? text_number(value) : 0;
	} else if (streq(key, "now")) {
		f->now_sec = text_number(value);
	} else if (streq(key, "boot_id")) {
		text_copy(f->boot_id, sizeof(f->boot_id), value);
	} else if (!text_set_record(&f->record, key, value)) {
		text_die("not a key: %s", key);
	}
}

void text_set_question(struct text_question *q, char *words)
{
	for (char *word; (word = strsep(&words, " \n"));) {
		char *value = strchr(word, '=');

		if (!*word)
			continue;
		if (!value)
			text_die("not a word: %s", word);
		*value++ = '\0';
		text_set_question_word(q, word, value);
	}
}

void text_print_question(FILE *out, const struct text_question *q)
{
	const struct run_facts *f = &q->facts;

	fprintf(out, "request=%s running=%s mismatch=%d limbo=%d validated=%d committable=%d",
		text_requests[q->request], text_slots[f->running], f->mismatch, f->limbo,
		f->validated, f->committable);
	fprintf(out, " staying=%d armed=%d writable=%d selector=%s record=%s boot_id=%s count=",
		f->staying, f->armed, f->writable,
		text_selector(f->selector, f->selector_committed, f->selector_in_place),
		f->record_readable ? "ok"
		: f->record_future ? "future"
				   : "lost",
		text_or_dash(f->boot_id));
	if (f->has_count)
		fprintf(out, "%u", f->count);
	else
		fputc('-', out);
	fprintf(out, " arg.slot=%s arg.reason=%s arg.force=%d arg.seconds=%u arg.hash=%s",
		text_slots[q->args.slot], reason_text(q->args.reason)->code, q->args.force,
		q->args.seconds, text_or_dash(q->args.hash));
	if (f->record_readable)
		text_print_record(out, &f->record);
}

void text_print_plan(FILE *out, const struct run_facts *f, const struct request_plan *p)
{
	static const char letters[] = {
		[STEP_END] = '?', [STEP_SECTOR] = 'S',	[STEP_FILE] = 'F',  [STEP_RECORD] = 'W',
		[STEP_ARM] = '+', [STEP_COUNTED] = 'C', [STEP_DISARM] = '-'
	};

	fprintf(out, "refusal=%s steps=", text_refusals[p->refusal]);
	for (size_t i = 0; p->steps[i] != STEP_END; i++)
		fputc(letters[p->steps[i]], out);
	fprintf(out,
		"%s sector=%s next=%s always=%d trial=%d armed=%s primary=%s good.A=%d good.B=%d",
		p->steps[0] == STEP_END ? "none" : "", text_slots[p->sector], text_next[p->next],
		p->always, requests_is_trial(f), text_slots[requests_armed_slot(f)],
		text_slots[requests_primary(f)], requests_is_good(f, SLOT_A),
		requests_is_good(f, SLOT_B));
	text_print_record(out, &p->record);
}
