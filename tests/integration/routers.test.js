// routers.test - several routers: how they come into a cluster, how one goes, and what an operator
// sees and says meanwhile.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { BINARY, Cluster, freePorts, run, temporaryFolder, until } from './cluster.js';
import { Peer } from './peer.js';

const SHARDS = 16; // Few, so that moving them all takes seconds on any machine.
const GROUPS = SHARDS + 1; // And the control group.
const MOVE_MS = 60000;

const args = ['--no-limits', '--shards', SHARDS];

/** Run `body` with a cluster of its own. */
async function withCluster(options, body) {
    const cluster = await Cluster.start({ routers: 3, gateways: 1, args, ...options });
    try {
        await body(cluster);
    } finally {
        await cluster.stop();
    }
}

async function status(cluster) {
    const { code, stdout, stderr } = await run(['status', '--json', '--data', cluster.data]);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout);
}

const member = (told, id) => told.members.find((each) => each.id === id);

/** Wait until every shard is led and each of these routers holds as many replicas as said. */
function untilHeld(cluster, held) {
    return until(
        `replicas are ${JSON.stringify(held)}`,
        async () => {
            const told = await status(cluster);
            const fits = Object.entries(held).every(([id, n]) => member(told, id)?.replicas === n);
            return fits && told.shards.led === SHARDS && told.moves.pending === 0 && told;
        },
        MOVE_MS,
    );
}

const logOf = (cluster, node) => readFileSync(join(cluster.data, `${node}.log`), 'utf8');

/** Wait until `router` hears `other`: who asks for the status may have heard it sooner. */
function untilHears(cluster, router, other) {
    const events = new RegExp(` peer_(up|down) self=${router} node=${other} `, 'g');
    const last = () => [...logOf(cluster, router).matchAll(events)].at(-1)?.[1];
    return until(`${router} hears ${other}`, () => last() === 'up');
}

/** What the operator asks over HTTP, again for as long as that is unavailable. */
async function ask(cluster, method, path, body) {
    const key = readFileSync(join(cluster.data, 'api.key'), 'utf8').trim();
    for (;;) {
        const response = await fetch(cluster.http() + path, {
            method,
            headers: { Authorization: `Bearer ${key}` },
            body: body && JSON.stringify(body),
        });
        const answer = await response.json();
        if (response.ok) return answer;
        assert.equal(response.status, 503, JSON.stringify(answer));
    }
}

const ALL = { r1: GROUPS, r2: GROUPS, r3: GROUPS };

test('three routers come together, hold three replicas of everything, and share the lead', () =>
    withCluster({}, async (cluster) => {
        const told = await untilHeld(cluster, ALL);
        assert.deepEqual(
            told.members.map(({ id, state, up, weight }) => ({ id, state, up, weight })),
            ['r1', 'r2', 'r3'].map((id) => ({ id, state: 'active', up: true, weight: 100 })),
        );
        for (const { id, led } of told.members) assert.ok(led > 0, `${id} leads nothing`);
        const plain = await run(['status', '--data', cluster.data]);
        assert.equal(plain.code, 0);
        assert.match(plain.stdout, /^r2 +active +- +\d+ +17 +0 +/m);
        assert.match(plain.stdout, /^shards 16, led 16; routers 3, gateways 1; nothing moves$/m);
    }));

test('who reads ready may kill any router, the first one too', async () => {
    // All 64 shards: with few of them placement is over too soon to be missed.
    const cluster = await Cluster.start({ routers: 3, gateways: 1 });
    try {
        await cluster.kill('r1');
        await until('all shards are led', async () => (await status(cluster)).shards.led === 64);
    } finally {
        await cluster.stop();
    }
});

/** Send until it is acknowledged: `unavailable` means to try again with the same cid. */
function say(peer, body) {
    return until(`${body} is acknowledged`, async () => {
        const reply = await peer.ask('send', { to: 'bob', cid: body, body });
        return reply.type === 'sent' && reply;
    });
}

test('what was acknowledged survives the death of any one router', () =>
    withCluster({ args: [...args, '--respawn'] }, async (cluster) => {
        await untilHeld(cluster, ALL);
        const alice = await Peer.join(cluster, 'alice');
        const bodies = [];
        let conv;
        for (const router of ['r1', 'r2', 'r3']) {
            for (const word of ['before', 'without']) {
                bodies.push(`${word} ${router}`);
                ({ conv } = await say(alice, bodies.at(-1)));
                if (word === 'before') await cluster.kill(router);
            }
            await until(`${router} is back`, () => cluster.pid(router) !== null);
            await untilHeld(cluster, ALL);
        }
        const messages = (await alice.log(conv)).filter(({ type }) => type === 'message');
        assert.deepEqual(messages.map(({ body }) => body), bodies);
    }));

test('an erased user is out of what he came into just before, though a router had died', () =>
    withCluster({ args: [...args, '--respawn'] }, async (cluster) => {
        await untilHeld(cluster, ALL);
        for (const router of ['r1', 'r2', 'r3']) {
            const victim = `victim-${router}`;
            await cluster.kill(router);
            const groups = [];
            for (let k = 0; k < SHARDS; k++) {
                const group = { from: 'owner', members: [victim], cid: `${victim}-${k}` };
                groups.push((await ask(cluster, 'POST', '/v1/conversations', group)).conv);
            }
            await ask(cluster, 'DELETE', `/v1/users/${victim}`);
            for (const conv of groups) {
                const { members } = await ask(cluster, 'GET', `/v1/conversations/${conv}/members`);
                assert.deepEqual(members.map(({ user }) => user), ['owner'], conv);
            }
            await until(`${router} is back`, () => cluster.pid(router) !== null);
            await untilHeld(cluster, ALL);
        }
    }));

test('SIGTERM hands over what a router leads, and clients hardly notice', () =>
    withCluster({ args: [...args, '--respawn'] }, async (cluster) => {
        await untilHeld(cluster, ALL);
        const alice = await Peer.join(cluster, 'alice');
        for (const router of ['r1', 'r2', 'r3']) {
            const pid = cluster.pid(router);
            cluster.signal(router, 'SIGTERM');
            await say(alice, `while ${router} goes`);
            await until(`${router} is back`, () => ![null, pid].includes(cluster.pid(router)));
            assert.match(
                logOf(cluster, router),
                new RegExp(` handed_over self=${router} complete=1`),
            );
            await untilHeld(cluster, ALL);
        }
    }));

test('two routers: each hands the other what it leads, and the last one active is not drained', () =>
    withCluster({ routers: 2, args: [...args, '--respawn'] }, async (cluster) => {
        const both = { r1: GROUPS, r2: GROUPS };
        const alice = await Peer.join(cluster, 'alice');
        await untilHeld(cluster, both);
        // The second as soon as the first is there again, whose copies are not whole yet.
        for (const [router, other] of [['r1', 'r2'], ['r2', 'r1']]) {
            await untilHears(cluster, router, other);
            const pid = cluster.pid(router);
            cluster.signal(router, 'SIGTERM');
            for (let n = 0; cluster.pid(router) === pid; n++) {
                const asked = Date.now();
                await alice.must('send', { to: `bob${n}`, cid: router, body: n }); // Any shard.
                assert.ok(Date.now() - asked < 2000, `answered after ${Date.now() - asked} ms`);
            }
            const complete = new RegExp(` handed_over self=${router} complete=1 alone=0$`, 'm');
            assert.match(logOf(cluster, router), complete);
        }
        await alice.close();
        await untilHeld(cluster, both);

        const operate = (command, node) =>
            run([command, node, '--data', cluster.data], { timeout: MOVE_MS });
        assert.equal((await operate('undrain', 'r1')).stdout, 'r1: it takes part already\n');
        const drained = await operate('drain', 'r2');
        assert.equal(drained.code, 0, drained.stderr);
        const last = await operate('drain', 'r1');
        assert.equal(last.code, 2, last.stderr);
        assert.match(last.stderr, /^chatmesh: r1: no other router is active: .+\n$/);
        assert.equal(member(await status(cluster), 'r1').state, 'active');
        assert.match((await operate('undrain', 'r2')).stdout, /^r2 takes part again/);
        assert.equal((await operate('drain', 'r1')).code, 0);
    }));

test('a router is drained, removed, and its name does not come back', () =>
    withCluster({ routers: 4 }, async (cluster) => {
        const told = await until('four share', async () => {
            const now = await status(cluster);
            const all = now.members.reduce((sum, each) => sum + each.replicas, 0);
            const fair = now.members.every(({ replicas }) => replicas > 0 && replicas < GROUPS);
            return all === 3 * GROUPS && fair && now.moves.pending === 0 && now;
        }, MOVE_MS);
        assert.equal(told.members.length, 4);

        const operate = (command, node, ...more) =>
            run([command, node, '--data', cluster.data, ...more], { timeout: MOVE_MS });
        const unknown = await operate('drain', 'r9');
        assert.equal(unknown.code, 2, unknown.stderr);
        assert.match(unknown.stderr, /r9/);
        const early = await operate('remove', 'r2');
        assert.equal(early.code, 2, early.stderr);
        assert.equal(early.stderr.trim().split('\n').length, 1, early.stderr);

        const drained = await operate('drain', 'r2');
        assert.equal(drained.code, 0, drained.stderr);
        assert.match(drained.stdout, /^r2 drains: /);
        assert.match(drained.stdout, /^r2 holds no replicas: chatmesh remove r2 takes it off/m);
        const after = await status(cluster);
        assert.equal(member(after, 'r2').state, 'draining');
        assert.equal(member(after, 'r2').replicas, 0);
        assert.equal(after.shards.led, SHARDS);

        assert.equal((await operate('undrain', 'r2')).code, 0);
        await until('it takes part again', async () => {
            return member(await status(cluster), 'r2').replicas > 0;
        }, MOVE_MS);
        assert.equal((await operate('drain', 'r2')).code, 0);

        const removed = await operate('remove', 'r2');
        assert.equal(removed.code, 0, removed.stderr);
        await until('it has ended', () => / router_stopped self=r2 code=0/.test(logOf(cluster, 'r2')));
        const data = temporaryFolder();
        const port = await freePorts(3);
        const { join: joins } = JSON.parse(readFileSync(join(cluster.data, 'dev.json'), 'utf8'));
        const back = await run([
            'router',
            ...['--id', 'r2', '--data', data, '--listen', `tcp://127.0.0.1:${port}`],
            ...['--key', join(cluster.data, 'cluster.key'), '--join', joins[0]],
        ]);
        rmSync(data, { recursive: true, force: true });
        assert.equal(back.code, 2, back.stderr);
        assert.match(back.stderr, /^chatmesh: r2 was removed from this cluster; join under a new --id$/m);
    }));

test('a router with an empty disk does not take the id of one that runs, but of one that died', () =>
    withCluster({}, async (cluster) => {
        const since = ({ nodes }) => nodes.find(({ id }) => id === 'r2').up_since;
        const before = since(await untilHeld(cluster, ALL));
        const data = temporaryFolder();
        const port = await freePorts(3);
        const { join: joins } = JSON.parse(readFileSync(join(cluster.data, 'dev.json'), 'utf8'));
        const command = [
            'router',
            ...['--id', 'r2', '--data', data, '--listen', `tcp://127.0.0.1:${port}`],
            ...['--key', join(cluster.data, 'cluster.key')],
            ...joins.flatMap((seed) => ['--join', seed]),
        ];
        const refused = await run(command);
        assert.equal(refused.code, 2, refused.stderr);
        assert.match(refused.stderr, /^chatmesh: a router r2 runs already, at tcp:.*--id/m);
        assert.equal(since(await status(cluster)), before);
        await cluster.kill('r2');
        const instead = spawn(BINARY, command, { stdio: 'ignore' });
        try {
            await untilHeld(cluster, ALL);
        } finally {
            instead.kill('SIGKILL');
            await once(instead, 'exit');
            rmSync(data, { recursive: true, force: true });
        }
    }));

test('the same folder continues the same cluster, whichever router was its first', async () => {
    let cluster = await Cluster.start({ routers: 3, gateways: 1, args });
    const before = await untilHeld(cluster, ALL);
    await cluster.stop({ keep: true });
    cluster = await Cluster.start({ routers: 3, gateways: 1, args, data: cluster.data });
    try {
        const after = await untilHeld(cluster, ALL);
        assert.equal(after.cluster, before.cluster);
        // The first router's disk is replaced: it joins the others, and founds nothing.
        await cluster.stop({ keep: true });
        rmSync(join(cluster.data, 'r1'), { recursive: true });
        cluster = await Cluster.start({ routers: 3, gateways: 1, args, data: cluster.data });
        assert.equal((await untilHeld(cluster, ALL)).cluster, before.cluster);
        // One of them is not there any more: ready waits for what the others can hold.
        await cluster.stop({ keep: true });
        const begun = Date.now();
        cluster = await Cluster.start({ routers: 2, gateways: 1, args, data: cluster.data });
        assert.ok(Date.now() - begun < 10000, `ready after ${Date.now() - begun} ms`);
        assert.doesNotMatch(cluster.output, /not everything/);
    } finally {
        await cluster.stop();
    }
});
