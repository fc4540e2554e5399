/* SPDX-License-Identifier: MIT */
/* What /proc tells of a process: whose it is, and since when. */
#pragma once

#include "boot/base.h"

#include <sys/types.h>

/* When a process started is known to this: the kernel counts it in ticks. */
#define PROCESS_TICK UINT64_C(10000)

/* The text of /proc/PID/cgroup, allocated; NULL: it is gone. */
char *process_group(pid_t pid);
/* On the clock of device_now(), to PROCESS_TICK; 0: it is gone. */
uint64_t process_started(pid_t pid);
/* Microseconds after the start of the kernel, from the text of /proc/PID/stat. -EBADMSG. Pure. */
_must_check_ int process_parse_stat(const char *text, uint64_t *ret_usec);
