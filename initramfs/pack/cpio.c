// SPDX-License-Identifier: MIT
#include "initramfs/pack/cpio.h"

#include "boot/io.h"

#include <inttypes.h>
#include <limits.h>

#define HEADER_SIZE 110 /* 6 of magic, 13 fields of 8 hex digits */
#define ALIGNMENT   4	/* of names (with their header) and of contents */
#define BLOCK	    512 /* GNU cpio reads whole blocks */
#define TRAILER	    "TRAILER!!!"

static void entry_free(struct image_entry *e)
{
	free(e->path);
	free(e->note);
	blob_free(&e->data);
}

void image_free(struct image *img)
{
	for (size_t i = 0; i < img->count; i++)
		entry_free(&img->entries[i]);
	free(img->entries);
	*img = (struct image) { 0 };
}

int image_path(const char *path, char **ret)
{
	_cleanup_free_ char *out = malloc(strlen(path) + 1);
	size_t n = 0;

	if (!out)
		return -ENOMEM;
	while (*path) {
		size_t len = strcspn(path, "/");

		if ((len == 1 && path[0] == '.') || (len == 2 && path[0] == '.' && path[1] == '.'))
			return -EINVAL;
		if (len && n)
			out[n++] = '/';
		for (size_t i = 0; i < len; i++) {
			if (text_is_control(path[i]))
				return -EINVAL;
			out[n++] = path[i];
		}
		path += len + (path[len] == '/');
	}
	if (!n)
		return -EINVAL;
	if (n >= PATH_MAX) /* the kernel skips such names without a word */
		return -ENAMETOOLONG;
	out[n] = '\0';
	*ret = TAKE_PTR(out);
	return 0;
}

static struct image_entry *find(const struct image *img, const char *path, size_t len)
{
	for (size_t i = 0; i < img->count; i++)
		if (strlen(img->entries[i].path) == len &&
		    memcmp(img->entries[i].path, path, len) == 0)
			return &img->entries[i];
	return NULL;
}

const struct image_entry *image_find(const struct image *img, const char *path)
{
	path += strspn(path, "/");
	return find(img, path, strlen(path));
}

/* Takes @e over, whatever comes of it. */
static int append(struct image *img, struct image_entry *e)
{
	if (img->count == img->room) {
		size_t room = img->room ? img->room * 2 : 64;
		struct image_entry *p = reallocarray(img->entries, room, sizeof(*p));

		if (!p) {
			entry_free(e);
			return -ENOMEM;
		}
		img->entries = p;
		img->room = room;
	}
	img->entries[img->count++] = *e;
	return 0;
}

static int add_parents(struct image *img, const char *path)
{
	for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		size_t len = (size_t)(slash - path);
		struct image_entry e = { .mode = S_IFDIR | 0755 };
		const struct image_entry *there = find(img, path, len);
		int r;

		if (there && !S_ISDIR(there->mode))
			return -ENOTDIR;
		if (there)
			continue;
		e.path = strndup(path, len);
		if (!e.path)
			return -ENOMEM;
		r = append(img, &e);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool same(const struct image_entry *a, const struct image_entry *b)
{
	return a->mode == b->mode && a->major == b->major && a->minor == b->minor &&
	       a->data.size == b->data.size &&
	       (!a->data.size || memcmp(a->data.data, b->data.data, a->data.size) == 0);
}

/* Completes @e with path and note; takes it over, whatever comes of it. */
static int add(struct image *img, const char *path, struct image_entry *e, const char *note)
{
	const struct image_entry *there;
	int r = image_path(path, &e->path);

	if (r == 0 && note) {
		e->note = strdup(note);
		r = e->note ? 0 : -ENOMEM;
	}
	if (r == 0)
		r = add_parents(img, e->path);
	if (r < 0) {
		entry_free(e);
		return r;
	}
	there = image_find(img, e->path);
	if (!there)
		return append(img, e);
	r = same(there, e) ? 0 : -EEXIST;
	entry_free(e);
	return r;
}

int image_add_dir(struct image *img, const char *path, mode_t permissions)
{
	struct image_entry e = { .mode = S_IFDIR | permissions };

	return add(img, path, &e, NULL);
}

int image_add_file(struct image *img, const char *path, struct blob *data, const char *note)
{
	/* Never more than this: no setuid, no setgid, nothing others may write. */
	struct image_entry e = { .mode = S_IFREG | (data->mode & 0111 ? 0755 : 0644),
				 .data = blob_take(data) };

	return add(img, path, &e, note);
}

static int blob_of_text(const char *text, struct blob *ret)
{
	ret->size = strlen(text);
	ret->data = (uint8_t *)strdup(text);
	return ret->data ? 0 : -ENOMEM;
}

int image_add_text(struct image *img, const char *path, const char *text, const char *note)
{
	struct blob b = { 0 };
	int r = blob_of_text(text, &b);

	return r < 0 ? r : image_add_file(img, path, &b, note);
}

int image_add_link(struct image *img, const char *path, const char *target, const char *note)
{
	struct image_entry e = { .mode = S_IFLNK | 0777 };
	int r = blob_of_text(target, &e.data);

	return r < 0 ? r : add(img, path, &e, note);
}

int image_add_char(struct image *img, const char *path, mode_t permissions, uint32_t major,
		   uint32_t minor)
{
	struct image_entry e = { .mode = S_IFCHR | permissions, .major = major, .minor = minor };

	return add(img, path, &e, NULL);
}

static int by_path(const void *a, const void *b)
{
	const struct image_entry *x = a, *y = b;

	return strcmp(x->path, y->path);
}

static size_t aligned(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

static size_t packed_size(const char *name, size_t data_size)
{
	return aligned(HEADER_SIZE + strlen(name) + 1, ALIGNMENT) + aligned(data_size, ALIGNMENT);
}

/* A directory has its own name, its ".", and the ".." of each directory in it. */
static uint32_t links_of(const struct image *img, const struct image_entry *dir)
{
	size_t len = strlen(dir->path);
	uint32_t n = 2;

	if (!S_ISDIR(dir->mode))
		return 1;
	for (size_t i = 0; i < img->count; i++) {
		const char *p = img->entries[i].path;

		if (S_ISDIR(img->entries[i].mode) && strncmp(p, dir->path, len) == 0 &&
		    p[len] == '/' && !strchr(p + len + 1, '/'))
			n++;
	}
	return n;
}

/* The numbers of one header, in the order of the format. */
struct header {
	uint32_t ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor,
		rdevminor, namesize, check;
};

static uint8_t *put(uint8_t *at, const struct header *h, const char *name, const struct blob *data)
{
	char text[HEADER_SIZE + 1];
	size_t name_size = strlen(name) + 1;

	(void)snprintf(text, sizeof(text),
		       "070701%08" PRIX32 "%08" PRIX32 "%08" PRIX32 "%08" PRIX32 "%08" PRIX32
		       "%08" PRIX32 "%08" PRIX32 "%08" PRIX32 "%08" PRIX32 "%08" PRIX32 "%08" PRIX32
		       "%08" PRIX32 "%08" PRIX32,
		       h->ino, h->mode, h->uid, h->gid, h->nlink, h->mtime, h->filesize,
		       h->devmajor, h->devminor, h->rdevmajor, h->rdevminor, h->namesize, h->check);
	memcpy(at, text, HEADER_SIZE);
	memcpy(at + HEADER_SIZE, name, name_size);
	if (data->size)
		memcpy(at + aligned(HEADER_SIZE + name_size, ALIGNMENT), data->data, data->size);
	return at + packed_size(name, data->size);
}

static uint8_t *put_entry(uint8_t *at, const struct image *img, size_t i, uint32_t mtime)
{
	const struct image_entry *e = &img->entries[i];
	struct header h = {
		.ino = (uint32_t)i + 1,
		.mode = e->mode,
		.nlink = links_of(img, e),
		.mtime = mtime,
		.filesize = (uint32_t)e->data.size,
		.rdevmajor = e->major,
		.rdevminor = e->minor,
		.namesize = (uint32_t)strlen(e->path) + 1,
	};

	return put(at, &h, e->path, &e->data);
}

int image_pack(struct image *img, uint32_t mtime, struct blob *ret)
{
	const struct header end = { .nlink = 1, .namesize = sizeof(TRAILER) };
	const struct blob nothing = { 0 };
	struct blob out = { .size = packed_size(TRAILER, 0) };
	uint8_t *at;

	qsort(img->entries, img->count, sizeof(*img->entries), by_path);
	for (size_t i = 0; i < img->count; i++) {
		out.size += packed_size(img->entries[i].path, img->entries[i].data.size);
		if (out.size > IMAGE_MAX)
			return -EFBIG;
	}
	out.size = aligned(out.size, BLOCK);
	out.data = calloc(out.size + 1, 1);
	if (!out.data)
		return -ENOMEM;
	at = out.data;
	for (size_t i = 0; i < img->count; i++)
		at = put_entry(at, img, i, mtime);
	(void)put(at, &end, TRAILER, &nothing);
	*ret = out;
	return 0;
}
