// SPDX-License-Identifier: MIT
#include "guard/config.h"
#include "guard/kiosk.h"

#include "boot/io.h"
#include "boot/sys.h"

#include <fcntl.h>
#include <stddef.h>

#define SEC	     UINT64_C(1000000)
#define DAY	     (24 * 3600 * SEC)
#define LINE_MAX_LEN 1024
#define DROPINS_MAX  128

void config_init(struct config *ret)
{
	*ret = (struct config) {
		.unit = "betterframe-kiosk.service",
		.crashes = 4,
		.crash_window = 600 * SEC,
		.failed_grace = 15 * SEC,
		.heartbeat_required = true,
		.heartbeat_max_age = 60 * SEC,
		.marker = "/run/betterframe/kiosk-healthy",
		.server_required = true,
		.check_dir = "/etc/bf-guard/check.d",
		.check_timeout = 30 * SEC,
		.check_interval = 30 * SEC,
	};
	policy_config_init(&ret->policy);
}

/* ---- values --------------------------------------------------------------- */

static const struct unit_of_time {
	const char *name, *print; /* .print: NULL when not used for printing */
	uint64_t usec;
} units[] = {
	{ "h", "h", 3600 * SEC },   { "min", "min", 60 * SEC }, { "s", "s", SEC },
	{ "ms", NULL, 1000 },	    { "sec", NULL, SEC },	{ "m", NULL, 60 * SEC },
	{ "hr", NULL, 3600 * SEC }, { "d", NULL, DAY },
};

static int span_unit(const char *s, size_t len, uint64_t *ret)
{
	if (len == 0) {
		*ret = SEC;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (strlen(units[i].name) == len && memcmp(units[i].name, s, len) == 0) {
			*ret = units[i].usec;
			return 0;
		}
	return -EINVAL;
}

int span_parse(const char *s, uint64_t *ret_usec)
{
	uint64_t sum = 0;

	s += strspn(s, " \t");
	if (!*s)
		return -EINVAL;
	while (*s) {
		size_t digits = strspn(s, "0123456789"), letters;
		char number[21];
		uint64_t value, unit;
		int r;

		if (digits == 0 || digits >= sizeof(number))
			return digits ? -ERANGE : -EINVAL;
		memcpy(number, s, digits);
		number[digits] = '\0';
		r = parse_u64(number, 10, &value);
		if (r < 0)
			return r;
		s += digits;
		s += strspn(s, " \t");
		letters = strspn(s, "abcdefghijklmnopqrstuvwxyz");
		r = span_unit(s, letters, &unit);
		if (r < 0)
			return r;
		if (__builtin_mul_overflow(value, unit, &value) ||
		    __builtin_add_overflow(sum, value, &sum))
			return -ERANGE;
		s += letters;
		s += strspn(s, " \t");
	}
	*ret_usec = sum;
	return 0;
}

void span_format(uint64_t usec, char buf[static 32])
{
	uint64_t sec = usec / SEC;

	if (usec == POLICY_NEVER)
		(void)snprintf(buf, 32, "for ever");
	else if (sec >= 3600)
		(void)snprintf(buf, 32, "%llu h %llu min", (unsigned long long)(sec / 3600),
			       (unsigned long long)(sec % 3600 / 60));
	else if (sec >= 60)
		(void)snprintf(buf, 32, "%llu min %llu s", (unsigned long long)(sec / 60),
			       (unsigned long long)(sec % 60));
	else
		(void)snprintf(buf, 32, "%llu s", (unsigned long long)sec);
}

static int parse_flag(const char *s, bool *ret)
{
	static const char *const words[] = { "no", "yes", "false", "true", "off", "on", "0", "1" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (streq(s, words[i])) {
			*ret = i % 2;
			return 0;
		}
	return -EINVAL;
}

/* HH:MM, exactly. */
static int parse_hour(const char *s, uint32_t *ret_min)
{
	uint32_t hour, min;

	for (unsigned i = 0; i < 5; i++)
		if (i == 2 ? s[i] != ':' : s[i] < '0' || s[i] > '9')
			return -EINVAL;
	hour = (uint32_t)(s[0] - '0') * 10 + (uint32_t)(s[1] - '0');
	min = (uint32_t)(s[3] - '0') * 10 + (uint32_t)(s[4] - '0');
	if (hour > 23 || min > 59)
		return -EINVAL;
	*ret_min = hour * 60 + min;
	return 0;
}

static int parse_try(struct config *c, const char *s)
{
	uint32_t from, to;

	if (streq(s, "now")) {
		c->policy.try_when = TRY_NOW;
	} else if (streq(s, "on-request")) {
		c->policy.try_when = TRY_ON_REQUEST;
	} else {
		if (strlen(s) != 11 || s[5] != '-' || parse_hour(s, &from) < 0 ||
		    parse_hour(s + 6, &to) < 0 || from == to)
			return -EINVAL;
		c->policy.try_when = TRY_IN_WINDOW;
		c->try_from_min = from;
		c->try_to_min = to;
	}
	return 0;
}

static int parse_offline(struct config *c, const char *s)
{
	const char *after = startswith(s, "after ");
	uint64_t span;
	bool flag;
	int r;

	if (after) {
		r = span_parse(after, &span);
		if (r < 0 || span > 7 * DAY)
			return -EINVAL;
		c->policy.offline = OFFLINE_AFTER;
		c->policy.offline_after = span;
		return 0;
	}
	r = parse_flag(s, &flag);
	if (r < 0)
		return r;
	c->policy.offline = flag ? OFFLINE_YES : OFFLINE_NO;
	return 0;
}

static int parse_proves(struct config *c, const char *s)
{
	if (streq(s, "server"))
		c->marker_proves = MARKER_PROVES_SERVER;
	else if (streq(s, "local"))
		c->marker_proves = MARKER_PROVES_LOCAL;
	else
		return -EINVAL;
	return 0;
}

bool config_in_hours(const struct config *c, uint32_t now_min)
{
	if (c->try_from_min < c->try_to_min)
		return now_min >= c->try_from_min && now_min < c->try_to_min;
	return now_min >= c->try_from_min || now_min < c->try_to_min;
}

/* ---- keys ------------------------------------------------------------------- */

enum value_type { VALUE_SPAN, VALUE_NUMBER, VALUE_FLAG, VALUE_NAME, VALUE_PATH, VALUE_OWN };

#define AT(member) offsetof(struct config, member)
#define OWN(section, key, fn)                                                                      \
	{                                                                                          \
		section, key, VALUE_OWN, 0, 0, 0, fn                                               \
	}

/* Limits are part of the safety: no typo may make a trial endless or a window empty. */
static const struct key {
	const char *section, *name;
	enum value_type type;
	size_t at;
	uint64_t min, max; /* SPAN: seconds; NUMBER; NAME: at least so long */
	int (*own)(struct config *c, const char *value);
} keys[] = {
	{ "kiosk", "unit", VALUE_NAME, AT(unit), 1 },
	{ "kiosk", "user", VALUE_NAME, AT(user) },
	{ "kiosk", "crashes", VALUE_NUMBER, AT(crashes), 1, KIOSK_RESTARTS_MAX },
	{ "kiosk", "crash-window", VALUE_SPAN, AT(crash_window), 1, 86400 },
	{ "kiosk", "failed-grace", VALUE_SPAN, AT(failed_grace), 1, 600 },
	{ "heartbeat", "required", VALUE_FLAG, AT(heartbeat_required) },
	{ "heartbeat", "max-age", VALUE_SPAN, AT(heartbeat_max_age), 1, 3600 },
	{ "heartbeat", "marker", VALUE_PATH, AT(marker) },
	{ "heartbeat", "marker-max-age", VALUE_SPAN, AT(marker_max_age), 0, 86400 },
	OWN("heartbeat", "marker-proves", parse_proves),
	{ "server", "required", VALUE_FLAG, AT(server_required) },
	{ "server", "network-grace", VALUE_SPAN, AT(policy.network_grace), 1, 86400 },
	{ "server", "deadline", VALUE_SPAN, AT(policy.server_deadline), 10, 86400 },
	OWN("server", "commit-offline", parse_offline),
	{ "trial", "window", VALUE_SPAN, AT(policy.window), 1, 3600 },
	{ "trial", "deadline", VALUE_SPAN, AT(policy.deadline), 10, 86400 },
	{ "trial", "read-root", VALUE_FLAG, AT(policy.read_root) },
	{ "trial", "read-root-timeout", VALUE_SPAN, AT(policy.read_root_timeout), 10, 86400 },
	{ "trial", "commit-timeout", VALUE_SPAN, AT(policy.commit_timeout), 10, 3600 },
	{ "trial", "mark-patience", VALUE_SPAN, AT(policy.mark_patience), 1, 600 },
	{ "committed", "probation", VALUE_SPAN, AT(policy.probation), 10, 604800 },
	{ "committed", "settle", VALUE_SPAN, AT(policy.settle), 10, 604800 },
	{ "committed", "patience", VALUE_SPAN, AT(policy.patience), 1, 3600 },
	{ "committed", "start-deadline", VALUE_SPAN, AT(policy.start_deadline), 10, 86400 },
	{ "committed", "restarts", VALUE_NUMBER, AT(policy.restarts), 0, 100 },
	{ "committed", "recovery", VALUE_SPAN, AT(policy.recovery), 1, 3600 },
	{ "committed", "stay", VALUE_SPAN, AT(policy.stay), 60, 604800 },
	OWN("update", "try", parse_try),
	{ "update", "try-wait-max", VALUE_SPAN, AT(policy.try_wait_max), 1, 2592000 },
	{ "checks", "directory", VALUE_PATH, AT(check_dir) },
	{ "checks", "timeout", VALUE_SPAN, AT(check_timeout), 1, 3600 },
	{ "checks", "interval", VALUE_SPAN, AT(check_interval), 1, 3600 },
};

static bool is_name(const char *s)
{
	size_t n = strlen(s);

	if (n > CONFIG_NAME_MAX || *s == '.')
		return false;
	for (; *s; s++)
		if ((unsigned char)*s <= ' ' || *s == '/' || (unsigned char)*s >= 0x7f)
			return false;
	return true;
}

static bool is_path(const char *s)
{
	if (strlen(s) > CONFIG_NAME_MAX || (*s && *s != '/') || strstr(s, "/../"))
		return false;
	return !text_has_control(s);
}

static int set_value(struct config *c, const struct key *key, const char *value)
{
	char *at = (char *)c + key->at;
	uint64_t number;
	int r;

	switch (key->type) {
	case VALUE_SPAN:
		r = span_parse(value, &number);
		if (r < 0)
			return r;
		if (number < key->min * SEC || number > key->max * SEC)
			return -ERANGE;
		*(uint64_t *)(void *)at = number;
		return 0;
	case VALUE_NUMBER:
		r = parse_u64(value, 10, &number);
		if (r < 0)
			return r;
		if (number < key->min || number > key->max)
			return -ERANGE;
		*(uint32_t *)(void *)at = (uint32_t)number;
		return 0;
	case VALUE_FLAG:
		return parse_flag(value, (bool *)(void *)at);
	case VALUE_NAME:
	case VALUE_PATH:
		if (key->type == VALUE_NAME ? !is_name(value) : !is_path(value))
			return -EINVAL;
		(void)snprintf(at, CONFIG_NAME_MAX + 1, "%s", value);
		return 0;
	case VALUE_OWN:
		return key->own(c, value);
	}
	return -EINVAL;
}

/* Takes back what files before this one said, as an empty assignment does in systemd. */
static void set_default(struct config *c, const struct key *key)
{
	struct config d;

	config_init(&d);
	if (key->type == VALUE_OWN) {
		c->policy.offline =
			key->own == parse_offline ? d.policy.offline : c->policy.offline;
		c->policy.offline_after = key->own == parse_offline ? d.policy.offline_after
								    : c->policy.offline_after;
		c->policy.try_when = key->own == parse_try ? d.policy.try_when : c->policy.try_when;
		c->marker_proves = key->own == parse_proves ? d.marker_proves : c->marker_proves;
		return;
	}
	memcpy((char *)c + key->at, (const char *)&d + key->at,
	       key->type == VALUE_SPAN	   ? sizeof(uint64_t)
	       : key->type == VALUE_NUMBER ? sizeof(uint32_t)
	       : key->type == VALUE_FLAG   ? sizeof(bool)
					   : CONFIG_NAME_MAX + 1);
}

/* ---- files ---------------------------------------------------------------------- */

struct parser {
	struct config *config;
	const char *file;
	unsigned line;
	char section[32]; /* "?": unknown, warned about already; "": none yet */
	config_warn_fn warn;
	void *userdata;
};

static void complain(const struct parser *p, const char *fmt, ...) _printf_(2, 3);
static void complain(const struct parser *p, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_clean(text, '?');
	p->warn(p->userdata, p->file, p->line, text);
}

static char *trim(char *s)
{
	size_t n;

	s += strspn(s, " \t\r");
	n = strlen(s);
	while (n > 0 && strchr(" \t\r", s[n - 1]))
		s[--n] = '\0';
	return s;
}

static void parse_section(struct parser *p, char *s)
{
	size_t n = strlen(s);

	(void)snprintf(p->section, sizeof(p->section), "?");
	if (s[n - 1] != ']') {
		complain(p, "The section has no closing bracket; what follows is ignored.");
		return;
	}
	s[n - 1] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (streq(keys[i].section, s + 1)) {
			(void)snprintf(p->section, sizeof(p->section), "%s", keys[i].section);
			return;
		}
	complain(p, "There is no section [%.40s]; what follows is ignored.", s + 1);
}

/* No marker, no checks, the unit's own user: these are settings, too. */
static bool may_be_empty(const struct key *key)
{
	return (key->type == VALUE_PATH || key->type == VALUE_NAME) && key->min == 0;
}

static void parse_assignment(struct parser *p, char *s)
{
	char *equals = strchr(s, '='), *name, *value;

	if (!equals) {
		complain(p, "This is neither a section nor an assignment; ignored.");
		return;
	}
	if (!*p->section) {
		complain(p, "An assignment outside of any section; ignored.");
		return;
	}
	if (streq(p->section, "?"))
		return;
	*equals = '\0';
	name = trim(s);
	value = trim(equals + 1);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		int r;

		if (!streq(keys[i].section, p->section) || !streq(keys[i].name, name))
			continue;
		if (!*value && !may_be_empty(&keys[i])) {
			set_default(p->config, &keys[i]);
			return;
		}
		r = set_value(p->config, &keys[i], value);
		if (r < 0)
			complain(p, "%s=%.60s is %s; ignored.", name, value,
				 r == -ERANGE ? "out of range" : "not understood");
		return;
	}
	complain(p, "There is no key %.40s= in [%s]; ignored.", name, p->section);
}

static void parse_line(struct parser *p, const char *text, size_t len)
{
	char line[LINE_MAX_LEN + 1];
	char *s;

	if (len > LINE_MAX_LEN || memchr(text, '\0', len)) {
		complain(p, "The line is too long, or holds a NUL byte; ignored.");
		return;
	}
	memcpy(line, text, len);
	line[len] = '\0';
	s = trim(line);
	if (!*s || *s == '#' || *s == ';')
		return;
	if (*s == '[')
		parse_section(p, s);
	else
		parse_assignment(p, s);
}

void config_parse(struct config *c, const char *text, size_t len, const char *file,
		  config_warn_fn warn, void *userdata)
{
	struct parser p = { .config = c, .file = file, .warn = warn, .userdata = userdata };

	while (len > 0) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) : len;

		p.line++;
		parse_line(&p, text, n);
		n += end ? 1 : 0;
		text += n;
		len -= n;
	}
}

/* -ENOENT: there is none; everything else is warned about, and counts as read. */
static int load_file(struct config *c, int root_fd, const char *path, config_warn_fn warn,
		     void *userdata)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = sys_read_file(root_fd, path, CONFIG_FILE_MAX, &text, &len);

	if (r == -ENOENT || r == -ENOTDIR)
		return -ENOENT;
	if (r < 0) {
		char why[128];

		(void)snprintf(why, sizeof(why), "It cannot be read (%s); defaults stay.",
			       strerror(-r));
		warn(userdata, path, 0, why);
		return 0;
	}
	config_parse(c, text, len, path, warn, userdata);
	return 0;
}

struct dropin {
	char name[CONFIG_NAME_MAX + 1];
	bool etc;
};

static const char *const dropin_dirs[] = { "usr/lib/bf-guard.conf.d", "etc/bf-guard.conf.d" };

static void list_dropins(int root_fd, bool etc, struct dropin *list, size_t *count)
{
	_cleanup_close_ int fd = sys_openat(root_fd, dropin_dirs[etc], O_RDONLY | O_DIRECTORY, 0);
	char **names = NULL;
	size_t n = 0;

	if (fd < 0 || sys_list(fd, 4096, &names, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(names[i]), at = 0;

		if (len <= 5 || len > CONFIG_NAME_MAX || !streq(names[i] + len - 5, ".conf"))
			continue;
		while (at < *count && !streq(list[at].name, names[i]))
			at++;
		if (at == DROPINS_MAX)
			continue;
		if (at == *count)
			(*count)++;
		(void)snprintf(list[at].name, sizeof(list[at].name), "%s", names[i]);
		list[at].etc = etc;
	}
	sys_names_free(names, n);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct dropin *)a)->name, ((const struct dropin *)b)->name);
}

void config_load(struct config *c, int root_fd, config_warn_fn warn, void *userdata)
{
	_cleanup_free_ struct dropin *list = calloc(DROPINS_MAX, sizeof(*list));
	size_t count = 0;

	if (load_file(c, root_fd, "etc/bf-guard.conf", warn, userdata) == -ENOENT)
		(void)load_file(c, root_fd, "usr/lib/bf-guard.conf", warn, userdata);
	if (!list)
		return;
	list_dropins(root_fd, false, list, &count);
	list_dropins(root_fd, true, list, &count);
	qsort(list, count, sizeof(*list), by_name);
	for (size_t i = 0; i < count; i++) {
		_cleanup_free_ char *path = strf("%s/%s", dropin_dirs[list[i].etc], list[i].name);

		if (path)
			(void)load_file(c, root_fd, path, warn, userdata);
	}
}
