/* config - what an operator set: defaults < files < environment < flags.
 *
 * One table (options.tbl.h) says what there is. Every value is checked where it is read, and a
 * mistake is one sentence that names flag, variable, or file, line and key; the caller prints it
 * and exits with 2. Nothing here logs: config is read before there is a log.
 *
 * Layers may be read in any order, since a value remembers its source and only a stronger or equal
 * one replaces it: flags come first in practice, because they name the files. */
#ifndef NODES_CONFIG_H
#define NODES_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/auth.h"
#include "mesh/base/limits.h"
#include "mesh/base/rc.h"
#include "mesh/sentence.h"

#define DEV_ROUTERS_MAX 9u /* Of `chatmesh dev`. */

/* Commands, as bits of an option's row. */
enum config_command {
    CONFIG_ROUTER = 1,
    CONFIG_GATEWAY = 2,
    CONFIG_DEV = 4,
    CONFIG_STATUS = 8,
    CONFIG_TOKEN = 16,
    CONFIG_OPERATE = 32, /* drain, undrain, remove. */
    CONFIG_DRAIN = 64,   /* Of these, what drain alone takes. */
};

enum config_option {
#define OPTION(name, kind, commands, path, flag, metavar, initial, least, most, prose)             \
    CONFIG_OPTION_##name,
#include "nodes/options.tbl.h"
#undef OPTION
    CONFIG_OPTION_COUNT,
};

enum config_source {
    CONFIG_DEFAULT,
    CONFIG_FILE,
    CONFIG_ENVIRONMENT,
    CONFIG_FLAG,
};

struct config_list {
    char *items[LIMIT_SEEDS_MAX];
    uint32_t count;
};

#define CONFIG_TYPE_text     char *
#define CONFIG_TYPE_path     char *
#define CONFIG_TYPE_choice   char *
#define CONFIG_TYPE_list     struct config_list
#define CONFIG_TYPE_number   uint32_t
#define CONFIG_TYPE_duration uint32_t
#define CONFIG_TYPE_boolean  uint32_t

/* One member an option. Texts that were not set and have no default are NULL. */
struct config {
#define OPTION(name, kind, commands, path, flag, metavar, initial, least, most, prose)             \
    CONFIG_TYPE_##kind name;
#include "nodes/options.tbl.h"
#undef OPTION
    uint8_t source[CONFIG_OPTION_COUNT]; /* enum config_source of each value. */
    char *where[CONFIG_OPTION_COUNT];    /* Who set it; NULL: nobody. See config_where(). */
    struct auth auth;                    /* The keys of all files read; issuer, audience, leeway. */
    enum config_command command;         /* What config_read() was called with, to read it again. */
    int argc;
    char **argv;
};

void config_init(struct config *c);
void config_fini(struct config *c); /* Frees the texts and wipes the keys. */

/* Read --flag value, --flag=value and --boolean of one command. What is not a flag goes to
 * `operands` (at most operands_max, borrowed from argv). RC_CONFIG: unknown, incomplete or wrong.
 */
MUST_CHECK enum rc config_read_flags(struct config *c, enum config_command command, int argc,
                                     char **argv, const char **operands, uint32_t operands_max,
                                     uint32_t *ret_operand_count, struct sentence *error);

/* Read the command's CHATMESH_ variables. RC_CONFIG: a value is wrong, or the name of one is no
 * option's of any command. */
MUST_CHECK enum rc config_read_environment(struct config *c, enum config_command command,
                                           struct sentence *error);

/* Read one file (nodes/config_file.c). All keys are allowed, whatever the command: one file may
 * serve routers and gateways. */
MUST_CHECK enum rc config_read_file(struct config *c, const char *file, struct sentence *error);

/* All layers for a command: flags, environment, then the files these name. */
MUST_CHECK enum rc config_read(struct config *c, enum config_command command, int argc, char **argv,
                               const char **operands, uint32_t operands_max,
                               uint32_t *ret_operand_count, struct sentence *error);

/* Read the same flags, environment and files again, for SIGHUP, into `fresh` (not yet initialised;
 * to be finished by the caller in any case). */
MUST_CHECK enum rc config_read_again(const struct config *c, struct config *fresh,
                                     struct sentence *error);

/* Append the items, with `between` between each two. */
void config_list_print(const struct config_list *list, const char *between, struct buf *into);

/* Where it was set, to begin the sentence of a mistake that shows only later: the flag, the
 * variable, or file, line and key; of what nobody set, the flag that would. Valid until it is set
 * again. */
const char *config_where(const struct config *c, enum config_option option);

/* Set one option from text; `where` begins the sentence of a mistake. A weaker source than the one
 * that set it is checked and then left out. */
MUST_CHECK enum rc config_set(struct config *c, enum config_option option,
                              enum config_source source, const char *text, const char *where,
                              struct sentence *error);

#endif
