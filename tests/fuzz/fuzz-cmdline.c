// SPDX-License-Identifier: MIT
#include "boot/cmdline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct cmdline *c, int r, const struct failure *f)
{
	size_t digits = c->roothash ? strlen(c->roothash) : 32;

	if (digits % 2 || digits < 32 || digits > 128 ||
	    (c->roothash && strspn(c->roothash, "0123456789abcdef") != digits))
		abort();
	if ((c->init && *c->init != '/') || c->device_wait_sec < 1 || c->device_wait_sec > 600 ||
	    c->failure_show_sec > 600 || c->deadline_sec < 10 || c->deadline_sec > 3600 ||
	    c->watchdog_sec > 600)
		abort();
	if (r < 0 && (f->reason == REASON_NONE || !*f->text))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct failure f = { 0 };
	struct cmdline c;
	int r;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	r = cmdline_parse(text, &c, &f);
	check(&c, r, &f);
	cmdline_done(&c);
	free(text);
	return 0;
}
