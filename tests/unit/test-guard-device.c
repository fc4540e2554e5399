// SPDX-License-Identifier: MIT
/* The guard's questions to a whole device, below the test double's root. */
#include "guard/device.h"

#include "tests/lib/bf-boot-device.h"
#include "tests/lib/tap.h"

#include <fcntl.h>

static struct device_answer answer;

static void ask(struct device_question q)
{
	device_ask(&q, &answer);
}
#define ASK(...) ask((struct device_question) { __VA_ARGS__ })
#define REQUEST(r, ...)                                                                            \
	ask((struct device_question) { .type = DEVICE_REQUEST, .request = (r), ##__VA_ARGS__ })

static struct record stored(void)
{
	int fd = sys_open(DEVICE_DATA, O_RDONLY | O_DIRECTORY, 0);
	struct record rec;

	if (fd < 0 || record_load(fd, &rec) != RECORD_OK)
		record_init(&rec, SLOT_A);
	close_p(&fd);
	return rec;
}

static enum slot selected(void)
{
	int fd = sys_open("/dev/nvme0n1p1", O_RDONLY, 0);
	struct selector s = { .committed = SLOT_NONE };
	int r = fd < 0 ? fd : selector_read(fd, &s);

	close_p(&fd);
	return r < 0 ? SLOT_NONE : s.committed;
}

/* B on trial, installed while A was committed. */
static void make_trial(void)
{
	struct device d = device_default;
	struct record rec;

	fake_reset();
	device_record(&rec, SLOT_A);
	rec.staged = SLOT_B;
	rec.kind = KIND_UPDATE;
	rec.state[SLOT_B] = STATE_UNKNOWN;
	rec.attempts = rec.trials = 1;
	record_set_hash(rec.hash[SLOT_B], DEVICE_HASH);
	record_set_last(&rec, SLOT_B, PHASE_TRIAL, DEVICE_BOOT_ID, false, 0);
	d.running = SLOT_B;
	d.trial = true;
	d.record = &rec;
	device_make(&d);
}

static void make_committed(bool staged)
{
	struct device d = device_default;
	struct record rec;

	fake_reset();
	device_record(&rec, SLOT_A);
	if (staged) {
		rec.staged = SLOT_B;
		rec.state[SLOT_B] = STATE_UNKNOWN;
	}
	d.record = &rec;
	device_make(&d);
}

static void make_idle(void)
{
	make_committed(false);
}

static void test_trial(void)
{
	struct record rec;

	make_trial();
	ASK(.type = DEVICE_FACTS);
	ok(answer.error == 0 && answer.facts.role == ROLE_TRIAL && answer.facts.committable,
	   "a trial");
	ok(answer.running == SLOT_B && answer.committed == SLOT_A && answer.facts.trials == 1,
	   "and of what");
	REQUEST(REQUEST_SET_GOOD);
	ok(answer.error == 0 && answer.refusal == REFUSAL_NONE &&
		   answer.facts.role == ROLE_COMMITTED && answer.facts.probation,
	   "committed, in probation");
	rec = stored();
	ok(rec.committed == SLOT_B && rec.probation, "the record says so, too");
	REQUEST(REQUEST_SETTLE);
	ok(answer.error == 0 && !answer.facts.probation, "settled");
	ASK(.type = DEVICE_FACTS);
	ok(answer.facts.role == ROLE_COMMITTED && !answer.facts.probation, "for good");
	ok_int(fake_open_fds(), 0, "nothing stays open");
}

/* A Mark of which only the record was written. */
static void test_half_commit(void)
{
	struct device d = device_default;
	struct record rec;

	make_trial();
	REQUEST(REQUEST_SET_GOOD);
	rec = stored();
	d.running = SLOT_B;
	d.trial = true;
	d.record = &rec;
	fake_reset();
	device_make(&d); /* autoboot.txt names A */
	rec = stored();
	ASK(.type = DEVICE_FACTS);
	ok_int(answer.facts.role, ROLE_COMMITTED, "half a commit reads as one");
	REQUEST(REQUEST_SET_GOOD);
	ok(answer.error == 0 && answer.facts.probation, "confirmed once more");
	ok_int(selected(), SLOT_B, "now autoboot.txt names it, too");
	ok_int(stored().gen, rec.gen, "and the record was not written again");
}

static void test_reject(void)
{
	struct record rec;

	make_trial();
	REQUEST(REQUEST_REJECT, .reason = REASON_KIOSK_SILENT);
	ok(answer.error == 0 && answer.next == NEXT_REBOOT, "rejected: reboot");
	rec = stored();
	ok(record_is_refused(&rec, DEVICE_HASH), "the bundle is refused from now on");
	ok(rec.state[SLOT_B] == STATE_BAD && rec.history_count > 0 &&
		   streq(rec.history[0].reason, "kiosk-silent"),
	   "with the reason");
	ASK(.type = DEVICE_FACTS);
	ok(answer.facts.role == ROLE_TRIAL && answer.facts.rejected && !answer.facts.committable,
	   "what is rejected and still runs is known");
	REQUEST(REQUEST_SET_GOOD);
	ok(answer.refusal != REFUSAL_NONE || answer.error < 0, "and is not committed any more");
	ok_int(stored().committed, SLOT_A, "the record stays");
}

static void test_abort(void)
{
	struct record rec;

	make_trial();
	REQUEST(REQUEST_SHUTDOWN_REBOOT);
	rec = stored();
	ok(answer.error == 0 && rec.staged == SLOT_B && rec.trials == 0, "undecided: not counted");
	REQUEST(REQUEST_SHUTDOWN_REBOOT);
	ok(stored().trials == 0 && stored().attempts == rec.attempts,
	   "the shutdown that follows counts nothing twice");
}

static void test_try(void)
{
	make_committed(true);
	ASK(.type = DEVICE_FACTS);
	ok(answer.facts.role == ROLE_COMMITTED && answer.facts.staged && answer.staged == SLOT_B,
	   "an update is staged");
	REQUEST(REQUEST_TRY);
	ok(answer.error == 0 && answer.next == NEXT_REBOOT_TRIAL, "reboot into it");
	ok_int(stored().attempts, 1, "the attempt is counted first");
	ok(fake_exists(RUNNING_REBOOT_PARAM), "the firmware will be told");
	ASK(.type = DEVICE_PREPARE, .flag = true);
	ok(fake_exists(RUNNING_REBOOT_PARAM), "a trial keeps the argument");
	ASK(.type = DEVICE_PREPARE);
	ok(!fake_exists(RUNNING_REBOOT_PARAM) && !fake_exists(RUNNING_ARMED),
	   "a plain reboot takes it back");
	make_committed(false);
	REQUEST(REQUEST_TRY);
	ok_int(answer.refusal, REFUSAL_NOTHING_STAGED, "nothing to try");
	ok(answer.next == NEXT_BOOT && *answer.why, "no reboot, and a sentence");
}

static void test_ladder(void)
{
	make_committed(false);
	for (unsigned i = 0; i < REQUEST_LADDER_MAX; i++) {
		REQUEST(REQUEST_KIOSK_FAILS, .reason = REASON_KIOSK_RESTARTS);
		ok(answer.error == 0 && answer.next == NEXT_REBOOT, "reboot %u", i + 1);
	}
	REQUEST(REQUEST_KIOSK_FAILS, .reason = REASON_KIOSK_RESTARTS);
	ok(answer.error == 0 && answer.next == NEXT_REBOOT_TRIAL, "then the other slot");
	ok_int(stored().kind, KIND_FALLBACK, "as a fallback");
	make_committed(false);
	ASK(.type = DEVICE_STAY);
	ok(answer.error == 0 && fake_exists(RUNNING_STAYING), "staying is remembered");
	ASK(.type = DEVICE_FACTS);
	ok(answer.facts.staying, "and known");
}

static void test_not_ours(void)
{
	fake_reset();
	fake_dir("/run/bf");
	ASK(.type = DEVICE_FACTS);
	ok(answer.error == 0 && answer.facts.role == ROLE_LIMBO && *answer.why,
	   "a system that bf-init did not start is left alone: %s", answer.why);
	REQUEST(REQUEST_KIOSK_FAILS);
	ok(answer.error < 0 && answer.next == NEXT_BOOT, "nothing can be asked of it");
}

/* One bad moment of a disk must not look like a decision. */
static void test_facts_despite_failures(void)
{
	void (*const make[])(void) = { make_trial, make_idle };

	for (unsigned i = 0; i < ARRAY_SIZE(make); i++) {
		enum role role = i == 0 ? ROLE_TRIAL : ROLE_COMMITTED;
		unsigned calls = 0, k, unknown = 0;
		bool good = true;

		for (k = 1; k < 500 && calls + 1 >= k; k++) {
			make[i]();
			fake_fail_at(k, EIO);
			ASK(.type = DEVICE_FACTS);
			calls = fake_calls();
			fake_fail_at(0, 0);
			unknown += answer.facts.role == ROLE_UNKNOWN;
			if (answer.error == 0 && answer.facts.role != role &&
			    answer.facts.role != ROLE_UNKNOWN)
				good = false;
		}
		ok(good && unknown > 0, "%s: %u calls, each failed once", i ? "committed" : "trial",
		   k);
	}
}

static void test_readonly_data(void)
{
	make_trial();
	ASK(.type = DEVICE_FACTS);
	ok_str(answer.why, "", "nothing is wrong");
	fake_result("is-readonly", 1);
	ASK(.type = DEVICE_FACTS);
	ok(answer.facts.role == ROLE_TRIAL && !answer.facts.committable, "BF_DATA is read-only");
	ok_str(answer.why, "BF_DATA cannot be written", "and that is said");
}

static void test_baseline(void)
{
	make_committed(false);
	ASK(.type = DEVICE_FACTS);
	ok_int(answer.baseline, BASELINE_UNKNOWN, "not known yet");
	ASK(.type = DEVICE_BASELINE, .flag = true);
	ASK(.type = DEVICE_FACTS);
	ok_int(answer.baseline, BASELINE_REACHED, "the server answered");
	fake_log_files(true);
	fake_log_clear();
	ASK(.type = DEVICE_BASELINE, .flag = true);
	ok(!strstr(fake_log(), "fsync"), "what is known already is not written again");
	fake_log_files(false);
	ASK(.type = DEVICE_BASELINE);
	ASK(.type = DEVICE_FACTS);
	ok_int(answer.baseline, BASELINE_SILENT, "it does not any more");
	fake_file(DEVICE_DATA "/bf/guard-server", "torn");
	ASK(.type = DEVICE_FACTS);
	ok_int(answer.baseline, BASELINE_UNKNOWN, "a torn word is no word");
}

static void test_confirmed(void)
{
	mode_t mask = umask(0077);
	struct stat st = { 0 };

	make_committed(false);
	ASK(.type = DEVICE_CONFIRMED);
	ok(answer.error < 0, "without a directory there is nobody to tell");
	fake_dir("/run/betterframe");
	fake_file("/run/secret", "keep");
	fake_symlink("../secret", "/run/betterframe/rauc-confirmed");
	ASK(.type = DEVICE_CONFIRMED);
	ok_int(answer.error, 0, "told");
	_cleanup_free_ char *secret = fake_read("/run/secret", NULL);
	_cleanup_free_ char *told = fake_read("/run/betterframe/rauc-confirmed", NULL);
	ok_str(secret, "keep", "what the kiosk's link points to is not written");
	ok_str(told, "ok\n", "the link is replaced");
	ok(stat(fake_path("/run/betterframe/rauc-confirmed"), &st) == 0 &&
		   (st.st_mode & 0777) == 0644,
	   "the kiosk may read it");
	(void)umask(mask);
}

static size_t saved(void)
{
	int fd = sys_open(DEVICE_DATA "/bf/diagnostics", O_RDONLY | O_DIRECTORY, 0);
	char **names = NULL;
	size_t count = 0;

	if (fd >= 0 && sys_list(fd, 100, &names, &count) >= 0)
		sys_names_free(names, count);
	close_p(&fd);
	return count;
}

static void test_save(void)
{
	struct device_question q = { .type = DEVICE_SAVE, .text = "check heartbeat: silent\n" };

	make_trial();
	for (unsigned i = 0; i < DEVICE_SAVED_KEPT + 2; i++) {
		fake_clock((i + 1) * UINT64_C(1000000),
			   UINT64_C(1750000000000000) + i * UINT64_C(1000000));
		ask(q);
		if (answer.error < 0)
			break;
	}
	ok_int(answer.error, 0, "saved");
	ok_int(saved(), DEVICE_SAVED_KEPT, "the oldest go");
}

/* Whichever call fails: an answer, nothing open, and never a reboot that is not written down. */
static void test_every_failure(void)
{
	unsigned k, calls = 0;
	bool good = true;

	for (k = 1; k < 500; k++) {
		make_committed(true);
		fake_fail_at(k, EIO);
		REQUEST(REQUEST_TRY);
		calls = fake_calls();
		fake_fail_at(0, 0);
		if (answer.error == 0 && answer.next == NEXT_REBOOT_TRIAL && stored().attempts == 0)
			good = false;
		if (fake_open_fds() != 0)
			good = false;
		if (calls < k)
			break;
	}
	ok(good && k > 20 && calls < k, "%u calls, each failed once", k);
}

int main(void)
{
	test_trial();
	test_half_commit();
	test_reject();
	test_abort();
	test_try();
	test_ladder();
	test_not_ours();
	test_facts_despite_failures();
	test_readonly_data();
	test_baseline();
	test_confirmed();
	test_save();
	test_every_failure();
	return tap_done();
}
