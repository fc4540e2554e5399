// SPDX-License-Identifier: MIT
#include "tests/lib/rules-text.h"

#include <stdarg.h>

const char *const text_slots[] = { "A", "B", "-", NULL };
const char *const text_next[] = {
	[NEXT_BOOT] = "boot",
	[NEXT_BOOT_TRIAL] = "trial",
	[NEXT_REBOOT] = "reboot",
	[NEXT_REBOOT_TRIAL] = "reboot-trial",
	[NEXT_REBOOT_OTHER] = "reboot-other",
	NULL,
};

void text_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

unsigned text_name(const char *value, const char *const *names)
{
	for (unsigned i = 0; names[i]; i++)
		if (streq(value, names[i]))
			return i;
	text_die("not a value: %s", value);
}

uint32_t text_number(const char *value)
{
	uint32_t n;

	if (parse_u32(value, 10, &n) < 0)
		text_die("not a number: %s", value);
	return n;
}

void text_copy(char *to, size_t size, const char *value)
{
	if (streq(value, "-"))
		value = "";
	if (strlen(value) >= size)
		text_die("too long: %s", value);
	strcpy(to, value);
}

/* Puts one value after the other into @field, up to @last, until @name is @value. */
#define TEXT_FIND(field, last, name, value)                                                        \
	do {                                                                                       \
		for ((field) = 0; !streq(name, value); (field)++)                                  \
			if ((field) == (last))                                                     \
				text_die("not a value: %s", value);                                \
	} while (0)

static unsigned text_event(const char *value)
{
	for (unsigned i = 0; i < HISTORY_OTHER; i++)
		if (streq(value, history_event_name((enum history_event)i)))
			return i;
	text_die("not an event: %s", value);
}

static void text_set_history(struct record *rec, char *value)
{
	if (streq(value, "-"))
		return;
	for (char *item; (item = strsep(&value, ","));) {
		struct history_entry *h = &rec->history[rec->history_count++];
		char *event = strsep(&item, ":"), *slot = strsep(&item, ":");

		if (!slot || !item || rec->history_count > RECORD_HISTORY_MAX)
			text_die("not a history");
		h->event = (enum history_event)text_event(event);
		h->slot = (enum slot)text_name(slot, text_slots);
		text_copy(h->reason, sizeof(h->reason), item);
	}
}

static void text_set_refused(struct record *rec, char *value)
{
	size_t n = 0;

	if (streq(value, "-"))
		return;
	for (char *item; (item = strsep(&value, ","));) {
		if (n == RECORD_REFUSED_MAX)
			text_die("too many refused");
		text_copy(rec->refused[n++], sizeof(rec->refused[0]), item);
	}
}

static bool text_set_last(struct record *rec, const char *key, const char *value)
{
	struct record_last *last = &rec->last;

	if (streq(key, "slot")) {
		last->slot = (enum slot)text_name(value, text_slots);
	} else if (streq(key, "phase")) {
		TEXT_FIND(last->phase, PHASE_SETTLED, record_phase_name(rec), value);
	} else if (streq(key, "boot_id")) {
		text_copy(last->boot_id, sizeof(last->boot_id), value);
	} else if (streq(key, "reason")) {
		text_copy(last->reason, sizeof(last->reason), value);
	} else if (streq(key, "count")) {
		last->has_count = !streq(value, "-");
		last->count = last->has_count ? text_number(value) : 0;
	} else {
		return false;
	}
	return true;
}

bool text_set_record(struct record *rec, const char *key, char *value)
{
	const struct {
		const char *key;
		uint32_t *number;
	} numbers[] = {
		{ "attempts", &rec->attempts },	  { "trials", &rec->trials },
		{ "hard", &rec->hard },		  { "soft", &rec->soft },
		{ "doublings", &rec->doublings }, { "ladder", &rec->ladder },
		{ "repairs", &rec->repairs },	  { "healthy_sec", &rec->healthy_sec },
	};
	const char *slot = strchr(key, '.');
	enum slot x = slot ? slot_parse(slot + 1) : SLOT_NONE;

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (streq(key, numbers[i].key)) {
			*numbers[i].number = text_number(value);
			return true;
		}
	if (startswith(key, "last."))
		return text_set_last(rec, slot + 1, value);
	if (x != SLOT_NONE && startswith(key, "state."))
		TEXT_FIND(rec->state[x], STATE_BAD, record_state_name(rec, x), value);
	else if (x != SLOT_NONE && startswith(key, "proven."))
		TEXT_FIND(rec->proven[x], PROVEN_YES, record_proven_name(rec, x), value);
	else if (x != SLOT_NONE && startswith(key, "hash."))
		text_copy(rec->hash[x], sizeof(rec->hash[x]), value);
	else if (streq(key, "committed"))
		rec->committed = (enum slot)text_name(value, text_slots);
	else if (streq(key, "staged"))
		rec->staged = (enum slot)text_name(value, text_slots);
	else if (streq(key, "kind"))
		TEXT_FIND(rec->kind, KIND_FALLBACK, record_kind_name(rec), value);
	else if (streq(key, "trial_reason"))
		text_copy(rec->trial_reason, sizeof(rec->trial_reason), value);
	else if (streq(key, "probation"))
		rec->probation = text_number(value) != 0;
	else if (streq(key, "refused"))
		text_set_refused(rec, value);
	else if (streq(key, "history"))
		text_set_history(rec, value);
	else
		return false;
	return true;
}

static const char *const text_files[] = { [SLOT_A] = "A-file", [SLOT_B] = "B-file" };

void text_set_selector(const char *value, enum selector_state *ret, enum slot *ret_committed,
		       bool *ret_in_place)
{
	*ret_committed = streq(value, text_files[SLOT_A])   ? SLOT_A
			 : streq(value, text_files[SLOT_B]) ? SLOT_B
							    : slot_parse(value);
	if (*ret_committed != SLOT_NONE)
		*ret = SELECTOR_VALID;
	else
		TEXT_FIND(*ret, SELECTOR_GONE, selector_state_name(*ret), value);
	*ret_in_place = *ret == SELECTOR_INVALID || streq(value, slot_name(*ret_committed));
}

static void text_set_fact(struct boot_facts *f, const char *key, char *value)
{
	if (streq(key, "running")) {
		f->running = (enum slot)text_name(value, text_slots);
	} else if (streq(key, "mismatch")) {
		f->mismatch = text_number(value) != 0;
	} else if (streq(key, "tryboot")) {
		f->tryboot = text_number(value) != 0;
	} else if (streq(key, "writable")) {
		f->writable = text_number(value) != 0;
	} else if (streq(key, "now")) {
		f->now_sec = text_number(value);
	} else if (streq(key, "boot_id")) {
		text_copy(f->boot_id, sizeof(f->boot_id), value);
	} else if (streq(key, "roothash")) {
		text_copy(f->roothash, sizeof(f->roothash), value);
	} else if (streq(key, "selector")) {
		text_set_selector(value, &f->selector, &f->selector_committed,
				  &f->selector_in_place);
	} else if (streq(key, "count")) {
		f->has_count = !streq(value, "-");
		f->count = f->has_count ? text_number(value) : 0;
	} else if (streq(key, "record")) {
		f->record_readable = streq(value, "ok");
		f->record_lost = streq(value, "lost");
		if (!f->record_readable && !f->record_lost && !streq(value, "none"))
			text_die("not a record: %s", value);
	} else if (!text_set_record(&f->record, key, value)) {
		text_die("not a key: %s", key);
	}
}

void text_set(struct boot_facts *f, char *words)
{
	for (char *word; (word = strsep(&words, " \n"));) {
		char *value = strchr(word, '=');

		if (!*word)
			continue;
		if (!value)
			text_die("not a word: %s", word);
		*value++ = '\0';
		text_set_fact(f, word, value);
	}
}

void text_defaults(struct boot_facts *f)
{
	*f = (struct boot_facts) {
		.running = SLOT_A,
		.selector = SELECTOR_VALID,
		.selector_committed = SLOT_A,
		.selector_in_place = true,
		.record_readable = true,
		.writable = true,
	};
	record_init(&f->record, SLOT_A);
}

const char *text_or_dash(const char *s)
{
	return *s ? s : "-";
}

void text_print_record(FILE *out, const struct record *r)
{
	fprintf(out, " committed=%s staged=%s kind=%s attempts=%u trials=%u trial_reason=%s",
		text_slots[r->committed], text_slots[r->staged], record_kind_name(r), r->attempts,
		r->trials, text_or_dash(r->trial_reason));
	for (enum slot s = SLOT_A; s < SLOT_COUNT; s++)
		fprintf(out, " state.%s=%s proven.%s=%s hash.%s=%s", slot_name(s),
			record_state_name(r, s), slot_name(s), record_proven_name(r, s),
			slot_name(s), text_or_dash(r->hash[s]));
	fprintf(out,
		" hard=%u soft=%u doublings=%u ladder=%u probation=%d repairs=%u healthy_sec=%u",
		r->hard, r->soft, r->doublings, r->ladder, r->probation, r->repairs,
		r->healthy_sec);
	fprintf(out,
		" last.slot=%s last.phase=%s last.boot_id=%s last.count=", text_slots[r->last.slot],
		record_phase_name(r), text_or_dash(r->last.boot_id));
	if (r->last.has_count)
		fprintf(out, "%u", r->last.count);
	else
		fputc('-', out);
	fprintf(out, " last.reason=%s refused=%s", text_or_dash(r->last.reason),
		text_or_dash(r->refused[0]));
	for (size_t i = 1; i < RECORD_REFUSED_MAX && *r->refused[i]; i++)
		fprintf(out, ",%s", r->refused[i]);
	fprintf(out, " history=%s", r->history_count ? "" : "-");
	for (size_t i = 0; i < r->history_count; i++)
		fprintf(out, "%s%s:%s:%s", i ? "," : "", history_entry_name(&r->history[i]),
			text_slots[r->history[i].slot], text_or_dash(r->history[i].reason));
}

const char *text_selector(enum selector_state state, enum slot committed, bool in_place)
{
	if (state != SELECTOR_VALID)
		return selector_state_name(state);
	return in_place ? text_slots[committed] : text_files[committed];
}

void text_print_facts(FILE *out, const struct boot_facts *f)
{
	fprintf(out, " running=%s mismatch=%d tryboot=%d selector=%s record=%s writable=%d",
		text_slots[f->running], f->mismatch, f->tryboot,
		text_selector(f->selector, f->selector_committed, f->selector_in_place),
		f->record_readable ? "ok"
		: f->record_lost   ? "lost"
				   : "none",
		f->writable);
	fprintf(out, " boot_id=%s roothash=%s count=", text_or_dash(f->boot_id),
		text_or_dash(f->roothash));
	if (f->has_count)
		fprintf(out, "%u", f->count);
	else
		fputc('-', out);
	if (f->record_readable)
		text_print_record(out, &f->record);
}

void text_print(FILE *out, const struct boot_decision *d, uint32_t delay_sec)
{
	static const char letters[] = { '-', 'W', 'S' };

	fprintf(out, "writes=%c", letters[d->writes[0]]);
	if (d->writes[1] != WRITE_NOTHING)
		fputc(letters[d->writes[1]], out);
	fprintf(out, " sector=%s next=%s unwritten=%s committable=%d limbo=%d reason=%s delay=%u",
		text_slots[d->sector], text_next[d->next], text_next[d->next_if_unwritten],
		d->committable, d->limbo, reason_text(d->reason)->code, delay_sec);
	text_print_record(out, &d->record);
}
