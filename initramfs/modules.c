// SPDX-License-Identifier: MIT
#include "initramfs/modules.h"

#include "boot/sys.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#define LIST_HEAD   "# bf-modules 1 "
#define LIST_MAX    1048576 /* bytes */
#define RELEASE_MAX 64	    /* struct utsname, less the NUL */
#define THREADS_MAX 4	    /* module init waits for hardware more than it computes */

/* The list */

static bool is_text(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			return false;
	return true;
}

static bool path_is_good(const char *path)
{
	size_t len = strlen(path);

	return *path == '/' && len < PATH_MAX && !strstr(path, "//") && !strstr(path, "/./") &&
	       !strstr(path, "/../") && len > strlen("/.ko") &&
	       streq(path + len - strlen(".ko"), ".ko");
}

/* NULL, or what is wrong with the line. */
static const char *parse_line(char *line, struct module_line *ret)
{
	struct module_line m = { .params = "" };
	char *path = strchr(line, ' '), *params;

	if (!is_text(line))
		return "a control character";
	if (!path)
		return "no path";
	*path++ = '\0';
	if (parse_u32(line, 10, &m.level) < 0)
		return "no level";
	if (*path == '-') {
		m.optional = true;
		path++;
	}
	params = strchr(path, ' ');
	if (params) {
		*params++ = '\0';
		if (!*params)
			return "a space at the end";
		m.params = params;
	}
	if (!path_is_good(path))
		return "a bad path";
	m.path = path;
	*ret = m;
	return NULL;
}

static const char *parse_head(char *line, const char **ret_release)
{
	const char *release = startswith(line, LIST_HEAD);

	if (!release)
		return "not a module list of version 1";
	if (!*release || strlen(release) > RELEASE_MAX || strchr(release, ' ') || !is_text(release))
		return "a bad kernel release";
	*ret_release = release;
	return NULL;
}

static size_t count_lines(const char *text)
{
	size_t n = 0;

	for (; (text = strchr(text, '\n')); text++)
		n++;
	return n;
}

/* Fills l->lines, which has room for all lines; returns what is wrong, and in which line. */
static const char *parse_all(struct module_list *l, size_t *ret_line)
{
	char *line, *rest = l->text;
	const char *wrong;

	for (*ret_line = 1; *rest; ++*ret_line) {
		struct module_line *m = &l->lines[l->count];

		line = strsep(&rest, "\n");
		if (!rest)
			return "cut short";
		if (*ret_line == 1) {
			wrong = parse_head(line, &l->release);
		} else {
			wrong = parse_line(line, m);
			if (!wrong && l->count && m->level < m[-1].level)
				wrong = "a level below the one before";
			if (!wrong)
				l->count++;
		}
		if (wrong)
			return wrong;
	}
	return l->release ? NULL : "empty";
}

int modules_parse(const char *text, struct module_list *ret, struct failure *f)
{
	_cleanup_(modules_done) struct module_list l = { 0 };
	const char *wrong;
	size_t line;

	l.text = strdup(text);
	l.lines = calloc(count_lines(text) + 1, sizeof(*l.lines));
	if (!l.text || !l.lines)
		return failure_set(f, REASON_OUT_OF_MEMORY, ENOMEM, "module list");
	wrong = parse_all(&l, &line);
	if (wrong)
		return failure_set(f, REASON_MODULE_LIST, EINVAL, "module list, line %zu: %s", line,
				   wrong);
	*ret = l;
	l = (struct module_list) { 0 };
	return 0;
}

void modules_done(struct module_list *l)
{
	free(l->text);
	free(l->lines);
	*l = (struct module_list) { 0 };
}

/* Loading */

/* The modules of one level, shared by the threads that load them. */
struct level {
	const struct module_line *lines;
	size_t count;
	atomic_size_t next;
	int *results; /* one for each line, each written by one thread only */
};

static int load_one(const struct module_line *m)
{
	_cleanup_close_ int fd = sys_open(m->path, O_RDONLY | O_NOCTTY, 0);

	return fd < 0 ? fd : sys_init_module(fd, m->params);
}

static void *load_some(void *arg)
{
	struct level *level = arg;

	for (;;) {
		size_t i = atomic_fetch_add(&level->next, 1);

		if (i >= level->count)
			return NULL;
		level->results[i] = load_one(&level->lines[i]);
	}
}

/* A thread that cannot be had is no failure: those that there are do its work. */
static void load_level(struct level *level)
{
	pthread_t threads[THREADS_MAX - 1];
	size_t started = 0;
	sigset_t all, before;

	/* The alarm of the deadline is for the main thread. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	while (started < ARRAY_SIZE(threads) && started + 1 < level->count &&
	       pthread_create(&threads[started], NULL, load_some, level) == 0)
		started++;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)load_some(level);
	for (size_t i = 0; i < started; i++)
		(void)pthread_join(threads[i], NULL);
}

/* The first in the list is reported, whichever thread was faster. */
static int judge_level(const struct level *level, size_t *loaded, struct failure *f)
{
	int r = 0;

	for (size_t i = 0; i < level->count; i++) {
		const struct module_line *m = &level->lines[i];
		int error = -level->results[i];

		if (error == 0)
			++*loaded;
		else if (error != EEXIST && !m->optional && r >= 0)
			r = failure_set(f, REASON_MODULE_LOAD, error, "%s", m->path);
	}
	return r;
}

static int load_list(const struct module_list *l, void (*after_level)(void), size_t *ret_loaded,
		     struct failure *f)
{
	_cleanup_free_ int *results = calloc(l->count + 1, sizeof(*results));
	size_t loaded = 0;
	int r;

	if (!results)
		return failure_set(f, REASON_OUT_OF_MEMORY, ENOMEM, "module list");
	for (size_t i = 0; i < l->count;) {
		struct level level = { .lines = &l->lines[i], .results = results };

		while (i < l->count && l->lines[i].level == level.lines->level) {
			level.count++;
			i++;
		}
		load_level(&level);
		/* Also after a failure: a watchdog that has just come guards what follows. */
		after_level();
		r = judge_level(&level, &loaded, f);
		if (r < 0)
			return r;
	}
	*ret_loaded = loaded;
	return 0;
}

int modules_load(const char *list_path, const char *release, void (*after_level)(void),
		 size_t *ret_loaded, struct failure *f)
{
	_cleanup_(modules_done) struct module_list l = { 0 };
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	r = sys_read_file(AT_FDCWD, list_path, LIST_MAX, &text, &len);
	if (r < 0)
		return failure_set(f, REASON_MODULE_LIST, -r, "%s", list_path);
	if (strlen(text) != len)
		return failure_set(f, REASON_MODULE_LIST, EINVAL, "%s: a NUL in it", list_path);
	r = modules_parse(text, &l, f);
	if (r < 0)
		return r;
	if (!streq(l.release, release))
		return failure_set(f, REASON_MODULE_KERNEL, 0, "packed for %s, this is %s",
				   l.release, release);
	return load_list(&l, after_level, ret_loaded, f);
}
