// faults - what happens to the cluster: one row a kind, numbered as in README.md.
//
// A fault begins, lasts, and ends with everything as it was: its `run` returns when that is so.
// What a kind needs (several routers, namespaces) is its `when`; its weight is how many
// cards of it are in the deck.
import { sleep } from '../integration/cluster.js';
import { between } from './network.js';
import { leaders } from './placement.js';

const READY_MS = 30000; // A node that was restarted serves within,
const MOVED_MS = 120000; // and a router's copies are elsewhere within.

/** What faults work with. */
export class Scene {
    /** `longestMs` bounds how long one fault lasts, `routersMax` how far the cluster grows. */
    constructor({ cluster, book, random, people, longestMs, routersMax }) {
        Object.assign(this, { cluster, book, random, people, longestMs, routersMax });
        this.network = cluster.network;
        this.minimum = cluster.routers.length;
    }

    get routers() {
        return this.cluster.routers;
    }

    get gateways() {
        return this.cluster.gatewayNodes;
    }

    get routerNames() {
        return this.routers.map((node) => node.id);
    }

    get gatewayNames() {
        return this.gateways.map((node) => node.id);
    }

    get names() {
        return [...this.routerNames, ...this.gatewayNames];
    }

    router() {
        return this.random.oneOf(this.routers);
    }

    gateway() {
        return this.random.oneOf(this.gateways);
    }

    /** The router that leads some shard, so that it matters. */
    async leader() {
        const leading = [...leaders(await this.cluster.status()).values()];
        const id = leading.length > 0 ? this.random.oneOf(leading) : this.router().id;
        return this.cluster.nodes.get(id) ?? this.router();
    }

    /** Last for a while; short spans are as likely as long ones. */
    hold(leastMs, mostMs) {
        const ms = this.random.span(leastMs, mostMs);
        return sleep(Math.max(leastMs, Math.min(ms, this.longestMs)));
    }

    /** These pairs are cut for a while. */
    async cutFor(pairs, leastMs, mostMs) {
        this.network.cut(pairs);
        await this.hold(leastMs, mostMs);
        this.network.heal();
    }

    /** Wait until it is so; a violation of liveness otherwise. */
    async wait(what, isTrue, timeoutMs = READY_MS) {
        const deadline = performance.now() + timeoutMs;
        while (performance.now() < deadline) {
            if (await isTrue()) return true;
            await sleep(300);
        }
        this.book.fault('C11', `not within ${timeoutMs} ms: ${what}`);
        return false;
    }

    /** Every group is led, every copy is where it should be. */
    async settled(timeoutMs = MOVED_MS) {
        const missing = await this.cluster.missing(timeoutMs);
        if (missing !== null) this.book.fault('C11', `not within ${timeoutMs} ms: ${missing}`);
        return missing === null;
    }
}

const hasMany = (s) => s.routers.length >= 3;
const hasNetwork = (s) => s.network !== null;
const isCuttable = (s) => hasNetwork(s) && hasMany(s);
const isRingable = (s) => isCuttable(s) && s.routers.length > 3;
const ids = (nodes) => nodes.map((node) => node.id).join(' ');

/* ---- F1, F2, F21: processes die ---- */

async function killFor(s, nodes, downMs, afterwards = () => {}) {
    await Promise.all(nodes.map((node) => node.killAndHold()));
    nodes.forEach(afterwards);
    await sleep(downMs);
    for (const node of s.random.shuffled(nodes)) {
        node.start();
        await sleep(s.random.between(0, 200));
    }
    s.book.count('kills', nodes.length);
    return ids(nodes);
}

async function killRouter(s) {
    return killFor(s, [s.router()], s.random.span(100, 5000));
}

async function killLeader(s) {
    return killFor(s, [await s.leader()], s.random.span(100, 5000));
}

async function killTwo(s) {
    const two = s.random.shuffled(s.routers).slice(0, 2);
    return killFor(s, two, s.random.span(100, 3000));
}

async function killAllRouters(s) {
    return killFor(s, s.routers, s.random.span(50, 2000));
}

async function killEverything(s) {
    return killFor(s, [...s.routers, ...s.gateways], s.random.span(50, 1000));
}

/** What was not synced is gone with the process; slow disks have more of it. */
async function losePower(s, nodes, downMs) {
    let lost = 0;
    const slowMs = s.random.chance(0.5) ? s.random.span(20, 400) : 0;
    const disks = nodes.flatMap(({ disk }) => disk ?? []);
    if (slowMs > 0) for (const disk of disks) disk.slow(slowMs);
    await sleep(2 * slowMs);
    const killed = await killFor(s, nodes, downMs, ({ disk }) => {
        lost += disk?.losePower(s.random) ?? 0;
        disk?.slow(s.cluster.syncMs);
    });
    s.book.count('power cuts', nodes.length);
    s.book.count('unsynced bytes lost', lost);
    return `${killed}, ${lost} bytes were not synced`;
}

async function powerOfOne(s) {
    return losePower(s, [s.random.chance(0.5) ? s.router() : await s.leader()], 500);
}

async function powerOfAll(s) {
    return losePower(s, [...s.routers, ...s.gateways], s.random.span(50, 1000));
}

/** Also while it recovers from the kill before. */
async function killAgainAndAgain(s) {
    const node = s.router();
    for (let i = 0; i < 4; i++) await killFor(s, [node], s.random.between(0, 400));
    return node.id;
}

async function killGateway(s) {
    return killFor(s, [s.gateway()], s.random.span(100, 3000));
}

/* ---- F6 to F8: the network is cut ---- */

async function cutOffRouter(s) {
    const node = s.random.chance(0.5) ? s.router() : await s.leader();
    await s.cutFor(between([node.id], s.names), 1000, 20000);
    return node.id;
}

/** Two halves with a gateway each: clients of the smaller one must get no false answer. */
async function cutInHalves(s) {
    const routers = s.random.shuffled(s.routerNames);
    const gateways = s.random.shuffled(s.gatewayNames);
    const few = Math.floor((routers.length - 1) / 2);
    const minority = [...routers.slice(0, few), gateways[0]];
    const majority = s.names.filter((name) => !minority.includes(name));
    await s.cutFor(between(minority, majority), 1000, 20000);
    return `${minority.join(' ')} | ${majority.join(' ')}`;
}

async function cutAllRouters(s) {
    await s.cutFor(between(s.routerNames, s.routerNames), 500, 8000);
    return 'each on its own';
}

async function cutOneLink(s) {
    const [a, b] = s.random.shuffled(s.routerNames);
    await s.cutFor(between([a], [b]), 1000, 20000);
    return `${a} - ${b}`;
}

/** Two halves that only one router sees both of; of three routers, the two ends of a chain. */
async function cutToBridge(s) {
    const [, ...others] = s.random.shuffled(s.routerNames);
    const half = Math.floor(others.length / 2);
    const left = [...others.slice(0, half), s.gatewayNames[0]];
    const right = [...others.slice(half), ...s.gatewayNames.slice(1)];
    await s.cutFor(between(left, right), 1000, 15000);
    return `${left.join(' ')} | ${right.join(' ')}`;
}

/** Each router hears its two neighbours only. */
async function cutToRing(s) {
    const ring = s.random.shuffled(s.routerNames);
    const pairs = ring.flatMap((a, i) => ring.flatMap((b, j) => {
        const distance = Math.min(Math.abs(i - j), ring.length - Math.abs(i - j));
        return distance > 1 ? between([a], [b]) : [];
    }));
    await s.cutFor(pairs, 1000, 15000);
    return ring.join(' - ');
}

async function cutGatewayFromRouter(s) {
    const [gateway, router] = [s.gateway(), s.router()];
    await s.cutFor(between([gateway.id], [router.id]), 1000, 15000);
    return `${gateway.id} - ${router.id}`;
}

async function cutGatewayFromAll(s) {
    const gateway = s.gateway();
    await s.cutFor(between([gateway.id], s.routerNames), 1000, 15000);
    return `${gateway.id} - ${s.routerNames.join(' ')}`;
}

async function cutClients(s) {
    const gateway = s.gateway();
    s.cluster.cutOff(gateway, true);
    await s.hold(1000, 15000);
    s.cluster.cutOff(gateway, false);
    return `clients - ${gateway.id}`;
}

async function deafLeader(s) {
    const node = await s.leader();
    await s.cutFor(s.names.map((name) => [name, node.id]), 1000, 15000);
    return `${node.id} hears nobody`;
}

async function muteLeader(s) {
    const node = await s.leader();
    await s.cutFor(s.names.map((name) => [node.id, name]), 1000, 15000);
    return `nobody hears ${node.id}`;
}

async function oneWayLink(s) {
    const [a, b] = s.random.shuffled(s.names);
    await s.cutFor([[a, b]], 1000, 15000);
    return `${b} does not hear ${a}`;
}

/** Comes and goes faster than anything settles. */
async function flappingLink(s) {
    const node = s.router();
    for (let i = 0; i < 8; i++) {
        await s.cutFor(between([node.id], s.names), 100, 900);
        await sleep(s.random.between(50, 700));
    }
    return node.id;
}

/* ---- F11: processes stand still ---- */

async function stopFor(s, node) {
    node.stop();
    await s.hold(100, 20000);
    node.resume();
    s.book.count('pauses');
    return node.id;
}

const stopLeader = async (s) => stopFor(s, await s.leader());
const stopGateway = (s) => stopFor(s, s.gateway());

/* ---- F4, F13, F14: disks ---- */

/** A log has room set aside for a while: what needs some at once is a start. */
async function fillDisk(s) {
    const node = await excused(s);
    const starts = s.random.chance(0.5);
    node.disk.fill();
    await sleep(s.random.between(0, 1000));
    if (starts) node.kill();
    await s.hold(1000, 8000);
    node.disk.free();
    return starts ? `${node.id}, and it starts` : node.id;
}

/** A router whose disk is about to fail: it may end, and is started again. */
async function excused(s) {
    const node = s.random.chance(0.5) ? s.router() : await s.leader();
    node.excuse(s.longestMs);
    return node;
}

async function failSyncs(s) {
    const { disk, id } = await excused(s);
    const before = disk.failed;
    disk.failSyncs(1 + Math.floor(s.random.between(0, 2)));
    await s.hold(500, 2000);
    disk.failSyncs(0);
    s.book.count('syncs failed', disk.failed - before);
    return id;
}

async function slowDisk(s) {
    const node = s.random.chance(0.5) ? s.router() : await s.leader();
    const ms = s.random.span(20, 1000);
    node.disk.slow(ms);
    await s.hold(2000, 12000);
    node.disk.slow(s.cluster.syncMs);
    return `${node.id}, ${Math.round(ms)} ms a sync`;
}

/** The disk is lost with all that was on it; the others have it still. */
async function loseDisk(s) {
    if (!(await s.settled())) return 'not tried';
    const node = s.router();
    await node.killAndHold();
    node.disk.wipe();
    node.start();
    s.book.count('disks lost');
    await s.settled();
    return node.id;
}

/* ---- F16 to F18: the cluster changes ---- */

async function scaleOut(s) {
    const node = await s.cluster.addRouter();
    s.book.count('routers added');
    await s.settled();
    return node.id;
}

/** An operator asks until it is done: he may be told that nobody leads just now. */
async function ask(s, words) {
    let done;
    const isDone = async () => (done = await s.cluster.command(words, MOVED_MS)).code === 0;
    if (await s.wait(words.join(' '), isDone, MOVED_MS)) return;
    s.book.say(`${words.join(' ')}: ${done.stderr.trim()}`);
}

async function removeForGood(s, node) {
    await ask(s, ['remove', node.id]);
    await s.cluster.forget(node);
    s.book.count('routers removed');
    await s.settled();
}

/** Hand everything over, then leave for good. */
async function drainAndRemove(s) {
    const node = s.router();
    await ask(s, ['drain', node.id]);
    await removeForGood(s, node);
    return node.id;
}

/** While it hands over, routers die, it among them. */
async function killWhileDraining(s) {
    const node = s.router();
    const isDrained = ask(s, ['drain', node.id]);
    const killed = [];
    for (let i = 0; i < 3; i++) {
        await sleep(s.random.between(200, 2000));
        const victim = i === 0 ? node : s.router();
        killed.push(await killFor(s, [victim], s.random.span(100, 2000)));
    }
    await isDrained;
    await removeForGood(s, node);
    return `${node.id} drains, ${killed.join(' ')} die`;
}

async function drainAndTakeBack(s) {
    const node = s.router();
    await ask(s, ['drain', node.id, '--wait=false']);
    await sleep(s.random.between(0, 4000));
    await ask(s, ['undrain', node.id]);
    await s.settled();
    return node.id;
}

/** It never comes back: what it held is made anew from the others. */
async function removeDead(s) {
    const node = s.router();
    await node.killAndHold();
    s.book.count('kills');
    await removeForGood(s, node);
    return node.id;
}

/** Its copies are made elsewhere before it comes back. */
async function outlastGrace(s) {
    const node = s.router();
    await killFor(s, [node], s.cluster.graceMs + s.random.between(3000, 8000));
    await s.settled();
    return node.id;
}

/** Copies are on their way while a router dies, and again. */
async function killWhileMoving(s) {
    const node = await s.cluster.addRouter();
    s.book.count('routers added');
    const killed = [];
    for (let i = 0; i < 3; i++) {
        await sleep(s.random.between(200, 2500));
        killed.push(await killFor(s, [s.router()], s.random.span(100, 2000)));
    }
    await s.settled();
    return `${node.id} comes, ${killed.join(' ')} die`;
}

async function restartAll(s) {
    for (const node of s.random.shuffled([...s.routers, ...s.gateways])) {
        await node.terminate();
        node.start();
        s.book.count('restarts');
        if (!(await s.wait(`${node.id} is back`, () => s.cluster.isHealthy()))) break;
        if (hasMany(s)) await s.settled(READY_MS);
    }
    return 'each in turn';
}

/* ---- Clients ---- */

async function dropClients(s) {
    for (const person of s.people) if (s.random.chance(0.5)) person.socket?.terminate();
    return 'half of them';
}

async function restartClients(s) {
    for (const person of s.people) if (s.random.chance(0.5)) person.restart();
    return 'half of them, without memory';
}

const canGrow = (s) => s.routers.length < s.routersMax;
const isLong = (s) => hasMany(s) && s.longestMs > s.cluster.graceMs;
const canShrink = (s) => s.routers.length > s.minimum;
const canLoseOne = (s) => canShrink(s) && s.routers.length > 3;
const hasShim = (s) => s.cluster.shim !== null;
const canLosePower = (s) => hasShim(s) && s.cluster.hasOwnDisks;

export const FAULTS = [
    { kind: 'F1 router killed', weight: 3, run: killRouter },
    { kind: 'F1 leader killed', weight: 4, run: killLeader },
    { kind: 'F1 two routers killed', weight: 1, run: killTwo, when: hasMany },
    { kind: 'F1 all routers killed', weight: 2, run: killAllRouters, when: hasMany },
    { kind: 'F1 everything killed', weight: 1, run: killEverything },
    { kind: 'F1 killed while it starts', weight: 1, run: killAgainAndAgain },
    { kind: 'F2 power lost', weight: 2, run: powerOfOne, when: canLosePower },
    { kind: 'F2 power of all lost', weight: 2, run: powerOfAll, when: canLosePower },
    { kind: 'F4 syncs fail', weight: 1, run: failSyncs, when: hasShim },
    { kind: 'F6 router cut off', weight: 3, run: cutOffRouter, when: hasNetwork },
    { kind: 'F6 halves', weight: 2, run: cutInHalves, when: isCuttable },
    { kind: 'F6 no router hears another', weight: 1, run: cutAllRouters, when: isCuttable },
    { kind: 'F7 one link', weight: 2, run: cutOneLink, when: isCuttable },
    { kind: 'F7 bridge', weight: 1, run: cutToBridge, when: isCuttable },
    { kind: 'F7 ring', weight: 1, run: cutToRing, when: isRingable },
    { kind: 'F7 gateway, one router', weight: 1, run: cutGatewayFromRouter, when: hasNetwork },
    { kind: 'F7 gateway, all routers', weight: 1, run: cutGatewayFromAll, when: hasNetwork },
    { kind: 'F7 gateway, its clients', weight: 1, run: cutClients, when: hasNetwork },
    { kind: 'F8 deaf leader', weight: 2, run: deafLeader, when: hasNetwork },
    { kind: 'F8 mute leader', weight: 2, run: muteLeader, when: hasNetwork },
    { kind: 'F8 one way', weight: 1, run: oneWayLink, when: hasNetwork },
    { kind: 'F8 flapping', weight: 1, run: flappingLink, when: hasNetwork },
    { kind: 'F11 leader stands still', weight: 3, run: stopLeader },
    { kind: 'F11 gateway stands still', weight: 1, run: stopGateway },
    { kind: 'F13 disk full', weight: 1, run: fillDisk, when: (s) => s.cluster.hasOwnDisks },
    { kind: 'F14 slow disk', weight: 2, run: slowDisk, when: hasShim },
    { kind: 'F16 disk lost', weight: 1, run: loseDisk, when: hasMany },
    { kind: 'F17 router added', weight: 1, run: scaleOut, when: canGrow },
    { kind: 'F17 router removed', weight: 2, run: drainAndRemove, when: canShrink },
    { kind: 'F17 dead router removed', weight: 1, run: removeDead, when: canLoseOne },
    { kind: 'F17 killed while draining', weight: 1, run: killWhileDraining, when: canShrink },
    { kind: 'F17 drain taken back', weight: 1, run: drainAndTakeBack, when: hasMany },
    { kind: 'F17 grace outlasted', weight: 1, run: outlastGrace, when: isLong },
    { kind: 'F17 killed while moving', weight: 1, run: killWhileMoving, when: canGrow },
    { kind: 'F18 rolling restart', weight: 1, run: restartAll },
    { kind: 'F21 gateway killed', weight: 2, run: killGateway },
    { kind: 'F21 connections lost', weight: 1, run: dropClients },
    { kind: 'F21 clients restart', weight: 1, run: restartClients },
];

/** Every card once before any comes again. */
export class Deck {
    constructor(random, faults) {
        this.random = random;
        this.faults = faults;
        this.cards = [];
    }

    /** The next that is possible now; null where none is. */
    draw(scene) {
        for (let round = 0; round < 2; round++) {
            const at = this.cards.findIndex(({ when }) => when === undefined || when(scene));
            if (at >= 0) return this.cards.splice(at, 1)[0];
            const all = this.faults.flatMap((fault) => Array(fault.weight).fill(fault));
            this.cards = this.#firstEachOnce(this.random.shuffled(all));
        }
        return null;
    }

    /** So that a short run, too, sees as many kinds as it can. */
    #firstEachOnce(cards) {
        const seen = new Set();
        const [first, later] = [[], []];
        for (const card of cards) {
            (seen.has(card) ? later : first).push(card);
            seen.add(card);
        }
        return [...first, ...later];
    }
}
