// SPDX-License-Identifier: MIT
/*
 * Answers a test's questions about offers, one answer a line. On stdin:
 *   offer ID GROUP COMPATIBLE ARCH VERSION ROOTHASH LENGTH\n and LENGTH bytes
 *       (a GROUP or ROOTHASH of "-" is empty)
 *     → take VERSION URL SIZE SHA256 ROOTHASH | nothing | current | not-yet | error ERRNO WHY
 *   bucket ID VERSION\n   → a number
 *   versions A B\n        → < = >
 *   sha256 LENGTH\n and LENGTH bytes → the digest
 *   resolve BASE URL\n    → the URL
 *   head LENGTH\n and LENGTH bytes   → STATUS LENGTH START SIZE | error ERRNO
 *   switch TEXT\n         → NAME NUMBER | error ERRNO
 */
#include "tests/kiosk/http.h"
#include "tests/kiosk/offer.h"
#include "tests/kiosk/sha256.h"
#include "tests/kiosk/switch.h"

#define WORDS_MAX 9

static const char *dash(const char *word)
{
	return streq(word, "-") ? "" : word;
}

/* Exactly as long as the data: a reader that goes one byte too far is caught. */
static char *read_bytes(const char *length, size_t *ret_len)
{
	uint64_t len;
	char *data;

	if (parse_u64(length, 10, &len) < 0 || len > 1 << 20)
		exit(2);
	data = malloc(len > 0 ? len : 1);
	if (!data || fread(data, 1, len, stdin) != len)
		exit(2);
	*ret_len = len;
	return data;
}

static void answer_offer(char **w)
{
	const struct offer_device device = { w[1], dash(w[2]), w[3], w[4], w[5], dash(w[6]) };
	_cleanup_free_ char *text = NULL;
	char why[OFFER_WHY_MAX] = "";
	struct offer o;
	size_t len;
	int r;

	text = read_bytes(w[7], &len);
	r = offer_read(text, len, &device, &o, why);
	if (r < 0)
		(void)printf("error %s %s\n", strerrorname_np(-r), why);
	else if (r == OFFER_TAKE)
		(void)printf("take %s %s %llu %s %s\n", o.version, o.url,
			     (unsigned long long)o.size, o.sha256, o.roothash);
	else
		(void)printf("%s\n", offer_answer_name((enum offer_answer)r));
}

static void answer_sha256(char **w)
{
	_cleanup_free_ char *data = NULL;
	uint8_t digest[SHA256_SIZE];
	char hex[SHA256_HEX + 1];
	struct sha256 s;
	size_t len;

	data = read_bytes(w[1], &len);
	sha256_init(&s);
	/* In two pieces: the border between them must not matter. */
	sha256_add(&s, data, len / 3);
	sha256_add(&s, data + len / 3, len - len / 3);
	sha256_end(&s, digest);
	sha256_hex(digest, hex);
	(void)puts(hex);
}

static void answer_head(char **w)
{
	_cleanup_free_ char *data = NULL;
	struct http_response head;
	size_t len;
	int r;

	data = read_bytes(w[1], &len);
	r = http_parse_head(data, len, &head);
	if (r < 0)
		(void)printf("error %s\n", strerrorname_np(-r));
	else
		(void)printf("%d %lld %lld %lld %s\n", head.status,
			     head.has_length ? (long long)head.length : -1,
			     head.has_range ? (long long)head.start : -1,
			     head.has_range ? (long long)head.size : -1, head.etag);
}

static void answer_resolve(char **w)
{
	_cleanup_free_ char *url = http_resolve(w[1], w[2]);

	(void)puts(url ? url : "");
}

static void answer_switch(char **w)
{
	struct switch_setting s;
	int r = switch_parse(w[1], &s);

	if (r < 0)
		(void)printf("error %s\n", strerrorname_np(-r));
	else
		(void)printf("%s %u\n", switch_name(s.what), s.number);
}

static void answer_bucket(char **w)
{
	(void)printf("%u\n", rollout_bucket(w[1], w[2]));
}

static void answer_versions(char **w)
{
	int d = version_compare(w[1], w[2]);

	(void)puts(d < 0 ? "<" : d > 0 ? ">" : "=");
}

static const struct {
	const char *name;
	size_t words; /* with the name */
	void (*answer)(char **words);
} questions[] = {
	{ "offer", 8, answer_offer },	    { "bucket", 3, answer_bucket },
	{ "versions", 3, answer_versions }, { "sha256", 2, answer_sha256 },
	{ "resolve", 3, answer_resolve },   { "head", 2, answer_head },
	{ "switch", 2, answer_switch },
};

static void answer(char *line)
{
	char *words[WORDS_MAX] = { NULL }, *rest = NULL;
	size_t n = 0;

	for (char *w = strtok_r(line, " \n", &rest); w && n < WORDS_MAX;
	     w = strtok_r(NULL, " \n", &rest))
		words[n++] = w;
	for (size_t i = 0; n > 0 && i < ARRAY_SIZE(questions); i++) {
		if (streq(words[0], questions[i].name) && n == questions[i].words) {
			questions[i].answer(words);
			return;
		}
	}
	exit(2);
}

int main(void)
{
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	while (getline(&line, &size, stdin) > 0)
		answer(line);
	return 0;
}
