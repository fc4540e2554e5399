// SPDX-License-Identifier: MIT
/*
 * device_ask() for contract tests: a device that is a directory, BF_TEST_DEVICE.
 *
 *   facts     words: trial | committed | limbo | gone, and: committable probation
 *             staged staying rejected reached silent
 *   fail      names of requests, as in the log, that cannot be written
 *   next      what kiosk-fails and retry-other lead to: reboot, trial or nothing
 *   slow      seconds that every answer takes
 *   offline   exists: there is no network
 *   corrupt   exists: the root cannot be read
 *   start     CLOCK_BOOTTIME, in microseconds, when this boot began
 *   log       what was asked, one line each
 *   reads     a dot for each time that the facts were asked for
 *
 * A commit ("set-good", or RAUC's Mark through the fake bus) makes facts "committed probation".
 */
#include "guard/device.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

static const char *const requests[] = {
	[REQUEST_SET_GOOD] = "set-good",       [REQUEST_TRY] = "try",
	[REQUEST_SHUTDOWN_REBOOT] = "abort",   [REQUEST_REJECT] = "reject",
	[REQUEST_HEALTHY] = "healthy",	       [REQUEST_SETTLE] = "settle",
	[REQUEST_KIOSK_FAILS] = "kiosk-fails", [REQUEST_RETRY_OTHER] = "retry-other",
};

static char *read_text(const char *name)
{
	const char *dir = getenv("BF_TEST_DEVICE");
	_cleanup_free_ char *path = strf("%s/%s", dir ? dir : "/nonexistent", name);
	char *text = calloc(1, 1024);
	_cleanup_close_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (!text || fd < 0 || read(fd, text, 1023) < 0) {
		free(text);
		return NULL;
	}
	return text;
}

static void write_text(const char *name, const char *text, int flags)
{
	const char *dir = getenv("BF_TEST_DEVICE");
	_cleanup_free_ char *path = strf("%s/%s", dir ? dir : "/nonexistent", name);
	_cleanup_close_ int fd =
		path ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644) : -1;

	if (fd >= 0 && write(fd, text, strlen(text)) < 0)
		abort();
}

uint64_t device_now(void)
{
	static uint64_t start;
	struct timespec ts = { 0 };

	if (start == 0) {
		_cleanup_free_ char *text = read_text("start");

		start = text ? strtoull(text, NULL, 10) : 0;
	}
	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000 - start;
}

bool device_has_network(void)
{
	_cleanup_free_ char *offline = read_text("offline");

	return !offline;
}

static void note(const char *what, const char *detail)
{
	_cleanup_free_ char *line = strf("%s %s\n", what, detail);

	if (line)
		write_text("log", line, O_APPEND);
}

static bool has(const char *text, const char *word)
{
	size_t n = strlen(word);

	for (const char *at = text; at && (at = strstr(at, word)); at += n)
		if ((at == text || at[-1] == ' ') && (!at[n] || strchr(" \n", at[n])))
			return true;
	return false;
}

static void facts(struct device_answer *a)
{
	_cleanup_free_ char *text = read_text("facts");

	if (!text) {
		a->error = -EIO;
		return;
	}
	a->running = SLOT_B;
	a->committed = has(text, "committed") ? SLOT_B : SLOT_A;
	a->facts = (struct policy_facts) {
		.role = has(text, "trial")	 ? ROLE_TRIAL
			: has(text, "committed") ? ROLE_COMMITTED
						 : ROLE_LIMBO,
		.committable = has(text, "committable"),
		.probation = has(text, "probation"),
		.staged = has(text, "staged"),
		.staying = has(text, "staying"),
		.rejected = has(text, "rejected"),
		.trials = 1,
	};
	a->staged = a->facts.staged ? SLOT_A : SLOT_NONE;
	a->baseline = has(text, "reached")  ? BASELINE_REACHED
		      : has(text, "silent") ? BASELINE_SILENT
					    : BASELINE_UNKNOWN;
}

static void request(const struct device_question *q, struct device_answer *a)
{
	_cleanup_free_ char *fail = read_text("fail"), *next = read_text("next");
	const char *name = requests[q->request];

	note(name, reason_text(q->reason)->code);
	facts(a);
	if (has(fail, name)) {
		a->error = -EROFS;
	} else if (q->request == REQUEST_TRY) {
		a->next = NEXT_REBOOT_TRIAL;
	} else if (q->request == REQUEST_KIOSK_FAILS || q->request == REQUEST_RETRY_OTHER) {
		a->next = has(next, "reboot")  ? NEXT_REBOOT
			  : has(next, "trial") ? NEXT_REBOOT_TRIAL
					       : NEXT_BOOT;
	} else if (q->request == REQUEST_SETTLE) {
		write_text("facts", "committed\n", O_TRUNC);
	} else if (q->request == REQUEST_REJECT) {
		write_text("facts", "trial rejected\n", O_TRUNC);
	}
}

void device_ask(const struct device_question *q, struct device_answer *ret)
{
	_cleanup_free_ char *slow = read_text("slow"), *corrupt = read_text("corrupt");

	*ret = (struct device_answer) { .running = SLOT_NONE,
					.committed = SLOT_NONE,
					.staged = SLOT_NONE };
	if (slow)
		(void)sleep((unsigned)strtoul(slow, NULL, 10));
	switch (q->type) {
	case DEVICE_FACTS:
		write_text("reads", ".", O_APPEND);
		facts(ret);
		break;
	case DEVICE_REQUEST:
		request(q, ret);
		break;
	case DEVICE_STAY:
		note("stay", "-");
		break;
	case DEVICE_CONFIRMED:
		note("confirmed", "-");
		break;
	case DEVICE_BASELINE:
		note("baseline", q->flag ? "reached" : "silent");
		break;
	case DEVICE_SAVE:
		write_text("saved", q->text, O_TRUNC);
		note("save", "-");
		break;
	case DEVICE_READ_ROOT:
		note("read-root", corrupt ? "corrupt" : "clean");
		ret->corrupt = corrupt != NULL;
		ret->error = corrupt ? -EIO : 0;
		break;
	case DEVICE_PREPARE:
		note("prepare", q->flag ? "trial" : "plain");
		break;
	case DEVICE_SYNC:
		note("sync", "-");
		break;
	case DEVICE_REBOOT:
		note("reboot", q->flag ? "trial" : "plain");
		ret->error = -EPERM;
		break;
	}
}
