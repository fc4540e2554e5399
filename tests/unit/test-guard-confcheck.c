// SPDX-License-Identifier: MIT
#include "guard/confcheck.h"

#include "boot/sys.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#include <fcntl.h>

#define CONF   "/image/etc/bf-guard.conf"
#define UNITS  "/image/usr/lib/systemd/system/"
#define NO_BOX "Install the kiosk, or name its unit with unit=.\n"

static char said[4096];

static void note(void *userdata, const char *file, unsigned line, const char *what,
		 const char *cure)
{
	size_t n = strlen(said);

	(void)userdata;
	(void)snprintf(said + n, sizeof(said) - n, "%s:%u: %s\n%s\n", file, line, what, cure);
}

/* An image whose configuration is @conf; what stands outside of it must not count. */
static void image(const char *conf)
{
	fake_reset();
	fake_file("/etc/systemd/system/kiosk.service", "[Service]\n");
	fake_file("/etc/passwd", "bfkiosk:x:1::/:/bin/false\n");
	fake_file(CONF, conf);
	fake_file("/image/etc/passwd", "root:x:0:0::/root:/bin/sh\nnobfkiosk:x:1::/:\n");
}

static const char *check(void)
{
	int fd = sys_open("/image", O_RDONLY | O_DIRECTORY, 0);
	struct config c;

	*said = '\0';
	confcheck(&c, fd, note, NULL);
	(void)sys_close(fd);
	ok_int(fake_open_fds(), 0, "nothing stays open");
	return said;
}

static const char unit_conf[] = "[kiosk]\nuser=\nunit=kiosk.service\n";
static const char no_unit[] = "etc/bf-guard.conf:3: The unit kiosk.service is nowhere in this "
			      "root: there is no kiosk to judge.\n" NO_BOX;
static const char masked[] = "etc/bf-guard.conf:3: The unit kiosk.service is masked: there is no "
			     "kiosk to judge.\nUnmask it; or, without a kiosk, mask "
			     "bf-guard.service, too.\n";

static void test_unit(void)
{
	static const char *const places[] = {
		"etc/systemd/system/kiosk.service",
		"run/systemd/system/kiosk.service",
		"usr/local/lib/systemd/system/kiosk.service",
		"usr/lib/systemd/system/kiosk.service",
		"lib/systemd/system/kiosk.service",
		"etc/containers/systemd/kiosk.container",
		"usr/share/containers/systemd/kiosk.container",
		"etc/init.d/kiosk",
	};

	image(unit_conf);
	ok_str(check(), no_unit, "no unit");
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		_cleanup_free_ char *path = strf("/image/%s", places[i]);

		image(unit_conf);
		fake_file(path ? path : "", "x");
		ok_str(check(), "", "a unit in %s", places[i]);
	}
	image("");
	ok_str(check(),
	       "etc/bf-guard.conf:0: The unit betterframe-kiosk.service is nowhere in this root: "
	       "there is no kiosk to judge.\n" NO_BOX,
	       "the default has no line");
	image(unit_conf);
	fake_file("/image/etc/bf-guard.conf.d/9.conf", "[kiosk]\nunit=other.service\n");
	ok(strstr(check(), "etc/bf-guard.conf.d/9.conf:2: The unit other.service") == said,
	   "the last line that named it");
}

static void test_links(void)
{
	image(unit_conf);
	fake_symlink("/usr/lib/systemd/system/cage.service",
		     "/image/etc/systemd/system/kiosk.service");
	ok_str(check(), no_unit, "an alias of nothing");
	fake_file(UNITS "cage.service", "x");
	ok_str(check(), "", "an alias");
	image(unit_conf);
	fake_symlink("/usr/lib", "/image/lib");
	fake_file(UNITS "kiosk.service", "x");
	ok_str(check(), "", "a link to a directory");
	fake_symlink("/dev/null", "/image/etc/systemd/system/kiosk.service");
	ok_str(check(), masked, "masked");
	image(unit_conf);
	fake_file(UNITS "kiosk.service", "x");
	fake_file("/image/etc/systemd/system/kiosk.service", "");
	ok_str(check(), masked, "an empty file masks, too");
}

static void test_templates(void)
{
	image("[kiosk]\nunit=cage@tty1.service\n");
	fake_file(UNITS "cage.service", "x");
	ok(strstr(check(), "The unit cage@tty1.service is nowhere") != NULL, "no template");
	fake_file(UNITS "cage@.service", "x");
	ok_str(check(), "", "an instance of a template");
	image("[kiosk]\nunit=cage@tty1.service\n");
	fake_file(UNITS "cage@tty1.service", "x");
	ok_str(check(), "", "an instance with a file of its own");
	image("[kiosk]\nunit=cage@.service\n");
	ok(strstr(check(), "unit=cage@.service is not understood") != NULL, "no instance");
}

static void test_user_and_marker(void)
{
	image("[kiosk]\nunit=kiosk.service\nuser=bfkiosk\n[heartbeat]\nmarker=/dev/shm/ok\n");
	fake_file(UNITS "kiosk.service", "x");
	ok_str(check(),
	       "etc/bf-guard.conf:3: The account bfkiosk is not in /etc/passwd: no heartbeat would "
	       "be taken.\nAdd the account, or leave user= out.\n"
	       "etc/bf-guard.conf:5: The marker /dev/shm/ok is not below /run: it might not count, "
	       "or be taken by others.\n"
	       "Put it below /run, by a path without symbolic links.\n",
	       "neither account nor marker");
	fake_file("/image/etc/passwd", "root:x:0:0::/root:/bin/sh\nbfkiosk:x:1::/:");
	fake_file(CONF, "[kiosk]\nunit=kiosk.service\nuser=bfkiosk\n[heartbeat]\nmarker=/run/ok\n");
	ok_str(check(), "", "both");
	fake_file(CONF, "[kiosk]\nunit=kiosk.service\n[heartbeat]\nmarker=\n");
	ok_str(check(), "", "no marker");
	fake_file(CONF, "[kiosk]\nunit=kiosk\n");
	ok(strstr(check(), "etc/bf-guard.conf:2: unit=kiosk is not understood; ignored.\nSay "
			   "unit=kiosk.service.\n") == said,
	   "and what the guard itself would warn of");
}

int main(void)
{
	test_unit();
	test_links();
	test_templates();
	test_user_and_marker();
	return tap_done();
}
