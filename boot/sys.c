// SPDX-License-Identifier: MIT
/* See sys.h. Nothing here decides anything. */
#include "boot/sys.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/fs.h>
#include <linux/kd.h>
#include <linux/keyctl.h>
#include <linux/netlink.h>
#include <linux/openat2.h>
#include <linux/reboot.h>
#include <linux/watchdog.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What sys_read_file() asks for at a time: a file of /proc/sys takes no more than 4 MiB at once. */
#define READ_FIRST_BYTES 4096
#define READ_PIECE_BYTES 65536

/* errno at the boundary, once: above this file nobody looks at it. */
#define RET_NERRNO(expr)                                                                           \
	({                                                                                         \
		__typeof__(expr) _r = (expr);                                                      \
		_r < 0 ? (__typeof__(expr))-errno : _r;                                            \
	})

int sys_open(const char *path, int flags, mode_t mode)
{
	return RET_NERRNO(open(path, flags | O_CLOEXEC, mode));
}

int sys_openat(int dirfd, const char *path, int flags, mode_t mode)
{
	return RET_NERRNO(openat(dirfd, path, flags | O_CLOEXEC, mode));
}

static int open_resolved(int dirfd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = resolve,
	};

	return (int)RET_NERRNO(syscall(SYS_openat2, dirfd, path, &how, sizeof(how)));
}

int sys_open_beneath(int dirfd, const char *path, int flags, mode_t mode)
{
	return open_resolved(dirfd, path, flags, mode,
			     RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
}

int sys_open_in_root(int dirfd, const char *path, int flags, mode_t mode)
{
	return open_resolved(dirfd, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

int sys_close(int fd)
{
	return RET_NERRNO(close(fd));
}

ssize_t sys_read(int fd, void *buf, size_t len)
{
	return RET_NERRNO(read(fd, buf, len));
}

ssize_t sys_write(int fd, const void *buf, size_t len)
{
	return RET_NERRNO(write(fd, buf, len));
}

ssize_t sys_pread(int fd, void *buf, size_t len, uint64_t offset_bytes)
{
	return RET_NERRNO(pread(fd, buf, len, (off_t)offset_bytes));
}

ssize_t sys_pwrite(int fd, const void *buf, size_t len, uint64_t offset_bytes)
{
	return RET_NERRNO(pwrite(fd, buf, len, (off_t)offset_bytes));
}

int sys_allow_change(int fd)
{
	int flags, locked = FS_IMMUTABLE_FL | FS_APPEND_FL;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return -errno;
	if (!(flags & locked))
		return 0;
	flags &= ~locked;
	return RET_NERRNO(ioctl(fd, FS_IOC_SETFLAGS, &flags));
}

int sys_fsync(int fd)
{
	return RET_NERRNO(fsync(fd));
}

void sys_forget_cached(int fd)
{
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

int sys_fallocate(int fd, uint64_t len_bytes)
{
	return RET_NERRNO(fallocate(fd, 0, 0, (off_t)len_bytes));
}

int sys_fstat(int fd, struct stat *ret)
{
	return RET_NERRNO(fstat(fd, ret));
}

int sys_fstatat(int dirfd, const char *path, struct stat *ret, int flags)
{
	return RET_NERRNO(fstatat(dirfd, path, ret, flags));
}

int sys_mkdirat(int dirfd, const char *path, mode_t mode)
{
	return RET_NERRNO(mkdirat(dirfd, path, mode));
}

/* flock(2) has no timeout of its own, and an alarm is not a library's to set. */
int sys_lock(int fd, bool exclusive, uint32_t timeout_sec)
{
	const struct timespec pause = { .tv_nsec = 10000000 };

	for (uint32_t tries = timeout_sec * 100;; tries--) {
		if (flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (tries == 0)
			return -ETIMEDOUT;
		(void)nanosleep(&pause, NULL);
	}
}

int sys_symlinkat(const char *target, int dirfd, const char *path)
{
	return RET_NERRNO(symlinkat(target, dirfd, path));
}

int sys_unlinkat(int dirfd, const char *path, int flags)
{
	return RET_NERRNO(unlinkat(dirfd, path, flags));
}

int sys_renameat_exchange(int dirfd, const char *a, const char *b)
{
	return RET_NERRNO(renameat2(dirfd, a, dirfd, b, RENAME_EXCHANGE));
}

int sys_renameat(int dirfd, const char *from, const char *to)
{
	return RET_NERRNO(renameat2(dirfd, from, dirfd, to, RENAME_NOREPLACE));
}

int sys_readlinkat(int dirfd, const char *path, char *buf, size_t size)
{
	ssize_t n = readlinkat(dirfd, path, buf, size);

	if (n < 0)
		return -errno;
	if ((size_t)n >= size)
		return -ENAMETOOLONG;
	buf[n] = '\0';
	return 0;
}

void sys_names_free(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_names(DIR *dir, size_t max, char ***names, size_t *count)
{
	const struct dirent *e;

	for (errno = 0; (e = readdir(dir)); errno = 0) {
		char **more;

		if (streq(e->d_name, ".") || streq(e->d_name, ".."))
			continue;
		if (*count == max)
			return -EFBIG;
		more = reallocarray(*names, *count + 1, sizeof(**names));
		if (!more)
			return -ENOMEM;
		*names = more;
		more[*count] = strdup(e->d_name);
		if (!more[*count])
			return -ENOMEM;
		++*count;
	}
	return -errno;
}

int sys_list(int fd, size_t max, char ***ret, size_t *ret_count)
{
	char **names = NULL;
	size_t count = 0;
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);

	if (!dir) {
		r = -errno;
		close_p(&copy);
		return r;
	}
	r = read_names(dir, max, &names, &count);
	(void)closedir(dir);
	if (r < 0) {
		sys_names_free(names, count);
		return r;
	}
	if (count)
		qsort(names, count, sizeof(*names), compare_names);
	*ret = names;
	*ret_count = count;
	return 0;
}

int sys_fchown(int fd, uid_t uid, gid_t gid)
{
	return RET_NERRNO(fchown(fd, uid, gid));
}

int sys_fchmod(int fd, mode_t mode)
{
	return RET_NERRNO(fchmod(fd, mode));
}

int sys_faccessat(int dirfd, const char *path, int mode)
{
	return RET_NERRNO(faccessat(dirfd, path, mode, 0));
}

int sys_read_file(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_close_ int fd = sys_openat(dirfd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	_cleanup_free_ char *buf = NULL;
	size_t len = 0, size = 0;

	if (fd < 0)
		return fd;
	/* One byte more than allowed is asked for, so that "too big" is seen. */
	for (;;) {
		ssize_t n;

		if (len == size) {
			char *bigger;

			size = size ? size * 2 : READ_FIRST_BYTES;
			size = size > max ? max + 1 : size;
			bigger = realloc(buf, size + 1);
			if (!bigger)
				return -ENOMEM;
			buf = bigger;
		}
		n = sys_read(fd, buf + len,
			     size - len > READ_PIECE_BYTES ? READ_PIECE_BYTES : size - len);
		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return -EFBIG;
	}
	buf[len] = '\0';
	*ret = TAKE_PTR(buf);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int sys_write_file(const char *path, const char *text)
{
	_cleanup_close_ int fd = sys_open(path, O_WRONLY | O_NOCTTY, 0);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = sys_write(fd, text, strlen(text));
	if (n < 0)
		return (int)n;
	return (size_t)n == strlen(text) ? 0 : -EIO;
}

int sys_block_size(int fd, uint32_t *ret_logical_bytes)
{
	int size;

	if (ioctl(fd, BLKSSZGET, &size) < 0)
		return -errno;
	if (size <= 0)
		return -EINVAL;
	*ret_logical_bytes = (uint32_t)size;
	return 0;
}

int sys_device_size(int fd, uint64_t *ret_bytes)
{
	return RET_NERRNO(ioctl(fd, BLKGETSIZE64, ret_bytes));
}

int sys_set_readonly(int fd)
{
	int on = 1;

	return RET_NERRNO(ioctl(fd, BLKROSET, &on));
}

int sys_mount(const char *source, const char *target, const char *fstype, unsigned long flags,
	      const char *options)
{
	return RET_NERRNO(mount(source, target, fstype, flags, options));
}

int sys_umount(const char *target, int flags)
{
	return RET_NERRNO(umount2(target, flags));
}

int sys_bind_fd(int source_fd, const char *target, bool recursive)
{
	char source[sizeof("/proc/self/fd/") + 3 * sizeof(int)];

	(void)snprintf(source, sizeof(source), "/proc/self/fd/%d", source_fd);
	return sys_mount(source, target, NULL, MS_BIND | (recursive ? MS_REC : 0), NULL);
}

int sys_chdir(const char *path)
{
	return RET_NERRNO(chdir(path));
}

int sys_chroot(const char *path)
{
	return RET_NERRNO(chroot(path));
}

int sys_is_readonly(int fd)
{
	struct statvfs fs;

	if (fstatvfs(fd, &fs) < 0)
		return -errno;
	return fs.f_flag & ST_RDONLY ? 1 : 0;
}

int sys_statfs_type(const char *path, uint64_t *ret_magic)
{
	struct statfs fs;

	if (statfs(path, &fs) < 0)
		return -errno;
	*ret_magic = (uint64_t)fs.f_type;
	return 0;
}

bool sys_is_root(void)
{
	return geteuid() == 0;
}

int sys_init_module(int fd, const char *params)
{
	return (int)RET_NERRNO(syscall(SYS_finit_module, fd, params, 0));
}

int sys_exec(const char *path, char *const argv[], char *const envp[])
{
	return RET_NERRNO(execve(path, argv, envp));
}

static int wait_at_most(pid_t pid, uint32_t timeout_sec, int *ret_status)
{
	const struct timespec second = { .tv_sec = 1 };
	sigset_t child;

	(void)sigemptyset(&child);
	(void)sigaddset(&child, SIGCHLD);
	for (uint32_t waited = 0;; waited++) {
		pid_t r = waitpid(pid, ret_status, WNOHANG);

		if (r < 0)
			return -errno;
		if (r == pid)
			return 0;
		if (waited >= timeout_sec) {
			(void)kill(-pid, SIGKILL);
			(void)waitpid(pid, ret_status, 0);
			return -ETIMEDOUT;
		}
		(void)sigtimedwait(&child, NULL, &second);
	}
}

int sys_spawn_wait(const char *root, const char *path, char *const argv[], uint32_t timeout_sec,
		   int out_fd, int *ret_status)
{
	sigset_t child, before;
	pid_t pid;
	int r;

	(void)sigemptyset(&child);
	(void)sigaddset(&child, SIGCHLD);
	/* Blocked, so that sigtimedwait() sees the end of the child at once. */
	if (sigprocmask(SIG_BLOCK, &child, &before) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		(void)sigprocmask(SIG_SETMASK, &before, NULL);
		(void)setpgid(0, 0);
		if ((out_fd < 0 || (dup2(out_fd, 1) >= 0 && dup2(out_fd, 2) >= 0)) &&
		    (!root || (chroot(root) == 0 && chdir("/") == 0)))
			(void)execv(path, argv);
		_exit(127);
	}
	r = pid < 0 ? -errno : wait_at_most(pid, timeout_sec, ret_status);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}

static void (*every_second)(void);

static void *run_every_second(void *arg _unused_)
{
	const struct timespec second = { .tv_sec = 1 };

	for (;;) {
		(void)nanosleep(&second, NULL);
		every_second();
	}
	return NULL;
}

int sys_every_second(void (*fn)(void))
{
	sigset_t all, before;
	pthread_t thread;
	int r;

	every_second = fn;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&thread, NULL, run_every_second, NULL);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r)
		return -r;
	(void)pthread_detach(thread);
	return 0;
}

void sys_alarm(uint32_t sec, void (*handler)(int))
{
	struct sigaction sa = { .sa_handler = handler };

	(void)sigaction(SIGALRM, &sa, NULL);
	(void)alarm(sec);
}

int sys_keep_on_exec(int fd)
{
	return RET_NERRNO(fcntl(fd, F_SETFD, 0));
}

int sys_make_stdio(int fd)
{
	for (int target = 0; target <= 2; target++)
		if (dup2(fd, target) < 0)
			return -errno;
	return 0;
}

int sys_memfd(const char *name)
{
	return RET_NERRNO(memfd_create(name, 0));
}

int sys_reboot(const char *argument)
{
	return (int)RET_NERRNO(
		syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
			argument ? LINUX_REBOOT_CMD_RESTART2 : LINUX_REBOOT_CMD_RESTART, argument));
}

void sys_sync(void)
{
	sync();
}

int sys_sethostclock(uint64_t realtime_sec)
{
	struct timespec ts = { .tv_sec = (time_t)realtime_sec };

	return RET_NERRNO(clock_settime(CLOCK_REALTIME, &ts));
}

int sys_dm_ioctl(int fd, unsigned long request, void *buffer)
{
	return RET_NERRNO(ioctl(fd, request, buffer));
}

int sys_console_font(int fd, struct console_font_op *op)
{
	return RET_NERRNO(ioctl(fd, KDFONTOP, op));
}

int sys_terminal_size(int fd, unsigned *ret_columns, unsigned *ret_rows)
{
	struct winsize size;

	if (ioctl(fd, TIOCGWINSZ, &size) < 0)
		return -errno;
	*ret_columns = size.ws_col;
	*ret_rows = size.ws_row;
	return 0;
}

int sys_watchdog_set(int fd, uint32_t timeout_sec, uint32_t *ret_timeout_sec)
{
	int t = (int)timeout_sec;

	if (ioctl(fd, WDIOC_SETTIMEOUT, &t) < 0)
		return -errno;
	*ret_timeout_sec = t > 0 ? (uint32_t)t : timeout_sec;
	return 0;
}

int sys_watchdog_kick(int fd)
{
	return RET_NERRNO(ioctl(fd, WDIOC_KEEPALIVE, 0));
}

int sys_uevent_socket(void)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
					NETLINK_KOBJECT_UEVENT);
	int size = 1024 * 1024, on = 1;

	if (fd < 0)
		return -errno;
	/* The default buffer overruns when many devices appear at once. */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* Only the kernel itself (netlink port 0, credentials of uid 0) speaks of devices. */
static bool from_kernel(const struct msghdr *msg, const struct sockaddr_nl *from)
{
	const struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	struct ucred cred;

	if (from->nl_family != AF_NETLINK || from->nl_pid != 0 || from->nl_groups == 0)
		return false;
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS)
		return false;
	memcpy(&cred, CMSG_DATA(c), sizeof(cred));
	return cred.uid == 0 && !(msg->msg_flags & MSG_TRUNC);
}

ssize_t sys_uevent_receive(int fd, void *buf, size_t len, int timeout_msec)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		union {
			char bytes[CMSG_SPACE(sizeof(struct ucred))];
			struct cmsghdr align;
		} control;
		struct sockaddr_nl from = { 0 };
		struct iovec iov = { .iov_base = buf, .iov_len = len };
		struct msghdr msg = {
			.msg_name = &from,
			.msg_namelen = sizeof(from),
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = &control,
			.msg_controllen = sizeof(control),
		};
		ssize_t n;
		int r = poll(&p, 1, timeout_msec);

		if (r < 0)
			return -errno;
		if (r == 0)
			return -ETIMEDOUT;
		n = recvmsg(fd, &msg, 0);
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n > 0 && from_kernel(&msg, &from))
			return n;
	}
}

int sys_random(void *buf, size_t len)
{
	ssize_t n = getrandom(buf, len, 0);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

int sys_add_key(const char *description, const void *data, size_t len)
{
	long id = syscall(SYS_add_key, "user", description, data, len, KEY_SPEC_USER_KEYRING);

	return id < 0 ? -errno : 0;
}

static uint64_t clock_usec(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t sys_monotonic_usec(void)
{
	return clock_usec(CLOCK_MONOTONIC);
}

uint64_t sys_realtime_usec(void)
{
	return clock_usec(CLOCK_REALTIME);
}

void sys_sleep_usec(uint64_t usec)
{
	struct timespec ts = { .tv_sec = (time_t)(usec / 1000000),
			       .tv_nsec = (long)(usec % 1000000) * 1000 };

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}
