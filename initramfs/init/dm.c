// SPDX-License-Identifier: MIT
#include "initramfs/init/dm.h"

#include "boot/sys.h"

#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <sys/ioctl.h>

#define CONTROL	     "/dev/mapper/control" /* devtmpfs makes it when dm_mod comes */
#define VERSIONS_MAX 16384		   /* bytes of the list of targets: some 400 of them */
#define STATUS_ROOM  4096 /* bytes: of a text that does not fit the kernel gives nothing */

/* The kernel's structures are the format: a padding that moved would be another format. */
_Static_assert(sizeof(struct dm_ioctl) == 312, "struct dm_ioctl");
_Static_assert(offsetof(struct dm_ioctl, name) == 48, "struct dm_ioctl.name");
_Static_assert(offsetof(struct dm_ioctl, uuid) == 176, "struct dm_ioctl.uuid");
_Static_assert(sizeof(struct dm_target_spec) == 40, "struct dm_target_spec");
_Static_assert(sizeof(struct dm_target_versions) == 16, "struct dm_target_versions");

int dm_open(void)
{
	return sys_open(CONTROL, O_RDWR, 0);
}

/*
 * A new request with room for @payload bytes behind the header. The kernel writes
 * into the header, so each call gets its own; a NUL always ends the payload.
 */
static int new_request(const char *name, size_t payload, struct dm_ioctl **ret)
{
	struct dm_ioctl *io;

	if (strlen(name) >= sizeof(io->name))
		return -ENAMETOOLONG;
	io = calloc(1, sizeof(*io) + payload + 1);
	if (!io)
		return -ENOMEM;
	/* 4.0.0: all that is used here was there from the start; newer kernels take it. */
	io->version[0] = DM_VERSION_MAJOR;
	io->data_size = (uint32_t)(sizeof(*io) + payload);
	io->data_start = sizeof(*io);
	strcpy(io->name, name);
	*ret = io;
	return 0;
}

/* A command without payload. */
static int simple(int control, unsigned long command, const char *name, uint32_t flags)
{
	_cleanup_free_ struct dm_ioctl *io = NULL;
	int r = new_request(name, 0, &io);

	if (r < 0)
		return r;
	io->flags = flags;
	return sys_dm_ioctl(control, command, io);
}

static void *payload_of(struct dm_ioctl *io)
{
	return (char *)io + sizeof(*io);
}

static int find_version(const char *list, size_t len, const char *target, uint32_t ret[static 3])
{
	const struct dm_target_versions *v;

	for (size_t at = 0; at + sizeof(*v) < len; at += v->next) {
		v = (const void *)(list + at);
		if (streq(v->name, target)) {
			memcpy(ret, v->version, sizeof(v->version));
			return 0;
		}
		/* 0 ends the list; the rest would read in the middle of an entry. */
		if (v->next < sizeof(*v) || v->next % 8)
			break;
	}
	return -ENOENT;
}

int dm_target_version(int control, const char *target, uint32_t ret[static 3])
{
	_cleanup_free_ struct dm_ioctl *io = NULL;
	int r = new_request("", VERSIONS_MAX, &io);

	if (r >= 0)
		r = sys_dm_ioctl(control, DM_LIST_VERSIONS, io);
	if (r < 0)
		return r;
	if (io->flags & DM_BUFFER_FULL_FLAG)
		return -E2BIG;
	return find_version(payload_of(io), VERSIONS_MAX, target, ret);
}

int dm_create(int control, const char *name, const char *uuid, uint32_t *ret_major,
	      uint32_t *ret_minor)
{
	_cleanup_free_ struct dm_ioctl *io = NULL;
	int r = strlen(uuid) < sizeof(io->uuid) ? new_request(name, 0, &io) : -ENAMETOOLONG;

	if (r < 0)
		return r;
	strcpy(io->uuid, uuid);
	r = sys_dm_ioctl(control, DM_DEV_CREATE, io);
	if (r < 0)
		return r;
	/* The kernel's huge_encode_dev(). */
	*ret_major = (uint32_t)(io->dev >> 8 & 0xfff);
	*ret_minor = (uint32_t)((io->dev & 0xff) | (io->dev >> 12 & 0xfff00));
	return 0;
}

int dm_load(int control, const char *name, const char *target, uint64_t sectors, const char *params)
{
	_cleanup_free_ struct dm_ioctl *io = NULL;
	struct dm_target_spec *spec;
	/* The next target would start at a multiple of 8, whether there is one or not. */
	size_t len = (sizeof(*spec) + strlen(params) + 1 + 7) & ~(size_t)7;
	int r = strlen(target) < sizeof(spec->target_type) ? new_request(name, len, &io)
							   : -ENAMETOOLONG;

	if (r < 0)
		return r;
	io->flags = DM_READONLY_FLAG;
	io->target_count = 1;
	spec = payload_of(io);
	spec->length = sectors;
	spec->next = (uint32_t)len;
	strcpy(spec->target_type, target);
	strcpy((char *)(spec + 1), params);
	return sys_dm_ioctl(control, DM_TABLE_LOAD, io);
}

/*
 * Suspend without DM_SUSPEND_FLAG: also takes the live table out, when a new one is loaded.
 * The kernel would freeze a filesystem on it for that, and wait for whoever holds it; one
 * that is mounted read-only has nothing to bring in order.
 */
int dm_resume(int control, const char *name)
{
	return simple(control, DM_DEV_SUSPEND, name, DM_SKIP_LOCKFS_FLAG);
}

int dm_status(int control, const char *name, char ret[static DM_STATUS_MAX])
{
	_cleanup_free_ struct dm_ioctl *io = NULL;
	const struct dm_target_spec *spec;
	const char *text;
	int r = new_request(name, sizeof(*spec) + STATUS_ROOM, &io);

	if (r >= 0)
		r = sys_dm_ioctl(control, DM_TABLE_STATUS, io);
	if (r < 0)
		return r;
	if (io->target_count == 0)
		return -ENODATA;
	spec = payload_of(io);
	text = (const char *)(spec + 1);
	if (io->flags & DM_BUFFER_FULL_FLAG)
		return -E2BIG;
	(void)snprintf(ret, DM_STATUS_MAX, "%s", text);
	return 0;
}

int dm_remove(int control, const char *name)
{
	return simple(control, DM_DEV_REMOVE, name, 0);
}
