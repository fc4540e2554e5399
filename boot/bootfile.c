// SPDX-License-Identifier: MIT
#include "boot/bootfile.h"

#include "boot/io.h"
#include "boot/sys.h"

#include <fcntl.h>

#define BOOT_FILE_MAX 65536 /* bytes */

const char *stage_name(enum stage s)
{
	static const char *const names[] = {
#define X(id, name) [STAGE_##id] = name,
		STAGES(X)
#undef X
	};

	return (unsigned)s < STAGE_COUNT ? names[s] : "?";
}

/* ---- the keys, in the order in which they are written ---------------------- */

enum field_type {
	FIELD_SLOT,
	FIELD_FLAG,
	FIELD_NUMBER,
	FIELD_COUNT, /* .has_count and .count; "-" when there is none */
	FIELD_USEC,  /* left out when 0 */
	FIELD_HEX,   /* bare */
	FIELD_WORD,  /* bare, "-" for "" */
	FIELD_TEXT,  /* in quotes, as the next two */
	FIELD_LINE,  /* for people: cut short when it is longer than the field */
	FIELD_NAME,  /* of a block device: becomes part of paths in /dev and /sys */
};

static const struct field {
	const char *key;
	enum field_type type;
	size_t at, size; /* in struct boot_file */
} fields[] = {
#define FIELD(key, type, member)                                                                   \
	{                                                                                          \
		key, FIELD_##type, offsetof(struct boot_file, member),                             \
			sizeof(((struct boot_file *)0)->member)                                    \
	}
#define X_PART(id)	  FIELD("BF_" #id "_DEV", NAME, part[PART_##id]),
#define X_STAGE(id, name) FIELD("BF_USEC_" #id, USEC, stage_end_usec[STAGE_##id]),
	FIELD("BF_SLOT", SLOT, slot),
	FIELD("BF_COMMITTED", SLOT, committed),
	FIELD("BF_TRIAL", FLAG, trial),
	FIELD("BF_COMMITTABLE", FLAG, committable),
	FIELD("BF_LIMBO", FLAG, limbo),
	FIELD("BF_MISMATCH", FLAG, mismatch),
	FIELD("BF_REASON", WORD, reason),
	FIELD("BF_DEGRADED", FLAG, degraded),
	FIELD("BF_DATA", WORD, data),
	FIELD("BF_DATA_DIR", TEXT, data_dir),
	FIELD("BF_DATA_CHECKED", FLAG, data_checked),
	FIELD("BF_DATA_LOST_LINES", NUMBER, data_lost_lines),
	FIELD("BF_DATA_MENDED", NUMBER, data_mended),
	FIELD("BF_DATA_WHY", LINE, data_why),
	FIELD("BF_RECORD", WORD, record),
	FIELD("BF_SELECTOR", WORD, selector),
	FIELD("BF_BOOT_ID", HEX, boot_id),
	FIELD("BF_TRYBOOT", FLAG, tryboot),
	FIELD("BF_COUNT", COUNT, count),
	FIELD("BF_DISK", NAME, disk),
	PARTS(X_PART) /* BF_BOOTSEL_DEV and so on */
	FIELD("BF_ROOTHASH", TEXT, roothash),
	FIELD("BF_VERITY", WORD, verity),
	FIELD("BF_VERITY_FEC", FLAG, verity_fec),
	FIELD("BF_VERITY_SIGNATURE", FLAG, verity_signature),
	FIELD("BF_MACHINE_ID", WORD, machine_id),
	FIELD("BF_CLOCK_SET", FLAG, clock_set),
	FIELD("BF_WATCHDOG", FLAG, watchdog),
	FIELD("BF_RESCUE", FLAG, rescue),
	STAGES(X_STAGE) /* BF_USEC_START and so on */
#undef X_STAGE
#undef X_PART
#undef FIELD
};

/* ---- writing ---------------------------------------------------------------- */

static void put_bare(FILE *out, const char *value)
{
	for (; *value; value++)
		(void)fputc(text_is_control(*value) ? '?' : *value, out);
}

/* Inside double quotes, for systemd and for a shell. */
static void put_quoted(FILE *out, const char *value)
{
	(void)fputc('"', out);
	for (; *value; value++) {
		if (strchr("\"\\$`", *value))
			(void)fputc('\\', out);
		(void)fputc(text_is_control(*value) ? '?' : *value, out);
	}
	(void)fputc('"', out);
}

static void put_number(FILE *out, bool has, uint32_t number)
{
	if (has)
		(void)fprintf(out, "%u", number);
	else
		(void)fputc('-', out);
}

static void put_value(FILE *out, const struct boot_file *b, const struct field *f)
{
	const void *at = (const char *)b + f->at;

	switch (f->type) {
	case FIELD_SLOT:
		put_bare(out, slot_name(*(const enum slot *)at));
		break;
	case FIELD_FLAG:
		put_bare(out, *(const bool *)at ? "yes" : "no");
		break;
	case FIELD_COUNT:
		put_number(out, b->has_count, b->count);
		break;
	case FIELD_NUMBER:
		put_number(out, true, *(const uint32_t *)at);
		break;
	case FIELD_USEC:
		(void)fprintf(out, "%llu", (unsigned long long)*(const uint64_t *)at);
		break;
	case FIELD_HEX:
		put_bare(out, at);
		break;
	case FIELD_WORD:
		put_bare(out, *(const char *)at ? at : "-");
		break;
	case FIELD_TEXT:
	case FIELD_LINE:
	case FIELD_NAME:
		put_quoted(out, at);
		break;
	}
}

static bool is_left_out(const struct boot_file *b, const struct field *f)
{
	return f->type == FIELD_USEC && *(const uint64_t *)((const char *)b + f->at) == 0;
}

char *boot_file_format(const struct boot_file *b)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	bool failed;

	if (!out)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (is_left_out(b, &fields[i]))
			continue;
		(void)fprintf(out, "%s=", fields[i].key);
		put_value(out, b, &fields[i]);
		(void)fputc('\n', out);
	}
	failed = ferror(out);
	if (fclose(out) != 0 || failed) {
		free(text);
		return NULL;
	}
	return text;
}

int boot_file_write(const struct boot_file *b)
{
	_cleanup_free_ char *text = boot_file_format(b);
	_cleanup_close_ int fd = -1;
	int r;

	if (!text)
		return -ENOMEM;
	r = io_mkdirat(AT_FDCWD, BOOT_FILE_DIR, 0755);
	if (r < 0)
		return r;
	fd = sys_open(BOOT_FILE_PATH, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644);
	return fd < 0 ? fd : io_write(fd, text, strlen(text));
}

/* ---- reading ---------------------------------------------------------------- */

/* Bare, or in double quotes. In place. */
static char *unquote(char *value)
{
	char *to = value, *from = value;

	if (*value != '"')
		return value;
	for (from++; *from && *from != '"'; from++) {
		if (*from == '\\' && from[1])
			from++;
		*to++ = *from;
	}
	*to = '\0';
	return value;
}

static int take_flag(const char *value, bool *ret)
{
	if (!streq(value, "yes") && !streq(value, "no"))
		return -EBADMSG;
	*ret = streq(value, "yes");
	return 0;
}

static int take_number(const char *value, uint32_t *ret)
{
	return parse_u32(value, 10, ret) < 0 ? -EBADMSG : 0;
}

static int take_text(const char *value, char *to, size_t size)
{
	if (strlen(value) >= size)
		return -EBADMSG;
	strcpy(to, value);
	return 0;
}

static int take_value(struct boot_file *b, const struct field *f, const char *value)
{
	void *at = (char *)b + f->at;

	switch (f->type) {
	case FIELD_SLOT:
		*(enum slot *)at = slot_parse(value);
		return 0;
	case FIELD_FLAG:
		return take_flag(value, at);
	case FIELD_COUNT:
		b->has_count = !streq(value, "-");
		return b->has_count ? take_number(value, at) : 0;
	case FIELD_NUMBER:
		return take_number(value, at);
	case FIELD_USEC:
		return parse_u64(value, 10, at) < 0 ? -EBADMSG : 0;
	case FIELD_HEX:
	case FIELD_TEXT:
		return take_text(value, at, f->size);
	case FIELD_WORD:
		return take_text(streq(value, "-") ? "" : value, at, f->size);
	case FIELD_LINE:
		(void)snprintf(at, f->size, "%s", value);
		return 0;
	case FIELD_NAME:
		if (strchr(value, '/') || value[0] == '.')
			return -EBADMSG;
		return take_text(value, at, f->size);
	}
	return 0;
}

static int take_line(struct boot_file *b, const char *key, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (streq(key, fields[i].key))
			return take_value(b, &fields[i], value);
	return 0;
}

static bool is_sound(const struct boot_file *b)
{
	return (!*b->boot_id || record_is_hex(b->boot_id, sizeof(b->boot_id) - 1)) &&
	       (!*b->roothash || record_is_hex(b->roothash, sizeof(b->roothash) - 1));
}

int boot_file_parse(const char *text, struct boot_file *ret)
{
	_cleanup_free_ char *copy = strdup(text);
	struct boot_file b = { .slot = SLOT_NONE, .committed = SLOT_NONE };
	bool seen = false;
	char *rest = copy;

	if (!copy)
		return -ENOMEM;
	for (char *line; (line = strsep(&rest, "\n"));) {
		char *value = strchr(line, '=');
		int r;

		if (!value)
			continue;
		*value++ = '\0';
		seen = seen || streq(line, fields[0].key);
		r = take_line(&b, line, unquote(value));
		if (r < 0)
			return r;
	}
	if (!seen || !is_sound(&b))
		return -EBADMSG;
	*ret = b;
	return 0;
}

int boot_file_read(struct boot_file *ret)
{
	_cleanup_free_ char *text = NULL;
	int r = sys_read_file(AT_FDCWD, BOOT_FILE_PATH, BOOT_FILE_MAX, &text, NULL);

	return r < 0 ? r : boot_file_parse(text, ret);
}
