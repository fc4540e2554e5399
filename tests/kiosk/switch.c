// SPDX-License-Identifier: MIT
#include "tests/kiosk/switch.h"

#define SWITCH_TEXT_MAX 63

static const struct {
	const char *name;
	uint32_t number;
	const char *help;
} switches[SWITCHES] = {
	[SWITCH_NONE] = { "none", 0, "works" },
	[SWITCH_NEVER_STARTS] = { "never-starts", 0, "ends before it is ready, and stays ended" },
	[SWITCH_DIES] = { "dies", 20, "ends for good after N seconds (20)" },
	[SWITCH_LOOP] = { "loop", 2, "ends after N seconds (2), each time it is started again" },
	[SWITCH_SILENT] = { "silent", 0, "runs, but never beats" },
	[SWITCH_REFUSED] = { "refused", 0, "beats, but the server refuses it" },
	[SWITCH_MEMORY] = { "memory", 32, "takes N MiB (32) more each second" },
	[SWITCH_HANGS] = { "hangs", 20, "stops (SIGSTOP) after N seconds (20)" },
	[SWITCH_OTHER_USER] = { "other-user", 0, "silent; another account beats for it" },
	[SWITCH_OTHER_UNIT] = { "other-unit", 0, "silent; its account beats from another unit" },
	[SWITCH_LATE] = { "late", 30, "beats only after N seconds (30)" },
	[SWITCH_FLOOD] = { "flood", 1000, "sends the guard N datagrams (1000) a second" },
};

const char *switch_name(enum kiosk_switch what)
{
	return what < SWITCHES ? switches[what].name : "?";
}

const char *switch_help(enum kiosk_switch what)
{
	return what < SWITCHES ? switches[what].help : "?";
}

static int parse(const char *text, size_t len, struct switch_setting *ret)
{
	char copy[SWITCH_TEXT_MAX + 1], *number;
	struct switch_setting found;

	if (len > SWITCH_TEXT_MAX)
		return -EINVAL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	number = strchr(copy, ':');
	if (number)
		*number++ = '\0';
	for (size_t i = 0; i < SWITCHES; i++) {
		if (!streq(copy, switches[i].name))
			continue;
		found = (struct switch_setting) { (enum kiosk_switch)i, switches[i].number };
		if (number && parse_u32(number, 10, &found.number) < 0)
			return -EINVAL;
		*ret = found;
		return 0;
	}
	return -EINVAL;
}

int switch_parse(const char *text, struct switch_setting *ret)
{
	size_t len = strcspn(text, "\n");

	return text[len] != '\0' && text[len + 1] != '\0' ? -EINVAL : parse(text, len, ret);
}

int switch_from_cmdline(const char *cmdline, struct switch_setting *ret)
{
	struct switch_setting found = *ret;

	while (*cmdline) {
		size_t len = strcspn(cmdline, " \n");
		const char *value = startswith(cmdline, "bf.kiosk=");
		int r;

		if (value) {
			r = parse(value, len - (size_t)(value - cmdline), &found);
			if (r < 0)
				return r;
		}
		cmdline += len;
		cmdline += strspn(cmdline, " \n");
	}
	*ret = found;
	return 0;
}
