// SPDX-License-Identifier: MIT
#include "initramfs/pack/kmods.h"

#include "boot/io.h"
#include "initramfs/modlist.h"
#include "initramfs/pack/codec.h"
#include "initramfs/pack/devtree.h"
#include "initramfs/pack/elfinfo.h"

#include <dirent.h>
#include <fcntl.h>
#include <libkmod.h>
#include <unistd.h>

#define MODULES_MAX 512 /* a boot needs dozens; a damaged index could say anything */

/* ---- the order ------------------------------------------------------------ */

/* Who needs whom, as a square of flags. */
struct order {
	size_t count;
	bool *needs; /* [from * count + to] */
	bool *seen;  /* [count] */
};

static bool reaches(struct order *o, size_t from, size_t to)
{
	if (from == to)
		return true;
	o->seen[from] = true;
	for (size_t i = 0; i < o->count; i++)
		if (o->needs[from * o->count + i] && !o->seen[i] && reaches(o, i, to))
			return true;
	return false;
}

/* -ELOOP: a level beyond what a chain of all of them would have. */
static int find_levels(const struct order *o, unsigned *levels)
{
	bool moved = true;

	memset(levels, 0, o->count * sizeof(*levels));
	while (moved) {
		moved = false;
		for (size_t i = 0; i < o->count * o->count; i++) {
			size_t from = i / o->count, to = i % o->count;

			if (!o->needs[i] || levels[from] > levels[to])
				continue;
			levels[from] = levels[to] + 1;
			if (levels[from] >= o->count)
				return -ELOOP;
			moved = true;
		}
	}
	return 0;
}

int kmod_levels(size_t count, const struct kmod_edge *edges, size_t edge_count, unsigned *levels)
{
	_cleanup_free_ bool *needs = calloc(count * count + 1, 1), *seen = calloc(count + 1, 1);
	struct order o = { .count = count, .needs = needs, .seen = seen };
	int r;

	if (!needs || !seen)
		return -ENOMEM;
	for (size_t i = 0; i < edge_count; i++)
		if (edges[i].hard)
			needs[edges[i].from * count + edges[i].to] = true;
	r = find_levels(&o, levels);
	if (r < 0)
		return r;
	for (size_t i = 0; i < edge_count; i++) {
		bool *flag = &needs[edges[i].from * count + edges[i].to];

		if (*flag)
			continue;
		memset(seen, 0, count);
		*flag = !reaches(&o, edges[i].to, edges[i].from);
	}
	return find_levels(&o, levels);
}

/* ---- what a module says --------------------------------------------------- */

int kmod_unsigned_size(const void *data, size_t size, size_t *ret)
{
	static const char marker[] = "~Module signature appended~\n";
	enum { MARKER_LEN = sizeof(marker) - 1, HEAD_LEN = 12, ID_TYPE = 2, PKCS7 = 2 };
	const uint8_t *bytes = data, *head;
	size_t rest = size, signature_len;

	if (rest < MARKER_LEN || memcmp(bytes + rest - MARKER_LEN, marker, MARKER_LEN) != 0) {
		*ret = size;
		return 0;
	}
	rest -= MARKER_LEN;
	if (rest < HEAD_LEN)
		return -EBADMSG;
	rest -= HEAD_LEN;
	/* u8 algo, hash, id_type, signer_len, key_id_len, __pad[3]; be32 sig_len */
	head = bytes + rest;
	for (size_t i = 0; i < HEAD_LEN - 4; i++)
		if (head[i] != (i == ID_TYPE ? PKCS7 : 0))
			return -EBADMSG;
	signature_len =
		(size_t)head[8] << 24 | (size_t)head[9] << 16 | (size_t)head[10] << 8 | head[11];
	if (signature_len >= rest)
		return -EBADMSG;
	*ret = rest - signature_len;
	return 0;
}

int kmod_device_pattern(const char *alias, char **ret)
{
	/* These have a modalias, but in a class and not on a bus. */
	static const char *const elsewhere[] = { "devname:", "dmi:", "input:" };
	bool in_brackets = false;
	char *pattern;

	*ret = NULL;
	if (!strchr(alias, ':'))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(elsewhere); i++)
		if (startswith(alias, elsewhere[i]))
			return 0;
	if (text_has_control(alias)) /* one line of the list */
		return 0;
	pattern = strdup(alias);
	if (!pattern)
		return -ENOMEM;
	for (char *c = pattern; *c; c++) {
		if (*c == '[' || *c == ']')
			in_brackets = *c == '[';
		else if (*c == '-' && !in_brackets)
			*c = '_';
	}
	*ret = pattern;
	return 0;
}

/* ---- the modules of one root ---------------------------------------------- */

/* A line of modules.dep: a module, and all it needs, each by its path. */
struct dep {
	const char *path;  /* below the module directory, or absolute */
	const char *needs; /* separated by blanks */
};

struct module {
	const struct dep *dep;
	char *source; /* in the root */
	char *target; /* in the image */
	char *why;
	char *params;	/* or NULL */
	struct blob ko; /* unpacked */
	bool required;
	bool asked;  /* by a wish, not only by another module */
	bool late;   /* see struct kmod_want */
	bool always; /* bf-init shall not wait for a device or another module */
	bool watchdog;
	unsigned level;
	size_t number; /* in k->modules before it is sorted: edges say so */
};

struct kmods {
	const struct tree *tree;
	const char *release;
	bool strip;
	struct problem *problem;
	struct kmod_ctx *ctx;
	int fd;	   /* the module directory */
	char *dir; /* its path in the root */
	struct blob dep_text;
	struct dep *deps;
	size_t dep_count;
	struct module **modules; /* owned, each of them too */
	size_t count;
	struct kmod_edge *edges;
	size_t edge_count;
	struct kmod_module **builtins; /* of the kernel, that serve a wish or a supplier; owned */
	size_t builtin_count;
	FILE *skipped;
	size_t signed_count;
};

static void kmods_done(struct kmods *k)
{
	for (size_t i = 0; i < k->count; i++) {
		struct module *m = k->modules[i];

		free(m->source);
		free(m->target);
		free(m->why);
		free(m->params);
		blob_free(&m->ko);
		free(m);
	}
	free(k->modules);
	for (size_t i = 0; i < k->builtin_count; i++)
		(void)kmod_module_unref(k->builtins[i]);
	free(k->builtins);
	free(k->edges);
	free(k->deps);
	blob_free(&k->dep_text);
	free(k->dir);
	close_p(&k->fd);
	if (k->ctx)
		(void)kmod_unref(k->ctx);
	fclose_p(&k->skipped);
}

static int oom(struct kmods *k)
{
	(void)problem_errno(k->problem, -ENOMEM, "packing kernel modules");
	return -ENOMEM;
}

/* Adds the names of the kernels below @path to @out. */
static void list_kernels(const struct tree *tree, const char *path, FILE *out, size_t *count)
{
	_cleanup_close_ int fd = tree_open_dir(tree, path);
	struct dirent **names = NULL;
	int n = fd < 0 ? -1 : scandirat(fd, ".", &names, NULL, versionsort);

	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.' &&
		    faccessat(fd, names[i]->d_name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
		    names[i]->d_type != DT_REG)
			(void)fprintf(out, "%s%s", (*count)++ ? ", " : "", names[i]->d_name);
		free(names[i]);
	}
	free(names);
}

static int say_no_kernel(struct kmods *k)
{
	_cleanup_free_ char *names = NULL;
	_cleanup_file_ FILE *out = NULL;
	size_t size, count = 0;

	out = open_memstream(&names, &size);
	if (!out)
		return oom(k);
	list_kernels(k->tree, "lib/modules", out, &count);
	if (!count)
		list_kernels(k->tree, "usr/lib/modules", out, &count);
	if (fflush(out) != 0)
		return oom(k);
	if (!count)
		return problem_say(k->problem,
				   "%s holds no kernel modules (no lib/modules); install a kernel "
				   "package there",
				   k->tree->path);
	return problem_say(k->problem, "kernel %s is not in %s; it has: %s", k->release,
			   k->tree->path, names);
}

static int open_modules_dir(struct kmods *k)
{
	static const char *const places[] = { "lib/modules", "usr/lib/modules" };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		free(k->dir);
		k->dir = strf("%s/%s", places[i], k->release);
		if (!k->dir)
			return oom(k);
		k->fd = tree_open_dir(k->tree, k->dir);
		if (k->fd >= 0)
			return 0;
		if (k->fd != -ENOENT && k->fd != -ENOTDIR)
			return problem_errno(k->problem, k->fd, "%s/%s", k->tree->path, k->dir);
	}
	return say_no_kernel(k);
}

static int say_run_depmod(struct kmods *k, const char *file, const char *what)
{
	return problem_say(k->problem, "%s/%s/%s %s; run: depmod -b %s%s %s", k->tree->path, k->dir,
			   file, what, k->tree->path, startswith(k->dir, "usr/") ? "/usr" : "",
			   k->release);
}

/* libkmod opens these by name: none of them may be a link that leads out of the root. */
static int check_indexes(struct kmods *k)
{
	static const struct {
		const char *name;
		bool needed;
	} files[] = {
		{ "modules.dep", true },
		{ "modules.dep.bin", true },
		{ "modules.alias.bin", true },
		{ "modules.symbols.bin", false },
		{ "modules.builtin.bin", false },
		{ "modules.builtin.alias.bin", false },
		{ "modules.builtin.modinfo", false },
		{ "modules.builtin", false },
		{ "modules.softdep", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		struct stat st;

		if (fstatat(k->fd, files[i].name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
			if (!S_ISREG(st.st_mode))
				return say_run_depmod(k, files[i].name, "is no regular file");
		} else if (errno != ENOENT) {
			return problem_errno(k->problem, -errno, "%s/%s/%s", k->tree->path, k->dir,
					     files[i].name);
		} else if (files[i].needed) {
			return say_run_depmod(k, files[i].name, "is missing");
		}
	}
	return 0;
}

/*
 * libkmod knows dependencies too, but drops all of a module's without a word when
 * the file of one is not where it looks, which is outside of the root for a link.
 */
static int read_deps(struct kmods *k)
{
	_cleanup_free_ char *path = strf("%s/modules.dep", k->dir);
	size_t room = 1;
	char *next;
	int r = path ? tree_read(k->tree, path, &k->dep_text) : -ENOMEM;

	if (r < 0)
		return problem_errno(k->problem, r, "%s/%s/modules.dep", k->tree->path, k->dir);
	next = (char *)k->dep_text.data;
	for (const char *c = next; *c; c++)
		room += *c == '\n';
	k->deps = reallocarray(NULL, room, sizeof(*k->deps));
	if (!k->deps)
		return oom(k);
	while (next && *next) {
		char *line = strsep(&next, "\n"), *colon = strchr(line, ':');

		if (!colon || colon == line)
			return say_run_depmod(k, "modules.dep", "is damaged");
		*colon = '\0';
		k->deps[k->dep_count++] = (struct dep) { .path = line, .needs = colon + 1 };
	}
	return 0;
}

/* The module @name, which is spelled with "_" whatever its file has, or NULL. */
static const struct dep *find_dep(const struct kmods *k, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < k->dep_count; i++) {
		const char *slash = strrchr(k->deps[i].path, '/');
		const char *file = slash ? slash + 1 : k->deps[i].path;
		size_t n = 0;

		while (n < len && (file[n] == '-' ? '_' : file[n]) == name[n])
			n++;
		if (n == len && file[n] == '.')
			return &k->deps[i];
	}
	return NULL;
}

static const struct dep *find_dep_path(const struct kmods *k, const char *path, size_t len)
{
	for (size_t i = 0; i < k->dep_count; i++)
		if (strlen(k->deps[i].path) == len && memcmp(k->deps[i].path, path, len) == 0)
			return &k->deps[i];
	return NULL;
}

static void no_log(void *data _unused_, int priority _unused_, const char *file _unused_,
		   int line _unused_, const char *fn _unused_, const char *format _unused_,
		   va_list args _unused_)
{
}

static int kmods_open(struct kmods *k)
{
	static const char *const no_config[] = { NULL };
	char path[sizeof("/proc/self/fd/") + 10];
	int r = open_modules_dir(k);

	if (r == 0)
		r = check_indexes(k);
	if (r == 0)
		r = read_deps(k);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", k->fd);
	k->ctx = kmod_new(path, no_config);
	if (!k->ctx)
		return oom(k);
	kmod_set_log_fn(k->ctx, no_log, NULL);
	return 0;
}

static int add_edge(struct kmods *k, size_t from, size_t to, bool hard)
{
	struct kmod_edge *edges = reallocarray(k->edges, k->edge_count + 1, sizeof(*edges));

	if (!edges)
		return oom(k);
	k->edges = edges;
	edges[k->edge_count++] = (struct kmod_edge) { .from = from, .to = to, .hard = hard };
	return 0;
}

static bool ends_with(const char *s, size_t len, const char *end)
{
	size_t n = strlen(end);

	return len >= n && memcmp(s + len - n, end, n) == 0;
}

/* "kernel/fs/ext4/ext4.ko.xz" to "/lib/modules/RELEASE/kernel/fs/ext4/ext4.ko". */
static int set_paths(struct kmods *k, struct module *m)
{
	static const char *const packed[] = { ".xz", ".zst", ".gz" };
	const char *path = m->dep->path;
	bool inside = *path != '/';
	size_t stem = strlen(path);

	m->source = inside ? strf("%s/%s", k->dir, path) : strdup(path);
	if (!m->source)
		return oom(k);
	for (size_t i = 0; i < ARRAY_SIZE(packed); i++)
		if (ends_with(path, stem, packed[i])) {
			stem -= strlen(packed[i]);
			break;
		}
	if (!ends_with(path, stem, ".ko") || strpbrk(path, " \t"))
		return problem_say(k->problem, "%s/%s: not the name of a kernel module",
				   k->tree->path, m->source);
	m->target = inside ? strf("/lib/modules/%s/%.*s", k->release, (int)stem, path)
			   : strf("%.*s", (int)stem, path);
	return m->target ? 0 : oom(k);
}

static int check_signature(struct kmods *k, struct module *m)
{
	size_t size;

	if (kmod_unsigned_size(m->ko.data, m->ko.size, &size) < 0)
		return problem_say(k->problem,
				   "%s/%s: its signature is damaged; reinstall the kernel package",
				   k->tree->path, m->source);
	k->signed_count += size < m->ko.size;
	if (k->strip)
		m->ko.size = size;
	return 0;
}

static int read_module(struct kmods *k, struct module *m)
{
	_cleanup_blob_ struct blob file = { 0 };
	enum codec codec;
	int r = tree_read(k->tree, m->source, &file);

	if (r == -ENOENT)
		return problem_say(k->problem,
				   "%s/%s (%s) is missing although modules.dep names it; reinstall "
				   "the kernel package there, or run depmod",
				   k->tree->path, m->source, m->why);
	if (r < 0)
		return problem_errno(k->problem, r, "%s/%s", k->tree->path, m->source);
	codec = codec_detect(file.data, file.size);
	if (codec == CODEC_NONE) {
		m->ko = blob_take(&file);
		return check_signature(k, m);
	}
	r = codec_decompress(codec, &file, BLOB_MAX, &m->ko);
	if (r == -EBADMSG)
		return problem_say(k->problem,
				   "%s/%s: damaged %s file; reinstall the kernel package",
				   k->tree->path, m->source, codec_name(codec));
	if (r < 0)
		return problem_errno(k->problem, r, "%s/%s", k->tree->path, m->source);
	return check_signature(k, m);
}

/* A new, empty module at the end of the list; NULL when out of memory. */
static struct module *append_module(struct kmods *k)
{
	struct module **list = reallocarray(k->modules, k->count + 1, sizeof(struct module *));
	struct module *m;

	if (!list)
		return NULL;
	k->modules = list;
	m = calloc(1, sizeof(*m));
	if (m)
		list[k->count++] = m;
	return m;
}

/* The number of the module of @dep, which is read and appended unless it is there. */
static int take_module(struct kmods *k, const struct dep *dep, const char *why, size_t *ret)
{
	struct module *m;
	int r;

	for (size_t i = 0; i < k->count; i++)
		if (k->modules[i]->dep == dep) {
			*ret = i;
			return 0;
		}
	if (k->count == MODULES_MAX)
		return problem_say(k->problem, "more than %d modules: no image for a boot",
				   MODULES_MAX);
	m = append_module(k);
	if (!m)
		return oom(k);
	m->dep = dep;
	m->late = true;
	m->number = k->count - 1;
	m->why = strdup(why);
	if (!m->why)
		return oom(k);
	r = set_paths(k, m);
	if (r == 0)
		r = read_module(k, m);
	if (r == 0)
		*ret = k->count - 1;
	return r;
}

/* What a name came to. */
enum lookup { LOOKUP_FOUND, LOOKUP_BUILTIN, LOOKUP_ABSENT };

static void unref_p(struct kmod_module **m)
{
	(void)kmod_module_unref(*m);
}

static void unref_list_p(struct kmod_list **l)
{
	if (*l)
		(void)kmod_module_unref_list(*l);
}

static bool is_taken_builtin(const struct kmods *k, const char *name)
{
	for (size_t i = 0; i < k->builtin_count; i++)
		if (streq(kmod_module_get_name(k->builtins[i]), name))
			return true;
	return false;
}

/* Nothing of it is packed, but it may ask for modules, too. */
static int take_builtin(struct kmods *k, struct kmod_module *mod)
{
	struct kmod_module **list;

	if (is_taken_builtin(k, kmod_module_get_name(mod)))
		return 0;
	list = reallocarray(k->builtins, k->builtin_count + 1, sizeof(struct kmod_module *));
	if (!list)
		return oom(k);
	k->builtins = list;
	list[k->builtin_count++] = kmod_module_ref(mod);
	return 0;
}

/*
 * The modules behind a name or alias, appended to k->modules; their numbers in
 * ret[0..*ret_count). Returns enum lookup or below 0.
 */
static int look_up(struct kmods *k, const char *name, const char *why, size_t **ret,
		   size_t *ret_count)
{
	_cleanup_(unref_list_p) struct kmod_list *list = NULL;
	_cleanup_free_ size_t *found = NULL;
	size_t count = 0;
	bool builtin = false;
	int r = kmod_module_new_from_lookup(k->ctx, name, &list);

	if (r < 0 && r != -ENOENT)
		return problem_errno(k->problem, r, "%s/%s: looking for %s", k->tree->path, k->dir,
				     name);
	for (struct kmod_list *at = list; at; at = kmod_list_next(list, at)) {
		_cleanup_(unref_p) struct kmod_module *mod = kmod_module_get_module(at);
		const struct dep *dep = find_dep(k, kmod_module_get_name(mod));
		size_t *more;

		if (!dep) { /* in the kernel, or an alias of something not packaged */
			if (kmod_module_get_initstate(mod) != KMOD_MODULE_BUILTIN)
				continue;
			builtin = true;
			r = take_builtin(k, mod);
			if (r < 0)
				return r;
			continue;
		}
		more = reallocarray(found, count + 1, sizeof(*found));
		if (!more)
			return oom(k);
		found = more;
		r = take_module(k, dep, why, &found[count]);
		if (r < 0)
			return r;
		count++;
	}
	*ret = TAKE_PTR(found);
	*ret_count = count;
	return count ? LOOKUP_FOUND : builtin ? LOOKUP_BUILTIN : LOOKUP_ABSENT;
}

/* ---- dependencies --------------------------------------------------------- */

static int expand_hard(struct kmods *k, size_t i, const char *why)
{
	const char *at = k->modules[i]->dep->needs;

	for (;;) {
		const struct dep *dep;
		size_t len, to;
		int r;

		at += strspn(at, " ");
		len = strcspn(at, " ");
		if (!len)
			return 0;
		dep = find_dep_path(k, at, len);
		if (!dep)
			return say_run_depmod(k, "modules.dep", "is damaged");
		r = take_module(k, dep, why, &to);
		if (r == 0)
			r = add_edge(k, i, to, true);
		if (r < 0)
			return r;
		at += len;
	}
}

#define OF_BUILTIN SIZE_MAX

/* What one module says of itself. */
struct saying {
	struct kmods *k;
	size_t module; /* in k->modules, or OF_BUILTIN */
	const char *name, *why;
};

static int add_softdep(const struct saying *s, size_t to)
{
	if (s->module != OF_BUILTIN)
		return add_edge(s->k, s->module, to, false);
	/* Nothing that is loaded needs it, so it is loaded for itself. */
	s->k->modules[to]->asked = true;
	s->k->modules[to]->late = false;
	return 0;
}

/* "pre: a b post: c". As modprobe sees it: wished for first, but nothing fails without it. */
static int expand_softdep(const char *value, void *ctx)
{
	const struct saying *s = ctx;
	_cleanup_free_ char *text = strdup(value);
	char *save = NULL;
	bool pre = false;

	if (!text)
		return oom(s->k);
	for (char *word = strtok_r(text, " \t,", &save); word;
	     word = strtok_r(NULL, " \t,", &save)) {
		_cleanup_free_ size_t *found = NULL;
		size_t count = 0;
		int r = 0;

		if (streq(word, "pre:") || streq(word, "post:")) {
			pre = streq(word, "pre:");
			continue;
		}
		if (!pre)
			continue;
		r = look_up(s->k, word, s->why, &found, &count);
		for (size_t i = 0; i < count && r >= 0; i++)
			r = add_softdep(s, found[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Is @path one of the words of @needs? */
static bool is_among(const char *path, const char *needs)
{
	size_t len = strlen(path);

	for (const char *at = needs + strspn(needs, " "); *at; at += strspn(at, " ")) {
		size_t n = strcspn(at, " ");

		if (n == len && memcmp(at, path, n) == 0)
			return true;
		at += n;
	}
	return false;
}

/*
 * "a,b": the module's own word, against modules.dep, which is made from it: by a depmod that
 * could not read compressed modules it says that nothing is needed.
 */
static int check_depends(const char *value, void *ctx)
{
	const struct saying *s = ctx;
	struct kmods *k = s->k;
	_cleanup_free_ char *text = strdup(value);
	char *save = NULL;

	if (!text)
		return oom(k);
	for (char *name = strtok_r(text, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		const struct dep *dep;

		for (char *c = name; *c; c++)
			if (*c == '-')
				*c = '_';
		dep = find_dep(k, name);
		if (dep && is_among(dep->path, k->modules[s->module]->dep->needs))
			continue;
		return problem_say(
			k->problem,
			"%s/%s/modules.dep does not say that %s needs %s, as the module itself "
			"does%s; run a depmod that can read these modules: depmod -b %s%s %s",
			k->tree->path, k->dir, s->name, name, dep ? "" : ", and has no such module",
			k->tree->path, startswith(k->dir, "usr/") ? "/usr" : "", k->release);
	}
	return 0;
}

static int ask_module(const struct saying *s, const char *key,
		      int (*each)(const char *value, void *ctx))
{
	struct kmods *k = s->k;
	const struct module *m = k->modules[s->module];
	int r;

	problem_free(k->problem);
	r = elf_modinfo(&m->ko, key, each, (void *)s);
	if (r < 0 && !k->problem->text)
		return problem_say(k->problem, "%s/%s: not a kernel module, or damaged",
				   k->tree->path, m->source);
	return r;
}

static int expand_module(struct kmods *k, size_t i)
{
	const char *file = strrchr(k->modules[i]->target, '/') + 1;
	_cleanup_free_ char *name = strndup(file, strlen(file) - strlen(".ko")), *why = NULL;
	struct saying s = { .k = k, .module = i };
	int r;

	if (name)
		why = strf("for %s", name);
	if (!why)
		return oom(k);
	s.name = name;
	s.why = why;
	r = expand_hard(k, i, why);
	if (r == 0)
		r = ask_module(&s, "depends", check_depends);
	if (r == 0)
		r = ask_module(&s, "softdep", expand_softdep);
	return r;
}

static void free_info_p(struct kmod_list **l)
{
	if (*l)
		kmod_module_info_free_list(*l);
}

/* By modules.builtin.modinfo, which libkmod reads. */
static int expand_builtin(struct kmods *k, size_t i)
{
	const char *name = kmod_module_get_name(k->builtins[i]);
	_cleanup_(free_info_p) struct kmod_list *list = NULL;
	_cleanup_free_ char *why = strf("for %s, built in", name);
	struct saying s = { .k = k, .module = OF_BUILTIN, .name = name, .why = why };
	int r = 0;

	if (!why)
		return oom(k);
	/* An old kernel has no such file: nothing is known then, and nothing is missed. */
	if (kmod_module_get_info(k->builtins[i], &list) < 0)
		return 0;
	for (struct kmod_list *at = list; at && r == 0; at = kmod_list_next(list, at))
		if (streq(kmod_module_info_get_key(at), "softdep"))
			r = expand_softdep(kmod_module_info_get_value(at), &s);
	return r;
}

/* Everything each module needs; what that adds is expanded in its turn. */
static int expand_all(struct kmods *k)
{
	size_t modules = 0, builtins = 0;
	int r = 0;

	while (r == 0 && (modules < k->count || builtins < k->builtin_count))
		r = modules < k->count ? expand_module(k, modules++)
				       : expand_builtin(k, builtins++);
	return r;
}

/* ---- suppliers in the device tree ----------------------------------------- */

static int is_ours(const char *modalias, void *ctx)
{
	struct kmods *k = ctx;
	_cleanup_(unref_list_p) struct kmod_list *list = NULL;
	int r = kmod_module_new_from_lookup(k->ctx, modalias, &list);

	if (r < 0 && r != -ENOENT)
		return problem_errno(k->problem, r, "%s/%s: looking for %s", k->tree->path, k->dir,
				     modalias);
	for (struct kmod_list *at = list; at; at = kmod_list_next(list, at)) {
		_cleanup_(unref_p) struct kmod_module *mod = kmod_module_get_module(at);
		const char *name = kmod_module_get_name(mod);
		const struct dep *dep = find_dep(k, name);

		if (!dep && is_taken_builtin(k, name))
			return 1;
		for (size_t i = 0; dep && i < k->count; i++)
			if (k->modules[i]->dep == dep)
				return 1;
	}
	return 0;
}

static int take_supplier(const char *modalias, const char *why, void *ctx)
{
	struct kmods *k = ctx;
	_cleanup_free_ size_t *found = NULL;
	size_t count = 0;
	int r = look_up(k, modalias, why, &found, &count);

	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++) {
		k->modules[found[i]]->asked = true;
		k->modules[found[i]]->late = false;
	}
	return 0;
}

/* The drivers without which the kernel lets none of ours begin. */
static int take_suppliers(struct kmods *k, const struct kmod_dtb *dtb)
{
	const struct devtree_visitor visitor = { is_ours, take_supplier, k };
	int r;

	problem_free(k->problem);
	r = devtree_walk(dtb->blob.data, dtb->blob.size, &visitor);
	if (r < 0 && !k->problem->text)
		return r == -EBADMSG
			       ? problem_say(k->problem, "%s is no device tree, or a damaged one",
					     dtb->path)
			       : problem_errno(k->problem, r, "%s", dtb->path);
	return r;
}

/* What a required module needs is required too; a watchdog's needs are as early as it. */
static void spread(struct kmods *k)
{
	bool moved = true;

	while (moved) {
		moved = false;
		for (size_t i = 0; i < k->edge_count; i++) {
			const struct kmod_edge *e = &k->edges[i];
			const struct module *from = k->modules[e->from];
			struct module *to = k->modules[e->to];

			if (from->required && e->hard && !to->required)
				moved = to->required = true;
			if (from->watchdog && !to->watchdog)
				moved = to->watchdog = true;
		}
	}
}

static int set_levels(struct kmods *k)
{
	_cleanup_free_ unsigned *levels = calloc(k->count + 1, sizeof(*levels));
	int r = levels ? kmod_levels(k->count, k->edges, k->edge_count, levels) : -ENOMEM;

	if (r == -ELOOP)
		return say_run_depmod(k, "modules.dep", "has modules that need each other");
	if (r < 0)
		return oom(k);
	for (size_t i = 0; i < k->count; i++)
		k->modules[i]->level = levels[i];
	return 0;
}

/* ---- the whole ------------------------------------------------------------ */

static int say_absent(struct kmods *k, const struct kmod_want *w)
{
	return problem_say(k->problem,
			   "module %s (%s) is not in %s for kernel %s; install the kernel package "
			   "that has it there, or a kernel that has it built in",
			   w->name, w->why, k->tree->path, k->release);
}

static int take_want(struct kmods *k, const struct kmod_want *w)
{
	_cleanup_free_ size_t *found = NULL;
	size_t count = 0;
	int r = look_up(k, w->name, w->why, &found, &count);

	if (r < 0)
		return r;
	if (r == LOOKUP_ABSENT && !w->optional)
		return say_absent(k, w);
	if (r == LOOKUP_BUILTIN && w->params)
		return problem_say(k->problem,
				   "%s is built into kernel %s: give its parameters on the kernel "
				   "command line (%s.NAME=VALUE)",
				   w->name, k->release, w->name);
	if (r != LOOKUP_FOUND)
		(void)fprintf(k->skipped, "%s  %-21s (%s)\n",
			      r == LOOKUP_BUILTIN ? "built in " : "not there", w->name, w->why);
	for (size_t i = 0; i < count; i++) {
		struct module *m = k->modules[found[i]];

		/* Several behind one alias are one for each kind of CPU: some may refuse. */
		m->required |= !w->optional && count == 1;
		m->asked = true;
		m->late &= w->late;
		m->watchdog |= w->watchdog;
		if (!w->params)
			continue;
		free(m->params);
		m->params = strdup(w->params);
		if (!m->params)
			return oom(k);
	}
	return 0;
}

static int by_order(const void *a, const void *b)
{
	const struct module *x = *(struct module *const *)a, *y = *(struct module *const *)b;

	if (x->level != y->level)
		return x->level < y->level ? -1 : 1;
	if (x->watchdog != y->watchdog)
		return x->watchdog ? -1 : 1;
	return strcmp(x->target, y->target);
}

static int print_alias(const char *alias, void *ctx)
{
	_cleanup_free_ char *pattern = NULL;
	int r = kmod_device_pattern(alias, &pattern);

	if (r == 0 && pattern)
		(void)fprintf(ctx, "alias %s\n", pattern);
	return r;
}

/*
 * A circle of soft dependencies was cut: bf-init, which follows them backwards only, shall not
 * wait for the one behind the cut.
 */
static void keep_cut(struct kmods *k)
{
	for (size_t i = 0; i < k->edge_count; i++) {
		const struct kmod_edge *e = &k->edges[i];

		if (k->modules[e->to]->level >= k->modules[e->from]->level)
			k->modules[e->to]->always = true;
	}
}

/* The lines of one module; places[number of a module]: its number in the list. */
static int print_module(struct kmods *k, const struct module *m, const size_t *places, FILE *out)
{
	_cleanup_free_ char *aliases = NULL;
	_cleanup_file_ FILE *alias_out = NULL;
	bool on_demand = false;
	size_t size;
	int r = 0;

	alias_out = open_memstream(&aliases, &size);
	if (!alias_out)
		return oom(k);
	if (!m->required && !m->always && !m->late)
		r = elf_modinfo(&m->ko, "alias", print_alias, alias_out);
	if (fflush(alias_out) != 0 || r == -ENOMEM)
		return oom(k);
	if (r < 0)
		return problem_say(k->problem, "%s/%s: not a kernel module, or damaged",
				   k->tree->path, m->source);
	on_demand = !m->required && !m->always && (size || m->late || !m->asked);
	(void)fprintf(out, "%u %s%s%s%s\n", m->level,
		      m->required ? ""
		      : on_demand ? "?"
				  : "-",
		      m->target, m->params ? " " : "", m->params ? m->params : "");
	for (size_t i = 0; i < k->edge_count; i++) {
		const struct kmod_edge *e = &k->edges[i];

		if (e->from == m->number && places[e->to] < places[e->from])
			(void)fprintf(out, "needs %zu\n", places[e->to]);
	}
	(void)fputs(aliases, out);
	return 0;
}

/* The list, with the modules sorted. */
static int print_list(struct kmods *k, FILE *out)
{
	_cleanup_free_ size_t *places = calloc(k->count + 1, sizeof(*places));
	int r = 0;

	if (!places)
		return oom(k);
	for (size_t i = 0; i < k->count; i++)
		places[k->modules[i]->number] = i;
	(void)fprintf(out, MODLIST_HEAD "%s\n", k->release);
	for (size_t i = 0; i < k->count && r == 0; i++)
		r = print_module(k, k->modules[i], places, out);
	return r;
}

static int put_list(struct kmods *k, struct image *img)
{
	_cleanup_free_ char *list = NULL;
	_cleanup_file_ FILE *out = NULL;
	size_t size;
	int r;

	out = open_memstream(&list, &size);
	if (!out)
		return oom(k);
	r = print_list(k, out);
	if (r < 0)
		return r;
	if (fflush(out) != 0)
		return oom(k);
	if (size > MODLIST_MAX)
		return problem_say(k->problem, "the list of modules has more than %d bytes",
				   MODLIST_MAX);
	r = image_add_text(img, MODLIST_PATH, list, "what bf-init loads");
	return r < 0 ? problem_errno(k->problem, r, "%s in the image", MODLIST_PATH) : 0;
}

static int put_modules(struct kmods *k, struct image *img)
{
	/* First, as the image takes the modules' content over. */
	int r = put_list(k, img);

	for (size_t i = 0; i < k->count && r == 0; i++) {
		struct module *m = k->modules[i];

		m->ko.mode = S_IFREG | 0644;
		r = image_add_file(img, m->target, &m->ko, m->why);
		if (r < 0)
			return problem_errno(k->problem, r, "%s in the image", m->target);
	}
	return r;
}

void kmod_dtbs_free(struct kmod_dtbs *d)
{
	for (size_t i = 0; i < d->count; i++) {
		free(d->list[i].path);
		blob_free(&d->list[i].blob);
	}
	free(d->list);
	*d = (struct kmod_dtbs) { 0 };
}

int kmod_dtbs_add(struct kmod_dtbs *d, const char *path, struct blob *blob)
{
	struct kmod_dtb *list = reallocarray(d->list, d->count + 1, sizeof(*list));
	char *name = strdup(path);

	if (list)
		d->list = list;
	if (!list || !name) {
		free(name);
		blob_free(blob);
		return -ENOMEM;
	}
	list[d->count++] = (struct kmod_dtb) { .path = name, .blob = blob_take(blob) };
	return 0;
}

static int pack(struct kmods *k, const struct kmod_wants *wants, const struct kmod_dtbs *dtbs,
		struct image *img)
{
	int r = kmods_open(k);

	for (size_t i = 0; i < wants->count && r == 0; i++)
		r = take_want(k, &wants->list[i]);
	for (size_t i = 0; i < dtbs->count && r == 0; i++)
		r = take_suppliers(k, &dtbs->list[i]);
	if (r == 0)
		r = expand_all(k);
	if (r == 0)
		r = set_levels(k);
	if (r < 0)
		return r;
	spread(k);
	keep_cut(k);
	if (k->count)
		qsort(k->modules, k->count, sizeof(struct module *), by_order);
	return put_modules(k, img);
}

int kmods_pack(const struct tree *tree, const char *release, const struct kmod_wants *wants,
	       const struct kmod_dtbs *dtbs, bool strip, struct image *img, struct kmod_report *ret,
	       struct problem *p)
{
	_cleanup_free_ char *skipped = NULL;
	size_t size;
	_cleanup_(kmods_done) struct kmods k = {
		.tree = tree, .release = release, .strip = strip, .problem = p, .fd = -1
	};
	int r;

	k.skipped = open_memstream(&skipped, &size);
	if (!k.skipped)
		return oom(&k);
	r = pack(&k, wants, dtbs, img);
	if (r < 0)
		return r;
	if (fflush(k.skipped) != 0)
		return oom(&k);
	ret->count = k.count;
	ret->signed_count = k.signed_count;
	ret->skipped = strdup(skipped);
	return ret->skipped ? 0 : oom(&k);
}
