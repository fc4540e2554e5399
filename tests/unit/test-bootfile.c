// SPDX-License-Identifier: MIT
#include "boot/bootfile.h"
#include "tests/lib/fake-sys.h"
#include "tests/lib/tap.h"

#define HEX32	  "0123456789abcdef0123456789abcdef"
#define LONG_NAME "nvme0n1p123456789012345678901234" /* 32 */

static void test_parse(void)
{
	static const char text[] = "BF_SLOT=B\nBF_COMMITTED=A\nBF_TRIAL=yes\nBF_COMMITTABLE=yes\n"
				   "BF_LIMBO=no\nBF_MISMATCH=no\nBF_REASON=wrong-slot\n"
				   "BF_DEGRADED=yes\nBF_DATA=readonly\nBF_DATA_DIR=\"/da\\\"ta\"\n"
				   "BF_BOOT_ID=" HEX32 "\nBF_TRYBOOT=yes\nBF_COUNT=4294967295\n"
				   "BF_BOOTSEL_DEV=\"sda1\"\nBF_DATA_DEV=\"sda6\"\n"
				   "BF_ROOT_B_DEV=\"\"\nBF_ROOTHASH=\"aa11\"\nBF_NEW_KEY=whatever\n"
				   "a line without any sign\n\nBF_USEC_START=12";
	struct boot_file b;

	ok_int(boot_file_parse(text, &b), 0, "boot file: read");
	ok_int(b.slot, SLOT_B, "boot file: slot");
	ok(b.trial && b.committable && !b.limbo && !b.mismatch && b.degraded && b.tryboot,
	   "boot file: flags");
	ok_str(b.reason, "wrong-slot", "boot file: reason");
	ok_str(b.data, "readonly", "boot file: BF_DATA");
	ok_str(b.data_dir, "/da\"ta", "boot file: quotes are taken off");
	ok_str(b.boot_id, HEX32, "boot file: boot id");
	ok_str(b.roothash, "aa11", "boot file: root hash");
	ok(b.has_count && b.count == UINT32_MAX, "boot file: count");
	ok_str(b.part[PART_BOOTSEL], "sda1", "boot file: BF_BOOTSEL");
	ok_str(b.part[PART_DATA], "sda6", "boot file: BF_DATA");
	ok_str(b.part[PART_ROOT_B], "", "boot file: a partition that is missing");
}

static void test_values(void)
{
	static const struct {
		const char *name, *text;
		int want;
	} files[] = {
		{ "only a slot", "BF_SLOT=A\n", 0 },
		{ "a slot that is none", "BF_SLOT=-\n", 0 },
		{ "no newline at the end", "BF_SLOT=A", 0 },
		{ "no reason", "BF_SLOT=A\nBF_REASON=-\n", 0 },
		{ "no count", "BF_SLOT=A\nBF_COUNT=-\n", 0 },
		{ "quotes left open", "BF_SLOT=\"A\n", 0 },
		{ "a backslash at the end", "BF_SLOT=A\nBF_DATA_DIR=\"x\\\n", 0 },
		{ "empty", "", -EBADMSG },
		{ "no slot", "BF_TRIAL=no\n", -EBADMSG },
		{ "a slot without a sign", "BF_SLOT\n", -EBADMSG },
		{ "a flag that is none", "BF_SLOT=A\nBF_TRIAL=1\n", -EBADMSG },
		{ "an empty flag", "BF_SLOT=A\nBF_LIMBO=\n", -EBADMSG },
		{ "another flag that is none", "BF_SLOT=A\nBF_COMMITTABLE=yes \n", -EBADMSG },
		{ "a count that is none", "BF_SLOT=A\nBF_COUNT=x\n", -EBADMSG },
		{ "a count too big", "BF_SLOT=A\nBF_COUNT=4294967296\n", -EBADMSG },
		{ "a negative count", "BF_SLOT=A\nBF_COUNT=-1\n", -EBADMSG },
		{ "a partition with a path", "BF_SLOT=A\nBF_DATA_DEV=\"../sda\"\n", -EBADMSG },
		{ "a partition up there", "BF_SLOT=A\nBF_DATA_DEV=\"..\"\n", -EBADMSG },
		{ "a partition too long", "BF_SLOT=A\nBF_DATA_DEV=\"" LONG_NAME "\"\n", -EBADMSG },
		{ "a boot id that is none", "BF_SLOT=A\nBF_BOOT_ID=xyz\n", -EBADMSG },
		{ "a boot id too long", "BF_SLOT=A\nBF_BOOT_ID=" HEX32 "0\n", -EBADMSG },
		{ "a root hash that is none", "BF_SLOT=A\nBF_ROOTHASH=\"hash\"\n", -EBADMSG },
		{ "a reason too long", "BF_SLOT=A\nBF_REASON=" HEX32 "\n", -EBADMSG },
		{ "data too long", "BF_SLOT=A\nBF_DATA=" HEX32 "\n", -EBADMSG },
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		struct boot_file b, before;

		memset(&b, 0x5a, sizeof(b));
		before = b;
		ok_int(boot_file_parse(files[i].text, &b), files[i].want, "boot file: %s",
		       files[i].name);
		if (files[i].want < 0)
			ok(memcmp(&b, &before, sizeof(b)) == 0, "boot file: nothing is changed");
		else
			ok_str(b.reason, "", "boot file: no reason");
	}
}

/* ---- writing ---------------------------------------------------------------- */

/* Every member is another than 0, or than any other of its type. */
static const struct boot_file full = {
	.slot = SLOT_B,
	.committed = SLOT_A,
	.trial = true,
	.committable = true,
	.limbo = true,
	.mismatch = true,
	.reason = "wrong-slot",
	.degraded = true,
	.data = BOOT_DATA_READONLY,
	.data_dir = "/da \"ta\"$(x)`y`\\",
	.data_checked = true,
	.data_lost_lines = UINT32_MAX,
	.data_why = "why \"not\"? = \xc3\xbc",
	.record = "backup",
	.selector = "gone",
	.boot_id = HEX32,
	.tryboot = true,
	.has_count = true,
	.count = 7,
	.disk = "nvme0n1",
	.part = { "nvme0n1p1", "nvme0n1p2", "nvme0n1p3", "nvme0n1p4", "nvme0n1p5", "nvme0n1p6" },
	.roothash = "aa11",
	.verity = "V",
	.verity_fec = true,
	.verity_signature = true,
	.machine_id = "volatile",
	.clock_set = true,
	.watchdog = true,
	.rescue = true,
	.stage_end_usec = { 1, 2, 3, 4, 5, 6, 7, UINT64_MAX },
};

static void check_same(const struct boot_file *a, const struct boot_file *b, const char *name)
{
	ok(a->slot == b->slot && a->committed == b->committed, "%s: slots", name);
	ok(a->trial == b->trial && a->committable == b->committable && a->limbo == b->limbo &&
		   a->mismatch == b->mismatch && a->degraded == b->degraded &&
		   a->data_checked == b->data_checked && a->tryboot == b->tryboot &&
		   a->verity_fec == b->verity_fec && a->verity_signature == b->verity_signature &&
		   a->clock_set == b->clock_set && a->watchdog == b->watchdog &&
		   a->rescue == b->rescue,
	   "%s: flags", name);
	ok(a->has_count == b->has_count && a->count == b->count &&
		   a->data_lost_lines == b->data_lost_lines,
	   "%s: numbers", name);
	ok_str(a->reason, b->reason, "%s: reason", name);
	ok_str(a->data, b->data, "%s: data", name);
	ok_str(a->data_dir, b->data_dir, "%s: its place", name);
	ok_str(a->data_why, b->data_why, "%s: why", name);
	ok_str(a->record, b->record, "%s: record", name);
	ok_str(a->selector, b->selector, "%s: selector", name);
	ok_str(a->boot_id, b->boot_id, "%s: boot id", name);
	ok_str(a->disk, b->disk, "%s: disk", name);
	for (enum part p = 0; p < PART_COUNT; p++)
		ok_str(a->part[p], b->part[p], "%s: %s", name, part_label(p));
	ok_str(a->roothash, b->roothash, "%s: root hash", name);
	ok_str(a->verity, b->verity, "%s: verity", name);
	ok_str(a->machine_id, b->machine_id, "%s: machine-id", name);
	ok(memcmp(a->stage_end_usec, b->stage_end_usec, sizeof(a->stage_end_usec)) == 0,
	   "%s: stages", name);
}

static void round_trip(const struct boot_file *b, const char *name)
{
	_cleanup_free_ char *text = boot_file_format(b), *again = NULL;
	struct boot_file back;

	memset(&back, 0x5a, sizeof(back));
	if (!ok(text && boot_file_parse(text, &back) == 0, "%s: is read back", name))
		return;
	check_same(&back, b, name);
	again = boot_file_format(&back);
	ok_str(again, text, "%s: has one spelling", name);
}

static void test_round_trip(void)
{
	static const struct boot_file empty = { .slot = SLOT_NONE, .committed = SLOT_NONE };
	struct boot_file longest = full;

	round_trip(&full, "full");
	round_trip(&empty, "empty");
	memset(longest.data_dir, '"', sizeof(longest.data_dir) - 1);
	memset(longest.data_why, '\\', sizeof(longest.data_why) - 1);
	memset(longest.reason, 'r', sizeof(longest.reason) - 1);
	memset(longest.roothash, 'f', sizeof(longest.roothash) - 1);
	memset(longest.part, 'p', sizeof(longest.part));
	for (enum part p = 0; p < PART_COUNT; p++)
		longest.part[p][PART_NAME_SIZE - 1] = '\0';
	round_trip(&longest, "longest");
}

/* What nobody trusts must not end its line, or the quotes that it stands in. */
static void test_untrusted(void)
{
	struct boot_file b = { .slot = SLOT_A }, back;
	_cleanup_free_ char *text = NULL;

	strcpy(b.data_why, "a\nBF_SLOT=B\n\x7f\033[2J");
	text = boot_file_format(&b);
	ok(text && boot_file_parse(text, &back) == 0, "control characters: is read back");
	ok_str(back.data_why, "a?BF_SLOT=B???[2J", "control characters: none is left");
	ok_int(back.slot, SLOT_A, "control characters: no line of its own");
}

static void test_cut(void)
{
	struct boot_file b;
	char text[1024] = "BF_SLOT=A\nBF_DATA_WHY=\"";

	memset(text + strlen(text), 'w', 600);
	ok_int(boot_file_parse(text, &b), 0, "a sentence too long");
	ok_int(strlen(b.data_why), sizeof(b.data_why) - 1, "is cut short");
}

static void test_file(void)
{
	struct boot_file back;

	fake_reset();
	fake_dir("/run");
	ok_int(boot_file_read(&back), -ENOENT, "file: there is none");
	ok_int(boot_file_write(&full), 0, "file: written");
	ok_int(boot_file_read(&back), 0, "file: read");
	check_same(&back, &full, "file");
	ok_int(boot_file_write(&full), 0, "file: written over");
	for (unsigned k = 1;; k++) {
		int r;

		fake_fail_at(k, EIO);
		r = boot_file_write(&full);
		if (fake_calls() < k)
			break;
		ok_int(r, -EIO, "file: call %u fails", k);
	}
	fake_fail_at(0, 0);
	fake_reset();
	fake_dir("/run/bf");
	fake_symlink("/etc/passwd", BOOT_FILE_PATH);
	ok_int(boot_file_write(&full), -ELOOP, "file: no link is followed");
}

static void test_stages(void)
{
	ok_str(stage_name(STAGE_START), "start", "the first stage");
	ok_str(stage_name(STAGE_HANDOVER), "handover", "the last stage");
	ok_str(stage_name(STAGE_COUNT), "?", "no stage");
}

int main(void)
{
	test_parse();
	test_values();
	test_round_trip();
	test_untrusted();
	test_cut();
	test_file();
	test_stages();
	return tap_done();
}
