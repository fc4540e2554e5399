// SPDX-License-Identifier: MIT
#include "boot/record.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#define NEWEST "/data/bf/boot-record"
#define OLDER  "/data/bf/boot-record.old"

/* ---- text --------------------------------------------------------------- */

static const char golden_body[] = "format=1\n"
				  "gen=42\n"
				  "committed=A\n"
				  "staged=B\n"
				  "kind=update\n"
				  "attempts=2\n"
				  "trials=1\n"
				  "trial_reason=-\n"
				  "state.A=good\n"
				  "state.B=unknown\n"
				  "proven.A=yes\n"
				  "proven.B=no\n"
				  "hash.A=aa11\n"
				  "hash.B=bb22\n"
				  "hard=1\n"
				  "soft=3\n"
				  "doublings=0\n"
				  "ladder=0\n"
				  "probation=yes\n"
				  "repairs=0\n"
				  "last.slot=B\n"
				  "last.phase=trial\n"
				  "last.boot_id=0123456789abcdef0123456789abcdef\n"
				  "last.count=7\n"
				  "last.reason=-\n"
				  "refused.0=cc33\n"
				  "refused.1=dd44\n"
				  "refused.2=-\n"
				  "refused.3=-\n"
				  "refused.4=-\n"
				  "refused.5=-\n"
				  "refused.6=-\n"
				  "refused.7=-\n"
				  "history.0=1735689600 trial B -\n"
				  "history.1=1735689000 rejected B verity-corrupt\n"
				  "history.2=-\n"
				  "history.3=-\n"
				  "history.4=-\n"
				  "history.5=-\n"
				  "history.6=-\n"
				  "history.7=-\n"
				  "history.8=-\n"
				  "history.9=-\n"
				  "history.10=-\n"
				  "history.11=-\n"
				  "history.12=-\n"
				  "history.13=-\n"
				  "history.14=-\n"
				  "history.15=-\n";
/* Computed by another program (Python's zlib): the format must not drift. */
#define GOLDEN_CRC "crc32=be9e754f\n"

static struct record golden(void)
{
	struct record r;

	record_init(&r, SLOT_A);
	r.gen = 42;
	r.staged = SLOT_B;
	r.attempts = 2;
	r.trials = 1;
	r.state[SLOT_A] = STATE_GOOD;
	r.proven[SLOT_A] = PROVEN_YES;
	r.proven[SLOT_B] = PROVEN_NO;
	strcpy(r.hash[SLOT_A], "aa11");
	strcpy(r.hash[SLOT_B], "bb22");
	r.hard = 1;
	r.soft = 3;
	r.probation = true;
	record_set_last(&r, SLOT_B, PHASE_TRIAL, "0123456789abcdef0123456789abcdef", true, 7);
	record_refuse(&r, "dd44");
	record_refuse(&r, "cc33");
	record_add_history(&r, 1735689000, HISTORY_REJECTED, SLOT_B, "verity-corrupt");
	record_add_history(&r, 1735689600, HISTORY_TRIAL, SLOT_B, "");
	return r;
}

/* @body in its frame, with a crc that is right. */
static void frame(const char *body, size_t len, char buf[static RECORD_SIZE])
{
	int n;

	memset(buf, '\n', RECORD_SIZE);
	memcpy(buf, body, len);
	n = snprintf(buf + len, RECORD_SIZE - len, "crc32=%08lx",
		     crc32(0, (const Bytef *)body, (uInt)len));
	buf[len + (size_t)n] = '\n';
}

/* golden_body with its first @from replaced by @to, framed. */
static void frame_changed(const char *from, const char *to, char buf[static RECORD_SIZE])
{
	char body[RECORD_SIZE];
	const char *at = strstr(golden_body, from);
	int n = snprintf(body, sizeof(body), "%.*s%s%s", (int)(at - golden_body), golden_body, to,
			 at + strlen(from));

	frame(body, (size_t)n, buf);
}

static bool same(const struct record *a, const struct record *b)
{
	char x[RECORD_SIZE], y[RECORD_SIZE];

	record_format(a, x);
	record_format(b, y);
	return memcmp(x, y, RECORD_SIZE) == 0;
}

static void test_golden(void)
{
	char buf[RECORD_SIZE], want[RECORD_SIZE];
	struct record r = golden(), back;
	size_t body = strlen(golden_body);

	memset(want, '\n', sizeof(want));
	memcpy(want, golden_body, body);
	memcpy(want + body, GOLDEN_CRC, strlen(GOLDEN_CRC));
	record_format(&r, buf);
	ok(memcmp(buf, want, sizeof(buf)) == 0, "the format is what it always was");
	ok_int(record_parse(want, sizeof(want), &back), 0, "it is read");
	ok_int(back.gen, 42, "gen");
	ok_int(back.staged, SLOT_B, "staged");
	ok_int(back.state[SLOT_A], STATE_GOOD, "state");
	ok_int(back.proven[SLOT_B], PROVEN_NO, "proven");
	ok_str(back.hash[SLOT_B], "bb22", "hash");
	ok_str(back.trial_reason, "", "\"-\" is no reason");
	ok_int(back.probation, true, "probation");
	ok_int(back.last.phase, PHASE_TRIAL, "last.phase");
	ok(back.last.has_count && back.last.count == 7, "last.count");
	ok_str(back.refused[1], "dd44", "refused");
	ok_int(back.history_count, 2, "history");
	ok_str(back.history[1].reason, "verity-corrupt", "history reason");
	ok(same(&r, &back), "there and back");
}

static void test_longest(void)
{
	char buf[RECORD_SIZE], hash[RECORD_HASH_MAX + 1] = "", code[RECORD_CODE_MAX + 1] = "";
	struct record r, back;
	size_t end = RECORD_SIZE;

	memset(hash, 'f', RECORD_HASH_MAX);
	memset(code, 'x', RECORD_CODE_MAX);
	record_init(&r, SLOT_B);
	r.gen = RECORD_GEN_MAX - 1;
	r.staged = SLOT_A;
	r.kind = KIND_FALLBACK;
	r.attempts = r.trials = r.hard = r.soft = r.doublings = r.ladder = r.repairs =
		RECORD_COUNTER_MAX;
	strcpy(r.trial_reason, code);
	r.kind = KIND_OTHER;
	strcpy(r.words.kind, code);
	for (int s = 0; s < SLOT_COUNT; s++) {
		r.state[s] = STATE_OTHER;
		r.proven[s] = PROVEN_OTHER;
		strcpy(r.words.state[s], code);
		strcpy(r.words.proven[s], code);
		strcpy(r.hash[s], hash);
	}
	r.probation = true;
	r.healthy_sec = RECORD_COUNTER_MAX;
	r.late_read = 1;
	record_set_last(&r, SLOT_A, PHASE_CONFIRMED, "ffffffffffffffffffffffffffffffff", true,
			UINT32_MAX);
	strcpy(r.last.reason, code);
	for (int i = 0; i < RECORD_REFUSED_MAX; i++) {
		hash[0] = "0123456789abcdef"[i];
		record_refuse(&r, hash);
	}
	r.last.phase = PHASE_OTHER;
	strcpy(r.words.phase, code);
	for (int i = 0; i < RECORD_HISTORY_MAX; i++) {
		record_add_history(&r, UINT64_MAX, HISTORY_OTHER, SLOT_A, code);
		strcpy(r.history[0].word, code);
		memset(r.history[0].more, ' ', RECORD_MORE_MAX);
	}
	memset(r.kept, 'x', RECORD_KEPT_MAX);
	r.kept[1] = '=';
	r.kept[RECORD_KEPT_MAX - 1] = '\n';
	record_format(&r, buf);
	while (end > 0 && buf[end - 1] == '\n')
		end--;
	ok(end < RECORD_SIZE, "every field at its longest: %zu of %d bytes", end, RECORD_SIZE);
	ok_int(record_parse(buf, sizeof(buf), &back), 0, "it is read");
	ok(same(&r, &back), "there and back");
}

static void test_reasons(void)
{
	struct record r, back;
	char buf[RECORD_SIZE];

	for (int i = REASON_NONE + 1; i < REASON_COUNT; i++) {
		const char *code = reason_text((enum reason)i)->code;

		record_init(&r, SLOT_A);
		if (!ok(strlen(code) <= RECORD_CODE_MAX, "%s is not too long", code))
			continue;
		strcpy(r.trial_reason, code);
		record_add_history(&r, 1, HISTORY_FAILED, SLOT_A, code);
		record_format(&r, buf);
		ok(record_parse(buf, sizeof(buf), &back) == 0 && streq(back.trial_reason, code) &&
			   streq(back.history[0].reason, code),
		   "%s is kept", code);
	}
}

static void test_damage(void)
{
	static const struct {
		const char *from, *to; /* in golden_body, with a right crc */
	} rows[] = {
		{ "format=1\n", "" },
		{ "format=1\n", "format=0\n" },
		{ "format=1\n", "format=\n" },
		{ "format=1\n", "format=x\n" },
		{ "format=1\n", "format=-1\n" },
		{ "format=1\n", "FORMAT=1\n" },
		{ "format=1\n", "format=1\r\n" },
		{ "format=1\n", " format=1\n" },
		{ "format=1\n", "\nformat=1\n" },
		{ "format=1\n", "format=99999999999999999999\n" },
		{ "gen=42", "gen=+42" },
		{ "gen=42", "gen= 42" },
		{ "gen=42", "gen=42 " },
		{ "gen=42", "gen=0x2a" },
		{ "gen=42", "gen=-" },
		{ "gen=42", "gen=4611686018427387904" },
		{ "gen=42", "gen=18446744073709551616" },
		{ "committed=A\n", "" },
		{ "committed=A\n", "committed=A\ncommitted=A\n" },
		{ "committed=A", "committed=-" },
		{ "committed=A", "committed=C" },
		{ "committed=A", "committed=a" },
		{ "committed=A", "committed=AA" },
		{ "committed=A", "committed=B" },
		{ "committed=A", "committed" },
		{ "committed=A", "committed:A" },
		{ "committed=A", "committedX=A" },
		{ "staged=B", "staged=A" },
		{ "staged=B", "staged=" },
		{ "attempts=2", "attempts=1000001" },
		{ "attempts=2", "attempts=4294967296" },
		{ "attempts=2", "attempts=-1" },
		{ "attempts=2", "attempts=2.0" },
		{ "trial_reason=-", "trial_reason=" },
		{ "trial_reason=-", "trial_reason=Mount" },
		{ "trial_reason=-", "trial_reason=a b" },
		{ "trial_reason=-", "trial_reason=-mount" },
		{ "trial_reason=-", "trial_reason=abcdefghijklmnopqrstuvwxyz012345" },
		{ "hash.A=aa11", "hash.A=AA11" },
		{ "hash.A=aa11", "hash.A=aa1g" },
		{ "hash.A=aa11", "hash.A=" },
		{ "probation=yes", "probation=1" },
		{ "last.boot_id=0123456789abcdef0123456789abcdef", "last.boot_id=0123" },
		{ "last.boot_id=0123456789abcdef0123456789abcdef",
		  "last.boot_id=0123456789abcdef0123456789abcdef0" },
		{ "last.boot_id=0123456789abcdef0123456789abcdef",
		  "last.boot_id=0123456789ABCDEF0123456789ABCDEF" },
		{ "last.count=7", "last.count=4294967296" },
		{ "refused.0=cc33", "refused.0=-" }, /* a gap */
		{ "refused.0=", "refused.1=" },
		{ "refused.7=-\n", "" },
		{ "history.0=1735689600 trial B -", "history.0=-" },
		{ "history.0=1735689600 trial B -", "history.0=1735689600 trial B" },
		{ "history.0=1735689600 trial B -", "history.0=1735689600  trial B -" },
		{ "history.0=1735689600 trial B -", "history.0=1735689600 trial C -" },
		{ "history.0=1735689600 trial B -", "history.0=now trial B -" },
		{ "history.0=1735689600 trial B -", "history.0=18446744073709551616 trial B -" },
		{ "history.0=1735689600 trial B -", "history.0= " },
		{ "history.0=1735689600 trial B -", "history.0=1735689600 Trial B -" },
		{ "history.15=-\n", "history.15=-\n\n" },
		{ "history.15=-\n", "history.15=-\nkey\n" },
		{ "history.15=-\n", "history.15=-\nkey=\n" },
		{ "history.15=-\n", "history.15=-\n=value\n" },
		{ "history.15=-\n", "history.15=-\nkey=a\tb\n" },
		{ "history.15=-\n", "history.15=-\nkey=a\x7f\n" },
		{ "history.15=-\n", "history.15=-\nformat=1\n" },
		{ "history.15=-\n", "history.15=-\ncrc32=00000000\n" },
		{ "kind=update", "kind=Update" },
		{ "kind=update", "kind=up date" },
		{ "state.A=good", "state.A=abcdefghijklmnopqrstuvwxyz012345" },
		{ "refused.1=dd44\nrefused.2=-", "refused.1=-\nrefused.2=dd44" },
		{ "last.reason=-\n", "" },
		{ "history.15=-\n", "history.15=-" },
		{ "history.15=-\n", "" },
	};
	struct record r, untouched = golden();
	char buf[RECORD_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		r = untouched;
		frame_changed(rows[i].from, rows[i].to, buf);
		ok(record_parse(buf, sizeof(buf), &r) == -EBADMSG && same(&r, &untouched),
		   "damage %zu, %.*s", i, (int)strcspn(rows[i].to, "\n"), rows[i].to);
	}
}

/* What a later version may write: it is read, and written back as it was. */
static void test_later(void)
{
	static const struct {
		const char *from, *to; /* in golden_body */
		const char *kept;      /* in what is written again */
	} rows[] = {
		{ "history.15=-\n", "history.15=-\nhealthy_sec=77\n", "\nhealthy_sec=77\n" },
		{ "gen=42\n", "gen=42\nhealthy_sec=77\n", "\nhealthy_sec=77\n" },
		{ "gen=42\n", "gen=42\nn=1\nn=1\n", "\nn=1\nn=1\n" },
		{ "gen=42\n", "gen=42\nwords=a = b \xc3\xa4 =\n", "\nwords=a = b \xc3\xa4 =\n" },
		{ "state.A=good\n", "state.A=good\nstate.C=good\n", "\nstate.C=good\n" },
		{ "refused.7=-\n", "refused.7=-\nrefused.8=-\n", "\nrefused.8=-\n" },
		{ "refused.7=-\n", "refused.7=-\nrefused.07=-\n", "\nrefused.07=-\n" },
		{ "history.15=-\n", "history.15=-\nhistory.16=0 x A -\n",
		  "\nhistory.16=0 x A -\n" },
		{ "kind=update", "kind=factory", "\nkind=factory\n" },
		{ "state.A=good", "state.A=worn", "\nstate.A=worn\n" },
		{ "state.B=unknown", "state.B=worn", "\nstate.B=worn\n" },
		{ "proven.B=no", "proven.B=0", "\nproven.B=0\n" },
		{ "last.phase=trial", "last.phase=asleep", "\nlast.phase=asleep\n" },
		{ "history.0=1735689600 trial B -", "history.0=1735689600 moved B -",
		  "\nhistory.0=1735689600 moved B -\n" },
		{ "history.0=1735689600 trial B -", "history.0=1735689600 trial B - 17 c=d",
		  "\nhistory.0=1735689600 trial B - 17 c=d\n" },
		{ "history.0=1735689600 trial B -", "history.0=1735689600 moved B why ",
		  "\nhistory.0=1735689600 moved B why \n" },
		/* The same in another order, or with zeros in front: no reason to lose it. */
		{ "committed=A\nstaged=B\n", "staged=B\ncommitted=A\n", "\nstaged=B\n" },
		{ "gen=42", "gen=042", "\ngen=42\n" },
		{ "format=1\n", "format=01\n", "format=1\n" },
	};
	struct record r, back;
	char buf[RECORD_SIZE], again[RECORD_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		frame_changed(rows[i].from, rows[i].to, buf);
		if (!ok(record_parse(buf, sizeof(buf), &r) == 0, "later %zu is read", i))
			continue;
		record_format(&r, again);
		ok(memmem(again, sizeof(again), rows[i].kept, strlen(rows[i].kept)) != NULL,
		   "later %zu is written back", i);
		ok(record_parse(again, sizeof(again), &back) == 0 && same(&r, &back),
		   "later %zu stays as it is", i);
	}
}

/* A word that is not known is none of ours, and goes when ours takes its place. */
static void test_later_words(void)
{
	struct record r;
	char buf[RECORD_SIZE];

	frame_changed("state.A=good\nstate.B=unknown\nproven.A=yes",
		      "state.A=worn\nstate.B=torn\nproven.A=maybe", buf);
	ok_int(record_parse(buf, sizeof(buf), &r), 0, "words of a later version");
	ok(r.state[SLOT_A] == STATE_OTHER && r.state[SLOT_B] == STATE_OTHER &&
		   r.proven[SLOT_A] == PROVEN_OTHER && r.proven[SLOT_B] == PROVEN_NO,
	   "are none of ours");
	ok_str(record_state_name(&r, SLOT_A), "worn", "and have their name");
	ok_str(record_proven_name(&r, SLOT_A), "maybe", "each");
	r.state[SLOT_B] = STATE_GOOD;
	record_format(&r, buf);
	ok(memmem(buf, sizeof(buf), "\nstate.A=worn\nstate.B=good\n", 27) != NULL,
	   "what is known by now is written, the other word stays");
	frame_changed("history.0=1735689600 trial", "history.0=1735689600 moved", buf);
	ok_int(record_parse(buf, sizeof(buf), &r), 0, "an event of a later version");
	ok_str(history_entry_name(&r.history[0]), "moved", "has its name");
	record_add_history(&r, 1, HISTORY_TRIAL, SLOT_A, "");
	ok_str(history_entry_name(&r.history[1]), "moved", "also when it is not the newest");
}

/* As much as is promised, and not a byte more. */
static void test_later_limits(void)
{
	char body[RECORD_SIZE], buf[RECORD_SIZE], line[RECORD_KEPT_MAX + 2];
	struct record r;

	for (size_t len = RECORD_KEPT_MAX; len <= RECORD_KEPT_MAX + 1; len++) {
		memset(line, 'x', len);
		line[1] = '=';
		line[len - 1] = '\n';
		line[len] = '\0';
		(void)snprintf(body, sizeof(body), "%s%s", golden_body, line);
		frame(body, strlen(body), buf);
		ok_int(record_parse(buf, sizeof(buf), &r), len > RECORD_KEPT_MAX ? -ENOTSUP : 0,
		       "%zu bytes of lines that are not known", len);
	}
	(void)snprintf(line, sizeof(line), "trial B - %0*d", RECORD_MORE_MAX - 1, 0);
	frame_changed("trial B -", line, buf);
	ok_int(record_parse(buf, sizeof(buf), &r), 0, "a history entry with more words");
	(void)snprintf(line, sizeof(line), "trial B - %0*d", RECORD_MORE_MAX, 0);
	frame_changed("trial B -", line, buf);
	ok_int(record_parse(buf, sizeof(buf), &r), -ENOTSUP, "one with too many");
}

/* Values at their limits that are right. */
static void test_limits(void)
{
	static const struct {
		const char *from, *to;
	} rows[] = {
		{ "gen=42", "gen=4611686018427387903" },
		{ "gen=42", "gen=0" },
		{ "attempts=2", "attempts=1000000" },
		{ "trial_reason=-", "trial_reason=abcdefghijklmnopqrstuvwxyz01234" },
		{ "trial_reason=-", "trial_reason=code-of-a-newer-version-2" },
		{ "last.count=7", "last.count=4294967295" },
		{ "last.count=7", "last.count=-" },
		{ "last.boot_id=0123456789abcdef0123456789abcdef", "last.boot_id=-" },
		{ "staged=B", "staged=-" },
		{ "state.B=unknown", "state.B=bad" },
		{ "state.A=good\nstate.B=unknown", "state.A=bad\nstate.B=bad" },
		{ "history.0=1735689600 trial B -", "history.0=0 rebuilt - wrong-slot" },
	};
	struct record r;
	char buf[RECORD_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		frame_changed(rows[i].from, rows[i].to, buf);
		ok_int(record_parse(buf, sizeof(buf), &r), 0, "%s", rows[i].to);
	}
}

static void test_frame(void)
{
	char buf[RECORD_SIZE + 1], copy[RECORD_SIZE];
	struct record r = golden();
	size_t survived = 0, body = strlen(golden_body);

	record_format(&r, buf);
	buf[RECORD_SIZE] = '\n';
	ok_int(record_parse(buf, RECORD_SIZE + 1, &r), -EBADMSG, "one byte too long");
	ok_int(record_parse(buf, RECORD_SIZE - 1, &r), -EBADMSG, "one byte too short");
	ok_int(record_parse(buf, 0, &r), -EBADMSG, "empty");
	for (size_t i = 0; i < RECORD_SIZE; i++)
		for (int bit = 0; bit < 8; bit += 7) {
			memcpy(copy, buf, RECORD_SIZE);
			copy[i] = (char)(copy[i] ^ (1 << bit));
			survived += record_parse(copy, RECORD_SIZE, &r) != -EBADMSG;
		}
	ok_int(survived, 0, "no flipped bit goes unseen");
	memset(copy, 0, RECORD_SIZE);
	ok_int(record_parse(copy, RECORD_SIZE, &r), -EBADMSG, "zeroes, as preallocated");
	memset(copy, '\n', RECORD_SIZE);
	ok_int(record_parse(copy, RECORD_SIZE, &r), -EBADMSG, "newlines");
	memset(copy, '\n', RECORD_SIZE);
	memcpy(copy, "crc32=00000000", 14);
	ok_int(record_parse(copy, RECORD_SIZE, &r), -EBADMSG, "a crc of nothing");
	memcpy(copy, buf, RECORD_SIZE);
	memset(copy + body, 'x', RECORD_SIZE - body);
	ok_int(record_parse(copy, RECORD_SIZE, &r), -EBADMSG, "no padding");
	memcpy(copy, buf, RECORD_SIZE);
	copy[body + strlen("crc32=00000000") + 3] = '\0';
	ok_int(record_parse(copy, RECORD_SIZE, &r), -EBADMSG, "NUL in the padding");
	frame("format=1\n", 9, copy);
	ok_int(record_parse(copy, RECORD_SIZE, &r), -EBADMSG, "nothing after the format");
}

static void test_newer(void)
{
	static const struct {
		const char *name, *body;
		int want;
	} rows[] = {
		{ "the next format", "format=2\nanything=else\n", -ENOTSUP },
		{ "a far format", "format=4294967295\n", -ENOTSUP },
		{ "not a number", "format=two\n", -EBADMSG },
		{ "not first", "gen=1\nformat=2\n", -EBADMSG },
		{ "format 0", "format=0\nanything=else\n", -EBADMSG },
	};
	struct record r;
	char buf[RECORD_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		frame(rows[i].body, strlen(rows[i].body), buf);
		ok_int(record_parse(buf, sizeof(buf), &r), rows[i].want, "newer: %s", rows[i].name);
	}
	frame("format=2\nanything=else\n", 23, buf);
	buf[10] ^= 1;
	ok_int(record_parse(buf, sizeof(buf), &r), -EBADMSG, "a newer one that is damaged");
}

/* ---- helpers ------------------------------------------------------------ */

static void test_lists(void)
{
	struct record r;
	char hash[3] = "00";

	record_init(&r, SLOT_A);
	record_refuse(&r, "");
	record_refuse(&r, "not hex");
	ok_str(r.refused[0], "", "what is no hash is not refused");
	ok(!record_is_refused(&r, ""), "no hash is never refused");
	for (int i = 0; i < 10; i++) {
		hash[1] = (char)('0' + i);
		record_refuse(&r, hash);
	}
	record_refuse(&r, "05");
	ok_str(r.refused[0], "09", "newest first");
	ok_str(r.refused[RECORD_REFUSED_MAX - 1], "02", "the oldest go");
	ok(record_is_refused(&r, "05") && !record_is_refused(&r, "01"), "refused or not");
	record_refuse(&r, r.refused[3]);
	ok_str(r.refused[0], "09", "one of its own, once");

	for (int i = 0; i < 20; i++)
		record_add_history(&r, (uint64_t)i, HISTORY_TRIAL, SLOT_B, i % 2 ? "mount" : "");
	ok_int(r.history_count, RECORD_HISTORY_MAX, "history is bounded");
	ok_int(r.history[0].time_sec, 19, "newest first");
	ok_int(r.history[RECORD_HISTORY_MAX - 1].time_sec, 4, "the oldest go");
	record_add_history(&r, 1, HISTORY_FAILED, SLOT_A, "Not A Code");
	ok_str(r.history[0].reason, "", "what is no code is left out");
	ok_str(history_event_name(HISTORY_GIVEN_UP), "given-up", "event name");
	ok_str(history_event_name((enum history_event)99), "?", "no event");
}

static void test_last(void)
{
	struct record r;

	record_init(&r, SLOT_A);
	strcpy(r.last.reason, "mount");
	record_set_last(&r, SLOT_B, PHASE_STARTED, "ffffffffffffffffffffffffffffffff", false, 9);
	ok_str(r.last.boot_id, "ffffffffffffffffffffffffffffffff", "boot id");
	ok_str(r.last.reason, "", "the reason of the boot before goes");
	ok(!r.last.has_count && r.last.count == 0, "no count");
	record_set_last(&r, SLOT_B, PHASE_STARTED, "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", true, 9);
	ok_str(r.last.boot_id, "", "not a boot id");
	record_set_last(&r, SLOT_B, PHASE_STARTED, "ff", true, 9);
	ok_str(r.last.boot_id, "", "too short for one");
	ok(record_is_hex("0", 1) && !record_is_hex("", 1) && !record_is_hex("00", 1) &&
		   !record_is_hex("A", 1),
	   "hex");
}

/* ---- files -------------------------------------------------------------- */

static int data_fd = -1;

static void begin(void)
{
	if (data_fd >= 0)
		(void)sys_close(data_fd);
	fake_reset();
	fake_dir("/data");
	data_fd = sys_open("/data", O_RDONLY | O_DIRECTORY, 0);
}

static struct record numbered(uint64_t gen, uint32_t mark)
{
	struct record r = golden();

	r.gen = gen;
	r.hard = mark;
	return r;
}

static void put_record(const char *path, uint64_t gen, uint32_t mark)
{
	struct record r = numbered(gen, mark);
	char buf[RECORD_SIZE];

	record_format(&r, buf);
	fake_file_data(path, buf, sizeof(buf));
}

static void put_future(const char *path)
{
	char buf[RECORD_SIZE];

	frame("format=2\nanything=else\n", 23, buf);
	fake_file_data(path, buf, sizeof(buf));
}

/* The generation a file holds, 0: none. */
static uint64_t gen_in(const char *path)
{
	_cleanup_free_ char *text = NULL;
	struct record r;
	size_t len;

	text = fake_read(path, &len);
	return text && record_parse(text, len, &r) == 0 ? r.gen : 0;
}

/* As after a load: on top of the newest there is. */
static int store(uint32_t mark)
{
	uint64_t newest = gen_in(NEWEST), older = gen_in(OLDER);
	struct record r = numbered(newest > older ? newest : older, mark);

	return record_store(data_fd, &r);
}

static void check_load(int want, uint32_t mark, const char *what)
{
	struct record r = { 0 };

	ok_int(record_load(data_fd, &r), want, "%s: load", what);
	if (want == RECORD_OK || want == RECORD_BACKUP)
		ok_int(r.hard, mark, "%s: which", what);
}

static void check_regular(const char *what)
{
	static const char *const paths[] = { NEWEST, OLDER };
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		ok(lstat(fake_path(paths[i]), &st) == 0 && S_ISREG(st.st_mode) &&
			   st.st_nlink == 1 && st.st_size == RECORD_SIZE,
		   "%s: %s is ours", what, paths[i]);
}

static void test_create(void)
{
	struct record r = golden();
	struct stat st;

	begin();
	check_load(RECORD_LOST, 0, "nothing there");
	r.gen = 0;
	r.hard = 1;
	ok_int(record_store(data_fd, &r), 0, "first store");
	ok_int(r.gen, 1, "generation 1");
	check_load(RECORD_OK, 1, "first");
	check_regular("first");
	ok(stat(fake_path("/data/bf"), &st) == 0 && (st.st_mode & 0777) == 0700, "bf is private");
	ok(stat(fake_path(OLDER), &st) == 0 && (st.st_mode & 0777) == 0600, "its files as well");
	r.hard = 2;
	ok_int(record_store(data_fd, &r), 0, "second store");
	ok(gen_in(NEWEST) == 2 && gen_in(OLDER) == 1, "the older one stays as the backup");
	r.hard = 3;
	ok_int(record_store(data_fd, &r), 0, "third store");
	ok(r.gen == 3 && gen_in(NEWEST) == 3 && gen_in(OLDER) == 2, "they take turns");
	check_load(RECORD_OK, 3, "third");
	check_regular("third");
	r.gen = 0;
	r.hard = 4;
	ok_int(record_store(data_fd, &r), -ESTALE, "one made from nothing, beside a good one");
	r.gen = 2;
	ok_int(record_store(data_fd, &r), -ESTALE,
	       "one made from the backup, beside the newer one");
	ok(r.gen == 2 && gen_in(NEWEST) == 3 && gen_in(OLDER) == 2, "and nothing is written");
	check_load(RECORD_OK, 3, "the last one");
	ok_int(fake_open_fds(), 1, "no fd left open");
}

static void test_status(void)
{
	static const struct {
		const char *name;
		uint64_t newest, older; /* generations; 0 absent, 1 damaged, 2 future */
		int want;
		uint32_t mark;			    /* 1 newest, 2 older */
		uint64_t after_newest, after_older; /* a store */
	} rows[] = {
		{ "both", 12, 11, RECORD_OK, 1, 13, 12 },
		{ "names not exchanged yet", 11, 12, RECORD_OK, 2, 13, 12 },
		{ "the same twice", 11, 11, RECORD_OK, 1, 12, 11 },
		{ "newest damaged", 1, 11, RECORD_BACKUP, 2, 12, 11 },
		{ "older damaged", 12, 1, RECORD_BACKUP, 1, 13, 12 },
		{ "newest absent", 0, 11, RECORD_BACKUP, 2, 12, 11 },
		{ "older absent", 12, 0, RECORD_BACKUP, 1, 13, 12 },
		{ "both damaged", 1, 1, RECORD_LOST, 0, 1, 1 },
		{ "one damaged, one absent", 0, 1, RECORD_LOST, 0, 1, 1 },
		{ "newest of the future", 2, 11, RECORD_FUTURE, 0, 0, 11 },
		{ "older of the future", 12, 2, RECORD_FUTURE, 0, 12, 0 },
		{ "future and damaged", 2, 1, RECORD_FUTURE, 0, 0, 0 },
	};
	const struct {
		const char *path;
		uint32_t mark;
	} files[] = { { NEWEST, 1 }, { OLDER, 2 } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const uint64_t gens[] = { rows[i].newest, rows[i].older };

		begin();
		fake_dir("/data/bf");
		for (size_t k = 0; k < ARRAY_SIZE(files); k++) {
			char garbage[RECORD_SIZE] = "format=1\n";

			if (gens[k] > 2)
				put_record(files[k].path, gens[k], files[k].mark);
			else if (gens[k] == 2)
				put_future(files[k].path);
			else if (gens[k] == 1)
				fake_file_data(files[k].path, garbage, sizeof(garbage));
		}
		check_load(rows[i].want, rows[i].mark, rows[i].name);
		ok_int(store(9), rows[i].want == RECORD_FUTURE ? -ENOTSUP : 0, "%s: store",
		       rows[i].name);
		ok(gen_in(NEWEST) == rows[i].after_newest && gen_in(OLDER) == rows[i].after_older,
		   "%s: generations %llu and %llu", rows[i].name,
		   (unsigned long long)gen_in(NEWEST), (unsigned long long)gen_in(OLDER));
		check_load(rows[i].want == RECORD_FUTURE ? RECORD_FUTURE : RECORD_OK, 9,
			   rows[i].name);
	}
}

/* What a kiosk that was taken over could leave behind under the record's name. */
enum trap {
	TRAP_LINK,
	TRAP_DANGLING,
	TRAP_FIFO,
	TRAP_DIR,
	TRAP_HARD_LINK,
	TRAP_SHORT,
	TRAP_LONG,
	TRAP_DEVICE,
	TRAP_COUNT
};

static void set_trap(enum trap trap, const char *path)
{
	char big[RECORD_SIZE + 1] = "";

	fake_remove(path);
	put_record("/data/elsewhere", 99, 99);
	switch (trap) {
	case TRAP_LINK:
		fake_symlink("../elsewhere", path);
		break;
	case TRAP_DANGLING:
		fake_symlink("/data/nothing", path);
		break;
	case TRAP_FIFO:
		ok(mkfifo(fake_path(path), 0600) == 0, "a FIFO is made");
		break;
	case TRAP_DIR:
		fake_dir(path);
		break;
	case TRAP_HARD_LINK: {
		_cleanup_free_ char *from = strdup(fake_path("/data/elsewhere"));

		ok(from && link(from, fake_path(path)) == 0, "a second name is made");
		break;
	}
	case TRAP_SHORT:
		fake_file(path, "format=1\n");
		break;
	case TRAP_LONG:
		fake_file_data(path, big, sizeof(big));
		break;
	case TRAP_DEVICE:
		put_record(path, 99, 99);
		fake_block_device(path, 259, 1);
		break;
	case TRAP_COUNT:
		break;
	}
}

static void test_traps(void)
{
	for (int trap = 0; trap < TRAP_COUNT; trap++) {
		for (int which = 0; which < 3; which++) { /* newest, older, both */
			char what[64];

			(void)snprintf(what, sizeof(what), "trap %d at %d", trap, which);
			begin();
			put_record(NEWEST, 12, 1);
			put_record(OLDER, 11, 2);
			if (which != 1)
				set_trap((enum trap)trap, NEWEST);
			if (which != 0)
				set_trap((enum trap)trap, OLDER);
			check_load(which == 2 ? RECORD_LOST : RECORD_BACKUP, which == 0 ? 2 : 1,
				   what);
			if (trap ==
			    TRAP_DEVICE) /* a real one would not survive unlink as a device */
				continue;
			ok_int(store(9), 0, "%s: store", what);
			check_load(RECORD_OK, 9, what);
			check_regular(what);
			ok_int(gen_in("/data/elsewhere"), 99, "%s: the file it led to is untouched",
			       what);
			ok(!fake_exists("/data/nothing"), "%s: nothing made elsewhere", what);
			ok_int(fake_open_fds(), 1, "%s: no fd left open", what);
		}
	}
}

static void test_directory_traps(void)
{
	begin();
	put_record("/data/other/boot-record", 12, 1);
	put_record("/data/other/boot-record.old", 11, 2);
	fake_symlink("other", "/data/bf");
	check_load(RECORD_LOST, 0, "bf is a link");
	ok_int(store(9), 0, "bf is a link: store");
	ok_int(gen_in("/data/other/boot-record"), 12, "and nothing is written there");
	ok(fake_exists("/data/bf.aside-0"), "the link is put aside");
	check_load(RECORD_OK, 9, "bf was a link");

	begin();
	fake_symlink("/nowhere", "/data/bf");
	check_load(RECORD_LOST, 0, "bf leads nowhere");
	ok_int(store(9), 0, "bf leads nowhere: store");
	ok(!fake_exists("/nowhere"), "and nothing is made");
	check_load(RECORD_OK, 9, "bf led nowhere");

	begin();
	fake_file("/data/bf", "not a directory\n");
	fake_file("/data/bf.aside-0", "of the last time\n");
	check_load(RECORD_LOST, 0, "bf is a file");
	ok_int(store(9), 0, "bf is a file: store");
	check_load(RECORD_OK, 9, "bf was a file");
	ok(fake_exists("/data/bf.aside-0") && fake_exists("/data/bf.aside-1"),
	   "what was put aside before stays");

	begin();
	put_record(NEWEST, 12, 1);
	fake_file("/data/bf/boot-record.old/x", "in the way\n");
	check_load(RECORD_BACKUP, 1, "a full directory in the way");
	ok_int(store(9), 0, "a full directory in the way: store");
	check_load(RECORD_OK, 9, "a full directory in the way, after");
	ok(fake_exists("/data/bf/boot-record.old.aside-0/x"), "it is put aside");
}

/* chattr +i or +a on a file, or on the directory: what root can set, root can take away. */
static void test_locked(void)
{
	static const char *const calls[] = { "exchange boot-record",
					     "pwrite /data/bf/boot-record" };

	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		begin();
		put_record(NEWEST, 12, 1);
		put_record(OLDER, 11, 2);
		fake_log_files(true);
		fake_result_once(calls[i], -EPERM);
		ok_int(store(9), 0, "locked: %s", calls[i]);
		ok(strstr(fake_log(), "allow-change /data/bf\n") &&
			   strstr(fake_log(), "allow-change /data/bf/boot-record\n") &&
			   strstr(fake_log(), "allow-change /data/bf/boot-record.old\n"),
		   "it is opened up: %s", calls[i]);
		fake_log_files(false);
		check_load(RECORD_OK, 9, "it was locked");
	}
	begin();
	put_record(NEWEST, 12, 1);
	put_record(OLDER, 11, 2);
	fake_result("pwrite /data/bf/boot-record", -EPERM);
	ok_int(store(9), -EPERM, "locked for good");
	check_load(RECORD_OK, 1, "locked for good: nothing is lost");

	begin();
	put_record(NEWEST, 12, 1);
	fake_file("/data/bf/boot-record.old/x", "in the way\n");
	for (unsigned n = 0; n < 10; n++) {
		_cleanup_free_ char *taken = strf("/data/bf/boot-record.old.aside-%u", n);

		fake_file(taken, "");
	}
	ok_int(store(9), 0, "every name is taken");
	check_load(RECORD_OK, 9, "every name was taken");
}

static void test_errors(void)
{
	struct record r = numbered(0, 5);

	begin();
	fake_result("fallocate", -ENOSPC);
	ok_int(record_store(data_fd, &r), -ENOSPC, "no space for the first one");
	ok_int(r.gen, 0, "gen stays on failure");
	begin();
	fake_result("fallocate", -EOPNOTSUPP);
	ok_int(store(5), 0, "a filesystem without fallocate");

	begin();
	put_record(NEWEST, 12, 1);
	put_record(OLDER, 11, 2);
	fake_result_once("pwrite", RECORD_SIZE); /* says it wrote */
	ok_int(store(9), -EIO, "what does not read back is an error");
	check_load(RECORD_OK, 1, "not read back");

	begin();
	fake_short_io(100);
	ok_int(store(5), 0, "short reads and writes");
	check_load(RECORD_OK, 5, "short reads and writes");

	begin();
	put_record(NEWEST, 12, 1);
	put_record(OLDER, 11, 2);
	fake_result("pread /data/bf/boot-record.old", -EIO);
	check_load(RECORD_BACKUP, 1, "the older one cannot be read");

	begin();
	put_record(NEWEST, 12, 1);
	put_record(OLDER, 11, 2);
	fake_result_once("pread /data/bf/boot-record.old", -EIO);
	ok_int(store(9), 0, "the older one cannot be read: it is replaced");
	check_load(RECORD_OK, 9, "the older one was replaced");

	begin();
	put_record(NEWEST, 12, 1);
	put_record(OLDER, 11, 2);
	fake_result("pread", -EIO);
	check_load(-EIO, 0, "nothing can be read");
	ok_int(store(9), -EIO, "nothing can be read: store");
	ok(gen_in(NEWEST) == 12 && gen_in(OLDER) == 11, "and both files stay");
}

static void test_invalid(void)
{
	struct record r;

	begin();
	put_record(NEWEST, 12, 1);
	put_record(OLDER, 11, 2);
	r = golden();
	r.staged = r.committed;
	ok_int(record_store(data_fd, &r), -EINVAL, "staged == committed");
	r = golden();
	strcpy(r.trial_reason, "x\nstate.A=bad");
	ok_int(record_store(data_fd, &r), -EINVAL, "a line in a value");
	r = golden();
	r.state[SLOT_B] = (enum slot_state)77;
	ok_int(record_store(data_fd, &r), -EINVAL, "not a state");
	r = golden();
	r.committed = SLOT_NONE;
	ok_int(record_store(data_fd, &r), -EINVAL, "nothing committed");
	r = golden();
	r.gen = RECORD_GEN_MAX - 1;
	ok_int(record_store(data_fd, &r), -EINVAL, "the end of generations");
	ok(gen_in(NEWEST) == 12 && gen_in(OLDER) == 11, "nothing was written");
}

/* Each call that makes a store durable, in its order. */
static void test_order(void)
{
	static const char *const steps[] = {
		"\npwrite /data/bf/boot-record.old",
		"\nfsync /data/bf/boot-record.old",
		"\nforget /data/bf/boot-record.old",
		"\npread /data/bf/boot-record.old",
		"\nexchange ",
		"\nfsync /data/bf\n",
	};
	const char *at;

	begin();
	put_record(NEWEST, 12, 1);
	put_record(OLDER, 11, 2);
	fake_log_files(true);
	ok_int(store(9), 0, "store");
	at = fake_log();
	for (size_t i = 0; at && i < ARRAY_SIZE(steps); i++) {
		at = strstr(at, steps[i]);
		ok(at != NULL, "in order: %s", steps[i] + 1);
	}
	ok(!strstr(fake_log(), "unlink"), "nothing is unlinked");
	ok(!strstr(fake_log(), "pwrite /data/bf/boot-record\n") &&
		   !strstr(fake_log(), "pwrite /data/bf/boot-record "),
	   "the newest is not written to");
	if (!at)
		printf("# %s\n", fake_log());

	begin();
	fake_log_files(true);
	ok_int(store(9), 0, "first store");
	at = strstr(fake_log(), "mkdir");
	ok(at && strstr(at, "\nfsync /data\n"), "the new directory is made durable");
}

/* ---- failing and cut off at every call ---------------------------------- */

enum start {
	START_EMPTY,
	START_BOTH,
	START_CROSSED,
	START_DAMAGED,
	START_ALONE,
	START_TRAP,
	START_COUNT
};

/* The record before has mark 1 in every case but the empty one. */
static void begin_at(enum start start)
{
	begin();
	switch (start) {
	case START_EMPTY:
		break;
	case START_BOTH:
		put_record(NEWEST, 12, 1);
		put_record(OLDER, 11, 2);
		break;
	case START_CROSSED:
		put_record(NEWEST, 11, 2);
		put_record(OLDER, 12, 1);
		break;
	case START_DAMAGED:
		fake_file(NEWEST, "garbage\n");
		put_record(OLDER, 12, 1);
		break;
	case START_ALONE:
		put_record(NEWEST, 12, 1);
		break;
	case START_TRAP:
		put_record(NEWEST, 12, 1);
		fake_symlink("boot-record", OLDER);
		break;
	case START_COUNT:
		break;
	}
}

static bool check_after(enum start start, int stored, const char *how, unsigned k)
{
	struct record r = { 0 };
	int status;
	bool good;

	fake_fail_at(0, 0);
	fake_short_io(0);
	status = record_load(data_fd, &r);
	good = status == RECORD_OK || status == RECORD_BACKUP;
	if (stored == 0)
		good = good && r.hard == 9;
	else if (start == START_EMPTY && status == RECORD_LOST)
		good = true;
	else
		good = good && (r.hard == 1 || r.hard == 9);
	if (start == START_EMPTY)
		good = good && (status == RECORD_LOST || r.hard == 9);
	if (!good)
		printf("# start %d, %s at call %u: store %d, load %d, mark %u\n", start, how, k,
		       stored, status, r.hard);
	/* and the next store works as if nothing had been */
	if (store(10) != 0 || record_load(data_fd, &r) != RECORD_OK || r.hard != 10) {
		printf("# start %d, %s at call %u: no store afterwards\n", start, how, k);
		good = false;
	}
	if (fake_open_fds() != 1) {
		printf("# start %d, %s at call %u: fd left open\n", start, how, k);
		good = false;
	}
	return good;
}

/* One store with its k-th call failing, or cut off there; false when it has no k-th call. */
static bool fault_at(enum start start, int error, unsigned k, unsigned *bad)
{
	int stored;

	begin_at(start);
	if (error) {
		fake_fail_at(k, error);
	} else {
		fake_cut_at(k);
		fake_short_io(RECORD_SIZE / 4); /* several writes, so cut inside of one, too */
	}
	stored = store(9);
	if (fake_calls() < k) {
		*bad += stored != 0;
		return false;
	}
	*bad += !check_after(start, stored, error ? "failed" : "cut", k);
	return true;
}

static void test_sweep(void)
{
	static const int errors[] = { EIO, ENOSPC, 0 }; /* 0: the power is cut */
	unsigned points = 0, bad = 0;

	for (int start = 0; start < START_COUNT; start++)
		for (size_t e = 0; e < ARRAY_SIZE(errors); e++)
			for (unsigned k = 1; fault_at((enum start)start, errors[e], k, &bad); k++)
				points++;
	ok_int(bad, 0, "the old or the new record after %u faults", points);
	ok(points > 300, "enough faults were tried");
}

/* The older file holds any mix of old and new, as after a cut in the middle of a write. */
static void test_torn(void)
{
	struct record r, older = numbered(11, 2), next = numbered(13, 9);
	char before[RECORD_SIZE], after[RECORD_SIZE], mix[RECORD_SIZE];
	unsigned bad = 0;

	record_format(&older, before);
	record_format(&next, after);
	for (size_t n = 0; n <= 2048; n++) {
		size_t cut = n <= 1536 ? n : (n - 1536) * 16; /* every byte, then every sixteenth */
		uint32_t got;

		begin();
		put_record(NEWEST, 12, 1);
		memcpy(mix, before, RECORD_SIZE);
		memcpy(mix, after, cut);
		fake_file_data(OLDER, mix, RECORD_SIZE);
		if (record_load(data_fd, &r) < 0) {
			bad++;
			continue;
		}
		got = r.hard;
		bad += got != 1 && got != 9;
	}
	ok_int(bad, 0, "no torn write is taken for a record");
}

static void test_status_names(void)
{
	ok_str(record_status_name(RECORD_OK), "ok", "name of ok");
	ok_str(record_status_name(RECORD_BACKUP), "backup", "name of backup");
	ok_str(record_status_name(RECORD_LOST), "lost", "name of lost");
	ok_str(record_status_name(RECORD_FUTURE), "future", "name of future");
	ok_str(record_status_name(RECORD_FUTURE + 1), "?", "name of none");
}

int main(void)
{
	test_golden();
	test_longest();
	test_reasons();
	test_damage();
	test_later();
	test_later_words();
	test_later_limits();
	test_limits();
	test_frame();
	test_newer();
	test_lists();
	test_last();
	test_create();
	test_status();
	test_traps();
	test_directory_traps();
	test_locked();
	test_errors();
	test_invalid();
	test_order();
	test_sweep();
	test_torn();
	(void)sys_close(data_fd);
	test_status_names();
	return tap_done();
}
