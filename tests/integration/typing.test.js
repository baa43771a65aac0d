// typing.test - who types: relayed, never stored, over by itself.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Cluster, sleep, until } from './cluster.js';
import { Peer, range } from './peer.js';

const EXPIRES_MS = 5000;

let cluster;
let count = 0;

before(async () => {
    cluster = await Cluster.start();
});
after(async () => {
    await cluster?.stop();
});

/** A group; alice and bob are online, on two gateways, bob with two devices. */
async function makeGroup(members = 3) {
    const conv = `typing-${++count}`;
    const alice = await Peer.join(cluster, `alice${count}`);
    const bob = await Peer.join(cluster, `bob${count}`, { gateway: 2 });
    const tablet = await Peer.join(cluster, bob.user);
    const users = [bob.user, ...range(3, members).map((n) => `${conv}-${n}`)];
    await alice.must('create', { conv, kind: 'group', members: users });
    const isIn = (peer) => peer.frames.some((frame) => frame.conv === conv);
    await until('all are in', () => [alice, bob, tablet].every(isIn));
    await sleep(100); // And watch it.
    return { conv, alice, bob, tablet };
}

const typings = (peer, conv) =>
    peer.frames.filter((frame) => frame.type === 'typing' && frame.conv === conv);
const isTyping = (conv, on) => (frame) =>
    frame.type === 'typing' && frame.conv === conv && frame.on === on;
const closeAll = (...peers) => Promise.all(peers.map((peer) => peer.close()));

test('typing is relayed to the others, not to the own devices, and is not in the log', async () => {
    const { conv, alice, bob, tablet } = await makeGroup();
    const { head } = await alice.must('history', { conv });
    bob.send({ type: 'typing', conv, on: true });
    assert.deepEqual(await alice.next(isTyping(conv, true)), {
        type: 'typing',
        conv,
        user: bob.user,
        on: true,
    });
    bob.send({ type: 'typing', conv, on: false });
    assert.equal((await alice.next(isTyping(conv, false))).user, bob.user);
    assert.deepEqual([...typings(bob, conv), ...typings(tablet, conv)], []);
    assert.equal((await alice.must('history', { conv })).head, head);
    await closeAll(alice, bob, tablet);
});

test('typing expires 5 s after it was said last', async () => {
    const { conv, alice, bob, tablet } = await makeGroup();
    const since = Date.now();
    bob.send({ type: 'typing', conv, on: true });
    await sleep(2500);
    bob.send({ type: 'typing', conv, on: true });
    await alice.next(isTyping(conv, false), 10000);
    const lasted = Date.now() - since;
    assert.ok(lasted > EXPIRES_MS + 2000 && lasted < EXPIRES_MS + 3500, `${lasted} ms`);
    await closeAll(alice, bob, tablet);
});

test('typing is told once within 2 s, however often it is said', async () => {
    const { conv, alice, bob, tablet } = await makeGroup();
    for (let i = 0; i < 30; i++) {
        bob.send({ type: 'typing', conv, on: i % 3 !== 2 });
        await sleep(50);
    }
    bob.send({ type: 'typing', conv, on: false });
    await alice.next(isTyping(conv, false));
    assert.equal(typings(alice, conv).length, 2); // That he does, and 2 s later that he does not.
    await closeAll(alice, bob, tablet);
});

test('open tells who types', async () => {
    const { conv, alice, bob, tablet } = await makeGroup();
    bob.send({ type: 'typing', conv, on: true });
    await alice.next(isTyping(conv, true));
    await alice.must('open', { conv });
    assert.equal((await alice.next(isTyping(conv, true))).user, bob.user);
    await tablet.must('open', { conv });
    await sleep(200);
    assert.deepEqual(typings(tablet, conv), []);
    await closeAll(alice, bob, tablet);
});

test('in a large conversation typing is told to devices that have it open', async () => {
    const { conv, alice, bob, tablet } = await makeGroup(120);
    const desk = await Peer.join(cluster, alice.user, { gateway: 2 });
    await desk.must('open', { conv });
    bob.send({ type: 'typing', conv, on: true });
    assert.equal((await desk.next(isTyping(conv, true))).user, bob.user);
    await sleep(200);
    assert.deepEqual(typings(alice, conv), []);
    await closeAll(alice, bob, tablet, desk);
});

test('typing of a stranger is told to nobody', async () => {
    const { conv, alice, bob, tablet } = await makeGroup();
    const eve = await Peer.join(cluster, `eve${count}`);
    eve.send({ type: 'typing', conv, on: true });
    await sleep(500);
    assert.deepEqual(typings(alice, conv), []);
    await closeAll(alice, bob, tablet, eve);
});
