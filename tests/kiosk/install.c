// SPDX-License-Identifier: MIT
#include "tests/kiosk/install.h"

#include "tests/kiosk/update.h"

#include <systemd/sd-bus.h>
#include <time.h>

#define RAUC	     "de.pengutronix.rauc"
#define RAUC_PATH    "/"
#define RAUC_IFACE   "de.pengutronix.rauc.Installer"
#define USEC_PER_SEC UINT64_C(1000000)
/* What GDBus makes of every error that RAUC itself reports; the rest is the bus's. */
#define GDBUS_ERROR   "org.gtk.GDBus.UnmappedGError"
#define HANDLER_ERROR "Pre-install handler error: "
/* To start RAUC, and for it to read a bundle's signature on a slow machine. */
#define CALL_USEC (120 * USEC_PER_SEC)

#define _cleanup_bus_	  _cleanup_(sd_bus_flush_close_unrefp)
#define _cleanup_message_ _cleanup_(sd_bus_message_unrefp)
#define _cleanup_slot_	  _cleanup_(sd_bus_slot_unrefp)
#define _cleanup_error_	  _cleanup_(sd_bus_error_free)

struct waiting {
	bool completed;
	int32_t result;
	bool gone;
};

static uint64_t now_usec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

static int say(char *why, int error, const char *what, const char *text)
{
	(void)snprintf(why, INSTALL_WHY_MAX, "%s: %.200s", what, text ? text : strerror(-error));
	for (char *c = why; *c; c++)
		*c = *c == '\n' || *c == '\r' ? ' ' : *c;
	return error;
}

static int on_completed(sd_bus_message *m, void *arg, sd_bus_error *error _unused_)
{
	struct waiting *w = arg;

	if (sd_bus_message_read(m, "i", &w->result) >= 0)
		w->completed = true;
	return 0;
}

/* NameOwnerChanged(name, old, new): a RAUC that was there and is not any more. */
static int on_owner(sd_bus_message *m, void *arg, sd_bus_error *error _unused_)
{
	struct waiting *w = arg;
	const char *name, *before, *after;

	if (sd_bus_message_read(m, "sss", &name, &before, &after) >= 0 && *before)
		w->gone = true;
	return 0;
}

static int watch(sd_bus *bus, struct waiting *w, sd_bus_slot **ret_completed,
		 sd_bus_slot **ret_owner)
{
	int r = sd_bus_match_signal(bus, ret_completed, RAUC, RAUC_PATH, RAUC_IFACE, "Completed",
				    on_completed, w);
	if (r < 0)
		return r;
	return sd_bus_add_match(bus, ret_owner,
				"type='signal',sender='org.freedesktop.DBus',"
				"member='NameOwnerChanged',arg0='" RAUC "'",
				on_owner, w);
}

/* Lets the bus work for a while; < 0 when it is gone. */
static int turn(sd_bus *bus, uint64_t usec)
{
	int r = sd_bus_process(bus, NULL);

	if (r == 0)
		r = sd_bus_wait(bus, usec);
	return r == -EINTR || r > 0 ? 0 : r;
}

static int get_string(sd_bus *bus, const char *property, char **ret)
{
	_cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

	return sd_bus_get_property_string(bus, RAUC, RAUC_PATH, RAUC_IFACE, property, &error, ret);
}

static int call_bundle(sd_bus *bus, const char *method, const struct install *in,
		       sd_bus_error *error, sd_bus_message **ret)
{
	_cleanup_message_ sd_bus_message *call = NULL;
	int r;

	r = sd_bus_message_new_method_call(bus, &call, RAUC, RAUC_PATH, RAUC_IFACE, method);
	if (r >= 0)
		r = sd_bus_message_append(call, "sa{sv}", in->path, 0);
	return r < 0 ? r : sd_bus_call(bus, call, CALL_USEC, error, ret);
}

/*
 * RAUC has one error name for everything, so its text decides. What a later time can mend (the
 * clock of a device without one is wrong until the network is there) is not final.
 */
static int verdict(const char *text)
{
	static const struct {
		const char *part;
		int error;
	} known[] = {
		{ "already processing", -EBUSY },
		/* The clock of this device is behind: the bundle may be good. */
		{ "not yet valid", -EIO },
		{ "expired", -EIO },
		{ "rejected", -EKEYREJECTED },
		{ "signature", -EKEYREJECTED },
		{ "ompatible", -EKEYREJECTED },
		{ "nvalid bundle", -EKEYREJECTED },
		{ "nvalid identifier", -EKEYREJECTED },
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (text && strstr(text, known[i].part))
			return known[i].error;
	}
	return -EIO;
}

struct inspected {
	const char *compatible, *version; /* NULL: not said */
};

/*
 * The members of a{sv} that count: RAUC has them in another one, "update", and wraps that twice.
 * Strings are the message's.
 */
static int read_members(sd_bus_message *m, struct inspected *ret)
{
	int r = sd_bus_message_enter_container(m, 'a', "{sv}");

	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		const char *key, *contents;
		unsigned depth = 0;
		char type = 0;

		r = sd_bus_message_read(m, "s", &key);
		while (r >= 0 && (r = sd_bus_message_peek_type(m, &type, &contents)) >= 0 &&
		       type == 'v') {
			r = sd_bus_message_enter_container(m, type, contents);
			depth++;
		}
		if (r >= 0 && streq(key, "update"))
			r = read_members(m, ret);
		else if (r >= 0 && streq(key, "compatible"))
			r = sd_bus_message_read(m, "s", &ret->compatible);
		else if (r >= 0 && streq(key, "version"))
			r = sd_bus_message_read(m, "s", &ret->version);
		else if (r >= 0)
			r = sd_bus_message_skip(m, NULL);
		while (r >= 0 && depth-- > 0)
			r = sd_bus_message_exit_container(m);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

/*
 * RAUC checks the signature; what is signed has to be what was offered. RAUC before 1.9 cannot be
 * asked: then the installation, which starts with the same check, tells whether it is signed.
 */
static int inspect(sd_bus *bus, const struct install *in, char *why)
{
	_cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_message_ sd_bus_message *reply = NULL;
	struct inspected said = { 0 };
	int r = call_bundle(bus, "InspectBundle", in, &error, &reply);

	if (r < 0 && sd_bus_error_has_name(&error, SD_BUS_ERROR_UNKNOWN_METHOD))
		return 0;
	if (r < 0 && (!error.name || !startswith(error.name, GDBUS_ERROR)))
		return say(why, r, "RAUC does not answer", error.message);
	if (r < 0)
		return say(why, verdict(error.message), "RAUC does not take the bundle",
			   error.message);
	r = read_members(reply, &said);
	if (r < 0 || !said.compatible || !said.version)
		return say(why, r < 0 ? r : -EBADMSG, "RAUC's answer to InspectBundle", NULL);
	if (!streq(said.compatible, in->compatible))
		return say(why, -EKEYREJECTED, "the bundle is for another device", said.compatible);
	if (!streq(said.version, in->version))
		return say(why, -EKEYREJECTED, "the bundle is of another version", said.version);
	return 0;
}

/* Somebody else may be installing. */
static int wait_idle(sd_bus *bus, unsigned busy_sec, char *why)
{
	uint64_t until = now_usec() + busy_sec * USEC_PER_SEC;

	for (;;) {
		_cleanup_free_ char *operation = NULL;
		int r = get_string(bus, "Operation", &operation);

		if (r < 0)
			return say(why, r, "RAUC does not answer", NULL);
		if (streq(operation, "idle"))
			return 0;
		if (now_usec() >= until)
			return say(why, -EBUSY, "RAUC is at something else", operation);
		(void)nanosleep(&(struct timespec) { .tv_nsec = 250000000 }, NULL);
	}
}

static int begin(sd_bus *bus, const struct install *in, char *why)
{
	_cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_message_ sd_bus_message *reply = NULL;
	int r = call_bundle(bus, "InstallBundle", in, &error, &reply);

	return r < 0 ? say(why, r, "RAUC did not begin", error.message) : 0;
}

static int wait_end(sd_bus *bus, const struct install *in, struct waiting *w, char *why)
{
	uint64_t until = now_usec() + in->total_sec * USEC_PER_SEC;

	while (!w->completed) {
		uint64_t now = now_usec();
		int r;

		if (w->gone)
			return say(why, -ECONNRESET, "RAUC ended during the installation", "");
		if (now >= until)
			return say(why, -ETIMEDOUT, "RAUC did not end the installation", NULL);
		r = turn(bus, until - now);
		if (r < 0)
			return say(why, -ECONNRESET, "the bus went away", strerror(-r));
	}
	return 0;
}

/* Completed(0) alone is not believed: LastError has to be empty, too. */
static int judge(sd_bus *bus, const struct install *in, const struct waiting *w, char *why)
{
	_cleanup_free_ char *error = NULL, *reason = NULL;
	int r = get_string(bus, "LastError", &error);

	if (r < 0)
		return say(why, -EIO, "RAUC's last error cannot be read", strerror(-r));
	if (w->result == 0 && *error == '\0')
		return 0;
	/* Of that, RAUC says the exit status only. */
	if (startswith(error, HANDLER_ERROR))
		reason = first_line(in->refusal);
	if (reason)
		return say(why, startswith(reason, "Not now: ") ? -EAGAIN : -EKEYREJECTED,
			   "this device does not take the bundle", reason);
	return say(why, verdict(error), "RAUC could not install the bundle", error);
}

int install_bundle(const struct install *in, char why[static INSTALL_WHY_MAX])
{
	_cleanup_bus_ sd_bus *bus = NULL;
	_cleanup_slot_ sd_bus_slot *completed = NULL, *owner = NULL;
	struct waiting w = { 0 };
	int r;

	r = sd_bus_open_system(&bus);
	if (r >= 0)
		r = watch(bus, &w, &completed, &owner);
	if (r < 0)
		return say(why, r, "the system bus", NULL);
	r = wait_idle(bus, in->busy_sec, why);
	if (r == 0)
		r = inspect(bus, in, why);
	/* What somebody else completed meanwhile is not ours. */
	w = (struct waiting) { 0 };
	if (r == 0)
		r = begin(bus, in, why);
	if (r == 0)
		r = wait_end(bus, in, &w, why);
	return r == 0 ? judge(bus, in, &w, why) : r;
}
