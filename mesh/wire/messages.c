#include "mesh/wire/messages.h"

#define M(x, X, n)                                                                                 \
    static const struct record_field x##_fields[] = {FIELDS_##x(RECORD_FIELD, msg_##x)};           \
    const struct record_desc msg_##x##_desc = {                                                    \
        .name = #x,                                                                                \
        .number = MSG_##X,                                                                         \
        .size = sizeof(struct msg_##x),                                                            \
        .field_count = sizeof(x##_fields) / sizeof(x##_fields[0]),                                 \
        .fields = x##_fields,                                                                      \
    };
MESSAGES(M)
#undef M
