# The stand-in kiosk and what its tests run. It is no part of the product: `make install-target`
# leaves it out, `make install-kiosk` puts it into the root of a device for tests, DESTDIR.
kiosk_LIB  := $(patsubst %,$(B)/tests/kiosk/%.o,offer sha256 http switch)
kiosk_OBJ  := $(patsubst %,$(B)/tests/kiosk/%.o,bf-kiosk update download install) $(kiosk_LIB)
# Only its archive: the device need not have the library.
kiosk_LIBS := -l:libjansson.a

$(B)/tests/bf-kiosk: $(kiosk_OBJ) $(B)/libbf.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(kiosk_LIBS) $(call pkg,libsystemd,--libs)

$(B)/tests/offer-eval: $(B)/tests/kiosk/offer-eval.o $(kiosk_LIB) $(B)/libbf.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(kiosk_LIBS)

$(B)/tests/fake-rauc: $(B)/tests/kiosk/fake-rauc.o $(B)/libbf.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(call pkg,libsystemd,--libs)

$(B)/tests/bf-stranger: $(B)/tests/kiosk/stranger.o $(B)/libbf.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(call pkg,libsystemd,--libs)

kiosk_PROGRAMS := $(patsubst %,$(B)/tests/%,bf-kiosk bf-stranger offer-eval fake-rauc)
kiosk: $(kiosk_PROGRAMS)

# Under lib, not under etc: a test changes the settings by a file in /etc.
INSTALL_KIOSK := \
	$(B)/tests/bf-kiosk.stripped:lib/betterframe/bf-kiosk:0755 \
	$(B)/tests/bf-stranger.stripped:lib/betterframe/bf-stranger:0755 \
	$(foreach f,$(wildcard tests/kiosk/*.service),$(f):lib/systemd/system/$(notdir $(f)):0644) \
	tests/kiosk/bf-guard.conf:lib/bf-guard.conf.d/50-bf-kiosk.conf:0644 \
	tests/kiosk/bf-kiosk.network:lib/systemd/network/50-bf-kiosk.network:0644

$(B)/tests/bf-%.stripped: $(B)/tests/bf-%
	$(Q)$(STRIP) -o $@ $<

install-kiosk: $(B)/tests/bf-kiosk.stripped $(B)/tests/bf-stranger.stripped
	$(Q)$(call install-all,$(INSTALL_KIOSK))
	$(call say,INSTALL,'$(DESTDIR)$(PREFIX)')

.PHONY: kiosk install-kiosk

contract-build: kiosk
