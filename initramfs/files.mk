# bf-init: PID 1 of the initramfs. Everything but main() is also linked by the unit tests.
bf-init_SRC := \
	initramfs/data.c \
	initramfs/datadir.c \
	initramfs/disk.c \
	initramfs/dm.c \
	initramfs/fail.c \
	initramfs/fsimage.c \
	initramfs/handover.c \
	initramfs/inventory.c \
	initramfs/modules.c \
	initramfs/mounts.c \
	initramfs/plan.c \
	initramfs/root.c \
	initramfs/uevent.c \
	initramfs/verity.c \
	initramfs/watchdog.c
bf-init_MAIN := initramfs/bf-init.c
bf-init_PKGS := mount blkid zlib

# bf-mkinitramfs: on the image builder's machine.
bf-mkinitramfs_SRC := \
	initramfs/closure.c \
	initramfs/codec.c \
	initramfs/cpio.c \
	initramfs/elfinfo.c \
	initramfs/kmods.c \
	initramfs/output.c \
	initramfs/problem.c \
	initramfs/tree.c \
	initramfs/wants.c
bf-mkinitramfs_MAIN := initramfs/bf-mkinitramfs.c
bf-mkinitramfs_PKGS := libkmod libelf liblzma libzstd zlib
