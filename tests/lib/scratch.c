// SPDX-License-Identifier: MIT
#include "tests/lib/scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

static int scratch_remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st, (void)type, (void)where;
	return remove(path);
}

void scratch_remove(const char *path)
{
	if (nftw(path, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0) {
		perror(path);
		exit(1);
	}
}
