// SPDX-License-Identifier: MIT
#include "initramfs/init/patience.h"

#include "boot/sys.h"
#include "initramfs/init/watchdog.h"

#include <signal.h>
#include <stdatomic.h>

#define USEC_PER_SEC UINT64_C(1000000)
#define STEP_USEC    (PATIENCE_STEP_SEC * USEC_PER_SEC)
#define GRACE_USEC   (PATIENCE_GRACE_SEC * USEC_PER_SEC)

/* Times are of CLOCK_MONOTONIC. */
static struct {
	_Atomic uint64_t kick_until_usec; /* all that the thread looks at */
	uint64_t deadline_usec;		  /* 0: there is none, yet or any more */
	uint64_t begun_usec, limit_usec;  /* between begin and end; else the limit is 0 */
	volatile sig_atomic_t alarms;	  /* since the deadline */
} patience;

static void tick(void)
{
	if (sys_monotonic_usec() < patience.kick_until_usec)
		watchdog_kick();
}

static void on_alarm(int sig _unused_)
{
	if (patience.alarms >= PATIENCE_GRACE_SEC)
		(void)sys_reboot(NULL);
	else
		patience.alarms++;
	sys_alarm(1, on_alarm);
}

static void set_deadline(uint64_t now_usec, uint64_t usec)
{
	uint64_t sec = usec > now_usec ? (usec - now_usec + USEC_PER_SEC - 1) / USEC_PER_SEC : 0;

	patience.deadline_usec = usec;
	/* 0 would take the alarm away. */
	sys_alarm(sec > UINT32_MAX ? UINT32_MAX : sec ? (uint32_t)sec : 1, on_alarm);
}

static void begin_step(uint64_t until_usec)
{
	uint64_t last_usec = patience.deadline_usec + GRACE_USEC;

	patience.kick_until_usec = until_usec < last_usec ? until_usec : last_usec;
}

int patience_start(uint32_t deadline_sec)
{
	uint64_t now = sys_monotonic_usec();

	set_deadline(now, now + deadline_sec * USEC_PER_SEC);
	begin_step(now + STEP_USEC);
	return sys_every_second(tick);
}

static bool is_running(void)
{
	return patience.deadline_usec && !patience_is_over();
}

void patience_step(void)
{
	if (is_running() && !patience.limit_usec)
		begin_step(sys_monotonic_usec() + STEP_USEC);
}

void patience_begin(uint32_t limit_sec)
{
	uint64_t now = sys_monotonic_usec();

	if (!is_running())
		return;
	patience.begun_usec = now;
	patience.limit_usec = limit_sec * USEC_PER_SEC;
	set_deadline(now, patience.deadline_usec + patience.limit_usec);
	begin_step(now + patience.limit_usec + GRACE_USEC);
}

void patience_end(void)
{
	uint64_t now = sys_monotonic_usec(), limit = patience.limit_usec;
	uint64_t spent = now - patience.begun_usec;

	patience.limit_usec = 0;
	if (!is_running())
		return;
	if (spent < limit)
		set_deadline(now, patience.deadline_usec - (limit - spent));
	begin_step(now + STEP_USEC);
}

bool patience_is_over(void)
{
	return patience.alarms > 0;
}

void patience_last(uint32_t limit_sec)
{
	patience.deadline_usec = 0;
	patience.kick_until_usec = sys_monotonic_usec() + limit_sec * USEC_PER_SEC;
	sys_alarm(0, SIG_DFL);
}
