/* SPDX-License-Identifier: MIT */
/*
 * Carries out the mount plan below the new root.
 *
 * On BF_DATA:
 *   <source of a bind>        made when missing; owner and mode: the line's, else the image's
 *   overlay/<name>/{upper,work}       x-bf.upper=persistent
 *   slots/<A|B>/<name>/{upper,work}   x-bf.upper=slot
 *   slots/<A|B>/.image        the image the uppers of this slot belong to, text, one line
 *   trash/<n>                 put aside by us; the running system deletes it (bf-trash.service)
 *
 * A slot's uppers belong to one image: what the kernel calls "undefined" (an
 * upper over a lower that changed) and a configuration written for another
 * version never happen, because another image starts with fresh ones.
 *
 * BF_DATA is untrusted, and has no veto. Every path on it is opened with openat2 (beneath,
 * no symlinks) before it is used, so what a hacked kiosk left there cannot redirect a mount;
 * what is in the way of one is put aside (datadir.h), in an upper that hides the mount point
 * of another line, too. It also may be full or failing: a line whose directories cannot be
 * made there gets a tmpfs, as if BF_DATA were missing. A line that lies in what BF_DATA itself
 * shows is left out when it cannot be mounted there.
 */
#pragma once

#include "initramfs/init/data.h"
#include "initramfs/init/plan.h"

#define MOUNTS_VOLATILE	  "/volatile" /* tmpfs of the volatile uppers, in the initramfs */
#define MOUNTS_SEED_FILES 4096	      /* of one x-bf.seed: entries, */
#define MOUNTS_SEED_MIB	  16	      /* MiB, */
#define MOUNTS_SEED_DEPTH 16	      /* and directories in each other */

/*
 * @sysroot: where the root is mounted ("/root"). @data_mounted: where BF_DATA
 * is mounted now ("/data"); it is moved to the plan's place, or detached at the
 * end if the plan has none; data->fd stays good. @image_id: tells one root
 * image from another (the root hash), no newline.
 * Counts in data->lost_lines and data->found, and says the first cause of each in data->why.
 * Fills @f, for a fault of the image only: REASON_MOUNT_POINT, REASON_MOUNT.
 */
_must_check_ int mounts_make(const struct mount_plan *plan, enum slot slot, struct data *data,
			     const char *data_mounted, const char *sysroot, const char *image_id,
			     struct failure *f);
