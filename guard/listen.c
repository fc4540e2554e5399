// SPDX-License-Identifier: MIT
#include "guard/listen.h"

#include "boot/io.h"
#include "boot/sys.h"
#include "guard/device.h"
#include "guard/job.h"
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
#define CLOSE_USEC	 (SEC / 2) /* for descriptors that somebody sends */
#define NOBODY		 ((uid_t)-1)

#define IN_NEAREST (IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)
#define IN_PARENT  (IN_NEAREST | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB)

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
	bool failed; /* to open the socket, and it was reported */
	int notify_fd;
	uid_t owner; /* of the socket's file */
	sd_event_source *notify_source, *marker_source;
	bool marker_far; /* its directory is not there yet: one above it is watched */
	struct job *closing;
};

/* ---- the door ---------------------------------------------------------------------------- */

static char *notify_path(const struct listen *l)
{
	return strf("%s/notify", l->spec.dir);
}

/* Root's, until it is known whose it has to be. */
static int bind_notify(const struct listen *l, int fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", l->spec.dir);
	mode_t mask;
	int r;

	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	(void)unlink(address.sun_path);
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	(void)umask(mask);
	return r;
}

/*
 * Whoever cannot open it can neither fill its queue nor send what has to be closed: the kiosk's
 * account and root. While that is not known, root alone.
 */
static void set_owner(struct listen *l)
{
	uid_t owner = l->kiosk_uid == NOBODY ? 0 : l->kiosk_uid;
	_cleanup_free_ char *path = notify_path(l);

	if (l->notify_fd < 0 || owner == l->owner || !path)
		return;
	if (lchown(path, owner, (gid_t)-1) < 0)
		guard_log(LOG_LEVEL_WARNING, "%s: %s", path, strerror(errno));
	else
		l->owner = owner;
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

/* Also of an updater that is no part of the kiosk's unit. */
static bool may_ask(const struct listen *l, const struct ucred *who)
{
	return who->uid == 0 || (l->kiosk_uid != NOBODY && who->uid == l->kiosk_uid);
}

static bool get_sender(const struct msghdr *msg, struct ucred *ret)
{
	const struct cmsghdr *c = CMSG_FIRSTHDR(msg);

	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS ||
	    c->cmsg_len != CMSG_LEN(sizeof(*ret)))
		return false;
	memcpy(ret, CMSG_DATA(c), sizeof(*ret));
	return true;
}

static void take(struct listen *l, const struct notify *n, const struct ucred *who)
{
	uint64_t started = 0;

	if (n->asks_trial && may_ask(l, who)) {
		l->ops->try(l->userdata);
		return;
	}
	if (!n->asks_trial && may_beat(l, who))
		started = process_started(who->pid); /* 0: it is gone */
	if (started == 0) {
		l->refused++;
		return;
	}
	l->beats++;
	l->ops->beat(l->userdata, n, started);
}

static int drop_one(void *argument, int fd)
{
	(void)argument, (void)fd;
	return recv(JOB_WITH_FD, NULL, 0, MSG_DONTWAIT) < 0;
}

static void on_dropped(void *userdata, const struct job_result *result)
{
	struct listen *l = userdata;

	(void)result; /* If it is still there, it is seen again. */
	l->closing = NULL;
	(void)sd_event_source_set_enabled(l->notify_source, SD_EVENT_ON);
}

/*
 * Takes a datagram off the socket that brought descriptors. Nobody has them then, and a close may
 * take as long as the sender likes: so not here. Nothing else is read meanwhile, or the last close
 * could be ours after all.
 */
static void drop_elsewhere(struct listen *l)
{
	const struct job_spec spec = { .run = drop_one,
				       .with_fd = l->notify_fd,
				       .timeout_usec = CLOSE_USEC };

	(void)sd_event_source_set_enabled(l->notify_source, SD_EVENT_OFF);
	if (job_start(l->event, &spec, on_dropped, l, &l->closing) < 0)
		l->closing = NULL; /* see listen_tick() */
}

/*
 * False: there is no more to be read now. A datagram is taken off the socket only after its sender
 * was looked at: who waits for that (bf-guard beat, systemd-notify) still runs meanwhile. There is
 * room for credentials only, which the kernel puts first: it says so when there are descriptors.
 */
static bool receive(struct listen *l)
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
	struct ucred who;

	if (n < 0)
		return errno == EINTR;
	if (!(msg.msg_flags & MSG_TRUNC) && notify_parse(buf, (size_t)n, &notify) >= 0 &&
	    get_sender(&msg, &who))
		take(l, &notify, &who);
	else
		l->refused++;
	if (msg.msg_flags & MSG_CTRUNC) {
		drop_elsewhere(l);
		return false;
	}
	(void)recv(l->notify_fd, buf, 0, MSG_DONTWAIT);
	return true;
}

static int on_notify(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct listen *l = userdata;

	(void)s, (void)fd, (void)revents;
	for (unsigned i = 0; i < DATAGRAMS_A_TURN && receive(l); i++)
		continue;
	l->ops->heard(l->userdata);
	return 0;
}

static int open_notify(struct listen *l)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, r;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		return -errno;
	r = io_mkdirat(AT_FDCWD, l->spec.dir, 0755);
	if (r >= 0)
		r = bind_notify(l, fd);
	if (r >= 0)
		r = sd_event_add_io(l->event, &l->notify_source, fd, EPOLLIN, on_notify, l);
	/* A kiosk in a loop keeps itself waiting, not the guard. */
	if (r >= 0)
		r = sd_event_source_set_ratelimit(l->notify_source, SEC, TURNS_A_SECOND);
	if (r < 0) {
		l->notify_source = sd_event_source_disable_unref(l->notify_source);
		return r;
	}
	l->owner = 0;
	l->notify_fd = TAKE_FD(fd);
	return 0;
}

/* ---- the marker file ------------------------------------------------------------------- */

static void check_marker(struct listen *l);

static int on_marker(sd_event_source *s, const struct inotify_event *event, void *userdata)
{
	struct listen *l = userdata;

	(void)s;
	/* Only then: a watch that is made anew has had no events yet, and so no limit. */
	if (l->marker_far || event->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF))
		l->marker_source = sd_event_source_disable_unref(l->marker_source);
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
			l->marker_far = nearest;
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
	if (!l->marker_source)
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

bool listen_has_account(const struct listen *l)
{
	return !*l->spec.user || l->kiosk_uid != NOBODY;
}

static uid_t find_account(const char *name)
{
	const struct passwd *user = getpwnam(name);
	uint32_t number;

	if (user)
		return user->pw_uid;
	return parse_u32(name, 10, &number) == 0 ? number : NOBODY;
}

static void set_account(struct listen *l, uid_t uid)
{
	l->kiosk_uid = uid;
	set_owner(l);
	check_marker(l);
}

void listen_set_kiosk(struct listen *l, const char *unit, const struct kiosk_properties *p)
{
	uid_t uid = p->uid;

	l->unit = unit;
	l->main_pid = (pid_t)p->main_pid;
	/* While it does not run, so that its first word is heard; one of DynamicUser= is nobody's.
	 */
	if (uid == NOBODY)
		uid = *p->user ? find_account(p->user) : 0;
	set_account(l, *l->spec.user ? l->kiosk_uid : uid);
}

void listen_tick(struct listen *l)
{
	int r = 0;

	if (*l->spec.user && l->kiosk_uid == NOBODY)
		set_account(l, find_account(l->spec.user));
	/* Without it the unit and the marker are still watched. */
	if (l->notify_fd < 0)
		r = open_notify(l);
	if (r < 0 && !l->failed)
		guard_log(LOG_LEVEL_WARNING, "%s: no heartbeat can be heard: %s", l->spec.dir,
			  strerror(-r));
	l->failed = r < 0;
	set_owner(l);
	if (l->notify_source && !l->closing)
		(void)sd_event_source_set_enabled(l->notify_source, SD_EVENT_ON);
}

uint64_t listen_beats(const struct listen *l)
{
	return l->beats;
}

uint64_t listen_refused(const struct listen *l)
{
	return l->refused;
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
	l->notify_fd = -1;
	listen_tick(l);
	if (*l->spec.user && l->kiosk_uid == NOBODY)
		guard_log(LOG_LEVEL_WARNING,
			  "there is no user %s yet: its heartbeats are not taken", l->spec.user);
	check_marker(l);
	*ret = l;
	return 0;
}

struct listen *listen_free(struct listen *l)
{
	char byte;

	if (!l)
		return NULL;
	job_cancel(l->closing);
	(void)sd_event_source_disable_unref(l->notify_source);
	(void)sd_event_source_disable_unref(l->marker_source);
	/* What waits in it may bring descriptors. Those are left to the end of the process, in
	 * which no close waits (SO_LINGER). */
	if (l->notify_fd >= 0 && shutdown(l->notify_fd, SHUT_RD) == 0 &&
	    recv(l->notify_fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT) < 0)
		close_p(&l->notify_fd);
	(void)sd_event_unref(l->event);
	free(l);
	return NULL;
}
