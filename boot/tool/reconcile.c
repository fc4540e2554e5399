// SPDX-License-Identifier: MIT
/*
 * What units ask: after a boot, before a shutdown, and at its very end. What is
 * armed lives in /run only, so that a reboot nobody planned is a plain one.
 */
#include "boot/tool/tool.h"

#include "boot/sys.h"

#include <fcntl.h>
#include <signal.h>

/* Below RebootWatchdogSec=, see system.conf.d/50-bf.conf. */
#define END_SEC 11

/* For the journal: how this boot stands, in one line. */
static void report(const struct call *call)
{
	const struct run_facts *facts = &call->running.facts;
	struct record rec;

	requests_record(facts, &rec);
	call_say(call, "running slot %s, committed %s, staged %s%s%s%s%s",
		 slot_name(facts->running), slot_name(rec.committed), slot_name(rec.staged),
		 requests_is_trial(facts) ? ", trial boot" : "", facts->armed ? ", armed" : "",
		 facts->limbo ? ", in limbo" : "", facts->writable ? "" : ", record not writable");
}

/* A reboot here is bounded: it is counted in the record that was just written. */
int command_reconcile(struct call *call)
{
	struct request_plan plan;
	int status, r = running_make_spares();

	if (r < 0)
		call_say(call, "%s: %s", RUNNING_SPARE_ARMED, strerror(-r));
	status = call_request(call, REQUEST_RECONCILE, NULL, &plan);
	report(call);
	if (status != BF_BOOT_OK || plan.next == NEXT_BOOT)
		return status;
	if (call->running.file_error < 0)
		call_say(call, "autoboot.txt cannot be made anew, rebooting all the same: %s: %s",
			 call->running.why, strerror(-call->running.file_error));
	else
		call_say(call, "autoboot.txt names slot %s again: rebooting into it",
			 slot_name(plan.record.committed));
	return call_reboot(call, plan.next);
}

int command_shutdown(struct call *call)
{
	bool reboot = streq(call->args[0], "reboot");
	struct request_plan plan;
	int status;

	if (!reboot && !streq(call->args[0], "halt"))
		return call_usage(call);
	status = call_request(call, reboot ? REQUEST_SHUTDOWN_REBOOT : REQUEST_SHUTDOWN_HALT, NULL,
			      &plan);
	for (size_t i = 0; status == BF_BOOT_OK && plan.steps[i] != STEP_END; i++)
		if (plan.steps[i] == STEP_COUNTED)
			call_say(call, "attempt %u of %u to start the trial of slot %s",
				 plan.record.attempts, RULES_ATTEMPTS_MAX,
				 slot_name(plan.record.staged));
	return status;
}

/* systemd-shutdown has taken over: nothing is read from a disk to find that out. */
static bool is_at_the_end(void)
{
	_cleanup_free_ char *name = NULL;

	return sys_read_file(AT_FDCWD, "/proc/1/comm", 64, &name, NULL) >= 0 &&
	       startswith(name, "systemd-shut");
}

/*
 * systemd kills what is left, and feeds no watchdog meanwhile: what cannot be killed ends in a
 * reset, and that forgets the reboot argument. So the reboot comes before it. What must outlive it
 * is on the disk already; to write out the rest may be just what hangs.
 */
int command_end(struct call *call)
{
	uint64_t now = sys_monotonic_usec(), end;
	uint32_t limit_sec = 0;
	bool taken_over = false;

	if (parse_u32(call->args[0], 10, &limit_sec) < 0)
		return call_usage(call);
	sys_alarm(0, SIG_DFL);
	end = now + limit_sec * UINT64_C(1000000);
	while (now < end) {
		sys_sleep_usec(500000);
		now = sys_monotonic_usec();
		if (taken_over || !is_at_the_end())
			continue;
		taken_over = true;
		if (end > now + END_SEC * UINT64_C(1000000))
			end = now + END_SEC * UINT64_C(1000000);
	}
	return call_failed(call, running_reboot(), "reboot");
}

int command_arm(struct call *call)
{
	int r = running_arm_again();

	if (r < 0)
		return call_failed(call, r, RUNNING_REBOOT_PARAM);
	if (r > 0)
		call_say(call, "the next boot is the trial");
	return BF_BOOT_OK;
}
