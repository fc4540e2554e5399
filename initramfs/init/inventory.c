// SPDX-License-Identifier: MIT
#include "initramfs/init/inventory.h"

#include <ctype.h>

#define QUIET_USEC (DISK_QUIET_SEC * UINT64_C(1000000))
#define NAME_SIZE  sizeof(((struct partition *)0)->name) /* also of the others in disk.h */

static const char *const kind_names[] = {
	[DISK_OTHER] = "neither NVMe nor SD nor USB",
	[DISK_NVME] = "NVMe",
	[DISK_MMC] = "SD or eMMC",
	[DISK_USB] = "USB",
};

static enum part label_part(const char *label)
{
	for (enum part p = 0; p < PART_COUNT; p++)
		if (streq(label, part_label(p)))
			return p;
	return PART_COUNT;
}

/* What is there */

static void disk_free(struct inventory_disk *d)
{
	for (size_t i = 0; i < d->part_count; i++)
		free(d->parts[i].devpath);
	free(d->parts);
	free(d->devpath);
}

void inventory_clear(struct inventory *inv)
{
	for (size_t i = 0; i < inv->disk_count; i++)
		disk_free(&inv->disks[i]);
	free(inv->disks);
	inv->disks = NULL;
	inv->disk_count = 0;
}

/* A kernel name that can be a file name in /dev and a word in a message. */
static bool name_is_plain(const char *name)
{
	if (!*name || *name == '.' || strlen(name) >= NAME_SIZE)
		return false;
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && !strchr("._-", *name))
			return false;
	return true;
}

/* Only names that name_is_plain() has measured. */
static void copy_name(char to[static NAME_SIZE], const char *name)
{
	memcpy(to, name, strlen(name) + 1);
}

/* A component "usb" and a number: the root hub every USB device hangs on. */
static bool path_is_usb(const char *devpath)
{
	for (const char *s = devpath; (s = strstr(s, "/usb"));) {
		size_t digits = strspn(s += strlen("/usb"), "0123456789");

		if (digits && s[digits] == '/')
			return true;
	}
	return false;
}

static enum disk_kind disk_kind(const char *devpath, const char *name)
{
	/* First: an SD card in a reader on USB is a stick, whatever its name. */
	if (path_is_usb(devpath))
		return DISK_USB;
	if (startswith(name, "nvme"))
		return DISK_NVME;
	return startswith(name, "mmcblk") ? DISK_MMC : DISK_OTHER;
}

/*
 * loop, ram, dm, md, nbd and the like are made of something else; the boot areas of an eMMC are
 * not its disk. Not all of /devices/virtual: the heads of multipath NVMe namespaces are there.
 */
static bool disk_counts(const char *devpath, const char *name)
{
	return !startswith(devpath, "/devices/virtual/block/") &&
	       !(startswith(name, "mmcblk") && strstr(name, "boot"));
}

/* The place of @devpath in the sorted disks; *ret_found: it is there. */
static size_t disk_place(const struct inventory *inv, const char *devpath, bool *ret_found)
{
	size_t i;
	int r = 1;

	for (i = 0; i < inv->disk_count; i++) {
		r = strcmp(inv->disks[i].devpath, devpath);
		if (r >= 0)
			break;
	}
	*ret_found = i < inv->disk_count && r == 0;
	return i;
}

static int disk_add(struct inventory *inv, const char *devpath, const char *name, uint64_t now_usec,
		    struct inventory_disk **ret)
{
	struct inventory_disk *disks;
	bool found;
	size_t i = disk_place(inv, devpath, &found);
	char *copy;

	if (found) {
		*ret = &inv->disks[i];
		return 0;
	}
	copy = strdup(devpath);
	if (!copy)
		return -ENOMEM;
	disks = reallocarray(inv->disks, inv->disk_count + 1, sizeof(*disks));
	if (!disks) {
		free(copy);
		return -ENOMEM;
	}
	inv->disks = disks;
	memmove(&disks[i + 1], &disks[i], (inv->disk_count++ - i) * sizeof(*disks));
	disks[i] = (struct inventory_disk) { .devpath = copy, .kind = disk_kind(devpath, name) };
	copy_name(disks[i].name, name);
	inv->changed_usec = now_usec;
	*ret = &disks[i];
	return 0;
}

static void disk_remove(struct inventory *inv, const char *devpath, uint64_t now_usec)
{
	bool found;
	size_t i = disk_place(inv, devpath, &found);

	if (!found)
		return;
	disk_free(&inv->disks[i]);
	memmove(&inv->disks[i], &inv->disks[i + 1], (--inv->disk_count - i) * sizeof(*inv->disks));
	inv->changed_usec = now_usec;
}

static void part_remove(struct inventory *inv, struct inventory_disk *d, const char *devpath,
			uint64_t now_usec)
{
	for (size_t i = 0; i < d->part_count; i++) {
		if (!streq(d->parts[i].devpath, devpath))
			continue;
		free(d->parts[i].devpath);
		d->parts[i] = d->parts[--d->part_count];
		inv->changed_usec = now_usec;
		return;
	}
}

static int part_add(struct inventory *inv, struct inventory_disk *d, const struct uevent *e,
		    uint64_t now_usec)
{
	struct labelled *parts, new = { .part = label_part(e->partname) };

	copy_name(new.partition.name, e->devname);
	new.partition.major = e->major;
	new.partition.minor = e->minor;
	for (size_t i = 0; i < d->part_count; i++) {
		struct labelled *old = &d->parts[i];

		/* The scan and the event of one partition are one partition. */
		if (streq(old->devpath, e->devpath) && old->part == new.part &&
		    streq(old->partition.name, new.partition.name) &&
		    old->partition.major == e->major && old->partition.minor == e->minor)
			return 0;
	}
	part_remove(inv, d, e->devpath, now_usec);
	new.devpath = strdup(e->devpath);
	parts = reallocarray(d->parts, d->part_count + 1, sizeof(*parts));
	if (parts)
		d->parts = parts;
	if (!parts || !new.devpath) {
		free(new.devpath);
		return -ENOMEM;
	}
	d->parts[d->part_count++] = new;
	inv->changed_usec = now_usec;
	return 0;
}

static int apply_partition(struct inventory *inv, const struct uevent *e, bool remove,
			   const char *disk_path, const char *disk_name, uint64_t now_usec)
{
	bool ours = e->partname && label_part(e->partname) != PART_COUNT;
	struct inventory_disk *d;
	bool found;
	size_t i = disk_place(inv, disk_path, &found);
	int r;

	if (remove || !ours) { /* the label may have been another one before */
		if (found)
			part_remove(inv, &inv->disks[i], e->devpath, now_usec);
		return 0;
	}
	if (!e->has_number || !e->devname || !name_is_plain(e->devname))
		return 0;
	r = disk_add(inv, disk_path, disk_name, now_usec, &d);
	return r < 0 ? r : part_add(inv, d, e, now_usec);
}

int inventory_apply(struct inventory *inv, const struct uevent *e, uint64_t now_usec)
{
	bool partition = e->devtype && streq(e->devtype, "partition"), remove;
	_cleanup_free_ char *disk_path = NULL;
	struct inventory_disk *d;
	char *slash;

	if (!e->action || !e->devpath || !e->subsystem || !streq(e->subsystem, "block") ||
	    !startswith(e->devpath, "/devices/"))
		return 0;
	remove = streq(e->action, "remove");
	if (!remove && !streq(e->action, "add") && !streq(e->action, "change"))
		return 0;
	if (!partition && !(e->devtype && streq(e->devtype, "disk")))
		return 0;
	disk_path = strdup(e->devpath);
	if (!disk_path)
		return -ENOMEM;
	slash = strrchr(disk_path, '/');
	if (partition) { /* a partition's directory lies in its disk's */
		*slash = '\0';
		slash = strrchr(disk_path, '/');
	}
	if (!startswith(disk_path, "/devices/") || !name_is_plain(slash + 1) ||
	    !disk_counts(disk_path, slash + 1))
		return 0;
	if (partition)
		return apply_partition(inv, e, remove, disk_path, slash + 1, now_usec);
	if (!remove)
		return disk_add(inv, disk_path, slash + 1, now_usec, &d);
	disk_remove(inv, disk_path, now_usec);
	return 0;
}

/* Which one is ours */

enum tier { TIER_NEVER, TIER_SECOND, TIER_FIRST };

struct rating {
	enum tier tier;
	unsigned count[PART_COUNT]; /* partitions with that label */
	bool labelled;		    /* any of our labels */
	bool doubled;		    /* a label twice: nobody can say which one is meant */
	bool complete;		    /* each label once */
	bool usable; /* enough to boot: the boot selection and the root of the slot */
};

static bool mode_kind(enum boot_mode mode, enum disk_kind *ret)
{
	switch (mode) {
	case BOOT_MODE_SD:
		*ret = DISK_MMC;
		return true;
	case BOOT_MODE_NVME:
		*ret = DISK_NVME;
		return true;
	case BOOT_MODE_USB_MSD:
		*ret = DISK_USB;
		return true;
	case BOOT_MODE_UNKNOWN:
		break;
	}
	return false;
}

static enum tier disk_tier(const struct inventory_disk *d, enum boot_mode mode)
{
	enum disk_kind wanted;

	if (mode_kind(mode, &wanted))
		return d->kind == wanted ? TIER_FIRST : TIER_NEVER;
	return d->kind == DISK_USB ? TIER_SECOND : TIER_FIRST;
}

/* Is @p among what a boot of @slot cannot do without? An unknown slot may be either. */
static bool part_is_vital(enum part p, enum slot slot)
{
	if (slot == SLOT_NONE)
		return p == PART_BOOTSEL || p == PART_ROOT_A || p == PART_ROOT_B;
	return p == PART_BOOTSEL || p == part_root(slot);
}

static struct rating rate(const struct inventory_disk *d, enum boot_mode mode, enum slot slot)
{
	struct rating r = { .tier = disk_tier(d, mode), .complete = true, .usable = true };

	for (size_t i = 0; i < d->part_count; i++)
		r.count[d->parts[i].part]++;
	for (enum part p = 0; p < PART_COUNT; p++) {
		r.labelled |= r.count[p] > 0;
		r.doubled |= r.count[p] > 1;
		r.complete &= r.count[p] == 1;
		r.usable &= r.count[p] == 1 || !part_is_vital(p, slot);
	}
	r.usable &= !r.doubled;
	return r;
}

static enum tier best_tier(const struct inventory *inv, enum boot_mode mode, enum slot slot)
{
	enum tier best = TIER_NEVER;

	for (size_t i = 0; i < inv->disk_count; i++) {
		struct rating r = rate(&inv->disks[i], mode, slot);

		if (r.labelled && r.tier > best)
			best = r.tier;
	}
	return best;
}

static void take(const struct inventory_disk *d, struct disk *ret)
{
	*ret = (struct disk) { 0 };
	copy_name(ret->name, d->name);
	for (size_t i = 0; i < d->part_count; i++)
		ret->part[d->parts[i].part] = d->parts[i].partition;
}

/*
 * The rules, and why:
 * - One label on a disk inside the device rules out every disk on USB, even a complete one: then
 *   the device is an installed one that is damaged, and a stick must not become its system.
 * - A complete disk that is not on USB is taken at once: no boot waits for what may still come.
 *   Where it is one of two that are there already, that is seen before.
 * - Everything else waits for quiet: a disk on USB, because one inside may be slower (and because
 *   a stick beside the USB disk the firmware booted from must be noticed); an incomplete one,
 *   because its other partitions may be on their way.
 * - Two equally good ones fail. To prefer one by name or place would let a copy plugged into
 *   the right socket bring its own BF_DATA, and would write the boot selection of a disk that the
 *   firmware does not read. Failing is loud, harmless, and over when the disk is unplugged.
 */
void inventory_choose(const struct inventory *inv, enum boot_mode mode, enum slot slot,
		      uint64_t now_usec, uint64_t deadline_usec, struct choice *ret)
{
	enum tier tier = best_tier(inv, mode, slot);
	const struct inventory_disk *complete = NULL, *usable = NULL, *best;
	uint64_t quiet_usec = inv->changed_usec + QUIET_USEC;
	size_t completes = 0, usables = 0, count;
	bool certain;

	*ret = (struct choice) { .kind = CHOICE_WAIT, .until_usec = deadline_usec };
	for (size_t i = 0; i < inv->disk_count; i++) {
		struct rating r = rate(&inv->disks[i], mode, slot);

		if (r.tier != tier || tier == TIER_NEVER || !r.usable)
			continue;
		usable = &inv->disks[i];
		usables++;
		if (!r.complete)
			continue;
		complete = usable;
		completes++;
	}
	best = complete ? complete : usable;
	count = complete ? completes : usables;
	if (!best) {
		if (now_usec >= deadline_usec) {
			ret->kind = CHOICE_FAIL;
			ret->reason = REASON_DISK_MISSING;
		}
		return;
	}
	certain = completes == 1 && complete->kind != DISK_USB;
	if (!certain && now_usec < quiet_usec && now_usec < deadline_usec) {
		if (quiet_usec < deadline_usec)
			ret->until_usec = quiet_usec;
	} else if (count == 1) {
		ret->kind = CHOICE_TAKE;
		take(best, &ret->disk);
	} else {
		ret->kind = CHOICE_FAIL;
		ret->reason = REASON_DISK_AMBIGUOUS;
	}
}

/* In words */

struct text {
	char *buf;
	size_t size, len;
};

static void say(struct text *t, const char *fmt, ...) _printf_(2, 3);
static void say(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->buf + t->len, t->size - t->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->len += (size_t)n < t->size - t->len ? (size_t)n : t->size - t->len - 1;
}

static void say_labels(struct text *t, const struct rating *r, bool doubled)
{
	const char *separator = "";

	for (enum part p = 0; p < PART_COUNT; p++) {
		if (doubled ? r->count[p] < 2 : r->count[p] > 0)
			continue;
		say(t, "%s%s", separator, part_label(p));
		separator = ", ";
	}
}

static void say_disk(struct text *t, const struct inventory_disk *d, const struct rating *r,
		     enum boot_mode mode, enum tier tier)
{
	enum disk_kind wanted;

	say(t, "%s%s ", t->len ? "; " : "", d->name);
	if (!r->labelled) {
		say(t, "has none of our partitions");
	} else if (r->tier == TIER_NEVER && mode_kind(mode, &wanted)) {
		say(t, "is %s, the firmware booted from %s", kind_names[d->kind],
		    kind_names[wanted]);
	} else if (r->tier < tier) {
		say(t, "is USB and does not count beside it");
	} else if (r->doubled) {
		say(t, "has more than one ");
		say_labels(t, r, true);
	} else if (!r->complete) {
		say(t, "lacks ");
		say_labels(t, r, false);
	} else {
		say(t, "has all partitions");
	}
}

/* Where in the message a disk stands: those that could have been it come first. */
static unsigned say_order(const struct rating *r, enum tier tier)
{
	return !r->labelled ? 2 : r->tier == tier && tier != TIER_NEVER ? 0 : 1;
}

void inventory_explain(const struct inventory *inv, enum boot_mode mode, enum slot slot,
		       enum reason reason, char *buf, size_t size)
{
	struct text t = { .buf = buf, .size = size };
	enum tier tier = best_tier(inv, mode, slot);
	unsigned last = reason == REASON_DISK_AMBIGUOUS ? 0 : 2;

	*buf = '\0';
	if (!inv->disk_count)
		say(&t, "no disk at all");
	for (unsigned order = 0; order <= last; order++)
		for (size_t i = 0; i < inv->disk_count; i++) {
			struct rating r = rate(&inv->disks[i], mode, slot);

			if (say_order(&r, tier) == order)
				say_disk(&t, &inv->disks[i], &r, mode, tier);
		}
	if (inv->disk_count == 1)
		say(&t, "; no other disk");
}
