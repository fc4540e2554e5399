// SPDX-License-Identifier: MIT
#include "initramfs/pack/tree.h"

#include "boot/io.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINKS_MAX 40  /* the kernel's own limit (path_resolution(7)) */
#define DEPTH_MAX 128 /* directories above one file, in the walk of our own */

void blob_free(struct blob *b)
{
	free(b->data);
	*b = (struct blob) { 0 };
}

struct blob blob_take(struct blob *b)
{
	struct blob taken = *b;

	*b = (struct blob) { 0 };
	return taken;
}

void tree_free(struct tree *t)
{
	close_p(&t->fd);
	free(t->path);
	*t = (struct tree) { .fd = -1 };
}

/* The directories from the root's top to the place of the walk. */
struct walk {
	int fds[DEPTH_MAX];
	size_t n;
	unsigned links;
};

static void walk_up(struct walk *w, size_t keep)
{
	while (w->n > keep)
		close_p(&w->fds[--w->n]);
}

static void walk_end(struct walk *w)
{
	walk_up(w, 0);
}

/* What is left to walk: the target of the link @fd, then @rest. */
static int walk_link(struct walk *w, int fd, const char *rest, char **ret)
{
	char target[PATH_MAX];
	ssize_t n;
	char *s;

	if (++w->links > LINKS_MAX)
		return -ELOOP;
	n = readlinkat(fd, "", target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = '\0';
	if (strlen(target) + strlen(rest) >= PATH_MAX)
		return -ENAMETOOLONG;
	s = strf("%s/%s", target, rest);
	if (!s)
		return -ENOMEM;
	if (target[0] == '/')
		walk_up(w, 1);
	*ret = s;
	return 0;
}

/* One component. >= 0: the fd of something that is no directory. */
static int walk_step(struct walk *w, const char *name, const char *rest, char **ret_rest)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	*ret_rest = NULL;
	if (streq(name, "") || streq(name, "."))
		return -EAGAIN;
	if (streq(name, "..")) {
		walk_up(w, w->n > 1 ? w->n - 1 : 1);
		return -EAGAIN;
	}
	fd = openat(w->fds[w->n - 1], name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode)) {
		int r = walk_link(w, fd, rest, ret_rest);

		return r < 0 ? r : -EAGAIN;
	}
	if (!S_ISDIR(st.st_mode))
		return *rest ? -ENOTDIR : TAKE_FD(fd);
	if (w->n == DEPTH_MAX)
		return -ENAMETOOLONG;
	w->fds[w->n++] = TAKE_FD(fd);
	return -EAGAIN;
}

static int open_by_walk(const struct tree *t, const char *path)
{
	_cleanup_(walk_end) struct walk w = { .n = 0 };
	_cleanup_free_ char *buf = strdup(path);
	char *at = buf;

	if (!buf)
		return -ENOMEM;
	w.fds[0] = fcntl(t->fd, F_DUPFD_CLOEXEC, 0);
	if (w.fds[0] < 0)
		return -errno;
	w.n = 1;
	while (*at) {
		char *name = at, *link, *slash = strchr(at, '/');
		int r;

		at = slash ? slash + 1 : at + strlen(at);
		if (slash)
			*slash = '\0';
		r = walk_step(&w, name, at, &link);
		if (r != -EAGAIN)
			return r;
		if (link) {
			free(buf);
			buf = at = link;
		}
	}
	return TAKE_FD(w.fds[--w.n]);
}

static int open_in_root(int dir_fd, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
	long fd;

	do /* -EAGAIN: something was renamed meanwhile, the kernel could not be sure */
		fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
	while (fd < 0 && errno == EAGAIN);
	return fd < 0 ? -errno : (int)fd;
}

int tree_init(struct tree *ret, const char *path)
{
	_cleanup_tree_ struct tree t = { .fd = -1 };
	_cleanup_close_ int probe = -1;

	t.path = strdup(path);
	if (!t.path)
		return -ENOMEM;
	t.fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (t.fd < 0)
		return -errno; /* cppcheck-suppress memleak ; the cleanup attribute frees it */
	probe = open_in_root(t.fd, ".");
	/* EPERM: containers whose filter does not know the call */
	t.no_openat2 = probe == -ENOSYS || probe == -EPERM;
	*ret = t;
	t = (struct tree) { .fd = -1 };
	return 0;
}

int tree_open(const struct tree *t, const char *path)
{
	if (!*path)
		return -ENOENT;
	if (strlen(path) >= PATH_MAX)
		return -ENAMETOOLONG;
	if (t->no_openat2)
		return open_by_walk(t, path);
	return open_in_root(t->fd, path);
}

/* From O_PATH to readable. Only now, when it is known to be no device. */
static int reopen(int path_fd, int flags)
{
	char link[sizeof("/proc/self/fd/") + 10];
	int fd;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", path_fd);
	fd = open(link, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int tree_open_dir(const struct tree *t, const char *path)
{
	_cleanup_close_ int fd = tree_open(t, path);

	return fd < 0 ? fd : reopen(fd, O_RDONLY | O_DIRECTORY);
}

/* All of @fd, which has @size bytes. */
static int read_all(int fd, size_t size, uint8_t *buf)
{
	/* One byte more than expected is asked for: a file that grew is noticed. */
	ssize_t n = io_read(fd, buf, size + 1);

	if (n < 0)
		return (int)n;
	if ((size_t)n != size)
		return -ESTALE;
	buf[size] = '\0';
	return 0;
}

static int read_path_fd(int path_fd, struct blob *ret)
{
	_cleanup_close_ int fd = -1;
	_cleanup_blob_ struct blob b = { 0 };
	struct stat st;
	int r;

	if (fstat(path_fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -ENODEV;
	if (st.st_size < 0 || (uintmax_t)st.st_size > BLOB_MAX)
		return -EFBIG;
	fd = reopen(path_fd, O_RDONLY);
	if (fd < 0)
		return fd;
	b.size = (size_t)st.st_size;
	b.mode = st.st_mode;
	b.data = malloc(b.size + 1);
	if (!b.data)
		return -ENOMEM;
	r = read_all(fd, b.size, b.data);
	if (r < 0)
		return r;
	*ret = blob_take(&b);
	return 0;
}

int tree_read(const struct tree *t, const char *path, struct blob *ret)
{
	_cleanup_close_ int fd = tree_open(t, path);

	return fd < 0 ? fd : read_path_fd(fd, ret);
}

int host_read(const char *path, struct blob *ret)
{
	_cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);

	return fd < 0 ? -errno : read_path_fd(fd, ret);
}
