#include "gateway/http_date.h"

#include <stdio.h>
#include <time.h>

#include "mesh/base/check.h"

/* Four digits of a year; later is as good as never. */
#define SECOND_MAX UINT64_C(253402300799)

const char *http_date_text(struct http_date *date, uint64_t wall_ms)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    uint64_t second = wall_ms / 1000 < SECOND_MAX ? wall_ms / 1000 : SECOND_MAX;
    if (second == date->second && date->text[0] != '\0')
        return date->text;
    time_t time = (time_t)second;
    struct tm at;
    CHECK(gmtime_r(&time, &at) != NULL);
    date->second = second;
    int size = snprintf(date->text, sizeof(date->text), "%s, %02d %s %04d %02d:%02d:%02d GMT",
                        days[at.tm_wday % 7], at.tm_mday, months[at.tm_mon % 12], at.tm_year + 1900,
                        at.tm_hour, at.tm_min, at.tm_sec);
    CHECK(size == (int)sizeof(date->text) - 1);
    return date->text;
}
