// SPDX-License-Identifier: MIT
/* Check scripts: what is one, how it is run, what it answered, and what all of them say. */
#include "guard/checks.h"
#include "guard/device.h"
#include "guard/greenboot.h"
#include "guard/hooks.h"

#include "boot/sys.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define OURS	 "/etc/bf-guard/check.d"
#define VENDOR	 "/usr/lib/greenboot/check"
#define GREENETC "/etc/greenboot/check"

static void nothing(void *userdata)
{
	(void)userdata;
}

static void program(const char *path, const char *text, mode_t mode)
{
	fake_file(path, text);
	ok_int(chmod(fake_path(path), mode), 0, "%s", path);
}

/* The device of every test here has a shell, bash and a program that is none. */
static void device(void)
{
	fake_reset();
	program("/bin/sh", "", 0755);
	program("/bin/bash", "", 0755);
	program("/bin/plain", "", 0644);
}

/* ---- greenboot.conf --------------------------------------------------------------------- */

static void test_disabled(void)
{
	static const struct {
		const char *text, *name;
		bool disabled;
	} rows[] = {
		{ "DISABLED_HEALTHCHECKS=(\"a.sh\" \"b.sh\")\n", "a.sh", true },
		{ "DISABLED_HEALTHCHECKS=(\"a.sh\" \"b.sh\")\n", "b.sh", true },
		{ "DISABLED_HEALTHCHECKS=(\"a.sh\" \"b.sh\")\n", "c.sh", false },
		{ "DISABLED_HEALTHCHECKS=(a.sh 'b.sh')", "b.sh", true },
		{ "X=1\nDISABLED_HEALTHCHECKS=(\n\t\"a.sh\" # not b.sh\n\tc.sh\n)\n", "c.sh",
		  true },
		{ "DISABLED_HEALTHCHECKS=(\n\"a.sh\" # b.sh\n)\n", "b.sh", false },
		{ "DISABLED_HEALTHCHECKS=(\r\n  a.sh\r\n)\r\n", "a.sh", true },
		{ "DISABLED_HEALTHCHECKS=a.sh\n", "a.sh", true },
		{ "DISABLED_HEALTHCHECKS=\n", "", true },
		{ "DISABLED_HEALTHCHECKS=()\n", "a.sh", false },
		{ "DISABLED_HEALTHCHECKS=()\n", "", false },
		{ "# DISABLED_HEALTHCHECKS=(a.sh)\n", "a.sh", false },
		{ "export DISABLED_HEALTHCHECKS=(a.sh)\n", "a.sh", true },
		{ "DISABLED_HEALTHCHECKS=(a.sh)\nDISABLED_HEALTHCHECKS=()\n", "a.sh", false },
		{ "DISABLED_HEALTHCHECKS=(a.sh)\nDISABLED_HEALTHCHECKS+=(b.sh)\n", "a.sh", true },
		{ "DISABLED_HEALTHCHECKS=(a.sh)\nDISABLED_HEALTHCHECKS+=(b.sh)\n", "b.sh", true },
		{ "DISABLED_HEALTHCHECKS=(a)x.sh b.sh", "b.sh", false },
		{ "DISABLED_HEALTHCHECKS=(\"with a blank.sh\" with\\ one.sh)", "with a blank.sh",
		  true },
		{ "DISABLED_HEALTHCHECKS=(\"with a blank.sh\" with\\ one.sh)", "with one.sh",
		  true },
		{ "DISABLED_HEALTHCHECKS=(a.sh.old xa.sh)", "a.sh", false },
		{ "DISABLED_HEALTHCHECKS=($NAMES `b`)", "b", false },
		{ "DISABLED_HEALTHCHECKS=(\"a.sh", "a.sh", true },
		{ "DISABLED_HEALTHCHECKS=('a.sh b\\", "a.sh", false },
		{ "DISABLED_HEALTHCHECKS=(\\", "", false },
		{ "DISABLED_HEALTHCHECKS", "", false },
		{ "DISABLED_HEALTHCHECKS+", "", false },
		{ "DISABLED_HEALTHCHECKS_OLD=(a.sh)", "a.sh", false },
		{ "", "a.sh", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		ok(greenboot_disables(rows[i].text, rows[i].name) == rows[i].disabled,
		   "%s in row %zu", rows[i].name, i);
}

/* ---- what a run says ---------------------------------------------------------------------- */

static void test_answers(void)
{
	static const struct {
		enum job_end job;
		int job_status;
		const char *output; /* "@" is a NUL */
		bool in_unit, overran;
		enum verdict verdict;
		const char *says;
	} rows[] = {
		{ JOB_EXITED, 0, "fine\n", .verdict = VERDICT_PASS, .says = "it passed" },
		{ JOB_EXITED, 77, "", .verdict = VERDICT_PASS,
		  .says = "it does not apply, exit status 77" },
		{ JOB_EXITED, 75, "later\n", .verdict = VERDICT_INCONCLUSIVE,
		  .says = "not now, exit status 75 (\"later\")" },
		{ JOB_EXITED, 1, "one\ntwo\t\r\n\n", .verdict = VERDICT_FAIL,
		  .says = "exit status 1 (\"two\")" },
		{ JOB_EXITED, 76, NULL, .verdict = VERDICT_FAIL, .says = "exit status 76" },
		{ JOB_KILLED, SIGKILL, "", .verdict = VERDICT_FAIL, .says = "killed by SIGKILL" },
		{ JOB_TIMED_OUT, SIGTERM, "", .verdict = VERDICT_FAIL,
		  .says = "it was still running after 30 s; does it wait for the boot to finish, "
			  "which waits for the guard?" },
		{ JOB_LOST, ENOMEM, NULL, .verdict = VERDICT_INCONCLUSIVE,
		  .says = "no answer: Cannot allocate memory" },
		/* in units */
		{ JOB_EXITED, 0, "well\nbf-guard: ended success exited 0\n", true,
		  .verdict = VERDICT_PASS, .says = "it passed" },
		{ JOB_EXITED, 1, "bf-guard: ended exit-code exited 77\n", true,
		  .verdict = VERDICT_PASS, .says = "it does not apply, exit status 77" },
		{ JOB_EXITED, 1, "no line feedbf-guard: ended exit-code exited 3\n", true,
		  .verdict = VERDICT_FAIL, .says = "exit status 3 (\"no line feed\")" },
		{ JOB_EXITED, 0, "bf-guard: ended success killed TERM\n", true,
		  .verdict = VERDICT_FAIL, .says = "killed by SIGTERM" },
		{ JOB_EXITED, 1, "ah\nbf-guard: ended core-dump dumped SEGV\n", true,
		  .verdict = VERDICT_FAIL, .says = "killed by SIGSEGV (\"ah\")" },
		{ JOB_EXITED, 1, "bf-guard: ended signal killed RTMIN+7\n", true,
		  .verdict = VERDICT_FAIL, .says = "killed by a signal" },
		{ JOB_EXITED, 1, "bf-guard: ended timeout killed TERM\n", true, true,
		  .verdict = VERDICT_FAIL,
		  .says = "it was still running after 30 s; does it wait for the boot to finish, "
			  "which waits for the guard?" },
		{ JOB_EXITED, 1, "bf-guard: ended timeout exited 0\n", true, true,
		  .verdict = VERDICT_FAIL,
		  .says = "it was still running after 30 s; does it wait for the boot to finish, "
			  "which waits for the guard?" },
		/* what it left running did not end, it did */
		{ JOB_EXITED, 1, "bf-guard: ended timeout exited 0\n", true,
		  .verdict = VERDICT_PASS, .says = "it passed" },
		/* it says that itself, but not as the last one */
		{ JOB_EXITED, 1,
		  "bf-guard: ended success exited 0\nbf-guard: ended exit-code exited 2\n", true,
		  .verdict = VERDICT_FAIL,
		  .says = "exit status 2 (\"bf-guard: ended success exited 0\")" },
		/* as "cat /proc/device-tree/model" does */
		{ JOB_EXITED, 0, "Pi 5@bf-guard: ended success exited 0\n", true,
		  .verdict = VERDICT_PASS, .says = "it passed" },
		{ JOB_EXITED, 1, "@Pi@5@\n@bf-guard: ended exit-code exited 3\n", true,
		  .verdict = VERDICT_FAIL, .says = "exit status 3 (\" Pi 5\")" },
		{ JOB_EXITED, 1, "Pi@5@", .verdict = VERDICT_FAIL,
		  .says = "exit status 1 (\"Pi 5\")" },
		/* systemd has lost it, or was not there */
		{ JOB_EXITED, 0, "bf-guard: ended success  \n", true,
		  .verdict = VERDICT_INCONCLUSIVE,
		  .says = "no answer: systemd does not say how it ended" },
		{ JOB_EXITED, 1, "Failed to connect to bus\n", true,
		  .verdict = VERDICT_INCONCLUSIVE, .says = "no answer: Failed to connect to bus" },
		{ JOB_TIMED_OUT, SIGTERM, "", true, true, .verdict = VERDICT_INCONCLUSIVE,
		  .says = "no answer: systemd does not say how it ended" },
		{ JOB_EXITED, 1, "bf-guard: ended exit-code exited 256\n", true,
		  .verdict = VERDICT_INCONCLUSIVE,
		  .says = "no answer: systemd does not say how it ended" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *output = rows[i].output ? strdup(rows[i].output) : NULL;
		struct job_result result = { .end = rows[i].job,
					     .status = rows[i].job_status,
					     .output = output,
					     .output_len = output ? strlen(output) : 0 };
		struct script s = { .timeout_usec = 30000000 };
		char says[SCRIPT_SAYS_MAX];

		for (char *at = output; at && (at = strchr(at, '@'));)
			*at = '\0', at++;
		script_answer_of(&result, rows[i].in_unit, rows[i].overran, &s.answer);
		ok_int(check_verdict(&s.answer), rows[i].verdict, "answer %zu", i);
		script_says(&s, says);
		ok_str(says, rows[i].says, "in words");
	}
}

/* Whatever a script prints and is called, a reason is a whole sentence. */
static void test_longest_reason(void)
{
	static const enum script_end ends[] = { SCRIPT_EXITED, SCRIPT_KILLED, SCRIPT_TIMED_OUT,
						SCRIPT_UNUSABLE, SCRIPT_LOST };
	char name[256], output[SCRIPT_OUTPUT_KEPT + 1];
	struct job_result result = { JOB_EXITED, 75, output, sizeof(output) - 1 };
	struct checks c = { .scripts.count = 1 };
	struct script *s = &c.scripts.list[0];
	struct judgement j;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	memset(output, 'x', sizeof(output) - 1);
	output[sizeof(output) - 1] = '\0';
	*s = (struct script) { .name = name, .required = true };
	s->timeout_usec = c.of[0].since = POLICY_NEVER - 1;
	script_answer_of(&result, false, false, &s->answer);
	ok_int(strlen(s->answer.line), SCRIPT_LINE_MAX, "a long line is cut");
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		s->answer.end = ends[i];
		checks_judge(&c, &j);
		ok(strlen(j.why) > strlen(" after the start") &&
			   streq(j.why + strlen(j.why) - strlen(" after the start"),
				 " after the start"),
		   "end %d: %s", ends[i], j.why);
	}
	for (size_t i = 0; i + 1 < sizeof(output) - 1; i += 2)
		memcpy(output + i, "\xc3\xa4", 2);
	output[0] = output[1] = ' ';
	memmove(output, output + 1, sizeof(output) - 1);
	script_answer_of(&result, false, false, &s->answer);
	ok_int(strlen(s->answer.line), SCRIPT_LINE_MAX - 1, "not within a character");
}

/* ---- which are there ------------------------------------------------------------------------ */

static void test_folders(void)
{
	static const char *const names[] = {
		VENDOR "/required.d/01.sh", GREENETC "/required.d/01.sh", OURS "/required.d/05",
		OURS "/required/02",	    OURS "/required/03",	  VENDOR "/wanted.d/01.sh",
		GREENETC "/wanted.d/01.sh", OURS "/wanted.d/01.sh",	  OURS "/wanted/9",
	};
	struct config config;
	struct judgement j;
	struct checks c;

	device();
	config_init(&config);
	for (size_t i = ARRAY_SIZE(names); i-- > 0;)
		program(names[i], "#!/bin/sh\n", 0755);
	program(OURS "/required/.hidden", "", 0644);
	program(OURS "/required.d/README.md", "", 0644);
	fake_file("/etc/greenboot/greenboot.conf", "DISABLED_HEALTHCHECKS=(01.sh 05 9)\n");
	checks_start(&c, NULL, &config, "", nothing, NULL);
	ok_int(c.scripts.count, ARRAY_SIZE(names), "all folders, no hidden files");
	for (size_t i = 0; i < ARRAY_SIZE(names) && i < c.scripts.count; i++) {
		const struct script *s = &c.scripts.list[i];

		ok_str(s->path, names[i], "in this order");
		ok(s->required == (strstr(s->path, "/required") != NULL), "required, or not");
		ok(s->in_turn == (strstr(s->path, ".d/0") != NULL), "in turn, or not");
		ok((s->answer.end == SCRIPT_DISABLED) == (strstr(s->path, "/greenboot/") != NULL),
		   "greenboot.conf is about greenboot's");
	}
	checks_stop(&c);
	*config.check_dir = '\0';
	checks_start(&c, NULL, &config, "", nothing, NULL);
	checks_judge(&c, &j);
	ok_str(j.why, "there are none", "no directory, no scripts");
	checks_stop(&c);
}

static void test_folders_that_cannot_be_read(void)
{
	static const struct {
		int error;
		enum verdict verdict;
	} rows[] = {
		{ -ENOENT, VERDICT_PASS },	   { -ENOTDIR, VERDICT_FAIL },
		{ -EACCES, VERDICT_FAIL },	   { -EIO, VERDICT_INCONCLUSIVE },
		{ -EMFILE, VERDICT_INCONCLUSIVE },
	};
	static const char *const folders[] = { OURS "/required", OURS "/required.d",
					       VENDOR "/required.d", GREENETC "/required.d" };
	struct config config;
	struct judgement j;
	struct checks c;

	config_init(&config);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (size_t k = 0; k < ARRAY_SIZE(folders); k++) {
			_cleanup_free_ char *rule = strf("open %s", folders[k]);

			device();
			fake_dir(folders[k]);
			fake_log_files(true);
			fake_result(rule, rows[i].error);
			checks_start(&c, NULL, &config, "", nothing, NULL);
			checks_judge(&c, &j);
			ok_int(j.verdict, rows[i].verdict, "%s: %s", folders[k],
			       strerror(-rows[i].error));
			ok(rows[i].verdict != VERDICT_FAIL ||
				   (strstr(j.why, strerror(-rows[i].error)) &&
				    startswith(j.why, "/")),
			   "why: %s", j.why);
			device();
			c.again = c.again == POLICY_NEVER ? POLICY_NEVER : 0;
			checks_tick(&c, 1, false);
			checks_judge(&c, &j);
			ok(j.verdict ==
				   (rows[i].verdict == VERDICT_FAIL ? VERDICT_FAIL : VERDICT_PASS),
			   "and when it is looked for again");
			checks_stop(&c);
		}
	device();
	fake_file(OURS "/wanted", "no folder");
	checks_start(&c, NULL, &config, "", nothing, NULL);
	checks_judge(&c, &j);
	ok_int(j.verdict, VERDICT_PASS, "wanted ones decide nothing");
	checks_stop(&c);
}

static void test_too_many(void)
{
	struct config config;
	struct judgement j;
	struct checks c;

	device();
	config_init(&config);
	for (unsigned i = 0; i <= SCRIPTS_MAX; i++) {
		_cleanup_free_ char *path = strf(OURS "/required/%02u", i);

		fake_file(path, "");
	}
	checks_start(&c, NULL, &config, "", nothing, NULL);
	checks_judge(&c, &j);
	ok_int(j.verdict, VERDICT_FAIL, "one too many");
	ok_str(j.why, OURS "/required: more than 32 scripts in all", "is said");
	checks_stop(&c);
}

/* ---- can they be run? -------------------------------------------------------------------------
 */

static void test_what_cannot_be_run(void)
{
	static const struct {
		const char *path, *text;
		mode_t mode;
		const char *says; /* NULL: it would run */
	} rows[] = {
		{ OURS "/required/a", "#!/bin/sh\n", 0755, NULL },
		{ OURS "/required/a", "#! /bin/sh -e\n", 0755, NULL },
		{ OURS "/required/a", "#!/bin/sh", 0755, NULL },
		{ OURS "/required/a", "\177ELF\2\1\1", 0755, NULL },
		{ OURS "/required.d/a.sh", "no bit, no line\n", 0644, NULL },
		{ OURS "/required.d/a.sh", "#!/bin/sh\r\n", 0644, NULL },
		{ VENDOR "/required.d/a.sh", "", 0644, NULL },
		{ OURS "/required.d/a", "#!/bin/sh\n", 0700, NULL },
		{ OURS "/required/a.sh", "#!/bin/sh\n", 0644, "it is not executable: chmod +x" },
		{ OURS "/required.d/a", "#!/bin/sh\n", 0644,
		  "it is not executable: chmod +x, or name it *.sh for bash" },
		{ OURS "/required/a", "#!/bin/sh\r\necho\r\n", 0755,
		  "its lines end as those of Windows do (CRLF): tr -d '\\r'" },
		{ OURS "/required/a", "#!/usr/bin/python2 -u\nx\n", 0755,
		  "its interpreter is not there: /usr/bin/python2" },
		{ OURS "/required/a", "#!\n", 0755, "its interpreter is not there: " },
		{ OURS "/required/a", "#!/bin/plain\n", 0755,
		  "its interpreter is not there: /bin/plain" },
		{ OURS "/required/a", "exit 0\n", 0755,
		  "its first line names no interpreter: #!/bin/sh" },
		{ OURS "/required/a", "", 0755, "its first line names no interpreter: #!/bin/sh" },
	};
	struct config config;
	struct judgement j;
	struct checks c;

	config_init(&config);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct script *s = &c.scripts.list[0];

		device();
		program(rows[i].path, rows[i].text, rows[i].mode);
		checks_start(&c, NULL, &config, "", nothing, NULL);
		/* Without an event loop no job can be promised an end. */
		ok_int(s->answer.end, rows[i].says ? SCRIPT_UNUSABLE : SCRIPT_LOST, "file %zu", i);
		ok(!rows[i].says || streq(s->answer.line, rows[i].says), "why: %s", s->answer.line);
		checks_judge(&c, &j);
		ok_int(j.verdict, rows[i].says ? VERDICT_FAIL : VERDICT_INCONCLUSIVE,
		       "which fails");
		ok(c.again != POLICY_NEVER, "and is looked at again");
		checks_stop(&c);
	}
}

static void test_what_is_no_file(void)
{
	struct config config;
	struct judgement j;
	struct checks c;

	config_init(&config);
	device();
	fake_dir(OURS "/required.d/10-lib.sh");
	fake_dir(OURS "/required");
	fake_symlink("/nowhere", OURS "/required/20-link");
	ok_int(mkfifo(fake_path(OURS "/required/30-fifo"), 0755), 0, "a FIFO");
	checks_start(&c, NULL, &config, "", nothing, NULL);
	ok_str(c.scripts.list[0].answer.line, "it is a directory", "a directory");
	ok_str(c.scripts.list[1].answer.line, "it is gone, or a link to nothing", "a link");
	ok_str(c.scripts.list[2].answer.line, "it is no file that can be run", "a FIFO");
	checks_judge(&c, &j);
	ok(j.verdict == VERDICT_FAIL && j.reason == REASON_CHECK_FAILED, "a failure");
	ok(startswith(j.why, "10-lib.sh: it cannot be run: it is a directory; since "),
	   "with its reason: %s", j.why);
	checks_stop(&c);
	device();
	fake_remove("/bin/bash");
	program(VENDOR "/required.d/01.sh", "", 0755);
	checks_start(&c, NULL, &config, "", nothing, NULL);
	ok_str(c.scripts.list[0].answer.line, "there is no /bin/bash to run it with", "no bash");
	checks_stop(&c);
	device();
	program(OURS "/required/10", "#!/bin/sh\n", 0755);
	fake_log_files(true);
	fake_result("stat " OURS "/required/10", -EIO);
	checks_start(&c, NULL, &config, "", nothing, NULL);
	checks_judge(&c, &j);
	ok_int(j.verdict, VERDICT_INCONCLUSIVE, "a bad moment of the disk says nothing");
	checks_stop(&c);
}

/* ---- all of them --------------------------------------------------------------------------------
 */

static void test_all_together(void)
{
	struct script_answer passed = { .end = SCRIPT_EXITED },
			     failed = { .end = SCRIPT_EXITED, .status = 1 };
	struct checks c = { .scripts.count = 0 };
	struct script *list = c.scripts.list;
	struct judgement j;

	checks_judge(&c, &j);
	ok_int(j.verdict, VERDICT_PASS, "no checks");
	list[0] = (struct script) { .name = "wanted", .answer = failed };
	list[1] = (struct script) { .name = "late", .required = true };
	list[2] = (struct script) { .name = "bad", .required = true, .answer = failed };
	list[3] = (struct script) { .name = "worse", .required = true, .answer = failed };
	c.of[2].since = 62 * UINT64_C(1000000);
	c.scripts.count = 1;
	checks_judge(&c, &j);
	ok(j.verdict == VERDICT_PASS && j.reason == REASON_NONE, "wanted ones decide nothing");
	c.scripts.count = 2;
	checks_judge(&c, &j);
	ok(j.verdict == VERDICT_INCONCLUSIVE && j.reason == REASON_NONE, "not yet");
	c.scripts.count = 4;
	checks_judge(&c, &j);
	ok(j.verdict == VERDICT_FAIL && j.reason == REASON_CHECK_FAILED,
	   "a failure outweighs that");
	ok_str(j.why, "bad: exit status 1; since 1 min 2 s after the start", "and is named");
	list[1].answer = list[2].answer = list[3].answer = passed;
	checks_judge(&c, &j);
	ok_str(j.why, "all required ones pass", "all pass");
}

/* In turn: those that follow one that has not passed are not started. */
static void test_turns(void)
{
	struct config config;
	struct checks c;

	device();
	config_init(&config);
	program(OURS "/required.d/10", "", 0644);
	program(OURS "/required.d/20", "", 0644);
	program(OURS "/required/30", "", 0644);
	program(OURS "/wanted.d/40", "", 0644);
	program(OURS "/wanted.d/50", "", 0644);
	checks_start(&c, NULL, &config, "", nothing, NULL);
	ok_int(c.scripts.list[0].answer.end, SCRIPT_UNUSABLE, "the first");
	ok_int(c.scripts.list[1].answer.end, SCRIPT_NOT_RUN, "holds back what may rely on it");
	ok_int(c.scripts.list[2].answer.end, SCRIPT_UNUSABLE, "and nothing else");
	ok_int(c.scripts.list[3].answer.end, SCRIPT_UNUSABLE, "wanted ones");
	ok_int(c.scripts.list[4].answer.end, SCRIPT_UNUSABLE, "hold nothing back");
	checks_stop(&c);
}

/* By systemd, which takes D-Bus: no D-Bus, no verdict. */
static void test_scripts_in_units(void)
{
	struct config config;
	struct judgement j;
	struct checks c;

	device();
	config_init(&config);
	program("/usr/bin/systemd-run", "", 0755);
	program("/usr/bin/echo", "", 0755);
	program(OURS "/required/10-it", "#!/bin/sh\n", 0755);
	ok_int(setenv("INVOCATION_ID", "1", true), 0, "started by systemd");
	checks_start(&c, NULL, &config, "", nothing, NULL);
	ok_int(unsetenv("INVOCATION_ID"), 0, "as were others");
	ok(c.runner.in_units && c.scripts.count == 0,
	   "nothing is looked for before D-Bus is there");
	checks_judge(&c, &j);
	ok_int(j.verdict, VERDICT_INCONCLUSIVE, "and nothing is said");
	checks_bus(&c, true);
	ok(c.scripts.count == 1 && c.again != POLICY_NEVER, "then it is started");
	checks_bus(&c, false);
	c.again = 0;
	checks_tick(&c, 1, true);
	ok(c.again == POLICY_NEVER, "not without the bus");
	checks_stop(&c);
}

static void test_script_that_cannot_be_started(void)
{
	struct checks c;
	struct config config;
	uint64_t before = device_now();

	device();
	config_init(&config);
	program(OURS "/required/10-it", "#!/bin/sh\n", 0755);
	checks_start(&c, NULL, &config, "", nothing, NULL);
	ok(c.scripts.count == 1 && c.scripts.list[0].answer.end == SCRIPT_LOST,
	   "it could not be started");
	ok(c.again >= before + config.check_interval && c.again != POLICY_NEVER,
	   "and is run again later");
	checks_stop(&c);
}

/* ---- hooks
 * ---------------------------------------------------------------------------------------- */

static void test_hooks(void)
{
	struct hooks h;

	device();
	hooks_init(&h, NULL, 1000000, nothing, NULL);
	ok(!hooks_start(&h, "", HOOKS_RED), "there are none");
	program("/usr/lib/greenboot/red.d/10.sh", "", 0644);
	program("/etc/greenboot/red.d/10", "", 0644);
	program("/etc/greenboot/green.d/10.sh", "", 0644);
	/* Without an event loop none can be promised an end. */
	ok(!hooks_start(&h, "", HOOKS_RED), "none can be started: nobody waits");
	ok(h.at == 2 && h.scripts.count == 0, "all were tried, of one kind");
	hooks_stop(&h);
}

int main(void)
{
	test_hooks();
	test_disabled();
	test_answers();
	test_longest_reason();
	test_folders();
	test_folders_that_cannot_be_read();
	test_too_many();
	test_what_cannot_be_run();
	test_what_is_no_file();
	test_all_together();
	test_turns();
	test_scripts_in_units();
	test_script_that_cannot_be_started();
	return tap_done();
}
