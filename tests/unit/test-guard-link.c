// SPDX-License-Identifier: MIT
/*
 * The guard's D-Bus without a guard: a bus of this process's own, on which systemd,
 * logind and RAUC are what a test says, and a link that tells a test what it hears.
 */
#include "guard/link.h"

#include "tests/lib/scratch.h"
#include "tests/lib/tap.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define SEC	 UINT64_C(1000000)
#define SYSTEMD	 "org.freedesktop.systemd1"
#define LOGIND	 "org.freedesktop.login1"
#define UNIT	 "/org/freedesktop/systemd1/unit/kiosk_2eservice"
#define PATIENCE (10 * SEC)

static sd_event *loop;
static struct link *l;

/* ---- what the link tells ------------------------------------------------------ */

static struct {
	unsigned ups, downs, units, losses, raucs, goings, marks, rungs;
	struct kiosk_properties unit;
	bool going;
	uint32_t marked, rung;
	enum mark_outcome outcome;
} heard;

static void on_bus(void *userdata, bool up)
{
	(void)userdata;
	heard.ups += up;
	heard.downs += !up;
}

static void on_unit(void *userdata, const struct kiosk_properties *p)
{
	(void)userdata;
	heard.units += p != NULL;
	heard.losses += p == NULL;
	if (p)
		heard.unit = *p;
}

static void on_rauc(void *userdata)
{
	(void)userdata;
	heard.raucs++;
}

static void on_going_down(void *userdata, bool down)
{
	(void)userdata;
	heard.goings++;
	heard.going = down;
}

static void on_marked(void *userdata, uint32_t id, enum mark_outcome outcome)
{
	(void)userdata;
	heard.marks++;
	heard.marked = id;
	heard.outcome = outcome;
}

static void on_rung_failed(void *userdata, uint32_t id)
{
	(void)userdata;
	heard.rungs++;
	heard.rung = id;
}

static const struct link_ops ops = { on_bus,	    on_unit,   on_rauc,
				     on_going_down, on_marked, on_rung_failed };

/* ---- the world ---------------------------------------------------------------- */

static struct {
	char dir[32], path[64];
	int fd; /* listens; -1: there is no bus */
	sd_bus *bus;
	sd_event_source *source;
	const char *active, *operation; /* NULL: an error */
	const char *mark_error;		/* "": it works; NULL: no answer */
	const char *reboot_error;	/* as a D-Bus name; "": it works */
	bool down;
	sd_bus_message *held; /* of the unit's questions, while .hold */
	bool hold;
	char calls[4096]; /* members, each with a space */
} world = { .fd = -1 };

static int reply_error(sd_bus_message *m, const char *name, const char *text)
{
	return sd_bus_reply_method_errorf(m, name, "%s", text);
}

static int reply_unit(sd_bus_message *m)
{
	const char *interface;

	if (!world.active || sd_bus_message_read(m, "s", &interface) < 0)
		return reply_error(m, SYSTEMD ".NoSuchUnit", "none");
	if (strstr(interface, ".Service"))
		return sd_bus_reply_method_return(m, "a{sv}", 2, "UID", "u", 1000U, "MainPID", "u",
						  42U);
	return sd_bus_reply_method_return(m, "a{sv}", 2, "LoadState", "s", "loaded", "ActiveState",
					  "s", world.active);
}

static int reply_mark(sd_bus_message *m)
{
	if (!world.mark_error)
		return 0;
	if (*world.mark_error)
		return reply_error(m, "org.gtk.GDBus.UnmappedGError.Code30", world.mark_error);
	return sd_bus_reply_method_return(m, "ss", "rootfs.1", "marked slot rootfs.1 as good");
}

static int reply_property(sd_bus_message *m)
{
	if (streq(sd_bus_message_get_destination(m), LOGIND))
		return sd_bus_reply_method_return(m, "v", "b", world.down);
	if (!world.operation)
		return reply_error(m, SD_BUS_ERROR_NAME_HAS_NO_OWNER, "RAUC does not run");
	return sd_bus_reply_method_return(m, "v", "s", world.operation);
}

static int reply_reboot(sd_bus_message *m)
{
	if (*world.reboot_error)
		return reply_error(m, world.reboot_error, "no");
	return sd_bus_reply_method_return(m, NULL);
}

static int on_call(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *member = sd_bus_message_get_member(m);
	size_t at = strlen(world.calls);

	(void)userdata, (void)error;
	if (!sd_bus_message_is_method_call(m, NULL, NULL))
		return 0;
	(void)snprintf(world.calls + at, sizeof(world.calls) - at, "%s ", member);
	if (streq(member, "Hello"))
		(void)sd_bus_reply_method_return(m, "s", ":1.7");
	else if (streq(member, "GetAll") && world.hold && !world.held)
		world.held = sd_bus_message_ref(m);
	else if (streq(member, "GetAll"))
		(void)reply_unit(m);
	else if (streq(member, "Get"))
		(void)reply_property(m);
	else if (streq(member, "Mark"))
		(void)reply_mark(m);
	else if (streq(member, "Reboot") || streq(member, "StartUnit"))
		(void)reply_reboot(m);
	else
		(void)sd_bus_reply_method_return(m, NULL);
	return 1;
}

static int on_connection(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	sd_id128_t id = { .bytes = { 1 } };

	(void)s, (void)revents, (void)userdata;
	ok(client >= 0 && sd_bus_new(&world.bus) >= 0 &&
		   sd_bus_set_fd(world.bus, client, client) >= 0 &&
		   sd_bus_set_server(world.bus, true, id) >= 0 &&
		   sd_bus_add_filter(world.bus, NULL, on_call, NULL) >= 0 &&
		   sd_bus_start(world.bus) >= 0 &&
		   sd_bus_attach_event(world.bus, loop, SD_EVENT_PRIORITY_NORMAL) >= 0,
	   "somebody connects to the bus");
	return 0;
}

static void start_bus(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", world.path);
	world.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ok(world.fd >= 0 &&
		   bind(world.fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
		   listen(world.fd, 4) == 0 &&
		   sd_event_add_io(loop, &world.source, world.fd, EPOLLIN, on_connection, NULL) >=
			   0,
	   "a bus");
}

static void stop_bus(void)
{
	world.held = sd_bus_message_unref(world.held);
	world.source = sd_event_source_disable_unref(world.source);
	world.bus = sd_bus_close_unref(world.bus);
	close_p(&world.fd);
	(void)unlink(world.path);
}

/* From @sender; what it says is what the link does not go by. */
static void signal_from(const char *sender, const char *path, const char *interface,
			const char *member)
{
	sd_bus_message *m = NULL;

	ok(sd_bus_message_new_signal(world.bus, &m, path, interface, member) >= 0 &&
		   sd_bus_message_set_sender(m, sender) >= 0 &&
		   sd_bus_send(world.bus, m, NULL) >= 0,
	   "%s says %s", sender, member);
	(void)sd_bus_message_unref(m);
}

static unsigned called(const char *member)
{
	_cleanup_free_ char *word = strf("%s ", member);
	unsigned n = 0;

	for (const char *s = world.calls; word && (s = strstr(s, word)); s += strlen(word))
		if (s == world.calls || s[-1] == ' ')
			n++;
	return n;
}

static void turn(uint64_t usec)
{
	if (sd_event_run(loop, usec) < 0)
		abort();
}

static uint64_t now(void)
{
	uint64_t usec;

	return sd_event_now(loop, CLOCK_BOOTTIME, &usec) < 0 ? 0 : usec;
}

/* The loop, until it is so. */
#define UNTIL(cond, ...)                                                                           \
	do {                                                                                       \
		turn(0);                                                                           \
		for (uint64_t _end = now() + PATIENCE; !(cond) && now() < _end;)                   \
			turn(SEC / 10);                                                            \
		ok((cond), __VA_ARGS__);                                                           \
	} while (0)

/* Until what is under way has come to its end. */
static void settle(void)
{
	for (unsigned quiet = 0; quiet < 3;)
		quiet = sd_event_run(loop, SEC / 50) > 0 ? 0 : quiet + 1;
}

static void begin(void)
{
	static const struct link_spec spec = { .unit = "kiosk.service", .call_timeout = 5 * SEC };

	world.active = "active";
	world.operation = "idle";
	world.mark_error = world.reboot_error = "";
	world.down = world.hold = false;
	*world.calls = '\0';
	memset(&heard, 0, sizeof(heard));
	ok_int(link_new(&l, loop, &spec, &ops, NULL), 0, "a link");
}

static void end(void)
{
	l = link_free(l);
	stop_bus();
}

/* A link that has heard everything once. */
static void begin_connected(void)
{
	start_bus();
	begin();
	UNTIL(heard.units == 1 && heard.raucs == 1, "it connects, and asks");
	settle();
	*world.calls = '\0';
	memset(&heard, 0, sizeof(heard));
}

/* ---- the connection ------------------------------------------------------------ */

static void test_connects(void)
{
	const char *last_match, *first_question;

	begin();
	settle();
	ok(heard.ups == 0 && heard.units == 0, "without a bus it waits");
	start_bus();
	UNTIL(heard.ups == 1 && heard.units == 1 && heard.raucs == 1, "until there is one");
	ok_str(heard.unit.active, "active", "one half of the unit's properties");
	ok_int(heard.unit.uid, 1000, "and the other");
	last_match = strstr(world.calls, "AddMatch ");
	first_question = strstr(world.calls, "Get");
	for (const char *s = last_match; s; s = strstr(s + 1, "AddMatch "))
		last_match = s;
	ok(last_match && first_question && last_match < first_question,
	   "no change falls between its matches and its questions");
	ok_int(called("Subscribe"), 1, "systemd is asked for signals");
	ok(!link_is_installing(l) && !link_is_going_down(l), "nothing is under way");
	end();
}

static void test_bus_that_is_lost(void)
{
	begin_connected();
	stop_bus();
	UNTIL(heard.downs == 1 && heard.losses == 1, "a bus that is gone is told");
	link_read_unit(l);
	link_restart_unit(l);
	start_bus();
	UNTIL(heard.ups == 1 && heard.units == 1, "as is one that comes back");
	ok_int(called("RestartUnit"), 0, "what was asked meanwhile is not made up for");
	end();
}

/* ---- the unit ------------------------------------------------------------------- */

static void test_unit(void)
{
	begin_connected();
	world.active = "failed";
	signal_from(SYSTEMD, UNIT, "org.freedesktop.DBus.Properties", "PropertiesChanged");
	UNTIL(heard.units == 1, "after a signal it is read");
	ok_str(heard.unit.active, "failed", "as systemd has it");
	world.active = NULL;
	link_read_unit(l);
	UNTIL(heard.losses == 1, "a unit that cannot be read is not known");
	world.active = "active";
	link_restart_unit(l);
	UNTIL(heard.units == 2, "after a restart it is read");
	ok_str(world.calls, "GetAll GetAll GetAll ResetFailedUnit RestartUnit GetAll GetAll ",
	       "with its start limit forgotten");
	end();
}

static void test_one_question_at_a_time(void)
{
	begin_connected();
	world.hold = true;
	link_read_unit(l);
	UNTIL(world.held, "a question that is not answered yet");
	for (unsigned i = 0; i < 20; i++)
		signal_from(SYSTEMD, UNIT, "org.freedesktop.DBus.Properties", "PropertiesChanged");
	settle();
	ok_int(called("GetAll"), 1, "is not asked twice");
	world.active = "deactivating";
	(void)reply_unit(world.held);
	UNTIL(heard.units == 2, "and once more after the last signal");
	settle();
	ok_int(called("GetAll"), 4, "not for each");
	end();
}

/* ---- RAUC ------------------------------------------------------------------------ */

static void test_installing(void)
{
	begin_connected();
	world.operation = "installing";
	signal_from("de.pengutronix.rauc", "/", "org.freedesktop.DBus.Properties",
		    "PropertiesChanged");
	UNTIL(heard.raucs == 1, "RAUC does something");
	ok(link_is_installing(l), "it installs");
	world.operation = NULL;
	signal_from("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
		    "NameOwnerChanged");
	signal_from("de.pengutronix.rauc", "/", "de.pengutronix.rauc.Installer", "Completed");
	UNTIL(heard.raucs >= 2, "and is gone");
	ok(!link_is_installing(l), "then it does not");
	end();
}

static void test_mark(void)
{
	static const struct {
		const char *error, *said;
		enum mark_outcome outcome;
	} rows[] = {
		{ "", "", MARK_DONE },
		{ "already processing a different method",
		  "RAUC is installing; the slot is marked later: "
		  "already processing a different method",
		  MARK_BUSY },
		{ "custom backend: exited with code 1",
		  "RAUC could not mark the slot: custom backend: exited with code 1", MARK_FAILED },
	};

	begin_connected();
	for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
		world.mark_error = rows[i].error;
		link_mark_good(l, 100 + i);
		UNTIL(heard.marks == i + 1, "a Mark is answered");
		ok(heard.marked == 100 + i && heard.outcome == rows[i].outcome, "so: %s",
		   rows[i].error);
		ok_str(link_rauc_said(l), rows[i].said, "in words");
	}
	end();
}

static void test_mark_without_an_answer(void)
{
	begin_connected();
	world.mark_error = NULL;
	link_mark_good(l, 7);
	UNTIL(called("Mark") == 1, "a Mark that is not answered");
	signal_from("de.pengutronix.rauc", "/", "de.pengutronix.rauc.Installer", "Completed");
	UNTIL(heard.raucs == 1, "while RAUC answers something else");
	ok_int(heard.marks, 0, "is not over: its own answer may come");
	stop_bus();
	UNTIL(heard.marks == 1, "the bus is lost, and the answer with it");
	ok(heard.marked == 7 && heard.outcome == MARK_UNKNOWN, "so it may have happened");
	start_bus();
	UNTIL(heard.outcome == MARK_FAILED, "RAUC answers in order, so it is not pending any more");
	ok_int(heard.marked, 7, "that one");
	end();
}

static void test_mark_without_a_bus(void)
{
	begin();
	link_mark_good(l, 3);
	ok(heard.marks == 1 && heard.marked == 3 && heard.outcome == MARK_FAILED,
	   "it never left: nothing is pending");
	end();
}

/* ---- reboot ----------------------------------------------------------------------- */

static void test_reboot(void)
{
	begin_connected();
	link_reboot(l, RUNG_LOGIND, 1);
	UNTIL(called("Reboot") == 1, "logind is asked");
	world.reboot_error = LOGIND ".OperationInProgress";
	link_reboot(l, RUNG_MANAGER, 2);
	UNTIL(called("Reboot") == 2, "systemd is asked");
	settle();
	ok_int(heard.rungs, 0, "a shutdown that is under way will do");
	world.reboot_error = SD_BUS_ERROR_ACCESS_DENIED;
	link_reboot(l, RUNG_JOB, 3);
	UNTIL(heard.rungs == 1, "a way that does not work is told");
	ok(heard.rung == 3 && called("StartUnit") == 1, "by its id");
	link_reboot(l, RUNG_JOB, 4);
	link_reboot(l, RUNG_JOB, 5);
	UNTIL(heard.rungs == 2 && heard.rung == 5, "and once another is tried, only that one");
	settle();
	ok_int(heard.rungs, 2, "whatever is said of the one before");
	link_reboot(l, RUNG_LOGIND, 6);
	stop_bus();
	UNTIL(heard.rungs == 3 && heard.rung == 6, "a bus that is lost has not done it");
	end();
}

/* Only logind: other ways go straight to PID 1 without a bus, and this may be a real system. */
static void test_reboot_without_a_bus(void)
{
	begin();
	link_reboot(l, RUNG_LOGIND, 1);
	ok_int(heard.rungs, 0, "the bus may be on its way");
	start_bus();
	UNTIL(called("Reboot") == 1, "it is");
	end();
	begin();
	link_reboot(l, RUNG_LOGIND, 2);
	UNTIL(heard.rungs == 1 && heard.rung == 2, "one that is not is told");
	end();
}

static void test_going_down(void)
{
	static const char *const args[] = { LOGIND, "/org/freedesktop/login1", LOGIND ".Manager",
					    "PrepareForShutdown" };

	begin_connected();
	signal_from(args[0], args[1], args[2], args[3]);
	UNTIL(called("Get") == 1, "logind is asked whether it is so");
	settle();
	ok_int(heard.goings, 0, "it is not: anybody could have said that");
	world.down = true;
	signal_from(args[0], args[1], args[2], args[3]);
	UNTIL(heard.goings == 1 && heard.going, "it is");
	ok(link_is_going_down(l), "so it stays");
	world.down = false;
	signal_from(args[0], args[1], args[2], args[3]);
	UNTIL(heard.goings == 2 && !heard.going, "until logind takes it back");
	end();
}

int main(void)
{
	(void)snprintf(world.dir, sizeof(world.dir), "/tmp/bf-link-XXXXXX");
	if (sd_event_new(&loop) < 0 || !mkdtemp(world.dir))
		return 1;
	(void)snprintf(world.path, sizeof(world.path), "%s/bus", world.dir);
	{
		_cleanup_free_ char *address = strf("unix:path=%s", world.path);

		ok(address && setenv("DBUS_SYSTEM_BUS_ADDRESS", address, true) == 0, "an address");
	}
	test_connects();
	test_bus_that_is_lost();
	test_unit();
	test_one_question_at_a_time();
	test_installing();
	test_mark();
	test_mark_without_an_answer();
	test_mark_without_a_bus();
	test_reboot();
	test_reboot_without_a_bus();
	test_going_down();
	ok(!link_free(NULL), "no link is fine");
	loop = sd_event_unref(loop);
	scratch_remove(world.dir);
	return tap_done();
}
