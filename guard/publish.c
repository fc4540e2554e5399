// SPDX-License-Identifier: MIT
#include "guard/publish.h"

#include "boot/io.h"
#include "boot/sys.h"
#include "guard/log.h"

#include <fcntl.h>
#include <unistd.h>

#define PAUSE_USEC 200000 /* between two times */
#define TEXT_MAX   131072 /* bytes: far more than the most checks and their names */
#define TRIES	   10	  /* of a reader whose file is replaced while it looks */

struct file {
	const char *name;
	int fd; /* holds the lock; -1: what is there is not what is so */
	char *text;
};

struct publish {
	sd_event *event;
	sd_event_source *timer;
	const char *dir;
	publish_text_fn text;
	void *userdata;
	struct file files[2]; /* for people, for programs */
	uint64_t next;	      /* CLOCK_BOOTTIME: not before */
	bool failed;	      /* and was reported */
};

static struct flock whole_file(short type)
{
	return (struct flock) { .l_type = type, .l_whence = SEEK_SET };
}

/* Nobody else can open it before it has its lock. The descriptor that holds it. */
static int write_locked(const char *path, const char *text)
{
	struct flock lock = whole_file(F_WRLCK);
	_cleanup_close_ int fd = -1;
	int r;

	r = sys_unlinkat(AT_FDCWD, path, 0);
	if (r < 0 && r != -ENOENT)
		return r;
	fd = sys_open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	if (fcntl(fd, F_SETLK, &lock) < 0)
		return -errno;
	r = io_write(fd, text, strlen(text));
	if (r >= 0)
		r = sys_fchmod(fd, 0644);
	return r < 0 ? r : TAKE_FD(fd);
}

static int replace(const char *dir, const char *name, const char *text)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, name), *fresh = strf("%s/.%s", dir, name);
	_cleanup_close_ int fd = -1;
	int r;

	if (!path || !fresh || !text)
		return -ENOMEM;
	fd = write_locked(fresh, text);
	if (fd >= 0 && rename(fresh, path) == 0)
		return TAKE_FD(fd);
	r = fd < 0 ? fd : -errno;
	/* Where memory is short it would take some. */
	(void)sys_unlinkat(AT_FDCWD, fresh, 0);
	return r;
}

static int publish_file(struct publish *p, struct file *f, bool json)
{
	_cleanup_free_ char *text = p->text(p->userdata, json);
	int fd;

	if (f->fd >= 0 && text && f->text && streq(text, f->text))
		return 0;
	fd = replace(p->dir, f->name, text);
	/* In this order a reader finds one with a lock, or that its own is not the last one. */
	close_p(&f->fd);
	f->fd = fd < 0 ? -1 : fd;
	free(f->text);
	f->text = TAKE_PTR(text);
	return fd < 0 ? fd : 0;
}

static uint64_t boottime(const struct publish *p)
{
	uint64_t now = 0;

	(void)sd_event_now(p->event, CLOCK_BOOTTIME, &now);
	return now;
}

static void publish_now(struct publish *p)
{
	int r = 0;

	p->next = boottime(p) + PAUSE_USEC;
	for (size_t i = 0; i < ARRAY_SIZE(p->files); i++) {
		int one = publish_file(p, &p->files[i], streq(p->files[i].name, PUBLISH_JSON));

		r = r < 0 ? r : one;
	}
	if (r < 0 && !p->failed)
		guard_log(LOG_LEVEL_WARNING, "%s: the status cannot be published: %s", p->dir,
			  strerror(-r));
	p->failed = r < 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct publish *p = userdata;

	(void)s, (void)usec;
	p->timer = sd_event_source_disable_unref(p->timer);
	publish_now(p);
	return 0;
}

void publish_changed(struct publish *p)
{
	if (p->timer)
		return;
	if (boottime(p) >= p->next ||
	    sd_event_add_time(p->event, &p->timer, CLOCK_BOOTTIME, p->next, 1000, on_timer, p) < 0)
		publish_now(p);
}

int publish_new(struct publish **ret, sd_event *event, const char *dir, publish_text_fn text,
		void *userdata)
{
	struct publish *p = malloc(sizeof(*p));

	if (!p)
		return -ENOMEM;
	*p = (struct publish) { .event = sd_event_ref(event),
				.dir = dir,
				.text = text,
				.userdata = userdata,
				.files = { { PUBLISH_TEXT, -1, NULL },
					   { PUBLISH_JSON, -1, NULL } } };
	*ret = p;
	return 0;
}

struct publish *publish_free(struct publish *p)
{
	if (!p)
		return NULL;
	(void)sd_event_source_disable_unref(p->timer);
	for (size_t i = 0; i < ARRAY_SIZE(p->files); i++) {
		close_p(&p->files[i].fd);
		free(p->files[i].text);
	}
	(void)sd_event_unref(p->event);
	free(p);
	return NULL;
}

/* ---- a reader ------------------------------------------------------------------------------ */

/* Is it no longer the file of that name? */
static bool is_replaced(int fd, const char *path)
{
	struct stat mine, now;

	return sys_fstat(fd, &mine) == 0 && sys_fstatat(AT_FDCWD, path, &now, 0) == 0 &&
	       (mine.st_ino != now.st_ino || mine.st_dev != now.st_dev);
}

static int read_once(const char *path, char *buf, bool *ret_replaced)
{
	_cleanup_close_ int fd = sys_open(path, O_RDONLY, 0);
	struct flock lock = whole_file(F_RDLCK);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = io_read(fd, buf, TEXT_MAX - 1);
	if (n < 0)
		return (int)n;
	buf[n] = '\0';
	if (fcntl(fd, F_GETLK, &lock) < 0)
		return -errno;
	*ret_replaced = lock.l_type == F_UNLCK && is_replaced(fd, path);
	return lock.l_type == F_UNLCK ? PUBLISHED_OLD : PUBLISHED_CURRENT;
}

int publish_read(const char *dir, const char *name, char **ret)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, name), *buf = malloc(TEXT_MAX);
	bool replaced = true;
	int r = -ENOMEM;

	for (unsigned i = 0; path && buf && replaced && i < TRIES; i++) {
		replaced = false;
		r = read_once(path, buf, &replaced);
	}
	if (r >= 0)
		*ret = TAKE_PTR(buf);
	return r;
}
