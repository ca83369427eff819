/* SPDX-License-Identifier: Apache-2.0 */
/* The 16550A's registers (PC16550D data sheet §8). */
/*
 * A byte sent is out at once, so the transmitter is always empty. Nothing comes in, except in
 * loop-back mode, where drivers test the chip: there the FIFO holds what was sent. Interrupts are
 * edges: one is raised whenever a condition that the guest enabled begins to hold.
 */
#include "devices/legacy/serial.h"

#include <errno.h>
#include <linux/serial_reg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "base/str.h"

#define SERIAL_FIFO_LEN 16

struct serial {
	struct bus_range range;
	struct serial_wiring wiring;
	uint8_t ier, lcr, mcr, scr, dll, dlm;
	bool fifo_on;
	bool thre_pending; /* the "transmitter is empty" interrupt was not yet read from IIR */
	bool overrun;
	uint8_t fifo[SERIAL_FIFO_LEN];
	unsigned fifo_num;
};

static void serial_raise(const struct serial *s)
{
	uint64_t one = 1;

	if (s->wiring.irq_fd >= 0)
		(void)!write(s->wiring.irq_fd, &one, sizeof(one));
}

/* The interrupt to report, most urgent first (table II of the data sheet). */
static uint8_t serial_pending(const struct serial *s)
{
	if (s->ier & UART_IER_RLSI && s->overrun)
		return UART_IIR_RLSI;
	if (s->ier & UART_IER_RDI && s->fifo_num)
		return UART_IIR_RDI;
	if (s->ier & UART_IER_THRI && s->thre_pending)
		return UART_IIR_THRI;
	return UART_IIR_NO_INT;
}

static uint8_t serial_msr(const struct serial *s)
{
	uint8_t v = 0;

	if (!(s->mcr & UART_MCR_LOOP))
		return UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD;
	if (s->mcr & UART_MCR_RTS)
		v |= UART_MSR_CTS;
	if (s->mcr & UART_MCR_DTR)
		v |= UART_MSR_DSR;
	if (s->mcr & UART_MCR_OUT1)
		v |= UART_MSR_RI;
	if (s->mcr & UART_MCR_OUT2)
		v |= UART_MSR_DCD;
	return v;
}

static uint8_t serial_receive(struct serial *s)
{
	uint8_t v = s->fifo[0];

	if (!s->fifo_num)
		return 0;
	s->fifo_num--;
	memmove(s->fifo, s->fifo + 1, s->fifo_num);
	return v;
}

static uint8_t serial_read_iir(struct serial *s)
{
	uint8_t v = serial_pending(s);

	/* Reading it is how a driver takes note of the empty transmitter (data sheet §8.6.1). */
	if (v == UART_IIR_THRI)
		s->thre_pending = false;
	return s->fifo_on ? v | 0xc0 : v;
}

static uint8_t serial_read_lsr(struct serial *s)
{
	uint8_t v = UART_LSR_TEMT | UART_LSR_THRE;

	if (s->fifo_num)
		v |= UART_LSR_DR;
	if (s->overrun)
		v |= UART_LSR_OE;
	s->overrun = false;
	return v;
}

static uint8_t serial_read_reg(struct serial *s, unsigned reg)
{
	bool dlab = s->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_RX:
		return dlab ? s->dll : serial_receive(s);
	case UART_IER:
		return dlab ? s->dlm : s->ier;
	case UART_IIR:
		return serial_read_iir(s);
	case UART_LCR:
		return s->lcr;
	case UART_MCR:
		return s->mcr;
	case UART_LSR:
		return serial_read_lsr(s);
	case UART_MSR:
		return serial_msr(s);
	default:
		return s->scr;
	}
}

static void serial_send(struct serial *s, uint8_t byte)
{
	if (s->mcr & UART_MCR_LOOP) {
		unsigned room = s->fifo_on ? SERIAL_FIFO_LEN : 1;

		if (s->fifo_num < room)
			s->fifo[s->fifo_num++] = byte;
		else
			s->overrun = true;
	} else {
		s->wiring.out(s->wiring.opaque, byte);
	}
	s->thre_pending = true;
	if (serial_pending(s) != UART_IIR_NO_INT)
		serial_raise(s);
}

static void serial_write_ier(struct serial *s, uint8_t v)
{
	uint8_t before = s->ier;

	s->ier = v & 0x0f;
	/* Enabling the interrupt while the transmitter is empty, which it always is, raises it. */
	if (s->ier & ~before & UART_IER_THRI)
		s->thre_pending = true;
	if (s->ier & ~before && serial_pending(s) != UART_IIR_NO_INT)
		serial_raise(s);
}

static void serial_write_fcr(struct serial *s, uint8_t v)
{
	bool on = v & UART_FCR_ENABLE_FIFO;

	if (on != s->fifo_on || v & UART_FCR_CLEAR_RCVR)
		s->fifo_num = 0;
	s->fifo_on = on;
}

static void serial_write_reg(struct serial *s, unsigned reg, uint8_t v)
{
	bool dlab = s->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_TX:
		if (dlab)
			s->dll = v;
		else
			serial_send(s, v);
		break;
	case UART_IER:
		if (dlab)
			s->dlm = v;
		else
			serial_write_ier(s, v);
		break;
	case UART_FCR:
		serial_write_fcr(s, v);
		break;
	case UART_LCR:
		s->lcr = v;
		break;
	case UART_MCR:
		s->mcr = v & 0x1f;
		break;
	case UART_SCR:
		s->scr = v;
		break;
	default: /* LSR and MSR are read-only */
		break;
	}
}

static void serial_read(struct bus_range *r, uint64_t off, void *data, unsigned len)
{
	struct serial *s = container_of(r, struct serial, range);
	uint8_t *out = data;

	for (unsigned i = 0; i < len; i++)
		out[i] = serial_read_reg(s, (unsigned)off + i);
}

static void serial_write(struct bus_range *r, uint64_t off, const void *data, unsigned len)
{
	struct serial *s = container_of(r, struct serial, range);
	const uint8_t *in = data;

	for (unsigned i = 0; i < len; i++)
		serial_write_reg(s, (unsigned)off + i, in[i]);
}

static const struct bus_ops serial_ops = {.read = serial_read, .write = serial_write};

int serial_new(const struct serial_wiring *w, struct serial **ret_s, struct err *err)
{
	struct serial *s = xcalloc(1, sizeof(*s));
	int r;

	s->wiring = *w;
	s->dll = 1; /* 115200 baud */
	s->range.base = w->port;
	s->range.len = SERIAL_LEN;
	s->range.ops = &serial_ops;
	r = bus_add(w->pio, &s->range);
	if (r < 0) {
		free(s);
		return err_set(err, -r, "cannot put a serial port at 0x%x", w->port);
	}
	*ret_s = s;
	return 0;
}

void serial_free(struct serial *s)
{
	if (!s)
		return;
	bus_remove(&s->range);
	free(s);
}
