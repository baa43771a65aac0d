#include "tests/sim/reaper.h"

#include <stdio.h>

#include "mesh/base/buf.h"
#include "mesh/base/check.h"
#include "mesh/wire/key.h"

#define LEAST_US       200000u
#define MOST_US        3000000u
#define AGAIN_US       1000000u
#define IMPATIENT      0.1 /* To hang up before the answer is there. */
#define ERASURE_SHARE  0.15
#define GROUP_SHARE    0.25
#define LAST_GROUP_END 0.05 /* That no group is left to talk in. */
#define HASTY          0.1  /* To end what somebody has just come into, within */
#define HASTY_US       50000u

static struct world *world_of(const struct reaper *r)
{
    return r->cluster->world;
}

/* ---- Asking ---- */

static void ask(void *context, uint64_t argument);

static void ask_later(struct reaper_word *word, uint32_t wait_s)
{
    struct world *world = world_of(word->reaper);
    uint64_t wait_us = wait_s * UINT64_C(1000000) + world_between(world, 10000, AGAIN_US);
    world_after(world, wait_us, ask, word, 0);
}

static void on_ok(struct reaper_word *word)
{
    struct reaper *r = word->reaper;
    word->is_open = false;
    r->done++;
    if (word->is_erasure)
        book_erase_acked(r->book, slice_string(word->name), word->asked_us);
    else
        book_end_acked(r->book, slice_string(word->name), word->head);
}

static void on_answer(void *context, const struct api_answer *answer)
{
    struct reaper_word *word = context;
    struct reaper *r = word->reaper;
    struct world *world = world_of(r);
    word->call = NULL;
    world_note(world, "%s: %u to DELETE %s %.*s", word->gateway->id, answer->status, word->path,
               SLICE_ARGS(answer->body));
    world_mix(world, answer->status);
    if (answer->status == 200) {
        on_ok(word);
    } else if (answer->status == 404 && !word->is_erasure) {
        book_end_unknown(r->book, slice_string(word->name), word->head);
        word->is_open = false;
    } else if (answer->status == 503 || answer->status == 429) {
        ask_later(word, answer->retry_s);
    } else {
        world_violation(world, "DELETE %s was answered %u: %.*s", word->path, answer->status,
                        SLICE_ARGS(answer->body));
    }
}

static void hang_up(void *context, uint64_t number)
{
    struct reaper_word *word = context;
    if (word->call == NULL || word->number != number)
        return;
    api_abandon(&word->call);
    ask_later(word, 0);
}

static void ask_at(struct reaper_word *word, struct sim_node *gateway)
{
    struct reaper *r = word->reaper;
    struct api_answer refused;
    struct buf *bearer = buf_new(64);
    buf_append_format(bearer, "Bearer %s", r->key);
    const struct api_head head = {
        .method = API_DELETE, .path = slice_string(word->path), .authorization = buf_slice(bearer)};
    word->gateway = gateway;
    word->number = ++r->tries;
    word->asked_us = world_of(r)->now_us;
    world_of(r)->speaker = gateway->id;
    word->call = api_open(gateway->gateway, &head, word->refusal, &refused);
    buf_unref(&bearer);
    if (word->call == NULL) {
        on_answer(word, &refused);
        return;
    }
    api_start(word->call, (struct slice){0}, on_answer, word);
    if (word->call != NULL && world_chance(world_of(r), IMPATIENT))
        world_after(world_of(r), world_between(world_of(r), 100, 30000), hang_up, word,
                    word->number);
    cluster_wake(gateway);
}

static void ask(void *context, uint64_t argument)
{
    (void)argument;
    struct reaper_word *word = context;
    struct cluster *c = word->reaper->cluster;
    struct sim_node *gateway =
        cluster_gateway(c, (uint32_t)world_between(c->world, 0, c->options.gateways - 1));
    if (gateway->is_alive)
        ask_at(word, gateway);
    else
        ask_later(word, 0);
}

/* ---- What is to go ---- */

static bool has_ended(const struct reaper *r, const char *conv)
{
    const struct book_conv *c = book_conv(r->book, slice_string(conv));
    return c != NULL && c->ended != 0;
}

static uint32_t count_groups(const struct reaper *r)
{
    uint32_t left = 0;
    for (uint32_t i = 1; i <= r->groups; i++) {
        char name[16];
        snprintf(name, sizeof(name), "group%u", i);
        left += !has_ended(r, name);
    }
    return left;
}

/* Mostly one group at least is left, for there is much to be seen in groups. */
static bool choose_group(struct reaper *r, struct reaper_word *word)
{
    uint32_t left = count_groups(r);
    if (r->groups == 0 || (left <= 1 && !world_chance(world_of(r), LAST_GROUP_END)))
        return false;
    snprintf(word->name, sizeof(word->name), "group%lu", world_between(world_of(r), 1, r->groups));
    return true;
}

static void choose_direct(struct reaper *r, struct reaper_word *word)
{
    char id[KEY_DIRECT_SIZE];
    char users[2][16];
    for (uint32_t i = 0; i < 2; i++)
        snprintf(users[i], sizeof(users[i]), "u%lu", world_between(world_of(r), 1, r->users));
    key_direct(slice_string(users[0]), slice_string(users[1]), id);
    snprintf(word->name, sizeof(word->name), "%.*s", (int)sizeof(id), id);
}

/* One at a time: what is told of entries then has one reason. */
static bool is_erasing(const struct reaper *r)
{
    for (uint32_t i = 0; i < REAPER_WORDS_MAX; i++)
        if (r->words[i].is_open && r->words[i].is_erasure)
            return true;
    return false;
}

static void begin_erasure(struct reaper *r, struct reaper_word *word)
{
    uint64_t user = world_between(world_of(r), 1, r->users);
    snprintf(word->name, sizeof(word->name), "u%lu", user);
    snprintf(word->path, sizeof(word->path), "/v1/users/u%lu", user);
    book_erase_asked(r->book, slice_string(word->name));
    word->is_erasure = true;
    word->is_open = true;
    ask(word, 0);
}

static void begin_end(struct reaper_word *word, uint64_t us)
{
    struct reaper *r = word->reaper;
    char name[sizeof(word->name)]; /* A copy: gcc fears for what lies in one struct. */
    memcpy(name, word->name, sizeof(name));
    snprintf(word->path, sizeof(word->path), "/v1/conversations/%s", name);
    word->is_erasure = false;
    word->head = book_head(r->book, slice_string(word->name));
    word->is_open = true;
    world_after(world_of(r), us, ask, word, 0);
}

static void begin(struct reaper *r, struct reaper_word *word)
{
    if (!is_erasing(r) && world_chance(world_of(r), ERASURE_SHARE)) {
        begin_erasure(r, word);
        return;
    }
    bool is_group = world_chance(world_of(r), GROUP_SHARE);
    if (is_group && !choose_group(r, word))
        return;
    if (!is_group)
        choose_direct(r, word);
    begin_end(word, 0);
}

static struct reaper_word *free_word(struct reaper *r)
{
    for (uint32_t i = 0; i < REAPER_WORDS_MAX; i++)
        if (!r->words[i].is_open)
            return &r->words[i];
    return NULL;
}

static void reap(void *context, uint64_t argument)
{
    (void)argument;
    struct reaper *r = context;
    if (r->is_quiet)
        return;
    world_after(world_of(r), world_between(world_of(r), LEAST_US, MOST_US), reap, r, 0);
    struct reaper_word *word = free_word(r);
    if (word != NULL)
        begin(r, word);
}

static bool lets_somebody_in(struct slice record)
{
    struct msg_entry entry;
    struct record_reader r = record_reader_of(record);
    return record_decode(&r, &msg_entry_desc, &entry) == RC_OK && entry.type == ENTRY_MEMBER &&
           entry.change == MEMBER_ADD;
}

/* Of groups less often, since they end for good. */
bool reaper_on_entry(struct reaper *r, struct slice conv, struct slice record)
{
    struct reaper_word *word = free_word(r);
    if (r->is_quiet || word == NULL || !lets_somebody_in(record))
        return false;
    bool is_direct = conv.size > 3 && memcmp(conv.base, "dm:", 3) == 0;
    if ((!is_direct && count_groups(r) < 2) ||
        !world_chance(world_of(r), is_direct ? HASTY : HASTY * GROUP_SHARE))
        return false;
    snprintf(word->name, sizeof(word->name), "%.*s", SLICE_ARGS(conv));
    begin_end(word, world_between(world_of(r), 0, HASTY_US));
    return true;
}

/* ---- Life ---- */

void reaper_init(struct reaper *r, struct cluster *cluster, struct book *book, uint32_t users,
                 uint32_t groups)
{
    memset(r, 0, sizeof(*r));
    r->cluster = cluster;
    r->book = book;
    r->users = users;
    r->groups = groups;
    for (uint32_t i = 0; i < REAPER_WORDS_MAX; i++) {
        r->words[i].reaper = r;
        r->words[i].refusal = buf_new(0);
    }
    /* Always the same: what is drawn at random is no part of a seed. */
    char line[API_KEY_LINE_SIZE_MAX + 1];
    snprintf(r->key, sizeof(r->key), "%s%043u", API_KEY_PREFIX, 1u);
    api_key_line("operator", slice_string(r->key), line);
    enum rc rc = api_key_add(&cluster->auth.api_keys, slice_string(line));
    CHECK(rc == RC_OK);
}

void reaper_fini(struct reaper *r)
{
    for (uint32_t i = 0; i < REAPER_WORDS_MAX; i++)
        buf_unref(&r->words[i].refusal);
}

void reaper_begin(struct reaper *r)
{
    world_after(world_of(r), world_between(world_of(r), LEAST_US, MOST_US), reap, r, 0);
}

void reaper_quiet(struct reaper *r)
{
    r->is_quiet = true;
}

void reaper_gateway_down(struct reaper *r, const struct sim_node *gateway)
{
    for (uint32_t i = 0; i < REAPER_WORDS_MAX; i++) {
        struct reaper_word *word = &r->words[i];
        if (word->call == NULL || word->gateway != gateway)
            continue;
        api_abandon(&word->call);
        ask_later(word, 0);
    }
}

bool reaper_is_done(const struct reaper *r, char *why, size_t why_size)
{
    for (uint32_t i = 0; i < REAPER_WORDS_MAX; i++)
        if (r->words[i].is_open) {
            snprintf(why, why_size, "C11: DELETE %s is not done", r->words[i].path);
            return false;
        }
    return true;
}
