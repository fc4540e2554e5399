// SPDX-License-Identifier: MIT
/*
 * The states and what ends them; "give up" is saving → rejecting → rebooting,
 * "abort" is aborting → rebooting:
 *
 *  trial       collecting    all local checks pass                     → window
 *              window        unbroken for its length                   → waiting
 *              waiting       server answered, or may be missing        → verifying
 *              verifying     root read in full                         → committing
 *              committing    RAUC answered, or its patience is over    → reading-back
 *              reading-back  committed: → confirming; else             → committing
 *              up to verifying: a check breaks → collecting; a hopeless one, or
 *              one that fails at the deadline → give up; there only checks that
 *              say nothing → abort; the server silent → give up, or abort when
 *              there is no network
 *              committing: not by its deadline → give up, or abort while a Mark
 *              is pending (it may still happen; the opposite would race it)
 *              or RAUC is busy
 *  committed   collecting → window → confirming → probation → committed
 *              ill for too long → recovering (unit restarted), then escalating:
 *              the boot library says reboot, other slot, or stay → staying
 *              an update staged, and it is time → trying → rebooting
 *  any         somebody shuts down → going-down; facts unclear → limbo
 *
 * Waiting is passed in no time when there is nothing to wait for; so is verifying.
 */
#include "guard/policy.h"

#define SEC UINT64_C(1000000)

/* Answers of the boot library: its lock alone may take 10 s, a dying disk much longer. */
#define ANSWER_TIMEOUT	 (60 * SEC)
#define FACTS_TRIES	 5
#define FACTS_AGAIN	 (60 * SEC) /* what could not be read may be readable later */
#define SAVE_TIMEOUT	 (45 * SEC)
#define MARK_AGAIN	 (5 * SEC)
#define SETTLE_AGAIN	 (3600 * SEC)
#define CONFIRM_AGAIN	 (300 * SEC)
#define HEALTHY_AGAIN	 (300 * SEC) /* of a device that is on for minutes a day, most are kept */
#define GOING_DOWN_LIMIT (300 * SEC) /* the bound of a shutdown: longer, and it is none */
#define STAY_DOUBLINGS	 4
#define TRANSITIONS_MAX	 12 /* in one step; the longest real chain has 5 */

/*
 * How long each way to reboot may take to begin: a shutdown that has begun stops the guard at once,
 * and what hangs in it is systemd's to bound. With the diagnostics and the verdict before it, the
 * kernel is asked within 5 minutes. Its reboot(2) may hang in a driver, with systemd still feeding
 * the watchdog: then the first way is tried again, which ends in systemd hanging, too, and not
 * feeding it any more.
 */
static const uint64_t rung_timeout[RUNG_COUNT] = {
	[RUNG_LOGIND] = 45 * SEC,
	[RUNG_JOB] = 45 * SEC,
	[RUNG_MANAGER] = 30 * SEC,
	[RUNG_KERNEL] = 30 * SEC,
};

#define NAMES(table) ((unsigned)value < ARRAY_SIZE(table) && table[value] ? (table)[value] : "?")

const char *policy_phase_name(enum phase value)
{
	static const char *const names[] = {
#define X(id, name, waits) [GUARD_##id] = name,
		PHASES(X)
#undef X
	};

	return NAMES(names);
}

const char *policy_phase_waits(enum phase value)
{
	static const char *const waits_for[] = {
#define X(id, name, waits) [GUARD_##id] = waits,
		PHASES(X)
#undef X
	};

	return NAMES(waits_for);
}

const char *check_name(enum check value)
{
	static const char *const names[] = {
#define X(id, name, is_local) [CHECK_##id] = #name,
		CHECKS(X)
#undef X
	};

	return NAMES(names);
}

bool check_is_local(enum check check)
{
	static const bool local[] = {
#define X(id, name, is_local) [CHECK_##id] = is_local,
		CHECKS(X)
#undef X
	};

	return (unsigned)check < ARRAY_SIZE(local) && local[check];
}

bool verdict_failed(enum verdict verdict)
{
	return verdict == VERDICT_FAIL || verdict == VERDICT_HOPELESS;
}

const char *verdict_name(enum verdict value)
{
	static const char *const names[] = { [VERDICT_INCONCLUSIVE] = "inconclusive",
					     [VERDICT_PASS] = "pass",
					     [VERDICT_FAIL] = "fail",
					     [VERDICT_HOPELESS] = "hopeless" };

	return NAMES(names);
}

const char *rung_name(enum rung value)
{
	static const char *const names[] = { [RUNG_LOGIND] = "logind",
					     [RUNG_JOB] = "systemd-job",
					     [RUNG_MANAGER] = "systemd-now",
					     [RUNG_KERNEL] = "kernel" };

	return NAMES(names);
}

void policy_config_init(struct policy_config *ret)
{
	*ret = (struct policy_config) {
		.window = 60 * SEC,
		.deadline = 600 * SEC,
		.server_deadline = 1800 * SEC,
		.network_grace = 300 * SEC,
		.offline = OFFLINE_AFTER,
		.offline_after = 1800 * SEC,
		.read_root_timeout = 1800 * SEC,
		.commit_timeout = 300 * SEC,
		.mark_patience = 30 * SEC,
		.probation = 3600 * SEC,
		.settle = 3600 * SEC,
		.patience = 60 * SEC,
		.start_deadline = 600 * SEC,
		.restarts = 2,
		.recovery = 180 * SEC,
		.stay = 6 * 3600 * SEC,
		.try_when = TRY_NOW,
		.try_wait_max = 24 * 3600 * SEC,
		.try_again = 3600 * SEC,
		.retry_pause = 3600 * SEC,
	};
}

/* ---- small helpers ------------------------------------------------------ */

static uint64_t later(uint64_t now, uint64_t span)
{
	return span >= POLICY_NEVER - now ? POLICY_NEVER : now + span;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t latest(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void enter(struct policy *p, enum phase phase, uint64_t now, uint64_t due)
{
	p->phase = phase;
	p->since = now;
	p->due = due;
	p->awaited = 0;
}

static void enter_limbo(struct policy *p, uint64_t now)
{
	enter(p, GUARD_LIMBO, now, POLICY_NEVER);
	p->facts_due = later(now, FACTS_AGAIN);
}

/* With why this slot is being left, where it is. */
static struct policy_action *act(struct policy *p, struct policy_actions *out,
				 enum policy_action_type type)
{
	struct policy_action *a = &out->list[out->count];

	if (out->count < POLICY_ACTIONS_MAX)
		out->count++;
	*a = (struct policy_action) {
		.type = type,
		.id = ++p->last_id,
		.reason = p->reason,
		.blamed = p->blamed,
		.since = p->blamed < CHECK_COUNT ? p->checks[p->blamed].since : 0,
	};
	return a;
}

/* A phase that ends with the answer to this action. */
static struct policy_action *ask(struct policy *p, struct policy_actions *out,
				 enum policy_action_type type)
{
	struct policy_action *a = act(p, out, type);

	p->awaited = a->id;
	return a;
}

static bool in_trial(const struct policy *p)
{
	return p->facts.role == ROLE_TRIAL;
}

/* Does it decide what happens here and now? Scripts ask more of the world than the kiosk does, and
 * a whole fleet of committed slots must not be left because of an outage elsewhere. */
static bool judges(const struct policy *p, enum check check)
{
	if (check == CHECK_SCRIPTS && !in_trial(p))
		return p->config.committed_act && p->facts.role == ROLE_COMMITTED;
	return check_is_local(check);
}

static bool local_pass(const struct policy *p)
{
	for (enum check c = 0; c < CHECK_COUNT; c++)
		if (judges(p, c) && p->checks[c].verdict != VERDICT_PASS)
			return false;
	return true;
}

/* The first check that has failed, for now or for good; CHECK_COUNT: none has. */
static enum check failing(const struct policy *p)
{
	enum check c = 0;

	while (c < CHECK_COUNT && !(judges(p, c) && verdict_failed(p->checks[c].verdict)))
		c++;
	return c;
}

static bool is_ill(const struct policy *p)
{
	return failing(p) != CHECK_COUNT;
}

static enum check hopeless(const struct policy *p)
{
	enum check c = 0;

	while (c < CHECK_COUNT && !(judges(p, c) && p->checks[c].verdict == VERDICT_HOPELESS))
		c++;
	return c;
}

static bool is_hopeless(const struct policy *p)
{
	return hopeless(p) != CHECK_COUNT;
}

/* From here on this is why; what is hopeless says it best. */
static void blame_check(struct policy *p)
{
	p->blamed = is_hopeless(p) ? hopeless(p) : failing(p);
	p->reason = p->checks[p->blamed].reason;
}

static bool window_over(const struct policy *p, uint64_t now)
{
	return p->local_since != POLICY_NEVER && now >= later(p->local_since, p->config.window);
}

/* ---- the end of this boot ------------------------------------------------ */

static void climb(struct policy *p, enum rung rung, uint64_t now, struct policy_actions *out)
{
	struct policy_action *a;

	enter(p, GUARD_REBOOTING, now, later(now, rung_timeout[rung]));
	p->rung = rung;
	a = ask(p, out, ACTION_REBOOT);
	a->rung = rung;
	a->trial = p->reboot_trial;
}

static void reboot(struct policy *p, bool trial, uint64_t now, struct policy_actions *out)
{
	p->reboot_trial = trial;
	climb(p, RUNG_LOGIND, now, out);
}

/* For what no check has said. */
static void blame(struct policy *p, enum reason reason)
{
	p->blamed = CHECK_COUNT;
	p->reason = reason;
}

static void give_up(struct policy *p, uint64_t now, struct policy_actions *out)
{
	enter(p, GUARD_SAVING, now, later(now, SAVE_TIMEOUT));
	(void)ask(p, out, ACTION_SAVE);
}

static void reject(struct policy *p, uint64_t now, struct policy_actions *out)
{
	enter(p, GUARD_REJECTING, now, later(now, ANSWER_TIMEOUT));
	(void)ask(p, out, ACTION_REJECT);
}

static void abort_trial(struct policy *p, uint64_t now, struct policy_actions *out)
{
	enter(p, GUARD_ABORTING, now, later(now, ANSWER_TIMEOUT));
	(void)ask(p, out, ACTION_ABORT);
}

/* ---- a trial -------------------------------------------------------------- */

/* An absolute end for what the server's silence may delay, however the network comes and goes. */
static uint64_t server_end(const struct policy *p)
{
	uint64_t more = p->config.offline == OFFLINE_AFTER ? p->config.offline_after : 0;

	return later(p->config.server_deadline, latest(more, p->config.server_deadline));
}

/* Each trial before this one adds its time. */
static uint64_t first_deadline(const struct policy *p)
{
	uint64_t times = p->facts.trials > 1 ? p->facts.trials : 1, deadline;

	if (__builtin_mul_overflow(p->config.deadline, times, &deadline))
		deadline = POLICY_NEVER - 1;
	return deadline;
}

/* The last moment by which what broke may be healthy again, however often it breaks: all that a
 * trial has to wait for after its window; before that, a window and one break. */
static uint64_t trial_end(const struct policy *p, bool proven)
{
	uint64_t more = later(p->config.read_root_timeout, p->config.commit_timeout);
	uint64_t end = later(later(first_deadline(p), p->config.window), p->config.recovery);

	return proven ? latest(end, later(server_end(p), more)) : end;
}

/* A guard that starts late, because the one before it died, gives the kiosk the time of a restart;
 * not for ever, or one that keeps dying would never end the trial. One that cannot be committed has
 * no end: it may stay up as long as it is healthy. */
static uint64_t trial_deadline(const struct policy *p, uint64_t now)
{
	uint64_t end = p->facts.committable ? trial_end(p, true) : POLICY_NEVER;

	return latest(first_deadline(p), sooner(later(now, p->config.recovery), end));
}

/* A late break is given the time of a restart: the deadline was for the window to begin, and a bus
 * that is gone for a moment blames nobody. */
static void broke(struct policy *p, uint64_t now)
{
	uint64_t more = sooner(later(now, p->config.recovery), trial_end(p, p->proven));

	p->collect_due = latest(p->collect_due, more);
	enter(p, GUARD_COLLECTING, now, p->collect_due);
}

/* When a trial may be committed without the server, as things are now. An update that broke the
 * network looks just like one without a network: who reached the server before has to again. */
static uint64_t offline_from(const struct policy *p)
{
	if (p->expected_since != POLICY_NEVER || p->unheard)
		return POLICY_NEVER;
	if (p->config.offline == OFFLINE_YES)
		return 0;
	if (p->config.offline == OFFLINE_AFTER && !p->facts.reached_before)
		return p->config.offline_after;
	return POLICY_NEVER;
}

static bool server_ok(const struct policy *p, uint64_t now)
{
	return (p->checks[CHECK_SERVER].verdict == VERDICT_PASS && !p->unheard) ||
	       now >= offline_from(p);
}

static uint64_t server_due(const struct policy *p)
{
	uint64_t due = p->config.server_deadline;

	if (p->expected_since != POLICY_NEVER) {
		due = latest(due, later(p->expected_since, p->config.network_grace));
	} else if (offline_from(p) != POLICY_NEVER) {
		due = offline_from(p);
	}
	return sooner(due, server_end(p));
}

/* Too short a time was watched to blame anybody for what is past its time. */
static bool is_just_back(const struct policy *p, uint64_t now)
{
	return p->back_at != POLICY_NEVER && now < later(p->back_at, p->config.recovery);
}

static bool trial_collect(struct policy *p, uint64_t now, struct policy_actions *out)
{
	if (local_pass(p)) {
		enter(p, GUARD_WINDOW, now, later(p->local_since, p->config.window));
		return true;
	}
	if (!is_hopeless(p) && now < p->collect_due) {
		p->due = p->collect_due;
		return false;
	}
	/* Only a failure fails: what nobody could tell is no fault of the update's. */
	if (is_hopeless(p) || (is_ill(p) && !is_just_back(p, now))) {
		blame_check(p);
		give_up(p, now, out);
	} else {
		abort_trial(p, now, out);
	}
	return true;
}

static void mark(struct policy *p, uint64_t now, struct policy_actions *out)
{
	if (p->commit_due == POLICY_NEVER)
		p->commit_due = later(now, p->config.commit_timeout);
	enter(p, GUARD_COMMITTING, now, sooner(later(now, p->config.mark_patience), p->commit_due));
	p->mark_id = act(p, out, ACTION_MARK_GOOD)->id;
	p->mark_pending = true;
}

static void verify(struct policy *p, uint64_t now, struct policy_actions *out)
{
	enter(p, GUARD_VERIFYING, now, later(now, p->config.read_root_timeout));
	if (p->root_id == 0 && p->config.read_root && !p->root_done)
		p->root_id = act(p, out, ACTION_READ_ROOT)->id;
}

/*
 * A bundle that is a FIFO, and whatever else RAUC can be made to wait for, holds it up for good.
 * Nothing is lost by ending it: in a trial it writes to no slot. It gets half of the time to
 * answer, and as much is left to the one that is started then.
 */
static void free_rauc(struct policy *p, uint64_t now, struct policy_actions *out)
{
	uint64_t left = p->commit_due - now;

	if (p->rauc_restarted || !(p->mark_pending || p->mark_busy) ||
	    left > p->config.commit_timeout / 2)
		return;
	p->rauc_restarted = true;
	(void)act(p, out, ACTION_RESTART_RAUC);
}

static void not_committed(struct policy *p, uint64_t now, struct policy_actions *out)
{
	if (now < p->commit_due) {
		free_rauc(p, now, out);
		enter(p, GUARD_COMMITTING, now, sooner(later(now, MARK_AGAIN), p->commit_due));
	} else if (p->mark_pending || p->mark_busy || is_just_back(p, now)) {
		abort_trial(p, now, out);
	} else {
		blame(p, REASON_COMMIT_FAILED);
		give_up(p, now, out);
	}
}

static bool trial_window(struct policy *p, uint64_t now, struct policy_actions *out)
{
	/* Only a guard that hardly ever runs gets there: its windows are broken by itself. */
	uint64_t end = later(latest(p->collect_due, trial_end(p, true)), p->config.window);

	p->due = sooner(later(p->local_since, p->config.window), end);
	if (now < p->due)
		return false;
	if (window_over(p, now)) {
		p->proven = true;
		enter(p, GUARD_WAITING, now, server_due(p));
	} else {
		abort_trial(p, now, out);
	}
	return true;
}

static bool trial_wait(struct policy *p, uint64_t now, struct policy_actions *out)
{
	const struct policy_check *server = &p->checks[CHECK_SERVER];

	if (server_ok(p, now) && !p->facts.committable) {
		enter_limbo(p, now);
	} else if (server_ok(p, now)) {
		verify(p, now, out);
	} else if (now < server_due(p)) {
		p->due = server_due(p);
		return false;
	} else if (p->expected_since != POLICY_NEVER && now < server_end(p) &&
		   verdict_failed(server->verdict)) {
		p->blamed = CHECK_SERVER;
		p->reason = server->reason;
		give_up(p, now, out);
	} else {
		abort_trial(p, now, out);
	}
	return true;
}

/* Window, waiting, verifying: all of them only while nothing breaks. */
static bool trial_go_on(struct policy *p, uint64_t now, struct policy_actions *out)
{
	if (!local_pass(p)) {
		broke(p, now);
		return true;
	}
	if (p->phase == GUARD_WINDOW)
		return trial_window(p, now, out);
	/* The checks may have broken and passed again within one step. */
	if (!window_over(p, now)) {
		enter(p, GUARD_WINDOW, now, later(p->local_since, p->config.window));
		return true;
	}
	if (p->phase == GUARD_WAITING)
		return trial_wait(p, now, out);
	if (!server_ok(p, now)) {
		enter(p, GUARD_WAITING, now, server_due(p));
		return true;
	}
	if (!p->facts.committable) {
		enter_limbo(p, now);
		return true;
	}
	if (p->root_corrupt) {
		blame(p, REASON_ROOT_CORRUPT);
		give_up(p, now, out);
		return true;
	}
	/* Not read in its time says nothing against the image: it goes on without. */
	if (p->config.read_root && !p->root_done && now < p->due)
		return false;
	/* A check may have broken between two Marks, for longer than they had time. */
	if (now >= p->commit_due)
		not_committed(p, now, out);
	else
		mark(p, now, out);
	return true;
}

static void read_back(struct policy *p, uint64_t now, struct policy_actions *out)
{
	enter(p, GUARD_READING_BACK, now, later(now, ANSWER_TIMEOUT));
	(void)ask(p, out, ACTION_READ_BACK);
}

static void confirm(struct policy *p, uint64_t now, struct policy_actions *out)
{
	enter(p, GUARD_CONFIRMING, now, later(now, ANSWER_TIMEOUT));
	(void)ask(p, out, ACTION_CONFIRM);
}

static bool trial_commit(struct policy *p, uint64_t now, struct policy_actions *out)
{
	if (!p->mark_pending && !local_pass(p)) {
		broke(p, now);
		return true;
	}
	if (now < p->due)
		return false;
	if (p->mark_pending || now >= p->commit_due)
		read_back(p, now, out);
	else if (!window_over(p, now) || !p->facts.committable || !server_ok(p, now))
		enter(p, GUARD_WINDOW, now, later(p->local_since, p->config.window));
	else
		mark(p, now, out);
	return true;
}

/* Confirming it once more writes autoboot.txt where only the record was written: that is what the
 * commit was read back from, and what a failed Mark may have left. */
static void committed(struct policy *p, uint64_t now, struct policy_actions *out)
{
	(void)act(p, out, ACTION_COMMITTED);
	p->facts.role = ROLE_COMMITTED;
	p->facts.probation = p->facts.unsettled = true;
	p->facts.healthy = 0;
	p->facts.staged = false;
	p->try_at = POLICY_NEVER;
	confirm(p, now, out);
}

/* ---- the committed slot ---------------------------------------------------- */

static void rest(struct policy *p, uint64_t now)
{
	enter(p, p->facts.probation ? GUARD_PROBATION : GUARD_COMMITTED, now, POLICY_NEVER);
}

static void escalate(struct policy *p, enum policy_action_type type, uint64_t now,
		     struct policy_actions *out)
{
	enter(p, GUARD_ESCALATING, now, later(now, ANSWER_TIMEOUT));
	(void)ask(p, out, type);
}

static void stay(struct policy *p, uint64_t now, struct policy_actions *out)
{
	uint64_t most = p->config.stay << STAY_DOUBLINGS;

	if (!p->facts.staying)
		(void)act(p, out, ACTION_STAY);
	p->facts.staying = true;
	p->stay_due = later(now, p->stay_interval);
	p->stay_interval = sooner(p->stay_interval * 2, most);
	enter(p, GUARD_STAYING, now, p->stay_due);
}

static void set_verdict(struct policy_check *c, enum verdict verdict, uint64_t now)
{
	if (c->verdict != verdict)
		c->since = now;
	c->verdict = verdict;
}

static void restart_unit(struct policy *p, uint64_t now, struct policy_actions *out)
{
	p->restarts_used++;
	p->was_patient = false;
	(void)act(p, out, ACTION_RESTART_UNIT);
	/* What was said of the old kiosk is not said of the new one. */
	for (enum check c = 0; c < CHECK_COUNT; c++)
		if (check_is_local(c) && c != CHECK_SCRIPTS)
			set_verdict(&p->checks[c], VERDICT_INCONCLUSIVE, now);
	p->local_since = p->ill_since = POLICY_NEVER;
}

static bool may_restart(const struct policy *p)
{
	return p->restarts_used < p->config.restarts;
}

/* How long the slot has to be well to settle, failures apart. */
static uint64_t to_settle(const struct policy *p)
{
	return p->facts.probation ? p->config.probation : p->config.settle;
}

static uint64_t settled_at(const struct policy *p, uint64_t healthy, uint64_t now)
{
	return later(now, to_settle(p) - sooner(healthy, to_settle(p)));
}

/* .settle_due tells how much is left of it. */
static uint64_t healthy_time(const struct policy *p, uint64_t now)
{
	uint64_t left = p->settle_due - sooner(now, p->settle_due);

	return to_settle(p) - sooner(left, to_settle(p));
}

static void write_healthy(struct policy *p, uint64_t healthy, uint64_t now,
			  struct policy_actions *out)
{
	/* No span of the configuration is longer than 7 days. */
	act(p, out, ACTION_HEALTHY)->seconds = (uint32_t)sooner(healthy / SEC, UINT32_MAX);
	p->facts.healthy = healthy;
	p->healthy_due = later(now, HEALTHY_AGAIN);
}

static void fail(struct policy *p, uint64_t now, struct policy_actions *out)
{
	/* Settling forgets the reboots that failures led to: only a time without any may. */
	if (p->settle_due != POLICY_NEVER)
		p->settle_due = settled_at(p, 0, now);
	blame_check(p);
	if (!may_restart(p)) {
		escalate(p, ACTION_KIOSK_FAILS, now, out);
		return;
	}
	if (p->facts.healthy > 0)
		write_healthy(p, 0, now, out);
	restart_unit(p, now, out);
	enter(p, GUARD_RECOVERING, now, later(now, p->config.recovery));
	p->collect_due = p->due;
}

static bool committed_collect(struct policy *p, uint64_t now, struct policy_actions *out)
{
	if (local_pass(p)) {
		enter(p, GUARD_WINDOW, now, later(p->local_since, p->config.window));
	} else if (is_hopeless(p) || (now >= p->collect_due && is_ill(p))) {
		fail(p, now, out);
	} else if (now >= p->collect_due) {
		rest(p, now); /* nobody can tell: nothing to act on */
	} else {
		p->due = p->collect_due;
		return false;
	}
	return true;
}

static bool committed_window(struct policy *p, uint64_t now, struct policy_actions *out)
{
	if (!local_pass(p)) {
		/* Once: one that breaks every window never comes to rest, or to its end. */
		if (!p->was_patient)
			p->collect_due = latest(p->collect_due, later(now, p->config.patience));
		p->was_patient = true;
		enter(p, GUARD_COLLECTING, now, p->collect_due);
		return true;
	}
	p->due = later(p->local_since, p->config.window);
	if (!window_over(p, now))
		return false;
	p->was_patient = false;
	p->facts.staying = false;
	p->stay_due = POLICY_NEVER;
	blame(p, REASON_NONE);
	p->stay_interval = p->config.stay;
	if (p->confirmed) {
		rest(p, now);
		return true;
	}
	confirm(p, now, out);
	return true;
}

/* Not written down yet: once more later. */
static void confirmed(struct policy *p, bool written, uint64_t now)
{
	p->confirm_due =
		written ? POLICY_NEVER : later(now, p->confirmed ? SETTLE_AGAIN : CONFIRM_AGAIN);
	if (p->confirmed) {
		rest(p, now);
		return;
	}
	p->confirmed = true;
	p->settle_due = settled_at(p, p->facts.healthy, now);
	p->healthy_due = p->facts.unsettled ? later(now, HEALTHY_AGAIN) : POLICY_NEVER;
	rest(p, now);
}

/* A trial that ended undecided mostly missed the server, and each costs one of few attempts: so
 * long after the start of the kernel, the next one waits for it. */
static uint64_t try_first(const struct policy *p)
{
	bool wait = p->facts.tried && p->checks[CHECK_SERVER].verdict != VERDICT_PASS;

	return latest(p->try_not_before, wait ? p->config.retry_pause : 0);
}

static bool may_be_tried(const struct policy *p)
{
	return p->facts.staged && !p->facts.installing;
}

static bool time_to_try(const struct policy *p, uint64_t now)
{
	if (!may_be_tried(p) || now < p->try_not_before)
		return false;
	if (p->try_asked)
		return true;
	return now >= try_first(p) && (p->config.try_when == TRY_NOW || now >= p->try_at ||
				       (p->config.try_when == TRY_IN_WINDOW && p->try_window));
}

/* When the answer of time_to_try() may be another one although nothing has happened. */
static uint64_t try_due(const struct policy *p, uint64_t now)
{
	uint64_t first = p->try_asked ? p->try_not_before : try_first(p);

	if (!may_be_tried(p))
		return POLICY_NEVER;
	return now < first ? first : latest(first, p->try_at);
}

static void try_staged(struct policy *p, uint64_t now, struct policy_actions *out)
{
	enter(p, GUARD_TRYING, now, later(now, ANSWER_TIMEOUT));
	(void)ask(p, out, ACTION_TRY);
}

static void settle(struct policy *p, struct policy_actions *out)
{
	p->settle_due = p->healthy_due = POLICY_NEVER;
	p->settle_id = act(p, out, ACTION_SETTLE)->id;
}

/* NEVER while something does not pass. */
static uint64_t settled_from(const struct policy *p)
{
	return latest(p->settle_due, later(p->local_since, p->config.window));
}

static uint64_t confirm_again(const struct policy *p)
{
	return latest(p->confirm_due, later(p->local_since, p->config.window));
}

/* Probation and committed: at rest, as long as the kiosk is well. */
static bool committed_rest(struct policy *p, uint64_t now, struct policy_actions *out)
{
	uint64_t patient = p->ill_since == POLICY_NEVER ? POLICY_NEVER
							: later(p->ill_since, p->config.patience);

	if (time_to_try(p, now)) {
		try_staged(p, now, out);
		return true;
	}
	if (is_hopeless(p) || now >= patient) {
		fail(p, now, out);
		return true;
	}
	if (!p->confirmed && local_pass(p)) {
		enter(p, GUARD_WINDOW, now, later(p->local_since, p->config.window));
		p->collect_due = p->due;
		return true;
	}
	/* Only what has been well for a whole window is settled. */
	if (settled_from(p) <= now)
		settle(p, out);
	if (now >= p->healthy_due && local_pass(p))
		write_healthy(p, healthy_time(p, now), now, out);
	if (now >= p->confirm_due && window_over(p, now)) {
		confirm(p, now, out);
		return true;
	}
	p->due = sooner(patient, try_due(p, now));
	if (local_pass(p))
		p->due = sooner(p->due,
				sooner(sooner(settled_from(p), p->healthy_due), confirm_again(p)));
	return false;
}

static bool committed_recover(struct policy *p, uint64_t now)
{
	/* No check is hopeless enough to cut this short: restarts are kept apart. */
	if (local_pass(p) || now >= p->due) {
		enter(p, GUARD_COLLECTING, now, p->collect_due);
		return true;
	}
	return false;
}

static bool committed_stay(struct policy *p, uint64_t now, struct policy_actions *out)
{
	if (window_over(p, now)) {
		enter(p, GUARD_WINDOW, now, now);
		p->collect_due = later(now, p->config.recovery);
		return true;
	}
	if (time_to_try(p, now)) {
		try_staged(p, now, out);
		return true;
	}
	if (now >= p->stay_due) {
		/* It may be another one by now. */
		if (is_ill(p))
			blame_check(p);
		escalate(p, ACTION_RETRY_OTHER, now, out);
		return true;
	}
	p->due = sooner(p->stay_due, try_due(p, now));
	if (p->local_since != POLICY_NEVER)
		p->due = sooner(p->due, later(p->local_since, p->config.window));
	return false;
}

/* ---- neither ---------------------------------------------------------------- */

static bool limbo(struct policy *p, uint64_t now, struct policy_actions *out)
{
	uint64_t patient = p->ill_since == POLICY_NEVER ? POLICY_NEVER
							: later(p->ill_since, p->config.patience);
	bool ill = now >= patient;

	/* A trial that could not be written down: the next boot is the committed slot again. */
	if ((ill || is_hopeless(p)) && in_trial(p)) {
		blame_check(p);
		give_up(p, now, out);
		return true;
	}
	if (ill && may_restart(p)) {
		blame_check(p);
		restart_unit(p, now, out);
		ill = false;
		patient = POLICY_NEVER;
	}
	p->due = ill ? POLICY_NEVER : patient;
	/* Nobody else says when what stood in the way is gone. */
	if (p->facts.role == ROLE_LIMBO)
		return false;
	if (now >= p->facts_due) {
		(void)act(p, out, ACTION_READ_FACTS);
		p->facts_due = later(now, FACTS_AGAIN);
	}
	p->due = sooner(p->due, p->facts_due);
	return false;
}

static void enter_role(struct policy *p, uint64_t now)
{
	switch (p->facts.role) {
	case ROLE_TRIAL:
		p->collect_due = trial_deadline(p, now);
		enter(p, GUARD_COLLECTING, now, p->collect_due);
		break;
	case ROLE_COMMITTED:
		/* A guard that starts late gives the kiosk the time of a restart. */
		p->collect_due = latest(p->config.start_deadline, later(now, p->config.recovery));
		enter(p, GUARD_COLLECTING, now, p->collect_due);
		break;
	case ROLE_UNKNOWN:
	case ROLE_LIMBO:
		enter_limbo(p, now);
		break;
	}
}

static void resume(struct policy *p, uint64_t now, struct policy_actions *out)
{
	if (p->facts.role == ROLE_COMMITTED && p->stay_due != POLICY_NEVER) {
		enter(p, GUARD_STAYING, now, p->stay_due);
	} else if (p->facts.role == ROLE_COMMITTED && p->confirmed) {
		rest(p, now);
	} else if (p->mark_pending && in_trial(p)) {
		read_back(p, now, out);
	} else {
		enter_role(p, now);
	}
}

/* ---- events ------------------------------------------------------------------- */

/* Phases that end this boot, or are about to: a shutdown by somebody else only helps them. */
static bool is_ending(const struct policy *p)
{
	return p->phase == GUARD_SAVING || p->phase == GUARD_REJECTING ||
	       p->phase == GUARD_ABORTING || p->phase == GUARD_ESCALATING ||
	       p->phase == GUARD_TRYING || p->phase == GUARD_REBOOTING;
}

static void staged_now(struct policy *p, const struct policy_facts *facts, uint64_t now)
{
	uint64_t rest = p->config.try_wait_max - sooner(facts->waited, p->config.try_wait_max);

	if (facts->staged && !p->facts.staged) {
		p->try_at = POLICY_NEVER;
		p->try_not_before = 0;
	}
	/* It shows only when the clock is set how long that really was. */
	if (facts->staged)
		p->try_at = sooner(p->try_at, later(now, rest));
	if (!facts->staged) {
		p->try_at = POLICY_NEVER;
		p->try_asked = false;
	}
	p->facts.staged = facts->staged;
	p->facts.tried = facts->tried;
	p->facts.waited = facts->waited;
	p->facts.installing = facts->installing;
}

/* Committed or rejected by a person, or by a Mark whose answer is still on its way. */
static void decided_elsewhere(struct policy *p, enum role role, uint64_t now,
			      struct policy_actions *out)
{
	bool down = p->phase == GUARD_GOING_DOWN;
	uint64_t due = p->due;

	if (role == ROLE_COMMITTED)
		committed(p, now, out);
	else
		enter_limbo(p, now);
	p->facts.role = role;
	if (down)
		enter(p, GUARD_GOING_DOWN, now, due);
}

/* A fallback that was committed has none; a person may have ended one. */
static void probation_now(struct policy *p, bool probation, uint64_t now)
{
	if (probation || !p->facts.probation)
		return;
	if (p->settle_due != POLICY_NEVER) {
		uint64_t healthy = healthy_time(p, now);

		p->facts.probation = false;
		p->settle_due = sooner(p->settle_due, settled_at(p, healthy, now));
	}
	p->facts.probation = false;
	if (p->phase == GUARD_PROBATION)
		rest(p, now);
}

/* News of a boot whose role is known. */
static void facts_again(struct policy *p, const struct policy_facts *facts, uint64_t now,
			struct policy_actions *out)
{
	if (in_trial(p) && facts->role != ROLE_TRIAL && (!is_ending(p) || p->phase == GUARD_SAVING))
		decided_elsewhere(p, facts->role, now, out);
	if (facts->role == ROLE_TRIAL) {
		p->facts.committable = facts->committable;
		p->facts.rejected = facts->rejected;
	}
	if (p->facts.role == ROLE_COMMITTED && facts->role == ROLE_COMMITTED)
		probation_now(p, facts->probation, now);
	p->facts.reached_before = p->facts.reached_before || facts->reached_before;
	if (in_trial(p) && p->phase == GUARD_LIMBO && facts->committable) {
		p->collect_due = later(now, p->config.recovery);
		p->commit_due = POLICY_NEVER; /* what failed before had to */
		enter(p, GUARD_COLLECTING, now, p->collect_due);
	}
	staged_now(p, facts, now);
}

static void on_facts(struct policy *p, const struct policy_event *e, uint64_t now,
		     struct policy_actions *out)
{
	/* A record that cannot be read now is no news. */
	if (e->facts.role == ROLE_UNKNOWN) {
		p->facts.installing = e->facts.installing;
		if (p->phase == GUARD_STARTING)
			enter_limbo(p, now);
	} else if (p->phase != GUARD_STARTING && p->facts.role != ROLE_UNKNOWN) {
		facts_again(p, &e->facts, now, out);
	} else {
		staged_now(p, &e->facts, now);
		p->facts = e->facts;
		p->local_since = POLICY_NEVER;	  /* of other checks, see judges() */
		if (p->phase != GUARD_GOING_DOWN) /* what follows there knows */
			enter_role(p, now);
	}
}

static void on_check(struct policy *p, const struct policy_event *e, uint64_t now)
{
	static const enum reason usual[CHECK_COUNT] = {
		[CHECK_UNIT] = REASON_KIOSK_NOT_ALIVE,
		[CHECK_HEARTBEAT] = REASON_KIOSK_SILENT,
		[CHECK_SCRIPTS] = REASON_CHECK_FAILED,
		[CHECK_SERVER] = REASON_SERVER_SILENT,
	};
	enum check check = (unsigned)e->check < CHECK_COUNT ? e->check : 0;
	struct policy_check *c = &p->checks[check];

	set_verdict(c, e->verdict, now);
	if (verdict_failed(e->verdict))
		c->reason = e->reason != REASON_NONE ? e->reason : usual[check];
}

static void on_marked(struct policy *p, const struct policy_event *e, uint64_t now,
		      struct policy_actions *out)
{
	if (!p->mark_pending || e->id != p->mark_id)
		return;
	p->mark_pending = e->mark == MARK_UNKNOWN;
	p->mark_busy = e->mark == MARK_BUSY;
	/* Without an answer it has to be looked for, but not twice at once. */
	if (p->phase == GUARD_COMMITTING && (!p->mark_pending || now > p->since))
		read_back(p, now, out);
}

static void on_done(struct policy *p, const struct policy_event *e, uint64_t now,
		    struct policy_actions *out)
{
	if (e->id == 0)
		return;
	if (e->id == p->settle_id) {
		p->settle_id = 0;
		p->settle_due = e->yes ? POLICY_NEVER : later(now, SETTLE_AGAIN);
		if (e->yes) {
			p->facts.probation = p->facts.unsettled = false;
			p->facts.healthy = 0;
		}
		if (p->phase == GUARD_PROBATION && e->yes)
			rest(p, now);
		return;
	}
	if (e->id != p->awaited)
		return;
	if (p->phase == GUARD_REJECTING || p->phase == GUARD_ABORTING) {
		reboot(p, false, now, out);
	} else if (p->phase == GUARD_CONFIRMING) {
		confirmed(p, e->yes, now);
	} else if (p->phase == GUARD_ESCALATING || p->phase == GUARD_TRYING) {
		if (e->yes && e->next != POLICY_GO_ON)
			reboot(p, e->next == POLICY_REBOOT_TRIAL, now, out);
		else
			p->due = now; /* as no answer in time, see on_time() */
	}
}

/* No answer came in time, or it was no. */
static bool unanswered(struct policy *p, uint64_t now, struct policy_actions *out)
{
	if (now < p->due)
		return false;
	switch (p->phase) {
	case GUARD_STARTING:
		if (++p->tries < FACTS_TRIES) {
			enter(p, GUARD_STARTING, now, later(now, ANSWER_TIMEOUT));
			(void)ask(p, out, ACTION_READ_FACTS);
		} else {
			enter_limbo(p, now);
		}
		break;
	case GUARD_READING_BACK:
		/* A disk that does not answer may hold the commit: nothing to contradict it by. */
		if (now >= p->commit_due)
			abort_trial(p, now, out);
		else
			not_committed(p, now, out);
		break;
	case GUARD_SAVING:
		reject(p, now, out);
		break;
	case GUARD_REJECTING:
	case GUARD_ABORTING:
		reboot(p, false, now, out);
		break;
	case GUARD_CONFIRMING:
		confirmed(p, false, now);
		break;
	case GUARD_ESCALATING:
		stay(p, now, out);
		break;
	case GUARD_TRYING:
		p->try_not_before = later(now, p->config.try_again);
		p->try_asked = false;
		resume(p, now, out);
		break;
	case GUARD_REBOOTING:
		climb(p, p->rung == RUNG_KERNEL ? RUNG_LOGIND : p->rung + 1, now, out);
		break;
	case GUARD_GOING_DOWN:
		resume(p, now, out);
		break;
	default:
		return false;
	}
	return true;
}

/* By a person, or by a guard before this one, which did not come to the reboot. */
static bool is_to_be_left(const struct policy *p)
{
	return in_trial(p) && p->facts.rejected && !p->mark_pending && !is_ending(p) &&
	       p->phase != GUARD_GOING_DOWN;
}

/* One transition that is due with what is known now; false: there is none. */
static bool move(struct policy *p, uint64_t now, struct policy_actions *out)
{
	bool trial = in_trial(p);

	if (is_to_be_left(p)) {
		blame(p, REASON_TRIAL_REJECTED);
		reject(p, now, out);
		return true;
	}
	switch (p->phase) {
	case GUARD_COLLECTING:
		return trial ? trial_collect(p, now, out) : committed_collect(p, now, out);
	case GUARD_WINDOW:
		return trial ? trial_go_on(p, now, out) : committed_window(p, now, out);
	case GUARD_WAITING:
	case GUARD_VERIFYING:
		return trial_go_on(p, now, out);
	case GUARD_COMMITTING:
		return trial_commit(p, now, out);
	case GUARD_PROBATION:
	case GUARD_COMMITTED:
		return committed_rest(p, now, out);
	case GUARD_RECOVERING:
		return committed_recover(p, now);
	case GUARD_STAYING:
		return committed_stay(p, now, out);
	case GUARD_LIMBO:
		return limbo(p, now, out);
	default:
		return unanswered(p, now, out);
	}
}

static void on_going_down(struct policy *p, bool down, uint64_t now, struct policy_actions *out)
{
	if (down && p->phase != GUARD_GOING_DOWN && p->phase != GUARD_STARTING && !is_ending(p))
		enter(p, GUARD_GOING_DOWN, now, later(now, GOING_DOWN_LIMIT));
	else if (!down && p->phase == GUARD_GOING_DOWN)
		resume(p, now, out);
}

static void on_root(struct policy *p, const struct policy_event *e)
{
	if (p->root_id == 0 || e->id != p->root_id)
		return;
	p->root_id = 0;
	p->root_done = true;
	p->root_corrupt = verdict_failed(e->verdict);
}

static void on_event(struct policy *p, const struct policy_event *e, uint64_t now,
		     struct policy_actions *out)
{
	bool mine = e->id != 0 && e->id == p->awaited;

	switch (e->type) {
	case EVENT_FACTS:
		on_facts(p, e, now, out);
		break;
	case EVENT_CHECK:
		on_check(p, e, now);
		break;
	case EVENT_SERVER:
		if (!e->yes)
			p->expected_since = POLICY_NEVER;
		else if (p->expected_since == POLICY_NEVER)
			p->expected_since = now;
		break;
	case EVENT_UNHEARD:
		/* A time in which it was not heard is no part of a window. */
		if (p->unheard && !e->yes)
			p->local_since = POLICY_NEVER;
		p->unheard = e->yes;
		break;
	case EVENT_ROOT:
		on_root(p, e);
		break;
	case EVENT_MARKED:
		on_marked(p, e, now, out);
		break;
	case EVENT_READ_BACK:
		if (mine && p->phase == GUARD_READING_BACK) {
			if (e->yes)
				committed(p, now, out);
			else
				not_committed(p, now, out);
		}
		break;
	case EVENT_DONE:
		on_done(p, e, now, out);
		break;
	case EVENT_SAVED:
		if (mine && p->phase == GUARD_SAVING)
			reject(p, now, out);
		break;
	case EVENT_TRY_ASKED:
		p->try_asked = p->facts.staged;
		break;
	case EVENT_TRY_WINDOW:
		p->try_window = e->yes;
		break;
	case EVENT_GOING_DOWN:
		on_going_down(p, e->yes, now, out);
		break;
	case EVENT_RUNG_FAILED:
		if (mine && p->phase == GUARD_REBOOTING && p->rung != RUNG_KERNEL)
			climb(p, p->rung + 1, now, out);
		break;
	case EVENT_TIME:
	case EVENT_COUNT:
		break;
	}
}

/* Since when all is well, or ill. Inconclusive is neither: it breaks a window, but blames nobody.
 */
static void weigh_checks(struct policy *p, uint64_t now)
{
	if (!local_pass(p))
		p->local_since = POLICY_NEVER;
	else if (p->local_since == POLICY_NEVER)
		p->local_since = now;
	else if (now >= later(p->local_since, p->config.settle))
		p->restarts_used = 0;
	if (!is_ill(p))
		p->ill_since = POLICY_NEVER;
	else if (p->ill_since == POLICY_NEVER)
		p->ill_since = now;
}

/* The system slept, or the guard was frozen: what was said before says nothing of that time, and
 * what should have come in it could not be seen. */
static void look_again(struct policy *p, uint64_t now)
{
	uint64_t gap = now - p->last_step;
	bool again = is_just_back(p, now);

	p->back_at = now;
	p->local_since = POLICY_NEVER;
	p->settle_due = later(p->settle_due, gap);
	if (p->expected_since != POLICY_NEVER)
		p->expected_since = now;
	if (in_trial(p) && p->phase == GUARD_COLLECTING)
		p->collect_due = latest(p->collect_due,
					sooner(later(now, p->config.recovery), trial_end(p, true)));
	/* A kiosk that leaves the guard no time to run is not to gain by it, for ever. */
	if (p->facts.role == ROLE_TRIAL || again)
		return;
	p->ill_since = POLICY_NEVER;
	if (p->facts.role == ROLE_COMMITTED) {
		p->collect_due = later(p->collect_due, gap);
		if (p->phase == GUARD_RECOVERING)
			p->due = p->collect_due;
	}
}

void policy_init(struct policy *ret, const struct policy_config *config, uint64_t now,
		 struct policy_actions *actions)
{
	*ret = (struct policy) {
		.config = *config,
		.last_step = now,
		.back_at = POLICY_NEVER,
		.local_since = POLICY_NEVER,
		.ill_since = POLICY_NEVER,
		.expected_since = POLICY_NEVER,
		.commit_due = POLICY_NEVER,
		.confirm_due = POLICY_NEVER,
		.settle_due = POLICY_NEVER,
		.healthy_due = POLICY_NEVER,
		.try_at = POLICY_NEVER,
		.stay_due = POLICY_NEVER,
		.blamed = CHECK_COUNT,
		.stay_interval = config->stay,
	};
	actions->count = 0;
	enter(ret, GUARD_STARTING, now, later(now, ANSWER_TIMEOUT));
	(void)ask(ret, actions, ACTION_READ_FACTS);
}

void policy_step(struct policy *p, const struct policy_event *event, uint64_t now,
		 struct policy_actions *ret)
{
	ret->count = 0;
	if (now - p->last_step > POLICY_WATCHED)
		look_again(p, now);
	else if (p->local_since == POLICY_NEVER) /* only health counts */
		p->settle_due = later(p->settle_due, now - p->last_step);
	p->last_step = now;
	on_event(p, event, now, ret);
	weigh_checks(p, now);
	for (unsigned i = 0; i < TRANSITIONS_MAX && move(p, now, ret); i++)
		weigh_checks(p, now);
}

uint64_t policy_due(const struct policy *p)
{
	return p->due;
}
