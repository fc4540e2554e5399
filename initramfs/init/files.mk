# bf-init: PID 1 of the initramfs. Everything but main() is also linked by the unit tests.
bf-init_SRC := $(patsubst %,initramfs/init/%.c, \
	check data datadir disk dm fail features fsimage handover inventory modules mounts patience \
	plan root screen uevent verity watchdog)
bf-init_MAIN := initramfs/init/bf-init.c
bf-init_PKGS := mount blkid zlib
