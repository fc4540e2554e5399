/* SPDX-License-Identifier: MIT */
/* Small ELF files of any class, byte order and machine, made in memory for tests. */
#pragma once

#include "initramfs/pack/tree.h"

#include <elf.h>

struct elf_spec {
	uint8_t class, encoding;
	uint16_t machine, type;
	const char *interp;
	const char *needed[6];
	const char *rpath, *runpath;
	const char *modinfo; /* with \0 inside */
	size_t modinfo_size;
};

/* What a spec says nothing of: a 64-bit little-endian arm file. */
#define ELF_ARM64                                                                                  \
	.class = ELFCLASS64, .encoding = ELFDATA2LSB, .machine = EM_AARCH64, .type = ET_DYN

/* A new blob; the test frees it. */
struct blob make_elf(const struct elf_spec *spec);
