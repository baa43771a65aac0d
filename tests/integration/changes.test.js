// changes.test - edit, delete, react and reply: entries of the same log, and what a message looks
// like after them.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Cluster, until } from './cluster.js';
import { Peer } from './peer.js';

let cluster;
let count = 0;

before(async () => {
    cluster = await Cluster.start();
});
after(async () => {
    await cluster?.stop();
});

const THUMB = '\u{1F44D}';

/** A group of alice (owner), bob and carol, all online, alice on another gateway than the others. */
async function makeGroup(fields = {}) {
    count++;
    const [alice, bob, carol] = await Promise.all(
        ['alice', 'bob', 'carol'].map((stem, i) =>
            Peer.join(cluster, `${stem}${count}`, { gateway: i === 0 ? 1 : 2 }),
        ),
    );
    const members = [bob.user, carol.user];
    const { conv } = await alice.must('create', { kind: 'group', members, ...fields });
    const isOurs = (frame) => frame.type === 'conversation' && frame.conv === conv;
    await Promise.all([bob, carol].map((peer) => peer.next(isOurs)));
    return { alice, bob, carol, conv };
}

const closeAll = (...peers) => Promise.all(peers.map((peer) => peer.close()));

/** The message of this seq as history shows it. */
const shown = async (peer, conv, seq) =>
    (await peer.must('history', { conv, after: seq - 1, limit: 1 })).entries[0];

const unreadOf = async (peer, conv) =>
    (await peer.must('conversations')).conversations.find((item) => item.conv === conv).unread;

test('edit: the sender replaces the body; `sent` bears the seq of the change, all members the event', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const said = await bob.say({ conv }, { text: 'helo' });
    const sent = await bob.must('edit', { conv, seq: said.seq, body: { text: 'hello' }, cid: 'e1' });
    assert.deepEqual([sent.type, sent.conv, sent.cid], ['sent', conv, 'e1']);
    assert.ok(sent.seq > said.seq);
    for (const peer of [alice, bob, carol]) {
        const event = await peer.next('edit');
        assert.deepEqual(
            [event.conv, event.seq, event.ts, event.from, event.target, event.body],
            [conv, sent.seq, sent.ts, bob.user, said.seq, { text: 'hello' }],
        );
    }
    await closeAll(alice, bob, carol);
});

test('edit: history, resume and the list show the current text with its mark', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const said = await bob.say({ conv }, 'one');
    const sent = await bob.must('edit', { conv, seq: said.seq, body: 'two' });
    const message = await shown(alice, conv, said.seq);
    assert.equal(message.body, 'two');
    assert.deepEqual(message.edited, { seq: sent.seq, ts: sent.ts });
    const { conversations } = await alice.must('conversations');
    const { last } = conversations.find((item) => item.conv === conv);
    assert.deepEqual([last.body, last.edited.seq], ['two', sent.seq]);
    await carol.close();
    const again = await Peer.join(cluster, carol.user, { resume: { [conv]: said.seq - 1 } });
    const resumed = await again.next('message');
    assert.deepEqual([resumed.seq, resumed.body, resumed.edited.seq], [said.seq, 'two', sent.seq]);
    assert.equal((await again.next('edit')).target, said.seq);
    await closeAll(alice, bob, again);
});

test('edit: only the sender may; not even the owner', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const said = await bob.say({ conv }, 1);
    await alice.refused('forbidden', 'edit', { conv, seq: said.seq, body: 2 });
    await carol.refused('forbidden', 'edit', { conv, seq: said.seq, body: 2 });
    assert.equal((await shown(alice, conv, said.seq)).body, 1);
    await closeAll(alice, bob, carol);
});

test('delete: the body is gone for everyone, history says so, and further changes are a conflict', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const said = await bob.say({ conv }, 'secret');
    await bob.must('edit', { conv, seq: said.seq, body: 'secret too' });
    const sent = await bob.must('delete', { conv, seq: said.seq });
    assert.equal(sent.type, 'sent');
    const event = await carol.next('delete');
    assert.deepEqual(
        [event.conv, event.seq, event.from, event.target],
        [conv, sent.seq, bob.user, said.seq],
    );
    const message = await shown(carol, conv, said.seq);
    assert.deepEqual([message.type, message.body, message.deleted], ['message', null, true]);
    assert.ok(!JSON.stringify(await carol.log(conv)).includes('secret'));
    await bob.refused('conflict', 'edit', { conv, seq: said.seq, body: 1 });
    await carol.refused('conflict', 'react', { conv, seq: said.seq, emoji: THUMB });
    await bob.refused('conflict', 'delete', { conv, seq: said.seq });
    await closeAll(alice, bob, carol);
});

test("delete: an admin or owner may take away anyone's message in a group, a member may not", async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const one = await bob.say({ conv }, 1);
    const two = await bob.say({ conv }, 2);
    await carol.refused('forbidden', 'delete', { conv, seq: one.seq });
    await alice.must('delete', { conv, seq: one.seq });
    await alice.must('role', { conv, user: carol.user, role: 'admin' });
    await carol.must('delete', { conv, seq: two.seq });
    await closeAll(alice, bob, carol);
});

test('delete: in a direct conversation each deletes his own only', async () => {
    count++;
    const alice = await Peer.join(cluster, `alice${count}`);
    const bob = await Peer.join(cluster, `bob${count}`, { gateway: 2 });
    const { conv, seq } = await alice.say({ to: bob.user }, 'x');
    await bob.next('message');
    await bob.refused('forbidden', 'delete', { conv, seq });
    await alice.must('delete', { conv, seq });
    await closeAll(alice, bob);
});

test('react: any member sets and takes back; the message bears the counts', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const { seq } = await bob.say({ conv }, 'x');
    const set = await alice.must('react', { conv, seq, emoji: THUMB });
    await carol.must('react', { conv, seq, emoji: THUMB });
    await carol.must('react', { conv, seq, emoji: 'ok' });
    const event = await bob.next('reaction');
    assert.deepEqual(
        [event.conv, event.seq, event.from, event.target, event.emoji, event.on],
        [conv, set.seq, alice.user, seq, THUMB, true],
    );
    assert.deepEqual((await shown(bob, conv, seq)).reactions, [
        { emoji: THUMB, count: 2 },
        { emoji: 'ok', count: 1 },
    ]);
    await alice.must('react', { conv, seq, emoji: THUMB, on: false });
    await carol.must('react', { conv, seq, emoji: 'ok', on: false });
    const back = await bob.next((frame) => frame.type === 'reaction' && frame.on === false);
    assert.deepEqual([back.target, back.emoji], [seq, THUMB]);
    assert.deepEqual((await shown(bob, conv, seq)).reactions, [{ emoji: THUMB, count: 1 }]);
    await closeAll(alice, bob, carol);
});

test('react: the same again is answered with dup and makes no entry', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const { seq } = await bob.say({ conv }, 'x');
    const first = await alice.must('react', { conv, seq, emoji: THUMB });
    const again = await alice.must('react', { conv, seq, emoji: THUMB });
    assert.deepEqual([again.seq, again.dup], [first.seq, true]);
    const never = await carol.must('react', { conv, seq, emoji: THUMB, on: false });
    assert.equal(never.dup, true);
    const { head } = await alice.must('history', { conv });
    assert.equal(head, first.seq);
    await closeAll(alice, bob, carol);
});

test('a cid makes edit, delete and react idempotent: the first answer again, nothing new in the log', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const { seq } = await bob.say({ conv }, 'x');
    const requests = [
        ['edit', { conv, seq, body: 'y', cid: 'c-edit' }],
        ['react', { conv, seq, emoji: THUMB, cid: 'c-react' }],
        ['delete', { conv, seq, cid: 'c-delete' }],
    ];
    for (const [type, fields] of requests) {
        const first = await bob.must(type, fields);
        assert.equal(first.dup, undefined);
        const again = await bob.must(type, fields);
        assert.deepEqual([again.seq, again.ts, again.dup], [first.seq, first.ts, true]);
    }
    const log = await bob.log(conv);
    assert.deepEqual(
        log.filter((entry) => entry.target === seq).map((entry) => entry.type),
        ['edit', 'reaction', 'delete'],
    );
    await closeAll(alice, bob, carol);
});

test('changes are no messages: unread counts none of them', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const { seq } = await bob.say({ conv }, 'x');
    await alice.must('read', { conv, seq });
    await bob.must('edit', { conv, seq, body: 'y' });
    await carol.must('react', { conv, seq, emoji: THUMB });
    assert.equal(await unreadOf(alice, conv), 0);
    await bob.say({ conv }, 'z');
    await until('unread is 1', async () => (await unreadOf(alice, conv)) === 1);
    await closeAll(alice, bob, carol);
});

test('changes reach a device that was away, in seq order and without a hole', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const { seq } = await bob.say({ conv }, 'x');
    await carol.next('message');
    await carol.close();
    await bob.must('edit', { conv, seq, body: 'y' });
    await alice.must('react', { conv, seq, emoji: THUMB });
    await bob.say({ conv }, 'more');
    const { seq: last } = await bob.must('delete', { conv, seq });
    const again = await Peer.join(cluster, carol.user, { resume: { [conv]: seq } });
    await again.next('delete');
    const seqs = again.seqs(conv);
    assert.deepEqual(
        seqs,
        Array.from({ length: last - seq }, (_, i) => seq + 1 + i),
    );
    await closeAll(alice, bob, again);
});

test('one device keeps the order of its sends and changes on the wire', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const { seq } = await bob.say({ conv }, 0);
    const replies = await Promise.all(
        Array.from({ length: 60 }, (_, i) =>
            i % 3 === 0
                ? bob.say({ conv }, i)
                : bob.must('edit', { conv, seq, body: i, cid: `o${count}-${i}` }),
        ),
    );
    const seqs = replies.map((reply) => reply.seq);
    assert.deepEqual(seqs, seqs.toSorted((a, b) => a - b));
    assert.equal((await shown(alice, conv, seq)).body, 59);
    await closeAll(alice, bob, carol);
});

test('reply: a message names the one it answers, which must exist', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const { seq } = await bob.say({ conv }, 'question');
    const reply = await alice.must('send', { conv, cid: 'r', body: 'answer', reply_to: seq });
    const got = await carol.next((frame) => frame.type === 'message' && frame.seq === reply.seq);
    assert.equal(got.reply_to, seq);
    await alice.refused('bad_request', 'send', { conv, cid: 'r2', body: 1, reply_to: 9999 });
    await closeAll(alice, bob, carol);
});

test('edit, delete, react: not_found where there is no such message or conversation', async () => {
    const { alice, bob, carol, conv } = await makeGroup({ body: 'first' });
    const { entries } = await alice.must('history', { conv });
    const member = entries.find((entry) => entry.type === 'member')?.seq ?? 1;
    for (const [type, fields] of [
        ['edit', { body: 1 }],
        ['delete', {}],
        ['react', { emoji: THUMB }],
    ]) {
        await alice.refused('not_found', type, { conv, seq: 9999, ...fields });
        await alice.refused('not_found', type, { conv, seq: member, ...fields });
        await alice.refused('not_found', type, { conv: 'nowhere', seq: 1, ...fields });
    }
    await closeAll(alice, bob, carol);
});

test('edit, delete, react: forbidden to who is not, or no longer, a member', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const { seq } = await carol.say({ conv }, 'mine');
    const stranger = await Peer.join(cluster, `stranger${count}`);
    await alice.must('remove', { conv, users: [carol.user] });
    for (const peer of [stranger, carol]) {
        await peer.refused('forbidden', 'edit', { conv, seq, body: 1 });
        await peer.refused('forbidden', 'delete', { conv, seq });
        await peer.refused('forbidden', 'react', { conv, seq, emoji: THUMB });
    }
    await closeAll(alice, bob, carol, stranger);
});

test('who is removed while away gets what he missed, his removal, and nothing of what came after', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const old = await alice.say({ conv }, 'old');
    await bob.next((frame) => frame.seq === old.seq);
    await bob.must('ack', { conv, seq: old.seq });
    await bob.close();
    const missed = await alice.say({ conv }, 'missed');
    await alice.must('remove', { conv, users: [bob.user] });
    await alice.must('edit', { conv, seq: missed.seq, body: 'changed' });
    await alice.must('react', { conv, seq: missed.seq, emoji: THUMB });
    const { device } = bob;
    for (const resume of [undefined, { [conv]: old.seq }]) {
        const back = await Peer.join(cluster, bob.user, { device, resume });
        const gone = await back.next((frame) => frame.type === 'conversation' && frame.gone);
        assert.equal(gone.conv, conv);
        const entries = back.frames.filter((frame) => frame.conv === conv && frame.seq);
        assert.deepEqual(
            entries.map(({ type, seq }) => [type, seq]),
            [
                ['message', missed.seq],
                ['member', missed.seq + 1],
            ],
        );
        assert.equal(entries[0].body, null);
        assert.equal(entries[0].reactions, undefined);
        assert.equal(back.resumed.missed, 2);
        await back.close();
    }
    const back = await Peer.join(cluster, bob.user, { device });
    await back.must('ack', { conv, seq: missed.seq + 1 });
    await back.close();
    const again = await Peer.join(cluster, bob.user, { device });
    assert.equal(again.resumed.missed, 0); // He has heard of it.
    await closeAll(alice, carol, again);
});

test('edit, delete, react: bad_request where a field is missing or breaks its rule', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    await alice.refused('bad_request', 'edit', { conv, seq: 1 });
    await alice.refused('bad_request', 'edit', { conv, seq: 0, body: 1 });
    await alice.refused('bad_request', 'delete', { conv });
    await alice.refused('bad_request', 'react', { conv, seq: 1 });
    await alice.refused('bad_request', 'react', { conv, seq: 1, emoji: 'x'.repeat(33) });
    await alice.refused('bad_request', 'react', { conv, seq: 1, emoji: 'a\nb' });
    await closeAll(alice, bob, carol);
});

test('react: too_large beyond 20 different reactions on one message', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const { seq } = await bob.say({ conv }, 'x');
    for (let i = 0; i < 20; i++) await alice.must('react', { conv, seq, emoji: `e${i}` });
    await bob.refused('too_large', 'react', { conv, seq, emoji: 'one more' });
    await bob.must('react', { conv, seq, emoji: 'e0' });
    await closeAll(alice, bob, carol);
});
