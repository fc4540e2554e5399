/* SPDX-License-Identifier: MIT */
/*
 * RAUC over D-Bus (de.pengutronix.rauc, doc: reference.rst "D-Bus API"): what its
 * errors mean. All errors of its own have one and the same name, so only the text
 * tells them apart (measured, RAUC 1.8); nothing is concluded from the text of a
 * success.
 */
#pragma once

#include "boot/base.h"

#define RAUC_NAME      "de.pengutronix.rauc"
#define RAUC_UNIT      "rauc.service"
#define RAUC_PATH      "/"
#define RAUC_INTERFACE "de.pengutronix.rauc.Installer"

enum rauc_error {
	RAUC_ERROR_BUSY,    /* an install runs: later */
	RAUC_ERROR_ABSENT,  /* not running, not startable, not allowed: the call did not reach it */
	RAUC_ERROR_GONE,    /* it ended before it answered */
	RAUC_ERROR_NO_SLOT, /* it does not know which slot is booted */
	RAUC_ERROR_BACKEND, /* it tried, and failed */
	RAUC_ERROR_UNKNOWN, /* no answer in time, or the bus is gone: it may still happen */
};

/* @name and @message of a D-Bus error; both may be NULL. */
enum rauc_error rauc_classify(const char *name, const char *message);
const char *rauc_error_text(enum rauc_error error);
