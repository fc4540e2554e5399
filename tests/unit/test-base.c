// SPDX-License-Identifier: MIT
#include "boot/base.h"
#include "tests/lib/tap.h"

#include <fcntl.h>
#include <unistd.h>

static void test_numbers(void)
{
	static const struct {
		const char *text;
		unsigned base;
		int r;
		uint64_t want;
	} rows[] = {
		{ "0", 10, 0, 0 },
		{ "007", 10, 0, 7 },
		{ "18446744073709551615", 10, 0, UINT64_MAX },
		{ "18446744073709551616", 10, -ERANGE, 0 },
		{ "99999999999999999999", 10, -ERANGE, 0 },
		{ "ffffffffffffffff", 16, 0, UINT64_MAX },
		{ "10000000000000000", 16, -ERANGE, 0 },
		{ "DeadBeef", 16, 0, 0xdeadbeef },
		{ "777", 8, 0, 0777 },
		{ "8", 8, -EINVAL, 0 },
		{ "f", 10, -EINVAL, 0 },
		{ "g", 16, -EINVAL, 0 },
		{ "", 10, -EINVAL, 0 },
		{ " 1", 10, -EINVAL, 0 },
		{ "1 ", 10, -EINVAL, 0 },
		{ "1\t", 10, -EINVAL, 0 },
		{ "+1", 10, -EINVAL, 0 },
		{ "-1", 10, -EINVAL, 0 },
		{ "0x1", 16, -EINVAL, 0 },
		{ "1.0", 10, -EINVAL, 0 },
		{ "\xd9\xa1", 10, -EINVAL, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t got = 4711;

		ok_int(parse_u64(rows[i].text, rows[i].base, &got), rows[i].r, "u64 \"%s\" base %u",
		       rows[i].text, rows[i].base);
		ok(got == (rows[i].r ? 4711 : rows[i].want), "its value");
	}
}

static void test_u32(void)
{
	uint32_t got = 4711;

	ok_int(parse_u32("4294967296", 10, &got), -ERANGE, "u32 over");
	ok_int(parse_u32("x", 10, &got), -EINVAL, "u32 garbage");
	ok_int(parse_u32("99999999999999999999", 10, &got), -ERANGE, "u32 far over");
	ok_int(got, 4711, "not touched");
	ok_int(parse_u32("4294967295", 10, &got), 0, "u32 most");
	ok(got == UINT32_MAX, "its value");
}

static void test_unhex(void)
{
	static const struct {
		const char *hex;
		int r;
		size_t len;
		uint8_t want[4];
	} rows[] = {
		{ "", 0, 0, { 0 } },
		{ "00", 0, 1, { 0 } },
		{ "DEadBEef", 0, 4, { 0xde, 0xad, 0xbe, 0xef } },
		{ "0", -EINVAL, 0, { 0 } },
		{ "0g", -EINVAL, 0, { 0 } },
		{ "g0", -EINVAL, 0, { 0 } },
		{ "00 0", -EINVAL, 0, { 0 } },
		{ "0x00", -EINVAL, 0, { 0 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_free_ uint8_t *got = NULL;
		size_t len = 0;

		ok_int(unhex(rows[i].hex, &got, &len), rows[i].r, "unhex \"%s\"", rows[i].hex);
		ok(!got == (rows[i].r < 0) && len == rows[i].len &&
			   (!got || memcmp(got, rows[i].want, len) == 0),
		   "its bytes");
	}
}

static void test_strings(void)
{
	_cleanup_free_ char *s = strf("%s-%d", "a", 7);

	ok_str(s, "a-7", "strf");
	ok_str(startswith("roothash=x", "roothash="), "x", "startswith");
	ok_str(startswith("roothash=", "roothash="), "", "startswith, nothing behind");
	ok(!startswith("roothas", "roothash"), "startswith, too short");
	ok(!startswith("", "x"), "startswith, empty");
	ok_str(startswith("x", ""), "x", "startswith, empty prefix");
}

static void test_slots(void)
{
	static const struct {
		const char *text;
		enum slot want;
	} rows[] = {
		{ "A", SLOT_A },    { "B", SLOT_B },	 { "-", SLOT_NONE },  { "", SLOT_NONE },
		{ "a", SLOT_NONE }, { "AB", SLOT_NONE }, { " A", SLOT_NONE }, { "C", SLOT_NONE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		ok_int(slot_parse(rows[i].text), rows[i].want, "slot \"%s\"", rows[i].text);
	ok_str(slot_name(SLOT_A), "A", "name of A");
	ok_str(slot_name(SLOT_B), "B", "name of B");
	ok_str(slot_name(SLOT_NONE), "-", "name of none");
	ok(slot_other(SLOT_A) == SLOT_B && slot_other(SLOT_B) == SLOT_A &&
		   slot_other(SLOT_NONE) == SLOT_NONE,
	   "the other slot");
}

static int close_both(int fd)
{
	_cleanup_close_ int a = fd, b = fd;

	(void)a;
	return TAKE_FD(b);
}

static void test_cleanup(void)
{
	_cleanup_free_ char *p = strdup("x"), *taken = NULL;
	_cleanup_file_ FILE *f = NULL;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	errno = ENOTTY;
	ok_int(close_both(fd), fd, "TAKE_FD gives the fd");
	ok(fcntl(fd, F_GETFD) < 0 && errno == EBADF, "the other holder closed it");
	errno = ENOTTY;
	(void)close_both(-1);
	ok_int(errno, ENOTTY, "cleanup keeps errno");
	taken = TAKE_PTR(p);
	ok(!p && streq(taken, "x"), "TAKE_PTR");
	(void)f;
}

/* What one call writes to the fd. */
static size_t logged(bool kmsg, char *buf, size_t size, const char *text)
{
	int pipe_fds[2], saved;
	ssize_t n;

	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return 0;
	saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	log_open(kmsg ? pipe_fds[1] : -1, "bf-test");
	if (!kmsg)
		(void)dup2(pipe_fds[1], STDERR_FILENO);
	log_warning("%s", text);
	(void)dup2(saved, STDERR_FILENO);
	(void)close(saved);
	n = read(pipe_fds[0], buf, size - 1);
	(void)close(pipe_fds[0]);
	(void)close(pipe_fds[1]);
	log_open(-1, "");
	buf[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

static void test_log(void)
{
	char buf[4096], longest[3000];
	size_t n;

	(void)logged(true, buf, sizeof(buf), "disk \"x\" 100%");
	ok_str(buf, "<4>bf-test: disk \"x\" 100%\n", "a line for /dev/kmsg");
	(void)logged(false, buf, sizeof(buf), "disk");
	ok_str(buf, "bf-test: disk\n", "a line for a person");
	for (size_t body = 940; body < 1000; body++) {
		memset(longest, 'x', sizeof(longest));
		longest[body] = '\0';
		n = logged(true, buf, sizeof(buf), longest);
		if (n > 976 || buf[n - 1] != '\n' || strchr(buf, '\n') != buf + n - 1)
			break;
	}
	ok(strlen(longest) == 999, "long lines are cut, with one newline at the end");
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	n = logged(true, buf, sizeof(buf), longest);
	ok(n > 900 && n <= 976 && buf[n - 1] == '\n', "the longest line");
}

int main(void)
{
	test_numbers();
	test_u32();
	test_unhex();
	test_strings();
	test_slots();
	test_cleanup();
	test_log();
	return tap_done();
}
