// SPDX-License-Identifier: MIT
#include "initramfs/pack/elfinfo.h"

#include <gelf.h>

#define NEEDED_MAX 512 /* no program needs more; a crafted one might say it does */

static const struct machine {
	uint16_t machine;
	uint8_t class;
	const char *name;
	const char *triplets[4];
} machines[] = {
	{ EM_AARCH64, ELFCLASS64, "aarch64", { "aarch64-linux-gnu", "" } },
	{ EM_X86_64, ELFCLASS64, "x86_64", { "x86_64-linux-gnu", "" } },
	{ EM_X86_64, ELFCLASS32, "x32", { "x86_64-linux-gnux32", "" } },
	{ EM_386, ELFCLASS32, "i386", { "i386-linux-gnu", "" } },
	{ EM_ARM, ELFCLASS32, "arm", { "arm-linux-gnueabihf", "arm-linux-gnueabi", "" } },
	{ EM_RISCV, ELFCLASS64, "riscv64", { "riscv64-linux-gnu", "" } },
	{ EM_PPC64, ELFCLASS64, "ppc64", { "powerpc64le-linux-gnu", "powerpc64-linux-gnu", "" } },
	{ EM_S390, ELFCLASS64, "s390x", { "s390x-linux-gnu", "" } },
};

static const struct machine *machine_of(const struct elf_kind *kind)
{
	for (size_t i = 0; i < ARRAY_SIZE(machines); i++)
		if (machines[i].machine == kind->machine && machines[i].class == kind->class)
			return &machines[i];
	return NULL;
}

const char *elf_machine_name(const struct elf_kind *kind, char buf[static ELF_MACHINE_NAME_SIZE])
{
	const struct machine *m = machine_of(kind);

	if (m)
		return m->name;
	(void)snprintf(buf, ELF_MACHINE_NAME_SIZE, "machine %u", kind->machine);
	return buf;
}

const char *const *elf_triplets(const struct elf_kind *kind)
{
	static const char *const plain[] = { "", NULL };
	const struct machine *m = machine_of(kind);

	return m ? m->triplets : plain;
}

bool elf_kind_equal(const struct elf_kind *a, const struct elf_kind *b)
{
	return a->class == b->class && a->encoding == b->encoding && a->machine == b->machine;
}

void elf_info_free(struct elf_info *e)
{
	for (size_t i = 0; i < e->needed_count; i++)
		free(e->needed[i]);
	free(e->needed);
	free(e->interp);
	free(e->rpath);
	free(e->runpath);
	*e = (struct elf_info) { 0 };
}

static void elf_end_p(Elf **e)
{
	if (*e)
		(void)elf_end(*e);
}

/* libelf reads the header's bytes as they are; nothing is written. */
static int open_elf(const struct blob *file, Elf **ret)
{
	Elf *e;

	if (elf_version(EV_CURRENT) == EV_NONE)
		return -ENOSYS;
	if (file->size < SELFMAG || memcmp(file->data, ELFMAG, SELFMAG) != 0)
		return -ENOEXEC;
	e = elf_memory((char *)file->data, file->size);
	if (!e)
		return -EBADMSG;
	if (elf_kind(e) != ELF_K_ELF) {
		(void)elf_end(e);
		return -EBADMSG;
	}
	*ret = e;
	return 0;
}

/* The string at @offset of the file, ended by NUL before @end. */
static int string_at(const struct blob *file, uint64_t offset, uint64_t end, char **ret)
{
	const uint8_t *nul;
	char *s;

	if (end > file->size || offset >= end)
		return -EBADMSG;
	nul = memchr(file->data + offset, '\0', (size_t)(end - offset));
	if (!nul)
		return -EBADMSG;
	s = strdup((const char *)file->data + offset);
	if (!s)
		return -ENOMEM;
	free(*ret); /* said twice: the last word counts */
	*ret = s;
	return 0;
}

/* Where the loader would put @size bytes at @vaddr, in the file. */
static int file_offset(Elf *e, size_t phnum, uint64_t vaddr, uint64_t size, uint64_t *ret)
{
	for (size_t i = 0; i < phnum; i++) {
		GElf_Phdr ph;

		if (!gelf_getphdr(e, (int)i, &ph))
			return -EBADMSG;
		if (ph.p_type != PT_LOAD || vaddr < ph.p_vaddr)
			continue;
		if (vaddr - ph.p_vaddr > ph.p_filesz || size > ph.p_filesz - (vaddr - ph.p_vaddr))
			continue;
		if (__builtin_add_overflow(ph.p_offset, vaddr - ph.p_vaddr, ret))
			return -EBADMSG;
		return 0;
	}
	return -EBADMSG;
}

static int add_needed(struct elf_info *info, char *name)
{
	char **p;

	if (info->needed_count == NEEDED_MAX)
		return -EBADMSG;
	p = reallocarray(info->needed, info->needed_count + 1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	info->needed = p;
	info->needed[info->needed_count++] = name;
	return 0;
}

/* One entry of the dynamic section; its string lies in [strtab, end). */
static int take_dyn(const struct blob *file, const GElf_Dyn *dyn, uint64_t strtab, uint64_t end,
		    struct elf_info *info)
{
	_cleanup_free_ char *name = NULL;
	char **into = &name;
	uint64_t at;
	int r;

	if (dyn->d_tag == DT_RPATH)
		into = &info->rpath;
	else if (dyn->d_tag == DT_RUNPATH)
		into = &info->runpath;
	else if (dyn->d_tag != DT_NEEDED)
		return 0;
	if (__builtin_add_overflow(strtab, dyn->d_un.d_val, &at))
		return -EBADMSG;
	r = string_at(file, at, end, into);
	if (r < 0 || into != &name)
		return r;
	if (!*name)
		return -EBADMSG;
	r = add_needed(info, name);
	if (r == 0)
		name = NULL;
	return r;
}

/* The entries up to DT_NULL; -EBADMSG when one cannot be read. */
static int dyn_count(Elf_Data *data, int max, int *ret)
{
	for (int i = 0; i < max; i++) {
		GElf_Dyn dyn;

		if (!gelf_getdyn(data, i, &dyn))
			return -EBADMSG;
		if (dyn.d_tag == DT_NULL) {
			*ret = i;
			return 0;
		}
	}
	*ret = max;
	return 0;
}

static int parse_dynamic(const struct blob *file, Elf *e, size_t phnum, const GElf_Phdr *ph,
			 struct elf_info *info)
{
	uint64_t strtab = 0, strsz = 0, offset;
	size_t entry = gelf_fsize(e, ELF_T_DYN, 1, EV_CURRENT);
	Elf_Data *data;
	int n, r;

	if (!entry || ph->p_offset > file->size || ph->p_filesz > file->size - ph->p_offset)
		return -EBADMSG;
	data = elf_getdata_rawchunk(e, (int64_t)ph->p_offset, ph->p_filesz, ELF_T_DYN);
	if (!data)
		return -EBADMSG;
	r = dyn_count(data, (int)(ph->p_filesz / entry), &n);
	if (r < 0)
		return r;
	for (int i = 0; i < n; i++) {
		GElf_Dyn dyn;

		if (!gelf_getdyn(data, i, &dyn))
			return -EBADMSG;
		if (dyn.d_tag == DT_STRTAB)
			strtab = dyn.d_un.d_ptr;
		if (dyn.d_tag == DT_STRSZ)
			strsz = dyn.d_un.d_val;
	}
	if (!strsz) /* a static-pie program: a dynamic section without names */
		return 0;
	r = file_offset(e, phnum, strtab, strsz, &offset);
	for (int i = 0; i < n && r == 0; i++) {
		GElf_Dyn dyn;

		r = gelf_getdyn(data, i, &dyn) ? take_dyn(file, &dyn, offset, offset + strsz, info)
					       : -EBADMSG;
	}
	return r;
}

static int parse_segments(const struct blob *file, Elf *e, const GElf_Ehdr *eh,
			  struct elf_info *info)
{
	size_t phnum;

	/* libelf makes do with the headers a file cut short still has; we do not */
	if (elf_getphdrnum(e, &phnum) != 0 || (eh->e_phnum != PN_XNUM && eh->e_phnum != phnum))
		return -EBADMSG;
	for (size_t i = 0; i < phnum; i++) {
		GElf_Phdr ph;
		int r = 0;

		if (!gelf_getphdr(e, (int)i, &ph))
			return -EBADMSG;
		if (ph.p_type == PT_INTERP) {
			uint64_t end;

			if (__builtin_add_overflow(ph.p_offset, ph.p_filesz, &end))
				return -EBADMSG;
			r = string_at(file, ph.p_offset, end, &info->interp);
		} else if (ph.p_type == PT_DYNAMIC) {
			r = parse_dynamic(file, e, phnum, &ph, info);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

int elf_info_parse(const struct blob *file, struct elf_info *ret)
{
	_cleanup_(elf_end_p) Elf *e = NULL;
	_cleanup_elf_ struct elf_info info = { 0 };
	GElf_Ehdr eh;
	int r = open_elf(file, &e);

	if (r < 0)
		return r;
	if (!gelf_getehdr(e, &eh))
		return -EBADMSG;
	info.kind = (struct elf_kind) { .class = eh.e_ident[EI_CLASS],
					.encoding = eh.e_ident[EI_DATA],
					.machine = eh.e_machine };
	info.type = eh.e_type;
	r = parse_segments(file, e, &eh, &info);
	if (r < 0)
		return r;
	*ret = info;
	info = (struct elf_info) { 0 };
	return 0;
}

/* The strings of @text, which has @size bytes: "key=value", each ended by NUL. */
static int each_modinfo(const char *text, size_t size, const char *key,
			int (*each)(const char *value, void *ctx), void *ctx)
{
	size_t key_len = strlen(key);

	while (size) {
		size_t len = strnlen(text, size);

		if (len == size) /* the last one has no end */
			return -EBADMSG;
		if (len > key_len && text[key_len] == '=' && strncmp(text, key, key_len) == 0) {
			int r = each(text + key_len + 1, ctx);

			if (r < 0)
				return r;
		}
		text += len + 1;
		size -= len + 1;
	}
	return 0;
}

int elf_modinfo(const struct blob *file, const char *key, int (*each)(const char *value, void *ctx),
		void *ctx)
{
	_cleanup_(elf_end_p) Elf *e = NULL;
	size_t names;
	int r = open_elf(file, &e);

	if (r < 0)
		return r;
	if (elf_getshdrstrndx(e, &names) != 0)
		return -EBADMSG;
	for (Elf_Scn *scn = elf_nextscn(e, NULL); scn; scn = elf_nextscn(e, scn)) {
		const char *name;
		GElf_Shdr sh;

		if (!gelf_getshdr(scn, &sh))
			return -EBADMSG;
		name = elf_strptr(e, names, sh.sh_name);
		if (!name || !streq(name, ".modinfo"))
			continue;
		if (sh.sh_type == SHT_NOBITS || sh.sh_offset > file->size ||
		    sh.sh_size > file->size - sh.sh_offset)
			return -EBADMSG;
		return each_modinfo((const char *)file->data + sh.sh_offset, (size_t)sh.sh_size,
				    key, each, ctx);
	}
	return -EBADMSG;
}
