/* SPDX-License-Identifier: MIT */
/*
 * What happens to the device of walk-world.h, by chance, and what must never
 * come of it: the invariants, by their names.
 *
 *   I1 some slot boots  I2 never both slots bad  I3 a slot is committed only while
 *   running it, after its window  I4 a trial that never ran is not a failed one  I5 no
 *   reboot that nothing bounds  I6 a refused bundle stays refused  I8 every slot that is
 *   left has a reason; and the sector never runs ahead of the record
 *
 * Left out, each counted, and the device is thrown away then:
 *   R1  the sector lost, or written by hand, and the firmware then starts the other slot, whose
 *       kernel dies before bf-init: none of our programs ever runs again. With a firmware that
 *       takes no partition number also one whose bf-init fails: nothing mounts BF_BOOTSEL.
 *   R4  the same, and both generations of the record lost: the new record believes it.
 * R2 (the kernel of the committed slot rots) does not happen here: nothing turns a
 * committed slot into CONTENT_PRE. R3 (BF_DATA unwritable for ever) neither: in what
 * must work out in the end, BF_DATA has come back.
 */
#pragma once

#include "tests/lib/walk-world.h"

struct dice {
	uint64_t state;
};

enum excluded { EXCLUDED_NONE, EXCLUDED_R1, EXCLUDED_R4, EXCLUDED_COUNT };

struct life {
	struct world w;
	struct dice dice;
	unsigned calls;	  /* of the longest program: where a fault can strike */
	unsigned install; /* 0: none runs, 1: root half written, 2: boot half written, 3: done */
	unsigned version, offered_version;
	enum content offered;
	enum slot committed; /* as the record said last */
	enum excluded excluded;
	unsigned hopeless; /* steps without any good slot */
	char did[160];	   /* the last step */
	FILE *trace;
	unsigned cuts, kills, fails, commits, fallbacks, refused_offers;
};

/*
 * A device some months old: both slots were good once. Of *l only .trace, .w.dump and .w.mistake
 * are read; the rest begins anew, by chance out of @seed.
 */
void life_begins(struct life *l, uint64_t seed);

/*
 * One thing happens; .did says what, .w.violation what must not have come of it. False when the
 * life is over: nothing good is left, it is excluded, or a violation was found. @step: its number
 * in the trace.
 */
bool life_step(struct life *l, unsigned step);
