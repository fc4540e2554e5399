/* SPDX-License-Identifier: MIT */
/*
 * From a superblock, options and a root hash to a dm-verity table line: pure.
 *
 * Formats: superblock: cryptsetup lib/verity/verity.c and
 * https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity (512 bytes, little
 * endian, at the hash offset). Table: Linux Documentation/admin-guide/
 * device-mapper/verity.rst. Options: veritytab(5). The superblock is not
 * authenticated: every field is bounds-checked, the root hash is the only trust.
 */
#pragma once

#include "boot/reason.h"

#define VERITY_SUPER_SIZE 512
#define VERITY_SALT_MAX	  256  /* bytes */
#define VERITY_BLOCK_MAX  4096 /* bytes: the smallest page of any machine */

struct verity_super {
	uint32_t hash_type;	   /* 1 normal, 0 ChromeOS */
	char uuid[37];		   /* text form, lower case */
	char algorithm[33];	   /* "sha256", "sha512" */
	uint32_t digest_bytes;	   /* of the algorithm */
	uint32_t data_block_bytes; /* 512..4096, power of two */
	uint32_t hash_block_bytes;
	uint64_t data_blocks; /* data_blocks * data_block_bytes fits in 63 bits */
	uint16_t salt_bytes;
	uint8_t salt[VERITY_SALT_MAX];
};

/* Whether @sb starts with the magic, whatever the rest is. */
bool verity_super_magic(const uint8_t sb[static VERITY_SUPER_SIZE]);

/* Fills @f with REASON_VERITY_SUPERBLOCK and the field that is wrong. */
_must_check_ int verity_super_parse(const uint8_t sb[static VERITY_SUPER_SIZE],
				    struct verity_super *ret, struct failure *f);

struct verity_options { /* systemd.verity_root_options=, comma separated */
	bool has_hash_offset;
	uint64_t hash_offset_bytes; /* hash-offset=, a multiple of 512 */
	char *fec_device; /* fec-device=: NULL none; PARTLABEL=, PARTUUID=, /dev/…; see root.h */
	bool has_fec_offset;	    /* without fec-device=: on the device of the hash tree */
	uint64_t fec_offset_bytes;  /* fec-offset= */
	uint32_t fec_roots;	    /* fec-roots=, 2..24, default 2 */
	char *signature;	    /* root-hash-signature=PATH in the initramfs; NULL none */
	bool restart_on_corruption; /* was said; it is the default */
	bool panic_on_corruption;   /* instead of restart */
	bool check_at_most_once;
	bool ignore_zero_blocks;
	/* What only restates the superblock: checked against it, 0 or NULL when not given. */
	uint32_t data_block_bytes, hash_block_bytes;
	uint64_t data_blocks;
	bool has_format;
	uint32_t format;
	char *salt; /* hex, or "-" */
	char *uuid;
	char *hash;
};

/* Unknown options, and those that would weaken verity (ignore-corruption), are
 * REASON_VERITY_OPTIONS. */
_must_check_ int verity_options_parse(const char *text, struct verity_options *ret,
				      struct failure *f);
void verity_options_done(struct verity_options *o);

/* Whether @o has FEC at all. */
bool verity_options_fec(const struct verity_options *o);

/* REASON_VERITY_OPTIONS when an option says something else than the superblock. */
_must_check_ int verity_options_match(const struct verity_options *o, const struct verity_super *sb,
				      struct failure *f);

struct verity_geometry {      /* what the table is made from, besides superblock and options */
	const char *roothash; /* hex */
	uint64_t hash_offset_bytes; /* of the superblock on the hash device */
	uint64_t data_device_bytes, hash_device_bytes, fec_device_bytes;
	uint32_t data_logical_bytes; /* logical block size of the data device */
	uint32_t hash_logical_bytes;
	char data_device[24], hash_device[24], fec_device[24]; /* "major:minor"; fec "" = none */
	bool same_device;	   /* data and hash tree on one device */
	bool has_restart_on_error; /* the target is 1.10 or newer */
	bool no_restart;	   /* a bad block is an I/O error, which can be told: see root.h */
	const char *signature_key; /* description of the key that holds the signature, NULL none */
};

struct verity_table {
	uint64_t sectors; /* length of the mapped device, 512 bytes each */
	char *params;	  /* what follows "verity" in the table line */
};

/*
 * Checks all that the kernel would refuse without a word a person sees: the tree
 * that does not fit, the filesystem longer than the partition, FEC data cut short.
 * REASON_VERITY_ROOTHASH when its length is not the algorithm's, REASON_VERITY_OPTIONS
 * for FEC, else REASON_VERITY_SUPERBLOCK.
 */
_must_check_ int verity_table_make(const struct verity_super *sb, const struct verity_options *o,
				   const struct verity_geometry *g, struct verity_table *ret,
				   struct failure *f);
void verity_table_done(struct verity_table *t);

#define VERITY_DRIVER_SIZE 128 /* bytes with NUL: the kernel's CRYPTO_MAX_ALG_NAME */

/*
 * The driver that hashes for the kernel, by the text of /proc/crypto: of those for @algorithm
 * that can be used, the one with the highest priority, as dm-verity gets it. "" when none is there.
 */
void verity_hash_driver(const char *crypto, const char *algorithm,
			char ret[static VERITY_DRIVER_SIZE]);

/*
 * What the kernel says of a live verity device, by the first word of its status: "V", "C". Linux
 * 6.19 added a second one (the blocks that FEC corrected, or "-"); later kernels may say more.
 */
enum verity_state {
	VERITY_UNKNOWN,
	VERITY_GOOD,
	VERITY_CORRUPT, /* a block that was read is not what was signed; stays until a new table */
};

enum verity_state verity_status_parse(const char *status);
