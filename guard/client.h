/* SPDX-License-Identifier: MIT */
/* The commands that have to do with a guard that runs. All return an exit status of bf-guard(8). */
#pragma once

#include "boot/base.h"

enum { EXIT_OK, EXIT_REFUSED, EXIT_USAGE, EXIT_NO_GUARD };

/* @dir: its runtime directory. */
int client_status(const char *dir, bool json, bool follow);
int client_wait(const char *dir);
int client_try(const char *dir);
/* @words are lines as notify_parse() takes them; without any, WATCHDOG=1. */
int client_beat(const char *dir, char *const words[], int count);
