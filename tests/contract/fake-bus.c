// SPDX-License-Identifier: MIT
/*
 * systemd, logind and RAUC as bf-guard sees them, on the bus of
 * DBUS_SYSTEM_BUS_ADDRESS. What was called goes to standard output, one line
 * each; standard input says what they shall be like from now on:
 *
 *   active STATE SUB      the kiosk's unit (with PropertiesChanged)
 *   result WORD           its Result, with the next "active"
 *   restart               a new invocation, active
 *   quiet-restart         … without a word about it
 *   watchdog USEC FED     its WatchdogUSec; fed (1) or not (0)
 *   uid UID               its UID
 *   main PID              its MainPID
 *   id NAME               its Id; news of it come under that name only
 *   ended USEC            its InactiveEnterTimestampMonotonic
 *   condition yes|no      its ConditionResult, looked at just now
 *   load STATE            its LoadState
 *   mark ok|fail|busy|lie|after|silent|held|TEXT-OF-AN-ERROR
 *                         ok: marks; lie: says so; after: marks, then fails; silent: never answers;
 *                         held: nor does that, until rauc.service is restarted
 *   mark-delay MSEC       … after that
 *   get-delay MSEC        it answers questions for its Operation after that
 *   operation WORD        RAUC's Operation, with PropertiesChanged
 *   completed N           RAUC's Completed
 *   rauc on|off           RAUC, on a connection of its own, runs or not
 *   reboot ok|fail        what logind, and systemd, say to a reboot
 *   down 0|1              logind's PrepareForShutdown, and what it says when asked
 *   quiet-down 0|1        … the latter alone
 *
 * A Mark that marks makes BF_TEST_DEVICE/facts "committed probation".
 */
#include "boot/base.h"

#include <fcntl.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#define UNIT_PATH     "/org/freedesktop/systemd1/unit/kiosk_2eservice"
#define OTHER_PATH    "/org/freedesktop/systemd1/unit/other_2eservice"
#define RAUC_IFACE    "de.pengutronix.rauc.Installer"
#define UNIT_IFACE    "org.freedesktop.systemd1.Unit"
#define SERVICE_IFACE "org.freedesktop.systemd1.Service"

static struct {
	sd_bus *bus, *rauc;
	sd_event *event;
	char active[32], sub[32], load[32], result[32];
	uint8_t invocation[16];
	uint64_t watchdog_usec, watchdog_at, active_at, mark_delay, get_delay;
	uint64_t ended_at, condition_at;
	uint32_t uid, restarts, main_pid;
	int condition;
	char id[64];
	char mark[128], operation[32];
	bool reboot_fails, down;
	sd_bus_message *pending, *get;
	char line[512];
	size_t line_len;
} s;

static void said(const char *fmt, ...) _printf_(1, 2);
static void said(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	(void)putchar('\n');
	(void)fflush(stdout);
}

static void must(int r, const char *what)
{
	if (r < 0) {
		(void)fprintf(stderr, "fake-bus: %s: %s\n", what, strerror(-r));
		exit(1);
	}
}

/* ---- properties ------------------------------------------------------------ */

static int get_invocation(sd_bus *bus, const char *path, const char *interface,
			  const char *property, sd_bus_message *reply, void *userdata,
			  sd_bus_error *error)
{
	(void)bus, (void)path, (void)interface, (void)property, (void)userdata, (void)error;
	return sd_bus_message_append_array(reply, 'y', s.invocation, sizeof(s.invocation));
}

static int get_word(sd_bus *bus, const char *path, const char *interface, const char *property,
		    sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const char *word = streq(property, "ActiveState") ? s.active
			   : streq(property, "SubState")  ? s.sub
			   : streq(property, "Result")	  ? s.result
			   : streq(property, "Operation") ? s.operation
			   : streq(property, "Id")	  ? s.id
							  : s.load;

	(void)bus, (void)path, (void)interface, (void)userdata, (void)error;
	return sd_bus_message_append(reply, "s", word);
}

static int get_number(sd_bus *bus, const char *path, const char *interface, const char *property,
		      sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	uint64_t n = streq(property, "WatchdogUSec")			  ? s.watchdog_usec
		     : streq(property, "WatchdogTimestampMonotonic")	  ? s.watchdog_at
		     : streq(property, "InactiveEnterTimestampMonotonic") ? s.ended_at
		     : streq(property, "ConditionTimestampMonotonic")	  ? s.condition_at
									  : s.active_at;

	(void)bus, (void)path, (void)interface, (void)userdata, (void)error;
	return sd_bus_message_append(reply, "t", n);
}

static int get_u32(sd_bus *bus, const char *path, const char *interface, const char *property,
		   sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	(void)bus, (void)path, (void)interface, (void)userdata, (void)error;
	return sd_bus_message_append(reply, "u",
				     streq(property, "UID")	    ? s.uid
				     : streq(property, "NRestarts") ? s.restarts
								    : s.main_pid);
}

static int get_condition(sd_bus *bus, const char *path, const char *interface, const char *property,
			 sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	(void)bus, (void)path, (void)interface, (void)property, (void)userdata, (void)error;
	return sd_bus_message_append(reply, "b", s.condition);
}

static const sd_bus_vtable unit_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Id", "s", get_word, 0, 0),
	SD_BUS_PROPERTY("LoadState", "s", get_word, 0, 0),
	SD_BUS_PROPERTY("ActiveState", "s", get_word, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("SubState", "s", get_word, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("InvocationID", "ay", get_invocation, 0, 0),
	SD_BUS_PROPERTY("ActiveEnterTimestampMonotonic", "t", get_number, 0, 0),
	SD_BUS_PROPERTY("InactiveEnterTimestampMonotonic", "t", get_number, 0, 0),
	SD_BUS_PROPERTY("ConditionTimestampMonotonic", "t", get_number, 0, 0),
	SD_BUS_PROPERTY("ConditionResult", "b", get_condition, 0, 0),
	SD_BUS_VTABLE_END,
};

static const sd_bus_vtable service_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Result", "s", get_word, 0, 0),
	SD_BUS_PROPERTY("WatchdogUSec", "t", get_number, 0, 0),
	SD_BUS_PROPERTY("WatchdogTimestampMonotonic", "t", get_number, 0, 0),
	SD_BUS_PROPERTY("UID", "u", get_u32, 0, 0),
	SD_BUS_PROPERTY("MainPID", "u", get_u32, 0, 0),
	SD_BUS_PROPERTY("NRestarts", "u", get_u32, 0, 0),
	SD_BUS_VTABLE_END,
};

/* ---- methods ------------------------------------------------------------------ */

static int reboot_answer(sd_bus_message *m, const char *reply)
{
	if (s.reboot_fails)
		return sd_bus_reply_method_errorf(m, "org.freedesktop.DBus.Error.AccessDenied",
						  "not allowed");
	return *reply ? sd_bus_reply_method_return(m, reply, "/job/1")
		      : sd_bus_reply_method_return(m, NULL);
}

static void set(char *to, size_t size, const char *from)
{
	(void)snprintf(to, size, "%s", from);
}

static void stop_rauc(void);
static void start_rauc(void);

static int on_manager(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *member = sd_bus_message_get_member(m), *unit = "", *mode = "";

	(void)userdata, (void)error;
	if (sd_bus_message_has_signature(m, "ss"))
		(void)sd_bus_message_read(m, "ss", &unit, &mode);
	else if (sd_bus_message_has_signature(m, "s"))
		(void)sd_bus_message_read(m, "s", &unit);
	said("systemd %s %s %s", member, unit, mode);
	if (streq(member, "StartUnit"))
		return reboot_answer(m, "o");
	if (streq(member, "Reboot"))
		return reboot_answer(m, "");
	if (streq(member, "RestartUnit") && streq(unit, "rauc.service")) {
		if (streq(s.mark, "held"))
			set(s.mark, sizeof(s.mark), "ok");
		stop_rauc();
		start_rauc();
	}
	return streq(member, "RestartUnit") ? sd_bus_reply_method_return(m, "o", "/job/1")
					    : sd_bus_reply_method_return(m, NULL);
}

static const sd_bus_vtable manager_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Subscribe", "", "", on_manager, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("ResetFailedUnit", "s", "", on_manager, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("RestartUnit", "ss", "o", on_manager, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("StartUnit", "ss", "o", on_manager, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Reboot", "", "", on_manager, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static int on_logind(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	(void)userdata, (void)error;
	said("logind %s", sd_bus_message_get_member(m));
	return reboot_answer(m, "");
}

static int get_down(sd_bus *bus, const char *path, const char *interface, const char *property,
		    sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	(void)bus, (void)path, (void)interface, (void)property, (void)userdata, (void)error;
	return sd_bus_message_append(reply, "b", s.down);
}

static const sd_bus_vtable logind_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("PreparingForShutdown", "b", get_down, 0, 0),
	SD_BUS_METHOD("Reboot", "b", "", on_logind, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_SIGNAL("PrepareForShutdown", "b", 0),
	SD_BUS_VTABLE_END,
};

static void commit(void)
{
	const char *dir = getenv("BF_TEST_DEVICE");
	_cleanup_free_ char *path = strf("%s/facts", dir ? dir : "/nonexistent");
	_cleanup_close_ int fd =
		path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;

	if (fd < 0 || write(fd, "committed probation\n", 20) != 20)
		must(-EIO, "facts");
}

static int answer_mark(sd_bus_message *m)
{
	if (streq(s.mark, "ok") || streq(s.mark, "after"))
		commit();
	if (streq(s.mark, "ok") || streq(s.mark, "lie"))
		return sd_bus_reply_method_return(m, "ss", "rootfs.1",
						  "marked slot rootfs.1 as good");
	return sd_bus_reply_method_errorf(
		m, "org.gtk.GDBus.UnmappedGError.Quark._g_2dio_2derror_2dquark.Code30", "%s",
		streq(s.mark, "busy")	 ? "already processing a different method"
		: streq(s.mark, "fail")	 ? "custom backend: exited with code 1"
		: streq(s.mark, "after") ? "Failed marking slot rootfs.0 as bad"
					 : s.mark);
}

static int on_mark_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec, (void)userdata;
	if (s.pending) /* else it died meanwhile */
		must(answer_mark(s.pending), "late answer");
	s.pending = sd_bus_message_unref(s.pending);
	return 0;
}

static int on_get_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec, (void)userdata;
	if (s.get)
		must(sd_bus_reply_method_return(s.get, "v", "s", s.operation), "late answer");
	s.get = sd_bus_message_unref(s.get);
	return 0;
}

/* Of all that RAUC is sent. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	(void)userdata, (void)error;
	if (!sd_bus_message_is_method_call(m, "org.freedesktop.DBus.Properties", "Get"))
		return 0;
	said("rauc Get%s", s.get ? " AT THE SAME TIME" : "");
	if (s.get_delay == 0)
		return 0;
	s.get = sd_bus_message_ref(m);
	must(sd_event_add_time_relative(s.event, NULL, CLOCK_MONOTONIC, s.get_delay, 1000,
					on_get_timer, NULL),
	     "get-delay");
	return 1;
}

static int on_mark(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *state, *slot;
	int r = sd_bus_message_read(m, "ss", &state, &slot);

	(void)userdata, (void)error;
	if (r < 0)
		return r;
	said("rauc Mark %s %s%s", state, slot, s.pending ? " AT THE SAME TIME" : "");
	if (streq(s.mark, "silent") || streq(s.mark, "held"))
		return 1;
	if (s.mark_delay == 0)
		return answer_mark(m);
	s.pending = sd_bus_message_ref(m);
	r = sd_event_add_time_relative(s.event, NULL, CLOCK_MONOTONIC, s.mark_delay, 1000,
				       on_mark_timer, NULL);
	return r < 0 ? r : 1;
}

static const sd_bus_vtable rauc_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Mark", "ss", "ss", on_mark, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_PROPERTY("Operation", "s", get_word, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_SIGNAL("Completed", "i", 0),
	SD_BUS_VTABLE_END,
};

/* ---- what standard input says ------------------------------------------------------ */

static void changed(void)
{
	must(sd_bus_emit_signal(s.bus, streq(s.id, "kiosk.service") ? UNIT_PATH : OTHER_PATH,
				"org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as",
				UNIT_IFACE, 0, 0),
	     "PropertiesChanged");
}

static void set_active(const char *a, const char *b)
{
	set(s.active, sizeof(s.active), a);
	set(s.sub, sizeof(s.sub), b);
	if (streq(a, "active") && s.invocation[0] == 0)
		s.invocation[0] = 1;
	changed();
}

static void stop_rauc(void)
{
	s.pending = sd_bus_message_unref(s.pending);
	s.get = sd_bus_message_unref(s.get);
	if (s.rauc)
		must(sd_bus_release_name(s.rauc, "de.pengutronix.rauc"), "RAUC's name");
	s.rauc = sd_bus_flush_close_unref(s.rauc);
}

static void start_rauc(void)
{
	must(sd_bus_open_system(&s.rauc), "RAUC's bus");
	must(sd_bus_attach_event(s.rauc, s.event, 0), "attach");
	must(sd_bus_add_filter(s.rauc, NULL, on_message, NULL), "filter");
	must(sd_bus_add_object_vtable(s.rauc, NULL, "/", RAUC_IFACE, rauc_vtable, NULL), "RAUC");
	must(sd_bus_request_name(s.rauc, "de.pengutronix.rauc", 0), "RAUC's name");
}

static void control(char *line)
{
	char *save = NULL, *word = strtok_r(line, " ", &save), *a = strtok_r(NULL, " ", &save),
	     *b = strtok_r(NULL, "", &save);

	if (!word || !a)
		a = (char *)"";
	if (!word)
		return;
	if (streq(word, "active")) {
		set_active(a, b ? b : "");
	} else if (streq(word, "restart") || streq(word, "quiet-restart")) {
		s.invocation[0]++;
		s.invocation[1] = 7;
		if (streq(word, "restart"))
			set_active("active", "running");
	} else if (streq(word, "result")) {
		set(s.result, sizeof(s.result), a);
	} else if (streq(word, "load")) {
		set(s.load, sizeof(s.load), a);
		changed();
	} else if (streq(word, "watchdog")) {
		s.watchdog_usec = strtoull(a, NULL, 10);
		s.watchdog_at = s.active_at + (b && streq(b, "1") ? 1000 : 0);
		changed();
	} else if (streq(word, "uid")) {
		s.uid = (uint32_t)strtoul(a, NULL, 10);
		changed();
	} else if (streq(word, "main")) {
		s.main_pid = (uint32_t)strtoul(a, NULL, 10);
	} else if (streq(word, "id")) {
		set(s.id, sizeof(s.id), a);
	} else if (streq(word, "ended")) {
		s.ended_at = strtoull(a, NULL, 10);
	} else if (streq(word, "condition")) {
		s.condition_at = 1;
		s.condition = streq(a, "yes");
	} else if (streq(word, "mark")) {
		(void)snprintf(s.mark, sizeof(s.mark), "%s%s%s", a, b ? " " : "", b ? b : "");
	} else if (streq(word, "mark-delay")) {
		s.mark_delay = strtoull(a, NULL, 10) * 1000;
	} else if (streq(word, "get-delay")) {
		s.get_delay = strtoull(a, NULL, 10) * 1000;
	} else if (streq(word, "operation")) {
		set(s.operation, sizeof(s.operation), a);
		must(sd_bus_emit_properties_changed(s.rauc, "/", RAUC_IFACE, "Operation", NULL),
		     "Operation");
	} else if (streq(word, "completed")) {
		must(sd_bus_emit_signal(s.rauc, "/", RAUC_IFACE, "Completed", "i", 0), "Completed");
	} else if (streq(word, "rauc")) {
		stop_rauc();
		if (streq(a, "on"))
			start_rauc();
	} else if (streq(word, "reboot")) {
		s.reboot_fails = streq(a, "fail");
	} else if (streq(word, "quiet-down")) {
		s.down = streq(a, "1");
	} else if (streq(word, "down")) {
		s.down = streq(a, "1");
		must(sd_bus_emit_signal(s.bus, "/org/freedesktop/login1",
					"org.freedesktop.login1.Manager", "PrepareForShutdown", "b",
					streq(a, "1")),
		     "PrepareForShutdown");
	} else {
		must(-EINVAL, word);
	}
	said("done %s", word);
}

static int on_input(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	ssize_t n = read(fd, s.line + s.line_len, sizeof(s.line) - 1 - s.line_len);
	char *end;

	(void)source, (void)revents, (void)userdata;
	if (n <= 0)
		return sd_event_exit(s.event, 0);
	s.line_len += (size_t)n;
	s.line[s.line_len] = '\0';
	while ((end = strchr(s.line, '\n'))) {
		*end = '\0';
		control(s.line);
		s.line_len -= (size_t)(end + 1 - s.line);
		memmove(s.line, end + 1, s.line_len + 1);
	}
	return 0;
}

static void offer(void)
{
	static const struct {
		const char *path, *interface;
		const sd_bus_vtable *vtable;
	} objects[] = {
		{ UNIT_PATH, UNIT_IFACE, unit_vtable },
		{ UNIT_PATH, SERVICE_IFACE, service_vtable },
		{ "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", manager_vtable },
		{ "/org/freedesktop/login1", "org.freedesktop.login1.Manager", logind_vtable },
	};

	for (size_t i = 0; i < ARRAY_SIZE(objects); i++)
		must(sd_bus_add_object_vtable(s.bus, NULL, objects[i].path, objects[i].interface,
					      objects[i].vtable, NULL),
		     objects[i].path);
}

int main(void)
{
	set(s.active, sizeof(s.active), "inactive");
	set(s.sub, sizeof(s.sub), "dead");
	set(s.load, sizeof(s.load), "loaded");
	set(s.result, sizeof(s.result), "success");
	set(s.operation, sizeof(s.operation), "idle");
	set(s.mark, sizeof(s.mark), "ok");
	s.active_at = 1000000;
	s.uid = UINT32_MAX;
	s.main_pid = 1;
	set(s.id, sizeof(s.id), "kiosk.service");
	must(sd_event_new(&s.event), "event");
	must(sd_bus_open_system(&s.bus), "bus");
	must(sd_bus_attach_event(s.bus, s.event, 0), "attach");
	offer();
	must(sd_bus_request_name(s.bus, "org.freedesktop.systemd1", 0), "systemd's name");
	must(sd_bus_request_name(s.bus, "org.freedesktop.login1", 0), "logind's name");
	start_rauc();
	must(sd_event_add_io(s.event, NULL, STDIN_FILENO, EPOLLIN, on_input, NULL), "input");
	said("ready");
	must(sd_event_loop(s.event), "loop");
	(void)sd_bus_flush_close_unref(s.rauc);
	(void)sd_bus_flush_close_unref(s.bus);
	(void)sd_event_unref(s.event);
	return 0;
}
