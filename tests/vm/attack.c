// SPDX-License-Identifier: MIT
/*
 * What an attacker leaves: a library for ld.so.preload (with MARK, and -shared), or a program whose
 * argument is the mark. Run as root, it leaves that mark in /run/bf-attack.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void leave(const char *mark)
{
	char path[256];
	int fd;

	if (geteuid() != 0)
		return;
	(void)snprintf(path, sizeof(path), "/run/bf-attack/%s", mark);
	(void)mkdir("/run/bf-attack", 0755);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd >= 0)
		(void)close(fd);
}

#ifdef MARK
__attribute__((constructor)) static void loaded(void)
{
	leave(MARK);
}
#else
int main(int argc, char **argv)
{
	leave(argc > 1 ? argv[1] : "program");
	return 0;
}
#endif
