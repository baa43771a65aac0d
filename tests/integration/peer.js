// peer - a client that hides nothing: raw frames in and out, for tests of the protocol itself.
import assert from 'node:assert/strict';

import WebSocket from 'ws';

const TIMEOUT_MS = 8000;
const WINDOW = 500; // A gateway takes 4096 requests of one session at once.

let nextDevice = 1;

export class Peer {
    #waiting = [];
    #nextId = 1;

    /** Open a socket. Rejects with {status} where the server answers HTTP instead. */
    static open(url, { query = {}, headers = {} } = {}) {
        const address = new URL(url);
        for (const [key, value] of Object.entries(query)) address.searchParams.set(key, value);
        return new Promise((resolve, reject) => {
            const peer = new Peer(new WebSocket(address, { headers, perMessageDeflate: false }));
            peer.socket.once('open', () => resolve(peer));
            peer.socket.once('error', (error) => reject(error));
            peer.socket.once('unexpected-response', (request, response) => {
                request.destroy();
                reject(
                    Object.assign(new Error(`HTTP ${response.statusCode}`), {
                        status: response.statusCode,
                    }),
                );
            });
        });
    }

    /** Open and connect as `user` on gateway `gateway`; resolves after `resumed`. */
    static async join(cluster, user, { gateway = 1, device, token, resume, epoch, batch } = {}) {
        const peer = await Peer.open(cluster.ws(gateway));
        peer.user = user;
        peer.device = device ?? `device-${nextDevice++}`;
        peer.send({
            type: 'connect',
            id: 'c',
            token: token ?? (await cluster.token(user)),
            device: peer.device,
            resume,
            epoch,
            batch,
        });
        peer.welcome = await peer.next(
            (frame) => frame.type === 'welcome' || frame.type === 'error',
        );
        assert.equal(peer.welcome.type, 'welcome', JSON.stringify(peer.welcome));
        peer.resumed = await peer.next('resumed');
        return peer;
    }

    constructor(socket) {
        this.socket = socket;
        this.texts = []; // Every frame as it came.
        this.frames = []; // Every object, arrays taken apart.
        this.taken = new Set(); // Those a next() has returned.
        this.closed = new Promise((resolve) => {
            socket.once('close', (code, reason) => resolve({ code, reason: String(reason) }));
        });
        socket.on('error', () => {}); // `closed` tells.
        socket.on('message', (data) => this.#onMessage(String(data)));
    }

    #onMessage(text) {
        this.texts.push(text);
        const value = JSON.parse(text);
        for (const frame of Array.isArray(value) ? value : [value]) {
            this.frames.push(frame);
            const index = this.#waiting.findIndex(({ matches }) => matches(frame));
            if (index < 0) continue;
            this.taken.add(frame);
            this.#waiting.splice(index, 1)[0].resolve(frame);
        }
    }

    send(frame) {
        this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
    }

    /**
     * The first frame, past or to come, of this type (or for which this holds) that was not taken
     * yet.
     */
    next(what, timeoutMs = TIMEOUT_MS) {
        const matches = typeof what === 'string' ? (frame) => frame.type === what : what;
        const there = this.frames.find((frame) => !this.taken.has(frame) && matches(frame));
        if (there !== undefined) {
            this.taken.add(there);
            return Promise.resolve(there);
        }
        return new Promise((resolve, reject) => {
            const waiter = {
                matches,
                resolve: (frame) => {
                    clearTimeout(timer);
                    resolve(frame);
                },
            };
            const timer = setTimeout(() => {
                this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
                reject(
                    new Error(
                        `${this.user}: no ${what} came; last: ${this.texts.slice(-5).join(' ')}`,
                    ),
                );
            }, timeoutMs);
            this.#waiting.push(waiter);
        });
    }

    /** A request and its reply. */
    ask(type, fields = {}, timeoutMs = TIMEOUT_MS) {
        const id = `q${this.#nextId++}`;
        this.send({ type, id, ...fields });
        return this.next((frame) => frame.id === id, timeoutMs);
    }

    /** A request that must succeed. */
    async must(type, fields = {}, timeoutMs = TIMEOUT_MS) {
        const reply = await this.ask(type, fields, timeoutMs);
        assert.notEqual(reply.type, 'error', `${type}: ${JSON.stringify(reply)}`);
        return reply;
    }

    /** A request that must be refused with this code. */
    async refused(code, type, fields = {}) {
        const reply = await this.ask(type, fields);
        assert.equal(reply.type, 'error', `${type} was not refused: ${JSON.stringify(reply)}`);
        assert.equal(reply.code, code, JSON.stringify(reply));
        assert.equal(typeof reply.message, 'string');
        return reply;
    }

    /** Send a message and wait for `sent`. */
    async say(where, body, cid = `cid-${Math.random()}`) {
        const sent = await this.must('send', { ...where, cid, body });
        assert.equal(sent.type, 'sent');
        assert.equal(sent.cid, cid);
        return sent;
    }

    /**
     * Send bodies from..to, several hundred on the wire at once, and wait until all are
     * acknowledged.
     */
    async flood(where, from, to) {
        for (let n = from; n <= to; n += WINDOW) {
            const numbers = range(n, Math.min(n + WINDOW - 1, to));
            await Promise.all(numbers.map((body) => this.say(where, body)));
        }
    }

    /** The seqs of all entries of a conversation so far, as they came. */
    seqs(conv) {
        return this.frames
            .filter(
                (frame) =>
                    frame.conv === conv && frame.from !== undefined && frame.seq !== undefined,
            )
            .map((frame) => frame.seq);
    }

    /** All entries of a conversation from the log. */
    async log(conv) {
        const entries = [];
        for (let more = true; more;) {
            const page = await this.must('history', {
                conv,
                after: entries.at(-1)?.seq ?? 0,
                limit: 500,
            });
            entries.push(...page.entries);
            more = page.more;
        }
        return entries;
    }

    /** Close and wait until it is. */
    async close() {
        this.socket.close(1000);
        return this.closed;
    }

    /** Vanish without a goodbye. */
    async vanish() {
        this.socket.terminate();
        return this.closed;
    }
}

export const range = (from, to) =>
    Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i);
