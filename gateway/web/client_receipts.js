/**
 * client_receipts - who has got and read what: what we say of ourselves, and what is said of the
 * others.
 *
 * @module
 */

import { nowMs } from './client_base.js';

/** @typedef {import('./client_types.js').ConversationItem} ConversationItem */
/** @typedef {import('./client_types.js').Entry} Entry */
/** @typedef {import('./client_types.js').Progress} Progress */
/** @typedef {import('./client_types.js').Receipt} Receipt */
/** @typedef {import('./client_types.js').ReceiptList} ReceiptList */
/** @typedef {{delivered: number, read: number}} Cursor */
/** @typedef {{seq: number, delivered: number, read: number}} Tally How many are past `seq`. */

const RECEIPT_INTERVAL_MS = 500;
const RECEIPT_GATHER_MS = 30;
/** In larger groups nobody's cursor is told singly: of those who write there, so many are kept. */
const CURSORS_MAX = 64;
const TALLIES_MAX = 64;
const OWN_MAX = 1000;

/** The server names them; there are two in it, for ever. @param {string} conv */
const isDirect = (conv) => conv.startsWith('dm:');

/** Acks and read marks: only the highest per conversation matters, so they go out coalesced. */
export class Receipts {
    /**
     * @param {{isOnline: () => boolean, write: (frame: object) => boolean}} ports `write` is false
     *   where there is no connection: kept for the next one, which calls schedule().
     */
    constructor(ports) {
        this.ports = ports;
        /** @type {Map<string, number>} */
        this.acks = new Map();
        /** @type {Map<string, number>} */
        this.reads = new Map();
        /** @type {ReturnType<typeof setTimeout> | undefined} */
        this.timer = undefined;
        this.flushedAt = -Infinity;
    }

    /** @param {string} conv @param {number} seq */
    ack(conv, seq) {
        this.#raise(this.acks, conv, seq);
    }

    /** @param {string} conv @param {number} seq */
    read(conv, seq) {
        this.#raise(this.reads, conv, seq);
    }

    /** @param {Map<string, number>} map @param {string} conv @param {number} seq */
    #raise(map, conv, seq) {
        map.set(conv, Math.max(map.get(conv) ?? 0, seq));
        this.schedule();
    }

    schedule() {
        if (this.timer !== undefined || this.acks.size + this.reads.size === 0) return;
        if (!this.ports.isOnline()) return;
        const wait = Math.max(RECEIPT_GATHER_MS, this.flushedAt + RECEIPT_INTERVAL_MS - nowMs());
        this.timer = setTimeout(() => {
            this.timer = undefined;
            this.flush();
        }, wait);
    }

    flush() {
        for (const [conv, seq] of this.reads) {
            if (!this.ports.write({ type: 'read', conv, seq })) return;
            this.reads.delete(conv);
            // A read implies the ack.
            if ((this.acks.get(conv) ?? 0) <= seq) this.acks.delete(conv);
        }
        for (const [conv, seq] of this.acks) {
            if (!this.ports.write({ type: 'ack', conv, seq })) return;
            this.acks.delete(conv);
        }
        this.flushedAt = nowMs();
    }

    stop() {
        clearTimeout(this.timer);
        this.timer = undefined;
    }
}

/** What is known of the others in one conversation. */
class Audience {
    /** @param {number | null} others */
    constructor(others) {
        this.others = others;
        this.asOf = 0; // The seq of which `others` is true: member entries beyond it change it.
        this.newest = 0;
        /** @type {Map<string, Cursor>} */
        this.cursors = new Map();
        /** @type {Tally[]} */
        this.tallies = []; // By seq; of two with equal counts only the higher seq.
    }

    /** @param {string} user @param {number} delivered @param {number} read */
    raise(user, delivered, read) {
        const cursor = this.cursors.get(user) ?? { delivered: 0, read: 0 };
        cursor.read = Math.max(cursor.read, read);
        cursor.delivered = Math.max(cursor.delivered, delivered, read);
        if (this.cursors.size < CURSORS_MAX || this.cursors.has(user))
            this.cursors.set(user, cursor);
    }

    /** @param {Tally} tally */
    count(tally) {
        this.tallies = this.tallies.filter(
            ({ seq, delivered, read }) =>
                seq > tally.seq || delivered > tally.delivered || read > tally.read,
        );
        this.tallies.push(tally);
        this.tallies.sort((a, b) => a.seq - b.seq);
        if (this.tallies.length > TALLIES_MAX) this.tallies.shift();
    }

    /** @param {number} seq @returns {Progress} */
    progress(seq) {
        let delivered = 0;
        let read = 0;
        for (const cursor of this.cursors.values()) {
            delivered += Number(cursor.delivered >= seq);
            read += Number(cursor.read >= seq);
        }
        // Who is past a later message is past this one.
        for (const tally of this.tallies) {
            if (tally.seq < seq) continue;
            delivered = Math.max(delivered, tally.delivered);
            read = Math.max(read, tally.read);
        }
        delivered = Math.max(delivered, read);
        const all = this.others !== null && this.others > 0 ? this.others : Infinity;
        const status = read >= all ? 'read' : delivered >= all ? 'delivered' : 'sent';
        return { status, delivered, read, total: this.others };
    }
}

/** How far messages came, from everything that tells of it: receipts, who answers, the lists. */
export class Audiences {
    /** @type {Map<string, Audience>} */
    #byConv = new Map();
    /** @type {Map<string, number>} */
    #own = new Map(); // Our cids to their seqs; the oldest go.
    #me;

    /** @param {() => string | null} me */
    constructor(me) {
        this.#me = me;
    }

    /** @param {string} conv */
    #of(conv) {
        let audience = this.#byConv.get(conv);
        if (audience === undefined) {
            audience = new Audience(isDirect(conv) ? 1 : null);
            this.#byConv.set(conv, audience);
        }
        return audience;
    }

    /** @param {string} conv @param {number} members With ourselves.
     * @param {number} [head] Where the server counted them; absent: about now. */
    setMembers(conv, members, head) {
        if (isDirect(conv)) return;
        const audience = this.#of(conv);
        audience.others = Math.max(0, members - 1);
        audience.asOf = head ?? audience.newest;
    }

    /** @param {ConversationItem[]} items */
    applyList(items) {
        for (const { conv, members, head } of items) this.setMembers(conv, members, head);
    }

    /** @param {Receipt} receipt */
    applyReceipt({ conv, user, delivered, read, seq, delivered_count, read_count, total }) {
        const audience = this.#of(conv);
        if (user !== undefined && user !== this.#me())
            audience.raise(user, delivered ?? 0, read ?? 0);
        if (user !== undefined || seq === undefined) return;
        audience.others = total ?? audience.others;
        audience.count({ seq, delivered: delivered_count ?? 0, read: read_count ?? 0 });
    }

    /** @param {ReceiptList} list */
    applyReceipts({ conv, seq, delivered, read, total }) {
        const audience = this.#of(conv);
        for (const { user } of delivered) audience.raise(user, seq, 0);
        for (const { user } of read) audience.raise(user, seq, seq);
        if (total > CURSORS_MAX)
            audience.count({ seq, delivered: delivered.length, read: read.length });
        this.setMembers(conv, total + 1);
    }

    /** @param {Entry} entry */
    applyEntry({ type, conv, seq, from, cid, change, user }) {
        const audience = this.#of(conv);
        audience.newest = Math.max(audience.newest, seq);
        if (type === 'message' && from !== this.#me()) audience.raise(from, seq, seq);
        if (type === 'message' && from === this.#me() && cid !== undefined)
            this.applySent(cid, seq);
        if (type !== 'member' || change === 'role' || isDirect(conv)) return;
        if (change !== 'joined') audience.cursors.delete(user ?? from);
        if (audience.others === null || seq <= audience.asOf) return;
        audience.others = Math.max(0, audience.others + (change === 'joined' ? 1 : -1));
    }

    /** @param {string} cid @param {number} seq */
    applySent(cid, seq) {
        this.#own.set(cid, seq);
        if (this.#own.size > OWN_MAX) this.#own.delete([...this.#own.keys()][0]);
    }

    /** @param {string} conv @param {number | string} which A seq, or a cid. @returns {Progress} */
    progress(conv, which) {
        const seq = typeof which === 'number' ? which : this.#own.get(which);
        return this.#of(conv).progress(seq ?? Infinity);
    }

    /** @param {string} conv */
    forget(conv) {
        this.#byConv.delete(conv);
    }

    clear() {
        this.#byConv.clear();
        this.#own.clear();
    }
}
