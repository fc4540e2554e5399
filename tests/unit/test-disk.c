// SPDX-License-Identifier: MIT
#include "initramfs/init/inventory.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#include <unistd.h>

#define SEC 1000000u /* usec */

/*
 * Disks in a line: "vda=SabABD usb:sda=S,D,D nvme0n1". One letter a partition:
 * S boot selection, a b boot, A B root, D data, - one that is not ours.
 */
static const char part_letters[] = "SabABD";

struct place {
	const char *prefix, *path;
};

static const struct place places[] = {
	{ "usb:", "/devices/platform/axi/1f00200000.usb/xhci-hcd.0/usb1/1-1/1-1:1.0/host0/block/" },
	{ "card:", "/devices/pci0000:00/usb12/12-3/12-3:1.0/mmc_host/mmc1/mmc1:0001/block/" },
	{ "multi:", "/devices/virtual/nvme-subsystem/nvme-subsys0/" },
	{ "virtual:", "/devices/virtual/block/" },
	{ "nearusb:", "/devices/platform/1f00200000.usb/usbdisk3/usb/usb3x/block/" },
	{ "", "/devices/platform/soc/block/" },
};

static const struct place *place_of(const char **spec)
{
	const struct place *p = places;

	while (!startswith(*spec, p->prefix)) /* the last one always matches */
		p++;
	*spec += strlen(p->prefix);
	return p;
}

/* Events in memory of their own, so that they can be put in any order. */
struct event {
	char devpath[200], devname[32], partname[32];
	struct uevent e;
};

#define EVENTS_MAX 1024

struct events {
	struct event list[EVENTS_MAX];
	size_t count;
};

static void add_event(struct events *ev, const char *action, const char *parent, const char *name,
		      const char *label)
{
	struct event *e = &ev->list[ev->count++];

	(void)snprintf(e->devpath, sizeof(e->devpath), "%s%s", parent, name);
	(void)snprintf(e->devname, sizeof(e->devname), "%s", name);
	(void)snprintf(e->partname, sizeof(e->partname), "%s", label ? label : "");
	e->e = (struct uevent) {
		.action = action,
		.devpath = e->devpath,
		.subsystem = "block",
		.devtype = label ? "partition" : "disk",
		.devname = e->devname,
		.partname = label && *label ? e->partname : NULL,
		.has_number = true,
		.major = 259,
		.minor = (uint32_t)ev->count,
	};
}

static void add_disks(struct events *ev, const char *spec, const char *action)
{
	while (*spec) {
		const struct place *p = place_of(&spec);
		size_t n = strcspn(spec, "= ");
		char name[64], part[80], parent[160];
		unsigned number = 1;
		bool digit;

		(void)snprintf(name, sizeof(name), "%.*s", (int)n, spec);
		digit = name[n - 1] >= '0' && name[n - 1] <= '9';
		add_event(ev, action, p->path, name, NULL);
		(void)snprintf(parent, sizeof(parent), "%s%s/", p->path, name);
		spec += n + (spec[n] == '=');
		for (; *spec && *spec != ' '; spec++) {
			const char *letter = strchr(part_letters, *spec);

			(void)snprintf(part, sizeof(part), "%s%s%u", name, digit ? "p" : "",
				       number++);
			add_event(ev, action, parent, part,
				  letter ? part_label((enum part)(letter - part_letters)) : "");
		}
		spec += strspn(spec, " ");
	}
}

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t n) /* the same in every run */
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % n;
}

static void shuffle(struct events *ev, size_t order[])
{
	for (size_t i = 0; i < ev->count; i++)
		order[i] = i;
	for (size_t i = ev->count; i > 1; i--) {
		size_t j = random_below((uint32_t)i), other = order[i - 1];

		order[i - 1] = order[j];
		order[j] = other;
	}
}

static int feed(struct inventory *inv, const struct events *ev, const size_t order[],
		uint64_t now_usec)
{
	int r = 0;

	for (size_t i = 0; i < ev->count; i++)
		r |= inventory_apply(inv, &ev->list[order ? order[i] : i].e, now_usec);
	return r;
}

/* "take vda", "wait 5", "fail disk-missing" */
static void describe(const struct choice *c, char *buf, size_t size)
{
	if (c->kind == CHOICE_TAKE)
		(void)snprintf(buf, size, "take %s", c->disk.name);
	else if (c->kind == CHOICE_WAIT)
		(void)snprintf(buf, size, "wait %llu", (unsigned long long)c->until_usec / SEC);
	else
		(void)snprintf(buf, size, "fail %s", reason_text(c->reason)->code);
}

#define ANY  BOOT_MODE_UNKNOWN
#define SD   BOOT_MODE_SD
#define USB  BOOT_MODE_USB_MSD
#define NVME BOOT_MODE_NVME
#define ALL  "SabABD"
#define END  30 /* sec: the deadline; all disks came at 0 */

static const struct row {
	const char *name, *disks;
	enum boot_mode mode;
	enum slot slot;
	unsigned at_sec;
	const char *want;
	const char *text; /* of a failure */
} rows[] = {
	{ "nothing yet", "", ANY, SLOT_A, 0, "wait 30", NULL },
	{ "nothing at the end", "", ANY, SLOT_A, END, "fail disk-missing", "no disk at all" },
	{ "complete", "vda=" ALL, ANY, SLOT_A, 0, "take vda", NULL },
	{ "complete, more partitions beside", "vda=-" ALL "--", ANY, SLOT_B, 0, "take vda", NULL },
	{ "complete, other order", "vda=DBAbaS", ANY, SLOT_A, 0, "take vda", NULL },
	{ "complete, slot unknown", "vda=" ALL, ANY, SLOT_NONE, 0, "take vda", NULL },
	{ "complete, late", "vda=" ALL, ANY, SLOT_A, 99, "take vda", NULL },
	{ "other disks have no labels", "vda=--- vdb=" ALL " vdc", ANY, SLOT_A, 0, "take vdb",
	  NULL },

	{ "no labels", "vda=-- vdb", ANY, SLOT_A, END, "fail disk-missing",
	  "vda has none of our partitions; vdb has none of our partitions" },
	{ "an empty disk", "nvme0n1", NVME, SLOT_A, END, "fail disk-missing",
	  "nvme0n1 has none of our partitions; no other disk" },

	/* Not all of it */
	{ "no data, soon", "vda=SabAB", ANY, SLOT_A, 4, "wait 5", NULL },
	{ "no data, quiet", "vda=SabAB", ANY, SLOT_A, 5, "take vda", NULL },
	{ "no boot partitions, quiet", "vda=SABD", ANY, SLOT_A, 5, "take vda", NULL },
	{ "only the root of this slot", "vda=SB", ANY, SLOT_B, 5, "take vda", NULL },
	{ "only the root of the other slot", "vda=SabAD", ANY, SLOT_B, 29, "wait 30", NULL },
	{ "only the root of the other slot, end", "vda=SabAD", ANY, SLOT_B, END,
	  "fail disk-missing", "vda lacks BF_ROOT_B; no other disk" },
	{ "one root, slot unknown", "vda=SabAD", ANY, SLOT_NONE, END, "fail disk-missing",
	  "vda lacks BF_ROOT_B; no other disk" },
	{ "no boot selection", "vda=abABD", ANY, SLOT_A, END, "fail disk-missing",
	  "vda lacks BF_BOOTSEL; no other disk" },
	{ "only data", "vda=D", ANY, SLOT_A, END, "fail disk-missing",
	  "vda lacks BF_BOOTSEL, BF_BOOT_A, BF_BOOT_B, BF_ROOT_A, BF_ROOT_B; no other disk" },
	{ "spread over two disks", "vda=SabAD vdb=B", ANY, SLOT_B, END, "fail disk-missing",
	  "vda lacks BF_ROOT_B; vdb lacks BF_BOOTSEL, BF_BOOT_A, BF_BOOT_B, BF_ROOT_A, BF_DATA" },
	{ "complete beats incomplete", "vda=SabAB vdb=" ALL, ANY, SLOT_A, 0, "take vdb", NULL },
	{ "two incomplete", "vda=SabAB vdb=SabAB", ANY, SLOT_A, 4, "wait 5", NULL },
	{ "two incomplete, quiet", "vda=SabAB vdb=SabAB", ANY, SLOT_A, 5, "fail disk-ambiguous",
	  "vda lacks BF_DATA; vdb lacks BF_DATA" },

	/* A label twice */
	{ "root twice", "vda=" ALL "A", ANY, SLOT_A, 29, "wait 30", NULL },
	{ "root twice, end", "vda=" ALL "A", ANY, SLOT_A, END, "fail disk-missing",
	  "vda has more than one BF_ROOT_A; no other disk" },
	{ "root of the other slot twice", "vda=" ALL "B", ANY, SLOT_A, END, "fail disk-missing",
	  "vda has more than one BF_ROOT_B; no other disk" },
	{ "data three times, selection twice", "vda=SS" ALL "DD", ANY, SLOT_A, END,
	  "fail disk-missing", "vda has more than one BF_BOOTSEL, BF_DATA; no other disk" },
	{ "a clean disk beside it", "vda=" ALL "A vdb=" ALL, ANY, SLOT_A, 0, "take vdb", NULL },

	/* Two of them */
	{ "two complete, soon", "vda=" ALL " vdb=" ALL, ANY, SLOT_A, 0, "wait 5", NULL },
	{ "two complete, quiet", "vda=" ALL " vdb=" ALL, ANY, SLOT_A, 5, "fail disk-ambiguous",
	  "vda has all partitions; vdb has all partitions" },
	{ "two complete, names do not decide", "nvme0n1=" ALL " vdb=" ALL, ANY, SLOT_A, 5,
	  "fail disk-ambiguous", "nvme0n1 has all partitions; vdb has all partitions" },
	{ "two of the right kind", "nvme0n1=" ALL " nvme1n1=" ALL, NVME, SLOT_A, 5,
	  "fail disk-ambiguous", "nvme0n1 has all partitions; nvme1n1 has all partitions" },
	{ "two sticks", "usb:sda=" ALL " usb:sdb=" ALL, USB, SLOT_A, 5, "fail disk-ambiguous",
	  "sda has all partitions; sdb has all partitions" },

	/* A stick never wins */
	{ "stick beside the disk", "usb:sda=" ALL " vda=" ALL, ANY, SLOT_A, 0, "take vda", NULL },
	{ "stick beside an incomplete disk", "usb:sda=" ALL " vda=SA", ANY, SLOT_A, 5, "take vda",
	  NULL },
	{ "stick beside a damaged disk", "usb:sda=" ALL " vda=SabBD", ANY, SLOT_A, END,
	  "fail disk-missing", "vda lacks BF_ROOT_A; sda is USB and does not count beside it" },
	{ "stick beside one label", "usb:sda=" ALL " vda=b", ANY, SLOT_A, 29, "wait 30", NULL },
	{ "stick beside a doubled label", "usb:sda=" ALL " vda=" ALL "D", ANY, SLOT_A, END,
	  "fail disk-missing",
	  "vda has more than one BF_DATA; sda is USB and does not count beside it" },
	{ "stick beside a disk that is not ours", "usb:sda=" ALL " vda=--", ANY, SLOT_A, 5,
	  "take sda", NULL },
	{ "stick alone, soon", "usb:sda=" ALL, ANY, SLOT_A, 4, "wait 5", NULL },
	{ "stick alone, quiet", "usb:sda=" ALL, ANY, SLOT_A, 5, "take sda", NULL },
	{ "reader on USB is a stick", "card:mmcblk1=" ALL " mmcblk0=" ALL, ANY, SLOT_A, 0,
	  "take mmcblk0", NULL },
	{ "reader on USB is no SD boot", "card:mmcblk1=" ALL, SD, SLOT_A, END, "fail disk-missing",
	  "mmcblk1 is USB, the firmware booted from SD or eMMC; no other disk" },
	{ "usb in a name is not USB", "nearusb:sda=" ALL, ANY, SLOT_A, 0, "take sda", NULL },

	/* The firmware said which kind */
	{ "NVMe boot", "nvme0n1=" ALL, NVME, SLOT_A, 0, "take nvme0n1", NULL },
	{ "NVMe boot, SD beside", "mmcblk0=" ALL " nvme0n1=" ALL, NVME, SLOT_A, 0, "take nvme0n1",
	  NULL },
	{ "SD boot, NVMe beside", "mmcblk0=" ALL " nvme0n1=" ALL, SD, SLOT_A, 0, "take mmcblk0",
	  NULL },
	{ "SD boot, NVMe came first", "nvme0n1=" ALL, SD, SLOT_A, 29, "wait 30", NULL },
	{ "SD boot, SD is gone", "nvme0n1=" ALL " mmcblk0=S", SD, SLOT_A, END, "fail disk-missing",
	  "mmcblk0 lacks BF_BOOT_A, BF_BOOT_B, BF_ROOT_A, BF_ROOT_B, BF_DATA; "
	  "nvme0n1 is NVMe, the firmware booted from SD or eMMC" },
	{ "SD boot, incomplete SD", "nvme0n1=" ALL " mmcblk0=SA", SD, SLOT_A, 5, "take mmcblk0",
	  NULL },
	{ "NVMe boot, virtio does not count", "vda=" ALL, NVME, SLOT_A, END, "fail disk-missing",
	  "vda is neither NVMe nor SD nor USB, the firmware booted from NVMe; no other disk" },
	{ "NVMe with two paths", "multi:nvme0n1=" ALL, NVME, SLOT_A, 0, "take nvme0n1", NULL },
	{ "USB boot, soon", "usb:sda=" ALL, USB, SLOT_A, 0, "wait 5", NULL },
	{ "USB boot, quiet", "usb:sda=" ALL, USB, SLOT_A, 5, "take sda", NULL },
	{ "USB boot, disk inside", "usb:sda=" ALL " nvme0n1=" ALL, USB, SLOT_A, 5, "take sda",
	  NULL },
	{ "USB boot, only a disk inside", "nvme0n1=" ALL, USB, SLOT_A, END, "fail disk-missing",
	  "nvme0n1 is NVMe, the firmware booted from USB; no other disk" },

	/* What is no disk */
	{ "boot area of an eMMC", "mmcblk0boot0=" ALL, ANY, SLOT_A, END, "fail disk-missing",
	  "no disk at all" },
	{ "boot area beside its disk", "mmcblk0boot0=" ALL " mmcblk0=" ALL, SD, SLOT_A, 0,
	  "take mmcblk0", NULL },
	{ "loop, md and the like", "virtual:loop0=" ALL " virtual:md0=" ALL, ANY, SLOT_A, END,
	  "fail disk-missing", "no disk at all" },
	{ "a name that is too long", "abcdefghijklmnopqrstuvwxyzabcdef=" ALL, ANY, SLOT_A, END,
	  "fail disk-missing", "no disk at all" },
	{ "a name for the terminal", "v\033[2Jda=" ALL, ANY, SLOT_A, END, "fail disk-missing",
	  "no disk at all" },
};

#define ORDERS 40

static bool row_holds(const struct row *row, struct events *ev, const size_t order[],
		      char got[static 64])
{
	struct inventory inv = { 0 };
	struct choice c;
	char text[256] = "";
	bool same;
	int r = feed(&inv, ev, order, 0);

	inventory_choose(&inv, row->mode, row->slot, (uint64_t)row->at_sec * SEC, END * SEC, &c);
	describe(&c, got, 64);
	if (c.kind == CHOICE_FAIL)
		inventory_explain(&inv, row->mode, row->slot, c.reason, text, sizeof(text));
	same = r == 0 && streq(got, row->want) && streq(text, row->text ? row->text : "");
	if (!same)
		printf("# %s: %s \"%s\"\n", row->name, got, text);
	inventory_clear(&inv);
	return same;
}

/* Each row holds in whatever order the devices come, also when some come twice. */
static void test_choice(void)
{
	static struct events ev;
	size_t order[EVENTS_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		char got[64];
		int good = 0;

		ev.count = 0;
		add_disks(&ev, row->disks, "add");
		ok(row_holds(row, &ev, NULL, got), "%s: %s", row->name, row->want);
		for (int k = 0; k < ORDERS; k++) {
			shuffle(&ev, order);
			good += row_holds(row, &ev, order, got);
		}
		ok_int(good, ORDERS, "%s: in %d orders", row->name, ORDERS);
		/* scan and event, or "change" from a trigger */
		add_disks(&ev, row->disks, "change");
		for (size_t e = ev.count / 2; e < ev.count; e++)
			ev.list[e].e.minor = ev.list[e - ev.count / 2].e.minor;
		ok(row_holds(row, &ev, NULL, got), "%s: seen twice", row->name);
	}
}

static void test_taken(void)
{
	static struct events ev;
	struct inventory inv = { 0 };
	struct choice c;

	ev.count = 0;
	add_disks(&ev, "nvme0n1=-SaABD", "add");
	ok_int(feed(&inv, &ev, NULL, 0), 0, "taken: fed");
	inventory_choose(&inv, ANY, SLOT_A, 5 * SEC, END * SEC, &c);
	ok_int(c.kind, CHOICE_TAKE, "taken");
	ok_str(c.disk.name, "nvme0n1", "taken: disk");
	ok_str(c.disk.part[PART_BOOTSEL].name, "nvme0n1p2", "taken: boot selection");
	ok_str(c.disk.part[PART_BOOT_A].name, "nvme0n1p3", "taken: boot A");
	ok_str(c.disk.part[PART_BOOT_B].name, "", "taken: boot B is not there");
	ok_str(c.disk.part[PART_ROOT_A].name, "nvme0n1p4", "taken: root A");
	ok_str(c.disk.part[PART_DATA].name, "nvme0n1p6", "taken: data");
	ok_int(c.disk.part[PART_DATA].major, 259, "taken: major");
	ok_int(c.disk.part[PART_DATA].minor, 7, "taken: minor");
	inventory_clear(&inv);
}

static const char *choice_at(const struct inventory *inv, unsigned sec)
{
	static char buf[64];
	struct choice c;

	inventory_choose(inv, ANY, SLOT_A, (uint64_t)sec * SEC, END * SEC, &c);
	describe(&c, buf, sizeof(buf));
	return buf;
}

static void apply(struct inventory *inv, const char *spec, const char *action, unsigned sec)
{
	static struct events ev;

	ev.count = 0;
	add_disks(&ev, spec, action);
	if (feed(inv, &ev, NULL, (uint64_t)sec * SEC) < 0)
		ok(false, "apply %s %s", action, spec);
}

static void test_changes(void)
{
	static struct events ev;
	struct inventory inv = { 0 };

	apply(&inv, "usb:sda=" ALL, "add", 0);
	ok_str(choice_at(&inv, 4), "wait 5", "stick alone");
	apply(&inv, "usb:sdb", "add", 4);
	ok_str(choice_at(&inv, 5), "wait 9", "another disk came: quiet starts anew");
	apply(&inv, "usb:sdb", "add", 8);
	ok_str(choice_at(&inv, 8), "wait 9", "what was there already is no change");
	apply(&inv, "vda=--", "add", 8);
	apply(&inv, "vda=" ALL, "add", 9);
	ok_str(choice_at(&inv, 9), "take vda", "the disk inside came late and wins");
	apply(&inv, "vda=" ALL, "remove", 10);
	ok_str(choice_at(&inv, 10), "wait 15", "it went again");
	ok_str(choice_at(&inv, 15), "take sda", "after quiet the stick is what is left");
	apply(&inv, "vda=" ALL, "add", 28);
	apply(&inv, "usb:sda", "remove", 28);
	ok_int(inv.disk_count, 2, "a disk goes with its partitions");
	apply(&inv, "vda", "remove", 28);
	apply(&inv, "usb:sda=" ALL, "add", 28);
	ok_str(choice_at(&inv, 29), "wait 30", "never beyond the deadline");
	ok_str(choice_at(&inv, 30), "take sda", "the deadline ends the wait for quiet");
	apply(&inv, "usb:sda usb:sdb", "remove", 30);
	ok_int(inv.disk_count, 0, "all gone");
	apply(&inv, "usb:sda=" ALL, "remove", 30);
	ok_int(inv.disk_count, 0, "removed twice");

	/* The same partition under another label, then under none */
	apply(&inv, "vda=" ALL, "add", 30);
	ev.count = 0;
	add_event(&ev, "change", "/devices/platform/soc/block/vda/", "vda6", "BF_ROOT_A");
	ok_int(feed(&inv, &ev, NULL, 31 * SEC), 0, "relabelled");
	ok_str(choice_at(&inv, 31), "fail disk-missing", "relabelled: root A twice, data lost");
	ev.count = 0;
	add_event(&ev, "change", "/devices/platform/soc/block/vda/", "vda6", "");
	ok_int(feed(&inv, &ev, NULL, 32 * SEC), 0, "label taken away");
	ok_str(choice_at(&inv, 32), "take vda", "label taken away: no data, at the deadline");
	inventory_clear(&inv);
	ok_int(inv.changed_usec, 32 * SEC, "clearing is no change");
}

/* What the inventory passes over; each would make the disk complete. */
static void test_passed_over(void)
{
	static const struct {
		const char *name;
		struct uevent e;
	} bad[] = {
		{ "no subsystem", { .subsystem = NULL } },
		{ "another subsystem", { .subsystem = "net" } },
		{ "no action", { .action = NULL } },
		{ "another action", { .action = "bind" } },
		{ "no type", { .devtype = NULL } },
		{ "another type", { .devtype = "partition2" } },
		{ "no path", { .devpath = NULL } },
		{ "a path elsewhere", { .devpath = "/class/block/vda/vda6" } },
		{ "a relative path", { .devpath = "devices/platform/soc/block/vda/vda6" } },
		{ "a short path", { .devpath = "/devices/" } },
		{ "an empty disk", { .devpath = "/devices//vda6" } },
		{ "dots for a disk", { .devpath = "/devices/platform/../vda6" } },
		{ "no name", { .devname = NULL } },
		{ "an empty name", { .devname = "" } },
		{ "a name with a slash", { .devname = "../vda6" } },
		{ "a name that is hidden", { .devname = ".vda6" } },
		{ "a name with a space", { .devname = "vda 6" } },
		{ "a long name", { .devname = "abcdefghijklmnopqrstuvwxyzabcdef" } },
		{ "no label", { .partname = NULL } },
		{ "an empty label", { .partname = "" } },
		{ "a longer label", { .partname = "BF_DATA2" } },
		{ "a shorter label", { .partname = "BF_DAT" } },
		{ "lower case", { .partname = "bf_data" } },
		{ "weird bytes", { .partname = "BF_DATA\xff\x01!" } },
		{ "a space behind", { .partname = "BF_DATA " } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		static const struct uevent good = {
			.action = "add",
			.devpath = "/devices/platform/soc/block/vda/vda6",
			.subsystem = "block",
			.devtype = "partition",
			.devname = "vda6",
			.partname = "BF_DATA",
			.has_number = true,
		};
		const struct uevent *b = &bad[i].e;
		const char *name = bad[i].name;
		struct inventory inv = { 0 };
		struct uevent e = good;

		/* The one member that the row names */
		if (i <= 1)
			e.subsystem = b->subsystem;
		else if (i <= 3)
			e.action = b->action;
		else if (i <= 5)
			e.devtype = b->devtype;
		else if (i <= 11)
			e.devpath = b->devpath;
		else if (i <= 17)
			e.devname = b->devname;
		else
			e.partname = b->partname;
		apply(&inv, "vda=SabAB", "add", 0);
		ok_int(inventory_apply(&inv, &e, 0), 0, "passed over: %s", name);
		ok_int(inv.disk_count == 1 ? inv.disks[0].part_count : 0, 5, "nothing came: %s",
		       name);
		ok_int(inventory_apply(&inv, &good, 0), 0, "the good one after: %s", name);
		ok_int(inv.disks[0].part_count, 6, "it came after: %s", name);
		inventory_clear(&inv);
	}
}

static void test_many(void)
{
	static struct events ev;
	size_t order[EVENTS_MAX];
	struct inventory inv = { 0 };
	struct choice c;
	char text[256];

	/* 64 disks: all but one lack something, and 20 of them are complete sticks */
	ev.count = 0;
	for (unsigned i = 0; i < 64; i++) {
		char spec[64];

		if (i == 41)
			(void)snprintf(spec, sizeof(spec), "vd%u=" ALL, i);
		else if (i % 3 == 0)
			(void)snprintf(spec, sizeof(spec), "usb:sd%u=" ALL, i);
		else
			(void)snprintf(spec, sizeof(spec), "vd%u=SabA%s", i, i % 2 ? "AD" : "B");
		add_disks(&ev, spec, "add");
	}
	shuffle(&ev, order);
	ok_int(feed(&inv, &ev, order, 0), 0, "64 disks");
	ok_int(inv.disk_count, 64, "64 disks: all known");
	inventory_choose(&inv, ANY, SLOT_A, 0, END * SEC, &c);
	ok_str(c.kind == CHOICE_TAKE ? c.disk.name : "-", "vd41", "64 disks: the complete one");
	inventory_explain(&inv, ANY, SLOT_A, REASON_DISK_MISSING, text, sizeof(text));
	ok_int(strlen(text), sizeof(text) - 1, "64 disks: the text is cut short");
	for (size_t size = 1; size < sizeof(text); size += 7) {
		memset(text, 'x', sizeof(text));
		inventory_explain(&inv, ANY, SLOT_A, REASON_DISK_MISSING, text, size);
		if (strlen(text) != size - 1)
			ok(false, "64 disks: cut to %zu", size);
	}
	inventory_clear(&inv);
}

/* The kernel's messages */

static int parse(const char *text, size_t len, struct uevent *e, char buf[static 512])
{
	memcpy(buf, text, len);
	return uevent_parse_message(buf, len, e);
}

static void test_message(void)
{
#define M "add@/devices/x/vda/vda6\0ACTION=add\0DEVPATH=/devices/x/vda/vda6\0SUBSYSTEM=block\0"
	static const char good[] =
		M "MAJOR=254\0MINOR=6\0DEVNAME=vda6\0DEVTYPE=partition\0DISKSEQ=1\0PARTN=6\0"
		  "PARTNAME=BF_DATA=\0SEQNUM=1234";
	static const struct {
		const char *name, *text;
		size_t len;
	} bad[] = {
#define R(name, text) { name, text, sizeof(text) }
		{ "empty", "", 0 },
		R("one NUL", ""),
		R("no at", "libudev\0ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=block"),
		R("only the head", "add@/devices/x"),
		{ "cut in a key", M "MAJOR=254\0MINOR=6", sizeof(M "MAJOR=254\0MINOR=6") - 1 },
		R("no action", "add@/devices/x\0DEVPATH=/devices/x\0SUBSYSTEM=block"),
		R("no path", "add@/devices/x\0ACTION=add\0SUBSYSTEM=block"),
		R("no subsystem", "add@/devices/x\0ACTION=add\0DEVPATH=/devices/x"),
		R("action twice", M "ACTION=remove"),
		R("path twice", M "DEVPATH=/devices/y"),
		R("label twice", M "PARTNAME=BF_DATA\0PARTNAME=BF_ROOT_A"),
		R("number twice", M "MAJOR=1\0MAJOR=2\0MINOR=1"),
		R("major alone", M "MAJOR=1"),
		R("minor alone", M "MINOR=1"),
		R("empty major", M "MAJOR=\0MINOR=1"),
		R("hex major", M "MAJOR=0x8\0MINOR=1"),
		R("negative minor", M "MAJOR=8\0MINOR=-1"),
		R("major out of range", M "MAJOR=4096\0MINOR=1"),
		R("minor out of range", M "MAJOR=8\0MINOR=1048576"),
		R("minor beyond 64 bits", M "MAJOR=8\0MINOR=99999999999999999999999"),
#undef R
	};
	char buf[512];
	struct uevent e;

	ok_int(parse(good, sizeof(good), &e, buf), 0, "a good message");
	ok_str(e.action, "add", "action");
	ok_str(e.devpath, "/devices/x/vda/vda6", "path");
	ok_str(e.subsystem, "block", "subsystem");
	ok_str(e.devtype, "partition", "type");
	ok_str(e.devname, "vda6", "name");
	ok_str(e.partname, "BF_DATA=", "label");
	ok(e.has_number && e.major == 254 && e.minor == 6, "number");
	ok_int(parse(M, sizeof(M) - 1, &e, buf), 0, "a message of something else");
	ok(!e.has_number && !e.devname && !e.partname, "what is not given is not there");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		e.action = "untouched";
		ok_int(parse(bad[i].text, bad[i].len, &e, buf), -EBADMSG, "bad message: %s",
		       bad[i].name);
		ok_str(e.action, "untouched", "result is not touched: %s", bad[i].name);
	}
	/* Cut anywhere it is either refused or says less, never something else. */
	for (size_t len = 0; len < sizeof(good); len++)
		if (parse(good, len, &e, buf) == 0 && good[len - 1] != '\0')
			ok(false, "cut at %zu", len);
#undef M
}

static void test_file(void)
{
	char text[] = "MAJOR=8\nMINOR=1\nDEVNAME=sda1\nDEVTYPE=partition\nDISKSEQ=9\nPARTN=1\n"
		      "PARTNAME=BF DATA\nACTION=remove\nDEVPATH=/devices/y\n";
	char empty[] = "", bad[] = "MAJOR=8\nMINOR=x\n";
	struct uevent e;

	ok_int(uevent_parse_file(text, &e), 0, "a file");
	ok_str(e.devname, "sda1", "file, name");
	ok_str(e.partname, "BF DATA", "file, label");
	ok(e.has_number && e.major == 8 && e.minor == 1, "file, number");
	ok(!e.action && !e.devpath && !e.subsystem, "file, its place is not taken from it");
	ok_int(uevent_parse_file(empty, &e), 0, "an empty file");
	ok(!e.has_number && !e.devname, "an empty file says nothing");
	ok_int(uevent_parse_file(bad, &e), -EBADMSG, "a bad file");
}

/* disk_find() with sysfs, /dev and the socket */

static unsigned ticks;
static uint64_t last_tick_usec, longest_usec;

static void tick(void)
{
	uint64_t now = sys_monotonic_usec();

	if (ticks++ && now - last_tick_usec > longest_usec)
		longest_usec = now - last_tick_usec;
	last_tick_usec = now;
}

static void make_sysfs(const struct event *e)
{
	char path[300], link[300];
	_cleanup_free_ char *text =
		strf("MAJOR=%u\nMINOR=%u\nDEVNAME=%s\nDEVTYPE=%s\n%s%s%s", e->e.major, e->e.minor,
		     e->devname, e->e.devtype, e->e.partname ? "PARTNAME=" : "",
		     e->e.partname ? e->partname : "", e->e.partname ? "\n" : "");

	(void)snprintf(path, sizeof(path), "/sys%s/uevent", e->devpath);
	fake_file(path, text);
	(void)snprintf(link, sizeof(link), "../..%s", e->devpath);
	(void)snprintf(path, sizeof(path), "/sys/class/block/%s", e->devname);
	fake_symlink(link, path);
}

static void make_node(const struct event *e)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/dev/%s", e->devname);
	fake_block_device(path, e->e.major, e->e.minor);
}

static void queue(const struct event *e, uint64_t after_usec, void (*then)(void))
{
	char buf[600];
	int n = snprintf(buf, sizeof(buf),
			 "%s@%s%cACTION=%s%cDEVPATH=%s%cSUBSYSTEM=block%cMAJOR=%u%cMINOR=%u%c"
			 "DEVNAME=%s%cDEVTYPE=%s%cPARTNAME=%s",
			 e->e.action, e->devpath, 0, e->e.action, 0, e->devpath, 0, 0, e->e.major,
			 0, e->e.minor, 0, e->devname, 0, e->e.devtype, 0, e->partname);

	fake_uevent(buf, (size_t)n + 1, after_usec, then);
}

static struct events sys;

static void system_with(const char *spec, bool nodes)
{
	fake_reset();
	ticks = 0;
	longest_usec = 0;
	fake_dir("/sys/class/block");
	sys.count = 0;
	add_disks(&sys, spec, "add");
	for (size_t i = 0; i < sys.count; i++) {
		make_sysfs(&sys.list[i]);
		if (nodes)
			make_node(&sys.list[i]);
	}
}

static int find_kind(enum boot_mode mode, uint32_t wait_sec, struct disk *d, struct failure *f)
{
	int r;

	*d = (struct disk) { .name = "untouched" };
	*f = (struct failure) { 0 };
	r = disk_find(mode, SLOT_A, wait_sec, tick, d, f);
	ok_int(fake_open_fds(), 0, "nothing left open");
	ok(longest_usec <= SEC, "ticks come at least once a second");
	if (r < 0)
		ok_str(d->name, "untouched", "the result is not touched by a failure");
	return r;
}

static int find(uint32_t wait_sec, struct disk *d, struct failure *f)
{
	return find_kind(BOOT_MODE_UNKNOWN, wait_sec, d, f);
}

static uint64_t waited(void)
{
	return (sys_monotonic_usec() - SEC) / 1000; /* msec */
}

static void test_find(void)
{
	struct failure f;
	struct disk d;

	system_with("vda=" ALL " usb:sda=" ALL " virtual:loop0", true);
	ok_int(find(30, &d, &f), 0, "all is there");
	ok_str(d.name, "vda", "all is there: disk");
	ok_str(d.part[PART_DATA].name, "vda6", "all is there: data");
	ok_int(waited(), 0, "all is there: no wait");
	ok(ticks > 0, "ticked");

	system_with("", true);
	ok_int(find(3, &d, &f), -EPROTO, "no disk");
	ok_int(f.reason, REASON_DISK_MISSING, "no disk: reason");
	ok_str(f.text, "no disk at all (waited 3 s)", "no disk: text");
	ok_int(waited(), 3000, "no disk: waited to the end, no longer");

	system_with("vda=SabBD", true);
	ok_int(find(30, &d, &f), -EPROTO, "no root of this slot");
	ok_str(f.text, "vda lacks BF_ROOT_A; no other disk (waited 30 s)", "it is named");
	ok_int(waited(), 30000, "no root: waited to the end");

	system_with("vda=SabAB", true);
	ok_int(find(30, &d, &f), 0, "no data");
	ok_str(d.part[PART_DATA].name, "", "no data: empty name");
	ok_int(waited(), DISK_QUIET_SEC * 1000, "no data: waited for quiet");

	system_with("usb:sda=" ALL, true);
	ok_int(find(2, &d, &f), 0, "stick alone, short wait");
	ok_int(waited(), 2000, "stick alone, short wait: to the end");

	system_with("nvme0n1=" ALL " nvme1n1=" ALL, true);
	ok_int(find_kind(BOOT_MODE_NVME, 30, &d, &f), -EPROTO, "two equal ones");
	ok_int(f.reason, REASON_DISK_AMBIGUOUS, "two equal ones: reason");
	ok_str(f.text, "nvme0n1 has all partitions; nvme1n1 has all partitions",
	       "two equal ones: text");
	ok_int(waited(), DISK_QUIET_SEC * 1000, "two equal ones: one may still go");
}

static void all_go(void)
{
	for (size_t i = 0; i < sys.count; i++) {
		_cleanup_free_ char *path = strf("/sys/class/block/%s", sys.list[i].devname);

		fake_remove(path);
	}
}

static struct events ev; /* what comes after the scan */

static void second_comes(void)
{
	for (size_t i = 0; i < ev.count; i++)
		make_sysfs(&ev.list[i]);
}

static void test_events(void)
{
	struct failure f;
	struct disk d;

	/* Nothing at the scan; the partitions come one by one, a stick first */
	system_with("", true);
	ev.count = 0;
	add_disks(&ev, "usb:sda=" ALL " vda=" ALL, "add");
	for (size_t i = 0; i < ev.count; i++) {
		make_node(&ev.list[i]);
		queue(&ev.list[i], 300000, NULL);
	}
	ok_int(find(30, &d, &f), 0, "by events");
	ok_str(d.name, "vda", "by events: the disk inside, which came later");
	ok_int(waited(), 14 * 300, "by events: at the last one, not later");

	/* A stick at the scan goes before the quiet is over, rubbish in between */
	system_with("usb:sda=" ALL, true);
	ev.count = 0;
	add_disks(&ev, "usb:sda", "remove");
	fake_uevent("add@/devices/x", 14, 1000000, NULL);
	fake_uevent("", 0, 0, NULL);
	queue(&ev.list[0], 1000000, all_go);
	ok_int(find(10, &d, &f), -EPROTO, "unplugged");
	ok_str(f.text, "no disk at all (waited 10 s)", "unplugged: text");
	ok_int(waited(), 10000, "unplugged: to the end");

	/* Events that are queued already are all taken in before the choice */
	system_with("nvme0n1=" ALL, true);
	ev.count = 0;
	add_disks(&ev, "nvme1n1=" ALL, "add");
	for (size_t i = 0; i < ev.count; i++)
		queue(&ev.list[i], 0, i ? NULL : second_comes);
	ok_int(find(30, &d, &f), -EPROTO, "a second one is in the queue");
	ok_int(f.reason, REASON_DISK_AMBIGUOUS, "a second one is in the queue: seen");

	/* Never quiet: the end of the wait counts */
	system_with("usb:sda=" ALL, true);
	for (unsigned i = 0; i < 12; i++) {
		ev.count = 0;
		add_disks(&ev, "usb:sdb", i % 2 ? "remove" : "add");
		queue(&ev.list[0], 2 * SEC, NULL);
	}
	ok_int(find(20, &d, &f), 0, "never quiet");
	ok_str(d.name, "sda", "never quiet: taken at the end");
	ok_int(waited(), 20000, "never quiet: at the end");
}

static void node_appears(void)
{
	make_node(&sys.list[6]);
}

static void test_nodes(void)
{
	struct failure f;
	struct disk d;

	system_with("vda=" ALL, false);
	for (size_t i = 0; i < 6; i++)
		make_node(&sys.list[i]);
	queue(&sys.list[6], 40000, node_appears);
	ok_int(find(30, &d, &f), 0, "the last node comes with its event");
	ok_int(waited(), 40, "taken as soon as the node is there");

	system_with("vda=" ALL, false);
	for (size_t i = 0; i < 6; i++)
		make_node(&sys.list[i]);
	ok_int(find(4, &d, &f), -EPROTO, "a node never comes");
	ok_str(f.text, "no device node /dev/vda6", "a node never comes: named");
	ok_int(waited(), 4000, "a node never comes: to the end");

	system_with("vda=" ALL, false);
	for (size_t i = 0; i < 6; i++)
		make_node(&sys.list[i]);
	fake_block_device("/dev/vda6", 8, 1);
	ok_int(find(4, &d, &f), -EPROTO, "a node of another device");
	fake_remove("/dev/vda6");
	fake_file("/dev/vda6", "");
	ok_int(find(4, &d, &f), -EPROTO, "a file for a node");
	fake_remove("/dev/vda6");
	fake_block_device("/dev/other", sys.list[6].e.major, sys.list[6].e.minor);
	fake_symlink("other", "/dev/vda6");
	ok_int(find(4, &d, &f), -EPROTO, "a link for a node");
}

static unsigned sockets;

static void all_go_before_second_scan(void)
{
	if (++sockets == 2)
		all_go();
}

static void test_overrun(void)
{
	struct failure f;
	struct disk d;

	/* The scan sees four of six; the events of the others are lost */
	system_with("vda=" ALL, true);
	fake_remove("/sys/class/block/vda5");
	fake_remove("/sys/class/block/vda6");
	fake_result_once("uevent 0", -ENOBUFS);
	ok_int(find(30, &d, &f), 0, "events lost, nothing new in sysfs");
	ok_int(waited(), DISK_QUIET_SEC * 1000, "events lost: incomplete, after quiet");

	system_with("vda=" ALL, true);
	fake_log_files(true);
	fake_result_once("uevent 0", -ENOBUFS);
	ok_int(find(30, &d, &f), 0, "events lost");
	ok(strstr(fake_log(), "uevent-socket") != NULL, "a socket");
	ok(strstr(strstr(fake_log(), "uevent-socket") + 1, "uevent-socket") != NULL,
	   "events lost: a new socket, as what is queued in the old one is old");

	/* What went while events were lost is forgotten */
	system_with("vda=" ALL, true);
	fake_result_once("uevent 0", -ENOBUFS);
	sockets = 0;
	fake_then("uevent-socket", all_go_before_second_scan);
	ok_int(find(5, &d, &f), -EPROTO, "the disk went, its events were lost");
	ok_str(f.text, "no disk at all (waited 5 s)", "it is not there any more");
}

static void test_broken_sysfs(void)
{
	struct failure f;
	struct disk d;

	fake_reset();
	ok_int(find(3, &d, &f), -ENOENT, "no sysfs");
	ok_int(f.reason, REASON_KERNEL_PSEUDO_FS, "no sysfs: reason");

	system_with("vda=" ALL, true);
	fake_result("uevent-socket", -EPROTONOSUPPORT);
	ok_int(find(3, &d, &f), -EPROTONOSUPPORT, "no netlink");
	ok_int(f.reason, REASON_DISK_MISSING, "no netlink: reason");

	system_with("vda=" ALL, true);
	fake_result("uevent 0", -EINTR);
	ok_int(find(3, &d, &f), -EINTR, "interrupted by the alarm of the deadline");

	/* Entries that are no links, lead elsewhere or are odd */
	system_with("vda=" ALL, true);
	fake_dir("/sys/class/block/sdx");
	fake_symlink("../../devices/gone/sdy", "/sys/class/block/sdy");
	fake_symlink("devices/platform/soc/block/vda", "/sys/class/block/sdz");
	fake_symlink("/devices/platform/soc/block/vda", "/sys/class/block/sdw");
	fake_symlink("../", "/sys/class/block/sdv");
	fake_symlink("../../devices/odd/block/sdu", "/sys/class/block/sdu");
	fake_file("/sys/devices/odd/block/sdu/uevent", "MAJOR=\nDEVTYPE=disk\n");
	ok_int(find(3, &d, &f), 0, "odd entries beside ours");
	ok_str(d.name, "vda", "odd entries: ours");
}

static void test_sector_size(void)
{
	static uint8_t image[8192];
	struct failure f;
	struct disk d;

	for (int big = 0; big < 2; big++) {
		system_with("vda nvme0n1", true);
		memset(image, 0, sizeof(image));
		memcpy(image + (big ? 512 : 4096), "EFI PART", 8);
		fake_block_size(big ? 4096 : 512);
		truncate(fake_path("/dev/vda"), 8192);
		make_node(&sys.list[0]);
		/* written in place: the double knows the node by its inode */
		{
			_cleanup_file_ FILE *n = fopen(fake_path("/dev/nvme0n1"), "r+e");

			ok(n && fwrite(image, sizeof(image), 1, n) == 1, "a disk image");
		}
		ok_int(find(1, &d, &f), -EPROTO, "made for the other sector size");
		ok_str(f.text,
		       big ? "nvme0n1 has sectors of 4096 bytes, its partition table was made for "
			     "another size: use the image for this kind of disk"
			   : "nvme0n1 has sectors of 512 bytes, its partition table was made for "
			     "another size: use the image for this kind of disk",
		       "sector size: named");
	}
}

static void test_sweep(void)
{
	unsigned k, taken = 0;

	for (k = 1;; k++) {
		struct failure f;
		struct disk d;
		int r;

		system_with("vda=" ALL " usb:sda=" ALL, true);
		fake_fail_at(k, EIO);
		r = disk_find(BOOT_MODE_UNKNOWN, SLOT_A, 20, tick, &d, &f);
		if (fake_calls() < k)
			break;
		/* What cannot be read once is read again; the stick never wins. */
		taken += r == 0 && streq(d.name, "vda");
		if (r == 0 ? !streq(d.name, "vda") : r != -EIO || !*f.text)
			ok(false, "call %u fails: %d, %s", k, r, r ? f.text : d.name);
		if (fake_open_fds())
			ok(false, "call %u fails: left open", k);
	}
	/* the socket, the directory, its list, and the first look at the socket */
	ok(k > 30 && taken == k - 1 - 4, "sweep: %u calls, %u passed over", k - 1, taken);
}

int main(void)
{
	test_choice();
	test_taken();
	test_changes();
	test_passed_over();
	test_many();
	test_message();
	test_file();
	test_find();
	test_events();
	test_nodes();
	test_overrun();
	test_broken_sysfs();
	test_sector_size();
	test_sweep();
	return tap_done();
}
