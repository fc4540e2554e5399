// SPDX-License-Identifier: MIT
/*
 * A volume of FAT32 needs 256 KiB of FAT alone, so an input is not the volume
 * but pieces of it, one after another: offset (u32, little-endian), length
 * (u16), so many bytes. What no piece covers is zero. seeds-fat makes such
 * files of real volumes.
 */
#include "boot/pi/fat.h"

#define PIECES_MAX   512
#define VOLUME_BYTES (UINT64_C(1) << 32)
#define READS_MAX    20000 /* the reader promises to stop: 65536 entries, 1 MiB of links */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct piece {
	uint64_t offset;
	size_t len;
	const uint8_t *bytes;
};

struct volume {
	struct piece pieces[PIECES_MAX];
	size_t count;
	unsigned reads;
};

static void cut_pieces(const uint8_t *data, size_t size, struct volume *v)
{
	while (size >= 6 && v->count < PIECES_MAX) {
		struct piece *p = &v->pieces[v->count++];

		p->offset = (uint64_t)data[0] | (uint64_t)data[1] << 8 | (uint64_t)data[2] << 16 |
			    (uint64_t)data[3] << 24;
		p->len = (size_t)(data[4] | data[5] << 8);
		p->bytes = data + 6;
		if (p->len > size - 6)
			p->len = size - 6;
		data += 6 + p->len;
		size -= 6 + p->len;
	}
}

static int read_volume(void *ctx, uint64_t offset_bytes, void *buf, size_t len)
{
	struct volume *v = ctx;

	if (++v->reads > READS_MAX || len > 512)
		abort();
	if (offset_bytes > VOLUME_BYTES - len)
		return -ENODATA;
	memset(buf, 0, len);
	for (size_t i = 0; i < v->count; i++) {
		const struct piece *p = &v->pieces[i];
		uint64_t from = p->offset > offset_bytes ? p->offset : offset_bytes;
		uint64_t to = p->offset + p->len < offset_bytes + len ? p->offset + p->len
								      : offset_bytes + len;

		if (from < to)
			memcpy((uint8_t *)buf + (from - offset_bytes),
			       p->bytes + (from - p->offset), (size_t)(to - from));
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct volume v;
	struct fat_file file;

	v.count = v.reads = 0;
	cut_pieces(data, size, &v);
	if (fat_find(read_volume, &v, "AUTOBOOTTXT", &file) < 0)
		return 0;
	/* behind the boot sector, whole sectors, within what FAT can address */
	if (file.size_bytes == 0 || file.contiguous_bytes == 0 || file.sector_bytes < 512 ||
	    file.offset_bytes < file.sector_bytes || file.offset_bytes % file.sector_bytes ||
	    file.contiguous_bytes % file.sector_bytes || file.offset_bytes >> 44)
		abort();
	return 0;
}
