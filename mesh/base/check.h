/* check - what must be true, in release builds as well.
 *
 * A CHECK states what the code around it relies on. When it fails the program is wrong, its state
 * unknown, and going on could acknowledge what is not stored: so it says where and ends. Nothing
 * that comes from outside (clients, peers, disk, config) may reach one; that meets a decoder. */
#ifndef MESH_BASE_CHECK_H
#define MESH_BASE_CHECK_H

_Noreturn void check_failed(const char *expression, const char *file, int line);

#define CHECK(expression)                                                                          \
    do {                                                                                           \
        if (__builtin_expect(!(expression), 0))                                                    \
            check_failed(#expression, __FILE__, __LINE__);                                         \
    } while (0)

#endif
