// SPDX-License-Identifier: MIT
#include "guard/checks.h"

#include "boot/sys.h"
#include "guard/device.h"

#include <fcntl.h>
#include <sysexits.h>
#include <unistd.h>

#define EXIT_SKIPPED 77 /* as test drivers have it */
#define SYSTEMD_RUN  "/usr/bin/systemd-run"
#define TEST	     "/usr/bin/test"
#define UNIT_MARGIN  UINT64_C(15000000) /* for a unit to start, and to be ended */

enum verdict check_verdict(const struct job_result *result)
{
	/* It was never started, for want of memory or descriptors: not the update's fault. */
	if (result->end == JOB_LOST)
		return VERDICT_INCONCLUSIVE;
	if (result->end != JOB_EXITED)
		return VERDICT_FAIL;
	if (result->status == 0)
		return VERDICT_PASS;
	return result->status == EX_TEMPFAIL || result->status == EXIT_SKIPPED
		       ? VERDICT_INCONCLUSIVE
		       : VERDICT_FAIL;
}

enum verdict checks_judge(const struct checks *c, const char **ret_name)
{
	enum verdict worst = c->list_error ? VERDICT_FAIL
			     : c->unlisted ? VERDICT_INCONCLUSIVE
					   : VERDICT_PASS;

	*ret_name = c->list_error == -E2BIG ? "(too many of them)"
		    : c->list_error	    ? "(one of them cannot be read)"
		    : c->unlisted	    ? "(not looked for yet)"
					    : NULL;
	for (size_t i = 0; i < c->count; i++) {
		const struct check_script *s = &c->list[i];

		if (!s->required || s->verdict == VERDICT_PASS)
			continue;
		/* A failure outweighs what is not known yet. */
		if (!*ret_name || (worst != VERDICT_FAIL && s->verdict == VERDICT_FAIL)) {
			*ret_name = s->name;
			worst = s->verdict;
		}
	}
	return worst;
}

static void run_again_later(struct checks *c)
{
	uint64_t again = device_now() + c->config->check_interval;

	if (again < c->again)
		c->again = again;
}

static void on_done(void *userdata, const struct job_result *result)
{
	struct check_script *s = userdata;
	struct checks *c = s->all;

	s->job = NULL;
	s->verdict = check_verdict(result);
	if (s->in_doubt && s->verdict == VERDICT_FAIL)
		s->verdict = VERDICT_INCONCLUSIVE;
	free(s->output);
	s->output = result->output_len ? strdup(result->output) : NULL;
	if (s->verdict != VERDICT_PASS || c->repeat)
		run_again_later(c);
	c->changed(c->userdata);
}

static int start(struct check_script *s, const char *const argv[], uint64_t timeout_usec)
{
	struct job_spec spec = {
		.path = argv[0],
		.argv = argv,
		.timeout_usec = timeout_usec,
		.keep = CHECK_OUTPUT_KEPT,
	};

	return job_start(s->all->event, &spec, on_done, s, &s->job);
}

/*
 * In a unit of its own: outside the guard's sandbox, which existing checks do not
 * expect (they may ask a server, or write a file), and systemd ends all of it.
 *
 * For systemd, SIGTERM, SIGINT, SIGHUP and SIGPIPE are a clean end of a service,
 * and systemd-run would return 0. Type=oneshot knows better, but with that it
 * returns 1 for 75 and 77, too. So what follows the script fails unless it exited
 * by itself. (When systemd 252 reloads its units meanwhile, it fails in any case.)
 */
static int start_unit(struct check_script *s)
{
	static const char exited[] = "ExecStopPost=" TEST " ${EXIT_CODE} = exited";
	uint64_t timeout_usec = s->all->config->check_timeout;
	_cleanup_free_ char *limit = strf("RuntimeMaxSec=%lluus", (unsigned long long)timeout_usec);
	_cleanup_free_ char *what = strf("--description=bf-guard's check %s", s->name);
	const char *argv[] = { SYSTEMD_RUN, "--quiet", "--collect", "--pipe", "--wait",
			       what,	    "-p",      limit,	    "-p",     "TimeoutStopSec=2s",
			       "-p",	    exited,    "--",	    s->path,  NULL };

	if (!limit || !what)
		return -ENOMEM;
	return start(s, argv, timeout_usec + UNIT_MARGIN);
}

static void run(struct check_script *s)
{
	const char *argv[] = { s->path, NULL };
	int r;

	if (s->job || (s->all->in_units && !s->all->bus_up))
		return;
	s->in_doubt = false;
	r = s->all->in_units ? start_unit(s) : start(s, argv, s->all->config->check_timeout);
	if (r < 0) {
		s->verdict = VERDICT_INCONCLUSIVE; /* no memory now */
		run_again_later(s->all);
	}
}

static int add(struct checks *c, int dir, const char *parent, const char *name, bool required)
{
	struct check_script *s = &c->list[c->count];
	struct stat st;
	int r;

	if (*name == '.')
		return 0;
	/* Links are followed: distributions enable checks that way. */
	r = sys_fstatat(dir, name, &st, 0);
	if (r < 0)
		return r;
	if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
		return 0;
	if (c->count == CHECKS_MAX)
		return -E2BIG;
	*s = (struct check_script) { .all = c, .required = required };
	s->path = strf("%s/%s", parent, name);
	if (!s->path)
		return -ENOMEM;
	s->name = strrchr(s->path, '/') + 1;
	c->count++;
	return 0;
}

/* All that can be listed; the first error. */
static int list(struct checks *c, bool required)
{
	_cleanup_free_ char *parent =
		strf("%s/%s", c->config->check_dir, required ? "required" : "wanted");
	_cleanup_close_ int dir = -1;
	char **names = NULL;
	size_t count = 0;
	int r, first = 0;

	dir = parent ? sys_open(parent, O_RDONLY | O_DIRECTORY, 0) : -ENOMEM;
	if (dir < 0)
		return dir == -ENOENT ? 0 : dir;
	r = sys_list(dir, 1000, &names, &count);
	if (r < 0)
		return r == -EFBIG ? -E2BIG : r;
	for (size_t i = 0; i < count; i++) {
		r = add(c, dir, parent, names[i], required);
		if (r < 0 && first == 0)
			first = r;
	}
	sys_names_free(names, count);
	return first;
}

static bool is_for_now(int error)
{
	return error == -ENOMEM || error == -EMFILE || error == -ENFILE || error == -EIO;
}

static void forget(struct checks *c)
{
	for (size_t i = 0; i < c->count; i++) {
		job_cancel(c->list[i].job);
		free(c->list[i].path);
		free(c->list[i].output);
	}
	c->count = 0;
}

/* What is wrong with wanted ones decides as little as they do. */
static void list_and_run(struct checks *c)
{
	int r;

	forget(c);
	r = list(c, true);
	(void)list(c, false);
	c->unlisted = is_for_now(r);
	c->list_error = c->unlisted ? 0 : r;
	if (c->unlisted)
		run_again_later(c);
	for (size_t i = 0; !c->unlisted && i < c->count; i++)
		run(&c->list[i]);
}

void checks_start(struct checks *c, sd_event *event, const struct config *config,
		  void (*changed)(void *userdata), void *userdata)
{
	*c = (struct checks) { .event = event,
			       .config = config,
			       .changed = changed,
			       .userdata = userdata,
			       .again = POLICY_NEVER };
	if (!*config->check_dir)
		return;
	/* Started by systemd, not by hand. */
	c->in_units = getenv("INVOCATION_ID") && sys_faccessat(AT_FDCWD, SYSTEMD_RUN, X_OK) == 0 &&
		      sys_faccessat(AT_FDCWD, TEST, X_OK) == 0;
	c->unlisted = c->in_units;
	if (!c->unlisted)
		list_and_run(c);
}

static void run_again(struct checks *c)
{
	c->again = POLICY_NEVER;
	if (c->unlisted && (c->bus_up || !c->in_units))
		list_and_run(c);
	for (size_t i = 0; i < c->count; i++)
		if (c->list[i].verdict != VERDICT_PASS || c->repeat)
			run(&c->list[i]);
}

void checks_bus(struct checks *c, bool up)
{
	if (c->bus_up == up)
		return;
	c->bus_up = up;
	for (size_t i = 0; !up && i < c->count; i++)
		c->list[i].in_doubt = c->in_units;
	if (up)
		run_again(c);
}

void checks_tick(struct checks *c, uint64_t now, bool repeat)
{
	if (repeat && !c->repeat)
		run_again_later(c);
	c->repeat = repeat;
	if (now >= c->again)
		run_again(c);
}

void checks_stop(struct checks *c)
{
	forget(c);
}
