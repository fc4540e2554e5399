// SPDX-License-Identifier: MIT
/*
 * bf-init: PID 1 of the initramfs. This file is the story of one boot, read
 * from the top of story() down; the steps are in the files they are named after.
 */
#include "boot/io.h"
#include "boot/product.h"
#include "boot/sys.h"
#include "initramfs/init/boot.h"
#include "initramfs/init/fail.h"
#include "initramfs/init/handover.h"
#include "initramfs/init/modules.h"
#include "initramfs/init/mounts.h"
#include "initramfs/init/patience.h"
#include "initramfs/init/watchdog.h"
#include "initramfs/modlist.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/utsname.h>
#include <unistd.h>

#define SYSROOT	      "/root"
#define DATA_EARLY    "/data" /* until the mount plan moves it to its place */
#define RCU_EXPEDITED "/sys/kernel/rcu_expedited"
#define RESCUE_MARK   "/etc/bf/rescue"
#define FSTAB_MAX     (64 * 1024)
#define CMDLINE_MAX   (64 * 1024)
#define WAIT_MORE_SEC 60 /* for drivers that load while the disk is awaited, beyond bf.wait= */
#define SWITCH_SEC    60 /* from the last step to the new init */

static struct boot boot = {
	.slot = SLOT_NONE,
	.data.fd = -1,
};
static struct module_set modules;

static void stage_end(struct boot *b, enum stage s)
{
	uint64_t now = sys_monotonic_usec();
	uint64_t before = s == STAGE_START ? b->start_monotonic_usec : b->stage_end_usec[s - 1];

	b->stage_end_usec[s] = now;
	log_info("stage %s: %llu us", stage_name(s), (unsigned long long)(now - before));
	patience_step();
}

static const struct early_mount {
	const char *type, *target;
	unsigned long flags;
	const char *options;
} early_mounts[] = {
	{ "devtmpfs", "/dev", MS_NOSUID, "mode=0755" },
	{ "proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL },
	{ "sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL },
	/* systemd keeps a /run that is mounted already, so it gets the options systemd would use.
	 */
	{ "tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755,size=20%,nr_inodes=800k" },
};

static int mount_early(struct failure *f)
{
	static const char *const places[] = {
		"/dev", "/proc", "/sys", "/run", SYSROOT, DATA_EARLY
	};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		int r = io_mkdirat(AT_FDCWD, places[i], 0755);

		if (r < 0)
			return failure_set(f, REASON_KERNEL_PSEUDO_FS, -r, "mkdir %s", places[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(early_mounts); i++) {
		const struct early_mount *m = &early_mounts[i];
		int r = sys_mount(m->type, m->target, m->type, m->flags, m->options);

		if (r < 0 && r != -EBUSY)
			return failure_set(f, REASON_KERNEL_PSEUDO_FS, -r, "%s on %s", m->type,
					   m->target);
	}
	return 0;
}

/* A kernel that panics must restart by itself, whatever the command line forgot. */
static void ensure_panic_reboots(void)
{
	_cleanup_free_ char *now = NULL;
	int r = sys_read_file(AT_FDCWD, "/proc/sys/kernel/panic", 64, &now, NULL);

	if (r == 0 && !streq(now, "0\n"))
		return;
	r = sys_write_file("/proc/sys/kernel/panic", "10\n");
	if (r < 0)
		log_warning("cannot set kernel.panic: %s", strerror(-r));
	else
		log_notice("panic= was not on the command line: set to 10 s");
}

/* Ten lines in five seconds is the kernel's limit for /dev/kmsg; a boot has more to say. */
static void lift_log_limit(void)
{
	int r = sys_write_file("/proc/sys/kernel/printk_devkmsg", "on\n");

	if (r < 0 && r != -ENOENT)
		log_warning("some lines may be missing here: %s", strerror(-r));
}

/*
 * Loading a module and changing a mapped device wait for RCU grace periods, tens
 * of milliseconds each on an idle machine. Nothing else runs yet that expedited
 * ones could disturb. The kernel's own value comes back before the hand-over.
 */
static void expedite_rcu(bool on)
{
	static bool changed;
	_cleanup_free_ char *now = NULL;

	if (on)
		changed = sys_read_file(AT_FDCWD, RCU_EXPEDITED, 16, &now, NULL) == 0 &&
			  streq(now, "0\n");
	/* Only speed is lost when this fails. */
	if (changed)
		(void)sys_write_file(RCU_EXPEDITED, on ? "1\n" : "0\n");
}

static void after_module_level(void)
{
	patience_step();
	/* Its driver may be the module that has just come. */
	(void)watchdog_open(boot.cmdline.watchdog_sec);
}

static int read_cmdline(struct boot *b, struct failure *f)
{
	_cleanup_free_ char *text = NULL;
	int r = sys_read_file(AT_FDCWD, "/proc/cmdline", CMDLINE_MAX, &text, NULL);

	if (r < 0) {
		/* Defaults, so that the failure can be shown for the usual time. */
		struct failure ignored;

		(void)!cmdline_parse("", &b->cmdline, &ignored);
		return failure_set(f, REASON_CMDLINE, -r, "/proc/cmdline");
	}
	return cmdline_parse(text, &b->cmdline, f);
}

static int load_modules(struct failure *f)
{
	struct utsname u;
	int r;

	if (uname(&u) < 0)
		return failure_set(f, REASON_MODULE_KERNEL, errno, "uname");
	r = modules_load(MODLIST_PATH, u.release, after_module_level, &modules, f);
	if (r < 0)
		return r;
	log_info("%zu of %zu modules loaded, watchdog %s", modules.loaded, modules.list.count,
		 watchdog_is_open() ? "open" : "not there");
	return 0;
}

/* While the disk is awaited: its driver may be what it waits for. */
static void await_disk(void)
{
	size_t count = modules_load_more(&modules);

	if (count)
		log_info("%zu more modules loaded while the disk is awaited", count);
}

/* Running slot = device tree × rauc.slot=; the verity device is opened from that slot's partition.
 */
static int find_slot(struct boot *b, struct failure *f)
{
	_cleanup_close_ int chosen =
		sys_open("/proc/device-tree/chosen", O_RDONLY | O_DIRECTORY, 0);
	int r = firmware_read(chosen < 0 ? -1 : chosen, &b->firmware);

	if (r < 0) {
		log_warning("the device tree cannot be read: %s", strerror(-r));
		b->firmware = (struct firmware) { 0 };
	}
	b->slot = identify_running(&b->firmware, b->cmdline.slot, &b->facts.mismatch);
	if (b->slot == SLOT_NONE)
		return failure_set(f, REASON_SLOT_UNKNOWN, 0,
				   "no partition in the device tree, no rauc.slot=");
	log_info("slot %s%s", slot_name(b->slot), b->firmware.tryboot ? " (trial asked for)" : "");
	if (b->facts.mismatch)
		log_error("the firmware booted slot %s but rauc.slot=%s", slot_name(b->slot),
			  slot_name(b->cmdline.slot));
	return 0;
}

static char *device_path(const struct partition *p)
{
	return strf("/dev/%s", p->name);
}

static void read_selector(struct boot *b)
{
	const struct partition *p = &b->disk.part[PART_BOOTSEL];
	_cleanup_free_ char *path = device_path(p);
	_cleanup_close_ int fd = -1;
	int r = -ENOMEM;

	b->selector = (struct selector) { .state = SELECTOR_GONE, .committed = SLOT_NONE };
	if (!*p->name)
		return;
	if (path)
		r = fd = sys_open(path, O_RDONLY, 0);
	if (r >= 0)
		r = selector_read(fd, &b->selector);
	if (r < 0)
		log_error("autoboot.txt on %s cannot be read: %s", p->name, strerror(-r));
}

static void read_boot_id(char ret[static 33])
{
	_cleanup_free_ char *text = NULL;
	size_t n = 0;

	ret[0] = '\0';
	if (sys_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, NULL) < 0)
		return;
	for (const char *s = text; *s && *s != '\n' && n < 32; s++)
		if (*s != '-')
			ret[n++] = *s;
	ret[n == 32 ? n : 0] = '\0';
}

/* What is wrong with BF_DATA and was mended, each time once: the next boot finds nothing. */
static void log_found(const struct boot *b)
{
	static size_t said;
	const char *lines = b->data.found.lines;

	while (lines && lines[said]) {
		size_t len = strcspn(lines + said, "\n");

		log_warning("BF_DATA: %.*s", (int)len, lines + said);
		said += len + 1;
	}
}

/* What stands in the place of the record's directory would keep this device from every update. */
static void free_record_dir(struct boot *b)
{
	const struct datadir data = { b->data.fd, &b->data.found };
	const struct dir_attr attr = { 0700, 0, 0, DIR_ALL };
	int r;

	if (b->data.degraded || b->data.readonly)
		return;
	r = datadir_check(&data, RECORD_DIR, &attr);
	if (r < 0)
		log_error(RECORD_DIR " on BF_DATA is not as it must be: %s", strerror(-r));
	log_found(b);
}

static void read_record(struct boot *b)
{
	struct boot_facts *facts = &b->facts;
	int r;

	facts->record_readable = facts->record_lost = facts->writable = false;
	if (b->data.degraded) {
		b->record_status = RECORD_LOST;
		return;
	}
	r = record_load(b->data.fd, &facts->record);
	if (r < 0) {
		log_error("the boot record cannot be read: %s", strerror(-r));
		b->record_status = RECORD_LOST;
		return;
	}
	b->record_status = (enum record_status)r;
	facts->record_readable = r == RECORD_OK || r == RECORD_BACKUP;
	facts->record_lost = r == RECORD_LOST;
	facts->writable = !b->data.readonly && r != RECORD_FUTURE;
	if (r == RECORD_FUTURE)
		log_warning("the boot record is of a newer version: left as it is");
	if (r == RECORD_LOST)
		log_warning("no boot record: a new one is made from what runs");
}

static void collect_facts(struct boot *b)
{
	struct boot_facts *facts = &b->facts;

	facts->running = b->slot;
	facts->tryboot = b->firmware.tryboot;
	facts->has_count = b->firmware.has_count;
	facts->count = b->firmware.count;
	facts->selector = b->selector.state;
	facts->selector_committed = b->selector.committed;
	facts->selector_in_place = b->selector.in_place;
	facts->now_sec = sys_realtime_usec() / 1000000;
	read_boot_id(facts->boot_id);
	if (b->cmdline.roothash && strlen(b->cmdline.roothash) <= RECORD_HASH_MAX)
		strcpy(facts->roothash, b->cmdline.roothash);
	read_record(b);
	/* Without a clock chip it is 1970 now; the record knows better. Only then. */
	if (facts->now_sec < FIRMWARE_BUILD_FLOOR && facts->record_readable &&
	    facts->record.history_count > 0 && facts->record.history[0].time_sec > facts->now_sec)
		facts->now_sec = facts->record.history[0].time_sec;
}

static bool write_decided(struct boot *b, enum boot_write what)
{
	_cleanup_free_ char *path = NULL;
	int r;

	if (what == WRITE_RECORD) {
		r = record_store(b->data.fd, &b->decision.record);
		if (r < 0)
			log_error("the boot record cannot be written: %s", strerror(-r));
		return r >= 0;
	}
	path = device_path(&b->disk.part[PART_BOOTSEL]);
	r = path ? selector_write(path, b->decision.sector) : -ENOMEM;
	if (r < 0)
		log_error("autoboot.txt cannot be repaired on %s: %s", path ? path : "?",
			  strerror(-r));
	else
		log_notice("autoboot.txt is as it must be: slot %s is committed",
			   slot_name(b->decision.sector));
	return true;
}

/* Decide, and write what was decided before anything risky is tried. */
static void decide(struct boot *b)
{
	struct boot_decision *d = &b->decision;
	bool written = true;

	collect_facts(b);
	rules_bf_init(&b->facts, d);
	for (size_t i = 0; written && i < ARRAY_SIZE(d->writes) && d->writes[i]; i++)
		written = write_decided(b, d->writes[i]);
	if (!written) {
		d->next = d->next_if_unwritten;
		d->committable = false;
		/* What could not be written once bounds nothing: no more counting in this boot. */
		b->facts.writable = false;
	} else if (d->writes[0] == WRITE_RECORD || d->writes[1] == WRITE_RECORD) {
		b->facts.record = d->record;
		b->facts.record_readable = true;
		b->facts.record_lost = false;
	}
	b->decided = true;
	if (written && record_is_doubtful(&d->record))
		log_warning(
			"slot %s holds another image than the boot record knew: the disk forgot "
			"what was written last, or the slot was written by hand",
			slot_name(b->slot));
	if (next_is_reboot(d->next))
		fail_reboot(b, d->next, d->reason);
	log_notice("slot %s, %s%s%s", slot_name(b->slot),
		   d->next == NEXT_BOOT_TRIAL ? "trial boot" : "committed",
		   d->limbo ? ", not the committed slot" : "",
		   b->data.degraded ? ", degraded" : "");
}

static int make_mounts(struct boot *b, struct failure *f)
{
	_cleanup_(plan_done) struct mount_plan plan = { 0 };
	_cleanup_close_ int root = -1, fd = -1;
	_cleanup_free_ char *fstab = NULL, *path = NULL;
	int r;

	root = sys_open(SYSROOT, O_PATH | O_DIRECTORY, 0);
	if (root < 0)
		return failure_set(f, REASON_FSTAB, -root, SYSROOT);
	fd = sys_open_in_root(root, "etc/fstab", O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0)
		return failure_set(f, REASON_FSTAB, -fd, "/etc/fstab of slot %s",
				   slot_name(b->slot));
	path = strf("/proc/self/fd/%d", fd);
	if (!path)
		return failure_set(f, REASON_OUT_OF_MEMORY, ENOMEM, "/etc/fstab");
	r = sys_read_file(AT_FDCWD, path, FSTAB_MAX, &fstab, NULL);
	if (r < 0)
		return failure_set(f, REASON_FSTAB, -r, "/etc/fstab of slot %s",
				   slot_name(b->slot));
	r = plan_make(fstab, &plan, f);
	if (r < 0)
		return r;
	r = mounts_make(&plan, b->slot, &b->data, DATA_EARLY, SYSROOT, b->cmdline.roothash, f);
	log_found(b);
	if (r < 0 || !plan.data_target)
		return r;
	b->data.dir = strdup(plan.data_target);
	return b->data.dir ? 0 : failure_set(f, REASON_OUT_OF_MEMORY, ENOMEM, BOOT_FILE_PATH);
}

/* All that reads the root itself: a bad block here is an error that can be reported. */
static int read_root(struct boot *b, struct failure *f)
{
	int r = make_mounts(b, f);

	if (r < 0)
		return r;
	stage_end(b, STAGE_MOUNTS);
	r = handover_prepare(b, SYSROOT, f);
	if (r < 0)
		return r;
	return root_seal(&b->root, f);
}

/* The kernel's filesystems, the log, and what of the kernel's settings is not as it must be. */
static int wake_up(struct boot *b, struct failure *f)
{
	int r = mount_early(f);

	if (r < 0)
		return r;
	log_open(sys_open("/dev/kmsg", O_WRONLY | O_NOCTTY, 0), "bf-init");
	b->rescue = sys_faccessat(AT_FDCWD, RESCUE_MARK, F_OK) == 0;
	if (b->rescue)
		log_warning("RESCUE IMAGE: gives a root shell on failure; not for production");
	lift_log_limit();
	expedite_rcu(true);
	ensure_panic_reboots();
	return 0;
}

/*
 * What the image itself brings: its command line, its modules. What is wrong with either does
 * not end the boot at once: as far as the record, it goes on.
 */
static int read_image(struct boot *b, struct failure *f)
{
	struct failure later;
	int cmdline = read_cmdline(b, f), m, r;

	r = patience_start(b->cmdline.deadline_sec);
	if (r < 0) {
		log_error("no thread to kick the watchdog, it is left alone: %s", strerror(-r));
		b->cmdline.watchdog_sec = 0;
	}
	(void)watchdog_open(b->cmdline.watchdog_sec);
	stage_end(b, STAGE_START);
	m = load_modules(cmdline < 0 ? &later : f);
	stage_end(b, STAGE_MODULES);
	return cmdline < 0 ? cmdline : m;
}

/* What does not serve is told on the screen, too: nobody reads the log of a device on a wall. */
static void tell_data(const struct boot *b)
{
	const char *state = b->data.degraded   ? " is not used"
			    : b->data.readonly ? " cannot be written"
					       : "";
	_cleanup_free_ char *text = NULL;

	if (!*b->data.why)
		return;
	log_warning("BF_DATA%s: %s", state, b->data.why);
	text = *state ? strf("BF_DATA%s: %s", state, b->data.why) : NULL;
	if (text)
		fail_notice(text);
}

/*
 * BF_DATA asks for a check, and the root that brings e2fsck is there now. What could not be read
 * before the check is decided again by what can be read after it; a boot that stands in
 * the record already is not written down twice.
 */
static int check_data(struct boot *b, struct failure *f)
{
	int r;

	if (!b->data.wants_check)
		return 0;
	r = data_check(&b->disk.part[PART_DATA], DATA_EARLY, SYSROOT, b->cmdline.check_sec,
		       &b->data, f);
	if (r < 0)
		return r;
	tell_data(b);
	free_record_dir(b);
	read_record(b);
	if (!b->facts.writable)
		b->decision.committable = false;
	if (b->facts.record_readable ? !streq(b->facts.record.last.boot_id, b->facts.boot_id)
				     : b->facts.writable)
		decide(b);
	return 0;
}

/* From the slot to the decision, which is in the record then. */
static int find_and_decide(struct boot *b, struct failure *f)
{
	int r = find_slot(b, f);

	if (r < 0)
		return r;
	patience_begin(b->cmdline.device_wait_sec + WAIT_MORE_SEC);
	r = disk_find(b->firmware.boot_mode, b->slot, b->cmdline.device_wait_sec, await_disk,
		      &b->disk, f);
	patience_end();
	if (r < 0)
		return r;
	stage_end(b, STAGE_DISK);

	r = data_mount(&b->disk.part[PART_DATA], DATA_EARLY, &b->data, f);
	if (r < 0)
		return r;
	if (!b->data.wants_check)
		tell_data(b);
	free_record_dir(b);
	stage_end(b, STAGE_DATA);

	read_selector(b);
	decide(b);
	stage_end(b, STAGE_DECIDE);
	return 0;
}

/* Returns only when the boot failed, with @f filled. */
static int story(struct boot *b, struct failure *f)
{
	struct failure later;
	int r, image;

	r = wake_up(b, f);
	if (r < 0)
		return r;
	image = read_image(b, f);
	if (image < 0)
		log_error("%s %s: the boot goes on as far as the record",
			  reason_text(f->reason)->what, f->text);
	r = find_and_decide(b, image < 0 ? &later : f);
	/* The cause of what failed after it, and recorded by now if that could be. */
	if (image < 0)
		return image;
	if (r < 0)
		return r;

	r = root_mount(&b->disk.part[part_root(b->slot)], &b->disk, &b->cmdline, SYSROOT, &b->root,
		       f);
	if (r < 0)
		return r;
	log_info("verity: %s by %s", b->root.algorithm,
		 *b->root.driver ? b->root.driver : "a driver that is not told");
	stage_end(b, STAGE_ROOT);

	r = check_data(b, f);
	if (r >= 0)
		r = read_root(b, f);
	if (r < 0) {
		root_blame(&b->root, f);
		return r;
	}
	stage_end(b, STAGE_HANDOVER);
	r = handover_tell(b, f);
	if (r < 0)
		return r;
	expedite_rcu(false);
	/* From here on the new init has the time it needs: only the watchdog counts. */
	patience_last(SWITCH_SEC);
	return handover_switch(b, SYSROOT, f);
}

/* Interrupted: the deadline is why. What failed otherwise keeps its own reason. */
static void blame_deadline(struct failure *f)
{
	size_t used = strlen(f->text);

	if (f->error == EINTR)
		f->reason = REASON_DEADLINE;
	else
		(void)snprintf(f->text + used, sizeof(f->text) - used, "%safter the deadline",
			       used ? ", " : "");
}

/* For who builds an image: what this program would say of its fstab at boot. */
static int check_fstab(const char *file)
{
	_cleanup_(plan_done) struct mount_plan plan = { 0 };
	_cleanup_free_ char *fstab = NULL;
	struct failure f = { 0 };
	int r = sys_read_file(AT_FDCWD, file, FSTAB_MAX, &fstab, NULL);

	if (r < 0) {
		(void)fprintf(stderr, "bf-init: %s: %s\n", file, strerror(-r));
		return 2;
	}
	r = plan_make(fstab, &plan, &f);
	if (r < 0)
		(void)printf("%s\n", f.text);
	return r < 0;
}

static int usage(int argc, char **argv)
{
	if (argc == 3 && streq(argv[1], "--check-fstab"))
		return check_fstab(argv[2]);
	if (argc == 2 && streq(argv[1], "--version")) {
		(void)printf("bf-init %s\n", BF_VERSION);
		return 0;
	}
	if (argc == 2 && streq(argv[1], "--help")) {
		(void)printf(
			"Usage: bf-init [--help | --version | --check-fstab FILE]\n\n"
			"The first program of the initramfs (PID 1): finds the slot to boot, "
			"mounts "
			"its\n"
			"verified root and the data partition, and starts the system's own init.\n"
			"It is not run by hand, but to look for mistakes in an image's fstab. See "
			"bf-init(8).\n");
		return 0;
	}
	(void)fprintf(stderr,
		      "bf-init: this is the first program of an initramfs, not run by hand; "
		      "see bf-init(8)\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct failure f = { 0 };

	if (getpid() != 1)
		return usage(argc, argv);
	boot.argv = argv;
	boot.start_monotonic_usec = sys_monotonic_usec();
	boot.start_realtime_usec = sys_realtime_usec();
	if (story(&boot, &f) >= 0)
		failure_set(&f, REASON_HANDOVER, 0, "nothing was started");
	if (patience_is_over())
		blame_deadline(&f);
	fail_boot(&boot, &f);
}
