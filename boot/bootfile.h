/* SPDX-License-Identifier: MIT */
/*
 * /run/bf/boot: what bf-init tells the running system about this boot.
 *
 * Format: an env-file (systemd.exec(5), EnvironmentFile=), good for a shell and for udev's
 * IMPORT{file} too: KEY=value a line, text in double quotes. The keys, for others who read it:
 * bf-init(8). Whoever reads it passes over keys that he does not know.
 */
#pragma once

#include "boot/parts.h"
#include "boot/record.h"

#include <limits.h>

#define BOOT_FILE_DIR  "/run/bf"
#define BOOT_FILE_PATH BOOT_FILE_DIR "/boot"

/* The stages of a boot, each with the time of its end. */
#define STAGES(X)                                                                                  \
	X(START, "start")                                                                          \
	X(MODULES, "modules")                                                                      \
	X(DISK, "disk")                                                                            \
	X(DATA, "data")                                                                            \
	X(DECIDE, "decide")                                                                        \
	X(ROOT, "root")                                                                            \
	X(MOUNTS, "mounts")                                                                        \
	X(HANDOVER, "handover")

enum stage {
#define X(id, name) STAGE_##id,
	STAGES(X)
#undef X
		STAGE_COUNT
};

const char *stage_name(enum stage s); /* "?" out of range */

/* Values of .data */
#define BOOT_DATA_OK	   "ok"
#define BOOT_DATA_MISSING  "missing"
#define BOOT_DATA_READONLY "readonly"

struct boot_file {
	enum slot slot, committed; /* SLOT_NONE: nothing says which */
	bool trial, committable, limbo, mismatch;
	char reason[RECORD_CODE_MAX + 1]; /* "": none */
	bool degraded;			  /* BF_DATA does not serve in full */
	char data[16];
	char data_dir[PATH_MAX]; /* where BF_DATA is mounted; "": nowhere */
	bool data_checked;
	uint32_t data_lost_lines, data_mended;
	char data_why[256]; /* one sentence, "": nothing to say; cut short when longer */
	char record[16];    /* record_status_name() */
	char selector[16];  /* selector_state_name() */
	char boot_id[33];   /* lower-case hex, or "" */
	bool tryboot;	    /* as the firmware says */
	bool has_count;
	uint32_t count;
	char disk[PART_NAME_SIZE]; /* kernel names; "": missing */
	char part[PART_COUNT][PART_NAME_SIZE];
	char roothash[RECORD_HASH_MAX + 1]; /* lower-case hex, or "" */
	char verity[16];		    /* "V"; "": no verity device */
	bool verity_fec, verity_signature;
	char machine_id[16]; /* what became of it: initramfs/init/handover.h */
	bool clock_set, watchdog, rescue;
	uint64_t stage_end_usec[STAGE_COUNT]; /* CLOCK_MONOTONIC; 0: not reached */
};

/* The text; the caller frees. Control characters in it became "?". NULL when out of memory. */
char *boot_file_format(const struct boot_file *b);

/* -EBADMSG: no slot line, or a value that cannot be; *ret is as it was. What is not in @text is 0.
 */
_must_check_ int boot_file_parse(const char *text, struct boot_file *ret);

/* The file itself. */
_must_check_ int boot_file_write(const struct boot_file *b);
_must_check_ int boot_file_read(struct boot_file *ret);
