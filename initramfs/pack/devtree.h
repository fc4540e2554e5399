/* SPDX-License-Identifier: MIT */
/*
 * Which devices of a device tree wait for which others.
 *
 * The kernel (fw_devlink, drivers/of/property.c) does not let a driver have its device before
 * all that the device's node names as a supplier has a driver: clocks, regulators, pins,
 * interrupt and MSI parents … Where such a driver is a module that is not in the initramfs, the
 * disk never comes.
 *
 * Formats: Devicetree Specification; the kernel's Documentation/devicetree/bindings. Nodes are
 * known by their modalias, as in sysfs ("of:NnameT(null)Cvendor,device").
 */
#pragma once

#include "boot/base.h"

struct devtree_visitor {
	/* 1: a driver of ours serves the device, 0: it does not; below 0 ends the walk. */
	int (*is_ours)(const char *modalias, void *ctx);
	/* A device that one of ours waits for. @why: "supplies NODE". Below 0 ends the walk. */
	int (*supplier)(const char *modalias, const char *why, void *ctx);
	void *ctx;
};

/*
 * Tells the suppliers of all devices that are ours, theirs too, and the buses they are on; each
 * once. -EBADMSG: @dtb is no device tree, or a damaged one; else what the visitor said.
 */
_must_check_ int devtree_walk(const void *dtb, size_t size, const struct devtree_visitor *visitor);
