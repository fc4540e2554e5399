// SPDX-License-Identifier: MIT
/*
 * Asks fat.c one question, for tests/contract/test_fat_oracle.py:
 *   fat-find IMAGE NAME     NAME: eleven characters, such as "AUTOBOOTTXT"
 * Prints "offset size contiguous sector", or the name of the error.
 */
#include "boot/pi/fat.h"

#include <fcntl.h>
#include <unistd.h>

static int read_file(void *ctx, uint64_t offset_bytes, void *buf, size_t len)
{
	ssize_t n = pread(*(int *)ctx, buf, len, (off_t)offset_bytes);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -ENODATA;
}

int main(int argc, char *argv[])
{
	_cleanup_close_ int fd = -1;
	struct fat_file file;
	int r;

	if (argc != 3 || strlen(argv[2]) != 11) {
		fprintf(stderr, "usage: fat-find IMAGE NAME (eleven characters)\n");
		return 2;
	}
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		perror(argv[1]);
		return 2;
	}
	r = fat_find(read_file, &fd, argv[2], &file);
	if (r < 0) {
		printf("%s\n", strerrorname_np(-r));
		return 1;
	}
	printf("%llu %u %u %u\n", (unsigned long long)file.offset_bytes, file.size_bytes,
	       file.contiguous_bytes, file.sector_bytes);
	return 0;
}
