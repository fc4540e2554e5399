// SPDX-License-Identifier: MIT
#include "initramfs/pack/problem.h"

void problem_free(struct problem *p)
{
	free(p->text);
	p->text = NULL;
}

_printf_(3, 0) static void set(struct problem *p, int r, const char *fmt, va_list ap)
{
	_cleanup_free_ char *head = NULL;

	problem_free(p);
	if (vasprintf(&head, fmt, ap) < 0) {
		head = NULL;
		return;
	}
	p->text = r ? strf("%s: %s", head, strerror(-r)) : TAKE_PTR(head);
}

int problem_errno(struct problem *p, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set(p, r, fmt, ap);
	va_end(ap);
	return r;
}

int problem_say(struct problem *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set(p, 0, fmt, ap);
	va_end(ap);
	return -EBADMSG;
}
