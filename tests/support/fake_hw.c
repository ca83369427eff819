/* SPDX-License-Identifier: Apache-2.0 */
/* A machine without KVM, for tests: struct hw over plain eventfds. */
#include "tests/support/fake_hw.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/list.h"
#include "tests/support/check.h"

static struct fake_hw *fake_of(struct hw *hw)
{
	return container_of(hw, struct fake_hw, hw);
}

static int fake_doorbell_add(struct hw *hw, gpa_t gpa, int fd, struct err *err)
{
	struct fake_hw *f = fake_of(hw);

	if (f->refuse)
		return err_set(err, ENOSPC, "cannot add a doorbell");
	for (unsigned i = 0; i < f->num_doorbells; i++)
		check(f->doorbell[i].gpa != gpa);
	check(f->num_doorbells < FAKE_HW_MAX_DOORBELLS);
	f->doorbell[f->num_doorbells].gpa = gpa;
	f->doorbell[f->num_doorbells++].fd = fd;
	return 0;
}

static void fake_doorbell_remove(struct hw *hw, gpa_t gpa, int fd)
{
	struct fake_hw *f = fake_of(hw);
	unsigned i = 0;

	while (i < f->num_doorbells && (f->doorbell[i].gpa != gpa || f->doorbell[i].fd != fd))
		i++;
	check(i < f->num_doorbells);
	f->doorbell[i] = f->doorbell[--f->num_doorbells];
}

static int fake_msi_new(struct hw *hw, unsigned *ret_id, int *ret_fd, struct err *err)
{
	struct fake_hw *f = fake_of(hw);
	unsigned i = 0;

	while (i < FAKE_HW_MAX_MSIS && f->msi[i].used)
		i++;
	if (f->refuse || i == FAKE_HW_MAX_MSIS)
		return err_set(err, ENOSPC, "cannot add an interrupt");
	memset(&f->msi[i], 0, sizeof(f->msi[i]));
	f->msi[i].used = true;
	f->msi[i].fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	check(f->msi[i].fd >= 0);
	*ret_id = i;
	*ret_fd = f->msi[i].fd;
	return 0;
}

static int fake_msi_set(struct hw *hw, unsigned id, uint64_t addr, uint32_t data)
{
	struct fake_hw *f = fake_of(hw);

	check(id < FAKE_HW_MAX_MSIS && f->msi[id].used);
	f->msi[id].num_sets++;
	if (f->refuse)
		return -EINVAL;
	f->msi[id].addr = addr;
	f->msi[id].data = data;
	return 0;
}

static void fake_msi_free(struct hw *hw, unsigned id)
{
	struct fake_hw *f = fake_of(hw);

	check(id < FAKE_HW_MAX_MSIS && f->msi[id].used);
	(void)close(f->msi[id].fd);
	f->msi[id].used = false;
}

static int fake_line_new(struct hw *hw, unsigned gsi, int *ret_fd, struct err *err)
{
	struct fake_hw *f = fake_of(hw);

	check(gsi < FAKE_HW_MAX_LINES && f->line[gsi] < 0);
	if (f->refuse)
		return err_set(err, ENOSPC, "cannot add an interrupt");
	f->line[gsi] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	check(f->line[gsi] >= 0);
	*ret_fd = f->line[gsi];
	return 0;
}

static int fake_shadow_add(struct hw *hw, gpa_t gpa, void *hva, size_t len, struct err *err)
{
	struct fake_hw *f = fake_of(hw);

	check(gpa % 4096 == 0 && (uintptr_t)hva % 4096 == 0 && len % 4096 == 0);
	if (!f->offer_shadow)
		return err_say(err, EOPNOTSUPP, "there are no shadows");
	f->shadow.gpa = gpa;
	f->shadow.hva = hva;
	return 0;
}

static void fake_shadow_remove(struct hw *hw, gpa_t gpa)
{
	struct fake_hw *f = fake_of(hw);

	if (f->shadow.gpa == gpa)
		f->shadow.gpa = 0;
}

static const struct hw_ops fake_hw_ops = {
	.doorbell_add = fake_doorbell_add,
	.doorbell_remove = fake_doorbell_remove,
	.msi_new = fake_msi_new,
	.msi_set = fake_msi_set,
	.msi_free = fake_msi_free,
	.line_new = fake_line_new,
	.shadow_add = fake_shadow_add,
	.shadow_remove = fake_shadow_remove,
};

void fake_hw_init(struct fake_hw *f)
{
	memset(f, 0, sizeof(*f));
	f->hw.ops = &fake_hw_ops;
	for (unsigned i = 0; i < FAKE_HW_MAX_LINES; i++)
		f->line[i] = -1;
}

void fake_hw_done(struct fake_hw *f)
{
	check(f->num_doorbells == 0);
	check(fake_hw_num_msis(f) == 0);
	for (unsigned i = 0; i < FAKE_HW_MAX_LINES; i++) {
		if (f->line[i] >= 0)
			(void)close(f->line[i]);
	}
}

bool fake_hw_ring(struct fake_hw *f, gpa_t gpa)
{
	uint64_t one = 1;

	for (unsigned i = 0; i < f->num_doorbells; i++) {
		if (f->doorbell[i].gpa == gpa) {
			check(write(f->doorbell[i].fd, &one, sizeof(one)) == sizeof(one));
			return true;
		}
	}
	return false;
}

unsigned fake_hw_interrupts(struct fake_hw *f, uint64_t addr, uint32_t data)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < FAKE_HW_MAX_MSIS; i++) {
		struct fake_msi *m = &f->msi[i];
		uint64_t n;

		if (m->used && m->num_sets && m->addr == addr && m->data == data &&
		    read(m->fd, &n, sizeof(n)) == sizeof(n))
			sum += n;
	}
	return sum;
}

unsigned fake_hw_num_msis(const struct fake_hw *f)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < FAKE_HW_MAX_MSIS; i++)
		sum += f->msi[i].used;
	return sum;
}
