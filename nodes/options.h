/* options - the rows of options.tbl.h as data, and what people read of them.
 *
 * Everything that walks all options walks option_rows. */
#ifndef NODES_OPTIONS_H
#define NODES_OPTIONS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "nodes/config.h"

enum option_kind {
    OPTION_text,
    OPTION_path,
    OPTION_choice,
    OPTION_list,
    OPTION_number,
    OPTION_duration,
    OPTION_boolean,
};

struct option_row {
    const char *name;
    enum option_kind kind;
    uint32_t commands;  /* enum config_command bits. */
    const char *path;   /* "": not in the file. */
    const char *flag;   /* Without the dashes, */
    const char *dashed; /* and with them. */
    const char *metavar;
    const char *initial_text; /* NULL: none. */
    uint32_t initial_number;
    uint32_t least, most; /* Of a number. */
    const char *prose;
    size_t offset; /* Within struct config. */
};

extern const struct option_row option_rows[CONFIG_OPTION_COUNT];

#define OPTION_VARIABLE_SIZE 64u

/* "CHATMESH_DRAIN_MS" for drain-ms. */
void option_variable(const struct option_row *row, char variable[OPTION_VARIABLE_SIZE]);

/* The option of a command with this flag, or CONFIG_OPTION_COUNT. */
enum config_option option_by_flag(const char *flag, size_t size, uint32_t commands);
/* The option with this key in the file, or CONFIG_OPTION_COUNT. */
enum config_option option_by_path(const char *path);

/* The nearest flag of a command, or key of the file, to a misspelt one; NULL where none is near. */
const char *option_nearest_flag(const char *flag, uint32_t commands);
const char *option_nearest_path(const char *path);

/* How many characters must change, come or go to turn one text into the other (Levenshtein 1966).
 */
uint32_t option_distance(const char *a, const char *b);
/* Is `candidate` near enough to `text` to be what was meant? */
int option_is_near(const char *text, const char *candidate, uint32_t *distance_least);

/* The Options part of a command's --help. */
void option_print_help(FILE *out, uint32_t commands);

#endif
