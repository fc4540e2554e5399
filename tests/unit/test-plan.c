// SPDX-License-Identifier: MIT
#include "boot/base.h"
#include "initramfs/init/plan.h"
#include "tests/lib/tap.h"

#include <sys/mount.h>

#define DATA "PARTLABEL=BF_DATA /data ext4 nosuid,nodev,noexec,x-initrd.mount 0 0\n"
#define BIND "/data/home /home none bind,nosuid,nodev,x-initrd.mount"
#define OVER "overlay /srv overlay nosuid,nodev,x-initrd.mount"

/* The plan's last line as text: number, kind, target, source, flags, options, and what is ours. */
static char *show(const struct mount_line *l)
{
	static const char *const kinds[] = { "data", "overlay", "bind", "tmpfs" };
	static const char *const uppers[] = { "volatile", "persistent", "slot" };
	static const char *const degraded[] = { "volatile", "skip" };

	return strf("%u %s %s %s%s%s%s%s%s [%s] %s:%s %s%s%s%s%s%s%s %o:%d:%d", l->line,
		    kinds[l->kind], l->target, l->source ? l->source : "-",
		    l->flags & MS_NOSUID ? " nosuid" : "", l->flags & MS_NODEV ? " nodev" : "",
		    l->flags & MS_NOEXEC ? " noexec" : "", l->flags & MS_RDONLY ? " ro" : "",
		    l->flags & ~(MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY) ? " more" : "",
		    l->options, l->kind == MOUNT_OVERLAY ? uppers[l->upper] : "-",
		    l->upper_name ? l->upper_name : "-", degraded[l->degraded],
		    l->seed ? " seed" : "", l->trust ? " trust" : "", l->size ? " size=" : "",
		    l->size ? l->size : "", l->needs ? " if " : "", l->needs ? l->needs : "",
		    l->mode, (int)l->uid, (int)l->gid);
}

static const struct row {
	const char *fstab, *want;
} good[] = {
	{ DATA, "1 data /data - nosuid nodev noexec [] -:- volatile 37777777777:-1:-1" },
	{ DATA OVER ",x-bf.upper=slot 0 0\n",
	  "2 overlay /srv - nosuid nodev [] slot:srv volatile 37777777777:-1:-1" },
	{ DATA OVER ",x-bf.upper=persistent,noauto,x-bf.degraded=skip 0 0\n",
	  "2 overlay /srv - nosuid nodev [] persistent:srv skip 37777777777:-1:-1" },
	{ DATA
	  "x /a/b-c/.d overlay x-bf.upper=volatile,nodev,nosuid,noexec,x-initrd.mount,volatile\n",
	  "2 overlay /a/b-c/.d - nosuid nodev noexec [volatile] volatile:a-b-c-.d volatile "
	  "37777777777:-1:-1" },
	{ DATA BIND "\n", "2 bind /home home nosuid nodev [] -:- volatile 37777777777:-1:-1" },
	{ DATA BIND ",x-bf.seed,x-bf.mode=0750,x-bf.uid=1000,x-bf.gid=0 0 0\n",
	  "2 bind /home home nosuid nodev [] -:- volatile seed 750:1000:0" },
	{ DATA OVER ",x-bf.upper=volatile,x-bf.size=64M,noauto,x-bf.if-exists=/usr/bin/x\n",
	  "2 overlay /srv - nosuid nodev [] volatile:srv volatile size=64M if /usr/bin/x "
	  "37777777777:-1:-1" },
	{ DATA OVER ",x-bf.size=20%,x-bf.upper=volatile,noauto,x-bf.if-exists\n",
	  "2 overlay /srv - nosuid nodev [] volatile:srv volatile size=20% if /srv "
	  "37777777777:-1:-1" },
	{ DATA BIND ",x-bf.trust\n",
	  "2 bind /home home nosuid nodev [] -:- volatile trust 37777777777:-1:-1" },
	{ DATA "/data/nm /etc/NetworkManager/system-connections none "
	       "bind,nosuid,nodev,x-initrd.mount\n",
	  "2 bind /etc/NetworkManager/system-connections nm nosuid nodev [] -:- volatile "
	  "37777777777:-1:-1" },
	{ DATA BIND ",noauto,x-bf.degraded=skip,x-bf.mode=0\n",
	  "2 bind /home home nosuid nodev [] -:- skip 0:-1:-1" },
	/* The last one wins, and what is not ours to do is passed over. */
	{ DATA BIND ",noexec,exec,ro,nofail,x-systemd.automount,X-mount.mkdir,comment=x,auto\n",
	  "2 bind /home home nosuid nodev ro [] -:- volatile 37777777777:-1:-1" },
	{ DATA BIND ",noatime,ro,rw\n",
	  "2 bind /home home nosuid nodev more [] -:- volatile 37777777777:-1:-1" },
	{ DATA "tmpfs /tmp tmpfs defaults,nosuid,nodev,mode=1777,size=10%,x-initrd.mount 0 0",
	  "2 tmpfs /tmp - nosuid nodev [mode=1777,size=10%] -:- volatile 37777777777:-1:-1" },
	{ "/dev/disk/by-partlabel/BF_DATA /mnt/data ext4 "
	  "nosuid,nodev,noexec,commit=30,lazytime,x-initrd.mount\n",
	  "1 data /mnt/data - nosuid nodev noexec more [commit=30] -:- volatile "
	  "37777777777:-1:-1" },
	{ DATA "/data/a/b.c /a+@_/x none bind,nosuid,nodev,x-initrd.mount\n",
	  "2 bind /a+@_/x a/b.c nosuid nodev [] -:- volatile 37777777777:-1:-1" },
	/* Lines that are not ours are anything fstab(5) allows. */
	{ "\n \t\n# comment\n\t# another\nUUID=1 / ext4 rw 0 1\nnone swap swap sw 0 0\n"
	  "//host/a\\040b /mnt cifs user,_netdev 0 2\n" DATA,
	  "8 data /data - nosuid nodev noexec [] -:- volatile 37777777777:-1:-1" },
};

static void test_good(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		_cleanup_free_ char *got = NULL;
		struct mount_plan p = { 0 };
		struct failure f = { 0 };

		if (!ok(plan_make(good[i].fstab, &p, &f) == 0, "good %zu", i)) {
			printf("# %s\n", f.text);
			continue;
		}
		got = show(&p.lines[p.count - 1]);
		ok_str(got, good[i].want, "good %zu: what it says", i);
		plan_done(&p);
		ok(!p.lines && !p.count && !p.data_target, "good %zu: done", i);
	}
}

/* What is refused, and a part of what is said about it. */
static const struct bad {
	const char *fstab, *why;
} bad[] = {
	/* Nothing for us */
	{ "", "no line has x-initrd.mount" },
	{ "\n# only a comment\n", "no line has x-initrd.mount" },
	{ "PARTLABEL=BF_DATA /data ext4 nosuid,nodev 0 0\n", "no line has x-initrd.mount" },
	/* Not fstab(5), wherever it stands */
	{ DATA "garbage\n", "line 2 is not a line of fstab(5): garbage" },
	{ "two fields\n" DATA, "line 1 is not a line" },
	{ DATA "\n\na /b ext4 ro x\n", "line 4 is not a line" },
	{ DATA "a /b ext4 ro 0 x\n", "line 2 is not a line" },
	{ "36 35 98:0 / /mnt rw,x-initrd.mount - ext4 /dev/x rw\n", "line 1 is not a line" },
	{ "Filename\tType\tSize\n" DATA, "line 1 is not a line" },
	{ DATA "a /b ext4 ro\x01 0 0\n", "line 2: a control character" },
	{ "PARTLABEL=BF_DATA /data ext4 nosuid,nodev,noexec,x-initrd.mount 0 0\r\n",
	  "line 1: a control character" },
	/* x-bf. without us */
	{ DATA "overlay /var overlay nosuid,nodev,x-bf.upper=slot 0 0\n",
	  "line 2: x-bf. options without x-initrd.mount" },
	/* Places */
	{ DATA "tmpfs tmp tmpfs nosuid,nodev,x-initrd.mount\n", "line 2: the mount point must be" },
	{ DATA "tmpfs / tmpfs nosuid,nodev,x-initrd.mount\n", "the mount point must be" },
	{ DATA "tmpfs /a/ tmpfs nosuid,nodev,x-initrd.mount\n", "the mount point must be" },
	{ DATA "tmpfs //a tmpfs nosuid,nodev,x-initrd.mount\n", "the mount point must be" },
	{ DATA "tmpfs /a/../b tmpfs nosuid,nodev,x-initrd.mount\n", "the mount point must be" },
	{ DATA "tmpfs /a/. tmpfs nosuid,nodev,x-initrd.mount\n", "the mount point must be" },
	{ DATA "tmpfs /.. tmpfs nosuid,nodev,x-initrd.mount\n", "the mount point must be" },
	{ DATA "tmpfs /a\\040b tmpfs nosuid,nodev,x-initrd.mount\n", "the mount point must be" },
	{ DATA "tmpfs /a,b tmpfs nosuid,nodev,x-initrd.mount\n", "the mount point must be" },
	{ DATA "tmpfs /a:b tmpfs nosuid,nodev,x-initrd.mount\n", "the mount point must be" },
	{ DATA "tmpfs /a~ tmpfs nosuid,nodev,x-initrd.mount\n", "the mount point must be" },
	{ DATA "tmpfs /\xc3\xa4 tmpfs nosuid,nodev,x-initrd.mount\n", "the mount point must be" },
	{ DATA "tmpfs none tmpfs nosuid,nodev,x-initrd.mount\n", "the mount point must be" },
	{ DATA "tmpfs /run tmpfs nosuid,nodev,x-initrd.mount\n", "nothing can be mounted on /run" },
	{ DATA "tmpfs /dev/shm tmpfs nosuid,nodev,x-initrd.mount\n", "mounted on /dev/shm" },
	{ DATA "overlay /usr overlay nosuid,nodev,x-bf.upper=slot,x-initrd.mount\n",
	  "programs come from the verified image only" },
	{ DATA "/data/lib /usr/lib/x none bind,nosuid,nodev,x-initrd.mount\n",
	  "programs come from the verified image only" },
	{ DATA "overlay /.hidden overlay nosuid,nodev,x-bf.upper=slot,x-initrd.mount\n",
	  "hidden directory" },
	/* Kinds */
	{ "PARTLABEL=BF_DATA /data vfat nosuid,nodev,noexec,x-initrd.mount\n",
	  "BF_DATA is ext4, not vfat" },
	{ "PARTLABEL=BF_DATA /data none bind,nosuid,nodev,noexec,x-initrd.mount\n",
	  "BF_DATA is mounted, not bound" },
	{ DATA "/dev/sda1 /mnt ext4 nosuid,nodev,x-initrd.mount\n",
	  "line 2, /mnt: /dev/sda1 of type ext4 cannot be mounted" },
	{ DATA "PARTLABEL=BF_DATAX /mnt ext4 nosuid,nodev,x-initrd.mount\n", "cannot be mounted" },
	{ DATA "proc /mnt proc nosuid,nodev,x-initrd.mount\n", "cannot be mounted in early boot" },
	{ DATA "/data/a /mnt none rbind,nosuid,nodev,x-initrd.mount\n", "cannot be mounted" },
	/* fsck */
	{ "PARTLABEL=BF_DATA /data ext4 nosuid,nodev,noexec,x-initrd.mount 0 2\n",
	  "the last column must be 0" },
	{ "PARTLABEL=BF_DATA /data ext4 nosuid,nodev,noexec,x-initrd.mount 0 -1\n",
	  "the last column must be 0" },
	/* Flags */
	{ "PARTLABEL=BF_DATA /data ext4 nodev,noexec,x-initrd.mount\n",
	  "/data: nosuid is missing" },
	{ "PARTLABEL=BF_DATA /data ext4 nosuid,noexec,x-initrd.mount\n", "nodev is missing" },
	{ "PARTLABEL=BF_DATA /data ext4 nosuid,nodev,x-initrd.mount\n", "noexec is missing" },
	{ "PARTLABEL=BF_DATA /data ext4 ro,nosuid,nodev,noexec,x-initrd.mount\n",
	  "cannot be read-only" },
	{ DATA "tmpfs /tmp tmpfs nosuid,nodev,suid,x-initrd.mount\n", "nosuid is missing" },
	{ DATA "tmpfs /tmp tmpfs x-initrd.mount\n", "nosuid is missing" },
	/* Options */
	{ DATA "tmpfs /tmp tmpfs nosuid,nodev,user,x-initrd.mount\n",
	  "option user cannot be served" },
	{ DATA "tmpfs /tmp tmpfs nosuid,nodev,loop,x-initrd.mount\n",
	  "option loop cannot be served" },
	{ DATA "tmpfs /tmp tmpfs nosuid,nodev,remount,x-initrd.mount\n", "option remount cannot" },
	{ DATA "tmpfs /tmp tmpfs nosuid,nodev,rshared,x-initrd.mount\n", "option rshared cannot" },
	{ DATA "tmpfs /tmp tmpfs nosuid,nodev,mand,x-initrd.mount\n", "option mand cannot" },
	{ DATA "tmpfs /tmp tmpfs nosuid,nodev,_netdev,x-initrd.mount\n", "option _netdev cannot" },
	{ DATA BIND ",size=1\n", "a bind cannot take the option size=1" },
	{ DATA BIND ",sync\n", "a bind cannot take the option sync" },
	{ DATA BIND ",lazytime\n", "a bind cannot take the option lazytime" },
	{ DATA BIND ",idmap=x\n", "a bind cannot take the option idmap=x" },
	{ DATA OVER ",x-bf.upper=slot,lowerdir=/x\n", "lowerdir is bf-init's to set" },
	{ DATA OVER ",x-bf.upper=slot,upperdir=/x\n", "upperdir is bf-init's to set" },
	{ DATA OVER ",x-bf.upper=slot,workdir=/x\n", "workdir is bf-init's to set" },
	{ DATA OVER ",x-bf.upper=slot,lowerdir+=/x\n", "is bf-init's to set" },
	{ DATA OVER ",x-bf.upper=slot,x=\"a,upperdir=/x\"\n", "quotes cannot be served" },
	/* Ours */
	{ DATA OVER "\n", "x-bf.upper is missing" },
	{ DATA OVER ",x-bf.upper\n", "x-bf.upper is volatile, persistent or slot" },
	{ DATA OVER ",x-bf.upper=\n", "x-bf.upper is volatile, persistent or slot" },
	{ DATA OVER ",x-bf.upper=slots\n", "x-bf.upper is volatile, persistent or slot" },
	{ DATA OVER ",x-bf.upper=slot,x-bf.upperr=slot\n", "unknown option x-bf.upperr" },
	{ DATA OVER ",x-bf.upper=slot,x-bf.\n", "unknown option x-bf." },
	{ DATA OVER ",x-bf.upper=slot,x-bf.seed\n", "x-bf.seed has no meaning for an overlay" },
	{ DATA OVER ",x-bf.upper=slot,x-bf.mode=0755\n",
	  "x-bf.mode has no meaning for an overlay" },
	{ DATA OVER ",x-bf.upper=slot,x-bf.degraded=maybe\n", "x-bf.degraded is volatile or skip" },
	{ DATA OVER ",x-bf.upper=slot,x-bf.degraded=fail\n", "x-bf.degraded is volatile or skip" },
	{ DATA OVER ",x-bf.upper=slot,x-bf.degraded=skip\n", "x-bf.degraded=skip needs noauto" },
	{ DATA OVER ",x-bf.upper=volatile,x-bf.degraded=volatile\n",
	  "x-bf.degraded has no meaning" },
	{ DATA "tmpfs /tmp tmpfs nosuid,nodev,x-bf.degraded=skip,x-initrd.mount\n",
	  "x-bf.degraded has no meaning for a tmpfs" },
	{ "PARTLABEL=BF_DATA /data ext4 "
	  "nosuid,nodev,noexec,noauto,x-bf.degraded=skip,x-initrd.mount\n",
	  "cannot be skipped" },
	{ DATA BIND ",x-bf.upper=slot\n", "x-bf.upper has no meaning for a bind" },
	{ DATA BIND ",x-bf.seed=yes\n", "x-bf.seed takes no value" },
	{ DATA OVER ",x-bf.upper=slot,x-bf.size=1m\n", "x-bf.size is for x-bf.upper=volatile" },
	{ DATA OVER ",x-bf.upper=volatile,x-bf.size\n", "x-bf.size is a number" },
	{ DATA OVER ",x-bf.upper=volatile,x-bf.size=0m\n", "x-bf.size is a number" },
	{ DATA OVER ",x-bf.upper=volatile,x-bf.size=m\n", "x-bf.size is a number" },
	{ DATA OVER ",x-bf.upper=volatile,x-bf.size=1mb\n", "x-bf.size is a number" },
	{ DATA OVER ",x-bf.upper=volatile,x-bf.size=1t\n", "x-bf.size is a number" },
	{ DATA BIND ",x-bf.size=1m\n", "x-bf.size has no meaning for a bind" },
	{ DATA BIND ",x-bf.if-exists\n", "x-bf.if-exists needs noauto" },
	{ DATA BIND ",noauto,x-bf.if-exists=bin/x\n", "x-bf.if-exists is a plain absolute path" },
	{ DATA BIND ",noauto,x-bf.if-exists=/a/../b\n", "x-bf.if-exists is a plain absolute path" },
	{ DATA BIND ",x-bf.trust=yes\n", "x-bf.trust takes no value" },
	{ DATA OVER ",x-bf.upper=volatile,x-bf.trust\n", "x-bf.trust has no meaning" },
	{ DATA "tmpfs /tmp tmpfs nosuid,nodev,x-bf.trust,x-initrd.mount\n",
	  "x-bf.trust has no meaning for a tmpfs" },
	{ DATA BIND ",x-bf.mode=0888\n", "x-bf.mode is an octal number" },
	{ DATA BIND ",x-bf.mode=17777\n", "x-bf.mode is an octal number" },
	{ DATA BIND ",x-bf.mode=\n", "x-bf.mode is an octal number" },
	{ DATA BIND ",x-bf.uid=root\n", "x-bf.uid is a number" },
	{ DATA BIND ",x-bf.uid=-1\n", "x-bf.uid is a number" },
	{ DATA BIND ",x-bf.gid=4294967295\n", "x-bf.gid is a number" },
	{ DATA BIND ",x-bf.gid=4294967296\n", "x-bf.gid is a number" },
	/* Sources of binds */
	{ BIND "\n", "line 1, /home: the source /data/home does not lie on BF_DATA" },
	{ BIND "\n" DATA, "line 1, /home: the source" },
	{ DATA "/database /home none bind,nosuid,nodev,x-initrd.mount\n",
	  "does not lie on BF_DATA" },
	{ DATA "/data /home none bind,nosuid,nodev,x-initrd.mount\n", "does not lie on BF_DATA" },
	{ DATA "/etc /home none bind,nosuid,nodev,x-initrd.mount\n", "does not lie on BF_DATA" },
	{ DATA "/data/../etc /home none bind,nosuid,nodev,x-initrd.mount\n", "must be a plain" },
	{ DATA "/data/ /home none bind,nosuid,nodev,x-initrd.mount\n", "must be a plain" },
	{ DATA "none /home none bind,nosuid,nodev,x-initrd.mount\n", "must be a plain" },
	{ DATA "/data/bf /home none bind,nosuid,nodev,x-initrd.mount\n",
	  "bf on BF_DATA is not for binds" },
	{ DATA "/data/slots/A/var /home none bind,nosuid,nodev,x-initrd.mount\n",
	  "slots on BF_DATA" },
	{ DATA "/data/overlay /home none bind,nosuid,nodev,x-initrd.mount\n",
	  "overlay on BF_DATA" },
	{ DATA "/data/trash/0 /home none bind,nosuid,nodev,x-initrd.mount\n", "trash on BF_DATA" },
	/* Lines together */
	{ DATA "tmpfs /data tmpfs nosuid,nodev,x-initrd.mount\n", "line 1 mounts there already" },
	{ DATA "tmpfs /a/b tmpfs nosuid,nodev,x-initrd.mount\ntmpfs /a tmpfs "
	       "nosuid,nodev,x-initrd.mount\n",
	  "line 3, /a: it would hide /a/b of line 2" },
	{ DATA "PARTLABEL=BF_DATA /d2 ext4 nosuid,nodev,noexec,x-initrd.mount\n",
	  "line 1 mounts BF_DATA already" },
	{ DATA "x /a/b overlay nosuid,nodev,x-bf.upper=slot,x-initrd.mount\nx /a-b overlay "
	       "nosuid,nodev,x-bf.upper=slot,x-initrd.mount\n",
	  "its upper would have the name of the one of line 2" },
};

static void test_bad(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct mount_plan p = { .count = 77 };
		struct failure f = { 0 };
		int r = plan_make(bad[i].fstab, &p, &f);

		ok(r < 0 && f.reason == REASON_FSTAB && strstr(f.text, bad[i].why), "bad %zu: %s",
		   i, bad[i].why);
		if (r == 0 || !strstr(f.text, bad[i].why))
			printf("# got %d \"%s\"\n", r, f.text);
		ok_int(p.count, 77, "bad %zu: the plan is not touched", i);
	}
}

/*
 * What root runs, as it would come from BF_DATA: place, and the row that is
 * named. The last ones are above such a place.
 */
static const struct {
	const char *target, *row;
} run_by_root[] = {
	{ "/etc", "/etc: it says what root runs" },
	{ "/etc/systemd", "/etc/systemd: its units" },
	{ "/etc/systemd/system", "/etc/systemd: its units" },
	{ "/etc/systemd/system/multi-user.target.wants", "/etc/systemd: its units" },
	{ "/etc/udev/rules.d", "/etc/udev: its rules" },
	{ "/etc/cron.d", "/etc/cron.d: cron" },
	{ "/etc/cron.hourly", "/etc: it says" },
	{ "/etc/sudoers.d", "/etc/sudoers.d: it says" },
	{ "/etc/pam.d", "/etc/pam.d: it says" },
	{ "/etc/ld.so.conf.d", "/etc/ld.so.conf.d: it says" },
	{ "/etc/profile.d", "/etc/profile.d: root's shell" },
	{ "/etc/init.d", "/etc/init.d: its scripts" },
	{ "/etc/rc3.d", "/etc: it says" },
	{ "/etc/tmpfiles.d", "/etc: it says" },
	{ "/etc/ssh", "/etc/ssh: it says" },
	{ "/etc/rauc", "/etc: it says" },
	{ "/etc/dbus-1/system.d", "/etc: it says" },
	{ "/etc/NetworkManager", "/etc: it says" },
	{ "/etc/NetworkManager/dispatcher.d/no-wait.d", "/etc/NetworkManager/dispatcher.d: Net" },
	{ "/etc/NetworkManager/system-connections2", "/etc: it says" },
	{ "/opt", "/opt: it holds programs" },
	{ "/opt/vendor/app", "/opt: it holds programs" },
	{ "/root", "/root: root's shell" },
	{ "/root/.ssh", "/root: root's shell" },
	{ "/var/spool/cron/crontabs", "/var/spool/cron: cron and at" },
	{ "/var/spool/at", "/var/spool/at: at" },
	{ "/var/lib/extensions", "/var/lib/extensions: systemd" },
	{ "/var/lib/confexts", "/var/lib/confexts: systemd" },
	{ "/var/lib/portables/x", "/var/lib/portables: systemd" },
	{ "/var/lib/machines", "/var/lib/machines: systemd" },
	{ "/var/lib/docker", "/var/lib/docker: root's containers" },
	{ "/var", "/var/spool/cron: cron and at" },
	{ "/var/spool", "/var/spool/cron: cron and at" },
	{ "/var/lib", "/var/lib/binfmts: it says" },
};

static void check_run_by_root(const char *target, const char *row, const char *source,
			      const char *options)
{
	_cleanup_free_ char *line =
		strf("%s%s %s %snosuid,nodev,noexec,x-initrd.mount", DATA, source, target, options);
	_cleanup_free_ char *trusted = strf("%s,x-bf.trust\n", line);
	_cleanup_free_ char *want = strf("line 2, %s: BF_DATA must not hold %s", target, row);
	struct mount_plan p = { 0 };
	struct failure f = { 0 };

	ok(plan_make(line, &p, &f) < 0 && f.reason == REASON_FSTAB && startswith(f.text, want) &&
		   strstr(f.text, "bind only directories with data, or say x-bf.trust"),
	   "%s %s: %s", options, target, f.text);
	if (!ok(plan_make(trusted, &p, &f) == 0 && p.lines[1].trust, "%s %s: trusted", options,
		target))
		return;
	plan_done(&p);
}

static void test_run_by_root(void)
{
	static const char volatile_line[] = "overlay x-bf.upper=volatile,";

	for (size_t i = 0; i < ARRAY_SIZE(run_by_root); i++) {
		const char *target = run_by_root[i].target, *row = run_by_root[i].row;
		_cleanup_free_ char *line =
			strf("%sx %s %snosuid,nodev,x-initrd.mount\n", DATA, target, volatile_line);
		struct mount_plan p = { 0 };
		struct failure f = { 0 };

		check_run_by_root(target, row, "x", "overlay x-bf.upper=slot,");
		check_run_by_root(target, row, "x", "overlay x-bf.upper=persistent,");
		check_run_by_root(target, row, "/data/x", "none bind,");
		if (ok(plan_make(line, &p, &f) == 0, "%s: volatile", target))
			plan_done(&p);
	}
}

/* What bf-fstab(5) lists is what the plan refuses, but for the one row that is data. */
static void test_manual(void)
{
	_cleanup_file_ FILE *file = fopen("initramfs/init/bf-fstab.5", "re");
	char line[256];
	unsigned rows = 0;

	if (!ok(file, "bf-fstab.5"))
		return;
	while (fgets(line, sizeof(line), file)) {
		char *path = startswith(line, ".It Pa /") ? line + strlen(".It Pa ") : NULL;
		_cleanup_free_ char *text = NULL;
		struct mount_plan p = { 0 };
		struct failure f = { 0 };

		if (!path)
			continue;
		path[strcspn(path, "\n ")] = '\0';
		text = strf("%s/data/x %s none bind,nosuid,nodev,x-initrd.mount\n", DATA, path);
		rows++;
		if (streq(path, "/etc/NetworkManager/system-connections")) {
			ok(plan_make(text, &p, &f) == 0, "%s holds data: %s", path, f.text);
			plan_done(&p);
			continue;
		}
		ok(plan_make(text, &p, &f) < 0 && strstr(f.text, path), "%s is refused", path);
	}
	ok(rows > 30, "%u rows in the manual", rows);
}

static void test_long(void)
{
	_cleanup_free_ char *name = malloc(300), *text = NULL;
	struct mount_plan p;
	struct failure f = { 0 };

	memset(name, 'a', 299);
	name[299] = '\0';
	text = strf("%stmpfs /%.254s tmpfs nosuid,nodev,x-initrd.mount\n", DATA, name);
	ok_int(plan_make(text, &p, &f), 0, "a path of 255 bytes");
	plan_done(&p);
	free(text);
	text = strf("%stmpfs /%.255s tmpfs nosuid,nodev,x-initrd.mount\n", DATA, name);
	ok_int(plan_make(text, &p, &f), -EPROTO, "a path of 256 bytes");
}

/* The plan we ship is one that can be carried out. */
static void test_shipped(void)
{
	static const char *const targets[] = { "/data",
					       "/etc",
					       "/var",
					       "/tmp",
					       "/home",
					       "/var/log",
					       "/var/cache/betterframe",
					       "/var/lib/betterframe",
					       "/var/lib/rauc",
					       "/etc/NetworkManager/system-connections",
					       "/var/lib/NetworkManager",
					       "/var/lib/bluetooth",
					       "/var/lib/systemd/backlight",
					       "/var/lib/systemd/rfkill",
					       "/var/lib/systemd/seed",
					       "/var/lib/systemd/timers",
					       "/var/lib/systemd/timesync" };
	_cleanup_file_ FILE *file = fopen("hooks/image/fstab", "re");
	char text[16384];
	struct mount_plan p = { 0 };
	struct failure f = { 0 };
	size_t n;

	if (!ok(file, "hooks/image/fstab"))
		return;
	n = fread(text, 1, sizeof(text) - 1, file);
	text[n] = '\0';
	if (!ok(plan_make(text, &p, &f) == 0, "the shipped fstab is a plan"))
		printf("# %s\n", f.text);
	ok_str(p.data_target, "/data", "the shipped fstab: place of BF_DATA");
	ok_int(p.count, ARRAY_SIZE(targets), "the shipped fstab: lines");
	for (size_t i = 0; i < p.count && i < ARRAY_SIZE(targets); i++) {
		bool on_data = p.lines[i].kind == MOUNT_DATA || p.lines[i].kind == MOUNT_BIND ||
			       p.lines[i].upper != UPPER_VOLATILE;

		ok_str(p.lines[i].target, targets[i], "the shipped fstab: line %zu", i);
		ok(!on_data || p.lines[i].flags & MS_NOEXEC, "%s: noexec if on BF_DATA",
		   targets[i]);
		ok(!p.lines[i].trust, "%s: not trusted", targets[i]);
	}
	plan_done(&p);
}

int main(void)
{
	test_good();
	test_bad();
	test_run_by_root();
	test_manual();
	test_long();
	test_shipped();
	return tap_done();
}
