// SPDX-License-Identifier: MIT
#include "initramfs/init/fsimage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t head[FSIMAGE_HEAD_BYTES] = { 0 };
	struct fsimage image = { .type = NULL };
	int r;

	memcpy(head, data, size < sizeof(head) ? size : sizeof(head));
	r = fsimage_parse(head, &image);
	if (r == 0 && (!image.type || image.bytes == 0 || image.bytes > INT64_MAX))
		abort();
	if (r < 0 && image.type)
		abort();
	return 0;
}
