#include "mesh/base/mem.h"

#include <stdlib.h>
#include <string.h>

#include "mesh/base/check.h"

void *mem_alloc(size_t size)
{
    void *memory = malloc(size != 0 ? size : 1);
    CHECK(memory != NULL);
    return memory;
}

void *mem_zero(size_t size)
{
    void *memory = calloc(1, size != 0 ? size : 1);
    CHECK(memory != NULL);
    return memory;
}

void *mem_resize(void *memory, size_t size)
{
    void *resized = realloc(memory, size != 0 ? size : 1);
    CHECK(resized != NULL);
    return resized;
}

void *mem_copy(const void *bytes, size_t size)
{
    void *copy = mem_alloc(size);
    if (size != 0)
        memcpy(copy, bytes, size);
    return copy;
}

char *mem_string(const char *bytes, size_t size)
{
    char *copy = mem_alloc(size + 1);
    if (size != 0)
        memcpy(copy, bytes, size);
    copy[size] = '\0';
    return copy;
}

void mem_free(void *memory)
{
    free(memory);
}
