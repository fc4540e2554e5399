// SPDX-License-Identifier: MIT
#include "boot/record.h"
#include "boot/io.h"
#include "boot/sys.h"

#include <fcntl.h>
#include <zlib.h>

/* Longest value that we know: a hash, or a history entry of 20 + 31 + 1 + 31 and what is kept of
 * it. */
#define VALUE_MAX   160
#define CRC_KEY	    "crc32="
#define CRC_LINE    (sizeof(CRC_KEY) - 1 + 8) /* without its newline */
#define FORMAT_KEY  "format"
#define NOTHING	    "-"
#define BOOT_ID_LEN 32

/* Which bit of late_read a late counter has. */
enum {
#define X(member, key) LATE_##member,
	RECORD_LATE_COUNTERS(X)
#undef X
		LATE_COUNT
};
_Static_assert(LATE_COUNT <= 32, "late_read has 32 bits");

/* The words of _OTHER follow those that have a name. */
_Static_assert(STATE_OTHER == 3 && PROVEN_OTHER == 3 && KIND_OTHER == 2 && PHASE_OTHER == 8 &&
		       HISTORY_OTHER == 10,
	       "one name for each value but the last");

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
static const char *const event_values[] = { "staged",	"trial",    "committed", "rejected",
					    "given-up", "fallback", "failed",	 "repaired",
					    "rebuilt",	"changed" };

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
	uint32_t late; /* its bit in record.late_read; 0: it was in format 1 from the start */
	size_t offset; /* in struct record */
	const char *const *names;
	size_t name_count;
	size_t word; /* offset of the word that is kept when it is none of .names; 0: there is none
		      */
};

#define AT(member) offsetof(struct record, member)
/* clang-format off: one line each */
#define SLOT(k, member, n)                                                                         \
	{                                                                                          \
		.key = k, .type = FIELD_ENUM, .offset = AT(member), .names = slot_values,          \
		.name_count = n                                                                    \
	}
#define WORDS(k, member, v, kept)                                                                  \
	{                                                                                          \
		.key = k, .type = FIELD_ENUM, .offset = AT(member), .names = v,                    \
		.name_count = ARRAY_SIZE(v), .word = AT(words.kept)                                \
	}
#define PLAIN(k, kind, member)                                                                     \
	{                                                                                          \
		.key = k, .type = FIELD_##kind, .offset = AT(member)                               \
	}
#define X(member, k)                                                                               \
	{ .key = k, .type = FIELD_COUNTER, .offset = AT(member), .late = 1U << LATE_##member },
/* clang-format on */

static const struct field fields[] = {
	PLAIN("gen", GEN, gen),
	SLOT("committed", committed, SLOT_COUNT),
	SLOT("staged", staged, ARRAY_SIZE(slot_values)),
	WORDS("kind", kind, kind_values, kind),
	PLAIN("attempts", COUNTER, attempts),
	PLAIN("trials", COUNTER, trials),
	PLAIN("trial_reason", CODE, trial_reason),
	WORDS("state.A", state[SLOT_A], state_values, state[SLOT_A]),
	WORDS("state.B", state[SLOT_B], state_values, state[SLOT_B]),
	WORDS("proven.A", proven[SLOT_A], proven_values, proven[SLOT_A]),
	WORDS("proven.B", proven[SLOT_B], proven_values, proven[SLOT_B]),
	PLAIN("hash.A", HASH, hash[SLOT_A]),
	PLAIN("hash.B", HASH, hash[SLOT_B]),
	PLAIN("hard", COUNTER, hard),
	PLAIN("soft", COUNTER, soft),
	PLAIN("doublings", COUNTER, doublings),
	PLAIN("ladder", COUNTER, ladder),
	PLAIN("probation", FLAG, probation),
	PLAIN("repairs", COUNTER, repairs),
	SLOT("last.slot", last.slot, ARRAY_SIZE(slot_values)),
	WORDS("last.phase", last.phase, phase_values, phase),
	PLAIN("last.boot_id", BOOT_ID, last.boot_id),
	PLAIN("last.count", LAST_COUNT, last),
	PLAIN("last.reason", CODE, last.reason),
	RECORD_LATE_COUNTERS(X)
};
#undef X

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
	size_t n = strlen(s);

	return n > 0 && n <= RECORD_CODE_MAX && *s != '-' &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
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

/* @word: of _OTHER, the value after the last one with a name. "?" is read back by nobody. */
static const char *word_of(unsigned value, const char *const *names, size_t count, const char *word)
{
	if (value == count && is_code(word))
		return word;
	return value < count ? names[value] : "?";
}
#define WORD_OF(value, names, word) word_of(value, names, ARRAY_SIZE(names), word)

const char *record_state_name(const struct record *rec, enum slot slot)
{
	return WORD_OF(rec->state[slot], state_values, rec->words.state[slot]);
}

const char *record_proven_name(const struct record *rec, enum slot slot)
{
	return WORD_OF(rec->proven[slot], proven_values, rec->words.proven[slot]);
}

const char *record_kind_name(const struct record *rec)
{
	return WORD_OF(rec->kind, kind_values, rec->words.kind);
}

const char *record_phase_name(const struct record *rec)
{
	return WORD_OF(rec->last.phase, phase_values, rec->words.phase);
}

bool record_is_doubtful(const struct record *rec)
{
	for (size_t i = 0; i < rec->history_count; i++)
		switch (rec->history[i].event) {
		case HISTORY_CHANGED:
			return true;
		case HISTORY_STAGED:
		case HISTORY_COMMITTED:
		case HISTORY_REBUILT:
			return false;
		default:
			break;
		}
	return false;
}

const char *history_event_name(enum history_event event)
{
	return WORD_OF(event, event_values, "");
}

const char *history_entry_name(const struct history_entry *entry)
{
	return WORD_OF(entry->event, event_values, entry->word);
}

const char *record_status_name(enum record_status status)
{
	static const char *const names[] = { [RECORD_OK] = "ok",
					     [RECORD_BACKUP] = "backup",
					     [RECORD_LOST] = "lost",
					     [RECORD_FUTURE] = "future" };

	return WORD_OF(status, names, "");
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

/*
 * A key that the fallback does not know comes into the record only when there is no fallback to
 * read it, or when it is there already.
 */
static bool is_written(const struct field *f, const struct record *rec)
{
	bool settled = rec->staged == SLOT_NONE && !rec->probation;

	return !f->late || settled || rec->late_read & f->late;
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
		put(w, "%s=%s\n", f->key,
		    word_of(value, f->names, f->name_count,
			    f->word ? (const char *)rec + f->word : ""));
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
		put(w, "history.%zu=%llu %s %s %s%s\n", i, (unsigned long long)h->time_sec,
		    history_entry_name(h), WORD_OF(h->slot, slot_values, ""),
		    text_or_nothing(h->reason), h->more);
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
		if (is_written(&fields[i], rec))
			put_field(&w, &fields[i], rec);
	for (size_t i = 0; i < RECORD_REFUSED_MAX; i++)
		put(&w, "refused.%zu=%s\n", i, text_or_nothing(rec->refused[i]));
	for (size_t i = 0; i < RECORD_HISTORY_MAX; i++)
		put_history(&w, rec, i);
	put(&w, "%s", rec->kept);
	put(&w, CRC_KEY "%08x\n", crc_of(buf, w.len));
	memset(buf + w.len, '\n', RECORD_SIZE - w.len);
}

/* ---- text to struct ----------------------------------------------------- */

struct reader {
	const char *at, *end;
};

/* One line; not terminated. */
struct line {
	const char *key, *value;
	size_t key_len, value_len;
};

/* 1, or 0 at the end. Every byte must be part of a line of ours: no control characters. */
static int next_line(struct reader *r, struct line *ret)
{
	const char *newline, *equals;

	if (r->at == r->end)
		return 0;
	newline = memchr(r->at, '\n', (size_t)(r->end - r->at));
	equals = newline ? memchr(r->at, '=', (size_t)(newline - r->at)) : NULL;
	if (!equals || equals == r->at || equals + 1 == newline)
		return -EBADMSG;
	for (const char *c = r->at; c < newline; c++)
		if (text_is_control(*c))
			return -EBADMSG;
	*ret = (struct line) { r->at, equals + 1, (size_t)(equals - r->at),
			       (size_t)(newline - equals - 1) };
	r->at = newline + 1;
	return 1;
}

static bool has_key(const struct line *l, const char *key)
{
	return l->key_len == strlen(key) && memcmp(l->key, key, l->key_len) == 0;
}

static int copy_value(const struct line *l, char value[static VALUE_MAX])
{
	if (l->value_len >= VALUE_MAX)
		return -EBADMSG;
	memcpy(value, l->value, l->value_len);
	value[l->value_len] = '\0';
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

/* The same, where a later version may have another word: the value after the last name. */
static int parse_word(const char *value, const char *const *names, size_t count, char *word,
		      unsigned *ret)
{
	int r = parse_name(value, names, count, ret);

	if (r == 0 || !word || !is_code(value))
		return r;
	copy_text(word, value);
	*ret = (unsigned)count;
	return 0;
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
		if (parse_u64(value, 10, &gen) < 0 || gen >= RECORD_GEN_MAX)
			return -EBADMSG;
		memcpy(at, &gen, sizeof(gen));
		return 0;
	case FIELD_COUNTER:
		r = parse_counter(value, RECORD_COUNTER_MAX, &counter);
		if (r == 0)
			memcpy(at, &counter, sizeof(counter));
		return r;
	case FIELD_ENUM:
		r = parse_word(value, f->names, f->name_count,
			       f->word ? (char *)rec + f->word : NULL, &name);
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

/* "TIME EVENT SLOT REASON[ MORE]"; @value is taken apart. */
static int parse_history(char *value, struct history_entry *ret)
{
	const char *words[4];
	unsigned event, slot;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		words[i] = strsep(&value, " ");
		if (!words[i])
			return -EBADMSG;
	}
	if (parse_u64(words[0], 10, &ret->time_sec) < 0 ||
	    parse_word(words[1], event_values, ARRAY_SIZE(event_values), ret->word, &event) < 0 ||
	    parse_name(words[2], slot_values, ARRAY_SIZE(slot_values), &slot) < 0 ||
	    parse_text(words[3], is_code(words[3]), ret->reason) < 0)
		return -EBADMSG;
	ret->event = (enum history_event)event;
	ret->slot = (enum slot)slot;
	if (value && strlen(value) + 1 > RECORD_MORE_MAX)
		return -ENOTSUP;
	if (value)
		(void)snprintf(ret->more, sizeof(ret->more), " %s", value);
	return 0;
}

/* What was read so far of one record. */
struct parse {
	struct record rec;
	bool seen[ARRAY_SIZE(fields)];
	bool refused_seen[RECORD_REFUSED_MAX], history_seen[RECORD_HISTORY_MAX];
	bool history_filled[RECORD_HISTORY_MAX];
	size_t kept_len;
};

/* Which one of a list "PREFIX0" … the line is; @count: none of them. */
static size_t index_of(const struct line *l, const char *prefix, size_t count)
{
	char key[32];
	size_t i;

	for (i = 0; i < count; i++) {
		(void)snprintf(key, sizeof(key), "%s%zu", prefix, i);
		if (has_key(l, key))
			break;
	}
	return i;
}

static int once(bool *seen)
{
	bool again = *seen;

	*seen = true;
	return again ? -EBADMSG : 0;
}

static int take_field(struct parse *p, size_t i, char *value)
{
	int r = once(&p->seen[i]);

	p->rec.late_read |= fields[i].late;
	return r < 0 ? r : parse_field(value, &fields[i], &p->rec);
}

static int take_refused(struct parse *p, size_t i, const char *value)
{
	int r = once(&p->refused_seen[i]);

	return r < 0 ? r
		     : parse_text(value, record_is_hex(value, RECORD_HASH_MAX), p->rec.refused[i]);
}

static int take_history(struct parse *p, size_t i, char *value)
{
	int r = once(&p->history_seen[i]);

	if (r < 0 || streq(value, NOTHING))
		return r;
	p->history_filled[i] = true;
	return parse_history(value, &p->rec.history[i]);
}

/* The line of a later version, to be written back. */
static int keep_line(struct parse *p, const struct line *l)
{
	size_t len = l->key_len + 1 + l->value_len + 1;

	if (has_key(l, FORMAT_KEY) || has_key(l, "crc32"))
		return -EBADMSG;
	if (len > RECORD_KEPT_MAX - p->kept_len)
		return -ENOTSUP;
	memcpy(p->rec.kept + p->kept_len, l->key, len);
	p->kept_len += len;
	return 0;
}

static int take_line(struct parse *p, const struct line *l)
{
	size_t refused = index_of(l, "refused.", RECORD_REFUSED_MAX),
	       history = index_of(l, "history.", RECORD_HISTORY_MAX), field = 0;
	char value[VALUE_MAX];

	while (field < ARRAY_SIZE(fields) && !has_key(l, fields[field].key))
		field++;
	if (refused == RECORD_REFUSED_MAX && history == RECORD_HISTORY_MAX &&
	    field == ARRAY_SIZE(fields))
		return keep_line(p, l);
	if (copy_value(l, value) < 0)
		return -EBADMSG;
	if (refused < RECORD_REFUSED_MAX)
		return take_refused(p, refused, value);
	if (history < RECORD_HISTORY_MAX)
		return take_history(p, history, value);
	return take_field(p, field, value);
}

/* Nothing is missing, and the lists have no gaps. */
static bool is_whole(struct parse *p)
{
	struct record *rec = &p->rec;

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (!p->seen[i] && !fields[i].late)
			return false;
	for (size_t i = 0; i < RECORD_REFUSED_MAX; i++)
		if (!p->refused_seen[i] || (i && *rec->refused[i] && !*rec->refused[i - 1]))
			return false;
	while (rec->history_count < RECORD_HISTORY_MAX && p->history_filled[rec->history_count])
		rec->history_count++;
	for (size_t i = 0; i < RECORD_HISTORY_MAX; i++)
		if (!p->history_seen[i] || (i >= rec->history_count && p->history_filled[i]))
			return false;
	return rec->staged != rec->committed;
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

/* The first line says which format the rest is in. *r is after it then. */
static int check_format(struct reader *r)
{
	char value[VALUE_MAX];
	struct line first;
	uint32_t format;

	if (next_line(r, &first) <= 0 || !has_key(&first, FORMAT_KEY) ||
	    copy_value(&first, value) < 0 || parse_u32(value, 10, &format) < 0 ||
	    format < RECORD_FORMAT)
		return -EBADMSG;
	return format > RECORD_FORMAT ? -ENOTSUP : 0;
}

int record_parse(const char *text, size_t len, struct record *ret)
{
	struct parse p = { 0 };
	struct reader reader = { .at = text };
	struct line line;
	size_t body;
	int r;

	if (check_frame(text, len, &body) < 0)
		return -EBADMSG;
	reader.end = text + body;
	r = check_format(&reader);
	if (r < 0)
		return r;
	while ((r = next_line(&reader, &line)) > 0) {
		r = take_line(&p, &line);
		if (r < 0)
			return r;
	}
	if (r < 0 || !is_whole(&p))
		return -EBADMSG;
	*ret = p.rec;
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

/* Out of the way, under a name of its own: it is somebody's, and in the place of the record. */
static int put_aside(int dir, const char *name)
{
	char aside[sizeof("boot-record.old.aside-") + 20];
	int r = -EEXIST;

	/* Who takes ten names away does not take those that the clock makes. */
	for (unsigned i = 0; r == -EEXIST && i < 20; i++) {
		(void)snprintf(aside, sizeof(aside), "%s.aside-%llu", name,
			       i < 10 ? i : (unsigned long long)sys_realtime_usec() + i);
		r = sys_renameat(dir, name, aside);
	}
	return r;
}

static int open_or_make_dir(int data_fd)
{
	int r, dir = open_dir(data_fd);

	if (dir == -ELOOP || dir == -ENOTDIR || dir == -EXDEV) {
		r = put_aside(data_fd, RECORD_DIR);
		if (r < 0)
			return r;
	} else if (dir != -ENOENT) {
		return dir;
	}
	r = io_mkdirat(data_fd, RECORD_DIR, 0700);
	if (r < 0)
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
		r = gen->is_dir ? put_aside(dir, name) : sys_unlinkat(dir, name, 0);
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
	/* A worn card takes writes and forgets them: it is asked, not the page cache. */
	sys_forget_cached(fd);
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

/* Somebody has made the record unwritable, with chattr(1): it is ours. What fails here fails again
 * below. */
static void allow_changes(int dir)
{
	(void)sys_allow_change(dir);
	for (int i = 0; i < FILE_COUNT; i++) {
		_cleanup_close_ int fd = -1;
		struct stat st;

		if (sys_fstatat(dir, file_names[i], &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
			continue;
		fd = sys_open_beneath(dir, file_names[i],
				      O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
		if (fd >= 0)
			(void)sys_allow_change(fd);
	}
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
	if (r == -EPERM) {
		allow_changes(dir);
		r = newest = read_generations(dir, gens);
		if (r >= 0)
			r = store_text(dir, newest, gens, text);
	}
	if (r < 0)
		return r;
	rec->gen = next.gen;
	return 0;
}
