// SPDX-License-Identifier: MIT
#include "guard/config.h"

#include "boot/sys.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#include <fcntl.h>

#define SEC UINT64_C(1000000)

static char warnings[4096];

static void note(void *userdata, const char *file, unsigned line, const char *what,
		 const char *cure)
{
	size_t n = strlen(warnings);

	(void)userdata;
	(void)snprintf(warnings + n, sizeof(warnings) - n, "%s:%u: %s %s\n", file, line, what,
		       cure);
}

static void apply(struct config *c, const char *text, size_t len)
{
	char *copy = calloc(1, len + 1);

	if (!copy)
		abort();
	memcpy(copy, text, len);
	*warnings = '\0';
	config_parse(c, copy, len, "f", note, NULL);
	free(copy);
}

static void parse(struct config *c, const char *text)
{
	config_init(c);
	apply(c, text, strlen(text));
}

static void test_spans(void)
{
	static const struct {
		const char *text;
		int r;
		uint64_t usec;
	} rows[] = {
		{ "0", 0, 0 },
		{ "90", 0, 90 * SEC },
		{ "90s", 0, 90 * SEC },
		{ " 1h 30min ", 0, 5400 * SEC },
		{ "1h30min", 0, 5400 * SEC },
		{ "2 h", 0, 7200 * SEC },
		{ "500ms", 0, 500000 },
		{ "1d", 0, 86400 * SEC },
		{ "5 10", 0, 15 * SEC },
		{ "", -EINVAL, 0 },
		{ "s", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "1.5s", -EINVAL, 0 },
		{ "1 fortnight", -EINVAL, 0 },
		{ "1S", -EINVAL, 0 },
		{ "18446744073709551615h", -ERANGE, 0 },
		{ "99999999999999999999999", -ERANGE, 0 },
		{ "18446744073709s 18446744073709s", -ERANGE, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t usec = 77;
		int r = span_parse(rows[i].text, &usec);

		ok(r == rows[i].r && usec == (r < 0 ? 77 : rows[i].usec), "span \"%s\"",
		   rows[i].text);
	}
}

static void test_values(void)
{
	struct config c;

	parse(&c, "# a comment\n; another\n\n[kiosk]\n unit = my-kiosk.service \nuser=bf\n"
		  "crashes=7\n[heartbeat]\nrequired=off\nmarker=\nmarker-proves=local\n"
		  "[server]\ncommit-offline=after 2h\n[trial]\r\nwindow=5s\r\nread-root=yes\n"
		  "[update]\ntry=22:30-04:15\n");
	ok_str(warnings, "", "nothing to complain about");
	ok_str(c.unit, "my-kiosk.service", "unit");
	ok_str(c.user, "bf", "user");
	ok_int(c.crashes, 7, "number");
	ok(!c.heartbeat_required && c.policy.read_root, "flags");
	ok_str(c.marker, "", "an empty marker is none");
	ok_int(c.marker_proves, MARKER_PROVES_LOCAL, "what the marker proves");
	ok(c.policy.offline == OFFLINE_AFTER && c.policy.offline_after == 7200 * SEC, "offline");
	ok(c.policy.window == 5 * SEC, "carriage returns are no part of a value");
	ok_int(c.policy.try_when, TRY_IN_WINDOW, "hours");
	ok(config_in_hours(&c, 22 * 60 + 30) && config_in_hours(&c, 0) &&
		   config_in_hours(&c, 4 * 60 + 14),
	   "in the hours, over midnight");
	ok(!config_in_hours(&c, 4 * 60 + 15) && !config_in_hours(&c, 12 * 60), "outside");
	parse(&c, "[update]\ntry=02:00-05:00\n");
	ok(config_in_hours(&c, 120) && !config_in_hours(&c, 300) && !config_in_hours(&c, 0),
	   "not over midnight");
	parse(&c, "[trial]\nwindow=5\nwindow=\n[kiosk]\nunit=x.service\nunit=\n[update]\ntry=on-"
		  "request\ntry=\n");
	ok(c.policy.window == 60 * SEC && streq(c.unit, "betterframe-kiosk.service") &&
		   c.policy.try_when == TRY_NOW,
	   "empty takes the default back");
}

/* What people write, and mean; none of it may turn into a verdict on an image. */
static void test_tolerance(void)
{
	static const char *const rows[] = {
		"\xef\xbb\xbf[kiosk]\nunit=x.service\n",
		"\xef\xbb\xbf[kiosk]\r\nunit=x.service\r\n",
		"[kiosk]\nunit = x.service\n",
		"[kiosk]\nunit=\"x.service\"\n",
		"[kiosk]\nunit = 'x.service'\n",
		"[kiosk]\nunit=x.service # my kiosk\n",
		"[kiosk]\nunit=\"x.service\"\t; my kiosk\n",
		"[kiosk] # mine\nunit=x.service\n",
		"[Kiosk]\nUnit=x.service\n",
		"[ kiosk ]\nUNIT\t=x.service",
	};
	struct config c;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		parse(&c, rows[i]);
		ok(streq(c.unit, "x.service") && !*warnings, "tolerance %zu: %s", i, warnings);
	}
	parse(&c, "[heartbeat]\nmarker=# none\n[trial]\nwindow=5s # short\nread-root='yes'\n"
		  "[server]\ncommit-offline = \"after 2h\" ; at night\n");
	ok_str(warnings, "", "values of every kind");
	ok_int(c.mistakes, 0, "no mistake");
	ok(!*c.marker && c.policy.window == 5 * SEC && c.policy.read_root &&
		   c.policy.offline_after == 7200 * SEC,
	   "are read without quotes and comments");
	parse(&c, "[kiosk]\nunit=x#y@tty1.service\n");
	ok_str(c.unit, "x#y@tty1.service", "a comment begins after a blank");
}

#define SAY_SERVICE "Say the whole name of a service, like betterframe-kiosk.service.\n"
#define SAY_PATH    "Say a path that begins with /, or nothing.\n"
#define SAY_HOURS   "Say now, on-request, or hours like 02:00-05:00.\n"

static void test_warnings(void)
{
	static const struct {
		const char *text, *warning;
	} rows[] = {
		{ "[trial]\nwindow=soon\n", "f:2: window=soon is not understood; ignored. Say a "
					    "time from 1 s to 1 h 0 min, like 90s or 1h 30min.\n" },
		{ "[trial]\nwindow=0\n", "f:2: window=0 is out of range; ignored. Say a time from "
					 "1 s to 1 h 0 min, like 90s or 1h 30min.\n" },
		{ "[trial]\nwindow=2h\n", "f:2: window=2h is out of range; ignored. Say a time "
					  "from 1 s to 1 h 0 min, like 90s or 1h 30min.\n" },
		{ "[trial]\nwidow=2\n",
		  "f:2: There is no key widow= in [trial]; ignored. See bf-guard.conf(5) for the "
		  "names.\n" },
		{ "[trial]\nunit=x.service\n",
		  "f:2: There is no key unit= in [trial]; ignored. Put it below [kiosk].\n" },
		{ "[trail]\nwindow=2\n", "f:1: There is no section [trail]; what follows is "
					 "ignored. See bf-guard.conf(5) for the names.\n" },
		{ "[trial\nwindow=2\nnonsense\n", "f:1: The section is not closed; what follows is "
						  "ignored. Put a ] after its name.\n" },
		{ "window=2\n", "f:1: window= stands before any section; ignored. See "
				"bf-guard.conf(5) for the names.\n" },
		{ "\nnonsense\n", "f:2: This is neither a section nor an assignment; ignored. "
				  "Begin a comment with #.\n" },
		{ "[trial]\nread-root=maybe\n",
		  "f:2: read-root=maybe is not understood; ignored. Say yes or no.\n" },
		{ "[update]\ntry=25:00-03:00\n",
		  "f:2: try=25:00-03:00 is not understood; ignored. " SAY_HOURS },
		{ "[update]\ntry=03:00-03:00\n",
		  "f:2: try=03:00-03:00 is not understood; ignored. " SAY_HOURS },
		{ "[kiosk]\nunit=kiosk\n",
		  "f:2: unit=kiosk is not understood; ignored. Say unit=kiosk.service.\n" },
		{ "[kiosk]\nunit=kiosk@\n",
		  "f:2: unit=kiosk@ is not understood; ignored. Say unit=kiosk@INSTANCE.service."
		  "\n" },
		{ "[kiosk]\nunit=kiosk@.service\n",
		  "f:2: unit=kiosk@.service is not understood; ignored. " SAY_SERVICE },
		{ "[kiosk]\nunit=kiosk.target\n",
		  "f:2: unit=kiosk.target is not understood; ignored. " SAY_SERVICE },
		{ "[kiosk]\nunit=.service\n",
		  "f:2: unit=.service is not understood; ignored. " SAY_SERVICE },
		{ "[kiosk]\nunit=a b\n", "f:2: unit=a b is not understood; ignored. " SAY_SERVICE },
		{ "[kiosk]\nunit=../x.service\n",
		  "f:2: unit=../x.service is not understood; ignored. " SAY_SERVICE },
		{ "[kiosk]\nuser=a b\n",
		  "f:2: user=a b is not understood; ignored. Say the name of an account.\n" },
		{ "[heartbeat]\nmarker=relative\n",
		  "f:2: marker=relative is not understood; ignored. " SAY_PATH },
		{ "[heartbeat]\nmarker=/run/../etc\n",
		  "f:2: marker=/run/../etc is not understood; ignored. " SAY_PATH },
		{ "[kiosk]\ncrashes=-1\n", "f:2: crashes=-1 is not understood; ignored. Say a "
					   "number from 1 to 64.\n" },
		{ "[kiosk]\ncrashes=65\n", "f:2: crashes=65 is out of range; ignored. Say a "
					   "number from 1 to 64.\n" },
		{ "[server]\ncommit-offline=after\n",
		  "f:2: commit-offline=after is not understood; ignored. Say no, yes, or for "
		  "example after 30min.\n" },
		{ "[heartbeat]\nmarker-proves=all\n", "f:2: marker-proves=all is not understood; "
						      "ignored. Say server or local.\n" },
		{ "[trial]\n\x01=2\n", "f:2: There is no key ?= in [trial]; ignored. "
				       "See bf-guard.conf(5) for the names.\n" },
	};
	struct config c, fresh;

	config_init(&fresh);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		/* A copy with its padding: the compilers fill that as they like. */
		memcpy(&c, &fresh, sizeof(c));
		apply(&c, rows[i].text, strlen(rows[i].text));
		ok_str(warnings, rows[i].warning, "warning %zu", i);
		ok_int(c.mistakes, 1, "a mistake");
		c.mistakes = 0;
		ok(memcmp(&c, &fresh, sizeof(c)) == 0, "and the default stays");
	}
}

static void test_odd_bytes(void)
{
	struct config c;
	char longer[3000];

	memset(longer, 'a', sizeof(longer));
	config_init(&c);
	apply(&c, longer, sizeof(longer));
	ok(strstr(warnings, "f:1: This is neither") == warnings, "a long line");
	memcpy(longer, "[kiosk]\nunit=", 13);
	apply(&c, longer, sizeof(longer));
	ok(strstr(warnings, "f:2: unit=aaaa") == warnings &&
		   streq(c.unit, "betterframe-kiosk.service"),
	   "a long value is not cut to one that fits");
	apply(&c, "[trial]\n\0window=3\nwindow=4\n", 27);
	ok(strstr(warnings, "f:2: ") == warnings && c.policy.window == 4 * SEC,
	   "a NUL costs its line only");
	parse(&c, "[trial]\nwindow=7");
	ok(c.policy.window == 7 * SEC, "the last line needs no end");
}

static void load(struct config *c)
{
	int fd = sys_open("/", O_RDONLY | O_DIRECTORY, 0);

	*warnings = '\0';
	config_init(c);
	config_load(c, fd, note, NULL);
	(void)sys_close(fd);
}

static void test_files(void)
{
	struct config c;

	fake_reset();
	load(&c);
	ok(c.policy.window == 60 * SEC && !*warnings, "no file at all");
	fake_file("/usr/lib/bf-guard.conf", "[trial]\nwindow=11\ndeadline=11\n");
	load(&c);
	ok(c.policy.window == 11 * SEC, "the vendor's file");
	fake_file("/etc/bf-guard.conf", "[trial]\nwindow=12\n");
	load(&c);
	ok(c.policy.window == 12 * SEC && c.policy.deadline == 600 * SEC,
	   "the one of /etc stands in its place");
	fake_file("/usr/lib/bf-guard.conf.d/50-a.conf", "[trial]\nwindow=13\n");
	fake_file("/etc/bf-guard.conf.d/10-b.conf", "[trial]\nwindow=14\ndeadline=14\n");
	load(&c);
	ok(c.policy.window == 13 * SEC && c.policy.deadline == 14 * SEC,
	   "drop-ins of both, by name");
	fake_file("/etc/bf-guard.conf.d/50-a.conf", "");
	load(&c);
	ok(c.policy.window == 14 * SEC, "one of /etc hides one of the vendor");
	fake_file("/etc/bf-guard.conf.d/50-a.conf", "\xef\xbb\xbf[trial]\r\nwindow=16\r\n");
	load(&c);
	ok(c.policy.window == 16 * SEC && !*warnings, "a byte order mark in a drop-in");
	fake_file("/etc/bf-guard.conf.d/50-a.conf", "");
	fake_file("/etc/bf-guard.conf.d/99-c.confx", "[trial]\nwindow=15\n");
	load(&c);
	ok(c.policy.window == 14 * SEC, "only names that end in .conf");
	fake_dir("/etc/bf-guard.conf.d/60-dir.conf");
	load(&c);
	ok(c.policy.window == 14 * SEC && strstr(warnings, "etc/bf-guard.conf.d/60-dir.conf:0: "),
	   "what cannot be read is named");
	ok_int(c.mistakes, 1, "and is a mistake");
	ok_int(fake_open_fds(), 0, "nothing stays open");
}

static void test_unreadable(void)
{
	struct config c, fresh;
	unsigned k;

	fake_reset();
	fake_file("/etc/bf-guard.conf", "[trial]\nwindow=12\n");
	fake_file("/etc/bf-guard.conf.d/10-b.conf", "[trial]\nwindow=14\n");
	config_init(&fresh);
	for (k = 1; k < 100; k++) {
		fake_fail_at(k, EIO);
		load(&c);
		if (fake_calls() < k)
			break;
		if (c.policy.window != 12 * SEC && c.policy.window != 14 * SEC &&
		    c.policy.window != 60 * SEC)
			break;
	}
	ok(k > 5 && fake_calls() < k, "whichever call fails, the guard has a configuration");
}

static void test_ages(void)
{
	char what[CONFIG_WHAT_MAX];
	const char *cure;
	struct config c;

	config_init(&c);
	ok(!config_check_ages(&c, what, &cure), "the defaults let no sign fill the window");
	c.heartbeat_max_age = c.policy.window;
	ok(config_check_ages(&c, what, &cure), "an age as long as the window");
	ok_str(what,
	       "[heartbeat] max-age=1 min 0 s is not shorter than [trial] window=1 min 0 s: one "
	       "sign "
	       "of life would fill the window.",
	       "is told with its numbers");
	ok_int(c.policy.window, 120 * SEC, "and a longer window taken");
	ok(!config_check_ages(&c, what, &cure), "which is long enough");
	c.marker_max_age = 0;
	ok(config_check_ages(&c, what, &cure) && strstr(what, "marker-max-age=0: ") &&
		   strstr(cure, "once=yes"),
	   "a marker for ever");
	ok(c.marker_max_age == 45 * SEC && !config_check_ages(&c, what, &cure),
	   "has to be renewed");
	c.marker_max_age = 86400 * SEC;
	ok(config_check_ages(&c, what, &cure) && strstr(what, "marker-max-age=24 h 0 min "),
	   "a marker of yesterday");
	c.policy.window = SEC;
	*c.marker = '\0';
	ok(config_check_ages(&c, what, &cure) && !config_check_ages(&c, what, &cure),
	   "without a marker its age is none");
	c.policy.window = SEC;
	c.heartbeat_once = true;
	ok(!config_check_ages(&c, what, &cure), "a kiosk that signs only once was said to");
	c.heartbeat_once = c.heartbeat_required = false;
	ok(!config_check_ages(&c, what, &cure), "nor does it matter where none is required");
}

int main(void)
{
	test_spans();
	test_values();
	test_tolerance();
	test_warnings();
	test_odd_bytes();
	test_files();
	test_unreadable();
	test_ages();
	return tap_done();
}
