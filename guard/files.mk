# bf-guard: commits a slot only when the kiosk really lives. Everything but main() is also linked by the unit tests.
bf-guard_SRC := \
	guard/checks.c \
	guard/client.c \
	guard/confcheck.c \
	guard/config.c \
	guard/daemon.c \
	guard/greenboot.c \
	guard/heartbeat.c \
	guard/hooks.c \
	guard/job.c \
	guard/journal.c \
	guard/judgement.c \
	guard/kiosk.c \
	guard/link.c \
	guard/listen.c \
	guard/log.c \
	guard/policy.c \
	guard/process.c \
	guard/publish.c \
	guard/rauc.c \
	guard/report.c \
	guard/script.c \
	guard/senses.c
# The guard's way to the device; contract tests put tests/contract/fake-device.c in its place.
bf-guard_DEVICE := guard/device.c
bf-guard_MAIN := guard/bf-guard.c
bf-guard_PKGS := libsystemd zlib
