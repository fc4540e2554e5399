// SPDX-License-Identifier: MIT
#include "boot/pi/autoboot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[AUTOBOOT_SIZE];
	struct autoboot a, again;
	enum slot committed;

	if (autoboot_parse((const char *)data, size, &a) < 0)
		return 0;
	if (size > AUTOBOOT_SIZE || memchr(data, '\0', size))
		abort();
	committed = autoboot_committed(&a);
	if (committed == SLOT_NONE)
		return 0;
	/* a selection, written again in our words, is the same one */
	autoboot_format(committed, text);
	if (autoboot_parse(text, sizeof(text), &again) < 0 ||
	    again.all_partition != a.all_partition ||
	    again.tryboot_partition != a.tryboot_partition || !again.tryboot_a_b)
		abort();
	return 0;
}
