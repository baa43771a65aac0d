// measure - how long clients wait when nodes go: by SIGKILL one by one, or all in turn by SIGTERM.
import { sleep, until } from '../integration/cluster.js';
import { leaders } from './placement.js';
import { percentile, printSpan } from './report.js';
import { shardOf } from './siphash.js';

const SETTLED_MS = 2000; // Between two measurements, once all is well.
const READY_MS = 30000;
const PROBE_MS = 10; // Between two sends of a client that measures.

/** Wait until all is where it belongs and every gateway serves. Returns the status. */
async function allWell({ cluster, book }) {
    const missing = await cluster.missing(READY_MS);
    const isHealthy = () => cluster.isHealthy();
    const isWell = missing === null && (await until('health', isHealthy, READY_MS).catch(() => 0));
    if (isWell) return cluster.status();
    book.fault('C11', `not well within ${READY_MS} ms: ${missing ?? 'a gateway'}`);
    return null;
}

/** The first `sent` of each lane for what it said after then: ms. */
async function firstAnswers(lanes, begun, timeoutMs) {
    const answered = (lane) => lane.acks.find((ack) => ack.inventedAt >= begun);
    const deadline = performance.now() + timeoutMs;
    while (performance.now() < deadline && !lanes.every(answered)) await sleep(5);
    return lanes.map((lane) => (answered(lane)?.at ?? Infinity) - begun);
}

/** Kill the leader of a shard, `count` times; the first `sent` on that shard after it. */
export async function failover(world, load, count) {
    const { cluster, book, random } = world;
    const firsts = [];
    const alls = [];
    for (let i = 0; i < count; i++) {
        const status = await allWell(world);
        if (status === null) return;
        await sleep(SETTLED_MS * random.between(0.5, 1));
        const lane = random.oneOf(load.lanes);
        const shard = shardOf(status.cluster, status.shards.total, lane.conv);
        const node = cluster.nodes.get(leaders(status).get(shard));
        if (node === undefined) continue;
        const mine = load.lanes.filter(({ conv }) =>
            shardOf(status.cluster, status.shards.total, conv) === shard);
        for (const probe of mine) probe.pauseMs = PROBE_MS;
        await sleep(20 * PROBE_MS);
        const begun = performance.now();
        await node.killAndHold();
        if (cluster.routers.length === 1) node.start(); // Nobody else can answer.
        const times = await firstAnswers(mine, begun, READY_MS);
        for (const probe of mine) probe.pauseMs = load.pauseMs;
        firsts.push(Math.min(...times));
        alls.push(Math.max(...times));
        book.say(`${node.id} led shard ${shard}: ${Math.round(firsts.at(-1))} ms`);
        book.count('kills');
        node.start();
    }
    printSpan('from the kill of a shard\'s leader to its first `sent`', firsts);
    printSpan('and until every client of the shard had one', alls);
}

/** Restart every node by SIGTERM, in turn, under load. */
export async function rolling(world, load) {
    const { cluster, book } = world;
    const all = [];
    for (const node of [...cluster.nodes.values()]) {
        if ((await allWell(world)) === null) return;
        await sleep(SETTLED_MS);
        const begun = performance.now();
        const ended = await node.terminate();
        node.start();
        await allWell(world);
        await sleep(SETTLED_MS);
        const waits = load.lanes.map((lane) => Math.max(0, ...lane.acks
            .filter(({ at }) => at >= begun)
            .map((ack) => ack.at - Math.max(ack.inventedAt, begun))));
        all.push(...waits);
        const [median, worst] = [0.5, 1].map((share) => Math.round(percentile(waits, share)));
        book.say(`${node.id}: ended in ${Math.round(ended)} ms; longest wait of a client: ` +
            `median ${median} ms, max ${worst} ms`);
    }
    printSpan('longest wait of each client in each restart', all);
}
