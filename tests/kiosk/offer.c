// SPDX-License-Identifier: MIT
#include "tests/kiosk/offer.h"

#include <jansson.h>

#include "boot/io.h"
#include "tests/kiosk/sha256.h"

static const char ALNUM[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

static void decref_p(json_t **j)
{
	json_decref(*j);
}
#define _cleanup_json_ _cleanup_(decref_p)

const char *offer_answer_name(enum offer_answer answer)
{
	static const char *const names[OFFER_ANSWERS] = {
		[OFFER_TAKE] = "take",
		[OFFER_NOTHING] = "nothing",
		[OFFER_CURRENT] = "current",
		[OFFER_NOT_YET] = "not-yet",
	};

	return answer < OFFER_ANSWERS ? names[answer] : "?";
}

unsigned rollout_bucket(const char *id, const char *version)
{
	uint8_t digest[SHA256_SIZE];
	uint64_t number = 0;
	struct sha256 s;

	sha256_init(&s);
	sha256_add(&s, id, strlen(id));
	sha256_add(&s, "\n", 1);
	sha256_add(&s, version, strlen(version));
	sha256_end(&s, digest);
	for (size_t i = 0; i < 8; i++)
		number = number << 8 | digest[i];
	return (unsigned)(number % ROLLOUT_BUCKETS);
}

/* "~" comes before the end, the end before letters, letters before everything else. */
static int rank(char c)
{
	if (c == '~')
		return -1;
	if (c == '\0' || (c >= '0' && c <= '9'))
		return 0;
	return strchr(ALNUM, c) ? (unsigned char)c : (unsigned char)c + 256;
}

static size_t digits(const char *s)
{
	return strspn(s, "0123456789");
}

/* Turn by turn a stretch without digits, then a number of any length. */
int version_compare(const char *a, const char *b)
{
	while (*a || *b) {
		size_t la, lb;
		int d;

		while ((*a && digits(a) == 0) || (*b && digits(b) == 0)) {
			if (rank(*a) != rank(*b))
				return rank(*a) - rank(*b);
			a++;
			b++;
		}
		a += strspn(a, "0");
		b += strspn(b, "0");
		la = digits(a);
		lb = digits(b);
		if (la != lb)
			return la < lb ? -1 : 1;
		d = strncmp(a, b, la);
		if (d != 0)
			return d;
		a += la;
		b += lb;
	}
	return 0;
}

static int bad(char *why, const char *member, const char *what)
{
	(void)snprintf(why, OFFER_WHY_MAX, "\"%s\" %s", member, what);
	return -EBADMSG;
}

/* A member that has to be a string of 1 to @max of the characters in @set. */
static int get_text(const json_t *object, const char *name, const char *set, size_t max, char *ret,
		    char *why)
{
	const char *s = json_string_value(json_object_get(object, name));

	if (!s)
		return bad(why, name, "is not there or no string");
	if (*s == '\0' || strlen(s) > max)
		return bad(why, name, "is empty or too long");
	if (s[strspn(s, set)] != '\0')
		return bad(why, name, "has a character that must not be in it");
	memcpy(ret, s, strlen(s) + 1);
	return 0;
}

static int get_hash(const json_t *object, const char *name, bool long_too, char *ret, char *why)
{
	char text[OFFER_HASH_MAX + 1];
	int r = get_text(object, name, "0123456789abcdefABCDEF", OFFER_HASH_MAX, text, why);

	if (r < 0)
		return r;
	if (strlen(text) != 64 && !(long_too && strlen(text) == 128))
		return bad(why, name, "has a wrong number of digits");
	for (char *c = text; *c; c++)
		*c = (char)(*c >= 'A' && *c <= 'F' ? *c + ('a' - 'A') : *c);
	memcpy(ret, text, strlen(text) + 1);
	return 0;
}

/* A percentage in hundredths. */
static int get_share(const json_t *value, const char *name, unsigned *ret, char *why)
{
	double share = json_number_value(value);

	if (!json_is_number(value) || !(share >= 0 && share <= 100))
		return bad(why, name, "is not a number from 0 to 100");
	*ret = (unsigned)(share * (ROLLOUT_BUCKETS / 100) + 0.5);
	return 0;
}

/* In how many of ROLLOUT_BUCKETS buckets the bundle is offered to devices of @group. */
static int read_rollout(const json_t *bundle, const char *group, unsigned *ret, char *why)
{
	const json_t *all = json_object_get(bundle, "rollout");
	const json_t *groups = json_object_get(bundle, "groups"), *own;
	unsigned buckets = 0;
	int r;

	r = get_share(all, "rollout", &buckets, why);
	if (r < 0)
		return r;
	if (groups && !json_is_object(groups))
		return bad(why, "groups", "is not an object");
	own = json_object_get(groups, group);
	if (own) {
		r = get_share(own, "groups", &buckets, why);
		if (r < 0)
			return r;
	}
	*ret = buckets;
	return 0;
}

/* No control characters, no space, no way to smuggle a second line into a request. */
static int check_url(const char *url, char *why)
{
	for (const char *c = url; *c; c++) {
		if (*c <= ' ' || *c > '~' || strchr("\"<>\\^`{|}#", *c))
			return bad(why, "url", "has a character that must not be in it");
	}
	if (strstr(url, ".."))
		return bad(why, "url", "must not lead upwards");
	return 0;
}

static int read_url(const json_t *bundle, char ret[static OFFER_URL_MAX + 1], char *why)
{
	const char *url = json_string_value(json_object_get(bundle, "url"));
	int r;

	if (!url || *url == '\0' || strlen(url) > OFFER_URL_MAX)
		return bad(why, "url", "is not there, no string, empty or too long");
	r = check_url(url, why);
	if (r < 0)
		return r;
	memcpy(ret, url, strlen(url) + 1);
	return 0;
}

static int read_bundle(const json_t *bundle, struct offer *ret, char *why)
{
	static const char version_set[] =
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.+~_-";
	const json_t *size = json_object_get(bundle, "size");
	struct offer o = { 0 };
	int r;

	r = get_text(bundle, "version", version_set, OFFER_VERSION_MAX, o.version, why);
	if (r == 0)
		r = read_url(bundle, o.url, why);
	if (r == 0)
		r = get_hash(bundle, "sha256", false, o.sha256, why);
	if (r == 0)
		r = get_hash(bundle, "roothash", true, o.roothash, why);
	if (r < 0)
		return r;
	if (!json_is_integer(size) || json_integer_value(size) < 1 ||
	    (uint64_t)json_integer_value(size) > OFFER_SIZE_MAX)
		return bad(why, "size", "is not a number of bytes that a bundle can have");
	o.size = (uint64_t)json_integer_value(size);
	*ret = o;
	return 0;
}

static bool is_for(const json_t *bundle, const char *name, const char *ours)
{
	const char *theirs = json_string_value(json_object_get(bundle, name));

	return theirs && streq(theirs, ours);
}

/* One entry, for a device of its kind: OFFER_TAKE, OFFER_CURRENT, OFFER_NOT_YET or an error. */
static int judge(const json_t *bundle, const struct offer_device *device, struct offer *ret,
		 char *why)
{
	unsigned buckets = 0;
	int r;

	r = read_bundle(bundle, ret, why);
	if (r == 0)
		r = read_rollout(bundle, device->group, &buckets, why);
	if (r < 0)
		return r;
	if (streq(ret->roothash, device->roothash) ||
	    version_compare(ret->version, device->version) <= 0)
		return OFFER_CURRENT;
	return rollout_bucket(device->id, ret->version) < buckets ? OFFER_TAKE : OFFER_NOT_YET;
}

/* The first entry that this device may take; why not, of the entry that came nearest. */
static int choose(const json_t *bundles, const struct offer_device *device, struct offer *ret,
		  char *why)
{
	enum offer_answer answer = OFFER_NOTHING;
	struct offer found;
	bool taken = false;

	for (size_t i = 0; i < json_array_size(bundles); i++) {
		const json_t *bundle = json_array_get(bundles, i);
		struct offer o;
		int r;

		if (!json_is_object(bundle))
			return bad(why, "bundles", "has an entry that is no object");
		if (!is_for(bundle, "compatible", device->compatible) ||
		    !is_for(bundle, "arch", device->arch))
			continue;
		r = judge(bundle, device, &o, why);
		if (r < 0)
			return r;
		if (r == OFFER_TAKE && !taken) {
			taken = true;
			found = o;
		} else if (r == OFFER_NOT_YET || answer == OFFER_NOTHING) {
			answer = (enum offer_answer)r;
		}
	}
	if (!taken)
		return (int)answer;
	*ret = found;
	return OFFER_TAKE;
}

int offer_read(const char *text, size_t len, const struct offer_device *device, struct offer *ret,
	       char why[static OFFER_WHY_MAX])
{
	_cleanup_json_ json_t *root = NULL;
	const json_t *format, *bundles;
	json_error_t error;

	if (len > OFFER_DOCUMENT_MAX) {
		(void)snprintf(why, OFFER_WHY_MAX, "longer than %d bytes", OFFER_DOCUMENT_MAX);
		return -EMSGSIZE;
	}
	root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (!root) {
		(void)snprintf(why, OFFER_WHY_MAX, "not JSON: line %d: %.100s", error.line,
			       error.text);
		/* The library quotes what it stumbled over. */
		text_clean_ascii(why, '?');
		return -EBADMSG;
	}
	format = json_object_get(root, "betterframe-offer");
	if (!json_is_integer(format))
		return bad(why, "betterframe-offer", "is not there or no number");
	if (json_integer_value(format) != OFFER_FORMAT) {
		(void)snprintf(why, OFFER_WHY_MAX,
			       "format %" JSON_INTEGER_FORMAT ", and only %d is known",
			       json_integer_value(format), OFFER_FORMAT);
		return -ENOTSUP;
	}
	bundles = json_object_get(root, "bundles");
	if (!json_is_array(bundles))
		return bad(why, "bundles", "is not there or no list");
	if (json_array_size(bundles) > OFFER_BUNDLES_MAX)
		return bad(why, "bundles", "is too long");
	return choose(bundles, device, ret, why);
}
