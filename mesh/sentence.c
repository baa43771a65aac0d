#include "mesh/sentence.h"

#include <stdarg.h>
#include <stdio.h>

enum rc sentence_write(struct sentence *sentence, enum rc rc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(sentence->text, sizeof(sentence->text), format, args);
    va_end(args);
    return rc;
}
