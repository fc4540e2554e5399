// SPDX-License-Identifier: MIT
#include "initramfs/init/plan.h"

#include <sys/mount.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool promise)
{
	if (!promise)
		abort();
}

/* What mounts.c builds on without looking again. */
static void check_path(const char *path)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789@_+.-/";
	size_t len = strlen(path);

	must(len > 0 && len <= 255 && strspn(path, letters) == len && path[len - 1] != '/');
	must(!strstr(path, "//") && !strstr(path, "/./") && !strstr(path, "/../"));
	must(len < 2 || !streq(path + len - 2, "/."));
	must(len < 3 || !streq(path + len - 3, "/.."));
}

/* Some of what root runs: at, below and above. */
static bool is_run_by_root(const char *path)
{
	static const char *const some[] = { "/etc",	      "/etc/systemd/system",
					    "/opt/x",	      "/root",
					    "/var",	      "/var/lib",
					    "/var/spool/cron" };

	for (size_t i = 0; i < ARRAY_SIZE(some); i++)
		if (streq(path, some[i]))
			return true;
	return false;
}

static void check_line(const struct mount_line *l)
{
	check_path(l->target);
	must(*l->target == '/' && l->target[1]);
	must(l->flags & MS_NOSUID && l->flags & MS_NODEV && !(l->flags & (MS_BIND | MS_REMOUNT)));
	must(!(l->flags & (MS_MOVE | MS_REC | MS_SHARED | MS_PRIVATE | MS_SLAVE)));
	must(l->options != NULL);
	must((l->kind == MOUNT_BIND) == (l->source != NULL));
	must((l->kind == MOUNT_OVERLAY) == (l->upper_name != NULL));
	if (l->source) {
		check_path(l->source);
		must(*l->source != '/' && !startswith(l->source, "../") &&
		     !startswith(l->source, "./") && !streq(l->source, "..") &&
		     !streq(l->source, "."));
		must(!*l->options);
	}
	if (l->upper_name)
		must(!strchr(l->upper_name, '/') && *l->upper_name != '.');
	if (l->kind == MOUNT_OVERLAY)
		must(!startswith(l->options, "upperdir=") && !strstr(l->options, ",upperdir="));
	must(l->mode == PLAN_FROM_IMAGE || l->mode <= 07777);
	if (l->needs)
		check_path(l->needs);
	if (l->size)
		must(l->upper == UPPER_VOLATILE &&
		     strspn(l->size, "0123456789kKmMgG%") == strlen(l->size));
	must(l->trust || l->kind == MOUNT_TMPFS ||
	     (l->kind == MOUNT_OVERLAY && l->upper == UPPER_VOLATILE) ||
	     !is_run_by_root(l->target));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct failure f = { 0 };
	struct mount_plan p = { 0 };
	size_t with_data = 0;
	int r;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	r = plan_make(text, &p, &f);
	must(r < 0 ? f.reason != REASON_NONE && *f.text && !p.lines : p.count > 0);
	for (size_t i = 0; i < p.count; i++) {
		check_line(&p.lines[i]);
		with_data += p.lines[i].kind == MOUNT_DATA;
	}
	must(with_data == (p.data_target != NULL));
	plan_done(&p);
	free(text);
	return 0;
}
