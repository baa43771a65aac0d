/* The way in: one pass that checks the text, one over the object's members, then a table that says
 * which fields a request has and a table that says how each field is read (client_rules.c). */
#include "gateway/client_rules.h"

#include "mesh/base/check.h"
#include "mesh/base/limits.h"
#include "mesh/wire/key.h"

#define ID_SIZE_MAX 64u

#define BIT(name) FIELD_BIT(name)

void client_decoder_init(struct client_decoder *d)
{
    d->scratch = buf_new(0);
    d->text = NULL;
}

void client_decoder_fini(struct client_decoder *d)
{
    buf_unref(&d->scratch);
}

/* The frame being read. */
struct reading {
    struct client_decoder *decoder;
    struct client_request *request;
    struct json_value values[FIELD_COUNT]; /* Where the bit in `seen` is set. */
    uint32_t seen;
    const char *reason;
};

static enum rc refuse(struct reading *x, const char *reason)
{
    x->reason = reason;
    return RC_BAD_REQUEST;
}

/* `raw` is a string of the frame, with or without its quotes. */
static struct slice text_of(struct client_decoder *d, struct slice raw)
{
    if (memchr(raw.base, '\\', raw.size) != NULL)
        d->scratch->size = (size_t)(raw.base - d->text);
    return json_unescape(raw, d->scratch);
}

static enum client_field field_of(struct slice key)
{
#define F(name)                                                                                    \
    if (key.size == sizeof(#name) - 1 && memcmp(key.base, #name, sizeof(#name) - 1) == 0)          \
        return FIELD_##name;
    CLIENT_FIELDS(F)
#undef F
    return FIELD_COUNT;
}

static enum client_request_type type_of(struct slice name)
{
#define REQUEST(type, NAME, fields)                                                                \
    if (name.size == sizeof(#type) - 1 && memcmp(name.base, #type, sizeof(#type) - 1) == 0)        \
        return CLIENT_##NAME;
#include "gateway/requests.tbl.h"
#undef REQUEST
    return CLIENT_REQUEST_COUNT;
}

/* Null is a value of these; any other that is null counts as left out, as many write it. */
static bool may_be_null(enum client_field field)
{
    return client_rules[field].kind == RULE_RAW || client_rules[field].kind == RULE_AMOUNT ||
           field == FIELD_title || field == FIELD_id || field == FIELD_type;
}

/* Find the members we know. A key that comes twice is refused: of two readers of such an object one
 * takes the first, the other the last (RFC 8259, section 4), so what one of them let pass the other
 * would never have seen. */
static enum rc gather(struct reading *x, struct slice text)
{
    struct json_value object = {.type = JSON_OBJECT, .raw = text};
    struct slice key;
    struct json_value value;
    uint32_t met = 0;
    bool is_twice = false;
    for (uint32_t at = 0; json_next(object, &at, &key, &value);) {
        enum client_field field = field_of(text_of(x->decoder, key));
        if (field == FIELD_COUNT)
            continue;
        is_twice |= (met & 1u << field) != 0;
        met |= 1u << field;
        if (value.type == JSON_NULL && !may_be_null(field))
            continue;
        x->seen |= 1u << field;
        x->values[field] = value;
    }
    if (is_twice)
        return refuse(x, "a key comes twice");
    return RC_OK;
}

static enum rc read_id(struct reading *x)
{
    if ((x->seen & BIT(id)) == 0)
        return RC_OK;
    struct json_value value = x->values[FIELD_id];
    if ((value.type != JSON_STRING && value.type != JSON_NUMBER) || value.raw.size > ID_SIZE_MAX)
        return refuse(x, "id must be a number or a string of at most 64 bytes");
    x->request->id = value.raw;
    return RC_OK;
}

static enum rc read_type(struct reading *x)
{
    if ((x->seen & BIT(type)) == 0)
        return refuse(x, "type is required");
    struct json_value value = x->values[FIELD_type];
    if (value.type != JSON_STRING)
        return refuse(x, "type must be a string");
    x->request->type = type_of(text_of(x->decoder, value.raw));
    if (x->request->type == CLIENT_REQUEST_COUNT)
        return refuse(x, "type is not known");
    return RC_OK;
}

static enum rc read_text(struct reading *x, struct json_value value, const struct client_rule *rule,
                         struct slice *ret_text)
{
    if (value.type == JSON_NULL) { /* A title: none, which is an empty one. */
        *ret_text = slice_of(value.raw.base, 0);
        return RC_OK;
    }
    if (value.type != JSON_STRING)
        return refuse(x, rule->broken);
    struct slice text = text_of(x->decoder, value.raw);
    /* Only an escape can bring that, and not every rule would notice. */
    if (text.base != value.raw.base + 1 && !key_is_utf8(text))
        return refuse(x, "a surrogate escape is not paired");
    if (!rule->is_valid(text))
        return refuse(x, rule->broken);
    *ret_text = text;
    return RC_OK;
}

static bool is_about_presence(const struct client_request *r)
{
    return r->type == CLIENT_PRESENCE || r->type == CLIENT_WATCH || r->type == CLIENT_UNWATCH;
}

static enum rc read_users(struct reading *x, struct json_value value,
                          const struct client_rule *rule)
{
    struct slice key;
    struct json_value item;
    uint32_t count = 0;
    bool is_presence = is_about_presence(x->request);
    if (value.type != JSON_ARRAY)
        return refuse(x, rule->broken);
    for (uint32_t at = 0; json_next(value, &at, &key, &item); count++) {
        if (count == (is_presence ? LIMIT_PRESENCE_USERS : LIMIT_CREATE_MEMBERS_MAX)) {
            x->reason =
                is_presence ? "at most 500 users may be named" : "at most 1000 users may be named";
            return RC_TOO_LARGE;
        }
        if (item.type != JSON_STRING || !key_user_is_valid(text_of(x->decoder, item.raw)))
            return refuse(x, rule->broken);
    }
    x->request->users = value;
    x->request->user_count = count;
    return RC_OK;
}

static enum rc read_field(struct reading *x, enum client_field field)
{
    struct json_value value = x->values[field];
    const struct client_rule *rule = &client_rules[field];
    void *to = (char *)x->request + rule->at;
    switch (rule->kind) {
    case RULE_TEXT:
        return read_text(x, value, rule, to);
    case RULE_NUMBER:
        if (!json_u64(value, to))
            return refuse(x, rule->broken);
        break;
    case RULE_AMOUNT:
        *(uint64_t *)to = 0;
        if (value.type != JSON_NULL && !json_u64(value, to))
            return refuse(x, rule->broken);
        break;
    case RULE_BOOL:
        if (value.type != JSON_TRUE && value.type != JSON_FALSE)
            return refuse(x, rule->broken);
        *(bool *)to = value.type == JSON_TRUE;
        break;
    case RULE_RAW:
        *(struct slice *)to = value.raw;
        break;
    case RULE_USERS:
        return read_users(x, value, rule);
    default:
        break;
    }
    if (rule->has_at != 0)
        *(bool *)((char *)x->request + rule->has_at) = true;
    return RC_OK;
}

static enum rc read_kind(struct reading *x)
{
    x->request->kind = CONV_GROUP;
    if ((x->seen & BIT(kind)) == 0)
        return RC_OK;
    struct json_value value = x->values[FIELD_kind];
    struct slice name = {0};
    if (value.type == JSON_STRING)
        name = text_of(x->decoder, value.raw);
    if (slice_equals(name, "direct"))
        x->request->kind = CONV_DIRECT;
    else if (!slice_equals(name, "group"))
        return refuse(x, "kind must be direct or group");
    return RC_OK;
}

static enum rc read_resume(struct reading *x)
{
    struct json_value value = x->values[FIELD_resume];
    struct slice key;
    struct json_value item;
    uint64_t seq;
    if (value.type != JSON_OBJECT)
        return refuse(x, "resume must be an object of conv to seq");
    for (uint32_t at = 0; json_next(value, &at, &key, &item);)
        if (!key_conv_is_valid(text_of(x->decoder, key)) || !json_u64(item, &seq))
            return refuse(x, "resume must be an object of conv to seq");
    x->request->resume = value;
    return RC_OK;
}

/* conversations and members page by name, history by seq. */
static enum rc read_after_name(struct reading *x)
{
    static const struct client_rule by_conv = {
        .is_valid = key_conv_is_valid,
        .broken = "after must be a conversation id",
    };
    static const struct client_rule by_user = {
        .is_valid = key_user_is_valid,
        .broken = "after must be a user name",
    };
    return read_text(x, x->values[FIELD_after],
                     x->request->type == CLIENT_MEMBERS ? &by_user : &by_conv,
                     &x->request->after_name);
}

static enum rc read_fields(struct reading *x, struct client_shape shape)
{
    uint32_t missing = shape.required & ~x->seen;
    if (missing != 0)
        return refuse(x, client_rules[__builtin_ctz(missing)].required);
    x->seen &= shape.required | shape.optional;
    for (uint32_t left = x->seen; left != 0; left &= left - 1) {
        enum client_field field = (enum client_field)__builtin_ctz(left);
        enum rc rc;
        if (field == FIELD_kind)
            continue; /* It has a default, so it is read whether it is there or not. */
        if (field == FIELD_resume)
            rc = read_resume(x);
        else if (field == FIELD_after && x->request->type != CLIENT_HISTORY)
            rc = read_after_name(x);
        else
            rc = read_field(x, field);
        if (rc != RC_OK)
            return rc;
    }
    return x->request->type == CLIENT_CREATE ? read_kind(x) : RC_OK;
}

/* One user is a list of one, so that the session knows only lists. */
static enum rc check_users(struct reading *x)
{
    struct client_request *r = x->request;
    if (r->type != CLIENT_ADD && r->type != CLIENT_REMOVE && r->type != CLIENT_ROLE &&
        !is_about_presence(r))
        return RC_OK;
    if (r->user.base != NULL && (x->seen & BIT(user)) == 0)
        return RC_OK; /* The path names him. */
    if (r->user.base != NULL && r->users.raw.base != NULL)
        return refuse(x, "users and user exclude each other");
    if (r->user.base != NULL) {
        r->users = x->values[FIELD_user];
        r->user_count = 1;
    }
    if (r->user_count == 0)
        return refuse(x, "users must name at least one user");
    return RC_OK;
}

static bool names_entry(const struct client_request *r)
{
    return r->type == CLIENT_EDIT || r->type == CLIENT_DELETE || r->type == CLIENT_REACT ||
           r->type == CLIENT_RECEIPTS;
}

/* What a field alone cannot tell. */
static enum rc check_together(struct reading *x)
{
    struct client_request *r = x->request;
    if (r->type == CLIENT_SEND && (r->conv.base == NULL) == (r->to.base == NULL))
        return refuse(x, "send needs either conv or to");
    if (r->has_after && r->has_before)
        return refuse(x, "after and before exclude each other");
    if (r->has_before && r->before == 0)
        return refuse(x, client_rules[FIELD_before].broken);
    if (r->has_limit && r->limit == 0)
        return refuse(x, client_rules[FIELD_limit].broken);
    if (r->type == CLIENT_INFO && (x->seen & ~BIT(conv)) == 0)
        return refuse(x, "info needs title, meta, history, retain_ms or retain_count");
    if (names_entry(r) && r->seq == 0)
        return refuse(x, "seq must be at least 1");
    if (r->title.size > LIMIT_TITLE_SIZE_MAX) {
        x->reason = "title must be at most 1024 bytes";
        return RC_TOO_LARGE;
    }
    if (r->meta.size > LIMIT_META_SIZE_MAX) {
        x->reason = "meta must be at most 16384 bytes";
        return RC_TOO_LARGE;
    }
    return check_users(x);
}

/* `text` is checked: the object in it, without the white space around it. */
static struct slice trim(struct slice text)
{
    uint32_t from = 0;
    while (from < text.size && strchr(" \n\t\r", text.base[from]) != NULL)
        from++;
    return slice_of(text.base + from, text.size - from);
}

/* Begin to read: the object in the text. */
static enum rc open_object(struct client_decoder *d, struct slice text,
                           struct client_request *request, struct reading *x,
                           struct slice *ret_object)
{
    x->decoder = d;
    x->request = request;
    x->seen = 0;
    x->reason = NULL;
    enum rc rc = json_check(text, &x->reason);
    if (rc != RC_OK)
        return rc;
    *ret_object = trim(text);
    if (ret_object->base[0] != '{')
        return refuse(x, "a request must be a JSON object");
    buf_clear(d->scratch);
    buf_reserve(d->scratch, text.size);
    d->text = text.base;
    return RC_OK;
}

enum rc client_decode_body(struct client_decoder *d, struct slice text,
                           struct client_request *request, const char **ret_reason)
{
    struct reading x;
    struct slice object;
    enum rc rc = open_object(d, text, request, &x, &object);
    if (rc == RC_OK)
        rc = gather(&x, object);
    if (rc == RC_OK)
        rc = read_fields(&x, client_body_shapes[request->type]);
    if (rc == RC_OK)
        rc = check_together(&x);
    if (rc != RC_OK)
        *ret_reason = x.reason;
    return rc;
}

enum rc client_decode(struct client_decoder *d, struct slice text,
                      struct client_request *ret_request, const char **ret_reason)
{
    struct reading x;
    struct slice object;
    memset(ret_request, 0, sizeof(*ret_request));
    ret_request->type = CLIENT_REQUEST_COUNT;
    ret_request->on = true;
    enum rc rc = open_object(d, text, ret_request, &x, &object);
    if (rc != RC_OK) {
        *ret_reason = x.reason;
        return rc;
    }
    enum rc gathered = gather(&x, object);
    rc = read_id(&x);
    if (rc == RC_OK)
        rc = gathered;
    if (rc == RC_OK)
        rc = read_type(&x);
    if (rc == RC_OK)
        rc = read_fields(&x, client_shapes[ret_request->type]);
    if (rc == RC_OK)
        rc = check_together(&x);
    if (rc != RC_OK)
        *ret_reason = x.reason;
    return rc;
}

bool client_users_next(struct client_decoder *d, const struct client_request *request, uint32_t *at,
                       struct slice *ret_user)
{
    struct slice key;
    struct json_value item;
    if (request->users.raw.base == NULL)
        return false;
    if (request->users.type == JSON_STRING) {
        *ret_user = request->user;
        return (*at)++ == 0;
    }
    if (!json_next(request->users, at, &key, &item))
        return false;
    *ret_user = text_of(d, item.raw);
    return true;
}

struct buf *client_users(struct client_decoder *d, const struct client_request *request)
{
    struct buf *users = buf_new(256);
    struct slice user;
    for (uint32_t at = 0; client_users_next(d, request, &at, &user);)
        record_put_slice(users, user);
    return users;
}

bool client_resume_next(struct client_decoder *d, const struct client_request *request,
                        uint32_t *at, struct slice *ret_conv, uint64_t *ret_seq)
{
    struct slice key;
    struct json_value item;
    if (request->resume.raw.base == NULL || !json_next(request->resume, at, &key, &item))
        return false;
    *ret_conv = text_of(d, key);
    return json_u64(item, ret_seq);
}

enum member_role client_role(struct slice name)
{
    if (slice_equals(name, "member"))
        return ROLE_MEMBER;
    if (slice_equals(name, "admin"))
        return ROLE_ADMIN;
    if (slice_equals(name, "owner"))
        return ROLE_OWNER;
    return 0;
}

uint64_t client_history(struct slice name)
{
    if (name.base == NULL)
        return 0;
    return slice_equals(name, "joined") ? HISTORY_JOINED : HISTORY_ALL;
}

uint64_t client_retention(bool has, uint64_t amount)
{
    if (!has)
        return 0;
    return amount != 0 ? amount : RETAIN_FOREVER;
}

enum presence_status client_status(struct slice name)
{
    if (slice_equals(name, "online"))
        return PRESENCE_ONLINE;
    if (slice_equals(name, "away"))
        return PRESENCE_AWAY;
    if (slice_equals(name, "busy"))
        return PRESENCE_BUSY;
    return PRESENCE_OFFLINE;
}
