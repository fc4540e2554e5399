// SPDX-License-Identifier: MIT
#include "tests/lib/rules-device.h"
#include "tests/lib/rules-text.h"
#include "tests/lib/tap.h"

#define ID    "0123456789abcdef0123456789abcdef"
#define FACTS "boot_id=" ID " roothash=cc33 now=1000 "

/* ---- which slot runs ---------------------------------------------------- */

static void test_identify(void)
{
	static const struct {
		const char *name;
		struct firmware fw;
		enum slot cmdline, want;
		bool mismatch;
	} rows[] = {
		{ "both say A", { .present = true, .partition = 2 }, SLOT_A, SLOT_A, false },
		{ "both say B", { .present = true, .partition = 3 }, SLOT_B, SLOT_B, false },
		{ "they disagree", { .present = true, .partition = 3 }, SLOT_A, SLOT_B, true },
		{ "only the firmware",
		  { .present = true, .partition = 3 },
		  SLOT_NONE,
		  SLOT_B,
		  false },
		{ "partition 0", { .present = true }, SLOT_A, SLOT_A, false },
		{ "a partition of no slot",
		  { .present = true, .partition = 7 },
		  SLOT_B,
		  SLOT_B,
		  false },
		{ "no device tree", { 0 }, SLOT_B, SLOT_B, false },
		{ "a number without a node", { .partition = 3 }, SLOT_A, SLOT_A, false },
		{ "neither", { .present = true }, SLOT_NONE, SLOT_NONE, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		bool mismatch = !rows[i].mismatch;

		ok_int(identify_running(&rows[i].fw, rows[i].cmdline, &mismatch), rows[i].want,
		       "running: %s", rows[i].name);
		ok_int(mismatch, rows[i].mismatch, "mismatch: %s", rows[i].name);
	}
}

/* ---- the table, row by row ---------------------------------------------- */

/*
 * .facts: see rules-text.h; a boot of the committed slot A where they say
 * nothing. .want: all that differs from "boot, write nothing, the record as it
 * was", so a row also says what must not change.
 */
struct row {
	const char *name, *facts, *want;
};

#define STAMP(slot, phase)                                                                         \
	" last.slot=" slot " last.phase=" phase " last.boot_id=" ID " hash." slot "=cc33"
#define BOOT_A	 "writes=W" STAMP("A", "started")
#define LEAVE_A	 "writes=W next=reboot-trial reason=committed-failing" STAMP("A", "attempt")
#define TRIAL_B	 "writes=W next=trial unwritten=trial committable=1" STAMP("B", "trial")
#define FALLBACK " history=fallback:A:committed-failing"
#define AS_TRIAL "running=B tryboot=1 "
#define STAGED_B "staged=B hash.B=cc33 "
#define WRONG	 "limbo=1 reason=wrong-slot "
#define STRAY                                                                                      \
	"writes=W next=reboot repairs=1 reason=trial-not-staged "                                  \
	"history=failed:B:trial-not-staged "
#define OWN_B TRIAL_B
#define OWN_B_STAGED                                                                               \
	" staged=B kind=fallback attempts=1 trials=1 history=trial:B:-,fallback:A:wrong-slot"
#define UNTRIED_B " staged=- kind=update attempts=0 trials=0 trial_reason=-"

static const struct row init_rows[] = {
	/* the record is lost */
	{ "lost, sector names A", "record=lost", BOOT_A " history=rebuilt:A:-" },
	{ "lost, sector lost", "record=lost selector=invalid",
	  "sector=A writes=WS" STAMP("A", "started") " history=repaired:A:-,rebuilt:A:-" },
	{ "lost, sector lost, B runs", "record=lost selector=invalid running=B",
	  "sector=B writes=WS committed=B" STAMP("B",
						 "started") " history=repaired:B:-,rebuilt:B:-" },
	{ "lost, sector gone", "record=lost selector=gone", BOOT_A " history=rebuilt:A:-" },
	{ "lost, wrong slot", "record=lost running=B",
	  WRONG
	  "writes=SW sector=A next=reboot repairs=1 history=failed:A:wrong-slot,rebuilt:A:-" },
	{ "lost, trial", "record=lost " AS_TRIAL,
	  TRIAL_B " staged=B trials=1 history=trial:B:-,rebuilt:A:-" },
	{ "lost, not writable", "record=lost writable=0", "" },
	{ "lost, not writable, trial", "record=lost writable=0 " AS_TRIAL,
	  "next=trial unwritten=trial" },
	{ "no BF_DATA", "record=none writable=0", "" },
	{ "no BF_DATA, trial", "record=none writable=0 " AS_TRIAL, "next=trial unwritten=trial" },
	{ "no BF_DATA, wrong slot", "record=none writable=0 running=B", WRONG },
	{ "no BF_DATA, sector lost", "record=none writable=0 running=B selector=invalid",
	  "committed=B" },
	{ "no record, though writable", "record=none writable=1 selector=invalid", "" },

	/* trials */
	{ "trial", AS_TRIAL STAGED_B, TRIAL_B " trials=1 history=trial:B:-" },
	{ "second trial", AS_TRIAL STAGED_B "trials=1 attempts=2 kind=fallback",
	  TRIAL_B " trials=2 history=trial:B:-" },
	{ "trials do not overflow", AS_TRIAL STAGED_B "trials=3", TRIAL_B " history=trial:B:-" },
	{ "trial, count", AS_TRIAL STAGED_B "count=7",
	  TRIAL_B " trials=1 last.count=7 history=trial:B:-" },
	{ "trial, W impossible", AS_TRIAL STAGED_B "writable=0", "next=trial unwritten=trial" },
	{ "trial, slots disagree", AS_TRIAL STAGED_B "mismatch=1",
	  "writes=W next=reboot unwritten=trial limbo=1 reason=slot-mismatch trials=1 "
	  "trial_reason=slot-mismatch history=trial:B:-" STAMP("B", "trial") },
	{ "trial, slots disagree, W impossible", AS_TRIAL STAGED_B "mismatch=1 writable=0",
	  "next=trial unwritten=trial limbo=1 reason=slot-mismatch" },
	{ "not staged", AS_TRIAL, STRAY "unwritten=trial" },
	{ "not staged, unproven", AS_TRIAL "proven.B=no", STRAY "unwritten=reboot" },
	{ "not staged, disagree", AS_TRIAL "mismatch=1", STRAY "unwritten=trial limbo=1" },
	{ "not staged, again", AS_TRIAL "repairs=1", STRAY "unwritten=trial repairs=2" },
	{ "not staged, and again: the committed slot cannot", AS_TRIAL "repairs=2",
	  TRIAL_B " staged=B kind=fallback attempts=1 trials=1 repairs=3 "
		  "history=trial:B:-,fallback:A:committed-failing" },
	{ "not staged, too often", AS_TRIAL "repairs=6", "limbo=1 reason=trial-not-staged" },
	{ "not staged, and again, disagree", AS_TRIAL "repairs=2 mismatch=1",
	  "writes=W next=reboot unwritten=trial limbo=1 reason=slot-mismatch staged=B "
	  "kind=fallback "
	  "attempts=1 trials=1 trial_reason=slot-mismatch repairs=3 "
	  "history=trial:B:-,fallback:A:committed-failing" STAMP("B", "trial") },
	{ "not staged, and again, unproven", AS_TRIAL "repairs=2 proven.B=no",
	  "limbo=1 reason=trial-not-staged" },
	{ "not staged, and again, W impossible", AS_TRIAL "repairs=2 writable=0",
	  "next=trial unwritten=trial reason=trial-not-staged" },
	{ "not staged, W impossible", AS_TRIAL "writable=0",
	  "next=trial unwritten=trial reason=trial-not-staged" },
	{ "not staged, W impossible, unproven", AS_TRIAL "writable=0 proven.B=no",
	  "next=reboot unwritten=reboot reason=trial-not-staged" },
	{ "not staged, W impossible, disagree", AS_TRIAL "writable=0 mismatch=1",
	  "next=trial unwritten=trial limbo=1 reason=trial-not-staged" },
	{ "flag, but the sector is lost", AS_TRIAL STAGED_B "selector=invalid",
	  WRONG "writes=SW sector=A next=reboot repairs=1 history=repaired:A:wrong-slot" },
	{ "flag, but the sector names what runs", AS_TRIAL STAGED_B "selector=B",
	  WRONG "writes=SW sector=A next=reboot repairs=1 history=repaired:A:wrong-slot" },
	{ "flag, but the committed slot runs", "tryboot=1 " STAGED_B, BOOT_A },
	{ "flag, committed slot runs, sector edited", "tryboot=1 selector=B " STAGED_B,
	  "sector=A writes=WS history=repaired:A:-" STAMP("A", "started") },

	/* wrong slot */
	{ "sector lost", "running=B selector=invalid",
	  WRONG "writes=SW sector=A next=reboot repairs=1 history=repaired:A:wrong-slot" },
	{ "sector lost, once more", "running=B selector=invalid repairs=1",
	  WRONG "writes=SW sector=A next=reboot repairs=2 history=repaired:A:wrong-slot" },
	{ "sector lost, repairs used up", "running=B selector=invalid repairs=2",
	  WRONG "writes=S sector=A history=repaired:A:wrong-slot" },
	{ "sector edited", "running=B selector=B",
	  WRONG "writes=SW sector=A next=reboot repairs=1 history=repaired:A:wrong-slot" },
	{ "sector right: the firmware went on", "running=B",
	  WRONG "writes=SW sector=A next=reboot repairs=1 history=failed:A:wrong-slot" },
	{ "sector right, repairs used up", "running=B repairs=2",
	  WRONG "writes=S sector=A history=failed:A:wrong-slot" },
	{ "right, but a file: read otherwise", "running=B selector=A-file",
	  WRONG "writes=W next=reboot-other repairs=1 history=failed:A:wrong-slot" },
	{ "edited, not in place", "running=B selector=B-file",
	  WRONG "writes=W next=reboot-other repairs=1 history=failed:A:wrong-slot" },
	{ "edited, not in place, once more", "running=B selector=B-file repairs=1",
	  WRONG "writes=W next=reboot-other repairs=2 history=failed:A:wrong-slot" },
	{ "edited, not in place, and again", "running=B selector=B-file repairs=2",
	  WRONG "history=failed:A:wrong-slot" },
	{ "edited, not in place, W impossible", "running=B selector=B-file writable=0",
	  WRONG "history=failed:A:wrong-slot" },
	{ "started again and again", "running=B repairs=3", OWN_B " repairs=4" OWN_B_STAGED },
	{ "started again and again, gone", "running=B repairs=5 selector=gone",
	  OWN_B " repairs=6" OWN_B_STAGED },
	{ "started too often", "running=B repairs=6",
	  WRONG "writes=S sector=A history=failed:A:wrong-slot" },
	{ "started again and again, W impossible", "running=B repairs=3 writable=0",
	  WRONG "writes=S sector=A history=failed:A:wrong-slot" },
	{ "started again and again, unproven", "running=B repairs=3 proven.B=no",
	  WRONG "writes=S sector=A history=failed:A:wrong-slot" },
	{ "started again and again, staged", "running=B repairs=3 proven.B=no " STAGED_B,
	  OWN_B " repairs=4 trials=1 history=trial:B:-" },
	{ "wrong slot, W impossible", "running=B selector=invalid writable=0",
	  WRONG "writes=S sector=A history=repaired:A:wrong-slot" },
	{ "wrong slot, sector gone", "running=B selector=gone",
	  WRONG "writes=W next=reboot-other repairs=1 history=failed:A:wrong-slot" },
	{ "wrong slot, sector gone, no record", "running=B selector=gone record=none",
	  "committed=B" },
	{ "wrong slot, slots disagree", "running=B selector=B mismatch=1",
	  WRONG "writes=SW sector=A next=reboot repairs=1 history=repaired:A:wrong-slot" },

	/* the committed slot */
	{ "ordinary boot", "", BOOT_A },
	{ "ordinary boot, B", "running=B committed=B selector=B",
	  "writes=W" STAMP("B", "started") },
	{ "with count", "count=1", BOOT_A " last.count=1" },
	{ "the image the record knows", "hash.A=cc33", BOOT_A },
	{ "another image than the record knows", "hash.A=dd44", BOOT_A " history=changed:A:-" },
	{ "and nobody can say which runs", "hash.A=dd44 roothash=-",
	  "writes=W last.slot=A last.phase=started last.boot_id=" ID },
	{ "a trial of another image than was staged", AS_TRIAL "staged=B hash.B=dd44",
	  TRIAL_B " trials=1 history=trial:B:-,changed:B:-" },
	{ "no root hash, no boot id", "roothash=- boot_id=-",
	  "writes=W last.slot=A last.phase=started" },
	{ "sector lost", "selector=invalid",
	  "sector=A writes=WS history=repaired:A:-" STAMP("A", "started") },
	{ "sector edited", "selector=B",
	  "sector=A writes=WS history=repaired:A:-" STAMP("A", "started") },
	{ "sector gone", "selector=gone", BOOT_A },
	{ "edited, not in place", "selector=B-file", BOOT_A },
	{ "right, not in place", "selector=A-file", BOOT_A },
	{ "slots disagree", "mismatch=1", BOOT_A " limbo=1 reason=slot-mismatch" },
	{ "W impossible", "writable=0 last.slot=A last.phase=failed last.reason=mount hard=9", "" },
	{ "W impossible, sector lost", "writable=0 selector=invalid",
	  "writes=S sector=A history=repaired:A:-" },

	/* evidence */
	{ "trial, power-on since",
	  STAGED_B "trials=2 last.slot=B last.phase=trial last.count=4 count=1",
	  BOOT_A " trials=1 last.count=1" },
	{ "trial, warm reset since",
	  STAGED_B "trials=2 last.slot=B last.phase=trial last.count=4 count=5",
	  BOOT_A " last.count=5" },
	{ "trial, power-on, but it left a reason",
	  STAGED_B "trials=1 trial_reason=mount last.slot=B last.phase=trial last.count=4 count=1",
	  BOOT_A UNTRIED_B
	  " last.count=1 state.B=bad proven.B=no refused=cc33 history=rejected:B:mount" },
	{ "trial, no count", STAGED_B "trials=2 last.slot=B last.phase=trial", BOOT_A },
	{ "aborted trial, power-on",
	  STAGED_B "trials=0 last.slot=B last.phase=trial last.count=4 count=1",
	  BOOT_A " last.count=1" },
	{ "third trial, but power-on",
	  STAGED_B "trials=3 last.slot=B last.phase=trial last.count=4 count=4",
	  BOOT_A " trials=2 last.count=4" },
	{ "attempt, died before bf-init",
	  STAGED_B "attempts=1 last.slot=A last.phase=attempt last.count=4 count=6",
	  BOOT_A " trials=1 last.count=6" },
	{ "attempt, flag lost",
	  STAGED_B "attempts=1 last.slot=A last.phase=attempt last.count=4 count=5",
	  BOOT_A " last.count=5" },
	{ "attempt, power-on",
	  STAGED_B "attempts=1 last.slot=A last.phase=attempt last.count=4 count=2",
	  BOOT_A " last.count=2" },
	{ "attempt, the count's end",
	  STAGED_B "attempts=1 last.slot=A last.phase=attempt last.count=4294967295 count=1",
	  BOOT_A " last.count=1" },
	{ "third death before bf-init",
	  STAGED_B "attempts=3 trials=2 last.slot=A last.phase=attempt last.count=4 count=6",
	  BOOT_A UNTRIED_B
	  " last.count=6 state.B=bad proven.B=no refused=cc33 history=rejected:B:trial-dark" },

	/* resolve */
	{ "update with a reason",
	  STAGED_B "attempts=1 trials=1 trial_reason=verity-corrupt proven.B=yes",
	  BOOT_A UNTRIED_B
	  " state.B=bad proven.B=no refused=cc33 history=rejected:B:verity-corrupt" },
	{ "update dark three times", STAGED_B "attempts=3 trials=3",
	  BOOT_A UNTRIED_B " state.B=bad proven.B=no refused=cc33 history=rejected:B:trial-dark" },
	{ "update dark twice", STAGED_B "attempts=5 trials=2", BOOT_A },
	{ "update never ran", STAGED_B "attempts=6",
	  BOOT_A UNTRIED_B " refused=cc33 history=given-up:B:trial-never-ran" },
	{ "update never decided", STAGED_B "attempts=6 history=fallback:A:-,trial:B:-,staged:B:-",
	  BOOT_A UNTRIED_B
	  " refused=cc33"
	  " history=given-up:B:trial-undecided,fallback:A:-,trial:B:-,staged:B:-" },
	{ "the trial was of the update before",
	  STAGED_B "attempts=6 history=staged:B:-,trial:B:-,staged:B:-",
	  BOOT_A UNTRIED_B " refused=cc33"
			   " history=given-up:B:trial-never-ran,staged:B:-,trial:B:-,staged:B:-" },
	{ "update lost and dark", STAGED_B "attempts=6 trials=2",
	  BOOT_A UNTRIED_B " refused=cc33 history=given-up:B:trial-dark" },
	{ "update without a hash", "staged=B trials=3",
	  BOOT_A UNTRIED_B " state.B=bad proven.B=no history=rejected:B:trial-dark" },
	{ "update refused before", STAGED_B "trials=3 refused=aa,cc33",
	  BOOT_A UNTRIED_B " state.B=bad proven.B=no history=rejected:B:trial-dark" },
	{ "fallback with a reason",
	  STAGED_B "kind=fallback trial_reason=mount state.B=good proven.B=yes",
	  BOOT_A UNTRIED_B " state.B=unknown history=given-up:B:mount" },
	{ "fallback dark three times", STAGED_B "kind=fallback trials=3 attempts=3 state.B=good",
	  BOOT_A UNTRIED_B " state.B=unknown history=given-up:B:trial-dark" },
	{ "fallback never ran", STAGED_B "kind=fallback attempts=6 state.B=good",
	  BOOT_A UNTRIED_B " state.B=unknown history=given-up:B:trial-never-ran" },
	{ "fallback never decided",
	  STAGED_B "kind=fallback attempts=6 state.B=good history=trial:B:-,fallback:A:-",
	  BOOT_A UNTRIED_B
	  " state.B=unknown history=given-up:B:trial-undecided,trial:B:-,fallback:A:-" },
	{ "never both bad", STAGED_B "trials=3 state.A=bad",
	  BOOT_A UNTRIED_B
	  " state.A=unknown state.B=bad proven.B=no refused=cc33 history=rejected:B:trial-dark" },
	{ "five attempts are not six", STAGED_B "attempts=5", BOOT_A },

	/* count */
	{ "failed", "last.slot=A last.phase=failed last.reason=mount hard=1",
	  BOOT_A " hard=2 last.reason=-" },
	{ "failed, power-on",
	  "last.slot=A last.phase=failed last.count=4 count=1 last.reason=mount",
	  BOOT_A " hard=1 last.reason=- last.count=1" },
	{ "started, nobody knows", "last.slot=A last.phase=started", BOOT_A " soft=1" },
	{ "started, power-on", "last.slot=A last.phase=started last.count=4 count=1",
	  BOOT_A " soft=1 last.count=1" },
	{ "started, warm", "last.slot=A last.phase=started last.count=4 count=5",
	  BOOT_A " hard=1 last.count=5" },
	{ "started, count is new", "last.slot=A last.phase=started count=5",
	  BOOT_A " soft=1 last.count=5" },
	{ "confirmed, nobody knows", "last.slot=A last.phase=confirmed", BOOT_A " soft=1" },
	{ "confirmed, nobody knows, probation", "last.slot=A last.phase=confirmed probation=1",
	  BOOT_A " hard=1" },
	{ "confirmed, power-on",
	  "last.slot=A last.phase=confirmed probation=1 last.count=4 count=1",
	  BOOT_A " last.count=1" },
	{ "confirmed, warm", "last.slot=A last.phase=confirmed last.count=4 count=5",
	  BOOT_A " hard=1 last.count=5" },
	{ "clean", "last.slot=A last.phase=clean probation=1", BOOT_A " soft=1" },
	{ "clean, power-on", "last.slot=A last.phase=clean last.count=4 count=1",
	  BOOT_A " soft=1 last.count=1" },
	{ "clean, warm", "last.slot=A last.phase=clean last.count=4 count=5",
	  BOOT_A " soft=1 last.count=5" },
	{ "failed, warm", "last.slot=A last.phase=failed last.count=4 count=5",
	  BOOT_A " hard=1 last.count=5" },
	{ "settled, nobody knows", "last.slot=A last.phase=settled", BOOT_A },
	{ "settled, power-on", "last.slot=A last.phase=settled last.count=4 count=1",
	  BOOT_A " last.count=1" },
	{ "settled", "last.slot=A last.phase=settled last.count=4 count=5",
	  BOOT_A " last.count=5" },
	{ "attempt", "last.slot=A last.phase=attempt last.count=4 count=5",
	  BOOT_A " last.count=5" },
	{ "the other slot's boot", "last.slot=B last.phase=failed last.reason=mount",
	  BOOT_A " last.reason=-" },
	{ "counters do not overflow", "last.slot=A last.phase=failed hard=1000000 proven.B=no",
	  BOOT_A },

	/* decide */
	{ "four failures", "hard=4 state.B=good", BOOT_A },
	{ "five failures, other good", "hard=5 state.B=good",
	  LEAVE_A " staged=B kind=fallback attempts=1" FALLBACK },
	{ "leftovers of an older trial",
	  "hard=5 state.B=good trials=2 attempts=4 trial_reason=mount",
	  LEAVE_A " staged=B kind=fallback attempts=1 trials=0 trial_reason=-" FALLBACK },
	{ "the fifth just now", "hard=4 last.slot=A last.phase=failed state.B=good",
	  LEAVE_A " hard=5 staged=B kind=fallback attempts=1" FALLBACK },
	{ "fourteen soft ones", "soft=14 state.B=good", BOOT_A },
	{ "fifteen soft ones", "soft=15 state.B=good",
	  LEAVE_A " staged=B kind=fallback attempts=1" FALLBACK },
	{ "an untried update first", "hard=5 state.B=unknown proven.B=no " STAGED_B,
	  LEAVE_A " attempts=1" FALLBACK },
	{ "the last attempt", "hard=5 attempts=5 " STAGED_B, LEAVE_A " attempts=6" FALLBACK },
	{ "attempts used up", "hard=5 attempts=6 proven.B=no " STAGED_B,
	  BOOT_A UNTRIED_B " refused=cc33 history=given-up:B:trial-never-ran" },
	{ "used up, but good enough to retry",
	  "hard=10 attempts=6 kind=fallback proven.B=yes " STAGED_B,
	  LEAVE_A " attempts=1 hard=0 doublings=1"
		  " history=fallback:A:committed-failing,given-up:B:trial-never-ran" },
	{ "other unknown: stay", "hard=5 proven.B=yes", BOOT_A },
	{ "other unknown: stay at nine", "hard=9 proven.B=yes", BOOT_A },
	{ "other unknown: retry at ten", "hard=10 soft=3 proven.B=yes",
	  LEAVE_A " staged=B kind=fallback attempts=1 hard=0 soft=0 doublings=1" FALLBACK },
	{ "never confirmed, but not known bad", "hard=10 proven.B=unknown",
	  LEAVE_A " staged=B kind=fallback attempts=1 hard=0 doublings=1" FALLBACK },
	{ "never a slot that is not proven", "hard=1000 soft=1000 state.B=bad proven.B=no",
	  BOOT_A },
	{ "retry at soft thirty", "soft=30 proven.B=yes",
	  LEAVE_A " staged=B kind=fallback attempts=1 soft=0 doublings=1" FALLBACK },
	{ "the next one doubled", "hard=19 doublings=1 proven.B=yes", BOOT_A },
	{ "the next one doubled, due", "hard=20 doublings=1 proven.B=yes",
	  LEAVE_A " staged=B kind=fallback attempts=1 hard=0 doublings=2" FALLBACK },
	{ "doubling has an end", "hard=10240 doublings=12 proven.B=yes",
	  LEAVE_A " staged=B kind=fallback attempts=1 hard=0" FALLBACK },
	{ "sector lost: first the sector", "hard=5 state.B=good selector=invalid",
	  LEAVE_A " writes=SW sector=A staged=B kind=fallback attempts=1"
		  " history=fallback:A:committed-failing,repaired:A:-" },
	{ "sector gone: no trial", "hard=5 state.B=good selector=gone", BOOT_A },
	{ "sector cannot be repaired: no trial", "hard=5 state.B=good selector=B-file", BOOT_A },
	{ "sector right, not in place", "hard=5 state.B=good selector=A-file",
	  LEAVE_A " staged=B kind=fallback attempts=1" FALLBACK },
	{ "slots disagree: left all the same", "hard=5 state.B=good mismatch=1",
	  LEAVE_A " limbo=1 staged=B kind=fallback attempts=1" FALLBACK },
	{ "W impossible: no reboot", "hard=50 soft=50 state.B=good writable=0", "" },
};

#define BY_NUMBER "next=reboot-other unwritten=reboot-other "
#define GAVE_UP	  "next=reboot unwritten=reboot reason=verity-corrupt "
#define FAILED	  "history=failed:A:verity-corrupt last.phase=failed last.reason=verity-corrupt "
#define STAMPED	  "last.slot=A last.boot_id=" ID " hash.A=cc33 "

/* bf-init fails after its decision was carried out. */
static const struct row after_rows[] = {
	{ "trial", AS_TRIAL STAGED_B,
	  GAVE_UP
	  "writes=W trials=1 trial_reason=verity-corrupt history=trial:B:-" STAMP("B", "trial") },
	{ "trial, W impossible", AS_TRIAL STAGED_B "writable=0", GAVE_UP },
	{ "trial without BF_DATA", AS_TRIAL "record=none writable=0", GAVE_UP },
	{ "trial, and one before it said why", AS_TRIAL STAGED_B "trial_reason=mount",
	  GAVE_UP "writes=W trials=1 trial_reason=verity-corrupt delay=60 history=trial:B:-" STAMP(
		  "B", "trial") },
	{ "trial, one before it said why, W impossible",
	  AS_TRIAL STAGED_B "trial_reason=mount writable=0", GAVE_UP "delay=60" },
	{ "stray trial", AS_TRIAL,
	  "next=reboot unwritten=trial reason=trial-not-staged repairs=1 "
	  "history=failed:B:trial-not-staged" },
	{ "stray trial, unproven, stays", AS_TRIAL "repairs=2 proven.B=no",
	  GAVE_UP BY_NUMBER "writes=W limbo=1 delay=60 history=failed:B:verity-corrupt" },
	{ "committed", "", GAVE_UP FAILED STAMPED "writes=W unwritten=reboot-trial" },
	{ "committed, other not proven", "proven.B=no", GAVE_UP FAILED STAMPED "writes=W" },
	{ "committed, sector lost", "selector=invalid",
	  GAVE_UP FAILED STAMPED "writes=W history=failed:A:verity-corrupt,repaired:A:-" },
	{ "committed, the fifth time", "hard=4 proven.B=no",
	  GAVE_UP FAILED STAMPED "writes=W delay=0" },
	{ "committed, the sixth time", "hard=5 proven.B=no",
	  GAVE_UP FAILED STAMPED "writes=W delay=60" },
	{ "committed, the tenth time", "hard=9 proven.B=no",
	  GAVE_UP FAILED STAMPED "writes=W delay=300" },
	{ "committed, the hundredth time", "hard=99 proven.B=no",
	  GAVE_UP FAILED STAMPED "writes=W delay=3600" },
	{ "committed, W impossible", "writable=0",
	  GAVE_UP "next=reboot-trial unwritten=reboot-trial" },
	{ "committed, W impossible, other not proven", "writable=0 proven.B=no hard=7",
	  GAVE_UP "delay=180" },
	{ "committed, W impossible, sector lost", "writable=0 selector=invalid",
	  GAVE_UP "history=repaired:A:-" },
	{ "committed, no record", "record=none writable=0",
	  GAVE_UP "next=reboot-trial unwritten=reboot-trial" },
	{ "no record, sector lost", "record=none writable=0 selector=invalid", GAVE_UP BY_NUMBER },
	{ "committed, nothing says which is", "record=none writable=0 selector=gone",
	  GAVE_UP BY_NUMBER },
	{ "wrong slot, repairs used up", "running=B selector=invalid repairs=2",
	  GAVE_UP BY_NUMBER
	  "writes=W limbo=1 delay=60 history=failed:B:verity-corrupt,repaired:A:wrong-slot" },
	{ "wrong slot, and no way but by number", "running=B selector=gone repairs=2",
	  GAVE_UP BY_NUMBER
	  "writes=W limbo=1 delay=60 history=failed:B:verity-corrupt,failed:A:wrong-slot" },
	{ "wrong slot, W impossible", "running=B selector=gone writable=0",
	  GAVE_UP BY_NUMBER "limbo=1 delay=60 history=failed:A:wrong-slot" },
	{ "wrong slot, no record", "running=B record=none writable=0", GAVE_UP "limbo=1 delay=60" },
};

/* The same, but the record write of the decision has failed. */
static const struct row unwritten_rows[] = {
	{ "trial", AS_TRIAL STAGED_B, GAVE_UP "trials=1 history=trial:B:-" STAMP("B", "trial") },
	{ "stray trial", AS_TRIAL, GAVE_UP "repairs=1 history=failed:B:trial-not-staged" },
	{ "committed", "",
	  GAVE_UP "next=reboot-trial unwritten=reboot-trial" STAMP("A", "started") },
	{ "committed, other not proven", "proven.B=no", GAVE_UP STAMP("A", "started") },
	{ "wrong slot", "running=B selector=B",
	  GAVE_UP BY_NUMBER "limbo=1 delay=60 repairs=1 history=repaired:A:wrong-slot" },
};

/* bf-init fails before it has decided. */
static const struct row failed_rows[] = {
	{ "committed", "last.slot=A last.phase=failed last.reason=mount hard=1",
	  GAVE_UP FAILED STAMPED "writes=W unwritten=reboot-trial hard=2" },
	{ "committed, sector lost", "selector=invalid",
	  GAVE_UP FAILED STAMPED
	  "writes=WS sector=A history=failed:A:verity-corrupt,repaired:A:-" },
	{ "trial", AS_TRIAL STAGED_B,
	  GAVE_UP
	  "writes=W trials=1 trial_reason=verity-corrupt history=trial:B:-" STAMP("B", "trial") },
	{ "time to leave", "hard=5 state.B=good",
	  LEAVE_A " staged=B kind=fallback attempts=1" FALLBACK },
	{ "wrong slot", "running=B selector=B",
	  WRONG "writes=SW sector=A next=reboot repairs=1 history=repaired:A:wrong-slot" },
	{ "nothing could be read", "record=none writable=0 selector=gone", GAVE_UP },
	{ "nothing could be read, trial", "record=none writable=0 selector=gone tryboot=1",
	  GAVE_UP },
};

/* @base with each word of @changes in the place of the one with its key. */
static void apply(char base[static TEXT_MAX], const char *changes)
{
	_cleanup_free_ char *copy = strdup(changes);
	char *rest = copy, *word;

	while ((word = strsep(&rest, " "))) {
		_cleanup_free_ char *tail = NULL;
		char key[64], *at, *end;

		if (!*word)
			continue;
		(void)snprintf(key, sizeof(key), " %.*s=", (int)strcspn(word, "="), word);
		at = strstr(base, key);
		if (!at)
			text_die("no such word: %s", word);
		end = strchrnul(at + 1, ' ');
		tail = strdup(end);
		(void)snprintf(at + 1, TEXT_MAX - (size_t)(at + 1 - base), "%s%s", word, tail);
	}
}

static void print_to(char buf[static TEXT_MAX], const struct boot_decision *d, uint32_t delay_sec)
{
	FILE *out = fmemopen(buf, TEXT_MAX, "w");

	fputc(' ', out);
	text_print(out, d, delay_sec);
	fclose(out);
}

static void show_difference(char *got, char *want)
{
	char *g, *w;

	while ((g = strsep(&got, " ")) && (w = strsep(&want, " ")))
		if (!streq(g, w))
			printf("#   got %s, want %s\n", g, w);
}

enum call { CALL_INIT, CALL_AFTER, CALL_UNWRITTEN, CALL_FAILED };

static void decide_row(enum call call, struct boot_facts *f, struct boot_decision *d,
		       uint32_t *delay_sec)
{
	if (call != CALL_FAILED)
		rules_bf_init(f, d);
	if (call == CALL_UNWRITTEN) {
		f->writable = d->committable = false;
		d->next = d->next_if_unwritten;
	}
	if (call != CALL_INIT)
		rules_bf_init_failed(f, call == CALL_FAILED ? NULL : d, REASON_VERITY_CORRUPT, d,
				     delay_sec);
}

static void test_rows(const char *title, enum call call, const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct boot_decision base = { .sector = SLOT_NONE }, d;
		char words[TEXT_MAX], got[TEXT_MAX], want[TEXT_MAX];
		struct boot_facts f, before;
		uint32_t delay_sec = 0;

		text_defaults(&f);
		(void)snprintf(words, sizeof(words), FACTS "%s", rows[i].facts);
		text_set(&f, words);
		if (f.record_readable)
			base.record = f.record;
		else
			record_init(&base.record, SLOT_A);
		print_to(want, &base, 0);
		apply(want, rows[i].want);
		before = f;
		decide_row(call, &f, &d, &delay_sec);
		print_to(got, &d, delay_sec);
		if (!ok(streq(got, want), "%s: %s", title, rows[i].name))
			show_difference(got, want);
		f.writable = before.writable;
		ok(memcmp(&f, &before, sizeof(f)) == 0, "the facts stay as they are");
	}
}

/* What nothing prints: the time of history entries, and the order of a full list. */
static void test_history_time(void)
{
	struct boot_facts f;
	struct boot_decision d;

	text_defaults(&f);
	f.now_sec = UINT64_C(1735689600);
	f.record_readable = false;
	f.record_lost = true;
	rules_bf_init(&f, &d);
	ok_int(d.record.history[0].time_sec, 1735689600, "history has the time of the boot");
}

/* ---- scenarios: the traces that broke simpler rules ---------------------- */

static void done(const struct device *d, enum slot slot, const char *name)
{
	ok_int(d->running, slot, "%s: slot %s runs", name, slot_name(slot));
	ok_int(d->record.committed, slot, "%s: it is committed", name);
	ok_int(d->all, slot, "%s: autoboot.txt says so", name);
	ok_str(d->violation ? d->violation : "", "", "%s: no violation", name);
}

/* V2: record first, sector second; a cut between them is repaired by the next boot. */
static void test_v2_commit_cut(void)
{
	struct device d = new_device(SLOT_A);

	boot_up(&d, 1);
	install(&d, CONTENT_GOOD, "b1");
	guard_try(&d);
	boot_up(&d, 1);
	ok(in_trial(&d) && d.running == SLOT_B, "V2: the trial runs");
	d.cut_at = 1;
	guard_commit(&d);
	power_off(&d);
	ok(d.all == SLOT_A && d.record.committed == SLOT_B, "V2: cut between record and sector");
	boot_once(&d);
	ok(d.all == SLOT_B && d.running == SLOT_NONE, "V2: A runs: sector repaired, reboot");
	ok(run_on(&d, 5), "V2: ends");
	done(&d, SLOT_B, "V2");
	ok_int(d.record.repairs, 0, "V2: repairs forgotten at settle");
}

/* V3: B committed, A half written, sector lost: bf-init repairs before the risky part. */
static void test_v3_wrong_slot(void)
{
	struct device d = new_device(SLOT_B);

	d.content[SLOT_A] = CONTENT_INIT;
	d.proven[SLOT_A] = false;
	d.record.state[SLOT_A] = STATE_BAD;
	d.record.proven[SLOT_A] = PROVEN_NO;
	d.all = SLOT_NONE;
	ok(run_on(&d, 5), "V3: ends");
	done(&d, SLOT_B, "V3");
	ok_int(d.boots, 2, "V3: after one boot of A");
	ok_int(d.sector_writes, 1, "V3: one sector write");

	/* cuts between sector and counter, again and again, use nothing up */
	d = new_device(SLOT_B);
	for (int i = 0; i < 10; i++) {
		d.all = SLOT_NONE;
		d.cut_at = 1;
		boot_once(&d);
		ok(d.all == SLOT_B && d.record.repairs == 0, "V3: cut %d after the sector", i);
	}
	ok(run_on(&d, 5), "V3: ends after ten cuts");
	done(&d, SLOT_B, "V3, ten cuts");
}

/* A sector that does not stay, or a firmware that does not obey: two reboots, then it runs. */
static void test_v3_repair_in_vain(void)
{
	struct device d = new_device(SLOT_B);

	for (int i = 0; i < 2; i++) {
		d.all = SLOT_NONE;
		boot_once(&d);
		ok_int(d.running, SLOT_NONE, "repair %d: reboot", i);
	}
	d.all = SLOT_NONE;
	boot_once(&d);
	ok(d.running == SLOT_A && d.decision.limbo, "the third time A runs, in limbo");
	ok_int(d.decision.reason, REASON_WRONG_SLOT, "and says why");
	ok(!install(&d, CONTENT_GOOD, "a1"), "no install there");
	ok(run_on(&d, 5), "reconcile makes the file anew: ends");
	done(&d, SLOT_B, "a sector that did not stay");

	d = new_device(SLOT_B);
	d.content[SLOT_B] = CONTENT_EMPTY;
	ok(boot_up(&d, 5), "committed slot without a boot filesystem: the other one runs");
	ok(d.running == SLOT_A && d.decision.limbo && d.boots == 3, "in limbo, after two reboots");
	ok(guard_step(&d) && d.running == SLOT_NONE, "reconcile reboots once more");
	ok(boot_up(&d, 1) && in_trial(&d), "then A is tried, by its own word");
	ok(run_on(&d, 5), "committed slot without a boot filesystem: ends");
	done(&d, SLOT_A, "committed slot without a boot filesystem");
	ok(install(&d, CONTENT_GOOD, "b1"), "and the lost slot is written again");
}

/* autoboot.txt is gone, or a text that cannot be written in place: A runs, B is committed. */
static void test_limbo(void)
{
	struct device d = new_device(SLOT_B);

	d.gone = true;
	ok(run_on(&d, 5), "gone: ends");
	done(&d, SLOT_B, "gone");
	ok_int(d.boots, 2, "gone: one reboot");
	ok(!d.gone, "gone: made again, in the committed slot");

	d = new_device(SLOT_B);
	d.gone = true;
	d.content[SLOT_A] = CONTENT_INIT;
	ok(run_on(&d, 5), "gone, the wrong slot is corrupt: ends");
	done(&d, SLOT_B, "gone, the wrong slot is corrupt");

	d = new_device(SLOT_B);
	d.gone = d.deaf = true;
	ok(run_on(&d, 5), "a firmware that takes no number: ends");
	done(&d, SLOT_B, "a firmware that takes no number");
	ok_int(d.boots, 4, "a firmware that takes no number: two in vain, one that helps");
}

/* What the firmware can start is bad: some trials of its own, then it stays up. */
static void test_limbo_bounded(void)
{
	struct device d = new_device(SLOT_B);
	unsigned trials = 0;

	d.content[SLOT_B] = CONTENT_EMPTY;
	d.content[SLOT_A] = CONTENT_KIOSK;
	for (int i = 0; i < 20 && (d.running == SLOT_NONE || guard_step(&d)); i++) {
		if (d.running == SLOT_NONE)
			boot_once(&d);
		trials += d.running != SLOT_NONE && in_trial(&d);
	}
	ok_int(trials, RULES_REPAIRS_MAX - RULES_REPAIRS_REBOOT_MAX, "three trials of its own");
	ok(d.running == SLOT_A && d.decision.limbo, "then it stays up");
	ok_str(d.violation ? d.violation : "", "", "bounded: no violation");
}

/* V4: flag set, autoboot.txt lost: not a trial. */
static void test_v4_flag_without_sector(void)
{
	struct device d = new_device(SLOT_B);

	boot_up(&d, 1);
	install(&d, CONTENT_GOOD, "a1");
	guard_try(&d);
	d.all = SLOT_NONE;
	boot_once(&d);
	ok(d.record.trials == 0 && d.all == SLOT_B, "V4: A ran by accident: repaired, no trial");
	ok(run_on(&d, 8), "V4: ends");
	done(&d, SLOT_A, "V4, tried and committed after that");
}

/* V5: a reason left by the committed slot is not the trial's. */
static void test_v5_reason_of_another(void)
{
	struct device d = new_device(SLOT_A);

	boot_up(&d, 1);
	install(&d, CONTENT_GOOD, "b1");
	dark_end(&d);
	d.content[SLOT_A] = CONTENT_INIT;
	boot_once(&d);
	ok_int(d.record.last.phase, PHASE_FAILED, "V5: A's own bf-init failed");
	d.content[SLOT_A] = CONTENT_GOOD;
	ok(run_on(&d, 8), "V5: ends");
	done(&d, SLOT_B, "V5, the update was tried");
	ok(!record_is_refused(&d.record, "b1"), "V5: nothing refused");
}

/* V6, V7: attempts are counted durably; lost ones give an update up, but do not make it bad. */
static void test_v7_never_ran(void)
{
	struct device d = new_device(SLOT_A);

	boot_up(&d, 1);
	install(&d, CONTENT_GOOD, "b1");
	for (int i = 0; i < RULES_ATTEMPTS_MAX; i++) {
		guard_try(&d);
		d.flag = false;
		boot_up(&d, 1);
		ok_int(d.running, SLOT_A, "V7: flag lost, attempt %d", i + 1);
	}
	ok_int(d.record.staged, SLOT_NONE, "V7: given up");
	ok_int(d.record.state[SLOT_B], STATE_UNKNOWN, "V7: not bad");
	ok(record_is_refused(&d.record, "b1"), "V7: not installed again by itself");
	ok_str(d.record.history[0].reason, "trial-never-ran", "V7: and why");
	ok(run_on(&d, 3), "V7: ends");
	done(&d, SLOT_A, "V7");
}

/* Every trial comes up and is ended on purpose: it did run, and nothing was decided. */
static void test_v7_never_decided(void)
{
	struct device d = new_device(SLOT_A);

	boot_up(&d, 1);
	install(&d, CONTENT_GOOD, "b1");
	for (int i = 0; i < RULES_ATTEMPTS_MAX; i++) {
		guard_try(&d);
		boot_up(&d, 1);
		ok(in_trial(&d), "V7: trial %d runs", i + 1);
		clean_end(&d);
		boot_up(&d, 1);
	}
	ok_int(d.record.staged, SLOT_NONE, "V7: undecided: given up");
	ok_int(d.record.state[SLOT_B], STATE_UNKNOWN, "V7: undecided: not bad");
	ok_str(d.record.history[0].reason, "trial-undecided", "V7: undecided: and why");
	ok_str(d.violation ? d.violation : "", "", "V7: undecided: no violation");
}

/* V7: with DT count a kernel that dies before bf-init is told from a lost flag. */
static void test_v7_died_before_init(void)
{
	struct device d = new_device(SLOT_A);

	d.has_count = true;
	boot_up(&d, 1);
	install(&d, CONTENT_PRE, "b1");
	ok(run_on(&d, 20), "V7: ends");
	done(&d, SLOT_A, "V7, count");
	ok_int(d.record.state[SLOT_B], STATE_BAD, "V7: bad after three");
	ok(d.boots <= 8, "V7: three trials, %u boots", d.boots);

	d = new_device(SLOT_A);
	boot_up(&d, 1);
	install(&d, CONTENT_PRE, "b1");
	ok(run_on(&d, 20), "V7: without count ends");
	done(&d, SLOT_A, "V7, no count");
	ok_int(d.record.state[SLOT_B], STATE_UNKNOWN, "V7: without count: given up, not bad");
}

/* V8: a fallback that fails leaves no dead end: an install is still possible. */
static void test_v8_both_fail(void)
{
	struct device d = new_device(SLOT_A);

	d.content[SLOT_A] = d.content[SLOT_B] = CONTENT_INIT;
	for (int i = 0; i < 40; i++)
		boot_once(&d);
	ok(d.record.state[SLOT_A] != STATE_BAD && d.record.state[SLOT_B] != STATE_BAD,
	   "V8: no slot is called bad");
	ok_str(d.violation ? d.violation : "", "", "V8: no violation");
	d.content[SLOT_A] = CONTENT_KIOSK;
	ok(boot_up(&d, 200), "V8: A comes up at last");
	ok(install(&d, CONTENT_GOOD, "b1"), "V8: a device on its last resort takes an update");
	ok(run_on(&d, 10), "V8: ends");
	done(&d, SLOT_B, "V8");
}

/* V9: a slot that dies after it was confirmed is counted as well. */
static void test_v9_dies_after_confirm(void)
{
	for (int has_count = 0; has_count < 2; has_count++) {
		struct device d = new_device(SLOT_A);
		unsigned boots = 0;

		d.has_count = has_count;
		for (boots = 0; boots < 30 && d.record.staged == SLOT_NONE; boots++) {
			boot_up(&d, 1);
			if (d.running == SLOT_A) {
				guard_confirm(&d);
				dark_end(&d);
			}
		}
		ok_int(d.record.staged, SLOT_B, "V9: left after %u boots", boots);
		ok(run_on(&d, 5), "V9: ends");
		done(&d, SLOT_B, "V9");
	}
}

/* V10: a trial that reboots by itself is not dark, but attempts bound it. */
static void test_v10_reboots_itself(void)
{
	struct device d = new_device(SLOT_A);
	unsigned trials = 0;

	boot_up(&d, 1);
	install(&d, CONTENT_GOOD, "b1");
	for (int i = 0; i < 20 && d.record.staged != SLOT_NONE; i++) {
		guard_try(&d);
		boot_up(&d, 1);
		trials += in_trial(&d);
		clean_end(&d);
		boot_up(&d, 1);
	}
	ok_int(trials, RULES_ATTEMPTS_MAX, "V10: six trials");
	ok_int(d.record.state[SLOT_B], STATE_UNKNOWN, "V10: given up, not bad");

	/* and a committed slot that does so is left, too */
	d = new_device(SLOT_A);
	for (int i = 0; i < 40 && d.record.staged == SLOT_NONE; i++) {
		boot_up(&d, 1);
		d.record.last.phase = PHASE_STARTED;
		clean_end(&d);
	}
	ok_int(d.record.staged, SLOT_B, "V10: the committed slot as well");
	ok_int(d.record.soft, RULES_SOFT_MAX, "V10: by the soft limit");
}

/* V11: A fails before user space, B's fallback trial too: resolved, and no endless A -> B -> A. */
static void test_v11_resolved_by_init(void)
{
	struct device d = new_device(SLOT_A);
	unsigned trials = 0, slow = 0;

	d.content[SLOT_A] = CONTENT_INIT;
	d.content[SLOT_B] = CONTENT_DARK;
	for (int i = 0; i < 60; i++) {
		boot_once(&d);
		trials += d.decision.next == NEXT_BOOT_TRIAL;
		slow += d.delay_sec > 0;
	}
	ok(trials >= 3 && trials <= 9, "V11: %u trials in 60 boots", trials);
	ok_int(d.record.doublings, 2, "V11: retries grow apart");
	ok(slow > 20, "V11: and reboots slow down (%u)", slow);
	ok_str(d.violation ? d.violation : "", "", "V11: no violation");
}

/* V12: the record was lost (other slot: unknown), A fails for ever beside a good B. */
static void test_v12_unknown_other(void)
{
	struct device d = new_device(SLOT_A);

	d.lost = true;
	boot_up(&d, 1);
	ok_int(d.record.state[SLOT_B], STATE_UNKNOWN, "V12: nothing is known about B");
	dark_end(&d);
	d.content[SLOT_A] = CONTENT_INIT;
	ok(run_on(&d, 20), "V12: ends");
	done(&d, SLOT_B, "V12");
	ok_int(d.boots, 1 + RULES_RETRY_HARD_BASE + 2, "V12: at ten failures");
}

/* V17: a staged, untried update is the rescue of a failing slot. */
static void test_v17_staged_first(void)
{
	struct device d = new_device(SLOT_A);

	boot_up(&d, 1);
	install(&d, CONTENT_GOOD, "b1");
	dark_end(&d);
	d.content[SLOT_A] = CONTENT_INIT;
	ok(run_on(&d, 12), "V17: ends");
	done(&d, SLOT_B, "V17");
}

/* V18: nothing can be written: no counting, no reboot; a slot that cannot start sends to the other.
 */
static void test_v18_read_only(void)
{
	struct device d = new_device(SLOT_A);

	d.read_only = true;
	d.record.hard = 100;
	ok(run_on(&d, 2), "V18: read-only: boots");
	ok(d.running == SLOT_A && d.record_writes == 0,
	   "V18: what is committed, whatever was counted");

	for (int mode = 0; mode < 3; mode++) {
		d = new_device(SLOT_A);
		d.content[SLOT_A] = CONTENT_INIT;
		d.read_only = mode == 0;
		d.no_data = mode == 1;
		d.write_fails = mode == 2;
		ok(run_on(&d, 4), "V18: mode %d: ends", mode);
		ok(d.running == SLOT_B && in_trial(&d) && !d.decision.committable,
		   "V18: mode %d: B runs, not to be committed", mode);
		ok(d.all == SLOT_A && d.record_writes == 0, "V18: mode %d: nothing written", mode);
	}
}

/* V19: a reboot argument left behind; a lost record. */
static void test_v19_stale_flag(void)
{
	struct device d = new_device(SLOT_A);

	d.flag = true;
	boot_once(&d);
	ok(d.running == SLOT_NONE && !d.flag && d.record.trials == 0 && d.sector_writes == 0,
	   "V19: not staged: reboot, and no trial is counted");
	ok(run_on(&d, 4), "V19: ends");
	done(&d, SLOT_A, "V19");

	d = new_device(SLOT_A);
	boot_up(&d, 1);
	install(&d, CONTENT_GOOD, "b1");
	guard_try(&d);
	d.lost = true;
	ok(boot_up(&d, 1), "V19: record lost on the way into a trial");
	ok(in_trial(&d) && d.decision.committable && d.record.staged == SLOT_B &&
		   d.record.committed == SLOT_A,
	   "V19: taken as one");
	ok(run_on(&d, 4), "V19: ends");
	done(&d, SLOT_B, "V19, record lost");
}

/* A20: a person at the switch is not a failing slot; a crash is. */
static void test_a20_power_cycles(void)
{
	struct device d = new_device(SLOT_A);

	for (int i = 0; i < RULES_SOFT_MAX - 1; i++) {
		boot_up(&d, 1);
		power_off(&d);
	}
	ok_int(d.record.staged, SLOT_NONE, "A20: fourteen power cycles and no fallback");
	boot_up(&d, 1);
	guard_confirm(&d);
	guard_settle(&d);
	power_off(&d);
	boot_up(&d, 1);
	ok_int(d.record.soft, 0, "A20: forgotten once it settled");

	d = new_device(SLOT_A);
	d.has_count = true;
	d.content[SLOT_A] = CONTENT_DARK;
	ok(run_on(&d, 10), "A20: five crashes that the count tells");
	done(&d, SLOT_B, "A20, count");
	ok_int(d.record.soft, 0, "A20: none of them soft");
}

/* A21: what a trial came to is in the history, also when the trial wrote nothing. */
static void test_a21_history(void)
{
	struct device d = new_device(SLOT_A);
	enum history_event want[] = { HISTORY_REJECTED, HISTORY_TRIAL, HISTORY_TRIAL,
				      HISTORY_TRIAL };

	boot_up(&d, 1);
	install(&d, CONTENT_DARK, "b1");
	ok(run_on(&d, 12), "A21: ends");
	done(&d, SLOT_A, "A21");
	for (size_t i = 0; i < ARRAY_SIZE(want); i++)
		ok_int(d.record.history[i].event, want[i], "A21: history %zu", i);
	ok_str(d.record.history[0].reason, "trial-dark", "A21: and why");
}

/* The figures that are promised: writes of an ordinary boot. */
static void test_figures(void)
{
	struct device d = new_device(SLOT_A);

	boot_up(&d, 1);
	ok(d.record_writes == 1 && d.sector_writes == 0, "one record write in a boot, no sector");
	guard_confirm(&d);
	ok(d.record_writes == 2 && d.sector_writes == 0, "two with the confirmation");
	guard_settle(&d);
	install(&d, CONTENT_GOOD, "b1");
	ok(run_on(&d, 4), "an update");
	ok_int(d.sector_writes, 1, "one sector write for an update");
}

/* ---- a power cut at every write of every story --------------------------- */

static void story_update(struct device *d)
{
	boot_up(d, 1);
	(void)install(d, d->content[SLOT_B], "b1");
	if (d->running != SLOT_NONE)
		(void)run_on(d, 40);
}

static void begin_update(struct device *d, enum content content)
{
	d->content[SLOT_B] = content;
}

static void begin_good(struct device *d)
{
	begin_update(d, CONTENT_GOOD);
}

static void begin_init(struct device *d)
{
	begin_update(d, CONTENT_INIT);
}

static void begin_dark(struct device *d)
{
	begin_update(d, CONTENT_DARK);
}

static void begin_pre(struct device *d)
{
	begin_update(d, CONTENT_PRE);
}

static void begin_kiosk(struct device *d)
{
	begin_update(d, CONTENT_KIOSK);
}

static void begin_sector_lost(struct device *d)
{
	*d = new_device(SLOT_B);
	d->all = SLOT_NONE;
}

static void begin_record_lost(struct device *d)
{
	d->lost = true;
}

static void begin_committed_fails(struct device *d)
{
	d->content[SLOT_A] = CONTENT_INIT;
}

static void begin_committed_dark(struct device *d)
{
	d->content[SLOT_A] = CONTENT_DARK;
}

static void begin_sector_lost_and_fails(struct device *d)
{
	*d = new_device(SLOT_B);
	d->all = SLOT_NONE;
	d->content[SLOT_B] = CONTENT_INIT;
}

static void begin_file_lost(struct device *d)
{
	*d = new_device(SLOT_B);
	d->gone = true;
}

static void begin_file_lost_and_corrupt(struct device *d)
{
	begin_file_lost(d);
	d->content[SLOT_A] = CONTENT_INIT;
}

static void begin_file_lost_and_deaf(struct device *d)
{
	begin_file_lost(d);
	d->deaf = true;
}

static void begin_boot_lost(struct device *d)
{
	*d = new_device(SLOT_B);
	d->content[SLOT_B] = CONTENT_EMPTY;
}

static void begin_edited(struct device *d)
{
	d->all = SLOT_B;
}

static void story_run(struct device *d)
{
	(void)run_on(d, 40);
}

static const struct story {
	const char *name;
	void (*begin)(struct device *d);
	void (*tell)(struct device *d);
} stories[] = {
	{ "good update", begin_good, story_update },
	{ "update whose root is corrupt", begin_init, story_update },
	{ "update that hangs", begin_dark, story_update },
	{ "update that does not start", begin_pre, story_update },
	{ "update whose kiosk fails", begin_kiosk, story_update },
	{ "sector lost", begin_sector_lost, story_run },
	{ "record lost", begin_record_lost, story_run },
	{ "committed slot corrupt", begin_committed_fails, story_run },
	{ "committed slot hangs", begin_committed_dark, story_run },
	{ "sector lost, committed slot corrupt", begin_sector_lost_and_fails, story_run },
	{ "sector edited by hand", begin_edited, story_run },
	{ "autoboot.txt deleted", begin_file_lost, story_run },
	{ "autoboot.txt deleted, wrong slot corrupt", begin_file_lost_and_corrupt, story_run },
	{ "autoboot.txt deleted, no number", begin_file_lost_and_deaf, story_run },
	{ "committed slot's boot filesystem lost", begin_boot_lost, story_run },
};

/* After the cut nothing more goes wrong: a good slot runs, is committed, and autoboot.txt says so.
 */
static bool recovers(struct device *d, const char *name, unsigned k)
{
	bool ended, good;

	d->cut_at = 0;
	if (d->off)
		power_off(d);
	ended = run_on(d, 40);
	good = ended && d->running != SLOT_NONE && d->content[d->running] == CONTENT_GOOD &&
	       d->record.committed == d->running && d->all == d->running && !d->violation;
	if (!good)
		printf("# %s, cut at write %u: ended %d, running %s, committed %s, sector %s, %s\n",
		       name, k, ended, slot_name(d->running), slot_name(d->record.committed),
		       slot_name(d->all), d->violation ? d->violation : "");
	return good;
}

static void test_cut_everywhere(void)
{
	unsigned points = 0, bad = 0;

	for (size_t i = 0; i < ARRAY_SIZE(stories); i++)
		for (int variant = 0; variant < 4; variant++)
			for (unsigned k = 1;; k++) {
				struct device d = new_device(SLOT_A);

				stories[i].begin(&d);
				d.has_count = variant & 1;
				d.torn = variant & 2;
				d.cut_at = k;
				stories[i].tell(&d);
				if (d.cut_at) /* fewer writes than that */
					break;
				points++;
				bad += !recovers(&d, stories[i].name, k);
			}
	ok_int(bad, 0, "a power cut after each of %u writes", points);
	ok(points > 200, "enough cuts");
}

/* ---- a long random life -------------------------------------------------- */

static uint32_t random_state = 1;

static unsigned random_below(unsigned n)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % n;
}

static void random_event(struct device *d)
{
	static const enum content contents[] = { CONTENT_GOOD, CONTENT_GOOD, CONTENT_PRE,
						 CONTENT_INIT, CONTENT_DARK, CONTENT_KIOSK };
	char hash[8];

	d->cut_at = random_below(4) == 0 ? 1 + random_below(3) : 0;
	d->torn = random_below(2);
	switch (random_below(12)) {
	case 0:
		power_off(d);
		break;
	case 1:
		if (d->running != SLOT_NONE) {
			(void)snprintf(hash, sizeof(hash), "%x", random_below(0xffff) + 1);
			(void)install(d, contents[random_below(ARRAY_SIZE(contents))], hash);
		}
		break;
	case 2:
		d->flag = false;
		break;
	case 3: /* not beside a slot that dies before bf-init: no code of ours would run (boot slot
		   A) */
		if (d->content[SLOT_A] != CONTENT_PRE && !d->lost)
			d->all = SLOT_NONE;
		break;
	case 4: /* not beside a lost sector: nothing would know what was committed */
		if (d->running == SLOT_NONE && d->all == d->record.committed &&
		    random_below(4) == 0)
			d->lost = true;
		break;
	case 5:
		d->read_only = random_below(4) == 0;
		break;
	case 6:
		(void)clean_end(d);
		break;
	case 7:
		if (d->running != SLOT_NONE)
			dark_end(d);
		break;
	default:
		if (d->running == SLOT_NONE)
			boot_once(d);
		else
			(void)guard_step(d);
		break;
	}
	d->cut_at = 0;
	if (d->off)
		power_off(d);
}

/* I1, I5: from here on nothing goes wrong any more. */
static bool lives(const struct device *now)
{
	struct device d = *now;

	d.read_only = false;
	d.violation = NULL;
	if (d.content[SLOT_A] != CONTENT_GOOD && d.content[SLOT_B] != CONTENT_GOOD)
		return true;
	if (!run_on(&d, 80))
		return false;
	return d.running != SLOT_NONE && !d.violation;
}

static void test_random_life(void)
{
	struct device d = new_device(SLOT_A);
	unsigned dead = 0, violations = 0, lives_lived = 0;

	for (unsigned step = 0; step < 30000; step++) {
		struct device before = d;

		random_event(&d);
		if (d.violation) {
			if (!violations++)
				printf("# step %u: %s\n", step, d.violation);
			d = new_device(random_below(2) ? SLOT_A : SLOT_B);
		}
		if (step % 16 == 0 && !lives(&d)) {
			if (!dead++)
				printf("# step %u: contents %d %d, committed %s (was %s), sector "
				       "%s\n",
				       step, d.content[0], d.content[1],
				       slot_name(d.record.committed),
				       slot_name(before.record.committed), slot_name(d.all));
			d = new_device(SLOT_A);
		}
		/* a new device, so that all contents come again */
		if (step % 500 == 0) {
			d = new_device(random_below(2) ? SLOT_A : SLOT_B);
			d.has_count = random_below(2);
			lives_lived++;
		}
	}
	ok_int(violations, 0, "no violation in %u lives", lives_lived);
	ok_int(dead, 0, "and always a way on");
}

/* What a later version calls a phase counts for nothing, and for nothing wrong either. */
static void test_later_phase(void)
{
	struct boot_facts f = {
		.running = SLOT_A,
		.selector = SELECTOR_VALID,
		.selector_committed = SLOT_A,
		.record_readable = true,
		.writable = true,
	};
	struct boot_decision d;

	record_init(&f.record, SLOT_A);
	f.record.last.slot = SLOT_A;
	f.record.last.phase = PHASE_OTHER;
	rules_bf_init(&f, &d);
	ok_int(d.next, NEXT_BOOT, "a phase of a later version: boots");
	ok(d.record.hard == 0 && d.record.soft == 0, "a phase of a later version: not counted");
}

int main(void)
{
	test_identify();
	test_later_phase();
	test_rows("bf-init", CALL_INIT, init_rows, ARRAY_SIZE(init_rows));
	test_rows("fails", CALL_AFTER, after_rows, ARRAY_SIZE(after_rows));
	test_rows("fails, unwritten", CALL_UNWRITTEN, unwritten_rows, ARRAY_SIZE(unwritten_rows));
	test_rows("fails early", CALL_FAILED, failed_rows, ARRAY_SIZE(failed_rows));
	test_history_time();
	test_v2_commit_cut();
	test_v3_wrong_slot();
	test_v3_repair_in_vain();
	test_limbo();
	test_limbo_bounded();
	test_v4_flag_without_sector();
	test_v5_reason_of_another();
	test_v7_never_ran();
	test_v7_never_decided();
	test_v7_died_before_init();
	test_v8_both_fail();
	test_v9_dies_after_confirm();
	test_v10_reboots_itself();
	test_v11_resolved_by_init();
	test_v12_unknown_other();
	test_v17_staged_first();
	test_v18_read_only();
	test_v19_stale_flag();
	test_a20_power_cycles();
	test_a21_history();
	test_figures();
	test_cut_everywhere();
	test_random_life();
	return tap_done();
}
