// client_life.test - gateway/web/client.js as a guest of a program and of a page: what it refuses at
// once, what it says of faults, and that it leaves nothing behind.
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';

import { FakeSocket, client, makeClient, states, turn } from './client_rig.js';

const added = new Set();

/** A global of browsers that this platform lacks, for one test. */
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
