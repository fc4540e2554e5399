// SPDX-License-Identifier: MIT
/* What ELF files say about themselves, whole ones and damaged ones. */
#include "initramfs/pack/elfinfo.h"
#include "tests/lib/make-elf.h"
#include "tests/lib/tap.h"

static void test_kinds(void)
{
	static const struct {
		uint8_t class, encoding;
		uint16_t machine;
		const char *name, *triplet;
	} rows[] = {
		{ ELFCLASS64, ELFDATA2LSB, EM_AARCH64, "aarch64", "aarch64-linux-gnu" },
		{ ELFCLASS64, ELFDATA2LSB, EM_X86_64, "x86_64", "x86_64-linux-gnu" },
		{ ELFCLASS32, ELFDATA2LSB, EM_X86_64, "x32", "x86_64-linux-gnux32" },
		{ ELFCLASS32, ELFDATA2LSB, EM_ARM, "arm", "arm-linux-gnueabihf" },
		{ ELFCLASS64, ELFDATA2MSB, EM_S390, "s390x", "s390x-linux-gnu" },
		{ ELFCLASS32, ELFDATA2MSB, EM_MIPS, "machine 8", "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct elf_spec spec = {
			.class = rows[i].class,
			.encoding = rows[i].encoding,
			.machine = rows[i].machine,
			.type = ET_DYN,
			.interp = "/lib/ld.so",
			.needed = { "libone.so.1", "libtwo.so" },
			.rpath = "/old",
			.runpath = "/new",
		};
		_cleanup_blob_ struct blob b = make_elf(&spec);
		_cleanup_elf_ struct elf_info info = { 0 };
		char buf[ELF_MACHINE_NAME_SIZE];

		ok_int(elf_info_parse(&b, &info), 0, "%s: parsed", rows[i].name);
		ok(info.kind.class == rows[i].class && info.kind.encoding == rows[i].encoding &&
			   info.kind.machine == rows[i].machine && info.type == ET_DYN,
		   "%s: kind", rows[i].name);
		ok_str(elf_machine_name(&info.kind, buf), rows[i].name, "machine %zu: name", i);
		ok_str(elf_triplets(&info.kind)[0], rows[i].triplet, "%s: triplet", rows[i].name);
		ok_str(info.interp, "/lib/ld.so", "%s: interpreter", rows[i].name);
		ok_int(info.needed_count, 2, "%s: needs two", rows[i].name);
		ok_str(info.needed ? info.needed[1] : NULL, "libtwo.so", "%s: in order",
		       rows[i].name);
		ok_str(info.rpath, "/old", "%s: rpath", rows[i].name);
		ok_str(info.runpath, "/new", "%s: runpath", rows[i].name);
	}
}

static void test_static(void)
{
	const struct elf_spec spec = { ELF_ARM64 };
	_cleanup_blob_ struct blob b = make_elf(&spec);
	_cleanup_elf_ struct elf_info info = { 0 };

	ok_int(elf_info_parse(&b, &info), 0, "static: parsed");
	ok(!info.interp && !info.needed_count && !info.rpath && !info.runpath,
	   "static: needs nothing");
}

static void test_not_elf(void)
{
	static const struct {
		const char *text;
		int want;
	} rows[] = {
		{ "", -ENOEXEC },
		{ "#!/bin/sh\n", -ENOEXEC },
		{ "\177EL", -ENOEXEC },
		{ "\177ELF", -EBADMSG },
		{ "\177ELF\2\1\1", -EBADMSG },
		{ "!<arch>\n", -ENOEXEC },
		{ "\177ELF\011\1\1xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
		  -EBADMSG },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct blob b = { .data = (uint8_t *)strdup(rows[i].text),
				  .size = strlen(rows[i].text) };
		struct elf_info info = { 0 };

		ok_int(elf_info_parse(&b, &info), rows[i].want, "not ELF, row %zu", i);
		blob_free(&b);
	}
}

/* Each row makes one lie. Offsets as in make_elf(): the header 0, program headers from 64. */
static void test_lies(void)
{
	static const struct {
		const char *name;
		size_t offset;
		uint64_t value;
		size_t size;
	} rows[] = {
		{ "program headers beyond the end", 32, 1 << 20, 8 },
		{ "program headers at the end of numbers", 32, UINT64_MAX - 8, 8 },
		{ "interpreter beyond the end", 64 + 56 + 8, 1 << 20, 8 },
		{ "interpreter of endless size", 64 + 56 + 32, UINT64_MAX, 8 },
		{ "interpreter without an end", 64 + 56 + 32, 3, 8 },
		{ "empty interpreter", 64 + 56 + 32, 0, 8 },
		{ "dynamic section beyond the end", 64 + 112 + 8, 1 << 20, 8 },
		{ "dynamic section of endless size", 64 + 112 + 32, UINT64_MAX, 8 },
		{ "no segment holds the names", 64 + 32, 16, 8 },
		{ "the segment of the names is beyond the end", 64 + 8, 1 << 20, 8 },
	};
	const struct elf_spec spec = { ELF_ARM64, .interp = "/lib/ld.so",
				       .needed = { "libc.so.6" } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_blob_ struct blob b = make_elf(&spec);
		struct elf_info info = { .type = 7 };

		for (size_t k = 0; k < rows[i].size; k++)
			b.data[rows[i].offset + k] = (uint8_t)(rows[i].value >> (8 * k));
		ok_int(elf_info_parse(&b, &info), -EBADMSG, "%s", rows[i].name);
		ok_int(info.type, 7, "%s: result untouched", rows[i].name);
	}
}

/* Cut anywhere: an error or, behind all that matters, the same answer. Never a crash. */
static void test_cut(void)
{
	const struct elf_spec spec = { ELF_ARM64, .interp = "/lib/ld.so", .needed = { "libc.so.6" },
				       .modinfo = "license=GPL", .modinfo_size = 12 };
	_cleanup_blob_ struct blob whole = make_elf(&spec);
	bool fine = true;

	for (size_t len = 0; len < whole.size; len++) {
		struct blob b = { .data = malloc(len + 1), .size = len };
		struct elf_info info = { 0 };
		int r;

		if (!b.data)
			abort();
		memcpy(b.data, whole.data, len); /* no byte more: ASan sees a step too far */
		r = elf_info_parse(&b, &info);
		fine &= r == 0 ? info.interp && info.needed_count == 1
			       : r == -ENOEXEC || r == -EBADMSG;
		elf_info_free(&info);
		blob_free(&b);
	}
	ok(fine, "cut at each of %zu bytes", whole.size);
}

static int collect(const char *value, void *ctx)
{
	strcat(ctx, value);
	strcat(ctx, ";");
	return streq(value, "stop") ? -ECANCELED : 0;
}

static void test_modinfo(void)
{
#define INFO(s) s, sizeof(s)
	static const struct {
		const char *name, *info;
		size_t size;
		int want;
		const char *values;
	} rows[] = {
		{ "one", INFO("softdep=pre: a"), 0, "pre: a;" },
		{ "two among others", INFO("softdep=x\0license=GPL\0softdep=y"), 0, "x;y;" },
		{ "another key that begins like it", INFO("softdeps=x\0soft=y"), 0, "" },
		{ "no value", INFO("softdep="), 0, ";" },
		{ "no sign", INFO("softdep"), 0, "" },
		{ "padding", INFO("\0\0softdep=x\0\0"), 0, "x;" },
		{ "no end", "softdep=x", 9, -EBADMSG, "" },
		{ "stopped", INFO("softdep=stop\0softdep=y"), -ECANCELED, "stop;" },
		{ "empty", "", 0, 0, "" },
		{ "not a module", NULL, 0, -EBADMSG, "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct elf_spec spec = { ELF_ARM64, .modinfo = rows[i].info,
					       .modinfo_size = rows[i].size };
		_cleanup_blob_ struct blob b = make_elf(&spec);
		char values[64] = "";

		ok_int(elf_modinfo(&b, "softdep", collect, values), rows[i].want, "modinfo: %s",
		       rows[i].name);
		ok_str(values, rows[i].values, "modinfo: %s: values", rows[i].name);
	}
}

int main(void)
{
	test_kinds();
	test_static();
	test_not_elf();
	test_lies();
	test_cut();
	test_modinfo();
	return tap_done();
}
