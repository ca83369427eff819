/* SPDX-License-Identifier: Apache-2.0 */
/* Guest physical memory: from an address and a length to a pointer, or to a refusal. */
#include "devices/guest_mem.h"

#include <string.h>

void *guest_mem_ptr(const struct guest_mem *m, gpa_t gpa, uint64_t len)
{
	if (len == 0)
		return NULL;
	for (unsigned i = 0; i < m->num; i++) {
		const struct guest_mem_region *r = &m->region[i];
		uint64_t off = gpa - r->gpa;

		/* Written so that no sum can wrap: off and len are both the guest's. */
		if (gpa >= r->gpa && off < r->len && len <= r->len - off)
			return r->hva + off;
	}
	return NULL;
}

bool guest_mem_read(const struct guest_mem *m, gpa_t gpa, void *dst, size_t len)
{
	const void *p = guest_mem_ptr(m, gpa, len);

	if (p)
		memcpy(dst, p, len);
	return p;
}

bool guest_mem_write(const struct guest_mem *m, gpa_t gpa, const void *src, size_t len)
{
	void *p = guest_mem_ptr(m, gpa, len);

	if (p)
		memcpy(p, src, len);
	return p;
}
