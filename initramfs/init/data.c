// SPDX-License-Identifier: MIT
#include "initramfs/init/data.h"

#include "boot/io.h"
#include "boot/sys.h"
#include "initramfs/init/check.h"
#include "initramfs/init/features.h"
#include "initramfs/init/patience.h"

#include <blkid/blkid.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/*
 * A replay of the journal that is cut short begins anew in the next boot, for ever: it has the
 * time that a slow card needs to read it all and to write it back, up to the largest journal
 * that mke2fs makes.
 */
#define REPLAY_BYTES_PER_SEC (2 << 20)
#define JOURNAL_MAX	     (UINT32_C(1) << 30)

/* A damage seen later makes it read-only at once, and e2fsck's work in the next boot. */
#define EXT4_OPTIONS "errors=remount-ro"
/* mode: as a filesystem's own root; bounded, as everything the system writes now goes here. */
#define TMPFS_OPTIONS "mode=0755,size=25%,nr_inodes=65536"

/*
 * ext4's superblock: Linux Documentation/filesystems/ext4/super.rst. Read by
 * ourselves: libblkid does not tell s_state, and where it sees a second signature
 * (at the end of a partition that grew over an older disk's leftovers) it may
 * name that one; a good BF_DATA must not be refused for it. What else
 * there is when it is not ext4, libblkid says.
 */
#define EXT4_SUPER_OFFSET	  1024
#define EXT4_SUPER_SIZE		  1024
#define EXT4_MAGIC_AT		  0x38
#define EXT4_MAGIC		  0xef53
#define EXT4_STATE_AT		  0x3a
#define EXT4_STATE_VALID	  0x0001 /* without a journal: it was unmounted */
#define EXT4_STATE_ERRORS	  0x0002
#define EXT4_COMPAT_AT		  0x5c
#define EXT4_COMPAT_HAS_JOURNAL	  0x0004
#define EXT4_INCOMPAT_AT	  0x60
#define EXT4_INCOMPAT_EXTENTS	  0x0040
#define EXT4_INCOMPAT_RECOVER	  0x0004
#define EXT4_INCOMPAT_JOURNAL_DEV 0x0008
#define EXT4_JOURNAL_BACKUP_AT	  0xfd /* 1: a copy of the journal's inode is here, too, */
#define EXT4_JOURNAL_SIZE_AT                                                                       \
	0x14c /* its size in bytes last, the low 32 bits behind the high ones */

enum look {
	LOOK_GOOD,
	LOOK_ERRORS, /* ext4 that asks for e2fsck */
	LOOK_EMPTY,  /* nothing known: also what ext4 with a lost superblock looks like */
	LOOK_OTHER,
};

#define DEVICE_SIZE (sizeof("/dev/") + sizeof(((struct partition *)0)->name))

struct attempt {
	const struct partition *partition;
	const char *target;
	char device[DEVICE_SIZE];
	struct features features; /* of an ext4 */
	bool no_journal;
	uint32_t replay_sec; /* beyond what a mount takes otherwise */
	struct data data;
};

/* For a leaf that gives up: says why, once, and returns @error. */
static int because(struct attempt *a, int error, const char *fmt, ...) _printf_(3, 4);
static int because(struct attempt *a, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(a->data.why, sizeof(a->data.why), fmt, ap);
	va_end(ap);
	return error;
}

/* What is there, when it is not ext4: "" for nothing at all. */
static int name_content(int fd, char *buf, size_t size)
{
	blkid_probe probe = blkid_new_probe();
	const char *type = "";
	int r;

	if (!probe)
		return -ENOMEM;
	r = blkid_probe_set_device(probe, fd, 0, 0) < 0 ? -1 : blkid_do_safeprobe(probe);
	if (r == -2)
		type = "several filesystems";
	else if (r == 0 && blkid_probe_lookup_value(probe, "TYPE", &type, NULL) < 0)
		type = "something unknown";
	(void)snprintf(buf, size, "%s", type);
	blkid_free_probe(probe);
	return r == -1 ? -EIO : 0;
}

static int look_without_magic(struct attempt *a, int fd, enum look *ret)
{
	char type[64];
	int r = name_content(fd, type, sizeof(type));

	if (r < 0)
		return because(a, r, "%s cannot be read: %s", a->device, strerror(-r));
	*ret = *type ? LOOK_OTHER : LOOK_EMPTY;
	return *type ? because(a, 0, "%s holds %s, not ext4", a->device, type) : 0;
}

/* Where the superblock does not say it: the largest. */
static uint32_t journal_bytes(const uint8_t *super)
{
	uint64_t bytes = get_le(super + EXT4_JOURNAL_SIZE_AT, 4) |
			 get_le(super + EXT4_JOURNAL_SIZE_AT - 4, 4) << 32;

	if (super[EXT4_JOURNAL_BACKUP_AT] != 1 || bytes == 0 || bytes > JOURNAL_MAX)
		return JOURNAL_MAX;
	return (uint32_t)bytes;
}

static int look_at_super(struct attempt *a, const uint8_t *super, enum look *ret)
{
	uint64_t incompat = get_le(super + EXT4_INCOMPAT_AT, 4),
		 state = get_le(super + EXT4_STATE_AT, 2);
	bool unclean;

	features_read(super, &a->features);
	*ret = LOOK_OTHER;
	if (incompat & EXT4_INCOMPAT_JOURNAL_DEV)
		return because(a, 0, "%s holds another filesystem's journal, not ext4", a->device);
	if (!(incompat & EXT4_INCOMPAT_EXTENTS))
		return because(a, 0, "%s holds ext2 or ext3, not ext4", a->device);
	/*
	 * Without a journal (an e2fsck that was cut off may have taken it away) nothing is
	 * replayed, and "not unmounted" means damage. Used all the same: no data is worse.
	 */
	a->no_journal = !(get_le(super + EXT4_COMPAT_AT, 4) & EXT4_COMPAT_HAS_JOURNAL);
	unclean = a->no_journal && !(state & EXT4_STATE_VALID);
	if (incompat & EXT4_INCOMPAT_RECOVER)
		a->replay_sec = journal_bytes(super) / REPLAY_BYTES_PER_SEC;
	*ret = unclean || state & EXT4_STATE_ERRORS ? LOOK_ERRORS : LOOK_GOOD;
	return 0;
}

/* What the partition holds. For LOOK_OTHER .why is filled. */
static int look_at(struct attempt *a, int fd, enum look *ret)
{
	uint8_t super[EXT4_SUPER_SIZE];
	ssize_t n = io_pread(fd, super, sizeof(super), EXT4_SUPER_OFFSET);

	if (n < 0)
		return because(a, (int)n, "%s cannot be read: %s", a->device, strerror((int)-n));
	if (n != sizeof(super))
		return because(a, -ENODATA, "%s is too small for a filesystem", a->device);
	if (get_le(super + EXT4_MAGIC_AT, 2) != EXT4_MAGIC)
		return look_without_magic(a, fd, ret);
	return look_at_super(a, super, ret);
}

static int look(struct attempt *a, enum look *ret)
{
	_cleanup_close_ int fd = sys_open(a->device, O_RDONLY | O_NONBLOCK, 0);
	struct stat st;
	int r = fd;

	if (r >= 0)
		r = sys_fstat(fd, &st);
	if (r < 0)
		return because(a, r, "%s cannot be opened: %s", a->device, strerror(-r));
	if (!S_ISBLK(st.st_mode) || st.st_rdev != makedev(a->partition->major, a->partition->minor))
		return because(a, -ENXIO, "%s is not the partition that was found", a->device);
	return look_at(a, fd, ret);
}

/* The names of damage that ext4 gives to mount(2); EINVAL is a superblock or journal without sense.
 */
static bool is_damage(int error)
{
	return error == -EUCLEAN || error == -EBADMSG || error == -EIO || error == -EINVAL;
}

/* A device that takes no writes: its data can still be read. */
static int mount_readonly(struct attempt *a)
{
	int r = sys_mount(a->device, a->target, "ext4", DATA_MOUNT_FLAGS | MS_RDONLY, EXT4_OPTIONS);

	/* The journal cannot be replayed on it either: what is in it is lost for this boot. */
	if (r == -EROFS || r == -EACCES)
		r = sys_mount(a->device, a->target, "ext4", DATA_MOUNT_FLAGS | MS_RDONLY,
			      EXT4_OPTIONS ",noload");
	/* Always EROFS: whatever else is wrong with it, e2fsck could not write it right. */
	if (r < 0)
		return because(a, -EROFS, "%s is read-only and cannot be mounted: %s", a->device,
			       strerror(-r));
	a->data.readonly = true;
	return because(a, 0, "%s cannot be written", a->device);
}

static bool exists(const char *path)
{
	return sys_faccessat(AT_FDCWD, path, F_OK) == 0;
}

/* Nothing that e2fsck could change: it asks for more than this kernel has. */
static int because_lacking(struct attempt *a, int error)
{
	char what[sizeof(a->data.why)];

	if (!features_lacking(&a->features, -error, (uint32_t)sysconf(_SC_PAGESIZE), exists, what,
			      sizeof(what)))
		return because(a, error, "%s cannot be mounted: %s", a->device, strerror(-error));
	return because(a, -EOPNOTSUPP, "%s %.*s", a->device,
		       (int)(sizeof(what) - sizeof(a->device)), what);
}

/* What is only lacking for writing can still be read: the record, above all. */
static int mount_without(struct attempt *a, int error)
{
	int r;

	if (error != -EOPNOTSUPP)
		return error;
	patience_begin(PATIENCE_STEP_SEC + a->replay_sec);
	r = sys_mount(a->device, a->target, "ext4", DATA_MOUNT_FLAGS | MS_RDONLY, EXT4_OPTIONS);
	patience_end();
	if (r < 0)
		return error;
	a->data.readonly = true;
	return 0;
}

static int mount_once(struct attempt *a)
{
	int r;

	patience_begin(PATIENCE_STEP_SEC + a->replay_sec);
	r = sys_mount(a->device, a->target, "ext4", DATA_MOUNT_FLAGS, EXT4_OPTIONS);
	patience_end();
	if (r == -EROFS || r == -EACCES)
		return mount_readonly(a);
	if (r == -ENODEV)
		return because(a, r, "the kernel has no ext4 to mount %s", a->device);
	return r < 0 ? mount_without(a, because_lacking(a, r)) : 0;
}

static int mount_ext4(struct attempt *a)
{
	int r = mount_once(a);

	a->data.wants_check |= is_damage(r);
	return r;
}

static int open_mounted(struct attempt *a)
{
	_cleanup_close_ int fd = sys_open(a->target, O_RDONLY | O_DIRECTORY, 0);
	int r = fd < 0 ? fd : sys_faccessat(fd, ".", W_OK);

	if (fd < 0 || (r < 0 && r != -EROFS)) {
		(void)sys_umount(a->target, MNT_DETACH);
		return because(a, r, "%s cannot be used: %s", a->device, strerror(-r));
	}
	/* The kernel may have turned it read-only while it mounted it. */
	if (r == -EROFS && !a->data.readonly) {
		a->data.readonly = true;
		(void)because(a, 0, "%s was made read-only by the kernel", a->device);
	}
	a->data.fd = TAKE_FD(fd);
	return 0;
}

/* Mounts the real one, or says why not. */
static int mount_partition(struct attempt *a)
{
	enum look what = LOOK_OTHER;
	int r = look(a, &what);

	if (r < 0)
		return r;
	if (what == LOOK_OTHER)
		return -EMEDIUMTYPE;
	a->data.wants_check = what == LOOK_EMPTY || what == LOOK_ERRORS;
	if (what == LOOK_EMPTY)
		return because(a, -ENODATA, "%s holds no filesystem", a->device);
	if (what == LOOK_ERRORS)
		(void)because(a, 0, "%s asks for a check", a->device);
	r = mount_ext4(a);
	if (r >= 0)
		r = open_mounted(a);
	if (r >= 0 && a->no_journal && !*a->data.why)
		r = because(a, 0, "%s has no journal", a->device);
	return r;
}

static int mount_tmpfs(struct attempt *a, struct failure *f)
{
	int r = sys_mount("tmpfs", a->target, "tmpfs", DATA_MOUNT_FLAGS, TMPFS_OPTIONS);

	if (r >= 0)
		r = a->data.fd = sys_open(a->target, O_RDONLY | O_DIRECTORY, 0);
	if (r < 0)
		return failure_set(f, REASON_MOUNT, -r, "tmpfs on %s, in place of BF_DATA",
				   a->target);
	a->data.degraded = true;
	a->data.readonly = false;
	return 0;
}

int data_mount(const struct partition *p, const char *target, struct data *ret, struct failure *f)
{
	struct attempt a = { .partition = p, .target = target, .data.fd = -1 };
	int r;

	(void)snprintf(a.device, sizeof(a.device), "/dev/%s", p->name);
	if (*p->name)
		r = mount_partition(&a);
	else
		r = because(&a, -ENOENT, "there is no partition %s", part_label(PART_DATA));
	if (r < 0)
		r = mount_tmpfs(&a, f);
	if (r < 0)
		return r;
	*ret = a.data;
	return 0;
}

/* It was mounted by data_mount(); nobody but us has something of it open. */
static int unmount(const char *target, struct data *d)
{
	close_p(&d->fd);
	return sys_umount(target, 0);
}

/* What is true now first: that it is degraded, or asks again; then what the check said. */
static void add_report(struct data *d, const char *device, const struct check_report *report)
{
	size_t used = strlen(d->why);

	d->checked = report->result == CHECK_GOOD || report->result == CHECK_REPAIRED;
	(void)snprintf(d->why + used, sizeof(d->why) - used, "%s%s: %s", used ? "; " : "", device,
		       report->text);
}

int data_check(const struct partition *p, const char *target, const char *sysroot,
	       uint32_t limit_sec, struct data *d, struct failure *f)
{
	const struct findings found = d->found;
	char device[DEVICE_SIZE];
	struct check_report report;
	int r = unmount(target, d);

	if (r < 0)
		return failure_set(f, REASON_MOUNT, -r, "unmounting %s for a check", target);
	(void)snprintf(device, sizeof(device), "/dev/%s", p->name);
	check_run(device, sysroot, limit_sec, &report);
	r = data_mount(p, target, d, f);
	if (r < 0)
		return r;
	d->found = found;
	add_report(d, device, &report);
	if (d->checked && !d->wants_check)
		check_helped(device);
	return 0;
}
