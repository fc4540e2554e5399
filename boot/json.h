/* SPDX-License-Identifier: MIT */
/* Writes JSON (RFC 8259) to a stream: values in the order they are given, nothing is kept. */
#pragma once

#include "boot/base.h"

#define JSON_DEPTH_MAX 8

struct json {
	FILE *out;
	unsigned depth;
	bool some[JSON_DEPTH_MAX]; /* there is a value on this level already */
};

/* @key is NULL in an array and at the top. */
void json_open(struct json *j, const char *key, char bracket); /* '{' or '[' */
void json_close(struct json *j, char bracket);		       /* '}' or ']' */
/* Bytes that are not UTF-8 become U+FFFD; NULL is null. */
void json_text(struct json *j, const char *key, const char *value);
void json_number(struct json *j, const char *key, uint64_t value);
void json_flag(struct json *j, const char *key, bool value);
