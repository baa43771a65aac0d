// words.test - names and texts of any script and length: which way they are read, how long a name
// may be, and what is no name at all.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
    browser,
    bubbles,
    closeAll,
    cluster,
    DESK,
    isOnline,
    logIn,
    messageOf,
    names,
    openRow,
    overflow,
    PHONE,
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

/** How far the first line of the text is from both sides of its bubble. */
const sides = (locator) =>
    locator.evaluate((node) => {
        const range = document.createRange();
        range.selectNodeContents(node.querySelector('.text'));
        const rects = [...range.getClientRects()];
        const line = rects.filter(({ bottom }) => bottom === rects[0].bottom);
        const box = node.getBoundingClientRect();
        return {
            left: Math.min(...line.map((rect) => rect.left)) - box.left,
            right: box.right - Math.max(...line.map((rect) => rect.right)),
        };
    });

test('Hebrew and Arabic begin at the right, in the message, the list and the field', async () => {
    const [alice, bob] = names('alice', 'דנה');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await startChat(a, bob);
    await write(a, 'Hello, this is the longest of the messages, written from the left!');
    await write(
        a,
        'שלום עולם, מה שלומך היום? abc!',
        'שלום!\nand English below it, somewhat longer.',
    );
    await tickOf(a, 'and English', 'delivered');
    await openRow(b, alice);
    await waitForText(b, 'and English');
    await write(b, 'مرحبا، كيف حالك؟');
    await tickOf(b, 'مرحبا', 'read');
    await shot(a, 'desk-right-to-left');
    const bubble = (text) => messageOf(a, text).locator('.bubble');
    const hebrew = await sides(bubble('abc!'));
    assert.ok(hebrew.right < hebrew.left, 'it begins at the right, the time is at its left');
    const mixed = await sides(bubble('and English'));
    assert.ok(mixed.right < 20, 'each paragraph begins on its own side');
    const english = await sides(bubble('Hello, this'));
    assert.ok(english.left < 20);
    const direction = (locator) => locator.evaluate((node) => getComputedStyle(node).direction);
    assert.equal(await direction(rowOf(b, alice).locator('.row-text')), 'rtl');
    await a.locator('#text').fill('שלום');
    assert.equal(await direction(a.locator('#text')), 'rtl');
    await closeAll(a, b);
});

test('names of either direction stand alone in what happened', async () => {
    const [alice, bob] = names('alice', 'דנה');
    const a = await logIn(alice);
    await startGroup(a, 'שלום', bob);
    await a.locator('.event', { hasText: `${alice} added ${bob}` }).waitFor();
    await a.locator('.event', { hasText: 'named the group' }).waitFor();
    const alone = await a.locator('.event bdi').allTextContents();
    assert.deepEqual(alone.sort(), [alice, alice, alice, bob, 'שלום'].sort());
    await shot(a, 'desk-right-to-left-group');
    await closeAll(a);
});

test('a name may have 128 bytes, and a longer one is refused in words', async () => {
    const [stem] = names('n');
    const long = stem.padEnd(128, 'x');
    const page = await (await browser.newContext({ ...DESK, locale: 'en-GB' })).newPage();
    await page.goto(`${cluster.http(1)}/`);
    await page.getByLabel('Your name').focus();
    await page.keyboard.insertText(`${long}y`);
    await page.keyboard.press('Enter');
    await page.locator('#login-error', { hasText: '129 bytes, of at most 128' }).waitFor();
    await shot(page, 'desk-long-name');
    await page.keyboard.press('Backspace');
    await page.keyboard.press('Enter');
    await isOnline(page);
    assert.equal(await page.locator('#me-name').textContent(), long);
    await page.getByRole('button', { name: 'New chat' }).click();
    const other = `${'ü'.repeat(63)}${stem}`;
    await page.keyboard.insertText(`${other}üü`);
    await page.keyboard.press('Enter');
    await page.locator('#direct-dialog .form-error', { hasText: 'too long' }).waitFor();
    await page.locator('#direct-name').fill(other);
    await page.keyboard.press('Enter');
    await page.locator('#chat-title', { hasText: other }).waitFor();
    await startGroup(page, 'Long names', other);
    await page.getByRole('button', { name: 'Members', exact: true }).click();
    await page.getByLabel('Add people').fill(`carol, ${'c'.repeat(129)}`);
    await page.getByRole('button', { name: 'Add', exact: true }).click();
    await page.locator('#members-dialog .form-error', { hasText: 'too long' }).waitFor();
    assert.equal(await page.locator('.member').count(), 2);
    await closeAll(page);
});

test('an empty search starts nothing, nor does one for oneself', async () => {
    const [alice] = names('alice');
    const a = await logIn(alice);
    const search = a.getByLabel('Search conversations');
    await search.focus();
    await a.keyboard.press('Enter');
    await a.waitForTimeout(100);
    assert.ok(await a.locator('#chat-empty').isVisible());
    await search.fill(alice);
    await a.locator('#start-direct', { hasText: 'That is you.' }).waitFor();
    await a.keyboard.press('Enter');
    await a.waitForTimeout(100);
    assert.ok(await a.locator('#chat-empty').isVisible());
    assert.equal(await a.locator('.row').count(), 0);
    await closeAll(a);
});

test('the title in the dialog is as others name the group, and may be taken away', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await startGroup(a, 'First', bob);
    await openRow(b, 'First');
    await b.getByRole('button', { name: 'Members', exact: true }).click();
    await a.getByRole('button', { name: 'Members', exact: true }).click();
    await a.getByLabel('Title').last().fill('Second');
    await a.keyboard.press('Tab');
    await sees(b, () => document.getElementById('edit-title').value === 'Second');
    await a.locator('#edit-title').fill('');
    await a.keyboard.press('Tab');
    await a.locator('#chat-title', { hasText: 'Group' }).waitFor();
    await rowOf(b, 'Group').waitFor();
    await sees(b, () => document.getElementById('edit-title').value === '');
    await b.locator('.event', { hasText: 'took the group’s name away' }).waitFor();
    await a.getByLabel(`Role of ${bob}`).selectOption('admin');
    await b.locator('#manage').waitFor();
    await b.locator('#edit-title').focus();
    await b.keyboard.type('Thi'); // Not yet done: what others do leaves it.
    await a.locator('#edit-title').fill('Fourth');
    await a.keyboard.press('Enter');
    await b.locator('#chat-title', { hasText: 'Fourth' }).waitFor();
    await b.keyboard.type('rd');
    await b.keyboard.press('Tab');
    await a.locator('#chat-title', { hasText: 'Third' }).waitFor();
    await sees(a, () => document.getElementById('edit-title').value === 'Third');
    await closeAll(a, b);
});

test('links are reached from their message, and the arrows go on from them', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    await startChat(a, bob);
    await write(a, 'one', 'see https://example.org/1', 'see https://example.org/2', 'last');
    await tickOf(a, 'last', 'sent');
    const focused = () => a.evaluate(() => document.activeElement?.textContent ?? '');
    await a.locator('#scroller').focus();
    await a.keyboard.press('Tab'); // Past all of them.
    await sees(a, () => document.activeElement?.id === 'text');
    await a.locator('#scroller').focus();
    await a.keyboard.press('ArrowUp');
    await a.keyboard.press('ArrowUp');
    await a.keyboard.press('Tab');
    assert.equal(await focused(), 'https://example.org/2');
    await a.keyboard.press('ArrowUp');
    assert.match(await focused(), /example\.org\/1/);
    await a.keyboard.press('Tab');
    assert.equal(await focused(), 'https://example.org/1');
    await a.keyboard.press('Home');
    assert.match(await focused(), /one/);
    await closeAll(a);
});

test('on a phone the arrow back is a step back, and is not to be taken twice', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice, PHONE);
    await startChat(a, bob);
    await write(a, 'hi');
    assert.deepEqual(await bubbles(a), ['hi']);
    const steps = () => a.evaluate(() => history.state?.chat === true);
    assert.ok(await steps());
    await a.getByRole('button', { name: 'Back to conversations' }).click();
    await rowOf(a, bob).waitFor();
    assert.ok(!(await steps()), 'the step it was is gone');
    await openRow(a, bob);
    await a.goBack();
    await rowOf(a, bob).waitFor();
    assert.ok((await overflow(a)) <= 0);
    await closeAll(a);
});

test('a very long message is folded, and shown whole to who wants it, where he is', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    const lines = Array.from({ length: 400 }, (_, n) => `line ${n}`).join('\n');
    await startChat(a, bob);
    await write(a, lines, 'x'.repeat(2499) + '👍'.repeat(9), 'short');
    await openRow(b, alice);
    await waitForText(b, 'short');
    assert.equal(await b.getByRole('button', { name: 'Show all' }).count(), 2);
    const [first, second] = await b
        .locator('.cut')
        .evaluateAll((cuts) => cuts.map(({ previousSibling }) => previousSibling.textContent));
    assert.match(first, /^line 0\n[^]*line 29$/);
    assert.equal(second, 'x'.repeat(2499));
    const line0 = messageOf(b, 'line 0').locator('.bubble');
    const folded = (await line0.boundingBox()).height;
    assert.ok(folded > 500 && folded < 1000, `${folded} px of 30 lines`);
    await shot(b, 'desk-folded');
    const more = messageOf(b, 'line 0').getByRole('button', { name: 'Show all' });
    await more.scrollIntoViewIfNeeded();
    const { y } = await line0.boundingBox();
    await more.click();
    await more.waitFor({ state: 'hidden' });
    const whole = await line0.boundingBox();
    assert.ok(Math.abs(whole.y - y) < 2, 'it begins where it began');
    assert.ok(whole.height > 10 * folded);
    assert.deepEqual(await bubbles(b), [lines, `${'x'.repeat(2499)}${'👍'.repeat(9)}`, 'short']);
    await react(a, 'line 0', '👍');
    await messageOf(b, 'line 0').locator('.reaction').waitFor();
    assert.equal((await line0.boundingBox()).height, whole.height, 'it stays whole');
    await closeAll(a, b);
});

test('what the browser searches for is found in a folded message, which is unfolded for it', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    const address = `https://chat.example/${'long/'.repeat(600)}end`;
    await startChat(a, bob);
    await write(a, `${'x'.repeat(60)} ${address}\n${'line\n'.repeat(200)}needle`, 'short');
    await openRow(b, alice);
    await waitForText(b, 'short');
    const links = messageOf(b, 'needle').locator('a');
    assert.deepEqual(await links.evaluateAll((all) => all.map(({ href }) => href)), [address, address]);
    // No test can open the browser's search; an address with a text to show is the same to it, but
    // for the step back that the page would take it for.
    await b.addInitScript(() => {
        addEventListener('popstate', (event) => event.stopImmediatePropagation());
    });
    await b.reload();
    await waitForText(b, 'short');
    await b.goto(`${b.url()}#found:~:text=needle`);
    await sees(b, () => {
        const { bottom } = document.querySelector('.rest').getBoundingClientRect();
        const edges = document.getElementById('scroller').getBoundingClientRect();
        return bottom > edges.top && bottom < edges.bottom + 40;
    });
    assert.ok(!(await b.getByRole('button', { name: 'Show all' }).isVisible()));
    const moved = await b.evaluate(() => document.scrollingElement.scrollTop);
    assert.equal(moved, 0, 'the page around it stays where it is');
    await closeAll(a, b);
});
