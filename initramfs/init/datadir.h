/* SPDX-License-Identifier: MIT */
/*
 * Directories on BF_DATA (or the tmpfs in its place): found without following
 * anything, made so that a power cut leaves them whole or absent.
 *
 * Paths are relative to the top of the file system and plain (see plan.h).
 * Every component is checked with openat2 (beneath, no symlinks) before the path
 * is used; nobody else runs yet, so what was checked stays as it is.
 *
 * What stands where a directory is wanted and is none (a link, a file, a device,
 * an overlay's whiteout) is a trap: it is renamed to trash/<number>, and a
 * directory is made in its place. Directories are made there too, and renamed to
 * their place; what is left in the trash the running system deletes.
 *
 * Errors: -ELOOP, -ENOTDIR: the trash itself is a trap. Nothing is made then.
 */
#pragma once

#include "boot/base.h"

#define DATADIR_TRASH "trash"

/* The attributes that are put right in a directory that is there already. */
enum { DIR_MODE = 1, DIR_UID = 2, DIR_GID = 4, DIR_ALL = DIR_MODE | DIR_UID | DIR_GID };

struct dir_attr {
	uint32_t mode, uid, gid; /* of a directory that is made */
	unsigned fixed;		 /* DIR_* */
};

/* What was put aside or put right, for the log. */
struct findings {
	unsigned count;
	char *lines; /* one sentence a line, each ended; NULL: none. The owner frees it */
};

struct datadir {
	int fd;			/* of its top */
	struct findings *found; /* NULL: nobody wants to know */
};

/* O_PATH fd of the directory @path; -ENOENT when it does not exist, -ELOOP or -ENOTDIR for a trap.
 */
_must_check_ int datadir_open(int top, const char *path);

/*
 * Makes the directory @path with @attr if it does not exist, its parents
 * (0755, root) too; a trap on the way is put aside. @seed >= 0: a directory fd whose
 * content is copied into a directory that is made: files, directories, links; nothing else.
 * -EFBIG when the seed exceeds the MOUNTS_SEED_ limits.
 *
 * A directory that is there gets what attr->fixed names. What that does not name stays,
 * but for permissions that @attr does not give and that let other accounts write in it.
 */
_must_check_ int datadir_make(const struct datadir *d, const char *path,
			      const struct dir_attr *attr, int seed);

/* Puts the first component of @path aside that is there and no directory, if one is. */
_must_check_ int datadir_clear(const struct datadir *d, const char *path);

/* As datadir_make() does with what is there; but what is not there, stays so. */
_must_check_ int datadir_check(const struct datadir *d, const char *path,
			       const struct dir_attr *attr);

/* Moves whatever @path is to the trash: no finding, it was ours. */
_must_check_ int datadir_put_aside(const struct datadir *d, const char *path);

/*
 * Makes @path (0700) the directory of image @id, told by its file ".image": as
 * it is if it is of this image already, fresh otherwise.
 */
_must_check_ int datadir_for_image(const struct datadir *d, const char *path, const char *id);

/* Owner and mode of an open directory. */
_must_check_ int datadir_set_attr(int fd, const struct dir_attr *attr);
