// connect.test - who may connect, and what a connection may say.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Cluster } from './cluster.js';
import { Peer } from './peer.js';

let cluster;
const CONNECT_MS = 1500;

before(async () => {
    cluster = await Cluster.start({ args: ['--no-limits', '--connect-ms', CONNECT_MS] });
});
after(async () => {
    await cluster?.stop();
});

const now = () => Math.floor(Date.now() / 1000);

/** Every way a token can be wrong. */
const badTokens = () => {
    const good = cluster.forge({ sub: 'eve', exp: now() + 60 });
    const [header, payload, signature] = good.split('.');
    const [, other] = cluster.forge({ sub: 'alice', exp: now() + 60 }).split('.');
    const unsigned = Buffer.from('{"alg":"none","kid":"dev"}').toString('base64url');
    return {
        'is no token': 'x',
        'has a signature cut short': good.slice(0, -4),
        'has another payload': `${header}.${other}.${signature}`,
        'has expired': cluster.forge({ sub: 'eve', exp: now() - 60 }),
        'expires now': cluster.forge({ sub: 'eve', exp: now() }),
        'never expires': cluster.forge({ sub: 'eve' }),
        'is not valid yet': cluster.forge({ sub: 'eve', exp: now() + 600, nbf: now() + 300 }),
        'names no user': cluster.forge({ exp: now() + 60 }),
        'names an unknown key': cluster.forge({ sub: 'eve', exp: now() + 60 }, { kid: 'other' }),
        'claims another algorithm': cluster.forge(
            { sub: 'eve', exp: now() + 60 },
            { alg: 'EdDSA' },
        ),
        'brings its own key': cluster.forge(
            { sub: 'eve', exp: now() + 60 },
            { jwk: { kty: 'oct', k: 'AA' } },
        ),
        'says alg none': `${unsigned}.${payload}.`,
        'says alg none with a signature': `${unsigned}.${payload}.${signature}`,
    };
};

test('a bad token in the request is answered 401, without an upgrade', async () => {
    for (const [how, token] of Object.entries(badTokens())) {
        await assert.rejects(
            Peer.open(cluster.ws(), { query: { token } }),
            { status: 401 },
            `it ${how}`,
        );
        await assert.rejects(
            Peer.open(cluster.ws(), { headers: { Authorization: `Bearer ${token}` } }),
            { status: 401 },
            `it ${how}`,
        );
    }
});

test('a token for another device than the request names is answered 401', async () => {
    const token = await cluster.token('alice', 'phone');
    await assert.rejects(Peer.open(cluster.ws(), { query: { token, device: 'desk' } }), {
        status: 401,
    });
    const peer = await Peer.open(cluster.ws(), { query: { token, device: 'phone' } });
    assert.equal((await peer.next('welcome')).device, 'phone');
    await peer.close();
});

test('a token for another device than connect names is refused with its id, then 4501', async () => {
    const token = await cluster.token('alice', 'phone');
    const peers = [
        [await Peer.open(cluster.ws()), { device: 'desk' }],
        [await Peer.open(cluster.ws(), { query: { device: 'desk' } }), {}],
    ];
    for (const [peer, fields] of peers) {
        peer.send({ type: 'connect', id: 'me', token, ...fields });
        const { id, code, message } = await peer.next('error');
        assert.deepEqual([id, code, typeof message], ['me', 'unauthorized', 'string']);
        assert.equal((await peer.closed).code, 4501);
    }
});

test('a bad token in the connect frame closes with 4501', async () => {
    for (const [how, token] of Object.entries(badTokens())) {
        const peer = await Peer.open(cluster.ws());
        peer.send({ type: 'connect', id: 1, token, device: 'd' });
        assert.equal((await peer.closed).code, 4501, `it ${how}`);
        assert.ok(!peer.frames.some((frame) => frame.type === 'welcome'), `it ${how}`);
    }
});

test('a good token is taken from the query, the header and the frame', async () => {
    const token = await cluster.token('alice');
    const byQuery = await Peer.open(cluster.ws(), { query: { token, device: 'q' } });
    assert.equal((await byQuery.next('welcome')).user, 'alice');
    const byHeader = await Peer.open(cluster.ws(), {
        query: { device: 'h' },
        headers: { Authorization: `Bearer ${token}` },
    });
    assert.equal((await byHeader.next('welcome')).device, 'h');
    const byFrame = await Peer.join(cluster, 'alice', { token, device: 'f' });
    const {
        id,
        user,
        device,
        gateway,
        epoch,
        ping_ms: ping,
        max_frame: max,
        session,
        ts,
    } = byFrame.welcome;
    assert.deepEqual([id, user, device, gateway, max], ['c', 'alice', 'f', 'g1', 131072]);
    assert.deepEqual(
        [epoch, ping, session, ts].map((value) => typeof value),
        ['string', 'number', 'string', 'number'],
    );
    await Promise.all([byQuery.close(), byHeader.close(), byFrame.close()]);
});

test('a connection that does not say who it is in time is closed with 4501', async () => {
    const peer = await Peer.open(cluster.ws());
    const begun = Date.now();
    assert.equal((await peer.closed).code, 4501);
    assert.ok(Math.abs(Date.now() - begun - CONNECT_MS) < 1000);
});

test('a connection whose token expires is closed with 4501, however lively', async () => {
    const token = cluster.forge({ sub: 'frank', exp: now() + 3 });
    const longer = cluster.forge({ sub: 'frank', exp: now() + 60 });
    const peers = [
        await Peer.open(cluster.ws(), { query: { token, device: 'q' } }),
        await Peer.join(cluster, 'frank', { token, device: 'f' }),
    ];
    const lasting = await Peer.join(cluster, 'frank', { token: longer, device: 'l' });
    const begun = Date.now();
    const lively = setInterval(() => peers.forEach((peer) => peer.send({ type: 'ping' })), 200);
    for (const peer of peers) assert.equal((await peer.closed).code, 4501);
    clearInterval(lively);
    assert.ok(Date.now() - begun < 6000);
    lasting.send({ type: 'ping', id: 'still' });
    assert.equal((await lasting.next('pong')).id, 'still');
    await lasting.close();
});

test('a request before connect is refused and changes nothing', async () => {
    const peer = await Peer.open(cluster.ws());
    peer.send({ type: 'send', id: 1, to: 'bob', cid: 'x', body: 1 });
    const reply = await Promise.race([peer.next('error'), peer.closed]);
    assert.ok(
        ['unauthorized', 'bad_request'].includes(reply.code) || reply.code === 4501,
        JSON.stringify(reply),
    );
    await peer.close();
});

test('an Origin that is not allowed is answered 403, the site’s own and none at all pass', async () => {
    const query = { token: await cluster.token('alice'), device: 'o' };
    await assert.rejects(
        Peer.open(cluster.ws(), { query, headers: { Origin: 'http://evil.example' } }),
        { status: 403 },
    );
    await assert.rejects(
        Peer.open(cluster.ws(), { query, headers: { Origin: `${cluster.http()}.evil.example` } }),
        { status: 403 },
    );
    await assert.rejects(Peer.open(cluster.ws(), { query, headers: { Origin: 'null' } }), {
        status: 403,
    });
    const own = await Peer.open(cluster.ws(), { query, headers: { Origin: cluster.http() } });
    assert.equal((await own.next('welcome')).user, 'alice');
    await own.close();
});

test('a newer connection of the same device on another gateway closes the older too', async () => {
    const older = await Peer.join(cluster, 'rover', { gateway: 1, device: 'phone' });
    const newer = await Peer.join(cluster, 'rover', { gateway: 2, device: 'phone' });
    assert.equal((await older.closed).code, 4509);
    const back = await Peer.join(cluster, 'rover', { gateway: 1, device: 'phone' });
    assert.equal((await newer.closed).code, 4509);
    back.close();
});

test('a newer connection of the same device closes the older with 4509', async () => {
    const older = await Peer.join(cluster, 'alice', { device: 'phone' });
    const other = await Peer.join(cluster, 'alice', { device: 'tablet' });
    const newer = await Peer.join(cluster, 'alice', { device: 'phone' });
    assert.equal((await older.closed).code, 4509);
    await Promise.all([other.must('ping'), newer.must('ping')]);
    await Promise.all([other.close(), newer.close()]);
});

test('the device may come in connect after a token in the request', async () => {
    const token = await cluster.token('dora');
    const open = async (device) => {
        const peer = await Peer.open(cluster.ws(), { query: { token } });
        peer.send({ type: 'connect', id: device, device });
        return peer;
    };
    const peers = await Promise.all(['phone', 'desk'].map(open));
    for (const [index, device] of ['phone', 'desk'].entries()) {
        const welcome = await peers[index].next((frame) => frame.id === device);
        assert.deepEqual([welcome.type, welcome.device], ['welcome', device]);
        await peers[index].next('resumed');
    }
    await Promise.all(peers.map((peer) => peer.must('ping')));
    await Promise.all(peers.map((peer) => peer.close()));
});

const MALFORMED = [
    '',
    'x',
    '[]',
    '1',
    '"text"',
    '{}',
    '{"type":1}',
    '{"type":"no_such_request"}',
    '{"type":"send"}',
    '{"type":"send","id":{}}',
    '{"type":"send","to":"bob","cid":"","body":1}',
    '{"type":"send","to":"bob","body":1}',
    '{"type":"send","to":"bob","cid":"x"}',
    '{"type":"send","conv":"a b","cid":"x","body":1}',
    '{"type":"send","to":"","cid":"x","body":1}',
    '{"type":"send","to":"bob","conv":"c","cid":"x","body":1}'.replace('"conv":"c",', '"conv":1,'),
    `{"type":"send","to":"bob","cid":"${'x'.repeat(65)}","body":1}`,
    '{"type":"ack","conv":"c"}',
    '{"type":"ack","conv":"c","seq":-1}',
    '{"type":"ack","conv":"c","seq":1.5}',
    '{"type":"history"}',
    '{"type":"create","kind":"group"}',
    '{"type":"create","kind":"crowd","members":["a"]}',
    '{"type":"add","conv":"c","users":"bob"}',
    '{"type":"add","conv":"c","users":[1]}',
    `{"type":"ping","x":${'['.repeat(100)}${']'.repeat(100)}}`,
];

test('malformed frames are answered bad_request and change nothing', async () => {
    const peer = await Peer.join(cluster, 'alice');
    for (const text of MALFORMED) {
        peer.send(text);
        const error = await peer.next('error');
        assert.ok(
            error.code === 'bad_request' || (text.includes('[[[') && error.code === 'too_large'),
            `${text}: ${JSON.stringify(error)}`,
        );
        await peer.must('ping');
    }
    peer.socket.send(Buffer.from('{"type":"ping"}'), { binary: true });
    assert.equal((await peer.next('error')).code, 'bad_request');
    await peer.close();
});

test('an error bears the id where it could be read', async () => {
    const peer = await Peer.join(cluster, 'alice');
    peer.send('{"type":"send","id":77,"to":"bob"}');
    assert.equal((await peer.next('error')).id, 77);
    peer.send('{"id":"text","type":"history"}');
    assert.equal((await peer.next('error')).id, 'text');
    await peer.close();
});

test('ten malformed frames in a row close with 4500, a good one between starts the count anew', async () => {
    const peer = await Peer.join(cluster, 'alice');
    for (let n = 0; n < 9; n++) peer.send('nonsense');
    await peer.must('ping');
    for (let n = 0; n < 9; n++) peer.send('nonsense');
    await peer.must('ping');
    for (let n = 0; n < 10; n++) peer.send('nonsense');
    assert.equal((await peer.closed).code, 4500);
});

test('a frame over 128 KiB closes with 1009', async () => {
    const peer = await Peer.join(cluster, 'alice');
    peer.send({ type: 'send', id: 1, to: 'bob', cid: 'x', body: 'x'.repeat(131072) });
    assert.equal((await peer.closed).code, 1009);
    const other = await Peer.join(cluster, 'alice');
    other.socket.send('x'.repeat(70000), { fin: false });
    other.socket.send('x'.repeat(70000), { fin: true });
    assert.equal((await other.closed).code, 1009, 'in fragments too');
});

test('a message in fragments is put together', async () => {
    const peer = await Peer.join(cluster, 'alice');
    peer.socket.send('{"type":"pi', { fin: false });
    peer.socket.send('ng","id":', { fin: false });
    peer.socket.send('5}', { fin: true });
    assert.equal((await peer.next('pong')).id, 5);
    await peer.close();
});

test('ping is answered pong with the time', async () => {
    const peer = await Peer.join(cluster, 'alice');
    const pong = await peer.must('ping');
    assert.equal(pong.type, 'pong');
    assert.ok(Math.abs(pong.ts - Date.now()) < 5000);
    await peer.close();
});

const REQUESTS = [
    ['send', { conv: 'c', cid: 'x', body: 1 }],
    ['ack', { conv: 'c', seq: 1 }],
    ['read', { conv: 'c', seq: 1 }],
    ['typing', { conv: 'c', on: true }],
    ['history', { conv: 'c' }],
    ['conversations', {}],
    ['create', { kind: 'group', members: ['bob'] }],
    ['add', { conv: 'c', users: ['bob'] }],
    ['remove', { conv: 'c', users: ['bob'] }],
    ['role', { conv: 'c', user: 'bob', role: 'admin' }],
    ['leave', { conv: 'c' }],
    ['members', { conv: 'c' }],
    ['info', { conv: 'c', title: 'x' }],
    ['edit', { conv: 'c', seq: 1, body: 1 }],
    ['delete', { conv: 'c', seq: 1 }],
    ['react', { conv: 'c', seq: 1, emoji: '👍', on: true }],
    ['open', { conv: 'c' }],
    ['close', { conv: 'c' }],
    ['receipts', { conv: 'c', seq: 1 }],
    ['presence', { users: ['bob'] }],
    ['watch', { users: ['bob'] }],
    ['unwatch', { users: ['bob'] }],
    ['status', { status: 'away' }],
    ['ping', {}],
];

test('every request of the protocol is served: none is unsupported, or of an unknown type', async () => {
    const peer = await Peer.join(cluster, 'alice');
    for (const [type, fields] of REQUESTS) {
        const reply = await peer.ask(type, fields);
        assert.ok(
            !['unsupported', 'bad_request', 'internal'].includes(reply.code),
            `${type}: ${JSON.stringify(reply)}`,
        );
    }
    await peer.close();
});
