// SPDX-License-Identifier: MIT
/*
 * The boot rules as far as bf-init applies them. What a row needs that is not
 * obvious is said at the function that does it.
 *
 * T: the device tree says tryboot. [all], [tryboot]: the slots autoboot.txt
 * names. W: one record write. S: one write of autoboot.txt's sector. R: plain
 * reboot. RT: reboot into a trial, only with a sector that names the committed
 * slot. RN: reboot into the committed slot by its partition number, past autoboot.txt. in
 * place: the sector can be written; else the file has to be made anew, which takes
 * a mount: bf-boot reconcile does it (requests.c). dark: ended without a recorded reason. The
 * record is the truth, the sector follows it.
 *
 *  state                                                     | writes, in order        | next
 *  ----------------------------------------------------------+-------------------------+---------
 *  RECORD LOST, WRITABLE                                     |                         |
 *  [all] valid: committed = [all]; else committed = running  | with the next W         | as below
 *  TRIAL: T, running == [tryboot] == staged, sector valid    |                         |
 *  (record lost: staged = running)                           | W(trials+1, last=trial) | trial
 *  W failed or impossible                                    | -                       | trial (1)
 *  device tree and command line disagree                     | W(same, trial_reason)   | R
 *  STRAY: T, running == [tryboot], not staged, not           |                         |
 *  committed, repairs < 2                                    | W(repairs+1)            | R
 *  2 <= repairs < 6, proven.running not "no"                 | W(staged=running        |
 *                                                            | kind=fallback repairs+1,|
 *                                                            | as trial)               | trial
 *  else                                                      | -                       | boot (2)
 *  W failed or impossible, proven.running not "no"           | -                       | trial (1)
 *  WRONG SLOT: no trial, running != committed, repairs < 2   |                         |
 *  in place                                                  | S(committed)            |
 *                                                            | W(repairs+1)            | R
 *  not in place                                              | W(repairs+1)            | RN
 *  3 <= repairs < 6, proven.running not "no", or staged      | W(staged=running        |
 *                                                            | kind=fallback repairs+1,|
 *                                                            | as trial)               | trial (5)
 *  else, or W failed or impossible                           | S(committed) if in place| boot (2)
 *  neither record nor W                                      | -                       | boot (2)
 *  COMMITTED SLOT: evidence, resolve, count, decide, stamp   | W(all of it)            | boot
 *  sector does not name it, in place                         | W(same) S(committed)    | boot
 *  decide: leave it (only if the sector names it, or can)    | W(same)                 | RT
 *  decide: leave it, sector does not name it                 | S(committed) W(same)    | RT
 *  W failed                                                  | -                       | boot
 *  W impossible                                              | S(committed) if needed  | boot
 *  . evidence: staged, no trial_reason, last = trial, and    |                         |
 *    power-on since                                          | trials-1                |
 *    staged, no trial_reason, last = attempt, and            |                         |
 *    count == stored+2 (died before bf-init)                 | trials+1                |
 *  . resolve: trial_reason or trials = 3; an update          | state=bad proven=no     |
 *                                                            | refused+=hash staged=-  |
 *    the same; a fallback                                    | state=unknown staged=-  |
 *    attempts = 6                                            | state=unknown staged=-  |
 *                                                            | update: refused+=hash   |
 *  . count: the last boot of this slot, see count_effects    | hard+1 or soft+1        |
 *  . decide: hard >= 5 or soft >= 15; staged, attempts < 6   | attempts+1              | RT
 *    the same; none staged, state.other = good               | staged=other attempts=1 |
 *                                                            | kind=fallback           | RT
 *    hard >= 10*2^n or soft >= 30*2^n; none staged,          | the same and            |
 *    proven.other not "no"                                   | hard=soft=0, n+1        | RT
 *  BF-INIT FAILS in a trial                                  | W(trial_reason)         | R
 *  in one more trial than the committed slot took notice of  | W(trial_reason)         | R (3)
 *  in the committed slot                                     | W(last=failed, reason)  | R (3)
 *  in the committed slot, W impossible, sector right,        |                         |
 *  proven.other not "no" or record unreadable                | -                       | RT
 *  in what may be the committed slot: no record, no W,       |                         |
 *  sector lost                                               | -                       | RN
 *  in a wrong slot                                           | W(history)              | RN (3)
 *  there, with neither record nor W                          | -                       | R (3)
 *  W failed or impossible, where that means R                | -                       | R (4)
 *  (1) not committable (2) limbo: no install, no commit (3) after a delay
 *  (4) after one that grows with the firmware's count of resets (5) staged: as it is
 *
 * Why it is like this, where a simpler rule looks possible:
 * - The trial is checked against sector and record: the flag alone can be stale
 *   (a reboot argument left behind) or come with a lost autoboot.txt.
 * - A wrong slot is repaired here, before anything risky: nothing later is sure
 *   to run in it. Sector first: counter first, and two cuts in between would
 *   use the repairs up. Two repairs: a sector that does not stay must not loop.
 *   S also when the sector names the committed slot: the firmware may read a text
 *   otherwise than we do, but never our own.
 * - A wrong slot whose autoboot.txt is not in place is left by number: nothing
 *   that comes later is sure to run in it, and the committed slot has the mount.
 * - A slot that is started again and again, though all that can be done was done,
 *   is what the firmware can start: it stages itself, and is committed if it proves good. At
 *   most four times: a slot that cannot prove itself stays up then, and says so.
 * - A stray trial is sent back twice, not for ever: the committed slot may send
 *   it because it cannot start, and cannot use BF_DATA to say so, though the
 *   other slot can (a module is missing, its kernel is older).
 * - resolve runs here: a slot that fails before user space would never be
 *   resolved elsewhere, and A -> B -> A ... never ends.
 * - A fallback that fails, and a trial that only got lost, are "unknown", not
 *   "bad": their content was good once, and two bad slots are a dead end.
 * - Nothing reboots by a count that was not written: without a record write, or
 *   when it failed, what runs is booted.
 * - hard and soft: a person who cuts the power often and a slot that dies look
 *   alike before the slot is confirmed, so only what is surely the slot's fault
 *   counts against the small limit.
 */
#include "boot/rules.h"

enum slot identify_running(const struct firmware *fw, enum slot cmdline_slot, bool *ret_mismatch)
{
	enum slot slot = firmware_booted(fw);

	*ret_mismatch = slot != SLOT_NONE && cmdline_slot != SLOT_NONE && slot != cmdline_slot;
	return slot != SLOT_NONE ? slot : cmdline_slot;
}

/* ---- what is known ------------------------------------------------------ */

/* There is a record, or one can be made anew: a write is not hopeless. */
static bool can_write(const struct boot_facts *facts)
{
	return facts->writable && (facts->record_readable || facts->record_lost);
}

/* The record is the truth only when it was read, or is being made anew. */
static bool knows_committed(const struct boot_facts *facts)
{
	return facts->record_readable || can_write(facts);
}

static bool sector_names(const struct boot_facts *facts, enum slot slot)
{
	return facts->selector == SELECTOR_VALID && facts->selector_committed == slot;
}

/* What to go by: the record, a new one, or (nothing readable, nothing writable) the same guess. */
static void take_record(const struct boot_facts *facts, struct record *ret)
{
	if (facts->record_readable) {
		*ret = facts->record;
		return;
	}
	record_init(ret,
		    facts->selector == SELECTOR_VALID ? facts->selector_committed : facts->running);
	if (can_write(facts))
		record_add_history(ret, facts->now_sec, HISTORY_REBUILT, ret->committed, "");
}

enum role {
	ROLE_COMMITTED,
	ROLE_TRIAL,
	ROLE_STRAY, /* a trial boot, but not of the staged slot */
	ROLE_WRONG, /* neither committed nor a trial */
};

/*
 * Running the committed slot is never a trial, whatever flag and sector say:
 * leaving it by a reboot could end in a slot that does not come this far.
 */
static enum role role_of(const struct boot_facts *facts, const struct record *rec)
{
	if (facts->running == rec->committed)
		return ROLE_COMMITTED;
	if (!facts->tryboot || !sector_names(facts, slot_other(facts->running)))
		return ROLE_WRONG;
	if (!facts->record_readable || rec->staged == facts->running)
		return ROLE_TRIAL;
	return ROLE_STRAY;
}

/* ---- steps on the record ------------------------------------------------ */

static void increment(uint32_t *counter, uint32_t max)
{
	if (*counter < max)
		(*counter)++;
}

/*
 * The image that runs is not the one that the record knows in its slot. A disk that is worn out
 * forgets what it took, so the record may be older than the slot, or the other way round; or
 * somebody wrote the slot past us. Nothing is decided by it: it is told.
 */
static void note_changed_image(struct record *rec, const struct boot_facts *facts)
{
	const char *known = rec->hash[facts->running];

	if (*known && record_is_hex(facts->roothash, RECORD_HASH_MAX) &&
	    !streq(known, facts->roothash))
		record_add_history(rec, facts->now_sec, HISTORY_CHANGED, facts->running, "");
}

static void stamp(struct record *rec, const struct boot_facts *facts, enum boot_phase phase)
{
	note_changed_image(rec, facts);
	record_set_last(rec, facts->running, phase, facts->boot_id, facts->has_count, facts->count);
	record_set_hash(rec->hash[facts->running], facts->roothash);
}

/* How the boot of record.last ended, as far as the device tree's count of warm resets tells. */
enum ending { ENDING_UNKNOWN, ENDING_POWER, ENDING_WARM, ENDING_COUNT };

static enum ending ending_of_last(const struct record_last *last, const struct boot_facts *facts)
{
	if (!facts->has_count)
		return ENDING_UNKNOWN;
	if (last->has_count)
		return facts->count > last->count ? ENDING_WARM : ENDING_POWER;
	return facts->count <= 1 ? ENDING_POWER : ENDING_UNKNOWN;
}

/* What the count says about a trial that wrote nothing itself. */
static void weigh_evidence(struct record *rec, const struct boot_facts *facts)
{
	const struct record_last *last = &rec->last;

	if (rec->staged == SLOT_NONE || *rec->trial_reason)
		return;
	/* Ended by the power, not by the trial; attempts bounds how often. */
	if (last->phase == PHASE_TRIAL && last->slot == rec->staged && rec->trials > 0 &&
	    ending_of_last(last, facts) == ENDING_POWER)
		rec->trials--;
	/* One pass of the firmware was the trial's, one is ours: it died before bf-init. */
	if (last->phase == PHASE_ATTEMPT && last->has_count && facts->has_count &&
	    facts->count == (uint64_t)last->count + 2)
		increment(&rec->trials, RULES_TRIALS_MAX);
}

void rules_mark_bad(struct record *rec, enum slot slot)
{
	enum slot other = slot == SLOT_A ? SLOT_B : SLOT_A;

	rec->state[slot] = STATE_BAD;
	rec->proven[slot] = PROVEN_NO;
	/* Never both bad: RAUC and a person must always have a slot to go on with. */
	if (rec->state[other] == STATE_BAD)
		rec->state[other] = STATE_UNKNOWN;
}

void rules_unstage(struct record *rec)
{
	rec->staged = SLOT_NONE;
	rec->kind = KIND_UPDATE;
	rec->attempts = rec->trials = 0;
	rec->trial_reason[0] = '\0';
}

/* Since the slot was staged, as far as the history reaches back. */
static bool trial_ran(const struct record *rec)
{
	for (size_t i = 0; i < rec->history_count; i++)
		switch (rec->history[i].event) {
		case HISTORY_TRIAL:
			if (rec->history[i].slot == rec->staged)
				return true;
			break;
		case HISTORY_STAGED:
		case HISTORY_COMMITTED:
		case HISTORY_REJECTED:
		case HISTORY_GIVEN_UP:
			return false;
		default:
			break;
		}
	return false;
}

/* Why it is given up, where no trial has said so itself. */
static enum reason silent_reason(const struct record *rec)
{
	/* Lost attempts of a trial that did run are not "never ran". */
	if (rec->trials > 0)
		return REASON_TRIAL_DARK;
	/* Those that ran and count for nothing were aborted, or ended by the power. */
	return trial_ran(rec) ? REASON_TRIAL_UNDECIDED : REASON_TRIAL_NEVER_RAN;
}

void rules_resolve(struct record *rec, uint64_t now_sec)
{
	bool failed = *rec->trial_reason || rec->trials >= RULES_TRIALS_MAX;
	bool rejected = failed && rec->kind == KIND_UPDATE;
	enum slot slot = rec->staged;
	char why[RECORD_CODE_MAX + 1];

	if (slot == SLOT_NONE || (!failed && rec->attempts < RULES_ATTEMPTS_MAX))
		return;
	record_set_code(why, *rec->trial_reason ? rec->trial_reason
						: reason_text(silent_reason(rec))->code);
	if (rec->kind == KIND_UPDATE)
		record_refuse(rec, rec->hash[slot]);
	if (rejected)
		rules_mark_bad(rec, slot);
	else
		rec->state[slot] = STATE_UNKNOWN;
	rules_unstage(rec);
	record_add_history(rec, now_sec, rejected ? HISTORY_REJECTED : HISTORY_GIVEN_UP, slot, why);
}

enum effect { EFFECT_NONE, EFFECT_HARD, EFFECT_SOFT, EFFECT_PROBATION };

/* What the last boot of the committed slot counts for. PROBATION: hard in probation, else soft. */
static const enum effect count_effects[][ENDING_COUNT] = {
	/* unknown, power, warm */
	[PHASE_STARTED] = { EFFECT_SOFT, EFFECT_SOFT, EFFECT_HARD },
	[PHASE_CONFIRMED] = { EFFECT_PROBATION, EFFECT_NONE, EFFECT_HARD },
	[PHASE_CLEAN] = { EFFECT_SOFT, EFFECT_SOFT, EFFECT_SOFT },
	[PHASE_FAILED] = { EFFECT_HARD, EFFECT_HARD, EFFECT_HARD },
	[PHASE_SETTLED] = { EFFECT_NONE, EFFECT_NONE, EFFECT_NONE },
	/* A later version's: what it counted for, that version has counted. */
	[PHASE_OTHER] = { EFFECT_NONE, EFFECT_NONE, EFFECT_NONE },
};

_Static_assert(ARRAY_SIZE(count_effects) == PHASE_OTHER + 1, "a row for each phase");

/* A boot that may have died takes back the health of those before it. */
static bool may_have_died(enum boot_phase phase, enum ending ending)
{
	return phase == PHASE_FAILED ||
	       ((phase == PHASE_STARTED || phase == PHASE_CONFIRMED) && ending != ENDING_POWER);
}

static void count_last_boot(struct record *rec, const struct boot_facts *facts)
{
	enum ending ending = ending_of_last(&rec->last, facts);
	enum effect effect;

	if (rec->last.slot != rec->committed)
		return;
	if (may_have_died(rec->last.phase, ending))
		rec->healthy_sec = 0;
	effect = count_effects[rec->last.phase][ending];
	if (effect == EFFECT_PROBATION)
		effect = rec->probation ? EFFECT_HARD : EFFECT_SOFT;
	if (effect == EFFECT_HARD)
		increment(&rec->hard, RECORD_COUNTER_MAX);
	if (effect == EFFECT_SOFT)
		increment(&rec->soft, RECORD_COUNTER_MAX);
}

void rules_stage_fallback(struct record *rec)
{
	rules_unstage(rec);
	rec->staged = slot_other(rec->committed);
	rec->kind = KIND_FALLBACK;
	rec->attempts = 1;
	rec->healthy_sec = 0;
}

static bool retry_is_due(const struct record *rec)
{
	unsigned n = rec->doublings < RULES_DOUBLINGS_MAX ? rec->doublings : RULES_DOUBLINGS_MAX;

	return rec->hard >= (uint32_t)RULES_RETRY_HARD_BASE << n ||
	       rec->soft >= (uint32_t)RULES_RETRY_SOFT_BASE << n;
}

/* Has the committed slot failed too often, and is there another one to try? */
static bool decide_to_leave(struct record *rec)
{
	enum slot other = slot_other(rec->committed);

	if (rec->hard < RULES_HARD_MAX && rec->soft < RULES_SOFT_MAX)
		return false;
	if (rec->staged != SLOT_NONE) {
		if (rec->attempts >= RULES_ATTEMPTS_MAX)
			return false;
		rec->attempts++;
		return true;
	}
	if (rec->state[other] == STATE_GOOD) {
		rules_stage_fallback(rec);
		return true;
	}
	if (!retry_is_due(rec) || rec->proven[other] == PROVEN_NO)
		return false;
	rules_stage_fallback(rec);
	rec->hard = rec->soft = 0;
	increment(&rec->doublings, RULES_DOUBLINGS_MAX);
	return true;
}

/* ---- one function for each role ----------------------------------------- */

static void add_write(struct boot_decision *d, enum boot_write what)
{
	for (size_t i = 0; i < ARRAY_SIZE(d->writes); i++) {
		if (d->writes[i] == what)
			return;
		if (d->writes[i] == WRITE_NOTHING) {
			d->writes[i] = what;
			return;
		}
	}
}

static void add_history(struct boot_decision *d, const struct boot_facts *facts,
			enum history_event event, enum slot slot, enum reason reason)
{
	record_add_history(&d->record, facts->now_sec, event, slot,
			   reason == REASON_NONE ? "" : reason_text(reason)->code);
}

static void add_sector(struct boot_decision *d, const struct boot_facts *facts, enum reason reason)
{
	add_write(d, WRITE_SECTOR);
	d->sector = d->record.committed;
	add_history(d, facts, HISTORY_REPAIRED, d->sector, reason);
}

/*
 * bf-init has to be able to refuse a trial with crossed slots, but only when it
 * can say so in the record: a reboot that nothing counts could go on for ever.
 */
static void decide_trial(const struct boot_facts *facts, struct boot_decision *d)
{
	struct record *rec = &d->record;

	d->next = d->next_if_unwritten = NEXT_BOOT_TRIAL;
	if (facts->mismatch) {
		d->limbo = true;
		d->reason = REASON_SLOT_MISMATCH;
	}
	if (!can_write(facts))
		return;
	if (!facts->record_readable)
		rec->staged = facts->running;
	increment(&rec->trials, RULES_TRIALS_MAX);
	stamp(rec, facts, PHASE_TRIAL);
	add_history(d, facts, HISTORY_TRIAL, facts->running, REASON_NONE);
	add_write(d, WRITE_RECORD);
	d->committable = !facts->mismatch;
	if (facts->mismatch) {
		record_set_code(rec->trial_reason, reason_text(REASON_SLOT_MISMATCH)->code);
		d->next = NEXT_REBOOT;
	}
}

/*
 * The firmware starts this slot, and nothing that was done against it has helped: so it is
 * the fallback, staged by itself, unless it is known to be bad. False: it is not.
 */
static bool decide_own_trial(const struct boot_facts *facts, enum reason reason,
			     struct boot_decision *d)
{
	struct record *rec = &d->record;
	bool staged = rec->staged == facts->running;

	if (!can_write(facts) || rec->repairs >= RULES_REPAIRS_MAX ||
	    (!staged && rec->proven[facts->running] == PROVEN_NO))
		return false;
	if (!staged) {
		rules_stage_fallback(rec);
		add_history(d, facts, HISTORY_FALLBACK, rec->committed, reason);
	}
	rec->repairs++;
	decide_trial(facts, d);
	return true;
}

/*
 * A reboot argument left behind: back. But when nothing can be written, it is
 * the committed slot that sent us here because it cannot start
 * (rules_bf_init_failed()), and back would be a loop. Only a write that is
 * tried tells the two apart: a disk can refuse it without being read-only.
 * The same when the way back has only led here again: then this is the fallback
 * that the committed slot could not write down.
 */
static void decide_stray(const struct boot_facts *facts, struct boot_decision *d)
{
	struct record *rec = &d->record;
	bool rescue = rec->proven[facts->running] != PROVEN_NO;
	bool again = can_write(facts) && rec->repairs >= RULES_REPAIRS_INIT_MAX;

	if (again && decide_own_trial(facts, REASON_COMMITTED_FAILING, d))
		return;
	d->reason = REASON_TRIAL_NOT_STAGED;
	if (again) {
		d->limbo = true;
		return;
	}
	d->limbo = rescue && facts->mismatch;
	d->next = d->next_if_unwritten = rescue ? NEXT_BOOT_TRIAL : NEXT_REBOOT;
	if (!can_write(facts))
		return;
	rec->repairs++;
	add_history(d, facts, HISTORY_FAILED, facts->running, d->reason);
	add_write(d, WRITE_RECORD);
	d->next = NEXT_REBOOT;
}

static void decide_wrong(const struct boot_facts *facts, struct boot_decision *d)
{
	struct record *rec = &d->record;
	bool named = sector_names(facts, rec->committed);

	if (rec->repairs >= RULES_REPAIRS_REBOOT_MAX &&
	    decide_own_trial(facts, REASON_WRONG_SLOT, d))
		return;
	d->limbo = true;
	d->reason = REASON_WRONG_SLOT;
	if (!knows_committed(facts))
		return;
	if (facts->selector_in_place && !named)
		add_sector(d, facts, REASON_WRONG_SLOT);
	else /* the firmware could not start it, or reads otherwise than we do */
		add_history(d, facts, HISTORY_FAILED, rec->committed, REASON_WRONG_SLOT);
	if (facts->selector_in_place && named) {
		add_write(d, WRITE_SECTOR); /* nothing is written when the text is our own */
		d->sector = rec->committed;
	}
	if (!can_write(facts) || rec->repairs >= RULES_REPAIRS_INIT_MAX)
		return;
	rec->repairs++;
	add_write(d, WRITE_RECORD);
	d->next = facts->selector_in_place ? NEXT_REBOOT : NEXT_REBOOT_OTHER;
}

static void decide_committed(const struct boot_facts *facts, struct boot_decision *d)
{
	bool named = sector_names(facts, facts->running);
	bool repair = facts->selector_in_place && !named;
	struct record *rec = &d->record;

	if (facts->mismatch) {
		d->limbo = true;
		d->reason = REASON_SLOT_MISMATCH;
	}
	if (can_write(facts)) {
		weigh_evidence(rec, facts);
		rules_resolve(rec, facts->now_sec);
		count_last_boot(rec, facts);
		stamp(rec, facts, PHASE_STARTED);
		if ((named || repair) && decide_to_leave(rec)) {
			rec->last.phase = PHASE_ATTEMPT;
			d->next = NEXT_REBOOT_TRIAL;
			d->reason = REASON_COMMITTED_FAILING;
			if (repair) /* a trial needs the sector first */
				add_sector(d, facts, REASON_NONE);
			add_history(d, facts, HISTORY_FALLBACK, rec->committed, d->reason);
		}
		add_write(d, WRITE_RECORD);
	}
	if (repair && d->next == NEXT_BOOT && knows_committed(facts))
		add_sector(d, facts, REASON_NONE);
}

void rules_bf_init(const struct boot_facts *facts, struct boot_decision *ret)
{
	struct boot_decision d = {
		.sector = SLOT_NONE,
		.next = NEXT_BOOT,
		.next_if_unwritten = NEXT_BOOT,
		.reason = REASON_NONE,
	};

	take_record(facts, &d.record);
	switch (role_of(facts, &d.record)) {
	case ROLE_COMMITTED:
		decide_committed(facts, &d);
		break;
	case ROLE_TRIAL:
		decide_trial(facts, &d);
		break;
	case ROLE_STRAY:
		decide_stray(facts, &d);
		break;
	case ROLE_WRONG:
		decide_wrong(facts, &d);
		break;
	}
	*ret = d;
}

/* ---- bf-init itself fails ----------------------------------------------- */

/* A reason that the committed slot did not take away: it cannot, and this could go on for ever. */
static void fail_trial(const struct boot_facts *facts, enum reason reason, struct boot_decision *d,
		       uint32_t *delay)
{
	*delay = *d->record.trial_reason ? RULES_DELAY_STEP_SEC : 0;
	if (!can_write(facts))
		return;
	record_set_code(d->record.trial_reason, reason_text(reason)->code);
	add_write(d, WRITE_RECORD);
}

/* Nothing up to the limit, then one step more for each failure over it. */
static uint32_t growing_sec(uint32_t failures, uint32_t step_sec, uint32_t max_sec)
{
	uint32_t over = failures > RULES_HARD_MAX ? failures - RULES_HARD_MAX : 0;

	return over < max_sec / step_sec ? over * step_sec : max_sec;
}

static uint32_t delay_sec(uint32_t failures)
{
	return growing_sec(failures, RULES_DELAY_STEP_SEC, RULES_DELAY_MAX_SEC);
}

uint32_t rules_uncounted_delay_sec(bool has_count, uint32_t count)
{
	return has_count ? growing_sec(count, RULES_UNCOUNTED_STEP_SEC, RULES_UNCOUNTED_MAX_SEC)
			 : 0;
}

/* Without a record nothing counts and nothing would ever leave this slot: so at once. */
static void fail_committed(const struct boot_facts *facts, bool decided, enum reason reason,
			   struct boot_decision *d, uint32_t *delay)
{
	struct record *rec = &d->record;
	enum boot_next rescue = NEXT_REBOOT;

	if (sector_names(facts, rec->committed) &&
	    rec->proven[slot_other(rec->committed)] != PROVEN_NO)
		rescue = NEXT_REBOOT_TRIAL;
	/* Nothing says that it is the committed one, but that the firmware started it: the first.
	 * Before the decision GONE may only mean that nothing was read yet. */
	if (!facts->record_readable &&
	    (facts->selector == SELECTOR_INVALID || (decided && facts->selector == SELECTOR_GONE)))
		rescue = NEXT_REBOOT_OTHER;
	d->next_if_unwritten = rescue;
	if (!can_write(facts)) {
		d->next = rescue;
		*delay = rescue == NEXT_REBOOT ? delay_sec(rec->hard + 1) : 0;
		return;
	}
	rec->last.phase = PHASE_FAILED;
	record_set_code(rec->last.reason, reason_text(reason)->code);
	add_history(d, facts, HISTORY_FAILED, facts->running, reason);
	add_write(d, WRITE_RECORD);
	*delay = delay_sec(rec->hard + 1);
}

/*
 * Repaired as often as it may be, and the firmware still starts it: nothing left but to wait,
 * and to name the partition, should autoboot.txt be what cannot be repaired.
 */
static void fail_wrong(const struct boot_facts *facts, enum reason reason, struct boot_decision *d,
		       uint32_t *delay)
{
	*delay = RULES_DELAY_STEP_SEC;
	if (knows_committed(facts))
		d->next = d->next_if_unwritten = NEXT_REBOOT_OTHER;
	if (!can_write(facts))
		return;
	add_history(d, facts, HISTORY_FAILED, facts->running, reason);
	add_write(d, WRITE_RECORD);
}

void rules_bf_init_failed(const struct boot_facts *facts, const struct boot_decision *decision,
			  enum reason reason, struct boot_decision *ret, uint32_t *ret_delay_sec)
{
	struct boot_decision d;
	bool trial;

	*ret_delay_sec = 0;
	if (decision) {
		d = *decision;
		memset(d.writes, 0, sizeof(d.writes));
		d.sector = SLOT_NONE;
	} else {
		rules_bf_init(facts, &d);
	}
	trial = d.next == NEXT_BOOT_TRIAL;
	if (trial || d.next == NEXT_BOOT) {
		d.next = d.next_if_unwritten = NEXT_REBOOT;
		d.reason = reason;
		if (trial)
			fail_trial(facts, reason, &d, ret_delay_sec);
		else if (d.record.committed == facts->running)
			fail_committed(facts, decision != NULL, reason, &d, ret_delay_sec);
		else
			fail_wrong(facts, reason, &d, ret_delay_sec);
	}
	d.committable = false;
	*ret = d;
}
