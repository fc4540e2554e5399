// SPDX-License-Identifier: MIT
#include "guard/hooks.h"

#include "guard/device.h"
#include "guard/greenboot.h"
#include "guard/log.h"

static const struct {
	const char *folder;
	uint64_t max;
} kinds[] = {
	[HOOKS_GREEN] = { "green.d", HOOKS_GREEN_MAX },
	[HOOKS_RED] = { "red.d", HOOKS_RED_MAX },
};

static void report(const struct script *s)
{
	bool well = s->answer.end == SCRIPT_EXITED && s->answer.status == 0;
	char says[SCRIPT_SAYS_MAX];

	script_says(s, says);
	guard_log(well ? LOG_LEVEL_INFO : LOG_LEVEL_NOTICE, "hook %s: %s", s->path, says);
}

/* From .at on, until one runs; false when it was the last. */
static bool go_on(struct hooks *h)
{
	for (; h->at < h->scripts.count; h->at++) {
		struct script *s = &h->scripts.list[h->at];
		uint64_t now = device_now();

		if (now >= h->end) {
			guard_log(LOG_LEVEL_NOTICE, "hook %s: not run, there is no time left",
				  s->path);
			continue;
		}
		h->runner.timeout_usec =
			h->end - now < h->timeout_usec ? h->end - now : h->timeout_usec;
		script_start(s, &h->runner);
		if (s->job)
			return true;
		report(s);
	}
	script_list_clear(&h->scripts);
	return false;
}

static void on_done(void *userdata, struct script *s)
{
	struct hooks *h = userdata;

	report(s);
	h->at++;
	if (!go_on(h))
		h->done(h->userdata);
}

void hooks_init(struct hooks *h, sd_event *event, uint64_t timeout_usec,
		void (*done)(void *userdata), void *userdata)
{
	*h = (struct hooks) { .timeout_usec = timeout_usec, .done = done, .userdata = userdata };
	h->runner = (struct script_runner) {
		.event = event, .in_units = script_in_units(), .done = on_done, .userdata = h
	};
}

bool hooks_start(struct hooks *h, const char *root, enum hooks_kind kind)
{
	_cleanup_free_ char *config = greenboot_read_config(root);

	hooks_stop(h);
	h->at = 0;
	h->end = device_now() + kinds[kind].max;
	for (size_t i = 0; i < ARRAY_SIZE(greenboot_places); i++) {
		_cleanup_free_ char *folder =
			strf("%s/%s/%s", root, greenboot_places[i], kinds[kind].folder);
		int r = folder ? script_list_add(&h->scripts, folder, false, config) : -ENOMEM;

		if (r < 0)
			guard_log(LOG_LEVEL_WARNING, "%s: %s", folder ? folder : "hooks",
				  r == -E2BIG ? "too many scripts" : strerror(-r));
	}
	return go_on(h);
}

void hooks_stop(struct hooks *h)
{
	script_list_clear(&h->scripts);
}
