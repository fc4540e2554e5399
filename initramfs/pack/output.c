// SPDX-License-Identifier: MIT
#include "initramfs/pack/output.h"

#include "boot/io.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <unistd.h>

/* What a signal has to remove. */
static char pending[PATH_MAX];
static volatile sig_atomic_t is_pending;

static void remove_pending(int sig)
{
	if (is_pending)
		(void)unlink(pending);
	/* SA_RESETHAND: the default action, ending us, comes now. */
	(void)raise(sig);
}

/* Creates the file @pending names (XXXXXX filled in), which a signal then removes. */
static int create_pending(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction sa = { .sa_handler = remove_pending, .sa_flags = SA_RESETHAND };
	sigset_t block, before;
	int fd;

	(void)sigemptyset(&block);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		(void)sigaddset(&block, signals[i]);
	(void)sigprocmask(SIG_BLOCK, &block, &before);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		struct sigaction old;

		/* nohup's SIG_IGN stays */
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			(void)sigaction(signals[i], &sa, NULL);
	}
	fd = mkostemp(pending, O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	else
		is_pending = 1;
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	return fd;
}

static int say(struct problem *p, int r, const char *path)
{
	if (r == -ENOSPC || r == -EDQUOT)
		return problem_errno(p, r, "%s: not written, make room there", path);
	return problem_errno(p, r, "%s: not written", path);
}

static int write_in_place(const char *path, const struct blob *data, struct problem *p)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : io_write(fd, data->data, data->size);

	return r < 0 ? say(p, r, path) : 0;
}

/* mkostemp() makes files of 0600; an image is as readable as any new file. */
static int set_mode(int fd)
{
	mode_t mask = umask(0);

	(void)umask(mask);
	return fchmod(fd, 0666 & ~mask) < 0 ? -errno : 0;
}

static int sync_directory(const char *dir)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* From an open, empty temporary file to the finished one. */
static int fill(int fd, const char *tmp, const char *path, const struct blob *data)
{
	int r = io_write(fd, data->data, data->size);

	if (r == 0)
		r = set_mode(fd);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	return r;
}

/* @path is absolute. */
static int write_by_rename(const char *path, const struct blob *data, struct problem *p)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *dir = strndup(path, slash == path ? 1 : (size_t)(slash - path));
	_cleanup_close_ int fd = -1;
	int n, r;

	if (!dir)
		return problem_errno(p, -ENOMEM, "%s", path);
	n = snprintf(pending, sizeof(pending), "%s/.%s.XXXXXX", dir, slash + 1);
	if (n < 0 || (size_t)n >= sizeof(pending))
		return say(p, -ENAMETOOLONG, path);
	fd = create_pending();
	if (fd < 0)
		return say(p, fd, path);
	r = fill(fd, pending, path, data);
	if (r < 0)
		(void)unlink(pending);
	is_pending = 0;
	if (r == 0)
		r = sync_directory(dir);
	return r < 0 ? say(p, r, path) : 0;
}

/* Where a new file @path would be, absolute, its directory resolved. Caller frees. */
static char *resolve_new(const char *path)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	_cleanup_free_ char *real = dir ? realpath(dir, NULL) : NULL;

	if (!real)
		return NULL;
	return strf("%s/%s", streq(real, "/") ? "" : real, slash ? slash + 1 : path);
}

int output_write(const char *path, const struct blob *data, struct problem *p)
{
	_cleanup_free_ char *real = NULL;
	struct stat st;

	if (stat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return say(p, -EISDIR, path);
		if (!S_ISREG(st.st_mode))
			return write_in_place(path, data, p);
		real = realpath(path, NULL);
	} else {
		size_t len = strlen(path);

		if (errno != ENOENT)
			return say(p, -errno, path);
		/* A link to nothing may be one of the system's (/dev/stdout): never replaced. */
		if (!len || path[len - 1] == '/' || lstat(path, &st) == 0)
			return say(p, -ENOENT, path);
		real = resolve_new(path);
	}
	return real ? write_by_rename(real, data, p) : say(p, -errno, path);
}
