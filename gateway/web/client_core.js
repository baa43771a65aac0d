/**
 * client_core - the parts of the client put together: which frame goes where, what a connection
 * begins and ends with. The API over it is client.js.
 *
 * @module
 */

import {
    ChatmeshError,
    isPassing,
    Listeners,
    newCid,
    nowMs,
    onPage,
    Pauses,
    retryInMs,
} from './client_base.js';
import { Connection } from './client_connection.js';
import { frameOf, Outbox } from './client_outbox.js';
import { Audiences, Receipts } from './client_receipts.js';
import { Requests } from './client_requests.js';
import { Standing } from './client_standing.js';
import { Store } from './client_store.js';
import { Timelines } from './client_timeline.js';
import { Typing } from './client_typing.js';

/** @typedef {import('./client_outbox.js').Write} Write */
/** @typedef {import('./client_types.js').Entry} Entry */
/** @typedef {import('./client_types.js').Events} Events */
/** @typedef {import('./client_types.js').Options} Options */
/** @typedef {import('./client_types.js').Sent} Sent */
/** @typedef {import('./client_types.js').StateChange} StateChange */
/** @typedef {import('./client_types.js').Welcome} Welcome */

/**
 * The server answers a send within 5 s, if only with `unavailable`: silence means a dead
 * connection.
 */
const SEND_TIMEOUT_MS = 15000;
const HISTORY_PAGE = 500;
const MAX_FRAME_DEFAULT = 131072;
/** Of a frame: the rest is for the token. */
const RESUME_SHARE = 0.75;

/** They change nothing: they may be repeated until they are answered. */
const READS = new Set(['history', 'conversations', 'members', 'receipts', 'presence', 'ping']);
const ENTRY_TYPES = new Set(['message', 'edit', 'delete', 'reaction', 'member', 'info']);
/** What bears these is an entry, also of a type that is younger than this client: it takes its
 * place in the order. @param {any} frame */
const isEntry = (frame) =>
    frame.seq !== undefined && frame.conv !== undefined && frame.ts !== undefined;

/** What is undefined is left to the defaults. @param {Options} options @returns {Options} */
const said = (options) =>
    /** @type {Options} */ (
        Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
    );

export class Core {
    #options;
    listeners = new Listeners();
    #requests = new Requests();
    /** @type {Pauses} */
    #pauses;
    connection;
    timelines;
    outbox;
    receipts;
    audiences;
    typing;
    standing;
    #store;
    /** @type {string | undefined} */
    #epoch;
    #maxFrame = MAX_FRAME_DEFAULT;
    /** @type {(() => void) | undefined} */
    #unfollow;

    /** @param {Options} options */
    constructor(options) {
        this.#options = {
            batch: true,
            persistOutbox: true,
            autoAck: true,
            sendsInFlight: 64,
            sendsMax: 10000,
            requestTimeoutMs: 10000,
            random: Math.random,
            ...said(options),
        };
        this.device = options.device ?? newCid();
        this.connection = new Connection(this.#options, {
            greeting: () => this.#greeting(),
            frame: (frame) => this.#onFrame(frame),
            up: (welcome) => this.#onUp(welcome),
            down: () => this.#onDown(),
            state: (change) => this.#onState(change),
            error: (error) => this.emit('error', error),
        });
        this.#pauses = new Pauses(() => this.connection.isOnline);
        const pause = (/** @type {number} */ ms) => this.#pauses.of(ms);
        this.timelines = new Timelines({
            deliver: (entry) => this.#deliver(entry),
            repeated: (conv, last) => this.#options.autoAck && this.receipts.ack(conv, last),
            gap: (gap) => this.emit('gap', gap),
            page: (conv, after) => this.#ask('history', { conv, after, limit: HISTORY_PAGE }),
            pause,
        });
        this.outbox = new Outbox(this.#options.sendsInFlight, {
            fly: (write) => this.#fly(write),
            isOnline: () => this.connection.isOnline,
            changed: (isMore) => this.#onOutboxChanged(isMore),
            sent: (write, sent) => this.#onSent(write, sent),
            refused: ({ type, cid, conv, to, seq }, error) =>
                this.emit('refused', { cid, conv, to, request: type, target: seq, error }),
        });
        this.receipts = new Receipts({
            isOnline: () => this.connection.isOnline,
            write: (frame) => this.connection.write(frame),
        });
        this.audiences = new Audiences(() => this.connection.welcome?.user ?? null);
        this.typing = new Typing({
            write: (frame) => this.connection.write(frame),
            tell: (typing) => this.emit('typing', typing),
        });
        this.standing = new Standing({
            state: () => this.connection.state,
            request: (type, fields) => this.#ask(type, fields),
            pause,
        });
        this.#store = new Store(options.storage, options.storageKey ?? `chatmesh.${this.device}`, {
            resume: () => ({
                epoch: this.#epoch,
                max_frame: this.#maxFrame,
                points: this.timelines.points(),
            }),
            outbox: () => (this.#options.persistOutbox ? this.outbox.all().map(frameOf) : null),
            error: (error) => this.emit('error', error),
        });
        this.#restore();
    }

    /** @param {string} type @param {object} fields @returns {Promise<any>} */
    async request(type, fields) {
        const deadline = nowMs() + this.#options.requestTimeoutMs;
        for (;;) {
            if (!this.connection.isOnline) await this.#untilOnline(deadline - nowMs());
            try {
                return await this.#ask(type, fields, deadline - nowMs());
            } catch (error) {
                if (!READS.has(type) || !isPassing(error)) throw error;
                const ms = error.code === 'disconnected' ? 0 : retryInMs(error);
                if (error.code === 'timeout' || nowMs() + ms >= deadline) throw error;
                if (ms > 0) await this.#pauses.of(ms);
            }
        }
    }

    /** On this connection, once.
     * @param {string} type @param {object} fields @param {number} [timeoutMs]
     * @returns {Promise<any>} */
    #ask(type, fields, timeoutMs = this.#options.requestTimeoutMs) {
        return this.#requests.begin(
            (id) => this.connection.write({ type, id, ...fields }),
            timeoutMs,
        );
    }

    /** @param {number} timeoutMs @returns {Promise<void>} */
    #untilOnline(timeoutMs) {
        return new Promise((resolve, reject) => {
            if (this.connection.state === 'closed') {
                reject(new ChatmeshError('closed', 'the client is closed'));
                return;
            }
            const timer = setTimeout(
                () => settle(reject, new ChatmeshError('timeout', 'there is no connection')),
                timeoutMs,
            );
            const off = this.listeners.add('state', ({ state, reason }) => {
                if (state === 'online') settle(resolve, undefined);
                else if (state === 'closed') settle(reject, new ChatmeshError('closed', reason));
            });
            /** @param {(value?: any) => void} how @param {any} value */
            const settle = (how, value) => {
                clearTimeout(timer);
                off();
                how(value);
            };
        });
    }

    /* ---- The connection ---- */

    #greeting() {
        const resume = this.timelines.pointsThatFit(RESUME_SHARE * this.#maxFrame);
        return {
            device: this.device,
            batch: this.#options.batch,
            ...(resume && { resume, epoch: this.#epoch }),
        };
    }

    /** @param {Welcome} welcome */
    #onUp(welcome) {
        this.#epoch = welcome.epoch;
        this.#maxFrame = welcome.max_frame ?? MAX_FRAME_DEFAULT;
        this.emit('welcome', welcome);
        this.standing.pump();
        this.outbox.pump();
        this.receipts.schedule();
        this.#save('resume');
    }

    #onDown() {
        this.outbox.land();
        this.timelines.restart();
        this.standing.reset();
        this.#requests.failAll(
            new ChatmeshError('disconnected', 'the connection was lost before the answer'),
        );
        this.#pauses.end();
        this.typing.clear();
    }

    /** @param {StateChange} change */
    #onState(change) {
        if (change.state === 'closed') {
            this.outbox.stop();
            this.receipts.stop();
            this.standing.stop();
            this.#store.saveNow();
            this.#unfollow?.();
            this.#unfollow = undefined;
        } else {
            this.#unfollow ??= onPage('pagehide', () => this.#store.saveNow());
        }
        this.emit('state', change);
    }

    /** @param {any} frame */
    #onFrame(frame) {
        const isLate = frame.id !== undefined && !this.#requests.settle(frame);
        if (frame.id !== undefined && !(isLate && frame.type === 'error')) return;
        if (isEntry(frame)) {
            this.timelines.of(frame.conv).accept(frame);
            return;
        }
        switch (frame.type) {
            case 'gap':
                this.timelines.of(frame.conv).acceptGap(frame);
                break;
            case 'reset':
                this.#onReset();
                break;
            case 'conversation':
                this.#onConversation(frame);
                break;
            case 'receipt':
                this.audiences.applyReceipt(frame);
                this.emit('receipt', frame);
                break;
            case 'typing':
                this.typing.hear(frame);
                break;
            case 'server_restart':
                this.connection.leaveIn(Math.max(0, Number(frame.reconnect_after_ms) || 0));
                this.emit('server_restart', frame);
                break;
            case 'presence':
            case 'activity':
            case 'resumed':
                this.emit(frame.type, frame);
                break;
            case 'error':
                this.emit('error', ChatmeshError.of(frame));
                break;
            case 'pong':
                break;
            default:
                this.emit('event', frame);
        }
    }

    #onReset() {
        this.timelines.clear();
        this.audiences.clear();
        this.emit('reset', {});
        this.#save('resume');
    }

    /** @param {{conv: string, gone?: boolean}} frame */
    #onConversation(frame) {
        this.timelines.of(frame.conv).gone = frame.gone === true;
        if (frame.gone) {
            this.standing.forget(frame.conv);
            this.typing.ended(frame.conv);
            this.audiences.forget(frame.conv);
        }
        this.emit('conversation', frame);
        this.#save('resume');
    }

    /** @param {Entry} entry */
    #deliver(entry) {
        entry.from ??= '';
        this.audiences.applyEntry(entry);
        if (entry.type === 'message') this.typing.ended(entry.conv, entry.from);
        this.emit(ENTRY_TYPES.has(entry.type) ? entry.type : 'event', entry);
        if (this.#options.autoAck) this.receipts.ack(entry.conv, entry.seq);
        this.#save('resume');
    }

    /* ---- The outbox ---- */

    /** @param {Omit<Write, 'cid' | 'flying' | 'resolve' | 'reject'> & {cid?: string}} what
     * @returns {Promise<Sent>} */
    put(what) {
        return new Promise((resolve, reject) => {
            const cid = what.cid ?? newCid();
            /** @type {Write} */
            const write = { ...what, cid, flying: false, resolve, reject };
            if (this.#isTooLarge(frameOf(write)))
                reject(
                    new ChatmeshError('too_large', 'the message is larger than the server takes'),
                );
            else if (this.outbox.count >= this.#options.sendsMax)
                reject(new ChatmeshError('too_many', 'too many wait: await some of them first'));
            else this.outbox.push(write);
        });
    }

    /** @param {object} frame */
    #isTooLarge(frame) {
        const text = JSON.stringify(frame);
        const max = this.#maxFrame;
        if (text.length * 3 <= max) return false; // Not even if every character takes three bytes.
        return new TextEncoder().encode(text).length > max - 32; // Room for the id.
    }

    /** @param {Write} write @returns {Promise<Sent>} */
    #fly(write) {
        return this.#requests.begin(
            (id) => this.connection.write({ id, ...frameOf(write) }),
            SEND_TIMEOUT_MS,
            () => this.connection.lose(1006, 'a send was not answered'),
        );
    }

    /** @param {Write} write @param {Sent} sent */
    #onSent({ type, cid, seq }, sent) {
        if (type === 'send') this.audiences.applySent(cid, sent.seq);
        this.emit('sent', { ...sent, request: type, ...(seq !== undefined && { target: seq }) });
    }

    /** Where a listener called close(), nobody would wait for later.
     * @param {'resume' | 'outbox'} what */
    #save(what) {
        this.#store.saveSoon(what);
        if (this.connection.state === 'closed') this.#store.saveNow();
    }

    /** One more must not get lost. One less may come again: its cid tells the server.
     * @param {boolean} isMore */
    #onOutboxChanged(isMore) {
        this.emit('outbox', { count: this.outbox.count });
        if (isMore) this.#store.saveOutbox();
        else this.#save('outbox');
    }

    /** A reload goes on where the page was left. */
    #restore() {
        const saved = this.#store.load('resume');
        this.#epoch = saved?.epoch;
        if (saved?.max_frame > 0) this.#maxFrame = saved.max_frame;
        // What is damaged is left out: the server would refuse all of it, each time.
        for (const [conv, seq] of Object.entries(saved?.points ?? {}))
            if (Number.isSafeInteger(seq)) this.timelines.of(conv, seq);
        const writes = this.#options.persistOutbox ? this.#store.load('outbox') : null;
        for (const write of Array.isArray(writes) ? writes : [])
            if (typeof write?.cid === 'string')
                this.outbox.push({
                    type: 'send',
                    ...write,
                    flying: false,
                    resolve: () => {},
                    reject: () => {},
                });
    }

    /** @template {keyof Events} K @param {K} event @param {Events[K]} value */
    emit(event, value) {
        this.listeners.tell(event, value);
    }
}
