// SPDX-License-Identifier: MIT
#include "boot/io.h"

#include "boot/sys.h"

ssize_t io_read(int fd, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = sys_read(fd, (char *)buf + done, len - done);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t io_pread(int fd, void *buf, size_t len, uint64_t offset_bytes)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = sys_pread(fd, (char *)buf + done, len - done, offset_bytes + done);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int io_pread_exactly(int fd, void *buf, size_t len, uint64_t offset_bytes)
{
	ssize_t n = io_pread(fd, buf, len, offset_bytes);

	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -ENODATA;
}

int io_write(int fd, const void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = sys_write(fd, (const char *)data + done, len - done);

		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		done += (size_t)n;
	}
	return 0;
}

int io_pwrite(int fd, const void *data, size_t len, uint64_t offset_bytes)
{
	for (size_t done = 0; done < len;) {
		ssize_t n =
			sys_pwrite(fd, (const char *)data + done, len - done, offset_bytes + done);

		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		done += (size_t)n;
	}
	return 0;
}

int io_mkdirat(int dirfd, const char *path, mode_t mode)
{
	int r = sys_mkdirat(dirfd, path, mode);

	return r == -EEXIST ? 0 : r;
}

bool text_has_control(const char *s)
{
	for (; *s; s++)
		if (text_is_control(*s))
			return true;
	return false;
}

/* In UTF-8, U+0080 to U+009F: terminals obey these as well. */
static bool is_c1(const char *s)
{
	return (unsigned char)s[0] == 0xc2 && ((unsigned char)s[1] & 0xe0) == 0x80;
}

void text_clean(char *s, char instead)
{
	for (; *s; s++) {
		if (is_c1(s))
			*s++ = instead;
		else if (!text_is_control(*s))
			continue;
		*s = instead;
	}
}

void text_clean_ascii(char *s, char instead)
{
	for (; *s; s++)
		if (text_is_control(*s) || (unsigned char)*s > 0x7f)
			*s = instead;
}
