// SPDX-License-Identifier: MIT
#include "boot/tool/tool.h"

int main(int argc, char **argv)
{
	return bf_boot_main(argc, argv, stdout, stderr);
}
