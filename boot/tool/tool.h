/* SPDX-License-Identifier: MIT */
/*
 * bf-boot: the commands. commands.c holds their table and what is common to all:
 * arguments, deadline, lock, messages, exit status.
 */
#pragma once

#include "boot/running.h"

#define BF_BOOT "bf-boot"

/* Exit status. RAUC takes any but 0 as a failure of the whole operation. */
enum {
	BF_BOOT_OK = 0,
	BF_BOOT_FAILED = 1, /* failed or refused; is-refused, is-free: no */
	BF_BOOT_USAGE = 2,
	BF_BOOT_ERROR = 3, /* is-refused, is-free: cannot tell */
};

enum command_access {
	ACCESS_NONE,   /* running_open() is not needed, or the command calls it itself */
	ACCESS_READ,   /* with the shared lock */
	ACCESS_CHANGE, /* with the exclusive lock; changes record, sector or reboot argument */
};

enum command_option {
	OPTION_JSON = 1 << 0,
	OPTION_FORCE = 1 << 1,
};

struct call;

struct command {
	const char *name;
	const char *arguments; /* as in the usage line; "" */
	const char *summary;   /* a line of --help */
	const char *help;      /* more of --help COMMAND, lines; "" */
	enum command_access access;
	unsigned options; /* of enum command_option */
	size_t min_args, max_args;
	int (*run)(struct call *call); /* returns the exit status */
	int failed;		       /* exit status when it could not even start */
};

/* One run of one command. */
struct call {
	const struct command *command;
	FILE *out, *err;   /* answers; everything else */
	char *const *args; /* min_args to max_args of them */
	size_t arg_count;
	unsigned options;	/* that were given */
	struct running running; /* open, unless ACCESS_NONE */
};

/*
 * The program, but for main(): tests run it with streams of their own. Returns
 * the exit status; a reboot that was asked for does not return.
 */
int bf_boot_main(int argc, char *const *argv, FILE *out, FILE *err);

/* ---- for the commands ------------------------------------------------------ */

/* "bf-boot COMMAND: …" on call->err, one line. */
void call_say(const struct call *call, const char *fmt, ...) _printf_(2, 3);
/* What went wrong with @what and -errno @error; "": call->running.why says it. Returns the status.
 */
int call_failed(const struct call *call, int error, const char *what);
int call_refused(const struct call *call, enum refusal refusal);
int call_usage(const struct call *call);
/* The slot that argument @i names; SLOT_NONE: there is none, and that was said. */
enum slot call_slot(const struct call *call, size_t i);
static inline bool call_has(const struct call *call, enum command_option option)
{
	return call->options & (unsigned)option;
}
/* running_request() with its failures and refusals reported. Returns the exit status. */
int call_request(struct call *call, enum request request, const struct request_args *args,
		 struct request_plan *ret);
/* Leaves the system as @next says; returns only when that failed, with the exit status. */
int call_reboot(struct call *call, enum boot_next next);
/*
 * Asks for a plain reboot and comes back: BF_BOOT_OK, it begins, and its shutdown waits for our
 * lock. Else somebody holds it up, or systemd cannot be asked; that was said.
 */
int call_begin_reboot(struct call *call);
/* Says so when the EEPROM is too old for the selection to work, or its age is unknown. */
void call_check_eeprom(const struct call *call);

/* backend.c: what RAUC asks for */
int command_get_primary(struct call *call);
int command_set_primary(struct call *call);
int command_get_state(struct call *call);
int command_set_state(struct call *call);
int command_get_current(struct call *call);
int command_is_refused(struct call *call);
int command_is_free(struct call *call);
/* trial.c: what a person or the guard asks for */
int command_try(struct call *call);
int command_cancel(struct call *call);
int command_settle(struct call *call);
int command_reject(struct call *call);
/* reconcile.c: what units ask for */
int command_reconcile(struct call *call);
int command_shutdown(struct call *call);
int command_arm(struct call *call);
int command_end(struct call *call);
/* status.c */
int command_status(struct call *call);
int command_history(struct call *call);
int command_reasons(struct call *call);
/* doctor.c */
int command_doctor(struct call *call);
