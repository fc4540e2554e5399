// SPDX-License-Identifier: MIT
/* The list of kernel modules. */
#include "initramfs/init/modules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct failure f = { 0 };
	struct module_list l;

	must(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	if (modules_parse(text, &l, &f) < 0) {
		must(f.reason == REASON_MODULE_LIST && *f.text);
		free(text);
		return 0;
	}
	must(*l.release && !strchr(l.release, ' '));
	for (size_t i = 0; i < l.count; i++) {
		must(i == 0 || l.lines[i].level >= l.lines[i - 1].level);
		must(*l.lines[i].path == '/' && !strstr(l.lines[i].path, "/../"));
		must(!strchr(l.lines[i].params, '\n') && !strchr(l.lines[i].path, '\n'));
	}
	for (size_t i = 0; i < l.need_count; i++) {
		must(l.needs[i].module < l.count && l.needs[i].needed < l.needs[i].module);
		must(i == 0 || l.needs[i].module >= l.needs[i - 1].module);
	}
	for (size_t i = 0; i < l.alias_count; i++) {
		must(l.aliases[i].module < l.count && *l.aliases[i].pattern);
		must(l.lines[l.aliases[i].module].kind == MODULE_ON_DEMAND);
		must(!strchr(l.aliases[i].pattern, '\n'));
	}
	modules_done(&l);
	free(text);
	return 0;
}
