// SPDX-License-Identifier: MIT
#include "initramfs/pack/wants.h"

#include "boot/io.h"

static const struct {
	const char *name;
	enum kmod_group group;
} groups[] = {
	{ "erofs", KMOD_EROFS },
	{ "squashfs", KMOD_SQUASHFS },
	{ "usb", KMOD_USB },
};

enum { REQUIRED = 0, OPTIONAL = 1, WATCHDOG = 2, LATE = 4 };

/*
 * An optional module may be missing in the root (another kernel, another
 * machine) and may find no hardware at boot. What is built into the kernel costs
 * nothing, so names of several vendors' kernels stand side by side.
 */
static const struct {
	const char *name;
	unsigned flags;
	enum kmod_group group;
	const char *why;
} table[] = {
	{ "bcm2835_wdt", OPTIONAL | WATCHDOG, KMOD_BASE, "watchdog of every Raspberry Pi" },
	{ "i6300esb", OPTIONAL | WATCHDOG, KMOD_BASE, "watchdog of QEMU" },

	{ "dm-verity", REQUIRED, KMOD_BASE, "proves the root" },
	{ "crypto-sha256", REQUIRED, KMOD_BASE, "hash of dm-verity" },
	{ "crypto-sha512-generic", OPTIONAL, KMOD_BASE, "other hash of dm-verity" },
	{ "crypto-sha512-lib", OPTIONAL, KMOD_BASE, "other hash of dm-verity, Linux 6.17" },
	{ "ext4", REQUIRED, KMOD_BASE, "filesystem of the root and of the data partition" },
	{ "overlay", REQUIRED, KMOD_BASE, "writable paths over the read-only root" },

	{ "virtio_pci", OPTIONAL, KMOD_BASE, "disk of virtual machines" },
	/* QEMU has 32 of these sockets, and nothing in them when the disk is on PCI. */
	{ "virtio_mmio", OPTIONAL | LATE, KMOD_BASE, "disk of virtual machines" },
	{ "virtio_blk", OPTIONAL, KMOD_BASE, "disk of virtual machines" },
	{ "nvme", OPTIONAL, KMOD_BASE, "NVMe disk" },
	{ "pcie-brcmstb", OPTIONAL, KMOD_BASE, "PCIe (NVMe) of the Raspberry Pi 4 and 5" },
	{ "mmc_block", OPTIONAL, KMOD_BASE, "SD card and eMMC" },
	{ "sdhci-brcmstb", OPTIONAL, KMOD_BASE, "SD card of the Raspberry Pi 5" },
	{ "sdhci-iproc", OPTIONAL, KMOD_BASE, "SD card of the Raspberry Pi 4" },
	{ "gpio-regulator", OPTIONAL, KMOD_BASE, "voltage of the Raspberry Pi 4's SD card" },
	{ "fixed", OPTIONAL, KMOD_BASE, "power of the Raspberry Pi 4's SD card" },
	{ "bcm2835", OPTIONAL, KMOD_BASE, "SD card of the Raspberry Pi 3" },
	{ "bcm2835-sdhost", OPTIONAL, KMOD_BASE, "the same, in the vendor's kernel" },
	{ "bcm2835-mmc", OPTIONAL, KMOD_BASE, "the same, the second controller" },
	{ "sdhci-pci", OPTIONAL, KMOD_BASE, "SD card and eMMC of PCs and of QEMU" },

	{ "erofs", OPTIONAL, KMOD_EROFS, "filesystem of the root" },
	{ "squashfs", OPTIONAL, KMOD_SQUASHFS, "filesystem of the root" },

	{ "xhci-pci", OPTIONAL, KMOD_USB, "USB host" },
	{ "xhci-plat-hcd", OPTIONAL, KMOD_USB, "USB host" },
	{ "reset-raspberrypi", OPTIONAL, KMOD_USB, "USB host of the Raspberry Pi 4" },
	{ "usb-storage", OPTIONAL, KMOD_USB, "USB disk" },
	{ "uas", OPTIONAL, KMOD_USB, "fast USB disk" },
	{ "sd_mod", OPTIONAL, KMOD_USB, "USB disk" },
};

int kmod_groups_parse(const char *list, unsigned *ret)
{
	unsigned set = *ret;

	for (;;) {
		size_t len = strcspn(list, ","), i = 0;

		while (i < ARRAY_SIZE(groups) &&
		       (strlen(groups[i].name) != len || strncmp(groups[i].name, list, len) != 0))
			i++;
		if (i == ARRAY_SIZE(groups))
			return -EINVAL;
		set |= groups[i].group;
		if (!list[len])
			break;
		list += len + 1;
	}
	*ret = set;
	return 0;
}

static void want_free(struct kmod_want *w)
{
	free(w->name);
	free(w->params);
	free(w->why);
}

void kmod_wants_free(struct kmod_wants *w)
{
	for (size_t i = 0; i < w->count; i++)
		want_free(&w->list[i]);
	free(w->list);
	*w = (struct kmod_wants) { 0 };
}

/* The kernel sees no difference between "-" and "_" in a name. */
static bool same_name(const char *a, const char *b)
{
	for (; *a && *b; a++, b++)
		if (*a != *b && !(strchr("-_", *a) && strchr("-_", *b)))
			return false;
	return *a == *b;
}

/* Takes @new over, whatever comes of it. */
static int take_over(struct kmod_wants *w, struct kmod_want *new)
{
	struct kmod_want *list;

	for (size_t i = 0; i < w->count; i++) {
		struct kmod_want *old = &w->list[i];

		if (!same_name(old->name, new->name))
			continue;
		old->optional &= new->optional;
		old->late &= new->late;
		if (new->params) {
			free(old->params);
			old->params = TAKE_PTR(new->params);
		}
		want_free(new);
		return 0;
	}
	list = reallocarray(w->list, w->count + 1, sizeof(*list));
	if (!list) {
		want_free(new);
		return -ENOMEM;
	}
	w->list = list;
	list[w->count++] = *new;
	return 0;
}

int kmod_wants_merge(struct kmod_wants *w, const struct kmod_want *want)
{
	struct kmod_want new = {
		.name = strdup(want->name),
		.params = want->params ? strdup(want->params) : NULL,
		.why = strdup(want->why),
		.optional = want->optional,
		.watchdog = want->watchdog,
		.late = want->late,
	};

	if (!new.name || !new.why || (want->params && !new.params)) {
		want_free(&new);
		return -ENOMEM;
	}
	return take_over(w, &new);
}

int kmod_wants_defaults(struct kmod_wants *w, unsigned set)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct kmod_want new = { .optional = table[i].flags & OPTIONAL,
					 .watchdog = table[i].flags & WATCHDOG,
					 .late = table[i].flags & LATE };
		int r;

		if (table[i].group != KMOD_BASE && !(set & table[i].group))
			continue;
		new.name = strdup(table[i].name);
		new.why = strdup(table[i].why);
		if (!new.name || !new.why) {
			want_free(&new);
			return -ENOMEM;
		}
		r = take_over(w, &new);
		if (r < 0)
			return r;
	}
	return 0;
}

/* bf-init takes no control character in its list. */
static void tabs_to_spaces(char *s)
{
	for (; *s; s++)
		if (*s == '\t')
			*s = ' ';
}

int kmod_wants_add(struct kmod_wants *w, const char *text, bool optional, bool dash,
		   const char *why)
{
	struct kmod_want new = { .optional = optional };
	size_t len;

	if (dash && *text == '-') {
		new.optional = true;
		text++;
	}
	len = strcspn(text, " \t");
	if (!len || text[0] == '-')
		return -EINVAL;
	for (size_t i = 0; text[i]; i++) /* one line of the list, one word of it */
		if (text_is_control(text[i]) && text[i] != '\t')
			return -EINVAL;
	if (memchr(text, '/', len))
		return -EINVAL;
	new.name = strndup(text, len);
	text += len + strspn(text + len, " \t");
	new.params = *text ? strdup(text) : NULL;
	if (new.params)
		tabs_to_spaces(new.params);
	new.why = strdup(why);
	if (!new.name || !new.why || (*text && !new.params)) {
		want_free(&new);
		return -ENOMEM;
	}
	return take_over(w, &new);
}
