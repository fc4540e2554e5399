// SPDX-License-Identifier: MIT
#include "boot/sys.h"
#include "initramfs/init/mounts.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#include <fcntl.h>
#include <sys/stat.h>

#define DATA "PARTLABEL=BF_DATA /d ext4 nosuid,nodev,noexec,x-initrd.mount 0 0\n"
#define VAR                                                                                        \
	"overlay /var overlay nosuid,nodev,noexec,x-initrd.mount,x-bf.upper=slot,x-bf.trust 0 0\n"
#define SRV	"overlay /srv overlay nosuid,nodev,x-initrd.mount,x-bf.upper=persistent 0 0\n"
#define ETC	"overlay /etc overlay nosuid,nodev,x-initrd.mount,x-bf.upper=volatile 0 0\n"
#define HOME	"/d/home /home none bind,nosuid,nodev,x-initrd.mount"
#define OPTIONS "index=off,metacopy=off,redirect_dir=nofollow"
#define ID	"0123abcd"

/* What an overlay on BF_DATA at /root/d and its two directories look like in the log. */
#define MOUNT_VAR(at)                                                                              \
	"mount overlay /root/var overlay nosuid,nodev,noexec lowerdir=/root/var,upperdir=" at      \
	"/slots/A/var/upper,workdir=" at "/slots/A/var/work," OPTIONS "\n"
#define HOME_BOUND                                                                                 \
	"bind /data/home /root/home -\nmount - /root/home - remount,bind,nosuid,nodev -\n"
#define MOVED "mount /data /root/d - move -\nmount - /root/d - remount,bind,nosuid,nodev,noexec -\n"
#define TMPFS "mount tmpfs /volatile tmpfs nosuid,nodev mode=0700,nr_inodes=64k,size=20%\n"

static struct data data;
static struct failure failure;

/* An image with mount points, an empty BF_DATA. */
static void prepare(void)
{
	static const char *const dirs[] = { "/root/d",	 "/root/etc", "/root/home", "/root/srv",
					    "/root/tmp", "/root/var", "/data" };

	free(data.found.lines);
	fake_reset();
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		fake_dir(dirs[i]);
	(void)!chmod(fake_path("/root/home"), 0711);
	(void)!chmod(fake_path("/root/var"), 02755);
	data = (struct data) { .fd = sys_open("/data", O_RDONLY | O_DIRECTORY, 0) };
	failure = (struct failure) { 0 };
}

static int make(const char *fstab, enum slot slot, const char *id)
{
	_cleanup_(plan_done) struct mount_plan plan = { 0 };
	int r = plan_make(fstab, &plan, &failure);

	return r < 0 ? r : mounts_make(&plan, slot, &data, "/data", "/root", id, &failure);
}

/* The log without the chown lines, which say who runs the test. */
static char *mount_log(void)
{
	_cleanup_free_ char *log = strdup(fake_log());
	char *out = strdup(""), *line, *rest;

	for (line = strtok_r(log, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *more;

		if (startswith(line, "chown "))
			continue;
		more = strf("%s%s\n", out, line);
		free(out);
		out = more;
	}
	return out;
}

static void finish(const char *name)
{
	ok(sys_close(data.fd) == 0 && fake_open_fds() == 0, "%s: no fd is left", name);
}

static unsigned mode_of(const char *path)
{
	struct stat st;

	return lstat(fake_path(path), &st) == 0 ? st.st_mode & 07777 : 0xffff;
}

/* ---- what is mounted ---------------------------------------------------- */

static void nothing(void)
{
}

static void is_degraded(void)
{
	data.degraded = true;
	strcpy(data.why, "no such partition");
}

static void is_readonly(void)
{
	data.readonly = true;
}

static void readonly_with_home(void)
{
	data.readonly = true;
	fake_dir("/data/home");
}

static void readonly_without_overlay(void)
{
	readonly_with_home();
	fake_result("lowerdir=/root/d/home", -EINVAL);
}

static void has_home(void)
{
	fake_dir("/data/home");
}

static void no_space(void)
{
	fake_result_once("mkdir trash", -ENOSPC);
}

/* The kernel cannot clear the work directory, and says so by mounting read-only. */
static void work_that_stays(void)
{
	fake_result_once("access /root/var", -EROFS);
}

static void no_room_for_work(void)
{
	work_that_stays();
	work_that_stays();
}

static void stale_work(void)
{
	fake_result_once("mount overlay /root/var", -ESTALE);
}

static void stale_for_ever(void)
{
	fake_result("mount overlay /root/var", -ESTALE);
}

static void stale_upper(void)
{
	fake_result("upperdir=/root/d", -ESTALE);
}

static void no_bind(void)
{
	fake_result("bind /data/home", -EINVAL);
}

static void alarm_rings(void)
{
	fake_result("mkdir trash", -EINTR);
}

static void no_sized_tmpfs(void)
{
	fake_result("mount tmpfs /volatile-var", -EINVAL);
}

static void no_home(void)
{
	fake_remove("/root/home");
}

static void no_home_readonly(void)
{
	no_home();
	fake_result("mkdir home", -EROFS);
}

static void has_program(void)
{
	no_home();
	fake_file("/root/usr/bin/program", "");
}

static void has_linked_program(void)
{
	no_home();
	fake_dir("/root/usr/lib");
	fake_file("/root/usr/lib/program", "");
	fake_dir("/root/usr/bin");
	fake_symlink("/usr/lib/program", "/root/usr/bin/program");
}

static void link_at_target(void)
{
	fake_remove("/root/var");
	fake_symlink("/etc", "/root/var");
}

static void link_above_target(void)
{
	fake_dir("/root/real/sub");
	fake_symlink("real", "/root/link");
}

static void file_at_target(void)
{
	fake_remove("/root/var");
	fake_file("/root/var", "");
}

static void no_target(void)
{
	fake_remove("/root/var");
}

static void link_at_source(void)
{
	fake_symlink("/etc", "/data/home");
}

static void link_out_of_source(void)
{
	fake_symlink("../root", "/data/home");
}

static void link_in_source(void)
{
	fake_dir("/data/real");
	fake_symlink("real", "/data/a");
}

static void file_at_source(void)
{
	fake_file("/data/home", "");
}

/* A directory of ours as it must be. */
static void private_dir(const char *path)
{
	fake_dir(path);
	(void)!chmod(fake_path(path), 0700);
}

static void own_slot(void)
{
	private_dir("/data/slots");
	private_dir("/data/slots/A");
	fake_file("/data/slots/A/.image", ID "\n");
}

static void link_at_slots(void)
{
	fake_symlink("/root", "/data/slots");
}

static void link_at_slot(void)
{
	private_dir("/data/slots");
	fake_symlink("B", "/data/slots/A");
}

static void link_at_upper(void)
{
	own_slot();
	fake_symlink("/etc", "/data/slots/A/var/upper");
}

static void link_at_work(void)
{
	own_slot();
	fake_symlink("/etc", "/data/slots/A/var/work");
}

static void link_at_overlay(void)
{
	fake_symlink("home", "/data/overlay");
}

static void link_at_trash(void)
{
	fake_symlink("/root", "/data/trash");
}

static void pipe_at_source(void)
{
	(void)!mkfifo(fake_path("/data/home"), 0666);
}

static void socket_at_source(void)
{
	(void)!mknod(fake_path("/data/home"), S_IFSOCK | 0666, 0);
}

static void whiteout_at_source(void)
{
	/* The one device that anybody may make. */
	(void)!mknod(fake_path("/data/home"), S_IFCHR | 0666, 0);
}

static void file_at_slot(void)
{
	private_dir("/data/slots");
	fake_file("/data/slots/A", "");
}

static void stuck_trap(void)
{
	fake_file("/data/home", "");
	fake_result("rename home trash/0", -EPERM);
}

/* /var's upper, the mode of /var, and what hides a mount point below it */
static void own_upper(void)
{
	own_slot();
	fake_dir("/data/slots/A/var/upper");
	(void)!chmod(fake_path("/data/slots/A/var/upper"), 02755);
	private_dir("/data/slots/A/var/work");
	fake_dir("/root/var/lib/x");
}

static void clear_upper(void)
{
	own_upper();
	fake_dir("/data/slots/A/var/upper/lib");
}

static void link_in_upper(void)
{
	clear_upper();
	fake_symlink("/etc", "/data/slots/A/var/upper/lib/x");
}

static void file_above_in_upper(void)
{
	own_upper();
	fake_file("/data/slots/A/var/upper/lib", "");
}

static void whiteout_in_upper(void)
{
	clear_upper();
	(void)!mknod(fake_path("/data/slots/A/var/upper/lib/x"), S_IFCHR, 0);
}

/* What only a real overlay can do: it hides a directory of the image without a trap. */
static void hide_point(void)
{
	fake_remove("/root/var/lib/x");
}

static void hidden_in_overlay(void)
{
	clear_upper();
	fake_then("mount overlay /root/var", hide_point);
}

static void bar_point(void)
{
	fake_result_once("open var/lib/x", -EPERM);
}

static void hidden_for_good(void)
{
	clear_upper();
	fake_then("workdir=/root/d/slots", bar_point);
}

static void show_link(void)
{
	fake_remove("/root/home/x");
	fake_symlink("/etc", "/root/home/x");
}

static void point_in_source(void)
{
	fake_dir("/root/home/x");
	fake_dir("/data/home");
	fake_then("bind /data/home", show_link);
	fake_symlink("/etc", "/data/home/x");
}

static void point_in_data(void)
{
	fake_file("/data/x", "");
}

static void no_room_for_a_point(void)
{
	fake_dir("/data/home");
	fake_result("mkdir trash", -ENOSPC);
}

static void open_source(void)
{
	fake_dir("/data/home");
	(void)!chmod(fake_path("/data/home"), 0777);
	fake_owner("/data/home", 1000, 1000);
}

static void open_trash(void)
{
	fake_dir("/data/trash");
	(void)!chmod(fake_path("/data/trash"), 0777);
}

static void breaking_disk(void)
{
	fake_result("open slots", -EIO);
}

static void cannot_move(void)
{
	fake_result("mount /data", -EINVAL);
}

static void bad_option(void)
{
	fake_result("commit=x", -EINVAL);
}

static void error_while_remounting(void)
{
	fake_result("commit=5", -EROFS);
}

static void no_tmpfs(void)
{
	fake_result("mount tmpfs /volatile", -ENODEV);
}

static const struct row {
	const char *name, *fstab;
	void (*setup)(void);
	enum reason reason;
	const char *text; /* part of the failure's; or of data.why */
	unsigned lost;
	const char *log; /* NULL: not compared */
} rows[] = {
	{ "all kinds",
	  DATA ETC VAR SRV "tmpfs /tmp tmpfs nosuid,nodev,mode=1777,x-initrd.mount\n" HOME "\n",
	  nothing, REASON_NONE, "", 0,
	  MOVED TMPFS
	  "mount overlay /root/etc overlay nosuid,nodev lowerdir=/root/etc,upperdir=/volatile/etc/"
	  "upper,workdir=/volatile/etc/work," OPTIONS
	  "\n" MOUNT_VAR("/root/d") "mount overlay /root/srv overlay nosuid,nodev "
				    "lowerdir=/root/srv,upperdir=/root/d/overlay/"
				    "srv/upper,workdir=/root/d/overlay/srv/work," OPTIONS "\n"
				    "mount tmpfs /root/tmp tmpfs nosuid,nodev mode=1777\n"
				    "bind /data/home /root/home -\nmount - /root/home - "
				    "remount,bind,nosuid,nodev -\n"
				    "umount /volatile detach\n" },
	{ "a volatile upper of its own size",
	  DATA ETC "overlay /var overlay nosuid,nodev,x-initrd.mount,x-bf.upper=volatile,"
		   "x-bf.size=64M\n",
	  nothing, REASON_NONE, "", 0,
	  MOVED TMPFS
	  "mount overlay /root/etc overlay nosuid,nodev lowerdir=/root/etc,upperdir=/volatile/etc/"
	  "upper,workdir=/volatile/etc/work," OPTIONS
	  "\nmount tmpfs /volatile-var tmpfs nosuid,nodev mode=0700,nr_inodes=64k,size=64M\n"
	  "mount overlay /root/var overlay nosuid,nodev lowerdir=/root/var,upperdir=/volatile-var/"
	  "var/upper,workdir=/volatile-var/var/work," OPTIONS
	  "\numount /volatile-var detach\numount /volatile detach\n" },
	{ "a size that the kernel does not take",
	  DATA "overlay /var overlay nosuid,nodev,x-initrd.mount,x-bf.upper=volatile,"
	       "x-bf.size=1k\n",
	  no_sized_tmpfs, REASON_MOUNT, "tmpfs on /volatile-var, options mode=0700", 0, NULL },
	{ "if-exists: a mount point", DATA HOME ",noauto,x-bf.if-exists\n", nothing, REASON_NONE,
	  "", 0, MOVED HOME_BOUND },
	{ "if-exists: no mount point", DATA HOME ",noauto,x-bf.if-exists\n", no_home, REASON_NONE,
	  "", 0, MOVED },
	{ "if-exists: a program, whose directory is made",
	  DATA HOME ",noauto,x-bf.if-exists=/usr/bin/program\n", has_program, REASON_NONE, "", 0,
	  MOVED HOME_BOUND },
	{ "if-exists: a program behind a link",
	  DATA HOME ",noauto,x-bf.if-exists=/usr/bin/program\n", has_linked_program, REASON_NONE,
	  "", 0, MOVED HOME_BOUND },
	{ "if-exists: no program", DATA HOME ",noauto,x-bf.if-exists=/usr/bin/program\n", nothing,
	  REASON_NONE, "", 0, MOVED },
	{ "if-exists: passed over when degraded, too",
	  DATA HOME ",noauto,x-bf.if-exists=/usr/bin/program\n", is_degraded, REASON_NONE, "", 0,
	  MOVED },
	{ "if-exists: a directory that cannot be made", DATA HOME ",noauto,x-bf.if-exists=/etc\n",
	  no_home_readonly, REASON_MOUNT_POINT, "there is no /home, nor", 0, NULL },
	{ "BF_DATA without a place", VAR, nothing, REASON_NONE, "", 0,
	  MOUNT_VAR("/data") "umount /data detach\n" },
	{ "options of BF_DATA",
	  "PARTLABEL=BF_DATA /d ext4 nosuid,nodev,noexec,commit=5,noatime,x-initrd.mount\n",
	  nothing, REASON_NONE, "", 0,
	  "mount /data /root/d - move -\n"
	  "mount - /root/d - remount,bind,nosuid,nodev,noexec,noatime -\n"
	  "mount - /root/d - remount,nosuid,nodev,noexec,noatime commit=5\n" },
	{ "flags of BF_DATA's superblock",
	  "PARTLABEL=BF_DATA /d ext4 nosuid,nodev,noexec,lazytime,x-initrd.mount\n", nothing,
	  REASON_NONE, "", 0,
	  "mount /data /root/d - move -\n"
	  "mount - /root/d - remount,bind,nosuid,nodev,noexec,lazytime -\n"
	  "mount - /root/d - remount,nosuid,nodev,noexec,lazytime -\n" },
	{ "read-only BF_DATA stays so",
	  "PARTLABEL=BF_DATA /d ext4 nosuid,nodev,noexec,commit=5,x-initrd.mount\n", is_readonly,
	  REASON_NONE, "", 0,
	  "mount /data /root/d - move -\n"
	  "mount - /root/d - remount,bind,nosuid,nodev,noexec -\n"
	  "mount - /root/d - remount,ro,nosuid,nodev,noexec commit=5\n" },
	{ "the tmpfs of BF_DATA knows no options of ext4",
	  "PARTLABEL=BF_DATA /d ext4 nosuid,nodev,noexec,commit=5,x-initrd.mount\n", is_degraded,
	  REASON_NONE, "no such partition", 0, MOVED },
	{ "BF_DATA breaks while it is remounted",
	  "PARTLABEL=BF_DATA /d ext4 nosuid,nodev,noexec,commit=5,x-initrd.mount\n",
	  error_while_remounting, REASON_NONE, "does not take the options \"commit=5\": Read-only",
	  0, NULL },
	{ "an option BF_DATA does not know",
	  "PARTLABEL=BF_DATA /d ext4 nosuid,nodev,noexec,commit=x,x-initrd.mount\n", bad_option,
	  REASON_NONE, "BF_DATA does not take the options \"commit=x\": Invalid", 0, NULL },
	{ "BF_DATA cannot be moved", DATA, cannot_move, REASON_MOUNT,
	  "moving BF_DATA on /d (line 1", 0, NULL },
	{ "options for an overlay",
	  DATA "overlay /srv overlay nosuid,nodev,xino=off,x-initrd.mount,x-bf.upper=persistent\n",
	  nothing, REASON_NONE, "", 0,
	  MOVED "mount overlay /root/srv overlay nosuid,nodev lowerdir=/root/srv,upperdir=/root/d/"
		"overlay/srv/upper,workdir=/root/d/overlay/srv/work," OPTIONS ",xino=off\n" },
	{ "a read-only overlay",
	  DATA "overlay /var overlay ro,nosuid,nodev,x-initrd.mount,x-bf.upper=slot,x-bf.trust\n",
	  no_room_for_work, REASON_NONE, "", 0, NULL },
	{ "a stale work directory", DATA VAR, stale_work, REASON_NONE, "", 0, NULL },
	{ "an overlay that does not mount", DATA VAR, stale_for_ever, REASON_MOUNT,
	  "overlay on /var (line 2", 1, NULL },
	{ "an upper that does not mount", DATA VAR, stale_upper, REASON_NONE,
	  "slots/A/var of /var: Stale file handle", 1, NULL },
	{ "a bind that is refused", DATA HOME "\n", no_bind, REASON_NONE, "home of /home: Invalid",
	  1, NULL },
	{ "an alarm while BF_DATA is read", DATA HOME "\n", alarm_rings, REASON_MOUNT,
	  "/home with home of BF_DATA (line 2", 0, NULL },
	{ "no tmpfs for uppers", DATA ETC, no_tmpfs, REASON_MOUNT, "tmpfs on /volatile", 0, NULL },

	/* Mount points */
	{ "no mount point", DATA VAR, no_target, REASON_MOUNT_POINT, "/var (line 2", 0, NULL },
	{ "a link as mount point", DATA VAR, link_at_target, REASON_MOUNT_POINT,
	  "/var is or passes a symbolic link", 0, NULL },
	{ "a link above the mount point",
	  DATA "tmpfs /link/sub tmpfs nosuid,nodev,x-initrd.mount\n", link_above_target,
	  REASON_MOUNT_POINT, "/link/sub is or passes a symbolic link", 0, NULL },
	{ "a file as mount point", DATA VAR, file_at_target, REASON_MOUNT_POINT, "/var (line 2", 0,
	  NULL },

/* Traps on BF_DATA: put aside, and as if they had never been */
#define HOME_MADE                                                                                  \
	MOVED "bind /data/home /root/home -\nmount - /root/home - remount,bind,nosuid,nodev -\n"
#define ASIDE(path, what) path " was " what " where a directory must be: put aside as trash/0"
	{ "a link as source", DATA HOME "\n", link_at_source, REASON_NONE,
	  ASIDE("home", "a symbolic link"), 0, HOME_MADE },
	{ "a link out as source", DATA HOME "\n", link_out_of_source, REASON_NONE,
	  ASIDE("home", "a symbolic link"), 0, HOME_MADE },
	{ "a link above the source", DATA "/d/a/b /home none bind,nosuid,nodev,x-initrd.mount\n",
	  link_in_source, REASON_NONE, ASIDE("a", "a symbolic link"), 0,
	  MOVED "bind /data/a/b /root/home -\nmount - /root/home - remount,bind,nosuid,nodev -\n" },
	{ "a file as source", DATA HOME "\n", file_at_source, REASON_NONE, ASIDE("home", "a file"),
	  0, HOME_MADE },
	{ "a pipe as source", DATA HOME "\n", pipe_at_source, REASON_NONE, ASIDE("home", "a pipe"),
	  0, HOME_MADE },
	{ "a socket as source", DATA HOME "\n", socket_at_source, REASON_NONE,
	  ASIDE("home", "a socket"), 0, HOME_MADE },
	{ "a whiteout as source", DATA HOME "\n", whiteout_at_source, REASON_NONE,
	  ASIDE("home", "an overlay's whiteout"), 0, HOME_MADE },
	{ "a link as slots", DATA VAR, link_at_slots, REASON_NONE,
	  ASIDE("slots", "a symbolic link"), 0, MOVED MOUNT_VAR("/root/d") },
	{ "a link as slot", DATA VAR, link_at_slot, REASON_NONE,
	  ASIDE("slots/A", "a symbolic link"), 0, MOVED MOUNT_VAR("/root/d") },
	{ "a file as slot", DATA VAR, file_at_slot, REASON_NONE, ASIDE("slots/A", "a file"), 0,
	  MOVED MOUNT_VAR("/root/d") },
	{ "a link as upper", DATA VAR, link_at_upper, REASON_NONE,
	  ASIDE("slots/A/var/upper", "a symbolic link"), 0, MOVED MOUNT_VAR("/root/d") },
	{ "a link as work", DATA VAR, link_at_work, REASON_NONE,
	  ASIDE("slots/A/var/work", "a symbolic link"), 0, MOVED MOUNT_VAR("/root/d") },
	{ "a link as overlay", DATA SRV, link_at_overlay, REASON_NONE,
	  ASIDE("overlay", "a symbolic link"), 0, NULL },
	{ "a link as trash", DATA VAR HOME "\n", link_at_trash, REASON_NONE,
	  "slots/A/var of /var: something is in the way, and trash is no directory", 2,
	  MOVED TMPFS
	  "mount overlay /root/var overlay nosuid,nodev,noexec lowerdir=/root/var,upperdir="
	  "/volatile/var/upper,workdir=/volatile/var/work," OPTIONS
	  "\nbind /volatile/~3 /root/home -\nmount - /root/home - remount,bind,nosuid,nodev -\n"
	  "umount /volatile detach\n" },
	{ "a trap that stays", DATA HOME "\n", stuck_trap, REASON_NONE,
	  "home of /home: Operation not permitted", 1, NULL },

/* What hides a mount point in what BF_DATA holds */
#define LIB_X "/d/x /var/lib/x none bind,nosuid,nodev,x-initrd.mount\n"
#define LIB   "overlay /var/lib overlay nosuid,nodev,x-initrd.mount,x-bf.upper=volatile\n"
#define BOUND_X                                                                                    \
	"bind /data/x /root/var/lib/x -\nmount - /root/var/lib/x - remount,bind,nosuid,nodev -\n"
	{ "nothing in the upper", DATA VAR LIB_X, clear_upper, REASON_NONE, "", 0,
	  MOVED MOUNT_VAR("/root/d") BOUND_X },
	{ "a link in the upper", DATA VAR LIB_X, link_in_upper, REASON_NONE,
	  ASIDE("slots/A/var/upper/lib/x", "a symbolic link"), 0,
	  MOVED MOUNT_VAR("/root/d") BOUND_X },
	{ "a file above it in the upper", DATA VAR LIB_X, file_above_in_upper, REASON_NONE,
	  ASIDE("slots/A/var/upper/lib", "a file"), 0, MOVED MOUNT_VAR("/root/d") BOUND_X },
	{ "a whiteout in the upper", DATA VAR LIB_X, whiteout_in_upper, REASON_NONE,
	  ASIDE("slots/A/var/upper/lib/x", "an overlay's whiteout"), 0,
	  MOVED MOUNT_VAR("/root/d") BOUND_X },
	{ "a link in the upper, seen through two overlays", DATA VAR LIB LIB_X, link_in_upper,
	  REASON_NONE, ASIDE("slots/A/var/upper/lib/x", "a symbolic link"), 0, NULL },
	{ "an overlay that hides it", DATA VAR LIB_X, hidden_in_overlay, REASON_NONE, "", 0,
	  MOVED MOUNT_VAR("/root/d") BOUND_X },
	{ "an overlay that keeps it hidden", DATA VAR LIB_X, hidden_for_good, REASON_NONE,
	  "slots/A/var of /var: Operation not permitted", 1,
	  MOVED MOUNT_VAR("/root/d") "umount /root/var detach\n" TMPFS
				     "mount overlay /root/var overlay nosuid,nodev,noexec "
				     "lowerdir=/root/var,upperdir="
				     "/volatile/var/upper,workdir=/volatile/var/work," OPTIONS
				     "\n" BOUND_X "umount /volatile detach\n" },
#define HOME_X "tmpfs /home/x tmpfs nosuid,nodev,x-initrd.mount\n"
	{ "a link in a source", DATA HOME "\n" HOME_X, point_in_source, REASON_NONE,
	  ASIDE("home/x", "a symbolic link"), 0, NULL },
	{ "a file in BF_DATA itself", DATA "tmpfs /d/x tmpfs nosuid,nodev,x-initrd.mount\n",
	  point_in_data, REASON_NONE, ASIDE("x", "a file"), 0, NULL },
	{ "no room for a mount point", DATA HOME "\n" HOME_X, no_room_for_a_point, REASON_NONE,
	  "the mount point of /home/x: No space left", 1, NULL },

	/* Owner and mode */
	{ "a source that is open to all", DATA HOME "\n", open_source, REASON_NONE,
	  "home had mode 0777 and owner 1000:1000, now 0755 and 1000:1000", 0, HOME_MADE },
	{ "a source that is another's", DATA HOME ",x-bf.mode=0750,x-bf.uid=0,x-bf.gid=7\n",
	  open_source, REASON_NONE, "home had mode 0777 and owner 1000:1000, now 0750 and 0:7", 0,
	  HOME_MADE },
	{ "a trash that is open to all", DATA HOME "\n", open_trash, REASON_NONE,
	  "trash had mode 0777 and owner 0:0, now 0700 and 0:0", 0, HOME_MADE },

	/* Without BF_DATA */
	{ "degraded: the same on a tmpfs", DATA VAR HOME "\n", is_degraded, REASON_NONE,
	  "no such partition", 0,
	  MOVED MOUNT_VAR("/root/d") "bind /data/home /root/home -\n"
				     "mount - /root/home - remount,bind,nosuid,nodev -\n" },
	{ "degraded: left out", DATA HOME ",noauto,x-bf.degraded=skip\n", is_degraded, REASON_NONE,
	  "", 0, MOVED },

	/* BF_DATA is there but cannot do it */
	{ "read-only: overlays are volatile", DATA VAR SRV, is_readonly, REASON_NONE,
	  "slots/A/var of /var: Read-only file system", 2,
	  MOVED TMPFS
	  "mount overlay /root/var overlay nosuid,nodev,noexec "
	  "lowerdir=/root/var,upperdir=/volatile/"
	  "var/upper,workdir=/volatile/var/work," OPTIONS "\n"
	  "mount overlay /root/srv overlay nosuid,nodev lowerdir=/root/srv,upperdir=/volatile/srv/"
	  "upper,workdir=/volatile/srv/work," OPTIONS "\numount /volatile detach\n" },
	{ "read-only: a bind shows what is there", DATA HOME "\n", readonly_with_home, REASON_NONE,
	  "home of /home", 1,
	  MOVED TMPFS "mount overlay /root/home overlay nosuid,nodev "
		      "lowerdir=/root/d/home,upperdir=/volatile/~2-rw/"
		      "upper,workdir=/volatile/~2-rw/work," OPTIONS "\numount /volatile detach\n" },
	{ "read-only: nothing is there", DATA HOME "\n", is_readonly, REASON_NONE, "home of /home",
	  1,
	  MOVED TMPFS
	  "bind /volatile/~2 /root/home -\nmount - /root/home - remount,bind,nosuid,nodev -\n"
	  "umount /volatile detach\n" },
	{ "read-only: what is there cannot be shown", DATA HOME "\n", readonly_without_overlay,
	  REASON_NONE, "home of /home", 1,
	  MOVED TMPFS
	  "mount overlay /root/home overlay nosuid,nodev lowerdir=/root/d/home,upperdir=/volatile/"
	  "~2-rw/upper,workdir=/volatile/~2-rw/work," OPTIONS " -> EINVAL\n"
	  "bind /volatile/~2 /root/home -\nmount - /root/home - remount,bind,nosuid,nodev -\n"
	  "umount /volatile detach\n" },
	{ "read-only: left out", DATA HOME ",noauto,x-bf.degraded=skip\n", is_readonly, REASON_NONE,
	  "", 1, MOVED },
	{ "full: overlay", DATA VAR, no_space, REASON_NONE, "slots/A/var of /var: No space left", 1,
	  MOVED TMPFS
	  "mount overlay /root/var overlay nosuid,nodev,noexec lowerdir=/root/var,upperdir="
	  "/volatile/var/upper,workdir=/volatile/var/work," OPTIONS "\numount /volatile detach\n" },
	{ "full: bind that is there", DATA HOME "\n", has_home, REASON_NONE, "", 0,
	  MOVED
	  "bind /data/home /root/home -\nmount - /root/home - remount,bind,nosuid,nodev -\n" },
	{ "a work directory that is not cleared", DATA VAR, work_that_stays, REASON_NONE, "", 0,
	  MOVED MOUNT_VAR("/root/d") "umount /root/var detach\n" MOUNT_VAR("/root/d") },
	{ "full: the kernel mounts read-only", DATA VAR, no_room_for_work, REASON_NONE,
	  "slots/A/var of /var: No space left", 1,
	  MOVED MOUNT_VAR("/root/d") "umount /root/var detach\n" MOUNT_VAR(
		  "/root/d") "umount /root/var detach\n" TMPFS
			     "mount overlay /root/var overlay nosuid,nodev,noexec "
			     "lowerdir=/root/var,upperdir=/volatile/"
			     "var/upper,workdir=/volatile/var/work," OPTIONS
			     "\numount /volatile detach\n" },
	{ "breaking disk", DATA VAR, breaking_disk, REASON_NONE, "Input/output error", 1, NULL },
};

static void test_rows(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		_cleanup_free_ char *log = NULL;
		int r;

		prepare();
		row->setup();
		r = make(row->fstab, SLOT_A, ID);
		ok(row->reason ? r < 0 : r == 0, "%s: returns %d", row->name, r);
		ok_str(reason_text(failure.reason)->code, reason_text(row->reason)->code,
		       "%s: reason", row->name);
		if (!ok(strstr(row->reason ? failure.text : data.why, row->text), "%s: text",
			row->name))
			printf("# got \"%s\", \"%s\"\n", failure.text, data.why);
		ok_int(data.lost_lines, row->lost, "%s: lines on a tmpfs", row->name);
		log = mount_log();
		if (row->log)
			ok_str(log, row->log, "%s: log", row->name);
		else if (failure.reason != row->reason)
			printf("# %s\n", log);
		finish(row->name);
	}
}

/* ---- what is left on BF_DATA -------------------------------------------- */

/* A plan without uppers of the slot, after an image that had some. */
static void test_forgotten_uppers(void)
{
	static const struct {
		const char *name, *fstab;
		void (*setup)(void);
		bool kept;
	} cases[] = {
		{ "no uppers of the slot", DATA ETC SRV, nothing, false },
		{ "a read-only BF_DATA", DATA ETC, is_readonly, true },
		{ "no BF_DATA", DATA ETC, is_degraded, true },
		{ "a full BF_DATA", DATA, no_space, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		prepare();
		fake_file("/data/slots/A/var/upper/old", "");
		fake_file("/data/slots/A/.image", "another\n");
		fake_file("/data/slots/B/.image", "another\n");
		cases[i].setup();
		ok_int(make(cases[i].fstab, SLOT_A, ID), 0, "%s: booted", cases[i].name);
		ok(fake_exists("/data/slots/A") == cases[i].kept, "%s: the slot's own",
		   cases[i].name);
		ok(fake_exists("/data/slots/B/.image"), "%s: the other slot's stay", cases[i].name);
		finish(cases[i].name);
	}
}

static void test_directories(void)
{
	prepare();
	ok_int(make(DATA VAR SRV HOME "\n", SLOT_A, ID), 0, "directories are made");
	ok_int(mode_of("/data/slots"), 0700, "slots are private");
	ok_int(mode_of("/data/slots/A"), 0700, "a slot's directory is private");
	ok_int(mode_of("/data/overlay"), 0700, "overlays are private");
	ok_int(mode_of("/data/trash"), 0700, "the trash is private");
	ok_int(mode_of("/data/slots/A/var/upper"), 02755, "an upper looks like its lower");
	ok_int(mode_of("/data/slots/A/var/work"), 0700, "a work directory is private");
	ok_int(mode_of("/data/home"), 0711, "a source looks like the mount point");
	ok(!fake_exists("/data/trash/0"), "nothing is left in the trash");
	finish("directories");

	prepare();
	ok_int(make(DATA
		    "/d/x/y /home none bind,nosuid,nodev,x-initrd.mount,x-bf.mode=1770,x-bf.uid=5,"
		    "x-bf.gid=6\n",
		    SLOT_B, ID),
	       0, "a source with attributes");
	ok_int(mode_of("/data/x/y"), 01770, "x-bf.mode");
	ok_int(mode_of("/data/x"), 0755, "its parent is ordinary");
	ok(strstr(fake_log(), "chown /data/trash/0 5:6\n"), "x-bf.uid and x-bf.gid");
	finish("attributes");

	prepare();
	fake_dir("/data/home");
	(void)!chmod(fake_path("/data/home"), 0700);
	fake_owner("/data/home", 5, 6);
	ok_int(make(DATA HOME "\n", SLOT_B, ID), 0, "a source that is there");
	ok_int(mode_of("/data/home"), 0700, "is left alone");
	ok(!strstr(fake_log(), "chown"), "and keeps its owner");
	ok_int(data.found.count, 0, "and nothing is said");
	ok_int(make(DATA HOME ",x-bf.mode=0755\n", SLOT_B, ID), 0, "what the line says");
	ok_int(mode_of("/data/home"), 0755, "is made so");
	ok(strstr(fake_log(), "chown /data/home 5:6\n"), "and its owner stays");
	finish("existing source");
}

/* An upper belongs to one image. */
static void test_images(void)
{
	_cleanup_free_ char *id = NULL, *old = NULL;

	prepare();
	ok_int(make(DATA VAR, SLOT_A, ID), 0, "image 1 in slot A");
	id = fake_read("/data/slots/A/.image", NULL);
	ok_str(id, ID "\n", "its name is stored");
	fake_file("/data/slots/A/var/upper/state", "1");
	ok_int(make(DATA VAR, SLOT_B, "other"), 0, "image 2 in slot B");
	ok(fake_exists("/data/slots/A/var/upper/state"), "A keeps its state");
	ok(!fake_exists("/data/slots/B/var/upper/state"), "B has none of it");
	ok_int(make(DATA VAR, SLOT_A, ID), 0, "image 1 in slot A again");
	ok(fake_exists("/data/slots/A/var/upper/state"), "its state is there");
	ok_int(make(DATA VAR, SLOT_A, ID "1"), 0, "image 3 in slot A");
	ok(!fake_exists("/data/slots/A/var/upper/state"), "starts afresh");
	old = fake_read("/data/trash/0/var/upper/state", NULL);
	ok_str(old, "1", "the old state waits in the trash");
	fake_remove("/data/slots/A/.image");
	fake_file("/data/slots/A/var/upper/state", "2");
	ok_int(make(DATA VAR, SLOT_A, ID "1"), 0, "a slot without a name");
	ok(!fake_exists("/data/slots/A/var/upper/state"), "starts afresh, too");
	ok(fake_exists("/data/trash/1/var/upper/state"), "the trash takes more than one");
	finish("images");
}

static void test_image_names(void)
{
	static const struct {
		const char *name, *text;
		bool kept;
	} names[] = {
		{ "the same", ID "\n", true },
		{ "no line break", ID, false },
		{ "longer", ID "0\n", false },
		{ "shorter", "0123abc\n", false },
		{ "empty", "", false },
		{ "more lines", ID "\n\n", false },
		{ "another", "0123abce\n", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		prepare();
		fake_file("/data/slots/A/.image", names[i].text);
		fake_file("/data/slots/A/var/upper/x", "");
		ok_int(make(DATA VAR, SLOT_A, ID), 0, "image name: %s", names[i].name);
		ok_int(fake_exists("/data/slots/A/var/upper/x"), names[i].kept,
		       "image name: %s: kept", names[i].name);
		finish(names[i].name);
	}
	prepare();
	fake_symlink("/etc/shadow", "/data/slots/A/.image");
	ok_int(make(DATA VAR, SLOT_A, ID), 0, "image name: a link is not followed");
	ok(fake_exists("/data/trash/0/.image"), "and goes to the trash");
	finish("image name: a link");
	prepare();
	fake_file("/data/slots/A/.image", ID "\n");
	fake_file("/data/slots/A/var/upper/x", "");
	fake_result("read /data/slots/A/.image", -EIO);
	ok_int(make(DATA VAR, SLOT_A, ID), 0, "image name: unreadable");
	ok(fake_exists("/data/slots/A/var/upper/x"), "nothing is thrown away for it");
	ok_int(data.lost_lines, 1, "but not used in this boot");
	finish("image name: unreadable");
}

static void test_stale_work(void)
{
	prepare();
	fake_file("/data/slots/A/.image", ID "\n");
	fake_file("/data/slots/A/var/work/index/x", "");
	fake_file("/data/slots/A/var/upper/x", "");
	stale_work();
	ok_int(make(DATA VAR, SLOT_A, ID), 0, "a work directory in the way");
	ok(!fake_exists("/data/slots/A/var/work/index"), "is replaced");
	ok(fake_exists("/data/slots/A/var/upper/x"), "the upper stays");
	finish("stale work");
}

/* mount(2) would remove it all before it comes back, and PID 1 with it. */
static void test_full_work(void)
{
	prepare();
	fake_file("/data/slots/A/.image", ID "\n");
	for (unsigned i = 0; i < 50; i++) {
		_cleanup_free_ char *path = strf("/data/slots/A/var/work/work/%u/x", i);

		fake_file(path, "");
	}
	fake_file("/data/slots/A/var/upper/x", "");
	ok_int(make(DATA VAR, SLOT_A, ID), 0, "a work directory that is full");
	ok(!fake_exists("/data/slots/A/var/work/work"), "is put aside before the mount");
	ok(fake_exists("/data/trash/1/work/0/x") || fake_exists("/data/trash/0/work/0/x"),
	   "and left to the running system");
	ok(fake_exists("/data/slots/A/var/upper/x"), "the upper stays");
	finish("full work");

	prepare();
	fake_file("/data/slots/A/.image", ID "\n");
	fake_dir("/data/slots/A/var/work/work");
	ok_int(make(DATA VAR, SLOT_A, ID), 0, "a work directory as the kernel leaves it");
	ok(fake_exists("/data/slots/A/var/work/work"), "stays");
	finish("empty work");
}

/* ---- seeds -------------------------------------------------------------- */

static void seed_tree(void)
{
	fake_file("/root/home/kiosk/.profile", "hello\n");
	(void)!chmod(fake_path("/root/home/kiosk/.profile"), 04750);
	(void)!chmod(fake_path("/root/home/kiosk"), 02770);
	fake_symlink("/etc/shadow", "/root/home/kiosk/link");
	fake_dir("/root/home/empty");
	(void)!mkfifo(fake_path("/root/home/fifo"), 0600);
}

static void test_seed(void)
{
	_cleanup_free_ char *text = NULL;
	char target[64];

	prepare();
	seed_tree();
	ok_int(make(DATA HOME ",x-bf.seed\n", SLOT_A, ID), 0, "a seed");
	text = fake_read("/data/home/kiosk/.profile", NULL);
	ok_str(text, "hello\n", "seed: a file");
	ok_int(mode_of("/data/home/kiosk/.profile"), 0750, "seed: no setuid bit");
	ok_int(mode_of("/data/home/kiosk"), 02770, "seed: mode of a directory");
	ok_int(mode_of("/data/home"), 0711, "seed: mode of its top");
	ok(fake_exists("/data/home/empty"), "seed: an empty directory");
	ok(!fake_exists("/data/home/fifo"), "seed: no special files");
	memset(target, 0, sizeof(target));
	ok(sys_readlinkat(data.fd, "home/kiosk/link", target, sizeof(target)) == 0 &&
		   streq(target, "/etc/shadow"),
	   "seed: a link is copied as a link");
	ok(strstr(fake_log(), "sync\n"), "seed: on the disk before it has its name");
	fake_remove("/data/home/kiosk");
	ok_int(make(DATA HOME ",x-bf.seed\n", SLOT_A, ID), 0, "a seed, second boot");
	ok(!fake_exists("/data/home/kiosk"), "what was deleted stays deleted");
	finish("seed");

	prepare();
	seed_tree();
	ok_int(make(DATA HOME "\n", SLOT_A, ID), 0, "no x-bf.seed");
	ok(fake_exists("/data/home") && !fake_exists("/data/home/kiosk"), "no seed");
	finish("no seed");

	prepare();
	seed_tree();
	fake_short_io(2);
	ok_int(make(DATA HOME ",x-bf.seed\n", SLOT_A, ID), 0, "a seed in small pieces");
	free(text);
	text = fake_read("/data/home/kiosk/.profile", NULL);
	ok_str(text, "hello\n", "is whole");
	finish("short writes");
}

static void test_seed_limits(void)
{
	char path[256] = "/root/home";
	static char big[1024 * 1024];

	prepare();
	for (int i = 0; i < MOUNTS_SEED_DEPTH; i++)
		strcat(path, "/d");
	fake_dir(path);
	ok_int(make(DATA HOME ",x-bf.seed\n", SLOT_A, ID), 0, "a seed as deep as allowed");
	finish("deep");
	prepare();
	strcat(path, "/d");
	fake_dir(path);
	ok_int(make(DATA HOME ",x-bf.seed\n", SLOT_A, ID), -EFBIG, "a seed that is too deep");
	ok(failure.reason == REASON_MOUNT && strstr(failure.text, "x-bf.seed of /home: more than"),
	   "is named");
	ok(!fake_exists("/data/home"), "and leaves no half of it");
	finish("too deep");

	prepare();
	memset(big, 'x', sizeof(big));
	for (int i = 0; i <= MOUNTS_SEED_MIB; i++) {
		(void)snprintf(path, sizeof(path), "/root/home/%d", i);
		fake_file_data(path, big, sizeof(big));
	}
	ok_int(make(DATA HOME ",x-bf.seed\n", SLOT_A, ID), -EFBIG, "a seed of too many bytes");
	fake_remove(path);
	fake_remove("/data/trash");
	ok_int(make(DATA HOME ",x-bf.seed\n", SLOT_A, ID), 0, "a seed of as many as allowed");
	finish("bytes");

	prepare();
	for (int i = 0; i <= MOUNTS_SEED_FILES; i++) {
		(void)snprintf(path, sizeof(path), "/root/home/%d/%d", i % 2, i);
		fake_file(path, "");
	}
	ok_int(make(DATA HOME ",x-bf.seed\n", SLOT_A, ID), -EFBIG, "a seed of too many files");
	finish("files");
}

static void test_seed_full(void)
{
	prepare();
	seed_tree();
	fake_result("write /data/trash/0/kiosk/.profile", -ENOSPC);
	ok_int(make(DATA HOME ",x-bf.seed\n", SLOT_A, ID), 0, "no room for a seed");
	ok_int(data.lost_lines, 1, "its line is on a tmpfs");
	ok(!fake_exists("/data/home"), "half a seed has no name");
	ok(fake_exists("/volatile/~2/kiosk/.profile"), "the tmpfs is seeded");
	finish("no room for a seed");
}

static void test_full_trash(void)
{
	char path[64];

	prepare();
	for (int i = 0; i < 1000; i++) {
		(void)snprintf(path, sizeof(path), "/data/trash/%d", i);
		fake_dir(path);
	}
	ok_int(make(DATA VAR, SLOT_A, ID), 0, "a trash nobody empties");
	ok_int(data.lost_lines, 1, "costs the line, not the boot");
	finish("full trash");
}

/* ---- every call fails once ---------------------------------------------- */

#define ALL DATA ETC VAR SRV "tmpfs /tmp tmpfs nosuid,nodev,x-initrd.mount\n" HOME ",x-bf.seed\n"

/* Either it works (without BF_DATA perhaps), or it says why not; never half a directory with a
 * name. */
static void test_sweep(int error)
{
	unsigned k, bad = 0;

	for (k = 1; k < 5000; k++) {
		int r;

		prepare();
		seed_tree();
		fake_fail_at(k, error);
		r = make(ALL, SLOT_A, ID);
		if (fake_calls() < k) {
			(void)sys_close(data.fd);
			break;
		}
		fake_fail_at(0, 0);
		if (r < 0 ? failure.reason == REASON_NONE || r == -EPROTO
			  : failure.reason != REASON_NONE)
			bad++;
		if (fake_exists("/data/home") && !fake_exists("/data/home/kiosk/.profile"))
			bad++;
		if (fake_exists("/data/slots/A") && !fake_exists("/data/slots/A/.image"))
			bad++;
		(void)sys_close(data.fd);
		if (fake_open_fds())
			bad++;
		if (bad) {
			printf("# call %u: %d %s %s\n", k, r, failure.text, data.why);
			break;
		}
	}
	ok(bad == 0 && k > 100, "%s at each of %u calls", strerrorname_np(error), k - 1);
}

/* Whatever call was the last before the power went, the next boot makes all of it. */
static void test_cut(void)
{
	unsigned k, bad = 0;

	for (k = 1; k < 5000; k++) {
		prepare();
		seed_tree();
		fake_cut_at(k);
		(void)make(ALL, SLOT_A, ID);
		if (fake_calls() < k) {
			(void)sys_close(data.fd);
			break;
		}
		fake_cut_at(0);
		data.lost_lines = 0;
		failure.reason = REASON_NONE;
		if (make(ALL, SLOT_A, ID) < 0 || data.lost_lines)
			bad++;
		if (!fake_exists("/data/home/kiosk/.profile") || mode_of("/data/home") != 0711 ||
		    mode_of("/data/slots/A/var/upper") != 02755)
			bad++;
		(void)sys_close(data.fd);
		if (bad) {
			printf("# cut before call %u: %s %s\n", k, failure.text, data.why);
			break;
		}
	}
	ok(bad == 0 && k > 100, "power cut before each of %u calls", k - 1);
}

int main(void)
{
	test_rows();
	test_directories();
	test_forgotten_uppers();
	test_images();
	test_image_names();
	test_stale_work();
	test_full_work();
	test_seed();
	test_seed_limits();
	test_seed_full();
	test_full_trash();
	test_sweep(EIO);
	test_sweep(ENOSPC);
	test_sweep(ENOMEM);
	test_sweep(ELOOP);
	test_cut();
	return tap_done();
}
