/* SPDX-License-Identifier: MIT */
/*
 * What the Raspberry Pi firmware says it just did.
 *
 * Format: /proc/device-tree/chosen/bootloader/NAME, each one big-endian 32-bit
 * cell (Raspberry Pi documentation, configuration/device-tree.adoc, "Bootloader
 * properties"). Early Pi 5 bootloaders reported partition 0; 0, a wrong length
 * or a missing file mean "unknown", never slot A.
 */
#pragma once

#include "boot/base.h"

/*
 * Older EEPROMs do not know [boot_partition=N] in config.txt, by which one boot
 * image serves both slots (raspberrypi/rpi-eeprom, firmware-2712/release-notes.md).
 */
#define FIRMWARE_BUILD_FLOOR 1741564800 /* Unix seconds */
#define FIRMWARE_FLOOR_DATE  "2025-03-10"
/*
 * How to update it: by flashrom, at once. rpi-eeprom-update keeps its files where a boot filesystem
 * should be, and our root has none; on the boot partition of a slot they would do harm
 * (raspberrypi/rpi-eeprom #499). hooks/rauc/bf-pre-install says the same.
 */
#define FIRMWARE_UPDATE_COMMAND "BOOTFS=/tmp rpi-eeprom-update -a"

/*
 * The argument of reboot(2) by which the next boot is a trial, once (Linux
 * drivers/firmware/raspberrypi.c and drivers/watchdog/bcm2835_wdt.c): the firmware's default
 * partition, 0, and its tryboot flag set.
 */
#define FIRMWARE_REBOOT_TRIAL "0 tryboot"

/*
 * The one by which the next boot is that of @slot, once, past autoboot.txt ("boot_partition …
 * unless the partition number was already specified as a parameter to the reboot command",
 * config_txt/autoboot.adoc). Another firmware takes no notice of it. @slot: A or B; static.
 */
const char *firmware_reboot_into(enum slot slot);

/* Same document, "boot-mode" */
enum boot_mode {
	BOOT_MODE_UNKNOWN = 0,
	BOOT_MODE_SD = 1,
	BOOT_MODE_USB_MSD = 4,
	BOOT_MODE_NVME = 6,
};

struct firmware {
	bool present;		  /* the node exists: this is a Raspberry Pi boot */
	uint32_t partition;	  /* booted from, to be shown; 0 = unknown; see firmware_booted() */
	bool tryboot;		  /* this boot was asked for as a trial */
	enum boot_mode boot_mode; /* kinds that are not in the enum read as unknown */
	bool has_count;
	uint32_t count; /* warm resets in a row since power-on, 1 = first boot after it */
	bool has_build_timestamp;
	uint32_t build_timestamp; /* of the EEPROM, Unix seconds */
};

/* One cell from the @len bytes of a property. -EINVAL when it is not 4 bytes. */
_must_check_ int firmware_cell(const void *data, size_t len, uint32_t *ret);

/*
 * Reads the node below @chosen_fd (a directory fd of /proc/device-tree/chosen;
 * negative: there is no device tree). Absence of anything is not an error; only an
 * I/O error is (-errno).
 */
_must_check_ int firmware_read(int chosen_fd, struct firmware *ret);

/* The slot it booted; SLOT_NONE when it does not say so, or names another partition. */
enum slot firmware_booted(const struct firmware *fw);

/* The filter by which config.txt picks what is only for @slot (A or B): "[boot_partition=2]". */
const char *firmware_config_filter(enum slot slot);
