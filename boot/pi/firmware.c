// SPDX-License-Identifier: MIT
#include "boot/pi/firmware.h"

#include "boot/pi/partition.h"
#include "boot/sys.h"

#include <fcntl.h>

#define NODE "bootloader"

static const uint32_t slot_partitions[SLOT_COUNT] = { [SLOT_A] = 2, [SLOT_B] = 3 };
static const char *const slot_arguments[SLOT_COUNT] = { [SLOT_A] = "2", [SLOT_B] = "3" };

int firmware_cell(const void *data, size_t len, uint32_t *ret)
{
	const uint8_t *p = data;

	if (len != sizeof(uint32_t))
		return -EINVAL;
	*ret = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	return 0;
}

/* Absent, or something else than a property: we know nothing, which is no error. */
static bool is_absence(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -EISDIR || r == -EFBIG;
}

/* 1 and *ret, 0 when it is unknown, or -errno. */
static int read_cell(int chosen_fd, const char *path, uint32_t *ret)
{
	_cleanup_free_ char *data = NULL;
	size_t len;
	int r;

	r = sys_read_file(chosen_fd, path, sizeof(uint32_t), &data, &len);
	if (is_absence(r))
		return 0;
	if (r < 0)
		return r;
	return firmware_cell(data, len, ret) == 0;
}

static enum boot_mode boot_mode_of(uint32_t value)
{
	switch (value) {
	case BOOT_MODE_SD:
	case BOOT_MODE_USB_MSD:
	case BOOT_MODE_NVME:
		return (enum boot_mode)value;
	default:
		return BOOT_MODE_UNKNOWN;
	}
}

int firmware_read(int chosen_fd, struct firmware *ret)
{
	struct firmware fw = { 0 };
	uint32_t tryboot = 0, mode = 0;
	const struct {
		const char *path;
		uint32_t *value;
		bool *has;
	} cells[] = {
		{ NODE "/partition", &fw.partition, NULL },
		{ NODE "/tryboot", &tryboot, NULL },
		{ NODE "/boot-mode", &mode, NULL },
		{ NODE "/count", &fw.count, &fw.has_count },
		{ NODE "/build-timestamp", &fw.build_timestamp, &fw.has_build_timestamp },
	};
	struct stat st;
	int r;

	r = chosen_fd < 0 ? -ENOENT : sys_fstatat(chosen_fd, NODE, &st, 0);
	if (r < 0 && !is_absence(r))
		return r;
	fw.present = r == 0 && S_ISDIR(st.st_mode);
	for (size_t i = 0; fw.present && i < ARRAY_SIZE(cells); i++) {
		r = read_cell(chosen_fd, cells[i].path, cells[i].value);
		if (r < 0)
			return r;
		if (cells[i].has)
			*cells[i].has = r > 0;
	}
	fw.tryboot = tryboot != 0;
	fw.boot_mode = boot_mode_of(mode);
	*ret = fw;
	return 0;
}

enum slot partition_slot(uint32_t partition)
{
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++)
		if (slot_partitions[slot] == partition)
			return slot;
	return SLOT_NONE;
}

uint32_t partition_number(enum slot slot)
{
	return slot < SLOT_COUNT ? slot_partitions[slot] : 0;
}

enum slot firmware_booted(const struct firmware *fw)
{
	return fw->present ? partition_slot(fw->partition) : SLOT_NONE;
}

const char *firmware_config_filter(enum slot slot)
{
	return slot == SLOT_A ? "[boot_partition=2]" : "[boot_partition=3]";
}

const char *firmware_reboot_into(enum slot slot)
{
	return slot_arguments[slot];
}
