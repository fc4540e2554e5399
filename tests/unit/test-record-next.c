// SPDX-License-Identifier: MIT
/*
 * The next version of the record, with a key that this one does not have, beside this one: what
 * a trial writes must be read by the slot that it falls back to. Here the next version is this
 * version's source with one more counter. (That this version keeps such a key: test-record.c,
 * and tests/vm/test_mini_select.py.)
 */
#define RECORD_LATE_COUNTERS(X) X(healthy_sec, "healthy_sec") X(next_sec, "next_sec")
#include "boot/record.c"

#include "tests/lib/tap.h"

static struct record base(void)
{
	struct record r;

	record_init(&r, SLOT_A);
	r.gen = 3;
	r.next_sec = 77;
	return r;
}

static bool has_key_in(const struct record *r)
{
	char buf[RECORD_SIZE];

	record_format(r, buf);
	return memmem(buf, sizeof(buf), "\nnext_sec=77\n", 13) != NULL;
}

/* The same record after one write and one read, as the next boot sees it. */
static struct record reread(const struct record *r)
{
	char buf[RECORD_SIZE];
	struct record back = { 0 };

	record_format(r, buf);
	ok_int(record_parse(buf, sizeof(buf), &back), 0, "it is read back");
	return back;
}

static void test_only_when_settled(void)
{
	struct record r = base();

	ok(has_key_in(&r), "settled: the new key is written");
	r.staged = SLOT_B;
	ok(!has_key_in(&r), "something is staged, or on trial: it is not");
	r.staged = SLOT_NONE;
	r.probation = true;
	ok(!has_key_in(&r), "in probation: it is not");
	ok_int(reread(&r).next_sec, 0, "and the next boot knows nothing of it");
}

static void test_stays_once_it_is_there(void)
{
	struct record settled = base(), r = reread(&settled);

	ok_int(r.next_sec, 77, "a settled slot's counter is read");
	r.staged = SLOT_B;
	ok(has_key_in(&r), "it stays when something is staged");
	r.staged = SLOT_NONE;
	r.probation = true;
	ok(has_key_in(&r), "and in probation");
	ok_int(reread(&r).next_sec, 77, "for every boot that follows");
}

static void test_missing(void)
{
	struct record r = base();
	char buf[RECORD_SIZE], *line;

	record_format(&r, buf);
	line = memmem(buf, sizeof(buf), "next_sec=", 9);
	ok(line != NULL, "the key has a line");
	if (!line)
		return;
	memcpy(line, "NEXT", 4); /* a key that is not known; the crc is made anew */
	line = memmem(buf, sizeof(buf), CRC_KEY, strlen(CRC_KEY));
	(void)snprintf(line, CRC_LINE + 1, CRC_KEY "%08x", crc_of(buf, (size_t)(line - buf)));
	line[CRC_LINE] = '\n';
	ok_int(record_parse(buf, sizeof(buf), &r), 0, "a record of the version before is read");
	ok_int(r.next_sec, 0, "without the key its counter is 0");
	ok_int(r.late_read, 1U << LATE_healthy_sec, "and it was not there");
}

int main(void)
{
	test_only_when_settled();
	test_stays_once_it_is_there();
	test_missing();
	return tap_done();
}
