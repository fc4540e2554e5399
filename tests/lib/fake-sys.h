/* SPDX-License-Identifier: MIT */
/*
 * The test double of boot/sys.h.
 *
 * File calls really happen, below a temporary root: absolute paths, and
 * absolute symbolic links met on the way, start there. Privileged calls are
 * only written to a log, one line each, and succeed unless a rule or
 * fake_fail_at() says otherwise. Time is a counter.
 *
 *   fake_reset();
 *   fake_file("/proc/cmdline", "quiet\n");
 *   fake_result("mount /dev/dm-0", -EINVAL);
 *   r = step(...);
 *   ok_str(fake_log(), "mount /dev/dm-0 /sysroot ext4 ro - -> EINVAL\n", "...");
 *
 * Log lines ("-" stands for NULL, "" and no flags):
 *   mount <source> <target> <type> <flags> <options>     flags as in fstab: ro,nosuid,bind
 *   umount <target> <flags>                              detach,force
 *   bind <source path> <target> rec|-
 *   chdir <path>    chroot <path>    set-readonly <path>    chown <path> <uid>:<gid>
 *   write-file <path> <text>                             (the file must exist, as in sysfs)
 *   init-module <path> <params>
 *   exec <path> <argv…>, then "env <NAME=VALUE>" lines
 *   spawn <path> <argv…>
 *   reboot <argument>    sync    clock <sec>    add-key <description> <bytes>
 *   watchdog-set <sec>   watchdog-kick
 *   stdio <path>
 *   font get|set [tall] <width>x<height> <characters>    of a screen, see fake_screen()
 *   dm <command> <name> <details>                        e.g. "dm load root ro 0 8 verity 1 …"
 * With fake_log_files() file calls appear too, in the form "<call> <path> …"
 * (open says "direct" and "dsync" when asked for, as in "open /dev/vda1 direct,dsync");
 * rules match them in any case:
 *   open read write pread pwrite fsync fallocate stat mkdir symlink unlink exchange rename readlink
 *   list lock is-readonly is-root chmod access keep-on-exec random
 *   read-file memfd block-size device-size statfs uevent-socket uevent close alarm every-second
 *   terminal-size
 */
#pragma once

#include "boot/sys.h"

/* Empties the root and forgets log, rules, devices, events, clock and counters. */
void fake_reset(void);

/* The root's own path: created at the first use, removed at exit. */
const char *fake_root(void);

/*
 * From now on the root is the directory @path, as it stands; it is not removed
 * at exit. For a tool that is run several times. No fake_reset() after this.
 */
void fake_use_root(const char *path);

/* The real path of @path below the root; valid until the next call. */
const char *fake_path(const char *path);

/* Files of the root; parents are made. They end the test program when they fail. */
void fake_file(const char *path, const char *text);
void fake_file_data(const char *path, const void *data, size_t len);
void fake_dir(const char *path);
void fake_symlink(const char *target, const char *path);
void fake_remove(const char *path); /* with what is below it; need not exist */
bool fake_exists(const char *path); /* the link itself counts */
/* NUL-terminated, the caller frees; NULL when it cannot be read. @ret_len may be NULL. */
char *fake_read(const char *path, size_t *ret_len);

/*
 * From now on stat says that the file @path (made if missing) is a block
 * device. Its bytes are the file's, so its size is the file's size.
 */
void fake_block_device(const char *path, unsigned major, unsigned minor);

/* From now on stat says that @path and what is below it lie on another filesystem than the rest. */
void fake_filesystem(const char *path);

/*
 * From now on stat says that @path is theirs. What chown gave away is so, too; all else that
 * the test's own account made is root's.
 */
void fake_owner(const char *path, unsigned uid, unsigned gid);

/* Logical block of every device, 512 after fake_reset(). */
void fake_block_size(uint32_t bytes);

/* The log so far; valid until the next call of anything here or in sys.h. */
const char *fake_log(void);
void fake_log_clear(void);
void fake_log_files(bool on);

/*
 * Rules: the first one whose @match is contained in a call's line decides.
 * fake_result: the call does nothing and returns @result (-errno, or a value).
 * fake_result_once: the same for one call, then the rule is spent.
 * fake_then: runs @fn when such a call succeeds (before it, for a file call):
 * what the kernel would have made appear. Can be combined with the others.
 */
void fake_result(const char *match, int result);
void fake_result_once(const char *match, int result);
void fake_then(const char *match, void (*fn)(void));

/*
 * Counts calls from 1 again and makes the @k-th fail with -@error (0: none
 * does). Calls that cannot fail (sync, the clocks, sleep) do not count.
 * fake_cut_at: the @k-th and every later one fails with -EIO, as after a
 * power cut. A sweep: for (k = 1; ; k++) { fake_fail_at(k, EIO); run; if
 * (fake_calls() < k) break; check; }
 */
void fake_fail_at(unsigned k, int error);
void fake_cut_at(unsigned k);
unsigned fake_calls(void);

/*
 * The write that fake_cut_at() ends still puts its first @bytes bytes on the disk; what
 * is left of the 512-byte sector they end in is damaged. Until the next fake_cut_at() or
 * fake_fail_at().
 */
void fake_torn(size_t bytes);

/* Somebody else's lock is waited for, in real time; else -ETIMEDOUT comes at once. */
void fake_lock_waits(bool on);

/* read, write, pread and pwrite move at most @max bytes; 0: no limit. */
void fake_short_io(size_t max);

/*
 * Files opened with O_DIRECT only take offset, length and buffer in multiples
 * of the logical block: else -EINVAL, as from the kernel, and counted here.
 */
unsigned fake_violations(void);

/* Descriptors from sys_* that are still open: 0 at the end of a clean step. */
unsigned fake_open_fds(void);

/*
 * Runs fn(arg) until it returns or the code under test execs or reboots, which
 * does not come back. Outside of it, and when a rule gives them an error,
 * sys_exec and sys_reboot return (-ENOSYS without a rule). Memory of the frames left behind
 * is not reported as a leak; their descriptors are closed.
 */
enum fake_end { FAKE_RETURNED, FAKE_EXEC, FAKE_REBOOT };
enum fake_end fake_run(void (*fn)(void *arg), void *arg);

/*
 * Clocks; fake_reset() sets 1 s since boot and 2025-01-01. Sleeping and waiting advance both, and
 * what was given to sys_every_second() is called as they do; no thread is made.
 */
void fake_clock(uint64_t monotonic_usec, uint64_t realtime_usec);

/*
 * Queues a uevent (@text may hold NULs) that comes @after_usec later than the
 * one before it; @then, if not NULL, runs just before it is received.
 */
void fake_uevent(const void *text, size_t len, uint64_t after_usec, void (*then)(void));

/* Programs run by sys_spawn_wait() take @sec seconds and end with @status, as from waitpid(); 0, 0
 * after fake_reset(). */
void fake_spawn(int status, uint32_t sec);

/*
 * The virtual terminals have a screen of @width x @height pixels, with a font of @glyph_width x
 * @glyph_height of which each glyph is its number's bits in each row. @tall: a kernel that has the
 * operations of Linux 6.3. After fake_reset() there is no screen, and such a call is no call.
 */
void fake_screen(unsigned width, unsigned height, unsigned glyph_width, unsigned glyph_height,
		 bool tall);

/* The longest timeout the watchdog takes, 0: any. */
void fake_watchdog_max(uint32_t sec);

/* What sys_is_readonly() says from now on, of every filesystem. */
void fake_readonly(bool on);

/* statfs of @path says @magic; others ramfs (0x858458f6), as in an initramfs. */
void fake_statfs(const char *path, uint64_t magic);

/* The status text of dm targets ("V" after fake_reset(); newer kernels add words: "V -", "C 17")
 * and the version of "verity" (1.9.0). */
void fake_dm_status(const char *status);
void fake_dm_version(uint32_t major, uint32_t minor, uint32_t patch);

/* The device number of a mapped device, 253:0 after fake_reset(). */
void fake_dm_device(uint32_t major, uint32_t minor);

/*
 * The bytes of the last dm ioctl of @request, as the code under test gave them, before
 * the answer was written over them. NULL when there was none.
 */
const void *fake_dm_request(unsigned long request, size_t *ret_len);
