// SPDX-License-Identifier: MIT
/*
 * An account that means the guard no good, for tests. It says what came of its first attempt, one
 * line, and then goes on until it is killed.
 *
 *   descriptor SOCKET TEXT  a datagram with a descriptor whose last close waits for an hour
 *   flood SOCKET            datagrams, as many as there is room for
 *   bus-descriptor NAME UNIT  a signal with such a descriptor
 *   bus-flood NAME UNIT       signals that say that a unit, an update, a shutdown came
 *
 * SOCKET is a path, NAME whom the bus is to give it to, UNIT the path of the kiosk's on D-Bus.
 */
#include "boot/base.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define LINGER_SEC 3600

static int must(int r, const char *what)
{
	if (r >= 0)
		return r;
	(void)printf("failed: %s: %s\n", what, strerror(-r));
	exit(1);
}

static void told(int r)
{
	if (r < 0)
		(void)printf("refused: %s\n", strerror(-r));
	else
		(void)printf("sent\n");
	(void)fflush(stdout);
}

/* A connection with more to send than its peer, which is this process, will ever take. */
static int lingering(void)
{
	static const struct linger linger = { .l_onoff = 1, .l_linger = LINGER_SEC };
	static const char bytes[65536];
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(to);

	if (fd < 0 || bind(peer, (struct sockaddr *)&to, sizeof(to)) < 0 || listen(peer, 1) < 0 ||
	    getsockname(peer, (struct sockaddr *)&to, &len) < 0 ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		must(-errno, "a connection");
	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		continue;
	must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), "SO_LINGER");
	return fd;
}

/* ---- sockets ------------------------------------------------------------------------------- */

/* Both at once: -errno of the one that failed. */
static int open_socket(const char *path, int *ret)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return -errno;
	*ret = TAKE_FD(fd);
	return 0;
}

static int send_with(const char *path, const char *text, int evil)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (char *)(uintptr_t)text, .iov_len = strlen(text) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	_cleanup_close_ int fd = -1;
	int r = open_socket(path, &fd);

	if (r < 0)
		return r;
	control.header = (struct cmsghdr) { .cmsg_len = CMSG_LEN(sizeof(evil)),
					    .cmsg_level = SOL_SOCKET,
					    .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.header), &evil, sizeof(evil));
	return sendmsg(fd, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

_Noreturn static void flood(const char *path)
{
	static const char text[] = "WATCHDOG=1\nX_BF_SERVER=1\nSTATUS=flood";
	bool first = true;

	for (;;) {
		_cleanup_close_ int fd = -1;
		int r = open_socket(path, &fd);

		for (int n = 0; n < 1000 && r >= 0; n++)
			r = send(fd, text, strlen(text), MSG_NOSIGNAL) < 0 ? -errno : 0;
		if (first)
			told(r);
		first = false;
	}
}

/* ---- D-Bus --------------------------------------------------------------------------------- */

static const struct {
	const char *path, *interface, *member;
} signals[] = {
	{ NULL, "org.freedesktop.DBus.Properties", "PropertiesChanged" }, /* the unit's */
	{ "/", "org.freedesktop.DBus.Properties", "PropertiesChanged" },
	{ "/", "de.pengutronix.rauc.Installer", "Completed" },
	{ "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "PrepareForShutdown" },
};

struct target {
	const char *name, *unit;
};

static int send_signal(sd_bus *bus, const struct target *to, size_t n, int fd)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

	must(sd_bus_message_new_signal(bus, &m, signals[n].path ? signals[n].path : to->unit,
				       signals[n].interface, signals[n].member),
	     "a signal");
	must(sd_bus_message_set_destination(m, to->name), to->name);
	if (fd >= 0)
		must(sd_bus_message_append(m, "h", fd), "the descriptor");
	return sd_bus_send(bus, m, NULL);
}

_Noreturn static void bus_flood(sd_bus *bus, const struct target *to)
{
	for (size_t n = 0;; n++) {
		int r = send_signal(bus, to, n % ARRAY_SIZE(signals), -1);

		/* Not more than it takes: what is left in this process bothers nobody. */
		if (r >= 0)
			r = sd_bus_flush(bus);
		if (n == 0)
			told(r);
		while (r >= 0 && sd_bus_process(bus, NULL) > 0)
			continue;
	}
}

static int send_on_bus(sd_bus *bus, const struct target *to, int evil)
{
	int r = send_signal(bus, to, 0, evil);

	return r < 0 ? r : sd_bus_flush(bus);
}

int main(int argc, char **argv)
{
	const char *action = argc > 2 ? argv[1] : "";
	struct target to = { argc > 2 ? argv[2] : NULL, argc > 3 ? argv[3] : NULL };
	sd_bus *bus = NULL;
	int evil;

	if (streq(action, "flood"))
		flood(to.name);
	if (argc != 4)
		return 2;
	if (startswith(action, "bus-"))
		must(sd_bus_open_system(&bus), "the bus");
	if (streq(action, "bus-flood"))
		bus_flood(bus, &to);
	evil = lingering();
	if (streq(action, "descriptor"))
		told(send_with(argv[2], argv[3], evil));
	else if (streq(action, "bus-descriptor"))
		told(send_on_bus(bus, &to, evil));
	else
		return 2;
	/* Whoever closes it last waits. */
	(void)close(evil);
	(void)pause();
	return 0;
}
