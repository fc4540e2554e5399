// SPDX-License-Identifier: MIT
#include "boot/record.h"
#include "boot/io.h"
#include "boot/sys.h"

#include <fcntl.h>
#include <zlib.h>

#define RECORD_DIR "bf"
#define VALUE_MAX                                                                                  \
	160 /* longest value: a hash, or a history entry of 20 + 9 + 1 + 31 and spaces             \
	     */
#define CRC_KEY	    "crc32="
#define CRC_LINE    (sizeof(CRC_KEY) - 1 + 8) /* without its newline */
#define FORMAT_KEY  "format"
#define NOTHING	    "-"
#define BOOT_ID_LEN 32

/* Enums go through the tables below as unsigned, flags as one byte. */
_Static_assert(sizeof(enum slot) == sizeof(unsigned), "enums of the record are unsigned");
_Static_assert(sizeof(bool) == 1, "flags of the record are bytes");

/* ---- the format: names of values, then the keys in their order ---------- */

static const char *const slot_values[] = { "A", "B", NOTHING };
static const char *const kind_values[] = { "update", "fallback" };
static const char *const state_values[] = { "unknown", "good", "bad" };
static const char *const proven_values[] = { "unknown", "no", "yes" };
static const char *const flag_values[] = { "no", "yes" };
static const char *const phase_values[] = { "none",	 "started", "trial",  "attempt",
					    "confirmed", "clean",   "failed", "settled" };
static const char *const event_values[] = { "staged",	"trial",    "committed",
					    "rejected", "given-up", "fallback",
					    "failed",	"repaired", "rebuilt" };

enum field_type {
	FIELD_GEN,
	FIELD_COUNTER, /* uint32_t, up to RECORD_COUNTER_MAX */
	FIELD_ENUM,    /* one of .names */
	FIELD_FLAG,
	FIELD_CODE,	  /* reason code, up to RECORD_CODE_MAX */
	FIELD_HASH,	  /* hex, up to RECORD_HASH_MAX */
	FIELD_BOOT_ID,	  /* hex, BOOT_ID_LEN */
	FIELD_LAST_COUNT, /* any uint32_t, or nothing when the flag before it is not set */
};

struct field {
	const char *key;
	enum field_type type;
	size_t offset; /* in struct record */
	const char *const *names;
	size_t name_count;
};

#define AT(member) offsetof(struct record, member)
#define ENUM(k, member, v, n)                                                                      \
	{                                                                                          \
		k, FIELD_ENUM, AT(member), v, n                                                    \
	}
#define PLAIN(k, type, member)                                                                     \
	{                                                                                          \
		k, FIELD_##type, AT(member), NULL, 0                                               \
	}

static const struct field fields[] = {
	PLAIN("gen", GEN, gen),
	ENUM("committed", committed, slot_values, SLOT_COUNT),
	ENUM("staged", staged, slot_values, ARRAY_SIZE(slot_values)),
	ENUM("kind", kind, kind_values, ARRAY_SIZE(kind_values)),
	PLAIN("attempts", COUNTER, attempts),
	PLAIN("trials", COUNTER, trials),
	PLAIN("trial_reason", CODE, trial_reason),
	ENUM("state.A", state[SLOT_A], state_values, ARRAY_SIZE(state_values)),
	ENUM("state.B", state[SLOT_B], state_values, ARRAY_SIZE(state_values)),
	ENUM("proven.A", proven[SLOT_A], proven_values, ARRAY_SIZE(proven_values)),
	ENUM("proven.B", proven[SLOT_B], proven_values, ARRAY_SIZE(proven_values)),
	PLAIN("hash.A", HASH, hash[SLOT_A]),
	PLAIN("hash.B", HASH, hash[SLOT_B]),
	PLAIN("hard", COUNTER, hard),
	PLAIN("soft", COUNTER, soft),
	PLAIN("doublings", COUNTER, doublings),
	PLAIN("ladder", COUNTER, ladder),
	PLAIN("probation", FLAG, probation),
	PLAIN("repairs", COUNTER, repairs),
	ENUM("last.slot", last.slot, slot_values, ARRAY_SIZE(slot_values)),
	ENUM("last.phase", last.phase, phase_values, ARRAY_SIZE(phase_values)),
	PLAIN("last.boot_id", BOOT_ID, last.boot_id),
	PLAIN("last.count", LAST_COUNT, last),
	PLAIN("last.reason", CODE, last.reason),
};

/* ---- small things ------------------------------------------------------- */

void record_init(struct record *ret, enum slot committed)
{
	/* The zero of every enum here is "unknown", of every text "nothing". */
	*ret = (struct record) {
		.committed = committed,
		.staged = SLOT_NONE,
		.last.slot = SLOT_NONE,
	};
}

bool record_is_hex(const char *s, size_t max)
{
	size_t n = strspn(s, "0123456789abcdef");

	return n > 0 && n <= max && !s[n];
}

static bool is_code(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n > 0 && n <= RECORD_CODE_MAX && !s[n] && *s != '-';
}

static void copy_text(char *to, const char *checked)
{
	memcpy(to, checked, strlen(checked) + 1);
}

void record_set_code(char to[static RECORD_CODE_MAX + 1], const char *code)
{
	copy_text(to, is_code(code) ? code : "");
}

void record_set_hash(char to[static RECORD_HASH_MAX + 1], const char *hash)
{
	if (record_is_hex(hash, RECORD_HASH_MAX))
		copy_text(to, hash);
}

void record_set_last(struct record *rec, enum slot slot, enum boot_phase phase, const char *boot_id,
		     bool has_count, uint32_t count)
{
	struct record_last last = {
		.slot = slot, .phase = phase, .has_count = has_count, .count = has_count ? count : 0
	};

	if (strlen(boot_id) == BOOT_ID_LEN && record_is_hex(boot_id, BOOT_ID_LEN))
		memcpy(last.boot_id, boot_id, BOOT_ID_LEN);
	rec->last = last;
}

bool record_is_refused(const struct record *rec, const char *hash)
{
	for (size_t i = 0; i < RECORD_REFUSED_MAX && *rec->refused[i]; i++)
		if (streq(rec->refused[i], hash))
			return true;
	return false;
}

void record_refuse(struct record *rec, const char *hash)
{
	char copy[RECORD_HASH_MAX + 1] = ""; /* @hash may be one of @rec's own */

	if (!record_is_hex(hash, RECORD_HASH_MAX) || record_is_refused(rec, hash))
		return;
	record_set_hash(copy, hash);
	memmove(rec->refused[1], rec->refused[0], sizeof(rec->refused) - sizeof(rec->refused[0]));
	record_set_hash(rec->refused[0], copy);
}

void record_add_history(struct record *rec, uint64_t time_sec, enum history_event event,
			enum slot slot, const char *reason)
{
	struct history_entry entry = { .time_sec = time_sec, .event = event, .slot = slot };

	record_set_code(entry.reason, reason);
	if (rec->history_count < RECORD_HISTORY_MAX)
		rec->history_count++;
	memmove(&rec->history[1], &rec->history[0],
		(rec->history_count - 1) * sizeof(rec->history[0]));
	rec->history[0] = entry;
}

const char *history_event_name(enum history_event event)
{
	return (unsigned)event < ARRAY_SIZE(event_values) ? event_values[event] : NOTHING;
}

/* ---- struct to text ----------------------------------------------------- */

struct writer {
	char *buf;
	size_t len;
};

static void put(struct writer *w, const char *fmt, ...) _printf_(2, 3);

/* What would not fit is left out, and the record is then refused when it is read back. */
static void put(struct writer *w, const char *fmt, ...)
{
	size_t room = RECORD_SIZE - w->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(w->buf + w->len, room, fmt, ap);
	va_end(ap);
	if (n > 0 && (size_t)n < room)
		w->len += (size_t)n;
}

static const char *text_or_nothing(const char *s)
{
	return *s ? s : NOTHING;
}

/* A value out of range has no name: "?" is not read back. */
static const char *name_of(unsigned value, const char *const *names, size_t count)
{
	return value < count ? names[value] : "?";
}

static void put_field(struct writer *w, const struct field *f, const struct record *rec)
{
	const char *at = (const char *)rec + f->offset;
	uint64_t gen;
	uint32_t counter;
	unsigned value;

	switch (f->type) {
	case FIELD_GEN:
		memcpy(&gen, at, sizeof(gen));
		put(w, "%s=%llu\n", f->key, (unsigned long long)gen);
		break;
	case FIELD_COUNTER:
		memcpy(&counter, at, sizeof(counter));
		put(w, "%s=%u\n", f->key, counter);
		break;
	case FIELD_ENUM:
		memcpy(&value, at, sizeof(value));
		put(w, "%s=%s\n", f->key, name_of(value, f->names, f->name_count));
		break;
	case FIELD_FLAG:
		put(w, "%s=%s\n", f->key, flag_values[*(const bool *)at]);
		break;
	case FIELD_CODE:
	case FIELD_HASH:
	case FIELD_BOOT_ID:
		put(w, "%s=%s\n", f->key, text_or_nothing(at));
		break;
	case FIELD_LAST_COUNT:
		if (rec->last.has_count)
			put(w, "%s=%u\n", f->key, rec->last.count);
		else
			put(w, "%s=%s\n", f->key, NOTHING);
		break;
	}
}

static void put_history(struct writer *w, const struct record *rec, size_t i)
{
	const struct history_entry *h = &rec->history[i];

	if (i >= rec->history_count)
		put(w, "history.%zu=%s\n", i, NOTHING);
	else
		put(w, "history.%zu=%llu %s %s %s\n", i, (unsigned long long)h->time_sec,
		    name_of(h->event, event_values, ARRAY_SIZE(event_values)),
		    name_of(h->slot, slot_values, ARRAY_SIZE(slot_values)),
		    text_or_nothing(h->reason));
}

static uint32_t crc_of(const char *text, size_t len)
{
	return (uint32_t)crc32(crc32(0, Z_NULL, 0), (const Bytef *)text, (uInt)len);
}

void record_format(const struct record *rec, char buf[static RECORD_SIZE])
{
	struct writer w = { .buf = buf };

	put(&w, "%s=%d\n", FORMAT_KEY, RECORD_FORMAT);
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		put_field(&w, &fields[i], rec);
	for (size_t i = 0; i < RECORD_REFUSED_MAX; i++)
		put(&w, "refused.%zu=%s\n", i, text_or_nothing(rec->refused[i]));
	for (size_t i = 0; i < RECORD_HISTORY_MAX; i++)
		put_history(&w, rec, i);
	put(&w, CRC_KEY "%08x\n", crc_of(buf, w.len));
	memset(buf + w.len, '\n', RECORD_SIZE - w.len);
}

/* ---- text to struct ----------------------------------------------------- */

struct reader {
	const char *at, *end;
};

/* The value of the next line, which must have the key @key. */
static int next_value(struct reader *r, const char *key, char value[static VALUE_MAX])
{
	const char *newline = memchr(r->at, '\n', (size_t)(r->end - r->at));
	size_t key_len = strlen(key), len;

	if (!newline)
		return -EBADMSG;
	len = (size_t)(newline - r->at);
	if (len < key_len + 2 || len - key_len - 1 >= VALUE_MAX ||
	    memcmp(r->at, key, key_len) != 0 || r->at[key_len] != '=')
		return -EBADMSG;
	len -= key_len + 1;
	memcpy(value, r->at + key_len + 1, len);
	value[len] = '\0';
	r->at = newline + 1;
	return 0;
}

static int parse_name(const char *value, const char *const *names, size_t count, unsigned *ret)
{
	for (size_t i = 0; i < count; i++)
		if (streq(value, names[i])) {
			*ret = (unsigned)i;
			return 0;
		}
	return -EBADMSG;
}

static int parse_counter(const char *value, uint32_t max, uint32_t *ret)
{
	uint32_t counter;

	if (parse_u32(value, 10, &counter) < 0 || counter > max)
		return -EBADMSG;
	*ret = counter;
	return 0;
}

/* Text of up to @max bytes that @good accepts; "-" is "". */
static int parse_text(const char *value, bool good, char *ret)
{
	if (!good && !streq(value, NOTHING))
		return -EBADMSG;
	copy_text(ret, good ? value : "");
	return 0;
}

static int parse_last_count(const char *value, struct record_last *ret)
{
	if (streq(value, NOTHING))
		return 0;
	ret->has_count = true;
	return parse_counter(value, UINT32_MAX, &ret->count);
}

static int parse_field(const char *value, const struct field *f, struct record *rec)
{
	char *at = (char *)rec + f->offset;
	uint64_t gen;
	uint32_t counter;
	unsigned name;
	int r;

	switch (f->type) {
	case FIELD_GEN:
		if (parse_u64(value, 10, &gen) < 0 || gen > RECORD_GEN_MAX)
			return -EBADMSG;
		memcpy(at, &gen, sizeof(gen));
		return 0;
	case FIELD_COUNTER:
		r = parse_counter(value, RECORD_COUNTER_MAX, &counter);
		if (r == 0)
			memcpy(at, &counter, sizeof(counter));
		return r;
	case FIELD_ENUM:
		r = parse_name(value, f->names, f->name_count, &name);
		if (r == 0)
			memcpy(at, &name, sizeof(name));
		return r;
	case FIELD_FLAG:
		r = parse_name(value, flag_values, ARRAY_SIZE(flag_values), &name);
		if (r == 0)
			*(bool *)at = name;
		return r;
	case FIELD_CODE:
		return parse_text(value, is_code(value), at);
	case FIELD_HASH:
		return parse_text(value, record_is_hex(value, RECORD_HASH_MAX), at);
	case FIELD_BOOT_ID:
		return parse_text(value,
				  strlen(value) == BOOT_ID_LEN && record_is_hex(value, BOOT_ID_LEN),
				  at);
	case FIELD_LAST_COUNT:
		return parse_last_count(value, &rec->last);
	}
	return -EBADMSG;
}

/* "TIME EVENT SLOT REASON" or "-"; @value is taken apart. */
static int parse_history(char *value, struct record *rec)
{
	struct history_entry entry = { 0 };
	const char *words[4];
	unsigned event, slot;

	if (streq(value, NOTHING))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		words[i] = strsep(&value, " ");
		if (!words[i])
			return -EBADMSG;
	}
	if (value || parse_u64(words[0], 10, &entry.time_sec) < 0 ||
	    parse_name(words[1], event_values, ARRAY_SIZE(event_values), &event) < 0 ||
	    parse_name(words[2], slot_values, ARRAY_SIZE(slot_values), &slot) < 0 ||
	    parse_text(words[3], is_code(words[3]), entry.reason) < 0)
		return -EBADMSG;
	entry.event = (enum history_event)event;
	entry.slot = (enum slot)slot;
	rec->history[rec->history_count++] = entry;
	return 0;
}

static int parse_lists(struct reader *r, struct record *rec)
{
	char key[32], value[VALUE_MAX];
	size_t refused = 0;

	for (size_t i = 0; i < RECORD_REFUSED_MAX; i++) {
		char *hash = rec->refused[refused];

		(void)snprintf(key, sizeof(key), "refused.%zu", i);
		if (next_value(r, key, value) < 0 ||
		    parse_text(value, record_is_hex(value, RECORD_HASH_MAX), hash) < 0)
			return -EBADMSG;
		refused += *hash != '\0';
	}
	for (size_t i = 0; i < RECORD_HISTORY_MAX; i++) {
		(void)snprintf(key, sizeof(key), "history.%zu", i);
		if (next_value(r, key, value) < 0 || parse_history(value, rec) < 0)
			return -EBADMSG;
	}
	return 0;
}

/* Checks the frame of any format; *ret_body is the length of what the crc covers. */
static int check_frame(const char *text, size_t len, size_t *ret_body)
{
	size_t end = len, body;
	char crc[9];

	if (len != RECORD_SIZE || text[len - 1] != '\n')
		return -EBADMSG;
	while (end > 0 && text[end - 1] == '\n')
		end--;
	if (end < CRC_LINE + 1)
		return -EBADMSG;
	body = end - CRC_LINE;
	(void)snprintf(crc, sizeof(crc), "%08x", crc_of(text, body));
	if (text[body - 1] != '\n' || memcmp(text + body, CRC_KEY, strlen(CRC_KEY)) != 0 ||
	    memcmp(text + end - 8, crc, 8) != 0)
		return -EBADMSG;
	*ret_body = body;
	return 0;
}

int record_parse(const char *text, size_t len, struct record *ret)
{
	struct record rec = { 0 };
	struct reader reader = { .at = text };
	char value[VALUE_MAX], again[RECORD_SIZE];
	uint32_t format;
	size_t body;

	if (check_frame(text, len, &body) < 0)
		return -EBADMSG;
	reader.end = text + body;
	if (next_value(&reader, FORMAT_KEY, value) < 0 || parse_u32(value, 10, &format) < 0 ||
	    format < RECORD_FORMAT)
		return -EBADMSG;
	if (format > RECORD_FORMAT)
		return -ENOTSUP;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (next_value(&reader, fields[i].key, value) < 0 ||
		    parse_field(value, &fields[i], &rec) < 0)
			return -EBADMSG;
	if (parse_lists(&reader, &rec) < 0 || rec.staged == rec.committed)
		return -EBADMSG;
	/* One record, one spelling: leading zeros, gaps in lists, leftover lines end here. */
	record_format(&rec, again);
	if (memcmp(again, text, RECORD_SIZE) != 0)
		return -EBADMSG;
	*ret = rec;
	return 0;
}

/* ---- the two files ------------------------------------------------------ */

enum { FILE_NEWEST, FILE_OLDER, FILE_COUNT };
static const char *const file_names[FILE_COUNT] = { "boot-record", "boot-record.old" };

enum generation_state {
	GENERATION_ABSENT,
	GENERATION_FOREIGN, /* not a regular file of its own with our size: to be replaced */
	GENERATION_DAMAGED,
	GENERATION_FUTURE,
	GENERATION_GOOD,
};

struct generation {
	enum generation_state state;
	bool is_dir;
	int error; /* -errno of an I/O error: FOREIGN, and cause to give up if nothing is good */
	struct record record;
};

static bool is_ours(const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_nlink == 1 && st->st_size == RECORD_SIZE;
}

static int read_file(int dir, const char *name, char buf[static RECORD_SIZE])
{
	_cleanup_close_ int fd =
		sys_open_beneath(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
	struct stat st;
	ssize_t n;
	int r;

	if (fd < 0)
		return fd;
	r = sys_fstat(fd, &st);
	if (r < 0)
		return r;
	if (!is_ours(&st))
		return -ESTALE; /* it was when it was looked at by name */
	n = io_pread(fd, buf, RECORD_SIZE, 0);
	if (n < 0)
		return (int)n;
	return n == RECORD_SIZE ? 0 : -EIO;
}

/*
 * Looked at by name first, and opened only when it is ours: opening a device
 * can have effects, and a FIFO must not be waited for.
 */
static void read_generation(int dir, const char *name, struct generation *ret)
{
	char buf[RECORD_SIZE] = "";
	struct stat st;
	int r;

	*ret = (struct generation) { .state = GENERATION_FOREIGN };
	r = sys_fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW);
	if (r == -ENOENT) {
		ret->state = GENERATION_ABSENT;
		return;
	}
	if (r == 0) {
		ret->is_dir = S_ISDIR(st.st_mode);
		if (!is_ours(&st))
			return;
		r = read_file(dir, name, buf);
	}
	if (r < 0) {
		ret->error = r;
		return;
	}
	r = record_parse(buf, sizeof(buf), &ret->record);
	ret->state = r == 0	     ? GENERATION_GOOD
		     : r == -ENOTSUP ? GENERATION_FUTURE
				     : GENERATION_DAMAGED;
}

/*
 * Both files. Returns the index of the newest good one, FILE_COUNT when none is
 * good, or -errno: -ENOTSUP when one is of a newer format, what the medium said
 * when one cannot be read and the other is not good.
 */
static int read_generations(int dir, struct generation gens[static FILE_COUNT])
{
	int newest = FILE_COUNT;

	for (int i = 0; i < FILE_COUNT; i++) {
		read_generation(dir, file_names[i], &gens[i]);
		if (gens[i].state == GENERATION_GOOD &&
		    (newest == FILE_COUNT || gens[i].record.gen > gens[newest].record.gen))
			newest = i;
	}
	for (int i = 0; i < FILE_COUNT; i++)
		if (gens[i].state == GENERATION_FUTURE)
			return -ENOTSUP;
	for (int i = 0; i < FILE_COUNT && newest == FILE_COUNT; i++)
		if (gens[i].error < 0)
			return gens[i].error;
	return newest;
}

static int open_dir(int data_fd)
{
	return sys_open_beneath(data_fd, RECORD_DIR, O_RDONLY | O_DIRECTORY, 0);
}

int record_load(int data_fd, struct record *ret)
{
	_cleanup_close_ int dir = open_dir(data_fd);
	struct generation gens[FILE_COUNT];
	int newest;

	if (dir == -ENOENT || dir == -ELOOP || dir == -ENOTDIR || dir == -EXDEV)
		return RECORD_LOST;
	if (dir < 0)
		return dir;
	newest = read_generations(dir, gens);
	if (newest == -ENOTSUP)
		return RECORD_FUTURE;
	if (newest < 0)
		return newest;
	if (newest == FILE_COUNT)
		return RECORD_LOST;
	*ret = gens[newest].record;
	return gens[!newest].state == GENERATION_GOOD ? RECORD_OK : RECORD_BACKUP;
}

static int open_or_make_dir(int data_fd)
{
	int r, dir = open_dir(data_fd);

	if (dir != -ENOENT)
		return dir;
	r = sys_mkdirat(data_fd, RECORD_DIR, 0700);
	if (r < 0 && r != -EEXIST)
		return r;
	r = sys_fsync(data_fd);
	if (r < 0)
		return r;
	return open_dir(data_fd);
}

/* The file to write into; what is not ours is replaced by a new one. */
static int open_generation(int dir, const char *name, const struct generation *gen)
{
	int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
	int r;

	if (gen->state == GENERATION_FOREIGN) {
		r = sys_unlinkat(dir, name, gen->is_dir ? AT_REMOVEDIR : 0);
		if (r < 0)
			return r;
	}
	if (gen->state == GENERATION_FOREIGN || gen->state == GENERATION_ABSENT)
		flags |= O_CREAT | O_EXCL;
	return sys_open_beneath(dir, name, flags, flags & O_CREAT ? 0600 : 0);
}

static int write_generation(int dir, const char *name, const struct generation *gen,
			    const char text[static RECORD_SIZE])
{
	_cleanup_close_ int fd = open_generation(dir, name, gen);
	char back[RECORD_SIZE];
	ssize_t n;
	int r;

	if (fd < 0)
		return fd;
	/* Already done for a file of ours, and then without effect. */
	r = sys_fallocate(fd, RECORD_SIZE);
	if (r < 0 && r != -EOPNOTSUPP)
		return r;
	r = io_pwrite(fd, text, RECORD_SIZE, 0);
	if (r < 0)
		return r;
	r = sys_fsync(fd);
	if (r < 0)
		return r;
	n = io_pread(fd, back, RECORD_SIZE, 0);
	if (n < 0)
		return (int)n;
	if (n != RECORD_SIZE || memcmp(back, text, RECORD_SIZE) != 0)
		return -EIO;
	return sys_close(TAKE_FD(fd));
}

/* Never touches the newest good generation before the new one is durable. */
static int store_text(int dir, int newest, const struct generation gens[static FILE_COUNT],
		      const char text[static RECORD_SIZE])
{
	int target = newest == FILE_NEWEST ? FILE_OLDER : FILE_NEWEST;
	int r = write_generation(dir, file_names[target], &gens[target], text);

	if (r < 0)
		return r;
	if (newest == FILE_COUNT) /* nothing to keep: both files become this one */
		r = write_generation(dir, file_names[FILE_OLDER], &gens[FILE_OLDER], text);
	else if (target == FILE_OLDER)
		r = sys_renameat_exchange(dir, file_names[FILE_NEWEST], file_names[FILE_OLDER]);
	if (r < 0)
		return r;
	return sys_fsync(dir);
}

int record_store(int data_fd, struct record *rec)
{
	_cleanup_close_ int dir = -1;
	struct generation gens[FILE_COUNT];
	struct record next = *rec, check;
	char text[RECORD_SIZE];
	int newest, r;

	r = dir = open_or_make_dir(data_fd);
	if (r < 0)
		return r;
	r = newest = read_generations(dir, gens);
	if (r < 0)
		return r;
	/* What @rec was made from is not the newest any more, or the newest could not be read then:
	 * on top of it the last write would be undone. */
	if (newest != FILE_COUNT && gens[newest].record.gen > next.gen)
		return -ESTALE;
	next.gen++;
	record_format(&next, text);
	if (record_parse(text, sizeof(text), &check) < 0)
		return -EINVAL;
	r = store_text(dir, newest, gens, text);
	if (r < 0)
		return r;
	rec->gen = next.gen;
	return 0;
}
