/* SPDX-License-Identifier: MIT */
/*
 * Carries out the mount plan below the new root. Paths on BF_DATA are opened
 * with openat2 (beneath, no symlinks): what a hacked kiosk left there must not
 * redirect a mount.
 */
#pragma once

#include "initramfs/data.h"
#include "initramfs/plan.h"

/*
 * @sysroot: where the root is mounted ("/root"). @data_mounted: where BF_DATA is
 * mounted now ("/data"); it is moved to the plan's place, or detached at the end
 * if the plan has none. Volatile uppers live on one tmpfs at /run/bf-volatile…
 * Fills @f: REASON_MOUNT_POINT, REASON_DATA_PATH, REASON_MOUNT.
 */
_must_check_ int mounts_make(const struct mount_plan *plan, enum slot slot,
			     const struct data *data, const char *data_mounted,
			     const char *sysroot, struct failure *f);
