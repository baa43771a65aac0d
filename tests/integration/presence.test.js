// presence.test - who is online: over all devices and gateways, through deaths and returns.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Cluster, sleep, until } from './cluster.js';
import { Peer } from './peer.js';

const GRACE_MS = 5000; // Who is back within it never was offline.
const REQUEST_MS = 5000; // For so long the gateway goes on asking.
const SLACK_MS = 3000; // For machines that have much to do.

let cluster;
let count = 0;

before(async () => {
    cluster = await Cluster.start();
});
after(async () => {
    await cluster?.stop();
});

/** Names nobody has used yet. */
const names = (...stems) => {
    count++;
    return stems.map((stem) => `${stem}${count}`);
};

const closeAll = (...peers) => Promise.all(peers.map((peer) => peer.close()));
const isOf = (user) => (frame) => frame.type === 'presence' && frame.user === user;
const is = (user, status) => (frame) => isOf(user)(frame) && frame.status === status;

/** How one user is, when asked. */
async function look(peer, user) {
    const { type, users } = await peer.must('presence', { users: [user] });
    assert.equal(type, 'presence_list');
    assert.equal(users[0].user, user);
    return users[0];
}

/** The same by HTTP; `unavailable` may come only when the gateway has asked for long enough. */
async function lookByHttp(own, token, user) {
    const begunMs = Date.now();
    const response = await fetch(`${own.http()}/v1/users/${user}/presence`, {
        headers: { Authorization: `Bearer ${token}` },
    });
    if (response.status === 200) return response.json();
    assert.equal(response.status, 503);
    assert.ok(Date.now() - begunMs > REQUEST_MS - 100, `503 after ${Date.now() - begunMs} ms`);
    return undefined;
}

const untilIs = (peer, user, status, timeoutMs) =>
    until(
        `${user} is ${status}`,
        async () => (await look(peer, user)).status === status,
        timeoutMs,
    );

test('presence: up to 500 users at once, in the order asked, offline where nobody is', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    const b = await Peer.join(cluster, bob, { gateway: 2 });
    await untilIs(a, bob, 'online');
    const users = Array.from({ length: 498 }, (_, i) => `nobody${count}-${i}`);
    const asked = [bob, ...users, alice];
    const list = await a.must('presence', { users: asked });
    assert.equal(list.type, 'presence_list');
    assert.deepEqual(
        list.users.map(({ user }) => user),
        asked,
    );
    assert.deepEqual(list.users[0], { user: bob, status: 'online' });
    assert.deepEqual(list.users[1], { user: users[0], status: 'offline' });
    assert.equal(list.users.at(-1).status, 'online');
    await closeAll(a, b);
});

test('presence, watch, unwatch: too_large beyond 500 users, bad_request for none', async () => {
    const [alice] = names('alice');
    const a = await Peer.join(cluster, alice);
    const users = Array.from({ length: 501 }, (_, i) => `nobody${i}`);
    for (const type of ['presence', 'watch', 'unwatch']) {
        await a.refused('too_large', type, { users });
        await a.refused('bad_request', type, { users: [] });
        await a.refused('bad_request', type, {});
        await a.refused('bad_request', type, { users: [''] });
    }
    await a.close();
});

test('watch: `ok`, then how each one is, then what changes; unwatch ends it', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    assert.equal((await a.must('watch', { users: [bob] })).type, 'ok');
    assert.deepEqual(await a.next(isOf(bob)), {
        type: 'presence',
        user: bob,
        status: 'offline',
    });
    const b = await Peer.join(cluster, bob, { gateway: 2 });
    assert.deepEqual(await a.next(isOf(bob)), { type: 'presence', user: bob, status: 'online' });
    await a.must('unwatch', { users: [bob] });
    await b.must('status', { status: 'busy' });
    await sleep(1500);
    assert.equal(a.frames.filter(isOf(bob)).length, 2);
    await closeAll(a, b);
});

test('who watches somebody again is told again how he is, at most once a second', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    await a.must('watch', { users: [bob] });
    await a.next(isOf(bob));
    await sleep(1100);
    for (let n = 0; n < 3; n++) await a.must('watch', { users: [bob] });
    await a.next(is(bob, 'offline'));
    await a.next(is(bob, 'offline'));
    await sleep(1500);
    assert.equal(a.frames.filter(isOf(bob)).length, 3, 'at once, and for the other two later');
    await closeAll(a);
});

test('status: online, away and busy are told to who watches, and nothing else is one', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    const b = await Peer.join(cluster, bob, { gateway: 2 });
    await a.must('watch', { users: [bob] });
    await a.next(is(bob, 'online'));
    for (const status of ['away', 'busy', 'online']) {
        assert.equal((await b.must('status', { status })).type, 'ok');
        await a.next(is(bob, status));
        assert.equal((await look(a, bob)).status, status);
    }
    await b.refused('bad_request', 'status', { status: 'offline' });
    await b.refused('bad_request', 'status', {});
    await closeAll(a, b);
});

test('presence events: at most one a second for each user, the last one true', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    const b = await Peer.join(cluster, bob, { gateway: 2 });
    await a.must('watch', { users: [bob] });
    await a.next(is(bob, 'online'));
    const times = [];
    a.socket.on('message', (data) => {
        if (isOf(bob)(JSON.parse(String(data)))) times.push(Date.now());
    });
    for (let i = 0; i < 60; i++) {
        await b.must('status', { status: i % 2 === 0 ? 'away' : 'online' });
        await sleep(50);
    }
    await b.must('status', { status: 'busy' });
    await a.next(is(bob, 'busy'));
    assert.ok(times.length >= 3, `${times.length} events`);
    for (let i = 1; i < times.length; i++)
        assert.ok(times[i] - times[i - 1] > 900, `${times[i] - times[i - 1]} ms between two`);
    await closeAll(a, b);
});

test('a user is online while any of his devices is, on whichever gateway', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    const phone = await Peer.join(cluster, bob, { gateway: 1 });
    const laptop = await Peer.join(cluster, bob, { gateway: 2 });
    await a.must('watch', { users: [bob] });
    await a.next(is(bob, 'online'));
    await phone.close();
    await sleep(GRACE_MS + 1500);
    assert.equal((await look(a, bob)).status, 'online');
    assert.equal(a.frames.filter(isOf(bob)).length, 1);
    const leftMs = Date.now();
    await laptop.close();
    const event = await a.next(is(bob, 'offline'), GRACE_MS + SLACK_MS);
    assert.ok(Math.abs(event.last_seen - leftMs) < 2000, `last seen ${event.last_seen}`);
    assert.deepEqual(await look(a, bob), {
        user: bob,
        status: 'offline',
        last_seen: event.last_seen,
    });
    await a.close();
});

test('who is back within five seconds never was offline', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    let b = await Peer.join(cluster, bob, { gateway: 1 });
    await a.must('watch', { users: [bob] });
    await a.next(is(bob, 'online'));
    for (const gateway of [2, 1]) {
        await b.vanish();
        await sleep(3000);
        b = await Peer.join(cluster, bob, { gateway });
    }
    await sleep(GRACE_MS);
    assert.deepEqual(
        a.frames.filter(isOf(bob)).map(({ status }) => status),
        ['online'],
    );
    await closeAll(a, b);
});

test('a slow or closed watcher costs nothing: who watches may go and come', async () => {
    const [alice, bob] = names('alice', 'bob');
    const b = await Peer.join(cluster, bob, { gateway: 2 });
    for (let i = 0; i < 3; i++) {
        const a = await Peer.join(cluster, alice);
        await a.must('watch', { users: [bob] });
        await a.next(is(bob, 'online'));
        await a.vanish();
    }
    const a = await Peer.join(cluster, alice);
    await sleep(300);
    assert.equal(a.frames.filter(isOf(bob)).length, 0);
    await closeAll(a, b);
});

test('a gateway killed with -9 takes its users offline within ten seconds', async () => {
    const own = await Cluster.start();
    try {
        const [alice, bob] = names('alice', 'bob');
        const a = await Peer.join(own, alice, { gateway: 1 });
        await Peer.join(own, bob, { gateway: 2 });
        await a.must('watch', { users: [bob] });
        await a.next(is(bob, 'online'));
        await own.kill('g2');
        const event = await a.next(is(bob, 'offline'), 10000);
        assert.ok(event.last_seen > 0);
        await a.close();
    } finally {
        await own.stop();
    }
});

test('last_seen outlives the cluster', async () => {
    const [alice, bob] = names('alice', 'bob');
    let own = await Cluster.start();
    const b = await Peer.join(own, bob);
    await b.close();
    const { data, port } = own;
    let a = await Peer.join(own, alice, { gateway: 2 });
    await untilIs(a, bob, 'offline', GRACE_MS + SLACK_MS);
    const { last_seen } = await look(a, bob);
    assert.ok(last_seen > 0);
    await sleep(500);
    await own.stop({ keep: true });
    own = await Cluster.start({ data, port });
    try {
        a = await Peer.join(own, alice);
        // A new leader says nothing of whom it has not heard of while its grace lasts.
        const seen = await until(
            'presence is known again',
            async () => {
                const reply = await a.ask('presence', { users: [bob] });
                return reply.type === 'presence_list' && reply.users[0];
            },
            2 * GRACE_MS + SLACK_MS,
        );
        assert.deepEqual(seen, { user: bob, status: 'offline', last_seen });
        await a.close();
    } finally {
        await own.stop();
    }
});

test('a change of leaders hides nobody: statuses and watches are told to the next one', async () => {
    const own = await Cluster.start({
        routers: 3,
        gateways: 2,
        args: ['--no-limits', '--shards', 8, '--respawn'],
    });
    try {
        const [alice, bob, carol] = names('alice', 'bob', 'carol');
        const a = await Peer.join(own, alice, { gateway: 1 });
        const b = await Peer.join(own, bob, { gateway: 2 });
        const c = await Peer.join(own, carol, { gateway: 2 });
        const token = await own.token(alice);
        await b.must('status', { status: 'busy' });
        await a.must('watch', { users: [bob, carol] });
        await a.next(is(bob, 'busy'));
        await a.next(is(carol, 'online'));
        for (const router of ['r1', 'r2']) {
            await own.kill(router);
            await until('all shards are led', async () => (await own.health())?.status === 200);
            assert.deepEqual(
                await until('presence is told by HTTP', () => lookByHttp(own, token, bob), 20000),
                { user: bob, status: 'busy' },
            );
            const list = await until('presence is told', async () => {
                const reply = await a.ask('presence', { users: [bob, carol] }, 20000);
                return reply.type === 'presence_list' && reply.users;
            });
            assert.deepEqual(list, [
                { user: bob, status: 'busy' },
                { user: carol, status: 'online' },
            ]);
        }
        await sleep(GRACE_MS + 1000);
        assert.ok(
            !a.frames.some((frame) => frame.type === 'presence' && frame.status === 'offline'),
        );
        await b.must('status', { status: 'away' });
        await a.next(is(bob, 'away'));
        await closeAll(a, b, c);
    } finally {
        await own.stop();
    }
});
