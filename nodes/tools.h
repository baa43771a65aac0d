/* tools - the commands that do one thing and end: token, keygen, apikey, config check.
 *
 * Each returns the process's exit code and has said on stderr what went wrong. */
#ifndef NODES_TOOLS_H
#define NODES_TOOLS_H

#include "nodes/config.h"

#define EXIT_FINE    0
#define EXIT_FAILED  1
#define EXIT_MISTAKE 2 /* The operator's. */

int tools_token(struct config *c);        /* chatmesh token */
int tools_keygen(const char *file);       /* chatmesh keygen FILE */
int tools_apikey(const char *name);       /* chatmesh apikey NAME */
int tools_config_check(const char *file); /* chatmesh config check FILE */

/* One sentence on stderr, "chatmesh: ...", and the code given. */
int tools_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
