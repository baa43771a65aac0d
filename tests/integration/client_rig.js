// client_rig - gateway/web/client.js against a server in memory: what it says, when, and in which
// order. Time stands still until a test lets it pass.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock } from 'node:test';

import { ChatmeshClient } from '../../gateway/web/client.js';

export const turn = () => new Promise((resolve) => setImmediate(resolve));

/** The server's end of a socket: the test reads `sent` and answers with say() and close(). */
export class FakeSocket {
    static all = [];

    constructor(url) {
        this.url = url;
        this.sent = [];
        this.isOpen = false;
        FakeSocket.all.push(this);
    }

    static get newest() {
        return FakeSocket.all.at(-1);
    }

    send(text) {
        assert.ok(this.isOpen, 'the client writes only to an open socket');
        this.sent.push(JSON.parse(text));
    }

    close(code) {
        this.closedWith = code;
        this.isOpen = false;
    }

    open() {
        this.isOpen = true;
        this.onopen();
    }

    say(...frames) {
        for (const frame of frames) this.onmessage({ data: JSON.stringify(frame) });
    }

    drop(code, reason = '') {
        this.isOpen = false;
        this.onclose({ code, reason });
    }

    of(type) {
        return this.sent.filter((frame) => frame.type === type);
    }
}

export const WELCOME = {
    type: 'welcome',
    id: 0,
    session: 's',
    user: 'alice',
    device: 'd1',
    gateway: 'g1',
    epoch: 'e1',
    ping_ms: 25000,
    max_frame: 131072,
    ts: 1,
};
export const entry = (seq, conv = 'c1') => ({
    type: 'message',
    conv,
    seq,
    ts: seq,
    from: 'bob',
    body: seq,
});
export const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** A storage port in memory. */
export function memoryStorage() {
    const items = new Map();
    return {
        getItem: (key) => items.get(key) ?? null,
        setItem: (key, value) => void items.set(key, value),
        items,
    };
}

export let client;
export let states;

/** What comes as `error` is thrown, unless `mute`: then nobody listens to it. */
export function makeClient({ mute = false, ...options } = {}) {
    client = new ChatmeshClient({
        url: 'ws://test/ws',
        token: 'T',
        device: 'd1',
        WebSocket: FakeSocket,
        random: () => 0.5,
        ...options,
    });
    states = [];
    client.on('state', (change) => states.push(change));
    const loud = (error) => {
        throw error;
    };
    if (!mute) client.on('error', loud);
    return client;
}

export async function goOnline(options) {
    makeClient(options).connect();
    return welcomed();
}

/** Let the newest socket open and be welcomed. */
export async function welcomed(welcome = WELCOME) {
    await turn();
    const socket = FakeSocket.newest;
    socket.open();
    socket.say(welcome);
    await turn();
    return socket;
}

export async function pass(ms) {
    mock.timers.tick(ms);
    await turn();
}

/** The time of day, which people and their servers set; no timer minds. */
export function moveClock(ms) {
    const { now } = Date;
    mock.method(Date, 'now', () => now() + ms);
}

/** Record the seqs that reach the application. */
export function seqsOf(conv = 'c1') {
    const seqs = [];
    client.on('message', (message) => message.conv === conv && seqs.push(message.seq));
    return seqs;
}

/** The reply to the newest request of this type. */
export async function reply(type, frame) {
    const { id } = FakeSocket.newest.of(type).at(-1);
    FakeSocket.newest.say({ id, ...frame });
    await turn();
}

/** The refusal of it. */
export function refuse(type, code, retryAfterMs) {
    return reply(type, { type: 'error', code, message: code, retry_after_ms: retryAfterMs });
}

/** Lose the connection and come back within a second. */
export async function reconnect(code = 1006) {
    FakeSocket.newest.drop(code);
    await pass(1000);
    return welcomed();
}

beforeEach(() => {
    FakeSocket.all = [];
    mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: 1_000_000 });
    mock.method(performance, 'now', Date.now); // Also once moveClock() has changed the other.
});
afterEach(() => {
    client?.close();
    mock.restoreAll();
    mock.timers.reset();
});
