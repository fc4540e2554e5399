/* SPDX-License-Identifier: MIT */
/*
 * What an ELF file says about itself, as far as packing it needs: its kind, its
 * interpreter, the libraries it needs, a module's own words. Pure; the file is
 * untrusted, and may be of any architecture.
 *
 * Formats: System V gABI chapters 4 and 5; .modinfo: "key=value" strings, each
 * ended by NUL (Linux include/linux/moduleparam.h, __MODULE_INFO).
 */
#pragma once

#include "initramfs/pack/tree.h"

/* Two files that can run in one process have the same. */
struct elf_kind {
	uint8_t class;	  /* ELFCLASS32, ELFCLASS64 */
	uint8_t encoding; /* ELFDATA2LSB, ELFDATA2MSB */
	uint16_t machine; /* EM_* */
};

struct elf_info {
	struct elf_kind kind;
	uint16_t type; /* ET_EXEC, ET_DYN, … */
	char *interp;  /* PT_INTERP, or NULL */
	char **needed; /* DT_NEEDED in order */
	size_t needed_count;
	char *rpath;   /* DT_RPATH, or NULL */
	char *runpath; /* DT_RUNPATH, or NULL */
};

#define _cleanup_elf_ _cleanup_(elf_info_free)

/* -ENOEXEC: not ELF at all; -EBADMSG: ELF, but damaged. */
_must_check_ int elf_info_parse(const struct blob *file, struct elf_info *ret);
void elf_info_free(struct elf_info *e);

bool elf_kind_equal(const struct elf_kind *a, const struct elf_kind *b);

/* "aarch64", "x86_64", … or, written to @buf, "machine 243". */
#define ELF_MACHINE_NAME_SIZE sizeof("machine 65535")
const char *elf_machine_name(const struct elf_kind *kind, char buf[static ELF_MACHINE_NAME_SIZE]);

/*
 * The directories below lib and usr/lib that Debian's ld.so searches first, ""
 * last for the plain ones: a NULL-ended array of constants.
 */
const char *const *elf_triplets(const struct elf_kind *kind);

/*
 * Calls @each with the value of every @key of a kernel module's .modinfo; stops
 * at a value below 0 and returns it. -ENOEXEC: not ELF, -EBADMSG: damaged, or
 * not a kernel module.
 */
_must_check_ int elf_modinfo(const struct blob *file, const char *key,
			     int (*each)(const char *value, void *ctx), void *ctx);
