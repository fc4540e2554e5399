// SPDX-License-Identifier: MIT
#include "tests/lib/walk-world.h"

#include "initramfs/init/handover.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/fat-make.h"
#include "tests/lib/requests-text.h"

#include <fcntl.h>
#include <stdarg.h>

const char *const content_names[CONTENT_COUNT] = {
	"good", "pre", "init", "dark", "kiosk", "later", "later-dark", "reboots",
};

const struct fault no_fault = { .kind = FAULT_NONE };

void world_violate(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (*w->violation)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(w->violation, sizeof(w->violation), fmt, ap);
	va_end(ap);
}

bool content_is_healthy(enum content c)
{
	return c == CONTENT_GOOD || c == CONTENT_LATER || c == CONTENT_LATER_DARK;
}

void version_hash(unsigned version, char ret[static RECORD_HASH_MAX + 1])
{
	(void)snprintf(ret, RECORD_HASH_MAX + 1, "%08x", version);
}

static void boot_id(const struct world *w, char ret[static 33])
{
	(void)snprintf(ret, 33, "%032x", w->boots);
}

enum slot the_other(enum slot slot)
{
	return slot == SLOT_A ? SLOT_B : SLOT_A;
}

#define VOLUME_START 16384 /* FAT and root directory are in it */
#define MOUNTED	     RUNNING_DIR "/mnt"
#define MOUNTED_FILE MOUNTED "/AUTOBOOT.TXT"

/* ---- the firmware ------------------------------------------------------- */

static enum slot slot_of_number(const char *text)
{
	return strncmp(text, "2\n", 2) == 0   ? SLOT_A
	       : strncmp(text, "3\n", 2) == 0 ? SLOT_B
					      : SLOT_NONE;
}

/* The text of autoboot.txt, up to its end in a string; filters and keys as documented. */
static void firmware_parse(char *text, struct disk_view *v)
{
	static const char key[] = "boot_partition=";
	enum { ALL, TRIAL, NEITHER } where = ALL;
	bool two = false;
	char *end;

	v->all = v->trial = SLOT_NONE;
	for (char *line = text; (end = strchr(line, '\n')); line = end + 1) {
		if (*line == '[')
			where = strncmp(line, "[all]\n", 6) == 0	? ALL
				: strncmp(line, "[tryboot]\n", 10) == 0 ? TRIAL
									: NEITHER;
		else if (strncmp(line, "tryboot_a_b=1\n", 14) == 0 && where == ALL)
			two = true;
		else if (strncmp(line, key, sizeof(key) - 1) == 0 && where == ALL)
			v->all = slot_of_number(line + sizeof(key) - 1);
		else if (strncmp(line, key, sizeof(key) - 1) == 0 && where == TRIAL)
			v->trial = slot_of_number(line + sizeof(key) - 1);
	}
	v->usable = two && v->all != SLOT_NONE && v->trial != SLOT_NONE && v->all != v->trial;
}

/* Where a volume keeps AUTOBOOT.TXT, whose clusters are one sector each; d: its start. */
struct text_place {
	size_t offset, size; /* bytes; offset 0: there is no such file */
};

static struct text_place text_place(const uint8_t *d)
{
	size_t sector = d[11] | (size_t)d[12] << 8, reserved = d[14] | (size_t)d[15] << 8;
	size_t fats = d[16] * (d[22] | (size_t)d[23] << 8), entries = d[17] | (size_t)d[18] << 8;
	const uint8_t *entry = d + (reserved + fats) * sector;
	size_t size, cluster;

	for (size_t i = 0; i < entries && memcmp(entry, "AUTOBOOTTXT", 11) != 0; i++)
		entry += 32;
	size = entry[28] | (size_t)entry[29] << 8;
	cluster = entry[26] | (size_t)entry[27] << 8;
	if (memcmp(entry, "AUTOBOOTTXT", 11) != 0 || size == 0)
		return (struct text_place) { 0, 0 };
	return (struct text_place) {
		(reserved + fats) * sector + entries * 32 + (cluster - 2) * d[13] * sector, size
	};
}

static FILE *open_selector(struct text_place *ret)
{
	static uint8_t start[VOLUME_START + 32];
	FILE *f = fopen(fake_path(WORLD_SELECTOR), "r+e");

	if (!f || fread(start, VOLUME_START, 1, f) != 1)
		text_die("the selector cannot be read");
	*ret = text_place(start);
	return f;
}

void world_damage_selector(const char junk[static AUTOBOOT_SIZE])
{
	struct text_place place;
	FILE *f = open_selector(&place);

	if (place.offset &&
	    (fseek(f, (long)place.offset, SEEK_SET) != 0 || fwrite(junk, AUTOBOOT_SIZE, 1, f) != 1))
		text_die("the selector cannot be damaged");
	if (fclose(f) != 0)
		text_die("the selector cannot be damaged");
}

void world_make_selector(const char *text, size_t size)
{
	const struct fat_make_file file = { "AUTOBOOTTXT", text ? text : "", size };

	fat_make(fake_path(WORLD_SELECTOR), 12, 512, &file, text != NULL);
}

/* What the firmware reads: a longer file is none, a shorter one has its own end. */
static void look_at_selector(struct disk_view *v)
{
	char text[AUTOBOOT_SIZE + 1] = "";
	struct text_place place;
	FILE *f = open_selector(&place);

	if (place.size <= AUTOBOOT_SIZE && place.offset &&
	    (fseek(f, (long)place.offset, SEEK_SET) != 0 || fread(text, place.size, 1, f) != 1))
		text_die("the selector cannot be read");
	(void)fclose(f);
	firmware_parse(text, v); /* as far as the first NUL, like the firmware */
	v->in_place = place.size == AUTOBOOT_SIZE;
}

/* -- the same, mounted: files at MOUNTED, whose changes are on the disk at once -- */

static bool is_mounted;

static void on_mount(void)
{
	char text[2 * AUTOBOOT_SIZE + 1] = "";
	struct text_place place;
	FILE *f = open_selector(&place);

	fake_remove(MOUNTED_FILE);
	fake_dir(MOUNTED);
	is_mounted = true;
	if (place.offset && fseek(f, (long)place.offset, SEEK_SET) == 0 &&
	    fread(text, 1, place.size, f) == place.size)
		fake_file_data(MOUNTED_FILE, text, place.size);
	(void)fclose(f);
}

static void mounted_is_on_disk(void)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;

	if (!is_mounted)
		return;
	is_mounted = false;
	text = fake_read(MOUNTED_FILE, &size);
	world_make_selector(text, size);
	fake_remove(MOUNTED_FILE);
}

void world_disk_begins(void)
{
	is_mounted = false;
	fake_file(WORLD_SELECTOR, "");
	fake_then("mount " WORLD_SELECTOR " " MOUNTED " vfat", on_mount);
	fake_then("umount " MOUNTED " -", mounted_is_on_disk);
}

/* Reading costs more than comparing: what has not changed is what it was. */
struct generation_view {
	char text[RECORD_SIZE];
	bool good;
	struct record record;
};

static void look_at_generation(const char *name, struct generation_view *g)
{
	size_t len = 0;
	_cleanup_free_ char *text = fake_read(name, &len);

	if (!text || len != RECORD_SIZE) {
		memset(g->text, 0, sizeof(g->text));
		g->good = false;
	} else if (memcmp(text, g->text, RECORD_SIZE) != 0) {
		memcpy(g->text, text, RECORD_SIZE);
		g->good = record_parse(text, len, &g->record) == 0;
	}
}

static void look_at_record(struct disk_view *v)
{
	static struct generation_view g[2];

	look_at_generation(WORLD_DATA "/bf/boot-record", &g[0]);
	look_at_generation(WORLD_DATA "/bf/boot-record.old", &g[1]);
	v->has_record = g[0].good || g[1].good;
	if (v->has_record)
		v->record = !g[1].good || (g[0].good && g[0].record.gen > g[1].record.gen)
				    ? g[0].record
				    : g[1].record;
}

void world_look(struct world *w)
{
	if (w->in_memory)
		return;
	mounted_is_on_disk();
	look_at_selector(&w->disk);
	look_at_record(&w->disk);
}

enum slot world_firmware_choice(const struct world *w, bool flag)
{
	const struct disk_view *v = &w->disk;

	if (flag && v->usable)
		return v->trial;
	return v->all != SLOT_NONE ? v->all : SLOT_A;
}

static void firmware(struct world *w)
{
	w->boots++;
	w->count++;
	w->running =
		w->number != SLOT_NONE && !w->deaf ? w->number : world_firmware_choice(w, w->flag);
	w->number = SLOT_NONE;
	w->tryboot = w->flag;
	w->flag = false;
	w->data = w->next_data;
	w->next_data = DATA_OK;
	w->armed = w->counted = w->staying = w->rescue = false;
	w->reconciled = w->confirmed = w->settled = w->retried = false;
	if (w->tryboot && w->disk.has_record && w->running == w->disk.record.staged)
		w->trial_ran = true;
	if (w->in_memory)
		return;
	fake_readonly(w->data == DATA_READONLY);
	fake_remove(RUNNING_DIR);
	fake_remove("/run/systemd");
	fake_dir("/run/systemd");
}

/* ---- ends of a boot ------------------------------------------------------ */

void world_power_off(struct world *w)
{
	w->up = w->flag = false;
	w->number = SLOT_NONE;
	w->count = 0;
}

void world_restart(struct world *w, bool flag)
{
	w->up = false;
	w->flag = flag;
}

/* ---- a program runs, and what may happen to it --------------------------- */

static void program_begins(const struct world *w, const struct fault *fault)
{
	if (w->in_memory)
		return;
	fake_fail_at(0, 0);
	if (fault->kind == FAULT_CUT || fault->kind == FAULT_KILL)
		fake_cut_at(fault->call);
	if (fault->kind == FAULT_CUT && fault->torn)
		fake_torn(fault->torn);
	if (fault->kind == FAULT_FAIL)
		fake_fail_at(fault->call, fault->error);
	fake_log_files(fault->kind == FAULT_FAIL);
}

/* The call that failed was one that reads the record. */
static bool was_reading_record(void)
{
	static const char *const reading[] = { "open ", "pread ", "stat " };
	const char *failed = strstr(fake_log(), " -> "), *line = failed;

	while (line && line > fake_log() && line[-1] != '\n')
		line--;
	if (!line || !memmem(line, (size_t)(failed - line), "boot-record", 11))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(reading); i++)
		if (startswith(line, reading[i]))
			return true;
	return false;
}

/* What did happen to it. */
static enum fault_kind program_ends(struct world *w, const struct fault *fault, unsigned *ret_calls)
{
	bool hit;

	if (w->in_memory)
		return FAULT_NONE;
	hit = fault->kind != FAULT_NONE && fake_calls() >= fault->call;
	*ret_calls = fake_calls();
	if (hit && fault->kind == FAULT_FAIL && was_reading_record())
		w->unread = true;
	fake_fail_at(0, 0);
	fake_log_clear();
	world_look(w);
	if (fake_open_fds())
		world_violate(w, "%u descriptors were left open", fake_open_fds());
	return hit ? fault->kind : FAULT_NONE;
}

/* ---- bf-init --------------------------------------------------------------- */

static void memory_store(struct world *w, const struct record *rec)
{
	uint64_t gen = w->disk.has_record ? w->disk.record.gen : 0;

	w->disk.record = *rec;
	w->disk.record.gen = gen + 1;
	w->disk.has_record = true;
}

static void memory_select(struct world *w, enum slot slot)
{
	w->disk.all = slot;
	w->disk.trial = the_other(slot);
	w->disk.usable = w->disk.in_place = true;
}

static enum selector_state selector_state(const struct disk_view *v)
{
	return v->usable ? SELECTOR_VALID : v->in_place ? SELECTOR_INVALID : SELECTOR_GONE;
}

static void read_selector(struct boot_facts *f)
{
	struct selector sel = { .state = SELECTOR_GONE, .committed = SLOT_NONE };
	_cleanup_close_ int fd = sys_open(WORLD_SELECTOR, O_RDONLY, 0);

	if (fd >= 0 && selector_read(fd, &sel) < 0)
		sel = (struct selector) { .state = SELECTOR_GONE, .committed = SLOT_NONE };
	f->selector = sel.state;
	f->selector_committed = sel.committed;
	f->selector_in_place = sel.in_place;
}

/* As bf-init.c does. */
static void read_record(const struct world *w, int data_fd, struct boot_facts *f)
{
	int r;

	if (w->data == DATA_MISSING)
		return;
	r = record_load(data_fd, &f->record);
	if (r < 0)
		return;
	f->record_readable = r == RECORD_OK || r == RECORD_BACKUP;
	f->record_lost = r == RECORD_LOST;
	f->writable = w->data != DATA_READONLY && r != RECORD_FUTURE;
}

static void collect_facts(const struct world *w, int data_fd, struct boot_facts *f)
{
	*f = (struct boot_facts) {
		.running = w->running,
		.tryboot = w->tryboot,
		.has_count = w->has_count,
		.count = w->has_count ? w->count : 0,
		.now_sec = WORLD_NOW_SEC + w->boots,
		.selector = selector_state(&w->disk),
		.selector_committed = w->disk.usable ? w->disk.all : SLOT_NONE,
		.selector_in_place = w->disk.in_place,
		.record_readable = w->data != DATA_MISSING && w->disk.has_record,
		.record_lost = w->data != DATA_MISSING && !w->disk.has_record,
		.writable = w->data == DATA_OK,
		.record = w->disk.record,
	};
	boot_id(w, f->boot_id);
	version_hash(w->version[w->running], f->roothash);
	if (w->in_memory)
		return;
	f->record_readable = f->record_lost = f->writable = false;
	read_selector(f);
	read_record(w, data_fd, f);
}

static bool carry_out_write(struct world *w, enum boot_write what, int data_fd)
{
	struct boot_decision *d = &w->decision;

	if (w->in_memory) {
		if (what == WRITE_SECTOR)
			memory_select(w, d->sector);
		else
			memory_store(w, &d->record);
		return true;
	}
	if (what == WRITE_RECORD)
		return record_store(data_fd, &d->record) >= 0;
	(void)!selector_write(WORLD_SELECTOR, d->sector);
	return true;
}

/* As bf-init.c does. */
static void carry_out(struct world *w, struct boot_facts *f, int data_fd)
{
	struct boot_decision *d = &w->decision;
	bool written = true;

	for (size_t i = 0; written && i < ARRAY_SIZE(d->writes) && d->writes[i]; i++)
		written = carry_out_write(w, d->writes[i], data_fd);
	if (!written) {
		d->next = d->next_if_unwritten;
		d->committable = false;
		f->writable = false;
	} else if (d->writes[0] == WRITE_RECORD || d->writes[1] == WRITE_RECORD) {
		f->record = d->record;
		f->record_readable = true;
		f->record_lost = false;
	}
}

static void dump_boot(const struct world *w, const struct boot_facts *f, const char *call,
		      const struct boot_decision *d, uint32_t delay_sec)
{
	if (!w->dump || w->in_memory)
		return;
	fprintf(w->dump, "call=%s", call);
	text_print_facts(w->dump, f);
	fputs("\n", w->dump);
	text_print(w->dump, d, delay_sec);
	fputs("\n", w->dump);
}

/* Goes down by bf-init's own will: what must bound that? */
static void check_own_reboot(struct world *w, const struct boot_facts *f)
{
	const struct boot_decision *d = &w->decision;
	bool writes = d->writes[0] != WRITE_NOTHING;

	if (f->record_readable && d->record.committed != f->record.committed)
		world_violate(w, "I3: bf-init has committed a slot");
	if (d->next == NEXT_REBOOT_TRIAL && !writes)
		world_violate(w, "I5: a trial was asked for that nothing counts");
	if (d->next == NEXT_REBOOT_OTHER && d->writes[0] != WRITE_RECORD)
		world_violate(w, "I5: bf-init goes by number, and nothing counts it");
	if (d->next == NEXT_REBOOT && !writes && d->reason != REASON_TRIAL_NOT_STAGED)
		world_violate(w, "I5: bf-init reboots, and nothing counts it");
}

/* bf-init in a slot that cannot go on; the device is restarted. */
static void bf_init_fails(struct world *w, struct boot_facts *f, int data_fd)
{
	struct boot_decision *d = &w->decision, before = *d;
	uint32_t delay_sec;

	rules_bf_init_failed(f, &before, REASON_VERITY_CORRUPT, d, &delay_sec);
	w->rescue = !f->writable;
	for (size_t i = 0; i < ARRAY_SIZE(d->writes) && d->writes[i]; i++)
		if (!carry_out_write(w, d->writes[i], data_fd)) {
			d->next = d->next_if_unwritten;
			w->rescue = true;
		}
	w->delay_sec += delay_sec;
}

static void tell_running_system(const struct world *w)
{
	static const char *const names[] = { "1", "2", "3", "4", "5", "6" };
	struct boot b = { .slot = w->running, .decision = w->decision, .decided = true };
	char dir[] = WORLD_DATA, hash[RECORD_HASH_MAX + 1];
	_cleanup_free_ char *text = NULL;
	struct boot_file file;

	b.firmware.tryboot = w->tryboot;
	b.firmware.has_count = w->has_count;
	b.firmware.count = w->has_count ? w->count : 0;
	b.data.degraded = w->data == DATA_MISSING;
	b.data.readonly = w->data == DATA_READONLY;
	b.data.dir = b.data.degraded ? NULL : dir;
	boot_id(w, b.facts.boot_id);
	version_hash(w->version[w->running], hash);
	b.cmdline.roothash = hash;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		(void)snprintf(b.disk.part[i].name, sizeof(b.disk.part[i].name), "%s%s", WORLD_DISK,
			       names[i]);
	handover_describe(&b, &file);
	text = boot_file_format(&file);
	if (!text)
		text_die("out of memory");
	fake_file(BOOT_FILE_PATH, text);
}

static void spoil_facts(const struct world *w, struct boot_facts *f)
{
	/* Looking ahead would call it a good update thrown away, before it comes to that. */
	if (w->mistake == MISTAKE_BLAMED && !w->in_memory && f->record.staged != SLOT_NONE)
		f->record.trials = RULES_TRIALS_MAX;
	if (w->mistake == MISTAKE_ENDLESS)
		f->record.hard = f->record.soft = f->record.ladder = 0;
}

static void spoil_decision(const struct world *w, struct boot_decision *d)
{
	for (size_t i = 0; w->mistake == MISTAKE_NO_REPAIR && i < ARRAY_SIZE(d->writes); i++)
		if (d->writes[i] == WRITE_SECTOR) {
			d->writes[i] = d->writes[1];
			d->writes[1] = WRITE_NOTHING;
		}
}

static void bf_init_runs(struct world *w)
{
	_cleanup_close_ int data_fd = -1;
	struct boot_facts f, before;

	if (!w->in_memory)
		data_fd = sys_open(WORLD_DATA, O_RDONLY | O_DIRECTORY, 0);
	collect_facts(w, data_fd, &f);
	spoil_facts(w, &f);
	rules_bf_init(&f, &w->decision);
	spoil_decision(w, &w->decision);
	check_own_reboot(w, &f);
	before = f;
	dump_boot(w, &before, "init", &w->decision, 0);
	carry_out(w, &f, data_fd);
	if (next_is_reboot(w->decision.next))
		return;
	if (w->decision.next == NEXT_BOOT_TRIAL && w->decision.record.staged == w->running)
		w->trial_ran = true;
	if (w->content[w->running] == CONTENT_INIT)
		bf_init_fails(w, &f, data_fd);
}

unsigned world_boot_once(struct world *w, const struct fault *fault)
{
	unsigned calls = 0;
	enum fault_kind hit;

	world_look(w);
	firmware(w);
	if (w->content[w->running] == CONTENT_PRE) {
		world_restart(w, false);
		return 0;
	}
	program_begins(w, fault);
	bf_init_runs(w);
	hit = program_ends(w, fault, &calls);
	if (hit == FAULT_CUT) {
		world_power_off(w);
	} else if (hit == FAULT_KILL) { /* PID 1: the kernel panics */
		world_restart(w, false);
	} else if (next_is_reboot(w->decision.next)) {
		world_restart(w, w->decision.next == NEXT_REBOOT_TRIAL);
		if (w->decision.next == NEXT_REBOOT_OTHER)
			w->number = the_other(w->running);
	} else {
		w->up = true;
		if (!w->in_memory)
			tell_running_system(w);
	}
	return calls;
}

/* ---- the running system ----------------------------------------------------- */

void world_expected_facts(const struct world *w, struct run_facts *f)
{
	*f = (struct run_facts) {
		.running = w->running,
		.limbo = w->decision.limbo,
		.validated = w->decision.next == NEXT_BOOT_TRIAL,
		.committable = w->decision.committable,
		.staying = w->staying,
		.armed = w->armed,
		.selector = selector_state(&w->disk),
		.selector_committed = w->disk.usable ? w->disk.all : SLOT_NONE,
		.selector_in_place = w->disk.in_place,
		.record_readable = w->data != DATA_MISSING && w->disk.has_record,
		.writable = w->data == DATA_OK,
		.has_count = w->has_count,
		.count = w->has_count ? w->count : 0,
		.now_sec = WORLD_NOW_SEC + w->boots,
	};
	if (f->record_readable)
		f->record = w->disk.record;
	boot_id(w, f->boot_id);
	if (!w->in_memory) {
		f->armed = fake_exists(RUNNING_ARMED);
		f->staying = fake_exists(RUNNING_STAYING);
	}
}

static void check_found(struct world *w, const struct run_facts *got)
{
	struct run_facts want;

	world_expected_facts(w, &want);
	if (got->running != want.running || got->mismatch || got->limbo != want.limbo ||
	    got->validated != want.validated || got->committable != want.committable ||
	    got->staying != want.staying || got->armed != want.armed ||
	    got->selector != want.selector || got->selector_committed != want.selector_committed ||
	    got->selector_in_place != want.selector_in_place ||
	    got->record_readable != want.record_readable || got->record_future ||
	    got->writable != want.writable || got->has_count != want.has_count ||
	    got->count != want.count || !streq(got->boot_id, want.boot_id))
		world_violate(w, "running.c found other facts than there are");
	/* The crc was right twice, so one generation is one record. */
	if (want.record_readable && got->record.gen != want.record.gen)
		world_violate(w, "running.c found another record than there is");
}

static bool drop_step(struct request_plan *plan, enum request_step step)
{
	bool found = false;
	size_t to = 0;

	for (size_t i = 0; i < ARRAY_SIZE(plan->steps); i++)
		if (plan->steps[i] != step)
			plan->steps[to++] = plan->steps[i];
		else
			found = true;
	while (to < ARRAY_SIZE(plan->steps))
		plan->steps[to++] = STEP_END;
	return found;
}

static void swap_writes(struct request_plan *plan)
{
	for (size_t i = 0; plan->steps[i] != STEP_END; i++)
		if (plan->steps[i] == STEP_RECORD && plan->steps[i + 1] == STEP_SECTOR) {
			plan->steps[i] = STEP_SECTOR;
			plan->steps[i + 1] = STEP_RECORD;
			return;
		}
}

/* Does the mistake that was asked for. */
static void spoil_plan(struct world *w, enum request request, struct request_plan *plan)
{
	struct record *r = &plan->record;

	if (plan->refusal != REFUSAL_NONE)
		return;
	if (w->mistake == MISTAKE_SWAP)
		swap_writes(plan);
	if (w->mistake == MISTAKE_NO_SECTOR && request == REQUEST_SET_BAD)
		(void)drop_step(plan, STEP_SECTOR);
	/* What bf-init leaves undone, reconcile would do. */
	if ((w->mistake == MISTAKE_NO_FILE || w->mistake == MISTAKE_NO_REPAIR) &&
	    request == REQUEST_RECONCILE) {
		(void)drop_step(plan, STEP_SECTOR);
		(void)drop_step(plan, STEP_FILE);
	}
	if (w->mistake == MISTAKE_NOT_COUNTED && drop_step(plan, STEP_COUNTED)) {
		(void)drop_step(plan, STEP_RECORD);
		w->counted = true;
		fake_file(RUNNING_ARMED, "counted\n");
	}
	if (w->mistake == MISTAKE_BOTH_BAD && request == REQUEST_SET_BAD)
		r->state[SLOT_A] = r->state[SLOT_B] = STATE_BAD;
	if (w->mistake == MISTAKE_NOT_REFUSED)
		memset(r->refused, 0, sizeof(r->refused));
	if (w->mistake == MISTAKE_NO_REASON && r->history_count)
		r->history[0].reason[0] = '\0';
}

static void request_in_memory(struct world *w, enum request request,
			      const struct request_args *args, struct request_plan *plan)
{
	struct run_facts f;

	world_expected_facts(w, &f);
	requests_plan(&f, request, args, plan);
	spoil_plan(w, request, plan);
	for (size_t i = 0; plan->steps[i] != STEP_END; i++) {
		enum request_step step = plan->steps[i];

		if (step == STEP_SECTOR || step == STEP_FILE)
			memory_select(w, plan->sector);
		else if (step == STEP_RECORD)
			memory_store(w, &plan->record);
		else
			w->armed = step != STEP_DISARM;
		if (step == STEP_COUNTED || step == STEP_DISARM)
			w->counted = step == STEP_COUNTED;
	}
}

/* As bf-boot does: < 0 when it failed. */
static int request_for_real(struct world *w, enum request request, const struct request_args *args,
			    struct request_plan *plan, bool check)
{
	struct text_question q = { .request = request };
	struct running r;
	int e;

	e = running_open(RUNNING_CHANGE, &r);
	if (e >= 0) {
		if (check)
			check_found(w, &r.facts);
		q.facts = r.facts;
		requests_plan(&r.facts, request, args, plan);
		spoil_plan(w, request, plan);
		e = running_carry_out(&r, plan);
	}
	running_close(&r);
	if (w->dump && *q.facts.boot_id) {
		if (args)
			q.args = *args;
		else
			q.args.slot = SLOT_NONE;
		text_print_question(w->dump, &q);
		fputs("\n", w->dump);
		text_print_plan(w->dump, &q.facts, plan);
		fputs("\n", w->dump);
	}
	return e;
}

struct outcome world_ask(struct world *w, enum request request, const struct request_args *args,
			 const struct fault *fault)
{
	struct request_plan plan = { .next = NEXT_BOOT };
	struct outcome o = { .next = NEXT_BOOT };
	int e = 0;

	w->requests++;
	w->asked = request;
	program_begins(w, fault);
	if (w->in_memory)
		request_in_memory(w, request, args, &plan);
	else
		e = request_for_real(w, request, args, &plan, fault->kind == FAULT_NONE);
	o.hit = program_ends(w, fault, &o.calls);
	o.refusal = plan.refusal;
	if (o.hit == FAULT_CUT)
		world_power_off(w);
	else if (o.hit != FAULT_KILL && (plan.always || (e >= 0 && plan.refusal == REFUSAL_NONE)))
		o.next = plan.next;
	if (e < 0 && o.hit == FAULT_NONE)
		world_violate(w, "a request failed for no reason: %s", strerror(-e));
	return o;
}

/* The unit in reboot.target, when BF_DATA is gone already: the flag that the kernel passes on. */
static bool arm_again(struct world *w, const struct fault *fault)
{
	_cleanup_free_ char *param = NULL;
	unsigned calls;

	if (w->in_memory)
		return w->counted;
	fake_remove(RUNNING_REBOOT_PARAM); /* by systemd: a plain reboot */
	program_begins(w, fault);
	(void)!running_arm_again();
	if (program_ends(w, fault, &calls) == FAULT_CUT)
		return false;
	param = fake_read(RUNNING_REBOOT_PARAM, NULL);
	return param && strstr(param, " tryboot");
}

unsigned world_reboot(struct world *w, const struct fault *fault)
{
	struct outcome o = world_ask(w, REQUEST_SHUTDOWN_REBOOT, NULL, fault);

	if (o.hit == FAULT_CUT)
		return o.calls;
	world_restart(w, arm_again(w, o.hit == FAULT_NONE ? fault : &no_fault));
	return o.calls;
}

struct outcome world_ask_and_do(struct world *w, enum request request,
				const struct request_args *args, const struct fault *fault)
{
	struct outcome o = world_ask(w, request, args, fault);

	if (o.hit != FAULT_CUT && o.next != NEXT_BOOT)
		(void)world_reboot(w, &no_fault);
	return o;
}
