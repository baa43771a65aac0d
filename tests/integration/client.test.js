// client.test - gateway/web/client.js: the connection, the order of what comes and of what is sent.
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

import {
    FakeSocket,
    client,
    entry,
    goOnline,
    makeClient,
    memoryStorage,
    pass,
    range,
    seqsOf,
    states,
    turn,
    WELCOME,
    welcomed,
} from './client_rig.js';

test('the first frame is connect with token, device and batch, and no resume map on a fresh device', async () => {
    const socket = await goOnline();
    assert.deepEqual(socket.sent[0], {
        type: 'connect',
        id: 0,
        token: 'T',
        device: 'd1',
        batch: true,
    });
    assert.equal(client.user, 'alice');
    assert.equal(client.state, 'online');
});

test('connect() resolves with the welcome and rejects where the server refuses for good', async () => {
    const welcome = makeClient().connect();
    await welcomed();
    assert.equal((await welcome).gateway, 'g1');
    client.close();
    const refused = client.connect();
    await turn();
    FakeSocket.newest.drop(4503, 'logged out');
    await assert.rejects(refused, { code: 'closed', message: 'logged out' });
});

for (const code of [1001, 1006, 1012, 4008, 4010])
    test(`close ${code} is followed by another attempt within a second`, async () => {
        const socket = await goOnline();
        socket.drop(code);
        assert.equal(client.state, 'waiting');
        await pass(1000);
        assert.equal(FakeSocket.all.length, 2);
    });

for (const code of [1009, 4500, 4503, 4509])
    test(`close ${code} ends in the state closed`, async () => {
        const socket = await goOnline();
        socket.drop(code, 'why');
        await pass(120000);
        assert.equal(FakeSocket.all.length, 1);
        assert.deepEqual(states.at(-1), { state: 'closed', code, reason: 'why' });
    });

test('close 4029 waits at least eight seconds', async () => {
    const socket = await goOnline();
    socket.drop(4029);
    await pass(7999);
    assert.equal(FakeSocket.all.length, 1);
    await pass(1000);
    assert.equal(FakeSocket.all.length, 2);
});

test('close 4501 asks for one new token, and a second one in a row ends', async () => {
    let asked = 0;
    makeClient({ token: undefined, getToken: async () => `T${++asked}` }).connect();
    await turn();
    FakeSocket.newest.open();
    assert.equal(FakeSocket.newest.sent[0].token, 'T1');
    FakeSocket.newest.drop(4501);
    await pass(1);
    await turn();
    FakeSocket.newest.open();
    assert.equal(FakeSocket.newest.sent[0].token, 'T2');
    FakeSocket.newest.drop(4501);
    await pass(60000);
    assert.equal(client.state, 'closed');
    assert.equal(asked, 2);
});

test('close 4501 without getToken ends at once', async () => {
    const socket = await goOnline();
    socket.drop(4501, 'expired');
    assert.equal(client.state, 'closed');
});

test('the waits double up to 30 s, jittered over the whole of each, and go round the gateways', async () => {
    makeClient({ url: undefined, urls: ['ws://a', 'ws://b'], random: () => 0.999999 }).connect();
    await turn();
    for (let i = 0; i < 7; i++) {
        FakeSocket.newest.drop(1006);
        await pass(states.at(-1).retryInMs);
    }
    const waits = states
        .filter((change) => change.state === 'waiting')
        .map((change) => change.retryInMs);
    assert.deepEqual(waits, [1000, 2000, 4000, 8000, 16000, 30000, 30000]);
    assert.deepEqual(
        FakeSocket.all.slice(0, 3).map((socket) => socket.url),
        ['ws://a', 'ws://b', 'ws://a'],
    );
});

/** Where the next three attempts go, when all fail. */
async function triedAfter(loss) {
    const before = FakeSocket.all.length;
    loss.drop(1006);
    for (let i = 0; i < 3; i++) {
        await pass(states.at(-1).retryInMs);
        FakeSocket.newest.drop(1006);
    }
    return FakeSocket.all.slice(before).map((socket) => socket.url);
}

test('beside its one url a client tries those that the welcome named, and begins with its own again', async () => {
    makeClient({ url: 'ws://a/ws' }).connect();
    const urls = ['ws://a/ws', 'ws://b/ws', 'wss://c/ws', 'http://d/ws', 'e', 7, null];
    let socket = await welcomed({ ...WELCOME, urls });
    assert.deepEqual(await triedAfter(socket), ['ws://b/ws', 'wss://c/ws', 'ws://a/ws']);
    await pass(states.at(-1).retryInMs);
    socket = await welcomed({ ...WELCOME, urls }); // At b, which names them as well.
    assert.equal(socket.url, 'ws://b/ws');
    assert.deepEqual(await triedAfter(socket), ['wss://c/ws', 'ws://a/ws', 'ws://b/ws']);
    await pass(states.at(-1).retryInMs);
    socket = await welcomed(); // At c, which names none: its own is left.
    assert.deepEqual(await triedAfter(socket), Array(3).fill('ws://a/ws'));
});

test('from wss: a client goes to no ws:, and one with urls of its own learns no others', async () => {
    const urls = ['ws://b/ws', 'wss://c/ws'];
    makeClient({ url: 'wss://a/ws' }).connect();
    let socket = await welcomed({ ...WELCOME, urls });
    assert.deepEqual(await triedAfter(socket), ['wss://c/ws', 'wss://a/ws', 'wss://c/ws']);
    client.close();
    makeClient({ url: undefined, urls: ['wss://x/ws'] }).connect();
    socket = await welcomed({ ...WELCOME, urls });
    assert.deepEqual(await triedAfter(socket), Array(3).fill('wss://x/ws'));
});

test('a connection that lived ten seconds starts the waits anew, a shorter one does not', async () => {
    const first = await goOnline();
    first.drop(1006);
    await pass(1000);
    const second = await welcomed();
    second.drop(1006);
    assert.equal(states.at(-1).retryInMs, 1000); // 0.5 of the second step.
    await pass(1000);
    const third = await welcomed();
    await pass(10000);
    third.drop(1006);
    assert.equal(states.at(-1).retryInMs, 500);
});

test('server_restart is obeyed: the client stays until its turn, then goes to the next gateway', async () => {
    const socket = await goOnline({ url: undefined, urls: ['ws://a', 'ws://b'] });
    socket.say({ type: 'server_restart', reconnect_after_ms: 3000 });
    await pass(2999);
    assert.equal(client.state, 'online');
    await pass(1);
    await pass(0);
    assert.equal(FakeSocket.newest.url, 'ws://b');
});

test('a close before its turn waits for the rest of reconnect_after_ms', async () => {
    const socket = await goOnline();
    socket.say({ type: 'server_restart', reconnect_after_ms: 3000 });
    await pass(1000);
    socket.drop(1012);
    assert.equal(states.at(-1).retryInMs, 2000);
});

test('a welcome that does not come within ten seconds counts as a failure', async () => {
    makeClient().connect();
    await turn();
    FakeSocket.newest.open();
    await pass(10000);
    assert.equal(client.state, 'waiting');
});

test('after one ping_ms of silence the client asks, after two it reconnects', async () => {
    const socket = await goOnline();
    await pass(12500);
    await pass(12500);
    assert.equal(socket.of('ping').length, 1);
    socket.say({ type: 'pong', ts: 1 });
    await pass(49999);
    assert.equal(client.state, 'online');
    await pass(1);
    assert.equal(client.state, 'waiting');
});

test('resume bears the newest delivered seq of each conversation and the epoch', async () => {
    const socket = await goOnline();
    socket.say(entry(104), entry(105), entry(7, 'dm'));
    socket.drop(1006);
    await pass(1000);
    const second = await welcomed();
    assert.deepEqual(second.sent[0].resume, { c1: 105, dm: 7 });
    assert.equal(second.sent[0].epoch, 'e1');
});

test('a conversation one is gone from is not resumed', async () => {
    const socket = await goOnline();
    socket.say(entry(5), entry(1, 'c2'), { type: 'conversation', conv: 'c2', gone: true });
    assert.deepEqual(client.resumePoints, { c1: 5 });
});

test('reset forgets every position', async () => {
    const socket = await goOnline();
    const seqs = seqsOf();
    let resets = 0;
    client.on('reset', () => resets++);
    socket.say(entry(50), { type: 'reset' }, entry(1), entry(2));
    assert.equal(resets, 1);
    assert.deepEqual(seqs, [50, 1, 2]);
    assert.deepEqual(client.resumePoints, { c1: 2 });
});

test('events in an array are taken one by one', async () => {
    const socket = await goOnline();
    const seqs = seqsOf();
    socket.say([entry(1), entry(2), entry(3)]);
    assert.deepEqual(seqs, [1, 2, 3]);
});

test('an entry of an unknown type takes its place in the order', async () => {
    const socket = await goOnline();
    const seqs = seqsOf();
    const others = [];
    client.on('event', (frame) => others.push(frame.type));
    socket.say(entry(1), { ...entry(2), type: 'poll' }, entry(3));
    assert.deepEqual([seqs, others], [[1, 3], ['poll']]);
});

test('duplicates are removed, also over a reconnect', async () => {
    const socket = await goOnline();
    const seqs = seqsOf();
    socket.say(entry(1), entry(1), entry(2));
    socket.drop(1006);
    await pass(1000);
    (await welcomed()).say(entry(1), entry(2), entry(3));
    assert.deepEqual(seqs, [1, 2, 3]);
});

test('a hole is paged before what follows it is delivered', async () => {
    const socket = await goOnline();
    const seqs = seqsOf();
    socket.say(entry(1), entry(5), entry(4));
    await turn();
    assert.deepEqual(seqs, [1]);
    const [request] = socket.of('history');
    assert.deepEqual([request.conv, request.after], ['c1', 1]);
    socket.say({
        type: 'history',
        id: request.id,
        conv: 'c1',
        entries: [2, 3].map((seq) => entry(seq)),
        head: 5,
    });
    await turn();
    assert.deepEqual(seqs, [1, 2, 3, 4, 5]);
    socket.say(entry(6));
    assert.deepEqual(seqs.at(-1), 6);
});

test('an announced gap is paged to its end, page by page, while live entries wait', async () => {
    const socket = await goOnline();
    const seqs = seqsOf();
    const gaps = [];
    client.on('gap', (gap) => gaps.push([gap.from, gap.to]));
    socket.say(
        entry(1),
        { type: 'gap', conv: 'c1', from: 2, to: 1200, head: 1202 },
        entry(1201),
        entry(1202),
    );
    for (let i = 0; i < 3; i++) {
        await turn();
        const request = socket.of('history')[i];
        const page = range(request.after + 1, Math.min(request.after + 500, 1200));
        socket.say({
            type: 'history',
            id: request.id,
            conv: 'c1',
            entries: page.map((seq) => entry(seq)),
            head: 1202,
        });
    }
    await turn();
    assert.deepEqual(gaps, [[2, 1200]]);
    assert.deepEqual(seqs, range(1, 1202));
    assert.equal(socket.of('history').length, 3);
});

test('a gap may be skipped by the application', async () => {
    const socket = await goOnline();
    const seqs = seqsOf();
    client.on('gap', (gap) => gap.skip());
    socket.say({ type: 'gap', conv: 'c1', from: 1, to: 4000, head: 4001 }, entry(4001));
    await turn();
    assert.deepEqual(seqs, [4001]);
    assert.equal(socket.of('history').length, 0);
});

test('a trimmed gap is told and not paged', async () => {
    const socket = await goOnline();
    const seqs = seqsOf();
    const gaps = [];
    client.on('gap', (gap) => gaps.push(gap.trimmed));
    socket.say({ type: 'gap', conv: 'c1', from: 1, to: 10, head: 11, trimmed: true }, entry(11));
    assert.deepEqual([gaps, seqs], [[true], [11]]);
});

test('a hole that the log does not show us is passed over', async () => {
    const socket = await goOnline();
    const seqs = seqsOf();
    socket.say(entry(1), entry(9));
    await turn();
    socket.say({
        type: 'history',
        id: socket.of('history')[0].id,
        conv: 'c1',
        entries: [],
        head: 9,
    });
    await turn();
    assert.deepEqual(seqs, [1, 9]);
});

test('paging waits out `unavailable`', async () => {
    const socket = await goOnline();
    const seqs = seqsOf();
    socket.say(entry(1), entry(3));
    await turn();
    socket.say({
        type: 'error',
        id: socket.of('history')[0].id,
        code: 'unavailable',
        message: 'm',
        retry_after_ms: 700,
    });
    await turn();
    await pass(699);
    assert.equal(socket.of('history').length, 1);
    await pass(1);
    socket.say({
        type: 'history',
        id: socket.of('history')[1].id,
        conv: 'c1',
        entries: [entry(2), entry(3)],
        head: 3,
    });
    await turn();
    assert.deepEqual(seqs, [1, 2, 3]);
});

test('what is held beyond a hole is bounded, and the rest comes from the log', async () => {
    const socket = await goOnline();
    const seqs = seqsOf();
    socket.say(
        entry(1),
        range(3, 2502).map((seq) => entry(seq)),
    );
    for (let i = 0; i < 2; i++) {
        await turn();
        const request = socket.of('history')[i];
        const page = range(request.after + 1, Math.min(request.after + 500, 2502));
        socket.say({
            type: 'history',
            id: request.id,
            conv: 'c1',
            entries: page.map((seq) => entry(seq)),
            head: 2502,
        });
    }
    await turn();
    assert.deepEqual(seqs, range(1, 2502));
});

test('a hole open at a disconnect is asked for again by resume', async () => {
    const socket = await goOnline();
    const seqs = seqsOf();
    socket.say(entry(1), entry(3));
    await turn();
    socket.drop(1006);
    await pass(1000);
    const second = await welcomed();
    assert.deepEqual(second.sent[0].resume, { c1: 1 });
    second.say(entry(2), entry(3));
    assert.deepEqual(seqs, [1, 2, 3]);
});

test('a send resolves with its seq', async () => {
    const socket = await goOnline();
    const sent = client.send('c1', { text: 'hi' }, { cid: 'x', replyTo: 3 });
    const [frame] = socket.of('send');
    assert.deepEqual(
        { ...frame, id: 0 },
        { type: 'send', id: 0, conv: 'c1', cid: 'x', body: { text: 'hi' }, reply_to: 3 },
    );
    socket.say({ type: 'sent', id: frame.id, conv: 'c1', cid: 'x', seq: 9, ts: 1 });
    assert.equal((await sent).seq, 9);
});

test('sends made while offline go out in order once online', async () => {
    makeClient().connect();
    const counts = [];
    client.on('outbox', ({ count }) => counts.push(count));
    for (const n of [1, 2, 3]) void client.send('c1', n);
    const socket = await welcomed();
    assert.deepEqual(
        socket.of('send').map((frame) => frame.body),
        [1, 2, 3],
    );
    assert.deepEqual(counts, [1, 2, 3]);
});

test('unanswered sends are repeated with the same cid after a reconnect', async () => {
    const socket = await goOnline();
    const sent = client.send({ to: 'bob' }, 'hi');
    const { cid } = socket.of('send')[0];
    socket.drop(1006);
    await pass(1000);
    const second = await welcomed();
    assert.equal(second.of('send')[0].cid, cid);
    second.say({
        type: 'sent',
        id: second.of('send')[0].id,
        conv: 'dm',
        cid,
        seq: 1,
        ts: 1,
        dup: true,
    });
    assert.equal((await sent).dup, true);
    assert.equal(client.pending.length, 0);
});

test('sends to a user and to the conversation that came of it keep one order', async () => {
    const socket = await goOnline();
    void client.send({ to: 'bob' }, 1);
    void client.send({ to: 'bob' }, 2);
    const [first, second] = socket.of('send');
    socket.say({ type: 'sent', id: first.id, conv: 'dm', cid: first.cid, seq: 1, ts: 1 });
    socket.say({
        type: 'error',
        id: second.id,
        code: 'unavailable',
        message: 'm',
        retry_after_ms: 100,
    });
    await turn();
    void client.send('dm', 3);
    assert.equal(socket.of('send').length, 2);
    assert.deepEqual(
        client.pending.map((send) => send.body),
        [2, 3],
    );
});

test('after `unavailable` the refused send goes alone before those behind it', async () => {
    const socket = await goOnline();
    for (const n of [1, 2, 3]) void client.send('c1', n);
    const frames = socket.of('send');
    for (const { id } of frames)
        socket.say({ type: 'error', id, code: 'unavailable', message: 'm', retry_after_ms: 400 });
    await turn();
    await pass(399);
    assert.equal(socket.of('send').length, 3);
    await pass(200);
    assert.deepEqual(
        socket
            .of('send')
            .slice(3)
            .map((frame) => frame.body),
        [1],
    );
    const retry = socket.of('send')[3];
    assert.equal(retry.cid, frames[0].cid);
    socket.say({ type: 'sent', id: retry.id, conv: 'c1', cid: retry.cid, seq: 1, ts: 1 });
    await turn();
    assert.deepEqual(
        socket
            .of('send')
            .slice(4)
            .map((frame) => frame.body),
        [2, 3],
    );
});

test('many refusals at once are waited out once', async () => {
    const socket = await goOnline();
    for (let n = 0; n < 64; n++) void client.send('c1', n);
    for (const { id } of socket.of('send'))
        socket.say({ type: 'error', id, code: 'unavailable', message: 'm', retry_after_ms: 400 });
    await turn();
    await pass(400);
    assert.equal(socket.of('send').length, 65);
});

test('a conversation that waits does not hold up another', async () => {
    const socket = await goOnline();
    void client.send('c1', 1);
    socket.say({
        type: 'error',
        id: socket.of('send')[0].id,
        code: 'unavailable',
        message: 'm',
        retry_after_ms: 5000,
    });
    await turn();
    void client.send('c2', 2);
    assert.equal(socket.of('send').at(-1).conv, 'c2');
});

test('a definite refusal rejects the send and lets the next one pass', async () => {
    const socket = await goOnline();
    const refused = client.send('c1', 1);
    void client.send('c1', 2);
    socket.say({
        type: 'error',
        id: socket.of('send')[0].id,
        code: 'forbidden',
        message: 'not a member',
    });
    await assert.rejects(refused, { code: 'forbidden', message: 'not a member' });
    assert.deepEqual(
        client.pending.map((send) => send.body),
        [2],
    );
});

test('at most 64 sends are on the wire at once', async () => {
    const socket = await goOnline();
    for (let n = 0; n < 100; n++) void client.send('c1', n);
    assert.equal(socket.of('send').length, 64);
    const { id, cid } = socket.of('send')[0];
    socket.say({ type: 'sent', id, conv: 'c1', cid, seq: 1, ts: 1 });
    await turn();
    assert.equal(socket.of('send').length, 65);
});

test('more sends than may wait are refused, and there is room again when one is through', async () => {
    const socket = await goOnline({ sendsMax: 3 });
    const waiting = [1, 2, 3].map((n) => client.send('c1', n));
    await assert.rejects(client.send('c1', 4), { code: 'too_many' });
    assert.equal(socket.of('send').length, 3);
    const { id, cid } = socket.of('send')[0];
    socket.say({ type: 'sent', id, conv: 'c1', cid, seq: 1, ts: 1 });
    assert.equal((await waiting[0]).seq, 1);
    void client.send('c1', 5);
    assert.deepEqual(socket.of('send').map(({ body }) => body), [1, 2, 3, 5]);
});

test('a message beyond max_frame is refused without being sent', async () => {
    const socket = await goOnline();
    await assert.rejects(client.send('c1', 'é'.repeat(70000)), { code: 'too_large' });
    assert.equal(socket.of('send').length, 0);
});

test('a send that is not answered within 15 s is repeated on another connection', async () => {
    const socket = await goOnline();
    void client.send('c1', 1);
    await pass(14000);
    socket.say({ type: 'pong', ts: 1 });
    await pass(1000);
    assert.equal(client.state, 'waiting');
    await pass(1000);
    assert.equal((await welcomed()).of('send')[0].body, 1);
});

test('acks are coalesced: the highest seq, at most one per half second and conversation', async () => {
    const socket = await goOnline();
    socket.say(range(1, 50).map((seq) => entry(seq)));
    await pass(30);
    assert.deepEqual(socket.of('ack'), [{ type: 'ack', conv: 'c1', seq: 50 }]);
    socket.say(entry(51));
    await pass(100);
    socket.say(entry(52));
    await pass(399);
    assert.equal(socket.of('ack').length, 1);
    await pass(1);
    assert.deepEqual(socket.of('ack')[1], { type: 'ack', conv: 'c1', seq: 52 });
});

test('a read mark implies the ack, and one made offline goes out later', async () => {
    const socket = await goOnline();
    socket.say(entry(4));
    socket.drop(1006);
    client.markRead('c1', 4);
    await pass(1000);
    const second = await welcomed();
    await pass(500);
    assert.deepEqual(second.sent.slice(1), [{ type: 'read', conv: 'c1', seq: 4 }]);
});

test('a request gets the reply with its id, an error rejects, silence times out', async () => {
    const socket = await goOnline();
    const members = client.members('c1');
    const add = client.add('c1', ['bob']);
    const silent = client.ping();
    const rejects = [
        assert.rejects(add, { code: 'forbidden' }),
        assert.rejects(silent, { code: 'timeout' }),
    ];
    socket.say({ type: 'error', id: socket.of('add')[0].id, code: 'forbidden', message: 'm' });
    socket.say({
        type: 'members',
        id: socket.of('members')[0].id,
        conv: 'c1',
        members: [],
        total: 0,
    });
    assert.equal((await members).total, 0);
    await pass(10000);
    await Promise.all(rejects);
});

test('a request on the wire at a disconnect rejects, one made offline waits', async () => {
    const socket = await goOnline();
    const lost = assert.rejects(client.leave('c1'), { code: 'disconnected' });
    await turn();
    socket.drop(1006);
    await lost;
    const later = client.conversations();
    await pass(1000);
    const second = await welcomed();
    second.say({
        type: 'conversations',
        id: second.of('conversations')[0].id,
        conversations: [],
        more: false,
    });
    assert.deepEqual((await later).conversations, []);
});

test('positions and unsent messages survive a reload through the storage', async () => {
    const storage = memoryStorage();
    const socket = await goOnline({ storage });
    socket.say(entry(1), entry(2));
    void client.send('c1', 'unsent', { cid: 'u1' });
    await pass(250);
    const saved = new Map(storage.items); // As the page's end would leave it.
    client.close();
    const reloaded = memoryStorage();
    saved.forEach((value, key) => reloaded.setItem(key, value));
    const second = await goOnline({ storage: reloaded });
    assert.deepEqual(second.sent[0].resume, { c1: 2 });
    assert.deepEqual(
        second.of('send').map(({ cid, body }) => [cid, body]),
        [['u1', 'unsent']],
    );
    const { id } = second.of('send')[0];
    second.say({ type: 'sent', id, conv: 'c1', cid: 'u1', seq: 3, ts: 1 });
    await turn();
    await pass(250);
    assert.equal(reloaded.getItem('chatmesh.d1.outbox'), '[]');
});

test('a damaged storage is as good as an empty one', async () => {
    const storage = memoryStorage();
    storage.setItem('chatmesh.d1.resume', '{oops');
    const socket = await goOnline({ storage });
    assert.equal(socket.sent[0].resume, undefined);
});

test('a resume map too large for a frame keeps the newest conversations', async () => {
    const socket = await goOnline();
    for (let n = 0; n < 2000; n++) socket.say(entry(1, `${'x'.repeat(100)}${n}`));
    socket.drop(1006);
    await pass(1000);
    const resume = (await welcomed()).sent[0].resume;
    assert.ok(JSON.stringify(resume).length < 131072 - 8192);
    assert.ok(`${'x'.repeat(100)}1999` in resume);
});

test('a listener that throws is reported and stops nobody', async () => {
    const socket = await goOnline();
    const errors = [];
    const second = new Set();
    client.on('message', () => {
        throw new Error('mine');
    });
    client.on('message', ({ seq }) => second.add(seq));
    const quiet = mock.method(console, 'error', () => {});
    client.on('error', (error) => errors.push(error.message));
    socket.say(entry(1), entry(2));
    assert.deepEqual([...second], [1, 2]);
    assert.deepEqual(errors, ['mine', 'mine']);
    quiet.mock.restore();
});

test('close() flushes the read marks and ends', async () => {
    const socket = await goOnline();
    client.markRead('c1', 3);
    client.close();
    assert.deepEqual(socket.of('read'), [{ type: 'read', conv: 'c1', seq: 3 }]);
    assert.equal(socket.closedWith, 1000);
    assert.equal(client.state, 'closed');
    await pass(60000);
    assert.equal(FakeSocket.all.length, 1);
});
