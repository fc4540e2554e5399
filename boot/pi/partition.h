/* SPDX-License-Identifier: MIT */
/*
 * The numbers by which the firmware and its files know our boot partitions; for this folder only.
 * All others speak of slots.
 */
#pragma once

#include "boot/base.h"

enum slot partition_slot(uint32_t partition); /* 2 A, 3 B, else SLOT_NONE */
uint32_t partition_number(enum slot slot);    /* A 2, B 3, else 0 */
