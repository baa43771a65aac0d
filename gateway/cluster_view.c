#include "gateway/cluster_view.h"

#include <stdio.h>
#include <stdlib.h>

#include "gateway/json.h"
#include "mesh/base/mem.h"
#include "mesh/wire/key.h"

#define GROUPS_MAX (CONTROL_GROUP + 1)

/* What is known of a group while the answers are read. */
struct group {
    bool has_leader;
    uint64_t term;
    struct json_value replicas; /* Of that leader's answer. */
};

struct reading {
    struct cluster_view *view;
    struct group *groups; /* GROUPS_MAX of them. */
};

/* ---- JSON ---- */

/* What is between the quotes: names of nodes and states need no escapes. */
static struct slice text_of(struct json_value value)
{
    if (value.type != JSON_STRING)
        return slice_of("", 0);
    return slice_of(value.raw.base + 1, value.raw.size - 2);
}

/* Absent, or longer than any that is meant: `into` is left alone. */
static void get_text(struct json_value object, const char *name, char *into, size_t size)
{
    struct json_value value;
    if (!json_get(object, name, &value) || value.type != JSON_STRING)
        return;
    struct buf *scratch = buf_new(value.raw.size);
    struct slice text = json_unescape(value.raw, scratch);
    if (text.size < size)
        snprintf(into, size, "%.*s", SLICE_ARGS(text));
    buf_unref(&scratch);
}

/* ---- Routers ---- */

static struct cluster_view_router *find(const struct cluster_view *view, struct slice id)
{
    for (uint32_t i = 0; i < view->router_count; i++)
        if (slice_equals(id, view->routers[i].id))
            return &view->routers[i];
    return NULL;
}

/* NULL: it is no id, or there are too many. */
static struct cluster_view_router *find_or_add(struct cluster_view *view, struct slice id)
{
    struct cluster_view_router *r = find(view, id);
    if (r != NULL || !key_node_is_valid(id) || view->router_count == LIMIT_ROUTERS_MAX)
        return r;
    view->routers = mem_resize(view->routers, (view->router_count + 1) * sizeof(*view->routers));
    r = &view->routers[view->router_count++];
    *r = (struct cluster_view_router){.has_answered = false};
    snprintf(r->id, sizeof(r->id), "%.*s", SLICE_ARGS(id));
    return r;
}

/* Every router has heard the committed list, in some version of it. *ret_version is 0 where it has
 * not. */
static bool find_list(struct json_value answer, struct json_value *ret_list, uint64_t *ret_version)
{
    struct json_value table;
    *ret_version = json_get(answer, "table", &table) ? json_get_u64(table, "version") : 0;
    return json_get(answer, "routers", ret_list) && ret_list->type == JSON_ARRAY;
}

static void read_list(struct reading *reading, struct json_value list)
{
    struct json_value item, id;
    struct slice key;
    reading->view->has_list = true;
    for (uint32_t at = 0; json_next(list, &at, &key, &item);) {
        if (!json_get(item, "id", &id))
            continue;
        struct cluster_view_router *r = find_or_add(reading->view, text_of(id));
        if (r == NULL)
            continue;
        get_text(item, "zone", r->zone, sizeof(r->zone));
        get_text(item, "state", r->state, sizeof(r->state));
        r->weight = (uint32_t)json_get_u64(item, "weight");
    }
}

/* The newest version counts. */
static void choose_list(struct reading *reading, const struct cluster_view_answer *answers,
                        uint32_t count)
{
    uint64_t newest = 0;
    struct json_value list, best = {.type = JSON_NULL};
    for (uint32_t i = 0; i < count; i++) {
        struct json_value answer = {.type = JSON_OBJECT, .raw = answers[i].json};
        uint64_t version;
        if (!find_list(answer, &list, &version) || version <= newest)
            continue;
        newest = version;
        best = list;
    }
    if (newest > 0)
        read_list(reading, best);
}

/* Whom a router remembers, also while nobody leads who could tell the list. */
static void read_remembered(struct cluster_view *view, struct json_value answer)
{
    struct json_value list, item, id;
    struct slice key;
    if (!json_get(answer, "remembered", &list) || list.type != JSON_ARRAY)
        return;
    for (uint32_t at = 0; json_next(list, &at, &key, &item);) {
        struct cluster_view_router *r =
            json_get(item, "id", &id) ? find_or_add(view, text_of(id)) : NULL;
        if (r != NULL && r->address[0] == '\0')
            get_text(item, "address", r->address, sizeof(r->address));
    }
}

static void read_self(struct cluster_view *view, struct json_value answer, struct slice node)
{
    struct cluster_view_router *r = find_or_add(view, node);
    struct json_value part;
    if (r == NULL)
        return;
    get_text(answer, "waits_for", r->waits_for, sizeof(r->waits_for));
    if (r->waits_for[0] != '\0')
        return;
    r->has_answered = true;
    view->answered++;
    if (json_get(answer, "shards", &part)) {
        uint64_t total = json_get_u64(part, "total");
        r->led = json_get_u64(part, "led");
        view->shards = total > view->shards ? total : view->shards;
    }
    r->own = json_get_u64(answer, "replicas");
    if (json_get(answer, "moves", &part)) {
        r->pending = json_get_u64(part, "pending");
        r->done = json_get_u64(part, "done");
        r->bytes = json_get_u64(part, "bytes");
    }
    if (r->zone[0] == '\0')
        get_text(answer, "zone", r->zone, sizeof(r->zone));
}

/* ---- Groups ---- */

static void read_group(struct reading *reading, struct json_value item)
{
    struct json_value state, shard, replicas;
    uint64_t number;
    if (!json_get(item, "state", &state) || !slice_equals(text_of(state), "leader") ||
        !json_get(item, "shard", &shard) || shard.type != JSON_NUMBER ||
        !json_u64(shard, &number) || number >= GROUPS_MAX)
        return;
    struct group *group = &reading->groups[number];
    uint64_t term = json_get_u64(item, "term");
    if (group->has_leader && term <= group->term)
        return;
    group->has_leader = true;
    group->term = term;
    group->replicas = json_get(item, "replicas", &replicas) && replicas.type == JSON_ARRAY
                          ? replicas
                          : (struct json_value){.type = JSON_NULL};
}

static void read_groups(struct reading *reading, struct json_value answer)
{
    struct json_value groups, item;
    struct slice key;
    if (!json_get(answer, "groups", &groups) || groups.type != JSON_ARRAY)
        return;
    for (uint32_t at = 0; json_next(groups, &at, &key, &item);)
        read_group(reading, item);
}

/* "r2~" is r2 as well, with a copy that does not vote. */
static void count_replicas(struct cluster_view *view, struct json_value replicas)
{
    struct json_value item;
    struct slice key;
    if (replicas.type != JSON_ARRAY)
        return;
    for (uint32_t at = 0; json_next(replicas, &at, &key, &item);) {
        struct slice id = text_of(item);
        if (id.size > 0 && id.base[id.size - 1] == '~')
            id.size--;
        struct cluster_view_router *r = find_or_add(view, id);
        if (r != NULL)
            r->replicas++;
    }
}

static void count_groups(struct reading *reading)
{
    struct cluster_view *view = reading->view;
    for (uint32_t i = 0; i < GROUPS_MAX; i++) {
        if (!reading->groups[i].has_leader)
            continue;
        view->groups_known++;
        view->led += i != CONTROL_GROUP;
        view->has_control |= i == CONTROL_GROUP;
        count_replicas(view, reading->groups[i].replicas);
    }
}

/* ---- Life ---- */

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct cluster_view_router *)a)->id,
                  ((const struct cluster_view_router *)b)->id);
}

void cluster_view_init(struct cluster_view *view, const struct cluster_view_answer *answers,
                       uint32_t count)
{
    *view = (struct cluster_view){.router_count = 0};
    struct reading reading = {.view = view};
    reading.groups = mem_zero(GROUPS_MAX * sizeof(*reading.groups));
    for (uint32_t i = 0; i < count; i++) {
        struct slice node = slice_string(answers[i].node);
        struct json_value answer = {.type = JSON_OBJECT, .raw = answers[i].json};
        read_self(view, answer, node);
        read_remembered(view, answer);
        read_groups(&reading, answer);
    }
    choose_list(&reading, answers, count);
    count_groups(&reading);
    mem_free(reading.groups);
    for (uint32_t i = 0; i < view->router_count; i++) {
        view->pending += view->routers[i].pending;
        view->bytes += view->routers[i].bytes;
        if (view->groups_known == 0)
            view->led += view->routers[i].led; /* Nobody told of groups: the counts have to do. */
    }
    if (view->router_count > 0)
        qsort(view->routers, view->router_count, sizeof(*view->routers), compare);
}

void cluster_view_fini(struct cluster_view *view)
{
    mem_free(view->routers);
    view->routers = NULL;
}

const struct cluster_view_router *cluster_view_router(const struct cluster_view *view,
                                                      struct slice id)
{
    return find(view, id);
}

const char *cluster_view_state(const struct cluster_view *view,
                               const struct cluster_view_router *router)
{
    if (router->state[0] != '\0')
        return router->state;
    return view->has_list || router->waits_for[0] != '\0' ? "joining" : "unknown";
}

bool cluster_view_is_whole(const struct cluster_view *view)
{
    return view->shards > 0 && view->groups_known == view->shards + 1;
}
