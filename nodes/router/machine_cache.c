#include "mesh/base/check.h"
#include "mesh/base/mem.h"
#include "nodes/router/machine_parts.h"

#define FRESH_KEPT_MAX 64u

static struct slice conv_key(const void *thing)
{
    return ((const struct machine_conv *)thing)->id;
}

static struct slice member_key(const void *thing)
{
    return ((const struct machine_member *)thing)->user;
}

/* One allocation: the thing, then its name. */
static void *new_named(size_t size, struct slice name, size_t slice_offset)
{
    char *thing = mem_zero(size + name.size);
    memcpy(thing + size, name.base, name.size);
    struct slice own = slice_of(thing + size, name.size);
    memcpy(thing + slice_offset, &own, sizeof(own));
    return thing;
}

#define NEW_NAMED(type, member, name) new_named(sizeof(type), name, offsetof(type, member))

/* ---- Devices: only those that changed in this turn are in memory. ---- */

static void free_devices(struct machine_member *member)
{
    while (member->devices != NULL) {
        struct machine_device *device = member->devices;
        member->devices = device->next;
        mem_free(device);
    }
}

enum rc machine_cache_device(struct machine *m, struct machine_conv *conv,
                             struct machine_member *member, struct slice id,
                             struct machine_device **ret_device)
{
    for (struct machine_device *d = member->devices; d != NULL; d = d->next)
        if (slice_equal(d->id, id)) {
            *ret_device = d;
            return RC_OK;
        }
    struct keyspace_key key;
    struct row_device row = {0};
    keyspace_device(&key, &m->keys, conv->id, member->user, id);
    if (!member->devices_removed && !conv->members_removed) {
        enum rc rc = machine_rows_get(m, &key, &row_device_desc, &row);
        if (rc != RC_OK && rc != RC_NOT_FOUND)
            return rc;
    }
    struct machine_device *device = NEW_NAMED(struct machine_device, id, id);
    device->row = row;
    device->next = member->devices;
    member->devices = device;
    machine_cache_touch_member(m, conv, member); /* So that it is freed at the end of the turn. */
    *ret_device = device;
    return RC_OK;
}

/* ---- Members ---- */

static void free_member(struct machine_member *member)
{
    free_devices(member);
    list_remove(&member->link);
    mem_free(member);
}

static struct machine_member *put_member(struct machine_conv *conv, struct slice user)
{
    struct machine_member *member = NEW_NAMED(struct machine_member, user, user);
    list_init(&member->link);
    map_put(&conv->members, member);
    return member;
}

enum rc machine_cache_member(struct machine *m, struct machine_conv *conv, struct slice user,
                             struct machine_member **ret_member)
{
    struct machine_member *known = map_get(&conv->members, user);
    *ret_member = known == NULL || known->is_forgotten ? NULL : known;
    if (known != NULL || conv->written_seq == 0 || conv->members_removed)
        return RC_OK;
    struct keyspace_key key;
    struct row_member row;
    struct row_cursor cursor = {0};
    keyspace_names(&key, &m->keys, KEYSPACE_MEMBER, conv->id, user);
    enum rc rc = machine_rows_get(m, &key, &row_member_desc, &row);
    if (rc == RC_NOT_FOUND)
        return RC_OK;
    if (rc != RC_OK)
        return rc;
    keyspace_names(&key, &m->keys, KEYSPACE_CURSOR, conv->id, user);
    rc = machine_rows_get(m, &key, &row_cursor_desc, &cursor);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        return rc;
    struct machine_member *member = put_member(conv, user);
    member->row = row;
    member->cursor = cursor;
    *ret_member = member;
    return RC_OK;
}

static void forget(struct machine *m, struct machine_conv *conv, struct machine_member *member)
{
    free_devices(member);
    member->row = (struct row_member){.left = member->row.left != 0 ? member->row.left : 1};
    member->cursor = (struct row_cursor){0};
    member->row_changed = false;
    member->cursor_changed = false;
    member->is_forgotten = true;
    member->devices_removed = true;
    machine_cache_touch_member(m, conv, member);
}

struct machine_member *machine_cache_add_member(struct machine *m, struct machine_conv *conv,
                                                struct slice user)
{
    struct machine_member *member = map_get(&conv->members, user);
    if (member == NULL)
        member = put_member(conv, user);
    CHECK(member->is_forgotten || member->row.joined == 0);
    member->is_forgotten = false;
    machine_cache_touch_member(m, conv, member);
    return member;
}

/* Removed at once, and not at the flush: what he does later in this turn is put behind it. */
void machine_cache_forget_member(struct machine *m, struct machine_conv *conv,
                                 struct machine_member *member)
{
    struct keyspace_key from;
    struct keyspace_key to;
    keyspace_names(&from, &m->keys, KEYSPACE_MEMBER, conv->id, member->user);
    m->batch->ops->remove(m->batch, KV_STATE, keyspace_slice(&from));
    keyspace_names(&from, &m->keys, KEYSPACE_CURSOR, conv->id, member->user);
    m->batch->ops->remove(m->batch, KV_STATE, keyspace_slice(&from));
    keyspace_names(&from, &m->keys, KEYSPACE_DEVICE, conv->id, member->user);
    to = from;
    keyspace_to_end(&to);
    kv_remove_range(m->batch, KV_STATE, keyspace_slice(&from), keyspace_slice(&to));
    forget(m, conv, member);
}

void machine_cache_forget_members(struct machine *m, struct machine_conv *conv)
{
    static const enum keyspace_table tables[] = {KEYSPACE_MEMBER, KEYSPACE_CURSOR, KEYSPACE_DEVICE};
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        struct keyspace_key from;
        struct keyspace_key to;
        keyspace_name(&from, &m->keys, tables[i], conv->id);
        to = from;
        keyspace_to_end(&to);
        kv_remove_range(m->batch, KV_STATE, keyspace_slice(&from), keyspace_slice(&to));
    }
    struct machine_member *member;
    for (size_t at = 0; (member = map_next(&conv->members, &at)) != NULL;)
        forget(m, conv, member);
    conv->members_removed = true;
    machine_cache_touch(m, conv);
}

/* A conversation of very many members that is never idle would gather them all. Those that changed
 * in this turn stay, however many: the next walk comes when as many again have been added, so that
 * a command costs the same in a group of any size. */
static void drop_clean_members(struct machine_conv *conv)
{
    struct map kept;
    map_init(&kept, member_key);
    struct machine_member *member;
    for (size_t at = 0; (member = map_next(&conv->members, &at)) != NULL;) {
        if (list_is_empty(&member->link))
            free_member(member);
        else
            map_put(&kept, member);
    }
    map_fini(&conv->members);
    conv->members = kept;
    conv->members_max = (uint32_t)kept.count * 2 + MACHINE_CACHE_MEMBERS;
}

/* ---- Conversations ---- */

static struct machine_conv *new_conv(struct slice id)
{
    struct machine_conv *conv = NEW_NAMED(struct machine_conv, id, id);
    list_init(&conv->link);
    list_init(&conv->unwritten);
    map_init(&conv->members, member_key);
    conv->members_max = MACHINE_CACHE_MEMBERS;
    return conv;
}

static void free_conv(struct machine *m, struct machine_conv *conv)
{
    struct machine_member *member;
    for (size_t at = 0; (member = map_next(&conv->members, &at)) != NULL;)
        free_member(member);
    map_fini(&conv->members);
    map_remove(&m->convs, conv->id);
    list_remove(&conv->link);
    buf_unref(&conv->info_value);
    mem_free(conv->fresh);
    mem_free(conv);
}

static void trim(struct machine *m)
{
    while (m->clean_count > m->clean_max) {
        free_conv(m, LIST_FIRST(&m->clean, struct machine_conv, link));
        m->clean_count--;
    }
}

void machine_cache_init(struct machine *m)
{
    map_init(&m->convs, conv_key);
    list_init(&m->clean);
    list_init(&m->unwritten);
    m->clean_max = MACHINE_CACHE_CONVS;
}

void machine_cache_fini(struct machine *m)
{
    LIST_EACH(node, &m->clean)
    free_conv(m, LIST_ENTRY(node, struct machine_conv, link));
    LIST_EACH(node, &m->unwritten)
    free_conv(m, LIST_ENTRY(node, struct machine_conv, link));
    map_fini(&m->convs);
}

static enum rc load(struct machine *m, struct slice id, struct machine_conv **ret_conv)
{
    struct keyspace_key key;
    struct row_head head;
    *ret_conv = NULL;
    keyspace_name(&key, &m->keys, KEYSPACE_HEAD, id);
    enum rc rc = machine_rows_get(m, &key, &row_head_desc, &head);
    if (rc == RC_NOT_FOUND)
        return RC_OK;
    if (rc != RC_OK)
        return rc;
    struct machine_conv *conv = new_conv(id);
    conv->head = head;
    conv->written_seq = head.seq;
    conv->info_value = buf_new(0);
    keyspace_name(&key, &m->keys, KEYSPACE_CONV, id);
    rc = m->kv->ops->get(m->kv, KV_STATE, keyspace_slice(&key), conv->info_value);
    if (rc == RC_OK)
        rc = rows_decode(keyspace_slice(&key), buf_slice(conv->info_value), &row_conv_desc,
                         &conv->info);
    if (rc != RC_OK) {
        free_conv(m, conv);
        return rc == RC_NOT_FOUND ? RC_CORRUPT : rc; /* A head without the rest. */
    }
    map_put(&m->convs, conv);
    list_append(&m->clean, &conv->link);
    m->clean_count++;
    *ret_conv = conv;
    return RC_OK;
}

enum rc machine_cache_conv(struct machine *m, struct slice id, struct machine_conv **ret_conv)
{
    enum rc rc = machine_cache_any_conv(m, id, ret_conv);
    if (rc == RC_OK && *ret_conv != NULL && (*ret_conv)->info.dropped != 0)
        *ret_conv = NULL;
    return rc;
}

enum rc machine_cache_any_conv(struct machine *m, struct slice id, struct machine_conv **ret_conv)
{
    trim(m); /* Before the lookup: what this call returns stays until the next. */
    struct machine_conv *conv = map_get(&m->convs, id);
    if (conv == NULL)
        return load(m, id, ret_conv);
    if (!conv->is_unwritten) {
        list_remove(&conv->link);
        list_append(&m->clean, &conv->link);
    }
    if (conv->members.count > conv->members_max)
        drop_clean_members(conv);
    *ret_conv = conv;
    return RC_OK;
}

void machine_cache_touch(struct machine *m, struct machine_conv *conv)
{
    m->unflushed = true;
    if (conv->is_unwritten)
        return;
    conv->is_unwritten = true;
    list_remove(&conv->link);
    list_append(&m->unwritten, &conv->link);
    m->clean_count--;
}

void machine_cache_touch_member(struct machine *m, struct machine_conv *conv,
                                struct machine_member *member)
{
    machine_cache_touch(m, conv);
    if (list_is_empty(&member->link))
        list_append(&conv->unwritten, &member->link);
}

struct machine_conv *machine_cache_create(struct machine *m, struct slice id,
                                          const struct row_conv *info)
{
    struct machine_conv *conv = new_conv(id);
    conv->is_unwritten = true;
    map_put(&m->convs, conv);
    list_append(&m->unwritten, &conv->link);
    machine_cache_set_info(m, conv, info);
    return conv;
}

void machine_cache_set_info(struct machine *m, struct machine_conv *conv,
                            const struct row_conv *info)
{
    struct keyspace_key key;
    struct buf *value = buf_new(128);
    keyspace_name(&key, &m->keys, KEYSPACE_CONV, conv->id);
    rows_encode(value, keyspace_slice(&key), &row_conv_desc, info);
    enum rc rc = rows_decode(keyspace_slice(&key), buf_slice(value), &row_conv_desc, &conv->info);
    CHECK(rc == RC_OK); /* We wrote it one line above. */
    buf_unref(&conv->info_value);
    conv->info_value = value;
    conv->info_changed = true;
    machine_cache_touch(m, conv);
}

/* ---- The end of a turn ---- */

static void flush_member(struct machine *m, struct kv_batch *batch, struct machine_conv *conv,
                         struct machine_member *member)
{
    struct keyspace_key key;
    if (member->row_changed) {
        keyspace_names(&key, &m->keys, KEYSPACE_MEMBER, conv->id, member->user);
        machine_rows_put(m, batch, &key, &row_member_desc, &member->row);
    }
    if (member->cursor_changed) {
        keyspace_names(&key, &m->keys, KEYSPACE_CURSOR, conv->id, member->user);
        machine_rows_put(m, batch, &key, &row_cursor_desc, &member->cursor);
    }
    for (struct machine_device *d = member->devices; d != NULL; d = d->next) {
        if (!d->changed)
            continue;
        keyspace_device(&key, &m->keys, conv->id, member->user, d->id);
        machine_rows_put(m, batch, &key, &row_device_desc, &d->row);
        d->changed = false;
    }
    member->row_changed = false;
    member->cursor_changed = false;
}

void machine_cache_flush(struct machine *m, struct kv_batch *batch)
{
    LIST_EACH(node, &m->unwritten)
    {
        struct machine_conv *conv = LIST_ENTRY(node, struct machine_conv, link);
        struct keyspace_key key;
        if (conv->info_changed) {
            keyspace_name(&key, &m->keys, KEYSPACE_CONV, conv->id);
            kv_put(batch, KV_STATE, keyspace_slice(&key), buf_slice(conv->info_value));
        }
        if (conv->head_changed) {
            keyspace_name(&key, &m->keys, KEYSPACE_HEAD, conv->id);
            machine_rows_put(m, batch, &key, &row_head_desc, &conv->head);
        }
        conv->info_changed = false;
        conv->head_changed = false;
        LIST_EACH(member, &conv->unwritten)
        flush_member(m, batch, conv, LIST_ENTRY(member, struct machine_member, link));
    }
}

/* A busy conversation has as many the next turn; an array of a storm is given back. */
static void drop_fresh(struct machine_conv *conv)
{
    conv->fresh_count = 0;
    if (conv->fresh_capacity <= FRESH_KEPT_MAX)
        return;
    mem_free(conv->fresh);
    conv->fresh = NULL;
    conv->fresh_capacity = 0;
}

void machine_cache_written(struct machine *m)
{
    LIST_EACH(node, &m->unwritten)
    {
        struct machine_conv *conv = LIST_ENTRY(node, struct machine_conv, link);
        LIST_EACH(member, &conv->unwritten)
        {
            struct machine_member *written = LIST_ENTRY(member, struct machine_member, link);
            free_devices(written);
            written->devices_removed = false;
            list_remove(member);
        }
        conv->written_seq = conv->head.seq;
        drop_fresh(conv);
        conv->is_unwritten = false;
        conv->members_removed = false;
        list_remove(&conv->link);
        list_append(&m->clean, &conv->link);
        m->clean_count++;
    }
    trim(m);
}
