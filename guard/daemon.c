// SPDX-License-Identifier: MIT
#include "guard/daemon.h"

#include "boot/io.h"
#include "boot/sys.h"
#include "guard/hooks.h"
#include "guard/link.h"
#include "guard/listen.h"
#include "guard/log.h"
#include "guard/publish.h"
#include "guard/report.h"

#include <fcntl.h>
#include <signal.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define SEC		 UINT64_C(1000000)
#define TICK		 (10 * SEC)
#define GREEN_FILE	 "green"      /* the hooks have run in this boot */
#define SERVER_RECENT	 (3600 * SEC) /* the hour before the update */
#define FACTS_TIMEOUT	 (50 * SEC)   /* less than the reducer waits */
#define FACTS_PAUSE	 (1 * SEC)    /* between two reads that nobody waits for */
#define FAILED_PAUSE	 (60 * SEC)   /* after a read that failed */
#define BASELINE_PAUSE	 (3600 * SEC) /* after a write that failed */
#define STAGED_PAUSE	 (3600 * SEC) /* between two looks at how long an update has waited */
#define SYNC_TIMEOUT	 (10 * SEC)
#define READ_ROOT_MARGIN (5 * SEC)
#define QUEUE_MAX	 64

struct guard {
	sd_event *event;
	struct config config;
	unsigned warnings; /* of the configuration */
	const char *dir;   /* GUARD_DIR, or what --runtime-dir says */
	const char *root;  /* what --root says; "": the system's */
	struct policy policy;
	struct senses senses;
	struct hooks hooks;
	struct policy_event rejected; /* waits for hooks */
	struct device_answer device;
	struct link *link;
	struct listen *listen;
	struct publish *publish;
	struct report_blame blame; /* of what was done last */

	/* Events that wait, so that policy_step() is never entered twice. */
	struct policy_event queue[QUEUE_MAX];
	size_t queued;
	bool stepping;
	enum phase reported;

	sd_event_source *due_timer, *judge_timer, *tick_timer, *facts_timer, *term_source;
	uint64_t tick_usec, last_tick;
	uint64_t facts_due;		 /* when the next read that a signal asks for may begin */
	bool reading_facts, facts_again; /* one of those at a time */
	uint64_t baseline_due;		 /* when it may be written again */
	enum device_baseline baseline_written;

	bool device_known;
	bool has_network;
	/* As last told to the reducer: */
	bool expected; /* an answer of the server */
	bool unheard;  /* the kiosk itself */
	bool in_hours;
	bool unjudged; /* it was said that nobody can be judged */
};

/*
 * The only way into the reducer: runs the actions that come out, and those answer
 * with further events, never from within.
 */
static void guard_event(struct guard *g, const struct policy_event *event);
/* Weighs everything that is known again; tells the reducer what changed. */
static void evaluate(struct guard *g);

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
	g->device.facts.installing = link_is_installing(g->link);
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

static void on_hooks_done(void *userdata)
{
	struct guard *g = userdata;

	/* After the green ones it is of no event, or of one that the reducer does not wait for. */
	guard_event(g, &g->rejected);
}

static void run_green(struct guard *g)
{
	_cleanup_free_ char *path = strf("%s/" GREEN_FILE, g->dir);
	_cleanup_close_ int fd = path ? sys_open(path, O_WRONLY | O_CREAT | O_EXCL, 0600) : -1;

	if (fd >= 0)
		(void)hooks_start(&g->hooks, g->root, HOOKS_GREEN);
}

/*
 * greenboot's hooks follow what is on the disk already. Only the reboot after a rejection waits for
 * them, and only until the reducer's patience with the answer ends. True: it does.
 */
static bool run_hooks(struct guard *g, enum request request, const struct policy_event *done)
{
	if (request == REQUEST_SET_GOOD)
		run_green(g);
	if (request != REQUEST_REJECT)
		return false;
	g->rejected = *done;
	return hooks_start(&g->hooks, g->root, HOOKS_RED);
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
		else if (run_hooks(g, e->question.request, &event))
			return;
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
	if (began && link_is_going_down(g->link))
		guard_event(g, &(struct policy_event) { .type = EVENT_GOING_DOWN, .yes = true });
	evaluate(g);
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

/* The facts of the device may have changed. With an @id for the reducer, at once; else in its own
 * time, as whatever asks may be anybody's signal. */
static void reread_facts(struct guard *g, uint32_t id)
{
	if (id) {
		(void)read_facts(g, id);
		return;
	}
	g->facts_again = true;
	pace_facts(g);
}

/* ---- reboot ----------------------------------------------------------------------- */

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

static void reboot_by(struct guard *g, const struct policy_action *a)
{
	if (a->rung == RUNG_LOGIND)
		send_type(g, DEVICE_PREPARE, a->trial);
	if (a->rung == RUNG_KERNEL)
		sync_and_reboot(g, a);
	else
		link_reboot(g->link, a->rung, a->id);
}

/* ---- actions -------------------------------------------------------------------------- */

static void request(struct guard *g, const struct policy_action *a, enum request what)
{
	struct errand e = { .question = { .type = DEVICE_REQUEST,
					  .request = what,
					  .reason = a->reason,
					  .seconds = a->seconds },
			    .id = a->id };

	run_errand(g, &e, FACTS_TIMEOUT, false);
}

static struct report_view view(const struct guard *g)
{
	return (struct report_view) { .now = device_now(),
				      .config = &g->config,
				      .policy = &g->policy,
				      .senses = &g->senses,
				      .device = &g->device,
				      .blame = &g->blame,
				      .kiosk_status = g->senses.heart.status,
				      .rauc_said = link_rauc_said(g->link),
				      .server_expected = g->expected,
				      .beats = listen_beats(g->listen) - g->senses.heart.refused,
				      .refused =
					      listen_refused(g->listen) + g->senses.heart.refused,
				      .warnings = g->warnings };
}

static void save_diagnostics(struct guard *g, const struct policy_action *a)
{
	struct errand e = { .question = { .type = DEVICE_SAVE }, .id = a->id };
	struct report_view v = view(g);

	report_diagnostics(&v, e.question.text, sizeof(e.question.text));
	run_errand(g, &e, 40 * SEC, false);
}

static void act(struct guard *g, const struct policy_action *a)
{
	struct report_view v = view(g);

	report_note_blame(&v, a, &g->blame);
	report_action(&v, a);
	switch (a->type) {
	case ACTION_READ_FACTS:
		reread_facts(g, a->id);
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
		link_mark_good(g->link, a->id);
		break;
	case ACTION_RESTART_RAUC:
		link_restart_rauc(g->link);
		break;
	case ACTION_COMMITTED:
		reread_facts(g, 0);
		break;
	case ACTION_CONFIRM:
		/* Also by a guard that was started after the commit: the kiosk waits for it. */
		if (!g->policy.confirmed)
			send_type(g, DEVICE_CONFIRMED, false);
		request(g, a, REQUEST_SET_GOOD);
		break;
	case ACTION_HEALTHY:
		request(g, a, REQUEST_HEALTHY);
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
		senses_forget(&g->senses, device_now());
		link_restart_unit(g->link);
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

static void report(struct guard *g)
{
	struct report_view v = view(g);

	if (g->policy.phase == g->reported)
		return;
	g->reported = g->policy.phase;
	report_phase(&v);
}

static void step(struct guard *g, const struct policy_event *event)
{
	struct policy_actions actions;

	policy_step(&g->policy, event, device_now(), &actions);
	for (size_t i = 0; i < actions.count; i++)
		act(g, &actions.list[i]);
	arm(g->due_timer, policy_due(&g->policy));
	report(g);
}

static void guard_event(struct guard *g, const struct policy_event *event)
{
	/* Only what the actions of a step answer at once waits here, a few events each; one that
	 * did not fit would be lost for good, as tell() tells a verdict once. */
	if (g->queued < QUEUE_MAX)
		g->queue[g->queued++] = *event;
	if (g->stepping)
		return;
	g->stepping = true;
	for (size_t i = 0; i < g->queued; i++)
		step(g, &g->queue[i]);
	g->queued = 0;
	g->stepping = false;
	publish_changed(g->publish);
}

/* ---- weighing --------------------------------------------------------------------------- */

static void tell(struct guard *g, enum check check, const struct judgement *j)
{
	struct policy_event event = {
		.type = EVENT_CHECK, .check = check, .verdict = j->verdict, .reason = j->reason
	};
	struct judgement last = g->senses.last[check];

	g->senses.last[check] = *j;
	if (last.verdict == j->verdict && last.reason == j->reason)
		return;
	if (last.verdict != j->verdict)
		guard_log(verdict_failed(j->verdict) ? LOG_LEVEL_NOTICE : LOG_LEVEL_INFO,
			  "check %s: %s: %s", check_name(check), verdict_name(j->verdict), j->why);
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
static bool is_server_expected(const struct guard *g)
{
	return g->device_known && g->device.facts.reached_before && g->has_network &&
	       g->senses.heart.server != SERVER_CLOCK;
}

/* What the trial after this boot will compare with. Written when it changes, not more. */
static void keep_baseline(struct guard *g, uint64_t now)
{
	uint64_t last = g->senses.heart.server_last;
	bool passes = g->senses.last[CHECK_SERVER].verdict == VERDICT_PASS;
	/* A kiosk that was started anew has its time to reach the server again. */
	bool recent = g->config.heartbeat_once ? passes : last && now - last < SERVER_RECENT;
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

static void say_no_kiosk(struct guard *g)
{
	char why[JUDGEMENT_WHY_MAX];

	g->senses.account_missing = !listen_has_account(g->listen);
	senses_no_kiosk(&g->senses, &g->config, why);
	if (*why && !g->unjudged)
		report_no_kiosk(why, g->device.running);
	g->unjudged = *why;
}

static void evaluate(struct guard *g)
{
	uint64_t now = device_now(), again = POLICY_NEVER;
	struct heartbeat *heart = &g->senses.heart;

	heart->in_trial = g->policy.facts.role == ROLE_TRIAL;
	if (heartbeat_follow(heart, &g->config, &g->senses.kiosk))
		link_read_unit(g->link);
	say_no_kiosk(g);
	/* Before the pass that it qualifies. */
	tell_flag(g, EVENT_UNHEARD, &g->unheard, heartbeat_through_server(heart, &g->config, now));
	for (enum check c = 0; c < CHECK_COUNT; c++) {
		struct judgement j;

		senses_judge(&g->senses, &g->config, now, c, &j);
		if (j.again < again)
			again = j.again;
		tell(g, c, &j);
	}
	tell_flag(g, EVENT_SERVER, &g->expected, is_server_expected(g));
	weigh_hours(g);
	keep_baseline(g, now);
	arm(g->judge_timer, again);
	publish_changed(g->publish);
}

/* ---- what the parts tell ---------------------------------------------------------------- */

/* Another kiosk than before, even if it is alive again already. */
static void note_restart(struct guard *g, uint64_t now)
{
	struct judgement j;

	senses_judge(&g->senses, &g->config, now, CHECK_UNIT, &j);
	if (j.verdict != VERDICT_PASS)
		return;
	judge(&j, VERDICT_FAIL, REASON_KIOSK_NOT_ALIVE, "it was restarted");
	tell(g, CHECK_UNIT, &j);
}

static void on_unit(void *userdata, const struct kiosk_properties *p)
{
	struct guard *g = userdata;
	uint64_t now = device_now();

	if (!p) {
		kiosk_lost(&g->senses.kiosk, now);
		evaluate(g);
		return;
	}
	if (kiosk_note(&g->senses.kiosk, p, now)) {
		checks_forget(&g->senses.checks);
		/* Without RuntimeDirectoryPreserve= the file went with the last invocation. */
		if (g->policy.confirmed)
			send_type(g, DEVICE_CONFIRMED, false);
	}
	listen_set_kiosk(g->listen, kiosk_name(&g->senses.kiosk, g->config.unit), p);
	if (g->senses.kiosk.broke)
		note_restart(g, now);
	evaluate(g);
}

static void on_bus(void *userdata, bool up)
{
	struct guard *g = userdata;

	checks_bus(&g->senses.checks, up);
}

static void on_rauc(void *userdata)
{
	reread_facts(userdata, 0);
}

static void on_going_down(void *userdata, bool down)
{
	guard_event(userdata, &(struct policy_event) { .type = EVENT_GOING_DOWN, .yes = down });
}

static void on_marked(void *userdata, uint32_t id, enum mark_outcome outcome)
{
	guard_event(userdata,
		    &(struct policy_event) { .type = EVENT_MARKED, .id = id, .mark = outcome });
}

static void on_rung_failed(void *userdata, uint32_t id)
{
	guard_event(userdata, &(struct policy_event) { .type = EVENT_RUNG_FAILED, .id = id });
}

static const struct link_ops link_ops = {
	.bus = on_bus,
	.unit = on_unit,
	.rauc = on_rauc,
	.going_down = on_going_down,
	.marked = on_marked,
	.rung_failed = on_rung_failed,
};

static void on_beat(void *userdata, const struct notify *n, uint64_t started)
{
	struct guard *g = userdata;

	heartbeat_hear(&g->senses.heart, n, started, device_now());
}

static void on_marker(void *userdata, uint64_t stamp, uint64_t changed)
{
	struct guard *g = userdata;

	heartbeat_see(&g->senses.heart, stamp, changed, device_now());
}

static void on_heard(void *userdata)
{
	evaluate(userdata);
}

static void on_try(void *userdata)
{
	guard_event(userdata, &(struct policy_event) { .type = EVENT_TRY_ASKED });
}

static char *get_status(void *userdata, bool json)
{
	struct report_view v = view(userdata);

	return report_status(&v, json);
}

static const struct listen_ops listen_ops = {
	.beat = on_beat,
	.marker = on_marker,
	.heard = on_heard,
	.try = on_try,
};

/* ---- timers and signals ---------------------------------------------------------------- */

static int on_due(sd_event_source *s, uint64_t usec, void *userdata)
{
	(void)s, (void)usec;
	/* First what is so now: nothing is decided by what was so before a sleep. */
	evaluate(userdata);
	guard_event(userdata, &(struct policy_event) { .type = EVENT_TIME });
	return 0;
}

static int on_judge(sd_event_source *s, uint64_t usec, void *userdata)
{
	(void)s, (void)usec;
	evaluate(userdata);
	return 0;
}

/* Only right after a step, and only of a reducer that has done what is due: never for a loop that
 * merely turns. */
static void feed(const struct guard *g)
{
	uint64_t now = device_now(), due = policy_due(&g->policy);

	if (due > now || now - due < 30 * SEC)
		(void)sd_notify(false, "WATCHDOG=1");
}

static int on_tick(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct guard *g = userdata;
	uint64_t now = device_now();
	/* Changes of the unit are told; this is for what was missed, and for the network. */
	bool rested = is_at_rest(g) && g->senses.kiosk.known && now - g->last_tick < 300 * SEC;

	(void)usec;
	if (!rested) {
		g->last_tick = now;
		g->has_network = device_has_network();
		link_read_unit(g->link);
	}
	if (g->policy.facts.staged && now >= g->facts_due + STAGED_PAUSE)
		reread_facts(g, 0);
	listen_tick(g->listen);
	checks_tick(&g->senses.checks, now, g->policy.facts.role == ROLE_TRIAL);
	evaluate(g);
	guard_event(g, &(struct policy_event) { .type = EVENT_TIME });
	feed(g);
	if (sd_event_source_set_time_relative(s, g->tick_usec) < 0 ||
	    sd_event_source_set_enabled(s, SD_EVENT_ONESHOT) < 0)
		return -EIO; /* without it nothing is fed: better to be started anew */
	return 0;
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
	char what[CONFIG_WHAT_MAX];
	const char *cure;

	config_init(&g->config);
	if (fd >= 0)
		config_load(&g->config, fd, warn, g);
	while (config_check_ages(&g->config, what, &cure))
		warn(g, "etc/bf-guard.conf", 0, what, cure);
}

static void choose_tick(struct guard *g)
{
	uint64_t watchdog = 0;

	g->tick_usec = TICK;
	if (sd_watchdog_enabled(false, &watchdog) > 0 && watchdog / 3 < g->tick_usec)
		g->tick_usec = watchdog / 3;
}

static int open_parts(struct guard *g)
{
	const struct link_spec link = { .unit = g->config.unit,
					.call_timeout = g->config.policy.commit_timeout };
	const struct listen_spec listen = { .dir = g->dir,
					    .unit = g->config.unit,
					    .user = g->config.user,
					    .marker = g->config.marker };
	int r = listen_new(&g->listen, g->event, &listen, &listen_ops, g);

	if (r >= 0)
		r = publish_new(&g->publish, g->event, g->dir, get_status, g);
	return r < 0 ? r : link_new(&g->link, g->event, &link, &link_ops, g);
}

static void begin(struct guard *g)
{
	struct policy_actions actions;

	policy_init(&g->policy, &g->config.policy, device_now(), &actions);
	for (size_t i = 0; i < actions.count; i++)
		act(g, &actions.list[i]);
	arm(g->due_timer, policy_due(&g->policy));
	g->has_network = device_has_network();
	kiosk_lost(&g->senses.kiosk, device_now());
	checks_start(&g->senses.checks, g->event, &g->config, g->root, on_heard, g);
	hooks_init(&g->hooks, g->event, g->config.check_timeout, on_hooks_done, g);
	evaluate(g);
	g->reported = GUARD_PHASE_COUNT;
	report(g);
}

static void end(struct guard *g)
{
	checks_stop(&g->senses.checks);
	hooks_stop(&g->hooks);
	g->listen = listen_free(g->listen);
	g->link = link_free(g->link);
	g->publish = publish_free(g->publish);
	(void)sd_event_source_disable_unref(g->due_timer);
	(void)sd_event_source_disable_unref(g->judge_timer);
	(void)sd_event_source_disable_unref(g->tick_timer);
	(void)sd_event_source_disable_unref(g->facts_timer);
	(void)sd_event_source_disable_unref(g->term_source);
	(void)sd_event_unref(g->event);
}

static void block_signals(void)
{
	sigset_t blocked;

	(void)sigemptyset(&blocked);
	(void)sigaddset(&blocked, SIGCHLD);
	(void)sigaddset(&blocked, SIGTERM);
	(void)sigaddset(&blocked, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &blocked, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
}

int guard_run(const char *dir, const char *root)
{
	struct guard *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return -ENOMEM;
	guard_log_open(root);
	g->dir = dir;
	g->root = streq(root, "/") ? "" : root;
	block_signals();
	load_config(g, root);
	choose_tick(g);
	r = sd_event_new(&g->event);
	if (r >= 0)
		r = start_timers(g);
	if (r >= 0)
		r = open_parts(g);
	if (r >= 0) {
		begin(g);
		(void)sd_notify(false, "READY=1");
		r = sd_event_loop(g->event);
	}
	end(g);
	free(g);
	return r;
}
