/* SPDX-License-Identifier: MIT */
/*
 * One installation over RAUC's D-Bus API (de.pengutronix.rauc, docs/using.rst of
 * RAUC): InspectBundle, InstallBundle, the signal Completed, then LastError.
 */
#pragma once

#include "boot/base.h"

#define INSTALL_WHY_MAX 256

struct install {
	const char *path;	/* of the bundle: absolute, readable by root */
	const char *compatible; /* what has to be in it, by its signed manifest */
	const char *version;
	const char *refusal; /* file in which the pre-install handler says why it refused */
	unsigned busy_sec;   /* longest wait for what RAUC is doing already */
	unsigned total_sec;  /* longest installation */
};

/*
 * Returns 0 when RAUC said that it was installed. < 0 with one line in @why:
 *   -EKEYREJECTED  refused for what it is: not signed, another version than was
 *                  offered, refused by the pre-install handler. The same bytes stay
 *                  refused
 *   -EAGAIN        refused by that for now
 *   -EBUSY         RAUC did not become idle
 *   -ETIMEDOUT     did not end
 *   -ECONNRESET    RAUC, or the bus, went away in the middle
 *   -EIO           RAUC said that it failed
 * or what connecting to the bus said.
 */
_must_check_ int install_bundle(const struct install *in, char why[static INSTALL_WHY_MAX]);
