// groups.test - groups: who is in, who may do what, and what everybody is told.
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

/**
 * A group of alice (owner), bob and carol, all online, alice on another gateway than the others.
 */
async function makeGroup(fields = {}) {
    count++;
    const names = ['alice', 'bob', 'carol', 'dave'].map((stem) => `${stem}${count}`);
    const [alice, bob, carol] = await Promise.all(
        names.slice(0, 3).map((name, i) => Peer.join(cluster, name, { gateway: i === 0 ? 1 : 2 })),
    );
    const members = [bob.user, carol.user];
    const reply = await alice.must('create', { kind: 'group', title: 'Trip', members, ...fields });
    const { conv } = reply;
    await Promise.all([bob, carol].map((peer) => peer.next(isAbout('conversation', conv))));
    return { alice, bob, carol, dave: names[3], conv, reply };
}

const isAbout = (type, conv) => (frame) => frame.type === type && frame.conv === conv;
const isChange = (conv, user, change) => (frame) =>
    isAbout('member', conv)(frame) && frame.user === user && frame.change === change;
const isGone = (conv) => (frame) => isAbout('conversation', conv)(frame) && frame.gone === true;

/** The conversation as this peer's list shows it; undefined where it does not. */
const listed = async (peer, conv) =>
    (await peer.must('conversations')).conversations.find((item) => item.conv === conv);

const closeAll = (...peers) => Promise.all(peers.map((peer) => peer.close()));

test('create makes a group with its members, title and first message', async () => {
    const { alice, bob, carol, conv, reply } = await makeGroup({ body: { text: 'welcome' } });
    assert.equal(reply.type, 'conversation');
    for (const peer of [alice, bob, carol]) {
        assert.deepEqual((await peer.next('message')).body, { text: 'welcome' });
        const { kind, title, members, last } = await listed(peer, conv);
        assert.deepEqual(
            [kind, title, members, last.body],
            ['group', 'Trip', 3, { text: 'welcome' }],
        );
    }
    const { members, total } = await bob.must('members', { conv });
    assert.equal(total, 3);
    assert.deepEqual(
        members.map(({ user, role }) => [user, role]),
        [
            [alice.user, 'owner'],
            [bob.user, 'member'],
            [carol.user, 'member'],
        ],
    );
    await closeAll(alice, bob, carol);
});

test('what a session made is in its list at once, newest activity first', async (t) => {
    const three = await Cluster.start({ routers: 3 });
    t.after(() => three.stop());
    const alice = await Peer.join(three, 'alice');
    const made = [];
    for (let i = 0; i < 50; i++) {
        const { conv } =
            i % 2 === 0
                ? await alice.must('create', { kind: 'group', title: `${i}`, members: ['bob'] })
                : await alice.say({ to: `friend${i}` }, 'x');
        made.unshift(conv);
        const { conversations } = await alice.must('conversations', { limit: 10 });
        assert.deepEqual(
            conversations.map((item) => item.conv),
            made.slice(0, 10),
        );
        await sleep(2); // Activity is told in ms.
    }
    await until('all are listed', async () => {
        const { conversations } = await alice.must('conversations', { limit: 100 });
        return conversations.length === made.length;
    });
    const paged = [];
    for (let more = true; more; ) {
        const page = await alice.must('conversations', { limit: 7, after: paged.at(-1) });
        paged.push(...page.conversations.map((item) => item.conv));
        more = page.more;
    }
    assert.deepEqual(paged, made);
    await alice.must('leave', { conv: made[1] });
    const { conversations } = await alice.must('conversations', { limit: 2 });
    assert.deepEqual(
        conversations.map((item) => item.conv),
        [made[0], made[2]],
    );
    await alice.close();
});

test('a list after what is in it no more is not found: one begins anew', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const other = (await alice.must('create', { members: [bob.user] })).conv;
    const page = { limit: 1 };
    const first = await alice.must('conversations', page);
    assert.deepEqual([first.conversations[0].conv, first.more], [other, true]);
    await alice.must('leave', { conv: other });
    const gone = await alice.refused('not_found', 'conversations', { ...page, after: other });
    assert.match(gone.message, /begin anew/);
    const token = await cluster.token(alice.user);
    const get = (after) =>
        fetch(`${cluster.http()}/v1/users/${alice.user}/conversations?after=${after}`, {
            headers: { Authorization: `Bearer ${token}` },
        });
    const response = await get(other);
    assert.equal(response.status, 404);
    assert.equal((await response.json()).error.code, 'not_found');
    const anew = await alice.must('conversations', page);
    assert.deepEqual([anew.conversations[0].conv, anew.more], [conv, false]);
    assert.deepEqual((await alice.must('conversations', { after: conv })).conversations, []);
    assert.equal((await get(conv)).status, 200);
    await closeAll(alice, bob, carol);
});

test('a group without a title and a message has null in their places', async () => {
    const { alice, bob, carol, conv } = await makeGroup({ title: undefined });
    const { title, last } = await listed(alice, conv);
    assert.deepEqual([title, last], [null, null]);
    await bob.say({ conv }, 'now');
    await until('it is there', async () => (await listed(alice, conv)).last?.body === 'now');
    await closeAll(alice, bob, carol);
});

test('create again with the same cid is answered with the first group, and makes no other', async () => {
    for (const body of [undefined, 'welcome']) {
        const cid = `made-${Math.random()}`;
        const { alice, bob, carol, conv, reply } = await makeGroup({ cid, body });
        const same = { kind: 'group', title: 'Trip', members: [bob.user, carol.user], cid, body };
        const back = await Peer.join(cluster, alice.user, { gateway: 2 });
        for (const peer of [alice, back]) {
            const again = await peer.must('create', same);
            assert.deepEqual({ ...again, id: reply.id }, { ...reply, dup: true });
        }
        assert.equal(reply.dup, undefined);
        const token = await cluster.token(alice.user);
        const response = await fetch(`${cluster.http(2)}/v1/conversations`, {
            method: 'POST',
            headers: { Authorization: `Bearer ${token}` },
            body: JSON.stringify(same),
        });
        const { id, ...first } = reply;
        assert.notEqual(id, undefined);
        assert.equal(response.status, 200);
        assert.deepEqual(await response.json(), { ...first, dup: true });
        assert.equal((await alice.must('conversations')).conversations.length, 1);
        assert.equal((await bob.must('create', same)).dup, undefined, 'another creator, another');
        assert.notEqual((await alice.must('create', { ...same, cid: undefined })).conv, conv);
        await closeAll(alice, bob, carol, back);
    }
});

test('create of what is there already says so', async () => {
    const { alice, bob, carol } = await makeGroup();
    const direct = { kind: 'direct', members: [bob.user] };
    assert.equal((await alice.must('create', direct)).dup, undefined);
    assert.equal((await alice.must('create', direct)).dup, true);
    const named = { conv: `named-${Math.random()}`, members: [], cid: 'n' };
    assert.equal((await alice.must('create', named)).dup, undefined);
    assert.equal((await alice.must('create', named)).dup, true);
    await closeAll(alice, bob, carol);
});

test('an id that another has taken is a conflict', async () => {
    const conv = `room-${Math.random()}`;
    const { alice, bob, carol } = await makeGroup({ conv });
    await bob.refused('conflict', 'create', { conv, kind: 'group', members: [], title: 'Other' });
    assert.equal((await alice.must('members', { conv })).members.length, 3);
    await closeAll(alice, bob, carol);
});

test('what a router refuses is refused with its reason', async () => {
    const alice = await Peer.join(cluster, 'alice');
    const reply = await alice.refused('bad_request', 'create', { conv: 'dm:mine', members: ['bob'] });
    assert.match(reply.message, /ids that begin with dm: are those of direct conversations/);
    await alice.close();
});

test('a message to a group reaches every member', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const sent = await bob.say({ conv }, 'hello');
    for (const peer of [alice, bob, carol])
        assert.equal((await peer.next('message')).seq, sent.seq);
    await closeAll(alice, bob, carol);
});

test('who is added is told, sees the group, and gets what is sent', async () => {
    const { alice, bob, carol, dave, conv } = await makeGroup();
    const late = await Peer.join(cluster, dave, { gateway: 2 });
    await late.refused('forbidden', 'send', { conv, cid: 'x', body: 1 });
    await alice.must('add', { conv, users: [dave] });
    await late.next(isAbout('conversation', conv));
    await bob.next(isChange(conv, dave, 'joined'));
    await late.say({ conv }, 'thanks');
    assert.equal((await carol.next('message')).from, dave);
    const next = await carol.say({ conv }, 'welcome');
    await until('it comes', () => late.seqs(conv).includes(next.seq));
    assert.equal((await alice.must('members', { conv })).total, 4);
    await closeAll(alice, bob, carol, late);
});

test('who is removed is told, gets nothing more and may send no more', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    await alice.must('remove', { conv, users: [bob.user] });
    await bob.next(isGone(conv));
    await carol.next((frame) => isAbout('member', conv)(frame) && frame.change !== 'joined');
    const secret = await carol.say({ conv }, 'without bob');
    await alice.next((frame) => frame.seq === secret.seq);
    await sleep(300);
    assert.ok(!bob.seqs(conv).includes(secret.seq));
    await bob.refused('forbidden', 'send', { conv, cid: 'x', body: 1 });
    assert.equal(await listed(bob, conv), undefined);
    await bob.refused('forbidden', 'history', { conv, after: 0, limit: 500 });
    await closeAll(alice, bob, carol);
});

test('who was removed and added again while online goes on without a hole', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    await alice.must('remove', { conv, users: [bob.user] });
    const secret = await alice.say({ conv }, 'secret');
    await alice.must('add', { conv, users: [bob.user] });
    const open = await alice.say({ conv }, 'open');
    await until('bob gets what follows', () => bob.seqs(conv).includes(open.seq));
    const seqs = bob.seqs(conv);
    assert.deepEqual(
        seqs,
        [...new Set(seqs)].sort((x, y) => x - y),
    );
    assert.ok(secret.seq < open.seq);
    await closeAll(alice, bob, carol);
});

test('who leaves is gone, and the others see it', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    await bob.must('leave', { conv });
    await bob.next(isGone(conv));
    await alice.next(isChange(conv, bob.user, 'left'));
    assert.equal((await carol.must('members', { conv })).total, 2);
    await closeAll(alice, bob, carol);
});

test('a role lets one add and remove, and its loss forbids it', async () => {
    const { alice, bob, carol, dave, conv } = await makeGroup();
    await bob.refused('forbidden', 'remove', { conv, users: [carol.user] });
    await bob.refused('forbidden', 'role', { conv, user: bob.user, role: 'owner' });
    await alice.must('role', { conv, user: bob.user, role: 'admin' });
    assert.equal((await carol.next(isChange(conv, bob.user, 'role'))).role, 'admin');
    await bob.must('add', { conv, users: [dave] });
    await bob.must('remove', { conv, users: [carol.user] });
    await bob.refused('forbidden', 'remove', { conv, users: [alice.user] });
    await alice.must('role', { conv, user: bob.user, role: 'member' });
    await bob.refused('forbidden', 'remove', { conv, users: [dave] });
    await closeAll(alice, bob, carol);
});

test('members pages by user name', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const page = async (fields) => {
        const { members, more, total } = await alice.must('members', { conv, limit: 2, ...fields });
        return [members.map(({ user }) => user), more, total];
    };
    assert.deepEqual(await page({}), [[alice.user, bob.user], true, 3]);
    assert.deepEqual(await page({ after: bob.user }), [[carol.user], false, 3]);
    await closeAll(alice, bob, carol);
});

test('info changes title and meta, and all are told', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    await alice.must('info', { conv, title: 'Voyage', meta: { colour: 'blue' } });
    const info = await bob.next(
        (frame) => isAbout('info', conv)(frame) && frame.title === 'Voyage',
    );
    assert.deepEqual(info.meta, { colour: 'blue' });
    assert.equal((await listed(carol, conv)).title, 'Voyage');
    await alice.must('info', { conv, title: null });
    await bob.next((frame) => isAbout('info', conv)(frame) && frame.title === null);
    const { title, meta, role } = await listed(carol, conv);
    assert.deepEqual([title, meta, role], [null, { colour: 'blue' }, 'member']);
    assert.equal((await listed(alice, conv)).role, 'owner');
    await closeAll(alice, bob, carol);
});

test('those outside may do nothing', async () => {
    const { alice, bob, carol, dave, conv } = await makeGroup();
    const outside = await Peer.join(cluster, dave);
    const attempts = {
        send: { cid: 'x', body: 1 },
        history: { after: 0, limit: 10 },
        members: {},
        add: { users: [dave] },
        remove: { users: [bob.user] },
        info: { title: 'mine' },
        role: { user: dave, role: 'owner' },
        leave: {},
        open: {},
        close: {},
        typing: { on: true },
        read: { seq: 1 },
        edit: { seq: 1, body: 1 },
        delete: { seq: 1 },
        react: { seq: 1, emoji: '+', on: true },
        receipts: { seq: 1 },
    };
    for (const [type, fields] of Object.entries(attempts))
        await outside.refused('forbidden', type, { conv, ...fields });
    await sleep(300);
    assert.deepEqual(outside.seqs(conv), []);
    await closeAll(alice, bob, carol, outside);
});

test('several lists of conversations may be asked for at once', async () => {
    const { alice, bob, carol, conv } = await makeGroup();
    const pages = await Promise.all([1, 2, 3].map(() => alice.must('conversations', {})));
    for (const page of pages) assert.ok(page.conversations.some((item) => item.conv === conv));
    await closeAll(alice, bob, carol);
});

test('a conversation that does not exist is not found', async () => {
    const peer = await Peer.join(cluster, 'nobody');
    await peer.refused('not_found', 'send', { conv: 'nowhere', cid: 'x', body: 1 });
    await peer.refused('not_found', 'members', { conv: 'nowhere' });
    await peer.close();
});

test('a message to oneself is refused or kept as a note, never lost', async () => {
    const peer = await Peer.join(cluster, 'hermit');
    const reply = await peer.ask('send', { to: 'hermit', cid: 'x', body: 'note' });
    if (reply.type === 'sent') assert.equal((await peer.log(reply.conv)).at(-1).body, 'note');
    else assert.equal(reply.code, 'bad_request');
    await peer.close();
});
