// SPDX-License-Identifier: MIT
/*
 * The "real init" of the benchmark: says that it runs, shows what the kernel
 * log holds about this boot, and switches the machine off. Static, so that its
 * own start costs the same after every initramfs.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/sysinfo.h>
#include <unistd.h>

static const char *const wanted[] = {
	"Trying to unpack rootfs image",
	"Freeing initrd memory",
	"Run /init",
	"bf-init:",
	"bench-init:",
};

static int is_wanted(const char *record)
{
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (strstr(record, wanted[i]))
			return 1;
	return 0;
}

/* Records are "prio,seq,usec,flag;text\n…" (Documentation/ABI/testing/dev-kmsg). */
static void show_log(int kmsg)
{
	char record[8193];
	ssize_t n;

	while ((n = read(kmsg, record, sizeof(record) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		char *end;

		if (n < 0)
			continue;
		record[n] = '\0';
		end = strchr(record, '\n');
		if (end)
			*end = '\0';
		if (is_wanted(record))
			printf("BENCH %s\n", record);
	}
}

int main(void)
{
	int kmsg;

	/* First of all the time stamp; /dev is there after every initramfs but the tiniest. */
	kmsg = open("/dev/kmsg", O_RDWR | O_NONBLOCK);
	if (kmsg < 0) {
		(void)mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
		kmsg = open("/dev/kmsg", O_RDWR | O_NONBLOCK);
	}
	if (kmsg >= 0) {
		/* With a newline: without one the kernel keeps the record open and shows it to
		 * nobody. */
		static const char hello[] = "bench-init: runs\n";

		if (write(kmsg, hello, sizeof(hello) - 1) < 0)
			return 1;
	}
	if (!freopen("/dev/console", "w", stdout))
		return 1;
	/* Whatever systemd in an initramfs has left on the line. */
	printf("\n");
	if (kmsg >= 0)
		show_log(kmsg);
	printf("BENCH end\n");
	fflush(stdout);
	(void)reboot(RB_POWER_OFF);
	return 1;
}
