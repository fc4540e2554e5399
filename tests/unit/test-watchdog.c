// SPDX-License-Identifier: MIT
/* The state of the one watchdog is static: the file itself is included, to start each story anew.
 */
#include "initramfs/init/watchdog.c"

#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#include <unistd.h>

static void prepare(void)
{
	int fd = dog_fd;

	close_p(&fd);
	dog_fd = -1;
	fake_reset();
}

static void test_absent(void)
{
	prepare();
	ok(!watchdog_is_open(), "closed at first");
	ok_int(watchdog_open(15), -ENOENT, "no device yet");
	ok(!watchdog_is_open(), "still closed");
	watchdog_kick();
	ok_str(fake_log(), "", "nothing to kick");
	ok_int(watchdog_hand_over(), -1, "nothing to hand over");
	fake_file("/dev/watchdog0", "");
	ok_int(watchdog_open(15), 0, "the driver has come");
	ok(watchdog_is_open(), "open");
	ok_str(fake_log(), "watchdog-set 15\n", "with its timeout");
}

static void test_left_alone(void)
{
	prepare();
	fake_file("/dev/watchdog0", "");
	fake_log_files(true);
	ok_int(watchdog_open(0), 0, "bf.watchdog=0");
	ok(!watchdog_is_open() && streq(fake_log(), ""), "is not even opened");
}

static void test_open_once(void)
{
	prepare();
	fake_file("/dev/watchdog0", "");
	fake_log_files(true);
	ok_int(watchdog_open(15), 0, "opened");
	fake_log_clear();
	ok_int(watchdog_open(15), 0, "opened again");
	ok_int(watchdog_open(60), 0, "with another timeout");
	ok_str(fake_log(), "", "does nothing");
	ok_int(fake_open_fds(), 1, "one fd");
}

static void test_timeouts(void)
{
	static const struct {
		const char *name;
		uint32_t ask;
		const char *rule;
		int result;
		const char *log;
	} rows[] = {
		{ "as asked", 10, NULL, 0, "watchdog-set 10\n" },
		{ "too long for the driver", 60, "watchdog-set 60", -EINVAL,
		  "watchdog-set 60 -> EINVAL\nwatchdog-set 15\n" },
		{ "a fixed timeout", 60, "watchdog-set", -EOPNOTSUPP,
		  "watchdog-set 60 -> EOPNOTSUPP\n" },
		{ "refused altogether", 60, "watchdog-set", -EINVAL,
		  "watchdog-set 60 -> EINVAL\nwatchdog-set 15 -> EINVAL\n" },
		{ "short, but refused", 5, "watchdog-set", -EINVAL, "watchdog-set 5 -> EINVAL\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		prepare();
		fake_file("/dev/watchdog0", "");
		if (rows[i].rule)
			fake_result(rows[i].rule, rows[i].result);
		ok_int(watchdog_open(rows[i].ask), 0, "%s", rows[i].name);
		ok_str(fake_log(), rows[i].log, "%s: asked for", rows[i].name);
		ok(watchdog_is_open(), "%s: it ticks, so it is kept", rows[i].name);
		fake_log_clear();
		watchdog_kick();
		ok_str(fake_log(), "watchdog-kick\n", "%s: and kicked", rows[i].name);
	}
}

static void test_kicks(void)
{
	prepare();
	fake_file("/dev/watchdog0", "");
	(void)watchdog_open(15);
	fake_log_clear();
	watchdog_kick();
	watchdog_kick();
	ok_str(fake_log(), "watchdog-kick\nwatchdog-kick\n", "each time it is asked for");
	fake_result("watchdog-kick", -EIO);
	watchdog_kick();
	ok(watchdog_is_open(), "a failing kick changes nothing");
}

static void test_hand_over(void)
{
	int fd;

	prepare();
	fake_file("/dev/watchdog0", "");
	(void)watchdog_open(15);
	ok(fcntl(dog_fd, F_GETFD) & FD_CLOEXEC, "closed by an exec of any other program");
	fake_log_clear();
	fd = watchdog_hand_over();
	ok(fd >= 0 && fd == dog_fd, "the fd");
	ok(!(fcntl(fd, F_GETFD) & FD_CLOEXEC), "survives exec");
	ok_str(fake_log(), "watchdog-kick\n", "with a full period");
	prepare();
	fake_file("/dev/watchdog0", "");
	(void)watchdog_open(15);
	fake_result("keep-on-exec", -EBADF);
	ok_int(watchdog_hand_over(), -1, "cannot be handed over");
	ok(watchdog_is_open(), "and ticks on");
}

/* Nothing here may write to it: a 'V' would stop it. */
static void test_never_written(void)
{
	prepare();
	fake_file("/dev/watchdog0", "");
	fake_log_files(true);
	(void)watchdog_open(15);
	sys_sleep_usec(5000000);
	watchdog_kick();
	(void)watchdog_hand_over();
	ok(!strstr(fake_log(), "write") && !strstr(fake_log(), "close"),
	   "never written, never closed");
}

int main(void)
{
	test_absent();
	test_left_alone();
	test_open_once();
	test_timeouts();
	test_kicks();
	test_hand_over();
	test_never_written();
	prepare();
	return tap_done();
}
