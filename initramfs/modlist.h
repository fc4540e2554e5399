/* SPDX-License-Identifier: MIT */
/*
 * The module list: written by bf-mkinitramfs, read by bf-init; all that the two share.
 *
 * Format of the list: first line "# bf-modules 2 RELEASE"; then for each module
 *
 *	LEVEL [-|?]PATH[ PARAMETERS]
 *	needs N
 *	alias PATTERN
 *
 * LEVEL is a decimal that never decreases; modules of one level depend only on
 * lower levels and are loaded in parallel. "-" marks a module that may fail, "?"
 * one that may fail and is loaded only on demand: when a module that needs it
 * is loaded, or a device is there that it serves. Any number of lines "needs" and
 * "alias" belong to the module above them: N is the number, from 0, of an
 * earlier module of a lower level; PATTERN, only for "?", is a glob(7) over the
 * modalias of devices, both with "_" for each "-" (the kernel writes either).
 */
#pragma once

#define MODLIST_PATH "/lib/modules/bf-modules"
#define MODLIST_HEAD "# bf-modules 2 "
#define MODLIST_MAX  1048576 /* bytes */
