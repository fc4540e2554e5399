// SPDX-License-Identifier: MIT
#include "tests/lib/make-elf.h"

struct elf_maker {
	const struct elf_spec *spec;
	uint8_t bytes[4096];
	size_t at;
};

static void elf_put(struct elf_maker *m, uint64_t value, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		size_t shift = m->spec->encoding == ELFDATA2MSB ? size - 1 - i : i;

		m->bytes[m->at++] = (uint8_t)(value >> (8 * shift));
	}
}

/* An address, offset or size: as wide as the class. */
static void elf_word(struct elf_maker *m, uint64_t value)
{
	elf_put(m, value, m->spec->class == ELFCLASS64 ? 8 : 4);
}

static size_t elf_string(struct elf_maker *m, const char *s)
{
	size_t at = m->at;

	memcpy(m->bytes + at, s, strlen(s) + 1);
	m->at += strlen(s) + 1;
	return at;
}

static void elf_phdr(struct elf_maker *m, uint32_t type, size_t offset, size_t size)
{
	bool wide = m->spec->class == ELFCLASS64;

	elf_put(m, type, 4);
	if (wide)
		elf_put(m, PF_R, 4);
	elf_word(m, offset);
	elf_word(m, offset); /* mapped at its offset */
	elf_word(m, offset);
	elf_word(m, size);
	elf_word(m, size);
	if (!wide)
		elf_put(m, PF_R, 4);
	elf_word(m, 8);
}

static void elf_shdr(struct elf_maker *m, uint32_t name, uint32_t type, size_t offset, size_t size)
{
	elf_put(m, name, 4);
	elf_put(m, type, 4);
	elf_word(m, 0);
	elf_word(m, 0);
	elf_word(m, offset);
	elf_word(m, size);
	elf_put(m, 0, 8);
	elf_word(m, 1);
	elf_word(m, 0);
}

static void elf_dyn(struct elf_maker *m, uint64_t tag, uint64_t value)
{
	elf_word(m, tag);
	elf_word(m, value);
}

#define ELF_PHDRS 3
#define ELF_SHDRS 3 /* none, .modinfo, .shstrtab */

static void elf_header(struct elf_maker *m, size_t phoff, size_t shoff)
{
	bool wide = m->spec->class == ELFCLASS64;
	const uint8_t ident[EI_NIDENT] = {
		0x7f, 'E', 'L', 'F', m->spec->class, m->spec->encoding, EV_CURRENT
	};

	m->at = 0;
	memcpy(m->bytes, ident, sizeof(ident));
	m->at = sizeof(ident);
	elf_put(m, m->spec->type, 2);
	elf_put(m, m->spec->machine, 2);
	elf_put(m, EV_CURRENT, 4);
	elf_word(m, 0);
	elf_word(m, phoff);
	elf_word(m, shoff);
	elf_put(m, 0, 4);
	elf_put(m, wide ? 64 : 52, 2);
	elf_put(m, wide ? 56 : 32, 2);
	elf_put(m, ELF_PHDRS, 2);
	elf_put(m, wide ? 64 : 40, 2);
	elf_put(m, ELF_SHDRS, 2);
	elf_put(m, 2, 2);
}

struct blob make_elf(const struct elf_spec *spec)
{
	static const char shstrtab[] = "\0.modinfo\0.shstrtab";
	struct elf_maker m = { .spec = spec };
	size_t interp, interp_size = 0, strtab, strsz, names[8], n = 0, dyn, dyn_size, info, shstr,
		       shoff, phoff;
	bool dynamic = spec->needed[0] || spec->rpath || spec->runpath;
	struct blob b = { .mode = S_IFREG | 0755 };

	m.at = 512;
	interp = m.at;
	if (spec->interp) {
		(void)elf_string(&m, spec->interp);
		interp_size = m.at - interp;
	}
	strtab = m.at;
	(void)elf_string(&m, "");
	for (size_t i = 0; spec->needed[i]; i++)
		names[n++] = elf_string(&m, spec->needed[i]) - strtab;
	names[6] = spec->rpath ? elf_string(&m, spec->rpath) - strtab : 0;
	names[7] = spec->runpath ? elf_string(&m, spec->runpath) - strtab : 0;
	strsz = m.at - strtab;
	m.at = (m.at + 15) / 16 * 16;
	dyn = m.at;
	for (size_t i = 0; i < n; i++)
		elf_dyn(&m, DT_NEEDED, names[i]);
	if (spec->rpath)
		elf_dyn(&m, DT_RPATH, names[6]);
	if (spec->runpath)
		elf_dyn(&m, DT_RUNPATH, names[7]);
	elf_dyn(&m, DT_STRTAB, strtab);
	elf_dyn(&m, DT_STRSZ, strsz);
	elf_dyn(&m, DT_NULL, 0);
	dyn_size = m.at - dyn;
	info = m.at;
	if (spec->modinfo_size)
		memcpy(m.bytes + info, spec->modinfo, spec->modinfo_size);
	m.at += spec->modinfo_size;
	shstr = m.at;
	memcpy(m.bytes + shstr, shstrtab, sizeof(shstrtab));
	m.at = (m.at + sizeof(shstrtab) + 7) / 8 * 8;
	shoff = m.at;
	elf_shdr(&m, 0, SHT_NULL, 0, 0);
	elf_shdr(&m, spec->modinfo ? 1 : 0, SHT_PROGBITS, info, spec->modinfo_size);
	elf_shdr(&m, 10, SHT_STRTAB, shstr, sizeof(shstrtab));
	b.size = m.at;
	phoff = 64;
	elf_header(&m, phoff, shoff);
	m.at = phoff;
	elf_phdr(&m, PT_LOAD, 0, b.size);
	elf_phdr(&m, spec->interp ? PT_INTERP : PT_NULL, interp, interp_size);
	elf_phdr(&m, dynamic ? PT_DYNAMIC : PT_NULL, dyn, dyn_size);
	b.data = malloc(b.size + 1);
	if (!b.data)
		abort();
	memcpy(b.data, m.bytes, b.size);
	b.data[b.size] = '\0';
	return b;
}
