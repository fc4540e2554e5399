// SPDX-License-Identifier: MIT
/*
 * bf-mkinitramfs: packs bf-init, its libraries and its kernel modules from a
 * target's root into an initramfs, bit for bit the same each time.
 */
#include "boot/base.h"
#include "boot/io.h"
#include "boot/product.h"
#include "initramfs/pack/closure.h"
#include "initramfs/pack/codec.h"
#include "initramfs/pack/cpio.h"
#include "initramfs/pack/kmods.h"
#include "initramfs/pack/output.h"
#include "initramfs/pack/problem.h"

#include <dirent.h>
#include <fnmatch.h>
#include <getopt.h>

#define PROGRAM	     "bf-mkinitramfs"
#define INIT_IN_ROOT "/usr/lib/betterframe/bf-init"
#define RESCUE_MARK  "/etc/bf/rescue"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char usage_text[] =
	"Usage: " PROGRAM " --root DIR --kernel-version V --output FILE [OPTION]…\n"
	"Packs bf-init with the libraries and kernel modules it needs into an initramfs.\n"
	"Nothing of the root is run, so it may be of any architecture.\n"
	"\n"
	"  --root DIR              the target's root\n"
	"  --kernel-version V      a kernel of that root, as in DIR/lib/modules/V\n"
	"  --output FILE           the image; replaced only when all went well\n"
	"  --init FILE             bf-init itself, instead of\n"
	"                          DIR" INIT_IN_ROOT "\n"
	"  --module 'NAME [P=V…]'  one more kernel module, with parameters\n"
	"  --optional-module NAME  the same, but it may be absent from the root, and\n"
	"                          its hardware from the machine\n"
	"  --modules-from FILE     such modules, one a line; -NAME is optional\n"
	"  --with GROUP[,GROUP…]   modules of a group: usb, erofs, squashfs\n"
	"  --dtb FILE              a device tree of the target: the drivers that its disk waits\n"
	"                          for are packed. Default: those of the Raspberry Pi 5 in\n"
	"                          DIR/usr/lib/linux-image-V/broadcom, if it is there\n"
	"  --file SRC=DST          file SRC of this machine as DST in the image\n"
	"  --strip-signatures      modules without their signatures: each costs milliseconds.\n"
	"                          Taints the kernel (E); fails where signatures are enforced\n"
	"  --rescue                busybox and a shell. Never ship such an image\n"
	"  --compress METHOD       zstd (default), gzip, none\n"
	"  -v, --verbose           tell what was packed, and why\n"
	"  --help, --version\n"
	"\n"
	"SOURCE_DATE_EPOCH in the environment is the time of all files (else 0).\n";

struct options {
	const char *root, *release, *output, *init;
	enum codec codec;
	unsigned groups;
	bool rescue, strip, verbose;
	struct kmod_wants wants; /* from the command line */
	struct kmod_dtbs dtbs;
	char **files; /* SRC=DST, pointing into argv */
	size_t file_count;
	uint32_t mtime;
};

static void options_done(struct options *o)
{
	kmod_wants_free(&o->wants);
	kmod_dtbs_free(&o->dtbs);
	free(o->files);
}

/* ---- command line --------------------------------------------------------- */

/* Modules listed in a file of the builder: "[-]NAME [PARAMETERS]", # starts a comment. */
static int read_wants(const char *path, struct kmod_wants *wants, struct problem *p)
{
	_cleanup_blob_ struct blob text = { 0 };
	_cleanup_free_ char *why = strf("asked for in %s", path);
	unsigned line_number = 0;
	char *next;
	int r = host_read(path, &text);

	if (r < 0)
		return problem_errno(p, r, "%s", path);
	if (!why)
		return problem_errno(p, -ENOMEM, "%s", path);
	next = (char *)text.data;
	while (next) {
		char *line = strsep(&next, "\n");
		size_t len;

		line_number++;
		line[strcspn(line, "#\r")] = '\0';
		line += strspn(line, " \t");
		for (len = strlen(line); len && strchr(" \t", line[len - 1]); len--)
			line[len - 1] = '\0';
		r = *line ? kmod_wants_add(wants, line, false, true, why) : 0;
		if (r == -EINVAL)
			return problem_say(p, "%s:%u: \"%s\" is no module name", path, line_number,
					   line);
		if (r < 0)
			return problem_errno(p, r, "%s", path);
	}
	return 0;
}

static int add_want(struct options *o, const char *text, bool optional, struct problem *p)
{
	int r = kmod_wants_add(&o->wants, text, optional, false, "asked for");

	return r == -EINVAL ? problem_say(p, "\"%s\" is no module name", text)
	       : r < 0	    ? problem_errno(p, r, "%s", text)
			    : 0;
}

static int add_file_option(struct options *o, char *arg, struct problem *p)
{
	const char *equals = strrchr(arg, '=');
	char **files;

	if (!equals || equals == arg || equals[1] != '/')
		return problem_say(p, "--file %s: write it as SRC=/DST", arg);
	files = reallocarray(o->files, o->file_count + 1, sizeof(*files));
	if (!files)
		return problem_errno(p, -ENOMEM, "--file");
	o->files = files;
	files[o->file_count++] = arg;
	return 0;
}

static int add_dtb(struct kmod_dtbs *dtbs, const char *path, struct blob *blob, struct problem *p)
{
	int r = kmod_dtbs_add(dtbs, path, blob);

	return r < 0 ? problem_errno(p, r, "%s", path) : 0;
}

static int read_dtb(struct options *o, const char *path, struct problem *p)
{
	_cleanup_blob_ struct blob blob = { 0 };
	int r = host_read(path, &blob);

	return r < 0 ? problem_errno(p, r, "%s", path) : add_dtb(&o->dtbs, path, &blob, p);
}

enum {
	OPT_ROOT = 256,
	OPT_RELEASE,
	OPT_OUTPUT,
	OPT_INIT,
	OPT_MODULE,
	OPT_OPTIONAL,
	OPT_FROM,
	OPT_WITH,
	OPT_DTB,
	OPT_FILE,
	OPT_STRIP,
	OPT_RESCUE,
	OPT_COMPRESS,
	OPT_HELP,
	OPT_VERSION
};

static const struct option long_options[] = {
	{ "root", required_argument, NULL, OPT_ROOT },
	{ "kernel-version", required_argument, NULL, OPT_RELEASE },
	{ "output", required_argument, NULL, OPT_OUTPUT },
	{ "init", required_argument, NULL, OPT_INIT },
	{ "module", required_argument, NULL, OPT_MODULE },
	{ "optional-module", required_argument, NULL, OPT_OPTIONAL },
	{ "modules-from", required_argument, NULL, OPT_FROM },
	{ "with", required_argument, NULL, OPT_WITH },
	{ "dtb", required_argument, NULL, OPT_DTB },
	{ "file", required_argument, NULL, OPT_FILE },
	{ "strip-signatures", no_argument, NULL, OPT_STRIP },
	{ "rescue", no_argument, NULL, OPT_RESCUE },
	{ "compress", required_argument, NULL, OPT_COMPRESS },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ 0 },
};

static int take_option(struct options *o, int option, char *arg, struct problem *p)
{
	switch (option) {
	case OPT_ROOT:
		o->root = arg;
		return 0;
	case OPT_RELEASE:
		o->release = arg;
		return 0;
	case OPT_OUTPUT:
		o->output = arg;
		return 0;
	case OPT_INIT:
		o->init = arg;
		return 0;
	case OPT_MODULE:
		return add_want(o, arg, false, p);
	case OPT_OPTIONAL:
		return add_want(o, arg, true, p);
	case OPT_FROM:
		return read_wants(arg, &o->wants, p);
	case OPT_WITH:
		return kmod_groups_parse(arg, &o->groups) == 0
			       ? 0
			       : problem_say(p, "--with %s: the groups are usb, erofs, squashfs",
					     arg);
	case OPT_DTB:
		return read_dtb(o, arg, p);
	case OPT_FILE:
		return add_file_option(o, arg, p);
	case OPT_STRIP:
		o->strip = true;
		return 0;
	case OPT_RESCUE:
		o->rescue = true;
		return 0;
	case OPT_COMPRESS:
		return codec_parse(arg, &o->codec) == 0
			       ? 0
			       : problem_say(p, "--compress %s: one of zstd, gzip, none", arg);
	default:
		o->verbose = true;
		return 0;
	}
}

/* A release is one directory name, and one word of the module list. */
static bool is_release(const char *s)
{
	if (!*s || *s == '.')
		return false;
	for (; *s; s++)
		if (text_is_control(*s) || *s == ' ' || *s == '/')
			return false;
	return true;
}

static int check_options(struct options *o, struct problem *p)
{
	const char *epoch = getenv("SOURCE_DATE_EPOCH");

	if (!o->root || !o->release || !o->output)
		return problem_say(p, "%s is needed; see --help",
				   !o->root	 ? "--root DIR"
				   : !o->release ? "--kernel-version V"
						 : "--output FILE");
	if (!is_release(o->release))
		return problem_say(p, "--kernel-version %s: not the name of a kernel", o->release);
	if (epoch && parse_u32(epoch, 10, &o->mtime) < 0)
		return problem_say(p, "SOURCE_DATE_EPOCH=%s: not a number of seconds below 2^32",
				   epoch);
	return 0;
}

/* > 0: an exit is due, with *ret_exit. */
static int parse_options(int argc, char **argv, struct options *o, int *ret_exit, struct problem *p)
{
	int option, r;

	*ret_exit = EXIT_USAGE;
	while ((option = getopt_long(argc, argv, "v", long_options, NULL)) >= 0) {
		switch (option) {
		case OPT_HELP:
		case OPT_VERSION:
			(void)fputs(option == OPT_HELP ? usage_text : PROGRAM " " BF_VERSION "\n",
				    stdout);
			*ret_exit = fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
			return 1;
		case '?':
			return 1; /* getopt has said what */
		default:
			r = take_option(o, option, optarg, p);
			if (r < 0)
				return r;
		}
	}
	if (optind < argc)
		return problem_say(p, "%s: unexpected; see --help", argv[optind]);
	return check_options(o, p);
}

/* ---- packing -------------------------------------------------------------- */

struct packer {
	const struct options *o;
	struct tree tree;
	struct image image;
	struct closure closure;
	struct kmod_report modules;
	struct problem *problem;
};

static void packer_done(struct packer *k)
{
	tree_free(&k->tree);
	closure_free(&k->closure);
	image_free(&k->image);
	free(k->modules.skipped);
}

static int in_image(struct packer *k, int r, const char *path)
{
	if (r == -EEXIST)
		return problem_say(k->problem, "%s: wanted twice in the image, and not the same",
				   path);
	if (r == -EINVAL)
		return problem_say(k->problem, "%s: no path in an image (\"..\"?)", path);
	return r < 0 ? problem_errno(k->problem, r, "%s in the image", path) : 0;
}

static int add_skeleton(struct packer *k)
{
	static const struct {
		const char *path;
		mode_t permissions;
	} dirs[] = {
		{ "/dev", 0755 }, { "/proc", 0755 }, { "/sys", 0755 },
		{ "/run", 0755 }, { "/root", 0700 }, { "/tmp", 01777 },
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(dirs) && r == 0; i++)
		r = image_add_dir(&k->image, dirs[i].path, dirs[i].permissions);
	/* The kernel opens it for PID 1 before anybody could mount devtmpfs. */
	if (r == 0)
		r = image_add_char(&k->image, "/dev/console", 0600, 5, 1);
	return in_image(k, r, "/dev/console");
}

/* One file with all it needs. Takes *file over. */
static int add_program(struct packer *k, const char *path, struct blob *file, const char *note)
{
	int r = closure_add(&k->closure, path, file, k->problem);

	if (r < 0) {
		blob_free(file);
		return r;
	}
	return in_image(k, image_add_file(&k->image, path, file, note), path);
}

static int add_init(struct packer *k)
{
	_cleanup_blob_ struct blob file = { 0 };
	const char *init = k->o->init;
	int r = init ? host_read(init, &file) : tree_read(&k->tree, INIT_IN_ROOT, &file);

	if (r == -ENOENT && !init)
		return problem_say(k->problem,
				   "%s" INIT_IN_ROOT
				   " is missing; install bf-init there, or name it "
				   "with --init FILE",
				   k->tree.path);
	if (r < 0)
		return problem_errno(k->problem, r, "%s%s", init ? "" : k->tree.path,
				     init ? init : INIT_IN_ROOT);
	if (file.size < 4 || memcmp(file.data, "\177ELF", 4) != 0)
		return problem_say(k->problem, "%s%s: not a program (no ELF file)",
				   init ? "" : k->tree.path, init ? init : INIT_IN_ROOT);
	file.mode |= 0111;
	return add_program(k, "/init", &file, "PID 1");
}

/* A program of the root, from the first of @places (NULL-ended) that has it. */
static int add_from_root(struct packer *k, const char *const *places, const char *package,
			 const char *path, const char *note)
{
	for (size_t i = 0; places[i]; i++) {
		_cleanup_blob_ struct blob file = { 0 };
		int r = tree_read(&k->tree, places[i], &file);

		if (r == -ENOENT || r == -ENOTDIR)
			continue;
		if (r < 0)
			return problem_errno(k->problem, r, "%s%s", k->tree.path, places[i]);
		file.mode |= 0111;
		return add_program(k, path, &file, note);
	}
	return problem_say(k->problem, "%s%s is missing; install the package %s there",
			   k->tree.path, places[0], package);
}

static int add_rescue(struct packer *k)
{
	static const char *const places[] = { "/bin/busybox", "/usr/bin/busybox", NULL };
	int r = add_from_root(k, places, "busybox-static (or busybox)", "/bin/busybox",
			      "rescue shell");

	if (r == 0)
		r = in_image(k, image_add_link(&k->image, "/bin/sh", "busybox", "rescue shell"),
			     "/bin/sh");
	if (r == 0)
		r = in_image(k,
			     image_add_text(&k->image, RESCUE_MARK,
					    "Rescue image with a shell. Not for production.\n",
					    "makes bf-init offer the shell"),
			     RESCUE_MARK);
	return r;
}

/* A production image has no shell and nothing that would need one. */
static int refuse_shell(struct packer *k, const char *src, const char *dst, const struct blob *file)
{
	static const char *const shells[] = { "ash",  "bash", "busybox", "dash", "ksh",
					      "mksh", "sh",   "toybox",	 "zsh" };
	const char *name = strrchr(dst, '/') + 1;

	for (size_t i = 0; i < ARRAY_SIZE(shells); i++)
		if (streq(name, shells[i]))
			return problem_say(k->problem, "--file %s=%s: a shell; only with --rescue",
					   src, dst);
	if (file->size >= 2 && memcmp(file->data, "#!", 2) == 0)
		return problem_say(k->problem,
				   "--file %s=%s: a script; nothing could run it without --rescue",
				   src, dst);
	return 0;
}

static int add_file(struct packer *k, const char *arg)
{
	const char *dst = strrchr(arg, '=') + 1;
	_cleanup_free_ char *src = strndup(arg, (size_t)(dst - arg) - 1);
	_cleanup_free_ char *note = NULL;
	_cleanup_blob_ struct blob file = { 0 };
	int r = src ? host_read(src, &file) : -ENOMEM;

	if (r < 0)
		return problem_errno(k->problem, r, "%s", src ? src : arg);
	if (!k->o->rescue) {
		r = refuse_shell(k, src, dst, &file);
		if (r < 0)
			return r;
	}
	note = strf("--file %s", src);
	if (!note)
		return problem_errno(k->problem, -ENOMEM, "%s", src);
	return add_program(k, dst, &file, note);
}

static int is_pi5_dtb(const struct dirent *d)
{
	return fnmatch("bcm2712*.dtb", d->d_name, 0) == 0;
}

/* Debian's kernel packages bring the device trees of every board. */
static int read_root_dtbs(struct packer *k, struct kmod_dtbs *ret)
{
	_cleanup_free_ char *dir = strf("usr/lib/linux-image-%s/broadcom", k->o->release);
	_cleanup_close_ int fd = -1;
	struct dirent **names = NULL;
	int n, r = dir ? 0 : problem_errno(k->problem, -ENOMEM, "device trees");

	if (r < 0)
		return r;
	fd = tree_open_dir(&k->tree, dir);
	n = fd < 0 ? -1 : scandirat(fd, ".", &names, is_pi5_dtb, alphasort);
	for (int i = 0; i < n; i++) {
		_cleanup_blob_ struct blob blob = { 0 };
		_cleanup_free_ char *path = strf("%s/%s", dir, names[i]->d_name);

		free(names[i]);
		if (r == 0)
			r = path ? tree_read(&k->tree, path, &blob) : -ENOMEM;
		if (r < 0 && !k->problem->text)
			(void)problem_errno(k->problem, r, "%s/%s", k->tree.path,
					    path ? path : dir);
		if (r == 0)
			r = add_dtb(ret, path, &blob, k->problem);
	}
	free(names);
	return r;
}

static int add_modules(struct packer *k)
{
	_cleanup_wants_ struct kmod_wants wants = { 0 };
	_cleanup_(kmod_dtbs_free) struct kmod_dtbs found = { 0 };
	const struct kmod_dtbs *dtbs = k->o->dtbs.count ? &k->o->dtbs : &found;
	int r = kmod_wants_defaults(&wants, k->o->groups);

	for (size_t i = 0; i < k->o->wants.count && r == 0; i++)
		r = kmod_wants_merge(&wants, &k->o->wants.list[i]);
	if (r < 0)
		return problem_errno(k->problem, r, "listing kernel modules");
	r = k->o->dtbs.count ? 0 : read_root_dtbs(k, &found);
	if (r < 0)
		return r;
	return kmods_pack(&k->tree, k->o->release, &wants, dtbs, k->o->strip, &k->image,
			  &k->modules, k->problem);
}

static int collect(struct packer *k)
{
	int r = add_skeleton(k);

	if (r == 0)
		r = add_init(k);
	if (r == 0 && k->o->rescue)
		r = add_rescue(k);
	for (size_t i = 0; i < k->o->file_count && r == 0; i++)
		r = add_file(k, k->o->files[i]);
	if (r == 0)
		r = add_modules(k);
	return r;
}

/* ---- telling -------------------------------------------------------------- */

static size_t count_files(const struct image *img)
{
	size_t n = 0;

	for (size_t i = 0; i < img->count; i++)
		n += S_ISREG(img->entries[i].mode);
	return n;
}

static void tell(const struct packer *k, size_t packed, size_t unpacked)
{
	for (size_t i = 0; k->o->verbose && i < k->image.count; i++) {
		const struct image_entry *e = &k->image.entries[i];

		if (S_ISREG(e->mode) || S_ISLNK(e->mode))
			(void)fprintf(stderr, "%9zu  /%s  (%s)\n", e->data.size, e->path,
				      e->note ? e->note : "");
	}
	if (k->o->verbose)
		(void)fputs(k->modules.skipped, stderr);
	if (k->o->strip)
		(void)fprintf(stderr, PROGRAM ": signatures stripped from %zu of %zu modules\n",
			      k->modules.signed_count, k->modules.count);
	(void)fprintf(stderr,
		      PROGRAM ": %s: %zu files, %zu modules, %zu bytes (%s; unpacked %zu)%s\n",
		      k->o->output, count_files(&k->image), k->modules.count, packed,
		      codec_name(k->o->codec), unpacked,
		      k->o->rescue ? " - RESCUE IMAGE WITH A SHELL, never ship it" : "");
}

static int run(const struct options *o, struct problem *p)
{
	_cleanup_(packer_done) struct packer k = { .o = o, .tree = { .fd = -1 }, .problem = p };
	_cleanup_blob_ struct blob archive = { 0 }, packed = { 0 };
	int r = tree_init(&k.tree, o->root);

	if (r < 0)
		return problem_errno(p, r, "--root %s", o->root);
	k.closure = (struct closure) { .tree = &k.tree, .image = &k.image };
	r = collect(&k);
	if (r < 0)
		return r;
	r = image_pack(&k.image, o->mtime, &archive);
	if (r == 0)
		r = codec_compress(o->codec, &archive, &packed);
	if (r < 0)
		return problem_errno(p, r, "packing the image");
	r = output_write(o->output, &packed, p);
	if (r == 0)
		tell(&k, packed.size, archive.size);
	return r;
}

int main(int argc, char **argv)
{
	_cleanup_(options_done) struct options o = { .codec = CODEC_ZSTD };
	_cleanup_problem_ struct problem p = { 0 };
	int status, r = parse_options(argc, argv, &o, &status, &p);

	if (r > 0)
		return status;
	if (r == 0) {
		r = run(&o, &p);
		status = EXIT_FAILED;
	}
	if (r < 0) {
		(void)fprintf(stderr, PROGRAM ": %s\n", p.text ? p.text : strerror(-r));
		return status;
	}
	return EXIT_OK;
}
