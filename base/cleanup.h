/* SPDX-License-Identifier: Apache-2.0 */
/* Scope-bound cleanup for descriptors, memory and files. */
#ifndef LVM_BASE_CLEANUP_H
#define LVM_BASE_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_fn(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close_fn(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

static inline void cleanup_fclose_fn(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}

static inline void cleanup_closedir_fn(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

#define cleanup_free     __attribute__((cleanup(cleanup_free_fn)))
#define cleanup_close    __attribute__((cleanup(cleanup_close_fn))) /* int fd = -1 */
#define cleanup_fclose   __attribute__((cleanup(cleanup_fclose_fn)))
#define cleanup_closedir __attribute__((cleanup(cleanup_closedir_fn)))

/* Hand over: the value, leaving what needs no cleanup behind. */
#define steal_ptr(p)                             \
	({                                       \
		__typeof__(p) steal_ptr_p = (p); \
		(p) = NULL;                      \
		steal_ptr_p;                     \
	})

static inline int steal_fd(int *fd)
{
	int n = *fd;

	*fd = -1;
	return n;
}

#endif
