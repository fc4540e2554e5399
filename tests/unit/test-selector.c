// SPDX-License-Identifier: MIT
#include "boot/pi/selector.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#include <fcntl.h>

#define DEVICE "/dev/nvme0n1p1"
#define PAGE   4096

/*
 * A FAT12 volume of 64 KiB with sectors of @sector bytes and clusters of one
 * sector; autoboot.txt is in cluster 5.
 */
struct volume {
	uint32_t sector;
	uint32_t reserved; /* sectors; shifts the data area */
	uint32_t size;	   /* of autoboot.txt, bytes */
	uint8_t data[64 * 1024];
};

static struct volume volume;

static void put16(size_t offset, uint32_t value)
{
	volume.data[offset] = (uint8_t)value;
	volume.data[offset + 1] = (uint8_t)(value >> 8);
}

static size_t text_offset(void)
{
	/* reserved, one FAT, one sector of root directory; the first cluster is 2 */
	return (size_t)(volume.reserved + 2 + 3) * volume.sector;
}

static void install(void)
{
	fake_file_data(DEVICE, volume.data, sizeof(volume.data));
}

static void make(uint32_t sector, uint32_t reserved, const char *text, size_t size)
{
	size_t fat = (size_t)reserved * sector, root = fat + sector;
	uint32_t clusters = (uint32_t)((size + sector - 1) / sector);

	fake_reset();
	memset(&volume, 0, sizeof(volume));
	volume.sector = sector;
	volume.reserved = reserved;
	put16(11, sector);
	volume.data[13] = 1;
	put16(14, reserved);
	volume.data[16] = 1;
	put16(17, 16);
	put16(19, (uint32_t)(sizeof(volume.data) / sector));
	volume.data[21] = 0xf8;
	put16(22, 1);
	put16(510, 0xaa55);
	memcpy(volume.data + root, "AUTOBOOTTXT\x20", 12);
	put16(root + 26, size ? 5 : 0);
	put16(root + 28, (uint32_t)size);
	/* FAT12: cluster 5 is the upper 12 bits at bytes 7 and 8, cluster 6 the lower ones at 9, 10
	 */
	put16(fat + 7, (clusters == 2 ? 6 : 0xfff) << 4);
	put16(fat + 9, clusters == 2 ? 0xfff : 0);
	memset(volume.data + text_offset(), '#', size);
	memcpy(volume.data + text_offset(), text, strlen(text));
	install();
}

static void make_slot(uint32_t sector, uint32_t reserved, enum slot slot)
{
	char text[AUTOBOOT_SIZE];

	make(sector, reserved, "", AUTOBOOT_SIZE);
	autoboot_format(slot, text);
	memcpy(volume.data + text_offset(), text, sizeof(text));
	install();
}

static int read_selector(struct selector *ret)
{
	_cleanup_close_ int fd = sys_open(DEVICE, O_RDONLY, 0);

	return fd < 0 ? fd : selector_read(fd, ret);
}

enum on_disk { OLD, NEW, MIXED };

/* What is on the disk, compared with .data and with .data after writing @slot. */
static enum on_disk on_disk(enum slot slot)
{
	static struct volume want;
	_cleanup_free_ char *got = NULL;
	size_t len = 0;

	want = volume;
	autoboot_format(slot, (char *)want.data + text_offset());
	got = fake_read(DEVICE, &len);
	if (!got || len != sizeof(want.data))
		return MIXED;
	if (memcmp(got, want.data, len) == 0)
		return NEW;
	return memcmp(got, volume.data, len) == 0 ? OLD : MIXED;
}

static const char *const canonical =
	"[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=2\n";

static void test_read(void)
{
	static const struct {
		const char *name, *text;
		size_t size;
		enum selector_state state;
		enum slot committed;
	} rows[] = {
		{ "our text", NULL, 512, SELECTOR_VALID, SLOT_B },
		{ "a comment", "# nothing\n", 512, SELECTOR_INVALID, SLOT_NONE },
		{ "binary garbage", "\x01\xff\x80", 512, SELECTOR_INVALID, SLOT_NONE },
		{ "both sections equal",
		  "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=2\n", 512,
		  SELECTOR_INVALID, SLOT_NONE },
		{ "CRLF",
		  "[all]\r\ntryboot_a_b=1\r\nboot_partition=3\r\n[tryboot]\r\nboot_partition="
		  "2\r\n#",
		  512, SELECTOR_VALID, SLOT_B },
		{ "hand-written, shorter", NULL, 70, SELECTOR_VALID, SLOT_B },
		{ "garbage, shorter", "#", 70, SELECTOR_GONE, SLOT_NONE },
		{ "one byte", "#", 1, SELECTOR_GONE, SLOT_NONE },
		{ "600 bytes", NULL, 600, SELECTOR_GONE, SLOT_NONE },
		{ "513 bytes", NULL, 513, SELECTOR_GONE, SLOT_NONE },
		{ "empty", "", 0, SELECTOR_GONE, SLOT_NONE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct selector got = { .committed = SLOT_A };

		make(512, 1, rows[i].text ? rows[i].text : canonical, rows[i].size);
		ok_int(read_selector(&got), 0, "read: %s", rows[i].name);
		ok_int(got.state, rows[i].state, "state");
		ok_int(got.committed, rows[i].committed, "committed");
		ok_int(got.in_place, rows[i].size == AUTOBOOT_SIZE, "in place");
		ok_int(got.block_bytes, 512, "block");
		ok(got.state == SELECTOR_GONE || got.offset_bytes == text_offset(), "offset");
		ok(fake_open_fds() == 0 && fake_violations() == 0, "clean");
	}
}

static void test_gone(void)
{
	struct selector got = { 0 };

	make_slot(512, 1, SLOT_A);
	fake_file_data(DEVICE, volume.data, 0);
	ok_int(read_selector(&got), 0, "an empty partition");
	ok(got.state == SELECTOR_GONE && got.committed == SLOT_NONE, "is gone");
	ok_int(selector_write(DEVICE, SLOT_A), -ENOENT, "and not written");

	fake_file_data(DEVICE, volume.data, text_offset());
	ok_int(read_selector(&got), 0, "a partition that ends before the text");
	ok_int(got.state, SELECTOR_GONE, "is gone");
	ok_int(selector_write(DEVICE, SLOT_A), -ENOENT, "and not written");

	make_slot(512, 1, SLOT_A);
	memset(volume.data, 0, 512);
	install();
	ok_int(read_selector(&got), 0, "no FAT");
	ok_int(got.state, SELECTOR_GONE, "is gone");
	ok_int(selector_write(DEVICE, SLOT_B), -ENOENT, "and not written");
	ok_int(on_disk(SLOT_B), OLD, "nothing changed");

	make_slot(512, 1, SLOT_A);
	put16(512 + 7, 0);
	install();
	ok_int(read_selector(&got), 0, "a damaged chain");
	ok_int(got.state, SELECTOR_GONE, "is gone");
	ok_int(selector_write(DEVICE, SLOT_B), -ENOENT, "and not written");
	ok_int(on_disk(SLOT_B), OLD, "nothing changed");

	ok_int(selector_write("/dev/none", SLOT_B), -ENOENT, "no device");
	make_slot(512, 1, SLOT_A);
	ok_int(selector_write(DEVICE, SLOT_NONE), -EINVAL, "no slot");
	ok_int(on_disk(SLOT_B), OLD, "nothing changed");
}

/* Sectors of the filesystem, blocks of the disk, and where the text then lies in its block. */
static const struct geometry {
	uint32_t sector, block, reserved;
} geometries[] = {
	{ 512, 512, 1 },  { 512, 4096, 1 }, { 512, 4096, 2 },  { 512, 4096, 3 },
	{ 512, 4096, 9 }, { 4096, 512, 1 }, { 4096, 4096, 1 }, { 1024, 4096, 1 },
};

static void test_write(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(geometries); i++)
		for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
			const struct geometry *g = &geometries[i];
			struct selector got;

			make_slot(g->sector, g->reserved, slot_other(slot));
			memset(volume.data + sizeof(volume.data) / 2, 0x5a,
			       sizeof(volume.data) / 2);
			install();
			fake_block_size(g->block);
			ok_int(selector_write(DEVICE, slot), 0,
			       "write %s, sectors %u in blocks %u, %u reserved", slot_name(slot),
			       g->sector, g->block, g->reserved);
			ok_int(on_disk(slot), NEW, "the text is new, the rest as before");
			ok_int(read_selector(&got), 0, "read");
			ok(got.state == SELECTOR_VALID && got.committed == slot &&
				   got.offset_bytes == text_offset() && got.block_bytes == g->block,
			   "valid");
			ok(fake_violations() == 0 && fake_open_fds() == 0, "clean");
		}
}

/* Garbage of every kind that can be written is repaired. */
static void test_repair(void)
{
	static const char *const texts[] = { "", "\x01\xff", "boot_partition=2\n",
					     "[all]\nboot_partition=x\n" };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct selector got;

		make(512, 1, texts[i], 512);
		ok_int(selector_write(DEVICE, SLOT_A), 0, "repair %zu", i);
		ok_int(on_disk(SLOT_A), NEW, "as written");
		ok(read_selector(&got) == 0 && got.state == SELECTOR_VALID &&
			   got.committed == SLOT_A,
		   "valid");
	}
	for (size_t size = 0; size < 1100; size += 73) {
		if (size == AUTOBOOT_SIZE)
			continue;
		make(512, 1, "", size);
		ok_int(selector_write(DEVICE, SLOT_A), -ENOENT, "%zu bytes are not repaired", size);
		ok_int(on_disk(SLOT_A), OLD, "nothing changed");
	}
}

static unsigned count_lines(const char *log, const char *word)
{
	unsigned n = 0;

	for (const char *p = log; (p = strstr(p, word)); p++)
		n++;
	return n;
}

static void test_one_write(void)
{
	make_slot(512, 1, SLOT_A);
	fake_block_size(4096);
	fake_log_files(true);
	ok_int(selector_write(DEVICE, SLOT_B), 0, "a change");
	ok_int(count_lines(fake_log(), "pwrite " DEVICE " 0 4096\n"), 1, "writes one block");
	ok_int(count_lines(fake_log(), "write "), 1, "and nothing else");
	ok_int(count_lines(fake_log(), "open " DEVICE " direct,dsync\n"), 1,
	       "past every cache, to the medium");
	fake_log_clear();
	ok_int(selector_write(DEVICE, SLOT_B), 0, "the same again");
	ok_int(count_lines(fake_log(), "write "), 0, "writes nothing");
	ok_int(count_lines(fake_log(), "fsync "), 1, "but makes sure that it is durable");
	ok_int(on_disk(SLOT_B), NEW, "it is there");
}

static void spoil(void)
{
	char text[AUTOBOOT_SIZE];

	autoboot_format(SLOT_A, text);
	memcpy(volume.data + text_offset(), text, sizeof(text));
	volume.data[text_offset() + 40] ^= 1;
	install();
}

static void test_read_back(void)
{
	make_slot(512, 1, SLOT_A);
	fake_result_once("pwrite", 512);
	ok_int(selector_write(DEVICE, SLOT_B), -EIO, "a write that did not happen");
	fake_reset();
	make_slot(512, 1, SLOT_A);
	fake_result_once("pwrite", 100);
	ok_int(selector_write(DEVICE, SLOT_B), -EIO, "a short write");
	make_slot(512, 1, SLOT_A);
	fake_result_once("pwrite", 512);
	fake_then("pwrite", spoil);
	ok_int(selector_write(DEVICE, SLOT_A), 0, "nothing to write");
	ok_int(selector_write(DEVICE, SLOT_B), -EIO, "a disk that keeps something else");
}

static void test_sweep(void)
{
	unsigned k, failures = 0;

	for (k = 1; k < 100; k++) {
		int r;
		enum on_disk state;

		make_slot(512, 1, SLOT_A);
		fake_block_size(4096);
		fake_fail_at(k, ENOTBLK);
		r = selector_write(DEVICE, SLOT_B);
		if (fake_calls() < k)
			break;
		fake_fail_at(0, 0);
		state = on_disk(SLOT_B);
		ok(r == -ENOTBLK && (state == OLD || state == NEW) && fake_open_fds() == 0,
		   "write, call %u fails: forwarded, old or new text", k);
		failures++;
	}
	ok(failures >= 5, "open, block size, reads, the write and the read-back can fail");
	for (k = 1; k < 100; k++) {
		struct selector got = { .block_bytes = 4711 };
		int r;

		make_slot(512, 1, SLOT_A);
		fake_fail_at(k, ENOTBLK);
		r = read_selector(&got);
		if (fake_calls() < k)
			break;
		ok(r == -ENOTBLK && got.block_bytes == 4711 && fake_open_fds() == 0,
		   "read, call %u fails: forwarded, nothing returned", k);
	}
	ok(k > 5, "open, block size and reads can fail");
}

static void test_cut(void)
{
	unsigned k;

	for (k = 1; k < 100; k++) {
		int r;
		enum on_disk state;

		make_slot(512, 1, SLOT_A);
		fake_cut_at(k);
		r = selector_write(DEVICE, SLOT_B);
		if (fake_calls() < k)
			break;
		fake_fail_at(0, 0);
		state = on_disk(SLOT_B);
		ok(r == -EIO && (state == OLD || state == NEW), "cut at call %u: old or new text",
		   k);
	}
	ok(k > 5, "swept");
}

static void test_blocks(void)
{
	static const uint32_t bad[] = { 0, 1, 256, 513, 3000, 131072, 0x80000000 };
	struct selector got;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		make_slot(512, 1, SLOT_A);
		fake_block_size(bad[i]);
		ok_int(read_selector(&got), -EINVAL, "blocks of %u bytes", bad[i]);
		ok_int(selector_write(DEVICE, SLOT_B), -EINVAL, "are refused");
	}
	make_slot(512, 1, SLOT_A);
	fake_result("pread", -ENODATA);
	ok_int(read_selector(&got), -ENODATA,
	       "an unreadable medium is an error, not a lost selection");
	ok_int(selector_write(DEVICE, SLOT_B), -ENODATA, "also for a write");
}

static void test_names(void)
{
	ok_str(selector_state_name(SELECTOR_VALID), "valid", "name of valid");
	ok_str(selector_state_name(SELECTOR_INVALID), "invalid", "name of invalid");
	ok_str(selector_state_name(SELECTOR_GONE), "gone", "name of gone");
	ok_str(selector_state_name(SELECTOR_GONE + 1), "?", "name of none");
}

int main(void)
{
	test_read();
	test_gone();
	test_write();
	test_repair();
	test_one_write();
	test_read_back();
	test_sweep();
	test_cut();
	test_blocks();
	test_names();
	return tap_done();
}
