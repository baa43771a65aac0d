/* edge_tcp - what only the kernel knows, and does, of a connection. */
#ifndef GATEWAY_EDGE_TCP_H
#define GATEWAY_EDGE_TCP_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes that the other side's kernel has acknowledged (RFC 4898); 0 where that cannot be told. */
uint64_t edge_tcp_acked(int fd);

/* Should the process die, is the connection to be reset (RFC 9293, section 3.5.2), and not ended in
 * four packets that leave an orphan behind? With thousands of connections the farewells fill the
 * queues that everybody on the machine waits in. What was written and not yet taken is lost by it:
 * to be unset before a close that is meant. */
void edge_tcp_reset_at_exit(int fd, bool resets);

#endif
