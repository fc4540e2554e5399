// SPDX-License-Identifier: MIT
#include "guard/job.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/ioprio.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEC	   UINT64_C(1000000)
#define KILL_AFTER (2 * SEC)

struct job {
	sd_event *event;
	job_done_fn done;
	void *userdata;
	pid_t pid; /* 0: it never was */
	int output_fd;
	int error; /* why it could not be started */
	sd_event_source *child, *output, *timer;
	unsigned kills; /* how far ending it has come */
	char *kept;
	size_t kept_len, keep;
};

static void job_free(struct job *j)
{
	(void)sd_event_source_disable_unref(j->child);
	(void)sd_event_source_disable_unref(j->output);
	(void)sd_event_source_disable_unref(j->timer);
	close_p(&j->output_fd);
	free(j->kept);
	(void)sd_event_unref(j->event);
	free(j);
}

static void finish(struct job *j, enum job_end end, int status)
{
	struct job_result result = {
		.end = end, .status = status, .output = j->kept, .output_len = j->kept_len
	};

	/* What it left running belongs to it. */
	if (j->pid > 0)
		(void)kill(-j->pid, SIGKILL);
	j->kept[j->kept_len] = '\0';
	j->done(j->userdata, &result);
	job_free(j);
}

/* What is last is of most use: there a program says why it gave up. */
static void keep(struct job *j, const char *data, size_t len)
{
	size_t old;

	if (len > j->keep) {
		data += len - j->keep;
		len = j->keep;
	}
	old = j->keep - len;
	if (j->kept_len > old) {
		memmove(j->kept, j->kept + (j->kept_len - old), old);
		j->kept_len = old;
	}
	memcpy(j->kept + j->kept_len, data, len);
	j->kept_len += len;
}

/* All that is there now; false when there is no more to come. */
static bool drain(struct job *j)
{
	char buf[4096];
	unsigned rounds = 64; /* so that who prints without end does not stop the loop */

	while (rounds-- > 0) {
		ssize_t n = read(j->output_fd, buf, sizeof(buf));

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		if (n == 0)
			return false;
		keep(j, buf, (size_t)n);
	}
	return true;
}

static int on_output(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct job *j = userdata;

	(void)s, (void)fd, (void)revents;
	if (!drain(j))
		j->output = sd_event_source_disable_unref(j->output);
	return 0;
}

static int on_child(sd_event_source *s, const siginfo_t *info, void *userdata)
{
	struct job *j = userdata;
	bool killed = info->si_code != CLD_EXITED;

	(void)s;
	(void)drain(j);
	if (j->kills > 0)
		finish(j, JOB_TIMED_OUT, SIGTERM);
	else
		finish(j, killed ? JOB_KILLED : JOB_EXITED, info->si_status);
	return 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct job *j = userdata;

	(void)s, (void)usec;
	if (j->pid == 0) {
		finish(j, JOB_LOST, j->error);
		return 0;
	}
	if (j->kills == 2) {
		finish(j, JOB_TIMED_OUT, SIGKILL);
		return 0;
	}
	(void)kill(-j->pid, j->kills == 0 ? SIGTERM : SIGKILL);
	j->kills++;
	if (sd_event_source_set_time_relative(j->timer, KILL_AFTER) < 0 ||
	    sd_event_source_set_enabled(j->timer, SD_EVENT_ONESHOT) < 0)
		finish(j, JOB_TIMED_OUT, SIGKILL);
	return 0;
}

/* ---- the child -------------------------------------------------------------- */

static void become_idle(void)
{
	(void)setpriority(PRIO_PROCESS, 0, 19);
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
		      IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}

/* Before the guard itself, its work may be sacrificed: the kiosk's memory is not to outlive it. */
static void lose_protection(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)!write(fd, "0", 1);
	(void)close(fd);
}

static void reset_signals(void)
{
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
}

static int run_function(const struct job_spec *spec, int fd)
{
	/* Out of the way first. */
	int with = spec->with_fd > 0 ? fcntl(spec->with_fd, F_DUPFD_CLOEXEC, JOB_WITH_FD + 1) : -1;

	/* Nothing else of the parent's stays open: a bus connection would outlive it here. */
	if (dup2(fd, 3) < 0 || (with >= 0 && dup2(with, JOB_WITH_FD) < 0) ||
	    close_range(with >= 0 ? JOB_WITH_FD + 1 : JOB_WITH_FD, ~0U, 0) < 0)
		return 126;
	return spec->run(spec->argument, 3);
}

_Noreturn static void child(const struct job_spec *spec, int fd)
{
	int null;

	(void)setpgid(0, 0);
	reset_signals();
	lose_protection();
	if (spec->idle)
		become_idle();
	if (spec->run)
		_exit(run_function(spec, fd));
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0 ||
	    dup2(fd, STDERR_FILENO) < 0)
		_exit(126);
	/* What systemd told the guard is not for its children. */
	(void)unsetenv("NOTIFY_SOCKET");
	(void)unsetenv("WATCHDOG_PID");
	(void)unsetenv("WATCHDOG_USEC");
	(void)execv(spec->path, (char *const *)spec->argv); /* which does not change them */
	_exit(127);
}

static int launch(struct job *j, const struct job_spec *spec)
{
	_cleanup_close_ int out = -1;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	j->output_fd = fds[0];
	out = fds[1];
	/* Only our end: the program may not expect that writing does not wait. */
	if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	j->pid = fork();
	if (j->pid < 0) {
		j->pid = 0;
		return -errno;
	}
	if (j->pid == 0)
		child(spec, out);
	(void)setpgid(j->pid, j->pid);
	return 0;
}

static int watch(struct job *j)
{
	int r = sd_event_add_child(j->event, &j->child, j->pid, WEXITED, on_child, j);

	if (r < 0)
		return r;
	r = sd_event_add_io(j->event, &j->output, j->output_fd, EPOLLIN, on_output, j);
	if (r < 0)
		return r;
	/* The rest of the output belongs to the job: it is read before its end is seen. */
	return sd_event_source_set_priority(j->child, SD_EVENT_PRIORITY_NORMAL + 10);
}

int job_start(sd_event *event, const struct job_spec *spec, job_done_fn done, void *userdata,
	      struct job **ret)
{
	struct job *j = calloc(1, sizeof(*j));
	int r, started;

	if (!j)
		return -ENOMEM;
	j->event = sd_event_ref(event);
	j->done = done;
	j->userdata = userdata;
	j->output_fd = -1;
	j->keep = spec->keep < JOB_OUTPUT_MAX ? spec->keep : JOB_OUTPUT_MAX;
	j->kept = malloc(j->keep + 1);
	r = j->kept ? sd_event_add_time_relative(event, &j->timer, CLOCK_BOOTTIME,
						 spec->timeout_usec, 100000, on_timer, j)
		    : -ENOMEM;
	if (r < 0) {
		job_free(j);
		return r;
	}
	started = launch(j, spec);
	if (started == 0) {
		started = watch(j);
		if (started < 0)
			(void)kill(-j->pid, SIGKILL);
	}
	if (started < 0) {
		/* Told from the loop, as every other end. */
		j->pid = 0;
		j->error = -started;
		r = sd_event_source_set_time_relative(j->timer, 0);
		if (r < 0) {
			job_free(j);
			return r;
		}
	}
	if (ret)
		*ret = j;
	return 0;
}

void job_cancel(struct job *j)
{
	if (!j)
		return;
	if (j->pid > 0)
		(void)kill(-j->pid, SIGKILL);
	job_free(j);
}
