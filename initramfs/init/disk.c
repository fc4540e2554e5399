// SPDX-License-Identifier: MIT
#include "initramfs/init/disk.h"

#include "boot/io.h"
#include "boot/sys.h"
#include "initramfs/init/inventory.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/sysmacros.h>

#define CLASS_BLOCK   "/sys/class/block"
#define BLOCK_MAX     65536 /* names in it */
#define NODE_SIZE     (sizeof("/dev/") + sizeof(((struct partition *)0)->name))
#define TICK_MSEC     100
#define USEC_PER_MSEC 1000
#define USEC_PER_SEC  UINT64_C(1000000)

struct search {
	enum boot_mode mode;
	enum slot slot;
	uint64_t deadline_usec;
	int socket;
	struct inventory inventory;
	bool looked_again;
	char missing_node[NODE_SIZE]; /* "" or the last node in /dev that was not there */
};

static void search_done(struct search *s)
{
	inventory_clear(&s->inventory);
	close_p(&s->socket);
}

/* "../../devices/…", what the links in /sys/class/block say, is "/devices/…" below /sys. */
static const char *link_devpath(const char *link)
{
	const char *s = link, *rest;

	while ((rest = startswith(s, "../")))
		s = rest;
	return s > link && startswith(s, "devices/") ? s - 1 : NULL;
}

/* A device that goes away while it is read is no error: its event says so. */
static int scan_one(struct search *s, int class_fd, const char *name)
{
	_cleanup_free_ char *path = strf("%s/uevent", name), *text = NULL;
	char link[PATH_MAX];
	struct uevent e;
	int r;

	if (!path)
		return -ENOMEM;
	if (sys_readlinkat(class_fd, name, link, sizeof(link)) < 0 || !link_devpath(link))
		return 0;
	r = sys_read_file(class_fd, path, SYS_PAGE_MAX, &text, NULL);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	if (uevent_parse_file(text, &e) < 0)
		return 0;
	e.action = "add";
	e.devpath = link_devpath(link);
	e.subsystem = "block";
	return inventory_apply(&s->inventory, &e, sys_monotonic_usec());
}

static int scan(struct search *s, struct failure *f)
{
	_cleanup_close_ int fd = sys_open(CLASS_BLOCK, O_RDONLY | O_DIRECTORY, 0);
	size_t count = 0;
	char **names;
	int r = fd;

	if (r >= 0)
		r = sys_list(fd, BLOCK_MAX, &names, &count);
	if (r < 0)
		return failure_set(f, REASON_KERNEL_PSEUDO_FS, -r, CLASS_BLOCK);
	for (size_t i = 0; i < count && r >= 0; i++)
		r = scan_one(s, fd, names[i]);
	sys_names_free(names, count);
	return r < 0 ? failure_set(f, REASON_OUT_OF_MEMORY, -r, CLASS_BLOCK) : 0;
}

/*
 * Socket first, then the scan: what comes between is seen twice, never not at all. Also the way
 * back after the kernel had to drop events: with a new socket, as those still queued in the
 * old one are older than the scan and would bring back what has gone.
 */
static int search_start(struct search *s, struct failure *f)
{
	close_p(&s->socket);
	s->socket = sys_uevent_socket();
	if (s->socket < 0)
		return failure_set(f, REASON_DISK_MISSING, -s->socket, "uevent socket");
	inventory_clear(&s->inventory);
	return scan(s, f);
}

/* 1: an event was taken in; 0: nothing came in time. */
static int receive(struct search *s, int timeout_msec, struct failure *f)
{
	char buf[UEVENT_MAX];
	ssize_t n = sys_uevent_receive(s->socket, buf, sizeof(buf), timeout_msec);
	struct uevent e;
	int r;

	if (n == -ETIMEDOUT)
		return 0;
	if (n == -ENOBUFS) {
		r = search_start(s, f);
		return r < 0 ? r : 1;
	}
	if (n < 0)
		return failure_set(f, REASON_DISK_MISSING, (int)-n, "uevent socket");
	if (uevent_parse_message(buf, (size_t)n, &e) < 0)
		return 1;
	r = inventory_apply(&s->inventory, &e, sys_monotonic_usec());
	return r < 0 ? failure_set(f, REASON_OUT_OF_MEMORY, -r, "block devices") : 1;
}

/* The node in /dev is made a moment after the device shows in sysfs; its event comes after it. */
static bool nodes_are_there(struct search *s, const struct disk *d)
{
	*s->missing_node = '\0';
	for (enum part p = 0; p < PART_COUNT; p++) {
		const struct partition *part = &d->part[p];
		char path[NODE_SIZE];
		struct stat st;

		if (!*part->name)
			continue;
		(void)snprintf(path, sizeof(path), "/dev/%s", part->name);
		if (sys_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISBLK(st.st_mode) && st.st_rdev == makedev(part->major, part->minor))
			continue;
		memcpy(s->missing_node, path, strlen(path) + 1);
		return false;
	}
	return true;
}

/* Does a GPT start at byte @offset? */
static bool gpt_at(int fd, uint64_t offset_bytes)
{
	char magic[8];

	return io_pread_exactly(fd, magic, sizeof(magic), offset_bytes) == 0 &&
	       memcmp(magic, "EFI PART", sizeof(magic)) == 0;
}

/*
 * The second sector starts a GPT. An image made for the other sector size is
 * invisible to the kernel: worth its own word, as the disk looks empty otherwise.
 */
static bool has_other_sector_size(const char *name, uint32_t *ret_logical_bytes)
{
	_cleanup_free_ char *path = strf("/dev/%s", name);
	_cleanup_close_ int fd = path ? sys_open(path, O_RDONLY | O_NONBLOCK, 0) : -1;
	uint32_t bytes;

	if (fd < 0 || sys_block_size(fd, &bytes) < 0 || gpt_at(fd, bytes))
		return false;
	*ret_logical_bytes = bytes;
	return gpt_at(fd, bytes == 512 ? 4096 : 512);
}

static int fail_missing(struct search *s, uint32_t wait_sec, struct failure *f)
{
	char text[sizeof(f->text)];
	uint32_t bytes;

	for (size_t i = 0; i < s->inventory.disk_count; i++) {
		const struct inventory_disk *d = &s->inventory.disks[i];

		if (d->part_count || !has_other_sector_size(d->name, &bytes))
			continue;
		return failure_set(f, REASON_DISK_MISSING, 0,
				   "%s has sectors of %u bytes, its partition table was made for "
				   "another size: use the image for this kind of disk",
				   d->name, bytes);
	}
	inventory_explain(&s->inventory, s->mode, s->slot, REASON_DISK_MISSING, text, sizeof(text));
	return failure_set(f, REASON_DISK_MISSING, 0, "%s (waited %u s)", text, wait_sec);
}

static int fail_choice(struct search *s, enum reason reason, uint32_t wait_sec, struct failure *f)
{
	char text[sizeof(f->text)];

	if (reason == REASON_DISK_MISSING)
		return fail_missing(s, wait_sec, f);
	inventory_explain(&s->inventory, s->mode, s->slot, reason, text, sizeof(text));
	return failure_set(f, reason, 0, "%s", text);
}

/* For an event: until there is something new to decide, at most until the next tick. */
static int wait_msec(uint64_t now_usec, uint64_t until_usec)
{
	uint64_t msec = until_usec <= now_usec
				? 0
				: (until_usec - now_usec + USEC_PER_MSEC - 1) / USEC_PER_MSEC;

	return msec < TICK_MSEC ? (int)msec : TICK_MSEC;
}

static bool is_complete(const struct choice *c)
{
	for (enum part p = 0; p < PART_COUNT; p++)
		if (!*c->disk.part[p].name)
			return false;
	return c->kind == CHOICE_TAKE;
}

/*
 * Before a disk is given up, or taken without all of its partitions, sysfs is
 * asked once more: a file that could not be read is the only thing that no event repeats.
 */
static int look_again(struct search *s, struct failure *f)
{
	uint64_t changed_usec = s->inventory.changed_usec;
	int r = search_start(s, f);

	s->looked_again = true;
	s->inventory.changed_usec = changed_usec;
	return r;
}

static int search_run(struct search *s, uint32_t wait_sec, void (*tick)(void), struct disk *ret,
		      struct failure *f)
{
	struct choice choice;
	int timeout_msec = 0, r;

	for (;;) {
		uint64_t now_usec;

		tick();
		/* What is queued already is taken in first: the choice is made from all of it. */
		r = receive(s, timeout_msec, f);
		if (r < 0)
			return r;
		timeout_msec = 0;
		now_usec = sys_monotonic_usec();
		if (r > 0 && now_usec < s->deadline_usec)
			continue;
		inventory_choose(&s->inventory, s->mode, s->slot, now_usec, s->deadline_usec,
				 &choice);
		if (choice.kind != CHOICE_WAIT && !is_complete(&choice) && !s->looked_again) {
			r = look_again(s, f);
			if (r < 0)
				return r;
			continue;
		}
		if (choice.kind == CHOICE_FAIL)
			return fail_choice(s, choice.reason, wait_sec, f);
		if (choice.kind == CHOICE_TAKE && nodes_are_there(s, &choice.disk)) {
			*ret = choice.disk;
			return 0;
		}
		if (choice.kind == CHOICE_TAKE && now_usec >= s->deadline_usec)
			return failure_set(f, REASON_DISK_MISSING, 0, "no device node %s",
					   s->missing_node);
		timeout_msec = wait_msec(now_usec, choice.kind == CHOICE_TAKE ? s->deadline_usec
									      : choice.until_usec);
	}
}

int disk_find(enum boot_mode mode, enum slot slot, uint32_t wait_sec, void (*tick)(void),
	      struct disk *ret, struct failure *f)
{
	_cleanup_(search_done) struct search s = {
		.mode = mode,
		.slot = slot,
		.socket = -1,
		.inventory.changed_usec = sys_monotonic_usec(),
	};
	int r;

	s.deadline_usec = s.inventory.changed_usec + wait_sec * USEC_PER_SEC;
	r = search_start(&s, f);
	return r < 0 ? r : search_run(&s, wait_sec, tick, ret, f);
}
