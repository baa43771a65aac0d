// chat_drafts - drafts over a reload: kept in the tab, and put back once.
//
// Only once a page: what is kept lags behind what is written by a moment, so later it would bring
// back what was sent meanwhile.

/** @typedef {import('./chat_model.js').ChatModel} ChatModel */

const KEY = 'chatmesh.drafts';
const KEEP_MS = 300;

export class Drafts {
    /** @param {ChatModel} model */
    constructor(model) {
        this.model = model;
        this.timer = 0;
        /** @type {Record<string, string>} */
        this.kept = JSON.parse(sessionStorage.getItem(KEY) ?? '{}'); // By an earlier page.
    }

    /** The list is there: so are the conversations that they belong to. */
    restore() {
        this.model.restoreDrafts(this.kept);
        this.kept = {};
    }

    keepSoon() {
        clearTimeout(this.timer);
        this.timer = window.setTimeout(() => this.keep(), KEEP_MS);
    }

    /** With those that have not been put back yet. */
    keep() {
        clearTimeout(this.timer);
        sessionStorage.setItem(KEY, JSON.stringify({ ...this.kept, ...this.model.drafts }));
    }

    /** Logged out: nothing is kept. */
    stop() {
        clearTimeout(this.timer);
        this.kept = {};
    }
}
