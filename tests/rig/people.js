// people - the clients: they read everything, write to every conversation of their own, repeat with
// the same cid what was not acknowledged, and write down what they see.
import { createRequire } from 'node:module';

import { sleep } from '../integration/cluster.js';

const require = createRequire(new URL('../integration/package.json', import.meta.url));
const WebSocket = require('ws');

const WINDOW = 4; // Sends of one lane on the wire at once.
const REPLY_MS = 12000; // A request is answered within 5 s, if only with `unavailable`.
const HANDSHAKE_MS = 3000;
const SILENT_MS = 6000; // Then the client asks whether the gateway is there,
const DEAD_MS = 10000; // and goes elsewhere.
const REFUSED_MS = 4000; // Refused for so long: another gateway may know better.
const ACK_EVERY = 7;
const LOOKS = 0.2; // Of acknowledged sends: somebody else looks at once.
/** Close codes after which a client must not come back by itself: none of these is our fault. */
const FATAL = [1002, 1003, 1007, 1009, 4500, 4501, 4503, 4509];

/** A user with one device. */
export class Person {
    constructor({ cluster, book, random }, name) {
        Object.assign(this, { cluster, book, random, name });
        this.cursors = new Map(); // conv to the highest seq seen, over all connections.
        this.acks = new Map(); // conv to the highest seq acknowledged.
        this.waiting = new Map(); // Request id to what to do with its reply.
        this.nextId = 1;
        this.isStopped = false;
        this.isForgetful = false; // Comes back without knowing what it has.
        this.socket = null;
        this.isOnline = false;
        this.gateway = 1 + Math.floor(random.next() * cluster.gateways);
    }

    /** Dial until told to stop; another gateway at each attempt. */
    async live() {
        while (!this.isStopped) {
            this.gateway = (this.gateway % this.cluster.gateways) + 1;
            await this.#connection();
            if (!this.isStopped) await sleep(this.random.between(20, 300));
        }
    }

    leave() {
        this.isStopped = true;
        this.socket?.close();
    }

    /** The application starts again, with an empty memory. */
    restart() {
        this.isForgetful = true;
        this.socket?.terminate();
    }

    async #connection() {
        const token = await this.cluster.token(this.name);
        const isForgetful = this.isForgetful;
        const query = isForgetful ? `?token=${token}&device=d` : '';
        const socket = new WebSocket(this.cluster.ws(this.gateway) + query, {
            perMessageDeflate: false,
            handshakeTimeout: HANDSHAKE_MS,
        });
        this.isForgetful = false;
        this.socket = socket;
        this.heardAt = performance.now();
        this.refusedSince = null;
        this.positions = new Map(isForgetful ? [] : this.cursors); // What this connection was sent.
        const watch = setInterval(() => this.#watch(socket), 1000);
        socket.on('error', () => {}); // `close` follows.
        socket.on('open', () => {
            if (isForgetful) return;
            const resume = Object.fromEntries(this.cursors);
            const connect = { type: 'connect', token, device: 'd', resume, epoch: this.epoch };
            socket.send(JSON.stringify(connect));
        });
        socket.on('message', (data) => this.#onFrame(socket, JSON.parse(String(data))));
        return new Promise((resolve) => {
            socket.on('close', (code) => {
                clearInterval(watch);
                this.#onClose(code);
                resolve();
            });
        });
    }

    #onClose(code) {
        this.book.count(`close ${code}`);
        if (FATAL.includes(code))
            this.book.fault('protocol', `${this.name} was closed with ${code}`);
        this.isOnline = false;
        for (const reply of this.waiting.values()) reply(null);
        this.waiting.clear();
    }

    /** Nobody tells a client that the network swallows everything. */
    #watch(socket) {
        if (socket.readyState !== WebSocket.OPEN) return;
        const silentMs = performance.now() - this.heardAt;
        if (silentMs > DEAD_MS) {
            if (!this.cluster.wasDisturbed(this.gateway, this.heardAt))
                this.book.fault('C11', `g${this.gateway} is silent towards ${this.name}`);
            this.book.count('silent connections given up');
            socket.terminate();
        } else if (silentMs > SILENT_MS) {
            socket.send(JSON.stringify({ type: 'ping' }));
        }
    }

    #onFrame(socket, frame) {
        if (socket !== this.socket) return;
        this.heardAt = performance.now();
        if (frame.type === 'welcome') {
            if (this.epoch !== undefined && this.epoch !== frame.epoch)
                this.book.fault('epoch', `${this.name}: ${frame.epoch} after ${this.epoch}`);
            this.epoch = frame.epoch;
            this.isOnline = true;
            this.book.count('connections');
        } else if (frame.type === 'reset') {
            this.book.fault('epoch', `${this.name} was told to reset`);
        } else if (frame.type === 'gap') {
            this.#onGap(frame);
        } else if (frame.id !== undefined && this.waiting.has(frame.id)) {
            this.waiting.get(frame.id)(frame);
            this.waiting.delete(frame.id);
        } else if (frame.seq !== undefined && frame.from !== undefined) {
            this.onEntry(frame);
        } else if (frame.type === 'error' && frame.id === undefined) {
            this.book.fault('protocol', `${this.name}: ${JSON.stringify(frame)}`);
        }
    }

    /** May what begins at `seq` come now? What follows is exact; a first one may repeat. */
    #follows(conv, seq) {
        const at = this.positions.get(conv);
        return at === undefined ? seq <= (this.acks.get(conv) ?? 0) + 1 : seq === at + 1;
    }

    onEntry(entry) {
        const { conv, seq } = entry;
        if (!this.#follows(conv, seq))
            this.book.fault('C6', `${this.name} got ${conv} ${seq} after ` +
                `${this.positions.get(conv)}, acknowledged ${this.acks.get(conv)}`);
        if (this.book.members.get(conv)?.has(this.name) === false)
            this.book.fault('C12', `${this.name} got ${conv} ${seq}`);
        this.move(conv, seq);
        this.book.see(entry, `delivery to ${this.name}`);
        if (seq % ACK_EVERY !== 0) return;
        this.acks.set(conv, Math.max(this.acks.get(conv) ?? 0, seq));
        this.socket.send(JSON.stringify({ type: 'ack', conv, seq }));
    }

    move(conv, seq) {
        this.positions.set(conv, Math.max(this.positions.get(conv) ?? 0, seq));
        this.cursors.set(conv, Math.max(this.cursors.get(conv) ?? 0, seq));
    }

    /** A gap is a hole that is announced: its entries are read from the log at the end. */
    #onGap(gap) {
        if (!this.#follows(gap.conv, gap.from) || gap.trimmed)
            this.book.fault('C6', `${this.name} after ${this.positions.get(gap.conv)}: ` +
                JSON.stringify(gap));
        this.move(gap.conv, gap.to);
        this.book.count('gaps');
    }

    /** A request; null where no reply came. */
    ask(frame) {
        if (!this.isOnline) return Promise.resolve(null);
        const id = this.nextId++;
        const { socket, gateway } = this;
        const begun = performance.now();
        return new Promise((resolve) => {
            const patience = setTimeout(() => {
                if (!this.waiting.delete(id)) return;
                if (!this.cluster.wasDisturbed(gateway, begun))
                    this.book.fault('C11', `${this.name}: no reply to ${JSON.stringify(frame)}`);
                socket.terminate();
                resolve(null);
            }, REPLY_MS);
            this.waiting.set(id, (reply) => {
                clearTimeout(patience);
                this.#onReply(reply);
                resolve(reply);
            });
            socket.send(JSON.stringify({ ...frame, id }));
        });
    }

    /** Refused again and again: the next gateway may have a better view of the routers. */
    #onReply(reply) {
        if (reply?.code !== 'unavailable') {
            if (reply !== null) this.refusedSince = null;
            return;
        }
        this.refusedSince ??= performance.now();
        if (performance.now() - this.refusedSince < REFUSED_MS || this.cluster.gateways < 2) return;
        this.book.count('gateways left because they refuse');
        this.refusedSince = null;
        setImmediate(() => this.socket.close(1000));
    }

    /** What the log's head is must be known the moment something is acknowledged (C9). */
    async readHead(conv) {
        const least = this.book.heads.get(conv) ?? 0;
        const page = await this.ask({ type: 'history', conv, limit: 5 });
        if (page === null || page.type === 'error') return;
        this.book.count('reads');
        for (const entry of page.entries) this.book.see({ ...entry, conv }, 'a read');
        if (page.head < least) this.book.fault('C9', `${conv}: head ${page.head} after ${least}`);
    }
}

/** One who is let into a group and sent away again: sees the entries of his visits, no other. */
export class Guest extends Person {
    onEntry(entry) {
        const { conv, seq } = entry;
        const at = this.positions.get(conv) ?? 0;
        // Let in again, he sees the history again, from wherever the server thinks he left off.
        if (seq > at + 1) this.book.fault('C6', `${this.name} got ${conv} ${seq} after ${at}`);
        this.book.guests.push({ name: this.name, conv, seq, at: performance.now() });
        this.move(conv, seq);
        this.positions.set(conv, seq);
        this.book.see(entry, `delivery to ${this.name}`);
    }
}

/** The owner of a group lets a guest in and sends him away, again and again. */
export class Host {
    constructor(person, guest, conv) {
        Object.assign(this, { person, guest, conv, isClosed: false, isGivenUp: false });
    }

    async run() {
        const { book, random } = this.person;
        for (let isIn = false; !this.isClosed; isIn = !isIn) {
            const change = isIn ? 'remove' : 'add';
            const invokedAt = performance.now();
            const visit = { name: this.guest.name, conv: this.conv, change, invokedAt };
            book.visits.push(visit);
            while (!(await this.#change(visit)) && !this.isGivenUp) await sleep(200);
            visit.endedAt = performance.now();
            await sleep(random.between(500, 3000));
        }
    }

    /** Is it done? A repetition may find it done already. */
    async #change({ change }) {
        const frame = { type: change, conv: this.conv, users: [this.guest.name] };
        const reply = await this.person.ask(frame);
        if (reply === null || reply.code === 'unavailable') return false;
        if (reply.type === 'error' && !['conflict', 'not_found'].includes(reply.code))
            this.person.book.fault('protocol', `${change}: ${JSON.stringify(reply)}`);
        this.person.book.count(`guests: ${change}`);
        return true;
    }
}

let transmissions = 0;

/** One user's messages to one conversation, in order. */
export class Lane {
    /** `patienceMs`: how long it waits at most before it repeats what was refused. `others`: who
     * may look at once whether what was acknowledged is there for them, too. */
    constructor(person, where, conv, { pauseMs, patienceMs = 1000, others = [] }) {
        Object.assign(this, { person, where, conv, pauseMs, patienceMs, others });
        this.book = person.book;
        this.book.lanes.push(this);
        this.acks = []; // {inventedAt, at} of each.
        this.sends = []; // Not acknowledged yet, oldest first.
        this.next = 1;
        this.isClosed = false;
    }

    async run() {
        const { random } = this.person;
        let inventedAt = performance.now() - random.between(0, this.pauseMs);
        let share = 1; // Of the pause, before the next.
        while (!this.isClosed || this.sends.length > 0) {
            const now = performance.now();
            const isDue = now - inventedAt >= this.pauseMs * share;
            if (!this.isClosed && isDue && this.sends.length < WINDOW) {
                this.#invent();
                inventedAt = now;
                share = random.between(0.5, 1.5);
            }
            if (this.person.isOnline) for (const send of this.sends) void this.#transmit(send);
            await sleep(Math.min(this.pauseMs / 2, 20));
        }
    }

    #invent() {
        const { random, name } = this.person;
        const cid = `${name}/${this.conv}/${this.next++}`.slice(-64);
        const size = random.chance(0.05) ? Math.floor(random.between(1000, 20000)) : 20;
        const body = { n: this.next, pad: 'x'.repeat(size) };
        this.book.invoke(cid, { conv: this.conv, from: name, body });
        const inventedAt = performance.now();
        const fresh = { isFlying: false, notBefore: 0, first: 0, last: 0 };
        this.sends.push({ cid, body, inventedAt, ...fresh });
    }

    async #transmit(send) {
        if (send.isFlying || performance.now() < send.notBefore) return;
        send.isFlying = true;
        send.last = ++transmissions;
        if (send.first === 0) {
            send.first = send.last;
            send.sentAt = performance.now();
        } else {
            this.book.count('repeats');
        }
        const { cid, body } = send;
        const reply = await this.person.ask({ type: 'send', ...this.where, cid, body });
        send.isFlying = false;
        if (reply?.type === 'sent') this.#onSent(send, reply);
        else if (reply !== null) this.#onRefused(send, reply);
    }

    #onSent(send, reply) {
        const { conv, seq, ts } = reply;
        this.sends.splice(this.sends.indexOf(send), 1);
        if (conv !== this.conv)
            this.book.fault('protocol', `sent to ${conv} instead of ${this.conv}`);
        if (reply.dup) this.book.count('found already there');
        const { cid, first, last, sentAt, inventedAt } = send;
        const person = this.person.name;
        const at = performance.now();
        this.acks.push({ inventedAt, at });
        this.book.acknowledge({ cid, conv, seq, ts, person, first, last, sentAt, at });
        const { random } = this.person;
        if (this.others.length > 0 && random.chance(LOOKS))
            void random.oneOf(this.others).readHead(conv);
    }

    #onRefused(send, reply) {
        this.book.count(`refused ${reply.code}`);
        if (reply.code !== 'unavailable')
            this.book.fault('protocol', `${send.cid}: ${JSON.stringify(reply)}`);
        else if (!(reply.retry_after_ms > 0))
            this.book.fault('protocol', `no retry_after_ms: ${JSON.stringify(reply)}`);
        const restMs = Math.min(reply.retry_after_ms ?? 1000, this.patienceMs);
        send.notBefore = performance.now() + restMs;
    }
}
