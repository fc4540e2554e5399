/* SPDX-License-Identifier: MIT */
/*
 * From our world to the real init's. What systemd expects of an initramfs that
 * is not its own was measured; each step says what for.
 */
#pragma once

#include "initramfs/init/boot.h"

/* What the running system is to know of @b: pure. */
void handover_describe(const struct boot *b, struct boot_file *ret);

/* Writes it to /run/bf/boot: the last word before the switch, when every stage has its end. */
_must_check_ int handover_tell(const struct boot *b, struct failure *f);

/*
 * Writes the udev database line of the dm node, /dev/mapper/root, the machine-id,
 * and sets the clock to a floor (the newest of: newest entry of
 * the record's history, build time of the image, of the EEPROM) when it is behind.
 *
 * The machine-id is a plain file in the /etc of @sysroot, when that is an
 * overlay or tmpfs and the image's own is empty or absent. b->machine_id says
 *   "image"     the image's /etc is read-only or has one: nothing done
 *   "stored"    that of BF_DATA, bf/machine-id
 *   "new"       the same, just made
 *   "volatile"  for this boot only: BF_DATA could not keep it
 *   "failed"    it could not be written; systemd makes one for this boot
 */
_must_check_ int handover_prepare(struct boot *b, const char *sysroot, struct failure *f);

/*
 * Moves /dev /proc /sys /run, changes root, deletes the initramfs, executes
 * init with the watchdog open. Only returns when it failed. What can be checked
 * is checked before anything is moved. Init is b->cmdline.init or the first of
 * /sbin/init, /lib/systemd/systemd, /etc/init, /bin/init; it gets b->argv[1]
 * and so on. With systemd as init the initrd timestamp is passed on instead
 * (--switched-root --system --deserialize FD).
 */
_must_check_ int handover_switch(struct boot *b, const char *sysroot, struct failure *f);
