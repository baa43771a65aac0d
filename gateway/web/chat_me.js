// chat_me - oneself: name, status and connection at the head of the list, and the menu behind it.

import { avatar, byId, orToast } from './chat_dom.js';
import { heading, Menu, themeChoices } from './chat_menu.js';
import { waitingText } from './chat_text.js';

/** @typedef {import('./client.js').ChatmeshClient} ChatmeshClient */
/** @typedef {import('./chat_people.js').People} People */
/**
 * @typedef {{client: () => ChatmeshClient, logOut: () => void, lost: () => void}} Ports
 */

const BANNER_AFTER_MS = 700; // A reconnect shorter than this is nobody's business.

/** @type {[import('./client.js').OwnStatus, string][]} */
const STATUSES = [
    ['online', 'Online'],
    ['away', 'Away'],
    ['busy', 'Do not disturb'],
];

const BANNERS = ['banner', 'chat-banner'];

/** @param {string} id */
function partsOf(id) {
    const banner = byId(id);
    const [words, retry] = /** @type {HTMLElement[]} */ ([...banner.children]);
    return { banner, words, retry };
}

export class Me {
    /** @param {People} people @param {Ports} ports */
    constructor(people, ports) {
        this.people = people;
        this.ports = ports;
        this.name = '';
        this.isBannerDue = false;
        this.bannerTimer = 0;
        this.menu = new Menu(byId('me-menu'));
        byId('me').addEventListener('click', () => this.#openMenu());
        for (const { retry } of BANNERS.map(partsOf))
            retry.addEventListener('click', () => void ports.client().connect().catch(() => {}));
    }

    /** @param {string} name */
    show(name) {
        this.name = name;
        byId('me-name').textContent = name;
    }

    /** Logged out. */
    clear() {
        clearTimeout(this.bannerTimer);
        this.isBannerDue = false;
    }

    /** @param {boolean} isOnline */
    onState(isOnline) {
        clearTimeout(this.bannerTimer);
        this.isBannerDue &&= !isOnline;
        if (isOnline) return;
        this.bannerTimer = window.setTimeout(
            () => {
                this.isBannerDue = true;
                this.ports.lost();
            },
            navigator.onLine ? BANNER_AFTER_MS : 0,
        );
    }

    #openMenu() {
        const mine = this.people.statusOf(this.name) ?? 'online';
        this.menu.open(byId('me'), byId('me').getBoundingClientRect(), [
            heading('Status'),
            ...STATUSES.map(([status, label]) => ({
                label,
                isOn: mine === status,
                act: () => orToast(this.ports.client().setStatus(status)),
            })),
            heading('Appearance'),
            ...themeChoices(),
            heading('Account'),
            { label: 'Log out', icon: 'out', act: this.ports.logOut },
        ]);
    }

    /** @param {ChatmeshClient} client */
    draw(client) {
        const isOnline = client.state === 'online';
        // Our own presence is told late, or not at all by a server under load.
        const status = this.people.isOnline(this.name) ? this.people.statusOf(this.name) : 'online';
        const words = this.people.isOnline(this.name) ? this.people.textOf(this.name) : 'Online';
        byId('me-avatar').replaceChildren(avatar(this.name, '', isOnline ? status : null));
        byId('me-state').textContent = isOnline ? words : this.#away;
        const waiting = waitingText(client.pending.length, client.pendingChanges.length);
        const text = `${navigator.onLine ? 'Connecting…' : 'You are offline.'} ${waiting}`;
        for (const { banner, words, retry } of BANNERS.map(partsOf)) {
            banner.hidden = isOnline || !this.isBannerDue;
            if (!banner.hidden && words.textContent !== text) words.textContent = text;
            retry.hidden = client.state !== 'waiting' || !navigator.onLine;
        }
    }

    get #away() {
        return navigator.onLine ? 'Connecting…' : 'Offline';
    }
}
