/* config_rule - what a value must be beyond its kind: one rule an option, and every source of
 * values, `config check` and start alike, asks it.
 *
 * A rule judges one value by itself. What two of them mean together (an endpoint beyond loopback
 * and no key) may come from two sources, so it is judged at start: node_start_check(). */
#ifndef NODES_CONFIG_RULE_H
#define NODES_CONFIG_RULE_H

#include "nodes/config.h"

/* NULL where the option may be `text`; else what it has to be, to stand after the option's name:
 * "is a numeric IPv4 or IPv6 address". Pure. */
const char *config_rule_mistake(enum config_option option, const char *text);

#endif
