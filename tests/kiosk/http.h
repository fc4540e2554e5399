/* SPDX-License-Identifier: MIT */
/*
 * As much of an HTTP client as the stand-in kiosk needs: one request for each
 * connection, HTTP/1.0 (RFC 1945), which leaves out chunks and kept connections;
 * a server that sends either all the same is an error. No TLS: what is fetched is
 * proved by its hash and by RAUC's signature, and a real kiosk has its own client.
 *
 * Whatever a server does, a request ends: every wait has a limit, and so has the
 * whole.
 */
#pragma once

#include "boot/base.h"

#define HTTP_URL_MAX	   2048
#define HTTP_HEAD_MAX	   (16 * 1024) /* bytes of status line and headers */
#define HTTP_REDIRECTS_MAX 5
#define HTTP_ETAG_MAX	   127

struct http_request {
	const char *url;    /* http://HOST[:PORT]/PATH */
	const char *body;   /* JSON; NULL: GET, else POST */
	uint64_t from;	    /* bytes that are there already; 0: all is wanted */
	const char *etag;   /* what those bytes are of (If-Range), when from > 0 */
	uint64_t max_body;  /* a longer body is an error */
	unsigned quiet_sec; /* longest silence */
	unsigned total_sec; /* longest request, redirects included */
};

struct http_response {
	int status;
	bool has_length;
	uint64_t length; /* Content-Length */
	bool has_range;	 /* Content-Range: bytes START-END/SIZE */
	uint64_t start, size;
	char etag[HTTP_ETAG_MAX + 1]; /* strong ones only, with their quotes; "" else */
	char location[HTTP_URL_MAX + 1];
};

/* Gets each piece of the body, in order; < 0 ends the request with that. */
typedef int (*http_sink)(void *arg, const struct http_response *response, const void *data,
			 size_t len);

/*
 * Returns 0 with the status of the last response in *ret, whatever it is; its
 * body went to @sink (NULL: thrown away). < 0:
 *   -EINVAL        no URL that is spoken here
 *   -EPROTO        no HTTP, or a part of it that is not spoken here
 *   -EMSGSIZE      head or body too long
 *   -ECONNRESET    ended in the middle
 *   -ETIMEDOUT     too quiet, or too slow
 *   -ELOOP         redirected too often
 *   -EHOSTUNREACH  no such host
 * or what connect(2), read(2) and @sink say. *ret is set as far as it was read.
 */
_must_check_ int http_send(const struct http_request *request, http_sink sink, void *arg,
			   struct http_response *ret);

/*
 * The URL that @url in the document at @base means: itself when absolute, on
 * the same server when it starts with "/", else beside the document. Allocated;
 * NULL when out of memory. Used for redirects, too.
 */
_must_check_ char *http_resolve(const char *base, const char *url);

/* Parses status line and headers (@len bytes that end with an empty line). -EPROTO. */
_must_check_ int http_parse_head(const char *head, size_t len, struct http_response *ret);
