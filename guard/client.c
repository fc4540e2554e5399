// SPDX-License-Identifier: MIT
#include "guard/client.h"

#include "boot/sys.h"
#include "guard/device.h"
#include "guard/heartbeat.h"
#include "guard/publish.h"
#include "guard/report.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define SEC	     UINT64_C(1000000)
#define ANSWER_SEC   10
#define STRANGER_SEC 3	  /* so long the guard may not know yet that the kiosk is no stranger */
#define PAUSE_USEC   2000 /* between two looks at what nobody tells */
#define LOOK_MSEC    1000 /* … and that should have been told */

static int no_guard(int error)
{
	(void)fprintf(stderr, "bf-guard: the guard does not answer: %s\n", strerror(-error));
	return EXIT_NO_GUARD;
}

static int refused(const char *why)
{
	(void)fprintf(stderr, "bf-guard: %s\n", why);
	return EXIT_REFUSED;
}

/* ---- what is published ----------------------------------------------------------------------- */

/* Each has a line of its own, and no text has line breaks in it. */
static bool says(const char *json, const char *key, const char *value)
{
	_cleanup_free_ char *line = strf("\n \"%s\": %s", key, value);

	return line && strstr(json, line);
}

/* "": not a number. The caller frees it. */
static char *number_of(const char *json, const char *key)
{
	_cleanup_free_ char *line = strf("\n \"%s\": ", key);
	const char *at = line ? strstr(json, line) : NULL;

	return at ? strndup(at + strlen(line), strspn(at + strlen(line), "0123456789")) : NULL;
}

/* Seconds since or until, of what is published in microseconds; never less than 0. */
static void put_seconds(const char *json, const char *key, const char *from, bool since)
{
	_cleanup_free_ char *text = number_of(json, from);
	uint64_t at, now = device_now();

	if (text && parse_u64(text, 10, &at) == 0)
		(void)printf(",\n \"%s\": %llu", key,
			     (unsigned long long)((since == (now > at))
							  ? (since ? now - at : at - now)
							  : 0) /
				     SEC);
	else
		(void)printf(",\n \"%s\": null", key);
}

/* What only holds for a moment is added by whoever shows it. */
static void print_json(const char *json, bool current)
{
	const char *end = strrchr(json, '}');

	(void)fwrite(json, 1, end ? (size_t)(end - json) : 0, stdout);
	put_seconds(json, "since-sec", "since-usec", true);
	put_seconds(json, "left-sec", "due-usec", false);
	(void)printf(",\n \"current\": %s}\n", current ? "true" : "false");
}

/* > 0: it is shown, and is current. */
static int show(const char *text, int published, bool json)
{
	if (json)
		print_json(text, published == PUBLISHED_CURRENT);
	else
		report_print(stdout, text, device_now());
	if (fflush(stdout) == EOF)
		return EXIT_REFUSED;
	if (published == PUBLISHED_CURRENT)
		return EXIT_OK;
	(void)fprintf(stderr,
		      "bf-guard: this was left by a guard that is gone, or that cannot write; "
		      "see \"systemctl status bf-guard\"\n");
	return EXIT_NO_GUARD;
}

/* ---- waiting for it to change ------------------------------------------------------------------
 */

enum { GO_ON = -1 };

struct watcher {
	const char *dir;
	bool json;
	char *last; /* shown */
	int published;
	uint64_t until; /* CLOCK_MONOTONIC */
};

/* Looks whenever something may be different, until @look returns an exit status. */
static int watch(struct watcher *w, int (*look)(struct watcher *w))
{
	_cleanup_close_ int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char buf[4096];
	int r;

	for (;;) {
		/* Each time: the directory may not be there yet, or be another one. A guard that
		 * ends closes its files. */
		if (fd >= 0)
			(void)inotify_add_watch(fd, w->dir, IN_MOVED_TO | IN_CLOSE_WRITE);
		r = look(w);
		if (r != GO_ON)
			return r;
		(void)poll(&p, 1, LOOK_MSEC);
		while (fd >= 0 && read(fd, buf, sizeof(buf)) > 0)
			continue;
	}
}

static int look_and_show(struct watcher *w)
{
	_cleanup_free_ char *text = NULL;
	int r = publish_read(w->dir, w->json ? PUBLISH_JSON : PUBLISH_TEXT, &text);

	if (!text || (w->last && streq(text, w->last) && r == w->published))
		return GO_ON;
	if (w->last && !w->json)
		(void)putchar('\n');
	free(w->last);
	w->last = TAKE_PTR(text);
	w->published = r;
	return show(w->last, r, w->json) == EXIT_REFUSED ? EXIT_REFUSED : GO_ON;
}

int client_status(const char *dir, bool json, bool follow)
{
	_cleanup_free_ char *text = NULL;
	int r = publish_read(dir, json ? PUBLISH_JSON : PUBLISH_TEXT, &text);

	if (r < 0)
		return no_guard(r);
	if (follow)
		return watch(&(struct watcher) { .dir = dir, .json = json }, look_and_show);
	return show(text, r, json);
}

static bool is_said(const char *dir, const char *key, const char *value)
{
	_cleanup_free_ char *text = NULL;

	return publish_read(dir, PUBLISH_JSON, &text) == PUBLISHED_CURRENT &&
	       says(text, key, value);
}

/* Whatever was said before: a guard that has just started says it again when it is so. */
static int look_for_commit(struct watcher *w)
{
	return is_said(w->dir, "confirmed", "true") ? EXIT_OK : GO_ON;
}

int client_wait(const char *dir)
{
	return watch(&(struct watcher) { .dir = dir }, look_for_commit);
}

/* ---- telling it something ----------------------------------------------------------------------
 */

static int open_notify(const char *dir)
{
	const struct timeval limit = { .tv_sec = ANSWER_SEC };
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int n = snprintf(to.sun_path, sizeof(to.sun_path), "%s/notify", dir);
	_cleanup_close_ int fd = -1;

	if (n < 0 || (size_t)n >= sizeof(to.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/*
 * Until the guard takes it off its queue, which it does when it has looked at who sent it: a
 * process that is gone by then may be anybody's.
 */
static int send_and_wait(const char *dir, const char *text)
{
	uint64_t begin = sys_monotonic_usec();
	_cleanup_close_ int fd = open_notify(dir);
	int queued = 1;

	while (fd == -EACCES && sys_monotonic_usec() - begin < STRANGER_SEC * SEC) {
		sys_sleep_usec(10 * PAUSE_USEC);
		fd = open_notify(dir);
	}
	if (fd < 0)
		return fd;
	if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		return -errno;
	while (ioctl(fd, SIOCOUTQ, &queued) == 0 && queued > 0) {
		if (sys_monotonic_usec() - begin >= ANSWER_SEC * SEC)
			return -ETIMEDOUT;
		sys_sleep_usec(PAUSE_USEC);
	}
	return 0;
}

int client_beat(const char *dir, char *const words[], int count)
{
	char text[NOTIFY_MAX + 1] = "WATCHDOG=1";
	struct notify notify;
	size_t at = 0;
	int r;

	for (int i = 0; i < count; i++) {
		int n = snprintf(text + at, sizeof(text) - at, "%s%s", i ? "\n" : "", words[i]);

		if (n < 0 || (size_t)n >= sizeof(text) - at) {
			(void)fprintf(stderr, "bf-guard: that is too long\n");
			return EXIT_USAGE;
		}
		at += (size_t)n;
	}
	if (notify_parse(text, strlen(text), &notify) < 0) {
		(void)fprintf(stderr, "bf-guard: the guard would not understand that; say READY=1, "
				      "WATCHDOG=1, X_BF_SERVER=1 or STATUS=text\n");
		return EXIT_USAGE;
	}
	r = send_and_wait(dir, text);
	return r < 0 ? no_guard(r) : EXIT_OK;
}

static int look_for_try(struct watcher *w)
{
	if (is_said(w->dir, "try-asked", "true")) {
		(void)printf("The trial begins as soon as it may.\n");
		return EXIT_OK;
	}
	if (sys_monotonic_usec() < w->until)
		return GO_ON;
	return refused("the guard has not agreed; see \"bf-guard status\"");
}

int client_try(const char *dir)
{
	struct watcher w = { .dir = dir, .until = sys_monotonic_usec() + ANSWER_SEC * SEC };
	_cleanup_free_ char *text = NULL;
	int r = publish_read(dir, PUBLISH_JSON, &text);

	if (r < 0)
		return no_guard(r);
	if (r == PUBLISHED_OLD)
		return no_guard(-ECONNREFUSED);
	if (says(text, "staged", "\"-\""))
		return refused("no update is staged");
	r = send_and_wait(dir, "X_BF_TRY=1");
	if (r == -EACCES)
		return refused("only the kiosk and root may ask for the trial");
	return r < 0 ? no_guard(r) : watch(&w, look_for_try);
}
