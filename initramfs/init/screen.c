// SPDX-License-Identifier: MIT
#include "initramfs/init/screen.h"

#include "boot/io.h"
#include "boot/sys.h"

#include <linux/kd.h>

#ifndef KD_FONT_OP_SET_TALL /* Linux 6.3 */
#define KD_FONT_OP_SET_TALL 4
#define KD_FONT_OP_GET_TALL 5
#endif

#define MARGIN	    2  /* columns, on both sides: the edge of a screen can be covered */
#define MARGIN_FROM 40 /* columns: narrower screens have none to spare */

/* Of a screen that does not say. */
#define COLUMNS_TYPICAL 80
#define ROWS_TYPICAL	24

/*
 * console_codes(4). RIS: whatever state it was left in. No cursor, no blanking, and back if it
 * was blanked.
 */
#define TERMINAL_RESET "\033c\033[?25l\033[9;0]\033[13]"
#define TERMINAL_PAGE  "\033[1;37;40m\033[H"
#define TERMINAL_LINE  "\033[K\n" /* what is left of the line that was there */
#define TERMINAL_END   "\033[J"

/* The page */

struct sheet {
	FILE *out; /* NULL: only count */
	unsigned columns, lines;
};

static void begin_line(struct sheet *s)
{
	if (s->out && s->lines)
		(void)fputc('\n', s->out);
	s->lines++;
}

/* How much of @text goes on a line of @room characters: whole words if any fits. */
static size_t take_line(const char *text, size_t room)
{
	size_t len = strlen(text), n = room;

	if (len <= room)
		return len;
	while (n && text[n] != ' ')
		n--;
	return n ? n : room;
}

/* @label once, @text beside it. */
static void add_text(struct sheet *s, const char *label, const char *text)
{
	size_t margin = s->columns >= MARGIN_FROM ? MARGIN : 0, indent = margin + strlen(label);
	size_t right = margin ? margin : 1;

	if (!text || !*text)
		return;
	/* Then a label stands in the way of its text. */
	if (indent + right + 1 > s->columns) {
		label = "";
		indent = margin = 0;
	}
	do {
		size_t room = s->columns > indent + right ? s->columns - indent - right : 1;
		size_t n = take_line(text, room);

		begin_line(s);
		if (s->out)
			(void)fprintf(s->out, "%*s%-*s%.*s", (int)margin, "",
				      (int)(indent - margin), label, (int)n, text);
		text += n;
		text += strspn(text, " ");
		if (*label)
			label = "";
	} while (*text);
}

/* What is left out, in this order. */
enum omit { OMIT_NOTHING, OMIT_BLANK, OMIT_DETAIL, OMIT_WHAT, OMIT_TODO, OMIT_ALL };

static void add_blank(struct sheet *s, enum omit omit)
{
	if (omit < OMIT_BLANK)
		begin_line(s);
}

static void add_page(struct sheet *s, const struct screen_page *p, enum omit omit)
{
	if (omit < OMIT_ALL) {
		add_blank(s, omit);
		add_text(s, "", p->title);
		add_blank(s, omit);
		add_text(s, "What:   ", omit < OMIT_WHAT ? p->what : NULL);
		add_text(s, "        ", omit < OMIT_DETAIL ? p->detail : NULL);
		add_blank(s, omit);
		add_text(s, "To do:  ", omit < OMIT_TODO ? p->todo : NULL);
		add_blank(s, omit);
		add_text(s, "Code:   ", p->code);
		add_text(s, "Device: ", p->device);
		add_blank(s, omit);
	}
	add_text(s, "", p->last);
}

char *screen_layout(const struct screen_page *page, unsigned columns, unsigned rows)
{
	enum omit omit = OMIT_NOTHING;
	struct sheet sheet;
	char *text = NULL;
	size_t len;

	for (;; omit++) {
		sheet = (struct sheet) { .columns = columns };
		add_page(&sheet, page, omit);
		if (sheet.lines <= rows || omit == OMIT_ALL)
			break;
	}
	sheet = (struct sheet) { .out = open_memstream(&text, &len), .columns = columns };
	if (!sheet.out)
		return NULL;
	add_page(&sheet, page, omit);
	if (fclose(sheet.out) != 0)
		free_p(&text);
	return text;
}

/* The font */

unsigned screen_factor(unsigned columns, unsigned width, unsigned height, bool tall)
{
	unsigned want = (columns + SCREEN_COLUMNS_MAX - 1) / SCREEN_COLUMNS_MAX;
	unsigned width_max = tall ? SCREEN_GLYPH_WIDTH_MAX : SCREEN_GLYPH_OLD_MAX;
	unsigned height_max = tall ? SCREEN_GLYPH_HEIGHT_MAX : SCREEN_GLYPH_OLD_MAX;

	if (!width || !height)
		return 1;
	if (want > width_max / width)
		want = width_max / width;
	if (want > height_max / height)
		want = height_max / height;
	return want ? want : 1;
}

int screen_font_enlarge(const struct screen_font *font, unsigned factor, unsigned pitch,
			struct screen_font *ret)
{
	struct screen_font big = { .width = font->width * factor,
				   .height = font->height * factor,
				   .count = font->count };
	size_t from_row = (font->width + 7) / 8, to_row = (big.width + 7) / 8;

	big.pitch = pitch > big.height ? pitch : big.height;
	big.bits = calloc(1, screen_font_bytes(&big));
	if (!big.bits)
		return -ENOMEM;
	for (size_t c = 0; c < big.count; c++)
		for (size_t y = 0; y < big.height; y++) {
			const uint8_t *from =
				font->bits + (c * font->pitch + y / factor) * from_row;
			uint8_t *to = big.bits + (c * big.pitch + y) * to_row;

			for (size_t x = 0; x < big.width; x++)
				if (from[x / factor / 8] & 0x80 >> x / factor % 8)
					to[x / 8] |= (uint8_t)(0x80 >> x % 8);
		}
	*ret = big;
	return 0;
}

static int get_font(int fd, bool tall, struct screen_font *ret)
{
	struct screen_font f = {
		.width = tall ? SCREEN_GLYPH_WIDTH_MAX : SCREEN_GLYPH_OLD_MAX,
		.height = tall ? SCREEN_GLYPH_HEIGHT_MAX : SCREEN_GLYPH_OLD_MAX,
		.count = SCREEN_GLYPHS_MAX,
	};
	struct console_font_op op = { .op = tall ? KD_FONT_OP_GET_TALL : KD_FONT_OP_GET,
				      .width = f.width,
				      .height = f.height,
				      .charcount = f.count };
	int r;

	f.pitch = f.height;
	op.data = f.bits = calloc(1, screen_font_bytes(&f));
	if (!f.bits)
		return -ENOMEM;
	r = sys_console_font(fd, &op);
	if (r >= 0 && (!op.width || !op.height || op.width > f.width || op.height > f.height ||
		       op.charcount > f.count))
		r = -EPROTO;
	if (r < 0) {
		free(f.bits);
		return r;
	}
	f.width = op.width;
	f.height = op.height;
	f.count = op.charcount;
	*ret = f;
	return 0;
}

static int set_font(int fd, bool tall, const struct screen_font *font, unsigned factor)
{
	struct console_font_op op = { .op = tall ? KD_FONT_OP_SET_TALL : KD_FONT_OP_SET };
	struct screen_font big;
	int r;

	r = screen_font_enlarge(font, factor, tall ? 0 : SCREEN_GLYPH_OLD_MAX, &big);
	if (r < 0)
		return r;
	op.width = big.width;
	op.height = big.height;
	op.charcount = big.count;
	op.data = big.bits;
	r = sys_console_font(fd, &op);
	free(big.bits);
	return r;
}

/* A driver may refuse a size that the kernel would take; a smaller one is better than none. */
static int enlarge(int fd)
{
	struct screen_font font;
	unsigned columns, rows;
	bool tall = true;
	int r;

	r = get_font(fd, tall, &font);
	if (r < 0) {
		tall = false;
		r = get_font(fd, tall, &font);
	}
	if (r < 0)
		return r;
	r = sys_terminal_size(fd, &columns, &rows);
	if (r >= 0)
		for (unsigned k = screen_factor(columns, font.width, font.height, tall); k > 1;
		     k--) {
			r = set_font(fd, tall, &font, k);
			if (r >= 0)
				break;
		}
	free(font.bits);
	return r;
}

/* Over the old page, not after clearing it: nothing flickers. */
static void draw(int fd, const char *text)
{
	_cleanup_free_ char *all = NULL;
	FILE *out;
	size_t len;

	out = open_memstream(&all, &len);
	if (!out)
		return;
	(void)fputs(TERMINAL_PAGE, out);
	for (; *text; text += *text == '\n') {
		size_t n = strcspn(text, "\n");

		(void)fprintf(out, "%.*s%s", (int)n, text, text[n] ? TERMINAL_LINE : TERMINAL_END);
		text += n;
	}
	if (fclose(out) == 0)
		(void)!io_write(fd, all, len);
}

void screen_show(struct screen *s, const struct screen_page *page)
{
	unsigned columns = COLUMNS_TYPICAL, rows = ROWS_TYPICAL;
	_cleanup_free_ char *text = NULL;
	bool now_large = false;

	if (s->fd < 0)
		return;
	if (!s->large)
		s->large = now_large = enlarge(s->fd) >= 0;
	if (!s->begun || now_large)
		(void)!io_write(s->fd, TERMINAL_RESET, strlen(TERMINAL_RESET));
	s->begun = true;
	if (sys_terminal_size(s->fd, &columns, &rows) < 0 || !columns || !rows) {
		columns = COLUMNS_TYPICAL;
		rows = ROWS_TYPICAL;
	}
	text = screen_layout(page, columns, rows);
	if (text)
		draw(s->fd, text);
}
