// SPDX-License-Identifier: MIT
#include "boot/pi/firmware.h"
#include "boot/pi/partition.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#include <fcntl.h>

#define CHOSEN "/proc/device-tree/chosen"
#define NODE   CHOSEN "/bootloader"

static void test_cell(void)
{
	static const struct {
		const char *name;
		uint8_t data[8];
		size_t len;
		int r;
		uint32_t want;
	} rows[] = {
		{ "big-endian", { 0, 0, 0, 2 }, 4, 0, 2 },
		{ "all bytes", { 0xde, 0xad, 0xbe, 0xef }, 4, 0, 0xdeadbeef },
		{ "zero", { 0 }, 4, 0, 0 },
		{ "nothing", { 0 }, 0, -EINVAL, 0 },
		{ "three bytes", { 0, 0, 2 }, 3, -EINVAL, 0 },
		{ "text", { '2', '\n' }, 2, -EINVAL, 0 },
		{ "two cells", { 0, 0, 0, 0, 0, 0, 0, 2 }, 8, -EINVAL, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint32_t got = 4711;

		ok_int(firmware_cell(rows[i].data, rows[i].len, &got), rows[i].r, "cell: %s",
		       rows[i].name);
		ok_int(got, rows[i].r ? 4711 : rows[i].want, "its value");
	}
}

struct property {
	const char *name;
	uint8_t data[8];
	size_t len;
};

#define CELL(value)                                                                                \
	{ (uint8_t)((value) >> 24), (uint8_t)((value) >> 16), (uint8_t)((value) >> 8),             \
	  (uint8_t)(value) },                                                                      \
		4

static int read_node(struct firmware *ret)
{
	_cleanup_close_ int fd = sys_open(CHOSEN, O_RDONLY | O_DIRECTORY, 0);

	return firmware_read(fd, ret);
}

static void test_node(void)
{
	static const struct {
		const char *name;
		struct property properties[6];
		struct firmware want;
	} rows[] = {
		{ "a trial from NVMe",
		  { { "partition", CELL(3u) },
		    { "tryboot", CELL(1u) },
		    { "boot-mode", CELL(6u) },
		    { "count", CELL(2u) },
		    { "build-timestamp", CELL(0x68000000u) } },
		  { .partition = 3,
		    .tryboot = true,
		    .boot_mode = BOOT_MODE_NVME,
		    .has_count = true,
		    .count = 2,
		    .has_build_timestamp = true,
		    .build_timestamp = 0x68000000 } },
		{ "an empty node", { { NULL } }, { 0 } },
		{ "partition 0 of an early bootloader", { { "partition", CELL(0u) } }, { 0 } },
		{ "a partition as text", { { "partition", "2\n", 2 } }, { 0 } },
		{ "a short and a long property",
		  { { "partition", { 0, 0, 2 }, 3 }, { "tryboot", { 0, 0, 0, 1, 0 }, 5 } },
		  { 0 } },
		{ "empty properties", { { "partition", { 0 }, 0 }, { "count", { 0 }, 0 } }, { 0 } },
		{ "no trial",
		  { { "tryboot", CELL(0u) }, { "partition", CELL(2u) } },
		  { .partition = 2 } },
		{ "SD card", { { "boot-mode", CELL(1u) } }, { .boot_mode = BOOT_MODE_SD } },
		{ "USB", { { "boot-mode", CELL(4u) } }, { .boot_mode = BOOT_MODE_USB_MSD } },
		{ "network", { { "boot-mode", CELL(2u) } }, { .boot_mode = BOOT_MODE_UNKNOWN } },
		{ "a mode of the future", { { "boot-mode", CELL(0xffffffffu) } }, { 0 } },
		{ "count 0 is a count", { { "count", CELL(0u) } }, { .has_count = true } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct firmware *want = &rows[i].want;
		struct firmware got = { .partition = 4711 };

		fake_reset();
		fake_dir(NODE);
		for (const struct property *p = rows[i].properties; p->name; p++) {
			_cleanup_free_ char *path = strf(NODE "/%s", p->name);

			fake_file_data(path, p->data, p->len);
		}
		ok_int(read_node(&got), 0, "node: %s", rows[i].name);
		ok(got.present && got.partition == want->partition &&
			   got.tryboot == want->tryboot && got.boot_mode == want->boot_mode &&
			   got.has_count == want->has_count && got.count == want->count &&
			   got.has_build_timestamp == want->has_build_timestamp &&
			   got.build_timestamp == want->build_timestamp,
		   "its facts");
		ok_int(fake_open_fds(), 0, "no descriptor left");
	}
}

static void test_absence(void)
{
	struct firmware got = { .present = true, .partition = 4711 };

	fake_reset();
	ok_int(firmware_read(-1, &got), 0, "no device tree");
	ok(!got.present && got.partition == 0 && !got.tryboot, "says nothing");
	fake_dir(CHOSEN);
	got.present = true;
	ok_int(read_node(&got), 0, "no bootloader node");
	ok(!got.present, "says nothing");
	fake_file(NODE, "a file");
	got.present = true;
	ok_int(read_node(&got), 0, "a property instead of the node");
	ok(!got.present, "says nothing");
	fake_remove(NODE);
	fake_dir(NODE "/partition");
	ok_int(read_node(&got), 0, "a node instead of the property");
	ok(got.present && got.partition == 0, "says nothing about the partition");
}

static void test_errors(void)
{
	struct firmware got = { .partition = 4711 };
	unsigned k;

	fake_reset();
	fake_file_data(NODE "/partition", "\0\0\0\2", 4);
	for (k = 1; k < 100; k++) {
		int r;

		/* the first call is the test's own open */
		fake_fail_at(k + 1, EIO);
		r = read_node(&got);
		if (fake_calls() < k + 1)
			break;
		ok(r == -EIO && got.partition == 4711, "call %u fails: forwarded, nothing returned",
		   k);
	}
	ok_int(k, 7, "a stat and five properties can fail");
}

static void test_slots(void)
{
	static const struct {
		uint32_t partition;
		enum slot want;
	} rows[] = { { 0, SLOT_NONE }, { 1, SLOT_NONE }, { 2, SLOT_A },
		     { 3, SLOT_B },    { 4, SLOT_NONE }, { UINT32_MAX, SLOT_NONE } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		ok_int(partition_slot(rows[i].partition), rows[i].want, "slot of partition %u",
		       rows[i].partition);
	ok(partition_number(SLOT_A) == 2 && partition_number(SLOT_B) == 3 &&
		   partition_number(SLOT_NONE) == 0,
	   "partitions of the slots");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct firmware here = { .present = true, .partition = rows[i].partition };
		const struct firmware absent = { .partition = rows[i].partition };

		ok_int(firmware_booted(&here), rows[i].want, "booted from partition %u",
		       rows[i].partition);
		ok_int(firmware_booted(&absent), SLOT_NONE, "partition %u without a node",
		       rows[i].partition);
	}
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		_cleanup_free_ char *want = strf("[boot_partition=%u]", partition_number(slot));

		ok_str(firmware_config_filter(slot), want, "filter of slot %s", slot_name(slot));
	}
}

int main(void)
{
	test_cell();
	test_node();
	test_absence();
	test_errors();
	test_slots();
	return tap_done();
}
