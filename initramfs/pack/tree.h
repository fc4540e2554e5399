/* SPDX-License-Identifier: MIT */
/*
 * Reading files of a target root without leaving it.
 *
 * Every path is resolved inside the root: a leading slash, "..", and every
 * symbolic link met on the way start at the root's own top, as they would on
 * the target. The kernel does it (openat2(2), RESOLVE_IN_ROOT, Linux 5.6); where
 * it cannot, tree.c walks the path itself with the same result.
 */
#pragma once

#include "boot/base.h"

#include <sys/stat.h>

/* Nothing this large belongs into an initramfs, packed or unpacked. */
#define BLOB_MAX ((size_t)256 << 20)

/* The content of a file. One NUL byte follows data[size], for text. */
struct blob {
	uint8_t *data; /* owned */
	size_t size;   /* bytes */
	mode_t mode;   /* st_mode of the file it came from, 0 if from none */
};

#define _cleanup_blob_ _cleanup_(blob_free)

void blob_free(struct blob *b);

/* The content of *b, which is empty then. */
struct blob blob_take(struct blob *b);

struct tree {
	int fd;		 /* O_PATH of the root's directory, owned */
	char *path;	 /* as the user wrote it, for messages; owned */
	bool no_openat2; /* walk paths ourselves */
};

#define _cleanup_tree_ _cleanup_(tree_free)

_must_check_ int tree_init(struct tree *ret, const char *path);
void tree_free(struct tree *t);

/*
 * A new O_PATH fd of whatever @path names inside the root (links followed), or
 * -errno. -ELOOP: more than 40 links.
 */
_must_check_ int tree_open(const struct tree *t, const char *path);

/* A new readable fd of a directory inside the root, or -errno. */
_must_check_ int tree_open_dir(const struct tree *t, const char *path);

/*
 * The whole content of a regular file inside the root. -EISDIR; -ENODEV: a
 * device, pipe or socket (never opened); -EFBIG: more than BLOB_MAX; -ESTALE:
 * changed while it was read. The caller frees *ret with blob_free().
 */
_must_check_ int tree_read(const struct tree *t, const char *path, struct blob *ret);

/* The same for a file of the machine we run on. */
_must_check_ int host_read(const char *path, struct blob *ret);
