#include "nodes/router/machine_parts.h"

static uint64_t retention(uint64_t before, uint64_t asked)
{
    return asked == 0 ? before : asked == RETAIN_FOREVER ? 0 : asked;
}

/* Two who talk have neither title nor newcomers; but how long it is kept, the operator may say. */
static bool is_for_direct(const struct msg_cmd_info *c)
{
    return c->as_server != 0 && c->title.base == NULL && c->meta.base == NULL && c->history == 0;
}

static void set_rules(struct machine *m, struct machine_conv *conv, const struct msg_cmd_info *c,
                      struct row_conv *info)
{
    if (c->history != 0)
        info->history = c->history;
    info->retain_ms = retention(info->retain_ms, c->retain_ms);
    info->retain_count = retention(info->retain_count, c->retain_count);
    const uint64_t rules[] = {info->history, info->retain_ms, info->retain_count};
    machine_digest_numbers(m, rules, 3); /* No entry bears them. */
    if (info->retain_ms != conv->info.retain_ms || info->retain_count != conv->info.retain_count)
        machine_retain(m, conv->id, info);
}

/* Title and meta are told to everyone by an entry; how much is shown and kept is not. */
enum rc machine_change_info(struct machine *m, const struct msg_cmd_info *c,
                            struct machine_result *result)
{
    struct machine_conv *conv;
    struct machine_member *asker;
    enum rc rc = machine_enter(m, c->conv, c->user, c->as_server != 0, &conv, &asker, result);
    if (rc != RC_OK || result->rc != RC_OK)
        return rc;
    if (conv->info.kind != CONV_GROUP && !is_for_direct(c))
        return machine_refuse(result, RC_FORBIDDEN, "a direct conversation stays as it is");
    if (asker != NULL && asker->row.role < ROLE_ADMIN)
        return machine_refuse(result, RC_FORBIDDEN, "this takes an admin or owner");
    struct row_conv info = conv->info;
    set_rules(m, conv, c, &info);
    if (c->title.base != NULL)
        info.title = c->title;
    if (c->meta.base != NULL)
        info.meta = c->meta;
    machine_cache_set_info(m, conv, &info);
    if (c->title.base == NULL && c->meta.base == NULL)
        return RC_OK;
    struct msg_entry entry = {
        .type = ENTRY_INFO,
        .from = machine_author(c->user),
        .title = c->title,
        .meta = c->meta,
    };
    machine_log_append(m, conv, &entry);
    result->seq = entry.seq;
    result->ts = entry.ts;
    return RC_OK;
}
