// SPDX-License-Identifier: MIT
#include "guard/script.h"

#include "boot/io.h"
#include "boot/sys.h"
#include "guard/config.h"
#include "guard/device.h"
#include "guard/greenboot.h"

#include <fcntl.h>
#include <signal.h>
#include <sysexits.h>
#include <unistd.h>

#define BASH	    "/bin/bash"
#define SYSTEMD_RUN "/usr/bin/systemd-run"
#define ECHO	    "/usr/bin/echo"
#define UNIT_MARGIN UINT64_C(60000000) /* for systemd, which may be busy, to start and end it */
#define MARK	    "bf-guard: ended " /* what follows the script in its unit */
#define NAMES_MAX   1000	       /* in a folder */
#define HEAD_MAX    256		       /* bytes of a first line, as the kernel has it */

bool script_in_units(void)
{
	/* Started by systemd, not by hand. */
	return getenv("INVOCATION_ID") && sys_faccessat(AT_FDCWD, SYSTEMD_RUN, X_OK) == 0 &&
	       sys_faccessat(AT_FDCWD, ECHO, X_OK) == 0;
}

/* ---- what there is --------------------------------------------------------------------- */

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n >= k && streq(s + n - k, end);
}

static int add(struct script_list *l, const char *folder, const char *name, bool required,
	       const char *config)
{
	struct script *s = &l->list[l->count];

	if (*name == '.' || startswith(name, "README"))
		return 0;
	if (l->count == SCRIPTS_MAX)
		return -E2BIG;
	*s = (struct script) { .required = required, .in_turn = ends_with(folder, ".d") };
	s->path = strf("%s/%s", folder, name);
	if (!s->path)
		return -ENOMEM;
	s->name = strrchr(s->path, '/') + 1;
	if (config && greenboot_disables(config, name))
		s->answer.end = SCRIPT_DISABLED;
	l->count++;
	return 0;
}

int script_list_add(struct script_list *l, const char *folder, bool required, const char *config)
{
	_cleanup_close_ int dir = sys_open(folder, O_RDONLY | O_DIRECTORY, 0);
	char **names = NULL;
	size_t count = 0;
	int r;

	if (dir < 0)
		return dir == -ENOENT ? 0 : dir;
	r = sys_list(dir, NAMES_MAX, &names, &count);
	if (r < 0)
		return r == -EFBIG ? -E2BIG : r;
	for (size_t i = 0; i < count && r == 0; i++)
		r = add(l, folder, names[i], required, config);
	sys_names_free(names, count);
	return r;
}

void script_list_clear(struct script_list *l)
{
	for (size_t i = 0; i < l->count; i++) {
		job_cancel(l->list[i].job);
		free(l->list[i].path);
		free(l->list[i].output);
	}
	l->count = 0;
}

/* ---- can it be run? ------------------------------------------------------------------- */

static void cannot(struct script *s, enum script_end end, const char *fmt, ...) _printf_(3, 4);
static void cannot(struct script *s, enum script_end end, const char *fmt, ...)
{
	va_list ap;

	s->answer = (struct script_answer) { .end = end };
	va_start(ap, fmt);
	(void)vsnprintf(s->answer.line, sizeof(s->answer.line), fmt, ap);
	va_end(ap);
	text_clean(s->answer.line, '?');
}

/* Of the device's moment, not of the script. */
static bool is_for_now(int error)
{
	return error == -ENOMEM || error == -EMFILE || error == -ENFILE || error == -EIO;
}

static void cannot_read(struct script *s, int error)
{
	cannot(s, is_for_now(error) ? SCRIPT_LOST : SCRIPT_UNUSABLE, "%s",
	       error == -ENOENT ? "it is gone, or a link to nothing" : strerror(-error));
}

/* The kernel's error for each of these names the script, which is there. */
static bool has_interpreter(struct script *s, char *head, size_t len)
{
	char *end = memchr(head, '\n', len);
	char *name;

	if (len >= 4 && memcmp(head, "\177ELF", 4) == 0)
		return true;
	if (!startswith(head, "#!")) {
		cannot(s, SCRIPT_UNUSABLE, "its first line names no interpreter: #!/bin/sh");
		return false;
	}
	if (end)
		*end = '\0';
	if (strchr(head, '\r')) {
		cannot(s, SCRIPT_UNUSABLE,
		       "its lines end as those of Windows do (CRLF): tr -d '\\r'");
		return false;
	}
	name = head + 2 + strspn(head + 2, " \t");
	name[strcspn(name, " \t")] = '\0';
	if (sys_faccessat(AT_FDCWD, name, X_OK) == 0)
		return true;
	cannot(s, SCRIPT_UNUSABLE, "its interpreter is not there: %s", name);
	return false;
}

static bool can_be_executed(struct script *s, const struct stat *st)
{
	_cleanup_close_ int fd = -1;
	char head[HEAD_MAX + 1] = { 0 };
	ssize_t n;

	if (!(st->st_mode & 0111)) {
		cannot(s, SCRIPT_UNUSABLE, "it is not executable: chmod +x%s",
		       s->in_turn ? ", or name it *.sh for bash" : "");
		return false;
	}
	if (sys_faccessat(AT_FDCWD, s->path, X_OK) == -EACCES) {
		cannot(s, SCRIPT_UNUSABLE, "its file system is mounted noexec");
		return false;
	}
	fd = sys_open(s->path, O_RDONLY, 0);
	n = fd < 0 ? fd : io_pread(fd, head, HEAD_MAX, 0);
	if (n < 0) {
		cannot_read(s, (int)n);
		return false;
	}
	return has_interpreter(s, head, (size_t)n);
}

static bool by_bash(const struct script *s)
{
	return s->in_turn && ends_with(s->name, ".sh");
}

/* Looked at before each run: it may have been mended. Links are followed: distributions enable
 * checks that way. */
static bool can_run(struct script *s)
{
	struct stat st;
	int r = sys_fstatat(AT_FDCWD, s->path, &st, 0);

	if (r < 0) {
		cannot_read(s, r);
		return false;
	}
	if (!S_ISREG(st.st_mode)) {
		cannot(s, SCRIPT_UNUSABLE, "it is %s",
		       S_ISDIR(st.st_mode) ? "a directory" : "no file that can be run");
		return false;
	}
	if (!by_bash(s))
		return can_be_executed(s, &st);
	if (sys_faccessat(AT_FDCWD, BASH, X_OK) == 0)
		return true;
	cannot(s, SCRIPT_UNUSABLE, "there is no " BASH " to run it with");
	return false;
}

/* ---- what it answered ---------------------------------------------------------------- */

/* The last line of @text, which is cut there, as far as it fits; never within a character. */
static void take_line(struct script_answer *a, const char *text, size_t len)
{
	size_t begin, n;

	while (len > 0 && strchr(" \t\r\n", text[len - 1])) /* finds a NUL, too */
		len--;
	for (begin = len; begin > 0 && text[begin - 1] != '\n'; begin--)
		;
	n = len - begin;
	if (n > SCRIPT_LINE_MAX)
		for (n = SCRIPT_LINE_MAX; n > 0 && ((unsigned char)text[begin + n] & 0xc0) == 0x80;)
			n--;
	memcpy(a->line, text + begin, n);
	for (size_t i = 0; i < n; i++)
		if (!a->line[i])
			a->line[i] = ' ';
	a->line[n] = '\0';
	text_clean(a->line, ' ');
}

static int signal_number(const char *name)
{
	for (int i = 1; i < NSIG; i++) {
		const char *known = sigabbrev_np(i);

		if (known && streq(known, name))
			return i;
	}
	return 0;
}

/* The last that the unit has written: $SERVICE_RESULT, $EXIT_CODE and $EXIT_STATUS, see
 * systemd.exec(5). All are empty when systemd has lost them, as 252 does in a reload. */
static void take_unit(struct script_answer *a, const char *mark, bool overran)
{
	char result[32], code[32], status[32];
	uint32_t number;

	a->end = SCRIPT_LOST;
	if (sscanf(mark + strlen(MARK), "%31s %31s %31s", result, code, status) != 3)
		return;
	if (streq(result, "timeout") && overran) {
		a->end = SCRIPT_TIMED_OUT;
	} else if (!streq(code, "exited")) {
		a->end = SCRIPT_KILLED;
		a->status = signal_number(status);
	} else if (parse_u32(status, 10, &number) == 0 && number < 256) {
		a->end = SCRIPT_EXITED;
		a->status = (int)number;
	}
}

/* Scripts print NULs as well: a device tree's words end with one. */
static const char *last_mark(const char *text, size_t len)
{
	const char *last = NULL, *end = text + len;

	for (const char *at = text; (at = memmem(at, (size_t)(end - at), MARK, strlen(MARK))); at++)
		last = at;
	return last;
}

void script_answer_of(const struct job_result *result, bool in_unit, bool overran,
		      struct script_answer *ret)
{
	const char *text = result->output ? result->output : "";
	const char *mark = in_unit ? last_mark(text, result->output_len) : NULL;

	*ret = (struct script_answer) { .status = result->status };
	take_line(ret, text, mark ? (size_t)(mark - text) : result->output_len);
	if (mark)
		take_unit(ret, mark, overran);
	else if (in_unit || result->end == JOB_LOST)
		ret->end = SCRIPT_LOST;
	else
		ret->end = result->end == JOB_EXITED   ? SCRIPT_EXITED
			   : result->end == JOB_KILLED ? SCRIPT_KILLED
						       : SCRIPT_TIMED_OUT;
	if (result->end == JOB_LOST)
		(void)snprintf(ret->line, sizeof(ret->line), "%s", strerror(result->status));
}

static void says_status(const struct script_answer *a, char buf[static SCRIPT_SAYS_MAX])
{
	const char *what = a->status == EX_TEMPFAIL	 ? "not now, "
			   : a->status == SCRIPT_SKIPPED ? "it does not apply, "
							 : "";

	if (a->status == 0)
		(void)snprintf(buf, SCRIPT_SAYS_MAX, "it passed");
	else
		(void)snprintf(buf, SCRIPT_SAYS_MAX, "%sexit status %d%s%s%s", what, a->status,
			       *a->line ? " (\"" : "", a->line, *a->line ? "\")" : "");
}

void script_says(const struct script *s, char buf[static SCRIPT_SAYS_MAX])
{
	const struct script_answer *a = &s->answer;
	const char *name = a->status > 0 ? sigabbrev_np(a->status) : NULL;
	char span[32];

	switch (a->end) {
	case SCRIPT_NOT_RUN:
		(void)snprintf(buf, SCRIPT_SAYS_MAX, "%s", s->job ? "it runs" : "not run yet");
		break;
	case SCRIPT_EXITED:
		says_status(a, buf);
		break;
	case SCRIPT_KILLED:
		(void)snprintf(buf, SCRIPT_SAYS_MAX, "killed by %s%s%s%s%s", name ? "SIG" : "",
			       name ? name : "a signal", *a->line ? " (\"" : "", a->line,
			       *a->line ? "\")" : "");
		break;
	case SCRIPT_TIMED_OUT:
		span_format(s->timeout_usec, span);
		(void)snprintf(buf, SCRIPT_SAYS_MAX,
			       "it was still running after %s; does it wait for the boot to "
			       "finish, which waits for the guard?",
			       span);
		break;
	case SCRIPT_UNUSABLE:
		(void)snprintf(buf, SCRIPT_SAYS_MAX, "it cannot be run: %s", a->line);
		break;
	case SCRIPT_DISABLED:
		(void)snprintf(buf, SCRIPT_SAYS_MAX, "disabled in /" GREENBOOT_CONFIG);
		break;
	case SCRIPT_LOST:
		(void)snprintf(buf, SCRIPT_SAYS_MAX, "no answer: %s",
			       *a->line ? a->line : "systemd does not say how it ended");
		break;
	}
}

/* ---- its run -------------------------------------------------------------------------- */

static void on_done(void *userdata, const struct job_result *result)
{
	struct script *s = userdata;
	bool overran = device_now() - s->started >= s->timeout_usec;

	s->job = NULL;
	script_answer_of(result, s->runner->in_units, overran, &s->answer);
	free(s->output);
	s->output = result->output_len ? strdup(result->output) : NULL;
	s->runner->done(s->runner->userdata, s);
}

static int start_job(struct script *s, const char *const argv[], uint64_t timeout_usec)
{
	struct job_spec spec = {
		.path = argv[0],
		.argv = argv,
		.timeout_usec = timeout_usec,
		.keep = SCRIPT_OUTPUT_KEPT,
	};

	return job_start(s->runner->event, &spec, on_done, s, &s->job);
}

/*
 * What systemd-run returns is not what the script did: for systemd, SIGTERM is a clean end of a
 * service, and a lost D-Bus is a failure. So the unit itself writes down how the script ended.
 */
static int start_unit(struct script *s)
{
	static const char after[] =
		"ExecStopPost=" ECHO " " MARK "${SERVICE_RESULT} ${EXIT_CODE} ${EXIT_STATUS}";
	_cleanup_free_ char *limit =
		strf("RuntimeMaxSec=%lluus", (unsigned long long)s->timeout_usec);
	_cleanup_free_ char *what = strf("--description=bf-guard runs %s", s->name);
	const char *argv[] = { SYSTEMD_RUN,
			       "--quiet",
			       "--collect",
			       "--pipe",
			       "--wait",
			       what,
			       "-p",
			       limit,
			       "-p",
			       "TimeoutStopSec=2s",
			       "-p",
			       after,
			       "--",
			       by_bash(s) ? BASH : s->path,
			       by_bash(s) ? s->path : NULL,
			       NULL };

	if (!limit || !what)
		return -ENOMEM;
	return start_job(s, argv, s->timeout_usec + UNIT_MARGIN);
}

void script_start(struct script *s, const struct script_runner *runner)
{
	const char *argv[] = { by_bash(s) ? BASH : s->path, by_bash(s) ? s->path : NULL, NULL };
	int r;

	if (s->job || s->answer.end == SCRIPT_DISABLED || !can_run(s))
		return;
	s->runner = runner;
	s->started = device_now();
	s->timeout_usec = runner->timeout_usec;
	r = runner->in_units ? start_unit(s) : start_job(s, argv, s->timeout_usec);
	if (r < 0)
		cannot(s, SCRIPT_LOST, "%s", strerror(-r));
}
