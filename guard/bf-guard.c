// SPDX-License-Identifier: MIT
/* bf-guard: the daemon, and what asks it. See bf-guard(8). */
#include "guard/client.h"
#include "guard/confcheck.h"
#include "guard/daemon.h"

#include "boot/product.h"
#include "boot/sys.h"

#include <fcntl.h>
#include <getopt.h>
#include <unistd.h>

struct options {
	const char *dir, *root;
	bool json, follow;
	char **args;
	int arg_count;
};

struct command {
	const char *name, *args, *does;
	int (*fn)(const struct options *o);
};

static int command_run(const struct options *o)
{
	int r;

	log_open(-1, "bf-guard");
	r = guard_run(o->dir, o->root);
	if (r < 0)
		(void)fprintf(stderr, "bf-guard: %s\n", strerror(-r));
	return r < 0 ? EXIT_REFUSED : EXIT_OK;
}

static int command_status(const struct options *o)
{
	return client_status(o->dir, o->json, o->follow);
}

static int command_try(const struct options *o)
{
	return client_try(o->dir);
}

static int command_wait(const struct options *o)
{
	return client_wait(o->dir);
}

static int command_beat(const struct options *o)
{
	return client_beat(o->dir, o->args, o->arg_count);
}

static void print_problem(void *userdata, const char *file, unsigned line, const char *what,
			  const char *cure)
{
	char number[16] = "";

	*(unsigned *)userdata += 1;
	if (line)
		(void)snprintf(number, sizeof(number), ":%u", line);
	(void)printf("/%s%s: %s\n    %s\n", file, number, what, cure);
}

static int command_check_config(const struct options *o)
{
	_cleanup_close_ int fd = sys_open(o->root, O_RDONLY | O_DIRECTORY, 0);
	_cleanup_free_ struct config *config = calloc(1, sizeof(*config));
	unsigned problems = 0;

	if (fd < 0 || !config) {
		(void)fprintf(stderr, "bf-guard: %s: %s\n", o->root,
			      strerror(fd < 0 ? -fd : ENOMEM));
		return EXIT_REFUSED;
	}
	confcheck(config, fd, print_problem, &problems);
	if (!problems)
		(void)printf("no problem; the kiosk is %s\n", config->unit);
	return problems ? EXIT_REFUSED : EXIT_OK;
}

static const struct command commands[] = {
	{ "run", "", "guard this boot (systemd starts it)", command_run },
	{ "status", "[--json] [--follow]", "what it waits for, since when, how long still",
	  command_status },
	{ "try", "", "reboot into the staged update now", command_try },
	{ "beat", "[WORD=VALUE]...", "send a heartbeat: WATCHDOG=1, or what is given",
	  command_beat },
	{ "check-config", "[--root=DIR]", "what is wrong with the configuration of an image",
	  command_check_config },
	{ "wait", "", "return when the running slot is committed and healthy", command_wait },
};

static int usage(FILE *out)
{
	(void)fprintf(out, "usage: bf-guard COMMAND\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		(void)fprintf(out, "  %-12s %-20s %s\n", commands[i].name, commands[i].args,
			      commands[i].does);
	(void)fprintf(out,
		      "\n  --runtime-dir=DIR   its socket and status (" GUARD_DIR ")\n"
		      "  --root=DIR          where run finds its configuration, the journal; what\n"
		      "                      check-config looks at (/)\n"
		      "  --help, --version\n\nSee bf-guard(8).\n");
	return out == stdout ? EXIT_OK : EXIT_USAGE;
}

int main(int argc, char *argv[])
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "follow", no_argument, NULL, 'f' },
		{ "runtime-dir", required_argument, NULL, 'd' },
		{ "root", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	struct options o = { .dir = GUARD_DIR, .root = "/" };
	const char *name;
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'j')
			o.json = true;
		else if (c == 'f')
			o.follow = true;
		else if (c == 'd')
			o.dir = optarg;
		else if (c == 'r')
			o.root = optarg;
		else if (c == 'V')
			return printf("bf-guard " BF_VERSION "\n") < 0;
		else
			return usage(c == 'h' ? stdout : stderr);
	}
	if (optind >= argc)
		return usage(stderr);
	name = argv[optind++];
	o.args = argv + optind;
	o.arg_count = argc - optind;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (streq(commands[i].name, name)) {
			if (o.arg_count && commands[i].fn != command_beat)
				return usage(stderr);
			return commands[i].fn(&o);
		}
	(void)fprintf(stderr, "bf-guard: there is no command '%s'\n", name);
	return usage(stderr);
}
