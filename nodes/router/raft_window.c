#include "nodes/router/raft_window.h"

#include "mesh/base/check.h"
#include "mesh/base/mem.h"

#define ROW_HEAD_SIZE_MAX 32u /* Of the seal, term and type before the data. */

void raft_window_init(struct raft_window *w, uint32_t shard, uint64_t applied)
{
    *w = (struct raft_window){.shard = shard, .applied = applied};
}

void raft_window_fini(struct raft_window *w)
{
    raft_window_drop(w, w->applied + 1);
    mem_free(w->entries);
    w->entries = NULL;
}

/* Room at the end: by moving the window to the array's start where it fits twice, so that a move is
 * paid for by the pops before it. */
static void make_room(struct raft_window *w)
{
    if (w->start + w->count < w->capacity)
        return;
    if (w->count != 0 && w->start >= w->count) {
        memcpy(w->entries, w->entries + w->start, w->count * sizeof(*w->entries));
    } else {
        w->capacity = 2 * w->count + 4;
        struct raft_window_entry *grown = mem_alloc(w->capacity * sizeof(*grown));
        if (w->count != 0)
            memcpy(grown, w->entries + w->start, w->count * sizeof(*grown));
        mem_free(w->entries);
        w->entries = grown;
    }
    w->start = 0;
}

void raft_window_push(struct raft_window *w, const struct raft_log_entry *entry)
{
    CHECK(entry->index == raft_window_last(w) + 1);
    make_room(w);
    struct raft_window_entry *e = &w->entries[w->start + w->count++];
    e->index = entry->index;
    e->type = entry->type;
    e->term = entry->term;
    e->mark = 0;
    e->row = buf_new(entry->data.size + ROW_HEAD_SIZE_MAX);
    raft_log_entry_encode(e->row, w->shard, entry);
    e->data_start = (uint32_t)(e->row->size - entry->data.size);
}

void raft_window_pop(struct raft_window *w)
{
    CHECK(w->count > 0);
    buf_unref(&w->entries[w->start].row);
    w->start++;
    w->count--;
    w->applied++;
    if (w->count == 0)
        w->start = 0;
}

void raft_window_drop(struct raft_window *w, uint64_t index)
{
    CHECK(index > w->applied);
    while (raft_window_last(w) >= index)
        buf_unref(&w->entries[w->start + --w->count].row);
}

void raft_window_mark(struct raft_window *w, uint64_t index, uint64_t mark)
{
    CHECK(index > w->applied);
    for (; index <= raft_window_last(w); index++)
        w->entries[w->start + (uint32_t)(index - w->applied - 1)].mark = mark;
}

const struct raft_window_entry *raft_window_at(const struct raft_window *w, uint64_t index)
{
    if (index <= w->applied || index > raft_window_last(w))
        return NULL;
    return &w->entries[w->start + (uint32_t)(index - w->applied - 1)];
}

struct slice raft_window_data(const struct raft_window_entry *entry)
{
    return slice_of(entry->row->bytes + entry->data_start, entry->row->size - entry->data_start);
}
