/* SPDX-License-Identifier: MIT */
/*
 * What a server offers: one static JSON document for each channel, the same for
 * every device. README.md beside this file specifies it. The device decides; the
 * functions here are pure.
 */
#pragma once

#include "boot/base.h"

#define OFFER_DOCUMENT_MAX (64 * 1024) /* bytes */
#define OFFER_BUNDLES_MAX  256
#define OFFER_FORMAT	   1

#define OFFER_VERSION_MAX 64
#define OFFER_URL_MAX	  1024
#define OFFER_HASH_MAX	  128		       /* hex digits: a root hash may be SHA-512 */
#define OFFER_SIZE_MAX	  (UINT64_C(16) << 30) /* bytes of a bundle */
#define OFFER_WHY_MAX	  160

#define ROLLOUT_BUCKETS 10000 /* so a percentage counts with two decimals */

/* The device that reads the offer. Strings are borrowed; group and roothash may be "". */
struct offer_device {
	const char *id;	   /* what makes it different from every other device, never sent */
	const char *group; /* rollout group */
	const char *compatible;
	const char *arch;     /* as Debian names it: "arm64" */
	const char *version;  /* of the running system */
	const char *roothash; /* of the running system, lower case */
};

struct offer {
	char version[OFFER_VERSION_MAX + 1];
	char url[OFFER_URL_MAX + 1];	   /* as in the document: see http_resolve() */
	uint64_t size;			   /* bytes */
	char sha256[64 + 1];		   /* of the bundle file, lower case */
	char roothash[OFFER_HASH_MAX + 1]; /* of the root file system in it, lower case */
};

enum offer_answer {
	OFFER_TAKE,    /* *ret is for this device */
	OFFER_NOTHING, /* no bundle for this kind of device */
	OFFER_CURRENT, /* it runs what is offered, or something newer */
	OFFER_NOT_YET, /* newer, but the rollout has not come to this device */
	OFFER_ANSWERS,
};
const char *offer_answer_name(enum offer_answer answer);

/*
 * Reads the document (@len bytes at @text, any content) for @device. Returns an
 * enum offer_answer, or < 0 with one line in @why: -EMSGSIZE too long, -ENOTSUP
 * another format, -EBADMSG anything else; then nothing of it may be used. *ret
 * is set only for OFFER_TAKE.
 */
_must_check_ int offer_read(const char *text, size_t len, const struct offer_device *device,
			    struct offer *ret, char why[static OFFER_WHY_MAX]);

/*
 * 0 .. ROLLOUT_BUCKETS - 1: SHA-256 of "ID\nVERSION", its first 8 bytes as a
 * big-endian number, modulo ROLLOUT_BUCKETS. The version makes another device
 * the first one each time.
 */
unsigned rollout_bucket(const char *id, const char *version);

/* < 0, 0, > 0 as `sort -V` and bf-pre-install order them: 1.9 < 1.10~rc1 < 1.10. */
int version_compare(const char *a, const char *b);
