// SPDX-License-Identifier: MIT
/* The image as a set of files, and as bytes. GNU cpio judges it in tests/contract. */
#include "initramfs/pack/cpio.h"
#include "tests/lib/tap.h"

static struct blob bytes(const char *text, mode_t mode)
{
	return (struct blob) { .data = (uint8_t *)strdup(text),
			       .size = strlen(text),
			       .mode = mode };
}

static int add(struct image *img, const char *path, const char *text, mode_t mode)
{
	struct blob b = bytes(text, mode);

	return image_add_file(img, path, &b, "test");
}

static void test_paths(void)
{
	static const struct {
		const char *path;
		int want;
		const char *out;
	} rows[] = {
		{ "/init", 0, "init" },
		{ "init", 0, "init" },
		{ "//a///b/", 0, "a/b" },
		{ "/a b", 0, "a b" },
		{ "/a..b/..c/d..", 0, "a..b/..c/d.." },
		{ "/...", 0, "..." },
		{ "", -EINVAL, NULL },
		{ "/", -EINVAL, NULL },
		{ ".", -EINVAL, NULL },
		{ "/a/./b", -EINVAL, NULL },
		{ "/a/../b", -EINVAL, NULL },
		{ "..", -EINVAL, NULL },
		{ "/a/..", -EINVAL, NULL },
		{ "/a\nb", -EINVAL, NULL },
		{ "/a\177", -EINVAL, NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *out = NULL;

		ok_int(image_path(rows[i].path, &out), rows[i].want, "path, row %zu", i);
		ok_str(out, rows[i].out, "path, row %zu: form", i);
	}
}

static void test_long_path(void)
{
	_cleanup_free_ char *out = NULL;
	char path[4098];

	memset(path, 'a', sizeof(path));
	path[4095] = '\0';
	ok_int(image_path(path, &out), 0, "4095 bytes of path");
	path[4095] = 'a';
	path[4096] = '\0';
	ok_int(image_path(path, &out), -ENAMETOOLONG, "4096 bytes of path");
}

static void test_conflicts(void)
{
	_cleanup_image_ struct image img = { 0 };

	ok_int(add(&img, "/lib/a", "1", 0644), 0, "a file");
	ok(image_find(&img, "/lib") && S_ISDIR(image_find(&img, "lib")->mode),
	   "its directory came");
	ok_int(add(&img, "lib//a", "1", 0600), 0, "the same file again");
	ok_int(add(&img, "/lib/a", "2", 0644), -EEXIST, "other bytes");
	ok_int(add(&img, "/lib/a", "1", 0755), -EEXIST, "another mode");
	ok_int(add(&img, "/lib", "", 0644), -EEXIST, "a file where a directory is");
	ok_int(add(&img, "/lib/a/b", "", 0644), -ENOTDIR, "a file below a file");
	ok_int(image_add_dir(&img, "/lib/a", 0755), -EEXIST, "a directory where a file is");
	ok_int(image_add_dir(&img, "/lib", 0755), 0, "a directory again");
	ok_int(image_add_link(&img, "/lib/a", "1", NULL), -EEXIST, "a link where a file is");
	ok_int(image_add_link(&img, "/bin/sh", "busybox", NULL), 0, "a link");
	ok_int(image_add_link(&img, "/bin/sh", "busybox", NULL), 0, "the same link again");
	ok_int(image_add_link(&img, "/bin/sh", "dash", NULL), -EEXIST, "another target");
	ok_int(add(&img, "/../x", "", 0644), -EINVAL, "out of the image");
	ok_int(img.count, 4, "nothing else came in");
}

/* A reader of the format, as the kernel has it: its answers go into the struct. */
struct member {
	uint32_t ino, mode, uid, gid, nlink, mtime, size, major, minor, name_size, check;
	const char *name;
	const uint8_t *data;
};

static bool field(const uint8_t *at, uint32_t *ret)
{
	char text[9];

	memcpy(text, at, 8);
	text[8] = '\0';
	return parse_u32(text, 16, ret) == 0;
}

static bool next_member(const struct blob *b, size_t *at, struct member *m)
{
	const uint8_t *h = b->data + *at;
	uint32_t dev_major, dev_minor;
	uint32_t *const fields[] = { &m->ino,	&m->mode,      &m->uid,	   &m->gid,    &m->nlink,
				     &m->mtime, &m->size,      &dev_major, &dev_minor, &m->major,
				     &m->minor, &m->name_size, &m->check };

	if (*at % 4 || *at + 110 > b->size || memcmp(h, "070701", 6) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (!field(h + 6 + 8 * i, fields[i]))
			return false;
	m->name = (const char *)h + 110;
	m->data = b->data + (*at + 110 + m->name_size + 3) / 4 * 4;
	*at = ((size_t)(m->data - b->data) + m->size + 3) / 4 * 4;
	return *at <= b->size && strlen(m->name) + 1 == m->name_size && !dev_major && !dev_minor &&
	       !m->uid && !m->gid && !m->check;
}

static int fill(struct image *img, bool backwards)
{
	static const struct {
		const char *path, *text;
		mode_t mode;
	} files[] = {
		{ "/init", "program", 0104711 }, /* setuid goes */
		{ "/lib/m/x", "12345", 0666 },
		{ "/lib/m-y", "", 0400 },
		{ "/usr/lib/z", "z", 02755 },
	};
	int r = 0;

	for (size_t n = 0; n < ARRAY_SIZE(files) && r == 0; n++) {
		size_t i = backwards ? ARRAY_SIZE(files) - 1 - n : n;

		r = add(img, files[i].path, files[i].text, files[i].mode);
	}
	if (r == 0)
		r = image_add_char(img, "/dev/console", 0600, 5, 1);
	if (r == 0)
		r = image_add_link(img, "/bin/sh", "busybox", NULL);
	return r < 0 ? r : image_add_dir(img, "/tmp", 01777);
}

static void test_pack(void)
{
	static const struct {
		const char *name;
		uint32_t mode, nlink;
		const char *data;
		uint32_t major, minor;
	} want[] = {
		{ "bin", 0040755, 2, "", 0, 0 },	  { "bin/sh", 0120777, 1, "busybox", 0, 0 },
		{ "dev", 0040755, 2, "", 0, 0 },	  { "dev/console", 0020600, 1, "", 5, 1 },
		{ "init", 0100755, 1, "program", 0, 0 },  { "lib", 0040755, 3, "", 0, 0 },
		{ "lib/m", 0040755, 2, "", 0, 0 },	  { "lib/m-y", 0100644, 1, "", 0, 0 },
		{ "lib/m/x", 0100644, 1, "12345", 0, 0 }, { "tmp", 0041777, 2, "", 0, 0 },
		{ "usr", 0040755, 3, "", 0, 0 },	  { "usr/lib", 0040755, 2, "", 0, 0 },
		{ "usr/lib/z", 0100755, 1, "z", 0, 0 },	  { "TRAILER!!!", 0, 1, "", 0, 0 },
	};
	_cleanup_image_ struct image img = { 0 };
	_cleanup_blob_ struct blob b = { 0 };
	size_t at = 0;

	ok_int(fill(&img, false), 0, "filled");
	ok_int(image_pack(&img, 1234567890, &b), 0, "packed");
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		bool last = i == ARRAY_SIZE(want) - 1;
		struct member m = { 0 };

		if (!ok(next_member(&b, &at, &m), "%s: a member", want[i].name))
			return;
		ok_str(m.name, want[i].name, "member %zu: its name", i);
		ok_int(m.mode, want[i].mode, "%s: mode", want[i].name);
		ok_int(m.nlink, want[i].nlink, "%s: links", want[i].name);
		ok_int(m.ino, last ? 0 : i + 1, "%s: inode", want[i].name);
		ok_int(m.mtime, last ? 0 : 1234567890, "%s: time", want[i].name);
		ok(m.size == strlen(want[i].data) && memcmp(m.data, want[i].data, m.size) == 0,
		   "%s: content", want[i].name);
		ok(m.major == want[i].major && m.minor == want[i].minor, "%s: device",
		   want[i].name);
	}
	ok(b.size % 512 == 0 && b.size - at < 512, "filled to a block");
}

static void test_same_bytes(void)
{
	_cleanup_image_ struct image a = { 0 }, b = { 0 }, c = { 0 };
	_cleanup_blob_ struct blob x = { 0 }, y = { 0 }, z = { 0 };

	ok(fill(&a, false) == 0 && fill(&b, true) == 0 && fill(&c, true) == 0, "filled thrice");
	ok_int(add(&c, "/more", "", 0644), 0, "the third has more");
	ok(image_pack(&a, 0, &x) == 0 && image_pack(&b, 0, &y) == 0 && image_pack(&c, 0, &z) == 0,
	   "packed thrice");
	ok(x.size == y.size && memcmp(x.data, y.data, x.size) == 0,
	   "the order of adding leaves no trace");
	ok(x.size != z.size || memcmp(x.data, z.data, x.size) != 0, "another set is another image");
}

static void test_too_large(void)
{
	_cleanup_image_ struct image img = { 0 };
	_cleanup_blob_ struct blob out = { 0 };
	bool added = true;

	/* sizes are summed before a byte is copied, so the contents need not exist */
	for (unsigned i = 0; i < 5; i++) {
		char path[] = "/big0";

		path[4] = (char)('0' + i);
		added &= add(&img, path, "", 0644) == 0;
	}
	for (size_t i = 0; i < img.count; i++)
		img.entries[i].data.size = BLOB_MAX;
	ok(added, "five huge files");
	ok_int(image_pack(&img, 0, &out), -EFBIG, "beyond what an image may have");
	for (size_t i = 0; i < img.count; i++)
		img.entries[i].data.size = 0;
}

int main(void)
{
	test_paths();
	test_long_path();
	test_conflicts();
	test_pack();
	test_same_bytes();
	test_too_large();
	return tap_done();
}
