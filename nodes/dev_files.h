/* dev_files - what `chatmesh dev` keeps in its folder, and what other commands find there.
 *
 *     cluster.key   the mesh key, as keygen makes it
 *     auth.zpl      a config file with the key that signs tokens, mode 0600
 *     api.key       the key of its HTTP API, mode 0600; api.zpl lets it in
 *     dev.json      {"join":["tcp://127.0.0.1:PORT"],"pid":N,"gateways":["http://127.0.0.1:8080"]}
 *     dev.lock      held by the running `chatmesh dev`
 *     dev.born      all nodes were up once: no router may begin another cluster in this folder
 *     NODE/         a router's data;  NODE.log, NODE.pid */
#ifndef NODES_DEV_FILES_H
#define NODES_DEV_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "mesh/sentence.h"
#include "nodes/config.h"

#define DEV_FILES_PATH_MAX 1024u

struct dev_files_path {
    char text[DEV_FILES_PATH_MAX];
};

/* The folder: --data, else $XDG_STATE_HOME/chatmesh/dev, else ~/.local/state/chatmesh/dev, else
 * /tmp/chatmesh-UID. */
struct dev_files_path dev_files_folder(const struct config *c);

/* FOLDER/NAME, or FOLDER/NAME.SUFFIX where suffix is not NULL. */
struct dev_files_path dev_files_join(const struct dev_files_path *folder, const char *name,
                                     const char *suffix);

/* Make the folder with its parents (mode 0700), its key and auth.zpl where they are missing.
 * RC_CONFIG with a sentence: the folder cannot be had, or holds somebody else's files. */
MUST_CHECK enum rc dev_files_prepare(const struct dev_files_path *folder,
                                     struct sentence *sentence);

/* Make api.key where it is missing, and api.zpl; the line that is in it. */
MUST_CHECK enum rc dev_files_api_key(const struct dev_files_path *folder,
                                     char ret_line[API_KEY_LINE_SIZE_MAX + 1],
                                     struct sentence *sentence);

/* Hold the folder for this process until it ends. RC_IN_USE where another one does. */
MUST_CHECK enum rc dev_files_lock(const struct dev_files_path *folder, struct sentence *sentence);

/* Where the routers of a dev cluster listen. */
struct dev_files_joins {
    char endpoints[DEV_ROUTERS_MAX][64];
    uint32_t count;
};

MUST_CHECK enum rc dev_files_write_state(const struct dev_files_path *folder,
                                         const struct dev_files_joins *joins, const char *host,
                                         uint32_t port, uint32_t gateways,
                                         struct sentence *sentence);
/* What dev.json says of them. RC_CONFIG: there is none, or it cannot be read. */
MUST_CHECK enum rc dev_files_read_joins(const struct dev_files_path *folder,
                                        struct dev_files_joins *ret_joins,
                                        struct sentence *sentence);

/* Were all nodes up once? Note that they were. */
bool dev_files_is_born(const struct dev_files_path *folder);
void dev_files_write_born(const struct dev_files_path *folder);

/* Write or remove NODE.pid. */
void dev_files_write_pid(const struct dev_files_path *folder, const char *node, pid_t pid);
void dev_files_remove_pid(const struct dev_files_path *folder, const char *node);

#endif
