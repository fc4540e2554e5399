unit_TESTS   := $(wildcard tests/unit/test-*.c)
# Small programs that contract tests run to ask our code one question.
unit_TOOLS   := $(wildcard tests/unit/fat-find.c tests/unit/rules-eval.c tests/unit/verity-table.c)
fuzz_TARGETS := $(wildcard tests/fuzz/fuzz-*.c)
