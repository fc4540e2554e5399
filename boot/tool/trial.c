// SPDX-License-Identifier: MIT
/* What a person, or the guard, asks about the trial of the staged slot. */
#include "boot/tool/tool.h"

int command_try(struct call *call)
{
	struct request_plan plan;
	int status;

	call_check_eeprom(call);
	status = call_request(call, REQUEST_TRY, NULL, &plan);
	return status == BF_BOOT_OK ? call_reboot(call, plan.next) : status;
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
