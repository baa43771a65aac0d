/* mem - memory that is there or ends the process.
 *
 * Every queue and table is bounded (limits.h), so running out of memory means that the machine is
 * too small for the configured limits, not that one request was too big. There is nothing sensible
 * to unwind then, and code without out-of-memory branches is code that can be read. */
#ifndef MESH_BASE_MEM_H
#define MESH_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t size);                     /* Uninitialised. */
void *mem_zero(size_t size);                      /* Zeroed. */
void *mem_resize(void *memory, size_t size);      /* As realloc. */
void *mem_copy(const void *bytes, size_t size);   /* A copy; one byte even for size 0. */
char *mem_string(const char *bytes, size_t size); /* A NUL-terminated copy. */
void mem_free(void *memory);                      /* NULL is fine. */

#define mem_new(type) ((type *)mem_zero(sizeof(type)))

#endif
