// SPDX-License-Identifier: MIT
#include "initramfs/init/features.h"
#include "tests/lib/tap.h"

static const char *sign;

static bool exists(const char *path)
{
	return sign && streq(path, sign);
}

#define QUOTA_SIGN "/proc/sys/fs/quota"
#define FOLD_SIGN  "/sys/fs/ext4/features/casefold"

/* What mke2fs makes today: nothing of it is ever lacking. */
#define INCOMPAT  0x2c2
#define RO_COMPAT 0x46b

static const struct row {
	const char *name;
	uint32_t incompat, ro_compat, log_block;
	int error;
	const char *sign, *text; /* NULL: another cause */
} rows[] = {
	{ "as mke2fs makes it", INCOMPAT, RO_COMPAT, 2, EINVAL, NULL, NULL },
	{ "damage", INCOMPAT, RO_COMPAT, 2, EUCLEAN, NULL, NULL },
	{ "quota, no module", INCOMPAT, RO_COMPAT | 0x100, 2, ESRCH, QUOTA_SIGN,
	  "has the ext4 feature 'quota', which this kernel lacks: boot one with CONFIG_QFMT_V2, "
	  "the "
	  "module quota_v2, or take it off: tune2fs -O ^quota" },
	{ "quota, no quotas", INCOMPAT, RO_COMPAT | 0x100, 2, EINVAL, NULL,
	  "has the ext4 feature 'quota', which this kernel lacks: boot one with CONFIG_QUOTA, or "
	  "take "
	  "it off: tune2fs -O ^quota" },
	{ "quota, and the kernel has it", INCOMPAT, RO_COMPAT | 0x100, 2, EINVAL, QUOTA_SIGN,
	  NULL },
	{ "project", INCOMPAT, RO_COMPAT | 0x2000, 2, ESRCH, NULL, "'project'" },
	{ "no process, no quota", INCOMPAT, RO_COMPAT, 2, ESRCH, NULL, NULL },
	{ "casefold", INCOMPAT | 0x20000, RO_COMPAT, 2, EINVAL, NULL,
	  "has the ext4 feature 'casefold', which this kernel lacks: boot one with CONFIG_UNICODE, "
	  "or "
	  "take it off: tune2fs -O ^casefold" },
	{ "casefold, and the kernel has it", INCOMPAT | 0x20000, RO_COMPAT, 2, EINVAL, FOLD_SIGN,
	  NULL },
	{ "casefold, damage", INCOMPAT | 0x20000, RO_COMPAT, 2, EBADMSG, NULL, NULL },
	{ "checksums", INCOMPAT, RO_COMPAT, 2, ENOENT, NULL, "'metadata_csum'" },
	{ "orphans", INCOMPAT, RO_COMPAT | 0x10000, 2, EINVAL, NULL, "'orphan_file'" },
	{ "encrypt", INCOMPAT | 0x10000, RO_COMPAT, 2, EINVAL, NULL, NULL },
	{ "encrypt, small blocks", INCOMPAT | 0x10000, RO_COMPAT, 0, EINVAL, NULL,
	  "has the ext4 feature 'encrypt', which this kernel lacks: boot one with Linux 6.3, or "
	  "pages "
	  "as large as a block" },
	{ "verity, small blocks", INCOMPAT, RO_COMPAT | 0x8000, 0, EINVAL, NULL, "'verity'" },
	{ "shared blocks", INCOMPAT, RO_COMPAT | 0x4000, 2, EINVAL, NULL,
	  "has the ext4 feature 'shared_blocks', which no kernel takes: make it anew" },
	{ "compression", INCOMPAT | 0x1, RO_COMPAT, 2, EINVAL, NULL, "'compression'" },
	{ "unknown", INCOMPAT | 0x40000000, RO_COMPAT, 2, EINVAL, NULL,
	  "has ext4 features of a later kernel (incompat 0x40000000): boot that one, or make it "
	  "anew" },
	{ "unknown for writing", INCOMPAT, RO_COMPAT | 0x80020000, 2, EINVAL, NULL,
	  "(ro_compat 0x80020000)" },
	{ "unknown, damage", INCOMPAT | 0x40000000, RO_COMPAT, 2, EUCLEAN, NULL, NULL },
	{ "large blocks", INCOMPAT, RO_COMPAT, 4, EINVAL, NULL,
	  "has blocks of 16384 bytes, more than this kernel's pages of 4096" },
	{ "senseless blocks", INCOMPAT, RO_COMPAT, 7, EINVAL, NULL, NULL },
	{ "more senseless blocks", INCOMPAT, RO_COMPAT, UINT32_MAX, EINVAL, NULL, NULL },
};

static void put_le(uint8_t *to, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		to[i] = (uint8_t)(value >> 8 * i);
}

int main(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t super[FEATURES_SUPER_SIZE] = { 0 };
		struct features f;
		char text[256] = "";
		bool lacking;

		put_le(super + 0x18, rows[i].log_block);
		put_le(super + 0x60, rows[i].incompat);
		put_le(super + 0x64, rows[i].ro_compat);
		sign = rows[i].sign;
		features_read(super, &f);
		lacking = features_lacking(&f, rows[i].error, 4096, exists, text, sizeof(text));
		ok(lacking == (rows[i].text != NULL), "%s: %s", rows[i].name,
		   lacking ? "the cause" : "another cause");
		if (!ok(strstr(text, rows[i].text ? rows[i].text : ""), "%s: text", rows[i].name))
			printf("# got \"%s\"\n", text);
		ok(strlen(text) < 200, "%s: fits behind a name", rows[i].name);
	}
	return tap_done();
}
