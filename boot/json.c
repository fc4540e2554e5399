// SPDX-License-Identifier: MIT
#include "boot/json.h"

/* Bytes of the UTF-8 character at @s (RFC 3629, table in section 4), 0 when it is none. */
static size_t utf8_length(const unsigned char *s)
{
	static const struct {
		unsigned char first_min, first_max, second_min, second_max;
		size_t length;
	} rows[] = {
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		{ 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 },
		{ 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	if (*s < 0x80)
		return 1;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (*s < rows[i].first_min || *s > rows[i].first_max)
			continue;
		if (s[1] < rows[i].second_min || s[1] > rows[i].second_max)
			return 0;
		/* A NUL is no continuation, so this stops at the end of the text. */
		for (size_t k = 2; k < rows[i].length; k++)
			if ((s[k] & 0xc0) != 0x80)
				return 0;
		return rows[i].length;
	}
	return 0;
}

static void put_string(FILE *out, const char *value)
{
	const unsigned char *s = (const unsigned char *)value;
	size_t n;

	(void)fputc('"', out);
	for (; *s; s += n ? n : 1) {
		n = utf8_length(s);
		if (n == 0)
			(void)fputs("\\ufffd", out);
		else if (*s == '"' || *s == '\\')
			(void)fprintf(out, "\\%c", *s);
		else if (*s < ' ')
			(void)fprintf(out, "\\u%04x", *s);
		else
			(void)fwrite(s, 1, n, out);
	}
	(void)fputc('"', out);
}

static void put_key(struct json *j, const char *key)
{
	if (j->some[j->depth])
		(void)fputs(j->depth == 1 ? ",\n " : ", ", j->out);
	j->some[j->depth] = true;
	if (!key)
		return;
	put_string(j->out, key);
	(void)fputs(": ", j->out);
}

void json_open(struct json *j, const char *key, char bracket)
{
	put_key(j, key);
	(void)fputc(bracket, j->out);
	if (j->depth + 1 < JSON_DEPTH_MAX)
		j->depth++;
	j->some[j->depth] = false;
}

void json_close(struct json *j, char bracket)
{
	(void)fputc(bracket, j->out);
	if (j->depth > 0)
		j->depth--;
	if (j->depth == 0)
		(void)fputc('\n', j->out);
}

void json_text(struct json *j, const char *key, const char *value)
{
	put_key(j, key);
	if (value)
		put_string(j->out, value);
	else
		(void)fputs("null", j->out);
}

void json_number(struct json *j, const char *key, uint64_t value)
{
	put_key(j, key);
	(void)fprintf(j->out, "%llu", (unsigned long long)value);
}

void json_flag(struct json *j, const char *key, bool value)
{
	put_key(j, key);
	(void)fputs(value ? "true" : "false", j->out);
}
