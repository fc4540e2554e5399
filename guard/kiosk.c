// SPDX-License-Identifier: MIT
#include "guard/kiosk.h"

#include "boot/io.h"

static const uint8_t no_invocation[16];

enum activity { ACTIVITY_UP, ACTIVITY_DOWN, ACTIVITY_UNKNOWN };

/* systemd's ActiveState. 257 added "refreshing": a word of a later one says neither. */
static enum activity activity_of(const char *active)
{
	static const char *const up[] = { "active", "reloading", "refreshing" };
	static const char *const down[] = { "inactive", "failed", "activating", "deactivating",
					    "maintenance" };

	for (size_t i = 0; i < ARRAY_SIZE(up); i++)
		if (streq(active, up[i]))
			return ACTIVITY_UP;
	for (size_t i = 0; i < ARRAY_SIZE(down); i++)
		if (streq(active, down[i]))
			return ACTIVITY_DOWN;
	return ACTIVITY_UNKNOWN;
}

/* Condition…= and ExecCondition=. */
static bool was_skipped(const struct kiosk_properties *p)
{
	return (p->condition_at && !p->condition) || streq(p->result, "exec-condition");
}

bool kiosk_has_ended(const struct kiosk *k)
{
	const struct kiosk_properties *p = &k->now;

	if (!k->known || !streq(p->load, "loaded"))
		return false;
	if (streq(p->active, "active"))
		return streq(p->sub, "exited");
	if (!streq(p->active, "inactive"))
		return false;
	return was_skipped(p) || (p->inactive_at && streq(p->result, "success"));
}

bool kiosk_note(struct kiosk *k, const struct kiosk_properties *p, uint64_t now)
{
	bool first = memcmp(k->now.invocation, no_invocation, 16) == 0;
	bool none = memcmp(p->invocation, no_invocation, 16) == 0;
	bool other = !none && memcmp(k->now.invocation, p->invocation, 16) != 0;
	uint8_t last[16];

	k->broke = false;
	/* What was needed for it is there again. */
	if (other && kiosk_has_ended(k) && p->auto_restarts == 0)
		k->over = true;
	if (other && !first && !k->over) {
		if (k->restart_count < KIOSK_RESTARTS_MAX)
			k->restart_count++;
		memmove(&k->restarts[1], &k->restarts[0],
			(k->restart_count - 1) * sizeof(k->restarts[0]));
		k->restarts[0] = now;
		k->broke = true;
	}
	/* Between two invocations there is none: the last one is still what the next differs from.
	 */
	memcpy(last, none ? k->now.invocation : p->invocation, 16);
	if (other) {
		/* Stopped before the guard came. */
		k->over = first && streq(p->active, "inactive");
		/* The last answer was about another one. */
		k->began = k->now.asked;
		k->main_seen = false;
	}
	/* One that takes over later (MAINPID=) is no beginning. */
	if (!k->main_seen && p->main_started) {
		k->began = p->main_started;
		k->main_seen = true;
	}
	k->now = *p;
	memcpy(k->now.invocation, last, 16);
	k->known = true;
	if (activity_of(p->active) == ACTIVITY_UP)
		k->ever_active = true;
	if (!streq(p->active, "failed"))
		k->failed_since = 0;
	else if (k->failed_since == 0)
		k->failed_since = now;
	return other && !first;
}

void kiosk_lost(struct kiosk *k, uint64_t now)
{
	if (k->known) /* else still since then, or since the kernel started */
		k->unknown_since = now;
	k->known = false;
}

void kiosk_forget(struct kiosk *k, uint64_t now)
{
	k->restart_count = 0;
	k->failed_since = 0;
	k->over = true;
	kiosk_lost(k, now);
}

bool kiosk_is_missing(const struct kiosk *k)
{
	static const char *const loads[] = { "not-found", "masked", "error", "bad-setting" };

	for (size_t i = 0; i < ARRAY_SIZE(loads); i++)
		if (k->known && streq(k->now.load, loads[i]))
			return true;
	return false;
}

unsigned kiosk_restarts(const struct kiosk *k, const struct config *c, uint64_t now)
{
	unsigned n = 0;

	while (n < k->restart_count && now - k->restarts[n] <= c->crash_window)
		n++;
	return n;
}

const char *kiosk_name(const struct kiosk *k, const char *configured)
{
	return *k->now.id ? k->now.id : configured;
}

bool kiosk_beats(const struct kiosk *k)
{
	return k->known && activity_of(k->now.active) == ACTIVITY_UP && k->now.watchdog_usec &&
	       k->now.watchdog_at > k->now.active_at;
}

/* @path is one of the unified hierarchy, without its first "/". */
static bool is_of_unit(const char *unit, const char *path)
{
	static const char slice[] = ".slice";
	size_t len = strcspn(path, "/\n");

	while (path[len] == '/' && len >= sizeof(slice) &&
	       memcmp(path + len - strlen(slice), slice, strlen(slice)) == 0) {
		path += len + 1;
		len = strcspn(path, "/\n");
	}
	/* Put before names that the kernel could take for its own. */
	if (*path == '_')
		path++, len--;
	return strlen(unit) == len && memcmp(path, unit, len) == 0;
}

/* Without its first "/"; NULL: there is none. */
static const char *unified_path(const char *text)
{
	for (const char *line = text; line; line = strchr(line, '\n')) {
		const char *path;

		line += *line == '\n';
		path = startswith(line, "0::/");
		if (path)
			return path;
	}
	return NULL;
}

bool kiosk_owns(const char *unit, const char *text)
{
	const char *path = unified_path(text);

	return path && is_of_unit(unit, path);
}

bool kiosk_shares_group(const char *text, const char *other)
{
	const char *a = unified_path(text), *b = unified_path(other);
	size_t len = a ? strcspn(a, "\n") : 0;

	return b && len > 0 && strcspn(b, "\n") == len && memcmp(a, b, len) == 0;
}

void kiosk_judge(const struct kiosk *k, const struct config *c, uint64_t now, struct judgement *ret)
{
	enum reason dead = k->ever_active ? REASON_KIOSK_NOT_ALIVE : REASON_KIOSK_NEVER_STARTED;
	const struct kiosk_properties *p = &k->now;
	unsigned restarts = kiosk_restarts(k, c, now);

	*ret = (struct judgement) { .again = POLICY_NEVER };
	if (!k->known) {
		/* D-Bus may come back. In the emergency mode, or with a bus that died for good, it
		 * does not: nothing can be updated or repaired any more, whatever the kiosk does.
		 */
		bool lasts = now - k->unknown_since >= c->policy.start_deadline;

		judge(ret, lasts ? VERDICT_FAIL : VERDICT_INCONCLUSIVE,
		      lasts ? REASON_NO_BUS : REASON_NONE, "systemd does not answer");
		if (!lasts)
			ret->again = k->unknown_since + c->policy.start_deadline;
	} else if (kiosk_is_missing(k)) {
		judge(ret, VERDICT_INCONCLUSIVE, REASON_NONE, "no kiosk to judge: the unit is %s",
		      p->load);
	} else if (restarts >= c->crashes) {
		judge(ret, VERDICT_HOPELESS, REASON_KIOSK_RESTARTS, "%u restarts in a short time",
		      restarts);
		ret->again = k->restarts[c->crashes - 1] + c->crash_window + 1;
	} else if (kiosk_has_ended(k)) {
		judge(ret, VERDICT_INCONCLUSIVE, REASON_NONE, "%s (%s): %s", p->active, p->sub,
		      was_skipped(p) ? "its conditions do not hold" : "it ended as it wanted");
	} else if (activity_of(p->active) == ACTIVITY_UP) {
		judge(ret, VERDICT_PASS, REASON_NONE, "%s (%s)", p->active, p->sub);
	} else if (activity_of(p->active) == ACTIVITY_UNKNOWN) {
		judge(ret, VERDICT_INCONCLUSIVE, REASON_NONE,
		      "systemd says \"%s\" of it, which is not known", p->active);
	} else if (k->failed_since && now - k->failed_since >= c->failed_grace) {
		judge(ret, VERDICT_HOPELESS, dead, "failed (%s)", p->result);
	} else {
		judge(ret, VERDICT_FAIL, dead, "%s (%s)", p->active, p->sub);
		if (k->failed_since)
			ret->again = k->failed_since + c->failed_grace;
	}
}

/* ---- D-Bus ------------------------------------------------------------------- */

static void take_word(char to[static KIOSK_WORD_MAX + 1], const char *from)
{
	(void)snprintf(to, KIOSK_WORD_MAX + 1, "%s", from);
	text_clean_ascii(to, '?');
}

enum property_type {
	PROPERTY_WORD,
	PROPERTY_NAME,
	PROPERTY_U64,
	PROPERTY_U32,
	PROPERTY_FLAG,
	PROPERTY_ID
};

static const struct property {
	const char *name, *signature;
	enum property_type type;
	size_t at;
} properties[] = {
	{ "Id", "s", PROPERTY_NAME, offsetof(struct kiosk_properties, id) },
	{ "LoadState", "s", PROPERTY_WORD, offsetof(struct kiosk_properties, load) },
	{ "ActiveState", "s", PROPERTY_WORD, offsetof(struct kiosk_properties, active) },
	{ "SubState", "s", PROPERTY_WORD, offsetof(struct kiosk_properties, sub) },
	{ "Result", "s", PROPERTY_WORD, offsetof(struct kiosk_properties, result) },
	{ "InvocationID", "ay", PROPERTY_ID, offsetof(struct kiosk_properties, invocation) },
	{ "WatchdogUSec", "t", PROPERTY_U64, offsetof(struct kiosk_properties, watchdog_usec) },
	{ "WatchdogTimestampMonotonic", "t", PROPERTY_U64,
	  offsetof(struct kiosk_properties, watchdog_at) },
	{ "ActiveEnterTimestampMonotonic", "t", PROPERTY_U64,
	  offsetof(struct kiosk_properties, active_at) },
	{ "InactiveEnterTimestampMonotonic", "t", PROPERTY_U64,
	  offsetof(struct kiosk_properties, inactive_at) },
	{ "ConditionTimestampMonotonic", "t", PROPERTY_U64,
	  offsetof(struct kiosk_properties, condition_at) },
	{ "ConditionResult", "b", PROPERTY_FLAG, offsetof(struct kiosk_properties, condition) },
	{ "User", "s", PROPERTY_WORD, offsetof(struct kiosk_properties, user) },
	{ "UID", "u", PROPERTY_U32, offsetof(struct kiosk_properties, uid) },
	{ "NRestarts", "u", PROPERTY_U32, offsetof(struct kiosk_properties, auto_restarts) },
	{ "MainPID", "u", PROPERTY_U32, offsetof(struct kiosk_properties, main_pid) },
};

static int read_value(sd_bus_message *m, const struct property *property,
		      struct kiosk_properties *p)
{
	char *at = (char *)p + property->at;
	const void *bytes;
	const char *word;
	size_t len;
	int r;

	r = sd_bus_message_enter_container(m, 'v', property->signature);
	if (r < 0)
		return r;
	switch (property->type) {
	case PROPERTY_WORD:
		r = sd_bus_message_read_basic(m, 's', &word);
		if (r >= 0)
			take_word(at, word);
		break;
	case PROPERTY_NAME:
		r = sd_bus_message_read_basic(m, 's', &word);
		if (r >= 0)
			(void)snprintf(at, CONFIG_NAME_MAX + 1, "%s", word);
		break;
	case PROPERTY_U64:
	case PROPERTY_U32:
	case PROPERTY_FLAG: /* an int, as sd-bus has it */
		r = sd_bus_message_read_basic(m, *property->signature, at);
		break;
	case PROPERTY_ID:
		r = sd_bus_message_read_array(m, 'y', &bytes, &len);
		if (r >= 0 && len == 16)
			memcpy(at, bytes, 16);
		break;
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

int kiosk_read(sd_bus_message *m, struct kiosk_properties *p)
{
	struct kiosk_properties new = *p;
	int r = sd_bus_message_enter_container(m, 'a', "{sv}");

	if (r < 0)
		return r;
	while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		const struct property *found = NULL;
		const char *name;

		r = sd_bus_message_read_basic(m, 's', &name);
		if (r < 0)
			return r;
		for (size_t i = 0; i < ARRAY_SIZE(properties); i++)
			if (streq(properties[i].name, name))
				found = &properties[i];
		r = found ? read_value(m, found, &new) : sd_bus_message_skip(m, "v");
		if (r < 0)
			return r;
		r = sd_bus_message_exit_container(m);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	/* systemd's "infinity": no watchdog. */
	if (new.watchdog_usec == UINT64_MAX)
		new.watchdog_usec = 0;
	*p = new;
	return 0;
}
