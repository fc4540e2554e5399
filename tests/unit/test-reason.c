// SPDX-License-Identifier: MIT
#include "boot/reason.h"
#include "boot/record.h"
#include "tests/lib/tap.h"

static bool is_sentence(const char *s)
{
	size_t n = strlen(s);

	return n > 1 && *s != ' ' && s[n - 1] == '.' && s[n - 2] != '.' && !strchr(s, '\n');
}

static void test_table(void)
{
	for (int i = REASON_NONE + 1; i < REASON_END; i++) {
		const struct reason_text *t = reason_text((enum reason)i);
		size_t n = strlen(t->code);

		ok(n > 0 && n <= RECORD_CODE_MAX &&
			   strspn(t->code, "abcdefghijklmnopqrstuvwxyz-") == n,
		   "code \"%s\" fits into the record", t->code);
		ok_int(reason_parse(t->code), i, "code \"%s\" is unique", t->code);
		ok(is_sentence(t->what), "what: %s", t->what);
		ok(is_sentence(t->todo), "todo: %s", t->todo);
	}
}

static void test_outside(void)
{
	ok_str(reason_text(REASON_NONE)->code, "-", "no reason");
	ok_str(reason_text(REASON_END)->code, "-", "behind the table");
	ok_str(reason_text((enum reason) - 1)->code, "-", "before the table");
	ok(reason_parse("data-path") >= REASON_COUNT, "a reason of an older version is still read");
	ok_int(reason_parse("-"), REASON_NONE, "parse -");
	ok_int(reason_parse(""), REASON_NONE, "parse nothing");
	ok_int(reason_parse("Mount"), REASON_NONE, "parse other case");
	ok_int(reason_parse("mount "), REASON_NONE, "parse with a space");
	ok_int(reason_parse("no-such-reason"), REASON_NONE, "parse unknown");
}

static void test_failure(void)
{
	char longest[1000];
	struct failure f;

	ok_int(failure_set(&f, REASON_MOUNT, EROFS, "%s", "/var"), -EROFS, "returns -errno");
	ok(f.reason == REASON_MOUNT && f.error == EROFS && streq(f.text, "/var"),
	   "keeps all of it");
	ok_int(failure_set(&f, REASON_FSTAB, 0, "line %d", 3), -EPROTO, "without an errno");
	ok(f.reason == REASON_FSTAB && f.error == 0 && streq(f.text, "line 3"), "keeps that");
	ok_int(failure_set(&f, REASON_MOUNT, ENOMEM, "x"), -ENOMEM, "out of memory");
	ok_int(f.reason, REASON_OUT_OF_MEMORY, "is its own reason");
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	ok_int(failure_set(&f, REASON_MOUNT, EIO, "%s", longest), -EIO, "a long text");
	ok_int(strlen(f.text), sizeof(f.text) - 1, "is cut");
}

int main(void)
{
	test_table();
	test_outside();
	test_failure();
	return tap_done();
}
