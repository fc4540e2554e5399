// SPDX-License-Identifier: MIT
/*
 * BF_DATA has no veto: makes trees for it at random, and has the real mounts.c carry out a mount
 * plan over each, with the real kernel: links and loops of links, files, devices, whiteouts, pipes
 * and sockets in the place of directories, an overlay's own marks, wrong owners and modes, full
 * directories, names of every byte.
 *
 *   data-trees [--count N] [--seed N] [--jobs N] [--only N]     TAP; --only: tree N of the seed
 * alone
 *
 * What must hold of each: the boot goes on; what is mounted is the directory of BF_DATA that the
 * plan names, reached through directories only, or a file system in memory, and then it is counted
 * as lost; nothing is lost for a trap alone; nothing is deleted, nothing outside is changed. It is
 * looked up here with calls of our own, component by component. Everything happens in a mount
 * namespace of our own; without root in a user namespace, and then there are fewer kinds of traps.
 */
#include "boot/sys.h"
#include "initramfs/init/mounts.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ID     "0123abcd"
#define BINDS  "bind,nosuid,nodev,noexec,x-initrd.mount"
#define LAYERS "nosuid,nodev,noexec,x-initrd.mount,x-bf.upper"

static const char fstab[] =
	"PARTLABEL=BF_DATA /d ext4 nosuid,nodev,noexec,x-initrd.mount\n"
	"overlay /etc overlay " LAYERS "=volatile\n"
	"overlay /srv overlay " LAYERS "=slot\n"
	"overlay /mnt overlay " LAYERS "=persistent\n"
	"overlay /srv/v overlay " LAYERS "=volatile\n"
	"/d/home /home none " BINDS ",x-bf.seed\n"
	"/d/log /srv/log none " BINDS ",x-bf.seed\n"
	"/d/s/t/u /srv/v/a/state none " BINDS ",x-bf.mode=0700,x-bf.uid=0,x-bf.gid=0\n"
	"/d/m /mnt/m/n none " BINDS "\n"
	"tmpfs /srv/tmp tmpfs nosuid,nodev,noexec,x-initrd.mount\n"
	"tmpfs /home/k/cache tmpfs nosuid,nodev,noexec,x-initrd.mount\n"
	"/d/deep /d/x/y none " BINDS "\n";

/* What holds a file that is written below the mount point: on BF_DATA, %s is the slot. */
static const struct {
	const char *target, *place;
} mounted[] = {
	{ "/srv", "slots/%s/srv/upper" },
	{ "/mnt", "overlay/mnt/upper" },
	{ "/home", "home" },
	{ "/srv/log", "log" },
	{ "/srv/v/a/state", "s/t/u" },
	{ "/mnt/m/n", "m" },
	{ "/d/x/y", "deep" },
};
static const char *const in_memory[] = { "/etc", "/srv/v", "/srv/tmp", "/home/k/cache" };

/* What the image has. /home/k/cache and /d/x/y it has not. */
static const char *const image_dirs[] = { "d",	     "etc",	      "srv",	 "srv/v",
					  "srv/v/a", "srv/v/a/state", "srv/log", "srv/tmp",
					  "mnt",     "mnt/m",	      "mnt/m/n", "home",
					  "home/k" };

/* Where something may stand: what the plan and mounts.c want, above it and below it. */
static const char *const places[] = {
	"trash",
	"overlay",
	"overlay/mnt",
	"overlay/mnt/upper",
	"overlay/mnt/work",
	"slots",
	"slots/%s",
	"slots/%s/.image",
	"slots/%s/srv",
	"slots/%s/srv/upper",
	"slots/%s/srv/work",
	"slots/%s/srv/upper/log",
	"slots/%s/srv/upper/v",
	"slots/%s/srv/upper/v/a",
	"slots/%s/srv/upper/v/a/state",
	"slots/%s/srv/upper/tmp",
	"overlay/mnt/upper/m",
	"overlay/mnt/upper/m/n",
	"home",
	"home/k",
	"home/k/cache",
	"log",
	"s",
	"s/t",
	"s/t/u",
	"m",
	"deep",
	"x",
	"x/y",
	"slots/%s/srv/work/work",
	"trash/0",
	"overlay/mnt/work/work",
};

static const char *const link_targets[] = {
	"/outside",
	"../outside",
	"../../outside",
	"/",
	".",
	"..",
	"victim",
	"/data/victim",
	"/root/etc",
	"/proc/self/root/outside",
	"loop-a",
	"home",
	"../victim",
	"slots",
	"/proc/self/fd/3",
	"a/../../victim",
	"no\nthing",
	"\x01\xff",
};

/* Of all processes. */
struct counts {
	_Atomic unsigned long traps, lost, mended, bad;
};

static struct {
	uint64_t random;
	const char *slot;
	bool readonly;
	bool stubborn; /* something is in the tree that may cost a line */
	bool deletes;  /* and something that the kernel itself clears away */
	struct counts *counts;
} s;

static int failed(unsigned long tree, const char *fmt, ...) _printf_(2, 3);
static int failed(unsigned long tree, const char *fmt, ...)
{
	va_list ap;

	printf("# tree %lu: ", tree);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	return -1;
}

_Noreturn static void die(const char *what)
{
	printf("Bail out! data-trees: %s: %s\n", what, strerror(errno));
	exit(99);
}

static uint32_t draw(uint32_t below)
{
	s.random ^= s.random << 13;
	s.random ^= s.random >> 7;
	s.random ^= s.random << 17;
	return (uint32_t)(s.random >> 32) % below;
}

/* ---- trees ---------------------------------------------------------------- */

/* A name of any bytes; mostly short, now and then as long as can be. */
static size_t draw_name(char name[static 256])
{
	size_t len = draw(16) == 0 ? 255 : 1 + draw(12);

	for (size_t i = 0; i < len; i++) {
		name[i] = (char)(1 + draw(255));
		if (name[i] == '/')
			name[i] = '\\';
	}
	name[len] = '\0';
	return len;
}

static void fill(const char *path, unsigned count)
{
	int dir = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	char name[256];

	for (unsigned i = 0; dir >= 0 && i < count; i++) {
		(void)draw_name(name);
		switch (draw(4)) {
		case 0:
			(void)!mkdirat(dir, name, draw(010000));
			break;
		case 1:
			(void)!symlinkat(link_targets[draw(ARRAY_SIZE(link_targets))], dir, name);
			break;
		default:
			(void)!mknodat(dir, name, S_IFREG | draw(010000), 0);
		}
	}
	close_p(&dir);
}

/* Directories in each other, as deep as there is path for. */
static void nest(const char *path)
{
	char deep[PATH_MAX];
	size_t len = (size_t)snprintf(deep, sizeof(deep), "%s", path);

	for (unsigned left = draw(2000); left && len + 2 < sizeof(deep); left--, len += 2) {
		memcpy(deep + len, "/d", 3);
		if (mkdir(deep, 0755) < 0)
			return;
	}
}

/* The kernel's marks in an upper: what it makes of them is its own, and some it refuses. */
static void mark(const char *path)
{
	static const struct {
		const char *name, *value;
		bool refused;
	} marks[] = {
		{ "trusted.overlay.opaque", "y", false },
		{ "trusted.overlay.opaque", "x", false },
		{ "trusted.overlay.impure", "y", false },
		{ "trusted.overlay.redirect", "/outside", true },
		{ "trusted.overlay.redirect", "log", true },
		{ "trusted.overlay.redirect", "../../victim", true },
		{ "trusted.overlay.origin", "garbage", true },
		{ "trusted.overlay.metacopy", "", true },
		{ "trusted.overlay.whiteout", "", true },
		{ "user.overlay.opaque", "y", false },
	};
	uint32_t i = draw(ARRAY_SIZE(marks));

	if (lsetxattr(path, marks[i].name, marks[i].value, strlen(marks[i].value), 0) == 0)
		s.stubborn |= marks[i].refused;
}

/* Nobody writes in such a directory, nor renames it: one of the few things that stay in the way. */
static bool set_immutable(int dir, bool on)
{
	int flags = on ? FS_IMMUTABLE_FL : 0;

	return ioctl(dir, FS_IOC_SETFLAGS, &flags) == 0;
}

static void make_immutable(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	s.stubborn |= fd >= 0 && set_immutable(fd, true);
	close_p(&fd);
}

static void put_dir(const char *path)
{
	struct stat st;

	(void)!mkdir(path, 0755);
	if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return;
	switch (draw(10)) {
	case 0:
	case 1:
	case 2:
		mark(path);
		break;
	case 3:
		fill(path, draw(1000) == 0 ? 10000 : draw(8));
		break;
	case 4:
		nest(draw(20) == 0 ? path : "/data/nest");
		break;
	case 5:
		if (draw(20) == 0)
			make_immutable(path);
		break;
	default:
		break;
	}
	(void)!lchown(path, draw(3) * 500, draw(3) * 500);
	(void)!chmod(path, draw(010000));
}

/* What is at @path goes away first: as somebody did who had the time. */
static void put_trap(const char *path)
{
	static const mode_t kinds[] = { S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFCHR, S_IFBLK };
	static unsigned gone;
	uint32_t kind = draw(12);
	char aside[32];

	(void)snprintf(aside, sizeof(aside), "/data/gone-%u", gone++);
	(void)!rename(path, aside);
	s.counts->traps++;
	if (kind >= ARRAY_SIZE(kinds))
		(void)!symlink(link_targets[draw(ARRAY_SIZE(link_targets))], path);
	else
		(void)!mknod(path, kinds[kind] | draw(010000),
			     kind == 3 ? 0 : makedev(1 + draw(9), 3));
}

/* Parents as somebody could have made them; where one is no directory, nothing is put. */
static void put(const char *path)
{
	char part[PATH_MAX];
	struct stat st;

	(void)snprintf(part, sizeof(part), "%s", path);
	for (char *p = part + strlen("/data/"); (p = strchr(p, '/')); *p++ = '/') {
		*p = '\0';
		(void)!mkdir(part, draw(4) ? 0755 : draw(010000));
		if (lstat(part, &st) < 0 || !S_ISDIR(st.st_mode))
			return;
	}
	if (draw(3) == 0)
		put_dir(path);
	else
		put_trap(path);
}

static void place_path(char path[static PATH_MAX], const char *top, const char *place)
{
	const char *hole = strstr(place, "%s");

	(void)snprintf(path, PATH_MAX, "%s/%.*s%s%s", top,
		       (int)(hole ? (size_t)(hole - place) : strlen(place)), place,
		       hole ? s.slot : "", hole ? hole + 2 : "");
}

static void put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);

	if (fd >= 0)
		(void)!write(fd, text, strlen(text));
	close_p(&fd);
}

static void make_tree(void)
{
	char path[PATH_MAX];

	(void)!mkdir("/data/victim", 0755);
	put_text("/data/victim/file", "victim");
	(void)!symlink("loop-b", "/data/loop-a");
	(void)!symlink("loop-a", "/data/loop-b");
	/* An upper of this image, so that what is in it counts. */
	if (draw(4)) {
		(void)!mkdir("/data/slots", 0700);
		place_path(path, "/data", "slots/%s");
		(void)!mkdir(path, 0700);
		place_path(path, "/data", "slots/%s/.image");
		put_text(path, ID "\n");
	}
	for (uint32_t left = 1 + draw(6); left; left--) {
		place_path(path, "/data", places[draw(ARRAY_SIZE(places))]);
		s.deletes |= strstr(path, "/work") != NULL;
		put(path);
	}
}

/* ---- what must hold ------------------------------------------------------- */

/* The directory @path below @top, reached through directories only; -1 if there is none. */
static int walk(int top, const char *path)
{
	char part[PATH_MAX], *rest = part;
	int dir = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)snprintf(part, sizeof(part), "%s", path);
	for (char *name; dir >= 0 && (name = strsep(&rest, "/"));) {
		int next = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		(void)close(dir);
		dir = next;
	}
	return dir;
}

static bool holds(int top, const char *path, const char *name, const char *text)
{
	int dir = walk(top, path), fd = -1;
	char got[64] = "";

	if (dir >= 0)
		fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0 && read(fd, got, sizeof(got) - 1) < 0)
		got[0] = '\0';
	close_p(&fd);
	close_p(&dir);
	return streq(got, text);
}

static unsigned entries(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char **names = NULL;
	size_t count = 0;

	if (fd >= 0 && sys_list(fd, 100000, &names, &count) == 0)
		sys_names_free(names, count);
	close_p(&fd);
	return (unsigned)count;
}

static unsigned long inodes_used(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) < 0 ? 0 : (unsigned long)(fs.f_files - fs.f_ffree);
}

static uint64_t mount_of(int dir, const char *path)
{
	struct statx st;

	return statx(dir, path, 0, STATX_MNT_ID, &st) < 0 ? 0 : st.stx_mnt_id;
}

/* The top of what is mounted on @target; -1 when nothing is. */
static int open_mounted(const char *target)
{
	int root = open("/root", O_RDONLY | O_DIRECTORY | O_CLOEXEC), dir = walk(root, target + 1);

	if (dir >= 0 && mount_of(dir, ".") == mount_of(dir, ".."))
		close_p(&dir);
	close_p(&root);
	return dir;
}

/* Leaves a file below a mount point. 1: done, 0: nothing is mounted there. */
static int leave_mark(unsigned long tree, const char *target, const char *mark)
{
	int dir = open_mounted(target), fd = -1, r = 1;
	struct statvfs fs;

	if (dir < 0)
		return 0;
	if (s.stubborn)
		(void)set_immutable(dir, false);
	fd = openat(dir, "mark", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, mark, strlen(mark)) < 0)
		r = failed(tree, "%s cannot be written: %s", target, strerror(errno));
	else if (fstatvfs(fd, &fs) < 0 || (fs.f_flag & (ST_NOSUID | ST_NODEV | ST_NOEXEC)) !=
						  (ST_NOSUID | ST_NODEV | ST_NOEXEC))
		r = failed(tree, "%s is not nosuid, nodev, noexec", target);
	close_p(&fd);
	close_p(&dir);
	return r;
}

/* What is not where the plan wants it: *ret_lost of all lines; *ret_kept: marks in their place. */
static int check_lines(unsigned long tree, int data, unsigned *ret_lost, unsigned *ret_kept)
{
	char mark[32], place[PATH_MAX];

	*ret_lost = *ret_kept = 0;
	(void)snprintf(mark, sizeof(mark), "mark-%lu", tree);
	for (size_t i = 0; i < ARRAY_SIZE(mounted); i++) {
		int r = leave_mark(tree, mounted[i].target, mark);

		if (r < 0)
			return r;
		place_path(place, "", mounted[i].place);
		if (holds(data, place + 1, "mark", mark))
			++*ret_kept;
		else
			++*ret_lost;
	}
	for (size_t i = 0; i < ARRAY_SIZE(in_memory); i++) {
		int r = leave_mark(tree, in_memory[i], mark);

		if (r < 0)
			return r;
		*ret_lost += r == 0;
	}
	return 0;
}

static int check_tree(unsigned long tree, const struct data *d, unsigned long inodes_before)
{
	unsigned long inodes = inodes_used("/root/d");
	unsigned lost, kept;

	if (inodes < inodes_before && !s.deletes)
		return failed(tree, "something was deleted from BF_DATA");
	if (check_lines(tree, d->fd, &lost, &kept) < 0)
		return -1;
	if (lost != d->lost_lines)
		return failed(tree, "%u lines are not on BF_DATA, %u are counted: %s", lost,
			      d->lost_lines, d->why);
	if (lost && !s.stubborn)
		return failed(tree, "%u lines are lost for a trap alone: %s", lost, d->why);
	if (inodes_used("/root/d") != inodes + kept)
		return failed(tree, "%u marks, but %lu new files on BF_DATA", kept,
			      inodes_used("/root/d") - inodes);
	if (entries("/outside") != 1 || !holds(AT_FDCWD, "outside", "file", "outside"))
		return failed(tree, "what is outside was changed");
	if (entries("/root/d/victim") != 1 || !holds(d->fd, "victim", "file", "victim"))
		return failed(tree, "a directory that the plan does not name was changed");
	s.counts->lost += lost;
	s.counts->mended += d->found.count;
	return 0;
}

/* ---- one tree ------------------------------------------------------------- */

static void prepare(unsigned long tree, uint64_t seed)
{
	/* Neighbours must not look alike: splitmix64. */
	s.random = seed * 0x9e3779b97f4a7c15 + tree;
	s.random = (s.random ^ s.random >> 30) * 0xbf58476d1ce4e5b9;
	s.random = (s.random ^ s.random >> 27) * 0x94d049bb133111eb;
	s.random |= 1;
	s.slot = tree % 2 ? "B" : "A";
	s.readonly = draw(64) == 0;
	s.stubborn = s.readonly;
	s.deletes = false;
	if (mount("/image", "/root", NULL, MS_BIND, NULL) < 0 ||
	    mount("tmpfs", "/data", "tmpfs", DATA_MOUNT_FLAGS, "mode=0755,nr_inodes=100k") < 0)
		die("mount");
	make_tree();
}

static int run_tree(const struct mount_plan *plan, unsigned long tree, uint64_t seed)
{
	struct data data = { .fd = -1 };
	struct failure f = { 0 };
	unsigned long inodes;
	struct stat st;
	int r;

	prepare(tree, seed);
	s.stubborn |= lstat("/data/trash", &st) == 0 && !S_ISDIR(st.st_mode);
	if (s.readonly &&
	    mount(NULL, "/data", NULL, MS_REMOUNT | MS_RDONLY | DATA_MOUNT_FLAGS, NULL) < 0)
		die("remount");
	data.readonly = s.readonly;
	data.fd = open("/data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	inodes = inodes_used("/data");
	r = mounts_make(plan, tree % 2 ? SLOT_B : SLOT_A, &data, "/data", "/root", ID, &f);
	if (r < 0)
		r = failed(tree, "the boot ends: %s: %s", reason_text(f.reason)->code, f.text);
	else
		r = check_tree(tree, &data, inodes);
	close_p(&data.fd);
	free(data.found.lines);
	(void)umount2("/root", MNT_DETACH);
	(void)umount2("/data", MNT_DETACH);
	(void)umount2(MOUNTS_VOLATILE, MNT_DETACH);
	return r;
}

/* ---- a world of our own --------------------------------------------------- */

static bool write_proc(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close_p(&fd);
	return done;
}

/* False where no namespaces may be made. */
static bool leave_the_world(void)
{
	unsigned uid = geteuid(), gid = getegid();
	char map[64];

	if (unshare(CLONE_NEWNS | (uid ? CLONE_NEWUSER : 0)) < 0)
		return false;
	if (!uid)
		return true;
	(void)write_proc("/proc/self/setgroups", "deny");
	(void)snprintf(map, sizeof(map), "0 %u 1", uid);
	if (!write_proc("/proc/self/uid_map", map))
		return false;
	(void)snprintf(map, sizeof(map), "0 %u 1", gid);
	return write_proc("/proc/self/gid_map", map);
}

static void make_world(void)
{
	static const char *const dirs[] = {
		"image", "root", "data", "proc", "outside", "volatile"
	};
	char path[PATH_MAX];

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/tmp", "tmpfs", 0, "mode=0755") < 0 || chdir("/tmp") < 0)
		die("a file system of our own");
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		if (mkdir(dirs[i], 0755) < 0)
			die(dirs[i]);
	for (size_t i = 0; i < ARRAY_SIZE(image_dirs); i++) {
		(void)snprintf(path, sizeof(path), "image/%s", image_dirs[i]);
		if (mkdir(path, 0755) < 0)
			die(path);
	}
	if (mount("/proc", "proc", NULL, MS_BIND | MS_REC, NULL) < 0 || chroot(".") < 0)
		die("chroot");
	put_text("/outside/file", "outside");
	put_text("/image/home/.profile", "seed");
	umask(0);
}

struct options {
	uint64_t count, seed, first, jobs;
};

static int usage(void)
{
	(void)fprintf(stderr, "usage: data-trees [--count N] [--seed N] [--only N] [--jobs N]\n");
	return 2;
}

static int take_options(int argc, char **argv, struct options *o)
{
	const struct {
		const char *name;
		uint64_t *to;
	} rows[] = { { "--count", &o->count },
		     { "--seed", &o->seed },
		     { "--only", &o->first },
		     { "--jobs", &o->jobs } };

	for (int i = 1; i < argc; i += 2) {
		size_t k = 0;

		while (k < ARRAY_SIZE(rows) && !streq(argv[i], rows[k].name))
			k++;
		if (k == ARRAY_SIZE(rows) || i + 1 == argc ||
		    parse_u64(argv[i + 1], 10, rows[k].to) < 0 || o->jobs == 0)
			return usage();
		if (rows[k].to == &o->first)
			o->count = o->jobs = 1;
	}
	return 0;
}

/* Every jobs-th tree, from the @job-th on. */
static int run_job(const struct options *o, uint64_t job)
{
	_cleanup_(plan_done) struct mount_plan plan = { 0 };
	struct failure f;

	if (!leave_the_world())
		return 1;
	make_world();
	if (plan_make(fstab, &plan, &f) < 0) {
		errno = EINVAL;
		die(f.text);
	}
	for (uint64_t i = job; i < o->count && s.counts->bad < 10; i += o->jobs)
		if (run_tree(&plan, o->first + i, o->seed) < 0)
			s.counts->bad++;
	return 0;
}

/* The greatest exit code of all jobs: most of a job is waiting, for the kernel to unmount. */
static int run_jobs(const struct options *o)
{
	int worst = 0;

	for (uint64_t job = 0; job < o->jobs; job++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			int r = run_job(o, job);

			(void)fflush(stdout);
			_exit(r);
		}
	}
	for (int status; wait(&status) > 0;) {
		int code = WIFEXITED(status) ? WEXITSTATUS(status) : 99;

		worst = code > worst ? code : worst;
	}
	return worst;
}

int main(int argc, char **argv)
{
	struct options o = { .count = 1000, .seed = 1, .jobs = 8 };
	int r = take_options(argc, argv, &o);

	if (r)
		return r;
	s.counts = mmap(NULL, sizeof(*s.counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	if (s.counts == MAP_FAILED)
		die("mmap");
	r = run_jobs(&o);
	/* For root one can be made, or the test does not run where it matters. */
	if (r == 1 && geteuid() != 0) {
		printf("1..0 # SKIP no mount namespace may be made here\n");
		return 0;
	}
	printf("# %lu traps, %lu things mended, %lu lines without BF_DATA\n", s.counts->traps,
	       s.counts->mended, s.counts->lost);
	printf("%sok 1 - %llu trees: the boot goes on, no mount is redirected\n1..1\n",
	       r || s.counts->bad ? "not " : "", (unsigned long long)o.count);
	return r || s.counts->bad;
}
