/* SPDX-License-Identifier: MIT */
/*
 * The daemon: one event loop, one thread. What its parts hear comes up to it as
 * callbacks; it feeds the reducer with that, and runs the actions that come out.
 */
#pragma once

#define GUARD_DIR "/run/bf-guard"

/* Guards this boot, until SIGTERM. @dir: GUARD_DIR; @root: "/". -errno. */
int guard_run(const char *dir, const char *root);
