// SPDX-License-Identifier: MIT
#include "tests/lib/fake-sys.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/dm-ioctl.h>
#include <linux/fs.h>
#include <linux/kd.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define FDS_MAX	   1024
#define RULES_MAX  64
#define EVENTS_MAX 64
#define DEVS_MAX   32
#define OWNERS_MAX 256 /* the newest are remembered */
#define LINKS_MAX  40  /* as in the kernel */

#define RAMFS_SUPER_MAGIC 0x858458f6

struct rule {
	char *match;
	int result;
	bool has_result, once, spent;
	void (*then)(void);
};

struct event {
	void *data;
	size_t len;
	uint64_t after_usec;
	void (*then)(void);
};

struct open_fd {
	bool used, direct;
};

struct device { /* a regular file that plays a block device */
	dev_t host_dev;
	ino_t host_ino;
	dev_t rdev;
};

struct owner { /* of a file that was given away: nothing is, the test need not be root */
	dev_t dev;
	ino_t ino;
	uid_t uid;
	gid_t gid;
};

struct statfs_row {
	char *path;
	uint64_t magic;
};

static char *root;		/* real path */
static bool root_is_kept;	/* fake_use_root() */
static char chrooted[PATH_MAX]; /* below root, "" or "/dir" */
static char cwd[PATH_MAX];	/* below root and chrooted */
static struct open_fd fds[FDS_MAX];

static struct {
	char *log;
	size_t log_len;
	bool log_files;
	struct rule rules[RULES_MAX];
	size_t rule_count;
	struct event events[EVENTS_MAX];
	size_t event_count, event_next;
	struct device devices[DEVS_MAX];
	size_t device_count;
	struct owner owners[OWNERS_MAX];
	size_t owner_count;
	struct statfs_row statfs[DEVS_MAX];
	size_t statfs_count;
	char *other_fs; /* real path */
	unsigned calls, fail_at, cut_at, violations;
	int fail_error;
	size_t short_io, torn;
	bool lock_waits, readonly;
	uint32_t block_bytes;
	uint64_t monotonic_usec, realtime_usec;
	int spawn_status;
	uint32_t spawn_sec;
	uint32_t watchdog_max;
	struct {
		unsigned width, height; /* 0: there is none */
		unsigned glyph_width, glyph_height;
		bool tall;
	} screen;
	void (*every_second)(void);
	uint64_t next_second_usec;
	char *dm_status;
	uint32_t dm_version[3];
	dev_t dm_number;
	char *dm_requests[32]; /* by command number */
	size_t dm_request_lens[32];
} s;

/* Modules are loaded by several threads: what they call takes turns. Recursive, for fake_then(). */
static pthread_mutex_t turn = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static jmp_buf run_end;
static bool run_active;

/* Present under ASan only: what a longjmp leaves behind is not a leak. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

static void remove_root(void);

__attribute__((noreturn)) static void die(const char *what, const char *object)
{
	printf("Bail out! fake-sys: %s %s: %s\n", what, object, strerror(errno));
	fflush(stdout);
	remove_root();
	_exit(99);
}

static void *check(void *p)
{
	if (!p)
		die("memory", "");
	return p;
}

/* The root */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void remove_tree(const char *path)
{
	(void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_root(void)
{
	if (root && !root_is_kept)
		remove_tree(root);
	free(root);
	root = NULL;
}

const char *fake_root(void)
{
	/* In memory where there is such a place: sweeps make and remove it thousands of times. */
	char shm[] = "/dev/shm/bf-test-XXXXXX", tmp[] = "/tmp/bf-test-XXXXXX", *template;

	if (root)
		return root;
	template = access("/dev/shm", W_OK) == 0 ? shm : tmp;
	if (!mkdtemp(template))
		die("mkdtemp", template);
	root = check(realpath(template, NULL));
	if (!s.block_bytes)
		fake_reset();
	atexit(remove_root);
	return root;
}

/* snprintf into one of PATH_MAX bytes; nothing in a test is longer. */
static void put(char buf[static PATH_MAX], const char *fmt, ...) _printf_(2, 3);
static void put(char buf[static PATH_MAX], const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, PATH_MAX, fmt, ap);
	va_end(ap);
	if (n < 0 || n >= PATH_MAX) {
		errno = ENAMETOOLONG;
		die("path", fmt);
	}
}

/*
 * Resolves a path as the kernel would inside the root, without openat2 (which
 * valgrind does not know). Components move from .todo to .cur.
 */
enum scope { ANYWHERE, BENEATH, IN_ROOT }; /* of open, sys_open_beneath, sys_open_in_root */

struct walk {
	char top[PATH_MAX]; /* not left upwards: the root, or the fd's directory */
	char cur[PATH_MAX];
	char todo[PATH_MAX];
	enum scope scope;
	unsigned links;
};

static int walk_step(struct walk *w, const char *name, const char *rest, bool follow)
{
	char step[PATH_MAX], target[PATH_MAX], todo[PATH_MAX];
	bool last = !rest[strspn(rest, "/")];
	ssize_t len;

	if (streq(name, "..")) {
		if (streq(w->cur, w->top))
			return w->scope == BENEATH ? -EXDEV : 0;
		if (strrchr(w->cur, '/'))
			*strrchr(w->cur, '/') = '\0';
		return 0;
	}
	if (streq(name, "."))
		return 0;
	put(step, "%s/%s", w->cur, name);
	len = readlink(step, target, sizeof(target) - 1);
	if (len < 0 && errno != EINVAL && (errno != ENOENT || !last))
		return -errno;
	if (len < 0 || (last && !follow)) {
		put(w->cur, "%s", step);
		return 0;
	}
	if (w->scope == BENEATH || ++w->links > LINKS_MAX)
		return -ELOOP;
	target[len] = '\0';
	if (*target == '/')
		put(w->cur, "%s", w->top);
	put(todo, "%s%s", target, rest);
	put(w->todo, "%s", todo);
	return 1;
}

/* @ret is a real path; its last component need not exist. */
static int walk(const char *base, const char *path, bool follow, enum scope scope,
		char ret[static PATH_MAX])
{
	struct walk w = { .scope = scope };
	char name[PATH_MAX], rest[PATH_MAX];

	if (!*path)
		return -ENOENT;
	if (scope == BENEATH && *path == '/')
		return -EXDEV;
	put(w.cur, "%s", base);
	put(w.top, "%s", base);
	if (scope == ANYWHERE)
		put(w.top, "%s%s", fake_root(), chrooted);
	if (*path == '/')
		put(w.cur, "%s", w.top);
	put(w.todo, "%s", path);
	for (;;) {
		const char *p = w.todo + strspn(w.todo, "/");
		size_t n = strcspn(p, "/");
		int r;

		if (!n)
			break;
		put(name, "%.*s", (int)n, p);
		put(rest, "%s", p + n);
		r = walk_step(&w, name, rest, follow);
		if (r < 0)
			return r;
		if (r == 0)
			put(w.todo, "%s", rest);
	}
	put(ret, "%s", w.cur);
	return 0;
}

/* The real path behind an fd; "" when it has none (a memfd, a pipe). */
static void fd_path(int fd, char ret[static PATH_MAX])
{
	char link[64];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, ret, PATH_MAX - 1);
	ret[n > 0 && *ret == '/' ? n : 0] = '\0';
}

/* Where the code under test says a path is: the root's prefix taken off. */
static const char *shown(const char *real)
{
	const char *rest = startswith(real, fake_root());

	return !rest ? real : *rest ? rest : "/";
}

static int at(int dirfd, const char *path, bool follow, enum scope scope, char ret[static PATH_MAX])
{
	char base[PATH_MAX];

	if (dirfd == AT_FDCWD || (*path == '/' && scope == ANYWHERE)) {
		put(base, "%s%s%s", fake_root(), chrooted, cwd);
	} else {
		if (fcntl(dirfd, F_GETFD) < 0)
			return -errno;
		fd_path(dirfd, base);
	}
	return walk(base, path, follow, scope, ret);
}

/* Log and rules */

static void log_text(const char *line)
{
	size_t n = strlen(line);

	s.log = check(realloc(s.log, s.log_len + n + 2));
	memcpy(s.log + s.log_len, line, n);
	s.log_len += n;
	s.log[s.log_len++] = '\n';
	s.log[s.log_len] = '\0';
}

const char *fake_log(void)
{
	return s.log ? s.log : "";
}

void fake_log_clear(void)
{
	free(s.log);
	s.log = NULL;
	s.log_len = 0;
}

void fake_log_files(bool on)
{
	s.log_files = on;
}

static struct rule *rule_add(const char *match)
{
	errno = ENOSPC;
	if (s.rule_count == RULES_MAX)
		die("rule", match);
	s.rules[s.rule_count].match = check(strdup(match));
	return &s.rules[s.rule_count++];
}

void fake_result(const char *match, int result)
{
	struct rule *rule = rule_add(match);

	rule->has_result = true;
	rule->result = result;
}

void fake_result_once(const char *match, int result)
{
	fake_result(match, result);
	s.rules[s.rule_count - 1].once = true;
}

void fake_then(const char *match, void (*fn)(void))
{
	rule_add(match)->then = fn;
}

void fake_fail_at(unsigned k, int error)
{
	s.calls = 0;
	s.cut_at = 0;
	s.torn = 0;
	s.fail_at = k;
	s.fail_error = error;
}

void fake_cut_at(unsigned k)
{
	fake_fail_at(0, 0);
	s.cut_at = k;
}

void fake_torn(size_t bytes)
{
	s.torn = bytes;
}

unsigned fake_calls(void)
{
	return s.calls;
}

static bool decided(const char *line, int *ret)
{
	s.calls++;
	if (s.cut_at && s.calls >= s.cut_at) {
		*ret = -EIO;
		return true;
	}
	if (s.fail_at && s.calls == s.fail_at) {
		*ret = -s.fail_error;
		return true;
	}
	for (size_t i = 0; i < s.rule_count; i++) {
		struct rule *rule = &s.rules[i];

		if (!rule->has_result || rule->spent || !strstr(line, rule->match))
			continue;
		rule->spent = rule->once;
		*ret = rule->result;
		return true;
	}
	return false;
}

/* Somebody wants to know what the calls on files are: a walk of many steps does not. */
static bool is_watched(void)
{
	return s.log_files || s.rule_count > 0;
}

/*
 * One call. True: a rule or a counter decided it, *ret is its result and it
 * must not happen. @privileged: always logged; others with fake_log_files().
 */
static bool call(bool privileged, int *ret, const char *fmt, ...) _printf_(3, 4);
static bool call(bool privileged, int *ret, const char *fmt, ...)
{
	_cleanup_free_ char *line = NULL, *failed = NULL;
	bool done;
	va_list ap;
	int n;

	(void)fake_root();
	*ret = 0;
	if (!privileged && !is_watched())
		return decided("", ret);
	va_start(ap, fmt);
	n = vasprintf(&line, fmt, ap);
	va_end(ap);
	if (n < 0)
		line = NULL;
	done = decided(check(line), ret);
	if (done && *ret < 0)
		failed = check(strf("%s -> %s", line, strerrorname_np(-*ret)));
	if (privileged || s.log_files)
		log_text(failed ? failed : line);
	for (size_t i = 0; i < s.rule_count && !failed; i++)
		if (s.rules[i].then && strstr(line, s.rules[i].match))
			s.rules[i].then();
	return done;
}

#define privileged_call(ret, ...) call(true, ret, __VA_ARGS__)
#define file_call(ret, ...)	  call(false, ret, __VA_ARGS__)

static const char *dash(const char *text)
{
	return text && *text ? text : "-";
}

/* A call on an fd, with the path behind it. */
static bool fd_call(int fd, int *ret, const char *name, const char *details)
{
	char path[PATH_MAX];

	if (!is_watched())
		return file_call(ret, "%s", name);
	fd_path(fd, path);
	return file_call(ret, "%s %s%s%s", name, *path ? shown(path) : "-", *details ? " " : "",
			 details);
}

/* What the tests prepare */

const char *fake_path(const char *path)
{
	static char real[PATH_MAX];
	char base[PATH_MAX];
	int r;

	put(base, "%s", fake_root());
	r = walk(base, path, false, ANYWHERE, real);
	errno = -r;
	if (r < 0)
		die("path", path);
	return real;
}

/* mkdir -p of all but the last component */
static void make_parents(const char *path)
{
	char real[PATH_MAX];

	put(real, "%s/%s", fake_root(), path);
	for (char *p = real + strlen(fake_root()) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		if (mkdir(real, 0755) < 0 && errno != EEXIST)
			die("mkdir", real);
		*p = '/';
	}
}

void fake_file_data(const char *path, const void *data, size_t len)
{
	FILE *f;

	make_parents(path);
	f = fopen(fake_path(path), "we");
	if (!f || (len && fwrite(data, len, 1, f) != 1) || fclose(f) != 0)
		die("file", path);
}

void fake_file(const char *path, const char *text)
{
	fake_file_data(path, text, strlen(text));
}

void fake_dir(const char *path)
{
	make_parents(path);
	if (mkdir(fake_path(path), 0755) < 0 && errno != EEXIST)
		die("mkdir", path);
}

void fake_symlink(const char *target, const char *path)
{
	make_parents(path);
	if (symlink(target, fake_path(path)) < 0)
		die("symlink", path);
}

void fake_remove(const char *path)
{
	remove_tree(fake_path(path));
}

bool fake_exists(const char *path)
{
	char base[PATH_MAX], real[PATH_MAX];
	struct stat st;

	put(base, "%s", fake_root());
	return walk(base, path, false, ANYWHERE, real) == 0 && lstat(real, &st) == 0;
}

char *fake_read(const char *path, size_t *ret_len)
{
	_cleanup_free_ char *data = NULL;
	_cleanup_file_ FILE *f = NULL;
	struct stat st;

	/* A pipe would be waited for. */
	if (!fake_exists(path) || stat(fake_path(path), &st) < 0 || !S_ISREG(st.st_mode))
		return NULL;
	f = fopen(fake_path(path), "re");
	if (!f || fstat(fileno(f), &st) < 0)
		return NULL;
	data = check(malloc((size_t)st.st_size + 1));
	if (st.st_size && fread(data, (size_t)st.st_size, 1, f) != 1)
		return NULL;
	data[st.st_size] = '\0';
	if (ret_len)
		*ret_len = (size_t)st.st_size;
	return TAKE_PTR(data);
}

void fake_block_device(const char *path, unsigned major, unsigned minor)
{
	struct stat st;

	errno = ENOSPC;
	if (s.device_count == DEVS_MAX)
		die("block device", path);
	if (!fake_exists(path))
		fake_file(path, "");
	if (stat(fake_path(path), &st) < 0)
		die("block device", path);
	s.devices[s.device_count++] = (struct device) {
		.host_dev = st.st_dev,
		.host_ino = st.st_ino,
		.rdev = makedev(major, minor),
	};
}

void fake_block_size(uint32_t bytes)
{
	s.block_bytes = bytes;
}

void fake_short_io(size_t max)
{
	s.short_io = max;
}

unsigned fake_violations(void)
{
	return s.violations;
}

unsigned fake_open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < FDS_MAX; fd++)
		n += fds[fd].used && fcntl(fd, F_GETFD) >= 0;
	return n;
}

void fake_clock(uint64_t monotonic_usec, uint64_t realtime_usec)
{
	s.monotonic_usec = monotonic_usec;
	s.realtime_usec = realtime_usec;
}

void fake_uevent(const void *text, size_t len, uint64_t after_usec, void (*then)(void))
{
	errno = ENOSPC;
	if (s.event_count == EVENTS_MAX)
		die("uevent", "");
	s.events[s.event_count] = (struct event) {
		.data = check(malloc(len + 1)),
		.len = len,
		.after_usec = after_usec,
		.then = then,
	};
	memcpy(s.events[s.event_count++].data, text, len);
}

void fake_spawn(int status, uint32_t sec)
{
	s.spawn_sec = sec;
	s.spawn_status = status;
}

void fake_screen(unsigned width, unsigned height, unsigned glyph_width, unsigned glyph_height,
		 bool tall)
{
	s.screen.width = width;
	s.screen.height = height;
	s.screen.glyph_width = glyph_width;
	s.screen.glyph_height = glyph_height;
	s.screen.tall = tall;
}

void fake_watchdog_max(uint32_t sec)
{
	s.watchdog_max = sec;
}

void fake_filesystem(const char *path)
{
	free(s.other_fs);
	s.other_fs = check(strdup(fake_path(path)));
}

void fake_readonly(bool on)
{
	s.readonly = on;
}

void fake_statfs(const char *path, uint64_t magic)
{
	errno = ENOSPC;
	if (s.statfs_count == DEVS_MAX)
		die("statfs", path);
	s.statfs[s.statfs_count].path = check(strdup(path));
	s.statfs[s.statfs_count++].magic = magic;
}

void fake_dm_status(const char *status)
{
	free(s.dm_status);
	s.dm_status = check(strdup(status));
}

void fake_dm_version(uint32_t major, uint32_t minor, uint32_t patch)
{
	s.dm_version[0] = major;
	s.dm_version[1] = minor;
	s.dm_version[2] = patch;
}

void fake_dm_device(uint32_t major, uint32_t minor)
{
	s.dm_number = makedev(major, minor);
}

const void *fake_dm_request(unsigned long request, size_t *ret_len)
{
	size_t i = _IOC_NR(request) % ARRAY_SIZE(s.dm_requests);

	*ret_len = s.dm_request_lens[i];
	return s.dm_requests[i];
}

static void remember_owner(const struct stat *st, uid_t uid, gid_t gid)
{
	s.owners[s.owner_count++ % OWNERS_MAX] =
		(struct owner) { st->st_dev, st->st_ino, uid, gid };
}

void fake_owner(const char *path, unsigned uid, unsigned gid)
{
	struct stat st;

	if (lstat(fake_path(path), &st) < 0)
		die("owner", path);
	remember_owner(&st, uid, gid);
}

static int remove_below(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return ftw->level == 0 ? 0 : remove_entry(path, st, type, ftw);
}

static void forget(void)
{
	fake_log_clear();
	for (size_t i = 0; i < s.rule_count; i++)
		free(s.rules[i].match);
	for (size_t i = 0; i < s.event_count; i++)
		free(s.events[i].data);
	for (size_t i = 0; i < s.statfs_count; i++)
		free(s.statfs[i].path);
	free(s.other_fs);
	free(s.dm_status);
	for (size_t i = 0; i < ARRAY_SIZE(s.dm_requests); i++)
		free(s.dm_requests[i]);
	memset(&s, 0, sizeof(s));
	*chrooted = *cwd = '\0';
}

static void set_defaults(void)
{
	forget();
	s.block_bytes = 512;
	fake_dm_status("V");
	fake_dm_version(1, 9, 0);
	fake_dm_device(253, 0);
	fake_clock(1000000, UINT64_C(1735689600) * 1000000);
}

void fake_use_root(const char *path)
{
	remove_root();
	root_is_kept = true;
	root = check(realpath(path, NULL));
	set_defaults();
}

void fake_lock_waits(bool on)
{
	s.lock_waits = on;
}

void fake_reset(void)
{
	if (root && nftw(root, remove_below, 16, FTW_DEPTH | FTW_PHYS) != 0)
		die("empty", root);
	set_defaults();
	(void)fake_root();
}

/* Files */

static int remember(int fd, bool direct)
{
	if (fd < 0)
		return -errno;
	errno = EMFILE;
	if (fd >= FDS_MAX)
		die("fd", "");
	fds[fd] = (struct open_fd) { .used = true, .direct = direct };
	return fd;
}

static int open_real(int dirfd, const char *path, int flags, mode_t mode, enum scope scope)
{
	bool follow = !(flags & O_NOFOLLOW) && !((flags & O_CREAT) && (flags & O_EXCL));
	char real[PATH_MAX];
	int r = at(dirfd, path, follow, scope, real);

	if (r < 0)
		return r;
	/* regular files stand in for devices: some filesystems refuse O_DIRECT */
	return remember(open(real, (flags & ~O_DIRECT) | O_CLOEXEC | O_NOFOLLOW, mode),
			flags & O_DIRECT);
}

/* The flags that a test of durable writes wants to see. */
static const char *cache_flags(int flags)
{
	bool direct = flags & O_DIRECT, dsync = flags & O_DSYNC;

	return direct && dsync ? " direct,dsync" : direct ? " direct" : dsync ? " dsync" : "";
}

int sys_openat(int dirfd, const char *path, int flags, mode_t mode)
{
	int r;

	(void)pthread_mutex_lock(&turn);
	if (!file_call(&r, "open %s%s", path, cache_flags(flags)))
		r = open_real(dirfd, path, flags, mode, ANYWHERE);
	(void)pthread_mutex_unlock(&turn);
	return r;
}

int sys_open(const char *path, int flags, mode_t mode)
{
	return sys_openat(AT_FDCWD, path, flags, mode);
}

int sys_open_beneath(int dirfd, const char *path, int flags, mode_t mode)
{
	int r;

	if (file_call(&r, "open %s%s", path, cache_flags(flags)))
		return r;
	return open_real(dirfd, path, flags, mode, BENEATH);
}

int sys_open_in_root(int dirfd, const char *path, int flags, mode_t mode)
{
	int r;

	if (file_call(&r, "open %s%s", path, cache_flags(flags)))
		return r;
	return open_real(dirfd, path, flags, mode, IN_ROOT);
}

int sys_close(int fd)
{
	bool failed;
	int r;

	failed = fd_call(fd, &r, "close", "");
	if (close(fd) < 0)
		return -errno;
	if (fd < FDS_MAX)
		fds[fd].used = false;
	return failed ? r : 0;
}

/* What O_DIRECT asks for; cuts *len to the short-I/O limit. */
static int io_check(int fd, const void *buf, size_t *len, uint64_t offset_bytes)
{
	if (fd >= 0 && fd < FDS_MAX && fds[fd].direct &&
	    (offset_bytes % s.block_bytes || *len % s.block_bytes ||
	     (uintptr_t)buf % s.block_bytes)) {
		s.violations++;
		return -EINVAL;
	}
	if (s.short_io && *len > s.short_io)
		*len = s.short_io;
	return 0;
}

static bool io_call(int fd, int *ret, const char *name, const void *buf, size_t *len,
		    uint64_t offset_bytes, bool positioned)
{
	char details[64] = "";

	if (positioned)
		(void)snprintf(details, sizeof(details), "%llu %zu",
			       (unsigned long long)offset_bytes, *len);
	if (fd_call(fd, ret, name, details))
		return true;
	*ret = io_check(fd, buf, len, offset_bytes);
	return *ret < 0;
}

static ssize_t errno_or(ssize_t n)
{
	return n < 0 ? -errno : n;
}

ssize_t sys_read(int fd, void *buf, size_t len)
{
	int r;

	return io_call(fd, &r, "read", buf, &len, 0, false) ? r : errno_or(read(fd, buf, len));
}

ssize_t sys_write(int fd, const void *buf, size_t len)
{
	int r;

	return io_call(fd, &r, "write", buf, &len, 0, false) ? r : errno_or(write(fd, buf, len));
}

ssize_t sys_pread(int fd, void *buf, size_t len, uint64_t offset_bytes)
{
	int r;

	if (io_call(fd, &r, "pread", buf, &len, offset_bytes, true))
		return r;
	return errno_or(pread(fd, buf, len, (off_t)offset_bytes));
}

static void tear(int fd, const void *buf, size_t len, uint64_t offset_bytes)
{
	size_t n = s.torn < len ? s.torn : len;
	char junk[512];

	memset(junk, '!', sizeof(junk));
	errno = EIO;
	if (pwrite(fd, buf, n, (off_t)offset_bytes) < 0 ||
	    pwrite(fd, junk, (len - n) % sizeof(junk), (off_t)(offset_bytes + n)) < 0)
		die("torn write", "");
}

ssize_t sys_pwrite(int fd, const void *buf, size_t len, uint64_t offset_bytes)
{
	int r;

	if (io_call(fd, &r, "pwrite", buf, &len, offset_bytes, true)) {
		if (s.torn && s.cut_at && s.calls == s.cut_at)
			tear(fd, buf, len, offset_bytes);
		return r;
	}
	return errno_or(pwrite(fd, buf, len, (off_t)offset_bytes));
}

int sys_allow_change(int fd)
{
	int r;

	return fd_call(fd, &r, "allow-change", "") ? r : 0;
}

int sys_fsync(int fd)
{
	int r;

	/* No power is cut here: a real one would only make a sweep slow. */
	return fd_call(fd, &r, "fsync", "") ? r : (int)errno_or(fcntl(fd, F_GETFD) < 0 ? -1 : 0);
}

void sys_forget_cached(int fd)
{
	int r;

	(void)fd_call(fd, &r, "forget", "");
}

int sys_fallocate(int fd, uint64_t len_bytes)
{
	int r;

	if (fd_call(fd, &r, "fallocate", ""))
		return r;
	return -posix_fallocate(fd, 0, (off_t)len_bytes);
}

/* Everything is root's that the test made, until it is given to somebody else. */
static void show_owner(struct stat *st)
{
	uid_t uid = st->st_uid == geteuid() ? 0 : st->st_uid;
	gid_t gid = st->st_gid == getegid() ? 0 : st->st_gid;

	for (size_t i = 0; i < s.owner_count; i++) {
		const struct owner *o = &s.owners[(s.owner_count - 1 - i) % OWNERS_MAX];

		if (i == OWNERS_MAX)
			break;
		if (o->dev != st->st_dev || o->ino != st->st_ino)
			continue;
		uid = o->uid;
		gid = o->gid;
		break;
	}
	st->st_uid = uid;
	st->st_gid = gid;
}

/* What the tests said about the file @real */
static void show(const char *real, struct stat *st)
{
	const char *below = s.other_fs ? startswith(real, s.other_fs) : NULL;

	for (size_t i = 0; i < s.device_count; i++) {
		const struct device *d = &s.devices[i];

		if (d->host_dev != st->st_dev || d->host_ino != st->st_ino)
			continue;
		st->st_mode = (st->st_mode & ~(mode_t)S_IFMT) | S_IFBLK;
		st->st_rdev = d->rdev;
		st->st_size = 0;
	}
	show_owner(st);
	if (below && (*below == '\0' || *below == '/'))
		st->st_dev = makedev(0xfff, 1);
}

int sys_fstat(int fd, struct stat *ret)
{
	char real[PATH_MAX];
	int r;

	if (fd_call(fd, &r, "stat", ""))
		return r;
	if (fstat(fd, ret) < 0)
		return -errno;
	fd_path(fd, real);
	show(real, ret);
	return 0;
}

int sys_fstatat(int dirfd, const char *path, struct stat *ret, int flags)
{
	char real[PATH_MAX];
	int r;

	if (!*path && (flags & AT_EMPTY_PATH))
		return sys_fstat(dirfd, ret);
	if (file_call(&r, "stat %s", path))
		return r;
	r = at(dirfd, path, !(flags & AT_SYMLINK_NOFOLLOW), ANYWHERE, real);
	if (r < 0)
		return r;
	if (lstat(real, ret) < 0)
		return -errno;
	show(real, ret);
	return 0;
}

int sys_mkdirat(int dirfd, const char *path, mode_t mode)
{
	char real[PATH_MAX];
	int r;

	if (file_call(&r, "mkdir %s", path))
		return r;
	r = at(dirfd, path, false, ANYWHERE, real);
	return r < 0 ? r : (int)errno_or(mkdir(real, mode));
}

int sys_symlinkat(const char *target, int dirfd, const char *path)
{
	char real[PATH_MAX];
	int r;

	if (file_call(&r, "symlink %s %s", path, target))
		return r;
	r = at(dirfd, path, false, ANYWHERE, real);
	return r < 0 ? r : (int)errno_or(symlink(target, real));
}

int sys_unlinkat(int dirfd, const char *path, int flags)
{
	char real[PATH_MAX];
	int r;

	if (file_call(&r, "unlink %s", path))
		return r;
	r = at(dirfd, path, false, ANYWHERE, real);
	return r < 0 ? r : (int)errno_or(unlinkat(AT_FDCWD, real, flags));
}

int sys_renameat_exchange(int dirfd, const char *a, const char *b)
{
	char real_a[PATH_MAX], real_b[PATH_MAX];
	int r;

	if (file_call(&r, "exchange %s %s", a, b))
		return r;
	r = at(dirfd, a, false, ANYWHERE, real_a);
	if (r == 0)
		r = at(dirfd, b, false, ANYWHERE, real_b);
	if (r < 0)
		return r;
	return (int)errno_or(renameat2(AT_FDCWD, real_a, AT_FDCWD, real_b, RENAME_EXCHANGE));
}

int sys_renameat(int dirfd, const char *from, const char *to)
{
	char real_from[PATH_MAX], real_to[PATH_MAX];
	int r;

	if (file_call(&r, "rename %s %s", from, to))
		return r;
	r = at(dirfd, from, false, ANYWHERE, real_from);
	if (r == 0)
		r = at(dirfd, to, false, ANYWHERE, real_to);
	if (r < 0)
		return r;
	return (int)errno_or(renameat2(AT_FDCWD, real_from, AT_FDCWD, real_to, RENAME_NOREPLACE));
}

int sys_readlinkat(int dirfd, const char *path, char *buf, size_t size)
{
	char real[PATH_MAX];
	ssize_t n;
	int r;

	if (file_call(&r, "readlink %s", path))
		return r;
	r = at(dirfd, path, false, ANYWHERE, real);
	if (r < 0)
		return r;
	n = readlink(real, buf, size);
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

static int not_dots(const struct dirent *e)
{
	return !streq(e->d_name, ".") && !streq(e->d_name, "..");
}

static int by_byte(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

int sys_list(int fd, size_t max, char ***ret, size_t *ret_count)
{
	struct dirent **entries = NULL;
	char path[PATH_MAX], **names;
	int n, r;

	if (fd_call(fd, &r, "list", ""))
		return r;
	fd_path(fd, path);
	n = scandir(path, &entries, not_dots, by_byte);
	if (n < 0)
		return -errno;
	names = check(calloc((size_t)n + 1, sizeof(*names)));
	for (int i = 0; i < n; i++) {
		names[i] = check(strdup(entries[i]->d_name));
		free(entries[i]);
	}
	free(entries);
	if ((size_t)n > max) {
		sys_names_free(names, (size_t)n);
		return -EFBIG;
	}
	*ret = names;
	*ret_count = (size_t)n;
	return 0;
}

int sys_fchown(int fd, uid_t uid, gid_t gid)
{
	char path[PATH_MAX];
	struct stat st;
	int r;

	fd_path(fd, path);
	if (privileged_call(&r, "chown %s %u:%u", shown(path), uid, gid))
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	remember_owner(&st, uid, gid);
	return 0;
}

int sys_fchmod(int fd, mode_t mode)
{
	int r;

	return fd_call(fd, &r, "chmod", "") ? r : (int)errno_or(fchmod(fd, mode));
}

/* For real: a test may hold the lock by a descriptor of its own. Never waits. */
int sys_lock(int fd, bool exclusive, uint32_t timeout_sec)
{
	int r;

	if (fd_call(fd, &r, "lock", exclusive ? "exclusive" : "shared"))
		return r;
	for (uint32_t tries = s.lock_waits ? timeout_sec * 100 : 0;; tries--) {
		if (flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK)
			return -errno;
		if (tries == 0)
			return -ETIMEDOUT;
		(void)usleep(10000);
	}
}

int sys_faccessat(int dirfd, const char *path, int mode)
{
	char real[PATH_MAX];
	int r;

	if (file_call(&r, "access %s", path))
		return r;
	r = at(dirfd, path, true, ANYWHERE, real);
	return r < 0 ? r : (int)errno_or(access(real, mode));
}

static int read_whole(int fd, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_free_ char *data = check(malloc(max + 2));
	size_t len = 0;

	for (;;) {
		ssize_t n = read(fd, data + len, max + 1 - len);

		if (n < 0)
			return -errno;
		len += (size_t)n;
		if (len > max)
			return -EFBIG;
		if (n == 0)
			break;
	}
	data[len] = '\0';
	*ret = TAKE_PTR(data);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int sys_read_file(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_close_ int fd = -1;
	int r;

	if (file_call(&r, "read-file %s", path))
		return r;
	fd = open_real(dirfd, path, O_RDONLY, 0, ANYWHERE);
	return fd < 0 ? fd : read_whole(fd, max, ret, ret_len);
}

int sys_write_file(const char *path, const char *text)
{
	_cleanup_close_ int fd = -1;
	int r;

	if (privileged_call(&r, "write-file %s %.*s", path, (int)strcspn(text, "\n"), text))
		return r;
	fd = open_real(AT_FDCWD, path, O_WRONLY | O_TRUNC, 0, ANYWHERE);
	if (fd < 0)
		return fd;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* Block devices */

int sys_block_size(int fd, uint32_t *ret_logical_bytes)
{
	int r;

	if (fd_call(fd, &r, "block-size", ""))
		return r;
	*ret_logical_bytes = s.block_bytes;
	return 0;
}

int sys_device_size(int fd, uint64_t *ret_bytes)
{
	struct stat st;
	int r;

	if (fd_call(fd, &r, "device-size", ""))
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

int sys_set_readonly(int fd)
{
	char path[PATH_MAX];
	int r;

	fd_path(fd, path);
	(void)privileged_call(&r, "set-readonly %s", shown(path));
	return r;
}

/* Mounts */

struct flag_name {
	unsigned long flag;
	const char *name;
};

static const struct flag_name mount_flags[] = {
	{ MS_REMOUNT, "remount" },
	{ MS_BIND, "bind" },
	{ MS_MOVE, "move" },
	{ MS_REC, "rec" },
	{ MS_PRIVATE, "private" },
	{ MS_SLAVE, "slave" },
	{ MS_SHARED, "shared" },
	{ MS_RDONLY, "ro" },
	{ MS_NOSUID, "nosuid" },
	{ MS_NODEV, "nodev" },
	{ MS_NOEXEC, "noexec" },
	{ MS_NOATIME, "noatime" },
	{ MS_RELATIME, "relatime" },
	{ MS_STRICTATIME, "strictatime" },
	{ MS_NODIRATIME, "nodiratime" },
	{ MS_SYNCHRONOUS, "sync" },
	{ MS_DIRSYNC, "dirsync" },
	{ MS_LAZYTIME, "lazytime" },
	{ MS_SILENT, "silent" },
	{ MS_NOSYMFOLLOW, "nosymfollow" },
};

static const struct flag_name umount_flags[] = {
	{ MNT_DETACH, "detach" },
	{ MNT_FORCE, "force" },
	{ MNT_EXPIRE, "expire" },
	{ UMOUNT_NOFOLLOW, "nofollow" },
};

static char *flag_names(const struct flag_name *names, size_t n, unsigned long flags)
{
	char *text = check(strdup(""));

	for (size_t i = 0; i < n; i++) {
		char *more;

		if (!(flags & names[i].flag))
			continue;
		flags &= ~names[i].flag;
		more = check(strf("%s%s%s", text, *text ? "," : "", names[i].name));
		free(text);
		text = more;
	}
	if (flags) {
		char *more = check(strf("%s%s0x%lx", text, *text ? "," : "", flags));

		free(text);
		text = more;
	}
	return text;
}

int sys_mount(const char *source, const char *target, const char *fstype, unsigned long flags,
	      const char *options)
{
	_cleanup_free_ char *names = flag_names(mount_flags, ARRAY_SIZE(mount_flags), flags);
	int r;

	(void)privileged_call(&r, "mount %s %s %s %s %s", dash(source), target, dash(fstype),
			      dash(names), dash(options));
	return r;
}

int sys_umount(const char *target, int flags)
{
	_cleanup_free_ char *names =
		flag_names(umount_flags, ARRAY_SIZE(umount_flags), (unsigned long)flags);
	int r;

	(void)privileged_call(&r, "umount %s %s", target, dash(names));
	return r;
}

int sys_bind_fd(int source_fd, const char *target, bool recursive)
{
	char path[PATH_MAX];
	int r;

	fd_path(source_fd, path);
	(void)privileged_call(&r, "bind %s %s %s", shown(path), target, recursive ? "rec" : "-");
	return r;
}

/* A directory of the root as seen from the current chroot: "" for its top. */
static int enter(const char *path, char ret[static PATH_MAX])
{
	char real[PATH_MAX], top[PATH_MAX];
	struct stat st;
	int r = at(AT_FDCWD, path, true, ANYWHERE, real);

	if (r < 0)
		return r;
	if (lstat(real, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	put(top, "%s%s", fake_root(), chrooted);
	put(ret, "%s", real + strlen(top));
	return 0;
}

int sys_chdir(const char *path)
{
	char where[PATH_MAX];
	int r;

	if (privileged_call(&r, "chdir %s", path))
		return r;
	r = enter(path, where);
	if (r == 0)
		put(cwd, "%s", where);
	return r;
}

int sys_chroot(const char *path)
{
	char where[PATH_MAX], old[PATH_MAX];
	int r;

	if (privileged_call(&r, "chroot %s", path))
		return r;
	r = enter(path, where);
	if (r < 0)
		return r;
	put(old, "%s", chrooted);
	put(chrooted, "%s%s", old, where);
	/* The kernel keeps the old directory; every caller goes to "/" or stays in the new one. */
	*cwd = '\0';
	return 0;
}

int sys_is_readonly(int fd)
{
	int r;

	return fd_call(fd, &r, "is-readonly", "") ? r : s.readonly;
}

bool sys_is_root(void)
{
	int r;

	return !file_call(&r, "is-root");
}

int sys_statfs_type(const char *path, uint64_t *ret_magic)
{
	uint64_t magic = RAMFS_SUPER_MAGIC;
	int r;

	if (file_call(&r, "statfs %s", path))
		return r;
	for (size_t i = 0; i < s.statfs_count; i++)
		if (streq(s.statfs[i].path, path))
			magic = s.statfs[i].magic;
	*ret_magic = magic;
	return 0;
}

/* Processes and the end */

int sys_init_module(int fd, const char *params)
{
	char path[PATH_MAX];
	int r;

	(void)pthread_mutex_lock(&turn);
	fd_path(fd, path);
	(void)privileged_call(&r, "init-module %s %s", shown(path), dash(params));
	(void)pthread_mutex_unlock(&turn);
	return r;
}

static char *words(char *const argv[])
{
	char *text = check(strdup(""));

	for (; argv && *argv; argv++) {
		char *more = check(strf("%s %s", text, *argv));

		free(text);
		text = more;
	}
	return text;
}

static void run_leave(enum fake_end end)
{
	for (int fd = 0; fd < FDS_MAX; fd++)
		if (fds[fd].used && fcntl(fd, F_GETFD) >= 0) {
			(void)close(fd);
			fds[fd].used = false;
		}
	longjmp(run_end, (int)end);
}

enum fake_end fake_run(void (*fn)(void *arg), void *arg)
{
	enum fake_end end;

	run_active = true;
	if (__lsan_disable)
		__lsan_disable();
	end = (enum fake_end)setjmp(run_end);
	if (end == FAKE_RETURNED)
		fn(arg);
	if (__lsan_enable)
		__lsan_enable();
	run_active = false;
	return end;
}

int sys_exec(const char *path, char *const argv[], char *const envp[])
{
	_cleanup_free_ char *args = words(argv);
	int r;

	if (privileged_call(&r, "exec %s%s", path, args))
		return r;
	for (; envp && *envp; envp++) {
		_cleanup_free_ char *line = check(strf("env %s", *envp));

		log_text(line);
	}
	if (run_active) {
		free(TAKE_PTR(args));
		run_leave(FAKE_EXEC);
	}
	return -ENOSYS;
}

int sys_spawn_wait(const char *in_root, const char *path, char *const argv[], uint32_t timeout_sec,
		   int out_fd _unused_, int *ret_status)
{
	_cleanup_free_ char *args = words(argv);
	uint32_t sec;
	int r;

	if (privileged_call(&r, "spawn %s%s%s%s", in_root ? in_root : "", in_root ? ":" : "", path,
			    args))
		return r;
	for (sec = 0; sec < s.spawn_sec && sec < timeout_sec; sec++)
		sys_sleep_usec(1000000);
	if (sec < s.spawn_sec)
		return -ETIMEDOUT;
	*ret_status = s.spawn_status;
	return 0;
}

int sys_every_second(void (*fn)(void))
{
	int r;

	if (file_call(&r, "every-second"))
		return r;
	s.every_second = fn;
	s.next_second_usec = s.monotonic_usec + 1000000;
	return 0;
}

void sys_alarm(uint32_t sec, void (*handler)(int))
{
	char line[32];

	/* No test hangs, and none has a handler run behind its back. */
	(void)handler;
	(void)snprintf(line, sizeof(line), "alarm %u", sec);
	if (s.log_files)
		log_text(line);
}

int sys_keep_on_exec(int fd)
{
	int r;

	return fd_call(fd, &r, "keep-on-exec", "") ? r : (int)errno_or(fcntl(fd, F_SETFD, 0));
}

int sys_make_stdio(int fd)
{
	char path[PATH_MAX];
	int r;

	fd_path(fd, path);
	(void)privileged_call(&r, "stdio %s", shown(path));
	return r;
}

int sys_memfd(const char *name)
{
	int r;

	if (file_call(&r, "memfd %s", name))
		return r;
	return remember(memfd_create(name, 0), false);
}

int sys_reboot(const char *argument)
{
	int r;

	if (privileged_call(&r, "reboot %s", dash(argument)))
		return r;
	if (run_active)
		run_leave(FAKE_REBOOT);
	return -ENOSYS;
}

void sys_sync(void)
{
	log_text("sync");
}

int sys_sethostclock(uint64_t realtime_sec)
{
	int r;

	if (privileged_call(&r, "clock %llu", (unsigned long long)realtime_sec))
		return r;
	s.realtime_usec = realtime_sec * 1000000;
	return 0;
}

/* Devices */

static const struct {
	unsigned long request;
	const char *name;
} dm_commands[] = {
	{ DM_VERSION, "version" },
	{ DM_REMOVE_ALL, "remove-all" },
	{ DM_LIST_DEVICES, "list" },
	{ DM_DEV_CREATE, "create" },
	{ DM_DEV_REMOVE, "remove" },
	{ DM_DEV_RENAME, "rename" },
	{ DM_DEV_SUSPEND, "suspend" },
	{ DM_DEV_STATUS, "info" },
	{ DM_DEV_WAIT, "wait" },
	{ DM_TABLE_LOAD, "load" },
	{ DM_TABLE_CLEAR, "clear" },
	{ DM_TABLE_DEPS, "deps" },
	{ DM_TABLE_STATUS, "status" },
	{ DM_LIST_VERSIONS, "versions" },
	{ DM_TARGET_MSG, "message" },
	{ DM_DEV_SET_GEOMETRY, "geometry" },
#ifdef DM_GET_TARGET_VERSION
	{ DM_GET_TARGET_VERSION, "target-version" },
#endif
};

static const char *dm_command(unsigned long request)
{
	for (size_t i = 0; i < ARRAY_SIZE(dm_commands); i++)
		if (dm_commands[i].request == request)
			return dm_commands[i].name;
	return "unknown";
}

/* The first target of a table, or NULL when the buffer is too small for what it says. */
static struct dm_target_spec *dm_target(struct dm_ioctl *io, size_t need)
{
	if (io->data_start < sizeof(*io) || io->data_size < io->data_start ||
	    io->data_size - io->data_start < sizeof(struct dm_target_spec) + need)
		return NULL;
	return (struct dm_target_spec *)(void *)((char *)io + io->data_start);
}

static char *dm_details(unsigned long request, struct dm_ioctl *io)
{
	const struct dm_target_spec *t;

	if (request == DM_DEV_CREATE)
		return check(strdup(dash(io->uuid)));
	if (request == DM_DEV_SUSPEND)
		return check(strdup(io->flags & DM_SUSPEND_FLAG ? "suspend" : "resume"));
	t = request == DM_TABLE_LOAD ? dm_target(io, 0) : NULL;
	if (!t)
		return check(strdup("-"));
	return check(strf("%s %llu %llu %.16s %.*s", io->flags & DM_READONLY_FLAG ? "ro" : "rw",
			  (unsigned long long)t->sector_start, (unsigned long long)t->length,
			  t->target_type, (int)(io->data_size - io->data_start - sizeof(*t)),
			  (const char *)(t + 1)));
}

static int dm_answer_status(struct dm_ioctl *io)
{
	struct dm_target_spec *t = dm_target(io, strlen(s.dm_status) + 1);

	io->target_count = 1;
	if (!t) {
		io->flags |= DM_BUFFER_FULL_FLAG;
		return 0;
	}
	memset(t, 0, sizeof(*t));
	(void)snprintf(t->target_type, sizeof(t->target_type), "verity");
	memcpy(t + 1, s.dm_status, strlen(s.dm_status) + 1);
	t->next = (uint32_t)(sizeof(*t) + strlen(s.dm_status) + 1);
	return 0;
}

static int dm_answer_versions(struct dm_ioctl *io)
{
	struct dm_target_versions *v =
		(struct dm_target_versions *)(void *)((char *)io + io->data_start);

	if (!dm_target(io, 0)) {
		io->flags |= DM_BUFFER_FULL_FLAG;
		return 0;
	}
	memset(v, 0, sizeof(*v));
	memcpy(v->version, s.dm_version, sizeof(s.dm_version));
	memcpy(v + 1, "verity", sizeof("verity"));
	return 0;
}

static void keep_dm_request(unsigned long request, const struct dm_ioctl *io)
{
	size_t i = _IOC_NR(request) % ARRAY_SIZE(s.dm_requests);

	free(s.dm_requests[i]);
	s.dm_requests[i] = check(malloc(io->data_size));
	memcpy(s.dm_requests[i], io, io->data_size);
	s.dm_request_lens[i] = io->data_size;
}

int sys_dm_ioctl(int fd, unsigned long request, void *buffer)
{
	struct dm_ioctl *io = buffer;
	_cleanup_free_ char *details = NULL;
	int r;

	(void)fd;
	if (io->data_size < sizeof(*io)) {
		log_text("dm: data_size too small");
		return -EINVAL;
	}
	keep_dm_request(request, io);
	details = dm_details(request, io);
	if (privileged_call(&r, "dm %s %s %s", dm_command(request), dash(io->name), details))
		return r;
	io->dev = s.dm_number;
	if (request == DM_TABLE_STATUS)
		return dm_answer_status(io);
	if (request == DM_LIST_VERSIONS)
		return dm_answer_versions(io);
#ifdef DM_GET_TARGET_VERSION
	if (request == DM_GET_TARGET_VERSION)
		return dm_answer_versions(io);
#endif
	return 0;
}

static bool has_screen(int fd)
{
	char path[PATH_MAX];

	fd_path(fd, path);
	return s.screen.width && startswith(shown(path), "/dev/tty") &&
	       strspn(shown(path) + strlen("/dev/tty"), "0123456789");
}

/* As drivers/tty/vt/vt.c: one room for each operation, rows of whole bytes. */
static int font_get(struct console_font_op *op, unsigned pitch)
{
	size_t row = (s.screen.glyph_width + 7) / 8;

	if (op->charcount < 256 || op->width < s.screen.glyph_width ||
	    op->height < s.screen.glyph_height)
		return -ENOSPC;
	op->width = s.screen.glyph_width;
	op->height = s.screen.glyph_height;
	op->charcount = 256;
	for (size_t c = 0; c < 256; c++)
		for (size_t y = 0; y < op->height; y++)
			op->data[(c * pitch + y) * row] = (unsigned char)c;
	return 0;
}

static int font_set(const struct console_font_op *op, unsigned pitch, bool tall)
{
	unsigned width_max = tall ? 64 : 32, height_max = tall ? 128 : 32;

	if (op->charcount != 256 || op->width > width_max || op->height > height_max ||
	    op->height > pitch)
		return -EINVAL;
	/* For the sanitizers: all of it is the caller's. */
	(void)*(volatile unsigned char *)&op->data[(size_t)256 * pitch * ((op->width + 7) / 8) - 1];
	s.screen.glyph_width = op->width;
	s.screen.glyph_height = op->height;
	return 0;
}

int sys_console_font(int fd, struct console_font_op *op)
{
	/* 4 and 5 have names in the headers of Linux 6.3. */
	bool set = op->op == KD_FONT_OP_SET || op->op == 4, tall = op->op >= 4;
	unsigned pitch = tall ? op->height : 32;
	int r;

	if (!has_screen(fd))
		return -ENOTTY;
	if (privileged_call(&r, "font %s%s %ux%u %u", set ? "set" : "get", tall ? " tall" : "",
			    op->width, op->height, op->charcount))
		return r;
	if (tall && !s.screen.tall)
		return -ENOSYS;
	return set ? font_set(op, pitch, tall) : font_get(op, pitch);
}

int sys_terminal_size(int fd, unsigned *ret_columns, unsigned *ret_rows)
{
	int r;

	if (!has_screen(fd))
		return -ENOTTY;
	if (file_call(&r, "terminal-size"))
		return r;
	*ret_columns = s.screen.width / s.screen.glyph_width;
	*ret_rows = s.screen.height / s.screen.glyph_height;
	return 0;
}

int sys_watchdog_set(int fd, uint32_t timeout_sec, uint32_t *ret_timeout_sec)
{
	int r;

	(void)fd;
	if (privileged_call(&r, "watchdog-set %u", timeout_sec))
		return r;
	*ret_timeout_sec =
		s.watchdog_max && timeout_sec > s.watchdog_max ? s.watchdog_max : timeout_sec;
	return 0;
}

int sys_watchdog_kick(int fd)
{
	int r;

	(void)fd;
	(void)privileged_call(&r, "watchdog-kick");
	return r;
}

int sys_uevent_socket(void)
{
	int r;

	if (file_call(&r, "uevent-socket"))
		return r;
	return remember(open("/dev/null", O_RDONLY | O_CLOEXEC), false);
}

ssize_t sys_uevent_receive(int fd, void *buf, size_t len, int timeout_msec)
{
	uint64_t wait = timeout_msec < 0 ? UINT64_MAX : (uint64_t)timeout_msec * 1000;
	struct event *e;
	int r;

	(void)fd;
	if (file_call(&r, "uevent %d", timeout_msec))
		return r;
	e = s.event_next < s.event_count ? &s.events[s.event_next] : NULL;
	errno = EDEADLK;
	if (!e && timeout_msec < 0)
		die("uevent", "waits for ever");
	if (!e || e->after_usec > wait) {
		if (e)
			e->after_usec -= wait;
		sys_sleep_usec(wait);
		return -ETIMEDOUT;
	}
	sys_sleep_usec(e->after_usec);
	s.event_next++;
	if (e->then)
		e->then();
	if (len > e->len)
		len = e->len;
	memcpy(buf, e->data, len);
	return (ssize_t)len;
}

int sys_random(void *buf, size_t len)
{
	int r;

	if (file_call(&r, "random %zu", len))
		return r;
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)(0xff - i);
	return 0;
}

int sys_add_key(const char *description, const void *data, size_t len)
{
	int r;

	(void)data;
	(void)privileged_call(&r, "add-key %s %zu", description, len);
	return r;
}

/* Time */

uint64_t sys_monotonic_usec(void)
{
	(void)fake_root();
	return s.monotonic_usec;
}

uint64_t sys_realtime_usec(void)
{
	(void)fake_root();
	return s.realtime_usec;
}

void sys_sleep_usec(uint64_t usec)
{
	uint64_t until;

	(void)fake_root();
	until = s.monotonic_usec + usec;
	s.realtime_usec += usec;
	while (s.every_second && s.next_second_usec <= until) {
		s.monotonic_usec = s.next_second_usec;
		s.next_second_usec += 1000000;
		s.every_second();
	}
	s.monotonic_usec = until;
}
