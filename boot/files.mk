# The library: used by everything else, uses nothing of it. boot/pi/ is what another board would replace.
boot_SRC := \
	boot/base.c \
	boot/bootfile.c \
	boot/cmdline.c \
	boot/ini.c \
	boot/io.c \
	boot/json.c \
	boot/parts.c \
	boot/pi/autoboot.c \
	boot/pi/fat.c \
	boot/pi/firmware.c \
	boot/pi/selector.c \
	boot/reason.c \
	boot/record.c \
	boot/requests.c \
	boot/rules.c \
	boot/running.c
# The seam to the kernel; tests put tests/lib/fake-sys.c in its place.
boot_SEAM := boot/sys.c
