/* SPDX-License-Identifier: Apache-2.0 */
/* Runs every file of a corpus directory through a fuzz target: for builds without libFuzzer. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "tests/fuzz/fuzz.h"

static int replay(const char *dir, const char *name)
{
	char *path = str_fmt("%s/%s", dir, name), *data;
	struct err err;
	size_t len;
	int r = file_read(path, 16 << 20, &data, &len, &err);

	if (r < 0) {
		fprintf(stderr, "%s\n", err.text);
	} else {
		/* The name of the last one is what is left to read after a crash. */
		fprintf(stderr, "%s\n", name);
		(void)LLVMFuzzerTestOneInput((const uint8_t *)data, len);
		free(data);
	}
	free(path);
	return r;
}

int main(int argc, char **argv)
{
	struct dirent **entry;
	int num, r = 0, ran = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: %s CORPUS-DIRECTORY\n", argv[0]);
		return 2;
	}
	log_init("fuzz", LOG_LEVEL_ERROR, 2);
	num = scandir(argv[1], &entry, NULL, alphasort);
	if (num < 0) {
		fprintf(stderr, "cannot read the corpus '%s': %s\n", argv[1], strerror(errno));
		return 1;
	}
	for (int i = 0; i < num; i++) {
		if (r == 0 && entry[i]->d_name[0] != '.') {
			r = replay(argv[1], entry[i]->d_name);
			ran++;
		}
		free(entry[i]);
	}
	free(entry);
	if (!ran)
		fprintf(stderr, "the corpus '%s' is empty\n", argv[1]);
	return r < 0 || !ran;
}
