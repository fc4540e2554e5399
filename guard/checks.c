// SPDX-License-Identifier: MIT
#include "guard/checks.h"

#include "guard/device.h"
#include "guard/greenboot.h"
#include "guard/log.h"

#include <sysexits.h>

enum verdict check_verdict(const struct script_answer *answer)
{
	switch (answer->end) {
	case SCRIPT_NOT_RUN:
	case SCRIPT_LOST: /* not the update's fault */
		return VERDICT_INCONCLUSIVE;
	case SCRIPT_DISABLED:
		return VERDICT_PASS;
	case SCRIPT_EXITED:
		if (answer->status == 0 || answer->status == SCRIPT_SKIPPED)
			return VERDICT_PASS;
		return answer->status == EX_TEMPFAIL ? VERDICT_INCONCLUSIVE : VERDICT_FAIL;
	case SCRIPT_KILLED:
	case SCRIPT_TIMED_OUT:
	case SCRIPT_UNUSABLE:
		break;
	}
	return VERDICT_FAIL;
}

/* ---- judging ---------------------------------------------------------------------------- */

static const struct script *worst_of(const struct checks *c, enum verdict *ret)
{
	const struct script *worst = NULL;

	*ret = VERDICT_PASS;
	for (size_t i = 0; i < c->scripts.count; i++) {
		const struct script *s = &c->scripts.list[i];
		enum verdict verdict = check_verdict(&s->answer);

		if (!s->required || verdict == VERDICT_PASS)
			continue;
		/* A failure outweighs what is not known yet. */
		if (!worst || (*ret != VERDICT_FAIL && verdict == VERDICT_FAIL)) {
			worst = s;
			*ret = verdict;
		}
	}
	return worst;
}

static void judge_list(const struct checks *c, struct judgement *ret)
{
	const char *folder = c->list_folder ? c->list_folder : "a folder";

	if (c->list_error == -E2BIG)
		judge(ret, VERDICT_FAIL, REASON_CHECK_FAILED, "%.*s: more than %d scripts in all",
		      CONFIG_NAME_MAX, folder, SCRIPTS_MAX);
	else
		judge(ret, VERDICT_FAIL, REASON_CHECK_FAILED, "%.*s cannot be read: %s",
		      CONFIG_NAME_MAX, folder, strerror(-c->list_error));
}

void checks_judge(const struct checks *c, struct judgement *ret)
{
	enum verdict verdict;
	const struct script *s = worst_of(c, &verdict);
	char says[SCRIPT_SAYS_MAX], since[32];

	*ret = (struct judgement) { .again = POLICY_NEVER };
	if (c->list_error) {
		judge_list(c, ret);
	} else if (c->unlisted) {
		judge(ret, VERDICT_INCONCLUSIVE, REASON_NONE, "not looked for yet");
	} else if (!s) {
		judge(ret, VERDICT_PASS, REASON_NONE, "%s",
		      c->scripts.count ? "all required ones pass" : "there are none");
	} else {
		script_says(s, says);
		span_format(c->of[s - c->scripts.list].since, since);
		judge(ret, verdict, verdict == VERDICT_FAIL ? REASON_CHECK_FAILED : REASON_NONE,
		      "%.*s: %s; since %s after the start", SCRIPT_NAME_SHOWN, s->name, says,
		      since);
	}
}

/* ---- running ---------------------------------------------------------------------------- */

static void run_again_later(struct checks *c)
{
	uint64_t again = device_now() + c->config->check_interval;

	if (again < c->again)
		c->again = again;
}

/* Takes note of an answer. One line for each change, not for each run. */
static void note(struct checks *c, const struct script *s)
{
	struct check_script *of = &c->of[s - c->scripts.list];
	enum verdict verdict = check_verdict(&s->answer);
	char says[SCRIPT_SAYS_MAX];

	if (verdict != VERDICT_PASS || c->repeat)
		run_again_later(c);
	if (of->end == s->answer.end && of->status == s->answer.status)
		return;
	if (verdict != of->verdict)
		of->since = device_now();
	of->verdict = verdict;
	of->end = s->answer.end;
	of->status = s->answer.status;
	script_says(s, says);
	guard_log(verdict == VERDICT_FAIL ? LOG_LEVEL_NOTICE : LOG_LEVEL_INFO, "%s check %s: %s",
		  s->required ? "required" : "wanted", s->path, says);
}

/* True when it goes on until on_done(). */
static bool run(struct checks *c, struct script *s)
{
	if (c->runner.in_units && !c->bus_up)
		return false;
	script_start(s, &c->runner);
	if (!s->job)
		note(c, s);
	return s->job;
}

/* Outside of a trial a check that has passed has passed. */
static bool is_due(const struct checks *c, const struct script *s)
{
	return c->repeat || check_verdict(&s->answer) != VERDICT_PASS;
}

/* Those of one kind that run in turn, from @from on, until one of them runs. */
static void run_in_turn(struct checks *c, bool required, size_t from)
{
	for (size_t i = from; i < c->scripts.count; i++) {
		struct script *s = &c->scripts.list[i];

		if (!s->in_turn || s->required != required)
			continue;
		if (is_due(c, s) && run(c, s))
			return;
		if (required && check_verdict(&s->answer) != VERDICT_PASS)
			return; /* the next ones may rely on it */
	}
}

static bool turn_is_on(const struct checks *c, bool required)
{
	for (size_t i = 0; i < c->scripts.count; i++) {
		const struct script *s = &c->scripts.list[i];

		if (s->job && s->in_turn && s->required == required)
			return true;
	}
	return false;
}

static void run_all(struct checks *c)
{
	for (size_t i = 0; i < c->scripts.count; i++) {
		struct script *s = &c->scripts.list[i];

		if (!s->in_turn && is_due(c, s))
			(void)run(c, s);
	}
	for (unsigned required = 0; required < 2; required++)
		if (!turn_is_on(c, required))
			run_in_turn(c, required, 0);
}

static void on_done(void *userdata, struct script *s)
{
	struct checks *c = userdata;
	struct check_script *of = &c->of[s - c->scripts.list];

	if (of->outdated && check_verdict(&s->answer) == VERDICT_PASS) {
		of->outdated = false;
		s->answer = (struct script_answer) { .end = SCRIPT_NOT_RUN };
		if (!run(c, s))
			run_again_later(c);
		return;
	}
	of->outdated = false;
	note(c, s);
	if (s->in_turn && (!s->required || check_verdict(&s->answer) == VERDICT_PASS))
		run_in_turn(c, s->required, (size_t)(s - c->scripts.list) + 1);
	c->changed(c->userdata);
}

void checks_forget(struct checks *c)
{
	for (size_t i = 0; i < c->scripts.count; i++) {
		struct script *s = &c->scripts.list[i];
		struct check_script *of = &c->of[i];

		of->outdated = s->job != NULL;
		if (of->verdict != VERDICT_PASS || of->end == SCRIPT_DISABLED)
			continue;
		s->answer = (struct script_answer) { .end = SCRIPT_NOT_RUN };
		*of = (struct check_script) { .since = device_now(), .outdated = of->outdated };
	}
	run_all(c);
}

/* ---- listing ---------------------------------------------------------------------------- */

static bool is_for_now(int error)
{
	return error == -ENOMEM || error == -EMFILE || error == -ENFILE || error == -EIO;
}

static void forget(struct checks *c)
{
	script_list_clear(&c->scripts);
	memset(c->of, 0, sizeof(c->of));
	free(c->list_folder);
	c->list_folder = NULL;
	c->list_error = 0;
	c->unlisted = false;
}

/* All that can be listed; the first error of a required one. What is wrong with wanted ones decides
 * as little as they do. */
static void list_folder(struct checks *c, char *folder, bool required, const char *config)
{
	int r = folder ? script_list_add(&c->scripts, folder, required, config) : -ENOMEM;

	if (r < 0)
		guard_log(LOG_LEVEL_WARNING, "%s: %s", folder ? folder : "checks",
			  r == -E2BIG ? "too many scripts" : strerror(-r));
	if (r < 0 && required && !c->list_error) {
		c->list_error = r;
		c->list_folder = folder;
	} else {
		free(folder);
	}
}

static void list(struct checks *c, bool required)
{
	_cleanup_free_ char *config = greenboot_read_config(c->root);
	const char *kind = required ? "required" : "wanted";

	for (size_t i = 0; i < ARRAY_SIZE(greenboot_places); i++)
		list_folder(c, strf("%s/%s/check/%s.d", c->root, greenboot_places[i], kind),
			    required, config);
	list_folder(c, strf("%s/%s.d", c->config->check_dir, kind), required, NULL);
	list_folder(c, strf("%s/%s", c->config->check_dir, kind), required, NULL);
}

static void list_and_run(struct checks *c)
{
	forget(c);
	list(c, true);
	list(c, false);
	if (is_for_now(c->list_error)) {
		forget(c);
		c->unlisted = true;
		run_again_later(c);
		return;
	}
	for (size_t i = 0; i < c->scripts.count; i++)
		if (c->scripts.list[i].answer.end != SCRIPT_NOT_RUN)
			note(c, &c->scripts.list[i]); /* disabled */
	run_all(c);
}

void checks_start(struct checks *c, sd_event *event, const struct config *config, const char *root,
		  void (*changed)(void *userdata), void *userdata)
{
	*c = (struct checks) { .config = config,
			       .root = root,
			       .changed = changed,
			       .userdata = userdata,
			       .again = POLICY_NEVER };
	c->runner = (struct script_runner) { .event = event,
					     .in_units = script_in_units(),
					     .timeout_usec = config->check_timeout,
					     .done = on_done,
					     .userdata = c };
	if (!*config->check_dir)
		return;
	c->unlisted = c->runner.in_units;
	if (!c->unlisted)
		list_and_run(c);
}

static void run_again(struct checks *c)
{
	c->again = POLICY_NEVER;
	if (!c->unlisted)
		run_all(c);
	else if (c->bus_up || !c->runner.in_units)
		list_and_run(c);
}

void checks_bus(struct checks *c, bool up)
{
	if (c->bus_up == up)
		return;
	c->bus_up = up;
	if (up)
		run_again(c);
}

void checks_tick(struct checks *c, uint64_t now, bool repeat)
{
	if (repeat && !c->repeat)
		run_again_later(c);
	c->repeat = repeat;
	if (now >= c->again)
		run_again(c);
}

void checks_stop(struct checks *c)
{
	forget(c);
}
