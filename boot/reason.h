/* SPDX-License-Identifier: MIT */
/*
 * Why a boot failed or a slot was left: one machine-readable code, one plain
 * sentence, one thing a person can do. The code is what the record stores and
 * what tests compare; it never changes its meaning.
 */
#pragma once

#include "boot/base.h"

/* X(identifier, "code", "what happened", "what a person can do") */
#define REASONS(X)                                                                                 \
	X(KERNEL_PSEUDO_FS, "pseudo-filesystem", "A kernel filesystem could not be mounted.",      \
	  "Use a kernel with devtmpfs, proc, sysfs and tmpfs.")                                    \
	X(MODULE_LIST, "module-list", "The list of kernel modules is missing or damaged.",         \
	  "Build the initramfs again with bf-mkinitramfs.")                                        \
	X(MODULE_KERNEL, "module-kernel", "The modules were packed for another kernel.",           \
	  "Build the initramfs for the kernel it is shipped with.")                                \
	X(MODULE_LOAD, "module-load", "A kernel module could not be loaded.",                      \
	  "Build the initramfs again; see which module in the kernel log.")                        \
	X(CMDLINE, "cmdline", "The kernel command line is not usable.",                            \
	  "Correct cmdline-a.txt and cmdline-b.txt in the boot image.")                            \
	X(SLOT_UNKNOWN, "slot-unknown", "Nothing says which slot this is.",                        \
	  "Put rauc.slot=A or rauc.slot=B on the kernel command line.")                            \
	X(SLOT_MISMATCH, "slot-mismatch", "Firmware and command line name different slots.",       \
	  "Check config.txt: [boot_partition=N] must pick the slot's own cmdline file.")           \
	X(DISK_MISSING, "disk-missing", "No disk with the needed partitions appeared in time.",    \
	  "Check the disk and its connection; flash the image again.")                             \
	X(DISK_AMBIGUOUS, "disk-ambiguous", "Several disks carry the needed partitions.",          \
	  "Unplug the disk that does not belong to this device.")                                  \
	X(VERITY_ROOTHASH, "verity-roothash", "roothash= is missing or malformed.",                \
	  "Rebuild the boot image with the root hash of its root image.")                          \
	X(VERITY_SUPERBLOCK, "verity-superblock", "The verity superblock is missing or damaged.",  \
	  "Install the slot again.")                                                               \
	X(VERITY_OPTIONS, "verity-options", "The verity options are not usable.",                  \
	  "Correct systemd.verity_root_options= in the boot image.")                               \
	X(VERITY_SETUP, "verity-setup", "The kernel refused the verity device.",                   \
	  "See the kernel log; the kernel may lack a hash or an option.")                          \
	X(VERITY_CORRUPT, "verity-corrupt", "The root image is not the one that was signed.",      \
	  "Install the slot again; if it happens again, replace the disk.")                        \
	X(VERITY_SIGNATURE, "verity-signature", "The root hash signature was not accepted.",       \
	  "Sign the root hash with a key the kernel knows.")                                       \
	X(ROOT_FILESYSTEM, "root-filesystem", "The root partition holds no known filesystem.",     \
	  "Install the slot again.")                                                               \
	X(ROOT_MOUNT, "root-mount", "The root filesystem could not be mounted.",                   \
	  "Install the slot again; the kernel may lack the filesystem.")                           \
	X(FSTAB, "fstab", "The mount plan in /etc/fstab is missing or wrong.",                     \
	  "Correct the image's /etc/fstab and build it again.")                                    \
	X(MOUNT_POINT, "mount-point", "A mount point of the plan does not exist.",                 \
	  "Add the directory to the image and build it again.")                                    \
	X(MOUNT, "mount", "A filesystem of the mount plan could not be mounted.",                  \
	  "See the kernel log for the path and the cause.")                                        \
	X(INIT_MISSING, "init-missing", "The system's own init is missing or not executable.",     \
	  "Build the image with an init, or set init= right.")                                     \
	X(HANDOVER, "handover", "Handing over to the system failed.", "See the kernel log.")       \
	X(DEADLINE, "deadline", "The early boot took too long.",                                   \
	  "Look for a slow or failing disk.")                                                      \
	X(OUT_OF_MEMORY, "out-of-memory", "Memory ran out in early boot.",                         \
	  "Use a smaller initramfs or more memory.")                                               \
	X(WRONG_SLOT, "wrong-slot", "The firmware started a slot that was not asked for.",         \
	  "Nothing: it goes back by itself; if it does not, ask 'bf-boot status'.")                \
	X(TRIAL_NOT_STAGED, "trial-not-staged", "A trial boot of a slot that is not staged.",      \
	  "Nothing: the device returned to the committed slot.")                                   \
	X(TRIAL_DARK, "trial-dark", "The trial boots ended without a word.",                       \
	  "Look at the console of a trial boot; the system hangs or crashes.")                     \
	X(TRIAL_NEVER_RAN, "trial-never-ran", "The trial was asked for but never ran.",            \
	  "Check power and firmware, then install with force.")                                    \
	X(TRIAL_UNDECIDED, "trial-undecided", "The trial ran, but never came to a verdict.",       \
	  "See why each was ended: server, network, RAUC or power; then install with force.")      \
	X(TRIAL_REJECTED, "trial-rejected", "The trial was rejected by hand.",                     \
	  "Nothing: somebody marked the slot bad.")                                                \
	X(TRIAL_CANCELLED, "trial-cancelled",                                                      \
	  "The staged slot was taken back before it was tried.", "Nothing: it was asked for.")     \
	X(LEFT_BY_HAND, "left-by-hand", "Somebody sent the device to its other slot.",             \
	  "Nothing: it was asked for.")                                                            \
	X(KIOSK_FAILING, "kiosk-failing", "The kiosk of the committed slot does not live.",        \
	  "See the kiosk's journal; install a good version.")                                      \
	X(COMMITTED_FAILING, "committed-failing", "The committed slot failed too often.",          \
	  "The other slot is tried; install a good version.")                                      \
	X(KIOSK_NEVER_STARTED, "kiosk-never-started", "The kiosk never started.",                  \
	  "See why its unit fails: systemctl status, journalctl -b -1.")                           \
	X(KIOSK_NOT_ALIVE, "kiosk-not-alive", "The kiosk stopped and did not come back.",          \
	  "See the journal of its unit.")                                                          \
	X(KIOSK_RESTARTS, "kiosk-restarts", "The kiosk crashed again and again.",                  \
	  "See the journal of its unit.")                                                          \
	X(NO_BUS, "no-bus", "Nobody could ask systemd about the kiosk: D-Bus was not there.",      \
	  "See why dbus.service or the boot before it failed: journalctl -b -1.")                  \
	X(KIOSK_SILENT, "kiosk-silent", "The kiosk runs but shows no sign of life.",               \
	  "See the journal of its unit, and the kiosk's own log.")                                 \
	X(SERVER_SILENT, "server-silent",                                                          \
	  "The kiosk did not reach its server, though the network is there.",                      \
	  "Check the server's address and certificates in this version.")                          \
	X(CHECK_FAILED, "check-failed", "A required health check failed.",                         \
	  "See the output of the check in the saved diagnostics.")                                 \
	X(ROOT_CORRUPT, "root-corrupt", "The root image cannot be read without errors.",           \
	  "Install it again; if it happens again, replace the disk.")                              \
	X(COMMIT_FAILED, "commit-failed", "The slot was healthy, but could not be committed.",     \
	  "See the journal of rauc.service and bf-boot.")

/* Reasons of older versions: nothing gives them any more, but their records still hold them. */
#define PAST_REASONS(X)                                                                            \
	X(DATA_PATH, "data-path", "A path on the data partition led elsewhere.",                   \
	  "Nothing: this version puts such a path aside.")                                         \
	X(TRIAL_DEADLINE, "trial-deadline", "The trial was not healthy for long enough in time.",  \
	  "See the saved diagnostics: which check came and went.")

enum reason {
	REASON_NONE,
#define X(id, code, what, todo) REASON_##id,
	REASONS(X)
#undef X
		REASON_COUNT, /* of those that can still occur */
	REASON_BEFORE_PAST = REASON_COUNT - 1,
#define X(id, code, what, todo) REASON_##id,
	PAST_REASONS(X)
#undef X
		REASON_END
};

struct reason_text {
	const char *code; /* as in the record, [a-z-]+ */
	const char *what; /* one sentence */
	const char *todo; /* one sentence */
};

/* Never NULL; REASON_NONE and values out of range give code "-". */
const struct reason_text *reason_text(enum reason reason);

/* REASON_NONE for "-" and for what is not in the table. */
enum reason reason_parse(const char *code);

/*
 * One failure on its way up. The leaf that knows the object fills it, once;
 * those between only forward the negative errno; fail.c reports it.
 */
struct failure {
	enum reason reason;
	int error;	/* positive errno, 0 if there is none */
	char text[256]; /* object and path; cut short when longer */
};

/* Returns -error, or -EPROTO when @error is 0, so that a leaf can end with it. */
int failure_set(struct failure *f, enum reason reason, int error, const char *fmt, ...)
	_printf_(4, 5);
