// SPDX-License-Identifier: MIT
#include "tests/lib/fat-make.h"

#include "boot/base.h"

#include <fcntl.h>
#include <unistd.h>

#define FAT_MAKE_ROOT_ENTRIES 128 /* whole sectors of 512 to 4096 bytes */

struct fat_maker {
	int fd;
	unsigned bits; /* 12, 16, 32 */
	uint32_t sector, clusters, fat_sectors, reserved, root_sectors;
	uint32_t next;	   /* free cluster */
	uint8_t fat[4096]; /* its start; all that is ever used */
	uint8_t root[FAT_MAKE_ROOT_ENTRIES * 32];
};

static void fat_put(uint8_t *p, unsigned bytes, uint32_t value)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(value >> (8 * i));
}

static void fat_die(const char *what)
{
	printf("Bail out! fat-make: %s: %s\n", what, strerror(errno));
	exit(99);
}

static void fat_write(const struct fat_maker *m, const void *data, size_t len,
		      uint64_t offset_bytes)
{
	if (pwrite(m->fd, data, len, (off_t)offset_bytes) != (ssize_t)len)
		fat_die("write");
}

static void fat_link(struct fat_maker *m, uint32_t cluster, uint32_t value)
{
	uint8_t *p = m->fat + (size_t)cluster * m->bits / 8;

	if (m->bits != 12)
		fat_put(p, m->bits / 8, value);
	else if (cluster & 1)
		fat_put(p, 2, (p[0] & 0x0fu) | value << 4);
	else
		fat_put(p, 2, (value & 0xfff) | (p[1] & 0xf0u) << 8);
}

static uint64_t fat_cluster_offset(const struct fat_maker *m, uint32_t cluster)
{
	return (uint64_t)(m->reserved + m->fat_sectors + m->root_sectors + cluster - 2) * m->sector;
}

static void fat_add(struct fat_maker *m, uint8_t *entry, const struct fat_make_file *file)
{
	const uint32_t end = 0x0fffffff;
	size_t len = strlen(file->text), size = file->size ? file->size : len;
	uint32_t count = (uint32_t)((size + m->sector - 1) / m->sector), first = m->next;
	_cleanup_free_ char *data = malloc(size + 1);

	if (!data)
		fat_die("memory");
	memset(data, '\n', size + 1);
	memcpy(data, file->text, len < size ? len : size);
	for (uint32_t i = 0; i < count; i++, m->next++)
		fat_link(m, m->next, i + 1 < count ? m->next + 1 : end);
	memcpy(entry, file->name, 11);
	entry[11] = 0x20;
	fat_put(entry + 20, 2, count ? first >> 16 : 0);
	fat_put(entry + 26, 2, count ? first : 0);
	fat_put(entry + 28, 4, (uint32_t)size);
	fat_write(m, data, size, fat_cluster_offset(m, first));
}

static void fat_boot_sector(const struct fat_maker *m)
{
	bool fat32 = m->bits == 32;
	uint8_t b[512] = { 0xeb, 0x58, 0x90 };

	fat_put(b + 11, 2, m->sector);
	b[13] = 1;
	fat_put(b + 14, 2, m->reserved);
	b[16] = 1;
	fat_put(b + 17, 2, fat32 ? 0 : FAT_MAKE_ROOT_ENTRIES);
	b[21] = 0xf8;
	fat_put(b + 22, 2, fat32 ? 0 : m->fat_sectors);
	fat_put(b + 32, 4, m->reserved + m->fat_sectors + m->root_sectors + m->clusters);
	fat_put(b + 36, 4, fat32 ? m->fat_sectors : 0);
	fat_put(b + 44, 4, fat32 ? 2 : 0);
	fat_put(b + 510, 2, 0xaa55);
	fat_write(m, b, sizeof(b), 0);
}

void fat_make(const char *real, unsigned bits, uint32_t sector, const struct fat_make_file *files,
	      size_t count)
{
	struct fat_maker m = { .bits = bits, .sector = sector, .next = 2, .reserved = 1 };
	uint64_t root_offset;

	m.clusters = bits == 12 ? 100 : bits == 16 ? 4100 : 65600;
	m.fat_sectors = ((m.clusters + 2) * bits / 8 + sector) / sector;
	m.root_sectors = bits == 32 ? 0 : FAT_MAKE_ROOT_ENTRIES * 32 / sector;
	m.fd = open(real, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (m.fd < 0)
		fat_die(real);
	fat_link(&m, 0, 0x0ffffff8);
	fat_link(&m, 1, 0x0fffffff);
	root_offset = (uint64_t)(m.reserved + m.fat_sectors) * sector;
	if (bits == 32) { /* the root is a file, too: as many clusters as it needs here */
		uint32_t used = (uint32_t)sizeof(m.root) / sector;

		for (; m.next < 2 + used; m.next++)
			fat_link(&m, m.next, m.next + 1 < 2 + used ? m.next + 1 : 0x0fffffff);
	}
	for (size_t i = 0; i < count; i++)
		fat_add(&m, m.root + i * 32, &files[i]);
	if (ftruncate(m.fd, (off_t)fat_cluster_offset(&m, m.clusters + 2)) < 0)
		fat_die("size");
	fat_boot_sector(&m);
	fat_write(&m, m.fat,
		  sizeof(m.fat) < m.fat_sectors * sector ? sizeof(m.fat) : m.fat_sectors * sector,
		  (uint64_t)m.reserved * sector);
	fat_write(&m, m.root, sizeof(m.root), root_offset);
	if (close(m.fd) < 0)
		fat_die("close");
}
