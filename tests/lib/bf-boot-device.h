/* SPDX-License-Identifier: MIT */
/*
 * A whole device below the test double's root, as bf-boot finds it: what bf-init
 * said, a selector partition, boot partitions, BF_DATA with a record.
 */
#pragma once

#include "boot/sys.h"
#include "boot/tool/tool.h"
#include "tests/lib/fake-sys.h"

#define DEVICE_DATA    "/data"
#define DEVICE_BOOT_ID "0123456789abcdef0123456789abcdef"
/* The root hash that the boot image of the other slot names. */
#define DEVICE_HASH "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00"

struct device {
	const char *part_prefix; /* "nvme0n1p": the partitions are this and 1 to 6 */
	unsigned fat_bits;
	uint32_t block_bytes;
	enum slot running, selector; /* SLOT_NONE: no autoboot.txt */
	bool trial;
	const char *boot_file;	     /* lines that come last in /run/bf/boot, so they win */
	const struct record *record; /* NULL: none stored */
};

/* An NVMe disk with blocks of 512 bytes; slot A runs, the sector names it, no record is stored. */
extern const struct device device_default;

/* The fake root must be there and empty. */
void device_make(const struct device *d);

/* Parts of it, for what has changed since: what bf-init said, the selector partition. */
void device_boot_file(const struct device *d);
void device_selector(const struct device *d);

/* A record some months old: both slots were committed once. */
void device_record(struct record *rec, enum slot committed);

/* Stores *rec as the newest generation; ends the test program when it cannot. */
void device_store(struct record *rec);

/* One partition in sysfs, as the kernel shows it. */
void device_sysfs(const char *part_prefix, unsigned number, const char *label, dev_t dev);

/* A file below the root; at most 4095 bytes. */
void device_text(const char *path, const char *fmt, ...) _printf_(2, 3);
