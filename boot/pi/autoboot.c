// SPDX-License-Identifier: MIT
#include "boot/pi/autoboot.h"

#include "boot/io.h"
#include "boot/pi/partition.h"

/*
 * Which boots a line counts for. The firmware reads the file once, from top to
 * bottom: a line below [all] counts in a trial too, so it also overrides an
 * earlier one below [tryboot]. Filters of different kinds add up until the
 * next [all] (config_txt/conditional.adoc): [tryboot] does not end [none].
 */
enum section { SECTION_ALL, SECTION_TRYBOOT, SECTION_NONE };

static enum section next_section(enum section now, const char *line)
{
	if (streq(line, "[all]"))
		return SECTION_ALL;
	if (streq(line, "[tryboot]") && now != SECTION_NONE)
		return SECTION_TRYBOOT;
	return SECTION_NONE; /* [none], and every filter that is for config.txt only */
}

/*
 * Nobody says what the firmware makes of "2x": so it is not a partition we
 * know of, and the line still overrides an earlier good one.
 */
static uint32_t partition_of(const char *value)
{
	uint32_t partition;

	return parse_u32(value, 10, &partition) == 0 ? partition : 0;
}

static void parse_line(const char *line, enum section *section, struct autoboot *a)
{
	const char *value;

	if (*line == '[' && line[strlen(line) - 1] == ']') {
		*section = next_section(*section, line);
		return;
	}
	if (*section == SECTION_NONE)
		return;
	value = startswith(line, "tryboot_a_b=");
	if (value)
		a->tryboot_a_b = streq(value, "1");
	value = startswith(line, "boot_partition=");
	if (!value)
		return;
	if (*section == SECTION_ALL)
		a->all_partition = partition_of(value);
	if (*section == SECTION_TRYBOOT || a->tryboot_partition)
		a->tryboot_partition = partition_of(value);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static bool is_text(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text_is_control(text[i]) && text[i] != '\n' && !is_blank(text[i]))
			return false;
	return true;
}

int autoboot_parse(const char *text, size_t len, struct autoboot *ret)
{
	enum section section = SECTION_ALL;
	struct autoboot a = { 0 };
	size_t start, end;

	if (len > AUTOBOOT_SIZE)
		return -E2BIG;
	if (!is_text(text, len))
		return -EINVAL;
	for (size_t pos = 0; pos < len; pos = end + 1) {
		char line[AUTOBOOT_SIZE + 1];
		size_t stop;

		for (end = pos; end < len && text[end] != '\n'; end++)
			;
		for (start = pos; start < end && is_blank(text[start]); start++)
			;
		for (stop = end; stop > start && is_blank(text[stop - 1]); stop--)
			;
		memcpy(line, text + start, stop - start);
		line[stop - start] = '\0';
		parse_line(line, &section, &a);
	}
	*ret = a;
	return 0;
}

enum slot autoboot_committed(const struct autoboot *a)
{
	enum slot committed = partition_slot(a->all_partition);
	enum slot trial = partition_slot(a->tryboot_partition);

	if (!a->tryboot_a_b || committed == SLOT_NONE || trial != slot_other(committed))
		return SLOT_NONE;
	return committed;
}

void autoboot_format(enum slot committed, char buf[static AUTOBOOT_SIZE])
{
	char text[AUTOBOOT_SIZE];
	int n;

	n = snprintf(text, sizeof(text),
		     "[all]\ntryboot_a_b=1\nboot_partition=%u\n[tryboot]\nboot_partition=%u\n",
		     partition_number(committed), partition_number(slot_other(committed)));
	memset(buf, '\n', AUTOBOOT_SIZE);
	memcpy(buf, text, (size_t)n);
}
