/* SPDX-License-Identifier: Apache-2.0 */
/* CPUID: topology and features as the machine has them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/x86/cpuid.h"

struct list {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 room[CPUID_MAX_ENTRIES];
};

static void add(struct kvm_cpuid2 *l, struct kvm_cpuid_entry2 e)
{
	l->entries[l->nent++] = e;
}

/* A processor with everything that is changed, as KVM would report it of a 64-CPU host. */
static struct kvm_cpuid2 *make(void)
{
	struct kvm_cpuid2 *l = &((struct list *)calloc(1, sizeof(struct list)))->head;
	const uint32_t idx = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;

	add(l, (struct kvm_cpuid_entry2){.function = 0, .eax = 0x1f});
	add(l, (struct kvm_cpuid_entry2){.function = 1,
					 .ebx = 0x3f400800,
					 .ecx = 1u << 5 | 1u << 24,
					 .edx = 0x178bfbff});
	add(l,
	    (struct kvm_cpuid_entry2){.function = 4, .flags = idx, .index = 0, .eax = 0xfc004121});
	add(l,
	    (struct kvm_cpuid_entry2){.function = 4, .flags = idx, .index = 1, .eax = 0xfc1fc163});
	add(l, (struct kvm_cpuid_entry2){.function = 4, .flags = idx, .index = 2});
	add(l, (struct kvm_cpuid_entry2){.function = 7, .flags = idx, .ebx = 0xffffffff});
	add(l, (struct kvm_cpuid_entry2){.function = 0xa, .eax = 0x07300802});
	for (uint32_t i = 0; i < 2; i++)
		add(l, (struct kvm_cpuid_entry2){.function = 0xb,
						 .flags = idx,
						 .index = i,
						 .eax = 6,
						 .ebx = 64,
						 .edx = 17});
	add(l, (struct kvm_cpuid_entry2){.function = 0x40000001, .eax = 0x01007efb});
	add(l, (struct kvm_cpuid_entry2){
		       .function = 0x80000001, .ecx = 1u << 22 | 6, .edx = 0x2fd3fbff});
	add(l, (struct kvm_cpuid_entry2){.function = 0x80000008, .eax = 0x3030, .ecx = 0x703f});
	add(l, (struct kvm_cpuid_entry2){.function = 0x8000000a, .eax = 1});
	add(l, (struct kvm_cpuid_entry2){
		       .function = 0x8000001e, .eax = 17, .ebx = 0x0103, .ecx = 0x100});
	return l;
}

static struct kvm_cpuid_entry2 *get(struct kvm_cpuid2 *l, uint32_t leaf, uint32_t index)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(l, leaf, index);

	assert_non_null(e);
	return e;
}

static void test_one_cpu(void **state)
{
	struct kvm_cpuid2 *l = make();
	const struct cpuid_machine m = {.num_cpus = 1, .tsc_deadline = true};

	cpuid_tune(l, &m, 0);
	assert_int_equal(get(l, 1, 0)->ebx, 0x00010800);
	assert_int_equal(get(l, 1, 0)->ecx, 1u << 31 | 1u << 24 | 1u << 21);
	assert_false(get(l, 1, 0)->edx >> 28 & 1);
	assert_int_equal(get(l, 4, 0)->eax, 0x121);
	assert_int_equal(get(l, 4, 2)->eax, 0);
	assert_int_equal(get(l, 0xb, 1)->eax, 0);
	assert_int_equal(get(l, 0xb, 1)->ebx, 1);
	assert_int_equal(get(l, 0xa, 0)->eax, 0);
	assert_false(get(l, 7, 0)->ebx >> 2 & 1);
	free(l);
}

static void test_six_cpus(void **state)
{
	const struct cpuid_machine m = {.num_cpus = 6};

	for (unsigned cpu = 0; cpu < 6; cpu++) {
		struct kvm_cpuid2 *l = make();

		cpuid_tune(l, &m, cpu);
		assert_int_equal(get(l, 1, 0)->ebx >> 24, cpu);
		assert_int_equal(get(l, 1, 0)->ebx >> 16 & 0xff, 8);
		assert_true(get(l, 1, 0)->edx >> 28 & 1);
		assert_false(get(l, 1, 0)->ecx >> 24 & 1);
		/* The first level's cache is a core's own, the third level's is everyone's. */
		assert_int_equal(get(l, 4, 0)->eax, 0x121 | 7u << 26);
		assert_int_equal(get(l, 4, 1)->eax, 0x163 | 7u << 14 | 7u << 26);
		for (uint32_t leaf = 0xb; leaf <= 0x1f; leaf += 0x14) {
			assert_int_equal(get(l, leaf, 0)->eax, 0);
			assert_int_equal(get(l, leaf, 0)->ebx, 1);
			assert_int_equal(get(l, leaf, 0)->ecx, 0x100);
			assert_int_equal(get(l, leaf, 1)->eax, 3);
			assert_int_equal(get(l, leaf, 1)->ebx, 6);
			assert_int_equal(get(l, leaf, 1)->ecx, 0x201);
			assert_int_equal(get(l, leaf, 2)->ecx, 2);
			for (uint32_t i = 0; i < 3; i++)
				assert_int_equal(get(l, leaf, i)->edx, cpu);
		}
		assert_int_equal(get(l, 0x80000008, 0)->ecx & 0xf0ff, 0x3005);
		assert_int_equal(get(l, 0x8000001e, 0)->eax, cpu);
		assert_int_equal(get(l, 0x8000001e, 0)->ebx, cpu);
		assert_int_equal(get(l, 0x8000001e, 0)->ecx, 0);
		free(l);
	}
}

static void test_no_nesting(void **state)
{
	struct kvm_cpuid2 *l = make();
	const struct cpuid_machine m = {.num_cpus = 2};

	cpuid_tune(l, &m, 1);
	assert_false(get(l, 1, 0)->ecx >> 5 & 1);
	assert_false(get(l, 0x80000001, 0)->ecx >> 2 & 1);
	assert_null(cpuid_find(l, 0x8000000a, 0));
	/* KVM's own features are left as they are. */
	assert_int_equal(get(l, 0x40000001, 0)->eax, 0x01007efb);
	free(l);
}

/* The list of one CPU tuned for the next is what tuning KVM's list gives. */
static void test_again(void **state)
{
	struct kvm_cpuid2 *a = make(), *b = make();
	const struct cpuid_machine m = {.num_cpus = 32, .tsc_deadline = true};

	cpuid_tune(a, &m, 3);
	cpuid_tune(a, &m, 31);
	cpuid_tune(b, &m, 31);
	assert_int_equal(a->nent, b->nent);
	assert_memory_equal(a->entries, b->entries, a->nent * sizeof(a->entries[0]));
	free(a);
	free(b);
}

static void test_full_list(void **state)
{
	struct kvm_cpuid2 *l = make();
	const struct cpuid_machine m = {.num_cpus = 2};

	while (l->nent < CPUID_MAX_ENTRIES)
		add(l, (struct kvm_cpuid_entry2){.function = 0x90000000 + l->nent});
	cpuid_tune(l, &m, 0);
	assert_true(l->nent <= CPUID_MAX_ENTRIES);
	free(l);
}

static void test_phys_bits(void **state)
{
	struct kvm_cpuid2 *l = make();

	assert_int_equal(cpuid_phys_bits(l), 48);
	l->nent = 1;
	assert_int_equal(cpuid_phys_bits(l), 36);
	free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_cpu),    cmocka_unit_test(test_six_cpus),
		cmocka_unit_test(test_no_nesting), cmocka_unit_test(test_again),
		cmocka_unit_test(test_full_list),  cmocka_unit_test(test_phys_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
