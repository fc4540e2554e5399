// SPDX-License-Identifier: MIT
/*
 * bf-boot on a device that is a directory, for contract tests that run it as
 * RAUC does: one process a question, the state in files between them.
 *
 *   BF_FAKE_ROOT=DIR bf-boot-fake ARGUMENT…    as bf-boot
 *   BF_FAKE_ROOT=DIR bf-boot-fake --make [KEY=VALUE]…
 *       makes the device in the empty directory DIR: a good one, slot A committed
 *       and running. Keys: running= committed= (A, B), staged= (A, B; a trial runs when it
 *       is the running one), disk= (nvme0n1p, mmcblk0p, sda), fat= (12, 16, 32),
 *       block= (512, 4096)
 *
 * What only the kernel can do (mounts, the reboot) is appended to DIR/log
 * instead. A reboot ends the program with status 0.
 */
#include "tests/lib/bf-boot-device.h"

#include <time.h>

#define BLOCK_FILE "/etc/fake-block-bytes"

static void usage(const char *what)
{
	(void)fprintf(stderr, "bf-boot-fake: %s\n", what);
	exit(2);
}

static uint32_t number(const char *value)
{
	uint32_t n = 0;

	if (parse_u32(value, 10, &n) < 0)
		usage(value);
	return n;
}

static void take(struct device *d, struct record *rec, const char *word)
{
	const char *value;

	if ((value = startswith(word, "running=")))
		d->running = slot_parse(value);
	else if ((value = startswith(word, "committed=")))
		rec->committed = slot_parse(value);
	else if ((value = startswith(word, "staged=")))
		rec->staged = slot_parse(value);
	else if ((value = startswith(word, "disk=")))
		d->part_prefix = value;
	else if ((value = startswith(word, "fat=")))
		d->fat_bits = number(value);
	else if ((value = startswith(word, "block=")))
		d->block_bytes = number(value);
	else
		usage(word);
}

static void make(int argc, char **argv)
{
	struct device d = device_default;
	struct record rec;

	device_record(&rec, SLOT_A);
	for (int i = 2; i < argc; i++)
		take(&d, &rec, argv[i]);
	d.record = &rec;
	d.selector = rec.committed;
	d.trial = rec.staged == d.running;
	rec.last.slot = d.running;
	rec.last.phase = d.trial ? PHASE_TRIAL : PHASE_STARTED;
	rec.trials = rec.attempts = d.trial;
	device_make(&d);
	device_text(BLOCK_FILE, "%u", d.block_bytes);
}

struct run {
	int argc, status;
	char **argv;
};

static void run(void *arg)
{
	struct run *r = arg;

	r->status = bf_boot_main(r->argc, r->argv, stdout, stderr);
}

static void keep_log(const char *root)
{
	_cleanup_free_ char *path = strf("%s/log", root);
	_cleanup_file_ FILE *f = path ? fopen(path, "ae") : NULL;

	if (!f || fputs(fake_log(), f) == EOF)
		usage("the log cannot be written");
}

int main(int argc, char **argv)
{
	const char *root = getenv("BF_FAKE_ROOT");
	struct run r = { .argc = argc, .argv = argv };
	char *block = NULL;

	if (!root)
		usage("BF_FAKE_ROOT is not set");
	fake_use_root(root);
	if (argc > 1 && streq(argv[1], "--make")) {
		make(argc, argv);
		return 0;
	}
	fake_clock(1000000, (uint64_t)time(NULL) * 1000000);
	fake_lock_waits(true);
	block = fake_read(BLOCK_FILE, NULL);
	fake_block_size(block ? number(block) : 512);
	free(block);
	(void)fake_run(run, &r);
	keep_log(root);
	(void)fflush(NULL);
	return r.status;
}
