// SPDX-License-Identifier: MIT
#include "initramfs/pack/devtree.h"

#include <libfdt.h>

/* A list of (phandle, arguments); the supplier's @cells says how many arguments follow. */
static const struct {
	const char *name, *cells; /* NULL: no arguments */
} lists[] = {
	{ "clocks", "#clock-cells" },
	{ "interconnects", "#interconnect-cells" },
	{ "iommus", "#iommu-cells" },
	{ "mboxes", "#mbox-cells" },
	{ "io-channels", "#io-channel-cells" },
	{ "io-backends", "#io-backend-cells" },
	{ "dmas", "#dma-cells" },
	{ "power-domains", "#power-domain-cells" },
	{ "hwlocks", "#hwlock-cells" },
	{ "extcon", NULL },
	{ "nvmem", "#nvmem-cell-cells" },
	{ "nvmem-cells", "#nvmem-cell-cells" },
	{ "phys", "#phy-cells" },
	{ "wakeup-parent", NULL },
	{ "pwms", "#pwm-cells" },
	{ "resets", "#reset-cells" },
	{ "leds", NULL },
	{ "backlight", NULL },
	{ "panel", NULL },
	{ "msi-parent", "#msi-cells" },
	{ "access-controllers", "#access-controller-cells" },
	{ "interrupts-extended", "#interrupt-cells" },
	/* Not of the kernel's list, but what the vendor's drivers ask for at their start. */
	{ "firmware", NULL },
	{ "rpifw", NULL },
	{ "interrupt-parent", NULL },
};

/* (number, phandle, number, number): the second cell of each four. */
static const char *const maps[] = { "msi-map", "iommu-map" };

struct walk {
	const void *dtb;
	const struct devtree_visitor *visitor;
	int *queue; /* offsets of nodes whose suppliers are looked for */
	size_t count, room;
	const char *consumer; /* name of the node that is looked at */
};

static bool is_queued(const struct walk *w, int node)
{
	for (size_t i = 0; i < w->count; i++)
		if (w->queue[i] == node)
			return true;
	return false;
}

static int enqueue(struct walk *w, int node)
{
	if (w->count == w->room) {
		size_t room = w->room ? w->room * 2 : 64;
		int *queue = reallocarray(w->queue, room, sizeof(*queue));

		if (!queue)
			return -ENOMEM;
		w->queue = queue;
		w->room = room;
	}
	w->queue[w->count++] = node;
	return 0;
}

/* As the kernel has it in sysfs. NULL in *ret: no driver could be found by it. */
static int modalias_of(const struct walk *w, int node, char **ret)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_file_ FILE *out = NULL;
	const char *name = fdt_get_name(w->dtb, node, NULL);
	int count = fdt_stringlist_count(w->dtb, node, "compatible");
	size_t size;

	*ret = NULL;
	if (count <= 0 || !name)
		return 0;
	out = open_memstream(&text, &size);
	if (!out)
		return -ENOMEM;
	(void)fprintf(out, "of:N%.*sT(null)", (int)strcspn(name, "@"), name);
	for (int i = 0; i < count; i++)
		(void)fprintf(out, "C%s", fdt_stringlist_get(w->dtb, node, "compatible", i, NULL));
	if (ferror(out) || fflush(out) != 0)
		return -ENOMEM;
	fclose_p(&out); /* it sets text once more */
	for (char *c = text; *c; c++)
		if (*c == ' ')
			*c = '_';
	*ret = TAKE_PTR(text);
	return 0;
}

/* A node that something points to: the device is it, or what it is a part of, and its buses. */
static int take_supplier(struct walk *w, int node)
{
	for (; node > 0; node = fdt_parent_offset(w->dtb, node)) {
		_cleanup_free_ char *modalias = NULL, *why = NULL;
		int r;

		if (is_queued(w, node))
			return 0;
		r = modalias_of(w, node, &modalias);
		if (r == 0 && modalias)
			r = enqueue(w, node);
		if (r < 0)
			return r;
		if (!modalias)
			continue;
		why = strf("supplies %s of the device tree", w->consumer);
		r = why ? w->visitor->supplier(modalias, why, w->visitor->ctx) : -ENOMEM;
		if (r < 0)
			return r;
	}
	return 0;
}

static int by_phandle(const struct walk *w, uint32_t phandle)
{
	return phandle ? fdt_node_offset_by_phandle(w->dtb, phandle) : -FDT_ERR_NOTFOUND;
}

static uint32_t cells_of(const struct walk *w, int supplier, const char *property)
{
	const fdt32_t *value;
	int len;

	if (!property)
		return 0;
	value = fdt_getprop(w->dtb, supplier, property, &len);
	return value && len == sizeof(*value) ? fdt32_ld(value) : 0;
}

/* A supplier that is not there ends the list: where the next one would be nobody knows. */
static int take_list(struct walk *w, const fdt32_t *list, int len, const char *cells)
{
	size_t count = (size_t)len / sizeof(*list), i = 0;
	int r = 0;

	while (r == 0 && i < count) {
		uint32_t phandle = fdt32_ld(&list[i++]);
		int supplier = by_phandle(w, phandle);

		if (!phandle) /* an empty place */
			continue;
		if (supplier < 0)
			break;
		i += cells_of(w, supplier, cells);
		r = take_supplier(w, supplier);
	}
	return r;
}

static int take_map(struct walk *w, const fdt32_t *list, int len)
{
	int r = 0;

	for (size_t i = 1; r == 0 && i < (size_t)len / sizeof(*list); i += 4) {
		int supplier = by_phandle(w, fdt32_ld(&list[i]));

		r = supplier < 0 ? 0 : take_supplier(w, supplier);
	}
	return r;
}

static bool ends_with(const char *s, const char *end)
{
	size_t len = strlen(s), n = strlen(end);

	return len > n && streq(s + len - n, end);
}

static int take_property(struct walk *w, const char *name, const fdt32_t *value, int len)
{
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		if (streq(name, lists[i].name))
			return take_list(w, value, len, lists[i].cells);
	for (size_t i = 0; i < ARRAY_SIZE(maps); i++)
		if (streq(name, maps[i]))
			return take_map(w, value, len);
	if (ends_with(name, "-supply") ||
	    (startswith(name, "pinctrl-") && !streq(name, "pinctrl-names")))
		return take_list(w, value, len, NULL);
	if (streq(name, "gpios") || ends_with(name, "-gpios") || ends_with(name, "-gpio"))
		return take_list(w, value, len, "#gpio-cells");
	return 0;
}

/* interrupt-parent= counts for all that is below it. */
static int take_interrupt_parent(struct walk *w, int node)
{
	if (!fdt_getprop(w->dtb, node, "interrupts", NULL))
		return 0;
	for (; node >= 0; node = fdt_parent_offset(w->dtb, node)) {
		int len;
		const fdt32_t *value = fdt_getprop(w->dtb, node, "interrupt-parent", &len);

		if (value)
			return take_list(w, value, len, NULL);
	}
	return 0;
}

static int take_suppliers(struct walk *w, int node)
{
	int property, r;

	w->consumer = fdt_get_name(w->dtb, node, NULL);
	r = take_interrupt_parent(w, node);
	fdt_for_each_property_offset(property, w->dtb, node)
	{
		const char *name;
		int len;
		const void *value = fdt_getprop_by_offset(w->dtb, property, &name, &len);

		if (r == 0 && value)
			r = take_property(w, name, value, len);
	}
	return r < 0 ? r : take_supplier(w, fdt_parent_offset(w->dtb, node));
}

static int queue_ours(struct walk *w)
{
	for (int node = 0; node >= 0; node = fdt_next_node(w->dtb, node, NULL)) {
		_cleanup_free_ char *modalias = NULL;
		int r = modalias_of(w, node, &modalias);

		if (r == 0 && modalias)
			r = w->visitor->is_ours(modalias, w->visitor->ctx);
		if (r > 0)
			r = enqueue(w, node);
		if (r < 0)
			return r;
	}
	return 0;
}

int devtree_walk(const void *dtb, size_t size, const struct devtree_visitor *visitor)
{
	struct walk w = { .dtb = dtb, .visitor = visitor };
	int r;

	if (fdt_check_full(dtb, size) != 0)
		return -EBADMSG;
	r = queue_ours(&w);
	/* The queue grows meanwhile. */
	for (size_t i = 0; r == 0 && i < w.count; i++)
		r = take_suppliers(&w, w.queue[i]);
	free(w.queue);
	return r;
}
