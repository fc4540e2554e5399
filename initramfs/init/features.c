// SPDX-License-Identifier: MIT
#include "initramfs/init/features.h"

#include <inttypes.h>

#define INCOMPAT_AT   0x60
#define RO_COMPAT_AT  0x64
#define LOG_BLOCK_AT  0x18 /* log2 of a block's KiB */
#define LOG_BLOCK_MAX 6

/* EXT4_FEATURE_INCOMPAT_SUPP and _RO_COMPAT_SUPP of Linux 5.10, fs/ext4/ext4.h, and "readonly". */
#define INCOMPAT_KNOWN	0x0003e7d6
#define RO_COMPAT_KNOWN 0x0000b77f

enum set { INCOMPAT, RO_COMPAT };

static const struct row {
	const char *name;  /* as mke2fs(8) calls it */
	const char *sign;  /* a file that is there when the kernel has it; NULL: nothing tells */
	const char *wants; /* what the kernel must have; NULL: no mainline kernel has it */
	enum set set;
	uint32_t bit;
	int error;	/* of mount(2) */
	bool stays;	/* tune2fs(8) cannot take it off */
	bool odd_block; /* only when a block is not as large as a page */
} rows[] = {
	/* A kernel can have quotas, and not the module for the format in which ext4 keeps them. */
	{ "quota", NULL, "CONFIG_QFMT_V2, the module quota_v2", RO_COMPAT, 0x100, ESRCH },
	{ "project", NULL, "CONFIG_QFMT_V2, the module quota_v2", RO_COMPAT, 0x2000, ESRCH },
	{ "quota", "/proc/sys/fs/quota", "CONFIG_QUOTA", RO_COMPAT, 0x100, EINVAL },
	{ "project", "/proc/sys/fs/quota", "CONFIG_QUOTA", RO_COMPAT, 0x2000, EINVAL },
	{ "casefold", "/sys/fs/ext4/features/casefold", "CONFIG_UNICODE", INCOMPAT, 0x20000,
	  EINVAL },
	{ "metadata_csum", NULL, "the module crc32c", RO_COMPAT, 0x400, ENOENT },
	{ "orphan_file", NULL, "Linux 5.15", RO_COMPAT, 0x10000, EINVAL },
	{ "encrypt", NULL, "Linux 6.3, or pages as large as a block", INCOMPAT, 0x10000, EINVAL,
	  .stays = true, .odd_block = true },
	{ "verity", NULL, "Linux 6.3, or pages as large as a block", RO_COMPAT, 0x8000, EINVAL,
	  .stays = true, .odd_block = true },
	{ "snapshot", NULL, NULL, RO_COMPAT, 0x80, EINVAL, .stays = true },
	{ "replica", NULL, NULL, RO_COMPAT, 0x800, EINVAL, .stays = true },
	{ "shared_blocks", NULL, NULL, RO_COMPAT, 0x4000, EINVAL, .stays = true },
	{ "compression", NULL, NULL, INCOMPAT, 0x1, EINVAL, .stays = true },
	{ "dirdata", NULL, NULL, INCOMPAT, 0x1000, EINVAL, .stays = true },
};

void features_read(const uint8_t super[static FEATURES_SUPER_SIZE], struct features *ret)
{
	uint64_t log = get_le(super + LOG_BLOCK_AT, 4);

	*ret = (struct features) {
		.set = { [INCOMPAT] = (uint32_t)get_le(super + INCOMPAT_AT, 4),
			 [RO_COMPAT] = (uint32_t)get_le(super + RO_COMPAT_AT, 4) },
		.block_bytes = log <= LOG_BLOCK_MAX ? 1024U << log : 0,
	};
}

static void tell(const struct row *row, char *ret, size_t size)
{
	if (!row->wants)
		(void)snprintf(ret, size,
			       "has the ext4 feature '%s', which no kernel takes: make it anew",
			       row->name);
	else if (row->stays)
		(void)snprintf(
			ret, size,
			"has the ext4 feature '%s', which this kernel lacks: boot one with %s",
			row->name, row->wants);
	else
		(void)snprintf(ret, size,
			       "has the ext4 feature '%s', which this kernel lacks: boot one with "
			       "%s, or take it off: tune2fs -O ^%s",
			       row->name, row->wants, row->name);
}

static bool tell_unknown(const char *kind, uint32_t unknown, char *ret, size_t size)
{
	if (unknown)
		(void)snprintf(ret, size,
			       "has ext4 features of a later kernel (%s 0x%" PRIx32
			       "): boot that one, or make it anew",
			       kind, unknown);
	return unknown != 0;
}

bool features_lacking(const struct features *f, int error, uint32_t page_bytes,
		      bool (*exists)(const char *path), char *ret, size_t size)
{
	uint32_t unknown[] = { f->set[INCOMPAT] & ~(uint32_t)INCOMPAT_KNOWN,
			       f->set[RO_COMPAT] & ~(uint32_t)RO_COMPAT_KNOWN };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];

		unknown[row->set] &= ~row->bit;
		if (!(f->set[row->set] & row->bit) || row->error != error ||
		    (row->odd_block && f->block_bytes == page_bytes) ||
		    (row->sign && exists(row->sign)))
			continue;
		tell(row, ret, size);
		return true;
	}
	if (error != EINVAL)
		return false;
	if (tell_unknown("incompat", unknown[INCOMPAT], ret, size) ||
	    tell_unknown("ro_compat", unknown[RO_COMPAT], ret, size))
		return true;
	if (f->block_bytes <= page_bytes)
		return false;
	(void)snprintf(ret, size,
		       "has blocks of %" PRIu32 " bytes, more than this kernel's pages of %" PRIu32
		       ": boot one with such pages, or make it anew with mke2fs -b 4096",
		       f->block_bytes, page_bytes);
	return true;
}
