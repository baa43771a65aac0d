#include "nodes/router_data.h"

#include <stdio.h>
#include <string.h>

#include "mesh/base/crypto.h"
#include "nodes/folder.h"
#include "nodes/tools.h"
#include "storage/rocks_kv.h"

static int check_shards(const struct config *c, uint32_t shards)
{
    if (c->source[CONFIG_OPTION_shards] != CONFIG_DEFAULT && c->shards != shards)
        return tools_fail(EXIT_MISTAKE, "--shards %u: this cluster was born with %u, for good",
                          c->shards, shards);
    return EXIT_FINE;
}

static int check_row(const struct router_data *data)
{
    const struct config *c = data->config;
    const struct node_row *row = &data->row;
    if (row->format != NODE_ROW_FORMAT)
        return tools_fail(EXIT_MISTAKE, "%s has format %u, this program writes format %u", c->data,
                          row->format, NODE_ROW_FORMAT);
    if (strcmp(row->node, c->id) != 0)
        return tools_fail(EXIT_MISTAKE, "%s belongs to node %s, not to %s", c->data, row->node,
                          c->id);
    return check_shards(c, row->shards);
}

/* Nothing is lost while a majority has it. Of two routers one alone votes in a group, and it may be
 * this one; how many there are is not known here: whom it remembered is in the store as well. */
int router_data_fail_damaged(const struct config *c, const char *what)
{
    bool has_joins = c->join.count > 0;
    return tools_fail(
        EXIT_FAILED,
        "%s; where every shard has a leader without it (chatmesh status), move %s away "
        "and start again%s: the others fill it anew; else put a copy of it back",
        what, c->data, has_joins ? "" : " with --join");
}

int router_data_open(struct router_data *data, const struct config *c, void (*wake)(void *context),
                     void *wake_context)
{
    /* RocksDB's, in the order it makes them: a process killed at its very start leaves only a log.
     */
    static const char *const marks[] = {"LOG", "LOCK", "CURRENT", NULL};
    struct sentence sentence = {""};
    data->config = c;
    if (folder_make(c->data, &sentence) != RC_OK ||
        folder_is_ours(c->data, marks, &sentence) != RC_OK)
        return tools_fail(EXIT_MISTAKE, "%s", sentence.text);
    /* RocksDB writes its log into tables when it opens; in Debian's build it aborts the process
     * where not even its diary finds room. */
    if (folder_has_room(c->data, FOLDER_ROOM_BYTES_MIN, ".log", &sentence) != RC_OK)
        return tools_fail(EXIT_FAILED, "%s", sentence.text);
    struct rocks_kv_options options = {.wake = wake, .wake_context = wake_context};
    enum rc rc = rocks_kv_open(c->data, &options, &data->kv, sentence.text, sizeof(sentence.text));
    if (rc == RC_CORRUPT)
        return router_data_fail_damaged(c, sentence.text);
    if (rc != RC_OK)
        return tools_fail(rc == RC_NO_SPACE ? EXIT_FAILED : EXIT_MISTAKE, "%s", sentence.text);
    rc = node_row_load(data->kv, &data->row);
    data->is_new = rc == RC_NOT_FOUND;
    if (data->is_new)
        return EXIT_FINE;
    if (rc == RC_CORRUPT)
        return router_data_fail_damaged(c, "whose data it is cannot be read");
    if (rc != RC_OK)
        return tools_fail(EXIT_FAILED, "%s: %s", c->data, rc_sentence(rc));
    return check_row(data);
}

void router_data_close(struct router_data *data)
{
    if (data->kv != NULL)
        data->kv->ops->close(&data->kv);
}

static void begin_row(struct router_data *data, uint32_t shards)
{
    struct node_row *row = &data->row;
    memset(row, 0, sizeof(*row));
    snprintf(row->node, sizeof(row->node), "%s", data->config->id);
    row->format = NODE_ROW_FORMAT;
    row->shards = shards;
}

void router_data_draw(struct router_data *data)
{
    struct node_row *row = &data->row;
    uint8_t epoch[NODE_ROW_EPOCH_SIZE / 2];
    begin_row(data, data->config->shards);
    crypto_random(row->cluster, sizeof(row->cluster));
    crypto_random(epoch, sizeof(epoch));
    crypto_hex(epoch, sizeof(epoch), row->epoch);
}

int router_data_take(struct router_data *data, const struct join_result *joined)
{
    struct node_row *row = &data->row;
    begin_row(data, joined->shards);
    memcpy(row->cluster, joined->cluster, sizeof(row->cluster));
    memcpy(row->epoch, joined->epoch, sizeof(row->epoch));
    return check_shards(data->config, joined->shards);
}

int router_data_store(struct router_data *data, const struct router_options *founder,
                      struct env *env)
{
    struct kv_batch *batch = data->kv->ops->batch_new(data->kv);
    node_row_store(&data->row, batch);
    if (founder != NULL)
        router_bootstrap(founder, env, batch);
    enum rc rc = data->kv->ops->write(data->kv, batch);
    data->kv->ops->batch_free(&batch);
    if (rc != RC_OK)
        return tools_fail(EXIT_FAILED, "%s cannot be written: %s", data->config->data,
                          rc_sentence(rc));
    data->is_new = false;
    return EXIT_FINE;
}
