// SPDX-License-Identifier: MIT
/* The part of the checklist that the firmware and bf-init stand on. */
#include "boot/tool/doctor.h"

#include "boot/io.h"

#include <fcntl.h>
#include <strings.h>

#define CONFIG_MAX 65536 /* bytes of a config.txt */
/* EEPROMs before this may take the leftover of a reboot for a partition number
 * (raspberrypi/firmware issue 2000). */
#define EEPROM_RECOMMENDED	1759881600
#define EEPROM_RECOMMENDED_DATE "2025-10-08"
/* Bits of bootloader/capabilities (Raspberry Pi documentation, configuration/device-tree.adoc) */
#define CAPABLE_TRYBOOT_A_B (1u << 2)
#define CAPABLE_TRYBOOT	    (1u << 3)

/* ---- this boot, and the record ----------------------------------------------- */

static void check_flags(struct doctor *d)
{
	const struct run_facts *f = &d->running.facts;

	if (f->mismatch || f->limbo)
		doctor_say(d, DOCTOR_FAULT, "slot", "%s",
			   refusal_text(f->mismatch		    ? REFUSAL_MISMATCH
					: requests_is_wrong_slot(f) ? REFUSAL_NOT_COMMITTED
								    : REFUSAL_LIMBO)
				   ->what);
	else
		doctor_say(d, f->running == SLOT_NONE ? DOCTOR_FAULT : DOCTOR_OK, "slot",
			   "running %s", slot_name(f->running));
	if (streq(d->running.boot.verity, "V"))
		doctor_say(d, DOCTOR_OK, "verity", "the root is the one that was built");
	else
		doctor_say(d, DOCTOR_FAULT, "verity", "the root is not verified, or damaged");
	if (d->running.boot.rescue)
		doctor_say(d, DOCTOR_FAULT, "rescue", "this is a rescue image; never ship it");
}

void doctor_record(struct doctor *d)
{
	static const struct {
		enum verdict verdict;
		const char *text;
	} rows[] = {
		[RECORD_OK] = { DOCTOR_OK, "good, in two generations" },
		[RECORD_BACKUP] = { DOCTOR_WARN, "one of two generations is damaged or missing" },
		[RECORD_LOST] = { DOCTOR_FAULT, "there is none" },
		[RECORD_FUTURE] = { DOCTOR_FAULT, "written by a newer version" },
	};
	const struct run_facts *f = &d->running.facts;
	enum record_status status = d->running.record_status;

	if (!d->open)
		return;
	check_flags(d);
	if (!f->writable)
		doctor_say(d, DOCTOR_FAULT, "data", PART_LABEL(DATA) " cannot be written: %s",
			   *d->running.why ? d->running.why : "mounted read-only");
	else if (d->running.boot.degraded)
		doctor_say(d, DOCTOR_FAULT, "data", "degraded: %s", d->running.boot.data_why);
	else if (*d->running.boot.data_why)
		doctor_say(d, DOCTOR_WARN, "data", "%s", d->running.boot.data_why);
	else
		doctor_say(d, DOCTOR_OK, "data", PART_LABEL(DATA) " at %s",
			   d->running.boot.data_dir);
	doctor_say(d, rows[status].verdict, "record", "%s", rows[status].text);
	if (running_disk_forgets(&d->running))
		doctor_say(d, DOCTOR_FAULT, "disk",
			   "takes writes and forgets them (this boot is not in the record): "
			   "replace it");
	if (f->record_readable && record_is_doubtful(&f->record))
		doctor_say(d, DOCTOR_WARN, "record",
			   "a slot holds another image than it knew: does the disk forget writes?");
}

/* ---- partitions ------------------------------------------------------------------ */

/* The disk of a partition: the directory above it in sysfs. "" unknown. */
static void disk_of(const char *part, char ret[static PART_NAME_SIZE])
{
	char path[64], target[256], *end;

	*ret = '\0';
	(void)snprintf(path, sizeof(path), "/sys/class/block/%.31s", part);
	if (sys_readlinkat(AT_FDCWD, path, target, sizeof(target)) < 0)
		return;
	end = strrchr(target, '/');
	if (!end)
		return;
	*end = '\0';
	end = strrchr(target, '/');
	(void)snprintf(ret, PART_NAME_SIZE, "%.31s", end ? end + 1 : target);
}

static void label_of(const char *part, char *ret, size_t size)
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	(void)snprintf(path, sizeof(path), "/sys/class/block/%.31s/uevent", part);
	text = doctor_read(path);
	(void)doctor_word(text, "PARTNAME", ret, size);
}

/* Any other disk with one of our labels: an image that was flashed twice, mostly. */
static void check_other_disks(struct doctor *d, const char *disk)
{
	_cleanup_close_ int dir = sys_open("/sys/class/block", O_RDONLY | O_DIRECTORY, 0);
	char **names = NULL;
	size_t count = 0;

	if (dir < 0 || sys_list(dir, 4096, &names, &count) < 0)
		return;
	for (size_t i = 0; i < count; i++) {
		char label[64], other[PART_NAME_SIZE];

		label_of(names[i], label, sizeof(label));
		disk_of(names[i], other);
		for (enum part k = 0; k < PART_COUNT; k++)
			if (streq(label, part_label(k)) && !streq(other, disk))
				doctor_say(d, DOCTOR_WARN, "partitions",
					   "%s on %s carries the label %s, too", names[i], other,
					   label);
	}
	sys_names_free(names, count);
}

void doctor_labels(struct doctor *d)
{
	char disk[PART_NAME_SIZE] = "";
	bool good = true;

	if (!d->open)
		return;
	for (enum part i = 0; i < PART_COUNT; i++) {
		const char *part = d->running.boot.part[i];
		char label[64] = "", on[PART_NAME_SIZE] = "";

		if (*part) {
			label_of(part, label, sizeof(label));
			disk_of(part, on);
		}
		if (i == 0)
			(void)snprintf(disk, sizeof(disk), "%s", on);
		if (*part && streq(label, part_label(i)) && *on && streq(on, disk))
			continue;
		good = false;
		doctor_say(d, DOCTOR_FAULT, "partitions", "%s: %s%s%s", part_label(i),
			   !*part			  ? "missing"
			   : !streq(label, part_label(i)) ? "has another label now: "
							  : "is on another disk: ",
			   part, *on ? " of " : "");
	}
	if (good)
		doctor_say(d, DOCTOR_OK, "partitions", "six labels on %s", disk);
	check_other_disks(d, disk);
}

/* ---- files of FAT partitions, without a mount ---------------------------------------- */

static int read_at(void *ctx, uint64_t offset_bytes, void *buf, size_t len)
{
	return io_pread_exactly(*(int *)ctx, buf, len, offset_bytes);
}

static int open_part(const struct doctor *d, enum part part)
{
	char path[64];

	if (!*d->running.boot.part[part])
		return -ENODEV;
	(void)snprintf(path, sizeof(path), "/dev/%s", d->running.boot.part[part]);
	return sys_open(path, O_RDONLY, 0);
}

/* A whole small file in one piece. The caller frees. */
static int read_fat_file(int fd, const char name[static 11], char **ret, size_t *ret_len)
{
	_cleanup_free_ char *text = NULL;
	struct fat_file file;
	int r;

	r = fat_find(read_at, &fd, name, &file);
	if (r < 0)
		return r;
	if (file.size_bytes > CONFIG_MAX || file.contiguous_bytes < file.size_bytes)
		return -EFBIG;
	text = calloc(1, (size_t)file.size_bytes + 1);
	if (!text)
		return -ENOMEM;
	r = read_at(&fd, file.offset_bytes, text, file.size_bytes);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(text);
	*ret_len = file.size_bytes;
	return 0;
}

/* With one of these the selector partition looks bootable, and a lost autoboot.txt boots it. */
static bool has_firmware_files(struct doctor *d, int fd)
{
	static const char *const names[] = { "CONFIG  TXT", "START   ELF", "START4  ELF",
					     "START4X ELF", "START4CDELF", "START_X ELF",
					     "BOOTCODEBIN" };
	bool any = false;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct fat_file file;

		if (fat_find(read_at, &fd, names[i], &file) < 0)
			continue;
		any = true;
		doctor_say(d, DOCTOR_FAULT, "autoboot.txt",
			   "%.8s.%s lies beside it; the firmware would boot that partition",
			   names[i], names[i] + 8);
	}
	return any;
}

void doctor_autoboot(struct doctor *d)
{
	const struct selector *s = &d->running.selector;
	_cleanup_close_ int fd = -1;
	struct fat_file file;
	int r;

	if (!d->open)
		return;
	fd = open_part(d, PART_BOOTSEL);
	r = fd < 0 ? fd : fat_find(read_at, &fd, "AUTOBOOTTXT", &file);
	if (r < 0) {
		doctor_say(d, DOCTOR_FAULT, "autoboot.txt", "cannot be found: %s", strerror(-r));
		return;
	}
	if (s->state != SELECTOR_VALID)
		doctor_say(d, DOCTOR_FAULT, "autoboot.txt", "is no A/B selection");
	else if (file.size_bytes != AUTOBOOT_SIZE)
		doctor_say(d, DOCTOR_FAULT, "autoboot.txt", "has %u bytes instead of %u",
			   file.size_bytes, AUTOBOOT_SIZE);
	else if (file.offset_bytes % s->block_bytes + AUTOBOOT_SIZE > s->block_bytes)
		doctor_say(d, DOCTOR_FAULT, "autoboot.txt", "lies across two blocks of the disk");
	else if (!has_firmware_files(d, fd))
		doctor_say(d, DOCTOR_OK, "autoboot.txt", "one block of %u bytes, committed slot %s",
			   s->block_bytes, slot_name(s->committed));
}

/*
 * The seconds that config.txt gives a kernel until bf-init opens the watchdog; 0 none. As for the
 * firmware the last line counts; filters are not evaluated.
 */
static uint32_t kernel_watchdog_sec(const char *config)
{
	static const char key[] = "kernel_watchdog_timeout=";
	uint32_t found = 0;

	for (const char *line = config; *line;) {
		const char *value = startswith(line, key);
		size_t len = strcspn(line, "\r\n");
		char number[8];

		if (value) {
			(void)snprintf(number, sizeof(number), "%.*s", (int)(len - strlen(key)),
				       value);
			if (parse_u32(number, 10, &found) < 0)
				found = 0;
		}
		line += len;
		line += strspn(line, "\r\n");
	}
	return found;
}

static void check_kernel_watchdog(struct doctor *d, enum part part, const char *config)
{
	uint32_t sec = kernel_watchdog_sec(config);
	char value[16];

	/* Whoever leaves the watchdog alone must not be reset by it. */
	if (doctor_word(d->cmdline, "bf.watchdog", value, sizeof(value)) && streq(value, "0"))
		return;
	if (part == part_boot(d->running.facts.running))
		d->kernel_watchdog_sec = sec;
	if (sec == 0)
		doctor_say(d, DOCTOR_FAULT, part_label(part),
			   "config.txt has no kernel_watchdog_timeout=: a kernel that hangs before "
			   "bf-init stays there");
}

static void check_boot_image(struct doctor *d, enum part part)
{
	_cleanup_close_ int fd = open_part(d, part);
	_cleanup_free_ char *config = NULL, *tryboot = NULL;
	size_t config_len = 0, tryboot_len = 0;
	int r;

	r = fd < 0 ? fd : read_fat_file(fd, "CONFIG  TXT", &config, &config_len);
	if (r == -EFBIG) {
		doctor_say(d, DOCTOR_WARN, part_label(part),
			   "config.txt lies in pieces: not checked");
		return;
	}
	if (r < 0) {
		doctor_say(d, DOCTOR_FAULT, part_label(part), "config.txt: %s", strerror(-r));
		return;
	}
	if (read_fat_file(fd, "TRYBOOT TXT", &tryboot, &tryboot_len) < 0 ||
	    tryboot_len != config_len || memcmp(tryboot, config, config_len) != 0)
		doctor_say(d, DOCTOR_FAULT, part_label(part),
			   "tryboot.txt is not the same as config.txt; a lost autoboot.txt "
			   "would hang the firmware");
	else if (!strstr(config, firmware_config_filter(SLOT_A)) ||
		 !strstr(config, firmware_config_filter(SLOT_B)))
		doctor_say(d, DOCTOR_WARN, part_label(part),
			   "config.txt does not choose by [boot_partition=]");
	else
		doctor_say(d, DOCTOR_OK, part_label(part),
			   "config.txt and tryboot.txt are the same");
	check_kernel_watchdog(d, part, config);
}

void doctor_boot_images(struct doctor *d)
{
	if (!d->open)
		return;
	check_boot_image(d, PART_BOOT_A);
	check_boot_image(d, PART_BOOT_B);
}

/* ---- the firmware -------------------------------------------------------------------- */

static void check_capabilities(struct doctor *d)
{
	const char *path = "/proc/device-tree/chosen/bootloader/capabilities";
	_cleanup_free_ char *data = NULL;
	uint32_t bits = 0;
	size_t len = 0;

	if (sys_read_file(AT_FDCWD, path, sizeof(bits), &data, &len) < 0 ||
	    firmware_cell(data, len, &bits) < 0)
		doctor_say(d, DOCTOR_WARN, "firmware", "does not say what it is capable of");
	else if ((bits & CAPABLE_TRYBOOT) && (bits & CAPABLE_TRYBOOT_A_B))
		doctor_say(d, DOCTOR_OK, "firmware", "capable of tryboot_a_b");
	else
		doctor_say(d, DOCTOR_FAULT, "firmware", "not capable of tryboot_a_b");
}

static void check_eeprom(struct doctor *d)
{
	const struct firmware *fw = &d->fw;

	if (!fw->has_build_timestamp)
		doctor_say(d, DOCTOR_WARN, "EEPROM", "does not say its age");
	else if (fw->build_timestamp < FIRMWARE_BUILD_FLOOR)
		doctor_say(d, DOCTOR_FAULT, "EEPROM",
			   "older than " FIRMWARE_FLOOR_DATE "; run " FIRMWARE_UPDATE_COMMAND);
	else if (fw->build_timestamp < EEPROM_RECOMMENDED)
		doctor_say(d, DOCTOR_WARN, "EEPROM",
			   "older than " EEPROM_RECOMMENDED_DATE
			   "; better run " FIRMWARE_UPDATE_COMMAND);
	else
		doctor_say(d, DOCTOR_OK, "EEPROM", "not older than " EEPROM_RECOMMENDED_DATE);
}

void doctor_firmware(struct doctor *d)
{
	const struct firmware *fw = &d->fw;
	enum slot slot = firmware_booted(fw);

	if (!fw->present) {
		doctor_say(d, DOCTOR_WARN, "firmware",
			   "no chosen/bootloader in the device tree: not a Raspberry Pi?");
		return;
	}
	if (fw->partition == 0)
		doctor_say(d, DOCTOR_FAULT, "firmware", "does not say which partition it booted");
	else if (d->open && slot != d->running.facts.running)
		doctor_say(d, DOCTOR_FAULT, "firmware", "booted partition %u, but slot %s runs",
			   fw->partition, slot_name(d->running.facts.running));
	else
		doctor_say(d, DOCTOR_OK, "firmware", "booted partition %u%s", fw->partition,
			   fw->tryboot ? " as a trial" : "");
	check_capabilities(d);
	check_eeprom(d);
}

/* ---- the kernel command line ------------------------------------------------------------ */

/* @key is on the command line and switched off, in any of the words that systemd takes for it. */
static bool is_off(const struct doctor *d, const char *key)
{
	static const char *const words[] = { "0", "no", "n", "false", "f", "off" };
	char value[8];

	if (!doctor_word(d->cmdline, key, value, sizeof(value)))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcasecmp(value, words[i]) == 0)
			return true;
	return false;
}

/* What systemd must leave alone beside roothash=. */
static bool check_systemd_words(struct doctor *d)
{
	bool verity = is_off(d, "systemd.verity"), gpt = is_off(d, "systemd.gpt_auto");

	if (!verity)
		doctor_say(d, DOCTOR_FAULT, "cmdline",
			   "no systemd.verity=0 beside roothash=: systemd waits for a device that "
			   "never comes");
	if (!gpt)
		doctor_say(d, DOCTOR_WARN, "cmdline",
			   "no systemd.gpt_auto=0 beside roothash=: systemd 258 and later look for "
			   "a root of their own, and say at each boot that there is none");
	return verity && gpt;
}

void doctor_cmdline(struct doctor *d)
{
	char slot[16], value[RECORD_HASH_MAX + 1];
	bool good = true;

	if (!doctor_word(d->cmdline, "rauc.slot", slot, sizeof(slot)) ||
	    slot_parse(slot) == SLOT_NONE) {
		doctor_say(d, DOCTOR_FAULT, "cmdline", "no rauc.slot=A or rauc.slot=B");
		good = false;
	} else if (d->open && slot_parse(slot) != d->running.facts.running) {
		doctor_say(d, DOCTOR_FAULT, "cmdline", "rauc.slot=%s, but slot %s runs", slot,
			   slot_name(d->running.facts.running));
		good = false;
	}
	if (!doctor_word(d->cmdline, "roothash", value, sizeof(value))) {
		doctor_say(d, DOCTOR_FAULT, "cmdline", "no roothash=");
		good = false;
	} else if (!check_systemd_words(d)) {
		good = false;
	}
	if (doctor_word(d->cmdline, "root", value, sizeof(value))) {
		doctor_say(d, DOCTOR_WARN, "cmdline",
			   "root=%s is there; RAUC takes it for the booted slot when rauc.slot= "
			   "is missing",
			   value);
		good = false;
	}
	if (good)
		doctor_say(
			d, DOCTOR_OK, "cmdline",
			"rauc.slot=%s, roothash=, systemd.verity=0, systemd.gpt_auto=0, no root=",
			slot);
}
