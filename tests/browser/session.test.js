// session.test - the way out and what may be lost on it: log out, what waits while offline, what
// was refused, and being removed from a group.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { until } from '../integration/cluster.js';
import {
    bubbles,
    choose,
    closeAll,
    cluster,
    isOnline,
    logIn,
    messageOf,
    names,
    openRow,
    removeMember,
    react,
    rowOf,
    sees,
    shot,
    startChat,
    startGroup,
    tickOf,
    useCluster,
    waitForText,
    write,
} from './page.js';

useCluster();

/** What the browser itself asked; each time the person stays. */
function dialogsOf(page) {
    const dialogs = [];
    page.on('dialog', (dialog) => {
        dialogs.push(dialog.type());
        void dialog.dismiss();
    });
    return dialogs;
}

async function logOut(page) {
    await page.locator('#me').click();
    await page.getByRole('menuitem', { name: 'Log out' }).click();
}

test('who logs out offline is asked once, and is at the login then, all else gone', async () => {
    const [alice, bob, carol] = names('alice', 'bob', 'carol');
    const a = await logIn(alice);
    const dialogs = dialogsOf(a);
    await startChat(a, bob);
    await write(a, 'before');
    await tickOf(a, 'before', 'sent');
    await a.context().setOffline(true);
    await a.locator('#banner', { hasText: 'offline' }).waitFor();
    await write(a, 'a secret');
    await a.locator('#text').fill('and a draft');
    await logOut(a);
    await a.locator('#ask-text', { hasText: '1 message was not sent.' }).waitFor();
    await a.locator('#ask-dialog').getByRole('button', { name: 'Cancel' }).click();
    assert.ok(await a.locator('#app').isVisible());
    await logOut(a);
    await a.locator('#ask-yes').click();
    await a.getByLabel('Your name').waitFor();
    await a.waitForTimeout(400);
    assert.deepEqual(dialogs, []);
    assert.equal(await a.evaluate(() => sessionStorage.length), 0);
    assert.doesNotMatch(await a.locator('body').innerText(), /secret|before/);
    assert.equal(await a.locator('#text').inputValue(), '');
    await shot(a, 'desk-logged-out');
    await a.context().setOffline(false);
    await a.getByLabel('Your name').fill(carol);
    await a.keyboard.press('Enter');
    await isOnline(a);
    assert.equal(await a.locator('.row').count(), 0);
    await startChat(a, alice);
    await write(a, 'from another');
    await tickOf(a, 'from another', 'sent');
    assert.deepEqual(await bubbles(a), ['from another']);
    await logOut(a);
    await a.getByLabel('Your name').fill(alice);
    await a.keyboard.press('Enter');
    await rowOf(a, carol).waitFor();
    await openRow(a, bob);
    await waitForText(a, 'before');
    assert.deepEqual(await bubbles(a), ['before']);
    await closeAll(a);
});

test('while nobody answers one need not wait for the next attempt', async () => {
    const [alice] = names('alice');
    const a = await logIn(alice);
    let isOpen = true;
    let refused = 0;
    await a.addInitScript(() => (Math.random = () => 0.999)); // The longest waits: 1, 2, 4 s.
    await a.routeWebSocket(/\/ws/, (socket) => {
        if (isOpen) return socket.connectToServer();
        refused++;
        return socket.close({ code: 1011 });
    });
    await a.reload();
    await a.locator('#me-state', { hasText: 'Online' }).waitFor();
    isOpen = false;
    await a.context().setOffline(true);
    await a.locator('#banner', { hasText: 'offline' }).waitFor();
    assert.equal(await a.locator('#banner button').isVisible(), false);
    await a.context().setOffline(false);
    await until('it waits for four seconds', () => refused === 3);
    const since = Date.now();
    await a.locator('#banner', { hasText: 'Connecting' }).waitFor();
    await shot(a, 'desk-try-now');
    isOpen = true;
    await a.locator('#banner').getByRole('button', { name: 'Try now' }).click();
    await a.locator('#banner').waitFor({ state: 'hidden' });
    assert.ok(Date.now() - since < 3500, 'it did not wait for its own next attempt');
    await closeAll(a);
});

test('edits, deletions and reactions that wait are counted, and asked about', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    await startChat(a, bob);
    await write(a, 'one', 'two');
    await tickOf(a, 'two', 'sent');
    await a.context().setOffline(true);
    await a.locator('#banner', { hasText: 'offline' }).waitFor();
    await react(a, 'one', '👍');
    await a.locator('#banner', { hasText: '1 change waits to be sent' }).waitFor();
    await choose(a, 'two', 'Edit');
    await write(a, 'two and a half');
    await write(a, 'three');
    const waits = '1 message and 2 changes wait to be sent';
    await a.locator('#banner', { hasText: waits }).waitFor();
    await logOut(a);
    await a.locator('#ask-text', { hasText: '1 message and 2 changes were not' }).waitFor();
    await shot(a, 'desk-ask-changes');
    await a.locator('#ask-dialog').getByRole('button', { name: 'Cancel' }).click();
    await a.context().setOffline(false);
    await waitForText(a, 'two and a half');
    await messageOf(a, 'one').locator('.reaction').waitFor();
    await a.locator('#banner').waitFor({ state: 'hidden' });
    await closeAll(a);
});

test('who is removed from the group in view is told so, and is in the list again', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await startChat(b, alice);
    await write(b, 'hi');
    await startGroup(a, 'Council', bob);
    await openRow(b, 'Council');
    await b.getByRole('button', { name: 'Members', exact: true }).click();
    await a.getByRole('button', { name: 'Members', exact: true }).click();
    await removeMember(a, bob);
    await b.locator('#toast', { hasText: 'You are no longer in Council.' }).waitFor();
    await b.locator('#chat-empty').waitFor();
    await sees(b, () => document.activeElement?.matches('.row'));
    await shot(b, 'desk-removed');
    assert.equal(await b.locator('dialog[open]').count(), 0);
    await closeAll(a, b);
});

test('who was removed while offline is told what was not sent', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await startGroup(a, 'Quorum', bob);
    await openRow(b, 'Quorum');
    await b.context().setOffline(true);
    await b.locator('#banner', { hasText: 'offline' }).waitFor();
    await write(b, 'one', 'two');
    await a.getByRole('button', { name: 'Members', exact: true }).click();
    await removeMember(a, bob);
    await a.locator('#members-count', { hasText: /^1 member$/ }).waitFor();
    await b.context().setOffline(false);
    const told = 'You are no longer in Quorum. 2 messages were not sent.';
    await b.locator('#toast', { hasText: told }).waitFor();
    await rowOf(b, 'Quorum').waitFor({ state: 'detached' });
    await closeAll(a, b);
});

test('a message that was refused can be sent again, copied, and taken back', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    await a.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await startChat(a, bob);
    const text = `too long ${'x'.repeat(140000)}`;
    await write(a, text);
    await a.locator('.refused', { hasText: 'Not sent' }).waitFor();
    await messageOf(a, 'too long').locator('.tick-failed').waitFor();
    await a.getByRole('button', { name: 'Try again' }).click();
    await a.locator('.refused', { hasText: 'Not sent' }).waitFor();
    assert.equal(await a.locator('.message').count(), 1);
    await a.locator('.refused').scrollIntoViewIfNeeded();
    await shot(a, 'desk-refused');
    await a.getByRole('button', { name: 'Copy', exact: true }).click();
    await sees(a, async (t) => (await navigator.clipboard.readText()) === t, text);
    await a.getByRole('button', { name: 'Discard' }).click();
    assert.equal(await a.locator('.message').count(), 0);
    assert.equal(await a.locator('#text').inputValue(), text);
    await sees(a, () => document.activeElement?.id === 'text');
    await write(a, text);
    await a.locator('.refused', { hasText: 'Not sent' }).waitFor();
    await a.locator('#text').fill('something else');
    await a.getByRole('button', { name: 'Discard' }).click();
    assert.equal(await a.locator('#text').inputValue(), 'something else');
    await a.keyboard.press('Enter');
    await tickOf(a, 'something else', 'sent');
    assert.deepEqual(await bubbles(a), ['something else']);
    await closeAll(a);
});

test('a copied tab takes over, and the first can do nothing but take it back', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    await startChat(a, bob);
    await write(a, 'hi');
    await a.locator('#me').click(); // What lies over the page is out of the way then.
    const stored = await a.evaluate(() => ({ ...sessionStorage }));
    const copy = await a.context().newPage();
    await copy.addInitScript(
        (items) =>
            Object.entries(items).forEach(([key, value]) => sessionStorage.setItem(key, value)),
        stored,
    );
    await copy.goto(`${cluster.http(1)}/`);
    await a.getByRole('button', { name: 'Use here' }).waitFor();
    assert.equal(await a.locator('#me-menu').isVisible(), false);
    for (const key of ['Tab', 'Tab', 'Shift+Tab']) {
        await a.keyboard.press(key);
        assert.equal(await a.locator('#app :focus').count(), 0);
    }
    await a.keyboard.press('Escape');
    assert.equal(await a.locator('#chat-title').textContent(), bob);
    await shot(a, 'desk-replaced');
    await a.getByRole('button', { name: 'Use here' }).click();
    await a.locator('#fatal').waitFor({ state: 'hidden' });
    await isOnline(a);
    await write(a, 'and on');
    await tickOf(a, 'and on', 'sent');
    await copy.getByRole('button', { name: 'Use here' }).waitFor();
    await closeAll(a);
});

// The last: it takes a gateway away from the others.
test('when the gateway of the page dies it goes on at another, with everything', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await startChat(a, bob);
    await write(a, 'before');
    await tickOf(a, 'before', 'delivered');
    await cluster.kill('g1');
    await write(a, 'meanwhile');
    await openRow(b, alice);
    await write(b, 'from the other');
    await waitForText(a, 'from the other');
    await tickOf(a, 'meanwhile', 'read');
    await isOnline(a);
    await closeAll(a, b);
});
