// SPDX-License-Identifier: MIT
#include "initramfs/init/check.h"
#include "initramfs/init/data.h"
#include "initramfs/init/patience.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEV    "/dev/vda6"
#define TARGET "/data"
#define FLAGS  "nosuid,nodev,noexec"
#define MOUNT  "mount " DEV " " TARGET " ext4 " FLAGS " errors=remount-ro"
#define RO     "mount " DEV " " TARGET " ext4 ro," FLAGS " errors=remount-ro"
#define TMPFS  "mount tmpfs " TARGET " tmpfs " FLAGS " mode=0755,size=25%,nr_inodes=65536"
#define ROOT   "/sysroot"
#define CHECK                                                                                      \
	"umount " TARGET " -\n"                                                                    \
	"bind /dev " ROOT "/dev -\n"                                                               \
	"bind /proc " ROOT "/proc -\n"                                                             \
	"spawn " ROOT ":/sbin/e2fsck e2fsck -f -y -C 0 " DEV "\n"                                  \
	"umount " ROOT "/proc detach\n"                                                            \
	"umount " ROOT "/dev detach\n"
#define EXIT(n) ((n) << 8) /* as waitpid() says it */

static const struct partition part = { .name = "vda6", .major = 254, .minor = 6 };

/* Superblock fields: Linux Documentation/filesystems/ext4/super.rst */
enum content {
	EXT4,
	ERRORS,
	NO_JOURNAL,
	NO_JOURNAL_UNCLEAN,
	QUOTA,
	CASEFOLD,
	EXT3,
	EXT2,
	JOURNAL,
	ZERO,
	LUKS,
	TINY
};

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static void make_content(enum content c)
{
	static uint8_t image[128 * 1024];
	uint8_t *sb = image + 1024;

	memset(image, 0, sizeof(image));
	if (c < ZERO) {
		put16(sb + 0x38, 0xef53);
		put16(sb + 0x3a, c == ERRORS ? 3 : c == NO_JOURNAL_UNCLEAN ? 0 : 1);
		if (c == EXT4 || c == ERRORS || c == EXT3 || c == QUOTA || c == CASEFOLD)
			put16(sb + 0x5c, 0x0004);
		put16(sb + 0x60, c == EXT3 || c == EXT2 ? 0x0002 : c == JOURNAL ? 0x0008 : 0x0042);
		put16(sb + 0x18, 2);
		if (c == QUOTA)
			put16(sb + 0x64, 0x0100);
		if (c == CASEFOLD)
			put16(sb + 0x62, 0x0002);
	}
	if (c == LUKS)
		memcpy(image, "LUKS\xba\xbe\0\1", 8);
	fake_file_data(DEV, image, c == TINY ? 1500 : sizeof(image));
}

static void prepare(enum content c)
{
	fake_reset();
	make_content(c);
	fake_block_device(DEV, 254, 6);
	fake_dir(TARGET);
}

/* DEGRADED: on a tmpfs; the others: as in struct data */
enum { DEGRADED = 1, READONLY = 2, CHECKED = 4, WANTS = 8 };

static int kind_of(const struct data *d)
{
	return d->degraded * DEGRADED + d->readonly * READONLY + d->checked * CHECKED +
	       d->wants_check * WANTS;
}

static void expect(const char *name, int want, const char *why, const char *log)
{
	struct data d = { .fd = -2 };
	struct failure f = { 0 };

	ok_int(data_mount(&part, TARGET, &d, &f), 0, "%s", name);
	ok_int(kind_of(&d), want, "%s: what it is", name);
	ok_str(d.why, why, "%s: why", name);
	ok_str(fake_log(), log, "%s: calls", name);
	ok_int(fake_open_fds(), 1, "%s: only the directory is open", name);
	ok(d.fd >= 0 && close(d.fd) == 0, "%s: it is", name);
}

static void test_content(void)
{
	static const struct {
		const char *name;
		enum content content;
		int want;
		const char *why, *log;
	} rows[] = {
		{ "good", EXT4, 0, "", MOUNT "\n" },
		{ "no journal", NO_JOURNAL, 0, DEV " has no journal", MOUNT "\n" },

		/* Somebody else's: never written to, never checked */
		{ "LUKS", LUKS, DEGRADED, DEV " holds crypto_LUKS, not ext4", TMPFS "\n" },
		{ "ext2", EXT2, DEGRADED, DEV " holds ext2 or ext3, not ext4", TMPFS "\n" },
		{ "ext3", EXT3, DEGRADED, DEV " holds ext2 or ext3, not ext4", TMPFS "\n" },
		{ "a journal device", JOURNAL, DEGRADED,
		  DEV " holds another filesystem's journal, not ext4", TMPFS "\n" },
		{ "tiny", TINY, DEGRADED, DEV " is too small for a filesystem", TMPFS "\n" },

		/* The superblock may be lost: e2fsck looks for a copy */
		{ "zeroes", ZERO, DEGRADED | WANTS, DEV " holds no filesystem", TMPFS "\n" },

		/* It says errors: used all the same */
		{ "errors", ERRORS, WANTS, DEV " asks for a check", MOUNT "\n" },
		{ "no journal, not unmounted", NO_JOURNAL_UNCLEAN, WANTS, DEV " asks for a check",
		  MOUNT "\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *before = NULL, *after = NULL;
		size_t len, len_after;

		prepare(rows[i].content);
		before = fake_read(DEV, &len);
		expect(rows[i].name, rows[i].want, rows[i].why, rows[i].log);
		after = fake_read(DEV, &len_after);
		ok(len == len_after && memcmp(before, after, len) == 0, "%s: nothing is written",
		   rows[i].name);
	}
}

static void test_mount(void)
{
	static const struct {
		const char *name;
		int error; /* of the first mount */
		int again; /* of the second */
		int want;
		const char *why, *log;
	} rows[] = {
		{ "needs cleaning", -EUCLEAN, 0, DEGRADED | WANTS,
		  DEV " cannot be mounted: Structure needs cleaning",
		  MOUNT " -> EUCLEAN\n" TMPFS "\n" },
		{ "bad checksum", -EBADMSG, 0, DEGRADED | WANTS,
		  DEV " cannot be mounted: Bad message", MOUNT " -> EBADMSG\n" TMPFS "\n" },
		{ "unreadable journal", -EIO, 0, DEGRADED | WANTS,
		  DEV " cannot be mounted: Input/output error", MOUNT " -> EIO\n" TMPFS "\n" },
		{ "no sense", -EINVAL, 0, DEGRADED | WANTS,
		  DEV " cannot be mounted: Invalid argument", MOUNT " -> EINVAL\n" TMPFS "\n" },
		{ "no ext4 in the kernel", -ENODEV, 0, DEGRADED,
		  "the kernel has no ext4 to mount " DEV, MOUNT " -> ENODEV\n" TMPFS "\n" },
		{ "busy", -EBUSY, 0, DEGRADED, DEV " cannot be mounted: Device or resource busy",
		  MOUNT " -> EBUSY\n" TMPFS "\n" },
		{ "no memory", -ENOMEM, 0, DEGRADED,
		  DEV " cannot be mounted: Cannot allocate memory",
		  MOUNT " -> ENOMEM\n" TMPFS "\n" },
		{ "read-only disk", -EACCES, 0, READONLY, DEV " cannot be written",
		  MOUNT " -> EACCES\n" RO "\n" },
		{ "read-only feature", -EROFS, 0, READONLY, DEV " cannot be written",
		  MOUNT " -> EROFS\n" RO "\n" },
		{ "read-only disk, dirty journal", -EACCES, -EROFS, READONLY,
		  DEV " cannot be written", MOUNT " -> EACCES\n" RO " -> EROFS\n" RO ",noload\n" },
		{ "read-only disk, damaged", -EACCES, -EIO, DEGRADED,
		  DEV " is read-only and cannot be mounted: Input/output error",
		  MOUNT " -> EACCES\n" RO " -> EIO\n" TMPFS "\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		prepare(EXT4);
		fake_result_once("mount " DEV, rows[i].error);
		if (rows[i].again)
			fake_result_once("mount " DEV, rows[i].again);
		expect(rows[i].name, rows[i].want, rows[i].why, rows[i].log);
	}

	/* Mounted, but not usable */
	prepare(EXT4);
	fake_result("access .", -EROFS);
	expect("made read-only while mounting", READONLY, DEV " was made read-only by the kernel",
	       MOUNT "\n");
	prepare(EXT4);
	fake_result("access .", -EIO);
	expect("unreadable root directory", DEGRADED, DEV " cannot be used: Input/output error",
	       MOUNT "\numount " TARGET " detach\n" TMPFS "\n");
	prepare(EXT4);
	fake_result_once("open " TARGET, -EUCLEAN);
	expect("damaged root directory", DEGRADED, DEV " cannot be used: Structure needs cleaning",
	       MOUNT "\numount " TARGET " detach\n" TMPFS "\n");
}

/* The kernel has no use for e2fsck's: it lacks what a good file system asks for. */
static void test_features(void)
{
#define QUOTA_WHY                                                                                  \
	DEV " has the ext4 feature 'quota', which this kernel lacks: boot one with "               \
	    "CONFIG_QFMT_V2, the module quota_v2, or take it off: tune2fs -O ^quota"
	prepare(QUOTA);
	fake_result_once("mount " DEV, -ESRCH);
	expect("quota", READONLY, QUOTA_WHY, MOUNT " -> ESRCH\n" RO "\n");
	prepare(QUOTA);
	fake_result("mount " DEV, -ESRCH);
	expect("quota, not even to read", DEGRADED, QUOTA_WHY,
	       MOUNT " -> ESRCH\n" RO " -> ESRCH\n" TMPFS "\n");
	prepare(CASEFOLD);
	fake_result("mount " DEV, -EINVAL);
	expect("casefold", DEGRADED,
	       DEV " has the ext4 feature 'casefold', which this kernel lacks: boot one with "
		   "CONFIG_UNICODE, or take it off: tune2fs -O ^casefold",
	       MOUNT " -> EINVAL\n" RO " -> EINVAL\n" TMPFS "\n");
	prepare(CASEFOLD);
	fake_file("/sys/fs/ext4/features/casefold", "");
	fake_result_once("mount " DEV, -EINVAL);
	expect("casefold, and damaged", DEGRADED | WANTS,
	       DEV " cannot be mounted: Invalid argument", MOUNT " -> EINVAL\n" TMPFS "\n");
}

/* ---- the check ------------------------------------------------------------------ */

enum root { WITHOUT, WITH };

/* Mounted first, as data_mount() leaves it; the log begins with the check. */
static struct data begin_check(enum content c, int mount_error, enum root root, int status)
{
	struct data d = { .fd = -1 };
	struct failure f = { 0 };

	prepare(c);
	fake_spawn(status, 0);
	fake_dir(ROOT);
	fake_dir("/proc");
	if (root == WITH)
		fake_file(ROOT "/sbin/e2fsck", "");
	if (mount_error)
		fake_result_once("mount " DEV, mount_error);
	ok_int(data_mount(&part, TARGET, &d, &f), 0, "mounted first");
	ok(d.wants_check, "a check is wanted");
	fake_log_clear();
	return d;
}

static void expect_check(const char *name, struct data *d, uint32_t limit_sec, int want,
			 const char *why, const char *log)
{
	struct failure f = { 0 };

	ok_int(data_check(&part, TARGET, ROOT, limit_sec, d, &f), 0, "%s", name);
	ok_int(kind_of(d), want, "%s: what it is", name);
	ok_str(d->why, why, "%s: why", name);
	ok_str(fake_log(), log, "%s: calls", name);
	ok_int(fake_open_fds(), 1, "%s: only the directory is open", name);
	close_p(&d->fd);
}

static void test_check(void)
{
	static const struct {
		const char *name;
		int mount_error;
		enum content content;
		enum root root;
		int status;
		int want;
		const char *why, *log;
	} rows[] = {
		{ "unreadable, repaired", -EUCLEAN, EXT4, WITH, EXIT(1), CHECKED,
		  DEV ": e2fsck repaired errors", CHECK MOUNT "\n" },
		{ "unreadable, no errors", -EUCLEAN, EXT4, WITH, 0, CHECKED,
		  DEV ": e2fsck found no errors", CHECK MOUNT "\n" },
		{ "repaired, reboot advised", -EUCLEAN, EXT4, WITH, EXIT(3), CHECKED,
		  DEV ": e2fsck repaired errors", CHECK MOUNT "\n" },
		/* Whatever e2fsck says: mounted when the kernel takes it */
		{ "errors are left", 0, ERRORS, WITH, EXIT(4), WANTS,
		  DEV " asks for a check; " DEV ": e2fsck could not repair all errors",
		  CHECK MOUNT "\n" },
		{ "partly repaired", 0, ERRORS, WITH, EXIT(5), WANTS,
		  DEV " asks for a check; " DEV ": e2fsck could not repair all errors",
		  CHECK MOUNT "\n" },
		{ "e2fsck gives up", 0, ERRORS, WITH, EXIT(8), WANTS,
		  DEV " asks for a check; " DEV ": e2fsck failed with 8", CHECK MOUNT "\n" },
		{ "e2fsck crashes", 0, ERRORS, WITH, 11, WANTS,
		  DEV " asks for a check; " DEV ": e2fsck was ended by signal 11",
		  CHECK MOUNT "\n" },
		{ "e2fsck cannot start", 0, ERRORS, WITH, EXIT(127), WANTS,
		  DEV " asks for a check; " DEV ": e2fsck of the root cannot be started",
		  CHECK MOUNT "\n" },
		{ "a root without e2fsck", 0, ERRORS, WITHOUT, 0, WANTS,
		  DEV " asks for a check; " DEV ": the root has no e2fsck",
		  "umount " TARGET " -\n" MOUNT "\n" },
		{ "zeroes, nothing found", 0, ZERO, WITH, EXIT(8), DEGRADED | WANTS,
		  DEV " holds no filesystem; " DEV ": e2fsck failed with 8", CHECK TMPFS "\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct data d = begin_check(rows[i].content, rows[i].mount_error, rows[i].root,
					    rows[i].status);

		expect_check(rows[i].name, &d, 0, rows[i].want, rows[i].why, rows[i].log);
	}
}

/* What is remembered stands in the first 512 bytes. */
static uint32_t begun(void)
{
	struct check_note note;
	_cleanup_free_ char *text = fake_read(DEV, NULL);

	check_note_parse(text, &note);
	return note.begun;
}

static void test_check_without_end(void)
{
	struct data d = begin_check(ERRORS, 0, WITH, 0);

	fake_spawn(0, 1000);
	expect_check("without end", &d, 0, WANTS,
		     DEV " asks for a check; " DEV ": e2fsck did not end in 120 s",
		     CHECK MOUNT "\n");
	ok_int(begun(), 1, "the first is remembered");
	d = begin_check(ERRORS, 0, WITH, 0);
	fake_spawn(0, 40);
	expect_check("with a limit of its own", &d, 30, WANTS,
		     DEV " asks for a check; " DEV ": e2fsck did not end in 30 s",
		     CHECK MOUNT "\n");

	/* The deadline of 10 s: 30 more for the check, back to 10 after it. */
	d = begin_check(ERRORS, 0, WITH, 0);
	fake_spawn(0, 25);
	ok_int(patience_start(10), 0, "with a deadline");
	fake_log_files(true);
	ok_int(data_check(&part, TARGET, ROOT, 30, &d, &(struct failure) { 0 }), 0, "a slow check");
	ok(strstr(fake_log(), "alarm 40\nspawn "), "the deadline's clock stands still");
	fake_log_files(false);
	close_p(&d.fd);
	patience_last(0);
}

/* As after @times boots that began a check in vain. */
static void set_note(uint32_t times, uint32_t skipped)
{
	_cleanup_free_ char *image = NULL;
	const struct check_note note = { times, skipped };
	size_t len;

	image = fake_read(DEV, &len);
	check_note_format(&note, image);
	fake_file_data(DEV, image, len);
	fake_block_device(DEV, 254, 6);
}

static void test_check_in_vain(void)
{
	static const struct {
		uint32_t begun, skipped;
		bool due;
	} rows[] = {
		{ 0, 0, true },	    { 1, 0, true },   { 2, 0, false }, { 2, 3, false },
		{ 2, 4, true },	    { 3, 4, false },  { 3, 8, true },  { 6, 63, false },
		{ 6, 64, true },    { 7, 63, false }, { 7, 64, true }, { 1000, 63, false },
		{ 1000, 64, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct check_note note = { rows[i].begun, rows[i].skipped };
		struct data d = begin_check(ERRORS, 0, WITH, EXIT(4));
		struct failure f = { 0 };

		ok_int(check_is_due(&note), rows[i].due, "%u begun, %u skipped", note.begun,
		       note.skipped);
		set_note(note.begun, note.skipped);
		ok_int(data_check(&part, TARGET, ROOT, 0, &d, &f), 0, "the boot goes on");
		ok((strstr(fake_log(), "spawn") != NULL) == rows[i].due, "%u, %u: checked or not",
		   note.begun, note.skipped);
		close_p(&d.fd);
	}

	{
		struct data d = begin_check(EXT4, -EUCLEAN, WITH, EXIT(1));

		set_note(5, 32);
		(void)!data_check(&part, TARGET, ROOT, 0, &d, &(struct failure) { 0 });
		ok_int(begun(), 0, "forgotten when it helped");
		close_p(&d.fd);
		d = begin_check(EXT4, -EUCLEAN, WITH, EXIT(1));
		fake_result("mount " DEV, -EUCLEAN);
		(void)!data_check(&part, TARGET, ROOT, 0, &d, &(struct failure) { 0 });
		ok_int(begun(), 1, "not when the kernel refuses it all the same");
		close_p(&d.fd);
		d = begin_check(ERRORS, 0, WITH, EXIT(4));
		{
			_cleanup_free_ char *image = NULL;
			size_t len;

			image = fake_read(DEV, &len);
			memcpy(image, "a boot sector", 13);
			fake_file_data(DEV, image, len);
			fake_block_device(DEV, 254, 6);
		}
		(void)!data_check(&part, TARGET, ROOT, 0, &d, &(struct failure) { 0 });
		{
			_cleanup_free_ char *image = fake_read(DEV, NULL);

			ok_str(image, "a boot sector", "what is not ours stays");
		}
		close_p(&d.fd);
	}
}

static void test_note(void)
{
	static const struct {
		const char *text;
		uint32_t begun, skipped;
	} rows[] = {
		{ "BF-CHECK begun=2 skipped=3\n", 2, 3 },
		{ "BF-CHECK begun=1000 skipped=1000\n", 1000, 1000 },
		{ "BF-CHECK begun=1 skipped=0\nmore of a later version\n", 1, 0 },
		{ "", 0, 0 },
		{ "BF-CHECK begun=1001 skipped=0\n", 0, 0 },
		{ "BF-CHECK begun=2 skipped=99999999999999999999\n", 0, 0 },
		{ "BF-CHECK begun= skipped=3\n", 0, 0 },
		{ "BF-CHECK begun=-1 skipped=3\n", 0, 0 },
		{ "BF-CHECK begun=2", 0, 0 },
		{ "BF-CHECK begun=2 skipped=3", 0, 0 },
		{ "BF-CHECK begun=2 other=3\n", 0, 0 },
		{ "bf-check begun=2 skipped=3\n", 0, 0 },
	};
	char text[CHECK_NOTE_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct check_note note = { 77, 77 };

		memset(text, 0, sizeof(text));
		memcpy(text, rows[i].text, strlen(rows[i].text));
		check_note_parse(text, &note);
		ok(note.begun == rows[i].begun && note.skipped == rows[i].skipped,
		   "note %zu: %u, %u", i, note.begun, note.skipped);
	}
	memset(text, '9', sizeof(text));
	memcpy(text, "BF-CHECK begun=", 15);
	check_note_parse(text, &(struct check_note) { 0 });
	ok(true, "no end within 512 bytes");
	ok_int(check_limit_sec(0, 0), 120, "a limit without a size");
	ok_int(check_limit_sec(117ULL << 30, 0), 237, "of 117 GiB");
	ok_int(check_limit_sec(1ULL << 60, 0), 3600, "of an impossible size");
	ok_int(check_limit_sec(117ULL << 30, 7), 7, "as asked for");
}

static void test_device(void)
{
	static const struct partition missing = { .name = "" };
	struct data d;
	struct failure f;

	fake_reset();
	fake_dir(TARGET);
	ok_int(data_mount(&missing, TARGET, &d, &f), 0, "missing");
	ok(d.degraded, "missing: degraded");
	ok_str(d.why, "there is no partition BF_DATA", "missing: why");
	ok_str(fake_log(), TMPFS "\n", "missing: calls");
	close(d.fd);

	fake_reset();
	fake_dir(TARGET);
	expect("no node", DEGRADED, DEV " cannot be opened: No such file or directory", TMPFS "\n");

	prepare(EXT4);
	fake_block_device(DEV, 254, 7);
	expect("another device", DEGRADED, DEV " is not the partition that was found", TMPFS "\n");

	fake_reset();
	fake_dir(TARGET);
	make_content(EXT4);
	expect("a file", DEGRADED, DEV " is not the partition that was found", TMPFS "\n");

	prepare(EXT4);
	fake_result("pread", -EIO);
	expect("unreadable", DEGRADED, DEV " cannot be read: Input/output error", TMPFS "\n");
}

/* What a mount may take, with a deadline of 10 s, by what the superblock says of the journal. */
static void test_replay_time(void)
{
	static const struct {
		const char *name;
		uint16_t incompat;
		uint8_t backup_type;
		uint32_t size_high, size;
		const char *alarm;
	} rows[] = {
		{ "nothing to replay", 0x42, 1, 0, 1 << 30, "alarm 70\n" },
		{ "16 MiB to replay", 0x46, 1, 0, 16 << 20, "alarm 78\n" },
		{ "1 GiB to replay", 0x46, 1, 0, 1 << 30, "alarm 582\n" },
		{ "an impossible size", 0x46, 1, 0, UINT32_MAX, "alarm 582\n" },
		{ "a size above 32 bits", 0x46, 1, 1, 4096, "alarm 582\n" },
		{ "no size", 0x46, 1, 0, 0, "alarm 582\n" },
		{ "no copy of the journal's inode", 0x46, 0, 0, 4096, "alarm 582\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct data d = { .fd = -1 };
		struct failure f = { 0 };
		uint8_t *image;
		size_t len;

		prepare(EXT4);
		image = (uint8_t *)fake_read(DEV, &len);
		put16(image + 1024 + 0x60, rows[i].incompat);
		image[1024 + 0xfd] = rows[i].backup_type;
		put16(image + 1024 + 0x148, (uint16_t)rows[i].size_high);
		put16(image + 1024 + 0x14c, (uint16_t)rows[i].size);
		put16(image + 1024 + 0x14e, (uint16_t)(rows[i].size >> 16));
		fake_file_data(DEV, image, len);
		free(image);
		fake_block_device(DEV, 254, 6);
		ok_int(patience_start(10), 0, "with a deadline");
		fake_log_files(true);
		ok_int(data_mount(&part, TARGET, &d, &f), 0, "%s", rows[i].name);
		ok(strstr(fake_log(), rows[i].alarm), "%s: %s", rows[i].name, rows[i].alarm);
		fake_log_files(false);
		close_p(&d.fd);
		patience_last(0);
	}
}

static void test_no_tmpfs(void)
{
	struct data d = { .fd = -2, .why = "untouched" };
	struct failure f = { 0 };

	prepare(LUKS);
	fake_result("mount tmpfs", -ENODEV);
	ok_int(data_mount(&part, TARGET, &d, &f), -ENODEV, "no tmpfs");
	ok_int(f.reason, REASON_MOUNT, "no tmpfs: reason");
	ok_str(f.text, "tmpfs on /data, in place of BF_DATA", "no tmpfs: text");
	ok(d.fd == -2 && streq(d.why, "untouched"), "no tmpfs: result is not touched");
	ok_int(fake_open_fds(), 0, "no tmpfs: nothing left open");
}

/* Whatever single call fails, the boot goes on, degraded at worst. */
static void sweep(enum content c, int error)
{
	unsigned k, degraded = 0;

	for (k = 1;; k++) {
		struct data d = { .fd = -1 };
		struct failure f = { 0 };
		int r;

		prepare(c);
		fake_fail_at(k, error);
		r = data_mount(&part, TARGET, &d, &f);
		if (fake_calls() < k) {
			close(d.fd);
			break;
		}
		degraded += d.degraded;
		if (r < 0 || d.fd < 0 || fake_open_fds() != 1)
			ok(false, "call %u fails: %d, fd %d, %s", k, r, d.fd, f.text);
		if (d.degraded && !*d.why)
			ok(false, "call %u fails: degraded without a word", k);
		if (!d.degraded && !strstr(fake_log(), "ext4"))
			ok(false, "call %u fails: not degraded, not mounted", k);
		if (d.degraded != (strstr(fake_log(), TMPFS "\n") != NULL))
			ok(false, "call %u fails: tmpfs and the flag differ", k);
		close(d.fd);
	}
	ok(k > 6 && degraded > 0, "sweep of content %d with %s: %u calls, %u times degraded", c,
	   strerrorname_np(error), k - 1, degraded);
}

/* Whatever single call of a check fails, BF_DATA is mounted again, or the first call says why not.
 */
static void sweep_check(int error)
{
	unsigned k, before;

	for (k = 1;; k++) {
		struct data d = begin_check(ERRORS, 0, WITH, EXIT(1));
		struct failure f = { 0 };
		int r;

		before = fake_calls();
		fake_fail_at(before + k, error);
		r = data_check(&part, TARGET, ROOT, 0, &d, &f);
		if (fake_calls() < before + k) {
			close_p(&d.fd);
			break;
		}
		if (r < 0 && !strstr(f.text, "unmounting"))
			ok(false, "call %u fails: %s", k, f.text);
		if (r >= 0 && (d.fd < 0 || fake_open_fds() != 1 || !*d.why))
			ok(false, "call %u fails: fd %d, \"%s\"", k, d.fd, d.why);
		close_p(&d.fd);
	}
	ok(k > 20, "sweep of a check with %s: %u calls", strerrorname_np(error), k - 1);
}

int main(void)
{
	static const int errors[] = { EIO, ENOMEM, EROFS, EUCLEAN, EINTR };

	test_content();
	test_mount();
	test_features();
	test_device();
	test_replay_time();
	test_check();
	test_check_without_end();
	test_check_in_vain();
	test_note();
	test_no_tmpfs();
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		sweep(EXT4, errors[i]);
		sweep(ERRORS, errors[i]);
		sweep_check(errors[i]);
	}
	return tap_done();
}
