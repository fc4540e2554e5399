// SPDX-License-Identifier: MIT
#include "boot/ini.h"

#define BYTE_ORDER_MARK "\xef\xbb\xbf"

static char *trim(char *s)
{
	char *end;

	s += strspn(s, " \t\r");
	for (end = s + strlen(s); end > s && strchr(" \t\r", end[-1]); end--)
		;
	*end = '\0';
	return s;
}

void ini_start(struct ini *ret, char *text)
{
	if (startswith(text, BYTE_ORDER_MARK))
		text += strlen(BYTE_ORDER_MARK);
	*ret = (struct ini) { .rest = text, .section = "", .key = "", .value = "" };
}

static enum ini_item read_section(struct ini *ini, char *line)
{
	char *end = strchr(line, ']');

	ini->section = end ? line + 1 : "[";
	if (!end)
		return INI_ODD;
	*end = '\0';
	return INI_SECTION;
}

enum ini_item ini_next(struct ini *ini)
{
	char *line, *equals;

	ini->key = ini->value = "";
	do {
		line = strsep(&ini->rest, "\n");
		if (!line)
			return INI_END;
		ini->line++;
		line = trim(line);
	} while (!*line || *line == '#' || *line == ';');
	if (*line == '[')
		return read_section(ini, line);
	equals = strchr(line, '=');
	if (!equals)
		return INI_ODD;
	*equals = '\0';
	ini->key = trim(line);
	ini->value = trim(equals + 1);
	return INI_KEY;
}
