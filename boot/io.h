/* SPDX-License-Identifier: MIT */
/*
 * What read(2), write(2) and mkdir(2) leave to their callers, and text from outside that is shown.
 *
 * -EINTR is forwarded like any other error: the signal of a deadline is to end what waits. No
 * other signal that we handle interrupts a call.
 */
#pragma once

#include "boot/base.h"

/*
 * All @len bytes, or as many as there are until the file ends. Returns their number; what was
 * read before an error is not told.
 */
_must_check_ ssize_t io_read(int fd, void *buf, size_t len);
_must_check_ ssize_t io_pread(int fd, void *buf, size_t len, uint64_t offset_bytes);
/* Exactly @len bytes. -ENODATA: the file ends before. */
_must_check_ int io_pread_exactly(int fd, void *buf, size_t len, uint64_t offset_bytes);

/* All of it, in as many calls as that takes. -EIO when nothing more is taken, without an error. */
_must_check_ int io_write(int fd, const void *data, size_t len);
_must_check_ int io_pwrite(int fd, const void *data, size_t len, uint64_t offset_bytes);

/* 0 also when there is something of that name; whether it is a directory shows when it is used. */
_must_check_ int io_mkdirat(int dirfd, const char *path, mode_t mode);

/*
 * A terminal obeys control characters, and a log ends its line at some: ASCII's first 32 and DEL.
 * Bytes above ASCII are none: text may be UTF-8.
 */
static inline bool text_is_control(char c)
{
	return (unsigned char)c < ' ' || c == 0x7f;
}

bool text_has_control(const char *s);
/* Puts @instead in the place of each. */
void text_clean(char *s, char instead);
/* And of each byte above ASCII: where no encoding is known, or the font has nothing else. */
void text_clean_ascii(char *s, char instead);
