/* SPDX-License-Identifier: MIT */
/* TAP in plain C, read by prove. A test file: #include, checks, return tap_done(). */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#ifdef NDEBUG
#error "tests need their checks: build without NDEBUG"
#endif

/* Prints one result line, its name is @fmt; and where it was when it is not ok. Returns @pass. */
__attribute__((format(printf, 4, 5))) bool tap_ok(bool pass, const char *file, int line,
						  const char *fmt, ...);

/* Prints the plan, last of all. The exit status: 0, or 1 when something was not ok. */
int tap_done(void);

#define ok(cond, ...) tap_ok((cond), __FILE__, __LINE__, __VA_ARGS__)

#define ok_int(got, want, ...)                                                                     \
	do {                                                                                       \
		long long _g = (long long)(got), _w = (long long)(want);                           \
		if (!ok(_g == _w, __VA_ARGS__))                                                    \
			printf("# got %lld, want %lld\n", _g, _w);                                 \
	} while (0)

#define ok_str(got, want, ...)                                                                     \
	do {                                                                                       \
		const char *_g = (got), *_w = (want);                                              \
		if (!ok((!_g && !_w) || (_g && _w && strcmp(_g, _w) == 0), __VA_ARGS__))           \
			printf("# got \"%s\", want \"%s\"\n", _g ? _g : "(null)",                  \
			       _w ? _w : "(null)");                                                \
	} while (0)
