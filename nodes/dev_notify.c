#include "nodes/dev_notify.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define NEWS_SIZE_MAX 256u

enum rc dev_notify_open(struct dev_notify *notify, struct sentence *sentence)
{
    struct sockaddr_un own = {.sun_family = AF_UNIX};
    socklen_t size = sizeof(own);
    int one = 1;
    notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* Bound to no name it gets an abstract one of five characters (unix(7), autobind). */
    if (notify->fd < 0 || setsockopt(notify->fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) != 0 ||
        bind(notify->fd, (struct sockaddr *)&own, sizeof(own.sun_family)) != 0 ||
        getsockname(notify->fd, (struct sockaddr *)&own, &size) != 0)
        return sentence_write(sentence, RC_IO, "cannot listen to the nodes: %s", strerror(errno));
    int name_size = (int)(size - offsetof(struct sockaddr_un, sun_path)) - 1;
    snprintf(notify->name, sizeof(notify->name), "@%.*s", name_size, own.sun_path + 1);
    return RC_OK;
}

/* Is READY=1 among the lines? */
static bool says_ready(const char *news)
{
    static const char ready[] = "READY=1";
    for (const char *line = news; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, ready, sizeof(ready) - 1) == 0)
            return true;
    }
    return false;
}

pid_t dev_notify_next(const struct dev_notify *notify)
{
    for (;;) {
        char news[NEWS_SIZE_MAX + 1];
        union {
            struct cmsghdr align;
            char bytes[CMSG_SPACE(sizeof(struct ucred))];
        } control;
        struct iovec part = {.iov_base = news, .iov_len = NEWS_SIZE_MAX};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof(control.bytes)};
        ssize_t size = recvmsg(notify->fd, &message, MSG_CMSG_CLOEXEC);
        if (size < 0)
            return 0;
        news[size] = '\0';
        const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        if (header == NULL || header->cmsg_type != SCM_CREDENTIALS || !says_ready(news))
            continue;
        struct ucred sender;
        memcpy(&sender, CMSG_DATA(header), sizeof(sender));
        return sender.pid;
    }
}
