// SPDX-License-Identifier: MIT
#include "boot/tool/doctor.h"

#include "boot/io.h"

#include <fcntl.h>

#define FILE_MAX (16 * 1024 * 1024) /* dpkg's status file is the largest */

static void (*const checks[])(struct doctor *d) = {
	doctor_record,	doctor_labels,	 doctor_autoboot,    doctor_boot_images,  doctor_firmware,
	doctor_cmdline, doctor_consoles, doctor_panic,	     doctor_watchdog,	  doctor_power_on,
	doctor_units,	doctor_dbus,	 doctor_rauc_config, doctor_rauc_version,
};

void doctor_say(struct doctor *d, enum verdict verdict, const char *subject, const char *fmt, ...)
{
	static const char *const names[] = {
		[DOCTOR_OK] = "ok", [DOCTOR_WARN] = "warn", [DOCTOR_FAULT] = "FAULT"
	};
	_cleanup_free_ char *text = NULL;
	va_list ap;
	int n;

	d->warnings += verdict == DOCTOR_WARN;
	d->faults += verdict == DOCTOR_FAULT;
	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		text = NULL;
	else
		text_clean(text, '?'); /* labels and settings are what somebody wrote */
	(void)fprintf(d->out, "%-5s  %-12s  %s\n", names[verdict], subject,
		      text ? text : strerror(ENOMEM));
}

char *doctor_read(const char *path)
{
	char *text = NULL;

	return sys_read_file(AT_FDCWD, path, FILE_MAX, &text, NULL) < 0 ? NULL : text;
}

bool doctor_word(const char *text, const char *name, char *ret, size_t size)
{
	bool found = false;

	*ret = '\0';
	while (text && *text) {
		size_t len = strcspn(text, " \t\n");
		const char *value = startswith(text, name);

		/* The last one wins, as for the kernel. */
		if (value && *value == '=' && (size_t)(value - text) < len) {
			(void)snprintf(ret, size, "%.*s", (int)(len - (size_t)(value - text) - 1),
				       value + 1);
			found = true;
		}
		text += len;
		text += strspn(text, " \t\n");
	}
	return found;
}

void doctor_partition(const char *device, char *ret, size_t size)
{
	char target[256];
	const char *end;

	if (sys_readlinkat(AT_FDCWD, device, target, sizeof(target)) >= 0)
		device = target;
	end = strrchr(device, '/');
	(void)snprintf(ret, size, "%s", end ? end + 1 : device);
}

static void find_out(struct doctor *d)
{
	_cleanup_close_ int chosen =
		sys_open("/proc/device-tree/chosen", O_RDONLY | O_DIRECTORY, 0);
	int r = running_open(RUNNING_READ, &d->running);

	if (r < 0)
		doctor_say(d, DOCTOR_FAULT, "bf-init", "%s: %s",
			   r == -ENOENT	 ? "it did not start this system"
			   : r == -EPERM ? "must be asked as root"
					 : d->running.why,
			   strerror(-r));
	else
		d->open = true;
	d->cmdline = doctor_read("/proc/cmdline");
	if (firmware_read(chosen, &d->fw) < 0)
		d->fw = (struct firmware) { 0 };
}

int command_doctor(struct call *call)
{
	struct doctor d = { .out = call->out };

	find_out(&d);
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
		checks[i](&d);
	(void)fprintf(d.out, "\n%u faults, %u warnings\n", d.faults, d.warnings);
	running_close(&d.running);
	free(d.cmdline);
	return d.faults ? BF_BOOT_FAILED : BF_BOOT_OK;
}
