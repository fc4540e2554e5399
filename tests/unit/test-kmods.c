// SPDX-License-Identifier: MIT
/* Which modules are wanted, and in which order they load. The rest is in tests/contract. */
#include "initramfs/kmods.h"
#include "tests/unit/tap.h"

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

int main(void)
{
	test_levels();
	test_groups();
	test_add();
	test_twice();
	test_with();
	return tap_done();
}
