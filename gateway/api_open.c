/* A request's head: which route it takes, who asks, whether he may, and how often he did. */
#include "gateway/api_private.h"

#include <stdio.h>

#include "gateway/query.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"

#define RATE_WINDOW_US 1000000u

static const struct api_route routes[] = {
#define ROUTE(method, path, access, page, start, prose)                                            \
    {API_##method, path, API_ACCESS_##access, API_PAGE_##page, api_##start},
#include "gateway/api_routes.tbl.h"
#undef ROUTE
};

#define ROUTE_COUNT (sizeof(routes) / sizeof(routes[0]))

/* ---- Who asks how often ---- */

/* One asker of the last second; the key begins with what he is. */
struct api_rate {
    struct list node; /* On api.recent, by the begin of the second. */
    uint64_t second_us;
    uint32_t count;
    uint8_t size;
    char key[];
};

struct slice api_rate_key(const void *thing)
{
    const struct api_rate *rate = thing;
    return slice_of(rate->key, rate->size);
}

void api_forget_rates(struct api *api, uint64_t begun_before_us)
{
    struct api_rate *rate;
    while ((rate = LIST_FIRST(&api->recent, struct api_rate, node)) != NULL &&
           rate->second_us < begun_before_us) {
        map_remove(&api->rates, api_rate_key(rate));
        list_remove(&rate->node);
        mem_free(rate);
    }
}

static bool is_too_often(struct gateway *gateway, char kind, struct slice name)
{
    struct api *api = &gateway->api;
    uint64_t now_us = gateway_now_us(gateway);
    char key[1 + LIMIT_USER_SIZE_MAX];
    CHECK(name.size < sizeof(key));
    key[0] = kind;
    if (name.size > 0)
        memcpy(key + 1, name.base, name.size);
    if (now_us > RATE_WINDOW_US)
        api_forget_rates(api, now_us - RATE_WINDOW_US);
    struct api_rate *rate = map_get(&api->rates, slice_of(key, name.size + 1));
    if (rate == NULL) {
        rate = mem_zero(sizeof(*rate) + name.size + 1);
        rate->size = (uint8_t)(name.size + 1);
        memcpy(rate->key, key, rate->size);
        rate->second_us = now_us;
        map_put(&api->rates, rate);
        list_append(&api->recent, &rate->node);
    }
    uint32_t max = gateway->options.frames_per_second_max;
    if (max != 0 && rate->count >= max)
        return true;
    rate->count++;
    return false;
}

/* ---- A request's head ---- */

/* The next segment of *rest, without the slash before it; false at the end. Segments are split
 * where slashes were sent, and each is decoded for itself later: a slash in a name, or a name that
 * is all dots, is that name and nothing else. */
static bool next_segment(struct slice *rest, struct slice *ret_segment)
{
    if (rest->size == 0 || rest->base[0] != '/')
        return false;
    const char *from = rest->base + 1;
    const char *end = rest->size > 1 ? memchr(from, '/', rest->size - 1) : NULL;
    *ret_segment = slice_of(from, end != NULL ? (size_t)(end - from) : rest->size - 1);
    *rest = slice_of(from + ret_segment->size, rest->size - 1 - ret_segment->size);
    return true;
}

/* The parts of a path that are names, not decoded; absent where the route has none such. */
struct path_names {
    struct slice conv, user, seq;
};

/* Names are judged later: whether a path exists does not depend on them. An empty one is none. */
static bool path_matches(const char *pattern, struct slice path, struct path_names *ret_names)
{
    struct slice expected = slice_string(pattern), want, have;
    *ret_names = (struct path_names){0};
    while (next_segment(&expected, &want)) {
        if (!next_segment(&path, &have) || have.size == 0)
            return false;
        if (slice_equals(want, "{conv}"))
            ret_names->conv = have;
        else if (slice_equals(want, "{user}"))
            ret_names->user = have;
        else if (slice_equals(want, "{seq}"))
            ret_names->seq = have;
        else if (!slice_equal(want, have))
            return false;
    }
    return path.size == 0;
}

static const char *method_name(enum api_method method)
{
    static const char *const names[] = {"", "GET", "POST", "PATCH", "DELETE"};
    return names[method];
}

/* NULL: *ret_allow holds the methods of the path; empty where there is nothing at it. */
static const struct api_route *find_route(const struct api_head *head, struct path_names *ret_names,
                                          char ret_allow[sizeof(((struct api_answer *)0)->allow)])
{
    ret_allow[0] = '\0';
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        if (!path_matches(routes[i].path, head->path, ret_names))
            continue;
        if (routes[i].method == head->method)
            return &routes[i];
        size_t size = strlen(ret_allow);
        snprintf(ret_allow + size, sizeof(((struct api_answer *)0)->allow) - size, "%s%s",
                 size > 0 ? ", " : "", method_name(routes[i].method));
    }
    return NULL;
}

static void keep_name(struct api_name *name, struct slice value)
{
    CHECK(value.size <= sizeof(name->bytes));
    name->size = value.size;
    if (value.size > 0)
        memcpy(name->bytes, value.base, value.size);
}

static bool read_number(struct slice text, uint64_t *ret_number)
{
    struct json_value value = {.type = JSON_NUMBER, .raw = text};
    return text.size > 0 && json_u64(value, ret_number);
}

/* False: the path has it, and it is no name of its kind. */
static bool read_name(struct api_name *name, struct slice part, bool (*is_valid)(struct slice))
{
    struct slice value;
    if (part.base == NULL)
        return true;
    if (query_decode_part(part, name->bytes, sizeof(name->bytes), &value) != RC_OK ||
        !is_valid(value))
        return false;
    name->size = value.size;
    return true;
}

/* NULL, or what is wrong with them. */
static const char *read_names(struct api_call *call, const struct path_names *names)
{
    if (!read_name(&call->conv, names->conv, key_conv_is_valid))
        return "a conversation's id is 1 to 128 bytes of [A-Za-z0-9._:~@-]";
    if (!read_name(&call->user, names->user, key_user_is_valid))
        return "a user's name is 1 to 128 bytes of UTF-8 without control characters";
    if (names->seq.base != NULL && (!read_number(names->seq, &call->seq) || call->seq == 0))
        return "a seq is an integer from 1 to 2^53 - 1";
    return NULL;
}

/* False: it is there and no number, or less than `least`. */
static bool query_number(struct slice query, const char *name, uint64_t least, bool *ret_has,
                         uint64_t *ret_number)
{
    char memory[20];
    struct slice text;
    enum rc rc = query_get(query, name, memory, sizeof(memory), &text);
    *ret_has = rc == RC_OK;
    return rc == RC_NOT_FOUND ||
           (rc == RC_OK && read_number(text, ret_number) && *ret_number >= least);
}

static const char *read_after_name(struct api_call *call, struct slice query)
{
    struct slice name;
    bool is_user = call->route->page == API_PAGE_USER;
    enum rc rc = query_get(query, "after", call->after.bytes, sizeof(call->after.bytes), &name);
    if (rc == RC_NOT_FOUND)
        return NULL;
    if (rc != RC_OK || !(is_user ? key_user_is_valid(name) : key_conv_is_valid(name)))
        return is_user ? "after is the last user of the page before"
                       : "after is the last conversation of the page before";
    call->after.size = name.size;
    return NULL;
}

static const char *read_query(struct api_call *call, struct slice query)
{
    enum api_page page = call->route->page;
    bool has_limit;
    if (page == API_PAGE_NONE)
        return NULL;
    if (!query_number(query, "limit", 1, &has_limit, &call->limit))
        return "limit is an integer of at least 1";
    if (page != API_PAGE_SEQ)
        return read_after_name(call, query);
    if (!query_number(query, "after", 0, &call->has_after, &call->after_seq))
        return "after is a seq";
    if (!query_number(query, "before", 1, &call->has_before, &call->before_seq))
        return "before is a seq, at least 1";
    if (call->has_after && call->has_before)
        return "after and before exclude each other";
    return NULL;
}

/* Who asks: the bearer of a key or of a token. Never the query: those end up in logs. NULL, or why
 * nobody we know. */
static const char *identify(struct api_call *call, const struct api_head *head, char *ret_kind,
                            struct slice *ret_name)
{
    struct slice token;
    const struct auth *auth = call->gateway->auth;
    struct slice header = head->authorization;
    if (header.base == NULL && head->is_dev && call->route->access == API_ACCESS_DEV) {
        call->is_server = true;
        *ret_name = slice_string("");
        return NULL;
    }
    if (!slice_skip_nocase(header, "Bearer ", &token) || token.size == 0)
        return "send Authorization: Bearer with an API key or a token";
    if (api_key_is_one(token)) {
        const struct api_key *key = api_key_find(&auth->api_keys, token);
        call->is_server = key != NULL;
        *ret_name = slice_string(key != NULL ? key->name : "");
        return key != NULL ? NULL : "the API key is not known";
    }
    struct auth_identity identity;
    const char *reason;
    uint64_t now_s = env_wall_ms(call->gateway->env) / 1000;
    if (auth_verify(auth, token, now_s, &identity, &reason) != RC_OK)
        return reason;
    keep_name(&call->asker, slice_string(identity.user));
    *ret_kind = 'u';
    *ret_name = api_asker(call);
    return NULL;
}

static bool may_ask(const struct api_call *call, bool is_dev)
{
    switch (call->route->access) {
    case API_ACCESS_ANY:
        return true;
    case API_ACCESS_SELF:
        return call->is_server || slice_equal(api_asker(call), api_name(&call->user));
    case API_ACCESS_DEV:
        return call->is_server || is_dev;
    default:
        return call->is_server;
    }
}

/* RC_OK, or why it is refused. */
static enum rc judge(struct api_call *call, const struct api_head *head,
                     const struct path_names *names, const char **ret_reason)
{
    char kind = 'k';
    struct slice name = {0};
    *ret_reason = identify(call, head, &kind, &name);
    if (*ret_reason != NULL)
        return RC_UNAUTHORIZED;
    if (is_too_often(call->gateway, kind, name))
        return RC_RATE_LIMITED;
    if ((*ret_reason = read_names(call, names)) != NULL)
        return RC_BAD_REQUEST;
    if (!may_ask(call, head->is_dev))
        return RC_FORBIDDEN;
    *ret_reason = read_query(call, head->query);
    return *ret_reason != NULL ? RC_BAD_REQUEST : RC_OK;
}

struct api_call *api_open(struct gateway *gateway, const struct api_head *head, struct buf *out,
                          struct api_answer *ret_answer)
{
    struct path_names names;
    char allow[sizeof(ret_answer->allow)];
    const struct api_route *route = find_route(head, &names, allow);
    if (route == NULL && allow[0] == '\0') {
        *ret_answer = api_refusal(out, RC_NOT_FOUND, "there is nothing at this path", 0);
        return NULL;
    }
    if (route == NULL) {
        *ret_answer = api_refusal(out, RC_BAD_REQUEST, "the method is not allowed here", 0);
        ret_answer->status = 405;
        memcpy(ret_answer->allow, allow, sizeof(allow));
        return NULL;
    }
    if (head->has_body && route->method != API_POST && route->method != API_PATCH) {
        *ret_answer = api_refusal(out, RC_BAD_REQUEST, "this method has no body here", 0);
        return NULL;
    }
    if (gateway->api.call_count >= API_CALLS_MAX) {
        *ret_answer = api_refusal(out, RC_UNAVAILABLE, "too many requests wait for an answer",
                                  LIMIT_RETRY_AFTER_MS);
        return NULL;
    }
    struct api_call *call = mem_new(struct api_call);
    call->gateway = gateway;
    call->route = route;
    call->text = buf_new(256);
    list_init(&call->requests);
    gateway->api.call_count++;
    const char *reason;
    enum rc rc = judge(call, head, &names, &reason);
    if (rc == RC_OK)
        return call;
    *ret_answer = api_refusal(out, rc, reason, LIMIT_RETRY_AFTER_MS);
    api_call_free(call);
    return NULL;
}
