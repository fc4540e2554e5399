// SPDX-License-Identifier: MIT
#include "boot/tool/ini.h"

static char *trim(char *s)
{
	char *end;

	s += strspn(s, " \t");
	for (end = s + strlen(s); end > s && strchr(" \t\r", end[-1]); end--)
		;
	*end = '\0';
	return s;
}

void ini_start(struct ini *ret, char *text)
{
	*ret = (struct ini) { .rest = text, .section = "", .key = "", .value = "" };
}

bool ini_next(struct ini *ini)
{
	char *line;

	while ((line = strsep(&ini->rest, "\n"))) {
		char *equals, *end;

		line = trim(line);
		end = strchr(line, ']');
		if (*line == '[' && end) {
			*end = '\0';
			ini->section = line + 1;
			continue;
		}
		equals = strchr(line, '=');
		if (!equals || strchr("#;[", *line))
			continue;
		*equals = '\0';
		ini->key = trim(line);
		ini->value = trim(equals + 1);
		return true;
	}
	return false;
}
