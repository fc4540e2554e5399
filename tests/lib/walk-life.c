// SPDX-License-Identifier: MIT
#include "tests/lib/walk-life.h"

#include "boot/sys.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/requests-text.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/sysmacros.h>

/* ---- the guard, in its simplest form -------------------------------------- */

static void stay(struct world *w)
{
	w->staying = true;
	if (!w->in_memory)
		fake_file(RUNNING_STAYING, "");
}

static bool guard_trial(struct world *w, const struct run_facts *f, const struct fault *fault,
			struct outcome *ret)
{
	const struct request_args args = { .slot = f->running, .reason = REASON_KIOSK_FAILING };
	bool trial = requests_is_trial(f);

	if (w->mistake == MISTAKE_EARLY && trial && !content_is_healthy(w->content[f->running])) {
		*ret = world_ask(w, REQUEST_SET_GOOD, &args, fault);
		return true;
	}
	if (content_is_healthy(w->content[f->running])) {
		if (!f->committable || !f->writable || f->limbo)
			return false; /* stays up uncommitted */
		if (trial) {
			w->proven[f->running] = true; /* the window is over */
			*ret = world_ask(w, REQUEST_SET_GOOD, &args, fault);
			w->confirmed = ret->hit == FAULT_NONE;
			return true;
		}
	}
	*ret = world_ask_and_do(w, REQUEST_REJECT, &args, fault);
	return true;
}

static bool guard_failing(struct world *w, const struct fault *fault, struct outcome *ret)
{
	const struct request_args args = { .slot = SLOT_NONE, .reason = REASON_KIOSK_FAILING };

	if (!w->staying) {
		*ret = world_ask_and_do(w, REQUEST_KIOSK_FAILS, &args, fault);
		if (ret->hit == FAULT_NONE && ret->next == NEXT_BOOT && w->up)
			stay(w);
		return true;
	}
	if (w->retried)
		return false;
	*ret = world_ask_and_do(w, REQUEST_RETRY_OTHER, &args, fault);
	w->retried = ret->hit == FAULT_NONE;
	return true;
}

static bool guard_committed(struct world *w, const struct run_facts *f, const struct fault *fault,
			    struct outcome *ret)
{
	const struct request_args args = { .slot = f->running };
	enum content c = w->content[f->running];

	if (requests_armed_slot(f) != SLOT_NONE) {
		*ret = world_ask_and_do(w, REQUEST_TRY, NULL, fault);
		return true;
	}
	if (content_is_healthy(c) && !w->confirmed) {
		w->proven[f->running] = true;
		*ret = world_ask(w, REQUEST_SET_GOOD, &args, fault);
		w->confirmed = ret->hit == FAULT_NONE;
		return true;
	}
	if (c != CONTENT_GOOD)
		return guard_failing(w, fault, ret);
	if (w->settled)
		return false;
	*ret = world_ask(w, REQUEST_SETTLE, NULL, fault);
	w->settled = ret->hit == FAULT_NONE;
	return true;
}

/* What comes next by itself in a system that is up. False: nothing; it stays as it is. */
static bool guard_step(struct world *w, const struct fault *fault, struct outcome *ret)
{
	enum content c = w->content[w->running];
	struct run_facts f;

	*ret = (struct outcome) { .next = NEXT_BOOT };
	if (!w->reconciled) {
		*ret = world_ask_and_do(w, REQUEST_RECONCILE, NULL, fault);
		w->reconciled = true;
		return true;
	}
	if (c == CONTENT_DARK || (c == CONTENT_LATER_DARK && w->confirmed)) {
		world_restart(w, false);
		return true;
	}
	if (c == CONTENT_REBOOTS) {
		ret->calls = world_reboot(w, fault);
		return true;
	}
	world_expected_facts(w, &f);
	if (f.validated && !(f.record_readable && f.record.committed == f.running))
		return guard_trial(w, &f, fault, ret);
	if (f.limbo || !f.record_readable || !f.writable || f.record.committed != f.running)
		return false;
	return guard_committed(w, &f, fault, ret);
}

/* ---- I1, I5: what becomes of it without further faults -------------------- */

/* False: still restarting after @max boots. */
static bool run_on(struct world *w, unsigned max)
{
	unsigned end = w->boots + max;
	struct outcome o;

	while (w->boots < end)
		if (!w->up)
			(void)world_boot_once(w, &no_fault);
		else if (!guard_step(w, &no_fault, &o))
			return true;
	return false;
}

/* The slots that a retry of the other one may have to wait for, see rules.h. */
static unsigned boots_needed(const struct world *w)
{
	uint32_t n = w->disk.has_record ? w->disk.record.doublings : 0;

	return 100 +
	       (4u * RULES_RETRY_SOFT_BASE << (n < RULES_DOUBLINGS_MAX ? n : RULES_DOUBLINGS_MAX));
}

/*
 * Confirmed, and that came to be written down. A good update whose commit never was,
 * and whose attempts are used up, is given up by design.
 */
static bool has_good_slot(const struct world *w)
{
	for (enum slot s = SLOT_A; s < SLOT_COUNT; s++)
		if (w->content[s] == CONTENT_GOOD && w->proven[s] &&
		    !(w->disk.has_record && w->disk.record.proven[s] == PROVEN_NO))
			return true;
	return false;
}

/* A good update that nothing speaks against yet. */
static bool has_good_update(const struct world *w)
{
	const struct record *r = &w->disk.record;

	return w->disk.has_record && r->staged != SLOT_NONE && r->kind == KIND_UPDATE &&
	       w->content[r->staged] == CONTENT_GOOD && r->attempts < RULES_ATTEMPTS_MAX &&
	       r->trials < RULES_TRIALS_MAX && !*r->trial_reason;
}

static void judge_end(struct world *w, const struct world *start, const struct world *end,
		      const char *when)
{
	const struct record *r = &end->disk.record;
	enum content c = end->content[end->running];

	if (has_good_slot(start) && c != CONTENT_GOOD)
		world_violate(w,
			      "I1: %s it ends in slot %s, which is %s, though there is a good one",
			      when, slot_name(end->running), content_names[c]);
	if (r->committed != end->running)
		world_violate(w, "I1: %s it ends in slot %s, which is not committed", when,
			      slot_name(end->running));
	if (end->disk.all != r->committed)
		world_violate(w, "I1: %s it ends with a sector that does not follow the record",
			      when);
	if (has_good_update(start) &&
	    end->version[end->running] != start->version[start->disk.record.staged])
		world_violate(w, "I1: %s a good update is not committed in the end", when);
}

static void judge_future(struct world *w, const struct world *start, const char *when)
{
	struct world end = *start;
	bool stands;

	end.in_memory = true;
	end.dump = NULL;
	stands = run_on(&end, boots_needed(start));
	if (*end.violation)
		world_violate(w, "%s: %s", when, end.violation);
	else if (stands)
		judge_end(w, start, &end, when);
	else if (has_good_slot(start))
		world_violate(w, "I5: %s it restarts for ever, though there is a good slot", when);
}

static bool is_as_before(const struct world *w, const struct world *before)
{
	return w->disk.has_record == before->disk.has_record &&
	       w->disk.record.gen == before->disk.record.gen && w->disk.all == before->disk.all &&
	       w->disk.usable == before->disk.usable && w->disk.in_place == before->disk.in_place &&
	       w->flag == before->flag && w->number == before->number &&
	       memcmp(w->content, before->content, sizeof(w->content)) == 0 &&
	       memcmp(w->version, before->version, sizeof(w->version)) == 0 &&
	       memcmp(w->proven, before->proven, sizeof(w->proven)) == 0;
}

/* From where it stands: by itself, and when the power is cut now. */
static void check_future(struct world *w, const struct world *before)
{
	struct world start = *w;

	if (is_as_before(w, before))
		return;
	start.next_data = DATA_OK;
	start.violation[0] = '\0';
	if (!w->up && w->flag)
		judge_future(w, &start, "with its flag");
	if (!w->up && w->number != SLOT_NONE)
		judge_future(w, &start, "by number");
	world_power_off(&start);
	judge_future(w, &start, "after a power cut");
}

/* ---- the other invariants, from step to step ------------------------------- */

static bool says(const struct record *r, const struct record *before, enum history_event event,
		 enum slot slot)
{
	for (size_t i = 0; i < r->history_count; i++) {
		const struct history_entry *h = &r->history[i];

		if (h->event == event && h->slot == slot && *h->reason && i <= 4 &&
		    (r->gen > before->gen))
			return true;
	}
	return false;
}

/* What was staged is not any more, and was not committed. */
static void check_unstaged(struct world *w, const struct record *b, const struct record *a)
{
	bool replaced = w->asked == REQUEST_SET_BAD && w->running != b->staged;
	bool taken_back = w->asked == REQUEST_CANCEL || w->asked == REQUEST_SET_PRIMARY;

	if (replaced)
		return;
	if (!says(a, b, HISTORY_REJECTED, b->staged) && !says(a, b, HISTORY_GIVEN_UP, b->staged))
		world_violate(w, "I8: slot %s was left without a reason", slot_name(b->staged));
	if (b->kind == KIND_UPDATE && !taken_back && !record_is_refused(a, b->hash[b->staged]))
		world_violate(w, "I6: a bundle that was given up is not refused");
}

static void check_refused(struct world *w, const struct record *b, const struct record *a)
{
	bool full = *a->refused[RECORD_REFUSED_MAX - 1];

	for (size_t i = 0; i < RECORD_REFUSED_MAX && *b->refused[i]; i++)
		if (!full && !record_is_refused(a, b->refused[i]))
			world_violate(w, "I6: a refused bundle is not refused any more");
}

static void check_commit(struct world *w, const struct record *b, const struct record *a)
{
	bool fallback = b->kind == KIND_FALLBACK;

	if (w->asked != REQUEST_SET_GOOD || w->running != a->committed ||
	    w->decision.next != NEXT_BOOT_TRIAL)
		world_violate(w, "I3: slot %s was committed, but not by itself",
			      slot_name(a->committed));
	if (!w->proven[a->committed])
		world_violate(w, "I3: slot %s was committed before its window was over",
			      slot_name(a->committed));
	if (fallback && b->probation && *b->hash[b->committed] &&
	    !record_is_refused(a, b->hash[b->committed]))
		world_violate(w, "I6: an update left in probation is not refused");
}

static void check_records(struct world *w, const struct record *b, const struct record *a)
{
	enum slot x = b->staged;

	if (a->committed != b->committed)
		check_commit(w, b, a);
	else if (x != SLOT_NONE && a->staged == SLOT_NONE)
		check_unstaged(w, b, a);
	if (a->kind == KIND_FALLBACK && a->staged != SLOT_NONE &&
	    (b->staged == SLOT_NONE || b->kind == KIND_UPDATE) &&
	    !says(a, b, HISTORY_FALLBACK, a->committed))
		world_violate(w, "I8: slot %s is left without a reason", slot_name(a->committed));
	if (x != SLOT_NONE && !w->trial_ran && a->state[x] == STATE_BAD &&
	    b->state[x] != STATE_BAD && w->asked != REQUEST_SET_BAD)
		world_violate(w, "I4: slot %s is bad, but its trial never ran", slot_name(x));
	check_refused(w, b, a);
}

/*
 * A flag that is set must stand on an attempt that is counted. The exception is
 * the committed slot's own failure in bf-init when nothing can be written.
 */
static void check_flag(struct world *w)
{
	const struct record *r = &w->disk.record;

	if (!w->flag || w->rescue || !w->disk.has_record)
		return;
	if (r->staged == SLOT_NONE || r->attempts == 0 || r->last.phase != PHASE_ATTEMPT)
		world_violate(w, "I5: a trial was asked for that nothing counts");
}

/* The record is the truth, the sector follows it: never ahead, wherever the power is cut. */
static void check_order(struct world *w, const struct disk_view *before)
{
	const struct disk_view *now = &w->disk;

	if (now->usable && now->in_place && now->all != before->all && now->has_record &&
	    !w->unread && now->record.committed != now->all)
		world_violate(w, "the sector was written before the record");
}

static void check_step(struct world *w, const struct world *old)
{
	const struct disk_view *before = &old->disk;
	const struct record *b = &before->record, *a = &w->disk.record;

	if (w->disk.has_record) {
		if (a->state[SLOT_A] == STATE_BAD && a->state[SLOT_B] == STATE_BAD)
			world_violate(w, "I2: both slots are bad");
		/*
		 * One generation lost, or not given by the medium when it was
		 * asked for, is a step back in time, not a change of mind.
		 */
		if (before->has_record && a->gen > b->gen && !w->unread)
			check_records(w, b, a);
		for (enum slot s = SLOT_A; s < SLOT_COUNT; s++)
			if (a->state[s] == STATE_BAD)
				w->proven[s] = false;
		if (a->staged != SLOT_NONE &&
		    (!before->has_record ||
		     (a->gen > b->gen &&
		      (b->staged != a->staged || a->attempts < b->attempts || a->kind != b->kind))))
			w->trial_ran = w->running == a->staged &&
				       (w->tryboot || w->decision.next == NEXT_BOOT_TRIAL);
	}
	/* What a person wrote is nobody's fault here, but none of it is in place. */
	if (w->disk.usable && w->disk.in_place && !w->proven[w->disk.all])
		world_violate(w, "I3: autoboot.txt names slot %s, which was never confirmed",
			      slot_name(w->disk.all));
	check_order(w, before);
	if (!old->flag)
		check_flag(w);
}

/* ---- chance ---------------------------------------------------------------- */

static uint32_t roll(struct dice *d, uint32_t sides)
{
	d->state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
	uint64_t z = d->state;

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)((z ^ (z >> 31)) >> 32) % sides;
}

static bool chance(struct dice *d, uint32_t percent)
{
	return roll(d, 100) < percent;
}

/* ---- one life ---------------------------------------------------------------- */

static void did(struct life *l, const char *fmt, ...) _printf_(2, 3);
static void did(struct life *l, const char *fmt, ...)
{
	size_t n = strlen(l->did);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(l->did + n, sizeof(l->did) - n, fmt, ap);
	va_end(ap);
}

static void real_disk(struct world *w, enum slot committed)
{
	char number[32], text[AUTOBOOT_SIZE + 1] = "";
	struct stat st;
	int fd;

	fake_reset();
	world_disk_begins();
	autoboot_format(committed, text);
	world_make_selector(text, AUTOBOOT_SIZE);
	fake_dir(WORLD_DATA);
	fake_dir("/run/systemd");
	if (stat(fake_path(WORLD_DATA), &st) < 0)
		text_die("no %s", WORLD_DATA);
	(void)snprintf(number, sizeof(number), "%u:%u\n", major(st.st_dev), minor(st.st_dev));
	fake_file("/sys/class/block/" WORLD_DISK "6/dev", number);
	fd = sys_open(WORLD_DATA, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0 || record_store(fd, &w->disk.record) < 0)
		text_die("the record cannot be stored");
	close_p(&fd);
	world_look(w);
}

void life_begins(struct life *l, uint64_t seed)
{
	FILE *dump = l->w.dump, *trace = l->trace;
	enum mistake mistake = l->w.mistake;
	enum slot committed;

	*l = (struct life) { .dice.state = seed * UINT64_C(0xd1342543de82ef95), .trace = trace };
	committed = roll(&l->dice, 2) ? SLOT_B : SLOT_A;
	l->w = (struct world) {
		.proven = { true, true },
		.version = { 1, 2 },
		.has_count = chance(&l->dice, 60),
		.number = SLOT_NONE,
		.deaf = chance(&l->dice, 20),
		.dump = dump,
		.mistake = mistake,
	};
	l->version = 2;
	l->committed = committed;
	l->calls = 100;
	record_init(&l->w.disk.record, committed);
	for (enum slot s = SLOT_A; s < SLOT_COUNT; s++) {
		l->w.disk.record.state[s] = STATE_GOOD;
		l->w.disk.record.proven[s] = PROVEN_YES;
		version_hash(l->w.version[s], l->w.disk.record.hash[s]);
	}
	record_set_last(&l->w.disk.record, committed, PHASE_SETTLED, "", false, 0);
	real_disk(&l->w, committed);
}

static struct fault draw_fault(struct life *l)
{
	static const int errors[] = { EIO, ENOSPC, EROFS };
	struct fault f = { .kind = FAULT_NONE };
	uint32_t n = roll(&l->dice, 100);

	if (n >= 36) /* about every second strikes: the others come when the program is over */
		return f;
	f.kind = n < 20 ? FAULT_CUT : n < 28 ? FAULT_FAIL : FAULT_KILL;
	f.call = 1 + roll(&l->dice, l->calls + 2);
	f.error = errors[roll(&l->dice, ARRAY_SIZE(errors))];
	if (f.kind == FAULT_CUT && chance(&l->dice, 60))
		f.torn = 1 + roll(&l->dice, chance(&l->dice, 70) ? AUTOBOOT_SIZE : RECORD_SIZE);
	return f;
}

static void tell_fault(struct life *l, const struct fault *f, enum fault_kind hit)
{
	static const char *const names[] = { "", "power cut", "failure", "killed" };

	if (hit == FAULT_NONE)
		return;
	did(l, " [%s at call %u", names[hit], f->call);
	if (f->torn)
		did(l, ", torn at %zu", f->torn);
	did(l, "]");
	l->cuts += hit == FAULT_CUT;
	l->kills += hit == FAULT_KILL;
	l->fails += hit == FAULT_FAIL;
}

static void note_calls(struct life *l, unsigned calls)
{
	if (calls > l->calls)
		l->calls = calls;
}

/* -- what a disk can suffer -- */

static void lose_selector(struct life *l)
{
	char junk[AUTOBOOT_SIZE];
	bool zeroes = chance(&l->dice, 40);

	for (size_t i = 0; i < sizeof(junk); i++)
		junk[i] = zeroes ? 0 : (char)roll(&l->dice, 256);
	world_damage_selector(junk);
	did(l, "autoboot.txt is lost");
}

/* What people make of it. None of it has the size that one write can change. */
static void edit_selector(struct life *l)
{
	enum slot s = roll(&l->dice, 2) ? SLOT_B : SLOT_A;
	char text[AUTOBOOT_SIZE + 1] = "";
	size_t len;

	autoboot_format(s, text);
	len = strlen(text);
	while (len > 1 && text[len - 2] == '\n')
		text[--len] = '\0';
	switch (roll(&l->dice, 4)) {
	case 0:
		world_make_selector(NULL, 0);
		did(l, "autoboot.txt is deleted");
		break;
	case 1:
		(void)snprintf(text, sizeof(text), "boot_partition=%d\n", s == SLOT_A ? 2 : 3);
		world_make_selector(text, strlen(text));
		did(l, "autoboot.txt has one line: %s", slot_name(s));
		break;
	case 2:
		world_make_selector(text, 600);
		did(l, "autoboot.txt has 600 bytes: %s", slot_name(s));
		break;
	default:
		world_make_selector(text, len);
		did(l, "autoboot.txt is written by hand: %s", slot_name(s));
		break;
	}
}

static void damage_record(struct life *l, bool both)
{
	static const char *const names[] = { WORLD_DATA "/bf/boot-record",
					     WORLD_DATA "/bf/boot-record.old" };
	uint32_t one = roll(&l->dice, 2);

	for (uint32_t i = 0; i < 2; i++) {
		if (!both && i != one)
			continue;
		if (chance(&l->dice, 50))
			fake_remove(names[i]);
		else
			fake_file(names[i], "not a record");
	}
	did(l, both ? "the record is lost" : "one generation of the record is lost");
}

/* Only while another slot could take over, or things go well: hopeless lives end soon anyhow. */
static void rot(struct life *l)
{
	static const enum content to[] = { CONTENT_INIT,  CONTENT_DARK,	      CONTENT_KIOSK,
					   CONTENT_LATER, CONTENT_LATER_DARK, CONTENT_REBOOTS };
	enum slot s = l->w.disk.record.committed;

	if (!l->w.disk.has_record || l->w.content[s] != CONTENT_GOOD)
		return;
	l->w.content[s] = to[roll(&l->dice, ARRAY_SIZE(to))];
	did(l, "slot %s turns %s", slot_name(s), content_names[l->w.content[s]]);
}

/* -- an installation, as RAUC does it -- */

static enum content draw_content(struct life *l)
{
	return chance(&l->dice, 50) ? CONTENT_GOOD
				    : (enum content)(1 + roll(&l->dice, CONTENT_COUNT - 1));
}

/* The server offers the newest bundle; often enough the one that it offered before. */
static bool take_offer(struct life *l)
{
	const struct disk_view *v = &l->w.disk;
	char hash[RECORD_HASH_MAX + 1];

	if (!l->offered_version || chance(&l->dice, 60)) {
		l->offered_version = ++l->version;
		l->offered = draw_content(l);
	}
	version_hash(l->offered_version, hash);
	if (l->w.version[l->w.running] == l->offered_version)
		return false;
	if (l->w.data != DATA_MISSING && v->has_record && record_is_refused(&v->record, hash)) {
		l->refused_offers++;
		return false;
	}
	return true;
}

static void install_begins(struct life *l)
{
	enum slot target = the_other(l->w.running);
	const struct request_args args = { .slot = target };
	struct fault fault = draw_fault(l);
	struct outcome o;

	if (!take_offer(l)) {
		did(l, "a refused bundle is offered");
		return;
	}
	o = world_ask(&l->w, REQUEST_SET_BAD, &args, &fault);
	note_calls(l, o.calls);
	did(l, "set-state %s bad (v%u, %s)%s", slot_name(target), l->offered_version,
	    content_names[l->offered], o.refusal ? " refused" : "");
	tell_fault(l, &fault, o.hit);
	if (o.hit != FAULT_NONE || o.refusal != REFUSAL_NONE)
		return;
	if (l->w.disk.has_record && l->w.disk.record.committed == target)
		world_violate(&l->w, "I1: RAUC overwrites the committed slot");
	if (world_firmware_choice(&l->w, false) == target)
		world_violate(&l->w, "I1: RAUC overwrites what the firmware starts");
	l->install = 1;
	l->w.content[target] = CONTENT_INIT;
	l->w.proven[target] = false;
}

static void install_goes_on(struct life *l)
{
	enum slot target = the_other(l->w.running);
	struct request_args args = { .slot = target };
	struct fault fault;
	struct outcome o;

	if (l->install == 1) {
		did(l, "the root image is written");
		l->w.content[target] = CONTENT_PRE;
		l->install = 2;
		return;
	}
	if (l->install == 2) {
		did(l, "the boot image is written");
		l->w.content[target] = l->offered;
		l->w.version[target] = l->offered_version;
		l->install = 3;
		return;
	}
	fault = draw_fault(l);
	version_hash(l->w.version[target], args.hash);
	o = world_ask(&l->w, REQUEST_SET_PRIMARY, &args, &fault);
	note_calls(l, o.calls);
	did(l, "set-primary %s", slot_name(target));
	tell_fault(l, &fault, o.hit);
	l->install = 0;
}

/* -- requests out of the blue -- */

static void any_request(struct life *l)
{
	static const enum request from[] = {
		REQUEST_SET_BAD,  REQUEST_SET_GOOD,    REQUEST_SET_PRIMARY, REQUEST_CANCEL,
		REQUEST_TRY,	  REQUEST_RECONCILE,   REQUEST_REJECT,	    REQUEST_KIOSK_FAILS,
		REQUEST_SET_GOOD, REQUEST_RETRY_OTHER,
	};
	struct world *w = &l->w;
	enum request request = from[roll(&l->dice, ARRAY_SIZE(from))];
	struct request_args args = { .slot = roll(&l->dice, 2) ? SLOT_B : SLOT_A };
	struct fault fault = draw_fault(l);
	bool here = args.slot == w->running;
	struct outcome o;

	if (request == REQUEST_REJECT)
		args.force = chance(&l->dice, 20);
	if (request == REQUEST_RETRY_OTHER && !w->staying)
		return;
	if (request == REQUEST_SET_GOOD && here) {
		if (!content_is_healthy(w->content[w->running]))
			return; /* nobody says so */
		w->proven[w->running] = true;
	}
	if (request == REQUEST_SET_PRIMARY && !here)
		version_hash(w->version[args.slot], args.hash);
	/* What is only half written is marked bad, and nobody makes it the primary by hand. */
	if (request == REQUEST_SET_PRIMARY && !here && w->disk.record.state[args.slot] == STATE_BAD)
		return;
	o = world_ask_and_do(w, request, &args, &fault);
	note_calls(l, o.calls);
	did(l, "%s %s%s", text_requests[request], slot_name(args.slot),
	    o.refusal ? " refused" : "");
	tell_fault(l, &fault, o.hit);
	if (request == REQUEST_SET_GOOD && !here && o.hit == FAULT_NONE && !o.refusal)
		world_violate(w, "I3: a slot that does not run was marked good");
}

/* ---- one step ------------------------------------------------------------------ */

static void step_down(struct life *l)
{
	struct fault fault = draw_fault(l);
	uint32_t n = roll(&l->dice, 100);
	unsigned calls;

	l->install = 0;
	if (n < 2 && l->w.flag) {
		l->w.flag = false;
		did(l, "the flag is lost");
	} else if (n < 4) {
		world_power_off(&l->w);
		did(l, "the power is cut");
	} else if (n < 6) {
		(chance(&l->dice, 50) ? lose_selector : edit_selector)(l);
	} else if (n < 9) {
		damage_record(l, n < 7 && chance(&l->dice, 50));
	} else {
		if (n < 13)
			l->w.next_data = n < 11 ? DATA_READONLY : DATA_MISSING;
		calls = world_boot_once(&l->w, &fault);
		note_calls(l, calls);
		did(l, "boot of slot %s%s%s", slot_name(l->w.running),
		    l->w.tryboot ? ", trial" : "",
		    n < 12   ? ", BF_DATA read-only"
		    : n < 15 ? ", BF_DATA missing"
			     : "");
		if (calls && fault.kind != FAULT_NONE && calls >= fault.call)
			tell_fault(l, &fault, fault.kind);
	}
}

static void step_guard(struct life *l)
{
	struct fault fault = draw_fault(l);
	unsigned before = l->w.requests;
	struct outcome o;

	l->w.asked = REQUEST_RECONCILE;
	if (!guard_step(&l->w, &fault, &o)) {
		did(l, "nothing happens");
		return;
	}
	note_calls(l, o.calls);
	did(l, "guard: %s",
	    l->w.requests > before ? text_requests[l->w.asked] : "dies without a word");
	tell_fault(l, &fault, o.hit);
	if (!l->w.up)
		l->install = 0;
}

static void step_end(struct life *l, uint32_t n)
{
	struct fault fault = draw_fault(l);

	l->install = 0;
	if (n == 0) {
		world_power_off(&l->w);
		did(l, "the power is cut");
	} else if (n == 1) {
		world_restart(&l->w, false);
		did(l, "the watchdog bites");
	} else if (n == 2) {
		(void)world_ask(&l->w, REQUEST_SHUTDOWN_HALT, NULL, &fault);
		world_power_off(&l->w);
		did(l, "somebody switches it off");
	} else {
		note_calls(l, world_reboot(&l->w, &fault));
		did(l, "somebody reboots");
	}
}

static void step_up(struct life *l)
{
	uint32_t n = roll(&l->dice, 100);
	if (l->install && n < 85)
		install_goes_on(l);
	else if (n < 70)
		step_guard(l);
	else if (n < 85)
		install_begins(l);
	else if (n < 90)
		step_end(l, roll(&l->dice, 5));
	else if (n < 96)
		any_request(l);
	else if (n < 97)
		(chance(&l->dice, 50) ? lose_selector : edit_selector)(l);
	else if (n < 99)
		damage_record(l, chance(&l->dice, 20));
	else
		rot(l);
	if (!l->w.up)
		l->install = 0;
}

static enum excluded is_excluded(const struct life *l)
{
	const struct world *w = &l->w;
	bool lost = !w->disk.usable || !w->disk.in_place;
	enum slot next = world_firmware_choice(w, false);

	if (!lost || next == l->committed)
		return EXCLUDED_NONE;
	if (!w->disk.has_record)
		return EXCLUDED_R4;
	return w->content[next] == CONTENT_PRE || (w->deaf && w->content[next] == CONTENT_INIT)
		       ? EXCLUDED_R1
		       : EXCLUDED_NONE;
}

static void print_step(const struct life *l, unsigned step)
{
	const struct world *w = &l->w;
	const struct record *r = &w->disk.record;

	fprintf(l->trace,
		"%4u %-60s | sector %s%s%s flag %d ran %d %s%s | A %s v%u%s B %s v%u%s\n     ",
		step, l->did, slot_name(w->disk.all), w->disk.usable ? "" : "!",
		w->disk.in_place ? "" : "~", w->flag, w->trial_ran, w->up ? "runs " : "down",
		w->up ? slot_name(w->running) : "", content_names[w->content[SLOT_A]],
		w->version[SLOT_A], w->proven[SLOT_A] ? "+" : "", content_names[w->content[SLOT_B]],
		w->version[SLOT_B], w->proven[SLOT_B] ? "+" : "");
	if (w->disk.has_record)
		text_print_record(l->trace, r);
	fputc('\n', l->trace);
}

bool life_step(struct life *l, unsigned step)
{
	struct world before = l->w;
	enum slot committed = l->committed;

	l->did[0] = '\0';
	l->w.asked = REQUEST_RECONCILE;
	l->w.unread = false;
	if (l->w.up)
		step_up(l);
	else
		step_down(l);
	world_look(&l->w);
	if (fake_violations())
		world_violate(&l->w, "O_DIRECT was not aligned");
	l->excluded = is_excluded(l);
	if (l->excluded == EXCLUDED_NONE) {
		check_step(&l->w, &before);
		check_future(&l->w, &before);
	}
	if (l->w.disk.has_record)
		l->committed = l->w.disk.record.committed;
	l->commits += l->committed != committed;
	l->fallbacks += l->committed != committed && before.disk.record.kind == KIND_FALLBACK;
	l->hopeless = has_good_slot(&l->w) ? 0 : l->hopeless + 1;
	if (l->trace)
		print_step(l, step);
	return !*l->w.violation && l->excluded == EXCLUDED_NONE && l->hopeless < 40;
}
