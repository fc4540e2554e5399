// SPDX-License-Identifier: MIT
/*
 * The guard's socket and its marker without a guard: real datagrams of real
 * processes, whose control groups and marker are files of the double's root.
 */
#include "guard/listen.h"

#include "tests/lib/fake-sys.h"
#include "tests/lib/scratch.h"
#include "tests/lib/tap.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEC	UINT64_C(1000000)
#define KIOSK	"0::/system.slice/kiosk.service\n"
#define SESSION "0::/user.slice/user-1000.slice/session-1.scope\n"
#define OTHER	"0::/system.slice/other.service\n"

static sd_event *loop;
static struct listen *l;
static char dir[32], marker[64];
static uid_t kiosk_uid; /* root takes the part of somebody else */

/* ---- what is told --------------------------------------------------------------- */

static struct {
	unsigned beats, markers, tries;
	struct notify last;
	uint64_t started, stamp;
} heard;

static void on_beat(void *userdata, const struct notify *n, uint64_t started)
{
	(void)userdata;
	heard.beats++;
	heard.last = *n;
	heard.started = started;
}

static void on_marker(void *userdata, uint64_t stamp, uint64_t changed)
{
	(void)userdata, (void)changed;
	/* Each look is told. */
	heard.markers += stamp != heard.stamp;
	heard.stamp = stamp;
}

static void on_heard(void *userdata)
{
	(void)userdata;
}

static void on_try(void *userdata)
{
	(void)userdata;
	heard.tries++;
}

static const struct listen_ops ops = {
	.beat = on_beat, .marker = on_marker, .heard = on_heard, .try = on_try
};

static void begin(const char *where, const char *user)
{
	const struct listen_spec spec = {
		.dir = where, .unit = "kiosk.service", .user = user, .marker = marker
	};

	fake_reset();
	fake_dir(dir);
	memset(&heard, 0, sizeof(heard));
	ok_int(listen_new(&l, loop, &spec, &ops, NULL), 0, "it listens");
}

static void know_as(const char *unit, uid_t uid, pid_t main_pid)
{
	const struct kiosk_properties p = { .uid = uid, .main_pid = (uint32_t)main_pid };

	listen_set_kiosk(l, unit, &p);
}

static void know(uid_t uid, pid_t main_pid)
{
	know_as("kiosk.service", uid, main_pid);
}

static void end(void)
{
	l = listen_free(l);
	ok_int(fake_open_fds(), 0, "nothing stays open");
}

static void settle(void)
{
	for (unsigned quiet = 0; quiet < 3;)
		quiet = sd_event_run(loop, SEC / 50) > 0 ? 0 : quiet + 1;
}

/* ---- who sends ------------------------------------------------------------------ */

struct sender {
	pid_t pid;
	int go; /* a byte lets it send, a second one end */
};

static int send_to_guard(const char *text, size_t len)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", dir);
	return sendto(fd, text, len, 0, (const struct sockaddr *)&address, sizeof(address)) < 0;
}

/* Never returns from the child. */
static struct sender new_sender(const char *text, size_t len)
{
	struct sender s = { .go = -1 };
	int fds[2];
	char go;

	if (pipe2(fds, O_CLOEXEC) < 0)
		abort();
	s.pid = fork();
	if (s.pid != 0) {
		(void)close(fds[0]);
		s.go = fds[1];
		return s;
	}
	(void)close(fds[1]);
	if (getuid() == 0 && setresuid(kiosk_uid, kiosk_uid, kiosk_uid) < 0)
		_exit(2);
	if (read(fds[0], &go, 1) != 1 || send_to_guard(text, len) != 0)
		_exit(1);
	(void)!read(fds[0], &go, 1);
	_exit(0);
}

/* Sends from a process of @group and returns true when it counted. */
static bool counts_of(const char *group, const char *text, size_t len)
{
	struct sender s = new_sender(text, len);
	_cleanup_free_ char *path = strf("/proc/%d/cgroup", (int)s.pid);
	_cleanup_free_ char *stat = strf("/proc/%d/stat", (int)s.pid);
	uint64_t beats = listen_beats(l), refused = listen_refused(l);
	int status;

	if (!path || !stat || s.pid < 0)
		abort();
	fake_file(path, group);
	fake_file(stat, "1 (kiosk) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 1 0");
	(void)!write(s.go, "1", 1);
	for (unsigned i = 0; i < 500 && beats + refused == listen_beats(l) + listen_refused(l); i++)
		(void)sd_event_run(loop, SEC / 100);
	(void)close(s.go);
	ok(waitpid(s.pid, &status, 0) == s.pid && status == 0, "it could send");
	ok(listen_beats(l) + listen_refused(l) == beats + refused + 1, "once");
	return listen_beats(l) > beats;
}

static bool counts(const char *group, const char *text)
{
	return counts_of(group, text, strlen(text));
}

/* ---- heartbeats ------------------------------------------------------------------- */

static void test_unit_beats(void)
{
	begin(dir, "");
	know(kiosk_uid, 0);
	ok(counts(KIOSK, "WATCHDOG=1\nSTATUS=here"), "the unit's process is the kiosk");
	ok(heard.beats == 1 && heard.last.watchdog, "what it says is told");
	ok_str(heard.last.status, "here", "to the last word");
	ok(heard.started > 0, "and since when its sender runs");
	ok(counts("0::/system.slice/kiosk.service/child\n", "WATCHDOG=1"), "with what it started");
	ok(!counts(OTHER, "WATCHDOG=1"), "its account in another unit is not");
	ok(!counts("0::/system.slice/x.service/kiosk.service\n", "WATCHDOG=1"),
	   "nor is its name below another");
	ok_int(heard.beats, 2, "nothing of that is told");
	end();
}

/* With PAMName= systemd moves the main process into a session's group. */
static void test_session_beats(void)
{
	begin(dir, "");
	fake_file("/proc/4711/cgroup", SESSION);
	know(kiosk_uid, 4711);
	ok(counts(SESSION, "WATCHDOG=1"), "the group of the main process is the kiosk's");
	ok(!counts(OTHER, "WATCHDOG=1"), "another is not");
	know(kiosk_uid, 0);
	ok(!counts(SESSION, "WATCHDOG=1"), "nor is it when there is no main process");
	end();
}

static void test_account_beats(void)
{
	const struct passwd *user = getpwuid(kiosk_uid);
	_cleanup_free_ char *name = user ? strdup(user->pw_name) : NULL;

	if (!name)
		return;
	begin(dir, name);
	know(kiosk_uid + 1, 0);
	ok(counts(OTHER, "READY=1"), "where an account is configured, it is the account");
	end();
}

/* The configured name was an alias of it. */
static void test_other_name(void)
{
	begin(dir, "");
	know(kiosk_uid, 0);
	ok(!counts(OTHER, "WATCHDOG=1"), "another unit");
	know_as("other.service", kiosk_uid, 0);
	ok(counts(OTHER, "WATCHDOG=1"), "is the kiosk's under its own name");
	end();
}

static void test_rubbish(void)
{
	static char text[NOTIFY_MAX + 2];

	begin(dir, "");
	know(kiosk_uid, 0);
	memset(text, '\n', sizeof(text));
	memcpy(text, "WATCHDOG=1", 10);
	ok(counts_of(KIOSK, text, NOTIFY_MAX), "as long as may be");
	ok(!counts_of(KIOSK, text, NOTIFY_MAX + 1), "too long is refused as a whole");
	ok(!counts(KIOSK, "MAINPID=1"), "nothing in it that is known");
	ok(!counts(KIOSK, ""), "nothing in it");
	ok(counts(KIOSK, "WATCHDOG=1"), "what follows is heard");
	end();
}

static uid_t owner(void)
{
	_cleanup_free_ char *path = strf("%s/notify", dir);
	struct stat st;

	if (!path || lstat(path, &st) < 0)
		abort();
	ok_int(st.st_mode & 07777, 0600, "nobody else's");
	return st.st_uid;
}

static void test_owner(void)
{
	const uid_t other = getuid() == 0 ? 65533 : getuid();
	struct kiosk_properties p = { .uid = UINT32_MAX };

	begin(dir, "");
	ok_int(owner(), getuid(), "the socket is root's while the kiosk's account is not known");
	know(kiosk_uid, 0);
	ok_int(owner(), kiosk_uid, "then it is the kiosk's");
	know(other, 0);
	ok_int(owner(), other, "also when that changes");
	(void)snprintf(p.user, sizeof(p.user), "%u", (unsigned)kiosk_uid);
	listen_set_kiosk(l, "kiosk.service", &p);
	ok_int(owner(), kiosk_uid, "before it runs it is of its User=");
	(void)snprintf(p.user, sizeof(p.user), "no-such-account");
	listen_set_kiosk(l, "kiosk.service", &p);
	ok(getuid() != 0 || owner() == 0, "one that is not there yet is nobody");
	end();
}

static void test_try(void)
{
	struct sender s = new_sender("X_BF_TRY=1", 10);
	int status;

	begin(dir, "");
	know(kiosk_uid, 0);
	(void)!write(s.go, "1", 1);
	for (unsigned i = 0; i < 500 && !heard.tries; i++)
		(void)sd_event_run(loop, SEC / 100);
	(void)close(s.go);
	ok(waitpid(s.pid, &status, 0) == s.pid && status == 0, "it could send");
	ok_int(heard.tries, 1, "its account may ask for the trial, from anywhere");
	ok(listen_beats(l) == 0 && listen_refused(l) == 0 && heard.beats == 0, "which is no beat");
	end();
}

/* ---- the marker --------------------------------------------------------------------- */

/* The watch is on the real one, the look at the double's. */
static void touch(const char *text)
{
	int fd;

	if (text)
		fake_file(marker, text);
	else
		fake_remove(marker);
	fd = open(marker, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || close(fd) < 0)
		abort();
}

static void test_marker(void)
{
	begin(dir, "");
	touch("1");
	settle();
	ok_int(heard.markers, 0, "nobody's: whose it has to be is not known");
	know(kiosk_uid, 0);
	ok(heard.markers == 1 && heard.stamp, "then it counts");
	know(kiosk_uid, 0);
	settle();
	ok_int(heard.markers, 1, "once");
	touch("renewed");
	settle();
	ok(heard.markers == 2 && heard.stamp, "and when it is renewed");
	touch(NULL);
	settle();
	ok(heard.markers == 3 && !heard.stamp, "until it is gone");
	(void)unlink(marker);
	end();
}

static void test_marker_without_sockets(void)
{
	begin("/nonexistent/dir", "");
	touch("1");
	know(kiosk_uid, 0);
	ok(heard.markers == 1 && heard.stamp, "without a socket the marker still counts");
	(void)unlink(marker);
	end();
}

int main(void)
{
	kiosk_uid = getuid() == 0 ? 65534 : getuid();
	(void)snprintf(dir, sizeof(dir), "/tmp/bf-listen-XXXXXX");
	if (sd_event_new(&loop) < 0 || !mkdtemp(dir) || chmod(dir, 0755) < 0)
		return 1;
	(void)snprintf(marker, sizeof(marker), "%s/healthy", dir);
	test_unit_beats();
	test_session_beats();
	test_account_beats();
	test_other_name();
	test_rubbish();
	test_owner();
	test_try();
	test_marker();
	test_marker_without_sockets();
	ok(!listen_free(NULL), "none is fine");
	loop = sd_event_unref(loop);
	scratch_remove(dir);
	return tap_done();
}
