// client_use.test - gateway/web/client.js as people use it: methods in an unusual order, options left
// undefined, a getToken that fails or hangs, a storage that was damaged.
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
    range,
    reply,
    states,
    turn,
    welcomed,
} from './client_rig.js';

const sent = (seq) => ({ type: 'sent', conv: 'c1', seq, ts: 1 });

test('connect() twice is one connection and two answers, and a third, once online, is at hand', async () => {
    makeClient();
    const both = [client.connect(), client.connect()];
    await welcomed();
    const [first, second] = await Promise.all([...both]);
    assert.equal(first, second);
    assert.equal(await client.connect(), first);
    assert.equal(FakeSocket.all.length, 1);
});

test('close() while dialling closes the socket, rejects connect(), and connect() begins anew', async () => {
    makeClient();
    const first = client.connect();
    await turn();
    const dialled = FakeSocket.newest;
    client.close();
    await assert.rejects(first, { code: 'closed', message: 'closed by the application' });
    assert.equal(dialled.closedWith, 1000);
    const second = client.connect();
    await turn();
    dialled.drop(1006); // Late: it is nobody's any more.
    assert.equal(client.state, 'connecting');
    await welcomed();
    assert.equal((await second).user, 'alice');
    assert.equal(FakeSocket.all.length, 2);
});

test('close() in a listener of connecting or online is a close', async () => {
    for (const where of ['connecting', 'online']) {
        makeClient();
        let welcomes = 0;
        client.on('welcome', () => welcomes++);
        client.on('state', ({ state }) => void (state === where && client.close()));
        const refused = assert.rejects(client.connect(), { code: 'closed' });
        await turn();
        if (where === 'online') await welcomed();
        await refused;
        await pass(60000);
        assert.deepEqual([client.state, welcomes], ['closed', 0]);
    }
    assert.equal(FakeSocket.all.length, 1);
});

test('connect() in a listener of closed begins anew', async () => {
    const socket = await goOnline();
    client.on('state', ({ code }) => void (code === 4509 && client.connect()));
    socket.drop(4509);
    await welcomed();
    assert.equal(client.state, 'online');
});

test('a token asked for by a dialling that was given up is not waited for, nor is its failure told', async () => {
    const asked = [];
    const getToken = () => new Promise((resolve, reject) => asked.push({ resolve, reject }));
    makeClient({ token: undefined, getToken, mute: true });
    const errors = [];
    client.on('error', (error) => errors.push(error));
    void client.connect();
    await turn();
    client.close();
    void client.connect();
    await turn();
    asked[0].reject(new Error('given up'));
    await turn();
    assert.equal(client.state, 'connecting');
    asked[1].resolve('T2');
    const socket = await welcomed();
    assert.equal(socket.sent[0].token, 'T2');
    assert.deepEqual(errors, []);
});

test('a getToken that throws, gives no token or does not answer is an error, and is asked again', async () => {
    const answers = [
        () => {
            throw new Error('thrown');
        },
        () => Promise.reject('rejected'),
        () => undefined,
        () => new Promise(() => {}),
        () => 'T5',
    ];
    makeClient({ token: undefined, getToken: () => answers.shift()(), mute: true });
    const errors = [];
    client.on('error', (error) => errors.push(error.message));
    const welcome = client.connect();
    await turn();
    for (let n = 1; n <= 3; n++) {
        assert.deepEqual([client.state, errors.length], ['waiting', n]);
        await pass(states.at(-1).retryInMs);
    }
    assert.equal(client.state, 'connecting');
    await pass(60000);
    assert.equal(client.state, 'waiting');
    await pass(states.at(-1).retryInMs);
    assert.equal((await welcomed()).sent[0].token, 'T5');
    await welcome;
    assert.deepEqual(errors.slice(0, 2), ['thrown', 'rejected']);
    assert.match(errors[2], /not a token/);
    assert.match(errors[3], /no answer in time/);
});

test('without token and getToken the constructor says so, also where the token is null', () => {
    assert.throws(() => makeClient({ token: null }), /token or getToken/);
    assert.throws(() => makeClient({ token: undefined }), /token or getToken/);
});

test('an option that is undefined is left to its default', async () => {
    const names = ['batch', 'requestTimeoutMs', 'sendsInFlight', 'random', 'autoAck', 'device'];
    const socket = await goOnline(Object.fromEntries(names.map((name) => [name, undefined])));
    assert.equal(socket.sent[0].batch, true);
    assert.equal(typeof socket.sent[0].device, 'string');
    const history = client.history('c1');
    await pass(9999);
    await reply('history', { type: 'history', conv: 'c1', entries: [], head: 0, more: false });
    assert.deepEqual((await history).entries, []);
    for (const n of range(1, 65)) void client.send('c1', n);
    assert.equal(socket.of('send').length, 64);
    socket.drop(1006); // The wait before the next attempt is a number.
    assert.ok(states.at(-1).retryInMs >= 0);
});

test('a send before connect() waits for it, one to nowhere rejects', async () => {
    makeClient();
    const send = client.send({ to: 'bob' }, 'x');
    for (const target of [undefined, null, {}])
        await assert.rejects(client.send(target, 'x'), { code: 'bad_request' });
    assert.equal(client.pending.length, 1);
    client.connect();
    await welcomed();
    await reply('send', sent(1));
    assert.equal((await send).seq, 1);
});

test('a send under way at a server_restart is repeated at the next gateway with its cid, and resolves once', async () => {
    const first = await goOnline({ url: undefined, urls: ['ws://a', 'ws://b'] });
    let times = 0;
    client.on('sent', () => times++);
    const send = client.send('c1', 'x');
    first.say({ type: 'server_restart', reconnect_after_ms: 100 });
    await pass(100);
    await pass(0);
    const second = await welcomed();
    assert.equal(second.url, 'ws://b');
    assert.equal(second.of('send')[0].cid, first.of('send')[0].cid);
    await reply('send', { ...sent(7), dup: true });
    assert.deepEqual([(await send).seq, times], [7, 1]);
});

test('why a socket failed, where the platform tells, is the reason of the state', async () => {
    makeClient().connect();
    await turn();
    FakeSocket.newest.onerror({ message: 'connect ECONNREFUSED' });
    FakeSocket.newest.drop(1006);
    const { state, code, reason } = states.at(-1);
    assert.deepEqual([state, code, reason], ['waiting', 1006, 'connect ECONNREFUSED']);
});

test('a resume map fits the frame that the server takes, also after a reload, the newest first', async () => {
    const storage = memoryStorage();
    const small = { type: 'welcome', id: 0, user: 'alice', epoch: 'e1', ping_ms: 25000 };
    makeClient({ storage }).connect();
    let socket = await welcomed({ ...small, max_frame: 4096 });
    for (const n of range(1, 1000)) socket.say(entry(1, `conversation-${n}`));
    socket.say(entry(2, 'conversation-1'));
    client.close();
    for (const make of [() => {}, () => makeClient({ storage })]) {
        make();
        client.connect();
        socket = await welcomed({ ...small, max_frame: 4096 });
        assert.ok(JSON.stringify(socket.sent[0]).length < 4096);
        const { resume } = socket.sent[0];
        assert.deepEqual([resume['conversation-1'], resume['conversation-1000']], [2, 1]);
        assert.ok(!('conversation-2' in resume));
        client.close();
    }
});

test('of a damaged storage what is whole is used, and the rest left out', async () => {
    const storage = memoryStorage();
    const write = { type: 'send', cid: 'k', conv: 'c1', body: 'x' };
    const points = { c1: 5, c2: 'x', c3: null, c4: 1.5 };
    storage.setItem('chatmesh.d1.resume', JSON.stringify({ epoch: 'e1', points }));
    storage.setItem('chatmesh.d1.outbox', JSON.stringify([null, 7, {}, write]));
    const socket = await goOnline({ storage });
    assert.deepEqual(socket.sent[0].resume, { c1: 5 });
    assert.deepEqual(
        socket.of('send').map(({ cid }) => cid),
        ['k'],
    );
    client.close();
    storage.setItem('chatmesh.d1.outbox', '{"a":1}');
    await goOnline({ storage });
    assert.deepEqual(client.pending, []);
});

test('a request that waits outlasts a connection that comes and goes in one turn', async () => {
    await goOnline();
    FakeSocket.newest.drop(1006);
    const history = client.history('c1');
    await pass(1000);
    await turn();
    const brief = FakeSocket.newest;
    brief.open();
    brief.say({ type: 'welcome', id: 0, user: 'alice', epoch: 'e1', ping_ms: 25000 });
    brief.drop(1006); // Before whoever waited for it had a turn.
    await pass(2000);
    await welcomed();
    await reply('history', { type: 'history', conv: 'c1', entries: [], head: 0, more: false });
    assert.deepEqual((await history).entries, []);
});

test('close() in a listener of waiting is a close, whatever the wait was for', async () => {
    const failing = () => {
        throw new Error('no token');
    };
    for (const options of [{}, { token: undefined, getToken: failing, mute: true }]) {
        makeClient(options);
        client.on('error', () => {});
        client.on('state', ({ state }) => void (state === 'waiting' && client.close()));
        const refused = assert.rejects(client.connect(), { code: 'closed' });
        await turn();
        if (client.state === 'connecting') FakeSocket.newest.drop(1006);
        await refused;
        await pass(60000);
        assert.equal(client.state, 'closed');
    }
    assert.equal(FakeSocket.all.length, 1);
});

test('tokens that are taken and expire at once are asked for with growing waits', async () => {
    let asked = 0;
    makeClient({ token: undefined, getToken: () => `T${++asked}` }).connect();
    const waits = [];
    for (let n = 0; n < 4; n++) {
        (await welcomed()).drop(4501, 'expired');
        waits.push(states.at(-1).retryInMs);
        await pass(waits.at(-1));
    }
    assert.deepEqual(waits, [500, 1000, 2000, 4000]);
    await welcomed();
    await pass(10000);
    FakeSocket.newest.drop(4501, 'expired');
    assert.equal(states.at(-1).retryInMs, 0);
});

test('without a getToken, also where it is null, a refused token is the end', async () => {
    const socket = await goOnline({ getToken: null });
    socket.drop(4501, 'expired');
    assert.equal(client.state, 'closed');
});

test('a thousand acknowledgements are few writes to the storage, and what waits is in it at once', async () => {
    const storage = memoryStorage();
    let writes = 0;
    const setItem = (key, value) => {
        writes += Number(key.endsWith('.outbox'));
        storage.setItem(key, value);
    };
    const stored = () => JSON.parse(storage.getItem('chatmesh.d1.outbox')).length;
    const socket = await goOnline({ storage: { ...storage, setItem }, sendsInFlight: 1000 });
    for (const n of range(1, 1000)) void client.send('c1', n);
    await turn();
    assert.deepEqual([writes, stored()], [1, 1000]);
    for (const { id, cid } of socket.of('send').slice(0, 999)) {
        socket.say({ ...sent(1), id, cid });
        await turn();
    }
    await pass(250);
    assert.deepEqual([writes, stored()], [2, 1]);
    void client.send('c1', 'one more');
    await turn();
    assert.deepEqual([writes, stored()], [3, 2]);
    for (const { id, cid } of socket.of('send').slice(999)) socket.say({ ...sent(1), id, cid });
    client.close(); // The answers are heard after it.
    await turn();
    assert.equal(stored(), 0);
});
