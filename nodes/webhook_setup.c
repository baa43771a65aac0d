#include "nodes/webhook_setup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mesh/base/crypto.h"
#include "mesh/base/mem.h"
#include "nodes/tools.h"

/* Why the file's first line is not the secret, or NULL. O_NONBLOCK: a FIFO must not block us. */
static const char *read_line(const char *name, char line[WEBHOOK_SECRET_SIZE_MAX + 2])
{
    struct stat status;
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return strerror(errno);
    bool is_file = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
    ssize_t size = is_file ? read(fd, line, WEBHOOK_SECRET_SIZE_MAX + 1) : -1;
    close(fd);
    if (size < 0)
        return "it is not a file";
    if ((status.st_mode & 07) != 0)
        return "it may be read by everybody: chmod 600 it";
    line[size] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    if (line[0] == '\0')
        return "its first line is empty";
    return strlen(line) > WEBHOOK_SECRET_SIZE_MAX ? "its first line is too long" : NULL;
}

static int read_secret(const struct config *c, char **ret_secret)
{
    char line[WEBHOOK_SECRET_SIZE_MAX + 2];
    const char *mistake = read_line(c->webhook_secret_file, line);
    if (mistake == NULL)
        *ret_secret = mem_string(line, strlen(line));
    crypto_wipe(line, sizeof(line));
    if (mistake == NULL)
        return EXIT_FINE;
    return tools_fail(EXIT_MISTAKE, "%s: %s: %s",
                      config_where(c, CONFIG_OPTION_webhook_secret_file), c->webhook_secret_file,
                      mistake);
}

/* A file that is named is read also where there is no webhook: it was meant for one. */
int webhook_setup_secret(const struct config *c, char **ret_secret)
{
    *ret_secret = NULL;
    if (c->webhook_secret != NULL && c->webhook_secret_file != NULL)
        return tools_fail(EXIT_MISTAKE,
                          "%s: the webhook has two secrets: give either a secret or a file with it",
                          config_where(c, CONFIG_OPTION_webhook_secret_file));
    if (c->webhook_secret_file != NULL) {
        int code = read_secret(c, ret_secret);
        if (c->webhook == NULL)
            webhook_setup_forget(ret_secret);
        return code;
    }
    if (c->webhook == NULL)
        return EXIT_FINE;
    if (c->webhook_secret == NULL)
        return tools_fail(EXIT_MISTAKE,
                          "%s needs a secret to sign with: give push/secret_file in the file, "
                          "--webhook-secret-file or CHATMESH_WEBHOOK_SECRET",
                          config_where(c, CONFIG_OPTION_webhook));
    *ret_secret = mem_string(c->webhook_secret, strlen(c->webhook_secret));
    return EXIT_FINE;
}

void webhook_setup_forget(char **secret)
{
    char *taken = *secret;
    *secret = NULL;
    if (taken != NULL)
        crypto_wipe(taken, strlen(taken));
    mem_free(taken);
}

int webhook_setup_check(const struct config *c)
{
    char *secret;
    int code = webhook_setup_secret(c, &secret);
    webhook_setup_forget(&secret);
    return code;
}
