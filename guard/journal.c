// SPDX-License-Identifier: MIT
#include "guard/journal.h"

#include "boot/io.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct {
	int fd;
	struct sockaddr_un address;
	unsigned lost; /* lines, since the last one that was taken */
} journal = { .fd = -1 };

bool journal_open(const char *root)
{
	struct sockaddr_un *a = &journal.address;
	int n;

	if (!getenv("JOURNAL_STREAM"))
		return false;
	*a = (struct sockaddr_un) { .sun_family = AF_UNIX };
	n = snprintf(a->sun_path, sizeof(a->sun_path), "%s/run/systemd/journal/socket",
		     streq(root, "/") ? "" : root);
	if (n < 0 || (size_t)n >= sizeof(a->sun_path))
		*a->sun_path = '\0';
	/* Standard error is no way out: it is a socket of the journal's that blocks as well. */
	return true;
}

size_t journal_format(char *buf, size_t size, const struct journal_field fields[], size_t count)
{
	size_t at = 0;

	for (size_t i = 0; i < count; i++) {
		size_t key = strlen(fields[i].key);

		if (size - at < key + 2)
			break;
		memcpy(buf + at, fields[i].key, key);
		at += key;
		buf[at++] = '=';
		for (const char *s = fields[i].value; *s && at + 1 < size; s++)
			buf[at++] = text_is_control(*s) ? ' ' : *s;
		buf[at++] = '\n';
	}
	return at;
}

/* To the name each time: a journal that is started anew may have another socket. */
static bool take(const struct journal_field fields[], size_t count)
{
	static const char from[] = "SYSLOG_IDENTIFIER=bf-guard\n";
	char entry[JOURNAL_ENTRY_MAX];
	size_t n = sizeof(from) - 1;

	memcpy(entry, from, n);
	n += journal_format(entry + n, sizeof(entry) - n, fields, count);

	if (journal.fd < 0)
		journal.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return sendto(journal.fd, entry, n, MSG_DONTWAIT | MSG_NOSIGNAL,
		      (const struct sockaddr *)&journal.address, sizeof(journal.address)) >= 0;
}

static void tell_lost(void)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "the journal did not take %u lines", journal.lost);
	if (take((const struct journal_field[]) { { "MESSAGE", text }, { "PRIORITY", "4" } }, 2))
		journal.lost = 0;
}

void journal_send(const struct journal_field fields[], size_t count)
{
	if (journal.lost > 0)
		tell_lost();
	if (!take(fields, count))
		journal.lost++;
}
