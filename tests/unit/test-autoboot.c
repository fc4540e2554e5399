// SPDX-License-Identifier: MIT
#include "boot/pi/autoboot.h"
#include "tests/lib/tap.h"

#define CANONICAL "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n"

struct row {
	const char *name;
	const char *text;
	int a_b;
	uint32_t all, tryboot;
	enum slot committed;
};

static const struct row rows[] = {
	/* complete */
	{ "A", CANONICAL, 1, 2, 3, SLOT_A },
	{ "B", "[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=2\n", 1, 3, 2,
	  SLOT_B },
	{ "CRLF", "[all]\r\ntryboot_a_b=1\r\nboot_partition=2\r\n[tryboot]\r\nboot_partition=3\r\n",
	  1, 2, 3, SLOT_A },
	{ "no newline at the end",
	  "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3", 1, 2, 3, SLOT_A },
	{ "comments, blank and unknown lines",
	  "# boot\n\n[all]\nPARTITION_WALK=1\ntryboot_a_b=1\n#boot_partition=3\nboot_partition=2\n"
	  "[tryboot]\nhello\nboot_partition=3\n",
	  1, 2, 3, SLOT_A },
	{ "no [all] line", "tryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n", 1, 2,
	  3, SLOT_A },
	{ "blanks around lines",
	  " [all] \n\ttryboot_a_b=1\t\nboot_partition=2 \n [tryboot]\nboot_partition=3\n", 1, 2, 3,
	  SLOT_A },
	{ "later lines win",
	  "boot_partition=1\nboot_partition=2\ntryboot_a_b=0\ntryboot_a_b=1\n"
	  "[tryboot]\nboot_partition=2\nboot_partition=3\n",
	  1, 2, 3, SLOT_A },
	{ "[none] hides", CANONICAL "[none]\nboot_partition=9\ntryboot_a_b=0\n", 1, 2, 3, SLOT_A },
	{ "a filter of config.txt hides", CANONICAL "[pi5]\nboot_partition=9\n", 1, 2, 3, SLOT_A },
	{ "leading zeros",
	  "[all]\ntryboot_a_b=1\nboot_partition=02\n[tryboot]\nboot_partition=003\n", 1, 2, 3,
	  SLOT_A },
	{ "a_b below [tryboot]", "boot_partition=2\n[tryboot]\ntryboot_a_b=1\nboot_partition=3\n",
	  1, 2, 3, SLOT_A },

	/* incomplete: no selection of ours */
	{ "empty", "", 0, 0, 0, SLOT_NONE },
	{ "newlines", "\n\n\n", 0, 0, 0, SLOT_NONE },
	{ "only one partition", "boot_partition=2\n", 0, 2, 0, SLOT_NONE },
	{ "no tryboot_a_b", "[all]\nboot_partition=2\n[tryboot]\nboot_partition=3\n", 0, 2, 3,
	  SLOT_NONE },
	{ "tryboot_a_b=0", "[all]\ntryboot_a_b=0\nboot_partition=2\n[tryboot]\nboot_partition=3\n",
	  0, 2, 3, SLOT_NONE },
	{ "tryboot_a_b=2", "[all]\ntryboot_a_b=2\nboot_partition=2\n[tryboot]\nboot_partition=3\n",
	  0, 2, 3, SLOT_NONE },
	{ "tryboot_a_b=11",
	  "[all]\ntryboot_a_b=11\nboot_partition=2\n[tryboot]\nboot_partition=3\n", 0, 2, 3,
	  SLOT_NONE },
	{ "a_b taken back for trials", CANONICAL "tryboot_a_b=0\n", 0, 2, 3, SLOT_NONE },
	{ "no [tryboot]", "[all]\ntryboot_a_b=1\nboot_partition=2\n", 1, 2, 0, SLOT_NONE },
	{ "[tryboot] without a partition", "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\n", 1,
	  2, 0, SLOT_NONE },
	{ "no [all] partition", "[all]\ntryboot_a_b=1\n[tryboot]\nboot_partition=3\n", 1, 0, 3,
	  SLOT_NONE },
	{ "both sections equal",
	  "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=2\n", 1, 2, 2,
	  SLOT_NONE },
	{ "a partition that is no slot",
	  "[all]\ntryboot_a_b=1\nboot_partition=1\n[tryboot]\nboot_partition=3\n", 1, 1, 3,
	  SLOT_NONE },
	{ "a trial partition that is no slot",
	  "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=5\n", 1, 2, 5,
	  SLOT_NONE },
	{ "partition 0", "[all]\ntryboot_a_b=1\nboot_partition=0\n[tryboot]\nboot_partition=3\n", 1,
	  0, 3, SLOT_NONE },
	{ "garbage behind a number",
	  "[all]\ntryboot_a_b=1\nboot_partition=2x\n[tryboot]\nboot_partition=3\n", 1, 0, 3,
	  SLOT_NONE },
	{ "garbage overrides a number", CANONICAL "boot_partition=3x\n", 1, 2, 0, SLOT_NONE },
	{ "a number that overflows",
	  "[all]\ntryboot_a_b=1\nboot_partition=4294967298\n[tryboot]\nboot_partition=3\n", 1, 0, 3,
	  SLOT_NONE },
	{ "a negative number",
	  "[all]\ntryboot_a_b=1\nboot_partition=-2\n[tryboot]\nboot_partition=3\n", 1, 0, 3,
	  SLOT_NONE },
	{ "hex", "[all]\ntryboot_a_b=1\nboot_partition=0x2\n[tryboot]\nboot_partition=3\n", 1, 0, 3,
	  SLOT_NONE },
	{ "no number", "[all]\ntryboot_a_b=1\nboot_partition=\n[tryboot]\nboot_partition=3\n", 1, 0,
	  3, SLOT_NONE },
	{ "spaces around =",
	  "[all]\ntryboot_a_b=1\nboot_partition = 2\n[tryboot]\nboot_partition= 3\n", 1, 0, 0,
	  SLOT_NONE },
	{ "upper case", "[ALL]\nTRYBOOT_A_B=1\nBOOT_PARTITION=2\n[TRYBOOT]\nBOOT_PARTITION=3\n", 0,
	  0, 0, SLOT_NONE },
	{ "all of it below [none]", "[none]\n" CANONICAL, 1, 2, 3, SLOT_A },
	{ "[tryboot] does not end [none]",
	  "tryboot_a_b=1\nboot_partition=2\n[none]\n[tryboot]\nboot_partition=3\n", 1, 2, 0,
	  SLOT_NONE },
	{ "[tryboot] does not end an unknown filter",
	  "tryboot_a_b=1\nboot_partition=2\n[pi5]\n[tryboot]\nboot_partition=3\n", 1, 2, 0,
	  SLOT_NONE },
	{ "[all] behind [tryboot] counts in a trial",
	  "tryboot_a_b=1\n[tryboot]\nboot_partition=3\n[all]\nboot_partition=2\n", 1, 2, 2,
	  SLOT_NONE },
	{ "a comment behind a value",
	  "[all]\ntryboot_a_b=1\nboot_partition=2 # A\n[tryboot]\nboot_partition=3\n", 1, 0, 3,
	  SLOT_NONE },
	{ "a filter that is not closed is no filter",
	  "[none\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n", 1, 2, 3,
	  SLOT_A },
	{ "CR alone is no line end",
	  "[all]\rtryboot_a_b=1\rboot_partition=2\r[tryboot]\rboot_partition=3\r", 0, 0, 0,
	  SLOT_NONE },
	{ "a byte order mark", "\xef\xbb\xbf" CANONICAL, 1, 2, 3, SLOT_A },
	{ "a byte order mark before the only [all] line's value",
	  "\xef\xbb\xbf"
	  "boot_partition=2\ntryboot_a_b=1\n[tryboot]\nboot_partition=3\n",
	  1, 0, 3, SLOT_NONE },
};

static void test_texts(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		struct autoboot got = { .all_partition = 4711 };

		ok_int(autoboot_parse(row->text, strlen(row->text), &got), 0, "parse: %s",
		       row->name);
		ok_int(got.tryboot_a_b, row->a_b, "tryboot_a_b");
		ok_int(got.all_partition, row->all, "[all]");
		ok_int(got.tryboot_partition, row->tryboot, "[tryboot]");
		ok_int(autoboot_committed(&got), row->committed, "committed");
	}
}

static void test_refused(void)
{
	static const struct {
		const char *name;
		const char *data;
		size_t len;
	} bad[] = {
		{ "a NUL", "[all]\0\n", 7 },
		{ "a NUL at the end", CANONICAL, sizeof(CANONICAL) },
		{ "an escape", "\x1b[all]\n", 7 },
		{ "DEL", "\x7f\n", 2 },
		{ "garbage", "\x8f\x02\xff\x13\x00\x7f\xc3", 7 },
		{ "form feed", "\f", 1 },
	};
	char text[AUTOBOOT_SIZE + 100];
	struct autoboot got = { .all_partition = 4711 };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ok_int(autoboot_parse(bad[i].data, bad[i].len, &got), -EINVAL, "refused: %s",
		       bad[i].name);
	memset(text, '\n', sizeof(text));
	memcpy(text, CANONICAL, strlen(CANONICAL));
	ok_int(autoboot_parse(text, 600, &got), -E2BIG, "600 bytes");
	ok_int(autoboot_parse(text, 513, &got), -E2BIG, "513 bytes");
	memset(text, 0xff, sizeof(text));
	ok_int(autoboot_parse(text, 600, &got), -E2BIG, "600 bytes of garbage");
	ok_int(got.all_partition, 4711, "nothing returned");
	memset(text, '[', sizeof(text));
	ok_int(autoboot_parse(text, 512, &got), 0, "one line of 512 bytes");
	ok_int(autoboot_committed(&got), SLOT_NONE, "which says nothing");
}

/* Every text that lost its tail must not become another complete selection. */
static void test_cut(void)
{
	char text[AUTOBOOT_SIZE];
	struct autoboot got;
	size_t wrong = 0;

	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		autoboot_format(slot, text);
		for (size_t len = 0; len <= sizeof(text); len++)
			wrong += autoboot_parse(text, len, &got) < 0 ||
				 autoboot_committed(&got) == slot_other(slot);
	}
	ok_int(wrong, 0, "no prefix names the other slot");
}

static void test_format(void)
{
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		char text[AUTOBOOT_SIZE];
		struct autoboot got;

		autoboot_format(slot, text);
		ok(!memchr(text, '\0', sizeof(text)) && text[sizeof(text) - 1] == '\n',
		   "text of %s is text", slot_name(slot));
		ok_int(autoboot_parse(text, sizeof(text), &got), 0, "and can be read");
		ok_int(autoboot_committed(&got), slot, "and names it");
		if (slot == SLOT_A)
			ok(memcmp(text, CANONICAL "\n\n", strlen(CANONICAL) + 2) == 0,
			   "word for word the documentation's");
	}
}

int main(void)
{
	test_texts();
	test_refused();
	test_cut();
	test_format();
	return tap_done();
}
