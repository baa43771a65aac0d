// large.test - conversations beyond 100 members: entries to who has them open, activity to the rest.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Cluster, sleep, until } from './cluster.js';
import { Peer, range } from './peer.js';

const FANOUT = 100; // Members; more are a large conversation.
const RESUME = 1000; // Entries that a resume replays.

let cluster;
let count = 0;

before(async () => {
    cluster = await Cluster.start();
});
after(async () => {
    await cluster?.stop();
});

const isAbout = (type, conv) => (frame) => frame.type === type && frame.conv === conv;
const isAt = (conv, head) => (frame) => isAbout('activity', conv)(frame) && frame.head === head;
const isGone = (conv) => (frame) => isAbout('conversation', conv)(frame) && frame.gone === true;
const activities = (peer, conv) => peer.frames.filter(isAbout('activity', conv));
const closeAll = (...peers) => Promise.all(peers.map((peer) => peer.close()));
const newest = async (peer, conv) => (await peer.must('history', { conv })).head;

/** Members of whom nobody is online, as many as are missing to make `members` in all. */
async function fill(owner, conv, members) {
    const { total } = await owner.must('members', { conv });
    const users = range(total + 1, members).map((n) => `${conv}-${n}`);
    for (let at = 0; at < users.length; at += 40)
        await owner.must('add', { conv, users: users.slice(at, at + 40) });
}

/** Take out so many of those. */
async function thin(owner, conv, members) {
    const { total } = await owner.must('members', { conv });
    const users = range(members + 1, total).map((n) => `${conv}-${n}`);
    for (let at = 0; at < users.length; at += 40)
        await owner.must('remove', { conv, users: users.slice(at, at + 40) });
}

/** A group of so many members; alice (owner) and bob are online, on two gateways. */
async function makeGroup(members = FANOUT + 5) {
    const conv = `large-${++count}`;
    const alice = await Peer.join(cluster, `alice${count}`);
    const bob = await Peer.join(cluster, `bob${count}`, { gateway: 2 });
    await alice.must('create', { conv, kind: 'group', members: [bob.user] });
    await fill(alice, conv, members);
    return { conv, alice, bob };
}

test('a large conversation pushes its entries only to devices that have it open', async () => {
    const { conv, alice, bob } = await makeGroup();
    const reader = await Peer.join(cluster, bob.user, { gateway: 1, resume: {} });
    assert.equal((await reader.must('open', { conv })).type, 'ok');
    const { seq } = await alice.say({ conv }, 'hello');
    assert.equal((await reader.next(isAbout('message', conv))).seq, seq);
    await bob.next(isAt(conv, seq));
    assert.deepEqual(bob.frames.filter(isAbout('message', conv)), []);
    assert.deepEqual(activities(reader, conv).filter((frame) => frame.head >= seq), []);
    await closeAll(alice, bob, reader);
});

test('activity comes at most once a second, and tells the last head and what is unread', async () => {
    const { conv, alice, bob } = await makeGroup();
    const times = [];
    bob.socket.on('message', (data) => {
        if (String(data).includes('"activity"')) times.push(Date.now());
    });
    let last;
    for (const n of range(1, 30)) {
        last = await alice.say({ conv }, n);
        await sleep(100);
    }
    const activity = await bob.next(isAt(conv, last.seq));
    assert.equal(activity.unread, 30);
    for (let i = 1; i < times.length; i++)
        assert.ok(times[i] - times[i - 1] > 900, `${times[i] - times[i - 1]} ms`);
    assert.ok(times.length >= 3 && times.length <= 6, `${times.length} in 3 s`);
    const again = activities(bob, conv).length;
    await sleep(1500);
    assert.equal(activities(bob, conv).length, again, 'none while nothing happens');
    await bob.must('read', { conv, seq: last.seq - 3 });
    await sleep(200);
    const { seq } = await alice.say({ conv }, 'one more');
    assert.equal((await bob.next(isAt(conv, seq))).unread, 4);
    await closeAll(alice, bob);
});

test('open streams what a device does not have, and close ends the stream', async () => {
    const { conv, alice, bob } = await makeGroup(FANOUT);
    await fill(alice, conv, FANOUT + 20);
    for (const n of range(1, 5)) await alice.say({ conv }, n);
    const first = bob.seqs(conv).at(-1); // Those before the group was large.
    const head = await newest(alice, conv);
    await bob.next(isAt(conv, head));
    assert.ok(first < head - 5);
    await bob.must('open', { conv });
    await until('what was missed', () => bob.seqs(conv).at(-1) === head);
    const { seq } = await alice.say({ conv }, 'live');
    await until('live', () => bob.seqs(conv).at(-1) === seq);
    assert.equal((await bob.must('close', { conv })).type, 'ok');
    const closed = await alice.say({ conv }, 'closed');
    await bob.next(isAt(conv, closed.seq));
    assert.equal(bob.seqs(conv).at(-1), seq);
    await bob.must('open', { conv });
    await until('what was missed', () => bob.seqs(conv).at(-1) === closed.seq);
    assert.deepEqual(bob.seqs(conv), range(1, closed.seq));
    await closeAll(alice, bob);
});

test('open announces a gap where more was missed than a resume replays', async () => {
    const { conv, alice, bob } = await makeGroup();
    const first = (await newest(alice, conv)) + 1;
    await alice.flood({ conv }, 1, RESUME + 200);
    const head = await newest(alice, conv);
    const before = bob.seqs(conv).at(-1);
    await bob.must('open', { conv });
    const gap = await bob.next(isAbout('gap', conv));
    assert.deepEqual([gap.from, gap.to, gap.head], [before + 1, head - RESUME, head]);
    await until('the newest', () => bob.seqs(conv).at(-1) === head);
    assert.deepEqual(bob.seqs(conv), [...range(1, before), ...range(head - RESUME + 1, head)]);
    assert.ok(first > before);
    await closeAll(alice, bob);
});

test('open and close of a small conversation answer ok and change nothing else', async () => {
    const { conv, alice, bob } = await makeGroup(5);
    assert.equal((await bob.must('open', { conv })).type, 'ok');
    const one = await alice.say({ conv }, 1);
    await until('the first', () => bob.seqs(conv).at(-1) === one.seq);
    assert.equal((await bob.must('close', { conv })).type, 'ok');
    const two = await alice.say({ conv }, 2);
    await until('the second', () => bob.seqs(conv).at(-1) === two.seq);
    assert.deepEqual(activities(bob, conv), []);
    await closeAll(alice, bob);
});

test('open is forbidden to strangers, and not_found where there is nothing', async () => {
    const { conv, alice, bob } = await makeGroup();
    const eve = await Peer.join(cluster, `eve${count}`);
    await eve.refused('forbidden', 'open', { conv });
    await eve.refused('not_found', 'open', { conv: `${conv}-nowhere` });
    await eve.refused('bad_request', 'open', {});
    await alice.say({ conv }, 'not for eve');
    await sleep(300);
    assert.deepEqual(eve.seqs(conv), []);
    await closeAll(alice, bob, eve);
});

test('on resume a large conversation gets activity where it moved on, and no entries', async () => {
    const { conv, alice, bob } = await makeGroup();
    const { seq } = await alice.say({ conv }, 'while bob is here');
    await bob.close();
    const behind = await Peer.join(cluster, bob.user, { resume: { [conv]: seq - 1 } });
    assert.deepEqual([behind.resumed.conversations, behind.resumed.missed], [1, 0]);
    assert.equal((await behind.next(isAbout('activity', conv))).head, seq);
    await behind.close();
    const level = await Peer.join(cluster, bob.user, { resume: { [conv]: seq } });
    await sleep(1300);
    assert.deepEqual(activities(level, conv), []);
    assert.deepEqual(level.seqs(conv), []);
    await level.must('open', { conv });
    const next = await alice.say({ conv }, 'next');
    await until('the next', () => level.seqs(conv).at(-1) === next.seq);
    assert.deepEqual(level.seqs(conv), [next.seq]);
    await closeAll(alice, level);
});

test('a conversation grows beyond the limit and shrinks again while people are online', async () => {
    const { conv, alice, bob } = await makeGroup(FANOUT);
    for (const n of range(1, 3)) {
        await alice.say({ conv }, `small ${n}`);
        await fill(alice, conv, FANOUT + 1);
        const small = await newest(alice, conv);
        await until('the entry that made it large', () => bob.seqs(conv).at(-1) === small);
        const { seq } = await alice.say({ conv }, `large ${n}`);
        await bob.next(isAt(conv, seq));
        assert.equal(bob.seqs(conv).at(-1), small);
        await thin(alice, conv, FANOUT);
        const head = await newest(alice, conv);
        await until('all of it', () => bob.seqs(conv).at(-1) === head);
        assert.deepEqual(bob.seqs(conv), range(1, head));
    }
    await closeAll(alice, bob);
});

test('who is removed from a large conversation is told so, and nothing more', async () => {
    const { conv, alice, bob } = await makeGroup();
    const open = await Peer.join(cluster, bob.user, { gateway: 1 });
    await open.must('open', { conv });
    await sleep(1500); // What was told of the members that came is told.
    const told = activities(bob, conv).length;
    await alice.must('remove', { conv, users: [bob.user] });
    const removal = await newest(alice, conv);
    await Promise.all([bob, open].map((peer) => peer.next(isGone(conv))));
    await alice.say({ conv }, 'after him');
    await sleep(1500);
    assert.equal(activities(bob, conv).length, told);
    assert.equal(open.seqs(conv).at(-1), removal);
    assert.equal(bob.frames.filter(isGone(conv)).length, 1);
    await bob.refused('forbidden', 'open', { conv });
    await alice.must('add', { conv, users: [bob.user] });
    await bob.next(isAbout('conversation', conv));
    const { seq } = await alice.say({ conv }, 'back');
    await bob.next(isAt(conv, seq));
    await closeAll(alice, bob, open);
});

test('a send to a large conversation that is not open is answered, in order', async () => {
    const { conv, alice, bob } = await makeGroup();
    const sent = await Promise.all(range(1, 200).map((body) => bob.say({ conv }, body)));
    assert.deepEqual(
        sent.map(({ seq }) => seq),
        range(sent[0].seq, sent[0].seq + 199),
    );
    const activity = await bob.next(isAt(conv, sent.at(-1).seq));
    assert.equal(activity.unread, 0);
    assert.deepEqual(bob.frames.filter(isAbout('message', conv)), []);
    await closeAll(alice, bob);
});

test('who is cut off and comes back to another gateway hears how far it moved on', async () => {
    const { conv, alice, bob } = await makeGroup();
    const { seq } = await alice.say({ conv }, 'before');
    await bob.next(isAt(conv, seq));
    await bob.vanish();
    const missed = await alice.say({ conv }, 'meanwhile');
    const back = await Peer.join(cluster, bob.user, { gateway: 1, resume: { [conv]: seq } });
    assert.equal((await back.next(isAbout('activity', conv))).head, missed.seq);
    await closeAll(alice, back);
});

/** Many messages without a promise each: returns when all are acknowledged. */
async function pour(peer, conv, messages) {
    let sent = 0;
    let acked = 0;
    const more = () => {
        for (; sent < messages && sent - acked < 2000; sent++)
            peer.send({ type: 'send', conv, cid: `p${sent}`, body: sent });
    };
    const listen = (data) => {
        acked += String(data).split('"type":"sent"').length - 1;
        more();
    };
    peer.socket.on('message', listen);
    more();
    await until('all are acknowledged', () => acked === messages, 120000);
    peer.socket.off('message', listen);
}

test('a hundred thousand missed entries: a gap, the newest, and history pages the rest', async () => {
    const conv = `small-${++count}`;
    const alice = await Peer.join(cluster, `alice${count}`);
    const bob = `bob${count}`;
    await alice.must('create', { conv, kind: 'group', members: [bob] });
    await pour(alice, conv, 100000);
    const late = await Peer.join(cluster, bob, { gateway: 2, resume: {} });
    const head = 100002; // With the two who joined.
    const gap = await late.next(isAbout('gap', conv));
    assert.deepEqual([gap.from, gap.to, gap.head], [1, head - RESUME, head]);
    assert.equal(late.resumed.missed, head);
    assert.deepEqual(late.seqs(conv), range(head - RESUME + 1, head));
    let next = gap.from;
    while (next <= gap.to) {
        const page = await late.must('history', { conv, after: next - 1, limit: 500 });
        for (const entry of page.entries) assert.equal(entry.seq, next++);
    }
    await closeAll(alice, late);
});
