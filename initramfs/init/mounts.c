// SPDX-License-Identifier: MIT
#include "initramfs/init/mounts.h"

#include "boot/io.h"
#include "boot/sys.h"
#include "initramfs/init/datadir.h"
#include "initramfs/init/patience.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

/* As the kernel's documentation wants it for a lower that may change between boots. */
#define OVERLAY_OPTIONS "index=off,metacopy=off,redirect_dir=nofollow"

/* Each inode is a KiB of the kernel's memory, which size= does not count. */
#define TMPFS_OPTIONS	 "mode=0700,nr_inodes=64k,size="
#define VOLATILE_OPTIONS TMPFS_OPTIONS "20%"

/* A directory that holds uppers: BF_DATA, or a tmpfs. */
struct store {
	int fd;
	const char *path; /* where it is mounted now */
};

struct maker {
	enum slot slot;
	const char *sysroot, *image_id;
	struct data *data;
	struct store on_data, on_tmpfs; /* on_tmpfs.fd -1: not made yet */
	bool data_moved;
	int sysroot_fd;
	struct failure *f;
};

/* One line on its way, with what it needs of the image. */
struct step {
	const struct mount_line *line;
	char *target; /* below sysroot */
	int image_fd; /* O_PATH, the mount point as the image (or an overlay of it) has it */
	struct stat image;
};

static void step_done(struct step *s)
{
	close_p(&s->image_fd);
	free(s->target);
}

static int mount_failed(struct maker *m, const struct step *s, int r, const char *what)
{
	const char *options = s->line->options;

	return failure_set(m->f, REASON_MOUNT, -r, "%s on %.100s%s%.80s (line %u of fstab)", what,
			   s->line->target, *options ? ", options " : "", options, s->line->line);
}

/*
 * An error from BF_DATA that the device can live without: it is full,
 * read-only, breaking, or holds an upper the kernel does not take. (What is
 * wrong with the line itself fails on a tmpfs, too.) Not so a path that leads
 * elsewhere, which somebody did, and what has nothing to do with BF_DATA.
 */
static bool data_is_unable(int r)
{
	static const int others[] = { ELOOP, ENOTDIR, EXDEV, EFBIG, ENOMEM, EINTR };

	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (r == -others[i])
			return false;
	return true;
}

static int data_failed(struct maker *m, const struct step *s, int r, const char *path)
{
	static const struct {
		int error;
		const char *what;
	} traps[] = {
		{ ELOOP, "is or passes a symbolic link" },
		{ ENOTDIR, "is not a directory" },
		{ EXDEV, "leaves the data partition" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(traps); i++)
		if (r == -traps[i].error)
			return failure_set(m->f, REASON_DATA_PATH, -r,
					   "%.160s %s (line %u of fstab)", path, traps[i].what,
					   s->line->line);
	if (r == -EFBIG)
		return failure_set(m->f, REASON_MOUNT, -r,
				   "x-bf.seed of %.120s: more than %d files or %d MiB",
				   s->line->target, MOUNTS_SEED_FILES, MOUNTS_SEED_MIB);
	return failure_set(m->f, REASON_MOUNT, -r,
			   "%.100s with %.80s of BF_DATA%s%.40s (line %u of fstab)",
			   s->line->target, path, *s->line->options ? ", options " : "",
			   s->line->options, s->line->line);
}

/* One line works without BF_DATA although it is there: counted, first cause kept. */
static void note_lost(struct maker *m, const struct step *s, int r, const char *path)
{
	struct data *d = m->data;
	size_t used = strlen(d->why);

	if (d->lost_lines++ == 0)
		(void)snprintf(d->why + used, sizeof(d->why) - used, "%s%s of %s: %s",
			       used ? "; " : "", path, s->line->target, strerror(-r));
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
	*ret = (struct store) { r, path };
	return 0;
}

/* What volatile uppers share; the overlays keep it when its own mount is gone. */
static int volatile_store(struct maker *m)
{
	if (m->on_tmpfs.fd >= 0)
		return 0;
	return mount_tmpfs(m, MOUNTS_VOLATILE, VOLATILE_OPTIONS, &m->on_tmpfs);
}

/* Overlays */

static struct dir_attr attr_of(const struct stat *st)
{
	return (struct dir_attr) { st->st_mode & 07777, st->st_uid, st->st_gid };
}

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

/* The upper looks like the lower from outside: its attributes are what the overlay's top shows. */
static int make_layers(const struct store *at, const char *dir, const struct stat *lower)
{
	const struct dir_attr seen = attr_of(lower), private = { 0700, 0, 0 };
	_cleanup_free_ char *upper = strf("%s/upper", dir), *work = strf("%s/work", dir);
	int r;

	if (!upper || !work)
		return -ENOMEM;
	r = datadir_make(at->fd, upper, &seen, -1);
	return r < 0 ? r : datadir_make(at->fd, work, &private, -1);
}

static int renew_work(const struct store *at, const char *dir)
{
	const struct dir_attr private = { 0700, 0, 0 };
	_cleanup_free_ char *work = strf("%s/work", dir);
	int r;

	if (!work)
		return -ENOMEM;
	r = datadir_put_aside(at->fd, work);
	return r < 0 ? r : datadir_make(at->fd, work, &private, -1);
}

/* The kernel mounts an overlay read-only, without an error, when it finds no room for its work. */
static int check_writable(const struct step *s)
{
	int r;

	if (s->line->flags & MS_RDONLY)
		return 0;
	r = sys_faccessat(AT_FDCWD, s->target, W_OK);
	if (r != -EROFS)
		return r;
	r = sys_umount(s->target, MNT_DETACH);
	return r < 0 ? r : -ENOSPC;
}

/* -errno, nothing filled in @f. */
static int overlay_in(const struct store *at, const char *dir, const struct step *s)
{
	int r = make_layers(at, dir, &s->image);

	if (r < 0)
		return r;
	r = mount_overlay(at, dir, s->target, s);
	if (r < 0 && r != -ENOMEM) {
		/* What an interrupted or foreign mount left in the work directory can be in the
		 * way. */
		int again = renew_work(at, dir);

		if (again < 0)
			return again;
		r = mount_overlay(at, dir, s->target, s);
	}
	return r < 0 ? r : check_writable(s);
}

/* With x-bf.size: a tmpfs that no other line fills, and that fills no other's. */
static int overlay_sized(struct maker *m, const struct step *s)
{
	_cleanup_free_ char *path = strf(MOUNTS_VOLATILE "-%s", s->line->upper_name);
	_cleanup_free_ char *options = strf(TMPFS_OPTIONS "%s", s->line->size);
	struct store own;
	int r;

	if (!path || !options)
		return mount_failed(m, s, -ENOMEM, "overlay");
	r = mount_tmpfs(m, path, options, &own);
	if (r < 0)
		return r;
	r = overlay_in(&own, s->line->upper_name, s);
	close_p(&own.fd);
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
	r = overlay_in(&m->on_tmpfs, s->line->upper_name, s);
	return r < 0 ? mount_failed(m, s, r, "overlay") : 0;
}

/* Where the upper lies on BF_DATA; that its parents are there and private. */
static int upper_dir(struct maker *m, const struct mount_line *l, char **ret)
{
	const struct dir_attr private = { 0700, 0, 0 };
	const char *top = l->upper == UPPER_SLOT ? "slots" : "overlay";
	_cleanup_free_ char *slot_dir = NULL;
	int r;

	*ret = l->upper == UPPER_SLOT ? strf("slots/%s/%s", slot_name(m->slot), l->upper_name)
				      : strf("overlay/%s", l->upper_name);
	if (!*ret)
		return -ENOMEM;
	if (m->data->readonly)
		return -EROFS;
	r = datadir_make(m->on_data.fd, top, &private, -1);
	if (r < 0 || l->upper != UPPER_SLOT)
		return r;
	slot_dir = strf("slots/%s", slot_name(m->slot));
	if (!slot_dir)
		return -ENOMEM;
	return datadir_for_image(m->on_data.fd, slot_dir, m->image_id);
}

/* What a line that cannot have BF_DATA does. 1: go on with a tmpfs, 0: nothing more to do. */
static int without_data(struct maker *m, const struct step *s, const char *why)
{
	switch (s->line->degraded) {
	case DEGRADED_SKIP:
		return 0;
	case DEGRADED_FAIL:
		return failure_set(m->f, REASON_MOUNT, 0,
				   "%.120s must not come up without BF_DATA (line %u of fstab): %s",
				   s->line->target, s->line->line, why);
	case DEGRADED_VOLATILE:
		break;
	}
	return 1;
}

static int make_overlay(struct maker *m, const struct step *s)
{
	_cleanup_free_ char *dir = NULL;
	int r;

	if (s->line->upper == UPPER_VOLATILE)
		return overlay_volatile(m, s);
	r = upper_dir(m, s->line, &dir);
	if (r == 0)
		r = overlay_in(&m->on_data, dir, s);
	if (r == 0)
		return 0;
	if (!dir || !data_is_unable(r) || m->data->degraded)
		return data_failed(m, s, r, dir ? dir : "memory");
	note_lost(m, s, r, dir);
	r = without_data(m, s, m->data->why);
	return r > 0 ? overlay_volatile(m, s) : r;
}

/* Binds */

static struct dir_attr attr_of_line(const struct step *s)
{
	struct dir_attr a = attr_of(&s->image);

	if (s->line->mode != PLAN_FROM_IMAGE)
		a.mode = s->line->mode;
	if (s->line->uid != PLAN_FROM_IMAGE)
		a.uid = s->line->uid;
	if (s->line->gid != PLAN_FROM_IMAGE)
		a.gid = s->line->gid;
	return a;
}

/* Two steps: a bind takes no flags but those of the mount it comes from. */
static int bind(int source, const struct step *s)
{
	int r = sys_bind_fd(source, s->target, false);

	if (r < 0)
		return r;
	return sys_mount(NULL, s->target, NULL, MS_REMOUNT | MS_BIND | s->line->flags, NULL);
}

/* -errno, nothing filled in @f. */
static int bind_from(const struct store *at, const char *dir, const struct step *s)
{
	const struct dir_attr attr = attr_of_line(s);
	_cleanup_close_ int source = -1, seed = -1;
	int r;

	if (s->line->seed) {
		seed = sys_openat(s->image_fd, ".", O_RDONLY | O_DIRECTORY, 0);
		if (seed < 0)
			return seed;
	}
	r = datadir_make(at->fd, dir, &attr, seed);
	if (r < 0)
		return r;
	source = datadir_open(at->fd, dir);
	return source < 0 ? source : bind(source, s);
}

/*
 * BF_DATA can be read only: what is there shows, and what is written goes to
 * the tmpfs. -errno, nothing filled in @f.
 */
static int bind_readonly(struct maker *m, const struct step *s, const char *dir)
{
	_cleanup_close_ int source = datadir_open(m->on_data.fd, s->line->source);
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

	if (r == 0)
		return 0;
	if (!data_is_unable(r) || m->data->degraded)
		return data_failed(m, s, r, source);
	note_lost(m, s, r, source);
	r = without_data(m, s, m->data->why);
	return r > 0 ? bind_volatile(m, s) : r;
}

/* BF_DATA and tmpfs */

/*
 * BF_DATA was mounted before there was a plan; now it goes to its place. Its
 * own tmpfs (degraded) knows nothing of ext4's options.
 */
static int make_data(struct maker *m, const struct step *s)
{
	const struct mount_line *l = s->line;
	int r = sys_mount(m->on_data.path, s->target, NULL, MS_MOVE, NULL);

	if (r < 0)
		return mount_failed(m, s, r, "moving BF_DATA");
	m->data_moved = true;
	m->on_data.path = s->target;
	r = sys_mount(NULL, s->target, NULL, MS_REMOUNT | MS_BIND | l->flags, NULL);
	if (r < 0)
		return mount_failed(m, s, r, "the flags of BF_DATA");
	if (m->data->degraded || (!*l->options && !(l->flags & PLAN_SUPER_FLAGS)))
		return 0;
	r = sys_mount(NULL, s->target, NULL,
		      MS_REMOUNT | l->flags | (m->data->readonly ? MS_RDONLY : 0), l->options);
	/* A disk that breaks just now is no reason against this boot; a mistake in the plan is. */
	if (r < 0 && r != -EROFS && r != -EIO)
		return failure_set(m->f, REASON_MOUNT, -r, "BF_DATA with the options \"%.100s\"",
				   l->options);
	return 0;
}

static int make_tmpfs(struct maker *m, const struct step *s)
{
	const struct mount_line *l = s->line;
	int r = sys_mount("tmpfs", s->target, "tmpfs", l->flags, *l->options ? l->options : NULL);

	return r < 0 ? mount_failed(m, s, r, "tmpfs") : 0;
}

/* Lines */

/* Whatever is not plainly absent is there: a line too many does no harm. */
static bool image_has(const struct maker *m, const char *path)
{
	_cleanup_close_ int fd = sys_open_in_root(m->sysroot_fd, path, O_PATH, 0);

	return fd != -ENOENT && fd != -ENOTDIR;
}

/*
 * O_PATH fd of the mount point. Where x-bf.if-exists has said that the image
 * wants it, it may be one that the system makes when it first needs it.
 */
static int open_mount_point(struct maker *m, const struct mount_line *l)
{
	_cleanup_free_ char *part = NULL;
	int fd = datadir_open(m->sysroot_fd, l->target + 1);

	if (fd != -ENOENT || !l->needs)
		return fd;
	part = strdup(l->target + 1);
	if (!part)
		return -ENOMEM;
	for (char *end = part; end;) {
		int r;

		end = strchr(end, '/');
		if (end)
			*end = '\0';
		r = io_mkdirat(m->sysroot_fd, part, 0755);
		if (r < 0)
			return r == -EROFS ? -ENOENT : r;
		if (end)
			*end++ = '/';
	}
	return datadir_open(m->sysroot_fd, l->target + 1);
}

static int find_mount_point(struct maker *m, struct step *s)
{
	const struct mount_line *l = s->line;
	int r;

	s->target = strf("%s%s", m->sysroot, l->target);
	if (!s->target)
		return failure_set(m->f, REASON_OUT_OF_MEMORY, ENOMEM, "mounts");
	r = s->image_fd = open_mount_point(m, l);
	if (r >= 0)
		r = sys_fstat(s->image_fd, &s->image);
	if (r < 0)
		return failure_set(m->f, REASON_MOUNT_POINT, -r, "%.160s%s (line %u of fstab)",
				   l->target, r == -ELOOP ? " is or passes a symbolic link" : "",
				   l->line);
	return 0;
}

static int make_line(struct maker *m, struct step *s)
{
	static int (*const makes[])(struct maker *, const struct step *) = {
		[MOUNT_DATA] = make_data,
		[MOUNT_OVERLAY] = make_overlay,
		[MOUNT_BIND] = make_bind,
		[MOUNT_TMPFS] = make_tmpfs,
	};
	const struct mount_line *l = s->line;
	bool on_data =
		l->kind != MOUNT_TMPFS && !(l->kind == MOUNT_OVERLAY && l->upper == UPPER_VOLATILE);
	int r;

	if (l->needs && !image_has(m, l->needs))
		return 0;
	if (m->data->degraded && on_data) {
		r = without_data(m, s, m->data->why);
		if (r <= 0)
			return r;
	}
	r = find_mount_point(m, s);
	return r < 0 ? r : makes[l->kind](m, s);
}

/* Neither the data partition nor the volatile tmpfs stays where only we know it. */
static int detach(struct maker *m)
{
	int r = 0;

	if (!m->data_moved)
		r = sys_umount(m->on_data.path, MNT_DETACH);
	if (r < 0)
		return failure_set(m->f, REASON_MOUNT, -r, "detaching %s", m->on_data.path);
	if (m->on_tmpfs.fd >= 0)
		r = sys_umount(MOUNTS_VOLATILE, MNT_DETACH);
	if (r < 0)
		return failure_set(m->f, REASON_MOUNT, -r, "detaching %s", MOUNTS_VOLATILE);
	return 0;
}

static int make_all(struct maker *m, const struct mount_plan *plan)
{
	_cleanup_free_ char *data_path = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->count; i++) {
		_cleanup_(step_done) struct step s = { .line = &plan->lines[i], .image_fd = -1 };

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

int mounts_make(const struct mount_plan *plan, enum slot slot, struct data *data,
		const char *data_mounted, const char *sysroot, const char *image_id,
		struct failure *f)
{
	struct maker m = {
		.slot = slot,
		.sysroot = sysroot,
		.image_id = image_id,
		.data = data,
		.on_data = { data->fd, data_mounted },
		.on_tmpfs = { -1, NULL },
		.f = f,
	};
	int r;

	m.sysroot_fd = sys_open(sysroot, O_PATH | O_DIRECTORY, 0);
	if (m.sysroot_fd < 0)
		return failure_set(f, REASON_MOUNT, -m.sysroot_fd, "%s", sysroot);
	r = make_all(&m, plan);
	close_p(&m.on_tmpfs.fd);
	close_p(&m.sysroot_fd);
	return r;
}
