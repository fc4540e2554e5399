// SPDX-License-Identifier: MIT
/* The part of the checklist about the system: systemd, RAUC, D-Bus. */
#include "boot/tool/doctor.h"

#include "boot/ini.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>

#define RAUC_CONF	 "/etc/rauc/system.conf"
#define RAUC_BUS_NAME	 "de.pengutronix.rauc"
#define RAUC_OLDEST	 10800 /* 1.8, see version_number() */
#define RAUC_LINUX_6_19	 11501 /* older ones do not understand dm-verity's status there */
#define LINUX_6_19	 61900
#define PI_WATCHDOG_SEC	 15 /* all that the hardware counts by itself */
#define DEVELOPMENT_MARK "development only"
#define NAMES_MAX	 256

/* ---- kernel ------------------------------------------------------------------ */

void doctor_panic(struct doctor *d)
{
	_cleanup_free_ char *text = doctor_read("/proc/sys/kernel/panic");
	char value[16];

	if (!text || startswith(text, "0"))
		doctor_say(d, DOCTOR_FAULT, "panic",
			   "the kernel stays where it panics; put panic=10 on the command line");
	else if (!doctor_word(d->cmdline, "panic", value, sizeof(value)))
		doctor_say(d, DOCTOR_WARN, "panic",
			   "set by the system only; put panic=10 on the command line, too");
	else
		doctor_say(d, DOCTOR_OK, "panic", "reboot after %.*s s", (int)strcspn(text, "\n"),
			   text);
}

/* ---- systemd's configuration ---------------------------------------------------- */

/* Seconds of a systemd time span: "15", "15s", "1min 30s"; 0 off; -1 what we do not know. */
static long span_sec(const char *text)
{
	static const struct {
		const char *unit;
		long sec;
	} units[] = { { "", 1 },	 { "s", 1 },	{ "sec", 1 },	 { "second", 1 },
		      { "seconds", 1 },	 { "m", 60 },	{ "min", 60 },	 { "minute", 60 },
		      { "minutes", 60 }, { "h", 3600 }, { "hour", 3600 } };
	long total = 0;

	if (streq(text, "off") || streq(text, "0"))
		return 0;
	if (!isdigit((unsigned char)*text))
		return -1;
	while (*text) {
		size_t digits = strspn(text, "0123456789"), len, i;
		char number[8];
		uint32_t n;

		(void)snprintf(number, sizeof(number), "%.*s", (int)digits, text);
		if (digits >= sizeof(number) || parse_u32(number, 10, &n) < 0)
			return -1;
		text += digits + strspn(text + digits, " ");
		len = strspn(text, "abcdefghijklmnopqrstuvwxyz");
		for (i = 0; i < ARRAY_SIZE(units); i++)
			if (strlen(units[i].unit) == len && strncmp(units[i].unit, text, len) == 0)
				break;
		if (i == ARRAY_SIZE(units))
			return -1;
		total += (long)n * units[i].sec;
		text += len + strspn(text + len, " ");
	}
	return total;
}

/* The last word about Manager.@key in one file, kept in @ret. */
static void take_manager_key(const char *path, const char *key, char *ret, size_t size)
{
	_cleanup_free_ char *text = doctor_read(path);
	struct ini ini;

	if (!text)
		return;
	ini_start(&ini, text);
	while (ini_next(&ini))
		if (streq(ini.section, "Manager") && streq(ini.key, key))
			(void)snprintf(ret, size, "%s", ini.value);
}

static const char *const conf_dirs[] = { "/etc/systemd", "/run/systemd", "/usr/local/lib/systemd",
					 "/usr/lib/systemd" };

struct drop_ins {
	char **names;
	size_t count, next;
};

/*
 * All drop-ins by name; of several with one name only that in the first
 * directory counts (systemd-system.conf(5), "Configuration directories").
 */
static void take_drop_ins(struct drop_ins dirs[static ARRAY_SIZE(conf_dirs)], const char *key,
			  char *ret, size_t size)
{
	for (;;) {
		char name[NAME_MAX + 1] = "", path[NAME_MAX + 64] = "";

		for (size_t i = 0; i < ARRAY_SIZE(conf_dirs); i++) {
			const struct drop_ins *dir = &dirs[i];
			const char *here = dir->next < dir->count ? dir->names[dir->next] : NULL;

			if (!here || (*name && strcmp(here, name) >= 0))
				continue;
			(void)snprintf(name, sizeof(name), "%s", here);
			(void)snprintf(path, sizeof(path), "%s/system.conf.d/%s", conf_dirs[i],
				       here);
		}
		if (!*name)
			return;
		if (strlen(name) > 5 && streq(name + strlen(name) - 5, ".conf"))
			take_manager_key(path, key, ret, size);
		for (size_t i = 0; i < ARRAY_SIZE(conf_dirs); i++)
			if (dirs[i].next < dirs[i].count &&
			    streq(dirs[i].names[dirs[i].next], name))
				dirs[i].next++;
	}
}

/* What systemd uses for Manager.@key; "" when nobody says. */
static void manager_key(const char *key, char *ret, size_t size)
{
	struct drop_ins dirs[ARRAY_SIZE(conf_dirs)] = { 0 };

	*ret = '\0';
	for (size_t i = ARRAY_SIZE(conf_dirs); i-- > 0;) {
		char path[64];

		(void)snprintf(path, sizeof(path), "%s/system.conf", conf_dirs[i]);
		take_manager_key(path, key, ret, size);
	}
	for (size_t i = 0; i < ARRAY_SIZE(conf_dirs); i++) {
		_cleanup_close_ int fd = -1;
		char path[64];

		(void)snprintf(path, sizeof(path), "%s/system.conf.d", conf_dirs[i]);
		fd = sys_open(path, O_RDONLY | O_DIRECTORY, 0);
		if (fd >= 0 && sys_list(fd, NAMES_MAX, &dirs[i].names, &dirs[i].count) < 0)
			dirs[i].count = 0;
	}
	take_drop_ins(dirs, key, ret, size);
	for (size_t i = 0; i < ARRAY_SIZE(conf_dirs); i++)
		sys_names_free(dirs[i].names, dirs[i].count);
}

static void check_feeder(struct doctor *d)
{
	char value[32];
	long sec;

	manager_key("RuntimeWatchdogSec", value, sizeof(value));
	sec = span_sec(value);
	if (!*value || sec == 0)
		doctor_say(d, DOCTOR_FAULT, "watchdog",
			   "nobody feeds it: RuntimeWatchdogSec= is not set for systemd");
	else if (sec < 0)
		doctor_say(d, DOCTOR_WARN, "watchdog", "RuntimeWatchdogSec=%s: not understood",
			   value);
	else if (sec > PI_WATCHDOG_SEC)
		doctor_say(d, DOCTOR_WARN, "watchdog",
			   "RuntimeWatchdogSec=%s; a Raspberry Pi counts at most %d s", value,
			   PI_WATCHDOG_SEC);
	else
		doctor_say(d, DOCTOR_OK, "watchdog", "systemd feeds it, RuntimeWatchdogSec=%s",
			   value);
}

/* More than the driver takes is refused, and then nothing watches. */
static void check_shutdown(struct doctor *d)
{
	char value[32];
	long sec;

	manager_key("RebootWatchdogSec", value, sizeof(value));
	sec = span_sec(value);
	if (!*value)
		doctor_say(d, DOCTOR_WARN, "watchdog",
			   "RebootWatchdogSec= is not set: ten minutes for a shutdown that hangs, "
			   "or for ever");
	else if (sec == 0)
		doctor_say(d, DOCTOR_WARN, "watchdog",
			   "RebootWatchdogSec=%s: nothing ends a shutdown that hangs", value);
	else if (sec < 0)
		doctor_say(d, DOCTOR_WARN, "watchdog", "RebootWatchdogSec=%s: not understood",
			   value);
	else if (sec > PI_WATCHDOG_SEC)
		doctor_say(d, DOCTOR_WARN, "watchdog",
			   "RebootWatchdogSec=%s; a Raspberry Pi counts at most %d s", value,
			   PI_WATCHDOG_SEC);
	else
		doctor_say(d, DOCTOR_OK, "watchdog", "watches the shutdown, RebootWatchdogSec=%s",
			   value);
}

void doctor_watchdog(struct doctor *d)
{
	_cleanup_free_ char *timeout = doctor_read("/sys/class/watchdog/watchdog0/timeout");
	_cleanup_free_ char *state = doctor_read("/sys/class/watchdog/watchdog0/state");
	uint32_t sec;

	if (timeout)
		timeout[strcspn(timeout, "\n")] = '\0';
	if (!timeout || parse_u32(timeout, 10, &sec) < 0)
		doctor_say(d, DOCTOR_FAULT, "watchdog", "there is no watchdog0");
	else if (state && !startswith(state, "active"))
		doctor_say(d, DOCTOR_FAULT, "watchdog", "is not running");
	else
		doctor_say(d, sec > PI_WATCHDOG_SEC ? DOCTOR_WARN : DOCTOR_OK, "watchdog",
			   "resets after %u s%s", sec,
			   sec > PI_WATCHDOG_SEC ? "; a Raspberry Pi counts at most 15" : "");
	check_feeder(d);
	check_shutdown(d);
}

/* Whether the firmware did what config.txt asks for: then it says so to the kernel. */
void doctor_power_on(struct doctor *d)
{
	char sec[16];

	if (!d->fw.present || d->kernel_watchdog_sec == 0)
		return;
	if (doctor_word(d->cmdline, "watchdog.open_timeout", sec, sizeof(sec)))
		doctor_say(d, DOCTOR_OK, "watchdog", "the firmware gives the kernel %s s", sec);
	else
		doctor_say(
			d, DOCTOR_WARN, "watchdog",
			"the firmware did not watch the kernel start: no watchdog.open_timeout= on "
			"the command line; the EEPROM is too old for it");
}

/* ---- the screen ------------------------------------------------------------------ */

/* "tty0", "tty1": a console on the screen. "ttyAMA0", "ttyS0", "hvc0" are elsewhere. */
static bool is_screen(const char *console)
{
	const char *n = startswith(console, "tty");

	return n && isdigit((unsigned char)*n);
}

void doctor_consoles(struct doctor *d)
{
	_cleanup_free_ char *text = doctor_read("/proc/consoles");
	bool screen = false;

	if (!text)
		return;
	/* The name is the first word of a line. */
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
		screen = screen || is_screen(line);
	if (screen)
		doctor_say(d, DOCTOR_OK, "console", "the screen shows why a boot fails");
	else
		doctor_say(d, DOCTOR_WARN, "console",
			   "the screen shows no panic of the kernel; put console=tty1 on the "
			   "command line, before any other console=");
}

/* ---- units ------------------------------------------------------------------------- */

static bool is_wanted(const char *unit, const char *target)
{
	static const char *const dirs[] = { "/etc/systemd/system", "/usr/lib/systemd/system",
					    "/lib/systemd/system" };
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		_cleanup_free_ char *path = strf("%s/%s.wants/%s", dirs[i], target, unit);

		if (path && sys_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) >= 0)
			return true;
	}
	return false;
}

/* The first directory that has it counts; a link to /dev/null or an empty file masks it. */
static bool is_there(const char *unit)
{
	for (size_t i = 0; i < ARRAY_SIZE(conf_dirs); i++) {
		_cleanup_free_ char *path = strf("%s/system/%s", conf_dirs[i], unit);
		struct stat st;

		if (path && sys_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) >= 0)
			return sys_fstatat(AT_FDCWD, path, &st, 0) >= 0 && S_ISREG(st.st_mode) &&
			       st.st_size > 0;
	}
	return false;
}

/* Known by name; bf-mkimage looks into the image for more. */
static void check_committers(struct doctor *d)
{
	static const char *const units[] = { "rauc-mark-good.service",
					     "betterframe-rauc-mark-good.service" };

	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (is_there(units[i]))
			doctor_say(d, DOCTOR_FAULT, "unit",
				   "%s commits a slot without asking bf-guard; mask it", units[i]);
}

void doctor_units(struct doctor *d)
{
	/* As WantedBy= in hooks/systemd has it; tests/contract/test_rauc_units.py compares. */
	static const struct {
		const char *unit, *targets[4];
		enum verdict absent;
		const char *what_for;
	} rows[] = {
		{ "bf-boot-reconcile.service",
		  { "multi-user.target" },
		  DOCTOR_FAULT,
		  "counts and arms trials" },
		{ "bf-boot-arm.service",
		  { "reboot.target", "soft-reboot.target", "kexec.target" },
		  DOCTOR_FAULT,
		  "makes every reboot the trial" },
		{ "bf-boot-end.service",
		  { "reboot.target", "soft-reboot.target", "kexec.target" },
		  DOCTOR_WARN,
		  "ends a reboot that hangs" },
		{ "bf-guard.service",
		  { "sysinit.target", "emergency.target", "rescue.target" },
		  DOCTOR_WARN,
		  "commits good slots" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *const *target = rows[i].targets;

		while (*target && is_wanted(rows[i].unit, *target))
			target++;
		if (*target)
			doctor_say(d, rows[i].absent, "unit", "%s (%s) is not enabled for %s",
				   rows[i].unit, rows[i].what_for, *target);
		else
			doctor_say(d, DOCTOR_OK, "unit", "%s (%s) is enabled", rows[i].unit,
				   rows[i].what_for);
	}
	if (is_wanted("bf-guard.service", "sysinit.target"))
		check_committers(d);
}

/* ---- D-Bus --------------------------------------------------------------------------- */

void doctor_dbus(struct doctor *d)
{
	_cleanup_free_ char *text = doctor_read("/etc/dbus-1/system.d/" RAUC_BUS_NAME ".conf");

	if (text && strstr(text, "<deny send_destination=\"" RAUC_BUS_NAME "\""))
		doctor_say(d, DOCTOR_OK, "D-Bus", "not everybody may talk to RAUC");
	else
		doctor_say(d, DOCTOR_FAULT, "D-Bus",
			   "everybody may install and mark slots: there is no policy of ours in "
			   "/etc/dbus-1/system.d");
}

/* ---- RAUC -------------------------------------------------------------------------------- */

struct rauc_conf {
	char bootloader[32], backend[128], compatible[128], formats[64], data_dir[128];
	char keyring[128], keyring_dir[128];
};

struct rauc_slot {
	char section[64], device[128], bootname[32];
};

static void check_slot(struct doctor *d, const struct rauc_slot *slot, unsigned *bootnames)
{
	enum slot which = slot_parse(slot->bootname);
	bool ours = false;
	char part[64];

	if (!startswith(slot->section, "slot."))
		return;
	doctor_partition(slot->device, part, sizeof(part));
	for (size_t i = 0; d->open && i < PART_COUNT; i++)
		ours = ours || (*part && streq(part, d->running.boot.part[i]));
	if (d->open && !ours)
		doctor_say(d, DOCTOR_FAULT, "RAUC", "[%s] %s leads to %s, not to the disk in use",
			   slot->section, slot->device, *part ? part : "nothing");
	if (!*slot->bootname)
		return;
	if (which == SLOT_NONE)
		doctor_say(d, DOCTOR_FAULT, "RAUC", "[%s] bootname=%s: it is A or B", slot->section,
			   slot->bootname);
	else if (ours && !streq(part, d->running.boot.part[part_root(which)]) &&
		 !streq(part, d->running.boot.part[part_boot(which)]))
		doctor_say(d, DOCTOR_FAULT, "RAUC", "[%s] bootname=%s, but %s is of the other slot",
			   slot->section, slot->bootname, part);
	else
		*bootnames |= 1u << which;
}

static void check_slots(struct doctor *d, const char *conf)
{
	_cleanup_free_ char *text = strdup(conf);
	struct rauc_slot slot = { 0 };
	unsigned bootnames = 0;
	struct ini ini;

	if (!text)
		return;
	ini_start(&ini, text);
	while (ini_next(&ini)) {
		if (!streq(ini.section, slot.section)) {
			check_slot(d, &slot, &bootnames);
			slot = (struct rauc_slot) { 0 };
			(void)snprintf(slot.section, sizeof(slot.section), "%s", ini.section);
		}
		if (streq(ini.key, "device"))
			(void)snprintf(slot.device, sizeof(slot.device), "%s", ini.value);
		if (streq(ini.key, "bootname"))
			(void)snprintf(slot.bootname, sizeof(slot.bootname), "%s", ini.value);
	}
	check_slot(d, &slot, &bootnames);
	if (bootnames != 3)
		doctor_say(d, DOCTOR_FAULT, "RAUC", "no slots with bootname=A and bootname=B");
}

static void read_conf(const char *conf, struct rauc_conf *c)
{
	_cleanup_free_ char *text = strdup(conf);
	const struct {
		const char *section, *key;
		char *to;
		size_t size;
	} rows[] = {
		{ "system", "bootloader", c->bootloader, sizeof(c->bootloader) },
		{ "system", "compatible", c->compatible, sizeof(c->compatible) },
		{ "system", "bundle-formats", c->formats, sizeof(c->formats) },
		{ "system", "data-directory", c->data_dir, sizeof(c->data_dir) },
		{ "handlers", "bootloader-custom-backend", c->backend, sizeof(c->backend) },
		{ "keyring", "path", c->keyring, sizeof(c->keyring) },
		{ "keyring", "directory", c->keyring_dir, sizeof(c->keyring_dir) },
	};
	struct ini ini;

	if (!text)
		return;
	ini_start(&ini, text);
	while (ini_next(&ini))
		for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
			if (streq(ini.section, rows[i].section) && streq(ini.key, rows[i].key))
				(void)snprintf(rows[i].to, rows[i].size, "%s", ini.value);
}

/* RAUC takes a relative path from where its configuration is. */
static void absolute(const char *path, char *ret, size_t size)
{
	(void)snprintf(ret, size, "%s%s", *path == '/' ? "" : "/etc/rauc/", path);
}

static void check_backend(struct doctor *d, const struct rauc_conf *c)
{
	char path[256];

	absolute(c->backend, path, sizeof(path));
	if (!streq(c->bootloader, "custom"))
		doctor_say(d, DOCTOR_FAULT, "RAUC", "bootloader=%s, not custom", c->bootloader);
	else if (!*c->backend || sys_faccessat(AT_FDCWD, path, X_OK) < 0)
		doctor_say(d, DOCTOR_FAULT, "RAUC", "the backend %s cannot be run",
			   *c->backend ? path : "is not named and");
	else
		doctor_say(d, DOCTOR_OK, "RAUC", "backend %s, compatible %s", path,
			   *c->compatible ? c->compatible : "-");
	if (!*c->compatible)
		doctor_say(d, DOCTOR_FAULT, "RAUC", "no compatible=: any bundle would do");
	/* A list without "plain", or one that takes it away. */
	if (*c->formats && (strstr(c->formats, "-plain") || !strstr(c->formats, "plain")))
		doctor_say(d, DOCTOR_OK, "RAUC", "bundle-formats=%s", c->formats);
	else
		doctor_say(d, DOCTOR_FAULT, "RAUC",
			   "plain bundles are taken, which can change after the check");
}

static void check_data_dir(struct doctor *d, const struct rauc_conf *c)
{
	struct stat dir, data;

	if (!*c->data_dir)
		doctor_say(d, DOCTOR_FAULT, "RAUC", "no data-directory=");
	else if (sys_fstatat(AT_FDCWD, c->data_dir, &dir, 0) < 0)
		doctor_say(d, DOCTOR_FAULT, "RAUC", "data-directory %s does not exist",
			   c->data_dir);
	else if (d->running.data_fd >= 0 && sys_fstat(d->running.data_fd, &data) >= 0 &&
		 dir.st_dev != data.st_dev)
		doctor_say(d, DOCTOR_FAULT, "RAUC",
			   "data-directory %s is not on the data partition", c->data_dir);
	else
		doctor_say(d, DOCTOR_OK, "RAUC", "data-directory %s", c->data_dir);
}

static int base64_digit(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *found = c ? strchr(digits, c) : NULL;

	return found ? (int)(found - digits) : -1;
}

/* Whether a certificate of the PEM file @text holds @mark in plain letters: names do. */
static bool pem_says(const char *text, const char *mark)
{
	_cleanup_free_ char *der = calloc(1, strlen(text) + 1);
	size_t len = 0;
	uint32_t bits = 0;
	unsigned have = 0;

	if (!der)
		return false;
	for (bool inside = false; *text; text += strcspn(text, "\n"), text += *text == '\n') {
		if (startswith(text, "-----")) {
			inside = startswith(text, "-----BEGIN CERTIFICATE") != NULL;
			have = 0;
			continue;
		}
		for (const char *c = text; inside && base64_digit(*c) >= 0; c++) {
			bits = bits << 6 | (uint32_t)base64_digit(*c);
			have += 6;
			if (have < 8)
				continue;
			have -= 8;
			der[len++] = (char)tolower((int)(bits >> have & 0xff));
		}
	}
	return memmem(der, len, mark, strlen(mark)) != NULL;
}

static void check_keyring(struct doctor *d, const struct rauc_conf *c)
{
	_cleanup_free_ char *text = NULL;
	char path[256];

	if (!*c->keyring && *c->keyring_dir) {
		doctor_say(d, DOCTOR_WARN, "RAUC", "keyring directory %s: not looked into",
			   c->keyring_dir);
		return;
	}
	absolute(c->keyring, path, sizeof(path));
	text = *c->keyring ? doctor_read(path) : NULL;
	if (!text || !strstr(text, "-----BEGIN CERTIFICATE-----"))
		doctor_say(d, DOCTOR_FAULT, "RAUC", "the keyring %s holds no certificate",
			   *c->keyring ? path : "(path= is missing)");
	else if (pem_says(text, DEVELOPMENT_MARK))
		doctor_say(d, DOCTOR_FAULT, "RAUC",
			   "the keyring %s has a development certificate: never ship it", path);
	else
		doctor_say(d, DOCTOR_OK, "RAUC", "keyring %s", path);
}

void doctor_rauc_config(struct doctor *d)
{
	_cleanup_free_ char *text = doctor_read(RAUC_CONF);
	struct rauc_conf conf = { 0 };

	if (!text) {
		doctor_say(d, DOCTOR_FAULT, "RAUC", "there is no %s", RAUC_CONF);
		return;
	}
	read_conf(text, &conf);
	check_backend(d, &conf);
	check_data_dir(d, &conf);
	check_keyring(d, &conf);
	check_slots(d, text);
}

/* "Version: " of an installed package in dpkg's status file; false when there is none. */
static bool package_version(const char *status, const char *package, char *ret, size_t size)
{
	_cleanup_free_ char *start = strf("Package: %s\n", package);
	const char *p = start ? status : NULL;

	while (p && !startswith(p, start)) {
		p = strstr(p, "\n\n");
		p = p ? p + 2 : NULL;
	}
	if (!p)
		return false;
	for (; *p && *p != '\n'; p += strcspn(p, "\n"), p += *p == '\n') {
		const char *version = startswith(p, "Version: ");

		if (!version)
			continue;
		(void)snprintf(ret, size, "%.*s", (int)strcspn(version, "\n"), version);
		return true;
	}
	return false;
}

/* 11501 of "1.15.1-2", 11300 of "1.13-3+deb13u1", 61902 of "6.19.2-arm64"; 0 what is none. */
static uint32_t version_number(const char *text)
{
	uint32_t total = 0;

	for (unsigned i = 0; i < 3; i++) {
		size_t digits = strspn(text, "0123456789");
		uint32_t n = 0;
		char number[4];

		/* Only the third one may be missing. */
		if (digits >= sizeof(number) || (digits == 0 && i < 2))
			return 0;
		(void)snprintf(number, sizeof(number), "%.*s", (int)digits, text);
		if (digits && parse_u32(number, 10, &n) < 0)
			return 0;
		/* The 100th and later of a series are all as good as the 99th. */
		total = total * 100 + (n > 99 ? 99 : n);
		text += digits;
		text += *text == '.';
	}
	return total;
}

void doctor_rauc_version(struct doctor *d)
{
	_cleanup_free_ char *status = doctor_read("/var/lib/dpkg/status");
	_cleanup_free_ char *release = doctor_read("/proc/sys/kernel/osrelease");
	uint32_t rauc, linux_version = release ? version_number(release) : 0;
	char version[64];

	if (!status || !package_version(status, "rauc", version, sizeof(version))) {
		doctor_say(d, DOCTOR_WARN, "RAUC", "version unknown: dpkg does not know it");
		return;
	}
	rauc = version_number(version);
	if (rauc < RAUC_OLDEST)
		doctor_say(d, DOCTOR_FAULT, "RAUC", "version %s is older than 1.8", version);
	else if (linux_version >= LINUX_6_19 && rauc < RAUC_LINUX_6_19)
		doctor_say(d, DOCTOR_FAULT, "RAUC",
			   "version %s cannot read verity bundles with Linux 6.19 and later; "
			   "1.15.1 can",
			   version);
	else
		doctor_say(d, DOCTOR_OK, "RAUC", "version %s", version);
}
