// SPDX-License-Identifier: MIT
/* Which modules are wanted, and in which order they load. The rest is in tests/contract. */
#include "initramfs/pack/kmods.h"
#include "tests/lib/tap.h"

#define H(a, b)                                                                                    \
	{                                                                                          \
		a, b, true                                                                         \
	}
#define S(a, b)                                                                                    \
	{                                                                                          \
		a, b, false                                                                        \
	}

static void test_levels(void)
{
	static const struct {
		const char *name;
		size_t count, edge_count;
		struct kmod_edge edges[6];
		int want;
		unsigned levels[5];
	} rows[] = {
		{ "none", 0, 0, { { 0 } }, 0, { 0 } },
		{ "one alone", 1, 0, { { 0 } }, 0, { 0 } },
		{ "a chain", 3, 2, { H(0, 1), H(1, 2) }, 0, { 2, 1, 0 } },
		{ "a chain, transitive", 3, 3, { H(0, 1), H(0, 2), H(1, 2) }, 0, { 2, 1, 0 } },
		{ "a diamond", 4, 4, { H(0, 1), H(0, 2), H(1, 3), H(2, 3) }, 0, { 2, 1, 1, 0 } },
		{ "the longest way counts",
		  4,
		  4,
		  { H(0, 3), H(0, 1), H(1, 2), H(2, 3) },
		  0,
		  { 3, 2, 1, 0 } },
		{ "soft counts like hard", 3, 2, { S(0, 1), H(1, 2) }, 0, { 2, 1, 0 } },
		{ "twice", 2, 3, { H(0, 1), H(0, 1), S(0, 1) }, 0, { 1, 0 } },
		{ "a hard circle", 2, 2, { H(0, 1), H(1, 0) }, -ELOOP, { 0 } },
		{ "itself", 1, 1, { H(0, 0) }, -ELOOP, { 0 } },
		{ "itself, softly", 1, 1, { S(0, 0) }, 0, { 0 } },
		{ "a soft circle: the first wins", 2, 2, { S(0, 1), S(1, 0) }, 0, { 1, 0 } },
		{ "soft against hard: hard wins", 2, 2, { S(0, 1), H(1, 0) }, 0, { 0, 1 } },
		{ "soft against hard, far", 3, 3, { S(0, 2), H(1, 0), H(2, 1) }, 0, { 0, 1, 2 } },
		{ "a hard circle of three beside others",
		  5,
		  4,
		  { H(0, 1), H(2, 3), H(3, 4), H(4, 2) },
		  -ELOOP,
		  { 0 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned levels[5] = { 0 };

		ok_int(kmod_levels(rows[i].count, rows[i].edges, rows[i].edge_count, levels),
		       rows[i].want, "levels: %s", rows[i].name);
		ok(rows[i].want < 0 ||
			   memcmp(levels, rows[i].levels, rows[i].count * sizeof(levels[0])) == 0,
		   "levels: %s: right", rows[i].name);
	}
}

static void test_groups(void)
{
	static const struct {
		const char *list;
		int want;
		unsigned set;
	} rows[] = {
		{ "usb", 0, KMOD_USB },	    { "erofs,squashfs", 0, KMOD_EROFS | KMOD_SQUASHFS },
		{ "usb,usb", 0, KMOD_USB }, { "", -EINVAL, 0 },
		{ "usb,", -EINVAL, 0 },	    { ",usb", -EINVAL, 0 },
		{ "us", -EINVAL, 0 },	    { "usbx", -EINVAL, 0 },
		{ "USB", -EINVAL, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned set = 0;

		ok_int(kmod_groups_parse(rows[i].list, &set), rows[i].want, "groups \"%s\"",
		       rows[i].list);
		ok_int(set, rows[i].set, "groups \"%s\": set", rows[i].list);
	}
}

static void test_add(void)
{
	static const struct {
		const char *text;
		bool dash;
		int want;
		const char *name, *params;
		bool optional;
	} rows[] = {
		{ "nvme", false, 0, "nvme", NULL, false },
		{ "nvme a=1 b=2", false, 0, "nvme", "a=1 b=2", false },
		{ "nvme \ta=1", false, 0, "nvme", "a=1", false },
		{ "nvme ", false, 0, "nvme", NULL, false },
		/* bf-init takes no tab in its list: the boot would end there. */
		{ "nvme\ta=1\tb=\"2\t3\"", false, 0, "nvme", "a=1 b=\"2 3\"", false },
		{ "nvme a=\x7f", false, -EINVAL, NULL, NULL, false },
		{ "-nvme", true, 0, "nvme", NULL, true },
		{ "-nvme a=1", true, 0, "nvme", "a=1", true },
		{ "crypto-sha256", true, 0, "crypto-sha256", NULL, false },
		{ "-nvme", false, -EINVAL, NULL, NULL, false },
		{ "--nvme", true, -EINVAL, NULL, NULL, false },
		{ "", false, -EINVAL, NULL, NULL, false },
		{ " nvme", false, -EINVAL, NULL, NULL, false },
		{ "-", true, -EINVAL, NULL, NULL, false },
		{ "kernel/nvme.ko", false, -EINVAL, NULL, NULL, false },
		{ "nvme a=1\n0 /evil.ko", false, -EINVAL, NULL, NULL, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_wants_ struct kmod_wants w = { 0 };

		ok_int(kmod_wants_add(&w, rows[i].text, false, rows[i].dash, "why"), rows[i].want,
		       "want, row %zu", i);
		ok_int(w.count, rows[i].want == 0 ? 1 : 0, "want, row %zu: taken or not", i);
		if (!w.count)
			continue;
		ok_str(w.list[0].name, rows[i].name, "want, row %zu: name", i);
		ok_str(w.list[0].params, rows[i].params, "want, row %zu: parameters", i);
		ok(w.list[0].optional == rows[i].optional, "want, row %zu: optional or not", i);
	}
}

static const struct kmod_want *find(const struct kmod_wants *w, const char *name)
{
	for (size_t i = 0; i < w->count; i++)
		if (streq(w->list[i].name, name))
			return &w->list[i];
	return NULL;
}

static void test_twice(void)
{
	_cleanup_wants_ struct kmod_wants w = { 0 };

	ok_int(kmod_wants_defaults(&w, 0), 0, "the defaults");
	ok(find(&w, "nvme") && find(&w, "nvme")->optional, "nvme is optional");
	ok(find(&w, "dm-verity") && !find(&w, "dm-verity")->optional, "dm-verity is required");
	ok(find(&w, "bcm2835_wdt") && find(&w, "bcm2835_wdt")->watchdog, "a watchdog is one");
	ok(find(&w, "virtio_mmio") && find(&w, "virtio_mmio")->late, "virtio_mmio is late");
	ok_int(kmod_wants_add(&w, "virtio-mmio", true, false, "me"), 0, "virtio_mmio asked for");
	ok(!find(&w, "virtio_mmio")->late && find(&w, "virtio_mmio")->optional,
	   "now it is not late, and still optional");
	ok(!find(&w, "usb-storage"), "no USB unless asked for");
	ok_int(kmod_wants_add(&w, "nvme x=1", false, false, "me"), 0, "nvme asked for");
	ok(!find(&w, "nvme")->optional, "now it is required");
	ok_str(find(&w, "nvme")->params, "x=1", "and has a parameter");
	ok_int(kmod_wants_add(&w, "dm_verity", true, false, "me"), 0, "dm_verity as an option");
	ok(!find(&w, "dm-verity")->optional && !find(&w, "dm_verity"),
	   "the same one, still required");
	ok_int(kmod_wants_add(&w, "bcm2835_wdt", false, false, "me"), 0, "a watchdog asked for");
	ok(find(&w, "bcm2835_wdt")->watchdog, "it still is one");
}

static void test_with(void)
{
	_cleanup_wants_ struct kmod_wants w = { 0 };

	ok_int(kmod_wants_defaults(&w, KMOD_USB | KMOD_EROFS), 0, "with USB and erofs");
	ok(find(&w, "usb-storage") && find(&w, "erofs") && !find(&w, "squashfs"),
	   "these, and no more");
}

#define MARKER "~Module signature appended~\n"
#define SIGNED(head, sig_len)                                                                      \
	"module"                                                                                   \
	"signature" head sig_len MARKER

static void test_signature(void)
{
#define ROW(text, want, left)                                                                      \
	{                                                                                          \
		text, sizeof(text) - 1, want, left                                                 \
	}
	static const struct {
		const char *data;
		size_t size;
		int want;
		size_t left;
	} rows[] = {
		ROW("module", 0, 6),
		ROW("", 0, 0),
		ROW(SIGNED("\0\0\2\0\0\0\0\0", "\0\0\0\x9"), 0, 6),
		ROW(SIGNED("\0\0\2\0\0\0\0\0", "\0\0\0\x9") "x", 0, 56),
		ROW(SIGNED("\0\0\2\0\0\0\0\0", "\0\0\0\xe"), 0, 1),
		ROW(SIGNED("\0\0\2\0\0\0\0\0", "\0\0\0\xf"), -EBADMSG, 0),
		ROW(SIGNED("\0\0\2\0\0\0\0\0", "\0\0\0\x10"), -EBADMSG, 0),
		ROW(SIGNED("\0\0\2\0\0\0\0\0", "\xff\xff\xff\xff"), -EBADMSG, 0),
		ROW(SIGNED("\0\0\2\0\0\0\0\0", "\x9\0\0\0"), -EBADMSG, 0),
		ROW(SIGNED("\0\0\1\0\0\0\0\0", "\0\0\0\x9"), -EBADMSG, 0),
		ROW(SIGNED("\1\0\2\0\0\0\0\0", "\0\0\0\x9"), -EBADMSG, 0),
		ROW(SIGNED("\0\0\2\0\0\0\0\1", "\0\0\0\x9"), -EBADMSG, 0),
		ROW("\0\0\2\0\0\0\0\0\0\0\0" MARKER, -EBADMSG, 0),
		ROW(MARKER, -EBADMSG, 0),
		ROW("~Module signature appended~", 0, 27),
	};
#undef ROW

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t left = 0;

		ok_int(kmod_unsigned_size(rows[i].data, rows[i].size, &left), rows[i].want,
		       "signature, row %zu", i);
		ok_int(left, rows[i].left, "signature, row %zu: what is left", i);
	}
}

static void test_pattern(void)
{
	static const struct {
		const char *alias, *want;
	} rows[] = {
		{ "pci:v*d*sv*sd*bc01sc08i02*", "pci:v*d*sv*sd*bc01sc08i02*" },
		{ "platform:reg-fixed-voltage", "platform:reg_fixed_voltage" },
		{ "acpi*:x-[0-9-]-y:*", "acpi*:x_[0-9-]_y:*" },
		{ "cpu:type:*:feature:*0006*", "cpu:type:*:feature:*0006*" },
		{ "fs-ext4", NULL },
		{ "crypto-sha256", NULL },
		{ "block-major-135-*", NULL },
		{ "devname:loop-control", NULL },
		{ "dmi:*:svnQEMU*", NULL },
		{ "input:b*v*", NULL },
		{ "of:x\n0 /evil.ko", NULL },
		{ "", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *pattern = NULL;

		ok_int(kmod_device_pattern(rows[i].alias, &pattern), 0, "pattern, row %zu", i);
		ok_str(pattern, rows[i].want, "pattern, row %zu: right", i);
	}
}

int main(void)
{
	test_signature();
	test_pattern();
	test_levels();
	test_groups();
	test_add();
	test_twice();
	test_with();
	return tap_done();
}
