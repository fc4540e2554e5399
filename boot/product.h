/* SPDX-License-Identifier: MIT */
/*
 * The names of the product, in one place. Another product changes these lines.
 */
#pragma once

#define BF_VERSION "0.1.0"

/* What the person before the screen knows the device as. */
#define BF_PRODUCT "BetterFrame"

/* GPT partition labels: BF_BOOTSEL, BF_BOOT_A, … (see README, "Disk"). */
#define BF_LABEL_PREFIX "BF"
