#include "mesh/base/check.h"
#include "nodes/router/machine_parts.h"

/* The member of this name, made where he is new to this conversation, which has just begun. */
static enum rc join_new(struct machine *m, struct machine_conv *conv, struct slice from,
                        struct slice user, enum member_role role, uint64_t first)
{
    struct machine_member *member;
    enum rc rc = machine_cache_member(m, conv, user, &member);
    if (rc != RC_OK || member != NULL)
        return rc; /* Named twice: taken once. */
    machine_join(m, conv, from, user, NULL, role)->row.visible = first; /* From the start. */
    return RC_OK;
}

bool machine_may_begin(const struct machine_conv *conv, bool is_direct)
{
    return conv == NULL || (is_direct && machine_drop_is_over(conv));
}

/* Two equals: whatever takes an owner or admin is not for direct conversations. One that was ended
 * (`conv`) goes on after its last seq: its id is all that these two can have. */
enum rc machine_create_direct(struct machine *m, struct slice id, struct slice user,
                              struct slice peer, struct machine_conv *conv,
                              struct machine_conv **ret_conv)
{
    const struct row_conv info = {
        .kind = CONV_DIRECT,
        .creator = user,
        .created = conv != NULL ? conv->info.created : m->applied.clock, /* Cids stay used. */
        .peer = peer,
        .begun = conv != NULL ? conv->head.seq + 1 : 0,
    };
    if (conv == NULL) {
        conv = machine_cache_create(m, id, &info);
    } else {
        machine_cache_set_info(m, conv, &info);
        machine_digest_numbers(m, &info.dropped, 1);
    }
    uint64_t first = conv->head.seq + 1;
    enum rc rc = join_new(m, conv, user, user, ROLE_MEMBER, first);
    if (rc == RC_OK)
        rc = join_new(m, conv, user, peer, ROLE_MEMBER, first);
    *ret_conv = conv;
    return rc;
}

static enum rc create_group(struct machine *m, const struct msg_cmd_create *c,
                            struct machine_conv **ret_conv)
{
    const struct row_conv info = {
        .kind = CONV_GROUP,
        .title = c->title,
        .meta = c->meta,
        .creator = c->user,
        .created = m->applied.clock,
        .history = c->history,
        .retain_ms = c->retain_ms != RETAIN_FOREVER ? c->retain_ms : 0,
        .retain_count = c->retain_count != RETAIN_FOREVER ? c->retain_count : 0,
    };
    const uint64_t rules[] = {info.history, info.retain_ms, info.retain_count};
    struct machine_conv *conv = machine_cache_create(m, c->conv, &info);
    machine_digest_numbers(m, rules, 3); /* No entry bears them. */
    if (info.retain_ms != 0 || info.retain_count != 0)
        machine_retain(m, conv->id, &info);
    struct slice from = machine_author(c->user);
    enum rc rc = c->user.base != NULL ? join_new(m, conv, from, from, ROLE_OWNER, 1) : RC_OK;
    struct record_reader names = record_reader_of(c->members);
    for (struct slice name; rc == RC_OK && machine_next_name(&names, &name);)
        rc = join_new(m, conv, from, name, ROLE_MEMBER, 1);
    /* What begins with nobody in it begins with this entry: a log is never empty. */
    if (c->title.base != NULL || c->meta.base != NULL || conv->head.seq == 0) {
        struct msg_entry entry = {
            .type = ENTRY_INFO,
            .from = from,
            .title = c->title,
            .meta = c->meta,
        };
        machine_log_append(m, conv, &entry);
    }
    *ret_conv = conv;
    return rc;
}

static enum rc send_first(struct machine *m, struct machine_conv *conv,
                          const struct msg_cmd_create *c, struct slice peer,
                          struct machine_result *result)
{
    struct machine_member *creator;
    enum rc rc = machine_cache_member(m, conv, c->user, &creator);
    if (rc != RC_OK)
        return rc;
    if (!machine_is_current(creator) && conv->info.kind != CONV_DIRECT)
        return RC_CORRUPT; /* A new group has its owner. */
    struct msg_entry message = {
        .from = c->user,
        .cid = c->cid,
        .body = c->body,
        .device = c->device,
    };
    return machine_send_message(m, conv, creator, peer, &message, result);
}

/* A zero byte after the cid: the same cid in a send is another one, or a first message would be
 * taken for the creation again, and be lost. */
static void creation_digest(const struct machine *m, const struct msg_cmd_create *c,
                            uint8_t digest[KEYSPACE_DIGEST_SIZE])
{
    uint8_t cid[LIMIT_CID_SIZE_MAX + 1];
    memcpy(cid, c->cid.base, c->cid.size);
    cid[c->cid.size] = 0;
    machine_dedup_digest(m, c->conv, machine_author(c->user), slice_of(cid, c->cid.size + 1),
                         digest);
}

/* A group that exists: fine only for its creator who asks again with the same cid. */
static enum rc create_again(struct machine *m, const struct machine_conv *conv,
                            const struct msg_cmd_create *c, struct machine_result *result)
{
    if (c->cid.base != NULL && slice_equal(conv->info.creator, c->user)) {
        uint8_t digest[KEYSPACE_DIGEST_SIZE];
        struct row_dedup row;
        creation_digest(m, c, digest);
        enum rc rc = machine_dedup_find(m, conv, digest, &row);
        if (rc == RC_OK) {
            result->seq = row.seq;
            result->ts = row.ts;
            result->dup = true;
        }
        if (rc != RC_NOT_FOUND)
            return rc;
    }
    return machine_refuse(result, RC_CONFLICT, "a conversation of this id exists");
}

static enum rc open_direct(struct machine *m, struct machine_conv *conv,
                           const struct msg_cmd_create *c, struct machine_result *result)
{
    bool is_new = machine_may_begin(conv, true);
    if (is_new && conv != NULL && c->body.base != NULL) {
        enum rc rc = machine_send_again(m, conv, c->user, c->cid, result);
        if (rc != RC_NOT_FOUND)
            return rc;
    }
    struct record_reader names = record_reader_of(c->members);
    struct slice peer;
    bool named = machine_next_name(&names, &peer);
    CHECK(named); /* machine_check() has counted. */
    if (is_new) {
        enum rc rc = machine_create_direct(m, c->conv, c->user, peer, conv, &conv);
        if (rc != RC_OK)
            return rc;
    }
    if (c->body.base != NULL)
        return send_first(m, conv, c, peer, result);
    uint64_t before = conv->head.seq;
    struct machine_member *member;
    enum rc rc = machine_cache_member(m, conv, c->user, &member);
    if (rc != RC_OK)
        return rc;
    if (!machine_is_current(member))
        machine_join(m, conv, c->user, c->user, member, ROLE_MEMBER);
    rc = machine_return_peer(m, conv, c->user, peer);
    if (rc != RC_OK)
        return rc;
    result->seq = conv->head.seq;
    result->ts = conv->head.last_ts;
    result->dup = !is_new && conv->head.seq == before;
    return RC_OK;
}

enum rc machine_create(struct machine *m, const struct msg_cmd_create *c,
                       struct machine_result *result)
{
    struct machine_conv *conv;
    enum rc rc = machine_cache_any_conv(m, c->conv, &conv);
    if (rc != RC_OK)
        return rc;
    if (!machine_may_begin(conv, c->kind == CONV_DIRECT) && conv->info.dropped != 0)
        return machine_refuse(result, RC_CONFLICT, "the conversation of this id was ended");
    if (c->kind == CONV_DIRECT)
        return open_direct(m, conv, c, result);
    if (conv != NULL)
        return create_again(m, conv, c, result);
    rc = create_group(m, c, &conv);
    if (rc != RC_OK)
        return rc;
    result->seq = conv->head.seq;
    result->ts = conv->head.last_ts;
    if (c->body.base != NULL)
        rc = send_first(m, conv, c, (struct slice){0}, result);
    if (rc == RC_OK && c->cid.base != NULL) { /* So that a retry is known as one. */
        uint8_t digest[KEYSPACE_DIGEST_SIZE];
        creation_digest(m, c, digest);
        machine_dedup_put(m, digest, result->seq);
        machine_digest_bytes(m, c->cid); /* No record bears it. */
    }
    return rc;
}
