/* SPDX-License-Identifier: MIT */
/*
 * The image: a set of files, and its form as a cpio archive ("newc").
 *
 * Format: Linux Documentation/driver-api/early-userspace/buffer-format.rst.
 * The same set of files and the same @mtime give the same bytes: sorted by
 * path, inodes counted from 1, owner root, modes 0755 and 0644 for all that the
 * caller does not say otherwise.
 */
#pragma once

#include "initramfs/pack/tree.h"

/* A whole image larger than this is a mistake (and 32-bit fields end at 4 GiB). */
#define IMAGE_MAX ((size_t)1 << 30)

struct image_entry {
	char *path;	       /* no leading slash; owned */
	mode_t mode;	       /* type and permissions */
	struct blob data;      /* a file's content, a link's target; owned */
	uint32_t major, minor; /* device nodes */
	char *note;	       /* why it is here, for people; owned, may be NULL */
};

struct image {
	struct image_entry *entries; /* in no order before image_pack() */
	size_t count, room;
};

#define _cleanup_image_ _cleanup_(image_free)

void image_free(struct image *img);

/*
 * @path in the one form the image uses: no leading, doubled or trailing slash.
 * -EINVAL: empty, ".", "..", or a control character; -ENAMETOOLONG. The caller
 * frees *ret.
 */
_must_check_ int image_path(const char *path, char **ret);

/* What stands at @path, or NULL. Valid until the next image_add_*(). */
const struct image_entry *image_find(const struct image *img, const char *path);

/*
 * Add one thing; the directories above it come by themselves (0755). -EEXIST:
 * @path is there already as something else; the same thing twice is fine.
 * -ENOTDIR: something above @path is no directory. @path goes through
 * image_path(). @note is copied, may be NULL.
 */
_must_check_ int image_add_dir(struct image *img, const char *path, mode_t permissions);
/* Takes *data over (and empties it), also on failure. Only "executable or not" of its mode stays.
 */
_must_check_ int image_add_file(struct image *img, const char *path, struct blob *data,
				const char *note);
_must_check_ int image_add_text(struct image *img, const char *path, const char *text,
				const char *note);
_must_check_ int image_add_link(struct image *img, const char *path, const char *target,
				const char *note);
_must_check_ int image_add_char(struct image *img, const char *path, mode_t permissions,
				uint32_t major, uint32_t minor);

/* Sorts the entries and writes the archive. -EFBIG: beyond IMAGE_MAX. The caller frees *ret. */
_must_check_ int image_pack(struct image *img, uint32_t mtime, struct blob *ret);
