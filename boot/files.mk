# The ground floor: used by everything else, uses nothing of it.
boot_SRC := \
	boot/pi/autoboot.c \
	boot/base.c \
	boot/cmdline.c \
	boot/pi/fat.c \
	boot/pi/firmware.c \
	boot/reason.c \
	boot/record.c \
	boot/requests.c \
	boot/rules.c \
	boot/running.c \
	boot/pi/selector.c
# The seam to the kernel; tests put tests/unit/fake-sys.c in its place.
boot_SEAM := boot/sys.c

# bf-boot: RAUC's backend and the tool for people. Everything but main() is also linked by the unit tests.
bf-boot_SRC := \
	boot/backend.c \
	boot/bf-boot.c \
	boot/doctor-boot.c \
	boot/doctor-system.c \
	boot/doctor.c \
	boot/ini.c \
	boot/json.c \
	boot/reconcile.c \
	boot/status.c \
	boot/trial.c
bf-boot_MAIN := boot/bf-boot-main.c
bf-boot_PKGS := zlib
