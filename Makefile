# SPDX-License-Identifier: MIT
# One Makefile for everything. `make help` says what there is.
#
# Knobs:  ARCH=arm64   cross build for the device (default: native)
#         O=DIR        where everything is built (default: build)
#         WERROR=1     warnings are errors
#         STATIC=1     a static bf-init, where libmount.a and its like exist
#         SYSROOT=DIR  for ARCH=arm64; made by tests/sysroot when not given
#         V=1          show the commands
#         JOBS=N       how much of `make check` runs at a time (default: as many as there are processors)
#         PYTEST_FLAGS="-rP -k NAME"   more words for pytest: here only tests of that name, and what they print
#         VM_WORKERS="-n N"   how many virtual machines at a time (default: one more than JOBS)
#         FUZZ_SECONDS=N TREES=N BENCH_FLAGS=... POWERCUT_FLAGS=...   for `make fuzz`, `make fuzz-data`, `make bench`, `make powercut`
#         CC CFLAGS LDFLAGS PKG_CONFIG PREFIX DESTDIR as usual

O      ?= build
JOBS   ?= $(shell nproc)
# Whoever calls make with -j has chosen already.
PAR     = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(JOBS))
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
STRIP      := $(CROSS)strip
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
include boot/tool/files.mk
include initramfs/init/files.mk
include initramfs/pack/files.mk
include guard/files.mk
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

obj = $(patsubst %.c,$(B)/%.o,$(1))

LIB := $(B)/libbf.a
$(LIB): $(call obj,$(boot_SRC) $(boot_SEAM))
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

# What goes into the device is stripped; .debug keeps the symbols for gdb and for tests.
$(B)/bf-init $(B)/bf-boot $(B)/bf-guard: %: %.debug
	$(call say,STRIP,$@)
	$(Q)$(STRIP) -o $@ $<

$(B)/bf-init.debug: $(call obj,$(bf-init_MAIN) $(bf-init_SRC)) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $(INIT_LDFLAGS) -o $@ $^ $(call pkg,$(bf-init_PKGS),$(PKG_STATIC) --libs)

$(B)/bf-boot.debug: $(call obj,$(bf-boot_MAIN) $(bf-boot_SRC)) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(call pkg,$(bf-boot_PKGS),--libs)

$(B)/bf-guard.debug: $(call obj,$(bf-guard_MAIN) $(bf-guard_SRC) $(bf-guard_DEVICE)) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(call pkg,$(bf-guard_PKGS),--libs)

$(B)/bf-mkinitramfs: $(call obj,$(bf-mkinitramfs_MAIN) $(bf-mkinitramfs_SRC)) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(call pkg,$(bf-mkinitramfs_PKGS),--libs) $(bf-mkinitramfs_LIBS)

PROGRAMS := $(B)/bf-init $(B)/bf-boot $(B)/bf-guard
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
$(UNIT_LIB): $(call obj,$(boot_SRC) $(bf-boot_SRC) $(bf-init_SRC) $(bf-mkinitramfs_SRC) $(bf-guard_SRC) $(bf-guard_DEVICE) $(tests_LIB))
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

UNIT_LIBS = $(call pkg,$(bf-init_PKGS) $(bf-mkinitramfs_PKGS) libsystemd,--libs) $(bf-mkinitramfs_LIBS)
UNIT_TESTS := $(patsubst tests/unit/%.c,$(B)/tests/%,$(unit_TESTS))
UNIT_TOOLS := $(patsubst tests/tools/%.c,$(B)/tests/%,$(unit_TOOLS))
SEAM_TOOLS := $(patsubst tests/tools/%.c,$(B)/tests/%,$(seam_TOOLS))
REPLAYS    := $(patsubst tests/fuzz/fuzz-%.c,$(B)/tests/replay-%,$(fuzz_TARGETS))

$(UNIT_TESTS): $(B)/tests/%: $(B)/tests/unit/%.o $(UNIT_LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $< $(UNIT_LIB) $(UNIT_LIBS)

$(UNIT_TOOLS): $(B)/tests/%: $(B)/tests/tools/%.o $(UNIT_LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $< $(UNIT_LIB) $(UNIT_LIBS)

$(B)/tests/replay-%: $(B)/tests/fuzz/fuzz-%.o $(B)/tests/fuzz/replay.o $(UNIT_LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(UNIT_LIB) $(UNIT_LIBS)

$(SEAM_TOOLS): $(B)/tests/%: $(B)/tests/tools/%.o $(call obj,$(seam_LIB)) $(LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -Wl,--wrap=sys_block_size -o $@ $^ $(UNIT_LIBS)

MOUNT_TOOLS := $(patsubst tests/tools/%.c,$(B)/tests/%,$(mount_TOOLS))
$(MOUNT_TOOLS): $(B)/tests/%: $(B)/tests/tools/%.o $(call obj,$(bf-init_SRC)) $(LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(call pkg,$(bf-init_PKGS),--libs)

# bf-guard with a device that a test makes up, and the bus that it lives on.
GUARD_TOOLS := $(B)/tests/bf-guard $(B)/tests/fake-bus
$(B)/tests/bf-guard: $(call obj,$(bf-guard_MAIN) $(bf-guard_SRC) tests/contract/fake-device.c) $(LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(call pkg,$(bf-guard_PKGS),--libs)
$(B)/tests/fake-bus: $(call obj,tests/contract/fake-bus.c) $(LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(call pkg,libsystemd,--libs)

.SECONDARY:

tests-build: $(UNIT_TESTS) $(UNIT_TOOLS) $(SEAM_TOOLS) $(MOUNT_TOOLS) $(REPLAYS)

# prove runs each test program; PROVE_EXEC puts another program in front (valgrind).
prove-unit: tests-build
	$(Q)prove -j2 --exec '$(PROVE_EXEC)' $(UNIT_TESTS) $(foreach t,$(REPLAYS),$(t)-corpus) \
		$(if $(PROVE_EXEC),,$(MOUNT_TOOLS))
prove-unit: $(REPLAYS:%=%-corpus)

# A corpus is replayed by a small script, so that prove can start it like a test.
$(B)/tests/replay-%-corpus: $(B)/tests/replay-%
	@printf '#!/bin/sh\nexec %s tests/fuzz/corpus/%s\n' '$<' '$*' >$@ && chmod +x $@


check-unit:
	$(Q)$(MAKE) --no-print-directory $(PAR) ARCH=host WERROR=1 prove-unit

check-san:
	$(Q)$(MAKE) --no-print-directory $(PAR) ARCH=host WERROR=1 O=$(O)/san \
		CFLAGS='-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all' prove-unit

check-clang:
	$(Q)$(MAKE) --no-print-directory $(PAR) ARCH=host WERROR=1 O=$(O)/clang CC=clang all prove-unit

check-valgrind:
	$(Q)$(MAKE) --no-print-directory $(PAR) ARCH=host WERROR=1 O=$(O)/valgrind CFLAGS='-O1 -g' \
		PROVE_EXEC='tests/unit/under-valgrind' prove-unit

# ---- the other layers ----------------------------------------------------
PYTEST = /usr/bin/python3 -m pytest -q --durations=15 -p no:cacheprovider --builddir=$(abspath $(O)) $(PYTEST_FLAGS)

# Contract: the programs as their callers use them. VM: real kernel, real disk, QEMU.
contract-build: all tests-build $(GUARD_TOOLS)
check-contract: as-root packages
	$(Q)$(MAKE) --no-print-directory $(PAR) ARCH=host WERROR=1 contract-build
	$(Q)WERROR=1 $(PYTEST) $(CONTRACT_WORKERS) tests/contract
# Most of them wait, now and then.
CONTRACT_WORKERS ?= -n $(shell expr $(JOBS) + 1) --dist load

# The boot rules, searched to the end; half a minute.
check-model:
	$(Q)tests/model/search.py
	$(Q)tests/model/search.py --mistakes

arm64:
	$(Q)$(MAKE) --no-print-directory ARCH=arm64 WERROR=$(WERROR) all

check-vm: packages
	$(Q)$(MAKE) --no-print-directory $(PAR) ARCH=host WERROR=1 all
	$(Q)$(MAKE) --no-print-directory $(PAR) ARCH=arm64 WERROR=1 all
	$(Q)WERROR=1 $(PYTEST) $(VM_WORKERS) tests/vm
# What is slow and rare: not in check; run before a release.
check-long: packages
	$(Q)$(MAKE) --no-print-directory $(PAR) ARCH=host WERROR=1 all
	$(Q)$(MAKE) --no-print-directory $(PAR) ARCH=arm64 WERROR=1 all
	$(Q)WERROR=1 $(PYTEST) $(VM_WORKERS) --long tests/vm
# One virtual machine more than there are processors, too; but each may take 1.5 GiB, and no more than fit
# into the memory that is free.
VM_WORKERS ?= -n $(shell awk -v n=$$(($(JOBS) + 1)) '/^MemAvailable:/ { fit = int($$2 / 1572864) } \
	END { print fit < 1 ? 1 : fit < n ? fit : n }' /proc/meminfo) --dist load

# Said at once, not after half an hour.
as-root:
	$(Q)[ "$$(id -u)" = 0 ] || { echo 'the contract tests take the part of other accounts: be root for' \
		'"make check" and "make check-contract" (not for check-unit, lint, demo)' >&2; exit 1; }

check: as-root packages
	$(Q)$(MAKE) --no-print-directory check-unit
	$(Q)$(MAKE) --no-print-directory $(PAR) lint
	$(Q)$(MAKE) --no-print-directory check-clang
	$(Q)$(MAKE) --no-print-directory check-san
	$(Q)$(MAKE) --no-print-directory check-valgrind
	$(Q)$(MAKE) --no-print-directory check-model
	$(Q)$(MAKE) --no-print-directory check-contract
	$(Q)$(MAKE) --no-print-directory check-vm

demo: packages
	$(Q)$(MAKE) --no-print-directory $(PAR) ARCH=host all
	$(Q)$(MAKE) --no-print-directory $(PAR) ARCH=arm64 all
	$(Q)tests/demo --builddir $(abspath $(O))

# Every write that decides what is booted, and a sample of all others; check-vm has a share of it.
powercut: packages
	$(Q)$(MAKE) --no-print-directory $(PAR) ARCH=host all
	$(Q)$(MAKE) --no-print-directory $(PAR) ARCH=arm64 all
	$(Q)tests/powercut --builddir $(abspath $(O)) $(POWERCUT_FLAGS)

bench: packages
	$(Q)tests/ensure-packages bench
	$(Q)$(MAKE) --no-print-directory $(PAR) ARCH=host all
	$(Q)$(MAKE) --no-print-directory $(PAR) ARCH=arm64 all
	$(Q)tests/bench/bench --builddir $(abspath $(O)) $(BENCH_FLAGS)
	$(Q)tests/bench/backend --builddir $(abspath $(O))

# What a check of the data partition reads, by its size and content; neither root nor a virtual machine.
bench-e2fsck: packages
	$(Q)tests/bench/e2fsck

# README's picture of an update; tests/contract/test_picture.py tells when it is out of date. What
# differs between versions of dot and shows nothing is taken out: no commit is to be made of that.
picture:
	$(Q)tests/ensure-packages picture
	$(call say,DOT,guard/update-flow.svg)
	@mkdir -p $(O)
	$(Q)dot -Tsvg -o $(O)/update-flow.svg guard/update-flow.dot
	$(Q)sed -e '/^<!-- Generated by/,/-->$$/d' -e 's/"transparent"/"none"/' $(O)/update-flow.svg >guard/update-flow.svg

packages:
	$(Q)tests/ensure-packages build cross image vm check

# ---- fuzzing: each target for FUZZ_SECONDS, new inputs kept under $(O)/fuzz --
FUZZ_SECONDS ?= 60
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/tests/%,$(fuzz_TARGETS))
$(FUZZERS): $(B)/tests/%: $(B)/tests/fuzz/%.o $(UNIT_LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $< $(UNIT_LIB) $(UNIT_LIBS)
fuzzers: $(FUZZERS)
fuzz:
	$(Q)$(MAKE) --no-print-directory $(PAR) ARCH=host WERROR=1 O=$(O)/fuzz CC=clang \
		CFLAGS='-O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all' fuzzers
	$(Q)set -e; for n in $(fuzz_TARGETS:tests/fuzz/fuzz-%.c=%); do \
		echo "== $$n, $(FUZZ_SECONDS) s"; mkdir -p $(O)/fuzz/new/$$n; \
		$(O)/fuzz/host/tests/fuzz-$$n -max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=1 \
			-artifact_prefix=$(O)/fuzz/ $(O)/fuzz/new/$$n tests/fuzz/corpus/$$n; done

# Trees of BF_DATA over the real mounts.c and the real kernel; check-unit has a thousand of them.
TREES ?= 1000000
fuzz-data:
	$(Q)$(MAKE) --no-print-directory $(PAR) ARCH=host WERROR=1 $(O)/host/tests/data-trees
	$(Q)nice $(O)/host/tests/data-trees --count $(TREES) --seed $$(date +%s) --jobs 32

# ---- lint ------------------------------------------------------------------
C_SOURCES  = $(shell git ls-files '*.c')
C_ALL      = $(shell git ls-files '*.c' '*.h')
SH_SOURCES = $(shell git ls-files -z | xargs -0 grep -lE '^\#!(/usr)?/bin/(env )?(ba)?sh' --)
lint: lint-walls lint-analyzer lint-tidy lint-cppcheck lint-shell lint-format lint-man
# No include through a wall: FOLDER:PATTERN of what its files must not name. Only tests look into a program.
WALLS := \
	boot/*.[ch]:(boot/tool|initramfs|guard|tests)/ \
	boot/pi/*.[ch]:(boot/tool|initramfs|guard|tests)/ \
	$(foreach f,boot boot/tool initramfs/init guard,$(f)/*.[ch]:boot/pi/partition) \
	boot/tool/*.[ch]:(initramfs|guard|tests)/ \
	initramfs/init/*.[ch]:(boot/tool|initramfs/pack|guard|tests)/ \
	initramfs/pack/*.[ch]:(boot/tool|initramfs/init|guard|tests)/ \
	initramfs/*.h:(boot|initramfs|guard|tests)/ \
	guard/*.[ch]:(boot/tool|initramfs|tests)/ \
	guard/bf-guard.c:guard/(link|listen|report|senses) \
	guard/senses.[ch]:guard/(daemon|link|listen|report) \
	guard/report.[ch]:guard/(daemon|link|listen) \
	guard/client.[ch]:guard/(daemon|link|listen|senses) \
	guard/listen.[ch]:guard/(daemon|link|report|senses) \
	guard/link.[ch]:guard/(daemon|listen|report|senses) \
	$(foreach f,$(filter-out bf-guard client daemon link listen report senses,$(basename $(notdir $(wildcard guard/*.c)))),\
		guard/$(f).[ch]:guard/(daemon|link|listen|report|senses)) \
	$(foreach f,job journal log rauc,guard/$(f).[ch]:guard/([^jlr]|judgement)) \
	guard/policy.[ch]:guard/([^p]|p[^o])
lint-walls:
	$(call say,WALLS,includes)
	$(Q)set -f; for wall in $(foreach w,$(WALLS),'$(w)'); do \
		! git grep -nE "^#include \"$${wall#*:}" -- ":(glob)$${wall%%:*}" || exit 1; done
# It does not see cleanup attributes: leaks are for the sanitizer and valgrind.
ANALYZER_BLIND := -Wno-analyzer-malloc-leak -Wno-analyzer-file-leak
lint-analyzer:
	$(call say,ANALYZE,gcc)
	$(Q)$(MAKE) --no-print-directory $(PAR) ARCH=host WERROR=1 O=$(O)/analyzer CFLAGS='-O1 -g -fanalyzer $(ANALYZER_BLIND)' all
lint-tidy:
	$(call say,TIDY,clang-tidy)
	$(Q)printf '%s\n' $(filter boot/% initramfs/% guard/%,$(C_SOURCES)) | xargs -P $(JOBS) -n 8 sh -c \
		'exec clang-tidy --quiet --warnings-as-errors="*" "$$@" -- $(ALL_CPPFLAGS) -std=gnu11' clang-tidy
lint-cppcheck:
	$(call say,CPPCHECK,)
	$(Q)cppcheck -j $(JOBS) --quiet --error-exitcode=1 --std=c11 --inline-suppr --enable=warning,portability,performance \
		--suppress=missingIncludeSystem -D_GNU_SOURCE -D__linux__ -I. boot initramfs guard
lint-shell:
	$(call say,SHELL,shellcheck)
	$(Q)shellcheck $(SH_SOURCES)
lint-man:
	$(call say,MAN,)
	$(Q)for m in $(man_PAGES); do mandoc -Tlint -Wwarning $$m || exit 1; done
# Another version of clang-format formats otherwise; the tree is written for 14.
lint-format:
	$(call say,FORMAT,clang-format)
	$(Q)if clang-format --version | grep -q 'version 14\.'; then \
		clang-format --dry-run -Werror $(C_ALL); \
	else echo 'clang-format is not version 14: the format was not checked'; fi

# ---- install ---------------------------------------------------------------
# Two tables, SOURCE:DESTINATION:MODE; uninstall removes exactly these. Below PREFIX, or
# absolute: what RAUC and D-Bus look for in /etc only.
# What the image builder uses, on his own machine; bf-guard and bf-init look at his root for bf-mkimage:
man_PAGES := $(wildcard $(foreach d,boot/tool initramfs/* guard hooks/*,$(d)/*.[1-9]))
INSTALL := \
	$(B)/bf-mkinitramfs:bin/bf-mkinitramfs:0755 \
	$(foreach p,bf-mkimage bf-mkbundle bf-mkkeys,hooks/image/$(p):bin/$(p):0755) \
	$(B)/bf-guard:libexec/betterframe/bf-guard:0755 \
	$(B)/bf-init:libexec/betterframe/bf-init:0755 \
	hooks/image/fstab:share/betterframe/fstab:0644 \
	$(foreach f,$(man_PAGES),$(f):share/man/man$(subst .,,$(suffix $(f)))/$(notdir $(f)):0644)
# What goes into the device's root (never into the builder's: its units and watchdog settings would act there).
INSTALL_TARGET := \
	$(B)/bf-init:lib/betterframe/bf-init:0755 \
	$(B)/bf-boot:sbin/bf-boot:0755 \
	$(B)/bf-guard:sbin/bf-guard:0755 \
	hooks/systemd/bf-guard.catalog:lib/systemd/catalog/bf-guard.catalog:0644 \
	$(foreach s,bf-growfs bf-boot-shutdown bf-ssh-keys,hooks/systemd/$(s):lib/betterframe/$(s):0755) \
	hooks/rauc/bf-pre-install:lib/betterframe/bf-pre-install:0755 \
	hooks/rauc/system.conf:/etc/rauc/system.conf:0644 \
	hooks/rauc/de.pengutronix.rauc.conf:/etc/dbus-1/system.d/de.pengutronix.rauc.conf:0644 \
	$(foreach d,modules-load.d modprobe.d sysusers.d,$(foreach f,$(wildcard hooks/systemd/$(d)/*.conf),$(f):lib/$(d)/$(notdir $(f)):0644)) \
	$(foreach f,$(wildcard hooks/systemd/*.service.d/*.conf hooks/systemd/*.target.d/*.conf),$(f):lib/systemd/system/$(f:hooks/systemd/%=%):0644) \
	$(foreach f,$(wildcard hooks/udev/*.rules),$(f):lib/udev/rules.d/$(notdir $(f)):0644) \
	$(foreach f,$(wildcard hooks/systemd/*.service),$(f):lib/systemd/system/$(notdir $(f)):0644) \
	$(foreach d,system.conf.d journald.conf.d sleep.conf.d,$(foreach f,$(wildcard hooks/systemd/$(d)/*.conf),$(f):lib/systemd/$(d)/$(notdir $(f)):0644))
word-of = $(word $(2),$(subst :, ,$(1)))
place-of = $(if $(filter /%,$(call word-of,$(1),2)),,$(PREFIX)/)$(call word-of,$(1),2)
install-all = $(foreach i,$(1),install -D -m $(call word-of,$(i),3) $(call word-of,$(i),1) '$(DESTDIR)$(call place-of,$(i))' &&) :
# Directories go when they are empty, and never DESTDIR itself.
uninstall-all = $(foreach i,$(1),rm -f '$(DESTDIR)$(call place-of,$(i))' &&) \
	{ [ ! -d '$(DESTDIR)/' ] || cd '$(DESTDIR)/' && rmdir -p --ignore-fail-on-non-empty -- \
		$(sort $(foreach i,$(1),'$(patsubst /%,%,$(patsubst %/,%,$(dir $(call place-of,$(i)))))')) 2>/dev/null; :; }

install: $(B)/bf-mkinitramfs $(B)/bf-guard $(B)/bf-init
	$(Q)$(call install-all,$(INSTALL))
	$(call say,INSTALL,'$(DESTDIR)$(PREFIX)')
install-target: $(B)/bf-init $(B)/bf-boot $(B)/bf-guard
	$(Q)$(call install-all,$(INSTALL_TARGET))
	$(call say,INSTALL,'$(DESTDIR)$(PREFIX)')
uninstall:
	$(Q)$(call uninstall-all,$(INSTALL))
uninstall-target:
	$(Q)$(call uninstall-all,$(INSTALL_TARGET))

clean:
	rm -rf $(O)

help:
	@printf '%s\n' \
	'make              build bf-init, bf-boot, bf-guard and bf-mkinitramfs (ARCH=arm64: for the device)' \
	'make demo         a real Debian 13 in QEMU takes a good update, and leaves two: one never lives, one hangs' \
	'make check        every test; needs root; installs the Debian packages it lacks' \
	'make check-unit   unit tests only: seconds, no root, no VM' \
	'make check-contract, check-vm, check-model, check-san, check-clang, check-valgrind   the other parts of check' \
	'make check-long   tests of virtual machines that are slow and rare, and not part of check' \
	'make powercut     cut the power at every write of an update that decides, and at 1000 others' \
	'make bench        sizes and times against other initramfs makers' \
	'make bench-e2fsck what a check of the data partition reads' \
	'make fuzz         each fuzz target for FUZZ_SECONDS (60)' \
	'make fuzz-data    a million BF_DATA trees (TREES) over the mount plan; half an hour' \
	'make picture      draw guard/update-flow.svg of guard/update-flow.dot' \
	'make lint         includes between folders, static analysis, shellcheck, format, man pages' \
	'make install      bf-mkinitramfs, bf-mkimage, bf-mkbundle, bf-mkkeys, man pages; to DESTDIR and PREFIX (/usr)' \
	'make install-target   bf-init, bf-boot, bf-guard, units, udev rules; into the root of the device, DESTDIR' \
	'make uninstall, uninstall-target   take that back' \
	'make clean        remove the build directory O (build)' \
	'knobs: ARCH O CC CFLAGS LDFLAGS WERROR STATIC SYSROOT V JOBS PYTEST_FLAGS VM_WORKERS FUZZ_SECONDS TREES BENCH_FLAGS' \
	'       POWERCUT_FLAGS (see the top of the Makefile)'

.PHONY: all tests-build prove-unit check-unit check-san check-clang check-valgrind check-model FORCE \
	contract-build check-contract arm64 check-vm check-long check as-root demo powercut bench bench-e2fsck picture packages \
	fuzz fuzzers fuzz-data \
	lint lint-walls lint-analyzer lint-tidy lint-cppcheck lint-shell lint-man lint-format install install-target uninstall \
	uninstall-target clean help

-include $(shell find $(B) -name '*.d' 2>/dev/null)
