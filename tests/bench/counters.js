// What the routers did between two outputs of `chatmesh status --json`, and the ratios that show what
// bounds them: node tests/bench/counters.js BEFORE AFTER
import { readFileSync } from 'node:fs';

const [before, after] = process.argv.slice(2, 4).map((file) => JSON.parse(readFileSync(file, 'utf8')));

const ratio = (a, b) => (b > 0 ? (a / b).toFixed(2) : '-');

for (const router of after.routers) {
    const earlier = before.routers.find((r) => r.id === router.id)?.counters ?? {};
    const did = Object.fromEntries(
        Object.entries(router.counters).map(([name, value]) => [name, value - (earlier[name] ?? 0)]),
    );
    console.log(`router ${router.id}`);
    console.log(`  messages_applied           ${did.messages}`);
    console.log(`  messages_per_sync          ${ratio(did.messages, did.syncs)}`);
    console.log(`  messages_per_turn          ${ratio(did.messages, did.turns)}`);
    console.log(`  commands_per_turn          ${ratio(did.commands, did.turns)}`);
    console.log(`  keys_per_message           ${ratio(did.keys, did.messages)}`);
    console.log(`  sync_avg_us                ${ratio(did.sync_us, did.syncs)}`);
    console.log(`  elections                  ${did.elections}`);
}
