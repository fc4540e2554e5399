// SPDX-License-Identifier: MIT
#include "boot/base.h"

#include "boot/io.h"

#include <unistd.h>

#define LOG_LINE_MAX 976 /* what /dev/kmsg takes in one record, less its own header */

static int log_fd = -1;
static const char *log_program = "";

void free_p(void *p)
{
	free(*(void **)p);
}

void close_p(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
	errno = saved;
}

void fclose_p(FILE **f)
{
	int saved = errno;

	if (*f)
		(void)fclose(*f);
	*f = NULL;
	errno = saved;
}

const char *startswith(const char *s, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(s, prefix, n) == 0 ? s + n : NULL;
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int parse_u64(const char *s, unsigned base, uint64_t *ret)
{
	uint64_t value = 0;

	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		int d = digit_value(*s);

		if (d < 0 || (unsigned)d >= base)
			return -EINVAL;
		if (__builtin_mul_overflow(value, (uint64_t)base, &value) ||
		    __builtin_add_overflow(value, (uint64_t)d, &value))
			return -ERANGE;
	}
	*ret = value;
	return 0;
}

int parse_u32(const char *s, unsigned base, uint32_t *ret)
{
	uint64_t value;
	int r = parse_u64(s, base, &value);

	if (r < 0)
		return r;
	if (value > UINT32_MAX)
		return -ERANGE;
	*ret = (uint32_t)value;
	return 0;
}

char *strf(const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	return n < 0 ? NULL : s;
}

int unhex(const char *hex, uint8_t **ret, size_t *ret_len)
{
	size_t n = strlen(hex);
	uint8_t *buf;

	if (n % 2)
		return -EINVAL;
	buf = malloc(n / 2 + 1);
	if (!buf)
		return -ENOMEM;
	for (size_t i = 0; i < n / 2; i++) {
		int hi = digit_value(hex[2 * i]), lo = digit_value(hex[2 * i + 1]);

		if (hi < 0 || lo < 0) {
			free(buf);
			return -EINVAL;
		}
		buf[i] = (uint8_t)(hi << 4 | lo);
	}
	*ret = buf;
	*ret_len = n / 2;
	return 0;
}

static const char *const slot_names[] = { [SLOT_A] = "A", [SLOT_B] = "B", [SLOT_NONE] = "-" };

const char *slot_name(enum slot slot)
{
	return slot_names[slot];
}

enum slot slot_parse(const char *s)
{
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++)
		if (streq(s, slot_names[slot]))
			return slot;
	return SLOT_NONE;
}

void log_open(int kmsg_fd, const char *program)
{
	log_fd = kmsg_fd;
	log_program = program;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char line[LOG_LINE_MAX];
	bool kmsg = log_fd >= 0;
	int head, body;
	size_t len;
	va_list ap;

	head = kmsg ? snprintf(line, sizeof(line), "<%d>%s: ", level, log_program)
		    : snprintf(line, sizeof(line), "%s%s", log_program, *log_program ? ": " : "");
	if (head < 0 || (size_t)head >= sizeof(line))
		return;
	va_start(ap, fmt);
	body = vsnprintf(line + head, sizeof(line) - (size_t)head, fmt, ap);
	va_end(ap);
	if (body < 0)
		return;
	text_clean(line + head, ' ');
	len = (size_t)head + (size_t)body;
	if (len > sizeof(line) - 1)
		len = sizeof(line) - 1;
	line[len == sizeof(line) - 1 ? len - 1 : len] = '\n';
	if (len < sizeof(line) - 1)
		len++;
	/* A log that cannot be written has nobody to tell. */
	if (write(kmsg ? log_fd : STDERR_FILENO, line, len) < 0)
		return;
}
