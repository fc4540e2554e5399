// SPDX-License-Identifier: MIT
/* bf-boot status, history and reasons; and the JSON they are written in. */
#include "boot/json.h"
#include "tests/lib/bf-boot-ask.h"

/* The rest of the line that starts with @name; "" when there is none. */
static const char *line_of(const char *text, const char *name)
{
	static char line[512];
	size_t len = strlen(name);

	*line = '\0';
	for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
		if (strncmp(text, name, len) != 0 || text[len] != ' ')
			continue;
		text += len + strspn(text + len, " ");
		(void)snprintf(line, sizeof(line), "%.*s", (int)strcspn(text, "\n"), text);
		break;
	}
	return line;
}

static void says(const char *name, const char *row, const char *expected)
{
	const char *got = line_of(ask("status", NULL)->out, row);

	ok(strstr(got, expected) && !*got == !*expected, "%s: %s: %s", name, row, got);
}

static void has_json(const char *name, const char *expected)
{
	const struct answer *a = ask("status", "--json", NULL);

	if (!ok(a->status == 0 && strstr(a->out, expected), "%s: %s", name, expected))
		printf("# %.2000s\n", a->out);
}

static void test_quiet(void)
{
	struct record rec;

	device_record(&rec, SLOT_A);
	device_with(&rec, SLOT_A);
	says("quiet", "running", "A");
	says("quiet", "committed", "A");
	says("quiet", "staged", "-");
	says("quiet", "slot A", "good");
	says("quiet", "counters", "");
	says("quiet", "last reason", "-");
	says("quiet", "next boot", "A");
	ok(!strchr(ask("status", NULL)->out, '!'), "no notes: one generation is no news yet");
	has_json("quiet", "\"running\": \"A\"");
	has_json("quiet", "\"staged\": null");
	has_json("quiet", "\"next_boot\": {\"reboot\": \"A\", \"power_on\": \"A\"}");
}

static void test_staged(void)
{
	struct record rec;

	device_record(&rec, SLOT_A);
	rec.staged = SLOT_B;
	rec.state[SLOT_B] = STATE_UNKNOWN;
	rec.attempts = 2;
	rec.trials = 1;
	rec.hard = 3;
	rec.repairs = 1;
	record_set_code(rec.trial_reason, "verity-corrupt");
	record_add_history(&rec, 1735689599, HISTORY_STAGED, SLOT_B, "");
	record_add_history(&rec, 1767225600, HISTORY_FAILED, SLOT_A, "some-new-reason");
	device_with(&rec, SLOT_A);
	says("staged", "staged", "B (update), trial asked for 2 of 6 times, ran 1 of 3 times");
	says("staged", "slot B", "unknown, waits for its trial");
	says("staged", "trial ended", "verity-corrupt: The root image");
	says("staged", "counters", "failed boots 3 of 5");
	ok(strstr(ask("status", NULL)->out, "starts of the wrong slot 1 of 6"), "more counters");
	says("staged", "last reason", "some-new-reason (not known to this version)");
	record_add_history(&rec, 1767225600, HISTORY_FAILED, SLOT_A, "data-path");
	device_with(&rec, SLOT_A);
	says("a reason of an older version", "last reason", "data-path: A path on the data");
	rec.history_count--;
	memmove(rec.history, rec.history + 1, rec.history_count * sizeof(rec.history[0]));
	device_with(&rec, SLOT_A);
	says("staged", "next boot", "A");
	(void)ask("reconcile", NULL);
	says("armed", "next boot", "B, a trial (after a power cut: A)");
	says("armed", "staged", ", armed");
	has_json("armed", "\"armed\": true");
	has_json("armed", "\"next_boot\": {\"reboot\": \"B\", \"power_on\": \"A\"}");
	has_json("armed", "\"hard\": 3");
	has_json("armed", "\"reason\": \"some-new-reason\"");

	ok_str(ask("history", NULL)->out,
	       "2026-01-01 00:00:00  A  boot failed: some-new-reason\n"
	       "unknown              B  installed, waits for its trial\n",
	       "history");
	ok_str(ask("history", "--json", NULL)->out,
	       "[{\"time\": \"2026-01-01 00:00:00\", \"event\": \"failed\", \"slot\": \"A\", "
	       "\"reason\": \"some-new-reason\", \"what\": null},\n"
	       " {\"time\": null, \"event\": \"staged\", \"slot\": \"B\", \"reason\": null, "
	       "\"what\": null}]\n",
	       "history --json");
}

static void test_trial(void)
{
	struct record rec;

	device_record(&rec, SLOT_A);
	rec.staged = SLOT_B;
	rec.trials = rec.attempts = 1;
	device_with(&rec, SLOT_B);
	says("trial", "running", "B, a trial boot");
	says("trial", "committed", "A");
	says("trial", "next boot", "A");
	has_json("trial", "\"trial\": true");
	has_json("trial", "\"committable\": true");

	rec.staged = SLOT_NONE;
	rec.committed = SLOT_B;
	rec.probation = true;
	rec.state[SLOT_A] = STATE_UNKNOWN;
	device_with(&rec, SLOT_B);
	says("probation", "committed", "B, in probation");
	says("probation", "slot A", "unknown, but it ran well before");
	rec.proven[SLOT_A] = PROVEN_NO;
	rec.state[SLOT_B] = STATE_UNKNOWN;
	device_with(&rec, SLOT_B);
	says("not confirmed", "slot B", "unknown, not confirmed yet");
	says("not proven", "slot A", "unknown, not known to run well");
	has_json("not proven", "\"proven\": \"no\", \"bootable\": false");
}

static void test_notes(void)
{
	static const struct {
		const char *name, *boot_file, *note, *json;
	} rows[] = {
		{ "degraded", "BF_DATA=missing\nBF_DEGRADED=yes\n", "! The boot record cannot be",
		  "\"degraded\": true" },
		{ "degraded", "BF_DATA_DIR=/elsewhere\n", "The cause: /elsewhere: No such",
		  "\"cause\": \"/elsewhere: No such" },
		{ "degraded", "BF_DATA=missing\nBF_DEGRADED=yes\n", "! There is no boot record;",
		  "\"record\": \"lost\"" },
		{ "a mount is lost", "BF_DEGRADED=yes\n", "! Something that should be kept",
		  "\"writable\": true" },
		{ "mended", "BF_DATA_WHY=\"home was \\\"a link\\\"\"\n",
		  "\nBF_DATA: home was \"a link\"\n", "\"data_why\": \"home was \\\"a link\\\"\"" },
		{ "not a word", "", "running      A", "\"data_why\": null" },
		{ "limbo", "BF_LIMBO=yes\n", "! Nothing says for sure which slot is the committed",
		  "\"limbo\": true" },
		{ "mismatch", "BF_MISMATCH=yes\n", "! Firmware, command line and root",
		  "\"mismatch\": true" },
		{ "unknown", "BF_SLOT=-\n", "! Nothing says which slot", "\"running\": null" },
		{ "repaired", "BF_REASON=wrong-slot\n", "wrong-slot: The firmware started",
		  "\"reason\": \"wrong-slot\"" },
		{ "no selector", "BF_BOOTSEL_DEV=\n", "! autoboot.txt is missing",
		  "\"selector\": \"gone\"" },
		{ "no selector", "BF_BOOTSEL_DEV=\n", "next boot    whatever the firmware finds",
		  "\"power_on\": null" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct device d = device_default;
		const struct answer *a;
		struct record rec;

		device_record(&rec, SLOT_A);
		d.record = &rec;
		d.boot_file = rows[i].boot_file;
		fake_reset();
		device_make(&d);
		a = ask("status", NULL);
		if (!ok(a->status == 0 && strstr(a->out, rows[i].note), "%s: %s", rows[i].name,
			rows[i].note))
			printf("# %s\n", a->out);
		has_json(rows[i].name, rows[i].json);
	}
}

static void test_trouble(void)
{
	struct record rec;

	device_record(&rec, SLOT_A);
	device_with(&rec, SLOT_A);
	fake_remove(BOOT_FILE_PATH);
	ok_int(ask("status", NULL)->status, 1, "not started by bf-init");
	device_with(&rec, SLOT_A);
	fake_remove(DEVICE_DATA "/bf");
	ok(ask("history", NULL)->status == 1 && !*ask("history", NULL)->out, "no record");
	device_record(&rec, SLOT_A);
	device_with(&rec, SLOT_A);
	ok_str(ask("history", NULL)->out, "Nothing happened yet.\n", "no history");
	ok_str(ask("history", "--json", NULL)->out, "[]\n", "none in JSON either");
	fake_file(RUNNING_STAYING, "");
	ok(strstr(ask("status", NULL)->out, "! The guard gave up"), "staying");
	device_store(&rec);
	fake_file(DEVICE_DATA "/bf/boot-record.old", "");
	ok(strstr(ask("status", NULL)->out, "! One of the two copies"), "a damaged generation");
}

static void test_json(void)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "plain", "\"plain\"\n" },
		{ "\"\\/", "\"\\\"\\\\/\"\n" },
		{ "\x01\n\t\x1f\x7f", "\"\\u0001\\u000a\\u0009\\u001f\x7f\"\n" },
		{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x8f\xa0",
		  "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x8f\xa0\"\n" },
		{ "\xff", "\"\\ufffd\"\n" },
		{ "a\xc3", "\"a\\ufffd\"\n" },
		{ "\xe2\x82", "\"\\ufffd\\ufffd\"\n" },
		{ "\xc0\xaf", "\"\\ufffd\\ufffd\"\n" },			      /* overlong */
		{ "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"\n" },	      /* a surrogate */
		{ "\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"\n" }, /* above U+10FFFF */
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char *text = NULL;
		size_t len;
		struct json j = { .out = open_memstream(&text, &len) };

		if (!j.out)
			abort();
		json_text(&j, NULL, rows[i].text);
		(void)fputc('\n', j.out);
		(void)fclose(j.out);
		ok_str(text, rows[i].want, "text %zu", i);
		free(text);
	}
}

int main(void)
{
	test_quiet();
	test_staged();
	test_trial();
	test_notes();
	test_trouble();
	test_json();
	return tap_done();
}
