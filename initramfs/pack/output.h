/* SPDX-License-Identifier: MIT */
/*
 * Writing the finished image: all of it, or nothing.
 */
#pragma once

#include "initramfs/pack/problem.h"
#include "initramfs/pack/tree.h"

/*
 * Puts @data at @path: into a new file beside it first, synced, then renamed over
 * it. On failure, and on SIGINT, SIGTERM, SIGHUP, what was at @path stays as it
 * was and nothing else is left. A link at @path stays; what it names is replaced,
 * and must be there.
 * Something at @path that is no regular file (a pipe, /dev/stdout) is written to
 * as it is.
 */
_must_check_ int output_write(const char *path, const struct blob *data, struct problem *p);
