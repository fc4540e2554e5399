// SPDX-License-Identifier: MIT
#include "initramfs/init/data.h"
#include "initramfs/init/patience.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEV	"/dev/vda6"
#define TARGET	"/data"
#define FLAGS	"nosuid,nodev,noexec"
#define MOUNT	"mount " DEV " " TARGET " ext4 " FLAGS " errors=remount-ro"
#define RO	"mount " DEV " " TARGET " ext4 ro," FLAGS " errors=remount-ro"
#define TMPFS	"mount tmpfs " TARGET " tmpfs " FLAGS " mode=0755,size=25%,nr_inodes=65536"
#define CHECK	"spawn /sbin/e2fsck e2fsck -f -y " DEV
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

enum packed { BARE, PACKED };

static void prepare(enum content c, enum packed packed, int status)
{
	fake_reset();
	fake_spawn(status, 0);
	make_content(c);
	fake_block_device(DEV, 254, 6);
	fake_dir(TARGET);
	if (packed == PACKED) {
		fake_file("/sbin/e2fsck", "");
		if (chmod(fake_path("/sbin/e2fsck"), 0755) < 0)
			ok(false, "chmod");
	}
}

/* DEGRADED: on a tmpfs; READONLY, CHECKED: as in struct data */
enum { DEGRADED = 1, READONLY = 2, CHECKED = 4 };

static void expect(const char *name, int want, const char *why, const char *log)
{
	struct data d = { .fd = -2 };
	struct failure f = { 0 };

	ok_int(data_mount(&part, TARGET, &d, &f), 0, "%s", name);
	ok_int(d.degraded * DEGRADED + d.readonly * READONLY + d.checked * CHECKED, want,
	       "%s: what it is", name);
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
		enum packed packed;
		int status;
		int want;
		const char *why, *log;
	} rows[] = {
		{ "good", EXT4, BARE, 0, 0, "", MOUNT "\n" },
		{ "good, nothing to check", EXT4, PACKED, 0, 0, "", MOUNT "\n" },
		{ "no journal", NO_JOURNAL, PACKED, 0, 0, DEV " has no journal", MOUNT "\n" },

		/* Somebody else's: never written to, never checked */
		{ "LUKS", LUKS, PACKED, 0, DEGRADED, DEV " holds crypto_LUKS, not ext4",
		  TMPFS "\n" },
		{ "ext2", EXT2, PACKED, 0, DEGRADED, DEV " holds ext2 or ext3, not ext4",
		  TMPFS "\n" },
		{ "ext3", EXT3, PACKED, 0, DEGRADED, DEV " holds ext2 or ext3, not ext4",
		  TMPFS "\n" },
		{ "a journal device", JOURNAL, PACKED, 0, DEGRADED,
		  DEV " holds another filesystem's journal, not ext4", TMPFS "\n" },
		{ "tiny", TINY, PACKED, 0, DEGRADED, DEV " is too small for a filesystem",
		  TMPFS "\n" },

		/* The superblock is lost: e2fsck looks for a copy */
		{ "zeroes, e2fsck not packed", ZERO, BARE, 0, DEGRADED,
		  DEV " holds no filesystem; e2fsck is not packed", TMPFS "\n" },
		{ "zeroes, nothing found", ZERO, PACKED, EXIT(8), DEGRADED,
		  DEV " holds no filesystem, and e2fsck finds none", CHECK "\n" TMPFS "\n" },
		{ "zeroes, a copy found", ZERO, PACKED, EXIT(1), CHECKED,
		  DEV ": e2fsck repaired errors", CHECK "\n" MOUNT "\n" },
		{ "zeroes, e2fsck crashes", ZERO, PACKED, 11, DEGRADED,
		  DEV " is damaged; e2fsck was ended by signal 11", CHECK "\n" TMPFS "\n" },

		/* It says errors */
		{ "errors, e2fsck not packed", ERRORS, BARE, 0, 0,
		  DEV " needs e2fsck, which is not packed", MOUNT "\n" },
		{ "errors, none found", ERRORS, PACKED, 0, CHECKED, DEV ": e2fsck found no errors",
		  CHECK "\n" MOUNT "\n" },
		{ "errors, repaired", ERRORS, PACKED, EXIT(1), CHECKED,
		  DEV ": e2fsck repaired errors", CHECK "\n" MOUNT "\n" },
		{ "errors, repaired, reboot advised", ERRORS, PACKED, EXIT(3), CHECKED,
		  DEV ": e2fsck repaired errors", CHECK "\n" MOUNT "\n" },
		{ "errors, beyond repair", ERRORS, PACKED, EXIT(4), DEGRADED,
		  DEV " is damaged beyond repair", CHECK "\n" TMPFS "\n" },
		{ "errors, partly repaired", ERRORS, PACKED, EXIT(5), DEGRADED,
		  DEV " is damaged beyond repair", CHECK "\n" TMPFS "\n" },
		{ "e2fsck gives up", ERRORS, PACKED, EXIT(8), DEGRADED,
		  DEV " is damaged; e2fsck failed with 8", CHECK "\n" TMPFS "\n" },
		{ "e2fsck repairs and gives up", ERRORS, PACKED, EXIT(9), DEGRADED,
		  DEV " is damaged; e2fsck failed with 9", CHECK "\n" TMPFS "\n" },
		{ "e2fsck was cancelled", ERRORS, PACKED, EXIT(32), DEGRADED,
		  DEV " is damaged; e2fsck failed with 32", CHECK "\n" TMPFS "\n" },
		{ "e2fsck cannot start", ERRORS, PACKED, EXIT(127), DEGRADED,
		  DEV " is damaged; e2fsck cannot be started", CHECK "\n" TMPFS "\n" },
		{ "e2fsck crashes", ERRORS, PACKED, 11, DEGRADED,
		  DEV " is damaged; e2fsck was ended by signal 11", CHECK "\n" TMPFS "\n" },
		{ "no journal, not unmounted", NO_JOURNAL_UNCLEAN, PACKED, EXIT(1), CHECKED,
		  DEV ": e2fsck repaired errors", CHECK "\n" MOUNT "\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *before = NULL, *after = NULL;
		size_t len, len_after;

		prepare(rows[i].content, rows[i].packed, rows[i].status);
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
		enum packed packed;
		int status;
		int again; /* of the second */
		int want;
		const char *why, *log;
	} rows[] = {
		{ "needs cleaning", -EUCLEAN, PACKED, EXIT(1), 0, CHECKED,
		  DEV ": e2fsck repaired errors", MOUNT " -> EUCLEAN\n" CHECK "\n" MOUNT "\n" },
		{ "bad checksum", -EBADMSG, PACKED, EXIT(1), 0, CHECKED,
		  DEV ": e2fsck repaired errors", MOUNT " -> EBADMSG\n" CHECK "\n" MOUNT "\n" },
		{ "unreadable journal", -EIO, PACKED, EXIT(1), 0, CHECKED,
		  DEV ": e2fsck repaired errors", MOUNT " -> EIO\n" CHECK "\n" MOUNT "\n" },
		{ "no sense", -EINVAL, PACKED, 0, 0, CHECKED, DEV ": e2fsck found no errors",
		  MOUNT " -> EINVAL\n" CHECK "\n" MOUNT "\n" },
		{ "damaged still", -EUCLEAN, PACKED, EXIT(1), -EUCLEAN, DEGRADED,
		  DEV " cannot be mounted: Structure needs cleaning",
		  MOUNT " -> EUCLEAN\n" CHECK "\n" MOUNT " -> EUCLEAN\n" TMPFS "\n" },
		{ "beyond repair", -EUCLEAN, PACKED, EXIT(4), 0, DEGRADED,
		  DEV " is damaged beyond repair", MOUNT " -> EUCLEAN\n" CHECK "\n" TMPFS "\n" },
		{ "damaged, e2fsck not packed", -EBADMSG, BARE, 0, 0, DEGRADED,
		  DEV " cannot be mounted: Bad message; e2fsck is not packed",
		  MOUNT " -> EBADMSG\n" TMPFS "\n" },
		{ "no ext4 in the kernel", -ENODEV, PACKED, 0, 0, DEGRADED,
		  "the kernel has no ext4 to mount " DEV, MOUNT " -> ENODEV\n" TMPFS "\n" },
		{ "busy", -EBUSY, PACKED, 0, 0, DEGRADED,
		  DEV " cannot be mounted: Device or resource busy",
		  MOUNT " -> EBUSY\n" TMPFS "\n" },
		{ "no memory", -ENOMEM, PACKED, 0, 0, DEGRADED,
		  DEV " cannot be mounted: Cannot allocate memory",
		  MOUNT " -> ENOMEM\n" TMPFS "\n" },
		{ "read-only disk", -EACCES, PACKED, 0, 0, READONLY, DEV " cannot be written",
		  MOUNT " -> EACCES\n" RO "\n" },
		{ "read-only feature", -EROFS, PACKED, 0, 0, READONLY, DEV " cannot be written",
		  MOUNT " -> EROFS\n" RO "\n" },
		{ "read-only disk, dirty journal", -EACCES, PACKED, 0, -EROFS, READONLY,
		  DEV " cannot be written", MOUNT " -> EACCES\n" RO " -> EROFS\n" RO ",noload\n" },
		{ "read-only disk, damaged", -EACCES, PACKED, 0, -EIO, DEGRADED,
		  DEV " is read-only and cannot be mounted: Input/output error",
		  MOUNT " -> EACCES\n" RO " -> EIO\n" TMPFS "\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		prepare(EXT4, rows[i].packed, rows[i].status);
		fake_result_once("mount " DEV, rows[i].error);
		if (rows[i].again)
			fake_result_once("mount " DEV, rows[i].again);
		expect(rows[i].name, rows[i].want, rows[i].why, rows[i].log);
	}

	/* Said errors, was checked, and is damaged all the same: not checked twice */
	prepare(ERRORS, PACKED, EXIT(1));
	fake_result("mount " DEV, -EUCLEAN);
	expect("checked and still damaged", DEGRADED, DEV " cannot be mounted, even after e2fsck",
	       CHECK "\n" MOUNT " -> EUCLEAN\n" TMPFS "\n");

	prepare(ERRORS, BARE, 0);
	fake_result("mount " DEV, -EUCLEAN);
	expect("errors, damaged, e2fsck not packed", DEGRADED,
	       DEV " cannot be mounted: Structure needs cleaning; e2fsck is not packed",
	       MOUNT " -> EUCLEAN\n" TMPFS "\n");

	/* Mounted, but not usable */
	prepare(EXT4, PACKED, 0);
	fake_result("access .", -EROFS);
	expect("made read-only while mounting", READONLY, DEV " was made read-only by the kernel",
	       MOUNT "\n");
	prepare(EXT4, PACKED, 0);
	fake_result("access .", -EIO);
	expect("unreadable root directory", DEGRADED, DEV " cannot be used: Input/output error",
	       MOUNT "\numount " TARGET " detach\n" TMPFS "\n");
	prepare(EXT4, PACKED, 0);
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
	prepare(QUOTA, PACKED, 0);
	fake_result_once("mount " DEV, -ESRCH);
	expect("quota", READONLY, QUOTA_WHY, MOUNT " -> ESRCH\n" RO "\n");
	prepare(QUOTA, PACKED, 0);
	fake_result("mount " DEV, -ESRCH);
	expect("quota, not even to read", DEGRADED, QUOTA_WHY,
	       MOUNT " -> ESRCH\n" RO " -> ESRCH\n" TMPFS "\n");
	prepare(CASEFOLD, PACKED, 0);
	fake_result("mount " DEV, -EINVAL);
	expect("casefold", DEGRADED,
	       DEV " has the ext4 feature 'casefold', which this kernel lacks: boot one with "
		   "CONFIG_UNICODE, or take it off: tune2fs -O ^casefold",
	       MOUNT " -> EINVAL\n" RO " -> EINVAL\n" TMPFS "\n");
	prepare(CASEFOLD, PACKED, EXIT(1));
	fake_file("/sys/fs/ext4/features/casefold", "");
	fake_result_once("mount " DEV, -EINVAL);
	expect("casefold, and damaged", CHECKED, DEV ": e2fsck repaired errors",
	       MOUNT " -> EINVAL\n" CHECK "\n" MOUNT "\n");
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

	prepare(EXT4, BARE, 0);
	fake_block_device(DEV, 254, 7);
	expect("another device", DEGRADED, DEV " is not the partition that was found", TMPFS "\n");

	fake_reset();
	fake_dir(TARGET);
	make_content(EXT4);
	expect("a file", DEGRADED, DEV " is not the partition that was found", TMPFS "\n");

	prepare(EXT4, PACKED, 0);
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

		prepare(EXT4, BARE, 0);
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

static void test_time(void)
{
	struct data d = { .fd = -1 };
	struct failure f = { 0 };

	prepare(ERRORS, PACKED, 0);
	fake_spawn(EXIT(1), 45);
	expect("a slow check", CHECKED, DEV ": e2fsck repaired errors", CHECK "\n" MOUNT "\n");

	/* The deadline of 10 s: 60 more for the check, back to 10 after it, 60 for the mount. */
	prepare(ERRORS, PACKED, 0);
	fake_spawn(EXIT(1), 45);
	ok_int(patience_start(10), 0, "with a deadline");
	fake_log_files(true);
	ok_int(data_mount(&part, TARGET, &d, &f), 0, "a check longer than the deadline");
	ok(strstr(fake_log(), "alarm 70\n" CHECK "\nalarm 10\n"), "stops its clock");
	ok(strstr(fake_log(), "alarm 70\n" MOUNT "\nalarm 10\n"), "as a mount does");
	fake_log_files(false);
	close_p(&d.fd);
	patience_last(0);

	prepare(ERRORS, PACKED, 0);
	fake_spawn(EXIT(1), 1000);
	expect("a check without end", DEGRADED, DEV " is damaged; e2fsck did not end in 60 s",
	       CHECK "\n" TMPFS "\n");
	ok_int(sys_monotonic_usec() / 1000000, 1 + 60, "a check without end: ended");
}

static void test_no_tmpfs(void)
{
	struct data d = { .fd = -2, .why = "untouched" };
	struct failure f = { 0 };

	prepare(LUKS, BARE, 0);
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

		prepare(c, PACKED, EXIT(1));
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

int main(void)
{
	static const int errors[] = { EIO, ENOMEM, EROFS, EUCLEAN, EINTR };

	test_content();
	test_mount();
	test_features();
	test_device();
	test_replay_time();
	test_time();
	test_no_tmpfs();
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		sweep(EXT4, errors[i]);
		sweep(ERRORS, errors[i]);
		sweep(ZERO, errors[i]);
	}
	return tap_done();
}
