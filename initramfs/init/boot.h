/* SPDX-License-Identifier: MIT */
/*
 * What is known about this one boot; filled as bf-init goes along.
 */
#pragma once

#include "boot/bootfile.h"
#include "boot/cmdline.h"
#include "boot/rules.h"
#include "initramfs/init/data.h"
#include "initramfs/init/root.h"

struct boot {
	char **argv; /* the kernel's, for the real init */
	struct cmdline cmdline;
	struct firmware firmware;
	enum slot slot; /* running; SLOT_NONE until known */
	struct disk disk;
	struct data data;
	struct selector selector;
	enum record_status record_status;
	struct boot_facts facts;
	bool decided; /* .decision was made and carried out */
	struct boot_decision decision;
	struct root root;
	bool rescue; /* the image is a rescue image */
	uint64_t start_realtime_usec;
	uint64_t start_monotonic_usec; /* of bf-init, for the initrd's time stamp and the first
					  stage */
	uint64_t stage_end_usec[STAGE_COUNT]; /* CLOCK_MONOTONIC; 0 = not reached */
	const char *machine_id; /* what handover_prepare() did about it, see there; static */
	bool clock_set;		/* the clock was behind and was set to the floor */
};
