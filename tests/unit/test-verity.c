// SPDX-License-Identifier: MIT
#include "initramfs/init/fsimage.h"
#include "tests/lib/tap.h"
#include "tests/lib/verity-sample.h"

#include <inttypes.h>

static const char *code(int r, const struct failure *f)
{
	return r < 0 ? reason_text(f->reason)->code : "ok";
}

/* The superblock */

static void test_super(void)
{
	uint8_t sb[VERITY_SUPER_SIZE];
	struct verity_super s;
	struct failure f;

	sample_super(sb);
	ok_int(verity_super_parse(sb, &s, &f), 0, "good superblock");
	ok_int(s.hash_type, 1, "hash type");
	ok_str(s.uuid, SAMPLE_UUID, "uuid");
	ok_str(s.algorithm, "sha256", "algorithm");
	ok_int(s.digest_bytes, 32, "digest");
	ok_int(s.data_block_bytes, 4096, "data block");
	ok_int(s.hash_block_bytes, 4096, "hash block");
	ok_int(s.data_blocks, 8, "data blocks");
	ok_int(s.salt_bytes, 2, "salt size");
	ok(s.salt[0] == 0xaa && s.salt[1] == 0xbb && s.salt[2] == 0, "salt");
}

static const struct {
	const char *name;
	unsigned at, bytes;
	uint64_t value;
	bool good;
	const char *says; /* in the failure's text */
} fields[] = {
	{ "magic, first byte", 0, 1, 'V', false, "no verity superblock" },
	{ "magic, last byte", 7, 1, 1, false, "no verity superblock" },
	{ "all of the magic zero", 0, 8, 0, false, "no verity superblock" },
	{ "version 0", 8, 4, 0, false, "version is 0" },
	{ "version 2", 8, 4, 2, false, "version is 2" },
	{ "version with a high byte", 8, 4, 0x01000001, false, "version" },
	{ "hash type 0", 12, 4, 0, true, NULL },
	{ "hash type 2", 12, 4, 2, false, "hash type is 2" },
	{ "hash type all ones", 12, 4, 0xffffffff, false, "hash type" },
	{ "algorithm empty", 32, 1, 0, false, "\"\"" },
	{ "algorithm unknown", 32, 4, 0x0035646d, false, "\"md5\" is not sha256 or sha512" },
	{ "algorithm with a control byte", 32, 1, 1, false, "\"?ha256\"" },
	{ "algorithm goes on", 38, 1, 'x', false, "\"sha256x\"" },
	{ "garbage behind the algorithm's NUL", 40, 8, 0x4141414141414141, true, NULL },
	{ "data block 0", 64, 4, 0, false, "data block size is 0" },
	{ "data block 256", 64, 4, 256, false, "data block size" },
	{ "data block 512", 64, 4, 512, true, NULL },
	{ "data block 513", 64, 4, 513, false, "data block size" },
	{ "data block 3072", 64, 4, 3072, false, "data block size" },
	{ "data block 8192", 64, 4, 8192, false, "data block size" },
	{ "data block 2^31", 64, 4, 0x80000000, false, "data block size" },
	{ "hash block 0", 68, 4, 0, false, "hash block size is 0" },
	{ "hash block 1024", 68, 4, 1024, true, NULL },
	{ "hash block 1025", 68, 4, 1025, false, "hash block size" },
	{ "hash block 8192", 68, 4, 8192, false, "hash block size" },
	{ "no data blocks", 72, 8, 0, false, "number of data blocks is 0" },
	{ "one data block", 72, 8, 1, true, NULL },
	{ "most data blocks", 72, 8, INT64_MAX / 4096, true, NULL },
	{ "one more", 72, 8, INT64_MAX / 4096 + 1, false, "number of data blocks" },
	{ "2^64-1 data blocks", 72, 8, UINT64_MAX, false, "number of data blocks" },
	{ "salt 0", 80, 2, 0, true, NULL },
	{ "salt 256", 80, 2, 256, true, NULL },
	{ "salt 257", 80, 2, 257, false, "salt size is 257" },
	{ "salt 65535", 80, 2, 65535, false, "salt size" },
	{ "padding", 82, 6, 0xffffffffffff, true, NULL },
	{ "last padding", 504, 8, UINT64_MAX, true, NULL },
};

static void test_fields(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		uint8_t sb[VERITY_SUPER_SIZE];
		struct verity_super s = { .data_blocks = 77 };
		struct failure f = { 0 };
		int r;

		sample_super(sb);
		put_le(sb + fields[i].at, fields[i].value, fields[i].bytes);
		r = verity_super_parse(sb, &s, &f);
		ok_str(code(r, &f), fields[i].good ? "ok" : "verity-superblock", "%s",
		       fields[i].name);
		if (fields[i].good)
			continue;
		ok(strstr(f.text, fields[i].says), "%s: the failure says \"%s\"", fields[i].name,
		   f.text);
		ok_int(s.data_blocks, 77, "%s: nothing is returned", fields[i].name);
	}
}

static void test_algorithm_without_nul(void)
{
	uint8_t sb[VERITY_SUPER_SIZE];
	struct verity_super s;
	struct failure f;

	sample_super(sb);
	memset(sb + 32, 'a', 32);
	ok_str(code(verity_super_parse(sb, &s, &f), &f), "verity-superblock",
	       "algorithm that fills its field");
	ok(strstr(f.text, "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\""), "is shown whole, and no more");
}

/* The options */

static const struct {
	const char *text;
	const char *says; /* NULL: good */
} option_rows[] = {
	{ "", NULL },
	{ ",,", NULL },
	{ "restart-on-corruption", NULL },
	{ "panic-on-corruption", NULL },
	{ "superblock=yes,superblock=1,superblock=True", NULL },
	{ "x-initrd.attach,_netdev,noauto,nofail", NULL },
	{ "format=1,data-block-size=4096,hash-block-size=512,data-blocks=8,hash=sha512", NULL },
	{ "salt=-", NULL },
	{ "salt=AAbb", NULL },
	{ "uuid=" SAMPLE_UUID, NULL },
	{ "hash-offset=0", NULL },
	{ "hash-offset=9223372036854775296", NULL },
	{ "fec-offset=4096", NULL },
	{ "fec-device=PARTLABEL=BF_FEC,fec-roots=24", NULL },
	{ "root-hash-signature=/etc/root.p7s", NULL },
	{ "ignore-zero-blocks,check-at-most-once", NULL },

	{ "ignore-corruption", "would run a root that is not the one that was signed" },
	{ "restart-on-corruption,ignore-corruption", "ignore-corruption" },
	{ "restart-on-corruption,panic-on-corruption", "exclude each other" },
	{ "superblock=no", "superblock= is yes" },
	{ "superblock=", "superblock=" },
	{ "superblock", "needs a value" },
	{ "restart-on-corruption=yes", "takes no value" },
	{ "ignore-corruption=no", "ignore-corruption" },
	{ "tasklets", "\"tasklets\" is not known" },
	{ " restart-on-corruption", "not known" },
	{ "HASH-OFFSET=0", "not known" },
	{ "=", "\"\" is not known" },
	{ "hash-offset=", "hash-offset=" },
	{ "hash-offset=-512", "hash-offset=" },
	{ "hash-offset=0x200", "hash-offset=" },
	{ "hash-offset=100", "a multiple of 512" },
	{ "hash-offset=9223372036854775808", "hash-offset=" },
	{ "hash-offset=18446744073709551616", "hash-offset=" },
	{ "format=2", "format= is 0 or 1" },
	{ "data-block-size=1000", "power of two" },
	{ "data-block-size=8192", "power of two" },
	{ "hash-block-size=256", "power of two" },
	{ "data-blocks=0", "data-blocks=" },
	{ "salt=abc", "salt=" },
	{ "salt=xy", "salt=" },
	{ "uuid=00112233", "uuid=" },
	{ "uuid=00112233-4455-6677-8899-aabbccddeefg", "uuid=" },
	{ "hash=md5", "hash= is sha256 or sha512" },
	{ "fec-device=", "fec-device=" },
	{ "fec-offset=x", "fec-offset=" },
	{ "fec-offset=0,fec-roots=1", "fec-roots= is 2 to 24" },
	{ "fec-offset=0,fec-roots=25", "fec-roots=" },
	{ "fec-roots=2", "needs fec-offset= or fec-device=" },
	{ "root-hash-signature=base64:MIIB", "absolute path" },
	{ "root-hash-signature=auto", "absolute path" },
	{ "root-hash-signature=root.p7s", "absolute path" },
};

static void test_options(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(option_rows); i++) {
		struct verity_options o = { 0 };
		struct failure f = { 0 };
		int r = verity_options_parse(option_rows[i].text, &o, &f);

		ok_str(code(r, &f), option_rows[i].says ? "verity-options" : "ok", "\"%s\"",
		       option_rows[i].text);
		if (option_rows[i].says)
			ok(strstr(f.text, option_rows[i].says), "\"%s\": the failure says \"%s\"",
			   option_rows[i].text, f.text);
		verity_options_done(&o);
	}
}

static void test_option_values(void)
{
	struct verity_options o;
	struct failure f;

	ok_int(verity_options_parse("hash-offset=1024,fec-device=/dev/a,fec-device=/dev/b,"
				    "fec-offset=8192,fec-roots=3,check-at-most-once,"
				    "ignore-zero-blocks,panic-on-corruption,"
				    "root-hash-signature=/s",
				    &o, &f),
	       0, "all of them");
	ok(o.has_hash_offset && o.hash_offset_bytes == 1024, "hash-offset");
	ok_str(o.fec_device, "/dev/b", "the last of two wins");
	ok(o.has_fec_offset && o.fec_offset_bytes == 8192 && o.fec_roots == 3, "fec");
	ok(o.check_at_most_once && o.ignore_zero_blocks && o.panic_on_corruption, "flags");
	ok_str(o.signature, "/s", "signature");
	ok(verity_options_fec(&o), "has FEC");
	verity_options_done(&o);
	ok_int(verity_options_parse("", &o, &f), 0, "none");
	ok(!o.has_hash_offset && !o.fec_device && !o.signature && !o.panic_on_corruption &&
		   o.fec_roots == 2 && !verity_options_fec(&o),
	   "defaults");
	verity_options_done(&o);
}

static const struct {
	const char *text;
	bool good;
} match_rows[] = {
	{ "", true },
	{ "format=1", true },
	{ "format=0", false },
	{ "data-block-size=4096,hash-block-size=4096", true },
	{ "data-block-size=512", false },
	{ "hash-block-size=512", false },
	{ "data-blocks=8", true },
	{ "data-blocks=9", false },
	{ "hash=sha256", true },
	{ "hash=sha512", false },
	{ "salt=aabb", true },
	{ "salt=AABB", true },
	{ "salt=aabbcc", false },
	{ "salt=aa", false },
	{ "salt=-", false },
	{ "uuid=" SAMPLE_UUID, true },
	{ "uuid=00112233-4455-6677-8899-AABBCCDDEEFF", true },
	{ "uuid=10112233-4455-6677-8899-aabbccddeeff", false },
};

static void test_match(void)
{
	uint8_t sb[VERITY_SUPER_SIZE];
	struct verity_super s;
	struct failure f;

	sample_super(sb);
	ok_int(verity_super_parse(sb, &s, &f), 0, "superblock to match with");
	for (size_t i = 0; i < ARRAY_SIZE(match_rows); i++) {
		struct verity_options o;

		ok_int(verity_options_parse(match_rows[i].text, &o, &f), 0, "\"%s\" parses",
		       match_rows[i].text);
		ok_str(code(verity_options_match(&o, &s, &f), &f),
		       match_rows[i].good ? "ok" : "verity-options",
		       "\"%s\" against the superblock", match_rows[i].text);
		verity_options_done(&o);
	}
	s.salt_bytes = 0;
	for (size_t i = 0; i < 2; i++) {
		struct verity_options o;

		ok_int(verity_options_parse(i ? "salt=" : "salt=-", &o, &f), 0, "no salt parses");
		ok_int(verity_options_match(&o, &s, &f), 0, "no salt matches no salt");
		verity_options_done(&o);
	}
}

/* The table */

#define TREE_AT (8 * 4096)

static struct verity_geometry sample_geometry(void)
{
	return (struct verity_geometry) {
		.roothash = HASH64,
		.hash_offset_bytes = TREE_AT,
		.data_device_bytes = 10 * 4096,
		.hash_device_bytes = 10 * 4096,
		.data_logical_bytes = 512,
		.hash_logical_bytes = 512,
		.data_device = "259:4",
		.hash_device = "259:4",
		.same_device = true,
	};
}

static struct verity_super sample_parsed(void)
{
	uint8_t sb[VERITY_SUPER_SIZE];
	struct verity_super s = { 0 };
	struct failure f;

	sample_super(sb);
	ok_int(verity_super_parse(sb, &s, &f), 0, "sample superblock");
	return s;
}

#define HEAD "1 259:4 259:4 4096 4096 8 9 sha256 " HASH64 " aabb"

static const struct {
	const char *options;
	bool on_error, no_restart;
	const char *key;
	const char *want;
} table_rows[] = {
	{ "", false, false, NULL, HEAD " 1 restart_on_corruption" },
	{ "", true, false, NULL, HEAD " 2 restart_on_corruption restart_on_error" },
	{ "", true, true, NULL, HEAD },
	{ "panic-on-corruption", false, false, NULL, HEAD " 1 panic_on_corruption" },
	{ "panic-on-corruption", true, false, NULL, HEAD " 2 panic_on_corruption panic_on_error" },
	{ "panic-on-corruption", true, true, NULL, HEAD },
	{ "check-at-most-once,ignore-zero-blocks", true, true, NULL,
	  HEAD " 2 ignore_zero_blocks check_at_most_once" },
	{ "check-at-most-once,ignore-zero-blocks", true, false, "bf-verity:root",
	  HEAD " 6 restart_on_corruption restart_on_error ignore_zero_blocks check_at_most_once "
	       "root_hash_sig_key_desc bf-verity:root" },
	{ "", false, true, "k", HEAD " 2 root_hash_sig_key_desc k" },
};

static void test_table(void)
{
	const struct verity_super s = sample_parsed();

	for (size_t i = 0; i < ARRAY_SIZE(table_rows); i++) {
		struct verity_geometry g = sample_geometry();
		struct verity_table t = { 0 };
		struct verity_options o;
		struct failure f;

		g.has_restart_on_error = table_rows[i].on_error;
		g.no_restart = table_rows[i].no_restart;
		g.signature_key = table_rows[i].key;
		ok_int(verity_options_parse(table_rows[i].options, &o, &f), 0, "options %zu", i);
		ok_int(verity_table_make(&s, &o, &g, &t, &f), 0, "table %zu", i);
		ok_str(t.params, table_rows[i].want, "table %zu is right", i);
		ok_int(t.sectors, 64, "table %zu: 8 blocks of 4096 are 64 sectors", i);
		verity_table_done(&t);
		verity_options_done(&o);
	}
}

/* What makes verity_table_make() refuse, one change at a time. */
enum change {
	NONE,
	ROOTHASH,
	DATA_BLOCKS,
	DATA_BLOCK,
	HASH_BLOCK,
	SHA512,
	OFFSET,
	DATA_BYTES,
	HASH_BYTES,
	BOTH_BYTES,
	DATA_SECTOR,
	HASH_SECTOR,
	TWO_DEVICES,
	NO_SALT,
	TYPE0,
};

static const struct table_case {
	const char *name;
	struct {
		enum change what;
		uint64_t value;
		const char *text;
	} change[4];
	const char *code; /* "ok": then @says is in the table, else in the failure */
	const char *says;
} table_cases[] = {
	{ "as it is", { { NONE, 0, NULL } }, "ok", " 8 9 sha256 " },
	{ "no salt", { { NO_SALT, 0, NULL } }, "ok", HASH64 " - 1 restart" },
	{ "ChromeOS", { { TYPE0, 0, NULL } }, "ok", "0 259:4" },
	{ "root hash short", { { ROOTHASH, 0, "0123" } }, "verity-roothash", "has 4 digits" },
	{ "root hash empty", { { ROOTHASH, 0, "" } }, "verity-roothash", "has 0 digits" },
	{ "root hash long",
	  { { ROOTHASH, 0, HASH64 HASH64 } },
	  "verity-roothash",
	  "sha256 has 64" },
	{ "root hash for sha512", { { SHA512, 0, NULL } }, "verity-roothash", "sha512 has 128" },
	{ "sha512",
	  { { SHA512, 0, NULL }, { ROOTHASH, 0, HASH64 HASH64 } },
	  "ok",
	  "sha512 " HASH64 HASH64 },
	{ "root hash not hex",
	  { { ROOTHASH, 0, "g123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" } },
	  "verity-roothash",
	  "not hex" },
	{ "root hash with a space",
	  { { ROOTHASH, 0, "0123456789abcdef 123456789abcdef0123456789abcdef0123456789abcdef" } },
	  "verity-roothash",
	  "not hex" },
	{ "data reaches behind the superblock",
	  { { DATA_BLOCKS, 9, NULL } },
	  "verity-superblock",
	  "behind its superblock" },
	{ "data ends before the superblock", { { DATA_BLOCKS, 7, NULL } }, "ok", " 7 9 sha256" },
	{ "data longer than the device",
	  { { DATA_BLOCKS, 11, NULL } },
	  "verity-superblock",
	  "on a device of" },
	{ "most data",
	  { { DATA_BLOCKS, INT64_MAX / 4096, NULL } },
	  "verity-superblock",
	  "on a device of" },
	{ "device as long as data and tree", { { BOTH_BYTES, 10 * 4096, NULL } }, "ok", "" },
	{ "tree one byte short",
	  { { BOTH_BYTES, 10 * 4096 - 1, NULL } },
	  "verity-superblock",
	  "hash tree truncated" },
	{ "tree missing",
	  { { BOTH_BYTES, 9 * 4096, NULL } },
	  "verity-superblock",
	  "hash tree truncated" },
	{ "superblock cut off",
	  { { BOTH_BYTES, TREE_AT + 511, NULL } },
	  "verity-superblock",
	  "verity superblock at" },
	{ "offset behind the device",
	  { { OFFSET, UINT64_MAX - 511, NULL } },
	  "verity-superblock",
	  "verity superblock at" },
	{ "one data block has no tree",
	  { { DATA_BLOCKS, 1, NULL }, { BOTH_BYTES, 9 * 4096, NULL } },
	  "ok",
	  " 1 9 sha256" },
	{ "128 hashes fit in one block",
	  { { TWO_DEVICES, 0, NULL },
	    { DATA_BLOCKS, 128, NULL },
	    { DATA_BYTES, 128 * 4096, NULL } },
	  "ok",
	  " 128 9 " },
	{ "129 need two levels: 2 + 1 blocks",
	  { { TWO_DEVICES, 0, NULL },
	    { DATA_BLOCKS, 129, NULL },
	    { DATA_BYTES, 129 * 4096, NULL },
	    { HASH_BYTES, 12 * 4096, NULL } },
	  "ok",
	  " 129 9 " },
	{ "129 with room for two",
	  { { TWO_DEVICES, 0, NULL },
	    { DATA_BLOCKS, 129, NULL },
	    { DATA_BYTES, 129 * 4096, NULL },
	    { HASH_BYTES, 12 * 4096 - 1, NULL } },
	  "verity-superblock",
	  "3 blocks of 4096 bytes from block 9" },
	{ "hash blocks of 512: start behind the superblock",
	  { { HASH_BLOCK, 512, NULL } },
	  "ok",
	  "4096 512 8 65 sha256" },
	{ "data blocks of 512",
	  { { DATA_BLOCK, 512, NULL }, { DATA_BLOCKS, 64, NULL } },
	  "ok",
	  "512 4096 64 9 sha256" },
	{ "data block below the sector",
	  { { DATA_BLOCK, 512, NULL }, { DATA_SECTOR, 4096, NULL } },
	  "verity-superblock",
	  "data block of 512" },
	{ "hash block below the sector",
	  { { HASH_BLOCK, 2048, NULL }, { HASH_SECTOR, 4096, NULL } },
	  "verity-superblock",
	  "hash block of 2048" },
	{ "block equal to the sector", { { DATA_SECTOR, 4096, NULL } }, "ok", "" },
	{ "two devices: the tree need not lie behind the data",
	  { { TWO_DEVICES, 0, NULL }, { OFFSET, 0, NULL }, { HASH_BYTES, 2 * 4096, NULL } },
	  "ok",
	  "1 259:4 259:9 4096 4096 8 1 sha256" },
	{ "two devices, tree cut",
	  { { TWO_DEVICES, 0, NULL }, { OFFSET, 0, NULL }, { HASH_BYTES, 2 * 4096 - 1, NULL } },
	  "verity-superblock",
	  "hash tree truncated" },
};

static void apply(enum change what, uint64_t value, const char *text, struct verity_super *s,
		  struct verity_geometry *g)
{
	switch (what) {
	case NONE:
		break;
	case ROOTHASH:
		g->roothash = text;
		break;
	case DATA_BLOCKS:
		s->data_blocks = value;
		break;
	case DATA_BLOCK:
		s->data_block_bytes = (uint32_t)value;
		break;
	case HASH_BLOCK:
		s->hash_block_bytes = (uint32_t)value;
		break;
	case SHA512:
		strcpy(s->algorithm, "sha512");
		s->digest_bytes = 64;
		break;
	case OFFSET:
		g->hash_offset_bytes = value;
		break;
	case DATA_BYTES:
		g->data_device_bytes = value;
		break;
	case HASH_BYTES:
		g->hash_device_bytes = value;
		break;
	case BOTH_BYTES:
		g->data_device_bytes = g->hash_device_bytes = value;
		break;
	case DATA_SECTOR:
		g->data_logical_bytes = (uint32_t)value;
		break;
	case HASH_SECTOR:
		g->hash_logical_bytes = (uint32_t)value;
		break;
	case TWO_DEVICES:
		g->same_device = false;
		strcpy(g->hash_device, "259:9");
		break;
	case NO_SALT:
		s->salt_bytes = 0;
		break;
	case TYPE0:
		s->hash_type = 0;
		break;
	}
}

static void test_table_cases(void)
{
	const struct verity_super sample = sample_parsed();

	for (size_t i = 0; i < ARRAY_SIZE(table_cases); i++) {
		const struct table_case *c = &table_cases[i];
		struct verity_geometry g = sample_geometry();
		struct verity_super s = sample;
		struct verity_table t = { 0 };
		struct verity_options o = { 0 };
		struct failure f = { 0 };
		int r;

		for (size_t k = 0; k < ARRAY_SIZE(c->change); k++)
			apply(c->change[k].what, c->change[k].value, c->change[k].text, &s, &g);
		r = verity_table_make(&s, &o, &g, &t, &f);
		ok_str(code(r, &f), c->code, "%s", c->name);
		ok(strstr(r < 0 ? f.text : t.params, c->says), "%s: \"%s\"", c->name,
		   r < 0 ? f.text : t.params);
		verity_table_done(&t);
	}
}

static void test_salt_256(void)
{
	struct verity_super s = sample_parsed();
	struct verity_geometry g = sample_geometry();
	struct verity_table t = { 0 };
	struct verity_options o = { 0 };
	struct failure f = { 0 };
	char want[2 * VERITY_SALT_MAX + 1];

	s.salt_bytes = VERITY_SALT_MAX;
	memset(s.salt, 0x5a, sizeof(s.salt));
	for (size_t i = 0; i < VERITY_SALT_MAX; i++)
		memcpy(want + 2 * i, "5a", 3);
	ok_int(verity_table_make(&s, &o, &g, &t, &f), 0, "salt of 256 bytes");
	ok(strstr(t.params, want), "is in the table whole");
	verity_table_done(&t);
}

static const struct {
	const char *name, *options;
	const char *fec_device; /* "259:4": the hash device */
	uint64_t hash_bytes, fec_bytes;
	uint32_t hash_block;
	const char *code, *says;
} fec_rows[] = {
	/* 8 data blocks, tree block 9, codes from block 10: 9 blocks covered, one round of 2. */
	{ "behind the tree", "fec-offset=40960", "259:4", 49152, 49152, 4096, "ok",
	  " 9 restart_on_corruption use_fec_from_device 259:4 fec_roots 2 fec_blocks 9 fec_start "
	  "10" },
	{ "24 roots", "fec-offset=40960,fec-roots=24", "259:4", 139264, 139264, 4096, "ok",
	  "fec_roots 24 fec_blocks 9 fec_start 10" },
	{ "24 roots, one block short", "fec-offset=40960,fec-roots=24", "259:4", 135168, 135168,
	  4096, "verity-options", "truncated" },
	{ "a gap between tree and codes is covered", "fec-offset=45056", "259:4", 53248, 53248,
	  4096, "ok", "fec_blocks 10 fec_start 11" },
	{ "codes one byte short", "fec-offset=40960", "259:4", 49151, 49151, 4096, "verity-options",
	  "truncated" },
	{ "no codes", "fec-offset=40960", "259:4", 40960, 40960, 4096, "verity-options",
	  "truncated" },
	{ "inside the tree", "fec-offset=36864", "259:4", 49152, 49152, 4096, "verity-options",
	  "inside the hash tree" },
	{ "at 0", "fec-offset=0", "259:4", 49152, 49152, 4096, "verity-options",
	  "inside the hash tree" },
	{ "unaligned", "fec-offset=41472", "259:4", 49152, 49152, 4096, "verity-options",
	  "multiple of the block" },
	{ "behind the end", "fec-offset=53248", "259:4", 49152, 49152, 4096, "verity-options",
	  "behind the end" },
	{ "far behind the end", "fec-offset=9223372036854771712", "259:4", 49152, 49152, 4096,
	  "verity-options", "behind the end" },
	{ "blocks of two sizes", "fec-offset=40960", "259:4", 49152, 49152, 512, "verity-options",
	  "differ in size" },
	{ "its own device covers the hash device to its end", "fec-device=/dev/x", "259:7", 49152,
	  8192, 4096, "ok", "use_fec_from_device 259:7 fec_roots 2 fec_blocks 11 fec_start 0" },
	{ "its own device with an offset", "fec-device=/dev/x,fec-offset=4096", "259:7", 40960,
	  12288, 4096, "ok", "fec_blocks 9 fec_start 1" },
	{ "its own device too short", "fec-device=/dev/x", "259:7", 40960, 8191, 4096,
	  "verity-options", "truncated" },
};

static void test_fec(void)
{
	const struct verity_super sample = sample_parsed();

	for (size_t i = 0; i < ARRAY_SIZE(fec_rows); i++) {
		struct verity_geometry g = sample_geometry();
		struct verity_super s = sample;
		struct verity_table t = { 0 };
		struct verity_options o;
		struct failure f = { 0 };
		int r;

		ok_int(verity_options_parse(fec_rows[i].options, &o, &f), 0, "%s: options",
		       fec_rows[i].name);
		s.hash_block_bytes = fec_rows[i].hash_block;
		g.data_device_bytes = g.hash_device_bytes = fec_rows[i].hash_bytes;
		g.fec_device_bytes = fec_rows[i].fec_bytes;
		strcpy(g.fec_device, fec_rows[i].fec_device);
		r = verity_table_make(&s, &o, &g, &t, &f);
		ok_str(code(r, &f), fec_rows[i].code, "%s", fec_rows[i].name);
		ok(strstr(r < 0 ? f.text : t.params, fec_rows[i].says), "%s: \"%s\"",
		   fec_rows[i].name, r < 0 ? f.text : t.params);
		verity_table_done(&t);
		verity_options_done(&o);
	}
}

/* The size of a filesystem image */

static const struct {
	const char *name;
	struct {
		unsigned at, bytes;
		uint64_t value;
	} put[5];
	int r;
	const char *type;
	uint64_t bytes;
} images[] = {
	{ "zeros", { { 0 } }, -ENODATA, NULL, 0 },
	{ "ext4", { { 1080, 2, 0xef53 }, { 1028, 4, 100 }, { 1048, 4, 2 } }, 0, "ext4", 409600 },
	{ "ext4, 1 KiB blocks", { { 1080, 2, 0xef53 }, { 1028, 4, 101 } }, 0, "ext4", 103424 },
	{ "ext4, high half counts with 64bit",
	  { { 1080, 2, 0xef53 }, { 1028, 4, 1 }, { 1120, 4, 0x80 }, { 1360, 4, 1 } },
	  0,
	  "ext4",
	  ((UINT64_C(1) << 32) + 1) * 1024 },
	{ "ext4, high half without 64bit",
	  { { 1080, 2, 0xef53 }, { 1028, 4, 1 }, { 1360, 4, 1 } },
	  0,
	  "ext4",
	  1024 },
	{ "ext4 without blocks", { { 1080, 2, 0xef53 } }, -EUCLEAN, NULL, 0 },
	{ "ext4 with a huge block",
	  { { 1080, 2, 0xef53 }, { 1028, 4, 1 }, { 1048, 4, 7 } },
	  -EUCLEAN,
	  NULL,
	  0 },
	{ "ext4 with a shift that overflows",
	  { { 1080, 2, 0xef53 }, { 1028, 4, 1 }, { 1048, 4, 0xffffffff } },
	  -EUCLEAN,
	  NULL,
	  0 },
	{ "ext4 of 2^64 bytes",
	  { { 1080, 2, 0xef53 },
	    { 1048, 4, 6 },
	    { 1028, 4, 0xffffffff },
	    { 1120, 4, 0x80 },
	    { 1360, 4, 0xffffffff } },
	  -EUCLEAN,
	  NULL,
	  0 },
	{ "ext4 of 2^63 bytes",
	  { { 1080, 2, 0xef53 }, { 1120, 4, 0x80 }, { 1360, 4, 1u << 21 } },
	  -EUCLEAN,
	  NULL,
	  0 },
	{ "half of ext4's magic", { { 1080, 1, 0x53 }, { 1028, 4, 1 } }, -ENODATA, NULL, 0 },
	{ "erofs",
	  { { 1024, 4, 0xe0f5e1e2 }, { 1036, 1, 12 }, { 1060, 4, 38 } },
	  0,
	  "erofs",
	  155648 },
	{ "erofs, most",
	  { { 1024, 4, 0xe0f5e1e2 }, { 1036, 1, 16 }, { 1060, 4, 0xffffffff } },
	  0,
	  "erofs",
	  UINT64_C(0xffffffff) << 16 },
	{ "erofs, block too small",
	  { { 1024, 4, 0xe0f5e1e2 }, { 1036, 1, 8 }, { 1060, 4, 38 } },
	  -EUCLEAN,
	  NULL,
	  0 },
	{ "erofs, block too large",
	  { { 1024, 4, 0xe0f5e1e2 }, { 1036, 1, 255 }, { 1060, 4, 38 } },
	  -EUCLEAN,
	  NULL,
	  0 },
	{ "erofs without blocks", { { 1024, 4, 0xe0f5e1e2 }, { 1036, 1, 12 } }, -EUCLEAN, NULL, 0 },
	{ "squashfs", { { 0, 4, 0x73717368 }, { 40, 8, 68012 } }, 0, "squashfs", 68012 },
	{ "squashfs of 2^63 bytes",
	  { { 0, 4, 0x73717368 }, { 40, 8, UINT64_C(1) << 63 } },
	  -EUCLEAN,
	  NULL,
	  0 },
	{ "squashfs empty", { { 0, 4, 0x73717368 } }, -EUCLEAN, NULL, 0 },
};

static void test_images(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(images); i++) {
		uint8_t head[FSIMAGE_HEAD_BYTES] = { 0 };
		struct fsimage image = { 0 };

		for (size_t k = 0; k < ARRAY_SIZE(images[i].put); k++)
			put_le(head + images[i].put[k].at, images[i].put[k].value,
			       images[i].put[k].bytes);
		ok_int(fsimage_parse(head, &image), images[i].r, "%s", images[i].name);
		ok_str(image.type, images[i].type, "%s: type", images[i].name);
		ok(image.bytes == images[i].bytes, "%s: %" PRIu64 " bytes", images[i].name,
		   image.bytes);
	}
}

/* As Linux 6.12 and 7.3 print it. */
#define ENTRY(name, driver, priority, selftest, internal, type)                                    \
	"name         : " name "\ndriver       : " driver "\nmodule       : kernel\n"              \
	"priority     : " priority "\nrefcnt       : 2\nselftest     : " selftest                  \
	"\ninternal     : " internal "\ntype         : " type                                      \
	"\nblocksize    : 64\ndigestsize   : 32\n"
#define HASH(driver, priority) ENTRY("sha256", driver, priority, "passed", "no", "shash")

static void test_driver(void)
{
	static const struct {
		const char *name, *crypto, *want;
	} rows[] = {
		{ "nothing", "", "" },
		{ "one", HASH("sha256-lib", "300"), "sha256-lib" },
		{ "the fastest",
		  HASH("sha256-generic", "100") "\n" HASH("sha256-ce", "200") "\n" HASH(
			  "sha256-arm64-neon", "150") "\n",
		  "sha256-ce" },
		{ "the first of two", HASH("sha256-a", "200") "\n" HASH("sha256-b", "200") "\n",
		  "sha256-a" },
		{ "no line end", "name : sha256\ndriver : x\nselftest : passed\ntype : shash",
		  "x" },
		{ "of another hash",
		  ENTRY("sha224", "sha224-ce", "200", "passed", "no", "shash") "\n" ENTRY(
			  "sha2567", "y", "200", "passed", "no",
			  "shash") "\n" ENTRY("hmac(sha256)", "z", "300", "passed", "no", "shash"),
		  "" },
		{ "not tested yet",
		  ENTRY("sha256", "x", "900", "unknown", "no", "shash") "\n" HASH("y", "1"), "y" },
		{ "not for us",
		  ENTRY("sha256", "x", "900", "passed", "yes", "shash") "\n" HASH("y", "1"), "y" },
		{ "of another kind",
		  ENTRY("sha256", "x", "900", "passed", "no", "skcipher") "\n" HASH("y", "1"),
		  "y" },
		{ "hardware", ENTRY("sha256", "sha256-caam", "3000", "passed", "no", "ahash"),
		  "sha256-caam" },
		{ "lines of a later kernel",
		  "new : 1\nname2        : sha512\n" HASH("x", "1") "speed        : 9\nname\n",
		  "x" },
		{ "a priority that is none", HASH("x", "fast") "\n" HASH("y", "1"), "y" },
		{ "no priority",
		  "name : sha256\ndriver : x\nselftest : passed\ntype : shash\n\n\n" HASH("y", "0"),
		  "x" },
		{ "garbage", "\n\n:\n: : :\nname\nname:\nname :\ndriver : \n\n", "" },
	};
	char long_name[300] = "", text[512], got[VERITY_DRIVER_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		verity_hash_driver(rows[i].crypto, "sha256", got);
		ok_str(got, rows[i].want, "driver: %s", rows[i].name);
	}
	memset(long_name, 'x', sizeof(long_name) - 1);
	(void)snprintf(text, sizeof(text),
		       "name : sha256\ndriver : %s\nselftest : passed\ntype : shash\n", long_name);
	verity_hash_driver(text, "sha256", got);
	ok_int(strlen(got), VERITY_DRIVER_SIZE - 1, "driver: a long name is cut off");
}

int main(void)
{
	test_driver();
	test_super();
	test_fields();
	test_algorithm_without_nul();
	test_options();
	test_option_values();
	test_match();
	test_table();
	test_table_cases();
	test_salt_256();
	test_fec();
	test_images();
	return tap_done();
}
