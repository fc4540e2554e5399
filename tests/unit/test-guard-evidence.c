// SPDX-License-Identifier: MIT
/*
 * Whose signs of life are they, and are they enough? The real senses and the real reducer
 * watch kiosks of every kind that a few words make: how it signs, what happens to it, how
 * it signs then, what happens, how it signs in the end. A second book-keeping knows what
 * really happened, and holds:
 *
 *   no commit, no confirmation and no settling unless the invocation that runs gave signs of
 *   its own through the whole window; and a kiosk that goes on to give them is committed,
 *   whatever was before.
 *
 *   test-guard-evidence [LENGTHS]     how many lengths each part but the last may have
 */
#include "guard/heartbeat.h"
#include "guard/policy.h"
#include "guard/process.h"

#include "tests/lib/tap.h"

#define SEC	  UINT64_C(1000000)
#define WINDOW	  (4 * SEC)
#define AGE	  (2 * SEC)
#define WATCHDOG  (3 * SEC)
#define LAST_TICK 60
#define END_TICKS 13 /* of the last part: a window and a probation */

/* X(identifier, word): how a kiosk signs, second by second */
#define WAYS(X)                                                                                    \
	X(SILENT, "silent")                                                                        \
	X(READY_ONCE, "READY=1 once")                                                              \
	X(BEATS, "beats")                                                                          \
	X(HELPER_BEATS, "beats by helpers that it starts")                                         \
	X(MARKS, "renews its marker")                                                              \
	X(MARKS_ONCE, "writes its marker once")                                                    \
	X(FEEDS, "feeds its unit's watchdog")                                                      \
	X(ANSWERED, "beats with the server's answer")                                              \
	X(LEFTOVER, "is silent, and a process of the one before it beats")

/* What happens to it between two ways. */
#define HAPPENINGS(X)                                                                              \
	X(NOTHING, "goes on")                                                                      \
	X(RESTART, "crashes and is restarted")                                                     \
	X(LATE_NEWS, "is restarted, told a second later")                                          \
	X(SIGNS_FIRST, "is restarted, and its first sign comes before the news")                   \
	X(MARKS_THEN_DIES, "writes its marker just before it is restarted")                        \
	X(EXEC, "hands over to another main process")                                              \
	X(RELOAD, "reloads")                                                                       \
	X(ENDS, "ends as it wanted")                                                               \
	X(GUARD_DIES, "goes on, and the guard is restarted")

#define X(id, word) id,
enum way { WAYS(X) WAY_COUNT };
enum happening { HAPPENINGS(X) HAPPENING_COUNT };
#undef X
#define X(id, word) word,
static const char *const way_words[] = { WAYS(X) };
static const char *const happening_words[] = { HAPPENINGS(X) };
#undef X

enum boot { TRIAL, TRIAL_WITH_SERVER, PROBATION, SETTLING, BOOT_COUNT };
static const char *const boot_words[] = { "trial", "trial that needs the server", "probation",
					  "committed" };

struct sign {
	uint64_t at, age;
	unsigned invocation;
};

struct world {
	uint64_t now;
	enum boot boot;
	struct config config;
	/* What is so. */
	unsigned invocation; /* of the unit */
	uint64_t began, main_began, fed;
	struct kiosk_properties unit;
	struct sign signs[4 * LAST_TICK];
	size_t sign_count;
	uint64_t stamp, marked;
	bool periodic;	    /* this invocation has sent WATCHDOG=1: it has to go on */
	unsigned marks;	    /* … and written its marker so often */
	unsigned told_late; /* seconds until the news */
	/* What the guard makes of it. */
	struct kiosk kiosk;
	struct heartbeat heart;
	struct policy policy;
	enum verdict told[CHECK_COUNT];
	bool told_unheard;
	bool ask; /* systemd is to be asked */
	unsigned told_invocation;
	bool over; /* this boot */
	bool committed;
};

/* What is being looked at, for a failure. */
static struct {
	enum way ways[3];
	unsigned ticks[3];
	enum happening happenings[2];
} story;
static uint64_t stories, commits, settlements, confirmations, violations;

static void violated(const struct world *w, const char *what)
{
	if (violations++ == 0)
		printf("# %s at %llu s of a %s: %s %u s, %s, %s %u s, %s, %s\n", what,
		       (unsigned long long)(w->now / SEC), boot_words[w->boot],
		       way_words[story.ways[0]], story.ticks[0],
		       happening_words[story.happenings[0]], way_words[story.ways[1]],
		       story.ticks[1], happening_words[story.happenings[1]],
		       way_words[story.ways[2]]);
}

/* Did the invocation that the guard can know of give signs through the whole window? */
static bool is_proven(const struct world *w)
{
	uint64_t at = w->now - WINDOW;

	while (at <= w->now) {
		uint64_t reach = at;

		for (size_t i = 0; i < w->sign_count; i++)
			if (w->signs[i].invocation == w->told_invocation && w->signs[i].at <= at &&
			    w->signs[i].at + w->signs[i].age > reach)
				reach = w->signs[i].at + w->signs[i].age;
		if (reach == at)
			return false;
		at = reach;
	}
	return true;
}

/* ---- the world ------------------------------------------------------------------- */

static void sign(struct world *w, uint64_t age)
{
	w->signs[w->sign_count++] =
		(struct sign) { .at = w->now, .age = age, .invocation = w->invocation };
}

static void hear(struct world *w, const struct notify *n, uint64_t started)
{
	heartbeat_hear(&w->heart, n, started, w->now);
}

static void write_marker(struct world *w, uint64_t ago)
{
	w->stamp++;
	w->marked = w->now - ago;
	w->marks++;
	sign(w, AGE);
	heartbeat_see(&w->heart, w->stamp, w->marked, w->now);
}

static void begin_invocation(struct world *w)
{
	w->invocation++;
	w->periodic = false;
	w->marks = 0;
	w->unit.invocation[0] = (uint8_t)w->invocation;
	w->unit.invocation[1] = (uint8_t)(w->invocation >> 8);
	w->unit.active_at = w->unit.watchdog_at = w->now;
	w->unit.main_started = w->began = w->main_began = w->fed = w->now;
	(void)snprintf(w->unit.active, sizeof(w->unit.active), "active");
	(void)snprintf(w->unit.sub, sizeof(w->unit.sub), "running");
}

static bool runs(const struct world *w)
{
	return streq(w->unit.sub, "running");
}

static void signs_now(struct world *w, enum way way, unsigned tick)
{
	struct notify n = { .watchdog = way != READY_ONCE, .ready = way == READY_ONCE };

	if (!runs(w))
		return;
	switch (way) {
	case READY_ONCE:
		if (tick > 0)
			break;
		sign(w, AGE);
		hear(w, &n, w->main_began);
		break;
	case ANSWERED:
		n.server = SERVER_ANSWERED;
		__attribute__((fallthrough));
	case BEATS:
		w->periodic = true;
		sign(w, AGE);
		hear(w, &n, w->main_began);
		break;
	case HELPER_BEATS:
		w->periodic = true;
		sign(w, AGE);
		hear(w, &n, w->now);
		break;
	case MARKS_ONCE:
		if (tick > 0)
			break;
		__attribute__((fallthrough));
	case MARKS:
		write_marker(w, 0);
		break;
	case FEEDS:
		w->fed = w->now;
		w->unit.watchdog_at = w->now + 1;
		sign(w, WATCHDOG);
		break;
	case LEFTOVER:
		hear(w, &n, w->began - SEC);
		break;
	case SILENT:
	case WAY_COUNT:
		break;
	}
}

/* ---- the guard ------------------------------------------------------------------- */

static void event(struct world *w, const struct policy_event *e);

static void act(struct world *w, const struct policy_action *a)
{
	bool trial = w->boot == TRIAL || w->boot == TRIAL_WITH_SERVER;

	switch (a->type) {
	case ACTION_READ_FACTS:
		event(w, &(struct policy_event) { .type = EVENT_FACTS,
						  .id = a->id,
						  .facts = { .role = trial && !w->committed
									     ? ROLE_TRIAL
									     : ROLE_COMMITTED,
							     .committable = true,
							     .probation = w->boot == PROBATION,
							     .trials = 1 } });
		break;
	case ACTION_MARK_GOOD:
		if (!is_proven(w))
			violated(w, "committed without a proof");
		commits++;
		w->committed = true;
		event(w, &(struct policy_event) {
				 .type = EVENT_MARKED, .id = a->id, .mark = MARK_DONE });
		break;
	case ACTION_READ_BACK:
		event(w,
		      &(struct policy_event) { .type = EVENT_READ_BACK, .id = a->id, .yes = true });
		break;
	case ACTION_CONFIRM:
		if (!is_proven(w))
			violated(w, "confirmed without a proof");
		confirmations++;
		event(w, &(struct policy_event) { .type = EVENT_DONE, .id = a->id, .yes = true });
		break;
	case ACTION_SETTLE:
		if (!is_proven(w))
			violated(w, "settled without a proof");
		settlements++;
		event(w, &(struct policy_event) { .type = EVENT_DONE, .id = a->id, .yes = true });
		break;
	case ACTION_RESTART_UNIT:
		kiosk_forget(&w->kiosk, w->now);
		heartbeat_forget(&w->heart);
		w->told[CHECK_UNIT] = w->told[CHECK_HEARTBEAT] = VERDICT_INCONCLUSIVE;
		begin_invocation(w);
		w->ask = true;
		break;
	case ACTION_COMMITTED:
		break;
	default: /* what is left of it decides nothing any more */
		w->over = true;
		break;
	}
}

static void actions(struct world *w, const struct policy_actions *out)
{
	for (size_t i = 0; i < out->count && !w->over; i++)
		act(w, &out->list[i]);
}

static void event(struct world *w, const struct policy_event *e)
{
	struct policy_actions out;

	policy_step(&w->policy, e, w->now, &out);
	actions(w, &out);
}

static void tell(struct world *w, enum check check, const struct judgement *j)
{
	if (w->told[check] == j->verdict)
		return;
	w->told[check] = j->verdict;
	event(w, &(struct policy_event) {
			 .type = EVENT_CHECK,
			 .check = check,
			 .verdict = j->verdict,
			 .reason = j->reason != REASON_NONE ? j->reason : REASON_KIOSK_SILENT });
}

static void evaluate(struct world *w)
{
	struct judgement j;
	bool unheard;

	kiosk_judge(&w->kiosk, &w->config, w->now, &j);
	if (w->kiosk.broke && j.verdict == VERDICT_PASS)
		tell(w, CHECK_UNIT, &(struct judgement) { .verdict = VERDICT_FAIL });
	w->kiosk.broke = false;
	tell(w, CHECK_UNIT, &j);
	w->heart.in_trial = w->policy.facts.role == ROLE_TRIAL;
	heartbeat_judge(&w->heart, &w->config, w->now, &j);
	unheard = heartbeat_through_server(&w->heart, &w->config, w->now);
	if (unheard != w->told_unheard)
		event(w, &(struct policy_event) { .type = EVENT_UNHEARD, .yes = unheard });
	w->told_unheard = unheard;
	tell(w, CHECK_HEARTBEAT, &j);
	tell(w, CHECK_SCRIPTS, &(struct judgement) { .verdict = VERDICT_PASS });
	server_judge(&w->heart, &w->config, w->now, &j);
	tell(w, CHECK_SERVER, &j);
}

/* systemd answers, and is asked again where that leaves something open. */
static void ask(struct world *w)
{
	w->unit.asked = w->now;
	(void)kiosk_note(&w->kiosk, &w->unit, w->now);
	w->told_invocation = w->invocation;
	if (w->config.marker[0])
		heartbeat_see(&w->heart, w->stamp, w->marked, w->now);
	w->ask = false;
}

static void start_guard(struct world *w)
{
	struct policy_actions out;

	memset(&w->kiosk, 0, sizeof(w->kiosk));
	memset(&w->heart, 0, sizeof(w->heart));
	for (enum check c = 0; c < CHECK_COUNT; c++)
		w->told[c] = VERDICT_INCONCLUSIVE;
	w->told_unheard = false;
	kiosk_lost(&w->kiosk, w->now);
	w->ask = true;
	policy_init(&w->policy, &w->config.policy, w->now, &out);
	actions(w, &out);
}

static void tick(struct world *w)
{
	if (w->told_late > 0 && --w->told_late == 0)
		w->ask = true;
	if (w->ask)
		ask(w);
	/* Signs that are held make it ask once more, and no more than that. */
	if (heartbeat_follow(&w->heart, &w->config, &w->kiosk)) {
		ask(w);
		if (heartbeat_follow(&w->heart, &w->config, &w->kiosk))
			violated(w, "still not known whose it is");
	}
	evaluate(w);
	event(w, &(struct policy_event) { .type = EVENT_TIME });
	w->now += SEC;
}

/* ---- stories --------------------------------------------------------------------- */

static void happen(struct world *w, enum happening what)
{
	switch (what) {
	case MARKS_THEN_DIES:
		/* More than the clocks of the file and of the process are apart. */
		if (runs(w))
			write_marker(w, 3 * PROCESS_TICK);
		__attribute__((fallthrough));
	case RESTART:
		begin_invocation(w);
		w->ask = true;
		break;
	case LATE_NEWS:
		begin_invocation(w);
		w->told_late = 2;
		break;
	case SIGNS_FIRST:
		begin_invocation(w);
		signs_now(w, BEATS, 0);
		break;
	case EXEC:
		if (!runs(w))
			break;
		w->unit.main_started = w->main_began = w->now;
		w->ask = true;
		break;
	case RELOAD:
		if (!runs(w))
			break;
		(void)snprintf(w->unit.active, sizeof(w->unit.active), "reloading");
		w->ask = true;
		break;
	case ENDS:
		(void)snprintf(w->unit.active, sizeof(w->unit.active), "inactive");
		(void)snprintf(w->unit.sub, sizeof(w->unit.sub), "dead");
		w->unit.inactive_at = w->now;
		w->unit.main_started = 0;
		w->ask = true;
		break;
	case GUARD_DIES:
		start_guard(w);
		break;
	case NOTHING:
	case HAPPENING_COUNT:
		break;
	}
}

/* Returns false when there is nothing more to look at. */
static bool go_on(struct world *w, enum way way, unsigned ticks)
{
	for (unsigned i = 0; i < ticks && !w->over; i++) {
		w->unit.watchdog_usec = way == FEEDS ? WATCHDOG : w->unit.watchdog_usec;
		/* It is systemd that ends who does not feed it any more. */
		if (w->unit.watchdog_usec && runs(w) && w->now - w->fed >= WATCHDOG) {
			begin_invocation(w);
			w->ask = true;
		}
		signs_now(w, way, i);
		tick(w);
	}
	return !w->over && violations == 0;
}

/* It goes on with all that it has begun. */
static bool lives(const struct world *w, enum way way)
{
	switch (way) {
	case BEATS:
	case HELPER_BEATS:
	case ANSWERED:
		return w->marks < 2;
	case MARKS:
		return !w->periodic;
	default:
		return false;
	}
}

static void end(const struct world *from, enum way way)
{
	struct world w = *from;

	stories++;
	story.ways[2] = way;
	/* Who fed the watchdog of its unit has to go on. */
	if (!go_on(&w, way, END_TICKS))
		return;
	if (lives(&w, way) && runs(&w) && w.unit.watchdog_usec == 0 && w.boot == TRIAL &&
	    !w.committed)
		violated(&w, "a kiosk that lives is not committed");
}

static const unsigned lengths[] = { 1, 9, 3, 6 };
static size_t length_count = 2;

static void middle(const struct world *from, enum happening first)
{
	struct world after = *from;

	story.happenings[0] = first;
	happen(&after, first);
	for (enum way way = 0; way < WAY_COUNT && violations == 0; way++)
		for (size_t l = 0; l < length_count; l++) {
			struct world w = after;

			story.ways[1] = way;
			story.ticks[1] = lengths[l];
			if (!go_on(&w, way, lengths[l]))
				continue;
			for (enum happening h = 0; h < HAPPENING_COUNT; h++) {
				struct world next = w;

				story.happenings[1] = h;
				happen(&next, h);
				for (enum way last = 0; last < WAY_COUNT; last++)
					end(&next, last);
			}
		}
}

static void begin(struct world *w, enum boot boot)
{
	*w = (struct world) { .now = 10 * SEC, .boot = boot };
	config_init(&w->config);
	w->config.policy.window = WINDOW;
	w->config.policy.deadline = w->config.policy.server_deadline = 1000 * SEC;
	w->config.policy.start_deadline = 1000 * SEC;
	w->config.policy.offline = OFFLINE_NO;
	w->config.policy.probation = w->config.policy.settle = 5 * SEC;
	w->config.policy.patience = 2 * SEC;
	w->config.policy.recovery = 3 * SEC;
	w->config.policy.restarts = 2;
	w->config.heartbeat_max_age = w->config.marker_max_age = AGE;
	w->config.crashes = KIOSK_RESTARTS_MAX;
	w->config.server_required = boot == TRIAL_WITH_SERVER || boot == SETTLING;
	w->config.marker_proves =
		w->config.server_required ? MARKER_PROVES_SERVER : MARKER_PROVES_LOCAL;
	w->unit = (struct kiosk_properties) { .load = "loaded", .result = "success", .uid = 1000 };
	begin_invocation(w);
	start_guard(w);
}

static void test_all_stories(void)
{
	for (enum boot boot = 0; boot < BOOT_COUNT && violations == 0; boot++) {
		struct world start;

		begin(&start, boot);
		for (enum way way = 0; way < WAY_COUNT; way++)
			for (size_t l = 0; l < length_count; l++) {
				struct world w = start;

				story.ways[0] = way;
				story.ticks[0] = lengths[l];
				if (!go_on(&w, way, lengths[l]))
					continue;
				for (enum happening h = 0; h < HAPPENING_COUNT; h++)
					middle(&w, h);
			}
	}
	ok(violations == 0, "%llu stories, %llu violations", (unsigned long long)stories,
	   (unsigned long long)violations);
	ok(commits > stories / 100 && settlements > stories / 100 && confirmations > stories / 100,
	   "%llu commits, %llu confirmations and %llu settlements among them",
	   (unsigned long long)commits, (unsigned long long)confirmations,
	   (unsigned long long)settlements);
}

int main(int argc, char *argv[])
{
	uint64_t count;

	if (argc > 1 && parse_u64(argv[1], 10, &count) == 0 && count <= ARRAY_SIZE(lengths))
		length_count = (size_t)count;
	else if (getenv("UNDER_VALGRIND")) /* every branch, not every story */
		length_count = 1;
	test_all_stories();
	return tap_done();
}
