#include "tests/sim/book.h"

#include "mesh/base/buf.h"
#include "mesh/base/mem.h"

struct book_entry {
    uint64_t hash;          /* 0: nobody saw it yet. */
    struct book_send *send; /* NULL where it is no message. */
};

struct book_conv {
    char *id;
    struct book_entry *entries; /* By seq. */
    uint64_t capacity;
    uint64_t head;
};

struct book_send {
    char *key;          /* conv, sender and cid. */
    uint64_t acked_seq; /* 0: not acknowledged. */
    uint64_t seen_seq;  /* 0: not seen. */
};

static struct slice conv_key(const void *thing)
{
    return slice_string(((const struct book_conv *)thing)->id);
}

static struct slice send_key(const void *thing)
{
    return slice_string(((const struct book_send *)thing)->key);
}

void book_init(struct book *b, struct world *world)
{
    memset(b, 0, sizeof(*b));
    b->world = world;
    map_init(&b->convs, conv_key);
    map_init(&b->sends, send_key);
}

void book_fini(struct book *b)
{
    size_t at = 0;
    for (struct book_conv *c; (c = map_next(&b->convs, &at)) != NULL;) {
        mem_free(c->id);
        mem_free(c->entries);
        mem_free(c);
    }
    at = 0;
    for (struct book_send *s; (s = map_next(&b->sends, &at)) != NULL;) {
        mem_free(s->key);
        mem_free(s);
    }
    map_fini(&b->convs);
    map_fini(&b->sends);
}

static struct book_conv *get_conv(struct book *b, struct slice id)
{
    struct book_conv *conv = map_get(&b->convs, id);
    if (conv == NULL) {
        conv = mem_new(struct book_conv);
        conv->id = mem_string(id.base, id.size);
        map_put(&b->convs, conv);
    }
    return conv;
}

static struct book_send *get_send(struct book *b, struct slice conv, struct slice sender,
                                  struct slice cid, bool make)
{
    struct buf *key = buf_new(128);
    buf_append_slice(key, conv);
    buf_append_byte(key, ' ');
    buf_append_slice(key, sender);
    buf_append_byte(key, ' ');
    buf_append_slice(key, cid);
    struct book_send *send = map_get(&b->sends, buf_slice(key));
    if (send == NULL && make) {
        send = mem_new(struct book_send);
        send->key = mem_string((const char *)key->bytes, key->size);
        map_put(&b->sends, send);
    }
    buf_unref(&key);
    return send;
}

void book_invoked(struct book *b, struct slice conv, struct slice sender, struct slice cid)
{
    get_send(b, conv, sender, cid, true);
}

void book_acked(struct book *b, struct slice conv, struct slice sender, struct slice cid,
                uint64_t seq)
{
    struct book_send *send = get_send(b, conv, sender, cid, false);
    if (send == NULL)
        world_violation(b->world, "C5: acknowledged what was never sent: %.*s", SLICE_ARGS(cid));
    if (seq == 0 || (send->acked_seq != 0 && send->acked_seq != seq))
        world_violation(b->world, "C2: %s acknowledged at %lu, then at %lu", send->key,
                        send->acked_seq, seq);
    if (send->seen_seq != 0 && send->seen_seq != seq)
        world_violation(b->world, "C2: %s stands at %lu, acknowledged at %lu", send->key,
                        send->seen_seq, seq);
    if (send->acked_seq == 0)
        b->acked++;
    send->acked_seq = seq;
}

void book_seen(struct book *b, struct slice conv, uint64_t seq, struct slice sender,
               struct slice cid, struct slice raw)
{
    struct book_conv *c = get_conv(b, conv);
    if (seq >= c->capacity) {
        uint64_t capacity = c->capacity == 0 ? 64 : c->capacity;
        while (capacity <= seq)
            capacity *= 2;
        c->entries = mem_resize(c->entries, capacity * sizeof(*c->entries));
        memset(c->entries + c->capacity, 0, (capacity - c->capacity) * sizeof(*c->entries));
        c->capacity = capacity;
    }
    b->delivered++;
    uint64_t hash = map_hash(raw) | 1;
    struct book_entry *entry = &c->entries[seq];
    if (entry->hash != 0 && entry->hash != hash)
        world_violation(b->world, "C3: two entries at %s %lu, the newer one %.*s", c->id, seq,
                        SLICE_ARGS(raw));
    if (entry->hash != 0)
        return;
    entry->hash = hash;
    if (seq > c->head)
        c->head = seq;
    if (cid.base == NULL)
        return;
    struct book_send *send = get_send(b, conv, sender, cid, false);
    if (send == NULL)
        world_violation(b->world, "C5: phantom entry %s %lu: %.*s", c->id, seq, SLICE_ARGS(raw));
    if ((send->seen_seq != 0 && send->seen_seq != seq) ||
        (send->acked_seq != 0 && send->acked_seq != seq))
        world_violation(b->world, "C2: %s stands at %lu and at %lu", send->key,
                        send->seen_seq != 0 ? send->seen_seq : send->acked_seq, seq);
    send->seen_seq = seq;
    entry->send = send;
}

uint64_t book_head(struct book *b, struct slice conv)
{
    const struct book_conv *c = map_get(&b->convs, conv);
    return c != NULL ? c->head : 0;
}

void book_close(struct book *b)
{
    size_t at = 0;
    for (struct book_conv *c; (c = map_next(&b->convs, &at)) != NULL;)
        for (uint64_t seq = 1; seq <= c->head; seq++)
            if (c->entries[seq].hash == 0)
                world_violation(b->world, "C4: nobody saw %s %lu of %lu", c->id, seq, c->head);
    at = 0;
    for (struct book_send *s; (s = map_next(&b->sends, &at)) != NULL;) {
        if (s->acked_seq != 0 && s->seen_seq != s->acked_seq)
            world_violation(b->world, "C1: %s was acknowledged at %lu and is not there", s->key,
                            s->acked_seq);
        if (s->acked_seq == 0)
            world_violation(b->world, "C11: %s was never acknowledged", s->key);
    }
}
