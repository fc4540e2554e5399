// SPDX-License-Identifier: MIT
#include "boot/io.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#include <fcntl.h>
#include <unistd.h>

#define TEXT "0123456789"

static int open_text(int flags)
{
	fake_file("/f", TEXT);
	return sys_open("/f", flags, 0);
}

static void test_read(size_t piece)
{
	char buf[16] = "";
	int fd;

	fake_reset();
	fake_short_io(piece);
	fd = open_text(O_RDONLY);
	ok_int(io_read(fd, buf, 4), 4, "read, pieces of %zu: what is asked for", piece);
	ok(memcmp(buf, "0123", 4) == 0, "pieces of %zu: its bytes", piece);
	ok_int(io_read(fd, buf, sizeof(buf)), 6, "pieces of %zu: what is left", piece);
	ok(memcmp(buf, "456789", 6) == 0, "pieces of %zu: its bytes", piece);
	ok_int(io_read(fd, buf, sizeof(buf)), 0, "pieces of %zu: the end", piece);
	ok_int(io_pread(fd, buf, sizeof(buf), 7), 3, "pread, pieces of %zu: until the end", piece);
	ok(memcmp(buf, "789", 3) == 0, "pieces of %zu: its bytes", piece);
	ok_int(io_pread(fd, buf, 1, 100), 0, "pieces of %zu: behind the end", piece);
	ok_int(io_pread_exactly(fd, buf, 10, 0), 0, "exactly, pieces of %zu", piece);
	ok(memcmp(buf, TEXT, 10) == 0, "pieces of %zu: its bytes", piece);
	ok_int(io_pread_exactly(fd, buf, 10, 1), -ENODATA, "pieces of %zu: one too many", piece);
	ok_int(io_pread_exactly(fd, buf, 0, 100), 0, "pieces of %zu: nothing", piece);
	(void)sys_close(fd);
}

static void file_is(const char *want, const char *name)
{
	_cleanup_free_ char *text = fake_read("/f", NULL);

	ok_str(text, want, "%s", name);
}

static void test_write(size_t piece)
{
	int fd;

	fake_reset();
	fake_short_io(piece);
	fd = open_text(O_WRONLY | O_TRUNC);
	ok_int(io_write(fd, "abc", 3), 0, "write, pieces of %zu", piece);
	ok_int(io_write(fd, "de", 2), 0, "write, pieces of %zu: goes on", piece);
	file_is("abcde", "written in order");
	ok_int(io_pwrite(fd, "XYZ", 3, 1), 0, "pwrite, pieces of %zu", piece);
	file_is("aXYZe", "written at its place");
	ok_int(io_write(fd, "", 0), 0, "write nothing");
	(void)sys_close(fd);
}

/* The k-th call fails: forwarded, whatever went before, and never tried again. */
static void test_errors(void)
{
	static const int errors[] = { EIO, EINTR, ENOSPC };
	char buf[4];

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		int error = errors[i], fd;

		fake_reset();
		fake_short_io(1);
		fd = open_text(O_RDWR);
		fake_fail_at(3, error);
		ok_int(io_read(fd, buf, 4), -error, "read: the third piece fails");
		ok_int(fake_calls(), 3, "read: and is the last");
		fake_fail_at(3, error);
		ok_int(io_pread(fd, buf, 4, 0), -error, "pread: the third piece fails");
		fake_fail_at(3, error);
		ok_int(io_pread_exactly(fd, buf, 4, 0), -error, "exactly: the third piece fails");
		fake_fail_at(3, error);
		ok_int(io_write(fd, "abcd", 4), -error, "write: the third piece fails");
		ok_int(fake_calls(), 3, "write: and is the last");
		fake_fail_at(3, error);
		ok_int(io_pwrite(fd, "abcd", 4, 0), -error, "pwrite: the third piece fails");
		fake_fail_at(0, 0);
		(void)sys_close(fd);
	}
	fake_reset();
	fake_file("/f", "");
	fake_result("write /f", 0);
	int fd = sys_open("/f", O_WRONLY, 0);
	ok_int(io_write(fd, "a", 1), -EIO, "write: what takes nothing does not loop");
	ok_int(io_pwrite(fd, "a", 1, 0), -EIO, "pwrite: what takes nothing does not loop");
	(void)sys_close(fd);
}

static void test_mkdir(void)
{
	struct stat st;

	fake_reset();
	ok_int(io_mkdirat(AT_FDCWD, "/d", 0700), 0, "mkdir");
	ok(sys_fstatat(AT_FDCWD, "/d", &st, 0) == 0 && (st.st_mode & 07777) == 0700, "its mode");
	ok_int(io_mkdirat(AT_FDCWD, "/d", 0755), 0, "mkdir: it is there");
	ok(sys_fstatat(AT_FDCWD, "/d", &st, 0) == 0 && (st.st_mode & 07777) == 0700,
	   "as it was before");
	ok_int(io_mkdirat(AT_FDCWD, "/no/d", 0700), -ENOENT, "mkdir: no parent");
}

static void test_text(void)
{
	static const struct {
		const char *text, *clean, *ascii;
		bool has;
	} rows[] = {
		{ "", "", "", false },
		{ "plain text ~", "plain text ~", "plain text ~", false },
		{ "\033[2Jx", "?[2Jx", "?[2Jx", true },
		{ "a\nb\tc\r\x01", "a?b?c??", "a?b?c??", true },
		{ "\x7f", "?", "?", true },
		{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f", "gr????", false },
		{ "\xff", "\xff", "?", false },
		{ "a\xc2\x9b"
		  "2Jx\xc2\x80\xc2\xa0\xc2",
		  "a??2Jx??\xc2\xa0\xc2", "a??2Jx?????", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char buf[32];

		ok_int(text_has_control(rows[i].text), rows[i].has, "row %zu: has one", i);
		strcpy(buf, rows[i].text);
		text_clean(buf, '?');
		ok_str(buf, rows[i].clean, "row %zu: clean", i);
		strcpy(buf, rows[i].text);
		text_clean_ascii(buf, '?');
		ok_str(buf, rows[i].ascii, "row %zu: ASCII", i);
	}
}

int main(void)
{
	for (size_t piece = 0; piece < 4; piece++) {
		test_read(piece);
		test_write(piece);
	}
	test_errors();
	test_mkdir();
	test_text();
	return tap_done();
}
