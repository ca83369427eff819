/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's first process in tools/bench boot. Its first instructions ask for a CPUID leaf that no
 * processor has: every hypervisor gets to see that, and the host's trace events end their count at
 * it. Then the guest resets; with any argument (a word of the kernel's command line that the kernel
 * does not know) it waits for a second first.
 */
#include <linux/reboot.h>
#include <sys/syscall.h>

	.text
	.globl _start
_start:
	mov	$BENCH_MARK, %eax
	cpuid
	cmpq	$1, (%rsp)		/* argc */
	je	1f
	lea	delay(%rip), %rdi
	xor	%esi, %esi
	mov	$SYS_nanosleep, %eax
	syscall
1:	mov	$LINUX_REBOOT_MAGIC1, %edi
	mov	$LINUX_REBOOT_MAGIC2, %esi
	mov	$LINUX_REBOOT_CMD_RESTART, %edx
	mov	$SYS_reboot, %eax
	syscall
	hlt				/* not allowed here: the kernel says that its init died */

	.section .rodata
delay:	.quad	1, 0			/* struct timespec */
	.section .note.GNU-stack, "", @progbits
