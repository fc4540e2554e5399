// SPDX-License-Identifier: MIT
#include "guard/listen.h"

#include "boot/io.h"
#include "boot/sys.h"
#include "guard/device.h"
#include "guard/kiosk.h"
#include "guard/log.h"
#include "guard/process.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SEC		 UINT64_C(1000000)
#define DATAGRAMS_A_TURN 128
#define TURNS_A_SECOND	 20
#define FOLLOWERS_MAX	 16
#define FOLLOWERS_UID	 4 /* of one account, but root */
#define NOBODY		 ((uid_t)-1)

#define IN_NEAREST (IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)
#define IN_PARENT  (IN_NEAREST | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB)

struct follower {
	int fd; /* -1: free */
	uid_t uid;
	sd_event_source *source;
	bool json, follow, wait; /* wait: one answer, when the slot is committed */
	bool asked;
	uint64_t seen; /* changes, by a follower */
};

struct listen {
	struct listen_spec spec;
	const struct listen_ops *ops;
	void *userdata;
	sd_event *event;
	const char *unit; /* its own name, which .spec.unit may be an alias of */
	uid_t kiosk_uid;  /* NOBODY: not known */
	pid_t main_pid;	  /* of the kiosk; 0: not known */
	bool warned_of_stranger;
	uint64_t beats, refused;
	int notify_fd, control_fd;
	sd_event_source *notify_source, *control_source, *marker_source;
	struct follower followers[FOLLOWERS_MAX];
	uint64_t changes;
};

static int bind_socket(struct listen *l, const char *name, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -1;
	int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", l->spec.dir, name);

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

/*
 * By its control group, which nobody but root can choose: other units may run under the kiosk's
 * account. With PAMName= the unit's main process was moved into a session's, and others with it.
 * Of a process that is gone already nothing can be told.
 */
static bool is_of_kiosk(const struct listen *l, const struct ucred *who)
{
	_cleanup_free_ char *text = process_group(who->pid), *main_text = NULL;

	if (!text)
		return false;
	if (kiosk_owns(l->unit, text))
		return true;
	/* Also while D-Bus is gone: its last word. */
	if (l->main_pid == 0 || who->uid != l->kiosk_uid)
		return false;
	main_text = process_group(l->main_pid);
	return main_text && kiosk_shares_group(text, main_text);
}

/* It may be the kiosk after all, in a group of its own making. */
static void warn_of_stranger(struct listen *l, const struct ucred *who)
{
	if (l->warned_of_stranger || who->uid != l->kiosk_uid)
		return;
	l->warned_of_stranger = true;
	guard_log(LOG_LEVEL_WARNING,
		  "heartbeats of process %d are refused: it has the kiosk's account, but is not "
		  "of %s; if it should count, set user= in bf-guard.conf",
		  (int)who->pid, l->spec.unit);
}

static bool may_beat(struct listen *l, const struct ucred *who)
{
	if (who->uid == 0)
		return true;
	/* Where the configuration names an account, it is the account that counts. */
	if (*l->spec.user)
		return l->kiosk_uid != NOBODY && who->uid == l->kiosk_uid;
	if (is_of_kiosk(l, who))
		return true;
	warn_of_stranger(l, who);
	return false;
}

/* Since when the sender of a datagram that may count runs; 0: it may not, or is gone. */
static uint64_t sender_started(struct listen *l, const struct msghdr *msg)
{
	const struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	struct ucred who;

	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS ||
	    c->cmsg_len != CMSG_LEN(sizeof(who)))
		return 0;
	memcpy(&who, CMSG_DATA(c), sizeof(who));
	return may_beat(l, &who) ? process_started(who.pid) : 0;
}

/*
 * 1: one was read, whatever it was; 0: there is none. There is room for credentials
 * only, which the kernel puts first: descriptors that somebody pushes onto us are
 * never ours. A datagram is taken off the socket, and with it such a descriptor
 * closed, only after its sender was looked at: who waits for that (send_and_wait()
 * in bf-guard.c, systemd-notify) still runs meanwhile.
 */
static int receive(struct listen *l)
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
	ssize_t n = recvmsg(l->notify_fd, &msg, MSG_DONTWAIT | MSG_PEEK);
	struct notify notify;
	uint64_t started = 0;

	if (n < 0)
		return errno == EINTR;
	if (!(msg.msg_flags & MSG_TRUNC) && notify_parse(buf, (size_t)n, &notify) >= 0)
		started = sender_started(l, &msg);
	(void)recv(l->notify_fd, buf, 0, MSG_DONTWAIT);
	if (started == 0) {
		l->refused++;
		return 1;
	}
	l->beats++;
	l->ops->beat(l->userdata, &notify, started);
	return 1;
}

static int on_notify(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct listen *l = userdata;

	(void)s, (void)fd, (void)revents;
	for (unsigned i = 0; i < DATAGRAMS_A_TURN && receive(l) > 0; i++)
		continue;
	l->ops->heard(l->userdata);
	return 0;
}

static int listen_notify(struct listen *l)
{
	int on = 1, r;

	l->notify_fd = bind_socket(l, "notify", SOCK_DGRAM);
	if (l->notify_fd < 0)
		return l->notify_fd;
	if (setsockopt(l->notify_fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		return -errno;
	r = sd_event_add_io(l->event, &l->notify_source, l->notify_fd, EPOLLIN, on_notify, l);
	if (r < 0)
		return r;
	/* A kiosk in a loop keeps itself waiting, not the guard. */
	return sd_event_source_set_ratelimit(l->notify_source, SEC, TURNS_A_SECOND);
}

/* ---- the marker file ------------------------------------------------------------------- */

static void check_marker(struct listen *l);

static int on_marker(sd_event_source *s, const struct inotify_event *event, void *userdata)
{
	struct listen *l = userdata;

	(void)s, (void)event;
	check_marker(l);
	l->ops->heard(l->userdata);
	return 0;
}

/* Watches the marker's directory, or the nearest one above it that exists already. */
static void watch_marker(struct listen *l)
{
	_cleanup_free_ char *path = strdup(l->spec.marker);
	bool nearest = false;

	while (path && *path) {
		char *slash = strrchr(path, '/');

		if (!slash)
			return;
		*slash = '\0';
		if (sd_event_add_inotify(l->event, &l->marker_source, *path ? path : "/",
					 nearest ? IN_NEAREST : IN_PARENT, on_marker, l) >= 0) {
			(void)sd_event_source_set_ratelimit(l->marker_source, SEC, TURNS_A_SECOND);
			return;
		}
		nearest = true;
	}
}

/* The clock of the wall, which the file goes by, on that of the device; 0: before its start. */
static uint64_t by_device_clock(uint64_t changed)
{
	uint64_t ago = sys_realtime_usec() - changed, now = device_now();

	return ago < now ? now - ago : 0;
}

static void check_marker(struct listen *l)
{
	_cleanup_close_ int root = -1;
	uint64_t stamp = 0, changed = 0;
	const char *why;

	if (!*l->spec.marker)
		return;
	/* The watch first: what changes after it is seen. */
	l->marker_source = sd_event_source_disable_unref(l->marker_source);
	watch_marker(l);
	if (l->kiosk_uid == NOBODY)
		return; /* whose it has to be is not known yet: not looked at */
	root = sys_open("/", O_PATH | O_DIRECTORY, 0);
	if (root < 0)
		return;
	if (marker_check(root, l->spec.marker, l->kiosk_uid, &stamp, &changed, &why) > 0)
		changed = by_device_clock(changed);
	l->ops->marker(l->userdata, stamp, changed);
}

/* ---- the kiosk's account ------------------------------------------------------------------ */

void listen_set_kiosk(struct listen *l, const char *unit, uid_t uid, pid_t main_pid)
{
	l->unit = unit;
	if (!*l->spec.user)
		l->kiosk_uid = uid;
	l->main_pid = main_pid;
	check_marker(l);
}

bool listen_has_account(const struct listen *l)
{
	return !*l->spec.user || l->kiosk_uid != NOBODY;
}

void listen_tick(struct listen *l)
{
	const struct passwd *user = NULL;

	if (*l->spec.user && l->kiosk_uid == NOBODY)
		user = getpwnam(l->spec.user);
	if (!user)
		return;
	l->kiosk_uid = user->pw_uid;
	check_marker(l);
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

static void send_status(struct listen *l, struct follower *f)
{
	_cleanup_free_ char *text = l->ops->status(l->userdata, f->json);

	if (text)
		send_text(f, text);
	else
		drop(f);
}

static void tell_followers(struct listen *l)
{
	for (size_t i = 0; i < FOLLOWERS_MAX; i++) {
		struct follower *f = &l->followers[i];

		if (f->fd < 0 || !f->asked)
			continue;
		if (f->wait && l->ops->is_committed(l->userdata)) {
			send_text(f, "committed\n");
			if (f->fd >= 0)
				drop(f);
		} else if (f->follow && l->changes != f->seen) {
			f->seen = l->changes;
			send_status(l, f);
		}
	}
}

void listen_tell(struct listen *l, uint64_t changes)
{
	l->changes = changes;
	tell_followers(l);
}

static void ask_try(struct listen *l, struct follower *f)
{
	if (f->uid != 0 && (l->kiosk_uid == NOBODY || f->uid != l->kiosk_uid)) {
		send_text(f, "refused: only the kiosk and root may ask for the trial\n");
		return;
	}
	send_text(f, l->ops->try(l->userdata) ? "ok: the trial begins as soon as it may\n"
					      : "refused: no update is staged\n");
}

static void answer(struct listen *l, struct follower *f, const char *word)
{
	f->asked = true;
	f->json = strstr(word, "json") != NULL;
	if (streq(word, "status") || streq(word, "json")) {
		send_status(l, f);
	} else if (streq(word, "follow") || streq(word, "follow-json")) {
		f->follow = true;
		f->seen = l->changes;
		send_status(l, f);
		return;
	} else if (streq(word, "wait")) {
		f->wait = true;
		tell_followers(l);
		return;
	} else if (streq(word, "try")) {
		ask_try(l, f);
	} else {
		send_text(f, "refused: not understood\n");
	}
	if (f->fd >= 0)
		drop(f);
}

static int on_request(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct listen *l = userdata;
	char word[32];
	ssize_t n;

	(void)s;
	for (size_t i = 0; i < FOLLOWERS_MAX; i++) {
		struct follower *f = &l->followers[i];

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
		answer(l, f, word);
	}
	return 0;
}

/*
 * A client that connects and asks nothing makes room for the next; for root anybody else
 * does, and for an account that has its places already only its own clients.
 */
static struct follower *free_follower(struct listen *l, uid_t uid)
{
	struct follower *free = NULL, *mine = NULL, *other = NULL, *victim;
	unsigned count = 0;

	for (size_t i = 0; i < FOLLOWERS_MAX; i++) {
		struct follower *f = &l->followers[i];

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
	if (uid != 0 && count >= FOLLOWERS_UID)
		victim = mine;
	else if (free)
		return free;
	else
		victim = other ? other : mine;
	if (victim)
		drop(victim);
	return victim;
}

static struct follower *find_place(struct listen *l, int client, uid_t *ret_uid)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	if (getsockopt(client, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
		return NULL;
	*ret_uid = who.uid;
	return free_follower(l, who.uid);
}

static int on_connection(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct listen *l = userdata;
	struct follower *f;
	uid_t uid = 0;

	(void)s, (void)revents;
	if (client < 0)
		return 0;
	f = find_place(l, client, &uid);
	if (!f) {
		(void)close(client);
		return 0;
	}
	*f = (struct follower) { .fd = client, .uid = uid };
	if (sd_event_add_io(l->event, &f->source, client, EPOLLIN, on_request, l) < 0)
		drop(f);
	return 0;
}

static int listen_control(struct listen *l)
{
	int r;

	l->control_fd = bind_socket(l, "control", SOCK_SEQPACKET);
	if (l->control_fd < 0)
		return l->control_fd;
	if (listen(l->control_fd, 8) < 0)
		return -errno;
	r = sd_event_add_io(l->event, &l->control_source, l->control_fd, EPOLLIN, on_connection, l);
	if (r < 0)
		return r;
	return sd_event_source_set_ratelimit(l->control_source, SEC, TURNS_A_SECOND);
}

uint64_t listen_beats(const struct listen *l)
{
	return l->beats;
}

uint64_t listen_refused(const struct listen *l)
{
	return l->refused;
}

/* Without sockets the unit and the marker are still watched. */
static void open_sockets(struct listen *l)
{
	int r = io_mkdirat(AT_FDCWD, l->spec.dir, 0755), control;

	if (r >= 0) {
		r = listen_notify(l);
		control = listen_control(l);
		r = r < 0 ? r : control;
	}
	if (r < 0)
		guard_log(LOG_LEVEL_WARNING, "%s: %s", l->spec.dir, strerror(-r));
}

int listen_new(struct listen **ret, sd_event *event, const struct listen_spec *spec,
	       const struct listen_ops *ops, void *userdata)
{
	struct listen *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->spec = *spec;
	l->unit = spec->unit;
	l->ops = ops;
	l->userdata = userdata;
	l->event = sd_event_ref(event);
	l->kiosk_uid = NOBODY;
	l->notify_fd = l->control_fd = -1;
	for (size_t i = 0; i < FOLLOWERS_MAX; i++)
		l->followers[i].fd = -1;
	listen_tick(l);
	if (*l->spec.user && l->kiosk_uid == NOBODY)
		guard_log(LOG_LEVEL_WARNING,
			  "there is no user %s yet: its heartbeats are not taken", l->spec.user);
	check_marker(l);
	open_sockets(l);
	*ret = l;
	return 0;
}

struct listen *listen_free(struct listen *l)
{
	if (!l)
		return NULL;
	for (size_t i = 0; i < FOLLOWERS_MAX; i++)
		drop(&l->followers[i]);
	(void)sd_event_source_disable_unref(l->notify_source);
	(void)sd_event_source_disable_unref(l->control_source);
	(void)sd_event_source_disable_unref(l->marker_source);
	close_p(&l->notify_fd);
	close_p(&l->control_fd);
	(void)sd_event_unref(l->event);
	free(l);
	return NULL;
}
