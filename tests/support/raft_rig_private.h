/* raft_rig_private - what the files of raft_rig share. */
#ifndef TESTS_SUPPORT_RAFT_RIG_PRIVATE_H
#define TESTS_SUPPORT_RAFT_RIG_PRIVATE_H

#include "tests/support/raft_rig.h"

/* ---- raft_rig_net.c ---- */

void raft_rig_violate(struct raft_rig *rig, const char *what, uint64_t which, const char *where);
void raft_rig_expect_ok(struct raft_rig_node *node, enum rc rc);
void raft_rig_watch(struct raft_rig *rig); /* After every step. */
void raft_rig_note_applied(struct raft_rig_node *node, uint64_t index, struct slice data);
void raft_rig_on_send(void *node, struct slice to, struct slice record);
/* What a node said in this turn leaves. */
void raft_rig_flush(struct raft_rig *rig, uint32_t from);
void raft_rig_drop_unsent(struct raft_rig *rig, uint32_t from);
void raft_rig_deliver_due(struct raft_rig *rig);

#endif
