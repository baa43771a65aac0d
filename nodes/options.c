#include "nodes/options.h"

#include <ctype.h>
#include <string.h>

#include "mesh/base/limits.h"

#define R            CONFIG_ROUTER
#define G            CONFIG_GATEWAY
#define D            CONFIG_DEV
#define S            CONFIG_STATUS
#define T            CONFIG_TOKEN
#define O            CONFIG_OPERATE
#define W            CONFIG_DRAIN
#define TEXT(text)   .initial_text = (text)
#define NUMBER(n)    .initial_number = (n)
#define DISTANCE_MAX 64u

const struct option_row option_rows[CONFIG_OPTION_COUNT] = {
#define OPTION(name_, kind_, commands_, path_, flag_, metavar_, initial_, least_, most_, prose_)   \
    {.name = #name_,                                                                               \
     .kind = OPTION_##kind_,                                                                       \
     .commands = (commands_),                                                                      \
     .path = (path_),                                                                              \
     .flag = (flag_),                                                                              \
     .dashed = "--" flag_,                                                                         \
     .metavar = (metavar_),                                                                        \
     initial_,                                                                                     \
     .least = (least_),                                                                            \
     .most = (most_),                                                                              \
     .prose = (prose_),                                                                            \
     .offset = offsetof(struct config, name_)},
#include "nodes/options.tbl.h"
#undef OPTION
};

void option_variable(const struct option_row *row, char variable[OPTION_VARIABLE_SIZE])
{
    int size = snprintf(variable, OPTION_VARIABLE_SIZE, "CHATMESH_%s", row->flag);
    for (int i = 0; i < size; i++)
        variable[i] = variable[i] == '-' ? '_' : (char)toupper((unsigned char)variable[i]);
}

enum config_option option_by_flag(const char *flag, size_t size, uint32_t commands)
{
    for (uint32_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        const struct option_row *row = &option_rows[i];
        if ((row->commands & commands) != 0 && strlen(row->flag) == size &&
            memcmp(row->flag, flag, size) == 0)
            return (enum config_option)i;
    }
    return CONFIG_OPTION_COUNT;
}

enum config_option option_by_path(const char *path)
{
    for (uint32_t i = 0; i < CONFIG_OPTION_COUNT; i++)
        if (option_rows[i].path[0] != '\0' && strcmp(option_rows[i].path, path) == 0)
            return (enum config_option)i;
    return CONFIG_OPTION_COUNT;
}

uint32_t option_distance(const char *a, const char *b)
{
    size_t size_a = strlen(a), size_b = strlen(b);
    if (size_a >= DISTANCE_MAX || size_b >= DISTANCE_MAX)
        return DISTANCE_MAX;
    uint32_t row[DISTANCE_MAX + 1];
    for (uint32_t j = 0; j <= size_b; j++)
        row[j] = j;
    for (uint32_t i = 1; i <= size_a; i++) {
        uint32_t diagonal = row[0];
        row[0] = i;
        for (uint32_t j = 1; j <= size_b; j++) {
            uint32_t above = row[j];
            uint32_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
            diagonal = above;
        }
    }
    return row[size_b];
}

int option_is_near(const char *text, const char *candidate, uint32_t *distance_least)
{
    /* A third of the word may be wrong: beyond that a guess misleads more than it helps. */
    uint32_t distance = option_distance(text, candidate);
    if (distance > 1 + (uint32_t)strlen(candidate) / 3 || distance >= *distance_least)
        return 0;
    *distance_least = distance;
    return 1;
}

const char *option_nearest_flag(const char *flag, uint32_t commands)
{
    const char *nearest = NULL;
    uint32_t least = DISTANCE_MAX;
    for (uint32_t i = 0; i < CONFIG_OPTION_COUNT; i++)
        if ((option_rows[i].commands & commands) != 0 &&
            option_is_near(flag, option_rows[i].flag, &least))
            nearest = option_rows[i].flag;
    return nearest;
}

const char *option_nearest_path(const char *path)
{
    static const char *const key_paths[] = {"auth/key",        "auth/key/id",
                                            "auth/key/public", "auth/key/algorithm",
                                            "auth/key/secret", "auth/key/secret_file"};
    const char *nearest = NULL;
    uint32_t least = DISTANCE_MAX;
    for (uint32_t i = 0; i < CONFIG_OPTION_COUNT; i++)
        if (option_rows[i].path[0] != '\0' && option_is_near(path, option_rows[i].path, &least))
            nearest = option_rows[i].path;
    for (size_t i = 0; i < sizeof(key_paths) / sizeof(key_paths[0]); i++)
        if (option_is_near(path, key_paths[i], &least))
            nearest = key_paths[i];
    return nearest;
}

static void print_initial(FILE *out, const struct option_row *row)
{
    switch (row->kind) {
    case OPTION_number:
        fprintf(out, "default %u; ", row->initial_number);
        break;
    case OPTION_duration:
        fprintf(out, "default %us; ", row->initial_number);
        break;
    case OPTION_boolean:
        break;
    default:
        if (row->initial_text != NULL)
            fprintf(out, "default %s; ", row->initial_text);
        break;
    }
}

void option_print_help(FILE *out, uint32_t commands)
{
    fprintf(out, "Options:\n");
    for (uint32_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        const struct option_row *row = &option_rows[i];
        if ((row->commands & commands) == 0)
            continue;
        char variable[OPTION_VARIABLE_SIZE];
        option_variable(row, variable);
        fprintf(out, "  --%s%s%s\n      %s\n      (", row->flag, row->metavar[0] != '\0' ? " " : "",
                row->metavar, row->prose);
        print_initial(out, row);
        fprintf(out, "%s%s%s)\n", variable, row->path[0] != '\0' ? ", in a file " : "", row->path);
    }
    fprintf(out, "  --help\n      print this\n");
}
