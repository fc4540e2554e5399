// SPDX-License-Identifier: MIT
#include "boot/product.h"
#include "boot/sys.h"
#include "initramfs/init/fail.h"
#include "initramfs/init/patience.h"
#include "initramfs/init/watchdog.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONSOLES                                                                                   \
	"tty0                 -WU (EC  p  )    4:1\n"                                              \
	"ttyAMA0              -W- (E   p a)  204:64\n"

static struct boot boot;
static struct failure failure;

/* A boot of slot B, decided, with its record on BF_DATA. */
static void prepare(void)
{
	fake_reset();
	fake_file("/proc/consoles", CONSOLES);
	fake_file("/proc/sysrq-trigger", "");
	fake_file("/dev/tty0", "");
	fake_file("/dev/ttyAMA0", "");
	fake_dir("/data");
	boot = (struct boot) {
		.cmdline = { .failure_show_sec = 10, .deadline_sec = 120 },
		.slot = SLOT_B,
		.data = { .fd = sys_open("/data", O_RDONLY | O_DIRECTORY, 0) },
		.decided = true,
		.decision = { .next = NEXT_BOOT, .next_if_unwritten = NEXT_BOOT },
		.facts = { .running = SLOT_B,
			   .selector = SELECTOR_VALID,
			   .selector_committed = SLOT_B,
			   .record_readable = true,
			   .writable = true,
			   .now_sec = 1700000000 },
	};
	record_init(&boot.facts.record, SLOT_B);
	boot.decision.record = boot.facts.record;
	failure =
		(struct failure) { .reason = REASON_VERITY_CORRUPT, .error = EIO, .text = "dm-0" };
	fake_log_clear();
}

static void fail(void *arg)
{
	(void)arg;
	fail_boot(&boot, &failure);
}

/* The last line of the log that begins with "reboot", or "". */
static const char *reboot_line(void)
{
	const char *line = strstr(fake_log(), "reboot ");

	return line ? line : "";
}

/* ---- the text ----------------------------------------------------------- */

static void test_text(void)
{
	static const struct {
		const char *name;
		enum slot slot;
		bool decided, tryboot;
		enum boot_next decision, next;
		struct failure f;
		uint32_t seconds;
		const char *want;
	} rows[] = {
		{ "committed",
		  SLOT_A,
		  true,
		  false,
		  NEXT_BOOT,
		  NEXT_REBOOT,
		  { REASON_FSTAB, 0, "line 3: x" },
		  10,
		  "\nBetterFrame cannot start: slot A\n\n"
		  "  What:  The mount plan in /etc/fstab is missing or wrong.\n"
		  "         line 3: x\n"
		  "  To do: Correct the image's /etc/fstab and build it again.\n"
		  "  Code:  fstab\n\nRestarting in 10 s." },
		{ "trial",
		  SLOT_B,
		  true,
		  false,
		  NEXT_BOOT_TRIAL,
		  NEXT_REBOOT,
		  { REASON_VERITY_CORRUPT, EIO, "dm-0" },
		  5,
		  "\nBetterFrame cannot start: slot B, trial boot\n\n"
		  "  What:  The root image is not the one that was signed.\n"
		  "         dm-0: Input/output error\n"
		  "  To do: Install the slot again; if it happens again, replace the disk.\n"
		  "  Code:  verity-corrupt\n\nRestarting in 5 s, back to slot A." },
		{ "a trial that was not decided yet",
		  SLOT_A,
		  false,
		  true,
		  NEXT_BOOT,
		  NEXT_REBOOT,
		  { REASON_CMDLINE, EIO, "" },
		  0,
		  "\nBetterFrame cannot start: slot A, trial boot\n\n"
		  "  What:  The kernel command line is not usable.\n"
		  "         Input/output error\n"
		  "  To do: Correct cmdline-a.txt and cmdline-b.txt in the boot image.\n"
		  "  Code:  cmdline\n\nRestarting in 0 s, back to slot B." },
		{ "the rescue trial",
		  SLOT_B,
		  true,
		  false,
		  NEXT_BOOT,
		  NEXT_REBOOT_TRIAL,
		  { REASON_HANDOVER, 0, "" },
		  70,
		  "\nBetterFrame cannot start: slot B\n\n"
		  "  What:  Handing over to the system failed.\n"
		  "         \n"
		  "  To do: See the kernel log.\n"
		  "  Code:  handover\n\nRestarting in 70 s, trying slot A." },
		{ "no slot known, and a text from a hostile disk",
		  SLOT_NONE,
		  false,
		  true,
		  NEXT_BOOT,
		  NEXT_REBOOT,
		  { REASON_DISK_MISSING, 0, "\x1b[2Jx\n\xff\ty" },
		  1,
		  "\nBetterFrame cannot start: slot -, trial boot\n\n"
		  "  What:  No disk with the needed partitions appeared in time.\n"
		  "         ?[2Jx???y\n"
		  "  To do: Check the disk and its connection; flash the image again.\n"
		  "  Code:  disk-missing\n\nRestarting in 1 s." },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct boot b = { .slot = rows[i].slot,
				  .decided = rows[i].decided,
				  .firmware.tryboot = rows[i].tryboot,
				  .decision.next = rows[i].decision };
		_cleanup_free_ char *text =
			fail_text(&b, &rows[i].f, rows[i].next, rows[i].seconds);

		ok_str(text, rows[i].want, "text: %s", rows[i].name);
	}
}

/* Every reason fits a screen of 24 lines with 80 columns. */
static void test_screen(void)
{
	for (enum reason r = REASON_NONE; r < REASON_COUNT; r++) {
		struct boot b = { .slot = SLOT_A };
		struct failure f = { .reason = r };
		_cleanup_free_ char *text = fail_text(&b, &f, NEXT_REBOOT, 10);
		size_t lines = 0, longest = 0;

		for (const char *p = text; *p; lines++) {
			size_t n = strcspn(p, "\n");

			longest = n > longest ? n : longest;
			p += n + (p[n] == '\n');
		}
		ok(lines < 24 && longest <= 100, "%s fits: %zu lines of %zu", reason_text(r)->code,
		   lines, longest);
	}
}

/* ---- the end ------------------------------------------------------------ */

static void test_end(void)
{
	_cleanup_free_ char *serial = NULL, *screen = NULL;
	struct record rec;
	int fd;

	prepare();
	fake_file_data("/proc/device-tree/serial-number", "10000000c0ffee\x1b", 16);
	ok_int(fake_run(fail, NULL), FAKE_REBOOT, "a failure ends in a reboot");
	ok_str(reboot_line(), "reboot -\n", "a plain one");
	ok(strstr(fake_log(), "sync\nreboot"), "after a sync");
	serial = fake_read("/dev/ttyAMA0", NULL);
	screen = fake_read("/dev/tty0", NULL);
	ok(serial && strstr(serial, "cannot start: slot B\n"), "the serial console says so");
	ok(serial &&
		   strstr(serial, "Restarting in 10 s.\rRestarting in 10 s. \rRestarting in 9 s. "),
	   "and counts");
	ok(serial && strstr(serial, "\rRestarting in 1 s. \n"), "to the end");
	ok(screen && strstr(screen, "  BetterFrame cannot start: slot B\033[K\n"),
	   "the screen has a page");
	ok(screen && strstr(screen, "Code:   verity-corrupt\033[K\n") &&
		   strstr(screen, "Device: 10000000c0ffee?\033[K\n"),
	   "with the code of the failure, and that of the device");
	for (unsigned sec = 0; sec <= 10; sec++) {
		_cleanup_free_ char *line = strf("  Restarting in %u s.\033[J", sec);

		ok(screen && line && strstr(screen, line), "it counts: %u", sec);
	}
	ok_int(sys_monotonic_usec(), 11 * 1000000, "it was shown for ten seconds");
	fd = sys_open("/data", O_RDONLY | O_DIRECTORY, 0);
	ok_int(record_load(fd, &rec), RECORD_OK, "the record was written");
	ok_str(rec.last.reason, "verity-corrupt", "with the reason");
	ok_int(rec.last.phase, PHASE_FAILED, "as a failure");
	(void)sys_close(fd);
}

static void set_trial(void)
{
	boot.decision.next = boot.decision.next_if_unwritten = NEXT_BOOT_TRIAL;
	boot.decision.record.committed = SLOT_A;
	boot.decision.record.staged = SLOT_B;
	boot.facts.tryboot = true;
	boot.facts.selector_committed = SLOT_A;
	boot.facts.record = boot.decision.record;
}

static void set_nothing(void)
{
}

static void set_no_data(void)
{
	close_p(&boot.data.fd);
	boot.data.fd = -1;
}

static void set_failing_data(void)
{
	fake_result("open bf", -EIO);
	fake_result("mkdir bf", -EIO);
}

static void set_read_only(void)
{
	boot.facts.writable = false;
}

static void set_proven_bad(void)
{
	boot.facts.writable = false;
	boot.decision.record.proven[SLOT_A] = PROVEN_NO;
	boot.facts.record = boot.decision.record;
}

static void set_often(void)
{
	boot.decision.record.hard = RULES_HARD_MAX + 1;
	boot.facts.record = boot.decision.record;
}

static void set_no_slot(void)
{
	set_no_data();
	boot.slot = SLOT_NONE;
	boot.decided = false;
	boot.facts = (struct boot_facts) { 0 };
}

/* As it is when the disk was not found: zeroes, which would read "selector valid, slot A". */
static void set_undecided_a(void)
{
	set_no_slot();
	boot.slot = SLOT_A;
}

static void set_undecided_b(void)
{
	set_no_slot();
	boot.slot = SLOT_B;
}

static void set_undecided_trial(void)
{
	set_undecided_b();
	boot.firmware.tryboot = true;
}

static void set_no_cmdline(void)
{
	set_no_slot();
	boot.cmdline = (struct cmdline) { 0 };
}

static void set_show_nothing(void)
{
	boot.cmdline.failure_show_sec = 0;
}

static void set_reboot_fails(void)
{
	fake_result("reboot 0 tryboot", -EINVAL);
	set_read_only();
}

static void set_resets(uint32_t count)
{
	boot.firmware.has_count = true;
	boot.firmware.count = count;
}

static void set_undecided_again(void)
{
	set_undecided_a();
	set_resets(RULES_HARD_MAX + 3);
}

static void set_no_slot_for_ever(void)
{
	set_no_slot();
	set_resets(UINT32_MAX);
}

static void set_undecided_no_count(void)
{
	set_no_slot_for_ever();
	boot.firmware.has_count = false;
}

static void set_counted_for_ever(void)
{
	set_resets(1000);
}

static void set_trial_for_ever(void)
{
	set_trial();
	set_resets(1000);
}

static void set_uncounted_trial(void)
{
	set_trial_for_ever();
	set_failing_data();
}

static void set_rescue_for_ever(void)
{
	set_read_only();
	set_resets(1000);
}

static void test_ways(void)
{
	static const struct {
		const char *name;
		void (*set)(void);
		const char *reboot;
		unsigned seconds;
	} rows[] = {
		{ "committed", set_nothing, "reboot -\n", 10 },
		{ "trial", set_trial, "reboot -\n", 10 },
		{ "often", set_often, "reboot -\n", 120 },
		{ "no fd of BF_DATA", set_no_data, "reboot 0 tryboot\n", 10 },
		{ "BF_DATA fails", set_failing_data, "reboot 0 tryboot\n", 10 },
		{ "BF_DATA read-only", set_read_only, "reboot 0 tryboot\n", 10 },
		{ "the other slot is bad", set_proven_bad, "reboot -\n", 10 },
		{ "no slot", set_no_slot, "reboot -\n", 10 },
		{ "undecided, A", set_undecided_a, "reboot -\n", 10 },
		{ "undecided, B", set_undecided_b, "reboot -\n", 10 },
		{ "undecided trial", set_undecided_trial, "reboot -\n", 10 },
		{ "undecided, again and again", set_undecided_again, "reboot -\n", 30 },
		{ "no slot, for ever", set_no_slot_for_ever, "reboot -\n", 300 },
		{ "undecided, nobody counts", set_undecided_no_count, "reboot -\n", 10 },
		{ "committed, many resets: the record counts", set_counted_for_ever, "reboot -\n",
		  10 },
		{ "trial, many resets: the record counts", set_trial_for_ever, "reboot -\n", 10 },
		{ "trial, nothing counts", set_uncounted_trial, "reboot -\n", 300 },
		{ "rescue, many resets", set_rescue_for_ever, "reboot 0 tryboot\n", 10 },
		{ "no command line", set_no_cmdline, "reboot -\n", CMDLINE_FAILURE_SHOW_SEC },
		{ "bf.show=0", set_show_nothing, "reboot -\n", 0 },
		{ "the kernel refuses the argument", set_reboot_fails,
		  "reboot 0 tryboot -> EINVAL\nreboot -\n", 10 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		prepare();
		rows[i].set();
		ok_int(fake_run(fail, NULL), FAKE_REBOOT, "%s: reboots", rows[i].name);
		ok_str(reboot_line(), rows[i].reboot, "%s: how", rows[i].name);
		ok_int(sys_monotonic_usec() / 1000000 - 1, rows[i].seconds, "%s: seconds",
		       rows[i].name);
	}
}

static void test_consoles(void)
{
	static const struct {
		const char *name, *list;
		const char *written; /* one device of /dev that must have the text */
		const char *not_written;
	} rows[] = {
		{ "only enabled ones", "ttyS1   -W- (  p  )   4:65\nttyS0  -W- (EC p  )   4:64\n",
		  "/dev/ttyS0", "/dev/ttyS1" },
		{ "only writable ones", "ttyS1  R-- (E     )   4:65\nttyS0   RW- (E     )   4:64\n",
		  "/dev/ttyS0", "/dev/ttyS1" },
		{ "a console without a device", "netcon0  -W- (E    )\ntty0  -WU (EC p  )  4:1\n",
		  "/dev/tty0", "/dev/console" },
		{ "letters of a later kernel",
		  "netcon0  -W-- (ECNp a)\ntty0  RWUX (Cp aE x) 4:1 new\n", "/dev/tty0",
		  "/dev/console" },
		{ "the screen that is in sight, whatever its number", "tty3  -WU (EC p  )  4:3\n",
		  "/dev/tty0", "/dev/tty3" },
		{ "none is the screen: it has it all the same", "ttyS0  -W- (EC p  )   4:64\n",
		  "/dev/tty0", "/dev/console" },
		{ "none is usable", "netcon0  -W- (E    )\n", "/dev/console", "/dev/ttyS0" },
		{ "an empty list", "", "/dev/console", "/dev/ttyS0" },
		{ "no list", NULL, "/dev/console", "/dev/ttyS0" },
		{ "garbage", "tty0\n\n   \ntty0 x\ntty0 -W-\ntty0 -W- \n", "/dev/console",
		  "/dev/ttyS0" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		static const char *const devices[] = { "/dev/tty0", "/dev/tty3", "/dev/ttyS0",
						       "/dev/ttyS1", "/dev/console" };
		_cleanup_free_ char *text = NULL, *other = NULL;

		prepare();
		for (size_t d = 0; d < ARRAY_SIZE(devices); d++)
			fake_file(devices[d], "");
		if (rows[i].list)
			fake_file("/proc/consoles", rows[i].list);
		else
			fake_remove("/proc/consoles");
		ok_int(fake_run(fail, NULL), FAKE_REBOOT, "consoles: %s", rows[i].name);
		text = fake_read(rows[i].written, NULL);
		other = fake_read(rows[i].not_written, NULL);
		ok(text && strstr(text, "verity-corrupt"), "consoles: %s: %s has it", rows[i].name,
		   rows[i].written);
		ok_str(other, "", "consoles: %s: %s has not", rows[i].name, rows[i].not_written);
	}
}

static void test_notice(void)
{
	_cleanup_free_ char *text = NULL, *other = NULL;
	unsigned open_before;

	prepare();
	open_before = fake_open_fds();
	fake_file("/dev/tty0", "");
	fake_file("/dev/ttyS0", "");
	fake_file("/proc/consoles", "tty0    -W- (  p  )    4:1\nttyS0  -W- (EC p  )   4:64\n");
	fail_notice("BF_DATA is \x1b[31m\n red");
	text = fake_read("/dev/ttyS0", NULL);
	other = fake_read("/dev/tty0", NULL);
	ok_str(text, "\n" BF_PRODUCT ": BF_DATA is ?[31m? red\n", "a notice");
	ok_str(other, "", "a notice: only where it is enabled");
	ok_int(fake_open_fds(), open_before, "a notice: nothing stays open");
	fake_file("/proc/consoles", "tty1    -W- (E p  )    4:2\n");
	fail_notice("BF_DATA is red");
	free(other);
	other = fake_read("/dev/tty0", NULL);
	ok_str(other, "\n" BF_PRODUCT ": BF_DATA is red\n", "a notice: as a plain line");
}

/* Its driver comes in the third second: until then the page is as it can be. */
static void screen_comes(void)
{
	if (sys_monotonic_usec() > 2500000)
		fake_screen(1920, 1080, 8, 16, true);
}

static void test_late_screen(void)
{
	_cleanup_free_ char *screen = NULL;
	const char *reset;

	prepare();
	fake_log_files(true);
	fake_then("write /dev/ttyAMA0", screen_comes);
	ok_int(fake_run(fail, NULL), FAKE_REBOOT, "a screen that comes late");
	ok(strstr(fake_log(), "font set tall 32x64 256\n"), "gets its font");
	screen = fake_read("/dev/tty0", NULL);
	reset = screen ? strstr(screen + 2, "\033c") : NULL;
	ok(reset && strstr(reset, "Restarting in 7 s.") && !strstr(reset, "Restarting in 8 s.") &&
		   !strstr(reset + 2, "\033c"),
	   "and is cleared once more, then");
}

/* A dead serial line does not hold anything up. */
static void test_blocked_console(void)
{
	_cleanup_free_ char *screen = NULL;

	prepare();
	fake_log_files(true);
	fake_result("write /dev/ttyAMA0", -EAGAIN);
	ok_int(fake_run(fail, NULL), FAKE_REBOOT, "a console that takes nothing");
	screen = fake_read("/dev/tty0", NULL);
	ok(screen && strstr(screen, "Restarting in 0 s."), "the other one gets all");
	prepare();
	fake_short_io(7);
	ok_int(fake_run(fail, NULL), FAKE_REBOOT, "consoles that take little at once");
	free(screen);
	screen = fake_read("/dev/tty0", NULL);
	ok(screen && strstr(screen, "Code:   verity-corrupt\033[K\n"), "get all");
}

static unsigned kicks(void)
{
	unsigned n = 0;

	for (const char *p = fake_log(); (p = strstr(p, "watchdog-kick")); p++)
		n++;
	return n;
}

static void test_watchdog_is_kicked(void)
{
	prepare();
	fake_file("/dev/watchdog0", "");
	(void)watchdog_open(15);
	ok_int(patience_start(10), 0, "a deadline that has passed when this ends");
	set_often();
	(void)fake_run(fail, NULL);
	ok(kicks() >= 118, "kicked in each second of the delay: %u", kicks());
	ok(strstr(fake_log(), "sync\n"), "synced");
	fake_log_clear();
	sys_sleep_usec(600 * UINT64_C(1000000));
	ok(kicks() >= 30 && kicks() <= 60,
	   "a sync or a restart that hangs is kicked for %u s, no more", kicks());
}

static void test_rescue(void)
{
	_cleanup_free_ char *serial = NULL;

	prepare();
	boot.rescue = true;
	ok_int(fake_run(fail, NULL), FAKE_REBOOT, "a rescue image reboots when its shell ends");
	ok(strstr(fake_log(), "spawn /bin/sh sh\n"), "its shell");
	serial = fake_read("/dev/ttyAMA0", NULL);
	ok(serial && strstr(serial, "RESCUE IMAGE"), "says what it is");
	prepare();
	ok_int(fake_run(fail, NULL), FAKE_REBOOT, "another one");
	ok(!strstr(fake_log(), "spawn"), "has no shell");
}

/* reboot(2) does not work at all: sysrq, and then the end of PID 1. */
static void test_no_reboot(void)
{
	_cleanup_free_ char *sysrq = NULL;
	int status = 0;
	pid_t pid;

	prepare();
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		fake_result("reboot", -EPERM);
		fail_boot(&boot, &failure);
	}
	ok(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
		   WEXITSTATUS(status) == 1,
	   "PID 1 ends when nothing else helps");
	sysrq = fake_read("/proc/sysrq-trigger", NULL);
	ok_str(sysrq, "b", "after it has asked for sysrq b");
}

static enum boot_next next;

static void leave(void *arg)
{
	(void)arg;
	fail_reboot(&boot, next,
		    next == NEXT_REBOOT_TRIAL ? REASON_COMMITTED_FAILING : REASON_WRONG_SLOT);
}

static void test_reboot(void)
{
	_cleanup_free_ char *serial = NULL;

	prepare();
	next = NEXT_REBOOT;
	ok_int(fake_run(leave, NULL), FAKE_REBOOT, "a decided reboot");
	ok_str(fake_log(), "sync\nreboot -\n", "a plain one");
	ok_int(sys_monotonic_usec(), 1000000, "at once");
	serial = fake_read("/dev/ttyAMA0", NULL);
	ok_str(serial,
	       "\nBetterFrame: The firmware started a slot that was not asked for. Restarting.\n",
	       "and says why");
	prepare();
	next = NEXT_REBOOT_TRIAL;
	ok_int(fake_run(leave, NULL), FAKE_REBOOT, "a decided fallback");
	ok_str(fake_log(), "sync\nreboot 0 tryboot\n", "a trial");
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		prepare();
		boot.slot = slot;
		next = NEXT_REBOOT_OTHER;
		ok_int(fake_run(leave, NULL), FAKE_REBOOT, "into the other slot");
		ok_str(fake_log(), slot == SLOT_A ? "sync\nreboot 3\n" : "sync\nreboot 2\n",
		       "by its number");
	}
}

/* In a process of its own: 0 rebooted, 1 the end of PID 1, 2 done: there is no k-th call. */
static int fail_with_kth_call(unsigned k)
{
	int status = -1;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		enum fake_end end;

		prepare();
		fake_fail_at(k, EIO);
		end = fake_run(fail, NULL);
		fflush(stdout);
		_exit(fake_calls() < k ? 2 : end == FAKE_REBOOT ? 0 : 3);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

/* Whatever fails on the way, it ends in a reboot; only when that fails, in the end of PID 1. */
static void test_sweep(void)
{
	unsigned k, ends[3] = { 0 };

	for (k = 1; k < 1000 && !ends[2]; k++) {
		int end = fail_with_kth_call(k);

		if (!ok(end >= 0 && end <= 2, "call %u fails", k))
			break;
		ends[end]++;
	}
	ok(ends[0] > 20 && ends[1] == 1 && ends[2] == 1, "reboots: %u, ends of PID 1: %u", ends[0],
	   ends[1]);
}

int main(void)
{
	log_open(open("/dev/null", O_WRONLY | O_CLOEXEC), "test");
	test_text();
	test_screen();
	test_end();
	test_ways();
	test_consoles();
	test_notice();
	test_late_screen();
	test_blocked_console();
	test_rescue();
	test_no_reboot();
	test_reboot();
	test_sweep();
	test_watchdog_is_kicked(); /* the last one: it stays open */
	return tap_done();
}
