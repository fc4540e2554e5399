// SPDX-License-Identifier: MIT
/* A datagram; and, because they are small, the tables of routes. */
#include "guard/heartbeat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct notify *n)
{
	const char *end = memchr(n->status, '\0', sizeof(n->status));

	if (!end || (end != n->status && !n->has_status))
		abort();
	for (const char *s = n->status; s < end; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			abort();
	if (!n->ready && !n->watchdog && !n->trigger && !n->has_status &&
	    n->server == SERVER_UNSAID)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct heartbeat h = { 0 };
	struct notify n = { 0 };
	char *text = malloc(size + 1);

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (notify_parse(text, size, &n) == 0) {
		check(&n);
		h.told = 1000000;
		heartbeat_hear(&h, &n, 1, 1000000);
		if (h.beat_at == 0 && (n.ready || n.watchdog))
			abort();
	}
	(void)route4_has_default(text);
	(void)route6_has_default(text);
	free(text);
	return 0;
}
