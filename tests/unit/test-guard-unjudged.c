// SPDX-License-Identifier: MIT
/* Who is judged by what: a mistake of the image's builder is no fault of a kiosk. */
#include "guard/senses.h"

#include "tests/lib/tap.h"

#define SEC UINT64_C(1000000)

static struct config config;
static struct senses senses;

/* As bad as a kiosk can be, but for what @load and @active say: it is silent, and so is its server.
 */
static void make(const char *load, const char *active)
{
	struct kiosk_properties p = { .invocation = { 1 } };

	(void)snprintf(p.load, sizeof(p.load), "%s", load);
	(void)snprintf(p.active, sizeof(p.active), "%s", active);
	(void)snprintf(p.sub, sizeof(p.sub), "%s", active);
	(void)snprintf(p.result, sizeof(p.result), "exit-code");
	config_init(&config);
	config.marker_proves = MARKER_PROVES_LOCAL;
	senses = (struct senses) { 0 };
	(void)kiosk_note(&senses.kiosk, &p, SEC);
}

static const struct judgement *judged(enum check check)
{
	static struct judgement j;

	senses_judge(&senses, &config, 3600 * SEC, check, &j);
	return &j;
}

static void expect(bool fails, const char *why, const char *what)
{
	char said[JUDGEMENT_WHY_MAX];

	senses_no_kiosk(&senses, &config, said);
	ok_str(said, why, "%s: why", what);
	for (enum check c = 0; c < CHECK_COUNT; c++) {
		const struct judgement *j = judged(c);

		if (c == CHECK_SCRIPTS)
			continue;
		if (fails)
			ok(verdict_failed(j->verdict), "%s: %s fails", what, check_name(c));
		else
			ok(!verdict_failed(j->verdict) && j->reason == REASON_NONE,
			   "%s: %s is not blamed: %s", what, check_name(c), j->why);
	}
}

static void test_missing(void)
{
	static const char *const loads[] = { "not-found", "masked", "error", "bad-setting" };

	make("loaded", "failed");
	expect(true, "", "a kiosk that failed");
	make("loaded", "inactive");
	expect(true, "", "a kiosk that is not started");
	for (size_t i = 0; i < ARRAY_SIZE(loads); i++) {
		_cleanup_free_ char *why =
			strf("no kiosk to judge: betterframe-kiosk.service is %s", loads[i]);

		make(loads[i], "inactive");
		expect(false, why ? why : "", loads[i]);
		ok(strstr(judged(CHECK_UNIT)->why, "no kiosk to judge") != NULL,
		   "the status says so");
	}
}

static void test_mistakes(void)
{
	make("loaded", "failed");
	config.mistakes = 2;
	expect(false, "not judged by a configuration with 2 mistake(s)", "mistakes");
	make("loaded", "active");
	config.mistakes = 1;
	ok_int(judged(CHECK_UNIT)->verdict, VERDICT_PASS,
	       "a kiosk that lives does so all the same");
	make("loaded", "failed");
	(void)snprintf(config.user, sizeof(config.user), "nobody");
	senses.account_missing = true;
	expect(false, "no kiosk to judge: there is no account nobody", "no account");
}

int main(void)
{
	test_missing();
	test_mistakes();
	return tap_done();
}
