// SPDX-License-Identifier: MIT
/*
 * The init of the mini root: says on the console what it was handed, one
 * "MINI key=value" line each, then does what mini.do= on the kernel command
 * line asks for: actions separated by ";", arguments by ":", "~" stands for a
 * space. Each action answers "MINI did ACTION=RESULT". The default is poweroff.
 *
 * Static and without shell. It also serves as /init of an initramfs in the
 * lab's own tests: it mounts proc, sysfs and devtmpfs where they are missing.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/reboot.h>
#include <linux/watchdog.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define KLOG_SET_CONSOLE_LEVEL 8
#define MARK_AT		       (512 * 1024)
#define REBOOT_PARAM	       "/run/systemd/reboot-param"

static char file_buffer[64 * 1024];

/* One write for each line: nothing of ours comes between its bytes. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	static char line[80 * 1024];
	va_list ap;
	int len;

	va_start(ap, format);
	len = vsnprintf(line, sizeof(line) - 1, format, ap);
	va_end(ap);
	if (len > (int)sizeof(line) - 2)
		len = sizeof(line) - 2;
	line[len++] = '\n';
	for (int done = 0; done < len;) {
		ssize_t n = write(STDOUT_FILENO, line + done, (size_t)(len - done));
		if (n <= 0)
			return;
		done += (int)n;
	}
	/* The kernel writes to the UART past the terminal's queue: leave nothing in it. */
	(void)tcdrain(STDOUT_FILENO);
}

/* Whole small file as text; NULL with errno. */
static char *slurp(const char *path)
{
	size_t used = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	while (used < sizeof(file_buffer) - 1) {
		ssize_t n = read(fd, file_buffer + used, sizeof(file_buffer) - 1 - used);
		if (n < 0) {
			int error = errno;
			close(fd);
			errno = error;
			return NULL;
		}
		if (n == 0)
			break;
		used += (size_t)n;
	}
	close(fd);
	file_buffer[used] = '\0';
	return file_buffer;
}

static char *slurp_line(const char *path)
{
	char *text = slurp(path);

	if (text)
		text[strcspn(text, "\n")] = '\0';
	return text;
}

static void say_file(const char *key, const char *path)
{
	char *text = slurp_line(path);

	say("MINI %s=%s", key, text ? text : strerrorname_np(errno));
}

/* -- the account -------------------------------------------------------------------------- */

static void say_lines(const char *prefix, const char *path)
{
	char *text = slurp(path), *line, *rest;

	if (!text) {
		say("MINI %s-error=%s", prefix, strerrorname_np(errno));
		return;
	}
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		say("MINI %s.%s", prefix, line);
}

/* "36 35 98:0 /root /target options tags - type source super" (proc_pid_mountinfo(5)) */
static void say_mounts(void)
{
	char *text = slurp("/proc/self/mountinfo"), *line, *rest;

	for (line = text ? strtok_r(text, "\n", &rest) : NULL; line;
	     line = strtok_r(NULL, "\n", &rest)) {
		char target[PATH_MAX], options[1024], type[64], source[PATH_MAX], super[4096];
		char *tail = strstr(line, " - ");

		if (tail && sscanf(line, "%*s %*s %*s %*s %4095s %1023s", target, options) == 2 &&
		    sscanf(tail + 3, "%63s %4095s %4095s", type, source, super) == 3)
			say("MINI mount %s %s %s %s %s", target, type, source, options, super);
	}
}

static void say_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	bool watchdog = false;

	while (dir && (entry = readdir(dir))) {
		char target[PATH_MAX] = "";

		if (readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1) <= 0)
			continue;
		say("MINI fd.%s=%s", entry->d_name, target);
		watchdog |= strncmp(target, "/dev/watchdog", 13) == 0;
	}
	if (dir)
		closedir(dir);
	say("MINI watchdog=%s", watchdog ? "open" : "none");
}

static void say_names(const char *key, const char *path)
{
	struct dirent **names;
	char list[8192] = "";
	int n = scandir(path, &names, NULL, alphasort);

	if (n < 0) {
		say("MINI %s=%s", key, strerrorname_np(errno));
		return;
	}
	for (int i = 0; i < n; i++) {
		size_t used = strlen(list);

		if (strcmp(names[i]->d_name, ".") != 0 && strcmp(names[i]->d_name, "..") != 0)
			(void)snprintf(list + used, sizeof(list) - used, "%s%s", used ? " " : "",
				       names[i]->d_name);
		free(names[i]);
	}
	free(names);
	say("MINI %s=%s", key, list);
}

static void account(int argc, char **argv)
{
	struct timespec now;

	say("MINI begin=1");
	say("MINI argc=%d", argc);
	for (int i = 0; i < argc; i++)
		say("MINI argv.%d=%s", i, argv[i]);
	(void)clock_gettime(CLOCK_BOOTTIME, &now);
	say("MINI uptime-ms=%lld", (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000);
	(void)clock_gettime(CLOCK_REALTIME, &now);
	say("MINI clock=%lld", (long long)now.tv_sec);
	say_file("kernel", "/proc/sys/kernel/osrelease");
	say("MINI page-bytes=%ld", sysconf(_SC_PAGESIZE));
	say_file("cmdline", "/proc/cmdline");
	say_lines("boot", "/run/bf/boot");
	say_mounts();
	say_fds();
	say_file("machine-id", "/etc/machine-id");
	say_file("probe", "/etc/mini-probe");
	say_file("panic", "/proc/sys/kernel/panic");
	say_file("dm-name", "/sys/block/dm-0/dm/name");
	say_file("dm-uuid", "/sys/block/dm-0/dm/uuid");
	say_names("dm-slaves", "/sys/block/dm-0/slaves");
	say_names("mapper", "/dev/mapper");
	say_names("udev-data", "/run/udev/data");
	say_names("initramfs-left", "/run/initramfs");
	say("MINI end=1");
}

/* -- actions ------------------------------------------------------------------------------ */

static int done(int result)
{
	return result < 0 ? -errno : 0;
}

static int write_file(const char *path, const char *text, int flags)
{
	int result, fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0755);

	if (fd < 0)
		return -errno;
	result = write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fsync(fd) == 0 ? 0
											  : -errno;
	close(fd);
	return result;
}

static int copy_file(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	ssize_t n = -1;

	while (in >= 0 && out >= 0 && (n = read(in, file_buffer, sizeof(file_buffer))) > 0)
		if (write(out, file_buffer, (size_t)n) != n)
			n = -1;
	n = n < 0 ? -errno : 0;
	close(in);
	close(out);
	return (int)n;
}

/* crc32 (IEEE 802.3, reflected), so that the host can compare with zlib. */
static uint32_t crc_step(uint32_t crc, unsigned char byte)
{
	crc ^= byte;
	for (int bit = 0; bit < 8; bit++)
		crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320U : 0);
	return crc;
}

static int read_all(const char *path, bool sum)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint32_t crc = ~0U;
	long long total = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, file_buffer, sizeof(file_buffer))) > 0) {
		total += n;
		for (ssize_t i = 0; sum && i < n; i++)
			crc = crc_step(crc, (unsigned char)file_buffer[i]);
	}
	n = n < 0 ? -errno : 0;
	close(fd);
	say("MINI size %s=%lld", path, total);
	if (sum)
		say("MINI sum %s=%08x", path, ~crc);
	return (int)n;
}

/* As an installer writes a slot: durable when it returns. */
static int flash(const char *from, const char *to)
{
	int result = copy_file(from, to), fd;

	if (result < 0)
		return result;
	fd = open(to, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	result = done(fsync(fd));
	close(fd);
	return result;
}

/*
 * Says in the log of a disk's writes how far we are (powercut/log.py): between the partition table
 * and the first partition, past the page cache, and without a flush.
 */
static int mark(const char *path, const char *text)
{
	static char block[4096] __attribute__((aligned(4096)));
	int result, fd = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	memset(block, 0, sizeof(block));
	(void)snprintf(block, sizeof(block), "BF-MARK %s", text);
	result = pwrite(fd, block, sizeof(block), MARK_AT) == sizeof(block) ? 0 : -errno;
	close(fd);
	return result;
}

/* Writes the first 512 bytes of a device back as they are. */
static int poke(const char *path)
{
	char sector[512];
	int result, fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	result = pread(fd, sector, sizeof(sector), 0) == sizeof(sector) &&
				 pwrite(fd, sector, sizeof(sector), 0) == sizeof(sector) &&
				 fsync(fd) == 0
			 ? 0
			 : -errno;
	close(fd);
	return result;
}

static int fill(const char *path)
{
	int result = 0, fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	memset(file_buffer, 'f', sizeof(file_buffer));
	for (size_t step = sizeof(file_buffer); step >= 512;) {
		if (write(fd, file_buffer, step) < 0) {
			result = -errno;
			step /= 2;
		}
	}
	(void)fsync(fd);
	close(fd);
	return result;
}

static int try_exec(const char *path)
{
	int status, channel[2], error = 0;
	pid_t child;

	if (pipe2(channel, O_CLOEXEC) < 0)
		return -errno;
	child = fork();
	if (child == 0) {
		execl(path, path, "--probe", (char *)NULL);
		error = errno;
		(void)!write(channel[1], &error, sizeof(error));
		_exit(1);
	}
	close(channel[1]);
	(void)!read(channel[0], &error, sizeof(error));
	close(channel[0]);
	(void)waitpid(child, &status, 0);
	return -error;
}

/* "PROGRAM ARGUMENT ..."; what it says goes to the console, and how long it took. */
static void run_program(const char *command)
{
	char words[1024], *argv[32], *rest;
	struct timespec begin, end;
	int status = 0, argc = 0;
	pid_t child;

	(void)snprintf(words, sizeof(words), "%s", command);
	for (char *word = strtok_r(words, " ", &rest); word && argc < 31;
	     word = strtok_r(NULL, " ", &rest))
		argv[argc++] = word;
	argv[argc] = NULL;
	(void)clock_gettime(CLOCK_MONOTONIC, &begin);
	child = fork();
	if (child == 0) {
		execv(argv[0], argv);
		_exit(127);
	}
	(void)waitpid(child, &status, 0);
	(void)clock_gettime(CLOCK_MONOTONIC, &end);
	say("MINI took %s=%lld", command,
	    (long long)(end.tv_sec - begin.tv_sec) * 1000000 +
		    (end.tv_nsec - begin.tv_nsec) / 1000);
	if (WIFEXITED(status))
		say("MINI ran %s=%d", command, WEXITSTATUS(status));
	else
		say("MINI ran %s=signal %d", command, WTERMSIG(status));
}

/* nodev: making a node may work, opening it must not. */
static int try_node(const char *path)
{
	int fd;

	if (mknod(path, S_IFCHR | 0600, makedev(1, 3)) < 0)
		return -errno;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* Until a path exists; the lab's own tests only, bf-init never polls. */
static int await(const char *path)
{
	for (int tries = 0; tries < 600; tries++) {
		if (access(path, F_OK) == 0)
			return 0;
		(void)usleep(100 * 1000);
	}
	return -ETIMEDOUT;
}

static int insmod(const char *path)
{
	int result, fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	result = done((int)syscall(SYS_finit_module, fd, "", 0));
	close(fd);
	return result;
}

static int open_watchdog(const char *seconds)
{
	int timeout = atoi(seconds), fd = open("/dev/watchdog0", O_WRONLY);

	if (fd < 0)
		return -errno;
	return done(ioctl(fd, WDIOC_SETTIMEOUT, &timeout)); /* stays open */
}

/* As an orderly shutdown does it: everything that can be unmounted is. */
static void unmount_all(void)
{
	static char targets[256][PATH_MAX];
	size_t count = 0;
	FILE *mounts = fopen("/proc/self/mountinfo", "re");

	while (mounts && count < 256 &&
	       fscanf(mounts, "%*s %*s %*s %*s %4095s%*[^\n]", targets[count]) == 1)
		count++;
	if (mounts)
		fclose(mounts);
	sync();
	while (count-- > 0)
		if (umount2(targets[count], 0) < 0)
			(void)mount(NULL, targets[count], NULL, MS_REMOUNT | MS_RDONLY, NULL);
}

static void restart(const char *argument)
{
	if (*argument)
		(void)syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
			      LINUX_REBOOT_CMD_RESTART2, argument);
	else
		(void)reboot(RB_AUTOBOOT);
}

static void hang(void)
{
	for (;;)
		pause();
}

static int act(const char *verb, char *a, char *b)
{
	if (!strcmp(verb, "sleep"))
		return sleep((unsigned)atoi(a)) ? -EINTR : 0;
	if (!strcmp(verb, "await"))
		return await(a);
	if (!strcmp(verb, "write"))
		return write_file(a, b, O_TRUNC);
	if (!strcmp(verb, "append"))
		return write_file(a, b, O_APPEND);
	if (!strcmp(verb, "overwrite"))
		return write_file(a, b, 0);
	if (!strcmp(verb, "copy"))
		return copy_file(a, b);
	if (!strcmp(verb, "flash"))
		return flash(a, b);
	if (!strcmp(verb, "mark"))
		return mark(a, b);
	if (!strcmp(verb, "mkdir"))
		return done(mkdir(a, 0755));
	if (!strcmp(verb, "unlink"))
		return done(unlink(a));
	if (!strcmp(verb, "symlink"))
		return done(symlink(a, b));
	if (!strcmp(verb, "read"))
		return read_all(a, false);
	if (!strcmp(verb, "sum"))
		return read_all(a, true);
	if (!strcmp(verb, "poke"))
		return poke(a);
	if (!strcmp(verb, "fill"))
		return fill(a);
	if (!strcmp(verb, "exec"))
		return try_exec(a);
	if (!strcmp(verb, "node"))
		return try_node(a);
	if (!strcmp(verb, "insmod"))
		return insmod(a);
	if (!strcmp(verb, "watchdog"))
		return open_watchdog(a);
	if (!strcmp(verb, "remount"))
		return done(mount(NULL, a, NULL, MS_REMOUNT, NULL));
	if (!strcmp(verb, "sync")) {
		sync();
		return 0;
	}
	return -ENOSYS;
}

/* Actions that do not come back, and those that answer with more than a result. */
static bool act_special(const char *verb, const char *a)
{
	if (!strcmp(verb, "cat")) {
		char key[PATH_MAX + 8];

		(void)snprintf(key, sizeof(key), "cat %s", a);
		say_file(key, a);
	} else if (!strcmp(verb, "lines")) {
		char prefix[PATH_MAX + 8];

		(void)snprintf(prefix, sizeof(prefix), "lines %s", a);
		say_lines(prefix, a);
	} else if (!strcmp(verb, "ls")) {
		char key[PATH_MAX + 8];

		(void)snprintf(key, sizeof(key), "ls %s", a);
		say_names(key, a);
	} else if (!strcmp(verb, "reboot")) {
		unmount_all();
		restart(a);
	} else if (!strcmp(verb, "run")) {
		run_program(a);
	} else if (!strcmp(verb, "shutdown")) {
		char *argument = slurp_line(REBOOT_PARAM); /* what systemd passes on */

		unmount_all();
		restart(argument ? argument : "");
	} else if (!strcmp(verb, "tryboot")) {
		unmount_all();
		restart("0 tryboot");
	} else if (!strcmp(verb, "reset")) {
		restart(a); /* nothing synced, nothing unmounted */
	} else if (!strcmp(verb, "poweroff")) {
		unmount_all();
		(void)reboot(RB_POWER_OFF);
	} else if (!strcmp(verb, "panic")) {
		_exit(1);
	} else if (!strcmp(verb, "hang")) {
		hang();
	} else {
		return false;
	}
	return true;
}

static void perform(char *action)
{
	char *verb, *a, *b = NULL;

	for (char *c = action; *c; c++)
		if (*c == '~')
			*c = ' ';
	a = strchr(action, ':');
	if (a)
		*a++ = '\0';
	verb = action;
	if (a && strcmp(verb, "reboot") != 0) {
		b = strchr(a, ':');
		if (b)
			*b++ = '\0';
	}
	if (!act_special(verb, a ? a : "")) {
		int result = act(verb, a ? a : "", b ? b : "");

		say("MINI did %s%s%s=%s", verb, a ? ":" : "", a ? a : "",
		    result < 0 ? strerrorname_np(-result) : "ok");
	}
}

static char *wanted_actions(void)
{
	static char actions[4096];
	char *line = slurp_line("/proc/cmdline");
	char *found = NULL, *next = line;

	while (next && (next = strstr(next, "mini.do=")))
		found = next += strlen("mini.do=");
	(void)snprintf(actions, sizeof(actions), "%.*s", found ? (int)strcspn(found, " \n") : 0,
		       found ? found : "");
	return actions;
}

static void mount_basics(void)
{
	if (access("/proc/self", F_OK) == 0)
		return;
	(void)mkdir("/proc", 0755);
	(void)mkdir("/sys", 0755);
	(void)mkdir("/dev", 0755);
	(void)mount("proc", "/proc", "proc", 0, NULL);
	(void)mount("sysfs", "/sys", "sysfs", 0, NULL);
	(void)mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
}

int main(int argc, char **argv)
{
	char *rest, *action;

	if (getpid() != 1)
		return 0; /* run by the action "exec" */
	mount_basics();
	/* Kernel messages would land inside our lines; "Restarting system" is level 0 and still
	 * comes. */
	(void)klogctl(KLOG_SET_CONSOLE_LEVEL, NULL, 1);
	account(argc, argv);
	(void)klogctl(KLOG_SET_CONSOLE_LEVEL, NULL, 5);
	for (action = strtok_r(wanted_actions(), ";", &rest); action;
	     action = strtok_r(NULL, ";", &rest))
		perform(action);
	unmount_all();
	(void)reboot(RB_POWER_OFF);
	hang();
}
