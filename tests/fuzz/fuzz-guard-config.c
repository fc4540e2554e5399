// SPDX-License-Identifier: MIT
#include "guard/config.h"

#include "boot/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_warning(void *userdata, const char *file, unsigned line, const char *what,
			  const char *cure)
{
	(void)userdata, (void)file;
	if (line == 0 || !*what || !*cure || text_has_control(what) || text_has_control(cure))
		abort();
}

/* Whatever the file says, a trial has a window and an end, and a name is a name. */
static void check(const struct config *c)
{
	const struct policy_config *p = &c->policy;

	if (p->window < 1000000 || p->window > UINT64_C(3600000000) || p->deadline < 10000000 ||
	    p->deadline > UINT64_C(86400000000) || p->commit_timeout < 10000000 ||
	    p->server_deadline < 10000000 || p->stay < 60000000 || p->recovery < 1000000)
		abort();
	if (!memchr(c->unit, '\0', sizeof(c->unit)) || !strstr(c->unit, ".service") ||
	    strchr(c->unit, '/') || !memchr(c->user, '\0', sizeof(c->user)) ||
	    !memchr(c->marker, '\0', sizeof(c->marker)) || (*c->marker && *c->marker != '/') ||
	    !memchr(c->check_dir, '\0', sizeof(c->check_dir)))
		abort();
	if (c->crashes < 1 || c->crash_window == 0 || c->check_timeout == 0 ||
	    c->try_from_min >= 1440 || c->try_to_min >= 1440)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = calloc(1, size + 1);
	struct config c;

	if (!text)
		return 0;
	memcpy(text, data, size);
	config_init(&c);
	config_parse(&c, text, size, "f", check_warning, NULL);
	free(text);
	check(&c);
	return 0;
}
