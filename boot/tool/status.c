// SPDX-License-Identifier: MIT
/* What a person, or a program of his, wants to know: status, history, reasons. */
#include "boot/tool/tool.h"

#include "boot/json.h"

#include <time.h>

/* Before this no device of ours was made: the clock was not set yet. 2025-01-01 */
#define CLOCK_PLAUSIBLE_SEC 1735689600

/* What happened to a slot; the names in the record are for programs. */
static const char *const event_words[] = {
	[HISTORY_STAGED] = "installed, waits for its trial",
	[HISTORY_TRIAL] = "trial boot",
	[HISTORY_COMMITTED] = "committed",
	[HISTORY_REJECTED] = "rejected",
	[HISTORY_GIVEN_UP] = "trial given up",
	[HISTORY_FALLBACK] = "is left for the other slot",
	[HISTORY_FAILED] = "boot failed",
	[HISTORY_REPAIRED] = "autoboot.txt repaired",
	[HISTORY_REBUILT] = "boot record rebuilt",
	[HISTORY_CHANGED] = "holds another image than the record knew",
};

/* "A", "B", or NULL for no slot: null in JSON */
static const char *slot_or_null(enum slot slot)
{
	return slot == SLOT_NONE ? NULL : slot_name(slot);
}

static const char *code_or_null(const char *code)
{
	return *code && !streq(code, "-") ? code : NULL;
}

/* ---- what there is to say --------------------------------------------------- */

enum { NOTES_MAX = 12 };

struct note {
	const char *what, *todo;
};

struct status {
	const struct running *running;
	const struct run_facts *facts;
	struct record rec;
	bool trial;
	enum slot on_reboot;   /* started by the next reboot on purpose */
	enum slot on_power_on; /* started after a power cut; SLOT_NONE: nobody knows */
	char reason[RECORD_CODE_MAX + 1];
	struct note notes[NOTES_MAX];
	size_t note_count;
};

static void note(struct status *s, bool when, const char *what, const char *todo)
{
	if (when && s->note_count < NOTES_MAX)
		s->notes[s->note_count++] = (struct note) { what, todo };
}

static void note_refusal(struct status *s, bool when, enum refusal refusal)
{
	const struct refusal_text *text = refusal_text(refusal);

	note(s, when, text->what, text->todo);
}

/*
 * Where this is not the committed slot, or nothing says so: what a reboot really does. The
 * sector and the record are what they are now, after 'reconcile'.
 */
static void find_wrong_slot(struct status *s)
{
	const struct run_facts *f = s->facts;
	bool wrong = requests_is_wrong_slot(f);
	bool rejected = f->validated && !s->trial && f->record_readable &&
			f->record.committed != f->running;
	bool named = s->on_power_on == s->rec.committed;
	bool may_stay = named && s->rec.repairs < RULES_REPAIRS_MAX && f->running != SLOT_NONE &&
			s->rec.proven[f->running] != PROVEN_NO;

	note(s, rejected, "This trial boot was given up.",
	     "Reboot: the committed slot is started.");
	note(s, wrong && named,
	     "The running slot is not the committed one, which autoboot.txt names.",
	     may_stay ? "Reboot. If this slot comes up again, the firmware cannot start the other "
			"one: then this one gets a trial, and is committed if it proves good."
		      : "Reboot. If this slot comes up again, the firmware cannot start the other "
			"one: write the disk anew, or replace it.");
	note(s, wrong && !named,
	     "The running slot is not the committed one, and autoboot.txt is not right.",
	     "Run '" BF_BOOT " reconcile': it makes the file again, or says why it cannot.");
	note_refusal(s, f->limbo && !f->mismatch && !wrong && !rejected, REFUSAL_LIMBO);
}

/* In a trial its end makes the file again: nothing to be done. */
static void find_selector_notes(struct status *s)
{
	const struct run_facts *f = s->facts;
	bool committed = f->record_readable && f->record.committed == f->running;

	if (s->trial || requests_is_wrong_slot(f))
		return;
	note(s, f->selector == SELECTOR_INVALID, "autoboot.txt is no selection of two slots.",
	     "Reboot: bf-init repairs it.");
	note(s, f->selector == SELECTOR_GONE && committed,
	     "autoboot.txt is missing, or no selection of two slots.",
	     "Run '" BF_BOOT " reconcile': it makes the file again, or says why it cannot.");
	note(s, f->selector == SELECTOR_GONE && !committed,
	     "autoboot.txt is missing, or no selection of two slots.", "See '" BF_BOOT " doctor'.");
}

static void find_notes(struct status *s)
{
	const struct run_facts *f = s->facts;
	bool trial_runs = s->trial && !f->committable;

	note_refusal(s, f->running == SLOT_NONE, REFUSAL_UNKNOWN_SLOT);
	note_refusal(s, f->mismatch, REFUSAL_MISMATCH);
	find_wrong_slot(s);
	note_refusal(s, f->record_future, REFUSAL_FUTURE);
	note_refusal(s, !f->writable && !f->record_future, REFUSAL_DEGRADED);
	note(s, f->writable && s->running->boot.degraded,
	     "Something that should be kept on BF_DATA is not.",
	     "See what is said of BF_DATA below, and the kernel log.");
	note(s, !f->record_readable && !f->record_future,
	     "There is no boot record; what is shown is a guess from autoboot.txt.",
	     "Reboot: bf-init makes a new one.");
	note(s, f->record_readable && s->running->record_status == RECORD_BACKUP,
	     "One of the two copies of the boot record is damaged or missing.",
	     "Nothing: the next change writes it again.");
	note(s, running_disk_forgets(s->running),
	     "The disk takes writes and forgets them: the boot record does not hold what was "
	     "written "
	     "in this boot.",
	     "Replace the disk; until then nothing can be installed.");
	note(s, f->record_readable && record_is_doubtful(&f->record),
	     "The running slot holds another image than the boot record knew: the disk forgot what "
	     "was written last, or the slot was written by hand.",
	     "If it comes back after a power cut, replace the disk.");
	find_selector_notes(s);
	note_refusal(s, trial_runs, REFUSAL_NOT_COMMITTABLE);
	note(s, f->staying, "The guard gave up switching slots in this boot.",
	     "Install a good version.");
}

static void find_reason(struct status *s)
{
	const struct record *rec = &s->rec;

	if (code_or_null(s->running->boot.reason)) {
		record_set_code(s->reason, s->running->boot.reason);
		return;
	}
	for (size_t i = 0; i < rec->history_count; i++) {
		if (!*rec->history[i].reason)
			continue;
		record_set_code(s->reason, rec->history[i].reason);
		return;
	}
}

static void find_status(const struct running *running, struct status *s)
{
	const struct run_facts *f = &running->facts;
	enum slot armed = f->armed ? requests_armed_slot(f) : SLOT_NONE;

	*s = (struct status) { .running = running, .facts = f };
	requests_record(f, &s->rec);
	s->trial = requests_is_trial(f);
	s->on_power_on = f->selector == SELECTOR_VALID ? f->selector_committed : SLOT_NONE;
	s->on_reboot = armed != SLOT_NONE ? armed : s->on_power_on;
	find_reason(s);
	find_notes(s);
}

/* ---- for a person ------------------------------------------------------------ */

static void row(FILE *out, const char *name, const char *fmt, ...) _printf_(3, 4);
static void row(FILE *out, const char *name, const char *fmt, ...)
{
	va_list ap;

	(void)fprintf(out, "%-12s ", name);
	va_start(ap, fmt);
	(void)vfprintf(out, fmt, ap);
	va_end(ap);
	(void)fputc('\n', out);
}

static void print_reason(FILE *out, const char *name, const char *code)
{
	enum reason reason = reason_parse(code);

	if (!*code)
		row(out, name, "-");
	else if (reason == REASON_NONE)
		row(out, name, "%s (not known to this version)", code);
	else
		row(out, name, "%s: %s %s", code, reason_text(reason)->what,
		    reason_text(reason)->todo);
}

static void print_staged(FILE *out, const struct record *rec, bool armed)
{
	if (rec->staged == SLOT_NONE) {
		row(out, "staged", "-");
		return;
	}
	row(out, "staged",
	    "%s (%s), trial asked for %u of %u times, ran %u of %u times without a verdict%s",
	    slot_name(rec->staged), record_kind_name(rec), rec->attempts, RULES_ATTEMPTS_MAX,
	    rec->trials, RULES_TRIALS_MAX, armed ? ", armed" : "");
	if (*rec->trial_reason)
		print_reason(out, "trial ended", rec->trial_reason);
}

static void print_counters(FILE *out, const struct record *rec)
{
	const struct {
		const char *name;
		uint32_t value, of;
	} counters[] = {
		{ "failed boots", rec->hard, RULES_HARD_MAX },
		{ "unfinished boots", rec->soft, RULES_SOFT_MAX },
		{ "reboots by the guard", rec->ladder, REQUEST_LADDER_MAX },
		{ "starts of the wrong slot", rec->repairs, RULES_REPAIRS_MAX },
		{ "slow retries", rec->doublings, RULES_DOUBLINGS_MAX },
	};
	bool any = false;

	for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
		if (!counters[i].value)
			continue;
		(void)fprintf(out, "%-12s %s %u of %u\n", any ? "" : "counters", counters[i].name,
			      counters[i].value, counters[i].of);
		any = true;
	}
}

static void print_next(FILE *out, const struct status *s)
{
	const char *power_on = s->on_power_on == SLOT_NONE ? "whatever the firmware finds"
							   : slot_name(s->on_power_on);

	if (s->on_reboot != s->on_power_on)
		row(out, "next boot", "%s, a trial (after a power cut: %s)",
		    slot_name(s->on_reboot), power_on);
	else
		row(out, "next boot", "%s", power_on);
}

/* What there is to add to "unknown". */
static const char *unknown_why(const struct status *s, enum slot slot)
{
	if (s->rec.state[slot] != STATE_UNKNOWN)
		return "";
	if (slot == s->facts->running)
		return ", not confirmed yet";
	if (slot == s->rec.staged)
		return ", waits for its trial";
	return s->rec.proven[slot] == PROVEN_YES ? ", but it ran well before"
						 : ", not known to run well";
}

static void print_status(FILE *out, const struct status *s)
{
	const struct record *rec = &s->rec;

	row(out, "running", "%s%s", slot_name(s->facts->running), s->trial ? ", a trial boot" : "");
	row(out, "committed", "%s%s", slot_name(rec->committed),
	    rec->probation ? ", in probation" : "");
	print_staged(out, rec, s->facts->armed);
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++)
		row(out, slot == SLOT_A ? "slot A" : "slot B", "%s%s, root hash %.16s%s",
		    record_state_name(rec, slot), unknown_why(s, slot),
		    *rec->hash[slot] ? rec->hash[slot] : "unknown", *rec->hash[slot] ? "…" : "");
	print_counters(out, rec);
	print_reason(out, "last reason", s->reason);
	print_next(out, s);
	for (size_t i = 0; i < s->note_count; i++)
		(void)fprintf(out, "\n! %s\n  %s\n", s->notes[i].what, s->notes[i].todo);
	if (*s->running->boot.data_why)
		(void)fprintf(out, "\nBF_DATA: %s\n", s->running->boot.data_why);
	if (*s->running->why)
		(void)fprintf(out, "\nThe cause: %s\n", s->running->why);
}

/* ---- for a program ------------------------------------------------------------- */

static void json_slots(struct json *j, const struct status *s)
{
	json_open(j, "slots", '{');
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		json_open(j, slot_name(slot), '{');
		json_text(j, "state", record_state_name(&s->rec, slot));
		json_text(j, "proven", record_proven_name(&s->rec, slot));
		json_flag(j, "bootable", requests_is_good(s->facts, slot));
		json_text(j, "roothash", code_or_null(s->rec.hash[slot]));
		json_close(j, '}');
	}
	json_close(j, '}');
}

static void json_staged(struct json *j, const struct status *s)
{
	const struct record *rec = &s->rec;

	json_text(j, "staged", slot_or_null(rec->staged));
	json_text(j, "kind", rec->staged == SLOT_NONE ? NULL : record_kind_name(rec));
	json_number(j, "attempts", rec->attempts);
	json_number(j, "trials", rec->trials);
	json_text(j, "trial_reason", code_or_null(rec->trial_reason));
	json_flag(j, "armed", s->facts->armed);
	json_text(j, "primary", slot_or_null(requests_primary(s->facts)));
	json_open(j, "next_boot", '{');
	json_text(j, "reboot", slot_or_null(s->on_reboot));
	json_text(j, "power_on", slot_or_null(s->on_power_on));
	json_close(j, '}');
}

static void json_last(struct json *j, const struct record *rec)
{
	const struct record_last *last = &rec->last;

	json_open(j, "last", '{');
	json_text(j, "slot", slot_or_null(last->slot));
	json_text(j, "phase", record_phase_name(rec));
	json_text(j, "boot_id", code_or_null(last->boot_id));
	json_text(j, "reason", code_or_null(last->reason));
	json_close(j, '}');
}

static void json_counters(struct json *j, const struct record *rec)
{
	json_flag(j, "probation", rec->probation);
	json_number(j, "hard", rec->hard);
	json_number(j, "soft", rec->soft);
	json_number(j, "ladder", rec->ladder);
	json_number(j, "repairs", rec->repairs);
	json_number(j, "doublings", rec->doublings);
	json_number(j, "generation", rec->gen);
}

static void json_health(struct json *j, const struct status *s)
{
	const struct run_facts *f = s->facts;

	json_flag(j, "degraded", s->running->boot.degraded || !f->writable);
	json_flag(j, "writable", f->writable && !f->record_future);
	json_flag(j, "limbo", f->limbo);
	json_flag(j, "mismatch", f->mismatch);
	json_flag(j, "staying", f->staying);
	json_text(j, "record", record_status_name(s->running->record_status));
	json_text(j, "selector", selector_state_name(f->selector));
	json_text(j, "data", s->running->boot.data);
	json_text(j, "data_why", code_or_null(s->running->boot.data_why));
	json_text(j, "boot_id", f->boot_id);
	json_text(j, "cause", code_or_null(s->running->why));
	json_open(j, "notes", '[');
	for (size_t i = 0; i < s->note_count; i++) {
		json_open(j, NULL, '{');
		json_text(j, "what", s->notes[i].what);
		json_text(j, "todo", s->notes[i].todo);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void json_status(FILE *out, const struct status *s)
{
	struct json j = { .out = out };

	json_open(&j, NULL, '{');
	json_text(&j, "running", slot_or_null(s->facts->running));
	json_text(&j, "committed", slot_or_null(s->rec.committed));
	json_flag(&j, "trial", s->trial);
	json_flag(&j, "committable", s->trial && s->facts->committable);
	json_staged(&j, s);
	json_slots(&j, s);
	json_counters(&j, &s->rec);
	json_last(&j, &s->rec);
	json_text(&j, "reason", code_or_null(s->reason));
	json_health(&j, s);
	json_close(&j, '}');
}

int command_status(struct call *call)
{
	struct status s;

	find_status(&call->running, &s);
	if (call_has(call, OPTION_JSON))
		json_status(call->out, &s);
	else
		print_status(call->out, &s);
	return BF_BOOT_OK;
}

/* ---- history ------------------------------------------------------------------- */

/* UTC; "unknown" when the clock of that boot was not set. */
static void format_time(uint64_t time_sec, char buf[static 24])
{
	time_t t = (time_t)time_sec;
	struct tm tm;

	if (time_sec < CLOCK_PLAUSIBLE_SEC || !gmtime_r(&t, &tm) ||
	    strftime(buf, 24, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		(void)snprintf(buf, 24, "unknown");
}

static void print_history(FILE *out, const struct record *rec)
{
	for (size_t i = 0; i < rec->history_count; i++) {
		const struct history_entry *e = &rec->history[i];
		enum reason reason = reason_parse(e->reason);
		char when[24];

		format_time(e->time_sec, when);
		(void)fprintf(out, "%-19s  %s  %s", when, slot_name(e->slot),
			      e->event < ARRAY_SIZE(event_words) ? event_words[e->event]
								 : history_entry_name(e));
		if (reason != REASON_NONE)
			(void)fprintf(out, ": %s (%s)", reason_text(reason)->what, e->reason);
		else if (*e->reason)
			(void)fprintf(out, ": %s", e->reason);
		(void)fputc('\n', out);
	}
	if (rec->history_count == 0)
		(void)fputs("Nothing happened yet.\n", out);
}

static void json_history(FILE *out, const struct record *rec)
{
	struct json j = { .out = out };

	json_open(&j, NULL, '[');
	for (size_t i = 0; i < rec->history_count; i++) {
		const struct history_entry *e = &rec->history[i];
		enum reason reason = reason_parse(e->reason);
		char when[24];

		format_time(e->time_sec, when);
		json_open(&j, NULL, '{');
		json_text(&j, "time", streq(when, "unknown") ? NULL : when);
		json_text(&j, "event", history_entry_name(e));
		json_text(&j, "slot", slot_or_null(e->slot));
		json_text(&j, "reason", code_or_null(e->reason));
		json_text(&j, "what", reason == REASON_NONE ? NULL : reason_text(reason)->what);
		json_close(&j, '}');
	}
	json_close(&j, ']');
}

int command_history(struct call *call)
{
	const struct run_facts *facts = &call->running.facts;

	if (!facts->record_readable)
		return facts->record_future ? call_refused(call, REFUSAL_FUTURE)
					    : (call_say(call, "there is no boot record to read: %s",
							*call->running.why ? call->running.why
									   : "none was found"),
					       BF_BOOT_FAILED);
	if (call_has(call, OPTION_JSON))
		json_history(call->out, &facts->record);
	else
		print_history(call->out, &facts->record);
	return BF_BOOT_OK;
}

int command_reasons(struct call *call)
{
	for (enum reason r = REASON_NONE + 1; r < REASON_COUNT; r++) {
		const struct reason_text *text = reason_text(r);

		(void)fprintf(call->out, "%s\n    %s\n    %s\n", text->code, text->what,
			      text->todo);
	}
	return BF_BOOT_OK;
}
