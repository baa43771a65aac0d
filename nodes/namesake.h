/* namesake - does a router of this id run already?
 *
 * A newer process takes the name of an older one, which then ends: so a router comes back though
 * the others have not noticed that it was gone. But one with an empty disk that was given the id of
 * another by mistake would throw out a living replica. So before it joins it asks whom it joins. */
#ifndef NODES_NAMESAKE_H
#define NODES_NAMESAKE_H

#include "nodes/config.h"

/* Blocks for as long as silence takes to be noticed where there is one, for a second where nobody
 * answers, else for a question and its answer. EXIT_FINE: there is none, or nobody can say; else an
 * exit code, having said what is wrong. */
int namesake_check(const struct config *c);

#endif
