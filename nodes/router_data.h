/* router_data - a router's data directory: RocksDB, and the row that says whose data it is.
 *
 * A directory is one of three: empty, and then it waits for a row, be it the founder's or that of a
 * router that has joined; ours, with a row that agrees with the options; or refused with a
 * sentence. It is never taken over, and what has a row never gets another. */
#ifndef NODES_ROUTER_DATA_H
#define NODES_ROUTER_DATA_H

#include <stdbool.h>

#include "mesh/base/env.h"
#include "nodes/config.h"
#include "nodes/router/join.h"
#include "nodes/router/router.h"
#include "storage/node_row.h"

struct router_data {
    const struct config *config;
    struct kv *kv;
    struct node_row row; /* Whose data it is; not yet known where is_new. */
    bool is_new;         /* There is no row. */
};

/* Say what is damaged, and what an operator does then. Returns the exit code. */
int router_data_fail_damaged(const struct config *c, const char *what);

/* Open or create c->data; the functions below return an exit code, having said what is wrong.
 * `wake` is called from the syncer (storage/rocks_kv.h). */
int router_data_open(struct router_data *data, const struct config *c, void (*wake)(void *context),
                     void *wake_context);
void router_data_close(struct router_data *data);

/* The row of a cluster that begins here: drawn, not written. */
void router_data_draw(struct router_data *data);
/* The row of a cluster that was joined: taken, not written. EXIT_MISTAKE: --shards says otherwise.
 */
int router_data_take(struct router_data *data, const struct join_result *joined);

/* Write the row; for a founder, whose options `founder` are, with the bootstrapped groups in one
 * batch: there is never one without the other. */
int router_data_store(struct router_data *data, const struct router_options *founder,
                      struct env *env);

#endif
