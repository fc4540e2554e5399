// SPDX-License-Identifier: MIT
#include "initramfs/init/root.h"

#include "boot/io.h"
#include "boot/sys.h"
#include "initramfs/init/dm.h"
#include "initramfs/init/fsimage.h"
#include "initramfs/init/uevent.h"

#include <blkid/blkid.h>
#include <fcntl.h>
#include <inttypes.h>
#include <strings.h>
#include <sys/mount.h>

#define DM_TARGET	"verity"
#define SIGNATURE_KEY	"bf-verity:root"
#define DEVICES_MAX	3    /* data, hash tree, FEC */
#define ENTRIES_MAX	1024 /* names in a disk's directory of sysfs */
#define SECTOR_BYTES	512
#define CRYPTO_LIST_MAX (1024 * 1024) /* bytes: thousands of drivers */

struct device {
	int fd;
	char name[PART_NAME_SIZE];
	char number[24]; /* "major:minor" */
	uint64_t bytes;
	uint32_t logical_bytes;
};

struct setup {
	const struct disk *disk;
	const struct cmdline *cmdline;
	struct verity_options options;
	struct device devices[DEVICES_MAX]; /* each partition once */
	size_t device_count;
	const struct device *data, *hash, *fec; /* into devices; fec NULL: none */
	struct verity_super super;
	struct verity_geometry geometry;
	struct verity_table first; /* bad blocks are I/O errors; root.table is the final one */
	int control;		   /* of device-mapper, -1 closed */
	struct root root;
};

static void setup_done(struct setup *s)
{
	for (size_t i = 0; i < s->device_count; i++)
		close_p(&s->devices[i].fd);
	close_p(&s->control);
	verity_options_done(&s->options);
	verity_table_done(&s->first);
	root_done(&s->root);
}

void root_done(struct root *root)
{
	verity_table_done(&root->table);
}

static int no_memory(struct failure *f)
{
	return failure_set(f, REASON_OUT_OF_MEMORY, ENOMEM, "verity root");
}

/* Devices */

static int open_device(struct setup *s, const struct partition *p, const struct device **ret,
		       struct failure *f)
{
	struct device *d = &s->devices[s->device_count];
	char path[sizeof("/dev/") + sizeof(p->name)];
	int r;

	if (!*p->name)
		return failure_set(f, REASON_DISK_MISSING, ENODEV, "no root partition on %s",
				   s->disk->name);
	*d = (struct device) { .fd = -1 };
	(void)snprintf(d->name, sizeof(d->name), "%s", p->name);
	(void)snprintf(d->number, sizeof(d->number), "%" PRIu32 ":%" PRIu32, p->major, p->minor);
	for (size_t i = 0; i < s->device_count; i++)
		if (streq(d->number, s->devices[i].number)) {
			*ret = &s->devices[i];
			return 0;
		}
	(void)snprintf(path, sizeof(path), "/dev/%s", p->name);
	r = d->fd = sys_open(path, O_RDONLY, 0);
	if (r >= 0) {
		s->device_count++;
		r = sys_device_size(d->fd, &d->bytes);
	}
	if (r >= 0)
		r = sys_block_size(d->fd, &d->logical_bytes);
	if (r < 0)
		return failure_set(f, REASON_DISK_MISSING, -r, "%s", path);
	*ret = d;
	return 0;
}

/* A way to name a partition, and the line of its uevent that says so. */
static const struct naming {
	const char *prefix, *key;
	int (*compare)(const char *a, const char *b, size_t len);
} namings[] = {
	{ "PARTLABEL=", "PARTNAME=", strncmp },
	{ "/dev/disk/by-partlabel/", "PARTNAME=", strncmp },
	{ "PARTUUID=", "PARTUUID=", strncasecmp }, /* since Linux 6.10 */
	{ "/dev/disk/by-partuuid/", "PARTUUID=", strncasecmp },
	{ "/dev/", "DEVNAME=", strncmp }, /* last: the others begin with it */
};

/* Whether a line of @text says that it is @value. */
static bool has_line(const char *text, const struct naming *n, const char *value)
{
	size_t key_len = strlen(n->key), value_len = strlen(value);

	for (;; text++) {
		size_t len = strcspn(text, "\n");

		if (len == key_len + value_len && strncmp(text, n->key, key_len) == 0 &&
		    n->compare(text + key_len, value, value_len) == 0)
			return true;
		text += len;
		if (!*text)
			return false;
	}
}

/* 1: @entry of the disk's directory is the partition that is named so, 0: it is not. */
static int read_partition(int disk_fd, const char *entry, const struct naming *n, const char *value,
			  struct partition *ret)
{
	_cleanup_free_ char *path = strf("%s/uevent", entry), *text = NULL;
	struct partition p = { 0 };
	struct uevent e;
	int r;

	if (!path)
		return -ENOMEM;
	r = sys_read_file(disk_fd, path, SYS_PAGE_MAX, &text, NULL);
	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR ? 0 : r;
	if (!has_line(text, n, value) || uevent_parse_file(text, &e) < 0)
		return 0;
	if (!e.devtype || !streq(e.devtype, "partition") || !e.has_number || !e.devname ||
	    strlen(e.devname) >= sizeof(p.name))
		return 0;
	strcpy(p.name, e.devname);
	p.major = e.major;
	p.minor = e.minor;
	*ret = p;
	return 1;
}

/* How many partitions of the disk are named so; the last one in *ret. */
static int search_disk(const struct disk *disk, const struct naming *n, const char *value,
		       struct partition *ret)
{
	_cleanup_free_ char *path = strf("/sys/class/block/%s", disk->name);
	_cleanup_close_ int fd = -1;
	int r, found = 0;
	char **names;
	size_t count;

	if (!path)
		return -ENOMEM;
	fd = sys_open(path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	r = sys_list(fd, ENTRIES_MAX, &names, &count);
	if (r < 0)
		return r;
	for (size_t i = 0; r >= 0 && i < count; i++) {
		r = startswith(names[i], disk->name) ? read_partition(fd, names[i], n, value, ret)
						     : 0;
		found += r > 0;
	}
	sys_names_free(names, count);
	return r < 0 ? r : found;
}

/* @option says where @spec comes from. */
static int find_partition(const struct disk *disk, const char *option, const char *spec,
			  struct partition *ret, struct failure *f)
{
	const struct naming *n = NULL;
	const char *value = NULL;
	int r;

	for (size_t i = 0; !value && i < ARRAY_SIZE(namings); i++) {
		n = &namings[i];
		value = startswith(spec, n->prefix);
	}
	if (!value || !*value)
		return failure_set(f, REASON_VERITY_OPTIONS, EINVAL,
				   "%s%s is not /dev/NAME, PARTLABEL= or PARTUUID=", option, spec);
	r = search_disk(disk, n, value, ret);
	if (r == -ENOMEM)
		return no_memory(f);
	if (r < 0)
		return failure_set(f, REASON_VERITY_OPTIONS, -r, "%s%s: cannot look at disk %s",
				   option, spec, disk->name);
	if (r != 1)
		return failure_set(f, REASON_VERITY_OPTIONS, ENODEV,
				   "%s%s: %s such partition on disk %s", option, spec,
				   r ? "more than one" : "no", disk->name);
	return 0;
}

static int open_hash_device(struct setup *s, struct failure *f)
{
	struct partition p = { 0 };
	int r;

	if (!s->cmdline->verity_hash) {
		s->hash = s->data;
		return 0;
	}
	r = find_partition(s->disk, "systemd.verity_root_hash=", s->cmdline->verity_hash, &p, f);
	return r < 0 ? r : open_device(s, &p, &s->hash, f);
}

static int open_fec_device(struct setup *s, struct failure *f)
{
	struct partition p = { 0 };
	int r;

	if (!verity_options_fec(&s->options))
		return 0;
	if (!s->options.fec_device) {
		s->fec = s->hash;
		return 0;
	}
	r = find_partition(s->disk, "fec-device=", s->options.fec_device, &p, f);
	return r < 0 ? r : open_device(s, &p, &s->fec, f);
}

/* The superblock */

static int read_image_size(const struct setup *s, uint64_t *ret, struct failure *f)
{
	uint8_t head[FSIMAGE_HEAD_BYTES];
	struct fsimage image;
	int r = io_pread_exactly(s->data->fd, head, sizeof(head), 0);

	if (r < 0)
		return failure_set(f, REASON_ROOT_FILESYSTEM, -r, "%s cannot be read",
				   s->data->name);
	r = fsimage_parse(head, &image);
	if (r == -EUCLEAN)
		return failure_set(f, REASON_ROOT_FILESYSTEM, -r,
				   "%s: the size in the filesystem's superblock is impossible",
				   s->data->name);
	if (r < 0)
		return failure_set(f, REASON_ROOT_FILESYSTEM, 0,
				   "%s: no ext4, erofs or squashfs (others need hash-offset=)",
				   s->data->name);
	if (image.bytes > s->data->bytes)
		return failure_set(f, REASON_VERITY_SUPERBLOCK, 0,
				   "%s: the %s is longer (%" PRIu64 " bytes) than the partition "
				   "(%" PRIu64 ")",
				   s->data->name, image.type, image.bytes, s->data->bytes);
	*ret = image.bytes;
	return 0;
}

/*
 * Behind a filesystem of @image_bytes: at its end rounded up to the hash block,
 * which only the superblock knows. The largest comes first: the image was padded
 * to it, so that nothing else lies there.
 */
static int find_super(struct setup *s, uint64_t image_bytes, uint8_t sb[static VERITY_SUPER_SIZE],
		      struct failure *f)
{
	uint64_t last = UINT64_MAX;

	for (uint64_t block = VERITY_BLOCK_MAX; block >= SECTOR_BYTES; block /= 2) {
		uint64_t at = (image_bytes + block - 1) & ~(block - 1);
		int r;

		if (at == last)
			continue;
		last = at;
		r = io_pread_exactly(s->hash->fd, sb, VERITY_SUPER_SIZE, at);
		if (r < 0 && r != -ENODATA)
			return failure_set(f, REASON_VERITY_SUPERBLOCK, -r,
					   "%s cannot be read at byte %" PRIu64, s->hash->name, at);
		if (r == 0 && verity_super_magic(sb)) {
			s->geometry.hash_offset_bytes = at;
			return 0;
		}
	}
	return failure_set(f, REASON_VERITY_SUPERBLOCK, 0,
			   "%s: no verity superblock behind the filesystem's %" PRIu64 " bytes",
			   s->hash->name, image_bytes);
}

static int read_super(struct setup *s, struct failure *f)
{
	uint8_t sb[VERITY_SUPER_SIZE];
	uint64_t at = 0;
	int r;

	if (!s->options.has_hash_offset && s->hash == s->data) {
		r = read_image_size(s, &at, f);
		if (r >= 0)
			r = find_super(s, at, sb, f);
		if (r < 0)
			return r;
	} else {
		at = s->options.has_hash_offset ? s->options.hash_offset_bytes : 0;
		r = io_pread_exactly(s->hash->fd, sb, sizeof(sb), at);
		if (r < 0)
			return failure_set(f, REASON_VERITY_SUPERBLOCK, -r,
					   "%s cannot be read at byte %" PRIu64, s->hash->name, at);
		s->geometry.hash_offset_bytes = at;
	}
	r = verity_super_parse(sb, &s->super, f);
	return r < 0 ? r : verity_options_match(&s->options, &s->super, f);
}

/* The tables */

static int make_tables(struct setup *s, struct failure *f)
{
	struct verity_geometry *g = &s->geometry;
	int r;

	g->roothash = s->cmdline->roothash;
	g->data_device_bytes = s->data->bytes;
	g->hash_device_bytes = s->hash->bytes;
	g->data_logical_bytes = s->data->logical_bytes;
	g->hash_logical_bytes = s->hash->logical_bytes;
	g->same_device = s->data == s->hash;
	strcpy(g->data_device, s->data->number);
	strcpy(g->hash_device, s->hash->number);
	if (s->fec) {
		g->fec_device_bytes = s->fec->bytes;
		strcpy(g->fec_device, s->fec->number);
	}
	if (s->options.signature)
		g->signature_key = SIGNATURE_KEY;
	g->no_restart = true;
	r = verity_table_make(&s->super, &s->options, g, &s->first, f);
	if (r < 0)
		return r;
	g->no_restart = false;
	return verity_table_make(&s->super, &s->options, g, &s->root.table, f);
}

static int read_target_version(struct setup *s, struct failure *f)
{
	uint32_t v[3];
	int r = s->control = dm_open();

	if (r < 0)
		return failure_set(f, REASON_VERITY_SETUP, -r, "the kernel has no device-mapper");
	r = dm_target_version(s->control, DM_TARGET, v);
	if (r == -ENOENT)
		return failure_set(f, REASON_VERITY_SETUP, -r, "the kernel has no dm-verity");
	if (r < 0)
		return failure_set(f, REASON_VERITY_SETUP, -r, "versions of device-mapper targets");
	s->geometry.has_restart_on_error = v[0] > 1 || (v[0] == 1 && v[1] >= 10);
	return 0;
}

static int prepare(struct setup *s, const struct partition *p, struct failure *f)
{
	const struct cmdline *c = s->cmdline;
	int r = verity_options_parse(c->verity_options ? c->verity_options : "", &s->options, f);

	if (r < 0)
		return r;
	if (!c->roothash)
		return failure_set(f, REASON_VERITY_ROOTHASH, 0,
				   "no roothash= on the command line");
	r = open_device(s, p, &s->data, f);
	if (r >= 0)
		r = open_hash_device(s, f);
	if (r >= 0)
		r = read_super(s, f);
	if (r >= 0)
		r = open_fec_device(s, f);
	if (r >= 0)
		r = read_target_version(s, f);
	return r < 0 ? r : make_tables(s, f);
}

/* The device */

static int add_signature(const struct setup *s, struct failure *f)
{
	_cleanup_free_ char *data = NULL;
	const char *path = s->options.signature;
	size_t len;
	int r;

	if (!path)
		return 0;
	r = sys_read_file(AT_FDCWD, path, ROOT_SIGNATURE_MAX, &data, &len);
	if (r >= 0)
		r = sys_add_key(SIGNATURE_KEY, data, len);
	if (r < 0)
		return failure_set(f, REASON_VERITY_SIGNATURE, -r, "%s", path);
	return 0;
}

/* What the kernel means with an errno that says something else. */
static int load_failed(const struct setup *s, int error, struct failure *f)
{
	switch (error) {
	case ENOKEY: /* also: signatures are required, and there is none */
	case EKEYREJECTED:
	case EKEYEXPIRED:
	case EKEYREVOKED:
	case EBADMSG:
	case ENOPKG:
		return failure_set(
			f, REASON_VERITY_SIGNATURE, error,
			s->options.signature
				? "the kernel does not trust %s"
				: "the kernel wants a signed root hash (root-hash-signature=)",
			s->options.signature);
	case ENOENT:
		return failure_set(f, REASON_VERITY_SETUP, error, "the kernel has no %s",
				   s->super.algorithm);
	case EBUSY:
		return failure_set(f, REASON_VERITY_SETUP, error, "%s is in use", s->data->name);
	default:
		/* Nearly always EINVAL; the sentence that explains it is only in the kernel's log.
		 */
		return failure_set(f, REASON_VERITY_SETUP, error,
				   "verity table refused, see the kernel log: %s", s->first.params);
	}
}

static int make_device(struct setup *s, struct failure *f)
{
	struct root *root = &s->root;
	char uuid[sizeof("CRYPT-VERITY--" ROOT_DM_NAME) + 32], *u = uuid;
	int r;

	/* As libcryptsetup names it, so that udev's rules and lsblk know what it is. */
	u = stpcpy(u, "CRYPT-VERITY-");
	for (const char *c = s->super.uuid; *c; c++)
		if (*c != '-')
			*u++ = *c;
	strcpy(u, "-" ROOT_DM_NAME);
	r = dm_create(s->control, ROOT_DM_NAME, uuid, &root->dm_major, &root->dm_minor);
	if (r < 0)
		return failure_set(f, REASON_VERITY_SETUP, -r, "mapped device " ROOT_DM_NAME);
	(void)snprintf(root->dm_name, sizeof(root->dm_name), "dm-%" PRIu32, root->dm_minor);
	r = dm_load(s->control, ROOT_DM_NAME, DM_TARGET, s->first.sectors, s->first.params);
	if (r < 0)
		return load_failed(s, -r, f);
	r = dm_resume(s->control, ROOT_DM_NAME);
	if (r < 0)
		return failure_set(f, REASON_VERITY_SETUP, -r, "start of " ROOT_DM_NAME);
	return 0;
}

static char *dm_path(const struct root *root)
{
	return strf("/dev/%s", root->dm_name);
}

/* Through the verity target, not from the page cache. */
static int read_block(const struct root *root, uint64_t block, struct failure *f)
{
	_cleanup_free_ char *path = dm_path(root);
	_Alignas(VERITY_BLOCK_MAX) uint8_t buf[VERITY_BLOCK_MAX];
	_cleanup_close_ int fd = -1;
	int r;

	if (!path)
		return no_memory(f);
	fd = sys_open(path, O_RDONLY | O_DIRECT, 0);
	if (fd < 0)
		return failure_set(f, REASON_VERITY_SETUP, -fd, "%s", path);
	r = io_pread_exactly(fd, buf, root->block_bytes, block * root->block_bytes);
	if (r < 0)
		/* Not what roothash= says, or a disk that cannot read: the status tells. */
		return failure_set(f, REASON_ROOT_CORRUPT, -r,
				   "block %" PRIu64 " of the root cannot be read", block);
	return 0;
}

/* The kernel remembers a bad block: the status becomes 'C' and stays it while the table is live. */
static int check_status(int control, char *ret, struct failure *f)
{
	char status[DM_STATUS_MAX];
	int r = dm_status(control, ROOT_DM_NAME, status);

	if (r < 0)
		return failure_set(f, REASON_VERITY_SETUP, -r, "status of " ROOT_DM_NAME);
	switch (verity_status_parse(status)) {
	case VERITY_GOOD:
		*ret = *status;
		return 0;
	case VERITY_CORRUPT:
		return failure_set(f, REASON_VERITY_CORRUPT, 0,
				   "the root has a bad block (verity status %s)", status);
	case VERITY_UNKNOWN:
		break;
	}
	return failure_set(f, REASON_VERITY_SETUP, 0,
			   "verity status \"%s\" begins with neither V nor C", status);
}

/* To be told: with the wrong one each read costs many times as much, and nothing fails. */
static void find_driver(struct setup *s)
{
	_cleanup_free_ char *crypto = NULL;

	strcpy(s->root.algorithm, s->super.algorithm);
	if (sys_read_file(AT_FDCWD, "/proc/crypto", CRYPTO_LIST_MAX, &crypto, NULL) == 0)
		verity_hash_driver(crypto, s->root.algorithm, s->root.driver);
}

static int check_device(struct setup *s, struct failure *f)
{
	uint64_t last = s->super.data_blocks - 1;
	int r;

	s->root.block_bytes = s->super.data_block_bytes;
	r = read_block(&s->root, 0, f);
	if (r >= 0 && last > 0)
		r = read_block(&s->root, last, f);
	return r < 0 ? r : check_status(s->control, &s->root.status, f);
}

static int lock_partitions(const struct setup *s, struct failure *f)
{
	for (size_t i = 0; i < s->device_count; i++) {
		int r = sys_set_readonly(s->devices[i].fd);

		if (r < 0)
			return failure_set(f, REASON_VERITY_SETUP, -r, "making %s read-only",
					   s->devices[i].name);
	}
	return 0;
}

/* The filesystem */

/* What libblkid says of @probe: 0, -ENODATA nothing, -EMLINK several filesystems, -EIO. */
static int do_probe(blkid_probe probe, int fd, uint64_t bytes)
{
	if (blkid_probe_set_device(probe, fd, 0, (blkid_loff_t)bytes) < 0 ||
	    blkid_probe_enable_superblocks(probe, 1) < 0 ||
	    blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE) < 0 ||
	    blkid_probe_filter_superblocks_usage(probe, BLKID_FLTR_ONLYIN, BLKID_USAGE_FILESYSTEM) <
		    0)
		return -EIO;
	switch (blkid_do_safeprobe(probe)) {
	case 0:
		return 0;
	case 1:
		return -ENODATA;
	case -2:
		return -EMLINK;
	default:
		return -EIO;
	}
}

/* The type of the verified content; libblkid reads by itself, not through sys.h. */
static int probe_type(int fd, uint64_t bytes, char *ret, size_t size)
{
	blkid_probe probe = blkid_new_probe();
	const char *type = NULL;
	int r;

	if (!probe)
		return -ENOMEM;
	r = do_probe(probe, fd, bytes);
	if (r == 0 &&
	    (blkid_probe_lookup_value(probe, "TYPE", &type, NULL) < 0 || strlen(type) >= size))
		r = -ENODATA;
	if (r == 0)
		strcpy(ret, type);
	blkid_free_probe(probe);
	return r;
}

static const char *probe_hint(int r)
{
	switch (r) {
	case -ENODATA:
		return "no filesystem is known in the verified image";
	case -EMLINK:
		return "the verified image looks like several filesystems";
	default:
		return "the verified image cannot be read";
	}
}

static int find_type(struct setup *s, struct failure *f)
{
	_cleanup_free_ char *path = dm_path(&s->root);
	_cleanup_close_ int fd = -1;
	int r;

	if (!path)
		return no_memory(f);
	fd = sys_open(path, O_RDONLY, 0);
	if (fd < 0)
		return failure_set(f, REASON_VERITY_SETUP, -fd, "%s", path);
	r = probe_type(fd, s->super.data_blocks * s->super.data_block_bytes, s->root.fstype,
		       sizeof(s->root.fstype));
	if (r == -ENOMEM)
		return no_memory(f);
	if (r < 0)
		return failure_set(f, REASON_ROOT_FILESYSTEM, r == -EIO ? EIO : 0, "%s: %s",
				   s->data->name, probe_hint(r));
	return 0;
}

static const char *mount_hint(int error)
{
	switch (error) {
	case ENODEV:
		return "the kernel has no such filesystem";
	case EROFS:
		return "its journal was not closed: the image must be unmounted cleanly when it is "
		       "made";
	case EINVAL:
		return "not known to the kernel, damaged, or with blocks smaller than verity's";
	default:
		return "see the kernel log";
	}
}

static int mount_root(const struct setup *s, const char *target, struct failure *f)
{
	_cleanup_free_ char *path = dm_path(&s->root);
	int r;

	if (!path)
		return no_memory(f);
	r = sys_mount(path, target, s->root.fstype, MS_RDONLY, NULL);
	if (r < 0)
		return failure_set(f, REASON_ROOT_MOUNT, -r, "%s (%s) on %s: %s", s->data->name,
				   s->root.fstype, target, mount_hint(-r));
	return 0;
}

/* The story */

/*
 * The verdict of verity goes before whatever the damage made fail later. Only a status that
 * says so is a verdict: for any other, the failure keeps the reason it has.
 */
static void blame(int control, struct failure *f)
{
	char status[DM_STATUS_MAX];
	size_t used = strlen(f->text);

	if (dm_status(control, ROOT_DM_NAME, status) < 0 ||
	    verity_status_parse(status) != VERITY_CORRUPT || f->reason == REASON_VERITY_CORRUPT)
		return;
	f->reason = REASON_VERITY_CORRUPT;
	(void)snprintf(f->text + used, sizeof(f->text) - used, "%sverity status %s",
		       used ? "; " : "", status);
}

static int bring_up(struct setup *s, const char *target, struct failure *f)
{
	int r = add_signature(s, f);

	if (r >= 0)
		r = make_device(s, f);
	if (r >= 0)
		r = check_device(s, f);
	if (r >= 0)
		find_driver(s);
	if (r >= 0)
		r = lock_partitions(s, f);
	if (r >= 0)
		r = find_type(s, f);
	if (r >= 0)
		r = mount_root(s, target, f);
	if (r < 0 && *s->root.dm_name) {
		blame(s->control, f);
		(void)dm_remove(s->control, ROOT_DM_NAME);
	}
	return r;
}

int root_mount(const struct partition *p, const struct disk *disk, const struct cmdline *c,
	       const char *target, struct root *ret, struct failure *f)
{
	_cleanup_(setup_done) struct setup s = { .disk = disk, .cmdline = c, .control = -1 };
	int r = prepare(&s, p, f);

	if (r >= 0)
		r = bring_up(&s, target, f);
	if (r < 0)
		return r;
	s.root.fec = !!s.fec;
	s.root.signature = !!s.options.signature;
	strcpy(s.root.uuid, s.super.uuid);
	*ret = s.root;
	s.root = (struct root) { 0 };
	return 0;
}

int root_seal(struct root *root, struct failure *f)
{
	_cleanup_close_ int control = dm_open();
	int r = control;

	if (r < 0)
		return failure_set(f, REASON_VERITY_SETUP, -r, "the kernel has no device-mapper");
	/* The new table starts with a clean status: ask the old one while it is there. */
	r = check_status(control, &root->status, f);
	if (r < 0)
		return r;
	/* Taking the live table out waits for RCU, 38 ms idle: bf-init has it expedited, 10 ms. */
	r = dm_load(control, ROOT_DM_NAME, DM_TARGET, root->table.sectors, root->table.params);
	if (r >= 0)
		r = dm_resume(control, ROOT_DM_NAME);
	if (r < 0)
		return failure_set(f, REASON_VERITY_SETUP, -r, "verity table with restart");
	r = read_block(root, 0, f);
	if (r >= 0)
		r = check_status(control, &root->status, f);
	root->sealed = r >= 0;
	return r;
}

void root_blame(const struct root *root, struct failure *f)
{
	_cleanup_close_ int control = *root->dm_name ? dm_open() : -1;

	if (control >= 0)
		blame(control, f);
}
