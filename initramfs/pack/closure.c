// SPDX-License-Identifier: MIT
#include "initramfs/pack/closure.h"

#include <dirent.h>
#include <elf.h>
#include <fnmatch.h>

#define CONF_PATH	"/etc/ld.so.conf"
#define CONF_DEPTH_MAX	8
#define CONF_SEPARATORS " \t\r:,"

void closure_free(struct closure *c)
{
	for (size_t i = 0; i < c->dir_count; i++)
		free(c->dirs[i].path);
	for (size_t i = 0; i < c->done_count; i++)
		free(c->done[i]);
	free(c->dirs);
	free(c->done);
	free(c->home);
	free(c->first);
	*c = (struct closure) { 0 };
}

static int oom(struct problem *p)
{
	(void)problem_errno(p, -ENOMEM, "packing libraries");
	return -ENOMEM;
}

/* What is not there, in the ways a path can be not there. */
static bool is_absent(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -ENAMETOOLONG;
}

/* ---- where to search ------------------------------------------------------ */

/* @dir once more is ignored: the first place counts. */
static int add_dir(struct closure *c, const char *dir, bool builtin)
{
	_cleanup_free_ char *path = NULL;
	struct library_dir *dirs;
	int r = image_path(dir, &path);

	if (r == -EINVAL || r == -ENAMETOOLONG) /* no directory to find anything in */
		return 0;
	if (r < 0)
		return r;
	for (size_t i = 0; i < c->dir_count; i++)
		if (streq(c->dirs[i].path, path)) {
			c->dirs[i].builtin |= builtin;
			return 0;
		}
	dirs = reallocarray(c->dirs, c->dir_count + 1, sizeof(*dirs));
	if (!dirs)
		return -ENOMEM;
	c->dirs = dirs;
	dirs[c->dir_count++] = (struct library_dir) { .path = TAKE_PTR(path), .builtin = builtin };
	return 0;
}

static int add_builtin_dirs(struct closure *c)
{
	/* "lib" is everybody's; the others are those of 64-bit (32-bit) Fedora, SUSE, Yocto */
	const char *wide = c->kind.class == ELFCLASS64 ? "lib64" : "lib32";
	int r = 0;

	for (const char *const *t = elf_triplets(&c->kind); *t && r == 0; t++) {
		_cleanup_free_ char *slim = strf("lib/%s", *t), *merged = strf("usr/lib/%s", *t);

		if (!slim || !merged)
			return -ENOMEM;
		r = add_dir(c, slim, true);
		if (r == 0)
			r = add_dir(c, merged, true);
	}
	for (unsigned usr = 0; usr < 2 && r == 0; usr++) {
		_cleanup_free_ char *dir = strf("%s%s", usr ? "usr/" : "", wide);

		r = dir ? add_dir(c, dir, true) : -ENOMEM;
	}
	return r;
}

static int read_conf(struct closure *c, const char *path, unsigned depth, struct problem *p);

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name); /* not by the builder's locale */
}

/* An include names files of one directory; its last component may have wildcards. */
static int include_conf(struct closure *c, const char *from, const char *pattern, unsigned depth,
			struct problem *p)
{
	const char *from_slash = strrchr(from, '/');
	_cleanup_free_ char *full =
		*pattern == '/' ? strdup(pattern)
				: strf("%.*s/%s", (int)(from_slash - from), from, pattern);
	_cleanup_close_ int fd = -1;
	struct dirent **names = NULL;
	char *slash;
	int n, r = 0;

	if (!full)
		return oom(p);
	slash = strrchr(full, '/');
	*slash = '\0';
	fd = tree_open_dir(c->tree, *full ? full : "/");
	if (fd < 0)
		return is_absent(fd) ? 0 : problem_errno(p, fd, "%s%s", c->tree->path, full);
	n = scandirat(fd, ".", &names, NULL, by_name);
	if (n < 0)
		return problem_errno(p, -errno, "%s%s", c->tree->path, full);
	for (int i = 0; i < n; i++) {
		_cleanup_free_ char *path = strf("%s/%s", full, names[i]->d_name);

		if (r == 0 && !path)
			r = oom(p);
		if (r == 0 && fnmatch(slash + 1, names[i]->d_name, FNM_PERIOD) == 0)
			r = read_conf(c, path, depth + 1, p);
		free(names[i]);
	}
	free(names);
	return r;
}

static int read_conf_line(struct closure *c, const char *path, char *line, unsigned depth,
			  struct problem *p)
{
	bool include = false;
	char *save = NULL;

	line[strcspn(line, "#")] = '\0';
	for (char *word = strtok_r(line, CONF_SEPARATORS, &save); word;
	     word = strtok_r(NULL, CONF_SEPARATORS, &save)) {
		int r;

		if (streq(word, "hwcap")) /* old glibc: about the processor, no directory */
			return 0;
		if (streq(word, "include")) {
			include = true;
			continue;
		}
		if (include) {
			r = include_conf(c, path, word, depth, p);
		} else {
			word[strcspn(word, "=")] = '\0'; /* "/lib=libc6" */
			r = add_dir(c, word, false);
			if (r < 0)
				r = oom(p);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_conf(struct closure *c, const char *path, unsigned depth, struct problem *p)
{
	_cleanup_blob_ struct blob text = { 0 };
	char *save = NULL;
	int r;

	if (depth > CONF_DEPTH_MAX)
		return problem_say(p, "%s%s: files that include each other", c->tree->path, path);
	r = tree_read(c->tree, path, &text);
	if (is_absent(r))
		return 0;
	if (r < 0)
		return problem_errno(p, r, "%s%s", c->tree->path, path);
	for (char *line = strtok_r((char *)text.data, "\n", &save); line && r == 0;
	     line = strtok_r(NULL, "\n", &save))
		r = read_conf_line(c, path, line, depth, p);
	return r;
}

/* Where this root's C library lives, its loader looks by itself. */
static int find_home(struct closure *c)
{
	for (size_t i = 0; i < c->dir_count; i++) {
		_cleanup_free_ char *libc = strf("%s/libc.so.6", c->dirs[i].path);
		_cleanup_close_ int fd = -1;

		if (!libc)
			return -ENOMEM;
		if (!c->dirs[i].builtin)
			continue;
		fd = tree_open(c->tree, libc);
		if (fd >= 0) {
			c->home = strdup(c->dirs[i].path);
			return c->home ? 0 : -ENOMEM;
		}
	}
	c->home = strdup("lib"); /* musl */
	return c->home ? 0 : -ENOMEM;
}

/* The first program decides for which machine the image is. */
static int start(struct closure *c, const char *path, const struct elf_kind *kind,
		 struct problem *p)
{
	int r;

	c->kind = *kind;
	r = read_conf(c, CONF_PATH, 0, p);
	if (r < 0)
		return r;
	if (add_builtin_dirs(c) < 0 || find_home(c) < 0)
		return oom(p);
	c->first = strdup(path);
	return c->first ? 0 : oom(p);
}

/* ---- what was settled ----------------------------------------------------- */

static bool is_done(const struct closure *c, const char *soname)
{
	for (size_t i = 0; i < c->done_count; i++)
		if (streq(c->done[i], soname))
			return true;
	return false;
}

static int set_done(struct closure *c, const char *soname)
{
	char **done = reallocarray(c->done, c->done_count + 1, sizeof(*done));
	char *name = strdup(soname);

	if (done)
		c->done = done;
	if (!done || !name) {
		free(name);
		return -ENOMEM;
	}
	done[c->done_count++] = name;
	return 0;
}

/* ---- one library ---------------------------------------------------------- */

/* A library on its way into the image. */
struct found {
	char *path; /* in the image, no leading slash */
	struct blob file;
	struct elf_info info;
};

static void found_free(struct found *f)
{
	free(f->path);
	f->path = NULL;
	blob_free(&f->file);
	elf_info_free(&f->info);
}

/* "a/./b/../c" to "a/c": right in the image, which has no linked directories. */
static char *collapse(const char *path)
{
	char *out = malloc(strlen(path) + 2);
	size_t n = 0;

	if (!out)
		return NULL;
	while (*path) {
		size_t len = strcspn(path, "/");

		if (len == 2 && path[0] == '.' && path[1] == '.') {
			while (n && out[--n] != '/')
				;
		} else if (len && !(len == 1 && path[0] == '.')) {
			out[n++] = '/';
			memcpy(out + n, path, len);
			n += len;
		}
		path += len + (path[len] == '/');
	}
	out[n] = '\0';
	return out;
}

/*
 * Takes @dir/@soname of the root if it is a library for this machine: 0. 1: it
 * is not there; *other then gets the kind of one for another machine.
 */
static int try_dir(struct closure *c, const char *dir, const char *soname, struct found *f,
		   struct elf_kind *other, struct problem *p)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, soname);
	int r;

	if (!path)
		return oom(p);
	found_free(f);
	r = tree_read(c->tree, path, &f->file);
	if (is_absent(r))
		return 1;
	if (r < 0)
		return problem_errno(p, r, "%s/%s", c->tree->path, path);
	r = elf_info_parse(&f->file, &f->info);
	if (r == -ENOEXEC || r == -EBADMSG)
		return problem_say(p,
				   "%s/%s: not a library (damaged file?); reinstall its package "
				   "there",
				   c->tree->path, path);
	if (r < 0)
		return problem_errno(p, r, "%s/%s", c->tree->path, path);
	if (!elf_kind_equal(&f->info.kind, &c->kind)) {
		*other = f->info.kind;
		return 1;
	}
	f->path = collapse(path);
	return f->path ? 0 : oom(p);
}

/* One directory of an rpath, $ORIGIN being the directory of @path. Caller frees. */
static char *expand_origin(const char *dir, const char *path)
{
	const char *slash = strrchr(path, '/');
	int origin = slash ? (int)(slash - path) : 0;
	const char *rest = startswith(dir, "${ORIGIN}");

	if (!rest)
		rest = startswith(dir, "$ORIGIN");
	return rest ? strf("/%.*s%s", origin, path, rest) : strdup(dir);
}

static int try_rpath(struct closure *c, const char *path, const struct elf_info *info,
		     const char *soname, struct found *f, struct elf_kind *other, struct problem *p)
{
	const char *rpath = info->runpath ? info->runpath : info->rpath;
	_cleanup_free_ char *list = strdup(rpath ? rpath : "");
	char *save = NULL;

	if (!list)
		return oom(p);
	for (char *dir = strtok_r(list, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) {
		_cleanup_free_ char *full = expand_origin(dir, path);
		int r;

		if (!full)
			return oom(p);
		r = try_dir(c, full, soname, f, other, p);
		if (r <= 0)
			return r;
	}
	return 1;
}

static int try_dirs(struct closure *c, const char *soname, struct found *f, struct elf_kind *other,
		    struct problem *p)
{
	for (size_t i = 0; i < c->dir_count; i++) {
		int r = try_dir(c, c->dirs[i].path, soname, f, other, p);

		if (r == 0 && !c->dirs[i].builtin) {
			free(f->path);
			f->path = strf("%s/%s", c->home, soname);
			return f->path ? 0 : oom(p);
		}
		if (r <= 0)
			return r;
	}
	return 1;
}

static int say_missing(const struct closure *c, const char *path, const char *soname,
		       const struct elf_kind *other, struct problem *p)
{
	char ours[ELF_MACHINE_NAME_SIZE], theirs[ELF_MACHINE_NAME_SIZE];
	const char *machine = elf_machine_name(&c->kind, ours);

	if (other->class)
		return problem_say(p,
				   "%s, needed by /%s, is in %s only for %s, not for %s; install "
				   "its package for %s there",
				   soname, path, c->tree->path, elf_machine_name(other, theirs),
				   machine, machine);
	return problem_say(p, "%s, needed by /%s, is missing in %s; install its package there",
			   soname, path, c->tree->path);
}

static int find_library(struct closure *c, const char *path, const struct elf_info *info,
			const char *soname, struct found *ret, struct problem *p)
{
	struct elf_kind other = { 0 };
	int r;

	if (strchr(soname, '/')) {
		r = try_dir(c, "", soname, ret, &other, p);
	} else {
		r = try_rpath(c, path, info, soname, ret, &other, p);
		if (r > 0)
			r = try_dirs(c, soname, ret, &other, p);
	}
	return r > 0 ? say_missing(c, path, soname, &other, p) : r;
}

/* Moves @f's content into the image. */
static int take(struct closure *c, struct found *f, const char *needed_by, struct problem *p)
{
	_cleanup_free_ char *note = strf("library of /%s", needed_by);
	int r;

	if (!note)
		return oom(p);
	f->file.mode = S_IFREG | 0755;
	r = image_add_file(c->image, f->path, &f->file, note);
	return r < 0 ? problem_errno(p, r, "/%s in the image", f->path) : 0;
}

static int add_interpreter(struct closure *c, const char *path, const char *interp,
			   struct problem *p)
{
	const char *slash = strrchr(interp, '/');
	const char *soname = slash ? slash + 1 : interp;
	_cleanup_(found_free) struct found f = { 0 };
	struct elf_kind other = { 0 };
	int r;

	if (is_done(c, soname))
		return 0;
	r = try_dir(c, "", interp, &f, &other, p);
	if (r > 0) /* a root whose /lib -> usr/lib is not made yet */
		r = try_dir(c, "/usr", interp, &f, &other, p);
	if (r > 0)
		return say_missing(c, path, interp, &other, p);
	if (r < 0)
		return r;
	/* The kernel looks only where PT_INTERP says. */
	free(f.path);
	f.path = collapse(interp);
	if (!f.path || set_done(c, soname) < 0)
		return oom(p);
	return take(c, &f, path, p);
}

static int add_object(struct closure *c, const char *path, const struct elf_info *info,
		      struct problem *p)
{
	int r = 0;

	path += strspn(path, "/");
	if (info->interp)
		r = add_interpreter(c, path, info->interp, p);
	for (size_t i = 0; i < info->needed_count && r == 0; i++) {
		_cleanup_(found_free) struct found f = { 0 };
		const char *soname = info->needed[i];

		if (is_done(c, soname))
			continue;
		r = find_library(c, path, info, soname, &f, p);
		if (r < 0)
			return r;
		if (set_done(c, soname) < 0)
			return oom(p);
		r = take(c, &f, path, p);
		if (r == 0)
			r = add_object(c, f.path, &f.info, p);
	}
	return r;
}

int closure_add(struct closure *c, const char *path, const struct blob *file, struct problem *p)
{
	_cleanup_elf_ struct elf_info info = { 0 };
	int r = elf_info_parse(file, &info);

	if (r == -ENOEXEC)
		return 0;
	if (r < 0)
		return problem_say(p, "/%s: damaged ELF file", path + strspn(path, "/"));
	if (!info.interp && !info.needed_count)
		return 0;
	if (!c->first) {
		r = start(c, path, &info.kind, p);
		if (r < 0)
			return r;
	}
	if (!elf_kind_equal(&info.kind, &c->kind)) {
		char theirs[ELF_MACHINE_NAME_SIZE], ours[ELF_MACHINE_NAME_SIZE];

		return problem_say(p, "/%s is for %s, but %s for %s: one image, one machine",
				   path + strspn(path, "/"), elf_machine_name(&info.kind, theirs),
				   c->first, elf_machine_name(&c->kind, ours));
	}
	return add_object(c, path, &info, p);
}
