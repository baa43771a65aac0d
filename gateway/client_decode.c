/* The way in: one pass that checks the text, one over the object's members, then a table that says
 * which fields a request has and a table that says how each field is read. */
#include "gateway/client.h"

#include "gateway/auth.h"
#include "mesh/base/check.h"
#include "mesh/base/limits.h"
#include "mesh/wire/key.h"

#define ID_SIZE_MAX    64u
#define EPOCH_SIZE_MAX 64u

#define FIELDS(F)                                                                                  \
    F(type)                                                                                        \
    F(id)                                                                                          \
    F(token)                                                                                       \
    F(device)                                                                                      \
    F(resume)                                                                                      \
    F(epoch)                                                                                       \
    F(batch)                                                                                       \
    F(conv)                                                                                        \
    F(to)                                                                                          \
    F(cid)                                                                                         \
    F(body)                                                                                        \
    F(reply_to)                                                                                    \
    F(seq)                                                                                         \
    F(after)                                                                                       \
    F(before)                                                                                      \
    F(limit)                                                                                       \
    F(kind)                                                                                        \
    F(members)                                                                                     \
    F(users)                                                                                       \
    F(user)                                                                                        \
    F(role)                                                                                        \
    F(title)                                                                                       \
    F(meta)                                                                                        \
    F(on)                                                                                          \
    F(emoji)                                                                                       \
    F(status)

enum field {
#define F(name) FIELD_##name,
    FIELDS(F)
#undef F
        FIELD_COUNT,
};

#define BIT(name) (1u << FIELD_##name)

/* What each request must and may have. What it may not have is ignored, as unknown keys are. */
static const struct shape {
    uint32_t required;
    uint32_t optional;
} shapes[CLIENT_REQUEST_COUNT] = {
    [CLIENT_CONNECT] = {0, BIT(token) | BIT(device) | BIT(resume) | BIT(epoch) | BIT(batch)},
    [CLIENT_SEND] = {BIT(cid) | BIT(body), BIT(conv) | BIT(to) | BIT(reply_to)},
    [CLIENT_ACK] = {BIT(conv) | BIT(seq), 0},
    [CLIENT_READ] = {BIT(conv) | BIT(seq), 0},
    [CLIENT_HISTORY] = {BIT(conv), BIT(after) | BIT(before) | BIT(limit)},
    [CLIENT_CONVERSATIONS] = {0, BIT(after) | BIT(limit)},
    [CLIENT_CREATE] = {BIT(members),
                       BIT(conv) | BIT(kind) | BIT(title) | BIT(meta) | BIT(body) | BIT(cid)},
    [CLIENT_ADD] = {BIT(conv), BIT(users) | BIT(user) | BIT(role)},
    [CLIENT_REMOVE] = {BIT(conv), BIT(users) | BIT(user)},
    [CLIENT_LEAVE] = {BIT(conv), 0},
    [CLIENT_ROLE] = {BIT(conv) | BIT(user) | BIT(role), 0},
    [CLIENT_MEMBERS] = {BIT(conv), BIT(after) | BIT(limit)},
    [CLIENT_INFO] = {BIT(conv), BIT(title) | BIT(meta)},
    [CLIENT_PING] = {0, 0},
    [CLIENT_TYPING] = {BIT(conv), BIT(on)},
    [CLIENT_EDIT] = {BIT(conv) | BIT(seq) | BIT(body), 0},
    [CLIENT_DELETE] = {BIT(conv) | BIT(seq), 0},
    [CLIENT_REACT] = {BIT(conv) | BIT(seq) | BIT(emoji), BIT(on)},
    [CLIENT_OPEN] = {BIT(conv), 0},
    [CLIENT_CLOSE] = {BIT(conv), 0},
    [CLIENT_RECEIPTS] = {BIT(conv) | BIT(seq), 0},
    [CLIENT_PRESENCE] = {BIT(users), 0},
    [CLIENT_WATCH] = {BIT(users), 0},
    [CLIENT_UNWATCH] = {BIT(users), 0},
    [CLIENT_STATUS] = {BIT(status), 0},
};

static bool token_is_valid(struct slice s)
{
    return s.size >= 1 && s.size <= AUTH_TOKEN_SIZE_MAX;
}

static bool epoch_is_valid(struct slice s)
{
    return s.size <= EPOCH_SIZE_MAX;
}

static bool title_is_valid(struct slice s)
{
    return memchr(s.base, 0, s.size) == NULL; /* Its length has an error of its own. */
}

static bool role_is_valid(struct slice s)
{
    return client_role(s) != 0;
}

static bool status_is_valid(struct slice s)
{
    return slice_equals(s, "online") || slice_equals(s, "away") || slice_equals(s, "busy");
}

enum rule_kind {
    RULE_NONE, /* Read by hand. */
    RULE_TEXT,
    RULE_NUMBER,
    RULE_BOOL,
    RULE_RAW, /* Any JSON value, byte for byte. */
    RULE_USERS,
};

#define AT(member) offsetof(struct client_request, member)

/* How a field is read, and where it goes. */
static const struct rule {
    enum rule_kind kind;
    size_t at;
    size_t has_at;                  /* Where its has_ flag is; 0: it has none. */
    bool (*is_valid)(struct slice); /* Of a text. */
    const char *required, *broken;  /* What is said where it is missing, or breaks its rule. */
} rules[FIELD_COUNT] = {
    [FIELD_token] = {RULE_TEXT, AT(token), 0, token_is_valid, NULL,
                     "token must be a string of 1 to 8192 bytes"},
    [FIELD_device] = {RULE_TEXT, AT(device), 0, key_device_is_valid, NULL,
                      "device must be 1 to 64 bytes without control characters"},
    [FIELD_epoch] = {RULE_TEXT, AT(epoch), 0, epoch_is_valid, NULL,
                     "epoch must be a string of at most 64 bytes"},
    [FIELD_batch] = {RULE_BOOL, AT(batch), AT(has_batch), NULL, NULL,
                     "batch must be true or false"},
    [FIELD_conv] = {RULE_TEXT, AT(conv), 0, key_conv_is_valid, "conv is required",
                    "conv must be 1 to 128 bytes of [A-Za-z0-9._:~@-]"},
    [FIELD_to] = {RULE_TEXT, AT(to), 0, key_user_is_valid, NULL,
                  "to must be 1 to 128 bytes without control characters"},
    [FIELD_cid] = {RULE_TEXT, AT(cid), 0, key_cid_is_valid, "cid is required",
                   "cid must be 1 to 64 bytes without control characters"},
    [FIELD_body] = {RULE_RAW, AT(body), 0, NULL, "body is required", NULL},
    [FIELD_reply_to] = {RULE_NUMBER, AT(reply_to), 0, NULL, NULL,
                        "reply_to must be an integer from 0 to 2^53 - 1"},
    [FIELD_seq] = {RULE_NUMBER, AT(seq), AT(has_seq), NULL, "seq is required",
                   "seq must be an integer from 0 to 2^53 - 1"},
    [FIELD_after] = {RULE_NUMBER, AT(after), AT(has_after), NULL, NULL,
                     "after must be an integer from 0 to 2^53 - 1"},
    [FIELD_before] = {RULE_NUMBER, AT(before), AT(has_before), NULL, NULL,
                      "before must be an integer from 1 to 2^53 - 1"},
    [FIELD_limit] = {RULE_NUMBER, AT(limit), AT(has_limit), NULL, NULL,
                     "limit must be an integer from 1 to 2^53 - 1"},
    [FIELD_members] = {RULE_USERS, AT(users), 0, NULL, "members is required",
                       "members must be an array of user names"},
    [FIELD_users] = {RULE_USERS, AT(users), 0, NULL, "users is required",
                     "users must be an array of user names"},
    [FIELD_user] = {RULE_TEXT, AT(user), 0, key_user_is_valid, "user is required",
                    "user must be 1 to 128 bytes without control characters"},
    [FIELD_role] = {RULE_TEXT, AT(role), 0, role_is_valid, "role is required",
                    "role must be owner, admin or member"},
    [FIELD_title] = {RULE_TEXT, AT(title), 0, title_is_valid, NULL,
                     "title must be a string without NUL"},
    [FIELD_meta] = {RULE_RAW, AT(meta), 0, NULL, NULL, NULL},
    [FIELD_on] = {RULE_BOOL, AT(on), 0, NULL, NULL, "on must be true or false"},
    [FIELD_emoji] = {RULE_TEXT, AT(emoji), 0, key_cid_is_valid, "emoji is required",
                     "emoji must be 1 to 64 bytes without control characters"},
    [FIELD_status] = {RULE_TEXT, AT(status), 0, status_is_valid, "status is required",
                      "status must be online, away or busy"},
};

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

static enum field field_of(struct slice key)
{
#define F(name)                                                                                    \
    if (key.size == sizeof(#name) - 1 && memcmp(key.base, #name, sizeof(#name) - 1) == 0)          \
        return FIELD_##name;
    FIELDS(F)
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

/* Find the members we know. A key that comes twice is refused: of two readers of such an object one
 * takes the first, the other the last (RFC 8259, section 4), so what one of them let pass the other
 * would never have seen. */
static enum rc gather(struct reading *x, struct slice text)
{
    struct json_value object = {.type = JSON_OBJECT, .raw = text};
    struct slice key;
    struct json_value value;
    bool is_twice = false;
    for (uint32_t at = 0; json_next(object, &at, &key, &value);) {
        enum field field = field_of(text_of(x->decoder, key));
        if (field == FIELD_COUNT)
            continue;
        is_twice |= (x->seen & 1u << field) != 0;
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

static enum rc read_text(struct reading *x, struct json_value value, const struct rule *rule,
                         struct slice *ret_text)
{
    if (value.type != JSON_STRING)
        return refuse(x, rule->broken);
    struct slice text = text_of(x->decoder, value.raw);
    if (!rule->is_valid(text))
        return refuse(x, rule->broken);
    *ret_text = text;
    return RC_OK;
}

static enum rc read_users(struct reading *x, struct json_value value, const struct rule *rule)
{
    struct slice key;
    struct json_value item;
    uint32_t count = 0;
    if (value.type != JSON_ARRAY)
        return refuse(x, rule->broken);
    for (uint32_t at = 0; json_next(value, &at, &key, &item); count++) {
        if (count == LIMIT_CREATE_MEMBERS_MAX) {
            x->reason = "at most 1000 users may be named";
            return RC_TOO_LARGE;
        }
        if (item.type != JSON_STRING || !key_user_is_valid(text_of(x->decoder, item.raw)))
            return refuse(x, rule->broken);
    }
    x->request->users = value;
    x->request->user_count = count;
    return RC_OK;
}

static enum rc read_field(struct reading *x, enum field field)
{
    struct json_value value = x->values[field];
    const struct rule *rule = &rules[field];
    void *to = (char *)x->request + rule->at;
    switch (rule->kind) {
    case RULE_TEXT:
        return read_text(x, value, rule, to);
    case RULE_NUMBER:
        if (!json_u64(value, to))
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
    static const struct rule by_conv = {
        .is_valid = key_conv_is_valid,
        .broken = "after must be a conversation id",
    };
    static const struct rule by_user = {
        .is_valid = key_user_is_valid,
        .broken = "after must be a user name",
    };
    return read_text(x, x->values[FIELD_after],
                     x->request->type == CLIENT_MEMBERS ? &by_user : &by_conv,
                     &x->request->after_name);
}

static enum rc read_fields(struct reading *x)
{
    struct shape shape = shapes[x->request->type];
    uint32_t missing = shape.required & ~x->seen;
    if (missing != 0)
        return refuse(x, rules[__builtin_ctz(missing)].required);
    x->seen &= shape.required | shape.optional;
    for (uint32_t left = x->seen; left != 0; left &= left - 1) {
        enum field field = (enum field)__builtin_ctz(left);
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
    if (r->type != CLIENT_ADD && r->type != CLIENT_REMOVE && r->type != CLIENT_ROLE)
        return RC_OK;
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

/* What a field alone cannot tell. */
static enum rc check_together(struct reading *x)
{
    struct client_request *r = x->request;
    if (r->type == CLIENT_SEND && (r->conv.base == NULL) == (r->to.base == NULL))
        return refuse(x, "send needs either conv or to");
    if (r->has_after && r->has_before)
        return refuse(x, "after and before exclude each other");
    if (r->has_before && r->before == 0)
        return refuse(x, rules[FIELD_before].broken);
    if (r->has_limit && r->limit == 0)
        return refuse(x, rules[FIELD_limit].broken);
    if (r->type == CLIENT_INFO && r->title.base == NULL && r->meta.base == NULL)
        return refuse(x, "info needs title or meta");
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

enum rc client_decode(struct client_decoder *d, struct slice text,
                      struct client_request *ret_request, const char **ret_reason)
{
    memset(ret_request, 0, sizeof(*ret_request));
    ret_request->type = CLIENT_REQUEST_COUNT;
    ret_request->on = true;
    enum rc rc = json_check(text, ret_reason);
    if (rc != RC_OK)
        return rc;
    struct slice object = trim(text);
    if (object.base[0] != '{') {
        *ret_reason = "a request must be a JSON object";
        return RC_BAD_REQUEST;
    }
    buf_clear(d->scratch);
    buf_reserve(d->scratch, text.size);
    d->text = text.base;

    struct reading x;
    x.decoder = d;
    x.request = ret_request;
    x.seen = 0;
    x.reason = NULL;
    enum rc gathered = gather(&x, object);
    rc = read_id(&x);
    if (rc == RC_OK)
        rc = gathered;
    if (rc == RC_OK)
        rc = read_type(&x);
    if (rc == RC_OK)
        rc = read_fields(&x);
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
