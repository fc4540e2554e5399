// SPDX-License-Identifier: MIT
#include "guard/rauc.h"

#define DBUS_ERROR "org.freedesktop.DBus.Error."

static const struct error_name {
	const char *name; /* ends with '.': all that begin so */
	enum rauc_error error;
} names[] = {
	{ DBUS_ERROR "ServiceUnknown", RAUC_ERROR_ABSENT },
	{ DBUS_ERROR "NameHasNoOwner", RAUC_ERROR_ABSENT },
	{ DBUS_ERROR "AccessDenied", RAUC_ERROR_ABSENT },
	{ DBUS_ERROR "UnknownMethod", RAUC_ERROR_ABSENT },
	{ DBUS_ERROR "UnknownObject", RAUC_ERROR_ABSENT },
	{ DBUS_ERROR "UnknownInterface", RAUC_ERROR_ABSENT },
	{ DBUS_ERROR "Spawn.", RAUC_ERROR_ABSENT },
	{ DBUS_ERROR "Disconnected", RAUC_ERROR_UNKNOWN },
	{ DBUS_ERROR "NoReply", RAUC_ERROR_UNKNOWN },
	{ DBUS_ERROR "Timeout", RAUC_ERROR_UNKNOWN },
	{ DBUS_ERROR "TimedOut", RAUC_ERROR_UNKNOWN },
	{ "System.Error.", RAUC_ERROR_UNKNOWN },
};

static const struct error_text {
	const char *part;
	enum rauc_error error;
} texts[] = {
	{ "lready processing a different method", RAUC_ERROR_BUSY },
	{ "Did not find booted slot", RAUC_ERROR_NO_SLOT },
	{ "Failed to determine booted slot", RAUC_ERROR_NO_SLOT },
};

enum rauc_error rauc_classify(const char *name, const char *message)
{
	if (!name)
		return RAUC_ERROR_UNKNOWN;
	/* The bus daemon says it when the receiver is gone; sd-bus uses the name for its own
	 * timeouts. */
	if (streq(name, DBUS_ERROR "NoReply") && message && strstr(message, "disconnected"))
		return RAUC_ERROR_GONE;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		size_t n = strlen(names[i].name);

		if (names[i].name[n - 1] == '.' ? startswith(name, names[i].name) != NULL
						: streq(name, names[i].name))
			return names[i].error;
	}
	for (size_t i = 0; message && i < ARRAY_SIZE(texts); i++)
		if (strstr(message, texts[i].part))
			return texts[i].error;
	return RAUC_ERROR_BACKEND;
}

const char *rauc_error_text(enum rauc_error error)
{
	static const char *const says[] = {
		[RAUC_ERROR_BUSY] = "RAUC is installing; the slot is marked later",
		[RAUC_ERROR_ABSENT] = "RAUC does not run and cannot be started",
		[RAUC_ERROR_GONE] = "RAUC ended before it answered",
		[RAUC_ERROR_NO_SLOT] = "RAUC does not know which slot is booted",
		[RAUC_ERROR_BACKEND] = "RAUC could not mark the slot",
		[RAUC_ERROR_UNKNOWN] = "RAUC has not answered",
	};

	return (unsigned)error < ARRAY_SIZE(says) ? says[error] : "?";
}
