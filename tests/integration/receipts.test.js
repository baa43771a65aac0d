// receipts.test - sent, delivered, read: told to who waits for it, and who it was, on request.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Cluster, sleep, until } from './cluster.js';
import { Peer, range } from './peer.js';

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
const isReceipt = (conv) => (frame) => frame.type === 'receipt' && frame.conv === conv;
const isTally = (conv) => (frame) => isReceipt(conv)(frame) && frame.user === undefined;
const delivers = (conv, user, seq) => (frame) =>
    isReceipt(conv)(frame) && frame.user === user && frame.delivered >= seq;
const reads = (conv, user, seq) => (frame) =>
    isReceipt(conv)(frame) && frame.user === user && frame.read >= seq;
const namesOf = (readers) => readers.map(({ user }) => user).toSorted();

/** A group of `size` members, all online, half of them on each gateway; the first is the owner. */
async function makeGroup(size) {
    const all = names(...range(1, size).map((n) => `m${String(n).padStart(3, '0')}-`));
    const peers = await Promise.all(
        all.map((name, i) => Peer.join(cluster, name, { gateway: 1 + (i % 2) })),
    );
    const { conv } = await peers[0].must('create', { kind: 'group', members: all.slice(1) });
    await Promise.all(
        peers
            .slice(1)
            .map((peer) =>
                peer.next((frame) => frame.type === 'conversation' && frame.conv === conv),
            ),
    );
    return { peers, conv };
}

test('status ticks for one device: sent, then delivered, then read', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice, { gateway: 1 });
    const b = await Peer.join(cluster, bob, { gateway: 2 });
    const { conv, seq } = await a.say({ to: bob }, 'hi');
    await Promise.all([a, b].map((peer) => peer.next('message')));
    b.send({ type: 'ack', conv, seq });
    const delivered = await a.next(delivers(conv, bob, seq));
    assert.equal(delivered.read, undefined);
    b.send({ type: 'read', conv, seq });
    const read = await a.next(reads(conv, bob, seq));
    assert.equal(read.read, seq);
    await closeAll(a, b);
});

test('read implies ack', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    const b = await Peer.join(cluster, bob);
    const { conv, seq } = await a.say({ to: bob }, 'hi');
    await Promise.all([a, b].map((peer) => peer.next('message')));
    await b.must('read', { conv, seq });
    const told = await a.next(reads(conv, bob, seq));
    assert.equal(told.delivered, seq);
    await closeAll(a, b);
});

test('status ticks for many devices: delivered with the first that has it, read with any', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice, { gateway: 1 });
    const tablet = await Peer.join(cluster, alice, { gateway: 2 });
    const phone = await Peer.join(cluster, bob, { gateway: 1, device: 'phone' });
    const laptop = await Peer.join(cluster, bob, { gateway: 2, device: 'laptop' });
    const { conv, seq } = await a.say({ to: bob }, 'hi');
    await Promise.all([a, tablet, phone, laptop].map((peer) => peer.next('message')));
    await phone.must('ack', { conv, seq });
    await Promise.all([a, tablet].map((peer) => peer.next(delivers(conv, bob, seq))));
    await laptop.must('ack', { conv, seq }); // No news: bob has it.
    await laptop.must('read', { conv, seq });
    await Promise.all([a, tablet].map((peer) => peer.next(reads(conv, bob, seq))));
    // What he has read on one device is news to the other, what was delivered is not.
    await phone.next(reads(conv, bob, seq));
    const told = a.frames.filter(isReceipt(conv)).map(({ delivered, read }) => [delivered, read]);
    assert.equal(told.filter(([delivered]) => delivered === seq).length, 1, JSON.stringify(told));
    await closeAll(a, tablet, phone, laptop);
});

test('acks of a busy conversation leave the gateway at most once a second', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice, { gateway: 1 });
    const b = await Peer.join(cluster, bob, { gateway: 2 });
    const { conv } = await a.say({ to: bob }, 0);
    const begunMs = Date.now();
    let seq;
    for (let i = 1; i <= 40; i++) {
        ({ seq } = await a.say({ conv }, i));
        b.send({ type: 'ack', conv, seq });
        await sleep(50);
    }
    await a.next(delivers(conv, bob, seq));
    const told = a.frames.filter(isReceipt(conv)).length;
    const seconds = Math.ceil((Date.now() - begunMs) / 1000);
    assert.ok(told <= seconds + 1, `${told} receipts in ${seconds} s`);
    await closeAll(a, b);
});

test('a read mark beyond the newest entry reads what there is, and not what comes later', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    const b = await Peer.join(cluster, bob);
    const { conv, seq } = await a.say({ to: bob }, 'one');
    await b.next('message');
    b.send({ type: 'read', conv, seq: Number.MAX_SAFE_INTEGER });
    assert.equal((await a.next(reads(conv, bob, seq))).read, seq);
    const later = await a.say({ conv }, 'two');
    b.send({ type: 'ack', conv, seq: later.seq });
    await a.next((frame) => frame.type === 'receipt' && frame.delivered >= later.seq);
    const { conversations } = await b.must('conversations', {});
    const { read, unread } = conversations.find((item) => item.conv === conv);
    assert.deepEqual({ read, unread }, { read: seq, unread: 1 });
    b.send({ type: 'read', conv, seq: later.seq });
    assert.equal((await a.next(reads(conv, bob, later.seq))).read, later.seq);
    await closeAll(a, b);
});

test('cursors never go back', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await Peer.join(cluster, alice);
    const b = await Peer.join(cluster, bob);
    const first = await a.say({ to: bob }, 1);
    const { conv } = first;
    await a.next('message');
    const last = await a.say({ conv }, 2);
    await b.must('read', { conv, seq: last.seq });
    await a.next(reads(conv, bob, last.seq));
    await b.must('read', { conv, seq: first.seq });
    await b.must('ack', { conv, seq: first.seq });
    await sleep(300);
    const { conversations } = await b.must('conversations');
    const { read, unread } = conversations.find((item) => item.conv === conv);
    assert.deepEqual([read, unread], [last.seq, 0]);
    assert.ok(!a.frames.some((frame) => isReceipt(conv)(frame) && frame.read < last.seq));
    await closeAll(a, b);
});

test('receipts: who was delivered and who has read, when, and of how many', async () => {
    const { peers, conv } = await makeGroup(4);
    const [owner, one, two, three] = peers;
    const { seq, ts } = await one.say({ conv }, 'hi');
    await Promise.all([owner, two, three].map((peer) => peer.next('message')));
    let told = await owner.must('receipts', { conv, seq });
    assert.deepEqual(
        [told.type, told.conv, told.seq, told.delivered, told.read, told.total],
        ['receipts', conv, seq, [], [], 3],
    );
    await owner.must('ack', { conv, seq });
    await two.must('read', { conv, seq });
    told = await three.must('receipts', { conv, seq });
    assert.deepEqual(namesOf(told.delivered), [owner.user, two.user].toSorted());
    assert.deepEqual(namesOf(told.read), [two.user]);
    assert.equal(told.total, 3);
    for (const reader of [...told.delivered, ...told.read])
        assert.ok(reader.ts >= ts && reader.ts < ts + 60000, `ts ${reader.ts}`);
    assert.equal(told.more, undefined);
    await closeAll(...peers);
});

test('receipts: forbidden to who is not a member, not_found for what is not there, bad_request', async () => {
    const { peers, conv } = await makeGroup(2);
    const stranger = await Peer.join(cluster, `stranger${count}`);
    await stranger.refused('forbidden', 'receipts', { conv, seq: 1 });
    await peers[0].refused('not_found', 'receipts', { conv, seq: 9999 });
    await peers[0].refused('not_found', 'receipts', { conv: 'nowhere', seq: 1 });
    await peers[0].refused('bad_request', 'receipts', { conv });
    await peers[0].refused('bad_request', 'receipts', { conv, seq: 0 });
    await closeAll(stranger, ...peers);
});

test('groups of up to ten are told of each cursor, with its user', async () => {
    const { peers, conv } = await makeGroup(10);
    const { seq } = await peers[0].say({ conv }, 'hi');
    await Promise.all(peers.slice(1).map((peer) => peer.must('read', { conv, seq })));
    await Promise.all(peers.slice(1).map(({ user }) => peers[0].next(reads(conv, user, seq))));
    assert.ok(!peers[0].frames.some(isTally(conv)));
    await closeAll(...peers);
});

test('groups over ten are told how many, at most once a second a conversation', async () => {
    const { peers, conv } = await makeGroup(12);
    const [sender, ...others] = peers;
    const times = [];
    sender.socket.on('message', (data) => {
        if (isTally(conv)(JSON.parse(String(data)))) times.push(Date.now());
    });
    const { seq } = await sender.say({ conv }, 'hi');
    await Promise.all(others.map((peer) => peer.next('message')));
    for (const peer of others) {
        peer.send({ type: 'read', conv, seq });
        await sleep(250);
    }
    const last = await sender.next(
        (frame) => isTally(conv)(frame) && frame.read_count === others.length,
    );
    assert.deepEqual(
        [last.seq, last.delivered_count, last.read_count, last.total],
        [seq, 11, 11, 11],
    );
    for (let i = 1; i < times.length; i++)
        assert.ok(times[i] - times[i - 1] > 900, `${times[i] - times[i - 1]} ms between two`);
    assert.ok(times.length >= 2 && times.length <= 5, `${times.length} of them`);
    for (const { user, frames } of peers)
        assert.ok(
            frames.filter(isReceipt(conv)).every((frame) => [undefined, user].includes(frame.user)),
            `${user} was told of another's cursor`,
        );
    await closeAll(...peers);
});

test('read by 45 of 50', async () => {
    const { peers, conv } = await makeGroup(51);
    const [sender, ...others] = peers;
    const { seq } = await sender.say({ conv }, 'hi');
    await Promise.all(others.map((peer) => peer.must('ack', { conv, seq })));
    const readers = others.slice(0, 45);
    await Promise.all(readers.map((peer) => peer.must('read', { conv, seq })));
    const told = await sender.must('receipts', { conv, seq });
    assert.deepEqual(
        [told.delivered.length, told.read.length, told.total],
        [50, 45, 50],
    );
    assert.deepEqual(namesOf(told.read), readers.map(({ user }) => user).toSorted());
    await sender.next(
        (frame) => isTally(conv)(frame) && frame.read_count === 45 && frame.delivered_count === 50,
    );
    await closeAll(...peers);
});

test('own devices hear what was read on another, in groups of any size', async () => {
    const { peers, conv } = await makeGroup(12);
    const tablet = await Peer.join(cluster, peers[1].user, { gateway: 1, device: 'tablet' });
    const { seq } = await peers[0].say({ conv }, 'hi');
    await tablet.next((frame) => frame.type === 'message' && frame.seq === seq);
    await peers[1].must('read', { conv, seq });
    await tablet.next(reads(conv, peers[1].user, seq));
    await closeAll(tablet, ...peers);
});

test('what was acked survives the death of any router, and later acks are told', async () => {
    const own = await Cluster.start({
        routers: 3,
        gateways: 1,
        args: ['--no-limits', '--shards', 8, '--respawn'],
    });
    try {
        const [alice, bob] = names('alice', 'bob');
        const a = await Peer.join(own, alice);
        const b = await Peer.join(own, bob);
        const { conv, seq } = await a.say({ to: bob }, 'hi');
        await b.next('message');
        for (const router of ['r1', 'r2', 'r3']) {
            await own.kill(router);
            b.send({ type: 'ack', conv, seq });
            await until('all shards are led', async () => (await own.health())?.status === 200);
        }
        // An ack that found no leader leaves again a second later.
        await until('receipts name bob', async () => {
            const reply = await a.ask('receipts', { conv, seq }, 20000);
            return reply.type === 'receipts' && namesOf(reply.delivered).includes(bob);
        });
        const { seq: last } = await a.say({ conv }, 'still there?');
        await b.next((frame) => frame.type === 'message' && frame.seq === last);
        b.send({ type: 'read', conv, seq: last });
        await a.next(reads(conv, bob, last));
        await closeAll(a, b);
    } finally {
        await own.stop();
    }
});
