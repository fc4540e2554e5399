// SPDX-License-Identifier: MIT
#include "boot/running.h"

#include "boot/cmdline.h"
#include "boot/io.h"
#include "boot/sys.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#define SMALL_FILE_MAX 4096
#define MOUNT_POINT    RUNNING_DIR "/mnt"
#define MOUNT_FLAGS    (MS_NOSUID | MS_NODEV | MS_NOEXEC)
#define SELECTOR_FILE  "autoboot.txt"
/* As FAT stores it: another case would take entries for a long name beside the short one. */
#define SELECTOR_PATH	  MOUNT_POINT "/AUTOBOOT.TXT"
#define SELECTOR_SAME_MAX 16 /* files that answer to that name, by a short or a long one */
#define ARMED_TEXT	  "armed\n"
#define COUNTED_TEXT	  "counted\n"
#define PARAM_TEXT	  FIRMWARE_REBOOT_TRIAL "\n"
#define DEVICE_PATH_MAX	  (sizeof("/dev/") + sizeof(((struct boot_file *)0)->part[0]))

/* ---- finding out ---------------------------------------------------------- */

/* The first thing that went wrong is what a person wants to read. */
static int note(struct running *r, int error, const char *fmt, ...) _printf_(3, 4);
static int note(struct running *r, int error, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (*r->why)
		return error;
	va_start(ap, fmt);
	n = vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(r->why) && error < 0)
		(void)snprintf(r->why + n, sizeof(r->why) - (size_t)n, ": %s", strerror(-error));
	return error;
}

static void device_path(const struct running *r, enum part part, char ret[static DEVICE_PATH_MAX])
{
	(void)snprintf(ret, DEVICE_PATH_MAX, "/dev/%s", r->boot.part[part]);
}

static int take_lock(struct running *r, enum running_mode mode)
{
	int fd, e;

	e = io_mkdirat(AT_FDCWD, RUNNING_DIR, 0755);
	if (e < 0)
		return note(r, e, RUNNING_DIR);
	fd = sys_open(RUNNING_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (fd < 0)
		return note(r, fd, RUNNING_LOCK);
	r->lock_fd = fd;
	e = sys_lock(fd, mode == RUNNING_CHANGE, RUNNING_LOCK_SEC);
	return e < 0 ? note(r, e,
			    "waiting for another program that changes the boot selection "
			    "(" RUNNING_LOCK ")")
		     : 0;
}

static int read_selector(struct running *r)
{
	_cleanup_close_ int fd = -1;
	char path[DEVICE_PATH_MAX];
	int e;

	r->selector = (struct selector) { .state = SELECTOR_GONE, .committed = SLOT_NONE };
	if (!*r->boot.part[PART_BOOTSEL])
		return note(r, -ENODEV, PART_LABEL(BOOTSEL));
	device_path(r, PART_BOOTSEL, path);
	/* What the disk holds, not what somebody has in the cache. */
	fd = sys_open(path, O_RDONLY | O_DIRECT, 0);
	e = fd < 0 ? fd : selector_read(fd, &r->selector);
	return e < 0 ? note(r, e, SELECTOR_FILE " on %s", path) : 0;
}

static bool number_is(const char *text, dev_t dev)
{
	char want[32];

	(void)snprintf(want, sizeof(want), "%u:%u\n", major(dev), minor(dev));
	return streq(text, want);
}

/* Really the partition: a tmpfs may stand in its place, or somebody may have mounted over it. */
static int check_data(struct running *r, int fd)
{
	char path[sizeof("/sys/class/block//dev") + sizeof(r->boot.part[0])];
	_cleanup_free_ char *number = NULL;
	struct stat st;
	int e;

	(void)snprintf(path, sizeof(path), "/sys/class/block/%s/dev", r->boot.part[PART_DATA]);
	e = sys_read_file(AT_FDCWD, path, SMALL_FILE_MAX, &number, NULL);
	if (e >= 0)
		e = sys_fstat(fd, &st);
	if (e < 0)
		return e;
	return number_is(number, st.st_dev) ? sys_is_readonly(fd) : -EXDEV;
}

static int open_data(struct running *r)
{
	int fd, e;

	if (!*r->boot.data_dir || streq(r->boot.data, BOOT_DATA_MISSING) ||
	    !*r->boot.part[PART_DATA])
		return note(r, -ENODEV, PART_LABEL(DATA));
	fd = sys_open(r->boot.data_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return note(r, fd, "%s", r->boot.data_dir);
	r->data_fd = fd;
	e = check_data(r, fd);
	if (e < 0) {
		close_p(&r->data_fd);
		return note(r, e, PART_LABEL(DATA) " at %s", r->boot.data_dir);
	}
	r->facts.writable = e == 0;
	return 0;
}

static void read_record(struct running *r)
{
	struct run_facts *f = &r->facts;
	int e;

	r->record_status = RECORD_LOST;
	f->record_readable = f->record_future = false;
	if (r->data_fd < 0)
		return;
	e = record_load(r->data_fd, &f->record);
	if (e < 0) {
		f->writable = false;
		(void)note(r, e, "the boot record in %s", r->boot.data_dir);
		return;
	}
	r->record_status = (enum record_status)e;
	f->record_readable = e == RECORD_OK || e == RECORD_BACKUP;
	f->record_future = e == RECORD_FUTURE;
}

static bool has_holder(const struct running *r, enum slot slot)
{
	const char *name = r->boot.part[part_root(slot)];
	char path[sizeof("/sys/class/block//holders") + sizeof(r->boot.part[0])];
	_cleanup_close_ int fd = -1;
	char **names = NULL;
	size_t count = 0;

	(void)snprintf(path, sizeof(path), "/sys/class/block/%s/holders", name);
	fd = *name ? sys_open(path, O_RDONLY | O_DIRECTORY, 0) : -1;
	if (fd < 0 || sys_list(fd, 64, &names, &count) < 0)
		return false;
	sys_names_free(names, count);
	return count > 0;
}

/* The verity device of the running root stands on the slot's partition, and on no other. */
static bool root_is_elsewhere(const struct running *r, enum slot slot)
{
	return slot != SLOT_NONE && !has_holder(r, slot) && has_holder(r, slot_other(slot));
}

static bool exists(const char *path)
{
	return sys_faccessat(AT_FDCWD, path, F_OK) >= 0;
}

static void take_facts(struct running *r)
{
	const struct boot_file *b = &r->boot;
	struct run_facts *f = &r->facts;

	f->running = b->slot;
	f->mismatch = b->mismatch || root_is_elsewhere(r, b->slot);
	f->limbo = b->limbo;
	f->validated = b->trial;
	f->committable = b->committable;
	f->staying = exists(RUNNING_STAYING);
	f->armed = exists(RUNNING_ARMED);
	f->selector = r->selector.state;
	f->selector_committed = r->selector.committed;
	f->selector_in_place = r->selector.in_place;
	f->has_count = b->has_count;
	f->count = b->count;
	f->now_sec = sys_realtime_usec() / 1000000;
	memcpy(f->boot_id, b->boot_id, sizeof(f->boot_id));
}

int running_open(enum running_mode mode, struct running *ret)
{
	struct running *r = ret;
	int e;

	*r = (struct running) { .lock_fd = -1, .data_fd = -1, .record_status = RECORD_LOST };
	r->boot.slot = r->boot.committed = SLOT_NONE;
	if (!sys_is_root())
		return note(r, -EPERM, "this needs root");
	e = take_lock(r, mode);
	if (e < 0)
		return e;
	e = boot_file_read(&r->boot);
	if (e < 0)
		return note(r, e, BOOT_FILE_PATH);
	/* What cannot be read stands in the facts, and in r->why. */
	(void)read_selector(r);
	(void)open_data(r);
	read_record(r);
	take_facts(r);
	return 0;
}

void running_close(struct running *r)
{
	close_p(&r->data_fd);
	close_p(&r->lock_fd);
}

/* ---- the reboot argument -------------------------------------------------- */

static bool says(const char *path, const char *text)
{
	_cleanup_free_ char *now = NULL;

	return sys_read_file(AT_FDCWD, path, SMALL_FILE_MAX, &now, NULL) >= 0 && streq(now, text);
}

static int remove_file(const char *path)
{
	int e = sys_unlinkat(AT_FDCWD, path, 0);

	return e == -ENOENT ? 0 : e;
}

static int put_text(const char *path, const char *text)
{
	int fd, e, closed;

	fd = sys_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return fd;
	e = io_write(fd, text, strlen(text));
	closed = sys_close(fd);
	return e < 0 ? e : closed;
}

/*
 * /run is a tmpfs: nothing to sync, and nobody reads it before the system goes down.
 * @spare, a file that says the same, takes the place when there is no room: a
 * rename needs none. NULL: there is no such file.
 */
static int write_file(const char *path, const char *text, const char *spare)
{
	int e;

	if (says(path, text))
		return 0;
	e = put_text(path, text);
	if (e != -ENOSPC || !spare)
		return e;
	e = remove_file(path);
	return e < 0 ? e : sys_renameat(AT_FDCWD, spare, path);
}

bool running_disk_forgets(const struct running *r)
{
	const struct run_facts *f = &r->facts;

	return f->record_readable && f->writable && !f->limbo && *r->boot.boot_id &&
	       !streq(f->record.last.boot_id, r->boot.boot_id);
}

int running_make_spares(void)
{
	int e = io_mkdirat(AT_FDCWD, RUNNING_DIR, 0755);

	if (e >= 0)
		e = write_file(RUNNING_SPARE_ARMED, COUNTED_TEXT, NULL);
	if (e >= 0)
		e = write_file(RUNNING_SPARE_PARAM, PARAM_TEXT, NULL);
	return e;
}

/*
 * Whoever reboots from now on, and in whatever way, starts the trial: also those that run no unit
 * (`reboot -f`, a job that timed out). So it is written nowhere else, and never before the
 * marker says that the attempt is counted.
 */
static int write_param(void)
{
	int e = says(RUNNING_ARMED, COUNTED_TEXT) ? 0 : -EPROTO;

	if (e >= 0)
		e = io_mkdirat(AT_FDCWD, "/run/systemd", 0755);
	return e < 0 ? e : write_file(RUNNING_REBOOT_PARAM, PARAM_TEXT, RUNNING_SPARE_PARAM);
}

static int arm(struct running *r)
{
	int e = write_file(RUNNING_ARMED, ARMED_TEXT, NULL);

	if (e < 0)
		return note(r, e, RUNNING_ARMED);
	r->facts.armed = true;
	return 0;
}

static int arm_counted(struct running *r)
{
	const struct record *rec = &r->facts.record;
	int e;

	if (!r->facts.record_readable || rec->last.phase != PHASE_ATTEMPT || rec->attempts == 0)
		return note(r, -EPROTO, "the attempt is not in the boot record");
	e = write_file(RUNNING_ARMED, COUNTED_TEXT, RUNNING_SPARE_ARMED);
	if (e < 0)
		return note(r, e, RUNNING_ARMED);
	r->facts.armed = true;
	e = write_param();
	return e < 0 ? note(r, e, RUNNING_REBOOT_PARAM) : 0;
}

static int disarm(struct running *r)
{
	int e;

	e = remove_file(RUNNING_REBOOT_PARAM);
	if (e < 0)
		return note(r, e, RUNNING_REBOOT_PARAM);
	e = remove_file(RUNNING_ARMED);
	if (e < 0)
		return note(r, e, RUNNING_ARMED);
	r->facts.armed = false;
	return 0;
}

int running_arm_again(void)
{
	_cleanup_free_ char *marker = NULL;
	int r;

	r = sys_read_file(AT_FDCWD, RUNNING_ARMED, SMALL_FILE_MAX, &marker, NULL);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == -ENOENT || !streq(marker, COUNTED_TEXT))
		return remove_file(RUNNING_REBOOT_PARAM);
	r = write_param();
	return r < 0 ? r : 1;
}

int running_reboot(void)
{
	bool trial = says(RUNNING_ARMED, COUNTED_TEXT) && says(RUNNING_REBOOT_PARAM, PARAM_TEXT);

	return sys_reboot(trial ? FIRMWARE_REBOOT_TRIAL : NULL);
}

/* ---- mounts ---------------------------------------------------------------- */

static int mount_boot(struct running *r, enum part part, unsigned long flags)
{
	char path[DEVICE_PATH_MAX];
	int e;

	if (part == PART_COUNT || !*r->boot.part[part])
		return -ENODEV;
	device_path(r, part, path);
	e = io_mkdirat(AT_FDCWD, MOUNT_POINT, 0755);
	if (e < 0)
		return e;
	(void)sys_umount(MOUNT_POINT, MNT_DETACH); /* left behind by one that was killed */
	return sys_mount(path, MOUNT_POINT, "vfat", MOUNT_FLAGS | flags, NULL);
}

static int remove_selector_files(void)
{
	int e = 0;

	for (unsigned i = 0; e >= 0 && i < SELECTOR_SAME_MAX; i++)
		e = sys_unlinkat(AT_FDCWD, SELECTOR_PATH, 0);
	return e == -ENOENT ? 0 : e;
}

static int write_selector_file(enum slot slot)
{
	char text[AUTOBOOT_SIZE];
	int fd, e;

	e = remove_selector_files();
	if (e < 0)
		return e;
	fd = sys_open(SELECTOR_PATH, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
	if (fd < 0)
		return fd;
	autoboot_format(slot, text);
	e = io_write(fd, text, sizeof(text));
	if (e >= 0)
		e = sys_fsync(fd);
	close_p(&fd);
	return e;
}

/* The one case in which BF_BOOTSEL is mounted and its filesystem changed: see running.h. */
static int make_selector_file(struct running *r, enum slot slot)
{
	int e, u;

	e = mount_boot(r, PART_BOOTSEL, MS_SYNCHRONOUS | MS_DIRSYNC);
	if (e < 0)
		return note(r, e, "mounting " PART_LABEL(BOOTSEL) " to make " SELECTOR_FILE);
	e = write_selector_file(slot);
	u = sys_umount(MOUNT_POINT, 0);
	if (e >= 0)
		e = u;
	return e < 0 ? note(r, e, "making " SELECTOR_FILE) : 0;
}

int running_image_hash(struct running *r, enum slot slot, char ret[static RECORD_HASH_MAX + 1])
{
	_cleanup_(cmdline_done) struct cmdline line = { 0 };
	_cleanup_free_ char *text = NULL;
	struct failure ignored;
	const char *path =
		slot == SLOT_A ? MOUNT_POINT "/cmdline-a.txt" : MOUNT_POINT "/cmdline-b.txt";
	int e;

	ret[0] = '\0';
	e = mount_boot(r, part_boot(slot), MS_RDONLY);
	if (e < 0)
		return e;
	e = sys_read_file(AT_FDCWD, path, SMALL_FILE_MAX, &text, NULL);
	(void)sys_umount(MOUNT_POINT, MNT_DETACH);
	if (e < 0)
		return e;
	e = cmdline_parse(text, &line, &ignored);
	if (!line.roothash)
		return e < 0 ? e : -ENOENT;
	record_set_hash(ret, line.roothash);
	return 0;
}

/* ---- carrying out ---------------------------------------------------------- */

/* @anew: also a file that could be written in place. */
static int write_selection(struct running *r, enum slot slot, bool anew)
{
	char path[DEVICE_PATH_MAX];
	int e = -ENOENT;

	device_path(r, PART_BOOTSEL, path);
	if (*r->boot.part[PART_BOOTSEL] && !anew)
		e = selector_write(path, slot);
	if (e == -ENOENT) {
		e = make_selector_file(r, slot);
		if (e >= 0) /* writes nothing: it is the proof that the file is in place */
			e = selector_write(path, slot);
	}
	if (e < 0)
		return note(r, e, SELECTOR_FILE " on %s", path);
	r->facts.selector = SELECTOR_VALID;
	r->facts.selector_committed = slot;
	r->facts.selector_in_place = true;
	return 0;
}

static int write_record(struct running *r, const struct record *rec)
{
	struct record stored = *rec;
	int e;

	e = r->data_fd < 0 ? -ENODEV : record_store(r->data_fd, &stored);
	if (e < 0)
		return note(r, e, "writing the boot record in %s", r->boot.data_dir);
	r->facts.record = stored;
	r->facts.record_readable = true;
	return 0;
}

int running_carry_out(struct running *r, const struct request_plan *plan)
{
	int e = 0;

	r->why[0] = '\0';
	for (size_t i = 0; e >= 0 && plan->steps[i] != STEP_END; i++) {
		switch (plan->steps[i]) {
		case STEP_SECTOR:
			e = write_selection(r, plan->sector, false);
			break;
		case STEP_FILE:
			/* What is counted next bounds the reboots that it takes all the same. */
			e = write_selection(r, plan->sector, true);
			if (plan->steps[i + 1] == STEP_RECORD) {
				r->file_error = e;
				e = 0;
			}
			break;
		case STEP_RECORD:
			e = write_record(r, &plan->record);
			break;
		case STEP_ARM:
			e = arm(r);
			break;
		case STEP_COUNTED:
			e = arm_counted(r);
			break;
		case STEP_DISARM:
			e = disarm(r);
			break;
		case STEP_END:
			break;
		}
	}
	return e;
}

int running_request(struct running *r, enum request request, const struct request_args *args,
		    struct request_plan *ret)
{
	requests_plan(&r->facts, request, args, ret);
	return running_carry_out(r, ret);
}
