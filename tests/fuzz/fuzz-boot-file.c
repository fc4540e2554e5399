// SPDX-License-Identifier: MIT
/* boot_file_parse(): what is taken is in range, and only what is taken changes anything. */
#include "boot/bootfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_terminated(const char *text, size_t size)
{
	return strnlen(text, size) < size;
}

static void check(const struct boot_file *b)
{
	if (b->slot != SLOT_A && b->slot != SLOT_B && b->slot != SLOT_NONE)
		abort();
	if (*b->boot_id && !record_is_hex(b->boot_id, sizeof(b->boot_id) - 1))
		abort();
	if (*b->roothash && !record_is_hex(b->roothash, RECORD_HASH_MAX))
		abort();
	if (!is_terminated(b->reason, sizeof(b->reason)) ||
	    !is_terminated(b->data, sizeof(b->data)) ||
	    !is_terminated(b->data_dir, sizeof(b->data_dir)) ||
	    !is_terminated(b->data_why, sizeof(b->data_why)) ||
	    !is_terminated(b->record, sizeof(b->record)) ||
	    !is_terminated(b->selector, sizeof(b->selector)) ||
	    !is_terminated(b->verity, sizeof(b->verity)) ||
	    !is_terminated(b->machine_id, sizeof(b->machine_id)))
		abort();
	if (!is_terminated(b->disk, sizeof(b->disk)) || strchr(b->disk, '/'))
		abort();
	/* Kernel names become parts of paths. */
	for (size_t i = 0; i < PART_COUNT; i++)
		if (!is_terminated(b->part[i], sizeof(b->part[i])) || strchr(b->part[i], '/') ||
		    b->part[i][0] == '.')
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct boot_file b, before;
	char *text = malloc(size + 1);

	if (!text)
		return 0;
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	memset(&b, 0x5a, sizeof(b));
	before = b;
	if (boot_file_parse(text, &b) == 0)
		check(&b);
	else if (memcmp(&b, &before, sizeof(b)) != 0)
		abort();
	free(text);
	return 0;
}
