// SPDX-License-Identifier: MIT
#include "tests/lib/verity-sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct verity_options *o)
{
	if (o->fec_roots < 2 || o->fec_roots > 24 || o->hash_offset_bytes % 512 ||
	    o->hash_offset_bytes > INT64_MAX || o->fec_offset_bytes > INT64_MAX ||
	    (o->restart_on_corruption && o->panic_on_corruption) ||
	    (o->signature && *o->signature != '/') || (o->fec_device && !*o->fec_device) ||
	    (o->salt && strlen(o->salt) > 2 * VERITY_SALT_MAX))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	uint8_t sb[VERITY_SUPER_SIZE];
	struct verity_options o;
	struct verity_super s;
	struct failure f = { 0 };
	int r;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	r = verity_options_parse(text, &o, &f);
	if (r < 0 && f.reason != REASON_VERITY_OPTIONS)
		abort();
	/* the one word that would run an unverified root never passes */
	if (r == 0 && (streq(text, "ignore-corruption") || strstr(text, ",ignore-corruption")))
		abort();
	free(text);
	if (r < 0)
		return 0;
	check(&o);
	sample_super(sb);
	if (verity_super_parse(sb, &s, &f) < 0)
		abort();
	r = verity_options_match(&o, &s, &f);
	if (r == 0 && o.data_blocks && o.data_blocks != s.data_blocks)
		abort();
	verity_options_done(&o);
	return 0;
}
