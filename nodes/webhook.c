#include "nodes/webhook.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"

struct webhook {
    struct webhook_options options;
    char *url, *secret; /* The secret is wiped in the end. */
    struct env *env;
    uv_loop_t *uv;
    uv_timer_t timer; /* libcurl's. */
    CURLM *multi;
    CURL *easy;
    struct curl_slist *headers; /* Of the post on its way; NULL: there is none. */
    struct buf *text;           /* "t." and its body: what is signed, and from the dot on posted. */
    size_t answer_size;
    char error[CURL_ERROR_SIZE];
};

/* A socket of libcurl's that it wants to be told of. */
struct watch {
    uv_poll_t poll;
    struct webhook *webhook;
    curl_socket_t fd;
};

bool webhook_url_is_valid(const char *url)
{
    CURLU *parsed = curl_url();
    char *scheme = NULL, *host = NULL;
    bool is_valid = parsed != NULL && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
                    curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                    curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                    (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) &&
                    host[0] != '\0';
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(parsed);
    return is_valid;
}

void webhook_sign(struct slice secret, uint64_t unix_s, struct slice signed_text,
                  char signature[WEBHOOK_SIGNATURE_SIZE])
{
    uint8_t mac[32];
    char hex[2 * sizeof(mac) + 1];
    crypto_hmac_sha256(mac, secret, signed_text);
    crypto_hex(mac, sizeof(mac), hex);
    snprintf(signature, WEBHOOK_SIGNATURE_SIZE, "t=%lu,v1=%s", (unsigned long)unix_s, hex);
}

/* ---- How it went ---- */

static void end_post(struct webhook *w, CURLcode result)
{
    long status = 0;
    /* An answer that was too long is one all the same. */
    bool is_answered = result == CURLE_OK ||
                       (result == CURLE_WRITE_ERROR && w->answer_size > WEBHOOK_ANSWER_BYTES);
    if (is_answered)
        curl_easy_getinfo(w->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(w->multi, w->easy);
    curl_slist_free_all(w->headers);
    w->headers = NULL;
    const char *reason = w->error[0] != '\0' ? w->error : curl_easy_strerror(result);
    w->options.on_posted(w->options.context, (uint32_t)status,
                         is_answered ? "it was answered" : reason);
}

static void look_for_end(struct webhook *w)
{
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(w->multi, &left)) != NULL;)
        if (message->msg == CURLMSG_DONE && w->headers != NULL)
            end_post(w, message->data.result);
}

static size_t on_answer(char *bytes, size_t size, size_t count, void *context)
{
    (void)bytes;
    struct webhook *w = context;
    w->answer_size += size * count;
    return w->answer_size > WEBHOOK_ANSWER_BYTES ? 0 : size * count;
}

/* ---- libcurl on the loop ---- */

static void on_ready(uv_poll_t *handle, int status, int events)
{
    const struct watch *watch = handle->data;
    struct webhook *w = watch->webhook;
    int running, flags = 0;
    if (status < 0)
        flags = CURL_CSELECT_ERR;
    if ((events & UV_READABLE) != 0)
        flags |= CURL_CSELECT_IN;
    if ((events & UV_WRITABLE) != 0)
        flags |= CURL_CSELECT_OUT;
    curl_multi_socket_action(w->multi, watch->fd, flags, &running);
    look_for_end(w);
}

static void on_timer(uv_timer_t *handle)
{
    struct webhook *w = handle->data;
    int running;
    curl_multi_socket_action(w->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    look_for_end(w);
}

static int on_want_timer(CURLM *multi, long timeout_ms, void *context)
{
    (void)multi;
    struct webhook *w = context;
    if (timeout_ms < 0)
        uv_timer_stop(&w->timer);
    else
        uv_timer_start(&w->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

static void on_watch_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

static int on_want_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *known)
{
    (void)easy;
    struct webhook *w = context;
    struct watch *watch = known;
    if (what == CURL_POLL_REMOVE) {
        if (watch != NULL) {
            curl_multi_assign(w->multi, fd, NULL);
            uv_poll_stop(&watch->poll);
            uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
        }
        return 0;
    }
    if (watch == NULL) {
        watch = mem_new(struct watch);
        watch->webhook = w;
        watch->fd = fd;
        if (uv_poll_init(w->uv, &watch->poll, fd) != 0) {
            mem_free(watch);
            return -1; /* libcurl fails the post. */
        }
        watch->poll.data = watch;
        curl_multi_assign(w->multi, fd, watch);
    }
    int events = ((what & CURL_POLL_IN) != 0 ? UV_READABLE : 0) |
                 ((what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0);
    return uv_poll_start(&watch->poll, events, on_ready) == 0 ? 0 : -1;
}

/* ---- The port ---- */

static void on_post(void *context, struct buf *body)
{
    struct webhook *w = context;
    uint64_t unix_s = env_wall_ms(w->env) / 1000;
    char signature[WEBHOOK_SIGNATURE_SIZE], header[WEBHOOK_SIGNATURE_SIZE + 32];
    CHECK(w->headers == NULL); /* One at a time. */
    buf_clear(w->text);
    buf_append_u64_decimal(w->text, unix_s);
    buf_append_byte(w->text, '.');
    size_t before = w->text->size;
    buf_append_slice(w->text, buf_slice(body));
    webhook_sign(slice_string(w->secret), unix_s, buf_slice(w->text), signature);
    snprintf(header, sizeof(header), "Chatmesh-Signature: %s", signature);
    w->headers = curl_slist_append(NULL, header);
    w->headers = curl_slist_append(w->headers, "Content-Type: application/json");
    w->headers = curl_slist_append(w->headers, "Expect:"); /* No 100-continue: one turn less. */
    w->answer_size = 0;
    w->error[0] = '\0';
    curl_easy_setopt(w->easy, CURLOPT_HTTPHEADER, w->headers);
    curl_easy_setopt(w->easy, CURLOPT_POSTFIELDS, (char *)w->text->bytes + before);
    curl_easy_setopt(w->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(w->text->size - before));
    CURLMcode added = curl_multi_add_handle(w->multi, w->easy);
    CHECK(added == CURLM_OK);
}

struct push_port webhook_port(struct webhook *w)
{
    return (struct push_port){.context = w, .post = on_post};
}

/* ---- Life ---- */

static void set_options(struct webhook *w)
{
    CURL *easy = w->easy;
    CURLcode url = curl_easy_setopt(easy, CURLOPT_URL, w->url);
    CURLcode protocols = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    CHECK(url == CURLE_OK && protocols == CURLE_OK);
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    /* A thread that resolves a name for a post that was given up is let go, not waited for: on our
     * loop that would be as long as a silent name server may take. */
    CURLcode quick = curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    CHECK(quick == CURLE_OK);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)WEBHOOK_CONNECT_MS);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)w->options.total_ms);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "chatmesh/" CHATMESH_VERSION);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, w);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, w->error);
    curl_multi_setopt(w->multi, CURLMOPT_SOCKETFUNCTION, on_want_socket);
    curl_multi_setopt(w->multi, CURLMOPT_SOCKETDATA, w);
    curl_multi_setopt(w->multi, CURLMOPT_TIMERFUNCTION, on_want_timer);
    curl_multi_setopt(w->multi, CURLMOPT_TIMERDATA, w);
    curl_multi_setopt(w->multi, CURLMOPT_MAXCONNECTS, 1L);
}

struct webhook *webhook_new(const struct webhook_options *options, struct uv_loop_s *uv,
                            struct env *env)
{
    struct webhook *w = mem_new(struct webhook);
    w->options = *options;
    w->url = mem_string(options->url, strlen(options->url));
    w->secret = mem_string(options->secret, strlen(options->secret));
    w->env = env;
    w->uv = uv;
    w->text = buf_new(4096);
    CURLcode begun = curl_global_init(CURL_GLOBAL_DEFAULT);
    CHECK(begun == CURLE_OK);
    w->multi = curl_multi_init();
    w->easy = curl_easy_init();
    CHECK(w->multi != NULL && w->easy != NULL);
    CHECK(uv_timer_init(uv, &w->timer) == 0);
    w->timer.data = w;
    set_options(w);
    return w;
}

static void on_closed(uv_handle_t *timer)
{
    mem_free(timer->data);
}

void webhook_free(struct webhook **webhook)
{
    struct webhook *w = *webhook;
    *webhook = NULL;
    if (w == NULL)
        return;
    if (w->headers != NULL)
        curl_multi_remove_handle(w->multi, w->easy);
    curl_easy_cleanup(w->easy);
    curl_multi_cleanup(w->multi);
    curl_slist_free_all(w->headers);
    curl_global_cleanup();
    crypto_wipe(w->secret, strlen(w->secret));
    mem_free(w->secret);
    mem_free(w->url);
    buf_unref(&w->text);
    uv_close((uv_handle_t *)&w->timer, on_closed);
}
