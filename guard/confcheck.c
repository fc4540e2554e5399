// SPDX-License-Identifier: MIT
#include "guard/confcheck.h"

#include "boot/sys.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#define PASSWD_MAX 1048576

struct confcheck {
	const struct config *config;
	int root_fd;
	config_warn_fn warn;
	void *userdata;
};

static void complain(const struct confcheck *c, const struct config_place *place, const char *cure,
		     const char *fmt, ...) _printf_(4, 5);
static void complain(const struct confcheck *c, const struct config_place *place, const char *cure,
		     const char *fmt, ...)
{
	char text[CONFIG_NAME_MAX + 128];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (*place->file)
		c->warn(c->userdata, place->file, place->line, text, cure);
	else
		c->warn(c->userdata, "etc/bf-guard.conf", 0, text, cure);
}

/* ---- the unit --------------------------------------------------------------- */

enum unit_state { UNIT_NONE, UNIT_THERE, UNIT_MASKED };

/* systemd.unit(5), "Unit File Load Path"; what generators make of other files comes last. */
static const struct unit_place {
	const char *dir, *instead; /* .instead: of ".service" */
} unit_places[] = {
	{ "etc/systemd/system", ".service" },
	{ "run/systemd/system", ".service" },
	{ "usr/local/lib/systemd/system", ".service" },
	{ "usr/lib/systemd/system", ".service" },
	{ "lib/systemd/system", ".service" },
	{ "etc/containers/systemd", ".container" },
	{ "usr/share/containers/systemd", ".container" },
	{ "etc/init.d", "" },
};

/* An empty file masks a unit as a link to /dev/null does. */
static enum unit_state look_at(const struct confcheck *c, const char *dir, const char *name)
{
	_cleanup_close_ int dir_fd = sys_open_in_root(c->root_fd, dir, O_PATH | O_DIRECTORY, 0);
	_cleanup_free_ char *path = strf("%s/%s", dir, name);
	_cleanup_close_ int fd = -1;
	char target[PATH_MAX];
	struct stat st;

	if (dir_fd < 0 || !path)
		return UNIT_NONE;
	if (sys_readlinkat(dir_fd, name, target, sizeof(target)) >= 0 && streq(target, "/dev/null"))
		return UNIT_MASKED;
	fd = sys_open_in_root(c->root_fd, path, O_PATH, 0);
	if (fd < 0 || sys_fstat(fd, &st) < 0)
		return UNIT_NONE;
	return S_ISREG(st.st_mode) && st.st_size > 0 ? UNIT_THERE : UNIT_MASKED;
}

static enum unit_state find_file(const struct confcheck *c, int len, const char *unit)
{
	for (size_t i = 0; i < ARRAY_SIZE(unit_places); i++) {
		_cleanup_free_ char *name = strf("%.*s%s", len, unit, unit_places[i].instead);
		enum unit_state state = name ? look_at(c, unit_places[i].dir, name) : UNIT_NONE;

		if (state != UNIT_NONE)
			return state;
	}
	return UNIT_NONE;
}

/* An instance may have a file of its own; else it is of its template, NAME@. */
static enum unit_state find_unit(const struct confcheck *c, const char *unit)
{
	int len = (int)(strlen(unit) - strlen(".service"));
	enum unit_state state = find_file(c, len, unit);
	int template = (int)strcspn(unit, "@") + 1;

	return state == UNIT_NONE && template <len ? find_file(c, template, unit) : state;
}

static void check_unit(const struct confcheck *c)
{
	const char *unit = c->config->unit;

	switch (find_unit(c, unit)) {
	case UNIT_THERE:
		break;
	case UNIT_NONE:
		complain(c, &c->config->unit_at, "Install the kiosk, or name its unit with unit=.",
			 "The unit %s is nowhere in this root: there is no kiosk to judge.", unit);
		break;
	case UNIT_MASKED:
		complain(c, &c->config->unit_at,
			 "Unmask it; or, without a kiosk, mask bf-guard.service, too.",
			 "The unit %s is masked: there is no kiosk to judge.", unit);
		break;
	}
}

/* ---- the account, the marker ------------------------------------------------- */

static void check_user(const struct confcheck *c)
{
	_cleanup_free_ char *passwd = NULL, *entry = strf("%s:", c->config->user);
	size_t len;

	if (!*c->config->user || !entry)
		return;
	if (config_read(c->root_fd, "etc/passwd", PASSWD_MAX, &passwd, &len) < 0)
		passwd = NULL;
	for (const char *line = passwd; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (startswith(line, entry))
			return;
	}
	complain(c, &c->config->user_at, "Add the account, or leave user= out.",
		 "The account %s is not in /etc/passwd: no heartbeat would be taken.",
		 c->config->user);
}

/* On a disk one that an earlier boot wrote would be there before the kiosk is; where everybody may
 * write, somebody else's may be. */
static void check_marker(const struct confcheck *c)
{
	const char *marker = c->config->marker;

	if (*marker && !startswith(marker, "/run/"))
		complain(c, &c->config->marker_at,
			 "Put it below /run, by a path without symbolic links.",
			 "The marker %s is not below /run: it might not count, or be taken by "
			 "others.",
			 marker);
}

static void check_ages(const struct confcheck *c, struct config *config)
{
	static const struct config_place anywhere;
	char what[CONFIG_WHAT_MAX];
	const char *cure;

	while (config_check_ages(config, what, &cure))
		complain(c, &anywhere, cure, "%s", what);
}

void confcheck(struct config *ret, int root_fd, config_warn_fn warn, void *userdata)
{
	const struct confcheck c = {
		.config = ret, .root_fd = root_fd, .warn = warn, .userdata = userdata
	};

	config_init(ret);
	config_load(ret, root_fd, warn, userdata);
	check_unit(&c);
	check_user(&c);
	check_marker(&c);
	check_ages(&c, ret);
}
