// SPDX-License-Identifier: MIT
#include "initramfs/init/mounts.h"

#include "boot/io.h"
#include "boot/sys.h"
#include "initramfs/init/patience.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

/* As the kernel's documentation wants it for a lower that may change between boots. */
#define OVERLAY_OPTIONS "index=off,metacopy=off,redirect_dir=nofollow"

/* Each inode is a KiB of the kernel's memory, which size= does not count. */
#define TMPFS_OPTIONS	 "mode=0700,nr_inodes=64k,size="
#define VOLATILE_OPTIONS TMPFS_OPTIONS "20%"

/* A file system that holds uppers: BF_DATA, or a tmpfs. */
struct store {
	struct datadir dir; /* .fd -1: not made yet */
	const char *path;   /* where it is mounted now */
};

/* What there is to know of a line's mount point beyond the plan. */
struct place {
	struct stat image; /* as the verified image has it; an ordinary one where it has none */
	int seed;	   /* it, to be copied; -1: the line takes no seed, or there is none */
	bool shows_data;   /* by now a directory of BF_DATA itself is mounted there */
	bool absent;	   /* the image does not want the line: x-bf.if-exists */
};

struct maker {
	enum slot slot;
	const char *sysroot, *image_id;
	const struct mount_plan *plan;
	struct place *places; /* one for each line */
	struct data *data;
	struct store on_data, on_tmpfs;
	bool data_moved;
	int sysroot_fd;
	struct failure *f;
};

/* One line on its way. */
struct step {
	const struct mount_line *line;
	struct place *place;
	char *target; /* below sysroot */
};

static const struct dir_attr private = { 0700, 0, 0, DIR_ALL };

static void step_done(struct step *s)
{
	free(s->target);
}

static int mount_failed(struct maker *m, const struct step *s, int r, const char *what)
{
	const char *options = s->line->options;

	return failure_set(m->f, REASON_MOUNT, -r, "%s on %.100s%s%.80s (line %u of fstab)", what,
			   s->line->target, *options ? ", options " : "", options, s->line->line);
}

/*
 * BF_DATA has no veto: where it is full, read-only, breaking, or holds what cannot be
 * put aside, the line does without it. (What is wrong with the line itself fails on a
 * tmpfs, too.) But a seed that is too large is the image's fault, and neither memory nor
 * time comes back.
 */
static bool can_do_without(int r)
{
	return r != -EFBIG && r != -ENOMEM && r != -EINTR;
}

static int data_failed(struct maker *m, const struct step *s, int r, const char *path)
{
	if (r == -EFBIG)
		return failure_set(m->f, REASON_MOUNT, -r,
				   "x-bf.seed of %.120s: more than %d files or %d MiB",
				   s->line->target, MOUNTS_SEED_FILES, MOUNTS_SEED_MIB);
	return failure_set(m->f, REASON_MOUNT, -r,
			   "%.100s with %.80s of BF_DATA%s%.40s (line %u of fstab)",
			   s->line->target, path, *s->line->options ? ", options " : "",
			   s->line->options, s->line->line);
}

/* One more sentence about BF_DATA. */
static void add_why(struct data *d, const char *fmt, ...) _printf_(2, 3);
static void add_why(struct data *d, const char *fmt, ...)
{
	size_t used = strlen(d->why);
	va_list ap;

	if (used && used + 2 < sizeof(d->why)) {
		strcpy(d->why + used, "; ");
		used += 2;
	}
	va_start(ap, fmt);
	(void)vsnprintf(d->why + used, sizeof(d->why) - used, fmt, ap);
	va_end(ap);
}

/* One line works without BF_DATA although it is there: counted, first cause kept. */
static void note_lost(struct maker *m, const struct step *s, int r, const char *what)
{
	if (m->data->lost_lines++ == 0)
		add_why(m->data, "%s of %s: %s", what, s->line->target,
			r == -ELOOP || r == -ENOTDIR
				? "something is in the way, and trash is no directory"
				: strerror(-r));
}

/* What lies in what */

static struct place *place_of(const struct maker *m, const struct mount_line *l)
{
	return &m->places[l - m->plan->lines];
}

static bool uses_data(const struct mount_line *l)
{
	return l->kind == MOUNT_DATA || l->kind == MOUNT_BIND ||
	       (l->kind == MOUNT_OVERLAY && l->upper != UPPER_VOLATILE);
}

/* The line above @l whose mount point @l lies in; NULL: it lies in the image itself. */
static const struct mount_line *parent_of(const struct maker *m, const struct mount_line *l)
{
	const struct mount_line *parent = NULL;

	for (const struct mount_line *p = m->plan->lines; p < l; p++) {
		const char *rest = startswith(l->target, p->target);

		if (rest && *rest == '/' && !place_of(m, p)->absent &&
		    (!parent || strlen(p->target) > strlen(parent->target)))
			parent = p;
	}
	return parent;
}

/* Only overlays show what lies below them. */
static bool is_in_image(const struct maker *m, const struct mount_line *l)
{
	for (l = parent_of(m, l); l; l = parent_of(m, l))
		if (l->kind != MOUNT_OVERLAY)
			return false;
	return true;
}

/* Does BF_DATA say what is at the mount point of @l? */
static bool is_below_data(const struct maker *m, const struct mount_line *l)
{
	for (l = parent_of(m, l); l; l = parent_of(m, l))
		if (l->kind == MOUNT_DATA || l->kind == MOUNT_BIND)
			return true;
	return false;
}

/* Would the mount point of @l be there, or be made, if all lines above it had BF_DATA? */
static bool needs_data(const struct maker *m, const struct mount_line *l)
{
	for (l = parent_of(m, l); l; l = parent_of(m, l))
		if (uses_data(l))
			return true;
	return false;
}

/* Is the mount point of @l to be found in the overlay @top, through overlays only? */
static bool shows_through(const struct maker *m, const struct mount_line *l,
			  const struct mount_line *top)
{
	if (place_of(m, l)->absent)
		return false;
	for (l = parent_of(m, l); l && l != top; l = parent_of(m, l))
		if (l->kind != MOUNT_OVERLAY)
			return false;
	return l == top;
}

static int mount_tmpfs(struct maker *m, const char *path, const char *options, struct store *ret)
{
	int r = io_mkdirat(AT_FDCWD, path, 0700);

	if (r < 0)
		return failure_set(m->f, REASON_MOUNT, -r, "mkdir %.100s", path);
	r = sys_mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, options);
	if (r < 0)
		return failure_set(m->f, REASON_MOUNT, -r, "tmpfs on %.100s, options %.80s", path,
				   options);
	r = sys_open(path, O_PATH | O_DIRECTORY, 0);
	if (r < 0)
		return failure_set(m->f, REASON_MOUNT, -r, "%.100s", path);
	*ret = (struct store) { { r, NULL }, path };
	return 0;
}

/* What volatile uppers share; the overlays keep it when its own mount is gone. */
static int volatile_store(struct maker *m)
{
	if (m->on_tmpfs.dir.fd >= 0)
		return 0;
	return mount_tmpfs(m, MOUNTS_VOLATILE, VOLATILE_OPTIONS, &m->on_tmpfs);
}

/* Mount points */

static struct dir_attr attr_of(const struct stat *st)
{
	return (struct dir_attr) { st->st_mode & 07777, st->st_uid, st->st_gid, 0 };
}

/* A directory that is made through an overlay, or in a tmpfs. */
static int make_here(int top, const char *path, const struct stat *like)
{
	const struct dir_attr attr = attr_of(like);
	_cleanup_close_ int fd = -1;
	int r = sys_mkdirat(top, path, 0755);

	if (r < 0)
		return r;
	fd = sys_open_beneath(top, path, O_RDONLY | O_DIRECTORY, 0);
	return fd < 0 ? fd : datadir_set_attr(fd, &attr);
}

/*
 * Makes what is missing of the mount point @path, through what is mounted by now: what
 * an overlay hides, and how it is made to show again, the kernel knows best.
 */
static int make_through(const struct maker *m, const char *path, const struct stat *like)
{
	_cleanup_free_ char *part = strdup(path);

	if (!part)
		return -ENOMEM;
	for (char *end = part;; *end++ = '/') {
		_cleanup_close_ int fd = -1;
		bool last;
		int r;

		end += strcspn(end, "/");
		last = !*end;
		*end = '\0';
		r = fd = datadir_open(m->sysroot_fd, part);
		if (r == -ENOENT)
			r = last ? make_here(m->sysroot_fd, part, like)
				 : sys_mkdirat(m->sysroot_fd, part, 0755);
		if (r < 0 || last)
			return r < 0 ? r : 0;
	}
}

/* Where a directory of BF_DATA is mounted above it, its traps are put aside there. */
static int make_point(struct maker *m, const struct step *s)
{
	const struct mount_line *l = s->line, *parent = parent_of(m, l);
	const struct dir_attr attr = attr_of(&s->place->image);
	_cleanup_free_ char *path = NULL;
	const char *rest;

	if (!parent || !place_of(m, parent)->shows_data)
		return make_through(m, l->target + 1, &s->place->image);
	rest = l->target + strlen(parent->target) + 1;
	path = parent->source ? strf("%s/%s", parent->source, rest) : strdup(rest);
	return path ? datadir_make(&m->on_data.dir, path, &attr, -1) : -ENOMEM;
}

static int find_mount_point(struct maker *m, struct step *s)
{
	const struct mount_line *l = s->line;
	_cleanup_close_ int fd = datadir_open(m->sysroot_fd, l->target + 1);
	int r = fd < 0 ? make_point(m, s) : 0;

	s->target = strf("%s%s", m->sysroot, l->target);
	if (!s->target)
		return failure_set(m->f, REASON_OUT_OF_MEMORY, ENOMEM, "mounts");
	if (r < 0)
		return failure_set(m->f, is_in_image(m, l) ? REASON_MOUNT_POINT : REASON_MOUNT, -r,
				   "there is no %.160s, nor can it be made (line %u of fstab)",
				   l->target, l->line);
	return 0;
}

/* Overlays */

/*
 * Plain paths, although BF_DATA is untrusted: datadir_make() checked every
 * component, and nobody who could change one runs yet. (Paths through
 * /proc/self/fd would do too, but stay in mountinfo for good.) No escapes: see
 * plan.h for the letters that occur.
 */
static int mount_overlay(const struct store *at, const char *dir, const char *lower,
			 const struct step *s)
{
	const char *more = s->line->kind == MOUNT_OVERLAY ? s->line->options : "";
	_cleanup_free_ char *options =
		strf("lowerdir=%s,upperdir=%s/%s/upper,workdir=%s/%s/work,%s%s%s", lower, at->path,
		     dir, at->path, dir, OVERLAY_OPTIONS, *more ? "," : "", more);

	if (!options)
		return -ENOMEM;
	return sys_mount("overlay", s->target, "overlay", s->line->flags, options);
}

static int renew_work(const struct store *at, const char *dir)
{
	_cleanup_free_ char *work = strf("%s/work", dir);
	int r;

	if (!work)
		return -ENOMEM;
	r = datadir_put_aside(&at->dir, work);
	return r < 0 ? r : datadir_make(&at->dir, work, &private, -1);
}

/*
 * What an overlay leaves there is a handful of names; mount(2) removes whatever it finds, and for
 * as long as that takes: millions of files are minutes. One name is looked for, none is read.
 */
static bool is_work_used(const struct store *at, const char *dir)
{
	_cleanup_free_ char *path = strf("%s/work/work", dir);
	_cleanup_close_ int fd =
		path ? sys_open_beneath(at->dir.fd, path, O_RDONLY | O_DIRECTORY, 0) : -ENOMEM;
	char **names = NULL;
	size_t count = 0;
	int r;

	if (fd < 0)
		return false; /* what is no directory is in the way of the mount, and found then */
	r = sys_list(fd, 0, &names, &count);
	sys_names_free(names, count);
	return r == -EFBIG;
}

/* The upper looks like the lower from outside: its attributes are what the overlay's top shows. */
static int make_layers(const struct store *at, const char *dir, const struct stat *lower)
{
	struct dir_attr seen = attr_of(lower);
	_cleanup_free_ char *upper = strf("%s/upper", dir), *work = strf("%s/work", dir);
	int r;

	if (!upper || !work)
		return -ENOMEM;
	seen.fixed = DIR_ALL;
	r = datadir_make(&at->dir, upper, &seen, -1);
	if (r == 0)
		r = datadir_make(&at->dir, work, &private, -1);
	return r == 0 && is_work_used(at, dir) ? renew_work(at, dir) : r;
}

/* The kernel mounts an overlay read-only, without an error, when it finds no room for its work. */
static int check_writable(const struct step *s)
{
	int r;

	if (s->line->flags & MS_RDONLY)
		return 0;
	r = sys_faccessat(AT_FDCWD, s->target, W_OK);
	return r == -EROFS ? -ENOSPC : r;
}

/* What is in the upper must not hide the mount points of other lines: its traps first, */
static int clear_upper(const struct maker *m, const struct store *at, const char *dir,
		       const struct step *s)
{
	int r = 0;

	for (const struct mount_line *l = s->line + 1;
	     r == 0 && l < m->plan->lines + m->plan->count; l++) {
		_cleanup_free_ char *path = NULL;

		if (!shows_through(m, l, s->line))
			continue;
		path = strf("%s/upper%s", dir, l->target + strlen(s->line->target));
		r = path ? datadir_clear(&at->dir, path) : -ENOMEM;
	}
	return r;
}

/* then, in the mounted overlay, whatever else hides one. */
static int check_points(const struct maker *m, const struct step *s)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->plan->count; i++) {
		const struct mount_line *l = &m->plan->lines[i];

		if (shows_through(m, l, s->line))
			r = make_through(m, l->target + 1, &m->places[i].image);
	}
	return r;
}

/* -errno, and nothing mounted. */
static int mount_checked(const struct store *at, const char *dir, const struct step *s)
{
	int r = mount_overlay(at, dir, s->target, s), undone;

	if (r < 0)
		return r;
	r = check_writable(s);
	if (r == 0)
		return 0;
	undone = sys_umount(s->target, MNT_DETACH);
	return undone < 0 ? undone : r;
}

static int mount_twice(const struct store *at, const char *dir, const struct step *s)
{
	int r = mount_checked(at, dir, s);

	if (r < 0 && r != -ENOMEM) {
		/* What is left in the work directory, by an interrupted mount or by somebody who
		 * knows how deep the kernel clears it, can be in the way. */
		int again = renew_work(at, dir);

		if (again < 0)
			return again;
		r = mount_checked(at, dir, s);
	}
	return r;
}

/* -errno, nothing filled in @f, and nothing mounted. */
static int overlay_in(struct maker *m, const struct store *at, const char *dir,
		      const struct step *s)
{
	int r = make_layers(at, dir, &s->place->image), undone;

	if (r == 0)
		r = clear_upper(m, at, dir, s);
	if (r == 0)
		r = mount_twice(at, dir, s);
	if (r < 0)
		return r;
	r = check_points(m, s);
	if (r == 0)
		return 0;
	undone = sys_umount(s->target, MNT_DETACH);
	return undone < 0 ? undone : r;
}

/* With x-bf.size: a tmpfs that no other line fills, and that fills no other's. */
static int overlay_sized(struct maker *m, const struct step *s)
{
	_cleanup_free_ char *path = strf(MOUNTS_VOLATILE "-%s", s->line->upper_name);
	_cleanup_free_ char *options = strf(TMPFS_OPTIONS "%s", s->line->size);
	struct store own = { .dir = { .fd = -1 } };
	int r;

	if (!path || !options)
		return mount_failed(m, s, -ENOMEM, "overlay");
	r = mount_tmpfs(m, path, options, &own);
	if (r < 0)
		return r;
	r = overlay_in(m, &own, s->line->upper_name, s);
	close_p(&own.dir.fd);
	if (r < 0)
		return mount_failed(m, s, r, "overlay");
	r = sys_umount(path, MNT_DETACH);
	return r < 0 ? failure_set(m->f, REASON_MOUNT, -r, "detaching %.100s", path) : 0;
}

static int overlay_volatile(struct maker *m, const struct step *s)
{
	int r;

	if (s->line->size)
		return overlay_sized(m, s);
	r = volatile_store(m);
	if (r < 0)
		return r;
	r = overlay_in(m, &m->on_tmpfs, s->line->upper_name, s);
	return r < 0 ? mount_failed(m, s, r, "overlay") : 0;
}

/* Where the upper lies on BF_DATA; that its parents are there and private. */
static int upper_dir(struct maker *m, const struct mount_line *l, char **ret)
{
	const char *top = l->upper == UPPER_SLOT ? "slots" : "overlay";
	_cleanup_free_ char *slot_dir = NULL;
	int r;

	*ret = l->upper == UPPER_SLOT ? strf("slots/%s/%s", slot_name(m->slot), l->upper_name)
				      : strf("overlay/%s", l->upper_name);
	if (!*ret)
		return -ENOMEM;
	if (m->data->readonly)
		return -EROFS;
	r = datadir_make(&m->on_data.dir, top, &private, -1);
	if (r < 0 || l->upper != UPPER_SLOT)
		return r;
	slot_dir = strf("slots/%s", slot_name(m->slot));
	if (!slot_dir)
		return -ENOMEM;
	return datadir_for_image(&m->on_data.dir, slot_dir, m->image_id);
}

static int make_overlay(struct maker *m, const struct step *s)
{
	_cleanup_free_ char *dir = NULL;
	int r;

	if (s->line->upper == UPPER_VOLATILE)
		return overlay_volatile(m, s);
	r = upper_dir(m, s->line, &dir);
	if (r == 0)
		r = overlay_in(m, &m->on_data, dir, s);
	if (r == 0)
		return 0;
	if (!dir || !can_do_without(r))
		return data_failed(m, s, r, dir ? dir : "memory");
	note_lost(m, s, r, dir);
	return s->line->degraded == DEGRADED_SKIP ? 0 : overlay_volatile(m, s);
}

/* Binds */

/* What the line says holds in every boot, what it leaves to the image when the source is made. */
static struct dir_attr attr_of_line(const struct step *s)
{
	struct dir_attr a = attr_of(&s->place->image);
	const struct {
		uint32_t said, *attr;
		unsigned bit;
	} rows[] = {
		{ s->line->mode, &a.mode, DIR_MODE },
		{ s->line->uid, &a.uid, DIR_UID },
		{ s->line->gid, &a.gid, DIR_GID },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (rows[i].said == PLAN_FROM_IMAGE)
			continue;
		*rows[i].attr = rows[i].said;
		a.fixed |= rows[i].bit;
	}
	return a;
}

/* Two steps: a bind takes no flags but those of the mount it comes from. */
static int bind(int source, const struct step *s)
{
	int r = sys_bind_fd(source, s->target, false);

	if (r < 0)
		return r;
	r = sys_mount(NULL, s->target, NULL, MS_REMOUNT | MS_BIND | s->line->flags, NULL);
	if (r < 0)
		(void)sys_umount(s->target, MNT_DETACH);
	return r;
}

/* -errno, nothing filled in @f. */
static int bind_from(const struct store *at, const char *dir, const struct step *s)
{
	const struct dir_attr attr = attr_of_line(s);
	_cleanup_close_ int source = -1;
	int r = datadir_make(&at->dir, dir, &attr, s->place->seed);

	if (r < 0)
		return r;
	source = datadir_open(at->dir.fd, dir);
	return source < 0 ? source : bind(source, s);
}

/*
 * BF_DATA can be read only: what is there shows, and what is written goes to
 * the tmpfs. -errno, nothing filled in @f.
 */
static int bind_readonly(struct maker *m, const struct step *s, const char *dir)
{
	_cleanup_close_ int source = datadir_open(m->on_data.dir.fd, s->line->source);
	_cleanup_free_ char *lower = NULL;
	struct stat st;
	int r;

	if (source < 0)
		return source;
	r = sys_fstat(source, &st);
	if (r < 0)
		return r;
	lower = strf("%s/%s", m->on_data.path, s->line->source);
	if (!lower)
		return -ENOMEM;
	r = make_layers(&m->on_tmpfs, dir, &st);
	return r < 0 ? r : mount_overlay(&m->on_tmpfs, dir, lower, s);
}

static int bind_volatile(struct maker *m, const struct step *s)
{
	/* '~' occurs in no name of the plan: no overlay has this directory. */
	_cleanup_free_ char *dir = strf("~%u", s->line->line),
			    *layers = strf("~%u-rw", s->line->line);
	int r = volatile_store(m);

	if (r < 0)
		return r;
	if (!dir || !layers)
		return mount_failed(m, s, -ENOMEM, "bind");
	if (m->data->readonly && bind_readonly(m, s, layers) == 0)
		return 0;
	r = bind_from(&m->on_tmpfs, dir, s);
	return r < 0 ? mount_failed(m, s, r, "bind") : 0;
}

static int make_bind(struct maker *m, const struct step *s)
{
	const char *source = s->line->source;
	int r = m->data->readonly ? -EROFS : bind_from(&m->on_data, source, s);

	s->place->shows_data = r == 0;
	if (r == 0)
		return 0;
	if (!can_do_without(r))
		return data_failed(m, s, r, source);
	note_lost(m, s, r, source);
	return s->line->degraded == DEGRADED_SKIP ? 0 : bind_volatile(m, s);
}

/* BF_DATA and tmpfs */

/*
 * BF_DATA was mounted before there was a plan; now it goes to its place. Its
 * own tmpfs (degraded) knows nothing of ext4's options. What an ext4 takes also depends on
 * how it was made, so that one which does not take them is used without.
 */
static int make_data(struct maker *m, const struct step *s)
{
	const struct mount_line *l = s->line;
	int r = sys_mount(m->on_data.path, s->target, NULL, MS_MOVE, NULL);

	if (r < 0)
		return mount_failed(m, s, r, "moving BF_DATA");
	m->data_moved = true;
	m->on_data.path = s->target;
	s->place->shows_data = true;
	r = sys_mount(NULL, s->target, NULL, MS_REMOUNT | MS_BIND | l->flags, NULL);
	if (r < 0)
		return mount_failed(m, s, r, "the flags of BF_DATA");
	if (m->data->degraded || (!*l->options && !(l->flags & PLAN_SUPER_FLAGS)))
		return 0;
	r = sys_mount(NULL, s->target, NULL,
		      MS_REMOUNT | l->flags | (m->data->readonly ? MS_RDONLY : 0), l->options);
	if (r < 0)
		add_why(m->data, "BF_DATA does not take the options \"%.80s\": %s", l->options,
			strerror(-r));
	return 0;
}

static int make_tmpfs(struct maker *m, const struct step *s)
{
	const struct mount_line *l = s->line;
	int r = sys_mount("tmpfs", s->target, "tmpfs", l->flags, *l->options ? l->options : NULL);

	return r < 0 ? mount_failed(m, s, r, "tmpfs") : 0;
}

/* Lines */

static int make_line(struct maker *m, struct step *s)
{
	static int (*const makes[])(struct maker *, const struct step *) = {
		[MOUNT_DATA] = make_data,
		[MOUNT_OVERLAY] = make_overlay,
		[MOUNT_BIND] = make_bind,
		[MOUNT_TMPFS] = make_tmpfs,
	};
	const struct mount_line *l = s->line;
	bool theirs;
	int r;

	if (s->place->absent || (m->data->degraded && uses_data(l) && l->degraded == DEGRADED_SKIP))
		return 0;
	r = find_mount_point(m, s);
	theirs = r < 0 ? needs_data(m, l) : is_below_data(m, l);
	if (r == 0)
		r = makes[l->kind](m, s);
	if (r == 0 || !can_do_without(r) || !theirs)
		return r;
	/* It lies in what BF_DATA shows, or would have shown, and cannot be mounted there. */
	note_lost(m, s, r, "the mount point");
	*m->f = (struct failure) { 0 };
	return 0;
}

/* Neither the data partition nor the volatile tmpfs stays where only we know it. */
static int detach(struct maker *m)
{
	int r = 0;

	if (!m->data_moved)
		r = sys_umount(m->on_data.path, MNT_DETACH);
	if (r < 0)
		return failure_set(m->f, REASON_MOUNT, -r, "detaching %s", m->on_data.path);
	if (m->on_tmpfs.dir.fd >= 0)
		r = sys_umount(MOUNTS_VOLATILE, MNT_DETACH);
	if (r < 0)
		return failure_set(m->f, REASON_MOUNT, -r, "detaching %s", MOUNTS_VOLATILE);
	return 0;
}

/* Whatever is not plainly absent is there: a line too many does no harm. */
static bool image_has(const struct maker *m, const char *path)
{
	_cleanup_close_ int fd = sys_open_in_root(m->sysroot_fd, path, O_PATH, 0);

	return fd != -ENOENT && fd != -ENOTDIR;
}

/*
 * May the mount point be missing in the image? Below what is no overlay, nobody looks for
 * it there; and where x-bf.if-exists has said that the image wants the line, it may be one
 * that the system makes when it first needs it.
 */
static bool may_be_made(const struct maker *m, const struct mount_line *l, int r)
{
	return !is_in_image(m, l) || (r == -ENOENT && l->needs);
}

/*
 * Before anything is mounted over it: what the image must have, it has, whatever BF_DATA
 * will hide of it; and what a seed copies is the image's, not what BF_DATA put over it.
 */
static int look_at_image(struct maker *m, const struct mount_line *l, struct place *p)
{
	_cleanup_close_ int fd = -1;
	int r;

	p->absent = l->needs && !image_has(m, l->needs);
	if (p->absent)
		return 0;
	r = fd = datadir_open(m->sysroot_fd, l->target + 1);
	if (r >= 0)
		r = sys_fstat(fd, &p->image);
	if (r == 0 && l->seed)
		r = p->seed = sys_openat(fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (r >= 0)
		return 0;
	p->image = (struct stat) { .st_mode = S_IFDIR | 0755 };
	if (may_be_made(m, l, r))
		return 0;
	return failure_set(m->f, REASON_MOUNT_POINT, -r, "%.160s%s (line %u of fstab)", l->target,
			   r == -ELOOP ? " is or passes a symbolic link" : "", l->line);
}

static int make_all(struct maker *m)
{
	const struct mount_plan *plan = m->plan;
	_cleanup_free_ char *data_path = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->count; i++)
		r = look_at_image(m, &plan->lines[i], &m->places[i]);
	for (size_t i = 0; r == 0 && i < plan->count; i++) {
		_cleanup_(step_done) struct step s = { .line = &plan->lines[i],
						       .place = &m->places[i] };

		patience_step();
		r = make_line(m, &s);
		/* The store's path outlives the step that moved it. */
		if (m->on_data.path == s.target) {
			data_path = TAKE_PTR(s.target);
			m->on_data.path = data_path;
		}
	}
	return r < 0 ? r : detach(m);
}

static int make_with_places(struct maker *m)
{
	size_t count = m->plan->count;
	int r;

	m->places = calloc(count + 1, sizeof(*m->places));
	if (!m->places)
		return failure_set(m->f, REASON_OUT_OF_MEMORY, ENOMEM, "mounts");
	for (size_t i = 0; i < count; i++)
		m->places[i].seed = -1;
	r = make_all(m);
	for (size_t i = 0; i < count; i++)
		close_p(&m->places[i].seed);
	free(m->places);
	return r;
}

/*
 * What an earlier image of this slot wrote to its uppers, when the plan of this one
 * has none: nobody comes back for it. It does no harm where it has to stay.
 */
static void forget_uppers(const struct maker *m)
{
	_cleanup_free_ char *path = strf("slots/%s", slot_name(m->slot));
	_cleanup_close_ int fd = -1;

	for (size_t i = 0; i < m->plan->count; i++)
		if (m->plan->lines[i].upper == UPPER_SLOT)
			return;
	if (!path || m->data->readonly || m->data->degraded)
		return;
	fd = datadir_open(m->on_data.dir.fd, path);
	if (fd >= 0)
		(void)!datadir_put_aside(&m->on_data.dir, path);
}

int mounts_make(const struct mount_plan *plan, enum slot slot, struct data *data,
		const char *data_mounted, const char *sysroot, const char *image_id,
		struct failure *f)
{
	struct maker m = {
		.slot = slot,
		.sysroot = sysroot,
		.image_id = image_id,
		.plan = plan,
		.data = data,
		.on_data = { { data->fd, &data->found }, data_mounted },
		.on_tmpfs = { { -1, NULL }, NULL },
		.f = f,
	};
	const struct findings *found = &data->found;
	int r;

	m.sysroot_fd = sys_open(sysroot, O_PATH | O_DIRECTORY, 0);
	if (m.sysroot_fd < 0)
		return failure_set(f, REASON_MOUNT, -m.sysroot_fd, "%s", sysroot);
	/* Before it is needed: what is in it must not be another account's to exchange. A trap in
	 * its place shows when something is to be made. */
	if (!data->readonly)
		(void)!datadir_check(&m.on_data.dir, DATADIR_TRASH, &private);
	r = make_with_places(&m);
	if (r == 0)
		forget_uppers(&m);
	close_p(&m.on_tmpfs.dir.fd);
	close_p(&m.sysroot_fd);
	if (found->lines)
		add_why(data, "%.*s%s", (int)strcspn(found->lines, "\n"), found->lines,
			found->count > 1 ? " (and more, see the kernel log)" : "");
	return r;
}
