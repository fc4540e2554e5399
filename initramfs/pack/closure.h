/* SPDX-License-Identifier: MIT */
/*
 * The libraries a program of the target needs, found by reading ELF files in
 * the target's root, never by running its loader.
 *
 * Searched as ld.so(8) does: DT_RPATH or DT_RUNPATH of the object that asks
 * ($ORIGIN is where the object stands in the image), the directories of the
 * root's /etc/ld.so.conf, the built-in ones. Not done: LD_LIBRARY_PATH, rpaths
 * inherited from the program, glibc-hwcaps, dlopen(3).
 *
 * The image has no ld.so.cache. So a library found through ld.so.conf alone
 * moves to the directory that holds the C library, where the loader looks anyway.
 */
#pragma once

#include "initramfs/pack/cpio.h"
#include "initramfs/pack/elfinfo.h"
#include "initramfs/pack/problem.h"

struct library_dir {
	char *path;   /* in the root, no leading slash; owned */
	bool builtin; /* ld.so looks here without any configuration */
};

struct closure {
	const struct tree *tree;
	struct image *image;
	char *first;	      /* path of the first program; NULL: none yet; owned */
	struct elf_kind kind; /* the one kind of everything packed */
	char *home;	      /* for libraries found by ld.so.conf alone; owned */
	struct library_dir *dirs;
	size_t dir_count;
	char **done; /* sonames settled */
	size_t done_count;
};

#define _cleanup_closure_ _cleanup_(closure_free)

void closure_free(struct closure *c);

/*
 * Adds to the image all that @file needs, which will stand at @path there; not
 * @file itself. Anything but a dynamic ELF file needs nothing. A library that is
 * missing or damaged, or for another machine, is told in @p.
 */
_must_check_ int closure_add(struct closure *c, const char *path, const struct blob *file,
			     struct problem *p);
