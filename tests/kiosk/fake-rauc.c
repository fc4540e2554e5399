// SPDX-License-Identifier: MIT
/*
 * As much of RAUC's D-Bus API as a client sees, for tests of the client: takes
 * the name on the bus of DBUS_SYSTEM_BUS_ADDRESS and says on stdout what it was
 * asked, one line each. The words on its command line make it a bad one:
 *
 *   compatible=TEXT version=TEXT   what a bundle's manifest says
 *   refuse=TEXT   InspectBundle fails with this
 *   mute=TEXT     there is no InspectBundle, as in RAUC 1.8; installations fail with this
 *   busy=N        Operation is "installing" the first N times it is read
 *   fail=N:TEXT   the first N installations end with this LastError
 *   vanish        it ends in the middle of an installation
 *   never         an installation does not end
 *   zero=TEXT     Completed(0), and yet this LastError
 */
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "boot/base.h"

/* The name that GDBus gives to whatever RAUC's code says. */
#define GDBUS_ERROR  "org.gtk.GDBus.UnmappedGError.Quark._g_2dio_2derror_2dquark.Code30"
#define INSTALL_USEC 200000

static struct {
	const char *compatible, *version, *refuse, *mute, *fail_text, *zero;
	uint32_t busy, fail;
	bool never, vanish;
	const char *last_error;
	bool installing;
	sd_bus *bus;
	sd_event *event;
} rauc = { .compatible = "", .version = "", .last_error = "" };

static void note(const char *what, const char *detail)
{
	(void)printf("%s %s\n", what, detail);
	(void)fflush(stdout);
}

static int inspect_bundle(sd_bus_message *m, void *arg _unused_, sd_bus_error *error)
{
	const char *path;
	int r = sd_bus_message_read(m, "s", &path);

	if (r < 0)
		return r;
	note("inspect", path);
	if (rauc.refuse)
		return sd_bus_error_set(error, GDBUS_ERROR, rauc.refuse);
	if (rauc.mute)
		return sd_bus_error_set(error, SD_BUS_ERROR_UNKNOWN_METHOD, "No such method");
	/* As RAUC 1.13 wraps it. */
	return sd_bus_reply_method_return(m, "a{sv}", 3, "manifest-hash", "s", "ab", "update", "v",
					  "a{sv}", 2, "compatible", "s", rauc.compatible, "version",
					  "s", rauc.version, "images", "v", "aa{sv}", 0);
}

static int done(sd_event_source *source _unused_, uint64_t usec _unused_, void *arg _unused_)
{
	int result = 0;

	if (rauc.vanish)
		_exit(0);
	rauc.last_error = rauc.zero ? rauc.zero : "";
	if (rauc.mute) {
		rauc.last_error = rauc.mute;
		result = 1;
	}
	if (rauc.fail > 0) {
		rauc.fail--;
		rauc.last_error = rauc.fail_text;
		result = 1;
	}
	(void)sd_bus_emit_signal(rauc.bus, "/", "de.pengutronix.rauc.Installer", "Completed", "i",
				 result);
	rauc.installing = false;
	note("completed", rauc.last_error);
	return 0;
}

static int install_bundle(sd_bus_message *m, void *arg _unused_, sd_bus_error *error)
{
	const char *path;
	int r = sd_bus_message_read(m, "s", &path);

	if (r < 0)
		return r;
	if (rauc.installing)
		return sd_bus_error_set(error, GDBUS_ERROR,
					"Already processing a different method");
	note("install", path);
	rauc.installing = true;
	if (!rauc.never)
		(void)sd_event_add_time_relative(rauc.event, NULL, CLOCK_BOOTTIME, INSTALL_USEC, 0,
						 done, NULL);
	return sd_bus_reply_method_return(m, "");
}

static int operation(sd_bus *bus _unused_, const char *path _unused_, const char *iface _unused_,
		     const char *property _unused_, sd_bus_message *reply, void *arg _unused_,
		     sd_bus_error *error _unused_)
{
	bool busy = rauc.installing || rauc.busy > 0;

	if (rauc.busy > 0)
		rauc.busy--;
	return sd_bus_message_append(reply, "s", busy ? "installing" : "idle");
}

static int last_error(sd_bus *bus _unused_, const char *path _unused_, const char *iface _unused_,
		      const char *property _unused_, sd_bus_message *reply, void *arg _unused_,
		      sd_bus_error *error _unused_)
{
	return sd_bus_message_append(reply, "s", rauc.last_error);
}

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("InspectBundle", "sa{sv}", "a{sv}", inspect_bundle,
		      SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("InstallBundle", "sa{sv}", "", install_bundle, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_PROPERTY("Operation", "s", operation, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("LastError", "s", last_error, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_SIGNAL("Completed", "i", 0),
	SD_BUS_VTABLE_END,
};

static int parse_word(char *word)
{
	char *value = strchr(word, '=');

	if (value)
		*value++ = '\0';
	if (streq(word, "never"))
		rauc.never = true;
	else if (streq(word, "vanish"))
		rauc.vanish = true;
	else if (!value)
		return -EINVAL;
	else if (streq(word, "compatible"))
		rauc.compatible = value;
	else if (streq(word, "version"))
		rauc.version = value;
	else if (streq(word, "refuse"))
		rauc.refuse = value;
	else if (streq(word, "mute"))
		rauc.mute = value;
	else if (streq(word, "zero"))
		rauc.zero = value;
	else if (streq(word, "busy"))
		return parse_u32(value, 10, &rauc.busy);
	else if (streq(word, "fail")) {
		rauc.fail_text = strchr(value, ':');
		if (!rauc.fail_text)
			return -EINVAL;
		value[rauc.fail_text++ - value] = '\0';
		return parse_u32(value, 10, &rauc.fail);
	} else
		return -EINVAL;
	return 0;
}

static int serve(void)
{
	int r = sd_event_default(&rauc.event);

	if (r >= 0)
		r = sd_bus_open_system(&rauc.bus);
	if (r >= 0)
		r = sd_bus_attach_event(rauc.bus, rauc.event, 0);
	if (r >= 0)
		r = sd_bus_add_object_vtable(rauc.bus, NULL, "/", "de.pengutronix.rauc.Installer",
					     vtable, NULL);
	if (r >= 0)
		r = sd_bus_request_name(rauc.bus, "de.pengutronix.rauc", 0);
	if (r < 0)
		return r;
	note("ready", "");
	return sd_event_loop(rauc.event);
}

int main(int argc, char **argv)
{
	int r;

	for (int i = 1; i < argc; i++) {
		if (parse_word(argv[i]) < 0) {
			(void)fprintf(stderr, "fake-rauc: what is \"%s\"?\n", argv[i]);
			return 2;
		}
	}
	r = serve();
	sd_bus_flush_close_unref(rauc.bus);
	sd_event_unref(rauc.event);
	if (r < 0)
		(void)fprintf(stderr, "fake-rauc: %s\n", strerror(-r));
	return r < 0;
}
