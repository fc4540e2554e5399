/* SPDX-License-Identifier: MIT */
/*
 * How long PID 1 may take, and what keeps the watchdog quiet meanwhile.
 *
 * Any call of the kernel can block for long and be right to: a mount replays a journal, a sync
 * waits for a slow card, a table is swapped, a module looks for its hardware. So no step kicks
 * the watchdog. A thread does, once a second, as long as there is patience: for a minute from
 * the last patience_step(), which every step begins with. Whatever hangs longer, in the kernel
 * or here, is not kicked any more, and the watchdog resets the machine.
 *
 * What may take longer than a step says how long:
 *
 *   patience_begin(limit_sec);
 *   r = sys_spawn_wait(root, E2FSCK, argv, limit_sec, -1, &status);
 *   patience_end();
 *
 * The deadline (bf.deadline=) is one for all steps together. Its clock stands still between
 * begin and end, but not for longer than the limit. When it passes, SIGALRM interrupts what
 * waits, once a second from then on, so that the step fails and is reported; PATIENCE_GRACE_SEC
 * later the machine restarts without a word, and there is no more kick.
 *
 * One PID 1 has one patience: the state is in the .c file. For the main thread only.
 */
#pragma once

#include "boot/base.h"

#define PATIENCE_STEP_SEC  60
#define PATIENCE_GRACE_SEC 10

/*
 * Starts the thread, the first step and the deadline's clock. -errno: there is no thread; the
 * deadline counts all the same, but a watchdog that is opened now has nobody who kicks it.
 */
_must_check_ int patience_start(uint32_t deadline_sec);

/* There was progress: the next step has its own minute. Nothing between begin and end. */
void patience_step(void);

/* Not nested. A limit in place of the minute; after the end a new step begins. */
void patience_begin(uint32_t limit_sec);
void patience_end(void);

/* The deadline has passed: nothing buys time any more. */
bool patience_is_over(void);

/*
 * For the last thing that is done (the switch to the new init, a restart), in place of the
 * deadline: no SIGALRM any more, and no kick after @limit_sec. May be called again.
 */
void patience_last(uint32_t limit_sec);
