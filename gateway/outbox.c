#include "gateway/outbox.h"

#include "gateway/frame.h"
#include "mesh/base/check.h"
#include "mesh/base/mem.h"

void outbox_init(struct outbox *o)
{
    memset(o, 0, sizeof(*o));
    o->frames = o->small;
    o->capacity = OUTBOX_INLINE;
}

static struct outbox_frame *at(const struct outbox *o, uint32_t index)
{
    return &o->frames[(o->head + index) & (o->capacity - 1)];
}

static void shrink(struct outbox *o)
{
    if (o->frames != o->small)
        mem_free(o->frames);
    o->frames = o->small;
    o->capacity = OUTBOX_INLINE;
    o->head = 0;
}

void outbox_fini(struct outbox *o)
{
    outbox_consume(o, o->count);
}

static void grow(struct outbox *o)
{
    struct outbox_frame *frames = mem_alloc(sizeof(*frames) * o->capacity * 2);
    for (uint32_t i = 0; i < o->count; i++)
        frames[i] = *at(o, i);
    if (o->frames != o->small)
        mem_free(o->frames);
    o->frames = frames;
    o->capacity *= 2;
    o->head = 0;
}

enum rc outbox_push(struct outbox *o, struct buf *frame, void *owner, uint64_t seq,
                    uint32_t bytes_max)
{
    if (o->count > 0 && (uint64_t)o->bytes + frame->size > bytes_max)
        return RC_FULL;
    if (o->count == o->capacity)
        grow(o);
    *at(o, o->count) = (struct outbox_frame){buf_ref(frame), owner, seq};
    o->count++;
    o->bytes += (uint32_t)frame->size;
    return RC_OK;
}

void outbox_drop_owned(struct outbox *o, void (*on_drop)(void *owner, uint64_t seq))
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < o->count; i++) {
        struct outbox_frame frame = *at(o, i);
        if (frame.owner == NULL) {
            *at(o, kept++) = frame;
            continue;
        }
        o->bytes -= (uint32_t)frame.frame->size;
        buf_unref(&frame.frame);
        on_drop(frame.owner, frame.seq);
    }
    o->count = kept;
    if (kept == 0)
        shrink(o);
}

void outbox_disown(struct outbox *o, const void *owner)
{
    for (uint32_t i = 0; i < o->count; i++)
        if (at(o, i)->owner == owner)
            at(o, i)->owner = NULL;
}

uint32_t outbox_gather(const struct outbox *o, bool batch, struct buf *scratch,
                       struct slice *ret_bytes)
{
    CHECK(o->count > 0);
    uint32_t count = 1;
    size_t size = at(o, 0)->frame->size;
    while (count < o->count && size + at(o, count)->frame->size <= OUTBOX_WRITE_SIZE)
        size += at(o, count++)->frame->size;
    if (count == 1) {
        *ret_bytes = buf_slice(at(o, 0)->frame);
        return 1;
    }
    buf_clear(scratch);
    if (!batch) {
        for (uint32_t i = 0; i < count; i++)
            buf_append_slice(scratch, buf_slice(at(o, i)->frame));
    } else {
        size_t payload_size = 1 + count; /* Brackets and commas. */
        for (uint32_t i = 0; i < count; i++)
            payload_size += frame_payload(at(o, i)->frame).size;
        frame_append_header(scratch, payload_size);
        for (uint32_t i = 0; i < count; i++) {
            buf_append_byte(scratch, i == 0 ? '[' : ',');
            buf_append_slice(scratch, frame_payload(at(o, i)->frame));
        }
        buf_append_byte(scratch, ']');
    }
    *ret_bytes = buf_slice(scratch);
    return count;
}

void outbox_consume(struct outbox *o, uint32_t count)
{
    CHECK(count <= o->count);
    for (uint32_t i = 0; i < count; i++) {
        struct outbox_frame *frame = at(o, i);
        o->bytes -= (uint32_t)frame->frame->size;
        buf_unref(&frame->frame);
    }
    o->head = (o->head + count) & (o->capacity - 1);
    o->count -= count;
    if (o->count == 0)
        shrink(o);
}
