/* SPDX-License-Identifier: MIT */
/*
 * The few things every other file needs: cleanup, checked parsing, slots, log.
 *
 * The error contract of the whole project: a function that can fail returns
 *   < 0  -errno: fatal for the caller, to be forwarded unchanged;
 *   = 0  success (or a count/fd where the header says so);
 *   > 0  only a value of an enum documented with that function.
 * Functions do not log. Exactly one place, the program's step function,
 * reports a failure, with the object, the path and the errno.
 */
#pragma once

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define _cleanup_(f)   __attribute__((cleanup(f)))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _must_check_   __attribute__((warn_unused_result))
#define _unused_       __attribute__((unused))

#define _cleanup_free_	_cleanup_(free_p)
#define _cleanup_close_ _cleanup_(close_p)
#define _cleanup_file_	_cleanup_(fclose_p)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__typeof__(p) *_pp = &(p);                                                         \
		__typeof__(p) _p = *_pp;                                                           \
		*_pp = NULL;                                                                       \
		_p;                                                                                \
	})
#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int *_fdp = &(fd);                                                                 \
		int _fd = *_fdp;                                                                   \
		*_fdp = -1;                                                                        \
		_fd;                                                                               \
	})

void free_p(void *p);	 /* p: pointer to the pointer */
void close_p(int *fd);	 /* closes if >= 0, then -1; keeps errno */
void fclose_p(FILE **f); /* closes if not NULL, then NULL; keeps errno */

static inline bool streq(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

/* The rest of @s behind @prefix, or NULL. */
const char *startswith(const char *s, const char *prefix);

/*
 * Whole-string numbers: no sign, no space, no leftover, in range.
 * Return 0, -EINVAL (not a number) or -ERANGE. *ret only changes on success.
 */
_must_check_ int parse_u64(const char *s, unsigned base, uint64_t *ret);
_must_check_ int parse_u32(const char *s, unsigned base, uint32_t *ret);

/* Allocated printf; NULL when out of memory. */
_must_check_ char *strf(const char *fmt, ...) _printf_(1, 2);

/*
 * The bytes of @hex (an even number of digits, either case) in a new buffer.
 * -EINVAL when not hex. The caller frees *ret.
 */
_must_check_ int unhex(const char *hex, uint8_t **ret, size_t *ret_len);

/* @bytes (1..8) little-endian bytes at @p, as a number. */
static inline uint64_t get_le(const uint8_t *p, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes-- > 0)
		value = value << 8 | p[bytes];
	return value;
}

/* Slots. A kiosk has two of everything; which one is a value, never a string. */
enum slot { SLOT_A, SLOT_B, SLOT_NONE };
#define SLOT_COUNT 2

const char *slot_name(enum slot slot); /* "A", "B", "-" */
enum slot slot_parse(const char *s);   /* exactly "A" or "B", else SLOT_NONE */
static inline enum slot slot_other(enum slot s)
{
	return s == SLOT_A ? SLOT_B : s == SLOT_B ? SLOT_A : SLOT_NONE;
}

/*
 * Log. One line a call, no newline in @fmt. To the fd given to log_open()
 * (bf-init: /dev/kmsg, with its <level> prefix) or, before that, to stderr.
 */
enum log_level {
	LOG_LEVEL_ERR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7
};

void log_open(int kmsg_fd, const char *program);
void log_line(enum log_level level, const char *fmt, ...) _printf_(2, 3);
#define log_error(...)	 log_line(LOG_LEVEL_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)	 log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)	 log_line(LOG_LEVEL_INFO, __VA_ARGS__)
