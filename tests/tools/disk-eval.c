// SPDX-License-Identifier: MIT
/*
 * bf-init's decision about a disk that lies here in two parts, for the power-cut
 * tests: reads autoboot.txt and the boot record with the device's own code and
 * the real kernel seam, decides, and carries out what was decided.
 *
 *   disk-eval SELECTOR DATA_DIR WORD…
 *
 * SELECTOR is the content of BF_BOOTSEL, DATA_DIR a directory with bf/ in it, or
 * "-" for a BF_DATA that cannot be mounted.
 * The words are the facts of rules-text.h about the boot (running=, tryboot=,
 * count=, boot_id=, roothash=, now=), and:
 *   fails=REASON   bf-init fails after its decision, when that was to go on
 *
 * Prints one line: what was read (found.…), what became of each write, then the
 * decision as rules-text.h has it. With fails=, of the failure.
 */
#include "boot/sys.h"
#include "tests/lib/rules-text.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file has no logical blocks; it plays a disk with blocks of 512 bytes. */
int __real_sys_block_size(int fd, uint32_t *ret_logical_bytes);
int __wrap_sys_block_size(int fd, uint32_t *ret_logical_bytes);

int __wrap_sys_block_size(int fd, uint32_t *ret_logical_bytes)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return __real_sys_block_size(fd, ret_logical_bytes);
	*ret_logical_bytes = 512;
	return 0;
}

static void read_disk(const char *selector_path, int data_fd, struct boot_facts *facts)
{
	_cleanup_close_ int fd = open(selector_path, O_RDONLY | O_CLOEXEC);
	struct selector selector;
	int r;

	if (fd < 0)
		text_die("%s: %s", selector_path, strerror(errno));
	r = selector_read(fd, &selector);
	if (r < 0)
		text_die("%s: %s", selector_path, strerror(-r));
	facts->selector = selector.state;
	facts->selector_committed = selector.committed;
	facts->selector_in_place = selector.in_place;
	if (data_fd < 0) {
		facts->record_readable = facts->record_lost = facts->writable = false;
		printf("found.selector=%s found.record=none found.gen=0",
		       text_selector(selector.state, selector.committed, selector.in_place));
		return;
	}
	r = record_load(data_fd, &facts->record);
	if (r < 0)
		text_die("the record: %s", strerror(-r));
	facts->record_readable = r == RECORD_OK || r == RECORD_BACKUP;
	facts->record_lost = r == RECORD_LOST;
	facts->writable = r != RECORD_FUTURE;
	printf("found.selector=%s found.record=%s found.gen=%llu",
	       text_selector(selector.state, selector.committed, selector.in_place),
	       record_status_name((enum record_status)r),
	       (unsigned long long)(facts->record_readable ? facts->record.gen : 0));
}

/* As bf-init does: what was written is what the next step goes by. */
static void carry_out(const char *selector_path, int data_fd, struct boot_facts *facts,
		      struct boot_decision *d)
{
	for (size_t i = 0; i < ARRAY_SIZE(d->writes) && d->writes[i]; i++) {
		int r;

		if (d->writes[i] == WRITE_SECTOR) {
			r = selector_write(selector_path, d->sector);
			printf(" sector-write=%s", r < 0 ? strerrorname_np(-r) : "ok");
			continue;
		}
		r = record_store(data_fd, &d->record);
		printf(" record-write=%s", r < 0 ? strerrorname_np(-r) : "ok");
		if (r < 0) {
			d->next = d->next_if_unwritten;
			d->committable = facts->writable = false;
			return;
		}
		facts->record = d->record;
		facts->record_readable = true;
		facts->record_lost = false;
	}
}

static enum reason reason_named(const char *code)
{
	for (unsigned i = 0; i < REASON_COUNT; i++)
		if (streq(code, reason_text((enum reason)i)->code))
			return (enum reason)i;
	text_die("not a reason: %s", code);
}

int main(int argc, char *argv[])
{
	_cleanup_close_ int data_fd = -1;
	enum reason fails = REASON_NONE;
	struct boot_facts facts;
	struct boot_decision d;
	uint32_t delay_sec = 0;

	if (argc < 3)
		text_die("usage: disk-eval SELECTOR DATA_DIR WORD...");
	if (!streq(argv[2], "-")) {
		data_fd = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (data_fd < 0)
			text_die("%s: %s", argv[2], strerror(errno));
	}
	text_defaults(&facts);
	for (int i = 3; i < argc; i++) {
		const char *code = startswith(argv[i], "fails=");

		if (code)
			fails = reason_named(code);
		else
			text_set(&facts, argv[i]);
	}
	read_disk(argv[1], data_fd, &facts);
	rules_bf_init(&facts, &d);
	carry_out(argv[1], data_fd, &facts, &d);
	if (fails != REASON_NONE && (d.next == NEXT_BOOT || d.next == NEXT_BOOT_TRIAL)) {
		rules_bf_init_failed(&facts, &d, fails, &d, &delay_sec);
		carry_out(argv[1], data_fd, &facts, &d);
	}
	putchar(' ');
	text_print(stdout, &d, delay_sec);
	putchar('\n');
	return fflush(stdout) ? 1 : 0;
}
