# The ground floor: used by everything else, uses nothing of it.
boot_SRC := \
	boot/autoboot.c \
	boot/base.c \
	boot/cmdline.c \
	boot/fat.c \
	boot/firmware.c \
	boot/reason.c \
	boot/record.c \
	boot/requests.c \
	boot/rules.c \
	boot/running.c \
	boot/selector.c
# The seam to the kernel; tests put tests/unit/fake-sys.c in its place.
boot_SEAM := boot/sys.c
