// SPDX-License-Identifier: MIT
/* bf-boot doctor: a good device has no fault, and each thing that breaks it is named. */
#include "boot/tool/doctor.h"
#include "tests/lib/bf-boot-ask.h"
#include "tests/lib/fat-make.h"

#include <sys/sysmacros.h>

#define NODE	"/proc/device-tree/chosen/bootloader/"
#define WATCHED " watchdog.open_timeout=31"
#define UNWATCHED                                                                                  \
	"quiet roothash=" DEVICE_HASH " systemd.verity=0 systemd.gpt_auto=0 rauc.slot=A panic=10"
#define CMDLINE UNWATCHED WATCHED "\n"
#define FILTERS                                                                                    \
	"[boot_partition=2]\ncmdline=cmdline-a.txt\n[boot_partition=3]\ncmdline=cmdline-b.txt\n"
#define WATCHDOG	    "kernel_watchdog_timeout=31"
#define CONFIG		    WATCHDOG "\n" FILTERS
#define CERTIFICATE(base64) "-----BEGIN CERTIFICATE-----\n" base64 "\n-----END CERTIFICATE-----\n"
/* The names that are in them, in base64. */
#define PEM_PRODUCTION                                                                             \
	CERTIFICATE("eHggQ049S2lvc2sgQ29tcGFueSBzaWduaW5nLCBtYWRlIDIwMjYtMTEtMjMgZm9yIHByb2R1Y3Rp" \
		    "b24=")
#define PEM_DEVELOPMENT                                                                            \
	CERTIFICATE("eHggQ049QmV0dGVyRnJhbWUgc2lnbmluZyAoRGV2ZWxvcG1l\nbnQgb25seSkgMjAyNiB4eA==")
#define STATUS(version)                                                                            \
	"Package: raucous\nVersion: 9.9\n\nPackage: rauc\nStatus: install ok installed\n"          \
	"Version: " version "\nDescription: x\n\nPackage: zsh\nVersion: 5\n"

static const char rauc_conf[] =
	"# comment\n[system]\ncompatible=kiosk\nbootloader=custom\nbundle-formats=-plain\n"
	"data-directory=/var/lib/rauc\n[keyring]\npath=/etc/rauc/keyring.pem\n[handlers]\n"
	"bootloader-custom-backend = /usr/sbin/bf-boot\n"
	"[slot.rootfs.0]\ndevice=/dev/disk/by-partlabel/BF_ROOT_A\nbootname=A\n"
	"[slot.boot.0]\ndevice=/dev/nvme0n1p2\nparent=rootfs.0\n"
	"[slot.rootfs.1]\ndevice=/dev/disk/by-partlabel/BF_ROOT_B\nbootname=B\n"
	"[slot.boot.1]\ndevice=/dev/nvme0n1p3\nparent=rootfs.1\n";

static void boot_image(const char *part, const char *config, const char *tryboot)
{
	const struct fat_make_file files[] = {
		{ "CONFIG  TXT", config, 0 },
		{ "TRYBOOT TXT", tryboot, 0 },
	};

	fat_make(fake_path(part), 16, 512, files, ARRAY_SIZE(files));
}

static const struct {
	const char *path, *text;
	size_t size; /* 0: a text */
} good_files[] = {
	{ "/proc/cmdline", CMDLINE, 0 },
	{ "/proc/consoles",
	  "tty0                 -WU (EC p)    4:1\nttyAMA10             -W- (E  p)  204:74\n", 0 },
	{ "/proc/sys/kernel/panic", "10\n", 0 },
	{ "/proc/sys/kernel/osrelease", "6.12.33+rpt-rpi-2712\n", 0 },
	{ NODE "partition", "\0\0\0\2", 4 },
	{ NODE "tryboot", "\0\0\0\0", 4 },
	{ NODE "capabilities", "\0\0\0\x0c", 4 },
	{ NODE "build-timestamp", "\x68\xe5\xa9\x80", 4 },
	{ "/sys/class/watchdog/watchdog0/timeout", "15\n", 0 },
	{ "/sys/class/watchdog/watchdog0/state", "active\n", 0 },
	{ "/usr/lib/systemd/system.conf.d/50-bf.conf", "[Manager]\nRuntimeWatchdogSec=15s\n", 0 },
	{ "/usr/lib/systemd/system.conf.d/40-reboot.conf", "[Manager]\nRebootWatchdogSec=15s\n",
	  0 },
	{ "/etc/dbus-1/system.d/de.pengutronix.rauc.conf",
	  "<deny send_destination=\"de.pengutronix.rauc\"/>", 0 },
	{ "/etc/rauc/system.conf", rauc_conf, 0 },
	{ "/etc/rauc/keyring.pem", PEM_PRODUCTION, 0 },
	{ "/usr/sbin/bf-boot", "#!", 0 },
	{ "/var/lib/rauc/central.raucs", "", 0 },
	{ "/var/lib/dpkg/status", STATUS("1.13-3+deb13u1"), 0 },
};

static const char *const reboots[] = { "reboot", "soft-reboot", "kexec" };

static void make_good(void)
{
	struct device d = device_default;
	struct record rec;

	device_record(&rec, SLOT_A);
	d.record = &rec;
	fake_reset();
	device_make(&d);
	device_store(&rec);
	boot_image("/dev/nvme0n1p2", CONFIG, CONFIG);
	boot_image("/dev/nvme0n1p3", CONFIG, CONFIG);
	for (size_t i = 0; i < ARRAY_SIZE(good_files); i++)
		fake_file_data(good_files[i].path, good_files[i].text,
			       good_files[i].size ? good_files[i].size
						  : strlen(good_files[i].text));
	if (chmod(fake_path("/usr/sbin/bf-boot"), 0755) < 0)
		abort();
	fake_symlink("../../nvme0n1p4", "/dev/disk/by-partlabel/BF_ROOT_A");
	fake_symlink("../../nvme0n1p5", "/dev/disk/by-partlabel/BF_ROOT_B");
	fake_symlink("/usr/lib/systemd/system/bf-boot-reconcile.service",
		     "/etc/systemd/system/multi-user.target.wants/bf-boot-reconcile.service");
	for (size_t i = 0; i < ARRAY_SIZE(reboots); i++) {
		_cleanup_free_ char *wants =
			strf("/usr/lib/systemd/system/%s.target.wants", reboots[i]);
		_cleanup_free_ char *arm = strf("%s/bf-boot-arm.service", wants);
		_cleanup_free_ char *end = strf("%s/bf-boot-end.service", wants);

		fake_symlink("../bf-boot-arm.service", arm);
		fake_symlink("../bf-boot-end.service", end);
	}
	fake_symlink("x", "/etc/systemd/system/sysinit.target.wants/bf-guard.service");
	fake_symlink("x", "/etc/systemd/system/emergency.target.wants/bf-guard.service");
	fake_symlink("x", "/etc/systemd/system/rescue.target.wants/bf-guard.service");
}

/* The lines that do not start with "ok". */
static char *complaints(const char *out)
{
	char *text = strdup(out), *to = text;

	if (!text)
		abort();
	for (const char *line = out; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		size_t len = strcspn(line, "\n") + 1;

		if (!startswith(line, "FAULT") && !startswith(line, "warn"))
			continue;
		memcpy(to, line, len);
		to += len;
	}
	*to = '\0';
	if (to > text)
		to[-1] = '\0';
	return text;
}

static void check(const char *name, const char *expected)
{
	const struct answer *a = ask("doctor", NULL);
	_cleanup_free_ char *said = complaints(a->out);
	bool fault = startswith(expected, "FAULT") != NULL;

	ok(*expected ? strstr(said, expected) != NULL && !strchr(said, '\n') : !*said,
	   "%s: the only complaint is \"%s\"", name, expected);
	ok_int(a->status, fault, "status");
	if (!strstr(said, expected) || strchr(said, '\n') || (!*expected && *said))
		printf("# %s\n", said);
	ok(!*a->err && fake_open_fds() == 0, "nothing on stderr, files closed");
}

static void test_files(void)
{
	static const struct {
		const char *name, *path, *text; /* NULL: removed */
		size_t size;
		const char *expected;
	} rows[] = {
		{ "nothing wrong", "/tmp/x", "", 0, "" },
		{ "no device tree", "/proc/device-tree", NULL, 0,
		  "warn   firmware      no chosen" },
		{ "partition unknown", NODE "partition", "\0\0\0\0", 4,
		  "FAULT  firmware      does" },
		{ "another partition", NODE "partition", "\0\0\0\3", 4,
		  "FAULT  firmware      booted partition 3, but slot A" },
		{ "no tryboot_a_b", NODE "capabilities", "\0\0\0\x08", 4,
		  "FAULT  firmware      not" },
		{ "no capabilities", NODE "capabilities", NULL, 0, "warn   firmware" },
		{ "EEPROM too old", NODE "build-timestamp", "\x67\xce\x2b\x7f", 4,
		  "FAULT  EEPROM        older than 2025-03-10" },
		{ "EEPROM old", NODE "build-timestamp", "\x67\xce\x2b\x80", 4,
		  "warn   EEPROM        older than 2025-10-08" },
		{ "EEPROM does not say", NODE "build-timestamp", NULL, 0, "warn   EEPROM" },
		{ "no rauc.slot=", "/proc/cmdline",
		  "roothash=aa systemd.verity=0 systemd.gpt_auto=0 panic=1" WATCHED "\n", 0,
		  "FAULT  cmdline       no rauc.slot" },
		{ "wrong rauc.slot=", "/proc/cmdline",
		  "roothash=aa systemd.verity=0 systemd.gpt_auto=0 rauc.slot=B panic=1" WATCHED
		  "\n",
		  0, "FAULT  cmdline       rauc.slot=B, but slot A" },
		{ "no systemd.verity=0", "/proc/cmdline",
		  "roothash=aa systemd.gpt_auto=0 rauc.slot=A panic=1" WATCHED "\n", 0,
		  "FAULT  cmdline       no systemd.verity=0" },
		{ "systemd.verity=yes", "/proc/cmdline",
		  "roothash=aa systemd.verity=yes systemd.gpt_auto=0 rauc.slot=A panic=1" WATCHED
		  "\n",
		  0, "FAULT  cmdline       no systemd.verity=0" },
		{ "no systemd.gpt_auto=0", "/proc/cmdline",
		  "roothash=aa systemd.verity=0 rauc.slot=A panic=1" WATCHED "\n", 0,
		  "warn   cmdline       no systemd.gpt_auto=0" },
		{ "words of systemd that mean no", "/proc/cmdline",
		  "roothash=aa systemd.verity=Off systemd.gpt_auto=false rauc.slot=A "
		  "panic=1" WATCHED "\n",
		  0, "" },
		{ "no roothash=", "/proc/cmdline", "rauc.slot=A panic=1" WATCHED "\n", 0,
		  "FAULT  cmdline       no roothash" },
		{ "root=", "/proc/cmdline",
		  "root=/dev/sda2 roothash=aa systemd.verity=0 systemd.gpt_auto=0 rauc.slot=A "
		  "panic=1" WATCHED "\n",
		  0, "warn   cmdline       root=/dev/sda2" },
		{ "no word of the firmware's watchdog", "/proc/cmdline",
		  "roothash=aa systemd.verity=0 systemd.gpt_auto=0 rauc.slot=A panic=1\n", 0,
		  "warn   watchdog      the firmware did not watch" },
		{ "only serial", "/proc/consoles",
		  "ttyAMA10             -W- (EC p)  204:74\nttyS0 -W- (E  p) 4:64\n", 0,
		  "warn   console       the screen shows no panic of the kernel" },
		{ "no console", "/proc/consoles", "", 0, "warn   console" },
		{ "consoles unknown", "/proc/consoles", NULL, 0, "" },
		{ "no panic=", "/proc/cmdline",
		  "roothash=aa systemd.verity=0 systemd.gpt_auto=0 rauc.slot=A" WATCHED "\n", 0,
		  "warn   panic" },
		{ "panic=0", "/proc/sys/kernel/panic", "0\n", 0, "FAULT  panic" },
		{ "no watchdog", "/sys/class/watchdog", NULL, 0,
		  "FAULT  watchdog      there is no" },
		{ "watchdog off", "/sys/class/watchdog/watchdog0/state", "inactive\n", 0,
		  "FAULT  watchdog      is not running" },
		{ "long watchdog", "/sys/class/watchdog/watchdog0/timeout", "60\n", 0,
		  "warn   watchdog      resets after 60 s" },
		{ "another committer", "/usr/lib/systemd/system/rauc-mark-good.service",
		  "[Service]\n", 0,
		  "FAULT  unit          rauc-mark-good.service commits a slot without asking" },
		{ "betterframe's", "/etc/systemd/system/betterframe-rauc-mark-good.service",
		  "[Unit]\n", 0, "FAULT  unit          betterframe-rauc-mark-good.service" },
		{ "masked by an empty file",
		  "/etc/systemd/system/betterframe-rauc-mark-good.service", "", 0, "" },
		{ "nobody feeds", "/usr/lib/systemd/system.conf.d/50-bf.conf", NULL, 0,
		  "FAULT  watchdog      nobody feeds" },
		{ "another section", "/usr/lib/systemd/system.conf.d/50-bf.conf",
		  "[Service]\nRuntimeWatchdogSec=15\n", 0, "FAULT  watchdog      nobody feeds" },
		{ "switched off later", "/usr/lib/systemd/system.conf.d/60-x.conf",
		  "[Manager]\nRuntimeWatchdogSec=off\n", 0, "FAULT  watchdog      nobody feeds" },
		{ "replaced in /etc", "/etc/systemd/system.conf.d/50-bf.conf",
		  "[Manager]\nRuntimeWatchdogSec=1min 30s\n", 0,
		  "warn   watchdog      RuntimeWatchdogSec=1min 30s" },
		{ "replaced by nothing", "/etc/systemd/system.conf.d/50-bf.conf", "", 0,
		  "FAULT  watchdog      nobody feeds" },
		{ "said earlier", "/etc/systemd/system.conf.d/40-x.conf",
		  "[Manager]\nRuntimeWatchdogSec=off\n", 0, "" },
		{ "not a drop-in", "/etc/systemd/system.conf.d/90-x.bak",
		  "[Manager]\nRuntimeWatchdogSec=off\n", 0, "" },
		{ "said in the main file", "/etc/systemd/system.conf",
		  "[Manager]\nRuntimeWatchdogSec=off\n", 0, "" },
		{ "no time", "/usr/lib/systemd/system.conf.d/50-bf.conf",
		  "[Manager]\nRuntimeWatchdogSec=soon\n", 0,
		  "warn   watchdog      RuntimeWatchdogSec=soon" },
		{ "no end of a shutdown", "/usr/lib/systemd/system.conf.d/40-reboot.conf", NULL, 0,
		  "warn   watchdog      RebootWatchdogSec= is not set" },
		{ "never an end of a shutdown", "/usr/lib/systemd/system.conf.d/60-x.conf",
		  "[Manager]\nRebootWatchdogSec=off\n", 0,
		  "warn   watchdog      RebootWatchdogSec=off: nothing ends" },
		{ "more than a shutdown may take", "/usr/lib/systemd/system.conf.d/60-x.conf",
		  "[Manager]\nRebootWatchdogSec=2min\n", 0,
		  "warn   watchdog      RebootWatchdogSec=2min; a Raspberry Pi counts at most 15" },
		{ "no time for a shutdown", "/usr/lib/systemd/system.conf.d/60-x.conf",
		  "[Manager]\nRebootWatchdogSec=soon\n", 0,
		  "warn   watchdog      RebootWatchdogSec=soon" },
		{ "policy of the distribution", "/etc/dbus-1/system.d/de.pengutronix.rauc.conf",
		  "<allow send_destination=\"de.pengutronix.rauc\"/>", 0, "FAULT  D-Bus" },
		{ "no policy", "/etc/dbus-1", NULL, 0, "FAULT  D-Bus" },
		{ "reconcile off",
		  "/etc/systemd/system/multi-user.target.wants/bf-boot-reconcile.service", NULL, 0,
		  "FAULT  unit          bf-boot-reconcile" },
		{ "arm off", "/usr/lib/systemd/system/reboot.target.wants/bf-boot-arm.service",
		  NULL, 0, "FAULT  unit          bf-boot-arm" },
		{ "end off", "/usr/lib/systemd/system/reboot.target.wants/bf-boot-end.service",
		  NULL, 0, "warn   unit          bf-boot-end" },
		{ "arm off for kexec",
		  "/usr/lib/systemd/system/kexec.target.wants/bf-boot-arm.service", NULL, 0,
		  "FAULT  unit          bf-boot-arm.service (makes every reboot the trial) is not "
		  "enabled for kexec.target" },
		{ "guard off", "/etc/systemd/system/sysinit.target.wants/bf-guard.service", NULL, 0,
		  "warn   unit          bf-guard.service (commits good slots) is not enabled for "
		  "sysinit.target" },
		{ "guard off in the emergency mode",
		  "/etc/systemd/system/emergency.target.wants/bf-guard.service", NULL, 0,
		  "warn   unit          bf-guard.service (commits good slots) is not enabled for "
		  "emergency.target" },
		{ "no RAUC", "/etc/rauc/system.conf", NULL, 0, "FAULT  RAUC          there is no" },
		{ "no backend", "/usr/sbin/bf-boot", NULL, 0, "FAULT  RAUC          the backend" },
		{ "no data directory", "/var/lib/rauc", NULL, 0,
		  "FAULT  RAUC          data-directory" },
		{ "no keyring", "/etc/rauc/keyring.pem", NULL, 0,
		  "FAULT  RAUC          the keyring" },
		{ "empty keyring", "/etc/rauc/keyring.pem", "", 0,
		  "FAULT  RAUC          the keyring" },
		{ "development keyring", "/etc/rauc/keyring.pem", PEM_PRODUCTION PEM_DEVELOPMENT, 0,
		  "FAULT  RAUC          the keyring /etc/rauc/keyring.pem has a development" },
		{ "old RAUC", "/var/lib/dpkg/status", STATUS("1.5.1-1"), 0,
		  "FAULT  RAUC          version 1.5.1-1" },
		{ "RAUC 1.8", "/var/lib/dpkg/status", STATUS("1.8-2"), 0, "" },
		{ "RAUC unknown", "/var/lib/dpkg/status", "Package: zsh\nVersion: 5\n", 0,
		  "warn   RAUC" },
		{ "Linux too new for it", "/proc/sys/kernel/osrelease", "6.19.1-arm64\n", 0,
		  "FAULT  RAUC          version 1.13-3+deb13u1 cannot read" },
		{ "the last Linux it knows", "/proc/sys/kernel/osrelease", "6.18.120-arm64\n", 0,
		  "" },
		{ "the guard stays", RUNNING_STAYING, "", 0, "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		make_good();
		if (!rows[i].text)
			fake_remove(rows[i].path);
		else
			fake_file_data(rows[i].path, rows[i].text,
				       rows[i].size ? rows[i].size : strlen(rows[i].text));
		check(rows[i].name, rows[i].expected);
	}
}

/* One change in the text of RAUC's configuration. */
static void test_rauc_conf(void)
{
	static const struct {
		const char *name, *from, *to, *expected;
	} rows[] = {
		{ "another bootloader", "bootloader=custom", "bootloader=uboot",
		  "FAULT  RAUC          bootloader=uboot" },
		{ "no compatible", "compatible=kiosk\n", "", "FAULT  RAUC          no compatible" },
		{ "plain bundles", "bundle-formats=-plain\n", "",
		  "FAULT  RAUC          plain bundles" },
		{ "plain bundles, too", "=-plain", "=plain verity",
		  "FAULT  RAUC          plain bundles" },
		{ "a list without", "=-plain", "=verity crypt", "" },
		{ "no data directory", "data-directory=/var/lib/rauc\n", "",
		  "FAULT  RAUC          no data-directory" },
		{ "keyring directory", "path=/etc/rauc/keyring.pem", "directory=/etc/rauc/k",
		  "warn   RAUC          keyring directory" },
		{ "relative keyring", "path=/etc/rauc/keyring.pem", "path=keyring.pem", "" },
		{ "other slot", "bootname=A", "bootname=C",
		  "FAULT  RAUC          [slot.rootfs.0] bootname=C" },
		{ "other disk", "/dev/nvme0n1p2", "/dev/sda2",
		  "FAULT  RAUC          [slot.boot.0] /dev/sda2" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *at = strstr(rauc_conf, rows[i].from);
		_cleanup_free_ char *text = strf("%.*s%s%s", (int)(at - rauc_conf), rauc_conf,
						 rows[i].to, at + strlen(rows[i].from));

		make_good();
		fake_file("/etc/rauc/system.conf", text ? text : "");
		if (streq(rows[i].name, "other slot")) {
			const struct answer *a = ask("doctor", NULL);

			ok(a->status == 1 && strstr(a->out, rows[i].expected), "%s", rows[i].name);
		} else {
			check(rows[i].name, rows[i].expected);
		}
	}
}

static void test_kernel_watchdog(void)
{
	static const struct {
		const char *name, *config;
		bool missing;
	} rows[] = {
		{ "none", FILTERS, true },
		{ "0", "kernel_watchdog_timeout=0\n" FILTERS, true },
		{ "no number", "kernel_watchdog_timeout=long\n" FILTERS, true },
		{ "a comment", "#" WATCHDOG "\n" FILTERS, true },
		{ "another key", "x" WATCHDOG "\n" FILTERS, true },
		{ "switched off below", CONFIG "kernel_watchdog_timeout=0\n", true },
		{ "at the end", FILTERS WATCHDOG, false },
		{ "written on Windows", FILTERS WATCHDOG "\r\n", false },
	};

	/* Then it is no fault of the EEPROM's that the kernel was told nothing. */
	make_good();
	boot_image("/dev/nvme0n1p2", FILTERS, FILTERS);
	fake_file("/proc/cmdline", UNWATCHED "\n");
	check("neither asked for nor done",
	      "FAULT  BF_BOOT_A     config.txt has no kernel_watchdog");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		make_good();
		boot_image("/dev/nvme0n1p3", rows[i].config, rows[i].config);
		check(rows[i].name,
		      rows[i].missing ? "FAULT  BF_BOOT_B     config.txt has no kernel_watchdog"
				      : "");
		make_good();
		boot_image("/dev/nvme0n1p3", rows[i].config, rows[i].config);
		fake_file("/proc/cmdline", UNWATCHED " bf.watchdog=0\n");
		check("the watchdog is left alone", "");
	}
}

static void test_partitions(void)
{
	struct device d = device_default;
	const struct fat_make_file beside[] = {
		{ "AUTOBOOTTXT",
		  "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n", 512 },
		{ "CONFIG  TXT", "x", 0 },
	};

	make_good();
	device_sysfs("sda", 6, "BF_DATA", makedev(8, 6));
	check("a copy on another disk", "warn   partitions    sda6 on sda carries");
	make_good();
	fake_file("/sys/devices/virtual/block/nvme0n1/nvme0n1p5/uevent", "PARTNAME=other\n");
	check("another label", "FAULT  partitions    BF_ROOT_B: has another label");
	make_good();
	d.boot_file = "BF_ROOT_B_DEV=\n";
	device_boot_file(&d);
	fake_file("/etc/rauc/system.conf", rauc_conf);
	ok(strstr(ask("doctor", NULL)->out, "FAULT  partitions    BF_ROOT_B: missing"),
	   "a missing partition");

	make_good();
	boot_image("/dev/nvme0n1p3", CONFIG, CONFIG "x");
	check("tryboot.txt differs", "FAULT  BF_BOOT_B     tryboot.txt is not the same");
	make_good();
	boot_image("/dev/nvme0n1p2", WATCHDOG "\n", WATCHDOG "\n");
	check("no filter", "warn   BF_BOOT_A     config.txt does not choose");
	test_kernel_watchdog();
	make_good();
	fake_file("/dev/nvme0n1p2", "");
	check("no FAT", "FAULT  BF_BOOT_A     config.txt");

	make_good();
	fat_make(fake_path("/dev/nvme0n1p1"), 12, 512, beside, 1);
	check("hand-written autoboot.txt", "");
	make_good();
	fat_make(fake_path("/dev/nvme0n1p1"), 12, 512, beside, 2);
	check("config.txt beside it", "FAULT  autoboot.txt  CONFIG  .TXT lies beside");
	make_good();
	fat_make(fake_path("/dev/nvme0n1p1"), 12, 512, beside, 0);
	check("no autoboot.txt", "FAULT  autoboot.txt  cannot be found");
}

/* The fix is in 1.15.1, not in 1.15. */
static void test_rauc_on_linux_6_19(void)
{
	static const struct {
		const char *status, *expected;
	} rows[] = {
		{ STATUS("1.15-1"), "FAULT  RAUC          version 1.15-1 cannot read" },
		{ STATUS("1.15.1-1~bpo13+1"), "" },
		{ STATUS("1.16"), "" },
		{ STATUS("2.0"), "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		make_good();
		fake_file("/proc/sys/kernel/osrelease", "7.3.4-arm64\n");
		fake_file("/var/lib/dpkg/status", rows[i].status);
		check("Linux 7.3.4", rows[i].expected);
	}
}

static void test_boot(void)
{
	static const struct {
		const char *name, *line, *expected;
	} rows[] = {
		{ "rescue image", "BF_RESCUE=yes\n", "FAULT  rescue" },
		{ "corrupt root", "BF_VERITY=C\n", "FAULT  verity" },
		{ "mismatch", "BF_MISMATCH=yes\n", "FAULT  slot          Firmware" },
		{ "limbo", "BF_LIMBO=yes\n", "FAULT  slot          Nothing says for sure" },
		{ "degraded", "BF_DEGRADED=yes\nBF_DATA_WHY=\"home is full\"\n",
		  "FAULT  data          degraded: home is full" },
		{ "mended", "BF_DATA_WHY=\"home was a link\"\n",
		  "warn   data          home was a link" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct device d = device_default;

		make_good();
		d.boot_file = rows[i].line;
		device_boot_file(&d);
		check(rows[i].name, rows[i].expected);
	}
	make_good();
	fake_remove(BOOT_FILE_PATH);
	check("not by bf-init", "FAULT  bf-init");
	make_good();
	fake_remove(DEVICE_DATA "/bf/boot-record.old");
	check("one generation", "warn   record");
	make_good();
	fake_remove(DEVICE_DATA "/bf");
	check("no record", "FAULT  record        there is none");
	make_good();
	fake_filesystem("/var/lib/rauc");
	check("data directory elsewhere",
	      "FAULT  RAUC          data-directory /var/lib/rauc is not on");
}

int main(void)
{
	test_files();
	test_rauc_conf();
	test_partitions();
	test_rauc_on_linux_6_19();
	test_boot();
	return tap_done();
}
