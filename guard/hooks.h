/* SPDX-License-Identifier: MIT */
/*
 * greenboot's hooks: programs that are run after the verdict, one after the other, each within the
 * time of a check script and all within a bound. What they answer is logged, and changes nothing.
 */
#pragma once

#include "guard/script.h"

enum hooks_kind {
	HOOKS_GREEN, /* the committed slot is healthy in this boot */
	HOOKS_RED,   /* a trial was rejected; the reboot waits for them */
};

#define HOOKS_GREEN_MAX UINT64_C(300000000) /* microseconds for all of them */
#define HOOKS_RED_MAX	UINT64_C(20000000)

struct hooks {
	struct script_runner runner;
	struct script_list scripts;
	uint64_t timeout_usec, end;
	size_t at; /* which one runs */
	void (*done)(void *userdata);
	void *userdata;
};

/* @timeout_usec: of each. */
void hooks_init(struct hooks *h, sd_event *event, uint64_t timeout_usec,
		void (*done)(void *userdata), void *userdata);
/* @root: below which greenboot's folders are ("": the system's). True: they run, and .done is
 * called at their end. False: there are none. Those that still ran are ended. */
bool hooks_start(struct hooks *h, const char *root, enum hooks_kind kind);
/* Without a callback. */
void hooks_stop(struct hooks *h);
