#include "nodes/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mesh/base/check.h"
#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "nodes/config_rule.h"
#include "nodes/options.h"

/* The value of an option, as the kind of its row says. */
static char **text_of(struct config *c, const struct option_row *row)
{
    return (char **)(void *)((char *)c + row->offset);
}

static uint32_t *number_of(struct config *c, const struct option_row *row)
{
    return (uint32_t *)(void *)((char *)c + row->offset);
}

static struct config_list *list_of(struct config *c, const struct option_row *row)
{
    return (struct config_list *)(void *)((char *)c + row->offset);
}

static bool kind_is_text(enum option_kind kind)
{
    return kind == OPTION_text || kind == OPTION_path || kind == OPTION_choice;
}

void config_init(struct config *c)
{
    memset(c, 0, sizeof(*c));
    for (uint32_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        const struct option_row *row = &option_rows[i];
        if (kind_is_text(row->kind) && row->initial_text != NULL)
            *text_of(c, row) = mem_string(row->initial_text, strlen(row->initial_text));
        else if (!kind_is_text(row->kind) && row->kind != OPTION_list)
            *number_of(c, row) = row->initial_number;
    }
}

static void list_clear(struct config_list *list)
{
    for (uint32_t i = 0; i < list->count; i++)
        mem_free(list->items[i]);
    list->count = 0;
}

void config_fini(struct config *c)
{
    for (uint32_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        const struct option_row *row = &option_rows[i];
        if (kind_is_text(row->kind))
            mem_free(*text_of(c, row));
        else if (row->kind == OPTION_list)
            list_clear(list_of(c, row));
        mem_free(c->where[i]);
    }
    crypto_wipe(c, sizeof(*c));
}

/* Digits and, for a duration, one unit. False where it is not a number or beyond 32 bits. */
static bool parse_number(const char *text, bool is_duration, uint32_t *ret_value)
{
    uint64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        value = value * 10 + (uint64_t)(*at - '0');
        if (value > UINT32_MAX)
            return false;
    }
    if (at == text)
        return false;
    if (is_duration && *at != '\0') {
        static const char units[] = "smhd";
        static const uint32_t seconds[] = {1, 60, 3600, 86400};
        const char *unit = strchr(units, *at++);
        if (unit == NULL)
            return false;
        value *= seconds[unit - units];
    }
    if (*at != '\0' || value > UINT32_MAX)
        return false;
    *ret_value = (uint32_t)value;
    return true;
}

static bool parse_boolean(const char *text, uint32_t *ret_value)
{
    if (strcmp(text, "true") == 0 || strcmp(text, "1") == 0)
        *ret_value = 1;
    else if (strcmp(text, "false") == 0 || strcmp(text, "0") == 0)
        *ret_value = 0;
    else
        return false;
    return true;
}

/* Is `text` one of "a|b|c"? */
static bool is_choice(const char *choices, const char *text)
{
    size_t size = strlen(text);
    for (const char *at = choices; *at != '\0' && size != 0;) {
        size_t width = strcspn(at, "|");
        if (width == size && memcmp(at, text, size) == 0)
            return true;
        at += width + (at[width] == '|');
    }
    return false;
}

static enum rc set_number(struct config *c, enum config_option option, bool apply, const char *text,
                          const char *where, struct sentence *error)
{
    const struct option_row *row = &option_rows[option];
    const char *mistake = config_rule_mistake(option, text);
    uint32_t value = 0;
    if (row->kind == OPTION_boolean) {
        if (!parse_boolean(text, &value))
            return sentence_write(error, RC_CONFIG, "%s is true or false, not \"%s\"", where, text);
    } else if (row->kind == OPTION_duration) {
        if (!parse_number(text, true, &value) || value < row->least || value > row->most)
            return sentence_write(error, RC_CONFIG,
                                  "%s is a time like 90s, 15m, 24h or 7d, not \"%s\"", where, text);
    } else if (!parse_number(text, false, &value) || value < row->least || value > row->most) {
        return sentence_write(error, RC_CONFIG, "%s is a number from %u to %u, not \"%s\"", where,
                              row->least, row->most, text);
    }
    if (mistake != NULL)
        return sentence_write(error, RC_CONFIG, "%s %s, not \"%s\"", where, mistake, text);
    if (apply)
        *number_of(c, row) = value;
    return RC_OK;
}

static enum rc add_to_list(struct config *c, enum config_option option, enum config_source source,
                           const char *text, const char *where, struct sentence *error)
{
    struct config_list *list = list_of(c, &option_rows[option]);
    if (source > c->source[option])
        list_clear(list); /* A stronger source replaces the whole list. */
    if (list->count == LIMIT_SEEDS_MAX)
        return sentence_write(error, RC_CONFIG, "%s may be given at most %u times", where,
                              LIMIT_SEEDS_MAX);
    list->items[list->count++] = mem_string(text, strlen(text));
    return RC_OK;
}

static enum rc check_text(enum config_option option, const char *text, const char *where,
                          struct sentence *error)
{
    const struct option_row *row = &option_rows[option];
    if (row->kind == OPTION_choice && !is_choice(row->metavar, text))
        return sentence_write(error, RC_CONFIG, "%s is one of %s, not \"%s\"", where, row->metavar,
                              text);
    const char *mistake = config_rule_mistake(option, text);
    /* It may be the key, or have a password in it. */
    if (mistake != NULL && (option == CONFIG_OPTION_api_key || option == CONFIG_OPTION_webhook))
        return sentence_write(error, RC_CONFIG, "%s %s", where, mistake);
    if (mistake != NULL)
        return sentence_write(error, RC_CONFIG, "%s %s, not \"%s\"", where, mistake, text);
    return RC_OK;
}

enum rc config_set(struct config *c, enum config_option option, enum config_source source,
                   const char *text, const char *where, struct sentence *error)
{
    CHECK(option < CONFIG_OPTION_COUNT);
    const struct option_row *row = &option_rows[option];
    bool is_number = row->kind != OPTION_list && !kind_is_text(row->kind);
    bool apply = source >= c->source[option];
    if (row->kind != OPTION_boolean && text[0] == '\0')
        return sentence_write(error, RC_CONFIG, "%s needs a value", where);
    enum rc rc = is_number ? set_number(c, option, apply, text, where, error)
                           : check_text(option, text, where, error);
    if (rc != RC_OK || !apply)
        return rc;
    if (row->kind == OPTION_list) {
        rc = add_to_list(c, option, source, text, where, error);
    } else if (!is_number) {
        mem_free(*text_of(c, row));
        *text_of(c, row) = mem_string(text, strlen(text));
    }
    if (rc == RC_OK) {
        c->source[option] = (uint8_t)source;
        mem_free(c->where[option]);
        c->where[option] = mem_string(where, strlen(where));
    }
    return rc;
}

void config_list_print(const struct config_list *list, const char *between, struct buf *into)
{
    for (uint32_t i = 0; i < list->count; i++)
        buf_append_format(into, "%s%s", i > 0 ? between : "", list->items[i]);
}

const char *config_where(const struct config *c, enum config_option option)
{
    return c->where[option] != NULL ? c->where[option] : option_rows[option].dashed;
}

/* One argument that begins with "--"; *at stands on it and moves over its value. */
static enum rc read_flag(struct config *c, enum config_command command, int argc, char **argv,
                         int *at, struct sentence *error)
{
    const char *flag = argv[*at] + 2;
    size_t size = strcspn(flag, "=");
    char where[128];
    snprintf(where, sizeof(where), "--%.*s", (int)size, flag);
    enum config_option option = option_by_flag(flag, size, command);
    if (option == CONFIG_OPTION_COUNT) {
        const char *nearest = option_nearest_flag(where + 2, command);
        if (nearest == NULL)
            return sentence_write(error, RC_CONFIG, "unknown option %s; --help lists them", where);
        return sentence_write(error, RC_CONFIG, "unknown option %s; did you mean --%s?", where,
                              nearest);
    }
    const char *value = "true";
    if (flag[size] == '=') {
        value = flag + size + 1;
    } else if (option_rows[option].kind != OPTION_boolean) {
        if (*at + 1 >= argc)
            return sentence_write(error, RC_CONFIG, "%s needs a value", where);
        value = argv[++*at];
    }
    return config_set(c, option, CONFIG_FLAG, value, where, error);
}

enum rc config_read_flags(struct config *c, enum config_command command, int argc, char **argv,
                          const char **operands, uint32_t operands_max, uint32_t *ret_operand_count,
                          struct sentence *error)
{
    uint32_t count = 0;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) == 0 && argv[i][2] != '\0') {
            enum rc rc = read_flag(c, command, argc, argv, &i, error);
            if (rc != RC_OK)
                return rc;
        } else if (argv[i][0] == '-' && argv[i][1] != '\0') {
            return sentence_write(error, RC_CONFIG, "unknown option %s; --help lists them",
                                  argv[i]);
        } else if (count == operands_max) {
            return sentence_write(error, RC_CONFIG, "\"%s\" is one argument too many", argv[i]);
        } else {
            operands[count++] = argv[i];
        }
    }
    *ret_operand_count = count;
    return RC_OK;
}

/* A list in a variable is separated by commas or spaces. */
static enum rc read_variable_list(struct config *c, enum config_option option, const char *value,
                                  const char *variable, struct sentence *error)
{
    for (const char *at = value; *at != '\0';) {
        size_t size = strcspn(at, ", ");
        if (size != 0) {
            char *item = mem_string(at, size);
            enum rc rc = config_set(c, option, CONFIG_ENVIRONMENT, item, variable, error);
            mem_free(item);
            if (rc != RC_OK)
                return rc;
        }
        at += size + (at[size] != '\0');
    }
    return RC_OK;
}

#define VARIABLE_PREFIX "CHATMESH_"

/* Is it no option of any command? One environment may serve several of them. The nearest one is
 * written where there is one near, else it is empty. */
static bool is_unknown_variable(const char *name, char nearest[OPTION_VARIABLE_SIZE])
{
    static const size_t size = sizeof(VARIABLE_PREFIX) - 1;
    char variable[OPTION_VARIABLE_SIZE];
    uint32_t least = UINT32_MAX;
    nearest[0] = '\0';
    for (uint32_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        option_variable(&option_rows[i], variable);
        if (strcmp(variable, name) == 0)
            return false;
        if (option_is_near(name + size, variable + size, &least))
            memcpy(nearest, variable, sizeof(variable));
    }
    return true;
}

/* Nothing is said of its value: it may be a secret. */
static enum rc check_variables(struct sentence *error)
{
    char name[OPTION_VARIABLE_SIZE], nearest[OPTION_VARIABLE_SIZE];
    for (char **at = environ; *at != NULL; at++) {
        size_t size = strcspn(*at, "=");
        bool is_empty = (*at)[size] == '\0' || (*at)[size + 1] == '\0'; /* Counts as not set. */
        if (is_empty || strncmp(*at, VARIABLE_PREFIX, sizeof(VARIABLE_PREFIX) - 1) != 0)
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)size, *at);
        if (is_unknown_variable(name, nearest))
            return sentence_write(
                error, RC_CONFIG,
                "%s is set in the environment, and no option has this variable%s%s", name,
                nearest[0] != '\0' ? "; did you mean " : "", nearest);
    }
    return RC_OK;
}

enum rc config_read_environment(struct config *c, enum config_command command,
                                struct sentence *error)
{
    enum rc checked = command != 0 ? check_variables(error) : RC_OK;
    if (checked != RC_OK)
        return checked;
    for (uint32_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        const struct option_row *row = &option_rows[i];
        if ((row->commands & command) == 0)
            continue;
        char variable[OPTION_VARIABLE_SIZE];
        option_variable(row, variable);
        const char *value = getenv(variable);
        if (value == NULL || value[0] == '\0')
            continue;
        enum rc rc =
            row->kind == OPTION_list
                ? read_variable_list(c, (enum config_option)i, value, variable, error)
                : config_set(c, (enum config_option)i, CONFIG_ENVIRONMENT, value, variable, error);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

/* What the token verifier needs of the options, in its own shape; their rule sees that it fits. */
static void settle_auth(struct config *c)
{
    snprintf(c->auth.issuer, sizeof(c->auth.issuer), "%s", c->issuer != NULL ? c->issuer : "");
    snprintf(c->auth.audience, sizeof(c->auth.audience), "%s",
             c->audience != NULL ? c->audience : "");
    c->auth.leeway_s = c->leeway_s;
    c->auth.api_keys.count = 0;
    for (uint32_t i = 0; i < c->api_key.count; i++)
        CHECK(api_key_add(&c->auth.api_keys, slice_string(c->api_key.items[i])) == RC_OK);
}

enum rc config_read(struct config *c, enum config_command command, int argc, char **argv,
                    const char **operands, uint32_t operands_max, uint32_t *ret_operand_count,
                    struct sentence *error)
{
    c->command = command;
    c->argc = argc;
    c->argv = argv;
    enum rc rc =
        config_read_flags(c, command, argc, argv, operands, operands_max, ret_operand_count, error);
    if (rc == RC_OK)
        rc = config_read_environment(c, command, error);
    for (uint32_t i = 0; rc == RC_OK && i < c->config.count; i++)
        rc = config_read_file(c, c->config.items[i], error);
    if (rc == RC_OK)
        settle_auth(c);
    return rc;
}

enum rc config_read_again(const struct config *c, struct config *fresh, struct sentence *error)
{
    const char *operands[1];
    uint32_t operand_count;
    config_init(fresh);
    return config_read(fresh, c->command, c->argc, c->argv, operands, 1, &operand_count, error);
}
