/* SPDX-License-Identifier: MIT */
/*
 * Entries for the journal that never wait for it. libsystemd's socket blocks, and
 * journald may stand still with the disk that it writes to: the guard would stand
 * still with it, be killed by its watchdog, and in the end have a good slot
 * rebooted. So a line that would have to wait is dropped, and counted.
 *
 * systemd's JOURNAL_NATIVE_PROTOCOL: a datagram of lines KEY=value.
 */
#pragma once

#include "boot/base.h"

#define JOURNAL_ENTRY_MAX 4096

struct journal_field {
	const char *key, *value;
};

/* Whether standard error is the journal; @root: where its socket is looked for. */
bool journal_open(const char *root);
void journal_send(const struct journal_field fields[], size_t count);

/* Pure. Values are made one line, and cut to fit; returns the length, without a NUL. */
size_t journal_format(char *buf, size_t size, const struct journal_field fields[], size_t count);
