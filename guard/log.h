/* SPDX-License-Identifier: MIT */
/*
 * Where the guard's lines go: the journal, without ever waiting for it, where systemd
 * started the guard; else standard error.
 */
#pragma once

#include "guard/journal.h"

#define GUARD_LOG_FIELDS_MAX 8

/* @root: below which the journal's socket is looked for ("/"). */
void guard_log_open(const char *root);
void guard_log(enum log_level level, const char *fmt, ...) _printf_(2, 3);
/* One line with @fields of its own, GUARD_LOG_FIELDS_MAX at most: for the catalog and for programs.
 * Standard error gets the text alone. */
void guard_log_fields(enum log_level level, const char *text, const struct journal_field fields[],
		      size_t count);
