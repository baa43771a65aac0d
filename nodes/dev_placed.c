#include "nodes/dev_placed.h"

#include <inttypes.h>
#include <stdio.h>

#include "gateway/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "nodes/router/placement.h"

/* What routers tell of a group. */
struct group {
    bool is_led;    /* By one who counts enough voters. */
    uint32_t known; /* Routers whose replica knows of enough voters. */
};

/* Names and states need no escapes. */
static bool is_text(struct json_value value, const char *text)
{
    return value.type == JSON_STRING &&
           slice_equals(slice_of(value.raw.base + 1, value.raw.size - 2), text);
}

static bool has_text(struct json_value object, const char *name, const char *text)
{
    struct json_value value;
    return json_get(object, name, &value) && is_text(value, text);
}

/* Absent: nothing to walk. */
static struct json_value get_array(struct json_value object, const char *name)
{
    struct json_value value;
    if (json_get(object, name, &value) && value.type == JSON_ARRAY)
        return value;
    return (struct json_value){.type = JSON_ARRAY, .raw = slice_string("[]")};
}

/* ---- Routers ---- */

static bool find_member(struct json_value members, const char *id, struct json_value *ret_member)
{
    struct slice key;
    for (uint32_t at = 0; json_next(members, &at, &key, ret_member);)
        if (has_text(*ret_member, "id", id))
            return true;
    return false;
}

/* Those of `routers` that hold replicas. False: one is not on the list yet. */
static bool count_active(struct json_value cluster, const char *const *routers,
                         uint32_t router_count, uint32_t *ret_active, char *missing, size_t size)
{
    struct json_value members = get_array(cluster, "members"), member;
    *ret_active = 0;
    for (uint32_t i = 0; i < router_count; i++) {
        if (!find_member(members, routers[i], &member) || has_text(member, "state", "joining") ||
            has_text(member, "state", "unknown")) {
            snprintf(missing, size, "%s is not on the list of routers", routers[i]);
            return false;
        }
        *ret_active += has_text(member, "state", "active");
    }
    return true;
}

/* Of the committed list, which not every router has heard. */
static uint32_t replicas_of(struct json_value answers)
{
    struct json_value answer, table;
    struct slice key;
    uint64_t replicas = 0;
    for (uint32_t at = 0; json_next(answers, &at, &key, &answer);)
        if (json_get(answer, "table", &table) && json_get_u64(table, "replicas") > replicas)
            replicas = json_get_u64(table, "replicas");
    return replicas < LIMIT_REPLICAS_MAX ? (uint32_t)replicas : LIMIT_REPLICAS_MAX;
}

/* ---- Groups ---- */

/* "r2~" does not vote. */
static uint32_t count_voters(struct json_value replicas)
{
    struct json_value item;
    struct slice key;
    uint32_t count = 0;
    for (uint32_t at = 0; json_next(replicas, &at, &key, &item);)
        count += item.type == JSON_STRING && item.raw.base[item.raw.size - 2] != '~';
    return count;
}

static void read_group(struct group *groups, struct json_value item, uint32_t wanted)
{
    struct json_value shard;
    uint64_t number;
    if (!json_get(item, "shard", &shard) || shard.type != JSON_NUMBER ||
        !json_u64(shard, &number) || number > CONTROL_GROUP ||
        count_voters(get_array(item, "replicas")) < wanted)
        return;
    groups[number].known++;
    groups[number].is_led |= has_text(item, "state", "leader");
}

static void read_groups(struct group *groups, struct json_value answers, uint32_t wanted)
{
    struct json_value answer, item;
    struct slice key;
    for (uint32_t at = 0; json_next(answers, &at, &key, &answer);) {
        struct json_value told = get_array(answer, "groups");
        for (uint32_t i = 0; json_next(told, &i, &key, &item);)
            read_group(groups, item, wanted);
    }
}

static bool judge(const struct group *groups, uint64_t shards, uint32_t wanted, char *missing,
                  size_t size)
{
    uint64_t absent = 0;
    bool has_control = groups[CONTROL_GROUP].is_led && groups[CONTROL_GROUP].known >= wanted;
    for (uint64_t i = 0; i < shards; i++)
        absent += !groups[i].is_led || groups[i].known < wanted;
    if (absent == 0 && has_control)
        return true;
    snprintf(missing, size,
             "%" PRIu64 " of %" PRIu64 " shards%s have no leader, or fewer than %u voter%s", absent,
             shards, has_control ? "" : " and the control group", wanted, wanted == 1 ? "" : "s");
    return false;
}

bool dev_placed_check(struct slice json, const char *const *routers, uint32_t router_count,
                      char *missing, size_t size)
{
    struct json_value cluster = {.type = JSON_OBJECT, .raw = json}, shards;
    const char *reason;
    uint64_t total = 0;
    if (json_check(json, &reason) == RC_OK && json.base[0] == '{' &&
        json_get(cluster, "shards", &shards))
        total = json_get_u64(shards, "total");
    if (total == 0 || total > LIMIT_SHARDS_MAX) {
        snprintf(missing, size, "no router tells how the cluster is");
        return false;
    }
    uint32_t active;
    if (!count_active(cluster, routers, router_count, &active, missing, size))
        return false;
    struct json_value answers = get_array(cluster, "routers");
    uint32_t wanted = placement_voters(replicas_of(answers), active);
    struct group *groups = mem_zero((CONTROL_GROUP + 1) * sizeof(*groups));
    read_groups(groups, answers, wanted);
    bool is_placed = judge(groups, total, wanted, missing, size);
    mem_free(groups);
    return is_placed;
}
