// SPDX-License-Identifier: MIT
/* A bounded share of the random walk, and that the walk notices what it is there for. */
#include "tests/lib/tap.h"
#include "tests/lib/walk-life.h"

#include <time.h>

#define LIFE_STEPS    300
#define STEPS	      6000
#define SECONDS_MAX   8 /* under valgrind fewer steps, never none */
#define STEPS_MISTAKE 30000

static struct life life;

static double seconds(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Lives from @seed on; the violation, or NULL after @steps or @sec_max. */
static const char *walk(enum mistake mistake, uint64_t seed, unsigned steps, double sec_max,
			unsigned *ret_steps)
{
	double end = seconds() + sec_max;
	unsigned done = 0;

	life = (struct life) { .w.mistake = mistake };
	for (; done < steps && (done < LIFE_STEPS || seconds() < end); seed++) {
		life_begins(&life, seed);
		for (unsigned i = 0; i < LIFE_STEPS; i++) {
			done++;
			if (!life_step(&life, i))
				break;
		}
		if (*life.w.violation) {
			printf("# %s, seed %llu, step %u: %s\n", life.w.violation,
			       (unsigned long long)seed, done, life.did);
			break;
		}
	}
	*ret_steps = done;
	return *life.w.violation ? life.w.violation : NULL;
}

static void test_clean(void)
{
	unsigned steps;
	const char *violation = walk(MISTAKE_NONE, 1, STEPS, SECONDS_MAX, &steps);

	ok(!violation, "no violation in %u steps", steps);
	ok(steps >= LIFE_STEPS, "one life at least");
}

/* Where the search begins: near where it was found, as most are rare and valgrind is slow. */
static const uint64_t seeds[] = {
	[MISTAKE_SWAP] = 30,	[MISTAKE_NO_SECTOR] = 23,  [MISTAKE_NOT_COUNTED] = 4,
	[MISTAKE_BOTH_BAD] = 4, [MISTAKE_NOT_REFUSED] = 8, [MISTAKE_NO_REASON] = 9,
	[MISTAKE_EARLY] = 19,	[MISTAKE_BLAMED] = 5,	   [MISTAKE_NO_REPAIR] = 9,
	[MISTAKE_NO_FILE] = 15, [MISTAKE_ENDLESS] = 4,
};

static void test_mistakes(void)
{
	static const struct {
		enum mistake mistake;
		const char *name, *violation;
	} rows[] = {
#define X(id, name, violation) { MISTAKE_##id, name, violation },
		MISTAKES(X)
#undef X
	};
	unsigned steps;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *violation = walk(rows[i].mistake, seeds[rows[i].mistake], STEPS_MISTAKE,
					     10 * SECONDS_MAX, &steps);

		ok(violation && strstr(violation, rows[i].violation), "%s is noticed",
		   rows[i].name);
	}
}

int main(void)
{
	test_clean();
	test_mistakes();
	return tap_done();
}
