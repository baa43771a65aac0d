#include "gateway/direct.h"

#include "mesh/base/record.h"

const char *direct_choose(struct direct *direct, struct slice from, struct slice members,
                          struct slice conv)
{
    static const char no_two[] = "a direct conversation is of two: name the other one in members";
    struct record_reader r = record_reader_of(members);
    struct slice name, other = {0};
    uint32_t count = 0;
    bool is_operators = from.base == NULL;
    for (; record_get_slice(&r, &name) == RC_OK; count++) {
        if (from.base == NULL)
            from = name;
        if (slice_equal(name, from) || (other.base != NULL && slice_equal(name, other)))
            continue;
        if (other.base != NULL)
            return no_two;
        other = name;
    }
    if (count == 0 || (is_operators && other.base == NULL))
        return no_two;
    direct->from = from;
    direct->other = other.base != NULL ? other : from;
    key_direct(direct->from, direct->other, direct->conv);
    if (conv.base != NULL && !slice_equal(conv, slice_of(direct->conv, sizeof(direct->conv))))
        return "a direct conversation has its own id: leave conv out";
    return NULL;
}

struct buf *direct_members(const struct direct *direct)
{
    struct buf *members = buf_new((uint32_t)direct->other.size + 8);
    record_put_slice(members, direct->other);
    return members;
}
