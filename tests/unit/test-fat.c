// SPDX-License-Identifier: MIT
/* Small hand-made volumes, whole and damaged. Real ones: tests/contract/test_fat_oracle.py. */
#include "boot/pi/fat.h"
#include "tests/lib/tap.h"

#define NAME "AUTOBOOTTXT"

enum type { T12, T16, T32 };

/*
 * A volume of one reserved area, FATs, root directory and some clusters. Only
 * the first .len bytes exist; what lies behind them is never needed.
 */
struct image {
	enum type type;
	uint32_t sector, sectors_per_cluster, reserved, fats, fat_sectors, root_entries, clusters;
	uint32_t active_fat;
	uint8_t *data;
	size_t len;
	unsigned reads;
	uint64_t fail_read; /* 1-based, 0: none */
};

static int read_image(void *ctx, uint64_t offset_bytes, void *buf, size_t len)
{
	struct image *m = ctx;

	if (++m->reads == m->fail_read)
		return -EIO;
	if (len > 512 || offset_bytes > m->len || len > m->len - offset_bytes)
		return -ENODATA;
	memcpy(buf, m->data + offset_bytes, len);
	return 0;
}

static void put16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)value;
	p[1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *p, uint32_t value)
{
	put16(p, value);
	put16(p + 2, value >> 16);
}

static size_t cluster_bytes(const struct image *m)
{
	return (size_t)m->sector * m->sectors_per_cluster;
}

static size_t fat_start(const struct image *m)
{
	return ((size_t)m->reserved + (size_t)m->active_fat * m->fat_sectors) * m->sector;
}

static size_t root_start(const struct image *m)
{
	return ((size_t)m->reserved + (size_t)m->fats * m->fat_sectors) * m->sector;
}

static size_t data_start(const struct image *m)
{
	size_t root = (size_t)m->root_entries * 32;

	return root_start(m) + (root + m->sector - 1) / m->sector * m->sector;
}

static size_t cluster_start(const struct image *m, uint32_t cluster)
{
	return data_start(m) + (cluster - 2) * cluster_bytes(m);
}

/* Where the root directory's first entry is; FAT32: in cluster 2. */
static uint8_t *root_dir(const struct image *m)
{
	return m->data + (m->type == T32 ? cluster_start(m, 2) : root_start(m));
}

static void set_link(const struct image *m, uint32_t cluster, uint32_t link)
{
	uint8_t *fat = m->data + fat_start(m);

	if (m->type == T32) {
		put32(fat + (size_t)cluster * 4, link);
	} else if (m->type == T16) {
		put16(fat + (size_t)cluster * 2, link);
	} else {
		uint8_t *p = fat + cluster + cluster / 2;

		if (cluster % 2) {
			p[0] = (uint8_t)((p[0] & 0x0f) | (link << 4 & 0xf0));
			p[1] = (uint8_t)(link >> 4);
		} else {
			p[0] = (uint8_t)link;
			p[1] = (uint8_t)((p[1] & 0xf0) | (link >> 8 & 0x0f));
		}
	}
}

static uint32_t end_of_chain(const struct image *m)
{
	return m->type == T12 ? 0xfff : m->type == T16 ? 0xffff : 0x0fffffff;
}

static uint8_t *set_entry(const struct image *m, unsigned index, const char *name, uint8_t attr,
			  uint32_t cluster, uint32_t size)
{
	uint8_t *e = root_dir(m) + (size_t)index * 32;

	memcpy(e, name, 11);
	e[11] = attr;
	put16(e + 20, cluster >> 16);
	put16(e + 26, cluster);
	put32(e + 28, size);
	return e;
}

static void write_boot_sector(const struct image *m)
{
	uint64_t sectors =
		data_start(m) / m->sector + (uint64_t)m->clusters * m->sectors_per_cluster;
	uint8_t *b = m->data;

	put16(b + 11, m->sector);
	b[13] = (uint8_t)m->sectors_per_cluster;
	put16(b + 14, m->reserved);
	b[16] = (uint8_t)m->fats;
	put16(b + 17, m->root_entries);
	if (sectors < 65536 && m->type != T32)
		put16(b + 19, (uint32_t)sectors);
	else
		put32(b + 32, (uint32_t)sectors);
	b[21] = 0xf8;
	if (m->type == T32) {
		put32(b + 36, m->fat_sectors);
		put32(b + 44, 2);
		if (m->active_fat)
			put16(b + 40, 0x80 | m->active_fat);
	} else {
		put16(b + 22, m->fat_sectors);
	}
	b[510] = 0x55;
	b[511] = 0xaa;
}

/*
 * A volume with a label, a long-name entry, a deleted namesake, and
 * autoboot.txt of 512 bytes in cluster 5.
 */
static void make(struct image *m, const struct image *shape)
{
	size_t fat_bytes;

	*m = *shape;
	fat_bytes = m->type == T12 ? (m->clusters + 2) * 3 / 2 + 1
				   : (size_t)(m->clusters + 2) * (m->type == T16 ? 2 : 4);
	m->fat_sectors = (uint32_t)((fat_bytes + m->sector - 1) / m->sector);
	m->len = data_start(m) + 40 * cluster_bytes(m);
	m->data = calloc(m->len, 1);
	if (!m->data)
		exit(99);
	write_boot_sector(m);
	if (m->type == T32)
		set_link(m, 2, end_of_chain(m));
	set_entry(m, 0, "BF_BOOTSEL ", 0x08, 0, 0);
	set_entry(m, 1, "Aa.txt\0\0\0\0\0", 0x0f, 0, 0xffffffff);
	set_entry(m, 2, "\xe5UTOBOOTTXT", 0x20, 9, 512);
	set_entry(m, 3, NAME, 0x20, 5, 512);
	set_link(m, 5, end_of_chain(m));
}

static void drop(struct image *m)
{
	free(m->data);
}

static int find(struct image *m, struct fat_file *ret)
{
	return fat_find(read_image, m, NAME, ret);
}

static const struct image small12 = { T12, 512, 1, 1, 1, 0, 16, 100 };
static const struct image small16 = { T16, 512, 1, 1, 1, 0, 16, 5000 };
static const struct image small32 = { T32, 512, 1, 32, 1, 0, 0, 66000 };

static void test_shapes(void)
{
	static const struct {
		const char *name;
		struct image shape;
	} rows[] = {
		{ "FAT12", { T12, 512, 1, 1, 2, 0, 16, 100 } },
		{ "FAT12, the most clusters", { T12, 512, 1, 1, 2, 0, 512, 4084 } },
		{ "FAT16, the fewest clusters", { T16, 512, 1, 1, 2, 0, 512, 4085 } },
		{ "FAT16, the most clusters", { T16, 512, 2, 4, 2, 0, 512, 65524 } },
		{ "FAT32, the fewest clusters", { T32, 512, 1, 32, 2, 0, 0, 65525 } },
		{ "one cluster more than we use", { T12, 512, 1, 1, 1, 0, 16, 4 } },
		{ "one FAT", { T12, 512, 4, 8, 1, 0, 32, 100 } },
		{ "a root of less than a sector", { T12, 4096, 1, 1, 2, 0, 16, 100 } },
		{ "sectors of 1024 bytes", { T16, 1024, 2, 2, 2, 0, 512, 5000 } },
		{ "sectors of 2048 bytes", { T12, 2048, 1, 2, 2, 0, 512, 1000 } },
		{ "sectors of 4096 bytes", { T32, 4096, 1, 8, 2, 0, 0, 66000 } },
		{ "clusters of 64 KiB", { T12, 512, 128, 1, 2, 0, 512, 100 } },
		{ "not mirrored, the second FAT",
		  { T32, 512, 1, 32, 2, 0, 0, 66000, .active_fat = 1 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fat_file got = { 0 };
		struct image m;

		make(&m, &rows[i].shape);
		ok_int(find(&m, &got), 0, "find: %s", rows[i].name);
		ok_int(got.offset_bytes, cluster_start(&m, 5), "offset");
		ok_int(got.size_bytes, 512, "size");
		ok_int(got.contiguous_bytes, cluster_bytes(&m), "one cluster");
		ok_int(got.sector_bytes, m.sector, "sector");
		drop(&m);
	}
}

/* One byte, or a word, of the boot sector made wrong. */
static void test_boot_sector(void)
{
	static const struct {
		const char *name;
		unsigned offset, bytes;
		uint32_t value;
		int r[3]; /* FAT12, FAT16, FAT32 */
	} rows[] = {
		{ "no signature", 510, 2, 0, { -EINVAL, -EINVAL, -EINVAL } },
		{ "half a signature", 511, 1, 0, { -EINVAL, -EINVAL, -EINVAL } },
		{ "sector size 0", 11, 2, 0, { -EINVAL, -EINVAL, -EINVAL } },
		{ "sector size 256", 11, 2, 256, { -EINVAL, -EINVAL, -EINVAL } },
		{ "sector size 513", 11, 2, 513, { -EINVAL, -EINVAL, -EINVAL } },
		{ "sector size 8192", 11, 2, 8192, { -EINVAL, -EINVAL, -EINVAL } },
		{ "cluster of 0 sectors", 13, 1, 0, { -EINVAL, -EINVAL, -EINVAL } },
		{ "cluster of 3 sectors", 13, 1, 3, { -EINVAL, -EINVAL, -EINVAL } },
		{ "nothing reserved", 14, 2, 0, { -EINVAL, -EINVAL, -EINVAL } },
		{ "no FAT", 16, 1, 0, { -EINVAL, -EINVAL, -EINVAL } },
		{ "a strange medium", 21, 1, 0xf1, { -EINVAL, -EINVAL, -EINVAL } },
		{ "medium 0", 21, 1, 0, { -EINVAL, -EINVAL, -EINVAL } },
		{ "everything reserved", 14, 2, 65535, { -EUCLEAN, -EUCLEAN, -EUCLEAN } },
		/* clusters get fewer, but FAT32 then is none; others lose the root's place */
		{ "255 FATs", 16, 1, 255, { -EUCLEAN, -EUCLEAN, -EUCLEAN } },
		{ "root entries 0", 17, 2, 0, { -EUCLEAN, -EUCLEAN, 0 } },
		{ "512 root entries", 17, 2, 512, { 0, 0, -EUCLEAN } },
		{ "total 1", 19, 2, 1, { -EUCLEAN, -EUCLEAN, -EUCLEAN } },
		{ "total 65535 in 16 bits", 19, 2, 65535, { -EUCLEAN, -EUCLEAN, -EUCLEAN } },
		{ "FAT of 65535 sectors", 22, 2, 65535, { -EUCLEAN, -EUCLEAN, -EUCLEAN } },
		{ "FAT of 0 sectors", 22, 2, 0, { -EUCLEAN, -EUCLEAN, 0 } },
		{ "FAT32 of 1 sector", 36, 4, 1, { 0, 0, -EUCLEAN } },
		{ "FAT32 of the most sectors", 36, 4, 0xffffffff, { 0, 0, -EUCLEAN } },
		{ "FAT32 root in cluster 0", 44, 4, 0, { 0, 0, -EUCLEAN } },
		{ "FAT32 root in cluster 1", 44, 4, 1, { 0, 0, -EUCLEAN } },
		{ "FAT32 root behind the end", 44, 4, 66002, { 0, 0, -EUCLEAN } },
		{ "FAT32 root far behind the end", 44, 4, 0xffffffff, { 0, 0, -EUCLEAN } },
		{ "FAT32 root in the last cluster", 44, 4, 66001, { 0, 0, -ENODATA } },
		{ "FAT32 without mirroring, FAT 15 in use", 40, 2, 0x8f, { 0, 0, -EUCLEAN } },
		{ "FAT32 without mirroring, the FAT behind the last in use",
		  40,
		  2,
		  0x81,
		  { 0, 0, -EUCLEAN } },
		{ "FAT32 with mirroring, number ignored", 40, 2, 0x0f, { 0, 0, 0 } },
	};
	static const struct image *const shapes[] = { &small12, &small16, &small32 };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (size_t type = T12; type <= T32; type++) {
			struct fat_file got = { .size_bytes = 4711 };
			struct image m;

			make(&m, shapes[type]);
			for (unsigned n = 0; n < rows[i].bytes; n++)
				m.data[rows[i].offset + n] = (uint8_t)(rows[i].value >> 8 * n);
			ok_int(find(&m, &got), rows[i].r[type], "boot sector, type %zu: %s", type,
			       rows[i].name);
			ok_int(got.size_bytes, rows[i].r[type] ? 4711 : 512, "result");
			if (rows[i].r[type] == -EINVAL || rows[i].r[type] == -EUCLEAN)
				ok_int(m.reads, 1, "nothing but the boot sector was believed");
			drop(&m);
		}
}

/* The count of clusters is limited by their numbers, of which the last ten are marks. */
static void test_most_clusters(void)
{
	for (uint32_t over = 0; over < 2; over++) {
		uint32_t fat_sectors = 0x200000, clusters = 0x0ffffff5 + over;
		struct fat_file got;
		struct image m;

		make(&m, &small32);
		put32(m.data + 36, fat_sectors);
		put32(m.data + 32, m.reserved + fat_sectors + clusters);
		put32(m.data + 44, 2);
		ok_int(find(&m, &got), over ? -EUCLEAN : -ENODATA, "%u clusters", clusters);
		drop(&m);
	}
}

static void test_total_zero(void)
{
	struct fat_file got;
	struct image m;

	make(&m, &small12);
	put16(m.data + 19, 0);
	ok_int(find(&m, &got), -EUCLEAN, "no total at all");
	put32(m.data + 32, 0xffffffff);
	ok_int(find(&m, &got), -EUCLEAN, "the largest total");
	memset(m.data, 0xff, m.len);
	ok_int(find(&m, &got), -EINVAL, "a volume of ones");
	memset(m.data, 0, m.len);
	ok_int(find(&m, &got), -EINVAL, "a volume of zeros");
	m.len = 511;
	ok_int(find(&m, &got), -ENODATA, "shorter than a sector");
	drop(&m);
}

static void test_directory(void)
{
	static const struct {
		const char *name, *entry;
		uint8_t attr;
		uint32_t cluster, size;
		int r;
	} rows[] = {
		{ "a plain file", NAME, 0, 5, 512, 0 },
		{ "hidden, system, read-only, archive", NAME, 0x27, 5, 512, 0 },
		{ "a directory", NAME, 0x10, 5, 0, -ENOENT },
		{ "a directory with a size", NAME, 0x30, 5, 512, -ENOENT },
		{ "a volume label", NAME, 0x08, 0, 0, -ENOENT },
		{ "a long-name entry", NAME, 0x0f, 5, 512, -ENOENT },
		{ "deleted", "\xe5UTOBOOTTXT", 0x20, 5, 512, -ENOENT },
		{ "another name", "AUTOBOO~1TXT", 0x20, 5, 512, -ENOENT },
		{ "stored in lower case", "autoboottxt", 0x20, 5, 512, -ENOENT },
		{ "another extension", "AUTOBOOTTX ", 0x20, 5, 512, -ENOENT },
		{ "empty", NAME, 0x20, 0, 0, -ENOENT },
		{ "empty with a cluster", NAME, 0x20, 5, 0, -ENOENT },
		{ "bytes but no cluster", NAME, 0x20, 0, 512, -EUCLEAN },
		{ "cluster 1", NAME, 0x20, 1, 512, -EUCLEAN },
		{ "the cluster behind the last", NAME, 0x20, 102, 512, -EUCLEAN },
		{ "a cluster far behind the last", NAME, 0x20, 0xffff, 512, -EUCLEAN },
		{ "larger than its chain", NAME, 0x20, 5, 513, -EUCLEAN },
		{ "much larger than the volume", NAME, 0x20, 5, 0xffffffff, -EUCLEAN },
		{ "one byte", NAME, 0x20, 5, 1, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fat_file got = { 0 };
		struct image m;

		make(&m, &small12);
		set_entry(&m, 3, rows[i].entry, rows[i].attr, rows[i].cluster, rows[i].size);
		ok_int(find(&m, &got), rows[i].r, "entry: %s", rows[i].name);
		ok_int(got.size_bytes, rows[i].r ? 0 : rows[i].size, "size");
		drop(&m);
	}
}

static void test_directory_end(void)
{
	struct fat_file got;
	struct image m;

	make(&m, &small12);
	root_dir(&m)[2 * 32] = 0;
	ok_int(find(&m, &got), -ENOENT, "an end mark ends the directory");
	for (unsigned i = 0; i < 16; i++)
		set_entry(&m, i, "OTHER   TXT", 0x20, 7, 1);
	ok_int(find(&m, &got), -ENOENT, "a full directory without the file");
	set_entry(&m, 15, NAME, 0x20, 5, 512);
	ok_int(find(&m, &got), 0, "the file in the last entry");
	set_entry(&m, 15, "OTHER   TXT", 0x20, 7, 1);
	set_entry(&m, 16, NAME, 0x20, 5, 512);
	ok_int(find(&m, &got), -ENOENT, "not in the data behind the directory");
	drop(&m);

	make(&m, &small16);
	set_entry(&m, 3, NAME, 0x20, 0x00070005, 512);
	ok_int(find(&m, &got), 0, "FAT16 ignores the upper half of the cluster");
	drop(&m);
	make(&m, &small32);
	set_entry(&m, 3, NAME, 0x20, 0x00070005, 512);
	ok_int(find(&m, &got), -EUCLEAN, "FAT32 does not");
	drop(&m);
}

/* The root directory of FAT32 is a chain: 2 -> ... */
static void test_root_chain(void)
{
	static const struct {
		const char *name;
		uint32_t links[4]; /* of clusters 2, 10, 11, 12 */
		int r;
	} rows[] = {
		{ "in the fourth cluster", { 10, 11, 12, 0x0fffffff }, 0 },
		{ "upper four bits are not part of a link",
		  { 0xf000000a, 0xa000000b, 12, 0xffffffff },
		  0 },
		{ "cut before it", { 10, 0x0ffffff8, 12, 0x0fffffff }, -ENOENT },
		{ "a loop over one cluster", { 2, 0, 0, 0 }, -EUCLEAN },
		{ "a loop over two", { 10, 2, 0, 0 }, -EUCLEAN },
		{ "a free cluster", { 10, 0, 0, 0 }, -EUCLEAN },
		{ "cluster 1", { 10, 1, 0, 0 }, -EUCLEAN },
		{ "a bad cluster", { 10, 0x0ffffff7, 0, 0 }, -EUCLEAN },
		{ "behind the end", { 10, 66002, 0, 0 }, -EUCLEAN },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		static const uint32_t clusters[] = { 2, 10, 11, 12 };
		struct fat_file got = { 0 };
		struct image m;

		make(&m, &small32);
		for (size_t n = 0; n < 4; n++) {
			set_link(&m, clusters[n], rows[i].links[n]);
			for (unsigned e = 0; e < 16; e++)
				memcpy(m.data + cluster_start(&m, clusters[n]) + (size_t)e * 32,
				       "OTHER   TXT\x20", 12);
		}
		memcpy(m.data + cluster_start(&m, 12) + 15 * 32, NAME "\x20", 12);
		put16(m.data + cluster_start(&m, 12) + 15 * 32 + 26, 5);
		put32(m.data + cluster_start(&m, 12) + 15 * 32 + 28, 512);
		ok_int(find(&m, &got), rows[i].r, "root chain: %s", rows[i].name);
		ok(m.reads < 20000, "read %u times", m.reads);
		drop(&m);
	}
}

/* A file of several clusters of 512 bytes, from cluster 5 on. */
static void test_chains(void)
{
	static const struct {
		const char *name;
		uint32_t size;
		uint32_t links[5]; /* of clusters 5, 6, 7, 8, 9; 0xe: end of chain, 0xb: bad */
		int r;
		uint32_t contiguous;
	} rows[] = {
		{ "two in a row", 1024, { 6, 0xe, 0, 0, 0 }, 0, 1024 },
		{ "five in a row, the last part used", 2049, { 6, 7, 8, 9, 0xe }, 0, 2560 },
		{ "three, then a gap", 2048, { 6, 7, 9, 0, 0xe }, 0, 1536 },
		{ "a gap at once", 1024, { 7, 0, 0xe, 0, 0 }, 0, 512 },
		{ "contiguous again is not contiguous", 1536, { 7, 0, 8, 0xe, 0 }, 0, 512 },
		{ "backwards", 1024, { 8, 0, 0, 0xe, 0 }, 0, 512 },
		{ "too long by one", 512, { 6, 0xe, 0, 0, 0 }, -EUCLEAN, 0 },
		{ "too short by one", 1025, { 6, 0xe, 0, 0, 0 }, -EUCLEAN, 0 },
		{ "a loop over itself", 512, { 5, 0, 0, 0, 0 }, -EUCLEAN, 0 },
		{ "a loop over two", 2048, { 6, 5, 0, 0, 0 }, -EUCLEAN, 0 },
		{ "a loop into the middle", 2560, { 6, 7, 8, 6, 0 }, -EUCLEAN, 0 },
		{ "free", 512, { 0, 0, 0, 0, 0 }, -EUCLEAN, 0 },
		{ "cluster 1", 1024, { 1, 0, 0, 0, 0 }, -EUCLEAN, 0 },
		{ "bad", 1024, { 6, 0xb, 0, 0, 0 }, -EUCLEAN, 0 },
		{ "out of the volume", 1024, { 102, 0, 0, 0, 0 }, -EUCLEAN, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (size_t type = T12; type <= T32; type++) {
			struct image shape = type == T12   ? small12
					     : type == T16 ? small16
							   : small32;
			struct fat_file got = { 0 };
			struct image m;

			make(&m, &shape);
			set_entry(&m, 3, NAME, 0x20, 5, rows[i].size);
			for (uint32_t n = 0; n < 5; n++) {
				uint32_t link = rows[i].links[n];

				link = link == 0xe   ? end_of_chain(&m)
				       : link == 0xb ? end_of_chain(&m) - 8
						     : link;
				if (link == 102)
					link = m.clusters + 2;
				set_link(&m, 5 + n, link);
			}
			ok_int(find(&m, &got), rows[i].r, "chain, type %zu: %s", type,
			       rows[i].name);
			ok_int(got.contiguous_bytes, rows[i].contiguous, "contiguous");
			drop(&m);
		}
}

static void test_endless(void)
{
	struct fat_file got;
	struct image m;

	make(&m, &small32);
	for (uint32_t c = 5; c < 60000; c++)
		set_link(&m, c, c + 1);
	set_link(&m, 60000, 5);
	set_entry(&m, 3, NAME, 0x20, 5, 0xffffffff);
	ok_int(find(&m, &got), 0, "4 GiB in a loop");
	ok_int(got.contiguous_bytes, 1 << 20, "are looked at for 1 MiB");
	ok(m.reads < 3000, "in %u reads", m.reads);
	drop(&m);
}

static void test_read_errors(void)
{
	static const struct image *const shapes[] = { &small12, &small16, &small32 };

	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		uint64_t k;

		for (k = 1;; k++) {
			struct fat_file got = { .size_bytes = 4711 };
			struct image m;
			int r;

			make(&m, shapes[i]);
			m.fail_read = k;
			r = find(&m, &got);
			drop(&m);
			if (m.reads < k)
				break;
			ok(r == -EIO && got.size_bytes == 4711, "type %zu, read %llu fails", i,
			   (unsigned long long)k);
		}
		ok_int(k, 4, "a boot sector, a directory and a link were read");
	}
}

/* No prefix of a volume may be read beyond its end, nor be taken for the file. */
static void test_truncated(void)
{
	struct fat_file got;
	unsigned wrong = 0;
	struct image m;
	size_t whole;

	make(&m, &small12);
	whole = root_start(&m) + 16 * 32;
	for (m.len = 0; m.len < whole; m.len++)
		wrong += find(&m, &got) != -ENODATA;
	ok_int(wrong, 0, "a volume that is cut");
	m.len = whole;
	ok_int(find(&m, &got), 0, "one that is just long enough");
	drop(&m);
}

int main(void)
{
	test_shapes();
	test_boot_sector();
	test_most_clusters();
	test_total_zero();
	test_directory();
	test_directory_end();
	test_root_chain();
	test_chains();
	test_endless();
	test_read_errors();
	test_truncated();
	return tap_done();
}
