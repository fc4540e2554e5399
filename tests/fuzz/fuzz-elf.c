// SPDX-License-Identifier: MIT
/* ELF files of a target's root: programs, libraries, kernel modules. */
#include "initramfs/pack/elfinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int touch(const char *value, void *ctx)
{
	*(size_t *)ctx += strlen(value);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct blob file = { .data = malloc(size + 1), .size = size };
	struct elf_info info;
	size_t sum = 0;

	if (!file.data)
		return 0;
	memcpy(file.data, data, size);
	file.data[size] = '\0';
	if (elf_info_parse(&file, &info) == 0) {
		for (size_t i = 0; i < info.needed_count; i++)
			sum += strlen(info.needed[i]);
		elf_info_free(&info);
	}
	if (elf_modinfo(&file, "softdep", touch, &sum) < -4096)
		abort(); /* an errno, always */
	blob_free(&file);
	return 0;
}
