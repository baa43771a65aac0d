/* What the server says, and what is wrong with it. */
#include <stdio.h>

#include "mesh/base/check.h"
#include "tests/sim/people_private.h"

#define OPEN_AGAIN_US UINT64_C(1000000)

/* ---- Reading ---- */

static struct slice text_of(struct json_value value)
{
    return slice_of(value.raw.base + 1, value.raw.size - 2); /* Our names need no unescaping. */
}

static struct slice *text_field(struct event *e, struct slice key)
{
    return slice_equals(key, "type")     ? &e->type
           : slice_equals(key, "conv")   ? &e->conv
           : slice_equals(key, "cid")    ? &e->cid
           : slice_equals(key, "from")   ? &e->from
           : slice_equals(key, "code")   ? &e->code
           : slice_equals(key, "id")     ? &e->id
           : slice_equals(key, "user")   ? &e->user
           : slice_equals(key, "role")   ? &e->role
           : slice_equals(key, "change") ? &e->change
           : slice_equals(key, "status") ? &e->status
                                         : NULL;
}

static uint64_t *number_field(struct event *e, struct slice key)
{
    return slice_equals(key, "seq")              ? &e->seq
           : slice_equals(key, "ts")             ? &e->ts
           : slice_equals(key, "head")           ? &e->head
           : slice_equals(key, "delivered")      ? &e->delivered
           : slice_equals(key, "read")           ? &e->read
           : slice_equals(key, "from")           ? &e->gap_from
           : slice_equals(key, "to")             ? &e->gap_to
           : slice_equals(key, "unread")         ? &e->unread
           : slice_equals(key, "members")        ? &e->members
           : slice_equals(key, "total")          ? &e->total
           : slice_equals(key, "joined")         ? &e->joined
           : slice_equals(key, "last_seen")      ? &e->last_seen
           : slice_equals(key, "retry_after_ms") ? &e->retry_after_ms
                                                 : NULL;
}

struct event event_parse(struct json_value object)
{
    struct event e = {.raw = object.raw};
    uint32_t at = 0;
    struct slice key;
    struct json_value value;
    struct slice *text;
    uint64_t *number;
    while (json_next(object, &at, &key, &value)) {
        if (value.type == JSON_STRING && (text = text_field(&e, key)) != NULL)
            *text = text_of(value);
        else if (value.type == JSON_NUMBER && slice_equals(key, "id"))
            e.id = value.raw;
        else if (value.type == JSON_NUMBER && (number = number_field(&e, key)) != NULL)
            json_u64(value, number);
        else if (slice_equals(key, "body") && value.type != JSON_NULL)
            e.body = value.raw;
        else if (slice_equals(key, "entries"))
            e.entries = value;
        else if (slice_equals(key, "conversations"))
            e.conversations = value;
        else if (slice_equals(key, "members"))
            e.member_list = value;
        else if (slice_equals(key, "users"))
            e.users = value;
        else if (slice_equals(key, "delivered"))
            e.delivered_list = value;
        else if (slice_equals(key, "read"))
            e.read_list = value;
        else if (slice_equals(key, "last") && value.type != JSON_NULL)
            e.last = value;
        else if (slice_equals(key, "dup"))
            e.dup = value.type == JSON_TRUE;
        else if (slice_equals(key, "gone"))
            e.gone = value.type == JSON_TRUE;
        else if (slice_equals(key, "trimmed"))
            e.trimmed = value.type == JSON_TRUE;
        else if (slice_equals(key, "more"))
            e.more = value.type == JSON_TRUE;
    }
    return e;
}

/* ---- The stream ---- */

_Noreturn static void out_of_order(const struct person *p, const struct place *place,
                                   const struct event *e)
{
    world_violation(p->people->world,
                    "C6: %s/%s has %s up to %lu, its stream is at %ld, and got %.*s", p->user,
                    p->device, place->conv, place->cursor, (long)place->at, SLICE_ARGS(e->raw));
}

/* Who was erased and came again into a direct conversation begins there: of what was before nothing
 * is known of him, and he gets nothing. */
static bool begins_at(const struct person *p, const struct place *place, uint64_t seq)
{
    struct book *book = p->people->book;
    struct slice user = slice_string(p->user);
    return strncmp(place->conv, "dm:", 3) == 0 && book_is_erased(book, user) &&
           book_joined_at(book, slice_string(place->conv), user, seq);
}

/* The stream of a connection goes on one by one from its resume point: the one that `connect` said,
 * or the server's record, which is never ahead of what the client has acknowledged. */
static bool is_next(const struct person *p, const struct place *place, uint64_t seq)
{
    if (place->at != AT_UNKNOWN && place->at != 0)
        return seq == place->at + 1;
    return (seq >= 1 && seq <= (place->at == 0 ? 0 : place->cursor) + 1) ||
           begins_at(p, place, seq);
}

/* What it did not acknowledge in time is given again, from the last cursor that the server heard
 * of: that is not beyond the last one said and what he sent himself right behind it, and not before
 * the resume point, also where he was removed and added again since. */
static bool is_again(const struct person *p, const struct place *place, uint64_t seq)
{
    if (place->at == AT_UNKNOWN || seq <= place->begun || seq > place->at)
        return false;
    uint64_t said = place->told > place->acked ? place->told : place->acked;
    while (said + 1 < seq && book_is_from(p->people->book, slice_string(place->conv), said + 1,
                                          slice_string(p->user)))
        said++;
    return seq <= said + 1;
}

/* The second client of a device goes on from what the first one acknowledged. */
static void take_over(const struct person *p, struct place *place, uint64_t seq)
{
    if (p->is_second && place->at == AT_UNKNOWN && seq > place->cursor)
        place->cursor = seq - 1;
}

/* Added again, he goes on from here, and nothing before it is given again. */
static void begin_anew(struct place *place)
{
    if (place->at != AT_UNKNOWN && place->at > place->acked)
        place->acked = place->at;
}

/* The server's record of him begins here: where he came again, or where what he has ended. Nothing
 * before it is given again. */
static void note_record(const struct person *p, struct place *place, uint64_t seq, bool is_end)
{
    if ((is_end || begins_at(p, place, seq)) && place->acked < seq - 1)
        place->acked = seq - 1;
}

/* What was paged may be older than the last word. What is streamed is not, though a page may have
 * told of it before. */
static void note_membership(struct person *p, struct place *place, const struct event *e,
                            bool is_streamed)
{
    if (!slice_equals(e->type, "member") || !slice_equals(e->user, p->user) ||
        e->seq < place->changed || (e->seq == place->changed && !is_streamed))
        return;
    bool is_out = slice_equals(e->change, "removed") || slice_equals(e->change, "left");
    place->changed = e->seq;
    place->is_in = !is_out;
    place->is_out = is_out;
    place->is_open &= !is_out;
    if (is_out)
        begin_anew(place);
    else
        say_fill(p, place);
}

static void note_message(struct place *place, const struct event *e)
{
    if (!slice_equals(e->type, "message"))
        return;
    place->message = e->seq;
    snprintf(place->from, sizeof(place->from), "%.*s", SLICE_ARGS(e->from));
}

static void on_entry(struct person *p, const struct event *e)
{
    struct place *place = place_of(p, e->conv);
    take_over(p, place, e->seq);
    bool again = is_again(p, place, e->seq);
    if (!again && !is_next(p, place, e->seq))
        out_of_order(p, place, e);
    note_record(p, place, e->seq, false);
    place->at = e->seq;
    p->people->book->again += again;
    book_given(p->people->book, slice_string(p->user), e->conv, e->seq, p->wire->opened_us);
    book_seen(p->people->book, slice_string(p->user), e->conv, e->seq, e->from, e->cid, e->body,
              e->raw);
    if (e->seq <= place->cursor) {
        if (e->seq == place->cursor) /* It comes again because that was not known. */
            say_ack(p, place);
        return;
    }
    place->cursor = e->seq;
    note_message(place, e);
    note_membership(p, place, e, true);
    say_cursor(p, place);
    change_on_entry(p, e);
    if (place->is_open && !p->people->is_quiet && world_chance(p->people->world, 0.02))
        say_close(p, place);
}

/* He is, or was, a member there; and he does not hear of what came after him. */
static void on_activity(struct person *p, const struct event *e)
{
    struct world *world = p->people->world;
    struct book *book = p->people->book;
    struct place *place = place_of(p, e->conv);
    uint64_t visible = book_visible(book, e->conv, slice_string(p->user));
    if (e->head > visible || e->unread > book_messages(book, e->conv))
        world_violation(world, "C12: %s may know of %lu entries and got %.*s", p->user, visible,
                        SLICE_ARGS(e->raw));
    book->activities++;
    place->moved = e->head > place->moved ? e->head : place->moved;
    if (place->moved > place->cursor && (p->people->is_quiet || world_chance(world, 0.3)))
        say_open(p, place);
}

/* What went by retention may have held entries about his own membership: the log knows. */
static void pass_trimmed(struct person *p, struct place *place, uint64_t upto)
{
    const struct book_member *member =
        book_member(p->people->book, slice_string(place->conv), slice_string(p->user));
    if (member == NULL)
        return;
    uint64_t changed = member->joined > member->left ? member->joined : member->left;
    if (changed <= place->changed || changed > upto)
        return;
    place->changed = changed;
    place->is_in = member->is_member;
    place->is_out = !member->is_member;
}

static void on_gap(struct person *p, const struct event *e)
{
    struct place *place = place_of(p, e->conv);
    take_over(p, place, e->gap_from);
    bool is_right = is_next(p, place, e->gap_from) || is_again(p, place, e->gap_from);
    if (!is_right || e->gap_to < e->gap_from)
        out_of_order(p, place, e);
    uint64_t visible = book_visible(p->people->book, e->conv, slice_string(p->user));
    if (e->gap_to > visible)
        world_violation(p->people->world, "C12: %s may know of %lu entries and got %.*s", p->user,
                        visible, SLICE_ARGS(e->raw));
    bool is_lost =
        e->gap_to <= book_lost_seq(p->people->book, e->conv) || begins_at(p, place, e->gap_to + 1);
    if (e->trimmed && !is_lost)
        world_violation(p->people->world, "C14: %s is removed up to %lu, and %s got %.*s",
                        place->conv, book_lost_seq(p->people->book, e->conv), p->user,
                        SLICE_ARGS(e->raw));
    const struct book_conv *conv = book_conv(p->people->book, e->conv);
    note_record(p, place, e->gap_from, conv != NULL && conv->ended >= e->gap_from);
    place->at = e->gap_to;
    if (e->gap_to <= place->cursor)
        return;
    if (e->trimmed) {
        place->cursor = e->gap_to;
        pass_trimmed(p, place, e->gap_to);
        return;
    }
    if (place->fill_from == 0)
        place->fill_from = place->cursor + 1;
    place->fill_to = e->gap_to;
    place->cursor = e->gap_to;
    say_fill(p, place);
}

static void on_page(struct person *p, const struct event *e)
{
    struct place *place = place_of(p, e->conv);
    place->filling = false;
    uint64_t asked_us = place->fill_us; /* What is in the page may ask for the next. */
    uint64_t trimmed = book_lost_seq(p->people->book, e->conv);
    uint32_t at = 0;
    struct slice key;
    struct json_value value;
    while (json_next(e->entries, &at, &key, &value)) {
        struct event entry = event_parse(value);
        book_given(p->people->book, slice_string(p->user), e->conv, entry.seq, asked_us);
        book_seen(p->people->book, slice_string(p->user), e->conv, entry.seq, entry.from, entry.cid,
                  entry.body, entry.raw);
        if (place->fill_from == 0 || entry.seq < place->fill_from)
            continue; /* A page that was asked for twice. */
        if (entry.seq != place->fill_from && entry.seq > trimmed + 1 &&
            !begins_at(p, place, entry.seq))
            world_violation(p->people->world, "C4: history of %s after %lu gave %.*s", place->conv,
                            place->fill_from - 1, SLICE_ARGS(value.raw));
        if (entry.seq != place->fill_from)
            pass_trimmed(p, place, entry.seq - 1);
        note_membership(p, place, &entry, false);
        place->fill_from = entry.seq >= place->fill_to ? 0 : entry.seq + 1;
    }
    if (place->fill_from != 0 && place->fill_to <= trimmed) {
        place->fill_from = 0;
        pass_trimmed(p, place, place->fill_to);
    }
    say_fill(p, place);
}

/* The question that this answers; NULL: it answers something else. */
static struct probe *probe_of(struct person *p, const struct event *e)
{
    if (e->id.size != 2 || e->id.base[0] != 'n')
        return NULL;
    uint32_t at = (uint32_t)(e->id.base[1] - '0');
    return at < PROBES_MAX && p->probes[at].is_asked ? &p->probes[at] : NULL;
}

/* Is he a member, or none, since before this time, and did somebody know? Then he is served, or
 * refused. A leader whose disk is slow may apply an entry after its followers, and knows of nothing
 * before that. */
static bool was_always(const struct person *p, const char *conv, bool is_member, uint64_t since_us)
{
    struct book *book = p->people->book;
    const struct book_member *member = book_member(book, slice_string(conv), slice_string(p->user));
    const struct book_conv *c = book_conv(book, slice_string(conv));
    if (member == NULL || member->is_member != is_member || (is_member && c->ending != 0))
        return false;
    uint64_t changed = is_member ? member->joined : member->left;
    return book_known_us(c, changed) < since_us;
}

/* The newest entries of a conversation. */
static void on_newest(struct person *p, struct probe *probe, const struct event *e)
{
    struct world *world = p->people->world;
    probe->is_asked = false;
    bool was_stranger = book_member(p->people->book, e->conv, slice_string(p->user)) == NULL;
    if (was_stranger || was_always(p, probe->conv, false, probe->asked_us))
        world_violation(world, "C12: %s is not in %s and got its history", p->user, probe->conv);
    book_given(p->people->book, slice_string(p->user), e->conv, 0, probe->asked_us);
    p->people->book->reads++;
    p->people->book->reads_bound += probe->was_member && probe->floor > 0;
    if (probe->was_member && e->head < probe->floor)
        world_violation(world, "C9: %lu of %s was promised, then history ended at %lu",
                        probe->floor, probe->conv, e->head);
    uint64_t last = 0;
    uint32_t at = 0;
    struct slice key;
    struct json_value value;
    while (json_next(e->entries, &at, &key, &value)) {
        struct event entry = event_parse(value);
        if (last != 0 && entry.seq != last + 1)
            world_violation(world, "C4: history of %s jumps from %lu to %lu", probe->conv, last,
                            entry.seq);
        last = entry.seq;
        book_seen(p->people->book, slice_string(p->user), e->conv, entry.seq, entry.from, entry.cid,
                  entry.body, entry.raw);
    }
    if (last != e->head && (last != 0 || e->head > book_lost_seq(p->people->book, e->conv)))
        world_violation(world, "C9: the history of %s ends at %lu, its head is %lu", probe->conv,
                        last, e->head);
}

/* A conversation begins or ends for this user. */
static void on_conversation(struct person *p, const struct event *e)
{
    if (!slice_equals(e->id, ""))
        return; /* The answer to `create`. */
    struct place *place = place_of(p, e->conv);
    place->is_in = !e->gone;
    place->is_out = e->gone;
    place->is_open = false;
    if (place->cursor > place->changed)
        place->changed = place->cursor; /* What is paged later is older than this. */
    if (e->gone)
        begin_anew(place);
    else
        say_fill(p, place);
}

/* Cursors are never ahead of what their user may have seen. */
static void on_receipt(struct person *p, const struct event *e)
{
    uint64_t visible = book_visible(p->people->book, e->conv, e->user);
    if (e->delivered > visible || e->read > visible)
        world_violation(p->people->world, "a receipt beyond what there is (%lu): %.*s", visible,
                        SLICE_ARGS(e->raw));
    if (book_member(p->people->book, e->conv, slice_string(p->user)) == NULL)
        world_violation(p->people->world, "C12: %s is a stranger and got %.*s", p->user,
                        SLICE_ARGS(e->raw));
}

/* ---- Answers ---- */

static bool may_try_again(const struct event *e)
{
    return slice_equals(e->code, "unavailable") || slice_equals(e->code, "rate_limited");
}

/* A member's send is never refused; that of others may be, for good. */
static void on_send_refused(struct person *p, struct outgoing *out, const struct event *e)
{
    bool is_right = out->to[0] != '@' && !was_always(p, out->conv, true, out->sent_us) &&
                    (slice_equals(e->code, "forbidden") || slice_equals(e->code, "not_found"));
    if (!is_right)
        world_violation(p->people->world, "%s was refused: %.*s", p->user, SLICE_ARGS(e->raw));
    book_refused(p->people->book, out->record);
    out->is_done = true;
    say_sends(p);
}

static void on_probe_refused(struct person *p, struct probe *probe, const struct event *e)
{
    bool is_right = slice_equals(e->code, "forbidden") || slice_equals(e->code, "not_found");
    if (!may_try_again(e) && (!is_right || was_always(p, probe->conv, true, probe->asked_us)))
        world_violation(p->people->world, "the history of %s was refused to %s: %.*s", probe->conv,
                        p->user, SLICE_ARGS(e->raw));
    probe->is_asked = false;
}

/* The place that this request was about, by the letter of its kind; NULL: it was something else. */
static struct place *asked_place(struct person *p, const struct event *e, char kind)
{
    unsigned at;
    char letter;
    char id[16];
    snprintf(id, sizeof(id), "%.*s", SLICE_ARGS(e->id));
    bool is_one = sscanf(id, "%c%u", &letter, &at) == 2 && letter == kind && at < p->place_count;
    return is_one ? &p->places[at] : NULL;
}

/* A gap stays until he is in again, if he was removed meanwhile. An answer may be older than the
 * news that he is in. */
static void on_fill_refused(struct person *p, struct place *place, const struct event *e,
                            uint64_t wait_us)
{
    const struct book_conv *conv = book_conv(p->people->book, slice_string(place->conv));
    bool is_right = slice_equals(e->code, "forbidden") ||
                    (slice_equals(e->code, "not_found") && book_is_gone(conv));
    place->filling = false;
    if (!may_try_again(e) && (!is_right || was_always(p, place->conv, true, place->fill_us)))
        world_violation(p->people->world, "a gap of %s was refused to %s: %.*s", place->conv,
                        p->user, SLICE_ARGS(e->raw));
    if (may_try_again(e))
        say_again_after(p, wait_us);
    else if (!place->is_out)
        say_again_after(p, OPEN_AGAIN_US);
}

/* Refused, it is closed. An answer may be older than the news that he is in: then it is worth
 * another try. */
static void on_open_refused(struct person *p, struct place *place, const struct event *e,
                            uint64_t wait_us)
{
    bool is_right = slice_equals(e->code, "forbidden") || slice_equals(e->code, "not_found");
    if (!may_try_again(e) && !is_right)
        world_violation(p->people->world, "%s got %.*s", p->user, SLICE_ARGS(e->raw));
    place->is_open = false;
    if (may_try_again(e))
        say_again_after(p, wait_us);
    else if (p->people->is_quiet && !place->is_out)
        say_again_after(p, OPEN_AGAIN_US);
}

static void on_error(struct person *p, const struct event *e)
{
    struct world *world = p->people->world;
    uint64_t wait_us = (e->retry_after_ms + 1) * 1000;
    if (p->is_hasty && !p->people->is_quiet)
        wait_us = world_between(world, 30000, wait_us + 30000);
    struct probe *probe = probe_of(p, e);
    struct place *place;
    if (probe != NULL) {
        on_probe_refused(p, probe, e);
    } else if ((place = asked_place(p, e, 'h')) != NULL) {
        on_fill_refused(p, place, e, wait_us);
    } else if (slice_equals(e->id, "again") && may_try_again(e)) {
        return;
    } else if (slice_equals(e->id, "k") || slice_equals(e->id, "create")) {
        return;
    } else if ((place = asked_place(p, e, 'o')) != NULL) {
        on_open_refused(p, place, e, wait_us);
    } else if (slice_equals(e->id, "m")) {
        churn_on_reply(p, e);
    } else if (change_is_mine(e)) {
        change_on_error(p, e);
    } else if (soft_on_error(p, e, wait_us)) {
        return;
    } else if (slice_equals(e->id, "audit")) {
        audit_on_error(p, e);
        if (may_try_again(e))
            say_again_after(p, wait_us);
    } else {
        struct outgoing *out = outgoing_of(p, e->id);
        if (out == NULL)
            world_violation(world, "%s got %.*s", p->user, SLICE_ARGS(e->raw));
        if (!may_try_again(e)) {
            on_send_refused(p, out, e);
            return;
        }
        out->in_flight = false;
        say_again_after(p, wait_us);
    }
}

static void on_sent(struct person *p, const struct event *e)
{
    if (change_is_mine(e)) {
        change_on_sent(p, e);
        return;
    }
    book_acked(p->people->book, e->conv, slice_string(p->user), e->cid, e->seq);
    struct outgoing *out = outgoing_of(p, e->cid);
    out->is_done = true;
    out->seq = e->seq;
    say_sends(p);
}

/* The answer to `connect`: from here on the stream goes on from what it said. */
static void on_welcome(struct person *p, const struct event *e)
{
    if (!slice_equals(e->id, "0"))
        return;
    for (uint32_t i = 0; i < p->place_count; i++) {
        struct place *place = &p->places[i];
        place->at = place->is_told ? place->told : AT_UNKNOWN;
        place->begun = place->told;
    }
}

static void on_ok(struct person *p, const struct event *e)
{
    if (slice_equals(e->id, "m"))
        churn_on_reply(p, e);
    else if (slice_equals(e->id, "audit"))
        audit_on_reply(p, e);
}

static void on_resumed(struct person *p)
{
    p->welcomed = true;
    soft_on_resumed(p);
    say_groups(p);
    say_everything(p);
}

static bool is_entry(const struct event *e)
{
    return slice_equals(e->type, "message") || slice_equals(e->type, "member") ||
           slice_equals(e->type, "info") || slice_equals(e->type, "edit") ||
           slice_equals(e->type, "delete") || slice_equals(e->type, "reaction");
}

static void on_event(struct person *p, const struct event *e)
{
    struct probe *probe;
    world_note(p->people->world, "%s/%s got %.*s", p->user, p->device, SLICE_ARGS(e->raw));
    if (is_entry(e))
        on_entry(p, e);
    else if (slice_equals(e->type, "sent"))
        on_sent(p, e);
    else if (slice_equals(e->type, "gap"))
        on_gap(p, e);
    else if (slice_equals(e->type, "history") && (probe = probe_of(p, e)) != NULL)
        on_newest(p, probe, e);
    else if (slice_equals(e->type, "history"))
        on_page(p, e);
    else if (slice_equals(e->type, "error"))
        on_error(p, e);
    else if (slice_equals(e->type, "ok"))
        on_ok(p, e);
    else if (slice_equals(e->type, "welcome"))
        on_welcome(p, e);
    else if (slice_equals(e->type, "resumed"))
        on_resumed(p);
    else if (slice_equals(e->type, "receipt"))
        on_receipt(p, e);
    else if (slice_equals(e->type, "activity"))
        on_activity(p, e);
    else if (slice_equals(e->type, "conversation"))
        on_conversation(p, e);
    else if (slice_equals(e->type, "conversations") || slice_equals(e->type, "members"))
        audit_on_reply(p, e);
    else if (slice_equals(e->type, "server_restart"))
        p->wire->was_warned = true;
    else if (!soft_on_event(p, e))
        world_violation(p->people->world, "%s got %.*s", p->user, SLICE_ARGS(e->raw));
}

void hear_text(struct person *p, struct slice text)
{
    const char *reason = NULL;
    if (json_check(text, &reason) != RC_OK)
        world_violation(p->people->world, "a frame that is no JSON (%s): %.*s", reason,
                        SLICE_ARGS(text));
    struct json_value value = {.type = text.base[0] == '[' ? JSON_ARRAY : JSON_OBJECT, .raw = text};
    if (value.type == JSON_OBJECT) {
        struct event e = event_parse(value);
        on_event(p, &e);
        return;
    }
    uint32_t at = 0;
    struct slice key;
    struct json_value item;
    while (json_next(value, &at, &key, &item)) {
        struct event e = event_parse(item);
        on_event(p, &e);
    }
}
