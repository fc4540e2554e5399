// SPDX-License-Identifier: MIT
#include "guard/senses.h"

/* ---- the unit ---------------------------------------------------------------- */

static void judge_unit(const struct senses *s, const struct config *c, uint64_t now,
		       struct judgement *ret)
{
	kiosk_judge(&s->kiosk, c, now, ret);
}

static void forget_unit(struct senses *s, uint64_t now)
{
	kiosk_forget(&s->kiosk, now);
}

/* ---- the heartbeat ----------------------------------------------------------- */

static void judge_heartbeat(const struct senses *s, const struct config *c, uint64_t now,
			    struct judgement *ret)
{
	heartbeat_judge(&s->heart, c, now, ret);
}

static void forget_heartbeat(struct senses *s, uint64_t now)
{
	(void)now;
	heartbeat_forget(&s->heart);
}

/* ---- scripts ----------------------------------------------------------------- */

static void judge_scripts(const struct senses *s, const struct config *c, uint64_t now,
			  struct judgement *ret)
{
	(void)c, (void)now;
	checks_judge(&s->checks, ret);
}

/* When the next invocation is there: see checks_forget(). */
#define forget_scripts NULL

/* ---- the server -------------------------------------------------------------- */

static void judge_server(const struct senses *s, const struct config *c, uint64_t now,
			 struct judgement *ret)
{
	server_judge(&s->heart, c, now, ret);
}

/* With the heartbeat. */
#define forget_server NULL

/* ---- all of them ------------------------------------------------------------- */

static const struct sense {
	void (*judge)(const struct senses *s, const struct config *c, uint64_t now,
		      struct judgement *ret);
	void (*forget)(struct senses *s, uint64_t now); /* NULL: a restart changes nothing */
} senses[] = {
#define X(id, name, is_local) [CHECK_##id] = { judge_##name, forget_##name },
	CHECKS(X)
#undef X
};

void senses_no_kiosk(const struct senses *s, const struct config *c,
		     char why[static JUDGEMENT_WHY_MAX])
{
	*why = '\0';
	if (kiosk_is_missing(&s->kiosk))
		(void)snprintf(why, JUDGEMENT_WHY_MAX, "no kiosk to judge: %s is %s", c->unit,
			       s->kiosk.now.load);
	else if (s->account_missing)
		(void)snprintf(why, JUDGEMENT_WHY_MAX, "no kiosk to judge: there is no account %s",
			       c->user);
	else if (c->mistakes)
		(void)snprintf(why, JUDGEMENT_WHY_MAX,
			       "not judged by a configuration with %u mistake(s)", c->mistakes);
}

void senses_judge(const struct senses *s, const struct config *c, uint64_t now, enum check check,
		  struct judgement *ret)
{
	char why[JUDGEMENT_WHY_MAX];

	*ret = (struct judgement) { .again = POLICY_NEVER };
	senses[check].judge(s, c, now, ret);
	/* A script judges the system. */
	if (check == CHECK_SCRIPTS || !verdict_failed(ret->verdict))
		return;
	senses_no_kiosk(s, c, why);
	if (*why)
		judge(ret, VERDICT_INCONCLUSIVE, REASON_NONE, "%s", why);
}

void senses_forget(struct senses *s, uint64_t now)
{
	for (enum check c = 0; c < CHECK_COUNT; c++) {
		if (!senses[c].forget)
			continue;
		senses[c].forget(s, now);
		s->last[c] = (struct judgement) { .again = POLICY_NEVER };
	}
}
