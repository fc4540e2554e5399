/* SPDX-License-Identifier: MIT */
/* Runs bf-boot's commands in this process and keeps what they said. */
#pragma once

#include "tests/lib/bf-boot-device.h"
#include "tests/lib/tap.h"

struct answer {
	int status; /* -1: left by exec */
	char *out, *err;
};

/* One call of bf-boot, for ask_run() in fake_run(): where to say it, and what became of it. */
struct question {
	int argc;
	char *argv[8];
	FILE *out, *err;
	int status;
};
void ask_run(void *question);

/* Words up to NULL, six at most. Valid until the next call. The last newline of .err is cut off. */
__attribute__((sentinel)) const struct answer *ask(const char *word, ...);

/* What the record says now; ends the test program when there is none. */
struct record stored(void);

/* The slot that the sector on this disk ("nvme0n1p") names now, SLOT_NONE: none. */
enum slot sector_of(const char *part_prefix);

/* The file @path below the root holds @text and nothing else. */
bool file_says(const char *path, const char *text);

/* A device with @rec, and nothing in the log; the sector names its committed slot. */
void device_with(const struct record *rec, enum slot running);
