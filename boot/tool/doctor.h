/* SPDX-License-Identifier: MIT */
/*
 * bf-boot doctor: the checklist for a device. Each check says one line or more:
 * ok, warn (works, but …) or FAULT (an update or a fallback will not work).
 */
#pragma once

#include "boot/sys.h"
#include "boot/tool/tool.h"

enum verdict { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAULT };

struct doctor {
	FILE *out;
	struct running running;
	bool open;     /* .running is */
	char *cmdline; /* the kernel's, NULL */
	struct firmware fw;
	/* That the config.txt of the running slot gives the kernel; 0 none, or it is not to be. */
	uint32_t kernel_watchdog_sec;
	unsigned faults, warnings;
};

void doctor_say(struct doctor *d, enum verdict verdict, const char *subject, const char *fmt, ...)
	_printf_(4, 5);

/* The text of a file of at most 16 MiB; NULL when there is none. The caller frees. */
char *doctor_read(const char *path);
/* "name" of the word "name=value" of a command line or of the line of an env-file; "" none. */
bool doctor_word(const char *text, const char *name, char *ret, size_t size);
/* The partition that a device path leads to: the last part of the link's target, or of the path. */
void doctor_partition(const char *device, char *ret, size_t size);

/* doctor-boot.c: firmware, disk, selection */
void doctor_record(struct doctor *d);
void doctor_labels(struct doctor *d);
void doctor_autoboot(struct doctor *d);
void doctor_boot_images(struct doctor *d);
void doctor_firmware(struct doctor *d);
void doctor_cmdline(struct doctor *d);
/* doctor-system.c: what of the system the boot selection leans on */
void doctor_panic(struct doctor *d);
void doctor_watchdog(struct doctor *d);
void doctor_power_on(struct doctor *d);
void doctor_consoles(struct doctor *d);
void doctor_rauc_config(struct doctor *d);
void doctor_rauc_version(struct doctor *d);
void doctor_dbus(struct doctor *d);
void doctor_units(struct doctor *d);
