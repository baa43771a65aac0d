/* list - an intrusive doubly linked list: the node lives in the thing.
 *
 * Where things are many, their state is the list they are on, and moving costs no allocation.
 * An empty list points at itself. A node that is on no list points at itself too, so that
 * list_remove() may be called twice. */
#ifndef MESH_BASE_LIST_H
#define MESH_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next;
    struct list *prev;
};

static inline void list_init(struct list *l)
{
    l->next = l;
    l->prev = l;
}

static inline bool list_is_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_append(struct list *l, struct list *node)
{
    node->prev = l->prev;
    node->next = l;
    l->prev->next = node;
    l->prev = node;
}

static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Append all of `from` to `l`; `from` is empty then. */
static inline void list_append_all(struct list *l, struct list *from)
{
    if (list_is_empty(from))
        return;
    from->next->prev = l->prev;
    l->prev->next = from->next;
    from->prev->next = l;
    l->prev = from->prev;
    list_init(from);
}

#define LIST_ENTRY(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

/* The first thing of the list, NULL where it is empty. */
#define LIST_FIRST(head, type, member)                                                             \
    (list_is_empty(head) ? NULL : LIST_ENTRY((head)->next, type, member))

/* Walk the nodes; the current one may be removed on the way. */
#define LIST_EACH(node, head)                                                                      \
    for (struct list *node = (head)->next, *node##_next = node->next; node != (head);              \
         node = node##_next, node##_next = node->next)

#endif
