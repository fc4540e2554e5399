// SPDX-License-Identifier: MIT
/* What the guard hears and sees, and what it makes of it: heartbeats, the unit, RAUC. */
#include "guard/device.h"
#include "guard/heartbeat.h"
#include "guard/journal.h"
#include "guard/kiosk.h"
#include "guard/link.h"
#include "guard/process.h"

#include "boot/sys.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEC UINT64_C(1000000)

/* ---- who beats ---------------------------------------------------------------------- */

static void test_control_groups(void)
{
	static const char unit[] = "kiosk.service";
	static const struct {
		const char *text;
		bool owns;
	} rows[] = {
		{ "0::/system.slice/kiosk.service\n", true },
		{ "0::/system.slice/kiosk.service", true },
		{ "0::/system.slice/kiosk.service/browser\n", true },
		{ "0::/kiosk.service\n", true },
		{ "0::/a.slice/a-b.slice/kiosk.service\n", true },
		{ "1:name=systemd:/x\n0::/system.slice/kiosk.service\n", true },
		{ "0::/system.slice/_kiosk.service\n", true },
		{ "1:name=systemd:/system.slice/kiosk.service\n0::/\n", false },
		{ "0::/system.slice/kiosk.service.slice\n", false },
		{ "0::/system.slice/kiosk.servic\n", false },
		{ "0::/system.slice/kiosk.services\n", false },
		{ "0::/system.slice/other.service\n", false },
		{ "0::/system.slice/other.service/kiosk.service\n", false },
		{ "0::/user.slice/user-1000.slice/user@1000.service/app.slice/kiosk.service\n",
		  false },
		{ "0::/.slice/kiosk.service\n", false },
		{ "0::/system.slice/\n", false },
		{ "0::/system.slice\n", false },
		{ "0::/\n", false },
		{ "0::", false },
		{ "\n\n", false },
		{ "", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		ok(kiosk_owns(unit, rows[i].text) == rows[i].owns, "control group %zu", i);
	ok(kiosk_owns("_x.service", "0::/system.slice/__x.service"), "an escaped name");
	ok(kiosk_shares_group("0::/user.slice/session-1.scope\n",
			      "1:name=systemd:/y\n0::/user.slice/session-1.scope"),
	   "the group of the main process");
	ok(!kiosk_shares_group("0::/user.slice/session-1.scope\n",
			       "0::/user.slice/session-12.scope"),
	   "another group");
	ok(!kiosk_shares_group("0::/\n", "0::/\n") && !kiosk_shares_group("", "") &&
		   !kiosk_shares_group("0::/a\n", ""),
	   "no group is no group in common");
}

/* ---- datagrams ---------------------------------------------------------------- */

static void test_datagrams(void)
{
	static const struct {
		const char *text;
		int r;
		bool ready, watchdog, trigger;
		enum server_word server;
		const char *status;
	} rows[] = {
		{ "READY=1", 0, .ready = true },
		{ "READY=1\n", 0, .ready = true },
		{ "WATCHDOG=1\nSTATUS=all well\n", 0, .watchdog = true, .status = "all well" },
		{ "WATCHDOG=trigger", 0, .trigger = true },
		{ "X_BF_SERVER=1", 0, .server = SERVER_ANSWERED },
		{ "X_BF_SERVER=0", 0, .server = SERVER_SILENT },
		{ "X_BF_SERVER=clock", 0, .server = SERVER_CLOCK },
		{ "MAINPID=1\nREADY=1", 0, .ready = true },
		{ "STATUS=", 0, .status = "" },
		{ "STATUS=a\tb\x7f", 0, .status = "a?b?" },
		{ "READY=0", -EBADMSG },
		{ "READY=11", -EBADMSG },
		{ " READY=1", -EBADMSG },
		{ "ready=1", -EBADMSG },
		{ "X_BF_SERVER=2", -EBADMSG },
		{ "MAINPID=1", -EBADMSG },
		{ "\n\n", -EBADMSG },
		{ "", -EBADMSG },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct notify n = { 0 };
		int r = notify_parse(rows[i].text, strlen(rows[i].text), &n);

		ok(r == rows[i].r && n.ready == rows[i].ready && n.watchdog == rows[i].watchdog &&
			   n.trigger == rows[i].trigger && n.server == rows[i].server &&
			   n.has_status == (rows[i].status != NULL) &&
			   (!rows[i].status || streq(n.status, rows[i].status)),
		   "datagram %zu", i);
	}
}

static void test_long_datagrams(void)
{
	char text[NOTIFY_MAX + 2];
	struct notify n;

	memset(text, 'x', sizeof(text));
	memcpy(text, "STATUS=", 7);
	ok_int(notify_parse(text, NOTIFY_MAX, &n), 0, "a long status");
	ok_int(strlen(n.status), NOTIFY_STATUS_MAX, "is cut");
	ok_int(notify_parse(text, NOTIFY_MAX + 1, &n), -EBADMSG, "too long");
	ok_int(notify_parse("READY=1\0", 8, &n), -EBADMSG, "a NUL");
	for (size_t i = 7; i + 1 < NOTIFY_MAX; i += 2)
		memcpy(text + i, "\xc3\xa4", 2);
	ok_int(notify_parse(text, NOTIFY_MAX - 1, &n), 0, "UTF-8");
	ok(strlen(n.status) == NOTIFY_STATUS_MAX - 1 || strlen(n.status) == NOTIFY_STATUS_MAX - 2,
	   "is not cut within a character");
}

/* ---- the marker file ------------------------------------------------------------------ */

static int look(const char *path, uid_t uid, const char **why)
{
	int root = sys_open("/", O_RDONLY | O_DIRECTORY, 0), r;
	uint64_t stamp = 0, changed = 0;

	r = marker_check(root, path, uid, &stamp, &changed, why);
	(void)sys_close(root);
	return r;
}

static void test_marker(void)
{
	uid_t me = getuid();
	const char *why;

	fake_reset();
	ok_int(look("/run/k/m", me, &why), 0, "there is none");
	fake_file("/run/k/m", "ok\n");
	ok_int(look("/run/k/m", me, &why), 1, "there is one: %s", why);
	if (me != 0)
		ok_int(look("/run/k/m", me + 1, &why), 0, "somebody else's");
	else
		ok_int(look("/run/k/m", 4711, &why), 1, "root's");
	fake_file("/run/k/empty", "");
	ok_int(look("/run/k/empty", me, &why), 0, "an empty one");
	fake_symlink("m", "/run/k/link");
	ok_int(look("/run/k/link", me, &why), 0, "a link");
	fake_symlink("k", "/run/way");
	ok_int(look("/run/way/m", me, &why), 0, "a link on the way");
	fake_dir("/run/k/dir");
	ok_int(look("/run/k/dir", me, &why), 0, "a directory");
	ok_int(fake_open_fds(), 0, "nothing stays open");
}

static void test_routes(void)
{
	static const char head[] = "Iface\tDestination\tGateway "
				   "\tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
	_cleanup_free_ char *with =
		strf("%seth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n", head);
	_cleanup_free_ char *without =
		strf("%seth0\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", head);

	ok(with && route4_has_default(with), "a default route");
	ok(without && !route4_has_default(without), "only a local one");
	ok(!route4_has_default("") && !route4_has_default(head), "none");
	ok(route6_has_default(
		   "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
		   "fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n"),
	   "a default route, IPv6");
	ok(!route6_has_default(
		   "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
		   "00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo\n"),
	   "the unreachable one is none");
	ok(!route6_has_default(""), "none");
}

/* ---- the unit ----------------------------------------------------------------------------- */

static struct kiosk_properties unit(const char *active, const char *sub, uint8_t invocation)
{
	struct kiosk_properties p = { .load = "loaded", .result = "success", .uid = 1000 };

	(void)snprintf(p.active, sizeof(p.active), "%s", active);
	(void)snprintf(p.sub, sizeof(p.sub), "%s", sub);
	p.invocation[0] = invocation;
	return p;
}

static enum verdict see(struct kiosk *k, const struct config *c, struct kiosk_properties p,
			uint64_t now)
{
	struct judgement j;

	(void)kiosk_note(k, &p, now);
	kiosk_judge(k, c, now, &j);
	return j.verdict;
}

static void test_unit(void)
{
	struct kiosk k = { 0 };
	struct judgement j;
	struct config c;

	config_init(&c);
	kiosk_judge(&k, &c, SEC, &j);
	ok_int(j.verdict, VERDICT_INCONCLUSIVE, "systemd has not answered");
	ok_int(see(&k, &c, unit("inactive", "dead", 0), SEC), VERDICT_FAIL, "not started");
	kiosk_judge(&k, &c, SEC, &j);
	ok_int(j.reason, REASON_KIOSK_NEVER_STARTED, "never yet");
	ok_int(see(&k, &c, unit("activating", "start", 1), SEC), VERDICT_FAIL, "starting");
	ok_int(see(&k, &c, unit("active", "running", 1), 2 * SEC), VERDICT_PASS, "it runs");
	ok(!k.broke, "its first start is no restart");
	ok_int(see(&k, &c, unit("active", "exited", 1), 2 * SEC), VERDICT_INCONCLUSIVE,
	       "all of it is done");
	ok_int(see(&k, &c, unit("reloading", "reload", 1), 2 * SEC), VERDICT_PASS, "it reloads");
	ok_int(see(&k, &c, unit("refreshing", "refresh", 1), 2 * SEC), VERDICT_PASS,
	       "it refreshes, as of systemd 257");
	ok_int(see(&k, &c, unit("maintenance", "cleaning", 1), 2 * SEC), VERDICT_FAIL, "cleaned");
	ok_int(see(&k, &c, unit("hibernating", "dreaming", 1), 2 * SEC), VERDICT_INCONCLUSIVE,
	       "a state of a systemd to come says nothing");
	kiosk_judge(&k, &c, 2 * SEC, &j);
	ok_str(j.why, "systemd says \"hibernating\" of it, which is not known", "which is told");
	ok_int(see(&k, &c, unit("failed", "failed", 1), 10 * SEC), VERDICT_FAIL,
	       "failed, for a moment");
	ok_int(see(&k, &c, unit("activating", "auto-restart", 0), 11 * SEC), VERDICT_FAIL,
	       "systemd restarts it");
	ok_int(see(&k, &c, unit("active", "running", 2), 12 * SEC), VERDICT_PASS, "it is back");
	ok(k.broke && kiosk_restarts(&k, &c, 12 * SEC) == 1, "that was a restart");
	ok_int(see(&k, &c, unit("failed", "failed", 2), 20 * SEC), VERDICT_FAIL, "failed");
	ok_int(see(&k, &c, unit("failed", "failed", 2), 34 * SEC), VERDICT_FAIL, "not too soon");
	ok_int(see(&k, &c, unit("failed", "failed", 2), 35 * SEC), VERDICT_HOPELESS, "for good");
	kiosk_judge(&k, &c, 35 * SEC, &j);
	ok_int(j.reason, REASON_KIOSK_NOT_ALIVE, "it lived before");
	kiosk_lost(&k, 36 * SEC);
	kiosk_judge(&k, &c, 36 * SEC, &j);
	ok_int(j.verdict, VERDICT_INCONCLUSIVE, "a lost bus is not a lost kiosk");
	ok(j.again == 636 * SEC, "but not for ever");
	kiosk_lost(&k, 600 * SEC);
	kiosk_judge(&k, &c, 636 * SEC, &j);
	ok_int(j.verdict, VERDICT_FAIL, "for ten minutes, however often it is lost");
	ok_int(see(&k, &c, unit("active", "running", 3), 637 * SEC), VERDICT_PASS, "it is back");
	kiosk_lost(&k, 700 * SEC);
	kiosk_judge(&k, &c, 701 * SEC, &j);
	ok_int(j.verdict, VERDICT_INCONCLUSIVE, "lost anew");
}

static void unexpected(void *userdata, const char *file, unsigned line, const char *what,
		       const char *cure)
{
	(void)userdata;
	ok(false, "%s:%u: %s %s", file, line, what, cure);
}

static void test_restarts(void)
{
	struct kiosk_properties p;
	struct kiosk k = { 0 };
	char text[] = "[kiosk]\ncrashes=64\n";
	struct config c;
	uint64_t now = 0;

	config_init(&c);
	for (uint8_t i = 1; i <= 4; i++)
		ok_int(see(&k, &c, unit("active", "running", i), now += 60 * SEC), VERDICT_PASS,
		       "start %d", i);
	ok_int(see(&k, &c, unit("active", "running", 5), now += 60 * SEC), VERDICT_HOPELESS,
	       "the fourth restart in ten minutes");
	ok_int(see(&k, &c, unit("active", "running", 5), now += 600 * SEC), VERDICT_PASS,
	       "they are forgotten");
	for (unsigned i = 0; i < 200; i++)
		(void)see(&k, &c, unit("active", "running", (uint8_t)(6 + i % 100)), now += SEC);
	ok(k.restart_count == KIOSK_RESTARTS_MAX, "the list has an end");
	config_parse(&c, text, strlen(text), "f", unexpected, NULL);
	ok(c.crashes == 64 && see(&k, &c, k.now, now) == VERDICT_HOPELESS,
	   "and the most that may be configured is in it");
	k.broke = false;
	kiosk_forget(&k, now);
	(void)see(&k, &c, unit("deactivating", "stop", k.now.invocation[0]), now += SEC);
	p = unit("active", "running", 200);
	ok(kiosk_note(&k, &p, now += SEC), "the guard's own restart is another invocation");
	ok(!k.broke && kiosk_restarts(&k, &c, now) == 0, "but none that counts");
	(void)see(&k, &c, unit("active", "running", 201), now += SEC);
	ok(k.broke && kiosk_restarts(&k, &c, now) == 1, "the next one does");
}

static void test_stopped_before(void)
{
	struct kiosk k = { 0 };
	struct config c;

	config_init(&c);
	(void)see(&k, &c, unit("inactive", "dead", 7), SEC);
	(void)see(&k, &c, unit("inactive", "dead", 7), 2 * SEC);
	(void)see(&k, &c, unit("activating", "start", 8), 3 * SEC);
	ok_int(see(&k, &c, unit("active", "running", 8), 4 * SEC), VERDICT_PASS, "it runs");
	ok(!k.broke && kiosk_restarts(&k, &c, 4 * SEC) == 0, "a start is no restart");
	(void)see(&k, &c, unit("active", "running", 9), 5 * SEC);
	ok(k.broke && kiosk_restarts(&k, &c, 5 * SEC) == 1, "the next one is");
}

static void test_unit_watchdog(void)
{
	struct kiosk_properties p = unit("active", "running", 1);
	struct kiosk k = { 0 };

	p.active_at = 5 * SEC;
	p.watchdog_at = 5 * SEC;
	p.watchdog_usec = 10 * SEC;
	(void)kiosk_note(&k, &p, 6 * SEC);
	ok(!kiosk_beats(&k), "its start is no heartbeat");
	p.watchdog_at = 6 * SEC;
	(void)kiosk_note(&k, &p, 6 * SEC);
	ok(kiosk_beats(&k), "feeding it is");
	p.watchdog_usec = 0;
	(void)kiosk_note(&k, &p, 6 * SEC);
	ok(!kiosk_beats(&k), "without a watchdog there is nothing to feed");
}

static void test_ended_as_it_wanted(void)
{
	struct kiosk_properties p = unit("inactive", "dead", 1);
	struct kiosk k = { 0 };
	struct config c;

	config_init(&c);
	ok_int(see(&k, &c, p, SEC), VERDICT_FAIL, "never started: that is no end");
	p.inactive_at = SEC;
	ok_int(see(&k, &c, p, SEC), VERDICT_INCONCLUSIVE, "ended with success");
	(void)snprintf(p.result, sizeof(p.result), "exit-code");
	ok_int(see(&k, &c, p, SEC), VERDICT_FAIL, "ended without");
	(void)snprintf(p.result, sizeof(p.result), "exec-condition");
	ok_int(see(&k, &c, p, SEC), VERDICT_INCONCLUSIVE, "ExecCondition= says no");
	(void)snprintf(p.result, sizeof(p.result), "exit-code");
	p.condition_at = SEC;
	ok_int(see(&k, &c, p, SEC), VERDICT_INCONCLUSIVE, "its conditions do not hold");
	k = (struct kiosk) { 0 };
	p = unit("inactive", "dead", 1);
	p.inactive_at = SEC;
	(void)see(&k, &c, unit("active", "running", 1), SEC);
	(void)see(&k, &c, p, 2 * SEC);
	(void)see(&k, &c, unit("active", "running", 2), 3 * SEC);
	ok_int(kiosk_restarts(&k, &c, 3 * SEC), 0, "a start after its end is no restart");
	p.invocation[0] = 2;
	(void)see(&k, &c, p, 4 * SEC);
	p = unit("active", "running", 3);
	p.auto_restarts = 1;
	(void)see(&k, &c, p, 5 * SEC);
	ok_int(kiosk_restarts(&k, &c, 5 * SEC), 1, "systemd's own restart is");
	ok_str(kiosk_name(&k, "alias.service"), "alias.service", "the name that is configured");
	(void)snprintf(p.id, sizeof(p.id), "lightdm.service");
	(void)see(&k, &c, p, 6 * SEC);
	ok_str(kiosk_name(&k, "display-manager.service"), "lightdm.service", "and its own");
}

/* ---- what heartbeats mean --------------------------------------------------------- */

static const struct notify beat = { .watchdog = true }, ready = { .ready = true },
			   broken = { .trigger = true };

/* systemd says at @asked that invocation @id runs, whose main process began at @began. */
static bool told(struct heartbeat *h, const struct config *c, struct kiosk *k, uint8_t id,
		 uint64_t began, uint64_t asked)
{
	struct kiosk_properties p = unit("active", "running", id);

	p.asked = asked;
	p.main_started = began;
	(void)kiosk_note(k, &p, asked);
	return heartbeat_follow(h, c, k);
}

static enum verdict verdict_at(const struct heartbeat *h, const struct config *c, uint64_t now)
{
	struct judgement j;

	heartbeat_judge(h, c, now, &j);
	return j.verdict;
}

static const char *why_at(const struct heartbeat *h, const struct config *c, uint64_t now)
{
	static struct judgement j;

	heartbeat_judge(h, c, now, &j);
	return j.why;
}

static void local_config(struct config *c)
{
	config_init(c);
	c->marker_proves = MARKER_PROVES_LOCAL;
}

static void test_heartbeats(void)
{
	struct heartbeat h = { 0 };
	struct judgement j;
	struct kiosk k = { 0 };
	struct config c;

	local_config(&c);
	(void)told(&h, &c, &k, 1, 90 * SEC, 99 * SEC);
	heartbeat_judge(&h, &c, 100 * SEC, &j);
	ok(j.verdict == VERDICT_FAIL && j.reason == REASON_KIOSK_SILENT, "nothing yet");
	heartbeat_hear(&h, &ready, 90 * SEC, 100 * SEC);
	heartbeat_judge(&h, &c, 144 * SEC, &j);
	ok(j.verdict == VERDICT_PASS && j.again == 145 * SEC, "READY=1 is fresh for its time");
	ok_int(verdict_at(&h, &c, 145 * SEC), VERDICT_FAIL, "then it is missed, like any other");
	heartbeat_hear(&h, &beat, 90 * SEC, 5000 * SEC);
	ok_int(verdict_at(&h, &c, 5044 * SEC), VERDICT_PASS, "a beat");
	ok_int(verdict_at(&h, &c, 5045 * SEC), VERDICT_FAIL, "that stops");
	h.marker_at = 5040 * SEC;
	ok_int(verdict_at(&h, &c, 5045 * SEC), VERDICT_FAIL, "a fresh marker does not outweigh it");
	heartbeat_hear(&h, &beat, 90 * SEC, 5061 * SEC);
	heartbeat_hear(&h, &broken, 90 * SEC, 5062 * SEC);
	ok_int(verdict_at(&h, &c, 5062 * SEC), VERDICT_FAIL, "a kiosk that says it is broken");
	heartbeat_hear(&h, &beat, 90 * SEC, 5063 * SEC);
	ok_int(verdict_at(&h, &c, 5063 * SEC), VERDICT_PASS, "until it beats again");
	c.heartbeat_required = false;
	ok_int(verdict_at(&(struct heartbeat) { 0 }, &c, 5064 * SEC), VERDICT_PASS, "not required");
}

static void test_another_invocation(void)
{
	struct heartbeat h = { 0 };
	struct kiosk k = { 0 };
	struct config c;

	local_config(&c);
	(void)told(&h, &c, &k, 1, 10 * SEC, 20 * SEC);
	heartbeat_hear(&h, &(struct notify) { .watchdog = true, .server = SERVER_ANSWERED },
		       10 * SEC, 30 * SEC);
	heartbeat_see(&h, 1, 31 * SEC, 31 * SEC);
	ok(told(&h, &c, &k, 1, 10 * SEC, 30 * SEC), "a marker is asked about");
	ok(!told(&h, &c, &k, 1, 10 * SEC, 31 * SEC), "once");
	ok(verdict_at(&h, &c, 32 * SEC) == VERDICT_PASS && h.marker_at && h.server_at, "it lives");
	(void)told(&h, &c, &k, 2, 32 * SEC, 33 * SEC);
	ok(verdict_at(&h, &c, 33 * SEC) == VERDICT_FAIL && !h.marker_at && !h.server_at,
	   "another invocation starts with nothing");
	heartbeat_see(&h, 1, 31 * SEC, 34 * SEC);
	ok(!told(&h, &c, &k, 2, 32 * SEC, 34 * SEC) && verdict_at(&h, &c, 34 * SEC) == VERDICT_FAIL,
	   "the marker that is there is of the old one");
	ok(h.server_last == 31 * SEC || h.server_last == 30 * SEC,
	   "that the server answered in this boot is not forgotten");
}

/* A datagram that is there before the news of its invocation. */
static void test_signs_before_the_news(void)
{
	struct heartbeat h = { 0 };
	struct kiosk k = { 0 };
	struct config c;

	local_config(&c);
	(void)told(&h, &c, &k, 1, 10 * SEC, 20 * SEC);
	heartbeat_hear(&h, &beat, 25 * SEC, 26 * SEC);
	ok_int(verdict_at(&h, &c, 26 * SEC), VERDICT_FAIL, "it does not count for the old one");
	(void)told(&h, &c, &k, 1, 10 * SEC, 25 * SEC);
	ok_int(verdict_at(&h, &c, 26 * SEC), VERDICT_FAIL, "nor by an answer that is older");
	(void)told(&h, &c, &k, 2, 25 * SEC, 27 * SEC);
	ok_int(verdict_at(&h, &c, 27 * SEC), VERDICT_PASS, "it is not lost for the new one");
	heartbeat_hear(&h, &beat, 10 * SEC, 28 * SEC);
	ok_int(h.refused, 1, "a process that the old one left behind says nothing of it");
	ok_int(verdict_at(&h, &c, 26 * SEC + c.heartbeat_max_age), VERDICT_FAIL, "at no time");
	heartbeat_hear(&h, &beat, 100 * SEC, 100 * SEC);
	(void)told(&h, &c, &k, 2, 25 * SEC, 100 * SEC);
	ok_int(verdict_at(&h, &c, 100 * SEC), VERDICT_PASS, "a helper that has just begun");
	heartbeat_hear(&h, &beat, 120 * SEC, 120 * SEC);
	(void)told(&h, &c, &k, 3, 130 * SEC, 131 * SEC);
	ok(h.held_count == 0 && verdict_at(&h, &c, 131 * SEC) == VERDICT_FAIL,
	   "one of the old one does not count for the next");
	for (unsigned i = 0; i <= HEARTBEAT_HELD_MAX; i++)
		heartbeat_hear(&h, &beat, 140 * SEC, 140 * SEC);
	ok_int(h.held_count, HEARTBEAT_HELD_MAX, "not more are held than there is room for");
	kiosk_lost(&k, 150 * SEC);
	(void)heartbeat_follow(&h, &c, &k);
	ok_int(verdict_at(&h, &c, 150 * SEC), VERDICT_INCONCLUSIVE,
	       "while systemd does not say whose they are, nobody is blamed");
}

static void test_marker_that_is_renewed(void)
{
	struct heartbeat h = { 0 };
	struct judgement j;
	struct kiosk k = { 0 };
	struct config c;

	local_config(&c);
	c.marker_max_age = 30 * SEC;
	(void)told(&h, &c, &k, 1, 50 * SEC, 60 * SEC);
	heartbeat_see(&h, 0, 0, 90 * SEC);
	heartbeat_see(&h, 1, 0, 100 * SEC);
	(void)told(&h, &c, &k, 1, 50 * SEC, 101 * SEC);
	heartbeat_judge(&h, &c, 129 * SEC, &j);
	ok(j.verdict == VERDICT_PASS && j.again == 130 * SEC,
	   "one that was not there before counts, whatever the clock says");
	ok_int(verdict_at(&h, &c, 130 * SEC), VERDICT_FAIL, "then it gets old");
	c.heartbeat_once = true;
	ok_int(verdict_at(&h, &c, 130 * SEC), VERDICT_PASS, "unless the kiosk signs only once");
	ok(strstr(why_at(&h, &c, 130 * SEC), "once=yes") != NULL, "which is said");
	heartbeat_see(&h, 2, 140 * SEC, 140 * SEC);
	(void)told(&h, &c, &k, 1, 50 * SEC, 140 * SEC);
	ok_int(verdict_at(&h, &c, 170 * SEC), VERDICT_FAIL, "one that is renewed has to go on");
	heartbeat_see(&h, 3, 500 * SEC, 141 * SEC);
	(void)told(&h, &c, &k, 2, 140 * SEC + SEC / 2, 142 * SEC);
	ok_int(h.marker_at, 0, "written in time to come: the clock was set, and says nothing");
}

static void test_watchdog_of_the_unit(void)
{
	struct kiosk_properties p = unit("active", "running", 1);
	struct heartbeat h = { 0 };
	struct kiosk k = { 0 };
	struct config c;

	local_config(&c);
	p.active_at = p.watchdog_at = 5 * SEC;
	p.watchdog_usec = 30 * SEC;
	(void)kiosk_note(&k, &p, 6 * SEC);
	(void)heartbeat_follow(&h, &c, &k);
	ok_int(verdict_at(&h, &c, 6 * SEC), VERDICT_FAIL, "its start is no heartbeat");
	p.watchdog_at = 6 * SEC;
	(void)kiosk_note(&k, &p, 7 * SEC);
	(void)heartbeat_follow(&h, &c, &k);
	ok_int(verdict_at(&h, &c, 1000 * SEC), VERDICT_PASS, "systemd watches the rest");
	p.watchdog_usec = c.policy.window;
	(void)kiosk_note(&k, &p, 8 * SEC);
	(void)heartbeat_follow(&h, &c, &k);
	ok_int(verdict_at(&h, &c, 1000 * SEC), VERDICT_INCONCLUSIVE,
	       "but only what it notices within the window is a proof");
}

static void test_unit_that_ended(void)
{
	struct kiosk_properties p = unit("inactive", "dead", 1);
	struct heartbeat h = { 0 };
	struct kiosk k = { 0 };
	struct config c;

	local_config(&c);
	(void)told(&h, &c, &k, 1, 10 * SEC, 20 * SEC);
	heartbeat_hear(&h, &beat, 10 * SEC, 21 * SEC);
	p.inactive_at = 30 * SEC;
	(void)kiosk_note(&k, &p, 30 * SEC);
	(void)heartbeat_follow(&h, &c, &k);
	ok_int(verdict_at(&h, &c, 300 * SEC), VERDICT_INCONCLUSIVE,
	       "a kiosk that ended as it wanted need not beat");
}

static void test_server(void)
{
	struct heartbeat h = { 0 };
	struct judgement j;
	struct kiosk k = { 0 };
	struct config c;

	config_init(&c);
	(void)told(&h, &c, &k, 1, SEC, SEC);
	ok_int(verdict_at(&h, &c, SEC), VERDICT_INCONCLUSIVE,
	       "with a marker of the server alone, silence may be the server's");
	h.in_trial = true;
	ok(verdict_at(&h, &c, SEC) == VERDICT_PASS && heartbeat_through_server(&h, &c, SEC),
	   "which a trial waits for");
	server_judge(&h, &c, SEC, &j);
	ok(j.verdict == VERDICT_FAIL && j.reason == REASON_KIOSK_SILENT, "and is judged there");
	heartbeat_see(&h, 1, 2 * SEC, 2 * SEC);
	(void)told(&h, &c, &k, 1, SEC, 2 * SEC);
	server_judge(&h, &c, 2 * SEC, &j);
	ok(j.verdict == VERDICT_PASS && !heartbeat_through_server(&h, &c, 2 * SEC), "it answered");
	ok(heartbeat_through_server(&h, &c, 90 * SEC), "for as long as the marker is fresh");
	server_judge(&h, &c, 90 * SEC, &j);
	ok_int(j.verdict, VERDICT_FAIL, "then the server is waited for again");
	heartbeat_hear(&h, &(struct notify) { .ready = true, .server = SERVER_SILENT }, SEC,
		       91 * SEC);
	(void)told(&h, &c, &k, 2, 92 * SEC, 93 * SEC);
	ok(!heartbeat_through_server(&h, &c, 93 * SEC) &&
		   verdict_at(&h, &c, 93 * SEC) == VERDICT_FAIL,
	   "who has beaten by itself in this boot is not excused");
	server_judge(&h, &c, 93 * SEC, &j);
	ok(j.verdict == VERDICT_FAIL && j.reason == REASON_SERVER_SILENT,
	   "the answer of another invocation is none");
	heartbeat_hear(&h, &(struct notify) { .server = SERVER_CLOCK }, 92 * SEC, 94 * SEC);
	(void)told(&h, &c, &k, 2, 92 * SEC, 94 * SEC);
	server_judge(&h, &c, 94 * SEC, &j);
	ok_int(j.verdict, VERDICT_INCONCLUSIVE, "a clock that is not set blames nobody");
	heartbeat_hear(&h, &(struct notify) { .server = SERVER_ANSWERED }, 92 * SEC, 93 * SEC);
	heartbeat_hear(&h, &(struct notify) { .server = SERVER_SILENT }, 92 * SEC, 94 * SEC);
	server_judge(&h, &c, 94 * SEC, &j);
	ok_int(j.verdict, VERDICT_PASS, "one answer is enough for an invocation");
	c.server_required = false;
	server_judge(&(struct heartbeat) { 0 }, &c, SEC, &j);
	ok_int(j.verdict, VERDICT_PASS, "not required");
}

static void test_process_start(void)
{
	uint64_t at;

	ok(process_parse_stat(
		   "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 "
		   "10\n",
		   &at) == 0 &&
		   at == 4711 * PROCESS_TICK,
	   "a name with blanks and brackets");
	ok_int(process_parse_stat("42 (a) S 1 2 3", &at), -EBADMSG, "too short");
	ok_int(process_parse_stat("", &at), -EBADMSG, "nothing");
	ok_int(process_parse_stat("1 (a) S 1 1 1 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 x 9", &at),
	       -EBADMSG, "no number");
}

/* ---- RAUC -------------------------------------------------------------------------------- */

static void test_rauc(void)
{
#define GERROR "org.gtk.GDBus.UnmappedGError.Quark._g_2dio_2derror_2dquark.Code30"
#define DBUS   "org.freedesktop.DBus.Error."
	static const struct {
		const char *name, *message;
		enum rauc_error error;
		enum mark_outcome outcome;
	} rows[] = {
		{ GERROR, "already processing a different method", RAUC_ERROR_BUSY, MARK_BUSY },
		{ GERROR, "Already processing a different method", RAUC_ERROR_BUSY, MARK_BUSY },
		{ GERROR, "Did not find booted slot", RAUC_ERROR_NO_SLOT, MARK_FAILED },
		{ GERROR, "Failed marking slot rootfs.0 as good: custom backend: …",
		  RAUC_ERROR_BACKEND, MARK_FAILED },
		{ GERROR, NULL, RAUC_ERROR_BACKEND, MARK_FAILED },
		{ DBUS "ServiceUnknown", "no such name", RAUC_ERROR_ABSENT, MARK_FAILED },
		{ DBUS "Spawn.ChildExited", "exited", RAUC_ERROR_ABSENT, MARK_FAILED },
		{ DBUS "AccessDenied", NULL, RAUC_ERROR_ABSENT, MARK_FAILED },
		{ DBUS "NoReply", "Method call timed out", RAUC_ERROR_UNKNOWN, MARK_UNKNOWN },
		{ DBUS "NoReply",
		  "Message recipient disconnected from message bus without replying",
		  RAUC_ERROR_GONE, MARK_FAILED },
		{ DBUS "Disconnected", NULL, RAUC_ERROR_UNKNOWN, MARK_UNKNOWN },
		{ DBUS "Timeout", NULL, RAUC_ERROR_UNKNOWN, MARK_UNKNOWN },
		{ "System.Error.ECONNRESET", NULL, RAUC_ERROR_UNKNOWN, MARK_UNKNOWN },
		{ NULL, NULL, RAUC_ERROR_UNKNOWN, MARK_UNKNOWN },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		enum rauc_error e = rauc_classify(rows[i].name, rows[i].message);

		ok(e == rows[i].error && link_mark_outcome(e) == rows[i].outcome, "error %zu: %s",
		   i, rauc_error_text(e));
	}
}

/* ---- the journal ------------------------------------------------------------------------- */

static void test_journal_entries(void)
{
	const struct journal_field fields[] = { { "MESSAGE", "one\nBF_SLOT=A\ttwo\x7f" },
						{ "EMPTY", "" },
						{ "LONG", "0123456789" } };
	static const char all[] = "MESSAGE=one BF_SLOT=A two \nEMPTY=\nLONG=0123456789\n";
	char buf[sizeof(all)];
	size_t whole = sizeof(all) - 1, n;

	n = journal_format(buf, sizeof(buf), fields, 3);
	ok(n == whole && memcmp(buf, all, n) == 0, "every value is one line");
	for (size_t size = 1; size <= whole; size++) {
		memset(buf, '#', sizeof(buf));
		n = journal_format(buf, size, fields, 3);
		if (n > size || (n > 0 && buf[n - 1] != '\n') || buf[size] != '#')
			break;
		if (size == whole)
			ok(n == whole, "it may just fit");
	}
	ok_int(journal_format(buf, whole - 4, fields, 3), whole - 4, "what does not fit is cut");
	ok_int(journal_format(buf, 36, fields, 3), 34, "or left out");
}

/* ---- what this boot is
 * ---------------------------------------------------------------------------- */

static struct run_facts facts_of(enum slot committed, enum slot staged)
{
	struct run_facts f = { .running = SLOT_B,
			       .selector = SELECTOR_VALID,
			       .selector_committed = committed,
			       .record_readable = true,
			       .writable = true };

	record_init(&f.record, committed);
	f.record.staged = staged;
	return f;
}

static void test_roles(void)
{
	struct device_answer a = { 0 };
	struct run_facts f = facts_of(SLOT_A, SLOT_B);

	f.validated = f.committable = true;
	device_judge(&f, &a);
	ok(a.facts.role == ROLE_TRIAL && a.facts.committable && !a.facts.rejected, "a trial");
	f.writable = false;
	device_judge(&f, &a);
	ok(a.facts.role == ROLE_TRIAL && !a.facts.committable, "one that cannot be written down");
	f = facts_of(SLOT_A, SLOT_NONE);
	f.validated = f.committable = true;
	device_judge(&f, &a);
	ok(a.facts.role == ROLE_TRIAL && a.facts.rejected && !a.facts.committable,
	   "one that was rejected before");
	f = facts_of(SLOT_A, SLOT_B);
	f.validated = f.committable = true;
	device_judge(&f, &a);
	ok(!a.fallback, "an update");
	f.record.kind = KIND_FALLBACK;
	device_judge(&f, &a);
	ok(a.fallback, "a fallback");
	f = facts_of(SLOT_B, SLOT_A);
	f.record.probation = true;
	device_judge(&f, &a);
	ok(a.facts.role == ROLE_COMMITTED && a.facts.probation && a.facts.staged,
	   "the committed slot, an update staged");
	ok(!a.facts.tried && a.facts.waited == 0, "new");
	f.now_sec = 5000;
	record_add_history(&f.record, 500, HISTORY_STAGED, SLOT_B, "");
	record_add_history(&f.record, 1000, HISTORY_STAGED, SLOT_A, "");
	record_add_history(&f.record, 4000, HISTORY_FAILED, SLOT_B, "");
	f.record.attempts = 1;
	device_judge(&f, &a);
	ok(a.facts.tried && a.facts.waited == UINT64_C(4000000000), "it waits for an hour");
	f.now_sec = 999;
	device_judge(&f, &a);
	ok_int(a.facts.waited, 0, "the clock is behind");
	f.mismatch = true;
	device_judge(&f, &a);
	ok_int(a.facts.role, ROLE_LIMBO, "slots that disagree");
	f = facts_of(SLOT_B, SLOT_NONE);
	f.limbo = true;
	device_judge(&f, &a);
	ok_int(a.facts.role, ROLE_LIMBO, "bf-init was not sure");
	f = facts_of(SLOT_A, SLOT_NONE);
	device_judge(&f, &a);
	ok_int(a.facts.role, ROLE_LIMBO, "another slot than the committed one");
	f = facts_of(SLOT_B, SLOT_NONE);
	f.record_readable = false;
	device_judge(&f, &a);
	ok_int(a.facts.role, ROLE_UNKNOWN, "no record is no news");
	f.record_future = true;
	device_judge(&f, &a);
	ok_int(a.facts.role, ROLE_LIMBO, "but a newer one is");
	f.record_future = false;
	f.validated = f.committable = true;
	device_judge(&f, &a);
	ok_int(a.facts.role, ROLE_UNKNOWN, "a trial that was committed");
	f.selector = SELECTOR_GONE;
	f.selector_committed = SLOT_NONE;
	f.writable = false;
	device_judge(&f, &a);
	ok(a.facts.role == ROLE_TRIAL && !a.facts.committable && !a.facts.rejected,
	   "a trial without anything to read stays one");
	f = facts_of(SLOT_B, SLOT_NONE);
	f.running = SLOT_NONE;
	device_judge(&f, &a);
	ok_int(a.facts.role, ROLE_LIMBO, "no slot");
}

int main(void)
{
	test_control_groups();
	test_datagrams();
	test_long_datagrams();
	test_heartbeats();
	test_marker_that_is_renewed();
	test_server();
	test_marker();
	test_routes();
	test_unit();
	test_restarts();
	test_stopped_before();
	test_unit_watchdog();
	test_ended_as_it_wanted();
	test_another_invocation();
	test_signs_before_the_news();
	test_watchdog_of_the_unit();
	test_unit_that_ended();
	test_process_start();
	test_rauc();
	test_journal_entries();
	test_roles();
	return tap_done();
}
