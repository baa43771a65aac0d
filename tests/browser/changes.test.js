// changes.test - what becomes of a message: replies, reactions, edits, deletion, and that everyone
// sees it.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
    bubbles,
    choose,
    closeAll,
    logIn,
    messageOf,
    names,
    openRow,
    react,
    rowOf,
    shot,
    startChat,
    startGroup,
    tickOf,
    useCluster,
    waitForText,
    write,
    writeMany,
} from './page.js';

useCluster();

/** Two people in one chat, each with the other's first message. */
async function twoInAChat(...options) {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice, options[0]);
    const b = await logIn(bob, { gateway: 2, ...options[1] });
    await startChat(a, bob);
    await write(a, 'Hello');
    await openRow(b, alice);
    await waitForText(b, 'Hello');
    return { a, b, alice, bob };
}

test('a reply quotes what it answers, and the quote leads there', async () => {
    const { a, b, alice, bob } = await twoInAChat();
    await writeMany(a, bob, 'filler', 40);
    await tickOf(a, 'filler 39', 'read');
    await write(a, 'What about Thursday?');
    await waitForText(b, 'Thursday');
    await choose(b, 'Hello', 'Reply');
    await b.locator('#composer-about', { hasText: `Reply to ${alice}` }).waitFor();
    await write(b, 'Hello yourself');
    const quote = messageOf(a, 'Hello yourself').locator('.quote');
    await quote.waitFor();
    assert.match(await quote.textContent(), /You.*Hello/);
    await shot(a, 'desk-reply');
    await quote.click();
    await a.locator('.message.flash', { hasText: 'Hello' }).waitFor();
    const isInView = await messageOf(a, 'Hello').evaluate((node) => {
        const { top, bottom } = node.getBoundingClientRect();
        return top >= 0 && bottom <= innerHeight;
    });
    assert.ok(isInView, 'the message is in view');
    await closeAll(a, b);
});

test('reactions are counted, say whose they are, and can be taken back', async () => {
    const { a, b, alice, bob } = await twoInAChat();
    await react(b, 'Hello', '👍');
    const chip = (page) => messageOf(page, 'Hello').locator('.reaction');
    await chip(a).waitFor();
    assert.equal(await chip(a).getAttribute('aria-pressed'), 'false');
    await chip(a).click();
    await chip(b).locator('.count', { hasText: '2' }).waitFor();
    assert.equal(await chip(b).getAttribute('title'), `${bob}, ${alice}`);
    await shot(b, 'desk-reaction');
    await a.reload();
    await chip(a).locator('.count', { hasText: '2' }).waitFor();
    assert.equal(await chip(a).getAttribute('aria-pressed'), 'true');
    await chip(a).click();
    await chip(b).locator('.count', { hasText: '1' }).waitFor();
    await chip(b).click();
    await chip(a).waitFor({ state: 'detached' });
    await closeAll(a, b);
});

test('an edit is seen by the other, with its mark, and in the list', async () => {
    const { a, b, alice } = await twoInAChat();
    await choose(a, 'Hello', 'Edit');
    await a.locator('#composer-about', { hasText: 'Edit message' }).waitFor();
    await a.locator('#text').fill('Hello, world');
    await a.keyboard.press('Enter');
    await waitForText(b, 'Hello, world');
    await messageOf(b, 'Hello, world').locator('.edited').waitFor();
    await rowOf(b, alice).locator('.row-text', { hasText: 'Hello, world' }).waitFor();
    assert.deepEqual(await bubbles(a), ['Hello, world']);
    assert.equal(await a.locator('#text').inputValue(), '');
    await b.reload();
    await messageOf(b, 'Hello, world').locator('.edited').waitFor();
    await messageOf(b, 'Hello').click({ button: 'right' });
    assert.equal(await b.getByRole('menuitem', { name: 'Edit' }).count(), 0);
    await closeAll(a, b);
});

test('a deleted message leaves a mark and nothing of its text', async () => {
    const { a, b, alice } = await twoInAChat();
    await write(a, 'a secret');
    await waitForText(b, 'a secret');
    await react(b, 'a secret', '😮');
    await messageOf(a, 'a secret').locator('.reaction').waitFor();
    await choose(a, 'a secret', 'Delete');
    await a.locator('#ask-yes').click();
    for (const page of [a, b]) {
        await page.locator('.bubble.deleted', { hasText: 'Message deleted' }).waitFor();
        assert.doesNotMatch(await page.locator('#app').textContent(), /a secret/);
        assert.equal(await page.locator('.reaction').count(), 0);
    }
    await rowOf(b, alice).locator('.row-text', { hasText: 'Message deleted' }).waitFor();
    await shot(b, 'desk-deleted');
    await b.reload();
    await b.locator('.bubble.deleted').waitFor();
    await closeAll(a, b);
});

test('in a group its owner may delete what another wrote, a member may not', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await startGroup(a, 'Rules', bob);
    await write(a, 'from the owner');
    await openRow(b, 'Rules');
    await write(b, 'from a member');
    await waitForText(a, 'from a member');
    await messageOf(b, 'from the owner').click({ button: 'right' });
    assert.equal(await b.getByRole('menuitem', { name: 'Delete' }).count(), 0);
    await b.keyboard.press('Escape');
    await choose(a, 'from a member', 'Delete');
    await a.locator('#ask-yes').click();
    await b.locator('.bubble.deleted').waitFor();
    await closeAll(a, b);
});
