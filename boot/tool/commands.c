// SPDX-License-Identifier: MIT
/*
 * bf-boot: RAUC's custom bootloader backend, and the boot selection's tool for
 * people, the guard and units. RAUC sets no deadline for a backend, and a
 * backend that hangs hangs RAUC: so every call has one of its own.
 */
#include "boot/tool/tool.h"

#include "boot/product.h"
#include "boot/sys.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

/* systemctl answers as soon as the reboot has begun. */
#define REBOOT_ASKED_SEC 8
/* Above what the lock waits; below the 25 s that a D-Bus caller of RAUC waits. */
#define DEADLINE_SEC 20
_Static_assert(RUNNING_LOCK_SEC < DEADLINE_SEC, "waiting for the lock is not the deadline");

#define SYSTEMCTL "/usr/bin/systemctl"

#define NO_MORE ""
static const struct command commands[] = {
	{ "status", "[--json]", "what runs, what is committed, what comes next", NO_MORE,
	  ACCESS_READ, OPTION_JSON, 0, 0, command_status, BF_BOOT_FAILED },
	{ "history", "[--json]", "what happened, newest first", NO_MORE, ACCESS_READ, OPTION_JSON,
	  0, 0, command_history, BF_BOOT_FAILED },
	{ "doctor", "", "check this device, one line each; fails on a fault", NO_MORE, ACCESS_NONE,
	  0, 0, 0, command_doctor, BF_BOOT_FAILED },
	{ "reasons", "", "the reason codes and what they mean", NO_MORE, ACCESS_NONE, 0, 0, 0,
	  command_reasons, BF_BOOT_FAILED },
	{ "try", "", "reboot into the staged slot, as a trial", NO_MORE, ACCESS_CHANGE, 0, 0, 0,
	  command_try, BF_BOOT_FAILED },
	{ "cancel", "", "take back what is staged", NO_MORE, ACCESS_CHANGE, 0, 0, 0, command_cancel,
	  BF_BOOT_FAILED },
	{ "settle", "", "end the probation of the committed slot: it has proven itself",
	  "bf-guard does this by itself. Where it does not run, updates are refused until\n"
	  "somebody does.\n",
	  ACCESS_CHANGE, 0, 0, 0, command_settle, BF_BOOT_FAILED },
	{ "reject", "[--force] [REASON]", "give up the running trial and reboot",
	  "REASON is a code of 'bf-boot reasons'. With --force also of the committed slot:\n"
	  "then the other one gets a trial.\n",
	  ACCESS_CHANGE, OPTION_FORCE, 0, 1, command_reject, BF_BOOT_FAILED },
	{ "get-primary", "", "RAUC: the slot that is started next", NO_MORE, ACCESS_READ, 0, 0, 0,
	  command_get_primary, BF_BOOT_FAILED },
	{ "set-primary", "SLOT", "RAUC: stage the slot for its trial; the committed one: cancel",
	  NO_MORE, ACCESS_CHANGE, 0, 1, 1, command_set_primary, BF_BOOT_FAILED },
	{ "get-state", "SLOT", "RAUC: good or bad", NO_MORE, ACCESS_READ, 0, 1, 1,
	  command_get_state, BF_BOOT_FAILED },
	{ "set-state", "[--force] SLOT good|bad", "RAUC: commit the running slot; mark one bad",
	  "--force marks the other slot bad although the running one is in probation.\n",
	  ACCESS_CHANGE, OPTION_FORCE, 2, 2, command_set_state, BF_BOOT_FAILED },
	{ "get-current", "", "RAUC: the running slot", NO_MORE, ACCESS_READ, 0, 0, 0,
	  command_get_current, BF_BOOT_FAILED },
	{ "is-refused", "HASH", "is the image with this root hash refused?",
	  "Exit status: 0 it is refused, 1 it is not, 2 not a root hash, 3 cannot tell.\n",
	  ACCESS_READ, 0, 1, 1, command_is_refused, BF_BOOT_ERROR },
	{ "is-free", "DEVICE...", "could these partitions be written to?",
	  "Exit status: 0 yes, 1 one is mounted or in use otherwise, 3 cannot tell.\n", ACCESS_NONE,
	  0, 1, 8, command_is_free, BF_BOOT_ERROR },
	{ "reconcile", "",
	  "unit: after a boot, repair autoboot.txt, arm the staged slot again; report", NO_MORE,
	  ACCESS_CHANGE, 0, 0, 0, command_reconcile, BF_BOOT_FAILED },
	{ "shutdown", "reboot|halt", "unit: the system goes down; count an armed trial", NO_MORE,
	  ACCESS_CHANGE, 0, 1, 1, command_shutdown, BF_BOOT_FAILED },
	{ "arm", "", "unit: last before the reboot, make it the counted trial", NO_MORE,
	  ACCESS_NONE, 0, 0, 0, command_arm, BF_BOOT_FAILED },
	{ "end", "SECONDS", "unit: end a reboot that hangs, as it was asked for", NO_MORE,
	  ACCESS_NONE, 0, 1, 1, command_end, BF_BOOT_FAILED },
};

static const struct {
	const char *text;
	enum command_option option;
} options[] = {
	{ "--json", OPTION_JSON },
	{ "--force", OPTION_FORCE },
};

/* ---- messages -------------------------------------------------------------- */

void call_say(const struct call *call, const char *fmt, ...)
{
	va_list ap;

	(void)fprintf(call->err, BF_BOOT " %s: ", call->command->name);
	va_start(ap, fmt);
	(void)vfprintf(call->err, fmt, ap);
	va_end(ap);
	(void)fputc('\n', call->err);
}

int call_failed(const struct call *call, int error, const char *what)
{
	if (*what)
		call_say(call, "%s: %s", what, strerror(-error));
	else if (*call->running.why) /* object and errno are in it */
		call_say(call, "%s", call->running.why);
	else
		call_say(call, "%s", strerror(-error));
	return call->command->failed;
}

int call_refused(const struct call *call, enum refusal refusal)
{
	const struct refusal_text *text = refusal_text(refusal);

	call_say(call, "refused: %s %s", text->what, text->todo);
	return call->command->failed;
}

static void print_usage(FILE *to, const struct command *command)
{
	(void)fprintf(to, "Usage: " BF_BOOT " %s%s%s\n", command->name,
		      *command->arguments ? " " : "", command->arguments);
}

int call_usage(const struct call *call)
{
	print_usage(call->err, call->command);
	return BF_BOOT_USAGE;
}

static void print_help(FILE *to)
{
	(void)fputs("Usage: " BF_BOOT " COMMAND [ARGUMENT]…\n"
		    "The boot selection of this device: which slot starts, and why.\n\n",
		    to);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct command *c = &commands[i];
		int room = 34 - (int)strlen(c->name);

		(void)fprintf(to, "  %s %-*s %s\n", c->name, room, c->arguments, c->summary);
	}
	(void)fputs("\n  --help, --version; COMMAND --help\n"
		    "\nExit status: 0 done, 1 failed or refused, 2 wrong usage.\n",
		    to);
}

static void print_command_help(FILE *to, const struct command *command)
{
	print_usage(to, command);
	(void)fprintf(to, "%s: %s.\n%s%s", command->name, command->summary, command->help,
		      command->access == ACCESS_CHANGE ? "Changes something; needs root.\n" : "");
}

/* ---- what several commands do ---------------------------------------------- */

enum slot call_slot(const struct call *call, size_t i)
{
	enum slot slot = slot_parse(call->args[i]);

	if (slot == SLOT_NONE)
		(void)call_refused(call, REFUSAL_SLOT);
	return slot;
}

int call_request(struct call *call, enum request request, const struct request_args *args,
		 struct request_plan *ret)
{
	static const struct request_args nothing = { .slot = SLOT_NONE };
	int r;

	*ret = (struct request_plan) { .sector = SLOT_NONE };
	r = running_request(&call->running, request, args ? args : &nothing, ret);
	if (r < 0)
		return call_failed(call, r, "");
	if (ret->refusal != REFUSAL_NONE)
		return call_refused(call, ret->refusal);
	return BF_BOOT_OK;
}

/* Nobody who keeps the system up keeps a slot running that is given up. */
#define IGNORE_INHIBITORS "--check-inhibitors=no"

int call_reboot(struct call *call, enum boot_next next)
{
	static char *const environment[] = { (char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	char *argv[] = { (char *)"systemctl", (char *)"reboot", (char *)IGNORE_INHIBITORS, NULL,
			 NULL };

	/* Given, it is kept by systemctl; else that deletes what is armed. */
	if (next == NEXT_REBOOT_TRIAL)
		argv[3] = (char *)"--reboot-argument=" FIRMWARE_REBOOT_TRIAL;
	(void)fflush(call->out);
	(void)fflush(call->err);
	sys_alarm(0, SIG_DFL);
	/* The lock goes with the exec: what runs on shutdown needs it. */
	return call_failed(call, sys_exec(SYSTEMCTL, argv, environment), SYSTEMCTL);
}

int call_begin_reboot(struct call *call)
{
	char *argv[] = { (char *)"systemctl", (char *)"reboot", NULL };
	int r, status = 0;

	(void)fflush(call->err);
	r = sys_spawn_wait(NULL, SYSTEMCTL, argv, REBOOT_ASKED_SEC, -1, &status);
	if (r < 0)
		return call_failed(call, r, SYSTEMCTL);
	if (status == 0)
		return BF_BOOT_OK;
	call_say(call,
		 "refused: systemd does not reboot now, so nothing was counted. See above, and "
		 "'systemd-inhibit --list'.");
	return call->command->failed;
}

void call_check_eeprom(const struct call *call)
{
	_cleanup_close_ int chosen =
		sys_open("/proc/device-tree/chosen", O_RDONLY | O_DIRECTORY, 0);
	struct firmware fw;

	if (chosen < 0 || firmware_read(chosen, &fw) < 0 || !fw.present)
		return;
	if (fw.has_build_timestamp && fw.build_timestamp < FIRMWARE_BUILD_FLOOR)
		call_say(call, "warning: the EEPROM's firmware is older than " FIRMWARE_FLOOR_DATE
			       "; update it: " FIRMWARE_UPDATE_COMMAND);
}

/* ---- running a command ------------------------------------------------------ */

static volatile sig_atomic_t deadline_status;

static void on_deadline(int number)
{
	static const char text[] = BF_BOOT ": gave up: it took too long\n";

	(void)number;
	(void)!sys_write(STDERR_FILENO, text, sizeof(text) - 1);
	_exit((int)deadline_status);
}

static int say_why_closed(const struct call *call, int error)
{
	switch (error) {
	case -EPERM:
		call_say(call, "must be run as root");
		break;
	case -ENOENT:
		call_say(call, "bf-init did not start this system: there is no " BOOT_FILE_PATH);
		break;
	case -ETIMEDOUT:
		call_say(call, "somebody else keeps the boot selection locked (" RUNNING_LOCK ")");
		break;
	default:
		return call_failed(call, error, "");
	}
	return call->command->failed;
}

static int run_open(struct call *call)
{
	bool change = call->command->access == ACCESS_CHANGE;
	int r = running_open(change ? RUNNING_CHANGE : RUNNING_READ, &call->running);
	int status = r < 0 ? say_why_closed(call, r) : call->command->run(call);

	running_close(&call->running);
	return status;
}

static int run(struct call *call)
{
	int status;

	deadline_status = call->command->failed;
	sys_alarm(DEADLINE_SEC, on_deadline);
	status = call->command->access == ACCESS_NONE ? call->command->run(call) : run_open(call);
	/* An answer that did not reach its reader was not given. */
	if ((fflush(call->out) != 0 || ferror(call->out)) && status == BF_BOOT_OK)
		status = call_failed(call, -EIO, "standard output");
	sys_alarm(0, SIG_DFL);
	return status;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (streq(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static int print_to(FILE *out, const struct command *command, bool version)
{
	if (version)
		(void)fputs(BF_BOOT " " BF_VERSION "\n", out);
	else if (command)
		print_command_help(out, command);
	else
		print_help(out);
	return fflush(out) == 0 && !ferror(out) ? BF_BOOT_OK : BF_BOOT_FAILED;
}

static bool take_option(struct call *call, const char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (!streq(options[i].text, text))
			continue;
		call->options |= (unsigned)options[i].option;
		return call->command->options & (unsigned)options[i].option;
	}
	return false;
}

#define ARGS_MAX 8 /* of any command; more is wrong usage */

int bf_boot_main(int argc, char *const *argv, FILE *out, FILE *err)
{
	struct call call = { .out = out, .err = err };
	char *args[ARGS_MAX] = { NULL };
	const char *name = argc > 1 ? argv[1] : "";

	if (streq(name, "--help") || streq(name, "--version"))
		return print_to(out, NULL, streq(name, "--version"));
	call.command = find_command(name);
	if (!call.command) {
		(void)fprintf(err, BF_BOOT ": %s%s; see " BF_BOOT " --help\n",
			      *name ? "no such command: " : "a command is needed", name);
		return BF_BOOT_USAGE;
	}
	for (int i = 2; i < argc; i++) {
		if (streq(argv[i], "--help") || streq(argv[i], "--version"))
			return print_to(out, call.command, streq(argv[i], "--version"));
		if (argv[i][0] == '-' ? !take_option(&call, argv[i]) : call.arg_count == ARGS_MAX)
			return call_usage(&call);
		if (argv[i][0] != '-')
			args[call.arg_count++] = argv[i];
	}
	call.args = args;
	if (call.arg_count < call.command->min_args || call.arg_count > call.command->max_args)
		return call_usage(&call);
	return run(&call);
}
