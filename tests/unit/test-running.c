// SPDX-License-Identifier: MIT
#include "boot/running.h"
#include "tests/lib/bf-boot-device.h"
#include "tests/lib/fat-make.h"
#include "tests/lib/tap.h"

#include <sys/file.h>

#define SELECTOR_DEV "/dev/nvme0n1p1"
#define HEX32	     "0123456789abcdef0123456789abcdef"

/* ---- finding out ------------------------------------------------------------- */

static struct record stored;

static void make_device(const struct device *model)
{
	struct device d = *model;

	fake_reset();
	device_record(&stored, SLOT_A);
	if (d.trial) {
		stored.staged = SLOT_B;
		stored.attempts = stored.trials = 1;
		stored.state[SLOT_B] = STATE_UNKNOWN;
		record_set_last(&stored, SLOT_B, PHASE_TRIAL, DEVICE_BOOT_ID, false, 0);
	}
	d.record = &stored;
	device_make(&d);
}

static void make_usual(void)
{
	make_device(&device_default);
}

static void make_trial(void)
{
	struct device d = device_default;

	d.running = SLOT_B;
	d.trial = true;
	d.boot_file = "BF_LIMBO=no\n";
	make_device(&d);
}

static int open_close(struct running *r)
{
	int e = running_open(RUNNING_READ, r);

	running_close(r);
	ok_int(fake_open_fds(), 0, "nothing is left open");
	return e;
}

/* bf-init's stamp of this boot is in the record, or the disk forgets what it takes. */
static void test_disk_forgets(void)
{
	struct running r;

	make_usual();
	ok_int(open_close(&r), 0, "a usual device");
	r.facts.record.last = (struct record_last) { .slot = SLOT_A, .phase = PHASE_STARTED };
	strcpy(r.facts.record.last.boot_id, r.boot.boot_id);
	ok(*r.boot.boot_id && !running_disk_forgets(&r), "this boot is in the record");
	strcpy(r.facts.record.last.boot_id, "ffffffffffffffffffffffffffffffff");
	ok(running_disk_forgets(&r), "another one is");
	r.facts.writable = false;
	ok(!running_disk_forgets(&r), "nothing could be written");
}

static void test_open_usual(void)
{
	const struct run_facts *f;
	struct running r;

	make_usual();
	ok_int(open_close(&r), 0, "open: a good device");
	f = &r.facts;
	ok_int(f->running, SLOT_A, "open: what runs");
	ok(!f->mismatch && !f->limbo && !f->validated && !f->staying && !f->armed,
	   "open: no flags");
	ok(f->selector == SELECTOR_VALID && f->selector_committed == SLOT_A, "open: the sector");
	ok(f->record_readable && f->record.committed == SLOT_A && f->record.gen == 1,
	   "open: the record");
	ok(f->writable && !f->record_future, "open: writable");
	ok_int(r.record_status, RECORD_OK, "open: how the record was read");
	ok_str(r.why, "", "open: nothing to complain about");
	make_trial();
	ok_int(open_close(&r), 0, "open: a trial");
	ok(r.facts.validated && r.facts.committable && requests_is_trial(&r.facts),
	   "open: it is known as one");
	fake_file(RUNNING_STAYING, "");
	fake_file(RUNNING_ARMED, "armed\n");
	ok_int(open_close(&r), 0, "open: marks");
	ok(r.facts.staying && r.facts.armed, "open: both marks are seen");
}

static void rule_not_root(void)
{
	fake_result("is-root", -EPERM);
}

static void no_boot_file(void)
{
	fake_remove(BOOT_FILE_PATH);
}

static void bad_boot_file(void)
{
	fake_file(BOOT_FILE_PATH, "BF_SLOT=A\nBF_TRIAL=perhaps\n");
}

static void other_device_number(void)
{
	fake_file("/sys/class/block/nvme0n1p6/dev", "7:7\n");
}

static void no_device_number(void)
{
	fake_remove("/sys/class/block/nvme0n1p6");
}

static void no_data_dir(void)
{
	fake_remove(DEVICE_DATA);
}

static void read_only(void)
{
	fake_readonly(true);
}

static void no_record(void)
{
	fake_remove(DEVICE_DATA "/bf/boot-record");
	fake_remove(DEVICE_DATA "/bf/boot-record.old");
}

static void one_record(void)
{
	fake_file(DEVICE_DATA "/bf/boot-record", "no record");
}

static void unreadable_record(void)
{
	fake_result("open boot-record", -EIO);
}

static void no_selector_device(void)
{
	fake_remove(SELECTOR_DEV);
}

static void selector_error(void)
{
	fake_result("pread " SELECTOR_DEV, -EIO);
}

static void root_elsewhere(void)
{
	fake_dir("/sys/class/block/nvme0n1p4/holders");
	fake_file("/sys/class/block/nvme0n1p5/holders/dm-0", "");
}

static void root_here(void)
{
	fake_file("/sys/class/block/nvme0n1p4/holders/dm-0", "");
	fake_dir("/sys/class/block/nvme0n1p5/holders");
}

static void test_open_odd(void)
{
	static const struct {
		const char *name;
		void (*spoil)(void);
		int want;
		bool readable, writable, mismatch;
		enum selector_state selector;
		const char *why; /* what it contains */
	} cases[] = {
		{ "not root", rule_not_root, -EPERM, false, false, false, 0, "root" },
		{ "no boot file", no_boot_file, -ENOENT, false, false, false, 0, "/run/bf/boot" },
		{ "bad boot file", bad_boot_file, -EBADMSG, false, false, false, 0,
		  "/run/bf/boot" },
		{ "something else on /data", other_device_number, 0, false, false, false,
		  SELECTOR_VALID, DEVICE_DATA },
		{ "no number of BF_DATA", no_device_number, 0, false, false, false, SELECTOR_VALID,
		  DEVICE_DATA },
		{ "no /data", no_data_dir, 0, false, false, false, SELECTOR_VALID, DEVICE_DATA },
		{ "read-only", read_only, 0, true, false, false, SELECTOR_VALID, "" },
		{ "no record", no_record, 0, false, true, false, SELECTOR_VALID, "" },
		{ "one generation", one_record, 0, true, true, false, SELECTOR_VALID, "" },
		{ "the medium fails", unreadable_record, 0, false, false, false, SELECTOR_VALID,
		  "boot record" },
		{ "no selector", no_selector_device, 0, true, true, false, SELECTOR_GONE,
		  "autoboot.txt" },
		{ "selector unreadable", selector_error, 0, true, true, false, SELECTOR_GONE,
		  "autoboot.txt" },
		{ "root on the other slot", root_elsewhere, 0, true, true, true, SELECTOR_VALID,
		  "" },
		{ "root on this slot", root_here, 0, true, true, false, SELECTOR_VALID, "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct running r;

		make_usual();
		cases[i].spoil();
		ok_int(open_close(&r), cases[i].want, "open: %s", cases[i].name);
		ok(strstr(r.why, cases[i].why) && !*cases[i].why == !*r.why, "why: %s, \"%s\"",
		   cases[i].name, r.why);
		if (cases[i].want < 0)
			continue;
		ok_int(r.facts.record_readable, cases[i].readable, "readable: %s", cases[i].name);
		ok_int(r.facts.writable, cases[i].writable, "writable: %s", cases[i].name);
		ok_int(r.facts.mismatch, cases[i].mismatch, "mismatch: %s", cases[i].name);
		ok_int(r.facts.selector, cases[i].selector, "selector: %s", cases[i].name);
	}
}

/* A closed descriptor must not look like BF_DATA: its number may be somebody else's by then. */
static void test_nothing_kept_of_other_data(void)
{
	struct running r;

	make_usual();
	other_device_number();
	ok_int(running_open(RUNNING_READ, &r), 0, "other data: opened");
	ok_int(r.data_fd, -1, "other data: no descriptor");
	running_close(&r);
	ok_int(r.lock_fd, -1, "other data: closed once");
	running_close(&r);
	ok_int(fake_open_fds(), 0, "other data: nothing is left open");
}

static void test_lock(void)
{
	struct running a, b;

	make_usual();
	ok_int(running_open(RUNNING_READ, &a), 0, "lock: one reads");
	ok_int(running_open(RUNNING_READ, &b), 0, "lock: two read");
	running_close(&b);
	ok_int(running_open(RUNNING_CHANGE, &b), -ETIMEDOUT, "lock: no change meanwhile");
	ok(strstr(b.why, RUNNING_LOCK), "lock: and it says why");
	running_close(&b);
	running_close(&a);
	ok_int(running_open(RUNNING_CHANGE, &a), 0, "lock: one changes");
	ok_int(running_open(RUNNING_READ, &b), -ETIMEDOUT, "lock: nobody reads meanwhile");
	running_close(&b);
	running_close(&a);
	ok_int(running_open(RUNNING_CHANGE, &a), 0, "lock: free again");
	running_close(&a);
	ok_int(fake_open_fds(), 0, "lock: nothing is left open");
}

/* ---- carrying out --------------------------------------------------------------- */

static int ask(enum request request, enum slot slot, const char *hash)
{
	struct request_args args = { .slot = slot };
	struct request_plan plan;
	struct running r;
	int e;

	strcpy(args.hash, hash);
	e = running_open(RUNNING_CHANGE, &r);
	if (e >= 0)
		e = running_request(&r, request, &args, &plan);
	running_close(&r);
	return e;
}

static bool on_disk(struct record *ret)
{
	_cleanup_close_ int fd = sys_open(DEVICE_DATA, O_RDONLY | O_DIRECTORY, 0);
	int e = fd < 0 ? fd : record_load(fd, ret);

	return e == RECORD_OK || e == RECORD_BACKUP;
}

static enum slot sector_on_disk(void)
{
	struct selector s = { .committed = SLOT_NONE };
	_cleanup_close_ int fd = sys_open(SELECTOR_DEV, O_RDONLY, 0);

	return fd >= 0 && selector_read(fd, &s) == 0 ? s.committed : SLOT_NONE;
}

static void is_file(const char *path, const char *want, const char *what)
{
	_cleanup_free_ char *text = fake_read(path, NULL);

	ok_str(text, want, "%s", what);
}

/* The lines must come in this order. */
static void in_order(const char *const *lines, const char *what)
{
	const char *at = fake_log();

	for (; *lines; lines++) {
		const char *next = at ? strstr(at, *lines) : NULL;

		if (!ok(next, "%s: %s", what, *lines))
			printf("# %s\n", fake_log());
		at = next ? next + 1 : NULL;
	}
}

static void test_commit(void)
{
	static const char *const order[] = { "pwrite /data/bf/boot-record",
					     "fsync /data/bf/boot-record",
					     "exchange boot-record",
					     "fsync /data/bf",
					     "open " SELECTOR_DEV " direct,dsync",
					     "pwrite " SELECTOR_DEV,
					     "pread " SELECTOR_DEV,
					     "unlink /run/systemd/reboot-param",
					     "unlink /run/bf/armed",
					     NULL };
	struct record rec;

	make_trial();

	fake_log_files(true);
	ok_int(ask(REQUEST_SET_GOOD, SLOT_B, ""), 0, "commit");
	in_order(order, "commit");
	fake_log_files(false);
	ok(on_disk(&rec) && rec.committed == SLOT_B && rec.staged == SLOT_NONE, "commit: record");
	ok_int(sector_on_disk(), SLOT_B, "commit: sector");
	fake_log_clear();
	fake_log_files(true);
	ok_int(ask(REQUEST_SET_GOOD, SLOT_B, ""), 0, "commit again");
	ok(!strstr(fake_log(), "pwrite"), "commit again: nothing is written");
	ok_int(fake_violations(), 0, "commit: whole blocks only");
}

static void test_arming(void)
{
	struct record rec;

	make_usual();
	ok_int(ask(REQUEST_SET_PRIMARY, SLOT_B, "dd44"), 0, "arm");
	ok(on_disk(&rec) && rec.staged == SLOT_B, "arm: record");
	is_file(RUNNING_ARMED, "armed\n", "arm: marker");
	ok(!fake_exists(RUNNING_REBOOT_PARAM), "arm: no reboot argument before it is counted");
	fake_file(RUNNING_REBOOT_PARAM, "0 tryboot\n");
	ok_int(running_arm_again(), 0, "arm again: not counted, so no trial");
	ok(!fake_exists(RUNNING_REBOOT_PARAM), "arm again: somebody's argument is taken back");
	ok_int(ask(REQUEST_TRY, SLOT_NONE, ""), 0, "try");
	is_file(RUNNING_ARMED, "counted\n", "try: marker");
	is_file(RUNNING_REBOOT_PARAM, "0 tryboot\n", "try: reboot argument");
	ok(on_disk(&rec) && rec.attempts == 1, "try: counted");
	fake_remove("/run/systemd");
	ok_int(running_arm_again(), 1, "arm again: counted");
	is_file(RUNNING_REBOOT_PARAM, "0 tryboot\n", "arm again: reboot argument");
	ok_int(ask(REQUEST_CANCEL, SLOT_NONE, ""), 0, "cancel");
	ok(!fake_exists(RUNNING_ARMED) && !fake_exists(RUNNING_REBOOT_PARAM), "cancel: disarmed");
	ok(on_disk(&rec) && rec.staged == SLOT_NONE, "cancel: record");
	ok_int(running_arm_again(), 0, "arm again: nothing is");
	make_usual();
	ok_int(ask(REQUEST_SET_PRIMARY, SLOT_B, "dd44"), 0, "a full /run: staged before");
	ok_int(running_make_spares(), 0, "a full /run: spare files");
	ok_int(running_make_spares(), 0, "a full /run: made once");
	fake_result("write /run/bf/armed", -ENOSPC);
	fake_result("write /run/systemd/reboot-param", -ENOSPC);
	ok_int(ask(REQUEST_TRY, SLOT_NONE, ""), 0, "a full /run: try");
	is_file(RUNNING_ARMED, "counted\n", "a full /run: marker");
	is_file(RUNNING_REBOOT_PARAM, "0 tryboot\n", "a full /run: reboot argument");
	ok_int(running_arm_again(), 1, "a full /run: still there at the end");
	is_file(RUNNING_REBOOT_PARAM, "0 tryboot\n", "a full /run: and not written over");
	fake_remove(RUNNING_REBOOT_PARAM);
	ok_int(running_arm_again(), -ENOENT, "a full /run: one spare file is there, not two");
	fake_result("read-file " RUNNING_ARMED, -EIO);
	ok_int(running_arm_again(), -EIO, "arm again: an error is told");
}

/* A plan that asks for the reboot argument alone does not get it. */
static void test_not_counted(void)
{
	const struct request_plan plan = { .steps = { STEP_COUNTED }, .sector = SLOT_NONE };
	struct running r;

	make_usual();
	ok_int(ask(REQUEST_SET_PRIMARY, SLOT_B, "dd44"), 0, "not counted: staged");
	ok_int(running_open(RUNNING_CHANGE, &r), 0, "not counted: open");
	ok_int(running_carry_out(&r, &plan), -EPROTO, "not counted: no trial");
	is_file(RUNNING_ARMED, "armed\n", "not counted: marker");
	ok(!fake_exists(RUNNING_REBOOT_PARAM), "not counted: no reboot argument");
	running_close(&r);
}

/* What was refused or went wrong leaves the flag alone. */
static void test_refused(void)
{
	struct record rec;
	uint64_t gen;

	make_trial();
	ok(on_disk(&rec), "refused: a record");
	gen = rec.gen;
	ok_int(ask(REQUEST_SET_PRIMARY, SLOT_A, "dd44"), 0, "refused: no error");
	ok_int(ask(REQUEST_SET_BAD, SLOT_A, ""), 0, "refused: no error");
	ok(on_disk(&rec) && rec.gen == gen, "refused: nothing is written");
	make_usual();
	fake_result("pwrite /data/bf/boot-record", -ENOSPC);
	ok_int(ask(REQUEST_SET_PRIMARY, SLOT_B, "dd44"), -ENOSPC, "record not written");
	ok(!fake_exists(RUNNING_REBOOT_PARAM), "record not written: not armed");
	make_trial();
	fake_result("pwrite " SELECTOR_DEV, -EIO);
	ok_int(ask(REQUEST_SET_GOOD, SLOT_B, ""), -EIO, "sector not written");
	ok(on_disk(&rec) && rec.committed == SLOT_B, "sector not written: the record is the truth");
	ok_int(sector_on_disk(), SLOT_A, "sector not written: bf-init will repair it");
}

/* ---- every call fails once --------------------------------------------------------- */

static const struct sweep {
	const char *name;
	void (*make)(void);
	enum request request;
	enum slot slot;
} sweeps[] = {
	{ "set-primary", make_usual, REQUEST_SET_PRIMARY, SLOT_B },
	{ "kiosk-fails", make_usual, REQUEST_KIOSK_FAILS, SLOT_NONE },
	{ "set-bad", make_usual, REQUEST_SET_BAD, SLOT_B },
	{ "set-good", make_trial, REQUEST_SET_GOOD, SLOT_B },
	{ "reject", make_trial, REQUEST_REJECT, SLOT_NONE },
};

static bool consistent(void)
{
	struct record rec;

	if (!on_disk(&rec))
		return false;
	if (fake_exists(RUNNING_REBOOT_PARAM) && (rec.staged == SLOT_NONE || rec.attempts == 0))
		return false;
	return sector_on_disk() == SLOT_A || rec.committed == SLOT_B;
}

static void test_sweep(const struct sweep *s, bool cut)
{
	unsigned k, calls = 0;

	for (k = 1;; k++) {
		int e;

		s->make();
		if (cut)
			fake_cut_at(k);
		else
			fake_fail_at(k, EIO);
		e = ask(s->request, s->slot, s->slot == SLOT_NONE ? "" : "dd44");
		calls = fake_calls();
		fake_fail_at(0, 0);
		if (!ok(consistent(), "%s: call %u %s", s->name, k, cut ? "cut" : "fails"))
			printf("# result %d\n", e);
		if (fake_open_fds())
			ok(false, "%s: call %u: a descriptor is left open", s->name, k);
		if (calls < k)
			break;
	}
	ok(k > 40, "%s: %u calls", s->name, k - 1);
}

/* ---- mounts ----------------------------------------------------------------------------- */

static void selector_appears(void)
{
	struct device d = device_default;

	d.selector = SLOT_B; /* its text does not matter */
	device_selector(&d);
}

static void test_selector_gone(void)
{
	static const char *const order[] = { "mount " SELECTOR_DEV " /run/bf/mnt vfat",
					     "unlink /run/bf/mnt/AUTOBOOT.TXT",
					     "open /run/bf/mnt/AUTOBOOT.TXT",
					     "write /run/bf/mnt/AUTOBOOT.TXT",
					     "fsync /run/bf/mnt/AUTOBOOT.TXT",
					     "umount /run/bf/mnt",
					     "open " SELECTOR_DEV,
					     NULL };
	struct device d = device_default;

	d.selector = SLOT_NONE;
	make_device(&d);
	fake_then("umount /run/bf/mnt -", selector_appears);
	fake_log_files(true);
	ok_int(ask(REQUEST_SET_GOOD, SLOT_A, ""), 0, "autoboot.txt gone");
	in_order(order, "autoboot.txt gone");
	ok_int(sector_on_disk(), SLOT_A, "autoboot.txt gone: made anew");
	make_device(&d);
	fake_result("mount " SELECTOR_DEV, -EIO);
	ok_int(ask(REQUEST_SET_GOOD, SLOT_A, ""), -EIO, "autoboot.txt gone, mount fails");
	make_device(&d);
	ok_int(ask(REQUEST_SET_GOOD, SLOT_A, ""), -ENOENT, "autoboot.txt gone, and stays so");
}

/* Several entries may answer to the name, by a long or a short one: the next unlink finds the next.
 */
static unsigned more_files;

static void another_file(void)
{
	if (more_files && more_files--)
		fake_file("/run/bf/mnt/AUTOBOOT.TXT", "boot_partition=3\n");
}

static const char *made_text(void)
{
	static char text[AUTOBOOT_SIZE + 1];
	_cleanup_free_ char *got = fake_read("/run/bf/mnt/AUTOBOOT.TXT", NULL);

	(void)snprintf(text, sizeof(text), "%s", got ? got : "");
	return text;
}

static void test_selector_of_somebody(void)
{
	static const char text[] = "[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\n"
				   "boot_partition=2\n";
	const struct fat_make_file file = { "AUTOBOOTTXT", text, 0 };
	struct device d = device_default;
	char ours[AUTOBOOT_SIZE + 1] = "";
	struct record rec;
	struct running r;

	make_device(&d);
	fat_make(fake_path(SELECTOR_DEV), 12, 512, &file, 1);
	ok_int(running_open(RUNNING_READ, &r), 0, "somebody's text");
	ok(r.facts.selector == SELECTOR_VALID && r.facts.selector_committed == SLOT_B &&
		   !r.facts.selector_in_place,
	   "somebody's text: valid, not in place");
	running_close(&r);

	/* The firmware obeyed it: B runs, A is committed. */
	d.running = SLOT_B;
	make_device(&d);
	fat_make(fake_path(SELECTOR_DEV), 12, 512, &file, 1);
	fake_then("umount /run/bf/mnt -", selector_appears);
	more_files = 3;
	fake_then("unlink /run/bf/mnt/AUTOBOOT.TXT", another_file);
	ok_int(ask(REQUEST_RECONCILE, SLOT_NONE, ""), 0, "wrong slot: reconcile");
	ok(strstr(fake_log(), "mount " SELECTOR_DEV " /run/bf/mnt vfat "), "wrong slot: mounted");
	ok(strstr(fake_log(), "sync"), "wrong slot: each write before the next");
	autoboot_format(SLOT_A, ours);
	ok_str(made_text(), ours, "wrong slot: the text is whole at once");
	ok_int(sector_on_disk(), SLOT_A, "wrong slot: and found in place");
	ok(on_disk(&rec) && rec.repairs == 1, "wrong slot: counted");
	more_files = 0;

	/* The file cannot be made: the reboot is counted all the same, or it would never end. */
	make_device(&d);
	fat_make(fake_path(SELECTOR_DEV), 12, 512, &file, 1);
	fake_result("mount " SELECTOR_DEV, -EIO);
	ok_int(ask(REQUEST_RECONCILE, SLOT_NONE, ""), 0, "wrong slot, and no file");
	ok(on_disk(&rec) && rec.repairs == 1, "wrong slot, and no file: counted");
}

static int image_hash(const char *cmdline, char ret[static RECORD_HASH_MAX + 1])
{
	struct running r;
	int e;

	if (cmdline)
		fake_file("/run/bf/mnt/cmdline-b.txt", cmdline);
	else
		fake_remove("/run/bf/mnt/cmdline-b.txt");
	e = running_open(RUNNING_CHANGE, &r);
	if (e >= 0)
		e = running_image_hash(&r, SLOT_B, ret);
	running_close(&r);
	return e;
}

static void test_image_hash(void)
{
	char hash[RECORD_HASH_MAX + 1];

	make_usual();
	ok_int(image_hash("quiet roothash=" HEX32 HEX32 " rauc.slot=B\n", hash), 0, "hash");
	ok_str(hash, HEX32 HEX32, "hash: as it stands");
	ok(strstr(fake_log(), "mount /dev/nvme0n1p3 /run/bf/mnt vfat ro,nosuid,nodev,noexec"),
	   "hash: from the slot's boot partition, read-only");
	ok(strstr(strstr(fake_log(), "mount /dev/nvme0n1p3"), "umount /run/bf/mnt detach"),
	   "hash: unmounted again");
	ok_int(image_hash(
		       "roothash=0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF"
		       "\n",
		       hash),
	       0, "hash: upper case");
	ok_str(hash, HEX32 HEX32, "hash: in lower case");
	ok_int(image_hash("quiet\n", hash), -ENOENT, "hash: none");
	ok_str(hash, "", "hash: none is none");
	ok_int(image_hash(NULL, hash), -ENOENT, "hash: no file");
	ok(image_hash("roothash=no-hash\n", hash) < 0, "hash: not one");
	fake_result("mount /dev/nvme0n1p3", -EINVAL);
	ok_int(image_hash("roothash=" HEX32 HEX32 "\n", hash), -EINVAL, "hash: mount fails");
}

int main(void)
{
	test_open_usual();
	test_disk_forgets();
	test_open_odd();
	test_nothing_kept_of_other_data();
	test_lock();
	test_commit();
	test_arming();
	test_not_counted();
	test_refused();
	for (size_t i = 0; i < ARRAY_SIZE(sweeps); i++) {
		test_sweep(&sweeps[i], false);
		test_sweep(&sweeps[i], true);
	}
	test_selector_gone();
	test_selector_of_somebody();
	test_image_hash();
	return tap_done();
}
