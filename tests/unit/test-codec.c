// SPDX-License-Identifier: MIT
/* Packing and unpacking: there and back, cut short, with leftovers, too large. */
#include "initramfs/pack/codec.h"
#include "tests/lib/tap.h"

#include <lzma.h>

static struct blob sample(size_t size)
{
	struct blob b = { .data = malloc(size + 1), .size = size };
	uint32_t x = 1;

	if (!b.data)
		abort();
	for (size_t i = 0; i < size; i++) { /* neither all the same nor all noise */
		x = x * 1103515245 + 12345;
		b.data[i] = (uint8_t)(i % 7 ? i / 64 : x >> 24);
	}
	return b;
}

/* codec_compress() does not make xz; the modules of distributions are. */
static int pack(enum codec c, const struct blob *in, struct blob *ret)
{
	size_t room, pos = 0;

	if (c != CODEC_XZ)
		return codec_compress(c, in, ret);
	room = lzma_stream_buffer_bound(in->size);
	ret->data = malloc(room + 1);
	if (!ret->data || lzma_easy_buffer_encode(6, LZMA_CHECK_CRC32, NULL, in->data, in->size,
						  ret->data, &pos, room) != LZMA_OK)
		return -EIO;
	ret->size = pos;
	return 0;
}

static bool same(const struct blob *a, const struct blob *b)
{
	return a->size == b->size && (!a->size || memcmp(a->data, b->data, a->size) == 0);
}

static const enum codec codecs[] = { CODEC_GZIP, CODEC_ZSTD, CODEC_XZ };

static void test_round_trip(void)
{
	static const size_t sizes[] = { 0, 1, 1000, 65535, 65536, 65537, 1 << 20 };

	for (size_t i = 0; i < ARRAY_SIZE(codecs) * ARRAY_SIZE(sizes); i++) {
		enum codec c = codecs[i / ARRAY_SIZE(sizes)];
		size_t size = sizes[i % ARRAY_SIZE(sizes)];
		_cleanup_blob_ struct blob in = sample(size), packed = { 0 }, out = { 0 };

		ok_int(pack(c, &in, &packed), 0, "%s: %zu bytes packed", codec_name(c), size);
		ok_int(codec_detect(packed.data, packed.size), c, "%s: known by its first bytes",
		       codec_name(c));
		ok_int(codec_decompress(c, &packed, BLOB_MAX, &out), 0, "%s: %zu bytes unpacked",
		       codec_name(c), size);
		ok(same(&in, &out), "%s: %zu bytes the same", codec_name(c), size);
	}
}

static void test_damage(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(codecs); i++) {
		enum codec c = codecs[i];
		_cleanup_blob_ struct blob in = sample(5000), packed = { 0 };
		bool all = pack(c, &in, &packed) == 0;
		struct blob out = { 0 }, b = packed;

		for (b.size = 0; b.size < packed.size; b.size++)
			all &= codec_decompress(c, &b, BLOB_MAX, &out) == -EBADMSG;
		ok(all, "%s: cut at each of %zu bytes", codec_name(c), packed.size);
		b.data = realloc(packed.data, packed.size + 2);
		if (!b.data)
			abort();
		packed.data = b.data;
		b.data[packed.size] = 'x';
		b.size = packed.size + 1;
		ok_int(codec_decompress(c, &b, BLOB_MAX, &out), -EBADMSG, "%s: something behind it",
		       codec_name(c));
		packed.data[packed.size / 2] ^= 0x40;
		ok_int(codec_decompress(c, &packed, BLOB_MAX, &out), -EBADMSG, "%s: a flipped bit",
		       codec_name(c));
		ok(!out.data, "%s: no result of a failure", codec_name(c));
	}
}

static void test_limit(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(codecs); i++) {
		enum codec c = codecs[i];
		_cleanup_blob_ struct blob in = sample(200000), packed = { 0 }, out = { 0 };

		ok_int(pack(c, &in, &packed), 0, "%s: packed", codec_name(c));
		ok_int(codec_decompress(c, &packed, 199999, &out), -EFBIG, "%s: more than allowed",
		       codec_name(c));
		ok_int(codec_decompress(c, &packed, 200001, &out), 0, "%s: just allowed",
		       codec_name(c));
	}
}

static void test_same_bytes(void)
{
	_cleanup_blob_ struct blob in = sample(100000), a = { 0 }, b = { 0 };

	ok(codec_compress(CODEC_GZIP, &in, &a) == 0 && codec_compress(CODEC_GZIP, &in, &b) == 0 &&
		   same(&a, &b),
	   "gzip: the same twice");
	/* RFC 1952: flags 0 (no name), time 0, best compression, Unix */
	ok(a.size > 10 && memcmp(a.data, "\x1f\x8b\x08\0\0\0\0\0\x02\x03", 10) == 0,
	   "gzip: no time and no name in the header");
	blob_free(&a);
	blob_free(&b);
	ok(codec_compress(CODEC_ZSTD, &in, &a) == 0 && codec_compress(CODEC_ZSTD, &in, &b) == 0 &&
		   same(&a, &b),
	   "zstd: the same twice");
	blob_free(&a);
	ok(codec_compress(CODEC_NONE, &in, &a) == 0 && same(&a, &in), "none: as it is");
}

static void test_names(void)
{
	static const struct {
		const char *name;
		int want;
		enum codec codec;
	} rows[] = {
		{ "gzip", 0, CODEC_GZIP }, { "zstd", 0, CODEC_ZSTD },
		{ "none", 0, CODEC_NONE }, { "xz", -EINVAL, CODEC_XZ },
		{ "", -EINVAL, CODEC_XZ }, { "GZIP", -EINVAL, CODEC_XZ },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		enum codec c = CODEC_XZ;

		ok_int(codec_parse(rows[i].name, &c), rows[i].want, "name \"%s\"", rows[i].name);
		ok_int(c, rows[i].codec, "name \"%s\": codec", rows[i].name);
	}
	ok_int(codec_detect((const uint8_t *)"\x7f"
					     "ELF",
			    4),
	       CODEC_NONE, "ELF is not packed");
	ok_int(codec_detect((const uint8_t *)"\x1f\x8b", 2), CODEC_NONE, "two bytes are too few");
}

int main(void)
{
	test_round_trip();
	test_damage();
	test_limit();
	test_same_bytes();
	test_names();
	return tap_done();
}
