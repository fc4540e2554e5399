// SPDX-License-Identifier: MIT
#include "initramfs/init/dm.h"
#include "initramfs/init/root.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"
#include "tests/lib/verity-sample.h"

#include <linux/dm-ioctl.h>
#include <sys/ioctl.h>

#define BLOCK	  4096
#define FS_BYTES  (8 * BLOCK)
#define DISK_SYS  "/sys/devices/pci/nvme/nvme0n1"
#define ROOT_PART "nvme0n1p4"
#define DM_UUID	  "CRYPT-VERITY-00112233445566778899aabbccddeeff-root"
#define TABLE	  "1 259:4 259:4 4096 4096 8 9 sha256 " HASH64 " aabb"

static const struct partition root_part = { .name = ROOT_PART, .major = 259, .minor = 4 };
static const struct disk disk = { .name = "nvme0n1" };

/* An ext2 image of 8 blocks that libblkid takes for one: superblock only. */
static void image_head(uint8_t *p)
{
	memset(p, 0, FS_BYTES);
	put_le(p + 1024 + 0x04, 8, 4);
	put_le(p + 1024 + 0x18, 2, 4);
	put_le(p + 1024 + 0x38, 0xef53, 2);
	put_le(p + 1024 + 0x4c, 1, 4);
}

/* The partition: filesystem, superblock, one block of hash tree. */
static void image(uint8_t p[static 10 * BLOCK])
{
	memset(p, 0, 10 * BLOCK);
	image_head(p);
	sample_super(p + FS_BYTES);
}

static void put_partition(const char *name, unsigned minor, const void *data, size_t len)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "/dev/%s", name);
	fake_file_data(path, data, len);
	fake_block_device(path, 259, minor);
}

static void put_uevent(const char *name, unsigned minor, const char *label, const char *uuid)
{
	char path[128], text[512];

	(void)snprintf(path, sizeof(path), DISK_SYS "/%s/uevent", name);
	(void)snprintf(text, sizeof(text),
		       "MAJOR=259\nMINOR=%u\nDEVNAME=%s\nDEVTYPE=partition\nDISKSEQ=9\nPARTN=%u\n"
		       "PARTNAME=%s\nPARTUUID=%s\n",
		       minor, name, minor, label, uuid);
	fake_file(path, text);
}

static void world(void)
{
	static uint8_t part[10 * BLOCK], fs[FS_BYTES];

	fake_reset();
	image(part);
	image_head(fs);
	put_partition(ROOT_PART, 4, part, sizeof(part));
	fake_file_data("/dev/dm-0", fs, sizeof(fs));
	fake_file("/dev/mapper/control", "");
	fake_file("/proc/crypto", "name : sha256\ndriver : sha256-ce\nselftest : passed\n"
				  "type : shash\npriority : 200\n");
	fake_symlink("../../devices/pci/nvme/nvme0n1", "/sys/class/block/nvme0n1");
	fake_file(DISK_SYS "/uevent",
		  "MAJOR=259\nMINOR=0\nDEVNAME=nvme0n1\nDEVTYPE=disk\nPARTNAME=DISK\n");
	fake_file(DISK_SYS "/size", "1\n");
	put_uevent(ROOT_PART, 4, "BF_ROOT_A", "11111111-2222-3333-4444-5555555555aa");
	fake_dir("/root");
}

static const struct cmdline good_cmdline = { .roothash = (char *)HASH64 };

static int mount_with(const struct cmdline *c, struct root *root, struct failure *f)
{
	*f = (struct failure) { 0 };
	*root = (struct root) { 0 };
	return root_mount(&root_part, &disk, c, "/root", root, f);
}

static const char *code(int r, const struct failure *f)
{
	return r < 0 ? reason_text(f->reason)->code : "ok";
}

/* The story, told by the calls it makes */

static void test_good(void)
{
	struct failure f;
	struct root root;

	world();
	ok_int(mount_with(&good_cmdline, &root, &f), 0, "a good root mounts");
	ok_str(fake_log(),
	       "dm versions - -\n"
	       "dm create root " DM_UUID "\n"
	       "dm load root ro 0 64 verity " TABLE "\n"
	       "dm suspend root resume\n"
	       "dm status root -\n"
	       "set-readonly /dev/nvme0n1p4\n"
	       "mount /dev/dm-0 /root ext2 ro -\n",
	       "in this order, first with a table that does not restart");
	ok_str(root.fstype, "ext2", "filesystem");
	ok_str(root.dm_name, "dm-0", "device");
	ok(root.dm_major == 253 && root.dm_minor == 0, "its number");
	ok_str(root.uuid, SAMPLE_UUID, "uuid");
	ok_str(root.algorithm, "sha256", "hash");
	ok_str(root.driver, "sha256-ce", "and who makes it");
	ok(root.status == 'V' && !root.fec && !root.signature && !root.sealed, "state");
	ok_int(fake_open_fds(), 0, "nothing stays open");
	ok_int(fake_violations(), 0, "direct reads are aligned");

	fake_log_clear();
	ok_int(root_seal(&root, &f), 0, "it can be sealed");
	ok_str(fake_log(),
	       "dm status root -\n"
	       "dm load root ro 0 64 verity " TABLE " 1 restart_on_corruption\n"
	       "dm suspend root resume\n"
	       "dm status root -\n",
	       "the second table restarts");
	ok(root.sealed, "and says so");
	ok_int(fake_open_fds(), 0, "nothing stays open after that either");
	root_done(&root);
}

static void test_reads_first_and_last(void)
{
	struct failure f;
	struct root root;

	world();
	fake_log_files(true);
	ok_int(mount_with(&good_cmdline, &root, &f), 0, "mounts");
	ok(strstr(fake_log(), "pread /dev/dm-0 0 4096\n"), "block 0 is read through the device");
	ok(strstr(fake_log(), "pread /dev/dm-0 28672 4096\n"), "and the last one");
	ok(strstr(fake_log(), "dm status") > strstr(fake_log(), "/dev/dm-0 28672"),
	   "before the status is asked for");
	root_done(&root);
}

static void test_versions(void)
{
	static const struct {
		uint32_t major, minor;
		bool on_error;
	} rows[] = {
		{ 1, 9, false }, { 1, 10, true }, { 1, 11, true }, { 2, 0, true }, { 0, 99, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct failure f;
		struct root root;

		world();
		fake_dm_version(rows[i].major, rows[i].minor, 0);
		ok_int(mount_with(&good_cmdline, &root, &f), 0, "target %u.%u", rows[i].major,
		       rows[i].minor);
		ok(!!strstr(root.table.params, "restart_on_error") == rows[i].on_error,
		   "target %u.%u: restart_on_error %s", rows[i].major, rows[i].minor,
		   rows[i].on_error ? "asked for" : "not known");
		root_done(&root);
	}
}

/* Each row changes the good world before root_mount(). */

static void poke(const char *path, size_t at, const void *data, size_t len)
{
	size_t size;
	char *bytes = fake_read(path, &size);

	memcpy(bytes + at, data, len);
	fake_file_data(path, bytes, size);
	free(bytes);
	if (startswith(path, "/dev/nvme"))
		fake_block_device(path, 259, path[strlen(path) - 1] - '0');
}

static void cut(size_t len)
{
	static uint8_t part[10 * BLOCK];

	image(part);
	put_partition(ROOT_PART, 4, part, len);
}

static void no_control(void)
{
	fake_remove("/dev/mapper/control");
}
static void no_verity(void)
{
	fake_result("dm versions", 0);
}
static void zeros(void)
{
	static const uint8_t zero[10 * BLOCK];

	put_partition(ROOT_PART, 4, zero, sizeof(zero));
}
static void empty(void)
{
	cut(0);
}
static void cut_in_fs(void)
{
	cut(3 * BLOCK);
}
static void cut_before_super(void)
{
	cut(FS_BYTES);
}
static void cut_in_super(void)
{
	cut(FS_BYTES + 511);
}
static void cut_before_tree(void)
{
	cut(9 * BLOCK);
}
static void no_node(void)
{
	fake_remove("/dev/" ROOT_PART);
}
static void wild_size(void)
{
	poke("/dev/" ROOT_PART, 1024 + 0x04, "\0\0\0\xff", 4);
}
static void wild_block(void)
{
	poke("/dev/" ROOT_PART, 1024 + 0x18, "\xff", 1);
}
static void zero_super(void)
{
	poke("/dev/" ROOT_PART, FS_BYTES, "\0\0\0\0\0\0\0", 8);
}
static void bad_version(void)
{
	poke("/dev/" ROOT_PART, FS_BYTES + 8, "\2", 1);
}
static void read_error_fs(void)
{
	fake_result("pread /dev/nvme0n1p4 0 4096", -EIO);
}
static void read_error_super(void)
{
	fake_result("pread /dev/nvme0n1p4 32768 512", -EIO);
}
static void node_busy(void)
{
	fake_result("dm create", -EBUSY);
}
static void load_einval(void)
{
	fake_result("dm load", -EINVAL);
}
static void load_enoent(void)
{
	fake_result("dm load", -ENOENT);
}
static void load_busy(void)
{
	fake_result("dm load", -EBUSY);
}
static void load_nokey(void)
{
	fake_result("dm load", -ENOKEY);
}
static void resume_fails(void)
{
	fake_result("dm suspend", -ENXIO);
}
static void first_block(void)
{
	fake_result("pread /dev/dm-0 0 4096", -EIO);
}
static void last_block(void)
{
	fake_result("pread /dev/dm-0 28672 4096", -EIO);
}
static void first_block_c(void)
{
	first_block();
	fake_dm_status("C -");
}
static void status_c(void)
{
	fake_dm_status("C");
}
static void status_c_of_6_19(void)
{
	fake_dm_status("C 17");
}
static void status_unknown(void)
{
	fake_dm_status("Verified -");
}
static void status_empty(void)
{
	fake_dm_status("");
}
static void status_endless(void)
{
	static char text[8192] = "V";

	memset(text + 1, '-', sizeof(text) - 2);
	fake_dm_status(text);
}
static void set_ro_fails(void)
{
	fake_result("set-readonly", -EPERM);
}
static void no_dm_node(void)
{
	fake_remove("/dev/dm-0");
}
static void not_a_filesystem(void)
{
	poke("/dev/dm-0", 1024 + 0x38, "\0", 1);
}
static void mount_nodev(void)
{
	fake_result("mount ", -ENODEV);
}
static void mount_rofs(void)
{
	fake_result("mount ", -EROFS);
}
static void becomes_corrupt(void)
{
	fake_dm_status("C");
}
static void mount_meets_damage(void)
{
	fake_then("set-readonly", becomes_corrupt);
	fake_result("mount ", -EIO);
}

static const struct {
	const char *name;
	void (*change)(void);
	const char *code, *says;
} failures[] = {
	{ "no device-mapper", no_control, "verity-setup", "no device-mapper" },
	{ "no dm-verity", no_verity, "verity-setup", "no dm-verity" },
	{ "partition without node", no_node, "disk-missing", "/dev/nvme0n1p4" },
	{ "partition of zeros", zeros, "root-filesystem", "no ext4, erofs or squashfs" },
	{ "partition without bytes", empty, "root-filesystem", "cannot be read" },
	{ "partition shorter than the filesystem", cut_in_fs, "verity-superblock",
	  "ext4 is longer (32768 bytes) than the partition (12288)" },
	{ "partition ends with the filesystem", cut_before_super, "verity-superblock",
	  "no verity superblock behind" },
	{ "superblock cut", cut_in_super, "verity-superblock", "no verity superblock behind" },
	{ "hash tree cut", cut_before_tree, "verity-superblock", "hash tree truncated" },
	{ "filesystem says it is huge", wild_size, "verity-superblock", "longer" },
	{ "filesystem with an impossible block", wild_block, "root-filesystem", "impossible" },
	{ "superblock zeroed", zero_super, "verity-superblock", "no verity superblock" },
	{ "superblock of version 2", bad_version, "verity-superblock", "version is 2" },
	{ "filesystem unreadable", read_error_fs, "root-filesystem", "cannot be read" },
	{ "superblock unreadable", read_error_super, "verity-superblock", "byte 32768" },
	{ "name taken", node_busy, "verity-setup", "mapped device root" },
	{ "table refused", load_einval, "verity-setup", "see the kernel log: 1 259:4" },
	{ "hash algorithm missing", load_enoent, "verity-setup", "the kernel has no sha256" },
	{ "partition in use", load_busy, "verity-setup", "nvme0n1p4 is in use" },
	{ "signature required", load_nokey, "verity-signature", "wants a signed root hash" },
	{ "start refused", resume_fails, "verity-setup", "start of root" },
	{ "wrong root hash or first block bad", first_block_c, "verity-corrupt",
	  "block 0 of the root cannot be read; verity status C -" },
	{ "disk cannot read the first block", first_block, "root-corrupt", "block 0" },
	{ "disk cannot read the last block", last_block, "root-corrupt", "block 7" },
	{ "status C", status_c, "verity-corrupt", "(verity status C)" },
	{ "status C of Linux 6.19", status_c_of_6_19, "verity-corrupt", "(verity status C 17)" },
	{ "status that is not known", status_unknown, "verity-setup", "\"Verified -\" begins" },
	{ "status without a word", status_empty, "verity-setup", "\"\" begins" },
	{ "status without an end", status_endless, "verity-setup", "status of root" },
	{ "BLKROSET refused", set_ro_fails, "verity-setup", "read-only" },
	{ "no node of the device", no_dm_node, "verity-setup", "/dev/dm-0" },
	{ "verified content is no filesystem", not_a_filesystem, "root-filesystem",
	  "no filesystem is known" },
	{ "kernel without the filesystem", mount_nodev, "root-mount", "no such filesystem" },
	{ "journal left open", mount_rofs, "root-mount", "journal" },
	{ "damage met by the mount", mount_meets_damage, "verity-corrupt", "on /root" },
};

static bool device_left(void)
{
	return strstr(fake_log(), "dm create root " DM_UUID "\n") &&
	       !strstr(fake_log(), "dm remove root");
}

static void test_failures(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
		struct failure f;
		struct root root;
		int r;

		world();
		failures[i].change();
		r = mount_with(&good_cmdline, &root, &f);
		ok_str(code(r, &f), failures[i].code, "%s", failures[i].name);
		ok(strstr(f.text, failures[i].says), "%s: \"%s\"", failures[i].name, f.text);
		ok(!device_left(), "%s: no device is left", failures[i].name);
		ok(!*root.dm_name && !root.table.params, "%s: nothing is returned",
		   failures[i].name);
		ok_int(fake_open_fds(), 0, "%s: nothing stays open", failures[i].name);
	}
}

/* The command line */

static void hash_partition(void)
{
	uint8_t hash[2 * BLOCK] = { 0 };

	sample_super(hash);
	put_partition("nvme0n1p7", 7, hash, sizeof(hash));
	put_uevent("nvme0n1p7", 7, "BF_HASH", "11111111-2222-3333-4444-5555555555bb");
}

static void hash_partition_twice(void)
{
	hash_partition();
	put_uevent("nvme0n1p8", 8, "BF_HASH", "11111111-2222-3333-4444-5555555555cc");
}

static void hash_on_other_disk(void)
{
	fake_file("/sys/devices/usb/sda/sda1/uevent",
		  "MAJOR=8\nMINOR=1\nDEVNAME=sda1\nDEVTYPE=partition\nPARTNAME=BF_HASH\n");
	fake_symlink("../../devices/usb/sda", "/sys/class/block/sda");
}

static void hash_at_8192(void)
{
	uint8_t hash[4 * BLOCK] = { 0 };

	sample_super(hash + 8192);
	put_partition("nvme0n1p7", 7, hash, sizeof(hash));
	put_uevent("nvme0n1p7", 7, "BF_HASH", "11111111-2222-3333-4444-5555555555bb");
}

static void with_codes(void)
{
	uint8_t part[12 * BLOCK] = { 0 };

	image(part);
	put_partition(ROOT_PART, 4, part, sizeof(part));
}

static void codes_partition(void)
{
	uint8_t codes[2 * BLOCK] = { 0 };

	put_partition("nvme0n1p9", 9, codes, sizeof(codes));
	put_uevent("nvme0n1p9", 9, "BF_FEC", "11111111-2222-3333-4444-5555555555dd");
}

/* Another filesystem, whose size we do not know. */
static void unknown_filesystem(void)
{
	poke("/dev/" ROOT_PART, 1024 + 0x38, "\0\0", 2);
}

static void signature(void)
{
	fake_file("/etc/root.p7s", "PKCS");
}

static void signature_rejected(void)
{
	signature();
	fake_result("dm load", -EKEYREJECTED);
}

static void signature_huge(void)
{
	static char big[ROOT_SIGNATURE_MAX + 1];

	fake_file_data("/etc/root.p7s", big, sizeof(big));
}

static void no_keyring(void)
{
	signature();
	fake_result("add-key", -ENOSYS);
}

/* The superblock 512 bytes behind a filesystem that ends there, hash block 512. */
static void small_hash_block(void)
{
	static uint8_t part[10 * BLOCK];

	memset(part, 0, sizeof(part));
	image_head(part);
	put_le(part + 1024 + 0x04, 29, 4); /* 29 KiB, not a multiple of 4096 */
	put_le(part + 1024 + 0x18, 0, 4);
	sample_super(part + 29696);
	put_le(part + 29696 + 68, 512, 4);
	put_le(part + 29696 + 72, 7, 8);
	put_partition(ROOT_PART, 4, part, sizeof(part));
}

static void nothing(void)
{
}

#define TWO_DEVICES "1 259:4 259:7 4096 4096 8 1 sha256 " HASH64 " aabb"

static const struct {
	const char *name;
	void (*change)(void);
	const char *options, *hash, *roothash;
	const char *code;
	const char *says; /* in the log when ok, else in the failure */
} cmdlines[] = {
	{ "no root hash", nothing, NULL, NULL, NULL, "verity-roothash", "no roothash=" },
	{ "root hash too short", nothing, NULL, NULL, "00", "verity-roothash", "has 2 digits" },
	{ "options not known", nothing, "no-such", NULL, HASH64, "verity-options", "no-such" },
	{ "option against the superblock", nothing, "data-blocks=9", NULL, HASH64, "verity-options",
	  "data-blocks=" },
	{ "hash-offset= as found", nothing, "hash-offset=32768", NULL, HASH64, "ok", TABLE },
	{ "hash-offset= elsewhere", nothing, "hash-offset=28672", NULL, HASH64, "verity-superblock",
	  "no verity superblock" },
	{ "hash-offset= behind the end", nothing, "hash-offset=1048576", NULL, HASH64,
	  "verity-superblock", "byte 1048576" },
	{ "hash-offset= for another filesystem", unknown_filesystem, "hash-offset=32768", NULL,
	  HASH64, "ok", TABLE },
	{ "superblock at a smaller hash block", small_hash_block, NULL, NULL, HASH64, "ok",
	  "1 259:4 259:4 4096 512 7 59 sha256" },
	{ "hash device by label", hash_partition, NULL, "PARTLABEL=BF_HASH", HASH64, "ok",
	  TWO_DEVICES },
	{ "hash device by udev's link", hash_partition, NULL, "/dev/disk/by-partlabel/BF_HASH",
	  HASH64, "ok", TWO_DEVICES },
	{ "hash device by UUID", hash_partition, NULL,
	  "PARTUUID=11111111-2222-3333-4444-5555555555BB", HASH64, "ok", TWO_DEVICES },
	{ "hash device by name", hash_partition, NULL, "/dev/nvme0n1p7", HASH64, "ok",
	  TWO_DEVICES },
	{ "both are read-only", hash_partition, NULL, "/dev/nvme0n1p7", HASH64, "ok",
	  "set-readonly /dev/nvme0n1p4\nset-readonly /dev/nvme0n1p7\n" },
	{ "hash device is the root partition", nothing, NULL, "/dev/nvme0n1p4", HASH64, "ok",
	  TABLE },
	{ "hash device with an offset", hash_at_8192, "hash-offset=8192", "/dev/nvme0n1p7", HASH64,
	  "ok", "1 259:4 259:7 4096 4096 8 3 sha256" },
	{ "hash device without superblock", hash_at_8192, NULL, "/dev/nvme0n1p7", HASH64,
	  "verity-superblock", "no verity superblock" },
	{ "hash device not there", nothing, NULL, "PARTLABEL=BF_HASH", HASH64, "verity-options",
	  "no such partition on disk nvme0n1" },
	{ "part of a label", hash_partition, NULL, "PARTLABEL=BF_HAS", HASH64, "verity-options",
	  "no such partition" },
	{ "label in another case", hash_partition, NULL, "PARTLABEL=bf_hash", HASH64,
	  "verity-options", "no such partition" },
	{ "hash device twice", hash_partition_twice, NULL, "PARTLABEL=BF_HASH", HASH64,
	  "verity-options", "more than one" },
	{ "hash device on another disk", hash_on_other_disk, NULL, "PARTLABEL=BF_HASH", HASH64,
	  "verity-options", "no such partition" },
	{ "hash device on another disk by name", hash_on_other_disk, NULL, "/dev/sda1", HASH64,
	  "verity-options", "no such partition" },
	{ "the whole disk is no partition", nothing, NULL, "/dev/nvme0n1", HASH64, "verity-options",
	  "no such partition" },
	{ "a path", nothing, NULL, "/dev/../nvme0n1p4", HASH64, "verity-options",
	  "no such partition" },
	{ "hash device by another name", nothing, NULL, "LABEL=x", HASH64, "verity-options",
	  "is not /dev/NAME" },
	{ "hash device without name", nothing, NULL, "PARTLABEL=", HASH64, "verity-options",
	  "is not /dev/NAME" },
	{ "codes behind the tree", with_codes, "fec-offset=40960", NULL, HASH64, "ok",
	  TABLE " 8 use_fec_from_device 259:4 fec_roots 2 fec_blocks 9 fec_start 10\n" },
	{ "codes missing", nothing, "fec-offset=40960", NULL, HASH64, "verity-options",
	  "truncated" },
	{ "codes on their own device", codes_partition, "fec-device=PARTLABEL=BF_FEC", NULL, HASH64,
	  "ok", "use_fec_from_device 259:9 fec_roots 2 fec_blocks 9 fec_start 0" },
	{ "codes on a device that is not there", nothing, "fec-device=PARTLABEL=BF_FEC", NULL,
	  HASH64, "verity-options", "fec-device=PARTLABEL=BF_FEC: no such" },
	{ "signature", signature, "root-hash-signature=/etc/root.p7s", NULL, HASH64, "ok",
	  "add-key bf-verity:root 4\n" },
	{ "signature in the table", signature, "root-hash-signature=/etc/root.p7s", NULL, HASH64,
	  "ok", TABLE " 2 root_hash_sig_key_desc bf-verity:root\n" },
	{ "signature missing", nothing, "root-hash-signature=/etc/root.p7s", NULL, HASH64,
	  "verity-signature", "/etc/root.p7s" },
	{ "signature too long", signature_huge, "root-hash-signature=/etc/root.p7s", NULL, HASH64,
	  "verity-signature", "/etc/root.p7s" },
	{ "signature rejected", signature_rejected, "root-hash-signature=/etc/root.p7s", NULL,
	  HASH64, "verity-signature", "does not trust /etc/root.p7s" },
	{ "kernel without keyrings", no_keyring, "root-hash-signature=/etc/root.p7s", NULL, HASH64,
	  "verity-signature", "/etc/root.p7s" },
};

static void test_cmdlines(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(cmdlines); i++) {
		struct cmdline c = { .roothash = (char *)cmdlines[i].roothash,
				     .verity_options = (char *)cmdlines[i].options,
				     .verity_hash = (char *)cmdlines[i].hash };
		struct failure f;
		struct root root;
		int r;

		world();
		cmdlines[i].change();
		r = mount_with(&c, &root, &f);
		ok_str(code(r, &f), cmdlines[i].code, "%s", cmdlines[i].name);
		ok(strstr(r < 0 ? f.text : fake_log(), cmdlines[i].says), "%s: \"%s\"",
		   cmdlines[i].name, r < 0 ? f.text : "log");
		ok_int(fake_open_fds(), 0, "%s: nothing stays open", cmdlines[i].name);
		if (r >= 0) {
			ok(root.fec == !!strstr(fake_log(), "use_fec"), "%s: fec is reported",
			   cmdlines[i].name);
			ok(root.signature == !!strstr(fake_log(), "sig_key"),
			   "%s: signature is reported", cmdlines[i].name);
		}
		root_done(&root);
	}
}

/* Any call may fail, once */

static void sweep_world(void)
{
	world();
	with_codes();
	hash_partition();
	signature();
}

static void test_sweep(void)
{
	const struct cmdline c = { .roothash = (char *)HASH64,
				   .verity_options =
					   (char *)"fec-device=/dev/nvme0n1p4,fec-offset=40960,"
						   "root-hash-signature=/etc/root.p7s",
				   .verity_hash = (char *)"PARTLABEL=BF_HASH" };
	struct failure f;
	struct root root;
	unsigned k;

	for (k = 1; k < 1000; k++) {
		int r;

		sweep_world();
		fake_fail_at(k, EIO);
		r = mount_with(&c, &root, &f);
		if (fake_calls() < k) {
			ok_int(r, 0, "without a failing call it mounts");
			root_done(&root);
			break;
		}
		/* Whose driver it is, is only told. */
		if (r == 0 && !*root.driver) {
			ok(strstr(fake_log(), "mount /dev/dm-0 /root ext2 ro -\n") != NULL,
			   "call %u fails: the root is mounted all the same", k);
			root_done(&root);
			continue;
		}
		if (!ok(r < 0 && f.reason != REASON_NONE && *f.text && !device_left() &&
				fake_open_fds() == 0 && !root.table.params,
			"call %u fails: a reason, no device, nothing open", k))
			printf("# %d %s \"%s\"\n%s", r, code(r, &f), f.text, fake_log());
	}
	ok(k > 20 && k < 1000, "the sweep met %u calls", k - 1);
}

static void test_sweep_short(void)
{
	struct failure f;
	struct root root;

	world();
	fake_short_io(BLOCK);
	ok_int(mount_with(&good_cmdline, &root, &f), 0, "reads may be short");
	root_done(&root);
	world();
	fake_short_io(512);
	ok_int(mount_with(&good_cmdline, &root, &f), 0, "down to a sector");
	root_done(&root);
}

static void test_seal_failures(void)
{
	static const struct {
		const char *name, *match;
		int result;
		const char *status, *code;
	} rows[] = {
		{ "a bad block was met before", "", 0, "C", "verity-corrupt" },
		{ "control device gone", "open /dev/mapper/control", -ENOENT, "V", "verity-setup" },
		{ "status refused", "dm status", -ENXIO, "V", "verity-setup" },
		{ "table refused", "dm load", -EINVAL, "V", "verity-setup" },
		{ "switch refused", "dm suspend", -EINVAL, "V", "verity-setup" },
		{ "block 0 no longer read", "pread /dev/dm-0", -EIO, "V", "root-corrupt" },
		{ "a bad block, as Linux 6.19 says it", "", 0, "C -", "verity-corrupt" },
		{ "a status that is not known", "", 0, "E", "verity-setup" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct failure f;
		struct root root;
		int r;

		world();
		ok_int(mount_with(&good_cmdline, &root, &f), 0, "mounted to be sealed");
		if (*rows[i].match)
			fake_result(rows[i].match, rows[i].result);
		fake_dm_status(rows[i].status);
		r = root_seal(&root, &f);
		ok_str(code(r, &f), rows[i].code, "seal: %s", rows[i].name);
		ok(!root.sealed, "seal: %s: not sealed", rows[i].name);
		ok_int(fake_open_fds(), 0, "seal: %s: nothing stays open", rows[i].name);
		root_done(&root);
	}
}

/* What the kernels of this year say, and could say next year. */
static void test_status_words(void)
{
	static const char *const good[] = {
		"V",
		"V -",
		"V 0",
		"V 17",
		"V 18446744073709551615",
		"V 17 3 checked 12345 recheck 2",
		"V and some more that a later kernel could say, far beyond what is kept of it here",
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct failure f;
		struct root root;

		world();
		fake_dm_status(good[i]);
		ok_int(mount_with(&good_cmdline, &root, &f), 0, "\"%s\" mounts", good[i]);
		ok(root.status == 'V', "\"%s\" is good", good[i]);
		ok_int(root_seal(&root, &f), 0, "\"%s\" is sealed", good[i]);
		failure_set(&f, REASON_FSTAB, EIO, "/etc/fstab");
		root_blame(&root, &f);
		ok(f.reason == REASON_FSTAB && streq(f.text, "/etc/fstab"), "\"%s\" is not blamed",
		   good[i]);
		root_done(&root);
	}
}

static void test_blame(void)
{
	static const struct {
		const char *status;
		enum reason reason, after;
		const char *text, *text_after;
	} rows[] = {
		{ "V", REASON_FSTAB, REASON_FSTAB, "/etc/fstab", "/etc/fstab" },
		{ "V 17", REASON_MOUNT, REASON_MOUNT, "tmpfs", "tmpfs" },
		{ "V -", REASON_ROOT_CORRUPT, REASON_ROOT_CORRUPT, "block 0", "block 0" },
		{ "", REASON_FSTAB, REASON_FSTAB, "/etc/fstab", "/etc/fstab" },
		{ "Corrupt", REASON_FSTAB, REASON_FSTAB, "/etc/fstab", "/etc/fstab" },
		{ "E -", REASON_FSTAB, REASON_FSTAB, "/etc/fstab", "/etc/fstab" },
		{ "C", REASON_FSTAB, REASON_VERITY_CORRUPT, "/etc/fstab",
		  "/etc/fstab; verity status C" },
		{ "C -", REASON_MOUNT, REASON_VERITY_CORRUPT, "overlay",
		  "overlay; verity status C -" },
		{ "C 17 more", REASON_ROOT_CORRUPT, REASON_VERITY_CORRUPT, "block 0",
		  "block 0; verity status C 17 more" },
		{ "C", REASON_FSTAB, REASON_VERITY_CORRUPT, "", "verity status C" },
		{ "C", REASON_VERITY_CORRUPT, REASON_VERITY_CORRUPT, "(status C)", "(status C)" },
	};
	struct failure f;
	struct root root;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		world();
		ok_int(mount_with(&good_cmdline, &root, &f), 0, "mounted");
		failure_set(&f, rows[i].reason, EIO, "%s", rows[i].text);
		fake_dm_status(rows[i].status);
		root_blame(&root, &f);
		ok_str(reason_text(f.reason)->code, reason_text(rows[i].after)->code,
		       "status \"%s\", row %zu: the reason", rows[i].status, i);
		ok_str(f.text, rows[i].text_after, "status \"%s\", row %zu: the text",
		       rows[i].status, i);
		root_done(&root);
	}
	world();
	ok_int(mount_with(&good_cmdline, &root, &f), 0, "mounted");
	fake_dm_status("C");
	failure_set(&f, REASON_FSTAB, EIO, "/etc/fstab");
	fake_result("dm status", -ENXIO);
	root_blame(&root, &f);
	ok_str(reason_text(f.reason)->code, "fstab", "a status that cannot be had changes nothing");
	root_done(&root);

	world();
	root = (struct root) { 0 };
	fake_dm_status("C");
	root_blame(&root, &f);
	ok_str(reason_text(f.reason)->code, "fstab", "no device, no blame");
	ok_str(fake_log(), "", "and no ioctl");
}

/* The ioctl buffers, byte by byte */

static void fill_header(struct dm_ioctl *io, size_t size, const char *name)
{
	memset(io, 0, sizeof(*io));
	io->version[0] = 4;
	io->data_size = (uint32_t)size;
	io->data_start = 312;
	strcpy(io->name, name);
}

static void ok_request(unsigned long request, const void *want, size_t want_len, const char *name)
{
	size_t len = 0;
	const void *got = fake_dm_request(request, &len);

	ok_int(len, want_len, "%s: length", name);
	ok(got && len == want_len && memcmp(got, want, len) == 0, "%s: every byte", name);
}

static void test_buffers(void)
{
	union {
		struct dm_ioctl io;
		uint8_t bytes[312 + 40 + 4096];
	} want;
	struct dm_target_spec *spec = (void *)(want.bytes + 312);
	const char *params = "0123456789"; /* 40 + 11 bytes, padded to 56 */
	uint32_t major, minor, version[3];
	char status[DM_STATUS_MAX];

	world();
	fake_dm_device(252, 0x12345);
	ok_int(dm_create(3, "root", DM_UUID, &major, &minor), 0, "create");
	ok(major == 252 && minor == 0x12345, "minors above 255 are decoded: %u:%u", major, minor);
	fill_header(&want.io, 312, "root");
	strcpy(want.io.uuid, DM_UUID);
	ok_request(DM_DEV_CREATE, &want, 312, "create");

	ok_int(dm_load(3, "root", "verity", 0x123456789, params), 0, "load");
	memset(&want, 0, sizeof(want));
	fill_header(&want.io, 312 + 56, "root");
	want.io.flags = DM_READONLY_FLAG;
	want.io.target_count = 1;
	spec->length = 0x123456789;
	spec->next = 56;
	strcpy(spec->target_type, "verity");
	strcpy((char *)(spec + 1), params);
	ok_request(DM_TABLE_LOAD, &want, 312 + 56, "load");

	ok_int(dm_resume(3, "root"), 0, "resume");
	fill_header(&want.io, 312, "root");
	want.io.flags = DM_SKIP_LOCKFS_FLAG;
	ok_request(DM_DEV_SUSPEND, &want, 312, "resume, flags without DM_SUSPEND_FLAG");
	want.io.flags = 0;
	ok_int(dm_remove(3, "root"), 0, "remove");
	ok_request(DM_DEV_REMOVE, &want, 312, "remove");

	ok_int(dm_status(3, "root", status), 0, "status");
	ok_str(status, "V", "status text");
	memset(&want, 0, sizeof(want));
	fill_header(&want.io, 312 + 40 + 4096, "root");
	ok_request(DM_TABLE_STATUS, &want, 312 + 40 + 4096, "status");

	ok_int(dm_target_version(3, "verity", version), 0, "versions");
	ok(version[0] == 1 && version[1] == 9 && version[2] == 0, "version 1.9.0");
	ok_int(dm_target_version(3, "verit", version), -ENOENT, "part of a name");
	ok_int(dm_target_version(3, "crypt", version), -ENOENT, "another target");
}

static void test_padding(void)
{
	for (size_t n = 0; n < 20; n++) {
		char params[32] = "";
		const struct dm_ioctl *io;
		const struct dm_target_spec *spec;
		size_t len;

		world();
		memset(params, 'x', n);
		ok_int(dm_load(3, "root", "verity", 8, params), 0, "load %zu characters", n);
		io = fake_dm_request(DM_TABLE_LOAD, &len);
		spec = (const void *)((const char *)io + io->data_start);
		ok(spec->next % 8 == 0 && spec->next >= 40 + n + 1 && spec->next < 40 + n + 9 &&
			   len == 312 + spec->next,
		   "%zu characters: padded to 8, with a NUL", n);
	}
}

static void test_names(void)
{
	char name[DM_NAME_LEN + 1], uuid[DM_UUID_LEN + 1];
	uint32_t major, minor;

	memset(name, 'n', sizeof(name));
	memset(uuid, 'u', sizeof(uuid));
	name[DM_NAME_LEN] = uuid[DM_UUID_LEN] = '\0';
	world();
	ok_int(dm_create(3, name, "u", &major, &minor), -ENAMETOOLONG, "name without room for NUL");
	ok_int(dm_create(3, "n", uuid, &major, &minor), -ENAMETOOLONG, "uuid without room for NUL");
	ok_int(dm_load(3, "n", "0123456789abcdef", 1, ""), -ENAMETOOLONG, "target name too long");
	ok_str(fake_log(), "", "the kernel is not asked");
	name[DM_NAME_LEN - 1] = '\0';
	uuid[DM_UUID_LEN - 1] = '\0';
	ok_int(dm_create(3, name, uuid, &major, &minor), 0, "the longest ones");
	ok_int(dm_load(3, "n", "0123456789abcde", 1, ""), 0, "the longest target name");
}

int main(void)
{
	test_good();
	test_reads_first_and_last();
	test_versions();
	test_failures();
	test_cmdlines();
	test_sweep();
	test_sweep_short();
	test_seal_failures();
	test_status_words();
	test_blame();
	test_buffers();
	test_padding();
	test_names();
	return tap_done();
}
