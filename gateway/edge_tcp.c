/* Alone, because linux/tcp.h and netinet/tcp.h, which libwebsockets includes, exclude each other;
 * and the latter's tcp_info ends before what is asked for here. */
#include "gateway/edge_tcp.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

uint64_t edge_tcp_acked(int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof(info);
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_bytes_acked : 0;
}

void edge_tcp_reset_at_exit(int fd, bool resets)
{
    struct linger linger = {.l_onoff = resets, .l_linger = 0};
    (void)!setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}
