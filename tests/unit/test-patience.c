// SPDX-License-Identifier: MIT
/* The state of the one patience is static: the file itself is included, to start each story anew.
 */
#include "initramfs/init/patience.c"

#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#define LONG_TIME 10000 /* s */

static void prepare(void)
{
	patience.kick_until_usec = patience.deadline_usec = 0;
	patience.begun_usec = patience.limit_usec = 0;
	patience.alarms = 0;
	fake_reset();
	fake_file("/dev/watchdog0", "");
	/* Opened by the first story, and open in all that follow. */
	(void)watchdog_open(15);
	fake_log_clear();
}

static void start(uint32_t deadline_sec)
{
	ok_int(patience_start(deadline_sec), 0, "started");
}

static void spend(uint32_t sec)
{
	sys_sleep_usec(sec * USEC_PER_SEC);
}

/* Kicks in the next @sec seconds. */
static unsigned kicks(uint32_t sec)
{
	unsigned n = 0;

	fake_log_clear();
	spend(sec);
	for (const char *p = fake_log(); (p = strstr(p, "watchdog-kick\n")); p++)
		n++;
	return n;
}

/* The last alarm that was set, in seconds; -1: none. */
static int alarm_sec(void)
{
	const char *last = NULL;
	uint32_t sec;

	for (const char *p = fake_log(); (p = strstr(p, "alarm ")); p++)
		last = p + strlen("alarm ");
	if (!last)
		return -1;
	return sscanf(last, "%u", &sec) == 1 ? (int)sec : -1;
}

static void test_steps(void)
{
	prepare();
	start(120);
	ok_int(kicks(40), 40, "kicked once a second, whatever the main thread does");
	patience_step();
	ok_int(kicks(50), 50, "a step has its own minute");
	patience_step();
	ok_int(kicks(LONG_TIME), 120 + PATIENCE_GRACE_SEC - 90 - 1,
	       "but not longer than the deadline and its grace");
	patience_step();
	ok_int(kicks(LONG_TIME), 0, "which no step brings back");
}

static void test_hang(void)
{
	prepare();
	start(600);
	ok_int(kicks(LONG_TIME), PATIENCE_STEP_SEC - 1, "what hangs is kicked for a minute");
}

static void test_deadline(void)
{
	prepare();
	fake_log_files(true);
	start(120);
	ok_int(alarm_sec(), 120, "the alarm is for the deadline");
	fake_log_clear();
	patience_step();
	ok_str(fake_log(), "", "whatever the steps are");
}

static void test_before(void)
{
	prepare();
	fake_log_files(true);
	patience_step();
	patience_begin(60);
	patience_end();
	patience_end();
	ok_str(fake_log(), "", "before the start there is no clock to stop");
	ok_int(kicks(10), 0, "and nobody who kicks");
}

static void test_no_thread(void)
{
	prepare();
	fake_log_files(true);
	fake_result("every-second", -EAGAIN);
	ok_int(patience_start(120), -EAGAIN, "no thread");
	ok_int(alarm_sec(), 120, "the deadline counts all the same");
}

/*
 * A section of @limit that takes @takes, begun @before after the start. .inside: kicks when
 * it hangs; .after: kicks in the step after it.
 */
static void test_sections(void)
{
	static const struct {
		const char *name;
		uint32_t deadline, before, limit, takes;
		int alarm_inside, alarm_after;
		unsigned inside, after;
	} rows[] = {
		{ "no time", 120, 20, 600, 0, 700, 100, 609, 59 },
		{ "less than its limit", 120, 20, 600, 500, 700, 100, 609, 59 },
		{ "its limit", 120, 20, 600, 600, 700, -1, 609, 59 },
		{ "more than its limit", 120, 20, 600, 605, 700, -1, 609, 59 },
		{ "short", 120, 20, 10, 5, 110, 100, 19, 59 },
		{ "longer than 32 bits of microseconds", 120, 20, 5000, 4999, 5100, 100, 5009, 59 },
		{ "begun late", 120, 119, 60, 59, 61, 1, 69, 10 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		for (bool hangs = true;; hangs = false) {
			prepare();
			start(rows[i].deadline);
			spend(rows[i].before);
			fake_log_clear();
			fake_log_files(true);
			patience_begin(rows[i].limit);
			ok_int(alarm_sec(), rows[i].alarm_inside, "%s: the deadline moves away",
			       rows[i].name);
			fake_log_files(false);
			patience_step();
			if (!hangs)
				break;
			ok_int(kicks(LONG_TIME), rows[i].inside, "%s: kicked so long when it hangs",
			       rows[i].name);
		}
		ok_int(kicks(rows[i].takes), rows[i].takes, "%s: kicked meanwhile", rows[i].name);
		fake_log_clear();
		fake_log_files(true);
		patience_end();
		ok_int(alarm_sec(), rows[i].alarm_after, "%s: the deadline comes back",
		       rows[i].name);
		fake_log_files(false);
		ok_int(kicks(LONG_TIME), rows[i].after, "%s: a new step", rows[i].name);
	}
}

static void test_alarm(void)
{
	prepare();
	start(120);
	ok(!patience_is_over(), "there is time");
	spend(120);
	fake_log_clear();
	fake_log_files(true);
	on_alarm(SIGALRM);
	ok(patience_is_over(), "the deadline has passed");
	ok_str(fake_log(), "alarm 1\n", "what waits next is interrupted, too");
	fake_log_clear();
	patience_begin(600);
	patience_end();
	ok_str(fake_log(), "", "no section buys time any more");
	for (unsigned i = 1; i < PATIENCE_GRACE_SEC; i++)
		on_alarm(SIGALRM);
	ok(!strstr(fake_log(), "reboot"), "within the grace nothing else happens");
	on_alarm(SIGALRM);
	ok(strstr(fake_log(), "reboot -"), "after it the machine restarts");
	fake_log_clear();
	on_alarm(SIGALRM);
	ok(strstr(fake_log(), "reboot -"), "again, when it did not");
}

static void test_over_in_a_section(void)
{
	prepare();
	start(120);
	patience_begin(60);
	spend(180);
	on_alarm(SIGALRM);
	fake_log_files(true);
	fake_log_clear();
	patience_end();
	ok_str(fake_log(), "", "what ends after the deadline does not bring it back");
}

static void test_last(void)
{
	prepare();
	start(120);
	patience_begin(600);
	fake_log_files(true);
	patience_last(60);
	ok_int(alarm_sec(), 0, "no alarm in the last step");
	fake_log_clear();
	patience_end();
	patience_begin(60);
	patience_end();
	patience_step();
	ok_str(fake_log(), "", "and none by a section");
	fake_log_files(false);
	ok_int(kicks(LONG_TIME), 59, "kicked for as long as it may take");
	patience_last(30);
	ok_int(kicks(LONG_TIME), 29, "a second last step has its own time");
	patience_last(UINT32_MAX);
	ok_int(kicks(LONG_TIME), LONG_TIME, "without end, when a person sits before it");
}

int main(void)
{
	test_steps();
	test_hang();
	test_deadline();
	test_before();
	test_no_thread();
	test_sections();
	test_alarm();
	test_over_in_a_section();
	test_last();
	return tap_done();
}
