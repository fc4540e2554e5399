// SPDX-License-Identifier: MIT
#include "boot/cmdline.h"
#include "tests/lib/tap.h"

#define HASH32	"00112233445566778899aabbccddeeff"
#define HASH64	HASH32 HASH32
#define HASH128 HASH64 HASH64

/* What a text changes; NULL and 0 mean the default. */
struct want {
	enum slot slot;
	const char *roothash, *options, *hash, *init;
	uint32_t wait, show, deadline, watchdog;
	bool zero_show, zero_watchdog;
};

#define NONE .slot = SLOT_NONE

static bool same(const char *a, const char *b)
{
	return (!a && !b) || (a && b && streq(a, b));
}

static void check_result(const struct cmdline *c, const struct want *w)
{
	ok_int(c->slot, w->slot, "slot");
	ok(same(c->roothash, w->roothash), "roothash \"%s\"", c->roothash ? c->roothash : "-");
	ok(same(c->verity_options, w->options) && same(c->verity_hash, w->hash), "verity words");
	ok(same(c->init, w->init), "init \"%s\"", c->init ? c->init : "-");
	ok(c->device_wait_sec == (w->wait ? w->wait : CMDLINE_DEVICE_WAIT_SEC) &&
		   c->failure_show_sec == (w->zero_show ? 0
					   : w->show	? w->show
							: CMDLINE_FAILURE_SHOW_SEC) &&
		   c->deadline_sec == (w->deadline ? w->deadline : CMDLINE_DEADLINE_SEC) &&
		   c->watchdog_sec == (w->zero_watchdog ? 0
				       : w->watchdog	? w->watchdog
							: CMDLINE_WATCHDOG_SEC),
	   "numbers");
}

static void test_good(void)
{
	static const struct {
		const char *text;
		struct want want;
	} rows[] = {
		{ "", { NONE } },
		{ "\n", { NONE } },
		{ "  \t\n", { NONE } },
		{ "rauc.slot=A roothash=" HASH64 " bf.show=3\n",
		  { .slot = SLOT_A, .roothash = HASH64, .show = 3 } },
		{ "console=ttyAMA0 rauc.slot=B", { .slot = SLOT_B } },
		{ "rauc.slot=C", { NONE } },
		{ "rauc.slot=a", { NONE } },
		{ "rauc.slot=", { NONE } },
		{ "rauc.slot=AB", { NONE } },
		{ "rauc.slots=A xrauc.slot=A rauc.slot.x=A", { NONE } },
		/* duplicates: the last one */
		{ "rauc.slot=A rauc.slot=B", { .slot = SLOT_B } },
		{ "rauc.slot=A rauc.slot=X", { NONE } },
		{ "init=/a init=/b", { NONE, .init = "/b" } },
		{ "bf.wait=none bf.wait=7", { NONE, .wait = 7 } },
		{ "roothash=zz roothash=" HASH32, { NONE, .roothash = HASH32 } },
		/* "--" */
		{ "rauc.slot=A -- rauc.slot=B init=/x bf.show=3", { .slot = SLOT_A } },
		{ "\"--\" rauc.slot=B", { NONE } },
		{ "--bf.show=3 -- ", { NONE } },
		{ "--=1 rauc.slot=A", { .slot = SLOT_A } },
		{ "\"-- a\" rauc.slot=A", { .slot = SLOT_A } },
		/* spaces and quotes, as lib/cmdline.c has them */
		{ "\trauc.slot=A\v\f\r\nbf.show=3 ", { .slot = SLOT_A, .show = 3 } },
		{ "rauc.slot=A\xa0"
		  "bf.show=3",
		  { .slot = SLOT_A, .show = 3 } },
		{ "x=\"a rauc.slot=B\" bf.show=3", { NONE, .show = 3 } },
		{ "init=\"/a b\"", { NONE, .init = "/a b" } },
		{ "\"init=/a b\" bf.show=3", { NONE, .init = "/a b", .show = 3 } },
		{ "init=\"/a b", { NONE, .init = "/a b" } },
		{ "init=\"/a b\n", { NONE, .init = "/a b" } },
		{ "init=/a\"b c\"d bf.show=3", { NONE, .init = "/a\"b c\"d", .show = 3 } },
		{ "init=\"/a\"b\" c\"", { NONE, .init = "/a\"b\" c" } },
		{ "\"init=\"/a\"b\"\"", { NONE, .init = "/a\"b\"" } },
		{ "init=\"/a b\"c bf.show=3", { NONE, .init = "/a b\"c", .show = 3 } },
		{ "\"bf.show=3\" \"rauc.slot\"=A", { NONE, .show = 3 } },
		{ "systemd.verity_root_options=\"", { NONE } },
		{ "systemd.verity_root_options=\"\" bf.show=3", { NONE, .show = 3 } },
		{ "systemd.verity_root_options=\"a b\"", { NONE, .options = "a b" } },
		{ "\"", { NONE } },
		{ "\"\"", { NONE } },
		{ "\"\"\"\"\" \"", { NONE } },
		{ "= == =a=b", { NONE } },
		{ "=rauc.slot=A", { NONE } },
		{ "init=/a=b=c", { NONE, .init = "/a=b=c" } },
		/* names */
		{ "systemd.verity-root-options=x systemd.verity-root_hash=/dev/y",
		  { NONE, .options = "x", .hash = "/dev/y" } },
		{ "Rauc.slot=A BF.SHOW=3", { NONE } },
		{ "systemd.verity_root_options= systemd.verity_root_hash=", { NONE } },
		{ "systemd.verity_root_options=hash-offset=4096,restart-on-corruption",
		  { NONE, .options = "hash-offset=4096,restart-on-corruption" } },
		/* hashes */
		{ "roothash=" HASH32, { NONE, .roothash = HASH32 } },
		{ "roothash=" HASH128, { NONE, .roothash = HASH128 } },
		{ "roothash=AABBCCDDEEFF00112233445566778899abcdef",
		  { NONE, .roothash = "aabbccddeeff00112233445566778899abcdef" } },
		/* numbers */
		{ "bf.wait=1 bf.show=0 bf.deadline=10 bf.watchdog=0",
		  { NONE, .wait = 1, .zero_show = true, .deadline = 10, .zero_watchdog = true } },
		{ "bf.wait=600 bf.show=600 bf.deadline=3600 bf.watchdog=600",
		  { NONE, .wait = 600, .show = 600, .deadline = 3600, .watchdog = 600 } },
		/* not UTF-8 */
		{ "x=\xff\xfe rauc.slot=A init=/\xe4", { .slot = SLOT_A, .init = "/\xe4" } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct failure f = { .error = 4711 };
		struct cmdline c;

		ok_int(cmdline_parse(rows[i].text, &c, &f), 0, "parse row %zu", i);
		ok_int(f.error, 4711, "no failure");
		check_result(&c, &rows[i].want);
		cmdline_done(&c);
	}
}

static void test_bad(void)
{
	static const struct {
		const char *text;
		enum reason reason;
		const char *names; /* what the text says */
		struct want want;
	} rows[] = {
		{ "roothash= rauc.slot=A",
		  REASON_VERITY_ROOTHASH,
		  "roothash=",
		  { .slot = SLOT_A } },
		{ "roothash bf.show=3", REASON_VERITY_ROOTHASH, "roothash=", { NONE, .show = 3 } },
		{ "roothash=" HASH32 "0", REASON_VERITY_ROOTHASH, "roothash=", { NONE } },
		{ "roothash=001122", REASON_VERITY_ROOTHASH, "roothash=", { NONE } },
		{ "roothash=00112233445566778899aabbccddee",
		  REASON_VERITY_ROOTHASH,
		  "roothash=",
		  { NONE } },
		{ "roothash=" HASH128 "00", REASON_VERITY_ROOTHASH, "roothash=", { NONE } },
		{ "roothash=0x" HASH32, REASON_VERITY_ROOTHASH, "roothash=", { NONE } },
		{ "roothash=\xc3\xa4" HASH32, REASON_VERITY_ROOTHASH, "roothash=", { NONE } },
		{ "roothash=\" " HASH32 "\"", REASON_VERITY_ROOTHASH, "roothash=", { NONE } },
		{ "roothash=" HASH32 " roothash=x", REASON_VERITY_ROOTHASH, "roothash=", { NONE } },
		{ "bf.wait=0", REASON_CMDLINE, "bf.wait=", { NONE } },
		{ "bf.wait=601 bf.show=3", REASON_CMDLINE, "bf.wait=", { NONE, .show = 3 } },
		{ "bf.wait=", REASON_CMDLINE, "bf.wait=", { NONE } },
		{ "bf.wait", REASON_CMDLINE, "bf.wait=", { NONE } },
		{ "bf.wait=-1", REASON_CMDLINE, "bf.wait=", { NONE } },
		{ "bf.wait=10s", REASON_CMDLINE, "bf.wait=", { NONE } },
		{ "bf.wait=4294967297", REASON_CMDLINE, "bf.wait=", { NONE } },
		{ "bf.wait=99999999999999999999999", REASON_CMDLINE, "bf.wait=", { NONE } },
		{ "bf.show=601", REASON_CMDLINE, "bf.show=", { NONE } },
		{ "bf.deadline=9", REASON_CMDLINE, "bf.deadline=", { NONE } },
		{ "bf.deadline=3601", REASON_CMDLINE, "bf.deadline=", { NONE } },
		{ "bf.watchdog=601", REASON_CMDLINE, "bf.watchdog=", { NONE } },
		{ "init=sbin/init rauc.slot=B", REASON_CMDLINE, "init=", { .slot = SLOT_B } },
		{ "init=", REASON_CMDLINE, "init=", { NONE } },
		{ "init", REASON_CMDLINE, "init=", { NONE } },
		{ "rauc.slot", REASON_CMDLINE, "rauc.slot=", { NONE } },
		{ "systemd.verity_root_options",
		  REASON_CMDLINE,
		  "systemd.verity_root_options=",
		  { NONE } },
		/* several: the first of the table, the good ones kept */
		{ "bf.wait=x roothash=x bf.show=5 bf.deadline=20",
		  REASON_VERITY_ROOTHASH,
		  "roothash=",
		  { NONE, .show = 5, .deadline = 20 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct failure f = { 0 };
		struct cmdline c;

		ok_int(cmdline_parse(rows[i].text, &c, &f), -EINVAL, "refuse: %s", rows[i].text);
		ok(f.reason == rows[i].reason && f.error == EINVAL && strstr(f.text, rows[i].names),
		   "%s: %s", reason_text(f.reason)->code, f.text);
		check_result(&c, &rows[i].want);
		cmdline_done(&c);
	}
}

static void test_long(void)
{
	size_t n = 1 << 16;
	_cleanup_free_ char *text = malloc(n + 100);
	struct failure f = { 0 };
	struct cmdline c;

	if (!ok(text, "memory"))
		return;
	for (size_t i = 0; i < n; i += 2)
		memcpy(text + i, "x ", 2);
	strcpy(text + n, "rauc.slot=B\n");
	ok_int(cmdline_parse(text, &c, &f), 0, "64 KiB of words");
	ok_int(c.slot, SLOT_B, "the last word counts");
	cmdline_done(&c);
	memset(text, 'x', n);
	memcpy(text, "init=/", 6);
	text[n] = '\0';
	ok_int(cmdline_parse(text, &c, &f), 0, "a word of 64 KiB");
	ok(c.init && strlen(c.init) == n - 5, "is kept whole");
	cmdline_done(&c);
	ok(!c.init && c.slot == SLOT_NONE, "done leaves nothing");
	memset(text, 'a', 5000);
	memcpy(text, "roothash=", 9);
	text[5000] = '\0';
	ok_int(cmdline_parse(text, &c, &f), -EINVAL, "a hash of 5000 digits");
	cmdline_done(&c);
}

int main(void)
{
	test_good();
	test_bad();
	test_long();
	return tap_done();
}
