// SPDX-License-Identifier: MIT
/* bf-guard: the daemon, and what asks it. See bf-guard(8). */
#include "guard/confcheck.h"
#include "guard/daemon.h"
#include "guard/heartbeat.h"

#include "boot/product.h"
#include "boot/sys.h"

#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { EXIT_OK, EXIT_REFUSED, EXIT_USAGE, EXIT_NO_GUARD };

#define ANSWER_MAX 131072
#define ANSWER_SEC 10

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

static int open_socket(const struct options *o, const char *name, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", o->dir, name);
	_cleanup_close_ int fd = -1;

	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int no_guard(int error)
{
	(void)fprintf(stderr, "bf-guard: the guard does not answer: %s\n", strerror(-error));
	return EXIT_NO_GUARD;
}

/* Asks one word, prints the answers. @forever: they may take as long as they want. */
static int ask(const struct options *o, const char *word, bool forever)
{
	const struct timeval limit = { .tv_sec = ANSWER_SEC };
	_cleanup_close_ int fd = open_socket(o, "control", SOCK_SEQPACKET);
	static char text[ANSWER_MAX];
	bool any = false;
	ssize_t n;

	if (fd < 0)
		return no_guard(fd);
	if (!forever && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
		return no_guard(-errno);
	if (send(fd, word, strlen(word), MSG_NOSIGNAL) < 0)
		return no_guard(-errno);
	while ((n = recv(fd, text, ANSWER_MAX - 1, 0)) > 0) {
		text[n] = '\0';
		if (startswith(text, "refused: ")) {
			(void)fprintf(stderr, "bf-guard: %s", text + strlen("refused: "));
			return EXIT_REFUSED;
		}
		if (any && !o->json)
			(void)fputc('\n', stdout);
		any = true;
		if (fputs(text, stdout) == EOF || fflush(stdout) == EOF)
			return EXIT_REFUSED;
	}
	if (!any)
		return no_guard(n < 0 ? -errno : -ECONNRESET);
	return EXIT_OK;
}

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
	if (o->follow)
		return ask(o, o->json ? "follow-json" : "follow", true);
	return ask(o, o->json ? "json" : "status", false);
}

static int command_try(const struct options *o)
{
	return ask(o, "try", false);
}

static int command_wait(const struct options *o)
{
	return ask(o, "wait", true);
}

/*
 * Sends it with a descriptor that the guard closes when it has looked at the datagram,
 * and at who sent it: a process that is gone by then may be anybody's.
 */
static int send_and_wait(int fd, const char *text)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (char *)text, .iov_len = strlen(text) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	_cleanup_close_ int seen = -1, sent = -1;
	struct pollfd wait;
	int fds[2], n;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	seen = fds[0];
	sent = fds[1];
	control.header = (struct cmsghdr) { .cmsg_len = CMSG_LEN(sizeof(sent)),
					    .cmsg_level = SOL_SOCKET,
					    .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.header), &sent, sizeof(sent));
	if (sendmsg(fd, &msg, MSG_NOSIGNAL) < 0)
		return -errno;
	close_p(&sent);
	sent = -1;
	wait = (struct pollfd) { .fd = seen };
	n = poll(&wait, 1, ANSWER_SEC * 1000);
	if (n < 0)
		return -errno;
	return n > 0 ? 0 : -ETIMEDOUT;
}

/* The words after "beat" are sent as they are; without any, WATCHDOG=1. */
static int command_beat(const struct options *o)
{
	_cleanup_close_ int fd = open_socket(o, "notify", SOCK_DGRAM);
	char text[NOTIFY_MAX + 1] = "WATCHDOG=1";
	struct notify notify;
	size_t at = 0;
	int r;

	if (fd < 0)
		return no_guard(fd);
	for (int i = 0; i < o->arg_count; i++) {
		int n = snprintf(text + at, sizeof(text) - at, "%s%s", i ? "\n" : "", o->args[i]);

		if (n < 0 || (size_t)n >= sizeof(text) - at) {
			(void)fprintf(stderr, "bf-guard: that is too long\n");
			return EXIT_USAGE;
		}
		at += (size_t)n;
	}
	if (notify_parse(text, strlen(text), &notify) < 0) {
		(void)fprintf(stderr, "bf-guard: the guard would not understand that; say READY=1, "
				      "WATCHDOG=1, X_BF_SERVER=1 or STATUS=text\n");
		return EXIT_USAGE;
	}
	r = send_and_wait(fd, text);
	return r < 0 ? no_guard(r) : EXIT_OK;
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
		      "\n  --runtime-dir=DIR   its sockets (" GUARD_DIR ")\n"
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
