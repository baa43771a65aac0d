/* push_given - up to where those have read who never acknowledge: soft, of conversations that wait.
 */
#include "mesh/base/mem.h"
#include "nodes/router/push_private.h"

static struct slice given_key(const void *thing)
{
    const struct push_given *given = thing;
    return slice_of(given->name, given->size);
}

void push_on_given(struct push *p, struct slice id, struct slice user, uint64_t seq)
{
    struct push_conv *conv = map_get(&p->convs, id);
    if (conv == NULL)
        return;
    struct push_given *given = conv->given != NULL ? map_get(conv->given, user) : NULL;
    if (given == NULL && p->given_count >= PUSH_GIVEN_MAX)
        return;
    if (given == NULL) {
        if (conv->given == NULL) {
            conv->given = mem_new(struct map);
            map_init(conv->given, given_key);
        }
        given = mem_zero(sizeof(*given) + user.size);
        given->size = user.size;
        memcpy(given->name, user.base, user.size);
        map_put(conv->given, given);
        p->given_count++;
    }
    if (given->seq < seq)
        given->seq = seq;
}

uint64_t push_given(const struct push_conv *conv, struct slice user)
{
    const struct push_given *given = conv->given != NULL ? map_get(conv->given, user) : NULL;
    return given != NULL ? given->seq : 0;
}

void push_given_forget(struct push *p, struct push_conv *conv)
{
    size_t at = 0;
    if (conv->given == NULL)
        return;
    for (void *given; (given = map_next(conv->given, &at)) != NULL; p->given_count--)
        mem_free(given);
    map_fini(conv->given);
    mem_free(conv->given);
    conv->given = NULL;
}
