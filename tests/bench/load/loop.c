#include "tests/bench/load/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX     512
#define FRAME_TEXT     0x1u
#define FRAME_CLOSE    0x8u
#define FRAME_PING     0x9u
#define FRAME_PONG     0xau
#define HEADER_MAX     14u
#define HANDSHAKE_SIZE 12288u

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool target_parse(struct target *target, const char *url)
{
    unsigned port;
    memset(target, 0, sizeof(*target));
    int count = sscanf(url, "ws://%63[0-9.]:%u%63[^,]", target->host, &port, target->path);
    if (count < 2 || port == 0 || port > 65535)
        return false;
    if (count == 2)
        memcpy(target->path, "/ws", 4);
    target->address.sin_family = AF_INET;
    target->address.sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, target->host, &target->address.sin_addr) == 1;
}

void loop_init(struct loop *loop)
{
    memset(loop, 0, sizeof(*loop));
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->read = malloc(LOOP_READ_SIZE);
    loop->mask = 0x5ac3e197u;
    if (loop->epoll < 0 || loop->read == NULL)
        abort();
    loop->now_ns = now_ns();
}

void loop_fini(struct loop *loop)
{
    close(loop->epoll);
    free(loop->read);
}

static void watch(struct conn *conn, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = conn};
    if (epoll_ctl(conn->loop->epoll, operation, conn->fd, &event) != 0)
        abort();
}

static char *reserve_out(struct conn *conn, size_t size)
{
    if (conn->out_capacity - conn->out_size < size) {
        size_t capacity = conn->out_capacity < 512 ? 512 : conn->out_capacity;
        while (capacity - conn->out_size < size)
            capacity *= 2;
        conn->out = realloc(conn->out, capacity);
        if (conn->out == NULL)
            abort();
        conn->out_capacity = capacity;
    }
    return conn->out + conn->out_size;
}

static void make_dirty(struct conn *conn)
{
    if (conn->is_dirty)
        return;
    conn->is_dirty = true;
    conn->next_dirty = conn->loop->dirty;
    conn->loop->dirty = conn;
}

bool conn_open(struct conn *conn, struct loop *loop, const struct target *target, uint32_t source,
               const char *query)
{
    int one = 1;
    conn->loop = loop;
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        return false;
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    int small = 4096;
    if (conn->is_slow)
        setsockopt(conn->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    if (source != 0) {
        struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(source)};
        /* The port is chosen at connect, when the whole tuple is known, so that every source
         * address may use all ports. */
        setsockopt(conn->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
        if (bind(conn->fd, (struct sockaddr *)&from, sizeof(from)) != 0) {
            close(conn->fd);
            return false;
        }
    }
    if (connect(conn->fd, (const struct sockaddr *)&target->address, sizeof(target->address)) !=
            0 &&
        errno != EINPROGRESS) {
        close(conn->fd);
        return false;
    }
    conn->state = CONN_UPGRADING;
    conn->close_code = 0;
    conn->out_size = 0;
    int size = snprintf(reserve_out(conn, HANDSHAKE_SIZE), HANDSHAKE_SIZE,
                        "GET %s%s HTTP/1.1\r\nHost: %s:%u\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                        "Sec-WebSocket-Version: 13\r\n\r\n",
                        target->path, query, target->host, ntohs(target->address.sin_port));
    if (size < 0 || (size_t)size >= HANDSHAKE_SIZE)
        abort();
    conn->out_size = (size_t)size;
    conn->is_blocked = true; /* Until connected. */
    watch(conn, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
    return true;
}

void conn_close(struct conn *conn)
{
    if (conn->state == CONN_NONE || conn->state == CONN_CLOSED)
        return;
    close(conn->fd);
    conn->state = CONN_CLOSED;
    free(conn->in);
    free(conn->out);
    conn->in = NULL;
    conn->out = NULL;
    conn->in_size = conn->out_size = conn->out_capacity = 0;
}

static void end(struct conn *conn)
{
    conn_close(conn);
    conn->ops->on_closed(conn);
}

/* ---- Writing ---- */

static void put_frame(struct conn *conn, unsigned opcode, const char *bytes, size_t size)
{
    uint8_t *to = (uint8_t *)reserve_out(conn, size + HEADER_MAX + 8);
    uint32_t mask = conn->loop->mask;
    uint64_t wide = (uint64_t)mask << 32 | mask;
    *to++ = (uint8_t)(0x80u | opcode);
    if (size < 126) {
        *to++ = (uint8_t)(0x80u | size);
    } else if (size < 65536) {
        *to++ = 0x80u | 126;
        *to++ = (uint8_t)(size >> 8);
        *to++ = (uint8_t)size;
    } else {
        *to++ = 0x80u | 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            *to++ = (uint8_t)((uint64_t)size >> shift);
    }
    memcpy(to, &mask, 4);
    to += 4;
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        uint64_t word;
        memcpy(&word, bytes + at, 8);
        word ^= wide;
        memcpy(to + at, &word, 8);
    }
    for (; at < size; at++)
        to[at] = (uint8_t)bytes[at] ^ (uint8_t)(wide >> (at % 8 * 8));
    conn->out_size = (size_t)(to - (uint8_t *)conn->out) + size;
    make_dirty(conn);
}

void conn_send(struct conn *conn, const char *text, size_t size)
{
    if (conn->state == CONN_OPEN)
        put_frame(conn, FRAME_TEXT, text, size);
}

/* True unless the connection is lost. */
static bool flush(struct conn *conn)
{
    size_t done = 0;
    while (done < conn->out_size) {
        ssize_t count = send(conn->fd, conn->out + done, conn->out_size - done, MSG_NOSIGNAL);
        if (count < 0) {
            if (errno == EINTR)
                continue;
            if (errno != EAGAIN)
                return false;
            break;
        }
        done += (size_t)count;
    }
    memmove(conn->out, conn->out + done, conn->out_size - done);
    conn->out_size -= done;
    bool must_wait = conn->out_size > 0;
    if (must_wait != conn->is_blocked) {
        conn->is_blocked = must_wait;
        watch(conn, EPOLL_CTL_MOD, must_wait ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
    return true;
}

/* ---- Reading ---- */

/* A frame may be an array of objects, where batching was asked for. */
static void deliver(struct conn *conn, const char *text, size_t size)
{
    if (size == 0 || text[0] != '[') {
        conn->ops->on_text(conn, text, size);
        return;
    }
    int depth = 0;
    size_t start = 0;
    for (size_t at = 1; at < size && conn->state == CONN_OPEN; at++) {
        switch (text[at]) {
        case '"':
            for (at++; at < size && text[at] != '"'; at++)
                if (text[at] == '\\')
                    at++;
            break;
        case '{':
            if (depth++ == 0)
                start = at;
            break;
        case '}':
            if (--depth == 0)
                conn->ops->on_text(conn, text + start, at + 1 - start);
            break;
        default:
            break;
        }
    }
}

/* The header of the frame at `bytes`: its size, 0 where it is not all there. */
static size_t read_header(const uint8_t *bytes, size_t size, size_t *ret_payload)
{
    if (size < 2)
        return 0;
    size_t payload = bytes[1] & 0x7f;
    size_t header = payload < 126 ? 2 : payload == 126 ? 4 : 10;
    if (size < header)
        return 0;
    if (header > 2) {
        payload = 0;
        for (size_t i = 2; i < header; i++)
            payload = payload << 8 | bytes[i];
    }
    *ret_payload = payload;
    return header;
}

/* Frames from the front; returns how many bytes they were. */
static size_t read_frames(struct conn *conn, const char *bytes, size_t size)
{
    size_t at = 0;
    while (conn->state == CONN_OPEN) {
        size_t payload = 0;
        const uint8_t *frame = (const uint8_t *)bytes + at;
        size_t header = read_header(frame, size - at, &payload);
        if (header == 0 || size - at - header < payload)
            break;
        const char *text = bytes + at + header;
        at += header + payload;
        switch (frame[0] & 0xf) {
        case FRAME_TEXT:
            deliver(conn, text, payload);
            break;
        case FRAME_PING:
            put_frame(conn, FRAME_PONG, text, payload);
            break;
        case FRAME_CLOSE:
            if (payload >= 2)
                conn->close_code = (unsigned)((uint8_t)text[0] << 8 | (uint8_t)text[1]);
            end(conn);
            break;
        default:
            break;
        }
    }
    return at;
}

/* The answer to the upgrade; returns its size, 0 where it is not all there. */
static size_t read_upgrade(struct conn *conn, const char *bytes, size_t size)
{
    const char *blank = memmem(bytes, size, "\r\n\r\n", 4);
    if (blank == NULL)
        return 0;
    if (size < 12 || memcmp(bytes + 9, "101", 3) != 0) {
        conn->close_code = (unsigned)atoi(bytes + 9);
        end(conn);
        return 0;
    }
    conn->state = CONN_OPEN;
    conn->ops->on_open(conn);
    return (size_t)(blank + 4 - bytes);
}

static void on_readable(struct conn *conn)
{
    struct loop *loop = conn->loop;
    size_t size = conn->in_size;
    if (size != 0)
        memcpy(loop->read, conn->in, size);
    ssize_t count = recv(conn->fd, loop->read + size, LOOP_READ_SIZE - size, 0);
    if (count <= 0) {
        if (count < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        end(conn);
        return;
    }
    loop->now_ns = now_ns();
    size += (size_t)count;
    size_t done = conn->state == CONN_UPGRADING ? read_upgrade(conn, loop->read, size) : 0;
    done += read_frames(conn, loop->read + done, size - done);
    if (conn->state == CONN_CLOSED)
        return;
    free(conn->in);
    conn->in = NULL;
    conn->in_size = size - done;
    if (conn->in_size == 0)
        return;
    conn->in = malloc(conn->in_size);
    if (conn->in == NULL)
        abort();
    memcpy(conn->in, loop->read + done, conn->in_size);
}

void conn_sip(struct conn *conn)
{
    if (conn->state != CONN_OPEN)
        return;
    if (!conn->is_blocked) {
        conn->is_blocked = true; /* Nothing is written meanwhile. */
        watch(conn, EPOLL_CTL_MOD, 0);
    }
    char *in = realloc(conn->in, conn->in_size + 1);
    if (in == NULL)
        abort();
    conn->in = in;
    conn->in_size += recv(conn->fd, in + conn->in_size, 1, MSG_DONTWAIT) == 1;
}

void conn_drink(struct conn *conn)
{
    if (conn->state != CONN_OPEN)
        return;
    conn->is_blocked = true;
    watch(conn, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void flush_dirty(struct loop *loop)
{
    while (loop->dirty != NULL) {
        struct conn *conn = loop->dirty;
        loop->dirty = conn->next_dirty;
        conn->is_dirty = false;
        if (conn->state == CONN_OPEN && !conn->is_blocked && !flush(conn))
            end(conn);
    }
}

void loop_turn(struct loop *loop, int timeout_ms)
{
    loop_turn_until(loop, now_ns() + (uint64_t)timeout_ms * 1000000u);
}

void loop_turn_until(struct loop *loop, uint64_t until_ns)
{
    struct epoll_event events[EVENTS_MAX];
    flush_dirty(loop);
    uint64_t begun_ns = now_ns();
    uint64_t wait_ns = until_ns > begun_ns ? until_ns - begun_ns : 0;
    struct timespec wait = {.tv_sec = (time_t)(wait_ns / 1000000000u),
                            .tv_nsec = (long)(wait_ns % 1000000000u)};
    int count = epoll_pwait2(loop->epoll, events, EVENTS_MAX, &wait, NULL);
    loop->now_ns = now_ns();
    for (int i = 0; i < count; i++) {
        struct conn *conn = events[i].data.ptr;
        bool is_live = conn->state == CONN_UPGRADING || conn->state == CONN_OPEN;
        if (is_live && (events[i].events & EPOLLOUT) != 0 && !flush(conn)) {
            end(conn);
            continue;
        }
        if (is_live && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
            on_readable(conn);
    }
    flush_dirty(loop);
}

/* ---- Scanning ---- */

const char *json_field(const char *text, size_t size, const char *pattern, uint32_t *hint)
{
    size_t pattern_size = strlen(pattern);
    if (*hint + pattern_size <= size && memcmp(text + *hint, pattern, pattern_size) == 0)
        return text + *hint + pattern_size;
    const char *found = memmem(text, size, pattern, pattern_size);
    if (found == NULL)
        return NULL;
    *hint = (uint32_t)(found - text);
    return found + pattern_size;
}

uint64_t json_number(const char *value)
{
    uint64_t number = 0;
    for (; *value >= '0' && *value <= '9'; value++)
        number = number * 10 + (uint64_t)(*value - '0');
    return number;
}

bool json_is_type(const char *text, size_t size, const char *type)
{
    static const char lead[] = "{\"type\":\"";
    size_t type_size = strlen(type);
    return size > sizeof(lead) + type_size && memcmp(text, lead, sizeof(lead) - 1) == 0 &&
           memcmp(text + sizeof(lead) - 1, type, type_size) == 0 &&
           text[sizeof(lead) - 1 + type_size] == '"';
}
