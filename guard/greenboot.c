// SPDX-License-Identifier: MIT
#include "guard/greenboot.h"

#include "boot/sys.h"

#include <fcntl.h>

const char *const greenboot_places[2] = { "usr/lib/greenboot", "etc/greenboot" };

char *greenboot_read_config(const char *root)
{
	_cleanup_free_ char *path = strf("%s/" GREENBOOT_CONFIG, root);
	char *text = NULL;
	size_t len;

	if (!path || sys_read_file(AT_FDCWD, path, GREENBOOT_CONFIG_MAX, &text, &len) < 0)
		return NULL;
	return text;
}

/* Reads the word at *@at, and goes on to what ends it; is it @name? */
static bool word_is(const char **at, const char *name)
{
	const char *s = *at, *expected = name;
	bool same = true;
	char quote = '\0';

	for (; *s && (quote || !strchr(" \t\r\n)", *s)); s++) {
		if (quote ? *s == quote : *s == '"' || *s == '\'') {
			quote = quote ? '\0' : *s;
			continue;
		}
		if (*s == '\\' && quote != '\'' && s[1])
			s++;
		same = same && *s == *expected;
		expected += same;
	}
	*at = s;
	return same && !*expected;
}

/* Is @name in the list at *@at, which goes on to its end? */
static bool list_has(const char **at, const char *name)
{
	bool has = false;

	for (;;) {
		*at += strspn(*at, " \t\r\n");
		if (**at == '#')
			*at += strcspn(*at, "\n");
		else if (!**at || **at == ')')
			return has;
		else if (word_is(at, name))
			has = true;
	}
}

bool greenboot_disables(const char *text, const char *name)
{
	bool disabled = false;

	while (*text) {
		const char *at = text + strspn(text, " \t"), *after;
		bool more = false;

		after = startswith(at, "export ");
		at = after ? after + strspn(after, " \t") : at;
		after = startswith(at, "DISABLED_HEALTHCHECKS");
		if (after && *after == '+') {
			more = true;
			after++;
		}
		if (after && *after++ == '=') {
			at = after + (*after == '(');
			disabled = (more && disabled) |
				   (*after == '(' ? list_has(&at, name) : word_is(&at, name));
		}
		text = at + strcspn(at, "\n");
		text += *text == '\n';
	}
	return disabled;
}
