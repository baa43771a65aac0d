// chat_model - what the chat page knows: conversations and their messages as they read now.
//
// Pure: events go in, and the view reads. What is known of a conversation's log has no hole: it
// goes from `oldest` to `newest`. What lies before is in the log and is loaded when someone
// scrolls there. Edits, deletions and reactions are entries too: they change the message they
// name, at the latest when that is loaded.

import { bodyText } from './chat_text.js';

/** @typedef {import('./client.js').Entry} Entry */
/** @typedef {import('./client.js').ConversationItem} ConversationItem */
/** @typedef {import('./client.js').Member} Member */
/** @typedef {Entry & {who?: Map<string, Set<string>>}} Shown An entry that is a line of its own;
 *   `who` set which reaction. */
/**
 * @typedef {{cid: string, text: string, ts: number, replyTo?: number, seq?: number,
 *   refused?: string}} Outgoing
 */

/** Members that are asked for at first, and with each "Show more". */
export const ROSTER_PAGE = 100;
/** Entries kept of a conversation nobody looks at. */
const ENTRIES_IDLE_MAX = 200;
/** And of the open one, while its reader is at the newest. */
const ENTRIES_OPEN_MAX = 2000;
const CHANGES = new Set(['edit', 'delete', 'reaction']);
/** What is a line of its own; of a type younger than this page only the place is known. */
const SHOWN = new Set(['message', 'member', 'info']);

/** Before a peer's name, in place of an id. No id has a space. */
const BEGUN = 'to ';

let keys = 0;

/** One conversation; a direct chat that has no message yet has a peer and no id. */
export class Conversation {
    /** @param {string | null} conv @param {'direct'|'group'} kind */
    constructor(conv, kind) {
        this.key = `c${++keys}`; // Stays when a begun chat gets its id.
        this.conv = conv;
        this.kind = kind;
        this.title = '';
        this.peer = '';
        this.members = 2;
        /** @type {Member['role']} */
        this.role = 'member'; // Our own.
        this.roleSeq = 0; // As of this entry.
        this.head = 0;
        this.read = 0;
        this.unread = 0;
        this.activity = 0;
        /** @type {Entry | undefined} */
        this.last = undefined;
        this.isLoaded = false; // The newest page has been fetched.
        /** @type {Outgoing[]} */
        this.outgoing = [];
        this.draft = '';
        this.newFrom = 0; // Where the line "New messages" stands; 0: nowhere.
        /** @type {Map<number, Entry | null>} */
        this.quoted = new Map(); // What replies name and is not loaded; null: it is gone.
        /** @type {Member[]} */
        this.roster = []; // The first members.
        this.rosterWanted = ROSTER_PAGE; // How many of them one wants to see.
        /** @type {Shown[]} */
        this.entries = [];
        /** @type {Entry[]} */
        this.changes = [];
        this.oldest = Infinity;
        this.newest = 0;
        this.isComplete = false; // `oldest` is the first there is.
    }

    get name() {
        return this.kind === 'direct' ? this.peer || 'Chat' : this.title || 'Group';
    }

    /** What names it over a reload. */
    get place() {
        return this.conv ?? BEGUN + this.peer;
    }

    /** Forget what is loaded of the log. */
    dropEntries() {
        this.entries = [];
        this.changes = [];
        this.oldest = Infinity;
        this.newest = 0;
        this.isComplete = false;
    }

    /** Where in `entries` the first one from seq on stands. @param {number} seq */
    indexOf(seq) {
        let low = 0;
        let high = this.entries.length;
        while (low < high) {
            const middle = (low + high) >> 1;
            if (this.entries[middle].seq < seq) low = middle + 1;
            else high = middle;
        }
        return low;
    }

    /** @param {number | undefined} seq @returns {Shown | undefined} */
    find(seq) {
        if (seq === undefined) return undefined;
        const entry = this.entries[this.indexOf(seq)];
        return entry?.seq === seq ? entry : undefined;
    }

    /** The last message of `user` that can still be changed. @param {string} user */
    lastOf(user) {
        return this.entries.findLast(
            (entry) => entry.type === 'message' && entry.from === user && entry.deleted !== true,
        );
    }
}

/** Apply an edit, deletion or reaction. Again is no harm: a message read later than the change
 * bears it already. @param {Shown} message @param {Entry} change */
function applyChange(message, change) {
    const { seq, ts } = change;
    if (change.type === 'delete') {
        message.deleted = true;
        message.body = null;
    } else if (change.type === 'edit') {
        if (message.deleted || change.body === undefined || seq <= (message.edited?.seq ?? 0))
            return;
        message.body = change.body;
        message.edited = { seq, ts };
    } else if (change.emoji !== undefined) {
        message.who ??= new Map();
        const users = message.who.get(change.emoji) ?? new Set();
        if (change.on === false) users.delete(change.from);
        else users.add(change.from);
        message.who.set(change.emoji, users);
    }
}

export class ChatModel {
    constructor() {
        this.me = '';
        /** @type {Set<Conversation>} */
        this.all = new Set();
        /** @type {Map<string, Conversation>} */
        this.byConv = new Map();
        /** @type {Conversation | null} */
        this.open = null;
    }

    /** Logged out. */
    clear() {
        this.me = '';
        this.all.clear();
        this.byConv.clear();
        this.open = null;
    }

    /** Newest activity first. */
    sorted() {
        return [...this.all].sort(
            (a, b) => b.activity - a.activity || a.name.localeCompare(b.name),
        );
    }

    get unread() {
        return [...this.all].reduce((sum, conversation) => sum + conversation.unread, 0);
    }

    /** @param {string} peer */
    directWith(peer) {
        return [...this.all].find((c) => c.kind === 'direct' && c.peer === peer);
    }

    /** The direct chat with `peer`, begun here where there is none. @param {string} peer */
    startDirect(peer) {
        const known = this.directWith(peer);
        if (known !== undefined) return known;
        const conversation = new Conversation(null, 'direct');
        conversation.peer = peer;
        conversation.activity = Date.now();
        conversation.isLoaded = conversation.isComplete = true;
        this.all.add(conversation);
        return conversation;
    }

    /** @param {string} conv @param {'direct'|'group'} [kind] */
    ensure(conv, kind = 'group') {
        let conversation = this.byConv.get(conv);
        if (conversation === undefined) {
            conversation = new Conversation(conv, kind);
            this.byConv.set(conv, conversation);
            this.all.add(conversation);
        }
        return conversation;
    }

    /** @param {string} conv */
    forget(conv) {
        const conversation = this.byConv.get(conv);
        if (conversation === undefined) return;
        this.byConv.delete(conv);
        this.all.delete(conversation);
        if (this.open === conversation) this.open = null;
    }

    /* ---- The server's list ---- */

    /** Items come newest first; one without a message has its neighbour's time.
     * @param {ConversationItem[]} items */
    applyList(items) {
        let activity = 0;
        for (const item of [...items].reverse()) {
            const conversation = this.#claim(item);
            activity = Math.max(activity, item.last?.ts ?? 0);
            conversation.activity = Math.max(conversation.activity, activity);
            conversation.kind = item.kind;
            conversation.title = item.title ?? '';
            conversation.peer = item.peer ?? conversation.peer;
            conversation.members = item.members;
            if (item.role !== undefined && item.head >= conversation.roleSeq) {
                conversation.role = /** @type {Member['role']} */ (item.role);
                conversation.roleSeq = item.head;
            }
            // Live entries may have come while the list was on its way.
            const newer = conversation.entries.filter((entry) => entry.seq > item.head);
            if (conversation.read <= item.read)
                conversation.unread =
                    item.unread + newer.filter((entry) => this.#isUnread(entry)).length;
            conversation.read = Math.max(conversation.read, item.read);
            conversation.head = Math.max(conversation.head, item.head);
            if (item.last && item.last.seq >= (conversation.last?.seq ?? 0))
                conversation.last = conversation.find(item.last.seq) ?? item.last;
        }
    }

    /**
     * A direct chat begun here gets the id that the server has for it.
     * @param {ConversationItem} item
     */
    #claim(item) {
        const begun = [...this.all].find(
            (c) => c.conv === null && item.kind === 'direct' && c.peer === item.peer,
        );
        return begun !== undefined
            ? this.#name(begun, item.conv)
            : this.ensure(item.conv, item.kind);
    }

    /** @param {Conversation} begun @param {string} conv */
    #name(begun, conv) {
        const other = this.byConv.get(conv);
        if (other !== undefined && other !== begun) {
            // Its first entry was faster than what says that it is this one.
            other.outgoing.push(
                ...begun.outgoing.filter((out) => !other.entries.some((e) => e.cid === out.cid)),
            );
            other.key = begun.key;
            other.kind = 'direct';
            other.peer = begun.peer;
            other.draft ||= begun.draft;
            this.all.delete(begun);
            if (this.open === begun) this.open = other;
            return other;
        }
        begun.conv = conv;
        this.byConv.set(conv, begun);
        return begun;
    }

    /** A large conversation moved on without us: now, or earlier, when the list says.
     * @param {{conv: string, head: number, unread: number}} activity @param {boolean} isNew */
    applyActivity({ conv, head, unread }, isNew) {
        const conversation = this.ensure(conv);
        if (isNew && head > conversation.head) conversation.activity = Date.now();
        conversation.head = Math.max(conversation.head, head);
        conversation.unread = unread;
        return conversation;
    }

    /** Its last message, read from the log. @param {Conversation} conversation @param {Entry[]} page */
    applyLast(conversation, page) {
        const last = page.findLast((entry) => entry.type === 'message');
        if (last === undefined || last.seq < (conversation.last?.seq ?? 0)) return;
        conversation.last = last;
        conversation.activity = Math.max(conversation.activity, last.ts);
    }

    /* ---- Entries ---- */

    /** @param {Entry} entry */
    #isUnread(entry) {
        return entry.type === 'message' && entry.from !== this.me && entry.deleted !== true;
    }

    /** A live entry, in order. @param {Entry} entry */
    applyEntry(entry) {
        const conversation = this.ensure(entry.conv);
        const isNew = entry.seq > conversation.head;
        if (conversation.newest > 0 && entry.seq > conversation.newest + 1)
            conversation.dropEntries(); // We went without what lies between: the log has it.
        if (entry.seq > conversation.newest) this.#append(conversation, entry);
        this.#applyMeaning(conversation, entry);
        if (!isNew) return conversation;
        conversation.head = entry.seq;
        if (SHOWN.has(entry.type))
            conversation.activity = Math.max(conversation.activity, entry.ts);
        if (entry.seq > conversation.read && this.#isUnread(entry)) conversation.unread++;
        return conversation;
    }

    /** @param {Conversation} conversation @param {Entry} entry */
    #append(conversation, entry) {
        conversation.newest = entry.seq;
        conversation.oldest = Math.min(conversation.oldest, entry.seq);
        if (SHOWN.has(entry.type)) conversation.entries.push(entry);
        if (CHANGES.has(entry.type)) conversation.changes.push(entry);
        if (entry.seq === 1) conversation.isComplete = conversation.isLoaded = true;
        if (conversation !== this.open) this.#trim(conversation, ENTRIES_IDLE_MAX);
    }

    /** Its reader is at the newest message: a tab may be open for weeks. */
    trimOpen() {
        if (this.open !== null) this.#trim(this.open, ENTRIES_OPEN_MAX);
    }

    /** Seldom, and then by half. @param {Conversation} conversation @param {number} count */
    #trim(conversation, count) {
        const { entries } = conversation;
        if (entries.length <= 2 * count) return;
        entries.splice(0, entries.length - count);
        conversation.oldest = entries[0].seq;
        conversation.changes = conversation.changes.filter(({ seq }) => seq > entries[0].seq);
        conversation.isComplete = false; // But loaded: nothing is missing after the oldest.
    }

    /** @param {Conversation} conversation @param {Entry} entry */
    #applyMeaning(conversation, entry) {
        const isNew = entry.seq > conversation.head;
        if (entry.type === 'message') {
            if (entry.seq > (conversation.last?.seq ?? 0)) conversation.last = entry;
            conversation.outgoing = conversation.outgoing.filter(
                (out) => out.cid !== entry.cid || entry.from !== this.me,
            );
        } else if (CHANGES.has(entry.type)) {
            this.#change(conversation, entry);
        } else if (entry.type === 'info' && entry.title !== undefined && isNew) {
            conversation.title = entry.title ?? '';
        } else if (entry.type === 'member') {
            this.#applyMember(conversation, entry, isNew);
        }
    }

    /** @param {Conversation} conversation @param {Entry} entry @param {boolean} isNew */
    #applyMember(conversation, entry, isNew) {
        const { user, change, role = 'member', seq } = entry;
        if (user === this.me && change !== 'left' && seq > conversation.roleSeq) {
            conversation.role = /** @type {Member['role']} */ (role);
            conversation.roleSeq = seq;
        }
        if (change === 'role' || !isNew) return;
        const members = conversation.members + (change === 'joined' ? 1 : -1);
        conversation.members = Math.max(1, members);
    }

    /** @param {Conversation} conversation @param {Entry} change */
    #change(conversation, change) {
        const message = conversation.find(change.target);
        if (message?.type === 'message') applyChange(message, change);
        const { last, quoted } = conversation;
        if (last !== undefined && last.seq === change.target && last !== message)
            applyChange(last, change);
        const quote = quoted.get(change.target ?? 0);
        if (quote) applyChange(quote, change);
    }

    /**
     * A page of history from before what we have.
     * @param {Conversation} conversation
     * @param {Entry[]} page
     * @param {boolean} more
     */
    applyHistory(conversation, page, more) {
        const older = page.filter((entry) => entry.seq < conversation.oldest);
        const later = conversation.changes;
        conversation.entries.unshift(...older.filter((entry) => SHOWN.has(entry.type)));
        conversation.changes = [...older.filter((entry) => CHANGES.has(entry.type)), ...later];
        conversation.oldest = Math.min(conversation.oldest, older[0]?.seq ?? Infinity);
        conversation.newest = Math.max(conversation.newest, older.at(-1)?.seq ?? 0);
        for (const entry of older) this.#applyMeaning(conversation, entry);
        // What was known before may be about what came only now.
        for (const change of later)
            if ((change.target ?? 0) <= (older.at(-1)?.seq ?? 0))
                this.#change(conversation, change);
        conversation.isComplete = !more || conversation.oldest === 1;
        conversation.isLoaded = true;
    }

    /** True where it was not known. @param {Conversation} conversation @param {number} seq */
    markRead(conversation, seq) {
        if (seq <= conversation.read) return false;
        conversation.read = seq;
        if (seq >= conversation.head) conversation.unread = 0;
        else if (conversation.newest === conversation.head)
            conversation.unread = conversation.entries
                .slice(conversation.indexOf(seq + 1))
                .filter((entry) => this.#isUnread(entry)).length;
        return true;
    }

    /* ---- What we send ---- */

    /** @param {Conversation} conversation @param {Outgoing} out */
    addOutgoing(conversation, out) {
        conversation.outgoing.push(out);
        conversation.activity = Date.now();
    }

    /**
     * What a reload found in the outbox; changes of messages show nothing until they are made.
     * @param {any[]} pending
     */
    adoptPending(pending) {
        for (const { type, conv, to, cid, body, reply_to: replyTo } of pending) {
            if (type !== undefined && type !== 'send') continue;
            const conversation =
                conv !== undefined ? this.ensure(conv) : this.startDirect(to ?? '');
            if (!conversation.outgoing.some((out) => out.cid === cid))
                this.addOutgoing(conversation, {
                    cid,
                    text: bodyText(body),
                    ts: Date.now(),
                    replyTo,
                });
        }
    }

    /** An acknowledged send: an entry from now on, though its event may still be under way.
     * @param {{conv: string, cid: string, seq: number, ts: number}} sent */
    applySent({ conv, cid, seq, ts }) {
        const begun = [...this.all].find(
            (c) => c.conv === null && c.outgoing.some((out) => out.cid === cid),
        );
        const conversation = begun !== undefined ? this.#name(begun, conv) : this.byConv.get(conv);
        const out = conversation?.outgoing.find((item) => item.cid === cid);
        if (conversation === undefined || out === undefined) return;
        Object.assign(out, { seq, ts });
        conversation.activity = Math.max(ts, conversation.last?.ts ?? 0); // Till then by our clock.
    }

    /** @param {string} cid @param {string} why */
    refuse(cid, why) {
        for (const conversation of this.all)
            for (const out of conversation.outgoing) if (out.cid === cid) out.refused = why;
    }

    /**
     * A gap that is not paged here: what we have is no longer up to the head.
     * @param {string} conv
     */
    skipTo(conv) {
        const conversation = this.ensure(conv);
        conversation.dropEntries();
        conversation.isLoaded = false;
    }

    /** Drafts by place, to be kept over a reload. */
    get drafts() {
        return Object.fromEntries(
            [...this.all]
                .filter(({ draft }) => draft !== '')
                .map(({ place, draft }) => [place, draft]),
        );
    }

    /** One that was begun without a message is begun again.
     * @param {Record<string, string>} drafts */
    restoreDrafts(drafts) {
        for (const [place, draft] of Object.entries(drafts)) {
            const conversation = place.startsWith(BEGUN)
                ? this.startDirect(place.slice(BEGUN.length))
                : this.byConv.get(place);
            if (conversation !== undefined) conversation.draft ||= draft;
        }
    }

    /** Where it is over a reload. @param {string} place */
    at(place) {
        return place.startsWith(BEGUN)
            ? this.directWith(place.slice(BEGUN.length))
            : this.byConv.get(place);
    }
}
