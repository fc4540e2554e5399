/* SPDX-License-Identifier: MIT */
/*
 * A device that lives through whatever may happen to it: the firmware, two
 * slots whose content works or fails in a known way, and the boot library.
 *
 * The world exists twice. The real one keeps its disk in files below the test
 * double's root, and asks the boot library through its kernel seam, where any
 * call can be the last before a power cut, fail, or be where the program is
 * killed. The other one is a copy in memory, to look ahead in without faults:
 * there only the pure functions run, and the writing is done here.
 *
 * The firmware's reading of autoboot.txt is written here once more, without
 * the boot library's.
 */
#pragma once

#include "boot/pi/autoboot.h"
#include "boot/running.h"
#include "boot/sys.h"

#define WORLD_DATA     "/data"
#define WORLD_DISK     "nvme0n1p"
#define WORLD_SELECTOR "/dev/" WORLD_DISK "1"
#define WORLD_NOW_SEC  UINT64_C(1735689600)

enum content {
	CONTENT_GOOD,
	CONTENT_PRE,	    /* the kernel dies before bf-init */
	CONTENT_INIT,	    /* bf-init fails */
	CONTENT_DARK,	    /* dies in user space, without a word */
	CONTENT_KIOSK,	    /* comes up, but the kiosk never lives */
	CONTENT_LATER,	    /* passes its trial, then the kiosk fails */
	CONTENT_LATER_DARK, /* passes its trial, then dies without a word */
	CONTENT_REBOOTS,    /* restarts the system by itself, in good order */
	CONTENT_COUNT
};
extern const char *const content_names[CONTENT_COUNT];

enum data_mode { DATA_OK, DATA_READONLY, DATA_MISSING };

/*
 * What can be done wrong on purpose, to see that it is noticed. X(identifier, "name",
 * "how the violation begins that must come of it")
 */
#define MISTAKES(X)                                                                                \
	X(SWAP, "sector-before-record", "the sector")                                              \
	X(NO_SECTOR, "sector-not-ensured", "I")                                                    \
	X(NOT_COUNTED, "attempt-not-counted", "I5")                                                \
	X(BOTH_BAD, "both-bad", "I2")                                                              \
	X(NOT_REFUSED, "hash-not-refused", "I6")                                                   \
	X(NO_REASON, "reason-not-kept", "I8")                                                      \
	X(EARLY, "commit-without-window", "I3")                                                    \
	X(BLAMED, "lost-trial-blamed", "I4")                                                       \
	X(NO_REPAIR, "sector-not-repaired", "I1")                                                  \
	X(NO_FILE, "file-not-made", "I1")                                                          \
	X(ENDLESS, "failures-not-counted", "I5")

enum mistake {
	MISTAKE_NONE,
#define X(id, name, violation) MISTAKE_##id,
	MISTAKES(X)
#undef X
		MISTAKE_COUNT
};

/* What the disk holds, as somebody sees who takes it out. */
struct disk_view {
	enum slot all, trial; /* under [all] and [tryboot]; SLOT_NONE: no selection */
	bool usable;	      /* a complete selection of two slots */
	bool in_place;	      /* the file has the size that one write can change */
	bool has_record;
	struct record record;
};

/* What the person with the power switch, or the disk, does while a program runs. */
enum fault_kind { FAULT_NONE, FAULT_CUT, FAULT_FAIL, FAULT_KILL };
struct fault {
	enum fault_kind kind;
	unsigned call; /* the k-th kernel call */
	size_t torn;   /* FAULT_CUT: bytes of a write that still arrive */
	int error;     /* FAULT_FAIL */
};
extern const struct fault no_fault;

struct world {
	bool in_memory;
	struct disk_view disk; /* in memory: the disk itself; else as it was looked at last */
	enum content content[SLOT_COUNT];
	unsigned version[SLOT_COUNT];
	bool proven[SLOT_COUNT]; /* was confirmed with this content */
	bool trial_ran;		 /* the staged slot was started since it was staged */

	bool has_count;
	uint32_t count;
	bool flag;
	enum slot number; /* the next boot is of this slot's partition; SLOT_NONE: as selected */
	bool deaf;	  /* its firmware takes no number */
	enum data_mode next_data, data; /* BF_DATA in the next and in this boot */

	bool up;
	enum slot running;
	bool tryboot;
	struct boot_decision decision;
	bool armed, counted, staying;		      /* in memory: what is in /run */
	bool reconciled, confirmed, settled, retried; /* in this boot */
	enum request asked;			      /* the last request */
	unsigned boots, delay_sec, requests;	      /* all of them, so far */
	bool rescue; /* bf-init failed and could not write it down */
	bool unread; /* the medium did not give a generation of the record */
	enum mistake mistake;
	FILE *dump;	     /* questions and answers, for the model in Python */
	char violation[256]; /* what must not be; the first one */
};

/* What must not be has come about; only the first one is kept. */
void world_violate(struct world *w, const char *fmt, ...) _printf_(2, 3);

/* Its kiosk lives, as long as a trial lasts. */
bool content_is_healthy(enum content c);

/* The root hash of a bundle's version. */
void version_hash(unsigned version, char ret[static RECORD_HASH_MAX + 1]);

/* slot_other() without its third answer */
enum slot the_other(enum slot slot);

/* After fake_reset(): BF_BOOTSEL can be mounted, and what is done there is done to its FAT. */
void world_disk_begins(void);

/* autoboot.txt made anew, of @size bytes: @text and newlines. NULL: there is none. */
void world_make_selector(const char *text, size_t size);

/* Its first 512 bytes, if there is one, become @junk; its size stays. */
void world_damage_selector(const char junk[static AUTOBOOT_SIZE]);

/* Sets .disk to what the disk holds now; in memory it does already. */
void world_look(struct world *w);

/* The slot that the firmware starts; without a selection the first one that has a kernel. */
enum slot world_firmware_choice(const struct world *w, bool flag);

/* The power goes; or a reset, with the flag that it carries. */
void world_power_off(struct world *w);
void world_restart(struct world *w, bool flag);

/* From power or reset to a running system, or to the next restart. The kernel calls it took. */
unsigned world_boot_once(struct world *w, const struct fault *fault);

/* What running.c should find. */
void world_expected_facts(const struct world *w, struct run_facts *f);

/*
 * What became of one request by one program. A program that was killed, or the
 * power cut, leaves nothing to do.
 */
struct outcome {
	enum fault_kind hit;
	enum boot_next next;
	enum refusal refusal;
	unsigned calls; /* to the kernel */
};

/* @args: NULL for a request that takes none. */
struct outcome world_ask(struct world *w, enum request request, const struct request_args *args,
			 const struct fault *fault);

/* Asks, and does what the answer says. */
struct outcome world_ask_and_do(struct world *w, enum request request,
				const struct request_args *args, const struct fault *fault);

/* The system goes down in good order, and comes back. The kernel calls it took. */
unsigned world_reboot(struct world *w, const struct fault *fault);
