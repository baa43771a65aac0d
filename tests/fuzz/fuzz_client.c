/* client_decode() on any frame: an error has a sentence and a code that the contract names; what is
 * accepted keeps the protocol's rules, lies within frame or scratch, and reads the same twice. */
#include "gateway/auth.h"
#include "gateway/client.h"
#include "mesh/base/check.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"

static bool is_within(struct slice part, struct slice whole)
{
    return part.base >= whole.base && part.base + part.size <= whole.base + whole.size;
}

static void check_slices(const struct client_decoder *d, struct slice text,
                         const struct client_request *r)
{
    const struct slice slices[] = {r->id,    r->token,  r->device,     r->epoch,  r->conv, r->to,
                                   r->cid,   r->body,   r->meta,       r->title,  r->user, r->role,
                                   r->emoji, r->status, r->after_name, r->history};
    struct slice scratch = slice_of(d->scratch->bytes, d->scratch->capacity);
    for (size_t i = 0; i < sizeof(slices) / sizeof(slices[0]); i++) {
        CHECK(slices[i].base != NULL || slices[i].size == 0);
        if (slices[i].base != NULL)
            CHECK(is_within(slices[i], text) || is_within(slices[i], scratch));
    }
}

static void check_rules(const struct client_request *r)
{
    const char *reason;
    CHECK(r->type < CLIENT_REQUEST_COUNT);
    CHECK(r->id.size <= 64 && r->title.size <= LIMIT_TITLE_SIZE_MAX);
    CHECK(r->token.size <= AUTH_TOKEN_SIZE_MAX && r->meta.size <= LIMIT_META_SIZE_MAX);
    CHECK(r->conv.base == NULL || key_conv_is_valid(r->conv));
    CHECK(r->to.base == NULL || key_user_is_valid(r->to));
    CHECK(r->user.base == NULL || key_user_is_valid(r->user));
    CHECK(r->cid.base == NULL || key_cid_is_valid(r->cid));
    CHECK(r->device.base == NULL || key_device_is_valid(r->device));
    CHECK(r->role.base == NULL || client_role(r->role) != 0);
    CHECK(r->body.base == NULL || json_check(r->body, &reason) == RC_OK);
    CHECK(r->meta.base == NULL || json_check(r->meta, &reason) == RC_OK);
    CHECK(r->id.base == NULL || json_check(r->id, &reason) == RC_OK);
    CHECK(r->seq >> 53 == 0 && r->reply_to >> 53 == 0 && r->limit >> 53 == 0);
    CHECK(r->retain_ms >> 53 == 0 && r->retain_count >> 53 == 0);
    CHECK(r->emoji.base == NULL || key_emoji_is_valid(r->emoji));
    CHECK(r->status.base == NULL || client_status(r->status) != PRESENCE_OFFLINE);
    CHECK(r->history.base == NULL || slice_equals(r->history, "all") ||
          slice_equals(r->history, "joined"));
    if (r->type == CLIENT_EDIT || r->type == CLIENT_DELETE || r->type == CLIENT_REACT ||
        r->type == CLIENT_RECEIPTS)
        CHECK(r->conv.base != NULL && r->seq > 0);
    if (r->type == CLIENT_PRESENCE || r->type == CLIENT_WATCH || r->type == CLIENT_UNWATCH)
        CHECK(r->user_count >= 1 && r->user_count <= LIMIT_PRESENCE_USERS);
    if (r->type == CLIENT_SEND)
        CHECK(r->cid.base != NULL && r->body.base != NULL &&
              (r->conv.base == NULL) != (r->to.base == NULL));
}

static void check_lists(struct client_decoder *d, const struct client_request *r)
{
    struct slice name;
    uint64_t seq;
    uint32_t at = 0;
    uint32_t count = 0;
    for (; client_users_next(d, r, &at, &name); count++)
        CHECK(key_user_is_valid(name));
    CHECK(count == r->user_count && count <= LIMIT_CREATE_MEMBERS_MAX);
    at = 0;
    while (client_resume_next(d, r, &at, &name, &seq))
        CHECK(key_conv_is_valid(name) && seq >> 53 == 0);
}

static void expect_json(struct buf *out)
{
    const char *reason;
    CHECK(json_check(buf_slice(out), &reason) == RC_OK);
    buf_clear(out);
}

/* What later entries made of a message, and who typed and is where, with what the client said. */
static void check_chat(struct buf *out, const struct client_request *r, struct slice user)
{
    struct buf *reactions = buf_new(0);
    struct buf *marks = buf_new(0);
    struct msg_reaction_count count = {.emoji = r->emoji, .count = r->limit};
    record_encode(reactions, &msg_reaction_count_desc, &count);
    record_encode(reactions, &msg_reaction_count_desc, &count);
    struct msg_marks mark = {
        .edited = r->seq, .deleted = r->limit, .reactions = buf_slice(reactions)};
    record_encode(marks, &msg_marks_desc, &mark);
    struct msg_entry entry = {.type = ENTRY_MESSAGE, .body = r->body, .marks = buf_slice(marks)};
    client_put_entry(out, slice_string("c"), &entry);
    expect_json(out);
    entry.marks = r->body; /* No record at all. */
    client_put_entry(out, slice_string("c"), &entry);
    expect_json(out);
    client_put_typing(out, slice_string("c"), user, r->on);
    expect_json(out);
    struct msg_presence_item item = {.user = user, .status = r->seq, .last_seen = r->limit};
    client_put_presence(out, &item);
    expect_json(out);
    buf_unref(&reactions);
    buf_unref(&marks);
}

/* What a client may say comes back in frames that are JSON. */
static void check_answers(const struct client_request *r)
{
    struct buf *out = buf_new(0);
    struct msg_entry entry = {.type = ENTRY_MESSAGE,
                              .seq = r->seq,
                              .from = r->user,
                              .cid = r->cid,
                              .target = r->seq,
                              .emoji = r->emoji,
                              .on = r->on,
                              .body = r->body,
                              .title = r->title,
                              .meta = r->meta};
    for (uint64_t type = ENTRY_MESSAGE; type <= ENTRY_INFO; type++) {
        entry.type = type;
        client_put_entry(out, slice_string("c"), &entry);
        expect_json(out);
    }
    client_put_sent(out, r->id, slice_string("c"), r->cid, 1, 2, false);
    expect_json(out);
    check_chat(out, r, r->user.base != NULL ? r->user : slice_string("x"));
    buf_unref(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client_decoder decoder;
    struct client_request first, second;
    const char *reason = NULL;
    struct slice text = slice_of(data, size);
    client_decoder_init(&decoder);
    enum rc rc = client_decode(&decoder, text, &first, &reason);
    CHECK(rc == RC_OK || rc == RC_BAD_REQUEST || rc == RC_TOO_LARGE);
    CHECK((reason == NULL) == (rc == RC_OK));
    check_slices(&decoder, text, &first);
    if (rc == RC_OK) {
        check_rules(&first);
        check_lists(&decoder, &first);
        check_lists(&decoder, &first);
        check_rules(&first); /* Walking the lists moved nothing. */
        check_answers(&first);
        CHECK(client_decode(&decoder, text, &second, &reason) == RC_OK);
        CHECK(first.type == second.type && first.seq == second.seq);
        CHECK(slice_equal(first.id, second.id) && slice_equal(first.conv, second.conv));
        CHECK(slice_equal(first.to, second.to) && slice_equal(first.cid, second.cid));
        CHECK(slice_equal(first.body, second.body) && slice_equal(first.user, second.user));
    }
    client_decoder_fini(&decoder);
    return 0;
}
