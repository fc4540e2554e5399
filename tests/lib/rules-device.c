// SPDX-License-Identifier: MIT
#include "tests/lib/rules-device.h"

/* slot_other() without its third answer */
static enum slot other_slot(enum slot slot)
{
	return slot == SLOT_A ? SLOT_B : SLOT_A;
}

void power_off(struct device *d)
{
	d->flag = d->by_number = d->off = false;
	d->count = 0;
	d->running = SLOT_NONE;
}

static void violate(struct device *d, const char *what)
{
	if (!d->violation)
		d->violation = what;
}

/* False: that was the last one. */
static bool written(struct device *d)
{
	d->writes++;
	if (d->cut_at && --d->cut_at == 0)
		d->off = true;
	return !d->off;
}

static bool write_sector(struct device *d, enum slot slot)
{
	if (d->off || d->gone)
		return !d->off;
	if (slot == SLOT_NONE)
		violate(d, "autoboot.txt names no slot");
	else if (!d->proven[slot])
		violate(d, "I3: autoboot.txt names a slot that was never confirmed");
	d->all = d->cut_at == 1 && d->torn ? SLOT_NONE : slot;
	d->sector_writes++;
	return written(d);
}

/* -1: not written. */
static int write_record(struct device *d, const struct record *rec)
{
	char buf[RECORD_SIZE];
	struct record back;

	if (d->off || d->read_only || d->no_data || d->write_fails)
		return -1;
	record_format(rec, buf);
	if (record_parse(buf, sizeof(buf), &back) < 0)
		violate(d, "a record that cannot be read back");
	if (rec->state[SLOT_A] == STATE_BAD && rec->state[SLOT_B] == STATE_BAD)
		violate(d, "I2: both slots bad");
	d->record = *rec;
	d->lost = false;
	d->record_writes++;
	(void)written(d);
	return 0;
}

static struct boot_facts device_facts(const struct device *d)
{
	struct boot_facts f = {
		.running = d->running,
		.tryboot = d->tryboot,
		.has_count = d->has_count,
		.count = d->has_count ? d->count : 0,
		.selector = d->gone		  ? SELECTOR_GONE
			    : d->all == SLOT_NONE ? SELECTOR_INVALID
						  : SELECTOR_VALID,
		.selector_committed = d->gone ? SLOT_NONE : d->all,
		.selector_in_place = !d->gone,
		.record_readable = !d->no_data && !d->lost,
		.record_lost = !d->no_data && d->lost,
		.writable = !d->no_data && !d->read_only,
		.now_sec = 1735689600 + d->boots,
	};

	if (f.record_readable)
		f.record = d->record;
	return f;
}

/* As bf-init does; the decision that is left is what was carried out. */
static void carry_out(struct device *d, struct boot_facts *f)
{
	struct boot_decision *decision = &d->decision;

	for (size_t i = 0; i < ARRAY_SIZE(decision->writes) && !d->off; i++) {
		if (decision->writes[i] == WRITE_SECTOR)
			(void)write_sector(d, decision->sector);
		if (decision->writes[i] == WRITE_RECORD && write_record(d, &decision->record) < 0) {
			decision->next = decision->next_if_unwritten;
			decision->committable = false;
			f->writable = false;
			return;
		}
	}
}

static void check_decision(struct device *d, const struct boot_facts *f)
{
	const struct boot_decision *decision = &d->decision;
	enum slot staged = f->record.staged;

	if (f->record_readable && decision->record.committed != f->record.committed)
		violate(d, "I3: bf-init has committed a slot");
	if (f->record_readable && staged != SLOT_NONE && f->record.kind == KIND_UPDATE &&
	    decision->record.state[staged] == STATE_BAD && f->record.state[staged] != STATE_BAD &&
	    !d->trial_ran)
		violate(d, "I4: a trial that never ran made a slot bad");
	if (decision->next == NEXT_REBOOT_TRIAL && decision->writes[0] == WRITE_NOTHING)
		violate(d, "I5: a trial was asked for that nothing counts");
}

static void restart(struct device *d, enum boot_next next)
{
	d->number = slot_other(d->running);
	d->by_number = next == NEXT_REBOOT_OTHER;
	d->flag = next == NEXT_REBOOT_TRIAL;
	d->running = SLOT_NONE;
}

/* What the firmware starts. */
static void firmware(struct device *d)
{
	enum slot slot = d->all;

	d->boots++;
	d->count++;
	d->tryboot = d->flag;
	d->flag = false;
	if (d->by_number && !d->deaf)
		slot = d->number;
	else if (slot == SLOT_NONE || d->gone)
		slot = SLOT_A;
	else if (d->tryboot)
		slot = other_slot(slot);
	if (d->content[slot] == CONTENT_EMPTY)
		slot = other_slot(slot);
	d->by_number = false;
	d->running = slot;
	if (d->tryboot && slot == d->record.staged)
		d->trial_ran = true;
}

void boot_once(struct device *d)
{
	struct boot_facts f;

	firmware(d);
	if (d->content[d->running] == CONTENT_PRE || d->content[d->running] == CONTENT_EMPTY) {
		restart(d, NEXT_REBOOT);
		return;
	}
	f = device_facts(d);
	rules_bf_init(&f, &d->decision);
	check_decision(d, &f);
	carry_out(d, &f);
	if (!d->off && !next_is_reboot(d->decision.next) &&
	    d->content[d->running] == CONTENT_INIT) {
		rules_bf_init_failed(&f, &d->decision, REASON_VERITY_CORRUPT, &d->decision,
				     &d->delay_sec);
		carry_out(d, &f);
	}
	if (d->off)
		power_off(d);
	else if (next_is_reboot(d->decision.next))
		restart(d, d->decision.next);
	else if (d->content[d->running] == CONTENT_DARK)
		restart(d, NEXT_REBOOT);
}

bool boot_up(struct device *d, unsigned max)
{
	for (unsigned i = 0; i < max && d->running == SLOT_NONE; i++)
		boot_once(d);
	return d->running != SLOT_NONE;
}

/* ---- what bf-boot and the guard do in a system that is up ---------------- */

bool in_trial(const struct device *d)
{
	return d->decision.next == NEXT_BOOT_TRIAL;
}

static bool on_committed(const struct device *d)
{
	return d->running != SLOT_NONE && !in_trial(d) && !d->lost && !d->no_data &&
	       d->record.committed == d->running;
}

static void end_with(struct device *d, enum boot_next next)
{
	if (d->off)
		power_off(d);
	else
		restart(d, next);
}

static bool ensure_sector(struct device *d)
{
	return d->all == d->record.committed || write_sector(d, d->record.committed);
}

/* autoboot.txt is made anew: for a moment there is none. */
static bool make_file(struct device *d)
{
	d->gone = true;
	if (!written(d))
		return false;
	d->gone = false;
	d->all = d->record.committed;
	d->sector_writes++;
	return written(d);
}

/* What bf-boot reconcile does about autoboot.txt. False: nothing. */
static bool reconcile(struct device *d)
{
	struct record r = d->record;
	bool wrong = !in_trial(d) && r.committed != d->running;
	bool counted = wrong && !d->read_only && r.repairs < RULES_REPAIRS_REBOOT_MAX;

	if (d->lost || d->no_data || in_trial(d) || !(d->gone || counted))
		return false;
	r.repairs++;
	if (!make_file(d) || (counted && (write_record(d, &r) < 0 || d->off))) {
		if (d->off)
			power_off(d);
		return true;
	}
	if (counted)
		end_with(d, NEXT_REBOOT);
	return true;
}

void guard_commit(struct device *d)
{
	struct record r = d->record;
	enum slot left = other_slot(d->running);

	d->proven[d->running] = true;
	if (r.kind == KIND_FALLBACK) {
		r.state[left] = STATE_UNKNOWN;
		if (r.probation)
			record_refuse(&r, r.hash[left]);
	}
	r.probation = r.kind == KIND_UPDATE;
	r.committed = d->running;
	r.state[d->running] = STATE_GOOD;
	r.proven[d->running] = PROVEN_YES;
	r.staged = SLOT_NONE;
	r.kind = KIND_UPDATE;
	r.attempts = r.trials = r.hard = r.soft = r.ladder = r.repairs = r.doublings = 0;
	r.trial_reason[0] = '\0';
	r.last.phase = PHASE_CONFIRMED;
	if (write_record(d, &r) == 0 && !d->off)
		(void)(d->gone ? make_file(d) : write_sector(d, d->running));
	d->decision.next = NEXT_BOOT;
}

static void guard_reject(struct device *d)
{
	struct record r = d->record;

	strcpy(r.trial_reason, reason_text(REASON_HANDOVER)->code);
	rules_resolve(&r, 1735689600);
	(void)write_record(d, &r);
	end_with(d, NEXT_REBOOT);
}

void guard_confirm(struct device *d)
{
	struct record r = d->record;

	d->proven[d->running] = true;
	r.last.phase = PHASE_CONFIRMED;
	r.state[d->running] = STATE_GOOD;
	r.proven[d->running] = PROVEN_YES;
	if (d->has_count)
		r.soft = 0;
	(void)write_record(d, &r);
	if (!d->off)
		(void)ensure_sector(d);
}

void guard_settle(struct device *d)
{
	struct record r = d->record;

	r.hard = r.soft = r.ladder = r.repairs = r.doublings = 0;
	r.probation = false;
	r.last.phase = PHASE_SETTLED;
	(void)write_record(d, &r);
}

void guard_try(struct device *d)
{
	struct record r = d->record;

	if (!ensure_sector(d)) {
		end_with(d, NEXT_REBOOT);
		return;
	}
	r.attempts++;
	r.last.phase = PHASE_ATTEMPT;
	end_with(d, write_record(d, &r) == 0 ? NEXT_REBOOT_TRIAL : NEXT_REBOOT);
}

static void guard_fallback(struct device *d)
{
	struct record r = d->record;

	if (!ensure_sector(d)) {
		end_with(d, NEXT_REBOOT);
		return;
	}
	d->trial_ran = false;
	r.staged = other_slot(d->running);
	r.kind = KIND_FALLBACK;
	r.attempts = 1;
	r.trials = 0;
	r.trial_reason[0] = '\0';
	r.last.phase = PHASE_ATTEMPT;
	end_with(d, write_record(d, &r) == 0 ? NEXT_REBOOT_TRIAL : NEXT_REBOOT);
}

bool clean_end(struct device *d)
{
	struct record r = d->record;

	if (d->running == SLOT_NONE)
		return false;
	if (!d->lost && !d->no_data) {
		if (in_trial(d) && r.trials > 0)
			r.trials--;
		r.last.phase = r.last.phase == PHASE_SETTLED ? PHASE_SETTLED : PHASE_CLEAN;
		(void)write_record(d, &r);
	}
	end_with(d, NEXT_REBOOT);
	return true;
}

void dark_end(struct device *d)
{
	restart(d, NEXT_REBOOT);
}

bool install(struct device *d, enum content content, const char *hash)
{
	enum slot there = other_slot(d->running);
	struct record r = d->record;

	if (!on_committed(d) || d->read_only || record_is_refused(&r, hash))
		return false;
	if (!ensure_sector(d))
		goto off;
	if (r.staged == there) {
		r.staged = SLOT_NONE;
		r.kind = KIND_UPDATE;
		r.attempts = r.trials = 0;
		r.trial_reason[0] = '\0';
	}
	r.state[there] = STATE_BAD;
	r.proven[there] = PROVEN_NO;
	if (r.state[d->running] == STATE_BAD)
		r.state[d->running] = STATE_UNKNOWN;
	if (write_record(d, &r) < 0)
		return false;
	d->proven[there] = false;
	d->content[there] = CONTENT_INIT; /* half written: root first, boot filesystem last */
	if (d->off)
		goto off;
	d->content[there] = content;
	d->trial_ran = false;
	r.staged = there;
	r.kind = KIND_UPDATE;
	r.attempts = r.trials = 0;
	r.trial_reason[0] = '\0';
	r.state[there] = STATE_UNKNOWN;
	strcpy(r.hash[there], hash);
	(void)write_record(d, &r);
	if (!d->off)
		return true;
off:
	power_off(d);
	return false;
}

bool guard_step(struct device *d)
{
	bool healthy = d->content[d->running] == CONTENT_GOOD;
	struct record r = d->record;

	if (!d->write_fails && reconcile(d))
		return true;
	if (in_trial(d)) {
		if (healthy && !d->decision.committable)
			return false;
		if (healthy) {
			guard_commit(d);
			if (d->off)
				power_off(d);
		} else {
			guard_reject(d);
		}
		return true;
	}
	if (!on_committed(d) || d->read_only || d->write_fails)
		return false;
	if (r.staged != SLOT_NONE && r.attempts < RULES_ATTEMPTS_MAX) {
		guard_try(d);
		return true;
	}
	if (!healthy && r.ladder < 2) {
		r.ladder++;
		r.last.phase = PHASE_CLEAN;
		(void)write_record(d, &r);
		end_with(d, NEXT_REBOOT);
		return true;
	}
	if (!healthy && r.staged != SLOT_NONE) { /* attempts used up: resolve, and stay */
		rules_resolve(&r, 1735689600);
		(void)write_record(d, &r);
		if (d->off)
			power_off(d);
		return d->running == SLOT_NONE;
	}
	if (!healthy) { /* what is only proven is tried again after a growing time: not here */
		if (r.state[other_slot(d->running)] != STATE_GOOD)
			return false;
		guard_fallback(d);
		return true;
	}
	if (r.last.phase == PHASE_SETTLED && !r.probation && d->all == r.committed)
		return false;
	guard_confirm(d);
	if (!d->off)
		guard_settle(d);
	if (d->off)
		power_off(d);
	return true;
}

bool run_on(struct device *d, unsigned max)
{
	unsigned last = d->boots + max;

	while (d->boots < last) {
		if (!boot_up(d, last - d->boots))
			return false;
		if (!guard_step(d))
			return true;
	}
	return false;
}

struct device new_device(enum slot committed)
{
	struct device d = {
		.all = committed,
		.running = SLOT_NONE,
		.proven = { true, true },
	};

	record_init(&d.record, committed);
	for (enum slot s = SLOT_A; s < SLOT_COUNT; s++) {
		d.record.state[s] = STATE_GOOD;
		d.record.proven[s] = PROVEN_YES;
		strcpy(d.record.hash[s], s == SLOT_A ? "a0" : "b0");
	}
	record_set_last(&d.record, committed, PHASE_SETTLED, "", false, 0);
	return d;
}
