#include "gateway/http_head.h"

#include "gateway/query.h"

#define METHOD_SIZE_MAX 16
#define VERSION_MAJOR   5 /* Where its digits are in HTTP/1.1. */
#define VERSION_MINOR   7

/* ---- Characters ---- */

static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_host_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~%!$&'()*+,;=:[]", c) != NULL);
}

static bool is_control(unsigned value)
{
    return value < ' ' || value == 0x7f;
}

/* ---- The first line ---- */

/* NULL, or what is wrong with it. A fragment never belongs to a request: one reader would cut it
 * off, another would take it for a part of the name. */
static const char *check_target(struct slice target)
{
    for (uint32_t i = 0; i < target.size; i++) {
        char c = target.base[i];
        if (is_control((unsigned char)c) || c == '#')
            return "the address has a character that must be escaped";
        if (c != '%')
            continue;
        int byte = query_escaped(target, i);
        if (byte < 0)
            return "the address has a percent sign without two hex digits";
        if (is_control((unsigned)byte))
            return "the address has an escaped control character";
    }
    return NULL;
}

/* Cut the scheme and the authority off a target in absolute form (RFC 9112, section 3.2.2); the
 * latter is the host then. NULL, or what is wrong with it. */
static const char *read_authority(struct slice *target, struct http_request *request)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        struct slice rest;
        if (!slice_skip_nocase(*target, schemes[i], &rest))
            continue;
        uint32_t end = 0;
        while (end < rest.size && rest.base[end] != '/' && rest.base[end] != '?')
            end++;
        request->authority = slice_of(rest.base, end);
        *target = slice_of(rest.base + end, rest.size - end);
        if (end == 0)
            return "the address has no host";
        if (memchr(rest.base, '@', end) != NULL)
            return "the address has a user";
        return NULL;
    }
    return NULL;
}

static enum http_method method_of(struct slice name)
{
    static const char *const names[] = {
        [HTTP_GET] = "GET",     [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",
        [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS",
    };
    for (unsigned i = HTTP_OTHER + 1; i < sizeof(names) / sizeof(names[0]); i++)
        if (slice_equals(name, names[i]))
            return (enum http_method)i;
    return HTTP_OTHER;
}

/* Cut `line` at its first `c`, which is in neither part; false: it has none. */
static bool cut(struct slice line, char c, struct slice *ret_before, struct slice *ret_after)
{
    const char *at = line.size > 0 ? memchr(line.base, c, line.size) : NULL;
    if (at == NULL)
        return false;
    size_t size = (size_t)(at - line.base);
    *ret_before = slice_of(line.base, size);
    *ret_after = slice_of(at + 1, line.size - size - 1);
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_version(struct slice text)
{
    static const char form[] = "HTTP/1.1";
    return text.size == sizeof(form) - 1 && memcmp(text.base, form, VERSION_MAJOR) == 0 &&
           is_digit(text.base[VERSION_MAJOR]) && text.base[VERSION_MAJOR + 1] == '.' &&
           is_digit(text.base[VERSION_MINOR]);
}

static enum http_head read_first_line(struct slice line, struct http_request *request,
                                      const char **ret_reason)
{
    struct slice method, target, version;
    if (!cut(line, ' ', &method, &target) || !cut(target, ' ', &target, &version))
        return HTTP_HEAD_FOREIGN;
    if (!is_version(version))
        return HTTP_HEAD_FOREIGN;
    request->method = method_of(method);
    if (version.base[VERSION_MAJOR] != '1')
        return HTTP_HEAD_UNSUPPORTED;
    *ret_reason = check_target(target);
    if (*ret_reason != NULL)
        return HTTP_HEAD_BAD;
    request->is_old = version.base[VERSION_MINOR] == '0'; /* Any later is as 1.1. */
    request->is_last = request->is_old;
    *ret_reason = read_authority(&target, request);
    if (*ret_reason != NULL)
        return HTTP_HEAD_BAD;
    if (!cut(target, '?', &request->path, &request->query))
        request->path = target;
    if (request->path.size == 0 && request->authority.size > 0)
        request->path = slice_string("/"); /* `http://host` asks for that. */
    return HTTP_HEAD_WHOLE;
}

/* ---- The other lines ---- */

static struct slice trim(struct slice text)
{
    while (text.size > 0 && (text.base[0] == ' ' || text.base[0] == '\t'))
        text = slice_of(text.base + 1, text.size - 1);
    while (text.size > 0 && strchr(" \t", text.base[text.size - 1]) != NULL)
        text.size--;
    return text;
}

/* The next word of a list; false where none is left. */
static bool next_word(struct slice *rest, struct slice *ret_word)
{
    if (rest->base == NULL)
        return false;
    if (!cut(*rest, ',', ret_word, rest)) {
        *ret_word = *rest;
        *rest = (struct slice){0};
    }
    *ret_word = trim(*ret_word);
    return true;
}

/* The two lists of ours, which may come in several lines. False: it is another header. */
static bool read_list(struct slice name, struct slice value, struct http_request *request)
{
    struct slice word, rest = value;
    if (slice_equals_nocase(name, "connection")) {
        while (next_word(&rest, &word)) {
            request->is_last |= slice_equals_nocase(word, "close");
            request->has_connection_upgrade |= slice_equals_nocase(word, "upgrade");
        }
        return true;
    }
    if (slice_equals_nocase(name, "sec-websocket-protocol")) {
        while (next_word(&rest, &word))
            request->offers_protocol |= slice_equals(word, HTTP_WEBSOCKET_PROTOCOL);
        return true;
    }
    return false;
}

static struct slice *field_of(struct slice name, struct http_request *request)
{
    const struct {
        const char *name;
        struct slice *field;
    } fields[] = {
        {"host", &request->host},
        {"origin", &request->origin},
        {"authorization", &request->authorization},
        {"if-none-match", &request->if_none_match},
        {"content-length", &request->content_length},
        {"transfer-encoding", &request->transfer_encoding},
        {"expect", &request->expect},
        {"upgrade", &request->upgrade},
        {"sec-websocket-version", &request->websocket_version},
        {"sec-websocket-key", &request->websocket_key},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (slice_equals_nocase(name, fields[i].name))
            return fields[i].field;
    return NULL;
}

/* NULL, or what is wrong with it. */
static const char *read_line(struct slice line, struct http_request *request)
{
    struct slice name, value;
    if (!cut(line, ':', &name, &value) || name.size == 0)
        return "a header has no name";
    for (uint32_t i = 0; i < name.size; i++)
        if (!is_token_char(name.base[i]))
            return "a header's name has a character that does not belong there";
    value = trim(value);
    for (uint32_t i = 0; i < value.size; i++)
        if (value.base[i] != '\t' && is_control((unsigned char)value.base[i]))
            return "a header has a control character";
    if (read_list(name, value, request))
        return NULL;
    struct slice *field = field_of(name, request);
    if (field == NULL)
        return NULL;
    if (field->base != NULL)
        return "a header is given twice";
    *field = value;
    return NULL;
}

/* As RFC 3986, section 3.2.2 allows it, and a port; none at all is one, too. */
static bool is_host(struct slice text)
{
    for (uint32_t i = 0; i < text.size; i++)
        if (!is_host_char(text.base[i]))
            return false;
    return true;
}

/* ---- The whole ---- */

/* Also of a part: who speaks TLS or HTTP/2 is not to be waited for, and to HEAD nothing is said in
 * a body whatever comes. */
static bool begins_with_method(struct slice bytes, struct http_request *request)
{
    uint32_t i = 0;
    while (i < bytes.size && i < METHOD_SIZE_MAX && is_token_char(bytes.base[i]))
        i++;
    if (i == bytes.size)
        return true;
    request->method = method_of(slice_of(bytes.base, i));
    return i > 0 && bytes.base[i] == ' ';
}

/* One empty line, which some clients send after a body, is overlooked (RFC 9112, section 2.2). */
static size_t skip_empty_line(struct slice *bytes)
{
    size_t size = 0;
    while (size < 2 && size < bytes->size && bytes->base[size] == "\r\n"[size])
        size++;
    if (size == 1 && bytes->size > 1)
        return 0; /* It is none. */
    *bytes = slice_of(bytes->base + size, bytes->size - size);
    return size;
}

static bool has_bare_line_feed(struct slice bytes)
{
    const char *end = bytes.base + bytes.size;
    for (const char *at = bytes.base;
         at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++)
        if (at == bytes.base || at[-1] != '\r')
            return true;
    return false;
}

/* The next line of *rest, without its end; false where none is left. */
static bool next_line(struct slice *rest, struct slice *ret_line)
{
    const char *end = rest->size > 0 ? memmem(rest->base, rest->size, "\r\n", 2) : NULL;
    if (end == NULL)
        return false;
    size_t size = (size_t)(end - rest->base);
    *ret_line = slice_of(rest->base, size);
    *rest = slice_of(end + 2, rest->size - size - 2);
    return true;
}

enum http_head http_head_read(struct slice bytes, struct http_request *ret_request,
                              size_t *ret_size, const char **ret_reason)
{
    memset(ret_request, 0, sizeof(*ret_request));
    size_t skipped = skip_empty_line(&bytes);
    if (!begins_with_method(bytes, ret_request))
        return HTTP_HEAD_FOREIGN;
    const char *end = bytes.size > 0 ? memmem(bytes.base, bytes.size, "\r\n\r\n", 4) : NULL;
    struct slice rest = end != NULL ? slice_of(bytes.base, (size_t)(end - bytes.base) + 2) : bytes;
    if (has_bare_line_feed(rest)) {
        *ret_reason = "a line must end with CR LF";
        return HTTP_HEAD_BAD;
    }
    if (end == NULL)
        return HTTP_HEAD_PART;
    *ret_size = skipped + rest.size + 2;
    struct slice line;
    if (!next_line(&rest, &line))
        return HTTP_HEAD_FOREIGN;
    enum http_head next = read_first_line(line, ret_request, ret_reason);
    while (next == HTTP_HEAD_WHOLE && next_line(&rest, &line)) {
        *ret_reason = read_line(line, ret_request);
        if (*ret_reason != NULL)
            next = HTTP_HEAD_BAD;
    }
    if (next == HTTP_HEAD_WHOLE && !ret_request->is_old && ret_request->host.base == NULL) {
        *ret_reason = "send Host";
        next = HTTP_HEAD_BAD;
    }
    if (next == HTTP_HEAD_WHOLE &&
        !(is_host(ret_request->host) && is_host(ret_request->authority))) {
        *ret_reason = "the host has a character that no host has";
        next = HTTP_HEAD_BAD;
    }
    if (ret_request->authority.base != NULL)
        ret_request->host = ret_request->authority; /* Whatever the header says. */
    return next;
}
