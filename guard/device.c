// SPDX-License-Identifier: MIT
#include "guard/device.h"

#include "boot/io.h"
#include "boot/sys.h"
#include "guard/heartbeat.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BASELINE_FILE "bf/guard-server"
#define SAVED_DIR     "bf/diagnostics"
#define READ_BLOCK    (1024 * 1024)
#define READ_REST     3 /* times as long as each block took */

uint64_t device_now(void)
{
	struct timespec ts = { 0 };

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

bool device_has_network(void)
{
	_cleanup_free_ char *route4 = NULL, *route6 = NULL;
	size_t len;

	/* PID 1's network, not that of our unit, which has none. */
	if (sys_read_file(AT_FDCWD, "/proc/1/net/route", 1 << 18, &route4, &len) >= 0 &&
	    route4_has_default(route4))
		return true;
	return sys_read_file(AT_FDCWD, "/proc/1/net/ipv6_route", 1 << 18, &route6, &len) >= 0 &&
	       route6_has_default(route6);
}

static void say(struct device_answer *a, const char *text)
{
	size_t n = strnlen(text, sizeof(a->why) - 1);

	memcpy(a->why, text, n);
	a->why[n] = '\0';
}

/*
 * Without a record that can be read: one bad moment of a disk must not take the
 * boot out of the guard's hands, so nothing is concluded that bf-init has not said.
 */
static enum role role_without_record(const struct run_facts *f)
{
	bool committed = f->selector == SELECTOR_VALID && f->selector_committed == f->running;

	if (f->running == SLOT_NONE || f->record_future)
		return ROLE_LIMBO;
	if (f->validated && !committed)
		return ROLE_TRIAL;
	return f->mismatch || f->limbo ? ROLE_LIMBO : ROLE_UNKNOWN;
}

/*
 * By the wall clock: what an update waited for in the boots before this one is written nowhere
 * else. A clock that was behind when it was installed makes it wait shorter.
 */
static uint64_t waited_usec(const struct run_facts *f)
{
	const struct record *rec = &f->record;

	/* When it was installed is not when the other slot failed. */
	if (rec->kind == KIND_FALLBACK)
		return 0;
	for (size_t i = 0; i < rec->history_count; i++) {
		const struct history_entry *h = &rec->history[i];

		if (h->event == HISTORY_STAGED && h->slot == rec->staged)
			return h->time_sec < f->now_sec ? (f->now_sec - h->time_sec) * 1000000 : 0;
	}
	return 0;
}

/* There is something that settling would forget. */
static bool is_unsettled(const struct record *rec)
{
	return rec->probation || rec->hard || rec->soft || rec->doublings || rec->ladder ||
	       rec->repairs;
}

static void judge_committed(const struct run_facts *f, struct policy_facts *ret)
{
	ret->role = ROLE_COMMITTED;
	ret->probation = f->record.probation;
	ret->unsettled = is_unsettled(&f->record);
	ret->healthy = (uint64_t)f->record.healthy_sec * 1000000;
	ret->staged = f->writable && requests_armed_slot(f) != SLOT_NONE;
	if (ret->staged) {
		ret->tried = f->record.attempts > 0;
		ret->waited = waited_usec(f);
	}
}

void device_judge(const struct run_facts *f, struct device_answer *ret)
{
	bool sure = f->running != SLOT_NONE && !f->mismatch && !f->limbo;

	ret->running = f->running;
	ret->committed = f->record_readable ? f->record.committed : SLOT_NONE;
	ret->staged = f->record_readable ? f->record.staged : SLOT_NONE;
	ret->facts = (struct policy_facts) {
		.role = ROLE_LIMBO,
		.trials = f->record_readable ? f->record.trials : 1,
		.staying = f->staying,
	};
	if (requests_is_trial(f)) {
		ret->facts.role = ROLE_TRIAL;
		ret->facts.committable =
			f->committable && f->writable && !f->mismatch && !f->record_future;
		ret->fallback = f->record_readable && f->record.kind == KIND_FALLBACK;
	} else if (!f->record_readable) {
		ret->facts.role = role_without_record(f);
	} else if (f->validated && f->record.committed != f->running) {
		ret->facts.role = ROLE_TRIAL;
		ret->facts.rejected = true;
	} else if (sure && f->record.committed == f->running) {
		judge_committed(f, &ret->facts);
	}
}

static enum device_baseline read_baseline(int data_fd)
{
	_cleanup_close_ int fd = -1;
	char word[16];
	ssize_t n;

	if (data_fd < 0)
		return BASELINE_UNKNOWN;
	fd = sys_open_beneath(data_fd, BASELINE_FILE, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0)
		return BASELINE_UNKNOWN;
	n = io_read(fd, word, sizeof(word) - 1);
	word[n > 0 ? n : 0] = '\0';
	return streq(word, "reached\n")	 ? BASELINE_REACHED
	       : streq(word, "silent\n") ? BASELINE_SILENT
					 : BASELINE_UNKNOWN;
}

/* A torn write is an unknown baseline: not worth the trouble of a rename. */
static int write_baseline(int data_fd, bool reached)
{
	const char *word = reached ? "reached\n" : "silent\n";
	_cleanup_close_ int fd = -1;
	int r;

	if (data_fd < 0)
		return -ENODEV;
	fd = sys_open_beneath(data_fd, BASELINE_FILE, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		return fd;
	r = io_write(fd, word, strlen(word));
	return r < 0 ? r : sys_fsync(fd);
}

static void ask_facts(const struct device_question *q, struct device_answer *a)
{
	struct running r;

	a->error = running_open(RUNNING_READ, &r);
	if (a->error == -ENOENT) {
		/* Another way of booting: nothing to guard, nothing to decide. */
		a->error = 0;
		a->facts.role = ROLE_LIMBO;
		say(a, "bf-init did not start this system");
	} else if (a->error < 0) {
		say(a, r.why);
	} else {
		device_judge(&r.facts, a);
		/* It was not there when the boot began, and it will not come. */
		if (a->facts.role == ROLE_UNKNOWN && streq(r.boot.data, BOOT_DATA_MISSING))
			a->facts.role = ROLE_LIMBO;
		a->baseline = read_baseline(r.data_fd);
		say(a, *r.why || r.facts.writable ? r.why : PART_LABEL(DATA) " cannot be written");
		if (q->type == DEVICE_BASELINE &&
		    a->baseline != (q->flag ? BASELINE_REACHED : BASELINE_SILENT))
			a->error = write_baseline(r.data_fd, q->flag);
	}
	running_close(&r);
}

static void ask_request(const struct device_question *q, struct device_answer *a)
{
	struct request_args args = { .slot = SLOT_NONE,
				     .reason = q->reason,
				     .seconds = q->seconds };
	struct request_plan plan = { .next = NEXT_BOOT };
	struct running r;

	a->error = running_open(RUNNING_CHANGE, &r);
	if (a->error >= 0) {
		args.slot = r.facts.running;
		a->error = running_request(&r, q->request, &args, &plan);
		a->refusal = plan.refusal;
		a->next = plan.next;
		device_judge(&r.facts, a);
	}
	say(a, a->error < 0		      ? r.why
	       : plan.refusal != REFUSAL_NONE ? refusal_text(plan.refusal)->what
					      : "");
	running_close(&r);
}

static int make_confirmed(void)
{
	_cleanup_close_ int root = sys_open("/", O_RDONLY | O_DIRECTORY, 0);
	_cleanup_close_ int dir = -1, fd = -1;

	if (root < 0)
		return root;
	/* The directory is the kiosk's: whatever stands under the name is not followed or kept. */
	dir = sys_open_beneath(root, DEVICE_CONFIRMED_DIR, O_RDONLY | O_DIRECTORY, 0);
	if (dir < 0)
		return dir;
	(void)sys_unlinkat(dir, DEVICE_CONFIRMED_NAME, 0);
	fd = sys_openat(dir, DEVICE_CONFIRMED_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
	if (fd < 0)
		return fd;
	/* For the kiosk to read, whatever the umask is. */
	if (sys_fchmod(fd, 0644) < 0)
		return -EPERM;
	return io_write(fd, "ok\n", 3);
}

static int make_staying(void)
{
	int fd = sys_open(RUNNING_STAYING, O_WRONLY | O_CREAT | O_NOFOLLOW, 0644);

	if (fd >= 0)
		(void)sys_close(fd);
	return fd < 0 ? fd : 0;
}

/* ---- the root image ------------------------------------------------------- */

static int open_root_device(void)
{
	char path[64];
	struct stat st;
	int r = sys_fstatat(AT_FDCWD, "/", &st, 0);

	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/dm/uuid", major(st.st_dev),
		       minor(st.st_dev));
	/* Only a device-mapper target proves anything by being read. */
	r = sys_faccessat(AT_FDCWD, path, F_OK);
	if (r < 0)
		return -ENODEV;
	(void)snprintf(path, sizeof(path), "/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev));
	/* Not through the page cache: that would prove what is in memory, and push out the rest. */
	return sys_open(path, O_RDONLY | O_DIRECT, 0);
}

static void read_root(struct device_answer *a)
{
	_cleanup_close_ int fd = open_root_device();
	_cleanup_free_ void *block = NULL;
	uint64_t at = 0, size;
	ssize_t n = 0;

	a->error = fd < 0 ? fd : sys_device_size(fd, &size);
	if (a->error < 0) {
		say(a, "the root is not on a device that can be read in full");
		return;
	}
	if (posix_memalign(&block, 4096, READ_BLOCK) != 0) {
		a->error = -ENOMEM;
		return;
	}
	while (at < size) {
		uint64_t begin = device_now();

		n = sys_pread(fd, block, READ_BLOCK, at);
		if (n <= 0)
			break;
		at += (uint64_t)n;
		/* The kiosk goes first: I/O priorities say nothing to most disks and schedulers. */
		sys_sleep_usec((device_now() - begin) * READ_REST);
	}
	if (n < 0) {
		a->corrupt = n == -EIO || n == -EBADMSG;
		a->error = (int)n;
		(void)snprintf(a->why, sizeof(a->why), "reading the root at byte %llu: %s",
			       (unsigned long long)at, strerror((int)-n));
	}
}

/* ---- diagnostics ------------------------------------------------------------ */

/* What a program prints goes to @to, at most @max bytes; it is killed when it prints more. */
static void append_output(int to, const char *const argv[], size_t max)
{
	char buf[8192];
	int fds[2];
	pid_t pid;
	ssize_t n;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return;
	pid = fork();
	if (pid == 0) {
		if (dup2(fds[1], STDOUT_FILENO) >= 0 && dup2(fds[1], STDERR_FILENO) >= 0)
			(void)execv(argv[0], (char *const *)argv); /* which does not change them */
		_exit(127);
	}
	(void)close(fds[1]);
	while (pid > 0 && max > 0 && (n = read(fds[0], buf, sizeof(buf))) > 0) {
		if ((size_t)n > max)
			n = (ssize_t)max;
		if (io_write(to, buf, (size_t)n) < 0)
			break;
		max -= (size_t)n;
	}
	(void)close(fds[0]);
	if (pid > 0) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
	}
}

/* Names are the time, so that the oldest come first; @keep of them stay. */
static void drop_oldest(int dir, size_t keep)
{
	char **names = NULL;
	size_t count = 0;

	if (sys_list(dir, 1000, &names, &count) < 0)
		return;
	for (size_t i = 0; i + keep < count; i++)
		(void)sys_unlinkat(dir, names[i], 0);
	sys_names_free(names, count);
}

static int open_saved_dir(int data_fd)
{
	_cleanup_close_ int parent = sys_open_beneath(data_fd, "bf", O_RDONLY | O_DIRECTORY, 0);
	int r;

	if (parent < 0)
		return parent;
	r = io_mkdirat(parent, "diagnostics", 0700);
	if (r < 0)
		return r;
	return sys_open_beneath(data_fd, SAVED_DIR, O_RDONLY | O_DIRECTORY, 0);
}

static const char *const journal[] = {
	"/usr/bin/journalctl",	    "--boot", "--no-pager", "--lines=3000",
	"--output=short-monotonic", NULL
};
static const char *const failed_units[] = { "/usr/bin/systemctl", "--failed", "--no-pager",
					    "--plain", NULL };

static int save(int data_fd, const struct run_facts *facts, const char *text)
{
	_cleanup_close_ int dir = open_saved_dir(data_fd), fd = -1;
	_cleanup_free_ char *name =
		strf("%020llu-%.32s", (unsigned long long)facts->now_sec, facts->boot_id);
	int r;

	if (dir < 0)
		return dir;
	if (!name)
		return -ENOMEM;
	drop_oldest(dir, DEVICE_SAVED_KEPT - 1);
	fd = sys_openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	r = io_write(fd, text, strlen(text));
	if (r < 0)
		return r;
	append_output(fd, failed_units, 16384);
	append_output(fd, journal, DEVICE_SAVED_MAX_BYTES - 16384 - DEVICE_TEXT_MAX);
	return sys_fsync(fd);
}

static void ask_save(const struct device_question *q, struct device_answer *a)
{
	struct running r;

	a->error = running_open(RUNNING_READ, &r);
	/* The journal takes its time, and RAUC's calls must not wait for it. */
	close_p(&r.lock_fd);
	if (a->error >= 0)
		a->error = r.data_fd < 0 ? -ENODEV : save(r.data_fd, &r.facts, q->text);
	running_close(&r);
}

/* ---- the end -------------------------------------------------------------------- */

static void take_argument_back(void)
{
	(void)sys_unlinkat(AT_FDCWD, RUNNING_ARMED, 0);
	(void)sys_unlinkat(AT_FDCWD, RUNNING_REBOOT_PARAM, 0);
}

void device_ask(const struct device_question *q, struct device_answer *ret)
{
	*ret = (struct device_answer) { .running = SLOT_NONE,
					.committed = SLOT_NONE,
					.staged = SLOT_NONE };
	switch (q->type) {
	case DEVICE_FACTS:
	case DEVICE_BASELINE:
		ask_facts(q, ret);
		break;
	case DEVICE_REQUEST:
		ask_request(q, ret);
		break;
	case DEVICE_STAY:
		ret->error = make_staying();
		break;
	case DEVICE_CONFIRMED:
		ret->error = make_confirmed();
		break;
	case DEVICE_SAVE:
		ask_save(q, ret);
		break;
	case DEVICE_READ_ROOT:
		read_root(ret);
		break;
	case DEVICE_PREPARE:
		if (!q->flag)
			take_argument_back();
		break;
	case DEVICE_SYNC:
		sys_sync();
		break;
	case DEVICE_REBOOT:
		ret->error = sys_reboot(q->flag ? FIRMWARE_REBOOT_TRIAL : NULL);
		break;
	}
}
