// chat_places - what the page asks the server for: the list, pages of history, members, receipts;
// each at most once at a time. What fails is asked again by the next scroll or welcome.

import { byId, toast } from './chat_dom.js';
import { isFirstLineCut } from './chat_window.js';
import { ChatmeshError } from './client.js';

/** @typedef {import('./client.js').ChatmeshClient} ChatmeshClient */
/** @typedef {import('./chat_model.js').ChatModel} ChatModel */
/** @typedef {import('./chat_model.js').Conversation} Conversation */

const HISTORY_PAGE = 50;
const REACH_PAGE = 500;
const REACH_PAGES_MAX = 40;
const LIST_PAGES_MAX = 10;
const MEMBERS_MAX = 500;
const LAST_EVERY_MS = 3000;
const RECEIPTS_ROWS = 30;

/** @param {unknown} error */
const warn = (error) => console.warn('chatmesh:', error);

export class Places {
    /** @param {ChatModel} model @param {() => ChatmeshClient} client @param {() => void} changed */
    constructor(model, client, changed) {
        this.model = model;
        this.getClient = client;
        this.changed = changed;
        this.isListLoading = false;
        this.isListStale = false;
        this.isLoadingOlder = false;
        /** @type {string | null} */
        this.shown = null;
        /** @type {Set<Conversation>} */
        this.lastWanted = new Set();
        /** @type {Map<Conversation, {isStale: boolean, done: Promise<void>}>} */
        this.rosters = new Map(); // Those under way.
    }

    get client() {
        return this.getClient();
    }

    /** Logged out: what is under way ends with the client. */
    clear() {
        this.shown = null;
        this.lastWanted.clear();
    }

    /** The whole list, page by page; asked again while it loads, it loads once more. False: that is
     * still under way, or failed. */
    async loadList() {
        this.isListStale = true;
        if (this.isListLoading) return false;
        this.isListLoading = true;
        try {
            while (this.isListStale) {
                this.isListStale = false;
                this.model.applyList(await this.#fetchList());
            }
        } catch (error) {
            warn(error);
            return false;
        } finally {
            this.isListLoading = false;
        }
        const { me, open } = this.model;
        const unsure = this.model.sorted().filter((one) => one === open || one.last?.from === me);
        for (const one of unsure.slice(0, RECEIPTS_ROWS)) void this.loadReceipts(one);
        return true;
    }

    /** Where the one that a page ended with left the list meanwhile, it is short, and stale. */
    async #fetchList() {
        const items = [];
        let page = await this.client.conversations();
        items.push(...page.conversations);
        try {
            for (let n = 1; page.more && page.conversations.length > 0 && n < LIST_PAGES_MAX; n++) {
                page = await this.client.conversations({ after: items[items.length - 1].conv });
                items.push(...page.conversations);
            }
        } catch (error) {
            if (!(error instanceof ChatmeshError) || error.code !== 'not_found') throw error;
            this.isListStale = true;
        }
        return items;
    }

    /** A page of history from before what is there, a large one where much of it is one line.
     * False: there is none, or not now.
     * @param {Conversation} conversation @param {number} [limit] */
    async loadOlder(
        conversation,
        limit = isFirstLineCut(conversation) ? REACH_PAGE : HISTORY_PAGE,
    ) {
        if (conversation.conv === null || conversation.isComplete || this.isLoadingOlder)
            return false;
        this.isLoadingOlder = true;
        byId('older').hidden = !conversation.isLoaded;
        try {
            const { oldest } = conversation;
            const range = oldest < Infinity ? { before: oldest, limit } : { limit };
            const page = await this.client.history(conversation.conv, range);
            this.model.applyHistory(conversation, page.entries, page.more);
            return true;
        } catch (error) {
            warn(error);
            return false;
        } finally {
            this.isLoadingOlder = false;
            byId('older').hidden = true;
        }
    }

    /** Load back to a message of the open conversation. False where that is not possible.
     * @param {number} seq */
    async reach(seq) {
        const conversation = this.model.open;
        if (conversation === null) return false;
        for (let n = 0; n < REACH_PAGES_MAX && conversation.oldest > seq; n++)
            if (!(await this.loadOlder(conversation, REACH_PAGE))) break;
        const isThere = conversation.find(seq) !== undefined;
        if (!isThere) toast('That message is no longer there.');
        return isThere;
    }

    /** The message that a reply names. @param {number} seq */
    async loadQuote(seq) {
        const conversation = this.model.open;
        if (conversation === null || conversation.conv === null) return;
        conversation.quoted.set(seq, null); // Asked for: not twice.
        try {
            const range = { before: seq + 1, limit: 1 };
            const { entries } = await this.client.history(conversation.conv, range);
            const message = entries.find((entry) => entry.seq === seq && entry.type === 'message');
            if (message !== undefined) conversation.quoted.set(seq, message);
        } catch (error) {
            warn(error);
        }
        this.changed();
    }

    /** The newest message of a large conversation, for its line in the list; not for each one that
     * comes. @param {Conversation} conversation */
    loadLast(conversation) {
        const { conv } = conversation;
        if (conv === null || this.lastWanted.has(conversation)) return;
        this.lastWanted.add(conversation);
        setTimeout(async () => {
            this.lastWanted.delete(conversation);
            try {
                const { entries } = await this.client.history(conv, { limit: 10 });
                this.model.applyLast(conversation, entries);
            } catch (error) {
                warn(error);
            }
            this.changed();
        }, LAST_EVERY_MS);
    }

    /** How far our newest message came: from before this connection only the server knows.
     * @param {Conversation} conversation */
    async loadReceipts(conversation) {
        const { conv, last } = conversation;
        const ours = last?.from === this.model.me ? last : conversation.lastOf(this.model.me);
        if (conv === null || ours === undefined) return;
        if (this.client.statusOf(conv, ours.seq).status === 'read') return;
        try {
            await this.client.receipts(conv, ours.seq);
            this.changed();
        } catch (error) {
            warn(error);
        }
    }

    /** The first members of a group: as many as one wants to see, and as they are now. Asked
     * again while it loads, it loads once more. @param {Conversation} conversation */
    async loadRoster(conversation) {
        const known = this.rosters.get(conversation);
        if (known !== undefined) {
            known.isStale = true;
            return known.done;
        }
        const loading = { isStale: true, done: Promise.resolve() };
        this.rosters.set(conversation, loading);
        loading.done = this.#loadRoster(conversation, loading);
        return loading.done;
    }

    /** @param {Conversation} conversation @param {{isStale: boolean}} loading */
    async #loadRoster(conversation, loading) {
        const { conv } = conversation;
        try {
            while (loading.isStale && conv !== null) {
                loading.isStale = false;
                /** @type {import('./client.js').Member[]} */
                const roster = [];
                let more = true;
                while (more && roster.length < conversation.rosterWanted) {
                    const left = conversation.rosterWanted - roster.length;
                    const limit = Math.min(MEMBERS_MAX, left);
                    const after = roster.at(-1)?.user;
                    const page = await this.client.members(conv, { after, limit });
                    roster.push(...page.members);
                    conversation.members = page.total;
                    more = page.more && page.members.length > 0;
                }
                conversation.roster = roster;
            }
        } finally {
            this.rosters.delete(conversation);
        }
        this.changed();
    }

    /** A large conversation streams its entries only while it is shown; of any we learn who types.
     * @param {string | null} conv */
    showOnly(conv) {
        if (conv === this.shown) return;
        if (this.shown !== null) this.client.close(this.shown)?.catch(warn);
        this.shown = conv;
        if (conv !== null) this.client.open(conv).catch(warn);
    }
}
