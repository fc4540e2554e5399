// SPDX-License-Identifier: MIT
/*
 * D-Bus. Every call is asynchronous, every failure only means that something is
 * not known now: the guard lives without a bus, and comes back to one.
 *
 * A signal only says "look again". Any account may send one straight to the guard,
 * past the match rules, in anybody's name; only a reply comes from who was asked.
 * And for PropertiesChanged there are two a change, they may coalesce, and their
 * values belong to no one moment: both interfaces of the unit are read whole.
 */
#include "guard/guard.h"

#include <unistd.h>

#define SEC		 UINT64_C(1000000)
#define RETRY_USEC	 (2 * SEC)
#define MARK_MORE_USEC	 (60 * SEC) /* the answer may come later than we care for it */
#define REBOOT_CALL_USEC (20 * SEC)
#define SYSTEM_BUS	 "unix:path=/run/dbus/system_bus_socket"
#define PRIVATE_BUS	 "unix:path=/run/systemd/private"

#define SYSTEMD	   "org.freedesktop.systemd1"
#define MANAGER	   "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
#define PROPERTIES "org.freedesktop.DBus.Properties"
#define LOGIND	   "org.freedesktop.login1"

static bool is_up(const struct guard *g)
{
	return g->bus && g->bus_up;
}

/* Calls without an answer that anybody waits for. */
static int ignore(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	(void)m, (void)userdata, (void)error;
	return 0;
}

struct property {
	const char *service, *path, *interface, *name;
};

/* Asks a service that runs; none is started for it. */
static int get_property(struct guard *g, const struct property *p, sd_bus_message_handler_t fn)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_call(g->bus, &m, p->service, p->path, PROPERTIES, "Get");

	if (r >= 0)
		r = sd_bus_message_append(m, "ss", p->interface, p->name);
	if (r >= 0)
		r = sd_bus_message_set_auto_start(m, false);
	if (r >= 0)
		r = sd_bus_call_async(g->bus, NULL, m, fn, g,
				      g->config.policy.commit_timeout + MARK_MORE_USEC);
	return r;
}

/* ---- the kiosk's unit ------------------------------------------------------------ */

static void unit_read(struct guard *g, const struct kiosk_properties *p)
{
	bool other;

	g->reading_unit = false;
	if (p) {
		other = kiosk_note(&g->kiosk, p, device_now());
		if (other) {
			heartbeat_forget(&g->heart);
			guard_tell_kiosk(g);
		}
		if (!g->has_user)
			g->kiosk_uid = p->uid == UINT32_MAX ? 0 : p->uid;
		listen_check_marker(g);
	} else {
		kiosk_lost(&g->kiosk, device_now());
	}
	if (g->read_again) {
		g->read_again = false;
		link_read_unit(g);
	}
	guard_evaluate(g);
}

static int on_service(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct guard *g = userdata;
	/* The unit's half of the properties came first, and is kept here meanwhile. */
	struct kiosk_properties p = g->kiosk.reading;

	(void)error;
	if (sd_bus_message_is_method_error(m, NULL) || kiosk_read(m, &p) < 0)
		unit_read(g, NULL);
	else
		unit_read(g, &p);
	return 0;
}

static int read_interface(struct guard *g, const char *interface, sd_bus_message_handler_t fn)
{
	return sd_bus_call_method_async(g->bus, NULL, SYSTEMD, g->unit_path, PROPERTIES, "GetAll",
					fn, g, "s", interface);
}

static int on_unit(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct guard *g = userdata;

	(void)error;
	g->kiosk.reading = (struct kiosk_properties) { .uid = UINT32_MAX };
	if (sd_bus_message_is_method_error(m, NULL) || kiosk_read(m, &g->kiosk.reading) < 0 ||
	    read_interface(g, SYSTEMD ".Service", on_service) < 0)
		unit_read(g, NULL);
	return 0;
}

void link_read_unit(struct guard *g)
{
	if (!is_up(g))
		return;
	if (g->reading_unit) {
		g->read_again = true;
		return;
	}
	g->reading_unit = read_interface(g, SYSTEMD ".Unit", on_unit) >= 0;
}

static int on_unit_changed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	(void)m, (void)error;
	link_read_unit(userdata);
	return 0;
}

void link_restart_unit(struct guard *g)
{
	if (!is_up(g))
		return;
	/* A unit that hit its start limit refuses to start until this. */
	(void)sd_bus_call_method_async(g->bus, NULL, SYSTEMD, MANAGER, "ResetFailedUnit", ignore, g,
				       "s", g->config.unit);
	(void)sd_bus_call_method_async(g->bus, NULL, SYSTEMD, MANAGER, "RestartUnit",
				       on_unit_changed, g, "ss", g->config.unit, "replace");
}

/* ---- RAUC ------------------------------------------------------------------------- */

static void marked(struct guard *g, enum mark_outcome outcome)
{
	struct policy_event event = { .type = EVENT_MARKED, .id = g->mark_id, .mark = outcome };

	if (outcome != MARK_UNKNOWN)
		g->mark_id = 0;
	guard_event(g, &event);
}

static void rauc_says(struct guard *g, enum rauc_error error, const char *message)
{
	(void)snprintf(g->rauc_said, sizeof(g->rauc_said), "%s%s%.80s", rauc_error_text(error),
		       message ? ": " : "", message ? message : "");
	guard_log(LOG_LEVEL_WARNING, "%s", g->rauc_said);
}

static int on_marked(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const sd_bus_error *e = sd_bus_message_get_error(m);
	struct guard *g = userdata;
	enum rauc_error what;

	(void)error;
	g->mark_open = false;
	if (g->mark_id == 0)
		return 0;
	if (!e) {
		marked(g, MARK_DONE);
		return 0;
	}
	what = rauc_classify(e->name, e->message);
	rauc_says(g, what, e->message);
	marked(g, rauc_mark_outcome(what));
	return 0;
}

static int on_rauc_property(sd_bus_message *m, void *userdata, sd_bus_error *error);

/* Without starting it. One question at a time, the last one after the last signal. */
static void ask_rauc(struct guard *g)
{
	if (!is_up(g))
		return;
	if (g->asking_rauc) {
		g->ask_again = true;
		return;
	}
	g->asking_rauc =
		get_property(
			g, &(struct property) { RAUC_NAME, RAUC_PATH, RAUC_INTERFACE, "Operation" },
			on_rauc_property) >= 0;
}

static int on_rauc_property(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const sd_bus_error *e = sd_bus_message_get_error(m);
	const char *operation = "idle";
	struct guard *g = userdata;
	enum rauc_error what = e ? rauc_classify(e->name, e->message) : RAUC_ERROR_BUSY;

	(void)error;
	if (!e && (sd_bus_message_enter_container(m, 'v', "s") < 0 ||
		   sd_bus_message_read_basic(m, 's', &operation) < 0))
		operation = "idle";
	g->asking_rauc = false;
	/*
	 * RAUC answers in the order of the questions, and one that is gone marks nothing any
	 * more: a Mark whose own answer was lost is over. One that is still to be answered is
	 * not: this question may be older, or come from a bus that starts RAUC for the Mark.
	 */
	if (what != RAUC_ERROR_UNKNOWN && g->mark_id && !g->mark_open)
		marked(g, MARK_FAILED);
	g->installing = !e && !streq(operation, "idle");
	guard_read_facts(g, 0);
	if (g->ask_again) {
		g->ask_again = false;
		ask_rauc(g);
	}
	return 0;
}

/* Also when it comes or goes. */
static int on_rauc_changed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	(void)m, (void)error;
	ask_rauc(userdata);
	return 0;
}

void link_mark_good(struct guard *g, uint32_t id)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = is_up(g) ? 0 : -ENOTCONN;

	g->mark_id = id;
	if (r >= 0)
		r = sd_bus_message_new_method_call(g->bus, &m, RAUC_NAME, RAUC_PATH, RAUC_INTERFACE,
						   "Mark");
	if (r >= 0)
		r = sd_bus_message_append(m, "ss", "good", "booted");
	if (r >= 0)
		r = sd_bus_call_async(g->bus, NULL, m, on_marked, g,
				      g->config.policy.commit_timeout + MARK_MORE_USEC);
	g->mark_open = r >= 0;
	if (r >= 0)
		return;
	/* It never left: nothing is pending. */
	rauc_says(g, RAUC_ERROR_ABSENT, strerror(-r));
	marked(g, MARK_FAILED);
}

/* ---- reboot -------------------------------------------------------------------------- */

struct rung_call {
	struct guard *guard;
	uint32_t id;
};

static int on_rung(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const sd_bus_error *e = sd_bus_message_get_error(m);
	struct rung_call *call = userdata;
	struct policy_event failed = { .type = EVENT_RUNG_FAILED, .id = call->id };
	struct guard *g = call->guard;

	(void)error;
	/* Somebody else's shutdown that is under way will do. */
	if (e && !(e->name && strstr(e->name, "InProgress"))) {
		guard_log(LOG_LEVEL_WARNING, "reboot: %s", e->message ? e->message : e->name);
		guard_event(g, &failed);
	}
	return 0;
}

static int open_private(struct guard *g)
{
	_cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
	int r;

	if (g->private_bus)
		return 0;
	r = sd_bus_new(&bus);
	if (r >= 0)
		r = sd_bus_set_address(bus, PRIVATE_BUS);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r >= 0)
		r = sd_bus_attach_event(bus, g->event, SD_EVENT_PRIORITY_NORMAL);
	if (r >= 0)
		g->private_bus = TAKE_PTR(bus);
	return r;
}

static struct rung_call *new_call(struct guard *g, uint32_t id)
{
	struct rung_call *call = malloc(sizeof(*call));

	if (call)
		*call = (struct rung_call) { .guard = g, .id = id };
	return call;
}

int link_reboot(struct guard *g, enum rung rung, uint32_t id)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	_cleanup_free_ struct rung_call *call = new_call(g, id);
	sd_bus_slot *slot = NULL;
	sd_bus *bus = g->bus;
	int r = 0;

	if (!call)
		return -ENOMEM;
	if (!is_up(g)) {
		/* PID 1 listens on a socket of its own; logind does not. */
		r = rung == RUNG_LOGIND ? -ENOTCONN : open_private(g);
		bus = g->private_bus;
	}
	if (r < 0)
		return r;
	if (rung == RUNG_LOGIND)
		r = sd_bus_message_new_method_call(bus, &m, LOGIND, "/org/freedesktop/login1",
						   LOGIND ".Manager", "Reboot");
	else
		r = sd_bus_message_new_method_call(bus, &m, SYSTEMD, MANAGER,
						   rung == RUNG_JOB ? "StartUnit" : "Reboot");
	if (r >= 0 && rung == RUNG_LOGIND)
		r = sd_bus_message_append(m, "b", false);
	if (r >= 0 && rung == RUNG_JOB)
		r = sd_bus_message_append(m, "ss", "reboot.target", "replace-irreversibly");
	if (r >= 0)
		r = sd_bus_call_async(bus, &slot, m, on_rung, call, REBOOT_CALL_USEC);
	if (r < 0)
		return r;
	/* The bus keeps the call, and the call its memory. */
	(void)sd_bus_slot_set_destroy_callback(slot, free);
	(void)sd_bus_slot_set_floating(slot, true);
	(void)TAKE_PTR(call);
	sd_bus_slot_unref(slot);
	return 0;
}

/* ---- a shutdown ------------------------------------------------------------------------- */

static const struct property going_down = { LOGIND, "/org/freedesktop/login1", LOGIND ".Manager",
					    "PreparingForShutdown" };

static void ask_going_down(struct guard *g);

static int on_going_down(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct policy_event event = { .type = EVENT_GOING_DOWN };
	struct guard *g = userdata;
	int down = g->going_down; /* a logind that does not answer takes nothing back */

	(void)error;
	g->asking_down = false;
	if (!sd_bus_message_is_method_error(m, NULL) &&
	    sd_bus_message_enter_container(m, 'v', "b") >= 0)
		(void)sd_bus_message_read_basic(m, 'b', &down);
	event.yes = down;
	if (g->going_down != event.yes) {
		g->going_down = event.yes;
		guard_event(g, &event);
	}
	if (g->down_again) {
		g->down_again = false;
		ask_going_down(g);
	}
	return 0;
}

static void ask_going_down(struct guard *g)
{
	if (!is_up(g))
		return;
	if (g->asking_down) {
		g->down_again = true;
		return;
	}
	g->asking_down = get_property(g, &going_down, on_going_down) >= 0;
}

/* It answers after it has begun, or given up, what the signal announces. */
static int on_prepare_for_shutdown(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	(void)m, (void)error;
	ask_going_down(userdata);
	return 0;
}

/* ---- the connection -------------------------------------------------------------------- */

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct guard *g = userdata;

	(void)s, (void)usec;
	g->bus_retry = sd_event_source_disable_unref(g->bus_retry);
	link_connect(g);
	return 0;
}

static void retry_later(struct guard *g)
{
	if (!g->bus_retry)
		(void)sd_event_add_time_relative(g->event, &g->bus_retry, CLOCK_BOOTTIME,
						 RETRY_USEC, 0, on_retry, g);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct guard *g = userdata;

	(void)m, (void)error;
	guard_log(LOG_LEVEL_WARNING, "the connection to D-Bus is lost; trying again");
	link_disconnect(g);
	if (g->mark_id)
		marked(g, MARK_UNKNOWN);
	kiosk_lost(&g->kiosk, device_now());
	guard_evaluate(g);
	retry_later(g);
	return 0;
}

static const struct watch {
	const char *sender, *path, *interface, *member;
	sd_bus_message_handler_t fn;
} watches[] = {
	/* .path NULL: the unit's */
	{ SYSTEMD, NULL, PROPERTIES, "PropertiesChanged", on_unit_changed },
	{ RAUC_NAME, RAUC_PATH, PROPERTIES, "PropertiesChanged", on_rauc_changed },
	{ RAUC_NAME, RAUC_PATH, RAUC_INTERFACE, "Completed", on_rauc_changed },
	{ LOGIND, "/org/freedesktop/login1", LOGIND ".Manager", "PrepareForShutdown",
	  on_prepare_for_shutdown },
};

/* Matches first, then the questions: no change falls between them. */
static int on_connected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct guard *g = userdata;
	int r = 0;

	(void)m, (void)error;
	g->bus_up = true;
	checks_bus(&g->checks, true);
	for (size_t i = 0; i < ARRAY_SIZE(watches) && r >= 0; i++)
		r = sd_bus_match_signal_async(g->bus, NULL, watches[i].sender,
					      watches[i].path ? watches[i].path : g->unit_path,
					      watches[i].interface, watches[i].member,
					      watches[i].fn, NULL, g);
	if (r >= 0)
		r = sd_bus_add_match_async(g->bus, NULL,
					   "type='signal',sender='org.freedesktop.DBus',"
					   "member='NameOwnerChanged',arg0='" RAUC_NAME "'",
					   on_rauc_changed, NULL, g);
	if (r >= 0)
		r = sd_bus_add_match_async(g->bus, NULL,
					   "type='signal',sender='org.freedesktop.DBus',"
					   "member='NameOwnerChanged',arg0='" SYSTEMD "'",
					   on_unit_changed, NULL, g);
	if (r >= 0)
		r = sd_bus_call_method_async(g->bus, NULL, SYSTEMD, MANAGER, "Subscribe", ignore, g,
					     NULL);
	if (r < 0)
		guard_log(LOG_LEVEL_WARNING, "D-Bus: %s", strerror(-r));
	link_read_unit(g);
	ask_rauc(g);
	ask_going_down(g);
	return 0;
}

static int connect_bus(struct guard *g)
{
	const char *address = getenv("DBUS_SYSTEM_BUS_ADDRESS");
	int r;

	r = sd_bus_new(&g->bus);
	if (r >= 0)
		r = sd_bus_set_address(g->bus, address ? address : SYSTEM_BUS);
	if (r >= 0)
		r = sd_bus_set_bus_client(g->bus, true);
	if (r >= 0)
		r = sd_bus_set_connected_signal(g->bus, true);
	/* A bus that is not there yet is waited for by inotify. */
	if (r >= 0)
		r = sd_bus_set_watch_bind(g->bus, true);
	if (r >= 0)
		r = sd_bus_match_signal_async(
			g->bus, NULL, "org.freedesktop.DBus.Local", "/org/freedesktop/DBus/Local",
			"org.freedesktop.DBus.Local", "Connected", on_connected, NULL, g);
	if (r >= 0)
		r = sd_bus_match_signal_async(
			g->bus, NULL, "org.freedesktop.DBus.Local", "/org/freedesktop/DBus/Local",
			"org.freedesktop.DBus.Local", "Disconnected", on_disconnected, NULL, g);
	if (r >= 0)
		r = sd_bus_start(g->bus);
	if (r >= 0)
		r = sd_bus_attach_event(g->bus, g->event, SD_EVENT_PRIORITY_NORMAL);
	return r;
}

void link_connect(struct guard *g)
{
	int r;

	if (!g->unit_path &&
	    sd_bus_path_encode("/org/freedesktop/systemd1/unit", g->config.unit, &g->unit_path) < 0)
		return;
	r = connect_bus(g);
	if (r >= 0)
		return;
	guard_log(LOG_LEVEL_WARNING, "D-Bus: %s; trying again", strerror(-r));
	link_disconnect(g);
	retry_later(g);
}

void link_disconnect(struct guard *g)
{
	g->bus_up = g->reading_unit = g->read_again = false;
	g->asking_rauc = g->ask_again = g->asking_down = g->down_again = g->mark_open = false;
	g->bus_retry = sd_event_source_disable_unref(g->bus_retry);
	g->bus = sd_bus_close_unref(g->bus);
	checks_bus(&g->checks, false);
	/* The way to PID 1 stays: it is for the reboot, and ends with the process. */
}
