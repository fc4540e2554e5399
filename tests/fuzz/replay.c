// SPDX-License-Identifier: MIT
/*
 * Feeds files to a fuzz target without a fuzzer: a corpus is an ordinary test.
 *   replay-NAME PATH...     PATH: a file, or a directory of files
 */
#include <errno.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count, failed;

static void replay(const char *path, size_t size)
{
	uint8_t *data =
		malloc(size ? size : 1); /* exactly: sanitizers see the first byte behind it */
	FILE *f = fopen(path, "re");
	bool pass = data && f && fread(data, 1, size, f) == size;

	if (pass)
		pass = LLVMFuzzerTestOneInput(data, size) == 0;
	printf("%sok %d - %s\n", pass ? "" : "not ", ++count, path);
	fflush(stdout);
	failed += !pass;
	if (f)
		(void)fclose(f);
	free(data);
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)ftw;
	if (type == FTW_F)
		replay(path, (size_t)st->st_size);
	return type == FTW_DNR || type == FTW_NS ? -1 : 0;
}

int main(int argc, char *argv[])
{
	for (int i = 1; i < argc; i++)
		if (nftw(argv[i], visit, 16, FTW_PHYS) != 0) {
			printf("Bail out! %s: %s\n", argv[i], strerror(errno));
			return 1;
		}
	if (count == 0) {
		printf("Bail out! nothing to replay\n");
		return 1;
	}
	printf("1..%d\n", count);
	return failed ? 1 : 0;
}
