// SPDX-License-Identifier: MIT
#include "boot/pi/selector.h"

#include "boot/sys.h"

#include <fcntl.h>

#define BLOCK_MIN 512u
#define BLOCK_MAX 65536u

static const char file_name[11] = "AUTOBOOTTXT";

/*
 * A partition read in whole logical blocks into one aligned buffer, because
 * O_DIRECT takes nothing else. The block read last stays, to be changed.
 */
struct block_reader {
	int fd;
	uint32_t block_bytes;
	uint8_t *buf;	     /* one block */
	uint64_t buf_offset; /* UINT64_MAX: empty */
};

static void block_reader_done(struct block_reader *b)
{
	free(b->buf);
}

static int block_reader_init(struct block_reader *b, int fd)
{
	uint32_t block_bytes;
	void *buf = NULL;
	int r;

	r = sys_block_size(fd, &block_bytes);
	if (r < 0)
		return r;
	if (block_bytes < BLOCK_MIN || block_bytes > BLOCK_MAX || block_bytes & (block_bytes - 1))
		return -EINVAL;
	r = posix_memalign(&buf, block_bytes, block_bytes);
	if (r != 0)
		return -r;
	*b = (struct block_reader) {
		.fd = fd, .block_bytes = block_bytes, .buf = buf, .buf_offset = UINT64_MAX
	};
	return 0;
}

/*
 * Reads the block at @offset_bytes, a multiple of the block. -ERANGE behind the
 * end: not -ENODATA, which is what the kernel says of an unreadable medium.
 */
static int read_block(struct block_reader *b, uint64_t offset_bytes)
{
	ssize_t n;

	if (b->buf_offset == offset_bytes)
		return 0;
	b->buf_offset = UINT64_MAX;
	n = sys_pread(b->fd, b->buf, b->block_bytes, offset_bytes);
	if (n < 0)
		return (int)n;
	if ((size_t)n != b->block_bytes) /* a device gives whole blocks: this is its end */
		return -ERANGE;
	b->buf_offset = offset_bytes;
	return 0;
}

static int read_bytes(void *ctx, uint64_t offset_bytes, void *buf, size_t len)
{
	struct block_reader *b = ctx;
	uint8_t *to = buf;

	while (len > 0) {
		size_t start = offset_bytes % b->block_bytes;
		size_t n = b->block_bytes - start < len ? b->block_bytes - start : len;
		int r;

		r = read_block(b, offset_bytes - start);
		if (r < 0)
			return r;
		memcpy(to, b->buf + start, n);
		to += n;
		offset_bytes += n;
		len -= n;
	}
	return 0;
}

/* Damage, absence and a volume that is longer than its partition: no selection there. */
static bool is_gone(int r)
{
	return r == -ENOENT || r == -EINVAL || r == -EUCLEAN || r == -ERANGE;
}

/*
 * Whether one write of one block can replace the text: the file's size cannot
 * be changed that way, so it must be exactly ours, and its sector must not
 * straddle two blocks (which FAT's sectors of at least 512 bytes rule out).
 */
static bool is_writable(const struct fat_file *file, uint32_t block_bytes)
{
	return file->size_bytes == AUTOBOOT_SIZE && file->contiguous_bytes >= AUTOBOOT_SIZE &&
	       file->offset_bytes % block_bytes + AUTOBOOT_SIZE <= block_bytes;
}

/* Reads the text where @file says. Its state, without the place: VALID or INVALID. */
static int read_text(struct block_reader *b, const struct fat_file *file, enum slot *ret)
{
	char text[AUTOBOOT_SIZE];
	struct autoboot autoboot;
	int r;

	*ret = SLOT_NONE;
	if (file->size_bytes > sizeof(text)) /* the firmware would cut it */
		return 0;
	r = read_bytes(b, file->offset_bytes, text, file->size_bytes);
	if (r < 0)
		return r;
	if (autoboot_parse(text, file->size_bytes, &autoboot) == 0)
		*ret = autoboot_committed(&autoboot);
	return 0;
}

const char *selector_state_name(enum selector_state state)
{
	static const char *const names[] = {
		[SELECTOR_VALID] = "valid", [SELECTOR_INVALID] = "invalid", [SELECTOR_GONE] = "gone"
	};

	return (unsigned)state < ARRAY_SIZE(names) ? names[state] : "?";
}

int selector_read(int fd, struct selector *ret)
{
	_cleanup_(block_reader_done) struct block_reader b = { 0 };
	enum slot committed = SLOT_NONE;
	struct fat_file file;
	int r;

	r = block_reader_init(&b, fd);
	if (r < 0)
		return r;
	r = fat_find(read_bytes, &b, file_name, &file);
	if (r == 0)
		r = read_text(&b, &file, &committed);
	if (r < 0 && !is_gone(r))
		return r;
	*ret = (struct selector) { .state = SELECTOR_GONE,
				   .committed = committed,
				   .block_bytes = b.block_bytes };
	if (r < 0)
		return 0;
	ret->offset_bytes = file.offset_bytes;
	ret->in_place = is_writable(&file, b.block_bytes);
	if (committed != SLOT_NONE)
		ret->state = SELECTOR_VALID;
	else if (ret->in_place)
		ret->state = SELECTOR_INVALID;
	return 0;
}

/* Writes the block in @b, which stays in force, and requires that the disk gives it back. */
static int write_block(struct block_reader *b, uint64_t offset_bytes)
{
	_cleanup_(block_reader_done) struct block_reader back = { 0 };
	ssize_t n;
	int r;

	r = block_reader_init(&back, b->fd);
	if (r < 0)
		return r;
	n = sys_pwrite(b->fd, b->buf, b->block_bytes, offset_bytes);
	if (n < 0)
		return (int)n;
	/* a short write, too, shows in what comes back */
	r = read_block(&back, offset_bytes);
	if (r < 0)
		return r;
	return memcmp(back.buf, b->buf, b->block_bytes) == 0 ? 0 : -EIO;
}

int selector_write(const char *path, enum slot committed)
{
	_cleanup_(block_reader_done) struct block_reader b = { 0 };
	_cleanup_close_ int fd = -1;
	char text[AUTOBOOT_SIZE];
	struct fat_file file;
	uint64_t block_offset;
	uint8_t *place;
	int r;

	if (committed != SLOT_A && committed != SLOT_B)
		return -EINVAL;
	fd = sys_open(path, O_RDWR | O_DIRECT | O_DSYNC, 0);
	if (fd < 0)
		return fd;
	r = block_reader_init(&b, fd);
	if (r < 0)
		return r;
	r = fat_find(read_bytes, &b, file_name, &file);
	if (r < 0)
		return is_gone(r) ? -ENOENT : r;
	if (!is_writable(&file, b.block_bytes))
		return -ENOENT;
	block_offset = file.offset_bytes - file.offset_bytes % b.block_bytes;
	r = read_block(&b, block_offset);
	if (r < 0)
		return is_gone(r) ? -ENOENT : r;
	autoboot_format(committed, text);
	place = b.buf + (file.offset_bytes - block_offset);
	/* An earlier write may have failed on its way out of the disk's cache. */
	if (memcmp(place, text, sizeof(text)) == 0)
		return sys_fsync(fd);
	memcpy(place, text, sizeof(text));
	return write_block(&b, block_offset);
}
