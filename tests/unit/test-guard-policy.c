// SPDX-License-Identifier: MIT
/*
 * The guard's reducer: stories with their times, then every state that a small
 * world can reach, then long random walks. The last two are judged by a second,
 * much simpler book-keeping (struct shadow) of what must never happen.
 *
 *   test-guard-policy [STATES [STEPS]]     how many to look at
 */
#include "guard/policy.h"

#include "tests/lib/tap.h"

#define SEC UINT64_C(1000000)

/* ---- what must never happen ---------------------------------------------- */

struct shadow {
	enum role role;	  /* as last told and accepted */
	bool committable; /* of the trial */
	enum verdict checks[CHECK_COUNT];
	uint64_t pass_since;				  /* … and somebody looked all the time */
	uint64_t last;					  /* step */
	uint32_t mark_id;				  /* of a Mark that may still happen */
	uint32_t end_id;				  /* of a REJECT or ABORT */
	uint32_t ask_id;				  /* of a KIOSK_FAILS, RETRY_OTHER or TRY */
	bool answered, expected, unheard, reached_before; /* the server, the kiosk */
	bool committed_here;				  /* its window was before */
	bool ending;					  /* rejected or aborted */
	bool marked;
	enum policy_next allowed; /* the boot library's word for a reboot */
	bool rebooting;
	enum rung rung;
	uint32_t healthy;      /* seconds in the record */
	uint64_t healthy_from; /* … since when more may have come */
};

static const char *broken; /* the first invariant that did not hold */

static void must(bool holds, const char *what)
{
	if (!holds && !broken)
		broken = what;
}

static void shadow_init(struct shadow *s)
{
	*s = (struct shadow) { .pass_since = POLICY_NEVER, .last = POLICY_NEVER };
}

static bool shadow_judges(const struct shadow *s, const struct policy_config *config, enum check c)
{
	if (c == CHECK_SCRIPTS)
		return s->role == ROLE_TRIAL ||
		       (s->role == ROLE_COMMITTED && config->committed_act);
	return c != CHECK_SERVER;
}

static bool shadow_pass(const struct shadow *s, const struct policy_config *config)
{
	for (enum check c = 0; c < CHECK_COUNT; c++)
		if (shadow_judges(s, config, c) && s->checks[c] != VERDICT_PASS)
			return false;
	return true;
}

static void shadow_event(struct shadow *s, const struct policy *before,
			 const struct policy_event *e, uint64_t now)
{
	if (e->type == EVENT_CHECK)
		s->checks[e->check] = e->verdict;
	if (s->last != POLICY_NEVER && now - s->last > 30 * SEC)
		s->pass_since = POLICY_NEVER;
	/* What was not heard is no part of a window. */
	if (s->unheard && e->type == EVENT_UNHEARD && !e->yes)
		s->pass_since = POLICY_NEVER;
	s->last = now;
	if (e->type == EVENT_FACTS && e->facts.role != ROLE_UNKNOWN &&
	    (s->role == ROLE_UNKNOWN || (s->role == ROLE_TRIAL && !s->ending))) {
		if (e->facts.role == ROLE_TRIAL)
			s->committable = e->facts.committable;
		if (s->role == ROLE_UNKNOWN) /* until then it was another window */
			s->pass_since = POLICY_NEVER;
		s->committed_here = s->role == ROLE_TRIAL && e->facts.role == ROLE_COMMITTED;
		s->healthy = s->committed_here ? 0 : (uint32_t)(e->facts.healthy / SEC);
		s->healthy_from = now;
		s->role = e->facts.role;
	}
	if (e->type == EVENT_FACTS && e->facts.reached_before)
		s->reached_before = true;
	/* Of the kiosk that runs now: another one before it may have had another network. */
	if (e->type == EVENT_CHECK && e->check == CHECK_SERVER)
		s->answered = e->verdict == VERDICT_PASS;
	if (e->type == EVENT_SERVER)
		s->expected = e->yes;
	if (e->type == EVENT_UNHEARD)
		s->unheard = e->yes;
	if (e->type == EVENT_MARKED && e->id == s->mark_id && e->mark != MARK_UNKNOWN)
		s->mark_id = 0;
	if (e->type == EVENT_READ_BACK && e->yes && before->phase == GUARD_READING_BACK &&
	    e->id == before->awaited) {
		s->role = ROLE_COMMITTED;
		s->committed_here = true;
		s->healthy = 0;
	}
	if (e->type == EVENT_DONE && e->id != 0 && e->id == s->ask_id && e->yes)
		s->allowed = e->next;
	if (!shadow_pass(s, &before->config))
		s->pass_since = POLICY_NEVER;
	else if (s->pass_since == POLICY_NEVER)
		s->pass_since = now;
}

static void shadow_reboot(struct shadow *s, const struct policy *before,
			  const struct policy_action *a, uint64_t now)
{
	bool ended = s->ending && (before->due <= now || before->phase == GUARD_REJECTING ||
				   before->phase == GUARD_ABORTING);

	if (s->rebooting) {
		must(a->rung == (s->rung + 1) % RUNG_COUNT, "rungs are climbed one by one");
	} else {
		must(ended || s->allowed != POLICY_GO_ON,
		     "a reboot is bounded by a write, or ends a trial");
		must(a->trial == (s->allowed == POLICY_REBOOT_TRIAL),
		     "a trial boot only when it was written down");
	}
	s->rebooting = true;
	s->rung = a->rung;
}

/* Nothing is blamed for what was not said, or on what is only reported. */
static void shadow_blame(const struct shadow *s, const struct policy_action *a,
			 const struct policy_config *config)
{
	bool server = a->blamed == CHECK_SERVER && a->type == ACTION_SAVE;

	if (a->blamed == CHECK_COUNT) {
		must(a->type == ACTION_SAVE && (a->reason == REASON_ROOT_CORRUPT ||
						a->reason == REASON_COMMIT_FAILED),
		     "without a check that failed only the root or the commit is blamed");
		return;
	}
	must(a->reason != REASON_NONE, "who is blamed gave a reason");
	must(verdict_failed(s->checks[a->blamed]), "only a failure fails");
	must(server || shadow_judges(s, config, a->blamed), "what only reports is not acted on");
}

/* Grows with the time, never faster, and only a failure takes it back. */
static void shadow_healthy(struct shadow *s, const struct policy_action *a, uint64_t now)
{
	must(s->role == ROLE_COMMITTED, "only the committed slot's health is written");
	if (a->seconds > 0) {
		must(a->seconds >= s->healthy, "health does not vanish without a failure");
		must(a->seconds - s->healthy <= (now - s->healthy_from) / SEC + 1,
		     "health does not grow faster than time");
	}
	s->healthy = a->seconds;
	s->healthy_from = now;
}

static void shadow_action(struct shadow *s, const struct policy *before,
			  const struct policy_action *a, uint64_t now,
			  const struct policy_config *config)
{
	uint64_t window = config->window;

	must(!s->rebooting || a->type == ACTION_REBOOT, "nothing but the reboot once it began");
	if (a->type == ACTION_SAVE || a->type == ACTION_RESTART_UNIT ||
	    a->type == ACTION_KIOSK_FAILS)
		shadow_blame(s, a, config);
	if (a->type == ACTION_RESTART_UNIT || a->type == ACTION_KIOSK_FAILS)
		s->healthy = 0;
	if (a->type == ACTION_HEALTHY)
		shadow_healthy(s, a, now);
	if (a->type == ACTION_MARK_GOOD) {
		must(s->role == ROLE_TRIAL && s->committable, "only a trial is committed");
		must(s->pass_since != POLICY_NEVER && now - s->pass_since >= window,
		     "never committed without an unbroken window");
		must(s->mark_id == 0, "one Mark at a time");
		must(!s->ending, "never committed after it was rejected");
		must(before->phase == GUARD_LIMBO || now < before->commit_due,
		     "no Mark after the time for it");
		must(!s->unheard, "never committed without a sign of life");
		must(s->answered || !s->expected, "never committed while an answer is expected");
		must(s->answered || config->offline == OFFLINE_YES ||
			     (config->offline == OFFLINE_AFTER && !s->reached_before),
		     "never committed without the server that answered before");
		s->mark_id = a->id;
	} else if (a->type == ACTION_REJECT || a->type == ACTION_ABORT) {
		must(s->role == ROLE_TRIAL, "only a trial is rejected");
		must(a->type == ACTION_ABORT || s->mark_id == 0,
		     "never the opposite while a Mark may still happen");
		must(a->type == ACTION_ABORT || a->reason != REASON_NONE,
		     "a rejection has a reason");
		must(!s->ending, "rejected once");
		s->ending = true;
	} else if (a->type == ACTION_KIOSK_FAILS || a->type == ACTION_RETRY_OTHER ||
		   a->type == ACTION_TRY || a->type == ACTION_CONFIRM || a->type == ACTION_SETTLE ||
		   a->type == ACTION_STAY) {
		must(s->role == ROLE_COMMITTED, "only the committed slot may be left or confirmed");
		if (a->type == ACTION_KIOSK_FAILS || a->type == ACTION_RETRY_OTHER ||
		    a->type == ACTION_TRY)
			s->ask_id = a->id;
		if (a->type == ACTION_SETTLE)
			must(s->pass_since != POLICY_NEVER && now - s->pass_since >= window,
			     "never settled without an unbroken window");
		if (a->type == ACTION_CONFIRM) {
			must(s->committed_here || (s->pass_since != POLICY_NEVER &&
						   now - s->pass_since >= window),
			     "never confirmed without an unbroken window");
			s->committed_here = false;
		}
	} else if (a->type == ACTION_RESTART_UNIT) {
		must(s->role != ROLE_TRIAL, "a trial's kiosk is not helped");
		s->checks[CHECK_UNIT] = s->checks[CHECK_HEARTBEAT] = VERDICT_INCONCLUSIVE;
		s->pass_since = POLICY_NEVER;
	} else if (a->type == ACTION_REBOOT) {
		shadow_reboot(s, before, a, now);
	}
}

static bool may_wait_for_ever(const struct policy *p)
{
	return p->phase == GUARD_PROBATION || p->phase == GUARD_COMMITTED ||
	       p->phase == GUARD_LIMBO;
}

static void one_step(struct policy *p, struct shadow *s, const struct policy_event *e, uint64_t now)
{
	struct policy before = *p;
	struct policy_actions out;

	shadow_event(s, &before, e, now);
	policy_step(p, e, now, &out);
	must(out.count <= POLICY_ACTIONS_MAX, "the list of actions is long enough");
	must(p->last_id - before.last_id == out.count, "no action is lost");
	for (size_t i = 0; i < out.count; i++)
		shadow_action(s, &before, &out.list[i], now, &p->config);
	must(policy_due(p) > now, "the next step is not due already");
	must(policy_due(p) != POLICY_NEVER || may_wait_for_ever(p), "every wait has a deadline");
	must(s->role != ROLE_LIMBO || p->phase == GUARD_LIMBO || p->phase == GUARD_GOING_DOWN ||
		     p->phase == GUARD_STARTING,
	     "limbo stays limbo");
}

/* The same event again must ask for nothing. */
static void twice(const struct policy *p, const struct policy_event *e, uint64_t now)
{
	struct policy copy = *p;
	struct policy_actions out;

	policy_step(&copy, e, now, &out);
	must(out.count == 0, "an event that comes twice asks for nothing twice");
}

/* Left alone, a trial comes to its end. */
static void must_end(const struct policy *p, uint64_t now)
{
	struct policy copy = *p;
	struct policy_event time = { .type = EVENT_TIME };
	struct policy_actions out;
	unsigned i;

	for (i = 0; i < 200 && copy.facts.role == ROLE_TRIAL && copy.phase != GUARD_REBOOTING &&
		    !may_wait_for_ever(&copy);
	     i++) {
		now = policy_due(&copy);
		policy_step(&copy, &time, now, &out);
	}
	must(i < 200, "a trial ends by itself");
}

#define DOWN_BOUND (300 * SEC)

/* Once the verdict is there, whatever hangs: no way to reboot is left out, and then it begins anew.
 */
static void must_reboot(const struct policy *p, uint64_t now)
{
	struct policy copy = *p;
	struct policy_event time = { .type = EVENT_TIME };
	struct policy_actions out;
	uint64_t until = now + DOWN_BOUND;
	bool asked[RUNG_COUNT] = { false };

	if (p->phase != GUARD_SAVING && p->phase != GUARD_REJECTING && p->phase != GUARD_ABORTING &&
	    p->phase != GUARD_REBOOTING)
		return;
	if (p->phase == GUARD_REBOOTING)
		asked[p->rung] = true;
	while (policy_due(&copy) <= until) {
		now = policy_due(&copy);
		policy_step(&copy, &time, now, &out);
		for (size_t i = 0; i < out.count; i++)
			if (out.list[i].type == ACTION_REBOOT)
				asked[out.list[i].rung] = true;
	}
	for (enum rung r = 0; r < RUNG_COUNT; r++)
		must(asked[r], "every way to reboot is tried within the bound");
}

/* ---- the events of the small world ------------------------------------------ */

#define FACTS(...)                                                                                 \
	{                                                                                          \
		.type = EVENT_FACTS, .facts = { __VA_ARGS__ }                                      \
	}
#define CHECK(c, v)                                                                                \
	{                                                                                          \
		.type = EVENT_CHECK, .check = (c), .verdict = (v), .reason = REASON_CHECK_FAILED   \
	}
#define ANSWER(t) .type = (t), .id = 1 /* replaced by the awaited one */
static const struct policy_event world[] = {
	{ .type = EVENT_TIME },
	FACTS(.role = ROLE_TRIAL, .committable = true, .trials = 1),
	FACTS(.role = ROLE_TRIAL),
	FACTS(.role = ROLE_COMMITTED, .probation = true, .unsettled = true, .healthy = 2 * SEC,
	      .staged = true),
	FACTS(.role = ROLE_COMMITTED, .staying = true),
	FACTS(.role = ROLE_LIMBO),
	FACTS(.role = ROLE_UNKNOWN),
	CHECK(CHECK_UNIT, VERDICT_PASS),
	CHECK(CHECK_UNIT, VERDICT_FAIL),
	CHECK(CHECK_UNIT, VERDICT_HOPELESS),
	CHECK(CHECK_HEARTBEAT, VERDICT_PASS),
	CHECK(CHECK_HEARTBEAT, VERDICT_INCONCLUSIVE),
	CHECK(CHECK_SCRIPTS, VERDICT_PASS),
	CHECK(CHECK_SCRIPTS, VERDICT_FAIL),
	CHECK(CHECK_SERVER, VERDICT_PASS),
	{ .type = EVENT_SERVER, .yes = true },
	{ .type = EVENT_SERVER },
	{ ANSWER(EVENT_ROOT), .verdict = VERDICT_PASS },
	{ ANSWER(EVENT_ROOT), .verdict = VERDICT_FAIL },
	{ ANSWER(EVENT_MARKED), .mark = MARK_DONE },
	{ ANSWER(EVENT_MARKED), .mark = MARK_FAILED },
	{ ANSWER(EVENT_MARKED), .mark = MARK_UNKNOWN },
	{ ANSWER(EVENT_READ_BACK), .yes = true },
	{ ANSWER(EVENT_READ_BACK) },
	{ ANSWER(EVENT_DONE), .yes = true, .next = POLICY_GO_ON },
	{ ANSWER(EVENT_DONE), .yes = true, .next = POLICY_REBOOT },
	{ ANSWER(EVENT_DONE), .yes = true, .next = POLICY_REBOOT_TRIAL },
	{ ANSWER(EVENT_DONE) },
	{ ANSWER(EVENT_SAVED) },
	FACTS(.role = ROLE_COMMITTED, .staged = true),
	FACTS(.role = ROLE_COMMITTED, .installing = true),
	{ .type = EVENT_TRY_ASKED },
	{ .type = EVENT_TRY_WINDOW, .yes = true },
	{ .type = EVENT_GOING_DOWN, .yes = true },
	{ .type = EVENT_GOING_DOWN },
	{ ANSWER(EVENT_RUNG_FAILED) },
	/* an answer to a question that was given up */
	{ .type = EVENT_DONE, .id = 999999, .yes = true, .next = POLICY_REBOOT_TRIAL },
	{ .type = EVENT_UNHEARD, .yes = true },
	{ .type = EVENT_UNHEARD },
	{ ANSWER(EVENT_MARKED), .mark = MARK_BUSY },
	FACTS(.role = ROLE_TRIAL, .committable = true, .reached_before = true, .trials = 1),
	FACTS(.role = ROLE_TRIAL, .rejected = true),
	FACTS(.role = ROLE_COMMITTED, .staged = true, .tried = true, .waited = 3 * SEC),
	/* Another kiosk, to which the server has not answered. */
	CHECK(CHECK_SERVER, VERDICT_FAIL),
};

static struct policy_event addressed(const struct policy *p, const struct policy_event *from)
{
	struct policy_event e = *from;

	if (e.id == 1) {
		e.id = e.type == EVENT_ROOT				     ? p->root_id
		       : e.type == EVENT_MARKED				     ? p->mark_id
		       : p->settle_id && e.type == EVENT_DONE && !p->awaited ? p->settle_id
									     : p->awaited;
		/* The boot library only says "reboot" when a reboot was asked about. */
		if (e.type == EVENT_DONE && e.id == p->settle_id && e.id != 0)
			e.next = POLICY_GO_ON;
	}
	return e;
}

static void small_config(struct policy_config *c)
{
	policy_config_init(c);
	c->window = 2 * SEC;
	c->deadline = 6 * SEC;
	c->server_deadline = 8 * SEC;
	c->offline_after = 5 * SEC;
	c->read_root = true;
	c->read_root_timeout = 3 * SEC;
	c->commit_timeout = 7 * SEC;
	c->mark_patience = 2 * SEC;
	c->probation = 6 * SEC;
	c->settle = 6 * SEC;
	c->patience = 2 * SEC;
	c->start_deadline = 5 * SEC;
	c->recovery = 4 * SEC;
	c->restarts = 1;
	c->stay = 5 * SEC;
	c->try_when = TRY_ON_REQUEST;
	c->try_wait_max = 9 * SEC;
	c->try_again = 5 * SEC;
	c->retry_pause = 12 * SEC;
}

/* ---- every state that is reachable ------------------------------------------- */

struct node {
	struct policy p;
	struct shadow s;
	uint64_t now;
};

/* Two states that differ only in the names of their questions are the same. */
static void rename_questions(struct node *n)
{
	uint32_t awaited = n->p.awaited, mark = n->p.mark_id;
	struct {
		uint32_t *id;
		uint32_t name;
	} ids[] = { { &n->p.awaited, 2 },
		    { &n->p.mark_id, 3 },
		    { &n->p.root_id, 4 },
		    { &n->p.settle_id, 5 } };

	n->s.ask_id = n->s.ask_id && n->s.ask_id == awaited ? 2 : 0;
	n->s.mark_id = n->s.mark_id && n->s.mark_id == mark ? 3 : 0;
	if (!n->p.mark_pending)
		n->p.mark_id = 0;
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		if (*ids[i].id)
			*ids[i].id = ids[i].name;
	n->p.last_id = 5;
	n->p.since = 0;
	/* Told to people only. */
	for (enum check c = 0; c < CHECK_COUNT; c++)
		n->p.checks[c].since = 0;
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_clear_padding)
#define clear_padding(p) __builtin_clear_padding(p)
#endif
#endif
#ifndef clear_padding /* clang: then equal states may count as two */
#define clear_padding(p) (void)(p)
#endif

static uint64_t hash_node(struct node *n)
{
	const uint8_t *bytes = (const uint8_t *)n;
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	clear_padding(n);
	for (size_t i = 0; i < sizeof(*n); i++)
		h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
	return h ? h : 1;
}

struct search {
	struct node *nodes;
	size_t count, max;
	uint64_t *seen;
	size_t seen_size; /* a power of two */
	uint64_t steps;
	bool phases[GUARD_PHASE_COUNT], actions[ACTION_COUNT];
	bool pairs[GUARD_PHASE_COUNT][ARRAY_SIZE(world)];
};

static void discover(struct search *search, struct node *n)
{
	uint64_t h;
	size_t at;

	rename_questions(n);
	h = hash_node(n);
	for (at = h & (search->seen_size - 1); search->seen[at];
	     at = (at + 1) & (search->seen_size - 1))
		if (search->seen[at] == h)
			return;
	if (search->count == search->max)
		return;
	search->seen[at] = h;
	search->nodes[search->count++] = *n;
}

static void expand(struct search *search, size_t index)
{
	for (size_t i = 0; i < ARRAY_SIZE(world); i++)
		for (unsigned d = 0; d < 3; d++) {
			struct node n;
			struct policy_event e;

			/* Padding is compared, too: whole copies only. */
			memcpy(&n, &search->nodes[index], sizeof(n));
			e = addressed(&n.p, &world[i]);
			if (d == 1)
				n.now += SEC;
			if (d == 2 && policy_due(&n.p) == POLICY_NEVER)
				continue;
			if (d == 2 && policy_due(&n.p) > n.now)
				n.now = policy_due(&n.p);
			search->pairs[n.p.phase][i] = true;
			one_step(&n.p, &n.s, &e, n.now);
			twice(&n.p, &e, n.now);
			search->phases[n.p.phase] = true;
			search->steps++;
			if (broken) {
				printf("# broken after event %zu: %s, phase %s -> %s\n", i, broken,
				       policy_phase_name(search->nodes[index].p.phase),
				       policy_phase_name(n.p.phase));
				return;
			}
			if (n.now < 40 * SEC)
				discover(search, &n);
		}
	must_end(&search->nodes[index].p, search->nodes[index].now);
	must_reboot(&search->nodes[index].p, search->nodes[index].now);
}

/*
 * Where the search begins: along roads that chance would take long to find. Each
 * step is an event of the world, a second later or when something is due.
 */
#define ROAD_END 255
static const uint8_t roads[][16] = {
	/* a trial, to its commit: facts, unit, heartbeat, scripts, server; window, root, Mark, read
	   back */
	{ 1, 7, 10, 12, 14, 0, 17, 19, 22, 0, ROAD_END },
	/* … whose Mark hangs, and is never answered */
	{ 1, 7, 10, 12, 14, 0, 17, 0, 23, 0, 23, 0, 23, 0, 23, ROAD_END },
	/* … that waits for the server */
	{ 1, 15, 7, 10, 12, 0, 0, 28, 24, 0, ROAD_END },
	{ 1, 7, 10, 12, 16, 0, 0, 17, 20, 23, 0, ROAD_END },
	/* the committed slot, confirmed, then ill: restart, escalation, stay */
	{ 4, 7, 10, 12, 0, 24, 8, 0, 8, 0, 24, 0, 24, ROAD_END },
	{ 3, 7, 10, 12, 0, 24, 31, 27, 8, 0, 8, 0, 25, 0, ROAD_END },
};

static void walk_road(struct search *search, const struct node *first, const uint8_t *road)
{
	struct node n;

	memcpy(&n, first, sizeof(n));
	for (; *road != ROAD_END; road++) {
		struct policy_event e = addressed(&n.p, &world[*road]);

		if (world[*road].type == EVENT_TIME && policy_due(&n.p) != POLICY_NEVER)
			n.now = policy_due(&n.p);
		one_step(&n.p, &n.s, &e, n.now);
		discover(search, &n);
	}
}

static void test_all_states(size_t max)
{
	struct search *search = calloc(1, sizeof(*search));
	struct policy_config config;
	struct policy_actions out;
	struct node first;
	size_t pairs = 0, i = 0;

	if (!search)
		abort();
	search->max = max;
	for (search->seen_size = 1; search->seen_size < 4 * max;)
		search->seen_size *= 2;
	search->nodes = calloc(max, sizeof(*search->nodes));
	search->seen = calloc(search->seen_size, sizeof(*search->seen));
	if (!search->nodes || !search->seen)
		abort();
	memset(&first, 0, sizeof(first));
	small_config(&config);
	policy_init(&first.p, &config, 0, &out);
	shadow_init(&first.s);
	discover(search, &first);
	for (size_t r = 0; r < ARRAY_SIZE(roads); r++)
		walk_road(search, &first, roads[r]);
	for (; i < search->count && !broken; i++)
		expand(search, i);
	ok(!broken, "%zu states, %llu steps: %s", i, (unsigned long long)search->steps,
	   broken ? broken : "no invariant was broken");
	for (enum phase p = 0; p < GUARD_PHASE_COUNT; p++) {
		ok(search->phases[p], "%s is reached", policy_phase_name(p));
		for (size_t e = 0; e < ARRAY_SIZE(world); e++)
			pairs += search->pairs[p][e];
	}
	ok(pairs == GUARD_PHASE_COUNT * ARRAY_SIZE(world), "%zu of %zu pairs of phase and event",
	   pairs, GUARD_PHASE_COUNT * ARRAY_SIZE(world));
	free(search->nodes);
	free(search->seen);
	free(search);
}

/* ---- random walks --------------------------------------------------------------- */

static uint64_t random_state = UINT64_C(88172645463325252);

static uint64_t random_below(uint64_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % limit;
}

/* Mostly a world that works: else nothing but the first deadlines would ever be seen. */
static size_t random_event(const struct policy *p, unsigned mood)
{
	static const size_t good[] = { 0, 7, 10, 12, 14, 15, 17, 19, 22, 24, 28 };

	if (p->phase == GUARD_STARTING && random_below(2))
		return mood == 99 ? 1 : 1 + random_below(6);
	return random_below(100) < mood ? good[random_below(ARRAY_SIZE(good))]
					: random_below(ARRAY_SIZE(world));
}

static void random_config(struct policy_config *c)
{
	if (random_below(2))
		policy_config_init(c);
	else
		small_config(c);
	c->read_root = random_below(2);
	c->offline = (enum offline)random_below(3);
	c->try_when = (enum try_when)random_below(3);
	c->restarts = (uint32_t)random_below(4);
	c->committed_act = random_below(4) == 0;
}

/* Until @to, as the daemon goes through time, or asleep. */
static uint64_t pass_time(struct policy *p, struct shadow *s, uint64_t now, uint64_t to)
{
	struct policy_event time = { .type = EVENT_TIME };
	bool asleep = random_below(8) == 0;

	for (; !asleep && !broken && now + 10 * SEC < to; one_step(p, s, &time, now))
		now += 10 * SEC;
	return to;
}

static void test_random_walks(uint64_t steps)
{
	uint64_t walks = 0, commits = 0, rejects = 0;

	for (uint64_t done = 0; done < steps && !broken; walks++) {
		unsigned mood = random_below(2) ? 99 : (unsigned)random_below(100);
		struct policy_config config;
		struct policy_actions out;
		struct shadow s;
		struct policy p;
		uint64_t now = random_below(20) * SEC;

		random_config(&config);
		policy_init(&p, &config, now, &out);
		shadow_init(&s);
		for (unsigned i = 0; i < 400 && !broken; i++, done++) {
			struct policy_event e = addressed(&p, &world[random_event(&p, mood)]);
			uint64_t due = policy_due(&p);

			/* Not straight to the deadline: most trials would end there. */
			if (random_below(p.phase == GUARD_COLLECTING ? 30 : 3) == 0 &&
			    due != POLICY_NEVER)
				now = pass_time(
					&p, &s, now,
					due + (random_below(4) ? 0 : random_below(30) * SEC));
			else
				now += random_below(4) * SEC;
			one_step(&p, &s, &e, now);
			twice(&p, &e, now);
		}
		must_end(&p, now);
		must_reboot(&p, now);
		commits += p.facts.role == ROLE_COMMITTED && p.commit_due != POLICY_NEVER;
		rejects += s.ending;
	}
	ok(!broken, "%llu walks: %s", (unsigned long long)walks,
	   broken ? broken : "no invariant was broken");
	ok(commits > 10 && rejects > 10, "%llu commits and %llu ended trials among them",
	   (unsigned long long)commits, (unsigned long long)rejects);
}

/* ---- stories ---------------------------------------------------------------------- */

struct story {
	struct policy p;
	struct policy_actions out;
	uint64_t now;
};

static void begin(struct story *s, const struct policy_config *config)
{
	struct policy_config c;

	policy_config_init(&c);
	*s = (struct story) { .now = 10 * SEC };
	policy_init(&s->p, config ? config : &c, s->now, &s->out);
}

/* The daemon looks every ten seconds. */
static void tell(struct story *s, uint64_t sec, struct policy_event e)
{
	struct policy_event time = { .type = EVENT_TIME };

	while (s->now + 10 * SEC < sec * SEC) {
		s->now += 10 * SEC;
		policy_step(&s->p, &time, s->now, &s->out);
	}
	s->now = sec * SEC;
	if (e.id == 1)
		e = addressed(&s->p, &e);
	policy_step(&s->p, &e, s->now, &s->out);
}
#define TELL(s, sec, ...) tell(s, sec, (struct policy_event) { __VA_ARGS__ })

static void all_pass(struct story *s, uint64_t sec)
{
	for (enum check c = 0; c < CHECK_COUNT; c++)
		TELL(s, sec, .type = EVENT_CHECK, .check = c, .verdict = VERDICT_PASS);
}

static void trial(struct story *s, const struct policy_config *config)
{
	begin(s, config);
	TELL(s, 11, .type = EVENT_FACTS,
	     .facts = { .role = ROLE_TRIAL, .committable = true, .trials = 1 });
}

static void committed_boot(struct story *s, bool probation)
{
	begin(s, NULL);
	TELL(s, 11, .type = EVENT_FACTS,
	     .facts = { .role = ROLE_COMMITTED, .probation = probation });
}

static bool did(const struct story *s, enum policy_action_type type)
{
	for (size_t i = 0; i < s->out.count; i++)
		if (s->out.list[i].type == type)
			return true;
	return false;
}

static const char *at(const struct story *s)
{
	return policy_phase_name(s->p.phase);
}

static void test_good_trial(void)
{
	struct story s;

	trial(&s, NULL);
	ok_str(at(&s), "collecting", "a trial begins");
	all_pass(&s, 40);
	ok_str(at(&s), "window", "all checks pass");
	TELL(&s, 99, .type = EVENT_TIME);
	ok_str(at(&s), "window", "not a second too early");
	TELL(&s, 100, .type = EVENT_TIME);
	ok(did(&s, ACTION_MARK_GOOD), "marked good when the window is over");
	TELL(&s, 101, ANSWER(EVENT_MARKED), .mark = MARK_DONE);
	ok(did(&s, ACTION_READ_BACK) && !did(&s, ACTION_COMMITTED), "RAUC's word is not believed");
	TELL(&s, 102, ANSWER(EVENT_READ_BACK), .yes = true);
	ok(did(&s, ACTION_COMMITTED), "what was read back is");
	ok(did(&s, ACTION_CONFIRM) && !s.p.confirmed, "and completed, if something is missing");
	TELL(&s, 103, ANSWER(EVENT_DONE), .yes = true);
	ok_str(at(&s), "probation", "then probation");
	ok(s.p.confirmed, "what waits for the commit goes on");
	TELL(&s, 103 + 3600, .type = EVENT_TIME);
	ok(did(&s, ACTION_SETTLE), "settled after an hour");
	TELL(&s, 103 + 3601, ANSWER(EVENT_DONE), .yes = true);
	ok_str(at(&s), "committed", "committed");
	ok(policy_due(&s.p) == POLICY_NEVER, "and nothing to wait for");
}

static void test_window_breaks(void)
{
	struct story s;

	trial(&s, NULL);
	all_pass(&s, 40);
	TELL(&s, 95, .type = EVENT_CHECK, .check = CHECK_HEARTBEAT, .verdict = VERDICT_FAIL,
	     .reason = REASON_KIOSK_SILENT);
	ok_str(at(&s), "collecting", "a failed check breaks the window");
	TELL(&s, 96, .type = EVENT_CHECK, .check = CHECK_HEARTBEAT, .verdict = VERDICT_PASS);
	TELL(&s, 100, .type = EVENT_TIME);
	ok(!did(&s, ACTION_MARK_GOOD), "the old window is forgotten");
	TELL(&s, 156, .type = EVENT_TIME);
	ok(did(&s, ACTION_MARK_GOOD), "the new one counts");
}

static void test_deadline(void)
{
	struct story s;

	trial(&s, NULL);
	TELL(&s, 30, .type = EVENT_CHECK, .check = CHECK_UNIT, .verdict = VERDICT_PASS);
	TELL(&s, 30, .type = EVENT_CHECK, .check = CHECK_SCRIPTS, .verdict = VERDICT_PASS);
	TELL(&s, 30, .type = EVENT_CHECK, .check = CHECK_HEARTBEAT, .verdict = VERDICT_FAIL,
	     .reason = REASON_KIOSK_SILENT);
	TELL(&s, 599, .type = EVENT_TIME);
	ok_str(at(&s), "collecting", "patient until the deadline");
	TELL(&s, 600, .type = EVENT_TIME);
	ok(did(&s, ACTION_SAVE), "diagnostics first");
	TELL(&s, 601, ANSWER(EVENT_SAVED));
	ok(did(&s, ACTION_REJECT), "then the rejection");
	ok_int(s.out.list[0].reason, REASON_KIOSK_SILENT, "with the reason");
	TELL(&s, 602, ANSWER(EVENT_DONE));
	ok(did(&s, ACTION_REBOOT) && !s.out.list[0].trial, "a plain reboot, even if not written");
	ok_int(s.out.list[0].rung, RUNG_LOGIND, "logind first");
	for (enum rung r = RUNG_JOB; r < RUNG_COUNT; r++) {
		TELL(&s, policy_due(&s.p) / SEC, .type = EVENT_TIME);
		ok(did(&s, ACTION_REBOOT) && s.out.list[0].rung == r, "then %s", rung_name(r));
	}
	TELL(&s, s.now / SEC + 1, ANSWER(EVENT_RUNG_FAILED));
	ok(s.out.count == 0, "a kernel that refuses is not asked in a loop");
	TELL(&s, policy_due(&s.p) / SEC, .type = EVENT_TIME);
	ok(did(&s, ACTION_REBOOT) && s.out.list[0].rung == RUNG_LOGIND, "from the beginning");
	ok(s.now - 600 * SEC <= DOWN_BOUND, "within 5 minutes");
}

static void server_story(struct story *s, const struct policy_config *config, bool expected)
{
	trial(s, config);
	TELL(s, 12, .type = EVENT_SERVER, .yes = expected);
	for (enum check c = 0; c < CHECK_COUNT; c++)
		TELL(s, 40, .type = EVENT_CHECK, .check = c,
		     .verdict = check_is_local(c) ? VERDICT_PASS : VERDICT_FAIL,
		     .reason = check_is_local(c) ? REASON_NONE : REASON_SERVER_SILENT);
	TELL(s, 100, .type = EVENT_TIME);
}

static void break_and_heal(struct story *s, uint64_t from, uint64_t until, enum verdict verdict)
{
	TELL(s, from, .type = EVENT_CHECK, .check = CHECK_UNIT, .verdict = verdict,
	     .reason = REASON_KIOSK_NOT_ALIVE);
	if (s->p.phase == GUARD_COLLECTING)
		TELL(s, until, .type = EVENT_CHECK, .check = CHECK_UNIT, .verdict = VERDICT_PASS);
}

static void test_breaks_after_the_deadline(void)
{
	struct story s;
	uint64_t sec;

	server_story(&s, NULL, true);
	break_and_heal(&s, 900, 1079, VERDICT_INCONCLUSIVE);
	ok_str(at(&s), "window", "a lost bus after the deadline rejects nothing");
	TELL(&s, 1090, .type = EVENT_CHECK, .check = CHECK_UNIT, .verdict = VERDICT_FAIL,
	     .reason = REASON_KIOSK_NOT_ALIVE);
	TELL(&s, 1269, .type = EVENT_TIME);
	ok_str(at(&s), "collecting", "each break has the time of a restart");
	TELL(&s, 1270, .type = EVENT_TIME);
	ok(did(&s, ACTION_SAVE) && s.p.reason == REASON_KIOSK_NOT_ALIVE, "and not more");

	server_story(&s, NULL, true);
	TELL(&s, 300, .type = EVENT_CHECK, .check = CHECK_SERVER, .verdict = VERDICT_PASS);
	TELL(&s, 301, ANSWER(EVENT_MARKED), .mark = MARK_FAILED);
	TELL(&s, 302, ANSWER(EVENT_READ_BACK));
	TELL(&s, 303, .type = EVENT_CHECK, .check = CHECK_UNIT, .verdict = VERDICT_INCONCLUSIVE);
	ok_str(at(&s), "collecting", "between two Marks, too");

	server_story(&s, NULL, true);
	for (sec = 200; sec < 10000 && s.p.phase != GUARD_SAVING; sec += 60)
		break_and_heal(&s, sec, sec + 30, VERDICT_FAIL);
	ok(sec > 1800 && sec < 6000, "there is an end to it (%llu s)", (unsigned long long)sec);

	trial(&s, NULL);
	all_pass(&s, 590);
	for (sec = 610; sec < 10000 && s.p.phase != GUARD_SAVING; sec += 30)
		break_and_heal(&s, sec, sec + 20, VERDICT_FAIL);
	ok(sec > 800 && sec < 900, "soon, when no window was ever whole (%llu s)",
	   (unsigned long long)sec);
}

static void test_second_trial_has_more_time(void)
{
	struct story s;

	begin(&s, NULL);
	TELL(&s, 11, .type = EVENT_FACTS,
	     .facts = { .role = ROLE_TRIAL, .committable = true, .trials = 2 });
	TELL(&s, 1199, .type = EVENT_TIME);
	ok_str(at(&s), "collecting", "the second trial has twice the time");
	TELL(&s, 1200, .type = EVENT_TIME);
	ok_str(at(&s), "aborting", "and not more");
}

static void test_only_a_failure_fails(void)
{
	struct story s;

	trial(&s, NULL);
	all_pass(&s, 30);
	TELL(&s, 40, .type = EVENT_CHECK, .check = CHECK_SCRIPTS, .verdict = VERDICT_INCONCLUSIVE);
	TELL(&s, 599, .type = EVENT_TIME);
	ok_str(at(&s), "collecting", "a required script says nothing");
	TELL(&s, 600, .type = EVENT_TIME);
	ok(did(&s, ACTION_ABORT) && s.p.reason == REASON_NONE, "nothing failed: undecided");
	TELL(&s, 601, ANSWER(EVENT_DONE), .yes = true);
	ok(did(&s, ACTION_REBOOT) && !s.out.list[0].trial, "and back");

	trial(&s, NULL);
	all_pass(&s, 30);
	TELL(&s, 31, .type = EVENT_CHECK, .check = CHECK_UNIT, .verdict = VERDICT_INCONCLUSIVE);
	TELL(&s, 40, .type = EVENT_CHECK, .check = CHECK_SCRIPTS, .verdict = VERDICT_FAIL);
	TELL(&s, 50, .type = EVENT_CHECK, .check = CHECK_SCRIPTS, .verdict = VERDICT_FAIL);
	TELL(&s, 600, .type = EVENT_TIME);
	ok(did(&s, ACTION_SAVE) && s.out.list[0].reason == REASON_CHECK_FAILED,
	   "one fails: its reason, not that of the first which does not pass");
	TELL(&s, 601, ANSWER(EVENT_SAVED));
	ok(did(&s, ACTION_REJECT) && s.out.list[0].blamed == CHECK_SCRIPTS, "its name");
	ok(s.p.checks[CHECK_SCRIPTS].since == 40 * SEC, "and since when");
}

/* An outage elsewhere makes the same script fail on every device of a fleet. */
static void test_scripts_judge_trials(void)
{
	struct policy_config config;
	struct story s;

	committed_boot(&s, true);
	TELL(&s, 20, .type = EVENT_CHECK, .check = CHECK_SCRIPTS, .verdict = VERDICT_HOPELESS);
	TELL(&s, 40, .type = EVENT_CHECK, .check = CHECK_UNIT, .verdict = VERDICT_PASS);
	TELL(&s, 40, .type = EVENT_CHECK, .check = CHECK_HEARTBEAT, .verdict = VERDICT_PASS);
	TELL(&s, 100, .type = EVENT_TIME);
	ok(did(&s, ACTION_CONFIRM), "a committed slot is confirmed whatever scripts say");
	TELL(&s, 101, ANSWER(EVENT_DONE), .yes = true);
	for (uint64_t sec = 200; sec < 3700; sec += 100) {
		TELL(&s, sec, .type = EVENT_CHECK, .check = CHECK_SCRIPTS, .verdict = VERDICT_FAIL);
		must(s.out.count == 0, "it is not restarted, rebooted or left for one");
	}
	ok(!broken && s.p.phase == GUARD_PROBATION, "%s",
	   broken ? broken : "nor restarted, rebooted or left");
	TELL(&s, 3701, .type = EVENT_TIME);
	ok(did(&s, ACTION_SETTLE), "nor kept from its end of the probation");

	policy_config_init(&config);
	config.committed_act = true;
	begin(&s, &config);
	TELL(&s, 11, .type = EVENT_FACTS, .facts = { .role = ROLE_COMMITTED });
	all_pass(&s, 40);
	TELL(&s, 100, .type = EVENT_TIME);
	TELL(&s, 101, ANSWER(EVENT_DONE), .yes = true);
	TELL(&s, 200, .type = EVENT_CHECK, .check = CHECK_SCRIPTS, .verdict = VERDICT_FAIL);
	TELL(&s, 260, .type = EVENT_TIME);
	ok(did(&s, ACTION_RESTART_UNIT) && s.out.list[0].blamed == CHECK_SCRIPTS,
	   "unless the configuration says so");
}

/* Before the facts are there nobody knows which checks decide. */
static void test_window_of_a_trial_counts_its_checks(void)
{
	struct story s;

	begin(&s, NULL);
	TELL(&s, 11, .type = EVENT_CHECK, .check = CHECK_UNIT, .verdict = VERDICT_PASS);
	TELL(&s, 11, .type = EVENT_CHECK, .check = CHECK_HEARTBEAT, .verdict = VERDICT_PASS);
	TELL(&s, 11, .type = EVENT_CHECK, .check = CHECK_SERVER, .verdict = VERDICT_PASS);
	TELL(&s, 60, .type = EVENT_CHECK, .check = CHECK_SCRIPTS, .verdict = VERDICT_PASS);
	TELL(&s, 61, .type = EVENT_FACTS,
	     .facts = { .role = ROLE_TRIAL, .committable = true, .trials = 1 });
	ok_str(at(&s), "window", "all pass");
	TELL(&s, 120, .type = EVENT_TIME);
	ok_str(at(&s), "window", "but not all of them for so long");
	TELL(&s, 121, .type = EVENT_TIME);
	ok(did(&s, ACTION_MARK_GOOD), "then they do");
}

static void sleep_until(struct story *s, uint64_t sec)
{
	s->now = sec * SEC;
	TELL(s, sec, .type = EVENT_TIME);
}

static void begin_late(struct story *s, uint64_t sec, bool committable)
{
	struct policy_config config;

	policy_config_init(&config);
	s->now = sec * SEC;
	policy_init(&s->p, &config, s->now, &s->out);
	TELL(s, sec + 1, .type = EVENT_FACTS,
	     .facts = { .role = ROLE_TRIAL, .committable = committable, .trials = 1 });
}

static void test_guard_that_keeps_dying(void)
{
	struct story s;
	uint64_t sec = 10;

	for (trial(&s, NULL); s.p.phase == GUARD_COLLECTING && sec < 20000; sec += 150) {
		begin_late(&s, sec, true);
		TELL(&s, sec + 149, .type = EVENT_TIME);
	}
	ok(s.p.phase == GUARD_ABORTING && sec > 3600 && sec < 6000,
	   "a guard that keeps dying ends the trial, too (%llu s)", (unsigned long long)sec);
	begin_late(&s, 20000, false);
	ok_str(at(&s), "collecting", "one that cannot be committed is still given its time");
}

static void test_sleep(void)
{
	struct story s;

	trial(&s, NULL);
	all_pass(&s, 40);
	TELL(&s, 45, .type = EVENT_TIME);
	sleep_until(&s, 106);
	ok(s.p.phase == GUARD_WINDOW && s.out.count == 0, "time that nobody watched is no window");
	TELL(&s, 166, .type = EVENT_TIME);
	ok(did(&s, ACTION_MARK_GOOD), "a new one begins after it");

	trial(&s, NULL);
	sleep_until(&s, 700);
	ok_str(at(&s), "collecting", "nor does it let the deadline pass");
	TELL(&s, 880, .type = EVENT_TIME);
	ok_str(at(&s), "aborting", "but for the time of a restart");
	trial(&s, NULL);
	sleep_until(&s, 100000);
	ok_str(at(&s), "aborting", "past every end: undecided");
	trial(&s, NULL);
	all_pass(&s, 40);
	for (uint64_t sec = 90; s.p.phase == GUARD_WINDOW && sec < 10000; sec += 50)
		sleep_until(&s, sec);
	ok(s.p.phase == GUARD_ABORTING && s.now > 1800 * SEC,
	   "a guard that hardly ever runs ends the trial, too");

	committed_boot(&s, true);
	all_pass(&s, 40);
	TELL(&s, 100, .type = EVENT_TIME);
	TELL(&s, 101, ANSWER(EVENT_DONE), .yes = true);
	sleep_until(&s, 8000);
	ok(s.p.phase == GUARD_PROBATION && !did(&s, ACTION_SETTLE),
	   "a probation that was slept through is none");
	TELL(&s, 8010, .type = EVENT_CHECK, .check = CHECK_HEARTBEAT, .verdict = VERDICT_FAIL);
	TELL(&s, 8015, .type = EVENT_TIME);
	sleep_until(&s, 9000);
	ok(s.p.phase == GUARD_PROBATION, "an illness of five seconds has not lasted");
	TELL(&s, 9061, .type = EVENT_TIME);
	ok_str(at(&s), "recovering", "until it has");

	committed_boot(&s, false);
	TELL(&s, 12, .type = EVENT_CHECK, .check = CHECK_HEARTBEAT, .verdict = VERDICT_FAIL);
	for (uint64_t sec = 50; sec < 36000 && s.p.phase != GUARD_ESCALATING; sec += 35) {
		sleep_until(&s, sec);
		TELL(&s, sec, .type = EVENT_CHECK, .check = CHECK_HEARTBEAT,
		     .verdict = VERDICT_FAIL);
	}
	ok(s.p.phase == GUARD_ESCALATING && s.now < 1800 * SEC,
	   "a kiosk that leaves the guard no time does not gain by it");

	server_story(&s, NULL, true);
	sleep_until(&s, 2000);
	TELL(&s, 2299, .type = EVENT_TIME);
	ok_str(at(&s), "waiting", "the server is given its time after it");
	TELL(&s, 2300, .type = EVENT_TIME);
	ok_str(at(&s), "saving", "and not more");

	committed_boot(&s, false);
	all_pass(&s, 30);
	sleep_until(&s, 91);
	ok_str(at(&s), "window", "the committed slot is not confirmed by it, either");
}

static void test_hopeless(void)
{
	struct story s;

	trial(&s, NULL);
	TELL(&s, 50, .type = EVENT_CHECK, .check = CHECK_UNIT, .verdict = VERDICT_HOPELESS,
	     .reason = REASON_KIOSK_RESTARTS);
	ok(did(&s, ACTION_SAVE), "a hopeless check does not wait for the deadline");
	ok_int(s.p.reason, REASON_KIOSK_RESTARTS, "and gives its reason");
}

static void test_server(void)
{
	struct policy_config config;
	struct story s;

	policy_config_init(&config);
	server_story(&s, NULL, true);
	ok_str(at(&s), "waiting", "the server has its own, longer deadline");
	TELL(&s, 1800, .type = EVENT_TIME);
	ok(s.p.reason == REASON_SERVER_SILENT && did(&s, ACTION_SAVE), "silent although expected");
	server_story(&s, NULL, true);
	TELL(&s, 1500, .type = EVENT_CHECK, .check = CHECK_SERVER, .verdict = VERDICT_PASS);
	ok(did(&s, ACTION_MARK_GOOD), "committed when it answers");
	server_story(&s, NULL, false);
	TELL(&s, 1799, .type = EVENT_TIME);
	ok_str(at(&s), "waiting", "no network: patient");
	TELL(&s, 1800, .type = EVENT_TIME);
	ok(did(&s, ACTION_MARK_GOOD), "then committed without the server");
	server_story(&s, NULL, false);
	TELL(&s, 1790, .type = EVENT_SERVER, .yes = true);
	TELL(&s, 1800, .type = EVENT_TIME);
	ok_str(at(&s), "waiting", "a network that has just come is given its time");
	config.offline = OFFLINE_YES;
	server_story(&s, &config, false);
	ok(did(&s, ACTION_MARK_GOOD), "commit-offline=yes does not wait");
	config.offline = OFFLINE_NO;
	server_story(&s, &config, false);
	TELL(&s, 1800, .type = EVENT_TIME);
	ok(did(&s, ACTION_ABORT), "commit-offline=no: the trial ends undecided, not rejected");
	TELL(&s, 1801, ANSWER(EVENT_DONE), .yes = true);
	ok(did(&s, ACTION_REBOOT) && !s.out.list[0].trial, "with a plain reboot");
}

static void reached_before(struct story *s)
{
	TELL(s, s->now / SEC + 1, .type = EVENT_FACTS,
	     .facts = { .role = ROLE_TRIAL,
			.committable = true,
			.trials = 1,
			.reached_before = true });
}

static void test_network_is_gone(void)
{
	struct policy_config config;
	struct story s;

	server_story(&s, NULL, false);
	reached_before(&s);
	TELL(&s, 1800, .type = EVENT_TIME);
	ok(did(&s, ACTION_ABORT), "an update that lost the network is not committed");
	server_story(&s, NULL, true);
	reached_before(&s);
	TELL(&s, 1800, .type = EVENT_SERVER);
	ok(did(&s, ACTION_ABORT), "nor when the route is gone at the last moment");
	policy_config_init(&config);
	config.offline = OFFLINE_YES;
	server_story(&s, &config, true);
	reached_before(&s);
	TELL(&s, 500, .type = EVENT_SERVER);
	ok(did(&s, ACTION_MARK_GOOD), "unless commit-offline=yes");

	server_story(&s, NULL, false);
	TELL(&s, 110, .type = EVENT_UNHEARD, .yes = true);
	TELL(&s, 1800, .type = EVENT_TIME);
	ok(did(&s, ACTION_ABORT), "nor a kiosk that gave no sign of life at all");
	trial(&s, &config);
	TELL(&s, 12, .type = EVENT_UNHEARD, .yes = true);
	for (enum check c = 0; c < CHECK_COUNT; c++)
		if (check_is_local(c))
			TELL(&s, 40, .type = EVENT_CHECK, .check = c, .verdict = VERDICT_PASS);
	TELL(&s, 100, .type = EVENT_TIME);
	ok_str(at(&s), "waiting", "not even then");
	TELL(&s, 200, .type = EVENT_UNHEARD);
	ok_str(at(&s), "window", "what was not heard is no part of a window");
	TELL(&s, 260, .type = EVENT_TIME);
	ok(did(&s, ACTION_MARK_GOOD), "which begins with the first beat");
}

static void test_root(void)
{
	struct policy_config config;
	struct story s;

	policy_config_init(&config);
	config.read_root = true;
	trial(&s, &config);
	all_pass(&s, 40);
	TELL(&s, 100, .type = EVENT_TIME);
	ok(did(&s, ACTION_READ_ROOT) && !did(&s, ACTION_MARK_GOOD), "the root is read first");
	TELL(&s, 130, ANSWER(EVENT_ROOT), .verdict = VERDICT_FAIL);
	ok(did(&s, ACTION_SAVE) && s.p.reason == REASON_ROOT_CORRUPT, "corrupt: rejected");
	trial(&s, &config);
	all_pass(&s, 40);
	TELL(&s, 100, .type = EVENT_TIME);
	TELL(&s, 130, ANSWER(EVENT_ROOT), .verdict = VERDICT_PASS);
	ok(did(&s, ACTION_MARK_GOOD), "read without an error: committed");
}

static void test_mark_that_hangs(void)
{
	unsigned restarts = 0;
	struct story s;

	trial(&s, NULL);
	all_pass(&s, 40);
	TELL(&s, 100, .type = EVENT_TIME);
	TELL(&s, 130, .type = EVENT_TIME);
	ok(did(&s, ACTION_READ_BACK), "no answer: look whether it happened");
	TELL(&s, 131, ANSWER(EVENT_READ_BACK));
	ok(!did(&s, ACTION_RESTART_RAUC), "RAUC has more time");
	TELL(&s, 136, .type = EVENT_TIME);
	ok(did(&s, ACTION_READ_BACK) && !did(&s, ACTION_MARK_GOOD), "no second Mark meanwhile");
	TELL(&s, 137, ANSWER(EVENT_MARKED), .mark = MARK_DONE);
	TELL(&s, 138, ANSWER(EVENT_READ_BACK), .yes = true);
	ok(did(&s, ACTION_COMMITTED), "a late answer counts");

	trial(&s, NULL);
	all_pass(&s, 40);
	TELL(&s, 100, .type = EVENT_TIME);
	while (s.p.phase == GUARD_COMMITTING || s.p.phase == GUARD_READING_BACK) {
		TELL(&s, policy_due(&s.p) / SEC, .type = EVENT_TIME);
		restarts += did(&s, ACTION_RESTART_RAUC);
	}
	ok_int(restarts, 1, "RAUC may be held up: it was restarted once");
	ok_str(at(&s), "aborting", "never answered: undecided, as the Mark may still happen");
}

static void test_confirmation_that_fails(void)
{
	struct story s;

	for (unsigned i = 0; i < 2; i++) {
		trial(&s, NULL);
		all_pass(&s, 40);
		TELL(&s, 100, .type = EVENT_TIME);
		TELL(&s, 101, ANSWER(EVENT_MARKED), .mark = MARK_FAILED);
		TELL(&s, 102, ANSWER(EVENT_READ_BACK), .yes = true);
		ok(did(&s, ACTION_CONFIRM), "half of a commit: the rest is written");
		if (i == 0)
			TELL(&s, 103, ANSWER(EVENT_DONE));
		else
			TELL(&s, 162, .type = EVENT_TIME);
		ok(s.p.phase == GUARD_PROBATION && s.p.confirmed, "%s: the commit holds",
		   i == 0 ? "refused" : "not answered");
		ok(s.p.settle_due == s.now + 3600 * SEC, "probation begins");
		TELL(&s, s.now / SEC + 299, .type = EVENT_TIME);
		ok_str(at(&s), "probation", "not yet");
		TELL(&s, s.now / SEC + 1, .type = EVENT_TIME);
		ok(did(&s, ACTION_CONFIRM), "five minutes later it is completed");
		TELL(&s, s.now / SEC + 1, ANSWER(EVENT_DONE), .yes = true);
		ok(s.p.phase == GUARD_PROBATION && s.p.settle_due < s.now + 3600 * SEC &&
			   s.p.confirm_due == POLICY_NEVER,
		   "once, and the probation went on");
	}
}

static void test_mark_that_fails(void)
{
	struct story s;
	unsigned marks = 0;

	trial(&s, NULL);
	all_pass(&s, 40);
	TELL(&s, 100, .type = EVENT_TIME);
	for (unsigned i = 0; i < 500 && s.p.phase != GUARD_SAVING; i++) {
		uint64_t sec = s.now / SEC + 1;

		marks += did(&s, ACTION_MARK_GOOD);
		if (s.p.phase == GUARD_READING_BACK)
			TELL(&s, sec, ANSWER(EVENT_READ_BACK));
		else if (s.p.mark_pending)
			TELL(&s, sec, ANSWER(EVENT_MARKED), .mark = MARK_FAILED);
		else
			TELL(&s, policy_due(&s.p) / SEC, .type = EVENT_TIME);
	}
	ok(marks > 10 && marks < 60, "a Mark that fails is repeated (%u times)", marks);
	ok_int(s.p.reason, REASON_COMMIT_FAILED, "then the trial is rejected");
	ok(s.now >= 400 * SEC && s.now < 420 * SEC, "after five minutes");
}

static void test_rauc_is_busy(void)
{
	unsigned restarts = 0;
	struct story s;

	trial(&s, NULL);
	all_pass(&s, 40);
	TELL(&s, 100, .type = EVENT_TIME);
	for (unsigned i = 0; i < 500 && s.p.phase != GUARD_SAVING && s.p.phase != GUARD_ABORTING;
	     i++) {
		if (s.p.phase == GUARD_READING_BACK)
			TELL(&s, s.now / SEC + 1, ANSWER(EVENT_READ_BACK));
		else if (s.p.mark_pending)
			TELL(&s, s.now / SEC + 1, ANSWER(EVENT_MARKED), .mark = MARK_BUSY);
		else
			TELL(&s, policy_due(&s.p) / SEC, .type = EVENT_TIME);
		if (did(&s, ACTION_RESTART_RAUC))
			ok(restarts++ == 0 && s.now >= 250 * SEC && s.now < 260 * SEC,
			   "restarted once, for it may be held up for good");
	}
	ok_int(restarts, 1, "it is restarted before the trial is given up");
	ok_str(at(&s), "aborting", "RAUC had no time: undecided, not rejected");
	ok(s.now >= 400 * SEC && s.now < 420 * SEC, "after five minutes");
}

static void test_commit_that_cannot_be_read_back(void)
{
	struct story s;

	trial(&s, NULL);
	all_pass(&s, 40);
	TELL(&s, 100, .type = EVENT_TIME);
	for (unsigned i = 0; i < 500 && s.p.phase != GUARD_SAVING && s.p.phase != GUARD_ABORTING;
	     i++) {
		if (s.p.mark_pending)
			TELL(&s, s.now / SEC + 1, ANSWER(EVENT_MARKED), .mark = MARK_FAILED);
		else
			TELL(&s, policy_due(&s.p) / SEC, .type = EVENT_TIME);
	}
	ok_str(at(&s), "aborting", "nobody knows whether it is committed: undecided");
}

static void test_break_between_two_marks(void)
{
	struct story s;

	trial(&s, NULL);
	all_pass(&s, 10);
	TELL(&s, 70, .type = EVENT_TIME);
	TELL(&s, 71, ANSWER(EVENT_MARKED), .mark = MARK_FAILED);
	TELL(&s, 72, ANSWER(EVENT_READ_BACK));
	TELL(&s, 73, .type = EVENT_CHECK, .check = CHECK_UNIT, .verdict = VERDICT_FAIL,
	     .reason = REASON_KIOSK_NOT_ALIVE);
	TELL(&s, 350, .type = EVENT_CHECK, .check = CHECK_UNIT, .verdict = VERDICT_PASS);
	TELL(&s, 410, .type = EVENT_TIME);
	ok(!did(&s, ACTION_MARK_GOOD) && did(&s, ACTION_SAVE), "no Mark after the time for it");
	ok_int(s.p.reason, REASON_COMMIT_FAILED, "as the one before failed");
}

static void test_uncommittable(void)
{
	struct story s;

	begin(&s, NULL);
	TELL(&s, 11, .type = EVENT_FACTS, .facts = { .role = ROLE_TRIAL, .trials = 1 });
	all_pass(&s, 40);
	TELL(&s, 100, .type = EVENT_TIME);
	ok_str(at(&s), "limbo", "healthy, but it was not written down: stays, uncommitted");
	TELL(&s, 200, .type = EVENT_CHECK, .check = CHECK_UNIT, .verdict = VERDICT_HOPELESS,
	     .reason = REASON_KIOSK_NOT_ALIVE);
	ok_str(at(&s), "saving", "unhealthy: back to the committed slot");
}

static void test_committed_ladder(void)
{
	struct story s;

	committed_boot(&s, true);
	all_pass(&s, 30);
	TELL(&s, 90, .type = EVENT_TIME);
	ok(did(&s, ACTION_CONFIRM), "the committed slot is confirmed after its window");
	TELL(&s, 91, ANSWER(EVENT_DONE), .yes = true);
	ok_str(at(&s), "probation", "still in probation");
	TELL(&s, 200, .type = EVENT_CHECK, .check = CHECK_HEARTBEAT, .verdict = VERDICT_FAIL,
	     .reason = REASON_KIOSK_SILENT);
	TELL(&s, 259, .type = EVENT_TIME);
	ok_str(at(&s), "probation", "patient for a minute");
	TELL(&s, 260, .type = EVENT_TIME);
	ok(did(&s, ACTION_RESTART_UNIT), "then the unit is restarted");
	TELL(&s, 261, .type = EVENT_CHECK, .check = CHECK_HEARTBEAT, .verdict = VERDICT_FAIL,
	     .reason = REASON_KIOSK_SILENT);
	TELL(&s, 440, .type = EVENT_TIME);
	ok(did(&s, ACTION_RESTART_UNIT), "twice");
	TELL(&s, 441, .type = EVENT_CHECK, .check = CHECK_HEARTBEAT, .verdict = VERDICT_FAIL,
	     .reason = REASON_KIOSK_SILENT);
	TELL(&s, 620, .type = EVENT_TIME);
	ok(did(&s, ACTION_KIOSK_FAILS) && s.out.list[0].reason == REASON_KIOSK_SILENT,
	   "then the boot library is asked");
	TELL(&s, 621, ANSWER(EVENT_DONE), .yes = true, .next = POLICY_REBOOT);
	ok(did(&s, ACTION_REBOOT) && !s.out.list[0].trial, "a reboot");
}

static void fail_and_recover(struct story *s, uint64_t sec)
{
	TELL(s, sec, .type = EVENT_CHECK, .check = CHECK_UNIT, .verdict = VERDICT_HOPELESS,
	     .reason = REASON_KIOSK_RESTARTS);
	if (s->p.phase == GUARD_RECOVERING)
		all_pass(s, sec + 30);
}

/* A beat that is late just after a restart: as patient as at rest. */
static void test_window_of_a_restart(void)
{
	struct story s;

	committed_boot(&s, false);
	all_pass(&s, 40);
	TELL(&s, 100, .type = EVENT_TIME);
	TELL(&s, 101, ANSWER(EVENT_DONE), .yes = true);
	TELL(&s, 110, .type = EVENT_CHECK, .check = CHECK_HEARTBEAT, .verdict = VERDICT_FAIL);
	TELL(&s, 171, .type = EVENT_TIME);
	ok_str(at(&s), "recovering", "the first restart");
	all_pass(&s, 300);
	ok_str(at(&s), "window", "it lives");
	TELL(&s, 355, .type = EVENT_CHECK, .check = CHECK_HEARTBEAT, .verdict = VERDICT_FAIL);
	ok(s.p.phase == GUARD_COLLECTING && s.out.count == 0, "and misses a beat");
	TELL(&s, 414, .type = EVENT_TIME);
	ok_str(at(&s), "collecting", "patience");
	TELL(&s, 415, .type = EVENT_TIME);
	ok(did(&s, ACTION_RESTART_UNIT), "has an end");

	committed_boot(&s, false);
	for (uint64_t sec = 100; sec < 36000 && s.p.phase != GUARD_ESCALATING; sec += 90) {
		all_pass(&s, sec);
		TELL(&s, sec + 58, .type = EVENT_CHECK, .check = CHECK_HEARTBEAT,
		     .verdict = VERDICT_FAIL);
	}
	ok(s.p.phase == GUARD_ESCALATING && s.now < 1800 * SEC,
	   "one that breaks every window comes to its end");
}

static void test_failures_are_not_settled(void)
{
	struct story s;

	committed_boot(&s, true);
	all_pass(&s, 30);
	TELL(&s, 90, .type = EVENT_TIME);
	TELL(&s, 91, ANSWER(EVENT_DONE), .yes = true);
	fail_and_recover(&s, 2000);
	fail_and_recover(&s, 2700);
	TELL(&s, 3700, .type = EVENT_TIME);
	ok(!did(&s, ACTION_SETTLE), "an hour with failures in it settles nothing");
	fail_and_recover(&s, 3800);
	ok(did(&s, ACTION_KIOSK_FAILS), "so the ladder is climbed");

	committed_boot(&s, true);
	all_pass(&s, 30);
	TELL(&s, 90, .type = EVENT_TIME);
	TELL(&s, 91, ANSWER(EVENT_DONE), .yes = true);
	fail_and_recover(&s, 2000);
	TELL(&s, 5599, .type = EVENT_CHECK, .check = CHECK_UNIT, .verdict = VERDICT_INCONCLUSIVE);
	TELL(&s, 5600, .type = EVENT_TIME);
	ok(!did(&s, ACTION_SETTLE), "nor does one that nobody can judge");
	TELL(&s, 5601, .type = EVENT_CHECK, .check = CHECK_UNIT, .verdict = VERDICT_PASS);
	ok(!did(&s, ACTION_SETTLE), "nor one that has just come back");
	TELL(&s, 5661, .type = EVENT_TIME);
	ok(did(&s, ACTION_SETTLE), "a window later, and an hour after the last failure, does");
}

static void short_boot(struct story *s, uint64_t minutes, uint64_t *healthy)
{
	begin(s, NULL);
	TELL(s, 11, .type = EVENT_FACTS,
	     .facts = { .role = ROLE_COMMITTED,
			.probation = true,
			.unsettled = true,
			.healthy = *healthy * SEC });
	all_pass(s, 30);
	for (uint64_t sec = 30; sec <= minutes * 60 && s->p.facts.probation; sec += 10) {
		TELL(s, sec, .type = EVENT_TIME);
		if (did(s, ACTION_CONFIRM) || did(s, ACTION_SETTLE))
			TELL(s, sec, ANSWER(EVENT_DONE), .yes = true);
		else if (did(s, ACTION_HEALTHY))
			*healthy = s->out.list[0].seconds;
	}
}

static void test_health_adds_up(void)
{
	uint64_t healthy = 0;
	unsigned days = 0;
	struct story s;

	for (; days == 0 || (days < 100 && s.p.facts.probation); days++)
		short_boot(&s, 20, &healthy);
	ok(days == 4, "twenty minutes a day end a probation of an hour on day %u", days);

	healthy = 3000;
	short_boot(&s, 8, &healthy);
	ok(healthy == 3300, "written every five minutes (%llu s)", (unsigned long long)healthy);
	TELL(&s, 490, .type = EVENT_CHECK, .check = CHECK_UNIT, .verdict = VERDICT_HOPELESS);
	ok(did(&s, ACTION_HEALTHY) && s.out.list[0].seconds == 0, "a failure takes it back");
	ok(did(&s, ACTION_RESTART_UNIT), "beside what it does else");

	begin(&s, NULL);
	TELL(&s, 11, .type = EVENT_FACTS, .facts = { .role = ROLE_COMMITTED });
	all_pass(&s, 30);
	TELL(&s, 90, .type = EVENT_TIME);
	TELL(&s, 91, ANSWER(EVENT_DONE), .yes = true);
	for (uint64_t sec = 100; sec < 3600; sec += 10) {
		TELL(&s, sec, .type = EVENT_TIME);
		must(s.out.count == 0, "a slot with nothing to forget writes nothing meanwhile");
	}
	ok(!broken, "%s",
	   broken ? broken : "a slot with nothing to forget writes nothing meanwhile");
}

static void test_restarts_are_given_back(void)
{
	struct story s;

	committed_boot(&s, false);
	all_pass(&s, 30);
	TELL(&s, 90, .type = EVENT_TIME);
	TELL(&s, 91, ANSWER(EVENT_DONE), .yes = true);
	fail_and_recover(&s, 1000);
	fail_and_recover(&s, 2000);
	ok(s.p.restarts_used == 2, "two restarts");
	fail_and_recover(&s, 5700);
	ok(!did(&s, ACTION_KIOSK_FAILS) && s.p.restarts_used == 1,
	   "an hour of health gives them back");
}

static void test_staying(void)
{
	struct story s;

	committed_boot(&s, false);
	TELL(&s, 30, .type = EVENT_CHECK, .check = CHECK_UNIT, .verdict = VERDICT_HOPELESS,
	     .reason = REASON_KIOSK_RESTARTS);
	for (unsigned i = 0; i < 2; i++)
		TELL(&s, 240 + 200 * i, .type = EVENT_CHECK, .check = CHECK_UNIT,
		     .verdict = VERDICT_HOPELESS, .reason = REASON_KIOSK_RESTARTS);
	ok_str(at(&s), "escalating", "restarts do not help");
	TELL(&s, 450, ANSWER(EVENT_DONE), .yes = true, .next = POLICY_GO_ON);
	ok_str(at(&s), "staying", "both slots fail: stay");
	ok(did(&s, ACTION_STAY), "and remember it");
	TELL(&s, 450 + 6 * 3600, .type = EVENT_TIME);
	ok(did(&s, ACTION_RETRY_OTHER), "the other slot again after six hours");
	TELL(&s, 451 + 6 * 3600, ANSWER(EVENT_DONE));
	ok_str(at(&s), "staying", "not written: stay");
	ok(policy_due(&s.p) == (451 + 18 * 3600) * SEC, "the interval grows");
	all_pass(&s, 23000);
	TELL(&s, 23060, .type = EVENT_TIME);
	ok_str(at(&s), "confirming", "the kiosk lives again");
}

static void test_inconclusive_blames_nobody(void)
{
	struct story s;

	committed_boot(&s, false);
	all_pass(&s, 30);
	TELL(&s, 90, .type = EVENT_TIME);
	TELL(&s, 91, ANSWER(EVENT_DONE), .yes = true);
	TELL(&s, 200, .type = EVENT_CHECK, .check = CHECK_UNIT, .verdict = VERDICT_INCONCLUSIVE);
	TELL(&s, 3000, .type = EVENT_TIME);
	ok_str(at(&s), "committed", "a lost bus is not a lost kiosk");
}

static void test_try(void)
{
	struct policy_config config;
	struct story s;

	committed_boot(&s, false);
	all_pass(&s, 30);
	TELL(&s, 90, .type = EVENT_TIME);
	TELL(&s, 91, ANSWER(EVENT_DONE), .yes = true);
	TELL(&s, 100, .type = EVENT_FACTS, .facts = { .role = ROLE_COMMITTED, .installing = true });
	ok_str(at(&s), "committed", "an install runs");
	TELL(&s, 200, .type = EVENT_FACTS, .facts = { .role = ROLE_COMMITTED, .staged = true });
	ok(did(&s, ACTION_TRY), "try=now: as soon as it is complete");
	TELL(&s, 201, ANSWER(EVENT_DONE), .yes = true, .next = POLICY_REBOOT_TRIAL);
	ok(did(&s, ACTION_REBOOT) && s.out.list[0].trial, "rebooted into the trial");

	policy_config_init(&config);
	config.try_when = TRY_ON_REQUEST;
	begin(&s, &config);
	TELL(&s, 11, .type = EVENT_FACTS, .facts = { .role = ROLE_COMMITTED, .staged = true });
	all_pass(&s, 30);
	TELL(&s, 90, .type = EVENT_TIME);
	TELL(&s, 91, ANSWER(EVENT_DONE), .yes = true);
	ok_str(at(&s), "committed", "on request: waits");
	TELL(&s, 500, .type = EVENT_TRY_ASKED);
	ok(did(&s, ACTION_TRY), "until somebody asks");
	TELL(&s, 501, ANSWER(EVENT_DONE));
	ok_str(at(&s), "committed", "could not be written: no reboot");
	TELL(&s, 501 + 3600, .type = EVENT_TIME);
	ok_str(at(&s), "committed", "who asked has to ask again");
	TELL(&s, 11 + 24 * 3600, .type = EVENT_TIME);
	ok(did(&s, ACTION_TRY), "nobody asks for a day: tried in any case");
}

static void test_try_after_boots(void)
{
	struct policy_config config;
	struct story s;

	policy_config_init(&config);
	config.try_when = TRY_ON_REQUEST;
	begin(&s, &config);
	TELL(&s, 11, .type = EVENT_FACTS,
	     .facts = { .role = ROLE_COMMITTED, .staged = true, .waited = 23 * 3600 * SEC });
	all_pass(&s, 40);
	TELL(&s, 101, ANSWER(EVENT_DONE), .yes = true);
	TELL(&s, 3600, .type = EVENT_TIME);
	ok_str(at(&s), "committed", "a boot later the rest of the day is waited for");
	TELL(&s, 3611, .type = EVENT_TIME);
	ok(did(&s, ACTION_TRY), "and no more");
	begin(&s, &config);
	TELL(&s, 11, .type = EVENT_FACTS,
	     .facts = { .role = ROLE_COMMITTED, .staged = true, .waited = UINT64_MAX });
	all_pass(&s, 40);
	TELL(&s, 101, ANSWER(EVENT_DONE), .yes = true);
	ok(did(&s, ACTION_TRY), "no age is too great");

	begin(&s, &config);
	TELL(&s, 11, .type = EVENT_FACTS, .facts = { .role = ROLE_COMMITTED, .staged = true });
	all_pass(&s, 40);
	TELL(&s, 101, ANSWER(EVENT_DONE), .yes = true);
	TELL(&s, 200, .type = EVENT_FACTS,
	     .facts = { .role = ROLE_COMMITTED, .staged = true, .waited = 30 * 3600 * SEC });
	ok(did(&s, ACTION_TRY), "the clock was set after the boot");
}

/* The router is away for an evening, just when the update was tried. */
static void test_try_again_with_the_server(void)
{
	struct policy_facts facts = { .role = ROLE_COMMITTED, .staged = true, .tried = true };
	struct story s;

	begin(&s, NULL);
	TELL(&s, 11, .type = EVENT_FACTS, .facts = facts);
	all_pass(&s, 40);
	TELL(&s, 101, ANSWER(EVENT_DONE), .yes = true);
	ok(did(&s, ACTION_TRY), "the server answers: the next attempt at once");

	begin(&s, NULL);
	TELL(&s, 11, .type = EVENT_FACTS, .facts = facts);
	all_pass(&s, 40);
	TELL(&s, 41, .type = EVENT_CHECK, .check = CHECK_SERVER, .verdict = VERDICT_FAIL);
	TELL(&s, 101, ANSWER(EVENT_DONE), .yes = true);
	TELL(&s, 3599, .type = EVENT_TIME);
	ok_str(at(&s), "committed", "it does not: an attempt would only be used up");
	TELL(&s, 3600, .type = EVENT_TIME);
	ok(did(&s, ACTION_TRY), "an hour of silence later it may do without");

	begin(&s, NULL);
	TELL(&s, 11, .type = EVENT_FACTS, .facts = facts);
	all_pass(&s, 40);
	TELL(&s, 41, .type = EVENT_CHECK, .check = CHECK_SERVER, .verdict = VERDICT_FAIL);
	TELL(&s, 101, ANSWER(EVENT_DONE), .yes = true);
	TELL(&s, 200, .type = EVENT_TRY_ASKED);
	ok(did(&s, ACTION_TRY), "who asks for it gets it");
}

static void test_shutdown(void)
{
	struct story s;

	trial(&s, NULL);
	all_pass(&s, 40);
	TELL(&s, 50, .type = EVENT_GOING_DOWN, .yes = true);
	TELL(&s, 110, .type = EVENT_TIME);
	ok(s.out.count == 0, "a person shuts down in the trial: nothing is decided");
	TELL(&s, 120, .type = EVENT_GOING_DOWN);
	ok(did(&s, ACTION_MARK_GOOD) || s.p.phase == GUARD_WINDOW || s.p.phase == GUARD_COMMITTING,
	   "and took it back: the trial goes on");
}

static void test_unreadable_moments(void)
{
	struct story s;

	trial(&s, NULL);
	all_pass(&s, 40);
	TELL(&s, 50, .type = EVENT_FACTS, .facts = { .role = ROLE_UNKNOWN });
	ok_str(at(&s), "window", "facts that cannot be read are no news");
	TELL(&s, 60, .type = EVENT_FACTS, .facts = { .role = ROLE_TRIAL });
	TELL(&s, 100, .type = EVENT_TIME);
	ok_str(at(&s), "limbo", "it cannot be written now");
	TELL(&s, 160, .type = EVENT_TIME);
	ok(did(&s, ACTION_READ_FACTS) && policy_due(&s.p) == 220 * SEC, "asked again every minute");
	TELL(&s, 161, .type = EVENT_FACTS,
	     .facts = { .role = ROLE_TRIAL, .committable = true, .trials = 1 });
	ok(did(&s, ACTION_MARK_GOOD), "now it can");

	committed_boot(&s, false);
	TELL(&s, 20, .type = EVENT_FACTS, .facts = { .role = ROLE_COMMITTED, .staged = true });
	TELL(&s, 30, .type = EVENT_FACTS, .facts = { .role = ROLE_UNKNOWN });
	ok(s.p.facts.staged && s.p.try_at == s.p.config.try_wait_max + 20 * SEC,
	   "the staged update is kept");

	begin(&s, NULL);
	TELL(&s, 11, .type = EVENT_FACTS, .facts = { .role = ROLE_UNKNOWN });
	ok_str(at(&s), "limbo", "not known at the start: watched meanwhile");
	TELL(&s, 71, .type = EVENT_TIME);
	ok(did(&s, ACTION_READ_FACTS), "and asked again");
	TELL(&s, 72, .type = EVENT_FACTS, .facts = { .role = ROLE_LIMBO });
	ok(s.p.phase == GUARD_LIMBO && policy_due(&s.p) == POLICY_NEVER,
	   "until there is an answer");
}

static void test_facts_come_during_a_shutdown(void)
{
	struct story s;

	begin(&s, NULL);
	TELL(&s, 11, .type = EVENT_FACTS, .facts = { .role = ROLE_UNKNOWN });
	TELL(&s, 12, .type = EVENT_GOING_DOWN, .yes = true);
	TELL(&s, 13, .type = EVENT_FACTS,
	     .facts = { .role = ROLE_TRIAL, .committable = true, .trials = 1 });
	ok_str(at(&s), "going-down", "facts that come in a shutdown");
	TELL(&s, 14, .type = EVENT_GOING_DOWN);
	ok_str(at(&s), "collecting", "are not forgotten when it is taken back");
}

static void test_disk_comes_back(void)
{
	struct story s;

	trial(&s, NULL);
	all_pass(&s, 40);
	TELL(&s, 100, .type = EVENT_TIME);
	TELL(&s, 101, ANSWER(EVENT_MARKED), .mark = MARK_FAILED);
	TELL(&s, 102, ANSWER(EVENT_READ_BACK));
	TELL(&s, 103, .type = EVENT_FACTS, .facts = { .role = ROLE_TRIAL });
	TELL(&s, 107, .type = EVENT_TIME);
	ok_str(at(&s), "limbo", "the Mark failed because nothing can be written");
	TELL(&s, 900, .type = EVENT_FACTS, .facts = { .role = ROLE_TRIAL, .committable = true });
	ok(did(&s, ACTION_MARK_GOOD), "it can again: that has the whole time");
}

static void test_decided_by_hand(void)
{
	struct story s;

	trial(&s, NULL);
	TELL(&s, 50, .type = EVENT_FACTS, .facts = { .role = ROLE_COMMITTED, .probation = true });
	ok(did(&s, ACTION_CONFIRM), "somebody committed it by hand");
	TELL(&s, 51, ANSWER(EVENT_DONE), .yes = true);
	ok_str(at(&s), "probation", "then probation");
	TELL(&s, 60, .type = EVENT_FACTS, .facts = { .role = ROLE_COMMITTED });
	ok_str(at(&s), "committed", "which somebody ended");
	trial(&s, NULL);
	TELL(&s, 50, .type = EVENT_FACTS, .facts = { .role = ROLE_COMMITTED });
	TELL(&s, 51, ANSWER(EVENT_DONE), .yes = true);
	ok_str(at(&s), "committed", "a fallback has none");
	trial(&s, NULL);
	TELL(&s, 50, .type = EVENT_FACTS, .facts = { .role = ROLE_TRIAL, .rejected = true });
	ok(did(&s, ACTION_REJECT), "somebody rejected it by hand");
	trial(&s, NULL);
	TELL(&s, 50, .type = EVENT_FACTS, .facts = { .role = ROLE_LIMBO });
	ok_str(at(&s), "limbo", "nobody knows any more what it is");
}

static void test_facts_never_come(void)
{
	struct story s;

	begin(&s, NULL);
	for (unsigned i = 0; i < 5; i++)
		TELL(&s, 70 + i * 60, .type = EVENT_TIME);
	ok_str(at(&s), "limbo", "without facts: limbo");
	TELL(&s, policy_due(&s.p) / SEC, .type = EVENT_TIME);
	ok(did(&s, ACTION_READ_FACTS), "they are still asked for");
	TELL(&s, 1000, .type = EVENT_FACTS, .facts = { .role = ROLE_COMMITTED });
	ok_str(at(&s), "collecting", "they may come late");
}

static void test_killed_while_rejecting(void)
{
	struct story s;

	begin(&s, NULL);
	TELL(&s, 11, .type = EVENT_FACTS, .facts = { .role = ROLE_TRIAL, .rejected = true });
	ok(did(&s, ACTION_REJECT),
	   "a guard that died between rejection and reboot ends what it began");
	TELL(&s, 12, ANSWER(EVENT_DONE));
	ok(did(&s, ACTION_REBOOT), "with the reboot");

	begin(&s, NULL);
	TELL(&s, 11, .type = EVENT_FACTS, .facts = { .role = ROLE_TRIAL, .trials = 1 });
	all_pass(&s, 40);
	TELL(&s, 120, .type = EVENT_FACTS, .facts = { .role = ROLE_UNKNOWN });
	ok_str(at(&s), "limbo", "its record cannot be read at first");
	TELL(&s, 130, .type = EVENT_FACTS, .facts = { .role = ROLE_TRIAL, .rejected = true });
	ok(did(&s, ACTION_REJECT), "and then says that the trial is over");

	trial(&s, NULL);
	all_pass(&s, 40);
	TELL(&s, 50, .type = EVENT_GOING_DOWN, .yes = true);
	TELL(&s, 51, .type = EVENT_FACTS, .facts = { .role = ROLE_TRIAL, .rejected = true });
	ok(s.out.count == 0, "a person rejects it and reboots: nothing to add");
	TELL(&s, 52, .type = EVENT_GOING_DOWN);
	ok(did(&s, ACTION_REJECT), "but if that is taken back, the guard reboots");
}

int main(int argc, char *argv[])
{
	uint64_t states = 8000, steps = 100000;

	if ((argc > 1 && parse_u64(argv[1], 10, &states) < 0) ||
	    (argc > 2 && parse_u64(argv[2], 10, &steps) < 0))
		return 2;
	test_good_trial();
	test_window_breaks();
	test_deadline();
	test_breaks_after_the_deadline();
	test_second_trial_has_more_time();
	test_only_a_failure_fails();
	test_scripts_judge_trials();
	test_window_of_a_trial_counts_its_checks();
	test_guard_that_keeps_dying();
	test_sleep();
	test_hopeless();
	test_server();
	test_network_is_gone();
	test_root();
	test_mark_that_hangs();
	test_confirmation_that_fails();
	test_mark_that_fails();
	test_rauc_is_busy();
	test_commit_that_cannot_be_read_back();
	test_break_between_two_marks();
	test_uncommittable();
	test_committed_ladder();
	test_window_of_a_restart();
	test_failures_are_not_settled();
	test_restarts_are_given_back();
	test_health_adds_up();
	test_staying();
	test_inconclusive_blames_nobody();
	test_try();
	test_try_after_boots();
	test_try_again_with_the_server();
	test_shutdown();
	test_unreadable_moments();
	test_facts_come_during_a_shutdown();
	test_disk_comes_back();
	test_decided_by_hand();
	test_facts_never_come();
	test_killed_while_rejecting();
	test_all_states((size_t)states);
	broken = NULL;
	test_random_walks(steps);
	return tap_done();
}
