/* notify - tells whoever started the process how far it is: systemd's protocol (sd_notify(3)), one
 * datagram to the socket that NOTIFY_SOCKET names. `chatmesh dev` listens in the same way. Without
 * the variable nothing happens. */
#ifndef NODES_NOTIFY_H
#define NODES_NOTIFY_H

void notify_ready(void);    /* The node serves: a router has joined, a gateway listens. */
void notify_stopping(void); /* It was told to stop. */

#endif
