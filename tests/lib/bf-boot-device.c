// SPDX-License-Identifier: MIT
#include "tests/lib/bf-boot-device.h"

#include "tests/lib/fat-make.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/sysmacros.h>

const struct device device_default = {
	.part_prefix = "nvme0n1p",
	.fat_bits = 12,
	.block_bytes = 512,
	.running = SLOT_A,
	.selector = SLOT_A,
	.boot_file = "",
};

void device_record(struct record *rec, enum slot committed)
{
	record_init(rec, committed);
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		rec->state[slot] = STATE_GOOD;
		rec->proven[slot] = PROVEN_YES;
	}
	record_set_last(rec, committed, PHASE_STARTED, DEVICE_BOOT_ID, false, 0);
}

/* The disk of a partition: "nvme0n1" of "nvme0n1p", "sda" of "sda". */
static int device_disk_len(const char *part_prefix)
{
	size_t n = strlen(part_prefix);

	return (int)(n > 1 && part_prefix[n - 1] == 'p' && strchr("0123456789", part_prefix[n - 2])
			     ? n - 1
			     : n);
}

void device_text(const char *path, const char *fmt, ...)
{
	char text[4096];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fake_file(path, text);
}

void device_boot_file(const struct device *d)
{
	const char *p = d->part_prefix;

	device_text(BOOT_FILE_PATH,
		    "BF_SLOT=%s\nBF_TRIAL=%s\nBF_COMMITTABLE=%s\nBF_LIMBO=no\nBF_MISMATCH=no\n"
		    "BF_REASON=-\nBF_DEGRADED=no\nBF_DATA=ok\nBF_DATA_DIR=" DEVICE_DATA "\n"
		    "BF_TRYBOOT=%s\nBF_COUNT=-\nBF_BOOT_ID=" DEVICE_BOOT_ID "\n"
		    "BF_DISK=%.*s\nBF_BOOTSEL_DEV=%s1\nBF_BOOT_A_DEV=%s2\nBF_BOOT_B_DEV=%s3\n"
		    "BF_ROOT_A_DEV=%s4\nBF_ROOT_B_DEV=%s5\nBF_DATA_DEV=%s6\nBF_VERITY=V\n"
		    "BF_RESCUE=no\n%s",
		    slot_name(d->running), d->trial ? "yes" : "no", d->trial ? "yes" : "no",
		    d->trial ? "yes" : "no", device_disk_len(p), p, p, p, p, p, p, p, d->boot_file);
}

void device_selector(const struct device *d)
{
	char path[64], text[AUTOBOOT_SIZE + 1] = "";
	const struct fat_make_file file = { "AUTOBOOTTXT", text, AUTOBOOT_SIZE };

	if (d->selector != SLOT_NONE)
		autoboot_format(d->selector, text);
	(void)snprintf(path, sizeof(path), "/dev/%s1", d->part_prefix);
	fake_file(path, "");
	fat_make(fake_path(path), d->fat_bits, d->block_bytes, &file, d->selector != SLOT_NONE);
}

void device_store(struct record *rec)
{
	int fd = sys_open(DEVICE_DATA, O_RDONLY | O_DIRECTORY, 0);
	struct record before = { 0 };

	/* Over what is there, whatever the test made its record from. */
	if (fd >= 0 && record_load(fd, &before) >= 0 && before.gen > rec->gen)
		rec->gen = before.gen;
	if (fd < 0 || record_store(fd, rec) < 0) {
		puts("Bail out! the record could not be stored");
		exit(99);
	}
	close_p(&fd);
}

void device_sysfs(const char *part_prefix, unsigned number, const char *label, dev_t dev)
{
	char dir[128], path[192], target[160];

	(void)snprintf(dir, sizeof(dir), "/sys/devices/virtual/block/%.*s/%s%u",
		       device_disk_len(part_prefix), part_prefix, part_prefix, number);
	(void)snprintf(path, sizeof(path), "%s/uevent", dir);
	device_text(path, "DEVTYPE=partition\nPARTN=%u\nPARTNAME=%s\n", number, label);
	(void)snprintf(path, sizeof(path), "%s/dev", dir);
	device_text(path, "%u:%u\n", major(dev), minor(dev));
	fake_dir("/sys/class/block");
	(void)snprintf(path, sizeof(path), "/sys/class/block/%s%u", part_prefix, number);
	(void)snprintf(target, sizeof(target), "../..%s", dir + strlen("/sys"));
	fake_symlink(target, path);
}

void device_make(const struct device *d)
{
	static const char *const labels[] = { "BF_BOOTSEL", "BF_BOOT_A", "BF_BOOT_B",
					      "BF_ROOT_A",  "BF_ROOT_B", "BF_DATA" };
	struct stat st;
	char path[64];

	fake_block_size(d->block_bytes);
	fake_dir("/run/systemd");
	fake_dir(DEVICE_DATA);
	if (stat(fake_path(DEVICE_DATA), &st) < 0)
		abort();
	device_boot_file(d);
	device_selector(d);
	for (unsigned i = 1; i <= 6; i++) {
		(void)snprintf(path, sizeof(path), "/dev/%s%u", d->part_prefix, i);
		if (i > 1)
			fake_file(path, "");
		device_sysfs(d->part_prefix, i, labels[i - 1],
			     i == 6 ? st.st_dev : makedev(259, i));
	}
	/* Mounts are only written down: what a mounted boot partition would show. */
	fake_file("/run/bf/mnt/cmdline-a.txt", "quiet roothash=" DEVICE_HASH " rauc.slot=A\n");
	fake_file("/run/bf/mnt/cmdline-b.txt", "quiet roothash=" DEVICE_HASH " rauc.slot=B\n");
	if (d->record) {
		struct record rec = *d->record;

		device_store(&rec);
	}
}
