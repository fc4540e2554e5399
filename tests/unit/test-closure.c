// SPDX-License-Identifier: MIT
/* Libraries found in roots of every shape, none of which could run here. */
#include "initramfs/pack/closure.h"
#include "tests/lib/make-elf.h"
#include "tests/lib/scratch.h"
#include "tests/lib/tap.h"

#include <fcntl.h>
#include <unistd.h>

#define LD	"/lib/ld-linux-aarch64.so.1"
#define TRIPLET "aarch64-linux-gnu"

static char root[] = "/tmp/bf-test-closure.XXXXXX";

static void must(bool done)
{
	if (!done) {
		perror("making the root");
		exit(1);
	}
}

static void make_parents(const char *path)
{
	for (const char *s = strchr(path, '/'); s; s = strchr(s + 1, '/')) {
		_cleanup_free_ char *dir = strf("%s/%.*s", root, (int)(s - path), path);

		must(dir && (mkdir(dir, 0755) == 0 || errno == EEXIST));
	}
}

static void put(const char *path, const void *data, size_t size)
{
	_cleanup_free_ char *full = strf("%s/%s", root, path);
	_cleanup_close_ int fd = -1;

	make_parents(path);
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
}

static void put_link(const char *target, const char *path)
{
	_cleanup_free_ char *full = strf("%s/%s", root, path);

	make_parents(path);
	must(symlink(target, full) == 0);
}

static void put_elf(const char *path, const struct elf_spec *spec)
{
	_cleanup_blob_ struct blob b = make_elf(spec);

	put(path, b.data, b.size);
}

static void clear(void)
{
	scratch_remove(root);
	must(mkdir(root, 0755) == 0);
}

/* One thing in the root, and what it is. */
struct thing {
	const char *path;
	const char *link;    /* to this */
	const char *text;    /* or with this content */
	struct elf_spec elf; /* or an ELF file */
};

struct row {
	const char *name;
	struct thing things[8];
	struct elf_spec program;
	int want;
	const char *image; /* what came into the image, each with a blank behind */
	const char *said;  /* in the message */
};

#define PLAIN                                                                                      \
	{                                                                                          \
		ELF_ARM64                                                                          \
	}
#define NEEDS(...)                                                                                 \
	{                                                                                          \
		ELF_ARM64, .needed = { __VA_ARGS__ }                                               \
	}
#define PROGRAM(...)                                                                               \
	{                                                                                          \
		ELF_ARM64, .interp = LD, .needed = { __VA_ARGS__ }                                 \
	}
#define X86                                                                                        \
	{                                                                                          \
		.class = ELFCLASS64, .encoding = ELFDATA2LSB, .machine = EM_X86_64, .type = ET_DYN \
	}

static const struct row rows[] = {
	{ "a static program needs nothing", { { 0 } }, PLAIN, 0, "", NULL },
	{ "usr-merged: /lib is a link",
	  { { "lib", .link = "usr/lib" },
	    { "usr/lib/ld-linux-aarch64.so.1", .elf = PLAIN },
	    { "usr/lib/" TRIPLET "/libc.so.6", .elf = NEEDS("ld-linux-aarch64.so.1") } },
	  PROGRAM("libc.so.6"),
	  0,
	  "lib/aarch64-linux-gnu/libc.so.6 lib/ld-linux-aarch64.so.1 ",
	  NULL },
	{ "the link is not made yet",
	  { { "usr/lib/ld-linux-aarch64.so.1", .elf = PLAIN },
	    { "usr/lib/" TRIPLET "/libc.so.6", .elf = NEEDS("ld-linux-aarch64.so.1") } },
	  PROGRAM("libc.so.6"),
	  0,
	  "lib/ld-linux-aarch64.so.1 usr/lib/aarch64-linux-gnu/libc.so.6 ",
	  NULL },
	{ "libraries of libraries, in a circle, behind links",
	  { { "lib/ld-linux-aarch64.so.1", .elf = PLAIN },
	    { "lib/liba.so.1", .link = "liba.so.1.2.3" },
	    { "lib/liba.so.1.2.3", .elf = NEEDS("libb.so", "libc.so.6") },
	    { "usr/lib/libb.so", .elf = NEEDS("liba.so.1") },
	    { "lib/libc.so.6", .elf = PLAIN } },
	  PROGRAM("liba.so.1"),
	  0,
	  "lib/ld-linux-aarch64.so.1 lib/liba.so.1 lib/libc.so.6 usr/lib/libb.so ",
	  NULL },
	{ "a library for another machine is passed over",
	  { { "lib/ld-linux-aarch64.so.1", .elf = PLAIN },
	    { "lib/" TRIPLET "/liba.so", .elf = X86 },
	    { "usr/lib/liba.so", .elf = PLAIN } },
	  PROGRAM("liba.so"),
	  0,
	  "lib/ld-linux-aarch64.so.1 usr/lib/liba.so ",
	  NULL },
	{ "only one for another machine",
	  { { "lib/ld-linux-aarch64.so.1", .elf = PLAIN }, { "lib/liba.so", .elf = X86 } },
	  PROGRAM("liba.so"),
	  -EBADMSG,
	  "lib/ld-linux-aarch64.so.1 ",
	  "only for x86_64, not for aarch64" },
	{ "a missing library",
	  { { "lib/ld-linux-aarch64.so.1", .elf = PLAIN },
	    { "lib/liba.so", .elf = NEEDS("libgone.so.3") } },
	  PROGRAM("liba.so"),
	  -EBADMSG,
	  "lib/ld-linux-aarch64.so.1 lib/liba.so ",
	  "libgone.so.3, needed by /lib/liba.so, is missing in" },
	{ "a missing loader",
	  { { 0 } },
	  PROGRAM("libc.so.6"),
	  -EBADMSG,
	  "",
	  LD ", needed by /init, is missing in" },
	{ "a damaged library",
	  { { "lib/ld-linux-aarch64.so.1", .elf = PLAIN }, { "lib/liba.so", .text = "oops" } },
	  PROGRAM("liba.so"),
	  -EBADMSG,
	  "lib/ld-linux-aarch64.so.1 ",
	  "/lib/liba.so: not a library" },
	{ "a link that goes round",
	  { { "lib/ld-linux-aarch64.so.1", .elf = PLAIN }, { "lib/liba.so", .link = "liba.so" } },
	  PROGRAM("liba.so"),
	  -ELOOP,
	  "lib/ld-linux-aarch64.so.1 ",
	  "Too many levels" },
	{ "a link out of the root stays in it",
	  { { "lib/ld-linux-aarch64.so.1", .elf = PLAIN },
	    { "lib/liba.so", .link = "../../../../../../../../opt/liba.so" },
	    { "opt/liba.so", .elf = PLAIN } },
	  PROGRAM("liba.so"),
	  0,
	  "lib/ld-linux-aarch64.so.1 lib/liba.so ",
	  NULL },
	{ "ld.so.conf: moved to where the C library is",
	  { { "lib/ld-linux-aarch64.so.1", .elf = PLAIN },
	    { "usr/lib/" TRIPLET "/libc.so.6", .elf = PLAIN },
	    { "etc/ld.so.conf", .text = "# mine\ninclude ld.so.conf.d/*.conf\n" },
	    { "etc/ld.so.conf.d/b.conf", .text = "/opt/b:/opt/none # more\n" },
	    { "etc/ld.so.conf.d/.hidden.conf", .text = "/opt/hidden\n" },
	    { "opt/hidden/liba.so", .elf = X86 },
	    { "opt/b/liba.so", .elf = PLAIN } },
	  PROGRAM("liba.so"),
	  0,
	  "lib/ld-linux-aarch64.so.1 usr/lib/aarch64-linux-gnu/liba.so ",
	  NULL },
	{ "ld.so.conf comes before the built-in directories",
	  { { "lib/ld-linux-aarch64.so.1", .elf = PLAIN },
	    { "etc/ld.so.conf", .text = "/usr/local/lib\n/lib=libc6\n" },
	    { "usr/local/lib/liba.so", .elf = NEEDS("libb.so") },
	    { "lib/liba.so", .elf = NEEDS("libgone.so") },
	    { "lib/libb.so", .elf = PLAIN } },
	  PROGRAM("liba.so"),
	  0,
	  "lib/ld-linux-aarch64.so.1 lib/liba.so lib/libb.so ",
	  NULL },
	{ "ld.so.conf files that include each other",
	  { { "lib/ld-linux-aarch64.so.1", .elf = PLAIN },
	    { "etc/ld.so.conf", .text = "include ld.so.conf\n" } },
	  PROGRAM("liba.so"),
	  -EBADMSG,
	  "",
	  "include each other" },
	{ "rpath, with $ORIGIN of where the program will be",
	  { { "lib/ld-linux-aarch64.so.1", .elf = PLAIN },
	    { "opt/x/liba.so",
	      .elf = { ELF_ARM64, .needed = { "libb.so" }, .rpath = "${ORIGIN}/../y" } },
	    { "opt/y/libb.so", .elf = PLAIN } },
	  { ELF_ARM64, .interp = LD, .needed = { "liba.so" }, .runpath = "/none:$ORIGIN/opt/x",
	    .rpath = "/rpath" },
	  0,
	  "lib/ld-linux-aarch64.so.1 opt/x/liba.so opt/y/libb.so ",
	  NULL },
	{ "a library named by its path",
	  { { "lib/ld-linux-aarch64.so.1", .elf = PLAIN }, { "opt/liba.so", .elf = PLAIN } },
	  PROGRAM("/opt/liba.so"),
	  0,
	  "lib/ld-linux-aarch64.so.1 opt/liba.so ",
	  NULL },
	{ "musl: the loader is the library",
	  { { "lib/ld-musl-aarch64.so.1", .elf = PLAIN },
	    { "lib/libc.musl-aarch64.so.1", .link = "ld-musl-aarch64.so.1" } },
	  { ELF_ARM64, .interp = "/lib/ld-musl-aarch64.so.1",
	    .needed = { "libc.musl-aarch64.so.1" } },
	  0,
	  "lib/ld-musl-aarch64.so.1 lib/libc.musl-aarch64.so.1 ",
	  NULL },
};

static void make_things(const struct row *row)
{
	clear();
	for (size_t i = 0; i < ARRAY_SIZE(row->things) && row->things[i].path; i++) {
		const struct thing *t = &row->things[i];

		if (t->link)
			put_link(t->link, t->path);
		else if (t->text)
			put(t->path, t->text, strlen(t->text));
		else
			put_elf(t->path, &t->elf);
	}
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct image_entry *)a)->path, ((const struct image_entry *)b)->path);
}

/* The files of the image, sorted. Caller frees. */
static char *list_files(struct image *img)
{
	char *list = strdup("");

	if (img->count)
		qsort(img->entries, img->count, sizeof(*img->entries), by_path);
	for (size_t i = 0; i < img->count; i++) {
		_cleanup_free_ char *before = list;

		list = strf("%s%s%s", before,
			    S_ISREG(img->entries[i].mode) ? img->entries[i].path : "",
			    S_ISREG(img->entries[i].mode) ? " " : "");
	}
	return list;
}

static void test_row(const struct row *row)
{
	_cleanup_blob_ struct blob program = make_elf(&row->program);
	_cleanup_tree_ struct tree tree = { .fd = -1 };
	_cleanup_image_ struct image img = { 0 };
	_cleanup_problem_ struct problem p = { 0 };
	_cleanup_free_ char *list = NULL;
	_cleanup_closure_ struct closure c = { .tree = &tree, .image = &img };

	make_things(row);
	must(tree_init(&tree, root) == 0);
	ok_int(closure_add(&c, "/init", &program, &p), row->want, "%s", row->name);
	list = list_files(&img);
	ok_str(list, row->image, "%s: the image", row->name);
	ok(row->said ? p.text && strstr(p.text, row->said) : !p.text, "%s: the message: %s",
	   row->name, p.text ? p.text : "none");
}

/* All programs of an image run on one machine; and what is no ELF file is no program. */
static void test_second_program(void)
{
	static const struct row base = { "",
					 { { "lib/ld-linux-aarch64.so.1", .elf = PLAIN } },
					 PROGRAM("ld-linux-aarch64.so.1"),
					 0,
					 "",
					 NULL };
	const struct elf_spec other = { .class = ELFCLASS64,
					.encoding = ELFDATA2LSB,
					.machine = EM_X86_64,
					.interp = "/lib/ld.so" };
	_cleanup_blob_ struct blob first = make_elf(&base.program), second = make_elf(&other);
	struct blob text = { .data = (uint8_t *)"#!/bin/sh", .size = 9 };
	_cleanup_tree_ struct tree tree = { .fd = -1 };
	_cleanup_image_ struct image img = { 0 };
	_cleanup_problem_ struct problem p = { 0 };
	_cleanup_closure_ struct closure c = { .tree = &tree, .image = &img };

	make_things(&base);
	must(tree_init(&tree, root) == 0);
	ok_int(closure_add(&c, "/file", &text, &p), 0, "a text needs nothing");
	ok_int(closure_add(&c, "/init", &first, &p), 0, "the first program");
	ok_int(closure_add(&c, "/two", &first, &p), 0, "a second one of its kind");
	ok_int(closure_add(&c, "/x", &second, &p), -EBADMSG, "one for another machine");
	ok_str(p.text, "/x is for x86_64, but /init for aarch64: one image, one machine",
	       "says so");
	second.size = 100;
	ok_int(closure_add(&c, "/x", &second, &p), -EBADMSG, "a damaged one");
	ok_str(p.text, "/x: damaged ELF file", "says so");
}

int main(void)
{
	must(mkdtemp(root) != NULL);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		test_row(&rows[i]);
	test_second_program();
	scratch_remove(root);
	return tap_done();
}
