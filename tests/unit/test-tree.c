// SPDX-License-Identifier: MIT
/* Nothing leads out of a root, neither with openat2 nor with the walk of our own. */
#include "initramfs/pack/tree.h"
#include "tests/lib/scratch.h"
#include "tests/lib/tap.h"

#include <fcntl.h>
#include <unistd.h>

static void must(bool done)
{
	if (!done) {
		perror("making the root");
		exit(1);
	}
}

static void put(int dir, const char *path, const char *text)
{
	_cleanup_close_ int fd = openat(dir, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

/* TOP/outside, and TOP/root with all kinds of links. */
static void make_root(int top)
{
	static const char *const dirs[] = { "root", "root/usr", "root/usr/lib", "root/etc",
					    "outside" };
	static const struct {
		const char *target, *path;
	} links[] = {
		{ "usr/lib", "root/lib" },
		{ "/usr/lib", "root/abs" },
		{ "/usr/lib/file", "root/file" },
		{ "../../../../outside", "root/up" },
		{ "/../outside/secret", "root/out" },
		{ "loop", "root/loop" },
		{ "../etc/../usr/lib/file", "root/etc/rel" },
		{ "nowhere", "root/dangling" },
		{ "/abs/file", "root/chain" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		must(mkdirat(top, dirs[i], 0755) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		must(symlinkat(links[i].target, top, links[i].path) == 0);
	put(top, "outside/secret", "secret");
	put(top, "root/usr/lib/file", "inside");
	put(top, "root/usr/lib/empty", "");
	must(mkfifoat(top, "root/fifo", 0644) == 0);
}

static void test_read(const struct tree *t, const char *how)
{
	static const struct {
		const char *path;
		int want;
		const char *text;
	} rows[] = {
		{ "usr/lib/file", 0, "inside" },
		{ "/usr/lib/file", 0, "inside" },
		{ "//usr/./lib//file", 0, "inside" },
		{ "/usr/../usr/lib/file", 0, "inside" },
		{ "/../../usr/lib/file", 0, "inside" },
		{ "lib/file", 0, "inside" },
		{ "abs/file", 0, "inside" },
		{ "file", 0, "inside" },
		{ "chain", 0, "inside" },
		{ "etc/rel", 0, "inside" },
		{ "lib/../lib/file", 0, "inside" },
		{ "lib/empty", 0, "" },
		{ "outside/secret", -ENOENT, NULL },
		{ "../outside/secret", -ENOENT, NULL },
		{ "up/secret", -ENOENT, NULL },
		{ "out", -ENOENT, NULL },
		{ "dangling", -ENOENT, NULL },
		{ "none/file", -ENOENT, NULL },
		{ "", -ENOENT, NULL },
		{ "loop", -ELOOP, NULL },
		{ "loop/file", -ELOOP, NULL },
		{ "lib/file/x", -ENOTDIR, NULL },
		{ "usr", -EISDIR, NULL },
		{ "/", -EISDIR, NULL },
		{ "fifo", -ENODEV, NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_blob_ struct blob b = { 0 };

		ok_int(tree_read(t, rows[i].path, &b), rows[i].want, "%s: \"%s\"", how,
		       rows[i].path);
		ok_str((const char *)b.data, rows[i].text, "%s: \"%s\": content", how,
		       rows[i].path);
	}
}

static void test_limits(const struct tree *t, const char *top, const char *how)
{
	_cleanup_free_ char *path = strf("%s/root/huge", top);
	_cleanup_blob_ struct blob b = { 0 };
	char deep[5000];
	int fd;

	memset(deep, 'a', sizeof(deep));
	deep[sizeof(deep) - 1] = '\0';
	ok_int(tree_read(t, deep, &b), -ENAMETOOLONG, "%s: a path too long", how);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	must(fd >= 0 && ftruncate(fd, (off_t)BLOB_MAX + 1) == 0); /* sparse */
	close_p(&fd);
	ok_int(tree_read(t, "huge", &b), -EFBIG, "%s: a file too large", how);
}

static void test_dirs(const struct tree *t, const char *how)
{
	_cleanup_close_ int lib = tree_open_dir(t, "lib"), root = tree_open_dir(t, "/..");
	_cleanup_close_ int file = tree_open_dir(t, "file");

	ok(lib >= 0 && faccessat(lib, "file", F_OK, 0) == 0, "%s: a directory behind a link", how);
	ok(root >= 0 && faccessat(root, "usr", F_OK, 0) == 0, "%s: above the top is the top", how);
	ok_int(file, -ENOTDIR, "%s: a file is no directory", how);
}

static void test_init(const char *top)
{
	_cleanup_free_ char *file = strf("%s/outside/secret", top), *none = strf("%s/none", top);
	struct tree t = { .fd = -1 };

	ok_int(tree_init(&t, file), -ENOTDIR, "a file is no root");
	ok_int(tree_init(&t, none), -ENOENT, "a root that is not there");
	ok_int(t.fd, -1, "nothing opened");
}

int main(void)
{
	char top[] = "/tmp/bf-test-tree.XXXXXX";
	_cleanup_close_ int top_fd = -1;
	_cleanup_free_ char *root = NULL;

	must(mkdtemp(top) != NULL);
	top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	root = strf("%s/root", top);
	must(top_fd >= 0 && root);
	make_root(top_fd);
	for (unsigned walk = 0; walk < 2; walk++) {
		_cleanup_tree_ struct tree t = { .fd = -1 };
		const char *how = walk ? "walk" : "openat2";

		must(tree_init(&t, root) == 0);
		t.no_openat2 |= walk;
		test_read(&t, how);
		test_dirs(&t, how);
		test_limits(&t, top, how);
	}
	test_init(top);
	scratch_remove(top);
	return tap_done();
}
