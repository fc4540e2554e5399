// SPDX-License-Identifier: MIT
#include "boot/ini.h"

#include "tests/lib/tap.h"

struct item {
	enum ini_item item;
	unsigned line;
	const char *section, *key, *value;
};

static void expect(const char *text, const struct item *want, const char *what)
{
	char *copy = strdup(text);
	struct ini ini;
	size_t i = 0;

	if (!copy)
		abort();
	ini_start(&ini, copy);
	do {
		ok_int(ini_next(&ini), want[i].item, "%s: kind of item %zu", what, i);
		if (want[i].item == INI_END)
			break;
		ok_int(ini.line, want[i].line, "%s: line", what);
		ok_str(ini.section, want[i].section, "%s: section", what);
		ok_str(ini.key, want[i].key, "%s: key", what);
		ok_str(ini.value, want[i].value, "%s: value", what);
	} while (++i);
	ok_int(ini_next(&ini), INI_END, "%s: the end stays the end", what);
	free(copy);
}

static void test_items(void)
{
	expect("stray=1\n\n[ a ]\n # no=1\n;no=2\n b = c d \nnothing\n[x]y\nk==v\r\n[open\n=z",
	       (const struct item[]) {
		       { INI_KEY, 1, "", "stray", "1" },
		       { INI_SECTION, 3, " a ", "", "" },
		       { INI_KEY, 6, " a ", "b", "c d" },
		       { INI_ODD, 7, " a ", "", "" },
		       { INI_SECTION, 8, "x", "", "" },
		       { INI_KEY, 9, "x", "k", "=v" },
		       { INI_ODD, 10, "[", "", "" },
		       { INI_KEY, 11, "[", "", "z" },
		       { INI_END },
	       },
	       "all of it");
	expect("", (const struct item[]) { { INI_END } }, "empty");
	expect("\xef\xbb\xbf", (const struct item[]) { { INI_END } }, "only a byte order mark");
}

/* What an editor on another system saves. */
static void test_other_editors(void)
{
	static const struct item want[] = {
		{ INI_SECTION, 1, "kiosk", "", "" },
		{ INI_KEY, 2, "kiosk", "unit", "x.service" },
		{ INI_END },
	};

	expect("\xef\xbb\xbf[kiosk]\r\n\tunit\t=\tx.service\t\r\n\r\n", want,
	       "byte order mark, tabs and carriage returns");
	expect("\xef\xbb\xbf  [kiosk]\nunit=x.service", want, "blanks before a section");
}

int main(void)
{
	test_items();
	test_other_editors();
	return tap_done();
}
