// SPDX-License-Identifier: MIT
#include "guard/report.h"

#include "boot/json.h"
#include "guard/log.h"

#include <systemd/sd-daemon.h>

#define DIGITS "0123456789"

/* ---- who is blamed ----------------------------------------------------------------------- */

static void note(struct report_blame *b, const char *who, uint64_t since, const char *answer)
{
	b->who = who;
	b->since = since;
	(void)snprintf(b->answer, sizeof(b->answer), "%s", answer);
}

void report_note_blame(const struct report_view *v, const struct policy_action *action,
		       struct report_blame *blame)
{
	const struct policy *p = v->policy;
	const struct judgement *last =
		action->blamed < CHECK_COUNT ? &v->senses->last[action->blamed] : NULL;

	if (action->type != ACTION_SAVE && action->type != ACTION_RESTART_UNIT &&
	    action->type != ACTION_KIOSK_FAILS && action->type != ACTION_RETRY_OTHER)
		return;
	/* Asked for once more after hours, and nobody says anything bad now: as it was. */
	if (action->type == ACTION_RETRY_OTHER && (!last || !verdict_failed(last->verdict)))
		return;
	*blame = (struct report_blame) { .reason = action->reason };
	if (last)
		note(blame, check_name(action->blamed), action->since, last->why);
	else if (action->reason == REASON_COMMIT_FAILED)
		note(blame, "rauc", p->commit_due - p->config.commit_timeout,
		     *v->rauc_said ? v->rauc_said : "said yes, but the slot is not committed");
	else if (action->reason == REASON_ROOT_CORRUPT)
		note(blame, "root", v->now, "could not be read in full");
}

/* NULL: nobody's answer is @reason. */
static const struct report_blame *blame_of(const struct report_view *v, enum reason reason)
{
	return v->blame->who && reason != REASON_NONE && v->blame->reason == reason ? v->blame
										    : NULL;
}

/* ---- entries with a message id --------------------------------------------------------- */

static const struct message {
	enum policy_action_type action;
	enum log_level level;
	const char *id;	  /* as in the catalog */
	const char *text; /* ending with a space: the reason's sentence follows */
} messages[] = {
	{ ACTION_COMMITTED, LOG_LEVEL_NOTICE, "a6cae3936fe642aead26a9ece63774e3",
	  "The trial is committed: this slot is what the device starts from now on." },
	{ ACTION_REJECT, LOG_LEVEL_ERR, "c037a5f2d46d4fddb54006c784637466",
	  "The trial is rejected, the device goes back: " },
	{ ACTION_ABORT, LOG_LEVEL_WARNING, "72359203babc479da0d1d150317d1e51",
	  "The trial ends undecided and will be repeated." },
	{ ACTION_RESTART_UNIT, LOG_LEVEL_WARNING, "8f80ea6508204bbb86067a8103d9c8aa",
	  "The kiosk is restarted: " },
	{ ACTION_KIOSK_FAILS, LOG_LEVEL_ERR, "5b64b602db1c47629ad01b5e90642357",
	  "Restarting the kiosk did not help: " },
	{ ACTION_RETRY_OTHER, LOG_LEVEL_WARNING, "5b64b602db1c47629ad01b5e90642357",
	  "The kiosk still does not live, the other slot is asked for: " },
	{ ACTION_STAY, LOG_LEVEL_ERR, "9f28665532a742c59b935dbee5682b16",
	  "Neither a reboot nor the other slot can help; the device stays as it is." },
	{ ACTION_TRY, LOG_LEVEL_NOTICE, "f304b450fd494fc2a0719949b57d0828",
	  "The staged update is tried: the device reboots into it." },
	{ ACTION_REBOOT, LOG_LEVEL_NOTICE, "45a9e2fadca6431dbaee37a5e4909eca",
	  "The device reboots." },
};

static void report_message(const struct message *m, enum slot running, enum reason reason,
			   const char *more, const struct report_blame *blame, const char *span)
{
	const struct journal_field fields[] = {
		{ "MESSAGE_ID", m->id },
		{ "BF_SLOT", slot_name(running) },
		{ "BF_REASON", reason_text(reason)->code },
		{ "BF_WHAT", *more ? more : reason_text(reason)->what },
		{ "BF_TODO", reason_text(reason)->todo },
		{ "BF_CHECK", blame ? blame->who : "-" },
		{ "BF_ANSWER", blame ? blame->answer : "-" },
		{ "BF_FOR", blame ? span : "-" },
	};
	bool has_reason = m->text[strlen(m->text) - 1] == ' ';
	char text[1024];

	_Static_assert(ARRAY_SIZE(fields) <= GUARD_LOG_FIELDS_MAX, "each of them is sent");
	(void)snprintf(text, sizeof(text), "%s%s", m->text, has_reason ? fields[3].value : "");
	if (has_reason && blame)
		(void)snprintf(text, sizeof(text), "%s%s %s, for %s: %s", m->text, fields[3].value,
			       blame->who, span, blame->answer);
	guard_log_fields(m->level, text, fields, ARRAY_SIZE(fields));
}

void report_no_kiosk(const char *why, enum slot running)
{
	static const struct message m = { .level = LOG_LEVEL_WARNING,
					  .id = "6d0f6e2c8b7b4a5f9c3e1f0a72d4b895",
					  .text = "The guard judges nobody: " };

	report_message(&m, running, REASON_NONE, why, NULL, "");
}

void report_action(const struct report_view *v, const struct policy_action *action)
{
	const struct report_blame *blame = blame_of(v, action->reason);
	char span[32];

	span_format(blame ? v->now - blame->since : 0, span);
	for (size_t i = 0; i < ARRAY_SIZE(messages); i++)
		if (messages[i].action == action->type &&
		    (action->type != ACTION_REBOOT || action->rung == RUNG_LOGIND))
			report_message(&messages[i], v->device->running, action->reason, "", blame,
				       span);
	if (action->type == ACTION_REBOOT && action->rung != RUNG_LOGIND)
		guard_log(LOG_LEVEL_WARNING, "no reboot yet; next way: %s",
			  rung_name(action->rung));
}

/* ---- phases ------------------------------------------------------------------------------- */

static const char *role_text(enum role role)
{
	static const char *const texts[] = { [ROLE_UNKNOWN] = "unknown",
					     [ROLE_TRIAL] = "trial",
					     [ROLE_COMMITTED] = "committed",
					     [ROLE_LIMBO] = "limbo" };

	return texts[role];
}

/* POLICY_NEVER and what is past: "". */
static const char *time_left(const struct report_view *v, char buf[static 48])
{
	uint64_t due = policy_due(v->policy);
	char span[32];

	*buf = '\0';
	if (due == POLICY_NEVER || due <= v->now)
		return buf;
	span_format(due - v->now, span);
	(void)snprintf(buf, 48, ", at most %s", span);
	return buf;
}

void report_phase(const struct report_view *v)
{
	enum phase phase = v->policy->phase;
	char left[48];

	(void)time_left(v, left);
	guard_log(LOG_LEVEL_INFO, "%s: waits for %s%s", policy_phase_name(phase),
		  policy_phase_waits(phase), left);
	/* This waits for systemd where its queue is full. With PID 1 dead nothing is lost by that:
	 * nobody feeds the hardware watchdog any more, which ends it all. */
	(void)sd_notifyf(false, "STATUS=%s (%s): waits for %s%s", policy_phase_name(phase),
			 role_text(v->policy->facts.role), policy_phase_waits(phase), left);
}

/* The committed slot, found healthy in this boot: what boot-complete.target means. */
static bool is_committed(const struct policy *p)
{
	return p->facts.role == ROLE_COMMITTED && p->confirmed;
}

/* ---- status ---------------------------------------------------------------------------------- */

static bool in_commit(enum phase phase)
{
	return phase == GUARD_COMMITTING || phase == GUARD_READING_BACK;
}

static void text_scripts(const struct script_list *l, FILE *out)
{
	char says[SCRIPT_SAYS_MAX];

	for (size_t i = 0; i < l->count; i++) {
		const struct script *s = &l->list[i];

		script_says(s, says);
		(void)fprintf(out, "           %s %s: %s\n", s->required ? "required" : "wanted",
			      s->path, says);
	}
}

static void text_reason(const struct report_view *v, FILE *out)
{
	const struct reason_text *t = reason_text(v->policy->reason);
	const struct report_blame *b = blame_of(v, v->policy->reason);

	if (v->policy->reason == REASON_NONE)
		return;
	(void)fprintf(out, "reason     %s: %s\n           %s\n", t->code, t->what, t->todo);
	if (b)
		(void)fprintf(out, "blamed     %s for @%llu: %s\n", b->who,
			      (unsigned long long)b->since, b->answer);
}

/* Times are "@" and a CLOCK_BOOTTIME, for report_print(). */
static void text_status(const struct report_view *v, FILE *out)
{
	const struct policy *p = v->policy;
	uint64_t due = policy_due(p);

	(void)fprintf(out, "slot       %s (%s)\n", slot_name(v->device->running),
		      role_text(p->facts.role));
	(void)fprintf(out, "phase      %s for @%llu\n", policy_phase_name(p->phase),
		      (unsigned long long)p->since);
	(void)fprintf(out, "waits for  %s", policy_phase_waits(p->phase));
	if (due != POLICY_NEVER && due > v->now)
		(void)fprintf(out, ", at most @%llu", (unsigned long long)due);
	(void)fputc('\n', out);
	for (enum check c = 0; c < CHECK_COUNT; c++)
		(void)fprintf(out, "%-10s %s: %s\n", check_name(c),
			      verdict_name(v->senses->last[c].verdict), v->senses->last[c].why);
	text_scripts(&v->senses->checks.scripts, out);
	text_reason(v, out);
	if (p->facts.staged)
		(void)fprintf(out, "staged     %s%s\n", slot_name(v->device->staged),
			      p->try_asked ? ", its trial was asked for" : "");
	if (*v->rauc_said && in_commit(p->phase))
		(void)fprintf(out, "rauc       %s\n", v->rauc_said);
	if (*v->device->why)
		(void)fprintf(out, "device     %s\n", v->device->why);
	if (*v->kiosk_status)
		(void)fprintf(out, "kiosk says %s\n", v->kiosk_status);
	if (v->warnings)
		(void)fprintf(out, "config     %u warnings: see the journal\n", v->warnings);
}

/* "never" is null. */
static void json_time(struct json *j, const char *key, uint64_t usec)
{
	if (usec == POLICY_NEVER)
		json_text(j, key, NULL);
	else
		json_number(j, key, usec);
}

static void json_checks(const struct report_view *v, struct json *j)
{
	const struct script_list *l = &v->senses->checks.scripts;

	json_open(j, "checks", '{');
	for (enum check c = 0; c < CHECK_COUNT; c++) {
		json_open(j, check_name(c), '{');
		json_text(j, "verdict", verdict_name(v->senses->last[c].verdict));
		json_text(j, "why", v->senses->last[c].why);
		json_number(j, "since-usec", v->policy->checks[c].since);
		json_close(j, '}');
	}
	json_close(j, '}');
	json_open(j, "scripts", '[');
	for (size_t i = 0; i < l->count; i++) {
		const struct script *s = &l->list[i];
		char says[SCRIPT_SAYS_MAX];

		script_says(s, says);
		json_open(j, NULL, '{');
		json_text(j, "name", s->name);
		json_text(j, "path", s->path);
		json_flag(j, "required", s->required);
		json_text(j, "verdict", verdict_name(check_verdict(&s->answer)));
		json_text(j, "answer", says);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void json_blamed(const struct report_view *v, struct json *j)
{
	const struct report_blame *b = blame_of(v, v->policy->reason);

	if (!b) {
		json_text(j, "blamed", NULL);
		return;
	}
	json_open(j, "blamed", '{');
	json_text(j, "check", b->who);
	json_text(j, "answer", b->answer);
	json_number(j, "since-usec", b->since);
	json_close(j, '}');
}

static void json_status(const struct report_view *v, FILE *out)
{
	const struct policy *p = v->policy;
	struct json j = { .out = out };

	json_open(&j, NULL, '{');
	json_text(&j, "slot", slot_name(v->device->running));
	json_text(&j, "committed", slot_name(v->device->committed));
	json_text(&j, "staged", slot_name(v->device->staged));
	json_text(&j, "role", role_text(p->facts.role));
	json_text(&j, "phase", policy_phase_name(p->phase));
	json_text(&j, "waits-for", policy_phase_waits(p->phase));
	json_time(&j, "since-usec", p->since);
	json_time(&j, "due-usec", policy_due(p));
	json_flag(&j, "confirmed", is_committed(p));
	json_flag(&j, "probation", p->facts.probation);
	json_text(&j, "reason", p->reason == REASON_NONE ? NULL : reason_text(p->reason)->code);
	json_blamed(v, &j);
	json_checks(v, &j);
	json_flag(&j, "server-expected", v->server_expected);
	json_flag(&j, "try-asked", p->try_asked);
	json_number(&j, "unit-restarts", kiosk_restarts(&v->senses->kiosk, v->config, v->now));
	json_number(&j, "heartbeats", v->beats);
	json_number(&j, "heartbeats-refused", v->refused);
	json_text(&j, "kiosk-status", *v->kiosk_status ? v->kiosk_status : NULL);
	json_text(&j, "rauc", *v->rauc_said ? v->rauc_said : NULL);
	json_text(&j, "device", *v->device->why ? v->device->why : NULL);
	json_number(&j, "config-warnings", v->warnings);
	json_close(&j, '}');
	(void)fputc('\n', out);
}

char *report_status(const struct report_view *v, bool json)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	if (json)
		json_status(v, out);
	else
		text_status(v, out);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

/* The first "@" of such a line is ours; text from outside is in others, or comes after it. */
static bool is_timed(const char *line)
{
	return startswith(line, "phase ") || startswith(line, "waits for ") ||
	       startswith(line, "blamed ");
}

void report_print(FILE *out, const char *text, uint64_t now)
{
	bool timed = is_timed(text);
	char span[32];

	while (*text) {
		size_t digits = timed && *text == '@' ? strspn(text + 1, DIGITS) : 0;
		uint64_t at = digits ? strtoull(text + 1, NULL, 10) : 0;

		if (digits) {
			span_format(at > now ? at - now : now - at, span);
			(void)fputs(span, out);
		} else {
			(void)fputc(*text, out);
		}
		text += 1 + digits;
		timed = text[-1] == '\n' ? is_timed(text) : timed && !digits;
	}
}

void report_diagnostics(const struct report_view *v, char *buf, size_t size)
{
	_cleanup_free_ char *status = report_status(v, false);
	_cleanup_file_ FILE *out = NULL;

	/* Cut short rather than left out. */
	memset(buf, 0, size);
	out = fmemopen(buf, size - 1, "w");
	if (!out)
		return;
	report_print(out, status ? status : "", v->now);
	(void)fputc('\n', out);
	for (size_t i = 0; i < v->senses->checks.scripts.count; i++) {
		const struct script *s = &v->senses->checks.scripts.list[i];

		(void)fprintf(out, "check %s (%s): %s\n%s\n", s->name,
			      s->required ? "required" : "wanted",
			      verdict_name(check_verdict(&s->answer)), s->output ? s->output : "");
	}
}
