// SPDX-License-Identifier: MIT
#include "initramfs/init/watchdog.h"

#include "boot/sys.h"

#include <fcntl.h>
#include <stdatomic.h>

#define DEVICE	   "/dev/watchdog0"
#define ALWAYS_SEC 15 /* every watchdog of a Pi or a PC takes this much */

/* Opened by the main thread, kicked by that of patience.c; never closed. */
static atomic_int dog_fd = -1;

int watchdog_open(uint32_t timeout_sec)
{
	uint32_t got;
	int fd, r;

	if (timeout_sec == 0 || dog_fd >= 0)
		return 0;
	fd = sys_open(DEVICE, O_WRONLY, 0);
	if (fd < 0)
		return fd;
	/* It ticks from the open on, whatever follows: closing it now could not stop it either. */
	dog_fd = fd;
	r = sys_watchdog_set(fd, timeout_sec, &got);
	if (r == -EINVAL && timeout_sec > ALWAYS_SEC)
		r = sys_watchdog_set(fd, ALWAYS_SEC, &got);
	/* A driver with a fixed timeout (-EOPNOTSUPP) is as good: it is kicked every second. */
	(void)r;
	return 0;
}

void watchdog_kick(void)
{
	int fd = dog_fd;

	/* If it cannot be kicked it resets the machine, which is what it is for. */
	if (fd >= 0)
		(void)sys_watchdog_kick(fd);
}

bool watchdog_is_open(void)
{
	return dog_fd >= 0;
}

int watchdog_hand_over(void)
{
	int fd = dog_fd;

	if (fd < 0)
		return -1;
	/* A full period for the next program, which kicks from when it has its own fd. */
	(void)sys_watchdog_kick(fd);
	return sys_keep_on_exec(fd) < 0 ? -1 : fd;
}
