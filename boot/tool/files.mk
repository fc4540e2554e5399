# bf-boot: RAUC's backend and the tool for people. Everything but main() is also linked by the unit tests.
bf-boot_SRC := \
	boot/tool/backend.c \
	boot/tool/commands.c \
	boot/tool/doctor-boot.c \
	boot/tool/doctor-system.c \
	boot/tool/doctor.c \
	boot/tool/reconcile.c \
	boot/tool/status.c \
	boot/tool/trial.c
bf-boot_MAIN := boot/tool/main.c
bf-boot_PKGS := zlib
