// SPDX-License-Identifier: MIT
#include "guard/guard.h"

#include "boot/io.h"
#include "boot/sys.h"

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define SEC		 UINT64_C(1000000)
#define TICK		 (10 * SEC)
#define STARVED_FILE	 "starved"
#define SERVER_RECENT	 (3600 * SEC) /* the hour before the update */
#define FACTS_TIMEOUT	 (50 * SEC)   /* less than the reducer waits */
#define FACTS_PAUSE	 (1 * SEC)    /* between two reads that nobody waits for */
#define FAILED_PAUSE	 (60 * SEC)   /* after a read that failed */
#define BASELINE_PAUSE	 (3600 * SEC) /* after a write that failed */
#define STAGED_PAUSE	 (3600 * SEC) /* between two looks at how long an update has waited */
#define SYNC_TIMEOUT	 (10 * SEC)
#define RUNG_RETRY	 (3 * SEC)
#define READ_ROOT_MARGIN (5 * SEC)

static bool is_at_rest(const struct guard *g)
{
	switch (g->policy.phase) {
	case GUARD_PROBATION:
	case GUARD_COMMITTED:
	case GUARD_STAYING:
	case GUARD_LIMBO:
		return true;
	default:
		return false;
	}
}

/* ---- questions to the device, each in a child --------------------------------- */

struct errand {
	struct guard *guard;
	struct device_question question;
	uint32_t id;
	enum policy_action_type action;
	bool trial; /* of ACTION_REBOOT */
	bool paced; /* DEVICE_FACTS for a signal: the next such read waits for it */
};

static int ask_device(void *argument, int fd)
{
	const struct errand *e = argument;
	struct device_answer answer;

	device_ask(&e->question, &answer);
	return io_write(fd, &answer, sizeof(answer)) < 0 ? 1 : 0;
}

static void answer_of(const struct job_result *result, struct device_answer *ret)
{
	*ret = (struct device_answer) { .error = -ETIMEDOUT,
					.running = SLOT_NONE,
					.committed = SLOT_NONE,
					.staged = SLOT_NONE };
	if (result->end == JOB_EXITED && result->output_len == sizeof(*ret))
		memcpy(ret, result->output, sizeof(*ret));
	else if (result->end == JOB_LOST)
		ret->error = -result->status;
	ret->why[sizeof(ret->why) - 1] = '\0';
}

static void take_facts(struct guard *g, const struct device_answer *a)
{
	enum device_baseline baseline = g->device.baseline; /* UNKNOWN at first */
	bool reached = g->device.facts.reached_before;

	g->device = *a;
	g->device_known = true;
	if (g->baseline_written == BASELINE_UNKNOWN)
		g->baseline_written = a->baseline;
	/* One bad moment of a disk is no news. */
	if (a->baseline == BASELINE_UNKNOWN)
		g->device.baseline = baseline;
	/* Of which kind the trial is stands in the record. */
	if (a->committed != SLOT_NONE)
		reached = g->device.baseline == BASELINE_REACHED && !a->fallback;
	g->device.facts.reached_before = reached;
	g->device.facts.installing = g->installing;
	g->device.facts.starved = g->starving;
}

static void pace_facts(struct guard *g);

static void paced_facts_came(struct guard *g, bool good)
{
	g->reading_facts = false;
	if (!good) {
		g->facts_again = true;
		g->facts_due = device_now() + FAILED_PAUSE;
	}
	pace_facts(g);
}

/* A kiosk that goes on to reach its server does not write it again by itself. */
static void baseline_not_written(struct guard *g, const struct device_answer *a)
{
	guard_log(LOG_LEVEL_WARNING, "whether the server answers cannot be remembered: %s",
		  strerror(-a->error));
	g->baseline_written = BASELINE_UNKNOWN;
	g->baseline_due = device_now() + BASELINE_PAUSE;
}

static void came_back(void *userdata, const struct job_result *result)
{
	_cleanup_free_ struct errand *e = userdata;
	struct guard *g = e->guard;
	struct policy_event event = { .type = EVENT_DONE, .id = e->id };
	bool began = g->policy.phase == GUARD_STARTING;
	struct device_answer a;

	answer_of(result, &a);
	if (e->paced)
		paced_facts_came(g, a.error >= 0 && a.facts.role != ROLE_UNKNOWN);
	switch (e->question.type) {
	case DEVICE_FACTS:
		if (a.error < 0) {
			guard_log(LOG_LEVEL_WARNING, "the facts of this boot: %s%s%s",
				  strerror(-a.error), *a.why ? ": " : "", a.why);
			return; /* asked again: by the reducer, or see paced_facts_came() */
		}
		take_facts(g, &a);
		/* No answer either, and the same may be said of it. */
		if (e->action == ACTION_READ_BACK && a.facts.role == ROLE_UNKNOWN)
			return;
		event.type = e->action == ACTION_READ_BACK ? EVENT_READ_BACK : EVENT_FACTS;
		event.yes = a.facts.role == ROLE_COMMITTED;
		event.facts = g->device.facts;
		break;
	case DEVICE_REQUEST:
		event.yes = a.error == 0 && a.refusal == REFUSAL_NONE;
		event.next = a.next == NEXT_REBOOT	   ? POLICY_REBOOT
			     : a.next == NEXT_REBOOT_TRIAL ? POLICY_REBOOT_TRIAL
							   : POLICY_GO_ON;
		if (!event.yes)
			guard_log(LOG_LEVEL_WARNING, "not written: %s",
				  *a.why ? a.why : strerror(-a.error));
		break;
	case DEVICE_SAVE:
		event.type = EVENT_SAVED;
		break;
	case DEVICE_READ_ROOT:
		event.type = EVENT_ROOT;
		event.verdict = a.error == 0 ? VERDICT_PASS
				: a.corrupt  ? VERDICT_FAIL
					     : VERDICT_INCONCLUSIVE;
		if (a.error < 0)
			guard_log(LOG_LEVEL_WARNING, "%s", *a.why ? a.why : strerror(-a.error));
		break;
	case DEVICE_REBOOT:
		event.type = EVENT_RUNG_FAILED;
		break;
	case DEVICE_BASELINE:
		if (a.error < 0)
			baseline_not_written(g, &a);
		return;
	default:
		if (a.error < 0)
			guard_log(LOG_LEVEL_WARNING, "errand %d: %s", e->question.type,
				  strerror(-a.error));
		return;
	}
	guard_event(g, &event);
	/* Until here it had nothing to lose to a shutdown, and did not listen. */
	if (began && g->going_down)
		guard_event(g, &(struct policy_event) { .type = EVENT_GOING_DOWN, .yes = true });
	guard_evaluate(g);
}

static bool run_errand(struct guard *g, const struct errand *what, uint64_t timeout_usec, bool idle)
{
	struct errand *e = malloc(sizeof(*e));
	struct job_spec spec = {
		.run = ask_device,
		.argument = e,
		.timeout_usec = timeout_usec,
		.keep = sizeof(struct device_answer),
		.idle = idle,
	};

	if (!e)
		return false;
	*e = *what;
	e->guard = g;
	if (job_start(g->event, &spec, came_back, e, NULL) >= 0)
		return true;
	free(e); /* no answer: the reducer's deadline takes care */
	return false;
}

static void send_type(struct guard *g, enum device_question_type type, bool flag)
{
	run_errand(g, &(struct errand) { .question = { .type = type, .flag = flag } },
		   FACTS_TIMEOUT, false);
}

static bool read_facts(struct guard *g, uint32_t id)
{
	struct errand e = { .question = { .type = DEVICE_FACTS },
			    .id = id,
			    .action = ACTION_READ_FACTS,
			    .paced = id == 0 };

	return run_errand(g, &e, FACTS_TIMEOUT, false);
}

static int on_facts_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct guard *g = userdata;

	(void)s, (void)usec;
	g->facts_timer = sd_event_source_disable_unref(g->facts_timer);
	pace_facts(g);
	return 0;
}

/*
 * Any account can send the signals that ask for this, as many as it likes, and
 * each read is a process of root's that takes the record's lock: one at a time,
 * and one a second. The last one begins after the last signal.
 */
static void pace_facts(struct guard *g)
{
	uint64_t now = device_now();

	if (!g->facts_again || g->reading_facts || g->facts_timer)
		return;
	if (now >= g->facts_due) {
		g->facts_due = now + FACTS_PAUSE;
		g->facts_again = false;
		g->reading_facts = read_facts(g, 0);
		if (g->reading_facts)
			return;
		g->facts_again = true; /* no memory now; again later */
	}
	(void)sd_event_add_time_relative(g->event, &g->facts_timer, CLOCK_BOOTTIME,
					 g->facts_due - now, 0, on_facts_timer, g);
}

void guard_read_facts(struct guard *g, uint32_t id)
{
	if (id) {
		(void)read_facts(g, id);
		return;
	}
	g->facts_again = true;
	pace_facts(g);
}

/* ---- reboot ----------------------------------------------------------------------- */

/* For a guard that is started after this one. */
static void mark_starved(struct guard *g)
{
	_cleanup_free_ char *path = strf("%s/" STARVED_FILE, g->dir);
	int fd = path ? sys_open(path, O_WRONLY | O_CREAT, 0600) : -1;

	if (fd >= 0)
		(void)sys_close(fd);
	g->starving = true;
	(void)sd_notify(false, "WATCHDOG=trigger");
}

static void kernel_reboot(void *userdata, const struct job_result *result)
{
	_cleanup_free_ struct errand *e = userdata;

	(void)result; /* synced or not: that was its chance */
	run_errand(e->guard,
		   &(struct errand) { .question = { .type = DEVICE_REBOOT, .flag = e->trial },
				      .id = e->id },
		   FACTS_TIMEOUT, false);
}

static void sync_and_reboot(struct guard *g, const struct policy_action *a)
{
	struct errand *e = calloc(1, sizeof(*e));
	struct job_spec spec = { .run = ask_device, .argument = e, .timeout_usec = SYNC_TIMEOUT };

	if (!e)
		return;
	*e = (struct errand) {
		.guard = g, .question = { .type = DEVICE_SYNC }, .id = a->id, .trial = a->trial
	};
	if (job_start(g->event, &spec, kernel_reboot, e, NULL) < 0)
		free(e);
}

static int on_rung_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct guard *g = userdata;
	struct policy_event failed = { .type = EVENT_RUNG_FAILED, .id = g->rung.id };

	(void)s, (void)usec;
	g->rung_source = sd_event_source_disable_unref(g->rung_source);
	if (link_reboot(g, g->rung.rung, g->rung.id) < 0)
		guard_event(g, &failed);
	return 0;
}

/* A bus that is not there may be on its way: one more chance before the next rung. */
static void reboot_by_bus(struct guard *g, const struct policy_action *a)
{
	if (link_reboot(g, a->rung, a->id) >= 0)
		return;
	g->rung = *a;
	g->rung_source = sd_event_source_disable_unref(g->rung_source);
	if (sd_event_add_time_relative(g->event, &g->rung_source, CLOCK_BOOTTIME, RUNG_RETRY, 0,
				       on_rung_retry, g) < 0)
		guard_event(g, &(struct policy_event) { .type = EVENT_RUNG_FAILED, .id = a->id });
}

static void reboot_by(struct guard *g, const struct policy_action *a)
{
	if (a->rung == RUNG_LOGIND)
		send_type(g, DEVICE_PREPARE, a->trial);
	if (a->rung == RUNG_STARVE)
		mark_starved(g);
	else if (a->rung == RUNG_KERNEL)
		sync_and_reboot(g, a);
	else
		reboot_by_bus(g, a);
}

/* ---- actions -------------------------------------------------------------------------- */

/* A unit without RuntimeDirectoryPreserve= has lost the marker with its last invocation. */
void guard_tell_kiosk(struct guard *g)
{
	if (g->policy.confirmed)
		send_type(g, DEVICE_CONFIRMED, false);
}

static void request(struct guard *g, const struct policy_action *a, enum request what)
{
	struct errand e = {
		.question = { .type = DEVICE_REQUEST, .request = what, .reason = a->reason },
		.id = a->id
	};

	run_errand(g, &e, FACTS_TIMEOUT, false);
}

/* What the old kiosk said, and what was told of it, does not count for the new one. */
static void restart_kiosk(struct guard *g)
{
	kiosk_forget(&g->kiosk, device_now());
	heartbeat_forget(&g->heart);
	g->told[CHECK_UNIT] = g->told[CHECK_HEARTBEAT] = VERDICT_INCONCLUSIVE;
	link_restart_unit(g);
}

static void save_diagnostics(struct guard *g, const struct policy_action *a)
{
	struct errand e = { .question = { .type = DEVICE_SAVE }, .id = a->id };

	report_diagnostics(g, e.question.text, sizeof(e.question.text));
	run_errand(g, &e, 40 * SEC, false);
}

static void act(struct guard *g, const struct policy_action *a)
{
	report_action(g, a);
	switch (a->type) {
	case ACTION_READ_FACTS:
		guard_read_facts(g, a->id);
		break;
	case ACTION_READ_BACK:
		run_errand(g,
			   &(struct errand) { .question = { .type = DEVICE_FACTS },
					      .id = a->id,
					      .action = ACTION_READ_BACK },
			   FACTS_TIMEOUT, false);
		break;
	case ACTION_READ_ROOT:
		run_errand(
			g,
			&(struct errand) { .question = { .type = DEVICE_READ_ROOT }, .id = a->id },
			g->config.policy.read_root_timeout - READ_ROOT_MARGIN, true);
		break;
	case ACTION_MARK_GOOD:
		link_mark_good(g, a->id);
		break;
	case ACTION_COMMITTED:
		guard_read_facts(g, 0);
		break;
	case ACTION_CONFIRM:
		/* Also by a guard that was started after the commit: the kiosk waits for it. */
		if (!g->policy.confirmed)
			send_type(g, DEVICE_CONFIRMED, false);
		request(g, a, REQUEST_SET_GOOD);
		break;
	case ACTION_SETTLE:
		request(g, a, REQUEST_SETTLE);
		break;
	case ACTION_SAVE:
		save_diagnostics(g, a);
		break;
	case ACTION_REJECT:
		request(g, a, REQUEST_REJECT);
		break;
	case ACTION_ABORT:
		request(g, a, REQUEST_SHUTDOWN_REBOOT);
		break;
	case ACTION_KIOSK_FAILS:
		request(g, a, REQUEST_KIOSK_FAILS);
		break;
	case ACTION_RETRY_OTHER:
		request(g, a, REQUEST_RETRY_OTHER);
		break;
	case ACTION_TRY:
		request(g, a, REQUEST_TRY);
		break;
	case ACTION_STAY:
		send_type(g, DEVICE_STAY, false);
		break;
	case ACTION_RESTART_UNIT:
		restart_kiosk(g);
		break;
	case ACTION_REBOOT:
		reboot_by(g, a);
		break;
	case ACTION_NONE:
	case ACTION_COUNT:
		break;
	}
}

static void arm(sd_event_source *timer, uint64_t at)
{
	uint64_t now = device_now();

	if (at == POLICY_NEVER ||
	    sd_event_source_set_time_relative(timer, at > now ? at - now : 0) < 0)
		(void)sd_event_source_set_enabled(timer, SD_EVENT_OFF);
	else
		(void)sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

static void step(struct guard *g, const struct policy_event *event)
{
	struct policy_actions actions;

	policy_step(&g->policy, event, device_now(), &actions);
	g->steps++;
	for (size_t i = 0; i < actions.count; i++)
		act(g, &actions.list[i]);
	arm(g->due_timer, policy_due(&g->policy));
	report_phase(g);
}

void guard_event(struct guard *g, const struct policy_event *event)
{
	/* Only what the actions of a step answer at once waits here, a few events each; one that
	 * did not fit would be lost for good, as tell() tells a verdict once. */
	if (g->queued < GUARD_QUEUE_MAX)
		g->queue[g->queued++] = *event;
	if (g->stepping)
		return;
	g->stepping = true;
	for (size_t i = 0; i < g->queued; i++)
		step(g, &g->queue[i]);
	g->queued = 0;
	g->stepping = false;
}

/* ---- weighing --------------------------------------------------------------------------- */

static void tell(struct guard *g, enum check check, enum verdict verdict, enum reason reason,
		 const char *why)
{
	struct policy_event event = {
		.type = EVENT_CHECK, .check = check, .verdict = verdict, .reason = reason
	};

	(void)snprintf(g->why[check], sizeof(g->why[check]), "%s", why);
	if (g->told[check] == verdict && g->told_reason[check] == reason)
		return;
	g->changes++;
	if (g->told[check] != verdict)
		guard_log(verdict_failed(verdict) ? LOG_LEVEL_NOTICE : LOG_LEVEL_INFO,
			  "check %s: %s: %s", check_name(check), verdict_name(verdict), why);
	g->told[check] = verdict;
	g->told_reason[check] = reason;
	guard_event(g, &event);
}

static void tell_flag(struct guard *g, enum policy_event_type type, bool *was, bool is)
{
	if (*was == is)
		return;
	*was = is;
	guard_event(g, &(struct policy_event) { .type = type, .yes = is });
}

/* Its silence is the update's fault only where it answered before, and there is a network now. A
 * fallback brings nothing new: the server may be just what the other slot's kiosk missed. */
static void weigh_server(struct guard *g)
{
	struct judgement j;
	bool expected;

	server_judge(&g->heart, &g->config, &j);
	tell(g, CHECK_SERVER, j.verdict, j.reason, j.why);
	expected = g->device_known && g->device.facts.reached_before && g->link_up &&
		   g->heart.server != SERVER_CLOCK;
	tell_flag(g, EVENT_SERVER, &g->expected, expected);
}

/* What the trial after this boot will compare with. Written when it changes, not more. */
static void keep_baseline(struct guard *g, uint64_t now)
{
	bool recent = g->told[CHECK_SERVER] == VERDICT_PASS &&
		      (g->heart.server_last == 0 || now - g->heart.server_last < SERVER_RECENT);
	enum device_baseline is = recent ? BASELINE_REACHED : BASELINE_SILENT;

	if (g->policy.facts.role != ROLE_COMMITTED || !g->config.server_required ||
	    now < g->baseline_due)
		return;
	/* Silence has to last before it is one. */
	if (is == g->baseline_written || (is == BASELINE_SILENT && now < SERVER_RECENT))
		return;
	g->baseline_written = is;
	send_type(g, DEVICE_BASELINE, recent);
}

static void weigh_hours(struct guard *g)
{
	time_t now = time(NULL);
	struct tm tm;

	if (g->config.policy.try_when == TRY_IN_WINDOW && localtime_r(&now, &tm))
		tell_flag(g, EVENT_TRY_WINDOW, &g->in_hours,
			  config_in_hours(&g->config,
					  (uint32_t)tm.tm_hour * 60 + (uint32_t)tm.tm_min));
}

static void weigh_unit(struct guard *g, uint64_t now, uint64_t *again)
{
	struct judgement j;

	kiosk_judge(&g->kiosk, &g->config, now, &j);
	/* Another kiosk than before, even if it is alive again already. */
	if (g->kiosk.broke && j.verdict == VERDICT_PASS)
		tell(g, CHECK_UNIT, VERDICT_FAIL, REASON_KIOSK_NOT_ALIVE, "it was restarted");
	g->kiosk.broke = false;
	tell(g, CHECK_UNIT, j.verdict, j.reason, j.why);
	if (j.again < *again)
		*again = j.again;
}

static void weigh_scripts(struct guard *g)
{
	struct judgement j;

	checks_judge(&g->checks, &j);
	tell(g, CHECK_SCRIPTS, j.verdict, j.reason, j.why);
}

void guard_evaluate(struct guard *g)
{
	uint64_t now = device_now(), again = POLICY_NEVER;
	struct judgement local;

	g->heart.unit_watchdog = g->kiosk.now.watchdog_usec > 0;
	if (kiosk_beats(&g->kiosk))
		g->heart.unit_beats = true;
	weigh_unit(g, now, &again);
	heartbeat_judge(&g->heart, &g->config, now, &local);
	/* Before the pass that it qualifies. */
	tell_flag(g, EVENT_UNHEARD, &g->unheard, heartbeat_through_server(&g->heart, &g->config));
	tell(g, CHECK_HEARTBEAT, local.verdict, local.reason, local.why);
	if (local.again < again)
		again = local.again;
	weigh_scripts(g);
	weigh_server(g);
	weigh_hours(g);
	keep_baseline(g, now);
	arm(g->judge_timer, again);
	listen_tell_followers(g);
}

/* ---- timers and signals ---------------------------------------------------------------- */

static int on_due(sd_event_source *s, uint64_t usec, void *userdata)
{
	(void)s, (void)usec;
	/* First what is so now: nothing is decided by what was so before a sleep. */
	guard_evaluate(userdata);
	guard_event(userdata, &(struct policy_event) { .type = EVENT_TIME });
	return 0;
}

static int on_judge(sd_event_source *s, uint64_t usec, void *userdata)
{
	(void)s, (void)usec;
	guard_evaluate(userdata);
	return 0;
}

/* The watchdog is fed for the reducer's steps, not for a loop that turns. */
static void feed(struct guard *g)
{
	bool moved = g->steps != g->fed_steps;
	uint64_t now = device_now(), due = policy_due(&g->policy);

	g->fed_steps = g->steps;
	if (moved && !g->starving && (due > now || now - due < 30 * SEC))
		(void)sd_notify(false, "WATCHDOG=1");
}

/* It may be made later than the guard is started. */
static void find_user(struct guard *g)
{
	const struct passwd *user = NULL;

	if (g->has_user && g->kiosk_uid == (uid_t)-1)
		user = getpwnam(g->config.user);
	if (user)
		g->kiosk_uid = user->pw_uid;
}

static int on_tick(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct guard *g = userdata;
	uint64_t now = device_now();
	/* Changes of the unit are told; this is for what was missed, and for the network. */
	bool rested = is_at_rest(g) && g->kiosk.known && now - g->last_tick < 300 * SEC;

	(void)usec;
	if (!rested) {
		g->last_tick = now;
		g->link_up = device_has_network();
		link_read_unit(g);
	}
	if (g->policy.facts.staged && now >= g->facts_due + STAGED_PAUSE)
		guard_read_facts(g, 0);
	find_user(g);
	checks_tick(&g->checks, now, g->policy.facts.role == ROLE_TRIAL);
	guard_evaluate(g);
	guard_event(g, &(struct policy_event) { .type = EVENT_TIME });
	feed(g);
	if (sd_event_source_set_time_relative(s, g->tick_usec) < 0 ||
	    sd_event_source_set_enabled(s, SD_EVENT_ONESHOT) < 0)
		return -EIO; /* without it nothing is fed: better to be started anew */
	return 0;
}

static void on_scripts(void *userdata)
{
	guard_evaluate(userdata);
}

static int on_term(sd_event_source *s, const struct signalfd_siginfo *info, void *userdata)
{
	struct guard *g = userdata;

	(void)s, (void)info;
	(void)sd_notify(false, "STOPPING=1");
	return sd_event_exit(g->event, 0);
}

static int start_timers(struct guard *g)
{
	int r;

	r = sd_event_add_time(g->event, &g->due_timer, CLOCK_BOOTTIME, 0, 50000, on_due, g);
	if (r >= 0)
		r = sd_event_source_set_enabled(g->due_timer, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time(g->event, &g->judge_timer, CLOCK_BOOTTIME, 0, 250000,
				      on_judge, g);
	if (r >= 0)
		r = sd_event_source_set_enabled(g->judge_timer, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time_relative(g->event, &g->tick_timer, CLOCK_BOOTTIME,
					       g->tick_usec, 500000, on_tick, g);
	if (r >= 0)
		r = sd_event_add_signal(g->event, &g->term_source, SIGTERM, on_term, g);
	if (r >= 0)
		r = sd_event_add_signal(g->event, NULL, SIGINT, on_term, g);
	return r;
}

/* ---- life ---------------------------------------------------------------------------------- */

static void warn(void *userdata, const char *file, unsigned line, const char *what,
		 const char *cure)
{
	struct guard *g = userdata;

	g->warnings++;
	if (line)
		guard_log(LOG_LEVEL_WARNING, "%s:%u: %s %s", file, line, what, cure);
	else
		guard_log(LOG_LEVEL_WARNING, "%s: %s %s", file, what, cure);
}

static void load_config(struct guard *g, const char *root)
{
	_cleanup_close_ int fd = sys_open(root, O_RDONLY | O_DIRECTORY, 0);

	config_init(&g->config);
	if (fd >= 0)
		config_load(&g->config, fd, warn, g);
	g->kiosk_uid = (uid_t)-1;
	g->has_user = *g->config.user != '\0';
	find_user(g);
	if (g->has_user && g->kiosk_uid == (uid_t)-1)
		guard_log(LOG_LEVEL_WARNING,
			  "there is no user %s yet: its heartbeats are not taken", g->config.user);
}

static bool was_starved(const struct guard *g)
{
	_cleanup_free_ char *path = strf("%s/" STARVED_FILE, g->dir);

	return path && sys_faccessat(AT_FDCWD, path, F_OK) == 0;
}

static void choose_tick(struct guard *g)
{
	uint64_t watchdog = 0;

	g->tick_usec = TICK;
	if (sd_watchdog_enabled(false, &watchdog) > 0 && watchdog / 3 < g->tick_usec)
		g->tick_usec = watchdog / 3;
}

static void begin(struct guard *g)
{
	struct policy_actions actions;

	policy_init(&g->policy, &g->config.policy, device_now(), &actions);
	for (size_t i = 0; i < actions.count; i++)
		act(g, &actions.list[i]);
	arm(g->due_timer, policy_due(&g->policy));
	g->link_up = device_has_network();
	kiosk_lost(&g->kiosk, device_now());
	link_connect(g);
	checks_start(&g->checks, g->event, &g->config, g->root, on_scripts, g);
	listen_check_marker(g);
	guard_evaluate(g);
	g->reported = GUARD_PHASE_COUNT;
	report_phase(g);
}

static void end(struct guard *g)
{
	checks_stop(&g->checks);
	listen_stop(g);
	link_disconnect(g);
	(void)sd_event_source_disable_unref(g->due_timer);
	(void)sd_event_source_disable_unref(g->judge_timer);
	(void)sd_event_source_disable_unref(g->tick_timer);
	(void)sd_event_source_disable_unref(g->term_source);
	(void)sd_event_source_disable_unref(g->rung_source);
	(void)sd_event_source_disable_unref(g->facts_timer);
	(void)sd_bus_close_unref(g->private_bus);
	(void)sd_event_unref(g->event);
	free(g->unit_path);
}

int guard_run(const char *dir, const char *root)
{
	struct guard *g = calloc(1, sizeof(*g));
	sigset_t blocked;
	int r;

	if (!g)
		return -ENOMEM;
	guard_log_open(root);
	g->dir = dir;
	g->root = root;
	g->notify_fd = g->control_fd = -1;
	for (size_t i = 0; i < GUARD_FOLLOWERS_MAX; i++)
		g->followers[i].fd = -1;
	(void)sigemptyset(&blocked);
	(void)sigaddset(&blocked, SIGCHLD);
	(void)sigaddset(&blocked, SIGTERM);
	(void)sigaddset(&blocked, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &blocked, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	load_config(g, root);
	choose_tick(g);
	r = sd_event_new(&g->event);
	if (r >= 0)
		r = start_timers(g);
	if (r >= 0) {
		/* Without sockets the unit and the marker are still watched. */
		int listening = listen_start(g);

		if (listening < 0)
			guard_log(LOG_LEVEL_WARNING, "%s: %s", g->dir, strerror(-listening));
		g->starving = was_starved(g);
		begin(g);
		(void)sd_notify(false, "READY=1");
		r = sd_event_loop(g->event);
	}
	end(g);
	free(g);
	return r;
}
