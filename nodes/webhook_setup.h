/* webhook_setup - what the options say of the webhook, taken together. */
#ifndef NODES_WEBHOOK_SETUP_H
#define NODES_WEBHOOK_SETUP_H

#include "nodes/config.h"

#define WEBHOOK_SECRET_SIZE_MAX 256u

/* The secret to sign with, to be given to webhook_setup_forget(); NULL where there is no webhook.
 * Returns an exit code, having said what is wrong: there is no secret, or two, or its file may not
 * be read, or may be by everybody. */
int webhook_setup_secret(const struct config *c, char **ret_secret);
void webhook_setup_forget(char **secret); /* Wipes and frees. */

/* The same, but only judged. */
int webhook_setup_check(const struct config *c);

#endif
