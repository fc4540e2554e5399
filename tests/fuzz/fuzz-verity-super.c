// SPDX-License-Identifier: MIT
/*
 * A superblock, and behind it where it was found: offset, device and FEC sizes (8 bytes
 * each), flags. A table that comes out never points outside of the devices.
 */
#include "initramfs/init/verity.h"

#include <inttypes.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	uint8_t sb[VERITY_SUPER_SIZE];
	uint8_t offset[8], data_bytes[8], hash_bytes[8], fec_bytes[8], fec_offset[8];
	uint8_t same_device, fec_on_hash, fec_roots, digits;
};

static void check_super(const struct verity_super *s)
{
	if (s->data_block_bytes < 512 || s->data_block_bytes > 4096 || s->hash_block_bytes < 512 ||
	    s->hash_block_bytes > 4096 || s->data_blocks == 0 ||
	    s->data_blocks > INT64_MAX / s->data_block_bytes || s->salt_bytes > VERITY_SALT_MAX ||
	    s->hash_type > 1 || strlen(s->uuid) != 36 ||
	    s->digest_bytes != (streq(s->algorithm, "sha256") ? 32 : 64))
		abort();
}

static unsigned count_words(const char *s)
{
	unsigned n = 0;

	for (; *s; s += strspn(s, " ")) {
		n++;
		s += strcspn(s, " ");
	}
	return n;
}

static void check_table(const struct verity_super *s, const struct verity_geometry *g,
			const struct verity_table *t)
{
	unsigned __int128 data = (unsigned __int128)s->data_blocks * s->data_block_bytes, tree;
	uint64_t start = 0;
	unsigned count = 0, head = 0;
	const char *fec = strstr(t->params, "fec_start ");

	if (sscanf(t->params, "%*u %*s %*s %*u %*u %*u %" SCNu64 " %*s %*s %*s %u %n", &start,
		   &count, &head) != 2 ||
	    count_words(t->params + head) != count)
		abort();
	/* At least the lowest level: a hash for each block, two or more blocks. */
	tree = s->data_blocks > 1 ? (unsigned __int128)s->data_blocks * s->digest_bytes : 0;
	if (data > g->data_device_bytes || t->sectors != data / 512 ||
	    (unsigned __int128)start * s->hash_block_bytes <
		    (unsigned __int128)g->hash_offset_bytes + 512 ||
	    (unsigned __int128)start * s->hash_block_bytes + tree > g->hash_device_bytes ||
	    (g->same_device && data > g->hash_offset_bytes))
		abort();
	if (!fec)
		return;
	if (sscanf(fec, "fec_start %" SCNu64, &start) != 1 ||
	    (unsigned __int128)start * s->data_block_bytes > g->fec_device_bytes)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char digits[] =
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	struct input in = { 0 };
	struct verity_geometry g = { .data_device = "1:1", .hash_device = "1:1" };
	struct verity_options o = { 0 };
	struct verity_table t;
	struct verity_super s;
	struct failure f;

	memcpy(&in, data, size < sizeof(in) ? size : sizeof(in));
	if (verity_super_parse(in.sb, &s, &f) < 0)
		return f.reason == REASON_VERITY_SUPERBLOCK ? 0 : -1;
	check_super(&s);
	g.roothash = digits + (128 - (in.digits ? 2 * s.digest_bytes : 7));
	g.hash_offset_bytes = get_le(in.offset, 8) & ~UINT64_C(511);
	g.data_device_bytes = g.hash_device_bytes = get_le(in.data_bytes, 8);
	g.same_device = in.same_device & 1;
	if (!g.same_device)
		g.hash_device_bytes = get_le(in.hash_bytes, 8);
	if (in.fec_roots) {
		o.has_fec_offset = true;
		o.fec_offset_bytes = get_le(in.fec_offset, 8) & INT64_MAX;
		o.fec_roots = 2 + in.fec_roots % 23;
		strcpy(g.fec_device, in.fec_on_hash & 1 ? "1:1" : "1:2");
		g.fec_device_bytes =
			in.fec_on_hash & 1 ? g.hash_device_bytes : get_le(in.fec_bytes, 8);
	}
	if (verity_table_make(&s, &o, &g, &t, &f) < 0)
		return f.reason == REASON_NONE ? -1 : 0;
	check_table(&s, &g, &t);
	verity_table_done(&t);
	return 0;
}
