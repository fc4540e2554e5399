unit_TESTS   := $(wildcard tests/unit/test-*.c)
# Small programs that contract tests run to ask our code one question.
unit_TOOLS   := $(wildcard tests/unit/bf-boot-fake.c tests/unit/fat-find.c tests/unit/requests-eval.c tests/unit/rules-eval.c tests/unit/verity-table.c tests/unit/walk.c)
# The same, but with the real kernel seam.
seam_TOOLS   := tests/unit/disk-eval.c
fuzz_TARGETS := $(wildcard tests/fuzz/fuzz-*.c)

include tests/kiosk/files.mk
