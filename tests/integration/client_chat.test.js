// client_chat.test - gateway/web/client.js: changes of messages, who has got them, who types, who is
// there, large conversations.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
    FakeSocket,
    client,
    entry,
    goOnline,
    makeClient,
    memoryStorage,
    pass,
    reconnect,
    refuse,
    reply,
    seqsOf,
    turn,
    welcomed,
} from './client_rig.js';

/** Answer the write that is the n-th of its type on the wire. */
async function sent(type, n, seq, conv = 'c1') {
    const { id, cid } = FakeSocket.newest.of(type)[n];
    FakeSocket.newest.say({ type: 'sent', id, conv, cid, seq, ts: seq });
    await turn();
}

/** Record what an event brings. */
function heard(event) {
    const values = [];
    client.on(event, (value) => values.push(value));
    return values;
}

/** What went out after connect, of the writes only. */
const writes = (socket) =>
    socket.sent
        .filter(({ type }) => ['send', 'edit', 'delete', 'react'].includes(type))
        .map(({ type, body, seq }) => [type, body ?? seq]);

const message = (seq, from, conv = 'c1') => ({ ...entry(seq, conv), from, cid: `cid${seq}` });
const member = (seq, change, user) => ({
    type: 'member',
    conv: 'c1',
    seq,
    ts: seq,
    from: user,
    change,
    user,
});

/* ---- Edits, deletes, reactions ---- */

test('edit, delete and react say what they change, with a cid of their own, and resolve with the seq of the change', async () => {
    const socket = await goOnline();
    const edited = client.edit('c1', 5, 'new', { cid: 'e' });
    const deleted = client.delete('c1', 6, { cid: 'd' });
    const reacted = client.react('c1', 7, '👍', false, { cid: 'r' });
    const frames = socket.sent.slice(1).map((frame) => ({ ...frame, id: 0 }));
    assert.deepEqual(frames, [
        { id: 0, type: 'edit', cid: 'e', conv: 'c1', seq: 5, body: 'new' },
        { id: 0, type: 'delete', cid: 'd', conv: 'c1', seq: 6 },
        { id: 0, type: 'react', cid: 'r', conv: 'c1', seq: 7, emoji: '👍', on: false },
    ]);
    await sent('edit', 0, 8);
    await sent('delete', 0, 9);
    await sent('react', 0, 10);
    assert.deepEqual(
        (await Promise.all([edited, deleted, reacted])).map(({ seq }) => seq),
        [8, 9, 10],
    );
});

test('the sent event tells what was sent and which message it changed', async () => {
    await goOnline();
    const events = heard('sent');
    void client.send('c1', 'hi', { cid: 's' });
    void client.edit('c1', 5, 'new', { cid: 'e' });
    await sent('send', 0, 6);
    await sent('edit', 0, 7);
    assert.deepEqual(
        events.map(({ cid, seq, request, target }) => [cid, seq, request, target]),
        [
            ['s', 6, 'send', undefined],
            ['e', 7, 'edit', 5],
        ],
    );
});

test('changes made while offline wait in order with the sends, and are repeated with the same cid until acknowledged', async () => {
    makeClient().connect();
    void client.send('c1', 'a');
    void client.edit('c1', 1, 'b');
    void client.react('c1', 2, '👍');
    void client.send('c1', 'c');
    void client.delete('c1', 3);
    const socket = await welcomed();
    const expected = [
        ['send', 'a'],
        ['edit', 'b'],
        ['react', 2],
        ['send', 'c'],
        ['delete', 3],
    ];
    assert.deepEqual(writes(socket), expected);
    const cids = socket.sent.slice(1).map(({ cid }) => cid);
    assert.equal(new Set(cids).size, 5);
    const second = await reconnect();
    assert.deepEqual(writes(second), expected);
    assert.deepEqual(
        second.sent.slice(1).map(({ cid }) => cid),
        cids,
    );
});

test('an edit refused for the moment holds up the sends behind it, for as long as the server said', async () => {
    const socket = await goOnline();
    void client.edit('c1', 1, 'b');
    void client.send('c1', 'c');
    await refuse('edit', 'rate_limited', 700);
    await refuse('send', 'rate_limited', 700);
    await pass(699);
    assert.equal(writes(socket).length, 2);
    await pass(1);
    assert.deepEqual(writes(socket).slice(2), [['edit', 'b']]);
    await sent('edit', 1, 5);
    assert.deepEqual(writes(socket).slice(3), [['send', 'c']]);
});

test('a refused edit rejects with the code, and tells which message it was about', async () => {
    await goOnline();
    const refused = heard('refused');
    const edit = client.edit('c1', 5, 'x', { cid: 'e' });
    const rejected = assert.rejects(edit, { code: 'forbidden' });
    await refuse('edit', 'forbidden');
    await rejected;
    assert.deepEqual(
        refused.map(({ cid, request, target }) => [cid, request, target]),
        [['e', 'edit', 5]],
    );
});

test('changes survive a reload beside the sends, each with what it needs', async () => {
    const storage = memoryStorage();
    await goOnline({ storage });
    void client.send('c1', 'a', { cid: 's' });
    void client.react('c1', 2, '👍', true, { cid: 'r' });
    await turn();
    assert.deepEqual(client.pendingChanges, [
        { type: 'react', cid: 'r', conv: 'c1', seq: 2, emoji: '👍', on: true },
    ]);
    assert.deepEqual(
        client.pending.map(({ cid }) => cid),
        ['s'],
    );
    client.close();
    const socket = await goOnline({ storage });
    assert.deepEqual(writes(socket), [
        ['send', 'a'],
        ['react', 2],
    ]);
});

test('edit, delete and reaction events come in their place in the order, once', async () => {
    const socket = await goOnline();
    const order = [];
    for (const type of ['message', 'edit', 'delete', 'reaction'])
        client.on(type, ({ seq }) => order.push([type, seq]));
    const change = (type, seq) => ({ type, conv: 'c1', seq, ts: 1, from: 'bob', target: 1 });
    socket.say(message(1, 'bob'), change('edit', 2), change('reaction', 3), change('delete', 4));
    socket.say(change('edit', 2), message(5, 'bob'));
    assert.deepEqual(order, [
        ['message', 1],
        ['edit', 2],
        ['reaction', 3],
        ['delete', 4],
        ['message', 5],
    ]);
});

test('entries pushed again are not delivered again, and are acknowledged again', async () => {
    const socket = await goOnline();
    const seqs = seqsOf();
    socket.say(entry(1), entry(2));
    await pass(30);
    socket.say(entry(1), entry(2));
    await pass(500);
    assert.deepEqual(seqs, [1, 2]);
    assert.deepEqual(
        socket.of('ack').map(({ seq }) => seq),
        [2, 2],
    );
});

/* ---- Ticks ---- */

test('a message to one user is sending, sent, delivered and read, by its cid and by its seq', async () => {
    const socket = await goOnline();
    void client.send('dm:1', 'hi', { cid: 'x' });
    assert.equal(client.statusOf('dm:1', 'x').status, 'sending');
    await sent('send', 0, 7, 'dm:1');
    assert.equal(client.statusOf('dm:1', 'x').status, 'sent');
    socket.say({ type: 'receipt', conv: 'dm:1', user: 'bob', delivered: 7 });
    assert.equal(client.statusOf('dm:1', 'x').status, 'delivered');
    socket.say({ type: 'receipt', conv: 'dm:1', user: 'bob', read: 6 });
    assert.equal(client.statusOf('dm:1', 7).status, 'delivered');
    assert.equal(client.statusOf('dm:1', 6).status, 'read');
    socket.say({ type: 'receipt', conv: 'dm:1', user: 'bob', read: 7 });
    assert.deepEqual(client.statusOf('dm:1', 'x'), {
        status: 'read',
        delivered: 1,
        read: 1,
        total: 1,
    });
});

test('our own cursor on another device does not count, and who answers has read', async () => {
    const socket = await goOnline();
    socket.say({ type: 'receipt', conv: 'dm:1', user: 'alice', read: 7 });
    assert.equal(client.statusOf('dm:1', 7).status, 'sent');
    socket.say(message(8, 'bob', 'dm:1'));
    assert.equal(client.statusOf('dm:1', 7).status, 'read');
});

test('in a small group a message is delivered and read once all the others are there, whoever leaves or joins', async () => {
    const socket = await goOnline();
    const made = client.create({ members: ['bob', 'carol'] });
    await reply('create', { type: 'conversation', conv: 'c1', kind: 'group', head: 3 });
    await made;
    const cursor = (user, delivered, read) => ({
        type: 'receipt',
        conv: 'c1',
        user,
        delivered,
        read,
    });
    socket.say(cursor('bob', 5, 5));
    assert.deepEqual(client.statusOf('c1', 5), { status: 'sent', delivered: 1, read: 1, total: 2 });
    socket.say(cursor('carol', 5));
    assert.equal(client.statusOf('c1', 5).status, 'delivered');
    socket.say(member(6, 'joined', 'dave'));
    assert.equal(client.statusOf('c1', 5).status, 'sent');
    socket.say(member(7, 'left', 'bob'), member(8, 'left', 'dave'));
    assert.deepEqual(client.statusOf('c1', 5), {
        status: 'delivered',
        delivered: 1,
        read: 0,
        total: 1,
    });
});

test('a member entry older than the list does not count twice', async () => {
    const socket = await goOnline();
    const list = client.conversations();
    await turn();
    const item = { conv: 'c1', kind: 'group', head: 9, read: 0, unread: 0, members: 4 };
    await reply('conversations', { type: 'conversations', conversations: [item], more: false });
    await list;
    socket.say(member(9, 'joined', 'dave'));
    assert.equal(client.statusOf('c1', 9).total, 3);
    socket.say(member(10, 'joined', 'erin'));
    assert.equal(client.statusOf('c1', 9).total, 4);
});

test('in a large group the counts tell, and a count of a later message holds for those before it', async () => {
    const socket = await goOnline();
    const receipts = heard('receipt');
    const tally = (seq, delivered_count, read_count) => ({
        type: 'receipt',
        conv: 'c1',
        seq,
        delivered_count,
        read_count,
        total: 50,
    });
    socket.say(tally(5, 50, 45));
    assert.deepEqual(client.statusOf('c1', 5), {
        status: 'delivered',
        delivered: 50,
        read: 45,
        total: 50,
    });
    socket.say(tally(9, 3, 1)); // A new message: counted from the beginning.
    assert.equal(client.statusOf('c1', 5).read, 45);
    assert.deepEqual(client.statusOf('c1', 9), {
        status: 'sent',
        delivered: 3,
        read: 1,
        total: 50,
    });
    socket.say(tally(9, 50, 50));
    assert.equal(client.statusOf('c1', 5).status, 'read');
    assert.equal(receipts.length, 3);
});

test('receipts() says who, and statusOf() knows it from then on', async () => {
    await goOnline();
    const asked = client.receipts('c1', 5);
    await turn();
    await reply('receipts', {
        type: 'receipts',
        delivered: [
            { user: 'bob', ts: 1 },
            { user: 'carol', ts: 2 },
        ],
        read: [{ user: 'bob', ts: 3 }],
        total: 2,
    });
    assert.deepEqual((await asked).read, [{ user: 'bob', ts: 3 }]);
    assert.equal(client.statusOf('c1', 5).status, 'delivered');
    assert.equal(client.statusOf('c1', 4).read, 1);
});

/* ---- Typing ---- */

test('typing goes out at once, then at most every three seconds, and off when one stops', async () => {
    const socket = await goOnline();
    const frames = () => socket.of('typing').map(({ on }) => on);
    client.typing('c1');
    await pass(2999);
    client.typing('c1');
    assert.deepEqual(frames(), [true]);
    await pass(1);
    client.typing('c1');
    client.typing('c1', false);
    client.typing('c1', false);
    assert.deepEqual(frames(), [true, true, false]);
    client.typing('c1');
    await pass(5000); // It has expired by itself.
    client.typing('c1', false);
    assert.deepEqual(frames(), [true, true, false, true]);
});

test('a send says that one stopped typing', async () => {
    const socket = await goOnline();
    client.typing('c1');
    void client.send('c1', 'hi');
    assert.deepEqual(
        socket.sent.slice(1).map(({ type, on }) => [type, on]),
        [
            ['typing', true],
            ['typing', false],
            ['send', undefined],
        ],
    );
});

test('typing while offline is not kept for later', async () => {
    makeClient().connect();
    client.typing('c1');
    const socket = await welcomed();
    assert.equal(socket.of('typing').length, 0);
    client.typing('c1');
    assert.equal(socket.of('typing').length, 1);
});

test('who types is told once, prolonged by what comes again, and expires after five seconds', async () => {
    const socket = await goOnline();
    const events = heard('typing');
    socket.say({ type: 'typing', conv: 'c1', user: 'bob', on: true });
    await pass(4000);
    socket.say({ type: 'typing', conv: 'c1', user: 'bob', on: true });
    await pass(4999);
    assert.deepEqual(events, [{ conv: 'c1', user: 'bob', on: true }]);
    assert.deepEqual(client.typists('c1'), ['bob']);
    await pass(1);
    assert.deepEqual(events[1], { conv: 'c1', user: 'bob', on: false });
    assert.deepEqual(client.typists('c1'), []);
});

test('who sends what he typed does not type any longer, nor anyone after a lost connection', async () => {
    const socket = await goOnline();
    const events = heard('typing');
    for (const user of ['bob', 'carol']) socket.say({ type: 'typing', conv: 'c1', user, on: true });
    socket.say(message(1, 'bob'));
    assert.deepEqual(client.typists('c1'), ['carol']);
    socket.drop(1006);
    assert.deepEqual(client.typists('c1'), []);
    assert.deepEqual(
        events.map(({ user, on }) => [user, on]),
        [
            ['bob', true],
            ['carol', true],
            ['bob', false],
            ['carol', false],
        ],
    );
});

/* ---- Open, watch, status: kept up over reconnects ---- */

test('open resolves with the answer, is asked for again after a reconnect, and not after close', async () => {
    const socket = await goOnline();
    const opened = client.open('c1');
    await turn();
    assert.deepEqual(
        socket.of('open').map(({ conv }) => conv),
        ['c1'],
    );
    await reply('open', { type: 'ok' });
    await opened;
    const second = await reconnect();
    assert.equal(second.of('open').length, 1);
    const closed = client.close('c1');
    assert.equal(client.state, 'online');
    await reply('close', { type: 'ok' });
    await closed;
    assert.equal((await reconnect()).of('open').length, 0);
});

test('open, watch and setStatus before there is a connection are asked for once it is there', async () => {
    makeClient().connect();
    const all = [
        client.open('c1'),
        client.open('c2'),
        client.watch(['bob']),
        client.watch(['carol', 'bob']),
        client.setStatus('away'),
        client.setStatus('busy'),
    ];
    const socket = await welcomed();
    assert.deepEqual(
        socket.sent
            .slice(1)
            .map(({ type, conv, users, status }) => [type, conv ?? users ?? status]),
        [
            ['status', 'busy'],
            ['watch', ['bob', 'carol']],
            ['open', 'c1'],
            ['open', 'c2'],
        ],
    );
    for (const { id } of socket.sent.slice(1)) socket.say({ type: 'ok', id });
    await Promise.all(all);
    const second = await reconnect();
    assert.deepEqual(
        second.sent.slice(1).map(({ type }) => type),
        ['status', 'watch', 'open', 'open'],
    );
});

test('an open that is refused for the moment is repeated when the server said, one refused for good rejects', async () => {
    const socket = await goOnline();
    const opened = client.open('c1');
    await turn();
    await refuse('open', 'unavailable', 300);
    await pass(299);
    assert.equal(socket.of('open').length, 1);
    await pass(1);
    assert.equal(socket.of('open').length, 2);
    const rejected = assert.rejects(opened, { code: 'forbidden' });
    await refuse('open', 'forbidden');
    await rejected;
    assert.equal((await reconnect()).of('open').length, 0);
});

test('a conversation one is gone from is not opened again', async () => {
    const socket = await goOnline();
    void client.open('c1');
    await turn();
    await reply('open', { type: 'ok' });
    socket.say({ type: 'conversation', conv: 'c1', gone: true });
    assert.equal((await reconnect()).of('open').length, 0);
});

test('users are watched five hundred at a time, and unwatch takes only those back who were', async () => {
    const socket = await goOnline();
    const users = Array.from({ length: 700 }, (_, n) => `u${n}`);
    void client.watch(users);
    await turn();
    assert.deepEqual(
        socket.of('watch').map((frame) => frame.users.length),
        [500, 200],
    );
    void client.unwatch(['u0', 'stranger']);
    await turn();
    assert.deepEqual(socket.of('unwatch')[0].users, ['u0']);
    const second = await reconnect();
    assert.deepEqual(
        second.of('watch').map((frame) => frame.users.length),
        [500, 199],
    );
});

test('presence asks for five hundred at a time and brings one list', async () => {
    const socket = await goOnline();
    const asked = client.presence(Array.from({ length: 501 }, (_, n) => `u${n}`));
    await turn();
    for (const { id, users } of socket.of('presence'))
        socket.say({
            type: 'presence_list',
            id,
            users: users.map((user) => ({ user, status: 'offline', last_seen: 9 })),
        });
    const list = await asked;
    assert.equal(list.length, 501);
    assert.deepEqual(list[500], { user: 'u500', status: 'offline', last_seen: 9 });
});

test('presence, activity and server_restart reach their listeners', async () => {
    const socket = await goOnline();
    const all = ['presence', 'activity', 'server_restart'].map(heard);
    socket.say(
        { type: 'presence', user: 'bob', status: 'away' },
        { type: 'activity', conv: 'big', head: 900, unread: 3 },
        { type: 'server_restart', reconnect_after_ms: 5000 },
    );
    assert.deepEqual(
        all.map(([value]) => value.user ?? value.conv ?? value.reconnect_after_ms),
        ['bob', 'big', 5000],
    );
});

test('a large conversation tells of activity, streams while open, and never twice', async () => {
    const socket = await goOnline();
    const seqs = seqsOf('big');
    socket.say(entry(5, 'big'), { type: 'activity', conv: 'big', head: 8, unread: 3 });
    void client.open('big');
    await turn();
    socket.say(entry(6, 'big'), entry(7, 'big'), entry(8, 'big'));
    void client.close('big');
    socket.say({ type: 'activity', conv: 'big', head: 12, unread: 4 });
    void client.open('big');
    await turn();
    socket.say(
        entry(8, 'big'),
        { type: 'gap', conv: 'big', from: 9, to: 10, head: 12, trimmed: true },
        entry(11, 'big'),
        entry(12, 'big'),
    );
    assert.deepEqual(seqs, [5, 6, 7, 8, 11, 12]);
    assert.deepEqual(client.resumePoints, { big: 12 });
});

/* ---- Requests that were refused for the moment ---- */

test('what only reads is repeated after retry_after_ms, and over a lost connection', async () => {
    const socket = await goOnline();
    const asked = client.conversations();
    await turn();
    await refuse('conversations', 'rate_limited', 200);
    await pass(199);
    assert.equal(socket.of('conversations').length, 1);
    await pass(1);
    assert.equal(socket.of('conversations').length, 2);
    await reconnect();
    await reply('conversations', { type: 'conversations', conversations: [], more: false });
    assert.deepEqual((await asked).conversations, []);
});

test('what changes something is not repeated by itself, and tells when to try again', async () => {
    const socket = await goOnline();
    const added = assert.rejects(client.add('c1', ['bob']), {
        code: 'unavailable',
        retryAfterMs: 200,
    });
    await turn();
    await refuse('add', 'unavailable', 200);
    await added;
    await pass(1000);
    assert.equal(socket.of('add').length, 1);
});

test('what the operator wrote, which nobody sent, is an entry like any other', async () => {
    const socket = await goOnline();
    const messages = heard('message');
    const { from, ...unsigned } = entry(1);
    socket.say(unsigned, entry(2));
    assert.deepEqual(
        messages.map(({ seq, from }) => [seq, from]),
        [
            [1, ''],
            [2, from],
        ],
    );
});

test("an answer that comes after its request was given up is nobody's entry", async () => {
    const socket = await goOnline();
    const late = assert.rejects(client.members('c1'), { code: 'timeout' });
    const [others, messages] = [heard('event'), heard('message')];
    await pass(10000);
    await late;
    const { id } = socket.of('members')[0];
    socket.say({ type: 'sent', id, conv: 'c1', cid: 'x', seq: 9, ts: 1 });
    assert.deepEqual([others, messages], [[], []]);
    assert.deepEqual(client.resumePoints, {});
});

test('after 4503 connect() asks for a new token', async () => {
    let asked = 0;
    const socket = await goOnline({ token: undefined, getToken: async () => `T${++asked}` });
    socket.drop(4503);
    assert.equal(client.state, 'closed');
    client.connect();
    await turn();
    FakeSocket.newest.open();
    assert.equal(FakeSocket.newest.sent[0].token, 'T2');
});
