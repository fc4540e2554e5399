// SPDX-License-Identifier: MIT
#include "tests/kiosk/update.h"

#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/kiosk/download.h"
#include "tests/kiosk/http.h"
#include "tests/kiosk/install.h"
#include "tests/kiosk/offer.h"

#define DOWNLOAD_TRIES 5
#define OFFER_SEC      30 /* the whole request */
#define ASK_TRIES      5
#define ASK_PAUSE_SEC  1

/* -- small files --------------------------------------------------------------------------- */

char *env_value(const char *path, const char *key)
{
	_cleanup_file_ FILE *f = fopen(path, "re");
	_cleanup_free_ char *line = NULL;
	char *found = NULL;
	size_t size = 0;

	while (f && getline(&line, &size, f) > 0) {
		const char *value = startswith(line, key);
		size_t len;

		if (!value || *value != '=')
			continue;
		value++;
		len = strcspn(value, "\n");
		if (len >= 2 && strchr("\"'", *value) && value[len - 1] == *value) {
			value++;
			len -= 2;
		}
		free(found);
		found = strf("%.*s", (int)len, value);
	}
	return found;
}

char *first_line(const char *path)
{
	_cleanup_file_ FILE *f = fopen(path, "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	if (!f || getline(&line, &size, f) <= 0)
		return NULL;
	line[strcspn(line, "\n")] = '\0';
	return TAKE_PTR(line);
}

/* Also when it is cut off: the old text or the new one. */
static int write_file(const char *path, const char *text)
{
	_cleanup_free_ char *work = strf("%s.new", path);
	_cleanup_file_ FILE *f = work ? fopen(work, "we") : NULL;

	if (!f)
		return work ? -errno : -ENOMEM;
	if (fputs(text, f) < 0 || fflush(f) != 0 || fsync(fileno(f)) < 0)
		return errno ? -errno : -EIO;
	return rename(work, path) < 0 ? -errno : 0;
}

/* -- what was tried ------------------------------------------------------------------------ */

/* STATE/kiosk-update. Lost: a bundle is installed once more, and RAUC's check has the last word. */
struct memory {
	char *path;
	uint32_t installs; /* begun, of the bundle on offer */
	bool installed;	   /* in this boot */
	char *refused;	   /* why; NULL: not refused */
};

static void memory_done(struct memory *m)
{
	free(m->path);
	free(m->refused);
}

static int memory_load(struct memory *m, const struct config *c, const struct offer *offer)
{
	_cleanup_free_ char *sha256 = NULL, *installs = NULL, *boot = NULL, *now = NULL;

	m->path = strf("%s/kiosk-update", c->state);
	if (!m->path)
		return -ENOMEM;
	sha256 = env_value(m->path, "sha256");
	if (!sha256 || !streq(sha256, offer->sha256))
		return 0;
	installs = env_value(m->path, "installs");
	if (!installs || parse_u32(installs, 10, &m->installs) < 0)
		m->installs = 0;
	boot = env_value(m->path, "boot");
	now = first_line(c->boot_id);
	m->installed = boot && now && streq(boot, now);
	m->refused = env_value(m->path, "refused");
	return 0;
}

static int memory_store(const struct memory *m, const struct config *c, const struct offer *offer)
{
	_cleanup_free_ char *boot = first_line(c->boot_id), *text = NULL;

	text = strf("sha256=%s\ninstalls=%u\n%s%s%s%s%s%s", offer->sha256, m->installs,
		    m->installed ? "boot=" : "", m->installed && boot ? boot : "",
		    m->installed ? "\n" : "", m->refused ? "refused=" : "",
		    m->refused ? m->refused : "", m->refused ? "\n" : "");
	return text ? write_file(m->path, text) : -ENOMEM;
}

/* -- the offer ----------------------------------------------------------------------------- */

struct document {
	char text[OFFER_DOCUMENT_MAX];
	size_t len;
};

static int take_document(void *arg, const struct http_response *head, const void *data, size_t len)
{
	struct document *d = arg;

	if (head->status != 200)
		return 0;
	if (len > sizeof(d->text) - d->len)
		return -EMSGSIZE;
	memcpy(d->text + d->len, data, len);
	d->len += len;
	return 0;
}

static int fetch_document(const struct config *c, const char *url, struct document *ret)
{
	const struct http_request request = {
		.url = url,
		.max_body = OFFER_DOCUMENT_MAX,
		.quiet_sec = c->quiet_sec,
		.total_sec = OFFER_SEC,
	};
	struct http_response head = { 0 };
	int r = http_send(&request, take_document, ret, &head);

	if (r < 0) {
		log_warning("update: %s: %s", url, strerror(-r));
		return r;
	}
	if (head.status != 200) {
		log_warning("update: %s: the server answered %d", url, head.status);
		return -EREMOTEIO;
	}
	return 0;
}

struct facts {
	char *id, *version, *roothash;
};

static void facts_done(struct facts *f)
{
	free(f->id);
	free(f->version);
	free(f->roothash);
}

/* roothash= of the kernel's command line, or "". */
static char *own_roothash(const char *path)
{
	_cleanup_free_ char *line = first_line(path);
	char *word, *rest = NULL, *found = NULL;

	for (word = line ? strtok_r(line, " ", &rest) : NULL; word;
	     word = strtok_r(NULL, " ", &rest)) {
		const char *value = startswith(word, "roothash=");

		if (value) {
			free(found);
			found = strf("%s", value);
		}
	}
	for (char *s = found; s && *s; s++)
		*s = (char)tolower((unsigned char)*s);
	return found ? found : strf("%s", "");
}

static int read_facts(const struct config *c, struct facts *f)
{
	f->id = c->device_id ? strf("%s", c->device_id) : first_line("/etc/machine-id");
	f->version = env_value(c->os_release, "IMAGE_VERSION");
	f->roothash = own_roothash(c->cmdline);
	if (!f->id || *f->id == '\0' || !f->version || !f->roothash) {
		log_warning("update: no device id, or no IMAGE_VERSION in %s: not asking",
			    c->os_release);
		return -ENODATA;
	}
	return 0;
}

/* enum offer_answer; for OFFER_TAKE, offer->url is absolute. */
static int ask_server(const struct config *c, struct offer *offer)
{
	_cleanup_free_ struct document *d = calloc(1, sizeof(*d));
	_cleanup_free_ char *url = strf("%s/os/%s.json", c->server, c->channel), *absolute = NULL;
	_cleanup_(facts_done) struct facts f = { 0 };
	struct offer_device device;
	char why[OFFER_WHY_MAX];
	int r;

	if (!d || !url)
		return -ENOMEM;
	r = read_facts(c, &f);
	if (r == 0)
		r = fetch_document(c, url, d);
	if (r < 0)
		return r;
	device = (struct offer_device) { f.id,	  c->group,  c->compatible,
					 c->arch, f.version, f.roothash };
	r = offer_read(d->text, d->len, &device, offer, why);
	if (r < 0)
		log_warning("update: the offer at %s cannot be used: %s", url, why);
	else
		log_info("update: %s runs %s, offer: %s%s%s", c->compatible, f.version,
			 offer_answer_name((enum offer_answer)r), r == OFFER_TAKE ? " " : "",
			 r == OFFER_TAKE ? offer->version : "");
	if (r != OFFER_TAKE)
		return r;
	absolute = http_resolve(url, offer->url);
	if (!absolute || strlen(absolute) > OFFER_URL_MAX)
		return -ENAMETOOLONG;
	(void)strcpy(offer->url, absolute);
	return OFFER_TAKE;
}

/* -- what follows -------------------------------------------------------------------------- */

static int get_bundle(const struct config *c, const struct offer *offer, char **ret)
{
	const struct download d = {
		.url = offer->url,
		.directory = c->cache,
		.sha256 = offer->sha256,
		.size = offer->size,
		.quiet_sec = c->quiet_sec,
		.total_sec = c->transfer_sec,
		.tries = DOWNLOAD_TRIES,
		.pause_msec = c->pause_msec,
	};
	char why[DOWNLOAD_WHY_MAX];
	int r = download(&d, ret, why);

	if (r < 0)
		log_warning("update: downloading %s failed: %s", offer->url, why);
	else
		log_info("update: downloaded %s", *ret);
	return r;
}

/*
 * With one retry, where a retry can help. Counted before it begins: an installation that takes the
 * device down counts, one that only fails does not.
 */
static int install(const struct config *c, const struct offer *offer, struct memory *m,
		   const char *path)
{
	const struct install in = {
		.path = path,
		.compatible = c->compatible,
		.version = offer->version,
		.refusal = c->refusal,
		.busy_sec = c->busy_sec,
		.total_sec = c->install_sec,
	};
	char why[INSTALL_WHY_MAX] = "";
	int r;

	m->installs++;
	r = memory_store(m, c, offer);
	if (r < 0) {
		log_warning("update: %s: %s: not installing", m->path, strerror(-r));
		return r;
	}
	for (int turn = 0; turn < 2; turn++) {
		r = install_bundle(&in, why);
		if (r == 0 || r == -EKEYREJECTED || r == -EAGAIN)
			break;
		log_warning("update: %s", why);
	}
	if (r == -EKEYREJECTED || r == -EAGAIN)
		log_warning("update: %s", why);
	if (r == -EKEYREJECTED) {
		m->refused = strf("%s", why);
	}
	m->installed = r == 0;
	if (r < 0)
		m->installs--;
	else
		log_notice("update: RAUC installed %s", offer->version);
	(void)!memory_store(m, c, offer);
	return r;
}

/* GUARD try: 0 when the guard agreed. */
static int ask_once(const struct config *c)
{
	char *argv[] = { (char *)(uintptr_t)c->guard, (char[]) { "try" }, NULL };
	int status = 0, r;
	pid_t pid;

	r = posix_spawnp(&pid, c->guard, NULL, NULL, argv, environ);
	if (r != 0)
		return -r;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EAGAIN;
}

static int ask_for_trial(const struct config *c)
{
	int r = 0;

	for (int turn = 0; turn < ASK_TRIES; turn++) {
		r = ask_once(c);
		if (r == 0) {
			log_notice("update: asked for the trial boot");
			return UPDATE_ASKED;
		}
		(void)nanosleep(&(struct timespec) { .tv_sec = ASK_PAUSE_SEC }, NULL);
	}
	log_warning("update: \"%s try\" does not succeed: %s", c->guard, strerror(-r));
	return UPDATE_WAITING;
}

static int follow(const struct config *c, const struct offer *offer)
{
	_cleanup_(memory_done) struct memory m = { 0 };
	_cleanup_free_ char *path = NULL;
	int r = memory_load(&m, c, offer);

	if (r < 0)
		return r;
	if (m.refused) {
		log_info("update: %s was refused before: %s", offer->version, m.refused);
		return UPDATE_REFUSED;
	}
	if (m.installed)
		return ask_for_trial(c);
	if (m.installs >= UPDATE_INSTALLS_MAX) {
		log_info("update: %s was installed %u times and did not stay", offer->version,
			 m.installs);
		return UPDATE_REFUSED;
	}
	r = get_bundle(c, offer, &path);
	if (r == 0)
		r = install(c, offer, &m, path);
	if (r == -EKEYREJECTED)
		return UPDATE_REFUSED;
	return r < 0 ? r : ask_for_trial(c);
}

int update_once(const struct config *c)
{
	struct offer offer;
	int r = ask_server(c, &offer);

	if (r == OFFER_CURRENT)
		download_clean(c->cache);
	if (r < 0)
		return r;
	return r == OFFER_TAKE ? follow(c, &offer) : UPDATE_NOTHING;
}
