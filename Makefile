# SPDX-License-Identifier: MIT
# One Makefile for everything. `make help` says what there is.
#
# Knobs:  ARCH=arm64   cross build for the device (default: native)
#         O=DIR        where everything is built (default: build)
#         WERROR=1     warnings are errors
#         STATIC=1     a static bf-init, where libmount.a and its like exist
#         SYSROOT=DIR  for ARCH=arm64; made by tests/sysroot when not given
#         V=1          show the commands
#         CC CFLAGS LDFLAGS PKG_CONFIG PREFIX DESTDIR as usual

O      ?= build
PREFIX ?= /usr
ARCH   ?= host
B      := $(O)/$(ARCH)

ifeq ($(ARCH),arm64)
SYSROOT ?= $(O)/sysroot-arm64
CROSS   := aarch64-linux-gnu-
ifneq ($(filter default undefined,$(origin CC)),)
CC      := $(CROSS)gcc
endif
ARCH_FLAGS := --sysroot=$(abspath $(SYSROOT))
PKG_CONFIG_ENV := PKG_CONFIG_PATH= PKG_CONFIG_SYSROOT_DIR=$(abspath $(SYSROOT)) PKG_CONFIG_LIBDIR=$(abspath $(SYSROOT))/usr/lib/aarch64-linux-gnu/pkgconfig
ARCH_DEPS := $(SYSROOT)/.done
else ifneq ($(ARCH),host)
$(error ARCH is arm64 or not given)
endif

AR         := $(CROSS)gcc-ar
PKG_CONFIG ?= pkg-config
CFLAGS     ?= -O2 -g

# Both gcc 12 and clang 14 know every one of these: none is probed, none is dropped.
WARNINGS := -Wall -Wextra -Wshadow -Wvla -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes \
	-Wold-style-definition -Wpointer-arith -Wundef -Wwrite-strings -Wimplicit-fallthrough \
	-Wredundant-decls -Wnull-dereference -Wdouble-promotion -Wno-missing-field-initializers
ifeq ($(WERROR),1)
WARNINGS += -Werror
endif
ALL_CPPFLAGS := -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. $(CPPFLAGS)
ALL_CFLAGS   := -std=gnu11 $(WARNINGS) -fno-strict-aliasing -ffunction-sections -fdata-sections \
	-fstack-protector-strong -fPIE -pthread $(ARCH_FLAGS) $(CFLAGS)
ALL_LDFLAGS  := $(ARCH_FLAGS) -pie -pthread -Wl,--gc-sections -Wl,--as-needed -Wl,-z,relro -Wl,-z,now $(CFLAGS) $(LDFLAGS)
ifeq ($(STATIC),1)
INIT_LDFLAGS := -static-pie
PKG_STATIC   := --static
endif

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-8s %s\n' $(1) $(2)
endif

all:

include boot/files.mk
include initramfs/files.mk
include tests/files.mk

pkg = $(shell $(PKG_CONFIG_ENV) $(PKG_CONFIG) $(2) $(1))

# ---- objects -------------------------------------------------------------
# A change of the compiler or of any flag rebuilds.
FLAGS_NOW := $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(STATIC)
$(B)/.flags: FORCE
	@mkdir -p $(B)
	@printf '%s\n' '$(subst ','\'',$(FLAGS_NOW))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(FLAGS_NOW))' >$@
FORCE:

$(B)/%.o: %.c $(B)/.flags $(ARCH_DEPS)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Files still to be written are passed over while the tree grows.
obj = $(patsubst %.c,$(B)/%.o,$(wildcard $(1)))

LIB := $(B)/libbf.a
$(LIB): $(call obj,$(boot_SRC) $(boot_SEAM))
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(B)/bf-init: $(call obj,$(bf-init_MAIN) $(bf-init_SRC)) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $(INIT_LDFLAGS) -o $@ $^ $(call pkg,$(bf-init_PKGS),$(PKG_STATIC) --libs)

$(B)/bf-mkinitramfs: $(call obj,$(bf-mkinitramfs_MAIN) $(bf-mkinitramfs_SRC)) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(call pkg,$(bf-mkinitramfs_PKGS),--libs)

PROGRAMS := $(B)/bf-init
ifeq ($(ARCH),host)
PROGRAMS += $(B)/bf-mkinitramfs
endif
all: $(PROGRAMS)

$(O)/sysroot-arm64/.done: tests/sysroot
	$(call say,SYSROOT,$(@D))
	$(Q)tests/sysroot $(@D)
	@touch $@

# ---- unit tests: no root, no VM, seconds ---------------------------------
UNIT_LIB := $(B)/libbf-test.a
$(UNIT_LIB): $(call obj,$(boot_SRC) $(bf-init_SRC) $(bf-mkinitramfs_SRC) tests/unit/fake-sys.c)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

UNIT_LIBS = $(call pkg,$(bf-init_PKGS) $(bf-mkinitramfs_PKGS),--libs)
UNIT_TESTS := $(patsubst tests/unit/%.c,$(B)/tests/%,$(unit_TESTS))
UNIT_TOOLS := $(patsubst tests/unit/%.c,$(B)/tests/%,$(unit_TOOLS))
REPLAYS    := $(patsubst tests/fuzz/fuzz-%.c,$(B)/tests/replay-%,$(fuzz_TARGETS))

$(B)/tests/%: $(B)/tests/unit/%.o $(UNIT_LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $< $(UNIT_LIB) $(UNIT_LIBS)

$(B)/tests/replay-%: $(B)/tests/fuzz/fuzz-%.o $(B)/tests/fuzz/replay.o $(UNIT_LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(UNIT_LIB) $(UNIT_LIBS)

.SECONDARY:

tests-build: $(UNIT_TESTS) $(UNIT_TOOLS) $(REPLAYS)

# prove runs each test program; PROVE_EXEC puts another program in front (valgrind).
prove-unit: tests-build
	$(Q)prove --exec '$(PROVE_EXEC)' $(UNIT_TESTS) $(foreach t,$(REPLAYS),$(t)-corpus)
prove-unit: $(REPLAYS:%=%-corpus)

# A corpus is replayed by a small script, so that prove can start it like a test.
$(B)/tests/replay-%-corpus: $(B)/tests/replay-%
	@printf '#!/bin/sh\nexec %s tests/fuzz/corpus/%s\n' '$<' '$*' >$@ && chmod +x $@

check-unit: WERROR := 1
check-unit:
	$(Q)$(MAKE) --no-print-directory ARCH=host WERROR=1 prove-unit

check-san:
	$(Q)$(MAKE) --no-print-directory ARCH=host WERROR=1 O=$(O)/san \
		CFLAGS='-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all' prove-unit

check-clang:
	$(Q)$(MAKE) --no-print-directory ARCH=host WERROR=1 O=$(O)/clang CC=clang all prove-unit

check-valgrind:
	$(Q)$(MAKE) --no-print-directory ARCH=host WERROR=1 O=$(O)/valgrind CFLAGS='-O1 -g' \
		PROVE_EXEC='tests/unit/under-valgrind' prove-unit

.PHONY: all tests-build prove-unit check-unit check-san check-clang check-valgrind FORCE

-include $(shell find $(B) -name '*.d' 2>/dev/null)
