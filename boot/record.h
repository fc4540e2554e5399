/* SPDX-License-Identifier: MIT */
/*
 * The boot record on BF_DATA: the truth about the boot selection.
 *
 * Format 1: text, "format=1", then one "key=value" a line, then "crc32=XXXXXXXX"
 * (zlib's crc32 of all bytes before that line, eight lower-case hex digits), then
 * newlines up to RECORD_SIZE. "-" is "nothing". Keys and their types stand in the
 * tables of record.c; the order of the lines does not matter. A key of ours that
 * is missing or there twice, and a value that is not of its type, is damage.
 *
 * What later versions may count on, and have to keep to. After an update that fails, the
 * version before it reads what the failed one has written, and has to be able to install again.
 *
 *  - Keys that a program does not know are kept and written back, up to
 *    RECORD_KEPT_MAX bytes of lines; so are a word it does not know in the place of a
 *    state, a kind, a phase or a history event, until it has another one to write there, and
 *    words at the end of a history entry, up to RECORD_MORE_MAX bytes.
 *  - A key that exists keeps its type, is always written, and is never used for anything else.
 *  - A later version adds counters by RECORD_LATE_COUNTERS: such a key may be missing (0), and
 *    comes into a record only when nothing is on trial or in probation, so only when its
 *    slot has settled. record_format() sees to that. The same goes for new words.
 *  - A new format= is for what none of this can say. It, too, may be written only by a
 *    settled slot, and the slots before it cannot install until they are replaced. The frame
 *    (first line, last line, size) stays the same in every format, so that an older
 *    program can tell a newer record from a damaged one: it never overwrites it.
 *
 * Two preallocated files in the directory bf/ of the data partition,
 * "boot-record" and "boot-record.old": a new generation is written over the
 * older file in full, fsynced, read back, and exchanged by name. So a write
 * needs no free space and the previous generation stays as the backup. The
 * good file with the greater gen is the record, whatever its name: a power cut
 * before the exchange leaves the names the wrong way round.
 */
#pragma once

#include "boot/reason.h"

#define RECORD_DIR	   "bf" /* on BF_DATA */
#define RECORD_SIZE	   8192 /* bytes of each file */
#define RECORD_FORMAT	   1
#define RECORD_HASH_MAX	   128		       /* hex digits: sha512 */
#define RECORD_REFUSED_MAX 8		       /* newest kept */
#define RECORD_HISTORY_MAX 16		       /* newest kept */
#define RECORD_COUNTER_MAX 1000000	       /* of every counter */
#define RECORD_GEN_MAX	   ((uint64_t)1 << 62) /* none reaches it: each must have a next one */
/* Reason codes are kept as text, so that one of a newer version survives. */
#define RECORD_CODE_MAX 31
#define RECORD_KEPT_MAX 2048 /* bytes of lines that this version does not know */
#define RECORD_MORE_MAX 63   /* bytes of a history entry that this version does not know */

/*
 * Counters that came after format 1 was first in the field: X(member, "key"). See above for what
 * that means; tests/unit/test-record-next.c is a version that has one more.
 *
 * healthy_sec: for so long, over boots, the committed slot has been well without a failure, as far
 * as that was written down; 0 again when it has settled. A record of a version without it
 * gets it when its slot settles, until when that has to happen in one boot.
 */
#ifndef RECORD_LATE_COUNTERS
#define RECORD_LATE_COUNTERS(X) X(healthy_sec, "healthy_sec")
#endif

/* _OTHER: a word of a later version. It is none of the others, and is written back as it was read.
 */
enum slot_state { STATE_UNKNOWN, STATE_GOOD, STATE_BAD, STATE_OTHER };
enum proven { PROVEN_UNKNOWN, PROVEN_NO, PROVEN_YES, PROVEN_OTHER };
enum staged_kind { KIND_UPDATE, KIND_FALLBACK, KIND_OTHER };

/* How far the last boot came, and how it ended when somebody wrote that down. */
enum boot_phase {
	PHASE_NONE,	 /* nothing known (fresh or rebuilt record) */
	PHASE_STARTED,	 /* bf-init stamped a boot of the committed slot */
	PHASE_TRIAL,	 /* bf-init stamped a trial boot */
	PHASE_ATTEMPT,	 /* somebody is about to reboot into the trial */
	PHASE_CONFIRMED, /* the guard confirmed the committed slot */
	PHASE_CLEAN,	 /* ended on purpose before it settled */
	PHASE_FAILED,	 /* ended with a reason */
	PHASE_SETTLED,	 /* was healthy long enough */
	PHASE_OTHER,
};

struct record_last {
	enum slot slot;
	enum boot_phase phase;
	char boot_id[33]; /* 32 lower-case hex digits (the kernel's boot id without dashes) or "" */
	bool has_count;
	uint32_t count;			  /* the device tree's count in that boot */
	char reason[RECORD_CODE_MAX + 1]; /* "" unless FAILED */
};

/* What happened to .slot; why is in .reason ("" if there is nothing to say). */
enum history_event {
	HISTORY_STAGED,
	HISTORY_TRIAL, /* a trial ran */
	HISTORY_COMMITTED,
	HISTORY_REJECTED, /* trial given up, bundle refused */
	HISTORY_GIVEN_UP, /* trial given up, not blamed on the bundle's content */
	HISTORY_FALLBACK, /* the committed slot is being left: a trial was asked for */
	HISTORY_FAILED,	  /* a boot of the slot failed in early boot */
	HISTORY_REPAIRED, /* autoboot.txt was made equal to the record */
	HISTORY_REBUILT,  /* the record was lost and made anew */
	HISTORY_CHANGED,  /* the slot holds another image than the record knew */
	HISTORY_OTHER,
};

struct history_entry {
	uint64_t time_sec; /* Unix; as the clock of that boot said */
	enum history_event event;
	enum slot slot;
	char reason[RECORD_CODE_MAX + 1];
	/* A later version's: the word for HISTORY_OTHER, and words after the reason, " WORD ..." */
	char word[RECORD_CODE_MAX + 1];
	char more[RECORD_MORE_MAX + 1];
};

/* Words of a later version: of the value that is _OTHER. */
struct record_words {
	char kind[RECORD_CODE_MAX + 1];
	char state[SLOT_COUNT][RECORD_CODE_MAX + 1];
	char proven[SLOT_COUNT][RECORD_CODE_MAX + 1];
	char phase[RECORD_CODE_MAX + 1];
};

struct record {
	uint64_t gen;
	enum slot committed;
	enum slot staged; /* SLOT_NONE: nothing staged */
	enum staged_kind kind;
	uint32_t attempts;			/* reboots into the trial asked for */
	uint32_t trials;			/* trials that started and are not explained away */
	char trial_reason[RECORD_CODE_MAX + 1]; /* written by the trial itself */
	enum slot_state state[SLOT_COUNT];
	enum proven proven[SLOT_COUNT];
	char hash[SLOT_COUNT][RECORD_HASH_MAX +
			      1]; /* root hash of what was installed, lower case, "" unknown */
	uint32_t hard, soft;	  /* failures of the committed slot, see rules.h */
	uint32_t doublings;	  /* n in hard >= 10 * 2^n: slow retries of the other slot */
	uint32_t ladder;	  /* reboots the guard has tried */
	bool probation;
	uint32_t repairs;
	struct record_last last;
	char refused[RECORD_REFUSED_MAX][RECORD_HASH_MAX + 1]; /* newest first, "" ends */
	struct history_entry history[RECORD_HISTORY_MAX];      /* newest first */
	size_t history_count;

#define X(member, key) uint32_t member;
	RECORD_LATE_COUNTERS(X)
#undef X
	uint32_t late_read; /* a bit for each late counter that was read, in their order */
	struct record_words words;
	char kept[RECORD_KEPT_MAX + 1]; /* lines with keys of a later version, as they were read */
};

/* A fresh record for a device that boots @committed, nothing else known. */
void record_init(struct record *ret, enum slot committed);

/*
 * Text to struct and back. record_parse: -EBADMSG damaged (size, crc, syntax,
 * a value out of range, staged == committed), -ENOTSUP with a right crc a newer
 * format, or more of a later version than can be kept. record_format writes exactly RECORD_SIZE
 * bytes; the sizes above make that always fit (proved by a test with every field at its longest).
 */
_must_check_ int record_parse(const char *text, size_t len, struct record *ret);
void record_format(const struct record *rec, char buf[static RECORD_SIZE]);

enum record_status {
	RECORD_OK,     /* the newest good generation was read */
	RECORD_BACKUP, /* one generation was damaged or absent; the other was read */
	RECORD_LOST,   /* neither can be read: to be rebuilt */
	RECORD_FUTURE, /* written by a newer version: not used, never overwritten */
};

/*
 * Reads the record below @data_fd, the root directory of the data partition.
 * Returns an enum record_status, or -errno for an I/O error that leaves no good
 * generation (the caller then treats BF_DATA as degraded). *ret is set for OK
 * and BACKUP. What stands under the record's name but is not a regular file of
 * its own and of the right size is never opened for its content: damaged.
 */
_must_check_ int record_load(int data_fd, struct record *ret);

/*
 * Stores @rec as the next generation, durable and read back before it returns
 * 0: rec->gen becomes one more than any on the disk, only on success. Creates
 * bf/ (0700) and both files (0600) when they are missing, and replaces what is
 * not a file of ours under their names; a directory there, or what is in the place of bf/, is
 * renamed to NAME.aside-N. Nothing is lost when it fails. Paths
 * are opened beneath @data_fd, no symlinks: BF_DATA is untrusted. @data_fd must
 * be fit for fsync (not O_PATH).
 * -ENOTSUP instead of overwriting a record of a newer format; -ESTALE when one on
 * the disk is newer than @rec, which was loaded before it could be read; -EINVAL when @rec
 * is not a record that record_parse() would take; -EIO when the disk does not hold what was
 * written. One writer at a time: the callers' lock.
 */
_must_check_ int record_store(int data_fd, struct record *rec);

/* 1 to @max lower-case hex digits: what hashes and boot ids in a record are made of. */
bool record_is_hex(const char *s, size_t max);

/* Copy a reason code or a hash; what is none leaves @to empty, or as it was. */
void record_set_code(char to[static RECORD_CODE_MAX + 1], const char *code);
void record_set_hash(char to[static RECORD_HASH_MAX + 1], const char *hash);

/* Sets last, of a boot that goes on: no reason. A @boot_id that is none becomes "". */
void record_set_last(struct record *rec, enum slot slot, enum boot_phase phase, const char *boot_id,
		     bool has_count, uint32_t count);
/* Adds once, as the newest; what is no hash is ignored. */
void record_refuse(struct record *rec, const char *hash);
bool record_is_refused(const struct record *rec, const char *hash);
/* Adds the newest entry; the oldest one goes. @reason: a code or "". */
void record_add_history(struct record *rec, uint64_t time_sec, enum history_event event,
			enum slot slot, const char *reason);
/* The words of the format; of a later version's value, as it was read. Static, or in @rec. */
const char *record_state_name(const struct record *rec, enum slot slot);
const char *record_proven_name(const struct record *rec, enum slot slot);
const char *record_kind_name(const struct record *rec);
const char *record_phase_name(const struct record *rec);
/* HISTORY_CHANGED, and nothing was installed or committed since. */
bool record_is_doubtful(const struct record *rec);
const char *history_event_name(enum history_event event);
const char *history_entry_name(const struct history_entry *entry);
/* Not in the record: "ok", "backup", "lost", "future", for those who say how it was read. */
const char *record_status_name(enum record_status status);
