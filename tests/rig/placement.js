// placement - what `chatmesh status --json` says about groups, in the rig's words.

const REPLICAS = 3; // Of a group, where there are as many routers.
const CONTROL_GROUP = 4096;

/** Group to its copies: {node, state, term, applied, digest, replicas}. */
export function replicas(status) {
    const groups = new Map();
    for (const { id, groups: held } of status?.routers ?? []) {
        for (const { shard, state, term, applied, digest, replicas: servers } of held ?? []) {
            if (!groups.has(shard)) groups.set(shard, []);
            groups.get(shard).push({ node: id, state, term, applied, digest, servers });
        }
    }
    return groups;
}

function leaderOf(copies) {
    const leading = copies.filter((copy) => copy.state === 'leader');
    return leading.sort((a, b) => b.term - a.term)[0];
}

/** Shard to the id of the router that leads it. */
export function leaders(status) {
    const found = new Map();
    for (const [group, copies] of replicas(status)) {
        const leader = leaderOf(copies);
        if (leader !== undefined) found.set(group, leader.node);
    }
    return found;
}

/** The sum of all terms: every election adds at least one. */
export function terms(status) {
    let sum = 0;
    for (const copies of replicas(status).values())
        sum += Math.max(...copies.map((copy) => copy.term));
    return sum;
}

/** What keeps the cluster from being whole, leaderships at home; null where nothing does. */
export function whatIsMissing(status, routers) {
    const total = status?.shards?.total ?? 0;
    if (total === 0) return 'no status';
    if (status.routers.length !== routers)
        return `${status.routers.length} of ${routers} routers answer`;
    const joining = status.routers.find(({ waits_for: what }) => what !== undefined);
    if (joining !== undefined) return `${joining.id} waits for ${joining.waits_for}`;
    const idle = status.routers.find(({ groups: held }) => held.length === 0);
    if (idle !== undefined) return `${idle.id} holds nothing`;
    const groups = replicas(status);
    const wanted = Math.min(REPLICAS, routers);
    const voters = wanted - (wanted % 2 === 0 ? 1 : 0); // An even one only copies.
    for (const group of [...Array(total).keys(), CONTROL_GROUP]) {
        const copies = groups.get(group) ?? [];
        const leader = leaderOf(copies);
        const servers = leader?.servers ?? [];
        const voting = servers.filter((name) => !name.endsWith('~'));
        if (leader === undefined || copies.length !== wanted || servers.length !== wanted ||
            voting.length !== voters)
            return `group ${group}: [${servers.join(' ')}] of leader ${leader?.node}, copies on ` +
                copies.map(({ node }) => node).join(' ');
    }
    if (status.moves.pending > 0) return `${status.moves.pending} moves are pending`;
    return null;
}
