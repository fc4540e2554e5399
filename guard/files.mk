# bf-guard: commits a slot only when the kiosk really lives. Everything but main() is also linked by the unit tests.
bf-guard_SRC := \
	guard/config.c \
	guard/heartbeat.c \
	guard/job.c \
	guard/kiosk.c \
	guard/policy.c \
	guard/rauc.c
