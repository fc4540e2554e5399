// SPDX-License-Identifier: MIT
/* Packed kernel modules of a target's root. */
#include "initramfs/pack/codec.h"

#define MAX ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct blob in = { .data = malloc(size + 1), .size = size }, out = { 0 };
	enum codec codec = codec_detect(data, size);

	if (!in.data)
		return 0;
	memcpy(in.data, data, size);
	if (codec != CODEC_NONE && codec_decompress(codec, &in, MAX, &out) == 0) {
		if (out.size > MAX || out.data[out.size] != '\0')
			abort();
		blob_free(&out);
	}
	blob_free(&in);
	return 0;
}
