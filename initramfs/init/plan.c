// SPDX-License-Identifier: MIT
#include "initramfs/init/plan.h"

#include "boot/parts.h"

#include <libmount/libmount.h>
#include <sys/mount.h>

#define PATH_BYTES_MAX                                                                             \
	255 /* of a target or source: three of them fit the page of mount options                  \
	     */

/* Kinds as a set, for the table of options. */
#define K_DATA	  (1U << MOUNT_DATA)
#define K_OVERLAY (1U << MOUNT_OVERLAY)
#define K_BIND	  (1U << MOUNT_BIND)
#define K_TMPFS	  (1U << MOUNT_TMPFS)

struct draft {
	struct mount_line line;
	const char *source, *fstype, *text; /* libmount's; .text are the options */
	bool has_upper, has_degraded, noauto;
	struct failure *f;
};

/* Errors name the line and, once it is known, the target. */
static int refuse(const struct draft *d, const char *fmt, ...) _printf_(2, 3);
static int refuse(const struct draft *d, const char *fmt, ...)
{
	char why[sizeof(d->f->text)];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	(void)failure_set(d->f, REASON_FSTAB, 0, "line %u%s%.100s: %s", d->line.line,
			  d->line.target ? ", " : "", d->line.target ? d->line.target : "", why);
	return -EPROTO;
}

static int no_memory(const struct draft *d)
{
	(void)failure_set(d->f, REASON_OUT_OF_MEMORY, ENOMEM, "fstab");
	return -ENOMEM;
}

/* Paths */

/*
 * Normal form of letters that mean nothing to the kernel's option strings, so
 * that no path ever has to be escaped.
 */
static bool path_is_plain(const char *path)
{
	if (*path != '/' || strlen(path) > PATH_BYTES_MAX)
		return false;
	while (*path) {
		size_t n = strcspn(++path, "/");

		if (n == 0 || (n == 1 && path[0] == '.') || (n == 2 && !memcmp(path, "..", 2)))
			return false;
		for (; n; n--, path++)
			if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789@_+.-",
				    *path))
				return false;
	}
	return true;
}

/* "/a/b" is below "/a", and so is "/a" itself. */
static bool path_is_below(const char *path, const char *top)
{
	const char *rest = startswith(path, top);

	return rest && (*rest == '\0' || *rest == '/');
}

static const struct no_target {
	const char *path, *why;
} no_targets[] = {
	{ "/dev", "bf-init moves it there itself" },
	{ "/proc", "bf-init moves it there itself" },
	{ "/sys", "bf-init moves it there itself" },
	{ "/run", "bf-init moves it there itself" },
	/* What runs as root comes from the verified image, not from what lies over it. */
	{ "/usr", "programs come from the verified image only" },
	{ "/bin", "programs come from the verified image only" },
	{ "/sbin", "programs come from the verified image only" },
	{ "/lib", "programs come from the verified image only" },
	{ "/lib32", "programs come from the verified image only" },
	{ "/lib64", "programs come from the verified image only" },
	{ "/libx32", "programs come from the verified image only" },
};

/*
 * What root executes or is configured by, and what of it holds data only (no
 * why): of the rows that a path is at or below, the longest counts. nosuid and
 * noexec do not help here: cron, systemd or a shell read such files themselves.
 * The same table stands in bf-fstab(5).
 */
static const struct run_by_root {
	const char *path, *why;
} run_by_root[] = {
	{ "/etc", "it says what root runs" },
	{ "/etc/NetworkManager/dispatcher.d", "NetworkManager runs its scripts as root" },
	{ "/etc/NetworkManager/system-connections", NULL },
	{ "/etc/cron.d", "cron runs its commands as root" },
	{ "/etc/init.d", "its scripts are started as root" },
	{ "/etc/ld.so.conf.d", "it says whose libraries root's programs load" },
	{ "/etc/pam.d", "it says who may become root" },
	{ "/etc/profile.d", "root's shell runs it" },
	{ "/etc/ssh", "it says who may log in as root" },
	{ "/etc/sudoers.d", "it says who may become root" },
	{ "/etc/systemd", "its units start programs as root" },
	{ "/etc/udev", "its rules start programs as root" },
	{ "/nix", "it holds programs" },
	{ "/opt", "it holds programs" },
	{ "/root", "root's shell and ssh keys are there" },
	{ "/snap", "it holds programs" },
	{ "/var/spool/cron", "cron and at run its commands as root" },
	{ "/var/spool/at", "at runs its jobs as root" },
	{ "/var/spool/incron", "incron runs its commands as root" },
	{ "/var/lib/binfmts", "it says which interpreters run programs" },
	{ "/var/lib/confexts", "systemd lays it over /etc" },
	{ "/var/lib/containerd", "root's containers are started from it" },
	{ "/var/lib/containers", "root's containers are started from it" },
	{ "/var/lib/docker", "root's containers are started from it" },
	{ "/var/lib/dpkg", "dpkg runs its scripts as root" },
	{ "/var/lib/extensions", "systemd lays it over /usr" },
	{ "/var/lib/extensions.mutable", "systemd lays it over /usr and /etc" },
	{ "/var/lib/lxc", "root's containers are started from it" },
	{ "/var/lib/machines", "systemd starts its systems as root" },
	{ "/var/lib/polkit-1", "it says who may act as root" },
	{ "/var/lib/portables", "systemd starts its services as root" },
	{ "/var/lib/snapd", "snapd starts its programs as root" },
	{ "/var/lib/sudo", "it says who may become root" },
};

/* Names on BF_DATA that are not for binds: the record, the uppers, what is put aside. */
static const char *const reserved_sources[] = { "bf", "overlay", "slots", "trash", "lost+found" };

static int set_target(struct draft *d, const char *target)
{
	if (!path_is_plain(target))
		return refuse(d,
			      "the mount point must be an absolute path in its shortest form, of "
			      "letters, digits and @_+.-: \"%.80s\"",
			      target);
	for (size_t i = 0; i < ARRAY_SIZE(no_targets); i++)
		if (path_is_below(target, no_targets[i].path))
			return refuse(d, "nothing can be mounted on %.80s: %s", target,
				      no_targets[i].why);
	d->line.target = strdup(target);
	return d->line.target ? 0 : no_memory(d);
}

static int set_bind_source(struct draft *d, const struct mount_plan *plan)
{
	const char *rest;

	if (!path_is_plain(d->source))
		return refuse(d, "the source of a bind must be a plain absolute path: \"%.80s\"",
			      d->source);
	rest = plan->data_target ? startswith(d->source, plan->data_target) : NULL;
	if (!rest || *rest != '/')
		return refuse(d,
			      "the source %.80s does not lie on %s_DATA as mounted by a line above",
			      d->source, BF_LABEL_PREFIX);
	for (size_t i = 0; i < ARRAY_SIZE(reserved_sources); i++)
		if (path_is_below(rest + 1, reserved_sources[i]))
			return refuse(d, "%s on %s_DATA is not for binds", reserved_sources[i],
				      BF_LABEL_PREFIX);
	d->line.source = strdup(rest + 1);
	return d->line.source ? 0 : no_memory(d);
}

static int set_upper_name(struct draft *d)
{
	d->line.upper_name = strdup(d->line.target + 1);
	if (!d->line.upper_name)
		return no_memory(d);
	for (char *p = d->line.upper_name; *p; p++)
		if (*p == '/')
			*p = '-';
	if (*d->line.upper_name == '.')
		return refuse(d, "an overlay on a hidden directory of / cannot be served");
	return 0;
}

/* Options of our own */

static int take_upper(struct draft *d, const char *value)
{
	static const char *const names[] = { [UPPER_VOLATILE] = "volatile",
					     [UPPER_PERSISTENT] = "persistent",
					     [UPPER_SLOT] = "slot" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!streq(value, names[i]))
			continue;
		d->line.upper = (enum upper_kind)i;
		d->has_upper = true;
		return 0;
	}
	return refuse(d, "x-bf.upper is volatile, persistent or slot");
}

static int take_degraded(struct draft *d, const char *value)
{
	static const char *const names[] = {
		[DEGRADED_VOLATILE] = "volatile", [DEGRADED_SKIP] = "skip"
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!streq(value, names[i]))
			continue;
		d->line.degraded = (enum degraded_kind)i;
		d->has_degraded = true;
		return 0;
	}
	return refuse(d, "x-bf.degraded is volatile or skip");
}

static int take_seed(struct draft *d, const char *value)
{
	if (*value)
		return refuse(d, "x-bf.seed takes no value");
	d->line.seed = true;
	return 0;
}

static int take_trust(struct draft *d, const char *value)
{
	if (*value)
		return refuse(d, "x-bf.trust takes no value");
	d->line.trust = true;
	return 0;
}

static int take_if_exists(struct draft *d, const char *value)
{
	const char *path = *value ? value : d->line.target;

	if (!path_is_plain(path))
		return refuse(d, "x-bf.if-exists is a plain absolute path: \"%.80s\"", path);
	free(d->line.needs);
	d->line.needs = strdup(path);
	return d->line.needs ? 0 : no_memory(d);
}

/* As tmpfs takes it: bytes with k, m or g, or percents of the memory. */
static int take_size(struct draft *d, const char *value)
{
	size_t digits = strspn(value, "0123456789"), rest = strlen(value) - digits;

	if (digits == 0 || digits > 9 || *value == '0' || rest > 1 ||
	    (rest && !strchr("kKmMgG%", value[digits])))
		return refuse(d, "x-bf.size is a number with k, m, g or %%");
	free(d->line.size);
	d->line.size = strdup(value);
	return d->line.size ? 0 : no_memory(d);
}

static int take_mode(struct draft *d, const char *value)
{
	uint32_t mode;

	if (parse_u32(value, 8, &mode) < 0 || mode > 07777)
		return refuse(d, "x-bf.mode is an octal number up to 7777");
	d->line.mode = mode;
	return 0;
}

static int take_id(struct draft *d, const char *value, const char *name, uint32_t *ret)
{
	uint32_t id;

	/* The largest one means "leave it" to chown(2). */
	if (parse_u32(value, 10, &id) < 0 || id == UINT32_MAX)
		return refuse(d, "%s is a number", name);
	*ret = id;
	return 0;
}

static int take_uid(struct draft *d, const char *value)
{
	return take_id(d, value, "x-bf.uid", &d->line.uid);
}

static int take_gid(struct draft *d, const char *value)
{
	return take_id(d, value, "x-bf.gid", &d->line.gid);
}

static const struct own_option {
	const char *name;
	unsigned kinds;
	int (*take)(struct draft *d, const char *value);
} own_options[] = {
	{ "x-bf.upper", K_OVERLAY, take_upper },
	{ "x-bf.degraded", K_DATA | K_OVERLAY | K_BIND, take_degraded },
	{ "x-bf.trust", K_DATA | K_OVERLAY | K_BIND, take_trust },
	{ "x-bf.if-exists", K_OVERLAY | K_BIND | K_TMPFS, take_if_exists },
	{ "x-bf.size", K_OVERLAY, take_size },
	{ "x-bf.seed", K_BIND, take_seed },
	{ "x-bf.mode", K_BIND, take_mode },
	{ "x-bf.uid", K_BIND, take_uid },
	{ "x-bf.gid", K_BIND, take_gid },
};

/* Everybody's options */

static const char *const kind_names[] = {
	[MOUNT_DATA] = PART_LABEL(DATA),
	[MOUNT_OVERLAY] = "an overlay",
	[MOUNT_BIND] = "a bind",
	[MOUNT_TMPFS] = "a tmpfs",
};

/* For mount(8) and systemd, or said by the kind already. */
static const char *const skipped_options[] = { "defaults", "auto", "nofail", "comment",
					       "x-initrd.mount" };

static const char *const overlay_layers[] = { "lowerdir", "lowerdir+", "upperdir", "workdir",
					      "datadir+" };

#define SERVED_FLAGS                                                                               \
	(MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_SYNCHRONOUS | MS_DIRSYNC | MS_NOATIME | \
	 MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME | MS_LAZYTIME | MS_NOSYMFOLLOW)

static bool listed(const char *name, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (streq(name, list[i]))
			return true;
	return false;
}

static int take_own(struct draft *d, const char *name, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(own_options); i++) {
		const struct own_option *o = &own_options[i];

		if (!streq(name, o->name))
			continue;
		if (!(o->kinds & 1U << d->line.kind))
			return refuse(d, "%s has no meaning for %s", name,
				      kind_names[d->line.kind]);
		return o->take(d, value);
	}
	return refuse(d, "unknown option %.80s", name);
}

/* What @map of libmount makes of one option: the flags it sets and clears. */
static bool map_knows(int map, const char *option, unsigned long *ret_set, unsigned long *ret_clear)
{
	const struct libmnt_optmap *m = mnt_get_builtin_optmap(map);
	unsigned long none = 0, all = ~0UL;

	if (mnt_optstr_get_flags(option, &none, m) < 0 || mnt_optstr_get_flags(option, &all, m) < 0)
		return false;
	*ret_set = none;
	*ret_clear = ~all;
	return none || ~all;
}

static int take_fs_option(struct draft *d, const char *name, const char *option)
{
	char *more;

	/* libmount reads one option where the kernel would read several. */
	if (strchr(option, '"'))
		return refuse(d, "quotes cannot be served: %.80s", option);
	if (d->line.kind == MOUNT_BIND) /* the kernel would ignore it without a word */
		return refuse(d, "a bind cannot take the option %.80s", option);
	if (d->line.kind == MOUNT_OVERLAY &&
	    listed(name, overlay_layers, ARRAY_SIZE(overlay_layers)))
		return refuse(d, "%s is bf-init's to set; say x-bf.upper", name);
	more = strf("%s%s%s", d->line.options, *d->line.options ? "," : "", option);
	if (!more)
		return no_memory(d);
	free(d->line.options);
	d->line.options = more;
	return 0;
}

static int take_option(struct draft *d, const char *name, const char *value, const char *option)
{
	unsigned long set, clear;

	if (startswith(name, "x-bf."))
		return take_own(d, name, value);
	if (streq(name, "noauto")) {
		d->noauto = true;
		return 0;
	}
	if (listed(name, skipped_options, ARRAY_SIZE(skipped_options)) || startswith(name, "x-") ||
	    startswith(name, "X-"))
		return 0;
	if (streq(name, "bind") && d->line.kind == MOUNT_BIND)
		return 0;
	if (map_knows(MNT_USERSPACE_MAP, option, &set, &clear))
		return refuse(d, "the option %.80s cannot be served in early boot", option);
	if (!map_knows(MNT_LINUX_MAP, option, &set, &clear))
		return take_fs_option(d, name, option);
	if ((set | clear) & ~(unsigned long)SERVED_FLAGS)
		return refuse(d, "the option %.80s cannot be served in early boot", option);
	if (d->line.kind == MOUNT_BIND && set & PLAN_SUPER_FLAGS)
		return take_fs_option(d, name, option);
	d->line.flags = (d->line.flags & ~clear) | set;
	return 0;
}

static int take_options(struct draft *d)
{
	char *pos, *name, *value;
	size_t name_len, value_len;
	_cleanup_free_ char *copy = strdup(d->text);
	int r;

	if (!copy)
		return no_memory(d);
	pos = copy;
	while ((r = mnt_optstr_next_option(&pos, &name, &name_len, &value, &value_len)) == 0) {
		_cleanup_free_ char *n = strndup(name, name_len);
		_cleanup_free_ char *v = strndup(value ? value : "", value ? value_len : 0);
		_cleanup_free_ char *option = NULL;

		if (n && v)
			option = value ? strf("%s=%s", n, v) : strdup(n);
		if (!option)
			return no_memory(d);
		r = take_option(d, n, v, option);
		if (r < 0)
			return r;
	}
	return r == 1 ? 0 : refuse(d, "the options cannot be read");
}

/* Lines */

static bool source_is_data(const char *source)
{
	return streq(source, "PARTLABEL=" PART_LABEL(DATA)) ||
	       streq(source, "/dev/disk/by-partlabel/" PART_LABEL(DATA));
}

static int set_kind(struct draft *d)
{
	bool bind = mnt_optstr_get_option(d->text, "bind", NULL, NULL) == 0;
	bool data = source_is_data(d->source);

	if (bind && !data)
		d->line.kind = MOUNT_BIND;
	else if (bind)
		return refuse(d, "%s_DATA is mounted, not bound", BF_LABEL_PREFIX);
	else if (data && streq(d->fstype, "ext4"))
		d->line.kind = MOUNT_DATA;
	else if (data)
		return refuse(d, "%s_DATA is ext4, not %.40s", BF_LABEL_PREFIX, d->fstype);
	else if (streq(d->fstype, "overlay"))
		d->line.kind = MOUNT_OVERLAY;
	else if (streq(d->fstype, "tmpfs"))
		d->line.kind = MOUNT_TMPFS;
	else
		return refuse(d,
			      "%.60s of type %.40s cannot be mounted in early boot: only %s_DATA, "
			      "overlay, tmpfs and binds can",
			      d->source, d->fstype, BF_LABEL_PREFIX);
	return 0;
}

static bool uses_data(const struct mount_line *l)
{
	return l->kind == MOUNT_DATA || l->kind == MOUNT_BIND ||
	       (l->kind == MOUNT_OVERLAY && l->upper != UPPER_VOLATILE);
}

/* What all options together must say. */
static int check_line(const struct draft *d)
{
	const struct mount_line *l = &d->line;

	if (!(l->flags & MS_NOSUID))
		return refuse(d, "nosuid is missing");
	if (!(l->flags & MS_NODEV))
		return refuse(d, "nodev is missing");
	if (l->kind == MOUNT_DATA && !(l->flags & MS_NOEXEC))
		return refuse(d, "noexec is missing");
	if (l->kind == MOUNT_DATA && l->flags & MS_RDONLY)
		return refuse(d, "%s_DATA cannot be read-only: the boot record is on it",
			      BF_LABEL_PREFIX);
	if (l->kind == MOUNT_OVERLAY && !d->has_upper)
		return refuse(d, "x-bf.upper is missing");
	if (d->has_degraded && !uses_data(l))
		return refuse(d, "x-bf.degraded has no meaning for what never is on %s_DATA",
			      BF_LABEL_PREFIX);
	if (l->degraded == DEGRADED_SKIP && l->kind == MOUNT_DATA)
		return refuse(d, "%s_DATA cannot be skipped: the other lines need its place",
			      BF_LABEL_PREFIX);
	/* Or systemd would try to mount what was skipped, and fail. */
	if (l->degraded == DEGRADED_SKIP && !d->noauto)
		return refuse(d, "x-bf.degraded=skip needs noauto");
	if (l->needs && !d->noauto)
		return refuse(d, "x-bf.if-exists needs noauto");
	if (l->size && l->upper != UPPER_VOLATILE)
		return refuse(d, "x-bf.size is for x-bf.upper=volatile");
	if (l->trust && !uses_data(l))
		return refuse(d, "x-bf.trust has no meaning for what never is on %s_DATA",
			      BF_LABEL_PREFIX);
	return 0;
}

/* The row that speaks against BF_DATA at @target, or below it; NULL if none does. */
static const struct run_by_root *find_run_by_root(const char *target)
{
	const struct run_by_root *at = NULL, *covered = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(run_by_root); i++) {
		const struct run_by_root *row = &run_by_root[i];

		if (path_is_below(target, row->path)) {
			if (!at || strlen(row->path) > strlen(at->path))
				at = row;
		} else if (!covered && row->why && path_is_below(row->path, target)) {
			covered = row;
		}
	}
	return at && at->why ? at : covered;
}

static int check_trust(const struct draft *d)
{
	const struct run_by_root *row;

	if (d->line.trust || !uses_data(&d->line))
		return 0;
	row = find_run_by_root(d->line.target);
	if (!row)
		return 0;
	return refuse(d,
		      "%s_DATA must not hold %s: %s. Use x-bf.upper=volatile and bind only "
		      "directories with data, or say x-bf.trust",
		      BF_LABEL_PREFIX, row->path, row->why);
}

/* What it must be together with the lines above it. */
static int check_order(const struct draft *d, const struct mount_plan *plan)
{
	for (size_t i = 0; i < plan->count; i++) {
		const struct mount_line *other = &plan->lines[i], *l = &d->line;

		if (streq(l->target, other->target))
			return refuse(d, "line %u mounts there already", other->line);
		if (path_is_below(other->target, l->target))
			return refuse(d, "it would hide %.80s of line %u: put it above that line",
				      other->target, other->line);
		if (l->kind == MOUNT_DATA && other->kind == MOUNT_DATA)
			return refuse(d, "line %u mounts %s_DATA already", other->line,
				      BF_LABEL_PREFIX);
		if (l->kind == MOUNT_OVERLAY && other->kind == MOUNT_OVERLAY &&
		    streq(l->upper_name, other->upper_name))
			return refuse(d, "its upper would have the name of the one of line %u",
				      other->line);
	}
	return 0;
}

static int read_line(struct draft *d, struct libmnt_fs *fs, const struct mount_plan *plan)
{
	int r = set_target(d, mnt_fs_get_target(fs));

	if (r == 0)
		r = set_kind(d);
	if (r == 0 && mnt_fs_get_passno(fs) != 0)
		r = refuse(d, "the last column must be 0: it is bf-init that has %s_DATA checked",
			   BF_LABEL_PREFIX);
	if (r == 0)
		r = take_options(d);
	if (r == 0)
		r = check_line(d);
	if (r == 0)
		r = check_trust(d);
	if (r == 0 && d->line.kind == MOUNT_BIND)
		r = set_bind_source(d, plan);
	if (r == 0 && d->line.kind == MOUNT_OVERLAY)
		r = set_upper_name(d);
	if (r == 0)
		r = check_order(d, plan);
	return r;
}

static void line_done(struct mount_line *l)
{
	free(l->target);
	free(l->source);
	free(l->options);
	free(l->upper_name);
	free(l->needs);
	free(l->size);
}

static int add_line(struct draft *d, struct mount_plan *plan)
{
	struct mount_line *lines = reallocarray(plan->lines, plan->count + 1, sizeof(*plan->lines));

	if (!lines)
		return no_memory(d);
	plan->lines = lines;
	if (d->line.kind == MOUNT_DATA)
		plan->data_target = d->line.target;
	lines[plan->count++] = d->line;
	d->line = (struct mount_line) { 0 };
	return 0;
}

static int take_entry(struct libmnt_fs *fs, unsigned number, struct mount_plan *plan,
		      struct failure *f)
{
	const char *source = mnt_fs_get_source(fs), *fstype = mnt_fs_get_fstype(fs);
	const char *text = mnt_fs_get_options(fs);
	struct draft d = {
		.line = { .line = number,
			  .mode = PLAN_FROM_IMAGE,
			  .uid = PLAN_FROM_IMAGE,
			  .gid = PLAN_FROM_IMAGE },
		.source = source ? source : "",
		.fstype = fstype ? fstype : "",
		.text = text ? text : "",
		.f = f,
	};
	int r = 0;

	if (mnt_optstr_get_option(d.text, "x-initrd.mount", NULL, NULL) != 0) {
		/* Whoever wrote x-bf. meant the line for us. */
		if (strstr(d.text, "x-bf."))
			r = refuse(&d, "x-bf. options without x-initrd.mount");
		return r;
	}
	d.line.options = strdup("");
	if (!d.line.options)
		return no_memory(&d);
	r = read_line(&d, fs, plan);
	if (r == 0)
		r = add_line(&d, plan);
	line_done(&d.line);
	return r;
}

static int stop_at_error(struct libmnt_table *table _unused_, const char *file _unused_,
			 int line _unused_)
{
	return -EINVAL;
}

static void table_unref(struct libmnt_table **table)
{
	mnt_unref_table(*table);
}

/*
 * One line at a time: libmount does not keep the numbers of good lines, and
 * would read the whole file as a mountinfo table if its first line looked so.
 */
static int take_text(const char *text, size_t len, unsigned number, struct mount_plan *plan,
		     struct failure *f)
{
	_cleanup_(table_unref) struct libmnt_table *table = NULL;
	_cleanup_file_ FILE *stream = NULL;
	_cleanup_free_ char *line = strf("%.*s\n", (int)len, text);
	struct libmnt_fs *fs = NULL;

	if (!line)
		return failure_set(f, REASON_OUT_OF_MEMORY, ENOMEM, "fstab");
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line[i] < ' ' && line[i] != '\t')
			return failure_set(f, REASON_FSTAB, 0, "line %u: a control character",
					   number);
	if (strchr("#\n", line[strspn(line, " \t")]))
		return 0;
	table = mnt_new_table();
	stream = fmemopen(line, len + 1, "r");
	if (!table || !stream)
		return failure_set(f, REASON_OUT_OF_MEMORY, ENOMEM, "fstab");
	mnt_table_set_parser_errcb(table, stop_at_error);
	if (mnt_table_parse_stream(table, stream, "fstab") < 0 || mnt_table_get_nents(table) != 1 ||
	    mnt_table_first_fs(table, &fs) != 0 || mnt_fs_is_kernel(fs))
		return failure_set(f, REASON_FSTAB, 0, "line %u is not a line of fstab(5): %.*s",
				   number, (int)(len < 100 ? len : 100), text);
	return take_entry(fs, number, plan, f);
}

int plan_make(const char *fstab, struct mount_plan *ret, struct failure *f)
{
	struct mount_plan plan = { 0 };
	unsigned number = 1;
	int r = 0;

	for (const char *p = fstab; *p && r == 0; number++) {
		size_t len = strcspn(p, "\n");

		r = take_text(p, len, number, &plan, f);
		p += len + (p[len] == '\n');
	}
	if (r == 0 && plan.count == 0)
		r = failure_set(f, REASON_FSTAB, 0, "no line has x-initrd.mount");
	if (r < 0)
		plan_done(&plan);
	else
		*ret = plan;
	return r;
}

void plan_done(struct mount_plan *p)
{
	for (size_t i = 0; i < p->count; i++)
		line_done(&p->lines[i]);
	free(p->lines);
	*p = (struct mount_plan) { 0 };
}
