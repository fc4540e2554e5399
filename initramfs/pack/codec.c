// SPDX-License-Identifier: MIT
#include "initramfs/pack/codec.h"

#define ZLIB_CONST
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#define ZSTD_LEVEL    19
#define XZ_MEMORY_MAX ((uint64_t)256 << 20)
#define GZIP_OS_UNIX  3
#define ROOM_START    ((size_t)64 << 10)

static const char *const names[] = {
	[CODEC_NONE] = "none",
	[CODEC_GZIP] = "gzip",
	[CODEC_ZSTD] = "zstd",
	[CODEC_XZ] = "xz",
};

const char *codec_name(enum codec c)
{
	return names[c];
}

int codec_parse(const char *name, enum codec *ret)
{
	for (enum codec c = CODEC_NONE; c < CODEC_XZ; c++)
		if (streq(name, names[c])) {
			*ret = c;
			return 0;
		}
	return -EINVAL;
}

enum codec codec_detect(const uint8_t *data, size_t size)
{
	static const struct {
		enum codec codec;
		uint8_t magic[6];
		size_t len;
	} table[] = {
		{ CODEC_GZIP, { 0x1f, 0x8b, 0x08 }, 3 },
		{ CODEC_ZSTD, { 0x28, 0xb5, 0x2f, 0xfd }, 4 },
		{ CODEC_XZ, { 0xfd, '7', 'z', 'X', 'Z', 0x00 }, 6 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (size >= table[i].len && memcmp(data, table[i].magic, table[i].len) == 0)
			return table[i].codec;
	return CODEC_NONE;
}

static int copy(const struct blob *in, struct blob *ret)
{
	struct blob b = { .size = in->size, .data = malloc(in->size + 1) };

	if (!b.data)
		return -ENOMEM;
	if (in->size)
		memcpy(b.data, in->data, in->size);
	b.data[b.size] = '\0';
	*ret = b;
	return 0;
}

static int compress_gzip(const struct blob *in, struct blob *ret)
{
	gz_header header = { .os = GZIP_OS_UNIX };
	_cleanup_blob_ struct blob out = { 0 };
	z_stream z = { 0 };
	size_t room;
	int r;

	if (in->size > UINT32_MAX / 2)
		return -EFBIG;
	if (deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	(void)deflateSetHeader(&z, &header);
	room = deflateBound(&z, in->size);
	out.data = malloc(room + 1);
	if (!out.data) {
		(void)deflateEnd(&z);
		return -ENOMEM;
	}
	z.next_in = in->data;
	z.avail_in = (uInt)in->size;
	z.next_out = out.data;
	z.avail_out = (uInt)room;
	r = deflate(&z, Z_FINISH);
	out.size = room - z.avail_out;
	(void)deflateEnd(&z);
	if (r != Z_STREAM_END)
		return -EIO;
	*ret = blob_take(&out);
	return 0;
}

static void zstd_cctx_free(ZSTD_CCtx **c)
{
	(void)ZSTD_freeCCtx(*c);
}

static int compress_zstd(const struct blob *in, struct blob *ret)
{
	_cleanup_(zstd_cctx_free) ZSTD_CCtx *c = ZSTD_createCCtx();
	_cleanup_blob_ struct blob out = { 0 };
	size_t room = ZSTD_compressBound(in->size), n;

	if (!c)
		return -ENOMEM;
	if (ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, ZSTD_LEVEL)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1)))
		return -EIO;
	out.data = malloc(room + 1);
	if (!out.data)
		return -ENOMEM;
	n = ZSTD_compress2(c, out.data, room, in->data, in->size);
	if (ZSTD_isError(n))
		return -ENOMEM; /* the room is enough; nothing else can fail */
	out.size = n;
	*ret = blob_take(&out);
	return 0;
}

int codec_compress(enum codec c, const struct blob *in, struct blob *ret)
{
	switch (c) {
	case CODEC_NONE:
		return copy(in, ret);
	case CODEC_GZIP:
		return compress_gzip(in, ret);
	case CODEC_ZSTD:
		return compress_zstd(in, ret);
	case CODEC_XZ:
		break;
	}
	return -EINVAL;
}

/* Room for more output: the double, at most @max (+1 for the NUL behind). */
static int make_room(struct blob *b, size_t *room, size_t max)
{
	size_t more;
	uint8_t *p;

	if (*room >= max)
		return -EFBIG;
	more = *room ? (*room > max / 2 ? max : *room * 2) : (max < ROOM_START ? max : ROOM_START);
	p = realloc(b->data, more + 1);
	if (!p)
		return -ENOMEM;
	b->data = p;
	*room = more;
	return 0;
}

/*
 * The three libraries have the same shape: take some input, give some output.
 * A step moves in and in_left, lessens *out_left, and says -EAGAIN (go on, with
 * more room when *out_left is 0), 0 (the end was reached) or -errno.
 */
struct decoder {
	enum codec codec;
	z_stream gzip;
	lzma_stream xz;
	ZSTD_DCtx *zstd;
	const uint8_t *in;
	size_t in_left;
};

static int decoder_start(struct decoder *d, enum codec c, const struct blob *in)
{
	*d = (struct decoder) {
		.codec = c, .xz = LZMA_STREAM_INIT, .in = in->data, .in_left = in->size
	};
	switch (c) {
	case CODEC_GZIP:
		return inflateInit2(&d->gzip, 15 + 16) == Z_OK ? 0 : -ENOMEM;
	case CODEC_XZ:
		return lzma_stream_decoder(&d->xz, XZ_MEMORY_MAX, 0) == LZMA_OK ? 0 : -ENOMEM;
	case CODEC_ZSTD:
		d->zstd = ZSTD_createDCtx();
		return d->zstd ? 0 : -ENOMEM;
	case CODEC_NONE:
		break;
	}
	return -EINVAL;
}

static void decoder_end(struct decoder *d)
{
	if (d->codec == CODEC_GZIP)
		(void)inflateEnd(&d->gzip);
	lzma_end(&d->xz);
	(void)ZSTD_freeDCtx(d->zstd);
}

static int step_gzip(struct decoder *d, uint8_t *out, size_t *out_left)
{
	uInt in_left = (uInt)d->in_left, left = (uInt)*out_left;
	int r;

	d->gzip.next_in = (z_const Bytef *)d->in;
	d->gzip.avail_in = in_left;
	d->gzip.next_out = out;
	d->gzip.avail_out = left;
	r = inflate(&d->gzip, Z_NO_FLUSH);
	d->in += in_left - d->gzip.avail_in;
	d->in_left = d->gzip.avail_in;
	*out_left = d->gzip.avail_out;
	if (r == Z_STREAM_END)
		return 0;
	return r == Z_OK || r == Z_BUF_ERROR ? -EAGAIN : r == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
}

static int step_xz(struct decoder *d, uint8_t *out, size_t *out_left)
{
	lzma_ret r;

	d->xz.next_in = d->in;
	d->xz.avail_in = d->in_left;
	d->xz.next_out = out;
	d->xz.avail_out = *out_left;
	r = lzma_code(&d->xz, LZMA_FINISH);
	d->in = d->xz.next_in;
	d->in_left = d->xz.avail_in;
	*out_left = d->xz.avail_out;
	if (r == LZMA_STREAM_END)
		return 0;
	if (r == LZMA_MEM_ERROR || r == LZMA_MEMLIMIT_ERROR)
		return -ENOMEM;
	return r == LZMA_OK || (r == LZMA_BUF_ERROR && *out_left == 0) ? -EAGAIN : -EBADMSG;
}

static int step_zstd(struct decoder *d, uint8_t *out, size_t *out_left)
{
	ZSTD_inBuffer ib = { .src = d->in, .size = d->in_left };
	ZSTD_outBuffer ob = { .dst = out, .size = *out_left };
	size_t r = ZSTD_decompressStream(d->zstd, &ob, &ib);

	d->in += ib.pos;
	d->in_left -= ib.pos;
	*out_left -= ob.pos;
	return ZSTD_isError(r) ? -EBADMSG : r == 0 ? 0 : -EAGAIN;
}

static int decoder_step(struct decoder *d, uint8_t *out, size_t *out_left)
{
	switch (d->codec) {
	case CODEC_GZIP:
		return step_gzip(d, out, out_left);
	case CODEC_XZ:
		return step_xz(d, out, out_left);
	default:
		return step_zstd(d, out, out_left);
	}
}

int codec_decompress(enum codec c, const struct blob *in, size_t max, struct blob *ret)
{
	_cleanup_(decoder_end) struct decoder d;
	_cleanup_blob_ struct blob out = { 0 };
	size_t room = 0;
	int r;

	if (in->size > BLOB_MAX || max > BLOB_MAX)
		max = 0;
	r = decoder_start(&d, c, in);
	while (r == 0 || r == -EAGAIN) {
		size_t left, before = d.in_left;

		if (out.size == room) {
			r = make_room(&out, &room, max);
			if (r < 0)
				break;
		}
		left = room - out.size;
		r = decoder_step(&d, out.data + out.size, &left);
		/* Neither taken nor given, with room to spare: it is cut short. */
		if (r == -EAGAIN && left == room - out.size && before == d.in_left)
			r = -EBADMSG;
		out.size = room - left;
		if (r == 0)
			break;
	}
	if (r < 0)
		return r;
	if (d.in_left)
		return -EBADMSG;
	out.data[out.size] = '\0';
	*ret = blob_take(&out);
	return 0;
}
