/* keyfile - the cluster key: what makes a process a node of this cluster.
 *
 * One file, made once and the same on every node, in ZPL (ZeroMQ RFC 4), with quoted values:
 *
 *     curve
 *         public-key = "…"        Z85; every node offers it and expects it of the others
 *         secret-key = "…"
 *     cluster
 *         id = "…"                16 hex digits, a digest of the public key: for people and logs
 *         secret = "…"            64 hex digits, for uses to come
 *     accept
 *         key = "…"               another public key, while keys are being changed
 *
 * It is read here and not by CZMQ's zconfig, which prints the text of a line it does not
 * understand, be it a secret, and frees its copies without wiping them.
 *
 * Whoever holds the file is a node: there is one key, not one a node, so a node's name is as good
 * as its word. That is the price of "copy one file", and why it must be readable by its owner
 * alone.
 *
 * To change keys without a gap: generate a new file; add its public key under accept in the old one
 * on every node and reload; then node by node put the new file in place, with the old public key
 * under accept, and restart; at last take the old key out and reload. */
#ifndef MESH_KEYFILE_H
#define MESH_KEYFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mesh/base/rc.h"
#include "mesh/sentence.h"

#define KEYFILE_KEY_SIZE   32u
#define KEYFILE_TEXT_SIZE  41u /* A key in Z85, with its NUL. */
#define KEYFILE_ACCEPT_MAX 8u
#define KEYFILE_BYTES_MAX  16384u

struct keyfile {
    char public_text[KEYFILE_TEXT_SIZE];
    char secret_text[KEYFILE_TEXT_SIZE];
    char id[17];
    uint8_t cluster_secret[32];
    /* Public keys that are let in: the own one first, then those under accept. */
    uint8_t accepted[KEYFILE_ACCEPT_MAX + 1][KEYFILE_KEY_SIZE];
    char accepted_text[KEYFILE_ACCEPT_MAX + 1][KEYFILE_TEXT_SIZE];
    uint32_t accepted_count;
};

/* Make a new key at `path`, mode 0600, synced to disk. RC_CONFLICT: a file is there, and is not
 * touched; RC_CONFIG: none can be made at this path; RC_IO: it cannot be written. */
MUST_CHECK enum rc keyfile_generate(const char *path, struct sentence *sentence);

/* RC_CONFIG, with a sentence: it cannot be read, belongs to somebody else, others may read it, or
 * it is not a key file (then with the line, never with what stands there). keyfile_wipe() it after
 * use. */
MUST_CHECK enum rc keyfile_load(const char *path, struct keyfile *ret_key,
                                struct sentence *sentence);

/* Forget the secrets. */
void keyfile_wipe(struct keyfile *key);

/* Is this public key let in? Takes the same time whatever the answer and wherever it differs. */
bool keyfile_accepts(const struct keyfile *key, const uint8_t public_key[KEYFILE_KEY_SIZE]);

#endif
