// chat_people - who is online: watches the people on the page, and says it in words.

import { momentName } from './chat_text.js';

/** @typedef {import('./client.js').ChatmeshClient} ChatmeshClient */
/** @typedef {import('./client.js').Presence} Presence */

/** Beyond, the page shows nobody's presence: there are more people than one looks at. */
const WATCHED_MAX = 500;

const WORDS = { online: 'Online', away: 'Away', busy: 'Do not disturb' };

export class People {
    constructor() {
        /** @type {Map<string, Presence>} */
        this.known = new Map();
        /** @type {Set<string>} */
        this.watched = new Set();
    }

    /** Logged out. */
    clear() {
        this.known.clear();
        this.watched.clear();
    }

    /** @param {Presence} presence */
    apply(presence) {
        this.known.set(presence.user, presence);
    }

    /** Watch these and no others. @param {ChatmeshClient} client @param {Iterable<string>} users */
    watch(client, users) {
        const wanted = new Set([...users].slice(0, WATCHED_MAX));
        const added = [...wanted].filter((user) => !this.watched.has(user));
        const gone = [...this.watched].filter((user) => !wanted.has(user));
        this.watched = wanted;
        for (const user of gone) this.known.delete(user);
        // Presence is the first that a server under load goes without.
        if (added.length > 0) client.watch(added).catch(() => {});
        if (gone.length > 0) client.unwatch(gone).catch(() => {});
    }

    /** @param {string} user @returns {Presence['status'] | null} Null where it is not known. */
    statusOf(user) {
        return this.known.get(user)?.status ?? null;
    }

    /** @param {string} user */
    isOnline(user) {
        return (this.known.get(user)?.status ?? 'offline') !== 'offline';
    }

    /** "Online", "Last seen today at 14:02", or '' where it is not known. @param {string} user */
    textOf(user) {
        const presence = this.known.get(user);
        if (presence === undefined) return '';
        if (presence.status !== 'offline') return WORDS[presence.status] ?? 'Online';
        return presence.last_seen ? `Last seen ${momentName(presence.last_seen)}` : 'Offline';
    }
}
