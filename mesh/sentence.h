/* sentence - what an operator reads when his configuration is wrong.
 *
 * The mesh finds mistakes (an endpoint, a key file) that only it can judge, but printing is for
 * nodes/: so the rc comes with one sentence, without a newline. */
#ifndef MESH_SENTENCE_H
#define MESH_SENTENCE_H

#include "mesh/base/rc.h"

struct sentence {
    char text[512];
};

/* Write the sentence; returns `rc`, so that a check can end with it. */
enum rc sentence_write(struct sentence *sentence, enum rc rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
