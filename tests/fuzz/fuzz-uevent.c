// SPDX-License-Identifier: MIT
/*
 * Block device events, as many as there are: parsed, taken in, and chosen from.
 * The input: a byte for boot mode and slot, then events separated by \1. One with an '@'
 * is a netlink message, else it is the file of vda1 in sysfs.
 */
#include "initramfs/init/inventory.h"

#include <ctype.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void feed(struct inventory *inv, const uint8_t *data, size_t len, uint64_t now_usec)
{
	char *buf = malloc(len + 1); /* exact, so that a sanitizer sees the first byte behind it */
	struct uevent e;
	int r;

	must(buf != NULL);
	memcpy(buf, data, len);
	if (memchr(buf, '@', len)) {
		r = uevent_parse_message(buf, len, &e);
	} else {
		buf[len] = '\0';
		r = uevent_parse_file(buf, &e);
		e.action = "add";
		e.devpath = "/devices/soc/block/vda/vda1";
		e.subsystem = "block";
	}
	if (r == 0)
		must(inventory_apply(inv, &e, now_usec) == 0);
	free(buf);
}

/* A disk on USB is only taken when no other one has a label, or when the firmware said USB. */
static void check_take(const struct inventory *inv, enum boot_mode mode, enum slot slot,
		       const struct disk *d)
{
	bool usb = false, inside = false;
	unsigned same = 0;

	for (size_t i = 0; i < inv->disk_count; i++) {
		const struct inventory_disk *other = &inv->disks[i];

		same += streq(other->name, d->name);
		usb |= streq(other->name, d->name) && other->kind == DISK_USB;
		inside |= !streq(other->name, d->name) && other->kind != DISK_USB &&
			  other->part_count > 0;
	}
	must(same > 0);
	/* The kernel gives no name twice; a fuzzer does, and then it says nothing about the kind.
	 */
	must(same > 1 || !usb || !inside || mode == BOOT_MODE_USB_MSD);
	must(*d->part[PART_BOOTSEL].name);
	must(slot == SLOT_NONE || *d->part[part_root(slot)].name);
	for (enum part p = 0; p < PART_COUNT; p++)
		must(!strpbrk(d->part[p].name, "/ \n\033"));
}

static void choose(const struct inventory *inv, enum boot_mode mode, enum slot slot)
{
	static const uint64_t seconds[] = { 0, 4, 5, 29, 30, 31 };

	for (size_t i = 0; i < ARRAY_SIZE(seconds); i++) {
		uint64_t now_usec = seconds[i] * 1000000, deadline_usec = 30 * 1000000;
		char text[100];
		struct choice c;

		inventory_choose(inv, mode, slot, now_usec, deadline_usec, &c);
		if (c.kind == CHOICE_TAKE)
			check_take(inv, mode, slot, &c.disk);
		if (c.kind == CHOICE_WAIT)
			must(c.until_usec > now_usec && c.until_usec <= deadline_usec);
		if (c.kind != CHOICE_FAIL)
			continue;
		inventory_explain(inv, mode, slot, c.reason, text, sizeof(text));
		must(*text && strlen(text) < sizeof(text));
		for (const char *s = text; *s; s++)
			must(isprint((unsigned char)*s));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum boot_mode modes[] = { BOOT_MODE_UNKNOWN, BOOT_MODE_SD, BOOT_MODE_USB_MSD,
						BOOT_MODE_NVME };
	struct inventory inv = { 0 };
	enum boot_mode mode;
	enum slot slot;

	if (size < 1)
		return 0;
	mode = modes[*data & 3];
	slot = (enum slot)((*data >> 2) % 3);
	data++;
	size--;
	for (uint64_t now_usec = 0; size; now_usec += 1000) {
		const uint8_t *end = memchr(data, 1, size);
		size_t len = end ? (size_t)(end - data) : size;

		feed(&inv, data, len, now_usec);
		len += end != NULL;
		data += len;
		size -= len;
	}
	choose(&inv, mode, slot);
	inventory_clear(&inv);
	return 0;
}
