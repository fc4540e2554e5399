/* SPDX-License-Identifier: MIT */
/*
 * The six partitions of a device, in the order in which they lie on its disk. Their GPT labels
 * are the product's prefix and the names below.
 */
#pragma once

#include "boot/base.h"
#include "boot/product.h"

#define PARTS(X) X(BOOTSEL) X(BOOT_A) X(BOOT_B) X(ROOT_A) X(ROOT_B) X(DATA)

enum part {
#define X(id) PART_##id,
	PARTS(X)
#undef X
		PART_COUNT
};

#define PART_LABEL(id) BF_LABEL_PREFIX "_" #id /* PART_LABEL(DATA): "BF_DATA" */
/* A kernel name, "nvme0n1p4", with its NUL: DISK_NAME_LEN of Linux */
#define PART_NAME_SIZE 32

const char *part_label(enum part part); /* @part: not PART_COUNT */
/* PART_COUNT for SLOT_NONE */
enum part part_boot(enum slot slot);
enum part part_root(enum slot slot);
