/* SPDX-License-Identifier: MIT */
/*
 * What the guard tells everybody: two files in its runtime directory that anybody may read, each
 * replaced whole. Whoever wants to know asks nothing of the guard, so no account can keep it busy,
 * or keep others out.
 *
 * Times in them are CLOCK_BOOTTIME, so that they stay true. While a file is what the guard says
 * now, the guard holds a write lock on it (fcntl(2)), which nobody but root could hold instead. A
 * file without one was left by a guard that is gone, or that could not replace it.
 */
#pragma once

#include "boot/base.h"

#include <systemd/sd-event.h>

#define PUBLISH_TEXT "status"	   /* for people, by bf-guard status */
#define PUBLISH_JSON "status.json" /* for programs */

struct publish;

/* Allocated; NULL without memory. */
typedef char *(*publish_text_fn)(void *userdata, bool json);

/* @dir has to be there, and has to outlive it. -ENOMEM. */
_must_check_ int publish_new(struct publish **ret, sd_event *event, const char *dir,
			     publish_text_fn text, void *userdata);
/* The files stay, without their locks. Returns NULL; NULL is fine. */
struct publish *publish_free(struct publish *p);
/*
 * Something may be different: asks for both texts and replaces what is, now or, where that was done
 * a moment ago, soon. A failure is reported once, and tried again with the next change.
 */
void publish_changed(struct publish *p);

enum published {
	PUBLISHED_OLD,	   /* nobody stands by it */
	PUBLISHED_CURRENT, /* it is what the guard says now */
};

/* A reader's side: the text of @dir/@name, which the caller frees. An enum published, or -errno;
 * -ENOENT: no guard has said anything. */
_must_check_ int publish_read(const char *dir, const char *name, char **ret);
