// layout.test - the page by keyboard alone, on a phone, in the dark, and for those who hear it.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
    browser,
    bubbles,
    closeAll,
    cluster,
    DESK,
    logIn,
    messageOf,
    names,
    openRow,
    overflow,
    PHONE,
    rowOf,
    sees,
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

const hasFocus = (page, selector) =>
    sees(page, (s) => document.activeElement?.matches(s), selector);

test('Enter sends, Shift+Enter makes a line, Escape goes back', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    await startChat(a, bob);
    await a.keyboard.type('first');
    await a.keyboard.press('Shift+Enter');
    await a.keyboard.type('second');
    await a.keyboard.press('Enter');
    await tickOf(a, 'first', 'sent');
    assert.deepEqual(await bubbles(a), ['first\nsecond']);
    await a.keyboard.press('Escape');
    await a.locator('#chat-empty').waitFor();
    await hasFocus(a, '.row');
    await closeAll(a);
});

test('everything can be done by keyboard alone', async () => {
    const [alice, bob, carol] = names('alice', 'bob', 'carol');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await a.keyboard.press('Control+k'); // Search, and start what is not there.
    await a.keyboard.type(bob);
    await a.keyboard.press('Enter');
    await hasFocus(a, '#text');
    await a.keyboard.type('by keyboard');
    await a.keyboard.press('Enter');
    await tickOf(a, 'by keyboard', 'delivered');
    await a.keyboard.press('ArrowUp'); // Edit the last message.
    await a.keyboard.press('End');
    await a.keyboard.type(' only');
    await a.keyboard.press('Enter');
    await waitForText(a, 'by keyboard only');
    await messageOf(a, 'only').locator('.edited').waitFor();
    await a.keyboard.press('Shift+Tab'); // Into the messages, and to the newest.
    await hasFocus(a, '#scroller');
    await a.keyboard.press('ArrowUp');
    await hasFocus(a, '.message');
    await a.keyboard.press('Enter'); // Its menu: the first is a reaction.
    await hasFocus(a, '.emoji');
    await shot(a, 'desk-menu');
    await a.keyboard.press('Enter');
    await messageOf(a, 'only').locator('.reaction').waitFor();
    await hasFocus(a, '.message');
    await a.keyboard.press('r');
    await a.keyboard.type('to myself');
    await a.keyboard.press('Enter');
    await messageOf(a, 'to myself').locator('.quote').waitFor();
    await startChat(a, carol);
    await write(a, 'hi');
    await a.keyboard.press('Escape'); // Back to the list, which the arrows walk.
    await hasFocus(a, '.row');
    await a.keyboard.press('ArrowDown');
    await a.keyboard.press('Enter');
    await waitForText(a, 'to myself');
    await closeAll(a, b);
});

test('what is typed above the list filters it', async () => {
    const [alice, bob, carol] = names('alice', 'bob', 'carol');
    const a = await logIn(alice);
    for (const name of [bob, carol]) {
        await startChat(a, name);
        await write(a, 'Hello');
        await tickOf(a, 'Hello', 'sent');
    }
    await a.getByLabel('Search conversations').fill('CAR');
    await rowOf(a, bob).waitFor({ state: 'detached' });
    assert.equal(await a.locator('.row').count(), 1);
    const row = await rowOf(a, carol).boundingBox();
    const start = await a.getByRole('button', { name: 'Start a chat with' }).boundingBox();
    assert.ok(start.y - row.y - row.height < 20, 'what can be started stands right below');
    await a.keyboard.press('Escape');
    await rowOf(a, bob).waitFor();
    await closeAll(a);
});

test('a new message is read out, and controls have names', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    const b = await logIn(bob, { gateway: 2 });
    await startChat(a, bob);
    await write(a, 'Hello');
    await openRow(b, alice);
    await waitForText(b, 'Hello');
    await write(b, 'Can you hear me?');
    await a.locator('[aria-live="polite"]', { hasText: `${bob}: Can you hear me?` }).waitFor({
        state: 'attached',
    });
    const nameless = await a
        .locator('button:visible')
        .evaluateAll((buttons) =>
            buttons
                .filter(
                    (button) => !button.getAttribute('aria-label') && !button.textContent.trim(),
                )
                .map((button) => button.outerHTML),
        );
    assert.deepEqual(nameless, []);
    await startGroup(a, 'Three', bob);
    await openRow(b, 'Three');
    await write(b, 'In a group');
    await waitForText(a, 'In a group');
    const heard = await messageOf(a, 'In a group').ariaSnapshot();
    assert.equal(heard.split(bob).length, 2, `the sender is said once: ${heard}`);
    await closeAll(a, b);
});

test('on a phone there is one column with a way back, and nothing is too wide', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice, PHONE);
    const b = await logIn(bob, { gateway: 2 });
    await startChat(b, alice);
    await write(
        b,
        'Are you on your way?',
        'The train leaves at ten past nine, do not be late this time please!',
        `https://example.org/${'a-very-long-path/'.repeat(12)}`,
        'Donaudampfschifffahrtsgesellschaftskapitänskajütenschlüssel'.repeat(3),
    );
    await a.locator('.badge', { hasText: '4' }).waitFor();
    assert.equal(await a.locator('.chat').isVisible(), false);
    assert.ok((await overflow(a)) <= 0);
    await shot(a, 'phone-list');
    await openRow(a, bob);
    await waitForText(a, 'ten past nine');
    await write(a, 'Yes, five minutes.');
    await tickOf(a, 'five minutes', 'read');
    assert.equal(await a.locator('.side').isVisible(), false);
    assert.ok((await overflow(a)) <= 0, 'nothing is wider than the screen');
    const isZoomSafe = await a
        .locator('input, textarea, select')
        .evaluateAll((nodes) => nodes.every((n) => parseFloat(getComputedStyle(n).fontSize) >= 16));
    assert.ok(isZoomSafe, 'no field is so small that the phone zooms in');
    await shot(a, 'phone-chat');
    await messageOf(a, 'five minutes').click({ button: 'right' });
    await a.getByRole('menuitem', { name: 'Reply' }).waitFor();
    assert.ok((await overflow(a)) <= 0);
    await shot(a, 'phone-menu');
    await a.keyboard.press('Escape');
    await a.getByRole('button', { name: 'Back to conversations' }).click();
    await rowOf(a, bob).waitFor();
    await openRow(a, bob);
    await a.goBack(); // The phone's own.
    await rowOf(a, bob).waitFor();
    await startGroup(a, 'A group with rather a long name, longer than the screen', bob);
    await a.setViewportSize({ width: 390, height: 420 }); // With the keyboard up, say.
    await a.getByRole('button', { name: 'Members' }).click();
    await a.locator('.member', { hasText: bob }).waitFor();
    assert.ok((await overflow(a)) <= 0);
    const heading = await a.getByRole('heading', { name: 'Group', exact: true }).boundingBox();
    assert.ok(heading.y > 0, 'a dialog begins with its beginning');
    const isCut = await a
        .locator('.member-text *')
        .evaluateAll((nodes) => nodes.some((node) => node.scrollWidth > node.clientWidth + 1));
    assert.ok(!isCut, 'names and times are whole');
    await shot(a, 'phone-members');
    await closeAll(a, b);
});

test('on a phone Enter makes a line, and the button sends', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice, PHONE);
    await startChat(a, bob);
    await a.locator('#text').pressSequentially('one');
    await a.keyboard.press('Enter');
    await a.keyboard.type('two');
    assert.equal(await a.locator('#text').inputValue(), 'one\ntwo');
    assert.equal(await a.locator('#text').getAttribute('enterkeyhint'), 'enter');
    await a.getByRole('button', { name: 'Send' }).tap();
    await waitForText(a, 'two');
    assert.deepEqual(await bubbles(a), ['one\ntwo']);
    await hasFocus(a, '#text'); // The keyboard stays.
    await closeAll(a);
});

test('the day of what is in view stays at its upper edge, one day at a time', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice);
    await startChat(a, bob);
    await write(a, 'Hello');
    await writeMany(a, bob, 'line', 80);
    await waitForText(a, 'line 79');
    const DAYS_MS = 3 * 24 * 60 * 60 * 1000;
    const aged = (text) =>
        text.replaceAll(/"seq":(\d+),"ts":(\d+)/g, (all, seq, ts) =>
            Number(seq) < 43 ? `"seq":${seq},"ts":${ts - DAYS_MS}` : all,
        );
    await a.routeWebSocket(/\/ws$/, (socket) => {
        const server = socket.connectToServer();
        server.onMessage((text) => socket.send(aged(text)));
    });
    await a.reload();
    await waitForText(a, 'line 79');
    const seen = () =>
        a.evaluate(() => {
            const { top, height } = document.getElementById('scroller').getBoundingClientRect();
            return [...document.querySelectorAll('.day')]
                .filter((day) => getComputedStyle(day).visibility === 'visible')
                .map((day) => [day.textContent, day.getBoundingClientRect().top - top])
                .filter(([, y]) => y >= 0 && y < height);
        });
    assert.deepEqual(await seen(), [['Today', 8]]);
    await shot(a, 'desk-day');
    const scrollTo = (px) => a.locator('#scroller').evaluate((node, y) => (node.scrollTop = y), px);
    await scrollTo(0);
    await waitForText(a, 'Hello');
    await scrollTo(300);
    await a.locator('#text').fill('many\n'.repeat(20));
    const button = await a.getByRole('button', { name: 'Newest messages' }).boundingBox();
    const field = await a.locator('#composer').boundingBox();
    assert.ok(button.y + button.height < field.y, 'the way down is not over what one writes');
    await shot(a, 'desk-to-bottom');
    await a.locator('#text').fill('');
    await sees(a, () => document.querySelector('.day.is-past') === null);
    const [[then, y], ...more] = await seen();
    assert.match(then, /^\w+day,/);
    assert.deepEqual([y, more], [8, []]);
    await closeAll(a);
});

test('a long press opens the menu of a message, which stays after it', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice, PHONE);
    await startChat(a, bob);
    await write(a, 'Press me');
    await tickOf(a, 'Press me', 'sent');
    const touch = await a.context().newCDPSession(a);
    const { x, y } = await messageOf(a, 'Press me').locator('.bubble').boundingBox();
    const finger = [{ x: x + 20, y: y + 15 }];
    await touch.send('Input.dispatchTouchEvent', { type: 'touchStart', touchPoints: finger });
    await a.getByRole('menuitem', { name: 'Copy text' }).waitFor();
    await touch.send('Input.dispatchTouchEvent', { type: 'touchEnd', touchPoints: [] });
    await a.waitForTimeout(400);
    assert.ok(await a.locator('#message-menu').isVisible(), 'it stays when the finger is gone');
    await shot(a, 'phone-long-press');
    await a.getByRole('menuitem', { name: 'Reply' }).tap();
    await a.locator('#composer-about', { hasText: 'Reply to yourself' }).waitFor();
    await a.touchscreen.tap(x + 20, y + 15); // A short one opens nothing.
    await a.waitForTimeout(200);
    assert.equal(await a.locator('#message-menu').isVisible(), false);
    await closeAll(a);
});

/** The newest message is in view: when the page has drawn what happened last. */
const seesNewest = (page) =>
    sees(page, () => {
        const { scrollHeight, scrollTop, clientHeight } = document.getElementById('scroller');
        return Math.round(scrollHeight - scrollTop - clientHeight) === 0;
    });

test('who is at the newest message stays there when a keyboard comes or the field grows', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice, PHONE);
    const b = await logIn(bob, { gateway: 2 });
    await startChat(b, alice);
    await write(b, ...Array.from({ length: 30 }, (_, n) => `line ${n}`));
    await openRow(a, bob);
    await waitForText(a, 'line 29');
    for (const height of [700, 500, 844, 500]) {
        await a.setViewportSize({ width: 390, height });
        await sees(a, (h) => innerHeight === h, height);
        await seesNewest(a);
    }
    await shot(a, 'phone-keyboard');
    await write(b, 'and one more');
    await waitForText(a, 'and one more');
    await seesNewest(a);
    await b.locator('#text').fill('one\ntwo\nthree\nfour\nfive\nsix');
    await seesNewest(b);
    await b.keyboard.type('7');
    await seesNewest(b);
    await a.locator('#scroller').evaluate((node) => node.scrollTo(0, 300)); // Reading above.
    await a.locator('#to-bottom').waitFor();
    await a.setViewportSize({ width: 390, height: 844 });
    await a.waitForTimeout(200);
    assert.ok(await a.locator('#to-bottom').isVisible(), 'who reads above is left there');
    await closeAll(a, b);
});

/** The brightest part of a colour. */
const brightness = async (page) => {
    const colour = await page.evaluate(
        () => getComputedStyle(document.querySelector('.app')).backgroundColor,
    );
    return Math.max(...colour.match(/\d+/g).map(Number));
};

test('dark where the system is dark, and as one chooses', async () => {
    const [alice, bob] = names('alice', 'bob');
    const a = await logIn(alice, { colorScheme: 'dark' });
    const b = await logIn(bob, { gateway: 2 });
    await startChat(a, bob);
    await write(a, 'Good evening');
    await openRow(b, alice);
    await write(b, 'Good evening to you too');
    await waitForText(a, 'to you too');
    await tickOf(a, 'Good evening', 'read');
    assert.ok((await brightness(a)) < 60);
    await shot(a, 'desk-dark');
    await a.locator('#me').click();
    await a.getByRole('menuitemradio', { name: 'Light' }).click();
    assert.ok((await brightness(a)) > 200);
    await a.reload();
    await waitForText(a, 'to you too');
    assert.ok((await brightness(a)) > 200, 'it was kept');
    await closeAll(a, b);
});

test('the login page is kind about a server that is away', async () => {
    const page = await (await browser.newContext(DESK)).newPage();
    await page.goto(`${cluster.http(1)}/`);
    await page.getByLabel('Your name').fill('alice');
    await shot(page, 'desk-login');
    await page.context().setOffline(true);
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByText('The server cannot be reached.').waitFor();
    await page.context().close();
});
