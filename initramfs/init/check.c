// SPDX-License-Identifier: MIT
#include "initramfs/init/check.h"

#include "boot/io.h"
#include "boot/sys.h"
#include "initramfs/init/fail.h"
#include "initramfs/init/patience.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/wait.h>

#define NOTE_HEAD	"BF-CHECK begun="
#define NOTE_SKIPPED	" skipped="
#define FREE_TRIES	2 /* checks in a row without a pause */
#define PAUSE_SHIFT_MAX 6 /* no more than 64 boots */
#define LIMIT_BASE_SEC	120
#define LIMIT_MAX_SEC	3600

/* e2fsck(8), "Exit code"; bits. */
#define E2FSCK_CORRECTED   1
#define E2FSCK_REBOOT	   2 /* only of interest for a mounted root */
#define E2FSCK_UNCORRECTED 4

#define EXEC_FAILED 127 /* sys_spawn_wait(): a library of e2fsck is missing, for example */

/* ---- what is remembered ----------------------------------------------------- */

/* The number at *at, which ends before @end; *at is after it then. */
static bool take_number(const char **at, char end, uint32_t *ret)
{
	uint32_t n = 0;
	const char *c = *at;

	if (*c < '0' || *c > '9')
		return false;
	for (; *c >= '0' && *c <= '9'; c++) {
		n = n * 10 + (uint32_t)(*c - '0');
		if (n > CHECK_NOTE_MAX)
			return false;
	}
	if (*c != end)
		return false;
	*at = c + 1;
	*ret = n;
	return true;
}

void check_note_parse(const char text[static CHECK_NOTE_SIZE], struct check_note *ret)
{
	struct check_note note = { 0 };
	char copy[CHECK_NOTE_SIZE + 1] = "";
	const char *at;

	memcpy(copy, text, CHECK_NOTE_SIZE);
	*ret = note;
	at = startswith(copy, NOTE_HEAD);
	if (!at || !take_number(&at, ' ', &note.begun))
		return;
	at = startswith(at - 1, NOTE_SKIPPED);
	if (at && take_number(&at, '\n', &note.skipped))
		*ret = note;
}

void check_note_format(const struct check_note *note, char ret[static CHECK_NOTE_SIZE])
{
	memset(ret, 0, CHECK_NOTE_SIZE);
	if (note->begun)
		(void)snprintf(ret, CHECK_NOTE_SIZE, NOTE_HEAD "%u" NOTE_SKIPPED "%u\n",
			       note->begun, note->skipped);
}

bool check_is_due(const struct check_note *note)
{
	uint32_t shift = note->begun < PAUSE_SHIFT_MAX ? note->begun : PAUSE_SHIFT_MAX;

	return note->begun < FREE_TRIES || note->skipped >= UINT32_C(1) << shift;
}

uint32_t check_limit_sec(uint64_t device_bytes, uint32_t asked_sec)
{
	uint64_t sec = LIMIT_BASE_SEC + (device_bytes >> 30);

	if (asked_sec)
		return asked_sec;
	return sec < LIMIT_MAX_SEC ? (uint32_t)sec : LIMIT_MAX_SEC;
}

/* -errno; what cannot be read is no note. */
static int read_note(int fd, struct check_note *ret)
{
	char text[CHECK_NOTE_SIZE] = "";
	int r = io_pread_exactly(fd, text, sizeof(text), 0);

	*ret = (struct check_note) { 0 };
	if (r >= 0)
		check_note_parse(text, ret);
	return r;
}

/*
 * Nothing is written over what is not ours: there are no file systems but ext4 here, but a boot
 * loader's or somebody's first sector may be there, and then nothing is remembered.
 */
static int write_note(int fd, const struct check_note *note)
{
	static const char zeroes[CHECK_NOTE_SIZE];
	char text[CHECK_NOTE_SIZE] = "";
	int r = io_pread_exactly(fd, text, sizeof(text), 0);

	if (r < 0)
		return r;
	if (!startswith(text, NOTE_HEAD) && memcmp(text, zeroes, sizeof(text)) != 0)
		return -EEXIST;
	check_note_format(note, text);
	r = io_pwrite(fd, text, sizeof(text), 0);
	return r < 0 ? r : sys_fsync(fd);
}

/* ---- the run ------------------------------------------------------------------ */

static void report(struct check_report *ret, enum check_result result, const char *fmt, ...)
	_printf_(3, 4);
static void report(struct check_report *ret, enum check_result result, const char *fmt, ...)
{
	va_list ap;

	ret->result = result;
	va_start(ap, fmt);
	(void)vsnprintf(ret->text, sizeof(ret->text), fmt, ap);
	va_end(ap);
}

static void report_exit(struct check_report *ret, int status)
{
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;

	if (WIFSIGNALED(status))
		report(ret, CHECK_LEFT, "e2fsck was ended by signal %d", WTERMSIG(status));
	else if (code == EXEC_FAILED)
		report(ret, CHECK_IMPOSSIBLE, "e2fsck of the root cannot be started");
	else if (code & E2FSCK_UNCORRECTED)
		report(ret, CHECK_LEFT, "e2fsck could not repair all errors");
	else if (code & ~(E2FSCK_CORRECTED | E2FSCK_REBOOT))
		report(ret, CHECK_NOTHING, "e2fsck failed with %d", code);
	else if (code & E2FSCK_CORRECTED)
		report(ret, CHECK_REPAIRED, "e2fsck repaired errors");
	else
		report(ret, CHECK_GOOD, "e2fsck found no errors");
}

/* Whoever stands before it sees why nothing happens; a kiosk boots quietly otherwise. */
static void tell_consoles(uint32_t limit_sec)
{
	_cleanup_free_ char *text =
		strf("the data partition is being checked. This takes %u minutes "
		     "at most; please leave it on.",
		     (limit_sec + 59) / 60);

	if (text)
		fail_notice(text);
}

static int open_output(void)
{
	int fd = sys_open("/dev/console", O_WRONLY | O_NONBLOCK | O_NOCTTY, 0);

	return fd >= 0 ? fd : sys_open("/dev/null", O_WRONLY, 0);
}

/*
 * -y at once, never -p before it: -p does not use the backups of superblock and group
 * descriptors, and where the first ones are damaged its "safe" repairs (a journal
 * cleared) leave no files for the -y that has to follow; -y alone gets all of them
 * back. Where e2fsck finds no trace of ext4 it writes nothing. -f: a "clean" mark does not
 * count, it is only asked when something is wrong. -C 0: its progress, on the console.
 */
static void run_e2fsck(const char *device, const char *sysroot, const char *program,
		       uint32_t limit_sec, struct check_report *ret)
{
	char name[] = "e2fsck", force[] = "-f", yes[] = "-y", progress[] = "-C", bar[] = "0";
	_cleanup_free_ char *target = strdup(device);
	/* A line for each repair, on a serial line: it must not wait for that. What does not fit
	 * is dropped; without a console there is nobody to read it. */
	_cleanup_close_ int out = open_output();
	char *const argv[] = { name, force, yes, progress, bar, target, NULL };
	int status, r = target ? 0 : -ENOMEM;

	if (r == 0) {
		patience_begin(limit_sec);
		r = sys_spawn_wait(sysroot, program, argv, limit_sec, out, &status);
		patience_end();
	}
	if (r == -ETIMEDOUT)
		report(ret, CHECK_TIMEOUT, "e2fsck did not end in %u s", limit_sec);
	else if (r < 0)
		report(ret, CHECK_IMPOSSIBLE, "e2fsck cannot be run: %s", strerror(-r));
	else
		report_exit(ret, status);
}

/* e2fsck asks /proc/mounts whether the device is in use, and opens it in /dev. */
static int lend_kernel_filesystems(const char *sysroot)
{
	static const struct {
		const char *from, *to;
	} binds[] = { { "/dev", "dev" }, { "/proc", "proc" } };

	for (size_t i = 0; i < ARRAY_SIZE(binds); i++) {
		_cleanup_free_ char *to = strf("%s/%s", sysroot, binds[i].to);
		_cleanup_close_ int from = sys_open(binds[i].from, O_PATH | O_DIRECTORY, 0);
		int r = !to ? -ENOMEM : from < 0 ? from : sys_bind_fd(from, to, false);

		if (r < 0)
			return r;
	}
	return 0;
}

static void take_back_kernel_filesystems(const char *sysroot)
{
	static const char *const places[] = { "proc", "dev" };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		_cleanup_free_ char *path = strf("%s/%s", sysroot, places[i]);

		/* What was not mounted is no failure. */
		if (path)
			(void)sys_umount(path, MNT_DETACH);
	}
}

/* Where the root has it, as seen inside; NULL: nowhere. */
static const char *find_e2fsck(const char *sysroot)
{
	static const char *const places[] = { "/sbin/e2fsck", "/usr/sbin/e2fsck", "/bin/e2fsck" };
	_cleanup_close_ int root = sys_open(sysroot, O_PATH | O_DIRECTORY, 0);

	for (size_t i = 0; root >= 0 && i < ARRAY_SIZE(places); i++) {
		_cleanup_close_ int fd = sys_open_in_root(root, places[i] + 1, O_PATH, 0);

		if (fd >= 0)
			return places[i];
	}
	return NULL;
}

/* The note says what is begun, before it is begun. */
static void note_and_run(int fd, const char *device, const char *sysroot, uint32_t asked_sec,
			 struct check_report *ret)
{
	const char *program = find_e2fsck(sysroot);
	struct check_note note;
	uint64_t bytes = 0;
	uint32_t limit_sec;

	if (!program) {
		report(ret, CHECK_IMPOSSIBLE, "the root has no e2fsck");
		return;
	}
	if (patience_is_over()) {
		report(ret, CHECK_SKIPPED, "no time is left for a check in this boot");
		return;
	}
	(void)read_note(fd, &note);
	if (!check_is_due(&note)) {
		note.skipped += note.skipped < CHECK_NOTE_MAX;
		(void)write_note(fd, &note);
		report(ret, CHECK_SKIPPED,
		       "%u checks in a row did not help: not tried in this boot", note.begun);
		return;
	}
	note.begun += note.begun < CHECK_NOTE_MAX;
	note.skipped = 0;
	(void)write_note(fd, &note);
	(void)sys_device_size(fd, &bytes);
	limit_sec = check_limit_sec(bytes, asked_sec);
	tell_consoles(limit_sec);
	if (lend_kernel_filesystems(sysroot) < 0)
		report(ret, CHECK_IMPOSSIBLE, "/dev and /proc cannot be lent to the root");
	else
		run_e2fsck(device, sysroot, program, limit_sec, ret);
	take_back_kernel_filesystems(sysroot);
}

void check_helped(const char *device)
{
	_cleanup_close_ int fd = sys_open(device, O_RDWR, 0);
	struct check_note note;

	if (fd >= 0 && read_note(fd, &note) >= 0 && note.begun)
		(void)write_note(fd, &(struct check_note) { 0 });
}

void check_run(const char *device, const char *sysroot, uint32_t asked_sec,
	       struct check_report *ret)
{
	_cleanup_close_ int fd = sys_open(device, O_RDWR, 0);

	if (fd < 0)
		report(ret, CHECK_IMPOSSIBLE, "%s cannot be opened: %s", device, strerror(-fd));
	else
		note_and_run(fd, device, sysroot, asked_sec, ret);
}
