#include "mesh/base/log.h"

#include <stdarg.h>
#include <stdio.h>

static log_sink sink_set;
static enum log_level least_set = LOG_INFO;

void log_set(log_sink sink, enum log_level least)
{
    sink_set = sink;
    least_set = least;
}

void log_line(enum log_level level, const char *event, const char *format, ...)
{
    if (sink_set == NULL || level < least_set)
        return;
    char fields[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(fields, sizeof(fields), format, args);
    va_end(args);
    sink_set(level, event, fields);
}
