// client_usage - the client as a typed program uses it: never run, only read by the type checker
// (types.test.js). What it must refuse is marked; a mark without an error fails as well.
import { ChatmeshClient, ChatmeshError } from '../../gateway/web/client.js';

/** @typedef {import('../../gateway/web/client.js').Entry} Entry */

export async function usage() {
    const client = new ChatmeshClient({ url: 'ws://localhost:8080/ws', token: 'T' });
    const off = client.on('message', (entry) => entry.seq.toFixed());
    client.on('reaction', ({ target, emoji, on }) => [target?.toFixed(), emoji?.trim(), on]);
    client.on('typing', ({ conv, user, on }) => [conv.trim(), user.trim(), on === true]);
    client.on('presence', ({ user, status }) => status === 'offline' && user.trim());
    client.on('activity', ({ head, unread }) => head - unread);
    client.on('receipt', ({ read_count, total }) => (total ?? 0) - (read_count ?? 0));
    client.on('sent', ({ request, target }) => request === 'edit' && target?.toFixed());
    client.on('refused', ({ error }) => error.retryAfterMs?.toFixed());
    client.on('gap', (gap) => gap.skip());
    client.on('edit', async ({ conv, seq }) => await client.react(conv, seq, '👍'));
    client.on('error', ({ message }) => message.trim());
    client.on('server_restart', ({ reconnect_after_ms }) => reconnect_after_ms.toFixed());
    // @ts-expect-error: there is no such event.
    client.on('massage', () => {});
    off();

    const { ping_ms } = await client.connect();
    const { conv } = await client.create({
        members: ['bob'],
        history: 'joined',
        retain_ms: ping_ms,
    });
    const { seq } = await client.send({ conv }, { text: 'Hi' }, { replyTo: 1 });
    await client.edit(conv, seq, { text: 'Hello' });
    await client.react(conv, seq, '👍');
    await client.delete(conv, seq, { cid: 'c1' });
    client.typing(conv);
    await client.open(conv);
    await client.close(conv);
    await client.watch(['bob']);
    await client.unwatch(['bob']);
    await client.setStatus('busy');
    // @ts-expect-error: one does not set oneself offline.
    await client.setStatus('offline');
    const [{ last_seen }] = await client.presence(['bob']);
    const { read, total } = await client.receipts(conv, seq);
    const { status } = client.statusOf(conv, seq);
    // @ts-expect-error: a message is never 'seen'.
    void (status === 'seen');
    /** @type {Entry[]} */
    const entries = (await client.history(conv, { before: seq })).entries;
    await client.role(conv, 'bob', 'admin');
    await client.close();
    return [last_seen, read[0].ts, total, entries, new ChatmeshError('timeout').code];
}
