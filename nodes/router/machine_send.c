#include "nodes/router/machine_parts.h"

/* The first answer to this digest. RC_NOT_FOUND: there was none. */
static enum rc answer_again(struct machine *m, const struct machine_conv *conv,
                            const uint8_t digest[KEYSPACE_DIGEST_SIZE],
                            struct machine_result *result)
{
    struct row_dedup row;
    enum rc rc = machine_dedup_find(m, conv, digest, &row);
    if (rc != RC_OK)
        return rc;
    result->seq = row.seq;
    result->ts = row.ts;
    result->dup = true;
    return RC_OK;
}

enum rc machine_send_again(struct machine *m, const struct machine_conv *conv, struct slice from,
                           struct slice cid, struct machine_result *result)
{
    uint8_t digest[KEYSPACE_DIGEST_SIZE];
    if (cid.base == NULL)
        return RC_NOT_FOUND;
    machine_dedup_digest(m, conv->id, from, cid, digest);
    return answer_again(m, conv, digest, result);
}

enum rc machine_return_peer(struct machine *m, struct machine_conv *conv, struct slice user,
                            struct slice peer)
{
    struct machine_member *member;
    if (!machine_may_return(conv, peer) || conv->head.members == 2) /* Both are there. */
        return RC_OK;
    enum rc rc = machine_cache_member(m, conv, peer, &member);
    if (rc == RC_OK && !machine_is_current(member))
        machine_join(m, conv, user, peer, member, ROLE_MEMBER);
    return rc;
}

enum rc machine_send_message(struct machine *m, struct machine_conv *conv,
                             struct machine_member *sender, struct slice peer,
                             struct msg_entry *message, struct machine_result *result)
{
    uint8_t digest[KEYSPACE_DIGEST_SIZE];
    if (message->cid.base != NULL) {
        machine_dedup_digest(m, conv->id, message->from, message->cid, digest);
        enum rc rc = answer_again(m, conv, digest, result);
        if (rc != RC_NOT_FOUND)
            return rc;
    }
    /* After the cid: a gateway that does not know what became of a send asks with a reply to
     * nothing, which only one that was carried out survives (gateway/calls.h). */
    if (message->reply_to > conv->head.seq)
        return machine_refuse(result, RC_BAD_REQUEST, "reply_to is beyond the conversation's end");
    if (!machine_is_current(sender))
        sender = machine_join(m, conv, message->from, message->from, sender, ROLE_MEMBER);
    enum rc rc = machine_return_peer(m, conv, message->from, peer);
    if (rc != RC_OK)
        return rc;
    message->type = ENTRY_MESSAGE;
    machine_log_append(m, conv, message);
    if (message->cid.base != NULL)
        machine_dedup_put(m, digest, message->seq);
    machine_read_all(m, conv, sender);
    result->seq = message->seq;
    result->ts = message->ts;
    return RC_OK;
}

enum rc machine_send(struct machine *m, const struct msg_cmd_send *c, struct machine_result *result)
{
    struct machine_conv *conv;
    enum rc rc = machine_cache_any_conv(m, c->conv, &conv);
    if (rc != RC_OK)
        return rc;
    bool is_new = machine_may_begin(conv, c->peer.base != NULL);
    /* What was said before its end does not begin it again, and was said: a gateway that asks what
     * became of a send takes NOT_FOUND for the proof that it was not executed (gateway/calls.h). */
    if (conv != NULL && conv->info.dropped != 0) {
        rc = machine_send_again(m, conv, c->user, c->cid, result);
        if (rc != RC_NOT_FOUND)
            return rc;
    }
    if (!is_new && conv->info.dropped != 0)
        return machine_refuse(result, RC_NOT_FOUND, "the conversation was ended");
    if (is_new) {
        if (c->peer.base == NULL)
            return machine_refuse(result, RC_NOT_FOUND, "there is no such conversation");
        if (c->reply_to != 0)
            return machine_refuse(result, RC_BAD_REQUEST, "there is nothing to reply to yet");
        rc = machine_create_direct(m, c->conv, c->user, c->peer, conv, &conv);
        if (rc != RC_OK)
            return rc;
    }
    struct machine_member *sender;
    rc = machine_cache_member(m, conv, c->user, &sender);
    if (rc != RC_OK)
        return rc;
    if (!machine_is_current(sender) && !machine_may_return(conv, c->peer))
        return machine_refuse(result, RC_FORBIDDEN, "you are not a member");
    struct msg_entry message = {
        .from = c->user,
        .cid = c->cid,
        .body = c->body,
        .reply_to = c->reply_to,
        .device = c->device,
    };
    return machine_send_message(m, conv, sender, c->peer, &message, result);
}
