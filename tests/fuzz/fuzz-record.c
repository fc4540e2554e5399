// SPDX-License-Identifier: MIT
/*
 * record_parse() with bytes as they are, and again with the same bytes framed
 * by a crc that is right, which the fuzzer would hardly find by itself.
 */
#include "boot/record.h"

#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(const char *text, size_t len)
{
	char again[RECORD_SIZE], once_more[RECORD_SIZE];
	struct record rec, back;

	if (record_parse(text, len, &rec) < 0)
		return;
	/* What is taken is in range, nothing of it is lost, and the next one to read it takes it,
	 * too. */
	record_format(&rec, again);
	if (len != RECORD_SIZE || record_parse(again, RECORD_SIZE, &back) < 0)
		abort();
	record_format(&back, once_more);
	if (memcmp(again, once_more, RECORD_SIZE) != 0 || !streq(rec.kept, back.kept))
		abort();
	if (rec.staged == rec.committed || rec.committed == SLOT_NONE ||
	    rec.history_count > RECORD_HISTORY_MAX)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char framed[RECORD_SIZE];
	size_t len = size < RECORD_SIZE - 16 ? size : RECORD_SIZE - 16;
	char *copy = malloc(size ? size : 1); /* so that reading behind it is seen */

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	parse(copy, size);
	free(copy);

	memset(framed, '\n', sizeof(framed));
	memcpy(framed, data, len);
	(void)snprintf(framed + len, 16, "crc32=%08lx", crc32(0, data, (uInt)len));
	framed[len + 14] = '\n';
	parse(framed, sizeof(framed));
	return 0;
}
