// SPDX-License-Identifier: MIT
#include "guard/process.h"

#include "guard/device.h"

#include "boot/io.h"
#include "boot/sys.h"

#include <fcntl.h>
#include <time.h>

#define START_FIELD   22 /* of proc(5)'s stat, in ticks of 1/100 s on every architecture */
#define USEC_PER_TICK PROCESS_TICK
#define PROC_FILE_MAX 8192

static char *read_of(pid_t pid, const char *name)
{
	_cleanup_free_ char *path = strf("/proc/%d/%s", (int)pid, name);
	char *text = NULL;

	if (path)
		(void)sys_read_file(AT_FDCWD, path, PROC_FILE_MAX, &text, NULL);
	return text;
}

char *process_group(pid_t pid)
{
	return read_of(pid, "cgroup");
}

int process_parse_stat(const char *text, uint64_t *ret_usec)
{
	/* The second field is a name in brackets, and may hold both blanks and brackets. */
	const char *at = strrchr(text, ')');
	_cleanup_free_ char *number = NULL;
	uint64_t ticks;
	int r;

	for (unsigned field = 2; at && field < START_FIELD; field++) {
		at = strchr(at, ' ');
		at = at ? at + 1 : NULL;
	}
	if (!at)
		return -EBADMSG;
	number = strndup(at, strspn(at, "0123456789"));
	if (!number)
		return -ENOMEM;
	r = parse_u64(number, 10, &ticks);
	if (r < 0 || __builtin_mul_overflow(ticks, USEC_PER_TICK, ret_usec))
		return -EBADMSG;
	return 0;
}

static uint64_t boottime(void)
{
	struct timespec ts = { 0 };

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/*
 * How far device_now() is ahead of the kernel's clock: a test's device has one of its own. Asked
 * once: what passes between two looks at clocks may be more than a tick on a busy machine, and two
 * starts are only good to be compared when they are wrong by the same.
 */
static int64_t clock_offset(void)
{
	static int64_t offset;
	static bool known;

	for (unsigned i = 0; !known; i++) {
		uint64_t kernel = boottime();

		offset = (int64_t)(device_now() - kernel);
		known = boottime() - kernel < PROCESS_TICK || i == 10;
	}
	return offset;
}

uint64_t process_started(pid_t pid)
{
	_cleanup_free_ char *text = pid > 0 ? read_of(pid, "stat") : NULL;
	uint64_t started;
	int64_t at;

	if (!text || process_parse_stat(text, &started) < 0)
		return 0;
	at = (int64_t)started + clock_offset();
	return at > 0 ? (uint64_t)at : 1;
}
