// SPDX-License-Identifier: MIT
#include "tests/lib/requests-text.h"
#include "tests/lib/tap.h"

#define ID "0123456789abcdef0123456789abcdef"

/*
 * .question: see requests-text.h; the committed slot A runs, with both slots
 * good and proven, where it says nothing. .want: all that differs from "not
 * refused, no steps, go on, the record as it was": a row also says what must not change.
 */
struct row {
	const char *name, *question, *want;
};

#define USUAL                                                                                      \
	"boot_id=" ID " now=1000 state.A=good proven.A=yes hash.A=aa11 state.B=good proven.B=yes " \
	"hash.B=bb22 last.slot=A last.phase=started last.boot_id=" ID " "
#define LAST_A(phase) " last.slot=A last.phase=" phase " last.boot_id=" ID
#define LAST_B(phase) " last.slot=B last.phase=" phase " last.boot_id=" ID

/* B on trial, as bf-init left it */
#define STAGED_B "staged=B hash.B=bb22 state.B=unknown proven.B=no "
#define TRIAL_B                                                                                    \
	"running=B validated=1 committable=1 attempts=1 trials=1" LAST_B("trial") " " STAGED_B
#define FALLBACK_B                                                                                 \
	"running=B validated=1 committable=1 attempts=1 trials=1" LAST_B("trial") " staged=B "     \
										  "kind=fallback "
#define UNSTAGED     " staged=- kind=update attempts=0 trials=0 trial_reason=-"
#define REJECTED_B   UNSTAGED " state.B=bad proven.B=no refused=bb22"
#define NO_COUNTS    " hard=0 soft=0 ladder=0 repairs=0"
#define COUNTED	     "hard=4 soft=9 ladder=1 repairs=1 "
#define REFUSED(why) "refusal=" why
#define ATTEMPT(n)   " attempts=" n LAST_A("attempt")
#define AGAIN(n)     "steps=FW sector=A next=reboot repairs=" n " history=repaired:A:wrong-slot"
#define TO_TRIAL     "steps=WC next=reboot-trial"
#define LEAVE(why)                                                                                 \
	TO_TRIAL ATTEMPT("1") " staged=B kind=fallback trials=0 trial_reason=- "                   \
			      "history=fallback:A:" why

static const struct row rows[] = {
	/* set-state X bad, of the slot that does not run: RAUC is about to write it */
	{ "bad: the other one", "request=set-bad arg.slot=B", "steps=-W state.B=bad proven.B=no" },
	{ "bad: sector first", "request=set-bad arg.slot=B selector=invalid",
	  "steps=S-W sector=A state.B=bad proven.B=no" },
	{ "bad: sector names it", "request=set-bad arg.slot=B selector=B",
	  "steps=S-W sector=A state.B=bad proven.B=no" },
	{ "bad: sector gone", "request=set-bad arg.slot=B selector=gone",
	  "steps=S-W sector=A state.B=bad proven.B=no" },
	{ "bad: it was staged", "request=set-bad arg.slot=B armed=1 attempts=2 " STAGED_B,
	  "steps=-W state.B=bad proven.B=no" UNSTAGED },
	{ "bad: both would be", "request=set-bad arg.slot=B state.A=bad",
	  "steps=-W state.A=unknown state.B=bad proven.B=no" },
	{ "bad: it is already", "request=set-bad arg.slot=B state.B=bad proven.B=no", "steps=-" },
	{ "bad: only fallback", "request=set-bad arg.slot=B probation=1", REFUSED("PROBATION") },
	{ "bad: only fallback, staying", "request=set-bad arg.slot=B probation=1 staying=1",
	  "steps=-W state.B=bad proven.B=no" },
	{ "bad: only fallback, forced", "request=set-bad arg.slot=B probation=1 arg.force=1",
	  "steps=-W state.B=bad proven.B=no" },
	{ "bad: in probation, but it was no fallback anyway",
	  "request=set-bad arg.slot=B probation=1 state.B=unknown",
	  "steps=-W state.B=bad proven.B=no" },
	{ "bad: a trial runs", "request=set-bad arg.slot=A " TRIAL_B, REFUSED("TRIAL_RUNS") },
	{ "bad: a trial runs, forced", "request=set-bad arg.slot=A arg.force=1 " TRIAL_B,
	  REFUSED("TRIAL_RUNS") },
	{ "bad: the committed one, from a wrong slot", "request=set-bad arg.slot=A running=B",
	  REFUSED("NOT_COMMITTED") },
	{ "bad: in limbo", "request=set-bad arg.slot=A running=B limbo=1",
	  REFUSED("NOT_COMMITTED") },
	{ "bad: slots disagree", "request=set-bad arg.slot=B mismatch=1", REFUSED("MISMATCH") },
	{ "bad: read-only", "request=set-bad arg.slot=B writable=0", REFUSED("DEGRADED") },
	{ "bad: newer record", "request=set-bad arg.slot=B record=future", REFUSED("FUTURE") },
	{ "bad: no slot", "request=set-bad arg.slot=-", REFUSED("SLOT") },
	{ "bad: nothing known", "request=set-bad arg.slot=B running=-", REFUSED("UNKNOWN_SLOT") },
	/* of the slot that runs */
	{ "bad: the committed one", "request=set-bad arg.slot=A", REFUSED("COMMITTED") },
	{ "bad: the committed one, forced", "request=set-bad arg.slot=A arg.force=1",
	  REFUSED("COMMITTED") },
	{ "bad: the trial", "request=set-bad arg.slot=B " TRIAL_B,
	  "steps=-W history=rejected:B:trial-rejected" REJECTED_B },
	{ "bad: the trial, why", "request=set-bad arg.slot=B arg.reason=kiosk-failing " TRIAL_B,
	  "steps=-W history=rejected:B:kiosk-failing" REJECTED_B },
	{ "bad: the trial, a fallback", "request=set-bad arg.slot=B " FALLBACK_B,
	  "steps=-W history=given-up:B:trial-rejected state.B=unknown" UNSTAGED },
	{ "bad: the trial, read-only", "request=set-bad arg.slot=B writable=0 " TRIAL_B,
	  REFUSED("DEGRADED") },
	{ "bad: the trial, again",
	  "request=set-bad arg.slot=B running=B validated=1 committable=1 state.B=bad proven.B=no",
	  "" },
	{ "bad: a slot nobody chose", "request=set-bad arg.slot=B running=B",
	  REFUSED("NOT_COMMITTED") },

	/* set-state X good: a commit */
	{ "good: the trial", "request=set-good arg.slot=B " COUNTED TRIAL_B,
	  "steps=WS- sector=B committed=B state.B=good proven.B=yes probation=1 "
	  "history=committed:B:-" LAST_B("confirmed") UNSTAGED NO_COUNTS },
	{ "good: the trial, sector edited", "request=set-good arg.slot=B selector=B " TRIAL_B,
	  "steps=W- committed=B state.B=good proven.B=yes probation=1 "
	  "history=committed:B:-" LAST_B("confirmed") UNSTAGED },
	{ "good: the trial, sector lost", "request=set-good arg.slot=B selector=invalid " TRIAL_B,
	  "steps=WS- sector=B committed=B state.B=good proven.B=yes probation=1 "
	  "history=committed:B:-" LAST_B("confirmed") UNSTAGED },
	{ "good: a fallback", "request=set-good arg.slot=B " FALLBACK_B,
	  "steps=WS- sector=B committed=B state.A=unknown "
	  "history=committed:B:-" LAST_B("confirmed") UNSTAGED },
	{ "good: a fallback out of probation",
	  "request=set-good arg.slot=B probation=1 " FALLBACK_B,
	  "steps=WS- sector=B committed=B state.A=unknown probation=0 refused=aa11 "
	  "history=committed:B:-" LAST_B("confirmed") UNSTAGED },
	{ "good: the trial was not written down",
	  "request=set-good arg.slot=B " TRIAL_B "committable=0", REFUSED("NOT_COMMITTABLE") },
	{ "good: the trial, read-only", "request=set-good arg.slot=B writable=0 " TRIAL_B,
	  REFUSED("DEGRADED") },
	{ "good: the trial, limbo", "request=set-good arg.slot=B limbo=1 " TRIAL_B,
	  REFUSED("LIMBO") },
	{ "good: the trial, slots disagree", "request=set-good arg.slot=B mismatch=1 " TRIAL_B,
	  REFUSED("MISMATCH") },
	{ "good: the trial was rejected",
	  "request=set-good arg.slot=B running=B validated=1 committable=1 state.B=bad proven.B=no",
	  REFUSED("NOT_COMMITTED") },
	{ "good: record lost in a trial", "request=set-good arg.slot=B record=lost " TRIAL_B,
	  "steps=WS- sector=B committed=B staged=- state.B=good proven.B=yes probation=1 "
	  "history=committed:B:-,rebuilt:A:- last.reason=-" LAST_B("confirmed") },
	{ "good: record and sector lost in a trial",
	  "request=set-good arg.slot=B record=lost selector=invalid " TRIAL_B, REFUSED("LIMBO") },
	{ "good: of the other slot", "request=set-good arg.slot=B", REFUSED("NOT_RUNNING") },
	{ "good: of the other slot in a trial", "request=set-good arg.slot=A " TRIAL_B,
	  REFUSED("NOT_RUNNING") },
	{ "good: wrong slot", "request=set-good arg.slot=B running=B", REFUSED("NOT_COMMITTED") },
	{ "good: no slot", "request=set-good arg.slot=-", REFUSED("SLOT") },
	/* or a confirmation */
	{ "confirm", "request=set-good arg.slot=A soft=3", "steps=W" LAST_A("confirmed") },
	{ "confirm, count", "request=set-good arg.slot=A soft=3 count=2",
	  "steps=W soft=0 last.count=2" LAST_A("confirmed") },
	{ "confirm again", "request=set-good arg.slot=A" LAST_A("confirmed"), "" },
	{ "confirm what is settled", "request=set-good arg.slot=A" LAST_A("settled"), "" },
	{ "confirm an earlier boot's",
	  "request=set-good arg.slot=A" LAST_A("settled") " last.boot_id=ffffffffffffffffffff"
							  "ffffffffffff",
	  "steps=W" LAST_A("confirmed") },
	{ "confirm, sector", "request=set-good arg.slot=A selector=B" LAST_A("confirmed"),
	  "steps=S sector=A" },
	{ "confirm, both", "request=set-good arg.slot=A selector=invalid",
	  "steps=SW sector=A" LAST_A("confirmed") },
	{ "confirm what was unknown", "request=set-good arg.slot=A state.A=unknown proven.A=no",
	  "steps=W state.A=good proven.A=yes" LAST_A("confirmed") },
	{ "confirm, read-only", "request=set-good arg.slot=A writable=0", REFUSED("DEGRADED") },
	{ "confirm, slots disagree", "request=set-good arg.slot=A limbo=1 mismatch=1",
	  REFUSED("MISMATCH") },

	/* set-primary */
	{ "primary: staged", "request=set-primary arg.slot=B arg.hash=dd44 state.B=bad proven.B=no",
	  "steps=W+ staged=B hash.B=dd44 state.B=unknown history=staged:B:-" },
	{ "primary: sector first", "request=set-primary arg.slot=B arg.hash=dd44 selector=B",
	  "steps=SW+ sector=A staged=B hash.B=dd44 state.B=unknown history=staged:B:-" },
	{ "primary: hash unknown", "request=set-primary arg.slot=B",
	  "steps=W+ staged=B hash.B=- state.B=unknown history=staged:B:-" },
	{ "primary: hash is none", "request=set-primary arg.slot=B arg.hash=no-hash",
	  "steps=W+ staged=B hash.B=- state.B=unknown history=staged:B:-" },
	{ "primary: over a tried one",
	  "request=set-primary arg.slot=B arg.hash=dd44 attempts=5 trials=2 "
	  "trial_reason=mount " STAGED_B,
	  "steps=W+ attempts=0 trials=0 trial_reason=- hash.B=dd44 history=staged:B:-" },
	{ "primary: over a fallback",
	  "request=set-primary arg.slot=B arg.hash=dd44 staged=B kind=fallback attempts=1",
	  "steps=W+ kind=update attempts=0 state.B=unknown hash.B=dd44 history=staged:B:-" },
	{ "primary: again", "request=set-primary arg.slot=B arg.hash=bb22 " STAGED_B, "steps=+" },
	{ "primary: only fallback", "request=set-primary arg.slot=B probation=1",
	  REFUSED("PROBATION") },
	{ "primary: in a trial", "request=set-primary arg.slot=B " TRIAL_B, REFUSED("TRIAL_RUNS") },
	{ "primary: committed, in a trial", "request=set-primary arg.slot=A " TRIAL_B,
	  REFUSED("TRIAL_RUNS") },
	{ "primary: wrong slot runs", "request=set-primary arg.slot=B running=B limbo=1",
	  REFUSED("NOT_COMMITTED") },
	{ "primary: read-only", "request=set-primary arg.slot=B writable=0", REFUSED("DEGRADED") },
	{ "primary: slots disagree", "request=set-primary arg.slot=B mismatch=1",
	  REFUSED("MISMATCH") },
	{ "primary: no slot", "request=set-primary", REFUSED("SLOT") },
	{ "primary: the committed one", "request=set-primary arg.slot=A", "steps=-" },
	{ "primary: the committed one, staged",
	  "request=set-primary arg.slot=A attempts=1 " STAGED_B,
	  "steps=-W history=given-up:B:trial-cancelled" UNSTAGED },

	/* cancel */
	{ "cancel", "request=cancel armed=1 attempts=3 " STAGED_B,
	  "steps=-W history=given-up:B:trial-cancelled" UNSTAGED },
	{ "cancel nothing", "request=cancel", "steps=-" },
	{ "cancel in a trial", "request=cancel " TRIAL_B, REFUSED("TRIAL_RUNS") },
	{ "cancel, read-only", "request=cancel writable=0 " STAGED_B, REFUSED("DEGRADED") },

	/* try */
	{ "try", "request=try " STAGED_B, TO_TRIAL ATTEMPT("1") },
	{ "try: sector first", "request=try selector=gone " STAGED_B,
	  "steps=SWC sector=A next=reboot-trial" ATTEMPT("1") },
	{ "try: the last time", "request=try attempts=5 count=7 " STAGED_B,
	  TO_TRIAL ATTEMPT("6") " last.count=7" },
	{ "try: too often", "request=try attempts=6 " STAGED_B, REFUSED("ATTEMPTS") },
	{ "try: counted already", "request=try attempts=6 " STAGED_B LAST_A("attempt"),
	  "steps=C next=reboot-trial" },
	{ "try: counted in another boot",
	  "request=try attempts=6 " STAGED_B LAST_A("attempt") " last.boot_id=-",
	  REFUSED("ATTEMPTS") },
	{ "try nothing", "request=try", REFUSED("NOTHING_STAGED") },
	{ "try, read-only", "request=try writable=0 " STAGED_B, REFUSED("DEGRADED") },
	{ "try in a trial", "request=try " TRIAL_B, REFUSED("TRIAL_RUNS") },
	{ "try in limbo", "request=try limbo=1 running=B staged=B", REFUSED("NOT_COMMITTED") },
	{ "try, but not sure", "request=try limbo=1 " STAGED_B, REFUSED("LIMBO") },

	/* reconcile */
	{ "reconcile", "request=reconcile " STAGED_B, "steps=+" },
	{ "reconcile: armed", "request=reconcile armed=1 " STAGED_B, "" },
	{ "reconcile: nothing", "request=reconcile", "" },
	{ "reconcile: autoboot.txt is lost", "request=reconcile selector=gone",
	  "steps=S sector=A" },
	{ "reconcile: sector first", "request=reconcile selector=gone " STAGED_B,
	  "steps=S+ sector=A" },
	{ "reconcile: autoboot.txt and record lost", "request=reconcile selector=gone record=lost",
	  "" },
	{ "reconcile: not in a trial", "request=reconcile selector=gone " TRIAL_B, "" },
	{ "reconcile: left behind", "request=reconcile armed=1", "steps=-" },
	{ "reconcile: too often", "request=reconcile armed=1 attempts=6 " STAGED_B, "steps=-" },
	{ "reconcile: trial", "request=reconcile " TRIAL_B, "" },
	{ "reconcile: read-only", "request=reconcile writable=0 " STAGED_B, "" },
	{ "reconcile: limbo", "request=reconcile limbo=1 " STAGED_B, "" },
	{ "reconcile: edited, obeyed, not in place", "request=reconcile selector=A-file", "" },
	{ "reconcile: edited, not in place", "request=reconcile selector=B-file",
	  "steps=S sector=A" },
	{ "reconcile: obeyed, but it was read otherwise",
	  "request=reconcile selector=A-file repairs=1", "steps=F sector=A" },
	{ "reconcile: repaired, in place", "request=reconcile repairs=1", "" },
	{ "reconcile: wrong slot", "request=reconcile running=B limbo=1 selector=gone",
	  AGAIN("1") },
	{ "reconcile: wrong slot, sector right", "request=reconcile running=B limbo=1",
	  AGAIN("1") },
	{ "reconcile: wrong slot, the last time",
	  "request=reconcile running=B limbo=1 selector=B-file repairs=2", AGAIN("3") },
	{ "reconcile: wrong slot, too often",
	  "request=reconcile running=B limbo=1 selector=gone repairs=3", "steps=F sector=A" },
	{ "reconcile: wrong slot, too often, in place",
	  "request=reconcile running=B limbo=1 selector=B repairs=3", "steps=S sector=A" },
	{ "reconcile: wrong slot, all was done", "request=reconcile running=B limbo=1 repairs=3",
	  "" },
	{ "reconcile: wrong slot, read-only",
	  "request=reconcile running=B limbo=1 selector=gone writable=0", "steps=F sector=A" },
	{ "reconcile: wrong slot, record lost", "request=reconcile running=B limbo=1 record=lost",
	  "" },
	{ "reconcile: wrong slot, slots disagree",
	  "request=reconcile running=B limbo=1 mismatch=1 selector=gone", "" },
	{ "reconcile: trial, rejected since", "request=reconcile selector=gone " TRIAL_B "staged=-",
	  "" },

	/* the system goes down */
	{ "reboots: armed", "request=reboots armed=1 " STAGED_B, "steps=WC" ATTEMPT("1") },
	{ "reboots: armed, sector first", "request=reboots armed=1 selector=invalid " STAGED_B,
	  "steps=SWC sector=A" ATTEMPT("1") },
	{ "reboots: counted already",
	  "request=reboots armed=1 attempts=2 " STAGED_B LAST_A("attempt"), "steps=C" },
	{ "reboots: too often", "request=reboots armed=1 attempts=6 " STAGED_B,
	  "steps=-W" LAST_A("clean") },
	{ "reboots: not armed", "request=reboots " STAGED_B, "steps=W" LAST_A("clean") },
	{ "reboots: read-only", "request=reboots armed=1 writable=0 " STAGED_B, "steps=-" },
	{ "reboots: settled", "request=reboots" LAST_A("settled"), "" },
	{ "reboots: a trial", "request=reboots " TRIAL_B, "steps=W trials=0" LAST_B("clean") },
	{ "reboots: a trial, once more", "request=reboots " TRIAL_B "trials=2" LAST_B("clean"),
	  "" },
	{ "reboots: a trial that counted nothing", "request=reboots " TRIAL_B LAST_A("attempt"),
	  "steps=W" LAST_B("clean") },
	{ "reboots: a wrong slot", "request=reboots running=B limbo=1", "" },
	{ "halts: armed", "request=halts armed=1 " STAGED_B, "steps=-W" LAST_A("clean") },
	{ "halts: a trial", "request=halts " TRIAL_B, "steps=W trials=0" LAST_B("clean") },
	{ "halts: after try", "request=halts armed=1 attempts=1 " STAGED_B LAST_A("attempt"),
	  "steps=-" },

	/* reject */
	{ "reject", "request=reject " TRIAL_B,
	  "steps=-W next=reboot always=1 history=rejected:B:trial-rejected" REJECTED_B },
	{ "reject, why", "request=reject arg.reason=kiosk-failing " TRIAL_B,
	  "steps=-W next=reboot always=1 history=rejected:B:kiosk-failing" REJECTED_B },
	{ "reject a fallback", "request=reject " FALLBACK_B,
	  "steps=-W next=reboot always=1 history=given-up:B:trial-rejected "
	  "state.B=unknown" UNSTAGED },
	{ "reject, read-only", "request=reject writable=0 " TRIAL_B,
	  "steps=- next=reboot always=1" },
	{ "reject again", "request=reject running=B validated=1 committable=1 state.B=bad",
	  "steps=- next=reboot" },
	{ "reject the committed one", "request=reject", REFUSED("COMMITTED") },
	{ "reject a slot nobody chose", "request=reject running=B", REFUSED("NOT_COMMITTED") },
	{ "reject by force", "request=reject arg.force=1", LEAVE("left-by-hand") },
	{ "reject by force, staged", "request=reject arg.force=1 " STAGED_B,
	  TO_TRIAL ATTEMPT("1") },
	{ "reject by force, no other", "request=reject arg.force=1 proven.B=no",
	  REFUSED("NO_OTHER") },
	{ "reject by force, used up", "request=reject arg.force=1 attempts=6 " STAGED_B,
	  REFUSED("NO_OTHER") },
	{ "reject by force, read-only", "request=reject arg.force=1 writable=0",
	  REFUSED("DEGRADED") },

	/* healthy */
	{ "healthy", "request=healthy probation=1 arg.seconds=600", "steps=W healthy_sec=600" },
	{ "healthy again", "request=healthy healthy_sec=600 arg.seconds=600", "" },
	{ "healthy no more", "request=healthy healthy_sec=600 arg.seconds=0",
	  "steps=W healthy_sec=0" },
	{ "healthy for ever", "request=healthy arg.seconds=4294967295",
	  "steps=W healthy_sec=1000000" },
	{ "healthy: in a trial", "request=healthy arg.seconds=600 " TRIAL_B,
	  REFUSED("TRIAL_RUNS") },
	{ "healthy: read-only", "request=healthy arg.seconds=600 writable=0", REFUSED("DEGRADED") },
	{ "settle: healthy long enough", "request=settle healthy_sec=3300 probation=1",
	  "steps=W healthy_sec=0 probation=0" LAST_A("settled") },
	{ "kiosk: health is over", "request=kiosk-fails healthy_sec=3300",
	  "steps=-W next=reboot ladder=1 healthy_sec=0 "
	  "history=failed:A:kiosk-failing" LAST_A("clean") },

	/* settle */
	{ "settle", "request=settle probation=1 doublings=2 " COUNTED,
	  "steps=W probation=0 doublings=0" LAST_A("settled") NO_COUNTS },
	{ "settle again", "request=settle" LAST_A("settled"), "" },
	{ "settle, another boot's", "request=settle" LAST_A("settled") " last.boot_id=-",
	  "steps=W" LAST_A("settled") },
	{ "settle, going down", "request=settle" LAST_A("clean"), "" },
	{ "settle, the stamp failed", "request=settle" LAST_A("clean") " last.boot_id=-",
	  "steps=W" LAST_A("settled") },
	{ "settle, sector", "request=settle selector=B" LAST_A("settled"), "steps=S sector=A" },
	{ "settle in a trial", "request=settle " TRIAL_B, REFUSED("TRIAL_RUNS") },
	{ "settle, read-only", "request=settle writable=0", REFUSED("DEGRADED") },

	/* the kiosk fails */
	{ "kiosk", "request=kiosk-fails",
	  "steps=-W next=reboot ladder=1 history=failed:A:kiosk-failing" LAST_A("clean") },
	{ "kiosk: staged", "request=kiosk-fails " STAGED_B,
	  TO_TRIAL ATTEMPT("1") " ladder=1 history=failed:A:kiosk-failing" },
	{ "kiosk: staged, used up", "request=kiosk-fails attempts=6 " STAGED_B,
	  "steps=-W next=reboot ladder=1 history=failed:A:kiosk-failing" LAST_A("clean") },
	{ "kiosk: ladder at its end", "request=kiosk-fails ladder=2", LEAVE("kiosk-failing") },
	{ "kiosk: ladder, sector first", "request=kiosk-fails ladder=2 selector=gone",
	  "sector=A " LEAVE("kiosk-failing") " steps=SWC" },
	{ "kiosk: ladder, why", "request=kiosk-fails ladder=2 arg.reason=deadline",
	  LEAVE("deadline") },
	{ "kiosk: ladder, staged", "request=kiosk-fails ladder=2 " STAGED_B,
	  TO_TRIAL ATTEMPT("1") },
	{ "kiosk: ladder, staged, used up", "request=kiosk-fails ladder=2 attempts=6 " STAGED_B,
	  "steps=-W state.B=unknown refused=bb22 history=given-up:B:trial-never-ran" UNSTAGED },
	{ "kiosk: ladder, no other", "request=kiosk-fails ladder=2 state.B=unknown", "" },
	{ "kiosk: in a trial", "request=kiosk-fails " TRIAL_B, REFUSED("TRIAL_RUNS") },
	{ "kiosk: read-only", "request=kiosk-fails writable=0", REFUSED("DEGRADED") },
	{ "kiosk: limbo", "request=kiosk-fails running=B limbo=1", REFUSED("NOT_COMMITTED") },

	/* the growing interval is over */
	{ "retry", "request=retry-other state.B=unknown", "doublings=1 " LEAVE("kiosk-failing") },
	{ "retry: doublings end", "request=retry-other doublings=10", LEAVE("kiosk-failing") },
	{ "retry: staged", "request=retry-other " STAGED_B, TO_TRIAL ATTEMPT("1") },
	{ "retry: a fallback used up", "request=retry-other staged=B kind=fallback attempts=6",
	  "state.B=unknown doublings=1 " LEAVE(
		  "kiosk-failing") " history=fallback:A:kiosk-failing,given-up:B:trial-never-ran" },
	{ "retry: no other", "request=retry-other proven.B=no", REFUSED("NO_OTHER") },
	{ "retry: read-only", "request=retry-other writable=0", REFUSED("DEGRADED") },
};

/* @base with each word of @changes in the place of the one with its key; the last one counts. */
static void apply(char base[static TEXT_MAX], const char *changes)
{
	_cleanup_free_ char *copy = strdup(changes);
	char *rest = copy;

	for (char *word; (word = strsep(&rest, " "));) {
		_cleanup_free_ char *tail = NULL;
		char key[64], *at;

		if (!*word)
			continue;
		(void)snprintf(key, sizeof(key), " %.*s=", (int)strcspn(word, "="), word);
		at = strstr(base, key);
		if (!at)
			text_die("no such word: %s", word);
		tail = strdup(strchrnul(at + 1, ' '));
		(void)snprintf(at + 1, TEXT_MAX - (size_t)(at + 1 - base), "%s%s", word, tail);
	}
}

/* Without what only depends on the facts: that has tests of its own. */
static void print_to(char buf[static TEXT_MAX], const struct request_plan *p)
{
	const struct run_facts none = { .running = SLOT_NONE };
	FILE *out = fmemopen(buf, TEXT_MAX, "w");

	fputc(' ', out);
	text_print_plan(out, &none, p);
	(void)fclose(out);
}

static void show_difference(char *got, char *want)
{
	char *g, *w;

	while ((g = strsep(&got, " ")) && (w = strsep(&want, " ")))
		if (!streq(g, w))
			printf("#   got %s, want %s\n", g, w);
}

static void question(const char *words, struct text_question *ret)
{
	_cleanup_free_ char *copy = strf(USUAL "%s", words);

	text_question_defaults(ret);
	text_set_question(ret, copy);
}

static void test_row(const struct row *row)
{
	char got[TEXT_MAX] = "", want[TEXT_MAX] = "";
	struct request_plan plan, base = { .sector = SLOT_NONE };
	struct text_question q, before;

	question(row->question, &q);
	before = q;
	requests_plan(&q.facts, q.request, &q.args, &plan);
	if (q.facts.record_readable)
		base.record = q.facts.record;
	else
		requests_record(&q.facts, &base.record);
	if (plan.refusal != REFUSAL_NONE) /* what it would have written is nobody's business */
		plan.record = base.record;
	print_to(got, &plan);
	print_to(want, &base);
	apply(want, row->want);
	if (!ok(streq(got, want), "%s", row->name))
		show_difference(got, want);
	ok(memcmp(&q, &before, sizeof(q)) == 0, "the facts stay as they are");
}

/*
 * What is asked twice is written once. A kiosk that fails twice has failed twice, and a wrong
 * slot asks for its reboot as often as it is started.
 */
static void test_again(const struct row *row)
{
	struct request_plan plan;
	struct text_question q;

	question(row->question, &q);
	requests_plan(&q.facts, q.request, &q.args, &plan);
	if (plan.refusal != REFUSAL_NONE || q.request == REQUEST_KIOSK_FAILS ||
	    (q.request == REQUEST_RECONCILE && plan.next == NEXT_REBOOT))
		return;
	for (size_t i = 0; plan.steps[i] != STEP_END; i++) {
		if (plan.steps[i] == STEP_SECTOR || plan.steps[i] == STEP_FILE) {
			q.facts.selector = SELECTOR_VALID;
			q.facts.selector_committed = plan.sector;
			q.facts.selector_in_place = true;
		} else if (plan.steps[i] == STEP_RECORD) {
			q.facts.record = plan.record;
			q.facts.record_readable = true;
		} else {
			q.facts.armed = plan.steps[i] != STEP_DISARM;
		}
	}
	requests_plan(&q.facts, q.request, &q.args, &plan);
	for (size_t i = 0; plan.steps[i] != STEP_END; i++)
		if (!ok(plan.steps[i] != STEP_SECTOR && plan.steps[i] != STEP_RECORD,
			"once is enough: %s", row->name))
			return;
	ok(plan.refusal == REFUSAL_NONE || plan.refusal == REFUSAL_NOTHING_STAGED,
	   "no refusal the second time: %s", row->name);
}

/* No plan is longer than a plan may be, or lets the sector run ahead of the record. */
static void test_order(const struct row *row)
{
	bool sector = false, record = false, flag = false, order = true;
	struct request_plan plan;
	struct text_question q;

	question(row->question, &q);
	requests_plan(&q.facts, q.request, &q.args, &plan);
	for (size_t i = 0; plan.steps[i] != STEP_END; i++) {
		enum request_step s = plan.steps[i];

		sector = sector || s == STEP_FILE;
		if (s == STEP_SECTOR && plan.record.committed != q.facts.record.committed)
			order = order && record;
		if (s == STEP_RECORD || s == STEP_SECTOR)
			order = order && !flag;
		sector = sector || s == STEP_SECTOR;
		record = record || s == STEP_RECORD;
		flag = flag || s == STEP_ARM || s == STEP_COUNTED;
	}
	ok(order, "record, sector, flag: %s", row->name);
	ok(sector == (plan.sector != SLOT_NONE), "a sector is named where it is written");
}

/* ---- what the running system is told --------------------------------------- */

static void test_told(void)
{
	static const struct {
		const char *name, *question;
		bool trial;
		enum slot armed, primary;
		bool good_a, good_b;
	} told[] = {
		{ "nothing staged", "", false, SLOT_NONE, SLOT_A, true, true },
		{ "staged", STAGED_B, false, SLOT_B, SLOT_B, true, true },
		{ "staged, used up", STAGED_B "attempts=6", false, SLOT_NONE, SLOT_A, true, false },
		{ "staged, the last attempt", STAGED_B "attempts=6" LAST_A("attempt"), false,
		  SLOT_B, SLOT_B, true, true },
		{ "trial", TRIAL_B, true, SLOT_NONE, SLOT_A, true, true },
		{ "trial, committed since", TRIAL_B "committed=B staged=-", false, SLOT_NONE,
		  SLOT_B, true, true },
		{ "just flashed",
		  "state.A=unknown proven.A=unknown state.B=unknown proven.B=unknown", false,
		  SLOT_NONE, SLOT_A, true, false },
		{ "runs, but bad", "state.A=bad", false, SLOT_NONE, SLOT_A, false, true },
		{ "trial, rejected since", TRIAL_B "staged=-", false, SLOT_NONE, SLOT_A, true,
		  false },
		{ "trial, record lost", TRIAL_B "record=lost", true, SLOT_NONE, SLOT_A, false,
		  true },
		{ "trial, all lost", TRIAL_B "record=lost selector=gone", false, SLOT_NONE, SLOT_B,
		  false, true },
		{ "not validated", TRIAL_B "validated=0", false, SLOT_NONE, SLOT_A, true, false },
		{ "left, but proven", "state.B=unknown", false, SLOT_NONE, SLOT_A, true, true },
		{ "left, not proven", "state.B=unknown proven.B=unknown", false, SLOT_NONE, SLOT_A,
		  true, false },
		{ "bad", "state.B=bad", false, SLOT_NONE, SLOT_A, true, false },
		{ "nothing known", "running=- record=lost selector=gone", false, SLOT_NONE, SLOT_A,
		  false, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(told); i++) {
		struct text_question q;

		question(told[i].question, &q);
		ok_int(requests_is_trial(&q.facts), told[i].trial, "trial: %s", told[i].name);
		ok_int(requests_armed_slot(&q.facts), told[i].armed, "armed: %s", told[i].name);
		ok_int(requests_primary(&q.facts), told[i].primary, "primary: %s", told[i].name);
		ok_int(requests_is_good(&q.facts, SLOT_A), told[i].good_a, "A good: %s",
		       told[i].name);
		ok_int(requests_is_good(&q.facts, SLOT_B), told[i].good_b, "B good: %s",
		       told[i].name);
		ok(!requests_is_good(&q.facts, SLOT_NONE), "no slot is not good");
	}
}

static bool is_sentence(const char *s)
{
	size_t n = strlen(s);

	return n > 3 && s[0] >= 'A' && s[0] <= 'Z' && s[n - 1] == '.' && !strchr(s, '\n');
}

static void test_refusal_texts(void)
{
	for (unsigned i = 0; i < REFUSAL_COUNT; i++) {
		const struct refusal_text *t = refusal_text((enum refusal)i);

		ok(is_sentence(t->what) && is_sentence(t->todo), "refusal %u: two sentences", i);
	}
	ok(refusal_text(REFUSAL_COUNT) == refusal_text(REFUSAL_NONE), "out of range: a text");
}

/* Every refusal there is comes from some row. */
static void test_every_refusal(void)
{
	for (unsigned i = 1; i < REFUSAL_COUNT; i++) {
		bool seen = false;

		for (size_t r = 0; r < ARRAY_SIZE(rows); r++) {
			const char *want = startswith(rows[r].want, "refusal=");

			seen = seen || (want && streq(want, text_refusals[i]));
		}
		ok(seen, "%s has a row", text_refusals[i]);
	}
}

/* Nothing prints the time of a history entry. */
static void test_history_time(void)
{
	struct request_plan plan;
	struct text_question q;

	question("request=set-primary arg.slot=B", &q);
	requests_plan(&q.facts, q.request, &q.args, &plan);
	ok_int(plan.record.history[0].time_sec, 1000, "history: the time");
	requests_plan(&q.facts, REQUEST_CANCEL, NULL, &plan);
	ok_int(plan.refusal, REFUSAL_NONE, "no arguments: nothing to crash on");
	requests_plan(&q.facts, REQUEST_SET_BAD, NULL, &plan);
	ok_int(plan.refusal, REFUSAL_SLOT, "no arguments: no slot");
}

int main(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		test_row(&rows[i]);
		test_again(&rows[i]);
		test_order(&rows[i]);
	}
	test_told();
	test_refusal_texts();
	test_every_refusal();
	test_history_time();
	return tap_done();
}
