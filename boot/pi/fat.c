// SPDX-License-Identifier: MIT
#include "boot/pi/fat.h"

/*
 * Numbers: a volume has at most 2^32 sectors of at most 2^12 bytes, so every
 * byte offset below fits into 44 bits of a uint64_t; nothing can overflow as
 * long as it is computed in uint64_t from the volume's own fields.
 */

#define BOOT_SECTOR_BYTES  512
#define ENTRY_BYTES	   32
#define DIR_ENTRIES_MAX	   65536u /* a directory is at most 2 MiB: bounds a chain that loops */
#define FOLLOW_MAX_BYTES   (UINT64_C(1) << 20) /* bounds a chain of 2^28 links */
#define FAT12_CLUSTERS_MAX 4084u
#define FAT16_CLUSTERS_MAX 65524u
#define FAT32_CLUSTERS_MAX 0x0ffffff5u /* numbers 0x0ffffff7 and above have a meaning */
#define FAT32_NOT_MIRRORED 0x80
#define FAT32_ACTIVE_FAT   0x0f

#define ATTR_VOLUME_LABEL 0x08 /* long-name entries have it too */
#define ATTR_DIRECTORY	  0x10

enum fat_type { FAT12, FAT16, FAT32 };

struct volume {
	fat_read_fn read;
	void *ctx;
	enum fat_type type;
	uint32_t sector_bytes;
	uint32_t cluster_bytes;
	uint32_t clusters;     /* their numbers are 2 .. clusters + 1 */
	uint64_t fat_offset;   /* of the FAT that is in use, bytes */
	uint64_t root_offset;  /* FAT12, FAT16: of the root directory, bytes */
	uint32_t root_entries; /* FAT12, FAT16 */
	uint32_t root_cluster; /* FAT32 */
	uint64_t data_offset;  /* of cluster 2, bytes */
};

struct dir_entry {
	uint32_t cluster; /* 0: none */
	uint32_t size_bytes;
};

static uint32_t get_u16(const uint8_t *p)
{
	return (uint32_t)get_le(p, 2);
}

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)get_le(p, 4);
}

static bool is_power_of_two(uint32_t n)
{
	return n && !(n & (n - 1));
}

/* Whether the boot sector can be one of a FAT filesystem at all. */
static bool looks_like_fat(const uint8_t *b)
{
	uint32_t sector_bytes = get_u16(b + 11);
	uint8_t media = b[21];

	return b[510] == 0x55 && b[511] == 0xaa && is_power_of_two(sector_bytes) &&
	       sector_bytes >= 512 && sector_bytes <= 4096 && is_power_of_two(b[13]) &&
	       get_u16(b + 14) > 0 && b[16] > 0 && (media == 0xf0 || media >= 0xf8);
}

static enum fat_type type_of(uint32_t clusters)
{
	return clusters <= FAT12_CLUSTERS_MAX	? FAT12
	       : clusters <= FAT16_CLUSTERS_MAX ? FAT16
						: FAT32;
}

/* Bytes that a FAT with an entry for every cluster takes. */
static uint64_t fat_bytes_needed(enum fat_type type, uint32_t clusters)
{
	uint64_t entries = (uint64_t)clusters + 2;

	return type == FAT12 ? (entries * 3 + 1) / 2 : entries * (type == FAT16 ? 2 : 4);
}

static bool is_cluster(const struct volume *v, uint32_t cluster)
{
	return cluster >= 2 && cluster - 2 < v->clusters;
}

/* What only FAT32 has: no fixed root directory, and perhaps one FAT that is not mirrored. */
static int set_fat32(struct volume *v, const uint8_t *b, uint64_t fat_bytes)
{
	uint32_t flags = get_u16(b + 40);
	uint32_t active = flags & FAT32_NOT_MIRRORED ? flags & FAT32_ACTIVE_FAT : 0;

	if (active >= b[16])
		return -EUCLEAN;
	v->fat_offset += active * fat_bytes;
	v->root_cluster = get_u32(b + 44);
	return is_cluster(v, v->root_cluster) ? 0 : -EUCLEAN;
}

/*
 * The count of clusters alone decides the type, as the specification says.
 * Fields of another type (a "FAT32" that is too small to be one) are damage to
 * us: readers disagree about such a volume, and the firmware is one of them.
 */
static int set_geometry(struct volume *v, const uint8_t *b)
{
	uint64_t sector = v->sector_bytes;
	uint64_t total = get_u16(b + 19) ? get_u16(b + 19) : get_u32(b + 32);
	uint32_t fat16_sectors = get_u16(b + 22);
	uint64_t fat_bytes = (fat16_sectors ? fat16_sectors : get_u32(b + 36)) * sector;
	uint64_t root_bytes, clusters;

	v->root_entries = get_u16(b + 17);
	v->fat_offset = get_u16(b + 14) * sector;
	v->root_offset = v->fat_offset + b[16] * fat_bytes;
	root_bytes = ((uint64_t)v->root_entries * ENTRY_BYTES + sector - 1) / sector * sector;
	v->data_offset = v->root_offset + root_bytes;
	if (total * sector < v->data_offset)
		return -EUCLEAN;
	clusters = (total * sector - v->data_offset) / v->cluster_bytes;
	if (clusters == 0 || clusters > FAT32_CLUSTERS_MAX)
		return -EUCLEAN;
	v->clusters = (uint32_t)clusters;
	v->type = type_of(v->clusters);
	if (fat_bytes < fat_bytes_needed(v->type, v->clusters) ||
	    (v->type == FAT32) != (fat16_sectors == 0) ||
	    (v->type == FAT32) != (v->root_entries == 0))
		return -EUCLEAN;
	return v->type == FAT32 ? set_fat32(v, b, fat_bytes) : 0;
}

static int open_volume(fat_read_fn read, void *ctx, struct volume *v)
{
	uint8_t b[BOOT_SECTOR_BYTES];
	int r;

	r = read(ctx, 0, b, sizeof(b));
	if (r < 0)
		return r;
	if (!looks_like_fat(b))
		return -EINVAL;
	*v = (struct volume) {
		.read = read,
		.ctx = ctx,
		.sector_bytes = get_u16(b + 11),
		.cluster_bytes = get_u16(b + 11) * b[13],
	};
	return set_geometry(v, b);
}

/* Of a cluster that is_cluster(). */
static uint64_t cluster_offset(const struct volume *v, uint32_t cluster)
{
	return v->data_offset + (uint64_t)(cluster - 2) * v->cluster_bytes;
}

/*
 * The link behind @cluster: a cluster, or 0 at the end of the chain. Free, bad
 * and reserved marks and numbers outside of the volume are damage.
 */
static int next_cluster(const struct volume *v, uint32_t cluster, uint32_t *ret)
{
	static const struct {
		uint32_t end; /* this and above: end of chain */
		size_t bytes;
	} forms[] = {
		[FAT12] = { 0xff8, 2 }, [FAT16] = { 0xfff8, 2 }, [FAT32] = { 0x0ffffff8, 4 }
	};
	uint64_t offset = v->type == FAT12 ? (uint64_t)cluster + cluster / 2
					   : (uint64_t)cluster * forms[v->type].bytes;
	uint8_t raw[4] = { 0 };
	uint32_t link;
	int r;

	r = v->read(v->ctx, v->fat_offset + offset, raw, forms[v->type].bytes);
	if (r < 0)
		return r;
	link = get_u32(raw);
	if (v->type == FAT12) /* 12 bits: the lower or the upper ones of two bytes, in turns */
		link = cluster % 2 ? link >> 4 : link & 0xfff;
	if (v->type == FAT32) /* the upper four bits are reserved */
		link &= 0x0fffffff;
	if (link < forms[v->type].end && !is_cluster(v, link))
		return -EUCLEAN;
	*ret = link >= forms[v->type].end ? 0 : link;
	return 0;
}

enum scan { SCAN_GO_ON, SCAN_FOUND, SCAN_END };

/* Looks through directory entries in a buffer. */
static enum scan scan_entries(const struct volume *v, const uint8_t *entries, uint32_t count,
			      const char *name, struct dir_entry *ret)
{
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *e = entries + (size_t)i * ENTRY_BYTES;

		if (e[0] == 0)
			return SCAN_END;
		/* a deleted entry has another first character than any name */
		if (memcmp(e, name, 11) != 0 || e[11] & (ATTR_VOLUME_LABEL | ATTR_DIRECTORY))
			continue;
		ret->cluster = get_u16(e + 26);
		if (v->type == FAT32)
			ret->cluster |= get_u16(e + 20) << 16;
		ret->size_bytes = get_u32(e + 28);
		return SCAN_FOUND;
	}
	return SCAN_GO_ON;
}

/* enum scan or -errno, for @count entries on disk. */
static int scan_area(const struct volume *v, uint64_t offset_bytes, uint32_t count,
		     const char *name, struct dir_entry *ret)
{
	uint8_t buf[512];

	for (uint32_t done = 0; done < count;) {
		uint32_t n = count - done < sizeof(buf) / ENTRY_BYTES ? count - done
								      : sizeof(buf) / ENTRY_BYTES;
		enum scan scan;
		int r;

		r = v->read(v->ctx, offset_bytes + (uint64_t)done * ENTRY_BYTES, buf,
			    (size_t)n * ENTRY_BYTES);
		if (r < 0)
			return r;
		scan = scan_entries(v, buf, n, name, ret);
		if (scan != SCAN_GO_ON)
			return (int)scan;
		done += n;
	}
	return SCAN_GO_ON;
}

static int find_entry(const struct volume *v, const char *name, struct dir_entry *ret)
{
	uint32_t per_cluster = v->cluster_bytes / ENTRY_BYTES, cluster = v->root_cluster;
	int r;

	if (v->type != FAT32) {
		r = scan_area(v, v->root_offset, v->root_entries, name, ret);
		return r < 0 ? r : r == SCAN_FOUND ? 0 : -ENOENT;
	}
	for (uint32_t seen = 0; seen < DIR_ENTRIES_MAX; seen += per_cluster) {
		r = scan_area(v, cluster_offset(v, cluster), per_cluster, name, ret);
		if (r < 0)
			return r;
		if (r != SCAN_GO_ON)
			return r == SCAN_FOUND ? 0 : -ENOENT;
		r = next_cluster(v, cluster, &cluster);
		if (r < 0)
			return r;
		if (cluster == 0)
			return -ENOENT;
	}
	return -EUCLEAN;
}

/*
 * Follows the chain of a file of @size_bytes, as far as FOLLOW_MAX_BYTES. It
 * must be exactly as long as the file needs: a chain that loops never ends,
 * and a longer or shorter one contradicts the size.
 */
static int follow(const struct volume *v, uint32_t first, uint32_t size_bytes,
		  uint32_t *ret_contiguous)
{
	uint64_t contiguous = v->cluster_bytes, bytes = v->cluster_bytes;
	uint32_t cluster = first, next;
	bool broken = false;

	for (;; bytes += v->cluster_bytes) {
		int r = next_cluster(v, cluster, &next);

		if (r < 0)
			return r;
		if ((next == 0) != (bytes >= size_bytes))
			return -EUCLEAN;
		if (next == 0 || bytes >= FOLLOW_MAX_BYTES)
			break;
		broken = broken || next != cluster + 1;
		if (!broken)
			contiguous += v->cluster_bytes;
		cluster = next;
	}
	*ret_contiguous = (uint32_t)contiguous;
	return 0;
}

int fat_find(fat_read_fn read, void *ctx, const char name[static 11], struct fat_file *ret)
{
	struct dir_entry entry;
	struct volume v;
	uint32_t contiguous;
	int r;

	r = open_volume(read, ctx, &v);
	if (r < 0)
		return r;
	r = find_entry(&v, name, &entry);
	if (r < 0)
		return r;
	if (entry.size_bytes == 0)
		return -ENOENT;
	if (!is_cluster(&v, entry.cluster))
		return -EUCLEAN;
	r = follow(&v, entry.cluster, entry.size_bytes, &contiguous);
	if (r < 0)
		return r;
	*ret = (struct fat_file) {
		.offset_bytes = cluster_offset(&v, entry.cluster),
		.size_bytes = entry.size_bytes,
		.contiguous_bytes = contiguous,
		.sector_bytes = v.sector_bytes,
	};
	return 0;
}
