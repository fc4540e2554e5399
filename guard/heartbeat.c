// SPDX-License-Identifier: MIT
#include "guard/heartbeat.h"

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
		n->status[out++] = text_is_control(s[i]) ? '?' : s[i];
	while (out == NOTIFY_STATUS_MAX && out > 0 && ((unsigned char)n->status[out - 1] & 0x80)) {
		bool lead = ((unsigned char)n->status[--out] & 0xc0) == 0xc0;

		if (lead)
			break;
	}
	n->status[out] = '\0';
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

void heartbeat_note(struct heartbeat *h, const struct notify *n, uint64_t now)
{
	if (n->ready || n->watchdog) {
		h->beat_at = now;
		h->broken = false;
	}
	if (n->watchdog)
		h->periodic = true;
	if (n->trigger)
		h->broken = true;
	if (n->server == SERVER_UNSAID)
		return;
	h->server = n->server;
	if (n->server == SERVER_ANSWERED) {
		h->server_last = now;
		if (h->server_at == 0)
			h->server_at = now;
	}
}

void heartbeat_note_marker(struct heartbeat *h, const struct config *c, bool there, uint64_t now)
{
	h->marker_at = there ? now : 0;
	if (!there || c->marker_proves != MARKER_PROVES_SERVER)
		return;
	if (h->server_at == 0)
		h->server_at = now;
	/* Only a marker that is renewed can tell when the server was heard last. */
	if (c->marker_max_age)
		h->server_last = now;
}

void heartbeat_forget(struct heartbeat *h)
{
	h->beat_at = 0;
	h->periodic = h->broken = h->unit_beats = false;
}

/* ---- what it means ---------------------------------------------------------- */

/* A sign that is renewed: fresh until @age after @at. */
static bool is_stale(struct judgement *j, uint64_t at, uint64_t age, uint64_t now)
{
	if (now - at >= age)
		return true;
	if (at + age < j->again)
		j->again = at + age;
	return false;
}

bool heartbeat_through_server(const struct heartbeat *h, const struct config *c)
{
	bool heard = h->broken || h->beat_at || h->marker_at || h->unit_beats;

	return !heard && c->heartbeat_required && *c->marker &&
	       c->marker_proves == MARKER_PROVES_SERVER && !h->unit_watchdog && c->server_required;
}

static void pass(struct judgement *j, const char *why)
{
	judge(j, VERDICT_PASS, REASON_NONE, "%s", why);
}

static void silent(struct judgement *j, const char *why)
{
	judge(j, VERDICT_FAIL, REASON_KIOSK_SILENT, "%s", why);
}

void heartbeat_judge(const struct heartbeat *h, const struct config *c, uint64_t now,
		     struct judgement *ret)
{
	bool marker = h->marker_at != 0;

	*ret = (struct judgement) { .again = POLICY_NEVER };
	/* One renewed sign that stops says more than an old one that was given once. */
	if (!c->heartbeat_required)
		pass(ret, "not required");
	else if (h->broken)
		silent(ret, "the kiosk says that it is broken");
	else if (h->periodic && is_stale(ret, h->beat_at, c->heartbeat_max_age, now))
		silent(ret, "its heartbeats stopped");
	else if (marker && c->marker_max_age && is_stale(ret, h->marker_at, c->marker_max_age, now))
		silent(ret, "its marker file is not renewed");
	else if (h->beat_at)
		pass(ret, "it beats");
	else if (marker)
		pass(ret, "its marker file is there");
	else if (h->unit_beats)
		pass(ret, "it feeds the watchdog of its unit");
	else if (heartbeat_through_server(h, c))
		pass(ret, "it beats only through the server");
	else
		silent(ret, "no heartbeat yet");
}

void server_judge(const struct heartbeat *h, const struct config *c, struct judgement *ret)
{
	enum reason reason =
		heartbeat_through_server(h, c) ? REASON_KIOSK_SILENT : REASON_SERVER_SILENT;

	*ret = (struct judgement) { .again = POLICY_NEVER };
	if (!c->server_required)
		pass(ret, "not required");
	else if (h->server_at || (h->marker_at && c->marker_proves == MARKER_PROVES_SERVER))
		pass(ret, "it answered");
	else if (h->server == SERVER_CLOCK)
		judge(ret, VERDICT_INCONCLUSIVE, REASON_NONE,
		      "the clock is not set, so it could not be judged");
	else if (h->server == SERVER_SILENT)
		judge(ret, VERDICT_FAIL, reason, "the kiosk does not reach it");
	else
		judge(ret, VERDICT_FAIL, reason, "no answer yet");
}

/* ---- the marker file ------------------------------------------------------------ */

int marker_check(int root_fd, const char *path, uid_t uid, uint64_t *ret_stamp,
		 const char **ret_why)
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
