// SPDX-License-Identifier: MIT
#include "initramfs/init/handover.h"

#include "boot/io.h"
#include "boot/sys.h"
#include "initramfs/init/watchdog.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <unistd.h>

#define MACHINE_ID_LEN 32
#define FILES_MAX      100000 /* of one directory of the initramfs */
#define DEPTH_MAX      32
#define CLOCK_MAX_SEC  UINT64_C(4102444800) /* 2100: a record that says more is not believed */

/* /run/bf/boot */

static void describe_data(const struct data *d, struct boot_file *ret)
{
	ret->degraded = d->degraded || d->readonly || d->lost_lines;
	strcpy(ret->data, d->degraded	? BOOT_DATA_MISSING
			  : d->readonly ? BOOT_DATA_READONLY
					: BOOT_DATA_OK);
	(void)snprintf(ret->data_dir, sizeof(ret->data_dir), "%s", d->dir ? d->dir : "");
	ret->data_checked = d->checked;
	ret->data_lost_lines = d->lost_lines;
	ret->data_mended = d->found.count;
	(void)snprintf(ret->data_why, sizeof(ret->data_why), "%s", d->why);
}

/* So that nobody searches again, on a machine where a second disk may have come since. */
static void describe_disk(const struct disk *d, struct boot_file *ret)
{
	memcpy(ret->disk, d->name, sizeof(ret->disk));
	for (enum part p = 0; p < PART_COUNT; p++)
		memcpy(ret->part[p], d->part[p].name, sizeof(ret->part[p]));
}

void handover_describe(const struct boot *b, struct boot_file *ret)
{
	const struct boot_decision *d = &b->decision;

	*ret = (struct boot_file) {
		.slot = b->slot,
		.committed = d->record.committed,
		.trial = d->next == NEXT_BOOT_TRIAL,
		.committable = d->committable,
		.limbo = d->limbo,
		.mismatch = b->facts.mismatch,
		.tryboot = b->firmware.tryboot,
		.has_count = b->firmware.has_count,
		.count = b->firmware.count,
		.verity = { b->root.status },
		.verity_fec = b->root.fec,
		.verity_signature = b->root.signature,
		.clock_set = b->clock_set,
		.watchdog = watchdog_is_open(),
		.rescue = b->rescue,
	};
	record_set_code(ret->reason, reason_text(d->reason)->code);
	describe_data(&b->data, ret);
	strcpy(ret->record, record_status_name(b->record_status));
	strcpy(ret->selector, selector_state_name(b->selector.state));
	memcpy(ret->boot_id, b->facts.boot_id, sizeof(ret->boot_id));
	describe_disk(&b->disk, ret);
	record_set_hash(ret->roothash, b->cmdline.roothash ? b->cmdline.roothash : "");
	(void)snprintf(ret->machine_id, sizeof(ret->machine_id), "%s",
		       b->machine_id ? b->machine_id : "");
	memcpy(ret->stage_end_usec, b->stage_end_usec, sizeof(ret->stage_end_usec));
}

/* Plain directories of /run: systemd would unmount anything else there at shutdown. */
int handover_tell(const struct boot *b, struct failure *f)
{
	struct boot_file file;
	int r;

	handover_describe(b, &file);
	r = boot_file_write(&file);
	if (r == -ENOMEM)
		return failure_set(f, REASON_OUT_OF_MEMORY, ENOMEM, BOOT_FILE_PATH);
	return r < 0 ? failure_set(f, REASON_HANDOVER, -r, BOOT_FILE_PATH) : 0;
}

/* Files */

static int write_new(const char *path, const char *text)
{
	_cleanup_close_ int fd = sys_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644);

	return fd < 0 ? fd : io_write(fd, text, strlen(text));
}

/*
 * For udev. Its rules for dm believe a node only after an event of dmsetup's,
 * and there was none; the line says that there was. The link is what those
 * rules (or ours, hooks/udev) would make; it is there before udev runs.
 */
static int announce_root(const struct boot *b, struct failure *f)
{
	static const char *const dirs[] = { "/run/udev", "/run/udev/data", "/dev/mapper" };
	_cleanup_free_ char *path = NULL, *target = NULL;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		r = io_mkdirat(AT_FDCWD, dirs[i], 0755);
		if (r < 0)
			return failure_set(f, REASON_HANDOVER, -r, "mkdir %s", dirs[i]);
	}
	path = strf("/run/udev/data/b%u:%u", b->root.dm_major, b->root.dm_minor);
	target = strf("../%s", b->root.dm_name);
	if (!path || !target)
		return failure_set(f, REASON_OUT_OF_MEMORY, ENOMEM, "handover");
	r = write_new(path, "E:DM_UDEV_PRIMARY_SOURCE_FLAG=1\n");
	if (r < 0)
		return failure_set(f, REASON_HANDOVER, -r, "%s", path);
	r = sys_symlinkat(target, AT_FDCWD, "/dev/mapper/" ROOT_DM_NAME);
	if (r < 0 && r != -EEXIST)
		return failure_set(f, REASON_HANDOVER, -r, "/dev/mapper/" ROOT_DM_NAME);
	return 0;
}

/* The clock */

static uint64_t mtime_sec(int root, const char *path)
{
	_cleanup_close_ int fd = sys_open_in_root(root, path, O_PATH, 0);
	struct stat st;

	return fd >= 0 && sys_fstat(fd, &st) == 0 && st.st_mtime > 0 ? (uint64_t)st.st_mtime : 0;
}

static void raise_floor(uint64_t *floor, uint64_t sec)
{
	if (sec > *floor && sec <= CLOCK_MAX_SEC)
		*floor = sec;
}

/*
 * A Pi without a battery for its clock comes up in 1970, and then certificates
 * are not valid yet. Only forward: a clock that is ahead is not ours to judge.
 * The record is asked only when the clock is plainly unset: it is data that
 * anybody may have written, and a right clock must not follow it into a wrong year.
 */
static void set_clock_floor(struct boot *b, int root)
{
	uint64_t now = sys_realtime_usec() / 1000000;
	const struct record *rec = &b->facts.record;
	uint64_t floor = mtime_sec(root, "usr/lib/clock-epoch");

	if (!floor)
		floor = mtime_sec(root, "usr");
	if (floor > CLOCK_MAX_SEC)
		floor = 0;
	if (b->firmware.has_build_timestamp)
		raise_floor(&floor, b->firmware.build_timestamp);
	if (now >= floor)
		return;
	if (b->facts.record_readable && rec->history_count)
		raise_floor(&floor, rec->history[0].time_sec);
	b->clock_set = sys_sethostclock(floor) == 0;
}

/* The machine-id */

static bool id_is_good(const char *id)
{
	bool some = false;

	if (strspn(id, "0123456789abcdef") != MACHINE_ID_LEN)
		return false;
	for (size_t i = 0; i < MACHINE_ID_LEN; i++)
		some |= id[i] != '0';
	return some && streq(id + MACHINE_ID_LEN, "\n");
}

/* Reads a file of one id and a line break. -EBADMSG when it is something else. */
static int read_id(int dir, const char *path, char id[static MACHINE_ID_LEN + 2])
{
	_cleanup_close_ int fd = sys_open_beneath(dir, path, O_RDONLY | O_NONBLOCK, 0);
	char text[MACHINE_ID_LEN + 3];
	ssize_t n;

	if (fd < 0)
		return fd;
	n = io_read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return (int)n;
	text[n] = '\0';
	if (!id_is_good(text))
		return -EBADMSG;
	strcpy(id, text);
	return 0;
}

/* A random UUID (RFC 4122, version 4) without its dashes, as machine-id(5) wants it. */
static int make_id(char id[static MACHINE_ID_LEN + 2])
{
	uint8_t random[MACHINE_ID_LEN / 2];
	int r = sys_random(random, sizeof(random));

	if (r < 0)
		return r;
	random[6] = (random[6] & 0x0f) | 0x40;
	random[8] = (random[8] & 0x3f) | 0x80;
	for (size_t i = 0; i < sizeof(random); i++)
		(void)snprintf(id + 2 * i, 3, "%02x", random[i]);
	strcpy(id + MACHINE_ID_LEN, "\n");
	return 0;
}

/* Whole or not at all; an unusable one is replaced. */
static int store_id(int data, const char *id)
{
	_cleanup_close_ int dir = -1, fd = -1;
	int r = io_mkdirat(data, "bf", 0700);

	if (r < 0)
		return r;
	dir = sys_open_beneath(data, "bf", O_RDONLY | O_DIRECTORY, 0);
	if (dir < 0)
		return dir;
	r = sys_unlinkat(dir, "machine-id.new", 0);
	if (r < 0 && r != -ENOENT)
		return r;
	fd = sys_open_beneath(dir, "machine-id.new", O_WRONLY | O_CREAT | O_EXCL, 0444);
	if (fd < 0)
		return fd;
	r = io_write(fd, id, strlen(id));
	if (r == 0)
		r = sys_fsync(fd);
	if (r < 0)
		return r;
	r = sys_renameat(dir, "machine-id.new", "machine-id");
	if (r == -EEXIST)
		r = sys_renameat_exchange(dir, "machine-id.new", "machine-id");
	return r < 0 ? r : sys_fsync(dir);
}

static int find_id(const struct boot *b, char id[static MACHINE_ID_LEN + 2], const char **ret_how)
{
	bool writable = !b->data.degraded && !b->data.readonly && b->data.fd >= 0;
	int r;

	if (b->data.fd >= 0 && read_id(b->data.fd, "bf/machine-id", id) == 0) {
		*ret_how = "stored";
		return 0;
	}
	r = make_id(id);
	if (r < 0)
		return r;
	*ret_how = writable && store_id(b->data.fd, id) == 0 ? "new" : "volatile";
	return 0;
}

/* Does /etc of the new root come from the plan, and does the image leave the id to us? */
static bool id_is_wanted(int root, const char *sysroot)
{
	_cleanup_free_ char *etc = strf("%s/etc", sysroot);
	_cleanup_close_ int fd = -1, path = -1;
	struct stat st;
	uint64_t magic;
	char byte;

	if (!etc || sys_statfs_type(etc, &magic) < 0 ||
	    (magic != OVERLAYFS_SUPER_MAGIC && magic != TMPFS_MAGIC))
		return false;
	path = sys_open_beneath(root, "etc/machine-id", O_PATH, 0);
	if (path < 0)
		return path == -ENOENT;
	/* What is no file came from BF_DATA: systemd could not read an id from it either. */
	if (sys_fstat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return true;
	fd = sys_open_beneath(root, "etc/machine-id", O_RDONLY, 0);
	return fd >= 0 && sys_read(fd, &byte, 1) == 0;
}

/* Always a new file: to open what stands there for writing can have effects, or block for ever. */
static int write_id(int root, const char *id)
{
	_cleanup_close_ int etc = sys_open_beneath(root, "etc", O_RDONLY | O_DIRECTORY, 0), fd = -1;
	int r = etc < 0 ? etc : sys_unlinkat(etc, "machine-id", 0);

	if (r < 0 && r != -ENOENT)
		return r;
	fd = sys_open_beneath(etc, "machine-id", O_WRONLY | O_CREAT | O_EXCL, 0444);
	if (fd < 0)
		return fd;
	r = io_write(fd, id, strlen(id));
	return r < 0 ? r : sys_fchmod(fd, 0444);
}

/*
 * A plain file in the overlay's upper: a bind over it would make systemd run
 * machine-id-commit, an empty file would get another id in every boot. No
 * failure here is worth the boot.
 */
static void give_machine_id(struct boot *b, int root, const char *sysroot)
{
	char id[MACHINE_ID_LEN + 2];
	const char *how;

	b->machine_id = "image";
	if (!id_is_wanted(root, sysroot))
		return;
	b->machine_id = "failed";
	if (find_id(b, id, &how) == 0 && write_id(root, id) == 0)
		b->machine_id = how;
}

int handover_prepare(struct boot *b, const char *sysroot, struct failure *f)
{
	_cleanup_close_ int root = sys_open(sysroot, O_PATH | O_DIRECTORY, 0);
	int r;

	if (root < 0)
		return failure_set(f, REASON_HANDOVER, -root, "%s", sysroot);
	r = announce_root(b, f);
	if (r < 0)
		return r;
	set_clock_floor(b, root);
	give_machine_id(b, root, sysroot);
	return 0;
}

/* The switch */

static const char *const moved[] = { "/dev", "/proc", "/sys", "/run" };

struct init {
	const char *path;
	bool systemd;
	int state_fd; /* systemd: what it deserializes */
};

static bool same_file(const struct stat *a, int root, const char *path)
{
	_cleanup_close_ int fd = sys_open_in_root(root, path, O_PATH, 0);
	struct stat st;

	return fd >= 0 && sys_fstat(fd, &st) == 0 && st.st_dev == a->st_dev &&
	       st.st_ino == a->st_ino;
}

static int check_init(int root, struct init *init)
{
	_cleanup_close_ int fd = sys_open_in_root(root, init->path, O_PATH, 0);
	struct stat st;
	int r = fd < 0 ? fd : sys_fstat(fd, &st);

	if (r < 0)
		return r;
	if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
		return -EACCES;
	init->systemd = same_file(&st, root, "/usr/lib/systemd/systemd") ||
			same_file(&st, root, "/lib/systemd/systemd");
	return 0;
}

static int find_init(const struct boot *b, int root, struct init *init, struct failure *f)
{
	static const char *const paths[] = { "/sbin/init", "/lib/systemd/systemd", "/etc/init",
					     "/bin/init" };
	int r, first = 0;

	if (b->cmdline.init) {
		init->path = b->cmdline.init;
		r = check_init(root, init);
		return r < 0 ? failure_set(f, REASON_INIT_MISSING, -r, "init=%.200s", init->path)
			     : 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		init->path = paths[i];
		r = check_init(root, init);
		if (r == 0)
			return 0;
		if (!first || first == -ENOENT)
			first = r;
	}
	return failure_set(f, REASON_INIT_MISSING, -first, "no %s, nor another one", paths[0]);
}

/*
 * The last word before anything is moved: that what is deleted afterwards is an
 * initramfs, and that the new root has a place for what goes there.
 */
static int check_roots(int old, int root, const char *sysroot, dev_t *ret_old_dev,
		       struct failure *f)
{
	struct stat old_st = { 0 }, new_st = { 0 };
	uint64_t magic = 0;
	int r = sys_fstat(old, &old_st);

	if (r == 0)
		r = sys_fstat(root, &new_st);
	if (r == 0)
		r = sys_statfs_type("/", &magic);
	if (r < 0)
		return failure_set(f, REASON_HANDOVER, -r, "looking at / and %s", sysroot);
	if (magic != RAMFS_MAGIC && magic != TMPFS_MAGIC)
		return failure_set(f, REASON_HANDOVER, 0, "/ is not an initramfs");
	if (old_st.st_dev == new_st.st_dev)
		return failure_set(f, REASON_HANDOVER, 0, "nothing is mounted on %s", sysroot);
	for (size_t i = 0; i < ARRAY_SIZE(moved); i++) {
		_cleanup_close_ int fd =
			sys_open_beneath(root, moved[i] + 1, O_PATH | O_DIRECTORY, 0);

		if (fd < 0)
			return failure_set(f, REASON_MOUNT_POINT, -fd, "%s", moved[i]);
	}
	*ret_old_dev = old_st.st_dev;
	return 0;
}

static void delete_below(int dir, dev_t dev, unsigned depth);

static void delete_entry(int dir, const char *name, dev_t dev, unsigned depth)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (sys_fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != dev)
		return;
	if (!S_ISDIR(st.st_mode)) {
		(void)sys_unlinkat(dir, name, 0);
		return;
	}
	fd = sys_openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd >= 0)
		delete_below(fd, dev, depth + 1);
	(void)sys_unlinkat(dir, name, AT_REMOVEDIR);
}

/* Gives the memory back. What does not go, stays: it is not worth the boot. */
static void delete_below(int dir, dev_t dev, unsigned depth)
{
	char **names;
	size_t count;

	if (depth > DEPTH_MAX || sys_list(dir, FILES_MAX, &names, &count) < 0)
		return;
	for (size_t i = 0; i < count; i++)
		delete_entry(dir, names[i], dev, depth);
	sys_names_free(names, count);
}

/*
 * What systemd reads behind --deserialize: when the initrd started, so that
 * systemd-analyze can show its share. The realtime is reckoned back from now:
 * the clock may have been set in between.
 */
static int make_state(const struct boot *b, struct init *init, struct failure *f)
{
	uint64_t start = b->start_monotonic_usec;
	uint64_t age = sys_monotonic_usec() - start;
	_cleanup_free_ char *text =
		strf("initrd-timestamp=%llu %llu\n\n",
		     (unsigned long long)(sys_realtime_usec() - age), (unsigned long long)start);
	int r;

	if (!text)
		return failure_set(f, REASON_OUT_OF_MEMORY, ENOMEM, "handover");
	init->state_fd = sys_memfd("systemd-state");
	if (init->state_fd < 0)
		return failure_set(f, REASON_HANDOVER, -init->state_fd, "memfd");
	/* At its place, so that the reader finds the file at its beginning. */
	r = io_pwrite(init->state_fd, text, strlen(text), 0);
	return r < 0 ? failure_set(f, REASON_HANDOVER, -r, "memfd") : 0;
}

/* The console we were given is a file of the initramfs; init gets the one of /dev (ttyname(3)). */
static void renew_console(void)
{
	_cleanup_close_ int fd = sys_open("/dev/console", O_RDWR | O_NOCTTY, 0);

	if (fd > 2)
		(void)sys_make_stdio(fd);
}

/* The old root is reached by its fd from here on: deleted only when the new one is /. */
static int change_root(int old, dev_t old_dev, const char *sysroot, struct failure *f)
{
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(moved); i++) {
		_cleanup_free_ char *target = strf("%s%s", sysroot, moved[i]);

		if (!target)
			return failure_set(f, REASON_OUT_OF_MEMORY, ENOMEM, "handover");
		r = sys_mount(moved[i], target, NULL, MS_MOVE, NULL);
		if (r < 0)
			return failure_set(f, REASON_HANDOVER, -r, "moving %s", moved[i]);
	}
	r = sys_chdir(sysroot);
	if (r == 0)
		r = sys_mount(".", "/", NULL, MS_MOVE, NULL);
	if (r == 0)
		r = sys_chroot(".");
	if (r == 0)
		r = sys_chdir("/");
	if (r < 0)
		return failure_set(f, REASON_HANDOVER, -r, "making %s the root", sysroot);
	renew_console();
	delete_below(old, old_dev, 0);
	return 0;
}

/* Returns -errno. */
static int start(const struct boot *b, const struct init *init)
{
	char fd[3 * sizeof(int) + 1];
	char *systemd[] = { (char *)init->path,
			    (char *)"--switched-root",
			    (char *)"--system",
			    (char *)"--deserialize",
			    fd,
			    NULL };
	_cleanup_free_ char **plain = NULL;
	size_t n = 1;

	(void)snprintf(fd, sizeof(fd), "%d", init->state_fd);
	while (b->argv && b->argv[0] && b->argv[n])
		n++;
	plain = calloc(n + 1, sizeof(*plain));
	if (!plain)
		return -ENOMEM;
	plain[0] = (char *)init->path;
	for (size_t i = 1; i < n; i++)
		plain[i] = b->argv[i];
	(void)watchdog_hand_over();
	return sys_exec(init->path, init->systemd ? systemd : plain, environ);
}

static int switch_with(const struct boot *b, int old, int root, struct init *init,
		       const char *sysroot, struct failure *f)
{
	dev_t old_dev = 0;
	int r = find_init(b, root, init, f);

	if (r == 0)
		r = check_roots(old, root, sysroot, &old_dev, f);
	if (r == 0 && init->systemd)
		r = make_state(b, init, f);
	if (r == 0)
		r = change_root(old, old_dev, sysroot, f);
	if (r < 0)
		return r;
	r = start(b, init);
	return failure_set(f, REASON_HANDOVER, -r, "exec %.200s", init->path);
}

int handover_switch(struct boot *b, const char *sysroot, struct failure *f)
{
	_cleanup_close_ int old = -1, root = -1;
	struct init init = { .state_fd = -1 };
	int r;

	old = sys_open("/", O_RDONLY | O_DIRECTORY, 0);
	if (old < 0)
		return failure_set(f, REASON_HANDOVER, -old, "/");
	root = sys_open(sysroot, O_PATH | O_DIRECTORY, 0);
	if (root < 0)
		return failure_set(f, REASON_HANDOVER, -root, "%s", sysroot);
	r = switch_with(b, old, root, &init, sysroot, f);
	close_p(&init.state_fd);
	return r;
}
