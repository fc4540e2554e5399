// SPDX-License-Identifier: MIT
/* What a person, or the guard, asks about the trial of the staged slot. */
#include "boot/tool/tool.h"

/*
 * Counted is what begins: somebody may hold the reboot up (systemd-inhibit(1)). The shutdown counts
 * as well, but needs the lock that is held here; it makes up for it should this be killed.
 */
int command_try(struct call *call)
{
	struct request_plan plan;
	int r, status;

	call_check_eeprom(call);
	requests_plan(&call->running.facts, REQUEST_TRY, NULL, &plan);
	if (plan.refusal != REFUSAL_NONE)
		return call_refused(call, plan.refusal);
	status = call_begin_reboot(call);
	if (status != BF_BOOT_OK)
		return status;
	r = running_carry_out(&call->running, &plan);
	return r < 0 ? call_failed(call, r, "") : BF_BOOT_OK;
}

int command_cancel(struct call *call)
{
	struct request_plan plan;

	return call_request(call, REQUEST_CANCEL, NULL, &plan);
}

int command_settle(struct call *call)
{
	struct request_plan plan;

	return call_request(call, REQUEST_SETTLE, NULL, &plan);
}

int command_reject(struct call *call)
{
	struct request_args args = { .slot = SLOT_NONE, .force = call_has(call, OPTION_FORCE) };
	struct request_plan plan;
	int status;

	if (call->arg_count) {
		args.reason = reason_parse(call->args[0]);
		if (args.reason == REASON_NONE) {
			call_say(call, "no such reason: %s; see '" BF_BOOT " reasons'",
				 call->args[0]);
			return BF_BOOT_USAGE;
		}
	}
	status = call_request(call, REQUEST_REJECT, &args, &plan);
	/* A trial that cannot even be rejected in writing is left all the same. */
	if (plan.next == NEXT_BOOT || (status != BF_BOOT_OK && !plan.always))
		return status;
	return call_reboot(call, plan.next);
}
