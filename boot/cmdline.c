// SPDX-License-Identifier: MIT
#include "boot/cmdline.h"

#define ROOTHASH_DIGITS_MIN 32
#define ROOTHASH_DIGITS_MAX 128

enum kind { KIND_SLOT, KIND_ROOTHASH, KIND_TEXT, KIND_PATH, KIND_NUMBER };

struct key {
	const char *name;
	enum kind kind;
	size_t offset; /* of the field in struct cmdline */
	uint32_t min, max;
};

#define FIELD(name) offsetof(struct cmdline, name)

static const struct key keys[] = {
	{ "rauc.slot", KIND_SLOT, FIELD(slot) },
	{ "roothash", KIND_ROOTHASH, FIELD(roothash) },
	{ "systemd.verity_root_options", KIND_TEXT, FIELD(verity_options) },
	{ "systemd.verity_root_hash", KIND_TEXT, FIELD(verity_hash) },
	{ "init", KIND_PATH, FIELD(init) },
	{ "bf.wait", KIND_NUMBER, FIELD(device_wait_sec), 1, 600 },
	{ "bf.show", KIND_NUMBER, FIELD(failure_show_sec), 0, 600 },
	{ "bf.deadline", KIND_NUMBER, FIELD(deadline_sec), 10, 3600 },
	{ "bf.check", KIND_NUMBER, FIELD(check_sec), 0, 86400 },
	{ "bf.watchdog", KIND_NUMBER, FIELD(watchdog_sec), 0, 600 },
};

/* The last occurrence of each key; .value is NULL for a word without "=". */
struct seen {
	bool present;
	const char *value;
};

/* The kernel's own isspace(): its character table is Latin-1, where 0xa0 is a space. */
static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || c == '\xa0';
}

/* The kernel and systemd take '-' for '_' in names. */
static bool name_equal(const char *a, const char *b)
{
	for (; *a && *b; a++, b++)
		if ((*a == '-' ? '_' : *a) != (*b == '-' ? '_' : *b))
			return false;
	return *a == *b;
}

/*
 * Cuts the next word off @text, in place, by the rules of the kernel's
 * next_arg(): spaces between quotes do not end a word; a quote before the word
 * or before the value goes, and with it one at the very end; others stay.
 * False at the end of the text.
 */
static bool next_word(char **text, char **ret_name, char **ret_value)
{
	char *name = *text, *value = NULL, *end;
	bool quoted, open, last_goes;

	while (is_space(*name))
		name++;
	if (!*name)
		return false;
	quoted = open = *name == '"';
	name += quoted;
	for (end = name; *end && (open || !is_space(*end)); end++) {
		if (*end == '"')
			open = !open;
		if (*end == '=' && !value)
			value = end + 1;
	}
	*text = *end ? end + 1 : end;
	*end = '\0';
	last_goes = quoted || (value && *value == '"');
	if (value) {
		value[-1] = '\0';
		value += *value == '"';
	}
	if (last_goes && end > name && end[-1] == '"')
		end[-1] = '\0';
	*ret_name = name;
	*ret_value = value;
	return true;
}

static int store_text(char **field, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	*field = copy;
	return 0;
}

static int store_roothash(char **field, const char *value)
{
	size_t n = strspn(value, "0123456789abcdefABCDEF");
	int r;

	if (value[n] || n % 2 || n < ROOTHASH_DIGITS_MIN || n > ROOTHASH_DIGITS_MAX)
		return -EINVAL;
	r = store_text(field, value);
	if (r < 0)
		return r;
	for (char *p = *field; *p; p++)
		if (*p >= 'A' && *p <= 'F')
			*p = (char)(*p - 'A' + 'a');
	return 0;
}

/* 0, -EINVAL or -ENOMEM. The field is only touched on success. */
static int store(const struct key *key, const char *value, struct cmdline *c)
{
	void *field = (char *)c + key->offset;
	uint32_t number;

	if (!value)
		return -EINVAL;
	switch (key->kind) {
	case KIND_SLOT:
		*(enum slot *)field = slot_parse(value);
		return 0;
	case KIND_ROOTHASH:
		return store_roothash(field, value);
	case KIND_TEXT: /* empty, as templates leave it: not given (systemd does the same) */
		return *value ? store_text(field, value) : 0;
	case KIND_PATH:
		return *value == '/' ? store_text(field, value) : -EINVAL;
	case KIND_NUMBER:
		if (parse_u32(value, 10, &number) < 0 || number < key->min || number > key->max)
			return -EINVAL;
		*(uint32_t *)field = number;
		return 0;
	}
	return -EINVAL;
}

static int fail(const struct key *key, int r, struct failure *f)
{
	switch (key->kind) {
	case KIND_ROOTHASH:
		return failure_set(f, REASON_VERITY_ROOTHASH, -r,
				   "kernel command line: %s= takes %d to %d hexadecimal digits",
				   key->name, ROOTHASH_DIGITS_MIN, ROOTHASH_DIGITS_MAX);
	case KIND_NUMBER:
		return failure_set(f, REASON_CMDLINE, -r,
				   "kernel command line: %s= takes a number from %u to %u",
				   key->name, key->min, key->max);
	case KIND_PATH:
		return failure_set(f, REASON_CMDLINE, -r,
				   "kernel command line: %s= takes an absolute path", key->name);
	default:
		return failure_set(f, REASON_CMDLINE, -r, "kernel command line: %s= lacks a value",
				   key->name);
	}
}

static void collect(char *text, struct seen seen[static ARRAY_SIZE(keys)])
{
	char *name, *value;

	while (next_word(&text, &name, &value)) {
		if (!value && streq(name, "--"))
			return;
		for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
			if (name_equal(name, keys[i].name))
				seen[i] = (struct seen) { .present = true, .value = value };
	}
}

int cmdline_parse(const char *text, struct cmdline *ret, struct failure *f)
{
	_cleanup_free_ char *copy = strdup(text);
	struct seen seen[ARRAY_SIZE(keys)] = { 0 };
	size_t len = strlen(text);
	int result = 0;

	*ret = (struct cmdline) {
		.slot = SLOT_NONE,
		.device_wait_sec = CMDLINE_DEVICE_WAIT_SEC,
		.failure_show_sec = CMDLINE_FAILURE_SHOW_SEC,
		.deadline_sec = CMDLINE_DEADLINE_SEC,
		.watchdog_sec = CMDLINE_WATCHDOG_SEC,
	};
	if (!copy)
		return failure_set(f, REASON_OUT_OF_MEMORY, ENOMEM, "kernel command line");
	if (len && copy[len - 1] == '\n') /* /proc/cmdline's own, even inside an open quote */
		copy[len - 1] = '\0';
	collect(copy, seen);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		int r = seen[i].present ? store(&keys[i], seen[i].value, ret) : 0;

		if (r < 0 && result == 0)
			result = fail(&keys[i], r, f);
	}
	return result;
}

void cmdline_done(struct cmdline *c)
{
	free(c->roothash);
	free(c->verity_options);
	free(c->verity_hash);
	free(c->init);
	*c = (struct cmdline) { .slot = SLOT_NONE };
}
