// SPDX-License-Identifier: MIT
#include "boot/parts.h"

const char *part_label(enum part part)
{
	static const char *const labels[] = {
#define X(id) [PART_##id] = PART_LABEL(id),
		PARTS(X)
#undef X
	};

	return labels[part];
}

enum part part_boot(enum slot slot)
{
	return slot == SLOT_A ? PART_BOOT_A : slot == SLOT_B ? PART_BOOT_B : PART_COUNT;
}

enum part part_root(enum slot slot)
{
	return slot == SLOT_A ? PART_ROOT_A : slot == SLOT_B ? PART_ROOT_B : PART_COUNT;
}
