// SPDX-License-Identifier: MIT
/* bf-boot as RAUC, units and people call it. */
#include "tests/lib/bf-boot-ask.h"

#include <sys/file.h>
#include <zlib.h>

#define PARAM "/run/systemd/reboot-param"

/* The same device in the states that an update goes through. */
enum scene { QUIET, STAGED, TRIAL, COMMITTED, BAD };

static void play(enum scene scene)
{
	bool on_b = scene == TRIAL || scene == COMMITTED;
	struct record rec;

	device_record(&rec, scene == COMMITTED ? SLOT_B : SLOT_A);
	if (scene == STAGED || scene == TRIAL) {
		rec.staged = SLOT_B;
		rec.state[SLOT_B] = STATE_UNKNOWN;
		rec.proven[SLOT_B] = PROVEN_NO;
		record_set_hash(rec.hash[SLOT_B], DEVICE_HASH);
	}
	if (scene == TRIAL) {
		rec.attempts = rec.trials = 1;
		record_set_last(&rec, SLOT_B, PHASE_TRIAL, DEVICE_BOOT_ID, false, 0);
	}
	if (scene == BAD) {
		rec.state[SLOT_B] = STATE_BAD;
		rec.proven[SLOT_B] = PROVEN_NO;
	}
	device_with(&rec, on_b ? SLOT_B : SLOT_A);
}

static void test_answers(void)
{
	static const struct {
		const char *name;
		enum scene scene;
		const char *words[4];
		int status;
		const char *out, *err; /* err: is contained */
	} rows[] = {
		{ "primary", QUIET, { "get-primary" }, 0, "A\n", "" },
		{ "primary, staged", STAGED, { "get-primary" }, 0, "B\n", "" },
		{ "primary in a trial", TRIAL, { "get-primary" }, 0, "A\n", "" },
		{ "primary, committed", COMMITTED, { "get-primary" }, 0, "B\n", "" },
		{ "current", QUIET, { "get-current" }, 0, "A\n", "" },
		{ "current in a trial", TRIAL, { "get-current" }, 0, "B\n", "" },
		{ "state", QUIET, { "get-state", "B" }, 0, "good\n", "" },
		{ "state of the staged slot", STAGED, { "get-state", "B" }, 0, "good\n", "" },
		{ "state of a bad slot", BAD, { "get-state", "B" }, 0, "bad\n", "" },
		{ "state of no slot", QUIET, { "get-state", "C" }, 1, "", "A and B" },
		{ "state of no slot", QUIET, { "get-state", "" }, 1, "", "A and B" },
		{ "lower case", QUIET, { "get-state", "a" }, 1, "", "A and B" },
		{ "bad, unknown slot", QUIET, { "set-state", "C", "bad" }, 1, "", "A and B" },
		{ "primary, unknown slot", QUIET, { "set-primary", "C" }, 1, "", "A and B" },
		{ "good, not running", STAGED, { "set-state", "B", "good" }, 1, "", "running" },
		{ "bad, running", QUIET, { "set-state", "A", "bad" }, 1, "", "committed" },
		{ "bad, other, in a trial", TRIAL, { "set-state", "A", "bad" }, 1, "", "trial" },
		{ "primary in a trial", TRIAL, { "set-primary", "A" }, 1, "", "trial" },
		{ "try without update", QUIET, { "try" }, 1, "", "staged" },
		{ "try in a trial", TRIAL, { "try" }, 1, "", "trial" },
		{ "reject, committed", QUIET, { "reject" }, 1, "", "--force" },
		{ "reject, no reason", TRIAL, { "reject", "bad-luck" }, 2, "", "bad-luck" },
		{ "cancel nothing", QUIET, { "cancel" }, 0, "", "" },
		{ "settle in a trial", TRIAL, { "settle" }, 1, "", "trial" },
		{ "settle nothing", QUIET, { "settle" }, 0, "", "" },
		{ "reconcile nothing", QUIET, { "reconcile" }, 0, "", "running slot A" },
		{ "shutdown", QUIET, { "shutdown", "halt" }, 0, "", "" },
		{ "shutdown how?", QUIET, { "shutdown", "slowly" }, 2, "", "Usage" },
		{ "arm nothing", QUIET, { "arm" }, 0, "", "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *const *w = rows[i].words;
		const struct answer *a;

		play(rows[i].scene);
		a = ask(w[0], w[1], w[2], NULL);
		ok_int(a->status, rows[i].status, "%s", rows[i].name);
		ok_str(a->out, rows[i].out, "stdout");
		ok(strstr(a->err, rows[i].err) && !*rows[i].err == !*a->err, "stderr: %s", a->err);
		ok_int(fake_open_fds(), 0, "files closed");
	}
}

static void test_usage(void)
{
	static const char *const rows[][4] = {
		{ NULL },
		{ "fly" },
		{ "" },
		{ "get-primary", "A" },
		{ "get-state" },
		{ "get-state", "A", "B" },
		{ "set-state", "A" },
		{ "set-state", "A", "fine" },
		{ "set-state", "A", "good", "now" },
		{ "set-primary" },
		{ "set-primary", "--json", "A" },
		{ "status", "--force" },
		{ "status", "-j" },
		{ "is-refused" },
		{ "is-refused", "xyz" },
		{ "is-refused", "" },
	};
	struct record before;

	play(QUIET);
	before = stored();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct answer *a = ask(rows[i][0], rows[i][1], rows[i][2], rows[i][3], NULL);

		ok_int(a->status, 2, "wrong usage %zu", i);
		ok(!*a->out && *a->err, "is said on stderr: %s", a->err);
	}
	ok_int(stored().gen, before.gen, "nothing was written");
}

static void test_help(void)
{
	const struct answer *a = ask("--help", NULL);

	ok(a->status == 0 && strstr(a->out, "set-primary") && !*a->err, "--help");
	a = ask("--version", NULL);
	ok(a->status == 0 && startswith(a->out, "bf-boot ") && !*a->err, "--version");
	a = ask("set-state", "--help", NULL);
	ok(a->status == 0 && strstr(a->out, "good|bad") && !*a->err, "set-state --help");
	a = ask("status", "--version", NULL);
	ok(a->status == 0 && startswith(a->out, "bf-boot "), "status --version");
	a = ask("reasons", NULL);
	ok(a->status == 0 && strstr(a->out, "verity-corrupt\n    The root image"), "reasons");
}

/* What an update does, in the order in which RAUC and systemd ask. */
static void test_update(void)
{
	const struct answer *a;
	struct record rec;

	play(QUIET);
	ok_int(ask("set-state", "B", "bad", NULL)->status, 0, "RAUC is about to write B");
	rec = stored();
	ok(rec.state[SLOT_B] == STATE_BAD && rec.staged == SLOT_NONE, "B is bad");
	ok_int(ask("set-primary", "B", NULL)->status, 0, "RAUC has written B");
	rec = stored();
	ok(rec.staged == SLOT_B && rec.attempts == 0, "B is staged");
	ok_str(rec.hash[SLOT_B], DEVICE_HASH, "with the root hash of its boot image");
	ok_str(ask("get-primary", NULL)->out, "B\n", "B is the primary slot");
	ok_str(ask("get-state", "B", NULL)->out, "good\n", "and good");
	/* A reboot that runs no unit (`reboot -f`) counts nothing, so it must be a plain one. */
	ok(!fake_exists(PARAM), "no reboot argument yet");
	ok_int(ask("arm", NULL)->status, 0, "arm without an attempt");
	ok(!fake_exists(PARAM), "does not arm");
	a = ask("shutdown", "reboot", NULL);
	ok(a->status == 0 && strstr(a->err, "attempt 1 of 6"), "the shutdown counts it");
	ok_int(stored().attempts, 1, "in the record");
	ok(file_says(PARAM, "0 tryboot\n"), "and then the reboot argument is there");
	ok_int(ask("shutdown", "reboot", NULL)->status, 0, "a second call");
	ok_int(stored().attempts, 1, "counts once");
	fake_remove(PARAM);
	a = ask("arm", NULL);
	ok(a->status == 0 && strstr(a->err, "trial"), "arm at the end");
	ok(file_says(PARAM, "0 tryboot\n"), "makes it the trial");
	ok_int(sector_of("nvme0n1p"), SLOT_A, "the sector was left alone");

	ok_int(ask("cancel", NULL)->status, 0, "cancel");
	ok(!fake_exists(PARAM) && stored().staged == SLOT_NONE, "takes all of it back");
	ok_str(ask("get-primary", NULL)->out, "A\n", "A is the primary slot again");
}

static void test_commit(void)
{
	struct record rec;

	play(TRIAL);
	ok_int(ask("set-state", "B", "good", NULL)->status, 0, "commit");
	rec = stored();
	ok(rec.committed == SLOT_B && rec.staged == SLOT_NONE && rec.probation, "record");
	ok_int(sector_of("nvme0n1p"), SLOT_B, "sector");

	fake_log_files(true);
	fake_log_clear();
	ok_int(ask("set-state", "B", "good", NULL)->status, 0, "commit again");
	ok(!strstr(fake_log(), "pwrite") && !strstr(fake_log(), "exchange"), "writes nothing");
	fake_log_files(false);
	ok_int(stored().gen, rec.gen, "the same generation");

	play(STAGED);
	rec = stored();
	ok_int(ask("set-state", "B", "good", NULL)->status, 1, "commit from the wrong slot");
	ok(stored().gen == rec.gen && sector_of("nvme0n1p") == SLOT_A, "changes nothing");
}

static void test_reject(void)
{
	const struct answer *a;

	play(TRIAL);
	a = ask("reject", "verity-corrupt", NULL);
	ok_int(a->status, -1, "reject leaves by the reboot");
	ok(strstr(fake_log(), "exec /usr/bin/systemctl systemctl reboot --check-inhibitors=no\n"),
	   "a plain one, whoever would hold it up");
	ok(stored().state[SLOT_B] == STATE_BAD, "B is bad");
	ok_str(stored().history[0].reason, "verity-corrupt", "for the reason given");

	play(TRIAL);
	fake_result("exchange", -EIO);
	a = ask("reject", NULL);
	ok_int(a->status, -1, "reject that cannot be written reboots, too");
	ok(strstr(a->err, "record"), "and says so: %s", a->err);

	play(TRIAL);
	fake_result("exec", -ENOENT);
	a = ask("reject", NULL);
	ok(a->status == 1 && strstr(a->err, "systemctl"), "no systemctl: %s", a->err);

	play(QUIET);
	a = ask("reject", "--force", NULL);
	ok_int(a->status, -1, "by force the committed slot is left");
	ok(strstr(fake_log(), "--reboot-argument=0 tryboot"), "for a trial");
	ok(stored().staged == SLOT_B && stored().kind == KIND_FALLBACK, "of the other one");
}

static void test_try(void)
{
	const struct answer *a;

	play(STAGED);
	ok_int(ask("try", NULL)->status, 0, "try asks for the reboot");
	ok(strstr(fake_log(), "spawn /usr/bin/systemctl systemctl reboot\n"), "of systemd");
	ok_int(stored().attempts, 1, "counted");
	ok(file_says(PARAM, "0 tryboot\n"), "armed");

	play(STAGED);
	fake_spawn(256, 0);
	a = ask("try", NULL);
	ok(a->status == 1 && strstr(a->err, "nothing was counted"), "held up: %s", a->err);
	ok(stored().attempts == 0 && !fake_exists(PARAM), "nothing was counted");

	play(STAGED);
	fake_spawn(0, 100);
	ok_int(ask("try", NULL)->status, 1, "systemd does not answer");
	ok(stored().attempts == 0 && !fake_exists(PARAM), "nothing was counted");

	play(STAGED);
	fake_result("exchange", -EIO);
	ok_int(ask("try", NULL)->status, 1, "no trial that cannot be counted");
	ok(!fake_exists(PARAM), "the reboot is a plain one");

	play(QUIET);
	ok_int(ask("try", NULL)->status, 1, "nothing is staged");
	ok(!strstr(fake_log(), "spawn"), "no reboot");
}

static void shutdown_takes_over(void)
{
	fake_file("/proc/1/comm", "systemd-shutdow\n");
}

/* A reboot that hangs: ended in time, and before the watchdog's reset, which forgets the argument.
 */
static void test_end(void)
{
	uint64_t begin;

	play(STAGED);
	fake_file("/proc/1/comm", "systemd\n");
	begin = sys_monotonic_usec();
	ok_int(ask("end", "240", NULL)->status, -1, "end: by the reboot");
	ok(strstr(fake_log(), "reboot -\n"), "not counted: a plain one");
	ok_int((long)((sys_monotonic_usec() - begin) / 1000000), 240, "after the time");

	play(STAGED);
	fake_file("/proc/1/comm", "systemd\n");
	ok(ask("reconcile", NULL)->status == 0 && ask("shutdown", "reboot", NULL)->status == 0,
	   "counted");
	shutdown_takes_over();
	begin = sys_monotonic_usec();
	ok_int(ask("end", "240", NULL)->status, -1, "end: systemd-shutdown waits in vain");
	ok(strstr(fake_log(), "reboot 0 tryboot\n"), "counted: into the trial");
	ok_int((long)((sys_monotonic_usec() - begin) / 1000000), 11, "before the watchdog");

	play(STAGED);
	ok_int(ask("end", "soon", NULL)->status, 2, "end: not a time");
}

static void test_eeprom(void)
{
	static const struct {
		const char *name, *cell;
		bool warns;
	} rows[] = {
		{ "old", "\x67\xce\x2b\x7f", true },	     /* a second before the floor */
		{ "new enough", "\x67\xce\x2b\x80", false }, /* 2025-03-10 */
		{ "no such property", NULL, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct answer *a;

		play(QUIET);
		fake_dir("/proc/device-tree/chosen/bootloader");
		if (rows[i].cell)
			fake_file_data("/proc/device-tree/chosen/bootloader/build-timestamp",
				       rows[i].cell, 4);
		a = ask("set-primary", "B", NULL);
		ok(a->status == 0 && !*a->out, "EEPROM %s", rows[i].name);
		ok(!strstr(a->err, "EEPROM") == !rows[i].warns, "warning: %s", a->err);
	}
}

static void test_hash(void)
{
	const struct answer *a;

	play(QUIET);
	fake_result("mount /dev/nvme0n1p3", -EINVAL);
	a = ask("set-primary", "B", NULL);
	ok(a->status == 0 && strstr(a->err, "root hash"), "no boot filesystem: %s", a->err);
	ok(stored().staged == SLOT_B && !*stored().hash[SLOT_B], "staged without a hash");
	play(QUIET);
	(void)ask("set-primary", "A", NULL);
	ok(!strstr(fake_log(), "mount"), "nothing is mounted to cancel");
}

/* Degraded, no record, a record from the future: what can be answered is. */
static void test_degraded(void)
{
	static const struct {
		const char *name, *boot_file, *primary, *refused;
	} rows[] = {
		{ "BF_DATA missing", "BF_DATA=missing\nBF_DATA_DIR=\nBF_DEGRADED=yes\n", "A\n",
		  "BF_DATA" },
		{ "mismatch", "BF_MISMATCH=yes\n", "A\n", "different slots" },
		{ "limbo", "BF_LIMBO=yes\n", "A\n", "Nothing says for sure" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct device d = device_default;
		const struct answer *a;
		struct record rec;

		device_record(&rec, SLOT_A);
		d.record = &rec;
		d.boot_file = rows[i].boot_file;
		fake_reset();
		device_make(&d);
		ok_str(ask("get-primary", NULL)->out, rows[i].primary, "%s", rows[i].name);
		a = ask("set-primary", "B", NULL);
		ok(a->status == 1 && strstr(a->err, rows[i].refused), "refused: %s", a->err);
		a = ask("set-state", "B", "bad", NULL);
		ok(a->status == 1 && strstr(a->err, rows[i].refused), "refused: %s", a->err);
		a = ask("get-current", NULL);
		ok_str(a->out, streq(rows[i].name, "mismatch") ? "" : "A\n", "get-current");
		ok_int(a->status, !*a->out, "status");
		ok(stored().gen == 1 && sector_of("nvme0n1p") == SLOT_A, "nothing changed");
	}
}

static void test_future(void)
{
	char text[RECORD_SIZE], body[] = "format=2\nwhat=else\n";
	const struct answer *a;
	size_t len = strlen(body);

	play(QUIET);
	memset(text, '\n', sizeof(text));
	memcpy(text, body, len);
	(void)snprintf(text + len, 20, "crc32=%08lx", crc32(0, (const Bytef *)body, (uInt)len));
	text[len + 14] = '\n';
	fake_file_data(DEVICE_DATA "/bf/boot-record", text, sizeof(text));
	fake_file_data(DEVICE_DATA "/bf/boot-record.old", text, sizeof(text));
	ok_str(ask("get-primary", NULL)->out, "A\n", "a newer record: the sector answers");
	a = ask("set-state", "B", "bad", NULL);
	ok(a->status == 1 && strstr(a->err, "newer version"), "it is not written: %s", a->err);
	ok_int(ask("history", NULL)->status, 1, "no history");
	ok_int(ask("is-refused", "aa", NULL)->status, 3, "cannot tell what is refused");
}

static void test_not_ours(void)
{
	const struct answer *a;

	play(QUIET);
	fake_remove(BOOT_FILE_PATH);
	a = ask("get-primary", NULL);
	ok(a->status == 1 && !*a->out && strstr(a->err, "bf-init"), "not by bf-init: %s", a->err);
	a = ask("is-refused", "aa", NULL);
	ok_int(a->status, 3, "is-refused has a status of its own for that");
	play(QUIET);
	fake_result("is-root", -EPERM);
	a = ask("get-primary", NULL);
	ok(a->status == 1 && strstr(a->err, "root"), "not root: %s", a->err);
}

static void test_refused(void)
{
	char upper[] = "C0FFEE";
	struct record rec;

	device_record(&rec, SLOT_A);
	record_refuse(&rec, "c0ffee");
	device_with(&rec, SLOT_A);
	ok_int(ask("is-refused", "c0ffee", NULL)->status, 0, "refused");
	ok_int(ask("is-refused", upper, NULL)->status, 0, "in upper case, too");
	ok_int(ask("is-refused", "c0ffe", NULL)->status, 1, "another one is not");
}

static void test_free(void)
{
	const struct answer *a;

	play(QUIET);
	fake_file("/dev/one", "");
	fake_file("/dev/two", "");
	ok_int(ask("is-free", "/dev/one", "/dev/two", NULL)->status, 0, "both are free");
	a = ask("is-free", "/dev/one", "/dev/three", NULL);
	ok(a->status == 3 && strstr(a->err, "/dev/three"), "cannot tell: %s", a->err);
	fake_result("open /dev/two", -EBUSY);
	a = ask("is-free", "/dev/one", "/dev/two", NULL);
	ok(a->status == 1 && strstr(a->err, "/dev/two is in use"), "in use: %s", a->err);
	ok_int(ask("is-free", NULL)->status, 2, "which device?");
}

static void test_lock(void)
{
	const struct answer *a;
	int fd;

	play(STAGED);
	fd = open(fake_path("/run/bf/lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ok(fd >= 0 && flock(fd, LOCK_EX) == 0, "somebody changes the selection");
	a = ask("set-primary", "B", NULL);
	ok(a->status == 1 && strstr(a->err, "lock"), "a change waits, then says so: %s", a->err);
	a = ask("get-primary", NULL);
	ok(a->status == 1 && !*a->out, "and so does a question");
	ok(flock(fd, LOCK_SH) == 0, "somebody reads");
	ok_str(ask("get-primary", NULL)->out, "B\n", "a question does not wait for another");
	ok_int(ask("cancel", NULL)->status, 1, "a change does");
	(void)close(fd);
	ok_int(ask("cancel", NULL)->status, 0, "until they are done");
	ok_int(fake_open_fds(), 0, "the lock is given back");
}

/* RAUC waits for ever: each call that could wait has an end, and the reboot has none of it. */
static void test_deadline(void)
{
	const char *log;

	play(STAGED);
	fake_log_files(true);
	fake_log_clear();
	(void)ask("get-primary", NULL);
	log = fake_log();
	ok(startswith(log, "alarm 20\n"), "a deadline before anything else");
	ok(strstr(log, "alarm 0\n"), "and none after it");
	play(TRIAL);
	fake_log_files(true);
	fake_log_clear();
	(void)ask("reject", NULL);
	log = strstr(fake_log(), "alarm 0\n");
	ok(log && strstr(log, "exec /usr/bin/systemctl"), "the reboot is not cut short by it");
}

static void test_full(void)
{
	struct device d = device_default;
	const struct answer *a;

	fake_reset();
	device_make(&d);
	fake_result("fallocate", -ENOSPC);
	a = ask("set-state", "B", "bad", NULL);
	ok(a->status == 1 && strstr(a->err, "No space"), "full before the first record: %s",
	   a->err);
	ok_int(sector_of("nvme0n1p"), SLOT_A, "the sector is as it was");
}

static void test_disks(void)
{
	static const char *const names[] = { "nvme0n1p", "mmcblk0p", "sda" };
	static const unsigned fats[] = { 12, 16, 32 };
	static const uint32_t blocks[] = { 512, 4096 };
	struct record rec;

	device_record(&rec, SLOT_A);
	rec.staged = SLOT_B;
	rec.attempts = rec.trials = 1;
	record_set_last(&rec, SLOT_B, PHASE_TRIAL, DEVICE_BOOT_ID, false, 0);
	for (size_t i = 0; i < ARRAY_SIZE(names) * ARRAY_SIZE(fats) * ARRAY_SIZE(blocks); i++) {
		struct device d = device_default;

		d.part_prefix = names[i % 3];
		d.fat_bits = fats[i / 3 % 3];
		d.block_bytes = blocks[i / 9];
		d.running = SLOT_B;
		d.trial = true;
		d.record = &rec;
		fake_reset();
		device_make(&d);
		ok_int(ask("set-state", "B", "good", NULL)->status, 0,
		       "commit: %s1, FAT%u, blocks of %u", d.part_prefix, d.fat_bits,
		       d.block_bytes);
		ok_int(sector_of(d.part_prefix), SLOT_B, "the firmware starts B");
		ok_int(fake_violations(), 0, "whole blocks only");
	}
}

static void test_no_reader(void)
{
	struct question q = { .argc = 2, .argv = { (char *)BF_BOOT, (char *)"get-primary" } };
	char *err = NULL;
	size_t len;

	play(QUIET);
	q.out = fopen("/dev/full", "we");
	q.err = open_memstream(&err, &len);
	if (!q.out || !q.err)
		abort();
	ask_run(&q);
	(void)fclose(q.out);
	(void)fclose(q.err);
	ok(q.status == 1 && *err, "an answer that cannot be written: %s", err);
	free(err);
}

/*
 * The k-th kernel call fails, for every k: the command fails or succeeds, never
 * half; the record can be read, the firmware has its sector, and asking again helps.
 */
static void sweep(const char *name, enum scene scene, const char *const words[3],
		  bool (*done)(const struct record *rec))
{
	unsigned k, failed = 0, odd = 0;

	for (k = 1;; k++) {
		const struct answer *a;

		play(scene);
		fake_fail_at(k, EIO);
		a = ask(words[0], words[1], words[2], NULL);
		if (fake_calls() < k)
			break;
		fake_fail_at(0, 0);
		failed += a->status != 0;
		if ((a->status != 0 && !*a->err) || *a->out || fake_open_fds() != 0 ||
		    sector_of("nvme0n1p") == SLOT_NONE || stored().gen == 0)
			odd++;
		if (ask(words[0], words[1], words[2], NULL)->status != 0) {
			odd++;
			printf("# %s: call %u, asked again: %s\n", name, k, a->err);
		}
		{
			struct record rec = stored();

			odd += !done(&rec);
		}
	}
	fake_fail_at(0, 0);
	ok(odd == 0 && failed > 5 && k > 30, "%s: %u calls fail one by one, %u seen, %u odd", name,
	   k, failed, odd);
}

static bool is_bad(const struct record *rec)
{
	return rec->state[SLOT_B] == STATE_BAD && rec->staged == SLOT_NONE;
}

static bool is_staged(const struct record *rec)
{
	return rec->staged == SLOT_B && fake_exists("/run/bf/armed") && !fake_exists(PARAM);
}

static bool is_committed(const struct record *rec)
{
	return rec->committed == SLOT_B && sector_of("nvme0n1p") == SLOT_B;
}

int main(void)
{
	test_answers();
	test_usage();
	test_help();
	test_update();
	test_commit();
	test_reject();
	test_try();
	test_end();
	test_eeprom();
	test_hash();
	test_degraded();
	test_future();
	test_not_ours();
	test_refused();
	test_free();
	test_lock();
	test_deadline();
	test_full();
	test_disks();
	test_no_reader();
	sweep("set-state bad", QUIET, (const char *const[3]) { "set-state", "B", "bad" }, is_bad);
	sweep("set-primary", BAD, (const char *const[3]) { "set-primary", "B", NULL }, is_staged);
	sweep("set-state good", TRIAL, (const char *const[3]) { "set-state", "B", "good" },
	      is_committed);
	return tap_done();
}
