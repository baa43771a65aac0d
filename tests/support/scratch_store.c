#include "tests/support/scratch_store.h"

#include <stdio.h>
#include <stdlib.h>

#include "mesh/base/check.h"
#include "storage/mem_kv.h"
#include "storage/rocks_kv.h"

static void open_store(struct scratch_store *s)
{
    static const struct rocks_kv_options options = {0};
    char sentence[512];
    if (s->dir[0] == '\0') {
        s->kv = mem_kv_new();
    } else {
        enum rc rc = rocks_kv_open(s->dir, &options, &s->kv, sentence, sizeof(sentence));
        CHECK(rc == RC_OK);
    }
    s->batch = s->kv->ops->batch_new(s->kv);
}

static void close_store(struct scratch_store *s)
{
    s->kv->ops->batch_free(&s->batch);
    s->kv->ops->close(&s->kv);
}

void scratch_store_open(struct scratch_store *s, bool is_on_disk)
{
    s->dir[0] = '\0';
    if (is_on_disk) {
        snprintf(s->dir, sizeof(s->dir), "/tmp/scratch_store.XXXXXX");
        CHECK(mkdtemp(s->dir) != NULL);
    }
    open_store(s);
}

void scratch_store_close(struct scratch_store *s)
{
    close_store(s);
    if (s->dir[0] == '\0')
        return;
    char command[64];
    snprintf(command, sizeof(command), "rm -rf %s", s->dir);
    int status = system(command);
    CHECK(status == 0);
}

void scratch_store_write(struct scratch_store *s)
{
    enum rc rc = s->kv->ops->write(s->kv, s->batch);
    CHECK(rc == RC_OK);
}

void scratch_store_reopen(struct scratch_store *s)
{
    if (s->dir[0] == '\0')
        return;
    close_store(s);
    open_store(s);
}
