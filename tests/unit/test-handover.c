// SPDX-License-Identifier: MIT
#include "boot/sys.h"
#include "initramfs/init/handover.h"
#include "initramfs/init/watchdog.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID   "0123456789abcdef0123456789abcdef\n"
#define MADE "fffefdfcfbfa49f8b7f6f5f4f3f2f1f0\n" /* of the bytes ff fe fd …, as version 4 */
#define UDEV "/run/udev/data/b253:0"

static struct boot boot;
static struct failure failure;

static void prepare(void)
{
	static const char *const dirs[] = { "/root/dev", "/root/proc", "/root/sys", "/root/run",
					    "/root/etc", "/root/usr",  "/dev",	    "/proc",
					    "/sys",	 "/run",       "/data" };

	fake_reset();
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		fake_dir(dirs[i]);
	fake_statfs("/root/etc", OVERLAYFS_SUPER_MAGIC);
	boot = (struct boot) {
		.slot = SLOT_A,
		.firmware = { .tryboot = true, .has_count = true, .count = 1 },
		.disk = { .name = "nvme0n1",
			  .part = { [PART_BOOTSEL].name = "nvme0n1p1",
				    [PART_BOOT_A].name = "nvme0n1p2",
				    [PART_BOOT_B].name = "nvme0n1p3",
				    [PART_ROOT_A].name = "nvme0n1p4",
				    [PART_DATA].name = "nvme0n1p6" } },
		.data = { .fd = sys_open("/data", O_RDONLY | O_DIRECTORY, 0) },
		.cmdline = { .roothash = (char *)"00ff" },
		.decided = true,
		.decision = { .next = NEXT_BOOT, .record.committed = SLOT_A },
		.facts = { .running = SLOT_A, .boot_id = "0123456789abcdef0123456789abcdef" },
		.root = { .dm_name = "dm-0", .dm_major = 253, .dm_minor = 0, .status = 'V' },
	};
	failure = (struct failure) { 0 };
}

static void finish(const char *name)
{
	(void)sys_close(boot.data.fd);
	boot.data.fd = -1;
	ok_int(fake_open_fds(), 0, "%s: no fd is left", name);
}

static void same_file(const char *path, const char *want, const char *name)
{
	_cleanup_free_ char *got = fake_read(path, NULL);

	ok_str(got, want, "%s: %s", name, path);
}

/* ---- /run/bf/boot ------------------------------------------------------- */

static char *boot_file_text(const struct boot *b)
{
	struct boot_file file;

	handover_describe(b, &file);
	return boot_file_format(&file);
}

static void test_boot_file(void)
{
	static const char plain[] =
		"BF_SLOT=A\nBF_COMMITTED=A\nBF_TRIAL=no\nBF_COMMITTABLE=no\n"
		"BF_LIMBO=no\nBF_MISMATCH=no\nBF_REASON=-\nBF_DEGRADED=no\n"
		"BF_DATA=ok\nBF_DATA_DIR=\"\"\nBF_DATA_CHECKED=no\nBF_DATA_LOST_LINES=0\n"
		"BF_DATA_MENDED=0\n"
		"BF_DATA_WHY=\"\"\nBF_RECORD=ok\nBF_SELECTOR=valid\n"
		"BF_BOOT_ID=0123456789abcdef0123456789abcdef\n"
		"BF_TRYBOOT=yes\nBF_COUNT=1\nBF_DISK=\"nvme0n1\"\n"
		"BF_BOOTSEL_DEV=\"nvme0n1p1\"\n"
		"BF_BOOT_A_DEV=\"nvme0n1p2\"\nBF_BOOT_B_DEV=\"nvme0n1p3\"\n"
		"BF_ROOT_A_DEV=\"nvme0n1p4\"\nBF_ROOT_B_DEV=\"\"\nBF_DATA_DEV=\"nvme0n1p6\"\n"
		"BF_ROOTHASH=\"00ff\"\nBF_VERITY=V\n"
		"BF_VERITY_FEC=no\nBF_VERITY_SIGNATURE=no\nBF_MACHINE_ID=-\n"
		"BF_CLOCK_SET=no\nBF_WATCHDOG=no\nBF_RESCUE=no\n"
		"BF_USEC_START=1000\nBF_USEC_MODULES=2000\n";
	static const char trial[] =
		"BF_SLOT=B\nBF_COMMITTED=A\nBF_TRIAL=yes\nBF_COMMITTABLE=yes\n"
		"BF_LIMBO=yes\nBF_MISMATCH=yes\nBF_REASON=wrong-slot\n"
		"BF_DEGRADED=yes\nBF_DATA=missing\nBF_DATA_DIR=\"\"\nBF_DATA_CHECKED=yes\n"
		"BF_DATA_LOST_LINES=2\nBF_DATA_MENDED=3\n"
		"BF_DATA_WHY=\"a \\\"b\\\" \\$(c) \\`d\\` \\\\ ??e\"\n"
		"BF_RECORD=future\nBF_SELECTOR=gone\nBF_BOOT_ID=\n"
		"BF_TRYBOOT=no\nBF_COUNT=-\nBF_DISK=\"\"\n"
		"BF_BOOTSEL_DEV=\"\"\nBF_BOOT_A_DEV=\"\"\nBF_BOOT_B_DEV=\"\"\n"
		"BF_ROOT_A_DEV=\"\"\nBF_ROOT_B_DEV=\"\"\nBF_DATA_DEV=\"\"\n"
		"BF_ROOTHASH=\"\"\nBF_VERITY=-\nBF_VERITY_FEC=yes\n"
		"BF_VERITY_SIGNATURE=yes\nBF_MACHINE_ID=stored\n"
		"BF_CLOCK_SET=yes\nBF_WATCHDOG=no\nBF_RESCUE=yes\n";
	_cleanup_free_ char *a = NULL, *b = NULL;

	prepare();
	boot.stage_end_usec[STAGE_START] = 1000;
	boot.stage_end_usec[STAGE_MODULES] = 2000;
	a = boot_file_text(&boot);
	ok_str(a, plain, "an ordinary boot");
	finish("boot file");
	boot = (struct boot) {
		.slot = SLOT_B,
		.data = { .fd = -1,
			  .degraded = true,
			  .checked = true,
			  .lost_lines = 2,
			  .found.count = 3,
			  .why = "a \"b\" $(c) `d` \\ \n\x7f"
				 "e" },
		.record_status = RECORD_FUTURE,
		.selector = { .state = SELECTOR_GONE },
		.decision = { .next = NEXT_BOOT_TRIAL,
			      .committable = true,
			      .limbo = true,
			      .reason = REASON_WRONG_SLOT,
			      .record.committed = SLOT_A },
		.facts = { .mismatch = true },
		.root = { .fec = true, .signature = true },
		.machine_id = "stored",
		.clock_set = true,
		.rescue = true,
	};
	b = boot_file_text(&boot);
	ok_str(b, trial, "all that can be said");
}

static void test_degraded_kinds(void)
{
	static const struct {
		const char *name;
		struct data data;
		const char *degraded, *kind;
	} rows[] = {
		{ "all is well", { .fd = -1, .checked = true }, "BF_DEGRADED=no", "BF_DATA=ok" },
		{ "missing", { .fd = -1, .degraded = true }, "BF_DEGRADED=yes", "BF_DATA=missing" },
		{ "read-only",
		  { .fd = -1, .readonly = true },
		  "BF_DEGRADED=yes",
		  "BF_DATA=readonly" },
		{ "full", { .fd = -1, .lost_lines = 1 }, "BF_DEGRADED=yes", "BF_DATA=ok" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct boot b = { .data = rows[i].data };
		_cleanup_free_ char *text = boot_file_text(&b);

		ok(strstr(text, rows[i].degraded) && strstr(text, rows[i].kind), "BF_DATA: %s",
		   rows[i].name);
	}
}

/* ---- preparing ---------------------------------------------------------- */

static void test_prepare(void)
{
	char target[32];

	prepare();
	ok_int(handover_prepare(&boot, "/root", &failure), 0, "prepared");
	same_file(UDEV, "E:DM_UDEV_PRIMARY_SOURCE_FLAG=1\n", "udev database");
	ok(sys_readlinkat(AT_FDCWD, "/dev/mapper/root", target, sizeof(target)) == 0 &&
		   streq(target, "../dm-0"),
	   "/dev/mapper/root");
	ok_int(handover_prepare(&boot, "/root", &failure), 0, "prepared again");
	finish("prepare");
}

static void test_tell(void)
{
	_cleanup_free_ char *want = NULL;

	prepare();
	boot.stage_end_usec[STAGE_HANDOVER] = 3000;
	want = boot_file_text(&boot);
	ok_int(handover_tell(&boot, &failure), 0, "told");
	same_file("/run/bf/boot", want, "told");
	ok(strstr(want, "BF_USEC_HANDOVER=3000\n"), "with the last stage");
	ok_int(handover_tell(&boot, &failure), 0, "told again");
	finish("tell");
}

static void test_prepare_fails(void)
{
	static const struct {
		const char *name, *rule;
		const char *text;
	} rows[] = {
		{ "no root", "open /root", "/root" },
		{ "no place for udev", "mkdir /run/udev/data", "mkdir /run/udev/data" },
		{ "no udev database", "open " UDEV, UDEV },
		{ "no link", "symlink /dev/mapper/root", "/dev/mapper/root" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		prepare();
		fake_result(rows[i].rule, -ENOSPC);
		ok_int(handover_prepare(&boot, "/root", &failure), -ENOSPC, "%s", rows[i].name);
		ok_str(reason_text(failure.reason)->code, "handover", "%s: reason", rows[i].name);
		ok_str(failure.text, rows[i].text, "%s: text", rows[i].name);
		finish(rows[i].name);
	}
}

static void test_tell_fails(void)
{
	static const struct {
		const char *name, *rule;
	} rows[] = {
		{ "no place for the boot file", "mkdir /run/bf" },
		{ "no boot file", "open /run/bf/boot" },
		{ "no room for the boot file", "write /run/bf/boot" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		prepare();
		fake_result(rows[i].rule, -ENOSPC);
		ok_int(handover_tell(&boot, &failure), -ENOSPC, "%s", rows[i].name);
		ok_str(reason_text(failure.reason)->code, "handover", "%s: reason", rows[i].name);
		ok_str(failure.text, "/run/bf/boot", "%s: text", rows[i].name);
		finish(rows[i].name);
	}
}

/* ---- the machine-id ----------------------------------------------------- */

static void id_nothing(void)
{
}

static void id_empty(void)
{
	fake_file("/root/etc/machine-id", "");
}

static void id_stored(void)
{
	id_empty();
	fake_file("/data/bf/machine-id", ID);
}

static void id_of_image(void)
{
	fake_file("/root/etc/machine-id", "uninitialized\n");
	fake_file("/data/bf/machine-id", ID);
}

static void id_plain_etc(void)
{
	id_stored();
	fake_statfs("/root/etc", 0xef53);
}

static void id_tmpfs_etc(void)
{
	id_stored();
	fake_statfs("/root/etc", TMPFS_MAGIC);
}

static void id_degraded(void)
{
	id_empty();
	boot.data.degraded = true;
}

static void id_readonly(void)
{
	id_empty();
	boot.data.readonly = true;
}

static void id_readonly_stored(void)
{
	id_stored();
	boot.data.readonly = true;
}

static void id_no_data(void)
{
	id_empty();
	close_p(&boot.data.fd);
	boot.data.fd = -1;
}

static void id_full(void)
{
	id_empty();
	fake_result("write /data/bf/machine-id.new", -ENOSPC);
}

static void id_leftover(void)
{
	id_empty();
	fake_file("/data/bf/machine-id.new", "half");
}

static void id_short(void)
{
	id_empty();
	fake_file("/data/bf/machine-id", "0123\n");
}

static void id_zero(void)
{
	id_empty();
	fake_file("/data/bf/machine-id", "00000000000000000000000000000000\n");
}

static void id_upper(void)
{
	id_empty();
	fake_file("/data/bf/machine-id", "0123456789ABCDEF0123456789abcdef\n");
}

static void id_long(void)
{
	id_empty();
	fake_file("/data/bf/machine-id", ID "x");
}

static void id_linked(void)
{
	id_empty();
	fake_file("/root/etc/shadow", ID);
	fake_file("/data/bf/x", "");
	fake_symlink("/root/etc/shadow", "/data/bf/machine-id");
}

static void id_bf_linked(void)
{
	id_empty();
	fake_dir("/root/etc/bf");
	fake_symlink("/root/etc/bf", "/data/bf");
}

/* Left by a kiosk on a /etc that it may write to: to open it for writing waits for a reader, for
 * ever. */
static void id_target_fifo(void)
{
	id_stored();
	fake_remove("/root/etc/machine-id");
	ok(mkfifo(fake_path("/root/etc/machine-id"), 0644) == 0, "a FIFO is made");
}

static void id_target_linked(void)
{
	fake_file("/root/shadow", "");
	fake_symlink("../shadow", "/root/etc/machine-id");
	fake_file("/data/bf/machine-id", ID);
}

static void id_no_random(void)
{
	id_empty();
	fake_result("random", -ENOSYS);
}

static void id_not_writable(void)
{
	id_stored();
	fake_result("write /root/etc/machine-id", -EROFS);
}

static void test_machine_id(void)
{
	static const struct {
		const char *name;
		void (*set)(void);
		const char *how, *in_etc, *on_data; /* NULL: no file */
	} rows[] = {
		{ "first boot", id_empty, "new", MADE, MADE },
		{ "no file in the image", id_nothing, "new", MADE, MADE },
		{ "every other boot", id_stored, "stored", ID, ID },
		{ "the image has one", id_of_image, "image", "uninitialized\n", ID },
		{ "/etc is the image's", id_plain_etc, "image", "", ID },
		{ "/etc is a tmpfs", id_tmpfs_etc, "stored", ID, ID },
		{ "degraded", id_degraded, "volatile", MADE, NULL },
		{ "read-only", id_readonly, "volatile", MADE, NULL },
		{ "read-only, but stored", id_readonly_stored, "stored", ID, ID },
		{ "no BF_DATA at all", id_no_data, "volatile", MADE, NULL },
		{ "full", id_full, "volatile", MADE, NULL },
		{ "half a one was left", id_leftover, "new", MADE, MADE },
		{ "stored one too short", id_short, "new", MADE, MADE },
		{ "stored one is zero", id_zero, "new", MADE, MADE },
		{ "stored one in upper case", id_upper, "new", MADE, MADE },
		{ "stored one too long", id_long, "new", MADE, MADE },
		{ "stored one is a link", id_linked, "new", MADE, MADE },
		{ "bf is a link", id_bf_linked, "volatile", MADE, NULL },
		{ "the image's is a link", id_target_linked, "image", "", ID },
		{ "the image's is a FIFO", id_target_fifo, "stored", ID, ID },
		{ "no randomness", id_no_random, "failed", "", NULL },
		{ "cannot be written", id_not_writable, "failed", "", ID },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *text = NULL;

		prepare();
		rows[i].set();
		ok_int(handover_prepare(&boot, "/root", &failure), 0, "machine-id: %s",
		       rows[i].name);
		ok_str(boot.machine_id, rows[i].how, "machine-id: %s: how", rows[i].name);
		same_file("/root/etc/machine-id", rows[i].in_etc, rows[i].name);
		same_file("/data/bf/machine-id", rows[i].on_data, rows[i].name);
		text = boot_file_text(&boot);
		ok(text && strstr(text, rows[i].how), "machine-id: %s: is told", rows[i].name);
		finish(rows[i].name);
	}
}

static void test_machine_id_file(void)
{
	struct stat st;

	prepare();
	id_stored();
	(void)!handover_prepare(&boot, "/root", &failure);
	ok(stat(fake_path("/root/etc/machine-id"), &st) == 0 && (st.st_mode & 07777) == 0444,
	   "machine-id: for everybody to read, for nobody to write");
	finish("machine-id file");
}

/* ---- the clock ---------------------------------------------------------- */

#define NOW 1735689600

static void set_mtime(const char *path, time_t sec)
{
	const struct timespec times[2] = { { .tv_sec = sec }, { .tv_sec = sec } };

	(void)utimensat(AT_FDCWD, fake_path(path), times, 0);
}

static void test_clock(void)
{
	static const struct {
		const char *name;
		time_t epoch, usr; /* 0: no clock-epoch */
		uint64_t history, eeprom;
		const char *set; /* "" : left alone */
	} rows[] = {
		{ "clock is right", NOW - 1, 1, NOW - 2, NOW - 3, "" },
		{ "clock is exactly there", NOW, 1, 0, 0, "" },
		{ "a right clock, a wrong record", NOW - 1, 1, NOW + 1000, 0, "" },
		{ "clock-epoch", NOW + 5, NOW + 99, 0, 0, "clock 1735689605\n" },
		{ "/usr, for want of it", 0, NOW + 6, 0, 0, "clock 1735689606\n" },
		{ "the record", NOW + 5, 1, NOW + 7, NOW + 6, "clock 1735689607\n" },
		{ "the EEPROM", NOW + 5, 1, NOW + 6, NOW + 8, "clock 1735689608\n" },
		{ "a record from beyond", NOW + 5, 1, UINT64_MAX, 0, "clock 1735689605\n" },
		{ "a record from 2100", NOW + 5, 1, 4102444801, 0, "clock 1735689605\n" },
		{ "an image from 2100", 4102444801, 1, 0, 0, "" },
		{ "an image before 1970", -5, -5, 0, 0, "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		prepare();
		if (rows[i].epoch) {
			fake_file("/root/usr/lib/clock-epoch", "");
			set_mtime("/root/usr/lib/clock-epoch", rows[i].epoch);
		}
		set_mtime("/root/usr", rows[i].usr);
		boot.facts.record_readable = rows[i].history > 0;
		boot.facts.record.history_count = rows[i].history > 0;
		boot.facts.record.history[0].time_sec = rows[i].history;
		boot.firmware.has_build_timestamp = rows[i].eeprom > 0;
		boot.firmware.build_timestamp = (uint32_t)rows[i].eeprom;
		ok_int(handover_prepare(&boot, "/root", &failure), 0, "clock: %s", rows[i].name);
		ok_str(fake_log(), rows[i].set, "clock: %s: set", rows[i].name);
		ok_int(boot.clock_set, *rows[i].set != '\0', "clock: %s: told", rows[i].name);
		finish(rows[i].name);
	}
	prepare();
	set_mtime("/root/usr", NOW + 5);
	fake_result("clock", -EPERM);
	ok_int(handover_prepare(&boot, "/root", &failure), 0, "clock: cannot be set");
	ok(!boot.clock_set, "is not worth the boot");
	finish("clock");
	prepare();
	set_mtime("/root/usr", 1);
	boot.facts.record.history_count = 1;
	boot.facts.record.history[0].time_sec = NOW + 9;
	ok_int(handover_prepare(&boot, "/root", &failure), 0, "clock: a record nobody could read");
	ok_str(fake_log(), "", "is not asked");
	finish("clock: no record");
}

/* ---- the switch --------------------------------------------------------- */

static char *no_arguments[] = { (char *)"/init", NULL };

static void program(const char *path)
{
	fake_file(path, "#!");
	(void)!chmod(fake_path(path), 0755);
}

/* A new root of its own with a simple init; an initramfs with this and that. */
static void prepare_switch(void)
{
	prepare();
	fake_filesystem("/root");
	program("/root/sbin/init");
	program("/init");
	fake_file("/lib/modules/x.ko", "x");
	fake_symlink("/root", "/link");
	fake_dir("/empty");
	boot.argv = no_arguments;
	boot.start_monotonic_usec = 400000;
	fake_clock(1000000, (uint64_t)NOW * 1000000);
	fake_log_clear();
}

static void do_switch(void *arg)
{
	(void)arg;
	(void)!handover_switch(&boot, "/root", &failure);
}

#define MOVES                                                                                      \
	"mount /dev /root/dev - move -\nmount /proc /root/proc - move -\n"                         \
	"mount /sys /root/sys - move -\nmount /run /root/run - move -\n"                           \
	"chdir /root\nmount . / - move -\nchroot .\nchdir /\n"

/* Below the first root: fake_exists() would look below the new one. */
static bool is_left(const char *path)
{
	_cleanup_free_ char *real = strf("%s%s", fake_root(), path);
	struct stat st;

	return lstat(real, &st) == 0;
}

/* The log up to the environment of exec. */
static char *switch_log(void)
{
	const char *log = fake_log(), *env = strstr(log, "env ");

	return env ? strndup(log, (size_t)(env - log)) : strdup(log);
}

static void test_switch(void)
{
	_cleanup_free_ char *log = NULL;

	prepare_switch();
	ok_int(fake_run(do_switch, NULL), FAKE_EXEC, "an init is started");
	log = switch_log();
	ok_str(log, MOVES "exec /sbin/init /sbin/init\n", "in the new root");
	ok(!is_left("/init") && !is_left("/lib") && !is_left("/link") && !is_left("/empty"),
	   "the initramfs is deleted");
	ok(is_left("/root/sbin/init") && is_left("/root/etc"), "the new root is not");
}

static void test_console(void)
{
	_cleanup_free_ char *log = NULL, *failed = NULL;

	prepare_switch();
	fake_file("/root/dev/console", "");
	(void)fake_run(do_switch, NULL);
	log = switch_log();
	ok_str(log, MOVES "stdio /root/dev/console\nexec /sbin/init /sbin/init\n",
	       "init gets a console of its own");
	prepare_switch();
	fake_file("/root/dev/console", "");
	fake_result("stdio", -EBUSY);
	ok_int(fake_run(do_switch, NULL), FAKE_EXEC, "or keeps ours");
	failed = switch_log();
	ok(strstr(failed, "stdio /root/dev/console -> EBUSY\nexec"), "when that fails");
}

static void test_arguments(void)
{
	static char *arguments[] = { (char *)"/init", (char *)"single", (char *)"a b", NULL };
	static char *none[] = { NULL };
	_cleanup_free_ char *log = NULL, *empty = NULL;

	prepare_switch();
	boot.argv = arguments;
	(void)fake_run(do_switch, NULL);
	log = switch_log();
	ok_str(log, MOVES "exec /sbin/init /sbin/init single a b\n", "the kernel's words for init");
	prepare_switch();
	boot.argv = none;
	(void)fake_run(do_switch, NULL);
	empty = switch_log();
	ok_str(empty, MOVES "exec /sbin/init /sbin/init\n", "not even a name of our own");
}

static char *state_text;

/* What systemd would find behind the number it gets. */
static void read_state(void)
{
	const char *arg = strstr(fake_log(), "--deserialize ");
	char text[128] = "";
	uint32_t fd = 0;
	_cleanup_free_ char *number = NULL;

	if (!arg)
		return;
	arg += strlen("--deserialize ");
	number = strndup(arg, strcspn(arg, " \n"));
	if (parse_u32(number, 10, &fd) < 0)
		return;
	ok(!(fcntl((int)fd, F_GETFD) & FD_CLOEXEC), "systemd: the fd survives exec");
	if (read((int)fd, text, sizeof(text) - 1) < 0)
		return;
	free(state_text);
	state_text = strdup(text);
}

static void test_systemd(void)
{
	static const char *const ways[] = { "/root/usr/lib/systemd/systemd",
					    "/root/lib/systemd/systemd" };

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		_cleanup_free_ char *log = NULL;

		prepare_switch();
		fake_remove("/root/sbin/init");
		program(ways[i]);
		fake_symlink(ways[i] + strlen("/root"), "/root/sbin/init");
		fake_then("exec", read_state);
		ok_int(fake_run(do_switch, NULL), FAKE_EXEC, "systemd %zu is started", i);
		log = switch_log();
		ok(strstr(log,
			  "exec /sbin/init /sbin/init --switched-root --system --deserialize "),
		   "systemd %zu gets a state", i);
		/* Started 0.6 s ago. */
		ok_str(state_text, "initrd-timestamp=1735689599400000 400000\n\n",
		       "systemd %zu: its text", i);
	}
}

/* systemd by its name only is another program. */
static void test_not_systemd(void)
{
	_cleanup_free_ char *log = NULL;

	prepare_switch();
	program("/root/usr/lib/systemd/systemd");
	(void)fake_run(do_switch, NULL);
	log = switch_log();
	ok_str(log, MOVES "exec /sbin/init /sbin/init\n", "an init beside systemd gets no state");
}

static void test_which_init(void)
{
	static const struct {
		const char *name, *init, *program, *link, *started;
	} rows[] = {
		{ "the first", NULL, "/sbin/init", NULL, "/sbin/init" },
		{ "/etc/init", NULL, "/etc/init", NULL, "/etc/init" },
		{ "/bin/init", NULL, "/bin/init", NULL, "/bin/init" },
		{ "init=", "/opt/x", "/opt/x", NULL, "/opt/x" },
		{ "an absolute link inside", NULL, "/opt/x", "/opt/x", "/sbin/init" },
		{ "a link that climbs stays inside", NULL, "/opt/x", "../../../opt/x",
		  "/sbin/init" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *path = strf("/root%s", rows[i].program), *log = NULL;
		_cleanup_free_ char *want =
			strf(MOVES "exec %s %s\n", rows[i].started, rows[i].started);

		prepare_switch();
		fake_remove("/root/sbin/init");
		program(path);
		if (rows[i].link)
			fake_symlink(rows[i].link, "/root/sbin/init");
		boot.cmdline.init = (char *)rows[i].init;
		ok_int(fake_run(do_switch, NULL), FAKE_EXEC, "init: %s", rows[i].name);
		log = switch_log();
		ok_str(log, want, "init: %s: which", rows[i].name);
	}
}

static void no_init(void)
{
	fake_remove("/root/sbin/init");
}

static void init_not_executable(void)
{
	(void)!chmod(fake_path("/root/sbin/init"), 0644);
}

static void init_is_directory(void)
{
	fake_remove("/root/sbin/init");
	fake_dir("/root/sbin/init");
}

/* It exists, but not in the new root. */
static void init_leads_out(void)
{
	fake_remove("/root/sbin/init");
	fake_symlink("/init", "/root/sbin/init");
}

static void init_option_missing(void)
{
	boot.cmdline.init = (char *)"/opt/none";
}

static void no_dev(void)
{
	fake_remove("/root/dev");
}

static void run_is_link(void)
{
	fake_remove("/root/run");
	fake_symlink("var", "/root/run");
	fake_dir("/root/var");
}

static void not_mounted(void)
{
	fake_filesystem("/sys");
}

static void not_initramfs(void)
{
	fake_statfs("/", 0xef53);
}

static void no_memfd(void)
{
	no_init();
	program("/root/lib/systemd/systemd");
	fake_result("memfd", -ENOMEM);
}

static void no_state(void)
{
	no_init();
	program("/root/lib/systemd/systemd");
	fake_result("pwrite", 0);
}

static void no_root(void)
{
	fake_result("open /root", -EIO);
}

/* Nothing is moved and nothing deleted when it can be known before. */
static void test_refused(void)
{
	static const struct {
		const char *name;
		void (*set)(void);
		const char *reason, *text;
	} rows[] = {
		{ "no init", no_init, "init-missing", "no /sbin/init, nor another one" },
		{ "init is not executable", init_not_executable, "init-missing", "no /sbin/init" },
		{ "init is a directory", init_is_directory, "init-missing", "no /sbin/init" },
		{ "init leads out", init_leads_out, "init-missing", "no /sbin/init" },
		{ "init= is missing", init_option_missing, "init-missing", "init=/opt/none" },
		{ "no place for /dev", no_dev, "mount-point", "/dev" },
		{ "/run is a link", run_is_link, "mount-point", "/run" },
		{ "nothing is mounted", not_mounted, "handover", "nothing is mounted on /root" },
		{ "/ is a disk", not_initramfs, "handover", "/ is not an initramfs" },
		{ "no memfd", no_memfd, "out-of-memory", "memfd" },
		{ "a state that is not taken", no_state, "handover", "memfd" },
		{ "no new root", no_root, "handover", "/root" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		prepare_switch();
		rows[i].set();
		ok(handover_switch(&boot, "/root", &failure) < 0, "%s", rows[i].name);
		ok_str(reason_text(failure.reason)->code, rows[i].reason, "%s: reason",
		       rows[i].name);
		if (!ok(strstr(failure.text, rows[i].text), "%s: text", rows[i].name))
			printf("# got \"%s\"\n", failure.text);
		ok_str(fake_log(), "", "%s: nothing was moved", rows[i].name);
		ok(is_left("/init"), "%s: nothing was deleted", rows[i].name);
		finish(rows[i].name);
	}
}

static void test_failing_moves(void)
{
	static const struct {
		const char *name, *rule, *text;
		bool deleted;
	} rows[] = {
		{ "/dev stays", "mount /dev", "moving /dev", false },
		{ "/run stays", "mount /run", "moving /run", false },
		{ "no chdir", "chdir /root", "making /root the root", false },
		{ "the root stays", "mount . /", "making /root the root", false },
		{ "no chroot", "chroot", "making /root the root", false },
		{ "init does not start", "exec", "exec /sbin/init", true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		prepare_switch();
		fake_result(rows[i].rule, -ENOEXEC);
		ok_int(fake_run(do_switch, NULL), FAKE_RETURNED, "%s", rows[i].name);
		ok_str(reason_text(failure.reason)->code, "handover", "%s: reason", rows[i].name);
		ok_str(failure.text, rows[i].text, "%s: text", rows[i].name);
		ok_int(failure.error, ENOEXEC, "%s: error", rows[i].name);
		ok_int(!is_left("/init"), rows[i].deleted, "%s: deleted", rows[i].name);
		finish(rows[i].name);
	}
}

/* The kernel keeps a directory that cannot be deleted; so do we, and go on. */
static void test_stubborn_files(void)
{
	prepare_switch();
	fake_result("unlink", -EBUSY);
	ok_int(fake_run(do_switch, NULL), FAKE_EXEC, "what cannot be deleted stays");
	prepare_switch();
	fake_result("list", -EIO);
	ok_int(fake_run(do_switch, NULL), FAKE_EXEC, "what cannot be read stays");
}

static void test_watchdog(void)
{
	_cleanup_free_ char *log = NULL;

	prepare_switch();
	fake_file("/dev/watchdog0", "");
	(void)watchdog_open(15);
	fake_log_clear();
	(void)fake_run(do_switch, NULL);
	log = switch_log();
	ok_str(log, MOVES "watchdog-kick\nexec /sbin/init /sbin/init\n",
	       "init gets the watchdog, with a full period");
}

/* Each call fails once: either init starts, or it is said why not. */
static void test_sweep(void)
{
	unsigned k, bad = 0;

	for (k = 1; k < 1000 && !bad; k++) {
		enum fake_end end;

		prepare_switch();
		fake_fail_at(k, EIO);
		end = fake_run(do_switch, NULL);
		if (fake_calls() < k)
			break;
		bad += end == FAKE_RETURNED && failure.reason == REASON_NONE;
		bad += end == FAKE_EXEC && failure.reason != REASON_NONE;
	}
	ok(bad == 0 && k > 30, "EIO at each of %u calls of the switch", k - 1);
	for (k = 1; k < 1000 && !bad; k++) {
		int r;

		prepare();
		id_empty();
		fake_fail_at(k, EIO);
		r = handover_prepare(&boot, "/root", &failure);
		bad += (r < 0) != (failure.reason != REASON_NONE);
		(void)sys_close(boot.data.fd);
		bad += fake_open_fds() != 0;
		if (fake_calls() < k)
			break;
	}
	ok(bad == 0 && k > 20, "EIO at each of %u calls of the preparation", k - 1);
}

int main(void)
{
	test_boot_file();
	test_degraded_kinds();
	test_prepare();
	test_prepare_fails();
	test_tell();
	test_tell_fails();
	test_machine_id();
	test_machine_id_file();
	test_clock();
	test_switch();
	test_console();
	test_arguments();
	test_systemd();
	test_not_systemd();
	test_which_init();
	test_refused();
	test_failing_moves();
	test_stubborn_files();
	test_sweep();
	test_watchdog(); /* the last one: it stays open */
	free(state_text);
	return tap_done();
}
