/* The way out: entries, as events and as history. */
#include "gateway/client_private.h"

struct slice client_role_name(uint64_t role)
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
    case MEMBER_ROLE:
        return slice_string("role");
    default: /* By himself, or removed: `from` says by whom. */
        return slice_string("left");
    }
}

/* A body that is gone is null. */
static void put_json(struct buf *out, struct slice text)
{
    if (text.size != 0)
        buf_append_slice(out, text);
    else
        PUT(out, "null");
}

static void put_reactions(struct buf *out, struct slice reactions)
{
    struct record_reader r = record_reader_of(reactions);
    struct msg_reaction_count reaction;
    bool is_first = true;
    while (!record_reader_at_end(&r) &&
           record_decode(&r, &msg_reaction_count_desc, &reaction) == RC_OK) {
        if (is_first)
            PUT(out, ",\"reactions\":[{\"emoji\":");
        else
            PUT(out, ",{\"emoji\":");
        is_first = false;
        json_append_string(out, reaction.emoji);
        PUT_NUMBER(out, "count", reaction.count);
        PUT(out, "}");
    }
    if (!is_first)
        PUT(out, "]");
}

/* What later entries made of a message. */
static void put_marks(struct buf *out, struct slice record)
{
    struct record_reader r = record_reader_of(record);
    struct msg_marks marks;
    if (record.size == 0 || record_decode(&r, &msg_marks_desc, &marks) != RC_OK)
        return;
    if (marks.edited != 0) {
        PUT(out, ",\"edited\":{\"seq\":");
        buf_append_u64_decimal(out, marks.edited);
        PUT_NUMBER(out, "ts", marks.edited_ts);
        PUT(out, "}");
    }
    if (marks.deleted != 0)
        PUT(out, ",\"deleted\":true");
    put_reactions(out, marks.reactions);
}

static void put_message(struct buf *out, const struct msg_entry *entry)
{
    if (entry->cid.base != NULL)
        PUT_TEXT(out, "cid", entry->cid);
    PUT(out, ",\"body\":");
    put_json(out, entry->body);
    if (entry->reply_to != 0)
        PUT_NUMBER(out, "reply_to", entry->reply_to);
    put_marks(out, entry->marks);
}

static void put_change(struct buf *out, const struct msg_entry *entry)
{
    if (entry->cid.size != 0)
        PUT_TEXT(out, "cid", entry->cid);
    PUT_NUMBER(out, "target", entry->target);
    if (entry->type == ENTRY_EDIT) {
        /* One that was overtaken by another, or by a deletion, says so and has no body any more. */
        PUT(out, ",\"body\":");
        put_json(out, entry->body);
        put_marks(out, entry->marks);
    } else if (entry->type == ENTRY_REACTION) {
        PUT_TEXT(out, "emoji", entry->emoji);
        PUT(out, ",\"on\":");
        put_bool(out, entry->on != 0);
    }
}

static void put_member(struct buf *out, const struct msg_entry *entry)
{
    PUT_TEXT(out, "change", change_name(entry->change));
    PUT_TEXT(out, "user", entry->user);
    if (entry->role != 0)
        PUT_TEXT(out, "role", client_role_name(entry->role));
}

static void put_info(struct buf *out, const struct msg_entry *entry)
{
    if (entry->title.base != NULL)
        put_title(out, entry->title);
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
    if (entry->from.size != 0) /* None: it was the operator. */
        PUT_TEXT(out, "from", entry->from);
    switch (entry->type) {
    case ENTRY_MESSAGE:
        put_message(out, entry);
        break;
    case ENTRY_EDIT:
    case ENTRY_DELETE:
    case ENTRY_REACTION:
        put_change(out, entry);
        break;
    case ENTRY_MEMBER:
        put_member(out, entry);
        break;
    case ENTRY_INFO:
        put_info(out, entry);
        break;
    default:
        break;
    }
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
