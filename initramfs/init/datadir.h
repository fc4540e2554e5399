/* SPDX-License-Identifier: MIT */
/*
 * Directories on BF_DATA (or the tmpfs in its place): found without following
 * anything, made so that a power cut leaves them whole or absent.
 *
 * Paths are relative to the directory fd @top and plain (see plan.h). Every
 * component is checked with openat2 (beneath, no symlinks) before the path is
 * used; nobody else runs yet, so what was checked stays as it is.
 *
 * What is made, and what is put aside, lives in trash/<number> until it is
 * renamed to its place or deleted by the running system.
 *
 * Errors: -ELOOP, -ENOTDIR, -EXDEV: the path leads elsewhere or is no directory.
 */
#pragma once

#include "boot/base.h"

struct dir_attr {
	uint32_t mode, uid, gid;
};

/* O_PATH fd of the directory @path; -ENOENT when it does not exist. */
_must_check_ int datadir_open(int top, const char *path);

/*
 * Makes the directory @path with @attr if it does not exist, its parents
 * (0755, root) too. @seed >= 0: a directory fd whose content is copied into a
 * directory that is made: files, directories, links; nothing else.
 * -EFBIG when the seed exceeds the MOUNTS_SEED_ limits.
 */
_must_check_ int datadir_make(int top, const char *path, const struct dir_attr *attr, int seed);

/* Moves whatever @path is to the trash. */
_must_check_ int datadir_put_aside(int top, const char *path);

/*
 * Makes @path (0700) the directory of image @id, told by its file ".image": as
 * it is if it is of this image already, fresh otherwise.
 */
_must_check_ int datadir_for_image(int top, const char *path, const char *id);
