// SPDX-License-Identifier: MIT
/*
 * The boot rules of the running system; those of bf-init stand in rules.c, with
 * the meaning of W, S, R and RT. M+: the mark that a reboot is to be the trial; P+: the same,
 * and the reboot argument is written; P-: both are taken back. "ensure S": S(committed) unless
 * autoboot.txt names it already; where it is not in place, S makes the file anew. F: the file made
 * anew in any case.
 *
 *  request               | state                              | writes, in order          | next
 *  ----------------------+------------------------------------+---------------------------+-----
 *  set-state X bad       | X not running, committed not       | refused                   |
 *                        |   running (trial, wrong slot)      |                           |
 *                        | X not running, probation, X good,  | refused                   |
 *                        |   not staying, not forced          |                           |
 *                        | X not running                      | ensure S, P-, W(X bad, not|
 *                        |                                    | proven, not staged)       |
 *                        | X running, trial                   | as reject                 |
 *                        | X running, committed               | refused (1)               |
 *  set-primary X         | X not committed                    | ensure S, W(staged=X), M+ |
 *                        | X committed                        | as cancel                 |
 *  cancel                |                                    | P-, W(staged=-)           |
 *  try                   | staged, attempts < 6               | ensure S, W(attempts+1,   |
 *                        |                                    | last=attempt), P+         | RT
 *  shutdown for reboot   | staged and armed, attempts < 6     | the same                  | (2)
 *                        | trial without verdict              | W(trials-1, last=clean)   |
 *                        | committed, not settled             | W(last=clean)             |
 *  shutdown, no reboot   |                                    | as above, never a trial   |
 *  reconcile             | committed                          | ensure S                  |
 *                        | the same, repairs > 0, not in place| F                         |
 *                        | committed, staged, attempts < 6    | the same, M+              |
 *                        | wrong slot, repairs < 3            | F, W(repairs+1)           | R
 *                        | wrong slot                         | ensure S; not in place: F |
 *  set-state X good      | X not running                      | refused                   |
 *                        | trial                              | W(committed=X …), S(X), P-|
 *                        | committed                          | S and W if they change    |
 *  reject                | trial                              | P-, W(resolved)           | R (3)
 *                        | committed, forced; proven.other    |                           |
 *                        |   not "no"                         | ensure S, W(fallback), P+ | RT (4)
 *                        | neither                            | refused                   |
 *  healthy               | committed                          | W(healthy seconds)        |
 *  settle                | committed                          | W(counters 0) if changed  |
 *  kiosk fails           | ladder < 2                         | P-, W(ladder+1,last=clean)| R (4)
 *                        | staged, attempts < 6               | as try                    | RT
 *                        | staged, attempts = 6               | W(resolved)               | stay
 *                        | state.other = good                 | ensure S, W(fallback), P+ | RT
 *                        | else                               | -                         | stay
 *  retry other           | proven.other not "no"              | ensure S, W(fallback, n+1)| RT (4)
 *  (1) RAUC asks this when rauc.slot= is wrong (2) by the reboot that is under way
 *  (3) also when W failed (4) as try, when an update is staged, attempts < 6
 *
 * Why it is like this, where a simpler rule looks possible:
 * - A commit writes the record first: a cut before the sector is the ordinary
 *   "sector does not name the committed slot", which bf-init repairs.
 * - The attempt is counted before the reboot that it bounds, and the sector is
 *   right before the flag is set: a flag with a lost autoboot.txt could hang. That a slot is
 *   staged sets no flag yet: a reboot that runs no unit would be a trial that nobody counted.
 * - Nothing but a trial itself makes the slot it left bad, and the slot left by
 *   a fallback is unknown: it was good once, and two bad slots are a dead end.
 * - reconcile is where autoboot.txt is made anew: that takes a mount, which bf-init cannot do,
 *   nor the guard's sandbox. In the committed slot a text that somebody wrote, and that the
 *   firmware obeys, is left alone until it has to change; but where repairs were needed, it
 *   reads otherwise than we do. In a wrong slot one reboot is left for it, after those of
 *   bf-init, counted before it: a disk that forgets must not loop.
 * - Whether this is a trial is what bf-init found, not what the sector says now:
 *   the sector may have been lost since, and "commit" may come twice.
 */
#include "boot/requests.h"

static const struct refusal_text refusals[REFUSAL_COUNT] = {
	[REFUSAL_NONE] = { "Nothing was refused.", "Nothing." },
#define X(id, what, todo) [REFUSAL_##id] = { what, todo },
	REFUSALS(X)
#undef X
};

const struct refusal_text *refusal_text(enum refusal refusal)
{
	return &refusals[(unsigned)refusal < REFUSAL_COUNT ? refusal : REFUSAL_NONE];
}

/* ---- what is known ------------------------------------------------------ */

static bool is_slot(enum slot slot)
{
	return slot == SLOT_A || slot == SLOT_B;
}

static bool sector_names(const struct run_facts *facts, enum slot slot)
{
	return facts->selector == SELECTOR_VALID && facts->selector_committed == slot;
}

bool requests_is_trial(const struct run_facts *facts)
{
	if (!facts->validated || !is_slot(facts->running))
		return false;
	if (!facts->record_readable)
		return sector_names(facts, slot_other(facts->running));
	return facts->record.committed != facts->running && facts->record.staged == facts->running;
}

void requests_record(const struct run_facts *facts, struct record *ret)
{
	enum slot committed = facts->running;

	if (facts->record_readable) {
		*ret = facts->record;
		return;
	}
	if (facts->selector == SELECTOR_VALID)
		committed = facts->selector_committed;
	record_init(ret, is_slot(committed) ? committed : SLOT_A);
	record_add_history(ret, facts->now_sec, HISTORY_REBUILT, ret->committed, "");
	if (requests_is_trial(facts))
		ret->staged = facts->running;
}

/* The attempt of this boot is in the record already: somebody asked for the trial, and now it goes
 * down. */
static bool is_counted(const struct run_facts *facts, const struct record *rec)
{
	return rec->last.phase == PHASE_ATTEMPT && *facts->boot_id &&
	       streq(rec->last.boot_id, facts->boot_id) && rec->attempts > 0;
}

static bool may_try(const struct record *rec)
{
	return rec->staged != SLOT_NONE && rec->attempts < RULES_ATTEMPTS_MAX;
}

enum slot requests_armed_slot(const struct run_facts *facts)
{
	struct record rec;

	requests_record(facts, &rec);
	if (rec.committed != facts->running || rec.staged == SLOT_NONE)
		return SLOT_NONE;
	return may_try(&rec) || is_counted(facts, &rec) ? rec.staged : SLOT_NONE;
}

enum slot requests_primary(const struct run_facts *facts)
{
	enum slot armed = requests_armed_slot(facts);
	struct record rec;

	requests_record(facts, &rec);
	return armed != SLOT_NONE ? armed : rec.committed;
}

bool requests_is_good(const struct run_facts *facts, enum slot slot)
{
	const struct record *rec = &facts->record;
	bool runs = slot == facts->running;

	if (!is_slot(slot))
		return false;
	if (!facts->record_readable)
		return runs;
	if (slot == requests_armed_slot(facts) || (runs && requests_is_trial(facts)))
		return true;
	if (rec->state[slot] == STATE_GOOD || rec->state[slot] == STATE_BAD)
		return rec->state[slot] == STATE_GOOD;
	return rec->proven[slot] == PROVEN_YES || (runs && slot == rec->committed);
}

/* ---- a plan ------------------------------------------------------------- */

struct ask {
	const struct run_facts *facts;
	const struct request_args *args;
	struct request_plan *plan;
};

static void add_step(struct request_plan *plan, enum request_step step)
{
	unsigned i = 0;

	while (plan->steps[i] != STEP_END)
		i++;
	plan->steps[i] = step; /* one more than the longest list is there */
}

static void refuse(const struct ask *a, enum refusal why)
{
	a->plan->refusal = why;
}

/* A new generation only when something changes: what is asked twice is written once. */
static void add_record(const struct ask *a)
{
	char before[RECORD_SIZE], after[RECORD_SIZE];

	if (a->facts->record_readable) {
		record_format(&a->facts->record, before);
		record_format(&a->plan->record, after);
		if (memcmp(before, after, RECORD_SIZE) == 0)
			return;
	}
	add_step(a->plan, STEP_RECORD);
}

static void add_sector(const struct ask *a, enum slot slot)
{
	if (sector_names(a->facts, slot))
		return;
	a->plan->sector = slot;
	add_step(a->plan, STEP_SECTOR);
}

static void add_history(const struct ask *a, enum history_event event, enum slot slot,
			enum reason reason)
{
	record_add_history(&a->plan->record, a->facts->now_sec, event, slot,
			   reason == REASON_NONE ? "" : reason_text(reason)->code);
}

static void set_last(const struct ask *a, enum boot_phase phase)
{
	const struct run_facts *f = a->facts;

	record_set_last(&a->plan->record, f->running, phase, f->boot_id, f->has_count, f->count);
}

static enum reason reason_or(const struct ask *a, enum reason otherwise)
{
	return a->args->reason != REASON_NONE ? a->args->reason : otherwise;
}

/*
 * A boot that began as a trial, and neither record nor sector says whether it
 * was committed since: a new record would be a guess. bf-init, later, knows more.
 */
static bool is_anybodys_guess(const struct run_facts *facts)
{
	return facts->validated && !facts->record_readable && facts->selector != SELECTOR_VALID;
}

static enum refusal write_refusal(const struct run_facts *facts)
{
	return facts->record_future	  ? REFUSAL_FUTURE
	       : !facts->writable	  ? REFUSAL_DEGRADED
	       : is_anybodys_guess(facts) ? REFUSAL_LIMBO
					  : REFUSAL_NONE;
}

static bool can_write(const struct run_facts *facts)
{
	return write_refusal(facts) == REFUSAL_NONE;
}

/* What changes the selection is done in the committed slot only, and only when all agree which. */
static enum refusal committed_refusal(const struct ask *a)
{
	const struct run_facts *f = a->facts;

	if (f->mismatch)
		return REFUSAL_MISMATCH;
	if (requests_is_trial(f))
		return REFUSAL_TRIAL_RUNS;
	if (f->record_readable && f->record.committed != f->running)
		return REFUSAL_NOT_COMMITTED;
	if (f->limbo)
		return REFUSAL_LIMBO;
	if (a->plan->record.committed != f->running)
		return REFUSAL_NOT_COMMITTED;
	return write_refusal(f);
}

/* True when it was refused. */
static bool refused_outside_committed(const struct ask *a)
{
	refuse(a, committed_refusal(a));
	return a->plan->refusal != REFUSAL_NONE;
}

/* ---- the steps of several requests -------------------------------------- */

static void reboot_into_trial(const struct ask *a)
{
	add_sector(a, a->plan->record.committed);
	add_record(a);
	add_step(a->plan, STEP_COUNTED);
	a->plan->next = NEXT_REBOOT_TRIAL;
}

static void count_attempt(const struct ask *a)
{
	if (is_counted(a->facts, &a->plan->record))
		return;
	a->plan->record.attempts++;
	set_last(a, PHASE_ATTEMPT);
}

static void try_staged(const struct ask *a)
{
	count_attempt(a);
	reboot_into_trial(a);
}

static void try_fallback(const struct ask *a, enum reason reason)
{
	rules_stage_fallback(&a->plan->record);
	set_last(a, PHASE_ATTEMPT);
	add_history(a, HISTORY_FALLBACK, a->facts->running, reason);
	reboot_into_trial(a);
}

/* ---- requests ----------------------------------------------------------- */

static void give_trial_up(const struct ask *a, enum reason reason)
{
	struct record *rec = &a->plan->record;

	add_step(a->plan, STEP_DISARM);
	if (!can_write(a->facts))
		return;
	record_set_code(rec->trial_reason, reason_text(reason)->code);
	rules_resolve(rec, a->facts->now_sec);
	add_record(a);
}

/* This boot was a trial, and somebody has decided on it since: what is asked again is done. */
static bool was_trial(const struct ask *a)
{
	const struct run_facts *f = a->facts;

	return f->validated && f->committable && f->record_readable &&
	       f->record.committed != f->running;
}

static void set_bad_running(const struct ask *a)
{
	if (!requests_is_trial(a->facts)) {
		if (!was_trial(a))
			refuse(a, a->plan->record.committed == a->facts->running
					  ? REFUSAL_COMMITTED
					  : REFUSAL_NOT_COMMITTED);
		return;
	}
	refuse(a, write_refusal(a->facts));
	if (a->plan->refusal == REFUSAL_NONE)
		give_trial_up(a, reason_or(a, REASON_TRIAL_REJECTED));
}

static bool is_only_fallback(const struct ask *a, enum slot slot)
{
	const struct record *rec = &a->plan->record;

	return rec->probation && rec->state[slot] == STATE_GOOD && !a->facts->staying &&
	       !a->args->force;
}

static void set_bad(const struct ask *a)
{
	struct record *rec = &a->plan->record;
	enum slot slot = a->args->slot;

	if (a->facts->mismatch) {
		refuse(a, REFUSAL_MISMATCH);
		return;
	}
	if (slot == a->facts->running) {
		set_bad_running(a);
		return;
	}
	if (refused_outside_committed(a))
		return;
	if (is_only_fallback(a, slot)) {
		refuse(a, REFUSAL_PROBATION);
		return;
	}
	if (rec->staged == slot)
		rules_unstage(rec);
	rules_mark_bad(rec, slot);
	add_sector(a, rec->committed);
	add_step(a->plan, STEP_DISARM);
	add_record(a);
}

static void commit(const struct ask *a)
{
	const struct run_facts *f = a->facts;
	struct record *rec = &a->plan->record;
	bool fallback = rec->kind == KIND_FALLBACK;
	enum slot left = rec->committed;

	if (fallback && rec->probation)
		record_refuse(rec, rec->hash[left]);
	if (fallback)
		rec->state[left] = STATE_UNKNOWN;
	rules_unstage(rec);
	rec->committed = f->running;
	rec->state[f->running] = STATE_GOOD;
	rec->proven[f->running] = PROVEN_YES;
	rec->hard = rec->soft = rec->ladder = rec->repairs = rec->healthy_sec = 0;
	rec->probation = !fallback;
	set_last(a, PHASE_CONFIRMED);
	add_history(a, HISTORY_COMMITTED, f->running, REASON_NONE);
	add_record(a);
	add_sector(a, f->running);
	add_step(a->plan, STEP_DISARM);
}

/* Has this boot come further than "started" already? */
static bool is_past_start(const struct run_facts *facts, const struct record_last *last)
{
	return last->slot == facts->running && streq(last->boot_id, facts->boot_id) &&
	       last->phase != PHASE_STARTED && last->phase != PHASE_NONE;
}

static void confirm(const struct ask *a)
{
	struct record *rec = &a->plan->record;
	enum slot slot = a->facts->running;

	rec->state[slot] = STATE_GOOD;
	rec->proven[slot] = PROVEN_YES;
	if (a->facts->has_count) /* else a slot that dies later would never add up */
		rec->soft = 0;
	if (!is_past_start(a->facts, &rec->last))
		set_last(a, PHASE_CONFIRMED);
	add_sector(a, slot);
	add_record(a);
}

static enum refusal set_good_refusal(const struct ask *a, bool trial)
{
	const struct run_facts *f = a->facts;

	if (a->args->slot != f->running)
		return REFUSAL_NOT_RUNNING;
	if (f->mismatch)
		return REFUSAL_MISMATCH;
	if (!trial && f->record_readable && f->record.committed != f->running)
		return REFUSAL_NOT_COMMITTED;
	if (f->limbo)
		return REFUSAL_LIMBO;
	if (!trial && a->plan->record.committed != f->running)
		return REFUSAL_NOT_COMMITTED;
	if (!can_write(f))
		return write_refusal(f);
	return trial && !f->committable ? REFUSAL_NOT_COMMITTABLE : REFUSAL_NONE;
}

static void set_good(const struct ask *a)
{
	bool trial = requests_is_trial(a->facts);
	enum refusal refusal = set_good_refusal(a, trial);

	if (refusal != REFUSAL_NONE)
		refuse(a, refusal);
	else if (trial)
		commit(a);
	else
		confirm(a);
}

static void cancel(const struct ask *a)
{
	struct record *rec = &a->plan->record;
	enum slot slot = rec->staged;

	if (refused_outside_committed(a))
		return;
	add_step(a->plan, STEP_DISARM);
	if (slot == SLOT_NONE)
		return;
	rules_unstage(rec);
	add_history(a, HISTORY_GIVEN_UP, slot, REASON_TRIAL_CANCELLED);
	add_record(a);
}

static bool is_staged_afresh(const struct record *rec, enum slot slot, const char *hash)
{
	return rec->staged == slot && rec->kind == KIND_UPDATE && !rec->attempts && !rec->trials &&
	       !*rec->trial_reason && rec->state[slot] == STATE_UNKNOWN &&
	       streq(rec->hash[slot], hash);
}

static void set_primary(const struct ask *a)
{
	struct record *rec = &a->plan->record;
	enum slot slot = a->args->slot;
	char hash[RECORD_HASH_MAX + 1] = ""; /* what is no hash is none */

	if (slot == rec->committed) {
		cancel(a);
		return;
	}
	if (refused_outside_committed(a))
		return;
	if (is_only_fallback(a, slot)) {
		refuse(a, REFUSAL_PROBATION);
		return;
	}
	record_set_hash(hash, a->args->hash);
	if (!is_staged_afresh(rec, slot, hash)) {
		rules_unstage(rec);
		rec->staged = slot;
		rec->state[slot] = STATE_UNKNOWN;
		memcpy(rec->hash[slot], hash, sizeof(hash));
		add_history(a, HISTORY_STAGED, slot, REASON_NONE);
	}
	add_sector(a, rec->committed);
	add_record(a);
	add_step(a->plan, STEP_ARM);
}

static void try_now(const struct ask *a)
{
	const struct record *rec = &a->plan->record;

	if (refused_outside_committed(a))
		return;
	if (rec->staged == SLOT_NONE)
		refuse(a, REFUSAL_NOTHING_STAGED);
	else if (!may_try(rec) && !is_counted(a->facts, rec))
		refuse(a, REFUSAL_ATTEMPTS);
	else
		try_staged(a);
}

bool requests_is_wrong_slot(const struct run_facts *facts)
{
	return is_slot(facts->running) && facts->record_readable && !facts->mismatch &&
	       !facts->validated && facts->record.committed != facts->running;
}

static void add_file(const struct ask *a, enum slot slot)
{
	a->plan->sector = slot;
	add_step(a->plan, STEP_FILE);
}

static void leave_wrong_slot(const struct ask *a)
{
	struct record *rec = &a->plan->record;

	if (!can_write(a->facts) || rec->repairs >= RULES_REPAIRS_REBOOT_MAX) {
		if (a->facts->selector_in_place)
			add_sector(a, rec->committed);
		else
			add_file(a, rec->committed);
		return;
	}
	add_file(a, rec->committed);
	rec->repairs++;
	add_history(a, HISTORY_REPAIRED, rec->committed, REASON_WRONG_SLOT);
	add_record(a);
	a->plan->next = NEXT_REBOOT;
}

static void reconcile(const struct ask *a)
{
	const struct run_facts *f = a->facts;
	bool sure = committed_refusal(a) == REFUSAL_NONE;
	bool wanted = sure && requests_armed_slot(f) != SLOT_NONE;

	if (requests_is_wrong_slot(f))
		leave_wrong_slot(a);
	else if (sure && f->record_readable && f->record.repairs && !f->selector_in_place)
		add_file(a, f->record.committed);
	else if (sure && f->record_readable)
		add_sector(a, f->record.committed);
	if (wanted && !f->armed)
		add_step(a->plan, STEP_ARM);
	if (!wanted && f->armed)
		add_step(a->plan, STEP_DISARM);
}

/* Ended on purpose: a trial is aborted, not failed; the committed slot did not die. */
static void end_clean(const struct ask *a)
{
	struct record *rec = &a->plan->record;

	if (!can_write(a->facts) || rec->last.phase == PHASE_CLEAN || a->facts->mismatch)
		return;
	if (requests_is_trial(a->facts)) {
		/* Only what this trial itself has counted. */
		if (rec->trials > 0 && rec->last.phase == PHASE_TRIAL &&
		    rec->last.slot == a->facts->running)
			rec->trials--;
	} else if (rec->committed != a->facts->running || rec->last.phase == PHASE_SETTLED ||
		   rec->last.phase == PHASE_ATTEMPT || rec->last.slot != a->facts->running) {
		return;
	}
	set_last(a, PHASE_CLEAN);
	add_record(a);
}

static void shut_down(const struct ask *a, bool reboot)
{
	bool into_trial = reboot && a->facts->armed && committed_refusal(a) == REFUSAL_NONE &&
			  requests_armed_slot(a->facts) != SLOT_NONE;

	if (into_trial) {
		try_staged(a);
		a->plan->next = NEXT_BOOT; /* the reboot is under way already */
		return;
	}
	if (a->facts->armed)
		add_step(a->plan, STEP_DISARM);
	end_clean(a);
}

static void shut_down_reboot(const struct ask *a)
{
	shut_down(a, true);
}

static void shut_down_halt(const struct ask *a)
{
	shut_down(a, false);
}

/* @again: by the guard, at the end of an interval that the next time is longer. */
static void leave(const struct ask *a, enum reason reason, bool again)
{
	struct record *rec = &a->plan->record;

	if (refused_outside_committed(a))
		return;
	if (may_try(rec)) {
		try_staged(a);
		return;
	}
	rules_resolve(rec, a->facts->now_sec);
	if (rec->proven[slot_other(rec->committed)] == PROVEN_NO) {
		refuse(a, REFUSAL_NO_OTHER);
		return;
	}
	if (again && rec->doublings < RULES_DOUBLINGS_MAX)
		rec->doublings++;
	try_fallback(a, reason);
}

static void retry_other(const struct ask *a)
{
	leave(a, reason_or(a, REASON_KIOSK_FAILING), true);
}

static void reject(const struct ask *a)
{
	if (requests_is_trial(a->facts)) {
		a->plan->always = true;
		give_trial_up(a, reason_or(a, REASON_TRIAL_REJECTED));
	} else if (a->plan->record.committed != a->facts->running && !a->facts->validated) {
		refuse(a, REFUSAL_NOT_COMMITTED); /* nothing would bound such reboots */
		return;
	} else if (a->plan->record.committed != a->facts->running) {
		add_step(a->plan, STEP_DISARM); /* rejected before */
	} else if (a->args->force) {
		leave(a, reason_or(a, REASON_LEFT_BY_HAND), false);
		return;
	} else {
		refuse(a, REFUSAL_COMMITTED);
		return;
	}
	a->plan->next = NEXT_REBOOT;
}

static void healthy(const struct ask *a)
{
	uint32_t seconds = a->args->seconds;

	if (refused_outside_committed(a))
		return;
	a->plan->record.healthy_sec = seconds < RECORD_COUNTER_MAX ? seconds : RECORD_COUNTER_MAX;
	add_record(a);
}

static void settle(const struct ask *a)
{
	struct record *rec = &a->plan->record;

	if (refused_outside_committed(a))
		return;
	rec->hard = rec->soft = rec->doublings = rec->ladder = rec->repairs = rec->healthy_sec = 0;
	rec->probation = false;
	/* Unless this boot is about to end: that is said already. */
	if (!is_past_start(a->facts, &rec->last) ||
	    (rec->last.phase != PHASE_ATTEMPT && rec->last.phase != PHASE_CLEAN &&
	     rec->last.phase != PHASE_SETTLED))
		set_last(a, PHASE_SETTLED);
	add_sector(a, rec->committed);
	add_record(a);
}

static void climb_ladder(const struct ask *a, enum reason reason)
{
	struct record *rec = &a->plan->record;

	rec->ladder++;
	rec->healthy_sec = 0;
	add_history(a, HISTORY_FAILED, a->facts->running, reason);
	if (may_try(rec)) {
		try_staged(a);
		return;
	}
	set_last(a, PHASE_CLEAN);
	add_step(a->plan, STEP_DISARM);
	add_record(a);
	a->plan->next = NEXT_REBOOT;
}

static void kiosk_fails(const struct ask *a)
{
	enum reason reason = reason_or(a, REASON_KIOSK_FAILING);
	struct record *rec = &a->plan->record;

	if (refused_outside_committed(a))
		return;
	if (rec->ladder < REQUEST_LADDER_MAX) {
		climb_ladder(a, reason);
	} else if (may_try(rec)) {
		try_staged(a);
	} else if (rec->staged != SLOT_NONE) {
		rules_resolve(rec, a->facts->now_sec);
		add_step(a->plan, STEP_DISARM);
		add_record(a);
	} else if (rec->state[slot_other(rec->committed)] == STATE_GOOD) {
		try_fallback(a, reason);
	}
}

static const struct {
	void (*plan)(const struct ask *a);
	bool takes_slot;
} requests[] = {
	[REQUEST_SET_BAD] = { set_bad, true },
	[REQUEST_SET_GOOD] = { set_good, true },
	[REQUEST_SET_PRIMARY] = { set_primary, true },
	[REQUEST_CANCEL] = { cancel, false },
	[REQUEST_TRY] = { try_now, false },
	[REQUEST_RECONCILE] = { reconcile, false },
	[REQUEST_SHUTDOWN_REBOOT] = { shut_down_reboot, false },
	[REQUEST_SHUTDOWN_HALT] = { shut_down_halt, false },
	[REQUEST_REJECT] = { reject, false },
	[REQUEST_HEALTHY] = { healthy, false },
	[REQUEST_SETTLE] = { settle, false },
	[REQUEST_KIOSK_FAILS] = { kiosk_fails, false },
	[REQUEST_RETRY_OTHER] = { retry_other, false },
};

void requests_plan(const struct run_facts *facts, enum request request,
		   const struct request_args *args, struct request_plan *ret)
{
	static const struct request_args nothing = { .slot = SLOT_NONE };
	struct request_plan plan = { .sector = SLOT_NONE, .next = NEXT_BOOT };
	const struct ask a = { .facts = facts, .args = args ? args : &nothing, .plan = &plan };

	requests_record(facts, &plan.record);
	if (!is_slot(facts->running))
		refuse(&a, REFUSAL_UNKNOWN_SLOT);
	else if (requests[request].takes_slot && !is_slot(a.args->slot))
		refuse(&a, REFUSAL_SLOT);
	else
		requests[request].plan(&a);
	if (plan.refusal != REFUSAL_NONE)
		plan.steps[0] = STEP_END;
	*ret = plan;
}
