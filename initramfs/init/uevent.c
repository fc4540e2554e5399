// SPDX-License-Identifier: MIT
#include "initramfs/init/uevent.h"

/* dev_t of the kernel: 12 bits and 20 bits (Linux include/linux/kdev_t.h). */
#define MAJOR_MAX 0xfffu
#define MINOR_MAX 0xfffffu

struct pairs { /* the keys read so far */
	struct uevent e;
	const char *major, *minor;
};

static int take_pair(struct pairs *p, const char *pair)
{
	const struct {
		const char *key;
		const char **value;
	} ours[] = {
		{ "ACTION=", &p->e.action },   { "DEVPATH=", &p->e.devpath },
		{ "MAJOR=", &p->major },       { "SUBSYSTEM=", &p->e.subsystem },
		{ "MINOR=", &p->minor },       { "DEVTYPE=", &p->e.devtype },
		{ "DEVNAME=", &p->e.devname }, { "PARTNAME=", &p->e.partname },
	};

	for (size_t i = 0; i < ARRAY_SIZE(ours); i++) {
		const char *value = startswith(pair, ours[i].key);

		if (!value)
			continue;
		if (*ours[i].value)
			return -EBADMSG;
		*ours[i].value = value;
		return 0;
	}
	return 0;
}

static int finish(struct pairs *p, struct uevent *ret)
{
	if (!p->major != !p->minor)
		return -EBADMSG;
	if (p->major) {
		if (parse_u32(p->major, 10, &p->e.major) < 0 || p->e.major > MAJOR_MAX ||
		    parse_u32(p->minor, 10, &p->e.minor) < 0 || p->e.minor > MINOR_MAX)
			return -EBADMSG;
		p->e.has_number = true;
	}
	*ret = p->e;
	return 0;
}

int uevent_parse_message(char *buf, size_t len, struct uevent *ret)
{
	struct pairs p = { 0 };
	const char *end = buf + len, *s = buf;

	if (!len || buf[len - 1] != '\0' || !strchr(buf, '@'))
		return -EBADMSG;
	for (s += strlen(s) + 1; s < end; s += strlen(s) + 1) {
		int r = take_pair(&p, s);

		if (r < 0)
			return r;
	}
	if (!p.e.action || !p.e.devpath || !p.e.subsystem)
		return -EBADMSG;
	return finish(&p, ret);
}

int uevent_parse_file(char *text, struct uevent *ret)
{
	struct pairs p = { 0 };
	char *line, *rest = text;

	while ((line = strsep(&rest, "\n"))) {
		int r = take_pair(&p, line);

		if (r < 0)
			return r;
	}
	/* What the file says of itself is its place, which the caller knows better. */
	p.e.action = p.e.devpath = p.e.subsystem = NULL;
	return finish(&p, ret);
}
