/* slice - bytes that somebody else owns: a view, never freed.
 *
 * Ids, names and bodies travel as slices into the frame they came in, so that nothing is copied
 * until it must outlive the frame. A zeroed slice means "absent"; an empty one that is present has
 * a non-NULL base. */
#ifndef MESH_BASE_SLICE_H
#define MESH_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

struct slice {
    const char *base; /* Not NUL-terminated. */
    uint32_t size;    /* Bytes. */
};

static inline struct slice slice_of(const void *base, size_t size)
{
    return (struct slice){.base = (const char *)base, .size = (uint32_t)size};
}

static inline struct slice slice_string(const char *string)
{
    return slice_of(string, strlen(string));
}

/* In byte order: below, at, or above 0. */
static inline int slice_compare(struct slice a, struct slice b)
{
    uint32_t size = a.size < b.size ? a.size : b.size;
    int order = size > 0 ? memcmp(a.base, b.base, size) : 0;
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.base, b.base, a.size) == 0);
}

static inline bool slice_equals(struct slice a, const char *string)
{
    return slice_equal(a, slice_string(string));
}

/* Where the case of ASCII letters does not count, as in much of HTTP. */
static inline bool slice_equals_nocase(struct slice a, const char *string)
{
    return a.size == strlen(string) && strncasecmp(a.base, string, a.size) == 0;
}

/* Likewise: what follows `prefix`, perhaps nothing. False: it does not begin with that. */
static inline bool slice_skip_nocase(struct slice a, const char *prefix, struct slice *ret_rest)
{
    size_t size = strlen(prefix);
    if (a.size < size || strncasecmp(a.base, prefix, size) != 0)
        return false;
    *ret_rest = slice_of(a.base + size, a.size - size);
    return true;
}

/* The next of words with spaces between them; *at moves behind it. False: there is none. */
static inline bool slice_next_word(const char **at, struct slice *ret_word)
{
    const char *begin = *at + strspn(*at, " ");
    *at = begin + strcspn(begin, " ");
    *ret_word = slice_of(begin, (size_t)(*at - begin));
    return *at > begin;
}

/* For printf: "%.*s", SLICE_ARGS(s). */
#define SLICE_ARGS(s) (int)(s).size, (s).base != NULL ? (s).base : ""

#endif
