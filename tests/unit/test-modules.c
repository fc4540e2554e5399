// SPDX-License-Identifier: MIT
#include "initramfs/init/modules.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#include <pthread.h>
#include <unistd.h>

#define LIST	"/lib/modules/bf-modules"
#define RELEASE "6.12.107+deb13-arm64"
#define HEAD	"# bf-modules 2 " RELEASE "\n"

static const char good_list[] = HEAD "0 /m/a.ko\n"
				     "0 -/m/b.ko.d/b.ko x=1 y=\"two words\"\n"
				     "1 ?/m/d.ko\n"
				     "alias pci:v*d*\n"
				     "needs 0\n"
				     "alias of:N*T*Cone two\n"
				     "needs 1\n"
				     "7 /m/-c.ko\n"
				     "needs 2\n";

static void test_parse_good(void)
{
	static const struct module_line want[] = {
		{ 0, MODULE_REQUIRED, "/m/a.ko", "" },
		{ 0, MODULE_OPTIONAL, "/m/b.ko.d/b.ko", "x=1 y=\"two words\"" },
		{ 1, MODULE_ON_DEMAND, "/m/d.ko", "" },
		{ 7, MODULE_REQUIRED, "/m/-c.ko", "" },
	};
	static const struct module_alias aliases[] = { { 2, "pci:v*d*" },
						       { 2, "of:N*T*Cone two" } };
	static const struct module_need needs[] = { { 2, 0 }, { 2, 1 }, { 3, 2 } };
	struct module_list l;
	struct failure f = { 0 };

	ok_int(modules_parse(good_list, &l, &f), 0, "a good list");
	ok_str(l.release, RELEASE, "release");
	ok_int(l.count, ARRAY_SIZE(want), "count");
	for (size_t i = 0; i < ARRAY_SIZE(want) && i < l.count; i++) {
		ok_int(l.lines[i].level, want[i].level, "line %zu, level", i);
		ok_int(l.lines[i].kind, want[i].kind, "line %zu, kind", i);
		ok_str(l.lines[i].path, want[i].path, "line %zu, path", i);
		ok_str(l.lines[i].params, want[i].params, "line %zu, parameters", i);
	}
	ok_int(l.alias_count, ARRAY_SIZE(aliases), "aliases");
	for (size_t i = 0; i < ARRAY_SIZE(aliases) && i < l.alias_count; i++) {
		ok_int(l.aliases[i].module, aliases[i].module, "alias %zu, module", i);
		ok_str(l.aliases[i].pattern, aliases[i].pattern, "alias %zu, pattern", i);
	}
	ok_int(l.need_count, ARRAY_SIZE(needs), "needs");
	for (size_t i = 0; i < ARRAY_SIZE(needs) && i < l.need_count; i++) {
		ok_int(l.needs[i].module, needs[i].module, "need %zu, module", i);
		ok_int(l.needs[i].needed, needs[i].needed, "need %zu, needed", i);
	}
	modules_done(&l);
	ok_int(modules_parse(HEAD, &l, &f), 0, "no modules: all are built in");
	ok_int(l.count, 0, "no modules, count");
	modules_done(&l);
}

static void test_parse_bad(void)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{ "", "line 1: empty" },
		{ "\n", "line 1: not a module list of version 2" },
		{ "# bf-modules 2 6.12", "line 1: cut short" },
		{ "# bf-modules 1 6.12\n", "line 1: not a module list of version 2" },
		{ "# bf-modules 26.12\n", "line 1: not a module list of version 2" },
		{ " # bf-modules 2 6.12\n", "line 1: not a module list of version 2" },
		{ "0 /m/a.ko\n", "line 1: not a module list of version 2" },
		{ "# bf-modules 2 \n", "line 1: a bad kernel release" },
		{ "# bf-modules 2 6.12 x\n", "line 1: a bad kernel release" },
		{ "# bf-modules 2 6.12\r\n", "line 1: a control character" },
		{ "# bf-modules 2 "
		  "0123456789012345678901234567890123456789012345678901234567890123x\n",
		  "line 1: a bad kernel release" },
		{ HEAD "0 /m/a.ko", "line 2: cut short" },
		{ HEAD "0 /m/a.ko\n0 /m/b.k", "line 3: cut short" },
		{ HEAD "\n", "line 2: no path" },
		{ HEAD "0\n", "line 2: no path" },
		{ HEAD "/m/a.ko\n", "line 2: no path" },
		{ HEAD "# 0 /m/a.ko\n", "line 2: no level" },
		{ HEAD " 0 /m/a.ko\n", "line 2: no level" },
		{ HEAD "-1 /m/a.ko\n", "line 2: no level" },
		{ HEAD "+1 /m/a.ko\n", "line 2: no level" },
		{ HEAD "0x1 /m/a.ko\n", "line 2: no level" },
		{ HEAD "4294967296 /m/a.ko\n", "line 2: no level" },
		{ HEAD "1 /m/a.ko\n0 /m/b.ko\n", "line 3: a level below the one before" },
		{ HEAD "0  /m/a.ko\n", "line 2: a bad path" },
		{ HEAD "0 --/m/a.ko\n", "line 2: a bad path" },
		{ HEAD "0 m/a.ko\n", "line 2: a bad path" },
		{ HEAD "0 -\n", "line 2: a bad path" },
		{ HEAD "0 \n", "line 2: a bad path" },
		{ HEAD "0 /\n", "line 2: a bad path" },
		{ HEAD "0 /.ko\n", "line 2: a bad path" },
		{ HEAD "0 /m/a.ko.xz\n", "line 2: a bad path" },
		{ HEAD "0 /m/../a.ko\n", "line 2: a bad path" },
		{ HEAD "0 /m/./a.ko\n", "line 2: a bad path" },
		{ HEAD "0 /m//a.ko\n", "line 2: a bad path" },
		{ HEAD "0 /m/a.ko \n", "line 2: a space at the end" },
		{ HEAD "0 /m/a.ko\tx=1\n", "line 2: a control character" },
		{ HEAD "0 /m/a.ko\r\n", "line 2: a control character" },
		{ HEAD "0 /m/a\x7f.ko\n", "line 2: a control character" },
		{ HEAD HEAD, "line 2: no level" },
		{ HEAD "0 ?-/m/a.ko\n", "line 2: a bad path" },
		{ HEAD "0 -?/m/a.ko\n", "line 2: a bad path" },
		{ HEAD "needs 0\n", "line 2: no module before it" },
		{ HEAD "0 /m/a.ko\nneeds \n", "line 3: no number" },
		{ HEAD "0 /m/a.ko\n1 /m/b.ko\nneeds 0 0\n", "line 4: no number" },
		{ HEAD "0 /m/a.ko\n1 /m/b.ko\nneeds -1\n", "line 4: no number" },
		{ HEAD "0 /m/a.ko\nneeds 0\n",
		  "line 3: needs a module that is not of a lower level" },
		{ HEAD "0 /m/a.ko\n0 /m/b.ko\nneeds 0\n",
		  "line 4: needs a module that is not of a lower level" },
		{ HEAD "0 /m/a.ko\nneeds 1\n1 /m/b.ko\n",
		  "line 3: needs a module that is not of a lower level" },
		{ HEAD "alias pci:*\n", "line 2: no module on demand before it" },
		{ HEAD "0 /m/a.ko\nalias pci:*\n", "line 3: no module on demand before it" },
		{ HEAD "0 -/m/a.ko\nalias pci:*\n", "line 3: no module on demand before it" },
		{ HEAD "0 ?/m/a.ko\nalias \n", "line 3: no pattern" },
		{ HEAD "0 ?/m/a.ko\nalias\n", "line 3: no path" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct module_list l = { .count = 99 };
		struct failure f = { 0 };
		_cleanup_free_ char *want = strf("module list, %s", rows[i].why);

		ok_int(modules_parse(rows[i].text, &l, &f), -EINVAL, "bad list %zu", i);
		ok_int(f.reason, REASON_MODULE_LIST, "bad list %zu, reason", i);
		ok_str(f.text, want, "bad list %zu, text", i);
		ok_int(l.count, 99, "bad list %zu, result is not touched", i);
	}
}

static unsigned levels;
static char *log_at_level; /* how the log looked at the first after_level() */

static void after_level(void)
{
	if (levels++ == 0)
		log_at_level = strdup(fake_log());
}

static void files(void)
{
	static const char *const names[] = { "/m/a.ko", "/m/b.ko", "/m/c.ko", "/m/d.ko" };

	fake_reset();
	levels = 0;
	free(TAKE_PTR(log_at_level));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		fake_file(names[i], "");
}

static int load(const char *list, size_t *loaded, struct failure *f)
{
	_cleanup_(module_set_done) struct module_set s = { .loaded = 99 };
	int r;

	fake_file(LIST, list);
	*f = (struct failure) { 0 };
	r = modules_load(LIST, RELEASE, after_level, &s, f);
	*loaded = s.loaded;
	return r;
}

static void test_load(void)
{
	static const char chain[] = HEAD "0 /m/a.ko\n1 /m/b.ko p=1 q=2\n2 -/m/c.ko\n9 /m/d.ko\n";
	static const struct {
		const char *name, *match;
		int error; /* of that call */
		int want;
		size_t loaded;
		const char *text;
		unsigned levels;
	} rows[] = {
		{ "all", NULL, 0, 0, 4, "", 4 },
		{ "one is there already", "init-module /m/b.ko", -EEXIST, 0, 3, "", 4 },
		{ "all are there already", "init-module", -EEXIST, 0, 0, "", 4 },
		{ "optional, no hardware", "init-module /m/c.ko", -ENODEV, 0, 3, "", 4 },
		{ "optional, no file", "open /m/c.ko", -ENOENT, 0, 3, "", 4 },
		{ "optional, not a module", "init-module /m/c.ko", -ENOEXEC, 0, 3, "", 4 },
		{ "optional, no memory", "init-module /m/c.ko", -ENOMEM, 0, 3, "", 4 },
		/* The others are loaded all the same: with the disk there is a record of the
		   failure. */
		{ "required, no hardware", "init-module /m/b.ko", -ENODEV, -ENODEV, 3, "/m/b.ko",
		  4 },
		{ "required, no file", "open /m/a.ko", -ENOENT, -ENOENT, 3, "/m/a.ko", 4 },
		{ "required, not a module", "init-module /m/d.ko", -ENOEXEC, -ENOEXEC, 3, "/m/d.ko",
		  4 },
		{ "required, signature refused", "init-module /m/a.ko", -EKEYREJECTED,
		  -EKEYREJECTED, 3, "/m/a.ko", 4 },
		{ "all fail: the first is told", "init-module", -ENODEV, -ENODEV, 0, "/m/a.ko", 4 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct failure f;
		size_t loaded;

		files();
		if (rows[i].match)
			fake_result(rows[i].match, rows[i].error);
		ok_int(load(chain, &loaded, &f), rows[i].want, "%s", rows[i].name);
		ok_int(loaded, rows[i].loaded, "%s: loaded", rows[i].name);
		ok_int(f.reason, rows[i].want ? REASON_MODULE_LOAD : REASON_NONE, "%s: reason",
		       rows[i].name);
		ok_int(f.error, -rows[i].want, "%s: errno", rows[i].name);
		ok_str(f.text, rows[i].text, "%s: text", rows[i].name);
		ok_int(levels, rows[i].levels, "%s: levels", rows[i].name);
		ok_int(fake_open_fds(), 0, "%s: nothing left open", rows[i].name);
		if (rows[i].match)
			continue;
		ok_str(fake_log(),
		       "init-module /m/a.ko -\n"
		       "init-module /m/b.ko p=1 q=2\n"
		       "init-module /m/c.ko -\n"
		       "init-module /m/d.ko -\n",
		       "%s: in the order of the list, with parameters", rows[i].name);
		ok_str(log_at_level, "init-module /m/a.ko -\n",
		       "%s: the first level is reported before the second starts", rows[i].name);
	}
}

static void test_list_file(void)
{
	static const char other[] = "# bf-modules 2 6.1.0-37-arm64\n0 /m/a.ko\n";
	struct failure f = { 0 };
	struct module_set set = { 0 };
	size_t loaded;
	char *big;

	files();
	ok_int(modules_load(LIST, RELEASE, after_level, &set, &f), -ENOENT, "no list");
	ok_int(f.reason, REASON_MODULE_LIST, "no list, reason");
	ok_str(f.text, LIST, "no list, text");

	ok_int(load(other, &loaded, &f), -EPROTO, "a list for another kernel");
	ok_int(f.reason, REASON_MODULE_KERNEL, "another kernel, reason");
	ok_str(f.text, "packed for 6.1.0-37-arm64, this is " RELEASE, "another kernel, text");
	ok_str(fake_log(), "", "another kernel: nothing is loaded");

	fake_file_data(LIST, HEAD "0 /m/a.ko\n\0", sizeof(HEAD "0 /m/a.ko\n\0") - 1);
	ok_int(modules_load(LIST, RELEASE, after_level, &set, &f), -EINVAL, "a NUL at the end");
	ok_str(f.text, LIST ": a NUL in it", "a NUL, text");

	big = malloc(2000001);
	memset(big, '0', 2000000);
	big[2000000] = '\0';
	ok_int(load(big, &loaded, &f), -EFBIG, "a list of 2 MB");
	ok_int(f.reason, REASON_MODULE_LIST, "a list of 2 MB, reason");
	free(big);

	ok_int(load(HEAD, &loaded, &f), 0, "an empty list is fine");
	ok_int(loaded, 0, "an empty list, loaded");
	ok_int(levels, 0, "an empty list has no levels");
}

/*
 * What a machine has, and what is loaded of a list like that of a real image. Levels
 * and letters: w watchdog, p host of a bus, d disk on it (d needs e needs f), s on
 * demand without a device.
 */
#define HARDWARE                                                                                   \
	HEAD "0 ?/m/w.ko\nalias pci:v00008086d000025ABsv*\n"                                       \
	     "0 ?/m/f.ko\n"                                                                        \
	     "0 /m/r.ko\n"                                                                         \
	     "0 ?/m/s.ko\n"                                                                        \
	     "0 -/m/o.ko\n"                                                                        \
	     "0 ?/m/q.ko\n"                                                                        \
	     "1 ?/m/e.ko\nneeds 1\n"                                                               \
	     "1 ?/m/p.ko\nalias of:N*T*Cpi,host_one\nalias acpi*:HOST[0-9]:*\n"                    \
	     "1 ?/m/c.ko\nalias cpu:type:*:feature:*0006*\n"                                       \
	     "1 /m/t.ko\nneeds 5\n"                                                                \
	     "2 ?/m/d.ko\nneeds 6\nalias disk:t_0*\n"

static const char hardware_names[] = "wfrsoqepctd";

static void machine(void)
{
	fake_reset();
	levels = 0;
	free(TAKE_PTR(log_at_level));
	for (const char *c = hardware_names; *c; c++) {
		_cleanup_free_ char *path = strf("/m/%c.ko", *c);

		fake_file(path, "");
	}
	fake_file("/sys/bus/pci/devices/0000:00:00.0/modalias", "pci:v00001B36d00000008sv0000\n");
	fake_file("/sys/devices/system/cpu/modalias", "cpu:type:aarch64:feature:,0000,0003\n");
	fake_dir("/sys/bus/pci/drivers");
	fake_dir("/sys/bus/empty/devices");
	fake_file("/sys/bus/platform/devices/plain/uevent", "");
}

/* The letters of the modules that were loaded since the last call, in order. */
static const char *loaded_letters(void)
{
	static char letters[64];
	size_t n = 0;

	for (const char *line = fake_log(); (line = strstr(line, "init-module /m/")); line++)
		if (n + 1 < sizeof(letters))
			letters[n++] = line[strlen("init-module /m/")];
	letters[n] = '\0';
	fake_log_clear();
	return letters;
}

static void bus_comes(void)
{
	fake_file("/sys/bus/disk/devices/1/modalias", "disk:t-0x00\n");
}

static void test_on_demand(void)
{
	static const char host[] = "/sys/bus/platform/devices/host/modalias";
	static const struct {
		const char *name, *path, *modalias, *want;
	} rows[] = {
		{ "nothing there", "/none", "", "roqt" },
		{ "a watchdog", "/sys/bus/pci/devices/1/modalias",
		  "pci:v00008086d000025ABsv00001AF4sd00001100\n", "wroqt" },
		{ "a host", host, "of:NhostT(null)Cpi,host-one\n", "roqpt" },
		{ "its other name", host, "acpi:HOST7:PNP0D20:\n", "roqpt" },
		{ "no line end", host, "acpi:HOST7:", "roqpt" },
		{ "not quite it", host, "acpi:HOSTx:\n", "roqt" },
		{ "too little of it", host, "of:NhostT(null)Cpi,host\n", "roqt" },
		{ "empty", host, "", "roqt" },
		{ "in another order", host, "of:NhostCpi,host-oneT(null)\n", "roqt" },
		{ "with something behind it", host, "of:NhostT(null)Cpi,host-oneCpi,host\n",
		  "roqt" },
		{ "a disk: with all it needs", host, "disk:t-0x00\n", "froqetd" },
		{ "the CPU", "/sys/devices/system/cpu/modalias",
		  "cpu:type:aarch64:feature:,0000,0003,0006,0007\n", "roqct" },
		{ "a CPU that does not say", "/sys/devices/system/cpu/modalias", NULL, "roqct" },
		{ "another CPU", "/sys/devices/system/cpu/modalias",
		  "cpu:type:aarch64:feature:,0000,0003,0007\n", "roqt" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct failure f;
		size_t loaded;

		machine();
		if (rows[i].modalias)
			fake_file(rows[i].path, rows[i].modalias);
		else
			fake_remove(rows[i].path);
		ok_int(load(HARDWARE, &loaded, &f), 0, "on demand: %s", rows[i].name);
		/* One level is loaded by several threads, in any order. */
		ok_int(loaded, strlen(rows[i].want), "on demand: %s: how many", rows[i].name);
		for (const char *c = rows[i].want; *c; c++) {
			_cleanup_free_ char *line = strf("init-module /m/%c.ko -\n", *c);

			ok(strstr(fake_log(), line) != NULL, "on demand: %s: %c", rows[i].name, *c);
		}
		ok_int(fake_open_fds(), 0, "on demand: %s: nothing left open", rows[i].name);
	}
}

static void test_new_devices(void)
{
	struct failure f;
	size_t loaded;

	machine();
	fake_file("/sys/bus/platform/devices/host/modalias", "acpi:HOST0:\n");
	fake_then("init-module /m/p.ko", bus_comes);
	ok_int(load(HARDWARE, &loaded, &f), 0, "a host brings a device");
	ok_int(loaded, 8, "a host brings a device: its driver, and all that needs, come too");
	ok(strstr(fake_log(), "init-module /m/d.ko") != NULL, "a host brings a device: d");

	machine();
	fake_file("/sys/bus/platform/devices/host/modalias", "acpi:HOST0:\ndisk:t-0\n");
	fake_result("init-module /m/p.ko", -ENODEV);
	ok_int(load(HARDWARE, &loaded, &f), 0, "a host that fails is no failure");
	ok_int(loaded, 4, "a host that fails: the rest is loaded");

	machine();
	fake_result("init-module /m/q.ko", -ENODEV);
	ok_int(load(HARDWARE, &loaded, &f), 0,
	       "on demand of a required one: no failure of its own");

	/* Where nothing can be seen, everything may be there. */
	machine();
	fake_remove("/sys/bus");
	ok_int(load(HARDWARE, &loaded, &f), 0, "no devices to be seen");
	ok_int(loaded, strlen(hardware_names), "no devices to be seen: all is loaded");
}

static void test_more(void)
{
	_cleanup_(module_set_done) struct module_set s = { 0 };
	uint64_t start_usec;
	struct failure f;

	ok_int(modules_load_more(&s), 0, "of no list there is no more");
	machine();
	fake_file(LIST, HARDWARE);
	ok_int(modules_load(LIST, RELEASE, after_level, &s, &f), 0, "the first pass");
	ok_int(strlen(loaded_letters()), 4, "the first pass: what is needed anyway");
	start_usec = sys_monotonic_usec();

	bus_comes();
	ok_int(modules_load_more(&s), 0, "at once: not looked again");
	sys_sleep_usec(100000);
	ok_int(modules_load_more(&s), 3, "after 0.1 s a new device is seen");
	ok_str(loaded_letters(), "fed", "a new device: its driver after what it needs");
	sys_sleep_usec(100000);
	ok_int(modules_load_more(&s), 0, "nothing new");
	ok_str(loaded_letters(), "", "nothing new: nothing is tried again");

	levels = 0;
	free(TAKE_PTR(log_at_level));
	fake_result("init-module /m/s.ko", -ENODEV);
	sys_sleep_usec(start_usec + 499999 - sys_monotonic_usec());
	ok_int(modules_load_more(&s), 0, "just before the rest is due");
	sys_sleep_usec(1);
	ok_int(modules_load_more(&s), 3, "the rest, less one that has no hardware");
	ok_int(strlen(loaded_letters()), 4, "the rest: all of it was tried");
	ok_int(levels, 2, "the rest: a watchdog can be opened after each level");
	sys_sleep_usec(1000000);
	fake_log_files(true);
	ok_int(modules_load_more(&s), 0, "then there is no more");
	ok_str(fake_log(), "", "then nothing is looked at any more");
	fake_log_files(false);
	ok_int(fake_open_fds(), 0, "more: nothing left open");
}

/* With the disk there is a record of the failure: so its driver is loaded all the same. */
static void test_more_after_a_failure(void)
{
	_cleanup_(module_set_done) struct module_set s = { 0 };
	struct failure f;

	machine();
	fake_file(LIST, HARDWARE);
	fake_result("init-module /m/r.ko", -ENODEV);
	ok_int(modules_load(LIST, RELEASE, after_level, &s, &f), -ENODEV, "a required one fails");
	(void)loaded_letters();
	bus_comes();
	sys_sleep_usec(100000);
	ok_int(modules_load_more(&s), 3, "a failure before: a new device is seen all the same");
	ok_str(loaded_letters(), "fed", "a failure before: its driver after what it needs");
}

#define WIDE 40

static pthread_t seen[WIDE];
static size_t seen_count;

/* Runs while the double's lock is held: the others take their modules meanwhile. */
static void see_thread(void)
{
	size_t i = 0;

	usleep(2000);
	while (i < seen_count && !pthread_equal(seen[i], pthread_self()))
		i++;
	if (i == seen_count && seen_count < WIDE)
		seen[seen_count++] = pthread_self();
}

static char *wide_list(void)
{
	char *text = strdup(HEAD);

	for (int i = 0; i < WIDE; i++) {
		char *more = strf("%s3 /m/w%02d.ko\n", text, i);

		free(text);
		text = more;
	}
	return text;
}

static void test_parallel(void)
{
	_cleanup_free_ char *text = wide_list();
	struct failure f;
	size_t loaded;
	int missing = 0;

	files();
	for (int i = 0; i < WIDE; i++) {
		_cleanup_free_ char *path = strf("/m/w%02d.ko", i);

		fake_file(path, "");
	}
	fake_then("open /m/w", see_thread);
	ok_int(load(text, &loaded, &f), 0, "%d modules of one level", WIDE);
	ok_int(loaded, WIDE, "one level: all are loaded");
	ok_int(levels, 1, "one level: reported once");
	ok(seen_count > 1 && seen_count <= 4, "one level: by 2 to 4 threads (%zu)", seen_count);
	for (int i = 0; i < WIDE; i++) {
		_cleanup_free_ char *line = strf("init-module /m/w%02d.ko -\n", i);
		const char *first = strstr(fake_log(), line);

		missing += !first || strstr(first + 1, line);
	}
	ok_int(missing, 0, "one level: each exactly once");

	fake_result("init-module /m/w31.ko", -ENOEXEC);
	fake_result("init-module /m/w07.ko", -ENODEV);
	ok_int(load(text, &loaded, &f), -ENODEV, "two fail");
	ok_str(f.text, "/m/w07.ko", "two fail: the first in the list is named");
	ok_int(fake_open_fds(), 0, "one level: nothing left open");
}

static void test_sweep(void)
{
	static const char list[] = HEAD "0 /m/a.ko\n1 -/m/b.ko\n2 /m/c.ko\n";
	unsigned k, failed = 0;

	for (k = 1;; k++) {
		struct failure f;
		size_t loaded;
		int r;

		files();
		fake_fail_at(k, EIO);
		r = load(list, &loaded, &f);
		if (fake_calls() < k)
			break;
		failed += r < 0;
		if (r < 0)
			ok(r == -EIO && *f.text &&
				   (f.reason == REASON_MODULE_LIST ||
				    f.reason == REASON_MODULE_LOAD),
			   "call %u fails: %s, %s", k, reason_text(f.reason)->code, f.text);
		else
			ok_int(loaded, 2, "call %u fails: only the optional module is missing", k);
		ok_int(fake_open_fds(), 0, "call %u fails: nothing left open", k);
	}
	ok(k > 7 && failed == k - 3, "%u calls, all but two are vital", k - 1);
}

int main(void)
{
	test_parse_good();
	test_parse_bad();
	test_load();
	test_list_file();
	test_on_demand();
	test_new_devices();
	test_more();
	test_more_after_a_failure();
	test_parallel();
	test_sweep();
	free(log_at_level);
	return tap_done();
}
