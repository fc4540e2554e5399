// SPDX-License-Identifier: MIT
#include "initramfs/init/fsimage.h"

#define SUPER 1024 /* where the superblock of ext4 and of erofs is */

#define EXT4_INCOMPAT_64BIT 0x80
#define EXT4_LOG_BLOCK_MAX  6 /* 64 KiB, over 1 KiB */

static int ext4_bytes(const uint8_t *head, uint64_t *ret)
{
	const uint8_t *s = head + SUPER;
	uint64_t blocks = get_le(s + 0x04, 4), log_block = get_le(s + 0x18, 4);

	if (get_le(s + 0x60, 4) & EXT4_INCOMPAT_64BIT)
		blocks |= get_le(s + 0x150, 4) << 32;
	if (log_block > EXT4_LOG_BLOCK_MAX)
		return -EUCLEAN;
	return __builtin_mul_overflow(blocks, UINT64_C(1024) << log_block, ret) ? -EUCLEAN : 0;
}

#define EROFS_LOG_BLOCK_MIN 9
#define EROFS_LOG_BLOCK_MAX 16

static int erofs_bytes(const uint8_t *head, uint64_t *ret)
{
	const uint8_t *s = head + SUPER;
	unsigned log_block = s[0x0c];

	if (log_block < EROFS_LOG_BLOCK_MIN || log_block > EROFS_LOG_BLOCK_MAX)
		return -EUCLEAN;
	*ret = get_le(s + 0x24, 4) << log_block;
	return 0;
}

static int squashfs_bytes(const uint8_t *head, uint64_t *ret)
{
	*ret = get_le(head + 0x28, 8);
	return 0;
}

static const struct filesystem {
	const char *type;
	size_t magic_at; /* bytes */
	const char *magic;
	size_t magic_len;
	int (*bytes)(const uint8_t *head, uint64_t *ret);
} filesystems[] = {
	{ "ext4", SUPER + 0x38, "\x53\xef", 2, ext4_bytes },
	{ "erofs", SUPER, "\xe2\xe1\xf5\xe0", 4, erofs_bytes },
	{ "squashfs", 0, "hsqs", 4, squashfs_bytes },
};

int fsimage_parse(const uint8_t head[static FSIMAGE_HEAD_BYTES], struct fsimage *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(filesystems); i++) {
		const struct filesystem *fs = &filesystems[i];
		uint64_t bytes;
		int r;

		if (memcmp(head + fs->magic_at, fs->magic, fs->magic_len) != 0)
			continue;
		r = fs->bytes(head, &bytes);
		if (r < 0)
			return r;
		if (bytes == 0 || bytes > INT64_MAX)
			return -EUCLEAN;
		*ret = (struct fsimage) { .type = fs->type, .bytes = bytes };
		return 0;
	}
	return -ENODATA;
}
