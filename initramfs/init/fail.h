/* SPDX-License-Identifier: MIT */
/*
 * The one place where a boot ends badly: record why, show why, reboot.
 */
#pragma once

#include "initramfs/init/boot.h"

/*
 * The screenful a person sees, ending in the countdown line (no newline after
 * it); pure. Only printable ASCII, whatever @f holds. Caller frees. NULL when
 * out of memory.
 */
char *fail_text(const struct boot *b, const struct failure *f, enum boot_next next,
		uint32_t seconds);

/*
 * Never returns (in PID 1). Records the reason if it can, shows it on every
 * console of /proc/consoles, and in large letters on the screen whether that is
 * one or not, for the configured time, or longer when the rules
 * say so (kicking the watchdog, with a countdown), syncs, and reboots as the
 * rules say; if reboot(2) fails, sysrq b, then an exit of PID 1 (panic=). In a
 * rescue image a shell on the console comes first.
 */
_Noreturn void fail_boot(struct boot *b, const struct failure *f);

/* The same end, at once, for a reboot that is a decision, not a failure (wrong slot, fallback
 * trial). */
_Noreturn void fail_reboot(struct boot *b, enum boot_next next, enum reason reason);

/* One line about a boot that goes on, on every console: a quiet one shows nothing of the log. */
void fail_notice(const char *text);
