/* rc - the outcome of every call that can fail.
 *
 * Three kinds of trouble, three answers. An operating error (disk, peer, client) is an rc:
 * returned, never ignored (MUST_CHECK). A bug is a CHECK (check.h). An operator's mistake is found
 * at boot and ends the process with one sentence and exit code 2. The first eleven values are also
 * the client protocol's error codes. */
#ifndef MESH_BASE_RC_H
#define MESH_BASE_RC_H

enum rc {
#define RC(name, sentence) RC_##name,
#include "mesh/base/rc.tbl.h"
#undef RC
    RC_COUNT,
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* The sentence for people: "the queue is full". Never NULL. */
const char *rc_sentence(enum rc rc);

/* The name clients see: "bad_request". Values that clients never see are told as "internal", those
 * that mean "try again" as "unavailable". */
const char *rc_client_code(enum rc rc);

#endif
