/* SPDX-License-Identifier: MIT */
/*
 * A file of known size and hash, fetched over connections that break.
 *
 * In the cache directory, beside what else is there: HASH.part and HASH.etag
 * while it comes, HASH.raucb when it is whole and its hash was right. Nothing of
 * another hash is kept: the directory never holds more than one bundle.
 */
#pragma once

#include "boot/base.h"
#include "tests/kiosk/offer.h"

#define DOWNLOAD_WHY_MAX 160

struct download {
	const char *url;
	const char *directory; /* exists, ours */
	const char *sha256;    /* lower case */
	uint64_t size;	       /* bytes */
	unsigned quiet_sec;    /* longest silence of the server */
	unsigned total_sec;    /* longest attempt */
	unsigned tries;	       /* attempts in a row that brought not one byte */
	unsigned pause_msec; /* before the second attempt; doubled with each that brings nothing */
};

/*
 * Returns 0 and the path of the whole file (allocated), at once if it is there
 * already. < 0, with one line in @why: -EBADMSG the bytes are not those of the
 * offer (nothing is kept), -ENOSPC, or what the last attempt said (what came is
 * kept, and the next call goes on from there).
 */
_must_check_ int download(const struct download *d, char **ret_path,
			  char why[static DOWNLOAD_WHY_MAX]);

/* Removes what earlier downloads left in @directory. */
void download_clean(const char *directory);
