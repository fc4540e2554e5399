// SPDX-License-Identifier: MIT
/* A signal in the middle of writing leaves the old image, and nothing beside it. */
#include "initramfs/pack/output.h"
#include "tests/lib/scratch.h"
#include "tests/lib/tap.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* Writing and syncing it takes longer than seeing that it has begun; on a busy machine not always.
 */
#define LARGE ((size_t)64 << 20)
#define TRIES 100

static char top[] = "/tmp/bf-test-output.XXXXXX";

static void must(bool done)
{
	if (!done) {
		perror("test-output");
		exit(1);
	}
}

static size_t count_files(void)
{
	DIR *dir = opendir(top);
	size_t n = 0;

	must(dir != NULL);
	for (struct dirent *d = readdir(dir); d; d = readdir(dir))
		n += d->d_name[0] != '.' || strlen(d->d_name) > 2;
	must(closedir(dir) == 0);
	return n;
}

/* The status of a child that got @sig while it wrote, or wrote all of it before. */
static int write_and_signal(const char *path, const struct blob *large, int sig)
{
	struct problem p = { 0 };
	pid_t child = fork();
	int status;

	must(child >= 0);
	if (child == 0)
		_exit(output_write(path, large, &p) == 0 ? 0 : 1);
	while (count_files() < 2) /* until the temporary file is there */
		if (waitpid(child, &status, WNOHANG) == child)
			return status;
	must(kill(child, sig) == 0);
	must(waitpid(child, &status, 0) == child);
	return status;
}

static void test_signal(int sig, const char *name)
{
	_cleanup_free_ char *path = strf("%s/image", top);
	_cleanup_blob_ struct blob large = { .data = calloc(LARGE, 1), .size = LARGE };
	struct blob old = { .data = (uint8_t *)"old", .size = 3 };
	_cleanup_blob_ struct blob left = { 0 };
	struct problem p = { 0 };
	int status = 0;

	must(path && large.data);
	/* A signal that came too late says nothing: again. */
	for (int i = 0; i < TRIES && WIFEXITED(status) && WEXITSTATUS(status) == 0; i++) {
		must(output_write(path, &old, &p) == 0);
		status = write_and_signal(path, &large, sig);
	}
	ok(WIFSIGNALED(status) && WTERMSIG(status) == sig, "%s ends it", name);
	ok_int(count_files(), 1, "%s: no temporary file is left", name);
	ok(host_read(path, &left) == 0 && left.size == 3, "%s: the old image is there", name);
}

/* A signal that whoever started us ignores (nohup) stays ignored. */
static void test_ignored(void)
{
	_cleanup_free_ char *path = strf("%s/image", top);
	struct blob data = { .data = (uint8_t *)"new", .size = 3 };
	struct sigaction sa;
	struct problem p = { 0 };

	must(path && signal(SIGHUP, SIG_IGN) != SIG_ERR);
	ok_int(output_write(path, &data, &p), 0, "written");
	ok(sigaction(SIGHUP, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN,
	   "SIGHUP is still ignored");
}

int main(void)
{
	must(mkdtemp(top) != NULL);
	/* A shell ignores SIGINT for what it starts in the background. */
	must(signal(SIGTERM, SIG_DFL) != SIG_ERR && signal(SIGINT, SIG_DFL) != SIG_ERR);
	test_signal(SIGTERM, "SIGTERM");
	test_signal(SIGINT, "SIGINT");
	test_ignored();
	scratch_remove(top);
	return tap_done();
}
