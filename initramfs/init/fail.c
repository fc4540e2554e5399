// SPDX-License-Identifier: MIT
#include "initramfs/init/fail.h"

#include "boot/io.h"
#include "boot/product.h"
#include "boot/sys.h"
#include "initramfs/init/patience.h"
#include "initramfs/init/screen.h"

#include <fcntl.h>
#include <unistd.h>

#define CONSOLES_MAX	 8
#define CONSOLE_LIST_MAX 4096
#define SHELL		 "/bin/sh"
#define SETTLE_SEC	 60 /* for the disk to take the record, and all the rest before a restart */

#define SCREEN_PATH "/dev/tty0" /* the virtual terminal that is in sight */
#define SERIAL_PATH "/proc/device-tree/serial-number"
#define SERIAL_MAX  64

struct consoles {
	int fd[CONSOLES_MAX];
	size_t count;
	bool on_screen; /* a virtual terminal is one of them: not among the fds */
	struct screen screen;
};

/* The text */

static bool is_trial(const struct boot *b)
{
	return b->decided ? b->decision.next == NEXT_BOOT_TRIAL : b->firmware.tryboot;
}

static char *countdown_line(const struct boot *b, enum boot_next next, uint32_t seconds)
{
	char where[sizeof(", back to slot X")] = "";

	if (next == NEXT_REBOOT_TRIAL && b->slot != SLOT_NONE)
		(void)snprintf(where, sizeof(where), ", trying slot %s",
			       slot_name(slot_other(b->slot)));
	else if ((is_trial(b) || next == NEXT_REBOOT_OTHER) && b->slot != SLOT_NONE)
		(void)snprintf(where, sizeof(where), ", back to slot %s",
			       slot_name(slot_other(b->slot)));
	return strf("Restarting in %u s%s.", seconds, where);
}

static char *title_line(const struct boot *b)
{
	return strf("%s cannot start: slot %s%s", BF_PRODUCT, slot_name(b->slot),
		    is_trial(b) ? ", trial boot" : "");
}

static char *detail_line(const struct failure *f)
{
	struct failure shown = *f;

	text_clean_ascii(shown.text, '?'); /* what came from a disk must not speak to it */
	return strf("%s%s%s", shown.text, *shown.text && f->error ? ": " : "",
		    f->error ? strerror(f->error) : "");
}

char *fail_text(const struct boot *b, const struct failure *f, enum boot_next next,
		uint32_t seconds)
{
	_cleanup_free_ char *last = countdown_line(b, next, seconds);
	_cleanup_free_ char *title = title_line(b), *detail = detail_line(f);
	const struct reason_text *why = reason_text(f->reason);

	if (!last || !title || !detail)
		return NULL;
	return strf("\n%s\n\n"
		    "  What:  %s\n"
		    "         %s\n"
		    "  To do: %s\n"
		    "  Code:  %s\n\n"
		    "%s",
		    title, why->what, detail, why->todo, why->code, last);
}

/* What is known of the device by the person who sees it; NULL when nothing is. Caller frees. */
static char *device_code(void)
{
	char *serial;

	if (sys_read_file(AT_FDCWD, SERIAL_PATH, SERIAL_MAX, &serial, NULL) < 0)
		return NULL;
	text_clean_ascii(serial, '?');
	return serial;
}

/* All but the countdown; lives as long as PID 1 does. */
static void page_make(const struct boot *b, const struct failure *f, struct screen_page *ret)
{
	const struct reason_text *why = reason_text(f->reason);

	*ret = (struct screen_page) {
		.title = title_line(b),
		.device = device_code(),
		.what = why->what,
		.detail = detail_line(f),
		.todo = why->todo,
		.code = why->code,
	};
}

/* The consoles */

/* tty0, tty1, …: whatever their number, the kernel prints on the one that is in sight. */
static bool is_screen(const char *name)
{
	const char *number = startswith(name, "tty");

	return number && *number && !number[strspn(number, "0123456789")];
}

/*
 * /proc/consoles: "ttyAMA0   -W- (EC p a)  204:64", Linux fs/proc/consoles.c.
 * Only what is enabled and can be written. A serial line that nobody reads
 * must not hold the reboot up, so nothing here ever waits for one.
 */
static int open_console(char *line, bool *on_screen)
{
	size_t name_len = strcspn(line, " ");
	const char *can = line + name_len + strspn(line + name_len, " "), *is = strchr(can, '(');
	_cleanup_free_ char *path = NULL;

	/* By letter, not by place: there have been new ones in either group. */
	if (!is || !memchr(can, 'W', strcspn(can, " ")) || !memchr(is, 'E', strcspn(is, ")")))
		return -ENOTTY;
	line[name_len] = '\0';
	if (is_screen(line)) {
		*on_screen = true;
		return -ENOTTY;
	}
	path = strf("/dev/%s", line);
	if (!path)
		return -ENOMEM;
	return sys_open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY, 0);
}

static void add_console(struct consoles *c, int fd)
{
	if (fd >= 0)
		c->fd[c->count++] = fd;
}

static void consoles_open(struct consoles *c)
{
	_cleanup_free_ char *list = NULL;
	char *rest, *line;

	*c = (struct consoles) { 0 };
	if (sys_read_file(AT_FDCWD, "/proc/consoles", CONSOLE_LIST_MAX, &list, NULL) == 0)
		for (line = strtok_r(list, "\n", &rest); line && c->count < CONSOLES_MAX;
		     line = strtok_r(NULL, "\n", &rest))
			add_console(c, open_console(line, &c->on_screen));
	c->screen.fd = sys_open(SCREEN_PATH, O_WRONLY | O_NONBLOCK | O_NOCTTY, 0);
	if (c->count == 0 && (!c->on_screen || c->screen.fd < 0))
		add_console(c, sys_open("/dev/console", O_WRONLY | O_NONBLOCK | O_NOCTTY, 0));
}

/* As much as each takes: who does not take it at once, does not get it. */
static void consoles_write(const struct consoles *c, const char *text)
{
	for (size_t i = 0; text && i < c->count; i++)
		(void)!io_write(c->fd[i], text, strlen(text));
}

/* A line like others, on the screen only if that is a console. */
static void consoles_say(const char *text)
{
	struct consoles c;

	consoles_open(&c);
	consoles_write(&c, text);
	if (c.on_screen && c.screen.fd >= 0)
		(void)!io_write(c.screen.fd, text, strlen(text));
	for (size_t i = 0; i < c.count; i++)
		close_p(&c.fd[i]);
	close_p(&c.screen.fd);
}

static void show(struct consoles *c, struct screen_page *page, const struct boot *b,
		 enum boot_next next, uint32_t seconds)
{
	_cleanup_free_ char *last = countdown_line(b, next, seconds);

	page->last = last;
	screen_show(&c->screen, page);
	page->last = NULL;
}

static void count_down(struct consoles *c, struct screen_page *page, const struct boot *b,
		       enum boot_next next, uint32_t seconds)
{
	for (; seconds; seconds--) {
		show(c, page, b, next, seconds);
		if (seconds <= 10 || seconds % 10 == 0) {
			_cleanup_free_ char *line = countdown_line(b, next, seconds);
			_cleanup_free_ char *over = line ? strf("\r%s ", line) : NULL;

			consoles_write(c, over);
		}
		sys_sleep_usec(1000000);
	}
	consoles_write(c, "\n");
	show(c, page, b, next, 0);
}

/* The end */

/* Each step is for when the one before did not work. */
static _Noreturn void reboot_now(const struct boot *b, enum boot_next next)
{
	/* It can hang on a dead disk: then the watchdog ends it. */
	patience_last(SETTLE_SEC);
	sys_sync();
	if (next == NEXT_REBOOT_TRIAL)
		(void)sys_reboot(FIRMWARE_REBOOT_TRIAL);
	if (next == NEXT_REBOOT_OTHER && b->slot != SLOT_NONE)
		(void)sys_reboot(firmware_reboot_into(slot_other(b->slot)));
	(void)sys_reboot(NULL);
	(void)sys_write_file("/proc/sysrq-trigger", "b");
	_exit(1); /* the kernel panics without PID 1, and restarts: panic= is set */
}

/* What the rules go by. Without a decision nothing was read yet but what the firmware said. */
static struct boot_facts facts_so_far(const struct boot *b)
{
	struct boot_facts facts = b->facts;

	if (b->decided)
		return facts;
	facts.running = b->slot;
	facts.tryboot = b->firmware.tryboot;
	facts.selector = SELECTOR_GONE;
	facts.selector_committed = SLOT_NONE;
	facts.selector_in_place = false;
	facts.record_readable = facts.record_lost = facts.writable = false;
	return facts;
}

/* What the rules say, written as far as it can be. *ret_counted: a record bounds the reboot. */
static enum boot_next write_failure(struct boot *b, enum reason reason, uint32_t *ret_delay_sec,
				    bool *ret_counted)
{
	struct boot_facts facts = facts_so_far(b);
	struct boot_decision d;
	int r = -ENODEV;

	rules_bf_init_failed(&facts, b->decided ? &b->decision : NULL, reason, &d, ret_delay_sec);
	for (size_t i = 0; i < ARRAY_SIZE(d.writes); i++) {
		if (d.writes[i] != WRITE_RECORD)
			continue;
		if (b->data.fd >= 0)
			r = record_store(b->data.fd, &d.record);
		if (r < 0)
			log_error("the reason cannot be recorded: %s", strerror(-r));
		*ret_counted = r >= 0;
		return r < 0 ? d.next_if_unwritten : d.next;
	}
	return d.next;
}

static enum boot_next settle(struct boot *b, enum reason reason, uint32_t *ret_delay_sec)
{
	uint32_t uncounted_sec =
		rules_uncounted_delay_sec(b->firmware.has_count, b->firmware.count);
	enum boot_next next = NEXT_REBOOT;
	bool counted = false;

	*ret_delay_sec = 0;
	if (b->slot != SLOT_NONE)
		next = write_failure(b, reason, ret_delay_sec, &counted);
	/* The other slot is not kept waiting: it may be the one that ends the loop. */
	if (!counted && next == NEXT_REBOOT && *ret_delay_sec < uncounted_sec)
		*ret_delay_sec = uncounted_sec;
	return next;
}

/* Only an image that is marked as a rescue image has a shell at all. */
static void rescue_shell(const struct consoles *c)
{
	char *const argv[] = { (char *)"sh", NULL };
	int status;

	consoles_write(c, "\nRESCUE IMAGE: a root shell. Leave it with \"exit\" to restart.\n");
	(void)sys_spawn_wait(NULL, SHELL, argv, UINT32_MAX, -1, &status);
}

_Noreturn void fail_boot(struct boot *b, const struct failure *f)
{
	/* Before the command line was read there is no figure in it; it never is 0 afterwards. */
	uint32_t seconds =
		b->cmdline.deadline_sec ? b->cmdline.failure_show_sec : CMDLINE_FAILURE_SHOW_SEC;
	const struct reason_text *why = reason_text(f->reason);
	struct screen_page page;
	struct consoles consoles;
	enum boot_next next;
	uint32_t delay_sec;
	char *text;

	patience_last(SETTLE_SEC);
	log_error("slot %s: %s: %s %s%s%s", slot_name(b->slot), why->code, why->what, f->text,
		  *f->text && f->error ? ": " : "", f->error ? strerror(f->error) : "");
	next = settle(b, f->reason, &delay_sec);
	if (seconds < delay_sec)
		seconds = delay_sec;
	patience_last(b->rescue ? UINT32_MAX : seconds + SETTLE_SEC);
	text = fail_text(b, f, next, seconds);
	consoles_open(&consoles);
	consoles_write(&consoles, text);
	free(text);
	page_make(b, f, &page);
	show(&consoles, &page, b, next, seconds);
	if (b->rescue)
		rescue_shell(&consoles);
	else
		count_down(&consoles, &page, b, next, seconds);
	reboot_now(b, next);
}

_Noreturn void fail_reboot(struct boot *b, enum boot_next next, enum reason reason)
{
	const struct reason_text *why = reason_text(reason);
	char *text = strf("\n%s: %s Restarting%s.\n", BF_PRODUCT, why->what,
			  next == NEXT_REBOOT ? "" : " into the other slot");

	patience_last(SETTLE_SEC);
	log_error("slot %s: %s: %s", slot_name(b->slot), why->code, why->what);
	if (text)
		consoles_say(text);
	free(text);
	reboot_now(b, next);
}

void fail_notice(const char *text)
{
	_cleanup_free_ char *line = strf("%s: %s", BF_PRODUCT, text), *lines = NULL;

	if (!line)
		return;
	text_clean_ascii(line, '?');
	lines = strf("\n%s\n", line);
	if (lines)
		consoles_say(lines);
}
