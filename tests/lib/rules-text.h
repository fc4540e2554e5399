/* SPDX-License-Identifier: MIT */
/*
 * Facts and decisions of boot/rules.h as words "key=value", for tables of test
 * cases and for the comparison with the model in tests/contract/.
 *
 * Facts:    running=A|B mismatch=0|1 tryboot=0|1 count=-|N selector=A|B|invalid|gone
 *           record=ok|lost|none writable=0|1 now=N boot_id=TEXT roothash=TEXT
 * Record:   committed staged kind attempts trials trial_reason state.X proven.X hash.X hard soft
 *           doublings ladder probation repairs last.slot last.phase last.boot_id last.count
 *           last.reason refused=HASH,… history=EVENT:SLOT:REASON,… ("-" is nothing)
 * Decision: writes=S|W|WS|SW|- sector next unwritten committable limbo reason delay, the record
 */
#pragma once

#include "boot/rules.h"

#define TEXT_MAX 8192

/* The words of enum slot and of enum boot_next; NULL ends them. */
extern const char *const text_slots[], *const text_next[];

/* A boot of the committed slot A with an empty record and everything in order. */
void text_defaults(struct boot_facts *f);

/* Sets what @words say; @words is taken apart. */
void text_set(struct boot_facts *f, char *words);

/* What text_set() reads. */
void text_print_facts(FILE *out, const struct boot_facts *f);

/* A decision and its record. */
void text_print(FILE *out, const struct boot_decision *d, uint32_t delay_sec);

/* Only the record's words; of them, text_set_record() sets one and is false for any other. */
bool text_set_record(struct record *rec, const char *key, char *value);
void text_print_record(FILE *out, const struct record *r);

/*
 * For other words in the same manner. What cannot be read ends the program: text_die() says
 * why on standard error, and exits with status 2.
 */
__attribute__((noreturn, format(printf, 1, 2))) void text_die(const char *fmt, ...);
unsigned text_name(const char *value, const char *const *names); /* its place in @names */
uint32_t text_number(const char *value);
void text_copy(char *to, size_t size, const char *value); /* "-" is "" */
const char *text_or_dash(const char *s);
/* "A", "B": in place; "A-file", "B-file": valid, but only a mount could change it. */
const char *text_selector(enum selector_state state, enum slot committed, bool in_place);
void text_set_selector(const char *value, enum selector_state *ret, enum slot *ret_committed,
		       bool *ret_in_place);
