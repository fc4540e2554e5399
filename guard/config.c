// SPDX-License-Identifier: MIT
#include "guard/config.h"
#include "guard/kiosk.h"

#include "boot/ini.h"
#include "boot/io.h"
#include "boot/sys.h"

#include <fcntl.h>
#include <stddef.h>
#include <strings.h>

#define SEC	    UINT64_C(1000000)
#define DAY	    (24 * 3600 * SEC)
#define SIGN_AGE    (45 * SEC) /* less than the window: see config_check_ages() */
#define SERVICE	    ".service"
#define SEE_MANUAL  "See bf-guard.conf(5) for the names."
#define CURE_MAX    192
#define DROPINS_MAX 128

void config_init(struct config *ret)
{
	*ret = (struct config) {
		.unit = "betterframe-kiosk.service",
		.crashes = 4,
		.crash_window = 600 * SEC,
		.failed_grace = 15 * SEC,
		.heartbeat_required = true,
		.heartbeat_max_age = SIGN_AGE,
		.marker = "/run/betterframe/kiosk-healthy",
		.marker_max_age = SIGN_AGE,
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

static int parse_committed(struct config *c, const char *s)
{
	if (!streq(s, "act") && !streq(s, "report"))
		return -EINVAL;
	c->policy.committed_act = streq(s, "act");
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

enum value_type {
	VALUE_SPAN,
	VALUE_NUMBER,
	VALUE_FLAG,
	VALUE_UNIT,
	VALUE_ACCOUNT,
	VALUE_PATH,
	VALUE_OWN
};

#define AT(member) offsetof(struct config, member)
#define OWN(section, key, fn, say)                                                                 \
	{                                                                                          \
		section, key, VALUE_OWN, 0, 0, 0, fn, say                                          \
	}

/* Limits are part of the safety: no typo may make a trial endless or a window empty. */
static const struct key {
	const char *section, *name;
	enum value_type type;
	size_t at;
	uint64_t min, max; /* SPAN: seconds; NUMBER */
	int (*own)(struct config *c, const char *value);
	const char *say; /* OWN: what it takes, for a person */
} keys[] = {
	{ "kiosk", "unit", VALUE_UNIT, AT(unit) },
	{ "kiosk", "user", VALUE_ACCOUNT, AT(user) },
	{ "kiosk", "crashes", VALUE_NUMBER, AT(crashes), 1, KIOSK_RESTARTS_MAX },
	{ "kiosk", "crash-window", VALUE_SPAN, AT(crash_window), 1, 86400 },
	{ "kiosk", "failed-grace", VALUE_SPAN, AT(failed_grace), 1, 600 },
	{ "heartbeat", "required", VALUE_FLAG, AT(heartbeat_required) },
	{ "heartbeat", "once", VALUE_FLAG, AT(heartbeat_once) },
	{ "heartbeat", "max-age", VALUE_SPAN, AT(heartbeat_max_age), 1, 3600 },
	{ "heartbeat", "marker", VALUE_PATH, AT(marker) },
	{ "heartbeat", "marker-max-age", VALUE_SPAN, AT(marker_max_age), 0, 86400 },
	OWN("heartbeat", "marker-proves", parse_proves, "server or local"),
	{ "server", "required", VALUE_FLAG, AT(server_required) },
	{ "server", "network-grace", VALUE_SPAN, AT(policy.network_grace), 1, 86400 },
	{ "server", "deadline", VALUE_SPAN, AT(policy.server_deadline), 10, 86400 },
	OWN("server", "commit-offline", parse_offline, "no, yes, or for example after 30min"),
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
	OWN("update", "try", parse_try, "now, on-request, or hours like 02:00-05:00"),
	{ "update", "try-wait-max", VALUE_SPAN, AT(policy.try_wait_max), 1, 2592000 },
	{ "checks", "directory", VALUE_PATH, AT(check_dir) },
	{ "checks", "timeout", VALUE_SPAN, AT(check_timeout), 1, 3600 },
	{ "checks", "interval", VALUE_SPAN, AT(check_interval), 1, 3600 },
	OWN("checks", "committed", parse_committed, "report or act"),
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

/* systemd gives a name without a suffix one; here it would be no unit at all. */
static bool is_service(const char *s)
{
	size_t n = strlen(s);

	return is_name(s) && n > strlen(SERVICE) && streq(s + n - strlen(SERVICE), SERVICE) &&
	       !strstr(s, "@" SERVICE);
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
	case VALUE_UNIT:
	case VALUE_ACCOUNT:
	case VALUE_PATH:
		if (key->type == VALUE_UNIT   ? !is_service(value)
		    : key->type == VALUE_PATH ? !is_path(value)
					      : !is_name(value))
			return -EINVAL;
		/* Each of them has looked at the length. */
		memcpy(at, value, strlen(value) + 1);
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
		c->policy.committed_act = key->own == parse_committed ? d.policy.committed_act
								      : c->policy.committed_act;
		return;
	}
	memcpy((char *)c + key->at, (const char *)&d + key->at,
	       key->type == VALUE_SPAN	   ? sizeof(uint64_t)
	       : key->type == VALUE_NUMBER ? sizeof(uint32_t)
	       : key->type == VALUE_FLAG   ? sizeof(bool)
					   : CONFIG_NAME_MAX + 1);
}

/* What to write in the place of a value of @key that is none. */
static void cure(const struct key *key, const char *value, char buf[static CURE_MAX])
{
	char min[32], max[32];

	switch (key->type) {
	case VALUE_SPAN:
		span_format(key->min * SEC, min);
		span_format(key->max * SEC, max);
		(void)snprintf(buf, CURE_MAX, "Say a time from %s to %s, like 90s or 1h 30min.",
			       min, max);
		return;
	case VALUE_NUMBER:
		(void)snprintf(buf, CURE_MAX, "Say a number from %llu to %llu.",
			       (unsigned long long)key->min, (unsigned long long)key->max);
		return;
	case VALUE_UNIT:
		if (*value && is_name(value) && !strchr(value, '.') && strlen(value) < 100)
			(void)snprintf(buf, CURE_MAX, "Say unit=%.99s%s" SERVICE ".", value,
				       value[strlen(value) - 1] == '@' ? "INSTANCE" : "");
		else
			(void)snprintf(
				buf, CURE_MAX,
				"Say the whole name of a service, like betterframe-kiosk" SERVICE
				".");
		return;
	case VALUE_FLAG:
	case VALUE_ACCOUNT:
	case VALUE_PATH:
	case VALUE_OWN:
		(void)snprintf(buf, CURE_MAX, "Say %s.",
			       key->type == VALUE_FLAG	    ? "yes or no"
			       : key->type == VALUE_ACCOUNT ? "the name of an account"
			       : key->type == VALUE_PATH ? "a path that begins with /, or nothing"
							 : key->say);
		return;
	}
}

/* ---- signs of life and the window --------------------------------------------------- */

/* One sign that is as old as the window is long. */
static bool fills_window(struct config *c, const char *key, uint64_t age,
			 char what[static CONFIG_WHAT_MAX], const char **ret_cure)
{
	char age_text[32], window[32];

	if (age < c->policy.window)
		return false;
	span_format(age, age_text);
	span_format(c->policy.window, window);
	(void)snprintf(what, CONFIG_WHAT_MAX,
		       "[heartbeat] %s=%s is not shorter than [trial] window=%s: one sign of life "
		       "would fill the window.",
		       key, age_text, window);
	*ret_cure = "Make the window at least twice as long as the age.";
	c->policy.window = 2 * age;
	return true;
}

bool config_check_ages(struct config *c, char what[static CONFIG_WHAT_MAX], const char **ret_cure)
{
	if (!c->heartbeat_required || c->heartbeat_once)
		return false;
	if (*c->marker && c->marker_max_age == 0) {
		(void)snprintf(what, CONFIG_WHAT_MAX,
			       "[heartbeat] marker-max-age=0: a marker that is written once would "
			       "fill any window.");
		*ret_cure = "Say how often the kiosk renews it; or once=yes, if it gives a sign of "
			    "life only once.";
		c->marker_max_age = SIGN_AGE;
		return true;
	}
	return fills_window(c, "max-age", c->heartbeat_max_age, what, ret_cure) ||
	       (*c->marker && fills_window(c, "marker-max-age", c->marker_max_age, what, ret_cure));
}

/* ---- files ---------------------------------------------------------------------- */

struct parser {
	struct config *config;
	const char *file;
	struct ini ini;
	const char *section; /* one of the table; NULL: not known, warned about already */
	config_warn_fn warn;
	void *userdata;
};

static void complain(const struct parser *p, const char *say, const char *fmt, ...) _printf_(3, 4);
static void complain(const struct parser *p, const char *say, const char *fmt, ...)
{
	char text[384];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_clean(text, '?');
	p->config->mistakes++;
	p->warn(p->userdata, p->file, p->ini.line, text, say);
}

/* Capital letters and blanks do not matter. */
static bool is_word(const char *text, const char *word)
{
	size_t n = strlen(word);

	text += strspn(text, " \t");
	return strncasecmp(text, word, n) == 0 && !text[n + strspn(text + n, " \t")];
}

static void parse_section(struct parser *p)
{
	p->section = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(keys) && !p->section; i++)
		if (is_word(p->ini.section, keys[i].section))
			p->section = keys[i].section;
	if (!p->section)
		complain(p, SEE_MANUAL, "There is no section [%.40s]; what follows is ignored.",
			 p->ini.section);
}

/* A comment after a blank, and quotes: no value of ours could hold them. */
static char *bare(const char *value, char buf[static CONFIG_NAME_MAX + 2])
{
	size_t n = 0;

	while (n <= CONFIG_NAME_MAX && value[n] &&
	       !(strchr("#;", value[n]) && (n == 0 || strchr(" \t", value[n - 1]))))
		n++;
	while (n > 0 && strchr(" \t", value[n - 1]))
		n--;
	if (n > 1 && strchr("\"'", *value) && value[n - 1] == *value) {
		value++;
		n -= 2;
	}
	(void)snprintf(buf, CONFIG_NAME_MAX + 2, "%.*s", (int)n, value);
	return buf;
}

/* No marker, no checks, the unit's own user: these are settings, too. */
static bool may_be_empty(const struct key *key)
{
	return key->type == VALUE_PATH || key->type == VALUE_ACCOUNT;
}

/* For what is said later about a value that is one by itself. */
static void keep_place(struct parser *p, const struct key *key)
{
	struct config *c = p->config;
	struct config_place *place = key->type == VALUE_UNIT	  ? &c->unit_at
				     : key->type == VALUE_ACCOUNT ? &c->user_at
				     : key->at == AT(marker)	  ? &c->marker_at
								  : NULL;

	if (!place)
		return;
	(void)snprintf(place->file, sizeof(place->file), "%s", p->file);
	place->line = p->ini.line;
}

static void assign(struct parser *p, const struct key *key)
{
	char buf[CONFIG_NAME_MAX + 2], say[CURE_MAX];
	const char *value = bare(p->ini.value, buf);
	int r = 0;

	if (!*value && !may_be_empty(key))
		set_default(p->config, key);
	else
		r = set_value(p->config, key, value);
	if (r == 0) {
		keep_place(p, key);
		return;
	}
	cure(key, value, say);
	complain(p, say, "%s=%.60s is %s; ignored.", key->name, value,
		 r == -ERANGE ? "out of range" : "not understood");
}

static void parse_assignment(struct parser *p)
{
	char say[CURE_MAX] = SEE_MANUAL;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (!is_word(p->ini.key, keys[i].name))
			continue;
		if (keys[i].section == p->section) {
			assign(p, &keys[i]);
			return;
		}
		(void)snprintf(say, sizeof(say), "Put it below [%s].", keys[i].section);
	}
	complain(p, say, "There is no key %.40s= in [%s]; ignored.", p->ini.key, p->section);
}

void config_parse(struct config *c, char *text, size_t len, const char *file, config_warn_fn warn,
		  void *userdata)
{
	struct parser p = {
		.config = c, .file = file, .section = "", .warn = warn, .userdata = userdata
	};
	enum ini_item item;

	/* It costs its line, not the rest. */
	for (size_t i = 0; i < len; i++)
		if (!text[i])
			text[i] = '\x01';
	ini_start(&p.ini, text);
	while ((item = ini_next(&p.ini)) != INI_END) {
		if (item == INI_SECTION) {
			parse_section(&p);
		} else if (item == INI_ODD && streq(p.ini.section, "[")) {
			if (p.section)
				complain(&p, "Put a ] after its name.",
					 "The section is not closed; what follows is ignored.");
			p.section = NULL;
		} else if (item == INI_ODD) {
			complain(&p, "Begin a comment with #.",
				 "This is neither a section nor an assignment; ignored.");
		} else if (p.section && !*p.section) {
			complain(&p, SEE_MANUAL, "%.40s= stands before any section; ignored.",
				 p.ini.key);
		} else if (p.section) {
			parse_assignment(&p);
		}
	}
}

int config_read(int root_fd, const char *path, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_close_ int fd =
		sys_open_in_root(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	_cleanup_free_ char *text = NULL;
	int n;

	if (fd < 0)
		return fd;
	/* One more than allowed, so that "too big" is seen; and the NUL. */
	text = calloc(1, max + 2);
	if (!text)
		return -ENOMEM;
	n = (int)io_read(fd, text, max + 1);
	if (n < 0)
		return n;
	if ((size_t)n > max)
		return -EFBIG;
	*ret = TAKE_PTR(text);
	*ret_len = (size_t)n;
	return 0;
}

/* -ENOENT: there is none; everything else is warned about, and counts as read. */
static int load_file(struct config *c, int root_fd, const char *path, config_warn_fn warn,
		     void *userdata)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = config_read(root_fd, path, CONFIG_FILE_MAX, &text, &len);

	if (r == -ENOENT || r == -ENOTDIR)
		return -ENOENT;
	if (r < 0) {
		char why[128];

		(void)snprintf(why, sizeof(why), "It cannot be read: %s; defaults stay.",
			       strerror(-r));
		c->mistakes++;
		warn(userdata, path, 0, why, "Make it a file of text that root can read.");
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
	_cleanup_close_ int fd =
		sys_open_in_root(root_fd, dropin_dirs[etc], O_RDONLY | O_DIRECTORY, 0);
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
