// SPDX-License-Identifier: MIT
/*
 * A signal only says "look again". Any account may send one straight to the guard,
 * past the match rules, in anybody's name; only a reply comes from who was asked.
 * And for PropertiesChanged there are two a change, they may coalesce, and their
 * values belong to no one moment: both interfaces of the unit are read whole.
 */
#include "guard/link.h"

#include "boot/io.h"
#include "guard/device.h"
#include "guard/log.h"
#include "guard/process.h"

#define SEC		 UINT64_C(1000000)
#define RETRY_USEC	 (2 * SEC)
#define RUNG_RETRY_USEC	 (3 * SEC)
#define MARK_MORE_USEC	 (60 * SEC) /* the answer may come later than we care for it */
#define REBOOT_CALL_USEC (20 * SEC)
#define SYSTEM_BUS	 "unix:path=/run/dbus/system_bus_socket"
#define PRIVATE_BUS	 "unix:path=/run/systemd/private"

#define SYSTEMD	   "org.freedesktop.systemd1"
#define MANAGER	   "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
#define UNITS	   "/org/freedesktop/systemd1/unit"
#define PROPERTIES "org.freedesktop.DBus.Properties"
#define LOGIND	   "org.freedesktop.login1"

enum question { ASK_UNIT, ASK_RAUC, ASK_GOING_DOWN, QUESTION_COUNT };

struct link {
	struct link_spec spec;
	const struct link_ops *ops;
	void *userdata;
	sd_event *event;
	sd_bus *bus; /* NULL: not connected */
	bool up;     /* it has greeted us */
	sd_event_source *retry;
	sd_bus *private_bus; /* straight to PID 1, for the reboot */
	char *unit_path;
	struct {
		bool asked, again;
	} questions[QUESTION_COUNT];
	struct kiosk_properties reading; /* half of them: the other half is on its way */
	uint64_t unit_asked;		 /* the last time */
	char *alias_of;			 /* path of the unit, where .unit_path is an alias */
	sd_bus_slot *alias_slot;
	bool installing, going_down;
	uint32_t mark_id; /* a Mark whose outcome is open; 0: none */
	bool mark_open;	  /* and whose answer will come: from RAUC, or from the bus */
	char rauc_said[160];
	/* The way to reboot that was tried last. */
	enum rung rung;
	uint32_t rung_id;
	sd_bus_slot *rung_call;
	sd_event_source *rung_retry; /* it waits for the bus */
};

static bool is_up(const struct link *l)
{
	return l->bus && l->up;
}

/* Calls without an answer that anybody waits for. */
static int ignore(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	(void)m, (void)userdata, (void)error;
	return 0;
}

/* ---- questions ------------------------------------------------------------------- */

struct property {
	const char *service, *path, *interface, *name;
};

/* Asks a service that runs; none is started for it. */
static int get_property(struct link *l, const struct property *p, sd_bus_message_handler_t fn)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_call(l->bus, &m, p->service, p->path, PROPERTIES, "Get");

	if (r >= 0)
		r = sd_bus_message_append(m, "ss", p->interface, p->name);
	if (r >= 0)
		r = sd_bus_message_set_auto_start(m, false);
	if (r >= 0)
		r = sd_bus_call_async(l->bus, NULL, m, fn, l,
				      l->spec.call_timeout + MARK_MORE_USEC);
	return r;
}

static int read_interface(struct link *l, const char *interface, sd_bus_message_handler_t fn)
{
	return sd_bus_call_method_async(l->bus, NULL, SYSTEMD, l->unit_path, PROPERTIES, "GetAll",
					fn, l, "s", interface);
}

static int on_unit(sd_bus_message *m, void *userdata, sd_bus_error *error);
static int on_rauc_property(sd_bus_message *m, void *userdata, sd_bus_error *error);
static int on_going_down(sd_bus_message *m, void *userdata, sd_bus_error *error);

static int send_question(struct link *l, enum question question)
{
	static const struct property operation = { RAUC_NAME, RAUC_PATH, RAUC_INTERFACE,
						   "Operation" };
	static const struct property going_down = { LOGIND, "/org/freedesktop/login1",
						    LOGIND ".Manager", "PreparingForShutdown" };

	switch (question) {
	case ASK_UNIT:
		l->unit_asked = device_now();
		return read_interface(l, SYSTEMD ".Unit", on_unit);
	case ASK_RAUC:
		return get_property(l, &operation, on_rauc_property);
	case ASK_GOING_DOWN:
		return get_property(l, &going_down, on_going_down);
	default:
		return -EINVAL;
	}
}

/* One at a time of each kind, and the last one after the last signal. */
static void ask(struct link *l, enum question question)
{
	if (!is_up(l))
		return;
	if (l->questions[question].asked)
		l->questions[question].again = true;
	else
		l->questions[question].asked = send_question(l, question) >= 0;
}

static void answered(struct link *l, enum question question)
{
	bool again = l->questions[question].again;

	l->questions[question].asked = l->questions[question].again = false;
	if (again)
		ask(l, question);
}

/* ---- the kiosk's unit ------------------------------------------------------------ */

static void unit_read(struct link *l, const struct kiosk_properties *p)
{
	answered(l, ASK_UNIT);
	l->ops->unit(l->userdata, p);
}

static int on_unit_changed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	(void)m, (void)error;
	ask(userdata, ASK_UNIT);
	return 0;
}

/* The unit answers to an alias, too, but news of it come under its own name, @id, only. */
static void watch_alias(struct link *l, const char *id)
{
	_cleanup_free_ char *path = NULL;

	if (!*id || sd_bus_path_encode(UNITS, id, &path) < 0 ||
	    streq(path, l->alias_of ? l->alias_of : l->unit_path))
		return;
	l->alias_slot = sd_bus_slot_unref(l->alias_slot);
	if (sd_bus_match_signal_async(l->bus, &l->alias_slot, SYSTEMD, path, PROPERTIES,
				      "PropertiesChanged", on_unit_changed, NULL, l) < 0)
		return;
	free(l->alias_of);
	l->alias_of = TAKE_PTR(path);
	/* What changed before the match was there. */
	ask(l, ASK_UNIT);
}

static int on_service(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct link *l = userdata;
	/* The unit's half of the properties came first, and is kept here meanwhile. */
	struct kiosk_properties p = l->reading;

	(void)error;
	if (sd_bus_message_is_method_error(m, NULL) || kiosk_read(m, &p) < 0) {
		unit_read(l, NULL);
		return 0;
	}
	p.main_started = process_started((pid_t)p.main_pid);
	watch_alias(l, p.id);
	unit_read(l, &p);
	return 0;
}

static int on_unit(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct link *l = userdata;

	(void)error;
	l->reading = (struct kiosk_properties) { .uid = UINT32_MAX, .asked = l->unit_asked };
	if (sd_bus_message_is_method_error(m, NULL) || kiosk_read(m, &l->reading) < 0 ||
	    read_interface(l, SYSTEMD ".Service", on_service) < 0)
		unit_read(l, NULL);
	return 0;
}

void link_read_unit(struct link *l)
{
	ask(l, ASK_UNIT);
}

void link_restart_unit(struct link *l)
{
	if (!is_up(l))
		return;
	/* A unit that hit its start limit refuses to start until this. */
	(void)sd_bus_call_method_async(l->bus, NULL, SYSTEMD, MANAGER, "ResetFailedUnit", ignore, l,
				       "s", l->spec.unit);
	(void)sd_bus_call_method_async(l->bus, NULL, SYSTEMD, MANAGER, "RestartUnit",
				       on_unit_changed, l, "ss", l->spec.unit, "replace");
}

/* ---- RAUC ------------------------------------------------------------------------- */

enum mark_outcome link_mark_outcome(enum rauc_error error)
{
	if (error == RAUC_ERROR_BUSY)
		return MARK_BUSY;
	return error == RAUC_ERROR_UNKNOWN ? MARK_UNKNOWN : MARK_FAILED;
}

static void marked(struct link *l, enum mark_outcome outcome)
{
	uint32_t id = l->mark_id;

	if (outcome != MARK_UNKNOWN)
		l->mark_id = 0;
	l->ops->marked(l->userdata, id, outcome);
}

static void rauc_says(struct link *l, enum rauc_error error, const char *message)
{
	(void)snprintf(l->rauc_said, sizeof(l->rauc_said), "%s%s%.80s", rauc_error_text(error),
		       message ? ": " : "", message ? message : "");
	text_clean(l->rauc_said, ' ');
	guard_log(LOG_LEVEL_WARNING, "%s", l->rauc_said);
}

static int on_marked(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const sd_bus_error *e = sd_bus_message_get_error(m);
	struct link *l = userdata;
	enum rauc_error what;

	(void)error;
	l->mark_open = false;
	if (l->mark_id == 0)
		return 0;
	if (!e) {
		marked(l, MARK_DONE);
		return 0;
	}
	what = rauc_classify(e->name, e->message);
	rauc_says(l, what, e->message);
	marked(l, link_mark_outcome(what));
	return 0;
}

static int on_rauc_property(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const sd_bus_error *e = sd_bus_message_get_error(m);
	const char *operation = "idle";
	struct link *l = userdata;
	enum rauc_error what = e ? rauc_classify(e->name, e->message) : RAUC_ERROR_BUSY;

	(void)error;
	if (!e && (sd_bus_message_enter_container(m, 'v', "s") < 0 ||
		   sd_bus_message_read_basic(m, 's', &operation) < 0))
		operation = "idle";
	l->installing = !e && !streq(operation, "idle");
	answered(l, ASK_RAUC);
	/*
	 * RAUC answers in the order of the questions, and one that is gone marks nothing any
	 * more: a Mark whose own answer was lost is over. One that is still to be answered is
	 * not: this question may be older, or come from a bus that starts RAUC for the Mark.
	 */
	if (what != RAUC_ERROR_UNKNOWN && l->mark_id && !l->mark_open)
		marked(l, MARK_FAILED);
	l->ops->rauc(l->userdata);
	return 0;
}

/* Also when it comes or goes. */
static int on_rauc_changed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	(void)m, (void)error;
	ask(userdata, ASK_RAUC);
	return 0;
}

void link_mark_good(struct link *l, uint32_t id)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = is_up(l) ? 0 : -ENOTCONN;

	l->mark_id = id;
	if (r >= 0)
		r = sd_bus_message_new_method_call(l->bus, &m, RAUC_NAME, RAUC_PATH, RAUC_INTERFACE,
						   "Mark");
	if (r >= 0)
		r = sd_bus_message_append(m, "ss", "good", "booted");
	if (r >= 0)
		r = sd_bus_call_async(l->bus, NULL, m, on_marked, l,
				      l->spec.call_timeout + MARK_MORE_USEC);
	l->mark_open = r >= 0;
	if (r >= 0)
		return;
	/* It never left: nothing is pending. */
	rauc_says(l, RAUC_ERROR_ABSENT, strerror(-r));
	marked(l, MARK_FAILED);
}

void link_restart_rauc(struct link *l)
{
	if (!is_up(l))
		return;
	guard_log(LOG_LEVEL_WARNING, "RAUC is held up by something: " RAUC_UNIT " is restarted");
	(void)sd_bus_call_method_async(l->bus, NULL, SYSTEMD, MANAGER, "RestartUnit", ignore, l,
				       "ss", RAUC_UNIT, "replace");
}

bool link_is_installing(const struct link *l)
{
	return l->installing;
}

const char *link_rauc_said(const struct link *l)
{
	return l->rauc_said;
}

/* ---- reboot -------------------------------------------------------------------------- */

static int on_rung(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const sd_bus_error *e = sd_bus_message_get_error(m);
	struct link *l = userdata;

	(void)error;
	/* Somebody else's shutdown that is under way will do. */
	if (e && !(e->name && strstr(e->name, "InProgress"))) {
		guard_log(LOG_LEVEL_WARNING, "reboot: %s", e->message ? e->message : e->name);
		l->ops->rung_failed(l->userdata, l->rung_id);
	}
	return 0;
}

/* Without descriptors: nobody needs to send any here, and closing one may wait. */
static int new_bus(sd_bus **ret, const char *address)
{
	int r = sd_bus_new(ret);

	if (r >= 0)
		r = sd_bus_negotiate_fds(*ret, false);
	return r < 0 ? r : sd_bus_set_address(*ret, address);
}

static int open_private(struct link *l)
{
	_cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
	int r;

	if (l->private_bus)
		return 0;
	r = new_bus(&bus, PRIVATE_BUS);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r >= 0)
		r = sd_bus_attach_event(bus, l->event, SD_EVENT_PRIORITY_NORMAL);
	if (r >= 0)
		l->private_bus = TAKE_PTR(bus);
	return r;
}

static int call_reboot(struct link *l)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	enum rung rung = l->rung;
	sd_bus *bus = l->bus;
	int r = 0;

	if (!is_up(l)) {
		/* PID 1 listens on a socket of its own; logind does not. */
		r = rung == RUNG_LOGIND ? -ENOTCONN : open_private(l);
		bus = l->private_bus;
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
		r = sd_bus_call_async(bus, &l->rung_call, m, on_rung, l, REBOOT_CALL_USEC);
	return r;
}

static int on_rung_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct link *l = userdata;

	(void)s, (void)usec;
	l->rung_retry = sd_event_source_disable_unref(l->rung_retry);
	if (call_reboot(l) < 0)
		l->ops->rung_failed(l->userdata, l->rung_id);
	return 0;
}

/* A bus that is not there may be on its way: one more chance before the next rung. */
void link_reboot(struct link *l, enum rung rung, uint32_t id)
{
	l->rung = rung;
	l->rung_id = id;
	l->rung_retry = sd_event_source_disable_unref(l->rung_retry);
	/* Nobody waits for the way before this one any more. */
	l->rung_call = sd_bus_slot_unref(l->rung_call);
	if (call_reboot(l) >= 0)
		return;
	if (sd_event_add_time_relative(l->event, &l->rung_retry, CLOCK_BOOTTIME, RUNG_RETRY_USEC, 0,
				       on_rung_retry, l) < 0)
		l->ops->rung_failed(l->userdata, id);
}

/* ---- a shutdown ------------------------------------------------------------------------- */

static int on_going_down(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct link *l = userdata;
	int down = l->going_down; /* a logind that does not answer takes nothing back */
	bool was = l->going_down;

	(void)error;
	if (!sd_bus_message_is_method_error(m, NULL) &&
	    sd_bus_message_enter_container(m, 'v', "b") >= 0)
		(void)sd_bus_message_read_basic(m, 'b', &down);
	l->going_down = down;
	answered(l, ASK_GOING_DOWN);
	if (l->going_down != was)
		l->ops->going_down(l->userdata, l->going_down);
	return 0;
}

/* It answers after it has begun, or given up, what the signal announces. */
static int on_prepare_for_shutdown(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	(void)m, (void)error;
	ask(userdata, ASK_GOING_DOWN);
	return 0;
}

bool link_is_going_down(const struct link *l)
{
	return l->going_down;
}

/* ---- the connection -------------------------------------------------------------------- */

static void start(struct link *l);

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct link *l = userdata;

	(void)s, (void)usec;
	l->retry = sd_event_source_disable_unref(l->retry);
	start(l);
	return 0;
}

static void retry_later(struct link *l)
{
	if (!l->retry)
		(void)sd_event_add_time_relative(l->event, &l->retry, CLOCK_BOOTTIME, RETRY_USEC, 0,
						 on_retry, l);
}

/* The way to PID 1 stays: it is for the reboot. */
static void disconnect(struct link *l)
{
	l->up = l->mark_open = false;
	memset(l->questions, 0, sizeof(l->questions));
	l->retry = sd_event_source_disable_unref(l->retry);
	l->alias_slot = sd_bus_slot_unref(l->alias_slot);
	free(l->alias_of);
	l->alias_of = NULL;
	l->bus = sd_bus_close_unref(l->bus);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct link *l = userdata;

	(void)m, (void)error;
	guard_log(LOG_LEVEL_WARNING, "the connection to D-Bus is lost; trying again");
	disconnect(l);
	retry_later(l);
	/* A Mark that was on its way has had its answer by now: sd-bus fails all calls first. */
	l->ops->bus(l->userdata, false);
	l->ops->unit(l->userdata, NULL);
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
	struct link *l = userdata;
	int r = 0;

	(void)m, (void)error;
	l->up = true;
	l->ops->bus(l->userdata, true);
	for (size_t i = 0; i < ARRAY_SIZE(watches) && r >= 0; i++)
		r = sd_bus_match_signal_async(l->bus, NULL, watches[i].sender,
					      watches[i].path ? watches[i].path : l->unit_path,
					      watches[i].interface, watches[i].member,
					      watches[i].fn, NULL, l);
	if (r >= 0)
		r = sd_bus_add_match_async(l->bus, NULL,
					   "type='signal',sender='org.freedesktop.DBus',"
					   "member='NameOwnerChanged',arg0='" RAUC_NAME "'",
					   on_rauc_changed, NULL, l);
	if (r >= 0)
		r = sd_bus_add_match_async(l->bus, NULL,
					   "type='signal',sender='org.freedesktop.DBus',"
					   "member='NameOwnerChanged',arg0='" SYSTEMD "'",
					   on_unit_changed, NULL, l);
	if (r >= 0)
		r = sd_bus_call_method_async(l->bus, NULL, SYSTEMD, MANAGER, "Subscribe", ignore, l,
					     NULL);
	if (r < 0)
		guard_log(LOG_LEVEL_WARNING, "D-Bus: %s", strerror(-r));
	for (enum question q = 0; q < QUESTION_COUNT; q++)
		ask(l, q);
	return 0;
}

static int connect_bus(struct link *l)
{
	const char *address = getenv("DBUS_SYSTEM_BUS_ADDRESS");
	int r;

	r = new_bus(&l->bus, address ? address : SYSTEM_BUS);
	if (r >= 0)
		r = sd_bus_set_bus_client(l->bus, true);
	if (r >= 0)
		r = sd_bus_set_connected_signal(l->bus, true);
	/* A bus that is not there yet is waited for by inotify. */
	if (r >= 0)
		r = sd_bus_set_watch_bind(l->bus, true);
	if (r >= 0)
		r = sd_bus_match_signal_async(
			l->bus, NULL, "org.freedesktop.DBus.Local", "/org/freedesktop/DBus/Local",
			"org.freedesktop.DBus.Local", "Connected", on_connected, NULL, l);
	if (r >= 0)
		r = sd_bus_match_signal_async(
			l->bus, NULL, "org.freedesktop.DBus.Local", "/org/freedesktop/DBus/Local",
			"org.freedesktop.DBus.Local", "Disconnected", on_disconnected, NULL, l);
	if (r >= 0)
		r = sd_bus_start(l->bus);
	if (r >= 0)
		r = sd_bus_attach_event(l->bus, l->event, SD_EVENT_PRIORITY_NORMAL);
	return r;
}

static void start(struct link *l)
{
	int r = connect_bus(l);

	if (r >= 0)
		return;
	guard_log(LOG_LEVEL_WARNING, "D-Bus: %s; trying again", strerror(-r));
	disconnect(l);
	retry_later(l);
}

int link_new(struct link **ret, sd_event *event, const struct link_spec *spec,
	     const struct link_ops *ops, void *userdata)
{
	struct link *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->spec = *spec;
	l->ops = ops;
	l->userdata = userdata;
	l->event = sd_event_ref(event);
	r = sd_bus_path_encode(UNITS, spec->unit, &l->unit_path);
	if (r < 0) {
		(void)link_free(l);
		return r;
	}
	start(l);
	*ret = l;
	return 0;
}

struct link *link_free(struct link *l)
{
	if (!l)
		return NULL;
	disconnect(l);
	(void)sd_event_source_disable_unref(l->rung_retry);
	(void)sd_bus_slot_unref(l->rung_call);
	(void)sd_bus_close_unref(l->private_bus);
	(void)sd_event_unref(l->event);
	free(l->unit_path);
	free(l);
	return NULL;
}
