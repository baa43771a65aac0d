/* steward - an operator who takes routers out of the cluster: his word is given to one router after
 * another, until the one that leads the control group has done it. */
#ifndef TESTS_SIM_STEWARD_H
#define TESTS_SIM_STEWARD_H

#include "tests/sim/cluster.h"

enum errand_state {
    ERRAND_NONE,
    ERRAND_ASKING,  /* The word is given again and again until it is heard. */
    ERRAND_RESTING, /* Drained, and soon to be taken back. */
};

/* What he is about with one router. */
struct errand {
    struct steward *steward;
    struct sim_node *router;
    enum errand_state state;
    enum operate_action action; /* The word to be given now. */
    bool is_removal;            /* Once drained it goes for good; */
    bool is_hasty;              /* He asks all the while. */
    uint64_t rest_us;           /* else it is taken back after so long. */
    uint64_t req;
};

struct steward {
    struct cluster *cluster;
    struct errand errands[CLUSTER_ROUTERS_MAX];
    uint64_t req;
    uint64_t removals; /* Done. */
};

void steward_init(struct steward *s, struct cluster *cluster);

/* Drain, and remove it once it holds nothing. Nothing happens while he is about something else with
 * this router, or where no other one would be left. */
void steward_take_out(struct steward *s, struct sim_node *router, bool is_hasty);
/* Drain, and take it back after so long. */
void steward_rest(struct steward *s, struct sim_node *router, uint64_t us);

/* Is he done with everything? Else the reason is written into `why`. */
bool steward_is_done(const struct steward *s, char *why, size_t why_size);

#endif
