/* SPDX-License-Identifier: MIT */
/*
 * The seam: every kernel call of the boot library and of bf-init. Thin, no
 * decisions, no log. Tests link tests/lib/fake-sys.c instead of sys.c: there
 * file calls go to a temporary directory (absolute paths get its prefix),
 * privileged ones are recorded, and the k-th call can be made to fail.
 *
 * All return 0, or a value >= 0 where said, or -errno. Every fd is O_CLOEXEC.
 */
#pragma once

#include "boot/base.h"

#include <sys/stat.h>
#include <sys/uio.h>

/* Bytes: the largest page of any machine, and the most that a file of sysfs can hold. */
#define SYS_PAGE_MAX 65536

/* Files */
int sys_open(const char *path, int flags, mode_t mode);
int sys_openat(int dirfd, const char *path, int flags, mode_t mode);
/* openat2: RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS */
int sys_open_beneath(int dirfd, const char *path, int flags, mode_t mode);
/* openat2: RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS: @dirfd is "/" for absolute paths and symlinks
 */
int sys_open_in_root(int dirfd, const char *path, int flags, mode_t mode);
int sys_close(int fd); /* returns what close said: for fds that were written */
ssize_t sys_read(int fd, void *buf, size_t len);
ssize_t sys_write(int fd, const void *buf, size_t len);
ssize_t sys_pread(int fd, void *buf, size_t len, uint64_t offset_bytes);
ssize_t sys_pwrite(int fd, const void *buf, size_t len, uint64_t offset_bytes);
int sys_fsync(int fd);
/* What was written and fsynced is read from the disk the next time, as far as the kernel can. */
void sys_forget_cached(int fd);
int sys_allow_change(int fd); /* takes chattr(1)'s +i and +a away, where the file system has them */
int sys_fallocate(int fd, uint64_t len_bytes);
int sys_fstat(int fd, struct stat *ret);
int sys_fstatat(int dirfd, const char *path, struct stat *ret, int flags);
int sys_mkdirat(int dirfd, const char *path, mode_t mode);
int sys_symlinkat(const char *target, int dirfd, const char *path);
int sys_unlinkat(int dirfd, const char *path, int flags);
int sys_renameat_exchange(int dirfd, const char *a, const char *b);
int sys_renameat(int dirfd, const char *from, const char *to); /* never over something: -EEXIST */
/* What a symbolic link says, NUL-terminated; -ENAMETOOLONG when it does not fit. */
int sys_readlinkat(int dirfd, const char *path, char *buf, size_t size);
/* Names in the directory @fd, without "." and "..", sorted; more than @max: -EFBIG. See
 * sys_names_free(). */
int sys_list(int fd, size_t max, char ***ret, size_t *ret_count);
void sys_names_free(char **names, size_t count);
int sys_fchown(int fd, uid_t uid, gid_t gid);
int sys_fchmod(int fd, mode_t mode);
/* flock(2); tries for @timeout_sec, then -ETIMEDOUT */
int sys_lock(int fd, bool exclusive, uint32_t timeout_sec);
int sys_faccessat(int dirfd, const char *path, int mode);
/* Whole small file below @dirfd (or absolute), NUL-terminated, at most @max bytes: -EFBIG above.
 * Read in pieces, so that @max may be more than a file of proc or sysfs lets ask for. Caller frees.
 */
int sys_read_file(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len);
/* One open(O_WRONLY), one write, close: for files of proc, sysfs and the like. */
int sys_write_file(const char *path, const char *text);

/* Block devices */
int sys_block_size(int fd, uint32_t *ret_logical_bytes);
int sys_device_size(int fd, uint64_t *ret_bytes);
int sys_set_readonly(int fd); /* BLKROSET */

/* Mounts */
int sys_mount(const char *source, const char *target, const char *fstype, unsigned long flags,
	      const char *options);
int sys_umount(const char *target, int flags);
/* mount_fs by fd: bind what @source_fd refers to (O_PATH) onto @target */
int sys_bind_fd(int source_fd, const char *target, bool recursive);
int sys_chdir(const char *path);
int sys_chroot(const char *path);
int sys_is_readonly(int fd); /* 1: the filesystem is mounted read-only, 0: it is not */
int sys_statfs_type(const char *path, uint64_t *ret_magic);

/* Processes and the end */
bool sys_is_root(void);
int sys_init_module(int fd, const char *params);
int sys_exec(const char *path, char *const argv[], char *const envp[]);
/* @root: where @path is run, by chroot(2); NULL: here. @out_fd: its stdout and stderr; -1: ours.
 * Own process group; -ETIMEDOUT: it was killed. ret_status as waitpid(2). */
int sys_spawn_wait(const char *root, const char *path, char *const argv[], uint32_t timeout_sec,
		   int out_fd, int *ret_status);
/*
 * Calls @fn once a second, from a thread of its own that takes no signals, until the program ends
 * or executes another one.
 */
int sys_every_second(void (*fn)(void));
/* SIGALRM in @sec (0: never); @handler interrupts calls (no SA_RESTART) */
void sys_alarm(uint32_t sec, void (*handler)(int));
int sys_keep_on_exec(int fd);	      /* takes O_CLOEXEC away */
int sys_make_stdio(int fd);	      /* @fd as 0, 1 and 2 */
int sys_memfd(const char *name);      /* without CLOEXEC: made to be handed over */
int sys_reboot(const char *argument); /* NULL: plain; returns only when it failed */
void sys_sync(void);
int sys_sethostclock(uint64_t realtime_sec);

/* Devices */
int sys_dm_ioctl(int fd, unsigned long request, void *buffer);
struct console_font_op;					  /* <linux/kd.h> */
int sys_console_font(int fd, struct console_font_op *op); /* KDFONTOP; -ENOTTY: no screen */
int sys_terminal_size(int fd, unsigned *ret_columns, unsigned *ret_rows);
int sys_watchdog_set(int fd, uint32_t timeout_sec, uint32_t *ret_timeout_sec);
int sys_watchdog_kick(int fd);
int sys_uevent_socket(void);
/* -ETIMEDOUT when nothing came within @timeout_msec; drops what the kernel did not send */
ssize_t sys_uevent_receive(int fd, void *buf, size_t len, int timeout_msec);

/* @len bytes (at most 256) of randomness, once the kernel's generator is seeded. */
int sys_random(void *buf, size_t len);

/* Keys: the kernel keyring, for the signature of the root hash */
int sys_add_key(const char *description, const void *data, size_t len);

/* Time: CLOCK_MONOTONIC and CLOCK_REALTIME, microseconds */
uint64_t sys_monotonic_usec(void);
uint64_t sys_realtime_usec(void);
void sys_sleep_usec(uint64_t usec);
