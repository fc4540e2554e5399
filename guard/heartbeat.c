// SPDX-License-Identifier: MIT
#include "guard/heartbeat.h"
#include "guard/process.h"

#include "boot/io.h"
#include "boot/sys.h"

#include <fcntl.h>
#include <linux/magic.h>

/* ---- datagrams ------------------------------------------------------------ */

/* Keeps what a terminal and a journal can show; a cut UTF-8 sequence goes as a whole. */
static void take_status(struct notify *n, const char *s, size_t len)
{
	size_t out = 0;

	for (size_t i = 0; i < len && out < NOTIFY_STATUS_MAX; i++)
		n->status[out++] = s[i];
	while (out == NOTIFY_STATUS_MAX && out > 0 && ((unsigned char)n->status[out - 1] & 0x80)) {
		bool lead = ((unsigned char)n->status[--out] & 0xc0) == 0xc0;

		if (lead)
			break;
	}
	n->status[out] = '\0';
	text_clean(n->status, '?');
	n->has_status = true;
}

static bool is_line(const char *line, size_t len, const char *want)
{
	return strlen(want) == len && memcmp(line, want, len) == 0;
}

static bool parse_line(struct notify *n, const char *line, size_t len)
{
	static const char status[] = "STATUS=";

	if (is_line(line, len, "READY=1"))
		n->ready = true;
	else if (is_line(line, len, "WATCHDOG=1"))
		n->watchdog = true;
	else if (is_line(line, len, "WATCHDOG=trigger"))
		n->trigger = true;
	else if (is_line(line, len, "X_BF_TRY=1"))
		n->asks_trial = true;
	else if (is_line(line, len, "X_BF_SERVER=1"))
		n->server = SERVER_ANSWERED;
	else if (is_line(line, len, "X_BF_SERVER=0"))
		n->server = SERVER_SILENT;
	else if (is_line(line, len, "X_BF_SERVER=clock"))
		n->server = SERVER_CLOCK;
	else if (len >= sizeof(status) - 1 && memcmp(line, status, sizeof(status) - 1) == 0)
		take_status(n, line + sizeof(status) - 1, len - (sizeof(status) - 1));
	else
		return false;
	return true;
}

int notify_parse(const char *data, size_t len, struct notify *ret)
{
	struct notify n = { 0 };
	bool any = false;

	if (len == 0 || len > NOTIFY_MAX || memchr(data, '\0', len))
		return -EBADMSG;
	while (len > 0) {
		const char *end = memchr(data, '\n', len);
		size_t line = end ? (size_t)(end - data) : len;

		any |= parse_line(&n, data, line);
		line += end ? 1 : 0;
		data += line;
		len -= line;
	}
	if (!any)
		return -EBADMSG;
	*ret = n;
	return 0;
}

/* ---- whose signs they are -------------------------------------------------------- */

static void server_answered(struct heartbeat *h, uint64_t at)
{
	if (h->server_at == 0)
		h->server_at = at;
	if (at > h->server_last)
		h->server_last = at;
}

static void count(struct heartbeat *h, const struct notify *n, uint64_t at)
{
	if (n->ready || n->watchdog) {
		h->beat_at = at > h->beat_at ? at : h->beat_at;
		if (at >= h->broken_at)
			h->broken_at = 0;
	}
	if (n->watchdog)
		h->periodic = true;
	if (n->trigger && at >= h->beat_at)
		h->broken_at = at;
	if (n->ready || n->watchdog || n->trigger)
		h->beat_ever = true;
	if (n->server != SERVER_UNSAID)
		h->server = n->server;
	if (n->server == SERVER_ANSWERED)
		server_answered(h, at);
	if (n->has_status)
		memcpy(h->status, n->status, sizeof(h->status));
}

/* False: it cannot be told yet whose it is. */
static bool attribute(struct heartbeat *h, const struct held *held)
{
	if (held->at > h->told && held->started + PROCESS_TICK > h->told)
		return false;
	if (held->started + PROCESS_TICK > h->began)
		count(h, &held->notify, held->at);
	else
		h->refused++;
	return true;
}

void heartbeat_hear(struct heartbeat *h, const struct notify *n, uint64_t started, uint64_t now)
{
	const struct held held = { .notify = *n, .started = started, .at = now };

	if (attribute(h, &held))
		return;
	if (h->held_count < HEARTBEAT_HELD_MAX)
		h->held[h->held_count++] = held;
	else
		h->refused++;
}

void heartbeat_see(struct heartbeat *h, uint64_t stamp, uint64_t changed, uint64_t now)
{
	if (stamp != 0 && stamp != h->marker_stamp) {
		h->marker_seen = now;
		h->marker_before = h->marker_looked;
		h->marker_changed = changed;
	}
	h->marker_stamp = stamp;
	h->marker_looked = now;
}

static void attribute_marker(struct heartbeat *h, const struct config *c)
{
	uint64_t at = 0;

	if (h->marker_seen == 0 || h->marker_seen > h->told)
		return;
	if (h->marker_before >= h->began + PROCESS_TICK)
		at = h->marker_seen;
	else if (h->marker_changed + PROCESS_TICK > h->began && h->marker_changed <= h->marker_seen)
		at = h->marker_changed;
	h->marker_seen = 0;
	if (at == 0)
		return;
	h->renewed = h->marker_at != 0;
	h->marker_at = at;
	if (c->marker_proves == MARKER_PROVES_SERVER)
		server_answered(h, at);
	else
		h->beat_ever = true;
}

void heartbeat_forget(struct heartbeat *h)
{
	h->beat_at = h->broken_at = h->marker_at = h->server_at = 0;
	h->periodic = h->renewed = h->unit_beats = false;
	h->server = SERVER_UNSAID;
	*h->status = '\0';
}

bool heartbeat_follow(struct heartbeat *h, const struct config *c, const struct kiosk *k)
{
	size_t left = 0;

	h->unit_known = k->known;
	h->unit_ended = kiosk_has_ended(k);
	if (!k->known)
		return false;
	if (memcmp(h->invocation, k->now.invocation, sizeof(h->invocation)) != 0) {
		heartbeat_forget(h);
		memcpy(h->invocation, k->now.invocation, sizeof(h->invocation));
	}
	h->began = k->began;
	h->told = k->now.asked;
	h->unit_watchdog = k->now.watchdog_usec;
	h->unit_beats = h->unit_beats || kiosk_beats(k);
	h->beat_ever = h->beat_ever || h->unit_beats;
	for (size_t i = 0; i < h->held_count; i++)
		if (!attribute(h, &h->held[i]))
			h->held[left++] = h->held[i];
	h->held_count = left;
	attribute_marker(h, c);
	return left > 0 || h->marker_seen;
}

/* ---- what it means ---------------------------------------------------------- */

/* A sign proves something until @age after @at. */
static bool is_fresh(struct judgement *j, uint64_t at, uint64_t age, uint64_t now)
{
	if (at == 0 || now - at >= age)
		return false;
	if (at + age < j->again)
		j->again = at + age;
	return true;
}

/* Nothing fresh was heard of it, and what is to come, the server hears first. */
static bool may_wait_for_server(const struct heartbeat *h, const struct config *c, uint64_t now)
{
	bool may = c->heartbeat_required && *c->marker &&
		   c->marker_proves == MARKER_PROVES_SERVER && !h->unit_watchdog &&
		   c->server_required && !h->beat_ever;
	bool heard = h->marker_at && (c->heartbeat_once || now - h->marker_at < c->marker_max_age);

	return may && !heard;
}

bool heartbeat_through_server(const struct heartbeat *h, const struct config *c, uint64_t now)
{
	return h->in_trial && may_wait_for_server(h, c, now);
}

static void pass(struct judgement *j, const char *why)
{
	judge(j, VERDICT_PASS, REASON_NONE, "%s", why);
}

static void silent(struct judgement *j, const char *why)
{
	judge(j, VERDICT_FAIL, REASON_KIOSK_SILENT, "%s", why);
}

static void inconclusive(struct judgement *j, const char *why)
{
	judge(j, VERDICT_INCONCLUSIVE, REASON_NONE, "%s", why);
}

/* Neither broken nor fresh. */
static void judge_old(const struct heartbeat *h, const struct config *c, uint64_t now,
		      struct judgement *ret)
{
	bool once = h->beat_at || h->marker_at || h->unit_beats;

	if (c->heartbeat_once && once)
		pass(ret, "it gave a sign once (once=yes): that it hangs would not be noticed");
	else if (h->unit_ended)
		inconclusive(ret, "its unit has ended as it wanted");
	else if (!h->unit_known && h->held_count)
		inconclusive(ret, "it beats, but systemd does not say which one of it");
	else if (h->unit_beats)
		inconclusive(ret, "WatchdogSec= of its unit is not shorter than the window");
	else if (heartbeat_through_server(h, c, now))
		pass(ret, "it beats only through the server");
	else if (may_wait_for_server(h, c, now))
		inconclusive(ret, "it beats only through the server, which may be silent");
	else
		silent(ret, once ? "its last sign of life is too old" : "no heartbeat yet");
}

void heartbeat_judge(const struct heartbeat *h, const struct config *c, uint64_t now,
		     struct judgement *ret)
{
	/* Whose they are can only be told with systemd's help. */
	bool told = h->unit_known || h->held_count == 0, beat, marker;

	*ret = (struct judgement) { .again = POLICY_NEVER };
	beat = is_fresh(ret, h->beat_at, c->heartbeat_max_age, now);
	marker = is_fresh(ret, h->marker_at, c->marker_max_age, now);
	/* A sign that is renewed and stops says more than all that go on: a part of it hangs. */
	if (!c->heartbeat_required)
		pass(ret, "not required");
	else if (h->broken_at)
		silent(ret, "the kiosk says that it is broken");
	else if (h->periodic && !beat && !h->unit_ended && told)
		silent(ret, "its heartbeats stopped");
	else if (h->renewed && !marker && c->marker_proves == MARKER_PROVES_LOCAL && !h->unit_ended)
		silent(ret, "its marker file is not renewed");
	else if (beat)
		pass(ret, "it beats");
	else if (marker)
		pass(ret, "it renews its marker file");
	else if (h->unit_beats && h->unit_watchdog < c->policy.window)
		pass(ret, "it feeds the watchdog of its unit");
	else
		judge_old(h, c, now, ret);
}

void server_judge(const struct heartbeat *h, const struct config *c, uint64_t now,
		  struct judgement *ret)
{
	bool through = heartbeat_through_server(h, c, now);
	enum reason reason = through ? REASON_KIOSK_SILENT : REASON_SERVER_SILENT;

	*ret = (struct judgement) { .again = POLICY_NEVER };
	if (!c->server_required)
		pass(ret, "not required");
	else if (h->server_at && !through)
		pass(ret, "it answered");
	else if (h->server == SERVER_CLOCK)
		inconclusive(ret, "the clock is not set, so it could not be judged");
	else if (h->server == SERVER_SILENT)
		judge(ret, VERDICT_FAIL, reason, "the kiosk does not reach it");
	else
		judge(ret, VERDICT_FAIL, reason, "%s",
		      h->server_at ? "no answer any more" : "no answer yet");
}

/* ---- the marker file ------------------------------------------------------------ */

int marker_check(int root_fd, const char *path, uid_t uid, uint64_t *ret_stamp,
		 uint64_t *ret_changed, const char **ret_why)
{
	_cleanup_close_ int fd = -1;
	char self[32];
	uint64_t magic;
	struct stat st;

	path += strspn(path, "/");
	/* O_PATH: what a kiosk leaves there, a pipe for example, must not be opened. */
	fd = sys_open_beneath(root_fd, path, O_PATH | O_NOFOLLOW, 0);
	*ret_why = "there is none";
	if (fd < 0) {
		if (fd == -ELOOP)
			*ret_why = "there is a symbolic link on the way";
		return 0;
	}
	if (sys_fstat(fd, &st) < 0)
		return 0;
	*ret_why = "it is not a regular file";
	if (!S_ISREG(st.st_mode))
		return 0;
	*ret_why = "it is not the kiosk's";
	if (st.st_uid != uid && st.st_uid != 0)
		return 0;
	*ret_why = "it is empty";
	if (st.st_size == 0)
		return 0;
	/* The clock may have been set since: only what cannot survive a boot is surely of this one.
	 */
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	*ret_why = "it is not in memory (tmpfs), so it may be of an earlier boot";
	if (sys_statfs_type(self, &magic) < 0 || (magic != TMPFS_MAGIC && magic != RAMFS_MAGIC))
		return 0;
	*ret_why = "it is there";
	*ret_stamp = ((uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec) ^
		     (uint64_t)st.st_ino << 40 ^ (uint64_t)st.st_size;
	*ret_stamp += *ret_stamp == 0;
	*ret_changed = (uint64_t)st.st_ctim.tv_sec * 1000000 + (uint64_t)st.st_ctim.tv_nsec / 1000;
	return 1;
}

/* ---- the network ------------------------------------------------------------------ */

/* /proc/net/route: "Iface Destination Gateway Flags …", hex; 00000000 with RTF_UP is the default.
 */
bool route4_has_default(const char *text)
{
	const char *line = strchr(text, '\n');

	for (; line; line = strchr(line, '\n')) {
		char device[32], destination[16], flags[16];

		line++;
		if (sscanf(line, "%31s %15s %*s %15s", device, destination, flags) == 3 &&
		    streq(destination, "00000000") && !streq(device, "lo")) {
			uint32_t value;

			if (parse_u32(flags, 16, &value) == 0 && (value & 1))
				return true;
		}
	}
	return false;
}

/* /proc/net/ipv6_route: destination, prefix, source, prefix, next hop, metric, ref, use, flags,
 * device. An unreachable default is there without any network: it names lo. */
bool route6_has_default(const char *text)
{
	for (const char *line = text; line && *line;
	     line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		char destination[40], prefix[8], flags[16], device[32];
		uint32_t value;

		if (sscanf(line, "%39s %7s %*s %*s %*s %*s %*s %*s %15s %31s", destination, prefix,
			   flags, device) == 4 &&
		    strspn(destination, "0") == 32 && streq(prefix, "00") && !streq(device, "lo") &&
		    parse_u32(flags, 16, &value) == 0 && (value & 1))
			return true;
	}
	return false;
}
