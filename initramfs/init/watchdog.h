/* SPDX-License-Identifier: MIT */
/*
 * The hardware watchdog: opened as early as its driver allows, kicked as long as patience.h
 * says, never closed with 'V', handed over open and ticking.
 * One PID 1 has one watchdog: the state is in this file.
 */
#pragma once

#include "boot/base.h"

/*
 * Tries to open /dev/watchdog0 with @timeout_sec (0: leave it alone). Calls after a success do
 * nothing. 0 opened now or before, -ENOENT not there (yet), else -errno.
 */
int watchdog_open(uint32_t timeout_sec);
void watchdog_kick(void); /* from any thread */
bool watchdog_is_open(void);
/* Makes the fd survive exec (clears FD_CLOEXEC). Returns the fd, -1 if none. */
int watchdog_hand_over(void);
