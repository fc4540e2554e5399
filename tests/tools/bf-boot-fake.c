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
 * instead. A reboot ends the program with status 0. A selection that is made anew through a mount
 * of BF_BOOTSEL is carried into its FAT by mtools.
 */
#include "tests/lib/bf-boot-device.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>

#define BLOCK_FILE   "/etc/fake-block-bytes"
#define MOUNTED	     RUNNING_DIR "/mnt"
#define MOUNTED_FILE MOUNTED "/AUTOBOOT.TXT"
#define SAME_NAMES   16

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

static int mtools(char *const *argv)
{
	static char *const environment[] = { (char *)"MTOOLS_SKIP_CHECK=1", NULL };
	posix_spawn_file_actions_t quiet;
	int status = -1;
	pid_t pid;

	if (posix_spawn_file_actions_init(&quiet) != 0 ||
	    posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_WRONLY, 0) != 0 ||
	    posix_spawnp(&pid, argv[0], &quiet, NULL, argv, environment) != 0 ||
	    waitpid(pid, &status, 0) != pid)
		usage(argv[0]);
	(void)posix_spawn_file_actions_destroy(&quiet);
	return status;
}

/* What was done to the mounted directory is done to the volume: the old files, then the new one. */
static void unmounted(void)
{
	static const char wanted[] = " " MOUNTED " vfat ";
	const char *log = fake_log(), *from = NULL, *end = NULL;
	_cleanup_free_ char *text = fake_read(MOUNTED_FILE, NULL), *device = NULL, *image = NULL,
			    *file = NULL;
	char *del[] = { (char *)"mdel", (char *)"-i", NULL, (char *)"::autoboot.txt", NULL };
	char *copy[] = {
		(char *)"mcopy", (char *)"-i", NULL, NULL, (char *)"::AUTOBOOT.TXT", NULL
	};

	for (const char *at = log; (at = strstr(at, wanted)); at++)
		end = at;
	if (!text || !end)
		return;
	for (from = end; from > log && from[-1] != ' '; from--)
		;
	device = strndup(from, (size_t)(end - from));
	image = device ? strdup(fake_path(device)) : NULL;
	file = strdup(fake_path(MOUNTED_FILE));
	if (!image || !file)
		usage("no memory");
	del[2] = copy[2] = image;
	copy[3] = file;
	for (int i = 0; i < SAME_NAMES && mtools(del) == 0; i++)
		;
	if (mtools(copy) != 0)
		usage("mcopy");
	fake_remove(MOUNTED_FILE);
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
	fake_then("umount " MOUNTED " -", unmounted);
	(void)fake_run(run, &r);
	keep_log(root);
	(void)fflush(NULL);
	return r.status;
}
