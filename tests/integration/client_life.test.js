// client_life.test - gateway/web/client.js as a guest of a program and of a page: what it refuses at
// once, what it says of faults, and that it leaves nothing behind.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { afterEach, mock, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import {
    FakeSocket,
    client,
    entry,
    goOnline,
    makeClient,
    memoryStorage,
    moveClock,
    pass,
    refuse,
    reply,
    seqsOf,
    states,
    turn,
    WELCOME,
    welcomed,
} from './client_rig.js';

const added = new Set();

/** A global of browsers, for one test. */
function stub(name, value) {
    const had = Object.getOwnPropertyDescriptor(globalThis, name);
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    added.add(() => (had ? Object.defineProperty(globalThis, name, had) : delete globalThis[name]));
}

afterEach(() => {
    for (const restore of added) restore();
    added.clear();
});

test('without a WebSocket the constructor says so', () => {
    stub('WebSocket', undefined);
    assert.throws(() => makeClient({ WebSocket: undefined }), {
        name: 'TypeError',
        message: /no WebSocket/,
    });
});

for (const url of ['/ws', '', 'localhost:8080/ws', 'http://localhost/ws', 'ws://', 'nonsense', null])
    test(`the url ${JSON.stringify(url)} is refused by the constructor, alone or among several`, () => {
        assert.throws(() => makeClient({ url }), TypeError);
        assert.throws(() => makeClient({ urls: ['ws://a', url] }), TypeError);
    });

test('in a page a relative url is the server the page came from', async () => {
    stub('location', { href: 'https://chat.example/room/1?x#y' });
    makeClient({ url: '/ws' }).connect();
    await turn();
    assert.equal(FakeSocket.newest.url, 'wss://chat.example/ws');
    client.close();
    assert.throws(() => makeClient({ url: 'http://chat.example/ws' }), TypeError);
});

test('a socket that cannot be made is an error event and the state closed, and connect() rejects', async () => {
    class Forbidden {
        constructor() {
            throw new Error('not from a secure page');
        }
    }
    makeClient({ WebSocket: Forbidden });
    const errors = [];
    client.on('error', (error) => errors.push(error.message));
    await assert.rejects(client.connect(), { code: 'closed', message: 'not from a secure page' });
    assert.deepEqual(errors, ['not from a secure page']);
    assert.deepEqual(states.at(-1), { state: 'closed', reason: 'not from a secure page' });
});

/** How many timers are set while `run` runs and neither cleared nor run out at its end. */
async function timersLeftBy(run) {
    const live = new Set();
    const real = {};
    for (const kind of ['Timeout', 'Interval']) {
        const [set, clear] = [`set${kind}`, `clear${kind}`];
        Object.assign(real, { [set]: globalThis[set], [clear]: globalThis[clear] });
        globalThis[set] = (act, ms) => {
            const timer = real[set](() => {
                if (kind === 'Timeout') live.delete(timer);
                act();
            }, ms);
            live.add(timer);
            return timer;
        };
        globalThis[clear] = (timer) => {
            live.delete(timer);
            real[clear](timer);
        };
    }
    try {
        await run();
        await turn();
        return live.size;
    } finally {
        Object.assign(globalThis, real);
    }
}

const silent = (promise) => void promise.catch(() => {});
const codeOf = (promise) => promise.then(() => 'resolved', ({ code }) => code);

test('close() ends requests at once: what only reads with closed, what changes something with disconnected', async () => {
    const codes = [];
    const left = await timersLeftBy(async () => {
        await goOnline();
        for (const promise of [client.history('c1'), client.info('c1', { title: 'x' })])
            void codeOf(promise).then((code) => codes.push(code));
        await turn();
        client.close();
    });
    assert.deepEqual([...codes].sort(), ['closed', 'disconnected']);
    assert.equal(left, 0);
});

test('a request made in the state closed rejects at once, whoever closed', async () => {
    const left = await timersLeftBy(async () => {
        const socket = await goOnline();
        socket.drop(4509, 'replaced');
        await assert.rejects(client.history('c1'), { code: 'closed' });
        client.connect();
        await welcomed();
        client.close();
        await assert.rejects(client.info('c1', {}), { code: 'closed' });
        await assert.rejects(client.open('c1'), { code: 'closed' });
        await assert.rejects(client.setStatus('busy'), { code: 'closed' });
    });
    assert.equal(left, 0);
    client.connect();
    const socket = await welcomed(); // What was to hold is asked for all the same.
    assert.deepEqual([socket.of('open').length, socket.of('status').length], [1, 1]);
});

test('whatever waits at close() leaves no timer behind', async () => {
    const left = await timersLeftBy(async () => {
        const socket = await goOnline({ storage: memoryStorage() });
        const history = client.history('c1'); // To be repeated.
        await turn();
        await refuse('history', 'unavailable', 5000);
        socket.say(entry(1, 'c2'), entry(5, 'c2')); // Pages, and waits for the log.
        await turn();
        await refuse('history', 'unavailable', 5000);
        silent(client.open('c1'));
        await turn();
        socket.say({ type: 'ok', id: socket.of('open')[0].id });
        await turn();
        silent(client.close('c1'));
        await turn();
        await refuse('close', 'unavailable', 5000);
        silent(client.open('c3'));
        await turn();
        await refuse('open', 'rate_limited', 5000);
        silent(client.send('c1', 'x'));
        await turn();
        await refuse('send', 'unavailable', 5000);
        silent(client.send('c9', 'y'));
        client.markRead('c1', 1);
        client.typing('c1');
        socket.say({ type: 'typing', conv: 'c1', user: 'bob', on: true });
        socket.say({ type: 'server_restart', reconnect_after_ms: 5000 });
        client.close();
        assert.equal(await codeOf(history), 'closed');
        await turn();
        client.markRead('c1', 2);
    });
    assert.equal(left, 0);
});

test('answers that come in the turn of close() leave no timer behind', async () => {
    let socket;
    const left = await timersLeftBy(async () => {
        socket = await goOnline();
        silent(client.history('c1'));
        silent(client.open('c1'));
        silent(client.send('c1', 'x'));
        await turn();
        for (const { id } of socket.sent.slice(1)) socket.say({ type: 'error', id, code: 'unavailable' });
        client.close();
    });
    assert.equal(left, 0);
    client.connect();
    await welcomed();
    await pass(1000);
    assert.equal(FakeSocket.newest.of('send').length, 1);
});

test('after a close() in a listener nothing more is delivered, and no timer is left behind', async () => {
    let seqs;
    const left = await timersLeftBy(async () => {
        const socket = await goOnline({ storage: memoryStorage() });
        seqs = seqsOf();
        client.on('message', ({ seq }) => void (seq === 2 && client.close()));
        socket.say([
            ...[entry(1), entry(2), entry(3), { type: 'typing', conv: 'c1', user: 'bob', on: true }],
            { type: 'server_restart', reconnect_after_ms: 100 },
        ]);
    });
    assert.equal(left, 0);
    assert.deepEqual(seqs, [1, 2]);
    assert.deepEqual(client.resumePoints, { c1: 2 });
});

test('a close() in a listener of what is paged stops there, and connect() goes on from there', async () => {
    let socket = await goOnline();
    const seqs = seqsOf();
    const off = client.on('message', ({ seq }) => void (seq === 2 && client.close()));
    socket.say(entry(1), entry(4));
    await turn();
    const { id } = socket.of('history')[0];
    socket.say({ type: 'history', id, conv: 'c1', entries: [entry(2), entry(3)], head: 4 });
    await turn();
    assert.deepEqual(seqs, [1, 2]);
    off();
    client.connect();
    socket = await welcomed();
    assert.deepEqual(socket.sent[0].resume, { c1: 2 });
    socket.say(entry(3), entry(4));
    assert.deepEqual(seqs, [1, 2, 3, 4]);
});

test('a close() in a listener of gap, or when someone stops typing, is a close', async () => {
    let socket = await goOnline();
    const off = client.on('gap', () => void client.close());
    socket.say({ type: 'gap', conv: 'c1', from: 1, to: 10 });
    await turn();
    assert.equal(client.state, 'closed');
    off();
    client.connect();
    socket = await welcomed();
    socket.say({ type: 'gap', conv: 'c1', from: 1, to: 10 });
    await turn();
    assert.equal(socket.of('history').length, 1);
    client.on('typing', ({ on }) => void (!on && client.close()));
    socket.say({ type: 'typing', conv: 'c1', user: 'bob', on: true });
    socket.drop(1006);
    await pass(60000);
    assert.equal(client.state, 'closed');
    assert.equal(states.filter(({ state }) => state === 'closed').length, 2);
});

test('a send made while the connection goes down waits for the next one', async () => {
    let socket = await goOnline();
    client.on('typing', ({ on }) => void (!on && silent(client.send('c1', 'x'))));
    socket.say({ type: 'typing', conv: 'c1', user: 'bob', on: true });
    socket.drop(1006);
    await pass(1000);
    socket = await welcomed();
    assert.equal(socket.of('send').length, 1);
});

test('a request that JSON cannot say rejects, and nothing is left of it', async () => {
    const left = await timersLeftBy(async () => {
        await goOnline();
        await assert.rejects(client.info('c1', { meta: 1n }), TypeError);
        await assert.rejects(client.send('c1', 1n), TypeError);
        client.close();
    });
    assert.equal(left, 0);
});

test('a Node program ends as soon as its client is closed, with requests on the wire', () => {
    const program = `
        import { WebSocketServer, WebSocket } from 'ws';
        import { ChatmeshClient } from '../../gateway/web/client.js';
        const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
        await new Promise((resolve) => server.on('listening', resolve));
        const welcome = { type: 'welcome', id: 0, user: 'a', epoch: 'e', ping_ms: 25000 };
        server.on('connection', (socket) =>
            socket.once('message', () => socket.send(JSON.stringify(welcome))));
        const url = 'ws://127.0.0.1:' + server.address().port;
        const client = new ChatmeshClient({ url, token: 'T', WebSocket });
        await client.connect();
        const tell = (error) => console.log(error.code);
        void client.history('c1').catch(tell);
        void client.info('c1', {}).catch(tell);
        await new Promise((resolve) => setTimeout(resolve, 50));
        await client.close();
        await client.history('c1').catch(tell);
        server.close();`;
    const { status, stdout, stderr, signal } = spawnSync(
        process.execPath,
        ['--input-type=module', '--eval', program],
        {
            cwd: fileURLToPath(new URL('.', import.meta.url)),
            encoding: 'utf8',
            timeout: 8000, // A request that waits would keep it for ten seconds.
        },
    );
    assert.deepEqual([status, signal], [0, null], stderr);
    assert.deepEqual(stdout.trim().split('\n').sort(), ['closed', 'closed', 'disconnected']);
});

/** What is written to the console as an error while `run` runs. */
async function consoleDuring(run) {
    const write = mock.method(console, 'error', () => {});
    try {
        await run();
        await turn();
        return write.mock.calls.map(({ arguments: [error] }) => error.message);
    } finally {
        write.mock.restore();
    }
}

const thrower = (what) => () => {
    throw what;
};
const rejecter = (what) => async () => {
    throw what;
};

test('what a listener throws or rejects with is an error event, and the others hear all the same', async () => {
    const socket = await goOnline({ mute: true });
    const seqs = [];
    const errors = [];
    client.on('message', thrower(new Error('thrown')));
    client.on('message', rejecter(new Error('rejected')));
    client.on('message', rejecter('no Error'));
    client.on('message', ({ seq }) => seqs.push(seq));
    client.on('error', (error) => errors.push(error));
    const written = await consoleDuring(() => socket.say(entry(1)));
    assert.deepEqual(seqs, [1]);
    assert.deepEqual(
        errors.map(({ message }) => message),
        ['thrown', 'rejected', 'no Error'],
    );
    assert.ok(errors.every((error) => error instanceof Error));
    assert.deepEqual(written, []);
});

test('where nobody listens to error it is on the console, as is what a listener of error throws', async () => {
    const socket = await goOnline({ mute: true });
    client.on('message', thrower(new Error('thrown')));
    client.on('message', rejecter(new Error('rejected')));
    assert.deepEqual(await consoleDuring(() => socket.say(entry(1))), ['thrown', 'rejected']);
    client.on('error', thrower(new Error('again')));
    client.on('error', rejecter(new Error('and again')));
    const written = await consoleDuring(() =>
        socket.say({ type: 'error', code: 'internal', message: 'of the server' }),
    );
    assert.deepEqual(written, ['again', 'and again']);
});

test('a listener may end its own subscription, or one behind it, which then hears no more', async () => {
    const socket = await goOnline();
    const heard = [];
    const offFirst = client.on('message', ({ seq }) => {
        heard.push(`first ${seq}`);
        offFirst();
        offSecond();
    });
    const offSecond = client.on('message', ({ seq }) => heard.push(`second ${seq}`));
    const third = ({ seq }) => heard.push(`third ${seq}`);
    client.on('message', third);
    const offAgain = client.on('message', third); // A subscription of its own.
    offAgain();
    socket.say(entry(1), entry(2));
    assert.deepEqual(heard, ['first 1', 'third 1', 'third 2']);
    assert.throws(() => client.on('message', undefined), TypeError);
});

test('in a page the client follows the network while it is not closed, and leaves no listener', async () => {
    const page = new EventTarget();
    const listeners = [];
    stub('window', globalThis);
    stub('addEventListener', (event, listener) => {
        listeners.push(event);
        page.addEventListener(event, listener);
    });
    stub('removeEventListener', (event, listener) => {
        listeners.splice(listeners.indexOf(event), 1);
        page.removeEventListener(event, listener);
    });
    const storage = memoryStorage();
    makeClient({ storage });
    assert.deepEqual(listeners, []);
    for (let round = 1; round <= 2; round++) {
        client.connect();
        let socket = await welcomed();
        assert.deepEqual([...listeners].sort(), ['offline', 'online', 'pagehide', 'visibilitychange']);
        page.dispatchEvent(new Event('offline'));
        assert.equal(client.state, 'waiting');
        page.dispatchEvent(new Event('online'));
        socket = await welcomed();
        socket.drop(1006);
        stub('document', { hidden: true });
        page.dispatchEvent(new Event('visibilitychange'));
        assert.equal(client.state, 'waiting');
        stub('document', { hidden: false });
        page.dispatchEvent(new Event('visibilitychange'));
        assert.equal(client.state, 'connecting', 'nobody is kept waiting who looks at the page');
        socket = await welcomed();
        socket.say(entry(round));
        page.dispatchEvent(new Event('pagehide'));
        assert.equal(JSON.parse(storage.getItem('chatmesh.d1.resume')).points.c1, round);
        if (round === 1) client.close();
        else socket.drop(4509);
        assert.deepEqual(listeners, []);
    }
});

test('connect() while it waits dials at once, but for a wait that the server asked for', async () => {
    makeClient();
    let socket = await goOnline();
    socket.drop(1006);
    assert.equal(client.state, 'waiting');
    client.connect();
    assert.equal(client.state, 'connecting');
    socket = await welcomed();
    socket.drop(4029);
    client.connect();
    assert.equal(client.state, 'waiting');
    await pass(8000);
    client.connect();
    assert.equal(client.state, 'connecting');
    socket = await welcomed();
    assert.equal(client.state, 'online');
});

test('a clock that is set back holds up neither sends, acks nor typing, and a dead server is noticed', async () => {
    const socket = await goOnline();
    client.open('c1');
    const sent = client.send('c1', 'x');
    client.typing('c1');
    socket.say(entry(1));
    await pass(100);
    assert.equal(socket.of('ack').length, 1);
    await refuse('send', 'unavailable', 400);
    moveClock(-3_600_000);
    socket.say(entry(2));
    await pass(3000);
    client.typing('c1');
    assert.equal(socket.of('send').length, 2, 'the refused send comes again');
    assert.equal(socket.of('ack').length, 2);
    assert.equal(socket.of('typing').length, 2);
    const { cid } = socket.of('send')[0];
    await reply('send', { type: 'sent', conv: 'c1', cid, seq: 3, ts: 3 });
    assert.equal((await sent).seq, 3);
    await pass(5 * WELCOME.ping_ms);
    assert.equal(states.at(-1).state, 'waiting');
});

for (const [how, ms] of [['back', -3_600_000], ['ahead', 3_600_000]])
    test(`with a clock that is set ${how} a request has its time, and server_restart its wait`, async () => {
        const socket = await goOnline();
        let code;
        void client.history('c1').catch((error) => (code = error.code));
        await turn();
        await refuse('history', 'unavailable', 500);
        socket.say({ type: 'server_restart', reconnect_after_ms: 9000 });
        moveClock(ms);
        socket.drop(1012);
        assert.equal(states.at(-1).retryInMs, 9000);
        await pass(9000);
        assert.deepEqual([client.state, code], ['connecting', undefined]);
        await pass(1000);
        assert.equal(code, 'timeout');
    });
