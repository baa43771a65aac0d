/* The way out. An entry is written for every recipient's sake once, but forty thousand times a
 * second all the same: so it is appends of constants, no format strings. */
#include "gateway/client.h"

#define PUT(out, literal) buf_append(out, literal, sizeof(literal) - 1)

static void put_field(struct buf *out, const char *lead, size_t lead_size, struct slice text)
{
    buf_append(out, lead, lead_size);
    json_append_string(out, text);
}

static void put_number(struct buf *out, const char *lead, size_t lead_size, uint64_t number)
{
    buf_append(out, lead, lead_size);
    buf_append_u64_decimal(out, number);
}

/* `,"name":` and the value, as one literal and one value. */
#define PUT_TEXT(out, name, text)     put_field(out, ",\"" name "\":", sizeof(name) + 3, text)
#define PUT_NUMBER(out, name, number) put_number(out, ",\"" name "\":", sizeof(name) + 3, number)

static void put_bool(struct buf *out, bool value)
{
    if (value)
        PUT(out, "true");
    else
        PUT(out, "false");
}

/* The id of the request this answers, raw as it came. */
static void put_id(struct buf *out, struct slice id)
{
    if (id.base == NULL)
        return;
    PUT(out, ",\"id\":");
    buf_append_slice(out, id);
}

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

static struct slice role_name(uint64_t role)
{
    switch (role) {
    case ROLE_OWNER:
        return slice_string("owner");
    case ROLE_ADMIN:
        return slice_string("admin");
    default:
        return slice_string("member");
    }
}

static struct slice change_name(uint64_t change)
{
    switch (change) {
    case MEMBER_ADD:
        return slice_string("joined");
    case MEMBER_REMOVE:
        return slice_string("removed");
    case MEMBER_ROLE:
        return slice_string("role");
    default:
        return slice_string("left");
    }
}

static void put_message(struct buf *out, const struct msg_entry *entry)
{
    if (entry->cid.base != NULL)
        PUT_TEXT(out, "cid", entry->cid);
    PUT(out, ",\"body\":");
    if (entry->body.size != 0)
        buf_append_slice(out, entry->body);
    else
        PUT(out, "null");
    if (entry->reply_to != 0)
        PUT_NUMBER(out, "reply_to", entry->reply_to);
}

static void put_member(struct buf *out, const struct msg_entry *entry)
{
    PUT_TEXT(out, "change", change_name(entry->change));
    PUT_TEXT(out, "user", entry->user);
    if (entry->role != 0)
        PUT_TEXT(out, "role", role_name(entry->role));
}

static void put_info(struct buf *out, const struct msg_entry *entry)
{
    if (entry->title.base != NULL)
        PUT_TEXT(out, "title", entry->title);
    if (entry->meta.size != 0) {
        PUT(out, ",\"meta\":");
        buf_append_slice(out, entry->meta);
    }
}

/* An entry of a type this version does not know still takes its place in the order, or the client
 * would see a hole: it goes out with what all entries have. */
static void put_entry_type(struct buf *out, uint64_t type)
{
    switch (type) {
    case ENTRY_MESSAGE:
        PUT(out, "{\"type\":\"message\"");
        break;
    case ENTRY_EDIT:
        PUT(out, "{\"type\":\"edit\"");
        break;
    case ENTRY_DELETE:
        PUT(out, "{\"type\":\"delete\"");
        break;
    case ENTRY_REACTION:
        PUT(out, "{\"type\":\"reaction\"");
        break;
    case ENTRY_MEMBER:
        PUT(out, "{\"type\":\"member\"");
        break;
    case ENTRY_INFO:
        PUT(out, "{\"type\":\"info\"");
        break;
    default:
        PUT(out, "{\"type\":\"entry\"");
        break;
    }
}

void client_put_entry(struct buf *out, struct slice conv, const struct msg_entry *entry)
{
    put_entry_type(out, entry->type);
    PUT_TEXT(out, "conv", conv);
    PUT_NUMBER(out, "seq", entry->seq);
    PUT_NUMBER(out, "ts", entry->ts);
    PUT_TEXT(out, "from", entry->from);
    if (entry->type == ENTRY_MESSAGE)
        put_message(out, entry);
    else if (entry->type == ENTRY_MEMBER)
        put_member(out, entry);
    else if (entry->type == ENTRY_INFO)
        put_info(out, entry);
    PUT(out, "}");
}

void client_put_history(struct buf *out, struct slice id, struct slice conv, struct slice entries,
                        uint64_t head, bool more)
{
    PUT(out, "{\"type\":\"history\"");
    put_id(out, id);
    PUT_TEXT(out, "conv", conv);
    PUT(out, ",\"entries\":[");
    struct record_reader r = record_reader_of(entries);
    struct msg_entry entry;
    for (bool first = true;
         !record_reader_at_end(&r) && record_decode(&r, &msg_entry_desc, &entry) == RC_OK;
         first = false) {
        if (!first)
            PUT(out, ",");
        client_put_entry(out, conv, &entry);
    }
    PUT(out, "]");
    PUT_NUMBER(out, "head", head);
    PUT(out, ",\"more\":");
    put_bool(out, more);
    PUT(out, "}");
}

static struct slice kind_name(uint64_t kind)
{
    return slice_string(kind == CONV_DIRECT ? "direct" : "group");
}

void client_put_conversation(struct buf *out, struct slice id, struct slice conv,
                             enum conv_kind kind, struct slice title, uint64_t head)
{
    PUT(out, "{\"type\":\"conversation\"");
    put_id(out, id);
    PUT_TEXT(out, "conv", conv);
    PUT_TEXT(out, "kind", kind_name(kind));
    if (title.base != NULL)
        PUT_TEXT(out, "title", title);
    PUT_NUMBER(out, "head", head);
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
    if (item->title.base != NULL)
        PUT_TEXT(out, "title", item->title);
    PUT_NUMBER(out, "head", item->head);
    PUT_NUMBER(out, "read", item->read);
    PUT_NUMBER(out, "unread", item->unread);
    PUT_NUMBER(out, "members", item->members);
    if (item->peer.base != NULL)
        PUT_TEXT(out, "peer", item->peer);
    if (item->meta.size != 0) {
        PUT(out, ",\"meta\":");
        buf_append_slice(out, item->meta);
    }
    struct record_reader r = record_reader_of(item->last);
    struct msg_entry entry;
    if (item->last.size != 0 && record_decode(&r, &msg_entry_desc, &entry) == RC_OK) {
        PUT(out, ",\"last\":");
        client_put_entry(out, item->conv, &entry);
    }
    PUT(out, "}");
}

void client_put_conversations_end(struct buf *out, bool more)
{
    PUT(out, "],\"more\":");
    put_bool(out, more);
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
        PUT(out, "{\"user\":");
        json_append_string(out, member.user);
        PUT_TEXT(out, "role", role_name(member.role));
        PUT_NUMBER(out, "joined", member.joined);
        PUT(out, "}");
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

void client_put_server_restart(struct buf *out, uint64_t reconnect_after_ms)
{
    PUT(out, "{\"type\":\"server_restart\"");
    PUT_NUMBER(out, "reconnect_after_ms", reconnect_after_ms);
    PUT(out, "}");
}
