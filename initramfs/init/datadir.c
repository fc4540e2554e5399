// SPDX-License-Identifier: MIT
#include "initramfs/init/datadir.h"

#include "boot/io.h"
#include "boot/sys.h"
#include "initramfs/init/mounts.h"

#include <fcntl.h>
#include <limits.h>

#define TRASH	  "trash"
#define TRASH_MAX 1000 /* entries; the running system empties it in every boot */
#define IMAGE	  ".image"
#define IMAGE_MAX 256
#define COPY_STEP ((size_t)64 * 1024)

struct seed_budget {
	size_t files;
	uint64_t bytes;
};

int datadir_open(int top, const char *path)
{
	return sys_open_beneath(top, path, O_PATH | O_DIRECTORY, 0);
}

static int mkdir_checked(int top, const char *path, mode_t mode)
{
	_cleanup_close_ int fd = datadir_open(top, path);

	if (fd != -ENOENT)
		return fd < 0 ? fd : 0;
	return sys_mkdirat(top, path, mode);
}

static int make_parents(int top, const char *path)
{
	_cleanup_free_ char *part = strdup(path);
	int r = 0;

	if (!part)
		return -ENOMEM;
	for (char *slash = part; r == 0 && (slash = strchr(slash, '/')); *slash++ = '/') {
		*slash = '\0';
		r = mkdir_checked(top, part, 0755);
	}
	return r;
}

/* Calls @make with a free name in the trash until it is not taken. */
static int in_trash(int top, int (*make)(int top, const char *name, const char *from),
		    const char *from, char **ret)
{
	int r = mkdir_checked(top, TRASH, 0700);

	for (unsigned n = 0; r == 0 && n < TRASH_MAX; n++) {
		_cleanup_free_ char *name = strf(TRASH "/%u", n);

		if (!name)
			return -ENOMEM;
		r = make(top, name, from);
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

int datadir_put_aside(int top, const char *path)
{
	return in_trash(top, move_here, path, NULL);
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

static int set_attr(int fd, uid_t uid, gid_t gid, mode_t mode)
{
	/* In this order: chown(2) takes the special bits away. */
	int r = sys_fchown(fd, uid, gid);

	return r < 0 ? r : sys_fchmod(fd, mode);
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
	return set_attr(to, st->st_uid, st->st_gid, st->st_mode & 0777);
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
	return set_attr(to, st->st_uid, st->st_gid, st->st_mode & 07777);
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

static int make_new(int top, const char *path, const struct dir_attr *attr, int seed)
{
	_cleanup_free_ char *name = NULL;
	_cleanup_close_ int fd = -1;
	int r = in_trash(top, make_here, NULL, &name);

	if (r < 0)
		return r;
	fd = sys_open_beneath(top, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	if (seed >= 0)
		r = copy_seed(seed, fd);
	if (r == 0)
		r = set_attr(fd, attr->uid, attr->gid, attr->mode);
	if (r == 0)
		r = sys_renameat(top, name, path);
	return r;
}

int datadir_make(int top, const char *path, const struct dir_attr *attr, int seed)
{
	_cleanup_close_ int fd = -1;
	int r = make_parents(top, path);

	if (r < 0)
		return r;
	fd = datadir_open(top, path);
	if (fd == -ENOENT)
		return make_new(top, path, attr, seed);
	return fd < 0 ? fd : 0;
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

int datadir_for_image(int top, const char *path, const char *id)
{
	_cleanup_free_ char *name = NULL;
	_cleanup_close_ int fd = -1;
	int r;

	if (strlen(id) >= IMAGE_MAX)
		return -EINVAL;
	r = make_parents(top, path);
	if (r < 0)
		return r;
	fd = datadir_open(top, path);
	if (fd < 0 && fd != -ENOENT)
		return fd;
	if (fd >= 0) {
		r = is_of_image(top, path, id);
		if (r != 0)
			return r < 0 ? r : 0;
		r = datadir_put_aside(top, path);
	}
	if (r == 0)
		r = in_trash(top, make_here, NULL, &name);
	if (r == 0)
		r = write_image(top, name, id);
	if (r == 0)
		r = sys_renameat(top, name, path);
	return r;
}
