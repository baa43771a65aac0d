/**
 * client - the Chatmesh client protocol for browsers and Node: this module and those it imports
 * from its own folder, without any other dependency.
 *
 * Happy path: a socket opens, `connect` carries the token and where each conversation was left,
 * the server sends what was missed and then what happens. Entries reach the application in seq
 * order, once.
 *
 * Failure modes: a lost connection is dialled again (exponential backoff, full jitter); sends,
 * edits, deletes and reactions wait in an outbox and are repeated with the same cid until the
 * server says `sent`, so that nothing is lost and nothing comes twice; a hole in a conversation is
 * paged from `history` before anything after it is delivered; what was open or watched is asked for
 * again. A close code that says "do not come back by yourself" ends in the state `closed`.
 *
 * Parts: Connection (the socket and when to come back), Requests (ids and timeouts), Timelines
 * (order of what comes), Outbox (order of what goes), Receipts and Audiences (who has got what),
 * Typing, Standing (opens, watches, status), Store (what survives a reload).
 *
 * @module
 */

import { ChatmeshError, newCid } from './client_base.js';
import { Core } from './client_core.js';
import { chunks } from './client_standing.js';

export { ChatmeshError, newCid };

/** @typedef {import('./client_types.js').ConversationChange} ConversationChange */
/** @typedef {import('./client_types.js').ConversationItem} ConversationItem */
/** @typedef {import('./client_types.js').Entry} Entry */
/** @typedef {import('./client_types.js').Events} Events */
/** @typedef {import('./client_types.js').Gap} Gap */
/** @typedef {import('./client_types.js').HistoryPage} HistoryPage */
/** @typedef {import('./client_types.js').Json} Json */
/** @typedef {import('./client_types.js').Member} Member */
/** @typedef {import('./client_types.js').MessageStatus} MessageStatus */
/** @typedef {import('./client_types.js').NewConversation} NewConversation */
/** @typedef {import('./client_types.js').Options} Options */
/** @typedef {import('./client_types.js').OwnStatus} OwnStatus */
/** @typedef {import('./client_types.js').PendingChange} PendingChange */
/** @typedef {import('./client_types.js').PendingSend} PendingSend */
/** @typedef {import('./client_types.js').Presence} Presence */
/** @typedef {import('./client_types.js').Progress} Progress */
/** @typedef {import('./client_types.js').Receipt} Receipt */
/** @typedef {import('./client_types.js').ReceiptList} ReceiptList */
/** @typedef {import('./client_types.js').Sent} Sent */
/** @typedef {import('./client_types.js').State} State */
/** @typedef {import('./client_types.js').StateChange} StateChange */
/** @typedef {import('./client_types.js').StoragePort} StoragePort */
/** @typedef {import('./client_types.js').Target} Target */
/** @typedef {import('./client_types.js').Welcome} Welcome */
/** @typedef {import('./client_types.js').WriteType} WriteType */

/** One device of one user. Create it, subscribe with on(), then connect(). */
export class ChatmeshClient {
    #core;

    /** Throws a TypeError where the options cannot do: no url, token or WebSocket, or a wrong url.
     * @param {Options} options */
    constructor(options) {
        this.#core = new Core(options);
        this.device = this.#core.device;
    }

    /** @returns {State} */
    get state() {
        return this.#core.connection.state;
    }

    /** The user the token names; null before the first welcome. */
    get user() {
        return this.#core.connection.welcome?.user ?? null;
    }

    /** Where each conversation was left: what `connect` sends as `resume`. */
    get resumePoints() {
        return this.#core.timelines.points();
    }

    /** Sends without acknowledgement, oldest first within a conversation.
     * @returns {PendingSend[]} */
    get pending() {
        return this.#core.outbox
            .all()
            .filter(({ type }) => type === 'send')
            .map(({ cid, conv, to, body, reply_to }) => ({ cid, conv, to, body, reply_to }));
    }

    /** Edits, deletes and reactions without acknowledgement, likewise.
     * @returns {PendingChange[]} */
    get pendingChanges() {
        const changes = this.#core.outbox.all().filter(({ type }) => type !== 'send');
        return /** @type {PendingChange[]} */ (
            changes.map(({ type, cid, conv, seq, body, emoji, on }) =>
                // Only what it has: an edit has no emoji.
                JSON.parse(JSON.stringify({ type, cid, conv, seq, body, emoji, on })),
            )
        );
    }

    /**
     * Subscribe; the returned function ends it. What a listener throws, or its promise rejects
     * with, comes as `error`, and where nobody listens to that, on the console.
     * @template {keyof Events} K
     * @param {K} event
     * @param {(value: Events[K]) => unknown} listener
     */
    on(event, listener) {
        return this.#core.listeners.add(event, listener);
    }

    /**
     * Come online and stay so; where it waits for its next attempt, now. Resolves with the first welcome, rejects with `closed` where the
     * server refuses for good, the platform does not let us dial, or close() comes first.
     * @returns {Promise<Welcome>}
     */
    connect() {
        const { welcome: current, isOnline } = this.#core.connection;
        if (isOnline && current !== null) return Promise.resolve(current);
        const welcome = new Promise((resolve, reject) => {
            const offs = [
                this.on('welcome', (value) => settle(resolve, value)),
                this.on('state', ({ state, code, reason }) => {
                    if (state !== 'closed') return;
                    settle(reject, new ChatmeshError('closed', reason || `closed with ${code}`));
                }),
            ];
            /** @param {(value: any) => void} how @param {any} value */
            const settle = (how, value) => {
                offs.forEach((off) => off());
                how(value);
            };
        });
        welcome.catch(() => {}); // Whoever only listens to `state` need not handle it twice.
        this.#core.connection.start();
        return welcome;
    }

    /**
     * With a conversation: nobody looks at it any more. Without: go offline for good; connect()
     * starts again. Requests that wait reject, sends that wait stay in the outbox, nothing more is
     * delivered, and no timer and no listener of the page is left behind.
     * @param {string} [conv] @returns {Promise<void>}
     */
    async close(conv) {
        if (conv !== undefined) {
            await this.#core.standing.close(conv);
        } else if (this.state !== 'closed') {
            this.#core.receipts.flush();
            this.#core.connection.stop();
        }
    }

    /* ---- Messages ---- */

    /**
     * Send a message. Resolves once it is durable, however many connections that takes; rejects
     * only with a definite refusal (forbidden, bad_request, too_large, ...).
     * @param {Target} target
     * @param {Json} body
     * @param {{cid?: string, replyTo?: number}} [options]
     * @returns {Promise<Sent>}
     */
    send(target, body, { cid, replyTo } = {}) {
        const where = typeof target === 'string' ? { conv: target } : target;
        const { conv, to } = /** @type {{conv?: string, to?: string}} */ (where ?? {});
        if (conv === undefined && to === undefined)
            return Promise.reject(new ChatmeshError('bad_request', 'a send needs conv or to'));
        if (conv !== undefined) this.#core.typing.say(conv, false);
        return this.#core.put({ type: 'send', conv, to, cid, body, reply_to: replyTo });
    }

    /**
     * Replace the text of a message of ours. Like a send: it resolves once it is durable, waits
     * while offline, keeps its place among the sends, and rejects only with a definite refusal.
     * @param {string} conv @param {number} seq @param {Json} body @param {{cid?: string}} [options]
     * @returns {Promise<Sent>} With the change's own seq.
     */
    edit(conv, seq, body, { cid } = {}) {
        return this.#core.put({ type: 'edit', conv, seq, body, cid });
    }

    /**
     * Take a message away: one of ours, or anyone's for an admin or owner. Else as edit().
     * @param {string} conv @param {number} seq @param {{cid?: string}} [options]
     * @returns {Promise<Sent>}
     */
    delete(conv, seq, { cid } = {}) {
        return this.#core.put({ type: 'delete', conv, seq, cid });
    }

    /**
     * Set a reaction, or take it back. Else as edit().
     * @param {string} conv @param {number} seq @param {string} emoji @param {boolean} [on]
     * @param {{cid?: string}} [options]
     * @returns {Promise<Sent>}
     */
    react(conv, seq, emoji, on = true, { cid } = {}) {
        return this.#core.put({ type: 'react', conv, seq, emoji, on, cid });
    }

    /**
     * A page of the log, oldest entry first: the newest ones, or those next to `before`, or to
     * `after`. `more`: there is more in that direction.
     * @param {string} conv
     * @param {{after?: number, before?: number, limit?: number}} [range]
     * @returns {Promise<HistoryPage>}
     */
    async history(conv, range = {}) {
        const page = await this.request('history', { conv, ...range });
        for (const entry of page.entries) entry.from ??= '';
        return page;
    }

    /* ---- Who has got it, who is there, who types ---- */

    /** The user has read up to seq. @param {string} conv @param {number} seq */
    markRead(conv, seq) {
        this.#core.receipts.read(conv, seq);
    }

    /** Entries up to seq reached this device; needed only with `autoAck: false`.
     * @param {string} conv @param {number} seq */
    ack(conv, seq) {
        this.#core.receipts.ack(conv, seq);
    }

    /** Who has got, and who has read, an entry. @param {string} conv @param {number} seq
     * @returns {Promise<ReceiptList>} */
    async receipts(conv, seq) {
        const list = { conv, seq, ...(await this.request('receipts', { conv, seq })) };
        this.#core.audiences.applyReceipts(list);
        return list;
    }

    /**
     * How far a message of ours has come: by its seq, or by its cid while it has none. Ask again
     * after `sent`, `receipt` and `message`; to know it for messages from before this connection,
     * ask receipts() for the newest one of ours.
     * @param {string} conv @param {number | string} which
     * @returns {Progress}
     */
    statusOf(conv, which) {
        const progress = this.#core.audiences.progress(conv, which);
        const waits = typeof which === 'string' && this.#core.outbox.cids.has(which);
        return waits ? { ...progress, status: 'sending' } : progress;
    }

    /**
     * Call it on every key press, and with false when the text was given up: what goes out is at
     * most one `typing` in three seconds. A send says by itself that one stopped.
     * @param {string} conv @param {boolean} [on]
     */
    typing(conv, on = true) {
        this.#core.typing.say(conv, on);
    }

    /** Who types there at the moment. @param {string} conv @returns {string[]} */
    typists(conv) {
        return this.#core.typing.in(conv);
    }

    /**
     * Somebody looks at the conversation: a large one streams its entries from now on, and who
     * types there is told. Kept up over reconnects until close(conv). In the state `closed` it
     * rejects, and the next connect() asks for it all the same; so do watch() and setStatus().
     * @param {string} conv @returns {Promise<void>}
     */
    open(conv) {
        return this.#core.standing.open(conv);
    }

    /** How these users are at the moment; any number of them. @param {string[]} users
     * @returns {Promise<Presence[]>} */
    async presence(users) {
        const lists = chunks(users).map((some) => this.request('presence', { users: some }));
        return (await Promise.all(lists)).flatMap((list) => list.users);
    }

    /** Have `presence` events of these users, the first at once; kept up over reconnects.
     * @param {string[]} users @returns {Promise<void>} */
    watch(users) {
        return this.#core.standing.watch(users);
    }

    /** @param {string[]} users @returns {Promise<void>} */
    unwatch(users) {
        return this.#core.standing.unwatch(users);
    }

    /** How others see us; said again after a reconnect. @param {OwnStatus} status
     * @returns {Promise<void>} */
    setStatus(status) {
        return this.#core.standing.setStatus(status);
    }

    /* ---- Conversations ---- */

    /**
     * Newest activity first; `after` is the `conv` of the last one of the page before. Rejected
     * with `not_found` where that is not in the list any more: begin anew.
     * @param {{after?: string, limit?: number}} [page]
     * @returns {Promise<{conversations: ConversationItem[], more: boolean}>}
     */
    async conversations(page = {}) {
        const list = await this.request('conversations', { ...page });
        this.#core.audiences.applyList(list.conversations);
        return list;
    }

    /**
     * All of it or none; `dup`: it was there already.
     * @param {NewConversation} what
     * @returns {Promise<{conv: string, kind?: string, title?: string | null, head?: number,
     *   dup?: boolean}>}
     */
    async create(what) {
        const made = await this.request('create', { kind: 'group', ...what });
        const members = new Set([...what.members, this.user]).size;
        this.#core.audiences.setMembers(made.conv, members, made.head);
        return made;
    }

    /** @param {string} conv @param {string[]} users */
    add(conv, users) {
        return this.request('add', { conv, users });
    }

    /** @param {string} conv @param {string[]} users */
    remove(conv, users) {
        return this.request('remove', { conv, users });
    }

    /** @param {string} conv */
    leave(conv) {
        return this.request('leave', { conv });
    }

    /** @param {string} conv @param {string} user @param {'owner'|'admin'|'member'} role */
    role(conv, user, role) {
        return this.request('role', { conv, user, role });
    }

    /**
     * @param {string} conv
     * @param {{after?: string, limit?: number}} [page]
     * @returns {Promise<{members: Member[], total: number, more: boolean}>}
     */
    async members(conv, page = {}) {
        const list = await this.request('members', { conv, ...page });
        this.#core.audiences.setMembers(conv, list.total);
        return list;
    }

    /** @param {string} conv @param {ConversationChange} change */
    info(conv, change) {
        return this.request('info', { conv, ...change });
    }

    /** @returns {Promise<{ts: number}>} */
    ping() {
        return this.request('ping', {});
    }

    /**
     * Any request of the protocol. While offline it waits for the connection, until its timeout;
     * in the state `closed` it rejects with `closed`, at once.
     * What only reads is repeated until then, as the server asks for with `retry_after_ms`. All
     * else that was on the wire when the connection broke rejects with `disconnected`: its outcome
     * is unknown.
     * @param {string} type
     * @param {object} fields
     * @returns {Promise<any>}
     */
    request(type, fields) {
        return this.#core.request(type, fields);
    }
}
