// SPDX-License-Identifier: MIT
#include "initramfs/init/modules.h"

#include "boot/io.h"
#include "boot/sys.h"
#include "initramfs/modlist.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#define BUSES	     "/sys/bus"
#define CPU_MODALIAS "/sys/devices/system/cpu/modalias"
#define DEVICES_MAX  65536  /* of one bus */
#define RELEASE_MAX  64	    /* struct utsname, less the NUL */
#define THREADS_MAX  4	    /* module init waits for hardware more than it computes */
#define LOOK_USEC    100000 /* from one look at the devices to the next */
#define REST_USEC    500000 /* from the end of modules_load() until all the rest is loaded */

/* The list */

static bool path_is_good(const char *path)
{
	size_t len = strlen(path);

	return *path == '/' && len < PATH_MAX && !strstr(path, "//") && !strstr(path, "/./") &&
	       !strstr(path, "/../") && len > strlen("/.ko") &&
	       streq(path + len - strlen(".ko"), ".ko");
}

/* These return NULL, or what is wrong with the line. */

static const char *parse_module(struct module_list *l, char *line)
{
	struct module_line m = { .params = "" };
	char *path = strchr(line, ' '), *params;

	if (!path)
		return "no path";
	*path++ = '\0';
	if (parse_u32(line, 10, &m.level) < 0)
		return "no level";
	if (*path == '-' || *path == '?')
		m.kind = *path++ == '-' ? MODULE_OPTIONAL : MODULE_ON_DEMAND;
	params = strchr(path, ' ');
	if (params) {
		*params++ = '\0';
		if (!*params)
			return "a space at the end";
		m.params = params;
	}
	if (!path_is_good(path))
		return "a bad path";
	if (l->count && m.level < l->lines[l->count - 1].level)
		return "a level below the one before";
	m.path = path;
	l->lines[l->count++] = m;
	return NULL;
}

static const char *parse_need(struct module_list *l, const char *number)
{
	uint32_t needed;

	if (!l->count)
		return "no module before it";
	if (parse_u32(number, 10, &needed) < 0)
		return "no number";
	if (needed >= l->count || l->lines[needed].level >= l->lines[l->count - 1].level)
		return "needs a module that is not of a lower level";
	l->needs[l->need_count++] = (struct module_need) { l->count - 1, needed };
	return NULL;
}

static const char *parse_alias(struct module_list *l, const char *pattern)
{
	if (!l->count || l->lines[l->count - 1].kind != MODULE_ON_DEMAND)
		return "no module on demand before it";
	if (!*pattern)
		return "no pattern";
	l->aliases[l->alias_count++] = (struct module_alias) { l->count - 1, pattern };
	return NULL;
}

static const char *parse_head(struct module_list *l, const char *line)
{
	const char *release = startswith(line, MODLIST_HEAD);

	if (!release)
		return "not a module list of version 2";
	if (!*release || strlen(release) > RELEASE_MAX || strchr(release, ' '))
		return "a bad kernel release";
	l->release = release;
	return NULL;
}

static const char *parse_line(struct module_list *l, char *line)
{
	const char *rest;

	if (text_has_control(line))
		return "a control character";
	if (!l->release)
		return parse_head(l, line);
	rest = startswith(line, "needs ");
	if (rest)
		return parse_need(l, rest);
	rest = startswith(line, "alias ");
	return rest ? parse_alias(l, rest) : parse_module(l, line);
}

static size_t count_lines(const char *text)
{
	size_t n = 0;

	for (; (text = strchr(text, '\n')); text++)
		n++;
	return n;
}

/* Each array of @l has room for all lines; returns what is wrong, and in which line. */
static const char *parse_all(struct module_list *l, size_t *ret_line)
{
	char *line, *rest = l->text;
	const char *wrong;

	for (*ret_line = 1; *rest; ++*ret_line) {
		line = strsep(&rest, "\n");
		wrong = rest ? parse_line(l, line) : "cut short";
		if (wrong)
			return wrong;
	}
	return l->release ? NULL : "empty";
}

int modules_parse(const char *text, struct module_list *ret, struct failure *f)
{
	_cleanup_(modules_done) struct module_list l = { 0 };
	size_t line, room = count_lines(text) + 1;
	const char *wrong;

	l.text = strdup(text);
	l.lines = calloc(room, sizeof(*l.lines));
	l.aliases = calloc(room, sizeof(*l.aliases));
	l.needs = calloc(room, sizeof(*l.needs));
	if (!l.text || !l.lines || !l.aliases || !l.needs)
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
	free(l->aliases);
	free(l->needs);
	*l = (struct module_list) { 0 };
}

/* What is wanted */

struct module_state {
	bool wanted;
	bool tried;
};

static void want_all(struct module_set *s)
{
	for (size_t i = 0; i < s->list.count; i++)
		s->states[i].wanted = true;
}

static void want_always(struct module_set *s)
{
	for (size_t i = 0; i < s->list.count; i++)
		s->states[i].wanted = s->list.lines[i].kind != MODULE_ON_DEMAND;
}

/* Backwards, a module comes before all that it needs: once through is enough. */
static void want_needed(struct module_set *s)
{
	for (size_t i = s->list.need_count; i-- > 0;) {
		const struct module_need *n = &s->list.needs[i];

		s->states[n->needed].wanted |= s->states[n->module].wanted;
	}
}

/*
 * What stands between the stars is there, in this order. fnmatch() is slow, and dozens of
 * devices meet hundreds of patterns: nearly all end here.
 */
static bool may_match(const char *pattern, const char *modalias)
{
	size_t len = strcspn(pattern, "*?[\\");
	const char *at = strncmp(pattern, modalias, len) == 0 ? modalias : NULL;

	while (at && pattern[len] == '*') {
		pattern += len + 1;
		modalias = at + len;
		len = strcspn(pattern, "*?[\\");
		at = memmem(modalias, strlen(modalias), pattern, len);
	}
	return at;
}

static bool matches(const char *pattern, const char *modalias)
{
	return may_match(pattern, modalias) && fnmatch(pattern, modalias, 0) == 0;
}

/* A device that cannot say what it is wants nothing: -errno. */
static int want_for_device(struct module_set *s, int dir_fd, const char *path)
{
	_cleanup_free_ char *modalias = NULL;
	int r = sys_read_file(dir_fd, path, SYS_PAGE_MAX, &modalias, NULL);

	if (r < 0)
		return r;
	modalias[strcspn(modalias, "\n")] = '\0';
	for (char *c = modalias; *c; c++)
		if (*c == '-')
			*c = '_';
	for (size_t i = 0; i < s->list.alias_count; i++) {
		const struct module_alias *a = &s->list.aliases[i];

		if (!s->states[a->module].wanted && matches(a->pattern, modalias))
			s->states[a->module].wanted = true;
	}
	return 0;
}

/*
 * The fast hash of dm-verity is for a processor, not for a disk: nobody would wait for it, so it
 * is tried where the processor does not say what it has.
 */
static void want_for_cpu(struct module_set *s)
{
	if (want_for_device(s, AT_FDCWD, CPU_MODALIAS) >= 0)
		return;
	for (size_t i = 0; i < s->list.alias_count; i++)
		if (startswith(s->list.aliases[i].pattern, "cpu:"))
			s->states[s->list.aliases[i].module].wanted = true;
}

static int want_for_bus(struct module_set *s, int buses_fd, const char *bus)
{
	_cleanup_free_ char *dir = strf("%s/devices", bus);
	_cleanup_close_ int fd =
		dir ? sys_openat(buses_fd, dir, O_RDONLY | O_DIRECTORY, 0) : -ENOMEM;
	size_t count = 0;
	char **names;
	int r = fd < 0 ? fd : sys_list(fd, DEVICES_MAX, &names, &count);

	if (r < 0)
		return r;
	for (size_t i = 0; i < count && r >= 0; i++) {
		_cleanup_free_ char *path = strf("%s/modalias", names[i]);

		if (path)
			(void)want_for_device(s, fd, path);
		else
			r = -ENOMEM;
	}
	sys_names_free(names, count);
	return r < 0 ? r : 0;
}

static int want_for_devices(struct module_set *s)
{
	_cleanup_close_ int fd = sys_open(BUSES, O_RDONLY | O_DIRECTORY, 0);
	size_t count = 0;
	char **names;
	int r = fd < 0 ? fd : sys_list(fd, DEVICES_MAX, &names, &count);

	if (r < 0)
		return r;
	for (size_t i = 0; i < count && r >= 0; i++)
		r = want_for_bus(s, fd, names[i]);
	sys_names_free(names, count);
	if (r >= 0)
		want_for_cpu(s);
	return r;
}

static void want_present(struct module_set *s)
{
	/* Where the devices cannot be seen, each may be there. */
	if (s->list.alias_count && want_for_devices(s) < 0)
		want_all(s);
	s->looked_usec = sys_monotonic_usec();
}

/* Loading */

/* The modules of one level that are due, shared by the threads that load them. */
struct level {
	const struct module_line **lines;
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
		level->results[i] = load_one(level->lines[i]);
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

/*
 * The first in the list is reported, whichever thread was faster. Returns how many were
 * loaded on demand.
 */
static int judge_level(struct module_set *s, const struct level *level, struct failure *f)
{
	int on_demand = 0, r = 0;

	for (size_t i = 0; i < level->count; i++) {
		const struct module_line *m = level->lines[i];
		int error = -level->results[i];

		if (error == 0) {
			s->loaded++;
			on_demand += m->kind == MODULE_ON_DEMAND;
		} else if (error != EEXIST && m->kind == MODULE_REQUIRED && r >= 0) {
			r = failure_set(f, REASON_MODULE_LOAD, error, "%s", m->path);
		}
	}
	return r < 0 ? r : on_demand;
}

/* Takes what is due of the level of line *@at, which moves on to the next level. */
static void take_level(struct module_set *s, size_t *at, struct level *level)
{
	uint32_t number = s->list.lines[*at].level;

	for (; *at < s->list.count && s->list.lines[*at].level == number; ++*at) {
		struct module_state *state = &s->states[*at];

		if (!state->wanted || state->tried)
			continue;
		state->tried = true;
		level->lines[level->count++] = &s->list.lines[*at];
	}
}

/*
 * Loads what is wanted and was not tried yet; returns how many of it were on demand. A failure
 * does not end it: the disk, and with it the record, may come all the same. The first is told.
 */
static int load_wanted(struct module_set *s, struct failure *f)
{
	_cleanup_free_ int *results = calloc(s->list.count + 1, sizeof(*results));
	_cleanup_free_ const struct module_line **lines =
		calloc(s->list.count + 1, sizeof(struct module_line *));
	struct failure later;
	int on_demand = 0, failed = 0;

	if (!results || !lines)
		return failure_set(f, REASON_OUT_OF_MEMORY, ENOMEM, "module list");
	want_needed(s);
	for (size_t i = 0; i < s->list.count;) {
		struct level level = { .lines = lines, .results = results };
		int r;

		take_level(s, &i, &level);
		if (!level.count)
			continue;
		load_level(&level);
		/* Also after a failure: a watchdog that has just come guards what follows. */
		s->after_level();
		r = judge_level(s, &level, failed ? &later : f);
		if (r > 0)
			on_demand += r;
		if (!failed && r < 0)
			failed = r;
	}
	return failed ? failed : on_demand;
}

/* A driver of a bus brings new devices, and those may want the next driver. */
static int load_present(struct module_set *s, struct failure *f)
{
	int r;

	do {
		want_present(s);
		r = load_wanted(s, f);
	} while (r > 0);
	return r;
}

static int read_list(const char *path, const char *release, struct module_list *ret,
		     struct failure *f)
{
	_cleanup_(modules_done) struct module_list l = { 0 };
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	r = sys_read_file(AT_FDCWD, path, MODLIST_MAX, &text, &len);
	if (r < 0)
		return failure_set(f, REASON_MODULE_LIST, -r, "%s", path);
	if (strlen(text) != len)
		return failure_set(f, REASON_MODULE_LIST, EINVAL, "%s: a NUL in it", path);
	r = modules_parse(text, &l, f);
	if (r < 0)
		return r;
	if (!streq(l.release, release))
		return failure_set(f, REASON_MODULE_KERNEL, 0, "packed for %s, this is %s",
				   l.release, release);
	*ret = l;
	l = (struct module_list) { 0 };
	return 0;
}

int modules_load(const char *list_path, const char *release, void (*after_level)(void),
		 struct module_set *ret, struct failure *f)
{
	_cleanup_(module_set_done) struct module_set s = { .after_level = after_level };
	int r = read_list(list_path, release, &s.list, f);

	if (r < 0)
		return r;
	s.states = calloc(s.list.count + 1, sizeof(*s.states));
	if (!s.states)
		return failure_set(f, REASON_OUT_OF_MEMORY, ENOMEM, "module list");
	want_always(&s);
	r = load_present(&s, f);
	s.rest_usec = sys_monotonic_usec() + REST_USEC;
	*ret = s;
	s = (struct module_set) { 0 };
	return r;
}

static bool is_all_tried(const struct module_set *s)
{
	for (size_t i = 0; i < s->list.count; i++)
		if (!s->states[i].tried)
			return false;
	return true;
}

size_t modules_load_more(struct module_set *s)
{
	uint64_t now_usec = sys_monotonic_usec();
	size_t before = s->loaded;
	struct failure ignored; /* all that can be left is on demand, so it may fail */

	if ((now_usec < s->rest_usec && now_usec - s->looked_usec < LOOK_USEC) || is_all_tried(s))
		return 0;
	if (now_usec >= s->rest_usec)
		want_all(s);
	(void)!load_present(s, &ignored);
	return s->loaded - before;
}

void module_set_done(struct module_set *s)
{
	modules_done(&s->list);
	free(s->states);
	*s = (struct module_set) { 0 };
}
