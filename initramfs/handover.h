/* SPDX-License-Identifier: MIT */
/*
 * From our world to the real init's. What systemd expects of an initramfs that
 * is not its own was measured; each step says what for.
 */
#pragma once

#include "initramfs/boot.h"

/* The text of /run/bf/boot: an env-file (systemd.exec(5) EnvironmentFile=), pure. Caller frees. */
char *handover_boot_file(const struct boot *b);

/*
 * Writes /run/bf/boot, the udev database line of the dm node, /dev/mapper/root, the machine-id
 * (from BF_DATA, made once; a plain file into the mounted /etc of @sysroot), and sets
 * the clock to a floor (the newest of: record's last time, build time of the image) when it is behind.
 */
_must_check_ int handover_prepare(struct boot *b, const char *sysroot, struct failure *f);

/*
 * Moves /dev /proc /sys /run, deletes the initramfs, changes root, executes init with the watchdog open. Only
 * returns when it failed. Init is b->cmdline.init or the first of /sbin/init, /lib/systemd/systemd, /etc/init, /bin/init.
 * With systemd as init the initrd timestamp is passed on (--switched-root --system --deserialize FD).
 */
_must_check_ int handover_switch(struct boot *b, const char *sysroot, struct failure *f);
