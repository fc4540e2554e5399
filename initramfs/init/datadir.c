// SPDX-License-Identifier: MIT
#include "initramfs/init/datadir.h"

#include "boot/io.h"
#include "boot/sys.h"
#include "initramfs/init/mounts.h"

#include <fcntl.h>
#include <limits.h>

#define TRASH_MAX 1000 /* entries; the running system empties it in every boot */
#define IMAGE	  ".image"
#define IMAGE_MAX 256
#define COPY_STEP ((size_t)64 * 1024)

struct seed_budget {
	size_t files;
	uint64_t bytes;
};

static const struct dir_attr ours = { 0700, 0, 0, DIR_ALL };

int datadir_open(int top, const char *path)
{
	return sys_open_beneath(top, path, O_PATH | O_DIRECTORY, 0);
}

/* Findings */

static void found(const struct datadir *d, const char *fmt, ...) _printf_(2, 3);
static void found(const struct datadir *d, const char *fmt, ...)
{
	_cleanup_free_ char *line = NULL;
	char *lines;
	va_list ap;
	int n;

	if (!d->found)
		return;
	va_start(ap, fmt);
	n = vasprintf(&line, fmt, ap);
	va_end(ap);
	if (n < 0)
		line = NULL;
	d->found->count++;
	lines = line ? strf("%s%s\n", d->found->lines ? d->found->lines : "", line) : NULL;
	if (!lines)
		return;
	free(d->found->lines);
	d->found->lines = lines;
}

static const char *kind_of(const struct stat *st)
{
	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
		return "a file";
	case S_IFLNK:
		return "a symbolic link";
	case S_IFCHR:
		return st->st_rdev == 0 ? "an overlay's whiteout" : "a device";
	case S_IFBLK:
		return "a device";
	case S_IFIFO:
		return "a pipe";
	case S_IFSOCK:
		return "a socket";
	default:
		return "no directory";
	}
}

/* Owner and mode */

int datadir_set_attr(int fd, const struct dir_attr *attr)
{
	/* In this order: chown(2) takes the special bits away. */
	int r = sys_fchown(fd, attr->uid, attr->gid);

	return r < 0 ? r : sys_fchmod(fd, attr->mode);
}

/* What the directory @st should have of @want, see datadir_make(). */
static struct dir_attr attr_wanted(const struct stat *st, const struct dir_attr *want)
{
	struct dir_attr a = { st->st_mode & 07777, st->st_uid, st->st_gid, 0 };

	if (want->fixed & DIR_MODE)
		a.mode = want->mode;
	else
		a.mode &= ~(0022 & ~want->mode);
	/* Where everybody may write, this bit keeps them off each other's files. */
	if (a.mode & 0002)
		a.mode |= want->mode & 01000;
	if (want->fixed & DIR_UID)
		a.uid = want->uid;
	if (want->fixed & DIR_GID)
		a.gid = want->gid;
	return a;
}

static int put_right(const struct datadir *d, const char *path, const struct dir_attr *want)
{
	_cleanup_close_ int fd = sys_open_beneath(d->fd, path, O_RDONLY | O_DIRECTORY, 0);
	struct dir_attr a;
	struct stat st;
	int r = fd < 0 ? fd : sys_fstat(fd, &st);

	if (r < 0)
		return r;
	a = attr_wanted(&st, want);
	if (a.mode == (st.st_mode & 07777) && a.uid == st.st_uid && a.gid == st.st_gid)
		return 0;
	r = datadir_set_attr(fd, &a);
	if (r == 0)
		found(d, "%s had mode %04o and owner %u:%u, now %04o and %u:%u", path,
		      st.st_mode & 07777, st.st_uid, st.st_gid, a.mode, a.uid, a.gid);
	return r;
}

/* The trash */

static int make_trash(const struct datadir *d)
{
	_cleanup_close_ int fd = datadir_open(d->fd, DATADIR_TRASH);

	if (fd >= 0)
		return put_right(d, DATADIR_TRASH, &ours);
	return fd == -ENOENT ? sys_mkdirat(d->fd, DATADIR_TRASH, 0700) : fd;
}

/* Calls @make with a free name in the trash until it is not taken. */
static int in_trash(const struct datadir *d,
		    int (*make)(int top, const char *name, const char *from), const char *from,
		    char **ret)
{
	int r = make_trash(d);

	for (unsigned n = 0; r == 0 && n < TRASH_MAX; n++) {
		_cleanup_free_ char *name = strf(DATADIR_TRASH "/%u", n);

		if (!name)
			return -ENOMEM;
		r = make(d->fd, name, from);
		if (r == 0 && ret)
			*ret = TAKE_PTR(name);
		if (r != -EEXIST)
			return r;
		r = 0;
	}
	return r < 0 ? r : -EMLINK;
}

static int make_here(int top, const char *name, const char *from _unused_)
{
	return sys_mkdirat(top, name, 0700);
}

static int move_here(int top, const char *name, const char *from)
{
	return sys_renameat(top, from, name);
}

int datadir_put_aside(const struct datadir *d, const char *path)
{
	return in_trash(d, move_here, path, NULL);
}

/* Traps */

static bool is_trap(int r)
{
	return r == -ELOOP || r == -ENOTDIR;
}

static int put_trap_aside(const struct datadir *d, const char *path)
{
	_cleanup_free_ char *now = NULL;
	struct stat st;
	int r = sys_fstatat(d->fd, path, &st, AT_SYMLINK_NOFOLLOW);

	/* A failing disk has many faces; no directory is put aside for one. */
	if (r == 0 && S_ISDIR(st.st_mode))
		r = -EIO;
	if (r == 0)
		r = in_trash(d, move_here, path, &now);
	if (r == 0)
		found(d, "%s was %s where a directory must be: put aside as %s", path, kind_of(&st),
		      now);
	return r;
}

/* 1: @path is a directory, 0: it is not there (any more). Its parents are directories. */
static int clear_one(const struct datadir *d, const char *path)
{
	_cleanup_close_ int fd = datadir_open(d->fd, path);

	if (fd >= 0)
		return 1;
	if (fd == -ENOENT)
		return 0;
	return is_trap(fd) ? put_trap_aside(d, path) : fd;
}

static int mkdir_checked(const struct datadir *d, const char *path, mode_t mode)
{
	int r = clear_one(d, path);

	if (r != 0)
		return r < 0 ? r : 0;
	return sys_mkdirat(d->fd, path, mode);
}

/* Calls @visit for each directory above @path, from the top on, while it returns 1. */
static int visit_parents(const struct datadir *d, const char *path,
			 int (*visit)(const struct datadir *d, const char *part))
{
	_cleanup_free_ char *part = strdup(path);
	int r = 1;

	if (!part)
		return -ENOMEM;
	for (char *slash = part; r == 1 && (slash = strchr(slash, '/')); *slash++ = '/') {
		*slash = '\0';
		r = visit(d, part);
	}
	return r;
}

static int make_parent(const struct datadir *d, const char *part)
{
	int r = mkdir_checked(d, part, 0755);

	return r < 0 ? r : 1;
}

static int make_parents(const struct datadir *d, const char *path)
{
	int r = visit_parents(d, path, make_parent);

	return r < 0 ? r : 0;
}

int datadir_check(const struct datadir *d, const char *path, const struct dir_attr *attr)
{
	int r = visit_parents(d, path, clear_one);

	if (r == 1)
		r = clear_one(d, path);
	return r == 1 ? put_right(d, path, attr) : r;
}

int datadir_clear(const struct datadir *d, const char *path)
{
	int r = visit_parents(d, path, clear_one);

	if (r == 1)
		r = clear_one(d, path);
	return r < 0 ? r : 0;
}

/* Seeds */

static int copy_bytes(int from, int to, struct seed_budget *left)
{
	_cleanup_free_ char *buf = malloc(COPY_STEP);
	int r;

	if (!buf)
		return -ENOMEM;
	for (;;) {
		ssize_t n = sys_read(from, buf, COPY_STEP);

		if (n <= 0)
			return (int)n;
		if ((uint64_t)n > left->bytes)
			return -EFBIG;
		left->bytes -= (uint64_t)n;
		r = io_write(to, buf, (size_t)n);
		if (r < 0)
			return r;
	}
}

static int set_as(int fd, const struct stat *st, mode_t mask)
{
	const struct dir_attr a = { st->st_mode & mask, st->st_uid, st->st_gid, 0 };

	return datadir_set_attr(fd, &a);
}

static int copy_file(int from_dir, int to_dir, const char *name, const struct stat *st,
		     struct seed_budget *left)
{
	_cleanup_close_ int from = -1, to = -1;
	int r;

	from = sys_openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (from < 0)
		return from;
	to = sys_openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (to < 0)
		return to;
	r = copy_bytes(from, to, left);
	if (r < 0)
		return r;
	return set_as(to, st, 0777);
}

static int copy_link(int from_dir, int to_dir, const char *name)
{
	char target[PATH_MAX];
	int r = sys_readlinkat(from_dir, name, target, sizeof(target));

	return r < 0 ? r : sys_symlinkat(target, to_dir, name);
}

static int copy_tree(int from, int to, unsigned depth, struct seed_budget *left);

static int copy_dir(int from_dir, int to_dir, const char *name, const struct stat *st,
		    unsigned depth, struct seed_budget *left)
{
	_cleanup_close_ int from = -1, to = -1;
	int r;

	if (depth == MOUNTS_SEED_DEPTH)
		return -EFBIG;
	r = sys_mkdirat(to_dir, name, 0700);
	if (r < 0)
		return r;
	from = sys_openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (from < 0)
		return from;
	to = sys_openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (to < 0)
		return to;
	r = copy_tree(from, to, depth + 1, left);
	if (r < 0)
		return r;
	return set_as(to, st, 07777);
}

static int copy_entry(int from, int to, const char *name, unsigned depth, struct seed_budget *left)
{
	struct stat st;
	int r = sys_fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW);

	if (r < 0)
		return r;
	if (S_ISDIR(st.st_mode))
		return copy_dir(from, to, name, &st, depth, left);
	if (S_ISREG(st.st_mode))
		return copy_file(from, to, name, &st, left);
	if (S_ISLNK(st.st_mode))
		return copy_link(from, to, name);
	return 0;
}

static int copy_tree(int from, int to, unsigned depth, struct seed_budget *left)
{
	char **names;
	size_t count;
	int r = sys_list(from, left->files, &names, &count);

	if (r < 0)
		return r;
	left->files -= count;
	for (size_t i = 0; r == 0 && i < count; i++)
		r = copy_entry(from, to, names[i], depth, left);
	sys_names_free(names, count);
	return r;
}

static int copy_seed(int from, int to)
{
	struct seed_budget left = { MOUNTS_SEED_FILES, (uint64_t)MOUNTS_SEED_MIB << 20 };
	int r = copy_tree(from, to, 0, &left);

	/* The name must not reach the disk before the content: a file system may delay that. */
	if (r == 0)
		sys_sync();
	return r;
}

/* Makes */

static int make_new(const struct datadir *d, const char *path, const struct dir_attr *attr,
		    int seed)
{
	_cleanup_free_ char *name = NULL;
	_cleanup_close_ int fd = -1;
	int r = in_trash(d, make_here, NULL, &name);

	if (r < 0)
		return r;
	fd = sys_open_beneath(d->fd, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	if (seed >= 0)
		r = copy_seed(seed, fd);
	if (r == 0)
		r = datadir_set_attr(fd, attr);
	if (r == 0)
		r = sys_renameat(d->fd, name, path);
	return r;
}

int datadir_make(const struct datadir *d, const char *path, const struct dir_attr *attr, int seed)
{
	int r = make_parents(d, path);

	if (r == 0)
		r = clear_one(d, path);
	if (r < 0)
		return r;
	return r == 0 ? make_new(d, path, attr, seed) : put_right(d, path, attr);
}

/* Uppers of one image */

/* 1 yes, 0 no or nothing that says so; -errno only for what another boot may read better. */
static int is_of_image(int top, const char *path, const char *id)
{
	_cleanup_free_ char *name = strf("%s/" IMAGE, path);
	_cleanup_close_ int fd = -1;
	char text[IMAGE_MAX + 1];
	ssize_t n;

	if (!name)
		return -ENOMEM;
	fd = sys_open_beneath(top, name, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0)
		return fd == -ENOMEM || fd == -EIO ? fd : 0;
	n = io_read(fd, text, sizeof(text));
	if (n < 0)
		return n == -EISDIR ? 0 : (int)n;
	return (size_t)n == strlen(id) + 1 && !memcmp(text, id, (size_t)n - 1) &&
	       text[n - 1] == '\n';
}

static int write_image(int top, const char *dir, const char *id)
{
	_cleanup_free_ char *name = strf("%s/" IMAGE, dir), *text = strf("%s\n", id);
	_cleanup_close_ int fd = -1;
	int r;

	if (!name || !text)
		return -ENOMEM;
	fd = sys_open_beneath(top, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	r = io_write(fd, text, strlen(text));
	return r < 0 ? r : sys_fsync(fd);
}

int datadir_for_image(const struct datadir *d, const char *path, const char *id)
{
	_cleanup_free_ char *name = NULL;
	int r;

	if (strlen(id) >= IMAGE_MAX)
		return -EINVAL;
	r = make_parents(d, path);
	if (r == 0)
		r = clear_one(d, path);
	if (r < 0)
		return r;
	if (r > 0) {
		r = is_of_image(d->fd, path, id);
		if (r != 0)
			return r < 0 ? r : put_right(d, path, &ours);
		r = datadir_put_aside(d, path);
	}
	if (r == 0)
		r = in_trash(d, make_here, NULL, &name);
	if (r == 0)
		r = write_image(d->fd, name, id);
	if (r == 0)
		r = sys_renameat(d->fd, name, path);
	return r;
}
