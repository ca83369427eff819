/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a settings file: refused with a sentence, or kept so that writing and reading again changes nothing. */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tools/lvm/settings.h"

static void check_stable(struct settings *s)
{
	char *once = settings_format(s), *twice;
	struct settings again;

	settings_init(&again);
	if (settings_parse(&again, once, strlen(once), NULL) < 0)
		abort();
	twice = settings_format(&again);
	if (strcmp(once, twice) != 0)
		abort();
	if (settings_effective_cpus(&again) < 1 || settings_effective_cpus(&again) > 32 ||
	    settings_effective_memory(&again) % (2 << 20) != 0)
		abort();
	settings_done(&again);
	free(once);
	free(twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct settings s;
	struct err err = {0};

	settings_init(&s);
	if (settings_parse(&s, (const char *)data, size, &err) == 0)
		check_stable(&s);
	else if (!err.code || !err.text[0])
		abort();
	settings_done(&s);
	return 0;
}
