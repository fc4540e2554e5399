// SPDX-License-Identifier: MIT
#include "initramfs/init/verity.h"

#include "boot/io.h"

#include <inttypes.h>
#include <strings.h>

#define SECTOR_BYTES	 512
#define FEC_ROOTS_MIN	 2
#define FEC_ROOTS_MAX	 24
#define FEC_SYMBOLS	 255 /* of one Reed-Solomon code word, data and parity */
#define UUID_CHARS	 36
#define HASH_TYPE_NORMAL 1

static const char super_magic[8] = "verity\0";

/* Offsets in the superblock, bytes. */
enum {
	SB_VERSION = 8,
	SB_HASH_TYPE = 12,
	SB_UUID = 16,
	SB_ALGORITHM = 32,
	SB_DATA_BLOCK = 64,
	SB_HASH_BLOCK = 68,
	SB_DATA_BLOCKS = 72,
	SB_SALT_SIZE = 80,
	SB_SALT = 88,
};

static const struct algorithm {
	const char *name;
	uint32_t digest_bytes;
} algorithms[] = {
	{ "sha256", 32 },
	{ "sha512", 64 },
};

static const struct algorithm *find_algorithm(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++)
		if (streq(name, algorithms[i].name))
			return &algorithms[i];
	return NULL;
}

static bool block_size_ok(uint64_t bytes)
{
	return bytes >= SECTOR_BYTES && bytes <= VERITY_BLOCK_MAX && !(bytes & (bytes - 1));
}

static uint64_t div_up(uint64_t a, uint64_t b)
{
	return a / b + (a % b ? 1 : 0);
}

static void format_hex(const uint8_t *data, size_t len, char *ret)
{
	*ret = '\0';
	for (size_t i = 0; i < len; i++)
		(void)snprintf(ret + 2 * i, 3, "%02x", data[i]);
}

/* The superblock */

bool verity_super_magic(const uint8_t sb[static VERITY_SUPER_SIZE])
{
	return memcmp(sb, super_magic, sizeof(super_magic)) == 0;
}

static void format_uuid(const uint8_t uuid[static 16], char ret[static UUID_CHARS + 1])
{
	char hex[33];

	format_hex(uuid, 16, hex);
	(void)snprintf(ret, UUID_CHARS + 1, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
		       hex + 16, hex + 20);
}

/* Copies the name so that a failure can show it, whatever bytes it holds. */
static void printable(const uint8_t name[static 32], char ret[static 33])
{
	memcpy(ret, name, 32);
	ret[32] = '\0';
	text_clean_ascii(ret, '?');
}

static int bad_super(struct failure *f, const char *field, uint64_t value, const char *wants)
{
	return failure_set(f, REASON_VERITY_SUPERBLOCK, EINVAL,
			   "verity superblock: %s is %" PRIu64 ", not %s", field, value, wants);
}

static int parse_algorithm(const uint8_t *field, struct verity_super *s, struct failure *f)
{
	const struct algorithm *algorithm;
	char name[33];

	printable(field, name);
	algorithm = find_algorithm(name);
	if (!algorithm || !memchr(field, '\0', 32))
		return failure_set(
			f, REASON_VERITY_SUPERBLOCK, EINVAL,
			"verity superblock: hash algorithm \"%s\" is not sha256 or sha512", name);
	strcpy(s->algorithm, name);
	s->digest_bytes = algorithm->digest_bytes;
	return 0;
}

int verity_super_parse(const uint8_t sb[static VERITY_SUPER_SIZE], struct verity_super *ret,
		       struct failure *f)
{
	struct verity_super s = { 0 };
	uint64_t version = get_le(sb + SB_VERSION, 4), hash_type = get_le(sb + SB_HASH_TYPE, 4);
	uint64_t data_block = get_le(sb + SB_DATA_BLOCK, 4),
		 hash_block = get_le(sb + SB_HASH_BLOCK, 4);
	uint64_t salt = get_le(sb + SB_SALT_SIZE, 2);
	int r;

	if (!verity_super_magic(sb))
		return failure_set(f, REASON_VERITY_SUPERBLOCK, EINVAL, "no verity superblock");
	if (version != 1)
		return bad_super(f, "version", version, "1");
	if (hash_type > HASH_TYPE_NORMAL)
		return bad_super(f, "hash type", hash_type, "0 or 1");
	if (!block_size_ok(data_block))
		return bad_super(f, "data block size", data_block, "a power of two, 512 to 4096");
	if (!block_size_ok(hash_block))
		return bad_super(f, "hash block size", hash_block, "a power of two, 512 to 4096");
	s.data_blocks = get_le(sb + SB_DATA_BLOCKS, 8);
	if (s.data_blocks == 0 || s.data_blocks > (uint64_t)INT64_MAX / data_block)
		return bad_super(f, "number of data blocks", s.data_blocks, "possible");
	if (salt > VERITY_SALT_MAX)
		return bad_super(f, "salt size", salt, "0 to 256");
	r = parse_algorithm(sb + SB_ALGORITHM, &s, f);
	if (r < 0)
		return r;
	s.hash_type = (uint32_t)hash_type;
	s.data_block_bytes = (uint32_t)data_block;
	s.hash_block_bytes = (uint32_t)hash_block;
	s.salt_bytes = (uint16_t)salt;
	memcpy(s.salt, sb + SB_SALT, salt);
	format_uuid(sb + SB_UUID, s.uuid);
	*ret = s;
	return 0;
}

/* The options */

static int set_text(char **field, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static int set_number(const char *value, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t n;
	int r = parse_u64(value, 10, &n);

	if (r < 0)
		return r;
	if (n < min || n > max)
		return -ERANGE;
	*ret = n;
	return 0;
}

static int set_block(const char *value, uint32_t *ret)
{
	uint64_t n;
	int r = parse_u64(value, 10, &n);

	if (r < 0)
		return r;
	if (!block_size_ok(n))
		return -ERANGE;
	*ret = (uint32_t)n;
	return 0;
}

static int set_superblock(struct verity_options *o _unused_, const char *value)
{
	static const char *const yes[] = { "yes", "true", "on", "1", "y", "t" };

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
		if (strcasecmp(value, yes[i]) == 0)
			return 0;
	return -EINVAL;
}

static int set_format(struct verity_options *o, const char *value)
{
	uint64_t n;
	int r = set_number(value, 0, HASH_TYPE_NORMAL, &n);

	if (r < 0)
		return r;
	o->has_format = true;
	o->format = (uint32_t)n;
	return 0;
}

static int set_data_block(struct verity_options *o, const char *value)
{
	return set_block(value, &o->data_block_bytes);
}

static int set_hash_block(struct verity_options *o, const char *value)
{
	return set_block(value, &o->hash_block_bytes);
}

static int set_data_blocks(struct verity_options *o, const char *value)
{
	return set_number(value, 1, INT64_MAX, &o->data_blocks);
}

static int set_hash_offset(struct verity_options *o, const char *value)
{
	uint64_t n;
	int r = set_number(value, 0, INT64_MAX, &n);

	if (r < 0)
		return r;
	if (n % SECTOR_BYTES)
		return -EINVAL;
	o->has_hash_offset = true;
	o->hash_offset_bytes = n;
	return 0;
}

static int set_salt(struct verity_options *o, const char *value)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t len = 0;
	int r = streq(value, "-") ? 0 : unhex(value, &bytes, &len);

	if (r < 0)
		return r;
	return len > VERITY_SALT_MAX ? -ERANGE : set_text(&o->salt, value);
}

static int set_uuid(struct verity_options *o, const char *value)
{
	if (strlen(value) != UUID_CHARS || strspn(value, "0123456789abcdefABCDEF-") != UUID_CHARS)
		return -EINVAL;
	return set_text(&o->uuid, value);
}

static int set_hash(struct verity_options *o, const char *value)
{
	return find_algorithm(value) ? set_text(&o->hash, value) : -EINVAL;
}

static int set_fec_device(struct verity_options *o, const char *value)
{
	return *value ? set_text(&o->fec_device, value) : -EINVAL;
}

static int set_fec_offset(struct verity_options *o, const char *value)
{
	int r = set_number(value, 0, INT64_MAX, &o->fec_offset_bytes);

	if (r == 0)
		o->has_fec_offset = true;
	return r;
}

static int set_fec_roots(struct verity_options *o, const char *value)
{
	uint64_t n;
	int r = set_number(value, FEC_ROOTS_MIN, FEC_ROOTS_MAX, &n);

	if (r == 0)
		o->fec_roots = (uint32_t)n;
	return r;
}

static int set_signature(struct verity_options *o, const char *value)
{
	return *value == '/' ? set_text(&o->signature, value) : -EINVAL;
}

static int set_restart(struct verity_options *o, const char *value _unused_)
{
	o->restart_on_corruption = true;
	return 0;
}

static int set_panic(struct verity_options *o, const char *value _unused_)
{
	o->panic_on_corruption = true;
	return 0;
}

static int set_zero(struct verity_options *o, const char *value _unused_)
{
	o->ignore_zero_blocks = true;
	return 0;
}

static int set_once(struct verity_options *o, const char *value _unused_)
{
	o->check_at_most_once = true;
	return 0;
}

static int set_nothing(struct verity_options *o _unused_, const char *value _unused_)
{
	return 0;
}

#define WANTS_BLOCK  "is a power of two, 512 to 4096"
#define WANTS_NUMBER "is a number of bytes"

static const struct option {
	const char *name;
	bool has_value;
	int (*set)(struct verity_options *o, const char *value); /* NULL: refused, for @wants */
	const char *wants;
} options[] = {
	{ "superblock", true, set_superblock, "is yes: the table is made from the superblock" },
	{ "format", true, set_format, "is 0 or 1" },
	{ "data-block-size", true, set_data_block, WANTS_BLOCK },
	{ "hash-block-size", true, set_hash_block, WANTS_BLOCK },
	{ "data-blocks", true, set_data_blocks, "is a number" },
	{ "hash-offset", true, set_hash_offset, "is a number of bytes, a multiple of 512" },
	{ "salt", true, set_salt, "is - or at most 256 bytes in hex" },
	{ "uuid", true, set_uuid, "is a UUID" },
	{ "hash", true, set_hash, "is sha256 or sha512" },
	{ "restart-on-corruption", false, set_restart, NULL },
	{ "panic-on-corruption", false, set_panic, NULL },
	{ "ignore-corruption", false, NULL,
	  "would run a root that is not the one that was signed" },
	{ "ignore-zero-blocks", false, set_zero, NULL },
	{ "check-at-most-once", false, set_once, NULL },
	{ "fec-device", true, set_fec_device, "is a device" },
	{ "fec-offset", true, set_fec_offset, WANTS_NUMBER },
	{ "fec-roots", true, set_fec_roots, "is 2 to 24" },
	{ "root-hash-signature", true, set_signature, "is an absolute path in the initramfs" },
	/* Words to systemd's units: nothing of it concerns a root. */
	{ "x-initrd.attach", false, set_nothing, NULL },
	{ "_netdev", false, set_nothing, NULL },
	{ "noauto", false, set_nothing, NULL },
	{ "nofail", false, set_nothing, NULL },
};

static const struct option *find_option(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (streq(name, options[i].name))
			return &options[i];
	return NULL;
}

static int parse_option(struct verity_options *o, char *word, struct failure *f)
{
	char *value = strchr(word, '=');
	const struct option *option;
	int r;

	if (value)
		*value++ = '\0';
	option = find_option(word);
	if (!option)
		return failure_set(f, REASON_VERITY_OPTIONS, EINVAL,
				   "verity option \"%s\" is not known", word);
	if (!option->set)
		return failure_set(f, REASON_VERITY_OPTIONS, EINVAL, "verity option %s %s", word,
				   option->wants);
	if (option->has_value != !!value)
		return failure_set(f, REASON_VERITY_OPTIONS, EINVAL, "verity option %s %s value",
				   word, option->has_value ? "needs a" : "takes no");
	r = option->set(o, value);
	if (r == -ENOMEM)
		return failure_set(f, REASON_OUT_OF_MEMORY, ENOMEM, "verity options");
	if (r < 0)
		return failure_set(f, REASON_VERITY_OPTIONS, -r, "verity option %s= %s, not \"%s\"",
				   word, option->wants, value);
	return 0;
}

static int check_options(const struct verity_options *o, struct failure *f)
{
	if (o->restart_on_corruption && o->panic_on_corruption)
		return failure_set(f, REASON_VERITY_OPTIONS, EINVAL,
				   "verity options restart-on-corruption and panic-on-corruption "
				   "exclude each other");
	if (o->fec_roots && !verity_options_fec(o))
		return failure_set(f, REASON_VERITY_OPTIONS, EINVAL,
				   "verity option fec-roots= needs fec-offset= or fec-device=");
	return 0;
}

int verity_options_parse(const char *text, struct verity_options *ret, struct failure *f)
{
	_cleanup_(verity_options_done) struct verity_options o = { 0 };
	_cleanup_free_ char *copy = strdup(text);
	char *rest = copy, *word;
	int r;

	if (!copy)
		return failure_set(f, REASON_OUT_OF_MEMORY, ENOMEM, "verity options");
	while ((word = strsep(&rest, ","))) {
		r = *word ? parse_option(&o, word, f) : 0;
		if (r < 0)
			return r;
	}
	r = check_options(&o, f);
	if (r < 0)
		return r;
	if (!o.fec_roots)
		o.fec_roots = FEC_ROOTS_MIN;
	*ret = o;
	o = (struct verity_options) { 0 };
	return 0;
}

void verity_options_done(struct verity_options *o)
{
	free(o->fec_device);
	free(o->signature);
	free(o->salt);
	free(o->uuid);
	free(o->hash);
	*o = (struct verity_options) { 0 };
}

bool verity_options_fec(const struct verity_options *o)
{
	return o->fec_device || o->has_fec_offset;
}

static int differs(struct failure *f, const char *name)
{
	return failure_set(f, REASON_VERITY_OPTIONS, EINVAL,
			   "verity option %s= is not what the superblock says", name);
}

int verity_options_match(const struct verity_options *o, const struct verity_super *sb,
			 struct failure *f)
{
	char salt[2 * VERITY_SALT_MAX + 1];

	if (o->has_format && o->format != sb->hash_type)
		return differs(f, "format");
	if (o->data_block_bytes && o->data_block_bytes != sb->data_block_bytes)
		return differs(f, "data-block-size");
	if (o->hash_block_bytes && o->hash_block_bytes != sb->hash_block_bytes)
		return differs(f, "hash-block-size");
	if (o->data_blocks && o->data_blocks != sb->data_blocks)
		return differs(f, "data-blocks");
	if (o->hash && !streq(o->hash, sb->algorithm))
		return differs(f, "hash");
	if (o->uuid && strcasecmp(o->uuid, sb->uuid) != 0)
		return differs(f, "uuid");
	format_hex(sb->salt, sb->salt_bytes, salt);
	if (o->salt && strcasecmp(streq(o->salt, "-") ? "" : o->salt, salt) != 0)
		return differs(f, "salt");
	return 0;
}

/* The table */

struct layout { /* of the hash device, in hash blocks */
	uint64_t tree_start, tree_blocks;
};

static int check_roothash(const struct verity_super *sb, const char *roothash, struct failure *f)
{
	size_t want = (size_t)2 * sb->digest_bytes, got = strlen(roothash);

	if (got != want)
		return failure_set(f, REASON_VERITY_ROOTHASH, EINVAL,
				   "roothash= has %zu digits, %s has %zu", got, sb->algorithm,
				   want);
	if (strspn(roothash, "0123456789abcdefABCDEF") != got)
		return failure_set(f, REASON_VERITY_ROOTHASH, EINVAL, "roothash= is not hex");
	return 0;
}

static int check_data(const struct verity_super *sb, const struct verity_geometry *g,
		      struct failure *f)
{
	uint64_t bytes = sb->data_blocks * sb->data_block_bytes; /* 63 bits: verity_super_parse() */

	if (sb->data_block_bytes < g->data_logical_bytes)
		return failure_set(f, REASON_VERITY_SUPERBLOCK, EINVAL,
				   "verity data block of %u bytes on a disk with sectors of %u",
				   sb->data_block_bytes, g->data_logical_bytes);
	if (sb->hash_block_bytes < g->hash_logical_bytes)
		return failure_set(f, REASON_VERITY_SUPERBLOCK, EINVAL,
				   "verity hash block of %u bytes on a disk with sectors of %u",
				   sb->hash_block_bytes, g->hash_logical_bytes);
	if (bytes > g->data_device_bytes)
		return failure_set(f, REASON_VERITY_SUPERBLOCK, EINVAL,
				   "verity data of %" PRIu64 " bytes on a device of %" PRIu64,
				   bytes, g->data_device_bytes);
	if (g->same_device && bytes > g->hash_offset_bytes)
		return failure_set(f, REASON_VERITY_SUPERBLOCK, EINVAL,
				   "verity data of %" PRIu64
				   " bytes reaches behind its superblock at %" PRIu64,
				   bytes, g->hash_offset_bytes);
	return 0;
}

/* All levels, as verity_ctr() of the kernel lays them out: each a power of two of hashes a block.
 */
static uint64_t count_tree_blocks(const struct verity_super *sb)
{
	uint32_t hashes = sb->hash_block_bytes / sb->digest_bytes;
	uint64_t n = sb->data_blocks, sum = 0;

	while (hashes & (hashes - 1))
		hashes &= hashes - 1;
	while (n > 1) {
		n = div_up(n, hashes);
		sum += n;
	}
	return sum;
}

static int lay_out(const struct verity_super *sb, const struct verity_geometry *g,
		   struct layout *ret, struct failure *f)
{
	uint64_t room = g->hash_device_bytes / sb->hash_block_bytes;
	struct layout l = { .tree_blocks = count_tree_blocks(sb) };

	if (g->hash_offset_bytes > g->hash_device_bytes ||
	    g->hash_device_bytes - g->hash_offset_bytes < VERITY_SUPER_SIZE)
		return failure_set(f, REASON_VERITY_SUPERBLOCK, EINVAL,
				   "verity superblock at %" PRIu64 " on a device of %" PRIu64
				   " bytes",
				   g->hash_offset_bytes, g->hash_device_bytes);
	l.tree_start = div_up(g->hash_offset_bytes + VERITY_SUPER_SIZE, sb->hash_block_bytes);
	if (l.tree_start > room || l.tree_blocks > room - l.tree_start)
		return failure_set(f, REASON_VERITY_SUPERBLOCK, EINVAL,
				   "hash tree truncated: %" PRIu64 " blocks of %u bytes from block "
				   "%" PRIu64 ", the device has %" PRIu64,
				   l.tree_blocks, sb->hash_block_bytes, l.tree_start, room);
	*ret = l;
	return 0;
}

struct fec {
	uint64_t start, blocks; /* in data blocks */
};

static int bad_fec(struct failure *f, const char *what)
{
	return failure_set(f, REASON_VERITY_OPTIONS, EINVAL, "error correction: %s", what);
}

/*
 * What the codes cover, as veritysetup makes them: the data, then the hash device
 * from the tree's first block on, up to the codes when they lie on that device,
 * else up to its end.
 */
static int place_fec(const struct verity_super *sb, const struct verity_options *o,
		     const struct verity_geometry *g, const struct layout *l, struct fec *ret,
		     struct failure *f)
{
	uint64_t block = sb->data_block_bytes, rounds, room, covered;
	bool on_hash = streq(g->fec_device, g->hash_device);

	if (sb->hash_block_bytes != block)
		return bad_fec(f, "data and hash blocks differ in size");
	if (o->fec_offset_bytes % block)
		return bad_fec(f, "fec-offset= is not a multiple of the block size");
	if (o->fec_offset_bytes > g->fec_device_bytes)
		return bad_fec(f, "fec-offset= lies behind the end of the device");
	covered = (on_hash ? o->fec_offset_bytes : g->hash_device_bytes) / block;
	if (covered < l->tree_start + l->tree_blocks)
		return bad_fec(f, "fec-offset= lies inside the hash tree");
	covered = covered - l->tree_start + sb->data_blocks;
	rounds = div_up(covered, FEC_SYMBOLS - o->fec_roots);
	room = (g->fec_device_bytes - o->fec_offset_bytes) / block;
	if (rounds > room / o->fec_roots)
		return bad_fec(f, "the codes are truncated");
	*ret = (struct fec) { .start = o->fec_offset_bytes / block, .blocks = covered };
	return 0;
}

struct words { /* optional arguments of the table */
	char *text;
	unsigned count;
	bool failed;
};

static void words_add(struct words *w, const char *name, const char *value)
{
	char *more = w->failed ? NULL
			       : strf("%s %s%s%s", w->text ? w->text : "", name, value ? " " : "",
				      value ? value : "");

	w->failed = !more;
	free(w->text);
	w->text = more;
	w->count += value ? 2 : 1;
}

static void words_add_number(struct words *w, const char *name, uint64_t value)
{
	char text[21];

	(void)snprintf(text, sizeof(text), "%" PRIu64, value);
	words_add(w, name, text);
}

static void add_options(const struct verity_options *o, const struct verity_geometry *g,
			const struct fec *fec, struct words *w)
{
	if (!g->no_restart)
		words_add(w,
			  o->panic_on_corruption ? "panic_on_corruption" : "restart_on_corruption",
			  NULL);
	/* Without it a block that cannot be read at all is only an I/O error to whoever wanted it.
	 */
	if (!g->no_restart && g->has_restart_on_error)
		words_add(w, o->panic_on_corruption ? "panic_on_error" : "restart_on_error", NULL);
	if (o->ignore_zero_blocks)
		words_add(w, "ignore_zero_blocks", NULL);
	if (o->check_at_most_once)
		words_add(w, "check_at_most_once", NULL);
	if (*g->fec_device) {
		words_add(w, "use_fec_from_device", g->fec_device);
		words_add_number(w, "fec_roots", o->fec_roots);
		words_add_number(w, "fec_blocks", fec->blocks);
		words_add_number(w, "fec_start", fec->start);
	}
	if (g->signature_key)
		words_add(w, "root_hash_sig_key_desc", g->signature_key);
}

static char *format_table(const struct verity_super *sb, const struct verity_geometry *g,
			  const struct layout *l, const struct words *w)
{
	char salt[2 * VERITY_SALT_MAX + 1] = "-", count[12] = "";

	if (sb->salt_bytes)
		format_hex(sb->salt, sb->salt_bytes, salt);
	if (w->count)
		(void)snprintf(count, sizeof(count), " %u", w->count);
	return strf("%u %s %s %u %u %" PRIu64 " %" PRIu64 " %s %s %s%s%s", sb->hash_type,
		    g->data_device, g->hash_device, sb->data_block_bytes, sb->hash_block_bytes,
		    sb->data_blocks, l->tree_start, sb->algorithm, g->roothash, salt, count,
		    w->text ? w->text : "");
}

int verity_table_make(const struct verity_super *sb, const struct verity_options *o,
		      const struct verity_geometry *g, struct verity_table *ret, struct failure *f)
{
	struct layout l = { 0 };
	struct fec fec = { 0 };
	struct words w = { 0 };
	char *params;
	int r = check_roothash(sb, g->roothash, f);

	if (r >= 0)
		r = check_data(sb, g, f);
	if (r >= 0)
		r = lay_out(sb, g, &l, f);
	if (r >= 0 && *g->fec_device)
		r = place_fec(sb, o, g, &l, &fec, f);
	if (r < 0)
		return r;
	add_options(o, g, &fec, &w);
	params = w.failed ? NULL : format_table(sb, g, &l, &w);
	free(w.text);
	if (!params)
		return failure_set(f, REASON_OUT_OF_MEMORY, ENOMEM, "verity table");
	ret->sectors = sb->data_blocks * sb->data_block_bytes / SECTOR_BYTES;
	ret->params = params;
	return 0;
}

void verity_table_done(struct verity_table *t)
{
	free(t->params);
	*t = (struct verity_table) { 0 };
}

/* The status */

enum verity_state verity_status_parse(const char *status)
{
	size_t len = strcspn(status, " ");

	if (len != 1)
		return VERITY_UNKNOWN;
	return *status == 'V' ? VERITY_GOOD : *status == 'C' ? VERITY_CORRUPT : VERITY_UNKNOWN;
}

/* The driver of the hash */

struct crypto_entry {
	const char *name, *driver, *type, *selftest, *internal; /* up to the end of their lines */
	uint32_t priority;
};

/* The value of a line "key   : value", or NULL when the line is of another key. */
static const char *value_of(const char *line, const char *key)
{
	const char *rest = startswith(line, key);

	if (!rest)
		return NULL;
	rest += strspn(rest, " \t");
	return startswith(rest, ": ");
}

static void take_crypto_line(struct crypto_entry *e, const char *line)
{
	const struct {
		const char *key, **value;
	} keys[] = {
		{ "name", &e->name },	      { "driver", &e->driver },	    { "type", &e->type },
		{ "selftest", &e->selftest }, { "internal", &e->internal },
	};
	const char *priority = value_of(line, "priority");
	char number[11];

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *value = value_of(line, keys[i].key);

		if (value)
			*keys[i].value = value;
	}
	if (!priority)
		return;
	(void)snprintf(number, sizeof(number), "%.*s", (int)strcspn(priority, "\n"), priority);
	if (parse_u32(number, 10, &e->priority) < 0)
		e->priority = 0;
}

static bool line_is(const char *line, const char *text)
{
	size_t len = line ? strcspn(line, "\n") : 0;

	return line && strlen(text) == len && strncmp(line, text, len) == 0;
}

static bool can_hash(const struct crypto_entry *e, const char *algorithm)
{
	return e->driver && line_is(e->name, algorithm) && line_is(e->selftest, "passed") &&
	       !line_is(e->internal, "yes") &&
	       (line_is(e->type, "shash") || line_is(e->type, "ahash"));
}

void verity_hash_driver(const char *crypto, const char *algorithm,
			char ret[static VERITY_DRIVER_SIZE])
{
	struct crypto_entry e = { 0 }, best = { 0 };

	for (const char *line = crypto;; line += strcspn(line, "\n"), line += *line == '\n') {
		/* An empty line ends an entry. Of equals the kernel takes the first. */
		if (*line && *line != '\n') {
			take_crypto_line(&e, line);
			continue;
		}
		if (can_hash(&e, algorithm) && (!best.driver || e.priority > best.priority))
			best = e;
		e = (struct crypto_entry) { 0 };
		if (!*line)
			break;
	}
	(void)snprintf(ret, VERITY_DRIVER_SIZE, "%.*s",
		       best.driver ? (int)strcspn(best.driver, "\n") : 0,
		       best.driver ? best.driver : "");
}
