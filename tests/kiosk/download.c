// SPDX-License-Identifier: MIT
#include "tests/kiosk/download.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "boot/io.h"
#include "tests/kiosk/http.h"
#include "tests/kiosk/sha256.h"

#define PAUSE_MAX_MSEC (60 * 1000)
#define ATTEMPTS_MAX   1000 /* however many of them brought a byte */

struct transfer {
	const struct download *d;
	int dir;
	int fd;
	uint64_t have;		   /* bytes in the part */
	bool begun;		   /* this response was looked at */
	char part[SHA256_HEX + 8]; /* names in dir */
	char whole[SHA256_HEX + 8];
	char tag[SHA256_HEX + 8];
	char etag[HTTP_ETAG_MAX + 1]; /* what the part is of; "" unknown: not to be continued */
};

/* Only what is of bundle @keep stays. */
static void clean(int at, const char *keep)
{
	int fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		const char *end = strrchr(entry->d_name, '.');

		if (!end || strspn(entry->d_name, "0123456789abcdef") != SHA256_HEX ||
		    end != entry->d_name + SHA256_HEX ||
		    strncmp(entry->d_name, keep, SHA256_HEX) == 0)
			continue;
		if (streq(end, ".part") || streq(end, ".etag") || streq(end, ".raucb"))
			(void)unlinkat(at, entry->d_name, 0);
	}
	if (dir)
		(void)closedir(dir);
}

static int forget(struct transfer *t)
{
	(void)unlinkat(t->dir, t->tag, 0);
	t->etag[0] = '\0';
	t->have = 0;
	return ftruncate(t->fd, 0) < 0 ? -errno : 0;
}

/* The tag is written before the first byte: bytes without one are never continued. */
static int remember(struct transfer *t, const char *etag)
{
	_cleanup_close_ int fd = -1;
	int r;

	r = forget(t);
	if (r < 0 || etag[0] == '\0')
		return r;
	fd = openat(t->dir, t->tag, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	r = io_write(fd, etag, strlen(etag));
	if (r == 0)
		(void)strcpy(t->etag, etag);
	return r;
}

static void recall(struct transfer *t)
{
	_cleanup_close_ int fd = openat(t->dir, t->tag, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = fd >= 0 ? io_read(fd, t->etag, sizeof(t->etag) - 1) : 0;

	t->etag[n > 0 ? n : 0] = '\0';
	/* It goes into a request: one line, as it came. */
	for (const char *c = t->etag; *c; c++) {
		if (*c < ' ' || *c > '~')
			t->etag[0] = '\0';
	}
}

/* The first piece of a response: does it go on where the part ends? */
static int begin(struct transfer *t, const struct http_response *head)
{
	if (head->status == 206) {
		if (!head->has_range || head->start != t->have)
			return -EPROTO;
		/* A server that does not know If-Range: it went on with another file. */
		if (head->etag[0] != '\0' && !streq(head->etag, t->etag)) {
			int r = forget(t);
			return r < 0 ? r : -ESTALE;
		}
		return head->size == t->d->size ? 0 : -EBADMSG;
	}
	if (head->has_length && head->length != t->d->size)
		return -EBADMSG;
	return remember(t, head->etag);
}

static int take(void *arg, const struct http_response *head, const void *data, size_t len)
{
	struct transfer *t = arg;
	int r;

	/* The page that comes with an error is nobody's bundle. */
	if (head->status != 200 && head->status != 206)
		return 0;
	if (!t->begun) {
		r = begin(t, head);
		if (r < 0)
			return r;
		t->begun = true;
	}
	if (len > t->d->size - t->have)
		return -EBADMSG;
	r = lseek(t->fd, (off_t)t->have, SEEK_SET) < 0 ? -errno : io_write(t->fd, data, len);
	if (r == 0)
		t->have += len;
	return r;
}

/* One request. 0: it ended as it should, and more may be wanted all the same. */
static int attempt(struct transfer *t, char *why)
{
	struct http_response head = { 0 };
	const struct http_request request = {
		.url = t->d->url,
		.from = t->have,
		.etag = t->etag,
		.max_body = t->d->size,
		.quiet_sec = t->d->quiet_sec,
		.total_sec = t->d->total_sec,
	};
	int r;

	t->begun = false;
	r = http_send(&request, take, t, &head);
	if (r == -EBADMSG || r == -EMSGSIZE) {
		(void)snprintf(why, DOWNLOAD_WHY_MAX, "it is not as long as the offer says");
		return -EBADMSG;
	}
	if (r < 0) {
		(void)snprintf(why, DOWNLOAD_WHY_MAX, "after %llu of %llu bytes: %s",
			       (unsigned long long)t->have, (unsigned long long)t->d->size,
			       strerror(-r));
		return r;
	}
	if (head.status == 416)
		r = forget(t);
	if (head.status != 200 && head.status != 206) {
		(void)snprintf(why, DOWNLOAD_WHY_MAX, "the server answered %d", head.status);
		return r < 0 ? r : -EREMOTEIO;
	}
	return 0;
}

static void pause_before(unsigned failures, unsigned first_msec)
{
	unsigned msec = first_msec;

	while (failures-- > 1 && msec < PAUSE_MAX_MSEC)
		msec *= 2;
	(void)nanosleep(&(struct timespec) { .tv_sec = msec / 1000,
					     .tv_nsec = (long)(msec % 1000) * 1000000 },
			NULL);
}

/* Again and again, as long as bytes come. */
static int fetch(struct transfer *t, char *why)
{
	unsigned failures = 0, attempts = 0;

	while (t->have < t->d->size) {
		uint64_t before = t->have;
		int r;

		/* Bytes of an unknown origin are of no use. */
		if (t->etag[0] == '\0' && t->have > 0) {
			r = forget(t);
			if (r < 0)
				return r;
			before = 0;
		}
		r = attempt(t, why);
		if (r == -EBADMSG || r == -ENOSPC || r == -EDQUOT)
			return r;
		/* Starting from the beginning again and again is no progress. */
		failures = t->have > before ? (t->etag[0] ? 0 : failures + 1) : failures + 1;
		if (t->have == t->d->size)
			break;
		if (failures >= t->d->tries || ++attempts == ATTEMPTS_MAX)
			return r < 0 ? r : -ECONNRESET;
		pause_before(failures > 0 ? failures : 1, t->d->pause_msec);
	}
	return 0;
}

/* Of what is on the disk, not of what came in. */
static int check(int fd, const char *sha256)
{
	_cleanup_free_ char *piece = malloc(64 * 1024);
	uint8_t digest[SHA256_SIZE];
	char hex[SHA256_HEX + 1];
	struct sha256 s;
	off_t at = 0;

	if (!piece)
		return -ENOMEM;
	sha256_init(&s);
	for (;;) {
		ssize_t n = pread(fd, piece, 64 * 1024, at);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		sha256_add(&s, piece, (size_t)n);
		at += n;
	}
	sha256_end(&s, digest);
	sha256_hex(digest, hex);
	return streq(hex, sha256) ? 0 : -EBADMSG;
}

/* A whole file from before: still whole? */
static bool is_there(const struct transfer *t)
{
	_cleanup_close_ int fd = openat(t->dir, t->whole, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       (uint64_t)st.st_size == t->d->size && check(fd, t->d->sha256) == 0;
}

static int open_part(struct transfer *t)
{
	struct stat st;

	t->fd = openat(t->dir, t->part, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (t->fd < 0 && errno == EACCES && unlinkat(t->dir, t->part, 0) == 0)
		t->fd = openat(t->dir, t->part, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (t->fd < 0)
		return -errno;
	if (fstat(t->fd, &st) < 0)
		return -errno;
	recall(t);
	t->have = (uint64_t)st.st_size;
	/* Longer than the whole, or of what: nobody knows. */
	if (t->have > t->d->size || (t->have > 0 && t->etag[0] == '\0'))
		return forget(t);
	/* A full disk is told now, not after an hour; not every file system can. */
	if (fallocate(t->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)t->d->size) < 0 && errno == ENOSPC)
		return -ENOSPC;
	return 0;
}

static int finish(struct transfer *t, char *why)
{
	int r = fsync(t->fd) < 0 ? -errno : check(t->fd, t->d->sha256);

	if (r == -EBADMSG) {
		(void)snprintf(why, DOWNLOAD_WHY_MAX, "its hash is not the one of the offer");
		(void)unlinkat(t->dir, t->part, 0);
		(void)unlinkat(t->dir, t->tag, 0);
		return r;
	}
	if (r == 0 && renameat(t->dir, t->part, t->dir, t->whole) < 0)
		r = -errno;
	if (r < 0)
		return r;
	(void)unlinkat(t->dir, t->tag, 0);
	return fsync(t->dir) < 0 ? -errno : 0;
}

static int get(struct transfer *t, char *why)
{
	int r;

	clean(t->dir, t->d->sha256);
	if (is_there(t))
		return 0;
	(void)unlinkat(t->dir, t->whole, 0);
	r = open_part(t);
	if (r == 0)
		r = fetch(t, why);
	if (r == 0)
		return finish(t, why);
	if (r == -EBADMSG)
		(void)forget(t);
	/* A part that cannot grow keeps the space from everybody else. */
	if (r == -ENOSPC)
		(void)unlinkat(t->dir, t->part, 0);
	return r;
}

int download(const struct download *d, char **ret_path, char why[static DOWNLOAD_WHY_MAX])
{
	_cleanup_free_ char *path = strf("%s/%s.raucb", d->directory, d->sha256);
	_cleanup_close_ int dir = open(d->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct transfer t = { .d = d, .dir = dir, .fd = -1 };
	int r;

	why[0] = '\0';
	if (!path)
		return -ENOMEM;
	(void)snprintf(t.part, sizeof(t.part), "%.64s.part", d->sha256);
	(void)snprintf(t.whole, sizeof(t.whole), "%.64s.raucb", d->sha256);
	(void)snprintf(t.tag, sizeof(t.tag), "%.64s.etag", d->sha256);
	r = dir < 0 ? -errno : get(&t, why);
	close_p(&t.fd);
	if (r < 0 && why[0] == '\0')
		(void)snprintf(why, DOWNLOAD_WHY_MAX, "%s: %s", d->directory, strerror(-r));
	if (r == 0)
		*ret_path = TAKE_PTR(path);
	return r;
}

void download_clean(const char *directory)
{
	_cleanup_close_ int dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir >= 0)
		clean(dir, "");
}
