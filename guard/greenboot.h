/* SPDX-License-Identifier: MIT */
/* What greenboot's files say, and where they are: checks written for it run here unchanged. */
#pragma once

#include "boot/base.h"

#define GREENBOOT_CONFIG     "etc/greenboot/greenboot.conf"
#define GREENBOOT_CONFIG_MAX 65536 /* bytes; a longer one is not read */

/* Below which there are check/required.d, check/wanted.d, green.d and red.d: all of both are run,
 * the vendor's first; neither hides the other. */
extern const char *const greenboot_places[2];

/* greenboot.conf below @root, for greenboot_disables(); NULL: there is none, or it cannot be read.
 */
char *greenboot_read_config(const char *root);

/*
 * Pure. Is the script @name in DISABLED_HEALTHCHECKS of the configuration @text? That is bash;
 * understood are words, quotes, comments, and += after =. What is not names no script.
 */
bool greenboot_disables(const char *text, const char *name);
