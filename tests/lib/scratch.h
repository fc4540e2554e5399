/* SPDX-License-Identifier: MIT */
/* Removing a test's own directory. */
#pragma once

/* @path and all below it; links are removed, not followed. Ends the test program when it fails. */
void scratch_remove(const char *path);
