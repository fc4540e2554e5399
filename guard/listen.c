// SPDX-License-Identifier: MIT
/*
 * What the guard listens to by itself: datagrams of the kiosk in GUARD_DIR/notify,
 * its marker file, and requests in GUARD_DIR/control.
 *
 * The control socket is of type SOCK_SEQPACKET; a request is one word, an answer
 * one packet of text: "status", "json" (one answer), "follow", "follow-json" (one
 * now and at each change), "wait" (one when the running slot is committed), "try".
 */
#include "guard/guard.h"

#include "boot/io.h"
#include "boot/sys.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SEC		 UINT64_C(1000000)
#define DATAGRAMS_A_TURN 128
#define TURNS_A_SECOND	 20

#define IN_NEAREST (IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)
#define IN_PARENT  (IN_NEAREST | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB)

static int bind_socket(struct guard *g, const char *name, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -1;
	int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", g->dir, name);

	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	(void)unlink(address.sun_path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    chmod(address.sun_path, 0666) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* ---- heartbeats ---------------------------------------------------------------------- */

static char *control_group(pid_t pid)
{
	_cleanup_free_ char *path = strf("/proc/%d/cgroup", (int)pid);
	char *text = NULL;

	if (path)
		(void)sys_read_file(AT_FDCWD, path, 8192, &text, NULL);
	return text;
}

/*
 * By its control group, which nobody but root can choose: other units may run under the kiosk's
 * account. With PAMName= the unit's main process was moved into a session's, and others with it.
 * Of a process that is gone already nothing can be told.
 */
static bool is_of_kiosk(const struct guard *g, const struct ucred *who)
{
	_cleanup_free_ char *text = control_group(who->pid), *main_text = NULL;

	if (!text)
		return false;
	if (kiosk_owns(g->config.unit, text))
		return true;
	/* Also while D-Bus is gone: its last word. */
	if (g->kiosk.now.main_pid == 0 || who->uid != g->kiosk_uid)
		return false;
	main_text = control_group((pid_t)g->kiosk.now.main_pid);
	return main_text && kiosk_shares_group(text, main_text);
}

/* It may be the kiosk after all, in a group of its own making. */
static void warn_of_stranger(struct guard *g, const struct ucred *who)
{
	if (g->warned_of_stranger || who->uid != g->kiosk_uid)
		return;
	g->warned_of_stranger = true;
	guard_log(LOG_LEVEL_WARNING,
		  "heartbeats of process %d are refused: it has the kiosk's account, but is not "
		  "of %s; if it should count, set user= in bf-guard.conf",
		  (int)who->pid, g->config.unit);
}

static bool may_beat(struct guard *g, const struct msghdr *msg)
{
	const struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	struct ucred who;

	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS ||
	    c->cmsg_len != CMSG_LEN(sizeof(who)))
		return false;
	memcpy(&who, CMSG_DATA(c), sizeof(who));
	if (who.uid == 0)
		return true;
	/* Where the configuration names an account, it is the account that counts. */
	if (g->has_user)
		return g->kiosk_uid != (uid_t)-1 && who.uid == g->kiosk_uid;
	if (is_of_kiosk(g, &who))
		return true;
	warn_of_stranger(g, &who);
	return false;
}

/*
 * 1: one was read, whatever it was; 0: there is none. There is room for credentials
 * only, which the kernel puts first: descriptors that somebody pushes onto us are
 * never ours. A datagram is taken off the socket, and with it such a descriptor
 * closed, only after its sender was looked at: who waits for that (send_and_wait()
 * in bf-guard.c, systemd-notify) still runs meanwhile.
 */
static int receive(struct guard *g)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	char buf[NOTIFY_MAX + 1];
	struct iovec iov = { .iov_base = buf, .iov_len = sizeof(buf) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(g->notify_fd, &msg, MSG_DONTWAIT | MSG_PEEK);
	struct notify notify;
	bool taken;

	if (n < 0)
		return errno == EINTR;
	g->datagrams++;
	taken = !(msg.msg_flags & MSG_TRUNC) && notify_parse(buf, (size_t)n, &notify) >= 0 &&
		may_beat(g, &msg);
	(void)recv(g->notify_fd, buf, 0, MSG_DONTWAIT);
	if (!taken) {
		g->refused++;
		return 1;
	}
	heartbeat_note(&g->heart, &notify, device_now());
	if (notify.has_status)
		memcpy(g->kiosk_status, notify.status, sizeof(g->kiosk_status));
	return 1;
}

static int on_notify(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct guard *g = userdata;

	(void)s, (void)fd, (void)revents;
	for (unsigned i = 0; i < DATAGRAMS_A_TURN && receive(g) > 0; i++)
		continue;
	guard_evaluate(g);
	return 0;
}

static int listen_notify(struct guard *g)
{
	int on = 1, r;

	g->notify_fd = bind_socket(g, "notify", SOCK_DGRAM);
	if (g->notify_fd < 0)
		return g->notify_fd;
	if (setsockopt(g->notify_fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		return -errno;
	r = sd_event_add_io(g->event, &g->notify_source, g->notify_fd, EPOLLIN, on_notify, g);
	if (r < 0)
		return r;
	/* A kiosk in a loop keeps itself waiting, not the guard. */
	return sd_event_source_set_ratelimit(g->notify_source, SEC, TURNS_A_SECOND);
}

/* ---- the marker file ------------------------------------------------------------------- */

static int on_marker(sd_event_source *s, const struct inotify_event *event, void *userdata)
{
	struct guard *g = userdata;

	(void)s, (void)event;
	listen_check_marker(g);
	guard_evaluate(g);
	return 0;
}

/* Watches the marker's directory, or the nearest one above it that exists already. */
static void watch_marker(struct guard *g)
{
	_cleanup_free_ char *path = strdup(g->config.marker);
	bool nearest = false;

	while (path && *path) {
		char *slash = strrchr(path, '/');

		if (!slash)
			return;
		*slash = '\0';
		if (sd_event_add_inotify(g->event, &g->marker_source, *path ? path : "/",
					 nearest ? IN_NEAREST : IN_PARENT, on_marker, g) >= 0) {
			(void)sd_event_source_set_ratelimit(g->marker_source, SEC, TURNS_A_SECOND);
			return;
		}
		nearest = true;
	}
}

void listen_check_marker(struct guard *g)
{
	_cleanup_close_ int root = -1;
	uint64_t stamp = 0;

	if (!*g->config.marker)
		return;
	/* The watch first: what changes after it is seen. */
	g->marker_source = sd_event_source_disable_unref(g->marker_source);
	watch_marker(g);
	root = sys_open("/", O_PATH | O_DIRECTORY, 0);
	if (root < 0 || g->kiosk_uid == (uid_t)-1 ||
	    marker_check(root, g->config.marker, g->kiosk_uid, &stamp, &g->marker_why) == 0) {
		if (g->kiosk_uid == (uid_t)-1)
			g->marker_why = "it is not known whose it has to be";
		g->heart.marker_at = 0;
		g->marker_stamp = 0;
		return;
	}
	if (g->heart.marker_at && stamp == g->marker_stamp)
		return;
	g->marker_stamp = stamp;
	g->heart.marker_at = device_now();
	if (g->config.marker_proves == MARKER_PROVES_SERVER) {
		if (g->heart.server_at == 0)
			g->heart.server_at = g->heart.marker_at;
		/* Only a marker that is renewed can tell when the server was heard last. */
		if (g->config.marker_max_age)
			g->heart.server_last = g->heart.marker_at;
	}
}

/* ---- the control socket ------------------------------------------------------------------- */

static void drop(struct follower *f)
{
	f->source = sd_event_source_disable_unref(f->source);
	close_p(&f->fd);
	f->fd = -1;
}

/* A follower that does not read what it asked for is dropped. */
static void send_text(struct follower *f, const char *text)
{
	if (send(f->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		drop(f);
}

static void send_status(struct guard *g, struct follower *f)
{
	_cleanup_free_ char *text = report_status(g, f->json);

	if (text)
		send_text(f, text);
	else
		drop(f);
}

void listen_tell_followers(struct guard *g)
{
	for (size_t i = 0; i < GUARD_FOLLOWERS_MAX; i++) {
		struct follower *f = &g->followers[i];

		if (f->fd < 0 || !f->asked)
			continue;
		if (f->wait && report_is_committed(g)) {
			send_text(f, "committed\n");
			if (f->fd >= 0)
				drop(f);
		} else if (f->follow && g->changes != f->seen) {
			f->seen = g->changes;
			send_status(g, f);
		}
	}
}

static void ask_try(struct guard *g, struct follower *f)
{
	if (f->uid != 0 && (g->kiosk_uid == (uid_t)-1 || f->uid != g->kiosk_uid)) {
		send_text(f, "refused: only the kiosk and root may ask for the trial\n");
		return;
	}
	if (!g->policy.facts.staged) {
		send_text(f, "refused: no update is staged\n");
		return;
	}
	send_text(f, "ok: the trial begins as soon as it may\n");
	guard_event(g, &(struct policy_event) { .type = EVENT_TRY_ASKED });
}

static void answer(struct guard *g, struct follower *f, const char *word)
{
	f->asked = true;
	f->json = strstr(word, "json") != NULL;
	if (streq(word, "status") || streq(word, "json")) {
		send_status(g, f);
	} else if (streq(word, "follow") || streq(word, "follow-json")) {
		f->follow = true;
		f->seen = g->changes;
		send_status(g, f);
		return;
	} else if (streq(word, "wait")) {
		f->wait = true;
		listen_tell_followers(g);
		return;
	} else if (streq(word, "try")) {
		ask_try(g, f);
	} else {
		send_text(f, "refused: not understood\n");
	}
	if (f->fd >= 0)
		drop(f);
}

static int on_request(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct guard *g = userdata;
	char word[32];
	ssize_t n;

	(void)s;
	for (size_t i = 0; i < GUARD_FOLLOWERS_MAX; i++) {
		struct follower *f = &g->followers[i];

		if (f->fd != fd)
			continue;
		n = recv(fd, word, sizeof(word) - 1, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR) && !(revents & EPOLLHUP))
			return 0;
		if (n <= 0 || f->asked) {
			drop(f);
			return 0;
		}
		word[n] = '\0';
		word[strcspn(word, "\n")] = '\0';
		answer(g, f, word);
	}
	return 0;
}

/*
 * A client that connects and asks nothing makes room for the next; for root anybody else
 * does, and for an account that has its places already only its own clients.
 */
static struct follower *free_follower(struct guard *g, uid_t uid)
{
	struct follower *free = NULL, *mine = NULL, *other = NULL, *victim;
	unsigned count = 0;

	for (size_t i = 0; i < GUARD_FOLLOWERS_MAX; i++) {
		struct follower *f = &g->followers[i];

		if (f->fd < 0) {
			free = f;
		} else if (f->uid == uid) {
			count++;
			if (!f->asked)
				mine = f;
		} else if (f->uid != 0 && (!f->asked || (uid == 0 && !other))) {
			other = f;
		}
	}
	if (uid != 0 && count >= GUARD_FOLLOWERS_UID)
		victim = mine;
	else if (free)
		return free;
	else
		victim = other ? other : mine;
	if (victim)
		drop(victim);
	return victim;
}

static struct follower *find_place(struct guard *g, int client, uid_t *ret_uid)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	if (getsockopt(client, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
		return NULL;
	*ret_uid = who.uid;
	return free_follower(g, who.uid);
}

static int on_connection(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct guard *g = userdata;
	struct follower *f;
	uid_t uid = 0;

	(void)s, (void)revents;
	if (client < 0)
		return 0;
	f = find_place(g, client, &uid);
	if (!f) {
		(void)close(client);
		return 0;
	}
	*f = (struct follower) { .fd = client, .uid = uid };
	if (sd_event_add_io(g->event, &f->source, client, EPOLLIN, on_request, g) < 0)
		drop(f);
	return 0;
}

static int listen_control(struct guard *g)
{
	int r;

	g->control_fd = bind_socket(g, "control", SOCK_SEQPACKET);
	if (g->control_fd < 0)
		return g->control_fd;
	if (listen(g->control_fd, 8) < 0)
		return -errno;
	r = sd_event_add_io(g->event, &g->control_source, g->control_fd, EPOLLIN, on_connection, g);
	if (r < 0)
		return r;
	return sd_event_source_set_ratelimit(g->control_source, SEC, TURNS_A_SECOND);
}

int listen_start(struct guard *g)
{
	int r = io_mkdirat(AT_FDCWD, g->dir, 0755), control;

	if (r < 0)
		return r;
	r = listen_notify(g);
	control = listen_control(g);
	return r < 0 ? r : control;
}

void listen_stop(struct guard *g)
{
	for (size_t i = 0; i < GUARD_FOLLOWERS_MAX; i++)
		drop(&g->followers[i]);
	(void)sd_event_source_disable_unref(g->notify_source);
	(void)sd_event_source_disable_unref(g->control_source);
	(void)sd_event_source_disable_unref(g->marker_source);
	close_p(&g->notify_fd);
	close_p(&g->control_fd);
}
