# What tests share, tests/lib/fake-sys.c in the place of boot/sys.c among it.
tests_LIB    := $(wildcard tests/lib/*.c)
unit_TESTS   := $(wildcard tests/unit/test-*.c)
# Tools with the real kernel seam, and what of tests/lib they take: single objects, no archive with the double in it.
seam_TOOLS   := tests/tools/disk-eval.c
seam_LIB     := tests/lib/rules-text.c
# bf-init's own code with the real kernel seam, in a mount namespace of its own.
mount_TOOLS  := tests/tools/data-trees.c
# Small programs that contract tests run to ask our code one question.
unit_TOOLS   := $(filter-out $(seam_TOOLS) $(mount_TOOLS),$(wildcard tests/tools/*.c))
fuzz_TARGETS := $(wildcard tests/fuzz/fuzz-*.c)

include tests/kiosk/files.mk
