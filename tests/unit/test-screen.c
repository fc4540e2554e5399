// SPDX-License-Identifier: MIT
#include "boot/reason.h"
#include "boot/sys.h"
#include "initramfs/init/screen.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#include <fcntl.h>

static const struct screen_page page = {
	.title = "BetterFrame cannot start: slot A",
	.device = "10000000c0ffee",
	.what = "The root partition holds no known filesystem.",
	.detail = "vda4: no ext4, erofs or squashfs",
	.todo = "Install the slot again.",
	.code = "root-filesystem",
	.last = "Restarting in 10 s.",
};

/* ---- the page ----------------------------------------------------------- */

static void test_layout(void)
{
	static const struct {
		const char *name;
		unsigned columns, rows;
		const char *want;
	} rows[] = {
		{ "a wall", 80, 22,
		  "\n  BetterFrame cannot start: slot A\n\n"
		  "  What:   The root partition holds no known filesystem.\n"
		  "          vda4: no ext4, erofs or squashfs\n\n"
		  "  To do:  Install the slot again.\n\n"
		  "  Code:   root-filesystem\n"
		  "  Device: 10000000c0ffee\n\n"
		  "  Restarting in 10 s." },
		{ "just as high", 80, 12,
		  "\n  BetterFrame cannot start: slot A\n\n"
		  "  What:   The root partition holds no known filesystem.\n"
		  "          vda4: no ext4, erofs or squashfs\n\n"
		  "  To do:  Install the slot again.\n\n"
		  "  Code:   root-filesystem\n"
		  "  Device: 10000000c0ffee\n\n"
		  "  Restarting in 10 s." },
		{ "no room for blank lines", 80, 11,
		  "  BetterFrame cannot start: slot A\n"
		  "  What:   The root partition holds no known filesystem.\n"
		  "          vda4: no ext4, erofs or squashfs\n"
		  "  To do:  Install the slot again.\n"
		  "  Code:   root-filesystem\n"
		  "  Device: 10000000c0ffee\n"
		  "  Restarting in 10 s." },
		{ "nor for the detail", 80, 6,
		  "  BetterFrame cannot start: slot A\n"
		  "  What:   The root partition holds no known filesystem.\n"
		  "  To do:  Install the slot again.\n"
		  "  Code:   root-filesystem\n"
		  "  Device: 10000000c0ffee\n"
		  "  Restarting in 10 s." },
		{ "nor for what happened", 80, 5,
		  "  BetterFrame cannot start: slot A\n"
		  "  To do:  Install the slot again.\n"
		  "  Code:   root-filesystem\n"
		  "  Device: 10000000c0ffee\n"
		  "  Restarting in 10 s." },
		{ "nor for what to do", 80, 4,
		  "  BetterFrame cannot start: slot A\n"
		  "  Code:   root-filesystem\n"
		  "  Device: 10000000c0ffee\n"
		  "  Restarting in 10 s." },
		{ "nor for anything", 80, 1, "  Restarting in 10 s." },
		{ "words are wrapped beside their label", 40, 30,
		  "\n  BetterFrame cannot start: slot A\n\n"
		  "  What:   The root partition holds no\n"
		  "          known filesystem.\n"
		  "          vda4: no ext4, erofs or\n"
		  "          squashfs\n\n"
		  "  To do:  Install the slot again.\n\n"
		  "  Code:   root-filesystem\n"
		  "  Device: 10000000c0ffee\n\n"
		  "  Restarting in 10 s." },
		{ "no margin, and a word that is broken", 20, 30,
		  "\nBetterFrame cannot\nstart: slot A\n\n"
		  "What:   The root\n        partition\n        holds no\n        known\n"
		  "        filesystem.\n        vda4: no\n        ext4, erofs\n        or "
		  "squashfs\n\n"
		  "To do:  Install the\n        slot again.\n\n"
		  "Code:   root-filesy\n        stem\n"
		  "Device: 10000000c0f\n        fee\n\nRestarting in 10 s." },
		{ "too narrow for labels", 9, 5, "Restarti\nng in 10\ns." },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *text = screen_layout(&page, rows[i].columns, rows[i].rows);

		ok_str(text, rows[i].want, "layout: %s", rows[i].name);
	}
}

static void test_what_is_missing(void)
{
	static const struct screen_page little = { .title = "T", .code = "c", .detail = "" };
	_cleanup_free_ char *text = screen_layout(&little, 80, 24);

	ok_str(text, "\n  T\n\n\n\n  Code:   c\n", "layout: what is not known has no line");
}

static bool fits(const char *text, unsigned columns, unsigned rows)
{
	unsigned lines = 0;

	for (; *text; text += *text == '\n', lines++) {
		size_t n = strcspn(text, "\n");

		if (n >= columns)
			return false;
		text += n;
	}
	return lines <= rows;
}

/* Every reason, with the longest detail there can be, on every screen from a small one on. */
static void test_every_screen(void)
{
	struct failure f = { .error = 0 };

	memset(f.text, 'm', sizeof(f.text) - 1);
	for (size_t i = 11; i < sizeof(f.text) - 1; i += 12)
		f.text[i] = ' ';
	for (enum reason r = REASON_NONE; r < REASON_COUNT; r++) {
		const struct reason_text *why = reason_text(r);
		struct screen_page p = page;
		bool all = true;

		p.what = why->what;
		p.todo = why->todo;
		p.code = why->code;
		p.detail = f.text;
		for (unsigned columns = 40; columns <= 80; columns++)
			for (unsigned rows = 8; rows <= 30; rows++) {
				_cleanup_free_ char *text = screen_layout(&p, columns, rows);

				all = all && text && fits(text, columns, rows) &&
				      strstr(text, why->code) && strstr(text, p.last);
			}
		ok(all, "layout: %s fits, with its code and the countdown", why->code);
	}
	for (unsigned columns = 1; columns < 30; columns++) {
		_cleanup_free_ char *text = screen_layout(&page, columns, 500);

		ok(text && (columns == 1 || fits(text, columns, 500)), "layout: %u columns",
		   columns);
	}
}

/* ---- the font ----------------------------------------------------------- */

static void test_factor(void)
{
	static const struct {
		unsigned columns, width, height;
		bool tall;
		unsigned want;
	} rows[] = {
		{ 64, 8, 16, true, 1 },	  { 65, 8, 16, true, 2 },   { 160, 8, 16, true, 3 },
		{ 240, 8, 16, true, 4 },  { 480, 8, 16, true, 8 },  { 240, 16, 32, true, 4 },
		{ 960, 8, 16, true, 8 },  { 100, 8, 16, true, 2 },  { 135, 8, 16, true, 3 },
		{ 240, 8, 16, false, 2 }, { 480, 8, 16, false, 2 }, { 240, 16, 32, false, 1 },
		{ 40, 8, 16, true, 1 },	  { 0, 8, 16, true, 1 },    { 240, 0, 16, true, 1 },
		{ 240, 8, 0, true, 1 },	  { 480, 12, 22, true, 5 }, { 480, 8, 8, true, 8 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		ok_int(screen_factor(rows[i].columns, rows[i].width, rows[i].height, rows[i].tall),
		       rows[i].want, "factor: %u columns of %ux%u%s", rows[i].columns,
		       rows[i].width, rows[i].height, rows[i].tall ? "" : ", an old kernel");
}

static bool is_set(const struct screen_font *f, unsigned c, unsigned x, unsigned y)
{
	size_t row = (f->width + 7) / 8;

	return f->bits[(c * f->pitch + y) * row + x / 8] >> (7 - x % 8) & 1;
}

static void test_enlarge(void)
{
	static uint8_t bits[2 * 5 * 2] = { /* two glyphs of 9x4, room for 5 rows */
					   0x80, 0x80, 0x00, 0x00, 0xff, 0x80, 0xaa,
					   0x00, 0xff, 0xff, 0x01, 0x00, 0x55, 0x80,
					   0x18, 0x00, 0x7e, 0x00, 0xff, 0xff
	};
	const struct screen_font font = {
		.width = 9, .height = 4, .count = 2, .pitch = 5, .bits = bits
	};

	for (unsigned k = 1; k <= 7; k++)
		for (unsigned pitch = 0; pitch <= 32; pitch += 32) {
			struct screen_font big;
			bool same = true;

			if (!ok(screen_font_enlarge(&font, k, pitch, &big) == 0, "enlarge: %u", k))
				continue;
			ok(big.width == 9 * k && big.height == 4 * k && big.count == 2 &&
				   big.pitch == (pitch ? pitch : 4 * k),
			   "enlarge: %u: size", k);
			for (unsigned c = 0; c < 2; c++)
				for (unsigned y = 0; y < big.height; y++)
					for (unsigned x = 0; x < big.width; x++)
						same = same &&
						       is_set(&big, c, x, y) ==
							       is_set(&font, c, x / k, y / k);
			ok(same, "enlarge: %u: each dot is a square", k);
			free(big.bits);
		}
}

/* ---- the screen --------------------------------------------------------- */

static void prepare(struct screen *s)
{
	fake_reset();
	fake_file("/dev/tty0", "");
	*s = (struct screen) { .fd = sys_open("/dev/tty0", O_WRONLY, 0) };
}

static void test_show(void)
{
	static const struct {
		const char *name;
		unsigned width, height, glyph_width, glyph_height;
		bool tall;
		const char *refused; /* a rule */
		const char *last_call;
		const char *longest; /* a line as it is wrapped there */
	} rows[] = {
		{ "720p", 1280, 720, 8, 16, true, NULL, "font set tall 24x48 256\n",
		  "          filesystem.\033[K\n" },
		{ "1080p", 1920, 1080, 8, 16, true, NULL, "font set tall 32x64 256\n",
		  "What:   The root partition holds no known filesystem.\033[K\n" },
		{ "4K", 3840, 2160, 8, 16, true, NULL, "font set tall 64x128 256\n",
		  "What:   The root partition holds no known filesystem.\033[K\n" },
		{ "4K with a larger font", 3840, 2160, 16, 32, true, NULL,
		  "font set tall 64x128 256\n", "no known filesystem.\033[K\n" },
		{ "an old kernel", 1920, 1080, 8, 16, false, NULL, "font set 16x32 256\n",
		  "no known filesystem.\033[K\n" },
		{ "a driver that refuses the first size", 1920, 1080, 8, 16, true, "32x64",
		  "font set tall 24x48 256\n", "no known filesystem.\033[K\n" },
		{ "a driver that refuses every size", 1920, 1080, 8, 16, true, "font set",
		  "font set tall 16x32 256 -> EINVAL\n", "no known filesystem.\033[K\n" },
		{ "a small screen", 512, 384, 8, 16, true, NULL, "font get tall 64x128 512\n",
		  "no known filesystem.\033[K\n" },
		{ "the official 7 inch", 800, 480, 8, 16, true, NULL, "font set tall 16x32 256\n",
		  "          filesystem.\033[K\n" },
		{ "no screen", 0, 0, 0, 0, true, NULL, "", "no known filesystem.\033[K\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *text = NULL;
		size_t log_len, want_len = strlen(rows[i].last_call);
		struct screen s;

		prepare(&s);
		fake_screen(rows[i].width, rows[i].height, rows[i].glyph_width,
			    rows[i].glyph_height, rows[i].tall);
		if (rows[i].refused)
			fake_result(rows[i].refused, -EINVAL);
		screen_show(&s, &page);
		log_len = strlen(fake_log());
		ok(log_len >= want_len && streq(fake_log() + log_len - want_len, rows[i].last_call),
		   "show: %s: font", rows[i].name);
		screen_show(&s, &page);
		close_p(&s.fd);
		text = fake_read("/dev/tty0", NULL);
		ok(text && startswith(text, "\033c"), "show: %s: reset first", rows[i].name);
		ok(text && !strstr(text + 2, "\033c"), "show: %s: only once", rows[i].name);
		ok(text && strstr(text, rows[i].longest), "show: %s: text", rows[i].name);
	}
}

static void test_no_fd(void)
{
	struct screen s = { .fd = -1 };

	fake_reset();
	fake_log_files(true);
	screen_show(&s, &page);
	ok_str(fake_log(), "", "show: without a terminal nothing is done");
}

/* Whatever fails: no crash, no leak (ASan), and the page where it can be written. */
static void test_sweep(void)
{
	for (unsigned k = 1; k < 100; k++) {
		struct screen s;

		prepare(&s);
		fake_screen(1920, 1080, 8, 16, true);
		fake_fail_at(k, EIO);
		screen_show(&s, &page);
		screen_show(&s, &page);
		if (fake_calls() < k)
			break;
		fake_fail_at(0, 0);
		ok(s.large, "sweep: call %u", k);
		close_p(&s.fd);
	}
	fake_reset();
}

int main(void)
{
	test_layout();
	test_what_is_missing();
	test_every_screen();
	test_factor();
	test_enlarge();
	test_show();
	test_no_fd();
	test_sweep();
	return tap_done();
}
