/**
 * client_outbox - sends, edits, deletes and reactions that wait for `sent`: kept in order per
 * conversation, repeated with the same cid.
 *
 * @module
 */

import { isPassing, retryInMs } from './client_base.js';

/** @typedef {import('./client_base.js').ChatmeshError} ChatmeshError */
/** @typedef {import('./client_types.js').Json} Json */
/** @typedef {import('./client_types.js').Sent} Sent */
/** @typedef {import('./client_types.js').WriteType} WriteType */
/**
 * @typedef {object} Write
 * @property {WriteType} type
 * @property {string} cid
 * @property {string} [conv]
 * @property {string} [to] Of a send.
 * @property {number} [seq] Of a change: the message it is about.
 * @property {Json} [body]
 * @property {number} [reply_to]
 * @property {string} [emoji]
 * @property {boolean} [on]
 * @property {boolean} flying Sent on this connection, unanswered.
 * @property {((sent: Sent) => void)} resolve
 * @property {((error: Error) => void)} reject
 */
/**
 * The writes of one conversation, in order.
 * @typedef {object} Lane
 * @property {Write[]} writes
 * @property {boolean} halted One was refused for the moment: the first goes alone until through.
 */

/** What is said of it, and what is stored. @param {Write} write */
export function frameOf(write) {
    const { type, cid, conv, to, seq, body, reply_to, emoji, on } = write;
    return { type, cid, conv, to, seq, body, reply_to, emoji, on };
}

/**
 * Up to `flyingMax` are on the wire at once. After a refusal that may pass, the lane halts: what
 * else of it is on the wire is awaited, then the oldest goes alone, and only when it is through
 * do the others follow. Otherwise a later one might enter the log first.
 */
export class Outbox {
    /**
     * @param {number} flyingMax
     * @param {{fly: (write: Write) => Promise<Sent>, isOnline: () => boolean,
     *   changed: (isMore: boolean) => void, sent: (write: Write, sent: Sent) => void,
     *   refused: (write: Write, error: ChatmeshError) => void}} ports
     */
    constructor(flyingMax, ports) {
        this.flyingMax = flyingMax;
        this.ports = ports;
        /** @type {Map<string, Lane>} */
        this.lanes = new Map();
        /** @type {Set<string>} */
        this.cids = new Set();
        this.flying = 0;
        this.count = 0;
        /** @type {Map<Lane, ReturnType<typeof setTimeout>>} Of those that wait before they go on. */
        this.timers = new Map();
    }

    /** @param {Write} write */
    #laneOf(write) {
        const key = write.conv !== undefined ? `c ${write.conv}` : `u ${write.to}`;
        let lane = this.lanes.get(key);
        if (lane === undefined) {
            lane = { writes: [], halted: false };
            this.lanes.set(key, lane);
        }
        return lane;
    }

    /** @param {Write} write */
    push(write) {
        this.#laneOf(write).writes.push(write);
        this.cids.add(write.cid);
        this.count++;
        this.ports.changed(true);
        this.pump();
    }

    /** All of them, oldest first within a conversation. */
    all() {
        return [...new Set(this.lanes.values())].flatMap((lane) => lane.writes);
    }

    /** The connection is gone: nobody knows what became of those on the wire. */
    land() {
        for (const write of this.all()) write.flying = false;
        this.flying = 0;
    }

    pump() {
        if (!this.ports.isOnline()) return;
        for (const lane of new Set(this.lanes.values())) {
            if (this.flying >= this.flyingMax) return;
            if (!this.timers.has(lane)) this.#pumpLane(lane);
        }
    }

    /** @param {Lane} lane */
    #pumpLane(lane) {
        if (lane.halted) {
            if (!lane.writes.some((write) => write.flying)) this.#fly(lane, lane.writes[0]);
            return;
        }
        for (const write of lane.writes) {
            if (this.flying >= this.flyingMax) return;
            if (!write.flying) this.#fly(lane, write);
        }
    }

    /** @param {Lane} lane @param {number} ms */
    #pumpLater(lane, ms) {
        clearTimeout(this.timers.get(lane));
        this.timers.set(
            lane,
            setTimeout(() => {
                this.timers.delete(lane);
                this.pump();
            }, ms),
        );
    }

    /** @param {Lane} lane @param {Write} write */
    #fly(lane, write) {
        write.flying = true;
        this.flying++;
        this.ports.fly(write).then(
            (sent) => this.#onSent(lane, write, sent),
            (error) => this.#onError(lane, write, error),
        );
    }

    /** @param {Lane} lane @param {Write} write @param {Sent} sent */
    #onSent(lane, write, sent) {
        if (write.to !== undefined && !this.lanes.has(`c ${sent.conv}`))
            this.lanes.set(`c ${sent.conv}`, lane); // From now on both names mean one order.
        if (lane.writes[0] === write) lane.halted = false;
        this.#remove(lane, write);
        write.resolve(sent);
        this.ports.sent(write, sent);
        this.pump();
    }

    /** @param {Lane} lane @param {Write} write @param {ChatmeshError} error */
    #onError(lane, write, error) {
        // land() takes it back: the connection is being replaced.
        if (error.code === 'disconnected' || error.code === 'timeout') return;
        if (isPassing(error)) {
            if (write.flying) this.flying--; // Else land() came first.
            write.flying = false;
            lane.halted = true;
            if (this.ports.isOnline()) this.#pumpLater(lane, retryInMs(error));
        } else {
            if (lane.writes[0] === write) lane.halted = false;
            this.#remove(lane, write);
            write.reject(error);
            this.ports.refused(write, error);
        }
        this.pump();
    }

    /** @param {Lane} lane @param {Write} write */
    #remove(lane, write) {
        if (write.flying) this.flying--;
        write.flying = false;
        lane.writes.splice(lane.writes.indexOf(write), 1);
        this.cids.delete(write.cid);
        this.count--;
        if (lane.writes.length === 0)
            for (const [key, other] of this.lanes) if (other === lane) this.lanes.delete(key);
        this.ports.changed(false);
    }

    stop() {
        for (const timer of this.timers.values()) clearTimeout(timer);
        this.timers.clear();
    }
}
