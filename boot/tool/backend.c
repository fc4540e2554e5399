// SPDX-License-Identifier: MIT
/*
 * What RAUC asks its custom bootloader backend (RAUC, docs/integration.rst,
 * "Custom"): answers on standard output, the exit status, nothing else.
 */
#include "boot/tool/tool.h"

#include "boot/sys.h"

#include <ctype.h>
#include <fcntl.h>

static int answer_slot(struct call *call, enum slot slot)
{
	if (slot == SLOT_NONE)
		return call_refused(call, REFUSAL_UNKNOWN_SLOT);
	(void)fprintf(call->out, "%s\n", slot_name(slot));
	return BF_BOOT_OK;
}

int command_get_primary(struct call *call)
{
	return answer_slot(call, requests_primary(&call->running.facts));
}

int command_get_current(struct call *call)
{
	const struct run_facts *facts = &call->running.facts;

	/* No answer is better than one by which RAUC would overwrite what runs. */
	if (facts->mismatch)
		return call_refused(call, REFUSAL_MISMATCH);
	return answer_slot(call, facts->running);
}

int command_get_state(struct call *call)
{
	enum slot slot = call_slot(call, 0);

	if (slot == SLOT_NONE)
		return BF_BOOT_FAILED;
	(void)fputs(requests_is_good(&call->running.facts, slot) ? "good\n" : "bad\n", call->out);
	return BF_BOOT_OK;
}

/* A commit of an image whose hash is not known cannot be refused later: worth a word, no failure.
 */
static void read_hash(struct call *call, struct request_args *args)
{
	int r = running_image_hash(&call->running, args->slot, args->hash);

	if (r == 0)
		return;
	args->hash[0] = '\0';
	call_say(call, "the root hash of slot %s could not be read: %s", slot_name(args->slot),
		 strerror(-r));
}

int command_set_primary(struct call *call)
{
	struct request_args args = { .slot = call_slot(call, 0) };
	struct request_plan plan;
	struct record record;

	if (args.slot == SLOT_NONE)
		return BF_BOOT_FAILED;
	requests_record(&call->running.facts, &record);
	if (args.slot != record.committed) {
		read_hash(call, &args);
		call_check_eeprom(call);
	}
	return call_request(call, REQUEST_SET_PRIMARY, &args, &plan);
}

int command_set_state(struct call *call)
{
	struct request_args args = { .force = call_has(call, OPTION_FORCE) };
	bool good = streq(call->args[1], "good");
	struct request_plan plan;

	if (!good && !streq(call->args[1], "bad"))
		return call_usage(call);
	args.slot = call_slot(call, 0);
	if (args.slot == SLOT_NONE)
		return BF_BOOT_FAILED;
	return call_request(call, good ? REQUEST_SET_GOOD : REQUEST_SET_BAD, &args, &plan);
}

int command_is_refused(struct call *call)
{
	const struct run_facts *facts = &call->running.facts;
	char hash[RECORD_HASH_MAX + 1] = "";
	size_t len = strlen(call->args[0]);

	if (len == 0 || len > RECORD_HASH_MAX)
		return call_usage(call);
	for (size_t i = 0; i <= len; i++)
		hash[i] = (char)tolower((unsigned char)call->args[0][i]);
	if (!record_is_hex(hash, RECORD_HASH_MAX))
		return call_usage(call);
	if (!facts->record_readable) {
		call_say(call, "there is no boot record to ask");
		return BF_BOOT_ERROR;
	}
	return record_is_refused(&facts->record, hash) ? BF_BOOT_OK : BF_BOOT_FAILED;
}

/* For the pre-install handler; RAUC itself finds out too late. */
int command_is_free(struct call *call)
{
	for (size_t i = 0; i < call->arg_count; i++) {
		/* On a block device: fails if anybody has claimed it, in whatever mount namespace.
		 */
		_cleanup_close_ int fd = sys_open(call->args[i], O_RDONLY | O_EXCL, 0);

		if (fd == -EBUSY) {
			call_say(call, "%s is in use", call->args[i]);
			return BF_BOOT_FAILED;
		}
		if (fd < 0)
			return call_failed(call, fd, call->args[i]);
	}
	return BF_BOOT_OK;
}
