// SPDX-License-Identifier: MIT
/* The test double itself: what other tests take for granted. */
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static char *slurp(const char *path)
{
	char *text = NULL;

	return sys_read_file(AT_FDCWD, path, 64, &text, NULL) == 0 ? text : NULL;
}

static void test_paths(void)
{
	static const struct {
		const char *path, *want;
	} rows[] = {
		{ "/plain", "plain" },	    { "/abs", "plain" },      { "/dir/rel", "plain" },
		{ "/dir/../abs", "plain" }, { "/../plain", "plain" }, { "/loop", NULL },
		{ "/plain/x", NULL },	    { "/nothing", NULL },     { "", NULL },
		{ "/alias/rel", "plain" },
	};

	fake_reset();
	fake_file("/plain", "plain");
	fake_symlink("/plain", "/abs");
	fake_symlink("../../../plain", "/dir/rel");
	fake_symlink("/dir", "/alias");
	fake_symlink("loop", "/loop");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *text = slurp(rows[i].path);

		ok_str(text, rows[i].want, "read \"%s\"", rows[i].path);
	}
	ok(!access(fake_path("/plain"), F_OK) && access("/plain", F_OK) < 0,
	   "files are below the root only");
}

static void test_beneath(void)
{
	static const struct {
		const char *path;
		int beneath, in_root;
	} rows[] = {
		{ "in", 0, 0 },	       { "../out", -EXDEV, -ENOENT }, { "/in", -EXDEV, 0 },
		{ "link", -ELOOP, 0 }, { "up", -ELOOP, -ENOENT },     { "sub/../in", 0, 0 },
		{ "abs", -ELOOP, 0 },  { "none", -ENOENT, -ENOENT },
	};
	_cleanup_close_ int dir = -1;

	fake_reset();
	fake_file("/out", "");
	fake_file("/d/in", "");
	fake_dir("/d/sub");
	fake_symlink("in", "/d/link");
	fake_symlink("../out", "/d/up");
	fake_symlink("/in", "/d/abs");
	dir = sys_open("/d", O_RDONLY | O_DIRECTORY, 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int fd = sys_open_beneath(dir, rows[i].path, O_RDONLY, 0);

		ok_int(fd < 0 ? fd : sys_close(fd), rows[i].beneath, "beneath %s", rows[i].path);
		fd = sys_open_in_root(dir, rows[i].path, O_RDONLY, 0);
		ok_int(fd < 0 ? fd : sys_close(fd), rows[i].in_root, "in root %s", rows[i].path);
	}
	ok_int(fake_open_fds(), 1, "only the directory is open");
}

static bool appeared;

static void appear(void)
{
	appeared = true;
}

static void test_log(void)
{
	char *const argv[] = { (char *)"init", (char *)"--x", NULL };
	int status = -1;

	fake_reset();
	appeared = false;
	fake_result_once("mount /dev/dm-0", -EINVAL);
	fake_then("mount /dev/dm-0", appear);
	fake_spawn(256, 3);
	ok_int(sys_mount("/dev/dm-0", "/r", "ext4", MS_RDONLY | MS_NOSUID, NULL), -EINVAL, "rule");
	ok(!appeared, "nothing appears when it fails");
	ok_int(sys_mount("/dev/dm-0", "/r", "ext4", 0, "x"), 0, "spent");
	ok(appeared, "something appears when it succeeds");
	ok_int(sys_umount("/r", MNT_DETACH), 0, "umount");
	ok_int(sys_spawn_wait(NULL, "/sbin/e2fsck", argv, 2, -1, &status), -ETIMEDOUT,
	       "spawn, slow");
	ok_int(sys_spawn_wait(NULL, "/sbin/e2fsck", argv, 9, -1, &status), 0, "spawn");
	ok_int(status, 256, "its status");
	ok_int(sys_exec("/sbin/init", argv, NULL), -ENOSYS, "exec outside of fake_run");
	sys_sync();
	ok_str(fake_log(),
	       "mount /dev/dm-0 /r ext4 ro,nosuid - -> EINVAL\n"
	       "mount /dev/dm-0 /r ext4 - x\n"
	       "umount /r detach\n"
	       "spawn /sbin/e2fsck init --x\n"
	       "spawn /sbin/e2fsck init --x\n"
	       "exec /sbin/init init --x\n"
	       "sync\n",
	       "log");
}

static void end_in(void *arg)
{
	char *held = strdup("held"); /* left behind by the reboot */
	int fd = sys_open("/f", O_RDONLY, 0);

	if (fd >= 0 && held && sys_reboot(arg) < 0)
		(void)sys_close(fd);
	free(held);
}

static void test_run(void)
{
	char argument[] = "0 tryboot";

	fake_reset();
	fake_file("/f", "");
	ok_int(fake_run(end_in, argument), FAKE_REBOOT, "a reboot ends the run");
	ok_int(fake_open_fds(), 0, "and closes what was open");
	fake_result("reboot", -EPERM);
	ok_int(fake_run(end_in, NULL), FAKE_RETURNED, "a reboot that fails comes back");
	ok_str(fake_log(), "reboot 0 tryboot\nreboot - -> EPERM\n", "log");
}

static int three_calls(void)
{
	_cleanup_close_ int fd = sys_open("/f", O_RDWR | O_CREAT, 0600);

	if (fd < 0)
		return fd;
	return sys_pwrite(fd, "x", 1, 0) < 0 ? -1 : sys_fsync(fd);
}

static void test_failing(void)
{
	unsigned k;

	fake_reset();
	for (k = 1; k < 10; k++) {
		fake_fail_at(k, ENOSPC);
		if (three_calls() == 0)
			break;
	}
	ok_int(k, 4, "each of three calls fails once");
	fake_cut_at(2);
	ok(three_calls() < 0 && sys_umount("/", 0) == -EIO, "after a cut nothing works");
	fake_fail_at(0, 0);
	fake_result("fsync /f", -EROFS);
	ok_int(three_calls(), -EROFS, "a rule for one file");
	ok_int(fake_calls(), 3, "calls are counted");
}

static void test_device(void)
{
	static _Alignas(4096) char buf[8192];
	_cleanup_close_ int fd = -1;
	uint64_t size = 0;
	struct stat st;

	fake_reset();
	fake_file_data("/dev/vda1", buf, sizeof(buf));
	fake_block_device("/dev/vda1", 254, 1);
	fake_block_size(4096);
	fd = sys_open("/dev/vda1", O_RDWR | O_DIRECT, 0);
	ok(sys_fstat(fd, &st) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == makedev(254, 1),
	   "a file plays a block device");
	ok(sys_device_size(fd, &size) == 0 && size == 8192, "its size");
	ok_int(sys_pwrite(fd, buf, 4096, 4096), 4096, "aligned");
	ok_int(sys_pwrite(fd, buf, 512, 4096), -EINVAL, "length");
	ok_int(sys_pwrite(fd, buf, 4096, 512), -EINVAL, "offset");
	ok_int(sys_pread(fd, buf + 512, 4096, 0), -EINVAL, "buffer");
	ok_int(fake_violations(), 3, "violations are counted");
	fake_short_io(100);
	fake_file("/f", "");
	ok_int(sys_write(sys_open("/f", O_WRONLY, 0), buf, 300), 100, "short write");
}

static void test_chroot(void)
{
	_cleanup_free_ char *text = NULL;

	fake_reset();
	fake_file("/x", "outside");
	fake_file("/new/usr/x", "inside");
	fake_symlink("/usr/x", "/new/x");
	ok_int(sys_chdir("/new"), 0, "chdir");
	ok_int(sys_chroot("."), 0, "chroot");
	text = slurp("/x");
	ok_str(text, "inside", "absolute links start at the new root");
	ok_int(sys_chdir("/none"), -ENOENT, "a directory that is not there");
}

static void test_uevents(void)
{
	char buf[16];
	uint64_t start;
	int fd;

	fake_reset();
	start = sys_monotonic_usec();
	fake_uevent("add", 4, 1500000, appear);
	appeared = false;
	fd = sys_uevent_socket();
	ok_int(sys_uevent_receive(fd, buf, sizeof(buf), 1000), -ETIMEDOUT, "not yet");
	ok_int(sys_uevent_receive(fd, buf, sizeof(buf), 1000), 4, "half a second later");
	ok(appeared && streq(buf, "add"), "with its device");
	ok_int(sys_uevent_receive(fd, buf, sizeof(buf), 1000), -ETIMEDOUT, "no more");
	ok_int(sys_monotonic_usec() - start, 2500000, "time went by");
}

static void test_dm(void)
{
	struct {
		struct dm_ioctl io;
		struct dm_target_spec target;
		char params[64];
	} b = { .io = { .data_size = sizeof(b), .data_start = sizeof(b.io), .target_count = 1 } };

	fake_reset();
	strcpy(b.io.name, "root");
	ok_int(sys_dm_ioctl(3, DM_DEV_CREATE, &b), 0, "create");
	b.io.flags = DM_READONLY_FLAG;
	b.target.length = 8;
	strcpy(b.target.target_type, "verity");
	strcpy(b.params, "1 /dev/a");
	ok_int(sys_dm_ioctl(3, DM_TABLE_LOAD, &b), 0, "load");
	ok_int(sys_dm_ioctl(3, DM_TABLE_STATUS, &b), 0, "status");
	ok_str(b.params, "V", "status line");
	fake_result("dm suspend", -EIO);
	ok_int(sys_dm_ioctl(3, DM_DEV_SUSPEND, &b), -EIO, "resume");
	ok_str(fake_log(),
	       "dm create root -\n"
	       "dm load root ro 0 8 verity 1 /dev/a\n"
	       "dm status root -\n"
	       "dm suspend root resume -> EIO\n",
	       "log");
}

int main(void)
{
	test_paths();
	test_beneath();
	test_log();
	test_run();
	test_failing();
	test_device();
	test_chroot();
	test_uevents();
	test_dm();
	return tap_done();
}
