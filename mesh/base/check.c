#include "mesh/base/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *expression, const char *file, int line)
{
    fprintf(stderr, "chatmesh: bug: \"%s\" is not true at %s:%d\n", expression, file, line);
    abort();
}
