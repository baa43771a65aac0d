/* dev_notify - hears which nodes of a dev cluster say that they are ready (nodes/notify.h). */
#ifndef NODES_DEV_NOTIFY_H
#define NODES_DEV_NOTIFY_H

#include <sys/types.h>

#include "mesh/sentence.h"

struct dev_notify {
    int fd;
    char name[64]; /* For NOTIFY_SOCKET: "@" and an abstract name that the kernel drew. */
};

/* Listen. RC_IO, with a sentence. It ends with the process. */
MUST_CHECK enum rc dev_notify_open(struct dev_notify *notify, struct sentence *sentence);

/* The process that has said next that it is ready, as the kernel tells its id; 0: none. Does not
 * wait. */
pid_t dev_notify_next(const struct dev_notify *notify);

#endif
