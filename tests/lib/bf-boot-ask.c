// SPDX-License-Identifier: MIT
#include "tests/lib/bf-boot-ask.h"

#include <fcntl.h>
#include <stdarg.h>

void ask_run(void *arg)
{
	struct question *q = arg;

	q->status = bf_boot_main(q->argc, q->argv, q->out, q->err);
}

const struct answer *ask(const char *word, ...)
{
	static struct answer a;
	struct question q = { .argc = 1, .argv = { (char *)BF_BOOT }, .status = -1 };
	size_t out_len, err_len;
	va_list ap;

	free(a.out);
	free(a.err);
	a = (struct answer) { 0 };
	va_start(ap, word);
	for (; word && q.argc < 7; word = va_arg(ap, const char *))
		q.argv[q.argc++] = (char *)word;
	va_end(ap);
	q.out = open_memstream(&a.out, &out_len);
	q.err = open_memstream(&a.err, &err_len);
	if (!q.out || !q.err)
		abort();
	(void)fake_run(ask_run, &q);
	(void)fclose(q.out);
	(void)fclose(q.err);
	if (err_len && a.err[err_len - 1] == '\n')
		a.err[err_len - 1] = '\0'; /* it is shown in the names of tests */
	a.status = q.status;
	return &a;
}

struct record stored(void)
{
	struct record rec = { 0 };
	int fd = sys_open(DEVICE_DATA, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0 || record_load(fd, &rec) > RECORD_BACKUP) {
		puts("Bail out! there is no record");
		exit(99);
	}
	close_p(&fd);
	return rec;
}

enum slot sector_of(const char *part_prefix)
{
	struct selector s = { .state = SELECTOR_GONE };
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/dev/%s1", part_prefix);
	fd = sys_open(path, O_RDONLY, 0);
	if (fd < 0 || selector_read(fd, &s) < 0)
		s.state = SELECTOR_GONE;
	close_p(&fd);
	return s.state == SELECTOR_VALID ? s.committed : SLOT_NONE;
}

bool file_says(const char *path, const char *text)
{
	_cleanup_free_ char *got = fake_read(path, NULL);

	return got && streq(got, text);
}

void device_with(const struct record *rec, enum slot running)
{
	struct device d = device_default;

	d.record = rec;
	d.running = running;
	d.selector = rec->committed;
	d.trial = rec->staged == running;
	fake_reset();
	device_make(&d);
	fake_log_clear();
}
