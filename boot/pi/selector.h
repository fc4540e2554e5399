/* SPDX-License-Identifier: MIT */
/*
 * autoboot.txt on its disk: found and read without a mount, changed by exactly
 * one aligned write of one logical block, read back and compared.
 */
#pragma once

#include "boot/pi/autoboot.h"
#include "boot/pi/fat.h"

/*
 * In place means: where the file's size is exactly AUTOBOOT_SIZE (the
 * firmware reads as many bytes as the FAT says, and we do not touch the FAT),
 * and its 512 bytes lie within one logical block. A selection that somebody
 * wrote shorter is obeyed by the firmware, so it is VALID, although
 * selector_write() refuses it; longer than AUTOBOOT_SIZE is never valid. Where it
 * cannot be written in place, only a mount makes the file anew.
 */
enum selector_state {
	SELECTOR_VALID,	  /* a complete A/B selection: committed says which */
	SELECTOR_INVALID, /* in place, but its text is lost, garbage, or no A/B selection */
	SELECTOR_GONE,	  /* no FAT, no file, or neither a selection nor in place */
};

const char *selector_state_name(enum selector_state state); /* "valid", "invalid", "gone" */

struct selector {
	enum selector_state state;
	enum slot committed;   /* SLOT_NONE unless VALID */
	bool in_place;	       /* selector_write() can change it; GONE: never, INVALID: always */
	uint64_t offset_bytes; /* of the text on the partition; meaningless when GONE */
	uint32_t block_bytes;  /* logical block of the device */
};

/*
 * Reads the state of BF_BOOTSEL through @fd, in whole aligned blocks. Only I/O
 * errors are errors.
 */
_must_check_ int selector_read(int fd, struct selector *ret);

/*
 * Makes @committed the slot the firmware boots. @path is the block device; it
 * is opened O_DIRECT | O_DSYNC here. Nothing but the one block is written, and
 * nothing at all when the text is already right. The block's other bytes (on
 * disks with 4096-byte blocks) are kept.
 * 0 written, or already right, and durable; -ENOENT when there is nothing that
 * can be written; -EINVAL @committed is not a slot; -EIO when it reads back
 * otherwise; else -errno of the kernel. After an error the disk holds either text.
 */
_must_check_ int selector_write(const char *path, enum slot committed);
