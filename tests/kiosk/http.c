// SPDX-License-Identifier: MIT
#include "tests/kiosk/http.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MSEC_PER_SEC 1000
#define PIECE	     (64 * 1024)

struct connection {
	int fd;
	int64_t deadline_msec; /* of the whole request, on the clock of now_msec() */
	unsigned quiet_sec;
};

static int64_t now_msec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * MSEC_PER_SEC + ts.tv_nsec / 1000000;
}

static int wait_for(const struct connection *c, short events)
{
	for (;;) {
		struct pollfd p = { .fd = c->fd, .events = events };
		int64_t left = c->deadline_msec - now_msec();
		int64_t quiet = (int64_t)c->quiet_sec * MSEC_PER_SEC;
		int n;

		if (left <= 0)
			return -ETIMEDOUT;
		n = poll(&p, 1, (int)(left < quiet ? left : quiet));
		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

/* -- URLs ---------------------------------------------------------------------------------- */

struct url {
	char host[256];
	char port[6];
	const char *path; /* in the URL: "/…", or "" for "/" */
};

/* The host is a name or an IPv4 address. */
static int parse_url(const char *text, struct url *ret)
{
	const char *host = startswith(text, "http://");
	size_t host_len, len;
	uint32_t port;

	if (!host || strlen(text) > HTTP_URL_MAX)
		return -EINVAL;
	for (const char *c = text; *c; c++) {
		if (*c <= ' ' || *c > '~')
			return -EINVAL;
	}
	len = strcspn(host, "/?#");
	host_len = strcspn(host, ":/?#@");
	if (host_len == 0 || host_len >= sizeof(ret->host) || host[host_len] == '@')
		return -EINVAL;
	(void)strcpy(ret->port, "80");
	if (host[host_len] == ':') {
		size_t digits = len - host_len - 1;

		if (digits == 0 || digits >= sizeof(ret->port))
			return -EINVAL;
		memcpy(ret->port, host + host_len + 1, digits);
		ret->port[digits] = '\0';
		if (parse_u32(ret->port, 10, &port) < 0 || port == 0 || port > 65535)
			return -EINVAL;
	}
	memcpy(ret->host, host, host_len);
	ret->host[host_len] = '\0';
	ret->path = host + len;
	return 0;
}

char *http_resolve(const char *base, const char *url)
{
	const char *host = startswith(base, "http://");
	size_t origin = host ? (size_t)(host - base) + strcspn(host, "/?#") : 0;
	size_t directory = strcspn(base, "?#");

	if (strstr(url, "://"))
		return strf("%s", url);
	if (url[0] == '/')
		return strf("%.*s%s", (int)origin, base, url);
	while (directory > origin && base[directory - 1] != '/')
		directory--;
	return strf("%.*s%s%s", (int)directory, base, directory == origin ? "/" : "", url);
}

/* -- the way out --------------------------------------------------------------------------- */

static void freeaddrinfo_p(struct addrinfo **list)
{
	if (*list)
		freeaddrinfo(*list);
}

static int connect_one(struct connection *c, const struct addrinfo *to)
{
	_cleanup_close_ int fd = -1;
	socklen_t len = sizeof(int);
	int error = 0, r;

	fd = socket(to->ai_family, to->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, to->ai_protocol);
	if (fd < 0)
		return -errno;
	c->fd = fd;
	if (connect(fd, to->ai_addr, to->ai_addrlen) < 0) {
		if (errno != EINPROGRESS)
			return -errno;
		r = wait_for(c, POLLOUT);
		if (r < 0)
			return r;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
			return -errno;
		if (error != 0)
			return -error;
	}
	return TAKE_FD(fd);
}

static int connect_to(struct connection *c, const struct url *url)
{
	_cleanup_(freeaddrinfo_p) struct addrinfo *list = NULL;
	const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	int r = -EHOSTUNREACH;

	if (getaddrinfo(url->host, url->port, &hints, &list) != 0)
		return -EHOSTUNREACH;
	for (const struct addrinfo *a = list; a; a = a->ai_next) {
		r = connect_one(c, a);
		if (r >= 0)
			break;
	}
	return r;
}

static int send_all(const struct connection *c, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			int r = wait_for(c, POLLOUT);
			if (r < 0)
				return r;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static char *request_text(const struct http_request *request, const struct url *url)
{
	_cleanup_free_ char *extra = NULL;

	if (request->body)
		extra = strf("Content-Type: application/json\r\nContent-Length: %zu\r\n",
			     strlen(request->body));
	else if (request->from > 0)
		extra = strf("Range: bytes=%llu-\r\nIf-Range: %s\r\n",
			     (unsigned long long)request->from, request->etag);
	else
		extra = strf("%s", "");
	if (!extra)
		return NULL;
	return strf("%s %s%.*s HTTP/1.0\r\nHost: %s:%s\r\nUser-Agent: bf-kiosk\r\n"
		    "Connection: close\r\n%s\r\n%s",
		    request->body ? "POST" : "GET", url->path[0] == '/' ? "" : "/",
		    (int)strcspn(url->path, "#"), url->path, url->host, url->port, extra,
		    request->body ? request->body : "");
}

/* -- the answer ---------------------------------------------------------------------------- */

/* A value without the blanks around it, when @line is the header @name; else NULL. */
static const char *header(const char *line, const char *name, char value[static HTTP_URL_MAX + 1])
{
	size_t n = strlen(name), len;

	if (strncasecmp(line, name, n) != 0 || line[n] != ':')
		return NULL;
	line += n + 1;
	line += strspn(line, " \t");
	len = strlen(line);
	while (len > 0 && strchr(" \t\r", line[len - 1]))
		len--;
	if (len > HTTP_URL_MAX)
		return NULL;
	memcpy(value, line, len);
	value[len] = '\0';
	return value;
}

static bool is_printable(const char *s)
{
	while (*s >= ' ' && *s <= '~')
		s++;
	return *s == '\0';
}

/* "bytes 5-9/10" (RFC 9110, 14.4) */
static int parse_range(char *value, struct http_response *ret)
{
	char *start = value + strlen("bytes "), *end, *size;
	uint64_t last;

	if (!startswith(value, "bytes "))
		return -EPROTO;
	end = strchr(start, '-');
	size = end ? strchr(end, '/') : NULL;
	if (!size)
		return -EPROTO;
	*end++ = '\0';
	*size++ = '\0';
	if (parse_u64(start, 10, &ret->start) < 0 || parse_u64(end, 10, &last) < 0 ||
	    parse_u64(size, 10, &ret->size) < 0 || last < ret->start || last >= ret->size)
		return -EPROTO;
	ret->has_range = true;
	return 0;
}

static int parse_header(const char *line, struct http_response *ret)
{
	char value[HTTP_URL_MAX + 1];
	uint64_t number;

	if (header(line, "Content-Length", value)) {
		if (parse_u64(value, 10, &number) < 0 || (ret->has_length && ret->length != number))
			return -EPROTO;
		ret->has_length = true;
		ret->length = number;
	} else if (header(line, "Content-Range", value)) {
		/* "bytes *" + "/SIZE" comes with 416 and tells nothing that is needed. */
		return ret->status == 206 ? parse_range(value, ret) : 0;
	} else if (header(line, "ETag", value)) {
		/* A weak one does not promise the same bytes. It goes into the next request. */
		if (value[0] == '"' && strlen(value) <= HTTP_ETAG_MAX && is_printable(value))
			(void)strcpy(ret->etag, value);
	} else if (header(line, "Location", value)) {
		(void)strcpy(ret->location, value);
	} else if (header(line, "Transfer-Encoding", value)) {
		return strcasecmp(value, "identity") == 0 ? 0 : -EPROTO;
	} else if (header(line, "Content-Encoding", value)) {
		return strcasecmp(value, "identity") == 0 ? 0 : -EPROTO;
	}
	return 0;
}

int http_parse_head(const char *head, size_t len, struct http_response *ret)
{
	_cleanup_free_ char *copy = strndup(head, len);
	struct http_response r = { 0 };
	char *line, *rest = NULL;
	char code[4] = "";
	uint32_t status;

	if (!copy)
		return -ENOMEM;
	if (strlen(copy) != len)
		return -EPROTO;
	line = strtok_r(copy, "\n", &rest);
	/* "HTTP/1.1 200 OK" */
	if (!line || (!startswith(line, "HTTP/1.0 ") && !startswith(line, "HTTP/1.1 ")))
		return -EPROTO;
	(void)snprintf(code, sizeof(code), "%.3s", line + strlen("HTTP/1.x "));
	if (strlen(code) != 3 || parse_u32(code, 10, &status) < 0 || status < 100 ||
	    !strchr(" \r", line[12]))
		return -EPROTO;
	r.status = (int)status;
	while ((line = strtok_r(NULL, "\n", &rest))) {
		int error = parse_header(line, &r);
		if (error < 0)
			return error;
	}
	*ret = r;
	return 0;
}

/* Bytes that are there, at most @size; 0 at the end. */
static ssize_t receive(const struct connection *c, char *data, size_t size)
{
	for (;;) {
		ssize_t n;
		int r = wait_for(c, POLLIN);

		if (r < 0)
			return r;
		n = recv(c->fd, data, size, 0);
		if (n >= 0)
			return n;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
}

/* Reads up to the empty line; *ret_used bytes are in @buffer then, *ret_head of them are the head.
 */
static int read_head(const struct connection *c, char buffer[static HTTP_HEAD_MAX],
		     size_t *ret_used, size_t *ret_head)
{
	size_t used = 0;

	while (used < HTTP_HEAD_MAX) {
		ssize_t n = receive(c, buffer + used, HTTP_HEAD_MAX - used);
		const char *end;

		if (n < 0)
			return (int)n;
		if (n == 0)
			return used > 0 ? -EPROTO : -ECONNRESET;
		used += (size_t)n;
		end = memmem(buffer, used, "\r\n\r\n", 4);
		if (end) {
			*ret_used = used;
			*ret_head = (size_t)(end - buffer) + 4;
			return 0;
		}
	}
	return -EMSGSIZE;
}

static int read_body(const struct connection *c, const struct http_request *request, char *begun,
		     size_t begun_len, http_sink sink, void *arg, const struct http_response *head)
{
	_cleanup_free_ char *piece = malloc(PIECE);
	uint64_t got = 0;
	ssize_t n = (ssize_t)begun_len;
	const char *data = begun;
	int r;

	if (!piece)
		return -ENOMEM;
	while (!head->has_length || got < head->length) {
		if (n == 0 && data == piece)
			return head->has_length ? -ECONNRESET : 0;
		if (head->has_length && (uint64_t)n > head->length - got)
			return -EPROTO;
		if ((uint64_t)n > request->max_body - got)
			return -EMSGSIZE;
		r = n > 0 && sink ? sink(arg, head, data, (size_t)n) : 0;
		if (r < 0)
			return r;
		got += (uint64_t)n;
		if (head->has_length && got == head->length)
			break;
		data = piece;
		n = receive(c, piece, PIECE);
		if (n < 0)
			return (int)n;
	}
	return 0;
}

static bool is_redirect(const struct http_response *response)
{
	return response->status == 301 || response->status == 302 || response->status == 303 ||
	       response->status == 307 || response->status == 308;
}

static int send_once(struct connection *c, const struct http_request *request, const char *where,
		     http_sink sink, void *arg, struct http_response *ret)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *text = NULL, *buffer = malloc(HTTP_HEAD_MAX);
	size_t used = 0, head = 0;
	struct url url;
	int r;

	r = parse_url(where, &url);
	if (r < 0)
		return r;
	text = request_text(request, &url);
	if (!text || !buffer)
		return -ENOMEM;
	fd = connect_to(c, &url);
	if (fd < 0)
		return fd;
	c->fd = fd;
	r = send_all(c, text, strlen(text));
	if (r == 0)
		r = read_head(c, buffer, &used, &head);
	if (r == 0)
		r = http_parse_head(buffer, head, ret);
	if (r < 0)
		return r;
	if (is_redirect(ret))
		return 0;
	if (ret->has_length && ret->length > request->max_body)
		return -EMSGSIZE;
	return read_body(c, request, buffer + head, used - head, sink, arg, ret);
}

int http_send(const struct http_request *request, http_sink sink, void *arg,
	      struct http_response *ret)
{
	_cleanup_free_ char *where = strf("%s", request->url);
	struct connection c = {
		.fd = -1,
		.deadline_msec = now_msec() + (int64_t)request->total_sec * MSEC_PER_SEC,
		.quiet_sec = request->quiet_sec,
	};

	for (unsigned hops = 0; hops <= HTTP_REDIRECTS_MAX; hops++) {
		_cleanup_free_ char *next = NULL;
		int r;

		if (!where)
			return -ENOMEM;
		*ret = (struct http_response) { 0 };
		r = send_once(&c, request, where, sink, arg, ret);
		if (r < 0 || !is_redirect(ret) || request->body)
			return r;
		if (ret->location[0] == '\0')
			return -EPROTO;
		next = http_resolve(where, ret->location);
		free(where);
		where = TAKE_PTR(next);
	}
	return -ELOOP;
}
