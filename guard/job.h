/* SPDX-License-Identifier: MIT */
/*
 * Work that may block, hang or die, beside the guard: a program or a function of
 * ours in a child process, the leader of a process group of its own. At the
 * timeout the whole group gets SIGTERM, 2 s later SIGKILL; a child that even
 * that does not end (a dead disk) is left to itself. So every job has an end.
 */
#pragma once

#include "boot/base.h"

#include <systemd/sd-event.h>

#define JOB_OUTPUT_MAX 65536
#define JOB_WITH_FD    4

enum job_end {
	JOB_EXITED,    /* .status: exit status */
	JOB_KILLED,    /* .status: signal */
	JOB_TIMED_OUT, /* we ended it */
	JOB_LOST,      /* it could not be started: .status is the errno */
};

struct job_result {
	enum job_end end;
	int status;
	const char *output; /* the last bytes; NUL-terminated; valid in the callback only */
	size_t output_len;
};

struct job;
typedef void (*job_done_fn)(void *userdata, const struct job_result *result);

struct job_spec {
	/* A program, with its standard output and error kept … */
	const char *path;
	const char *const *argv;
	/* … or a function, in a fork: writes its answer to @fd, its return value is the exit
	 * status. It must not touch the bus or the event loop. */
	int (*run)(void *argument, int fd);
	void *argument;
	int with_fd; /* > 0: one of ours that the function finds as JOB_WITH_FD */
	uint64_t timeout_usec;
	size_t keep; /* of the output, at most JOB_OUTPUT_MAX */
	bool idle;   /* idle I/O priority, nice */
};

/*
 * Starts it; @done is called exactly once, never from within job_start(), also
 * when it could not be started. The job frees itself. Returns -ENOMEM and the
 * like when not even that can be promised. *ret may be NULL.
 */
_must_check_ int job_start(sd_event *event, const struct job_spec *spec, job_done_fn done,
			   void *userdata, struct job **ret);
/* Ends it without a callback. NULL is fine. */
void job_cancel(struct job *j);
