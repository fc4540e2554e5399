// SPDX-License-Identifier: MIT
/*
 * Random lives of a device, see walk-life.h.
 *
 *   walk [--steps N] [--seed S] [--trace] [--dump FILE] [--mistake NAME]
 *
 * Lives of up to 300 steps, with the seeds S, S+1 …, until N steps are done. A
 * violation ends the program with status 1 and the seed of that life, which alone
 * gives it again: walk --seed S --trace --steps 1. --mistake does something wrong on
 * purpose, which must come to a violation.
 */
#include "tests/lib/requests-text.h"
#include "tests/lib/walk-life.h"

#define LIFE_STEPS 300

static const char *const mistake_names[] = {
	"none",
#define X(id, name, violation) name,
	MISTAKES(X)
#undef X
		NULL,
};

struct totals {
	unsigned long steps, lives, boots, requests, cuts, kills, fails, commits, fallbacks,
		refused_offers, excluded[EXCLUDED_COUNT];
};

static uint64_t number(const char *value)
{
	uint64_t n = 0;

	if (!value || parse_u64(value, 10, &n) < 0)
		text_die("usage: walk [--steps N] [--seed S] [--trace] [--dump FILE] [--mistake "
			 "NAME]");
	return n;
}

static void add(struct totals *t, const struct life *l)
{
	t->lives++;
	t->boots += l->w.boots;
	t->requests += l->w.requests;
	t->cuts += l->cuts;
	t->kills += l->kills;
	t->fails += l->fails;
	t->commits += l->commits;
	t->fallbacks += l->fallbacks;
	t->refused_offers += l->refused_offers;
	t->excluded[l->excluded]++;
}

static void report(const struct totals *t, uint64_t seed)
{
	printf("walk: %lu steps in %lu lives from seed %llu: %lu boots, %lu requests, %lu power "
	       "cuts, %lu failing calls, %lu kills, %lu commits, %lu of them fallbacks, %lu offers "
	       "refused; left out: R1 %lu, R4 %lu; 0 violations\n",
	       t->steps, t->lives, (unsigned long long)seed, t->boots, t->requests, t->cuts,
	       t->fails, t->kills, t->commits, t->fallbacks, t->refused_offers,
	       t->excluded[EXCLUDED_R1], t->excluded[EXCLUDED_R4]);
}

/* One life; false when it came to a violation. */
static bool live(struct life *l, uint64_t seed, struct totals *t)
{
	unsigned step;

	life_begins(l, seed);
	for (step = 0; step < LIFE_STEPS; step++) {
		t->steps++;
		if (!life_step(l, step))
			break;
	}
	add(t, l);
	if (!*l->w.violation)
		return true;
	printf("walk: violation in step %u of the life of seed %llu (--seed %llu --steps 1 "
	       "--trace): %s\n%s\n",
	       step, (unsigned long long)seed, (unsigned long long)seed, l->did, l->w.violation);
	return false;
}

int main(int argc, char **argv)
{
	static struct life life;
	struct totals totals = { 0 };
	uint64_t steps = 10000, seed = 1;

	for (int i = 1; i < argc; i++) {
		if (streq(argv[i], "--steps"))
			steps = number(argv[++i]);
		else if (streq(argv[i], "--seed"))
			seed = number(argv[++i]);
		else if (streq(argv[i], "--trace"))
			life.trace = stdout;
		else if (streq(argv[i], "--mistake") && argv[i + 1])
			life.w.mistake = (enum mistake)text_name(argv[++i], mistake_names);
		else if (streq(argv[i], "--dump") && argv[i + 1])
			life.w.dump = fopen(argv[++i], "we");
		else
			(void)number(NULL);
	}
	for (uint64_t s = seed; totals.steps < steps; s++)
		if (!live(&life, s, &totals))
			return 1;
	report(&totals, seed);
	if (life.w.dump && fclose(life.w.dump) != 0)
		return 1;
	return 0;
}
