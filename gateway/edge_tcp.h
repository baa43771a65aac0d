/* edge_tcp - what only the kernel knows of a connection. */
#ifndef GATEWAY_EDGE_TCP_H
#define GATEWAY_EDGE_TCP_H

#include <stdint.h>

/* Bytes that the other side's kernel has acknowledged (RFC 4898); 0 where that cannot be told. */
uint64_t edge_tcp_acked(int fd);

#endif
