/* SPDX-License-Identifier: MIT */
/*
 * The screen on the wall: a page that is read from three metres.
 *
 * The kernel's console has a font for a desk, on a big screen a tiny one. A page enlarges it by
 * a whole number until the screen is SCREEN_COLUMNS_MAX wide or less: no font file is needed, and
 * every framebuffer driver can do it. A console that has no font to enlarge shows the page all
 * the same, in what it has.
 */
#pragma once

#include "boot/base.h"

/* A page fits, and a capital letter is a twenty-eighth of a wide screen's height, or more. */
#define SCREEN_COLUMNS_MAX 64

/* What KDFONTOP takes: since Linux 6.3, and before. Pixels. */
#define SCREEN_GLYPH_WIDTH_MAX	64
#define SCREEN_GLYPH_HEIGHT_MAX 128
#define SCREEN_GLYPH_OLD_MAX	32
#define SCREEN_GLYPHS_MAX	512

/* All of one line each; what is NULL or empty is left out. Printable ASCII. */
struct screen_page {
	const char *title;
	const char *device; /* its code */
	const char *what, *detail, *todo, *code;
	const char *last; /* the countdown */
};

/*
 * The page for a screen of @columns x @rows characters, at least 1 x 1: words are wrapped, and
 * the countdown is always there. What does not fit goes in this order: blank lines, the detail,
 * what happened, what to do. Lines end in "\n" but the last one, and leave the last column free:
 * there a console waits with its cursor. Pure. The caller frees; NULL when out of memory.
 */
char *screen_layout(const struct screen_page *page, unsigned columns, unsigned rows);

/* Bits, from the left; a row begins with a new byte, a glyph takes @pitch rows of room. */
struct screen_font {
	unsigned width, height, count, pitch;
	uint8_t *bits;
};

static inline size_t screen_font_bytes(const struct screen_font *f)
{
	return (size_t)f->count * f->pitch * ((f->width + 7) / 8);
}

/*
 * By how much a font must be enlarged for a screen of @columns characters: 1 and more, at most
 * what a glyph of @width x @height can take. @tall: the kernel's limits since 6.3. Pure.
 */
unsigned screen_factor(unsigned columns, unsigned width, unsigned height, bool tall);

/*
 * @font, @factor times as large in both directions; its pitch is @pitch, or the new height when
 * that is 0. Pure. -ENOMEM. The caller frees ret->bits.
 */
_must_check_ int screen_font_enlarge(const struct screen_font *font, unsigned factor,
				     unsigned pitch, struct screen_font *ret);

struct screen {
	int fd;		   /* of a virtual terminal, -1: there is none */
	bool begun, large; /* false at first */
};

/*
 * Draws the page anew: white on black, without cursor; a blanked screen comes back. The font is
 * enlarged by the first call that finds one: the display's driver may come late. To be called
 * again and again: what the kernel has printed meanwhile goes away. Nothing is reported: there
 * is nobody left to tell.
 */
void screen_show(struct screen *s, const struct screen_page *page);
