#include "mesh/base/rc.h"

#include "mesh/base/check.h"

const char *rc_sentence(enum rc rc)
{
    static const char *const sentences[RC_COUNT] = {
#define RC(name, sentence) [RC_##name] = sentence,
#include "mesh/base/rc.tbl.h"
#undef RC
    };
    CHECK(rc < RC_COUNT);
    return sentences[rc];
}

const char *rc_client_code(enum rc rc)
{
    switch (rc) {
    case RC_OK:
        return "ok";
    case RC_BAD_REQUEST:
        return "bad_request";
    case RC_UNAUTHORIZED:
        return "unauthorized";
    case RC_FORBIDDEN:
        return "forbidden";
    case RC_NOT_FOUND:
        return "not_found";
    case RC_CONFLICT:
        return "conflict";
    case RC_TOO_LARGE:
        return "too_large";
    case RC_RATE_LIMITED:
        return "rate_limited";
    case RC_UNSUPPORTED:
        return "unsupported";
    case RC_UNAVAILABLE:
    case RC_NOT_LEADER:
    case RC_FULL:
    case RC_AGAIN:
    case RC_TIMEOUT:
    case RC_NO_SPACE:
        return "unavailable";
    default:
        return "internal";
    }
}
