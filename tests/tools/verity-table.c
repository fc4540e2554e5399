// SPDX-License-Identifier: MIT
/*
 * Prints the verity table that bf-init would load for real image files, both tables
 * on a line of their own ("SECTORS PARAMS"): the one it starts with, the one it ends with.
 *
 *   verity-table ROOTHASH OPTIONS DATA [HASH [FEC]]
 *
 * DATA, HASH and FEC become partitions 4, 7 and 9 of a disk: 259:4, 259:7, 259:9.
 * "-" for HASH: on DATA. A failure is printed as "CODE: TEXT", exit status 1.
 */
#include "initramfs/init/root.h"
#include "tests/lib/fake-sys.h"

#include <fcntl.h>
#include <unistd.h>

#define LOAD "dm load root ro 0 "

static char *slurp(const char *path, size_t *ret_len)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *data;

	if (fd < 0 || fstat(fd, &st) < 0 || !(data = malloc((size_t)st.st_size + 1)) ||
	    read(fd, data, (size_t)st.st_size) != st.st_size) {
		perror(path);
		exit(2);
	}
	*ret_len = (size_t)st.st_size;
	return data;
}

static void put_partition(const char *file, unsigned number)
{
	_cleanup_free_ char *node = strf("/dev/nvme0n1p%u", number);
	_cleanup_free_ char *uevent = strf("/sys/class/block/nvme0n1/nvme0n1p%u/uevent", number);
	_cleanup_free_ char *text = strf("MAJOR=259\nMINOR=%u\nDEVNAME=nvme0n1p%u\n"
					 "DEVTYPE=partition\n",
					 number, number);
	_cleanup_free_ char *data = NULL;
	size_t len;

	data = slurp(file, &len);
	fake_file_data(node, data, len);
	fake_block_device(node, 259, number);
	fake_file(uevent, text);
	/* what is verified: longer than the data, which nobody here minds */
	if (number == 4)
		fake_file_data("/dev/dm-0", data, len);
}

static void print_loads(void)
{
	for (const char *s = fake_log(); (s = strstr(s, LOAD)); s++) {
		const char *sectors = s + strlen(LOAD), *params = strchr(sectors, ' ');

		printf("%.*s %.*s\n", (int)(params - sectors), sectors,
		       (int)strcspn(params + strlen(" verity "), "\n"),
		       params + strlen(" verity "));
	}
}

int main(int argc, char **argv)
{
	static const struct partition p = { .name = "nvme0n1p4", .major = 259, .minor = 4 };
	static const struct disk disk = { .name = "nvme0n1" };
	struct cmdline c = { 0 };
	struct root root;
	struct failure f;
	int r;

	if (argc < 4 || argc > 6) {
		fprintf(stderr, "usage: verity-table ROOTHASH OPTIONS DATA [HASH [FEC]]\n");
		return 2;
	}
	fake_reset();
	fake_file("/dev/mapper/control", "");
	c.roothash = argv[1];
	c.verity_options = argv[2];
	put_partition(argv[3], 4);
	if (argc > 4 && !streq(argv[4], "-")) {
		put_partition(argv[4], 7);
		c.verity_hash = strdup("/dev/nvme0n1p7");
	}
	if (argc > 5)
		put_partition(argv[5], 9);
	r = root_mount(&p, &disk, &c, "/root", &root, &f);
	if (r >= 0)
		r = root_seal(&root, &f);
	free(c.verity_hash);
	if (r < 0) {
		printf("%s: %s\n", reason_text(f.reason)->code, f.text);
		return 1;
	}
	print_loads();
	root_done(&root);
	return 0;
}
