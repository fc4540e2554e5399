// SPDX-License-Identifier: MIT
/*
 * bf-kiosk: stands in for the kiosk's application in tests. It beats to a server
 * and to the guard, keeps the system up to date, and fails in every way a kiosk
 * can fail when it is asked to. README.md beside this file tells how it is used.
 *
 * Two processes: the one that beats, which is what has to live, and while there
 * is something to look for or to install a child that does it.
 */
#include "tests/kiosk/update.h"

#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "boot/io.h"
#include "boot/product.h"
#include "tests/kiosk/http.h"
#include "tests/kiosk/switch.h"

#define EXIT_USAGE 2
#define EXIT_STAYS 3 /* the unit does not start it again: RestartPreventExitStatus= */

#define MARKER		  "kiosk-healthy"  /* what BetterFrame's kiosk writes */
#define COMMITTED	  "rauc-confirmed" /* the guard's: the trial is over */
#define SERVER_ANSWER_MAX 4096		   /* bytes */
#define TURN_MSEC	  1000		   /* from one look at the switch to the next */
#define FORGE_MSEC	  2000
#define BEAT_SEC	  4 /* for the server to answer one */

#if defined(__aarch64__)
#define ARCH "arm64"
#elif defined(__x86_64__)
#define ARCH "amd64"
#else
#define ARCH "unknown"
#endif

/* -- options ------------------------------------------------------------------------------- */

enum kind { KIND_TEXT, KIND_NUMBER, KIND_SECONDS };

static const struct setting {
	const char *name; /* --NAME, and BF_KIOSK_NAME in the environment */
	enum kind kind;
	size_t offset;
	const char *standard; /* NULL: not set */
	const char *help;
} settings[] = {
#define TEXT(name, field, standard, help)                                                          \
	{                                                                                          \
		name, KIND_TEXT, offsetof(struct config, field), standard, help                    \
	}
#define NUMBER(name, field, standard, help)                                                        \
	{                                                                                          \
		name, KIND_NUMBER, offsetof(struct config, field), standard, help                  \
	}
#define SECONDS(name, field, standard, help)                                                       \
	{                                                                                          \
		name, KIND_SECONDS, offsetof(struct config, field), standard, help                 \
	}
	TEXT("server", server, "http://10.0.2.100", "where beats go to and offers come from"),
	TEXT("channel", channel, "stable", "the offer is SERVER/os/CHANNEL.json"),
	TEXT("group", group, "", "rollout group"),
	TEXT("compatible", compatible, "betterframe-rpi5-aarch64",
	     "what RAUC calls this kind of device"),
	TEXT("arch", arch, ARCH, "as Debian names it"),
	TEXT("device-id", device_id, NULL, "instead of the machine id"),
	TEXT("switch", switch_text, NULL, "fail like this, see below"),
	TEXT("marker", marker, "each", "written for each beat that reached the server, or once"),
	SECONDS("beat", beat_msec, "5", "seconds from beat to beat"),
	SECONDS("first-check", first_check_msec, "10",
		"seconds until the first look for an update"),
	SECONDS("check", check_msec, "60", "seconds from one look to the next"),
	NUMBER("quiet", quiet_sec, "30", "seconds that the server may be silent"),
	NUMBER("transfer", transfer_sec, "3600", "seconds that a connection may take"),
	SECONDS("pause", pause_msec, "1", "seconds between two attempts"),
	NUMBER("install", install_sec, "1800", "seconds that an installation may take"),
	NUMBER("busy", busy_sec, "60", "seconds that RAUC may be busy otherwise"),
	TEXT("guard", guard, "bf-guard", "program that is asked for the trial: GUARD try"),
	TEXT("notify", notify, "/run/bf-guard/notify", "the guard's socket"),
	TEXT("runtime", runtime, "/run/betterframe", "directory of the marker"),
	TEXT("state", state, "/var/lib/betterframe", "directory that is kept"),
	TEXT("cache", cache, "/var/cache/betterframe", "directory of downloads"),
	TEXT("boot-file", boot_file, "/run/bf/boot", "bf-init's report"),
	TEXT("refusal", refusal, "/run/bf/refusal", "why RAUC's pre-install handler refused"),
	TEXT("os-release", os_release, "/usr/lib/os-release", "has IMAGE_VERSION"),
	TEXT("cmdline", cmdline, "/proc/cmdline", "of the kernel"),
	TEXT("boot-id", boot_id, "/proc/sys/kernel/random/boot_id", "of this boot"),
};

/* Seconds may have up to three decimals, and become milliseconds. */
static int parse_number(const char *value, enum kind kind, uint32_t *ret)
{
	char whole[8] = "", decimals[4] = "000";
	size_t point = strcspn(value, "."), behind = value[point] ? strlen(value + point + 1) : 0;
	uint32_t number, more = 0;

	if (point >= sizeof(whole) || behind >= sizeof(decimals) ||
	    (value[point] && (kind != KIND_SECONDS || behind == 0)))
		return -EINVAL;
	memcpy(whole, value, point);
	memcpy(decimals, value + point + (behind > 0), behind);
	if (parse_u32(whole, 10, &number) < 0 || number > 1000000 ||
	    parse_u32(decimals, 10, &more) < 0)
		return -EINVAL;
	*ret = kind == KIND_SECONDS ? number * 1000 + more : number;
	return 0;
}

static int set(struct config *c, const struct setting *s, const char *value)
{
	char *at = (char *)c + s->offset;
	uint32_t number;

	if (s->kind == KIND_TEXT) {
		memcpy(at, &value, sizeof(value));
		return 0;
	}
	if (parse_number(value, s->kind, &number) < 0) {
		(void)fprintf(stderr, "bf-kiosk: %s: \"%s\" is no number of use\n", s->name, value);
		return -EINVAL;
	}
	memcpy(at, &number, sizeof(number));
	return 0;
}

/* BF_KIOSK_FIRST_CHECK for first-check */
static const char *from_environment(const char *name)
{
	char key[32];
	int n = snprintf(key, sizeof(key), "BF_KIOSK_%s", name);

	for (int i = 0; i < n; i++)
		key[i] = (char)(key[i] == '-'			 ? '_'
				: key[i] >= 'a' && key[i] <= 'z' ? key[i] - 32
								 : key[i]);
	return getenv(key);
}

static int read_environment(struct config *c)
{
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		const char *value = from_environment(settings[i].name);
		int r;

		if (!value)
			value = settings[i].standard;
		r = value ? set(c, &settings[i], value) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static void help(void)
{
	(void)puts("Usage: bf-kiosk [OPTIONS]\n\n"
		   "A kiosk for tests: beats, updates itself, and fails when it is asked to.\n\n"
		   "  --update-once         look for an update, do what follows, end\n"
		   "  --forge=SWITCH        beat where one must not count, while SWITCH is set\n"
		   "  --help, --version\n\n"
		   "Each of these may also stand in the environment, as BF_KIOSK_FIRST_CHECK:");
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		(void)printf("  --%-19s %s%s%s%s\n", settings[i].name, settings[i].help,
			     settings[i].standard && *settings[i].standard ? " (" : "",
			     settings[i].standard ? settings[i].standard : "",
			     settings[i].standard && *settings[i].standard ? ")" : "");
	(void)puts("\nSwitches: --switch, the files RUNTIME/kiosk-switch, STATE/kiosk-switch and\n"
		   "/etc/bf-kiosk.switch, bf.kiosk= on the kernel's command line; the first that\n"
		   "is there counts. NAME or NAME:N:");
	for (int i = 0; i < SWITCHES; i++)
		(void)printf("  %-21s %s\n", switch_name((enum kiosk_switch)i),
			     switch_help((enum kiosk_switch)i));
	(void)puts("\nExit status: 0 done (--update-once: and nothing is left to do), 1 failed,\n"
		   "2 wrong usage, 3 ended for good as its switch says.");
}

/* -- the switch ---------------------------------------------------------------------------- */

/* A switch that nobody can read is no switch: a test that spells it wrong must fail, not pass. */
static int read_switch(const struct config *c, struct switch_setting *ret)
{
	_cleanup_free_ char *runtime = strf("%s/kiosk-switch", c->runtime);
	_cleanup_free_ char *state = strf("%s/kiosk-switch", c->state);
	const char *files[] = { runtime, state, "/etc/bf-kiosk.switch" };
	_cleanup_free_ char *cmdline = NULL;

	*ret = (struct switch_setting) { SWITCH_NONE, 0 };
	if (c->switch_text)
		return switch_parse(c->switch_text, ret);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_free_ char *text = files[i] ? first_line(files[i]) : NULL;

		if (text)
			return switch_parse(text, ret);
	}
	cmdline = first_line(c->cmdline);
	return cmdline ? switch_from_cmdline(cmdline, ret) : 0;
}

/* -- the kiosk ----------------------------------------------------------------------------- */

struct kiosk {
	const struct config *c;
	struct switch_setting setting;
	uint64_t now_msec, since_msec; /* since: started, or the switch changed */
	uint64_t next_beat_msec, next_check_msec;
	uint64_t beats, taken; /* taken: times that memory was */
	pid_t updater;	       /* 0: none */
	char *id, *boot, *version;
	bool marked, muted;
};

static uint64_t now_msec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void sleep_msec(uint32_t msec)
{
	(void)nanosleep(&(struct timespec) { .tv_sec = msec / 1000,
					     .tv_nsec = (long)(msec % 1000) * 1000000 },
			NULL);
}

/* sd_notify's syntax, to the guard. Never waits. */
static int tell_guard(const struct config *c, const char *text)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (strlen(c->notify) >= sizeof(to.sun_path))
		return -ENAMETOOLONG;
	memcpy(to.sun_path, c->notify, strlen(c->notify) + 1);
	return sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to)) < 0
		       ? -errno
		       : 0;
}

static void tell(struct kiosk *k, const char *text)
{
	int r = tell_guard(k->c, text);

	if (r < 0 && !k->muted)
		log_warning("%s: %s", k->c->notify, strerror(-r));
	k->muted = r < 0;
}

/* Empty for a moment, as with a shell's "echo ok >kiosk-healthy". */
static int write_marker(const struct config *c)
{
	_cleanup_free_ char *path = strf("%s/" MARKER, c->runtime);
	_cleanup_close_ int fd = -1;

	if (!path)
		return -ENOMEM;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	return io_write(fd, "ok\n", 3);
}

static char *beat_body(const struct kiosk *k)
{
	_cleanup_free_ char *slot = env_value(k->c->boot_file, "BF_SLOT");
	json_t *body = json_pack("{s:s? s:s? s:s? s:s? s:s s:I s:I}", "device", k->id, "slot", slot,
				 "version", k->version, "boot", k->boot, "switch",
				 switch_name(k->setting.what), "beat", (json_int_t)k->beats, "pid",
				 (json_int_t)getpid());
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

	json_decref(body);
	return text;
}

static int beat_server(const struct kiosk *k)
{
	bool refused = k->setting.what == SWITCH_REFUSED;
	_cleanup_free_ char *url = strf("%s/heartbeat%s", k->c->server, refused ? "?refuse=1" : "");
	_cleanup_free_ char *body = beat_body(k);
	const struct http_request request = {
		.url = url,
		.body = body,
		.max_body = SERVER_ANSWER_MAX,
		.quiet_sec = BEAT_SEC,
		.total_sec = BEAT_SEC,
	};
	struct http_response head;
	int r;

	if (!url || !body)
		return -ENOMEM;
	r = http_send(&request, NULL, NULL, &head);
	if (r < 0)
		return r;
	return head.status >= 200 && head.status < 300 ? 0 : -EACCES;
}

/* The guard hears first that the kiosk lives, then that the server does. */
static void beat(struct kiosk *k)
{
	int r;

	if (k->beats++ == 0)
		tell(k, "READY=1\nSTATUS=beating");
	tell(k, "WATCHDOG=1");
	(void)sd_notify(0, "WATCHDOG=1");
	r = beat_server(k);
	if (r < 0) {
		log_info("beat %llu: server: %s", (unsigned long long)k->beats, strerror(-r));
		return;
	}
	if (!k->marked || streq(k->c->marker, "each")) {
		r = write_marker(k->c);
		if (r < 0)
			log_warning("%s/" MARKER ": %s", k->c->runtime, strerror(-r));
		k->marked = r == 0;
	}
	tell(k, "X_BF_SERVER=1\nWATCHDOG=1");
	log_info("beat %llu", (unsigned long long)k->beats);
}

static bool beats_now(const struct kiosk *k)
{
	switch (k->setting.what) {
	case SWITCH_SILENT:
	case SWITCH_OTHER_USER:
	case SWITCH_OTHER_UNIT:
		return false;
	case SWITCH_LATE:
		return k->now_msec - k->since_msec >= UINT64_C(1000) * k->setting.number;
	default:
		return true;
	}
}

/* For a second, evenly; what the guard is too slow for is lost, as with any other sender. */
static void flood(const struct kiosk *k)
{
	for (uint32_t i = 0; i < 100; i++) {
		for (uint32_t n = k->setting.number / 100; n > 0; n--)
			(void)!tell_guard(k->c, "WATCHDOG=1");
		sleep_msec(9);
	}
}

/* Somebody could look at it: so the compiler may not leave it out. */
static char *volatile taken_last;

static void take_memory(uint32_t mib)
{
	size_t size = (size_t)mib << 20;
	char *more = malloc(size);

	/* Written to, or it would only be a promise; lost on purpose. */
	if (more)
		memset(more, 0x5a, size);
	taken_last = more;
	log_info("took %u MiB more%s", mib, more ? "" : ": refused");
}

/* What the switch does apart from beating; may not return. */
static void misbehave(struct kiosk *k)
{
	bool due = k->now_msec - k->since_msec >= UINT64_C(1000) * k->setting.number;

	switch (k->setting.what) {
	case SWITCH_NEVER_STARTS:
		exit(EXIT_STAYS);
	case SWITCH_DIES:
		if (due)
			exit(EXIT_STAYS);
		break;
	case SWITCH_LOOP:
		if (due)
			exit(EXIT_FAILURE);
		break;
	case SWITCH_HANGS:
		if (due)
			(void)raise(SIGSTOP);
		break;
	case SWITCH_MEMORY:
		/* As much as is due by now. */
		while (k->taken < (k->now_msec - k->since_msec) / 1000) {
			take_memory(k->setting.number);
			k->taken++;
		}
		break;
	case SWITCH_FLOOD:
		flood(k);
		break;
	default:
		break;
	}
}

static void follow_switch(struct kiosk *k)
{
	struct switch_setting found;

	if (read_switch(k->c, &found) < 0) {
		log_error("the switch is none that is known");
		exit(EXIT_USAGE);
	}
	if (found.what == k->setting.what && found.number == k->setting.number)
		return;
	log_notice("switch: %s:%u", switch_name(found.what), found.number);
	k->setting = found;
	k->since_msec = k->now_msec;
}

/* Nothing is installed over the slot to fall back to while the running one is on trial. */
static bool on_trial(const struct config *c)
{
	_cleanup_free_ char *trial = env_value(c->boot_file, "BF_TRIAL");
	_cleanup_free_ char *committed = strf("%s/" COMMITTED, c->runtime);

	return trial && streq(trial, "yes") && !(committed && access(committed, F_OK) == 0);
}

static void reap(struct kiosk *k)
{
	int status;

	if (k->updater > 0 && waitpid(k->updater, &status, WNOHANG) == k->updater) {
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			log_info("update: will look again");
		k->updater = 0;
		k->next_check_msec = k->now_msec + k->c->check_msec;
	}
}

static void look_for_update(struct kiosk *k)
{
	bool works = k->setting.what == SWITCH_NONE || k->setting.what == SWITCH_LATE ||
		     k->setting.what == SWITCH_FLOOD;

	reap(k);
	if (k->updater > 0 || !works || k->now_msec < k->next_check_msec || on_trial(k->c))
		return;
	k->updater = fork();
	if (k->updater == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		exit(update_once(k->c) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
	}
	if (k->updater < 0) {
		k->updater = 0;
		k->next_check_msec = k->now_msec + k->c->check_msec;
	}
}

static _Noreturn void run(const struct config *c)
{
	struct kiosk k = { .c = c, .now_msec = now_msec() };
	bool ready = false;

	k.since_msec = k.now_msec;
	k.next_check_msec = k.now_msec + c->first_check_msec;
	k.id = c->device_id ? strf("%s", c->device_id) : first_line("/etc/machine-id");
	k.boot = first_line(c->boot_id);
	k.version = env_value(c->os_release, "IMAGE_VERSION");
	for (;;) {
		k.now_msec = now_msec();
		follow_switch(&k);
		misbehave(&k);
		if (!ready) {
			/* That a unit is active says nothing: this one is, whatever its switch. */
			(void)sd_notify(0, "READY=1");
			ready = true;
		}
		if (k.now_msec >= k.next_beat_msec && beats_now(&k)) {
			k.next_beat_msec = k.now_msec + c->beat_msec;
			beat(&k);
		}
		look_for_update(&k);
		if (k.setting.what != SWITCH_FLOOD)
			sleep_msec(c->beat_msec < TURN_MSEC ? c->beat_msec : TURN_MSEC);
	}
}

/* -- beats that must not count ------------------------------------------------------------- */

/* Returns only for wrong usage. */
static int forge(const struct config *c, const char *text)
{
	struct switch_setting wanted, found;

	if (switch_parse(text, &wanted) < 0 ||
	    (wanted.what != SWITCH_OTHER_USER && wanted.what != SWITCH_OTHER_UNIT)) {
		(void)fprintf(stderr, "bf-kiosk: --forge: other-user or other-unit\n");
		return EXIT_USAGE;
	}
	for (bool said = false;; sleep_msec(FORGE_MSEC)) {
		int r, marker = -EACCES;

		if (read_switch(c, &found) < 0 || found.what != wanted.what)
			continue;
		r = tell_guard(c, "READY=1\nWATCHDOG=1\nX_BF_SERVER=1\nSTATUS=forged");
		/* The marker belongs to the account: from the same one it would be no forgery. */
		if (wanted.what == SWITCH_OTHER_USER)
			marker = write_marker(c);
		if (!said)
			log_info("forging as uid %u: socket %s, marker %s", (unsigned)getuid(),
				 r < 0 ? strerror(-r) : "sent",
				 marker < 0 ? strerror(-marker) : "written");
		said = true;
	}
}

int main(int argc, char **argv)
{
	enum { OPT_HELP = 1000, OPT_VERSION, OPT_ONCE, OPT_FORGE };
	struct option options[ARRAY_SIZE(settings) + 5] = {
		{ "help", no_argument, NULL, OPT_HELP },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ "update-once", no_argument, NULL, OPT_ONCE },
		{ "forge", required_argument, NULL, OPT_FORGE },
	};
	const char *forged = NULL;
	struct config c = { 0 };
	bool once = false;
	int o;

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		options[4 + i] =
			(struct option) { settings[i].name, required_argument, NULL, (int)i };
	if (read_environment(&c) < 0)
		return EXIT_USAGE;
	while ((o = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (o == OPT_HELP)
			return help(), EXIT_SUCCESS;
		if (o == OPT_VERSION)
			return puts("bf-kiosk " BF_VERSION), EXIT_SUCCESS;
		if (o == OPT_ONCE)
			once = true;
		else if (o == OPT_FORGE)
			forged = optarg;
		else if (o == '?' || set(&c, &settings[o], optarg) < 0)
			return EXIT_USAGE;
	}
	if (optind < argc) {
		(void)fprintf(stderr, "bf-kiosk: unexpected argument \"%s\"\n", argv[optind]);
		return EXIT_USAGE;
	}
	if (forged)
		return forge(&c, forged);
	if (once)
		return update_once(&c) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	run(&c);
}
