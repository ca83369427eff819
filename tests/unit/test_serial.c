/* SPDX-License-Identifier: Apache-2.0 */
/* The serial port's registers, as Linux's 8250 driver uses them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <linux/serial_reg.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/legacy/serial.h"

#define PORT 0x3f8

struct fixture {
	struct bus pio;
	struct serial *s;
	int irq_fd;
	char out[64];
	unsigned num_out;
};

static void out(void *opaque, uint8_t byte)
{
	struct fixture *f = opaque;

	assert_true(f->num_out < sizeof(f->out));
	f->out[f->num_out++] = (char)byte;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct serial_wiring w = {.pio = &f->pio, .port = PORT, .out = out, .opaque = f};

	f->irq_fd = w.irq_fd = eventfd(0, EFD_NONBLOCK);
	*state = f;
	return serial_new(&w, &f->s, NULL);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	serial_free(f->s);
	close(f->irq_fd);
	free(f);
	return 0;
}

static uint8_t in(struct fixture *f, unsigned reg)
{
	uint8_t v = 0xee;

	assert_true(bus_read(&f->pio, PORT + reg, &v, 1));
	return v;
}

static void put(struct fixture *f, unsigned reg, uint8_t v)
{
	assert_true(bus_write(&f->pio, PORT + reg, &v, 1));
}

/* Edges since the last call. */
static uint64_t edges(struct fixture *f)
{
	uint64_t n = 0;

	return read(f->irq_fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void test_output(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, UART_LSR), UART_LSR_TEMT | UART_LSR_THRE);
	put(f, UART_TX, 'h');
	put(f, UART_TX, 'i');
	assert_int_equal(in(f, UART_LSR), UART_LSR_TEMT | UART_LSR_THRE);
	assert_int_equal(f->num_out, 2);
	assert_memory_equal(f->out, "hi", 2);
	assert_int_equal(edges(f), 0);
}

static void test_divisor_is_no_output(void **state)
{
	struct fixture *f = *state;

	put(f, UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	put(f, UART_DLL, 0x34);
	put(f, UART_DLM, 0x12);
	assert_int_equal(in(f, UART_DLL), 0x34);
	assert_int_equal(in(f, UART_DLM), 0x12);
	put(f, UART_LCR, UART_LCR_WLEN8);
	assert_int_equal(in(f, UART_IER), 0);
	assert_int_equal(f->num_out, 0);
}

/* What autoconfig_16550a() and autoconfig() look at. */
static void test_autoconfig(void **state)
{
	struct fixture *f = *state;

	put(f, UART_SCR, 0xa5);
	assert_int_equal(in(f, UART_SCR), 0xa5);
	put(f, UART_IER, 0xff);
	assert_int_equal(in(f, UART_IER), 0x0f);
	put(f, UART_IER, 0);
	put(f, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	assert_int_equal(in(f, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_CTS);
	put(f, UART_MCR, 0);
	put(f, UART_FCR, UART_FCR_ENABLE_FIFO);
	assert_int_equal(in(f, UART_IIR) & 0xc0, 0xc0);
	put(f, UART_FCR, 0);
	assert_int_equal(in(f, UART_IIR) & 0xc0, 0);
}

static void test_transmit_interrupt(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, UART_IIR), UART_IIR_NO_INT);
	put(f, UART_IER, UART_IER_THRI);
	assert_int_equal(edges(f), 1);
	assert_int_equal(in(f, UART_IIR), UART_IIR_THRI);
	/* Read once, it is gone, until the next byte is out. */
	assert_int_equal(in(f, UART_IIR), UART_IIR_NO_INT);
	put(f, UART_TX, 'x');
	assert_int_equal(edges(f), 1);
	assert_int_equal(in(f, UART_IIR), UART_IIR_THRI);
	put(f, UART_IER, 0);
	put(f, UART_TX, 'y');
	assert_int_equal(edges(f), 0);
	/*
	 * The driver's test for a working THRE interrupt: disable, enable, and there it is again.
	 */
	put(f, UART_IER, UART_IER_THRI);
	assert_int_equal(edges(f), 1);
	assert_int_equal(in(f, UART_IIR), UART_IIR_THRI);
}

static void test_loopback(void **state)
{
	struct fixture *f = *state;

	put(f, UART_FCR, UART_FCR_ENABLE_FIFO);
	put(f, UART_MCR, UART_MCR_LOOP);
	for (unsigned i = 0; i < 20; i++)
		put(f, UART_TX, (uint8_t)i);
	assert_int_equal(f->num_out, 0);
	assert_true(in(f, UART_LSR) & UART_LSR_OE);
	assert_false(in(f, UART_LSR) & UART_LSR_OE);
	for (unsigned i = 0; i < 16; i++) {
		assert_true(in(f, UART_LSR) & UART_LSR_DR);
		assert_int_equal(in(f, UART_RX), i);
	}
	assert_false(in(f, UART_LSR) & UART_LSR_DR);
	assert_int_equal(in(f, UART_RX), 0);
	put(f, UART_TX, 1);
	put(f, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	assert_false(in(f, UART_LSR) & UART_LSR_DR);
}

static void test_wide_access(void **state)
{
	struct fixture *f = *state;
	uint32_t v = 0;

	assert_true(bus_read(&f->pio, PORT + 4, &v, 4));
	assert_int_equal(v >> 8 & 0xff, UART_LSR_TEMT | UART_LSR_THRE);
	assert_false(bus_read(&f->pio, PORT + 6, &v, 4));
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_output),     T(test_divisor_is_no_output),
		T(test_autoconfig), T(test_transmit_interrupt),
		T(test_loopback),   T(test_wide_access),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
