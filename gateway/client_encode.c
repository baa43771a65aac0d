/* The way out: replies, and the events that are no entries. */
#include "gateway/client_private.h"

void client_put_welcome(struct buf *out, const struct client_welcome *welcome)
{
    PUT(out, "{\"type\":\"welcome\"");
    put_id(out, welcome->id);
    PUT_TEXT(out, "session", welcome->session);
    PUT_TEXT(out, "user", welcome->user);
    PUT_TEXT(out, "device", welcome->device);
    PUT_TEXT(out, "gateway", welcome->gateway);
    PUT_TEXT(out, "epoch", welcome->epoch);
    PUT_NUMBER(out, "ping_ms", welcome->ping_ms);
    PUT_NUMBER(out, "max_frame", welcome->max_frame);
    PUT_NUMBER(out, "ts", welcome->ts);
    for (uint32_t i = 0; i < welcome->url_count; i++) {
        buf_append_string(out, i == 0 ? ",\"urls\":[" : ",");
        json_append_string(out, slice_string(welcome->urls[i]));
    }
    if (welcome->url_count > 0)
        PUT(out, "]");
    PUT(out, "}");
}

void client_put_ok(struct buf *out, struct slice id)
{
    PUT(out, "{\"type\":\"ok\"");
    put_id(out, id);
    PUT(out, "}");
}

void client_put_pong(struct buf *out, struct slice id, uint64_t ts)
{
    PUT(out, "{\"type\":\"pong\"");
    put_id(out, id);
    PUT_NUMBER(out, "ts", ts);
    PUT(out, "}");
}

void client_put_reset(struct buf *out)
{
    PUT(out, "{\"type\":\"reset\"}");
}

void client_put_error(struct buf *out, struct slice id, enum rc rc, const char *message,
                      uint64_t retry_after_ms)
{
    PUT(out, "{\"type\":\"error\"");
    put_id(out, id);
    PUT_TEXT(out, "code", slice_string(rc_client_code(rc)));
    PUT_TEXT(out, "message", slice_string(message != NULL ? message : rc_sentence(rc)));
    if (retry_after_ms != 0)
        PUT_NUMBER(out, "retry_after_ms", retry_after_ms);
    PUT(out, "}");
}

void client_put_sent(struct buf *out, struct slice id, struct slice conv, struct slice cid,
                     uint64_t seq, uint64_t ts, bool dup)
{
    PUT(out, "{\"type\":\"sent\"");
    put_id(out, id);
    PUT_TEXT(out, "conv", conv);
    if (cid.base != NULL)
        PUT_TEXT(out, "cid", cid);
    PUT_NUMBER(out, "seq", seq);
    PUT_NUMBER(out, "ts", ts);
    if (dup)
        PUT(out, ",\"dup\":true");
    PUT(out, "}");
}

static struct slice kind_name(uint64_t kind)
{
    return slice_string(kind == CONV_DIRECT ? "direct" : "group");
}

void client_put_conversation(struct buf *out, struct slice id, struct slice conv,
                             enum conv_kind kind, struct slice title, uint64_t head, bool dup)
{
    PUT(out, "{\"type\":\"conversation\"");
    put_id(out, id);
    PUT_TEXT(out, "conv", conv);
    PUT_TEXT(out, "kind", kind_name(kind));
    put_title(out, title);
    PUT_NUMBER(out, "head", head);
    if (dup)
        PUT(out, ",\"dup\":true");
    PUT(out, "}");
}

void client_put_conversation_event(struct buf *out, struct slice conv, bool gone)
{
    PUT(out, "{\"type\":\"conversation\"");
    PUT_TEXT(out, "conv", conv);
    if (gone)
        PUT(out, ",\"gone\":true");
    PUT(out, "}");
}

void client_put_conversations_begin(struct buf *out, struct slice id)
{
    PUT(out, "{\"type\":\"conversations\"");
    put_id(out, id);
    PUT(out, ",\"conversations\":[");
}

void client_put_conversations_item(struct buf *out, const struct msg_summary_item *item, bool first)
{
    if (!first)
        PUT(out, ",");
    PUT(out, "{\"conv\":");
    json_append_string(out, item->conv);
    PUT_TEXT(out, "kind", kind_name(item->kind));
    put_title(out, item->title);
    PUT_NUMBER(out, "head", item->head);
    PUT_NUMBER(out, "read", item->read);
    PUT_NUMBER(out, "unread", item->unread);
    PUT_NUMBER(out, "members", item->members);
    if (item->role != 0)
        PUT_TEXT(out, "role", client_role_name(item->role));
    if (item->peer.base != NULL)
        PUT_TEXT(out, "peer", item->peer);
    if (item->meta.size != 0) {
        PUT(out, ",\"meta\":");
        buf_append_slice(out, item->meta);
    }
    struct record_reader r = record_reader_of(item->last);
    struct msg_entry entry;
    PUT(out, ",\"last\":");
    if (item->last.size != 0 && record_decode(&r, &msg_entry_desc, &entry) == RC_OK)
        client_put_entry(out, item->conv, &entry);
    else
        PUT(out, "null");
    PUT(out, "}");
}

void client_put_conversations_end(struct buf *out, bool more)
{
    PUT(out, "],\"more\":");
    put_bool(out, more);
    PUT(out, "}");
}

void client_put_member(struct buf *out, const struct msg_member *member)
{
    PUT(out, "{\"user\":");
    json_append_string(out, member->user);
    PUT_TEXT(out, "role", client_role_name(member->role));
    PUT_NUMBER(out, "joined", member->joined);
    PUT(out, "}");
}

void client_put_members(struct buf *out, struct slice id, struct slice conv, struct slice members,
                        uint64_t total, bool more)
{
    PUT(out, "{\"type\":\"members\"");
    put_id(out, id);
    PUT_TEXT(out, "conv", conv);
    PUT(out, ",\"members\":[");
    struct record_reader r = record_reader_of(members);
    struct msg_member member;
    for (bool first = true;
         !record_reader_at_end(&r) && record_decode(&r, &msg_member_desc, &member) == RC_OK;
         first = false) {
        if (!first)
            PUT(out, ",");
        client_put_member(out, &member);
    }
    PUT(out, "]");
    PUT_NUMBER(out, "total", total);
    PUT(out, ",\"more\":");
    put_bool(out, more);
    PUT(out, "}");
}

void client_put_gap(struct buf *out, struct slice conv, uint64_t from, uint64_t to, uint64_t head,
                    bool trimmed)
{
    PUT(out, "{\"type\":\"gap\"");
    PUT_TEXT(out, "conv", conv);
    PUT_NUMBER(out, "from", from);
    PUT_NUMBER(out, "to", to);
    PUT_NUMBER(out, "head", head);
    if (trimmed)
        PUT(out, ",\"trimmed\":true");
    PUT(out, "}");
}

void client_put_resumed(struct buf *out, uint64_t conversations, uint64_t missed)
{
    PUT(out, "{\"type\":\"resumed\"");
    PUT_NUMBER(out, "conversations", conversations);
    PUT_NUMBER(out, "missed", missed);
    PUT(out, "}");
}

void client_put_receipt(struct buf *out, struct slice conv, struct slice user, uint64_t delivered,
                        uint64_t read)
{
    PUT(out, "{\"type\":\"receipt\"");
    PUT_TEXT(out, "conv", conv);
    PUT_TEXT(out, "user", user);
    if (delivered != 0)
        PUT_NUMBER(out, "delivered", delivered);
    if (read != 0)
        PUT_NUMBER(out, "read", read);
    PUT(out, "}");
}

void client_put_tally(struct buf *out, const struct msg_event_tally *tally)
{
    PUT(out, "{\"type\":\"receipt\"");
    PUT_TEXT(out, "conv", tally->conv);
    PUT_NUMBER(out, "seq", tally->seq);
    PUT_NUMBER(out, "delivered_count", tally->delivered);
    PUT_NUMBER(out, "read_count", tally->read);
    PUT_NUMBER(out, "total", tally->total);
    PUT(out, "}");
}

void client_put_typing(struct buf *out, struct slice conv, struct slice user, bool on)
{
    PUT(out, "{\"type\":\"typing\"");
    PUT_TEXT(out, "conv", conv);
    PUT_TEXT(out, "user", user);
    PUT(out, ",\"on\":");
    put_bool(out, on);
    PUT(out, "}");
}

void client_put_activity(struct buf *out, struct slice conv, uint64_t head, uint64_t unread)
{
    PUT(out, "{\"type\":\"activity\"");
    PUT_TEXT(out, "conv", conv);
    PUT_NUMBER(out, "head", head);
    PUT_NUMBER(out, "unread", unread);
    PUT(out, "}");
}

void client_put_server_restart(struct buf *out, uint64_t reconnect_after_ms)
{
    PUT(out, "{\"type\":\"server_restart\"");
    PUT_NUMBER(out, "reconnect_after_ms", reconnect_after_ms);
    PUT(out, "}");
}

static void put_readers(struct buf *out, struct slice readers)
{
    struct record_reader r = record_reader_of(readers);
    struct msg_reader reader;
    PUT(out, "[");
    for (bool first = true;
         !record_reader_at_end(&r) && record_decode(&r, &msg_reader_desc, &reader) == RC_OK;
         first = false) {
        if (!first)
            PUT(out, ",");
        PUT(out, "{\"user\":");
        json_append_string(out, reader.user);
        PUT_NUMBER(out, "ts", reader.ts);
        PUT(out, "}");
    }
    PUT(out, "]");
}

void client_put_receipts(struct buf *out, struct slice id, struct slice conv, uint64_t seq,
                         const struct msg_readers_page *page)
{
    PUT(out, "{\"type\":\"receipts\"");
    put_id(out, id);
    PUT_TEXT(out, "conv", conv);
    PUT_NUMBER(out, "seq", seq);
    PUT(out, ",\"delivered\":");
    put_readers(out, page->delivered);
    PUT(out, ",\"read\":");
    put_readers(out, page->read);
    PUT_NUMBER(out, "total", page->total);
    if (page->more != 0)
        PUT(out, ",\"more\":true");
    PUT(out, "}");
}

static struct slice status_name(uint64_t status)
{
    switch (status) {
    case PRESENCE_ONLINE:
        return slice_string("online");
    case PRESENCE_AWAY:
        return slice_string("away");
    case PRESENCE_BUSY:
        return slice_string("busy");
    default:
        return slice_string("offline");
    }
}

/* `"user":…` and what follows, up to the closing brace. */
static void put_presence(struct buf *out, const struct msg_presence_item *item)
{
    PUT(out, "\"user\":");
    json_append_string(out, item->user);
    PUT_TEXT(out, "status", status_name(item->status));
    if (item->last_seen != 0)
        PUT_NUMBER(out, "last_seen", item->last_seen);
    PUT(out, "}");
}

void client_put_presence(struct buf *out, const struct msg_presence_item *item)
{
    PUT(out, "{\"type\":\"presence\",");
    put_presence(out, item);
}

void client_put_presence_list_begin(struct buf *out, struct slice id)
{
    PUT(out, "{\"type\":\"presence_list\"");
    put_id(out, id);
    PUT(out, ",\"users\":[");
}

void client_put_presence_list_item(struct buf *out, const struct msg_presence_item *item,
                                   bool first)
{
    if (!first)
        PUT(out, ",");
    PUT(out, "{");
    put_presence(out, item);
}

void client_put_presence_list_end(struct buf *out)
{
    PUT(out, "]}");
}
